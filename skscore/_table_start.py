r"""Where the rows of a table start on their way from noise.

The level of the category that the network's base is given is drawn first. At the largest noise
level, σ, the rest of a row has nearly the law N(m, Σ + σ²I), whose denoiser is m + A(x - m) with
A = Σ/(Σ + σ²). With D the denoised μ ± σε, the mean of both is m and half their difference Aσε, and

    m + σ (I - A)^(-1/2) ε = m + σε + ½ Aσε + O(A²)

is where a row starts. Without it, columns that are much alike, or far from their mean by what is
given, would end up too near to the mean of all rows.
"""

import torch
from torch import Tensor

from skscore._table_score import DRAWN, GIVEN, TableScore, denoise_mirrored, put_given

__all__ = ["draw_first", "noise_and_ranks", "starting_rows"]


def noise_and_ranks(module: TableScore, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Return the noise of the features, and uniform numbers for the levels of categories."""
    d = len(module.mean)
    return noise[:, :d], torch.special.ndtr(noise[:, d:])


def draw_first(
    module: TableScore, u: Tensor, state: Tensor | None = None, clean: Tensor | None = None
) -> tuple[Tensor | None, Tensor | None]:
    """Return states and cells of rows in which the category of the base alone is given.

    Rows of which states say that some cells are given stay as they are. With uniform numbers
    u (n, n_categories) that are spread evenly, so are the levels. Nothing changes where the base
    has no category.
    """
    if module.base_column < 0:
        return state, clean
    levels = module.levels_at(module.log_frequencies.expand(len(u), -1), u)
    first = u.new_full((len(u), module.n_columns), DRAWN)
    first[:, module.base_column] = GIVEN
    cells = module.encode_levels(u.new_zeros(len(u), len(module.mean)), levels)
    if state is None or clean is None:
        return first, cells
    is_free = (state != GIVEN).all(1, keepdim=True)
    return torch.where(is_free, first, state), torch.where(is_free, cells, clean)


def starting_rows(
    module: TableScore,
    noise: Tensor,
    sigma_max: float,
    state: Tensor | None = None,
    clean: Tensor | None = None,
) -> Tensor:
    """Return the rows (n, d) of standard normal noise (n, d) at the largest noise level.

    Cells that states say are given are those of the clean rows.
    """
    sigma = noise.new_full((len(noise), 1), sigma_max)
    blur = sigma_max * noise
    one, other = denoise_mirrored(module, blur, sigma, state, clean)
    return put_given(module, (one + other) / 2 + blur + (one - other) / 4, state, clean)
