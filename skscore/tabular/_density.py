r"""Log-densities of tables of numbers, in the units of the table.

The model is one of z_j = Φ⁻¹(u_j), u_j the probability of the cell x_j by the distribution function
F_j of its column (:mod:`skscore.tabular._marginals`), with density f_j. By the change of variables

    log p(x) = log p_z(z) + Σ_j log dz_j/dx_j = log p_z(z) + Σ_j [log f_j(x_j) - log φ(z_j)]

The cells of a rounded column are intervals of u, over which p_z/Πφ is averaged, so that p(x) times
the width of the steps is the probability of the cell. The negative log-likelihood by denoising
draws one u in each: its mean is that of the column with uniform noise in its steps, and a bound of
the former by Jensen's inequality.

What does not vary is left out; rows with another value there have the density 0, as have those
beyond the outermost values of a column without a tail.
"""

from typing import Any

import numpy as np
import torch
from scipy.special import logsumexp, ndtri
from torch import Tensor

from skscore._inference import in_parts
from skscore._log_densities import by_denoising, by_flow, warn_of_gap
from skscore._table_score import TableScore
from skscore._validation import Array
from skscore.gaussians import GaussianScore
from skscore.tabular._columns import NumberCodec
from skscore.tabular._marginals import Marginal
from skscore.tabular.encoder import TabularEncoder

__all__ = ["TableDensity"]

_U_MIN = 1e-12
_POINTS = 8  # in the cells of rounded columns
_REMEDY = "Fit with fewer max_steps, or on more rows."


