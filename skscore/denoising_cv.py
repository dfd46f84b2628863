r"""The score at the noise level that held-out rows find best.

Among noise levels σ the one is chosen whose score s_σ is nearest to that of the data,

    σ̂ = argmax_σ mean_k J_k(σ),     J_k(σ) = -mean over held-out rows of ‖s_σ‖² + 2 tr ∇s_σ
                                           = E‖∇log p‖² - D_F(p, s_σ)

(Hyvärinen 2005), and all J_k(σ) come from one noise-conditional network per fold
(:mod:`skscore._sigma_path`).
"""

from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.model_selection import check_cv
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import validate_data

from skscore._sigma_path import (
    FoldNetwork,
    WeightedRows,
    choose,
    geometric_levels,
    score_path,
    shuffled_folds,
    standard_errors,
)
from skscore._validation import (
    Array,
    RandomState,
    check_weights,
    collapse_duplicates,
    draw_seed,
)
from skscore.denoising import DenoisingScoreEstimator

__all__ = ["DenoisingScoreEstimatorCV"]

_ENDS = (0.01, 1.0)  # in standard deviations


class DenoisingScoreEstimatorCV(DenoisingScoreEstimator):
    """Score of the data blurred at a noise level that cross-validation chooses.

    As `sklearn.linear_model.LassoCV` does for its penalty, it prices a whole path of noise levels
    at little more than the cost of a few fits: one network per fold learns all of them at once, and
    its score of held-out rows, a constant minus the Fisher divergence [1]_, is read at each. The
    networks go on learning at the best and the two on either side, and are read again. Then
    `DenoisingScoreEstimator` is fitted to all rows at the best.

    Parameters
    ----------
    sigmas : int or array-like of shape (n_sigmas,), default=12
        Noise levels to choose from, in units of the standard deviation of each feature with
        ``standardize=True``, in those of X without. A number is that of levels in geometric
        progression from 0.01 to 1 standard deviation (root mean square over the features).
    cv : int, cross-validation generator or iterable, default=5
        How rows are held out. A number is that of folds of the distinct rows, which
        ``random_state`` shuffles, at most one a row; a row that repeats is on one side only.
        Splitters, such as `sklearn.model_selection.GroupKFold` or
        `sklearn.model_selection.TimeSeriesSplit`, and iterables of (train, test) indices are taken
        as they are.
    selection : {"min", "1se"}, default="min"
        "min" is the noise level with the least held-out Fisher divergence, "1se" the largest whose
        divergence is within one standard error, over folds, of the least: the smoothest score that
        is as good as far as the folds can tell [2]_.
    n_jobs : int or None, default=None
        Folds at a time, -1 for all cores. The result does not depend on it.
    dequantize : "auto", float, array-like of shape (n_features,) or None, default="auto"
        Width of the uniform noise that is added to rounded columns, on which the held-out score
        would have no bound: afresh in each batch, and the same at all noise levels. "auto" finds
        the columns and their steps; a number is the step of every column, an array that of each, 0
        for none. Columns that repeat values and get no noise are refused.
    n_sampling_steps : int, default=1000
        Langevin steps of each chain of `sample`, half of them to warm up.
    step_size : float or "auto", default="auto"
        Step α of the Langevin dynamics x ← x + α/2 s + √α z, in squared units of the noise level.
        "auto" is 0.2 over the largest mean curvature of log p_σ.
    hidden_units : sequence of int or "auto", default="auto"
        Widths of the hidden layers. "auto" is (128, 128, 128), and wider above 20 000 rows.
    module : class, callable or torch.nn.Module, default=None
        Network to use instead of the package's own: a class or function called with the number of
        varying features, or an instance, of which a copy is trained. It is called with
        (x: (n, d), sigma: (n, 1)) and returns (n, d).
    parametrization : {"preconditioned", "score"}, default="preconditioned"
        "preconditioned": the network corrects the denoiser of a Gaussian and sees inputs of unit
        variance; where rows held out say that the law is a multivariate t, it corrects the denoiser
        of that [3]_, and only where it is clearly better than it on rows held out.
        "score": its output is the score itself, in units of the noise level.
    standardize : bool, default=True
        Whether each feature is brought to mean 0 and variance 1 inside, by all rows, so that a
        noise level is the same in every fold. Scores, denoised rows and samples come out in the
        units of X either way.
    max_steps : int or "auto", default="auto"
        Gradient steps of each training. "auto" grows as √n, from 1000 up to 20 000; in the folds it
        is a third of it at all noise levels, and half of it at those near the best.
    batch_size : int, default=128
        Rows in a batch; each is blurred by ε and by -ε.
    lr : float, default=2e-3
        Largest learning rate; it warms up and falls along a cosine. It is 2.5 times as much where
        the networks of the folds learn all noise levels.
    weight_decay : float, default=0.3
        What each step takes off a weight, over the learning rate: more makes a smoother score, and
        less a sharper one.
    optimizer : "adamw" or callable, default="adamw"
        AdamW, or a class of torch.optim, which does not read ``weight_decay``.
    callbacks : list of skorch callbacks, default=None
        Added to those of the training on all rows.
    early_stopping : bool, default=True
        Whether part of the rows that are trained on is held out, training ends when their loss
        rises, and the last weights are kept whose held-out loss is within one standard error, and
        1 %, of the lowest. Up to 20 features their loss is the implicit objective at noisy points.
    validation_fraction : float, default=0.1
        Share of the distinct rows that is held out for that.
    warm_start : bool, default=False
        Whether the training on all rows goes on from the weights of the last fit.
    device : str or torch.device, default="cpu"
        Where to compute: "cpu", "cuda", "cuda:0".
    verbose : int or bool, default=False
        Whether to show a progress bar of each training.
    random_state : int, RandomState or None, default=None
        Seed of the folds, the initial weights, the batches and the noise.

    Attributes
    ----------
    sigma_ : float
        The noise level that was chosen.
    sigmas_ : ndarray of shape (n_sigmas,)
        The noise levels, rising.
    score_path_ : ndarray of shape (n_folds, n_sigmas)
        Held-out score of each fold: a constant minus the Fisher divergence, in 1/σ². At each noise
        level it is that of the first or of the second training of the folds, whichever is better on
        average.
    score_path_std_ : ndarray of shape (n_sigmas,)
        Standard error of its mean over folds.
    net_ : skorch.NeuralNet
        The net trained on all rows; its ``module_`` is the score in standardised units.
    mean_, scale_ : ndarray of shape (n_features,)
        What each feature is centred at and divided by.
    constant_ : ndarray of shape (n_features,), bool
        Features that did not vary in training: they are denoised to, and sampled as, the constant.
    covariance_ : ndarray of shape (n_varying, n_varying)
        Covariance of the varying features in standardised units.
    step_size_ : float
        The Langevin step of ``step_size="auto"``.
    rounding_steps_ : ndarray of shape (n_features,)
        Widths of the uniform noise of ``dequantize``, in the units of X.
    rounding_origins_ : ndarray of shape (n_features,)
        A value of each column with noise from which all its values are whole steps away, NaN where
        there is none: to these steps samples are rounded.
    validation_curve_ : ndarray of shape (n_validations, 2)
        Step and loss of each validation of the training on all rows.
    n_steps_, best_step_ : int
        Gradient steps of the training on all rows, and the step whose weights were kept; 0 if what
        the network started from was as good.
    degrees_of_freedom_ : float
        Of the multivariate t that the network started from; infinite for a Gaussian.
    sampling_report_ : SamplingReport
        How the chains of the last `sample` went: ``step_size``, ``split_rhat``.
    score_std_ : float
        Standard error that random probes brought into the last `score`; 0 up to 100 features.
    n_features_in_ : int
        Number of features seen in fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if X was a data frame with string columns.

    See Also
    --------
    skscore.plotting.SigmaPathDisplay : Picture of the path and of what was chosen.

    References
    ----------
    .. [1] A. Hyvärinen, "Estimation of non-normalized statistical models by score matching", JMLR
       6, 2005.
    .. [2] L. Breiman, J. Friedman, R. Olshen and C. Stone, "Classification and regression trees",
       1984.
    .. [3] C. Liu and D. Rubin, "ML estimation of the t distribution using EM and its extensions,
       ECM and ECME", Statistica Sinica 5, 1995.

    Examples
    --------
    >>> import numpy as np
    >>> from skscore import DenoisingScoreEstimatorCV
    >>> X = np.random.RandomState(0).normal(5.0, 2.0, size=(300, 1))
    >>> search = DenoisingScoreEstimatorCV([0.01, 0.2, 3.0], cv=3, max_steps=100, random_state=0)
    >>> search.fit(X).sigma_
    0.2
    >>> search.score_path_.shape
    (3, 3)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **{
            name: constraint
            for name, constraint in DenoisingScoreEstimator._parameter_constraints.items()
            if name != "sigma"
        },
        "sigmas": [Interval(Integral, 2, None, closed="left"), "array-like"],
        "cv": [Interval(Integral, 2, None, closed="left"), HasMethods(["split"]), "array-like"],
        "selection": [StrOptions({"min", "1se"})],
        "n_jobs": [Integral, None],
    }

    def __init__(
        self,
        sigmas: Any = 12,
        *,
        cv: Any = 5,
        selection: str = "min",
        n_jobs: int | None = None,
        dequantize: Any = "auto",
        n_sampling_steps: int = 1000,
        step_size: float | str = "auto",
        hidden_units: Any = "auto",
        module: Any = None,
        parametrization: str = "preconditioned",
        standardize: bool = True,
        max_steps: int | str = "auto",
        batch_size: int = 128,
        lr: float = 2e-3,
        weight_decay: float = 0.3,
        optimizer: Any = "adamw",
        callbacks: Any = None,
        early_stopping: bool = True,
        validation_fraction: float = 0.1,
        warm_start: bool = False,
        device: str | torch.device = "cpu",
        verbose: int | bool = False,
        random_state: RandomState = None,
    ) -> None:
        self.sigmas = sigmas
        self.cv = cv
        self.selection = selection
        self.n_jobs = n_jobs
        self.dequantize = dequantize
        self.n_sampling_steps = n_sampling_steps
        self.step_size = step_size
        self.hidden_units = hidden_units
        self.module = module
        self.parametrization = parametrization
        self.standardize = standardize
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.optimizer = optimizer
        self.callbacks = callbacks
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.device = device
        self.verbose = verbose
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None, *, groups: Any = None) -> Self:
        """Choose the noise level, and fit the score network at it.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Numeric data without missing values.
        y : array-like of shape (n_samples,), default=None
            Handed to the splitter of ``cv``; not used otherwise.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, not negative, in training and in the mean over held-out rows. None
            is 1 each.
        groups : array-like of shape (n_samples,), default=None
            Handed to the splitter of ``cv``, such as `sklearn.model_selection.GroupKFold`.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            As for `DenoisingScoreEstimator`; also if a column repeats values and gets no noise, if
            there are groups and ``cv`` is a number, or if ``sigmas`` are not positive and distinct.
        """
        z, weights, device = self._begin_fit(X, sample_weight)
        seed = draw_seed(self.random_state)
        self.sigmas_ = self._find_sigmas(z, weights)
        self.score_path_ = score_path(
            self._fold_network(),
            self._folds(X, y, groups, sample_weight, z, weights, seed),
            self.sigmas_.tolist(),
            seed,
            self.n_jobs,
        )
        self.score_path_std_ = standard_errors(self.score_path_)
        self._learn(z, weights, seed, device)
        return self

    def _find_sigma(self) -> float:
        return choose(self.sigmas_, self.score_path_, self.selection)

    def _report_ties(self, message: str) -> None:
        raise ValueError(f"No noise level can be chosen on these rows: {message}")

    def _find_sigmas(self, z: Array, weights: Array) -> Array:
        if isinstance(self.sigmas, Integral):
            n_levels = int(self.sigmas)
            return geometric_levels(z, weights, _ENDS, n_levels, standardized=self.standardize)
        given = np.asarray(self.sigmas)
        sigmas = np.unique(given.astype(np.float64)) if given.dtype.kind in "iuf" else np.empty(0)
        if given.ndim != 1 or len(sigmas) < 2 or not (np.isfinite(sigmas) & (sigmas > 0)).all():
            raise ValueError(
                f"sigmas={self.sigmas!r} are no noise levels to choose from; give two or more "
                "different positive numbers, or how many."
            )
        return sigmas

    def _fold_network(self) -> FoldNetwork:
        return FoldNetwork(
            (float(self.sigmas_[0]), float(self.sigmas_[-1])),
            self._widths_z(),
            heavy_tails=True,
            hidden_units=self.hidden_units,
            module=self.module,
            parametrization=self.parametrization,
            max_steps=self.max_steps,
            batch_size=self.batch_size,
            lr=self.lr,
            weight_decay=self.weight_decay,
            optimizer=self.optimizer,
            early_stopping=self.early_stopping,
            validation_fraction=self.validation_fraction,
            device=self.device,
            verbose=self.verbose,
        )

    def _folds(
        self,
        X: Any,
        y: Any,
        groups: Any,
        sample_weight: Any,
        z: Array,
        weights: Array,
        seed: int,
    ) -> list[tuple[WeightedRows, WeightedRows]]:
        """Return the rows to train on and those held out in each fold, with their weights."""
        if isinstance(self.cv, Integral):
            if groups is not None:
                raise ValueError(
                    f"groups were given, but cv={self.cv} splits rows without regard to them; use "
                    "cv=GroupKFold() of sklearn.model_selection, or another splitter of groups."
                )
            return shuffled_folds(z, weights, int(self.cv), seed)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        given = check_weights(sample_weight, X)
        z, weights = self._to_z(X), np.ones(len(X)) if given is None else given
        folds = []
        for k, (train, own) in enumerate(check_cv(self.cv).split(X, y, groups)):
            if not (weights[train].any() and weights[own].any()):
                raise ValueError(
                    f"sample_weight is zero for all rows that fold {k} of cv trains on, or for all "
                    "that it holds out; leave rows of weight zero out, or use another cv."
                )
            folds.append((collapse_duplicates(z[train], weights[train]), (z[own], weights[own])))
        return folds
