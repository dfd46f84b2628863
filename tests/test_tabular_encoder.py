"""Tables to floats and back: exactly, whatever the columns are."""

import datetime as dt
import pickle
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skscore.tabular.encoder import TabularEncoder

try:
    import narwhals
    import polars as pl
except ImportError:
    narwhals = pl = None
needs_polars = pytest.mark.skipif(pl is None or narwhals is None, reason="needs the extra polars")


def assert_round_trip(X, **params):
    """Assert that rows of fit come back, and return the encoder and the encoded rows."""
    encoder = TabularEncoder(**{"random_state": 0, **params}).fit(X)
    Z = encoder.transform(X)
    assert Z.dtype == np.float64
    assert np.isfinite(Z).all()
    assert Z.shape == (len(X), encoder.n_features_out_)
    back = encoder.inverse_transform(Z)
    if isinstance(X, pd.DataFrame):
        expected = X.reset_index(drop=True)
        pd.testing.assert_frame_equal(
            back, expected, check_exact=True, check_index_type="exact", check_column_type="exact"
        )
    elif not isinstance(X, np.ndarray):
        assert back.schema == X.schema
        assert back.equals(X)
    else:
        assert isinstance(back, np.ndarray)
        assert back.dtype == X.dtype
        np.testing.assert_array_equal(back, X)
    return encoder, Z


# Drawing from the strategies


def whole(dtype):
    info = np.iinfo(dtype)
    return st.integers(max(info.min, -(2**53)), min(info.max, 2**53))


def floats(width=64):
    return st.floats(allow_infinity=False, width=width).map(lambda x: x + 0.0)


def maybe(strategy):
    return st.none() | strategy


LABELS = st.one_of(
    st.text(max_size=3), st.integers(-3, 3), st.booleans(), st.tuples(st.integers(0, 2))
)
DAYS = st.integers(-40_000, 40_000).map(lambda k: dt.datetime(2000, 1, 1) + dt.timedelta(days=k))
MOMENTS = st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2100, 1, 1))
# A double tells apart 104 days of nanoseconds.
NANOSECONDS = st.integers(0, 10**15)
GRADES = pd.CategoricalDtype(["low", "mid", "high"], ordered=True)
COLOURS = pd.CategoricalDtype(["red", "green", "blue", "unseen"])
NUMBERED = pd.CategoricalDtype([10, 20, 30])

COLUMNS = {
    "float64": (floats(), "float64"),
    "large": (st.sampled_from([-1e300, 1e300, 1.7e308, -1.7e308, 1e-300, 0.0]), "float64"),
    "tenths": (st.integers(-50, 50).map(lambda k: k / 10), "float64"),
    "zeros": (st.just(0.0) | st.floats(0, 1), "float64"),
    "float32": (floats(32), "float32"),
    "float16": (floats(16), "float16"),
    "int8": (whole(np.int8), "int8"),
    "int64": (whole(np.int64), "int64"),
    "uint64": (whole(np.uint64), "uint64"),
    "Int64": (maybe(whole(np.int64)), "Int64"),
    "UInt8": (maybe(whole(np.uint8)), "UInt8"),
    "Float64": (maybe(st.floats(-10, 10)), "Float64"),
    "Float32": (maybe(st.floats(-10, 10, width=32)), "Float32"),
    "bool": (st.booleans(), "bool"),
    "boolean": (maybe(st.booleans()), "boolean"),
    "str": (maybe(st.text(max_size=3)), "str"),
    "string": (maybe(st.text(max_size=3)), "string"),
    "object": (maybe(LABELS), "object"),
    "graded": (maybe(st.sampled_from(["low", "high"])), GRADES),
    "coloured": (maybe(st.sampled_from(["red", "green", "blue"])), COLOURS),
    "numbered": (maybe(st.sampled_from([10, 30])), NUMBERED),
    "day": (maybe(DAYS), "datetime64[s]"),
    "moment": (maybe(MOMENTS), "datetime64[us]"),
    "zoned": (maybe(MOMENTS), "datetime64[us, Europe/Paris]"),
    "nanosecond": (maybe(NANOSECONDS), "datetime64[ns]"),
    "lag": (maybe(st.integers(-(10**6), 10**6)), "timedelta64[s]"),
    "month": (maybe(st.integers(-300, 300)), "period[M]"),
    "nan": (st.just(np.nan), "float64"),
    "none": (st.none(), "object"),
    "constant": (st.just(7), "int32"),
}


def as_series(cells, dtype):
    if dtype == "period[M]":
        months = pd.PeriodIndex.from_ordinals([0 if c is None else c for c in cells], freq="M")
        return pd.Series(months).mask([c is None for c in cells])
    if dtype in ("datetime64[ns]", "timedelta64[s]"):
        ticks = np.array([np.iinfo(np.int64).min if c is None else c for c in cells])
        return pd.Series(ticks.astype(np.int64).view(dtype.replace("datetime64", "M8")))
    if "Paris" in str(dtype):
        times = pd.Series(cells, dtype="datetime64[us]")
        return times.dt.tz_localize("UTC").astype(dtype)
    if dtype == "float16":
        cells = np.array(cells, dtype=np.float16)
    return pd.Series(cells, dtype=dtype)


@st.composite
def frames(draw):
    kinds = draw(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=6, unique=True))
    n_rows = draw(st.integers(1, 12))
    columns = {}
    for position, kind in enumerate(kinds):
        strategy, dtype = COLUMNS[kind]
        cells = draw(st.lists(strategy, min_size=n_rows, max_size=n_rows))
        name = draw(st.sampled_from([kind, (kind, 1), position]))
        columns[name] = as_series(cells, dtype)
    frame = pd.DataFrame(columns)
    frame.columns = pd.Index(list(columns), tupleize_cols=False)
    return frame


