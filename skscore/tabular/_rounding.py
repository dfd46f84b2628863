"""The steps on which the values of a column lie: integers, tenths, multiples of five.

A value that is drawn between two values of the data belongs on a step, too. A step that divides
the gaps between values, and is not much finer than they are, is found by :mod:`skscore._ties`.
Where values spread over many steps (prices in cents, incomes in whole units) the digits tell: all
values equal themselves rounded to k decimals. By chance a double does that with the probability of
its spacing over 10⁻ᵏ, and all n values with that to the power of n, which must be below 10⁻⁹.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skscore._ties import find_ties, step_origins

__all__ = ["Rounding", "find_rounding"]

Array = NDArray[Any]

_LOG10_CHANCE = -9
_MOST_DECIMALS = 8


@dataclass(frozen=True)
class Rounding:
    """Steps on which all values of a column lie.

    Attributes
    ----------
    step : float
        Their width; 0 if the column is not rounded.
    origin : float
        A value on a step.
    decimals : int or None
        The number of decimals that all values have, None if they are no short decimals.
    """

    step: float = 0.0
    origin: float = 0.0
    decimals: int | None = None

    def nearest(self, x: Array) -> Array:
        """Return the nearest values on a step.

        Examples
        --------
        >>> Rounding(0.1, 0.3, 1).nearest(np.array([0.3501, 0.2]))
        array([0.4, 0.2])
        """
        if self.step == 0:
            return x
        on_step = self.origin + self.step * np.rint((x - self.origin) / self.step)
        # 3 · 0.1 is not the 0.3 of the data in its last bit.
        return on_step if self.decimals is None else np.round(on_step, self.decimals) + 0.0


def find_rounding(values: Array, dtype: Any = np.float64) -> Rounding:
    """Find the steps on which distinct values lie.

    Parameters
    ----------
    values : ndarray of shape (n_values,)
        Distinct finite values, as doubles.
    dtype : dtype, default=float64
        What they were given in. Integers have steps of 1 or more.

    Returns
    -------
    rounding : Rounding
        The widest steps that are no chance (:mod:`skscore._ties`), or those of the last decimal
        that any of the values has.

    Examples
    --------
    >>> find_rounding(np.array([0.3, 12.7, 1501.1, 7000.2])).step
    0.1
    >>> find_rounding(np.array([0.3, np.pi, 1501.1, 7000.2])).step
    0.0
    """
    dtype = np.dtype(dtype)
    whole = dtype.kind != "f"
    with np.errstate(all="ignore"):
        step = find_ties(values[:, None])[0].step
        origin = step_origins(values[:, None], np.array([step]))[0] if step > 0 else np.nan
    decimals = 0 if whole else _common_decimals(values, dtype)
    if np.isfinite(origin) and not (whole and step < 1):
        return Rounding(float(step), float(origin), decimals)
    if decimals is None:
        return Rounding()
    return Rounding(10.0**-decimals, 0.0, decimals)


def _common_decimals(values: Array, dtype: np.dtype) -> int | None:
    """Return the fewest decimals that write all values exactly, unless they do so by chance."""
    given = values.astype(dtype)
    with np.errstate(over="ignore"):
        spacing = float(np.spacing(np.abs(given).max()))
    for decimals in range(_MOST_DECIMALS + 1):
        chance = np.log10(spacing) + decimals
        if chance * len(values) > _LOG10_CHANCE:
            return None
        with np.errstate(over="ignore", invalid="ignore"):
            if np.array_equal(np.round(values, decimals).astype(dtype), given):
                return decimals
    return None
