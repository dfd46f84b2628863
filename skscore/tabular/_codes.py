r"""Short codes for the levels of a category that has too many for one feature each.

The code of a level is half learnt and half random, of unit length:

    e_k = (l_k, r_k)/‖(l_k, r_k)‖,        l_k = V'm_k/s,    r_k uniform on the sphere

m_k = S_k/(W_k + κ) is the mean of the other columns' standardised features over the rows of the
level (their sum S_k, weight W_k), drawn towards 0 where there are few; V the leading right singular
vectors of the matrix of rows S_k/√W_k, in which every row has noise of the same size; s the root
mean square of ‖V'm_k‖. Levels that go with similar rows get similar codes; r_k keeps any two apart,
so that the nearest code tells the level.

The singular vectors are those of correspondence analysis (Greenacre, "Theory and Applications of
Correspondence Analysis", 1984) with numbers among the profiles; the random half is this package's.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.utils.extmath import randomized_svd

__all__ = ["level_codes", "nearest_codes"]

Array = NDArray[Any]

_PRIOR_ROWS = 10.0  # κ
_BLOCK = 2**22  # inner products at once


def level_codes(
    codes: Array,
    n_levels: int,
    weights: Array,
    blocks: Iterable[Array],
    n_features: int,
    generator: np.random.RandomState,
) -> Array:
    """Return codes of unit length for the levels of a column.

    Parameters
    ----------
    codes : ndarray of int of shape (n_rows,)
        The level of each row.
    n_levels : int
        Number of levels, each with a row.
    weights : ndarray of shape (n_rows,)
        Weights of the rows.
    blocks : iterable of ndarrays of shape (n_rows, n)
        Features of the other columns, a few at a time; only sums over them are kept.
    n_features : int
        Length of a code, 2 or more.
    generator : RandomState
        Source of the random half.

    Returns
    -------
    codebook : ndarray of shape (n_levels, n_features)

    Examples
    --------
    >>> rng, codes = np.random.RandomState(0), np.arange(300) % 30
    >>> block = (codes % 2)[:, None] + 0.1 * rng.normal(size=(300, 1))
    >>> codebook = level_codes(codes, 30, np.ones(300), [block], 4, rng)
    >>> bool(np.mean(codebook[0] @ codebook[2::2].T) > np.mean(codebook[0] @ codebook[1::2].T))
    True
    """
    n_rows = len(codes)
    by_level = csr_matrix((weights, (codes, np.arange(n_rows))), (n_levels, n_rows))
    level_weights = np.bincount(codes, weights, minlength=n_levels)
    sums = [np.zeros((n_levels, 0))]
    for block in blocks:
        mean = np.average(block, axis=0, weights=weights)
        scale = np.sqrt(np.average((block - mean) ** 2, axis=0, weights=weights))
        sums.append(by_level @ ((block - mean) / np.where(scale > 0, scale, 1.0)))
    profiles = np.hstack(sums)
    n_learnt = min(n_features // 2, *profiles.shape)
    learnt = np.zeros((n_levels, 0))
    if n_learnt > 0:
        noise_alike = profiles / np.sqrt(level_weights)[:, None]
        vectors = randomized_svd(noise_alike, n_learnt, random_state=generator)[2]
        learnt = profiles @ vectors.T
    learnt /= (level_weights + _PRIOR_ROWS)[:, None]
    size = np.sqrt((learnt**2).sum() / n_levels)
    if size > 0:
        learnt /= size
    random = generator.standard_normal((n_levels, n_features - learnt.shape[1]))
    random /= np.linalg.norm(random, axis=1, keepdims=True)
    codebook = np.hstack([learnt, random])
    return codebook / np.linalg.norm(codebook, axis=1, keepdims=True)


def nearest_codes(Z: Array, codebook: Array) -> Array:
    """Return the level whose code is nearest, for codes that all have the same length.

    Parameters
    ----------
    Z : ndarray of shape (n_rows, n_features)
        Points.
    codebook : ndarray of shape (n_levels, n_features)
        Codes.

    Returns
    -------
    codes : ndarray of int of shape (n_rows,)

    Examples
    --------
    >>> nearest_codes(np.array([[0.9, 0.2], [0.1, 0.3]]), np.eye(2))
    array([0, 1])
    """
    n_levels, n_features = codebook.shape
    if n_levels == n_features and np.array_equal(codebook, np.eye(n_levels)):
        return Z.argmax(axis=1)
    rows = max(1, _BLOCK // n_levels)
    nearest = [
        (Z[start : start + rows] @ codebook.T).argmax(axis=1) for start in range(0, len(Z), rows)
    ]
    return np.concatenate(nearest) if nearest else np.zeros(0, dtype=np.intp)
