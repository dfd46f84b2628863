r"""The noise-conditional score network, and the generator it makes.

One network learns the score of the data at every noise level (Song & Ermon 2019),

    s(x, σ) = argmin E_σ λ(σ) E‖s(x + σε, σ) + ε/σ‖²

and a solver walks from N(μ̂, Σ̂ + σ_max² I) back along the noise levels to a new row. Here μ̂ and
Σ̂ are the moments of the data, so the start has the moments of the blurred density at any σ_max.
"""

import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from skscore._base import ScoreEstimator
from skscore._batches import Rows
from skscore._copying import LatestOriginal
from skscore._losses import DenoisingLoss, RowLoss
from skscore._noise_stack import STACK_LR_FACTOR, STACK_STEPS_FACTOR, stack_with_mixture
from skscore._selection import Selection
from skscore._validation import Array, RandomState, torch_generator
from skscore.noise import (
    GeometricSigmas,
    LogNormalSigma,
    LogUniformSigma,
    SigmaLaw,
    geometric_sigmas,
    karras_sigmas,
)
from skscore.samplers import annealed_langevin, dpm_solver, langevin

__all__ = ["NCSNGenerator"]

# Steps of the solver while training is watched for copies: a rough sample is enough.
_WATCH_STEPS = 16
_WATCHED_DRAWS = 400
_WATCHED_ROWS_MAX = 10_000
_LR = 5e-3
# The largest ratio of neighbouring levels where a Langevin chain has to follow them.
_LEVEL_RATIO = math.sqrt(2)


