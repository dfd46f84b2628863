r"""How wide drawn numbers are, held to what chance allows.

A network that is trained on few rows leads what is drawn towards the middle of them, the more the
fewer rows and the more columns there are: the standard deviation of 60 numbers learnt from 166 rows
came out as 0.75 of that of the rows. Every number is standard normal in the code of a table. With s
the standard deviation of many draws and μ their mean, they become

    μ + k (z - μ),    k s = s clipped to 1 ± 2.5/√(2n)

where 1/√(2n) is the standard error of the standard deviation of n normal numbers: the spread of
draws is that of the rows within 2.5 standard errors, and within three with the chance of a few
thousand draws. Where it was, draws stay as they are.

Rows of which cells are given are not touched, since what k makes of them depends on how much the
given cells say; but those of which the category of the network's base alone is given are, since
whole rows are drawn given it, too.
"""

import numpy as np
import torch
from torch import Tensor

from skscore._table_score import GIVEN, TableScore
from skscore._validation import Array

__all__ = ["fit_spread", "hold_spread"]

_N_ERRORS = 2.5
# What has less spread than this is no law of numbers to be widened.
_LEAST_SPREAD = 0.1


def fit_spread(module: TableScore, z: Array, missing: Array, n_rows: Array) -> None:
    """Learn μ and k of a table's numbers from draws, in place.

    Parameters
    ----------
    module : TableScore
        The score, of which ``spread`` is set.
    z : ndarray of shape (n, n_numeric)
        Many draws of the numbers.
    missing : ndarray of bool of shape (n, n_numeric)
        Which of them stand for a missing cell.
    n_rows : ndarray of shape (n_numeric,)
        How many rows each number was learnt from; 0 is of numbers that have no standard normal law.
    """
    mean, k = np.zeros(z.shape[1]), np.ones(z.shape[1])
    for j in np.flatnonzero(n_rows > 0):
        own = z[~missing[:, j], j]
        s = own.std() if len(own) else 0.0
        if s > _LEAST_SPREAD:
            error = 1 / np.sqrt(2 * n_rows[j])
            mean[j] = own.mean()
            k[j] = np.clip(s, 1 - _N_ERRORS * error, 1 + _N_ERRORS * error) / s
    module.spread.copy_(torch.tensor(np.stack([mean, k])))


def hold_spread(module: TableScore, z: Tensor, state: Tensor | None = None) -> Tensor:
    """Return rows (n, d) with the spread of their numbers held, where states are of whole rows."""
    mean, k = module.spread.to(z)
    numbers = z[:, module.numeric]
    held = mean + k * (numbers - mean)
    if state is not None:
        others = torch.arange(module.n_columns, device=z.device) != module.base_column
        is_whole = (state[:, others] != GIVEN).all(1, keepdim=True)
        held = torch.where(is_whole, held, numbers)
    return z.index_copy(1, module.numeric, held)
