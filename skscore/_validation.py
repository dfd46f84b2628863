r"""What comes in: parameters, rows, weights and seeds, with one wording for each error.

Rows that repeat are collapsed into weights: after it, a row given twice and a row of weight two are
the same input, and the order of the rows is lost.
"""

import copy
import sys
import warnings
from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight

__all__ = [
    "Array",
    "RandomState",
    "block_seed",
    "check_device",
    "check_hidden_units",
    "check_module",
    "check_n_samples",
    "check_sigma",
    "check_weights",
    "collapse_duplicates",
    "draw_seed",
    "fold_rows",
    "split_rows",
    "torch_generator",
    "warn",
]

Array = NDArray[Any]
RandomState = int | np.random.RandomState | None


def draw_seed(random_state: RandomState) -> int:
    """Draw one seed from scikit-learn's ``random_state``.

    Examples
    --------
    >>> draw_seed(0) == draw_seed(0)
    True
    """
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def block_seed(seed: int, block: int) -> int:
    """Return the seed of a block of rows."""
    state = np.random.SeedSequence([seed, block]).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))  # torch takes signed integers


def torch_generator(seed: int, device: str | torch.device = "cpu") -> torch.Generator:
    """Return a generator of its own for one call, on the given device."""
    return torch.Generator(device=device).manual_seed(seed)


def check_device(device: str | torch.device) -> torch.device:
    """Return the torch device; raise if it is none, or not one of this machine that is of use."""
    try:
        checked = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"device={device!r} is not a torch device; give 'cpu', 'cuda' or 'cuda:0'."
        ) from error
    if checked.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"device={device!r} was asked for, but torch sees no CUDA device on this machine; "
            "use device='cpu', or install a CUDA build of torch with its driver."
        )
    if checked.type not in ("cpu", "cuda"):
        try:
            torch.zeros(1, dtype=torch.float64, device=checked).item()
        except (RuntimeError, TypeError) as error:
            raise ValueError(
                f"device={device!r} is not here, or has no double precision, which scores are "
                "evaluated in; use device='cpu' or 'cuda'."
            ) from error
    return checked


def check_n_samples(n_samples: int) -> int:
    """Return the number of rows to draw; raise if it is not a positive integer."""
    if not isinstance(n_samples, Integral) or isinstance(n_samples, bool) or n_samples < 1:
        raise ValueError(
            f"n_samples={n_samples!r} rows cannot be drawn; give an integer of 1 or more."
        )
    return int(n_samples)


def check_sigma(sigma: Any, n_rows: int, name: str = "sigma") -> Array:
    """Return one positive noise level a row, shape (n_rows, 1), from a number or an array."""
    levels = np.asarray(sigma, dtype=np.float64)
    if levels.ndim > 0 and levels.shape not in [(n_rows,), (n_rows, 1)]:
        raise ValueError(
            f"{name} has the shape {levels.shape}; give one number, or one for each of the "
            f"{n_rows} rows of X."
        )
    if not (np.isfinite(levels).all() and (levels > 0).all()):
        raise ValueError(
            f"{name}={sigma!r} is not a standard deviation; give positive finite numbers."
        )
    return np.broadcast_to(levels.reshape(-1, 1), (n_rows, 1)).copy()


def check_weights(sample_weight: Any, X: Array) -> Array | None:
    """Return the weights of the rows of X, not negative, or None for equal ones."""
    if sample_weight is None:
        return None
    checked: Array = _check_sample_weight(
        sample_weight, X, dtype=np.float64, ensure_non_negative=True
    )
    return checked


