"""A container like that of fit: a pandas or polars data frame, or an array, made of columns.

Cells come as NumPy arrays with a mask of the missing ones, as :mod:`skscore.tabular._cells` reads
them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skscore._polars import narwhals, series_of

__all__ = ["Layout", "polars_ticks"]

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Layout:
    """The container, column labels and dtypes of a table, and no row of it.

    Attributes
    ----------
    container : {"pandas", "polars", "array"}
        What it was.
    names : sequence of hashables
        Column labels, an Index for pandas.
    dtypes : tuple of dtypes
        One for each column.
    """

    container: str
    names: Any
    dtypes: tuple[Any, ...]

    def assemble(self, cells: Sequence[tuple[Array, Array, Any]], index: Any = None) -> Any:
        """Make a table of columns.

        Parameters
        ----------
        cells : sequence of (values, missing, marker)
            For each column its values, which of them are missing, and what stands for those in a
            column of objects.
        index : pandas.Index or None, default=None
            Row labels; None counts from 0.

        Returns
        -------
        table : DataFrame or ndarray
        """
        parts = list(zip(cells, self.dtypes, strict=True))
        if self.container == "array":
            columns = [_to_numpy(*cell, dtype) for cell, dtype in parts]
            table = np.empty((len(columns[0]), len(columns)), dtype=self.dtypes[0])
            for j, column in enumerate(columns):
                table[:, j] = column
            return table
        if self.container == "polars":
            nw = narwhals()
            made = {
                name: _to_polars(name, *cell, dtype)
                for name, (cell, dtype) in zip(self.names, parts, strict=True)
            }
            return nw.from_dict(made).to_native()
        import pandas as pd

        rows = pd.RangeIndex(len(cells[0][0])) if index is None else index
        # Keyed by position: a label may be anything.
        series = {
            j: _to_pandas(*cell, dtype).set_axis(rows) for j, (cell, dtype) in enumerate(parts)
        }
        frame = pd.DataFrame(series, index=rows)
        frame.columns = self.names
        return frame


def polars_ticks(dtype: Any) -> np.dtype:
    """Return the NumPy dtype that counts the same ticks as dates, times and durations do."""
    nw = narwhals()
    if dtype == nw.Date:
        return np.dtype("M8[D]")
    code = "M8" if dtype == nw.Datetime else "m8"
    return np.dtype(f"{code}[{getattr(dtype, 'time_unit', 'ns')}]")


def _to_numpy(values: Array, missing: Array, marker: Any, dtype: np.dtype) -> Array:
    """Return the cells in a NumPy dtype."""
    if dtype.kind == "O":
        made = values.astype(object)
        made[missing] = marker
        return made
    if values.dtype == object:
        blank = np.datetime64("NaT") if dtype.kind == "M" else np.timedelta64("NaT")
        fill = {"f": np.nan, "M": blank, "m": blank}.get(dtype.kind)
        return np.array(
            [fill if gone else cell for cell, gone in zip(values, missing, strict=True)],
            dtype=dtype,
        )
    made = values.astype(dtype)
    if dtype.kind == "f":
        made[missing] = np.nan
    elif dtype.kind in "mM":
        made[missing] = np.array("NaT", dtype=dtype)
    return made


def _to_pandas(values: Array, missing: Array, marker: Any, dtype: Any) -> Any:
    import pandas as pd

    if isinstance(dtype, np.dtype):
        return pd.Series(_to_numpy(values, missing, marker, dtype), dtype=dtype)
    if isinstance(dtype, pd.SparseDtype):
        return pd.Series(_to_numpy(values, missing, marker, dtype.subtype)).astype(dtype)
    if isinstance(dtype, pd.DatetimeTZDtype):
        ticks: Any = _to_numpy(values, missing, marker, np.dtype(f"M8[{dtype.unit}]"))
        return pd.Series(ticks).dt.tz_localize("UTC").astype(dtype)
    if values.dtype != object:
        return pd.Series(values).astype(dtype).mask(missing)
    cells = [None if gone else cell for cell, gone in zip(values, missing, strict=True)]
    if isinstance(dtype, pd.CategoricalDtype):
        return pd.Series(pd.Categorical(cells, dtype=dtype))
    return pd.Series(pd.array(cells, dtype=dtype))


def _to_polars(name: str, values: Array, missing: Array, marker: Any, dtype: Any) -> Any:
    nw = narwhals()
    if values.dtype == object and dtype.is_temporal():
        values = _to_numpy(values, missing, marker, polars_ticks(dtype))
    ticks = values.dtype.kind in "mM"
    cells = (values.view(np.int64) if ticks else values).tolist()
    for i in np.flatnonzero(missing):
        cells[i] = marker
    made = {"i": nw.Int64, "m": nw.Int64, "M": nw.Int64, "u": nw.UInt64, "f": nw.Float64}
    first = made.get(values.dtype.kind, dtype)
    return series_of(name, cells, first).cast(dtype)
