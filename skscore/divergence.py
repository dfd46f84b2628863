r"""The trace of a score's Jacobian, tr ∇s(x, σ) = Σ_j ∂s_j/∂x_j, one number a row.

    exact          Σ_j (e_jᵀ ∇s) e_j         d vector-Jacobian products
    Hutchinson     (1/M) Σ_m (v_mᵀ ∇s) v_m   E[v vᵀ] = I: unbiased, M products

Both return the score as well, which the forward pass yields on the way. Row i of the score must
depend on row i of x alone. A score function that knows its exact divergence says so by a method
``score_and_divergence``, which is then used. All other products are taken in reverse mode: torch's
forward mode takes twice the time here, and the gradient of what it returns is wrong for some layers
(layer_norm in torch 2.13, https://github.com/pytorch/pytorch/issues/196700).

Sources: Hutchinson, "A stochastic estimator of the trace of the influence matrix", Comm. Stat.
1990; Song et al., "Sliced score matching", UAI 2019.
"""

from collections.abc import Callable
from typing import Protocol, TypeGuard

import torch
from torch import Tensor

from skscore._typing import ScoreFn

__all__ = [
    "EXACT_TRACE_MAX",
    "PROBE_LAWS",
    "HasDivergence",
    "draw_probes",
    "exact_divergence",
    "hutchinson_divergence",
    "probed_divergence",
    "rademacher",
]

# Features up to which models are compared by the exact trace.
EXACT_TRACE_MAX = 100

PROBE_LAWS = ("rademacher", "gaussian", "sphere")


class HasDivergence(ScoreFn, Protocol):
    """A score function that knows its own divergence."""

    def score_and_divergence(self, x: Tensor, sigma: Tensor, /) -> tuple[Tensor, Tensor]:
        """Return the score (n, d) and its exact divergence (n,) at x (n, d) and sigma (n, 1)."""
        ...


def exact_divergence(
    score_fn: ScoreFn, x: Tensor, sigma: Tensor, *, chunk_size: int | None = None
) -> tuple[Tensor, Tensor]:
    """Return the score and its exact divergence.

    Parameters
    ----------
    score_fn : callable (n, d), (n, 1) -> (n, d)
        The score function. It has a method ``score_and_divergence`` (:class:`HasDivergence`), or
        it must be differentiable by ``torch.func``.
    x : Tensor of shape (n, d)
        Points.
    sigma : Tensor of shape (n, 1)
        Noise levels.
    chunk_size : int or None, default=None
        How many of the d directions ``torch.func`` propagates at once: memory grows with it, time
        falls. A ``score_and_divergence`` decides by itself.

    Returns
    -------
    score : Tensor of shape (n, d)
    divergence : Tensor of shape (n,)
        Both differentiable with respect to the parameters of ``score_fn``.

    Examples
    --------
    >>> x, sigma = torch.ones(2, 3), torch.full((2, 1), 0.5)
    >>> score, divergence = exact_divergence(lambda x, sigma: -x / (1 + sigma**2), x, sigma)
    >>> divergence
    tensor([-2.4000, -2.4000])
    """
    if _has_divergence(score_fn):
        return score_fn.score_and_divergence(x, sigma)
    score, pull_back = _vjp(score_fn, x, sigma)
    basis = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    slices = torch.func.vmap(lambda e: pull_back(e.expand_as(x)) @ e, chunk_size=chunk_size)(basis)
    return score, slices.sum(0)


