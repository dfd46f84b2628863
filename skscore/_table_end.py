r"""Where the rows of a table end, from the smallest noise level on.

With D the denoised, A = ∂D/∂x and a law that is nearly N(m, Σ) as far as the smallest noise level,
σ, can see, A = Σ/(Σ + σ²) and the probability flow from there to no noise at all leads to

    m + √A (x - m) = x - (I + √A)⁻¹ (x - D)

The mean D itself, m + A (x - m), would be too near to m in directions in which the law is narrow:
by √2 in those as wide as the noise. So columns that nearly say each other would do so more than in
the data. (I + √A)⁻¹ v, with v = x - D, is taken from the products of A with v and with what of
these is across it, as differences of two denoised (Lanczos; Druskin & Knizhnerman, "Two polynomial
methods of calculating functions of symmetric matrices", USSR Comput. Math. Math. Phys. 1989).

Of categories, and of cells that are given, D is returned.
"""

import torch
from torch import Tensor

from skscore._table_score import GIVEN, TableScore

__all__ = ["without_noise"]

_N_VECTORS = 2
# In units of σ.
_STEP = 0.5
_TINY = 1e-12


def without_noise(
    module: TableScore, x: Tensor, D: Tensor, sigma_min: float, state: Tensor | None = None
) -> Tensor:
    """Return rows (n, d) without noise from those at the smallest noise level and their denoised.

    States of cells (n, n_columns) say which are given.
    """
    open_numbers = torch.zeros_like(x[0], dtype=torch.bool)
    open_numbers[module.numeric] = True
    open_numbers = open_numbers.expand(len(x), -1)
    if state is not None:
        open_numbers = open_numbers & (state[:, module.column] != GIVEN)
    sigma = torch.full_like(x[:, :1], sigma_min)
    h = _STEP * sigma_min

    def product(q: Tensor) -> Tensor:
        return open_numbers * (D - module.denoise(x - h * q, sigma, state)) / h

    v = open_numbers * (x - D)
    length = v.norm(dim=1, keepdim=True)
    basis = [v / length.clamp(min=_TINY)]
    T = x.new_zeros(len(x), _N_VECTORS, _N_VECTORS)
    for k in range(_N_VECTORS):
        rest = product(basis[k])
        for j, q in enumerate(basis):
            T[:, j, k] = (rest * q).sum(1)
            rest = rest - T[:, j, k, None] * q
        if k + 1 < _N_VECTORS:
            across = rest.norm(dim=1, keepdim=True)
            T[:, k + 1, k] = across[:, 0]
            basis.append(rest / across.clamp(min=_TINY))
    a, U = torch.linalg.eigh((T + T.mT) / 2)
    shares = torch.einsum("njk,nk,nk->nj", U, 1 / (1 + a.clamp(0, 1).sqrt()), U[:, 0])
    step = length * torch.einsum("nj,jnd->nd", shares, torch.stack(basis))
    return torch.where(open_numbers, x - step, D)
