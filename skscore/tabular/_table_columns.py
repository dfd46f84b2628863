r"""Tables with mixed columns, read for comparison: numbers here, codes of levels there.

The distance of two rows is Gower's, summed over columns and not averaged,

    d(a, b) = Σ_numeric (|u_a - u_b| + ½ |m_a - m_b|) + Σ_categorical 1[a ≠ b]
    u = (x - min)/(max - min) over the training rows, their mean if missing;  m = 1 if missing

so that the whole range of a numeric column counts as much as a change of level, which is the L1
distance of one-hot columns halved. A missing cell of a categorical column is a level of its own.

Source: Gower, "A general coefficient of similarity and some of its properties", Biometrics 1971;
summed, and with halved one-hot columns, in Jolicoeur-Martineau et al., "Generating and imputing
tabular data via diffusion and flow-based gradient-boosted trees", AISTATS 2024.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from skscore.tabular._cells import frame_kind, read_columns

__all__ = ["Columns", "Gower", "Table", "encode", "read_tables", "scale"]

Array = NDArray[Any]

_MICROSECONDS = 1e6


@dataclass(frozen=True, eq=False)
class Columns:
    """What the columns of the tables are.

    Parameters
    ----------
    names : list of length k
        Labels, in the order of the training table.
    kinds : list of str of length k
        "numeric", "datetime" or "categorical".
    levels : dict
        Of each categorical column, the levels that any of the tables has, those that are frequent
        among the training rows first.
    """

    names: list[Any]
    kinds: list[str]
    levels: dict[Any, list[Any]]

    @property
    def is_number(self) -> Array:
        """Which columns are numbers, dates among them, (k,)."""
        return np.array([kind != "categorical" for kind in self.kinds])

    @property
    def place(self) -> Array:
        """Where each column is among the numbers or among the codes, (k,)."""
        number = self.is_number
        return np.where(number, np.cumsum(number), np.cumsum(~number)) - 1


@dataclass(frozen=True, eq=False)
class Table:
    """The cells of one table.

    Parameters
    ----------
    numbers : ndarray of shape (n, p)
        Numeric columns; dates in seconds from 1970, UTC. NaN is missing.
    codes : ndarray of shape (n, q)
        Places of the levels of categorical columns; -1 is missing.
    """

    numbers: Array
    codes: Array

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, rows: Array) -> "Table":
        """Return some of the rows."""
        return Table(self.numbers[rows], self.codes[rows])

    def column(self, columns: Columns, j: int) -> Array:
        """Return the numbers or the codes of column j, (n,)."""
        cells = self.numbers if columns.is_number[j] else self.codes
        column: Array = cells[:, columns.place[j]]
        return column

    def missing(self, columns: Columns) -> Array:
        """Return the share of missing cells of each column, (k,)."""
        shares = (np.isnan(self.numbers).mean(axis=0), (self.codes < 0).mean(axis=0))
        return np.array(
            [
                shares[0 if number else 1][place]
                for number, place in zip(columns.is_number, columns.place, strict=True)
            ]
        )


def read_tables(tables: dict[str, Any]) -> tuple[Columns, dict[str, Table]]:
    """Read tables of the same columns; the first, the training table, sets their order.

    Parameters
    ----------
    tables : dict of str to DataFrame or array-like of shape (n, k)
        Their names are used in messages.

    Returns
    -------
    columns : Columns
    read : dict of str to Table

    Raises
    ------
    ValueError
        If the columns repeat or differ, a column is a number in one table and a category in
        another, a number is infinite, or a table has fewer than 2 rows or no column.
    ImportError
        If pandas is not installed.
    """
    frames = {name: _frame(table, name) for name, table in tables.items()}
    first = next(iter(frames))
    names = list(frames[first].columns)
    for name, frame in frames.items():
        _check_columns(frame, name, names, first)
    kinds = [_common_kind({n: f[label] for n, f in frames.items()}, label) for label in names]
    numbers: dict[str, list[Array]] = {name: [] for name in frames}
    codes: dict[str, list[Array]] = {name: [] for name in frames}
    levels = {}
    for label, kind in zip(names, kinds, strict=True):
        cells = {name: frame[label] for name, frame in frames.items()}
        if kind == "categorical":
            coded, levels[label] = _codes(cells, label)
            for name in frames:
                codes[name].append(coded[name])
        else:
            for name in frames:
                numbers[name].append(_numbers(cells[name], name, label))
    read = {
        name: Table(
            np.array(numbers[name], dtype=np.float64).reshape(-1, len(frame)).T,
            np.array(codes[name], dtype=np.int64).reshape(-1, len(frame)).T,
        )
        for name, frame in frames.items()
    }
    return Columns(names, kinds, levels), read


def _frame(table: Any, name: str) -> Any:
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError("Tables need pandas; install it, or skscore[tabular].") from error
    if frame_kind(table) == "polars":
        # Made column by column: what converts whole frames needs another package.
        columns, _ = read_columns(table)
        table = pd.DataFrame({c.name: pd.Series(c.values).mask(c.missing) for c in columns})
    if not isinstance(table, pd.DataFrame):
        array = np.asarray(table)
        if array.ndim != 2:
            raise ValueError(
                f"{name} has {array.ndim} dimension(s); give a data frame or an array of shape "
                "(n_rows, n_columns)."
            )
        table = pd.DataFrame(array).infer_objects()
    if len(table) < 2 or table.shape[1] == 0:
        raise ValueError(
            f"{name} has {len(table)} row(s) and {table.shape[1]} column(s); a table to compare "
            "has 2 rows or more, and a column."
        )
    return table


def _check_columns(frame: Any, name: str, names: list[Any], first: str) -> None:
    if any(isinstance(label, float) and label != label for label in frame.columns):
        raise ValueError(f"{name} has a column with the label NaN; give it another.")
    repeated = list(frame.columns[frame.columns.duplicated()].unique())
    if repeated:
        raise ValueError(f"{name} has more than one column of the name {repeated}; rename them.")
    absent = [label for label in names if label not in frame.columns]
    added = [label for label in frame.columns if label not in names]
    if absent or added:
        differences = [f"has no {absent}"] * bool(absent) + [f"has {added}"] * bool(added)
        raise ValueError(
            f"{name} {' and '.join(differences)}, unlike {first}; give tables of the same columns."
        )


def _kind(cells: Any) -> str | None:
    import pandas as pd

    types = pd.api.types
    if cells.isna().all():
        return None
    if isinstance(cells.dtype, pd.CategoricalDtype) or types.is_bool_dtype(cells.dtype):
        return "categorical"
    if types.is_datetime64_any_dtype(cells.dtype):
        return "datetime"
    if types.is_timedelta64_dtype(cells.dtype) or types.is_numeric_dtype(cells.dtype):
        return "numeric"
    return "categorical"


def _common_kind(cells: dict[str, Any], label: Any) -> str:
    """Return the one kind of a column, whatever a table has nothing of it being of no kind."""
    kinds = {name: kind for name, column in cells.items() if (kind := _kind(column)) is not None}
    if len(set(kinds.values())) > 1:
        found = ", ".join(f"{kind} in {name} ({cells[name].dtype})" for name, kind in kinds.items())
        raise ValueError(f"Column {label!r} is {found}; give it the same dtype in each.")
    return next(iter(kinds.values()), "categorical")


def _numbers(cells: Any, name: str, label: Any) -> Array:
    import pandas as pd

    if cells.isna().all():
        return np.full(len(cells), np.nan)
    if isinstance(cells.dtype, pd.DatetimeTZDtype):
        cells = cells.dt.tz_convert("UTC").dt.tz_localize(None)
    if cells.dtype.kind in "mM":
        ticks = cells.to_numpy().astype(f"{cells.dtype.kind}8[us]")
        return np.where(np.isnat(ticks), np.nan, ticks.astype(np.int64) / _MICROSECONDS)
    numbers: Array = cells.to_numpy(dtype=np.float64, na_value=np.nan)
    infinite = np.isinf(numbers)
    if infinite.any():
        raise ValueError(
            f"Column {label!r} of {name} has {infinite.sum()} infinite cell(s), the first of them "
            f"in row {infinite.argmax()}; there is no distance to them. Clip them, or leave them "
            "out."
        )
    return numbers


def _codes(cells: dict[str, Any], label: Any) -> tuple[dict[str, Array], list[Any]]:
    import pandas as pd

    stacked = np.concatenate([column.astype(object).to_numpy() for column in cells.values()])
    try:
        codes, levels = pd.factorize(stacked)
    except TypeError as error:
        raise ValueError(
            f"Column {label!r} has cells that cannot be levels ({error}); give strings or numbers."
        ) from error
    parts = np.split(codes, np.cumsum([len(column) for column in cells.values()])[:-1])
    counts = np.bincount(parts[0][parts[0] >= 0], minlength=len(levels))
    order = np.argsort(-counts, kind="stable")
    rank = np.append(np.argsort(order), -1)  # the code -1 stays -1
    return {name: rank[part] for name, part in zip(cells, parts, strict=True)}, list(levels[order])


@dataclass(frozen=True)
class Gower:
    """Gower's distance, summed over columns, of all pairs of encoded rows.

    Parameters
    ----------
    n_numbers : int
        How many of the columns, the first, are numbers; the others are codes.

    Examples
    --------
    >>> Gower(1)(np.array([[0.0, 3.0]]), np.array([[0.5, 3.0], [0.5, 4.0]]))
    array([[0.5, 1.5]])
    """

    n_numbers: int

    def __call__(self, A: Array, B: Array) -> Array:
        """Return the distances of the rows of A, (n, d), to those of B, (m, d), as (n, m)."""
        p, q = self.n_numbers, A.shape[1] - self.n_numbers
        distances: Array = cdist(A[:, :p], B[:, :p], "cityblock")
        if q:
            distances += q * cdist(A[:, p:], B[:, p:], "hamming")
        return distances


def scale(table: Table, train: Table) -> Table:
    """Return the table with numbers such that those of the training rows span [0, 1]."""
    low, width = np.zeros(train.numbers.shape[1]), np.ones(train.numbers.shape[1])
    for j, cells in enumerate(train.numbers.T):
        present = cells[~np.isnan(cells)]
        if len(present):
            low[j] = present.min()
            width[j] = np.ptp(present) or 1
    return Table((table.numbers - low) / width, table.codes)


def encode(tables: dict[str, Table], train: Table) -> tuple[dict[str, Array], Gower]:
    """Return tables as arrays without missing cells, and the distance of their rows.

    Parameters
    ----------
    tables : dict of str to Table
        What to encode.
    train : Table
        Whose ranges and means are taken.

    Returns
    -------
    encoded : dict of str to ndarray of shape (n, d)
        Scaled numbers; ½ where one is missing, for the columns in which any is; codes.
    metric : Gower
    """
    incomplete = np.isnan(np.vstack([t.numbers for t in (train, *tables.values())])).any(axis=0)
    known = scale(train, train).numbers
    mean = np.array([c[~np.isnan(c)].mean() if not np.isnan(c).all() else 0.0 for c in known.T])

    def one(table: Table) -> Array:
        scaled = scale(table, train).numbers
        missing = np.isnan(scaled)
        filled = np.where(missing, mean, scaled)
        return np.hstack([filled, 0.5 * missing[:, incomplete], table.codes])

    encoded = {name: one(table) for name, table in tables.items()}
    return encoded, Gower(len(mean) + int(incomplete.sum()))
