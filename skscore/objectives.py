r"""Score-matching objectives: pure functions of a score, one loss for each row.

With s the model, s* = ∇ log p the true score and D_F = E‖s - s*‖² the Fisher divergence,

    explicit     ‖s(x) - s*(x)‖²                            = D_F, needs s*
    implicit     ‖s(x)‖² + 2 tr ∇s(x)                       = D_F - E‖s*‖²
    sliced       (vᵀs(x))² + 2 vᵀ∇s(x)v,  E[vvᵀ] = I        the same in expectation
    sliced, VR   ‖s(x)‖² + 2 vᵀ∇s(x)v                       the same, less variance
    denoising    ‖s(x + σε, σ) + ε/σ‖²                      = D_F(p_σ, s) + const(σ)

No factor ½ anywhere, where the papers carry one. Weights of rows and λ(σ) multiply outside.

Sources: Hyvärinen, "Estimation of non-normalized statistical models by score matching", JMLR 2005
(implicit, theorem 1); Song et al., "Sliced score matching", UAI 2019 (eq. 7, 8); Vincent, "A
connection between score matching and denoising autoencoders", Neural Comp. 2011 (denoising).
"""

from torch import Tensor

from skscore._typing import ScoreFn
from skscore.divergence import exact_divergence, hutchinson_divergence

__all__ = ["denoising", "explicit", "implicit", "sliced"]


def explicit(score_fn: ScoreFn, x: Tensor, sigma: Tensor, target: Tensor) -> Tensor:
    """Squared distance to a known score: ‖s(x, σ) - s*(x)‖².

    Parameters
    ----------
    score_fn : callable (n, d), (n, 1) -> (n, d)
        The model s.
    x : Tensor of shape (n, d)
        Points.
    sigma : Tensor of shape (n, 1)
        Noise levels at which the model is read.
    target : Tensor of shape (n, d)
        The true score s* at x.

    Returns
    -------
    loss : Tensor of shape (n,)

    Examples
    --------
    >>> import torch
    >>> x, sigma = torch.ones(2, 3), torch.zeros(2, 1)
    >>> explicit(lambda x, sigma: -x, x, sigma, target=-2 * x)
    tensor([3., 3.])
    """
    return (score_fn(x, sigma) - target).square().sum(1)


def implicit(
    score_fn: ScoreFn, x: Tensor, sigma: Tensor, *, chunk_size: int | None = None
) -> Tensor:
    """Hyvärinen's objective with the exact trace: ‖s‖² + 2 tr ∇s.

    Its mean over data is D_F(p, s) - E‖∇log p‖²: differences between two models are differences
    of their Fisher divergence (Hyvärinen 2005, theorem 1, which carries a factor ½).

    Parameters
    ----------
    score_fn : callable (n, d), (n, 1) -> (n, d)
        The model s.
    x : Tensor of shape (n, d)
        Clean data.
    sigma : Tensor of shape (n, 1)
        Noise levels at which the model is read.
    chunk_size : int or None, default=None
        See :func:`skscore.divergence.exact_divergence`.

    Returns
    -------
    loss : Tensor of shape (n,)

    Examples
    --------
    >>> import torch
    >>> x, sigma = torch.ones(2, 3), torch.zeros(2, 1)
    >>> implicit(lambda x, sigma: -x, x, sigma)
    tensor([-3., -3.])
    """
    s, divergence = exact_divergence(score_fn, x, sigma, chunk_size=chunk_size)
    return s.square().sum(1) + 2 * divergence


def sliced(
    score_fn: ScoreFn,
    x: Tensor,
    sigma: Tensor,
    probes: Tensor,
    *,
    variance_reduction: bool = True,
) -> Tensor:
    """Sliced score matching: the implicit objective along random directions.

    ‖s‖² + 2 vᵀ∇s v with variance reduction (Song et al. 2019, eq. 8), (vᵀs)² + 2 vᵀ∇s v without
    (eq. 7); the papers carry a factor ½.

    Parameters
    ----------
    score_fn : callable (n, d), (n, 1) -> (n, d)
        The model s.
    x : Tensor of shape (n, d)
        Clean data.
    sigma : Tensor of shape (n, 1)
        Noise levels at which the model is read.
    probes : Tensor of shape (n_probes, n, d)
        Random directions v with E[v vᵀ] = I; the loss is the mean over them.
    variance_reduction : bool, default=True
        Whether E[(vᵀs)²] is replaced by its value ‖s‖².

    Returns
    -------
    loss : Tensor of shape (n,)

    Examples
    --------
    >>> import torch
    >>> from skscore.divergence import rademacher
    >>> x, sigma = torch.ones(2, 3), torch.zeros(2, 1)
    >>> probes = rademacher((1, 2, 3), torch.Generator().manual_seed(0))
    >>> sliced(lambda x, sigma: -x, x, sigma, probes)
    tensor([-3., -3.])
    """
    s, divergence = hutchinson_divergence(score_fn, x, sigma, probes)
    if variance_reduction:
        norm = s.square().sum(1)
    else:
        norm = (probes * s).sum(2).square().mean(0)
    return norm + 2 * divergence


def denoising(score_fn: ScoreFn, x: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
    """Vincent's objective: ‖s(x + σε, σ) - ∇log N(x + σε; x, σ²I)‖² = ‖s(x + σε, σ) + ε/σ‖².

    Its minimiser is the score of the blurred density p_σ. The constant between it and
    D_F(p_σ, s) depends on σ, so losses at two σ cannot be compared.

    Parameters
    ----------
    score_fn : callable (n, d), (n, 1) -> (n, d)
        The model s.
    x : Tensor of shape (n, d)
        Clean data.
    sigma : Tensor of shape (n, 1)
        Noise levels, positive.
    noise : Tensor of shape (n, d)
        ε, standard normal.

    Returns
    -------
    loss : Tensor of shape (n,)

    Examples
    --------
    >>> import torch
    >>> x, sigma, noise = torch.zeros(2, 3), torch.ones(2, 1), torch.ones(2, 3)
    >>> denoising(lambda x, sigma: -x / (1 + sigma**2), x, sigma, noise)
    tensor([0.7500, 0.7500])
    """
    x_noisy = x + sigma * noise
    return (score_fn(x_noisy, sigma) + noise / sigma).square().sum(1)
