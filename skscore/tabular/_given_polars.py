"""Given cells of data frames of polars, which are read through narwhals."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skscore._polars import narwhals, series_of
from skscore.tabular._casts import CANNOT_CAST, as_polars_dtype, refusal
from skscore.tabular._cells import as_objects, missing_cells, positions_of

__all__ = ["merge_polars", "read_polars"]

Array = NDArray[Any]


def read_polars(filler: Any, conditions: Any) -> tuple[Any, Array]:
    """Return the given cells of a frame or a dict, the others filled, and which are given."""
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
                given = as_polars_dtype(cells.filter(~gone), pool[name].dtype)
                pool = nw.concat([given.to_frame(), pool])
        columns[name] = pool[name][positions_of(known[:, j]).tolist()]
    return nw.from_dict(columns).to_native(), known


def merge_polars(rows: Any, known: Array, drawn: Any) -> Any:
    """Return drawn rows with the given cells as they are."""
    nw = narwhals()
    a, b = (nw.from_native(table, eager_only=True) for table in (rows, drawn))
    masks = [series_of("", column.tolist(), nw.Boolean) for column in known.T]
    merged = {n: a[n].zip_with(m, b[n]) for n, m in zip(a.columns, masks, strict=True)}
    return nw.from_dict(merged).to_native()


def _polars_series(name: str, cells: list[Any], dtype: Any) -> Any:
    """Return cells of a dict, missing ones and times of any kind, as a series."""
    try:
        gone = missing_cells(as_objects(cells)[:, None])[:, 0]
        plain = _plain([None if g else cell for cell, g in zip(cells, gone, strict=True)])
        return series_of(name, plain)
    except CANNOT_CAST:
        raise refusal(name, dtype) from None


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
