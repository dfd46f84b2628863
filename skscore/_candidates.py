r"""Score models compared, and combined, on rows that they were not fitted to.

Each fold of the rows is read by models fitted to the others: a single fold, the held-out rows,
where there are many, and five where there are few. At the noise level σ, x_σ = x + σε, a model and
a combination Σ_k w_k s_k with w ≥ 0, Σ_k w_k = 1, have

    J_k = A_kk + 2 b_k              J(w) = wᵀ A w + 2 bᵀ w        = D_F(p_σ, s) - E‖∇log p_σ‖²

    σ > 0    A_kl = ⟨s_k(x_σ)·s_l(x_σ)⟩,    b_k = ⟨ε·s_k(x_σ)⟩/σ     (denoising)
    σ = 0    A_kl = ⟨s_k(x)·s_l(x)⟩,        b_k = ⟨tr ∇s_k(x)⟩       (implicit)

with means over rows and, where there is noise, over several ε and -ε for each. The trace of a
network scatters widely from row to row; the noise averages it over the distance σ. So a network
that is read at some σ is compared there, and clean rows choose that σ alone: of J at two σ only the
implicit one can be compared. The w that minimises J on some rows is judged on others.

What is chosen is the simplest model whose J is within one standard error of the least, that of the
mean of paired differences, row by row (Breiman et al. 1984).

Networks are kept as they are, one a fold, and averaged: J of the mean is at most the mean of their
J. Closed forms are fitted again, to all rows.

Source of the rule: Breiman et al., "Classification and regression trees", 1984 (section 3.4.3).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skscore._inference import implicit_path, in_parts, scores_and_traces, to_numpy
from skscore._typing import ScoreFn
from skscore._validation import Array
from skscore.divergence import exact_divergence
from skscore.stacking import simplex_least_squares

__all__ = ["AtLevel", "Fold", "Readings", "best_level", "compare"]

_GROUPS = 5  # of rows, each judged by weights that the others chose
_NOISY_ROWS = 20_000
_MAX_PAIRS = 32  # of ε and -ε for each row


class AtLevel(nn.Module):
    """A score model read at one noise level, whatever level it is asked for.

    Parameters
    ----------
    module : torch.nn.Module
        The score function.
    level : float
        The noise level.

    Examples
    --------
    >>> from skscore.gaussians import GaussianScore
    >>> blurred = AtLevel(GaussianScore(torch.zeros(1), torch.eye(1)), 1.0)
    >>> blurred(torch.ones(1, 1), torch.zeros(1, 1))
    tensor([[-0.5000]])
    """

    def __init__(self, module: nn.Module, level: float) -> None:
        super().__init__()
        self.module = module
        self.level = level

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Map points (n, d) to the score (n, d); sigma is ignored."""
        score: Tensor = self.module(x, torch.full_like(sigma, self.level))
        return score

    def score_and_divergence(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Map points (n, d) to the score (n, d) and tr ∇s (n,); sigma is ignored."""
        return exact_divergence(self.module, x, torch.full_like(sigma, self.level))


@dataclass
class Fold:
    """Rows (n, d) with their weights (n,), and models that were not fitted to them."""

    x: Tensor
    weights: Array
    models: Sequence[ScoreFn]


@dataclass
class Readings:
    """What the models of each fold say of its rows.

    Attributes
    ----------
    A : ndarray of shape (n, n_models, n_models)
    b : ndarray of shape (n, n_models)
        The terms of each row.
    share : ndarray of shape (n,)
        Weights of the rows, summing to one.
    groups : ndarray of shape (n,)
        Which rows are left out together.
    """

    A: Array
    b: Array
    share: Array
    groups: Array

    @classmethod
    def of(cls, folds: Sequence[Fold], sigma: float, generator: torch.Generator) -> "Readings":
        """Read the models at one noise level."""
        n_rows = sum(len(fold.x) for fold in folds)
        n_pairs = int(np.clip(_NOISY_ROWS // (2 * n_rows), 1, _MAX_PAIRS))
        terms = [
            _noisy_terms(fold, sigma, n_pairs, generator) if sigma > 0 else _clean_terms(fold)
            for fold in folds
        ]
        share = np.concatenate([fold.weights for fold in folds])
        groups = [np.full(len(fold.x), k) for k, fold in enumerate(folds)]
        return cls(
            np.concatenate([A for A, _ in terms]),
            np.concatenate([b for _, b in terms]),
            share / share.sum(),
            np.arange(n_rows) % _GROUPS if len(folds) == 1 else np.concatenate(groups),
        )

    def losses(self) -> Array:
        """Return J_k of each row, shape (n, n_models)."""
        losses: Array = np.diagonal(self.A, axis1=1, axis2=2) + 2 * self.b
        return losses

    def weights(self, rows: Array) -> Array:
        """Return the w that minimises J over some rows."""
        share = self.share[rows] / self.share[rows].sum()
        A = np.einsum("n,nkl->kl", share, self.A[rows])
        b = share @ self.b[rows]
        return to_numpy(simplex_least_squares(torch.from_numpy(A), torch.from_numpy(b)))

    def stacked_losses(self) -> Array:
        """Return J(w) of each row, w being what the rows of other groups choose."""
        losses = np.empty(len(self.share))
        for group in np.unique(self.groups):
            own = self.groups == group
            w = self.weights(~own)
            losses[own] = np.einsum("k,nkl,l->n", w, self.A[own], w) + 2 * self.b[own] @ w
        return losses


def _noisy_terms(
    fold: Fold, sigma: float, n_pairs: int, generator: torch.Generator
) -> tuple[Array, Array]:
    n, d = fold.x.shape
    shape = (n_pairs, n, d)
    half = torch.randn(shape, generator=generator, device=generator.device, dtype=fold.x.dtype)
    noise = torch.cat([half, -half]).to(fold.x.device)
    x_noisy = (fold.x + sigma * noise).reshape(-1, d)
    level = torch.full_like(x_noisy[:, :1], sigma)
    s = torch.stack([in_parts(f, x_noisy, level) for f in fold.models])
    s = s.reshape(-1, 2 * n_pairs, n, d)
    A = torch.einsum("kmni,lmni->nkl", s, s) / (2 * n_pairs)
    b = torch.einsum("mni,kmni->nk", noise, s) / (2 * n_pairs * sigma)
    return to_numpy(A), to_numpy(b)


def _clean_terms(fold: Fold) -> tuple[Array, Array]:
    clean = torch.zeros_like(fold.x[:, :1])
    read = [scores_and_traces(f, fold.x, clean) for f in fold.models]
    s = torch.stack([score for score, _, _ in read])
    A = torch.einsum("kni,lni->nkl", s, s)
    return to_numpy(A), to_numpy(torch.stack([trace for _, trace, _ in read]).mT)


def best_level(folds: Sequence[Fold], levels: Sequence[float]) -> float:
    """Return the noise level at which the last models of the folds have the least implicit J."""
    total = np.sum(
        [
            fold.weights.sum() * implicit_path(fold.models[-1], fold.x, fold.weights, levels)
            for fold in folds
        ],
        axis=0,
    )
    return float(levels[int(total.argmin())])


def compare(names: Sequence[str], readings: Readings) -> dict[str, Any]:
    """Compare the models, named from the simplest on, and their stack.

    Returns
    -------
    results : dict
        "model", the names with "stack" at the end; "objective", J of each; "excess", how far each
        is above the least, and "standard_error", that of the excess; "chosen", a name;
        "stack_weights", the w of the stack.
    """
    losses = np.column_stack([readings.losses(), readings.stacked_losses()])
    share = readings.share
    means = share @ losses
    differences = losses - losses[:, [means.argmin()]]
    excess = share @ differences
    standard_error = np.sqrt(share**2 @ (differences - excess) ** 2)
    model = [*names, "stack"]
    return {
        "model": model,
        "objective": means,
        "excess": excess,
        "standard_error": standard_error,
        "chosen": model[int((excess <= standard_error).argmax())],
        "stack_weights": readings.weights(np.ones(len(share), dtype=bool)),
    }
