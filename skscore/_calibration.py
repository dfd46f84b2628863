r"""Posteriors of levels, held to what training rows say of any two columns.

Where levels are drawn again (:mod:`skscore._redraw`), p_k is the network's posterior of a category
given all other cells of its row. The network learns it beside all else that it learns, and does not
come to agree with the data in every share that they tell well. With f_j = (z_j - μ_j)/λ_j for the
features of the other columns,

    q_k ∝ p_k exp(b_k + Σ_j W_kj f_j)

where W and b are least in Σ_i w_i (-ln q_i,y_i) + ρ/2 (‖W‖² + ‖b‖²), y_i the level of row i and w_i
its weight, so that

    Σ_i w_i (1[y_i = k] - q_ik) f_ij = ρ W_kj

But for the penalty, a level is then as frequent among the rows of any one level of another column
as it is in the data, and its rows have the means of numbers that they have there. Posteriors of
rows held out were best with ρ of 100 to 300 rows on tables of 800 and of 20 000.

Levels of less than ten rows have no coefficients, nor are others told by their codes: with one row,
W_k would be this row.

On the rows that a network has learnt from it is surer than on drawn ones, where rare levels are
lost: of 600 rows, a level of .10 that nothing tells was drawn for .06. So b_k ← b_k + ln(p_k/q_k)
for categories of which a share q_k among N draws is further from that of the n rows, p_k, than

    √(p_k (1 - p_k)/n) + 3 √(p_k (1 - p_k)/N)

Source: Kim, Ghorbani & Zou, "Multiaccuracy: black-box post-processing for fairness in
classification", AIES 2019.
"""

import torch
from torch import Tensor

from skscore._batches import Rows
from skscore._table_score import ABSENT, DRAWN, GIVEN, TableScore

__all__ = ["calibrate", "hold_shares", "log_posterior"]

_PENALTY = 100.0
# A product of rows, features and levels, which the time goes by.
_MOST_ROWS, _MOST_WORK = 20_000, 2**29
_MOST_ITERATIONS, _TOLERANCE = 60, 1e-6
# A level that is out of the question has the probability 0.
_LEAST_LOG_P = -30.0
_LEAST_ROWS = 10
_N_ERRORS_OF_DRAWS = 3.0
# Draws that are added to those of a level, so that few of them do not say much.
_MORE_DRAWS = 5.0


def log_posterior(
    module: TableScore,
    x: Tensor,
    own: Tensor,
    sigma_max: float,
    generator: torch.Generator,
    absent: Tensor | None = None,
) -> Tensor:
    """Return ln p of the levels of one column of each row, as the network has them.

    Parameters
    ----------
    module : TableScore
        The score.
    x : Tensor of shape (n, d)
        Rows without noise.
    own : Tensor of int, shape (n, 1)
        The column of each row.
    sigma_max : float
        The noise level that the code of this column gets, so that it says next to nothing.
    generator : torch.Generator
        Of this noise.
    absent : Tensor of bool, shape (n, n_columns), or None, default=None
        Which other cells are not known; None is none.

    Returns
    -------
    log_p : Tensor of shape (n, n_levels)
        Of the other columns it means nothing.
    """
    noise = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=generator.device)
    blurred = torch.where(module.column == own, x + sigma_max * noise.to(x), x)
    state = torch.full_like(x[:, :1], GIVEN).expand(-1, module.n_columns)
    if absent is not None:
        state = torch.where(absent, ABSENT, state)
    _, log_p = module.parts(
        blurred, torch.full_like(x[:, :1], sigma_max), state.scatter(1, own, DRAWN)
    )
    return log_p


def calibrate(module: TableScore, rows: Rows, sigma_max: float, generator: torch.Generator) -> None:
    """Fit W and b of all categories that whole rows have drawn again, in place.

    Of tables without any nothing is fitted, nor of those of so many levels and features that
    `TableScore` has no place for it.

    Parameters
    ----------
    module : TableScore
        A trained score, in double precision.
    rows : Rows
        The training rows, NaN where a cell is absent.
    sigma_max : float
        The noise level at which levels are drawn again.
    generator : torch.Generator
        Of the rows that are looked at, if they are many, and of noise.
    """
    module.calibration.zero_()
    if not module.redraws or not module.calibration.numel():
        return
    n_rows = max(1, min(len(rows), _MOST_ROWS, _MOST_WORK // module.calibration.numel()))
    index = torch.randperm(len(rows), generator=generator, device=generator.device)[:n_rows]
    x = rows.smoothed(index, generator).to(module.mean)
    weights = rows.weights[index].to(x)
    gone = x.isnan()
    x = torch.where(gone, module.mean, x)
    absent = module.columns_of(gone)
    levels = module.levels_of(x)
    there = ~gone[:, module.first] & (weights > 0)[:, None]
    is_told = torch.bincount(levels[there], minlength=len(module.owner)) >= _LEAST_ROWS
    f = module.standardised(x)
    f[:, module.unit_features] *= is_told[module.unit_levels]
    for j, column in zip(module.categories, module.category_columns, strict=True):
        with torch.no_grad():
            own = column.expand(len(x), 1)
            log_p = log_posterior(module, x, own, sigma_max, generator, absent)
        part, known = module.levels_of_category(j), there[:, j]
        module.calibration[part] = _fitted(
            log_p[known, part],
            levels[known, j] - part.start,
            torch.where(module.column == column, 0.0, f[known]),
            weights[known],
            is_told[part, None],
        )


def hold_shares(module: TableScore, z: Tensor, n_rows: float) -> bool:
    """Move b so that levels of whole rows have the shares of the training rows, in place.

    Parameters
    ----------
    module : TableScore
        A trained score.
    z : Tensor of shape (n, d)
        Many whole rows that were drawn from it.
    n_rows : float
        How many it was trained on.

    Returns
    -------
    moved : bool
        Whether shares of any category were off by more than chance.
    """
    if not module.redraws or not module.calibration.numel():
        return False
    levels, moved = module.levels_of(z), False
    for j, column in zip(module.categories, module.category_columns.tolist(), strict=True):
        part = module.levels_of_category(j)
        p = module.log_frequencies[part].double().exp()
        q = torch.bincount(levels[:, j] - part.start, minlength=module.sizes[j]) / len(z)
        error = (p * (1 - p)).sqrt()
        most = error / n_rows**0.5 + _N_ERRORS_OF_DRAWS * error / len(z) ** 0.5
        if column != module.base_column and ((p - q).abs() > most).any():
            more = _MORE_DRAWS / len(z)
            shift = ((p + more) / (q + more)).log()
            module.calibration[part, -1] += shift.to(module.calibration)
            moved = True
    return moved


def _fitted(log_p: Tensor, y: Tensor, f: Tensor, weights: Tensor, is_told: Tensor) -> Tensor:
    """Return W and b (K, d + 1) of one category, 0 for levels that are not told."""
    f = torch.nn.functional.pad(f, (0, 1), value=1.0)
    W = f.new_zeros(log_p.shape[1], f.shape[1], requires_grad=True)
    if not len(f):
        return W.detach()
    log_p = log_p.clamp(min=_LEAST_LOG_P)
    weights = weights / weights.sum()
    optimizer = torch.optim.LBFGS(
        [W],
        max_iter=_MOST_ITERATIONS,
        tolerance_grad=_TOLERANCE,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        errors = torch.nn.functional.cross_entropy(log_p + f @ (W * is_told).T, y, reduction="none")
        total = weights @ errors + _PENALTY / (2 * len(f)) * W.square().sum()
        total.backward()
        return total

    with torch.enable_grad():
        optimizer.step(loss)
    return W.detach()
