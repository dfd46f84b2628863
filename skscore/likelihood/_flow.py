r"""Log-densities by the probability flow, and the map to its latent Gaussian.

Along dx/dλ = -σ² s(x, σ), λ = ln σ, the log-density of p_σ changes by minus the divergence of the
velocity, so that from σ_min up to σ_max

    log p_σmin(x) = log p_σmax(x(λ_max)) - ∫ σ² tr ∇s(x(λ), σ) dλ,

and p_σmax is all but N(μ, Σ + σ_max² I), μ and Σ the moments of the data. Both the path and the
integral are taken by the Runge-Kutta method of order four on levels equidistant in ln σ, the same
for every row. With L Lᵀ = Σ + σ_max² I the latent row is

    z = L⁻¹ (x(λ_max) - μ) ~ N(0, I),

and the flow the other way takes it back.

The density is that of the data blurred by σ_min. Where random probes stand for the trace, the same
ones serve at all levels, so that each gives an unbiased log-density of its own and their spread
says how far off the mean is.

Sources: Song et al., "Score-based generative modeling through stochastic differential equations",
ICLR 2021 (section 4.3, appendix D.2); Chen et al., "Neural ordinary differential equations",
NeurIPS 2018 (the change of the log-density).
"""

import math

import torch
from torch import Tensor

from skscore._typing import ScoreFn
from skscore.divergence import exact_divergence, probed_divergence
from skscore.gaussians import GaussianScore
from skscore.noise import check_range, geometric_sigmas
from skscore.samplers import flow_velocity, runge_kutta

__all__ = ["flow_decode", "flow_encode", "flow_log_density", "flow_sigmas"]

_STEP = 0.15  # of ln σ; see Log-densities in docs/diffusion.rst


def flow_sigmas(sigma_max: float, sigma_min: float) -> Tensor:
    """Return the levels of the flow, decreasing, at most 0.15 apart in ln σ.

    Parameters
    ----------
    sigma_max, sigma_min : float
        The ends.

    Returns
    -------
    sigmas : Tensor of shape (n_levels,), float64, decreasing

    Raises
    ------
    ValueError
        If they are no range of noise levels.

    Examples
    --------
    >>> len(flow_sigmas(10.0, 0.005))
    52
    """
    check_range(sigma_min, sigma_max)
    n_steps = math.ceil(math.log(sigma_max / sigma_min) / _STEP)
    return geometric_sigmas(sigma_max, sigma_min, n_steps + 1)


def flow_log_density(
    score_fn: ScoreFn,
    x: Tensor,
    sigmas: Tensor,
    prior: GaussianScore,
    probes: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Evaluate log p of the density blurred by the smallest noise level.

    Parameters
    ----------
    score_fn : callable (n, d), (n, 1) -> (n, d)
        The score of the blurred densities.
    x : Tensor of shape (n, d)
        Points, float64.
    sigmas : Tensor of shape (n_levels,)
        Decreasing noise levels; each step between two of them costs four evaluations of the score
        with its divergence. Best equidistant in ln σ, as those of :func:`flow_sigmas`.
    prior : GaussianScore
        The Gaussian with the moments of the data without noise.
    probes : Tensor of shape (n_probes, d) or None, default=None
        Directions v with E[v vᵀ] = I for Hutchinson's estimate of the divergence. None takes it
        exactly.

    Returns
    -------
    log_density : Tensor of shape (n,)
        In nats.
    std : Tensor of shape (n,)
        Standard error by the probes; 0 without, NaN with a single one.

    Raises
    ------
    ValueError
        If the levels are not decreasing, or ``probes`` has none.

    Examples
    --------
    >>> prior = GaussianScore(torch.zeros(1), torch.eye(1))
    >>> x = torch.ones(1, 1, dtype=torch.float64)
    >>> log_density, _ = flow_log_density(prior, x, flow_sigmas(10.0, 0.005), prior)
    >>> round(log_density.item(), 3)  # -1/2 - ln(2π)/2
    -1.419
    """
    d = x.shape[1]
    if not bool((sigmas[:-1] > sigmas[1:]).all()):
        raise ValueError("sigmas must be decreasing, from the noisiest level to the smallest.")
    if probes is not None and len(probes) == 0:
        raise ValueError("0 probes give no divergence; give 1 or more, or None for the exact one.")

    def velocity(state: Tensor, log_sigma: float) -> Tensor:
        sigma, x = math.exp(log_sigma), state[:, :d]
        level = x.new_full((len(x), 1), sigma)
        if probes is None:
            s, divergence = exact_divergence(score_fn, x, level)
            traces = divergence[:, None]
        else:
            s, each = probed_divergence(score_fn, x, level, probes[:, None].expand(-1, *x.shape))
            traces = each.mT
        return -(sigma**2) * torch.cat([s, traces], dim=1)

    n_traces = 1 if probes is None else len(probes)
    state = torch.cat([x, x.new_zeros(len(x), n_traces)], dim=1)
    for state in runge_kutta(velocity, state, sigmas.log().flip(0)):  # noqa: B007, B020
        pass
    highest = x.new_full((len(x), 1), sigmas[0].item())
    # The integrated velocity is -∫ σ² tr ∇s dλ already.
    each = prior.log_density(state[:, :d], highest)[:, None] + state[:, d:]
    if probes is None:
        return each[:, 0], torch.zeros_like(each[:, 0])
    std = each.std(1) / n_traces**0.5 if n_traces > 1 else each[:, 0] * torch.nan
    return each.mean(1), std


def flow_encode(score_fn: ScoreFn, x: Tensor, sigmas: Tensor, prior: GaussianScore) -> Tensor:
    """Map points of the data to their latent Gaussian ones.

    Parameters
    ----------
    score_fn : callable (n, d), (n, 1) -> (n, d)
        The score of the blurred densities.
    x : Tensor of shape (n, d)
        Points, float64.
    sigmas : Tensor of shape (n_levels,)
        Decreasing noise levels, such as :func:`flow_sigmas`.
    prior : GaussianScore
        The Gaussian with the moments of the data without noise.

    Returns
    -------
    z : Tensor of shape (n, d)
        N(0, I) if the points are draws of the density.
    """
    for x in runge_kutta(flow_velocity(score_fn), x, sigmas.log().flip(0)):  # noqa: B007, B020
        pass
    root = _root(prior, sigmas[0].item()).to(x)
    return torch.linalg.solve_triangular(root, (x - prior.means[0]).mT, upper=False).mT


def flow_decode(score_fn: ScoreFn, z: Tensor, sigmas: Tensor, prior: GaussianScore) -> Tensor:
    """Map latent Gaussian points to the data: undo :func:`flow_encode`.

    Parameters
    ----------
    score_fn : callable (n, d), (n, 1) -> (n, d)
        The score of the blurred densities.
    z : Tensor of shape (n, d)
        Latent points, float64.
    sigmas : Tensor of shape (n_levels,)
        Decreasing noise levels, such as :func:`flow_sigmas`.
    prior : GaussianScore
        The Gaussian with the moments of the data without noise.

    Returns
    -------
    x : Tensor of shape (n, d)
    """
    x = z @ _root(prior, sigmas[0].item()).to(z).mT + prior.means[0]
    for x in runge_kutta(flow_velocity(score_fn), x, sigmas.log()):  # noqa: B007, B020
        pass
    return x


def _root(prior: GaussianScore, sigma: float) -> Tensor:
    """Return the lower triangular L of L Lᵀ = Σ + σ² I."""
    eye = torch.eye(len(prior.covariance)).to(prior.covariance)
    return torch.linalg.cholesky(prior.covariance + sigma**2 * eye)
