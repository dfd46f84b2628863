"""ScoreImputer: missing cells are drawn given the others."""

from copy import copy

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skscore.tabular import ScoreImputer, TabularGenerator
from skscore.tabular._cells import missing_cells
from skscore.tabular.impute import _pooled

QUICK = TabularGenerator(max_steps=2, hidden_units=(8,))


def table(n=120, seed=0):
    rng = np.random.RandomState(seed)
    x = rng.standard_normal(n)
    df = pd.DataFrame(
        {
            "x": x,
            "y": x + 0.3 * rng.standard_normal(n),
            "count": rng.poisson(3, n),
            "sign": pd.Categorical(np.where(x > 0, "plus", "minus")),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.randint(0, 60, n), "D"),
        }
    )
    return df


def holed(df, seed=1, rate=0.2):
    rng = np.random.RandomState(seed)
    return df.mask(rng.random_sample(df.shape) < rate)


@pytest.fixture(scope="module")
def fitted():
    return ScoreImputer(generator=QUICK, random_state=0).fit(holed(table()))


@pytest.mark.parametrize("strategy", ["mean", "draw"])
def test_given_cells_stay_and_missing_ones_are_filled(strategy):
    df = holed(table())
    imputer = ScoreImputer(strategy=strategy, n_draws=3, generator=QUICK, random_state=0).fit(df)
    filled = imputer.transform(df)
    assert filled.notna().all(axis=None)
    assert filled.dtypes.equals(df.dtypes)
    assert filled.index.equals(df.index)
    known = df.notna()
    pd.testing.assert_frame_equal(filled.where(known), df)
    pd.testing.assert_frame_equal(imputer.transform(df), filled)


def test_a_table_without_holes_comes_back(fitted):
    df = table(10)
    pd.testing.assert_frame_equal(fitted.transform(df), df)
    assert len(fitted.sample_imputations(df, 2)) == 2


def test_holes_may_be_where_there_were_none_in_fit():
    imputer = ScoreImputer(generator=QUICK, random_state=0).fit(table())
    assert imputer.transform(holed(table(20, seed=3))).notna().all(axis=None)


def test_imputations_differ_and_their_mean_is_the_default(fitted):
    df = holed(table())
    tables = fitted.sample_imputations(df, 20, random_state=0)
    assert len(tables) == 20
    gone = df["x"].isna()
    draws = np.stack([t["x"][gone] for t in tables])
    assert (draws.std(axis=0) > 0).all()
    filled = fitted.transform(df)
    rows = df.isna().any(axis=1)
    even = copy(fitted.generator_).set_params(initial_noise="sobol")
    many = df[rows].iloc[np.repeat(np.arange(rows.sum()), 32)]
    drawn = even.sample(conditions=many, random_state=0)
    means = drawn["x"].to_numpy().reshape(-1, 32).mean(axis=1)
    np.testing.assert_allclose(filled["x"][rows], means, atol=1e-12)
    labels = drawn["sign"].to_numpy().reshape(-1, 32)
    for label, own in zip(filled["sign"][rows], labels, strict=True):
        assert (own == label).sum() >= 16
    # Independent draws have the same mean and the same commonest label, but for chance.
    error = draws.std(axis=0) * np.sqrt(1 / 20 + 1 / 32)
    assert (np.abs(filled["x"][gone] - draws.mean(axis=0)) < 4 * error).all()
    drawn = pd.concat([t["sign"] for t in tables], axis=1)
    for row in df.index[df["sign"].isna()]:
        assert (drawn.loc[row] == filled["sign"][row]).mean() > 0.5 - 4 * 0.5 / np.sqrt(20)


def test_medians_are_those_of_the_same_draws(fitted):
    df = holed(table())
    rows = df.isna().any(axis=1)
    even = copy(fitted.generator_).set_params(initial_noise="sobol")
    many = df[rows].iloc[np.repeat(np.arange(rows.sum()), 32)]
    drawn = even.sample(conditions=many, random_state=0)["x"].to_numpy().reshape(-1, 32)
    filled, by_mean = copy(fitted).set_params(strategy="median").transform(df), fitted.transform(df)
    np.testing.assert_allclose(filled["x"][rows], np.median(drawn, axis=1), atol=1e-12)
    pd.testing.assert_series_equal(filled["sign"], by_mean["sign"])
    assert filled.dtypes.equals(by_mean.dtypes)
    assert not filled.equals(by_mean)


