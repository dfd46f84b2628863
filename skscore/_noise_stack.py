r"""A network of every noise level, stacked with a Gaussian mixture.

A mixture costs milliseconds, and on few rows it is the better denoiser at many σ; blurred by σ it
stays a mixture. The weights are fitted to rows that neither has seen; then the mixture, for which
no row has to be kept apart, is fitted again to all.

The network of a stack is trained for half of the usual steps at three times the usual learning
rate: what it learns late, of small σ on few rows, the mixture knows.
"""

from torch import Tensor, nn

from skscore._validation import torch_generator
from skscore.gaussians import fit_gaussian_mixture
from skscore.noise import geometric_sigmas
from skscore.stacking import StackedScore, denoising_weights

__all__ = ["STACK_LR_FACTOR", "STACK_STEPS_FACTOR", "stack_with_mixture"]

STACK_LR_FACTOR, STACK_STEPS_FACTOR = 3.0, 0.5
_N_LEVELS = 12
_NOISY_ROWS = 10_000  # at each level, for the weights


def stack_with_mixture(
    network: nn.Module,
    seen: tuple[Tensor, Tensor],
    unseen: tuple[Tensor, Tensor],
    together: tuple[Tensor, Tensor],
    sigma_range: tuple[float, float],
    seed: int,
) -> StackedScore:
    """Return the stack of a network and a Gaussian mixture.

    Parameters
    ----------
    network : torch.nn.Module
        The score function.
    seen, unseen, together : tuples of two Tensors, of shape (n, d) and (n,)
        Rows in the units of the network, with their weights: those that it was trained on, those
        that were held out, and both.
    sigma_range : tuple of float
        The smallest and the largest noise level of the network.
    seed : int
        Decides the starts of the mixture and the noise.
    """
    lowest, highest = sigma_range
    x, weights = unseen
    sigmas = geometric_sigmas(highest, lowest, _N_LEVELS).flip(0).to(x)
    n_draws = 2 * max(1, min(32, _NOISY_ROWS // (2 * len(x))))
    w = denoising_weights(
        [network, fit_gaussian_mixture(*seen, seed=seed)],
        x,
        weights,
        sigmas,
        torch_generator(seed, x.device),
        n_draws=n_draws,
    )
    return StackedScore([network, fit_gaussian_mixture(*together, seed=seed)], sigmas, w)