@settings(max_examples=100, deadline=None, derandomize=True)
@given(frames(), st.sampled_from(["clip", "pareto"]), st.sampled_from([0, 3, 16]))
def test_any_frame_comes_back(df, tails, max_one_hot):
    assert_round_trip(df, tails=tails, max_one_hot=max_one_hot, embedding_dim=4)


@pytest.mark.parametrize("kind", sorted(COLUMNS))
def test_each_dtype_comes_back(kind):
    strategy, dtype = COLUMNS[kind]

    @settings(max_examples=15, deadline=None, derandomize=True)
    @given(st.lists(strategy, min_size=1, max_size=30))
    def check(cells):
        assert_round_trip(pd.DataFrame({kind: as_series(cells, dtype)}))

    check()


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.lists(floats(), min_size=3, max_size=3), min_size=1, max_size=20))
def test_any_array_of_floats_comes_back(rows):
    assert_round_trip(np.array(rows))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(maybe(st.integers(-5, 5)), maybe(st.floats(-1, 1)), maybe(LABELS)), min_size=1
    )
)
def test_any_array_of_objects_comes_back(rows):
    X = np.empty((len(rows), 3), dtype=object)
    for i, row in enumerate(rows):
        for j in range(3):
            X[i, j] = row[j]
    encoder, Z = assert_round_trip(X)
    back = encoder.inverse_transform(Z)
    for j in range(3):
        assert list(map(type, back[:, j])) == list(map(type, X[:, j]))


@pytest.mark.parametrize(
    "X",
    [
        np.array([[1, 2], [3, 2], [1, 5]], dtype=np.int16),
        np.array([[1.5], [2.5]], dtype=np.float32),
        np.array([[True, False], [False, False]]),
        np.array([["a", "bcd"], ["b", "a"], ["b", "bcd"]]),
        np.array([["2020-01-01"], ["2020-03-01"], ["NaT"]], dtype="M8[D]"),
        np.array([["2020-01"], ["2021-03"]], dtype="M8[M]"),
        np.array([[5], [7]], dtype="m8[h]"),
    ],
)
def test_arrays_of_each_kind_come_back(X):
    assert_round_trip(X)


def make_polars():
    return pl.DataFrame(
        {
            "int": [1, None, 3, 3],
            "u8": pl.Series([1, 2, 3, 255], dtype=pl.UInt8),
            "null": [1.5, None, 2.5, 2.5],
            "nan": [1.5, float("nan"), 2.5, 2.5],
            "f32": pl.Series([0.1, 0.2, 0.7, 0.1], dtype=pl.Float32),
            "decimal": pl.Series(["1.10", None, "2.35", "7.00"]).cast(pl.Decimal(10, 2)),
            "bool": [True, None, False, True],
            "str": ["a", None, "b", "b"],
            "category": pl.Series(["x", None, "y", "x"], dtype=pl.Categorical),
            "enum": pl.Series(["x", None, "z", "x"], dtype=pl.Enum(["x", "y", "z"])),
            "date": [dt.date(2020, 1, 1), None, dt.date(2020, 1, 3), dt.date(2020, 1, 3)],
            "zoned": pl.Series([dt.datetime(2020, 1, 1, 3), None] * 2).dt.replace_time_zone("CET"),
            "lag": [dt.timedelta(1), None, dt.timedelta(hours=1), None],
            "time": [dt.time(1), None, dt.time(3, 5), None],
            "empty": pl.Series([None] * 4, dtype=pl.Float64),
        }
    )


@needs_polars
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"categorical": ["int", "nan", "date", "zoned", "time", "lag"]},
        {"numeric": ["enum", "bool"]},
        {"max_one_hot": 1, "embedding_dim": 3},
    ],
)
def test_polars_frames_come_back(params):
    df = make_polars()
    encoder, Z = assert_round_trip(df, **params)
    pickled = pickle.loads(pickle.dumps(encoder))
    assert pickled.inverse_transform(Z).equals(df)
    assert encoder.feature_names_in_.tolist() == df.columns


@needs_polars
def test_polars_and_pandas_frames_are_encoded_alike():
    df = pl.DataFrame({"x": [1.5, 2.5, None], "s": ["a", "b", "a"]})
    ours = TabularEncoder(random_state=0).fit(df)
    theirs = TabularEncoder(random_state=0).fit(pd.DataFrame(df.to_dict(as_series=False)))
    np.testing.assert_array_equal(ours.transform(df), theirs.transform(df))


@needs_polars
def test_polars_frames_go_in_and_come_out_at_both_ends():
    df = make_polars()
    encoder = TabularEncoder(random_state=0).set_output(transform="polars")
    Z = encoder.fit(df, sample_weight=np.ones(len(df))).transform(df)
    assert Z.columns == encoder.get_feature_names_out().tolist()
    assert encoder.inverse_transform(Z).equals(df)


@needs_polars
def test_polars_without_narwhals_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "narwhals", None)
    with pytest.raises(ImportError, match=r"pip install 'skscore\[polars\]'"):
        TabularEncoder().fit(pl.DataFrame({"a": [1, 2]}))


@needs_polars
def test_lazy_and_nested_polars_frames_are_refused():
    df = pl.DataFrame({"a": [[1], [2]]})
    with pytest.raises(TypeError, match="collect"):
        TabularEncoder().fit(df.lazy())
    with pytest.raises(TypeError, match="Column 'a' of dtype .* holds lists"):
        TabularEncoder().fit(df)


