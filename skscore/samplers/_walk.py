"""What the solvers share: Tweedie's mean, noise of their generator, the states they return."""

from collections import deque
from collections.abc import Iterable

import torch
from torch import Tensor

from skscore._typing import ScoreFn

__all__ = ["denoised", "end_or_all", "standard_normal", "uniform"]


def end_or_all(states: Iterable[Tensor], return_trajectory: bool) -> Tensor:  # noqa: FBT001
    """Return the last of the states of a walk, (n, d), or all of them, (n_states, n, d)."""
    if return_trajectory:
        return torch.stack(list(states))
    return deque(states, maxlen=1).pop()


def denoised(score_fn: ScoreFn, x: Tensor, sigma: float) -> Tensor:
    """Tweedie's mean D = x + σ² s(x, σ)."""
    return x + sigma**2 * score_fn(x, x.new_full((len(x), 1), sigma))


def standard_normal(x: Tensor, generator: torch.Generator) -> Tensor:
    """Draw standard normal noise of the shape and type of x."""
    z = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=generator.device)
    return z.to(x.device)


def uniform(x: Tensor, generator: torch.Generator) -> Tensor:
    """Draw uniform numbers of the shape and type of x."""
    u = torch.rand(x.shape, generator=generator, dtype=x.dtype, device=generator.device)
    return u.to(x.device)
