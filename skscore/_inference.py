r"""Reading a trained score function: float64, without gradients, in parts of a fixed size.

The last bits of a matrix product depend on its shape. Every call therefore evaluates whole parts,
the last one filled up, and the result for a row does not depend on the rows that come with it.
"""

import torch
from torch import Tensor

from skscore import objectives
from skscore._typing import ScoreFn
from skscore._validation import Array, torch_generator
from skscore.divergence import hutchinson_divergence, rademacher

__all__ = ["implicit_losses", "in_parts", "to_numpy"]

_PART = 256
# Up to here the trace is exact; above, it takes this many fixed probes.
_EXACT_TRACE_MAX = 100
_PROBES = 64


def implicit_losses(score_fn: ScoreFn, x: Tensor, sigma: Tensor) -> Tensor:
    """Return ‖s‖² + 2 tr ∇s for each row, shape (n,)."""
    return in_parts(lambda x, sigma: _implicit_loss(score_fn, x, sigma)[:, None], x, sigma)[:, 0]


def _implicit_loss(score_fn: ScoreFn, z: Tensor, sigma: Tensor) -> Tensor:
    d = z.shape[1]
    if d <= _EXACT_TRACE_MAX:
        return objectives.implicit(score_fn, z, sigma)
    # One set of probes for every row: the result for a row must not depend on the others.
    probes = rademacher((_PROBES, 1, d), torch_generator(0, z.device), dtype=z.dtype)
    score, divergence = hutchinson_divergence(score_fn, z, sigma, probes.expand(-1, *z.shape))
    return score.square().sum(1) + 2 * divergence


def in_parts(function: ScoreFn, x: Tensor, sigma: Tensor) -> Tensor:
    """Evaluate a function of rows (n, d) and noise levels (n, 1), giving (n, k)."""
    n = len(x)
    filler = -n % _PART
    x = torch.cat([x, x[-1:].expand(filler, -1)])
    sigma = torch.cat([sigma, sigma[-1:].expand(filler, -1)])
    with torch.no_grad():
        parts = [
            function(x_part, sigma_part)
            for x_part, sigma_part in zip(x.split(_PART), sigma.split(_PART), strict=True)
        ]
    return torch.cat(parts)[:n]


def to_numpy(values: Tensor) -> Array:
    """Return the values as a numpy array on the CPU."""
    return values.cpu().numpy()
