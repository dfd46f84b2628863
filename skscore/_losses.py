r"""What one batch costs: an objective together with the noise it draws.

Each loss is called with a score function, rows and a generator, and returns one number a row. The
generator decides all of the noise, so a generator seeded alike gives the same loss: held-out losses
are taken with frozen noise. The denoising loss carries one of the weights

    "edm"           λ(σ) = σ² (1 + σ²/σ_data²) / d
    "ncsn"          λ(σ) = σ² / d
    "likelihood"    λ(σ) = σ q'(u) / d,     σ = q(u)

Under the first the best linear denoiser of Gaussian data with variance σ_data² has the loss 1 at
every σ (Karras et al., NeurIPS 2022: their λ, in terms of the score). Under the second the score 0
has it (Song & Ermon, NeurIPS 2019). The third makes the mean over u the integral ∫ E‖s + ε/σ‖² σ dσ
over d, whatever the law q of σ is: up to a constant a bound, in nats a feature, of the
Kullback-Leibler divergence of the model from the data (Song et al., "Maximum likelihood training of
score-based diffusion models", NeurIPS 2021, with λ(t) = g(t)²).

The term ε·s(x + σε) of that loss has the mean O(σ) and the variance O(1): at a small σ the signal
drowns. Mirrored noise, the mean over ε and -ε, cancels all odd orders of ε, and with them the
variance of order one; so does a control variate.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from skscore import objectives
from skscore._typing import ScoreFn
from skscore.divergence import EXACT_TRACE_MAX, draw_probes
from skscore.noise import SigmaLaw, stratified_uniform

__all__ = [
    "DenoisingLoss",
    "ExplicitLoss",
    "FiniteDifferenceLoss",
    "ImplicitLoss",
    "ParzenLoss",
    "RowLoss",
    "SlicedLoss",
    "WEIGHTINGS",
]

WEIGHTINGS = ("edm", "ncsn", "likelihood")

_NUMBERS_AT_ONCE = 2**24
_EXACT_MAX = 20


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

    def held_out(
        self, score_fn: ScoreFn, x: Tensor, generator: torch.Generator, n_draws: int
    ) -> Tensor:
        """Return what rows x (n, d) that are not trained on are judged by."""
        losses: Tensor = self(score_fn, x, generator, n_draws)
        return losses


class ExplicitLoss(RowLoss):
    """The squared distance to a known score, on clean rows.

    Parameters
    ----------
    target : callable (n, d) -> (n, d)
        The known score.
    """

    def __init__(self, target: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.target = target

    def forward(
        self, score_fn: ScoreFn, x: Tensor, generator: torch.Generator, n_draws: int = 1
    ) -> Tensor:
        """Return ‖s - s*‖²; it draws no noise."""
        return objectives.explicit(score_fn, x, torch.zeros_like(x[:, :1]), self.target(x))


class ImplicitLoss(RowLoss):
    """Hyvärinen's objective with the exact trace, on clean rows."""

    def forward(
        self, score_fn: ScoreFn, x: Tensor, generator: torch.Generator, n_draws: int = 1
    ) -> Tensor:
        """Return ‖s‖² + 2 tr ∇s; it draws no noise."""
        return objectives.implicit(score_fn, x, torch.zeros_like(x[:, :1]))


