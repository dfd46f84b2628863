r"""Numbers that stand where one is missing, in tables in which that is something to be learnt.

A column with missing cells is a number and a mark that says whether it is there. A solver moves
the number of every row, and does not know before the end which are marked as missing: what it has
there is a number as it would be. So it has to be in the rows that are trained on. With o the
numbers of a row that are there and m those that are missing, and with N(μ, C) what the location
model has for the level of the row, or for a component k ~ r_k ∝ π_k N(z_o; μ_k, C_k) of a mixture,

    z_m ~ N(μ_m + C_mo C_oo⁻¹ (z_o - μ_o), C_mm - C_mo C_oo⁻¹ C_om)

is drawn afresh in each batch. With numbers that have nothing to do with the row, what columns have
in common would be diluted, and rows that are drawn would not be like those that were trained on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from skscore._groups import FeatureGroup, missing_numbers, nearest_levels, numeric_features
from skscore._incomplete import MOST_WORK, Holes
from skscore._location_fit import fit_location_model
from skscore._location_model import LocationModel
from skscore._validation import Array, torch_generator

__all__ = ["StandIns", "with_stand_ins"]

_ROWS_OF_MODEL = 10_000


@dataclass(frozen=True, eq=False)
class StandIns:
    """What is drawn in the place of missing numbers.

    Attributes
    ----------
    place : Tensor of int, shape (n,)
        Which of the rows with missing numbers a row is, -1 if it is none.
    pattern : Tensor of int, shape (n_holed,)
        Which numbers it lacks.
    r : Tensor of shape (n_holed, K)
        The r_k; of a category, 1 for the level of the row.
    there : Tensor of bool, shape (n_patterns, q)
        Which numbers are there.
    means : Tensor of shape (K, q)
        The μ_k.
    gains, roots : Tensors of shape (K, n_patterns, q, q)
        C_oo⁻¹ C_om, and a square root of the covariance of z_m.
    features : Tensor of int, shape (q,)
        Where the numbers are in a row.
    """

    place: Tensor
    pattern: Tensor
    r: Tensor
    there: Tensor
    means: Tensor
    gains: Tensor
    roots: Tensor
    features: Tensor

    @classmethod
    def by_model(
        cls,
        model: LocationModel,
        z: Array,
        levels: Array | None,
        features: Sequence[int],
        device: torch.device,
    ) -> Self | None:
        """Take the law of missing numbers from a location model.

        Parameters
        ----------
        model : LocationModel
            The model.
        z : ndarray of shape (n, q)
            Numbers, NaN where one is missing.
        levels : ndarray of shape (n,) or None
            The levels of the model's category; None if it has none.
        features : sequence of int
            Where the numbers are in a row.
        device : torch.device
            Where to draw.

        Returns
        -------
        stand_ins : StandIns or None
            None if no number is missing, or patterns are so many that it would take too long.
        """
        holed = np.flatnonzero(np.isnan(z).any(1))
        holes, K = Holes.in_rows(z[holed]), len(model.means)
        if not len(holed) or K * holes.work > MOST_WORK:
            return None
        means, covariances = (
            part.cpu().double().numpy() for part in (model.means, model.covariances)
        )
        log_joint = model.log_shares.cpu().double().repeat(len(holed), 1)
        gains: list[Array] = []
        roots: list[Array] = []
        for k in range(K):
            done = holes.complete(z[holed], means[k], covariances[k])
            variances, axes = np.linalg.eigh(done.laws.spread)
            gains.append(done.laws.gain)
            roots.append(axes * np.sqrt(np.maximum(variances, 0.0))[:, None] @ axes.swapaxes(1, 2))
            log_joint[:, k] += torch.tensor(done.log_f)
        if levels is None:
            r = log_joint.softmax(1)
        else:
            r = torch.nn.functional.one_hot(torch.tensor(levels[holed]).long(), K)
        place = torch.full((len(z),), -1)
        place[holed] = torch.arange(len(holed))
        parts = place, torch.tensor(holes.pattern), r.float(), torch.tensor(holes.there)
        laws = (torch.tensor(np.array(own)).float() for own in (means, gains, roots))
        return cls(*(part.to(device) for part in (*parts, *laws, torch.tensor(features))))

    @classmethod
    def of_rows(
        cls,
        model: LocationModel,
        z: Array,
        groups: Sequence[FeatureGroup],
        device: torch.device,
    ) -> Self | None:
        """Take it for encoded rows z (n, d), NaN where a number is missing."""
        features, levels = numeric_features(groups), None
        if model.category is not None:
            categories = [group for group in groups if group.codebook is not None]
            levels = nearest_levels(z, categories[model.category])
        return cls.by_model(model, z[:, features], levels, features, device)

    def of(self, rows: Tensor) -> Self:
        """Return those of some of the rows."""
        return replace(self, place=self.place[rows])

    def put_into(self, z: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Return some rows (n, d) with numbers drawn for those that are missing."""
        place = self.place[rows]
        holed = place >= 0
        place = place[holed]
        if not len(place):
            return z
        k = torch.multinomial(self.r[place], 1, generator=generator)[:, 0]
        pattern, x, found = self.pattern[place], z[holed][:, self.features], z.clone()
        there, mean = self.there[pattern], self.means[k]
        noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        centred = torch.where(there, x - mean, 0.0)[:, None]
        drawn = centred @ self.gains[k, pattern] + noise[:, None] @ self.roots[k, pattern]
        at = holed.nonzero(), self.features
        found[at] = torch.where(there, x, mean + drawn[:, 0])
        return found


def with_stand_ins(z: Array, weights: Array, groups: Sequence[FeatureGroup], seed: int) -> Array:
    """Return encoded rows with the numbers that are marked as missing drawn, once.

    By a location model that is fitted to the others. Where there is none, because numbers are
    independent, and where nothing is missing, rows stay as they are.

    Parameters
    ----------
    z : ndarray of shape (n, d)
        The rows, with any number where one is missing.
    weights : ndarray of shape (n,)
        Their weights.
    groups : sequence of FeatureGroup
        What the features stand for.
    seed : int
        Decides everything.

    Returns
    -------
    z : ndarray of shape (n, d)
    """
    missing, numeric = missing_numbers(z, groups), numeric_features(groups)
    if not missing.any():
        return z
    holed = z.copy()
    holed[:, numeric] = np.where(missing, np.nan, z[:, numeric])
    some = np.random.RandomState(seed % 2**32).permutation(len(z))[:_ROWS_OF_MODEL]
    model, _ = fit_location_model([holed[some]], weights[some] / weights[some].mean(), groups, seed)
    cpu = torch.device("cpu")
    stand_ins = None if model is None else StandIns.of_rows(model, holed, groups, cpu)
    if stand_ins is None:
        return z
    rows, every = torch.tensor(z, dtype=torch.float32), torch.arange(len(z))
    drawn = stand_ins.put_into(rows, every, torch_generator(seed, cpu)).double().numpy()
    holed[:, numeric] = np.where(missing, drawn[:, numeric], z[:, numeric])
    return holed
