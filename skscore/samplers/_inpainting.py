r"""Filling in the rest of rows of which some coordinates are given.

At each level the given coordinates k are the data with noise of that level, and the others u come
from the reverse diffusion. Noise is added again and the step repeated, R times, so that the others
come to agree with the given ones:

    repeat R times      x' = Euler-Maruyama step of x from σ_i to σ_{i+1}
                        x_k' = x_0k + σ_{i+1} z
                        x = x' + √(σ_i² - σ_{i+1}²) z,    but in the last round x = x'

What comes out is near to the conditional law, but not it, however many levels there are: where
several modes agree with the given coordinates, their shares are settled at levels at which the
given ones are noisy still. On Gaussians, with 50 levels and R = 10, the mean is off by some 0.05
conditional standard deviations, and the standard deviation by 3 %.

The last step is Tweedie's mean for the others and the data themselves for the given coordinates.

Source: Lugmayr et al., "RePaint: inpainting using denoising diffusion probabilistic models", CVPR
2022 (algorithm 1, with jumps of one step; it takes the ancestral step, whose draws are too narrow
here by twice as much).
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from skscore._typing import ScoreFn
from skscore.samplers._sde import reverse_step
from skscore.samplers._walk import denoised, end_or_all, standard_normal

__all__ = ["repaint"]


def repaint(
    score_fn: ScoreFn,
    x: Tensor,
    sigmas: Tensor,
    *,
    given: Tensor,
    generator: torch.Generator,
    n_resamples: int = 10,
    return_trajectory: bool = False,
) -> Tensor:
    """Draw the missing coordinates of rows, given the others (Lugmayr et al. 2022).

    Parameters
    ----------
    score_fn : callable (n, d), (n, 1) -> (n, d)
        The score function.
    x : Tensor of shape (n, d)
        Draws of the density blurred by the largest noise level.
    sigmas : Tensor of shape (n_levels,)
        Decreasing noise levels, each of which costs ``n_resamples`` evaluations.
    given : Tensor of shape (n, d)
        The data, NaN where a coordinate is to be drawn.
    generator : torch.Generator
        Source of randomness.
    n_resamples : int, default=10
        R, how often each step is taken. With 1 the drawn coordinates hardly know of the given ones.
    return_trajectory : bool, default=False
        Whether to return the start, with the given coordinates put in, and the state after every
        level.

    Returns
    -------
    x : Tensor of shape (n, d), or (n_levels + 1, n, d) with ``return_trajectory``
        The given coordinates as they are, and draws of the others.

    Raises
    ------
    ValueError
        If n_resamples is below 1.

    Examples
    --------
    Two normal coordinates with the correlation 0.8, the first of which is 1:

    >>> from skscore.noise import karras_sigmas
    >>> generator = torch.Generator().manual_seed(0)
    >>> C, eye = torch.tensor([[1.0, 0.8], [0.8, 1.0]]), torch.eye(2)
    >>> score_fn = lambda x, sigma: -torch.linalg.solve(C + sigma[0] ** 2 * eye, x.T).T
    >>> x, given = 10 * torch.randn(1000, 2, generator=generator), torch.tensor([[1.0, torch.nan]])
    >>> drawn = repaint(
    ...     score_fn,
    ...     x,
    ...     karras_sigmas(10.0, 0.01, 30),
    ...     given=given.expand(1000, 2),
    ...     generator=generator,
    ... )
    >>> drawn.mean(0).round(decimals=1)
    tensor([1.0000, 0.7000])
    """
    if n_resamples < 1:
        raise ValueError(f"n_resamples={n_resamples} takes no step; give 1 or more.")
    levels, missing = sigmas.tolist(), given.isnan()
    known = given.nan_to_num()

    def replaced(x: Tensor, sigma: float) -> Tensor:
        return torch.where(missing, x, known + sigma * standard_normal(x, generator))

    def states(x: Tensor) -> Iterator[Tensor]:
        x = replaced(x, levels[0])
        yield x
        for sigma, sigma_next in zip(levels[:-1], levels[1:], strict=True):
            back = (sigma**2 - sigma_next**2) ** 0.5
            for round_ in range(n_resamples):
                x = reverse_step(score_fn, x, sigma, sigma_next, generator, ancestral=False)
                x = replaced(x, sigma_next)
                if round_ < n_resamples - 1:
                    x = x + back * standard_normal(x, generator)
            yield x
        yield torch.where(missing, denoised(score_fn, x, levels[-1]), known)

    return end_or_all(states(x), return_trajectory)