def test_arrow_backed_columns_come_back():
    pa = pytest.importorskip("pyarrow")
    df = pd.DataFrame(
        {
            "int": pd.array([1, None, 3], dtype=pd.ArrowDtype(pa.int32())),
            "float": pd.array([1.5, None, 3], dtype=pd.ArrowDtype(pa.float32())),
            "bool": pd.array([True, None, False], dtype=pd.ArrowDtype(pa.bool_())),
            "str": pd.array(["a", None, "b"], dtype=pd.ArrowDtype(pa.string())),
            "time": pd.array(
                [dt.datetime(2020, 1, 1), None, dt.datetime(2020, 1, 5)],
                dtype=pd.ArrowDtype(pa.timestamp("us")),
            ),
            "zoned": pd.array(
                [dt.datetime(2020, 1, 1), None, dt.datetime(2020, 1, 5)],
                dtype=pd.ArrowDtype(pa.timestamp("us", "CET")),
            ),
            "lag": pd.array(
                [dt.timedelta(1), None, dt.timedelta(3)], dtype=pd.ArrowDtype(pa.duration("us"))
            ),
        }
    )
    assert_round_trip(df)


def test_sparse_columns_come_back():
    assert_round_trip(pd.DataFrame({"a": pd.arrays.SparseArray([0.0, 1.0, 0.0, 2.0])}))


def test_multi_index_columns_and_named_ones_come_back():
    columns = pd.MultiIndex.from_tuples([("a", 1), ("a", 2)], names=["letter", "number"])
    df = pd.DataFrame([[1.5, 2], [2.5, 3]], columns=columns)
    encoder, _ = assert_round_trip(df)
    assert encoder.get_feature_names_out().tolist() == ["('a', 1)", "('a', 2)"]


# What is encoded


def make_mixed(n=500, seed=0):
    rng = np.random.RandomState(seed)
    return pd.DataFrame(
        {
            "age": np.where(rng.random_sample(n) < 0.1, np.nan, rng.randint(20, 60, n)),
            "size": rng.standard_normal(n),
            "sex": rng.choice(["female", "male"], n),
            "grade": pd.Categorical(rng.choice(["low", "high"], n), dtype=GRADES),
            "city": pd.Series(rng.choice(["Rome", "Oslo"], n)).mask(rng.random_sample(n) < 0.2),
            "fixed": 3,
            "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.randint(0, 99, n), unit="D"),
        }
    )


def test_feature_groups_and_names():
    df = make_mixed()
    encoder, Z = assert_round_trip(df)
    names = encoder.get_feature_names_out().tolist()
    assert names == (
        ["age", "age given", "age missing", "size", "sex=female", "sex=male", "grade"]
        + ["city=Oslo", "city=Rome", "city missing", "day"]
    )
    groups = [(g.column, g.kind, g.start, g.stop) for g in encoder.feature_groups_]
    assert groups == [
        ("age", "numeric", 0, 1),
        ("age", "missing", 1, 3),
        ("size", "numeric", 3, 4),
        ("sex", "categorical", 4, 6),
        ("grade", "numeric", 6, 7),
        ("city", "categorical", 7, 10),
        ("day", "numeric", 10, 11),
    ]
    assert np.flatnonzero(encoder.quantile_features_).tolist() == [0, 3, 6, 10]
    for group in encoder.feature_groups_:
        if group.kind == "numeric":
            assert group.codebook is None
            assert group.frequencies is None
            continue
        np.testing.assert_array_equal(group.codebook, np.eye(group.stop - group.start))
        np.testing.assert_allclose(group.frequencies, Z[:, group.start : group.stop].mean(axis=0))
    missing = encoder.feature_groups_[1]
    np.testing.assert_array_equal(Z[:, missing.stop - 1] == 1, df["age"].isna())


def test_transform_is_a_draw_from_the_intervals():
    df = make_mixed()
    encoder = TabularEncoder(random_state=3).fit(df)
    lower, upper = encoder.intervals(df)
    drawn = encoder.quantile_features_
    Z = encoder.transform(df)
    u, width = ndtr(Z[:, drawn]), (upper - lower)[:, drawn]
    np.testing.assert_allclose(u[width == 0], lower[:, drawn][width == 0], rtol=1e-12)
    V = ((u - lower[:, drawn])[width > 0]) / width[width > 0]
    assert V.min() >= 0
    assert V.max() <= 1
    for p in (0.1, 0.5, 0.9):
        assert abs((V < p).mean() - p) < 3 * np.sqrt(p * (1 - p) / len(V))
    np.testing.assert_array_equal(Z[:, ~drawn], lower[:, ~drawn])
    np.testing.assert_array_equal(lower[:, ~drawn], upper[:, ~drawn])
    missing = df["age"].isna()
    assert (lower[missing, 0] == 0).all()
    assert (upper[missing, 0] == 1).all()
    size = 3
    np.testing.assert_array_equal(lower[:, size], upper[:, size])


def test_every_draw_from_the_intervals_comes_back():
    df = make_mixed()
    encoder = TabularEncoder().fit(df)
    lower, upper = encoder.intervals(df)
    drawn = encoder.quantile_features_
    for V in (0.0, 0.5, 1.0):
        Z = lower + V * (upper - lower)
        Z[:, drawn] = ndtri(Z[:, drawn].clip(1e-12, 1 - 1e-12))
        pd.testing.assert_frame_equal(encoder.inverse_transform(Z), df)


def test_a_continuous_column_has_normal_quantiles():
    x = np.random.RandomState(0).standard_cauchy((999, 1))
    Z = TabularEncoder().fit_transform(x)
    np.testing.assert_allclose(np.sort(Z[:, 0]), ndtri((np.arange(999) + 0.5) / 999), rtol=1e-9)
    np.testing.assert_array_equal(np.argsort(Z[:, 0]), np.argsort(x[:, 0]))


