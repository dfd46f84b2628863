r"""The fit/score/sample template of the estimators, and the border between numpy and torch.

Inside, rows are z = (x - μ)/a and noise levels are measured in the units of z
(:mod:`skscore._units`).
"""

import math
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils._param_validation import (
    Interval,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from skscore._batches import Rows
from skscore._container import Container
from skscore._inference import implicit_losses, in_parts, probe_error, to_numpy
from skscore._losses import RowLoss
from skscore._selection import Latest, LowestLoss, Selection
from skscore._threads import seeded_globally
from skscore._training import (
    EMA_DECAY,
    WEIGHT_DECAY,
    ScoreNet,
    Trained,
    TrainingPlan,
    load_weights,
    train,
)
from skscore._typing import ScoreFn
from skscore._units import UnitsMixin
from skscore._validation import (
    Array,
    RandomState,
    check_device,
    check_hidden_units,
    check_module,
    check_n_samples,
    check_sigma,
    check_weights,
    collapse_duplicates,
    draw_seed,
    split_rows,
    torch_generator,
)
from skscore.networks import PreconditionedScore, ScoreMLP

__all__ = ["ScoreEstimator"]

# Rows whose loss is recorded where none are held out.
_WATCHED_ROWS = 1024
# One thread is as fast as two up to here, and much faster where the cores are busy.
_WIDTH_OF_ONE_THREAD = 128


class ScoreEstimator(UnitsMixin, DensityMixin, BaseEstimator):
    """What the score-based estimators have in common."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "dequantize": [StrOptions({"auto"}), Real, "array-like", None],
        "hidden_units": [StrOptions({"auto"}), "array-like"],
        "module": [callable, None],
        "parametrization": [StrOptions({"preconditioned", "score"})],
        "standardize": ["boolean"],
        "max_steps": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "optimizer": [StrOptions({"adamw"}), callable],
        "callbacks": [list, tuple, None],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "warm_start": ["boolean"],
        "device": [str, torch.device],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    net_: ScoreNet

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit the score network.

        Rows that repeat are collapsed into weights first, so a row of weight 2 is the same as a
        row given twice, and the order of the rows does not matter.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Numeric data without missing values.
        y : Ignored
            Present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, not negative. None is 1 each.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter or X is out of its range: NaN or infinite values, strings, too few rows,
            rows that are all equal, or a loss that is not finite from the start.
        """
        z, weights, device = self._begin_fit(X, sample_weight)
        self._learn(z, weights, draw_seed(self.random_state), device)
        return self

    def _begin_fit(
        self, X: Any, sample_weight: Any, feature_groups: Any = None
    ) -> tuple[Array, Array, torch.device]:
        """Check what was given; return distinct rows in the units of z, their weights, a device."""
        self._check_parameters()
        device = check_device(self.device)
        given = X
        X = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        sample_weight = check_weights(sample_weight, X)
        self._learn_groups(feature_groups, X)
        self._find_rounding(X, sample_weight)
        values, weights = collapse_duplicates(X, sample_weight)
        self.container_ = Container.of(given)
        self._fit_units(values, weights)
        return self._to_z(values), weights, device

    def _check_parameters(self) -> None:
        validate_parameter_constraints(
            self._parameter_constraints, self.get_params(deep=False), type(self).__name__
        )

    def _learn(self, z: Array, weights: Array, seed: int, device: torch.device) -> Selection:
        covariance = np.atleast_2d(np.cov(z, rowvar=False, aweights=weights, ddof=0))
        self.covariance_ = covariance + np.diag(self._widths_z() ** 2 / 12)
        return self._fit_model(z, weights, seed, device)

    def _fit_model(self, z: Array, weights: Array, seed: int, device: torch.device) -> Selection:
        """Train the network."""
        start = self.net_.module_ if self.warm_start and hasattr(self, "net_") else None
        module = self._new_module(len(z), seed, start)
        return self._fit_network_from(module, z, weights, seed, device)

    def _fit_network_from(
        self, module: nn.Module, z: Array, weights: Array, seed: int, device: torch.device
    ) -> Selection:
        """Train a network from the weights that it has, and keep it."""
        selection = self._make_selection(z, seed)
        split = self._split(len(z), seed)
        trained = self._train(module, z, weights, split, seed, device, selection)
        self.net_ = trained.net
        self.n_steps_ = trained.n_steps
        self.best_step_ = trained.best_step
        self.validation_curve_ = trained.curve
        return selection

    def _train(
        self,
        module: nn.Module,
        z: Array,
        weights: Array,
        split: tuple[Array, Array],
        seed: int,
        device: torch.device,
        selection: Selection,
    ) -> Trained:
        """Train a network on some rows, watching others."""
        train_index, valid_index = split
        rows = Rows.of(z[train_index], weights[train_index], device, self._widths_z())
        watched = Rows.of(*self._smoothed(z[valid_index], weights[valid_index], seed), device)
        plan = TrainingPlan(
            max_steps=self._default_max_steps(len(z))
            if self.max_steps == "auto"
            else self.max_steps,
            batch_size=self._batch_size(),
            lr=self._learning_rate(),
            optimizer=self.optimizer,
            callbacks=list(self.callbacks or []),
            verbose=bool(self.verbose),
            seed=seed,
            noise_name=self._noise_name(),
            weight_decay=self._weight_decay(),
            ema_decay=self._ema_decay(),
            n_threads=self._n_threads(len(z)),
        )
        loss = self._make_loss(rows, math.sqrt(np.mean(np.diag(self.covariance_))))
        trained = train(module.to(device), loss, rows, watched, plan, selection)
        trained.net.module_.double().requires_grad_(requires_grad=False)
        return trained

    def _split(self, n_rows: int, seed: int) -> tuple[Array, Array]:
        """Return the rows to train on, and those to validate on."""
        if self._holds_out():
            return split_rows(n_rows, self.validation_fraction, seed)
        watched = np.linspace(0, n_rows - 1, min(n_rows, _WATCHED_ROWS)).astype(int)
        return np.arange(n_rows), watched

    def _new_module(self, n_rows: int, seed: int, start: nn.Module | None = None) -> nn.Module:
        """Return a network for so many rows, with the weights of another or with random ones."""
        module = self._build_module(np.sqrt(np.diag(self.covariance_)), n_rows, seed)
        if start is not None:
            load_weights(module, start)
        return module

    def _build_module(self, spread: Array, n_rows: int, seed: int) -> nn.Module:
        d = len(spread)
        # The initial weights come from torch's global generator.
        with seeded_globally(seed, alone=True):
            if self.module is not None:
                raw = check_module(self.module, d, self._n_outputs(d))
            else:
                raw = self._make_network(d, self._hidden_units(n_rows))
        if self.parametrization == "score":
            return raw
        return self._precondition(raw, torch.zeros(d), torch.tensor(spread, dtype=torch.float32))

    def _hidden_units(self, n_rows: int) -> tuple[int, ...]:
        if isinstance(self.hidden_units, str):
            if n_rows < 20_000:
                return (128, 128, 128)
            return (256, 256, 256) if n_rows < 200_000 else (512, 512, 512, 512)
        return check_hidden_units(self.hidden_units)

    def _n_threads(self, n_rows: int) -> int | None:
        """Return the threads of a training: one for small networks of the package's own."""
        small = self.module is None and max(self._hidden_units(n_rows)) <= _WIDTH_OF_ONE_THREAD
        return 1 if small else None

    # What a subclass decides.

    def _learn_groups(self, feature_groups: Any, X: Array) -> None:
        """Learn which features belong together; nothing here, where all of them are numbers."""

    _sigma_conditioned = False

    def _n_outputs(self, n_features: int) -> int:
        """Return the outputs of a raw network."""
        return n_features

    def _make_network(self, n_features: int, hidden_units: tuple[int, ...]) -> nn.Module:
        return ScoreMLP(n_features, hidden_units, sigma_conditioned=self._sigma_conditioned)

    def _precondition(self, raw: nn.Module, mean: Tensor, scale: Tensor) -> nn.Module:
        denoising = self._learns_blurred()
        return PreconditionedScore(raw, mean, scale, denoising=denoising, floor=self._floor())

    def _fitted_model(self) -> nn.Module:
        """Return the fitted score function, in the units of z."""
        module: nn.Module = self.net_.module_
        return module

    def _make_loss(self, rows: Rows, sigma_data: float) -> RowLoss:
        raise TypeError(f"{type(self).__name__} does not say what its network is trained on.")

    def _score_sigma(self) -> float:
        """Return the noise level at which `score` reads the model, 0 for clean data."""
        raise TypeError(f"{type(self).__name__} does not say where its score is read.")

    def _learns_blurred(self) -> bool:
        """Whether what is learnt is the score of blurred data."""
        return True

    def _floor(self) -> float:
        """Return the r of the preconditioning."""
        return 0.0

    def _holds_out(self) -> bool:
        return bool(self.early_stopping)

    def _make_selection(self, z: Array, seed: int) -> Selection:
        return self._select_held_out() if self._holds_out() else Latest()

    def _select_held_out(self) -> Selection:
        return LowestLoss()

    def _batch_size(self) -> int:
        return int(self.batch_size)

    def _learning_rate(self) -> float:
        return float(self.lr)

    def _weight_decay(self) -> float:
        return WEIGHT_DECAY

    def _ema_decay(self) -> float:
        return EMA_DECAY

    def _default_max_steps(self, n_rows: int) -> int:
        """Return the gradient steps for a number of distinct rows."""
        return int(np.clip(1000 * (n_rows / 1000) ** 0.5, 1000, 20_000))

    def _noise_name(self) -> str:
        return f"sigma={self._score_sigma():.4g}"

    def _check_X(self, X: Any) -> Array:
        check_is_fitted(self)
        return validate_data(self, X, dtype=np.float64, reset=False)

    # The fitted score function.

    def _score_fn(self) -> ScoreFn:
        """Return the learnt score in the units of z, float64, evaluated in parts of fixed size."""
        module = self._fitted_model()

        def score_fn(x: Tensor, sigma: Tensor) -> Tensor:
            return in_parts(module, x, sigma)

        return score_fn

    def _score_z(self, z: Array, sigma: Array) -> Array:
        return to_numpy(self._score_fn()(self._tensor(z), self._tensor(sigma)))

    def _tensor(self, values: Array) -> Tensor:
        return torch.tensor(values, dtype=torch.float64, device=check_device(self.device))

    def _smoothed_tensors(
        self, z: Array, weights: Array, seed: int, *, as_sample: bool = True
    ) -> tuple[Tensor, Tensor]:
        rows, w = self._smoothed(z, weights, seed, as_sample=as_sample)
        return self._tensor(rows), self._tensor(w)

    def _score_function(self, X: Any, sigma: Any) -> Array:
        X = self._check_X(X)
        clean = np.ndim(sigma) == 0 and sigma == 0
        levels = np.zeros((len(X), 1)) if clean else check_sigma(sigma, len(X))
        score = np.zeros_like(X)
        score[:, ~self.constant_] = (
            self._score_z(self._to_z(X), levels) / self.scale_[~self.constant_]
        )
        if not clean:
            score[:, self.constant_] = (self.mean_ - X)[:, self.constant_] / levels**2
        return score

    def _denoise(self, X: Any, sigma: Any) -> Array:
        X = self._check_X(X)
        levels = check_sigma(sigma, len(X))
        z = self._to_z(X)
        return self._from_z(z + levels**2 * self._score_z(z, levels))

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        r"""Return minus the held-out Fisher-divergence objective, higher is better.

        -E[‖s(x)‖² + 2 tr ∇s(x)] = E‖∇log p‖² - D_F(p, s) over the rows of X, which are taken as
        clean, in the units of the noise level. D_F(p, s) = E‖∇log p - s‖² carries no factor ½
        (Hyvärinen 2005, theorem 1, has one). The constant E‖∇log p‖² does not depend on the model,
        so differences between two models, or two noise levels, are differences of their Fisher
        divergence. The trace is exact up to 100 features and Hutchinson's estimate with 64 fixed
        probes above.

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
            Constant minus the Fisher divergence, in 1/σ², the units of σ being those of the noise.
        """
        X = self._check_X(X)
        weights = check_weights(sample_weight, X)
        weights = np.ones(len(X)) if weights is None else weights
        rows, weights = self._smoothed(self._to_z(X), weights, 0)
        z = self._tensor(rows)
        sigma = torch.full_like(z[:, :1], self._score_sigma())
        losses, deviations = implicit_losses(self._fitted_model(), z, sigma)
        self.score_std_ = probe_error(deviations, weights)
        return -float(np.average(to_numpy(losses), weights=weights))

    def sample(self, n_samples: int = 1, random_state: RandomState = None) -> Any:
        """Draw rows from the fitted density.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        random_state : int, RandomState or None, default=None
            Seed; None draws afresh.

        Returns
        -------
        X : ndarray or DataFrame of shape (n_samples, n_features)
            Like the training data: the same container, columns and dtypes, integers rounded, and
            columns with noise in their steps brought back to these.

        Raises
        ------
        ValueError
            If n_samples is not a positive integer.
        FloatingPointError
            If the sampler diverges.
        """
        check_is_fitted(self)
        n_samples = check_n_samples(n_samples)
        generator = torch_generator(draw_seed(random_state), check_device(self.device))
        return self.container_.wrap(self._rows_of(self._draw(n_samples, generator)))

    def _rows_of(self, z: Tensor) -> Array:
        """Return drawn rows in the units of X, rounded columns on their steps."""
        return self._to_steps(self._from_z(to_numpy(self._before_rounding(self._finite(z)))))

    def _finite(self, z: Tensor) -> Tensor:
        """Return what a sampler gave; raise if it is not finite."""
        if not torch.isfinite(z).all():
            raise FloatingPointError(self._sampling_remedy())
        return z

    def _before_rounding(self, z: Tensor) -> Tensor:
        """Take the variance out of drawn rows that the noise in steps, and rounding, put in.

        x + δ(U - ½) has δ²/12 more variance than x, and rounding to steps of δ adds as much to what
        is smooth (Sheppard 1898). The step z + δ²/12 ∇log p(z) takes out both.
        """
        steps = np.where(np.isnan(self.rounding_origins_), 0.0, self.rounding_steps_)
        widths = (steps / self.scale_)[~self.constant_]
        if not widths.any():
            return z
        level = self._level_of_steps(float(widths.max()) / math.sqrt(12))
        score = self._score_fn()(z, torch.full_like(z[:, :1], level))
        return z + self._tensor(widths**2 / 12) * score

    def _level_of_steps(self, deviation: float) -> float:
        """Return the noise level at which rows with noise of a standard deviation are read."""
        return self._score_sigma()

    def _draw(self, n_samples: int, generator: torch.Generator) -> Tensor:
        """Draw rows in the units of z."""
        raise TypeError(f"{type(self).__name__} does not say how it is sampled.")

    def _draw_gaussian(self, n_samples: int, sigma: float, generator: torch.Generator) -> Tensor:
        """Draw from N(0, Σ̂ + σ²I), the Gaussian with the moments of the blurred data."""
        covariance = self._tensor(self.covariance_)
        # Collinear features make Σ̂ singular, and σ may be 0.
        jitter = 1e-10 * covariance.diagonal().mean()
        blurred = covariance + (sigma**2 + jitter) * torch.eye(len(covariance)).to(covariance)
        noise = torch.randn(
            n_samples,
            len(covariance),
            generator=generator,
            dtype=torch.float64,
            device=generator.device,
        )
        return noise @ torch.linalg.cholesky(blurred).mT

    def _sampling_remedy(self) -> str:
        return "The sampler diverged; use a smaller step_size."
