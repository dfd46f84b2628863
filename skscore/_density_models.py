r"""How :class:`~skscore.ScoreMatchingDensity` fits its models, and what it finds out about them.

    score, energy                          networks, trained
    gaussian, gaussian_mixture, kernel     closed forms, solved
    stack                                  a convex combination of closed forms and networks
    auto                                   what held-out rows prefer of these

An energy is normalised after the fit, log Z by bridge sampling (:mod:`skscore.likelihood`), and is
sampled from the proposal that this needs. The mixtures are normalised as they are.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skscore._batches import Rows
from skscore._candidates import AtLevel, Fold, Readings, best_level, compare
from skscore._chains import draw_from_energy
from skscore._closed_form import CLOSED_FORM, fit_closed_form
from skscore._diagnostics import (
    mode_shares,
    overfitting_message,
    separated_modes_message,
    stein_ratio,
)
from skscore._inference import in_parts, to_numpy
from skscore._langevin import LangevinEstimator, chain_lengths, n_chains_for
from skscore._losses import DenoisingLoss, RowLoss
from skscore._named_objectives import (
    BLURRED,
    check_objective_params,
    make_loss,
    score_in_units,
)
from skscore._selection import Latest, LowestLoss, Selection
from skscore._typing import ScoreFn
from skscore._validation import Array, fold_rows, torch_generator, warn
from skscore.energies import EnergyMLP, EnergyScore
from skscore.exceptions import (
    OverfittingWarning,
    SeparatedModesWarning,
    UnreliableNormalizerWarning,
)
from skscore.gaussians import GaussianMixtureScore, fit_gaussian_mixture
from skscore.likelihood import BridgeEstimate, normalize_energy
from skscore.networks import ScoreMLP
from skscore.noise import LogUniformSigma, geometric_sigmas
from skscore.stacking import StackedScore

__all__ = ["MIXTURES", "NETWORKS", "UNNORMALIZED", "DensityModels"]

NETWORKS = ("score", "energy")
MIXTURES = ("gaussian", "gaussian_mixture")
UNNORMALIZED = ("energy", "kernel")

_EXACT_TRAINING_MAX = 8
_ROWS_FOR_MODES = 2000
_N_CHAINS, _N_DRAWS = 500, 50_000
_LEAST_ESS = 0.01
_ROWS_TO_JUDGE = 10
# Below, every row is held out once; above, a share of them is enough.
_MANY_ROWS, _N_FOLDS = 20_000, 5
# The noise levels of a network that is read at the best of them, in standard deviations.
_LOWEST, _HIGHEST, _N_LEVELS = 0.025, 0.5, 10
_OF_ONE_MODEL = (
    "closed_form_",
    "stack_",
    "selection_results_",
    "network_sigma_",
    "validation_curve_",
    "stein_ratio_",
    "stein_ratio_std_",
    "proposal_",
    "log_normalizer_",
    "log_normalizer_std_",
    "effective_sample_size_",
    "sampling_report_",
)


class DensityModels(LangevinEstimator):
    """The models of one noise level, or of none."""

    model_: str
    closed_form_: nn.Module

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.objective != "auto":
            check_objective_params(self.objective, self.objective_params)
        if self.model == "energy" and self.parametrization == "score":
            raise ValueError(
                "parametrization='score' makes the output of the network the score, and that of "
                "model='energy' is an energy; use parametrization='preconditioned'."
            )
        if self.model in ("auto", "stack") and not self.early_stopping:
            raise ValueError(
                f"model={self.model!r} compares models on held-out rows, and early_stopping=False "
                "holds out none; use early_stopping=True or name a model."
            )
        if self.model == "kernel" and self.objective not in ("auto", "implicit"):
            raise ValueError(
                f"model='kernel' is solved for the implicit objective, not for {self.objective!r}; "
                "use objective='auto' or 'implicit'."
            )
        if self.model in CLOSED_FORM and self.objective == "explicit":
            raise ValueError(
                "objective='explicit' trains a network on a known score, and "
                f"model={self.model!r} does not use one; use model='score' or 'energy'."
            )

    def _learn(self, z: Array, weights: Array, seed: int, device: torch.device) -> Selection:
        self.objective_ = self.objective
        if self.objective == "auto":
            # Energies overfit the implicit objectives within a few steps.
            exact = "implicit" if z.shape[1] <= _EXACT_TRAINING_MAX else "sliced_vr"
            denoised = self.model == "energy" or self._noise_conditional()
            self.objective_ = "denoising" if denoised else exact
        self.sigma_ = float(self.sigma) if self._learns_blurred() else 0.0
        selection = super()._learn(z, weights, seed, device)
        if self.model_ not in MIXTURES:
            rows, w = self._smoothed(z, weights, seed, as_sample=True)
            if self.model_ in UNNORMALIZED:
                self._normalize(rows, w, seed)
            self._warn_of_modes(rows, w, seed)
        return selection

    def _learns_blurred(self) -> bool:
        return self.objective_ in BLURRED

    # Fitting.

    def _fit_model(self, z: Array, weights: Array, seed: int, device: torch.device) -> Selection:
        # What an earlier fit, perhaps of another model, has left.
        for name in _OF_ONE_MODEL:
            self.__dict__.pop(name, None)
        if self.model in ("auto", "stack"):
            return self._fit_candidates(z, weights, seed, device)
        self.__dict__.pop("nets_", None)
        self.model_ = self.model
        if self.model in NETWORKS:
            return self._fit_network(z, weights, seed, device)
        self.__dict__.pop("net_", None)
        return self._keep_closed_form(z, weights, seed)

    def _fit_network(self, z: Array, weights: Array, seed: int, device: torch.device) -> Selection:
        selection = super()._fit_model(z, weights, seed, device)
        if self._holds_out():
            _, valid = self._split(len(z), seed)
            rows, w = self._smoothed(z[valid], weights[valid], seed)
            x, sigma = self._at_level(rows)
            ratio = stein_ratio(self._fitted_model(), x, sigma, w)
            self.stein_ratio_, self.stein_ratio_std_ = ratio
            message = overfitting_message(*ratio)
            if message and len(valid) >= _ROWS_TO_JUDGE:
                warn(message, OverfittingWarning)
        return selection

    def _fit_candidates(
        self, z: Array, weights: Array, seed: int, device: torch.device
    ) -> Selection:
        """Fit the candidates without the rows of each fold, compare them there, and keep one."""
        self.model_ = "score"
        self.__dict__.pop("net_", None)
        earlier = [net.module_ for net in self.__dict__.pop("nets_", ())] if self.warm_start else []
        many = len(z) >= _MANY_ROWS
        splits = (
            [self._split(len(z), seed)] if many else fold_rows(len(z), min(_N_FOLDS, len(z)), seed)
        )
        trained, folds = [], []
        for k, split in enumerate(splits):
            selection = self._select_held_out()
            start = earlier[k] if k < len(earlier) else None
            module = self._new_module(len(z), seed + k, start)
            trained.append(self._train(module, z, weights, split, seed + k, device, selection))
            train, valid = split
            forms = [self._fit_form(m, z[train], weights[train], seed) for m in CLOSED_FORM]
            rows, w_valid = self._smoothed(z[valid], weights[valid], seed)
            folds.append(Fold(self._tensor(rows), w_valid, [*forms, trained[-1].net.module_]))
        level = self.sigma_
        if self._noise_conditional():
            level = best_level(folds, geometric_sigmas(_HIGHEST, _LOWEST, _N_LEVELS).tolist())
        # What is kept, mixtures and kernels among it, is a score of clean data.
        self.network_sigma_, self.sigma_ = level, 0.0
        names = [*CLOSED_FORM, "score"]
        readings = Readings.of(folds, level, torch_generator(seed, folds[0].x.device))
        results = self.selection_results_ = compare(names, readings)
        self.model_ = "stack" if self.model == "stack" else results["chosen"]
        if self.model_ in CLOSED_FORM:
            return self._keep_closed_form(z, weights, seed)
        share = results["stack_weights"] if self.model_ == "stack" else np.eye(len(names))[-1]
        components = [
            self._fit_form(m, z, weights, seed)
            for m, kept in zip(CLOSED_FORM, share, strict=False)
            if kept > 0
        ]
        used = list(share[:-1][share[:-1] > 0])
        if share[-1] > 0:
            components += [AtLevel(fit.net.module_, level) for fit in trained]
            used += [share[-1] / len(trained)] * len(trained)
        self.nets_ = [fit.net for fit in trained]
        self.stack_ = StackedScore(components, torch.zeros(1), torch.tensor([used]))
        self.n_steps_ = sum(fit.n_steps for fit in trained)
        self.best_step_ = max(fit.best_step for fit in trained)
        return Latest()

    def _fit_form(self, model: str, z: Array, weights: Array, seed: int) -> nn.Module:
        """Fit a closed form to rows, with noise where columns are rounded."""
        # A mixture counts rows. A kernel does not, and the more noise it sees the better, but with
        # columns that have none its held-out rows would be copies of the others.
        as_sample = model != "kernel" or not (self._widths_z() > 0).all()
        x, w = self._smoothed_tensors(z, weights, seed, as_sample=as_sample)
        return fit_closed_form(model, x, w, self.validation_fraction, seed)

    def _noise_conditional(self) -> bool:
        """Whether a network learns many noise levels, of which held-out rows choose one."""
        return self.objective == "auto" and self.model in ("auto", "stack")

    def _keep_closed_form(self, z: Array, weights: Array, seed: int) -> Selection:
        self.closed_form_ = self._fit_form(self.model_, z, weights, seed)
        self.n_steps_ = self.best_step_ = 0
        return Latest()

    def _fitted_model(self) -> nn.Module:
        if hasattr(self, "stack_"):
            return self.stack_
        return self.closed_form_ if self.model_ in CLOSED_FORM else super()._fitted_model()

    def _n_outputs(self, n_features: int) -> int:
        return 1 if self.model_ == "energy" else n_features

    def _make_network(self, n_features: int, hidden_units: tuple[int, ...]) -> nn.Module:
        if self.model_ == "energy":
            return EnergyMLP(n_features, hidden_units, sigma_conditioned=False)
        return ScoreMLP(n_features, hidden_units, sigma_conditioned=self._noise_conditional())

    def _precondition(self, raw: nn.Module, mean: Tensor, scale: Tensor) -> nn.Module:
        if self.model_ == "energy":
            return EnergyScore(raw, mean, scale, denoising=self._learns_blurred())
        return super()._precondition(raw, mean, scale)

    def _batch_size(self) -> int:
        # Mirrored noise uses each row twice.
        return max(1, self.batch_size // 2) if self._noise_conditional() else self.batch_size

    def _make_loss(self, rows: Rows, sigma_data: float) -> RowLoss:
        params = self.objective_params if self.objective_ == self.objective else None
        given = check_objective_params(self.objective_, params)
        if self._noise_conditional():
            return DenoisingLoss(LogUniformSigma(_LOWEST, _HIGHEST), sigma_data, mirrored=True)
        target: Callable[[Any], Any] = given.get("target", lambda X: X)
        return make_loss(
            self.objective_,
            given,
            sigma=self.sigma_,
            sigma_data=sigma_data,
            rows=rows,
            target=score_in_units(target, self._from_z, self.scale_, ~self.constant_),
        )

    def _select_held_out(self) -> Selection:
        # The implicit objectives of single rows scatter so widely that the later would overfit.
        return super()._select_held_out() if self._learns_blurred() else LowestLoss()

    def _at_level(self, rows: Array) -> tuple[Tensor, Tensor]:
        x = self._tensor(rows)
        return x, torch.full_like(x[:, :1], self.sigma_)

    # Energies.

    def _energy_fn(self) -> ScoreFn:
        model: Any = self._fitted_model()
        return lambda x, sigma: in_parts(
            lambda x, sigma: model.energy(x, sigma)[:, None], x, sigma
        )[:, 0]

    def _normalize(self, rows: Array, weights: Array, seed: int) -> None:
        x = self._tensor(rows)
        estimate, self.proposal_ = normalize_energy(
            self._energy_fn(),
            self._score_fn(),
            x,
            self._tensor(weights),
            sigma=self.sigma_,
            n_chains=_N_CHAINS,
            n_draws=_N_DRAWS,
            generator=torch_generator(seed, x.device),
        )
        if estimate is None:
            estimate = BridgeEstimate(math.nan, math.inf, 0.0)
        self.log_normalizer_ = estimate.log_normalizer
        self.log_normalizer_std_ = estimate.std
        self.effective_sample_size_ = estimate.effective_sample_size
        if estimate.effective_sample_size < _LEAST_ESS:
            warn(
                f"The effective sample size of the log normaliser is "
                f"{estimate.effective_sample_size:.2%} of the draws: the Gaussian mixture that it "
                "is estimated by misses most of the model, and score_samples is off by an unknown "
                "constant, or NaN. Differences between rows, and energy, are not concerned; for "
                "log-densities use fewer features, model='gaussian_mixture', or more rows.",
                UnreliableNormalizerWarning,
            )

    def _log_density_z(self, z: Array) -> Array:
        """Return log p of rows in the units of z."""
        log_z = self.log_normalizer_ if self.model_ in UNNORMALIZED else 0.0
        return -to_numpy(self._energy_fn()(*self._at_level(z))) - log_z

    # Sampling.

    def _draw(self, n_samples: int, generator: torch.Generator) -> Tensor:
        model = self._fitted_model()
        if isinstance(model, GaussianMixtureScore):
            return model.sample(n_samples, self.sigma_, generator)
        if self.model_ not in UNNORMALIZED:
            return super()._draw(n_samples, generator)
        n_warmup, n_steps_between = chain_lengths(self._n_sampling_steps())
        drawn, report = draw_from_energy(
            self._energy_fn(),
            self._score_fn(),
            self.proposal_,
            self.sigma_,
            n_samples=n_samples,
            n_chains=n_chains_for(n_samples),
            n_warmup=n_warmup,
            n_steps_between=n_steps_between,
            step_size=1.0 if self.step_size == "auto" else self.step_size,
            generator=generator,
        )
        return self._reported(drawn, report)

    def _n_sampling_steps(self) -> int:
        if self.n_sampling_steps == "auto":
            return 500 if self.model_ in UNNORMALIZED else 1000
        return super()._n_sampling_steps()

    # What clean data do not tell.

    def _warn_of_modes(self, rows: Array, weights: Array, seed: int) -> None:
        index = np.linspace(0, len(rows) - 1, min(len(rows), _ROWS_FOR_MODES)).astype(int)
        if len(index) <= rows.shape[1]:
            return
        x, w = self._tensor(rows[index]), self._tensor(weights[index])
        mixture = fit_gaussian_mixture(x, w, seed=seed)
        message = separated_modes_message(mode_shares(mixture, self.sigma_))
        if message:
            warn(message, SeparatedModesWarning)
