"""The container that ``fit`` saw, so that samples come back in the same one.

A model works on floats. What the user gave was an array or a data frame, with integers, booleans,
categories, dates; a `Container` remembers which, and no row of it. pandas and polars are imported
only where such a data frame has been seen.
"""

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import issparse

from skscore._polars import is_polars, narwhals, series_of

__all__ = ["Container", "as_array", "rows_like"]


@dataclass(frozen=True, eq=False)
class Container:
    """What is needed to give rows back in the container they came in.

    Make one with ``Container.of(X)``.

    Parameters
    ----------
    columns : pandas.Index, tuple of str or None
        The column labels of a data frame, a tuple for polars; None for an array.
    dtypes : tuple of dtypes
        One for each column; those of narwhals for polars.

    Examples
    --------
    >>> X = np.array([[1, 2], [3, 4]], dtype=np.int16)
    >>> Container.of(X).wrap(np.array([[0.2, 1.7]]))
    array([[0, 2]], dtype=int16)
    """

    columns: Any
    dtypes: tuple[Any, ...]

    @classmethod
    def of(cls, X: Any) -> "Container":
        """Record the container of X.

        Parameters
        ----------
        X : DataFrame, ndarray, sparse matrix or array-like of shape (n_samples, n_features)
            Anything but a data frame of pandas or polars is taken for an array, a list as NumPy
            reads it: integers alone are integers.

        Returns
        -------
        container : Container

        Raises
        ------
        ValueError
            If X does not have two dimensions.
        ImportError
            If X is a polars frame and narwhals is not installed.
        """
        if _is_pandas(X):
            return cls(X.columns, tuple(X.dtypes))
        if is_polars(X):
            schema = narwhals().from_native(X, eager_only=True).schema
            return cls(tuple(schema.names()), tuple(schema.dtypes()))
        X = X if issparse(X) else np.asarray(X)
        if X.ndim != 2:
            raise ValueError(f"X has {X.ndim} dimensions; give a table (n_samples, n_features).")
        return cls(None, (X.dtype,) * X.shape[1])

    def wrap(self, values: Any) -> Any:
        """Give values the container, columns and dtypes that were recorded.

        Integers are the nearest ones that their dtype holds, booleans what lies above ½,
        categories the same label or, where they are numbers, the nearest; a number in a column of
        dates counts that column's unit from 1970. Missing values stay missing.

        Parameters
        ----------
        values : ndarray or DataFrame of shape (n_samples, n_features)
            The columns in the recorded order.

        Returns
        -------
        X : ndarray or DataFrame of shape (n_samples, n_features)
            A pandas data frame gets a fresh RangeIndex.

        Raises
        ------
        ValueError
            If the number of columns differs, a missing value meets a dtype that cannot hold one,
            or a label is not among the categories.
        """
        values = values if _is_pandas(values) or is_polars(values) else np.asarray(values)
        if len(values.shape) != 2 or values.shape[1] != len(self.dtypes):
            raise ValueError(
                f"values of shape {values.shape} do not fit the {len(self.dtypes)} columns seen "
                "in fit."
            )
        if self.columns is None:
            return _restore_array(np.asarray(values), self.dtypes[0], "X")
        if isinstance(self.columns, tuple):
            made = {
                name: _restore_series(_cells_of(values, j), name, dtype)
                for j, (name, dtype) in enumerate(zip(self.columns, self.dtypes, strict=True))
            }
            return narwhals().from_dict(made).to_native()
        if is_polars(values):
            values = np.asarray(values)
        import pandas as pd

        # Keyed by position: labels may repeat.
        columns = {
            j: _restore_column(
                values.iloc[:, j].reset_index(drop=True)
                if _is_pandas(values)
                else pd.Series(values[:, j]),
                dtype,
                f"column {self.columns[j]!r}",
            )
            for j, dtype in enumerate(self.dtypes)
        }
        frame = pd.DataFrame(columns, index=pd.RangeIndex(len(values)))
        frame.columns = self.columns
        return frame


