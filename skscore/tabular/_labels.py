r"""The codec of labels: each level has a code, and the nearest code is the level of a point.

    up to max_one_hot levels      e_k, the k-th unit vector
    above                         a short code of unit length (:mod:`skscore.tabular._codes`)

Missing is a level. The rarest levels may share one; on the way back it is drawn which, by their
frequencies, so that the marginal is kept while what goes with a rare level is not.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skscore._groups import FeatureGroup
from skscore.tabular._cells import Column, as_objects
from skscore.tabular._codes import level_codes, nearest_codes
from skscore.tabular._columns import Codec, CodecOptions, Draws, unknown_levels

__all__ = ["LabelCodec"]

Array = NDArray[Any]


class LabelCodec(Codec):
    """Labels of any hashable kind, missing among them, by the code of their level.

    Rare levels share one code, and are drawn by their frequencies on the way back. A column of
    more than ``max_one_hot`` levels has no features until ``learn_codes`` has been called.

    Examples
    --------
    >>> cells = np.array(["b", None, "a", "b"], dtype=object)
    >>> missing = np.array([False, True, False, False])
    >>> codec = LabelCodec(Column("x", cells, missing, "label", cells.dtype), None, CodecOptions())
    >>> codec.feature_names("x")
    ['x=a', 'x=b', 'x missing']
    >>> codec.frequencies
    array([0.25, 0.5 , 0.25])
    """

    def __init__(self, column: Column, weights: Array | None, options: CodecOptions) -> None:
        self._remember(column, options)
        cells, missing = _label_cells(column), column.missing
        if weights is None:
            weights = np.ones(len(cells))
        # 1 == True, yet they are two levels.
        types = set(map(type, cells[~missing]))
        self.tells_bools = bool in types and len(types) > 1
        found: dict[Any, int] = {}
        raw = self._look_up(cells, missing, found, learn=True)
        level_weights = np.bincount(raw[~missing], weights[~missing], minlength=len(found))
        levels = [key[1] if isinstance(key, _Bool) else key for key in found]
        order = _level_order(levels, column.levels)
        is_rare = self._rare(level_weights, weights.sum())
        kept = [k for k in order if not is_rare[k]]
        rare = [k for k in order if is_rare[k]]
        self.levels = as_objects([levels[k] for k in kept])
        self.rare_levels = as_objects([levels[k] for k in rare])
        self.rare_shares = level_weights[rare] / max(level_weights[rare].sum(), 1e-300)
        code_of = np.full(len(found) + 1, -1)
        code_of[kept] = np.arange(len(kept))
        code_of[rare] = len(kept)
        self.rare_code = len(kept) if rare else None
        n_levels = len(kept) + bool(rare)
        self.missing_code = n_levels if missing.any() else None
        n_levels += bool(missing.any())
        self.codes_by_level = {key: int(code_of[k]) for key, k in found.items()}
        codes = np.where(missing, n_levels - 1, code_of[raw])
        self.frequencies = np.bincount(codes, weights, minlength=n_levels) / weights.sum()
        self.n_levels = n_levels
        one_hot = n_levels > 1 and not self.is_wide
        self.codebook = np.eye(n_levels) if one_hot else np.zeros((n_levels, 0))
        self._set_features()

    @property
    def is_wide(self) -> bool:
        """Whether there are too many levels for one feature each."""
        return self.n_levels > max(self.options.max_one_hot, 1)

    def _set_features(self) -> None:
        self.n_features = self.codebook.shape[1]
        self.is_quantile = np.zeros(self.n_features, dtype=bool)

    def learn_codes(
        self, column: Column, weights: Array, blocks: Any, generator: np.random.RandomState
    ) -> None:
        """Give the levels short codes, from the features of other columns on the rows of fit."""
        self.codebook = level_codes(
            self._codes(column),
            self.n_levels,
            weights,
            blocks,
            self.options.embedding_dim,
            generator,
        )
        self._set_features()

    def groups(self, start: int) -> list[FeatureGroup]:
        """Return one group, or none for a column of one level."""
        if self.n_features == 0:
            return []
        stop = start + self.n_features
        codebook, shares = self.codebook.copy(), self.frequencies.copy()
        return [FeatureGroup(self.name, "categorical", start, stop, codebook, shares)]

    def feature_names(self, label: str) -> list[str]:
        """Return ``label=level``, or numbered names for short codes."""
        if self.n_features == 0:
            return []
        if self.is_wide:
            return [f"{label} code {k}" for k in range(self.n_features)]
        names = [f"{label}={level}" for level in self.levels]
        names += [f"{label} rare"] * (self.rare_code is not None)
        return names + [f"{label} missing"] * (self.missing_code is not None)

    def intervals(self, column: Column) -> tuple[Array, Array]:
        """Return the codes, twice."""
        codes = self.codebook[self._codes(column)]
        return codes, codes

    def decode(self, Z: Array, generator: Draws) -> tuple[Array, Array, Any]:
        """Return the levels whose codes are nearest; a rare one is drawn."""
        if self.n_features == 0:
            codes = np.zeros(len(Z), dtype=int)
        else:
            codes = nearest_codes(Z, self.codebook)
        missing = codes == self.missing_code if self.missing_code is not None else codes < 0
        cells = np.full(len(Z), None, dtype=object)
        plain = codes < len(self.levels)
        cells[plain] = self.levels[codes[plain]]
        rare = codes == self.rare_code if self.rare_code is not None else codes < 0
        if rare.any():
            drawn = generator().choice(len(self.rare_levels), rare.sum(), p=self.rare_shares)
            cells[rare] = self.rare_levels[drawn]
        return cells, missing, self.marker

    def _rare(self, level_weights: Array, total: float) -> Array:
        at_least = self.options.min_frequency
        if at_least is None:
            return np.zeros(len(level_weights), dtype=bool)
        is_rare = level_weights < (at_least * total if isinstance(at_least, float) else at_least)
        # One rare level alone needs no pool.
        return is_rare if is_rare.sum() > 1 else np.zeros_like(is_rare)

    def _codes(self, column: Column) -> Array:
        cells, missing = _label_cells(column), column.missing
        codes = self._look_up(cells, missing, self.codes_by_level, learn=False)
        if missing.any() and self.missing_code is not None:
            codes[missing] = self.missing_code
        unknown = codes < 0
        if not unknown.any():
            return codes
        if self.options.handle_unknown == "error":
            gone = unknown & missing
            if gone.any():
                raise ValueError(
                    f"{self.where} has {gone.sum()} missing cell(s), and had none in fit; fit "
                    "on rows among which some are missing, or impute them first. "
                    "TabularEncoder(handle_unknown='map') takes them for the most frequent level."
                )
            raise unknown_levels(self.where, cells[unknown])
        mapped = self.missing_code
        codes[unknown] = self.frequencies.argmax() if mapped is None else mapped
        return codes

    def _look_up(
        self, cells: Array, missing: Array, table: dict[Any, int], *, learn: bool
    ) -> Array:
        """Return the entry of each cell, -1 where there is none; new ones if it is to learn."""
        keys: Any = cells.tolist()
        if self.tells_bools:
            keys = [_Bool(("bool", key)) if isinstance(key, bool) else key for key in keys]
        try:
            if learn:
                for key in dict.fromkeys(
                    key for key, gone in zip(keys, missing, strict=True) if not gone
                ):
                    table[key] = len(table)
            found = [
                -1 if gone else table.get(key, -1) for key, gone in zip(keys, missing, strict=True)
            ]
        except TypeError as error:
            odd = next(cell for cell in cells if cell.__hash__ is None or not _is_hashable(cell))
            raise TypeError(
                f"{self.where} holds {odd!r}, a {type(odd).__name__}, which is not hashable and "
                "so no level of a category: an argument must be a string or a number, or another "
                "hashable object. Give its parts as columns of their own."
            ) from error
        return np.array(found, dtype=np.intp)


class _Bool(tuple):
    """The key of a boolean in a column that holds other labels, too."""

    __slots__ = ()


def _is_hashable(cell: Any) -> bool:
    try:
        hash(cell)
    except TypeError:
        return False
    return True


def _label_cells(column: Column) -> Array:
    """Return the cells as Python objects; dates keep NumPy's type, which has their unit."""
    values = column.values
    if values.dtype.kind in "mM":
        return as_objects(list(values))
    return values.astype(object)


def _level_order(levels: list[Any], categories: tuple[Any, ...] | None) -> list[int]:
    """Return the levels in the order of the dtype, or sorted, by type if they do not compare."""
    if categories is not None:
        rank = {level: k for k, level in enumerate(categories)}
        return sorted(range(len(levels)), key=lambda k: rank.get(levels[k], len(rank)))
    try:
        return sorted(range(len(levels)), key=levels.__getitem__)
    except TypeError:
        return sorted(range(len(levels)), key=lambda k: (type(levels[k]).__name__, repr(levels[k])))
