"""Which codec each column gets, and short codes for the categories with many levels.

The kind of a column is that of its dtype, unless a list names it. Short codes are learnt last: they
need the features of the other columns.
"""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from sklearn.utils import check_random_state

from skscore.tabular._cells import Column
from skscore.tabular._columns import Codec, CodecOptions, NumberCodec, OrderCodec, TimeCodec
from skscore.tabular._labels import LabelCodec

__all__ = ["fit_codecs"]

Array = NDArray[Any]

_CODECS: dict[str, Any] = {
    "number": NumberCodec,
    "order": OrderCodec,
    "time": TimeCodec,
    "label": LabelCodec,
}
_NAMED_KIND = {"categorical": "label", "numeric": "number", "datetime": "time"}


def fit_codecs(
    columns: Sequence[Column],
    weights: Array | None,
    lists: dict[str, Any],
    options: CodecOptions,
    random_state: Any,
) -> list[Codec]:
    """Fit one codec to each column.

    Parameters
    ----------
    columns : sequence of Column
        The rows of fit.
    weights : ndarray of shape (n_rows,) or None
        Positive weights; None is 1 each.
    lists : dict
        For "categorical", "numeric" and "datetime" the labels of the columns to be taken as such,
        or None.
    options : CodecOptions
        Parameters of the codecs.
    random_state : int, RandomState or None
        Seed of short codes.

    Returns
    -------
    codecs : list of Codec

    Raises
    ------
    ValueError
        If a list names a column that is not there or that another list names, or a column cannot
        be encoded.

    Examples
    --------
    >>> x = np.array([1.0, 2.0])
    >>> column = Column("a", x, np.isnan(x), "number", x.dtype)
    >>> fit_codecs([column], None, {"categorical": ["a"]}, CodecOptions(), 0)[0].feature_names("a")
    ['a=1.0', 'a=2.0']
    """
    kinds = _kinds(columns, lists)
    codecs: list[Codec] = [
        _CODECS[kind](column, weights, options) for kind, column in zip(kinds, columns, strict=True)
    ]
    pairs = list(zip(codecs, columns, strict=True))
    wide = [j for j, codec in enumerate(codecs) if isinstance(codec, LabelCodec) and codec.is_wide]
    if not wide:
        return codecs
    generator = check_random_state(random_state)
    others = [pair for j, pair in enumerate(pairs) if j not in wide]
    for j in wide:
        codec, column = pairs[j]
        w = np.ones(len(column.values)) if weights is None else weights
        assert isinstance(codec, LabelCodec)
        codec.learn_codes(column, w, map(_middles, others), generator)
    return codecs


def _kinds(columns: Sequence[Column], lists: dict[str, Any]) -> list[str]:
    kinds = {column.name: column.kind for column in columns}
    truths = bool, np.bool_
    may_be_truths = any(isinstance(name, truths) for name in kinds)
    named: dict[Any, str] = {}
    for parameter, labels in lists.items():
        for name in [] if labels is None else list(labels):
            if isinstance(name, truths) and not may_be_truths:
                raise ValueError(
                    f"{parameter}= is a mask; give the labels of columns, X.columns[mask], or the "
                    "positions of those of an array, np.flatnonzero(mask)."
                )
            if not isinstance(name, Hashable):
                raise ValueError(
                    f"{parameter}= holds {name!r}, which is no label of a column; give one list of "
                    "labels."
                )
            if name not in kinds:
                raise ValueError(
                    f"{parameter}= names the column {name!r}, which X does not have; it has "
                    f"{list(kinds)}."
                )
            if name in named:
                raise ValueError(
                    f"{parameter}= names the column {name!r}, which {named[name]}= names, too; "
                    "name each column once."
                )
            named[name] = parameter
            kinds[name] = _NAMED_KIND[parameter]
    for column in columns:
        if named.get(column.name) == "numeric":
            if column.levels is not None:
                kinds[column.name] = "order"
            elif column.kind == "time":
                kinds[column.name] = "time"
    return list(kinds.values())


def _middles(pair: tuple[Codec, Column]) -> Array:
    """Return features without a draw: those of the middle of each interval."""
    codec, column = pair
    lower, upper = codec.intervals(column)
    middle = (lower + upper) / 2
    middle[:, codec.is_quantile] = ndtri(middle[:, codec.is_quantile])
    return middle