def collapse_duplicates(X: Array, sample_weight: Array | None) -> tuple[Array, Array]:
    """Return the distinct rows in lexicographic order, and the sum of the weights of each.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Rows.
    sample_weight : ndarray of shape (n,) or None
        Weights, not negative; None is 1 each. Rows of weight 0 are left out.

    Returns
    -------
    rows : ndarray of shape (n_distinct, d)
    weights : ndarray of shape (n_distinct,)

    Examples
    --------
    >>> rows, weights = collapse_duplicates(np.array([[2.0], [1.0], [2.0]]), None)
    >>> rows.ravel(), weights
    (array([1., 2.]), array([1., 2.]))
    """
    weights = np.ones(len(X)) if sample_weight is None else sample_weight
    kept = weights > 0
    if not kept.any():
        raise ValueError("sample_weight is zero for every row; give a positive weight to some.")
    # Adding 0.0 turns -0.0 into 0.0: which of the two np.unique keeps depends on the order of rows.
    rows, inverse = np.unique(X[kept] + 0.0, axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    # Weights are added in ascending order: sums of floats must not depend on the order of rows.
    order = np.lexsort((weights[kept], inverse))
    starts = np.searchsorted(inverse[order], np.arange(len(rows)))
    return rows, np.add.reduceat(weights[kept][order], starts)


def split_rows(n_rows: int, validation_fraction: float, seed: int) -> tuple[Array, Array]:
    """Return sorted indices of the rows to train on and of those held out.

    Examples
    --------
    >>> train, valid = split_rows(10, 0.2, seed=0)
    >>> len(train), len(valid)
    (8, 2)
    """
    n_valid = max(1, round(validation_fraction * n_rows))
    if n_rows - n_valid < 2:
        raise ValueError(
            f"The data have n_samples={n_rows} distinct rows, which is too few to hold out "
            f"validation_fraction={validation_fraction} of them ({n_valid}) and train on 2 or "
            "more; give more rows, or early_stopping=False."
        )
    order = np.random.RandomState(seed).permutation(n_rows)
    return np.sort(order[n_valid:]), np.sort(order[:n_valid])


def fold_rows(n_rows: int, n_folds: int, seed: int) -> list[tuple[Array, Array]]:
    """Return, for each of several folds, sorted indices of the other rows and of its own.

    Raises
    ------
    ValueError
        If there are fewer rows than folds.

    Examples
    --------
    >>> [own.tolist() for _, own in fold_rows(4, 2, seed=0)]
    [[1, 2], [0, 3]]
    """
    if n_rows < n_folds:
        raise ValueError(
            f"The data have n_samples={n_rows} distinct rows, which is too few to hold each out in "
            f"one of {n_folds} folds; give more rows, or name a model instead of comparing several."
        )
    order = np.random.RandomState(seed).permutation(n_rows)
    folds = [np.sort(order[k::n_folds]) for k in range(n_folds)]
    return [(np.setdiff1d(np.arange(n_rows), own), own) for own in folds]


def check_hidden_units(hidden_units: Any) -> tuple[int, ...]:
    """Return the widths of the hidden layers; raise if they are none."""
    widths = tuple(hidden_units)
    if not widths or not all(isinstance(w, Integral) and int(w) > 0 for w in widths):
        raise ValueError(
            f"hidden_units={hidden_units!r} are not the widths of layers; give a sequence of "
            "positive integers such as (128, 128, 128), or 'auto'."
        )
    return tuple(int(w) for w in widths)


def check_module(module: Callable[..., Any], n_features: int, n_outputs: int) -> torch.nn.Module:
    """Return a raw network of a user's class (called with n_features) or a copy of an instance."""
    made = copy.deepcopy(module) if isinstance(module, torch.nn.Module) else module(n_features)
    if not isinstance(made, torch.nn.Module):
        raise TypeError(
            f"module={module!r} made a {type(made).__name__}; give a torch.nn.Module, or a class "
            "or function that returns one when called with the number of features."
        )
    made.eval()
    with torch.no_grad():
        output = made(torch.zeros(2, n_features), torch.ones(2, 1))
    shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
    if shape != (2, n_outputs):
        needed = "a score needs the shape of x" if n_outputs == n_features else "an energy (n, 1)"
        raise ValueError(
            f"module returned {shape} for inputs x of shape (2, {n_features}) and sigma of shape "
            f"(2, 1); {needed}."
        )
    return made


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the line, outside of this package, from which it was called."""
    level, frame = 1, sys._getframe()
    package = __name__.partition(".")[0] + "."
    while frame.f_back and frame.f_globals.get("__name__", "").startswith(package):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