def test_a_column_of_repeated_and_missing_values_is_normal():
    rng = np.random.RandomState(0)
    n = 20_000
    x = np.where(rng.random_sample(n) < 0.3, 0, rng.randint(0, 4, n)).astype(float)
    x[rng.random_sample(n) < 0.1] = np.nan
    z = np.sort(TabularEncoder(random_state=0).fit_transform(x[:, None])[:, 0])
    for p in (0.01, 0.1, 0.5, 0.9, 0.99):
        # V is as good as n independent draws, so that shares have at most the binomial error.
        standard_error = np.sqrt(p * (1 - p) / n)
        assert abs(np.searchsorted(z, ndtri(p)) / n - p) < 3 * standard_error


def test_atoms_come_back_as_often_as_they_were():
    rng = np.random.RandomState(0)
    n, n_drawn = 3000, 50_000
    x = np.where(rng.random_sample(n) < 0.3, 0, rng.normal(0.5, 1, n)).clip(-0.5, 1.5)
    x[rng.random_sample(n) < 0.1] = np.nan
    encoder = TabularEncoder().fit(x[:, None])
    numeric, missing = encoder.feature_groups_
    codes = rng.choice(2, n_drawn, p=missing.frequencies)
    Z = np.hstack([rng.standard_normal((n_drawn, 1)), missing.codebook[codes]])
    back = encoder.inverse_transform(Z)[:, 0]
    for atom in (0.0, -0.5, 1.5, np.nan):
        hit, expected = [np.mean(np.isnan(v) if np.isnan(atom) else v == atom) for v in (back, x)]
        assert expected > 0.05
        standard_error = np.sqrt(expected * (1 - expected) / n_drawn)
        assert abs(hit - expected) < 3 * standard_error
    for p in (0.25, 0.5, 0.75):
        # Against the bootstrap of the data: the share below a quantile of the data.
        edge = np.nanquantile(x, p)
        ours, theirs = np.mean(back[~np.isnan(back)] < edge), np.mean(x[~np.isnan(x)] < edge)
        assert abs(ours - theirs) < 3 * np.sqrt(theirs * (1 - theirs) / n_drawn) + 1 / n


def test_draws_stay_within_bounds_and_on_the_steps_of_a_column():
    rng = np.random.RandomState(0)
    df = pd.DataFrame(
        {
            "count": rng.poisson(50, 300),
            "price": rng.lognormal(5, 1, 300).round(2),
            "tens": 10 * rng.randint(0, 1000, 300),
            "day": pd.Timestamp("2020-01-01")
            + pd.to_timedelta(7 * rng.randint(0, 400, 300), unit="D"),
            "hour": pd.Timestamp("2020-01-01 00:30")
            + pd.to_timedelta(rng.randint(0, 9999, 300), unit="h"),
        }
    )
    encoder = TabularEncoder().fit(df)
    drawn = encoder.inverse_transform(rng.standard_normal((2000, 5)))
    for name in df:
        assert drawn[name].between(df[name].min(), df[name].max()).all()
        assert drawn[name].nunique() > (df[name].nunique() if name != "count" else 1)
    np.testing.assert_array_equal(drawn["price"], drawn["price"].round(2))
    assert (drawn["tens"] % 10 == 0).all()
    assert ((drawn["day"] - df["day"].min()).dt.days % 7 == 0).all()
    assert (drawn["hour"].dt.minute == 30).all()


def test_pareto_tails_reach_beyond_the_data():
    rng = np.random.RandomState(0)
    X = np.column_stack([rng.standard_t(3, 2000), rng.randint(0, 5, 2000)])
    Z = np.array([[7.0, 7.0], [-7.0, -7.0]])
    assert_round_trip(X, tails="pareto")
    far = TabularEncoder(tails="pareto").fit(X).inverse_transform(Z)
    near = TabularEncoder().fit(X).inverse_transform(Z)
    np.testing.assert_array_equal(near, [X.max(axis=0), X.min(axis=0)])
    np.testing.assert_array_equal(far[:, 1], near[:, 1])
    assert far[0, 0] > 1.5 * near[0, 0]
    assert far[1, 0] < 1.5 * near[1, 0]


def test_single_values_do_not_depend_on_the_other_rows_of_the_call():
    df = make_mixed()[["size", "sex", "city"]]
    encoder = TabularEncoder().fit(df)
    Z = encoder.transform(df)
    order = np.random.RandomState(0).permutation(len(df))[:50]
    np.testing.assert_array_equal(encoder.transform(df.iloc[order]), Z[order])


def test_seeds():
    df = make_mixed()  # with the seed of the encoder, whose V must not be what made the data
    x = (np.random.RandomState(0).random_sample((5000, 1)) < 0.5).astype(float)
    z = TabularEncoder(random_state=0).fit_transform(x)
    assert abs(z.std() - 1) < 3 / np.sqrt(2 * 5000)
    assert abs((np.abs(z) < ndtri(0.75)).mean() - 0.5) < 3 * np.sqrt(0.25 / 5000)
    encoder = TabularEncoder(random_state=0).fit(df)
    np.testing.assert_array_equal(encoder.transform(df), encoder.transform(df))
    free = TabularEncoder().fit(df)
    assert (free.transform(df) != free.transform(df)).any()
    again = TabularEncoder(random_state=0, max_one_hot=2).fit(df)
    np.testing.assert_array_equal(
        again.transform(df), TabularEncoder(random_state=0, max_one_hot=2).fit_transform(df)
    )


# Categories


