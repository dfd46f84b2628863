"""What stands for what in an encoded table.

An encoded table has one or more features for each column: a number is one, a category the one-hot
code of its level or a shorter code, a column with missing cells a marker beside its number. A model
that knows these groups can treat a category as one, and need not know the encoder.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "FeatureGroup",
    "check_codes",
    "check_groups",
    "code_features",
    "missing_numbers",
    "nearest_levels",
    "numeric_features",
    "presence_features",
    "same_codes",
    "without_features",
]

Array = NDArray[Any]

_FIELDS = ("column", "kind", "start", "stop", "codebook", "frequencies")
_KINDS = ("numeric", "categorical", "missing")
# What single precision leaves of a code.
_NEAR = 1e-5
_NUMBERS_AT_ONCE = 2**24


@dataclass(frozen=True, eq=False)
class FeatureGroup:
    """Features ``start`` to ``stop`` (exclusive) of an encoded table, which stand for one thing.

    Attributes
    ----------
    column : hashable
        Label of the column that they encode; its position, where the table was an array.
    kind : {"numeric", "categorical", "missing"}
        A "missing" group is a category of two levels: 0, the cell is given; 1, it is missing.
    start, stop : int
        The features ``[start, stop)``.
    codebook : ndarray of shape (n_levels, stop - start) or None
        The code of each level; None for a numeric group.
    frequencies : ndarray of shape (n_levels,) or None
        Share of each level in the training data, positive, with sum 1; None for a numeric group.

    Examples
    --------
    >>> import numpy as np
    >>> group = FeatureGroup("sex", "categorical", 1, 3, np.eye(2), np.array([0.4, 0.6]))
    >>> np.arange(4)[group.start : group.stop]
    array([1, 2])
    """

    column: Hashable
    kind: str
    start: int
    stop: int
    codebook: Array | None
    frequencies: Array | None


def check_groups(groups: Iterable[Any], n_features: int) -> list[FeatureGroup]:
    """Return groups as FeatureGroups; raise if they do not say what each feature stands for.

    Parameters
    ----------
    groups : iterable of objects
        With the attributes of a FeatureGroup, in the order of the features.
    n_features : int
        Number of features, all of which have to be in a group.

    Returns
    -------
    checked : list of FeatureGroup

    Raises
    ------
    ValueError
        If a group is no group, or features are left out, or in two groups.

    Examples
    --------
    >>> check_groups([FeatureGroup("age", "numeric", 0, 1, None, None)], 1)[0].kind
    'numeric'
    """
    checked: list[FeatureGroup] = []
    expected = 0
    for i, group in enumerate(groups):
        missing = [name for name in _FIELDS if not hasattr(group, name)]
        if missing:
            raise ValueError(
                f"feature_groups[{i}] is a {type(group).__name__} without {missing[0]}; give "
                "objects with the attributes of skscore.tabular.FeatureGroup, such as "
                "feature_groups_ of a TabularEncoder."
            )
        found = FeatureGroup(
            group.column,
            group.kind,
            int(group.start),
            int(group.stop),
            None if group.codebook is None else np.array(group.codebook, dtype=np.float64),
            None if group.frequencies is None else np.array(group.frequencies, dtype=np.float64),
        )
        if found.start != expected or found.stop <= found.start:
            raise ValueError(
                f"feature_groups[{i}] has the features from {found.start} to {found.stop} "
                f"(exclusive), and the groups before it end at {expected}; give groups in the "
                "order of the features, that leave none out."
            )
        expected = found.stop
        wrong = _what_is_wrong(found)
        if wrong:
            raise ValueError(f"feature_groups[{i}], of column {found.column!r}, {wrong}")
        checked.append(found)
    if expected != n_features:
        raise ValueError(
            f"feature_groups have {expected} features, and X has {n_features}; give the groups of "
            "the encoder that X comes from."
        )
    return checked


def _what_is_wrong(group: FeatureGroup) -> str | None:
    n_features, codebook, frequencies = group.stop - group.start, group.codebook, group.frequencies
    if group.kind not in _KINDS:
        return f"has the kind {group.kind!r}, which is none of {', '.join(_KINDS)}."
    if group.kind == "numeric":
        if codebook is not None or frequencies is not None:
            return "is numeric and has levels; a number has None for codebook and frequencies."
        return (
            None if n_features == 1 else f"is {n_features} numbers; give each a group of its own."
        )
    if codebook is None or frequencies is None:
        return "is a category without levels; give it a codebook and frequencies."
    if codebook.ndim != 2 or not len(codebook) or codebook.shape[1] != n_features:
        return (
            f"has a codebook of the shape {codebook.shape}; give a row for each level, with "
            f"{n_features} numbers, as many as the group has features."
        )
    if not np.isfinite(codebook).all() or len(np.unique(codebook, axis=0)) < len(codebook):
        return "has codes that are not finite, or the same for two levels; give each its own."
    if frequencies.shape != codebook.shape[:1]:
        return (
            f"has {len(codebook)} codes and frequencies of the shape {frequencies.shape}; give one "
            "for each level."
        )
    if not (frequencies > 0).all() or not np.isclose(frequencies.sum(), 1.0):
        return f"has the frequencies {frequencies}; give positive numbers of sum 1."
    if group.kind == "missing" and not np.array_equal(codebook, np.eye(2)):
        return (
            "marks missing cells by other codes than (1, 0), given, and (0, 1), missing; use these."
        )
    return None


def code_features(groups: Sequence[FeatureGroup], n_features: int) -> Array:
    """Return which features (n_features,) belong to codes."""
    found = np.zeros(n_features, dtype=bool)
    for group in groups:
        found[group.start : group.stop] = group.codebook is not None
    return found


def numeric_features(groups: Sequence[FeatureGroup]) -> list[int]:
    """Return the features that are numbers."""
    return [group.start for group in groups if group.codebook is None]


def presence_features(groups: Sequence[FeatureGroup]) -> list[int]:
    """Return for each number the feature that is 1 where it is there, -1 if it always is."""
    marks = {group.column: group.start for group in groups if group.kind == "missing"}
    return [marks.get(group.column, -1) for group in groups if group.codebook is None]


def missing_numbers(rows: Array, groups: Sequence[FeatureGroup]) -> Array:
    """Return which numbers (n, n_numeric) of encoded rows (n, d) are marked as missing."""
    marks = np.array(presence_features(groups), dtype=int)
    missing: Array = (rows[:, marks] < 0.5) & (marks >= 0)
    return missing


def without_features(groups: Sequence[FeatureGroup], left_out: Array) -> list[FeatureGroup]:
    """Return the groups of what stays where numbers are left out, a bool for each feature."""
    places = np.concatenate([[0], np.cumsum(~left_out)])
    return [
        replace(group, start=int(places[group.start]), stop=int(places[group.stop]))
        for group in groups
        if not left_out[group.start]
    ]


def same_codes(first: Sequence[FeatureGroup], second: Sequence[FeatureGroup]) -> bool:
    """Whether rows of two encoded tables mean the same: features, kinds, levels and their codes."""
    if len(first) != len(second):
        return False
    for a, b in zip(first, second, strict=True):
        if (a.kind, a.start, a.stop) != (b.kind, b.start, b.stop):
            return False
        if a.codebook is None or b.codebook is None:
            continue
        if not np.array_equal(a.codebook, b.codebook):
            return False
    return True


def nearest_levels(X: Array, group: FeatureGroup) -> Array:
    """Return the number of the level (n,) whose code is the nearest to rows X of all features."""
    if group.codebook is None:
        raise TypeError(f"The numbers of {group.column!r} have no levels.")
    codes = group.codebook
    norms = np.square(codes).sum(1) / 2
    size = max(1, _NUMBERS_AT_ONCE // len(codes))
    parts = [
        (X[i : i + size, group.start : group.stop] @ codes.T - norms).argmax(1)
        for i in range(0, len(X), size)
    ]
    return np.concatenate([np.zeros(0, dtype=int), *parts])


def check_codes(X: Array, groups: Sequence[FeatureGroup], name: str = "X") -> None:
    """Raise if rows (n, n_features) hold something else than codes where groups say codes.

    Rows of which all features of a group are NaN have no code there, which is fine.
    """
    for group in groups:
        if group.codebook is None:
            continue
        cells = X[:, group.start : group.stop]
        given = ~np.isnan(cells).any(1)
        rows = X[given]
        gap = np.abs(
            rows[:, group.start : group.stop] - group.codebook[nearest_levels(rows, group)]
        )
        if gap.size and gap.max() > _NEAR:
            row = cells[given][gap.max(1).argmax()]
            raise ValueError(
                f"{name} has {row} in the features from {group.start} to {group.stop} (exclusive), "
                f"which is no code of {group.column!r}; give rows that come from the encoder of "
                "feature_groups, without any transform after it."
            )
