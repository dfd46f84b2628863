"""What :meth:`skscore.tabular.TabularGenerator.sample` is asked for, as rows with given cells."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

from skscore._validation import check_n_samples
from skscore.tabular._cells import read_columns
from skscore.tabular._given import Given, given_cells
from skscore.tabular.encoder import TabularEncoder

__all__ = ["given_rows"]


def given_rows(
    encoder: TabularEncoder,
    n_samples: int | None,
    conditions: Any,
    balance: Hashable | None,
    random_state: np.random.RandomState,
) -> Given | None:
    """Return the given cells of the rows that are to be drawn, or None if there are none."""
    if isinstance(conditions, Mapping) and not conditions:
        conditions = None
    if balance is not None:
        if conditions is not None:
            raise ValueError(
                "balance and conditions were both given; put the levels of balance into a table "
                "of conditions."
            )
        levels = _levels(encoder, balance)
        n = check_n_samples(1 if n_samples is None else n_samples)
        order = random_state.permutation(np.arange(n) % len(levels))
        conditions, n_samples = {balance: [levels[k] for k in order]}, None
    elif conditions is None:
        return None
    elif isinstance(conditions, Mapping):
        n = check_n_samples(1 if n_samples is None else n_samples)
        conditions = {
            label: [_one_value(encoder, label, value)] * n for label, value in conditions.items()
        }
        n_samples = None
    given = given_cells(_filler(encoder), conditions)
    if n_samples is not None and n_samples != len(given):
        raise ValueError(
            f"n_samples={n_samples} was given beside conditions of {len(given)} rows, of which "
            "each is drawn once; leave it out."
        )
    return given


def _filler(encoder: TabularEncoder) -> Any:
    """Return one row like those of fit."""
    return encoder.inverse_transform(np.zeros((1, encoder.n_features_out_)))


def _one_value(encoder: TabularEncoder, label: Hashable, value: Any) -> Any:
    """Return the value of a dict, if it is no collection."""
    is_several = isinstance(value, list | set | range | Mapping) or getattr(value, "shape", None)
    if isinstance(value, tuple):
        # In a column of tuples they are levels.
        columns, _ = read_columns(_filler(encoder))
        is_several = not any(c.name == label and isinstance(c.values[0], tuple) for c in columns)
    if is_several:
        raise ValueError(
            f"conditions have several values ({type(value).__name__}) in the column {label!r}; a "
            "dict holds one value for each column, the same in all rows, and a data frame or an "
            "array holds several rows."
        )
    return value.item() if isinstance(value, np.ndarray) else value


def _levels(encoder: TabularEncoder, label: Hashable) -> list[Any]:
    """Return the levels of a column, without missing."""
    groups = [g for g in encoder.feature_groups_ if g.column == label and g.kind == "categorical"]
    if not groups or groups[0].codebook is None:
        raise ValueError(
            f"balance={label!r} is no categorical column with several levels; name one that is."
        )
    group, codebook = groups[0], groups[0].codebook
    z = np.zeros((len(codebook), encoder.n_features_out_))
    z[:, group.start : group.stop] = codebook
    columns, _ = read_columns(encoder.inverse_transform(z))
    column = columns[encoder.columns_.index(label)]
    return list(column.values[~column.missing])