class SlicedLoss(RowLoss):
    """Sliced score matching, on clean rows.

    Parameters
    ----------
    n_probes : int, default=1
        Directions v for each row.
    probes : {"rademacher", "gaussian", "sphere"}, default="rademacher"
        Their law.
    variance_reduction : bool, default=True
        Whether (vᵀs)² is replaced by its mean ‖s‖².
    """

    n_draws = 8

    def __init__(
        self, n_probes: int = 1, probes: str = "rademacher", *, variance_reduction: bool = True
    ) -> None:
        super().__init__()
        self.n_probes = n_probes
        self.probes = probes
        self.variance_reduction = variance_reduction

    def forward(
        self, score_fn: ScoreFn, x: Tensor, generator: torch.Generator, n_draws: int = 1
    ) -> Tensor:
        """Return ‖s‖² + 2 vᵀ∇s v or (vᵀs)² + 2 vᵀ∇s v, a mean over n_draws * n_probes probes."""
        return objectives.sliced(
            score_fn,
            x,
            torch.zeros_like(x[:, :1]),
            _probes(self, x, generator, n_draws),
            variance_reduction=self.variance_reduction,
        )

    def held_out(
        self, score_fn: ScoreFn, x: Tensor, generator: torch.Generator, n_draws: int
    ) -> Tensor:
        """Return the implicit objective, of which the sliced one is a noisy estimate."""
        if x.shape[1] > EXACT_TRACE_MAX:
            return super().held_out(score_fn, x, generator, n_draws)
        return objectives.implicit(score_fn, x, torch.zeros_like(x[:, :1]))


