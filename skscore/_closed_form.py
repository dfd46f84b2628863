"""How the models without gradient steps are fitted: a split to choose by, then all rows."""

import torch
from torch import Tensor, nn

from skscore._validation import split_rows, torch_generator
from skscore.gaussians import fit_gaussian
from skscore.kernel import fit_kernel

__all__ = ["fit_closed_form"]


def fit_closed_form(
    name: str, x: Tensor, weights: Tensor, validation_fraction: float, seed: int
) -> nn.Module:
    """Fit the "gaussian" or the "kernel" model to rows x (n, d) with weights (n,).

    The kernel's bandwidth and regularization are chosen on held-out rows, and serve a fit to all.
    """
    if name == "gaussian":
        return fit_gaussian(x, weights)
    train, valid = (torch.from_numpy(i) for i in split_rows(len(x), validation_fraction, seed))
    found = fit_kernel(
        x[train],
        x[valid],
        weights=weights[train],
        held_out_weights=weights[valid],
        generator=torch_generator(seed, x.device),
    )
    return fit_kernel(
        x,
        x,
        weights=weights,
        held_out_weights=weights,
        bandwidths=[found.bandwidth],
        regularizations=[found.regularization],
        generator=torch_generator(seed, x.device),
    ).model
