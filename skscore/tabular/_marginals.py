r"""The density of a column on its own, from the values that an encoder keeps of it.

A distribution function that jumps, or bends, at every value of the data has no useful slope: that
between two neighbours is one over their gap, whose logarithm is off by 0.8 nats (standard
deviation) and 0.4 nats too low in the mean, however many rows there are. So F is taken as straight
between every k-th value,

    k = 2 n^(2/5)            n rows; in the tails as many as lie beyond, down to 4
    log f(x) = log (F(b) - F(a))/(b - a),      a ≤ x < b neighbouring knots

which leaves an error of about 1/√k. Values on steps of the width w (integers, tenths) are cells
of this width around them. What is then meant is the density of the column with uniform noise in
its steps, the same all over a cell,

    log f(x) = log (F(x + w/2) - F(x - w/2))/w

so that f(x) w is the probability of the value. A value of more than k rows is a cell of its own.

Beyond the outermost values f is 0, or that of the Pareto tail.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skscore.tabular._quantiles import ParetoTail, QuantileMap
from skscore.tabular._rounding import Rounding

__all__ = ["Marginal"]

Array = NDArray[Any]

_LEAST_ROWS = 4  # between two knots
_FACTOR, _POWER = 2.0, 0.4


@dataclass(frozen=True, eq=False)
class Marginal:
    """A piecewise linear distribution function. Make one with ``Marginal.of``.

    Attributes
    ----------
    x, u : ndarray of shape (n_knots,)
        Ascending values, and the probabilities below them.
    rounding : Rounding
        Steps on which the values of the data lie.
    lower_tail, upper_tail : ParetoTail or None
        What lies beyond the outermost knots, None for nothing.

    Examples
    --------
    >>> dice = np.repeat(np.arange(1, 7), 100)
    >>> marginal = Marginal.of(QuantileMap.fit(dice, dtype=dice.dtype))
    >>> log_f, lower, upper = marginal.evaluate(np.array([2.0, 7.0]))
    >>> np.exp(log_f).round(3), lower.round(3), upper.round(3)
    (array([0.167, 0.   ]), array([0.167, 1.   ]), array([0.333, 1.   ]))
    """

    x: Array
    u: Array
    rounding: Rounding
    lower_tail: ParetoTail | None = None
    upper_tail: ParetoTail | None = None

    @classmethod
    def of(cls, quantile_map: QuantileMap) -> "Marginal":
        """Take every k-th value of a column for a knot.

        Parameters
        ----------
        quantile_map : QuantileMap
            Of two or more distinct values.

        Returns
        -------
        marginal : Marginal

        Raises
        ------
        ValueError
            If one value has the probability of k rows or more, and the values are on no steps.
        """
        values, rounding = quantile_map.values, quantile_map.rounding
        below = _borders(quantile_map)
        rows = max(_FACTOR * quantile_map.size**_POWER, _LEAST_ROWS)
        share = rows / quantile_map.size
        heavy = np.diff(below) >= share
        if rounding.step == 0 and heavy.any():
            first = int(np.flatnonzero(heavy)[0])
            raise ValueError(
                f"holds the value {values[first]:.6g} in {np.diff(below)[first]:.2g} of its rows, "
                "and is not rounded, so that no density exists there"
            )
        cuts = _cuts(below, heavy, share, _LEAST_ROWS / quantile_map.size)
        inner = cuts[1:-1]
        u = below[inner]
        if rounding.step == 0:
            x = values[inner - 1] / 2 + values[inner] / 2
            ends = (quantile_map.lower + quantile_map.upper)[[0, -1]] / 2
            x = np.concatenate([values[:1], x, values[-1:]])
            u = np.concatenate([ends[:1], u, ends[1:]])
        else:
            half = rounding.step / 2
            left, right = values[inner - 1] + half, values[inner] - half
            # A cell of its own ends half a step beside its value; between two lies nothing.
            middle = left / 2 + right / 2
            after, before = heavy[inner - 1], heavy[inner]
            pairs = [
                np.where(after, left, np.where(before, right, middle)),
                np.where(before, right, np.where(after, left, middle)),
            ]
            x = np.stack(pairs, axis=1).ravel()
            x = np.concatenate([values[:1] - half, x, values[-1:] + half])
            u = np.concatenate([[0.0], np.repeat(u, 2), [1.0]])
        # Neighbouring doubles have no middle. The last knot stands before those that it equals.
        new = np.concatenate([x[:-1] < x[1:], [True]])
        return cls(x[new], u[new], rounding, quantile_map.lower_tail, quantile_map.upper_tail)

    def evaluate(self, x: Array) -> tuple[Array, Array, Array]:
        """Return the log-density of values, and the interval of probabilities that each has.

        Parameters
        ----------
        x : ndarray of shape (n,)
            Values. One beside a step counts as the nearest value on one.

        Returns
        -------
        log_density : ndarray of shape (n,)
            In nats, per unit of x; -inf where nothing lies.
        lower, upper : ndarray of shape (n,)
            Twice F(x), or F at the ends of the cell.
        """
        step = self.rounding.step
        if step > 0:
            # What is far away would be infinitely many steps off.
            x = self.rounding.nearest(x.clip(self.x[0] - step, self.x[-1] + step))
            lower, upper = (self._below(x + sign * step / 2) for sign in (-1, 1))
            with np.errstate(divide="ignore"):
                return np.log(np.maximum(upper - lower, 0.0)) - np.log(step), lower, upper
        u = self._below(x)
        piece = np.searchsorted(self.x, x, side="right").clip(1, len(self.x) - 1) - 1
        outside = (x < self.x[0]) | (x > self.x[-1])
        with np.errstate(divide="ignore"):
            # The quotient may be beyond all doubles.
            log_slope = np.log(np.diff(self.u)) - np.log(np.diff(self.x))
        log_density = np.where(outside, -np.inf, log_slope[piece])
        for tail, beyond in [
            (self.lower_tail, x < self.x[0]),
            (self.upper_tail, x > self.x[-1]),
        ]:
            if tail is not None and beyond.any():
                p = tail.masses(x[beyond])
                u[beyond] = p if tail.sign < 0 else 1 - p
                log_density[beyond] = tail.log_density(x[beyond])
        return log_density, u, u

    def _below(self, x: Array) -> Array:
        return np.interp(x, self.x, self.u)


def _borders(quantile_map: QuantileMap) -> Array:
    """Return the probability below each value (n_values + 1,), the last being 1."""
    lower, upper = quantile_map.lower, quantile_map.upper
    repeats = upper > lower
    inner = np.where(
        repeats[:-1], upper[:-1], np.where(repeats[1:], lower[1:], (upper[:-1] + lower[1:]) / 2)
    )
    return np.concatenate([[0.0], inner, [1.0]])


def _cuts(below: Array, heavy: Array, share: float, least: float) -> Array:
    """Return which values begin a group, ascending, and the number of values at the end."""
    levels, level = [0.0], 0.0
    while level < 0.5:
        level += min(max(level, least), share)
        levels.append(level)
    half = np.array(levels)
    # A group over the middle would be cut in two that are too small.
    half = half[half <= 0.5 - share / 4]
    wanted = np.concatenate([half, 1 - half])
    right = np.searchsorted(below, wanted).clip(1, len(below) - 1)
    nearer = np.where(wanted - below[right - 1] < below[right] - wanted, right - 1, right)
    alone = np.flatnonzero(heavy)
    return np.unique(np.concatenate([[0, len(below) - 1], nearer, alone, alone + 1]))