def test_medians_of_arrays_whole_numbers_and_dates():
    days = pd.date_range("2024-01-01", periods=3, unit="s")
    draws = [
        pd.DataFrame({"day": [day], "n": pd.Series([n], dtype="Int64"), "x": [x]})
        for day, n, x in zip(days, (0, 1, 9), (0.0, 1.0, 9.0), strict=True)
    ]
    numeric = {"day", "n", "x"}
    median, mean = (_pooled(draws, average, numeric) for average in (np.median, np.mean))
    assert median["day"][0] == mean["day"][0] == days[1]
    assert (median["n"][0], mean["n"][0]) == (1, 3)
    assert (median["x"][0], mean["x"][0]) == (1.0, 10 / 3)
    assert median.dtypes.equals(draws[0].dtypes)
    arrays = [frame[["x"]].to_numpy() for frame in draws]
    assert _pooled(arrays, np.median, {0, 1}) == 1.0
    mixed = [np.array([[x, "a"]], dtype=object) for x in (0.0, 1.0, 9.0)]
    assert _pooled(mixed, np.median, {0}).tolist() == [[1.0, "a"]]


def test_arrays_and_pipelines():
    X = holed(table())[["x", "y"]].to_numpy()
    pipe = make_pipeline(ScoreImputer(n_draws=2, generator=QUICK, random_state=0), StandardScaler())
    assert np.isfinite(pipe.fit_transform(X)).all()
    assert pipe[:1].get_feature_names_out().tolist() == ["x0", "x1"]
    frame = ScoreImputer(n_draws=2, generator=QUICK).fit(holed(table()))
    assert frame.get_feature_names_out().tolist() == table().columns.tolist()


def test_other_weights_are_other_tables():
    X = np.array([[0.0, np.nan], [0.0, 1.0], [1.0, 1.0], [2.0, 5.0], [3.0, 5.0]] * 4)
    weights = (X[:, 1] != 5).astype(float)
    imputer = ScoreImputer(generator=QUICK, random_state=0).fit(X, sample_weight=weights)
    assert (imputer.transform(X[:1])[:, 1] == 1.0).all()


def test_what_cannot_be_done_is_refused(fitted):
    with pytest.raises(NotFittedError):
        ScoreImputer().transform(table())
    with pytest.raises(ValueError, match="'strategy' parameter of ScoreImputer"):
        ScoreImputer(strategy="mode").fit(table())
    with pytest.raises(ValueError, match="feature names should match"):
        fitted.transform(holed(table()).rename(columns={"x": "z"}))
    polars = pytest.importorskip("polars")
    with pytest.raises(TypeError, match="X is a polars frame"):
        fitted.transform(polars.DataFrame({"x": [1.0]}))
    with pytest.raises(TypeError, match="X is a polars frame"):
        ScoreImputer().fit(polars.DataFrame({"x": [1.0, None]}))


@parametrize_with_checks([ScoreImputer(generator=QUICK, n_draws=2, random_state=0)])
def test_scikit_learn_finds_an_estimator(estimator, check):
    check(estimator)


def test_draws_of_a_mean_are_spread_evenly():
    df = holed(table())[["x", "y"]]
    imputer = ScoreImputer(n_draws=16, generator=QUICK, random_state=0).fit(df)
    gone = df["y"].isna().to_numpy()
    even, independent = [], []
    for seed in range(20):
        draws = imputer.sample_imputations(df, 16, random_state=100 + seed)
        independent.append(np.mean([t["y"][gone] for t in draws], axis=0))
        even.append(imputer.set_params(random_state=seed).transform(df)["y"][gone])
    assert np.std(even, axis=0).mean() < 0.6 * np.std(independent, axis=0).mean()
    error = np.std(independent) / 20**0.5
    assert np.mean(even) == pytest.approx(np.mean(independent), abs=4 * error)


