r"""Stacked scores: at every noise level the best convex combination of score models.

Of scores s_k(x, σ) with weights w_k(σ) ≥ 0, Σ_k w_k(σ) = 1,

    s(x, σ) = Σ_k w_k(σ) s_k(x, σ),      tr ∇s = Σ_k w_k(σ) tr ∇s_k

Denoising score matching is least squares: with the denoisers D_k = x_σ + σ² s_k, x_σ = x + σε,

    σ² ⟨‖s(x_σ, σ) + ε/σ‖²⟩ = wᵀ A w,      A_kl = ⟨(D_k - x)·(D_l - x)⟩/σ² = ⟨(σs_k + ε)·(σs_l + ε)⟩

on rows that no component was fitted to. On clean rows the implicit objective takes its place,

    ⟨‖s‖² + 2 tr ∇s⟩ = wᵀ A w + 2 bᵀ w,      A_kl = ⟨s_k·s_l⟩,    b_k = ⟨tr ∇s_k⟩

⟨·⟩ is a mean over weighted rows and noise ε.

Sources: Wolpert, "Stacked generalization", Neural Networks 1992; Breiman, "Stacked regressions",
Machine Learning 1996; Vincent, "A connection between score matching and denoising autoencoders",
Neural Comp. 2011; Hyvärinen, "Estimation of non-normalized statistical models by score matching",
JMLR 2005.
"""

import math
from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor, nn

from skscore._typing import ScoreFn
from skscore.divergence import exact_divergence

__all__ = ["StackedScore", "denoising_weights", "implicit_weights", "simplex_least_squares"]

_PART = 256  # rows of one call of the components, at all levels
_BANDWIDTH = 0.5  # in ln σ, over which neighbouring levels share what they measured


class StackedScore(nn.Module):
    """A convex combination of score models, with weights that depend on the noise level.

    The weights are linear in ln σ between the knots, and constant beyond the first and the last.

    Parameters
    ----------
    components : sequence of torch.nn.Module
        The s_k, each called with (x: (n, d), sigma: (n, 1)) and returning (n, d); not copied.
    sigmas : Tensor of shape (n_levels,)
        The knots: noise levels, increasing. A single one may be 0, for a model of clean data.
    weights : Tensor of shape (n_levels, n_components)
        The w_k at each knot: not negative, each row summing to one.

    Raises
    ------
    ValueError
        If there is no component, the shapes disagree, or knots or weights are not as said above.

    Examples
    --------
    >>> from skscore.gaussians import GaussianScore
    >>> one, three = (GaussianScore(torch.zeros(1), C * torch.eye(1)) for C in (1, 3))
    >>> stack = StackedScore([one, three], torch.tensor([0.1, 10.0]), torch.eye(2))
    >>> stack(torch.ones(1, 1), torch.ones(1, 1))
    tensor([[-0.3750]])
    """

    sigmas: Tensor
    weights: Tensor

    def __init__(self, components: Sequence[nn.Module], sigmas: Tensor, weights: Tensor) -> None:
        super().__init__()
        knots, w = (torch.as_tensor(a, dtype=torch.float64) for a in (sigmas, weights))
        if not components or knots.ndim != 1 or w.shape != (len(knots), len(components)):
            raise ValueError(
                f"{len(components)} component(s), sigmas {tuple(knots.shape)}, weights "
                f"{tuple(w.shape)}: give one or more components, and the shapes (n_levels,) and "
                "(n_levels, n_components)."
            )
        _check_levels(knots, zero=len(knots) == 1)
        if not (bool((w >= 0).all()) and torch.allclose(w.sum(1), torch.ones(1).to(w))):
            raise ValueError(f"weights={w.tolist()} must not be negative, and rows must sum to 1.")
        self.components = nn.ModuleList(components)
        self.register_buffer("sigmas", knots.clone())
        self.register_buffer("weights", w.clone())

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Map points (n, d) and noise levels (n, 1) to the score (n, d)."""
        s = torch.stack([s_k(x, sigma) for s_k in self.components])
        return (self._weights_at(sigma).to(s) * s).sum(0)

    def score_and_divergence(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Map points (n, d) and noise levels (n, 1) to the score (n, d) and tr ∇s (n,)."""
        read = [exact_divergence(s_k, x, sigma) for s_k in self.components]
        s, divergence = (torch.stack(parts) for parts in zip(*read, strict=True))
        w = self._weights_at(sigma).to(s)
        return (w * s).sum(0), (w[..., 0] * divergence).sum(0)

    def _weights_at(self, sigma: Tensor) -> Tensor:
        """Return the w_k(σ), shape (n_components, n, 1)."""
        knots = self.sigmas.log()
        # Piecewise linear: the first value and the part of each gap that lies below σ, 0 to 1.
        below = ((sigma.to(knots).log() - knots[:-1]) / knots.diff()).clamp(0, 1)
        w = self.weights[0] + (below[..., None] * self.weights.diff(dim=0)).sum(1)
        return w.mT[..., None]


