"""The log-determinants of scikit-learn's invertible transforms.

For z = T(x), log |det J(x)| with J = ∂T/∂x. An elementwise transform has Σ_j log |T_j'(x_j)|:

    scalers             z = (x - m) / s                  - log s
    Yeo-Johnson, x ≥ 0  z = ((1 + x)^λ - 1) / λ          (λ - 1) log(1 + x)
    Yeo-Johnson, x < 0  z = (1 - (1 - x)^(2-λ)) / (2-λ)  (1 - λ) log(1 - x)
    Box-Cox             z = (x^λ - 1) / λ                (λ - 1) log x
    quantiles           z = u(x), piecewise linear       log u'(x)
    normal quantiles    z = Φ⁻¹(u(x))                    log u'(x) - log φ(z)

and a rotation by all principal components has 0, less Σ log s if it is whitened. Sources: Yeo &
Johnson, "A new family of power transformations", Biometrika 2000; Box & Cox, "An analysis of
transformations", JRSS B 1964.
"""

import copy
from collections.abc import Callable, Sequence
from functools import singledispatch
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri
from sklearn.decomposition import PCA, IncrementalPCA
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

__all__ = [
    "active_steps",
    "log_abs_det_jacobian",
    "pull_back_score",
    "push_forward",
    "score_before",
    "step_label",
]

Array = NDArray[np.float64]
_QUANTILE_CLIP = 1e-7  # QuantileTransformer keeps probabilities this far from 0 and 1


