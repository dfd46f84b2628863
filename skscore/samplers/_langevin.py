r"""Langevin dynamics, at one noise level and down a ladder of them.

    Langevin             x ← x + α/2 s(x, σ) + √α z
    MALA                 D(x) = α/2 s(x, σ), cut to the length √(αd);  x' = x + D(x) + √α z
                         x ← x' with probability min(1, p(x') q(x|x') / p(x) q(x'|x)),
                         p ∝ exp(-E),  q(x'|x) = N(x'; x + D(x), αI)
    annealed Langevin    α_i = ε σ_i²/σ_L²; T Langevin steps at each σ_i, i = 1, ..., L;
                         last x ← x + σ_L² s(x, σ_L)

z is standard normal, fresh in each step. The last step is Tweedie's mean E[x_0 | x_σ], which takes
out the noise that is left at the smallest σ.

Sources: Roberts & Tweedie, "Exponential convergence of Langevin distributions and their discrete
approximations", Bernoulli 1996 (section 1.4, with the truncation of its MALTA); Song & Ermon,
"Generative modeling by estimating gradients of the data distribution", NeurIPS 2019 (algorithm 1)
and "Improved techniques for training score-based generative models", NeurIPS 2020 (technique 4, and
algorithm 3 with its last denoising step).
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from skscore._typing import EnergyFn, ScoreFn
from skscore.noise import langevin_step_size
from skscore.samplers._walk import denoised, end_or_all, standard_normal, uniform

__all__ = ["annealed_langevin", "langevin", "mala"]


def langevin(
    score_fn: ScoreFn,
    x: Tensor,
    sigma: float,
    *,
    n_steps: int,
    step_size: float,
    generator: torch.Generator,
    return_trajectory: bool = False,
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
    return_trajectory : bool, default=False
        Whether to return the start and the state after every step.

    Returns
    -------
    x : Tensor of shape (n, d), or (n_steps + 1, n, d) with ``return_trajectory``

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> x = torch.zeros(4000, 1)
    >>> x = langevin(lambda x, sigma: -x, x, 0.0, n_steps=50, step_size=0.2, generator=generator)
    >>> abs(x.var().item() - 1 / (1 - 0.2 / 4)) < 0.1
    True
    """
    return end_or_all(_steps(score_fn, x, sigma, n_steps, step_size, generator), return_trajectory)


def _steps(
    score_fn: ScoreFn,
    x: Tensor,
    sigma: float,
    n_steps: int,
    step_size: float,
    generator: torch.Generator,
) -> Iterator[Tensor]:
    sigmas = x.new_full((len(x), 1), sigma)
    yield x
    for _ in range(n_steps):
        z = standard_normal(x, generator)
        x = x + step_size / 2 * score_fn(x, sigmas) + step_size**0.5 * z
        yield x


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
        z = standard_normal(x, generator)
        step = drift + step_size**0.5 * z
        x_new = x + step
        energy_new, drift_new = energy_and_drift(x_new)
        # log q(x|x') - log q(x'|x), without differences of nearby points
        log_q_ratio = z.square().sum(1) / 2 - (step + drift_new).square().sum(1) / (2 * step_size)
        log_ratio = energy - energy_new + log_q_ratio
        probability = torch.where(log_ratio.isfinite(), log_ratio.clamp(max=0).exp(), 0.0)
        accept = uniform(energy, generator) < probability
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
    step_size: float | str = "auto",
    generator: torch.Generator,
    denoise: bool = True,
    return_trajectory: bool = False,
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
    step_size : float or "auto", default="auto"
        ε/σ_L²: the step at level i is α_i = ε σ_i²/σ_L². The paper's ε = 2e-5 with σ_L = .01 is
        0.2 here. "auto" is technique 4 of NCSNv2, :func:`skscore.noise.langevin_step_size`, for
        the mean ratio of neighbouring levels.
    generator : torch.Generator
        Source of randomness.
    denoise : bool, default=True
        Whether the last step is Tweedie's mean at σ_L.
    return_trajectory : bool, default=False
        Whether to return the start and the state after every level, and after the last step.

    Returns
    -------
    x : Tensor of shape (n, d), or (n_states, n, d) with ``return_trajectory``

    Raises
    ------
    ValueError
        If the step is another string than "auto", or "auto" with a single level.

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
    levels = sigmas.tolist()
    if isinstance(step_size, str):
        if step_size != "auto":
            raise ValueError(f"step_size={step_size!r} is no step; give a number, or 'auto'.")
        if len(levels) < 2:
            raise ValueError(
                "step_size='auto' follows from the ratio of neighbouring levels, and there is one "
                "level; give a number."
            )
        ratio = (levels[0] / levels[-1]) ** (1 / (len(levels) - 1))
        step_size = langevin_step_size(ratio, n_steps_per_level)

    def states(x: Tensor) -> Iterator[Tensor]:
        yield x
        for sigma in levels:
            x = langevin(
                score_fn,
                x,
                sigma,
                n_steps=n_steps_per_level,
                step_size=step_size * sigma**2,
                generator=generator,
            )
            yield x
        if denoise:
            yield denoised(score_fn, x, levels[-1])

    return end_or_all(states(x), return_trajectory)