class TableDensity:
    """The density that a fitted score of an encoded table stands for.

    Parameters
    ----------
    encoder : TabularEncoder
        Fitted to numbers alone, without missing cells.
    module : TableScore or None
        The score of encoded rows, in double precision; None if no column varies.
    levels : (float, float)
        The smallest and the largest noise level.

    Raises
    ------
    ValueError
        If the table has no density.

    Examples
    --------
    >>> X = np.random.RandomState(0).standard_normal((200, 1))
    >>> encoder = TabularEncoder().fit(X)
    >>> module = TableScore(encoder.feature_groups_, (8,)).double()
    >>> density = TableDensity(encoder, module, (0.02, 10.0))
    >>> density.log_density(np.array([[9.0]]))[0]
    array([-inf])
    """

    def __init__(
        self, encoder: TabularEncoder, module: TableScore | None, levels: tuple[float, float]
    ) -> None:
        self.encoder, self.module, self.levels = encoder, module, levels
        self.codecs = _numbers_alone(encoder)
        self.marginals = []
        for codec in self.codecs:
            if codec.quantile_map is None:
                continue
            try:
                self.marginals.append(Marginal.of(codec.quantile_map))
            except ValueError as error:
                raise ValueError(
                    f"{codec.where} {error}; fit a generator without this column, or on its "
                    "values with noise that spreads them."
                ) from error

    def log_density(self, X: Any) -> tuple[Array, Array]:
        """Return log p of rows by the probability flow, and its error by probes, both (n,)."""
        log_f, lower, upper = self._intervals(X)
        error, inside = np.zeros(len(log_f)), np.isfinite(log_f)
        if self.module is None or not inside.any():
            return log_f, error
        lower, upper = lower[inside], upper[inside]
        V = _points(lower.shape[1], _POINTS if (upper > lower).any() else 1)
        draws = [_encoded(lower + v * (upper - lower)) for v in V]
        z = self._tensor(np.concatenate(draws))
        log_p, std = by_flow(self.module, z, self.levels, self._prior())
        module = self.module
        warn_of_gap(log_p, lambda: self._by_denoising(module, z), z.shape[1], _REMEDY)
        ratios = (log_p + _minus_log_normal(np.concatenate(draws))).reshape(len(V), -1)
        log_f[inside] += logsumexp(ratios, axis=0) - np.log(len(V))
        # The probes are the same at all points of a cell, and so may be their errors.
        error[inside] = std.reshape(len(V), -1).mean(axis=0)
        return log_f, error

    def nll(self, X: Any) -> Array:
        """Return the estimate of -log p of rows (n,) from denoising errors."""
        log_f, lower, upper = self._intervals(X)
        inside = np.isfinite(log_f)
        if self.module is None or not inside.any():
            return -log_f
        # The same at every call.
        V = np.random.RandomState(0).random_sample(lower.shape)
        z = _encoded((lower + V * (upper - lower))[inside])
        log_f[inside] += _minus_log_normal(z) - self._by_denoising(self.module, self._tensor(z))
        return -log_f

    def _by_denoising(self, module: TableScore, z: Tensor) -> Array:
        return by_denoising(
            lambda x, sigma: in_parts(module, x, sigma), z, self.levels, self._prior()
        )

    def _prior(self) -> GaussianScore:
        """Return N(0, I); at the largest noise level correlations of z hardly count."""
        d = len(self.marginals)
        prior = GaussianScore(torch.zeros(d), torch.eye(d))
        return prior if self.module is None else prior.to(self.module.mean.device)

    def _tensor(self, z: Array) -> Tensor:
        device = None if self.module is None else self.module.mean.device
        return torch.tensor(z, dtype=torch.float64, device=device)

    def _intervals(self, X: Any) -> tuple[Array, Array, Array]:
        """Return Σ_j log f_j (n,), and the intervals of u of the cells that vary, (n, d)."""
        columns, _ = self.encoder._read(X, reset=False)
        log_f = np.zeros(len(columns[0].values))
        intervals, marginals = [], iter(self.marginals)
        for codec, column in zip(self.codecs, columns, strict=True):
            x, missing = codec._read(column)
            if missing.any():
                raise ValueError(
                    f"{codec.where} has {missing.sum()} missing cell(s), and a row with one has no "
                    "density; impute them, or leave these rows out."
                )
            if codec.quantile_map is None:
                log_f[x != codec.constant] = -np.inf
                continue
            of_column, lower, upper = next(marginals).evaluate(x)
            log_f += of_column
            intervals.append((lower, upper))
        if not intervals:
            return log_f, np.zeros((len(log_f), 0)), np.zeros((len(log_f), 0))
        lower, upper = (np.stack(ends, axis=1) for ends in zip(*intervals, strict=True))
        return log_f, lower, upper


def _numbers_alone(encoder: TabularEncoder) -> list[NumberCodec]:
    """Return the codecs of a table of numbers without missing cells, or raise."""
    numbers = [codec for codec in encoder._codecs if type(codec) is NumberCodec]
    others = [codec.name for codec in encoder._codecs if type(codec) is not NumberCodec]
    if others:
        raise ValueError(
            f"The columns {others} hold categories or dates, which have no density; fit a "
            "generator on the numbers alone to get log-densities of these."
        )
    holed = [codec.name for codec in numbers if codec.has_marker or codec.constant is None]
    if holed:
        raise ValueError(
            f"The columns {holed} had missing cells in fit, so that rows have no density; fit a "
            "generator on complete rows, or on imputed ones, to get log-densities."
        )
    return numbers


def _points(d: int, n_points: int) -> Array:
    """Return points in the unit cube, (n_points, d), each column of them evenly spread."""
    random_state = np.random.RandomState(0)
    order = [random_state.permutation(n_points) for _ in range(d)]
    return (np.stack(order, axis=1) + 0.5) / n_points


def _encoded(u: Array) -> Array:
    z: Array = ndtri(u.clip(_U_MIN, 1 - _U_MIN))
    return z


def _minus_log_normal(z: Array) -> Array:
    """Return -Σ_j log φ(z_j) of each row."""
    found: Array = np.square(z).sum(axis=1) / 2 + z.shape[1] * np.log(2 * np.pi) / 2
    return found
