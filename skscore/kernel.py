r"""Kernel exponential families: score matching by one linear solve, no gradient steps.

Kernel exponential family, log p = log q_0 + Σ_m α_m k(x, z_m) + const, q_0 a Gaussian and
k(x, z) = exp(-‖x - z‖² / 2h²). The implicit objective is quadratic in α,

    J(α) = c + 2 bᵀα + αᵀ G α
    G = ⟨∇k ∇kᵀ⟩,   b = ⟨Δk⟩ + ⟨∇k · ∇log q_0⟩,   c = ⟨‖∇log q_0‖² + 2 Δ log q_0⟩

so that J(α) + λ αᵀKα, K = k(z, z), has its minimum at α = -(G + λK)⁻¹ b. Two more facts make a
search cheap. ∇k(x, z)·∇k(x, z') = k k' (‖x-z‖² + ‖x-z'‖² - ‖z-z'‖²) / 2h⁴, so G costs two products
of matrices, whatever d is. And the solution T of TᵀGT = Λ, TᵀKT = I serves every λ:
α = -T (Λ + λ)⁻¹ Tᵀ b. With λ = r/h⁴, which cancels the h⁻⁴ of G, the best r hardly moves with h.

Sources: Sriperumbudur et al., "Density estimation in infinite dimensional exponential
families", JMLR 2017; Sutherland et al., "Efficient and principled score estimation with Nyström
kernel exponential families", AISTATS 2018.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from skscore.gaussians import GaussianScore, _checked_rows, fit_gaussian

__all__ = [
    "KernelFit",
    "KernelScore",
    "fit_kernel",
]

_JITTER = 1e-8  # added to the diagonal of K, whose smallest eigenvalues are rounding


class KernelScore(nn.Module):
    """The score of log p = log q_0 + Σ_m α_m k(x, z_m) for clean data: sigma is ignored.

    Parameters
    ----------
    base : GaussianScore
        q_0.
    centers : Tensor of shape (m, d)
        The z_m.
    coefficients : Tensor of shape (m,)
        The α_m.
    bandwidth : float
        h, a standard deviation.

    Examples
    --------
    >>> base = GaussianScore(torch.zeros(1), torch.eye(1))
    >>> p = KernelScore(base, torch.zeros(1, 1), torch.ones(1), bandwidth=1.0)
    >>> p(torch.ones(1, 1), torch.zeros(1, 1))
    tensor([[-1.6065]])
    """

    centers: Tensor
    coefficients: Tensor
    bandwidth: Tensor

    def __init__(
        self, base: GaussianScore, centers: Tensor, coefficients: Tensor, bandwidth: float
    ) -> None:
        super().__init__()
        self.base = base
        self.register_buffer("centers", centers.double())
        self.register_buffer("coefficients", coefficients.double())
        self.register_buffer("bandwidth", torch.tensor(bandwidth, dtype=torch.float64))

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Map points (n, d) to the score (n, d); sigma is ignored."""
        return self.score_and_divergence(x, sigma)[0]

    def energy(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Map points (n, d) to -log p (n,), not normalised; sigma is ignored."""
        k = (-_square_distances(x, self.centers) / (2 * self.bandwidth**2)).exp()
        return self.base.energy(x, torch.zeros_like(sigma)) - (k @ self.coefficients).to(x.dtype)

    def score_and_divergence(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Map points (n, d) to the score (n, d) and tr ∇s (n,); sigma is ignored."""
        h2, square = self.bandwidth**2, _square_distances(x, self.centers)
        a = self.coefficients * (-square / (2 * h2)).exp()
        s, divergence = self.base.score_and_divergence(x, torch.zeros_like(sigma))
        s = s + ((a @ _even(self.centers))[:, : x.shape[1]] - a.sum(1, keepdim=True) * x) / h2
        divergence = divergence + (a * (square / h2 - x.shape[1])).sum(1) / h2
        return s.to(x.dtype), divergence.to(x.dtype)


@dataclass(frozen=True, eq=False)
class KernelFit:
    """What :func:`fit_kernel` found, and the table it chose from.

    Attributes
    ----------
    model : KernelScore
        The fit with the chosen bandwidth and regularization.
    bandwidths, regularizations : Tensor of shape (n_bandwidths,), (n_regularizations,)
        What was searched.
    objectives : Tensor of shape (n_bandwidths, n_regularizations)
        Held-out implicit objective ⟨‖s‖² + 2 tr ∇s⟩ of each pair.
    bandwidth, regularization : float
        The pair of the smallest objective.
    """

    model: KernelScore
    bandwidths: Tensor
    regularizations: Tensor
    objectives: Tensor
    bandwidth: float
    regularization: float


def fit_kernel(
    x: Tensor,
    held_out: Tensor,
    *,
    weights: Tensor | None = None,
    held_out_weights: Tensor | None = None,
    bandwidths: Sequence[float] | None = None,
    regularizations: Sequence[float] | None = None,
    n_centers: int = 300,
    generator: torch.Generator,
) -> KernelFit:
    """Fit a kernel exponential family; held-out rows choose the bandwidth and the regularization.

    The centres are drawn from q_0: the model keeps moments and coefficients, and no row of x. It is
    as accurate as with centres at rows or at k-means centroids, many of which would be single rows.

    Parameters
    ----------
    x : Tensor of shape (n, d)
        Rows to fit, standardised: one bandwidth serves all features.
    held_out : Tensor of shape (n_held_out, d)
        Other rows of the same density.
    weights, held_out_weights : Tensor of shape (n,), (n_held_out,), default=None
        Weights of the rows, not negative; None is 1 each.
    bandwidths : sequence of float, default=None
        The h to search. None: 2^(-4), 2^(-3.5), ..., 2^2 times √(2 tr S), a typical distance.
    regularizations : sequence of float, default=None
        The r = λh⁴ to search; inf is the Gaussian q_0. None: 0.1/n times 1, √10, ..., 10⁴, and
        inf, with n = (Σw)²/Σw² over the distinct rows. Smaller ones tend to win by chance alone.
    n_centers : int, default=300
        m, the number of centres. Time grows with n m² + m³ for each bandwidth.
    generator : torch.Generator
        Draws the centres.

    Returns
    -------
    fit : KernelFit

    Raises
    ------
    ValueError
        As in :func:`~skscore.gaussians.fit_gaussian`, or if a number that must be positive is not.

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> x = torch.randn(500, 1, generator=generator)
    >>> fit = fit_kernel(x[:400], x[400:], n_centers=30, generator=generator)
    >>> fit.objectives.shape
    torch.Size([13, 10])
    """
    x, w = _checked_rows("x", x, weights)
    x, index = x.unique(dim=0, return_inverse=True)
    w = w.new_zeros(len(x)).index_add(0, index, w)
    held_out, held_out_w = _checked_rows("held_out", held_out, held_out_weights)
    if held_out.shape[1] != x.shape[1]:
        raise ValueError(f"held_out has {held_out.shape[1]} columns; give {x.shape[1]}, as x has.")
    base = fit_gaussian(x, w)
    if bandwidths is None:
        bandwidths = [(2 * base.variances.sum().item() * 2**j) ** 0.5 for j in range(-8, 5)]
    if regularizations is None:
        regularizations = [*(0.1 * (w @ w).item() * 10 ** (j / 2) for j in range(9)), math.inf]
    h, r = (torch.as_tensor(v, dtype=x.dtype).to(x) for v in (bandwidths, regularizations))
    if not (n_centers > 0 and bool((h > 0).all()) and bool((r > 0).all())):
        raise ValueError(f"{bandwidths=}, {regularizations=} and {n_centers=} must be positive.")
    noise = torch.randn(n_centers, x.shape[1], generator=generator, device=generator.device).to(x)
    z = base.means + noise * base.variances.sqrt() @ base.axes[0].mT
    G, b, _ = _forms(x, w, base, z, h)
    alpha = _solutions(G, b, z, h, r)
    G, b, c = _forms(held_out, held_out_w, base, z, h)
    objectives = c + ((2 * b[..., None] + G @ alpha) * alpha).sum(1)
    i, j = divmod(int(objectives.argmin()), len(r))
    model = KernelScore(base, z, alpha[i, :, j], h[i].item())
    return KernelFit(model, h, r, objectives, h[i].item(), r[j].item())


def _forms(x: Tensor, w: Tensor, base: GaussianScore, z: Tensor, h: Tensor) -> tuple[Tensor, ...]:
    """Return G (n_bandwidths, m, m), b (n_bandwidths, m) and c () of J = c + 2 bᵀα + αᵀGα."""
    m, d = z.shape
    G, b, c = x.new_zeros(len(h), m, m), x.new_zeros(len(h), m), x.new_zeros(())
    between = _square_distances(z, z)
    for x_part, w_part in zip(x.split(4096), w.split(4096), strict=True):
        s, divergence = base.score_and_divergence(x_part, torch.zeros_like(x_part[:, :1]))
        c += w_part @ (s.square().sum(1) + 2 * divergence)
        slope = s @ z.mT - (s * x_part).sum(1, keepdim=True)
        square = _square_distances(x_part, z)
        for i, h_i in enumerate(h):
            k = (-square / (2 * h_i**2)).exp()
            wk = w_part[:, None] * k
            cross = (wk * square).mT @ k
            G[i] += (cross + cross.mT - (wk.mT @ k) * between) / (2 * h_i**4)
            b[i] += (wk * (square / h_i**2 - d + slope)).sum(0) / h_i**2
    return G, b, c


def _solutions(G: Tensor, b: Tensor, z: Tensor, h: Tensor, r: Tensor) -> Tensor:
    """Return α = -(G + λK)⁻¹ b, shape (n_bandwidths, m, n_regularizations)."""
    h = h[:, None, None]
    K = (-_square_distances(z, z) / (2 * h**2)).exp() + _JITTER * torch.eye(len(z)).to(z)
    L = torch.linalg.cholesky(K)
    half = torch.linalg.solve_triangular(L, G, upper=False)
    eigenvalues, Q = torch.linalg.eigh(torch.linalg.solve_triangular(L, half.mT, upper=False))
    T = torch.linalg.solve_triangular(L.mT, Q, upper=True)
    return -T @ (T.mT @ b[..., None] / (eigenvalues.clamp(min=0)[..., None] + r / h**4))


def _square_distances(x: Tensor, z: Tensor) -> Tensor:
    x, z = _even(x.to(z.dtype)), _even(z)
    return x.square().sum(1, keepdim=True) + z.square().sum(1) - 2 * x @ z.mT


def _even(x: Tensor) -> Tensor:
    """Fill the features up to an even number: odd products are rounded by a row's place."""
    return nn.functional.pad(x, (0, x.shape[1] % 2))
