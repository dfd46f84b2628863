"""What the estimators of one noise level share: rounded columns, and how chains are run."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from skscore import DenoisingScoreEstimator, _langevin
from skscore._langevin import chain_lengths, n_chains_for
from skscore.exceptions import TiedValuesWarning

QUICK = {"random_state": 0, "max_steps": 20, "batch_size": 64, "hidden_units": (16,)}


def data(n=200, d=2, seed=0):
    return np.random.RandomState(seed).normal(size=(n, d))


def modes(n=300, apart=10.0):
    X = data(n, 1)
    X[: n // 2] += apart
    return X


def rounded(n=300):
    X = data(n)
    X[:, 1] = (3 * X[:, 1]).round()
    return X


@pytest.fixture(scope="module")
def model():
    return DenoisingScoreEstimator(0.5, **QUICK).fit(data())


# Chains.


@pytest.mark.parametrize(("n", "expected"), [(1, 50), (50, 50), (51, 51), (10_001, 10_000)])
def test_each_row_is_the_end_of_a_chain_and_a_few_chains_are_always_run(n, expected):
    assert n_chains_for(n) == expected


@pytest.mark.parametrize("n_steps", [1, 2, 20, 41, 1000])
def test_half_of_the_steps_warm_up_and_the_rest_lie_between_twenty_states(n_steps):
    n_warmup, n_between = chain_lengths(n_steps)
    assert n_warmup == n_steps // 2
    assert n_between == max(1, (n_steps - n_warmup) // 20)


@pytest.mark.parametrize("n_samples", [1, 50, 80])
def test_the_report_tells_how_the_chains_went(model, n_samples):
    assert model.sample(n_samples, random_state=0).shape == (n_samples, 2)
    report = model.sampling_report_
    assert report.acceptance is None
    assert report.step_size == model.step_size_
    assert report.n_chains == max(50, n_samples)
    assert report.n_warmup == 500
    assert 1 <= report.split_rhat < 1.1


def test_chains_give_several_rows_where_there_are_not_enough_of_them(model, monkeypatch):
    monkeypatch.setattr(_langevin, "_MAX_CHAINS", 60)
    drawn = model.sample(150, random_state=0)
    assert model.sampling_report_.n_chains == 60
    assert len(np.unique(drawn, axis=0)) == 150


def test_the_seed_decides_the_rows(model):
    a, b, other = (model.sample(20, random_state=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert (a != other).all()
    assert (model.sample(5, random_state=None) != model.sample(5, random_state=None)).all()


@pytest.mark.parametrize("sigma", [0.2, 1.0])
def test_the_step_is_a_share_of_the_largest_curvature(sigma):
    # An untrained network has the score -z/(1 + σ²), and E[s sᵀ] = Σ/(1 + σ²)².
    X = data(400, 3) @ np.array([[1.0, 0.9, 0], [0, 0.3, 0], [0, 0, 1]])
    model = DenoisingScoreEstimator(sigma, max_steps=1, lr=1e-12, random_state=0).fit(X)
    curvature = np.linalg.eigvalsh(np.corrcoef(X.T))[-1] / (1 + sigma**2) ** 2
    assert model.step_size_ == pytest.approx(0.2 / curvature, rel=1e-4)


@pytest.mark.filterwarnings("ignore:The chains do not agree")
def test_a_step_of_the_user_is_the_one_that_is_taken(model):
    other = DenoisingScoreEstimator(0.5, step_size=0.03, n_sampling_steps=40, **QUICK).fit(data())
    other.sample(random_state=0)
    assert (other.sampling_report_.step_size, other.sampling_report_.n_warmup) == (0.03, 20)


@pytest.mark.parametrize("seed", range(2))
def test_chains_that_stay_in_their_modes_are_warned_of_where_sample_was_called(seed):
    model = DenoisingScoreEstimator(max_steps=400, random_state=seed, hidden_units=(64, 64))
    model.fit(modes())
    with pytest.warns(ConvergenceWarning, match="split R̂ = .* use NCSNGenerator, which") as caught:
        model.sample(20, random_state=seed)
    assert [w.filename for w in caught] == [__file__]
    assert model.sampling_report_.split_rhat > 1.1


@pytest.mark.parametrize("seed", range(3))
def test_chains_in_one_mode_are_silent(seed):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = DenoisingScoreEstimator(0.5, **{**QUICK, "random_state": seed})
        model.fit(data(seed=seed)).sample(30, random_state=seed)
    assert model.sampling_report_.split_rhat <= 1.1


def test_rows_that_are_no_numbers_are_an_error_and_not_a_warning(model):
    broken = DenoisingScoreEstimator(0.5, step_size=1e6, **QUICK).fit(data())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(FloatingPointError, match="use a smaller step_size"):
            broken.sample(5, random_state=0)


# Rounded columns.


def test_steps_of_rounding_are_found_and_the_score_is_finite_and_the_same_every_time():
    X = rounded()
    with warnings.catch_warnings():
        warnings.simplefilter("error", TiedValuesWarning)
        model = DenoisingScoreEstimator(0.2, **QUICK).fit(X)
    np.testing.assert_array_equal(model.rounding_steps_, [0.0, 1.0])
    variance = X[:, 1].var() + 1 / 12
    assert model.scale_[1] ** 2 == pytest.approx(variance)
    np.testing.assert_allclose(np.diag(model.covariance_), 1, rtol=1e-10)
    first = model.score(rounded(100))
    assert np.isfinite(first)
    assert model.score(rounded(100)) == first
    assert model.sample(10, random_state=0).shape == (10, 2)


def test_a_column_of_integers_alone_is_learnt_as_its_density_with_noise():
    # 300 rows, some 20 distinct ones: N(0, 9) rounded, plus uniform noise.
    X = np.random.RandomState(0).normal(0, 3, size=(300, 1)).round()
    model = DenoisingScoreEstimator(1.0, max_steps=1, lr=1e-12, random_state=0).fit(X)
    assert model.rounding_steps_.tolist() == [1.0]
    # The best linear denoiser of a variance v at σ v^½ halves every deviation.
    assert model.scale_[0] ** 2 == pytest.approx(X.var() + 1 / 12)
    middle = (X.mean() + np.array([[5.0]])) / 2
    np.testing.assert_allclose(model.transform([[5.0]]), middle, rtol=1e-5)


@pytest.mark.parametrize("option", [0.5, [0.5, 0.0], [0.0, 0.25]])
def test_steps_of_the_user_are_taken_as_they_are(option):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TiedValuesWarning)
        model = DenoisingScoreEstimator(0.2, dequantize=option, **QUICK).fit(rounded())
    np.testing.assert_array_equal(model.rounding_steps_, np.broadcast_to(option, 2))
    variances = rounded().var(axis=0) + np.broadcast_to(option, 2) ** 2 / 12
    np.testing.assert_allclose(model.scale_**2, variances)


def test_without_noise_rounded_columns_are_warned_of_by_number_where_fit_was_called():
    model = DenoisingScoreEstimator(0.2, dequantize=None, **QUICK)
    with pytest.warns(TiedValuesWarning, match=r"^1 of 2 columns .*: column 1 \(steps") as caught:
        model.fit(rounded())
    assert [w.filename for w in caught] == [__file__]
    assert "Use dequantize='auto'" in str(caught[0].message)
    np.testing.assert_array_equal(model.rounding_steps_, [0, 0])


def test_columns_of_a_frame_are_warned_of_by_name():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(rounded(), columns=["length", "children"])
    with pytest.warns(TiedValuesWarning, match=r"repeated values: 'children' \(steps of 1\)"):
        DenoisingScoreEstimator(0.2, dequantize=None, **QUICK).fit(frame)


@pytest.mark.parametrize("option", [-1.0, [1.0], "yes", True, np.nan])
def test_what_is_no_step_is_refused(option):
    with pytest.raises(ValueError, match="dequantize"):
        DenoisingScoreEstimator(0.2, dequantize=option, **QUICK).fit(rounded())


def test_a_repeated_row_is_a_weight_with_dequantized_columns_too():
    X, w = rounded(80), np.random.RandomState(1).randint(1, 4, size=80)
    weighted = DenoisingScoreEstimator(0.2, **QUICK).fit(X, sample_weight=w)
    repeated = DenoisingScoreEstimator(0.2, **QUICK).fit(np.repeat(X, w, axis=0))
    at = data(20, seed=3)
    np.testing.assert_array_equal(weighted.score_function(at), repeated.score_function(at))
