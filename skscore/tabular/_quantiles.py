r"""The map between the values of a column and probabilities, with an inverse that is exact.

The randomised probability integral transform: with F the distribution function of the column,
F(x-) its limit from the left, and V ~ U(0, 1) drawn for each cell,

    u = F(x-) + V (F(x) - F(x-))  ~ U(0, 1),      x = F⁻¹(u)

whatever F, so that Φ⁻¹(u) ~ N(0, 1). For the weighted empirical F of the training data:

    a value that repeats             two knots, (F(x-), x) and (F(x), x): its share of u is its own
    a value that does not repeat     one knot, ((F(x-) + F(x))/2, x), the middle of its jump
    between two knots                a straight line, then rounding to the steps of the column

Without the middle, a value that occurs once would come back as another one near by. The interval
of a repeated value is narrower than its jump by 10⁻⁷ of it on both sides, so that no error of
rounding, in Φ or its inverse, takes u across the border.

Beyond the last knot F⁻¹ is constant, or a generalised Pareto tail: the excess y over a high
threshold has P(Y > y) ≈ (1 + ξy/β)^(-1/ξ), and so has the excess over the largest value m, with
β + ξ(m - t) in place of β. With k = -ξ, α_0 = E[Y] and α_1 = E[Y (1 - F(Y))],

    k = α_0/(α_0 - 2α_1) - 2,     β = 2α_0 α_1/(α_0 - 2α_1)

Sources: Rüschendorf, "On the distributional transform, Sklar's theorem, and the empirical copula
process", J. Stat. Plan. Inference 2009; Pickands, "Statistical inference using extreme order
statistics", Ann. Stat. 1975; Hosking & Wallis, "Parameter and quantile estimation for the
generalized Pareto distribution", Technometrics 1987 (the moments).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skscore.tabular._rounding import Rounding, find_rounding

__all__ = ["ParetoTail", "QuantileMap", "fit_tail"]

Array = NDArray[Any]

_BORDER = 1e-7  # of a jump, left free on both sides
_SNAP = 1e-12  # in u: far above the error of Φ(Φ⁻¹(u)), far below the gaps between values
_RAREST = 1e-12  # probability that a tail reaches to
_OUTER = 0.05  # share of the data that a tail is fitted to
_ENOUGH_IN_TAIL = 20
_SHAPES = (-0.5, 0.95)  # of a tail; the moments have errors of their own


@dataclass(frozen=True)
class ParetoTail:
    """A generalised Pareto tail beyond the outermost value of a column.

    Attributes
    ----------
    edge : float
        The outermost value.
    sign : {-1, 1}
        -1 for the lower tail, 1 for the upper.
    mass : float
        Probability beyond the edge.
    shape, scale : float
        ξ, and β at the edge, in units of the column.
    """

    edge: float
    sign: int
    mass: float
    shape: float
    scale: float

    def quantiles(self, p: Array) -> Array:
        """Return the values with the probability p, from 10⁻¹² to ``mass``, beyond them.

        Examples
        --------
        >>> tail = ParetoTail(edge=10.0, sign=1, mass=0.1, shape=0.5, scale=1.0)
        >>> tail.quantiles(np.array([0.1, 0.025]))
        array([10., 12.])
        """
        # Doubles near 1 are coarse: what is rarer is no more than noise of 1 - u.
        log_share = np.log(np.maximum(p, _RAREST) / self.mass)
        if self.shape == 0:
            excess = -self.scale * log_share
        else:
            excess = self.scale * np.expm1(-self.shape * log_share) / self.shape
        largest = np.finfo(np.float64).max
        with np.errstate(over="ignore"):
            return (self.edge + self.sign * excess).clip(-largest, largest)

    def masses(self, x: Array) -> Array:
        """Return the probability beyond values that lie beyond the edge.

        Examples
        --------
        >>> tail = ParetoTail(edge=10.0, sign=1, mass=0.1, shape=0.5, scale=1.0)
        >>> tail.masses(np.array([10.0, 12.0]))
        array([0.1  , 0.025])
        """
        with np.errstate(over="ignore"):
            excess = self.sign * (x / self.scale - self.edge / self.scale)
            if self.shape == 0:
                return self.mass * np.exp(-excess)
            # With ξ < 0 the tail ends at β/|ξ|.
            base = np.maximum(1 + self.shape * excess, 0.0)
            return self.mass * base ** (-1 / self.shape)

    def log_density(self, x: Array) -> Array:
        """Return the log-density of values that lie beyond the edge.

        Examples
        --------
        >>> tail = ParetoTail(edge=10.0, sign=1, mass=0.1, shape=0.5, scale=1.0)
        >>> tail.log_density(np.array([10.0])).round(3)  # ln(mass/scale)
        array([-2.303])
        """
        with np.errstate(over="ignore", divide="ignore"):
            excess = self.sign * (x / self.scale - self.edge / self.scale)
            if self.shape == 0:
                log_fall = -excess
            else:
                base = np.maximum(1 + self.shape * excess, 0.0)
                log_fall = -(1 + 1 / self.shape) * np.log(base)
                # With ξ < 0 the tail has an end.
                log_fall = np.where(base > 0, log_fall, -np.inf)
            found: Array = np.log(self.mass) - np.log(self.scale) + log_fall
            return found


def fit_tail(values: Array, mass: Array, edge_mass: float, sign: int) -> ParetoTail | None:
    """Fit the tail of a column by the moments of the outer 5 % of its values.

    Parameters
    ----------
    values : ndarray of shape (n_values,)
        Ascending distinct values, none of them repeated in the outer 5 %.
    mass : ndarray of shape (n_values,)
        Their probabilities.
    edge_mass : float
        Probability beyond the outermost knot.
    sign : {-1, 1}
        Which tail.

    Returns
    -------
    tail : ParetoTail or None
        None with fewer than 20 values in the tail, or where the fit ends before the largest value.

    Examples
    --------
    >>> values = np.random.RandomState(0).exponential(2.0, 10_000)
    >>> tail = fit_tail(np.sort(values), np.full(10_000, 1e-4), 5e-5, 1)
    >>> bool(abs(tail.shape) < 0.15)
    True
    """
    outward, share = (values, mass) if sign > 0 else (-values[::-1], mass[::-1])
    first = int(np.searchsorted(np.cumsum(share), 1 - _OUTER, side="right"))
    if len(outward) - first < _ENOUGH_IN_TAIL or first == 0:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        excess = outward[first:] - outward[first - 1]
        w = share[first:] / share[first:].sum()
        beyond = 1 - (np.cumsum(w) - w / 2)
        mean, half = w @ excess, w @ (beyond * excess)
        shape = np.clip(2 - mean / (mean - 2 * half), *_SHAPES)
        # The mean β/(1 - ξ) holds for the clipped shape, too.
        scale = mean * (1 - shape) + shape * excess[-1]
    if not (np.isfinite(scale) and scale > 0):
        return None
    return ParetoTail(float(values[-1 if sign > 0 else 0]), sign, edge_mass, shape, float(scale))


@dataclass(frozen=True, eq=False)
class QuantileMap:
    """Values of a column and their probabilities. Make one with ``QuantileMap.fit``.

    Attributes
    ----------
    values : ndarray of shape (n_stored,)
        Ascending distinct values.
    lower, upper : ndarray of shape (n_stored,)
        F(x-) and F(x) of values that repeat; of others, twice the middle of the two.
    rounding : Rounding
        Steps on which the values lie.
    lower_tail, upper_tail : ParetoTail or None
        What lies beyond the outermost values, None for nothing.
    size : float
        The number of rows; where their weights differ, of as many of one weight as tell as much,
        (Σw)²/Σw².

    Examples
    --------
    >>> quantile_map = QuantileMap.fit(np.array([0.0, 0.0, 1.0, 3.0]))
    >>> lower, upper = quantile_map.intervals(np.array([0.0, 1.0, 2.0]))
    >>> lower.round(3), upper.round(3)
    (array([0.   , 0.625, 0.75 ]), array([0.5  , 0.625, 0.75 ]))
    >>> quantile_map.quantiles(np.array([0.2, 0.625, 0.99]))
    array([0., 1., 3.])
    """

    values: Array
    lower: Array
    upper: Array
    rounding: Rounding = Rounding()
    lower_tail: ParetoTail | None = None
    upper_tail: ParetoTail | None = None
    size: float = 1.0

    @classmethod
    def fit(
        cls,
        x: Array,
        weights: Array | None = None,
        *,
        tails: str = "clip",
        max_stored_values: int = 10_000,
        dtype: Any = np.float64,
    ) -> "QuantileMap":
        """Learn the distribution of a column.

        Parameters
        ----------
        x : ndarray of shape (n,)
            Finite values, one or more.
        weights : ndarray of shape (n,) or None, default=None
            Positive weights. Where all are integers, they count repetitions: a value of weight 2
            repeats.
        tails : {"clip", "pareto"}, default="clip"
            What lies beyond the smallest and the largest value: nothing, or a fitted tail where
            the column is not rounded and the outer 5 % has 20 values or more, none repeated.
        max_stored_values : int, default=10_000
            At most so many distinct values are kept: the heaviest ones that repeat, up to half of
            the number, and quantiles of the others.
        dtype : dtype, default=float64
            What the values were given in, for the steps of rounding.

        Returns
        -------
        quantile_map : QuantileMap
        """
        # -0.0 and 0.0 are one value.
        values, inverse = np.unique(x + 0.0, return_inverse=True)
        w = np.ones(len(x)) if weights is None else weights
        whole = bool((w == np.rint(w)).all())
        counts = w if whole else np.ones(len(x))
        size = float(w.sum() if whole else w.sum() ** 2 / (w @ w))
        total = np.bincount(inverse, w)
        repeated = np.bincount(inverse, counts) > 1
        # Differences of cumulated sums would not reach 0 and 1 exactly.
        above = np.cumsum(total)
        lower, upper = np.concatenate([[0.0], above[:-1]]) / above[-1], above / above[-1]
        middle = (lower + upper) / 2
        lower, upper = np.where(repeated, lower, middle), np.where(repeated, upper, middle)
        rounding = find_rounding(values, dtype)
        found: dict[int, ParetoTail | None] = {-1: None, 1: None}
        if tails == "pareto" and rounding.step == 0:
            mass = total / above[-1]
            for sign, outer, beyond in [
                (-1, upper <= _OUTER, lower[0]),
                (1, lower >= 1 - _OUTER, 1 - upper[-1]),
            ]:
                outermost = repeated[0 if sign < 0 else -1]
                if not (repeated[outer].any() or outermost):
                    found[sign] = fit_tail(values, mass, float(beyond), sign)
        kept = _kept(total, repeated, max_stored_values)
        return cls(values[kept], lower[kept], upper[kept], rounding, found[-1], found[1], size)

    def intervals(self, x: Array) -> tuple[Array, Array]:
        """Return the interval of u in which each value lies, twice the same for a single value.

        Parameters
        ----------
        x : ndarray of shape (n,)
            Finite values. One that is not stored lies on the line between its neighbours; where
            no probability lies between them, it counts as the nearer of the two. Beyond the
            outermost values it counts as those, or lies in the tail.

        Returns
        -------
        lower, upper : ndarray of shape (n,)
        """
        last = len(self.values) - 1
        right = np.searchsorted(self.values, x).clip(0, last)
        left = np.maximum(right - 1, 0)
        x_left, x_right = self.values[left], self.values[right]
        # Halves: the difference of two large values may be infinite.
        span = x_right / 2 - x_left / 2
        t = (x.clip(x_left, x_right) / 2 - x_left / 2) / np.where(span > 0, span, 1.0)
        nearest = np.where((t < 0.5) & (x < x_right), left, right)
        margin = _BORDER * (self.upper[nearest] - self.lower[nearest])
        lower, upper = self.lower[nearest] + margin, self.upper[nearest] - margin
        u_left, u_right = self.upper[left], self.lower[right]
        between = (x > x_left) & (x < x_right) & (u_right - u_left > _SNAP)
        on_line = u_left + t * (u_right - u_left)
        lower, upper = np.where(between, on_line, lower), np.where(between, on_line, upper)
        for tail, beyond in [
            (self.lower_tail, x < self.values[0]),
            (self.upper_tail, x > self.values[-1]),
        ]:
            if tail is not None and beyond.any():
                p = tail.masses(x[beyond])
                lower[beyond] = upper[beyond] = p if tail.sign < 0 else 1 - p
        return lower, upper

    def quantiles(self, u: Array) -> Array:
        """Return the value at each probability.

        Parameters
        ----------
        u : ndarray of shape (n,)
            Probabilities.

        Returns
        -------
        x : ndarray of shape (n,)
            A value that repeats wherever u lies in its interval, a single one where u is its
            middle within 10⁻¹²; else what lies between, on the steps of the column.
        """
        double = self.upper > self.lower
        repeats = 1 + double
        knots_x = np.repeat(self.values, repeats)
        knots_u = np.repeat(self.lower, repeats)
        knots_u[np.cumsum(repeats) - 1] = self.upper
        if len(knots_x) == 1:
            x = np.full(u.shape, knots_x[0])
        else:
            right = np.searchsorted(knots_u, u, side="right").clip(1, len(knots_u) - 1)
            x = self._between(u, knots_u[right - 1], knots_u[right], right, knots_x)
        for tail, beyond in [
            (self.lower_tail, u < knots_u[0] - _SNAP),
            (self.upper_tail, u > knots_u[-1] + _SNAP),
        ]:
            if tail is not None and beyond.any():
                x[beyond] = tail.quantiles(u[beyond] if tail.sign < 0 else 1 - u[beyond])
        return x

    def _between(
        self, u: Array, u_left: Array, u_right: Array, right: Array, knots_x: Array
    ) -> Array:
        x_left, x_right = knots_x[right - 1], knots_x[right]
        gap = np.where(u_right > u_left, u_right - u_left, 1.0)
        t = ((u - u_left) / gap).clip(0, 1)
        at_left, at_right = np.abs(u - u_left) <= _SNAP, np.abs(u - u_right) <= _SNAP
        nearer = np.where(t < 0.5, x_left, x_right)
        x = np.where(at_left | at_right | (t == 0) | (t == 1), nearer, x_left)
        free = (x_left != x_right) & ~at_left & ~at_right & (t > 0) & (t < 1)
        # Both ends are weighted, since their difference may be infinite.
        inner = x_left[free] * (1 - t[free]) + x_right[free] * t[free]
        inner = self.rounding.nearest(inner)
        x[free] = inner.clip(x_left[free], x_right[free])
        return x


def _kept(total: Array, repeated: Array, max_stored_values: int) -> Array:
    """Return ascending indices of the values to keep."""
    if len(total) <= max_stored_values:
        return np.arange(len(total))
    atoms = np.flatnonzero(repeated)
    heaviest = atoms[np.argsort(-total[atoms], kind="stable")][: max_stored_values // 2]
    rest = np.setdiff1d(np.arange(len(total)), heaviest)
    n_grid = max_stored_values - len(heaviest)
    above = np.cumsum(total[rest])
    levels = np.linspace(above[0], above[-1], n_grid)
    grid = rest[np.searchsorted(above, levels).clip(0, len(rest) - 1)]
    return np.unique(np.concatenate([heaviest, grid]))
