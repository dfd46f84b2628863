"""Columns of data frames and arrays as NumPy arrays with a mask.

Three containers come in, pandas and polars data frames and arrays. A `Column` is the same for all:
its cells in the NumPy dtype that is theirs (integers stay integers, dates are datetime64), a mask
of the missing ones, and the dtype to go back to, for which :mod:`skscore.tabular._layout` is
needed. pandas and polars are imported only where such a frame has been seen; polars is read through
narwhals.
"""

import sys
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skscore._polars import is_polars, narwhals
from skscore.tabular._layout import Layout, polars_ticks

__all__ = [
    "Column",
    "as_objects",
    "frame_kind",
    "missing_cells",
    "mixed_as_objects",
    "pandas_or_array",
    "positions_of",
    "read_columns",
]

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Column:
    """One column of a table.

    Attributes
    ----------
    name : hashable
        Its label, or its position in an array.
    values : ndarray of shape (n_rows,)
        The cells; anything where they are missing.
    missing : ndarray of bool of shape (n_rows,)
        Which are missing.
    kind : {"number", "order", "label", "time"}
        What the dtype says that they are.
    dtype : dtype
        That of the container.
    levels : tuple or None
        The categories in their order, where the dtype names them.
    blank : object
        What stands for a missing cell, in a column that is no objects.
    """

    name: Hashable
    values: Array
    missing: Array
    kind: str
    dtype: Any
    levels: tuple[Any, ...] | None = None
    blank: Any = None

    @property
    def where(self) -> str:
        """What an error calls the column."""
        return f"Column {self.name!r}"

    def take(self, rows: Array) -> "Column":
        """Return some of the rows, by a mask."""
        return replace(self, values=self.values[rows], missing=self.missing[rows])

    def marker(self) -> Any:
        """Return what stands for a missing cell, the commonest if there are several."""
        if self.values.dtype != object or not self.missing.any():
            return self.blank
        found = self.values[self.missing]
        kinds = [type(cell) for cell in found]
        return found[kinds.index(Counter(kinds).most_common(1)[0][0])]


def frame_kind(X: Any) -> str | None:
    """Return "pandas" or "polars" for such a data frame, None for anything else."""
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(X, pandas.DataFrame):
        return "pandas"
    return "polars" if is_polars(X) else None


def pandas_or_array(X: Any) -> str | None:
    """Return "pandas" for such a frame and None for an array; other frames are refused."""
    kind = frame_kind(X)
    if kind not in (None, "pandas"):
        raise TypeError(f"X is a {kind} frame; give a pandas data frame or an array.")
    return kind


def mixed_as_objects(X: Any) -> Any:
    """Return a list of mixed rows as objects, of which NumPy makes text; others as they are.

    Examples
    --------
    >>> mixed_as_objects([[1.5, "a"]])
    array([[1.5, 'a']], dtype=object)
    """
    is_text = not hasattr(X, "dtype") and np.asarray(X).dtype.kind in "US"
    return np.asarray(X, dtype=object) if is_text else X


def read_columns(X: Any) -> tuple[list[Column], Layout]:
    """Read a table.

    Parameters
    ----------
    X : DataFrame or ndarray of shape (n_rows, n_columns)
        The table.

    Returns
    -------
    columns : list of Column
    layout : Layout

    Raises
    ------
    ValueError
        If two columns have the same label, or a column holds complex numbers.
    TypeError
        If a column holds lists or records.
    ImportError
        If X is a polars frame and narwhals is not installed.
    """
    kind = frame_kind(X)
    if kind is None:
        columns = [_from_numpy(X[:, j], j) for j in range(X.shape[1])]
        return columns, Layout("array", range(X.shape[1]), (X.dtype,) * X.shape[1])
    repeated = [name for name, count in Counter(X.columns).items() if count > 1]
    if repeated:
        raise ValueError(
            f"X has more than one column with the label {repeated[0]!r}; give each column a label "
            "of its own."
        )
    if kind == "pandas":
        columns = [_from_pandas(X.iloc[:, j], name) for j, name in enumerate(X.columns)]
        return columns, Layout("pandas", X.columns, tuple(X.dtypes))
    frame = narwhals().from_native(X, eager_only=True)
    columns = [_from_polars(frame[name]) for name in frame.columns]
    return columns, Layout("polars", tuple(frame.columns), tuple(c.dtype for c in columns))


def missing_cells(X: Any) -> Array:
    """Return which cells (n, n_columns) of a table are missing."""
    table = np.asarray(mixed_as_objects(X)) if frame_kind(X) is None else X
    columns, _ = read_columns(table)
    return np.stack([column.missing for column in columns], axis=1)


def positions_of(known: Array) -> Array:
    """Return where each cell is among the given ones, and behind them for others."""
    return np.where(known, np.cumsum(known) - 1, known.sum())


def _refuse_complex(name: Hashable) -> None:
    raise ValueError(
        f"Complex data not supported: column {name!r} holds complex numbers; give their real and "
        "imaginary parts as two columns."
    )


def _is_missing(cell: Any) -> bool:
    if isinstance(cell, float | np.floating):
        return bool(cell != cell)
    return cell is None or (isinstance(cell, np.datetime64 | np.timedelta64) and np.isnat(cell))


