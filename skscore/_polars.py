"""Polars data frames, read and made through narwhals, which is imported where one is seen.

Neither package has to be there. A frame can only be one of polars if polars has been imported.
"""

import sys
from typing import Any

__all__ = ["is_polars", "narwhals", "series_of"]


def is_polars(X: Any) -> bool:
    """Return whether X is a polars data frame.

    Raises
    ------
    TypeError
        If it is a lazy one.
    """
    polars = sys.modules.get("polars")
    if polars is None:
        return False
    if isinstance(X, polars.LazyFrame):
        raise TypeError("X is a polars LazyFrame; give X.collect().")
    return isinstance(X, polars.DataFrame)


def narwhals() -> Any:
    """Return the module narwhals.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    try:
        import narwhals
    except ImportError as error:
        raise ImportError(
            "A polars data frame is read through narwhals, which is not installed; install it with "
            "pip install 'skscore[polars]', or give X.to_pandas()."
        ) from error
    return narwhals


def series_of(name: str, cells: Any, dtype: Any = None) -> Any:
    """Return a narwhals series of polars, of a list of cells."""
    return narwhals().new_series(name, cells, dtype, backend="polars")
