"""Drawing rows: solvers by name, blocks, trajectories, guides and given cells."""

import io
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from exact_generators import draws, exact_generator, gaussian, mixture
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skscore import NCSNGenerator
from skscore._generation import SAMPLERS
from skscore._ties import to_steps
from skscore.exceptions import TiedValuesWarning
from skscore.metrics import c2st
from skscore.noise import EDM, SubVariancePreserving, VarianceExploding, VariancePreserving
from skscore.samplers import EDMSampler, PredictorCorrectorSampler, ProbabilityFlowSampler

QUICK = {"random_state": 0, "max_steps": 5, "batch_size": 64, "hidden_units": (16,)}
DENSITY = mixture(2)


@pytest.fixture(scope="module")
def exact():
    return exact_generator(DENSITY)


@pytest.fixture(scope="module")
def correlated():
    return exact_generator(gaussian([[1.0, 0.8], [0.8, 1.0]]))


def with_params(generator, **params):
    """Return a generator with the same fit and other parameters of sampling."""
    other = clone(generator).set_params(**params)
    other.__dict__.update({k: v for k, v in vars(generator).items() if k.endswith("_")})
    return other


def moments_agree(drawn, expected, tolerance=0.0):
    """Means and standard deviations within 4 SE, and the tolerance, of those of exact draws."""
    scale, n = expected.std(0), len(drawn)
    error = 4 * (1 / n + 1 / len(expected)) ** 0.5 + tolerance
    mean = np.abs(drawn.mean(0) - expected.mean(0)) / scale
    return bool((mean < error).all() and (np.abs(drawn.std(0) / scale - 1) < error).all())


# Solvers.

# Langevin dynamics at the smallest level alone is not a sampler of the density.
BIAS = {"annealed_langevin": 0.1}


@pytest.mark.parametrize("sampler", sorted(SAMPLERS.keys() - {"langevin"}))
def test_each_sampler_draws_the_density_by_default(exact, sampler):
    drawn = with_params(exact, sampler=sampler).sample(1000, random_state=1)
    assert moments_agree(drawn, draws(DENSITY, 20_000, seed=1), BIAS.get(sampler, 0.03))


def test_langevin_dynamics_stay_near_where_they_start(exact):
    drawn = with_params(exact, sampler="langevin", n_sampling_steps=50).sample(300, random_state=1)
    assert drawn.std() > 5  # the start, at sigma_max = 10


@pytest.mark.parametrize(
    "sampler",
    [EDMSampler(churn=5.0), PredictorCorrectorSampler("ancestral"), ProbabilityFlowSampler("rk45")],
    ids=lambda s: type(s).__name__,
)
def test_solvers_with_parameters_draw_the_density(exact, sampler):
    generator = with_params(exact, sampler=sampler, n_sampling_steps=50)
    drawn = generator.sample(1000, random_state=1)
    assert moments_agree(drawn, draws(DENSITY, 20_000, seed=1), 0.06)
    np.testing.assert_array_equal(drawn, generator.sample(1000, random_state=1))


def test_parameters_of_a_solver_can_be_searched():
    X = draws(DENSITY, 60)
    search = GridSearchCV(
        NCSNGenerator(sampler=EDMSampler(), noise=EDM(), **QUICK),
        {"sampler__churn": [0.0, 5.0], "noise__sigma_max": [5.0, 10.0]},
        cv=2,
    ).fit(X)
    assert set(search.best_params_) == {"sampler__churn", "noise__sigma_max"}
    assert search.best_estimator_.sigma_max_ == search.best_params_["noise__sigma_max"]


@pytest.mark.parametrize(
    ("sampler", "n_levels"),
    [("dpm_solver", 7), ("heun", 7), ("reverse_sde", 7), ("ancestral", 7), ("edm", 7)],
)
def test_sampling_steps_are_the_levels_that_are_visited(exact, sampler, n_levels):
    generator = with_params(exact, sampler=sampler, n_sampling_steps=n_levels)
    _, states = generator.sample(3, random_state=0, return_trajectory=True)
    assert states.shape == (n_levels + 1, 3, 2)


