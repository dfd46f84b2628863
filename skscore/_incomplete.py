r"""What is expected in the absent cells of rows with a Gaussian law.

Of a row from N(μ, C) of which the cells o are there and the cells m absent, the latter have

    E[z_m | z_o] = μ_m + C_mo C_oo⁻¹ (z_o - μ_o),      V = C_mm - C_mo C_oo⁻¹ C_om

and ln N(z_o; μ_o, C_oo) is what the row says of μ and C. Expectation-maximisation puts E in the
place of what is absent and takes, in turn with it,

    μ = Σ_i w_i E_i / Σ_i w_i,      C = Σ_i w_i [(E_i - μ)(E_i - μ)ᵀ + V_i] / Σ_i w_i

which, unlike estimates from the cells that are there, are right where a cell's absence has to do
with the others of its row.

Source: Dempster, Laird & Rubin, "Maximum likelihood from incomplete data via the EM algorithm",
JRSS B 1977.
"""

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from skscore._validation import Array

__all__ = ["MOST_WORK", "Completed", "Holes", "Laws"]

# Of `Holes.work`: with more, a location model would take longer than the network does.
MOST_WORK = 2**25


class Laws(NamedTuple):
    """The laws of the absent cells of patterns.

    Attributes
    ----------
    inverse : ndarray of shape (n_patterns, q, q)
        C_oo⁻¹, 0 in the rows and columns of absent cells.
    gain : ndarray of shape (n_patterns, q, q)
        C_oo⁻¹ C, 0 in their rows.
    spread : ndarray of shape (n_patterns, q, q)
        V, 0 in the rows and columns of cells that are there.
    log_det : ndarray of shape (n_patterns,)
        ln det C_oo.
    """

    inverse: Array
    gain: Array
    spread: Array
    log_det: Array


@dataclass(frozen=True, eq=False)
class Completed:
    """Rows with what is expected in the place of absent cells.

    Attributes
    ----------
    rows : ndarray of shape (..., n, q)
        z, and E where it is absent.
    laws : Laws
        Those of the patterns.
    pattern : ndarray of int, shape (n,)
        That of each row.
    log_f : ndarray of shape (..., n)
        ln N(z_o; μ_o, C_oo).
    """

    rows: Array
    laws: Laws
    pattern: Array
    log_f: Array

    def mean_spread(self, weights: Array) -> Array:
        """Return Σ_i w_i V_i / Σ_i w_i (q, q)."""
        by_pattern = np.bincount(self.pattern, weights, minlength=len(self.laws.spread))
        mean: Array = np.tensordot(by_pattern / by_pattern.sum(), self.laws.spread, 1)
        return mean


@dataclass(frozen=True, eq=False)
class Holes:
    """Which cells of rows are absent, rows of a level that lack the same cells being one pattern.

    Attributes
    ----------
    there : ndarray of bool, shape (n_patterns, q)
        The cells that are there.
    level : ndarray of int, shape (n_patterns,)
        The level.
    pattern : ndarray of int, shape (n,)
        That of each row.

    Examples
    --------
    >>> z = np.array([[1.0, np.nan], [0.0, 2.0]])
    >>> done = Holes.in_rows(z).complete(z, np.zeros(2), np.array([[1.0, 0.8], [0.8, 1.0]]))
    >>> done.rows
    array([[1. , 0.8],
           [0. , 2. ]])
    >>> done.mean_spread(np.array([1.0, 0.0])).round(2)
    array([[0.  , 0.  ],
           [0.  , 0.36]])
    """

    there: Array
    level: Array
    pattern: Array

    @classmethod
    def in_rows(cls, z: Array, levels: Array | None = None) -> Self:
        """Find them in rows (n, q), NaN where a cell is absent, of levels (n,)."""
        levels = np.zeros(len(z), dtype=int) if levels is None else levels
        keys = np.column_stack([levels, ~np.isnan(z)])
        found, pattern = np.unique(keys, axis=0, return_inverse=True)
        return cls(found[:, 1:].astype(bool), found[:, 0], pattern.ravel())

    def __bool__(self) -> bool:
        """Return whether any cell is absent."""
        return not bool(self.there.all())

    @property
    def work(self) -> int:
        """What a call of `complete` takes, about: n_patterns q³."""
        n_patterns, q = self.there.shape
        return n_patterns * q**3

    def complete(self, z: Array, mean: Array, C: Array) -> Completed:
        """Return rows with what is expected in absent cells.

        Parameters
        ----------
        z : ndarray of shape (..., n, q)
            Rows, NaN in the absent cells.
        mean : ndarray of shape (q,) or (n_patterns, q)
            μ, the same in all rows or that of each pattern.
        C : ndarray of shape (q, q) or (n_patterns, q, q)
            C likewise.
        """
        laws, mean = self._laws(C), np.broadcast_to(mean, self.there.shape)
        centred = np.nan_to_num(z - mean[self.pattern])
        expected, distance = np.empty_like(centred), np.empty(centred.shape[:-1])
        ends = np.bincount(self.pattern, minlength=len(self.there)).cumsum()
        rows_of = np.split(np.argsort(self.pattern, kind="stable"), ends[:-1])
        for p, own in enumerate(rows_of):
            x = centred[..., own, :]
            expected[..., own, :] = mean[p] + x @ laws.gain[p]
            distance[..., own] = (x @ laws.inverse[p] * x).sum(-1)
        rows = np.where(np.isnan(z), expected, z)
        constant = laws.log_det + self.there.sum(1) * np.log(2 * np.pi)
        log_f = -(distance + constant[self.pattern]) / 2
        return Completed(rows, laws, self.pattern, log_f)

    def _laws(self, C: Array) -> Laws:
        """Return the laws of absent cells for C (q, q), or one of each pattern."""
        q = self.there.shape[1]
        C = np.broadcast_to(C, (*self.there.shape, q))
        both = self.there[:, :, None] & self.there[:, None]
        C_oo = np.where(both, C, np.eye(q))
        # 0 in the rows and columns of m.
        inverse, log_det = np.linalg.inv(C_oo) * both, np.linalg.slogdet(C_oo)[1]
        gain = inverse @ C
        either = self.there[:, :, None] | self.there[:, None]
        return Laws(inverse, gain, np.where(either, 0.0, C - C @ gain), log_det)
