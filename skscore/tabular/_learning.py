"""How the network of a table is trained.

Rows come as intervals of probability and are drawn in them in every batch. The network starts from
a location model of them (:mod:`skscore._location_fit`). What is kept is the last validation whose
draws copy no rows, the one of the lowest loss on rows held out, or the last; of few rows a second
training then takes those that were held out, too. At the end posteriors of levels given all other
cells are calibrated on the rows, and the spread of drawn numbers and the shares of drawn levels are
held to theirs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from skscore._batches import Rows
from skscore._calibration import calibrate, hold_shares
from skscore._copying import LatestOriginal
from skscore._groups import FeatureGroup, missing_numbers, numeric_features
from skscore._inference import to_numpy
from skscore._location_fit import fit_location_model
from skscore._location_model import LocationModel
from skscore._selection import Latest, LowestLoss, Selection
from skscore._spread import fit_spread
from skscore._stand_ins import StandIns
from skscore._table_loss import LAW_OF_CONDITIONED, EncodedRows, TableLoss
from skscore._table_score import TableScore
from skscore._threads import seeded_globally
from skscore._training import Trained, TrainingPlan, train
from skscore._validation import (
    Array,
    block_seed,
    check_hidden_units,
    collapse_duplicates,
    torch_generator,
)
from skscore.noise import LogNormalSigma
from skscore.tabular._budget import (
    batch_size_for,
    hidden_units_for,
    n_steps_for,
    weight_decay_for,
)
from skscore.tabular._cells import missing_cells
from skscore.tabular._drawing import SIGMA_MAX, SIGMA_MIN, draw_in_training, draw_rows
from skscore.tabular._gower import GowerPoints
from skscore.tabular.encoder import TabularEncoder

__all__ = ["TableTraining", "TrainingOptions"]

_LAW = -1.2, 1.2
# Small tables are copied within a few hundred steps.
_N_VALIDATIONS, _STEPS_BETWEEN, _PATIENCE, _LEAST_COPY_RATE = 50, 60, 6.0, 0.02
_WATCHED_ROWS_MAX, _WATCHED_LOSSES = 10_000, 1024
_LEAST_SPLIT = 10
# Of so few the tenth held out is missed, and a second training is short.
_FEW_ROWS = 500
_ROWS_OF_BASE, _DRAWS_OF_BASE = 10_000, 4000
_DRAWS_OF_MARGINALS, _STEPS_OF_MARGINALS, _ROUNDS_OF_SHARES = 4096, 32, 6
# At which the interval of a value is looked at.
_N_PLACES = 4


class TrainingOptions(NamedTuple):
    """The parameters of a `TabularGenerator` that a training goes by."""

    hidden_units: Any
    max_steps: Any
    batch_size: Any
    lr: float
    weight_decay: Any
    early_stopping: Any
    validation_fraction: float
    verbose: Any

    def widths(self, n_rows: int) -> tuple[int, ...]:
        """Return the widths of the hidden layers."""
        if isinstance(self.hidden_units, str):
            return hidden_units_for(n_rows)
        return check_hidden_units(self.hidden_units)

    def budget(
        self, n_rows: int, *, ends_in_time: bool, starts_near: bool
    ) -> tuple[int, int, float]:
        """Return the size of a batch, the number of steps and the weight decay."""
        batch_size = batch_size_for(n_rows) if self.batch_size == "auto" else int(self.batch_size)
        steps = n_steps_for(n_rows, batch_size, ends_in_time=ends_in_time, starts_near=starts_near)
        steps = steps if self.max_steps == "auto" else int(self.max_steps)
        automatic = self.weight_decay == "auto"
        decay = weight_decay_for(n_rows) if automatic else float(self.weight_decay)
        return batch_size, steps, decay


@dataclass(frozen=True, eq=False)
class TableTraining:
    """The training of the network of a table.

    Attributes
    ----------
    options : TrainingOptions
        What the user asks for.
    encoder : TabularEncoder
        The fitted encoder.
    groups : sequence of FeatureGroup
        What the features stand for.
    lower, upper : ndarray of shape (n, d)
        The ends of the intervals; NaN in absent cells.
    weights : ndarray of shape (n,)
        The weights of the rows.
    seed : int
        Decides everything.
    device : torch.device
        Where to train.
    """

    options: TrainingOptions
    encoder: TabularEncoder
    groups: Sequence[FeatureGroup]
    lower: Array
    upper: Array
    weights: Array
    seed: int
    device: torch.device

    @cached_property
    def numeric(self) -> list[int]:
        """The features that are numbers."""
        return numeric_features(self.groups)

    @cached_property
    def missing(self) -> Tensor:
        """Which numbers (n, q) are marked as missing."""
        return torch.tensor(missing_numbers(self.lower, self.groups), device=self.device)

    @cached_property
    def continuous(self) -> Array:
        """Which numbers move by less than the noise does where they are drawn anew."""
        places = (np.arange(_N_PLACES) + 0.5) / _N_PLACES
        found = []
        for feature, gone in zip(self.numeric, to_numpy(self.missing).T.astype(bool), strict=True):
            lower, upper = self.lower[~gone, feature], self.upper[~gone, feature]
            if not self.encoder.quantile_features_[feature] or not len(lower):
                found.append(True)
                continue
            z = ndtri(lower + (upper - lower) * places[:, None])
            spread = np.average(z.var(axis=0), weights=self.weights[~gone])
            found.append(spread < (SIGMA_MIN / 2) ** 2)
        return np.array(found, dtype=bool)

    @classmethod
    def of_table(
        cls,
        X: Any,
        weights: Array | None,
        encoder: TabularEncoder,
        options: TrainingOptions,
        seed: int,
        device: torch.device,
        *,
        completes: bool,
    ) -> "TableTraining":
        """Encode a table; ``completes`` says that its missing cells are not known."""
        lower, upper = encoder.intervals(X)
        weights = np.ones(len(lower)) if weights is None else np.asarray(weights)
        groups, d = encoder.feature_groups_, lower.shape[1]
        if completes:
            gone, labels = missing_cells(X), encoder.columns_
            groups = _completed(groups, lower, upper, lambda c: gone[:, labels.index(c)])
        both, weights = collapse_duplicates(np.hstack([lower, upper]), weights.astype(np.float64))
        return cls(options, encoder, groups, both[:, :d], both[:, d:], weights, seed, device)

    def run(self, X: Any) -> tuple[Trained, float]:
        """Train, and return how it went, with the net to be used, and its copy rate.

        X is the table, which copies are told by; the rate is NaN where they are not looked at.
        """
        n, selection = len(self.weights), self._selection(X)
        kept, watched = self._split()
        trained = self._train(kept, watched, selection)
        if len(kept) < n < _FEW_ROWS:
            again = self._train(np.arange(n), watched, Latest(), trained.best_step)
            trained = replace(trained, net=again.net)
        self._hold_marginals(trained.net.module_)
        return trained, selection.kept if isinstance(selection, LatestOriginal) else np.nan

    def _train(
        self, kept: Array, watched: Array, selection: Selection, max_steps: int | None = None
    ) -> Trained:
        """Train a network on some rows, and take the losses of others."""
        n, device, options = len(self.weights), self.device, self.options
        is_quantile, generator = self.encoder.quantile_features_, torch_generator(self.seed, device)
        lower, upper, weights = self.lower, self.upper, self.weights
        rows = EncodedRows.between(lower[kept], upper[kept], is_quantile, device, weights[kept])
        others = EncodedRows.between(lower, upper, is_quantile, device)
        base, starts_near = self._base(rows, self.missing[kept])
        stand_ins = None if base is None else self._stand_ins(base, others)
        if stand_ins is not None:
            rows.stand_ins, others.stand_ins = stand_ins.of(torch.tensor(kept)), stand_ins
        with seeded_globally(self.seed, alone=True):
            module = TableScore(self.groups, options.widths(n), base, self.continuous)
        own = weights[watched] / weights[watched].mean()
        losses_of = Rows(
            others.smoothed(torch.tensor(watched, device=device), generator),
            torch.tensor(own, dtype=torch.float32).to(device),
        )
        batch_size, automatic, weight_decay = options.budget(
            n, ends_in_time=not isinstance(selection, Latest), starts_near=starts_near
        )
        max_steps = automatic if max_steps is None else max_steps
        plan = TrainingPlan(
            max_steps=max_steps,
            batch_size=batch_size,
            lr=options.lr,
            optimizer="adamw",
            callbacks=[],
            verbose=bool(options.verbose),
            seed=self.seed,
            noise_name="the noise levels of tables",
            weight_decay=weight_decay,
            # Of a short training more would cost more than it does.
            n_validations=int(np.clip(max_steps // _STEPS_BETWEEN, 5, _N_VALIDATIONS)),
        )
        law, of_conditioned = (
            LogNormalSigma(SIGMA_MIN, SIGMA_MAX, *of_log) for of_log in (_LAW, LAW_OF_CONDITIONED)
        )
        loss = TableLoss(law, self.groups, of_conditioned, redraw_sigma=SIGMA_MAX).to(device)
        trained = train(module.to(device), loss, rows, losses_of, plan, selection)
        module = trained.net.module_.double().eval().requires_grad_(requires_grad=False)
        calibrate(module, rows, SIGMA_MAX, torch_generator(self.seed, device))
        return trained

    def _hold_marginals(self, module: TableScore) -> None:
        """Hold the spread of drawn numbers and the shares of drawn levels to the rows."""
        if not self.numeric and not module.redraws:
            return
        weights = self.weights[:, None]
        is_given = np.isfinite(self.lower[:, self.numeric])
        is_given &= ~to_numpy(self.missing).astype(bool)
        of_numbers = _number_of_rows(is_given * weights)
        of_numbers[~self.encoder.quantile_features_[self.numeric]] = 0
        z = self._whole_rows(module, 0)
        fit_spread(module, z[:, self.numeric], missing_numbers(z, self.groups), of_numbers)
        n_rows, k = float(_number_of_rows(weights)[0]), 1
        while hold_shares(module, torch.tensor(z, device=self.device), n_rows):
            if k == _ROUNDS_OF_SHARES:
                return
            z, k = self._whole_rows(module, k), k + 1

    def _whole_rows(self, module: TableScore, k: int) -> Array:
        """Return many rows of which nothing is given, others for each k."""
        return draw_rows(
            self.encoder,
            module,
            _DRAWS_OF_MARGINALS,
            None,
            block_seed(self.seed, _DRAWS_OF_MARGINALS + k),
            n_steps=_STEPS_OF_MARGINALS,
            is_even=True,
            verbose=False,
        )

    def _base(self, rows: EncodedRows, missing: Tensor) -> tuple[LocationModel | None, bool]:
        """Return what the network starts from, and whether that leaves little to learn."""
        generator = torch_generator(self.seed, rows.values.device)
        index = torch.randperm(len(rows), generator=generator, device=generator.device)
        index = index[:_ROWS_OF_BASE]
        n_draws = int(np.clip(_DRAWS_OF_BASE // len(index), 1, 8))
        draws = [self._drawn(rows, index, missing, generator) for _ in range(n_draws)]
        weights = rows.weights[index].double().cpu().numpy()
        weights *= len(weights) / weights.sum()
        return fit_location_model(draws, weights, self.groups, self.seed)

    def _stand_ins(self, base: LocationModel, rows: EncodedRows) -> StandIns | None:
        """Return what the base draws where numbers are missing."""
        if not self.missing.any():
            return None
        generator, every = torch_generator(self.seed, self.device), torch.arange(len(rows))
        z = self._drawn(rows, every.to(self.device), self.missing, generator)
        return StandIns.of_rows(base, z, self.groups, self.device)

    def _drawn(
        self, rows: EncodedRows, index: Tensor, missing: Tensor, generator: torch.Generator
    ) -> Array:
        """Return a draw of rows (n, d), NaN where a number is missing."""
        z: Array = rows.smoothed(index, generator).double().cpu().numpy()
        z[:, self.numeric] = np.where(missing[index].cpu().numpy(), np.nan, z[:, self.numeric])
        return z

    def _split(self) -> tuple[Array, Array]:
        """Return the rows to train on and those to take losses of."""
        n = len(self.weights)
        if self.options.early_stopping != "loss" or n < _LEAST_SPLIT:
            return np.arange(n), np.linspace(0, n - 1, min(n, _WATCHED_LOSSES)).astype(int)
        order = np.random.RandomState(self.seed % 2**32).permutation(n)
        n_held_out = int(np.clip(round(self.options.validation_fraction * n), 1, n - 1))
        return np.sort(order[n_held_out:]), np.sort(order[:n_held_out])

    def _selection(self, X: Any) -> Selection:
        """Return what decides which weights are kept."""
        n, weights, asked = len(self.weights), self.weights, self.options.early_stopping
        if asked == "loss" and n >= _LEAST_SPLIT:
            return LowestLoss()
        if asked not in (True, "copy_rate") or not 3 <= n <= _WATCHED_ROWS_MAX:
            return Latest()
        if not self.encoder.quantile_features_.any():
            return Latest()  # of labels alone, new rows of the same law are often equal to old ones
        share_repeated = float(weights[weights > 1].sum() / weights.sum())
        points, rounds = GowerPoints(self.encoder, X), count()

        def draw(module: Any) -> Array:
            z = draw_in_training(module, block_seed(self.seed, next(rounds)))
            return points(self.encoder.inverse_transform(z)) if np.isfinite(z).all() else z

        return LatestOriginal(
            np.unique(points(X), axis=0),
            draw,
            share_repeated,
            metric="cityblock",
            least=_LEAST_COPY_RATE,
            patience=_PATIENCE,
        )


def _number_of_rows(weights: Array) -> Array:
    """Return how many rows of equal weight say as much as those of each column (n, q)."""
    found: Array = weights.sum(axis=0) ** 2 / (weights**2).sum(axis=0).clip(
        min=np.finfo(float).tiny
    )
    return found


def _completed(
    groups: Sequence[FeatureGroup], lower: Array, upper: Array, is_missing: Callable[[Any], Array]
) -> list[FeatureGroup]:
    """Make missing cells absent, in place, and return groups in which no cell is missing."""
    found = []
    for group in groups:
        features = slice(group.start, group.stop)
        gone, frequencies = is_missing(group.column), group.frequencies
        if group.codebook is None or frequencies is None:
            lower[gone, features] = upper[gone, features] = np.nan
        elif group.kind == "missing":
            lower[:, features] = upper[:, features] = group.codebook[0]
            group = replace(group, frequencies=np.array([1.0, 0.0]))
        elif gone.any():
            level = int((group.codebook @ lower[gone][0, features]).argmax())
            frequencies = np.where(np.arange(len(frequencies)) == level, 0.0, frequencies)
            lower[gone, features] = upper[gone, features] = np.nan
            group = replace(group, frequencies=frequencies / frequencies.sum())
        found.append(group)
    return found