@pytest.mark.parametrize("n_levels", [40, 10_000])
def test_many_levels_have_short_codes_that_differ(n_levels):
    rng = np.random.RandomState(0)
    levels = np.arange(2 * n_levels) % n_levels
    df = pd.DataFrame({"level": levels.astype(str), "x": rng.standard_normal(2 * n_levels)})
    encoder, Z = assert_round_trip(df, max_stored_values=20_000)
    group = encoder.feature_groups_[0]
    assert group.codebook.shape == (n_levels, 16)
    np.testing.assert_allclose(np.linalg.norm(group.codebook, axis=1), 1)
    np.testing.assert_allclose(group.frequencies, 1 / n_levels)
    sample = group.codebook[:2000]
    gap = 1 - (sample @ sample.T - 2 * np.eye(len(sample))).max()
    assert gap > 1e-4
    # A point not too far from a code is still that level.
    near = Z + 1e-3 * rng.standard_normal(Z.shape)
    assert (encoder.inverse_transform(near)["level"] == df["level"]).mean() > 0.999


def test_codes_are_near_where_levels_go_with_similar_rows():
    rng = np.random.RandomState(0)
    level = rng.randint(0, 40, 4000)
    df = pd.DataFrame(
        {
            "level": pd.Categorical(level),
            "x": (level % 2) * 3 + rng.standard_normal(4000),
            "y": np.where(rng.random_sample(4000) < 0.9, level % 2, 1 - level % 2).astype(str),
        }
    )
    codebook = TabularEncoder(random_state=0).fit(df).feature_groups_[0].codebook
    inner = codebook @ codebook.T
    alike = (np.add.outer(np.arange(40), np.arange(40)) % 2 == 0) & ~np.eye(40, dtype=bool)
    unlike = np.add.outer(np.arange(40), np.arange(40)) % 2 == 1
    assert inner[alike].mean() > inner[unlike].mean() + 0.5


def test_a_single_column_of_many_levels_comes_back():
    assert_round_trip(pd.DataFrame({"level": [f"k{k}" for k in range(100)]}))
    assert_round_trip(pd.DataFrame({"a": np.arange(60).astype(str), "b": np.arange(60) % 3}))


@pytest.mark.parametrize("min_frequency", [30, 0.03])
def test_rare_levels_share_a_code_and_are_drawn_by_their_frequencies(min_frequency):
    levels = np.repeat(list("abcde"), [500, 440, 30 - 1, 20, 11])
    df = pd.DataFrame({"x": levels, "y": np.arange(1000.0)})
    encoder = TabularEncoder(min_frequency=min_frequency, random_state=0).fit(df)
    assert encoder.get_feature_names_out().tolist() == ["x=a", "x=b", "x rare", "y"]
    Z = encoder.transform(df)
    back = encoder.inverse_transform(Z)["x"]
    common = df["x"].isin(["a", "b"])
    assert (back[common] == df["x"][common]).all()
    drawn = encoder.inverse_transform(np.repeat(Z[-1:], 30_000, axis=0), random_state=1)["x"]
    for level, count in zip("cde", [29, 20, 11], strict=True):
        p = count / 60
        assert abs((drawn == level).mean() - p) < 3 * np.sqrt(p * (1 - p) / 30_000)
    np.testing.assert_allclose(encoder.feature_groups_[0].frequencies, [0.5, 0.44, 0.06])


def test_one_rare_level_needs_no_pool():
    df = pd.DataFrame({"x": list("aaaaaab")})
    encoder, _ = assert_round_trip(df, min_frequency=3)
    assert encoder.get_feature_names_out().tolist() == ["x=a", "x=b"]


def test_unseen_levels_are_errors_or_mapped():
    train = pd.DataFrame(
        {
            "plain": ["a", "b", "b"],
            "gaps": ["a", None, "a"],
            "grade": pd.Categorical(["A", "B", "A"], ordered=True),
        }
    )
    new = pd.DataFrame(
        {
            "plain": ["c", None],
            "gaps": ["c", None],
            "grade": pd.Categorical(["C", "C"], categories=["C"], ordered=True),
        }
    )
    encoder = TabularEncoder().fit(train)
    for name in train:
        odd = train.copy()
        odd[name] = new[name].iloc[[0, 0, 0]].reset_index(drop=True)
        with pytest.raises(ValueError, match=f"Column '{name}' holds '[cC]', not seen in fit"):
            encoder.transform(odd)
    with pytest.raises(ValueError, match="Column 'plain' has 1 missing cell"):
        encoder.transform(train.assign(plain=["a", None, "b"]))
    with pytest.raises(ValueError, match="Column 'gaps' holds 'c', not seen in fit"):
        encoder.transform(train.assign(gaps=["c", None, "a"]))
    mapped = TabularEncoder(handle_unknown="map", random_state=0).fit(train)
    back = mapped.inverse_transform(mapped.transform(new))
    assert back["plain"].tolist() == ["b", "b"]
    assert back["gaps"].isna().all()
    assert back["grade"].tolist() == ["A", "A"]


def test_booleans_and_equal_numbers_are_two_levels():
    X = pd.DataFrame({"x": pd.Series([1, True, 0, False, 1, True, "a"], dtype=object)})
    encoder, Z = assert_round_trip(X)
    back = encoder.inverse_transform(Z)["x"]
    assert list(map(type, back)) == [int, bool, int, bool, int, bool, str]


def test_empty_categories_stay_in_the_dtype_and_have_no_feature():
    df = pd.DataFrame({"x": pd.Categorical(["red", "blue"] * 3, dtype=COLOURS)})
    encoder, _ = assert_round_trip(df)
    assert encoder.get_feature_names_out().tolist() == ["x=red", "x=blue"]
    assert_round_trip(pd.DataFrame({"x": pd.Categorical([None, None], dtype=COLOURS)}))
    assert_round_trip(pd.DataFrame({"x": pd.Categorical([None, None], dtype=GRADES)}))


