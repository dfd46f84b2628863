r"""How good a synthetic table is: whether it is like the real one, is useful, and copies nobody.

S are the synthetic rows, R the training rows, T real rows held out. d is Gower's distance summed
over columns: the difference of numbers scaled to [0, 1] by R, 1 for two levels that differ.

    column_shapes        mean over columns of 1 - Kolmogorov-Smirnov distance (numbers, dates) or
                         1 - total variation distance (categories), S to R
    missing_cells        mean over columns of 1 - |difference of the shares of missing cells|
    pair_trends          mean over pairs of 1 - ½ |r_S - r_R| (numbers) or 1 - total variation
                         distance of their joint levels (else), S to R
    c2st                 area under the ROC curve of boosted trees that tell S from T
    wasserstein_train    W(S, R), W(P, Q) = min_π Σ_ij π_ij d(p_i, q_j)
    wasserstein_test     W(S, T)
    coverage_train       share of R with a row of S nearer than the k-th nearest row of R
    coverage_test        the same of T
    train_on_synthetic   mean over three models of macro-F1 or R² on T, trained on S
    utility_ratio        that over the same trained on R
    copy_rate            share of S with d_1/d_2 < 1/3, to the two nearest rows of R
    closest_record       median over S of the distance to the nearest row of R
    closest_record_ratio that over the median over T

Beside each stands a reference, what real rows reach: T in the place of S or, where S is compared
with T, as many rows of R. A synthetic table of the same law comes out near it. More copies, or
closest records nearer by far, say that rows of R were copied, however good the rest looks. The
references of column_shapes, missing_cells, pair_trends and wasserstein_train get worse with fewer
rows of T: where T is shorter than S, a good table passes them.

Sources: SDMetrics (DataCebo) for shapes and trends; Lopez-Paz & Oquab, ICLR 2017 (C2ST); Gower,
Biometrics 1971 (d); Jolicoeur-Martineau et al., AISTATS 2024 (W and coverage with it, for train and
test); Naeem et al., ICML 2020 (coverage); Esteban et al., 2017 (train on synthetic, test on real);
Yoon et al., 2023 (d_1/d_2); Zhao et al., "CTAB-GAN", ACML 2021 (distance to the closest record).
"""

from numbers import Integral
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.utils import check_random_state

from skscore.tabular import _report_measures as measure
from skscore.tabular import _report_pictures as pictures
from skscore.tabular._report_page import measures_table, page
from skscore.tabular._table_columns import read_tables, scale

__all__ = ["SyntheticDataReport"]

_SHOWN = ("column_shapes", "pair_trends", "c2st", "copy_rate")
_COLUMNS_ON_PAGE = 12