# The three processes.


@pytest.mark.parametrize("sampler", ["dpm_solver", "reverse_sde"])
def test_processes_agree_on_one_network(exact, sampler):
    processes = {
        "ve": VarianceExploding(),
        "vp": VariancePreserving(),
        "sub_vp": SubVariancePreserving(),
        VariancePreserving("cosine"): VariancePreserving("cosine"),
    }
    for given, process in processes.items():
        generator = with_params(exact, noise=given, sampler=sampler, n_sampling_steps=200)
        _, states = generator.sample(500, random_state=1, return_trajectory=True)
        assert moments_agree(states[-1], draws(DENSITY, 20_000, seed=1), 0.02)
        # Half-way in time the states have the moments of the level that the process has there.
        level = process.sigmas(200)[100].item()
        blurred = DENSITY.sample(20_000, level, torch.Generator().manual_seed(2)).numpy()
        assert moments_agree(states[100], blurred, 0.02)


def test_a_process_outside_of_what_was_learnt_is_refused(exact):
    generator = with_params(exact, noise=VarianceExploding(0.001, 5.0))
    message = "runs from 0.001 to 5.0, outside of the noise levels from 0.02 to 10.0"
    with pytest.raises(ValueError, match=message):
        generator.sample(5)


# Blocks.


@pytest.mark.parametrize("sampler", ["dpm_solver", "rk45", "reverse_sde", "annealed_langevin"])
def test_the_first_rows_of_a_seed_do_not_depend_on_how_many_are_drawn(exact, sampler):
    generator = with_params(exact, sampler=sampler, n_sampling_steps=3)
    many = generator.sample(600, random_state=3)
    for n in (1, 7, 256, 257):
        np.testing.assert_array_equal(generator.sample(n, random_state=3), many[:n])


def test_blocks_of_a_seed_differ_and_seeds_share_no_block(exact):
    a, b = (exact.sample(768, random_state=seed) for seed in (0, 1))
    blocks = np.concatenate([a, b]).reshape(6, 256, 2)
    for i in range(6):
        for j in range(i):
            assert not (blocks[i] == blocks[j]).any()


def test_rows_are_drawn_afresh_without_a_seed(exact):
    assert not np.array_equal(exact.sample(5), exact.sample(5))


def test_a_bar_counts_the_rows_under_verbose(exact, capsys):
    with_params(exact, verbose=True).sample(300, random_state=0)
    assert "300/300" in capsys.readouterr().err
    exact.sample(300, random_state=0)
    assert capsys.readouterr().err == ""


# Trajectories.


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_a_trajectory_ends_in_the_rows_and_starts_at_the_prior(exact, sampler):
    generator = with_params(exact, sampler=sampler, n_sampling_steps=5)
    rows, states = generator.sample(400, random_state=2, return_trajectory=True)
    np.testing.assert_array_equal(rows, generator.sample(400, random_state=2))
    np.testing.assert_array_equal(states[-1], rows)
    spread = (1 + 10.0**2) ** 0.5
    assert (np.abs(states[0].std(0) / spread - 1) < 4 * (2 * 400) ** -0.5).all()


def test_a_sampler_of_the_user_needs_to_know_its_trajectory(exact):
    def one_step(score_fn, x, sigmas, random):
        return x

    with pytest.raises(ValueError, match="has no parameter return_trajectory"):
        with_params(exact, sampler=one_step).sample(3, return_trajectory=True)


def test_a_sampler_of_the_user_is_called_for_each_block(exact):
    shapes = []

    def euler(score_fn, x, sigmas, random, return_trajectory=False):
        shapes.append(tuple(x.shape))
        states = [x]
        for sigma, sigma_next in zip(sigmas[:-1], sigmas[1:], strict=True):
            x = x - sigma * score_fn(x, sigma.expand(len(x), 1)) * (sigma_next - sigma)
            states.append(x)
        return torch.stack(states) if return_trajectory else x

    generator = with_params(exact, sampler=euler, n_sampling_steps=300)
    rows, states = generator.sample(300, random_state=0, return_trajectory=True)
    assert shapes == [(256, 2), (256, 2)]
    assert states.shape == (300, 300, 2)
    assert moments_agree(rows, draws(DENSITY, 20_000, seed=1), 0.05)


