r"""What can go wrong with a score of clean data, found before it misleads.

By Stein's identity E[tr ∇s] = -E‖s‖² for the true score, so that

    a* = -E[tr ∇s]/E‖s‖²,      the a for which a·s has the least implicit objective,

is 1 on rows that were not trained on. An overfitted score is too large there, and a* below 1.

A score of clean data does not know the weights of modes with no mass between them. Two components
i, j of a Gaussian mixture p fitted to the rows are joined if log p drops by less than 5 nats on the
line between their means, below the lower of the two; modes are what is joined, directly or through
others.

Sources: Stein, "A bound for the error in the normal approximation to the distribution of a sum of
dependent random variables", 1972; Wenliang & Kanagawa, "Blindness of score-based methods to
isolated components and mixing proportions", 2020; Zhang et al., "Towards healing the blindness of
score matching", 2022.
"""

import math

import numpy as np
import torch
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from skscore._inference import scores_and_traces, to_numpy
from skscore._typing import ScoreFn
from skscore._validation import Array
from skscore.gaussians import GaussianMixtureScore

__all__ = ["mode_shares", "overfitting_message", "separated_modes_message", "stein_ratio"]

_BARRIER = 5.0
_POINTS_BETWEEN = 33
_SMALLEST_SHARE = 0.02
_LEAST_RATIO = 0.7
_STANDARD_ERRORS = 3


def stein_ratio(score_fn: ScoreFn, x: Tensor, sigma: Tensor, weights: Array) -> tuple[float, float]:
    """Return a* over rows x (n, d) of weights (n,), and its standard error.

    Examples
    --------
    >>> x = torch.randn(1000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> ratio, error = stein_ratio(lambda x, s: -2 * x, x, torch.zeros_like(x), np.ones(1000))
    >>> abs(ratio - 0.5) < 3 * error < 0.1
    True
    """
    scores, traces, _ = (to_numpy(values) for values in scores_and_traces(score_fn, x, sigma))
    norms = (scores**2).sum(axis=1)
    share = weights / weights.sum()
    mean_norm = share @ norms
    ratio = float(-share @ traces / mean_norm)
    deviations = (traces + ratio * norms) / mean_norm
    return ratio, float(math.sqrt(share**2 @ deviations**2))


def overfitting_message(ratio: float, standard_error: float) -> str:
    """Say what a ratio far below 1 means and what to do; empty if it is near."""
    if ratio >= _LEAST_RATIO or 1 - ratio <= _STANDARD_ERRORS * standard_error:
        return ""
    return (
        f"Held-out rows say that the score would be better by the factor a* = {ratio:.3g} ± "
        f"{standard_error:.2g}, which is 1 for the true score: it is overfitted. Use more rows, "
        "fewer max_steps, a larger sigma with objective='denoising', or model='auto'."
    )


def mode_shares(mixture: GaussianMixtureScore, sigma: float = 0.0) -> list[float]:
    """Return the weights of the modes of a mixture that have no mass between them, largest first.

    Modes of less than 0.02 do not count. One number means that nothing is apart.

    Examples
    --------
    >>> means = torch.tensor([[-4.0], [4.0]])
    >>> mixture = GaussianMixtureScore(torch.tensor([0.75, 0.25]), means, torch.ones(2, 1, 1))
    >>> mode_shares(mixture), mode_shares(mixture, sigma=2.0)
    ([0.75, 0.25], [1.0])
    """
    means, w = mixture.means, mixture.log_weights.exp()
    t = torch.linspace(0, 1, _POINTS_BETWEEN, dtype=means.dtype, device=means.device)
    K, d = means.shape
    lines = means[:, None, None] + t[:, None] * (means[None, :, None] - means[:, None, None])
    points = lines.reshape(-1, d)
    log_p = mixture.log_density(points, points.new_full((len(points), 1), sigma))
    log_p = log_p.reshape(K, K, -1)
    lower_end = torch.minimum(log_p[..., 0], log_p[..., -1])
    joined = to_numpy(lower_end - log_p.amin(2) < _BARRIER)
    _, labels = connected_components(joined, directed=False)
    shares = np.bincount(labels, weights=to_numpy(w))
    return sorted((float(share) for share in shares if share >= _SMALLEST_SHARE), reverse=True)


def separated_modes_message(shares: list[float]) -> str:
    """Say what separated modes mean and what to do; empty if there is one."""
    if len(shares) < 2:
        return ""
    return (
        f"The data have {len(shares)} modes with nothing between them, with "
        f"{', '.join(f'{share:.0%}' for share in shares[:5])}{', ...' if len(shares) > 5 else ''} "
        "of the rows. A score of clean data does not depend on the weights of such modes, so that "
        "neither densities nor samples will have them right; use NCSNGenerator, which learns them "
        "from blurred data."
    )
