r"""Probability flow: from noise to data along a differential equation without noise.

The densities of all noise levels are joined by

    dx/dσ = -σ s(x, σ) = (x - D)/σ,      D = x + σ² s(x, σ) = E[x_0 | x_σ = x],

and in λ = ln σ by dx/dλ = x - D. From σ_i to σ_{i+1}, with d(x, σ) = (x - D)/σ, v = x - D and
h = ln(σ_i/σ_{i+1}):

    Heun                 x' = x + (σ_{i+1} - σ_i) d(x, σ_i)
                         x ← x + (σ_{i+1} - σ_i) [d(x, σ_i) + d(x', σ_{i+1})]/2
    RK4                  k_1 = v(x, λ),  k_2 = v(x - h/2 k_1, λ - h/2),
                         k_3 = v(x - h/2 k_2, λ - h/2),  k_4 = v(x - h k_3, λ - h)
                         x ← x - h (k_1 + 2 k_2 + 2 k_3 + k_4)/6
    RK45                 steps in λ as the error asks (Dormand & Prince; scipy)
    DPM-Solver++(2M)     h_i = ln(σ_{i-1}/σ_i),  r_i = h_{i-1}/h_i
                         x ← (σ_i/σ_{i-1}) x
                             + (1 - σ_i/σ_{i-1}) [(1 + 1/2r_i) D_{i-1} - 1/2r_i D_{i-2}]

The last step of each is Tweedie's mean D at the smallest σ, which takes out the noise that is left.

Sources: Song et al., "Score-based generative modeling through stochastic differential equations",
ICLR 2021 (probability flow); Karras et al., "Elucidating the design space of diffusion-based
generative models", NeurIPS 2022 (algorithm 1, with churn algorithm 2); Lu et al., "DPM-Solver++:
fast solver for guided sampling of diffusion probabilistic models", 2022 (algorithm 2), in the
coordinates x_t/α_t, where every Gaussian process is variance exploding.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from skscore._typing import ScoreFn
from skscore.samplers._walk import denoised, end_or_all, standard_normal

__all__ = ["dpm_solver", "edm_sampler", "flow_velocity", "probability_flow", "runge_kutta"]


def dpm_solver(
    score_fn: ScoreFn, x: Tensor, sigmas: Tensor, *, return_trajectory: bool = False
) -> Tensor:
    """DPM-Solver++(2M): second order, deterministic, one evaluation a step (Lu et al. 2022).

    Parameters
    ----------
    score_fn : callable (n, d), (n, 1) -> (n, d)
        The score function.
    x : Tensor of shape (n, d)
        Draws of the density blurred by the largest noise level.
    sigmas : Tensor of shape (n_levels,)
        Decreasing noise levels, each of which costs one evaluation.
    return_trajectory : bool, default=False
        Whether to return the start and the state after every step.

    Returns
    -------
    x : Tensor of shape (n, d), or (n_levels + 1, n, d) with ``return_trajectory``
        Draws of the density without noise.

    Examples
    --------
    >>> from skscore.noise import karras_sigmas
    >>> x = 10.05 * torch.ones(1, 1, dtype=torch.float64)
    >>> x = dpm_solver(lambda x, sigma: -x / (1 + sigma**2), x, karras_sigmas(10.0, 0.002, 100))
    >>> round(x.item(), 2)
    1.0
    """
    return end_or_all(_dpm_states(score_fn, x, sigmas.tolist()), return_trajectory)


def _dpm_states(score_fn: ScoreFn, x: Tensor, levels: Sequence[float]) -> Iterator[Tensor]:
    # 1 - σ_i/σ_{i-1} is 1 - e^{-h}; at the last step to σ = 0 only D is left.
    previous: Tensor | None = None
    h_previous = 0.0
    yield x
    for sigma, sigma_next in zip(levels[:-1], levels[1:], strict=True):
        D = denoised(score_fn, x, sigma)
        h = math.log(sigma / sigma_next)
        if previous is None:
            direction = D
        else:
            r = h_previous / h
            direction = (1 + 1 / (2 * r)) * D - 1 / (2 * r) * previous
        ratio = sigma_next / sigma
        x = ratio * x + (1 - ratio) * direction
        previous, h_previous = D, h
        yield x
    yield denoised(score_fn, x, levels[-1])


def probability_flow(
    score_fn: ScoreFn,
    x: Tensor,
    sigmas: Tensor,
    *,
    method: str = "heun",
    rtol: float = 1e-4,
    atol: float = 1e-4,
    denoise: bool = True,
    return_trajectory: bool = False,
) -> Tensor:
    """Solve the probability flow down the noise levels.

    Parameters
    ----------
    score_fn : callable (n, d), (n, 1) -> (n, d)
        The score function.
    x : Tensor of shape (n, d)
        Draws of the density blurred by the largest noise level.
    sigmas : Tensor of shape (n_levels,)
        Decreasing noise levels.
    method : {"heun", "rk4", "rk45"}, default="heun"
        "heun" is of second order, with two evaluations a step; "rk4" of fourth order, with four.
        "rk45" chooses its steps by ``rtol`` and ``atol``, alike for all rows, and only ends on the
        levels.
    rtol, atol : float, default=1e-4
        Relative and absolute tolerance of "rk45".
    denoise : bool, default=True
        Whether the last step is Tweedie's mean at the smallest level, for one evaluation more.
    return_trajectory : bool, default=False
        Whether to return the start and the state at every level, and after the last step.

    Returns
    -------
    x : Tensor of shape (n, d), or (n_states, n, d) with ``return_trajectory``

    Raises
    ------
    ValueError
        If the method is none of these.
    FloatingPointError
        If "rk45" finds no step that is small enough, or meets a score that is not finite.

    Examples
    --------
    >>> from skscore.noise import karras_sigmas
    >>> x = 10.05 * torch.ones(1, 1, dtype=torch.float64)
    >>> score_fn = lambda x, sigma: -x / (1 + sigma**2)
    >>> round(probability_flow(score_fn, x, karras_sigmas(10.0, 0.002, 40)).item(), 2)
    1.0
    """
    if method == "heun":
        states = _heun_states(score_fn, x, sigmas.tolist())
    elif method == "rk4":
        states = runge_kutta(flow_velocity(score_fn), x, sigmas.log())
    elif method == "rk45":
        states = _rk45_states(score_fn, x, sigmas.log(), rtol, atol)
    else:
        raise ValueError(f"method={method!r} is none of 'heun', 'rk4' and 'rk45'.")

    def with_last() -> Iterator[Tensor]:
        for state in states:
            yield state
        if denoise:
            yield denoised(score_fn, state, sigmas[-1].item())

    return end_or_all(with_last(), return_trajectory)


def edm_sampler(
    score_fn: ScoreFn,
    x: Tensor,
    sigmas: Tensor,
    *,
    generator: torch.Generator,
    churn: float = 0.0,
    churn_min: float = 0.0,
    churn_max: float = math.inf,
    churn_noise: float = 1.0,
    return_trajectory: bool = False,
) -> Tensor:
    """Heun's method with fresh noise before each step (Karras et al. 2022, algorithm 2).

    Before a step the noise level is raised from σ to σ(1 + γ), γ = min(churn/n_levels, √2 - 1), by
    noise added to x. Noise corrects errors of the steps before, and adds error of its own. Levels
    are never raised above the first one, nor before the last step.

    Parameters
    ----------
    score_fn : callable (n, d), (n, 1) -> (n, d)
        The score function.
    x : Tensor of shape (n, d)
        Draws of the density blurred by the largest noise level.
    sigmas : Tensor of shape (n_levels,)
        Decreasing noise levels; all but the last cost two evaluations.
    generator : torch.Generator
        Source of randomness.
    churn : float, default=0.0
        S_churn. 0 is Heun's method.
    churn_min, churn_max : float, default=0.0, inf
        S_tmin, S_tmax: noise is added at the levels between.
    churn_noise : float, default=1.0
        S_noise: factor of the noise that is added.
    return_trajectory : bool, default=False
        Whether to return the start and the state after every step.

    Returns
    -------
    x : Tensor of shape (n, d), or (n_levels + 1, n, d) with ``return_trajectory``

    Examples
    --------
    >>> from skscore.noise import karras_sigmas
    >>> generator = torch.Generator().manual_seed(0)
    >>> x = 101**0.5 * torch.randn(2000, 1, generator=generator)
    >>> sigmas, score_fn = karras_sigmas(10.0, 0.01, 50), lambda x, sigma: -x / (1 + sigma**2)
    >>> x = edm_sampler(score_fn, x, sigmas, generator=generator, churn=10.0)
    >>> abs(x.std().item() - 1) < 0.1
    True
    """
    levels = sigmas.tolist()
    gamma = min(churn / len(levels), math.sqrt(2) - 1)

    def raise_level(x: Tensor, sigma: float) -> tuple[Tensor, float]:
        raised = min(sigma * (1 + gamma), levels[0])
        if not (churn_min <= sigma <= churn_max and raised > sigma):
            return x, sigma
        z = churn_noise * standard_normal(x, generator)
        return x + math.sqrt(raised**2 - sigma**2) * z, raised

    def with_last() -> Iterator[Tensor]:
        for state in _heun_states(score_fn, x, levels, raise_level):
            yield state
        yield denoised(score_fn, state, levels[-1])

    return end_or_all(with_last(), return_trajectory)


def _heun_states(
    score_fn: ScoreFn,
    x: Tensor,
    levels: Sequence[float],
    raise_level: Callable[[Tensor, float], tuple[Tensor, float]] | None = None,
) -> Iterator[Tensor]:
    yield x
    for sigma, sigma_next in zip(levels[:-1], levels[1:], strict=True):
        if raise_level is not None:
            x, sigma = raise_level(x, sigma)
        step = sigma_next - sigma
        slope = (x - denoised(score_fn, x, sigma)) / sigma
        ahead = x + step * slope
        slope_ahead = (ahead - denoised(score_fn, ahead, sigma_next)) / sigma_next
        x = x + step * (slope + slope_ahead) / 2
        yield x


def flow_velocity(score_fn: ScoreFn) -> Callable[[Tensor, float], Tensor]:
    """Return dx/d ln σ = -σ² s(x, σ) as a function of x (n, d) and ln σ."""

    def velocity(x: Tensor, log_sigma: float) -> Tensor:
        sigma = math.exp(log_sigma)
        return -(sigma**2) * score_fn(x, x.new_full((len(x), 1), sigma))

    return velocity


def runge_kutta(
    velocity: Callable[[Tensor, float], Tensor], y: Tensor, times: Tensor
) -> Iterator[Tensor]:
    """Yield the start y and the states at the later times, by the classical method of order four.

    Parameters
    ----------
    velocity : callable
        dy/dt as a function of y, a Tensor of any shape, and t.
    y : Tensor
        The state at the first time.
    times : Tensor of shape (n_times,)
        Increasing or decreasing.
    """
    yield y
    for t, t_next in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        h = t_next - t
        k_1 = velocity(y, t)
        k_2 = velocity(y + h / 2 * k_1, t + h / 2)
        k_3 = velocity(y + h / 2 * k_2, t + h / 2)
        k_4 = velocity(y + h * k_3, t_next)
        y = y + h / 6 * (k_1 + 2 * k_2 + 2 * k_3 + k_4)
        yield y


def _rk45_states(
    score_fn: ScoreFn, x: Tensor, times: Tensor, rtol: float, atol: float
) -> Iterator[Tensor]:
    velocity = flow_velocity(score_fn)

    def stopped(reason: str) -> FloatingPointError:
        return FloatingPointError(
            f"The adaptive solver of the probability flow stopped: {reason} Use a larger rtol and "
            "atol, or a solver with a fixed grid."
        )

    def flat(t: float, y: np.ndarray) -> np.ndarray:
        moved = velocity(torch.from_numpy(y).reshape(x.shape).to(x), t)
        if not moved.isfinite().all():  # the search for a step would never end
            raise stopped(f"the score is not finite at the noise level {math.exp(t):.4g}.")
        return moved.reshape(-1).double().cpu().numpy()

    ends, start = times.double().tolist(), x.reshape(-1).double().cpu().numpy()
    if len(ends) == 1:
        yield x
        return
    found = solve_ivp(
        flat, (ends[0], ends[-1]), start, method="RK45", t_eval=ends, rtol=rtol, atol=atol
    )
    if not found.success:
        raise stopped(found.message)
    for state in found.y.T:
        yield torch.from_numpy(state).reshape(x.shape).to(x)
