"""DenoisingScoreEstimatorCV: the path of noise levels, the choice, and the fit at the choice."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold, TimeSeriesSplit
from sklearn.preprocessing import StandardScaler

from skscore import DenoisingScoreEstimator, DenoisingScoreEstimatorCV, denoising_cv
from skscore.datasets import Banana
from skscore.pipeline import make_generative_pipeline

SEED = 0
QUICK = {"hidden_units": (16,), "max_steps": 20, "batch_size": 32, "random_state": SEED}
SIGMAS = [0.1, 0.4, 1.6]


def search(sigmas=SIGMAS, **options):
    return DenoisingScoreEstimatorCV(sigmas, **{"cv": 2, **QUICK, **options})


def data(n=60, d=2, seed=SEED):
    return np.random.RandomState(seed).normal(size=(n, d))


def rounded(n=80):
    X = data(n)
    X[:, 1] = (3 * X[:, 1]).round()
    return X


@pytest.fixture(scope="module")
def fitted():
    return search(cv=3).fit(data())


@pytest.fixture
def without_networks(monkeypatch):
    """Take a path for granted, and keep what it was asked for."""
    seen = {}

    def given(network, folds, sigmas, seed, n_jobs):
        folds = list(folds)
        seen.update(network=network, folds=folds, sigmas=sigmas, seed=seed, n_jobs=n_jobs)
        return seen.get("path", np.zeros((len(folds), len(sigmas))))

    monkeypatch.setattr(denoising_cv, "score_path", given)
    return seen


def as_rows(model, z):
    """Rows of z in the units of X, rounded, in lexicographic order."""
    return np.unique((z * model.scale_ + model.mean_).round(9), axis=0)


# What a fit leaves.


def test_the_fit_has_a_path_of_each_fold_over_rising_levels(fitted):
    assert fitted.sigmas_.tolist() == SIGMAS
    assert fitted.score_path_.shape == (3, 3)
    assert np.isfinite(fitted.score_path_).all()
    errors = fitted.score_path_.std(axis=0, ddof=1) / 3**0.5
    np.testing.assert_allclose(fitted.score_path_std_, errors)
    np.testing.assert_array_equal(search([1.6, 0.1, 0.4, 0.1]).fit(data()).sigmas_, SIGMAS)


def test_the_level_of_the_best_mean_is_chosen(fitted):
    assert fitted.sigma_ == fitted.sigmas_[fitted.score_path_.mean(axis=0).argmax()]
    assert isinstance(fitted.sigma_, float)


@pytest.mark.parametrize("seed", range(3))
def test_the_fit_is_that_of_the_estimator_of_one_level_at_what_was_chosen(seed):
    X, w = data(), np.random.RandomState(seed).exponential(size=60)
    found = search(random_state=seed).fit(X, sample_weight=w)
    alone = DenoisingScoreEstimator(found.sigma_, **{**QUICK, "random_state": seed})
    alone.fit(X, sample_weight=w)
    at = data(20, seed=9)
    for method in ("score_function", "transform", "score"):
        a, b = (getattr(model, method)(at) for model in (found, alone))
        np.testing.assert_array_equal(a, b)
    a, b = (model.sample(30, random_state=1) for model in (found, alone))
    np.testing.assert_array_equal(a, b)
    assert found.step_size_ == alone.step_size_


def test_only_the_level_that_was_chosen_can_be_read(fitted):
    X = data()
    np.testing.assert_array_equal(fitted.score_function(X, fitted.sigma_), fitted.score_function(X))
    with pytest.raises(ValueError, match=rf"has learnt sigma={fitted.sigma_} alone"):
        fitted.score_function(X, 0.123)


def test_it_has_the_parameters_of_the_estimator_of_one_level_but_its_level():
    own = {"sigmas", "cv", "selection", "n_jobs"}
    params = DenoisingScoreEstimatorCV().get_params()
    plain = DenoisingScoreEstimator().get_params()
    assert set(params) - own == set(plain) - {"sigma"}
    assert {name: params[name] for name in set(params) - own} == {
        name: value for name, value in plain.items() if name != "sigma"
    }


def test_an_unfitted_search_says_so():
    for method in ("score_function", "transform", "score"):
        with pytest.raises(NotFittedError):
            getattr(search(), method)(data())


def test_what_networks_of_folds_are_trained_with_is_what_was_given(without_networks):
    options = {
        "parametrization": "score",
        "lr": 1e-3,
        "early_stopping": False,
        "validation_fraction": 0.3,
    }
    found = search(n_jobs=3, **options).fit(rounded())
    network = without_networks["network"]
    assert network.ends == (0.1, 1.6)
    np.testing.assert_allclose(network.dequantize, [0, 1 / found.scale_[1]])
    for name, value in {**options, **QUICK}.items():
        if name != "random_state":
            assert getattr(network, name) == value
    assert without_networks["n_jobs"] == 3
    assert without_networks["sigmas"] == SIGMAS


# The choice.


@pytest.mark.parametrize(("selection", "expected"), [("min", 0.1), ("1se", 0.4)])
def test_the_rule_that_was_asked_for_reads_the_path(without_networks, selection, expected):
    without_networks["path"] = np.array([[2.0, 1.7, 0.0], [3.0, 2.7, 0.0]])
    assert search(selection=selection).fit(data()).sigma_ == expected


@pytest.mark.parametrize("seed", range(2))
def test_one_standard_error_never_chooses_a_smaller_level_on_the_same_path(seed):
    options = {"sigmas": 4, "cv": 3, "random_state": seed}
    best, smoothest = (
        search(**options, selection=rule).fit(data(seed=seed)) for rule in ("min", "1se")
    )
    np.testing.assert_array_equal(best.score_path_, smoothest.score_path_)
    assert smoothest.sigma_ >= best.sigma_


# Levels and units.


def test_a_number_is_that_of_levels_between_a_hundredth_and_one_standard_deviation(
    without_networks,
):
    X = data() * [1.0, 30.0]
    np.testing.assert_allclose(search(5).fit(X).sigmas_, np.geomspace(0.01, 1, 5))
    assert len(DenoisingScoreEstimatorCV(cv=2, **QUICK).fit(X).sigmas_) == 12
    unit = X.var(axis=0).mean() ** 0.5
    raw = search(5, standardize=False)
    np.testing.assert_allclose(raw.fit(X).sigmas_, unit * np.geomspace(0.01, 1, 5))
    np.testing.assert_allclose(raw.fit(7 * X - 3).sigmas_, 7 * unit * np.geomspace(0.01, 1, 5))
    w = np.random.RandomState(1).exponential(size=60)
    variances = np.diag(np.cov(X.T, aweights=w, ddof=0))
    assert raw.fit(X, sample_weight=w).sigmas_[-1] == pytest.approx(variances.mean() ** 0.5)


@pytest.mark.parametrize("scale", [[8.0, 0.25], [3.0, 1e-4]])
def test_units_of_the_columns_change_nothing_where_they_are_standardised(scale):
    X = data(80)
    found, scaled = (search(4).fit(x) for x in (X, X * scale + [0.0, 2.0]))
    assert scaled.sigma_ == found.sigma_
    np.testing.assert_allclose(scaled.score_path_, found.score_path_, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "sigmas", [[0.1], [0.1, 0.1], [0.1, -1.0], [0.0, 1.0], [[0.1, 0.2]], [0.1, np.nan]]
)
def test_what_is_no_choice_of_levels_is_refused(sigmas):
    message = "are no noise levels to choose from; give two or more different positive numbers, or"
    with pytest.raises(ValueError, match=message) as error:
        search(sigmas).fit(data())
    assert str(error.value).startswith(f"sigmas={sigmas!r} are")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigmas": 1}, r"'sigmas' parameter .* int in the range \[2, inf\) or an array-like"),
        ({"sigmas": "auto"}, "'sigmas' parameter"),
        ({"cv": 1}, r"'cv' parameter .* int in the range \[2, inf\)"),
        ({"cv": None}, "'cv' parameter"),
        ({"selection": "best"}, "'selection' parameter"),
        ({"n_jobs": "all"}, "'n_jobs' parameter"),
    ],
)
def test_parameters_out_of_their_range_are_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        search(**options).fit(data())


# Folds.


def test_the_order_of_the_rows_does_not_matter_for_a_number_of_folds():
    X = data()
    found, shuffled = (search().fit(x) for x in (X, np.random.RandomState(3).permutation(X)))
    np.testing.assert_array_equal(found.score_path_, shuffled.score_path_)
    np.testing.assert_array_equal(found.score_function(X), shuffled.score_function(X))


def test_a_row_of_weight_two_is_a_row_given_twice():
    X, w = data(), np.random.RandomState(1).randint(0, 4, size=60)
    weighted = search().fit(X, sample_weight=w)
    repeated = search().fit(np.repeat(X, w, axis=0))
    np.testing.assert_array_equal(weighted.score_path_, repeated.score_path_)
    np.testing.assert_array_equal(weighted.score_function(X), repeated.score_function(X))


def test_a_row_that_repeats_is_on_one_side_only(without_networks):
    X = np.tile(data(20), (3, 1))
    search(cv=4).fit(X)
    held_out = []
    for (seen, w_seen), (own, w_own) in without_networks["folds"]:
        assert not set(map(tuple, seen)) & set(map(tuple, own))
        assert set(w_seen) == set(w_own) == {3.0}
        held_out += map(tuple, own)
    assert len(held_out) == len(set(held_out)) == 20


def test_the_seed_decides_the_folds_and_the_networks(fitted):
    np.testing.assert_array_equal(search(cv=3).fit(data()).score_path_, fitted.score_path_)
    other = search(cv=3, random_state=1).fit(data())
    assert (other.score_path_ != fitted.score_path_).all()


@pytest.mark.parametrize(
    "cv",
    [
        KFold(3),
        KFold(3, shuffle=True, random_state=1),
        TimeSeriesSplit(4),
        [(np.arange(20), np.arange(20, 25)), (np.arange(10, 40), np.arange(5))],
    ],
    ids=["KFold", "shuffled", "TimeSeriesSplit", "iterable"],
)
def test_splitters_and_indices_are_taken_as_they_are(without_networks, cv):
    X, w = data(), np.random.RandomState(1).exponential(size=60)
    model = search(cv=cv).fit(X, sample_weight=w)
    expected = list(cv.split(X)) if hasattr(cv, "split") else cv
    assert len(without_networks["folds"]) == len(expected)
    for ((seen, w_seen), (own, w_own)), (train, test) in zip(
        without_networks["folds"], expected, strict=True
    ):
        np.testing.assert_allclose(as_rows(model, seen), np.unique(X[train].round(9), axis=0))
        np.testing.assert_allclose(own * model.scale_ + model.mean_, X[test])
        assert sorted(w_seen) == sorted(w[train])
        np.testing.assert_array_equal(w_own, w[test])
    assert model.score_path_.shape == (len(expected), 3)


def test_rows_of_a_group_are_on_one_side_only(without_networks):
    X, groups = data(), np.arange(60) % 7
    model = search(cv=GroupKFold(3)).fit(X, groups=groups)
    group_of = dict(zip(map(tuple, X.round(9)), groups, strict=True))
    for (seen, _), (own, _) in without_networks["folds"]:
        sides = [{group_of[tuple(row)] for row in as_rows(model, z)} for z in (seen, own)]
        assert not sides[0] & sides[1]
        assert sides[0] | sides[1] == set(range(7))


def test_targets_are_handed_to_the_splitter(without_networks):
    X, y = data(), np.arange(60) % 2
    model = search(cv=StratifiedKFold(3)).fit(X, y)
    kind_of = dict(zip(map(tuple, X.round(9)), y, strict=True))
    for _, (own, _) in without_networks["folds"]:
        assert sum(kind_of[tuple(row)] for row in as_rows(model, own)) == 10


def test_repeated_rows_to_train_on_are_weights_with_a_splitter_too():
    X, w = data(40), np.random.RandomState(1).randint(1, 4, size=40)
    index = np.repeat(np.arange(40), w)
    parts = [(np.arange(20), np.arange(20, 40)), (np.arange(20, 40), np.arange(20))]
    repeated = [tuple(np.flatnonzero(np.isin(index, side)) for side in part) for part in parts]
    a = search(cv=parts).fit(X, sample_weight=w)
    b = search(cv=repeated).fit(X[index])
    np.testing.assert_allclose(a.score_path_, b.score_path_, rtol=1e-12)
    np.testing.assert_array_equal(a.score_function(X), b.score_function(X))


def test_groups_beside_a_number_of_folds_are_refused():
    message = r"groups were given, but cv=2 splits rows without regard .* cv=GroupKFold\(\)"
    with pytest.raises(ValueError, match=message):
        search().fit(data(), groups=np.arange(60) % 3)


def test_fewer_distinct_rows_than_folds_are_held_out_one_by_one():
    X = np.repeat(data(4), 10, axis=0)
    assert search(cv=5).fit(X).score_path_.shape[0] == 4


# Rounded columns.


def test_columns_that_repeat_values_are_refused_by_number_where_they_get_no_noise():
    message = r"^No noise level can be chosen on these rows: 1 of 2 columns .*: column 1 \(steps of"
    with pytest.raises(ValueError, match=message) as error:
        search(dequantize=None).fit(rounded())
    assert "Use dequantize='auto'" in str(error.value)


def test_columns_of_a_frame_that_repeat_values_are_refused_by_name():
    frame = pd.DataFrame(rounded(), columns=["length", "children"])
    with pytest.raises(ValueError, match=r"No noise level .* values: 'children' \(steps of 1\)"):
        search(dequantize=[0.5, 0.0]).fit(frame)


def test_many_zeros_are_refused_since_no_step_is_found_and_taken_with_a_step_of_the_user():
    X = data(200)
    X[:60, 0] = 0
    with pytest.raises(ValueError, match=r"column 0 \(0 in 30% of the rows\)"):
        search().fit(X)
    assert np.isfinite(search(dequantize=[0.2, 0.0]).fit(X).score_path_).all()


def test_rounded_columns_get_noise_by_default_and_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = search().fit(rounded())
    np.testing.assert_array_equal(found.rounding_steps_, [0, 1])
    drawn = found.sample(50, random_state=0)
    np.testing.assert_array_equal(drawn[:, 1], drawn[:, 1].round())
    assert (drawn[:, 0] != drawn[:, 0].round()).all()


# Company.


def test_folds_at_a_time_give_the_same_bits():
    X = data()
    one, two = (search(n_jobs=n_jobs).fit(X) for n_jobs in (None, 2))
    np.testing.assert_array_equal(one.score_path_, two.score_path_)
    np.testing.assert_array_equal(one.score_function(X), two.score_function(X))


def test_data_frames_come_back_as_data_frames_whatever_the_folds():
    X = pd.DataFrame(rounded(), columns=["a", "b"]).astype({"b": "int64"})
    X.index = X.index[::-1]
    plain = search(cv=KFold(2)).fit(X.to_numpy())
    found = search(cv=KFold(2)).fit(X)
    np.testing.assert_array_equal(found.score_path_, plain.score_path_)
    assert found.feature_names_in_.tolist() == ["a", "b"]
    drawn = found.sample(5, random_state=0)
    assert list(drawn.columns) == ["a", "b"]
    assert drawn.dtypes.equals(X.dtypes)
    with pytest.raises(ValueError, match="feature names"):
        found.score(X.rename(columns={"a": "c"}))


def test_a_pipeline_ends_in_a_search():
    X = data() * [1.0, 50.0] + [3.0, 0.0]
    pipeline = make_generative_pipeline(StandardScaler(), search()).fit(X)
    scaled = StandardScaler().fit(X)
    alone = search().fit(scaled.transform(X))
    last = pipeline[-1]
    assert last.sigma_ == alone.sigma_
    np.testing.assert_array_equal(last.score_path_, alone.score_path_)
    np.testing.assert_allclose(
        pipeline.sample(20, random_state=0),
        scaled.inverse_transform(alone.sample(20, random_state=0)),
    )
    np.testing.assert_allclose(
        pipeline.score_function(X),
        alone.score_function(scaled.transform(X)) / scaled.scale_,
        rtol=1e-6,
    )


def test_a_search_is_cloned_without_its_fit_and_fitted_again_without_its_past(fitted):
    assert not hasattr(clone(fitted), "score_path_")
    again = search(cv=3).fit(data(90, 3))
    again.fit(data())
    np.testing.assert_array_equal(again.score_path_, fitted.score_path_)
    np.testing.assert_array_equal(again.score_function(data()), fitted.score_function(data()))


@pytest.mark.slow
def test_rounding_moves_the_choice_by_no_more_than_one_step():
    X = Banana(2).sample(400, random_state=SEED)
    levels = np.geomspace(0.03, 1, 7)
    exact, noisy = (
        DenoisingScoreEstimatorCV(levels, cv=3, random_state=SEED).fit(x).sigma_
        for x in (X, X.round(1))
    )
    at = [np.flatnonzero(levels == sigma)[0] for sigma in (exact, noisy)]
    assert abs(at[0] - at[1]) <= 1
    assert 0 < at[0] < 6