def simplex_least_squares(A: Tensor, b: Tensor | None = None) -> Tensor:
    """Minimise wᵀAw + 2bᵀw over w ≥ 0, Σw = 1, exactly.

    The minimum is a stationary point of one of the 2^K - 1 faces; all of them are tried.

    Parameters
    ----------
    A : Tensor of shape (n_components, n_components)
        Symmetric without negative eigenvalues; it may be singular.
    b : Tensor of shape (n_components,) or None, default=None
        None is 0.

    Returns
    -------
    w : Tensor of shape (n_components,)
        In float64; one of them, where there are several minimisers.

    Raises
    ------
    ValueError
        If the shapes disagree or a number is not finite.

    Examples
    --------
    >>> simplex_least_squares(torch.tensor([[1.0, 0.0], [0.0, 3.0]]))
    tensor([0.7500, 0.2500], dtype=torch.float64)
    """
    A = torch.as_tensor(A).double()
    b = torch.zeros_like(A[:1].flatten()) if b is None else torch.as_tensor(b).to(A)
    if b.ndim != 1 or not len(b) or A.shape != (len(b), len(b)):
        raise ValueError(
            f"A {tuple(A.shape)}, b {tuple(b.shape)}: give shapes (K, K) and (K,), K components."
        )
    if not bool(A.isfinite().all() & b.isfinite().all()):
        raise ValueError("A or b is not finite: a component's score is infinite or NaN on a row.")
    lowest, best = math.inf, torch.zeros_like(b)
    scale = max(A.abs().max().item(), b.abs().max().item()) or 1.0
    for size in range(1, len(b) + 1):
        for support in combinations(range(len(b)), size):
            w = _stationary(A / scale, b / scale, list(support))
            loss = (w @ A @ w + 2 * b @ w).item()
            # Where the system is singular, w may be NaN, and a smaller support has the minimum too.
            if bool((w >= 0).all()) and loss < lowest:
                lowest, best = loss, w
    return best


def _stationary(A: Tensor, b: Tensor, support: list[int]) -> Tensor:
    """Return where wᵀAw + 2bᵀw is stationary given Σw = 1 and w = 0 off the support."""
    # With a multiplier λ of the sum: A w + λ 1 = -b, 1ᵀ w = 1.
    system = nn.functional.pad(A[support][:, support], (0, 1, 0, 1), value=1.0)
    system[-1, -1] = 0
    right = nn.functional.pad(-b[support], (0, 1), value=1.0)
    w = torch.zeros_like(b)
    w[support] = torch.linalg.solve_ex(system, right)[0][:-1]
    return w / w.sum()