def test_labels_are_never_averaged():
    rng = np.random.RandomState(0)
    df = pd.DataFrame({"x": rng.normal(size=120), "code": rng.choice([1.0, 5.0, 9.0], 120)})
    df.loc[:20, "code"] = np.nan
    for X, label in ((df, "code"), (df.to_numpy(), 1)):
        imputer = ScoreImputer(
            generator=clone(QUICK).set_params(categorical=[label]), n_draws=8, random_state=0
        )
        filled = np.asarray(imputer.fit(X).transform(X))
        assert set(filled[:, 1]) == {1.0, 5.0, 9.0}


@pytest.mark.parametrize("levels", [[True, False], [1, 2, "a"]])
def test_labels_of_object_arrays_are_never_averaged(levels):
    X = np.empty((120, 2), dtype=object)
    X[:, 0] = np.random.RandomState(0).normal(size=120)
    X[:, 1] = [levels[i % len(levels)] for i in range(120)]
    X[:6, 1] = None
    imputer = ScoreImputer(generator=QUICK, n_draws=8, random_state=0).fit(X)
    for seed in range(5):
        filled = imputer.set_params(random_state=seed).transform(X[:6])[:, 1]
        assert all(any(cell is level for level in levels) for cell in filled)


def test_numbers_among_objects_are_averaged_whatever_holds_them():
    rng = np.random.RandomState(0)
    X = np.empty((120, 2), dtype=object)
    X[:, 0], X[:, 1] = [np.int64(v) for v in rng.randint(0, 1000, 120)], rng.normal(size=120)
    X[:60, 0] = None
    for table, column in (
        (X, lambda filled: filled[:, 0]),
        (pd.DataFrame(X, columns=["k", "x"]), lambda filled: filled["k"].to_numpy()),
    ):
        numeric = [0] if table is X else ["k"]
        generator = clone(QUICK).set_params(numeric=numeric)
        imputer = ScoreImputer(generator=generator, random_state=0).fit(table)
        draws = np.stack([column(t)[:60] for t in imputer.sample_imputations(table, 5)])
        assert np.std(column(imputer.transform(table))[:60]) < 0.5 * np.std(draws.astype(float))


def test_dates_of_arrays_are_averaged():
    X = np.random.RandomState(0).randint(0, 1000, (120, 2)).astype("M8[D]")
    X[:40, 1] = np.datetime64("NaT")
    imputer = ScoreImputer(generator=QUICK, random_state=0).fit(X)
    filled = imputer.transform(X)
    assert filled.dtype == X.dtype
    days = filled[:40, 1].astype(int)
    assert 0 <= days.min() <= days.max() < 1000
    assert days.std() < 0.5 * X[40:, 1].astype(int).std()


@pytest.mark.parametrize(
    ("name", "cells", "dtype"),
    [
        ("s", [np.nan] * 4, None),
        ("s", pd.Categorical(["a", None, "b", "b"]), None),
        ("d", [np.nan] * 4, None),
        ("c", pd.Categorical([None, "a", "a", None]), None),
        ("x", np.array([1, np.nan, 3, 4], dtype=np.float32), np.float64),
        ("x", pd.array([1, None, 3, 4], dtype="Int64"), np.float64),
        ("k", [1.0, np.nan, 3.0, 4.0], np.float64),
    ],
)
def test_columns_may_come_in_another_dtype(name, cells, dtype):
    rng = np.random.RandomState(0)
    df = pd.DataFrame({"x": rng.normal(size=120), "k": rng.randint(0, 99, 120)})
    df["s"] = rng.choice(list("abc"), 120)
    df["c"] = pd.Categorical(df["s"])
    df["d"] = pd.Timestamp("2024") + pd.to_timedelta(df["k"], unit="D")
    imputer = ScoreImputer(generator=QUICK, n_draws=2, random_state=0).fit(df)
    given = df.iloc[:4].assign(**{name: cells})
    filled = imputer.transform(given)
    assert filled[name].notna().all()
    assert filled[name].dtype == (df[name].dtype if dtype is None else dtype)
    known = given[name].notna()
    assert filled[name][known].tolist() == given[name][known].tolist()


