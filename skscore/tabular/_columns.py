r"""One codec for each kind of column that has an order: numbers, ordered categories, dates.

A codec turns the cells of a column into an interval for each of its features, from which a feature
is drawn, and features back into cells:

    numbers               u in an interval of probabilities (:mod:`skscore.tabular._quantiles`),
                          z = Φ⁻¹(u); beside it (1, 0) or (0, 1) for given or missing, if any cell
                          was missing in fit. The number of a missing cell is anywhere: u in [0, 1]
    ordered categories    the same, of 0, 1, 2, ...
    dates, durations      the same, of whole units of the coarsest resolution that has them all,
                          counted from the earliest

Labels have no order: see :mod:`skscore.tabular._labels`.
A column of one level has no features: it comes back constant.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from skscore._groups import FeatureGroup
from skscore.tabular._cells import Column, as_objects
from skscore.tabular._parsing import (
    EXACT,
    coarsest_resolution,
    nearest_in_dtype,
    parse_numbers,
    parse_times,
    show_some,
)
from skscore.tabular._quantiles import QuantileMap

__all__ = ["Codec", "CodecOptions", "NumberCodec", "OrderCodec", "TimeCodec", "unknown_levels"]

Array = NDArray[Any]
Draws = Callable[[], np.random.RandomState]


@dataclass(frozen=True)
class CodecOptions:
    """The parameters of :class:`~skscore.tabular.encoder.TabularEncoder` that codecs read."""

    tails: str = "clip"
    max_one_hot: int = 16
    embedding_dim: int = 16
    min_frequency: float | None = None
    handle_unknown: str = "error"
    max_stored_values: int = 10_000


class Codec(ABC):
    """What every codec has.

    Attributes
    ----------
    name : hashable
        Label of the column.
    n_features : int
        How many features it has.
    is_quantile : ndarray of bool of shape (n_features,)
        For which of them the interval is one of probabilities.
    """

    name: Hashable
    n_features: int
    is_quantile: Array
    where: str
    marker: Any

    def _remember(self, column: Column, options: CodecOptions) -> None:
        self.name, self.where, self.marker = column.name, column.where, column.marker()
        self.options = options

    @abstractmethod
    def groups(self, start: int) -> list[FeatureGroup]:
        """Return what the features stand for, if the first of them is the feature ``start``."""

    @abstractmethod
    def feature_names(self, label: str) -> list[str]:
        """Return a name for each feature, from the label of the column."""

    @abstractmethod
    def intervals(self, column: Column) -> tuple[Array, Array]:
        """Return the ends of the interval of each feature, each of shape (n_rows, n_features)."""

    @abstractmethod
    def decode(self, Z: Array, generator: Draws) -> tuple[Array, Array, Any]:
        """Return the cells that features of shape (n_rows, n_features) stand for.

        ``generator()`` gives a RandomState. Returned are the values, which of them are missing,
        and what stands for those.
        """


class NumberCodec(Codec):
    """Numbers, with a marker of missing cells if there were any in fit.

    Examples
    --------
    >>> x = np.array([3.0, 1.0, np.nan])
    >>> codec = NumberCodec(Column("a", x, np.isnan(x), "number", x.dtype), None, CodecOptions())
    >>> codec.feature_names("a")
    ['a', 'a given', 'a missing']
    """

    def __init__(self, column: Column, weights: Array | None, options: CodecOptions) -> None:
        self._remember(column, options)
        x = self._learn_values(column)
        given = ~column.missing
        if weights is None:
            weights = np.ones(len(x))
        shares = np.array([weights[given].sum(), weights[~given].sum()])
        self.shares = shares / shares.sum()
        self.has_marker = bool(given.any() and not given.all())
        self.constant: float | None = None
        self.quantile_map: QuantileMap | None = None
        x, weights = x[given], weights[given]
        if len(x) > 0:
            self.constant = float(x[0])
            self._learn_mode(x, weights)
        if len(x) > 0 and (x != x[0]).any():
            self.quantile_map = QuantileMap.fit(
                x,
                weights,
                tails=options.tails,
                max_stored_values=options.max_stored_values,
                dtype=self._rounding_dtype(),
            )
        varies = self.quantile_map is not None
        self.is_quantile = np.array([True] * varies + [False, False] * self.has_marker, dtype=bool)
        self.n_features = len(self.is_quantile)

    def _learn_values(self, column: Column) -> Array:
        values = parse_numbers(column)
        self.dtype = values.dtype
        return values.astype(np.float64)

    def _learn_mode(self, x: Array, weights: Array) -> None:
        """Keep what an unseen cell is mapped to; a number always has a place."""

    def _rounding_dtype(self) -> np.dtype:
        return self.dtype

    def _read(self, column: Column) -> tuple[Array, Array]:
        """Return the cells as doubles, and which are missing."""
        return parse_numbers(column).astype(np.float64), column.missing

    def _restore(self, x: Array) -> Array:
        """Return doubles as the cells that they stand for."""
        return nearest_in_dtype(x, self.dtype)

    def groups(self, start: int) -> list[FeatureGroup]:
        """Return the group of the number, if it varies, and that of the marker, if there is one."""
        made = []
        if self.quantile_map is not None:
            made.append(FeatureGroup(self.name, "numeric", start, start + 1, None, None))
            start += 1
        if self.has_marker:
            made.append(
                FeatureGroup(self.name, "missing", start, start + 2, np.eye(2), self.shares.copy())
            )
        return made

    def feature_names(self, label: str) -> list[str]:
        """Return the label, and two names for the marker."""
        markers = [f"{label} given", f"{label} missing"] if self.has_marker else []
        return [label] * (self.quantile_map is not None) + markers

    def intervals(self, column: Column) -> tuple[Array, Array]:
        """Return probabilities for the number, the marker itself twice."""
        x, missing = self._read(column)
        if missing.any() and not self.has_marker and self.constant is not None:
            raise ValueError(
                f"{self.where} has {missing.sum()} missing cell(s), and had none in fit; fit on "
                "rows among which some are missing, or impute them first."
            )
        if self.constant is None and not missing.all():
            if self.options.handle_unknown == "error":
                raise ValueError(
                    f"{self.where} had only missing cells in fit, and now has {(~missing).sum()} "
                    "given; fit on rows with some given, or take them for missing by "
                    "TabularEncoder(handle_unknown='map')."
                )
            missing = np.ones(len(x), dtype=bool)
        lower, upper = np.zeros((len(x), self.n_features)), np.ones((len(x), self.n_features))
        if self.quantile_map is not None:
            lower[~missing, 0], upper[~missing, 0] = self.quantile_map.intervals(x[~missing])
        if self.has_marker:
            lower[:, -2:] = upper[:, -2:] = np.eye(2)[missing.astype(int)]
        return lower, upper

    def decode(self, Z: Array, generator: Draws) -> tuple[Array, Array, Any]:
        """Return the quantiles of Φ(z), and which cells are marked as missing."""
        if self.quantile_map is not None:
            x = self.quantile_map.quantiles(ndtr(Z[:, 0]))
        else:
            x = np.full(len(Z), 0.0 if self.constant is None else self.constant)
        if self.has_marker:
            missing = Z[:, -1] > Z[:, -2]
        else:
            missing = np.full(len(Z), self.constant is None)
        return self._restore(x), missing, self.marker


class OrderCodec(NumberCodec):
    """Ordered categories, as the numbers of their ranks.

    Examples
    --------
    >>> grades = np.array(["low", "high", "low"], dtype=object)
    >>> given = np.zeros(3, dtype=bool)
    >>> column = Column("grade", grades, given, "order", None, levels=("low", "mid", "high"))
    >>> codec = OrderCodec(column, None, CodecOptions())
    >>> codec.decode(np.array([[-1.0], [0.99]]), np.random.RandomState)[0]
    array(['low', 'high'], dtype=object)
    """

    def _learn_values(self, column: Column) -> Array:
        self.levels = column.levels or ()
        self.ranks = {level: rank for rank, level in enumerate(self.levels)}
        self.mode: float | None = None
        ranks = self._ranks(column)
        self.seen = np.unique(ranks[~column.missing])
        return ranks

    def _learn_mode(self, x: Array, weights: Array) -> None:
        self.mode = float(np.bincount(x.astype(int), weights).argmax())

    def _rounding_dtype(self) -> np.dtype:
        return np.dtype(np.int64)

    def _ranks(self, column: Column) -> Array:
        cells = zip(column.values.tolist(), column.missing, strict=True)
        ranks = [0 if gone else self.ranks.get(cell, -1) for cell, gone in cells]
        return np.array(ranks, dtype=np.float64)

    def _read(self, column: Column) -> tuple[Array, Array]:
        ranks = self._ranks(column)
        unknown = ~column.missing & ~np.isin(ranks, self.seen)
        if not unknown.any():
            return ranks, column.missing
        if self.options.handle_unknown == "error":
            raise unknown_levels(self.where, column.values[unknown])
        if self.has_marker or self.mode is None:
            return ranks, column.missing | unknown
        ranks[unknown] = self.mode
        return ranks, column.missing

    def _restore(self, x: Array) -> Array:
        if not self.levels:
            return np.full(len(x), None, dtype=object)
        ranks = np.rint(x).astype(int)
        return as_objects(self.levels)[ranks]


class TimeCodec(NumberCodec):
    """Dates and durations, as whole units counted from the earliest.

    Examples
    --------
    >>> days = np.array(["2024-01-01", "2024-01-31"], dtype="M8[us]")
    >>> column = Column("day", days, np.isnat(days), "time", days.dtype)
    >>> codec = TimeCodec(column, None, CodecOptions())
    >>> codec.decode(np.zeros((1, 1)), np.random.RandomState)[0]
    array(['2024-01-16T00:00:00.000000'], dtype='datetime64[us]')
    """

    def _learn_values(self, column: Column) -> Array:
        times, self.is_text = parse_times(column)
        self.dtype = times.dtype
        ticks = times.view(np.int64)[~column.missing]
        self.origin, self.resolution = 0, 1
        if len(ticks) > 0:
            self.origin = int(ticks.min())
            if int(ticks.max()) - self.origin < 2**63:
                self.resolution = coarsest_resolution(ticks - self.origin, self.dtype)
            if (int(ticks.max()) - self.origin) // self.resolution > EXACT:
                unit = np.datetime_data(self.dtype)[0]
                raise ValueError(
                    f"{self.where} spans more than 2**53 units of {unit!r}, "
                    "which double precision cannot tell apart; round it to a coarser unit, such "
                    "as df[name].dt.round('ms'), or name it in categorical=."
                )
        return self._counts(times)

    def _rounding_dtype(self) -> np.dtype:
        return np.dtype(np.int64)

    def _counts(self, times: Array) -> Array:
        ticks = times.view(np.int64)
        # What is so far away that the difference would overflow is beyond all data.
        low, high = max(self.origin - 2**62, -(2**63)), min(self.origin + 2**62, 2**63 - 1)
        whole, part = np.divmod(ticks.clip(low, high) - self.origin, self.resolution)
        return whole + part / self.resolution

    def _read(self, column: Column) -> tuple[Array, Array]:
        times, _ = parse_times(column, self.dtype)
        return self._counts(times), column.missing

    def _restore(self, x: Array) -> Array:
        ticks = self.origin + np.rint(x).astype(np.int64) * self.resolution
        times = ticks.view(self.dtype)
        return np.datetime_as_string(times).astype(object) if self.is_text else times


def unknown_levels(where: str, cells: Array) -> ValueError:
    """Return the error for cells that fit has not seen."""
    return ValueError(
        f"{where} holds {show_some(cells)}, not seen in fit; fit on rows that have it. "
        "TabularEncoder(handle_unknown='map') takes it for missing, or for the most frequent level "
        "where no cell was missing."
    )