def as_objects(cells: Sequence[Any]) -> Array:
    """Return an array of objects; NumPy would make more dimensions of tuples.

    Examples
    --------
    >>> as_objects([(1, 2), "a"]).shape
    (2,)
    """
    values = np.empty(len(cells), dtype=object)
    for i, cell in enumerate(cells):
        values[i] = cell
    return values


def _from_numpy(values: Array, name: Hashable) -> Column:
    kind = values.dtype.kind
    if kind == "c":
        _refuse_complex(name)
    if kind in "mM":
        return Column(name, values, np.isnat(values), "time", values.dtype)
    if kind in "iuf":
        return Column(name, values, values != values, "number", values.dtype)
    if kind != "O":
        return Column(name, values, np.zeros(len(values), dtype=bool), "label", values.dtype)
    pandas = sys.modules.get("pandas")
    missing = (
        np.array([_is_missing(cell) for cell in values], dtype=bool)
        if pandas is None
        else np.asarray(pandas.isna(values))
    )
    given = values[~missing]
    types = set(map(type, given))
    if any(issubclass(t, complex | np.complexfloating) for t in types):
        _refuse_complex(name)
    # A fraction or a decimal would not come back from a double.
    numbers = types and all(
        issubclass(t, int | float | np.integer | np.floating)
        and not issubclass(t, bool | np.timedelta64)
        for t in types
    )
    return Column(name, values, missing, "number" if numbers else "label", values.dtype)


def _from_pandas(series: Any, name: Hashable) -> Column:
    import pandas as pd

    dtype = series.dtype
    missing = series.isna().to_numpy(dtype=bool)
    levels = None
    if isinstance(dtype, pd.CategoricalDtype):
        kind, levels = "order" if dtype.ordered else "label", tuple(dtype.categories)
        values = series.astype(object).to_numpy()
    elif isinstance(dtype, pd.DatetimeTZDtype):
        kind, values = "time", series.to_numpy(dtype=f"M8[{dtype.unit}]")
    elif isinstance(dtype, pd.SparseDtype):
        dense = _from_numpy(np.asarray(series), name)
        return Column(name, dense.values, missing, dense.kind, dtype)
    elif isinstance(dtype, np.dtype):
        column = _from_numpy(series.to_numpy(), name)
        # In a frame the dtype speaks: objects are labels.
        kind = "label" if dtype.kind == "O" else column.kind
        values = column.values
    elif pd.api.types.is_bool_dtype(dtype):
        kind, values = "label", series.to_numpy(dtype=bool, na_value=False)
    elif pd.api.types.is_integer_dtype(dtype):
        kind, values = "number", series.to_numpy(dtype=dtype.numpy_dtype, na_value=0)
    elif pd.api.types.is_float_dtype(dtype):
        kind, values = "number", series.to_numpy(dtype=dtype.numpy_dtype, na_value=np.nan)
    elif getattr(dtype, "kind", "O") in "mM":
        values = series.to_numpy(dtype=f"{dtype.kind}8[{dtype.pyarrow_dtype.unit}]")
        kind = "time"
    else:
        kind, values = "label", series.to_numpy(dtype=object)
    return Column(name, values, missing, kind, dtype, levels)


def _from_polars(series: Any) -> Column:
    nw = narwhals()
    name, dtype = series.name, series.dtype
    missing = series.is_null().to_numpy()
    levels = blank = None
    if dtype.is_nested():
        raise TypeError(
            f"Column {name!r} of dtype {dtype} holds lists or records; give their parts as columns."
        )
    if dtype == nw.Boolean:
        kind, values = "label", series.fill_null(value=False).to_numpy()
    elif dtype.is_integer():
        kind, values = "number", _as_integers(series).fill_null(0).to_numpy()
    elif dtype.is_numeric():
        cells = series if dtype.is_float() else _as_doubles(series)
        kind, values = "number", cells.fill_null(np.nan).to_numpy()
        # polars tells null from NaN; both are missing, and come back as NaN if there is no null.
        blank = None if missing.any() else np.nan
        missing = missing | (values != values)
    elif dtype.is_temporal():
        ticks = series.cast(nw.Int64).fill_null(0).to_numpy()
        kind, values = "time", ticks.astype(np.int64).view(polars_ticks(dtype))
    else:
        kind, values = "label", as_objects(series.to_list())
        if dtype == nw.Enum:
            levels = tuple(dtype.categories)
    gone = np.asarray(missing, dtype=bool)
    return Column(name, np.asarray(values), gone, kind, dtype, levels, blank)


def _as_integers(series: Any) -> Any:
    """Return integers, those of 128 bits as such of 64, which NumPy has."""
    nw = narwhals()
    if series.dtype not in (nw.Int128, nw.UInt128):
        return series
    if max(abs(series.min() or 0), abs(series.max() or 0)) > 2**53:
        raise ValueError(
            f"Column {series.name!r} holds integers beyond 2**53, which double precision does not "
            "tell apart; cast it to text, or to a float."
        )
    return series.cast(nw.Int64)


def _as_doubles(series: Any) -> Any:
    """Return decimals as doubles, if these can tell them apart."""
    # In units of the last place.
    largest = series.abs().max() or 0
    if largest * 10 ** series.to_native().dtype.scale > 2**53:
        raise ValueError(
            f"Column {series.name!r} holds decimals such as {largest}, of more digits than double "
            "precision tells apart; cast it to text, or to a float."
        )
    return series.cast(narwhals().Float64)
