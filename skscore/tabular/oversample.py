"""Balancing the classes of a table by synthetic rows.

One :class:`~skscore.tabular.TabularGenerator` learns the features together with the class, so that
a rare class borrows from the others what they have in common; its rows are drawn given their class.
The interface is that of imbalanced-learn (Lemaitre, Nogueira & Aridas, JMLR 2017), which is not
needed.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.utils import check_array, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, column_or_1d

from skscore._validation import Array, RandomState
from skscore.tabular._cells import mixed_as_objects, pandas_or_array
from skscore.tabular.generator import TabularGenerator

__all__ = ["ScoreOverSampler"]


class ScoreOverSampler(BaseEstimator):
    """Add synthetic rows until the classes are balanced.

    Parameters
    ----------
    sampling_strategy : {"auto", "not majority", "minority", "all"}, float, dict or callable, \
            default="auto"
        Which classes get rows. "not majority", or "auto": each class as many as the largest has.
        "minority": the smallest one alone, of several the one that comes first in y. "all": the
        same as "not majority", since the largest has them. A float, with two classes: the number
        of rows of the smaller over that of the larger. A dict: the number of rows of each class
        afterwards. A callable: called with y, returns such a dict.
    generator : TabularGenerator or None, default=None
        What is fitted, as a clone. None is ``TabularGenerator()``.
    random_state : int, RandomState or None, default=None
        Seed of the fit and of the rows.

    Attributes
    ----------
    generator_ : TabularGenerator
        The generator of features and class.
    sampling_strategy_ : dict
        How many rows each class got.
    n_features_in_ : int
        Number of features.

    Examples
    --------
    >>> import numpy as np
    >>> from skscore.tabular import ScoreOverSampler, TabularGenerator
    >>> rng = np.random.RandomState(0)
    >>> X, y = rng.standard_normal((120, 2)), np.repeat([0, 1], [100, 20])
    >>> generator = TabularGenerator(max_steps=50, hidden_units=(32, 32))
    >>> sampler = ScoreOverSampler(generator=generator, random_state=0)
    >>> X_new, y_new = sampler.fit_resample(X, y)
    >>> X_new.shape, np.bincount(y_new)
    ((200, 2), array([100, 100]))
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "sampling_strategy": [
            StrOptions({"auto", "not majority", "minority", "all"}),
            Interval(Real, 0, 1, closed="right"),
            dict,
            callable,
        ],
        "generator": [TabularGenerator, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        *,
        sampling_strategy: str | float | Mapping[Any, int] | Callable[..., Any] = "auto",
        generator: TabularGenerator | None = None,
        random_state: RandomState = None,
    ) -> None:
        self.sampling_strategy = sampling_strategy
        self.generator = generator
        self.random_state = random_state

    def fit_resample(self, X: Any, y: Any) -> tuple[Any, Any]:
        """Learn the table, and return it with synthetic rows after its own.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Features.
        y : Series or array-like of shape (n_samples,)
            Classes.

        Returns
        -------
        X_resampled : DataFrame or ndarray of shape (n_samples_new, n_features)
            The rows of X, then synthetic ones, in its container and dtypes.
        y_resampled : Series or ndarray of shape (n_samples_new,)
            Their classes.

        Raises
        ------
        ValueError
            If a parameter is out of its range, y has one class or is continuous, or a class is to
            have fewer rows than it has.
        TypeError
            If X is a frame of another library than pandas.
        ImportError
            If pandas is not installed, which arrays need, too.
        """
        self._validate_params()
        kind = pandas_or_array(X)
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                "ScoreOverSampler needs pandas; install it, or skscore[tabular]."
            ) from error
        check_consistent_length(X, y)
        labels = column_or_1d(y)
        check_classification_targets(labels)
        wanted = self._wanted(labels)
        if kind is None:
            X = check_array(mixed_as_objects(X), dtype=None, ensure_all_finite=False)
        features = X if kind == "pandas" else pd.DataFrame(X).infer_objects()
        self.n_features_in_ = features.shape[1]
        if features.columns.nlevels > 1:
            features = features.set_axis(features.columns.to_flat_index(), axis=1)
        target = "class"
        while target in features.columns:
            target += "_"
        classes = list(wanted)
        # Positions stand for classes, which may be numbers, and are labels all the same.
        position = {label: k for k, label in enumerate(classes)}
        coded = pd.Categorical(
            [str(position[label]) for label in labels.tolist()],
            [str(k) for k in range(len(classes))],
        )
        table = features.reset_index(drop=True).assign(**{target: coded})
        draws = check_random_state(self.random_state)
        generator = TabularGenerator() if self.generator is None else clone(self.generator)
        if generator.random_state is None:
            generator.set_params(random_state=draws.randint(2**31 - 1))
        self.generator_ = generator.fit(table)
        self.sampling_strategy_ = {label: n for label, n in wanted.items() if n}
        added = [label for label, n in wanted.items() for _ in range(n)]
        if not added:
            return X, y
        conditions = pd.DataFrame({target: [str(position[label]) for label in added]})
        rows = self.generator_.sample(conditions=conditions, random_state=draws)
        rows = rows.drop(columns=target)
        if kind == "pandas":
            rows.columns = X.columns
            X_new = pd.concat([X, rows], ignore_index=True).astype(X.dtypes)
        else:
            X_new = np.concatenate([X, rows.to_numpy(dtype=X.dtype)])
        y_new = np.concatenate([labels, np.array(added, dtype=labels.dtype)])
        if hasattr(y, "columns"):
            return X_new, pd.DataFrame({y.columns[0]: y_new}).astype(y.dtypes)
        if hasattr(y, "iloc"):
            return X_new, pd.Series(y_new, name=y.name).astype(y.dtype)
        return X_new, y_new

    def _wanted(self, labels: Array) -> dict[Any, int]:
        """Return how many rows each class is to get."""
        counts = Counter(labels.tolist())
        if len(counts) < 2:
            raise ValueError(
                f"y has {len(counts)} class(es); there is nothing to balance in fewer than two."
            )
        largest = max(counts.values())
        strategy = self.sampling_strategy
        if callable(strategy):
            strategy = strategy(labels)
            if not isinstance(strategy, Mapping):
                raise ValueError(
                    f"sampling_strategy returned {strategy!r}; it has to return a dict with the "
                    "number of rows of each class afterwards."
                )
        if isinstance(strategy, Mapping):
            unknown = set(strategy) - set(counts)
            if unknown:
                raise ValueError(
                    f"sampling_strategy names the classes {sorted(unknown, key=str)}, which y has "
                    "not."
                )
            broken = {
                label: n
                for label, n in strategy.items()
                if not isinstance(n, Real) or not float(n).is_integer()
            }
            if broken:
                raise ValueError(
                    f"sampling_strategy asks for {broken} rows; give whole numbers of rows."
                )
            after = {label: int(strategy.get(label, n)) for label, n in counts.items()}
        elif isinstance(strategy, str):
            grown = {min(counts, key=counts.__getitem__)} if strategy == "minority" else set(counts)
            after = {label: largest if label in grown else n for label, n in counts.items()}
        else:
            if len(counts) != 2:
                raise ValueError(
                    f"sampling_strategy={strategy!r} is a ratio of two classes, and y has "
                    f"{len(counts)}; give the numbers of rows as a dict."
                )
            after = {
                label: n if n == largest else round(strategy * largest)
                for label, n in counts.items()
            }
        fewer = {label: n for label, n in after.items() if n < counts[label]}
        if fewer:
            raise ValueError(
                f"sampling_strategy asks for {fewer} rows, fewer than the {dict(counts)} that "
                "there are; rows are added, not taken away."
            )
        return {label: after[label] - n for label, n in counts.items()}
