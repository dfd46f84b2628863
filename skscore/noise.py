r"""Noise levels: which σ to train on, and which grid of σ to solve on.

A point is blurred as x_σ = x_0 + σ ε, ε ~ N(0, I). Training needs a law for σ; each law here is
given by its quantile function,

    fixed            q(u) = σ
    geometric        q(u) = σ_i,  i = ⌊u L⌋,  σ_i = σ_max (σ_min/σ_max)^{i/(L-1)}   (NCSN)
    log-uniform      ln q(u) = ln σ_min + u (ln σ_max - ln σ_min)
    log-normal       ln q(u) = P_mean + P_std Φ⁻¹(a + u (b - a))                    (EDM)

where a, b cut the normal law at σ_min and σ_max. With a quantile function, independent,
stratified and frozen draws of σ differ only in the u that go in. A solver needs a decreasing grid:

    geometric        σ_i as above
    Karras           σ_i = (σ_max^{1/ρ} + i/(N-1) (σ_min^{1/ρ} - σ_max^{1/ρ}))^ρ

References: Song & Ermon, "Generative modeling by estimating gradients of the data distribution",
NeurIPS 2019 (geometric levels); Karras et al., "Elucidating the design space of diffusion-based
generative models", NeurIPS 2022 (log-normal law, eq. 5 grid).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = [
    "FixedSigma",
    "GeometricSigmas",
    "LogNormalSigma",
    "LogUniformSigma",
    "SigmaLaw",
    "geometric_sigmas",
    "karras_sigmas",
    "stratified_uniform",
]


class SigmaLaw(Protocol):
    """A law of σ for training, given by its quantile function."""

    def quantile(self, u: Tensor) -> Tensor:
        """Map u in [0, 1), any shape, to noise levels of the same shape."""
        ...


def _check_range(sigma_min: float, sigma_max: float) -> None:
    if not 0 < sigma_min < sigma_max < math.inf:
        raise ValueError(
            f"sigma_min={sigma_min} and sigma_max={sigma_max} do not bound a range of noise "
            "levels; choose 0 < sigma_min < sigma_max."
        )


def _check_positive(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"{name}={value} is not a positive finite number.")


@dataclass(frozen=True)
class FixedSigma:
    """One noise level for every row.

    Parameters
    ----------
    sigma : float
        The standard deviation of the noise.

    Examples
    --------
    >>> FixedSigma(0.5).quantile(torch.tensor([0.1, 0.9]))
    tensor([0.5000, 0.5000])
    """

    sigma: float

    def __post_init__(self) -> None:
        _check_positive("sigma", self.sigma)

    def quantile(self, u: Tensor) -> Tensor:
        """Return σ, whatever u is."""
        return torch.full_like(u, self.sigma)


@dataclass(frozen=True)
class GeometricSigmas:
    """L noise levels in geometric progression, each as likely as the others (NCSN).

    Parameters
    ----------
    sigma_min, sigma_max : float
        The smallest and the largest level.
    n_levels : int
        L, the number of levels.

    Examples
    --------
    >>> GeometricSigmas(0.01, 1.0, 3).quantile(torch.tensor([0.1, 0.5, 0.9]))
    tensor([1.0000, 0.1000, 0.0100])
    """

    sigma_min: float
    sigma_max: float
    n_levels: int

    def __post_init__(self) -> None:
        _check_range(self.sigma_min, self.sigma_max)
        if self.n_levels < 2:
            raise ValueError(
                f"n_levels={self.n_levels} levels do not span a range; give 2 or more."
            )

    def quantile(self, u: Tensor) -> Tensor:
        """Return the level of the stratum that u falls into."""
        levels = geometric_sigmas(self.sigma_max, self.sigma_min, self.n_levels).to(u)
        return levels[(u * self.n_levels).long().clamp(0, self.n_levels - 1)]


@dataclass(frozen=True)
class LogUniformSigma:
    """ln σ uniform between ln σ_min and ln σ_max.

    Parameters
    ----------
    sigma_min, sigma_max : float
        The ends of the range.

    Examples
    --------
    >>> LogUniformSigma(0.01, 1.0).quantile(torch.tensor([0.0, 0.5, 1.0]))
    tensor([0.0100, 0.1000, 1.0000])
    """

    sigma_min: float
    sigma_max: float

    def __post_init__(self) -> None:
        _check_range(self.sigma_min, self.sigma_max)

    def quantile(self, u: Tensor) -> Tensor:
        """Return σ_min (σ_max/σ_min)^u."""
        return self.sigma_min * (self.sigma_max / self.sigma_min) ** u


@dataclass(frozen=True)
class LogNormalSigma:
    """ln σ normal, cut to [ln σ_min, ln σ_max] (Karras et al. 2022, table 1).

    Parameters
    ----------
    sigma_min, sigma_max : float
        The ends of the range.
    mean, std : float, default=-1.2, 1.2
        P_mean and P_std: mean and standard deviation of ln σ before the cut.

    Examples
    --------
    >>> LogNormalSigma(0.002, 10.0).quantile(torch.tensor([0.5])).log()
    tensor([-1.2026])
    """

    sigma_min: float
    sigma_max: float
    mean: float = -1.2
    std: float = 1.2

    def __post_init__(self) -> None:
        _check_range(self.sigma_min, self.sigma_max)
        _check_positive("std", self.std)

    def quantile(self, u: Tensor) -> Tensor:
        """Return exp(P_mean + P_std Φ⁻¹(a + u (b - a)))."""
        ends = torch.tensor([self.sigma_min, self.sigma_max], dtype=torch.float64)
        a, b = torch.special.ndtr((ends.log() - self.mean) / self.std)
        z = torch.special.ndtri(a + u.double() * (b - a))
        # Φ⁻¹ of an end of the range carries the rounding of a and b.
        sigma = (self.mean + self.std * z).exp().clamp(self.sigma_min, self.sigma_max)
        return sigma.to(u.dtype)


def stratified_uniform(n: int, generator: torch.Generator) -> Tensor:
    """Draw n numbers of U(0, 1), one in each of n equal strata, in random order.

    Their mean has a smaller variance than that of independent draws, which takes noise out of
    a loss that varies with σ.

    Parameters
    ----------
    n : int
        How many numbers.
    generator : torch.Generator
        Source of randomness; its device is the device of the result.

    Returns
    -------
    u : Tensor of shape (n,)

    Examples
    --------
    >>> u = stratified_uniform(4, torch.Generator().manual_seed(0))
    >>> (u * 4).long().sort().values
    tensor([0, 1, 2, 3])
    """
    device = generator.device
    strata = torch.randperm(n, generator=generator, device=device)
    u = (strata + torch.rand(n, generator=generator, device=device)) / n
    # The sum can round up to 1 in float32, which is outside of the half-open strata.
    return u.clamp(max=1 - 2**-24)


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
    _check_positive("rho", rho)
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
    _check_range(sigma_min, sigma_max)
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
