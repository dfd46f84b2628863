"""A report as one HTML page: its tables, and its pictures as PNG files written into the text.

    src="data:image/png;base64,..."

so that the page can be sent, and opened without a network. Names of columns and levels are escaped.
"""

import base64
import io
from html import escape
from typing import Any

import numpy as np

from skscore.tabular import _report_pictures as pictures

__all__ = ["measures_table", "page"]

_PAIRS_SHOWN = 10
_DOTS_PER_INCH = 110
_MEANING = {
    "column_shapes": "Is each column distributed as in the training rows?",
    "missing_cells": "Are as many cells missing?",
    "pair_trends": "Do pairs of columns hang together as in the training rows?",
    "c2st": "Can a classifier tell synthetic rows from real ones?",
    "wasserstein_train": "How far are the rows from the training rows, as a whole?",
    "wasserstein_test": "How far are the rows from the test rows, as a whole?",
    "coverage_train": "What share of the training rows has a synthetic row near it?",
    "coverage_test": "What share of the test rows has a synthetic row near it?",
    "train_on_synthetic": "How well do models trained on synthetic rows predict the test rows?",
    "utility_ratio": "The same, over that of models trained on the training rows.",
    "copy_rate": "What share of the rows lies much nearer to one training row than to any other?",
    "closest_record": "How far is the nearest training row, in the median?",
    "closest_record_ratio": "The same, over that of real rows; copies are far below 1.",
}
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 66rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; background: #fff; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #ddd; }
.text1 :is(th, td):nth-child(-n+2), .text2 :is(th, td):nth-child(-n+3), th:first-child
  { text-align: left; } thead th { border-bottom: 2px solid #888; }
tbody th { font-weight: 600; } img { max-width: 100%; height: auto; } .note { color: #555; }
"""


def measures_table(measures: Any) -> str:
    """Return the table of measures as HTML."""
    return _table(measures.rename_axis(index=None), 0)


def page(report: Any, names: list[Any]) -> str:
    """Return the page of a report.

    Parameters
    ----------
    report : SyntheticDataReport
        What is shown.
    names : list
        The columns whose marginals are drawn.

    Returns
    -------
    page : str
    """
    measures = report.measures.rename_axis(index=None)
    measures.insert(0, "question", [_MEANING.get(name, "") for name in measures.index])
    columns = report.columns.rename_axis(index=None).sort_values("similarity", kind="stable")
    rows = ", ".join(f"{n} {name}" for name, n in (report.n_rows or {}).items())
    parts = [
        f"<p>Rows: {escape(rows)}.</p>" if rows else "",
        "<h2>Measures</h2>",
        "<p class=note>Reference: what real rows reach in the place of the synthetic ones. Better: "
        "whether higher, lower or nearer to the best is better. With fewer test than synthetic "
        "rows, the references of shapes, cells, trends and wasserstein_train are easy to pass.</p>",
        _table(measures, 1),
        "<h2>Columns, the least alike first</h2>",
        _picture(
            f"Distributions of {len(names)} columns, real and synthetic",
            (11, pictures.marginals_height(len(names))),
            pictures.draw_marginals,
            report.marginals,
            report.columns,
            names,
        ),
        _table(columns, 1),
    ]
    if len(report.columns) > 1:
        size = min(6 + 0.12 * len(report.columns), 10)
        parts += [
            "<h2>Pairs of columns</h2>",
            _picture(
                "What is lost of the trend of each pair of columns",
                (size + 1, size),
                pictures.draw_pair_trends,
                report.trends,
            ),
            _table(_worst_pairs(report.trends), 2),
        ]
    parts += [
        "<h2>Closest training rows</h2>",
        _picture(
            "Distances to the closest training row, of synthetic and of real rows",
            (7, 4),
            pictures.draw_closest_records,
            report.closest,
        ),
    ]
    if report.utility is not None:
        heading = f"Prediction of the test rows ({escape(str(report.utility.index.name))})"
        parts += [
            f"<h2>{heading}</h2>",
            "<p class=note>Models trained on synthetic and on training rows.</p>",
            _table(report.utility.rename_axis(index=None), 0),
        ]
    body = "\n".join(filter(None, parts))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>Synthetic data report</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>Synthetic data report</h1>\n{body}\n</body>\n</html>\n"
    )


def _worst_pairs(trends: Any) -> Any:
    import pandas as pd

    values = trends.to_numpy()
    first, second = np.triu_indices(len(values), 1)
    order = np.argsort(values[first, second], kind="stable")[:_PAIRS_SHOWN]
    names = list(trends.columns)
    return pd.DataFrame(
        {
            "column": [str(names[i]) for i in first[order]],
            "and": [str(names[i]) for i in second[order]],
            "similarity": values[first, second][order],
        },
        index=pd.RangeIndex(1, len(order) + 1),
    )


def _table(frame: Any, n_text: int) -> str:
    """Return a data frame, the first columns of which are text, as HTML; pandas escapes it."""
    html: str = frame.to_html(
        float_format="{:.3f}".format, na_rep="–", border=0, classes=f"text{n_text}", justify="unset"
    )
    return html


def _picture(description: str, size: tuple[float, float], draw: Any, *what: Any) -> str:
    from matplotlib.figure import Figure

    # Without pyplot, which would keep the figure and show it.
    figure = Figure(figsize=size, layout="constrained")
    draw(figure, *what)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=_DOTS_PER_INCH)
    encoded = base64.b64encode(file.getvalue()).decode("ascii")
    return f'<img alt="{escape(description)}" src="data:image/png;base64,{encoded}">'
