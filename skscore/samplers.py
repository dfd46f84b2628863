r"""Solvers: from noise to data along a score function.

Each takes a ``ScoreFn`` s(x, σ), starting points and what it needs to know of σ, and reads like
the algorithm of its paper. z is standard normal, fresh in each step.

    Langevin             x ← x + α/2 s(x, σ) + √α z
    MALA                 D(x) = α/2 s(x, σ), cut to the length √(αd);  x' = x + D(x) + √α z
                         x ← x' with probability min(1, p(x') q(x|x') / p(x) q(x'|x)),
                         p ∝ exp(-E),  q(x'|x) = N(x'; x + D(x), αI)
    annealed Langevin    α_i = ε σ_i²/σ_L²; T Langevin steps at each σ_i, i = 1, ..., L;
                         last x ← x + σ_L² s(x, σ_L)
    DPM-Solver++(2M)     D_i = x + σ_i² s(x, σ_i),  h_i = ln(σ_{i-1}/σ_i),  r_i = h_{i-1}/h_i
                         x ← (σ_i/σ_{i-1}) x
                             + (1 - σ_i/σ_{i-1}) [(1 + 1/2r_i) D_{i-1} - 1/2r_i D_{i-2}]
                         last x ← D at the smallest σ

The last step of the last two is Tweedie's mean E[x_0 | x_σ], which takes out the noise that is left
at the smallest σ.

Sources: Roberts & Tweedie, "Exponential convergence of Langevin distributions and their discrete
approximations", Bernoulli 1996 (section 1.4, with the truncation of its MALTA); Song & Ermon,
"Generative modeling by estimating gradients of the data distribution", NeurIPS 2019 (algorithm 1);
Jolicoeur-Martineau et al., "Adversarial score matching and improved sampling for image generation",
ICLR 2021 (the last denoising step); Lu et al., "DPM-Solver++", 2022 (algorithm 2), in the
coordinates x_t/α_t, where every Gaussian process is variance exploding.
"""

import math

import torch
from torch import Tensor

from skscore._typing import EnergyFn, ScoreFn

__all__ = ["annealed_langevin", "dpm_solver", "langevin", "mala"]


def langevin(
    score_fn: ScoreFn,
    x: Tensor,
    sigma: float,
    *,
    n_steps: int,
    step_size: float,
    generator: torch.Generator,
) -> Tensor:
    """Unadjusted Langevin dynamics at one noise level.

    Parameters
    ----------
    score_fn : callable (n, d), (n, 1) -> (n, d)
        The score function.
    x : Tensor of shape (n, d)
        Starting points, one chain each.
    sigma : float
        The noise level at which the score is read.
    n_steps : int
        Number of steps.
    step_size : float
        α. On N(0, v) the chain settles at the variance v/(1 - α/4v), and diverges from 4v on.
    generator : torch.Generator
        Source of randomness.

    Returns
    -------
    x : Tensor of shape (n, d)

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> x = torch.zeros(4000, 1)
    >>> x = langevin(lambda x, sigma: -x, x, 0.0, n_steps=50, step_size=0.2, generator=generator)
    >>> abs(x.var().item() - 1 / (1 - 0.2 / 4)) < 0.1
    True
    """
    sigmas = x.new_full((len(x), 1), sigma)
    for _ in range(n_steps):
        z = _standard_normal(x, generator)
        x = x + step_size / 2 * score_fn(x, sigmas) + step_size**0.5 * z
    return x