# Columns without features, kinds by name


def test_constant_and_missing_columns_have_no_features():
    df = pd.DataFrame(
        {
            "one": 1.5,
            "text": "a",
            "nan": np.nan,
            "none": pd.Series([None] * 4, dtype=object),
            "NA": pd.array([None] * 4, dtype="Int64"),
            "day": pd.Timestamp("2020-01-01"),
            "nat": pd.Series([pd.NaT] * 4),
        }
    )
    encoder, Z = assert_round_trip(df)
    assert Z.shape == (4, 0)
    assert encoder.feature_groups_ == []
    assert len(encoder.inverse_transform(np.zeros((7, 0)))) == 7
    encoder, Z = assert_round_trip(df.assign(gaps=[2.5, None, 2.5, None]))
    assert encoder.get_feature_names_out().tolist() == ["gaps given", "gaps missing"]
    assert not encoder.quantile_features_.any()


def test_given_cells_in_a_column_that_was_all_missing():
    train, new = np.array([[np.nan, 1.0], [np.nan, 2.0]]), np.array([[3.0, 1.0]])
    with pytest.raises(ValueError, match="Column 0 had only missing cells in fit"):
        TabularEncoder().fit(train).transform(new)
    mapped = TabularEncoder(handle_unknown="map").fit(train)
    np.testing.assert_array_equal(mapped.inverse_transform(mapped.transform(new)), [[np.nan, 1.0]])


def test_kinds_can_be_named():
    df = pd.DataFrame(
        {
            "code": [1, 2, 2, 1],
            "flag": [True, False, True, True],
            "object": pd.Series([1, 2.5, None, 7], dtype=object),
            "whole": pd.Series([1, 2, None, 7], dtype=object),
            "size": pd.Categorical(["s", "l", "s", None], categories=["s", "m", "l"]),
            "text": ["2020-01-01", "2020-01-03", None, "2020-02-01"],
            "python": pd.Series([dt.date(2020, 1, 1), dt.date(2020, 3, 1)] * 2, dtype=object),
            "lag": pd.Series([dt.timedelta(1), dt.timedelta(2)] * 2, dtype=object),
            "day": pd.to_datetime(["2020-01-01", "2020-01-05", None, "2020-01-01"]),
            "zone": pd.to_datetime(["2020-01-01", "2020-01-05"] * 2).tz_localize("CET"),
        }
    )
    encoder, _ = assert_round_trip(
        df,
        categorical=["code", "day", "zone"],
        numeric=["flag", "object", "size", "whole"],
        datetime=["text", "python", "lag"],
    )
    kinds = {group.column: group.kind for group in encoder.feature_groups_[::-1]}
    assert [kinds[name] for name in df] == (["categorical"] + ["numeric"] * 7 + ["categorical"] * 2)
    back = encoder.inverse_transform(encoder.transform(df))
    assert type(back["whole"][0]) is int
    assert type(back["python"][0]) is dt.date
    assert_round_trip(np.array([[1, 2], [2, 2], [1, 1]]), categorical=[0], numeric=[1])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"numeric": ["b"]}, "numeric= names the column 'b', which X does not have"),
        (
            {"numeric": ["a"], "categorical": ["a"]},
            "numeric= names the column 'a', which categorical= names, too",
        ),
        ({"categorical": np.array([True])}, "categorical= is a mask; give the labels of columns"),
        ({"numeric": [["a"]]}, r"numeric= holds \['a'\], which is no label of a column"),
        ({"numeric": ["a"]}, "Column 'a' is to hold numbers, and holds 'x', a str"),
        ({"datetime": ["a"]}, "Column 'a' is to hold dates, and holds 'x', 'y'"),
        ({"tails": "normal"}, "tails"),
        ({"max_one_hot": -1}, "max_one_hot"),
        ({"embedding_dim": 1}, "embedding_dim"),
        ({"min_frequency": 0}, "min_frequency"),
        ({"min_frequency": 1.5}, "min_frequency"),
        ({"handle_unknown": "ignore"}, "handle_unknown"),
        ({"max_stored_values": 1}, "max_stored_values"),
    ],
)
def test_what_is_asked_for_is_checked(params, message):
    with pytest.raises(ValueError, match=message):
        TabularEncoder(**params).fit(pd.DataFrame({"a": ["x", "y"]}))


@pytest.mark.parametrize(
    ("column", "error", "message"),
    [
        ([1, 2**53 + 1], ValueError, r"Column 'a' holds integers beyond 2\*\*53.* categorical="),
        (
            pd.Series([1, -(2**60), None], dtype="Int64"),
            ValueError,
            r"Column 'a' holds integers beyond 2\*\*53",
        ),
        ([1.0, np.inf, -np.inf], ValueError, r"Column 'a' holds 2 infinite value\(s\)"),
        ([1j, 2.0], ValueError, "Complex data not supported: column 'a'"),
        ([[1], [2]], TypeError, r"Column 'a' holds \[1\], a list, which is not hashable"),
        ([("x", {}), 1], TypeError, r"Column 'a' holds \('x', {}\), a tuple, which is not hash"),
        (
            np.array(["1700-01-01", "2200-01-01T00:00:00.000000001"], dtype="M8[ns]"),
            ValueError,
            r"Column 'a' spans more than 2\*\*53 units of 'ns'.*\.dt\.round\('ms'\)",
        ),
    ],
)
def test_what_cannot_be_encoded_is_refused_by_name(column, error, message):
    with pytest.raises(error, match=message):
        TabularEncoder().fit(pd.DataFrame({"a": column, "b": 1.0}))


