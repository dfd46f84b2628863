r"""How alike two tables are, column by column and pair by pair.

    shape, numeric       1 - max_x |F(x) - G(x)|            Kolmogorov-Smirnov, of the cells present
    shape, categorical   1 - ½ Σ_a |p_a - q_a|              total variation; missing is a level
    missing cells        1 - |share - share'|
    trend, numbers       1 - ½ |r - r'|                     r: Pearson's, of the rows that have both
    trend, else          1 - ½ Σ_ab |p_ab - q_ab|           tables of both columns, a number cut at
                                                            the deciles of the training rows

p and F are of the one table, q and G of the other. 1 is the best. Two samples of one law stay below
it: ½ Σ |p - q| of n and m rows has the mean

    Σ_a sqrt(p_a (1 - p_a) (1/n + 1/m)/(2π))    for large n and m,

which grows with the number of levels. So a value is to be read beside that of real rows.

Source: the metrics KSComplement, TVComplement, MissingValueSimilarity, CorrelationSimilarity and
ContingencySimilarity of SDMetrics (DataCebo), "column shapes" and "column pair trends" of its
quality report. Here an undefined correlation, of a column that does not vary, counts as 0, so that
a trend that is lost is seen; there it is left out.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.stats import ks_2samp

from skscore.tabular._table_columns import Columns, Table, scale

__all__ = ["column_shapes", "mean_trend", "missing_similarity", "pair_trends"]

Array = NDArray[Any]

_N_BINS = 10


def column_shapes(columns: Columns, real: Table, other: Table) -> Array:
    """Return how alike each column is distributed, from 0 to 1, (k,).

    Of a numeric column that has cells in one of the tables alone, it is 0; in neither, 1.
    """
    shapes = np.ones(len(columns.names))
    for j, is_number in enumerate(columns.is_number):
        a, b = real.column(columns, j), other.column(columns, j)
        if is_number:
            a, b = a[~np.isnan(a)], b[~np.isnan(b)]
            if len(a) and len(b):
                shapes[j] = 1 - ks_2samp(a, b, method="asymp").statistic
            else:
                shapes[j] = float(len(a) == len(b))
        else:
            n_levels = len(columns.levels[columns.names[j]])
            shares = [
                np.bincount(codes + 1, minlength=n_levels + 1) / len(codes) for codes in (a, b)
            ]
            shapes[j] = 1 - np.abs(shares[0] - shares[1]).sum() / 2
    return shapes


def missing_similarity(columns: Columns, real: Table, other: Table) -> Array:
    """Return how alike the shares of missing cells of each column are, from 0 to 1, (k,)."""
    similarity: Array = 1 - np.abs(real.missing(columns) - other.missing(columns))
    return similarity


def pair_trends(columns: Columns, real: Table, other: Table, train: Table | None = None) -> Array:
    """Return how alike each pair of columns hangs together, from 0 to 1.

    Parameters
    ----------
    columns : Columns
        Of both tables.
    real, other : Table
        What is compared.
    train : Table, default=None
        Whose deciles numbers are cut at; None is real.

    Returns
    -------
    trends : ndarray of shape (k, k)
        Symmetric, with NaN on the diagonal.
    """
    train = real if train is None else train
    k = len(columns.names)
    trends = 1 - _total_variation(columns, real, other, train)
    numbers = np.flatnonzero(columns.is_number)
    if len(numbers) > 1:
        difference = _correlations(real, train) - _correlations(other, train)
        trends[np.ix_(numbers, numbers)] = 1 - np.abs(difference) / 2
    trends[np.arange(k), np.arange(k)] = np.nan
    return trends


def mean_trend(trends: Array) -> float:
    """Return the mean over pairs of columns of a matrix of trends."""
    return float(trends[np.triu_indices(len(trends), 1)].mean())


def _correlations(table: Table, train: Table) -> Array:
    import pandas as pd

    # Scaled, since dates in seconds squared would lose digits.
    correlations: Array = pd.DataFrame(scale(table, train).numbers).corr().to_numpy()
    return np.nan_to_num(correlations)


def _bins(columns: Columns, table: Table, train: Table) -> tuple[Array, Array]:
    """Return codes from 0 of all columns, (n, k), and how many each of them has, (k,)."""
    codes, sizes = [], []
    for j, is_number in enumerate(columns.is_number):
        cells = table.column(columns, j)
        if not is_number:
            codes.append(cells + 1)
            sizes.append(len(columns.levels[columns.names[j]]) + 1)
            continue
        known = train.column(columns, j)
        known = known[~np.isnan(known)]
        inner = np.arange(1, _N_BINS) / _N_BINS
        edges = np.unique(np.quantile(known, inner)) if len(known) else np.empty(0)
        # NaN sorts last: a bin of its own.
        binned = np.where(np.isnan(cells), len(edges) + 1, np.searchsorted(edges, cells, "left"))
        codes.append(binned)
        sizes.append(len(edges) + 2)
    return np.array(codes).T, np.array(sizes)


def _total_variation(columns: Columns, real: Table, other: Table, train: Table) -> Array:
    """Return the total variation distance of the joint levels of each pair of columns, (k, k).

    With Z the one-hot columns, ZᵀZ/n holds the shares of all pairs of levels at once; only those
    that occur are kept.
    """
    shares = []
    for table in (real, other):
        codes, sizes = _bins(columns, table, train)
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        n, k = codes.shape
        rows = np.repeat(np.arange(n), k)
        one_hot = csr_array(
            (np.ones(n * k), (rows, (codes + starts).ravel())), shape=(n, sizes.sum())
        )
        shares.append(one_hot.T @ one_hot / n)
    of_column = csr_array(
        (np.ones(sizes.sum()), (np.arange(sizes.sum()), np.repeat(np.arange(k), sizes)))
    )
    distance: Array = (of_column.T @ abs(shares[0] - shares[1]) @ of_column).toarray() / 2
    return distance
