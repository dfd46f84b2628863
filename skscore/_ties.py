r"""Columns of rounded or repeated values, and the uniform noise that makes a density of them.

A column has no density where values repeat. A model with spikes of width h on the values of the
training rows has, on held-out rows that hit them, the implicit objective

    ‖s‖² + 2 tr ∇s ≈ -2/h²   →  -∞  as h → 0,

though nothing was learnt. Uniform noise, x + δ(U - ½) with U ~ U(0, 1) and δ the step of rounding,
gives the column a density again, and the objective a minimum.

Rows that repeat as a whole are weights in this package, and no ties: they are collapsed first. Let
c(v) be the number of the n distinct rows whose column holds v, and g_1, g_2, ... the gaps between
its sorted distinct values. A column is tied if one of these holds:

    repeats    Σ_{c(v) ≥ 2} c(v) ≥ max(n/20, 10)    rows whose value another row has, too
    atoms      c(v) ≥ max(n/20, 5) for some v       one value, such as 0, that many rows have
    rounding   δ ≥ med(g)/20                        δ the largest step with g_i = k_i δ for all i

In words, a twentieth of the rows repeat, or would: a fresh row falls on a value that is there with
probability ≈ δ/g. Only the last finds the rounding of a table of one column, where every repeated
value is a repeated row. At most 10⁴ rows are judged, drawn with a fixed seed: among more, values of
single precision begin to repeat, although no model resolves its steps.

g_i = k_i δ holds within τ_i, four units in the last place of the gap, of the value, or of the value
in single precision. That the gaps of a continuous law pass by chance has the probability

    Π_i 2τ_i/δ ≤ 10⁻⁹                               without the smallest, to which δ was fitted

Steps are looked for among min(g)/q, q = 1, ..., 10. Where there is no common step, yet most rows
off the atoms repeat (categories coded by numbers, half precision), δ is med(g). Where only atoms
repeat, in a column that is continuous otherwise, no noise makes a density of it, and δ is 0.

Sources: Theis et al., "A note on the evaluation of generative models", ICLR 2016 (uniform
dequantisation); Uria et al., "RNADE", NeurIPS 2013 (the same). The rule is this package's own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ENOUGH_ROWS",
    "ColumnTies",
    "dequantize",
    "dequantized_copies",
    "find_ties",
    "resolve_dequantize",
    "step_origins",
    "tied_values_message",
    "to_steps",
]

Array = NDArray[Any]

_SHARE = 1 / 20
_FEW_REPEATS = 10
_FEW_IN_ATOM = 5
_JUDGED_ROWS = 10_000
_LOG10_CHANCE = -9
_NAMED = 10
ENOUGH_ROWS = 5000  # with noise of their own, where rows are read once
_OFF_STEP = 0.01  # of a step: as near as float32 has it
_DIGITS = 14


@dataclass(frozen=True)
class ColumnTies:
    """What repeats in one column.

    Attributes
    ----------
    tied : bool
        Whether the column is too rounded or repetitive to have a density.
    repeated : float
        Share of the distinct rows whose value in this column another one has too.
    step : float
        δ, the width of the uniform noise that gives the column a density; 0 if it is not tied, or
        no noise does.
    atoms : dict of float to float
        Values that many rows have, with the share of the rows.
    """

    tied: bool
    repeated: float
    step: float
    atoms: dict[float, float]


def find_ties(X: Any, sample_weight: Any = None) -> list[ColumnTies]:
    """Tell which columns hold rounded or repeated values.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Finite numbers.
    sample_weight : array-like of shape (n_samples,), default=None
        Rows of weight 0 are left out; other weights, like rows that repeat, change nothing.

    Returns
    -------
    ties : list of ColumnTies
        One for each column. A constant column is not tied: it carries no density to begin with.

    Examples
    --------
    >>> X = np.random.RandomState(0).standard_normal((1000, 2))
    >>> X[:, 1] = X[:, 1].round(1)
    >>> [(column.tied, round(column.step, 6)) for column in find_ties(X)]
    [(False, 0.0), (True, 0.1)]
    """
    X = np.asarray(X, dtype=np.float64)
    if sample_weight is not None:
        X = X[np.asarray(sample_weight) > 0]
    rows = np.unique(X + 0.0, axis=0)
    if len(rows) > _JUDGED_ROWS:
        # The rows are sorted: a fixed seed keeps the verdict independent of their order.
        rows = rows[np.random.RandomState(0).permutation(len(rows))[:_JUDGED_ROWS]]
    return [_column_ties(column) for column in rows.T]


def resolve_dequantize(option: Any, ties: Sequence[ColumnTies], n_features: int) -> Array:
    """Turn the option ``dequantize`` of an estimator into the width of the noise of each column.

    Parameters
    ----------
    option : None, "auto", float or array-like of shape (n_features,)
        None is no noise; "auto" the step found in each tied column; a number the step of every
        column; an array the steps, 0 for none.
    ties : sequence of ColumnTies
        From :func:`find_ties`; read if the option is "auto".
    n_features : int
        Number of columns.

    Returns
    -------
    steps : ndarray of shape (n_features,)

    Raises
    ------
    ValueError
        If the option is none of these.

    Examples
    --------
    >>> resolve_dequantize(0.5, [], 2)
    array([0.5, 0.5])
    """
    if option is None:
        return np.zeros(n_features)
    if isinstance(option, str) and option == "auto":
        return np.array([column.step for column in ties])
    try:
        steps = np.asarray(option, dtype=np.float64)
    except (TypeError, ValueError):
        steps = np.full(n_features, np.nan)
    if steps.ndim > 0 and steps.shape != (n_features,):
        raise ValueError(
            f"dequantize has the shape {steps.shape}; give one step, or one for each of the "
            f"{n_features} features, 0 for a feature that is not rounded."
        )
    if isinstance(option, bool) or not (np.isfinite(steps).all() and (steps >= 0).all()):
        raise ValueError(
            f"dequantize={option!r} is no step of rounding; give 'auto', None, or numbers that are "
            "finite and not negative, such as 1.0 for integers."
        )
    return np.broadcast_to(steps, (n_features,)).copy()


def dequantize(X: Array, steps: Array, generator: np.random.RandomState) -> Array:
    """Add uniform noise to rounded columns, x + δ(U - ½) with U ~ U(0, 1).

    Rows that repeat need noise of their own: add it before they are collapsed into weights, or
    afresh whenever a row is drawn.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows; they are left as they are.
    steps : ndarray of shape (n_features,)
        δ of each column, 0 for none.
    generator : RandomState
        Source of U.

    Returns
    -------
    X_smooth : ndarray of shape (n_samples, n_features)

    Examples
    --------
    >>> X = np.array([[3.0, 0.25], [4.0, 0.5]])
    >>> smooth = dequantize(X, np.array([1.0, 0.0]), np.random.RandomState(0))
    >>> smooth.round()
    array([[3., 0.],
           [4., 0.]])
    >>> smooth[:, 1]
    array([0.25, 0.5 ])
    """
    rounded = steps > 0
    smooth = X.astype(np.float64)
    u = generator.random_sample((len(X), rounded.sum()))
    smooth[:, rounded] += steps[rounded] * (u - 0.5)
    return smooth


def dequantized_copies(
    X: Array, weights: Array, steps: Array, n_rows: int, seed: int
) -> tuple[Array, Array]:
    """Return n_rows or more rows with noise, as many copies of each, and their weights.

    Examples
    --------
    >>> X, w = np.array([[3.0], [4.0]]), np.array([1.0, 2.0])
    >>> smooth, weights = dequantized_copies(X, w, np.array([1.0]), 4, seed=0)
    >>> smooth.round().ravel(), weights
    (array([3., 3., 4., 4.]), array([0.5, 0.5, 1. , 1. ]))
    """
    n_copies = max(1, -(-n_rows // len(X)))
    copies = np.repeat(X, n_copies, axis=0)
    smooth = dequantize(copies, steps, np.random.RandomState(seed))
    return smooth, np.repeat(weights / n_copies, n_copies)


def step_origins(X: Array, steps: Array) -> Array:
    """Return one value of each column whose values all lie whole steps apart, NaN for others.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows.
    steps : ndarray of shape (n_features,)
        δ of each column, 0 for none.

    Returns
    -------
    origins : ndarray of shape (n_features,)
        The least value of the column.

    Examples
    --------
    >>> step_origins(np.array([[0.3, 1.0], [0.5, 2.5]]), np.array([0.1, 1.0]))
    array([0.3, nan])
    """
    origins = np.full(X.shape[1], np.nan)
    for j in np.flatnonzero(steps > 0):
        lowest = X[:, j].min()
        k = (X[:, j] - lowest) / steps[j]
        if np.abs(k - np.rint(k)).max() < _OFF_STEP:
            origins[j] = _decimal(lowest) if _is_single(X[:, j]) else lowest
    return origins


def to_steps(X: Array, steps: Array, origins: Array) -> Array:
    """Move the values of rounded columns to the nearest step.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows; they are left as they are.
    steps : ndarray of shape (n_features,)
        δ of each column, 0 for none.
    origins : ndarray of shape (n_features,)
        A value of each column that lies on a step, NaN to leave the column as it is.

    Returns
    -------
    X_rounded : ndarray of shape (n_samples, n_features)

    Examples
    --------
    >>> to_steps(np.array([[0.53, 1.2]]), np.array([0.1, 1.0]), np.array([0.3, np.nan]))
    array([[0.5, 1.2]])
    """
    rounded = X.copy()
    for j in np.flatnonzero((steps > 0) & ~np.isnan(origins)):
        multiples = np.rint((X[:, j] - origins[j]) / steps[j])
        values, inverse = np.unique(origins[j] + steps[j] * multiples, return_inverse=True)
        # 3 · 0.1 is not the 0.3 of the data in its last bit.
        size = np.maximum(np.abs(values), max(abs(origins[j]), steps[j]))
        decimals = _DIGITS - np.ceil(np.log10(size)).astype(int)
        short = np.array([round(float(v), int(k)) for v, k in zip(values, decimals, strict=True)])
        near = (10.0**-decimals < steps[j] / 4) & (np.abs(short - values) <= 4 * np.spacing(size))
        rounded[:, j] = (np.where(near, short, values) + 0.0)[inverse]  # no -0.0
    return rounded


def tied_values_message(
    ties: Sequence[ColumnTies], steps: Array, feature_names: Sequence[str] | None = None
) -> str:
    """Say which tied columns get no noise, what the objective does there and what to do.

    Parameters
    ----------
    ties : sequence of ColumnTies
        From :func:`find_ties`.
    steps : ndarray of shape (n_features,)
        Widths of the noise, from :func:`resolve_dequantize`.
    feature_names : sequence of str or None, default=None
        Names of the columns; None counts them from 0.

    Returns
    -------
    message : str
        For a :class:`~skscore.exceptions.TiedValuesWarning`; empty if there is nothing to warn of.

    Examples
    --------
    >>> X = np.random.RandomState(0).standard_normal((1000, 1)).round(1)
    >>> print(tied_values_message(find_ties(X), np.zeros(1), ["length"]))
    1 of 1 columns hold rounded or repeated values: 'length' (steps of 0.1). The implicit ...
    """
    names = [f"column {j}" for j in range(len(ties))] if feature_names is None else feature_names
    bare = [j for j, column in enumerate(ties) if column.tied and steps[j] == 0]
    if not bare:
        return ""
    labels = names if feature_names is None else [repr(str(name)) for name in names]
    named = [f"{labels[j]} ({_describe(ties[j])})" for j in bare[:_NAMED]]
    more = f" and {len(bare) - _NAMED} more" if len(bare) > _NAMED else ""
    message = (
        f"{len(bare)} of {len(ties)} columns hold rounded or repeated values: {', '.join(named)}"
        f"{more}. The implicit objective has no lower bound on them: it falls for ever as a model "
        "turns into spikes on those values, so that neither training nor score measures the fit."
    )
    if any(ties[j].step > 0 for j in bare):
        message += (
            " Use dequantize='auto' to add uniform noise of the width of a step, or "
            "dequantize=<steps> with widths of your own."
        )
    if any(ties[j].step == 0 for j in bare):
        message += (
            " dequantize='auto' finds no step for columns that are continuous but for some values: "
            "leave them out, or spread those values by dequantize=<steps> with a width of your own."
        )
    return message


def _column_ties(column: Array) -> ColumnTies:
    n = len(column)
    with np.errstate(over="ignore"):
        spread = column.std() if n else 0.0
    if n == 0 or spread <= 10 * np.finfo(np.float64).eps * abs(column.mean()):
        return ColumnTies(tied=False, repeated=0.0, step=0.0, atoms={})
    values, counts = np.unique(column, return_counts=True)
    is_atom = counts >= max(n * _SHARE, _FEW_IN_ATOM)
    n_repeated = counts[counts > 1].sum()
    step = _common_step(values)
    tied = bool(step > 0 or is_atom.any() or n_repeated >= max(n * _SHARE, _FEW_REPEATS))
    if step == 0 and tied:
        rest = counts[~is_atom]
        if (rest == 1).sum() <= rest.sum() / 2:
            step = float(np.median(np.diff(values)))
    atoms = {float(v): float(c / n) for v, c in zip(values[is_atom], counts[is_atom], strict=True)}
    return ColumnTies(tied, float(n_repeated / n), step, atoms)


def _common_step(values: Array) -> float:
    """Return the largest step of which all gaps between sorted values are multiples, or 0."""
    gaps, size = np.diff(values), np.maximum(np.abs(values[1:]), np.abs(values[:-1]))
    double, single = np.finfo(np.float64).eps, np.finfo(np.float32).eps
    for q in range(1, 11):
        for slack in (4 * double * gaps, 4 * double * size, 4 * single * size):
            # Closer values are one value, computed in two ways.
            apart = gaps > slack
            step = _fit_step(gaps[apart], slack[apart], q)
            if step > 0:
                return _shortest(step, gaps[apart], slack[apart])
    return 0.0


def _fit_step(gaps: Array, slack: Array, q: int) -> float:
    """Return the step near min(g)/q if it divides all gaps, no chance and not too fine, or 0."""
    if len(gaps) < 2:
        return 0.0
    step = gaps.min() / q
    if step < _SHARE * np.median(gaps):
        return 0.0
    weights = (slack.min() / slack) ** 2
    # The least gap may be off by so much that the k_i of long, imprecise gaps come out wrong.
    for _ in range(2):
        multiples = np.rint(gaps / step)
        step = (weights * multiples) @ gaps / ((weights * multiples) @ multiples)
    log10_chance = np.minimum(np.log10(2 * slack / step), 0)
    by_chance = log10_chance.sum() - log10_chance.min() > _LOG10_CHANCE
    return float(step) if not by_chance and _divides(step, gaps, slack) else 0.0


def _divides(step: float, gaps: Array, slack: Array) -> bool:
    """Whether all gaps are multiples of the step, within their slack."""
    return bool(np.all(np.abs(gaps - np.rint(gaps / step) * step) <= slack))


def _shortest(step: float, gaps: Array, slack: Array) -> float:
    """Return the step with the fewest decimals that still divides all gaps."""
    rounded = (float(f"{step:.{digits}g}") for digits in range(1, _DIGITS))
    return next((short for short in rounded if _divides(short, gaps, slack)), step)


def _is_single(column: Array) -> bool:
    """Whether all values are numbers of single precision."""
    with np.errstate(over="ignore"):
        return bool((column.astype(np.float32) == column).all())


def _decimal(value: float) -> float:
    """Return the decimal that a number of single precision was written as."""
    return float(str(np.float32(value)))


def _describe(column: ColumnTies) -> str:
    if column.step > 0:
        return f"steps of {column.step:.4g}"
    if column.atoms:
        value, share = max(column.atoms.items(), key=lambda atom: atom[1])
        return f"{value:.6g} in {share:.0%} of the rows"
    return f"{column.repeated:.0%} of the rows repeat a value"
