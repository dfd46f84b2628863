r"""Reverse diffusion: from noise to data along a stochastic differential equation.

In the coordinates x_t/α_t every Gaussian process is dx = √(dσ²/dt) dw, and its reverse is

    dx = -s(x, σ) dσ² + √(dσ²) dw̄.

From σ_i to σ_{i+1}, with Δ = σ_i² - σ_{i+1}² and z standard normal:

    Euler-Maruyama          x ← x + Δ s(x, σ_i) + √Δ z
    ancestral               x ← x + Δ s(x, σ_i) + √(Δ σ_{i+1}²/σ_i²) z
    predictor-corrector     one of the two, then M Langevin steps at σ_{i+1}:
                            x ← x + α/2 s(x, σ_{i+1}) + √α z,    α = a σ_{i+1}²

The ancestral step has the noise of x_{i+1} given x_i and x_0, and it is exact for data that are a
point. The last step of each is Tweedie's mean at the smallest σ.

The corrector of Song et al. has the step 2 (r ‖z‖/‖s‖)² in x + α s + √(2α) z, with norms of the
whole batch; so that rows do not depend on each other, ‖s‖ is taken for its size for data that are a
point, ‖z‖/σ. Then a = 4 r², and their r = 0.16 is a = 0.1.

Sources: Song et al., "Score-based generative modeling through stochastic differential equations",
ICLR 2021 (reverse diffusion; ancestral sampling, appendix F; algorithms 2 to 5); Anderson,
"Reverse-time diffusion equation models", Stoch. Proc. Appl. 1982.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from skscore._typing import ScoreFn
from skscore.samplers._langevin import langevin
from skscore.samplers._walk import denoised, end_or_all, standard_normal

__all__ = ["predictor_corrector", "reverse_sde", "reverse_step"]

_METHODS = ("euler_maruyama", "ancestral")


def reverse_sde(
    score_fn: ScoreFn,
    x: Tensor,
    sigmas: Tensor,
    *,
    generator: torch.Generator,
    method: str = "euler_maruyama",
    return_trajectory: bool = False,
) -> Tensor:
    """Solve the reverse diffusion down the noise levels.

    Parameters
    ----------
    score_fn : callable (n, d), (n, 1) -> (n, d)
        The score function.
    x : Tensor of shape (n, d)
        Draws of the density blurred by the largest noise level.
    sigmas : Tensor of shape (n_levels,)
        Decreasing noise levels, each of which costs one evaluation.
    generator : torch.Generator
        Source of randomness.
    method : {"euler_maruyama", "ancestral"}, default="euler_maruyama"
        How much noise a step adds.
    return_trajectory : bool, default=False
        Whether to return the start and the state after every step.

    Returns
    -------
    x : Tensor of shape (n, d), or (n_levels + 1, n, d) with ``return_trajectory``
        Draws of the density without noise.

    Raises
    ------
    ValueError
        If the method is none of these.

    Examples
    --------
    >>> from skscore.noise import karras_sigmas
    >>> generator = torch.Generator().manual_seed(0)
    >>> x = 101**0.5 * torch.randn(2000, 1, generator=generator)
    >>> sigmas, score_fn = karras_sigmas(10.0, 0.01, 200), lambda x, sigma: -x / (1 + sigma**2)
    >>> x = reverse_sde(score_fn, x, sigmas, generator=generator)
    >>> abs(x.std().item() - 1) < 0.1
    True
    """
    return predictor_corrector(
        score_fn,
        x,
        sigmas,
        generator=generator,
        predictor=method,
        n_corrector_steps=0,
        return_trajectory=return_trajectory,
    )


def predictor_corrector(
    score_fn: ScoreFn,
    x: Tensor,
    sigmas: Tensor,
    *,
    generator: torch.Generator,
    predictor: str = "euler_maruyama",
    n_corrector_steps: int = 1,
    step_size: float = 0.1,
    return_trajectory: bool = False,
) -> Tensor:
    """Solve the reverse diffusion, and correct the state at each level by Langevin dynamics.

    Parameters
    ----------
    score_fn : callable (n, d), (n, 1) -> (n, d)
        The score function.
    x : Tensor of shape (n, d)
        Draws of the density blurred by the largest noise level.
    sigmas : Tensor of shape (n_levels,)
        Decreasing noise levels.
    generator : torch.Generator
        Source of randomness.
    predictor : {"euler_maruyama", "ancestral"}, default="euler_maruyama"
        The step from one level to the next, one evaluation.
    n_corrector_steps : int, default=1
        Langevin steps at each level but the first, one evaluation each.
    step_size : float, default=0.1
        a: at the noise level σ the Langevin step is α = a σ².
    return_trajectory : bool, default=False
        Whether to return the start and the state after every level.

    Returns
    -------
    x : Tensor of shape (n, d), or (n_levels + 1, n, d) with ``return_trajectory``
        Draws of the density without noise.

    Raises
    ------
    ValueError
        If the predictor is none of these.

    Examples
    --------
    >>> from skscore.noise import karras_sigmas
    >>> generator = torch.Generator().manual_seed(0)
    >>> x = 101**0.5 * torch.randn(2000, 1, generator=generator)
    >>> sigmas, score_fn = karras_sigmas(10.0, 0.01, 100), lambda x, sigma: -x / (1 + sigma**2)
    >>> x = predictor_corrector(score_fn, x, sigmas, generator=generator)
    >>> abs(x.std().item() - 1) < 0.1
    True
    """
    if predictor not in _METHODS:
        raise ValueError(
            f"{predictor!r} is no step of the reverse diffusion; give one of {_METHODS}."
        )
    levels = sigmas.tolist()

    def states(x: Tensor) -> Iterator[Tensor]:
        yield x
        for sigma, sigma_next in zip(levels[:-1], levels[1:], strict=True):
            x = reverse_step(
                score_fn, x, sigma, sigma_next, generator, ancestral=predictor == "ancestral"
            )
            x = langevin(
                score_fn,
                x,
                sigma_next,
                n_steps=n_corrector_steps,
                step_size=step_size * sigma_next**2,
                generator=generator,
            )
            yield x
        yield denoised(score_fn, x, levels[-1])

    return end_or_all(states(x), return_trajectory)


def reverse_step(
    score_fn: ScoreFn,
    x: Tensor,
    sigma: float,
    sigma_next: float,
    generator: torch.Generator,
    *,
    ancestral: bool,
) -> Tensor:
    """Return x at σ_{i+1}, one step of the reverse diffusion from σ_i.

    Parameters
    ----------
    score_fn : callable (n, d), (n, 1) -> (n, d)
        The score function.
    x : Tensor of shape (n, d)
        Points at σ_i.
    sigma, sigma_next : float
        σ_i and σ_{i+1}.
    generator : torch.Generator
        Source of randomness.
    ancestral : bool
        Whether the noise is that of the ancestral step, or Euler-Maruyama's.
    """
    delta = sigma**2 - sigma_next**2
    spread = delta**0.5 * (sigma_next / sigma if ancestral else 1.0)
    s = score_fn(x, x.new_full((len(x), 1), sigma))
    return x + delta * s + spread * standard_normal(x, generator)
