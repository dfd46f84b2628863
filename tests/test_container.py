import pickle
import sys

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from skscore._container import Container


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
