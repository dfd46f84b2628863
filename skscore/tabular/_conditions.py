"""What :meth:`skscore.tabular.TabularGenerator.sample` is asked for, as rows with given cells."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

from skscore._validation import check_n_samples
from skscore.tabular._cells import frame_kind, read_columns
from skscore.tabular._given import Given, given_cells, read_conditions
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
    n = None if n_samples is None else check_n_samples(n_samples)
    nothing = conditions is None or (isinstance(conditions, Mapping) and not conditions)
    if balance is None:
        return None if nothing else read_conditions(_filler(encoder), conditions, n)
    if not nothing:
        raise ValueError(
            "balance and conditions were both given; put the levels of balance into a table of "
            "conditions."
        )
    levels = _levels(encoder, balance)
    order = random_state.permutation(np.arange(n or 1) % len(levels))
    return given_cells(_filler(encoder), {balance: [levels[k] for k in order]})


def _filler(encoder: TabularEncoder) -> Any:
    """Return one row like those of fit."""
    return encoder.inverse_transform(np.zeros((1, encoder.n_features_out_)))


def _levels(encoder: TabularEncoder, label: Hashable) -> list[Any]:
    """Return the levels of a column, without missing."""
    groups = [g for g in encoder.feature_groups_ if g.column == label and g.kind == "categorical"]
    if not groups or groups[0].codebook is None:
        raise ValueError(
            f"balance={label!r} is no categorical column with several levels; name one that is "
            "(an ordered category counts as a number, but for those named in categorical=)."
        )
    group, codebook = groups[0], groups[0].codebook
    z = np.zeros((len(codebook), encoder.n_features_out_))
    z[:, group.start : group.stop] = codebook
    rows, j = encoder.inverse_transform(z), encoder.columns_.index(label)
    column = read_columns(rows)[0][j]
    # In a frame of pandas dates have their time zone.
    cells = rows.iloc[:, j].to_numpy(object) if frame_kind(rows) == "pandas" else column.values
    return list(cells[~column.missing])