# Guides.


def likelihood(y, tau, covariance):
    """The log-likelihood of y = x_0 + τ ε given the noisy row of a Gaussian, exact at every σ."""
    C = torch.as_tensor(covariance, dtype=torch.float64)
    y, eye = torch.as_tensor(y, dtype=torch.float64), torch.eye(len(C), dtype=torch.float64)

    def log_g(x, sigma):
        s2 = sigma[0, 0] ** 2
        gain = C @ torch.linalg.inv(C + s2 * eye)
        rest = C - gain @ C + tau**2 * eye
        residual = y - x @ gain.mT
        return -(residual * torch.linalg.solve(rest, residual.mT).mT).sum(1) / 2

    return log_g


@pytest.mark.parametrize("returns", ["values", "gradient"])
def test_a_guide_that_is_a_likelihood_gives_the_posterior(correlated, returns):
    C, y, tau = np.array([[1.0, 0.8], [0.8, 1.0]]), np.array([1.0, -0.5]), 0.7
    log_g = likelihood(y, tau, C)

    def gradient(x, sigma):
        x = x.detach().requires_grad_()
        return torch.autograd.grad(log_g(x, sigma).sum(), x)[0]

    guide = log_g if returns == "values" else gradient
    generator = with_params(correlated, n_sampling_steps=60)
    drawn = generator.sample(2000, random_state=1, guidance=guide)
    posterior = np.linalg.inv(np.linalg.inv(C) + np.eye(2) / tau**2)
    mean, sd = posterior @ y / tau**2, np.sqrt(np.diag(posterior))
    assert (np.abs(drawn.mean(0) - mean) < (4 / 2000**0.5 + 0.02) * sd).all()
    assert (np.abs(drawn.std(0) / sd - 1) < 4 / 4000**0.5 + 0.02).all()


def test_a_guide_lives_in_the_units_of_x_with_its_constant_features():
    C = np.array([[4.0, -3.0], [-3.0, 9.0]])
    rng = np.random.RandomState(0)
    X = np.insert(rng.multivariate_normal([10.0, -5.0], C, size=3000), 1, 7.0, axis=1)
    generator = NCSNGenerator(max_steps=200, random_state=0).fit(X)
    seen = []

    def push(x, sigma):
        seen.append((tuple(x.shape), x.dtype, x[:, 1].unique().tolist()))
        return -0.5 * ((x[:, 0] - 13.0) ** 2) / (1.0 + (2.0 * sigma[:, 0]) ** 2)

    guided, free = (generator.sample(500, random_state=0, guidance=g) for g in (push, None))
    assert seen[0] == ((256, 3), torch.float64, [7.0])
    assert guided[:, 0].mean() > free[:, 0].mean() + 1
    assert guided[:, 2].mean() < free[:, 2].mean() - 0.25  # they are correlated
    assert (guided[:, 1] == 7.0).all()


def test_guides_that_return_something_else_are_refused(exact):
    with pytest.raises(ValueError, match=r"guidance returned \(256, 1\).*\(256,\).*\(256, 2\)"):
        exact.sample(5, guidance=lambda x, sigma: x[:, :1])
    with pytest.raises(ValueError, match="do not depend on x by torch's operations"):
        exact.sample(5, guidance=lambda x, sigma: torch.zeros(len(x)))


def test_a_guide_that_is_too_steep_says_so(exact):
    with pytest.raises(FloatingPointError, match="guidance that is less steep"):
        exact.sample(5, guidance=lambda x, sigma: 1e8 * x**3)


# Given cells.


