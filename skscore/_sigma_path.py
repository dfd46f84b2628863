r"""One noise-conditional network per fold prices all noise levels.

Trained on the rows of the other folds, with ln σ uniform over a range, a network s(x, σ) has at
each noise level the held-out score

    J_k(σ) = -(mean over clean rows x of fold k)  ‖s(x, σ)‖² + 2 tr ∇s(x, σ)
           = constant of the fold - D_F(p, s(·, σ))

whose mean over folds is largest at the σ whose score is nearest to that of the data. The units are
those of all rows, so that σ means the same in each fold; rounded columns get the same noise at each
σ. Sources: Hyvärinen, JMLR 2005 (J); Breiman et al., "Classification and regression trees", 1984
(the rule of one standard error).
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from joblib import cpu_count, effective_n_jobs
from sklearn.base import clone
from sklearn.utils.parallel import Parallel, delayed

from skscore._base import ScoreEstimator
from skscore._batches import Rows
from skscore._inference import implicit_path
from skscore._losses import DenoisingLoss, RowLoss
from skscore._selection import TOLERANCE, LatestNearLowest, Selection
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

# Steps of a fold's training against one that is kept, and its learning rate. In ten data sets the
# path led to noise levels as good as at full length.
_STEPS_DIVISOR, _LR_FACTOR = 2, 2.5
# Without it the scores at the smallest levels are far worse than those of networks of one level.
_FLOOR = 0.05


class FoldNetwork(ScoreEstimator):
    """The score at every noise level of a range.

    Parameters
    ----------
    ends : tuple of float
        The smallest and the largest noise level.
    dequantize : ndarray of shape (n_features,)
        Widths of the noise of rounded columns.

    The others are those of :class:`~skscore.DenoisingScoreEstimator`.
    """

    _sigma_conditioned = True

    def __init__(
        self,
        ends: tuple[float, float],
        dequantize: Array,
        *,
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
        device: str | torch.device = "cpu",
        verbose: int | bool = False,
        random_state: RandomState = None,
    ) -> None:
        self.ends = ends
        self.dequantize = dequantize
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
        self.device = device
        self.verbose = verbose
        self.random_state = random_state

    # Rows come in the units in which noise levels are measured.
    standardize = False
    callbacks = None
    warm_start = False

    def _score_sigma(self) -> float:
        return self.ends[0]

    def _select_held_out(self) -> Selection:
        return LatestNearLowest(TOLERANCE)

    def _report_ties(self, message: str) -> None:
        """Say nothing: all rows were looked at together before."""

    def _default_max_steps(self, n_rows: int) -> int:
        return super()._default_max_steps(n_rows) // _STEPS_DIVISOR

    def _learning_rate(self) -> float:
        return _LR_FACTOR * super()._learning_rate()

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
    folds: Iterable[tuple[WeightedRows, WeightedRows]],
    sigmas: Sequence[float],
    seed: int,
    n_jobs: int | None = None,
) -> Array:
    """Return the held-out score (n_folds, n_sigmas).

    Parameters
    ----------
    network : FoldNetwork
        Of which a clone is trained in each fold.
    folds : iterable of pairs of (rows, weights)
        What to train on and what to hold out, in the units of z.
    sigmas : sequence of float
        Noise levels, in these units.
    seed : int
        Of the first fold; the next has the next.
    n_jobs : int or None, default=None
        Folds at a time, as in scikit-learn.
    """
    n_workers = effective_n_jobs(n_jobs)
    n_threads = None if n_workers == 1 else max(1, cpu_count() // n_workers)
    paths = Parallel(n_jobs=n_jobs)(
        delayed(_path_of_fold)(
            clone(network).set_params(random_state=seed + k), *fold, sigmas, n_threads
        )
        for k, fold in enumerate(folds)
    )
    return np.array(paths)


def _path_of_fold(
    network: FoldNetwork,
    seen: WeightedRows,
    held_out: WeightedRows,
    sigmas: Sequence[float],
    n_threads: int | None,
) -> Array:
    current = torch.get_num_threads()
    with torch_threads(None if n_threads is None else min(n_threads, current)):
        return network.fit(seen[0], sample_weight=seen[1]).path(*held_out, sigmas)


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
    mean = np.nan_to_num(path.mean(axis=0), nan=-np.inf)  # of a fold that failed
    best = mean.argmax()
    if selection == "min":
        return float(sigmas[best])
    near = mean >= mean[best] - standard_errors(path)[best]
    return float(sigmas[near].max())
