r"""Filling missing cells by draws from their law given the other cells of their row.

Imputation m of a row is a draw x_mis ~ p(x_mis | x_obs) of a
:class:`~skscore.tabular.TabularGenerator` that learns from incomplete rows. One draw keeps the law
of the table; the mean or the median of several is nearest to the hidden value; their spread says
how sure it is.
Estimates of several completed tables are pooled by Rubin's rules (Rubin, "Multiple imputation for
nonresponse in surveys", 1987).
"""

from collections.abc import Callable
from copy import copy
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin, clone
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from skscore._validation import Array, RandomState, check_n_samples, warn
from skscore.tabular._casts import as_pandas_dtype
from skscore.tabular._cells import as_objects, missing_cells, mixed_as_objects, pandas_or_array
from skscore.tabular._tags import MixedInput
from skscore.tabular.generator import TabularGenerator

__all__ = ["ScoreImputer"]

_LARGE = 1e300


class ScoreImputer(MixedInput, OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Fill missing cells of numbers and categories, given the others.

    Parameters
    ----------
    strategy : {"mean", "median", "draw"}, default="mean"
        What `transform` puts into a missing cell: the mean of ``n_draws`` draws, which is nearest
        to what is hidden in squared error, or their median, which is in absolute error, for labels
        the commonest; or one draw, which keeps the law of the table.
    n_draws : int, default=32
        Draws of a row for the mean or the median. They are spread evenly over the law of the row,
        best where their number is a power of 2, so that their mean is nearer to that of the law
        than that of independent draws.
    generator : TabularGenerator or None, default=None
        What is fitted, as a clone with ``missing="complete"``, and ``initial_noise="independent"``
        since Rubin's rules take imputations to be independent. None is
        ``TabularGenerator(early_stopping="loss")``: trained on until samples are best, draws of a
        cell lie too near to each other.
    random_state : int, RandomState or None, default=None
        Seed of the fit and of the draws. An int gives the same draws at each call.

    Attributes
    ----------
    generator_ : TabularGenerator
        The fitted generator.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their labels, if they are strings.

    Examples
    --------
    >>> import numpy as np
    >>> from skscore.tabular import ScoreImputer, TabularGenerator
    >>> x = np.random.RandomState(0).standard_normal(300)
    >>> X = np.column_stack([x, 2 * x])
    >>> X[:100, 1] = np.nan
    >>> generator = TabularGenerator(max_steps=500, hidden_units=(64, 64))
    >>> imputer = ScoreImputer(generator=generator, random_state=0).fit(X)
    >>> filled = imputer.transform(X)
    >>> bool(np.abs(filled[:, 1] - 2 * x).mean() < 0.5)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "strategy": [StrOptions({"mean", "median", "draw"})],
        "n_draws": [Interval(Integral, 1, None, closed="left")],
        "generator": [TabularGenerator, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        *,
        strategy: str = "mean",
        n_draws: int = 32,
        generator: TabularGenerator | None = None,
        random_state: RandomState = None,
    ) -> None:
        self.strategy = strategy
        self.n_draws = n_draws
        self.generator = generator
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Learn the table from its incomplete rows.

        A column of which no cell is given stays missing, and a warning names it.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            The table, with missing cells or without.
        y : Ignored
            Present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        self : object
            The fitted imputer.

        Raises
        ------
        ValueError
            If a parameter or the table is out of its range; see `TabularGenerator.fit`.
        TypeError
            If X is a frame of another library than pandas.
        """
        self._validate_params()
        pandas_or_array(X)
        if self.generator is None:
            generator = TabularGenerator(early_stopping="loss")
        else:
            generator = clone(self.generator)
        generator.set_params(missing="complete", initial_noise="independent")
        if generator.random_state is None:
            generator.set_params(random_state=self.random_state)
        self.generator_ = generator.fit(X, sample_weight=sample_weight)
        gone = missing_cells(X)
        if sample_weight is not None:
            gone = gone[np.asarray(sample_weight) > 0]
        empty = np.flatnonzero(gone.all(axis=0))
        if empty.size:
            labels = [X.columns[j] if hasattr(X, "columns") else int(j) for j in empty]
            warn(
                f"No cell of the columns {labels} is given, so that they stay missing; leave them "
                "out, or fill them.",
                UserWarning,
            )
        self.n_features_in_ = self.generator_.n_features_in_
        if hasattr(self.generator_, "feature_names_in_"):
            self.feature_names_in_ = self.generator_.feature_names_in_
        return self

    def transform(self, X: Any) -> Any:
        """Fill the missing cells.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Rows, with missing cells in any columns.

        Returns
        -------
        X : DataFrame or ndarray of shape (n_samples, n_features)
            The same with its missing cells filled; the others are as they were.

        Raises
        ------
        ValueError
            If the columns are not those of fit, or a given cell cannot be encoded.
        """
        if self.strategy == "draw":
            return self.sample_imputations(X, 1)[0]
        table, gone = self._read(X)
        rows: Array = np.asarray(gone.any(axis=1))
        if not rows.any():
            return table.copy()
        even = copy(self.generator_).set_params(initial_noise="sobol")
        draws = _draws(even, table, rows, self.n_draws, self.random_state)
        average = np.mean if self.strategy == "mean" else np.median
        numeric = {
            g.column for g in self.generator_.encoder_.feature_groups_ if g.kind == "numeric"
        }
        return _filled(table, gone, rows, _pooled(draws, average, numeric))

    def sample_imputations(self, X: Any, m: int = 5, random_state: RandomState = None) -> list[Any]:
        """Return several tables whose missing cells are filled by independent draws.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Rows, with missing cells in any columns.
        m : int, default=5
            How many.
        random_state : int, RandomState or None, default=None
            Seed; None is that of the imputer.

        Returns
        -------
        tables : list of m DataFrames or ndarrays of shape (n_samples, n_features)

        Raises
        ------
        ValueError
            If the columns are not those of fit, or a given cell cannot be encoded.
        """
        m = check_n_samples(m)
        table, gone = self._read(X)
        rows: Array = np.asarray(gone.any(axis=1))
        if not rows.any():
            return [table.copy() for _ in range(m)]
        seed = self.random_state if random_state is None else random_state
        draws = _draws(self.generator_, table, rows, m, seed)
        return [_filled(table, gone, rows, drawn) for drawn in draws]

    def _read(self, X: Any) -> tuple[Any, Array]:
        """Return the table and which of its cells are missing."""
        check_is_fitted(self)
        if pandas_or_array(X) is None:
            X = mixed_as_objects(X)
            table = validate_data(self, X, reset=False, dtype=None, ensure_all_finite=False)
        else:
            table = X
            self._check_labels(X, self.generator_.encoder_.columns_)
        return table, missing_cells(table)


def _draws(
    generator: TabularGenerator, table: Any, rows: Array, m: int, random_state: RandomState
) -> list[Any]:
    """Return m completions of some rows.

    The draws of a row are successive ones, which a Sobol sequence spreads evenly.
    """
    part = table[rows] if isinstance(table, np.ndarray) else table[rows].reset_index(drop=True)
    index = np.repeat(np.arange(len(part)), m)
    many = part[index] if isinstance(part, np.ndarray) else part.iloc[index]
    drawn = generator.sample(conditions=many, random_state=check_random_state(random_state))
    if isinstance(drawn, np.ndarray):
        return [drawn[k::m] for k in range(m)]
    return [drawn.iloc[k::m].reset_index(drop=True) for k in range(m)]


def _pooled(draws: list[Any], average: Callable[..., Any], numeric: set[Any]) -> Any:
    """Return the average of numbers and dates, and the commonest of labels.

    What encoded columns are says which they are; ``numeric`` are the labels of numbers and dates.
    """
    if isinstance(draws[0], np.ndarray):
        stacked = np.stack(draws)
        columns = [
            _of_cells(stacked[:, :, j], average if j in numeric else None)
            for j in range(stacked.shape[2])
        ]
        return np.stack([column.astype(stacked.dtype) for column in columns], axis=1)
    pooled = draws[0].copy()
    for j, (name, dtype) in enumerate(zip(pooled.columns, pooled.dtypes, strict=True)):
        column = [drawn.iloc[:, j] for drawn in draws]
        is_number = name in numeric and not hasattr(dtype, "categories")
        if is_number and dtype.kind in "iuf":
            cells = np.stack([own.to_numpy(dtype=float) for own in column])
        elif is_number and dtype.kind in "mM":
            cells = np.stack([own.astype("int64").to_numpy() for own in column])
        else:
            cells = np.stack([own.to_numpy(dtype=object) for own in column])
        found = _of_cells(cells, average if is_number else None)
        if is_number and dtype.kind in "iub":
            found = np.rint(found).astype(bool) if dtype.kind == "b" else np.rint(found)
        series = type(pooled.iloc[:, j])(found, index=pooled.index, name=name)
        pooled.isetitem(j, series.astype(dtype))
    return pooled


def _of_cells(cells: Array, average: Callable[..., Any] | None) -> Array:
    """Return the average of the draws of each cell (m, n), or the commonest where there is none."""
    if average is not None and cells.dtype.kind in "miM":
        # Dates that are averaged by their ticks lose none to double precision.
        ticks = cells.astype(np.int64)
        origin = ticks.min(axis=0)
        middle = origin + np.rint(average(ticks - origin, axis=0)).astype(np.int64)
        return middle.astype(cells.dtype)
    if average is not None:
        try:
            numbers = cells.astype(float)
        except (TypeError, ValueError):  # dates as text, or levels in order
            return _of_cells(cells, None)
        # The sum of the largest doubles is infinite.
        unit = max(1.0, np.nanmax(np.abs(numbers), initial=0.0) / _LARGE)
        found: Array = average(numbers / unit, axis=0) * unit
        return found
    return as_objects([_commonest(own.tolist()) for own in cells.T]).astype(cells.dtype)


def _commonest(cells: list[Any]) -> Any:
    """Return the commonest cell, of several the one that comes first."""
    counts: dict[Any, int] = {}
    for cell in cells:
        counts[cell] = counts.get(cell, 0) + 1
    return max(counts, key=counts.__getitem__)


def _filled(table: Any, gone: Array, rows: Array, drawn: Any) -> Any:
    """Return the table with its missing cells taken from the completed rows."""
    if isinstance(table, np.ndarray):
        filled = table.copy()
        filled[gone] = drawn[gone[rows]]
        return filled
    filled = table.copy()
    for j in range(table.shape[1]):
        if gone[:, j].any():
            cells = drawn.iloc[:, j].set_axis(table.index[rows])
            filled.isetitem(j, _with_cells(table.iloc[:, j], cells, gone[:, j], rows))
    return filled


def _with_cells(column: Any, cells: Any, gone: Array, rows: Array) -> Any:
    """Return a column with its missing cells taken from completed rows, which have those of fit.

    A given cell that the dtype of fit does not hold stays as it is, in a column of objects.
    """
    ours, theirs = column.dtype, cells.dtype
    if hasattr(ours, "fill_value"):  # sparse
        dense = cells.sparse.to_dense() if hasattr(theirs, "fill_value") else cells
        return _with_cells(column.sparse.to_dense(), dense, gone, rows).astype(ours)
    is_number = all(isinstance(own, np.dtype) and own.kind in "iuf" for own in (ours, theirs))
    if ours == theirs or is_number:
        made = column.copy() if ours == theirs else column.astype(np.result_type(ours, theirs))
        made[gone] = cells[gone[rows]]
        return made
    made, cells = column.astype(object), cells.astype(object)
    made[gone] = cells[gone[rows]]
    try:
        return as_pandas_dtype(made, theirs, column.name)
    except ValueError:
        return made