def as_array(values: Any) -> np.ndarray:
    """Return an array of what may be a tensor, which is known by its method: no torch here."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def rows_like(X: Any, values: np.ndarray) -> Any:
    """Return an array of numbers with the column names of X, where it is a data frame."""
    if is_polars(X):
        return type(X)(values, schema=X.columns)
    return type(X)(values, columns=X.columns) if _is_pandas(X) else values


def _is_pandas(X: Any) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(X, pandas.DataFrame)


def _nearest_integers(values: np.ndarray, dtype: Any) -> np.ndarray:
    """Round and clip floats to integers that dtype holds, still as floats, NaN kept."""
    info = np.iinfo(dtype)
    highest = float(info.max)
    if highest > info.max:  # 2⁶³ - 1 is no double; its upper neighbour would overflow
        highest = float(np.nextafter(highest, 0))
    return np.clip(np.rint(values), info.min, highest)


def _refuse_missing(missing: np.ndarray, dtype: Any, where: str) -> None:
    if missing.any():
        raise ValueError(
            f"{where} has dtype {dtype}, which cannot hold the missing values that came back; fit "
            "on a float or a nullable dtype, or impute them."
        )


def _restore_array(values: np.ndarray, dtype: np.dtype, where: str) -> np.ndarray:
    """Give an array of any shape the NumPy dtype."""
    if values.dtype == dtype:
        return values
    if dtype.kind in "biu":
        values = values.astype(np.float64)
        _refuse_missing(np.isnan(values), dtype, where)
        return values > 0.5 if dtype.kind == "b" else _nearest_integers(values, dtype).astype(dtype)
    if dtype.kind in "Mm" and values.dtype.kind in "iuf":
        ticks = np.where(np.isnan(values), np.iinfo(np.int64).min, np.rint(values))  # NaT
        return ticks.astype(np.int64).astype(dtype)
    return values.astype(dtype)


def _restore_column(values: Any, dtype: Any, where: str) -> Any:
    """Give a Series the dtype, NumPy's or pandas's own."""
    import pandas as pd

    if values.dtype == dtype:
        return values
    if isinstance(dtype, pd.CategoricalDtype):
        return _restore_categories(values, dtype, where)
    if isinstance(dtype, pd.DatetimeTZDtype) and values.dtype.kind in "iuf":
        ticks = _restore_array(values.to_numpy(), np.dtype(f"M8[{dtype.unit}]"), where)
        return pd.Series(ticks).dt.tz_localize("UTC").astype(dtype)
    if pd.api.types.is_bool_dtype(dtype) or pd.api.types.is_integer_dtype(dtype):
        numbers = values.astype("Float64").to_numpy(np.float64, na_value=np.nan)
        if isinstance(dtype, np.dtype):
            return pd.Series(_restore_array(numbers, dtype, where))
        if pd.api.types.is_bool_dtype(dtype):
            restored = pd.Series(numbers > 0.5).astype("boolean").mask(np.isnan(numbers))
            return restored.astype(dtype)
        return pd.Series(_nearest_integers(numbers, dtype.numpy_dtype)).astype(dtype)
    if isinstance(dtype, np.dtype) and values.dtype.kind in "iuf":
        return pd.Series(_restore_array(values.to_numpy(), dtype, where))
    return values.astype(dtype)


def _cells_of(values: Any, j: int) -> Any:
    """Return a column, as a narwhals series of a polars frame, else as an array."""
    if is_polars(values):
        return narwhals().from_native(values[:, j], series_only=True)
    return values.iloc[:, j].to_numpy() if _is_pandas(values) else values[:, j]


def _restore_series(cells: Any, name: str, dtype: Any) -> Any:
    """Return a narwhals series of a dtype of polars, where any cell may be missing."""
    nw = narwhals()
    if not isinstance(cells, np.ndarray):
        if cells.dtype == dtype:
            return cells.alias(name)
        if not cells.dtype.is_numeric():
            return cells.alias(name).cast(dtype)
        cells = cells.cast(nw.Float64).to_numpy()
    absent = [cell is None for cell in cells]
    if cells.dtype.kind not in "biuf":
        numbers = dtype.is_numeric() or dtype == nw.Boolean or dtype.is_temporal()
        if numbers and all(isinstance(cell, float | int | np.number | None) for cell in cells):
            cells = cells.astype(np.float64)
        else:
            return _labels(cells.tolist(), name, dtype)
    x = cells.astype(np.float64)
    missing = np.isnan(x)
    if dtype.is_float() or dtype.is_decimal():
        listed = [None if gone else cell for cell, gone in zip(x.tolist(), absent, strict=True)]
        return series_of(name, listed, nw.Float64).cast(dtype)
    if dtype == nw.Boolean:
        found, first = x > 0.5, nw.Boolean
    elif dtype.is_integer():
        info = np.dtype(str(dtype).lower())
        found, first = _nearest_integers(np.where(missing, 0, x), info).astype(info), dtype
    elif dtype.is_temporal():
        found, first = np.rint(np.where(missing, 0, x)).astype(np.int64), nw.Int64
    else:
        return _labels(cells.tolist(), name, dtype)
    pairs = zip(found.tolist(), missing, strict=True)
    listed = [None if gone else cell for cell, gone in pairs]
    return series_of(name, listed, first).cast(dtype)


def _labels(cells: list[Any], name: str, dtype: Any) -> Any:
    """Return a series of labels or of what else polars reads from objects; NaN is missing."""
    cells = [None if cell != cell else cell for cell in cells]
    if dtype == narwhals().Enum:
        unknown = [cell for cell in cells if cell is not None and cell not in dtype.categories]
        if unknown:
            raise ValueError(
                f"column {name!r} came back with {unknown[0]!r}, which is not among its "
                f"{len(dtype.categories)} categories; encode it with a transformer whose "
                "inverse_transform gives the labels back."
            )
    return series_of(name, cells, dtype)


def _restore_categories(values: Any, dtype: Any, where: str) -> Any:
    import pandas as pd

    codes = dtype.categories.get_indexer(values)
    unknown = (codes == -1) & values.notna().to_numpy()
    if unknown.any():
        if not pd.api.types.is_numeric_dtype(dtype.categories):
            raise ValueError(
                f"{where} came back with {values[unknown].iloc[0]!r}, which is not among its "
                f"{len(dtype.categories)} categories; encode it with a transformer whose "
                "inverse_transform gives the labels back."
            )
        numbers = values[unknown].to_numpy(np.float64)
        distance = np.abs(numbers[:, None] - dtype.categories.to_numpy(np.float64))
        codes[unknown] = distance.argmin(1)
    return pd.Series(pd.Categorical.from_codes(codes, dtype=dtype))
