r"""Scorers for scikit-learn's searches and cross-validation: higher is better, always.

With rows x that were not trained on, p their density and s, q the score and density of a model,

    fisher_divergence_scorer    -E[‖s(x)‖² + 2 tr ∇s(x)] = E‖∇log p‖² - D_F(p, s)
    log_likelihood_scorer       E log q(x)
    held_out_nll_scorer         the same from denoising errors, without an ODE
    c2st_scorer                 -(area under the ROC curve of a classifier: real or drawn)

Each is an object, called as ``scorer(estimator, X, y=None, sample_weight=None)``, and can be given
as ``scoring``, alone or in a dict with others. They ask of an estimator, a pipeline among others,
one method each, whoever wrote it: ``score_function``, ``score_samples``, ``held_out_nll`` or
``sample``.

Sources: Hyvärinen, JMLR 2005 (the first); Kong et al., ICLR 2023 (the third); Lopez-Paz & Oquab,
ICLR 2017 (the last).
"""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import check_array
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import _check_sample_weight

from skscore._base import ScoreEstimator
from skscore._container import as_array, rows_like
from skscore._ties import ENOUGH_ROWS, dequantized_copies, find_ties, tied_values_message
from skscore._validation import Array
from skscore.metrics import c2st
from skscore.pipeline import draw_rows

__all__ = [
    "C2STScorer",
    "FisherDivergenceScorer",
    "HeldOutNLLScorer",
    "LogLikelihoodScorer",
    "Scorer",
    "c2st_scorer",
    "fisher_divergence_scorer",
    "held_out_nll_scorer",
    "log_likelihood_scorer",
]

_RELATIVE_STEP = 1e-5  # of central differences, in standard deviations


