"""Rows of which some cells are given.

An encoder takes whole rows alone. So cells that are to be drawn are filled with those of a row that
the encoder decodes from zeros, and which of them were given is kept beside.
"""

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skscore._polars import narwhals, series_of
from skscore.tabular._cells import as_objects, frame_kind, read_columns

__all__ = ["Given", "given_cells", "missing_cells"]

Array = NDArray[Any]

_TIMES = (np.datetime64, np.timedelta64, date, timedelta)
_CANNOT_CAST = (ValueError, TypeError, ArithmeticError, NotImplementedError)


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
            return self._put_back_polars(drawn)
        merged = {
            j: drawn.iloc[:, j]
            .where(~self.known[:, j], self.rows.iloc[:, j].set_axis(drawn.index))
            .astype(dtype)
            for j, dtype in enumerate(drawn.dtypes)
        }
        frame = type(drawn)(merged, index=drawn.index)
        frame.columns = drawn.columns
        return frame

    def _put_back_polars(self, drawn: Any) -> Any:
        nw = narwhals()
        a, b = (nw.from_native(table, eager_only=True) for table in (self.rows, drawn))
        known = [series_of("", known.tolist(), nw.Boolean) for known in self.known.T]
        merged = {n: a[n].zip_with(k, b[n]) for n, k in zip(a.columns, known, strict=True)}
        return nw.from_dict(merged).to_native()


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
        If there are no rows, other columns, or cells that the dtypes of fit do not hold; floats
        are rounded to the precision of a column of floats.
    TypeError
        If conditions are a frame of another kind.

    Examples
    --------
    >>> given_cells(np.zeros((1, 2)), [[np.nan, 1.0]]).rows
    array([[0., 1.]])
    """
    kind = frame_kind(filler)
    labels = list(range(filler.shape[1])) if kind is None else list(filler.columns)
    if isinstance(conditions, Mapping):
        _check_labels(list(conditions), labels)
        conditions = dict(conditions) or {labels[0]: []}
    elif kind is not None and frame_kind(conditions) != kind:
        raise TypeError(
            f"Fit was on a {kind} data frame, and conditions are a {type(conditions).__name__}; "
            f"give a {kind} data frame or a dict."
        )
    elif kind is not None:
        _check_labels(list(conditions.columns), labels)
    read = {None: _of_array, "pandas": _of_pandas, "polars": _of_polars}[kind]
    given = read(filler, conditions)
    if not len(given):
        raise ValueError(
            "conditions have no rows; give one for each that is to be drawn, or leave them out."
        )
    return given


def missing_cells(X: Any) -> Array:
    """Return which cells (n, n_columns) of a table are missing."""
    columns, _ = read_columns(np.asarray(X) if frame_kind(X) is None else X)
    return np.stack([column.missing for column in columns], axis=1)


def _check_labels(labels: list[Hashable], of_fit: list[Hashable]) -> None:
    unknown = [label for label in labels if label not in of_fit]
    if unknown:
        raise ValueError(
            f"conditions have the columns {labels}, of which {unknown} are not those of fit."
        )
    twice = [label for label in of_fit if labels.count(label) > 1]
    if twice:
        raise ValueError(f"conditions have the column {twice[0]!r} twice; leave one of them out.")


def _refusal(label: Hashable, dtype: Any) -> ValueError:
    return ValueError(
        f"conditions have values in the column {label!r} that its dtype {dtype} does not hold."
    )


def _check_levels(cells: Any, levels: list[Any], label: Hashable) -> None:
    known = set(levels)
    unknown = {str(cell) for cell in cells if not isinstance(cell, Hashable) or cell not in known}
    if unknown:
        raise ValueError(
            f"conditions have {sorted(unknown)} in the column {label!r}, whose "
            f"categories are {levels}."
        )


def _as_dtype(cells: Any, dtype: Any, label: Hashable) -> Any:
    """Return given cells, as a series or an array of objects, in the dtype of fit."""
    if isinstance(dtype, np.dtype) and dtype.hasobject:
        return cells
    kind = getattr(dtype, "kind", "O")
    try:
        # NumPy warns of what is refused below.
        with np.errstate(all="ignore"):
            cast = cells.astype(dtype)
            holds = all(_is_same(a, b, kind) for a, b in zip(cast, cells, strict=True))
    except _CANNOT_CAST:
        holds = False
    if not holds:
        raise _refusal(label, dtype)
    return cast


def _is_same(cast: Any, cell: Any, kind: str) -> bool:
    """Return whether a cast changed a cell no more than it rounds floats."""
    # Ticks equal durations.
    if kind in "biufmM" and isinstance(cell, _TIMES) != (kind in "mM"):
        return False
    if kind == "f" and isinstance(cell, float | np.floating):
        return math.isfinite(cast) == math.isfinite(cell)
    if kind == "f":
        # NumPy rounds an integer before it compares it with a float.
        return bool(float(cast) == np.asarray(cell).item())
    return bool(cast == cell)


def _places(known: Array) -> Array:
    """Return where each cell is among the given ones, with a filler behind them."""
    return np.where(known, np.cumsum(known) - 1, known.sum())


def _of_pandas(filler: Any, conditions: Any) -> Given:
    import pandas as pd

    conditions = pd.DataFrame(conditions)
    labels = list(conditions.columns)
    columns, known = {}, np.zeros((len(conditions), filler.shape[1]), dtype=bool)
    for j, label in enumerate(filler.columns):
        fill = filler.iloc[:, j]
        given = fill.iloc[:0]
        if label in labels:
            cells = conditions.iloc[:, labels.index(label)]
            known[:, j] = cells.notna()
            given = _as_pandas_dtype(cells[known[:, j]], fill.dtype, label)
        columns[j] = pd.concat([given, fill]).iloc[_places(known[:, j])].reset_index(drop=True)
    frame = pd.DataFrame(columns)
    frame.columns = filler.columns
    return Given(frame, known)


def _as_pandas_dtype(cells: Any, dtype: Any, label: Hashable) -> Any:
    import pandas as pd

    if isinstance(dtype, pd.CategoricalDtype):
        _check_levels(cells, list(dtype.categories), label)
        return cells.astype(dtype)
    return cells if cells.dtype == dtype else _as_dtype(cells.astype(object), dtype, label)


def _of_array(filler: Array, conditions: Any) -> Given:
    cells = _table_of_objects(conditions, filler.shape[1])
    if cells.ndim != 2 or cells.shape[1] != filler.shape[1]:
        raise ValueError(
            f"conditions have the shape {cells.shape}, and fit had {filler.shape[1]} columns; give "
            "all of them, missing where a cell is to be drawn."
        )
    known = ~missing_cells(cells)
    rows = np.repeat(filler, len(cells), axis=0)
    for j in range(filler.shape[1]):
        rows[known[:, j], j] = _as_dtype(cells[known[:, j], j], rows.dtype, j)
    return Given(rows, known)


def _table_of_objects(conditions: Any, n_columns: int) -> Array:
    """Return a table as an array of objects, in which no cell has changed."""
    if isinstance(conditions, Mapping):
        n_rows = len(next(iter(conditions.values())))
        table = np.full((n_rows, n_columns), None, dtype=object)
        for label, cells in conditions.items():
            table[:, range(n_columns).index(label)] = as_objects(cells)
        return table
    if frame_kind(conditions) is not None:
        labels = list(conditions.columns)
        if frame_kind(conditions) == "polars" or labels != list(range(len(labels))):
            raise TypeError(
                f"Fit was on an array, and conditions are a data frame with the columns {labels}; "
                "give an array, or a dict of positions."
            )
        conditions = conditions.astype(object).to_numpy()
    # NumPy would make text of a list of mixed rows, and integers of nanoseconds as objects.
    table = np.asarray(conditions, dtype=None if hasattr(conditions, "dtype") else object)
    if table.dtype.kind in "mM":
        table = as_objects(list(table.ravel())).reshape(table.shape)
    return table.astype(object) if table.size else table.reshape(0, n_columns)


def _of_polars(filler: Any, conditions: Any) -> Given:
    nw = narwhals()
    row = nw.from_native(filler, eager_only=True)
    if isinstance(conditions, Mapping):
        made = {name: _polars_series(name, c, row[name].dtype) for name, c in conditions.items()}
        frame = nw.from_dict(made)
    else:
        frame = nw.from_native(conditions, eager_only=True)
    columns, known = {}, np.zeros((len(frame), filler.shape[1]), dtype=bool)
    for j, name in enumerate(filler.columns):
        pool = row.select(name)
        if name in frame.columns:
            cells = frame[name]
            gone = cells.is_null()
            gone = gone | cells.is_nan() if cells.dtype.is_float() else gone
            known[:, j] = ~gone.to_numpy()
            # A column of nulls has no dtype to cast.
            if known[:, j].any():
                given = _as_polars_dtype(cells.filter(~gone), pool[name].dtype)
                pool = nw.concat([given.to_frame(), pool])
        columns[name] = pool[name][_places(known[:, j]).tolist()]
    return Given(nw.from_dict(columns).to_native(), known)


def _polars_series(name: str, cells: list[Any], dtype: Any) -> Any:
    """Return cells of a dict, missing ones and times of any kind, as a series."""
    try:
        gone = missing_cells(as_objects(cells)[:, None])[:, 0]
        plain = _plain([None if g else cell for cell, g in zip(cells, gone, strict=True)])
        return series_of(name, plain)
    except _CANNOT_CAST:
        raise _refusal(name, dtype) from None


def _plain(cells: list[Any]) -> Any:
    """Return scalars of NumPy and pandas as what polars reads without a change."""
    # Python's times have no nanoseconds.
    cells = [c if getattr(c, "tzinfo", None) else getattr(c, "asm8", c) for c in cells]
    if not all(isinstance(cell, np.generic) for cell in cells):
        return cells
    values = np.array(cells)
    if values.dtype.kind not in "mM":
        return values.tolist()
    short = values.astype(f"{values.dtype.kind}8[us]")
    return short if (short == values).all() else values


def _as_polars_dtype(series: Any, dtype: Any) -> Any:
    """Return given cells in the dtype of fit, if that changes none of them."""
    from polars.exceptions import PolarsError

    if dtype == narwhals().Enum:
        _check_levels(map(str, series), list(dtype.categories), series.name)
    families = _polars_family(series.dtype), _polars_family(dtype)
    if families == ("date", "instant"):
        raise ValueError(
            f"conditions have times without a time zone in the column {series.name!r}, which has "
            f"the time zone {dtype.time_zone}; give them one."
        )
    try:
        cast = series.cast(dtype)
        if series.dtype.is_float() and dtype.is_float():
            holds = (cast.is_finite() == series.is_finite()).all()
        else:
            holds = families[0] == families[1] and (cast.cast(series.dtype) == series).all()
    except (PolarsError, *_CANNOT_CAST):
        holds = False
    if not holds:
        raise _refusal(series.name, dtype)
    return cast


def _polars_family(dtype: Any) -> str:
    """Return what a dtype is of: casts within a family keep what cells mean."""
    nw = narwhals()
    if dtype.is_temporal():
        if dtype == nw.Duration or dtype == nw.Time:
            return str(dtype).partition("(")[0]
        return "instant" if getattr(dtype, "time_zone", None) else "date"
    return "number" if dtype.is_numeric() or dtype == nw.Boolean else "text"
