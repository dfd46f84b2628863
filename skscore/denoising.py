r"""The score at one noise level, and the denoiser it is.

With x_σ = x + σε and D(x_σ) = E[x | x_σ],

    s(x_σ) = ∇ log p_σ(x_σ) = argmin E‖s(x_σ) + ε/σ‖²       (Vincent 2011)
    D(x_σ) = x_σ + σ² s(x_σ)                                (Tweedie's formula; Robbins 1956)
"""

from numbers import Real
from typing import Any, ClassVar

import torch
from sklearn.base import OneToOneFeatureMixin, TransformerMixin
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from skscore._batches import Rows
from skscore._heavy_tails import HeavyTailsMixin
from skscore._langevin import LangevinEstimator
from skscore._losses import DenoisingLoss, RowLoss
from skscore._selection import LONG_PATIENCE, TOLERANCE, LatestNearLowest, Selection
from skscore._validation import Array, RandomState
from skscore.noise import FixedSigma

__all__ = ["DenoisingScoreEstimator"]


class DenoisingScoreEstimator(
    OneToOneFeatureMixin, TransformerMixin, HeavyTailsMixin, LangevinEstimator
):
    """Score of the data blurred at one noise level, by denoising score matching.

    Learns s(x) = ∇ log p_σ(x), p_σ = p * N(0, σ²I), as the minimiser of E‖s(x + σε) + ε/σ‖² [1]_.
    The score is a denoiser: as a transformer it maps x to Tweedie's mean
    E[x_0 | x] = x + σ² s(x) [2]_.

    `score` takes held-out rows as clean data, with the implicit objective, so that a grid search
    over ``sigma`` finds the noise level whose score is nearest to that of the data; denoising
    losses at two noise levels cannot be compared.

    Parameters
    ----------
    sigma : float, default=0.1
        Standard deviation of the noise, in units of the standard deviation of each feature with
        ``standardize=True``, in those of X without.
    dequantize : "auto", float, array-like of shape (n_features,) or None, default="auto"
        Width of the uniform noise that is added to rounded columns, on which `score` would have no
        bound: afresh in each batch, and the same every time in `score`. "auto" finds the columns
        and their steps; a number is the step of every column, an array that of each, 0 for none.
        Columns that repeat values and get no noise are warned of.
    n_sampling_steps : int, default=1000
        Langevin steps of each chain of `sample`, half of them to warm up.
    step_size : float or "auto", default="auto"
        Step α of the Langevin dynamics x ← x + α/2 s + √α z, in squared units of ``sigma``. "auto"
        is 0.2 over the largest mean curvature of log p_σ.
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
        "score": its output is the score itself, in units of ``sigma``.
    standardize : bool, default=True
        Whether each feature is brought to mean 0 and variance 1 inside. Scores, denoised rows and
        samples come out in the units of X either way.
    max_steps : int or "auto", default="auto"
        Gradient steps. "auto" grows as √n, from 1000 up to 20 000.
    batch_size : int, default=128
        Rows in a batch; each is blurred by ε and by -ε.
    lr : float, default=2e-3
        Largest learning rate; it warms up and falls along a cosine.
    weight_decay : float, default=0.3
        What each step takes off a weight, over the learning rate: more makes a smoother score, and
        less a sharper one.
    optimizer : "adamw" or callable, default="adamw"
        AdamW, or a class of torch.optim, which does not read ``weight_decay``.
    callbacks : list of skorch callbacks, default=None
        Added to those of the training.
    early_stopping : bool, default=True
        Whether part of the rows is held out, training ends when their loss rises, and the last
        weights are kept whose held-out loss is within one standard error, and 1 %, of the lowest.
        Up to 20 features their loss is the implicit objective at noisy points.
    validation_fraction : float, default=0.1
        Share of the distinct rows that is held out.
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
    mean_, scale_ : ndarray of shape (n_features,)
        What each feature is centred at and divided by.
    constant_ : ndarray of shape (n_features,), bool
        Features that did not vary in training: they are denoised to, and sampled as, the constant.
    covariance_ : ndarray of shape (n_varying, n_varying)
        Covariance of the varying features in standardised units.
    step_size_ : float
        The Langevin step of ``step_size="auto"``.
    validation_curve_ : ndarray of shape (n_validations, 2)
        Step and loss of each validation; the loss is that of held-out rows with ``early_stopping``,
        of rows trained on otherwise.
    n_steps_, best_step_ : int
        Gradient steps taken, and the step whose weights were kept; 0 if what the network started
        from was as good.
    degrees_of_freedom_ : float
        Of the multivariate t that the network started from; infinite for a Gaussian.
    sigma_ : float
        The noise level of the fit.
    rounding_steps_ : ndarray of shape (n_features,)
        Widths of the uniform noise of ``dequantize``, in the units of X.
    rounding_origins_ : ndarray of shape (n_features,)
        A value of each column with noise from which all its values are whole steps away, NaN where
        there is none: to these steps samples are rounded.
    sampling_report_ : SamplingReport
        How the chains of the last `sample` went: ``step_size``, ``split_rhat``.
    score_std_ : float
        Standard error that random probes brought into the last `score`; 0 up to 100 features.
    n_features_in_ : int
        Number of features seen in fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if X was a data frame with string columns.

    References
    ----------
    .. [1] P. Vincent, "A connection between score matching and denoising autoencoders", Neural
       Computation 23, 2011.
    .. [2] B. Efron, "Tweedie's formula and selection bias", JASA 106, 2011.
    .. [3] C. Liu and D. Rubin, "ML estimation of the t distribution using EM and its extensions,
       ECM and ECME", Statistica Sinica 5, 1995.

    Examples
    --------
    >>> import numpy as np
    >>> from skscore import DenoisingScoreEstimator
    >>> X = np.random.RandomState(0).normal(5.0, 2.0, size=(500, 1))
    >>> estimator = DenoisingScoreEstimator(sigma=1.0, max_steps=200, random_state=0).fit(X)
    >>> estimator.transform([[9.0]]).round(0)  # halfway to the mean: noise and data alike
    array([[7.]])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **LangevinEstimator._parameter_constraints,
        "weight_decay": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        sigma: float = 0.1,
        *,
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
        self.sigma = sigma
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

    def _learn(self, *args: Any) -> Selection:
        self.sigma_ = self._find_sigma()
        return super()._learn(*args)

    def _find_sigma(self) -> float:
        return float(self.sigma)

    def _make_loss(self, rows: Rows, sigma_data: float) -> RowLoss:
        law = FixedSigma(self.sigma_)
        return DenoisingLoss(law, sigma_data, mirrored=True, exact_held_out=True)

    def _select_held_out(self) -> Selection:
        return LatestNearLowest(TOLERANCE, LONG_PATIENCE)

    def _weight_decay(self) -> float:
        return float(self.weight_decay)

    def score_function(self, X: Any, sigma: float | None = None) -> Array:
        """Return the score of the blurred density, ∇ log p_σ(x), in the units of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Points.
        sigma : float or None, default=None
            None, or the noise level of the fit: the estimator has learnt no other.

        Returns
        -------
        score : ndarray of shape (n_samples, n_features)
            In 1/units of X.

        Raises
        ------
        ValueError
            If sigma is another noise level.
        """
        return self._score_function(X, self._check_level(sigma))

    def denoise(self, X: Any, sigma: float | None = None) -> Array:
        """Return Tweedie's mean E[x_0 | x_σ = x] = x + σ² ∇ log p_σ(x).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Noisy rows.
        sigma : float or None, default=None
            None, or the noise level of the fit: the estimator has learnt no other.

        Returns
        -------
        denoised : ndarray of shape (n_samples, n_features)
            In the units of X.

        Raises
        ------
        ValueError
            If sigma is another noise level.
        """
        return self._denoise(X, self._check_level(sigma))

    def transform(self, X: Any) -> Array:
        """Denoise the rows: `denoise` at the noise level of the fit.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Noisy rows.

        Returns
        -------
        denoised : ndarray of shape (n_samples, n_features)
            In the units of X.
        """
        return self.denoise(X)

    def _check_level(self, sigma: float | None) -> float:
        check_is_fitted(self)
        if sigma is not None and sigma != self.sigma_:
            raise ValueError(
                f"sigma={sigma} was asked for, but this estimator has learnt sigma={self.sigma_} "
                "alone; use NCSNGenerator for a range of noise levels."
            )
        return self.sigma_
