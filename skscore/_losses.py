r"""What one batch costs: an objective together with the noise it draws.

Each loss is called with a score function, rows and a generator, and returns one number a row. The
generator decides all of the noise, so a generator seeded alike gives the same loss: held-out losses
are taken with frozen noise. The denoising loss carries the weight

    λ(σ) = σ² (1 + σ²/σ_data²) / d

under which the best linear denoiser of Gaussian data with variance σ_data² has the loss 1 at every
σ (Karras et al., NeurIPS 2022: their λ, in terms of the score).

The term ε·s(x + σε) of that loss has the mean O(σ) and the variance O(1): at a small σ the signal
drowns. Mirrored noise, the mean over ε and -ε, cancels all odd orders of ε, and with them the
variance of order one.
"""

import torch
from torch import Tensor, nn

from skscore import objectives
from skscore._typing import ScoreFn
from skscore.divergence import rademacher
from skscore.noise import SigmaLaw, stratified_uniform

__all__ = ["DenoisingLoss", "ImplicitLoss", "RowLoss", "SlicedLoss"]


class RowLoss(nn.Module):
    """A loss per row.

    Attributes
    ----------
    n_draws : int
        Draws of noise averaged for each held-out row.
    """

    n_draws = 1

    def forward(
        self, score_fn: ScoreFn, x: Tensor, generator: torch.Generator, n_draws: int = 1
    ) -> Tensor:
        """Return the losses (n,) of the rows x (n, d), means over n_draws draws of noise."""
        raise TypeError(f"{type(self).__name__} is an interface; train with one of its subclasses.")


class ImplicitLoss(RowLoss):
    """Hyvärinen's objective with the exact trace, on clean rows."""

    def forward(
        self, score_fn: ScoreFn, x: Tensor, generator: torch.Generator, n_draws: int = 1
    ) -> Tensor:
        """Return ‖s‖² + 2 tr ∇s; it draws no noise."""
        return objectives.implicit(score_fn, x, torch.zeros_like(x[:, :1]))


class SlicedLoss(RowLoss):
    """Sliced score matching with variance reduction, one Rademacher probe a row."""

    n_draws = 8

    def forward(
        self, score_fn: ScoreFn, x: Tensor, generator: torch.Generator, n_draws: int = 1
    ) -> Tensor:
        """Return ‖s‖² + 2 vᵀ∇s v, a mean over n_draws probes."""
        probes = rademacher((n_draws, *x.shape), generator, dtype=x.dtype).to(x.device)
        return objectives.sliced(score_fn, x, torch.zeros_like(x[:, :1]), probes)


class DenoisingLoss(RowLoss):
    """Vincent's objective over a law of noise levels, weighted by λ(σ).

    Parameters
    ----------
    sigma_law : SigmaLaw
        The law of σ.
    sigma_data : float
        Root mean square of the standard deviations of the features.
    mirrored : bool, default=False
        Whether each draw of (σ, ε) is used as (σ, -ε) too, at the cost of a second pass. It pays
        for one small σ; over a law of many, draws of further rows are worth as much.
    """

    n_draws = 8

    def __init__(self, sigma_law: SigmaLaw, sigma_data: float, *, mirrored: bool = False) -> None:
        super().__init__()
        self.sigma_law = sigma_law
        self.sigma_data = sigma_data
        self.mirrored = mirrored

    def forward(
        self, score_fn: ScoreFn, x: Tensor, generator: torch.Generator, n_draws: int = 1
    ) -> Tensor:
        """Return λ(σ) ‖s(x + σε, σ) + ε/σ‖², a mean over n_draws draws of (σ, ε)."""
        n, d = x.shape
        if n_draws == 1:
            u = stratified_uniform(n, generator)[:, None]
        else:
            # Every row gets one σ from each stratum, so that rows can be compared.
            jitter = torch.rand(n, n_draws, generator=generator, device=generator.device)
            u = (torch.arange(n_draws, device=jitter.device) + jitter).reshape(-1, 1) / n_draws
            x = x.repeat_interleave(n_draws, dim=0)
        noise = torch.randn(x.shape, generator=generator, device=generator.device, dtype=x.dtype)
        sigma = self.sigma_law.quantile(u.to(x))
        if self.mirrored:
            x, sigma, noise = x.repeat(2, 1), sigma.repeat(2, 1), torch.cat([noise, -noise])
        weight = sigma.square() * (1 + (sigma / self.sigma_data).square()) / d
        loss = objectives.denoising(score_fn, x, sigma, noise.to(x.device))
        return (weight[:, 0] * loss).reshape(-1, n, n_draws).mean((0, 2))
