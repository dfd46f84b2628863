r"""Gaussians and their mixtures as score models: everything about them is known.

Of p_σ = Σ_k w_k N(μ_k, C_k + σ² I), with r_k = w_k N_k / p_σ and s_k = ∇ log N_k,

    s = Σ_k r_k s_k,      tr ∇s = Σ_k r_k (‖s_k‖² + tr ∇s_k) - ‖s‖²

Among the scores -A (x - b) of one Gaussian, the implicit objective ⟨‖s‖² + 2 tr ∇s⟩ has its minimum
at the mean of the rows, b = x̄, and A = S⁻¹, their covariance with 1/n. ⟨·⟩ is a weighted mean.

Source: Hyvärinen, "Estimation of non-normalized statistical models by score matching", JMLR 2005
(section 3.1).
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["GaussianMixtureScore", "GaussianScore", "fit_gaussian"]

_SMALLEST_VARIANCE = 1e-10  # as a share of the mean variance of a Gaussian


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
        super().__init__(torch.ones(1), mean[None], covariance[None])


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
