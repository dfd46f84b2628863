r"""The units in which an estimator works, and the noise that fills the steps of rounded columns.

Each feature that varies is centred and divided by a scale a (its standard deviation with
``standardize=True``, 1 without): z = (x - μ)/a. In the units of X,

    ∇_x log p = (∇_z log p)/a,       x = μ + a z

A feature that is constant in training carries no density. Its blurred score is that of a point,
-(x - μ)/σ²; without noise its score is 0; it is sampled as the constant; and it is left out of
``score``, where it would add a number that depends on σ alone.

A column that is rounded to steps δ is learnt as x + δ(U - ½), U ~ U(0, 1), whose variance is larger
by δ²/12 (:mod:`skscore._ties`). The noise is drawn afresh in every batch of a training; where rows
are read once, each is copied with noise of its own until there are enough.
"""

from typing import Any

import numpy as np

from skscore._ties import dequantize
from skscore._validation import Array

__all__ = ["UnitsMixin"]

_ENOUGH_ROWS = 5000


class UnitsMixin:
    """Centre and scale of each feature."""

    standardize: bool
    mean_: Array
    scale_: Array
    constant_: Array

    def _rounding_steps(self) -> Array | None:
        """Return the widths δ of the noise, one a feature, or None."""
        return None

    def _fit_units(self, values: Array, weights: Array) -> None:
        with np.errstate(over="ignore", invalid="ignore"):
            mean = np.average(values, axis=0, weights=weights)
            variance = np.average((values - mean) ** 2, axis=0, weights=weights)
        if not (np.isfinite(mean).all() and np.isfinite(variance).all()):
            raise ValueError(
                "X has values so large that their variance overflows; rescale the features first."
            )
        rounding = 10 * np.finfo(np.float64).eps * np.abs(mean)
        self.constant_ = (np.ptp(values, axis=0) == 0) | (np.sqrt(variance) <= rounding)
        if self.constant_.all():
            raise ValueError(
                f"All {len(values)} distinct row(s) of X are equal in every feature: there is no "
                "density to learn. Give rows that vary."
            )
        # A mean of equal numbers can be off in its last bit, which would show in the samples.
        self.mean_ = np.where(self.constant_, values[0], mean)
        steps = self._rounding_steps()
        if steps is not None:
            variance = variance + steps**2 / 12
        varying = np.where(self.constant_, 1.0, np.sqrt(variance))
        self.scale_ = varying if self.standardize else np.ones_like(varying)

    def _to_z(self, X: Array) -> Array:
        return ((X - self.mean_) / self.scale_)[:, ~self.constant_]

    def _from_z(self, z: Array) -> Array:
        X = np.tile(self.mean_, (len(z), 1))
        X[:, ~self.constant_] += z * self.scale_[~self.constant_]
        return X

    def _widths_z(self) -> Array:
        """Return the widths of the noise of the varying features, in the units of z."""
        steps = self._rounding_steps()
        widths = np.zeros_like(self.scale_) if steps is None else steps / self.scale_
        return widths[~self.constant_]

    def _smoothed(self, z: Array, weights: Array, seed: int) -> tuple[Array, Array]:
        """Return rows with noise in the steps of rounded columns, several for each of few rows."""
        widths = self._widths_z()
        if not widths.any():
            return z, weights
        n_copies = max(1, -(-_ENOUGH_ROWS // len(z)))
        copies = np.repeat(z, n_copies, axis=0)
        smooth: Any = dequantize(copies, widths, np.random.RandomState(seed))
        return smooth, np.repeat(weights / n_copies, n_copies)
