"""Gaussian mixtures, which stay Gaussian mixtures when blurred.

    p = Σ_k w_k N(μ_k, C_k)        p_σ = Σ_k w_k N(μ_k, C_k + σ² I)

With C_k = Q_k Λ_k Q_kᵀ one eigendecomposition serves every σ.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state

from skscore.datasets._base import Array, ToyDensity, check_count, check_positive, log_normal, mix


class GaussianMixtureDensity(ToyDensity):
    """A Gaussian mixture, p_σ = Σ_k w_k N(μ_k, C_k + σ² I).

    Parameters
    ----------
    weights : array-like of shape (n_components,)
        The w_k: not negative, summing to one.
    means : array-like of shape (n_components, n_features) or (n_components,)
        The μ_k; one number a component is a density in one dimension.
    covariances : array-like of shape (n_components, n_features, n_features) or (n_components,)
        The C_k, symmetric and positive definite; one number a component is a variance v_k that
        all directions share, C_k = v_k I.

    Raises
    ------
    ValueError
        If the shapes disagree, the weights are no distribution or a covariance is not positive
        definite.

    Examples
    --------
    >>> p = GaussianMixtureDensity([0.5, 0.5], means=[-1.0, 1.0], covariances=[1.0, 1.0])
    >>> p.score_function([[0.0], [1.0]], sigma=0.5).round(3)
    array([[ 0.   ],
           [-0.269]])
    """

    def __init__(self, weights: ArrayLike, means: ArrayLike, covariances: ArrayLike) -> None:
        self.weights = np.asarray(weights, dtype=np.float64)
        means = np.asarray(means, dtype=np.float64)
        self.means = means[:, None] if means.ndim == 1 else means
        if self.weights.ndim != 1 or self.means.ndim != 2 or len(self.weights) != len(self.means):
            raise ValueError(
                f"weights of shape {self.weights.shape} and means of shape {means.shape} do not "
                "agree; give (n_components,) and (n_components, n_features)."
            )
        if not (np.all(self.weights >= 0) and abs(self.weights.sum() - 1) < 1e-8):
            raise ValueError(f"weights={self.weights} must not be negative and must sum to 1.")
        k, self.n_features = self.means.shape
        covariances = np.asarray(covariances, dtype=np.float64)
        if covariances.shape == (k,):
            covariances = covariances[:, None, None] * np.eye(self.n_features)
        if covariances.shape != (k, self.n_features, self.n_features):
            raise ValueError(
                f"covariances of shape {covariances.shape} do not fit {k} components in "
                f"{self.n_features} dimensions; give ({k},) or "
                f"({k}, {self.n_features}, {self.n_features})."
            )
        self.covariances = covariances
        self._variances, self._axes = np.linalg.eigh(covariances)
        symmetric = np.allclose(covariances, covariances.transpose(0, 2, 1))
        if not (symmetric and np.all(self._variances > 0)):
            raise ValueError("covariances must be symmetric and positive definite.")

    def _draw(self, n: int, rng: np.random.RandomState) -> Array:
        k = rng.choice(len(self.weights), size=n, p=self.weights)
        z = rng.standard_normal((n, self.n_features)) * np.sqrt(self._variances[k])
        return self.means[k] + np.einsum("ne,nde->nd", z, self._axes[k])

    def _moments(self) -> tuple[Array, Array]:
        mean = self.weights @ self.means
        delta = self.means - mean
        within = np.einsum("k,kde->de", self.weights, self.covariances)
        return mean, within + (self.weights[:, None] * delta).T @ delta

    def _clean(self, X: Array) -> tuple[Array, Array]:
        return self._blurred(X, np.zeros(len(X)))

    def _blurred(self, X: Array, sigma: Array) -> tuple[Array, Array]:
        z = np.einsum("nkd,kde->nke", X[:, None] - self.means, self._axes)
        variance = self._variances + sigma[:, None, None] ** 2
        with np.errstate(divide="ignore"):
            log_f = np.log(self.weights) + log_normal(z, variance).sum(-1)
        return mix(log_f, -np.einsum("nke,kde->nkd", z / variance, self._axes))


def gaussian_mixture_1d() -> GaussianMixtureDensity:
    """Three modes on the line, of different weight and width.

    0.3 N(-3, 0.5²) + 0.5 N(0, 0.8²) + 0.2 N(2.5, 0.3²): a blur of σ ≈ 1 melts the narrow right
    mode into the middle one, while the left one stays apart.

    Returns
    -------
    density : GaussianMixtureDensity

    Examples
    --------
    >>> gaussian_mixture_1d().log_density([[0.0]]).round(4)
    array([-1.3889])
    """
    return GaussianMixtureDensity([0.3, 0.5, 0.2], [-3.0, 0.0, 2.5], np.square([0.5, 0.8, 0.3]))


def random_gaussian_mixture(
    n_features: int, n_components: int = 5, random_state: Any = None
) -> GaussianMixtureDensity:
    """Draw a Gaussian mixture with full covariances.

    Weights are Dirichlet(5), means N(0, 4 I), and covariances have random axes with standard
    deviations uniform in [0.3, 1].

    Parameters
    ----------
    n_features : int
        Dimension of the density.
    n_components : int, default=5
        Number of Gaussians.
    random_state : int, RandomState or None, default=None
        The source of randomness.

    Returns
    -------
    density : GaussianMixtureDensity

    Raises
    ------
    ValueError
        If a count is not a positive integer.

    Examples
    --------
    >>> random_gaussian_mixture(3, random_state=0).covariance.shape
    (3, 3)
    """
    check_count("n_features", n_features, 1)
    check_count("n_components", n_components, 1)
    rng = check_random_state(random_state)
    weights = rng.dirichlet(np.full(n_components, 5.0))
    means = 2 * rng.standard_normal((n_components, n_features))
    axes = np.linalg.qr(rng.standard_normal((n_components, n_features, n_features)))[0]
    axes = axes * rng.uniform(0.3, 1, (n_components, 1, n_features))
    return GaussianMixtureDensity(weights, means, axes @ axes.transpose(0, 2, 1))


def ring_of_gaussians(
    n_components: int = 8, radius: float = 1.4, std: float = 0.1
) -> GaussianMixtureDensity:
    """Equal Gaussians evenly placed on a circle in the plane.

    Parameters
    ----------
    n_components : int, default=8
        Number of Gaussians.
    radius : float, default=1.4
        Radius of the circle of means.
    std : float, default=0.1
        Standard deviation of each Gaussian, in every direction.

    Returns
    -------
    density : GaussianMixtureDensity

    Raises
    ------
    ValueError
        If ``n_components`` is not a positive integer, or a length is not positive.

    Examples
    --------
    >>> ring_of_gaussians(radius=2.0, std=0.1).covariance.round(2)
    array([[2.01, 0.  ],
           [0.  , 2.01]])
    """
    check_count("n_components", n_components, 1)
    check_positive(radius=radius, std=std)
    angle = 2 * np.pi * np.arange(n_components) / n_components
    means = radius * np.column_stack([np.cos(angle), np.sin(angle)])
    return GaussianMixtureDensity(
        np.full(n_components, 1 / n_components), means, np.full(n_components, std**2)
    )


def two_modes(
    distance: float = 5.0, weights: tuple[float, float] = (0.8, 0.2), std: float = 1.0
) -> GaussianMixtureDensity:
    """Two far Gaussians of unequal weight, on which plain Langevin dynamics fails.

    w_1 N((a, a), std² I) + w_2 N((-a, -a), std² I): between the modes the score does not know the
    weights (Song & Ermon, NeurIPS 2019, section 3.2.2).

    Parameters
    ----------
    distance : float, default=5.0
        The a above: both coordinates of the first mode; the second is its mirror image.
    weights : tuple of two floats, default=(0.8, 0.2)
        The w_1 and w_2, summing to one.
    std : float, default=1.0
        Standard deviation of each mode, in every direction.

    Returns
    -------
    density : GaussianMixtureDensity

    Raises
    ------
    ValueError
        If a length is not positive or the weights are no distribution.

    Examples
    --------
    >>> two_modes().mean
    array([3., 3.])
    """
    check_positive(distance=distance, std=std)
    return GaussianMixtureDensity(weights, [[distance] * 2, [-distance] * 2], [std**2] * 2)