class Scorer(BaseEstimator):
    """What a search calls with a fitted estimator and the rows that it held out.

    The base of those below. With metadata routing, ``set_score_request(sample_weight=True)`` has a
    search hand on the weights of the held-out rows.
    """

    # Metadata routing reads what `score` takes beside rows: weights.
    __metadata_request__score: ClassVar[dict[str, Any]] = {"estimator": UNUSED}
    _method = ""

    def __call__(self, estimator: Any, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Score a fitted estimator on held-out rows, by `score`."""
        return self.score(estimator, X, y, sample_weight)

    def score(self, estimator: Any, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Score a fitted estimator on held-out rows.

        Parameters
        ----------
        estimator : object
            Fitted.
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows not seen in training.
        y : Ignored
            Present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, not negative; None is 1 each.

        Returns
        -------
        score : float
            Higher is better.

        Raises
        ------
        TypeError
            If the estimator has not the method that this scorer asks for.
        """
        if self._method and not hasattr(estimator, self._method):
            raise TypeError(
                f"{type(self).__name__} asks for the method {self._method}, which "
                f"{type(estimator).__name__} does not have, at least not with these parameters."
            )
        return self._score(estimator, X, sample_weight)

    def _score(self, estimator: Any, X: Any, sample_weight: Any) -> float:
        raise TypeError(f"{type(self).__name__} is an interface; use one of its subclasses.")


class FisherDivergenceScorer(Scorer):
    """A constant minus the Fisher divergence from the data to the model, by held-out rows.

    -E[‖s(x)‖² + 2 tr ∇s(x)] with s = ∇log q is E‖∇log p‖² - D_F(p, s) [1]_: differences of two
    scores on the same rows are differences of the Fisher divergence. For estimators of this
    package, and pipelines that end in one, it is their ``score``, with the exact trace; for all
    others with ``score_function(X)`` the trace is taken by central differences.

    Rounded columns have no finite score. This scorer refuses rows with columns that repeat values
    and that the estimator gives no noise (``dequantize``).

    Parameters
    ----------
    scale : None, float or array-like of shape (n_features,), default=None
        The units. None are those of the noise level of an estimator of this package (after the
        transforms of a pipeline), and those of X for others. Each fold, and each transform, has
        units of its own then; numbers are comparable for estimators that share them, such as those
        of a search over ``sigma``. With a scale a, the units are those of X/a for every estimator,
        pipelines corrected for the Jacobian of their transforms, so that different transforms
        can be compared; the standard deviations of the features are a good choice.

    References
    ----------
    .. [1] A. Hyvärinen, "Estimation of non-normalized statistical models by score matching", JMLR
       6, 2005.

    Examples
    --------
    >>> from skscore import DenoisingScoreEstimator
    >>> from sklearn.model_selection import cross_val_score
    >>> X = np.random.RandomState(0).standard_normal((300, 1))
    >>> estimator = DenoisingScoreEstimator(0.2, max_steps=100, random_state=0)
    >>> cross_val_score(estimator, X, scoring=FisherDivergenceScorer(), cv=3).shape
    (3,)
    """

    _method = "score_function"

    def __init__(self, scale: Any = None) -> None:
        self.scale = scale

    def _score(self, estimator: Any, X: Any, sample_weight: Any) -> float:
        x = check_array(X, dtype=np.float64)
        weights = _check_sample_weight(sample_weight, x, ensure_non_negative=True)
        scale = _check_scale(self.scale, x.shape[1])
        if isinstance(estimator, Pipeline):
            transforms, final = estimator[:-1], estimator[-1]
            transformed = transforms.transform(X) if len(transforms) else X
        else:
            transforms, final, transformed = None, estimator, X
        ours = isinstance(final, ScoreEstimator)
        steps = final.rounding_steps_ if ours else np.zeros(np.shape(transformed)[1])
        _refuse_ties(transformed, weights, steps, _names(X, transforms))
        if ours and self.scale is None:
            return float(final.score(transformed, sample_weight=sample_weight))
        if steps.any():
            # Frozen noise in rounded columns, which a transform may come before.
            rows = np.asarray(transformed)
            x, weights = dequantized_copies(rows, weights, steps, ENOUGH_ROWS, 0)
            x = transforms.inverse_transform(x) if transforms else x
        if ours and not transforms:
            scale = np.where(final.constant_, 0.0, scale)
        return _implicit_score(estimator, lambda rows: rows_like(X, rows), x, weights, scale)


class LogLikelihoodScorer(Scorer):
    """The mean log-density of held-out rows, by ``score_samples``.

    In the units of X, also for a `skscore.GenerativePipeline`, so that models with different
    transforms can be compared.

    Examples
    --------
    >>> from sklearn.neighbors import KernelDensity
    >>> LogLikelihoodScorer()(KernelDensity().fit([[0.0]]), [[0.0], [1.0]])
    -1.168...
    """

    _method = "score_samples"

    def _score(self, estimator: Any, X: Any, sample_weight: Any) -> float:
        log_density = np.asarray(estimator.score_samples(X))
        weights = _check_sample_weight(sample_weight, log_density, ensure_non_negative=True)
        return float(np.average(log_density, weights=weights))


class HeldOutNLLScorer(Scorer):
    """Minus ``held_out_nll``: the mean log-density by denoising errors, in a fraction of the time.

    It is a bound of the log-likelihood of what the reverse diffusion draws [1]_. In the units of
    X, also for a `skscore.GenerativePipeline`.

    References
    ----------
    .. [1] X. Kong, R. Brekelmans and G. Ver Steeg, "Information-theoretic diffusion", ICLR 2023.

    Examples
    --------
    >>> from skscore import NCSNGenerator
    >>> X = np.random.RandomState(0).standard_normal((300, 1))
    >>> generator = NCSNGenerator(max_steps=100, random_state=0).fit(X[:200])
    >>> HeldOutNLLScorer()(generator, X[200:]) == -generator.held_out_nll(X[200:])
    True
    """

    _method = "held_out_nll"

    def _score(self, estimator: Any, X: Any, sample_weight: Any) -> float:
        return -float(estimator.held_out_nll(X, sample_weight=sample_weight))


class C2STScorer(Scorer):
    """Minus the area under the ROC curve of a classifier that tells held-out rows from drawn ones.

    -½ is the best there is, -1 the worst. As many rows are drawn as are held out; see
    `skscore.metrics.c2st`.

    Parameters
    ----------
    cv : int, default=5
        Number of folds in which the classifier is tested.
    random_state : int, RandomState or None, default=0
        Seed of the rows that are drawn, and of the classifier.

    Examples
    --------
    >>> from sklearn.mixture import GaussianMixture
    >>> X = np.random.RandomState(0).standard_normal((400, 1))
    >>> C2STScorer()(GaussianMixture().fit(X + 9), X) < -0.99
    True
    """

    _method = "sample"

    def __init__(self, cv: int = 5, random_state: Any = 0) -> None:
        self.cv = cv
        self.random_state = random_state

    def _score(self, estimator: Any, X: Any, sample_weight: Any) -> float:
        drawn = draw_rows(estimator, len(X), self.random_state)
        return -c2st(
            X, drawn, sample_weight=sample_weight, cv=self.cv, random_state=self.random_state
        )


fisher_divergence_scorer = FisherDivergenceScorer()
log_likelihood_scorer = LogLikelihoodScorer()
held_out_nll_scorer = HeldOutNLLScorer()
c2st_scorer = C2STScorer()


def _check_scale(scale: Any, n_features: int) -> Array:
    """Return the scale of each feature."""
    given = np.asarray(1.0 if scale is None else scale)
    if (
        given.dtype.kind not in "iuf"
        or given.shape not in [(), (n_features,)]
        or not (np.isfinite(given).all() and (given > 0).all())
    ):
        raise ValueError(
            f"scale={scale!r} has no unit for each of {n_features} features; give None, a positive "
            "number, or one for each."
        )
    return np.broadcast_to(given.astype(np.float64), n_features)


def _names(X: Any, transforms: Any) -> list[str] | None:
    """Return the names of the columns behind the transforms, where they have some."""
    if not hasattr(X, "columns"):
        return None
    if not transforms:
        return list(map(str, X.columns))
    try:
        return list(transforms.get_feature_names_out())
    except (AttributeError, ValueError):
        return None


def _refuse_ties(X: Any, weights: Array, steps: Array, names: list[str] | None) -> None:
    """Raise if columns repeat values where an estimator does not add noise of some width."""
    message = tied_values_message(
        find_ties(check_array(X, dtype=np.float64), weights), steps, names
    )
    if message:
        raise ValueError(f"The Fisher divergence cannot be measured on these rows: {message}")


def _implicit_score(
    estimator: Any, wrap: Callable[[Array], Any], x: Array, weights: Array, scale: Array
) -> float:
    """Return -E[‖a s‖² + 2 Σ_j a_j² ∂_j s_j], a the scale, by central differences."""

    def score_at(rows: Array) -> Array:
        return as_array(estimator.score_function(wrap(rows))).astype(np.float64)

    spread = x.std(axis=0)
    # Wider where rounding is coarse: far from 0.
    h = np.maximum(_RELATIVE_STEP * spread, np.sqrt(np.spacing(np.abs(x).max(axis=0)) * spread))
    a = np.where(spread > 0, scale, 0.0)
    losses = ((a * score_at(x)) ** 2).sum(axis=1)
    for j in np.flatnonzero(a):
        up, down = x.copy(), x.copy()
        up[:, j] += h[j]
        down[:, j] -= h[j]
        slope = (score_at(up)[:, j] - score_at(down)[:, j]) / (up[:, j] - down[:, j])
        losses += 2 * a[j] ** 2 * slope
    return -float(np.average(losses, weights=weights))
