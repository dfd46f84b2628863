r"""Reading a trained score function: float64, without gradients, in parts of a fixed size.

The last bits of a matrix product depend on its shape. Every call therefore evaluates whole parts,
the last one filled up, and the result for a row does not depend on the rows that come with it.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from skscore._typing import ScoreFn
from skscore._validation import Array, torch_generator
from skscore.divergence import EXACT_TRACE_MAX, exact_divergence, probed_divergence, rademacher

__all__ = [
    "PART",
    "implicit_losses",
    "implicit_path",
    "in_parts",
    "probe_error",
    "scores_and_traces",
    "to_numpy",
]

PART = 256
_PROBES = 64  # where the trace is not exact


def implicit_losses(score_fn: ScoreFn, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Return ‖s‖² + 2 tr ∇s for each row, (n,), and how far each probe is off, (n, n_probes).

    The trace is exact up to 100 features, and there are no probes.
    """
    scores, traces, deviations = scores_and_traces(score_fn, x, sigma)
    return scores.square().sum(1) + 2 * traces, 2 * deviations


def implicit_path(score_fn: ScoreFn, x: Tensor, weights: Array, sigmas: Sequence[float]) -> Array:
    """Return the mean of ‖s‖² + 2 tr ∇s over rows (n, d) of weights (n,) at each noise level."""
    losses = [implicit_losses(score_fn, x, torch.full_like(x[:, :1], s))[0] for s in sigmas]
    means: Array = np.average(to_numpy(torch.stack(losses)), axis=1, weights=weights)
    return means


def scores_and_traces(score_fn: ScoreFn, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return s (n, d), tr ∇s (n,), and how far each probe is off it, (n, n_probes)."""
    columns = in_parts(lambda x, sigma: _scores_and_traces(score_fn, x, sigma), x, sigma)
    d = x.shape[1]
    return columns[:, :d], columns[:, d], columns[:, d + 1 :]


def probe_error(deviations: Tensor, weights: Array) -> float:
    """Return the standard error that the probes bring into the mean over rows; 0 without any."""
    n_probes = deviations.shape[1]
    if n_probes == 0:
        return 0.0
    # The probes are the same for every row, so that their errors do not cancel over rows.
    means = np.average(to_numpy(deviations), axis=0, weights=weights)
    return float(means.std(ddof=1) / math.sqrt(n_probes))


def _scores_and_traces(score_fn: ScoreFn, z: Tensor, sigma: Tensor) -> Tensor:
    d = z.shape[1]
    if d <= EXACT_TRACE_MAX:
        score, divergence = exact_divergence(score_fn, z, sigma)
        return torch.cat([score, divergence[:, None]], dim=1)
    # One set of probes for every row: the result for a row must not depend on the others.
    probes = rademacher((_PROBES, 1, d), torch_generator(0, z.device), dtype=z.dtype)
    score, traces = probed_divergence(score_fn, z, sigma, probes.expand(-1, *z.shape))
    mean = traces.mean(0)
    return torch.cat([score, mean[:, None], (traces - mean).mT], dim=1)


def in_parts(function: ScoreFn, x: Tensor, sigma: Tensor) -> Tensor:
    """Evaluate a function of rows (n, d) and noise levels (n, 1), giving (n, k)."""
    n = len(x)
    filler = -n % PART
    x = torch.cat([x, x[-1:].expand(filler, -1)])
    sigma = torch.cat([sigma, sigma[-1:].expand(filler, -1)])
    with torch.no_grad():
        parts = [
            function(x_part, sigma_part)
            for x_part, sigma_part in zip(x.split(PART), sigma.split(PART), strict=True)
        ]
    return torch.cat(parts)[:n]


def to_numpy(values: Tensor) -> Array:
    """Return the values as a numpy array on the CPU."""
    return values.cpu().numpy()
