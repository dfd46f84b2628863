r"""Log-densities of many rows of the score of all noise levels, a part of the rows at a time.

Two ways to one number, both of the density blurred by the smallest noise level: the probability
flow (:func:`skscore.likelihood.flow_log_density`), and denoising errors
(:func:`skscore.likelihood.denoising_nll`), which need no differential equation. For the scores of a
density they agree. Where they are far apart, no density has these scores: the network is overfitted
there, or the rows lie far from those that it was trained on.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from skscore._inference import in_parts, to_numpy
from skscore._typing import BlurredDensity, ScoreFn
from skscore._validation import Array, torch_generator, warn
from skscore.divergence import rademacher
from skscore.exceptions import OverfittingWarning
from skscore.gaussians import GaussianScore
from skscore.likelihood import denoising_nll, flow_log_density, flow_sigmas
from skscore.noise import LogNormalSigma

__all__ = ["by_denoising", "by_flow", "mean_and_error", "warn_of_gap"]

_EXACT_TRACE_MAX = 50  # features, up to which the divergence of the flow is exact
_PROBES = 32
_NOISE_LEVELS = 16  # for each row, of the estimate from denoising errors
_ROWS_TO_JUDGE, _GAP_A_FEATURE = 30, 0.5  # nats


def by_flow(
    score_fn: ScoreFn, z: Tensor, levels: tuple[float, float], prior: GaussianScore
) -> tuple[Array, Array]:
    """Return log p of rows (n, d) and its standard error by the probes, both (n,).

    ``levels`` are the smallest and the largest noise level.
    """
    sigmas, d, probes = flow_sigmas(levels[1], levels[0]), z.shape[1], None
    if d > _EXACT_TRACE_MAX:
        probes = rademacher((_PROBES, d), torch_generator(0, z.device), dtype=z.dtype)

    def columns(z: Tensor, sigma: Tensor) -> Tensor:
        return torch.stack(flow_log_density(score_fn, z, sigmas, prior, probes), dim=1)

    found = to_numpy(in_parts(columns, z, torch.zeros_like(z[:, :1])))
    return found[:, 0], found[:, 1]


def by_denoising(
    score_fn: ScoreFn, z: Tensor, levels: tuple[float, float], reference: BlurredDensity
) -> Array:
    """Return the estimate of -log p of rows (n, d), with the same noise every time.

    ``reference`` is the density whose denoising errors those of the score are held against.
    """
    return to_numpy(
        denoising_nll(
            score_fn,
            z,
            reference,
            LogNormalSigma(*levels),
            n_draws=_NOISE_LEVELS,
            generator=torch_generator(0, z.device),
        )
    )


def warn_of_gap(log_density: Array, nll: Callable[[], Array], n_features: int, remedy: str) -> None:
    """Warn if log-densities (n,) by the flow are those of no density, by their denoising errors."""
    if len(log_density) < _ROWS_TO_JUDGE:
        return
    gap = float(-nll().mean() - log_density.mean())
    if gap > _GAP_A_FEATURE * n_features:
        warn(
            f"The mean log-density of these {len(log_density)} rows by the probability flow is "
            f"{gap:.3g} nats below that by denoising errors, and the scores of a density would "
            "have the same: the network is overfitted there, or the rows are far from all training "
            f"rows. {remedy}",
            OverfittingWarning,
        )


def mean_and_error(values: Array, weights: Array | None) -> tuple[float, float]:
    """Return the weighted mean over rows, and its standard error: NaN if the mean is infinite."""
    weights = np.ones(len(values)) if weights is None else weights
    counted = weights > 0
    share, values = weights[counted] / weights[counted].sum(), values[counted]
    mean = float(share @ values)
    if not np.isfinite(mean):
        return mean, np.nan
    return mean, float(np.sqrt(np.square(share * (values - mean)).sum()))
