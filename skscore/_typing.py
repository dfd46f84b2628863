"""The one seam between networks, objectives, solvers and likelihoods.

A *score function* is any callable

    s(x, σ) = ∇_x log p_σ(x),      p_σ = p * N(0, σ² I),

from points ``x`` of shape (n, d) and noise levels ``sigma`` of shape (n, 1) to an array of shape
(n, d). A trained network, the exact score of a known density and a mixture of both have this
type, so whatever is written against it can be tested against the truth.
"""

from typing import Protocol

from torch import Tensor

__all__ = ["BlurredDensity", "EnergyFn", "ScoreFn"]


class ScoreFn(Protocol):
    """Callable ``(x: (n, d), sigma: (n, 1)) -> (n, d)``, the score ∇ log p_σ(x)."""

    def __call__(self, x: Tensor, sigma: Tensor, /) -> Tensor:
        """Return the score of shape (n, d) at the points x and the noise levels sigma."""
        ...


class EnergyFn(Protocol):
    """Callable ``(x: (n, d), sigma: (n, 1)) -> (n,)``, the energy -log p_σ(x) + const(σ)."""

    def __call__(self, x: Tensor, sigma: Tensor, /) -> Tensor:
        """Return the energy of shape (n,) at the points x and the noise levels sigma."""
        ...


class BlurredDensity(ScoreFn, Protocol):
    """A score function whose log-density log p_σ(x) is known, too."""

    def log_density(self, x: Tensor, sigma: Tensor, /) -> Tensor:
        """Return log p_σ (n,) at the points x (n, d) and the noise levels sigma (n, 1)."""
        ...
