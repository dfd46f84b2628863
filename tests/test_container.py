import datetime as dt
import pickle
import sys

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from skscore._container import Container, rows_like

try:
    import narwhals
    import polars as pl
except ImportError:
    narwhals = pl = None
needs_polars = pytest.mark.skipif(pl is None or narwhals is None, reason="needs the extra polars")


def make_frame():
    return pd.DataFrame(
        {
            "float": [0.5, 1.5, 2.5],
            "float32": np.array([1, 2, 3], dtype=np.float32),
            "int8": np.array([1, 2, 3], dtype=np.int8),
            "uint64": np.array([1, 2, 3], dtype=np.uint64),
            "bool": [True, False, True],
            "Int64": pd.array([1, None, 3], dtype="Int64"),
            "boolean": pd.array([True, None, False], dtype="boolean"),
            "Float64": pd.array([1.0, None, 2.0], dtype="Float64"),
            "graded": pd.Categorical(["b", "a", None], categories=["c", "b", "a"], ordered=True),
            "coded": pd.Categorical([10, 20, 10], categories=[10, 20, 30]),
            "object": ["x", 1, None],
            "string": pd.array(["x", None, "y"], dtype="string"),
            "date": pd.to_datetime(["2020-01-01", None, "2021-01-01"]),
            "zoned": pd.to_datetime(["2020-01-01", None, "2021-01-01"]).tz_localize("CET"),
            "lag": pd.to_timedelta([1, 2, 3], unit="s"),
        },
        index=[7, 8, 9],
    )


def test_a_frame_survives_the_way_through_objects():
    df = make_frame()
    back = Container.of(df).wrap(df.astype(object).to_numpy())
    pd.testing.assert_frame_equal(back, df.reset_index(drop=True))
    assert isinstance(back.index, pd.RangeIndex)


def test_a_frame_of_other_dtypes_gets_the_recorded_ones():
    df = make_frame()
    back = Container.of(df).wrap(df.astype(object))
    pd.testing.assert_frame_equal(back, df.reset_index(drop=True))


def test_floats_become_what_the_column_was():
    df = make_frame()[["float", "float32", "int8", "uint64", "bool", "Int64", "boolean", "coded"]]
    values = np.array(
        [
            [0.25, 0.25, 1.6, 2.4, 0.6, 2.5001, 0.4, 19.0],
            [1.0, 1.0, 300.0, -3.0, 0.5, np.nan, np.nan, 20.0],
            [1.0, 1.0, -300.0, 1e30, 7.0, -1.2, 1.0, 1000.0],
        ]
    )
    back = Container.of(df).wrap(values)
    pd.testing.assert_series_equal(back.dtypes, df.dtypes)
    assert back["float"].tolist() == [0.25, 1.0, 1.0]
    assert back["int8"].tolist() == [2, 127, -128]
    assert back["uint64"].tolist()[:2] == [2, 0]
    assert back["uint64"][2] > 1.8e19
    assert back["bool"].tolist() == [True, False, True]
    assert back["Int64"].tolist() == [3, pd.NA, -1]
    assert back["boolean"].tolist() == [False, pd.NA, True]
    assert back["coded"].tolist() == [20, 20, 30]


def test_numbers_become_dates():
    df = make_frame()[["date", "zoned", "lag"]]
    ticks = df.astype(object).apply(lambda column: column.astype(df[column.name].dtype))
    numbers = np.column_stack([ticks[name].astype("int64").astype(float) for name in df])
    numbers[1, :2] = np.nan
    pd.testing.assert_frame_equal(
        Container.of(df).wrap(numbers), df.reset_index(drop=True), check_exact=True
    )


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.uint8, bool])
def test_arrays_keep_their_dtype(dtype):
    X = np.array([[0, 1], [1, 0]], dtype=dtype)
    back = Container.of(X).wrap(np.array([[0.2, 0.8]]))
    assert back.dtype == dtype
    expected = [[0.2, 0.8]] if X.dtype.kind == "f" else [[0, 1]]
    np.testing.assert_allclose(back, expected, rtol=1e-6)


def test_the_largest_integer_does_not_wrap_round():
    back = Container.of(np.zeros((1, 1), dtype=np.int64)).wrap(np.array([[1e30], [-1e30]]))
    assert back[0, 0] > 9.2e18
    assert back[1, 0] == np.iinfo(np.int64).min


def test_an_array_of_strings():
    X = np.array([["a", "bcd"]])
    back = Container.of(X).wrap(np.array([["bcd", "a"]], dtype=object))
    assert back.dtype == X.dtype
    assert back.tolist() == [["bcd", "a"]]


def test_lists_and_sparse_matrices_are_arrays():
    assert Container.of([[1, 2]]).wrap([[0.9, 2.2]]).tolist() == [[1, 2]]
    assert Container.of([[1.0, 2.0]]).wrap([[0.9, 2.2]]).tolist() == [[0.9, 2.2]]
    sparse = csr_matrix(np.eye(3, dtype=np.float32))
    assert Container.of(sparse).wrap(np.eye(3)).dtype == np.float32


def test_repeated_and_layered_column_labels():
    df = pd.DataFrame([[1, 2.5]], columns=["a", "a"])
    back = Container.of(df).wrap(np.array([[3.2, 4.2]]))
    assert back.columns.tolist() == ["a", "a"]
    assert back.iloc[0].tolist() == [3, 4.2]
    df.columns = pd.MultiIndex.from_tuples([("x", 1), ("x", 2)], names=["l", "m"])
    pd.testing.assert_index_equal(Container.of(df).wrap(df.to_numpy()).columns, df.columns)


def test_no_rows():
    df = make_frame()
    back = Container.of(df).wrap(df.iloc[:0])
    assert back.shape == (0, df.shape[1])
    pd.testing.assert_series_equal(back.dtypes, df.dtypes)


