r"""Losses for training a score model of your own: one number for a batch, to call backward on.

Each is the weighted mean Σ w_i l_i / Σ w_i of an objective of :mod:`skscore.objectives`:

    implicit             ‖s(x)‖² + 2 tr ∇s(x)                      d backward passes
    sliced               ‖s(x)‖² + 2 vᵀ∇s(x)v                      one for each probe v
    finite difference    ‖(s₊ + s₋)/2‖² + vᵀ(s₊ - s₋)/h            none; s± = s(x ± hv)
    denoising            ‖s(x + σε, σ) + ε/σ‖²                     none; learns the blurred density
    explicit             ‖s(x) - s*(x)‖²                           none; needs the true score s*

The model is a function of the points alone, ``score_fn(x)``, and only the denoising loss hands on
its noise levels, ``score_fn(x, sigma)``; bind what is missing or left over with a lambda. The data
are a tensor, or what NumPy reads as (n, d), in the dtype of the model (a list is float64). The
noise comes from the ``generator`` alone: one for the whole training draws afresh at every step; a
new one, seeded alike, at every call repeats the noise, which is what a held-out loss wants.

No loss carries the factor ½ of the papers. The first three have no lower bound on data with rounded
or repeated values.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skscore import objectives
from skscore._typing import ScoreFn
from skscore.divergence import rademacher

__all__ = [
    "denoising_score_matching_loss",
    "explicit_score_matching_loss",
    "finite_difference_score_matching_loss",
    "implicit_score_matching_loss",
    "sliced_score_matching_loss",
]

CleanScoreFn = Callable[[Tensor], Tensor]


def implicit_score_matching_loss(
    score_fn: CleanScoreFn, x: Any, sample_weight: Any = None
) -> Tensor:
    """Hyvärinen's loss with the exact trace, the mean of ‖s(x)‖² + 2 tr ∇s(x).

    It is D_F(p, s) - E‖∇log p‖², so that differences between models are differences of their Fisher
    divergence. The cost grows with the number of features.

    Parameters
    ----------
    score_fn : callable (n, d) -> (n, d)
        The model s, differentiable by ``torch.func``: no ``torch.autograd.grad`` inside; take
        ``torch.func.grad`` for the score of an energy.
    x : Tensor or array-like of shape (n, d)
        Clean data.
    sample_weight : Tensor or array-like of shape (n,), default=None
        Weights of the rows, not negative; None is 1 each.

    Returns
    -------
    loss : Tensor of shape ()
        In 1/(units of x)².

    Raises
    ------
    ValueError
        If x is no table, the score has not its shape, or the weights do not fit it.

    Examples
    --------
    A linear score learns the variance of Gaussian data, s = -x/v:

    >>> x = 2 * torch.randn(500, 1, generator=torch.Generator().manual_seed(0))
    >>> precision = torch.tensor(0.1, requires_grad=True)
    >>> optimizer = torch.optim.SGD([precision], lr=0.05)
    >>> for step in range(50):
    ...     optimizer.zero_grad()
    ...     loss = implicit_score_matching_loss(lambda x: -precision * x, x)
    ...     loss.backward()
    ...     optimizer.step()
    >>> torch.testing.assert_close(precision, 1 / x.square().mean())
    """
    x = _table(x)
    losses = objectives.implicit(_of_x_alone(score_fn), x, _no_noise(x))
    return _mean(losses, sample_weight)


def sliced_score_matching_loss(
    score_fn: CleanScoreFn,
    x: Any,
    sample_weight: Any = None,
    *,
    generator: torch.Generator,
    n_probes: int = 1,
) -> Tensor:
    """Sliced score matching with variance reduction, the mean of ‖s(x)‖² + 2 vᵀ∇s(x)v.

    :func:`implicit_score_matching_loss` in expectation, at a cost that does not grow with the
    number of features (Song et al. 2019).

    Parameters
    ----------
    score_fn : callable (n, d) -> (n, d)
        The model s, differentiable by ``torch.func``.
    x : Tensor or array-like of shape (n, d)
        Clean data.
    sample_weight : Tensor or array-like of shape (n,), default=None
        Weights of the rows, not negative; None is 1 each.
    generator : torch.Generator
        Draws v, independent signs ±1.
    n_probes : int, default=1
        Directions v for each row.

    Returns
    -------
    loss : Tensor of shape ()
        In 1/(units of x)².

    Raises
    ------
    ValueError
        If x is no table, the score has not its shape, or the weights do not fit it.

    Examples
    --------
    A linear layer learns the score of N(1, I), which is 1 - x:

    >>> generator = torch.Generator().manual_seed(0)
    >>> x = 1 + torch.randn(1000, 2, generator=generator)
    >>> net = torch.nn.Linear(2, 2)
    >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    >>> for step in range(200):
    ...     optimizer.zero_grad()
    ...     sliced_score_matching_loss(net, x, generator=generator).backward()
    ...     optimizer.step()
    >>> bool((net(torch.zeros(1, 2)) - 1).abs().max() < 0.1)
    True
    """
    x = _table(x)
    probes = _probes(x, n_probes, generator)
    losses = objectives.sliced(_of_x_alone(score_fn), x, _no_noise(x), probes)
    return _mean(losses, sample_weight)


def finite_difference_score_matching_loss(
    score_fn: CleanScoreFn,
    x: Any,
    sample_weight: Any = None,
    *,
    epsilon: float,
    generator: torch.Generator,
    n_probes: int = 1,
) -> Tensor:
    """Sliced score matching by finite differences: no derivative of the score is taken.

    :func:`sliced_score_matching_loss` up to O(ε²), from the scores at x ± εv (Pang et al. 2020;
    :func:`skscore.objectives.finite_difference_sliced` says what differs). It takes any model that
    can be evaluated, also one that ``torch.func`` cannot differentiate.

    Parameters
    ----------
    score_fn : callable (n, d) -> (n, d)
        The model s; it is called once, with 2 * n_probes * n rows.
    x : Tensor or array-like of shape (n, d)
        Clean data.
    sample_weight : Tensor or array-like of shape (n,), default=None
        Weights of the rows, not negative; None is 1 each.
    epsilon : float
        ε, the step in each feature, in the units of x. There is no value for all data: start with
        0.01 of the smallest distance over which the score should bend, in float32.
    generator : torch.Generator
        Draws v, independent signs ±1.
    n_probes : int, default=1
        Directions v for each row.

    Returns
    -------
    loss : Tensor of shape ()
        In 1/(units of x)².

    Raises
    ------
    ValueError
        If x is no table, the score has not its shape, the weights do not fit it, or epsilon is not
        positive.

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> x = 2 * torch.randn(500, 1, generator=generator)
    >>> precision = torch.tensor(0.1, requires_grad=True)
    >>> optimizer = torch.optim.SGD([precision], lr=0.05)
    >>> for step in range(50):
    ...     optimizer.zero_grad()
    ...     loss = finite_difference_score_matching_loss(
    ...         lambda x: -precision * x, x, epsilon=0.02, generator=generator
    ...     )
    ...     loss.backward()
    ...     optimizer.step()
    >>> torch.testing.assert_close(precision, 1 / x.square().mean(), rtol=1e-3, atol=0)
    """
    if not 0 < epsilon < np.inf:
        raise ValueError(
            f"epsilon={epsilon!r} is no distance to step from a point; give a positive finite "
            "number in the units of x."
        )
    x = _table(x)
    probes = _probes(x, n_probes, generator)
    losses = objectives.finite_difference_sliced(
        _of_x_alone(score_fn), x, _no_noise(x), probes, epsilon=epsilon
    )
    return _mean(losses, sample_weight)


def denoising_score_matching_loss(
    score_fn: ScoreFn,
    x: Any,
    sigma: Any,
    sample_weight: Any = None,
    *,
    generator: torch.Generator,
) -> Tensor:
    """Vincent's loss, the mean of ‖s(x + σε, σ) + ε/σ‖²: the score of the data blurred by σ.

    Losses at two σ cannot be compared, since their optimum moves as d/σ². Where a batch holds many
    σ, ``sample_weight=sigma**2`` keeps the smallest of them from drowning the others. Where σ is
    small against the spread of the data, so that the noise drowns the loss, take the mean of
    :func:`skscore.objectives.denoising_control_variate`.

    Parameters
    ----------
    score_fn : callable (n, d), (n, 1) -> (n, d)
        The model s; it is given the noisy points and their noise levels.
    x : Tensor or array-like of shape (n, d)
        Clean data.
    sigma : float, or Tensor or array-like of shape (n,) or (n, 1)
        The standard deviation of the noise, one for all rows or one a row, in the units of x.
    sample_weight : Tensor or array-like of shape (n,) or (n, 1), default=None
        Weights of the rows, not negative; None is 1 each.
    generator : torch.Generator
        Draws ε.

    Returns
    -------
    loss : Tensor of shape ()
        In 1/(units of x)².

    Raises
    ------
    ValueError
        If x is no table, the score has not its shape, the weights do not fit it, or sigma is not
        positive or does not fit it.

    Examples
    --------
    The score of N(0, 1), blurred by σ = 1, is -x/2:

    >>> generator = torch.Generator().manual_seed(0)
    >>> x = torch.randn(2000, 1, generator=generator)
    >>> precision = torch.tensor(0.1, requires_grad=True)
    >>> optimizer = torch.optim.SGD([precision], lr=0.05)
    >>> for step in range(100):
    ...     optimizer.zero_grad()
    ...     loss = denoising_score_matching_loss(
    ...         lambda x, sigma: -precision * x, x, 1.0, generator=generator
    ...     )
    ...     loss.backward()
    ...     optimizer.step()
    >>> round(precision.item(), 1)
    0.5
    """
    x = _table(x)
    levels = _tensor(sigma).to(x)
    if levels.ndim > 0 and levels.shape not in [(len(x),), (len(x), 1)]:
        raise ValueError(
            f"sigma has the shape {tuple(levels.shape)}; give one number, or one for each of the "
            f"{len(x)} rows of x."
        )
    if not ((levels > 0) & (levels < torch.inf)).all():
        raise ValueError(
            f"sigma={sigma!r} is not a standard deviation; give positive finite numbers."
        )
    noise = torch.randn(x.shape, generator=generator, device=generator.device, dtype=x.dtype)
    losses = objectives.denoising(
        lambda x, sigma: _checked(score_fn(x, sigma), x),
        x,
        levels.reshape(-1, 1).expand(len(x), 1),
        noise.to(x.device),
    )
    return _mean(losses, sample_weight)


def explicit_score_matching_loss(
    score_fn: CleanScoreFn, x: Any, target: Any, sample_weight: Any = None
) -> Tensor:
    """Return the Fisher divergence from a known score, the mean of ‖s(x) - s*(x)‖².

    For distilling one model into another, and for toy densities whose score is known.

    Parameters
    ----------
    score_fn : callable (n, d) -> (n, d)
        The model s.
    x : Tensor or array-like of shape (n, d)
        Points.
    target : Tensor or array-like of shape (n, d)
        The true score s* at x.
    sample_weight : Tensor or array-like of shape (n,), default=None
        Weights of the rows, not negative; None is 1 each.

    Returns
    -------
    loss : Tensor of shape ()
        In 1/(units of x)².

    Raises
    ------
    ValueError
        If x is no table, the score or the target has not its shape, or the weights do not fit it.

    Examples
    --------
    >>> x = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    >>> factor = torch.tensor(0.0, requires_grad=True)
    >>> optimizer = torch.optim.SGD([factor], lr=0.05)
    >>> for step in range(50):
    ...     optimizer.zero_grad()
    ...     explicit_score_matching_loss(lambda x: factor * x, x, target=-x).backward()
    ...     optimizer.step()
    >>> round(factor.item(), 3)
    -1.0
    """
    x = _table(x)
    truth = _table(target, "target").to(x)
    if truth.shape != x.shape:
        raise ValueError(
            f"target has the shape {tuple(truth.shape)} for x of shape {tuple(x.shape)}; give the "
            "true score at each row of x."
        )
    return _mean(objectives.explicit(_of_x_alone(score_fn), x, _no_noise(x), truth), sample_weight)


def _tensor(values: Any) -> Tensor:
    return values if torch.is_tensor(values) else torch.as_tensor(np.asarray(values))


def _table(values: Any, name: str = "x") -> Tensor:
    table = _tensor(values)
    if not table.is_floating_point():
        table = table.to(torch.get_default_dtype())
    if table.ndim != 2 or table.numel() == 0:
        raise ValueError(
            f"{name} has the shape {tuple(table.shape)}; give a table (n_samples, n_features) with "
            "at least one row."
        )
    return table


def _no_noise(x: Tensor) -> Tensor:
    return torch.zeros_like(x[:, :1])


def _of_x_alone(score_fn: CleanScoreFn) -> ScoreFn:
    return lambda x, sigma: _checked(score_fn(x), x)


def _checked(score: Tensor, x: Tensor) -> Tensor:
    # A column (n, 1) would be broadcast, and its loss be wrong without a word.
    if score.shape != x.shape:
        raise ValueError(
            f"score_fn gave the shape {tuple(score.shape)} for points of shape {tuple(x.shape)}; a "
            "score has the shape of the points."
        )
    return score


def _probes(x: Tensor, n_probes: int, generator: torch.Generator) -> Tensor:
    if n_probes < 1:
        raise ValueError(f"n_probes={n_probes!r} directions have no mean; give 1 or more.")
    return rademacher((n_probes, *x.shape), generator, dtype=x.dtype).to(x.device)


def _mean(losses: Tensor, sample_weight: Any) -> Tensor:
    if sample_weight is None:
        return losses.mean()
    weights = _tensor(sample_weight).to(losses)
    if weights.shape not in [(len(losses),), (len(losses), 1)]:
        raise ValueError(
            f"sample_weight has the shape {tuple(weights.shape)}; give one weight for each of the "
            f"{len(losses)} rows of x."
        )
    if not ((weights >= 0).all() and 0 < weights.sum() < torch.inf):
        raise ValueError(
            "sample_weight must not be negative, and some of it must be positive and finite."
        )
    weights = weights.reshape(-1)
    return (weights * losses).sum() / weights.sum()