class FiniteDifferenceLoss(RowLoss):
    """Sliced score matching by finite differences, on clean rows.

    Parameters
    ----------
    n_probes : int, default=1
        Directions v for each row.
    probes : {"rademacher", "gaussian", "sphere"}, default="rademacher"
        Their law.
    epsilon : float, default=0.003
        The step along v, in the units of the rows.
    """

    n_draws = 8

    def __init__(
        self, n_probes: int = 1, probes: str = "rademacher", epsilon: float = 0.003
    ) -> None:
        super().__init__()
        self.n_probes = n_probes
        self.probes = probes
        self.epsilon = epsilon

    def forward(
        self, score_fn: ScoreFn, x: Tensor, generator: torch.Generator, n_draws: int = 1
    ) -> Tensor:
        """Return ‖(s₊ + s₋)/2‖² + vᵀ(s₊ - s₋)/h, a mean over n_draws * n_probes probes."""
        v = _probes(self, x, generator, n_draws)
        sigma = torch.zeros_like(x[:, :1])
        return objectives.finite_difference_sliced(score_fn, x, sigma, v, epsilon=self.epsilon)


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
    control_variate : bool, default=False
        Whether terms of mean zero are taken out, at the same cost.
    weighting : {"edm", "ncsn", "likelihood"}, default="edm"
        λ(σ).
    exact_held_out : bool, default=False
        Whether held-out rows are judged by λ(σ) (‖s‖² + 2 tr ∇s) at their noisy points, of the
        same mean up to a constant of σ: there ε only places the points, while it drowns ε·s/σ. Not
        where the trace would be slow: above 20 features, or with a network that does not give it.
    """

    n_draws = 8

    def __init__(
        self,
        sigma_law: SigmaLaw,
        sigma_data: float,
        *,
        mirrored: bool = False,
        control_variate: bool = False,
        weighting: str = "edm",
        exact_held_out: bool = False,
    ) -> None:
        super().__init__()
        self.exact_held_out = exact_held_out
        self.sigma_law = sigma_law
        self.sigma_data = sigma_data
        self.mirrored = mirrored
        self.control_variate = control_variate
        self.weighting = weighting

    def forward(
        self, score_fn: ScoreFn, x: Tensor, generator: torch.Generator, n_draws: int = 1
    ) -> Tensor:
        """Return λ(σ) ‖s(x + σε, σ) + ε/σ‖², a mean over n_draws draws of (σ, ε)."""
        x, sigma, noise, weight = self._noisy(x, generator, n_draws)
        if self.mirrored:
            x, sigma, weight = x.repeat(2, 1), sigma.repeat(2, 1), weight.repeat(2, 1)
            noise = torch.cat([noise, -noise])
        loss = self._objective(score_fn, x, sigma, noise)
        return (weight[:, 0] * loss).reshape(1 + self.mirrored, -1, n_draws).mean((0, 2))

    def held_out(
        self, score_fn: ScoreFn, x: Tensor, generator: torch.Generator, n_draws: int
    ) -> Tensor:
        """Return what rows x (n, d) that are not trained on are judged by."""
        fast = x.shape[1] <= _EXACT_MAX and hasattr(score_fn, "score_and_divergence")
        if not (self.exact_held_out and fast):
            return super().held_out(score_fn, x, generator, n_draws)
        n_draws = -(-n_draws // 2)
        x, sigma, noise, weight = self._noisy(x, generator, n_draws)
        loss = objectives.implicit(score_fn, x + sigma * noise, sigma)
        return (weight[:, 0] * loss).reshape(-1, n_draws).mean(1)

    def _noisy(
        self, x: Tensor, generator: torch.Generator, n_draws: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return rows, each n_draws times, and σ, ε and the weight λ(σ) of each."""
        n, d = x.shape
        if n_draws == 1:
            u = stratified_uniform(n, generator)[:, None]
        else:
            # Every row gets one σ from each stratum, so that rows can be compared.
            jitter = torch.rand(n, n_draws, generator=generator, device=generator.device)
            u = (torch.arange(n_draws, device=jitter.device) + jitter).reshape(-1, 1) / n_draws
            x = x.repeat_interleave(n_draws, dim=0)
        noise = torch.randn(x.shape, generator=generator, device=generator.device, dtype=x.dtype)
        u = u.to(x)
        sigma = self.sigma_law.quantile(u)
        return x, sigma, noise.to(x.device), self._weight(u, sigma) / d

    def _weight(self, u: Tensor, sigma: Tensor) -> Tensor:
        """Return λ(σ) d."""
        if self.weighting == "likelihood":
            return sigma * self.sigma_law.slope(u)
        if self.weighting == "ncsn":
            return sigma.square()
        return sigma.square() * (1 + (sigma / self.sigma_data).square())

    def _objective(self, score_fn: ScoreFn, x: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
        if self.control_variate:
            return objectives.denoising_control_variate(score_fn, x, sigma, noise)
        return objectives.denoising(score_fn, x, sigma, noise)


class ParzenLoss(DenoisingLoss):
    """Explicit score matching against the Parzen density of all rows, weighted by λ(σ).

    Its target is the mean of that of :class:`DenoisingLoss` over all rows that could have given the
    noisy point. Held-out rows are judged by denoising: the Parzen density is no truth to them.

    Parameters
    ----------
    sigma_law : SigmaLaw
        The law of σ.
    sigma_data : float
        Root mean square of the standard deviations of the features.
    centers : Tensor of shape (n, d)
        The rows that are trained on.
    weights : Tensor of shape (n,)
        Their weights, positive.
    """

    def __init__(
        self, sigma_law: SigmaLaw, sigma_data: float, centers: Tensor, weights: Tensor
    ) -> None:
        super().__init__(sigma_law, sigma_data)
        self.centers = centers
        self.weights = weights
        self.judge = DenoisingLoss(sigma_law, sigma_data, mirrored=True)

    def held_out(
        self, score_fn: ScoreFn, x: Tensor, generator: torch.Generator, n_draws: int
    ) -> Tensor:
        """Return λ(σ) ‖s(x + σε, σ) + ε/σ‖²."""
        return self.judge.held_out(score_fn, x, generator, n_draws)

    def _objective(self, score_fn: ScoreFn, x: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
        size = max(1, _NUMBERS_AT_ONCE // self.centers.numel())
        parts = zip(x.split(size), sigma.split(size), noise.split(size), strict=True)
        return torch.cat(
            [objectives.parzen(score_fn, *part, self.centers, self.weights) for part in parts]
        )


def _probes(
    loss: "SlicedLoss | FiniteDifferenceLoss", x: Tensor, generator: torch.Generator, n_draws: int
) -> Tensor:
    shape = (n_draws * loss.n_probes, *x.shape)
    return draw_probes(loss.probes, shape, generator, dtype=x.dtype).to(x.device)