def test_no_row_is_stored():
    secret = 123456.789
    df = pd.DataFrame({"a": np.full(1000, secret), "b": ["secret"] * 1000})
    stored = pickle.dumps(Container.of(df))
    assert len(stored) < 2000
    assert b"secret" not in stored
    assert np.float64(secret).tobytes() not in stored
    assert pickle.loads(stored).wrap(df[:2]).equals(df[:2])


def test_errors_are_readable():
    df = make_frame()
    container = Container.of(df[["int8", "graded"]])
    with pytest.raises(ValueError, match=r"shape \(2, 3\) do not fit the 2 columns"):
        container.wrap(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="column 'int8' has dtype int8, which cannot hold"):
        container.wrap(np.array([[np.nan, "a"]], dtype=object))
    with pytest.raises(ValueError, match="column 'graded' came back with 'z'.* 3 categories"):
        container.wrap(np.array([[1, "z"]], dtype=object))
    with pytest.raises(ValueError, match="X has dtype int64, which cannot hold"):
        Container.of(np.zeros((1, 1), dtype=np.int64)).wrap(np.array([[np.nan]]))
    with pytest.raises(ValueError, match="X has 1 dimensions"):
        Container.of(np.zeros(3))


def test_arrays_need_no_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)  # importing it raises
    assert Container.of(np.eye(2)).wrap(np.eye(2)).shape == (2, 2)


def make_polars():
    return pl.DataFrame(
        {
            "float": [1.0, 2.5, None],
            "float32": pl.Series([0.1, None, 0.3], dtype=pl.Float32),
            "int8": pl.Series([1, 2, None], dtype=pl.Int8),
            "uint64": pl.Series([1, 2, None], dtype=pl.UInt64),
            "bool": [True, False, None],
            "decimal": pl.Series(["1.10", None, "2.35"]).cast(pl.Decimal(10, 2)),
            "str": ["x", "y", None],
            "enum": pl.Series(["u", None, "v"], dtype=pl.Enum(["u", "v", "w"])),
            "category": pl.Series(["u", "v", None], dtype=pl.Categorical),
            "date": [dt.date(2020, 1, 1), None, dt.date(2021, 1, 1)],
            "zoned": pl.Series([dt.datetime(2020, 1, 1, 3), None, None]).dt.replace_time_zone(
                "CET"
            ),
            "lag": [dt.timedelta(1), None, dt.timedelta(hours=2)],
            "time": [dt.time(1), None, dt.time(2, 30)],
        }
    )


@needs_polars
def test_a_polars_frame_survives():
    df = make_polars()
    container = Container.of(df)
    assert container.wrap(df).equals(df)
    objects = np.array(df.rows(), dtype=object)
    back = container.wrap(objects)
    assert back.schema == df.schema
    # Single precision goes through double.
    assert back.equals(df)
    assert pickle.loads(pickle.dumps(container)).wrap(df).equals(df)
    assert container.wrap(df.head(0)).schema == df.schema
    assert container.wrap(df.rename({"float": "other"})).columns == df.columns


@needs_polars
def test_floats_become_what_the_column_of_polars_was():
    df = make_polars().select("float", "int8", "uint64", "bool", "date", "lag", "time", "zoned")
    values = np.array(
        [
            [0.25, 1.6, 1.2, 0.6, 1.4, 5.0, 7.0, 1e6],
            [np.nan] * 8,
            [1.0, -300.0, 1e30, 0.5, -0.6, 0.4, 0.0, 0.0],
        ]
    )
    for given in (values, pd.DataFrame(values), pl.DataFrame(values)):
        back = Container.of(df).wrap(given)
        assert back.schema == df.schema
        assert back["int8"].to_list() == [2, None, -128]
        assert back["uint64"].to_list() == [1, None, 2**64 - 2048]
        assert back["bool"].to_list() == [True, None, False]
        assert back["date"].to_list() == [dt.date(1970, 1, 2), None, dt.date(1969, 12, 31)]
        assert back["lag"].to_list() == [dt.timedelta(microseconds=5), None, dt.timedelta(0)]
        assert back["float"].is_nan().to_list() == [False, True, False]


@needs_polars
def test_what_does_not_fit_a_polars_frame_is_refused():
    df = make_polars()
    with pytest.raises(ValueError, match="came back with 'z', which is not among its 3"):
        Container.of(df.select("enum")).wrap(np.array([["z"]], dtype=object))
    with pytest.raises(ValueError, match=r"values of shape \(3, 13\) do not fit the 1 columns"):
        Container.of(df.select("enum")).wrap(df)
    with pytest.raises(TypeError, match="collect"):
        Container.of(df.lazy())


@needs_polars
def test_polars_without_narwhals_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "narwhals", None)
    with pytest.raises(ImportError, match=r"pip install 'skscore\[polars\]'"):
        Container.of(pl.DataFrame({"a": [1, 2]}))


@needs_polars
def test_a_pandas_frame_comes_back_from_one_of_polars():
    df = make_frame()[["float", "int8"]]
    back = Container.of(df).wrap(pl.DataFrame({"a": [0.5, 1.5], "b": [1.2, 2.2]}))
    pd.testing.assert_series_equal(back.dtypes, df.dtypes)
    assert back["int8"].tolist() == [1, 2]


@needs_polars
def test_rows_like_a_frame_have_its_names():
    rows = np.eye(2)
    assert rows_like(rows, rows) is rows
    assert rows_like(pd.DataFrame(rows, columns=["a", "b"]), rows).columns.tolist() == ["a", "b"]
    assert rows_like(pl.DataFrame(rows, schema=["a", "b"]), rows).columns == ["a", "b"]
