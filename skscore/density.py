r"""The score of clean data, learnt without noise levels.

s(x) = ∇ log p(x), as the minimiser of one of

    implicit     E[‖s(x)‖² + 2 tr ∇s(x)]                  (Hyvärinen 2005)
    sliced       E[‖s(x)‖² + 2 vᵀ∇s(x)v]                  (Song et al. 2019)
    denoising    E‖s(x + σε) + ε/σ‖², σ small             (Vincent 2011)
"""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from skscore._closed_form import fit_closed_form
from skscore._inference import implicit_losses, in_parts, to_numpy
from skscore._langevin import LangevinEstimator
from skscore._losses import ImplicitLoss, RowLoss, SlicedLoss
from skscore._selection import Latest, LowestLoss, Selection
from skscore._validation import Array, RandomState
from skscore.energies import EnergyMLP, EnergyScore

__all__ = ["ScoreMatchingDensity"]

_EXACT_TRAINING_MAX = 8
_CLOSED_FORM = ("gaussian", "kernel")
_NETWORKS = ("score", "energy")


def _model_is(*names: str) -> Callable[[Any], bool]:
    return lambda self: getattr(self, "model_", self.model) in names


class ScoreMatchingDensity(LangevinEstimator):
    """Score of the clean data by score matching.

    Learns s(x) = ∇ log p(x) without knowing the normalising constant of p, by minimising
    Hyvärinen's implicit objective E[‖s‖² + 2 tr ∇s] [1]_, its sliced form [2]_, or the denoising
    form at one small noise level [3]_.

    Scores of clean data say nothing of the weights of well separated modes; for these use
    :class:`NCSNGenerator`.

    Parameters
    ----------
    objective : {"auto", "implicit", "sliced", "denoising"}, default="auto"
        What is minimised. "implicit" takes the exact trace, at the cost of about one network
        evaluation a feature; "sliced" estimates it along random directions; "denoising" adds noise
        of the standard deviation ``sigma`` and learns the score of the slightly blurred density.
        "auto" is "implicit" up to 8 varying features and "sliced" above.
    model : {"score", "energy", "gaussian", "kernel", "auto"}, default="score"
        What the score is taken from. "score" is a network of the score itself; "energy" a network
        of E with s = -∇E; "gaussian" the Gaussian that minimises the objective; "kernel" a kernel
        exponential family, for the implicit objective, whose bandwidth and regularization are
        chosen on held-out rows [4]_. The last two are solved in closed form. "auto" fits
        "gaussian", "kernel" and "score" and keeps the one of the least held-out implicit objective.
    sigma : float, default=0.05
        Standard deviation of the noise of ``objective="denoising"``, in units of the standard
        deviation of each feature with ``standardize=True``, in those of X without. The other
        objectives add no noise.
    n_sampling_steps : int, default=1000
        Langevin steps of `sample`.
    step_size : float or "auto", default="auto"
        Step α of the Langevin dynamics x ← x + α/2 s + √α z, in squared units of ``sigma``. "auto"
        is 0.2 over the largest mean curvature of log p.
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
        Rows in a batch.
    lr : float, default=2e-3
        Largest learning rate; it warms up and falls along a cosine.
    optimizer : "adamw" or callable, default="adamw"
        AdamW, or a class of torch.optim.
    callbacks : list of skorch callbacks, default=None
        Added to those of the training.
    early_stopping : bool, default=True
        Whether part of the rows is held out, training ends when their loss no longer falls, and the
        weights of the lowest held-out loss are kept; with ``objective="denoising"`` the last ones
        within one standard error of it. "kernel" holds rows out in any case; "auto" needs True.
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
        Of ``model="auto"``: "model", "objective" and "standard_error", the held-out implicit
        objective of each candidate with its standard error, in 1/σ².
    net_ : skorch.NeuralNet
        The trained net; its ``module_`` is the score in standardised units. Only where the model is
        a network.
    closed_form_ : torch.nn.Module
        The score in standardised units. Only where the model is no network.
    objective_ : str
        The objective that was used.
    sigma_ : float
        The noise level of the score that was learnt: ``sigma`` with ``objective="denoising"``,
        else 0.
    mean_, scale_ : ndarray of shape (n_features,)
        What each feature is centred at and divided by.
    constant_ : ndarray of shape (n_features,), bool
        Features that did not vary in training: their score is 0, they are sampled as constants.
    covariance_ : ndarray of shape (n_varying, n_varying)
        Covariance of the varying features in standardised units.
    step_size_ : float
        The Langevin step of ``step_size="auto"``.
    validation_curve_ : ndarray of shape (n_validations, 2)
        Step and loss of each validation; the loss is that of held-out rows with ``early_stopping``,
        of rows trained on otherwise. Only where the model is a network.
    n_steps_, best_step_ : int
        Gradient steps taken, and the step whose weights were kept; 0 without a network.
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
        **LangevinEstimator._parameter_constraints,
        "objective": [StrOptions({"auto", "implicit", "sliced", "denoising"})],
        "model": [StrOptions({*_CLOSED_FORM, *_NETWORKS, "auto"})],
    }

    def __init__(
        self,
        objective: str = "auto",
        *,
        model: str = "score",
        sigma: float = 0.05,
        n_sampling_steps: int = 1000,
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
        self.model = model
        self.sigma = sigma
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
        if self.model == "energy" and self.parametrization == "score":
            raise ValueError(
                "parametrization='score' makes the output of the network the score, and that of "
                "model='energy' is an energy; use parametrization='preconditioned'."
            )
        if self.model == "auto" and not self.early_stopping:
            raise ValueError(
                "model='auto' compares models on held-out rows, and early_stopping=False holds out "
                "none; use early_stopping=True or name a model."
            )
        if self.model == "kernel" and self.objective not in ("auto", "implicit"):
            raise ValueError(
                f"model='kernel' is solved for the implicit objective, not for {self.objective!r}; "
                "use objective='auto' or 'implicit'."
            )

    def _learn(self, z: Array, *args: Any) -> Selection:
        self.objective_ = self.objective
        if self.objective == "auto":
            self.objective_ = "implicit" if z.shape[1] <= _EXACT_TRAINING_MAX else "sliced"
        self.sigma_ = float(self.sigma) if self.objective_ == "denoising" else 0.0
        return super()._learn(z, *args)

    def _fit_model(self, z: Array, weights: Array, seed: int, device: torch.device) -> Selection:
        # What an earlier fit of another model has left.
        for name in ("closed_form_", "selection_results_"):
            self.__dict__.pop(name, None)
        if self.model == "auto":
            return self._fit_best(z, weights, seed, device)
        self.model_ = self.model
        if self.model in _NETWORKS:
            return super()._fit_model(z, weights, seed, device)
        return self._keep_closed_form(z, weights, seed)

    def _fit_best(self, z: Array, weights: Array, seed: int, device: torch.device) -> Selection:
        """Fit the candidates to the same rows, and keep what the held-out ones prefer."""
        self.model_ = "score"
        selection = super()._fit_model(z, weights, seed, device)
        train, valid = self._split(len(z), seed)
        x, w = self._tensor(z[train]), self._tensor(weights[train])
        models = {
            name: fit_closed_form(name, x, w, self.validation_fraction, seed)
            for name in _CLOSED_FORM
        }
        models["score"] = self._fitted_model()
        x, share = self._tensor(z[valid]), weights[valid] / weights[valid].sum()
        sigma = torch.full_like(x[:, :1], self.sigma_)
        losses = np.stack([to_numpy(implicit_losses(m, x, sigma)) for m in models.values()])
        means = losses @ share
        self.selection_results_ = {
            "model": list(models),
            "objective": means,
            "standard_error": np.sqrt((losses - means[:, None]) ** 2 @ share**2),
        }
        best = list(models)[int(means.argmin())]
        if best == "score":
            return selection
        self.model_ = best
        return self._keep_closed_form(z, weights, seed)

    def _keep_closed_form(self, z: Array, weights: Array, seed: int) -> Selection:
        for name in ("net_", "validation_curve_"):
            self.__dict__.pop(name, None)
        x, w = self._tensor(z), self._tensor(weights)
        self.closed_form_ = fit_closed_form(self.model_, x, w, self.validation_fraction, seed)
        self.n_steps_ = self.best_step_ = 0
        return Latest()

    def _fitted_model(self) -> nn.Module:
        return super()._fitted_model() if self.model_ in _NETWORKS else self.closed_form_

    def _n_outputs(self, n_features: int) -> int:
        return 1 if self.model_ == "energy" else n_features

    def _make_network(self, n_features: int, hidden_units: tuple[int, ...]) -> nn.Module:
        if self.model_ == "energy":
            return EnergyMLP(n_features, hidden_units, sigma_conditioned=False)
        return super()._make_network(n_features, hidden_units)

    def _precondition(self, raw: nn.Module, mean: Tensor, scale: Tensor) -> nn.Module:
        if self.model_ == "energy":
            return EnergyScore(raw, mean, scale, denoising=self._learns_blurred())
        return super()._precondition(raw, mean, scale)

    def _draw(self, n_samples: int, generator: torch.Generator) -> Tensor:
        if self.model_ == "gaussian":
            return self._draw_gaussian(n_samples, self.sigma_, generator)
        return super()._draw(n_samples, generator)

    def _learns_blurred(self) -> bool:
        return self.objective_ == "denoising"

    def _make_loss(self, sigma_data: float) -> RowLoss:
        if self._learns_blurred():
            return super()._make_loss(sigma_data)
        return ImplicitLoss() if self.objective_ == "implicit" else SlicedLoss()

    def _select_held_out(self) -> Selection:
        # The implicit objectives of single rows scatter so widely that the later would overfit.
        return super()._select_held_out() if self._learns_blurred() else LowestLoss()

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
            ``objective="denoising"`` blurs them.
        """
        check_is_fitted(self)
        return self._score_function(X, self.sigma_)

    @available_if(_model_is("energy", "gaussian", "kernel"))
    def energy(self, X: Any) -> Array:
        """Return the energy E(x) = -log p(x) + const; not for ``model="score"``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Points.

        Returns
        -------
        energy : ndarray of shape (n_samples,)
            In nats. The constant is the same for all points.
        """
        return self._energy(X)

    @available_if(_model_is("gaussian"))
    def score_samples(self, X: Any) -> Array:
        """Return the log-density log p(x) of the features that vary; for ``model="gaussian"``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Points.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            In nats, in the units of X.
        """
        return -self._energy(X) - np.log(self.scale_[~self.constant_]).sum()

    def _energy(self, X: Any) -> Array:
        z = self._tensor(self._to_z(self._check_X(X)))
        sigma = torch.full_like(z[:, :1], self.sigma_)
        model: Any = self._fitted_model()
        return to_numpy(in_parts(lambda x, sigma: model.energy(x, sigma)[:, None], z, sigma)[:, 0])
