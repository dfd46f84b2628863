r"""Score-matching objectives: pure functions of a score, one loss for each row.

With s the model, s* = ∇ log p the true score and D_F = E‖s - s*‖² the Fisher divergence,

    explicit     ‖s(x) - s*(x)‖²                            = D_F, needs s*
    implicit     ‖s(x)‖² + 2 tr ∇s(x)                       = D_F - E‖s*‖²
    sliced       (vᵀs(x))² + 2 vᵀ∇s(x)v,  E[vvᵀ] = I        the same in expectation
    sliced, VR   ‖s(x)‖² + 2 vᵀ∇s(x)v                       the same, less variance
    sliced, FD   ‖(s₊ + s₋)/2‖² + vᵀ(s₊ - s₋)/h             the same + O(h²), s± = s(x ± hv)
    denoising    ‖s(x + σε, σ) + ε/σ‖²                      = D_F(p_σ, s) + const(σ)
    denoising, control variate
                 ‖s(x + σε, σ)‖² + 2 εᵀ(s(x + σε, σ) - s(x, σ))/σ + d/σ²
                                                            the same, bounded variance as σ → 0
    Parzen       ‖s(x + σε, σ) - ∇log p̂_σ(x + σε)‖²         = denoising - const(σ)

p̂_σ is the mean of N(c, σ²I) over centres c. No factor ½ anywhere, where the papers carry one.
Weights of rows and λ(σ) multiply outside.

Sources: Hyvärinen, "Estimation of non-normalized statistical models by score matching", JMLR 2005
(implicit, theorem 1); Song et al., "Sliced score matching", UAI 2019 (eq. 7, 8); Pang et al.,
"Efficient learning of generative models via finite-difference score matching", NeurIPS 2020;
Vincent, "A connection between score matching and denoising autoencoders", Neural Comp. 2011
(denoising, Parzen); Wang et al., "A Wasserstein minimum velocity approach to learning unnormalized
models", AISTATS 2020 (control variate).
"""

import torch
from torch import Tensor

from skscore._typing import ScoreFn
from skscore.divergence import exact_divergence, hutchinson_divergence

__all__ = [
    "denoising",
    "denoising_control_variate",
    "explicit",
    "finite_difference_sliced",
    "implicit",
    "parzen",
    "sliced",
]


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


def finite_difference_sliced(
    score_fn: ScoreFn, x: Tensor, sigma: Tensor, probes: Tensor, *, epsilon: float
) -> Tensor:
    """Sliced score matching without derivatives of the score: two evaluations for each probe.

    With s± = s(x ± hv), h = epsilon,

        ‖(s₊ + s₋)/2‖² + vᵀ(s₊ - s₋)/h = ‖s‖² + 2 vᵀ∇s v + O(h²),

    and the error is 0 where s is linear. Pang et al. (2020) carry a factor ½, draw v evenly from a
    sphere of radius h and multiply the second term by d in return; here v is any probe of
    :func:`sliced`, and the points lie h‖v‖ away.

    Parameters
    ----------
    score_fn : callable (n, d), (n, 1) -> (n, d)
        The model s; it is called once, with 2 * n_probes * n rows.
    x : Tensor of shape (n, d)
        Clean data.
    sigma : Tensor of shape (n, 1)
        Noise levels at which the model is read.
    probes : Tensor of shape (n_probes, n, d)
        Random directions v with E[v vᵀ] = I; the loss is the mean over them.
    epsilon : float
        h, in the units of x. Rounding costs about ‖s‖ eps/h: an h near eps^⅓ of the distance over
        which s bends is best, 0.005 of it in float32 and 5e-6 in float64.

    Returns
    -------
    loss : Tensor of shape (n,)

    Examples
    --------
    >>> import torch
    >>> from skscore.divergence import rademacher
    >>> x, sigma = torch.ones(2, 3), torch.zeros(2, 1)
    >>> probes = rademacher((1, 2, 3), torch.Generator().manual_seed(0))
    >>> finite_difference_sliced(lambda x, sigma: -x, x, sigma, probes, epsilon=0.5)
    tensor([-3., -3.])
    """
    points = torch.stack([x + epsilon * probes, x - epsilon * probes])
    s = score_fn(points.reshape(-1, x.shape[1]), sigma.repeat(2 * len(probes), 1))
    s_plus, s_minus = s.reshape(points.shape)
    norm = ((s_plus + s_minus) / 2).square().sum(2)
    return (norm + (probes * (s_plus - s_minus)).sum(2) / epsilon).mean(0)


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


