r"""A network of every noise level, stacked with a Gaussian mixture.

A mixture costs milliseconds, and on few rows it is the better denoiser at many σ; blurred by σ it
stays a mixture. The weights are fitted to rows that neither has seen; then the mixture, for which
no row has to be kept apart, is fitted again to all.

The network of a stack is trained for half of the usual steps at three times the usual learning
rate: what it learns late, of small σ on few rows, the mixture knows.
"""

import torch
from torch import Tensor, nn

from skscore._validation import Array, torch_generator
from skscore.gaussians import fit_gaussian_mixture
from skscore.noise import geometric_sigmas
from skscore.stacking import StackedScore, denoising_weights

__all__ = ["STACK_LR_FACTOR", "STACK_STEPS_FACTOR", "stack_with_mixture"]

STACK_LR_FACTOR, STACK_STEPS_FACTOR = 3.0, 0.5
_N_LEVELS = 12
_NOISY_ROWS = 10_000  # at each level, for the weights


def stack_with_mixture(
    network: nn.Module,
    x: Tensor,
    weights: Tensor,
    split: tuple[Array, Array],
    sigma_range: tuple[float, float],
    seed: int,
) -> StackedScore:
    """Return the stack of a network and a Gaussian mixture.

    Parameters
    ----------
    network : torch.nn.Module
        The score function, trained on the first rows of the split.
    x, weights : Tensor of shape (n, d), (n,)
        All rows, in the units of the network, with their weights.
    split : tuple of two ndarrays
        Indices of the rows trained on and of those held out.
    sigma_range : tuple of float
        The smallest and the largest noise level of the network.
    seed : int
        Decides the starts of the mixture and the noise.
    """
    train, valid = (torch.from_numpy(index).to(x.device) for index in split)
    lowest, highest = sigma_range
    sigmas = geometric_sigmas(highest, lowest, _N_LEVELS).flip(0).to(x)
    unseen = fit_gaussian_mixture(x[train], weights[train], seed=seed)
    n_draws = 2 * max(1, min(32, _NOISY_ROWS // (2 * len(valid))))
    w = denoising_weights(
        [network, unseen],
        x[valid],
        weights[valid],
        sigmas,
        torch_generator(seed, x.device),
        n_draws=n_draws,
    )
    return StackedScore([network, fit_gaussian_mixture(x, weights, seed=seed)], sigmas, w)
