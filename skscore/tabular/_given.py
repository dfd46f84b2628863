"""Rows of which some cells are given.

An encoder takes whole rows alone. So cells that are to be drawn are filled with those of a row that
the encoder decodes from zeros, and which of them were given is kept beside.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skscore._polars import narwhals, series_of
from skscore.tabular._cells import frame_kind, read_columns

__all__ = ["Given", "given_cells", "missing_cells"]

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Given:
    """Rows of which some cells are given.

    Attributes
    ----------
    rows : DataFrame or ndarray of shape (n, n_columns)
        The given cells, the others filled with anything.
    known : ndarray of bool of shape (n, n_columns)
        Which are given.
    """

    rows: Any
    known: Array

    def __len__(self) -> int:
        return len(self.known)

    def part(self, index: Array) -> "Given":
        """Return some of the rows."""
        rows = self.rows.iloc[index] if frame_kind(self.rows) == "pandas" else self.rows[index]
        return Given(rows, self.known[index])

    def put_back(self, drawn: Any) -> Any:
        """Return drawn rows with the given cells as they are."""
        kind = frame_kind(drawn)
        if kind is None:
            return np.where(self.known, self.rows, drawn)
        if kind == "polars":
            return _merged(drawn, self.rows, ~self.known)
        merged = {
            j: drawn.iloc[:, j]
            .where(~self.known[:, j], self.rows.iloc[:, j].set_axis(drawn.index))
            .astype(dtype)
            for j, dtype in enumerate(drawn.dtypes)
        }
        frame = type(drawn)(merged, index=drawn.index)
        frame.columns = drawn.columns
        return frame


def given_cells(filler: Any, conditions: Any) -> Given:
    """Return the given cells of a table, in the container of fit.

    Parameters
    ----------
    filler : DataFrame or ndarray of shape (1, n_columns)
        A row like those of fit.
    conditions : DataFrame, array-like of shape (n, n_columns), or dict of columns
        Missing where a cell is not given; a frame or a dict may lack columns.

    Returns
    -------
    given : Given

    Raises
    ------
    ValueError
        If there are other columns, or cells that the dtypes of fit do not hold.
    TypeError
        If conditions are a frame of another kind.

    Examples
    --------
    >>> given_cells(np.zeros((1, 2)), [[np.nan, 1.0]]).rows
    array([[0., 1.]])
    """
    kind = frame_kind(filler)
    if kind is None:
        return _of_array(filler, conditions)
    if not isinstance(conditions, Mapping) and frame_kind(conditions) != kind:
        raise TypeError(
            f"Fit was on a {kind} data frame, and conditions are a {type(conditions).__name__}; "
            f"give a {kind} data frame or a dict."
        )
    return _of_pandas(filler, conditions) if kind == "pandas" else _of_polars(filler, conditions)


def missing_cells(X: Any) -> Array:
    """Return which cells (n, n_columns) of a table are missing."""
    columns, _ = read_columns(np.asarray(X) if frame_kind(X) is None else X)
    return np.stack([column.missing for column in columns], axis=1)


def _of_pandas(filler: Any, conditions: Any) -> Given:
    import pandas as pd

    if isinstance(conditions, Mapping):
        conditions = pd.DataFrame(conditions)
    unknown = [label for label in conditions.columns if label not in filler.columns]
    if unknown or not conditions.columns.is_unique:
        raise ValueError(
            f"conditions have the columns {list(conditions.columns)}, of which {unknown} are not "
            "those of fit, or one comes twice."
        )
    columns, known = {}, np.zeros((len(conditions), filler.shape[1]), dtype=bool)
    for j, label in enumerate(filler.columns):
        cells = filler.iloc[[0] * len(conditions), j].reset_index(drop=True)
        if label in conditions.columns:
            column = conditions[label].reset_index(drop=True)
            known[:, j] = column.notna()
            cells = column.where(known[:, j], cells) if known[:, j].any() else cells
            cells = _as_dtype(cells, filler.dtypes.iloc[j], label)
        columns[j] = cells
    frame = pd.DataFrame(columns)
    frame.columns = filler.columns
    return Given(frame, known)


def _as_dtype(cells: Any, dtype: Any, label: Hashable) -> Any:
    """Return cells in the dtype of fit, if that changes none of them."""
    cells = cells.astype(object)
    categories = getattr(dtype, "categories", None)
    if categories is not None:
        unknown = set(cells.dropna()) - set(categories)
        if unknown:
            raise ValueError(
                f"conditions have {sorted(map(str, unknown))} in the column {label!r}, whose "
                f"categories are {list(categories)}."
            )
    cast = cells.astype(dtype)
    gone = cells.isna()
    if not (cast[~gone].astype(object) == cells[~gone]).all():
        raise ValueError(
            f"conditions have values in the column {label!r} that its dtype {dtype} does not hold."
        )
    return cast


def _of_array(filler: Array, conditions: Any) -> Given:
    n_columns = filler.shape[1]
    if isinstance(conditions, Mapping):
        n_rows = len(next(iter(conditions.values())))
        table = np.full((n_rows, n_columns), None, dtype=object)
        for column, cells in conditions.items():
            table[:, column] = cells
        conditions = table
    conditions = np.asarray(conditions)
    if conditions.ndim != 2 or conditions.shape[1] != n_columns:
        raise ValueError(
            f"conditions have the shape {conditions.shape}, and fit had {n_columns} columns; give "
            "all of them, missing where a cell is to be drawn."
        )
    known = ~missing_cells(conditions)
    rows = np.where(known, conditions, filler).astype(filler.dtype)
    return Given(rows, known)


def _of_polars(filler: Any, conditions: Any) -> Given:
    nw = narwhals()
    if isinstance(conditions, Mapping):
        made = [series_of(name, [_plain(c) for c in cells]) for name, cells in conditions.items()]
        conditions = nw.from_dict({series.name: series for series in made}).to_native()
    unknown = [name for name in conditions.columns if name not in filler.columns]
    if unknown:
        raise ValueError(
            f"conditions have the columns {conditions.columns}, of which {unknown} are not those "
            "of fit."
        )
    row, frame = (nw.from_native(table, eager_only=True) for table in (filler, conditions))
    known = np.zeros((len(frame), filler.shape[1]), dtype=bool)
    gone = missing_cells(conditions)
    columns = {}
    for j, name in enumerate(filler.columns):
        columns[name] = row[name][[0] * len(frame)]
        if name in conditions.columns:
            known[:, j] = ~gone[:, conditions.columns.index(name)]
        if known[:, j].any():
            given = frame[name].zip_with(_mask(known[:, j]), series_of(name, [None] * len(frame)))
            given = _as_polars_dtype(given, row[name].dtype)
            columns[name] = given.zip_with(_mask(known[:, j]), columns[name])
    return Given(nw.from_dict(columns).to_native(), known)


def _merged(first: Any, second: Any, is_first: Array) -> Any:
    """Return a polars frame with cells of the first where is_first (n, n_columns)."""
    nw = narwhals()
    a, b = (nw.from_native(table, eager_only=True) for table in (first, second))
    merged = {
        name: a[name].zip_with(_mask(is_first[:, j]), b[name]) for j, name in enumerate(a.columns)
    }
    return nw.from_dict(merged).to_native()


def _mask(values: Array) -> Any:
    return series_of("", values.tolist(), narwhals().Boolean)


def _plain(cell: Any) -> Any:
    """Return NumPy's scalars as those of Python, which polars reads."""
    if isinstance(cell, np.datetime64 | np.timedelta64):
        return cell.astype(f"{cell.dtype.kind}8[us]").item()
    return cell.item() if isinstance(cell, np.generic) else cell


def _as_polars_dtype(series: Any, dtype: Any) -> Any:
    """Return cells in the dtype of fit, if that changes none of them."""
    nw = narwhals()
    levels = list(dtype.categories) if dtype == nw.Enum else None
    unknown = set() if levels is None else set(map(str, series.drop_nulls())) - set(levels)
    if unknown:
        raise ValueError(
            f"conditions have {sorted(unknown)} in the column {series.name!r}, whose categories "
            f"are {levels}."
        )
    holds = _polars_family(series.dtype) == _polars_family(dtype)
    if holds:
        cast = series.cast(dtype)
        both_real = series.dtype.is_float() and dtype.is_float()
        back = cast.cast(series.dtype) if not both_real else series
        holds = back.to_list() == series.to_list()
    if not holds:
        raise ValueError(
            f"conditions have values in the column {series.name!r} that its dtype {dtype} does not "
            "hold."
        )
    return cast


def _polars_family(dtype: Any) -> str:
    if dtype.is_temporal():
        return "time"
    return "number" if dtype.is_numeric() or dtype == narwhals().Boolean else "text"
