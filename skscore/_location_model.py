r"""The general location model: numbers that are Gaussian given the level of a category.

    z | k ~ N(μ_k, C_k)

Seen through noise of its own variance ν_j in each number, N = diag(ν) (σ² where a number is
blurred, next to nothing where it is given, ∞ where nothing is known of it), and with w_k for what
the cell of the category says, numbers have the means

    D = Σ_k r_k [μ_k + C_k (C_k + N)⁻¹ (x - μ_k)],      r_k ∝ w_k N(x; μ_k, C_k + N)

and N(x; μ_k, C_k + N) is what they say of the category. With one level of everything it is a
Gaussian; with C_k alike D is linear in each cell and r_k the posterior of Fisher's discriminant.
Where k is hidden, w_k is its share π_k, and numbers have a Gaussian mixture.

Source: Olkin & Tate, "Multivariate correlation models with mixed discrete and continuous
variables", Ann. Math. Stat. 1961.
"""

import numpy as np
import torch
from torch import Tensor, nn

from skscore._validation import Array

__all__ = ["GIVEN_VARIANCE", "UNKNOWN_VARIANCE", "LocationModel"]

# Of a given number, so that two which are nearly one do not contradict each other.
GIVEN_VARIANCE = 1e-3
UNKNOWN_VARIANCE = 1e4
_SMALLEST_VARIANCE = 1e-4
_LEAST_SHARE = 1e-12


class LocationModel(nn.Module):
    """Denoiser of numbers that are Gaussian given the level of a category.

    Parameters
    ----------
    means : array-like of shape (K, q)
        The μ_k.
    covariances : array-like of shape (K, q, q)
        The C_k.
    category : int or None, default=None
        Which of the categories k is the level of; None if it is of none, as in a single Gaussian,
        K = 1, or a mixture of Gaussians.
    shares : array-like of shape (K,) or None, default=None
        The π_k; None is 1/K each.

    Examples
    --------
    >>> model = LocationModel([[-1.0], [1.0]], np.ones((2, 1, 1)), 0)
    >>> x, variance = torch.tensor([[3.0]]), torch.tensor([[1.0]])
    >>> denoised, log_p = model(x, variance, torch.zeros(1, 2))
    >>> denoised, log_p.exp()
    (tensor([[1.9526]]), tensor([[0.0474, 0.9526]]))
    """

    log_shares: Tensor
    means: Tensor
    covariances: Tensor
    variances: Tensor
    axes: Tensor

    def __init__(
        self,
        means: Array,
        covariances: Array,
        category: int | None = None,
        shares: Array | None = None,
    ) -> None:
        super().__init__()
        C = np.asarray(covariances, dtype=np.float64)
        variances, axes = np.linalg.eigh(C)
        variances = np.maximum(variances, _SMALLEST_VARIANCE)
        C = (axes * variances[:, None]) @ axes.swapaxes(1, 2)
        self.category = category
        shares = np.full(len(C), 1 / len(C)) if shares is None else shares
        for name, value in (
            ("log_shares", np.log(np.maximum(shares, _LEAST_SHARE))),
            ("means", means),
            ("covariances", C),
            ("variances", variances),
            ("axes", axes),
        ):
            self.register_buffer(name, torch.tensor(np.asarray(value), dtype=torch.float32))

    def forward(self, x: Tensor, variance: Tensor, log_w: Tensor) -> tuple[Tensor, Tensor]:
        """Return the means of numbers, and what numbers say of the levels.

        Parameters
        ----------
        x : Tensor of shape (n, q)
            Numbers.
        variance : Tensor of shape (n, 1) or (n, q)
            ν, that of the noise in each; one in all is faster.
        log_w : Tensor of shape (n, K)
            ln w_k.

        Returns
        -------
        denoised : Tensor of shape (n, q)
            D.
        log_p : Tensor of shape (n, K)
            ln N(x; μ_k, C_k + N), less a constant that makes the p of a row sum to one.
        """
        given_k, log_f = self.by_level(x, variance)
        r = (log_w + log_f).softmax(1)
        return (r[..., None] * given_k).sum(1), log_f.log_softmax(1)

    def denoised_and_slope(self, x: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Return D and the ∂D_j/∂x_j at numbers (n, q) under noise variances (n, 1), with w = π.

        With D_k and A_k those of the levels, the latter are Σ_k r_k [(A_k)_jj + (D_kj - D_j)²/ν].
        """
        given_k, log_f = self._alike(x, variance)
        r = (self.log_shares + log_f).softmax(1)[..., None]
        D = (r * given_k).sum(1, keepdim=True)
        gain = self.variances / (self.variances + variance[..., None])  # n, K, q
        own = torch.einsum("nki,kji->nkj", gain, self.axes.square())
        return D[:, 0], (r * (own + (given_k - D).square() / variance[..., None])).sum(1)

    def by_level(self, x: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Return E[z | x, k] (n, K, q) and ln N(x; μ_k, C_k + N) but for a constant (n, K)."""
        if variance.shape[1] == 1:
            return self._alike(x, variance)
        if not self.training:
            # The same work for every row, so that none depends on the rows that come with it.
            return self._each_its_own(x, variance)
        alike = (variance == variance[:, :1]).all(1)
        shape = len(x), len(self.means)
        given_k, log_f = x.new_empty(*shape, x.shape[1]), x.new_empty(shape)
        given_k[alike], log_f[alike] = self._alike(x[alike], variance[alike, :1])
        given_k[~alike], log_f[~alike] = self._each_its_own(x[~alike], variance[~alike])
        return given_k, log_f

    def _alike(self, x: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        centred = (x[:, None] - self.means).movedim(0, 1)  # K, n, q
        along = centred @ self.axes
        total = self.variances[:, None] + variance
        kept = along * (self.variances[:, None] / total)
        log_f = -(along.square() / total + total.log()).sum(2) / 2
        return (self.means[:, None] + kept @ self.axes.mT).movedim(0, 1), log_f.mT

    def _each_its_own(self, x: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        centred = x[:, None] - self.means  # n, K, q
        L = torch.linalg.cholesky(self.covariances + torch.diag_embed(variance)[:, None])
        solved = torch.cholesky_solve(centred[..., None], L)[..., 0]
        # C (C + N)⁻¹ v = v - N (C + N)⁻¹ v
        given_k = self.means + centred - variance[:, None] * solved
        log_det = 2 * L.diagonal(dim1=2, dim2=3).log().sum(2)
        return given_k, -((centred * solved).sum(2) + log_det) / 2
