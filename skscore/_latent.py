r"""Log-densities and latent rows of a fitted score of all noise levels.

Inside, rows are z = (x - μ)/a; in the units of X, log p(x) = log p(z) - Σ_j ln a_j over the
features that vary. The density is that of the data blurred by ``sigma_min``.
"""

import math
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_array, check_is_fitted
from torch import Tensor

from skscore._base import ScoreEstimator
from skscore._inference import in_parts, to_numpy
from skscore._log_densities import by_denoising, by_flow, mean_and_error, warn_of_gap
from skscore._typing import BlurredDensity
from skscore._validation import Array, check_weights
from skscore.gaussians import GaussianScore
from skscore.likelihood import flow_decode, flow_encode, flow_sigmas

__all__ = ["Latent"]

_REMEDY = "Use model='stack' or early_stopping='loss', or more rows."


class Latent(ScoreEstimator):
    """Log-densities by the probability flow and by denoising, and its latent Gaussian."""

    sigma_min_: float
    sigma_max_: float

    def score_samples(self, X: Any) -> Array:
        """Return the log-density log p(x) by the probability flow.

        That of the data blurred by ``sigma_min``, of the features that vary. The flow is solved by
        the Runge-Kutta method of order four on a fixed grid, with the exact divergence up to 50
        features, and with 32 fixed random probes above; ``log_density_std_`` is their error.

        On few rows the weights that draw the best samples, which are kept by default, are
        overfitted as a density: for log-densities of small tables use ``model="stack"``, or
        ``early_stopping="loss"``. An :class:`~skscore.exceptions.OverfittingWarning` says so where
        the mean over 30 or more rows lies more than half a nat a feature below that by denoising
        errors, which is the same number for the scores of a density.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Points.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            In nats, in the units of X. That of a row does not depend on the others. Of rows with
            categories it is that of the numbers and the levels together, log p(numbers | levels)
            + log P(levels), if ``sigma_min`` is so small that blurred codes do not overlap.
        """
        z = self._tensor(self._to_z(self._check_density_rows(X)))
        found, stds = by_flow(self._fitted_model(), z, self._levels(), self._prior())
        found = found + self._log_cells()
        self.log_density_std_ = float(np.sqrt(np.square(stds).mean()))
        warn_of_gap(found, lambda: self._denoising_nll(z), z.shape[1], _REMEDY)
        log_density: Array = found - self._log_scale()
        return log_density

    def _denoising_nll(self, z: Tensor) -> Array:
        return by_denoising(self._score_fn(), z, self._levels(), self._reference())

    def bits_per_dim(self, X: Any) -> Array:
        """Return -log₂ p(x)/d, with d the number of features that vary.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Points.

        Returns
        -------
        bits : ndarray of shape (n_samples,)
            Bits a feature, in the units of X. Of whole numbers that were dequantised with noise of
            the width 1 they are a bound of the bits that the numbers need.
        """
        self._check_numbers("bits_per_dim")
        log_density = self.score_samples(X)
        bits: Array = -log_density / ((~self.constant_).sum() * math.log(2))
        return bits

    def held_out_nll(self, X: Any, sample_weight: Any = None) -> float:
        """Estimate the mean of -log p(x) from denoising errors, without solving the flow [1]_.

        ½ ∫ (E‖x - D‖² - E‖x - D_G‖²) dσ⁻² more than that of the Gaussian G with the moments of the
        training data, D being Tweedie's mean. The noise is the same at every call, so models can be
        compared by it. ``held_out_nll_std_`` is the standard error of the mean over rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, best not seen in training.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        nll : float
            In nats, in the units of X; lower is better. With categories the density is that of the
            numbers and the levels together, and the errors are held against those of independent
            categories instead of G, so that less is left to chance.

        References
        ----------
        .. [1] X. Kong, R. Brekelmans and G. Ver Steeg, "Information-theoretic diffusion", ICLR
           2023.
        """
        X = self._check_density_rows(X)
        weights = check_weights(sample_weight, X)
        nll = self._denoising_nll(self._tensor(self._to_z(X)))
        mean, self.held_out_nll_std_ = mean_and_error(nll, weights)
        return mean + self._log_scale()

    def encode(self, X: Any) -> Array:
        """Map rows to their latent Gaussian ones by the probability flow.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_varying)
            N(0, I) if the rows are draws of the model; one column for each feature that varies.
        """
        self._check_numbers("encode")
        z = self._tensor(self._to_z(self._check_X(X)))
        model, sigmas, prior = self._fitted_model(), self._flow_sigmas(), self._prior()
        latent: Array = to_numpy(
            in_parts(
                lambda z, sigma: flow_encode(model, z, sigmas, prior), z, torch.zeros_like(z[:, :1])
            )
        )
        return latent

    def decode(self, Z: Any) -> Any:
        """Map latent rows to rows of data: undo `encode`.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_varying)
            Latent rows.

        Returns
        -------
        X : ndarray or DataFrame of shape (n_samples, n_features)
            Like the training data: the same container, columns and dtypes, integers rounded.

        Raises
        ------
        ValueError
            If Z has another number of columns than `encode` returns.
        """
        check_is_fitted(self)
        self._check_numbers("decode")
        Z = check_array(Z, dtype=np.float64)
        d = int((~self.constant_).sum())
        if Z.shape[1] != d:
            raise ValueError(
                f"Z has {Z.shape[1]} columns, and the latent rows of this model have {d}, one for "
                "each feature that varied in training; decode what encode returns."
            )
        z = self._tensor(Z)
        model, sigmas, prior = self._fitted_model(), self._flow_sigmas(), self._prior()
        rows = in_parts(
            lambda z, sigma: flow_decode(model, z, sigmas, prior), z, torch.zeros_like(z[:, :1])
        )
        return self.container_.wrap(self._from_z(to_numpy(self._finite(rows))))

    def interpolate(self, a: Any, b: Any, n_points: int = 10) -> Any:
        """Return rows on the way from one row to another, through the latent Gaussian.

        The latent rows lie on the arc between those of a and b (spherical interpolation), so that
        each is as typical a draw as its ends are.

        Parameters
        ----------
        a, b : array-like or DataFrame of shape (1, n_features) or (n_features,)
            One row each.
        n_points : int, default=10
            How many rows, 2 or more, with both ends.

        Returns
        -------
        X : ndarray or DataFrame of shape (n_points, n_features)
            Like the training data. The first and the last are a and b up to the error of the flow.

        Raises
        ------
        ValueError
            If a or b is not one row, or n_points is below 2.
        """
        if n_points < 2:
            raise ValueError(f"n_points={n_points} do not join two rows; give 2 or more.")
        ends = []
        for name, row in (("a", a), ("b", b)):
            row = np.reshape(row, (1, -1)) if np.ndim(row) == 1 else row
            if len(row) != 1:
                raise ValueError(f"{name} has {len(row)} rows; give one.")
            ends.append(self.encode(row)[0])
        return self.decode(_slerp(ends[0], ends[1], np.linspace(0, 1, n_points)))

    def _levels(self) -> tuple[float, float]:
        return self.sigma_min_, self.sigma_max_

    def _flow_sigmas(self) -> Tensor:
        return flow_sigmas(self.sigma_max_, self.sigma_min_)

    def _prior(self) -> GaussianScore:
        """Return the Gaussian with the moments of the training data, in the units of z."""
        covariance = self._tensor(self.covariance_)
        return GaussianScore(torch.zeros(len(covariance)), covariance).to(covariance.device)

    def _reference(self) -> BlurredDensity:
        """Return the density that denoising errors are held against."""
        return self._prior()

    def _log_cells(self) -> float:
        """Return what log p_σ of a row, at σ_min, lacks to be that of its numbers and levels."""
        return 0.0

    def _check_density_rows(self, X: Any) -> Array:
        """Return rows that have a log-density."""
        return self._check_X(X)

    def _check_numbers(self, method: str) -> None:
        """Raise if a method is for numbers alone, and features are codes."""

    def _log_scale(self) -> float:
        return float(np.log(self.scale_[~self.constant_]).sum())


def _slerp(a: Array, b: Array, t: Array) -> Array:
    """Return the points at the shares t of the arc from a to b, (len(t), d).

    Directions turn evenly, and lengths change evenly from one to the other.
    """
    t = t[:, None]
    lengths = np.linalg.norm(a), np.linalg.norm(b)
    straight: Array = (1 - t) * a + t * b
    if min(lengths) == 0:
        return straight
    a, b = a / lengths[0], b / lengths[1]
    angle = np.arccos(np.clip(a @ b, -1, 1))
    if np.sin(angle) < 1e-6:
        return straight
    directions = (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)
    arc: Array = ((1 - t) * lengths[0] + t * lengths[1]) * directions
    return arc
