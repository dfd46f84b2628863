r"""The score of clean data, learnt without noise levels.

s(x) = ∇ log p(x), as the minimiser of one of

    implicit     E[‖s(x)‖² + 2 tr ∇s(x)]                  (Hyvärinen 2005)
    sliced       E[(vᵀs(x))² + 2 vᵀ∇s(x)v]                (Song et al. 2019)
    denoising    E‖s(x + σε) + ε/σ‖², σ small             (Vincent 2011)

and their relatives (:mod:`skscore.objectives`). Where s = -∇E, log p(x) = -E(x) - log Z.
"""

from collections.abc import Callable
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skscore._closed_form import CLOSED_FORM
from skscore._density_models import MIXTURES, NETWORKS, UNNORMALIZED, DensityModels
from skscore._inference import to_numpy
from skscore._named_objectives import PARAMETERS
from skscore._validation import Array, RandomState

__all__ = ["ScoreMatchingDensity"]


def _model_is(*names: str) -> Callable[[Any], bool]:
    return lambda self: getattr(self, "model_", self.model) in names


class ScoreMatchingDensity(DensityModels):
    """Score of the clean data by score matching.

    Learns s(x) = ∇ log p(x) without knowing the normalising constant of p, by minimising
    Hyvärinen's implicit objective E[‖s‖² + 2 tr ∇s] [1]_, its sliced form [2]_, or the denoising
    form at one small noise level [3]_. Where the score is the gradient of an energy, the
    log-density is normalised afterwards, by bridge sampling [6]_.

    Scores of clean data say nothing of the weights of well separated modes, which is warned of; for
    these use :class:`NCSNGenerator`.

    Parameters
    ----------
    objective : str, default="auto"
        What a network minimises; the equations are in :mod:`skscore.objectives`.

        - "implicit" takes the exact trace, at the cost of about one evaluation a feature;
        - "sliced" and "sliced_vr", with reduced variance, estimate it along random directions;
        - "finite_difference" does so without derivatives of the network;
        - "denoising" adds noise of the standard deviation ``sigma`` and learns the score of the
          slightly blurred density, "denoising_control_variate" without the variance of a small σ,
          "parzen" from the mean of all rows that could have given a noisy one;
        - "explicit" takes a known score, ``objective_params={"target": function}``.

        "auto" is "implicit" up to 8 varying features and "sliced_vr" above; for
        ``model="energy"`` it is "denoising", and for "auto" and "stack" "denoising" at many noise
        levels.
    objective_params : dict, default=None
        Parameters of the objective: ``n_probes`` (1) and ``probes`` ("rademacher", "gaussian" or
        "sphere") of the sliced ones and of "finite_difference", whose step is ``epsilon`` (0.003,
        in units of ``sigma``); ``target`` of "explicit", which maps rows in the units of X to
        their scores.
    model : str, default="score"
        What the score is taken from.

        - "score": a network of the score itself;
        - "energy": a network of E with s = -∇E;
        - "gaussian": the Gaussian that minimises the objective, in closed form;
        - "gaussian_mixture": of maximum likelihood, with the number of components of least BIC;
        - "kernel": a kernel exponential family, the implicit objective solved in closed form,
          bandwidth and regularization chosen on held-out rows [4]_;
        - "stack": the convex combination of a Gaussian, a mixture, a kernel and a network that
          has the least objective on held-out rows [5]_;
        - "auto": of these five the simplest within one standard error of the best.

        The network of the last two learns noise levels from 0.025 to 0.5 at once and is read at the
        one that held-out rows prefer, unless ``objective`` is named. Below 20 000 distinct rows
        there are five networks, each of which holds out a fifth of the rows, and their mean is
        used.
    sigma : float, default=0.05
        Standard deviation of the noise of the blurred objectives, in units of the standard
        deviation of each feature with ``standardize=True``, in those of X without. The other
        objectives add no noise.
    dequantize : "auto", float, array-like of shape (n_features,) or None, default="auto"
        Width of the uniform noise that is added to rounded columns, whose objective would have no
        minimum: afresh in each batch, and the same every time in `score`. "auto" finds the columns
        and their steps; a number is the step of every column, an array that of each, 0 for none.
        Columns that repeat values and get no noise are warned of.
    n_sampling_steps : int or "auto", default="auto"
        Langevin steps of each chain of `sample`, half of them to warm up. "auto" is 1000, and 500
        where the chains start from a proposal and are corrected by Metropolis steps.
    step_size : float or "auto", default="auto"
        Step α of the Langevin dynamics x ← x + α/2 s + √α z, in squared units of ``sigma``. "auto"
        is 0.2 over the largest mean curvature of log p. Energies and kernels adapt theirs in the
        warm-up.
    hidden_units : sequence of int or "auto", default="auto"
        Widths of the hidden layers. "auto" is (128, 128, 128), and wider above 20 000 rows.
    module : class, callable or torch.nn.Module, default=None
        Network to use instead of the package's own: a class or function called with the number of
        varying features, or an instance, of which a copy is trained. It is called with
        (x: (n, d), sigma: (n, 1)) and returns (n, d), or (n, 1) with ``model="energy"``.
    parametrization : {"preconditioned", "score"}, default="preconditioned"
        "preconditioned": the network corrects the score of a Gaussian and sees inputs of unit
        variance. "score": its output is the score itself, in units of ``sigma``; there is no such
        thing for energies.
    standardize : bool, default=True
        Whether each feature is brought to mean 0 and variance 1 inside. Scores and samples come out
        in the units of X either way.
    max_steps : int or "auto", default="auto"
        Gradient steps. "auto" grows as √n, from 1000 up to 20 000.
    batch_size : int, default=256
        Rows in a batch; half as many with "auto" and "stack", unless ``objective`` is named, since
        their network sees a row blurred by ε and by -ε.
    lr : float, default=2e-3
        Largest learning rate; it warms up and falls along a cosine.
    optimizer : "adamw" or callable, default="adamw"
        AdamW, or a class of torch.optim.
    callbacks : list of skorch callbacks, default=None
        Added to those of the training.
    early_stopping : bool, default=True
        Whether part of the rows is held out, training ends when their loss no longer falls, and the
        weights of the lowest held-out loss are kept; with the blurred objectives the last ones
        within one standard error of it. "kernel" holds rows out in any case; "auto" and "stack"
        need True.
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
    model_ : str
        The model that was fitted, or chosen.
    selection_results_ : dict
        Of "auto" and "stack": "model", the candidates; "objective", what each has on held-out rows,
        the Fisher divergence up to a constant in 1/σ²; "excess" over the least with its
        "standard_error"; "chosen"; "stack_weights", of the candidates but the stack.
    net_ : skorch.NeuralNet
        The trained net; its ``module_`` is the score in standardised units. Only where a network
        was asked for by name.
    nets_ : list of skorch.NeuralNet
        The networks that were compared, of "auto" and "stack".
    stack_ : StackedScore
        The combination in standardised units: of "stack", or of the networks where "auto" chose
        these.
    closed_form_ : torch.nn.Module
        The score in standardised units. Only where the model is solved in closed form.
    objective_ : str
        The objective that was used.
    sigma_ : float
        The noise level of the score that was learnt: ``sigma`` with the blurred objectives, else 0.
    network_sigma_ : float
        The noise level at which the network is read, of "auto" and "stack".
    rounding_steps_ : ndarray of shape (n_features,)
        Widths of the uniform noise of ``dequantize``, in the units of X.
    rounding_origins_ : ndarray of shape (n_features,)
        A value of each column with noise from which all its values are whole steps away, NaN where
        there is none: to these steps samples are rounded.
    log_normalizer_, log_normalizer_std_ : float
        log Z of the energy in standardised units, and its standard error; of energies and kernels.
    effective_sample_size_ : float
        Share of the proposal's draws that the estimate of log Z rests on. Below 0.01 it cannot be
        relied on, which is warned of.
    proposal_ : GaussianMixtureScore
        The mixture that log Z is bridged to, and that chains start from; of energies and kernels.
    stein_ratio_, stein_ratio_std_ : float
        a* = -E tr ∇s/E‖s‖² on held-out rows, 1 for the true score of clean data and below for an
        overfitted one, and its standard error; of networks that hold rows out.
    sampling_report_ : SamplingReport
        How the chains of the last `sample` went: ``acceptance``, ``step_size``, ``split_rhat``.
    score_std_ : float
        Standard error that random probes brought into the last `score`; 0 up to 100 features.
    mean_, scale_ : ndarray of shape (n_features,)
        What each feature is centred at and divided by.
    constant_ : ndarray of shape (n_features,), bool
        Features that did not vary in training: their score is 0, unless the objective blurs them,
        and they are sampled as constants.
    covariance_ : ndarray of shape (n_varying, n_varying)
        Covariance of the varying features in standardised units.
    step_size_ : float
        The Langevin step of ``step_size="auto"``.
    validation_curve_ : ndarray of shape (n_validations, 2)
        Step and loss of each validation; the loss is that of held-out rows with ``early_stopping``,
        of rows trained on otherwise. Only where the model is a network.
    n_steps_, best_step_ : int
        Gradient steps taken, and the step whose weights were kept; the sum and the largest where
        there are several networks, 0 where there is none.
    n_features_in_ : int
        Number of features seen in fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if X was a data frame with string columns.

    References
    ----------
    .. [1] A. Hyvärinen, "Estimation of non-normalized statistical models by score matching",
       JMLR 6, 2005.
    .. [2] Y. Song, S. Garg, J. Shi and S. Ermon, "Sliced score matching", UAI 2019.
    .. [3] P. Vincent, "A connection between score matching and denoising autoencoders", Neural
       Computation 23, 2011.
    .. [4] B. Sriperumbudur et al., "Density estimation in infinite dimensional exponential
       families", JMLR 18, 2017.
    .. [5] D. Wolpert, "Stacked generalization", Neural Networks 5, 1992.
    .. [6] X.-L. Meng and W. H. Wong, "Simulating ratios of normalizing constants via a simple
       identity", Statistica Sinica 6, 1996.

    Examples
    --------
    >>> import numpy as np
    >>> from skscore import ScoreMatchingDensity
    >>> X = np.random.RandomState(0).normal(5.0, 2.0, size=(500, 1))
    >>> density = ScoreMatchingDensity(max_steps=200, random_state=0).fit(X)
    >>> density.score_function([[9.0]]).round(0)  # (5 - 9) / 2²
    array([[-1.]])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **DensityModels._parameter_constraints,
        "objective": [StrOptions({"auto", *PARAMETERS})],
        "objective_params": [dict, None],
        "model": [StrOptions({*CLOSED_FORM, *NETWORKS, "auto", "stack"})],
        "n_sampling_steps": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        objective: str = "auto",
        *,
        objective_params: dict[str, Any] | None = None,
        model: str = "score",
        sigma: float = 0.05,
        dequantize: Any = "auto",
        n_sampling_steps: int | str = "auto",
        step_size: float | str = "auto",
        hidden_units: Any = "auto",
        module: Any = None,
        parametrization: str = "preconditioned",
        standardize: bool = True,
        max_steps: int | str = "auto",
        batch_size: int = 256,
        lr: float = 2e-3,
        optimizer: Any = "adamw",
        callbacks: Any = None,
        early_stopping: bool = True,
        validation_fraction: float = 0.1,
        warm_start: bool = False,
        device: str | torch.device = "cpu",
        verbose: int | bool = False,
        random_state: RandomState = None,
    ) -> None:
        self.objective = objective
        self.objective_params = objective_params
        self.model = model
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
        self.optimizer = optimizer
        self.callbacks = callbacks
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.device = device
        self.verbose = verbose
        self.random_state = random_state

    def score_function(self, X: Any) -> Array:
        """Return the score ∇ log p(x) in the units of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Points.

        Returns
        -------
        score : ndarray of shape (n_samples, n_features)
            In 1/units of X. Features that were constant in training have the score 0, unless
            the objective blurs them (``sigma_`` > 0).
        """
        check_is_fitted(self)
        return self._score_function(X, self.sigma_)

    @available_if(_model_is(*MIXTURES, *UNNORMALIZED))
    def energy(self, X: Any) -> Array:
        """Return the energy E(x) = -log p(x) + const; not for "score" and "stack".

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Points.

        Returns
        -------
        energy : ndarray of shape (n_samples,)
            In nats. The constant is the same for all points.
        """
        z = self._to_z(self._check_X(X))
        return to_numpy(self._energy_fn()(*self._at_level(z)))

    @available_if(_model_is(*MIXTURES, *UNNORMALIZED))
    def score_samples(self, X: Any) -> Array:
        """Return the log-density log p(x) of the features that vary; not for "score" and "stack".

        -E(x) - log Z, with log Z known for mixtures and ``log_normalizer_`` for energies and
        kernels. A network of the score alone has no log-density.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Points.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            In nats, in the units of X.
        """
        log_density = self._log_density_z(self._to_z(self._check_X(X)))
        return log_density - np.log(self.scale_[~self.constant_]).sum()
