r"""Figures of merit for scores and for samples.

    Fisher divergence    D_F = E‖a(x) - b(x)‖²                 (no ½)
    copy rate            share of rows with d_1/d_2 < 1/3      d_1, d_2: distances to the nearest
                                                               training rows
    C2ST                 area under the ROC curve of a classifier that tells real from synthetic;
                         ½ if it cannot

Sources: Hyvärinen, JMLR 2005 (Fisher divergence, there with ½); Yoon et al., "Diffusion
probabilistic models generalize when they fail to memorize", 2023 (d_1/d_2); Lopez-Paz & Oquab,
"Revisiting classifier two-sample tests", ICLR 2017.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import _check_sample_weight

from skscore._container import as_array

__all__ = ["c2st", "copy_rate", "fisher_divergence"]

Array = NDArray[Any]
_COPY_RATIO = 1 / 3


def fisher_divergence(
    score_a: Callable[[Array], Array],
    score_b: Callable[[Array], Array],
    X: Any,
    sample_weight: Any = None,
) -> float:
    """Return the Fisher divergence of two score functions, E‖a(x) - b(x)‖² over the rows of X.

    Parameters
    ----------
    score_a, score_b : callable (n_samples, n_features) -> (n_samples, n_features)
        Score functions, such as the ``score_function`` of an estimator or of a toy density. They
        are given an array and may return a tensor.
    X : array-like of shape (n_samples, n_features)
        Draws of the density over which the mean is taken.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows, not negative; None is 1 each.

    Returns
    -------
    divergence : float
        In 1/(units of X)², without the factor ½ of Hyvärinen (2005).

    Raises
    ------
    ValueError
        If a score has not the shape of X or is not finite, or the weights do not fit X.

    Examples
    --------
    >>> fisher_divergence(lambda X: -X, lambda X: -X + 2, [[0.0], [1.0]])
    4.0
    """
    X = check_array(X, dtype=np.float64)
    weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    difference = _scores(score_a(X), X, "score_a") - _scores(score_b(X), X, "score_b")
    return float(np.average((difference**2).sum(axis=1), weights=weights))


def _scores(values: Any, X: Array, name: str) -> Array:
    scores = as_array(values)
    if scores.shape != X.shape:
        raise ValueError(
            f"{name} gave the shape {scores.shape} for X of shape {X.shape}; a score has the shape "
            "of X."
        )
    finite = np.isfinite(scores).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"{name} is not finite at {(~finite).sum()} of {len(X)} rows, the first of them row "
            f"{finite.argmin()}: there is no mean over X. Look at the score there, or leave them "
            "out."
        )
    return scores.astype(np.float64)


def copy_rate(X: Any, X_train: Any, *, exclude_self: bool = False) -> float:
    """Return the share of rows that lie much nearer to one training row than to any other.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Synthetic rows; scale the features alike first.
    X_train : array-like of shape (n_train, n_features)
        Training rows; a row that repeats counts once.
    exclude_self : bool, default=False
        Whether X is X_train, and each row is held against the others: the rate of new rows of the
        same law.

    Returns
    -------
    rate : float
        Share of rows with d_1/d_2 < 1/3. Compare it with that of rows not trained on: in d
        dimensions about (1/3)^d of independent rows fall below.

    Raises
    ------
    ValueError
        If there are fewer than 2 distinct training rows (3 with exclude_self).

    Examples
    --------
    >>> copy_rate([[0.1], [4.0]], [[0.0], [10.0]])
    0.5
    """
    X, X_train = check_array(X, dtype=np.float64), check_array(X_train, dtype=np.float64)
    distinct = np.unique(X_train, axis=0)
    k = 3 if exclude_self else 2
    if len(distinct) < k:
        raise ValueError(
            f"X_train has {len(distinct)} distinct row(s); the ratio of two distances needs {k}."
        )
    queries = distinct if exclude_self else X
    distances = NearestNeighbors(n_neighbors=k).fit(distinct).kneighbors(queries)[0][:, -2:]
    return float(np.mean(distances[:, 0] < _COPY_RATIO * distances[:, 1]))


def c2st(
    X_real: Any,
    X_synthetic: Any,
    *,
    sample_weight: Any = None,
    cv: int = 5,
    random_state: Any = None,
) -> float:
    """Return how well a classifier tells real from synthetic rows: ½ if it cannot, 1 if always.

    The area under the ROC curve of gradient-boosted trees, cross-validated (Lopez-Paz & Oquab
    2017). The larger of the two samples is cut down to the size of the smaller.

    Parameters
    ----------
    X_real, X_synthetic : array-like of shape (n_samples, n_features)
        Rows. The real ones should not have been trained on.
    sample_weight : array-like of shape (n_real,), default=None
        Weights of the real rows, in training and in the area; None is 1 each.
    cv : int, default=5
        Number of folds.
    random_state : int, RandomState or None, default=None
        Seed of the cut, the folds and the trees.

    Returns
    -------
    auc : float

    Raises
    ------
    ValueError
        If the weights do not fit X_real, or there are fewer rows of positive weight than folds.

    Examples
    --------
    >>> rng = np.random.RandomState(0)
    >>> c2st(rng.normal(size=(200, 1)), rng.normal(size=(200, 1)) + 9, random_state=0) > 0.99
    True
    """
    rng = check_random_state(random_state)
    real, synthetic = (check_array(X, dtype=np.float64) for X in (X_real, X_synthetic))
    weights = None
    if sample_weight is not None:
        weights = _check_sample_weight(
            sample_weight, real, dtype=np.float64, ensure_non_negative=True
        )
        # A fold whose real rows have no weight would have no area.
        real, weights = real[weights > 0], weights[weights > 0]
    n = min(len(real), len(synthetic))
    if n < cv:
        raise ValueError(f"{n} rows of each kind cannot be held out in {cv} folds; use more rows.")
    kept, drawn = (rng.permutation(len(X))[:n] for X in (real, synthetic))
    X = np.vstack([real[kept], synthetic[drawn]])
    y = np.repeat([0, 1], n)
    w = np.ones(2 * n)
    if weights is not None:
        w[:n] = weights[kept] / weights[kept].mean()
    seed = rng.randint(np.iinfo(np.int32).max)
    classifier = HistGradientBoostingClassifier(
        max_iter=60, min_samples_leaf=int(np.clip(n // 10, 3, 20)), random_state=seed
    )
    areas = []
    for train, test in StratifiedKFold(cv, shuffle=True, random_state=seed).split(X, y):
        # Equal weights would have the trees bin the features differently.
        given = None if weights is None else w[train]
        fitted = clone(classifier).fit(X[train], y[train], sample_weight=given)
        log_odds = fitted.decision_function(X[test])
        areas.append(roc_auc_score(y[test], log_odds, sample_weight=w[test]))
    return float(np.mean(areas))
