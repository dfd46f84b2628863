r"""Stop a generator before it copies the rows it was trained on.

A generated row is a copy if it lies much nearer to one training row than to any other,

    d_1/d_2 < 1/3        (Yoon et al. 2023; Gu et al. 2023)

with d_1, d_2 its distances to the two nearest training rows. A new row of the same law does so,
too, at a rate that the training rows themselves show, each held against the others. While a network
is trained, the share of copies among what it generates is near 0 at first and rises late, long
after the held-out loss has begun to rise at the smallest noise levels; up to there the samples
improve. So the last validation is kept at which

    rate <= rate of the training rows + 0.01 + 2 SE,

SE being the standard error of the difference of the two rates, or, more strictly, at which

    rate <= max(r, least)

with r the rate of the training rows, or that of the first two validations if it is more: what is
hardly trained copies nothing but by chance, and the rate of few training rows has an error of its
own. No error is added: the latest of many validations below a limit is one that chance has helped.
"""

import math
from collections.abc import Callable

import numpy as np
from torch import Tensor, nn

from skscore._validation import Array
from skscore.metrics import Metric, copy_rate

__all__ = ["LatestOriginal"]

_TOLERANCE = 0.01
_N_FIRST = 2


class LatestOriginal:
    """Keep the latest validation whose samples copy no more rows than chance.

    Parameters
    ----------
    rows : ndarray of shape (n, d)
        The distinct training rows.
    draw : callable
        Draws rows, (m, d), from the network it is called with.
    share_repeated : float, default=0.0
        Share of the training rows that have an equal: a new row does with that probability, too.
    metric : str or callable, default="euclidean"
        Distance of rows, see `skscore.metrics.copy_rate`.
    least : float or None, default=None
        Of the strict limit, for rates that are drawn without much noise; None is the other limit.
    patience : float, default=3.0
        Validations in a row that may fail before training ends.

    Attributes
    ----------
    rates : list of float
        Copy rate at each validation.
    kept : float
        Copy rate at the validation that is kept.
    reference : float
        Copy rate of the training rows among themselves.
    """

    def __init__(
        self,
        rows: Array,
        draw: Callable[[nn.Module], Array],
        share_repeated: float = 0.0,
        metric: Metric = "euclidean",
        least: float | None = None,
        patience: float = 3.0,
    ) -> None:
        self.rows = rows
        self.draw = draw
        self.metric = metric
        self.least = least
        self.patience = patience
        near = copy_rate(rows, rows, exclude_self=True, metric=metric)
        self.reference = share_repeated + (1 - share_repeated) * near
        self.rates: list[float] = []
        self.kept = math.nan

    def improves(self, module: nn.Module, losses: Tensor) -> bool:
        """Whether samples of the module copy no more than chance."""
        drawn = self.draw(module)
        if not np.isfinite(drawn).all():
            self.rates.append(math.nan)
            return False
        rate = copy_rate(drawn, self.rows, metric=self.metric)
        self.rates.append(rate)
        original = rate <= self._limit(len(drawn))
        if original or math.isnan(self.kept):
            self.kept = rate
            return True
        return False

    def _limit(self, n_drawn: int) -> float:
        r = self.reference
        if self.least is not None:
            return max(r, float(np.mean(self.rates[:_N_FIRST])), self.least)
        variance = r * (1 - r)
        error = math.sqrt(variance * (1 / n_drawn + 1 / len(self.rows)))
        return r + _TOLERANCE + 2 * error
