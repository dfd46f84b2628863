r"""Laws of the noise level σ for training.

A point is blurred as x_σ = x_0 + σ ε, ε ~ N(0, I). Each law of σ is given by its quantile function
and the slope of that,

    fixed            q(u) = σ                                                       q' = 0
    discrete         q(u) = σ_i,  i = ⌊u L⌋                                         q' = L Δσ_i
    log-uniform      ln q(u) = ln σ_min + u (ln σ_max - ln σ_min)                   (VE)
    log-normal       ln q(u) = P_mean + P_std Φ⁻¹(a + u (b - a))                    (EDM)

where a, b cut the normal law at σ_min and σ_max, and Δσ_i reaches half-way to both neighbours. With
a quantile function, independent, stratified and frozen draws of σ differ only in the u that go in;
with its slope, a mean over u becomes an integral over σ: E_u[q'(u) f(q(u))] = ∫ f(σ) dσ.

Sources: Song & Ermon, "Generative modeling by estimating gradients of the data distribution",
NeurIPS 2019 (discrete levels); Karras et al., "Elucidating the design space of diffusion-based
generative models", NeurIPS 2022 (log-normal law).
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from skscore.noise._checks import check_positive, check_range

__all__ = [
    "DiscreteSigmas",
    "FixedSigma",
    "LogNormalSigma",
    "LogUniformSigma",
    "SigmaLaw",
    "stratified_uniform",
]


class SigmaLaw(Protocol):
    """A law of σ for training, given by its quantile function."""

    def quantile(self, u: Tensor) -> Tensor:
        """Map u in [0, 1), any shape, to noise levels q(u) of the same shape."""
        ...

    def slope(self, u: Tensor) -> Tensor:
        """Map u in [0, 1), any shape, to dq/du, one over the density of σ."""
        ...


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
        check_positive("sigma", self.sigma)

    def quantile(self, u: Tensor) -> Tensor:
        """Return σ, whatever u is."""
        return torch.full_like(u, self.sigma)

    def slope(self, u: Tensor) -> Tensor:
        """Return 0: one level is no range."""
        return torch.zeros_like(u)


@dataclass(frozen=True)
class DiscreteSigmas:
    """L noise levels, each as likely as the others (NCSN, DDPM).

    Parameters
    ----------
    levels : tuple of float
        At least two positive levels, strictly decreasing, such as those of
        :func:`geometric_sigmas`.

    Examples
    --------
    >>> DiscreteSigmas((1.0, 0.1, 0.01)).quantile(torch.tensor([0.1, 0.5, 0.9]))
    tensor([1.0000, 0.1000, 0.0100])
    """

    levels: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.levels) < 2:
            raise ValueError(f"levels={self.levels} do not span a range; give 2 or more.")
        check_range(self.levels[-1], self.levels[0])
        if not all(a > b for a, b in zip(self.levels[:-1], self.levels[1:], strict=True)):
            raise ValueError(f"levels={self.levels} are not strictly decreasing.")

    def quantile(self, u: Tensor) -> Tensor:
        """Return the level of the stratum that u falls into."""
        return torch.tensor(self.levels, dtype=torch.float64).to(u)[self._strata(u)]

    def slope(self, u: Tensor) -> Tensor:
        """Return L times the width of the level, half-way to its neighbours."""
        sigma = torch.tensor(self.levels, dtype=torch.float64)
        gaps = torch.nn.functional.pad((sigma[:-1] - sigma[1:]) / 2, (1, 1))
        widths = len(sigma) * (gaps[:-1] + gaps[1:])
        return widths.to(u)[self._strata(u)]

    def _strata(self, u: Tensor) -> Tensor:
        n_levels = len(self.levels)
        return (u * n_levels).long().clamp(0, n_levels - 1)


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
        check_range(self.sigma_min, self.sigma_max)

    def quantile(self, u: Tensor) -> Tensor:
        """Return σ_min (σ_max/σ_min)^u."""
        return self.sigma_min * (self.sigma_max / self.sigma_min) ** u

    def slope(self, u: Tensor) -> Tensor:
        """Return q ln(σ_max/σ_min)."""
        return self.quantile(u) * math.log(self.sigma_max / self.sigma_min)


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
        check_range(self.sigma_min, self.sigma_max)
        check_positive("std", self.std)

    def quantile(self, u: Tensor) -> Tensor:
        """Return exp(P_mean + P_std Φ⁻¹(a + u (b - a)))."""
        _, z = self._normal(u)
        # Φ⁻¹ of an end of the range carries the rounding of a and b.
        sigma = (self.mean + self.std * z).exp().clamp(self.sigma_min, self.sigma_max)
        return sigma.to(u.dtype)

    def slope(self, u: Tensor) -> Tensor:
        """Return q P_std (b - a)/φ(Φ⁻¹(a + u (b - a)))."""
        mass, z = self._normal(u)
        density = (-z.square() / 2).exp() / math.sqrt(2 * math.pi)
        return (self.quantile(u.double()) * self.std * mass / density).to(u.dtype)

    def _normal(self, u: Tensor) -> tuple[float, Tensor]:
        """Return b - a, and Φ⁻¹(a + u (b - a)) kept within the cut."""
        low, high, a, b = self._cut
        return b - a, torch.special.ndtri(a + u.double() * (b - a)).clamp(low, high)

    @cached_property
    def _cut(self) -> tuple[float, float, float, float]:
        """The ends of the range in units of the normal law, and Φ of them."""
        ends = torch.tensor([self.sigma_min, self.sigma_max], dtype=torch.float64)
        cut = (ends.log() - self.mean) / self.std
        low, high, a, b = torch.cat([cut, torch.special.ndtr(cut)]).tolist()
        return low, high, a, b


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
