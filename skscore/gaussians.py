r"""Gaussians and their mixtures as score models: everything about them is known.

Of p_σ = Σ_k w_k N(μ_k, C_k + σ² I), with r_k = w_k N_k / p_σ and s_k = ∇ log N_k,

    s = Σ_k r_k s_k,      tr ∇s = Σ_k r_k (‖s_k‖² + tr ∇s_k) - ‖s‖²

Among the scores -A (x - b) of one Gaussian, the implicit objective ⟨‖s‖² + 2 tr ∇s⟩ has its minimum
at the mean of the rows, b = x̄, and A = S⁻¹, their covariance with 1/n. ⟨·⟩ is a weighted mean.

A mixture is fitted by the EM algorithm, and has as many components K as minimise

    BIC = -2 n ⟨log p⟩ + q ln n,      q = K - 1 + K d + K d(d+1)/2,    n = (Σw)²/Σw²

Sources: Hyvärinen, "Estimation of non-normalized statistical models by score matching", JMLR 2005
(section 3.1); Schwarz, "Estimating the dimension of a model", Ann. Stat. 1978 (BIC).
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn

__all__ = ["GaussianMixtureScore", "GaussianScore", "fit_gaussian", "fit_gaussian_mixture"]

_SMALLEST_VARIANCE = 1e-10  # as a share of the mean variance of a Gaussian
_N_COMPONENTS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16)
_PATIENCE = 4  # the BIC of real tables has several minima
_COPIES = 4  # of a row of mean weight, where weights differ


class GaussianMixtureScore(nn.Module):
    """The exact score of a Gaussian mixture at every noise level.

    Parameters
    ----------
    weights : Tensor of shape (n_components,)
        The w_k: not negative, summing to one.
    means : Tensor of shape (n_components, d)
        The μ_k.
    covariances : Tensor of shape (n_components, d, d)
        The C_k, symmetric. Variances along their axes below 1e-10 of the mean one are raised to it.

    Raises
    ------
    ValueError
        If the shapes disagree, or weights or covariances are not as said above.

    Examples
    --------
    >>> means = torch.tensor([[-1.0], [1.0]])
    >>> p = GaussianMixtureScore(torch.tensor([0.5, 0.5]), means, torch.ones(2, 1, 1))
    >>> p(torch.ones(1, 1), torch.ones(1, 1))
    tensor([[-0.2689]])
    """

    log_weights: Tensor
    means: Tensor
    variances: Tensor
    axes: Tensor

    def __init__(self, weights: Tensor, means: Tensor, covariances: Tensor) -> None:
        super().__init__()
        w, mu, C = (torch.as_tensor(a, dtype=torch.float64) for a in (weights, means, covariances))
        if mu.ndim != 2 or w.shape != mu.shape[:1] or C.shape != (*mu.shape, mu.shape[1]):
            raise ValueError(
                f"weights {tuple(w.shape)}, means {tuple(mu.shape)}, covariances {tuple(C.shape)}: "
                "give the shapes (n_components,), (n_components, d) and (n_components, d, d)."
            )
        if not (bool((w >= 0).all()) and abs(w.sum().item() - 1) < 1e-6):
            raise ValueError(f"weights={w.tolist()} must not be negative and must sum to 1.")
        variances, axes = torch.linalg.eigh(C)
        scale = variances.mean(1, keepdim=True)
        positive = bool(((variances > -1e-8 * scale) & (scale > 0)).all())
        if not (positive and torch.allclose(C, C.mT)):
            raise ValueError("A covariance is not symmetric, is zero or has a negative variance.")
        self.register_buffer("log_weights", w.log())
        self.register_buffer("means", mu.clone())
        self.register_buffer("variances", variances.maximum(_SMALLEST_VARIANCE * scale))
        self.register_buffer("axes", axes)

    @staticmethod
    def from_sklearn(mixture: Any) -> "GaussianMixtureScore":
        """Take over a fitted ``sklearn.mixture.GaussianMixture``.

        Parameters
        ----------
        mixture : GaussianMixture
            Fitted, with ``covariance_type="full"``; others are refused.

        Returns
        -------
        score : GaussianMixtureScore

        Examples
        --------
        >>> from sklearn.mixture import GaussianMixture
        >>> mixture = GaussianMixture(1).fit([[-1.0], [1.0]])
        >>> GaussianMixtureScore.from_sklearn(mixture)(torch.ones(1, 1), torch.zeros(1, 1))
        tensor([[-1.0000]])
        """
        return GaussianMixtureScore(mixture.weights_, mixture.means_, mixture.covariances_)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Map points (n, d) and noise levels (n, 1) to the score (n, d)."""
        return self.score_and_divergence(x, sigma)[0]

    @property
    def covariance(self) -> Tensor:
        """The covariance of the whole mixture, (d, d)."""
        w = self.log_weights.exp()
        centred = self.means - w @ self.means
        within = (self.axes * self.variances[:, None]) @ self.axes.mT
        return torch.einsum("k,kij->ij", w, within) + (w[:, None] * centred).mT @ centred

    def inflated(self, factor: float) -> "GaussianMixtureScore":
        """Return the mixture with all covariances multiplied by a factor."""
        covariances = (self.axes * self.variances[:, None]) @ self.axes.mT
        return GaussianMixtureScore(self.log_weights.exp(), self.means, factor * covariances)

    def sample(self, n_samples: int, sigma: float, generator: torch.Generator) -> Tensor:
        """Draw from p_σ.

        Parameters
        ----------
        n_samples : int
            Number of draws.
        sigma : float
            Noise level.
        generator : torch.Generator
            Source of randomness, on the device of the mixture.

        Returns
        -------
        x : Tensor of shape (n_samples, d)
        """
        options: dict[str, Any] = {
            "generator": generator,
            "dtype": torch.float64,
            "device": generator.device,
        }
        cumulative = self.log_weights.exp().cumsum(0)
        u = torch.rand(n_samples, **options) * cumulative[-1]
        k = torch.searchsorted(cumulative, u).clamp_(max=len(cumulative) - 1)
        z = torch.randn(n_samples, self.means.shape[1], **options)
        x = self.means[k].clone()
        # Component by component: a matrix for each draw would be d times the memory.
        for j in range(len(cumulative)):
            deviation = (self.variances[j] + sigma**2).sqrt()
            x[k == j] += (z[k == j] * deviation) @ self.axes[j].mT
        return x

    def log_density(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Map points (n, d) and noise levels (n, 1) to log p_σ (n,), in nats."""
        return self._components(x, sigma)[0].logsumexp(1).to(x.dtype)

    def energy(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Map points (n, d) and noise levels (n, 1) to -log p_σ (n,)."""
        return -self.log_density(x, sigma)

    def score_and_divergence(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Map points (n, d) and noise levels (n, 1) to the score (n, d) and tr ∇s (n,)."""
        log_f, s_k, divergence_k = self._components(x, sigma)
        r = log_f.softmax(1)
        s = (r[..., None] * s_k).sum(1)
        divergence = (r * (s_k.square().sum(2) + divergence_k)).sum(1) - s.square().sum(1)
        return s.to(x.dtype), divergence.to(x.dtype)

    def _components(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return log(w_k N_k) (n, K), ∇ log N_k (n, K, d) and Δ log N_k (n, K)."""
        variance = self.variances + sigma[..., None].square()
        # Products over an odd number of features are rounded by the place of a row in memory.
        d = x.shape[1]
        axes = nn.functional.pad(self.axes, (0, d % 2, 0, d % 2))
        centred = nn.functional.pad(x[:, None] - self.means, (0, d % 2))
        z = torch.einsum("nkd,kde->nke", centred, axes)[..., :d]
        log_n = -(z.square() / variance + variance.log() + math.log(2 * math.pi)).sum(2) / 2
        ratio = nn.functional.pad(z / variance, (0, d % 2))
        s_k = -torch.einsum("nke,kde->nkd", ratio, axes)[..., :d]
        return self.log_weights + log_n, s_k, -(1 / variance).sum(2)


class GaussianScore(GaussianMixtureScore):
    """The exact score of N(μ, C + σ² I): a mixture of one.

    Parameters
    ----------
    mean : Tensor of shape (d,)
        μ.
    covariance : Tensor of shape (d, d)
        C, checked and, if singular, mended as in :class:`GaussianMixtureScore`.

    Examples
    --------
    >>> p = GaussianScore(torch.zeros(2), torch.eye(2))
    >>> p(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0]]))
    tensor([[-0.5000, -1.0000]])
    """

    def __init__(self, mean: Tensor, covariance: Tensor) -> None:
        super().__init__(torch.ones(1).to(mean.device), mean[None], covariance[None])


def fit_gaussian(x: Tensor, weights: Tensor | None = None) -> GaussianScore:
    """Fit the Gaussian that minimises the implicit objective: mean and 1/n covariance.

    Parameters
    ----------
    x : Tensor of shape (n, d)
        Rows.
    weights : Tensor of shape (n,), default=None
        Weights of the rows, not negative; None is 1 each.

    Returns
    -------
    score : GaussianScore

    Raises
    ------
    ValueError
        If rows or weights are not finite or of another shape, or the rows are all equal.

    Examples
    --------
    >>> fit_gaussian(torch.tensor([[0.0], [2.0]]))(torch.tensor([[3.0]]), torch.zeros(1, 1))
    tensor([[-2.]])
    """
    x, w = _checked_rows("x", x, weights)
    if bool((x == x[0]).all()):
        raise ValueError(f"All {len(x)} row(s) of x are equal: no Gaussian fits. Give other rows.")
    mean = w @ x
    return GaussianScore(mean, (w[:, None] * (x - mean)).mT @ (x - mean))


def fit_gaussian_mixture(
    x: Tensor,
    weights: Tensor | None = None,
    *,
    n_components: Sequence[int] = _N_COMPONENTS,
    n_init: int = 1,
    reg_covar: float = 1e-6,
    seed: int,
) -> GaussianMixtureScore:
    """Fit a Gaussian mixture by maximum likelihood, with the number of components of least BIC.

    Parameters
    ----------
    x : Tensor of shape (n, d)
        Rows.
    weights : Tensor of shape (n,), default=None
        Weights of the rows, not negative; None is 1 each. Where they differ, a row is repeated in
        proportion to its weight, 4 times if that is the mean one.
    n_components : sequence of int
        K to try, in rising order, up to one component for 2(d + 1) rows; the search ends at the
        fourth in a row that does not lower the BIC.
    n_init : int, default=1
        Starts of the EM algorithm for each K, of which the best is kept.
    reg_covar : float, default=1e-6
        What is added to variances, as a share of the mean variance of a feature.
    seed : int
        Decides where the EM algorithm starts.

    Returns
    -------
    score : GaussianMixtureScore

    Raises
    ------
    ValueError
        If rows or weights are not finite or of another shape, or the rows are all equal.

    Examples
    --------
    >>> x = torch.cat([torch.linspace(-6, -4, 50), torch.linspace(4, 6, 50)])[:, None]
    >>> fit_gaussian_mixture(x.double(), seed=0).means.flatten().sort().values.round()
    tensor([-5.,  5.], dtype=torch.float64)
    """
    x, w = _checked_rows("x", x, weights)
    if bool((x == x[0]).all()):
        raise ValueError(f"All {len(x)} row(s) of x are equal: no mixture fits. Give other rows.")
    n, d = (1 + 1e-12) / (w @ w).item(), x.shape[1]  # of n equal rows, not a bit less than n
    data, share = x.cpu().numpy(), w.cpu().numpy()
    rows = data
    if bool((w != w[0]).any()):
        # In strata, so that each row is repeated as often as its weight says, to the next integer.
        cumulative = np.append(0.0, share.cumsum())
        copies = np.diff(np.floor(_COPIES * len(x) * cumulative / cumulative[-1] + 0.5))
        rows = np.repeat(data, copies.astype(int), axis=0)
    mean = w @ x
    C = (w[:, None] * (x - mean)).mT @ (x - mean)
    floor = reg_covar * C.diagonal().mean().item()
    best: GaussianMixtureScore | None = None
    lowest, misses = math.inf, 0
    for K in n_components:
        if (best is not None and 2 * K * (d + 1) > n) or misses == _PATIENCE:
            break
        if K == 1:
            # Solved, not iterated: where one row has nearly all of the weight, others have no copy.
            found: GaussianMixtureScore = GaussianScore(mean, C + floor * torch.eye(d).to(C))
            log_p = found.log_density(x, torch.zeros_like(x[:, :1])).cpu().numpy()
        else:
            mixture = GaussianMixture(K, reg_covar=floor, n_init=n_init, random_state=seed)
            found = GaussianMixtureScore.from_sklearn(mixture.fit(rows))
            log_p = mixture.score_samples(data)
        q = K - 1 + K * d + K * d * (d + 1) / 2
        bic = -2 * n * (share @ log_p) + q * math.log(n)
        misses = 0 if bic < lowest else misses + 1
        if bic < lowest:
            best, lowest = found, bic
    if best is None:
        raise ValueError(f"n_components={n_components!r}: give one or more numbers of components.")
    return best.to(x.device)


def _checked_rows(name: str, x: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the rows, and weights that sum to one, in float64."""
    w = (torch.ones(len(x)) if weights is None else weights).to(x.device).double()
    fits = x.ndim == 2 and w.shape == x.shape[:1] and bool(x.isfinite().all() & (w >= 0).all())
    if not (fits and 0 < w.sum() < math.inf):
        raise ValueError(
            f"{name} of shape {tuple(x.shape)} with weights of shape {tuple(w.shape)}: give finite "
            "rows (n, d) and finite weights (n,) that are not negative and not all 0."
        )
    return x.double(), w / w.sum()
