r"""Categories among the features of a generator: their classes, their levels, their given cells.

Feature groups say which features are the code of a category. These are denoised by the posterior of
its levels, the others by regression (:mod:`skscore._table_score`), and one Gaussian process blurs
both. So ∇ log p_σ, Tweedie's mean and whatever a solver makes of them mean what they do without
groups. What a solver returns for a category is a mean of codes; the level is drawn from the
posterior that the solver read last, and then once more given the other cells
(:mod:`skscore._redraw`); its code is what is sampled. With m features of codes,

    p(numbers, levels) = (2πσ²)^(m/2) p_σ(numbers, codes)

at a σ so small that the blurred codes do not overlap.

The codes stay in units of their own, so that σ means the same for every category. Only numbers are
standardised, dequantised, and left out where they are constant.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from skscore._batches import Rows
from skscore._calibration import calibrate
from skscore._generation import BlockDraw, Generation
from skscore._groups import (
    FeatureGroup,
    check_codes,
    check_groups,
    code_features,
    nearest_levels,
    same_codes,
    without_features,
)
from skscore._independent_columns import IndependentColumns
from skscore._latent import Latent
from skscore._losses import RowLoss
from skscore._redraw import redraw_levels
from skscore._selection import Selection
from skscore._stand_ins import with_stand_ins
from skscore._table_loss import LAW_OF_CONDITIONED, TableLoss
from skscore._table_score import DRAWN, GIVEN, TableScore, denoise_mirrored
from skscore._threads import seeded_globally
from skscore._typing import BlurredDensity, ScoreFn
from skscore._validation import Array, torch_generator
from skscore.gaussians import GaussianScore
from skscore.noise import LogNormalSigma, NoiseProcess, SigmaLaw

__all__ = ["Categories"]


class _Numbers(NamedTuple):
    """An option of which all other values are for numbers alone, and why they are."""

    value: Any
    reason: str


_FOR_NUMBERS = {
    "model": _Numbers("score", "a Gaussian mixture has no classes"),
    "module": _Numbers(None, "a network of codes needs an output for each level"),
    "parametrization": _Numbers("preconditioned", "of a category the posterior is predicted"),
    "loss_weighting": _Numbers("edm", "categories are learnt by their cross-entropy"),
}


class _LastRead:
    """A score function that remembers where all rows of a block were read last."""

    def __init__(self, score_fn: ScoreFn, n_rows: int) -> None:
        self.score_fn = score_fn
        self.n_rows = n_rows
        self.place: tuple[Tensor, Tensor] | None = None

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        # A sampler of the user's may read some rows alone, or none.
        if len(x) == self.n_rows:
            self.place = x, sigma
        return self.score_fn(x, sigma)


class Categories(Generation, Latent):
    """A generator whose features may be codes of categories."""

    noise: str | NoiseProcess
    sampler: Any
    sigma_min: float | str
    warm_start: bool
    feature_groups_: list[FeatureGroup] | None

    def _coded(self) -> list[FeatureGroup]:
        """Return the groups of the features, and none where all of them are numbers."""
        return _with_codes(getattr(self, "feature_groups_", None))

    def _are_codes(self, n_features: int) -> Array:
        return code_features(self._coded(), n_features)

    def _groups_z(self) -> list[FeatureGroup]:
        """Return the groups of the features of z."""
        return without_features(self._coded(), self.constant_)

    # What is learnt.

    def _learn_groups(self, feature_groups: Any, X: Array) -> None:
        groups = None if feature_groups is None else check_groups(feature_groups, X.shape[1])
        coded = _with_codes(groups)
        if coded:
            self._refuse_options()
            check_codes(X, coded)
        if self.warm_start and hasattr(self, "net_"):
            self._check_same(coded, "warm_start=True goes on from the last fit")
        self.feature_groups_ = groups

    def _keep_groups(self, feature_groups: Any, X: Array) -> None:
        """Check groups and rows that come after those of the fit."""
        if self._coded():
            self._refuse_options()
            check_codes(X, self._coded())
        if feature_groups is not None:
            coded = _with_codes(check_groups(feature_groups, X.shape[1]))
            self._check_same(coded, "partial_fit goes on from the first call")

    def _check_same(self, coded: list[FeatureGroup], why: str) -> None:
        """Raise if groups are not those of the last fit."""
        if not same_codes(coded, self._coded()):
            raise ValueError(
                f"{why}, whose features stood for something else; give feature_groups with the "
                "same features, levels and codes, or fit anew."
            )

    def _refuse_options(self) -> None:
        """Raise if an option is for numbers alone."""
        for name, (value, reason) in _FOR_NUMBERS.items():
            given = getattr(self, name)
            if given is not value and given != value:
                raise ValueError(
                    f"{name}={given!r} is for numbers alone, and feature_groups has categories: "
                    f"{reason}. Use {name}={value!r}, or feature_groups=None."
                )
        if self.sigma_min == "cv" and not isinstance(self.noise, NoiseProcess):
            raise ValueError(
                "sigma_min='cv' chooses by the scores of numbers, and feature_groups has "
                "categories, whose level is certain at all of its noise levels; use a number such "
                "as sigma_min=0.02."
            )

    def _build_module(self, spread: Array, n_rows: int, seed: int) -> nn.Module:
        if not self._coded():
            return super()._build_module(spread, n_rows, seed)
        with seeded_globally(seed, alone=True):
            return TableScore(self._groups_z(), self._hidden_units(n_rows))

    def _table_loss(self, law: SigmaLaw) -> RowLoss:
        conditioned = law
        if isinstance(law, LogNormalSigma):
            conditioned = LogNormalSigma(self.sigma_min_, self.sigma_max_, *LAW_OF_CONDITIONED)
        return TableLoss(law, self._groups_z(), conditioned, redraw_sigma=self.sigma_max_)

    def _fit_network_from(
        self, module: nn.Module, z: Array, weights: Array, seed: int, device: torch.device
    ) -> Selection:
        if not self._coded():
            return super()._fit_network_from(module, z, weights, seed, device)
        z = with_stand_ins(z, weights, self._groups_z(), seed)
        selection = super()._fit_network_from(module, z, weights, seed, device)
        kept, _ = self._split(len(z), seed)
        rows = Rows.of(z[kept], weights[kept], device, self._widths_z())
        calibrate(self.net_.module_, rows, self.sigma_max_, torch_generator(seed, device))
        return selection

    # What is drawn.

    def _draw_gaussian(self, n_samples: int, sigma: float, generator: torch.Generator) -> Tensor:
        x = super()._draw_gaussian(n_samples, sigma, generator)
        return x + self._tensor(self._mean_z()) if self._coded() else x

    def _block_draw(
        self, guidance: Callable[[Tensor, Tensor], Tensor] | None, *, all_states: bool
    ) -> BlockDraw:
        if not self._coded():
            return super()._block_draw(guidance, all_states=all_states)
        module: TableScore = self.net_.module_
        solve = self._solver()

        def draw(x: Tensor, given: Tensor | None, generator: torch.Generator) -> Tensor:
            known = torch.zeros_like(x, dtype=torch.bool) if given is None else ~given.isnan()
            clean = x if given is None else given.nan_to_num()
            state = x.new_full((len(x), module.n_columns), DRAWN)
            state[:, module.column] = torch.where(known, GIVEN, DRAWN).to(x)

            def score_fn(x: Tensor, sigma: Tensor) -> Tensor:
                # Solvers that add noise add it to given cells, too.
                score: Tensor = module(torch.where(known, clean, x), sigma, state)
                return score

            guided = score_fn if guidance is None else self._guided(score_fn, guidance)
            last = _LastRead(guided, len(x))
            if known.any():
                # The means given some cells may be far from those of all rows.
                sigma_max = torch.full_like(x[:, :1], self.sigma_max_)
                mean = module.mean.to(x)
                sides = denoise_mirrored(module, x - mean, sigma_max, state, clean)
                x = torch.where(known, clean, x + (sides[0] + sides[1]) / 2 - mean)
            states = solve(last, x, generator, all_states=all_states)
            end = self._finite(states[-1] if all_states else states)
            read, sigma = last.place or (end, torch.full_like(end[:, :1], self.sigma_min_))
            _, log_p = module.parts(torch.where(known, clean, read), sigma, state)
            end = module.encode_levels(end, module.draw_levels(log_p, generator))
            end = torch.where(known, clean, end)
            # p(level | the others) knows nothing of a guide, nor of where a user's sampler leads.
            if guidance is None and not callable(self.sampler):
                end = redraw_levels(module, end, self.sigma_max_, generator, state)
            return torch.cat([states[:-1], end[None]]) if all_states else end

        return draw

    def _rows_of(self, z: Tensor) -> Array:
        X = super()._rows_of(z)
        for group in self._coded():
            if group.codebook is not None:  # the network has codes in single precision
                X[:, group.start : group.stop] = group.codebook[nearest_levels(X, group)]
        return X

    def _has_numbers(self) -> bool:
        """Whether a feature is no code: of labels alone, new rows are often equal to old ones."""
        return not self._are_codes(len(self.constant_)).all()

    def _at_codes(self, module: nn.Module, z: Tensor) -> Tensor:
        """Return rows of z with the nearest code of every category."""
        if not isinstance(module, TableScore):
            return z
        return module.encode_levels(z, module.levels_of(z))

    def _check_given(self, given: Array) -> None:
        coded = self._coded()
        for column in dict.fromkeys(group.column for group in coded):
            own = [given[:, g.start : g.stop] for g in coded if g.column == column]
            missing = np.isnan(np.hstack(own))
            partly = missing.any(1) & ~missing.all(1)
            if partly.any():
                raise ValueError(
                    f"conditions have NaN in some of the features of column {column!r} and not in "
                    f"others, in row {int(partly.argmax())}; give all of them or none."
                )
        check_codes(given, coded, "conditions")

    # Densities, of numbers and levels.

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        r"""Return minus the held-out Fisher-divergence objective, higher is better.

        Of numbers it is -E[‖s(x)‖² + 2 tr ∇s(x)] = E‖∇log p‖² - D_F(p, s) over the rows of X, which
        are taken as clean, in the units of the noise level, s being the score at ``sigma_min``.
        D_F(p, s) = E‖∇log p - s‖² carries no factor ½ (Hyvärinen 2005, theorem 1, has one). The
        constant E‖∇log p‖² does not depend on the model, so differences between two models are
        differences of their Fisher divergence. The trace is exact up to 100 features and
        Hutchinson's estimate with 64 fixed probes above.

        Codes of categories have no density, and at ``sigma_min`` their level is certain whatever
        was learnt. Where there are any, it is minus `held_out_nll`, which is another constant minus
        ∫ σ D_F(p_σ, s_σ) dσ over all noise levels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Clean data, not seen in training.
        y : Ignored
            Present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        score : float
            In 1/σ², the units of σ being those of the noise; in nats with categories.

        Raises
        ------
        ValueError
            If a column of numbers has missing cells marked among the categories.
        """
        if self._coded():
            return -self.held_out_nll(X, sample_weight=sample_weight)
        return super().score(X, y, sample_weight)

    def _mean_z(self) -> Array:
        """Return the mean of the features of z, by the frequencies of levels."""
        mean = np.zeros(len(self.covariance_))
        for group in self._groups_z():
            if group.codebook is not None:
                mean[group.start : group.stop] = group.frequencies @ group.codebook
        return mean

    def _prior(self) -> GaussianScore:
        if not self._coded():
            return super()._prior()
        covariance = self._tensor(self.covariance_)
        return GaussianScore(self._tensor(self._mean_z()), covariance)

    def _reference(self) -> BlurredDensity:
        if not self._coded():
            return super()._reference()
        return IndependentColumns(self._groups_z(), self._tensor(self.covariance_))

    def _log_cells(self) -> float:
        # p_σ at a code of m features is the probability of its level times (2πσ²)^(-m/2).
        n_codes = int(self._are_codes(len(self.constant_)).sum())
        return n_codes * math.log(2 * math.pi * self.sigma_min_**2) / 2 if n_codes else 0.0

    def _check_density_rows(self, X: Any) -> Array:
        rows = super()._check_density_rows(X)
        coded = self._coded()
        for group in coded:
            if group.kind == "missing":
                raise ValueError(
                    f"Column {group.column!r} has missing cells, whose number stands for nothing, "
                    "so that rows have no density. Compare what is sampled, for instance by "
                    "skscore.metrics.c2st of encoded rows, or fit on rows without missing cells."
                )
        check_codes(rows, coded)
        return rows

    def _check_numbers(self, method: str) -> None:
        if self._coded():
            raise ValueError(
                f"{method} is for numbers alone, and feature_groups has categories, whose codes "
                "have no density that the probability flow could carry to a Gaussian one. Read "
                "score_samples for log-densities, or fit with feature_groups=None."
            )


def _with_codes(groups: list[FeatureGroup] | None) -> list[FeatureGroup]:
    """Return groups that have a category among them, else none."""
    if groups is None or all(group.codebook is None for group in groups):
        return []
    return groups
