"""How encoded rows are drawn from the score of a table.

At the largest noise level rows start from what is given and what columns have in common
(:mod:`skscore._table_start`), the level of the base's category first. The probability flow leads
them to the smallest and from there to none (:mod:`skscore._table_end`), and the spread of the
numbers of whole rows is held (:mod:`skscore._spread`). The levels of the other categories are drawn
from their posterior, and each once more given all other cells (:mod:`skscore._redraw`).
"""

import torch
from torch import Tensor
from tqdm.auto import tqdm

from skscore._even import EvenNormal, independent_normal
from skscore._inference import PART
from skscore._redraw import redraw_levels
from skscore._spread import hold_spread
from skscore._table_end import without_noise
from skscore._table_loss import EncodedRows
from skscore._table_score import DRAWN, GIVEN, TableScore, put_given
from skscore._table_start import draw_first, noise_and_ranks, starting_rows
from skscore._validation import Array, block_seed, torch_generator
from skscore.noise import karras_sigmas
from skscore.samplers import dpm_solver
from skscore.tabular._given import Given
from skscore.tabular.encoder import TabularEncoder

__all__ = ["SIGMA_MAX", "SIGMA_MIN", "draw_in_training", "draw_rows"]

SIGMA_MIN, SIGMA_MAX = 0.1, 10.0
_SCRAMBLING = 2**32 - 1  # no block of rows has this number
_STEPS_IN_TRAINING, _ROWS_IN_TRAINING = 16, 1000


def draw_rows(
    encoder: TabularEncoder,
    module: TableScore,
    n_rows: int,
    given: Given | None,
    seed: int,
    *,
    n_steps: int,
    is_even: bool,
    verbose: bool,
) -> Array:
    """Draw encoded rows.

    Parameters
    ----------
    encoder : TabularEncoder
        What encodes the given cells.
    module : TableScore
        The score, in double precision.
    n_rows : int
        How many.
    given : Given or None
        The cells that are given, of as many rows.
    seed : int
        Decides everything.
    n_steps : int
        Evaluations of the score for a row.
    is_even : bool
        Whether rows start from a Sobol sequence.
    verbose : bool
        Whether to show a progress bar.

    Returns
    -------
    z : ndarray of shape (n_rows, n_features)

    Raises
    ------
    FloatingPointError
        If the sampler diverges.
    """
    device = module.mean.device
    state = z_given = None
    if given is not None:
        state, z_given = _given_tensors(encoder, given, seed, device)
    even, n_random = None, len(module.mean) + module.n_categories
    if is_even:
        even = EvenNormal(n_random, torch_generator(block_seed(seed, _SCRAMBLING), device))
    blocks = []
    with tqdm(total=n_rows, desc="sampling", unit="row", disable=not verbose) as bar:
        for k in range(-(-n_rows // PART)):
            generator = torch_generator(block_seed(seed, k), device)
            part = slice(k * PART, (k + 1) * PART)
            block = None if state is None else state[part]
            clean = None if z_given is None else z_given[part]
            noise = even.draw(PART) if even else independent_normal(PART, n_random, generator)
            blocks.append(_draw_block(module, noise, block, clean, generator, n_steps))
            bar.update(min(PART, n_rows - k * PART))
    z = torch.cat(blocks)[:n_rows]
    if not z.isfinite().all():
        raise FloatingPointError(
            "The sampler diverged; fit with a smaller lr, or use more n_sampling_steps."
        )
    found: Array = z.cpu().numpy()
    return found


def draw_in_training(module: TableScore, seed: int) -> Array:
    """Draw 1000 encoded rows from a network in training, in single precision and fewer steps."""
    generator = torch_generator(seed, module.mean.device)
    with torch.no_grad():
        even = EvenNormal(len(module.mean) + module.n_categories, generator)
        noise, u = noise_and_ranks(module, even.draw(_ROWS_IN_TRAINING).float())
        state, clean = draw_first(module, u)
        _, z = _last_two(module, noise, state, clean, _STEPS_IN_TRAINING)
        z = module.encode_levels(z, module.levels_of(z))
        z = redraw_levels(module, z, SIGMA_MAX, generator, state, u)
    rows: Array = z.double().cpu().numpy()
    return rows


def _draw_block(
    module: TableScore,
    noise: Tensor,
    state: Tensor | None,
    clean: Tensor | None,
    generator: torch.Generator,
    n_steps: int,
) -> Tensor:
    noise, u = noise_and_ranks(module, noise)
    if state is not None and clean is not None:
        filler = PART - len(state)
        state = torch.cat([state, state[-1:].expand(filler, -1)])
        clean = torch.cat([clean, clean[-1:].expand(filler, -1)])
    state, clean = draw_first(module, u, state, clean)
    with torch.no_grad():
        x, z = _last_two(module, noise, state, clean, n_steps)
        z = hold_spread(module, z, state)
        # Of levels that are still open the mean is between their codes.
        _, log_p = module.parts(x, torch.full_like(x[:, :1], SIGMA_MIN), state)
        z = module.encode_levels(z, module.draw_levels(log_p, generator))
        z = put_given(module, z, state, clean)
        return redraw_levels(module, z, SIGMA_MAX, generator, state, u)


def _last_two(
    module: TableScore, noise: Tensor, state: Tensor | None, clean: Tensor | None, n_steps: int
) -> tuple[Tensor, Tensor]:
    """Return rows (n, d) at the smallest noise level, and without noise."""

    def score_fn(x: Tensor, sigma: Tensor) -> Tensor:
        score: Tensor = module(x, sigma, state)
        return score

    start = starting_rows(module, noise, SIGMA_MAX, state, clean)
    sigmas = karras_sigmas(SIGMA_MAX, SIGMA_MIN, n_steps).to(start)
    x, D = dpm_solver(score_fn, start, sigmas, return_trajectory=True)[-2:]
    return x, without_noise(module, x, D, SIGMA_MIN, state)


def _given_tensors(
    encoder: TabularEncoder, given: Given, seed: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return the states of cells (n, n_columns) and encoded rows (n, d)."""
    lower, upper = encoder.intervals(given.rows)
    rows = EncodedRows.between(lower, upper, encoder.quantile_features_, device)
    generator = torch_generator(seed, device)
    z = rows.smoothed(torch.arange(len(rows), device=device), generator)
    columns = list(dict.fromkeys(group.column for group in encoder.feature_groups_))
    labels = encoder.columns_
    state = torch.full((len(rows), len(columns)), DRAWN, dtype=torch.float64, device=device)
    for j, label in enumerate(columns):
        is_given = torch.tensor(given.known[:, labels.index(label)], device=device)
        state[is_given, j] = GIVEN
    return state, z.double()
