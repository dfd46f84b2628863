r"""Figures of merit for scores and for samples.

    Fisher divergence    D_F = E‖a(x) - b(x)‖²                 (no ½)
    copy rate            share of rows with d_1/d_2 < 1/3      d_1, d_2: distances to the nearest
                                                               training rows
    closest record       d_1 alone
    C2ST                 area under the ROC curve of a classifier that tells real from synthetic;
                         ½ if it cannot
    Wasserstein-1        W = min_π Σ_ij π_ij d(x_i, y_j)    over π >= 0 of rows that sum to 1/n and
                         columns that sum to 1/m
    coverage             share of real rows with min_j d(x_i, y_j) < r_k(x_i)    r_k: distance to
                         the k-th nearest other real row

Sources: Hyvärinen, JMLR 2005 (Fisher divergence, there with ½); Yoon et al., "Diffusion
probabilistic models generalize when they fail to memorize", 2023 (d_1/d_2); Lopez-Paz & Oquab,
"Revisiting classifier two-sample tests", ICLR 2017; Bonneel et al., "Displacement interpolation
using Lagrangian mass transport", 2011 (the solver of W, from POT); Naeem et al., "Reliable fidelity
and diversity metrics for generative models", ICML 2020 (coverage).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import check_array, check_random_state, gen_batches
from sklearn.utils.validation import _check_sample_weight

from skscore._container import as_array

__all__ = [
    "c2st",
    "copy_rate",
    "coverage",
    "distance_to_closest_record",
    "fisher_divergence",
    "wasserstein",
]

Array = NDArray[Any]
Metric = str | Callable[[Array, Array], Array]
_COPY_RATIO = 1 / 3
_BATCH = 512
_SIMPLEX_STEPS = 5_000_000
_APART = 0.95


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


def copy_rate(
    X: Any, X_train: Any, *, exclude_self: bool = False, metric: Metric = "euclidean"
) -> float:
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
    metric : str or callable (n_a, d), (n_b, d) -> (n_a, n_b), default="euclidean"
        A metric of `sklearn.neighbors.NearestNeighbors`, or a function that gives the distances of
        all pairs of rows.

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
    distances = _nearest(queries, distinct, k, metric)[:, -2:]
    return float(np.mean(distances[:, 0] < _COPY_RATIO * distances[:, 1]))


def distance_to_closest_record(
    X: Any, X_train: Any, *, exclude_self: bool = False, metric: Metric = "euclidean"
) -> Array:
    """Return the distance of each row to the nearest training row.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Synthetic rows; scale the features alike first.
    X_train : array-like of shape (n_train, n_features)
        Training rows.
    exclude_self : bool, default=False
        Whether X is X_train, and each row is held against the others.
    metric : str or callable (n_a, d), (n_b, d) -> (n_a, n_b), default="euclidean"
        A metric of `sklearn.neighbors.NearestNeighbors`, or a function that gives the distances of
        all pairs of rows.

    Returns
    -------
    distances : ndarray of shape (n_samples,)
        In the units of the metric. Compare them with those of rows not trained on: smaller ones
        are a sign of copies.

    Raises
    ------
    ValueError
        If the features do not agree, or exclude_self leaves no other row.

    Examples
    --------
    >>> distance_to_closest_record([[0.5], [4.0]], [[0.0], [10.0]])
    array([0.5, 4. ])
    """
    X, X_train = _two_samples(X, X_train, "X", "X_train")
    k = 1 + exclude_self
    if len(X_train) < k:
        raise ValueError("X_train has 1 row, which has no other to be near to; give 2 or more.")
    return _nearest(X, X_train, k, metric)[:, -1]


def _two_samples(X: Any, Y: Any, first: str, second: str) -> tuple[Array, Array]:
    X, Y = check_array(X, dtype=np.float64), check_array(Y, dtype=np.float64)
    if X.shape[1] != Y.shape[1]:
        raise ValueError(
            f"{first} has {X.shape[1]} feature(s) and {second} has {Y.shape[1]}; there is a "
            "distance only between rows of the same features."
        )
    return X, Y


def _distances(X: Array, Y: Array, metric: Metric) -> Array:
    distances: Array = cdist(X, Y, metric) if isinstance(metric, str) else metric(X, Y)
    return distances


def _nearest(X: Array, rows: Array, k: int, metric: Metric) -> Array:
    """Return the distances to the k nearest rows, ascending, (n, k)."""
    if isinstance(metric, str):
        found: Array = NearestNeighbors(n_neighbors=k, metric=metric).fit(rows).kneighbors(X)[0]
        return found
    nearest = [
        np.partition(metric(X[batch], rows), k - 1, axis=1)[:, :k]
        for batch in gen_batches(len(X), _BATCH)
    ]
    return np.sort(np.concatenate(nearest), axis=1)


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


def wasserstein(X: Any, Y: Any, *, metric: Metric = "euclidean") -> float:
    """Return the Wasserstein-1 distance of two samples, exactly.

    The least mean distance over which the mass of one has to be carried to make the other,

        W = min_π Σ_ij π_ij d(x_i, y_j),    Σ_j π_ij = 1/n,    Σ_i π_ij = 1/m,    π >= 0,

    by the network simplex of POT (Bonneel et al. 2011). For rows of the same law it is not 0, and
    falls with n, as slowly as n^(-1/d) in d dimensions: compare it with that of two real samples.

    Parameters
    ----------
    X : array-like of shape (n_x, n_features)
        Rows of the one sample; scale the features alike first.
    Y : array-like of shape (n_y, n_features)
        Rows of the other. The distances of all pairs are held in memory: draw some thousand rows
        from larger samples.
    metric : str or callable (n_a, d), (n_b, d) -> (n_a, n_b), default="euclidean"
        A metric of `scipy.spatial.distance.cdist`, or a function that gives the distances of all
        pairs of rows.

    Returns
    -------
    distance : float
        In the units of the metric.

    Raises
    ------
    ValueError
        If the features do not agree.
    ImportError
        If POT is not installed.

    Examples
    --------
    >>> wasserstein([[0.0], [1.0]], [[3.0], [2.0]])
    2.0
    """
    X, Y = _two_samples(X, Y, "X", "Y")
    try:
        import ot
    except ImportError as error:
        raise ImportError(
            'The Wasserstein distance needs POT; install "skscore[tabular]".'
        ) from error
    cost = np.ascontiguousarray(_distances(X, Y, metric), dtype=np.float64)
    return float(ot.emd2([], [], cost, numItermax=_SIMPLEX_STEPS))


def coverage(
    X_real: Any, X_synthetic: Any, *, k: int | None = None, metric: Metric = "euclidean"
) -> float:
    """Return the share of real rows that have a synthetic row among their nearest neighbours.

    A real row is covered if a synthetic one is nearer than its k-th nearest other real row, or is
    its equal (Naeem et al. 2020). For n real and m synthetic rows of one continuous law

        E[coverage] = 1 - Π_{i<k} (n - 1 - i)/(n + m - 1 - i),

    since a row is left out if the k nearest of the n + m - 1 others are all real.

    Parameters
    ----------
    X_real, X_synthetic : array-like of shape (n_samples, n_features)
        Rows; scale the features alike first. The distances of all pairs are held in memory: draw
        some thousand rows from larger samples.
    k : int or None, default=None
        Which neighbour. None is 2, and more where rows repeat: one more than the least order of
        neighbour that is apart from 95 % of the real rows.
    metric : str or callable (n_a, d), (n_b, d) -> (n_a, n_b), default="euclidean"
        A metric of `scipy.spatial.distance.cdist`, or a function that gives the distances of all
        pairs of rows.

    Returns
    -------
    share : float

    Raises
    ------
    ValueError
        If the features do not agree, or there are not more than k real rows.

    Examples
    --------
    >>> coverage([[0.0], [1.0], [5.0], [6.0]], [[0.1], [0.2]], k=1)
    0.5
    """
    real, synthetic = _two_samples(X_real, X_synthetic, "X_real", "X_synthetic")
    n = len(real)
    if n < 2 or (k is not None and not 1 <= k < n):
        raise ValueError(
            f"{n} real row(s) have no neighbour of order k={2 if k is None else k}; give more "
            "rows, or a k from 1 to one less than their number."
        )
    # The first column is each row itself, or its equal.
    among = np.sort(_distances(real, real, metric), axis=1)[:, 1:]
    if k is None:
        apart = (among > 0).mean(axis=0) >= _APART
        k = min(int(np.argmax(apart)) + 2, n - 1) if apart.any() else n - 1
    nearest = _distances(real, synthetic, metric).min(axis=1)
    return float(np.mean((nearest < among[:, k - 1]) | (nearest == 0)))
