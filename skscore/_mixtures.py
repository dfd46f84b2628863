r"""Gaussian mixtures of rows some of whose cells are absent.

With r_ik ∝ π_k N(z_o; μ_k, C_k), o being the cells of row i that are there, and E_ik and V_ik what
component k says of the others (:mod:`skscore._incomplete`), expectation-maximisation takes

    w_ik = w_i r_ik,      π_k = Σ_i w_ik / Σ_i w_i,      μ_k = Σ_i w_ik E_ik / Σ_i w_ik
    C_k = Σ_i w_ik [(E_ik - μ_k)(E_ik - μ_k)ᵀ + V_ik] / Σ_i w_ik

It starts from the mixture of rows completed by one Gaussian, which is found from N(0, I). Where
nothing is absent, the mixture is scikit-learn's.

Source: Ghahramani & Jordan, "Supervised learning from incomplete data via an EM approach", NeurIPS
1993.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import logsumexp
from sklearn.mixture import GaussianMixture

from skscore._incomplete import Holes
from skscore._location_model import GIVEN_VARIANCE
from skscore._validation import Array

__all__ = ["FittedMixture", "fit_mixtures"]

# Of the log-likelihood of a row, as scikit-learn's mixtures have it.
_TOLERANCE, _MOST_ROUNDS = 1e-3, 200


@dataclass(frozen=True, eq=False)
class FittedMixture:
    """A mixture, and how likely the rows are that it was fitted to.

    Attributes
    ----------
    shares : ndarray of shape (K,)
        The π_k.
    means : ndarray of shape (K, q)
        The μ_k.
    covariances : ndarray of shape (K, q, q)
        The C_k.
    log_likelihood : float
        The mean of ln p(z_o).
    """

    shares: Array
    means: Array
    covariances: Array
    log_likelihood: float

    def bic(self, n_rows: int) -> float:
        """Return the Bayesian information criterion."""
        K, q = self.means.shape
        n_parameters = K * (q + q * (q + 1) // 2) + K - 1
        return n_parameters * float(np.log(n_rows)) - 2 * n_rows * self.log_likelihood


def fit_mixtures(
    z: Array, weights: Array, n_components: Sequence[int], seed: int
) -> list[FittedMixture]:
    """Fit mixtures.

    Parameters
    ----------
    z : ndarray of shape (n, q)
        Rows, NaN where a cell is absent.
    weights : ndarray of shape (n,)
        Their weights, all positive.
    n_components : sequence of int
        The K.
    seed : int
        Of the start, and of the rows drawn by weight for it.

    Returns
    -------
    mixtures : list of FittedMixture
        One for each K.

    Examples
    --------
    >>> rng = np.random.RandomState(0)
    >>> z = rng.normal(size=(400, 2)) + 3 * rng.choice([-1, 1], size=(400, 1))
    >>> z[rng.rand(400, 2) < 0.3] = np.nan
    >>> (found,) = fit_mixtures(z, np.ones(400), [2], 0)
    >>> np.sort(found.means[:, 0]).round()
    array([-3.,  3.])
    """
    if not np.isnan(z).any():
        return [_of_complete(z, weights, K, seed) for K in n_components]
    holes, q = Holes.in_rows(z), z.shape[1]
    normal = FittedMixture(np.ones(1), np.zeros((1, q)), np.eye(q)[None], -np.inf)
    one = _improved(normal, holes, z, weights)
    done = holes.complete(z, one.means[0], one.covariances[0])
    spread = done.mean_spread(weights)

    def fit(K: int) -> FittedMixture:
        start = _of_complete(done.rows, weights, K, seed)
        start = replace(start, covariances=start.covariances + spread)
        return _improved(start, holes, z, weights)

    return [one if K == 1 else fit(K) for K in n_components]


def _of_complete(z: Array, weights: Array, n_components: int, seed: int) -> FittedMixture:
    rng = np.random.RandomState(seed % 2**32)
    if not (weights == weights[0]).all():
        z = z[rng.choice(len(z), len(z), p=weights / weights.sum())]
    found = GaussianMixture(
        n_components, reg_covar=GIVEN_VARIANCE, max_iter=1000, random_state=rng
    ).fit(z)
    return FittedMixture(found.weights_, found.means_, found.covariances_, found.score(z))


def _improved(mixture: FittedMixture, holes: Holes, z: Array, weights: Array) -> FittedMixture:
    """Return what expectation-maximisation makes of a mixture."""
    shares, means, covariances = mixture.shares, mixture.means, mixture.covariances.copy()
    ridge, log_likelihood = GIVEN_VARIANCE * np.eye(z.shape[1]), -np.inf
    weights = weights / weights.sum()
    for _ in range(_MOST_ROUNDS):
        done = [holes.complete(z, *own) for own in zip(means, covariances, strict=True)]
        log_joint = np.stack([own.log_f for own in done], axis=1) + np.log(shares)
        log_p = logsumexp(log_joint, axis=1, keepdims=True)
        before, log_likelihood = log_likelihood, float(weights @ log_p[:, 0])
        if log_likelihood - before < _TOLERANCE:
            break
        w = weights[:, None] * np.exp(log_joint - log_p) + np.finfo(float).tiny
        shares = w.sum(0) / w.sum()
        own_w = w.T / w.sum(0)[:, None]
        means = np.stack([w_k @ own.rows for w_k, own in zip(own_w, done, strict=True)])
        for k, (own, w_k) in enumerate(zip(done, own_w, strict=True)):
            centred = own.rows - means[k]
            covariances[k] = (centred.T * w_k) @ centred + own.mean_spread(w_k) + ridge
    return FittedMixture(shares, means, covariances, log_likelihood)
