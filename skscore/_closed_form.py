"""How the models without gradient steps are fitted: a split to choose by, then all rows."""

import torch
from torch import Tensor, nn

from skscore._validation import split_rows, torch_generator
from skscore.gaussians import fit_gaussian, fit_gaussian_mixture
from skscore.kernel import fit_kernel

__all__ = ["CLOSED_FORM", "fit_closed_form"]

# Few rows have likelihoods of many maxima; among many, one start of the EM algorithm is as good.
_FEW_ROWS, _STARTS = 2000, 3

_MAX_CENTERS = 300

CLOSED_FORM = ("gaussian", "gaussian_mixture", "kernel")


def fit_closed_form(
    name: str, x: Tensor, weights: Tensor, validation_fraction: float, seed: int
) -> nn.Module:
    """Fit one of ``CLOSED_FORM`` to rows x (n, d) with weights (n,).

    The kernel's bandwidth and regularization are chosen on held-out rows, and serve a fit to all.
    """
    if name == "gaussian":
        return fit_gaussian(x, weights)
    if name == "gaussian_mixture":
        n_init = _STARTS if len(x) < _FEW_ROWS else 1
        return fit_gaussian_mixture(x, weights, n_init=n_init, seed=seed)
    train, valid = (torch.from_numpy(i) for i in split_rows(len(x), validation_fraction, seed))
    n_centers = min(_MAX_CENTERS, 2 * len(x))
    found = fit_kernel(
        x[train],
        x[valid],
        weights=weights[train],
        held_out_weights=weights[valid],
        n_centers=n_centers,
        generator=torch_generator(seed, x.device),
    )
    return fit_kernel(
        x,
        x,
        weights=weights,
        held_out_weights=weights,
        bandwidths=[found.bandwidth],
        regularizations=[found.regularization],
        n_centers=n_centers,
        generator=torch_generator(seed, x.device),
    ).model
