r"""How NCSNv2 chooses its noise levels and its step size.

Technique 1: σ_1 is the largest distance between two rows, so that the blur joins them all.
Technique 2: neighbouring levels have a ratio γ at which the norms of their noise overlap,

    Φ(√(2d) (γ - 1) + 3γ) - Φ(√(2d) (γ - 1) - 3γ) = 0.5

Technique 4: for T steps at each level the step ε brings the variance of the chain as near to that
of its level as can be: with η = ε/σ_L² and steps x + α s + √(2α) z, α = η σ_i², their ratio is

    r(η) = (1 - η)^{2T} (γ² - 2/(2 - η)) + 2/(2 - η)

on data that are a point. Here a step is x + α/2 s + √α z, so that α = 2 η σ_i².

Source: Song & Ermon, "Improved techniques for training score-based generative models", NeurIPS
2020.
"""

import math

import torch
from scipy.optimize import brentq, minimize_scalar
from scipy.special import ndtr
from torch import Tensor

from skscore.noise._checks import check_range

__all__ = ["langevin_step_size", "largest_distance", "level_ratio", "n_levels_for"]

_OVERLAP = 0.5
_LARGEST_RATIO = math.sqrt(2)
_MAX_ROWS = 2000


def largest_distance(x: Tensor) -> float:
    """Return the largest distance between two of the rows: technique 1, for σ_max.

    Parameters
    ----------
    x : Tensor of shape (n, d)
        Rows. Of more than 2000, 2000 spread evenly over the table are looked at.

    Returns
    -------
    sigma_max : float

    Examples
    --------
    >>> largest_distance(torch.tensor([[0.0, 0.0], [3.0, 4.0], [1.0, 1.0]]))
    5.0
    """
    spread = torch.linspace(0, len(x) - 1, min(len(x), _MAX_ROWS), dtype=torch.float64)
    part = x[spread.long().to(x.device)].double()
    # The product form of the distances would cancel far from the origin.
    return float(torch.cdist(part, part, compute_mode="donot_use_mm_for_euclid_dist").max())


def level_ratio(n_features: int) -> float:
    """Return the ratio γ > 1 of neighbouring noise levels: technique 2.

    Below some 55 dimensions the condition lets levels be so far apart that a chain of a few steps
    could not follow them; the ratio is √2 there.

    Parameters
    ----------
    n_features : int
        d.

    Returns
    -------
    gamma : float

    Examples
    --------
    >>> round(level_ratio(3 * 32**2), 4)  # images of 32 x 32 pixels in three colours
    1.0398
    """
    root = math.sqrt(2 * n_features)

    def excess(gamma: float) -> float:
        shift = root * (gamma - 1)
        return float(ndtr(shift + 3 * gamma) - ndtr(shift - 3 * gamma)) - _OVERLAP

    if excess(_LARGEST_RATIO) > 0:
        return _LARGEST_RATIO
    return float(brentq(excess, 1, _LARGEST_RATIO))


def n_levels_for(sigma_max: float, sigma_min: float, n_features: int) -> int:
    """Return how many levels in geometric progression technique 2 puts between two.

    Parameters
    ----------
    sigma_max, sigma_min : float
        The largest and the smallest level.
    n_features : int
        d.

    Returns
    -------
    n_levels : int
        2 or more.

    Examples
    --------
    >>> n_levels_for(50.0, 0.01, 3 * 32**2)  # the paper has 232 for CIFAR-10
    220
    """
    check_range(sigma_min, sigma_max)
    n_ratios = math.log(sigma_max / sigma_min) / math.log(level_ratio(n_features))
    return 1 + math.ceil(n_ratios * (1 - 1e-12))


def langevin_step_size(ratio: float, n_steps: int) -> float:
    """Return the step of annealed Langevin dynamics by technique 4, α/σ².

    Parameters
    ----------
    ratio : float
        γ, a noise level over the next one.
    n_steps : int
        T, the steps at each level.

    Returns
    -------
    step_size : float
        2η, for :func:`skscore.samplers.annealed_langevin`.

    Examples
    --------
    >>> round(langevin_step_size(1.04, 5), 2)
    0.13
    """

    def error(eta: float) -> float:
        stationary = 2 / (2 - eta)
        return abs((1 - eta) ** (2 * n_steps) * (ratio**2 - stationary) + stationary - 1)

    eta = minimize_scalar(error, bounds=(1e-6, 0.99), method="bounded").x
    return float(2 * eta)