def test_a_table_without_holes_is_copied(fitted):
    df = table()
    assert fitted.transform(df) is not df


@pytest.mark.slow
def test_means_are_near_and_draws_as_wide_as_the_conditional_law():
    n = 1500
    df = table(n)[["x", "y", "sign"]]
    rng = np.random.RandomState(5)
    gone = rng.random_sample(n) < 0.3
    hidden = df.assign(y=df["y"].mask(gone))
    generator = TabularGenerator(max_steps=1250, early_stopping="loss")
    imputer = ScoreImputer(generator=generator, random_state=0).fit(hidden)
    error = (imputer.transform(hidden)["y"] - df["y"])[gone]
    # The best guess is x, with an error of .3.
    assert np.sqrt((error**2).mean()) < 0.3 * 1.2
    draws = np.stack([t["y"][gone] for t in imputer.sample_imputations(hidden, 20, random_state=1)])
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    truth = df["y"][gone].to_numpy()
    covered = ((low <= truth) & (truth <= high)).mean()
    # Of 20 normal draws, the quantiles at .05 and .95 hold 0.82 of a further one.
    assert 0.74 < covered < 0.90


def test_a_list_of_mixed_rows_keeps_its_numbers():
    imputer = ScoreImputer(generator=QUICK, random_state=0).fit([[1.5, "a"], [2.5, "b"]] * 20)
    for filled in (imputer.transform([[1.5, "a"]]), imputer.sample_imputations([[1.5, "a"]], 1)[0]):
        assert filled.tolist() == [[1.5, "a"]]


def test_a_column_without_cells_stays_missing_and_is_named():
    rng = np.random.RandomState(0)
    for X in (pd.DataFrame({"a": rng.normal(size=40), "b": np.nan}), rng.normal(size=(40, 2))):
        table = X if isinstance(X, pd.DataFrame) else np.where([False, True], np.nan, X)
        name = "'b'" if isinstance(X, pd.DataFrame) else "1"
        with pytest.warns(UserWarning, match=rf"No cell of the columns \[{name}\] is given"):
            imputer = ScoreImputer(generator=QUICK, random_state=0).fit(table)
        filled = np.asarray(imputer.transform(table))
        assert np.isnan(filled[:, 1]).all()
        np.testing.assert_array_equal(filled[:, 0], np.asarray(table)[:, 0])


def impute(fit, new, **options):
    generator = TabularGenerator(max_steps=2, hidden_units=(8,), **options)
    imputer = ScoreImputer(generator=generator, n_draws=4, random_state=0).fit(fit)
    return imputer.transform(new)


X24 = np.random.RandomState(1).normal(size=24)


@pytest.mark.parametrize(
    ("fitted", "given"),
    [
        (pd.Categorical(["a", "b"] * 12), pd.Series(["new", "a", None], dtype="category")),
        (np.arange(24), pd.array([0.5, None, 2], dtype="Float64")),
        (pd.array(range(24), dtype="Int8"), pd.array([300, 3, None], dtype="Int64")),
        (np.array([True, False] * 12), np.array(["no", True, None], dtype=object)),
        (
            pd.date_range("2020", periods=24).astype("M8[s]"),
            pd.to_datetime(["2020-01-02 03:04:05.678", None, "2020-01-03"], format="mixed"),
        ),
        (
            pd.date_range("2020", periods=24),
            pd.to_datetime(["2020-01-02", "2020-01-03", None]).tz_localize("UTC"),
        ),
    ],
)
def test_given_cells_that_the_dtype_of_fit_does_not_hold_stay(fitted, given):
    fit, new = pd.DataFrame({"c": fitted, "x": X24}), pd.DataFrame({"c": given, "x": X24[:3]})
    known = new["c"].notna()
    try:
        filled = impute(fit, new)
    except ValueError as error:  # a row with a hole has such a cell itself
        assert "'c'" in str(error)
    else:
        assert filled["c"][known].tolist() == new["c"][known].tolist()
        assert filled["c"].notna().all()


