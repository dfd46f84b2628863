"""Given cells in the dtypes of fit, if no cell changes by that.

Only floats are rounded, to the precision of a column of floats. Whatever else a dtype does not hold
is an error that names the column.
"""

import math
from collections.abc import Hashable
from datetime import date, timedelta
from typing import Any

import numpy as np

from skscore._polars import narwhals

__all__ = ["CANNOT_CAST", "as_dtype", "as_pandas_dtype", "as_polars_dtype", "refusal"]

CANNOT_CAST = (ValueError, TypeError, ArithmeticError, NotImplementedError)
_TIMES = (np.datetime64, np.timedelta64, date, timedelta)


def refusal(label: Hashable, dtype: Any) -> ValueError:
    """Return the error of a cell that a dtype does not hold."""
    return ValueError(
        f"Cells are given in the column {label!r} that its dtype {dtype} does not hold."
    )


def _check_levels(cells: Any, levels: list[Any], label: Hashable) -> None:
    known = set(levels)
    unknown = {str(cell) for cell in cells if not isinstance(cell, Hashable) or cell not in known}
    if unknown:
        raise ValueError(
            f"Cells are given as {sorted(unknown)} in the column {label!r}, whose categories are "
            f"{levels}."
        )


def as_dtype(cells: Any, dtype: Any, label: Hashable) -> Any:
    """Return given cells, as a series or an array of objects, in the dtype of fit."""
    if isinstance(dtype, np.dtype) and dtype.hasobject:
        return cells
    kind = getattr(dtype, "kind", "O")
    try:
        # NumPy warns of what is refused below.
        with np.errstate(all="ignore"):
            cast = cells.astype(dtype)
            holds = all(_is_same(a, b, kind) for a, b in zip(cast, cells, strict=True))
    except CANNOT_CAST:
        holds = False
    if not holds:
        raise refusal(label, dtype)
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


def as_pandas_dtype(cells: Any, dtype: Any, label: Hashable) -> Any:
    """Return given cells, a series of pandas, in the dtype of fit."""
    import pandas as pd

    if isinstance(dtype, pd.CategoricalDtype):
        _check_levels(cells, list(dtype.categories), label)
        return cells.astype(dtype)
    return cells if cells.dtype == dtype else as_dtype(cells.astype(object), dtype, label)


def as_polars_dtype(series: Any, dtype: Any) -> Any:
    """Return given cells in the dtype of fit, if that changes none of them."""
    from polars.exceptions import PolarsError

    if dtype == narwhals().Enum:
        _check_levels(map(str, series), list(dtype.categories), series.name)
    families = _polars_family(series.dtype), _polars_family(dtype)
    if families == ("date", "instant"):
        raise ValueError(
            f"Cells are given as times without a time zone in the column {series.name!r}, which "
            f"has the time zone {dtype.time_zone}; give them one."
        )
    try:
        cast = series.cast(dtype)
        if series.dtype.is_float() and dtype.is_float():
            holds = (cast.is_finite() == series.is_finite()).all()
        else:
            holds = families[0] == families[1] and (cast.cast(series.dtype) == series).all()
    except (PolarsError, *CANNOT_CAST):
        holds = False
    if not holds:
        raise refusal(series.name, dtype)
    return cast


def _polars_family(dtype: Any) -> str:
    """Return what a dtype is of: casts within a family keep what cells mean."""
    nw = narwhals()
    if dtype.is_temporal():
        if dtype == nw.Duration or dtype == nw.Time:
            return str(dtype).partition("(")[0]
        return "instant" if getattr(dtype, "time_zone", None) else "date"
    return "number" if dtype.is_numeric() or dtype == nw.Boolean else "text"