def mala(
    energy_fn: EnergyFn,
    score_fn: ScoreFn,
    x: Tensor,
    sigma: float,
    *,
    n_steps: int,
    step_size: float,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Metropolis-adjusted Langevin algorithm at one noise level (Roberts & Tweedie 1996).

    The Langevin step is a proposal that is accepted or refused, so that the chain settles at
    p ∝ exp(-E) itself, whatever the step size and however good the score. The drift is cut to the
    typical length √(αd) of the noise: where E is steep, a longer one overshoots and is refused for
    ever.

    Parameters
    ----------
    energy_fn : callable (n, d), (n, 1) -> (n,)
        The energy E(x, σ) = -log p_σ(x) + constant. Points where it is not finite are refused.
    score_fn : callable (n, d), (n, 1) -> (n, d)
        The score function, -∇E.
    x : Tensor of shape (n, d)
        Starting points, one chain each.
    sigma : float
        The noise level at which energy and score are read.
    n_steps : int
        Number of steps.
    step_size : float
        α, as in :func:`langevin`. About 0.57 of the steps should be accepted.
    generator : torch.Generator
        Source of randomness.

    Returns
    -------
    x : Tensor of shape (n, d)
    acceptance : Tensor of shape (n,)
        Mean acceptance probability of each chain.

    Raises
    ------
    ValueError
        If the energy is not finite at a starting point.

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> x, acceptance = mala(
    ...     lambda x, sigma: x.square().sum(1) / 2,
    ...     lambda x, sigma: -x,
    ...     torch.zeros(4000, 1),
    ...     0.0,
    ...     n_steps=50,
    ...     step_size=1.0,
    ...     generator=generator,
    ... )
    >>> abs(x.var().item() - 1) < 0.1
    True
    """
    sigmas, max_length = x.new_full((len(x), 1), sigma), (step_size * x.shape[1]) ** 0.5

    def energy_and_drift(x: Tensor) -> tuple[Tensor, Tensor]:
        drift = step_size / 2 * score_fn(x, sigmas)
        length = drift.norm(dim=1, keepdim=True)
        return energy_fn(x, sigmas), drift / (length / max_length).clamp(min=1)

    energy, drift = energy_and_drift(x)
    lost = int((~energy.isfinite()).sum())
    if lost:
        raise ValueError(
            f"The energy is not finite at {lost} of {len(x)} starting points; start every chain "
            "where the density is positive, such as at rows of the data."
        )
    acceptance = torch.zeros_like(energy)
    for _ in range(n_steps):
        z = _standard_normal(x, generator)
        step = drift + step_size**0.5 * z
        x_new = x + step
        energy_new, drift_new = energy_and_drift(x_new)
        # log q(x|x') - log q(x'|x), without differences of nearby points
        log_q_ratio = z.square().sum(1) / 2 - (step + drift_new).square().sum(1) / (2 * step_size)
        log_ratio = energy - energy_new + log_q_ratio
        probability = torch.where(log_ratio.isfinite(), log_ratio.clamp(max=0).exp(), 0.0)
        accept = _uniform(energy, generator) < probability
        x = torch.where(accept[:, None], x_new, x)
        drift = torch.where(accept[:, None], drift_new, drift)
        energy = torch.where(accept, energy_new, energy)
        acceptance += probability
    return x, acceptance / n_steps


def annealed_langevin(
    score_fn: ScoreFn,
    x: Tensor,
    sigmas: Tensor,
    *,
    n_steps_per_level: int,
    step_size: float,
    generator: torch.Generator,
    denoise: bool = True,
) -> Tensor:
    """Annealed Langevin dynamics (Song & Ermon 2019, algorithm 1).

    Parameters
    ----------
    score_fn : callable (n, d), (n, 1) -> (n, d)
        The score function.
    x : Tensor of shape (n, d)
        Starting points, as far apart as the largest noise level.
    sigmas : Tensor of shape (n_levels,)
        σ_1 > ... > σ_L.
    n_steps_per_level : int
        T, the Langevin steps at each level.
    step_size : float
        ε/σ_L²: the step at level i is α_i = ε σ_i²/σ_L². The paper's ε = 2e-5 with σ_L = .01 is
        0.2 here.
    generator : torch.Generator
        Source of randomness.
    denoise : bool, default=True
        Whether the last step is Tweedie's mean at σ_L.

    Returns
    -------
    x : Tensor of shape (n, d)

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> sigmas = torch.tensor([1.0, 0.3, 0.1])
    >>> x = torch.randn(4000, 1, generator=generator)
    >>> x = annealed_langevin(
    ...     lambda x, sigma: -x / (4 + sigma**2),
    ...     x,
    ...     sigmas,
    ...     n_steps_per_level=200,
    ...     step_size=0.2,
    ...     generator=generator,
    ... )
    >>> x.shape
    torch.Size([4000, 1])
    """
    for sigma in sigmas.tolist():
        alpha = step_size * sigma**2
        x = langevin(
            score_fn, x, sigma, n_steps=n_steps_per_level, step_size=alpha, generator=generator
        )
    return _denoised(score_fn, x, sigmas[-1].item()) if denoise else x


def dpm_solver(score_fn: ScoreFn, x: Tensor, sigmas: Tensor) -> Tensor:
    """DPM-Solver++(2M): second order, deterministic, one evaluation a step (Lu et al. 2022).

    Parameters
    ----------
    score_fn : callable (n, d), (n, 1) -> (n, d)
        The score function.
    x : Tensor of shape (n, d)
        Draws of the density blurred by the largest noise level.
    sigmas : Tensor of shape (n_levels,)
        Decreasing noise levels, each of which costs one evaluation.

    Returns
    -------
    x : Tensor of shape (n, d)
        Draws of the density without noise.

    Examples
    --------
    >>> from skscore.noise import karras_sigmas
    >>> x = 10.05 * torch.ones(1, 1, dtype=torch.float64)
    >>> x = dpm_solver(lambda x, sigma: -x / (1 + sigma**2), x, karras_sigmas(10.0, 0.002, 100))
    >>> round(x.item(), 2)
    1.0
    """
    levels = sigmas.tolist()
    # 1 - σ_i/σ_{i-1} is 1 - e^{-h}; at the last step to σ = 0 only D is left.
    previous: Tensor | None = None
    h_previous = 0.0
    for sigma, sigma_next in zip(levels[:-1], levels[1:], strict=True):
        denoised = _denoised(score_fn, x, sigma)
        h = math.log(sigma / sigma_next)
        if previous is None:
            direction = denoised
        else:
            r = h_previous / h
            direction = (1 + 1 / (2 * r)) * denoised - 1 / (2 * r) * previous
        ratio = sigma_next / sigma
        x = ratio * x + (1 - ratio) * direction
        previous, h_previous = denoised, h
    return _denoised(score_fn, x, levels[-1])


def _denoised(score_fn: ScoreFn, x: Tensor, sigma: float) -> Tensor:
    """Tweedie's mean D = x + σ² s(x, σ)."""
    return x + sigma**2 * score_fn(x, x.new_full((len(x), 1), sigma))


def _standard_normal(x: Tensor, generator: torch.Generator) -> Tensor:
    z = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=generator.device)
    return z.to(x.device)


def _uniform(x: Tensor, generator: torch.Generator) -> Tensor:
    u = torch.rand(x.shape, generator=generator, dtype=x.dtype, device=generator.device)
    return u.to(x.device)
