r"""Whether models trained on synthetic rows do on real ones what models trained on real rows do.

    TSTR = mean over models of M(y, f_synthetic(x)),    TRTR = the same of f_real,
    ratio = TSTR/TRTR                                   (x, y): real rows that nothing was fitted to

M is R² for regression and, for classification, F1 averaged over the classes of the test rows, each
counting alike.

Source: Esteban et al., "Real-valued (medical) time series generation with recurrent conditional
GANs", 2017 (train on synthetic, test on real); the mean over kinds of models as in
Jolicoeur-Martineau et al., "Generating and imputing tabular data via diffusion and flow-based
gradient-boosted trees", AISTATS 2024.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import f1_score, r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skscore.tabular._table_columns import Columns, Table

__all__ = ["infer_task", "train_on_each"]

Array = NDArray[Any]

# Levels beyond the commonest share one indicator: trees of scikit-learn want dense columns.
_MAX_LEVELS = 32


def infer_task(columns: Columns, train: Table, target: Any) -> str:
    """Return "regression" for a number of more than two values, else "classification"."""
    j = columns.names.index(target)
    values = train.column(columns, j)
    is_number = columns.is_number[j] and len(np.unique(values[~np.isnan(values)])) > 2
    return "regression" if is_number else "classification"


def train_on_each(
    columns: Columns,
    fitted_to: dict[str, Table],
    test: Table,
    target: Any,
    task: str,
    seed: int,
) -> dict[str, dict[str, float]]:
    """Return macro-F1 or R² on the test rows of each model, trained on each of the tables.

    Parameters
    ----------
    columns : Columns
        Of all tables.
    fitted_to : dict of str to Table
        What is trained on.
    test : Table
        What is predicted.
    target : label
        Column that is predicted; rows that lack it are left out.
    task : {"classification", "regression"}
        What it is.
    seed : int
        Of the forest and the boosted trees.

    Returns
    -------
    scores : dict of table to dict of model to float

    Raises
    ------
    ValueError
        If there is no column but the target, the target is a category and the task regression, or
        a table has fewer than 2 rows with a target.
    """
    j = columns.names.index(target)
    if len(columns.names) == 1:
        raise ValueError(f"target={target!r} is the only column; there is nothing to predict from.")
    if task == "regression" and not columns.is_number[j]:
        raise ValueError(
            f"target={target!r} is categorical, so task='regression' does not fit; give "
            "task='classification'."
        )
    parts = {
        name: _split(columns, table, j) for name, table in (fitted_to | {"test": test}).items()
    }
    for name, (_, y) in parts.items():
        if len(y) < 2:
            raise ValueError(
                f"{name} has {len(y)} row(s) with a value of target={target!r}; it "
                "takes 2 or more to train a model or to judge it."
            )
    if task == "classification":
        classes = np.unique(np.concatenate([y for _, y in parts.values()]))
        parts = {name: (X, np.searchsorted(classes, y)) for name, (X, y) in parts.items()}
    X_test, y_test = parts.pop("test")
    n_numbers = test.numbers.shape[1] - bool(columns.is_number[j])
    scores: dict[str, dict[str, float]] = {}
    for name, (X, y) in parts.items():
        scores[name] = {}
        for kind, model in _models(task, seed).items():
            if task == "classification" and len(np.unique(y)) == 1:
                model = DummyClassifier()
            pipeline = make_pipeline(_preparation(n_numbers, X.shape[1]), model).fit(X, y)
            scores[name][kind] = _score(task, y_test, pipeline.predict(X_test))
    return scores


def _split(columns: Columns, table: Table, j: int) -> tuple[Array, Array]:
    """Return the other columns, numbers first, and the target, of the rows that have it."""
    y, place = table.column(columns, j), columns.place[j]
    cells = [table.numbers, table.codes.astype(np.float64)]
    which = 0 if columns.is_number[j] else 1
    cells[which] = np.delete(cells[which], place, axis=1)
    known = ~np.isnan(y) if columns.is_number[j] else y >= 0
    return np.hstack(cells)[known], y[known]


def _preparation(n_numbers: int, n_columns: int) -> ColumnTransformer:
    numbers = make_pipeline(
        SimpleImputer(add_indicator=True, keep_empty_features=True), StandardScaler()
    )
    levels = OneHotEncoder(
        handle_unknown="infrequent_if_exist", max_categories=_MAX_LEVELS, sparse_output=False
    )
    steps = [
        ("numbers", numbers, slice(0, n_numbers)),
        ("levels", levels, slice(n_numbers, n_columns)),
    ]
    # A transformer of a slice is fitted though no column is in it.
    return ColumnTransformer([step for step in steps if step[2].start < step[2].stop])


def _models(task: str, seed: int) -> dict[str, Any]:
    if task == "regression":
        return {
            "linear": Ridge(),
            "random_forest": RandomForestRegressor(random_state=seed),
            "boosted_trees": HistGradientBoostingRegressor(early_stopping=False, random_state=seed),
        }
    # Stopping early would split by class, which a class of one row does not allow.
    return {
        "linear": LogisticRegression(max_iter=1000),
        "random_forest": RandomForestClassifier(random_state=seed),
        "boosted_trees": HistGradientBoostingClassifier(early_stopping=False, random_state=seed),
    }


def _score(task: str, y: Array, predicted: Array) -> float:
    if task == "regression":
        return float(r2_score(y, predicted))
    return float(f1_score(y, predicted, labels=np.unique(y), average="macro", zero_division=0))
