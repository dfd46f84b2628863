r"""Tables of numbers, categories, dates and missing cells as floats, with an exact inverse.

Each column is encoded on its own, by what is known of its marginal alone:

    numbers, ordered categories, dates    z = Φ⁻¹(u),  u = F(x-) + V (F(x) - F(x-)),  V ~ U(0, 1)
    other categories, booleans            the code of the level: one-hot, or short above 16 levels
    missing cells                         a level of their own, or a marker beside z

The first is the randomised probability integral transform (Rüschendorf, "On the distributional
transform, Sklar's theorem, and the empirical copula process", J. Stat. Plan. Inference 2009). Its z
is N(0, 1) whatever the column: zeros, caps, steps of rounding and bounds are all in F, and come
back by F⁻¹ as often as they were. What is left for a model is how the columns go together.
"""

from collections.abc import Iterator
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import check_array, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import (
    _check_feature_names_in,
    _check_sample_weight,
    check_is_fitted,
    validate_data,
)

from skscore._groups import FeatureGroup
from skscore.tabular._cells import Column, frame_kind, mixed_as_objects, read_columns
from skscore.tabular._columns import Codec, CodecOptions
from skscore.tabular._fitting import fit_codecs
from skscore.tabular._layout import Layout
from skscore.tabular._tags import MixedInput

__all__ = ["TabularEncoder"]

Array = NDArray[Any]

_U_MIN = 1e-12  # Φ⁻¹ is ±7.03 there


