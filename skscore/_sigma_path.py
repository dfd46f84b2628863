r"""One noise-conditional network per fold prices all noise levels.

Trained on the rows of the other folds, with ln σ uniform over a range, a network s(x, σ) has at
each noise level the held-out score

    J_k(σ) = -(mean over clean rows x of fold k)  ‖s(x, σ)‖² + 2 tr ∇s(x, σ)
           = constant of the fold - D_F(p, s(·, σ))

whose mean over folds is largest at the σ whose score is nearest to that of the data. A network of
all levels is some way from the best score at any of them, and further where σ is small. So the
networks of the folds go on learning, at the best level and the two on either side alone, and each
level has the J of whichever of the two networks has the larger mean there.

The units are those of all rows, so that σ means the same in each fold; rounded columns get the same
noise at each σ. Sources: Hyvärinen, JMLR 2005 (J); Breiman et al., "Classification and regression
trees", 1984 (the rule of one standard error).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from joblib import cpu_count, effective_n_jobs
from sklearn.base import clone
from sklearn.utils.parallel import Parallel, delayed

from skscore._batches import Rows
from skscore._heavy_tails import HeavyTailsMixin
from skscore._inference import implicit_path
from skscore._losses import DenoisingLoss, RowLoss
from skscore._selection import LONG_PATIENCE, TOLERANCE, LatestNearLowest, Selection
from skscore._threads import torch_threads
from skscore._validation import Array, RandomState, fold_rows
from skscore.noise import LogUniformSigma

__all__ = [
    "FoldNetwork",
    "choose",
    "geometric_levels",
    "score_path",
    "shuffled_folds",
    "standard_errors",
]

WeightedRows = tuple[Array, Array]

# Steps of a fold's training against one that is kept, and its learning rate: first at all levels,
# then at some. A ring of narrow modes needs the second, as its scores at the smallest levels differ
# by less than what the first has still to learn there.
_ALL_LEVELS, _FEW_LEVELS = (1 / 3, 2.5), (1 / 2, 1.0)
_ON_EITHER_SIDE = 2
# Without it the scores at the smallest levels are far worse than those of networks of one level.
_FLOOR = 0.05


class FoldNetwork(HeavyTailsMixin):
    """The score at every noise level of a range.

    Parameters
    ----------
    ends : tuple of float
        The smallest and the largest noise level.
    dequantize : ndarray of shape (n_features,)
        Widths of the noise of rounded columns.
    heavy_tails : bool, default=False
        Whether it may start from a multivariate t, as the network does that is kept.
    warm_start : bool, default=False
        Whether `fit` goes on from the weights of the last fit, at lower learning rates.

    The others are those of :class:`~skscore.DenoisingScoreEstimator`.
    """

    _sigma_conditioned = True

    def __init__(
        self,
        ends: tuple[float, float],
        dequantize: Array,
        *,
        heavy_tails: bool = False,
        hidden_units: Any = "auto",
        module: Any = None,
        parametrization: str = "preconditioned",
        max_steps: int | str = "auto",
        batch_size: int = 128,
        lr: float = 2e-3,
        weight_decay: float = 0.3,
        optimizer: Any = "adamw",
        early_stopping: bool = True,
        validation_fraction: float = 0.1,
        warm_start: bool = False,
        device: str | torch.device = "cpu",
        verbose: int | bool = False,
        random_state: RandomState = None,
    ) -> None:
        self.ends = ends
        self.dequantize = dequantize
        self.heavy_tails = heavy_tails
        self.hidden_units = hidden_units
        self.module = module
        self.parametrization = parametrization
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.optimizer = optimizer
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.device = device
        self.verbose = verbose
        self.random_state = random_state

    # Rows come in the units in which noise levels are measured.
    standardize = False
    callbacks = None

    def _score_sigma(self) -> float:
        return self.ends[0]

    def _select_held_out(self) -> Selection:
        return LatestNearLowest(TOLERANCE, LONG_PATIENCE)

    def _report_ties(self, message: str) -> None:
        """Say nothing: all rows were looked at together before."""

    def _find_start(self, z: Array, weights: Array, seed: int) -> None:
        if self.heavy_tails:
            super()._find_start(z, weights, seed)

    def _default_max_steps(self, n_rows: int) -> int:
        return int(super()._default_max_steps(n_rows) * self._pace()[0])

    def _learning_rate(self) -> float:
        return super()._learning_rate() * self._pace()[1]

    def _pace(self) -> tuple[float, float]:
        return _FEW_LEVELS if self.warm_start else _ALL_LEVELS

    def _floor(self) -> float:
        return _FLOOR

    def _weight_decay(self) -> float:
        return float(self.weight_decay)

    def _make_loss(self, rows: Rows, sigma_data: float) -> RowLoss:
        law = LogUniformSigma(*self.ends)
        return DenoisingLoss(law, sigma_data, mirrored=True, exact_held_out=True)

    def _noise_name(self) -> str:
        return f"sigmas={self.ends}"

    def path(self, X: Array, weights: Array, sigmas: Sequence[float]) -> Array:
        """Return the held-out score at each noise level."""
        rows, w = self._smoothed(self._to_z(X), weights, 0)
        path: Array = -implicit_path(self._fitted_model(), self._tensor(rows), w, sigmas)
        return path


def geometric_levels(
    z: Array, weights: Array, ends: tuple[float, float], n_levels: int, *, standardized: bool
) -> Array:
    """Return noise levels between two ends, in standard deviations: root mean square, in z."""
    mean = np.average(z, axis=0, weights=weights)
    variances = np.average((z - mean) ** 2, axis=0, weights=weights)
    unit = 1.0 if standardized else float(np.sqrt(variances.mean()))
    return unit * np.geomspace(*ends, n_levels)


def shuffled_folds(
    z: Array, weights: Array, n_folds: int, seed: int
) -> list[tuple[WeightedRows, WeightedRows]]:
    """Return the rows to train on and those held out in each fold; at most one fold a row."""
    return [
        ((z[seen], weights[seen]), (z[own], weights[own]))
        for seen, own in fold_rows(len(z), min(n_folds, len(z)), seed)
    ]


def score_path(
    network: FoldNetwork,
    folds: Sequence[tuple[WeightedRows, WeightedRows]],
    sigmas: Sequence[float],
    seed: int,
    n_jobs: int | None = None,
) -> Array:
    """Return the held-out score (n_folds, n_sigmas).

    Parameters
    ----------
    network : FoldNetwork
        Of which a clone is trained in each fold.
    folds : sequence of pairs of (rows, weights)
        What to train on and what to hold out, in the units of z.
    sigmas : sequence of float
        Noise levels, in these units, rising.
    seed : int
        Of the first fold; the next has the next.
    n_jobs : int or None, default=None
        Folds at a time, as in scikit-learn.
    """
    n_workers = effective_n_jobs(n_jobs)
    n_threads = None if n_workers == 1 else max(1, cpu_count() // n_workers)
    networks = [clone(network).set_params(random_state=seed + k) for k in range(len(folds))]
    with Parallel(n_jobs=n_jobs) as parallel:

        def train() -> Array:
            found = parallel(
                delayed(_path_of_fold)(own, *fold, sigmas, n_threads)
                for own, fold in zip(networks, folds, strict=True)
            )
            networks[:] = [own for own, _ in found]
            return np.array([path for _, path in found])

        path = train()
        best = int(_means(path).argmax())
        first, last = max(0, best - _ON_EITHER_SIDE), best + _ON_EITHER_SIDE
        ends = sigmas[first], sigmas[min(last, len(sigmas) - 1)]
        for own in networks:
            own.set_params(ends=ends, warm_start=True)
        at_few = train()
    return np.where(_means(at_few) > _means(path), at_few, path)


def _path_of_fold(
    network: FoldNetwork,
    seen: WeightedRows,
    held_out: WeightedRows,
    sigmas: Sequence[float],
    n_threads: int | None,
) -> tuple[FoldNetwork, Array]:
    current = torch.get_num_threads()
    with torch_threads(None if n_threads is None else min(n_threads, current)):
        network.fit(seen[0], sample_weight=seen[1])
        return network, network.path(*held_out, sigmas)


def _means(path: Array) -> Array:
    """Return the mean over folds at each noise level, the least there is where a fold failed."""
    means: Array = np.nan_to_num(path.mean(axis=0), nan=-np.inf)
    return means


def standard_errors(path: Array) -> Array:
    """Return the standard error of the mean over folds at each noise level; 0 with one fold."""
    n_folds = len(path)
    errors: Array = path.std(axis=0, ddof=1 if n_folds > 1 else 0) / np.sqrt(n_folds)
    return errors


def choose(sigmas: Array, path: Array, selection: str) -> float:
    """Return the noise level of the best mean score, or the largest within its standard error.

    Examples
    --------
    >>> path = np.array([[1.0, 3.0, 2.9, 0.0], [0.0, 3.4, 3.2, 0.5]])
    >>> sigmas = np.array([0.1, 0.2, 0.4, 0.8])
    >>> choose(sigmas, path, "min"), choose(sigmas, path, "1se")
    (0.2, 0.4)
    """
    mean = _means(path)
    best = mean.argmax()
    if selection == "min":
        return float(sigmas[best])
    near = mean >= mean[best] - standard_errors(path)[best]
    return float(sigmas[near].max())
