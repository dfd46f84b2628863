r"""What a score network of tables is trained on.

Numbers come as intervals of probability and are drawn in them in every batch,

    z = Φ⁻¹(l + V (u - l)),       V ~ U(0, 1)

(the randomised probability integral transform; Rüschendorf 2009). The loss of a row is the mean
over its cells of

    (1 + σ²)/σ² (D - z)²          a number
    -ln p_k / H(π)                a category of level k, H(π) = -Σ π_k ln π_k

each of which is 1 in the mean if nothing is known but the law of the column, at every σ for
numbers and as σ → ∞ for categories. Half of the rows see some of their cells clean, each with a
probability whose logarithm is uniform over rows, so that few given cells are as common as many:
these cells are given, and only the others count. In a quarter of these rows all cells are given but
one category, whose noise is the largest, as where levels are drawn again (:mod:`skscore._redraw`):
drawn with the others, few would be near. Not where the only category is that of the network's base,
which is not drawn again in whole rows. In three quarters of the other half the category of the
network's base is given, if it has one: whole rows are drawn given it. So one network learns the
score of the table, that of any columns given any others, and the posterior of each category given
all other cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from skscore._batches import Rows
from skscore._groups import FeatureGroup, presence_features
from skscore._losses import RowLoss
from skscore._stand_ins import StandIns
from skscore._table_score import ABSENT, DRAWN, GIVEN, TableScore
from skscore._typing import ScoreFn
from skscore._validation import Array
from skscore.noise import SigmaLaw, stratified_uniform

__all__ = ["LAW_OF_CONDITIONED", "EncodedRows", "TableLoss"]

_SHARE_CONDITIONED = 0.5
_SHARE_ALONE, _SHARE_FIRST = 0.25, 0.75
# ln σ of rows with given cells. With the law of the others, whose largest σ are rare, the means
# given some cells came out too near to those of all rows.
LAW_OF_CONDITIONED = 1.0, 1.5
_LEAST_ENTROPY = 0.01
# Φ⁻¹ of it is -6.4.
_LEAST_PROBABILITY = 1e-10


@dataclass
class EncodedRows(Rows):
    """Rows of an encoded table, of which some features are intervals of probability.

    Attributes
    ----------
    values : Tensor of shape (n, d)
        l, or the feature itself; NaN where a cell is absent.
    upper : Tensor of shape (n, d)
        u, or the feature itself.
    is_quantile : Tensor of bool, shape (d,)
        Which features are intervals.
    stand_ins : StandIns or None
        What is drawn in the place of missing numbers.
    """

    upper: Tensor | None = None
    is_quantile: Tensor | None = None
    stand_ins: StandIns | None = None

    @classmethod
    def between(
        cls,
        lower: Array,
        upper: Array,
        is_quantile: Array,
        device: torch.device,
        weights: Array | None = None,
    ) -> Self:
        """Take over arrays; probabilities stay in double precision."""
        weights = np.ones(len(lower)) if weights is None else weights
        return cls(
            torch.tensor(lower, device=device),
            torch.tensor(weights, dtype=torch.float32, device=device),
            upper=torch.tensor(upper, device=device),
            is_quantile=torch.tensor(is_quantile, device=device),
        )

    def smoothed(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """Return the rows of an index, drawn afresh in their intervals."""
        if self.upper is None or self.is_quantile is None:
            return super().smoothed(index, generator)
        values = self.values[index]
        found = values.to(torch.float32)
        if self.is_quantile.any():
            lower, upper = values[:, self.is_quantile], self.upper[index][:, self.is_quantile]
            V = torch.rand(lower.shape, generator=generator, device=generator.device)
            u = lower + V.to(lower) * (upper - lower)
            u = u.clamp(_LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
            found[:, self.is_quantile] = torch.special.ndtri(u).to(found)
        if self.stand_ins is not None:
            found = self.stand_ins.put_into(found, index, generator)
        return found


class TableLoss(RowLoss):
    """Denoising of numbers and classification of categories, some cells being given.

    Parameters
    ----------
    sigma_law : SigmaLaw
        The law of σ.
    groups : sequence of FeatureGroup
        What the features stand for.
    conditioned_law : SigmaLaw or None, default=None
        The law of σ in rows with given cells, whose means have to be known at the largest σ
        already; None is the same.
    redraw_sigma : float or None, default=None
        The noise level of a category given all other cells, in tables with a category that is not
        the base's; None draws it as in other rows.
    """

    entropies: Tensor
    present: Tensor
    # Of few rows held out, a draw of σ, noise and given cells each says little.
    n_draws = 32

    def __init__(
        self,
        sigma_law: SigmaLaw,
        groups: Sequence[FeatureGroup],
        conditioned_law: SigmaLaw | None = None,
        redraw_sigma: float | None = None,
    ) -> None:
        super().__init__()
        self.redraw_sigma = redraw_sigma
        self.conditioned_law = conditioned_law or sigma_law
        self.sigma_law = sigma_law
        entropies = []  # of each category
        for group in groups:
            if group.frequencies is None:
                continue
            p = torch.tensor(group.frequencies, dtype=torch.float32)
            entropies.append(torch.special.entr(p).sum().clamp(min=_LEAST_ENTROPY))
        self.register_buffer("entropies", torch.stack(entropies) if entropies else torch.zeros(0))
        present = torch.tensor(presence_features(groups), dtype=torch.long)
        self.register_buffer("present", present)

    def forward(
        self, score_fn: ScoreFn, x: Tensor, generator: torch.Generator, n_draws: int = 1
    ) -> Tensor:
        """Return the losses (n,) of clean rows x (n, d), NaN where cells are absent."""
        if not isinstance(score_fn, TableScore):
            raise TypeError("A table is learnt by a TableScore.")
        device = generator.device
        x = x.repeat_interleave(n_draws, 0)
        n, absent = len(x), x.isnan()
        x = x.nan_to_num()
        u = stratified_uniform(n, generator)[:, None].to(x)
        conditioned = torch.rand(n, 1, generator=generator, device=device) < _SHARE_CONDITIONED
        conditioned = conditioned.to(x.device)
        sigma = torch.where(
            conditioned, self.conditioned_law.quantile(u), self.sigma_law.quantile(u)
        )
        noise = torch.randn(x.shape, generator=generator, device=device, dtype=x.dtype).to(x)
        state, alone = self._states(score_fn, absent, conditioned, generator)
        if self.redraw_sigma is not None and score_fn.redraws:
            sigma = torch.where(alone, self.redraw_sigma, sigma)
        of_feature = state[:, score_fn.column]
        numbers, log_p = score_fn.parts(
            torch.where(of_feature == GIVEN, x, x + sigma * noise), sigma, state
        )
        counts = of_feature == DRAWN
        squared = (numbers - x[:, score_fn.numeric]).square()
        n_loss = (1 + 1 / sigma.square()) * squared
        levels = score_fn.levels_of(x)
        c_loss = -log_p.gather(1, levels) / self.entropies
        n_counts = counts[:, score_fn.numeric] & self._is_there(x)
        c_counts = counts[:, score_fn.first]
        total = (n_loss * n_counts).sum(1) + (c_loss * c_counts).sum(1)
        n_cells = (n_counts.sum(1) + c_counts.sum(1)).float()
        loss: Tensor = (total / n_cells.mean().clamp(min=1 / n)).reshape(-1, n_draws).mean(1)
        return loss

    def _states(
        self,
        score_fn: TableScore,
        absent: Tensor,
        conditioned: Tensor,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Return states (n, n_columns), and where all is given but one category (n, 1)."""
        n, device = len(absent), generator.device
        alone = torch.zeros_like(conditioned)
        u = torch.rand(n, 1, generator=generator, device=device)
        # From one column in all to all: the logarithm of the rate is uniform.
        rate = (score_fn.n_columns + 1.0) ** (u - 1) * conditioned.to(device)
        draws = torch.rand(n, score_fn.n_columns, generator=generator, device=device)
        state = torch.where(draws < rate, GIVEN, DRAWN).to(absent.device)
        if len(score_fn.category_columns):
            # Rare by the rates above, and what redraw_levels reads.
            picked = torch.randint(
                len(score_fn.category_columns), (n, 1), generator=generator, device=device
            )
            left_out = score_fn.category_columns[picked.to(absent.device)]
            alone = torch.rand(n, 1, generator=generator, device=device) < _SHARE_ALONE
            alone = alone.to(absent.device) & conditioned
            all_others = torch.full_like(state, GIVEN).scatter(1, left_out, DRAWN)
            state = torch.where(alone, all_others, state)
        if score_fn.base_column >= 0:
            first = torch.rand(n, generator=generator, device=device) < _SHARE_FIRST
            first = first.to(absent.device) & ~conditioned[:, 0]
            state[first, score_fn.base_column] = GIVEN
        return torch.where(score_fn.columns_of(absent), ABSENT, state), alone

    def _is_there(self, x: Tensor) -> Tensor:
        """Return which numbers (n, n_numeric) are not missing."""
        marked = x[:, self.present.clamp(min=0)] > 0.5
        there: Tensor = marked | (self.present < 0)
        return there
