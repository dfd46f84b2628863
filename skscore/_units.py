r"""The units in which an estimator works, and the noise that fills the steps of rounded columns.

Each feature that varies is centred and divided by a scale a (its standard deviation with
``standardize=True``, 1 without): z = (x - μ)/a. In the units of X,

    ∇_x log p = (∇_z log p)/a,       x = μ + a z

A feature that is constant in training carries no density. Its blurred score is that of a point,
-(x - μ)/σ²; without noise its score is 0; it is sampled as the constant; and it is left out of
``score``, where it would add a number that depends on σ alone.

A column that is rounded to steps δ is learnt as x + δ(U - ½), U ~ U(0, 1), whose variance is larger
by δ²/12 (:mod:`skscore._ties`). The noise is drawn afresh in every batch of a training; where rows
are read once, each is copied with noise of its own until there are enough. Rows that are drawn go
back to the nearest step, where the rows that were learnt from lie on steps.

Features that are codes of categories stay as they are: they have no unit, no steps, and are never
left out.
"""

from typing import Any

import numpy as np

from skscore._ties import (
    ENOUGH_ROWS,
    ColumnTies,
    dequantized_copies,
    find_ties,
    resolve_dequantize,
    step_origins,
    tied_values_message,
    to_steps,
)
from skscore._validation import Array, warn
from skscore.exceptions import TiedValuesWarning

__all__ = ["UnitsMixin"]

_UNTIED = ColumnTies(tied=False, repeated=0.0, step=0.0, atoms={})


class UnitsMixin:
    """Centre and scale of each feature, and the steps of rounded ones."""

    standardize: bool
    dequantize: Any
    mean_: Array
    scale_: Array
    constant_: Array
    rounding_steps_: Array
    rounding_origins_: Array

    def _find_rounding(self, X: Array, sample_weight: Array | None) -> None:
        """Find the steps δ of the columns, before rows are collapsed; warn of ties without."""
        ties, codes = find_ties(X, sample_weight), self._are_codes(X.shape[1])
        steps = resolve_dequantize(self.dequantize, ties, X.shape[1])
        ties = [_UNTIED if code else found for found, code in zip(ties, codes, strict=True)]
        self.rounding_steps_ = np.where(codes, 0.0, steps)
        rows = X if sample_weight is None else X[sample_weight > 0]
        self.rounding_origins_ = step_origins(rows, self.rounding_steps_)
        names = getattr(self, "feature_names_in_", None)
        message = tied_values_message(ties, self.rounding_steps_, names)
        if message:
            self._report_ties(message)

    def _are_codes(self, n_features: int) -> Array:
        """Return which features (n_features,) are codes of categories."""
        return np.zeros(n_features, dtype=bool)

    def _report_ties(self, message: str) -> None:
        warn(message, TiedValuesWarning)

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
        variance = variance + self.rounding_steps_**2 / 12
        varying = np.where(self.constant_, 1.0, np.sqrt(variance))
        self.scale_ = varying if self.standardize else np.ones_like(varying)
        codes = self._are_codes(values.shape[1])
        self.constant_ &= ~codes
        self.mean_[codes], self.scale_[codes] = 0.0, 1.0

    def _to_z(self, X: Array) -> Array:
        return ((X - self.mean_) / self.scale_)[:, ~self.constant_]

    def _from_z(self, z: Array) -> Array:
        X = np.tile(self.mean_, (len(z), 1))
        X[:, ~self.constant_] += z * self.scale_[~self.constant_]
        return X

    def _to_steps(self, X: Array) -> Array:
        """Bring drawn rows to the steps of rounded columns."""
        return to_steps(X, self.rounding_steps_, self.rounding_origins_)

    def _widths_z(self) -> Array:
        """Return the widths of the noise of the varying features, in the units of z."""
        widths: Array = (self.rounding_steps_ / self.scale_)[~self.constant_]
        return widths

    def _smoothed(
        self, z: Array, weights: Array, seed: int, *, as_sample: bool = False
    ) -> tuple[Array, Array]:
        """Return rows with noise in the steps of rounded columns, several for each of few rows.

        As a sample they are about as many as there were rows before those that repeat were
        collapsed, for what counts rows, or sees that columns without noise repeat.
        """
        widths = self._widths_z()
        if not widths.any():
            return z, weights
        n_rows = min(ENOUGH_ROWS, round(weights.sum())) if as_sample else ENOUGH_ROWS
        return dequantized_copies(z, weights, widths, n_rows, seed)