def denoising_control_variate(score_fn: ScoreFn, x: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
    """Vincent's objective without the noise that drowns it at a small σ.

    From :func:`denoising` two terms of mean zero are taken, (‖ε‖² - d)/σ² and 2 εᵀs(x, σ)/σ, the
    second with the score at the clean row, which does not depend on ε (Wang et al. 2020):

        ‖s(x + σε, σ)‖² + 2 εᵀ(s(x + σε, σ) - s(x, σ))/σ + d/σ².

    The mean is the same for every s. The variance of :func:`denoising` grows as σ⁻⁴, that of its
    gradient as σ⁻²; here both stay bounded, since as σ → 0 what is left is the sliced objective
    with v = ε. At a large σ this one varies more.

    Parameters
    ----------
    score_fn : callable (n, d), (n, 1) -> (n, d)
        The model s; it is called twice.
    x : Tensor of shape (n, d)
        Clean data.
    sigma : Tensor of shape (n, 1)
        Noise levels, positive.
    noise : Tensor of shape (n, d)
        ε, standard normal.

    Returns
    -------
    loss : Tensor of shape (n,)
        In float32 d/σ² leaves few digits for the rest if σ is small; gradients do not feel it.

    Examples
    --------
    >>> import torch
    >>> x, sigma, noise = torch.zeros(2, 3), torch.ones(2, 1), torch.ones(2, 3)
    >>> denoising_control_variate(lambda x, sigma: -x / (1 + sigma**2), x, sigma, noise)
    tensor([0.7500, 0.7500])
    """
    s = score_fn(x + sigma * noise, sigma)
    slope = (noise / sigma * (s - score_fn(x, sigma))).sum(1)
    return s.square().sum(1) + 2 * slope + x.shape[1] / sigma[:, 0].square()


def parzen(
    score_fn: ScoreFn,
    x: Tensor,
    sigma: Tensor,
    noise: Tensor,
    centers: Tensor,
    weights: Tensor | None = None,
) -> Tensor:
    """Explicit score matching against a Parzen density: ‖s(x + σε, σ) - ∇log p̂_σ(x + σε)‖².

    p̂_σ = Σ_k w_k N(c_k, σ²I). With the rows drawn from the centres its mean is that of
    :func:`denoising` less a constant that does not depend on s (Vincent 2011): it has the same
    minimiser and the same gradient in the mean, and it is 0 where s is ∇log p̂_σ.

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
    centers : Tensor of shape (n_centers, d)
        The c_k; n * n_centers numbers are held at once.
    weights : Tensor of shape (n_centers,) or None, default=None
        The w_k, not negative, up to a factor; None is 1 each.

    Returns
    -------
    loss : Tensor of shape (n,)

    Examples
    --------
    >>> import torch
    >>> x, sigma, noise = torch.zeros(2, 3), torch.ones(2, 1), torch.ones(2, 3)
    >>> parzen(lambda x, sigma: -2 * x, x, sigma, noise, centers=torch.zeros(1, 3))
    tensor([3., 3.])
    """
    x_noisy = x + sigma * noise
    # A matrix product rounds squared distances to eps ‖x‖², which a small σ magnifies: float64.
    a, c = x_noisy.double(), centers.double()
    distances = torch.addmm(c.square().sum(1), a, c.mT, alpha=-2).add_(a.square().sum(1)[:, None])
    log_kernel = distances.div_(-2 * sigma.double().square()).to(x)
    if weights is not None:
        log_kernel = log_kernel + weights.log()
    target = (log_kernel.softmax(1) @ centers - x_noisy) / sigma.square()
    return explicit(score_fn, x_noisy, sigma, target)
