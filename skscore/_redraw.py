r"""Levels of categories drawn again, each given all other cells of its row.

    y ~ N(e_j, σ²I), j the level of column c;    k ~ p(level of column c | y, the other cells)

for one column after another, in any order, leaves the law of the rows as it is (Gibbs sampling;
Geman & Geman, IEEE PAMI 1984). A solver settles all cells of a row together, and what it has once
got wrong at a middling noise level it keeps: at the smaller ones a code that is nearly clean speaks
for itself. Here σ is the largest noise level, so that y says next to nothing and the posterior is
that of a classifier which sees the other cells.

Of more than 32 columns, each row draws 32, picked at random.
"""

import torch
from torch import Tensor

from skscore._calibration import log_posterior
from skscore._table_score import GIVEN, TableScore

__all__ = ["redraw_levels"]

# More would cost more than the way from noise to a row.
_MAX_DRAWS = 32


def redraw_levels(
    module: TableScore,
    x: Tensor,
    sigma_max: float,
    generator: torch.Generator,
    state: Tensor | None = None,
    u: Tensor | None = None,
) -> Tensor:
    """Return rows in which each category was drawn once more, given the rest of its row.

    Columns that have numbers beside a category, as those with missing cells do, stay as they are.

    Parameters
    ----------
    module : TableScore
        The score.
    x : Tensor of shape (n, d)
        Rows, without noise, that have a code in every category.
    sigma_max : float
        The largest noise level.
    generator : torch.Generator
        Of the order of the columns, which each row has its own of, and of what is drawn.
    state : Tensor of shape (n, n_columns) or None, default=None
        States of the cells; those that are given stay.
    u : Tensor of shape (n, n_categories) or None, default=None
        Uniform numbers that the levels are drawn by, where rows are to be spread evenly. None draws
        them.

    Returns
    -------
    rows : Tensor of shape (n, d)
    """
    columns = module.category_columns
    n_draws = min(len(columns), _MAX_DRAWS)
    shape = len(x), len(columns)
    keys = torch.rand(shape, generator=generator, device=generator.device).to(x.device)
    if state is not None:
        is_given = state[:, columns] == GIVEN
        keys = keys + is_given  # these come last
        n_draws = min(n_draws, int((~is_given).sum(1).max()))
    order = columns[keys.argsort(1)]
    for k in range(n_draws):
        own = order[:, k : k + 1]
        is_own = module.column == own
        if state is not None:
            is_own &= state.gather(1, own) != GIVEN
        log_p = module.calibrated(x, log_posterior(module, x, own, sigma_max, generator))
        drawn = module.draw_levels(log_p, generator) if u is None else module.levels_at(log_p, u)
        x = torch.where(is_own, module.encode_levels(x, drawn), x)
    return x
