"""The measures of a report, from tables that have been read, each beside its reference.

    reference = the same measure with test rows T in the place of the synthetic S;
                W and coverage of T: as many training rows in the place of S

With n training rows, m synthetic ones and a number that hardly repeats, so that no distances tie,
the reference of the coverage of the training rows is its mean for new rows of the same law
(`skscore.metrics.coverage` with k = 2),

    1 - (n - 1)(n - 2)/((n + m - 1)(n + m - 2)).

Without T, copies and closest records of the training rows among themselves are the reference, each
row held against the others.
"""

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skscore.metrics import c2st, copy_rate, coverage, distance_to_closest_record, wasserstein
from skscore.tabular._table_columns import Columns, Table, encode
from skscore.tabular._table_metrics import (
    column_shapes,
    mean_trend,
    missing_similarity,
    pair_trends,
)
from skscore.tabular._table_utility import infer_task, train_on_each

__all__ = ["Measures", "check", "distances", "likeness", "utility"]

Array = NDArray[Any]

_TASKS = ("auto", "classification", "regression")
_MIN_ROWS = 10
_DISTINCT = 0.95
_ORDER = [
    "column_shapes",
    "missing_cells",
    "pair_trends",
    "c2st",
    "wasserstein_train",
    "wasserstein_test",
    "coverage_train",
    "coverage_test",
    "train_on_synthetic",
    "utility_ratio",
    "copy_rate",
    "closest_record",
    "closest_record_ratio",
]