class NCSNGenerator(ScoreEstimator):
    """Generate rows like those of a table, with a noise-conditional score network.

    One network learns the score ∇ log p_σ(x) of the data at every noise level between ``sigma_max``
    and ``sigma_min`` [1]_, preconditioned as in [2]_; `sample` walks from noise to data along it,
    by default with the second-order solver DPM-Solver++(2M) [3]_.

    Parameters
    ----------
    model : {"score", "stack"}, default="score"
        "score" is the network. "stack" is, at every noise level, the convex combination of a
        network and of a Gaussian mixture (components by BIC) that denoises held-out rows best:
        on few rows better scores in fewer steps, but samples hardly differ, or are a little worse.
    sigma_min, sigma_max : float, default=0.005, 10.0
        The smallest and the largest noise level, in units of the standard deviation of each
        feature with ``standardize=True``, in those of X without.
    n_levels : int or None, default=None
        None trains on a continuous range of noise levels; an integer trains on that many in
        geometric progression, as in [1]_.
    sigma_distribution : {"log_normal", "log_uniform"}, default="log_normal"
        The law of ln σ in training, where it is continuous: normal with mean -1.2 and standard
        deviation 1.2, cut at the ends of the range [2]_, or uniform.
    sampler : {"dpm_solver", "annealed_langevin", "langevin"} or callable, default="dpm_solver"
        "dpm_solver" is deterministic from its start on. "annealed_langevin" is algorithm 1 of [1]_
        with a last denoising step. "langevin" stays at ``sigma_min``; it is there to compare with,
        since it does not find its way between separated modes. A callable is called as
        ``sampler(score_fn, x, sigmas, generator)`` with tensors of float64 in standardised units
        and returns the new rows.
    n_sampling_steps : int, default=24
        Steps of "dpm_solver" and "langevin", one evaluation of the network each; steps at each
        noise level for "annealed_langevin" (T of the algorithm).
    step_size : float, default=0.2
        ε/σ_L² of the Langevin samplers: at the noise level σ their step is ``step_size`` σ². The
        paper's ε = 2e-5 at σ_L = 0.01 is 0.2.
    hidden_units : sequence of int or "auto", default="auto"
        Widths of the hidden layers. "auto" is (128, 128, 128), and wider above 20 000 rows.
    module : class, callable or torch.nn.Module, default=None
        Network to use instead of the package's own: a class or function called with the number of
        varying features, or an instance, of which a copy is trained. It is called with
        (x: (n, d), sigma: (n, 1)) and returns (n, d).
    parametrization : {"preconditioned", "score"}, default="preconditioned"
        "preconditioned": the network corrects the denoiser of a Gaussian and sees inputs of unit
        variance. "score": its output is the score itself, in units of ``sigma_min``.
    standardize : bool, default=True
        Whether each feature is brought to mean 0 and variance 1 inside. Scores, denoised rows and
        samples come out in the units of X either way.
    max_steps : int or "auto", default="auto"
        Gradient steps. "auto" grows as √n from 2000 up to 30 000, with 2500 for 1000 rows, and is
        half of it with ``model="stack"``.
    batch_size : int, default=512
        Rows in a batch.
    lr : float or "auto", default="auto"
        Largest learning rate; it warms up and falls along a cosine. "auto" is 5e-3, and 0.015 with
        ``model="stack"``.
    optimizer : "adamw" or callable, default="adamw"
        AdamW, or a class of torch.optim.
    callbacks : list of skorch callbacks, default=None
        Added to those of the training.
    early_stopping : bool or {"copy_rate", "loss"}, default=True
        When to stop, and which weights to keep. "copy_rate", or True, is for samples: trains on
        all rows, and keeps the last weights whose samples lie no nearer to single training rows
        than new rows would. Up to 10 000 distinct rows are watched so; more are not copied within
        the budget. "loss" is for scores: holds part of the rows out and keeps the weights of the
        lowest held-out loss, which on small tables comes long before the best samples; with
        ``model="stack"`` True means this. False uses the whole budget.
    validation_fraction : float, default=0.1
        Share of the distinct rows that ``early_stopping="loss"`` holds out.
    warm_start : bool, default=False
        Whether `fit` goes on from the weights of the last fit.
    device : str or torch.device, default="cpu"
        Where to compute: "cpu", "cuda", "cuda:0".
    verbose : int or bool, default=False
        Whether to show a progress bar.
    random_state : int, RandomState or None, default=None
        Seed of the initial weights, the batches and the noise.

    Attributes
    ----------
    net_ : skorch.NeuralNet
        The trained net; its ``module_`` is the score in standardised units.
    stack_ : StackedScore
        The network, the mixture and their weights at 12 noise levels, of ``model="stack"``.
    sigma_min_, sigma_max_ : float
        The range of noise levels that was learnt.
    copy_rate_ : float
        Share of copies among the rows generated by the weights that were kept; NaN where copies
        were not watched for. See :func:`skscore.metrics.copy_rate`.
    mean_, scale_ : ndarray of shape (n_features,)
        What each feature is centred at and divided by.
    constant_ : ndarray of shape (n_features,), bool
        Features that did not vary in training: they are sampled as the constant.
    covariance_ : ndarray of shape (n_varying, n_varying)
        Covariance of the varying features in standardised units.
    validation_curve_ : ndarray of shape (n_validations, 2)
        Step and loss of each validation; the loss is that of held-out rows with
        ``early_stopping="loss"``, of rows trained on otherwise.
    n_steps_, best_step_ : int
        Gradient steps taken, and the step whose weights were kept.
    score_std_ : float
        Standard error that random probes brought into the last `score`; 0 up to 100 features.
    n_features_in_ : int
        Number of features seen in fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if X was a data frame with string columns.

    References
    ----------
    .. [1] Y. Song and S. Ermon, "Generative modeling by estimating gradients of the data
       distribution", NeurIPS 2019.
    .. [2] T. Karras, M. Aittala, T. Aila and S. Laine, "Elucidating the design space of
       diffusion-based generative models", NeurIPS 2022.
    .. [3] C. Lu et al., "DPM-Solver++: fast solver for guided sampling of diffusion probabilistic
       models", 2022.

    Examples
    --------
    >>> import numpy as np
    >>> from skscore import NCSNGenerator
    >>> X = np.random.RandomState(0).normal(5.0, 2.0, size=(500, 2))
    >>> generator = NCSNGenerator(max_steps=200, random_state=0).fit(X)
    >>> generator.sample(1000, random_state=0).mean(axis=0).round(0)
    array([5., 5.])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **ScoreEstimator._parameter_constraints,
        "model": [StrOptions({"score", "stack"})],
        "lr": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "sigma_min": [Interval(Real, 0, None, closed="neither")],
        "sigma_max": [Interval(Real, 0, None, closed="neither")],
        "n_levels": [Interval(Integral, 2, None, closed="left"), None],
        "sigma_distribution": [StrOptions({"log_normal", "log_uniform"})],
        "sampler": [StrOptions({"dpm_solver", "annealed_langevin", "langevin"}), callable],
        "n_sampling_steps": [Interval(Integral, 1, None, closed="left")],
        "step_size": [Interval(Real, 0, None, closed="neither")],
        "early_stopping": ["boolean", StrOptions({"copy_rate", "loss"})],
    }
    _sigma_conditioned = True

    def __init__(
        self,
        sigma_min: float = 0.005,
        sigma_max: float = 10.0,
        *,
        model: str = "score",
        n_levels: int | None = None,
        sigma_distribution: str = "log_normal",
        sampler: str | Callable[..., Tensor] = "dpm_solver",
        n_sampling_steps: int = 24,
        step_size: float = 0.2,
        hidden_units: Any = "auto",
        module: Any = None,
        parametrization: str = "preconditioned",
        standardize: bool = True,
        max_steps: int | str = "auto",
        batch_size: int = 512,
        lr: float | str = "auto",
        optimizer: Any = "adamw",
        callbacks: Any = None,
        early_stopping: bool | str = True,
        validation_fraction: float = 0.1,
        warm_start: bool = False,
        device: str | torch.device = "cpu",
        verbose: int | bool = False,
        random_state: RandomState = None,
    ) -> None:
        self.sigma_min = sigma_min
        self.sigma_max = sigma_max
        self.model = model
        self.n_levels = n_levels
        self.sigma_distribution = sigma_distribution
        self.sampler = sampler
        self.n_sampling_steps = n_sampling_steps
        self.step_size = step_size
        self.hidden_units = hidden_units
        self.module = module
        self.parametrization = parametrization
        self.standardize = standardize
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.lr = lr
        self.optimizer = optimizer
        self.callbacks = callbacks
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.device = device
        self.verbose = verbose
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.sigma_min >= self.sigma_max:
            raise ValueError(
                f"sigma_min={self.sigma_min} is not below sigma_max={self.sigma_max}; noise levels "
                "need a range, 0 < sigma_min < sigma_max."
            )
        if self.model == "stack" and self.early_stopping in (False, "copy_rate"):
            raise ValueError(
                f"model='stack' weighs its parts by held-out rows, and early_stopping="
                f"{self.early_stopping!r} holds out none; use early_stopping='loss'."
            )

    def _learn(self, z: Array, weights: Array, seed: int, device: torch.device) -> Selection:
        self.sigma_min_, self.sigma_max_ = float(self.sigma_min), float(self.sigma_max)
        selection = super()._learn(z, weights, seed, device)
        self.copy_rate_ = selection.kept if isinstance(selection, LatestOriginal) else math.nan
        return selection

    def _fit_model(self, z: Array, weights: Array, seed: int, device: torch.device) -> Selection:
        self.__dict__.pop("stack_", None)
        selection = super()._fit_model(z, weights, seed, device)
        if self.model == "stack":
            self.stack_ = stack_with_mixture(
                self.net_.module_,
                self._tensor(z),
                self._tensor(weights),
                self._split(len(z), seed),
                (self.sigma_min_, self.sigma_max_),
                seed,
            )
        return selection

    def _fitted_model(self) -> nn.Module:
        return self.stack_ if hasattr(self, "stack_") else super()._fitted_model()

    def _score_sigma(self) -> float:
        return self.sigma_min_

    def _noise_name(self) -> str:
        return f"sigma_min={self.sigma_min_:.4g}, sigma_max={self.sigma_max_:.4g}"

    def _sigma_law(self) -> SigmaLaw:
        if self.n_levels is not None:
            return GeometricSigmas(self.sigma_min_, self.sigma_max_, self.n_levels)
        law = LogNormalSigma if self.sigma_distribution == "log_normal" else LogUniformSigma
        return law(self.sigma_min_, self.sigma_max_)

    def _make_loss(self, rows: Rows, sigma_data: float) -> RowLoss:
        return DenoisingLoss(self._sigma_law(), sigma_data)

    def _holds_out(self) -> bool:
        return self.model == "stack" or self.early_stopping == "loss"

    def _make_selection(self, z: Array, seed: int) -> Selection:
        if not self._holds_out() and self.early_stopping and 3 <= len(z) <= _WATCHED_ROWS_MAX:
            return LatestOriginal(z, lambda module: self._draw_watched(module, seed))
        return super()._make_selection(z, seed)

    def _default_max_steps(self, n_rows: int) -> int:
        n_steps = np.clip(2500 * (n_rows / 1000) ** 0.5, 2000, 30_000)
        return int(n_steps * STACK_STEPS_FACTOR if self.model == "stack" else n_steps)

    def _learning_rate(self) -> float:
        if self.lr != "auto":
            return super()._learning_rate()
        return _LR * STACK_LR_FACTOR if self.model == "stack" else _LR

    def _draw_watched(self, module: nn.Module, seed: int) -> Array:
        """Draw rows from the network in training, alike every time but for its weights."""
        device = next(module.parameters()).device
        x = self._draw_gaussian(_WATCHED_DRAWS, self.sigma_max_, torch_generator(seed, device))
        with torch.no_grad():
            drawn = dpm_solver(module, x.float(), self._solver_sigmas(_WATCH_STEPS).float())
        return drawn.double().cpu().numpy()

    def _solver_sigmas(self, n_steps: int) -> Tensor:
        return karras_sigmas(self.sigma_max_, self.sigma_min_, n_steps)

    def _chain_sigmas(self) -> Tensor:
        n_levels = self.n_levels
        if n_levels is None:
            n_levels = 1 + math.ceil(
                math.log(self.sigma_max_ / self.sigma_min_) / math.log(_LEVEL_RATIO)
            )
        return geometric_sigmas(self.sigma_max_, self.sigma_min_, n_levels)

    def _draw(self, n_samples: int, generator: torch.Generator) -> Tensor:
        score_fn = self._score_fn()
        x = self._draw_gaussian(n_samples, self.sigma_max_, generator)
        if self.sampler == "dpm_solver":
            return dpm_solver(score_fn, x, self._solver_sigmas(self.n_sampling_steps))
        if self.sampler == "annealed_langevin":
            return annealed_langevin(
                score_fn,
                x,
                self._chain_sigmas(),
                n_steps_per_level=self.n_sampling_steps,
                step_size=self.step_size,
                generator=generator,
            )
        if self.sampler == "langevin":
            return langevin(
                score_fn,
                x,
                self.sigma_min_,
                n_steps=self.n_sampling_steps,
                step_size=self.step_size * self.sigma_min_**2,
                generator=generator,
            )
        assert callable(self.sampler)
        drawn = self.sampler(score_fn, x, self._solver_sigmas(self.n_sampling_steps), generator)
        if not isinstance(drawn, Tensor) or drawn.shape != x.shape:
            raise ValueError(
                f"sampler={self.sampler!r} returned {getattr(drawn, 'shape', type(drawn))}; it has "
                f"to return a tensor of shape {tuple(x.shape)}."
            )
        return drawn.to(x)

    def _sampling_remedy(self) -> str:
        return (
            "The sampler diverged; use a smaller step_size with the Langevin samplers, or more "
            "n_sampling_steps."
        )

    def score_function(self, X: Any, sigma: Any = None) -> Array:
        """Return the score of the blurred density, ∇ log p_σ(x), in the units of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Points.
        sigma : float, array-like of shape (n_samples,) or None, default=None
            Noise level, or one for each row, between ``sigma_min`` and ``sigma_max``. None is
            ``sigma_min``.

        Returns
        -------
        score : ndarray of shape (n_samples, n_features)
            In 1/units of X.

        Raises
        ------
        ValueError
            If a noise level lies outside of the range that was learnt.
        """
        return self._score_function(X, self._check_levels(sigma))

    def denoise(self, X: Any, sigma: Any) -> Array:
        """Return Tweedie's mean E[x_0 | x_σ = x] = x + σ² ∇ log p_σ(x).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Noisy rows.
        sigma : float or array-like of shape (n_samples,)
            Noise level, or one for each row, between ``sigma_min`` and ``sigma_max``.

        Returns
        -------
        denoised : ndarray of shape (n_samples, n_features)
            In the units of X.

        Raises
        ------
        ValueError
            If a noise level lies outside of the range that was learnt.
        """
        return self._denoise(X, self._check_levels(sigma))

    def _check_levels(self, sigma: Any) -> Any:
        check_is_fitted(self)
        if sigma is None:
            return self.sigma_min_
        levels = np.asarray(sigma, dtype=np.float64)
        outside = (levels < self.sigma_min_) | (levels > self.sigma_max_)
        if outside.any():
            raise ValueError(
                f"sigma={sigma!r} lies outside of the noise levels from {self.sigma_min_} to "
                f"{self.sigma_max_} that were learnt; fit with another sigma_min or sigma_max."
            )
        return levels
