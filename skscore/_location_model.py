r"""The general location model: numbers that are Gaussian given the level of a category.

    z | k ~ N(μ_k, C_k)

Seen through noise of its own variance ν_j in each number, N = diag(ν) (σ² where a number is
blurred, next to nothing where it is given, ∞ where nothing is known of it), and with w_k for what
the cell of the category says, numbers have the means

    D = Σ_k r_k [μ_k + C_k (C_k + N)⁻¹ (x - μ_k)],      r_k ∝ w_k N(x; μ_k, C_k + N)

and N(x; μ_k, C_k + N) is what they say of the category. With one level of everything it is a
Gaussian; with C_k alike D is linear in each cell and r_k the posterior of Fisher's discriminant.

From n_k rows the mean is x̄_k n_k/(n_k + 1), and the covariance S_k is drawn to that within all
levels, S, as if q more rows had been seen of it, q being the number of numbers,

    C_k = (n_k S_k + q S)/(n_k + q)

S itself is drawn to its diagonal, as far as Ledoit & Wolf find. Levels of few rows have the mean
and the covariance of all. Of cells that are absent every covariance is that of the rows that have
both.

Sources: Olkin & Tate, "Multivariate correlation models with mixed discrete and continuous
variables", Ann. Math. Stat. 1961; Friedman, "Regularized discriminant analysis", JASA 1989; Ledoit
& Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", J. Multivariate
Analysis 2004.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.model_selection import KFold
from torch import Tensor, nn

from skscore._groups import FeatureGroup, nearest_levels
from skscore._inference import in_parts, to_numpy
from skscore._log_densities import mean_and_error
from skscore._validation import Array

__all__ = ["LocationModel", "fit_location_model"]

# Of a given number, so that two which are nearly one do not contradict each other.
GIVEN_VARIANCE = 1e-3
UNKNOWN_VARIANCE = 1e4
_SMALLEST_VARIANCE = 1e-4
# K q²: with more, solving for given cells would cost more than the network does.
_MOST_ENTRIES = 2**14
_LEAST_ROWS = 10
_N_FOLDS = 5
# Held out, of the categories whose levels differ most.
_ROWS_COMPARED, _MOST_CHOICES = 3000, 8
_UNKNOWN = -1


class LocationModel(nn.Module):
    """Denoiser of numbers that are Gaussian given the level of a category.

    Parameters
    ----------
    means : array-like of shape (K, q)
        The μ_k.
    covariances : array-like of shape (K, q, q)
        The C_k.
    category : int or None, default=None
        Which of the categories k is the level of; None for a single Gaussian, K = 1.

    Examples
    --------
    >>> model = LocationModel([[-1.0], [1.0]], np.ones((2, 1, 1)), 0)
    >>> x, variance = torch.tensor([[3.0]]), torch.tensor([[1.0]])
    >>> denoised, log_p = model(x, variance, torch.zeros(1, 2))
    >>> denoised, log_p.exp()
    (tensor([[1.9526]]), tensor([[0.0474, 0.9526]]))
    """

    means: Tensor
    covariances: Tensor
    variances: Tensor
    axes: Tensor

    def __init__(self, means: Array, covariances: Array, category: int | None = None) -> None:
        super().__init__()
        C = np.asarray(covariances, dtype=np.float64)
        variances, axes = np.linalg.eigh(C)
        variances = np.maximum(variances, _SMALLEST_VARIANCE)
        C = (axes * variances[:, None]) @ axes.swapaxes(1, 2)
        self.category = category
        for name, value in (
            ("means", means),
            ("covariances", C),
            ("variances", variances),
            ("axes", axes),
        ):
            self.register_buffer(name, torch.tensor(np.asarray(value), dtype=torch.float32))

    def forward(self, x: Tensor, variance: Tensor, log_w: Tensor) -> tuple[Tensor, Tensor]:
        """Return the means of numbers, and what numbers say of the levels.

        Parameters
        ----------
        x : Tensor of shape (n, q)
            Numbers.
        variance : Tensor of shape (n, 1) or (n, q)
            ν, that of the noise in each; one in all is faster.
        log_w : Tensor of shape (n, K)
            ln w_k.

        Returns
        -------
        denoised : Tensor of shape (n, q)
            D.
        log_p : Tensor of shape (n, K)
            ln N(x; μ_k, C_k + N), less a constant that makes the p of a row sum to one.
        """
        given_k, log_f = self._by_level(x, variance)
        r = (log_w + log_f).softmax(1)
        return (r[..., None] * given_k).sum(1), log_f.log_softmax(1)

    def slope(self, variance: Tensor) -> Tensor:
        """Return the ∂D_j/∂x_j (n, q) of a single Gaussian under the noise variances (n, 1)."""
        gain = self.variances[0] / (self.variances[0] + variance)
        return gain @ self.axes[0].square().mT

    def _by_level(self, x: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Return E[z | x, k] (n, K, q) and ln N(x; μ_k, C_k + N) but for a constant (n, K)."""
        if variance.shape[1] == 1:
            return self._alike(x, variance)
        if not self.training:
            # The same work for every row, so that none depends on the rows that come with it.
            return self._each_its_own(x, variance)
        alike = (variance == variance[:, :1]).all(1)
        shape = len(x), len(self.means)
        given_k, log_f = x.new_empty(*shape, x.shape[1]), x.new_empty(shape)
        given_k[alike], log_f[alike] = self._alike(x[alike], variance[alike, :1])
        given_k[~alike], log_f[~alike] = self._each_its_own(x[~alike], variance[~alike])
        return given_k, log_f

    def _alike(self, x: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        centred = (x[:, None] - self.means).movedim(0, 1)  # K, n, q
        along = centred @ self.axes
        total = self.variances[:, None] + variance
        kept = along * (self.variances[:, None] / total)
        log_f = -(along.square() / total + total.log()).sum(2) / 2
        return (self.means[:, None] + kept @ self.axes.mT).movedim(0, 1), log_f.mT

    def _each_its_own(self, x: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        centred = x[:, None] - self.means  # n, K, q
        L = torch.linalg.cholesky(self.covariances + torch.diag_embed(variance)[:, None])
        solved = torch.cholesky_solve(centred[..., None], L)[..., 0]
        # C (C + N)⁻¹ v = v - N (C + N)⁻¹ v
        given_k = self.means + centred - variance[:, None] * solved
        log_det = 2 * L.diagonal(dim1=2, dim2=3).log().sum(2)
        return given_k, -((centred * solved).sum(2) + log_det) / 2


def fit_location_model(
    draws: Sequence[Array], weights: Array, groups: Sequence[FeatureGroup], seed: int
) -> LocationModel | None:
    """Fit the location model of the category that predicts numbers best, if one does.

    Independent numbers, a single Gaussian and the eight one-hot categories between whose levels
    numbers vary most are compared by the log-likelihood of rows held out, up to 3000 of them in
    all, and the simpler ones preferred within two standard errors.

    Parameters
    ----------
    draws : sequence of ndarrays of shape (n, d)
        Encoded rows, several times where numbers are drawn in an interval; NaN in absent cells.
    weights : ndarray of shape (n,)
        Their weights.
    groups : sequence of FeatureGroup
        What the features stand for.
    seed : int
        Of the folds.

    Returns
    -------
    model : LocationModel or None
        None if nothing does clearly better than independent numbers.
    """
    numbers = [group.start for group in groups if group.codebook is None]
    q, n = len(numbers), len(weights)
    if not q or n < _N_FOLDS or q * q > _MOST_ENTRIES:
        return None
    z = np.stack([rows[:, numbers] for rows in draws])
    single = _Choice(None, np.ones(1), np.zeros(n, dtype=int))
    choices = _choices(draws[0], groups, q)
    choices.sort(key=lambda choice: -_explained(z[0], weights, choice.levels))
    best = _best_choice(z, weights, [[single], choices[:_MOST_CHOICES]], seed)
    return None if best is None else _fit(z, weights, best)


@dataclass(frozen=True, eq=False)
class _Choice:
    """A category, the shares of its levels, and the level of each row, -1 where it is absent."""

    category: int | None
    shares: Array
    levels: Array

    def of(self, rows: Array) -> "_Choice":
        return _Choice(self.category, self.shares, self.levels[rows])


def _choices(rows: Array, groups: Sequence[FeatureGroup], q: int) -> list[_Choice]:
    """Return the categories that numbers may be split by."""
    found: list[_Choice] = []
    for j, group in enumerate(group for group in groups if group.codebook is not None):
        codes, shares = group.codebook, group.frequencies
        if codes is None or shares is None or group.kind != "categorical":
            continue
        if np.array_equal(codes, np.eye(len(codes))) and len(codes) * q * q <= _MOST_ENTRIES:
            levels = nearest_levels(np.nan_to_num(rows), group)
            levels[np.isnan(rows[:, group.start])] = _UNKNOWN
            found.append(_Choice(j, shares, levels))
    return found


def _explained(z: Array, weights: Array, levels: Array) -> float:
    """Return how much of the variance of numbers lies between levels, beyond what is by chance."""
    x, between = np.nan_to_num(z), 0.0
    for k in np.unique(levels[levels >= 0]):
        own = weights * (levels == k)
        between += float(np.square(own @ x).sum() / own.sum())
    return between / float(weights.sum()) - int(levels.max()) * z.shape[1] / len(z)


def _best_choice(
    z: Array, weights: Array, rounds: Sequence[Sequence[_Choice]], seed: int
) -> _Choice | None:
    """Return the choice under which held-out rows (n_draws, n, q) are likeliest.

    None is independent numbers; a choice of a later round has to do clearly better.
    """
    some = slice(_ROWS_COMPARED)
    z, weights = z[:, some], weights[some]
    _, n, q = z.shape
    variance = np.where(np.isnan(z[0]), UNKNOWN_VARIANCE, GIVEN_VARIANCE)
    folds = list(KFold(_N_FOLDS, shuffle=True, random_state=seed % 2**32).split(weights))

    def held_out(choice: _Choice) -> Array:
        log_f = np.empty(n)
        for seen, unseen in folds:
            model = _fit(z[:, seen], weights[seen], choice.of(seen))
            log_f[unseen] = _log_f(model, z[0, unseen], variance[unseen], choice.of(unseen))
        return log_f

    independent = LocationModel(np.zeros((1, q)), np.eye(q)[None])
    single = _Choice(None, np.ones(1), np.zeros(n, dtype=int))
    best, best_log_f = None, _log_f(independent, z[0], variance, single)
    for choices in rounds:
        if not choices:
            continue
        log_f = [held_out(choice) for choice in choices]
        k = int(np.argmax([weights @ own for own in log_f]))
        gain, error = mean_and_error(log_f[k] - best_log_f, weights)
        if gain > 2 * error:
            best, best_log_f = choices[k], log_f[k]
    return best


def _log_f(model: LocationModel, z: Array, variance: Array, choice: _Choice) -> Array:
    """Return ln N(z; μ_k, C_k + N) (n,) of rows of the levels k, but for a constant."""
    x, nu = torch.tensor(np.nan_to_num(z)).float(), torch.tensor(variance).float()
    log_f = in_parts(lambda x, nu: model.eval()._by_level(x, nu)[1], x, nu).double()
    levels, log_shares = torch.tensor(choice.levels), torch.tensor(choice.shares).log()
    known = log_f.gather(1, levels.clamp(min=0)[:, None])[:, 0]
    unknown = (log_f + log_shares).logsumexp(1)
    return to_numpy(torch.where(levels == _UNKNOWN, unknown, known))


def _fit(z: Array, weights: Array, choice: _Choice) -> LocationModel:
    """Fit to draws (n_draws, n, q) of rows."""
    levels, K = choice.levels, len(choice.shares)
    counts = np.bincount(levels[levels >= 0], weights[levels >= 0], minlength=K)
    means, overall = np.zeros((K, z.shape[2])), _shrunk(z, weights)
    covariances = np.repeat(overall[None], K, axis=0)
    many = np.flatnonzero(counts >= _LEAST_ROWS)
    for k in many:
        own = levels == k
        means[k] = _mean(z[:, own], weights[own]) * counts[k] / (counts[k] + 1)
    if choice.category is not None and len(many):
        known, q = np.isin(levels, many), z.shape[2]
        z, weights, levels = z[:, known] - means[levels[known]], weights[known], levels[known]
        within = _shrunk(z, weights)
        for k in many:
            S_k = _covariance(z[:, levels == k], weights[levels == k])
            covariances[k] = (counts[k] * S_k + q * within) / (counts[k] + q)
    return LocationModel(means, covariances, choice.category)


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


def _shrunk(z: Array, weights: Array) -> Array:
    """Return the covariance, drawn to its diagonal."""
    S = _covariance(z, weights)
    shrinkage = ledoit_wolf_shrinkage(np.nan_to_num(z[0]), assume_centered=True)
    return (1 - shrinkage) * S + shrinkage * np.diag(np.diag(S))
