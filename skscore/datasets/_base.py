"""What every toy density shares: the public calls, their checks, and the sum of a mixture.

A mixture p = Σ_k f_k has log p = log Σ_k exp(log f_k) and ∇ log p = Σ_k (f_k / p) ∇ log f_k: both
sums are under the same weights, so they share one log-sum-exp.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp
from sklearn.utils import check_array, check_random_state

Array = NDArray[np.float64]

LOG_2PI = math.log(2 * math.pi)
CHUNK = 2**13  # rows and features evaluated at once; quadrature needs some 256 floats for each


def mix(log_f: Array, grad: Array) -> tuple[Array, Array]:
    """Sum a mixture: log f (n, K), ∇ log f (n, K, d) to log p (n,), ∇ log p (n, d)."""
    log_p = logsumexp(log_f, axis=1)
    responsibility = np.exp(log_f - log_p[:, None])
    return log_p, np.einsum("nk,nkd->nd", responsibility, grad)


def log_normal(x: Array, variance: Array | float) -> Array:
    """Evaluate log N(x; 0, variance), elementwise."""
    return -0.5 * (np.square(x) / variance + np.log(variance) + LOG_2PI)


def check_positive(**values: float) -> None:
    """Raise unless each value is a positive finite number; the message names it."""
    for name, value in values.items():
        if not (isinstance(value, Real) and 0 < value < math.inf):
            raise ValueError(f"{name}={value!r} is not a positive finite number.")


def check_count(name: str, value: int, minimum: int) -> None:
    """Raise unless the value is an integer of at least the minimum."""
    if not isinstance(value, Integral) or value < minimum:
        raise ValueError(f"{name}={value!r} is not an integer of at least {minimum}.")


class ToyDensity(ABC):
    """A known density: draws, log-densities and scores, at every noise level.

    Attributes
    ----------
    n_features : int
        The dimension d.
    """

    n_features: int

    def sample(self, n_samples: int = 1, random_state: Any = None) -> Array:
        """Draw independent rows.

        Parameters
        ----------
        n_samples : int, default=1
            How many.
        random_state : int, RandomState or None, default=None
            The source of randomness; an int gives the same rows each time.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)

        Raises
        ------
        ValueError
            If ``n_samples`` is not a positive integer.
        """
        check_count("n_samples", n_samples, 1)
        return self._draw(n_samples, check_random_state(random_state))

    def log_density(self, X: ArrayLike, sigma: ArrayLike = 0.0) -> Array:
        """Evaluate log p_σ(x), p_σ = p * N(0, σ² I).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Points.
        sigma : float or array-like of shape (n_samples,) or (n_samples, 1), default=0.0
            Standard deviation of the blur, in the units of X: one for all rows, or one a row.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            In nats.

        Raises
        ------
        ValueError
            If X has another number of columns, or sigma is negative, not finite or of another
            length.
        """
        return self._evaluate(X, sigma)[0]

    def score_function(self, X: ArrayLike, sigma: ArrayLike = 0.0) -> Array:
        """Evaluate the score ∇_x log p_σ(x), p_σ = p * N(0, σ² I).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Points.
        sigma : float or array-like of shape (n_samples,) or (n_samples, 1), default=0.0
            Standard deviation of the blur, in the units of X: one for all rows, or one a row.

        Returns
        -------
        score : ndarray of shape (n_samples, n_features)

        Raises
        ------
        ValueError
            As in ``log_density``.
        """
        return self._evaluate(X, sigma)[1]

    @property
    def mean(self) -> Array:
        """Mean of the clean density, shape (n_features,)."""
        return self._moments()[0]

    @property
    def covariance(self) -> Array:
        """Covariance of the clean density, shape (n_features, n_features)."""
        return self._moments()[1]

    def _evaluate(self, X: ArrayLike, sigma: ArrayLike) -> tuple[Array, Array]:
        points, sigmas = self._check(X, sigma)
        log_p, score = np.empty(len(points)), np.empty(points.shape)
        for rows in self._row_groups(sigmas):
            if sigmas[rows[0]] == 0:
                log_p[rows], score[rows] = self._clean(points[rows])
            else:
                log_p[rows], score[rows] = self._blurred(points[rows], sigmas[rows])
        return log_p, score

    def _check(self, X: ArrayLike, sigma: ArrayLike) -> tuple[Array, Array]:
        points = check_array(X, dtype=np.float64, input_name="X")
        n, d = points.shape
        if d != self.n_features:
            raise ValueError(
                f"X has {d} columns, but this {type(self).__name__} has {self.n_features} features."
            )
        sigmas = np.asarray(sigma, dtype=np.float64)
        if sigmas.shape not in {(), (n,), (n, 1)}:
            raise ValueError(
                f"sigma has shape {sigmas.shape}; give one number, or one for each of the {n} rows "
                "of X."
            )
        if not np.all((sigmas >= 0) & np.isfinite(sigmas)):
            raise ValueError(f"sigma={sigmas} must be a finite standard deviation, at least 0.")
        return points, np.broadcast_to(sigmas.reshape(-1), n)

    def _row_groups(self, sigma: Array) -> Iterator[NDArray[np.intp]]:
        """Yield the clean rows, then the blurred ones, in groups that keep memory bounded."""
        size = max(1, CHUNK // self.n_features)
        for rows in (np.flatnonzero(sigma == 0), np.flatnonzero(sigma)):
            for start in range(0, len(rows), size):
                yield rows[start : start + size]

    @abstractmethod
    def _draw(self, n: int, rng: np.random.RandomState) -> Array: ...

    @abstractmethod
    def _moments(self) -> tuple[Array, Array]: ...

    @abstractmethod
    def _clean(self, X: Array) -> tuple[Array, Array]:
        """Return log p (n,) and ∇ log p (n, d)."""

    @abstractmethod
    def _blurred(self, X: Array, sigma: Array) -> tuple[Array, Array]:
        """Return log p_σ (n,) and ∇ log p_σ (n, d) for sigma > 0 of shape (n,)."""