class SyntheticDataReport:
    """How good a synthetic table is: likeness, usefulness and copies, beside what real rows reach.

    Make one with `from_tables`.

    Parameters
    ----------
    measures : DataFrame of shape (n_measures, 4)
        One row for each measure; see `to_frame`.
    columns : DataFrame of shape (n_columns, 5)
        One row for each column: ``kind`` ("numeric", "datetime" or "categorical"), ``similarity``
        of its distribution to that of the training rows, ``reference``, that of the test rows
        (NaN without), ``missing_real`` and ``missing_synthetic``, shares of missing cells.
    trends : DataFrame of shape (n_columns, n_columns)
        Similarity of the trend of each pair, with NaN on the diagonal.
    closest : DataFrame of shape (n_compared, 2)
        ``distance`` to the closest training row, of the ``rows`` "synthetic" and "test" (without,
        "train": to the closest other).
    marginals : DataFrame
        What is drawn of each column: ``column``; ``left`` and ``right`` of a bin, or ``level``;
        ``real`` and ``synthetic``, the shares of the rows in it.
    utility : DataFrame of shape (3, 2) or None, default=None
        Macro-F1 or R² on the test rows of each model, trained on ``synthetic`` and on ``train``
        rows; None without a target.
    n_rows : dict of str to int, default=None
        How many rows each table had.

    See Also
    --------
    skscore.metrics : The measures of arrays.

    Notes
    -----
    The report holds no cell of the tables but the names of common levels and the edges of
    histograms.

    Examples
    --------
    >>> import pandas as pd
    >>> def draw(n, seed):
    ...     rng = np.random.RandomState(seed)
    ...     kind = rng.choice(["a", "b"], n)
    ...     return pd.DataFrame({"kind": kind, "size": rng.normal(size=n) + (kind == "a")})
    >>> train, test = draw(200, seed=0), draw(100, seed=1)
    >>> report = SyntheticDataReport.from_tables(train, draw(200, 2), test=test, random_state=0)
    >>> report.to_frame().index[:3].tolist()
    ['column_shapes', 'missing_cells', 'pair_trends']
    >>> bool(report.to_frame().loc["column_shapes", "value"] > 0.9)
    True
    >>> copies = SyntheticDataReport.from_tables(train, train, test=test, random_state=0)
    >>> float(copies.to_frame().loc["copy_rate", "value"])
    1.0
    """

    def __init__(
        self,
        measures: Any,
        columns: Any,
        trends: Any,
        closest: Any,
        marginals: Any,
        utility: Any = None,
        n_rows: dict[str, int] | None = None,
    ) -> None:
        self.measures = measures
        self.columns = columns
        self.trends = trends
        self.closest = closest
        self.marginals = marginals
        self.utility = utility
        self.n_rows = n_rows

    @classmethod
    def from_tables(
        cls,
        train: Any,
        synthetic: Any,
        *,
        test: Any = None,
        target: Any = None,
        task: str = "auto",
        max_rows: int = 2000,
        random_state: Any = None,
    ) -> Self:
        """Compare a synthetic table with the one its generator was trained on.

        Parameters
        ----------
        train : DataFrame or array-like of shape (n_train, n_columns)
            The rows that the generator was trained on. Numbers, dates (``datetime64``), and
            categories, which is anything else; cells may be missing.
        synthetic : DataFrame or array-like of shape (n_synthetic, n_columns)
            The rows to judge, best as many as those of train; the same columns in any order.
        test : DataFrame or array-like of shape (n_test, n_columns), default=None
            Real rows that the generator has not seen. Without them there are fewer measures, and
            `c2st` tells synthetic rows from training rows, which copies pass.
        target : label, default=None
            Column to predict from the others in `train_on_synthetic`; needs test.
        task : {"auto", "classification", "regression"}, default="auto"
            What predicting it is: "auto" is regression for a number of more than two values.
        max_rows : int, default=2000
            From a longer table this many rows are drawn for the measures that grow with the
            square: c2st, Wasserstein, coverage and, of synthetic and test rows, copies and closest
            records.
        random_state : int, RandomState or None, default=None
            Seed of the rows that are drawn, of the folds and of the models.

        Returns
        -------
        report : SyntheticDataReport

        Raises
        ------
        ValueError
            If the columns differ, a column is a number in one table and a category in another, a
            number is infinite, a table has fewer than 10 rows, or a parameter does not fit.
        ImportError
            If pandas or POT is not installed.
        """
        rng = check_random_state(random_state)
        given = {"train": train, "synthetic": synthetic} | ({} if test is None else {"test": test})
        columns, raw = read_tables(given)
        task = measure.check(columns, raw, target, task, max_rows)
        tables = {name: scale(table, raw["train"]) for name, table in raw.items()}
        result = measure.Measures()
        shapes, trends = measure.likeness(columns, tables, result)
        closest = measure.distances(tables, max_rows, rng, result)
        utility = None
        if target is not None:
            utility = measure.utility(columns, tables, target, task, rng, result)
        return cls(
            result.frame(),
            shapes,
            trends,
            closest,
            pictures.shares(columns, raw["train"], raw["synthetic"]),
            utility,
            {name: len(table) for name, table in tables.items()},
        )

    def to_frame(self) -> Any:
        """Return the measures.

        Returns
        -------
        measures : DataFrame of shape (n_measures, 4)
            Indexed by ``measure``: ``value``; ``reference``, what real rows reach, NaN where that
            is not known; ``best``, the value to be hoped for; ``better``, which is "higher",
            "lower" or "nearer" to it. Those that need test or target are absent without.
        """
        return self.measures.copy()

    def plot(self, n_columns: int = 6) -> Any:
        """Draw the columns that are least alike, the trends that are lost and the closest records.

        Parameters
        ----------
        n_columns : int, default=6
            Of how many columns.

        Returns
        -------
        figure : matplotlib Figure

        Raises
        ------
        ValueError
            If n_columns is no positive integer.
        ImportError
            If matplotlib is not installed.
        """
        _matplotlib()
        if not isinstance(n_columns, Integral) or n_columns < 1:
            raise ValueError(
                f"n_columns={n_columns!r} draws nothing; give an integer of 1 or more."
            )
        import matplotlib.pyplot as plt

        names = self._worst(n_columns)
        height = pictures.marginals_height(len(names))
        figure: Any = plt.figure(figsize=(11, height + 4.6), layout="constrained")
        top, bottom = figure.subfigures(2, 1, height_ratios=[height, 4.6])
        pictures.draw_marginals(top, self.marginals, self.columns, names)
        if len(self.columns) > 1:
            left, bottom = bottom.subfigures(1, 2)
            pictures.draw_pair_trends(left, self.trends)
        pictures.draw_closest_records(bottom, self.closest)
        return figure

    def to_html(self, path: Any = None) -> str | None:
        """Write the report as one page that needs no other file and no network.

        Parameters
        ----------
        path : str or path-like, default=None
            Where to write it; None returns it.

        Returns
        -------
        page : str or None

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        _matplotlib()
        written = page(self, self._worst(_COLUMNS_ON_PAGE))
        if path is None:
            return written
        Path(path).write_text(written, encoding="utf-8")
        return None

    def __repr__(self) -> str:
        values = self.measures["value"]
        parts = ", ".join(f"{name}={values[name]:.3f}" for name in _SHOWN if name in values.index)
        return f"{type(self).__name__}({parts})"

    def _repr_html_(self) -> str:
        return measures_table(self.measures)

    def _worst(self, n_columns: int) -> list[Any]:
        order = np.argsort(self.columns["similarity"].to_numpy(), kind="stable")
        return [self.columns.index[i] for i in order[:n_columns]]


def _matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "The pictures of a report need matplotlib; install it, or skscore[plot]."
        ) from error