def test_given_cells_come_back_and_the_others_follow_them(correlated):
    given = np.tile([[1.5, np.nan]], (1500, 1))
    given[::3] = np.nan
    given[1::3] = [0.3, -0.7]
    drawn = correlated.sample(conditions=given, random_state=1)
    known = ~np.isnan(given)
    np.testing.assert_array_equal(drawn[known], given[known])
    conditional = drawn[2::3, 1]
    sd = (1 - 0.8**2) ** 0.5
    # RePaint is off by up to .1 sd and 6 %, beside 4 SE.
    assert abs(conditional.mean() - 1.5 * 0.8) < (0.1 + 4 / 500**0.5) * sd
    assert abs(conditional.std() / sd - 1) < 0.06 + 4 / 1000**0.5
    free = drawn[::3]
    assert moments_agree(free, draws(gaussian([[1.0, 0.8], [0.8, 1.0]]), 20_000), 0.06)


def test_conditions_are_data_frames_where_the_training_rows_were():
    rng = np.random.RandomState(0)
    X = pd.DataFrame({"a": rng.normal(size=80), "b": rng.poisson(5, size=80), "c": 2.5})
    generator = NCSNGenerator(**QUICK, n_sampling_steps=5).fit(X)
    given = pd.DataFrame({"a": [0.25, np.nan], "b": [np.nan, 3.0], "c": [np.nan, 2.5]})
    drawn = generator.sample(conditions=given, random_state=0)
    assert list(drawn.columns) == ["a", "b", "c"]
    assert drawn.dtypes.equals(X.dtypes)
    assert drawn.loc[0, "a"] == 0.25
    assert drawn.loc[1, "b"] == 3
    assert (drawn["c"] == 2.5).all()
    assert drawn.notna().all().all()
    with pytest.raises(ValueError, match="feature names"):
        generator.sample(conditions=given.rename(columns={"a": "x"}))


def test_the_first_conditions_do_not_depend_on_those_that_follow(correlated):
    given = np.where(np.random.RandomState(0).rand(300, 2) < 0.5, np.nan, 0.5)
    generator = with_params(correlated, n_sampling_steps=3)
    many = generator.sample(conditions=given, random_state=2)
    few = generator.sample(conditions=given[:40], random_state=2)
    np.testing.assert_array_equal(few, many[:40])


def test_conditions_give_the_number_of_rows(correlated):
    with pytest.raises(ValueError, match="n_samples=5 was given beside conditions"):
        correlated.sample(5, conditions=np.zeros((5, 2)))
    with pytest.raises(ValueError, match="X has 3 features"):
        correlated.sample(conditions=np.zeros((5, 3)))


def test_a_trajectory_of_given_cells_ends_in_the_rows(correlated):
    given = np.array([[1.0, np.nan], [np.nan, np.nan]])
    rows, states = with_params(correlated, n_sampling_steps=4).sample(
        conditions=given, random_state=0, return_trajectory=True
    )
    assert states.shape == (5, 2, 2)
    np.testing.assert_allclose(states[-1], rows, atol=1e-12)


# Rounded columns.

STEPS = {"children": 1.0, "length": 0.1, "weight": 0.0}
ROUNDED_QUICK = {**QUICK, "max_steps": 20, "n_sampling_steps": 8}


def rounded(n=150, seed=0):
    """Integers kept as floats, tenths, and a continuous column."""
    rng = np.random.RandomState(seed)
    z = rng.multivariate_normal(np.zeros(3), 0.5 + 0.5 * np.eye(3), size=n)
    return pd.DataFrame(
        {
            "children": (4 + 2 * z[:, 0]).round(),
            "length": (0.7 * z[:, 1]).round(1),
            "weight": 70 + 10 * z[:, 2],
        }
    )


def lie_on_steps(drawn):
    tenths = {k / 10 for k in range(-2000, 2000)}
    return (
        set(drawn["children"]) <= set(map(float, range(-200, 200)))
        and set(drawn["length"]) <= tenths
    )


