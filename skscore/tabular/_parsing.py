"""Cells of any kind read as numbers or as dates, with errors that name the column.

Everything is computed in double precision: whatever it cannot hold exactly, integers beyond 2⁵³
above all, is refused instead of being rounded.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skscore.tabular._cells import Column

__all__ = [
    "EXACT",
    "coarsest_resolution",
    "nearest_in_dtype",
    "parse_numbers",
    "parse_times",
    "show_some",
]

Array = NDArray[Any]

EXACT = 2**53  # above it, not every integer is a double
_NANOSECONDS = {
    "D": 86_400_000_000_000,
    "h": 3_600_000_000_000,
    "m": 60_000_000_000,
    "s": 1_000_000_000,
    "ms": 1_000_000,
    "us": 1_000,
    "ns": 1,
}
_NUMBERS = (int, float, np.integer, np.floating, np.bool_)
_SHOWN = 3


def show_some(cells: Sequence[Any] | Array) -> str:
    """Name a few of many cells.

    Examples
    --------
    >>> show_some(["a", "b", "a", "c", "d"])
    "'a', 'b', 'c' and more"
    """
    distinct = list(dict.fromkeys(repr(cell) for cell in cells))
    return ", ".join(distinct[:_SHOWN]) + (" and more" if len(distinct) > _SHOWN else "")


def nearest_in_dtype(x: Array, dtype: np.dtype) -> Array:
    """Return doubles as the nearest booleans, integers or floats of a NumPy dtype.

    Examples
    --------
    >>> nearest_in_dtype(np.array([1.6, 300.0]), np.dtype(np.int8))
    array([  2, 127], dtype=int8)
    """
    if dtype.kind == "b":
        return x > 0.5
    if dtype.kind in "iu":
        # All data lie within 2**53: no bound of 64 bits, which is no double, is met.
        info = np.iinfo(dtype)
        return np.rint(x).clip(max(info.min, -EXACT), min(info.max, EXACT)).astype(dtype)
    largest = float(np.finfo(dtype).max)
    return x.clip(-largest, largest).astype(dtype)


def parse_numbers(column: Column) -> Array:
    """Return the cells as numbers of a NumPy dtype, 0 where they are missing.

    Parameters
    ----------
    column : Column
        Booleans, integers, floats, or objects that are numbers.

    Returns
    -------
    values : ndarray of shape (n_rows,)

    Raises
    ------
    ValueError
        If a cell is no number, infinite, or an integer beyond 2**53.

    Examples
    --------
    >>> cells = np.array([1, None], dtype=object)
    >>> missing = np.array([False, True])
    >>> parse_numbers(Column("a", cells, missing, "number", cells.dtype))
    array([1, 0])
    """
    values, given = column.values, ~column.missing
    if values.dtype.kind not in "biuf":
        values = _numbers_of_objects(values, given, column.where)
    if values.dtype.kind in "iu" and len(values) > 0:
        if int(values.max()) > EXACT or int(values.min()) < -EXACT:
            raise _too_large(column.where)
    elif values.dtype.kind == "f":
        infinite = np.isinf(values) & given
        if infinite.any():
            raise ValueError(
                f"{column.where} holds {infinite.sum()} infinite value(s); replace them by "
                "missing or finite ones."
            )
        values = np.where(given, values, values.dtype.type(0))
    return values


def _numbers_of_objects(values: Array, given: Array, where: str) -> Array:
    cells = values[given]
    for cell in cells:
        if not isinstance(cell, _NUMBERS) or isinstance(cell, np.timedelta64):
            raise ValueError(
                f"{where} is to hold numbers, and holds {cell!r}, a {type(cell).__name__}; convert "
                "it, or name the column in categorical= at fit."
            )
    whole = len(cells) > 0 and all(isinstance(cell, Integral | np.bool_) for cell in cells)
    if any(isinstance(cell, Integral) and abs(int(cell)) > EXACT for cell in cells):
        raise _too_large(where)
    parsed = np.zeros(len(values), dtype=np.int64 if whole else np.float64)
    parsed[given] = [int(cell) if whole else float(cell) for cell in cells]
    return parsed


def _too_large(where: str) -> ValueError:
    return ValueError(
        f"{where} holds integers beyond 2**53, which double precision cannot tell apart; name it "
        "in categorical=, or leave it out if it only numbers the rows."
    )


def parse_times(column: Column, dtype: np.dtype | None = None) -> tuple[Array, bool]:
    """Return the cells as datetime64 or timedelta64, and whether they were text.

    Parameters
    ----------
    column : Column
        Dates or durations of NumPy's or Python's types, or dates in ISO 8601 without a zone.
    dtype : dtype or None, default=None
        To be converted to; None for the unit they come in.

    Returns
    -------
    times : ndarray of shape (n_rows,)
        NaT where they are missing.
    is_text : bool

    Raises
    ------
    ValueError
        If the cells are none of these, or dates where durations are expected.

    Examples
    --------
    >>> cells = np.array(["2024-02-01", None], dtype=object)
    >>> missing = np.array([False, True])
    >>> parse_times(Column("a", cells, missing, "label", cells.dtype))
    (array(['2024-02-01',        'NaT'], dtype='datetime64[D]'), True)
    """
    values, given = column.values, ~column.missing
    is_text = False
    if values.dtype.kind not in "mM":
        times, is_text = _times_of_objects(values[given].tolist(), column.where)
        values = np.full(len(values), "NaT", dtype=times.dtype)
        values[given] = times
    if dtype is not None:
        if values.dtype.kind != dtype.kind and given.any():
            raise ValueError(
                f"{column.where} held {dtype} in fit, and now holds {values.dtype}; convert it."
            )
        values = values.view(np.int64).view(dtype) if not given.any() else values.astype(dtype)
    return values, is_text


def _times_of_objects(cells: list[Any], where: str) -> tuple[Array, bool]:
    kinds = set(map(type, cells))
    if not kinds:
        return np.array([], dtype="M8[s]"), False
    one = next(iter(kinds))
    is_text = issubclass(one, str)
    zoned = any(getattr(cell, "tzinfo", None) is not None for cell in cells)
    if len(kinds) == 1 and issubclass(one, str | date | timedelta) and not zoned:
        try:
            times = np.array(cells, dtype="m8" if issubclass(one, timedelta) else "M8")
        except ValueError:
            times = np.array([], dtype="M8[s]")
        back = np.datetime_as_string(times).tolist() if is_text else times.tolist()
        if back == cells:
            return times, is_text
    raise ValueError(
        f"{where} is to hold dates, and holds {show_some(cells)}, which would not come back as "
        "given; convert it with pandas.to_datetime first."
    )


def coarsest_resolution(differences: Array, dtype: np.dtype) -> int:
    """Return the ticks of the coarsest unit of which all differences are multiples.

    Parameters
    ----------
    differences : ndarray of int of shape (n,)
        In ticks of the dtype.
    dtype : dtype
        A datetime64 or timedelta64.

    Returns
    -------
    ticks : int
        Of a day, hour, minute, second, millisecond, microsecond or nanosecond; 1 for months.

    Examples
    --------
    >>> coarsest_resolution(np.array([0, 7200, 3600]), np.dtype("M8[s]"))
    3600
    """
    unit, count = np.datetime_data(dtype)
    tick = _NANOSECONDS.get(unit, 0) * count
    for size in _NANOSECONDS.values():
        if tick and size >= tick and size % tick == 0 and (differences % (size // tick) == 0).all():
            return size // tick
    return 1
