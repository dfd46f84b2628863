r"""The noise-conditional score network, and the generator it makes.

One network learns the score of the data at every noise level (Song & Ermon 2019),

    s(x, σ) = argmin E_σ λ(σ) E‖s(x + σε, σ) + ε/σ‖²

and a solver walks from N(μ̂, Σ̂ + σ_max² I) back along the noise levels to a new row. Here μ̂ and
Σ̂ are the moments of the data, so the start has the moments of the blurred density at any σ_max.
"""

import copy
import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from skscore._base import ScoreEstimator
from skscore._batches import Rows
from skscore._categories import Categories
from skscore._copying import LatestOriginal
from skscore._generation import SAMPLERS
from skscore._losses import WEIGHTINGS, DenoisingLoss, RowLoss
from skscore._noise_stack import STACK_LR_FACTOR, STACK_STEPS_FACTOR, stack_with_mixture
from skscore._selection import Selection
from skscore._sigma_path import (
    FoldNetwork,
    choose,
    geometric_levels,
    score_path,
    shuffled_folds,
    standard_errors,
)
from skscore._training import EMA_DECAY
from skscore._validation import (
    Array,
    RandomState,
    check_device,
    check_weights,
    collapse_duplicates,
    draw_seed,
    torch_generator,
)
from skscore.networks import PREDICTIONS, PreconditionedScore, ScoreMLP
from skscore.noise import (
    EDM,
    NoiseProcess,
    SubVariancePreserving,
    VarianceExploding,
    VariancePreserving,
    karras_sigmas,
    largest_distance,
    n_levels_for,
)
from skscore.samplers import dpm_solver

__all__ = ["NCSNGenerator"]

# Steps of the solver while training is watched for copies: a rough sample is enough.
_WATCH_STEPS = 16
_WATCHED_DRAWS = 400
_WATCHED_ROWS_MAX = 10_000
_LR = 5e-3
_CV_ENDS, _CV_LEVELS, _CV_FOLDS = (0.005, 0.5), 12, 5  # of sigma_min, in standard deviations
_PROCESSES = {
    "edm": EDM,
    "ve": VarianceExploding,
    "vp": VariancePreserving,
    "sub_vp": SubVariancePreserving,
}