@pytest.fixture(scope="module")
def of_rounded():
    return NCSNGenerator(**ROUNDED_QUICK).fit(rounded())


def test_steps_of_rounded_columns_are_found_and_nothing_is_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        generator = NCSNGenerator(**ROUNDED_QUICK).fit(rounded())
    np.testing.assert_allclose(generator.rounding_steps_, list(STEPS.values()), rtol=1e-10)
    lowest = rounded().min()
    expected = [lowest["children"], lowest["length"], np.nan]
    np.testing.assert_array_equal(generator.rounding_origins_, expected)
    variances = rounded().var(ddof=0) + np.square(list(STEPS.values())) / 12
    np.testing.assert_allclose(generator.scale_**2, variances)
    np.testing.assert_allclose(np.diag(generator.covariance_), 1, rtol=1e-10)


@pytest.mark.parametrize("options", [{}, {"return_trajectory": True}])
def test_drawn_values_of_rounded_columns_are_those_that_would_be_typed(of_rounded, options):
    drawn = of_rounded.sample(400, random_state=1, **options)
    drawn = drawn[0] if options else drawn
    assert list(drawn.columns) == list(STEPS)
    assert drawn.dtypes.equals(rounded().dtypes)
    assert lie_on_steps(drawn)
    assert (drawn["length"] == drawn["length"].round(1)).all()
    assert drawn["children"].nunique() > 3
    assert drawn["length"].nunique() > 8
    assert drawn["weight"].nunique() == 400
    assert (drawn["weight"] != drawn["weight"].round(1)).all()


def test_the_last_state_gives_the_row_less_the_variance_of_noise_and_rounding(of_rounded):
    drawn, states = of_rounded.sample(60, random_state=1, return_trajectory=True)
    steps = np.array(list(STEPS.values()))
    level = max(of_rounded.sigma_min_, (steps / of_rounded.scale_).max() / 12**0.5)
    x = pd.DataFrame(states[-1], columns=list(STEPS))
    moved = states[-1] + steps**2 / 12 * of_rounded.score_function(x, level)
    expected = to_steps(moved, of_rounded.rounding_steps_, of_rounded.rounding_origins_)
    np.testing.assert_array_equal(drawn, expected)
    np.testing.assert_array_equal(drawn["weight"], states[-1][:, 2])


def test_columns_without_noise_are_warned_of_and_not_rounded():
    with pytest.warns(TiedValuesWarning, match=r"^2 of 3 .*: 'children' \(steps of 1\), 'length'"):
        generator = NCSNGenerator(dequantize=None, **ROUNDED_QUICK).fit(rounded())
    np.testing.assert_array_equal(generator.rounding_steps_, 0)
    assert np.isnan(generator.rounding_origins_).all()
    drawn = generator.sample(50, random_state=1)
    assert (drawn != drawn.round(1)).all().all()


def test_steps_that_are_not_those_of_the_data_are_noise_alone():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        generator = NCSNGenerator(dequantize=[0.7, 0.1, 2.0], **ROUNDED_QUICK).fit(rounded())
    np.testing.assert_array_equal(generator.rounding_steps_, [0.7, 0.1, 2.0])
    np.testing.assert_array_equal(np.isnan(generator.rounding_origins_), [True, False, True])
    drawn = generator.sample(50, random_state=1)
    assert (drawn["length"] == drawn["length"].round(1)).all()
    assert (drawn["children"] != drawn["children"].round(1)).all()


@pytest.mark.parametrize("options", [{}, {"early_stopping": "loss"}, {"model": "stack"}])
def test_the_noise_of_a_score_is_the_same_at_each_call(options):
    generator = NCSNGenerator(**options, **ROUNDED_QUICK).fit(rounded())
    X, w = rounded(40, seed=1), np.random.RandomState(1).exponential(size=40)
    assert generator.score(X) == generator.score(X)
    assert generator.score(X, sample_weight=w) == generator.score(X, sample_weight=w)
    assert np.isfinite(generator.score(X))


