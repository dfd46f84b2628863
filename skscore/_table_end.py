r"""Where the rows of a table end, from the smallest noise level on.

With D the denoised, A = ∂D/∂x and a law that is nearly N(m, Σ) as far as the smallest noise level,
σ, can see, A = Σ/(Σ + σ²) and the probability flow from there to no noise at all leads to

    m + √A (x - m) = x - (I + √A)⁻¹ (x - D)

D itself, m + A (x - m), is too near to m in directions in which the law is narrow: by √2 in those
as wide as the noise. So columns that nearly say each other would do so more than in the data.

The denoised of a table is D₀, that of what the network starts from, and what the network adds. D₀
is led to the end of its flow; what is added is taken as it is at σ, since its slope is that of a
function which is learnt, and smoother than the one that would be right:

    x - (I + √A₀)⁻¹ (x - D₀) + (D - D₀)

(I + √A₀)⁻¹ v, with v = x - D₀, is taken from the products of A₀ with v and with what of these is
across it, as differences of two D₀ (Lanczos; Druskin & Knizhnerman, "Two polynomial methods of
calculating functions of symmetric matrices", USSR Comput. Math. Math. Phys. 1989). Of categories,
of cells that are given and of numbers that repeat, D is returned: wider, a number that was drawn in
the interval of its value would more often end in that of another.
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
    numbers = module.numeric
    if not len(numbers):
        return D
    z = x[:, numbers]
    is_open = module.continuous.expand_as(z)
    if state is not None:
        is_open = is_open & (state[:, module.column[numbers]] != GIVEN)
    sigma = torch.full_like(x[:, :1], sigma_min)
    h = _STEP * sigma_min

    def of_base(z: Tensor) -> Tensor:
        return module.numbers_of_base(x.index_copy(1, numbers, z), sigma, state)

    D_0 = of_base(z)
    v = is_open * (z - D_0)
    length = v.norm(dim=1, keepdim=True)
    basis = [v / length.clamp(min=_TINY)]
    T = x.new_zeros(len(x), _N_VECTORS, _N_VECTORS)
    for k in range(_N_VECTORS):
        rest = is_open * (D_0 - of_base(z - h * basis[k])) / h
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
    return D.index_add(1, numbers, is_open * (z - step - D_0))
