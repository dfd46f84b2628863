r"""Rows of a table as points whose city-block distance is Gower's.

    number            (x - min)/(max - min) over the training rows, ½ if missing
    ordered level     the same of its rank
    other level       its codes, halved

so that the whole range of a number counts as much as a change of level. Not the ranks of numbers:
those of the training rows are evenly spaced, and rows on a lattice say nothing of how near rows of
their law come to each other.

Source: Gower, "A general coefficient of similarity and some of its properties", Biometrics 1971.
"""

from typing import Any

import numpy as np

from skscore._validation import Array
from skscore.tabular._cells import frame_kind, read_columns
from skscore.tabular._parsing import parse_numbers
from skscore.tabular.encoder import TabularEncoder

__all__ = ["GowerPoints"]


class GowerPoints:
    """Map rows to points, by the ranges of a table.

    Parameters
    ----------
    encoder : TabularEncoder
        Fitted to the table.
    X : DataFrame or array-like of shape (n, n_columns)
        The table.
    """

    def __init__(self, encoder: TabularEncoder, X: Any) -> None:
        self.encoder = encoder
        self.numeric = [g for g in encoder.feature_groups_ if g.codebook is None]
        numbers = self._numbers(X, *encoder.intervals(X))
        self.least = np.nanmin(numbers, axis=0) if len(self.numeric) else np.zeros(0)
        spread = np.nanmax(numbers, axis=0) - self.least if len(self.numeric) else np.zeros(0)
        self.spread = np.where(spread > 0, spread, 1.0)

    def __call__(self, X: Any) -> Array:
        """Return the points (n, n_features)."""
        lower, upper = self.encoder.intervals(X)
        points: Array = np.nan_to_num(lower) / 2
        numbers = (self._numbers(X, lower, upper) - self.least) / self.spread
        points[:, [g.start for g in self.numeric]] = np.nan_to_num(numbers, nan=0.5)
        return points

    def _numbers(self, X: Any, lower: Array, upper: Array) -> Array:
        """Return the numeric columns (n, n_numeric), NaN where missing."""
        columns, _ = read_columns(np.asarray(X) if frame_kind(X) is None else X)
        labels, found = self.encoder.columns_, []
        for group in self.numeric:
            column = columns[labels.index(group.column)]
            if column.kind == "number":
                values = parse_numbers(column)
            elif column.kind == "time":
                values = column.values.astype(np.int64)
            else:
                values = (lower + upper)[:, group.start] / 2
            found.append(np.where(column.missing, np.nan, values.astype(np.float64)))
        return np.array(found).T.reshape(len(columns[0].values), len(found))