class Measures:
    """Rows of the table of measures."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[float, float, float, str]] = {}

    def add(
        self, name: str, value: float, reference: float, best: float, better: str = "higher"
    ) -> None:
        """Add a measure; ``best`` is its value at best, ``better`` the way there."""
        self.rows[name] = (value, reference, best, better)

    def frame(self) -> Any:
        """Return the measures as a data frame."""
        import pandas as pd

        fields = ["value", "reference", "best", "better"]
        order = [name for name in _ORDER if name in self.rows]
        frame = pd.DataFrame([self.rows[name] for name in order], index=order, columns=fields)
        return frame.rename_axis("measure")


def check(columns: Columns, tables: dict[str, Table], target: Any, task: str, max_rows: int) -> str:
    """Return the task; raise if something that was given does not fit."""
    for name, table in tables.items():
        if len(table) < _MIN_ROWS:
            raise ValueError(
                f"{name} has {len(table)} rows; give {_MIN_ROWS} or more, and some hundred for "
                "measures that mean something."
            )
    if not isinstance(max_rows, Integral) or isinstance(max_rows, bool) or max_rows < _MIN_ROWS:
        raise ValueError(
            f"max_rows={max_rows!r} is too few; give an integer of {_MIN_ROWS} or more."
        )
    if task not in _TASKS:
        raise ValueError(f"task={task!r} is unknown; give one of {list(_TASKS)}.")
    if target is None:
        return task
    if target not in columns.names:
        raise ValueError(f"target={target!r} is not among the columns: {columns.names}.")
    if "test" not in tables:
        raise ValueError(
            f"target={target!r} needs test: what is trained on synthetic rows is judged on real "
            "ones that nothing was trained on. Give test, or leave target out."
        )
    return infer_task(columns, tables["train"], target) if task == "auto" else task


def likeness(columns: Columns, tables: dict[str, Table], result: Measures) -> tuple[Any, Any]:
    """Measure columns and pairs; return both as data frames."""
    import pandas as pd

    train, k = tables["train"], len(columns.names)
    shapes = {name: column_shapes(columns, train, table) for name, table in tables.items()}
    missing = {name: missing_similarity(columns, train, table) for name, table in tables.items()}
    trends = {
        name: pair_trends(columns, train, table)
        for name, table in tables.items()
        if name != "train"
    }
    absent = np.full(k, np.nan)
    for measure, found in [("column_shapes", shapes), ("missing_cells", missing)]:
        reference = found.get("test", absent).mean()
        result.add(measure, float(found["synthetic"].mean()), float(reference), 1.0)
    if k > 1:
        means = {name: mean_trend(matrix) for name, matrix in trends.items()}
        result.add("pair_trends", means["synthetic"], means.get("test", np.nan), 1.0)
    # Labels may be tuples, which would become a hierarchy.
    index = pd.Index(columns.names, tupleize_cols=False)
    frame = pd.DataFrame(
        {
            "kind": columns.kinds,
            "similarity": shapes["synthetic"],
            "reference": shapes.get("test", absent),
            "missing_real": train.missing(columns),
            "missing_synthetic": tables["synthetic"].missing(columns),
        },
        index=index,
    )
    return frame, pd.DataFrame(trends["synthetic"], index=index, columns=index)


def distances(tables: dict[str, Table], max_rows: int, rng: Any, result: Measures) -> Any:
    """Measure rows against rows; return the distances to the closest records."""
    import pandas as pd

    encoded, metric = encode(tables, tables["train"])
    drawn = {
        name: rows if len(rows) <= max_rows else rows[rng.permutation(len(rows))[:max_rows]]
        for name, rows in encoded.items()
    }
    everything, train, synthetic = encoded["train"], drawn["train"], drawn["synthetic"]
    test = drawn.get("test")
    # As many as there are synthetic ones, since W and coverage depend on their number.
    matched = train[rng.permutation(len(train))[: len(synthetic)]]
    seed = rng.randint(np.iinfo(np.int32).max)
    area = c2st(train if test is None else test, synthetic, random_state=seed)
    result.add("c2st", area, 0.5, 0.5, "nearer")

    between = np.nan if test is None else wasserstein(matched, test, metric=metric)
    value = wasserstein(synthetic, train, metric=metric)
    result.add("wasserstein_train", value, between, 0.0, "lower")
    value = coverage(train, synthetic, metric=metric)
    result.add(
        "coverage_train", value, _expected_coverage(train, metric.n_numbers, len(synthetic)), 1.0
    )
    if test is not None:
        value = wasserstein(synthetic, test, metric=metric)
        result.add("wasserstein_test", value, between, 0.0, "lower")
        reference = coverage(test, matched, metric=metric)
        result.add("coverage_test", coverage(test, synthetic, metric=metric), reference, 1.0)

    alone = test is None
    real = everything if test is None else test
    # The ratio of two distances needs two distinct rows, and a third to leave one out.
    if len(np.unique(everything, axis=0)) > 2:
        expected = copy_rate(real, everything, exclude_self=alone, metric=metric)
        value = copy_rate(synthetic, everything, metric=metric)
        result.add("copy_rate", value, expected, expected, "lower")
    found = distance_to_closest_record(synthetic, everything, metric=metric)
    others = distance_to_closest_record(real, everything, exclude_self=alone, metric=metric)
    middle, expected = float(np.median(found)), float(np.median(others))
    result.add("closest_record", middle, expected, expected, "nearer")
    if expected > 0:
        result.add("closest_record_ratio", middle / expected, 1.0, 1.0, "nearer")
    names = ["synthetic"] * len(found) + ["train" if alone else "test"] * len(others)
    return pd.DataFrame({"rows": names, "distance": np.concatenate([found, others])})


def _expected_coverage(train: Array, n_numbers: int, n_synthetic: int) -> float:
    """Return the mean coverage of new rows of the same law; NaN where distances tie."""
    n = len(train)
    if max((len(np.unique(x)) for x in train[:, :n_numbers].T), default=0) < _DISTINCT * n:
        return float("nan")
    # k = 2: both nearest of the n - 1 + n_synthetic other rows are real.
    total = n - 1 + n_synthetic
    return 1 - (n - 1) * (n - 2) / (total * (total - 1))


def utility(
    columns: Columns,
    tables: dict[str, Table],
    target: Any,
    task: str,
    rng: Any,
    result: Measures,
) -> Any:
    """Measure what models trained on synthetic rows can do; return the scores of each."""
    import pandas as pd

    fitted_to = {name: tables[name] for name in ("synthetic", "train")}
    seed = rng.randint(np.iinfo(np.int32).max)
    scores = pd.DataFrame(train_on_each(columns, fitted_to, tables["test"], target, task, seed))
    value, reference = float(scores["synthetic"].mean()), float(scores["train"].mean())
    result.add("train_on_synthetic", value, reference, 1.0)
    if reference > 0:
        result.add("utility_ratio", value / reference, 1.0, 1.0)
    return scores.rename_axis("R²" if task == "regression" else "macro-F1")