def test_refused_values_in_arrays_and_later_rows():
    for X in (np.array([[1, 2**60]]), np.array([[1, 2**60]], dtype=object)):
        with pytest.raises(ValueError, match=r"Column 1 holds integers beyond 2\*\*53"):
            TabularEncoder().fit(X)
    encoder = TabularEncoder().fit(np.array([[1.0, 2.0], [3.0, 4.0]]))
    with pytest.raises(ValueError, match="Column 1 holds 1 infinite"):
        encoder.transform([[1.0, np.inf]])
    with pytest.raises(ValueError, match=r"Column 1 has 1 missing cell\(s\), and had none in fit"):
        encoder.transform([[1.0, np.nan]])
    assert_round_trip(pd.DataFrame({"id": [2**60, 2**60 + 1] * 2}), categorical=["id"])
    assert_round_trip(pd.DataFrame({"x": [-(2**53), 2**53, 0]}))


def test_duplicate_names_are_refused():
    df = pd.DataFrame([[1, 2, 3]], columns=["a", "b", "a"])
    with pytest.raises(ValueError, match="more than one column with the label 'a'"):
        TabularEncoder().fit(df)


def test_names_that_are_no_strings():
    df = pd.DataFrame({1: [1.5, 2.5], ("a", 2): ["x", "y"], 2.5: [True, False]})
    encoder, _ = assert_round_trip(df)
    assert not hasattr(encoder, "feature_names_in_")
    names = encoder.get_feature_names_out().tolist()
    assert names == ["1", "('a', 2)=x", "('a', 2)=y", "2.5=False", "2.5=True"]
    with pytest.raises(ValueError, match="give the same ones in the same order"):
        encoder.transform(df[[("a", 2), 1, 2.5]])
    # A second fit forgets the names of the first.
    encoder.fit(df.set_axis(list("abc"), axis=1))
    assert encoder.feature_names_in_.tolist() == list("abc")
    encoder.fit(df)
    assert not hasattr(encoder, "feature_names_in_")


def test_feature_names_are_unique():
    df = pd.DataFrame({"a": ["b=c", "d"], "a=b": ["c", "d"], "a=d": [1.5, 2.5]})
    names = TabularEncoder().fit(df).get_feature_names_out()
    assert len(set(names)) == len(names) == 5
    arrays = TabularEncoder().fit(np.array([[1.0, 2.0], [3.0, 1.0]]))
    assert arrays.get_feature_names_out().tolist() == ["x0", "x1"]
    assert arrays.get_feature_names_out(["u", "v"]).tolist() == ["u", "v"]


def test_empty_tables_and_wrong_widths_are_refused():
    with pytest.raises(ValueError, match=r"0 row\(s\) and 1 column\(s\)"):
        TabularEncoder().fit(pd.DataFrame({"a": []}))
    encoder = TabularEncoder().fit(pd.DataFrame({"a": [1.0, 2.0]}))
    assert encoder.transform(pd.DataFrame({"a": pd.Series([], dtype=float)})).shape == (0, 1)
    assert len(encoder.inverse_transform(np.zeros((0, 1)))) == 0
    with pytest.raises(ValueError, match="Z has 2 features, and transform gives 1"):
        encoder.inverse_transform(np.zeros((3, 2)))
    with pytest.raises(ValueError, match="NaN"):
        encoder.inverse_transform([[np.nan]])
    for method in ("transform", "inverse_transform", "intervals"):
        with pytest.raises(NotFittedError):
            getattr(TabularEncoder(), method)([[1.0]])
    with pytest.raises(NotFittedError):
        TabularEncoder().get_feature_names_out()


# Weights


