"""Rows of which some cells are given.

An encoder takes whole rows alone. So cells that are to be drawn are filled with those of a row that
the encoder decodes from zeros, and which of them were given is kept beside.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skscore.tabular._casts import as_dtype, as_pandas_dtype
from skscore.tabular._cells import (
    as_objects,
    frame_kind,
    missing_cells,
    positions_of,
    read_columns,
)
from skscore.tabular._given_polars import merge_polars, read_polars

__all__ = ["Given", "given_cells", "read_conditions"]

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
            return merge_polars(self.rows, self.known, drawn)
        merged = {
            j: drawn.iloc[:, j]
            .where(~self.known[:, j], self.rows.iloc[:, j].set_axis(drawn.index))
            .astype(dtype)
            for j, dtype in enumerate(drawn.dtypes)
        }
        frame = type(drawn)(merged, index=drawn.index)
        frame.columns = drawn.columns
        return frame


def read_conditions(filler: Any, conditions: Any, n_samples: int | None) -> Given | None:
    """Return what ``conditions`` of ``sample`` give, or None if that is nothing.

    Parameters
    ----------
    filler : DataFrame or ndarray of shape (1, n_columns)
        A row like those of fit.
    conditions : DataFrame, array-like of shape (n, n_columns), or dict
        One row for each that is to be drawn, or one value for each of some columns.
    n_samples : int or None
        How many rows a dict is for, None is one.

    Returns
    -------
    given : Given or None

    Raises
    ------
    ValueError
        If a dict holds several values of a column, or ``n_samples`` is not the number of rows; see
        `given_cells` for others.
    TypeError
        If conditions are a frame of another kind.
    """
    if isinstance(conditions, Mapping):
        if not conditions:
            return None
        n = 1 if n_samples is None else n_samples
        cells = {label: [_one_value(filler, label, x)] * n for label, x in conditions.items()}
        return given_cells(filler, cells)
    given = given_cells(filler, conditions)
    if n_samples is not None and n_samples != len(given):
        raise ValueError(
            f"n_samples={n_samples} was given beside conditions of {len(given)} rows, of which "
            "each is drawn once; leave it out."
        )
    return given


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
    elif kind is not None and frame_kind(conditions) != kind:
        raise TypeError(
            f"Fit was on a {kind} data frame, and conditions are a {type(conditions).__name__}; "
            f"give a {kind} data frame or a dict."
        )
    elif kind is not None:
        _check_labels(list(conditions.columns), labels)
    read = {None: _read_array, "pandas": _read_pandas, "polars": read_polars}[kind]
    given = Given(*read(filler, conditions))
    if not len(given):
        raise ValueError(
            "conditions have no rows; give one for each that is to be drawn, or leave them out."
        )
    return given


def _one_value(filler: Any, label: Hashable, value: Any) -> Any:
    """Return the value of a dict, if it is no collection."""
    is_several = isinstance(value, list | set | range | Mapping) or getattr(value, "shape", None)
    if isinstance(value, tuple):
        # In a column of tuples they are levels.
        columns, _ = read_columns(filler)
        is_several = not any(c.name == label and isinstance(c.values[0], tuple) for c in columns)
    if is_several:
        raise ValueError(
            f"conditions have several values ({type(value).__name__}) in the column {label!r}; a "
            "dict holds one value for each column, the same in all rows, and a data frame or an "
            "array holds several rows."
        )
    return value.item() if isinstance(value, np.ndarray) else value


def _check_labels(labels: list[Hashable], of_fit: list[Hashable]) -> None:
    unknown = [label for label in labels if label not in of_fit]
    if unknown:
        raise ValueError(
            f"conditions have the columns {labels}, of which {unknown} are not those of fit."
        )
    twice = [label for label in of_fit if labels.count(label) > 1]
    if twice:
        raise ValueError(f"conditions have the column {twice[0]!r} twice; leave one of them out.")


def _read_pandas(filler: Any, conditions: Any) -> tuple[Any, Array]:
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
            given = as_pandas_dtype(cells[known[:, j]], fill.dtype, label)
        columns[j] = pd.concat([given, fill]).iloc[positions_of(known[:, j])].reset_index(drop=True)
    frame = pd.DataFrame(columns)
    frame.columns = filler.columns
    return frame, known


def _read_array(filler: Array, conditions: Any) -> tuple[Any, Array]:
    cells = _table_of_objects(conditions, filler.shape[1])
    if cells.ndim != 2 or cells.shape[1] != filler.shape[1]:
        raise ValueError(
            f"conditions have the shape {cells.shape}, and fit had {filler.shape[1]} columns; give "
            "all of them, missing where a cell is to be drawn."
        )
    known = ~missing_cells(cells)
    rows = np.repeat(filler, len(cells), axis=0)
    for j in range(filler.shape[1]):
        rows[known[:, j], j] = as_dtype(cells[known[:, j], j], rows.dtype, j)
    return rows, known


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