def hutchinson_divergence(
    score_fn: ScoreFn, x: Tensor, sigma: Tensor, probes: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the score and Hutchinson's estimate of its divergence.

    Parameters
    ----------
    score_fn : callable (n, d), (n, 1) -> (n, d)
        The score function.
    x : Tensor of shape (n, d)
        Points.
    sigma : Tensor of shape (n, 1)
        Noise levels.
    probes : Tensor of shape (n_probes, n, d)
        Random directions v with E[v vᵀ] = I, for instance from :func:`rademacher`.

    Returns
    -------
    score : Tensor of shape (n, d)
    divergence : Tensor of shape (n,)
        The mean over probes of vᵀ ∇s v.

    Examples
    --------
    >>> x, sigma = torch.ones(2, 3), torch.full((2, 1), 0.5)
    >>> probes = rademacher((4, 2, 3), torch.Generator().manual_seed(0))
    >>> score_fn = lambda x, sigma: -x / (1 + sigma**2)
    >>> hutchinson_divergence(score_fn, x, sigma, probes)[1]
    tensor([-2.4000, -2.4000])
    """
    score, estimates = probed_divergence(score_fn, x, sigma, probes)
    return score, estimates.mean(0)


def probed_divergence(
    score_fn: ScoreFn, x: Tensor, sigma: Tensor, probes: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the score, and vᵀ ∇s v of each probe, shape (n_probes, n).

    Parameters are those of :func:`hutchinson_divergence`, which is the mean of these.

    Examples
    --------
    >>> x, sigma = torch.ones(2, 3), torch.ones(2, 1)
    >>> probed_divergence(lambda x, sigma: -x, x, sigma, torch.ones(4, 2, 3))[1].shape
    torch.Size([4, 2])
    """
    score, pull_back = _vjp(score_fn, x, sigma)
    return score, torch.stack([(pull_back(v) * v).sum(1) for v in probes])


def rademacher(
    shape: tuple[int, ...], generator: torch.Generator, dtype: torch.dtype | None = None
) -> Tensor:
    """Draw independent signs ±1: the probe with the least variance for Hutchinson's estimate.

    Parameters
    ----------
    shape : tuple of int
        Shape of the result.
    generator : torch.Generator
        Source of randomness; its device is the device of the result.
    dtype : torch.dtype or None, default=None
        Type of the result; None is torch's default.

    Returns
    -------
    signs : Tensor of the given shape

    Examples
    --------
    >>> rademacher((2, 3), torch.Generator().manual_seed(0)).abs()
    tensor([[1., 1., 1.],
            [1., 1., 1.]])
    """
    bits = torch.randint(0, 2, shape, generator=generator, device=generator.device)
    return (2 * bits - 1).to(dtype or torch.get_default_dtype())


def draw_probes(
    law: str,
    shape: tuple[int, ...],
    generator: torch.Generator,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Draw random directions v with E[v vᵀ] = I.

    With A symmetric the variance of vᵀAv is 2 Σ_{i≠j} A_ij² under "rademacher", 2 Σ_ij A_ij² under
    "gaussian" and 2/(d+2) (d Σ_ij A_ij² - (tr A)²) under "sphere".

    Parameters
    ----------
    law : {"rademacher", "gaussian", "sphere"}
        Independent signs, independent normal coordinates, or directions spread evenly over the
        sphere of radius √d.
    shape : tuple of int
        Shape of the result; its last number is d.
    generator : torch.Generator
        Source of randomness; its device is the device of the result.
    dtype : torch.dtype or None, default=None
        Type of the result; None is torch's default.

    Returns
    -------
    probes : Tensor of the given shape

    Raises
    ------
    ValueError
        If the law is none of these.

    Examples
    --------
    >>> v = draw_probes("sphere", (4, 3), torch.Generator().manual_seed(0), torch.float64)
    >>> v.square().sum(1).round(decimals=6)
    tensor([3., 3., 3., 3.], dtype=torch.float64)
    """
    if law == "rademacher":
        return rademacher(shape, generator, dtype)
    if law not in PROBE_LAWS:
        raise ValueError(f"probes={law!r} is no law of probes; give one of {PROBE_LAWS}.")
    z = torch.randn(shape, generator=generator, device=generator.device, dtype=dtype)
    if law == "gaussian":
        return z
    return shape[-1] ** 0.5 * z / z.norm(dim=-1, keepdim=True)


def _has_divergence(score_fn: ScoreFn) -> TypeGuard[HasDivergence]:
    return hasattr(score_fn, "score_and_divergence")


def _vjp(score_fn: ScoreFn, x: Tensor, sigma: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Return the score, and the map from directions v to vᵀ ∇s, row by row."""
    score, pull_back, *_ = torch.func.vjp(lambda x: score_fn(x, sigma), x)
    return score, lambda v: pull_back(v)[0]
