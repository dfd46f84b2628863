"""Rows of which some cells are given, for :meth:`skscore.tabular.TabularGenerator.sample`.

An encoder takes whole rows alone. So cells that are to be drawn are filled with those of a row that
the encoder decodes from zeros, and which of them were given is kept beside.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from skscore._validation import Array, check_n_samples
from skscore.tabular._cells import frame_kind, read_columns
from skscore.tabular.encoder import TabularEncoder

__all__ = ["Given", "given_rows", "missing_cells"]


@dataclass(frozen=True, eq=False)
class Given:
    """Rows of which some cells are given.

    Attributes
    ----------
    rows : DataFrame or ndarray of shape (n, n_columns)
        The given cells, the others filled with anything.
    known : ndarray of bool of shape (n, n_columns)
        Which are given.
    """

    rows: Any
    known: Array

    def __len__(self) -> int:
        return len(self.known)

    def part(self, index: Array) -> "Given":
        """Return some of the rows."""
        rows = self.rows[index] if frame_kind(self.rows) is None else self.rows.iloc[index]
        return Given(rows, self.known[index])

    def put_back(self, drawn: Any) -> Any:
        """Return drawn rows with the given cells as they are."""
        if frame_kind(drawn) is None:
            return np.where(self.known, self.rows, drawn)
        merged = {
            j: drawn.iloc[:, j]
            .where(~self.known[:, j], self.rows.iloc[:, j].set_axis(drawn.index))
            .astype(dtype)
            for j, dtype in enumerate(drawn.dtypes)
        }
        frame = type(drawn)(merged, index=drawn.index)
        frame.columns = drawn.columns
        return frame


def given_rows(
    encoder: TabularEncoder,
    n_samples: int | None,
    conditions: Any,
    balance: Hashable | None,
    random_state: np.random.RandomState,
) -> Given | None:
    """Return the given cells of the rows that are to be drawn, or None if there are none."""
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
        conditions = {label: [value] * n for label, value in conditions.items()}
        n_samples = None
    filler = encoder.inverse_transform(np.zeros((1, encoder.n_features_out_)))
    kind = frame_kind(filler)
    if kind not in (None, "pandas"):
        raise TypeError(
            f"Conditions of a {kind} frame are not supported; fit on a pandas data frame, and give "
            "conditions as one."
        )
    given = _of_frame(filler, conditions) if kind == "pandas" else _of_array(filler, conditions)
    if n_samples is not None and n_samples != len(given):
        raise ValueError(
            f"n_samples={n_samples} was given beside conditions of {len(given)} rows, of which "
            "each is drawn once; leave it out."
        )
    return given


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


def _of_frame(filler: Any, conditions: Any) -> Given:
    import pandas as pd

    if isinstance(conditions, Mapping):
        conditions = pd.DataFrame(conditions)
    elif frame_kind(conditions) != "pandas":
        raise TypeError(
            f"The generator was fitted on a data frame, and conditions are a "
            f"{type(conditions).__name__}; give a pandas data frame or a dict."
        )
    unknown = [label for label in conditions.columns if label not in filler.columns]
    if unknown or not conditions.columns.is_unique:
        raise ValueError(
            f"conditions have the columns {list(conditions.columns)}, of which {unknown} are not "
            "those of fit, or one comes twice."
        )
    columns, known = {}, np.zeros((len(conditions), filler.shape[1]), dtype=bool)
    for j, label in enumerate(filler.columns):
        cells = filler.iloc[[0] * len(conditions), j].reset_index(drop=True)
        if label in conditions.columns:
            column = conditions[label].reset_index(drop=True)
            known[:, j] = column.notna()
            cells = column.where(known[:, j], cells) if known[:, j].any() else cells
            cells = _as_dtype(cells, filler.dtypes.iloc[j], label)
        columns[j] = cells
    frame = pd.DataFrame(columns)
    frame.columns = filler.columns
    return Given(frame, known)


def _as_dtype(cells: Any, dtype: Any, label: Hashable) -> Any:
    """Return cells in the dtype of fit, if that changes none of them."""
    cells = cells.astype(object)
    categories = getattr(dtype, "categories", None)
    if categories is not None:
        unknown = set(cells.dropna()) - set(categories)
        if unknown:
            raise ValueError(
                f"conditions have {sorted(map(str, unknown))} in the column {label!r}, whose "
                f"categories are {list(categories)}."
            )
    cast = cells.astype(dtype)
    gone = cells.isna()
    if not (cast[~gone].astype(object) == cells[~gone]).all():
        raise ValueError(
            f"conditions have values in the column {label!r} that its dtype {dtype} does not hold."
        )
    return cast


def _of_array(filler: Array, conditions: Any) -> Given:
    n_columns = filler.shape[1]
    if isinstance(conditions, Mapping):
        n_rows = len(next(iter(conditions.values())))
        table = np.full((n_rows, n_columns), None, dtype=object)
        for column, cells in conditions.items():
            table[:, column] = cells
        conditions = table
    conditions = np.asarray(conditions)
    if conditions.ndim != 2 or conditions.shape[1] != n_columns:
        raise ValueError(
            f"conditions have the shape {conditions.shape}, and fit had {n_columns} columns; give "
            "all of them, missing where a cell is to be drawn."
        )
    known = ~missing_cells(conditions)
    rows = np.where(known, conditions, filler).astype(filler.dtype)
    return Given(rows, known)


def missing_cells(X: Any) -> Array:
    """Return which cells (n, n_columns) of a table are missing."""
    columns, _ = read_columns(np.asarray(X) if frame_kind(X) is None else X)
    return np.stack([column.missing for column in columns], axis=1)
