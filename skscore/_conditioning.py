"""Given cells on their way through the transforms of a pipeline.

Cells that are not given are filled, so that any transform takes the rows, and made missing behind
the last one. Which features are given is known where each is made of one column.
"""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

from skscore._container import as_array, rows_like
from skscore._jacobian import active_steps, step_label

if TYPE_CHECKING:
    from skscore.tabular._given import Given

__all__ = ["carry_given", "read_conditions"]

Array = NDArray[Any]

_OF_SINGLE_COLUMNS = (
    MaxAbsScaler,
    MinMaxScaler,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)


def read_conditions(filler: Any, conditions: Any, n_samples: int | None) -> "Given | None":
    """Return what is given, as :func:`skscore.tabular._given.read_conditions` does."""
    # What reads arrays alone does not load the tables.
    from skscore.tabular import _given

    return _given.read_conditions(filler, conditions, n_samples)


def carry_given(steps: Sequence[tuple[str, Any]], given: "Given") -> Any:
    """Return the rows behind the steps, NaN where a feature is not of a given cell.

    Raises
    ------
    TypeError
        If the features of a step are not each made of one column.
    """
    X, columns = given.rows, np.arange(given.known.shape[1])
    for name, step in active_steps(steps):
        columns = columns[_columns_of(name, step, len(columns))]
        # With copy=False a transform overwrites what it is given.
        X = step.transform(copy.deepcopy(X))
    Z = as_array(X).astype(np.float64)
    return rows_like(X, np.where(given.known[:, columns], Z, np.nan))


def _columns_of(name: str, step: Any, n_columns: int) -> Array:
    """Return the position of the column that each feature is made of."""
    own = getattr(step, "feature_columns_", None)
    if own is not None:
        return np.asarray(own)
    if isinstance(step, Pipeline):
        columns = np.arange(n_columns)
        for inner_name, inner in active_steps(step.steps):
            columns = columns[_columns_of(inner_name, inner, len(columns))]
        return columns
    does_nothing = isinstance(step, FunctionTransformer) and step.func is None
    if not (does_nothing or isinstance(step, _OF_SINGLE_COLUMNS)):
        raise TypeError(
            f"{step_label(name, step)} may mix columns, so that given cells have no place behind "
            "it; leave it out, or give it an attribute feature_columns_ with the position of the "
            "column that each of its features is made of."
        )
    return np.arange(n_columns)