def test_labels_that_are_large_integers_are_filled_by_their_own():
    levels = [2**60 + 1, 2**60 + 3]
    df = pd.DataFrame({"k": pd.array([*levels, None] * 8, dtype="Int64"), "x": X24})
    assert set(impute(df, df, categorical=["k"])["k"]) == set(levels)


def test_sparse_columns_are_filled():
    cells = pd.arrays.SparseArray([0, np.nan, 1.5, 2] * 6, fill_value=0)
    df = pd.DataFrame({"k": cells, "x": X24})
    filled = impute(df, df)
    assert filled.dtypes.equals(df.dtypes)
    dense, known = filled["k"].sparse.to_dense(), df["k"].notna()
    assert dense.notna().all()
    assert dense[known].tolist() == df["k"].sparse.to_dense()[known].tolist()


def test_cells_of_rows_without_weight_are_not_given():
    df = pd.DataFrame({"a": np.r_[X24[:4], np.full(20, np.nan)], "x": X24})
    with pytest.warns(UserWarning, match=r"No cell of the columns \['a'\]"):
        ScoreImputer(generator=QUICK).fit(df, sample_weight=np.r_[np.zeros(4), np.ones(20)])


def test_holes_in_a_list_of_mixed_rows_are_none_to_be_learnt():
    rows = [[1.5, "a"], [np.nan, "b"], [2.5, "a"], [3.5, "b"]] * 10
    imputers = [
        ScoreImputer(generator=QUICK, random_state=0).fit(X)
        for X in (rows, np.array(rows, dtype=object))
    ]
    ours, theirs = (imputer.sample_imputations(rows, 1)[0] for imputer in imputers)
    np.testing.assert_array_equal(ours, theirs)
    assert missing_cells(rows)[:, 0].sum() == 10


@pytest.mark.parametrize("dtype", ["bool", "boolean", object])
def test_booleans_that_are_named_as_numbers_are_averaged(dtype):
    draws = [pd.DataFrame({"b": pd.Series(own, dtype=dtype)}) for own in ([1, 0], [1, 0], [0, 1])]
    draws = draws if dtype is object else [own.astype(dtype) for own in draws]
    pooled = _pooled(draws, np.mean, {"b"})["b"]
    assert pooled.dtype == draws[0]["b"].dtype
    expected = [2 / 3, 1 / 3] if dtype is object else [True, False]
    np.testing.assert_allclose(pooled.to_numpy(dtype=float), expected)


def test_the_largest_doubles_are_averaged():
    draws = [pd.DataFrame({"x": [1.7e308, -1.7e308, 1.0]}) for _ in range(5)]
    np.testing.assert_allclose(_pooled(draws, np.mean, {"x"})["x"], [1.7e308, -1.7e308, 1.0])


def test_labels_of_columns_need_not_be_strings():
    df = holed(table()).rename(columns={"y": 1, "count": ("a", 2)})
    imputer = ScoreImputer(strategy="draw", generator=QUICK, random_state=0).fit(df)
    filled = imputer.transform(df)
    assert list(filled.columns) == list(df.columns)
    assert filled.notna().all(axis=None)
    with pytest.raises(ValueError, match=r"X has the columns .* give the same ones in the same"):
        imputer.transform(df[df.columns[::-1]])
    with pytest.raises(ValueError, match="X has the columns"):
        imputer.transform(df.rename(columns={1: "y", ("a", 2): "count"}))


def test_what_a_given_cell_may_not_be_names_its_column(fitted):
    df = table(5)
    df["sign"] = pd.Categorical(["plus", "minus", "zero", "plus", "plus"])
    df.loc[2, "x"] = np.nan
    message = r"Cells are given as \['zero'\] in the column 'sign', whose categories are"
    with pytest.raises(ValueError, match=message):
        fitted.transform(df)