def test_given_cells_come_back_as_they_are_and_the_others_on_their_steps(of_rounded):
    given = pd.DataFrame(np.nan, index=range(60), columns=list(STEPS))
    given.loc[::2, "length"] = 0.333  # on no step
    given.loc[::3, "children"] = 2.0
    given.loc[1::3, "weight"] = 71.25
    drawn = of_rounded.sample(conditions=given, random_state=0)
    known = given.notna().to_numpy()
    np.testing.assert_array_equal(drawn.to_numpy()[known], given.to_numpy()[known])
    assert drawn.notna().all().all()
    assert lie_on_steps(drawn.mask(known, 0.0))


def test_a_stack_draws_rounded_columns_on_their_steps():
    generator = NCSNGenerator(model="stack", **{**ROUNDED_QUICK, "max_steps": 60}).fit(rounded())
    drawn = generator.sample(300, random_state=1)
    assert lie_on_steps(drawn)
    assert drawn["weight"].nunique() == 300


@pytest.mark.parametrize("seed", range(2))
def test_noise_in_the_steps_makes_no_more_rows_for_the_mixture_of_a_stack(seed):
    # The rows are Gaussian; copies of them with noise are not further rows to find modes in.
    generator = NCSNGenerator(model="stack", **ROUNDED_QUICK).fit(rounded(seed=seed))
    _, mixture = generator.stack_.components
    assert len(mixture.variances) <= 2


def test_rows_of_an_array_lie_on_steps_too():
    X = rounded().to_numpy()
    drawn = NCSNGenerator(**ROUNDED_QUICK).fit(X).sample(100, random_state=1)
    assert lie_on_steps(pd.DataFrame(drawn, columns=list(STEPS)))


def test_the_first_rounded_rows_of_a_seed_do_not_depend_on_how_many_are_drawn():
    X = rounded().to_numpy(copy=True)
    X[:, 1] = (50 * X[:, 1]).round() / 3  # thirds have no last decimal
    generator = NCSNGenerator(**ROUNDED_QUICK).fit(X)
    np.testing.assert_allclose(generator.rounding_steps_[:2], [1, 5 / 3])
    many = generator.sample(300, random_state=2)
    for n in (1, 5, 40):
        np.testing.assert_array_equal(generator.sample(n, random_state=2), many[:n])


def test_a_row_of_weight_two_is_a_row_given_twice_with_rounded_columns():
    X, w = rounded(60), np.random.RandomState(1).randint(0, 3, size=60)
    weighted = NCSNGenerator(**ROUNDED_QUICK).fit(X, sample_weight=w)
    repeated = NCSNGenerator(**ROUNDED_QUICK).fit(X.loc[np.repeat(np.arange(60), w)])
    pd.testing.assert_frame_equal(
        weighted.sample(30, random_state=0), repeated.sample(30, random_state=0)
    )


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_processes_of_one_network_cannot_be_told_apart(seed):
    X = draws(DENSITY, 1000, seed=seed)
    generator = NCSNGenerator(max_steps=500, random_state=seed).fit(X)
    drawn = {
        noise: with_params(generator, noise=noise, n_sampling_steps=100).sample(1000, seed)
        for noise in ("edm", "ve", "vp", "sub_vp")
    }
    again = generator.sample(1000, seed + 1)
    floor = sliced_wasserstein(drawn["edm"], again)
    for noise in ("ve", "vp", "sub_vp"):
        assert sliced_wasserstein(drawn[noise], again) < 1.5 * floor + 0.02
        assert c2st(drawn[noise], again, random_state=0) < 0.55


def sliced_wasserstein(a, b, n_directions=50):
    v = np.random.RandomState(0).normal(size=(a.shape[1], n_directions))
    v /= np.linalg.norm(v, axis=0)
    return np.abs(np.sort(a @ v, axis=0) - np.sort(b @ v, axis=0)).mean()


def test_nothing_is_printed_by_default(exact, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stdout", stream)
    exact.sample(2, random_state=0)
    assert stream.getvalue() == ""
