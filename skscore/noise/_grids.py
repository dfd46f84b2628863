r"""Decreasing grids of noise levels, which solvers walk down.

    geometric        σ_i = σ_max (σ_min/σ_max)^{i/(N-1)}
    Karras           σ_i = (σ_max^{1/ρ} + i/(N-1) (σ_min^{1/ρ} - σ_max^{1/ρ}))^ρ

Sources: Song & Ermon, "Generative modeling by estimating gradients of the data distribution",
NeurIPS 2019 (geometric); Karras et al., "Elucidating the design space of diffusion-based
generative models", NeurIPS 2022 (eq. 5).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from skscore.noise._checks import check_positive, check_range

__all__ = ["geometric_sigmas", "karras_sigmas"]


def geometric_sigmas(sigma_max: float, sigma_min: float, n_levels: int) -> Tensor:
    """Return n_levels noise levels from σ_max down to σ_min in geometric progression.

    Parameters
    ----------
    sigma_max, sigma_min : float
        First and last level.
    n_levels : int
        Number of levels, at least 1; a single level is σ_min.

    Returns
    -------
    sigmas : Tensor of shape (n_levels,), float64, decreasing

    Examples
    --------
    >>> geometric_sigmas(1.0, 0.01, 3)
    tensor([1.0000, 0.1000, 0.0100], dtype=torch.float64)
    """
    return _grid(sigma_max, sigma_min, n_levels, torch.log, torch.exp)


def karras_sigmas(sigma_max: float, sigma_min: float, n_levels: int, rho: float = 7.0) -> Tensor:
    """Return n_levels noise levels from σ_max down to σ_min, equidistant in σ^(1/ρ).

    Parameters
    ----------
    sigma_max, sigma_min : float
        First and last level.
    n_levels : int
        Number of levels, at least 1; a single level is σ_min.
    rho : float, default=7.0
        The larger, the more levels are small (Karras et al. 2022, eq. 5).

    Returns
    -------
    sigmas : Tensor of shape (n_levels,), float64, decreasing

    Examples
    --------
    >>> karras_sigmas(10.0, 0.1, 3, rho=1.0)
    tensor([10.0000,  5.0500,  0.1000], dtype=torch.float64)
    """
    check_positive("rho", rho)
    return _grid(
        sigma_max, sigma_min, n_levels, lambda s: s ** (1 / rho), lambda g: g.clamp(min=0) ** rho
    )


def _grid(
    sigma_max: float,
    sigma_min: float,
    n_levels: int,
    warp: Callable[[Tensor], Tensor],
    unwarp: Callable[[Tensor], Tensor],
) -> Tensor:
    """Space levels evenly after ``warp``, with both ends exact."""
    check_range(sigma_min, sigma_max)
    if n_levels < 1:
        raise ValueError(f"n_levels={n_levels} is not a number of noise levels; give 1 or more.")
    ends = torch.tensor([sigma_max, sigma_min], dtype=torch.float64)
    if n_levels == 1:
        return ends[1:]
    first, last = warp(ends)
    t = torch.linspace(0, 1, n_levels, dtype=torch.float64)
    sigmas = unwarp(first + t * (last - first))
    sigmas[0], sigmas[-1] = ends
    return sigmas
