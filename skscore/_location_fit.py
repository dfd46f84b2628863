r"""What a location model of an encoded table is fitted by, and which one.

From n_k rows of a level the mean is x̄_k n_k/(n_k + 1), and the covariance S_k is drawn to that
within all levels, S, as if q more rows had been seen of it, q being the number of numbers,

    C_k = (n_k S_k + q S)/(n_k + q)

S itself is drawn to its diagonal, as far as Ledoit & Wolf find, or as much less or more as rows
held out are likeliest by: the squared error that the former make least hardly sees directions in
which numbers vary little. Levels of few rows have the mean and the covariance of all. Where cells
are absent, sums over rows are those of the cells that are there, first, and then by turns of rows
completed by the law of their level (:mod:`skscore._incomplete`), until nothing changes. Of so many
patterns of absent cells that this would take long, what is there has to do.

A mixture (:mod:`skscore._mixtures`) has the one to four components with the least Bayesian
information criterion; none where eight have less. Components of few rows are left out.

Sources: Friedman, "Regularized discriminant analysis", JASA 1989; Ledoit & Wolf, "A
well-conditioned estimator for large-dimensional covariance matrices", J. Multivariate Analysis
2004; Schwarz, "Estimating the dimension of a model", Annals of Statistics 1978.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.model_selection import KFold

from skscore._groups import FeatureGroup, nearest_levels, numeric_features
from skscore._incomplete import MOST_WORK, Holes
from skscore._inference import in_parts, to_numpy
from skscore._location_model import GIVEN_VARIANCE, UNKNOWN_VARIANCE, LocationModel
from skscore._log_densities import mean_and_error
from skscore._mixtures import fit_mixtures
from skscore._validation import Array

__all__ = ["fit_location_model"]

# K q²: with more, solving for given cells would cost more than the network does.
_MOST_ENTRIES = 2**14
_LEAST_ROWS = 10
# Of expectation-maximisation, the latter of the means and covariances.
_MOST_ROUNDS, _TOLERANCE = 50, 1e-3
_N_FOLDS = 5
# Held out, of the categories whose levels differ most.
_ROWS_COMPARED, _MOST_CHOICES = 3000, 8
# Numbers that the last of them fits best have a law of another shape, which the network learns as
# well, and sooner, from one Gaussian.
_N_COMPONENTS = 1, 2, 3, 4, 8
# Multiples of the shrinkage of Ledoit & Wolf, beside 1.
_SHRINKAGES = 0.0, 0.1, 0.3, 2.0
_UNKNOWN = -1


def fit_location_model(
    draws: Sequence[Array], weights: Array, groups: Sequence[FeatureGroup], seed: int
) -> tuple[LocationModel | None, bool]:
    """Fit the location model of the category that predicts numbers best, if one does.

    Independent numbers, a single Gaussian and the eight one-hot categories between whose levels
    numbers vary most are compared by the log-likelihood of rows held out, up to 3000 of them in
    all, and the simpler ones preferred within two standard errors. Where no category does clearly
    better, a mixture of Gaussians is taken if it has the lesser information criterion and rows held
    out are likelier by it.

    Parameters
    ----------
    draws : sequence of ndarrays of shape (n, d)
        Encoded rows, several times where numbers are drawn in an interval; NaN in absent cells.
    weights : ndarray of shape (n,)
        Their weights.
    groups : sequence of FeatureGroup
        What the features stand for.
    seed : int
        Of the folds, and of where mixtures start.

    Returns
    -------
    model : LocationModel or None
        None if nothing does clearly better than independent numbers.
    is_near : bool
        Whether it leaves little to learn: it has a category, or is one Gaussian that no mixture
        improves on.
    """
    numbers = numeric_features(groups)
    q, n = len(numbers), len(weights)
    if not q or n < _N_FOLDS or q * q > _MOST_ENTRIES:
        return None, False
    z = np.stack([rows[:, numbers] for rows in draws])
    single = _Levels(None, np.ones(1), np.zeros(n, dtype=int))
    categories = _categories(draws[0], groups, q)
    categories.sort(key=lambda own: -_explained(z[0], weights, own.levels))
    some = slice(_ROWS_COMPARED)
    held_out, is_near = _HeldOut(z[:, some], weights[some], seed), True
    held_out.offer([single])
    held_out.offer(categories[:_MOST_CHOICES])
    if held_out.best is None or held_out.best is single:
        n_components, are_few = _components(z[0, some], weights[some], seed)
        if are_few and n_components > 1:
            # The criterion has found them in the same rows already.
            held_out.offer([_Mixture(n_components, seed)], n_errors=0)
        is_near = are_few and held_out.best is single
    if isinstance(held_out.best, _Levels):
        shrunk = [replace(held_out.best, shrinkage=multiple) for multiple in _SHRINKAGES]
        held_out.offer(shrunk, n_errors=0)
    best = held_out.best
    return None if best is None else best.fit(z, weights, np.arange(n)), is_near


class _Candidate(Protocol):
    def fit(self, z: Array, weights: Array, rows: Array) -> LocationModel:
        """Fit to some rows (n_some,) of the draws (n_draws, n, q)."""

    def levels_of(self, rows: Array) -> Array:
        """Return the levels (n_some,) of rows, -1 where they are not known."""


@dataclass(frozen=True, eq=False)
class _Levels:
    """A category, the shares of its levels, and the level of each row, -1 where it is absent.

    And by how many times the shrinkage of Ledoit & Wolf covariances are shrunk.
    """

    category: int | None
    shares: Array
    levels: Array
    shrinkage: float = 1.0

    def levels_of(self, rows: Array) -> Array:
        found: Array = self.levels[rows]
        return found

    def fit(self, z: Array, weights: Array, rows: Array) -> LocationModel:
        z, weights, levels = z[:, rows], weights[rows], self.levels[rows]
        found = self._estimates(z, weights, levels, _no_spread)
        holes = Holes.in_rows(z[0], levels)
        for _ in range(_MOST_ROUNDS if holes and holes.work <= MOST_WORK else 0):
            means, covariances = found[0], _positive(found[1])
            done = holes.complete(z, means[holes.level], covariances[holes.level])
            before, found = found, self._estimates(done.rows, weights, levels, done.mean_spread)
            if all(np.abs(a - b).max() < _TOLERANCE for a, b in zip(before, found, strict=True)):
                break
        means, covariances = found
        return LocationModel(means[:-1], covariances[:-1], self.category, self.shares)

    def _estimates(
        self, z: Array, weights: Array, levels: Array, mean_spread: Callable[[Array], Array | float]
    ) -> tuple[Array, Array]:
        """Return the means and covariances of levels, and last those of rows of no known level.

        Of cells that are there alone, or of rows that have been filled, ``mean_spread`` giving the
        mean V by weights (n,).
        """
        K, q = len(self.shares), z.shape[2]
        counts = np.bincount(levels[levels >= 0], weights[levels >= 0], minlength=K)
        means = np.zeros((K + 1, q))
        overall = _shrunk(z, weights, self.shrinkage) + mean_spread(weights)
        covariances = np.repeat(overall[None], K + 1, axis=0)
        many = np.flatnonzero(counts >= _LEAST_ROWS)
        for k in many:
            own = levels == k
            means[k] = _mean(z[:, own], weights[own]) * counts[k] / (counts[k] + 1)
        if self.category is not None and len(many):
            known = np.isin(levels, many)
            centred = z[:, known] - means[levels[known]]
            within = _shrunk(centred, weights[known], self.shrinkage)
            within = within + mean_spread(weights * known)
            for k in many:
                own = levels == k
                S_k = _covariance(z[:, own] - means[k], weights[own]) + mean_spread(weights * own)
                covariances[k] = (counts[k] * S_k + q * within) / (counts[k] + q)
        return means, covariances


@dataclass(frozen=True, eq=False)
class _Mixture:
    """Components that no column tells."""

    n_components: int
    seed: int

    def levels_of(self, rows: Array) -> Array:
        return np.full(len(rows), _UNKNOWN)

    def fit(self, z: Array, weights: Array, rows: Array) -> LocationModel:
        used = rows[weights[rows] > 0]
        (found,) = fit_mixtures(z[0, used], weights[used], [self.n_components], self.seed)
        many = found.shares * len(used) >= _LEAST_ROWS
        shares = found.shares[many] / found.shares[many].sum()
        return LocationModel(found.means[many], found.covariances[many], shares=shares)


def _components(z: Array, weights: Array, seed: int) -> tuple[int, bool]:
    """Return how many components rows (n, q) have, and whether more were tried and are worse."""
    z, weights = z[weights > 0], weights[weights > 0]
    q, n_there = z.shape[1], int((~np.isnan(z)).sum(0).min(initial=len(z)))
    holes = Holes.in_rows(z)
    most = min(_MOST_ENTRIES // q**2, n_there // (2 * _LEAST_ROWS))
    most = min(most, MOST_WORK // holes.work) if holes else most
    tried = [K for K in _N_COMPONENTS if K <= most]
    if not tried:
        return 1, False
    bic = [found.bic(len(z)) for found in fit_mixtures(z, weights, tried, seed)]
    best = int(np.argmin(bic))
    return tried[best], best < len(tried) - 1


def _categories(rows: Array, groups: Sequence[FeatureGroup], q: int) -> list[_Levels]:
    """Return the categories that numbers may be split by."""
    found: list[_Levels] = []
    for j, group in enumerate(group for group in groups if group.codebook is not None):
        codes, shares = group.codebook, group.frequencies
        if codes is None or shares is None or group.kind != "categorical":
            continue
        if np.array_equal(codes, np.eye(len(codes))) and len(codes) * q * q <= _MOST_ENTRIES:
            levels = nearest_levels(np.nan_to_num(rows), group)
            levels[np.isnan(rows[:, group.start])] = _UNKNOWN
            found.append(_Levels(j, shares, levels))
    return found


class _HeldOut:
    """The candidate under which rows (n_draws, n, q) held out are likeliest, so far.

    None is independent numbers; a candidate that is offered later has to do better.
    """

    best: _Candidate | None

    def __init__(self, z: Array, weights: Array, seed: int) -> None:
        self.z, self.weights = z, weights
        _, n, q = z.shape
        self.variance = np.where(np.isnan(z[0]), UNKNOWN_VARIANCE, GIVEN_VARIANCE)
        folds = KFold(_N_FOLDS, shuffle=True, random_state=seed % 2**32)
        self.folds = list(folds.split(weights))
        independent = LocationModel(np.zeros((1, q)), np.eye(q)[None])
        self.best = None
        self.log_f = _log_f(independent, z[0], self.variance, np.zeros(n, dtype=int))

    def offer(self, candidates: Sequence[_Candidate], n_errors: float = 2) -> None:
        """Take the best of some candidates if it is better by so many standard errors."""
        if not candidates:
            return
        log_f = [self._of(candidate) for candidate in candidates]
        k = int(np.argmax([self.weights @ own for own in log_f]))
        gain, error = mean_and_error(log_f[k] - self.log_f, self.weights)
        if gain > n_errors * error:
            self.best, self.log_f = candidates[k], log_f[k]

    def _of(self, candidate: _Candidate) -> Array:
        log_f = np.empty(len(self.weights))
        for seen, rows in self.folds:
            model = candidate.fit(self.z, self.weights, seen)
            levels = candidate.levels_of(rows)
            log_f[rows] = _log_f(model, self.z[0, rows], self.variance[rows], levels)
        return log_f


def _log_f(model: LocationModel, z: Array, variance: Array, levels: Array) -> Array:
    """Return ln N(z; μ_k, C_k + N) (n,) of rows of the levels k, but for a constant."""
    x, nu = torch.tensor(np.nan_to_num(z)).float(), torch.tensor(variance).float()
    log_f = in_parts(lambda x, nu: model.eval().by_level(x, nu)[1], x, nu).double()
    k = torch.tensor(levels)
    known = log_f.gather(1, k.clamp(min=0)[:, None])[:, 0]
    unknown = (log_f + model.log_shares).logsumexp(1)
    return to_numpy(torch.where(k == _UNKNOWN, unknown, known))


def _positive(C: Array) -> Array:
    """Return covariances (K, q, q) with no variance near 0; pairs of cells may give one below."""
    variances, axes = np.linalg.eigh(C)
    found: Array = (axes * np.maximum(variances, GIVEN_VARIANCE)[:, None]) @ axes.swapaxes(1, 2)
    return found


def _no_spread(weights: Array) -> float:
    return 0.0


def _explained(z: Array, weights: Array, levels: Array) -> float:
    """Return how much of the variance of numbers lies between levels, beyond what is by chance."""
    x, between = np.nan_to_num(z), 0.0
    for k in np.unique(levels[levels >= 0]):
        own = weights * (levels == k)
        between += float(np.square(own @ x).sum() / own.sum())
    return between / float(weights.sum()) - int(levels.max()) * z.shape[1] / len(z)


def _mean(z: Array, weights: Array) -> Array:
    """Return the mean (q,) of the cells (n_draws, n, q) that are there, 0 where none is."""
    there = ~np.isnan(z[0])
    total = np.maximum(weights @ there, np.finfo(float).tiny)
    mean: Array = weights @ np.nan_to_num(z).mean(0) / total
    return mean


def _covariance(z: Array, weights: Array) -> Array:
    """Return the covariance (q, q) of centred numbers, of each two in the rows that have both."""
    there = (~np.isnan(z[0])).astype(float)
    filled = np.nan_to_num(z)
    total = np.maximum((there * weights[:, None]).T @ there, np.finfo(float).tiny)
    products = sum((rows * weights[:, None]).T @ rows for rows in filled) / len(filled)
    S: Array = products / total
    return S


def _shrunk(z: Array, weights: Array, multiple: float) -> Array:
    """Return the covariance, drawn to its diagonal."""
    S = _covariance(z, weights)
    shrinkage = multiple * ledoit_wolf_shrinkage(np.nan_to_num(z[0]), assume_centered=True)
    shrinkage = min(shrinkage, 1.0)
    return (1 - shrinkage) * S + shrinkage * np.diag(np.diag(S))
