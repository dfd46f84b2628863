r"""The multivariate t, blurred: a law of heavy tails whose score is known at every noise level.

A row is m + √τ y with y ~ N(0, S) and τ = (ν/2)/g, g ~ Gamma(ν/2, 1). By the trapezoidal rule in
ln g the blurred density is a mixture of scales,

    p_σ ≈ Σ_k w_k N(m, τ_k S + σ² I),        τ_k = (ν/2)/g_k,    w_k ∝ g_k^{ν/2} e^{-g_k}

from τ = 10⁸, or the largest of 10¹² rows, to the g of rows at m, which are Gamma((ν + d)/2, 1), in
steps somewhat below √(2/(ν + d)), about the spread of ln g among rows at one place. In the axes of
S, of variances λ_j, with v_kj = τ_k λ_j + σ², r_k = w_k N_k / p_σ and y = Qᵀ(x - m),

    s_j = -y_j a_j,    tr ∇s = Σ_j y_j² (b_j - a_j²) - a_j,    a = Σ_k r_k/v_k,    b = Σ_k r_k/v_k²

m and S maximise the likelihood by expectation-maximisation, with the row weights

    u = (ν + d)/(ν + q),    q = (x - m)ᵀ S⁻¹ (x - m)

and ν maximises it along with each step. Sources: Liu & Rubin, "ML estimation of the t distribution
using EM and its extensions, ECM and ECME", Statistica Sinica 1995; Schwarz, "Estimating the
dimension of a model", Ann. Stat. 1978 (BIC).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import gammaln
from scipy.stats import gamma
from torch import Tensor, nn

from skscore._inference import to_numpy
from skscore._log_densities import mean_and_error
from skscore._validation import Array, fold_rows
from skscore.gaussians import GaussianMixtureScore, fit_gaussian, fit_gaussian_mixture

__all__ = ["StudentT", "StudentTScore", "find_heavy_tails", "fit_student_t"]

_STEP = 0.8
_LARGEST_TAU, _BEYOND_FAR, _BEYOND_NEAR = 1e8, 1e-12, 1e-6
_NU_RANGE = 1.0, 200.0
_MAX_ITER, _TOLERANCE = 200, 1e-7
_N_FOLDS = 5
_ROWS_COMPARED = 3000
_LEAST_ROWS = 10  # for each feature
_MIXTURES = 2, 4, 8
_RIDGE, _LEAST_SCALE = 1e-9, 1e-6  # of the mean variance


@dataclass(frozen=True, eq=False)
class StudentT:
    """The multivariate t of a location m (d,), a scale matrix S (d, d) and ν degrees of freedom."""

    m: Array
    S: Array
    nu: float

    def log_density(self, z: Array) -> Array:
        """Return log p (n,) of rows (n, d) without noise, in nats."""
        q, log_det = _distances(z, self.m, self.S)
        return _log_t(q, z.shape[1], self.nu) - log_det / 2


class StudentTScore(nn.Module):
    """The score of a multivariate t at every noise level.

    Examples
    --------
    >>> p = StudentTScore(StudentT(np.zeros(1), np.eye(1), nu=3.0))
    >>> p(torch.tensor([[1.0]]), torch.tensor([[0.001]]))  # -(ν + 1) x/(ν + x²)
    tensor([[-1.0000]])
    """

    m: Tensor
    axes: Tensor
    variances: Tensor
    tau: Tensor
    log_w: Tensor

    def __init__(self, t: StudentT) -> None:
        super().__init__()
        variances, axes = np.linalg.eigh(t.S)
        d = len(axes)
        far = max(gamma.ppf(_BEYOND_FAR, t.nu / 2), t.nu / 2 / _LARGEST_TAU)
        near = gamma.isf(_BEYOND_NEAR, (t.nu + d) / 2)
        step = _STEP * math.sqrt(2 / (t.nu + d))
        n_nodes = 1 + math.ceil(math.log(near / far) / step)
        g = np.geomspace(far, near, n_nodes)
        log_w = t.nu / 2 * np.log(g) - g
        # Products over an odd number of features are rounded by the place of a row in memory.
        odd = d % 2
        named = {
            "m": t.m,
            "axes": np.pad(axes, (0, odd)),
            "variances": variances,
            "tau": t.nu / 2 / g,
            "log_w": log_w - np.logaddexp.reduce(log_w),
        }
        for name, value in named.items():
            self.register_buffer(name, torch.tensor(value, dtype=torch.float32))

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Map points (n, d) and noise levels (n, 1) to the score (n, d)."""
        return self._parts(x, sigma)[0]

    def score_and_divergence(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Map points (n, d) and noise levels (n, 1) to the score (n, d) and tr ∇s (n,)."""
        s, y, r, v = self._parts(x, sigma)
        a, b = (r / v).sum(1), (r / v.square()).sum(1)
        return s, (y.square() * (b - a.square()) - a).sum(1)

    def _parts(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return s (n, d), y (n, d), r (n, K, 1) and v (n, K, d)."""
        d = x.shape[1]
        odd = (0, d % 2)
        y = (nn.functional.pad(x - self.m, odd) @ self.axes)[:, :d]
        v = self.tau[:, None] * self.variances + sigma[..., None].square()
        log_f = self.log_w - (y[:, None].square() / v + v.log()).sum(2) / 2
        r = log_f.softmax(1)[..., None]
        s = nn.functional.pad(-y * (r / v).sum(1), odd) @ self.axes.T
        return s[:, :d], y, r, v


def fit_student_t(z: Array, weights: Array) -> StudentT:
    """Fit a multivariate t by maximum likelihood.

    Parameters
    ----------
    z : ndarray of shape (n, d)
        Rows.
    weights : ndarray of shape (n,)
        Their weights.

    Examples
    --------
    >>> t = fit_student_t(np.random.RandomState(0).standard_t(3, size=(5000, 1)), np.ones(5000))
    >>> round(t.nu)
    3
    """
    w, d = weights / weights.sum(), z.shape[1]
    m = w @ z
    S = (w[:, None] * (z - m)).T @ (z - m)
    ridge = _RIDGE * np.diag(S).mean() * np.eye(d)
    S = S + ridge
    nu, last = 10.0, -math.inf
    for _ in range(_MAX_ITER):
        q, log_det = _distances(z, m, S)
        nu = _best_nu(q, w, d)
        log_p = float(w @ _log_t(q, d, nu)) - log_det / 2
        if log_p - last < _TOLERANCE:
            break
        last = log_p
        u = w * (nu + d) / (nu + q)
        m = u @ z / u.sum()
        S = (u[:, None] * (z - m)).T @ (z - m) + ridge
    return StudentT(m, S, nu)


def find_heavy_tails(z: Array, weights: Array, seed: int) -> StudentT | None:
    """Fit a multivariate t where rows follow one clearly better than other closed forms.

    Held-out rows, up to 3000 of them, have to be likelier under it than under a Gaussian, under
    independent ones and under independent t's, by two standard errors; and mixtures of 2, 4 and 8
    Gaussians, which may have heavy tails too, must not have a smaller Bayesian information
    criterion. A single column has no others to be independent of. Where the t has next to no spread
    in some direction, rows lie on a plane or many of them at one point, and it says little of the
    others.

    Parameters
    ----------
    z : ndarray of shape (n, d)
        Rows.
    weights : ndarray of shape (n,)
        Their weights.
    seed : int
        Of the folds, and of where mixtures start.

    Returns
    -------
    t : StudentT or None
    """
    z, weights = z[weights > 0], weights[weights > 0]
    n, d = z.shape
    if weights.sum() ** 2 / np.square(weights).sum() < _LEAST_ROWS * d:
        return None
    few = np.random.RandomState(seed % 2**32).permutation(n)[:_ROWS_COMPARED]
    x, w = z[few], weights[few]
    folds = fold_rows(len(x), _N_FOLDS, seed)
    if any((np.ptp(x[seen], axis=0) == 0).any() for seen, _ in folds):
        return None

    def held_out(fit: Callable[[Array, Array], Callable[[Array], Array]]) -> Array:
        log_p = np.empty(len(x))
        for seen, own in folds:
            log_p[own] = fit(x[seen], w[seen])(x[own])
        return log_p

    log_t = held_out(lambda x, w: fit_student_t(x, w).log_density)
    others = (_gaussian, _independent_gaussians, _independent_ts)
    for other in others if d > 1 else others[:1]:
        gain, error = mean_and_error(log_t - held_out(other), w)
        if gain <= 2 * error:
            return None
    t = fit_student_t(z, weights)
    least = _LEAST_SCALE * np.average(z.var(axis=0))
    if np.linalg.eigvalsh(t.S)[0] < least or _mixture_is_better(x, w, t, seed):
        return None
    return t


def _gaussian(seen: Array, weights: Array) -> Callable[[Array], Array]:
    fitted = fit_gaussian(torch.from_numpy(seen), torch.from_numpy(weights))
    return lambda z: _log_density(fitted, z)


def _log_density(model: GaussianMixtureScore, z: Array) -> Array:
    """Return log p (n,) of rows (n, d) without noise."""
    rows = torch.from_numpy(z)
    return to_numpy(model.log_density(rows, torch.zeros_like(rows[:, :1])))


def _independent_gaussians(seen: Array, weights: Array) -> Callable[[Array], Array]:
    return _by_column(_gaussian, seen, weights)


def _independent_ts(seen: Array, weights: Array) -> Callable[[Array], Array]:
    return _by_column(lambda x, w: fit_student_t(x, w).log_density, seen, weights)


def _by_column(
    fit: Callable[[Array, Array], Callable[[Array], Array]], seen: Array, weights: Array
) -> Callable[[Array], Array]:
    fitted = [fit(seen[:, [j]], weights) for j in range(seen.shape[1])]

    def log_density(z: Array) -> Array:
        log_p: Array = np.sum([own(z[:, [j]]) for j, own in enumerate(fitted)], axis=0)
        return log_p

    return log_density


def _mixture_is_better(x: Array, w: Array, t: StudentT, seed: int) -> bool:
    d = x.shape[1]
    share = w / w.sum()
    n = 1 / np.square(share).sum()
    symmetric = d * (d + 1) / 2
    bic = -2 * n * (share @ t.log_density(x)) + (d + symmetric + 1) * math.log(n)
    rows, row_weights = torch.from_numpy(x), torch.from_numpy(w)
    for K in _MIXTURES:
        if 2 * K * (d + 1) > n:
            break
        mixture = fit_gaussian_mixture(rows, row_weights, n_components=[K], seed=seed % 2**32)
        if (
            -2 * n * (share @ _log_density(mixture, x))
            + (K - 1 + K * (d + symmetric)) * math.log(n)
            < bic
        ):
            return True
    return False


def _best_nu(q: Array, w: Array, d: int) -> float:
    ends = np.log(_NU_RANGE)
    found = minimize_scalar(
        lambda log_nu: -float(w @ _log_t(q, d, math.exp(log_nu))), bounds=ends, method="bounded"
    )
    return math.exp(found.x)


def _log_t(q: Array, d: int, nu: float) -> Array:
    """Return log p but for the determinant, from the distances q."""
    constant = gammaln((nu + d) / 2) - gammaln(nu / 2) - d / 2 * math.log(nu * math.pi)
    log_t: Array = constant - (nu + d) / 2 * np.log1p(q / nu)
    return log_t


def _distances(z: Array, m: Array, S: Array) -> tuple[Array, float]:
    """Return (z - m)ᵀ S⁻¹ (z - m) (n,) and log det S."""
    root = np.linalg.cholesky(S)
    y = np.linalg.solve(root, (z - m).T)
    return np.square(y).sum(0), 2 * float(np.log(np.diag(root)).sum())