def test_weights_are_repetitions():
    df = make_mixed(200).assign(level=np.arange(200) % 30)
    df["level"] = df["level"].astype(str)
    weights = np.random.RandomState(1).randint(0, 4, 200)
    repeated = df.loc[np.repeat(np.arange(200), weights)]
    params = {"random_state": 0, "min_frequency": 3}
    ours = TabularEncoder(**params).fit(df, sample_weight=weights)
    theirs = TabularEncoder(**params).fit(repeated)
    for a, b in zip(ours.intervals(repeated), theirs.intervals(repeated), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    for a, b in zip(ours.feature_groups_, theirs.feature_groups_, strict=True):
        assert (a.column, a.kind, a.start, a.stop) == (b.column, b.kind, b.start, b.stop)
        if a.codebook is not None:
            np.testing.assert_allclose(a.codebook, b.codebook, atol=1e-9)
            np.testing.assert_allclose(a.frequencies, b.frequencies)


def test_rows_of_weight_zero_are_left_out():
    df = pd.DataFrame({"x": [1.0, 2.0, np.nan, 9.0], "s": ["a", "b", "c", "a"]})
    encoder = TabularEncoder().fit(df, sample_weight=[1, 1, 0, 0])
    assert encoder.get_feature_names_out().tolist() == ["x", "s=a", "s=b"]
    assert encoder.inverse_transform([[9.0, 1, 0]])["x"][0] == 2
    with pytest.raises(ValueError, match="zero"):
        TabularEncoder().fit(df, sample_weight=np.zeros(4))
    with pytest.raises(ValueError, match="[Nn]egative"):
        TabularEncoder().fit(df, sample_weight=[1, 1, 1, -1])


# In scikit-learn


class OfNumbers(TabularEncoder):
    """The same, with a tag by which the checks give it numbers that do not repeat."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.categorical = False
        return tags


UNUSUAL = {
    "tails": "pareto",
    "max_one_hot": 3,
    "embedding_dim": 4,
    "min_frequency": 2,
    "handle_unknown": "map",
    "max_stored_values": 20,
}


def expected_failures(estimator):
    if isinstance(estimator, OfNumbers):
        return {}
    reason = "V of a repeated value is drawn by the place of its row, and these rows are rounded"
    names = ("check_methods_sample_order_invariance", "check_methods_subset_invariance")
    return dict.fromkeys(names, reason)


@parametrize_with_checks(
    [OfNumbers(), OfNumbers(**UNUSUAL), TabularEncoder(), TabularEncoder(**UNUSUAL)],
    expected_failed_checks=expected_failures,
)
def test_estimator_checks(estimator, check):
    check(estimator)


def test_set_output_and_row_labels():
    df = make_mixed(20).set_axis(np.arange(20) * 7)
    encoder = TabularEncoder(random_state=0).set_output(transform="pandas").fit(df)
    Z = encoder.transform(df)
    assert Z.columns.tolist() == encoder.get_feature_names_out().tolist()
    pd.testing.assert_frame_equal(encoder.inverse_transform(Z), df)
    back = encoder.inverse_transform(Z.to_numpy())
    assert isinstance(back.index, pd.RangeIndex)


def test_in_a_pipeline_and_pickled_and_cloned():
    df = make_mixed()
    pipe = make_pipeline(TabularEncoder(random_state=0), StandardScaler()).fit(df)
    pickled = pickle.loads(pickle.dumps(pipe))
    # Standardising has an error of rounding: single numbers come back nearly, the rest exactly.
    back = pickled.inverse_transform(pickled.transform(df))
    pd.testing.assert_frame_equal(back, df, rtol=1e-9)
    assert clone(pipe[0]).get_params() == pipe[0].get_params()


def test_a_frame_can_be_transformed_as_an_array_of_its_cells():
    df = make_mixed(50).drop(columns=["day"])
    encoder = TabularEncoder(random_state=0).fit(df)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        Z = encoder.transform(df.astype(object).to_numpy())
    np.testing.assert_array_equal(Z, encoder.transform(df))


# What is kept


def test_no_more_is_stored_than_allowed():
    rng = np.random.RandomState(0)
    X = rng.standard_normal((5000, 3))
    X[rng.random_sample(5000) < 0.3, 1] = 0
    small = pickle.dumps(TabularEncoder(max_stored_values=100).fit(X))
    assert len(small) < 3 * 100 * 3 * 8 + 5000
    encoder = TabularEncoder(max_stored_values=100).fit(X)
    back = encoder.inverse_transform(encoder.transform(X))
    np.testing.assert_allclose(back, X, atol=1e-9)
    np.testing.assert_array_equal(back == 0, X == 0)


def test_wide_tables_and_short_ones():
    rng = np.random.RandomState(0)
    wide = pd.DataFrame(
        {
            f"c{j}": rng.standard_normal(150) if j % 2 else rng.choice(list("abc"), 150)
            for j in range(500)
        }
    )
    assert_round_trip(wide)
    assert_round_trip(wide[["c0"]])
    assert_round_trip(wide.iloc[:1])


@pytest.mark.parametrize("cell", ["12345678901234567890.12", "999999999999999.99"])
def test_decimals_that_doubles_do_not_tell_apart_are_refused(cell):
    pl = pytest.importorskip("polars")
    df = pl.DataFrame({"price": pl.Series([cell, None, "-1.00"]).cast(pl.Decimal(30, 2))})
    for lists in ({}, {"categorical": ["price"]}):
        with pytest.raises(ValueError, match="Column 'price' holds decimals such as"):
            TabularEncoder(**lists).fit(df)


@pytest.mark.parametrize("name", ["Int128", "UInt128"])
def test_integers_of_128_bits_come_back_or_are_refused_by_name(name):
    pl = pytest.importorskip("polars")
    dtype = getattr(pl, name, None)
    if dtype is None:
        pytest.skip(f"This polars has no {name}.")
    assert_round_trip(pl.DataFrame({"a": pl.Series([3, 2**53, None, 3], dtype=dtype)}))
    with pytest.raises(ValueError, match=r"Column 'a' holds integers beyond 2\*\*53"):
        TabularEncoder().fit(pl.DataFrame({"a": pl.Series([3, 2**53 + 1], dtype=dtype)}))


def test_columns_labelled_true_and_false_are_no_mask():
    df = pd.DataFrame({True: [1, 2, 1], False: [0.5, 1.5, 2.5]})
    assert_round_trip(df, categorical=[True])
    groups = TabularEncoder(categorical=[True]).fit(df).feature_groups_
    assert [group.kind for group in groups] == ["categorical", "numeric"]


def test_large_integers_among_other_numbers_are_refused():
    X = np.array([[2**60 + 1], [0.5], [2**60 + 2]], dtype=object)
    with pytest.raises(ValueError, match=r"Column 0 holds integers beyond 2\*\*53"):
        TabularEncoder().fit(X)


def test_frames_without_features_decode_to_constant_columns():
    df = pd.DataFrame({"a": [1, 1, 1]}, index=[3, 4, 5])
    encoder = TabularEncoder().set_output(transform="pandas").fit(df)
    pd.testing.assert_frame_equal(encoder.inverse_transform(encoder.transform(df)), df)


def test_an_ordered_level_that_fit_has_not_seen_is_unknown():
    def of(*grades):
        levels = ["low", "mid", "high"]
        return pd.DataFrame({"o": pd.Categorical(grades, levels, ordered=True)})

    encoder = TabularEncoder(random_state=0).fit(of("low", "high", "low"))
    with pytest.raises(ValueError, match="mid"):
        encoder.transform(of("mid"))
    mapped = TabularEncoder(handle_unknown="map", random_state=0).fit(of("low", "high", "low"))
    assert mapped.inverse_transform(mapped.transform(of("mid")))["o"].tolist() == ["low"]