class TabularEncoder(MixedInput, TransformerMixin, BaseEstimator):
    """Turn a table of mixed columns into floats, and back.

    ``inverse_transform(transform(X))`` gives the rows of fit back as they were: values, dtypes,
    the order of the columns, and the container.

    Parameters
    ----------
    categorical, numeric, datetime : list of column labels or None, default=None
        Columns to be taken as such, positions for an array. The kind of the others is that of
        their dtype: numbers; dates and durations; ordered pandas categories as numbers, by rank;
        booleans, strings, objects and other categories as categories. An array of objects is
        looked into: a column of numbers is numeric. In ``numeric``, an unordered category is
        taken in the order of its levels; in ``datetime``, dates as objects or ISO 8601 text are
        read.
    tails : {"clip", "pareto"}, default="clip"
        What lies beyond the smallest and the largest value of a numeric column: nothing, or a
        generalised Pareto tail, fitted to the outer 5 % where they hold 20 values, none of them
        repeated or rounded.
    max_one_hot : int, default=16
        Up to so many levels, missing included, a category has one feature for each.
    embedding_dim : int, default=16
        Number of features of a category with more levels: half of each code is learnt from the
        means of the other columns, half random.
    min_frequency : int, float or None, default=None
        Levels with fewer rows (int), or a smaller share of the rows (float), have one code in
        common; ``inverse_transform`` draws one of them by their frequencies. Missing is never
        among them.
    handle_unknown : {"error", "map"}, default="error"
        What ``transform`` does with a level that fit has not seen: raise an error, or take it for
        missing if the column had missing cells, else for the most frequent level. A missing
        number in a column without any in fit is always an error.
    max_stored_values : int, default=10_000
        Most distinct values that are kept of a numeric column: the commonest of those that repeat,
        up to half, and quantiles of the rest.
    random_state : int, RandomState or None, default=None
        Seed of V in ``transform``, of the random half of the codes, and of rare levels drawn in
        ``inverse_transform``. An int gives the same draws at each call.

    Attributes
    ----------
    feature_groups_ : list of FeatureGroup
        Which features stand for what, in the order of the columns.
    feature_columns_ : ndarray of int of shape (n_features_out_,)
        The position of the column that each feature stands for.
    quantile_features_ : ndarray of bool of shape (n_features_out_,)
        The features that are Φ⁻¹ of a probability.
    n_features_in_ : int
        Number of columns.
    n_features_out_ : int
        Number of features.
    columns_ : tuple of hashables
        Labels of the columns, as feature groups have them: positions for an array.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Labels of the columns, where all are strings.

    See Also
    --------
    sklearn.preprocessing.QuantileTransformer : The same map for values that do not repeat.

    Notes
    -----
    The inverse is exact, with these exceptions. Levels pooled by ``min_frequency`` are drawn anew.
    Of a numeric column with more than ``max_stored_values`` distinct values, those not kept come
    back exactly where the column is rounded, else within about 10⁻¹⁰ of the gap between the values
    kept on both sides. A column that mixes kinds of missing (None and NaN) comes back with the
    commonest. Row labels come back only if ``inverse_transform`` is given a pandas frame; else
    they count from 0. z must be kept in double precision.

    Kept of the training data are, for each column, the distinct values of a number with the
    probabilities below and up to them, the levels of a category with their frequencies, and no
    row: which cells came together cannot be read from it, but for the codes of categories with
    many levels, which hold means of the other columns in each level.

    Integers beyond 2**53, which no double tells apart, are an error that names the column, as are
    infinite values, and dates that span as many units of their resolution.

    With ``sample_weight``, F and the frequencies are weighted. Weights that are all integers are
    numbers of repetitions: a value of weight 2 repeats.

    References
    ----------
    Rüschendorf, "On the distributional transform, Sklar's theorem, and the empirical copula
    process", Journal of Statistical Planning and Inference 2009.

    Examples
    --------
    >>> import pandas as pd
    >>> df = pd.DataFrame({"age": [31, 44, 31, None], "city": ["Rome", "Oslo", "Rome", "Rome"]})
    >>> encoder = TabularEncoder(random_state=0).fit(df)
    >>> encoder.get_feature_names_out().tolist()
    ['age', 'age given', 'age missing', 'city=Oslo', 'city=Rome']
    >>> Z = encoder.transform(df)
    >>> encoder.inverse_transform(Z).equals(df)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "categorical": ["array-like", None],
        "numeric": ["array-like", None],
        "datetime": ["array-like", None],
        "tails": [StrOptions({"clip", "pareto"})],
        "max_one_hot": [Interval(Integral, 0, None, closed="left")],
        "embedding_dim": [Interval(Integral, 2, None, closed="left")],
        "min_frequency": [
            Interval(Integral, 1, None, closed="left"),
            Interval(Real, 0, 1, closed="neither"),
            None,
        ],
        "handle_unknown": [StrOptions({"error", "map"})],
        "max_stored_values": [Interval(Integral, 4, None, closed="left")],
        "random_state": ["random_state"],
    }

    n_features_in_: int

    def __init__(
        self,
        *,
        categorical: Any = None,
        numeric: Any = None,
        datetime: Any = None,
        tails: str = "clip",
        max_one_hot: int = 16,
        embedding_dim: int = 16,
        min_frequency: float | None = None,
        handle_unknown: str = "error",
        max_stored_values: int = 10_000,
        random_state: Any = None,
    ) -> None:
        self.categorical = categorical
        self.numeric = numeric
        self.datetime = datetime
        self.tails = tails
        self.max_one_hot = max_one_hot
        self.embedding_dim = embedding_dim
        self.min_frequency = min_frequency
        self.handle_unknown = handle_unknown
        self.max_stored_values = max_stored_values
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> "TabularEncoder":
        """Learn the marginal of each column.

        Parameters
        ----------
        X : DataFrame (pandas or polars) or array-like of shape (n_samples, n_features)
            Training data.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights, not negative; rows of weight 0 are left out. None is 1 each.

        Returns
        -------
        self : TabularEncoder

        Raises
        ------
        ValueError
            If two columns have one label; a named column is not there, or named twice; a column
            holds complex or infinite numbers, or integers beyond 2**53; the table is empty, or has
            no row of positive weight.
        TypeError
            If a column holds something not hashable, such as lists.
        """
        self._validate_params()
        columns, layout = self._read(X, reset=True)
        weights = None
        if sample_weight is not None:
            weights = _check_sample_weight(
                sample_weight, X, dtype=np.float64, ensure_non_negative=True
            )
            rows = weights > 0
            if not rows.any():
                raise ValueError(
                    "sample_weight is zero for every row; give a positive weight to some."
                )
            columns, weights = [column.take(rows) for column in columns], weights[rows]
        options = CodecOptions(
            self.tails,
            self.max_one_hot,
            self.embedding_dim,
            self.min_frequency,
            self.handle_unknown,
            self.max_stored_values,
        )
        lists = {
            "categorical": self.categorical,
            "numeric": self.numeric,
            "datetime": self.datetime,
        }
        codecs = fit_codecs(columns, weights, lists, options, self.random_state)
        self._codecs, self._layout = codecs, layout
        self.columns_ = tuple(layout.names)
        self._starts = np.concatenate([[0], np.cumsum([codec.n_features for codec in codecs])])
        self.n_features_out_ = int(self._starts[-1])
        self.feature_groups_: list[FeatureGroup] = [
            group
            for codec, start in zip(codecs, self._starts, strict=False)
            for group in codec.groups(int(start))
        ]
        widths = [codec.n_features for codec in codecs]
        self.feature_columns_ = np.repeat(np.arange(len(codecs)), widths)
        self.quantile_features_ = np.concatenate([codec.is_quantile for codec in codecs])
        return self

    def intervals(self, X: Any) -> tuple[Array, Array]:
        """Return the interval that each feature is drawn from, to draw it again and again.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features_in_)
            Rows.

        Returns
        -------
        lower, upper : ndarray of shape (n_samples, n_features_out_)
            For ``quantile_features_`` the ends of the interval of u = Φ(z), short by 10⁻⁷ of it on
            both sides, so that no end is 0 or 1 or belongs to a neighbour: twice the same for a
            value that does not repeat; 0 and 1 for a missing cell. For others the feature, twice.

        Raises
        ------
        NotFittedError
            If the encoder is not fitted.
        ValueError
            If the columns are not those of fit, or a cell cannot be encoded.

        Examples
        --------
        >>> X = np.array([[0.0], [0.0], [1.0], [2.0]])
        >>> lower, upper = TabularEncoder().fit(X).intervals(X[1:])
        >>> lower.ravel().round(3), upper.ravel().round(3)
        (array([0.   , 0.625, 0.875]), array([0.5  , 0.625, 0.875]))
        """
        check_is_fitted(self)
        columns, _ = self._read(X, reset=False)
        n_rows = len(columns[0].values)
        lower, upper = (np.empty((n_rows, self.n_features_out_)) for _ in range(2))
        for codec, column, features in self._parts(columns):
            lower[:, features], upper[:, features] = codec.intervals(column)
        return lower, upper

    def transform(self, X: Any) -> Array:
        """Encode rows, with a draw of V for each number.

        What a repeated value becomes depends on the place of its row among the others, which V is
        drawn by; what a single value or a category becomes does not.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features_in_)
            Rows.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_features_out_)
            Without units. A data frame with ``set_output(transform="pandas")``.

        Raises
        ------
        NotFittedError
            If the encoder is not fitted.
        ValueError
            If the columns are not those of fit, or a cell cannot be encoded.
        """
        lower, upper = self.intervals(X)
        drawn = self.quantile_features_
        V = _own_generator(self.random_state).random_sample((len(lower), int(drawn.sum())))
        u = lower[:, drawn] + V * (upper[:, drawn] - lower[:, drawn])
        Z = lower
        Z[:, drawn] = ndtri(u.clip(_U_MIN, 1 - _U_MIN))
        return Z

    def inverse_transform(self, Z: Any, random_state: Any = None) -> Any:
        """Return the rows that encoded ones stand for.

        Parameters
        ----------
        Z : DataFrame or array-like of shape (n_samples, n_features_out_)
            Any finite numbers: a category is the level with the nearest code, a number the
            quantile of Φ(z), on the steps of its column.
        random_state : int, RandomState or None, default=None
            Seed of the levels pooled by ``min_frequency``; None uses that of the encoder.

        Returns
        -------
        X : DataFrame or ndarray of shape (n_samples, n_features_in_)
            In the container of fit, with its dtypes. The rows of a pandas frame have the labels
            of Z, where that is one, and count from 0 otherwise.

        Raises
        ------
        NotFittedError
            If the encoder is not fitted.
        ValueError
            If Z has not ``n_features_out_`` features, or holds missing or infinite values.
        """
        check_is_fitted(self)
        index = Z.index if frame_kind(Z) == "pandas" else None
        # Constant columns have no features; rows without any can still be counted.
        if index is not None and not Z.shape[1]:
            Z = np.zeros(Z.shape)
        Z = check_array(
            Z, dtype=np.float64, ensure_min_samples=0, ensure_min_features=0, input_name="Z"
        )
        if Z.shape[1] != self.n_features_out_:
            raise ValueError(
                f"Z has {Z.shape[1]} features, and transform gives {self.n_features_out_}; give "
                "all of them."
            )
        made: list[np.random.RandomState] = []

        def generator() -> np.random.RandomState:
            if not made:
                seed = self.random_state if random_state is None else random_state
                made.append(_own_generator(seed))
            return made[0]

        cells = [
            codec.decode(Z[:, features], generator) for codec, _, features in self._parts(None)
        ]
        return self._layout.assemble(cells, index)

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """Name the features, such as "age", "sex=male", "age missing".

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Names of the columns of an array; for a data frame its own, if given at all.

        Returns
        -------
        names : ndarray of str objects of shape (n_features_out_,)
            No two are alike: a number is appended to a name that was there before.
        """
        check_is_fitted(self)
        if hasattr(self, "feature_names_in_") or self._layout.container == "array":
            labels = _check_feature_names_in(self, input_features)
        else:
            labels = self._layout.names
        names: dict[str, None] = {}
        for codec, label in zip(self._codecs, labels, strict=True):
            for name in codec.feature_names(str(label)):
                unique, n = name, 2
                while unique in names:
                    unique, n = f"{name} ({n})", n + 1
                names[unique] = None
        return np.array(list(names), dtype=object)

    def _parts(self, columns: list[Column] | None) -> Iterator[tuple[Codec, Any, slice]]:
        for j, codec in enumerate(self._codecs):
            features = slice(int(self._starts[j]), int(self._starts[j + 1]))
            yield codec, None if columns is None else columns[j], features

    def _read(self, X: Any, *, reset: bool) -> tuple[list[Column], Layout]:
        """Read a table, and learn or check its width and its names."""
        if frame_kind(X) is None:
            X = mixed_as_objects(X)
            X = validate_data(
                self, X, reset=reset, dtype=None, ensure_all_finite=False, estimator=self
            )
            return read_columns(X)
        columns, layout = read_columns(X)
        if not columns or (reset and len(X) == 0):
            raise ValueError(
                f"X has {len(X)} row(s) and {len(columns)} column(s); give a table with at least "
                "one of each."
            )
        self._check_labels(X, None if reset else list(self._layout.names))
        return columns, layout


def _own_generator(random_state: Any) -> np.random.RandomState:
    """Return a generator that does not repeat the draws of others with the same seed."""
    # V from RandomState(0) would be the very numbers that made a table of RandomState(0).
    return np.random.RandomState(check_random_state(random_state).randint(np.iinfo(np.int32).max))