def active_steps(steps: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Leave out the steps that do nothing."""
    return [(name, step) for name, step in steps if step is not None and step != "passthrough"]


def step_label(name: str, step: Any) -> str:
    """Name a step in an error message."""
    return f"step {name!r} ({type(step).__name__})"


def push_forward(steps: Sequence[tuple[str, Any]], X: Any) -> tuple[Any, Array | float]:
    """Return T(x), in the container of the last transform, and Σ_i log |det J_i|."""
    log_det: Array | float = 0.0
    for name, step in active_steps(steps):
        # Before the transform: with copy=False that overwrites X.
        try:
            own = getattr(step, "log_abs_det_jacobian", None)
            log_det = log_det + (own(X) if own else log_abs_det_jacobian(step, X))
        except ValueError as error:
            raise ValueError(f"{step_label(name, step)}: {error}") from error
        X = step.transform(X)
    return X, log_det


def pull_back_score(
    steps: Sequence[tuple[str, Any]], X: Any, score_fn: Callable[[Any], Array]
) -> Array:
    """Return Jᵀ s_Z + ∇ Σ_i log |det J_i| at the rows of X, s_Z being ``score_fn`` of T(X)."""
    given, active = [X], active_steps(steps)
    for _, step in active:
        # Of a copy: with copy=False a transform overwrites what it is given.
        given.append(step.transform(copy.deepcopy(given[-1])))
    score = score_fn(given[-1])
    for (name, step), X_step in zip(reversed(active), reversed(given[:-1]), strict=True):
        try:
            own = getattr(step, "score_before", None)
            score = own(X_step, score) if own else score_before(step, X_step, score)
        except ValueError as error:
            raise ValueError(f"{step_label(name, step)}: {error}") from error
    return score


@singledispatch
def score_before(step: Any, X: Any, score: Array) -> Array:
    """Return Jᵀ s + ∇ log |det J| of one transform at the rows of X, from the score s behind it."""
    raise ValueError(
        "the derivatives of this transform are not known, so scores cannot be brought to the units "
        "of X; give it a method score_before(X, score) -> (n_samples, n_features) that returns "
        "Jᵀ score + ∇ log |det J|."
    )


@singledispatch
def log_abs_det_jacobian(step: Any, X: Any) -> Array:
    """Evaluate log |det J(x)| of a fitted transformer.

    A single-dispatch function: ``log_abs_det_jacobian.register(Class)`` adds a transformer. A
    pipeline asks a transformer's own method ``log_abs_det_jacobian(X)`` first. Registered are
    StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler, PowerTransformer, QuantileTransformer,
    PCA and IncrementalPCA with all components, FunctionTransformer without a function, and
    pipelines of these.

    Parameters
    ----------
    step : transformer
        Fitted.
    X : DataFrame or array-like of shape (n_samples, n_features)
        What the transformer would be given.

    Returns
    -------
    log_det : ndarray of shape (n_samples,)

    Raises
    ------
    ValueError
        If the transform is not supported, or its Jacobian has no determinant.

    Notes
    -----
    QuantileTransformer is piecewise linear between its quantiles, followed by Φ⁻¹ if the output
    is normal. At a quantile the two slopes are averaged. Outside the range seen in ``fit`` the map
    is constant and the result is -inf: the model puts no mass there. On a value that several
    quantiles share it jumps, and the result is +inf. Φ⁻¹ is taken at probabilities clipped to
    [1e-7, 1 - 1e-7], as the transformer does. The slope of that clip is left out, or the extremes
    of the training data would have no density; this adds 0.2 p_Z(±5.2) to the total mass.

    Examples
    --------
    >>> log_abs_det_jacobian(StandardScaler().fit([[0.0], [4.0]]), [[1.0]]).round(4)
    array([-0.6931])
    """
    raise ValueError(
        "log |det J| of this transform is not known; give it a method "
        "log_abs_det_jacobian(X) -> (n_samples,), or register a function with "
        "skscore.pipeline.log_abs_det_jacobian.register."
    )


def _constant(X: Any, log_det: float) -> Array:
    return np.full(np.shape(X)[0], log_det)


def _refuse_clip(step: Any) -> None:
    if getattr(step, "clip", False):
        raise ValueError("clip=True makes the transform many-to-one; set clip=False.")


@log_abs_det_jacobian.register(StandardScaler)
@log_abs_det_jacobian.register(RobustScaler)
@log_abs_det_jacobian.register(MaxAbsScaler)
def _divided_by_scale(step: Any, X: Any) -> Array:
    _refuse_clip(step)
    return _constant(X, 0.0 if step.scale_ is None else -np.log(step.scale_).sum())


@log_abs_det_jacobian.register(MinMaxScaler)
def _multiplied_by_scale(step: MinMaxScaler, X: Any) -> Array:
    _refuse_clip(step)
    return _constant(X, np.log(step.scale_).sum())


@log_abs_det_jacobian.register(PCA)
@log_abs_det_jacobian.register(IncrementalPCA)
def _rotated(step: Any, X: Any) -> Array:
    kept, n_features = step.components_.shape
    if kept < n_features:
        raise ValueError(
            f"keeps {kept} of {n_features} components, and a projection has no density; set "
            "n_components=None."
        )
    if not step.whiten:
        return _constant(X, 0.0)
    scale = np.sqrt(step.explained_variance_)
    return _constant(X, -np.log(np.maximum(scale, np.finfo(scale.dtype).eps)).sum())


@log_abs_det_jacobian.register(PowerTransformer)
def _power(step: PowerTransformer, X: ArrayLike) -> Array:
    x = np.asarray(X, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):  # transform itself refuses these rows
        if step.method == "yeo-johnson":
            log_slope = (step.lambdas_ - 1) * np.copysign(np.log1p(np.abs(x)), x)
        else:
            log_slope = (step.lambdas_ - 1) * np.log(x)
    # No public attribute holds the scale that standardize=True divides by.
    scale = step._scaler.scale_ if step.standardize else np.ones(1)
    return log_slope.sum(1) - np.log(scale).sum()


@log_abs_det_jacobian.register(QuantileTransformer)
def _quantile(step: QuantileTransformer, X: ArrayLike) -> Array:
    log_det = np.zeros(np.shape(X)[0])
    for x, quantiles in zip(np.asarray(X, dtype=np.float64).T, step.quantiles_.T, strict=True):
        log_det += _log_slope(x, quantiles, step.references_)
        if step.output_distribution == "normal":
            u = np.interp(x, quantiles, step.references_)
            z = ndtri(np.clip(u, _QUANTILE_CLIP, 1 - _QUANTILE_CLIP))
            log_det += 0.5 * (z**2 + np.log(2 * np.pi))  # (Φ⁻¹)'(u) = 1 / φ(z)
    return log_det


def _log_slope(x: Array, quantiles: Array, references: Array) -> Array:
    """Evaluate the log-slope of the interpolation through (quantiles, references) at x (n,)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = np.diff(references) / np.diff(quantiles)
        before = np.searchsorted(quantiles, x, side="left") - 1
        after = np.searchsorted(quantiles, x, side="right") - 1
        jump = after - before > 1  # x lies on a step of zero width
        inner = np.clip([before, after], 0, len(slopes) - 1)
        slope = np.where(jump, np.inf, slopes[inner].mean(0))
        outside = (x < quantiles[0]) | (x > quantiles[-1])
        return np.log(np.where(outside, 0.0, slope))


@log_abs_det_jacobian.register(FunctionTransformer)
def _function(step: FunctionTransformer, X: Any) -> Array:
    if step.func is not None:
        raise ValueError(
            "log |det J| of func is not known; derive a class from FunctionTransformer that has a "
            "method log_abs_det_jacobian(X) -> (n_samples,)."
        )
    return _constant(X, 0.0)


@log_abs_det_jacobian.register(Pipeline)
def _nested(step: Pipeline, X: Any) -> Array:
    return push_forward(step.steps, X)[1] + _constant(X, 0.0)


def _elementwise(score: Array, slope: Array, log_slope_slope: Array | float) -> Array:
    """Return T' s + (log T')'."""
    before: Array = slope * score + log_slope_slope
    return before


@score_before.register(StandardScaler)
@score_before.register(RobustScaler)
@score_before.register(MaxAbsScaler)
def _score_divided(step: Any, X: Any, score: Array) -> Array:
    _refuse_clip(step)
    return score if step.scale_ is None else score / step.scale_


@score_before.register(MinMaxScaler)
def _score_multiplied(step: MinMaxScaler, X: Any, score: Array) -> Array:
    _refuse_clip(step)
    return score * step.scale_


@score_before.register(PCA)
@score_before.register(IncrementalPCA)
def _score_rotated(step: Any, X: Any, score: Array) -> Array:
    _rotated(step, X)  # raises where there is no density
    if step.whiten:
        scale = np.sqrt(step.explained_variance_)
        score = score / np.maximum(scale, np.finfo(scale.dtype).eps)
    rotated: Array = score @ step.components_
    return rotated


@score_before.register(PowerTransformer)
def _score_power(step: PowerTransformer, X: ArrayLike, score: Array) -> Array:
    x, power = np.asarray(X, dtype=np.float64), step.lambdas_ - 1
    scale = step._scaler.scale_ if step.standardize else 1.0
    if step.method == "yeo-johnson":
        slope = np.exp(power * np.copysign(np.log1p(np.abs(x)), x)) / scale
        return _elementwise(score, slope, power / (1 + np.abs(x)))
    return _elementwise(score, x**power / scale, power / x)


@score_before.register(QuantileTransformer)
def _score_quantile(step: QuantileTransformer, X: ArrayLike, score: Array) -> Array:
    before = np.empty_like(score)
    for j, x in enumerate(np.asarray(X, dtype=np.float64).T):
        quantiles = step.quantiles_[:, j]
        slope, bend = np.exp(_log_slope(x, quantiles, step.references_)), 0.0
        if step.output_distribution == "normal":
            u = np.interp(x, quantiles, step.references_)
            z = ndtri(np.clip(u, _QUANTILE_CLIP, 1 - _QUANTILE_CLIP))
            slope = slope * np.sqrt(2 * np.pi) * np.exp(z**2 / 2)
            bend = z * slope  # log T' = log u' - log φ(z)
        before[:, j] = _elementwise(score[:, j], slope, bend)
    return before


@score_before.register(FunctionTransformer)
def _score_function(step: FunctionTransformer, X: Any, score: Array) -> Array:
    if step.func is not None:
        raise ValueError(
            "the derivatives of func are not known; derive a class from FunctionTransformer that "
            "has a method score_before(X, score) -> (n_samples, n_features)."
        )
    return score


@score_before.register(Pipeline)
def _score_nested(step: Pipeline, X: Any, score: Array) -> Array:
    return pull_back_score(step.steps, X, lambda _: score)
