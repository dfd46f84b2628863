"""How long a generator of tables is trained, on what batches, and how its weights are held down.

For n rows a training draws

    2·10⁶ ∛(n/1000)            between 7.68·10⁵ and 10⁷ of them, and
    5·10⁶ n/(n + 600)          where copies end it in time, if that is more, and
    7.5·10⁶ n/(n + 600)        up to 5·10⁶ from 500 rows on,

and of the trainings that end in time 0.7 of this where the network starts near, from Gaussians for
the levels of a category, or from one that no mixture improves on: it leaves less to learn. The
weight decay is (100/n)² between 0.01 and 1, and batches are of 256 rows, of 512 from 500 rows on: a
row takes two thirds of the time.
"""

import numpy as np

from skscore._training import WEIGHT_DECAY

__all__ = ["batch_size_for", "hidden_units_for", "n_steps_for", "weight_decay_for"]

_MANY_ROWS = 500
_VERY_MANY_ROWS = 200_000
_SHARE_FROM_NEAR = 0.7


def hidden_units_for(n_rows: int) -> tuple[int, ...]:
    """Return the widths of the hidden layers."""
    return (192, 192, 192) if n_rows < _VERY_MANY_ROWS else (512, 512, 512, 512)


def batch_size_for(n_rows: int) -> int:
    """Return the number of rows in a batch."""
    return 256 if n_rows < _MANY_ROWS else 512


def n_steps_for(n_rows: int, batch_size: int, *, ends_in_time: bool, starts_near: bool) -> int:
    """Return the number of gradient steps, of a training that copies may end before."""
    n_draws = np.clip(2.0e6 * (n_rows / 1000) ** (1 / 3), 7.68e5, 1.0e7)
    if ends_in_time:
        most = 5.0e6 if n_rows < _MANY_ROWS else 7.5e6
        n_draws = max(n_draws, min(most * n_rows / (n_rows + 600), 5.0e6))
        n_draws *= _SHARE_FROM_NEAR if starts_near else 1.0
    return max(1, round(n_draws / batch_size))


def weight_decay_for(n_rows: int) -> float:
    """Return what a step takes off a weight, over the learning rate."""
    return float(np.clip((100 / n_rows) ** 2, WEIGHT_DECAY, 1.0))