def denoising_weights(
    components: Sequence[ScoreFn],
    x: Tensor,
    sample_weight: Tensor | None,
    sigmas: Tensor,
    generator: torch.Generator,
    n_draws: int = 32,
) -> Tensor:
    """Fit the weights at each noise level to the denoising loss of held-out rows.

    Each row is blurred by the same noise for all components and levels, and by its mirror image.
    Since few rows leave weights uncertain, neighbouring levels share what they measured: A, in
    units of the loss of the best component, is averaged over the levels with the weights
    exp(-½ (ln σ - ln σ')²/h²), h = ½; levels a factor of 2 apart count 0.38 in each other. A wider
    h loses more where the best component changes with σ than it gains on small tables.

    Parameters
    ----------
    components : sequence of callables (n, d), (n, 1) -> (n, d)
        The s_k.
    x : Tensor of shape (n, d)
        Clean rows that no component was fitted to.
    sample_weight : Tensor of shape (n,) or None
        Weights of the rows, not negative; None is 1 each.
    sigmas : Tensor of shape (n_levels,)
        Noise levels, positive and increasing.
    generator : torch.Generator
        Source of the noise, on the device of x.
    n_draws : int, default=32
        Draws of noise for each row and level, even: half of them mirror the other half.

    Returns
    -------
    weights : Tensor of shape (n_levels, n_components)
        In float64, for :class:`StackedScore`.

    Raises
    ------
    ValueError
        If an argument is not as said above, or a score is not finite.

    Examples
    --------
    >>> from skscore.gaussians import GaussianScore
    >>> one, three = (GaussianScore(torch.zeros(1), C * torch.eye(1)) for C in (1, 3))
    >>> generator = torch.Generator().manual_seed(0)
    >>> x = torch.randn(1000, 1, generator=generator)
    >>> denoising_weights([one, three], x, None, torch.tensor([0.5]), generator).round()
    tensor([[1., 0.]], dtype=torch.float64)
    """
    x, p = _checked_rows(components, x, sample_weight)
    _check_levels(sigmas := torch.as_tensor(sigmas).to(x))
    if n_draws < 2 or n_draws % 2:
        raise ValueError(f"n_draws={n_draws} is not a positive even number; give 2, 4, ...")
    x, p, draw, level = x.repeat(2, 1), p.repeat(2), torch.empty_like(x), sigmas[:, None, None]
    A = torch.zeros(len(sigmas), len(components), len(components)).to(x)
    for _ in range(n_draws // 2):
        draw.normal_(generator=generator)
        parts = (part.split(_PART) for part in (x, p, torch.cat([draw, -draw])))
        for rows, q, noise in zip(*parts, strict=True):
            x_noisy = (rows + level * noise).flatten(0, 1)
            sigma = level.expand(-1, len(rows), 1).flatten(0, 1)
            with torch.no_grad():
                s = torch.stack([s_k(x_noisy, sigma) for s_k in components])
            error = level * s.unflatten(1, (len(sigmas), -1)) + noise
            A += torch.einsum("n,klni,mlni->lkm", q, error, error)
    A = A / A.diagonal(dim1=1, dim2=2).amin(1)[:, None, None]
    kernel = (-((sigmas.log()[:, None] - sigmas.log()) / _BANDWIDTH).square() / 2).softmax(1)
    return torch.stack([simplex_least_squares(a) for a in torch.einsum("lm,mij->lij", kernel, A)])


def implicit_weights(
    components: Sequence[ScoreFn], x: Tensor, sample_weight: Tensor | None = None
) -> Tensor:
    """Fit the weights for clean data to the implicit objective ‖s‖² + 2 tr ∇s of held-out rows.

    Parameters
    ----------
    components : sequence of callables (n, d), (n, 1) -> (n, d)
        The s_k, read at σ = 0.
    x : Tensor of shape (n, d)
        Clean rows that no component was fitted to.
    sample_weight : Tensor of shape (n,) or None, default=None
        Weights of the rows, not negative; None is 1 each.

    Returns
    -------
    weights : Tensor of shape (1, n_components)
        In float64, for a :class:`StackedScore` with the single level 0.

    Raises
    ------
    ValueError
        If an argument is not as said above, or a score is not finite.

    Examples
    --------
    >>> from skscore.gaussians import GaussianScore
    >>> one, three = (GaussianScore(torch.zeros(1), C * torch.eye(1)) for C in (1, 3))
    >>> implicit_weights([one, three], torch.tensor([[-1.0], [1.0]]))
    tensor([[1., 0.]], dtype=torch.float64)
    """
    x, p = _checked_rows(components, x, sample_weight)
    clean = torch.zeros_like(x[:, :1])
    with torch.no_grad():
        read = [exact_divergence(s_k, x, clean) for s_k in components]
    s, divergence = (torch.stack(parts) for parts in zip(*read, strict=True))
    A = torch.einsum("n,kni,lni->kl", p, s, s)
    return simplex_least_squares(A, divergence @ p)[None]


def _checked_rows(
    components: Sequence[ScoreFn], x: Tensor, weights: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the rows, and weights that sum to one, in float64."""
    p = torch.ones(len(x)).to(x.device) if weights is None else weights
    p = p.to(x.device).double()
    fits = x.ndim == 2 and p.shape == x.shape[:1] and bool(x.isfinite().all() & (p >= 0).all())
    if not (components and fits and 0 < p.sum() < math.inf):
        raise ValueError(
            f"{len(components)} component(s), x {tuple(x.shape)}, row weights {tuple(p.shape)}: "
            "give one or more components, finite rows (n, d) and finite weights (n,) that are not "
            "negative and not all 0."
        )
    return x.double(), p / p.sum()


def _check_levels(sigmas: Tensor, *, zero: bool = False) -> None:
    """Raise unless the noise levels increase and are positive, or may be a single 0."""
    rise = sigmas.ndim == 1 and len(sigmas) > 0 and bool((sigmas.diff() > 0).all())
    if not (rise and sigmas[-1] < math.inf and (sigmas[0] > 0 or (zero and sigmas[0] == 0))):
        raise ValueError(
            f"sigmas={sigmas.tolist()} are no noise levels; give one or more finite numbers, "
            "positive and increasing; a model of clean data has the single level 0."
        )