class NCSNGenerator(Categories):
    """Generate rows like those of a table, with a noise-conditional score network.

    One network learns the score ∇ log p_σ(x) of the data at every noise level between ``sigma_max``
    and ``sigma_min`` [1]_, preconditioned as in [2]_; `sample` walks from noise to data along it,
    by default with the second-order solver DPM-Solver++(2M) [3]_. `score_samples` is the
    log-density by the probability flow [4]_, which `encode` and `decode` follow, too.

    Parameters
    ----------
    model : {"score", "stack"}, default="score"
        "score" is the network. "stack" is, at every noise level, the convex combination of a
        network and of a Gaussian mixture (components by BIC) that denoises held-out rows best:
        on few rows better scores in fewer steps, but samples hardly differ, or are a little worse.
    sigma_min : float or "cv", default=0.02
        The smallest noise level, in units of the standard deviation of each feature with
        ``standardize=True``, in those of X without. "cv" chooses it, as `DenoisingScoreEstimatorCV`
        does, among 12 levels between 0.005 and 0.5 standard deviations, as the one whose score is
        nearest to that of the data: for `score_function`, `score` and densities, at the cost of
        five short trainings. Samples end with a denoising step there, which takes out details
        finer than it. Not read where ``noise`` is an object.
    sigma_max : float or "auto", default=10.0
        The largest noise level. "auto" is the largest distance between two rows, technique 1 of
        [5]_, seen on up to 2000 rows. Not read where ``noise`` is an object.
    noise : {"edm", "ve", "vp", "sub_vp"} or NoiseProcess, default="edm"
        The noise process: which σ are trained on, and which a solver visits. "edm" trains on
        ln σ ~ N(-1.2, 1.2²) and solves on levels equidistant in σ^(1/7) [2]_; "ve" (ln σ uniform,
        as in NCSN), "vp" (Ornstein-Uhlenbeck, linear schedule) and "sub_vp" are those of [4]_, with
        times spread evenly; an object of :mod:`skscore.noise` has parameters of its own. The score
        that is learnt is one of σ = σ_t/α_t whatever the process, so another may be set after
        `fit`, to sample along.
    n_levels : int, "auto" or None, default=None
        None trains on a continuous range of noise levels; an integer trains on that many levels of
        the process, with ``noise="ve"`` in geometric progression, as in [1]_. "auto" is technique 2
        of [5]_.
    loss_weighting : {"edm", "ncsn", "likelihood"}, default="edm"
        The weight of the loss at σ: "edm" that of [2]_, under which the loss of Gaussian data is
        alike at all levels; "ncsn" σ², as in [1]_; "likelihood" that of [6]_, a bound of the
        likelihood whatever the process.
    dequantize : "auto", float, array-like of shape (n_features,) or None, default="auto"
        Width of the uniform noise that is added to rounded columns, afresh in each batch: their
        values are learnt as the density of what they were before rounding, and `sample` rounds
        again. "auto" finds the columns and their steps; a number is the step of every column, an
        array that of each, 0 for none. Columns that repeat values and get no noise are warned of.
    sampler : str, solver or callable, default="dpm_solver"
        "dpm_solver" [3]_, "heun" and "rk45", the probability flow with steps of order two and with
        steps as the error asks, are deterministic from their start on; "edm" is "heun" with fresh
        noise [2]_; "reverse_sde" (Euler-Maruyama), "ancestral" and "predictor_corrector" are those
        of [4]_; "annealed_langevin" is algorithm 1 of [1]_ with a last denoising step; "langevin"
        stays at ``sigma_min``, to compare with, since it does not find its way between separated
        modes. Solvers with parameters of their own are in :mod:`skscore.samplers`, such as
        ``EDMSampler(churn=20)``. A callable is called as ``sampler(score_fn, x, sigmas,
        generator)`` for each block of 256 rows, with tensors of float64 in standardised units, and
        returns the new rows.
    n_sampling_steps : int or "auto", default="auto"
        Noise levels that the solver visits, with one evaluation of the network at each for
        "dpm_solver", "reverse_sde" and "ancestral", and two for "heun", "edm" and
        "predictor_corrector"; steps at each level for "annealed_langevin" (T of the algorithm), all
        steps for "langevin". "auto" is 24 ("dpm_solver", callables), 18 ("heun"), 40 ("edm"), 200
        ("reverse_sde", "ancestral"), 100 ("predictor_corrector"), 20 ("annealed_langevin") and 1000
        ("langevin"); "rk45" does not read it.
    step_size : float or "auto", default="auto"
        ε/σ_L² of the Langevin samplers: at the noise level σ their step is ``step_size`` σ². The
        paper's ε = 2e-5 at σ_L = 0.01 is 0.2. "auto" is technique 4 of [5]_ for
        "annealed_langevin", and 0.2 for "langevin".
    hidden_units : sequence of int or "auto", default="auto"
        Widths of the hidden layers. "auto" is (128, 128, 128), and wider above 20 000 rows.
    module : class, callable or torch.nn.Module, default=None
        Network to use instead of the package's own: a class or function called with the number of
        varying features, or an instance, of which a copy is trained. It is called with
        (x: (n, d), sigma: (n, 1)) and returns (n, d).
    parametrization : {"preconditioned", "noise", "data", "v", "score"}, default="preconditioned"
        What the network predicts. "preconditioned": a correction of the denoiser of a Gaussian
        [2]_. "noise": ε. "data": x_0. "v": α ε - σ x_0 of the variance-preserving process, which is
        the first with the other sign. With these it sees inputs of unit variance. "score": its
        output is the score itself, in units of ``sigma_min``, and its input x.
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
    ema_decay : float, default=0.99
        The weights that are validated and kept are a moving average, of which a step keeps this
        share (technique 5 of [5]_).
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
    sigmas_, score_path_, score_path_std_ : ndarrays
        Only with ``sigma_min="cv"``: the noise levels it was chosen from, (12,), the held-out score
        of each fold at each, (5, 12), and the standard error of its mean over folds, (12,).
    n_levels_ : int or None
        The number of noise levels trained on, None for a continuous range.
    feature_groups_ : list of FeatureGroup or None
        What the features stand for, as `fit` was told; None if it was not.
    copy_rate_ : float
        Share of copies among the rows generated by the weights that were kept; NaN where copies
        were not watched for. See :func:`skscore.metrics.copy_rate`.
    mean_, scale_ : ndarray of shape (n_features,)
        What each feature is centred at and divided by.
    constant_ : ndarray of shape (n_features,), bool
        Features that did not vary in training: they are sampled as the constant.
    covariance_ : ndarray of shape (n_varying, n_varying)
        Covariance of the varying features in standardised units.
    rounding_steps_ : ndarray of shape (n_features,)
        Widths of the uniform noise of ``dequantize``, in the units of X.
    rounding_origins_ : ndarray of shape (n_features,)
        A value of each column with noise from which all its values are whole steps away, NaN where
        there is none: to these steps samples are rounded.
    validation_curve_ : ndarray of shape (n_validations, 2)
        Step and loss of each validation; the loss is that of held-out rows with
        ``early_stopping="loss"``, of rows trained on otherwise.
    n_steps_, best_step_ : int
        Gradient steps of the last `fit` or `partial_fit`, and the step whose weights were kept.
    n_partial_fits_ : int
        Calls of `partial_fit` since the last `fit`, which counts as the first.
    score_std_ : float
        Standard error that random probes brought into the last `score`; 0 up to 100 features.
    log_density_std_ : float
        Standard error that random probes brought into the last `score_samples`, root mean square
        over rows; 0 up to 50 features.
    held_out_nll_std_ : float
        Standard error of the last `held_out_nll`.
    n_features_in_ : int
        Number of features seen in fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if X was a data frame with string columns.

    Notes
    -----
    `fit` takes ``feature_groups``, which say what features stand for. Those that are the code of a
    category are then denoised by the mean of the codes under the posterior of its levels, which the
    network learns by its cross-entropy over the entropy of the column; the others by regression
    [7]_. One Gaussian process blurs all of them, so that scores and denoised rows keep their
    meaning. Rows are drawn with a level from the posterior that the sampler read last, as its exact
    code. Half of the rows are learnt with some of their columns given, and ``conditions`` of
    `sample` are given to the network, with ``sampler``, instead of RePaint. Codes are neither
    standardised nor dequantised, ``sigma_min`` and ``sigma_max`` being in their units, too, and
    copies are watched for where there are numbers. Log-densities are those of numbers and levels
    together, and `score` is minus `held_out_nll`; `encode`, `decode`, `interpolate` and
    `bits_per_dim` are for numbers alone, and so are ``model="stack"``, ``module``,
    ``sigma_min="cv"`` and other choices of ``parametrization`` and ``loss_weighting``. Groups of
    numbers alone change nothing. The number of a column with missing cells is learnt, and denoised,
    as that of the rows that have it; in the others one is drawn before the training, given the
    numbers that are there, by a Gaussian or a mixture of a few.

    References
    ----------
    .. [1] Y. Song and S. Ermon, "Generative modeling by estimating gradients of the data
       distribution", NeurIPS 2019.
    .. [2] T. Karras, M. Aittala, T. Aila and S. Laine, "Elucidating the design space of
       diffusion-based generative models", NeurIPS 2022.
    .. [3] C. Lu et al., "DPM-Solver++: fast solver for guided sampling of diffusion probabilistic
       models", 2022.
    .. [4] Y. Song et al., "Score-based generative modeling through stochastic differential
       equations", ICLR 2021.
    .. [5] Y. Song and S. Ermon, "Improved techniques for training score-based generative models",
       NeurIPS 2020.
    .. [6] Y. Song, C. Durkan, I. Murray and S. Ermon, "Maximum likelihood training of score-based
       diffusion models", NeurIPS 2021.
    .. [7] M. Mueller, K. Gruber and D. Fok, "Continuous diffusion for mixed-type tabular data",
       ICLR 2025.

    Examples
    --------
    >>> import numpy as np
    >>> from skscore import NCSNGenerator
    >>> X = np.random.RandomState(0).normal(5.0, 2.0, size=(500, 2))
    >>> generator = NCSNGenerator(max_steps=200, random_state=0).fit(X)
    >>> generator.sample(1000, random_state=0).mean(axis=0).round(0)
    array([5., 5.])
    >>> generator.score_samples([[5.0, 5.0]]).round(0)  # -ln(2π 2²)
    array([-3.])

    A table of numbers and categories:

    >>> from skscore import make_generative_pipeline
    >>> from skscore.tabular import TabularEncoder
    >>> rows = np.array([["red", 1.0], ["blue", 2.0]] * 50, dtype=object)
    >>> generator = NCSNGenerator(max_steps=50, hidden_units=(16,), random_state=0)
    >>> pipe = make_generative_pipeline(TabularEncoder(random_state=0), generator).fit(rows)
    >>> sorted(set(pipe.sample(100, random_state=0)[:, 0]))
    ['blue', 'red']
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **ScoreEstimator._parameter_constraints,
        "model": [StrOptions({"score", "stack"})],
        "parametrization": [StrOptions({*PREDICTIONS, "score"})],
        "lr": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "sigma_min": [Interval(Real, 0, None, closed="neither"), StrOptions({"cv"})],
        "sigma_max": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "noise": [StrOptions(set(_PROCESSES)), NoiseProcess],
        "n_levels": [Interval(Integral, 2, None, closed="left"), StrOptions({"auto"}), None],
        "loss_weighting": [StrOptions(set(WEIGHTINGS))],
        "sampler": [StrOptions(set(SAMPLERS)), callable],
        "n_sampling_steps": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "step_size": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "ema_decay": [Interval(Real, 0, 1, closed="left")],
        "early_stopping": ["boolean", StrOptions({"copy_rate", "loss"})],
    }
    _sigma_conditioned = True

    def __init__(
        self,
        sigma_min: float | str = 0.02,
        sigma_max: float | str = 10.0,
        *,
        model: str = "score",
        noise: str | NoiseProcess = "edm",
        n_levels: int | str | None = None,
        loss_weighting: str = "edm",
        dequantize: Any = "auto",
        sampler: str | Callable[..., Tensor] = "dpm_solver",
        n_sampling_steps: int | str = "auto",
        step_size: float | str = "auto",
        hidden_units: Any = "auto",
        module: Any = None,
        parametrization: str = "preconditioned",
        standardize: bool = True,
        max_steps: int | str = "auto",
        batch_size: int = 512,
        lr: float | str = "auto",
        optimizer: Any = "adamw",
        callbacks: Any = None,
        ema_decay: float = EMA_DECAY,
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
        self.noise = noise
        self.n_levels = n_levels
        self.loss_weighting = loss_weighting
        self.dequantize = dequantize
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
        self.ema_decay = ema_decay
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.device = device
        self.verbose = verbose
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if isinstance(self.noise, NoiseProcess):
            self.noise.time_range()  # raises where its parameters are no process
        elif (
            not isinstance(self.sigma_min, str)
            and not isinstance(self.sigma_max, str)
            and self.sigma_min >= self.sigma_max
        ):
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
        for name in ("sigmas_", "score_path_", "score_path_std_"):  # of an earlier fit
            self.__dict__.pop(name, None)
        self.sigma_min_, self.sigma_max_ = self._find_range(z, weights, seed)
        self.n_levels_ = self._find_n_levels(z.shape[1])
        selection = super()._learn(z, weights, seed, device)
        self._note_copies(selection)
        return selection

    def _note_copies(self, selection: Selection) -> None:
        self.copy_rate_ = selection.kept if isinstance(selection, LatestOriginal) else math.nan

    def _find_range(self, z: Array, weights: Array, seed: int) -> tuple[float, float]:
        """Return the smallest and the largest noise level to be learnt."""
        if isinstance(self.noise, NoiseProcess):
            return float(self.noise.sigma_min), float(self.noise.sigma_max)
        if self.sigma_max == "auto":
            highest, name = largest_distance(torch.from_numpy(z)), "The largest distance of rows"
        else:
            highest, name = float(self.sigma_max), "sigma_max"
        if self.sigma_min == "cv":
            return self._choose_sigma_min(z, weights, seed, highest), highest
        lowest = float(self.sigma_min)
        if highest <= lowest:
            raise ValueError(
                f"{name} is {highest:.4g}, not above sigma_min={lowest:.4g}; use a smaller number "
                "for sigma_min, or a larger one for sigma_max."
            )
        return lowest, highest

    def _choose_sigma_min(self, z: Array, weights: Array, seed: int, highest: float) -> float:
        """Return the noise level whose score is nearest to that of the data, by held-out rows."""
        levels = geometric_levels(z, weights, _CV_ENDS, _CV_LEVELS, standardized=self.standardize)
        self.sigmas_ = levels[levels < highest]
        if len(self.sigmas_) < 2:
            raise ValueError(
                f"sigma_min='cv' chooses among noise levels from {levels[0]:.4g} to "
                f"{levels[-1]:.4g}, and sigma_max is {highest:.4g}; use a larger sigma_max."
            )
        network = FoldNetwork(
            (float(self.sigmas_[0]), float(self.sigmas_[-1])),
            self._widths_z(),
            hidden_units=self.hidden_units,
            module=self.module,
            max_steps=self.max_steps,
            optimizer=self.optimizer,
            device=self.device,
            verbose=self.verbose,
        )
        folds = shuffled_folds(z, weights, _CV_FOLDS, seed)
        self.score_path_ = score_path(network, folds, self.sigmas_.tolist(), seed)
        self.score_path_std_ = standard_errors(self.score_path_)
        return choose(self.sigmas_, self.score_path_, "min")

    def _report_ties(self, message: str) -> None:
        if self.sigma_min == "cv" and not isinstance(self.noise, NoiseProcess):
            raise ValueError(f"No sigma_min can be chosen on these rows: {message}")
        super()._report_ties(message)

    def _find_n_levels(self, n_features: int) -> int | None:
        if self.n_levels == "auto":
            return n_levels_for(self.sigma_max_, self.sigma_min_, n_features)
        return None if self.n_levels is None else int(self.n_levels)

    def _process(self) -> NoiseProcess:
        if isinstance(self.noise, str):
            return _PROCESSES[self.noise](sigma_min=self.sigma_min_, sigma_max=self.sigma_max_)
        process: NoiseProcess = clone(self.noise)
        if process.sigma_min < self.sigma_min_ or process.sigma_max > self.sigma_max_:
            raise ValueError(
                f"noise={process!r} runs from {process.sigma_min} to {process.sigma_max}, outside "
                f"of the noise levels from {self.sigma_min_} to {self.sigma_max_} that were "
                "learnt; fit with it, or give it a range inside of these."
            )
        return process

    def _fit_model(self, z: Array, weights: Array, seed: int, device: torch.device) -> Selection:
        self.__dict__.pop("stack_", None)
        self.n_partial_fits_ = 1
        selection = super()._fit_model(z, weights, seed, device)
        if self.model == "stack":
            seen, unseen = (
                self._smoothed_tensors(z[part], weights[part], seed)
                for part in self._split(len(z), seed)
            )
            together = self._smoothed_tensors(z, weights, seed)
            levels = (self.sigma_min_, self.sigma_max_)
            self.stack_ = stack_with_mixture(
                self.net_.module_, seen, unseen, together, levels, seed
            )
        return selection

    def _fitted_model(self) -> nn.Module:
        return self.stack_ if hasattr(self, "stack_") else super()._fitted_model()

    def _score_sigma(self) -> float:
        return self.sigma_min_

    def _level_of_steps(self, deviation: float) -> float:
        return min(max(deviation, self.sigma_min_), self.sigma_max_)

    def _noise_name(self) -> str:
        return f"sigma_min={self.sigma_min_:.4g}, sigma_max={self.sigma_max_:.4g}"

    def _make_loss(self, rows: Rows, sigma_data: float) -> RowLoss:
        law = self._process().law(self.n_levels_)
        if self._coded():
            return self._table_loss(law).to(rows.values.device)
        return DenoisingLoss(law, sigma_data, weighting=self.loss_weighting)

    def _make_network(self, n_features: int, hidden_units: tuple[int, ...]) -> nn.Module:
        return ScoreMLP(n_features, hidden_units, activation="silu")

    def _precondition(self, raw: nn.Module, mean: Tensor, scale: Tensor) -> nn.Module:
        return PreconditionedScore(raw, mean, scale, prediction=self.parametrization)

    def _ema_decay(self) -> float:
        return float(self.ema_decay)

    def _holds_out(self) -> bool:
        return self.model == "stack" or self.early_stopping == "loss"

    def _make_selection(self, z: Array, seed: int) -> Selection:
        watched = self.early_stopping and not self._holds_out() and self._has_numbers()
        if watched and 3 <= len(z) <= _WATCHED_ROWS_MAX:
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
            sigmas = karras_sigmas(self.sigma_max_, self.sigma_min_, _WATCH_STEPS)
            drawn = self._at_codes(module, dpm_solver(module, x.float(), sigmas.float()))
        return drawn.double().cpu().numpy()

    def fit(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, feature_groups: Any = None
    ) -> Self:
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
        feature_groups : sequence of FeatureGroup, default=None
            What the features stand for, such as ``feature_groups_`` of a
            :class:`~skscore.tabular.TabularEncoder` that X comes from: any objects with the
            attributes of :class:`~skscore.tabular.FeatureGroup`, in the order of the features, so
            that none is left out. None takes all features for numbers. A
            :class:`~skscore.GenerativePipeline` hands over the ``feature_groups_`` of its last
            transformer by itself.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter or X is out of its range: NaN or infinite values, strings, too few rows,
            rows that are all equal, or a loss that is not finite from the start; if the groups do
            not describe X, or have categories and a parameter is for numbers alone.
        """
        z, weights, device = self._begin_fit(X, sample_weight, feature_groups)
        self._learn(z, weights, draw_seed(self.random_state), device)
        return self

    @available_if(lambda self: self.model == "score")
    def partial_fit(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, feature_groups: Any = None
    ) -> Self:
        """Go on with the training, on further rows; not with ``model="stack"``.

        The first call is `fit`. Each later one takes up to ``max_steps`` steps from the weights of
        the last, on the rows that it is given alone, with a learning rate that warms up and falls
        again. Units, moments and the range of noise levels stay those of the first call, so its
        rows should be many enough to know these.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Numeric data without missing values.
        y : Ignored
            Present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, not negative. None is 1 each.
        feature_groups : sequence of FeatureGroup, default=None
            As in `fit`. Read by the first call; given again, they have to be the same.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        if not hasattr(self, "net_"):
            return self.fit(X, y, sample_weight, feature_groups=feature_groups)
        self._check_parameters()
        X = validate_data(self, X, dtype=np.float64, reset=False, ensure_min_samples=2)
        self._keep_groups(feature_groups, X)
        values, weights = collapse_duplicates(X, check_weights(sample_weight, X))
        # Another seed at each call: the same noise again would teach less.
        seed = draw_seed(np.random.RandomState(draw_seed(self.random_state) ^ self.n_partial_fits_))
        self.n_partial_fits_ += 1
        module = copy.deepcopy(self.net_.module_).float().requires_grad_()
        device = check_device(self.device)
        self._note_copies(self._fit_network_from(module, self._to_z(values), weights, seed, device))
        return self

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
