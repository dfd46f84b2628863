"""What stands for what in an encoded table.

An encoded table has one or more features for each column: a number is one, a category the one-hot
code of its level or a shorter code, a column with missing cells a marker beside its number. A model
that knows these groups can treat a category as one, and need not know the encoder.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

__all__ = ["FeatureGroup"]

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class FeatureGroup:
    """Features ``start`` to ``stop`` (exclusive) of an encoded table, which stand for one thing.

    Attributes
    ----------
    column : hashable
        Label of the column that they encode; its position, where the table was an array.
    kind : {"numeric", "categorical", "missing"}
        A "missing" group is a category of two levels: 0, the cell is given; 1, it is missing.
    start, stop : int
        The features ``[start, stop)``.
    codebook : ndarray of shape (n_levels, stop - start) or None
        The code of each level; None for a numeric group.
    frequencies : ndarray of shape (n_levels,) or None
        Share of each level in the training data, positive, with sum 1; None for a numeric group.

    Examples
    --------
    >>> import numpy as np
    >>> group = FeatureGroup("sex", "categorical", 1, 3, np.eye(2), np.array([0.4, 0.6]))
    >>> np.arange(4)[group.start : group.stop]
    array([1, 2])
    """

    column: Hashable
    kind: str
    start: int
    stop: int
    codebook: Array | None
    frequencies: Array | None
