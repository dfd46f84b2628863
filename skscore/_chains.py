r"""Many chains at once: a warm-up that finds the step size, and whether the chains agree.

During the warm-up the step α of MALA follows its acceptance rate a, t = 1, 2, ... counting blocks
of steps,

    ln α ← ln α + 3/√t (a - 0.574),

and is then frozen (Robbins-Monro; 0.574 is optimal in high dimension). Whether the chains have
forgotten where they started is told by a split R̂ made for many short chains: with a_c and b_c the
means of chain c over the first and the last quarter of its states, in each coordinate

    V = variance of the states in both quarters
    B = Cov_c(a_c, b_c) + (mean_c a_c - mean_c b_c)²/4
    R̂ = √(V / (V - B)),

of which the largest is reported. B is the variance between chains that lasts from one quarter to
the other, plus that of a common drift. The usual B, Var_c(a_c), also holds the error of a mean over
few dependent states, so that it takes short chains that agree for ones that do not.

To sample an energy, draws y of a proposal q are resampled in proportion to exp(-E(y))/q(y), and
chains start there: the former gives far modes their weights, which chains do not change, the latter
the right law within each. The chains run in coordinates u, x = L u with L Lᵀ the covariance of q,
so that one step size serves all directions.

Sources: Roberts & Rosenthal, "Optimal scaling of discrete approximations to Langevin diffusions",
JRSS B 1998 (0.574); Andrieu & Thoms, "A tutorial on adaptive MCMC", Stat. Comput. 2008; Gelman &
Rubin, Stat. Sci. 1992, and Vehtari et al., Bayesian Anal. 2021 (split R̂); Margossian et al.,
"Nested R̂", Bayesian Anal. 2024 (many short chains); Rubin, "Using the SIR algorithm to simulate
posterior distributions", 1988 (resampling).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from skscore._typing import EnergyFn, ScoreFn
from skscore.gaussians import GaussianMixtureScore
from skscore.samplers import langevin, mala

__all__ = [
    "DISAGREEMENT",
    "SamplingReport",
    "check_energy",
    "draw_from_energy",
    "run_chains",
    "split_rhat",
]

DISAGREEMENT = 1.1  # chains of a larger R̂ have not forgotten where they started
_DRAWS_PER_CHAIN = 20
_TARGET_ACCEPTANCE = 0.574
_BLOCK = 10
_MIN_STATES = 20


@dataclass(frozen=True)
class SamplingReport:
    """How a run of chains went.

    Attributes
    ----------
    acceptance : float or None
        Mean acceptance probability after the warm-up; None without Metropolis steps.
    step_size : float
        α after the warm-up.
    split_rhat : float
        Largest R̂ of all coordinates; above 1.1 the chains do not agree.
    n_chains, n_warmup : int
        Number of chains, and of the steps of each that were dropped.
    """

    acceptance: float | None
    step_size: float
    split_rhat: float
    n_chains: int
    n_warmup: int


def run_chains(
    score_fn: ScoreFn,
    energy_fn: EnergyFn | None,
    start: Tensor,
    sigma: float,
    *,
    n_samples: int,
    n_warmup: int = 500,
    n_steps_between: int = 25,
    step_size: float,
    generator: torch.Generator,
) -> tuple[Tensor, SamplingReport]:
    """Draw with many chains, Metropolis-adjusted where there is an energy.

    After the warm-up each chain goes on for as many states as are asked for, and for 20 at least,
    by which the chains are compared.

    Parameters
    ----------
    score_fn : callable (n, d), (n, 1) -> (n, d)
        The score function.
    energy_fn : callable (n, d), (n, 1) -> (n,), or None
        The energy, whose negative gradient is the score. None runs unadjusted Langevin dynamics.
    start : Tensor of shape (n_chains, d)
        Starting points, spread at least as widely as the density: chains that start in one mode
        agree on it.
    sigma : float
        The noise level at which energy and score are read.
    n_samples : int
        Number of draws. Up to n_chains they are the last states of different chains; beyond, each
        chain gives several.
    n_warmup : int, default=500
        Steps before the first state that is kept.
    n_steps_between : int, default=25
        Steps from one state that is kept to the next.
    step_size : float
        α. With an energy only the first guess; else it stays.
    generator : torch.Generator
        Source of randomness.

    Returns
    -------
    draws : Tensor of shape (n_samples, d)
    report : SamplingReport

    Raises
    ------
    ValueError
        If there are fewer than 2 chains.

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> draws, report = run_chains(
    ...     lambda x, sigma: -x,
    ...     lambda x, sigma: x.square().sum(1) / 2,
    ...     torch.randn(100, 2, generator=generator),
    ...     0.0,
    ...     n_samples=300,
    ...     step_size=1.0,
    ...     generator=generator,
    ... )
    >>> draws.shape, report.split_rhat < 1.05
    (torch.Size([300, 2]), True)
    """
    n_chains = len(start)
    if n_chains < 2:
        raise ValueError(f"{n_chains} chain(s) cannot be compared; give 2 starting points or more.")

    def advance(x: Tensor, n_steps: int, step_size: float) -> tuple[Tensor, float]:
        if energy_fn is None:
            moved = langevin(
                score_fn, x, sigma, n_steps=n_steps, step_size=step_size, generator=generator
            )
            return moved, _TARGET_ACCEPTANCE  # nothing is refused, and the step stays as it is
        moved, acceptance = mala(
            energy_fn, score_fn, x, sigma, n_steps=n_steps, step_size=step_size, generator=generator
        )
        return moved, acceptance.mean().item()

    x = start
    for t, done in enumerate(range(0, n_warmup, _BLOCK), start=1):
        x, acceptance = advance(x, min(_BLOCK, n_warmup - done), step_size)
        step_size *= math.exp(3 / math.sqrt(t) * (acceptance - _TARGET_ACCEPTANCE))

    n_kept = math.ceil(n_samples / n_chains)
    states, acceptances = [], []
    for _ in range(max(n_kept, _MIN_STATES)):
        x, acceptance = advance(x, n_steps_between, step_size)
        states.append(x)
        acceptances.append(acceptance)
    report = SamplingReport(
        acceptance=None if energy_fn is None else sum(acceptances) / len(acceptances),
        step_size=step_size,
        split_rhat=split_rhat(torch.stack(states)),
        n_chains=n_chains,
        n_warmup=n_warmup,
    )
    return torch.cat(states[-n_kept:])[:n_samples], report


def draw_from_energy(
    energy_fn: EnergyFn,
    score_fn: ScoreFn,
    proposal: GaussianMixtureScore,
    sigma: float,
    *,
    n_samples: int,
    n_chains: int,
    n_warmup: int,
    n_steps_between: int,
    step_size: float = 1.0,
    generator: torch.Generator,
) -> tuple[Tensor, SamplingReport]:
    """Draw from p ∝ exp(-E) by MALA, started at resampled draws of a proposal.

    Parameters
    ----------
    energy_fn : callable (n, d), (n, 1) -> (n,)
        E.
    score_fn : callable (n, d), (n, 1) -> (n, d)
        -∇E.
    proposal : GaussianMixtureScore
        q, which should cover p; 20 draws of it are made for each chain.
    sigma : float
        The noise level at which energy and score are read.
    n_samples, n_chains, n_warmup, n_steps_between : int
        As in :func:`run_chains`.
    step_size : float, default=1.0
        First guess of α, in the units of u.
    generator : torch.Generator
        Source of randomness.

    Returns
    -------
    draws : Tensor of shape (n_samples, d)
    report : SamplingReport

    Raises
    ------
    ValueError
        If the energy is NaN, or infinite everywhere, at draws of the proposal.
    """
    L = torch.linalg.cholesky(proposal.covariance)
    y = proposal.sample(_DRAWS_PER_CHAIN * n_chains, 0.0, generator)
    y = y[torch.randperm(len(y), generator=generator, device=generator.device)]
    log_p = check_energy(-energy_fn(y, y.new_full((len(y), 1), sigma)))
    start = _resample(
        y, log_p - proposal.log_density(y, y.new_zeros(len(y), 1)), n_chains, generator
    )
    u = torch.linalg.solve_triangular(L, start.mT, upper=False).mT
    drawn, report = run_chains(
        lambda u, sigma: score_fn(u @ L.mT, sigma) @ L,
        lambda u, sigma: energy_fn(u @ L.mT, sigma),
        u,
        sigma,
        n_samples=n_samples,
        n_warmup=n_warmup,
        n_steps_between=n_steps_between,
        step_size=step_size,
        generator=generator,
    )
    return drawn @ L.mT, report


def check_energy(log_p: Tensor) -> Tensor:
    """Return log p at draws of a proposal; raise if an energy is NaN there."""
    if log_p.isnan().any():
        raise ValueError(
            f"The energy is NaN at {int(log_p.isnan().sum())} of {len(log_p)} draws of a mixture "
            "fitted to the data; it has no normaliser."
        )
    return log_p


def _resample(y: Tensor, log_weights: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Draw n rows in proportion to their weights, systematically: copies stand side by side."""
    total = log_weights.logsumexp(0)
    if not total.isfinite():
        raise ValueError(
            "The energy is infinite at every draw of a mixture fitted to the data, or minus "
            "infinite at one; give rows where the model has its mass."
        )
    cumulative = (log_weights - total).exp().cumsum(0)
    u = torch.rand((), generator=generator, device=generator.device, dtype=y.dtype)
    places = (torch.arange(n, device=y.device) + u) / n * cumulative[-1]
    return y[torch.searchsorted(cumulative, places).clamp_(max=len(y) - 1)]


def split_rhat(states: Tensor) -> float:
    """Return the largest split R̂ of all coordinates, for many chains that may be short.

    Parameters
    ----------
    states : Tensor of shape (n_states, n_chains, d)
        States of each chain in the order of time, at least 4.

    Returns
    -------
    rhat : float
        1 if the chains agree, infinite if they do not move or are not finite.

    Examples
    --------
    >>> x = torch.randn(20, 100, 3, generator=torch.Generator().manual_seed(0))
    >>> split_rhat(x) < 1.05, split_rhat(x + 10 * torch.arange(100)[:, None]) > 1.1
    (True, True)
    """
    quarter = len(states) // 4
    early, late = states[:quarter].double(), states[-quarter:].double()
    a, b = early.mean(0), late.mean(0)
    drift = a.mean(0) - b.mean(0)
    covariance = ((a - a.mean(0)) * (b - b.mean(0))).mean(0)
    total = torch.cat([early, late]).var((0, 1), correction=0)
    within = total - covariance.clamp(min=0) - drift.square() / 4
    moving = within > 1e-12 * total  # else what is left of them is rounding error
    return torch.where(moving, total / within, math.inf).sqrt().max().item()
