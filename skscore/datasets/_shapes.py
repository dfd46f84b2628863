"""Two moons, a banana, a funnel and a Student t: toy densities that are no Gaussian mixture.

Each is written as what is left once one hidden number is known; the integral over that number is
done for all of them in one place.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import gammaln

from skscore.datasets._base import LOG_2PI, Array, check_count, check_positive, log_normal
from skscore.datasets._quadrature import DROP, HiddenNormalDensity, HiddenNumberDensity


@dataclass(frozen=True)
class TwoMoons(HiddenNumberDensity):
    """Two interleaved half circles of radius one, blurred by N(0, noise² I).

    With τ² = noise² + σ², centres c = (0, 0) and (1, ½) and angles uniform on the upper and the
    lower half circle, p_σ(x) = Σ_c ∫ (1/2π) N(x; c + (cos t, sin t), τ² I) dt: the law of
    ``sklearn.datasets.make_moons``, with random instead of evenly spaced angles.

    Parameters
    ----------
    noise : float, default=0.08
        Standard deviation of the noise around the arcs.

    Raises
    ------
    ValueError
        If ``noise`` is not positive.

    Examples
    --------
    >>> TwoMoons().log_density([[0.0, 1.0]], sigma=0.1).round(4)
    array([-0.6995])
    """

    noise: float = 0.08
    n_features = 2

    def __post_init__(self) -> None:
        check_positive(noise=self.noise)

    def _draw(self, n: int, rng: np.random.RandomState) -> Array:
        angle = rng.uniform(0, np.pi, n) + 3 * np.pi * rng.randint(2, size=n)
        return self._arc(angle) + self.noise * rng.standard_normal((n, 2))

    @staticmethod
    def _arc(t: Array) -> Array:
        """Place an angle (...,) on the moons: [0, π] is the first, [3π, 4π] the second."""
        second = t > 2 * np.pi
        return np.stack([np.cos(t) + second, np.sin(t) + 0.5 * second], -1)

    def _moments(self) -> tuple[Array, Array]:
        half = np.array([1, 0.5 - 4 / np.pi]) / 2  # half the way from one arc's mean to the other's
        within = np.diag([0.5, 0.5 - 4 / np.pi**2]) + self.noise**2 * np.eye(2)
        return np.array([0.5, 0.25]), within + np.outer(half, half)

    def _branches(self, X: Array, sigma: Array) -> list[tuple[Array, Array]]:
        # On a quarter circle cos(t - φ) has one peak, or two ends that another quarter outweighs.
        starts = np.pi * np.array([0, 0.5, 3, 3.5])
        return [(np.full(len(X), t), np.full(len(X), t + np.pi / 2)) for t in starts]

    def _joint(self, X: Array, sigma: Array, t: Array) -> tuple[Array, Array]:
        variance = (self.noise**2 + sigma**2)[:, None, None]
        residual = X[:, None] - self._arc(t)
        return log_normal(residual, variance).sum(-1) - LOG_2PI, -residual / variance

    def _clean(self, X: Array) -> tuple[Array, Array]:
        return self._blurred(X, np.zeros(len(X)))


@dataclass(frozen=True)
class Banana(HiddenNormalDensity):
    """A bent Gaussian.

    x_1 ~ N(0, s²), x_2 = b (x_1² - s²) + N(0, 1) and x_3, ... ~ N(0, 1). Given the clean value u
    of x_1, the blurred x_2 is N(b (u² - s²), 1 + σ²).

    Parameters
    ----------
    n_features : int, default=2
        The dimension, at least 2.
    curvature : float, default=0.5
        The b above.
    scale : float, default=2.0
        The s above.

    Raises
    ------
    ValueError
        If ``n_features`` is below 2, ``scale`` not positive or ``curvature`` not finite.

    Examples
    --------
    >>> Banana().log_density([[0.0, -2.0]]).round(4)
    array([-2.531])
    """

    n_features: int = 2
    curvature: float = 0.5
    scale: float = 2.0

    def __post_init__(self) -> None:
        check_count("n_features", self.n_features, 2)
        check_positive(scale=self.scale)
        if not np.isfinite(self.curvature):
            raise ValueError(f"curvature={self.curvature!r} is not a finite number.")

    def _draw(self, n: int, rng: np.random.RandomState) -> Array:
        X = rng.standard_normal((n, self.n_features))
        X[:, 0] *= self.scale
        X[:, 1] += self.curvature * (X[:, 0] ** 2 - self.scale**2)
        return X

    def _moments(self) -> tuple[Array, Array]:
        variances = np.ones(self.n_features)
        variances[:2] = self.scale**2, 1 + 2 * self.curvature**2 * self.scale**4
        return np.zeros(self.n_features), np.diag(variances)

    def _rest(self, X: Array, sigma: Array, u: Array) -> tuple[Array, Array, Array]:
        variance = 1 + sigma[:, None] ** 2
        residual = np.repeat(X[:, None, 1:], u.shape[1], axis=1)
        residual[..., 0] -= self.curvature * (u**2 - self.scale**2)
        log_rest = log_normal(residual, variance[:, None]).sum(-1)
        grad = -residual / variance[:, None]
        return log_rest, -2 * self.curvature * u * grad[..., 0], grad

    def _rest_bound(self, X: Array, sigma: Array) -> Array:
        residual = X[:, 1:].copy()
        residual[:, 0] = 0
        return log_normal(residual, 1 + sigma[:, None] ** 2).sum(-1)


@dataclass(frozen=True)
class Funnel(HiddenNormalDensity):
    """Neal's funnel: the first coordinate is the log-variance of the others.

    x_1 ~ N(0, s²) and x_2, ... ~ N(0, exp(x_1)). Given the clean value u of x_1, the blurred
    others are N(0, exp(u) + σ²) (Neal, "Slice sampling", Ann. Stat. 2003, section 8, s = 3).

    Parameters
    ----------
    n_features : int, default=10
        The dimension, at least 2.
    scale : float, default=3.0
        The s above.

    Raises
    ------
    ValueError
        If ``n_features`` is below 2 or ``scale`` not positive.

    Examples
    --------
    >>> Funnel(2).log_density([[0.0, 0.0]]).round(4)
    array([-2.9365])
    """

    n_features: int = 10
    scale: float = 3.0

    def __post_init__(self) -> None:
        check_count("n_features", self.n_features, 2)
        check_positive(scale=self.scale)

    def _draw(self, n: int, rng: np.random.RandomState) -> Array:
        X = rng.standard_normal((n, self.n_features))
        X[:, 0] *= self.scale
        X[:, 1:] *= np.exp(X[:, :1] / 2)
        return X

    def _moments(self) -> tuple[Array, Array]:
        variances = np.full(self.n_features, np.exp(self.scale**2 / 2))
        variances[0] = self.scale**2
        return np.zeros(self.n_features), np.diag(variances)

    def _rest(self, X: Array, sigma: Array, u: Array) -> tuple[Array, Array, Array]:
        k, square = self.n_features - 1, (X[:, 1:] ** 2).sum(1, keepdims=True)
        variance = np.exp(u) + sigma[:, None] ** 2
        log_rest = -0.5 * (square / variance + k * (np.log(variance) + LOG_2PI))
        grad_u = 0.5 * np.exp(u) / variance * (square / variance - k)
        return log_rest, grad_u, -X[:, None, 1:] / variance[..., None]

    def _rest_bound(self, X: Array, sigma: Array) -> Array:
        k, square = self.n_features - 1, (X[:, 1:] ** 2).sum(1)
        variance = np.maximum(square / k, sigma**2)
        return -0.5 * (square / variance + k * (np.log(variance) + LOG_2PI))


@dataclass(frozen=True)
class CorrelatedT(HiddenNumberDensity):
    """A multivariate Student t with equal correlations.

    x = z √w with z ~ N(0, S), S = (1 - ρ) I + ρ 1 1ᵀ and w = ν / χ²_ν, so that p_σ is a mixture of
    N(0, w S + σ² I) over t = log w. Its tails are polynomial.

    Parameters
    ----------
    n_features : int, default=5
        The dimension.
    df : float, default=5.0
        The degrees of freedom ν; the covariance exists above 2.
    correlation : float, default=0.5
        The ρ above, between -1 / (n_features - 1) and 1.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Examples
    --------
    >>> CorrelatedT(2, df=3).covariance
    array([[3. , 1.5],
           [1.5, 3. ]])
    """

    n_features: int = 5
    df: float = 5.0
    correlation: float = 0.5

    def __post_init__(self) -> None:
        check_count("n_features", self.n_features, 1)
        check_positive(df=self.df)
        lowest = -1 / (self.n_features - 1) if self.n_features > 1 else -1
        if not lowest < self.correlation < 1:
            raise ValueError(
                f"correlation={self.correlation!r} does not lie between {lowest} and 1, as "
                f"{self.n_features} features need."
            )

    @cached_property
    def _shape(self) -> Array:
        return np.where(np.eye(self.n_features, dtype=bool), 1.0, self.correlation)

    @cached_property
    def _axes(self) -> tuple[Array, Array]:
        """Eigenvalues (d,) and eigenvectors (d, d) of S."""
        variances, axes = np.linalg.eigh(self._shape)
        return variances, axes

    def _draw(self, n: int, rng: np.random.RandomState) -> Array:
        variances, axes = self._axes
        z = rng.standard_normal((n, self.n_features)) * np.sqrt(variances)
        return z @ axes.T * np.sqrt(self.df / rng.chisquare(self.df, (n, 1)))

    def _moments(self) -> tuple[Array, Array]:
        if self.df <= 2:
            raise ValueError(f"df={self.df}: the covariance exists only for df > 2.")
        return np.zeros(self.n_features), self._shape * self.df / (self.df - 2)

    def _clean(self, X: Array) -> tuple[Array, Array]:
        variances, axes = self._axes
        z, nu, d = X @ axes, self.df, self.n_features
        square = (z**2 / variances).sum(1)
        log_norm = (
            gammaln((nu + d) / 2) - gammaln(nu / 2) - 0.5 * np.log(nu * np.pi * variances).sum()
        )
        score = -(nu + d) / (nu + square)[:, None] * (z / variances) @ axes.T
        return log_norm - (nu + d) / 2 * np.log1p(square / nu), score

    def _branches(self, X: Array, sigma: Array) -> list[tuple[Array, Array]]:
        # The slope of log f is at least ν/2 (e⁻ᵗ - 1) - d/2, and no more than ν/2 (e⁻ᵗ - 1) once
        # eᵗ S outweighs x: so far beyond either bend log f has fallen by DROP.
        variances, axes = self._axes
        nu, d = self.df, self.n_features
        lowest = -np.log1p(d / nu) - np.log(2 + 4 * DROP / (nu + d))
        largest = np.log(np.maximum((X @ axes) ** 2 / variances, 1).max(1)) + 2 * DROP / nu + 2
        return [(np.full(len(X), lowest), largest)]

    def _joint(self, X: Array, sigma: Array, t: Array) -> tuple[Array, Array]:
        variances, axes = self._axes
        half, z = self.df / 2, (X @ axes)[:, None]
        log_prior = half * np.log(half) - gammaln(half) - half * (t + np.exp(-t))
        variance = np.exp(t)[..., None] * variances + sigma[:, None, None] ** 2
        return log_prior + log_normal(z, variance).sum(-1), -(z / variance) @ axes.T
