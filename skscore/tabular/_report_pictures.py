"""The pictures of a report: marginals of some columns, trends of all pairs, closest records.

What is drawn are shares of rows,

    share(bin) = rows in the bin / rows of the table,

so that tables of different length, and with missing cells, compare.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skscore.tabular._table_columns import Columns, Table

__all__ = [
    "draw_closest_records",
    "draw_marginals",
    "draw_pair_trends",
    "marginals_height",
    "shares",
    "shorten",
]

Array = NDArray[Any]

_N_BINS = 30
_N_LEVELS = 10
# Beyond these quantiles of both tables together nothing is drawn: one far cell would flatten all.
_RANGE = (0.005, 0.995)
_IQRS = 10
# A positive column is drawn on a logarithmic axis if its range exceeds its median so many times.
_SKEWED = 20
_REAL, _SYNTHETIC = "#7f8c99", "#d55e00"
# What matplotlib draws: the years 1 to 9999, in days since 1970.
_DAYS = -719_162.0, 2_932_895.0
_SECONDS_A_DAY = 86400.0
_LABELS_UP_TO = 30


def shares(columns: Columns, real: Table, synthetic: Table) -> Any:
    """Return the marginals of all columns.

    Returns
    -------
    shares : DataFrame
        One row for each bin or level: ``column``; ``left`` and ``right``, the edges of a bin, or
        ``level``, its label; ``real`` and ``synthetic``, shares of the rows. Levels beyond the ten
        commonest are summed.
    """
    import pandas as pd

    parts = []
    for j, name in enumerate(columns.names):
        a, b = real.column(columns, j), synthetic.column(columns, j)
        if columns.is_number[j]:
            edges = _edges(np.concatenate([a, b]), is_number=columns.kinds[j] == "numeric")
            drawn: dict[str, Any] = {"left": edges[:-1], "right": edges[1:]}
            counted = [np.histogram(c[~np.isnan(c)], edges)[0] / len(c) for c in (a, b)]
        else:
            labels, counted = _level_shares(columns.levels[name], a, b)
            drawn = {"level": labels}
        part = pd.DataFrame(drawn | {"real": counted[0], "synthetic": counted[1]})
        part.insert(0, "column", [name] * len(part))
        parts.append(part)
    fields = ["column", "level", "left", "right", "real", "synthetic"]
    return pd.concat(parts, ignore_index=True).reindex(columns=fields)


def _edges(cells: Array, *, is_number: bool) -> Array:
    cells = cells[~np.isnan(cells)]
    if not len(cells):
        return np.array([0.0, 1.0])
    values = np.unique(cells)
    are_halves_told = np.abs(values).max() < 2.0**52
    if are_halves_told and (values == np.rint(values)).all() and np.ptp(values) <= 2 * _N_BINS:
        return np.arange(values[0] - 0.5, values[-1] + 1)
    low, q1, middle, q3, high = np.quantile(cells, [_RANGE[0], 0.25, 0.5, 0.75, _RANGE[1]])
    if is_number and values[0] > 0 and high > _SKEWED * middle:
        return np.geomspace(low, high, _N_BINS + 1)
    if q3 > q1:
        low, high = max(low, q1 - _IQRS * (q3 - q1)), min(high, q3 + _IQRS * (q3 - q1))
    # Halves, since the range itself may be more than the largest double.
    edges: Array = np.unique(np.linspace(low / 2, high / 2, _N_BINS + 1) * 2)
    if len(edges) > 1:
        return edges
    width = max(0.5, 4 * np.spacing(abs(low)))
    return np.array([low - width, low + width])


def _level_shares(levels: list[Any], a: Array, b: Array) -> tuple[list[str], list[Array]]:
    n = len(levels)
    counted = [np.bincount(codes + 1, minlength=n + 1) / len(codes) for codes in (a, b)]
    present, missing = [c[1:] for c in counted], [c[0] for c in counted]
    order = np.argsort(-(present[0] + present[1]), kind="stable")
    kept, rest = order[:_N_LEVELS], order[_N_LEVELS:]
    labels = [str(levels[i]) for i in kept]
    heights = [list(c[kept]) for c in present]
    if len(rest):
        labels.append(f"{len(rest)} others")
        heights = [[*h, c[rest].sum()] for h, c in zip(heights, present, strict=True)]
    if sum(missing) > 0:
        labels.append("missing")
        heights = [[*h, c] for h, c in zip(heights, missing, strict=True)]
    return labels, [np.array(h) for h in heights]


def shorten(label: Any, length: int = 22) -> str:
    """Return a label as text that fits, in which matplotlib sees no mathematics."""
    text = " ".join(str(label).split())
    text = text if len(text) <= length else text[: length - 1] + "…"
    return text.replace("$", r"\$")


def marginals_height(n_columns: int) -> float:
    """Return how high the picture of so many marginals should be, in inches."""
    return 0.4 + 2.6 * -(-n_columns // 3)


def draw_marginals(figure: Any, marginals: Any, columns: Any, names: list[Any]) -> None:
    """Draw the shares of some columns of both tables.

    Parameters
    ----------
    figure : matplotlib Figure or SubFigure
        Where.
    marginals : DataFrame
        As `shares` gives it.
    columns : DataFrame
        With ``kind``, ``similarity``, ``missing_real`` and ``missing_synthetic`` of each column.
    names : list
        Which columns, at most three a line.
    """
    n_across = min(3, len(names))
    axes = figure.subplots(-(-len(names) // n_across), n_across, squeeze=False).ravel()
    for ax in axes[len(names) :]:
        ax.set_axis_off()
    for ax, name in zip(axes, names, strict=False):
        rows = marginals[[column == name for column in marginals["column"]]]
        about = columns.iloc[list(columns.index).index(name)]
        if about["kind"] == "categorical":
            _bars(ax, rows)
        else:
            _steps(ax, rows, is_date=about["kind"] == "datetime")
        title = f"{shorten(name, 28)}: similarity {about['similarity']:.3f}"
        missing = about[["missing_real", "missing_synthetic"]].to_numpy(dtype=np.float64)
        if about["kind"] != "categorical" and missing.any():
            title += f"\nmissing {missing[0]:.1%}, synthetic {missing[1]:.1%}"
        ax.set_title(title, fontsize="medium")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=2, frameon=False)


def _steps(ax: Any, rows: Any, *, is_date: bool) -> None:
    edges = np.append(rows["left"].to_numpy(), rows["right"].to_numpy()[-1:])
    if is_date:
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

        edges = edges / _SECONDS_A_DAY
        ax.set_xlim(*np.clip(edges[[0, -1]], *_DAYS))
        locator = AutoDateLocator(minticks=3)
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    elif not np.isclose(edges[-1] - edges[-2], edges[1] - edges[0]):
        ax.set_xscale("log")
    ax.stairs(rows["real"], edges, fill=True, color=_REAL, alpha=0.55, label="real")
    ax.stairs(rows["synthetic"], edges, color=_SYNTHETIC, lw=1.5, label="synthetic")
    ax.set_ylabel("share of rows")


def _bars(ax: Any, rows: Any) -> None:
    places = np.arange(len(rows))
    ax.barh(places - 0.2, rows["real"], 0.4, color=_REAL, alpha=0.75, label="real")
    ax.barh(places + 0.2, rows["synthetic"], 0.4, color=_SYNTHETIC, label="synthetic")
    ax.set_yticks(places, [shorten(level, 16) for level in rows["level"]])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlabel("share of rows")


def draw_pair_trends(figure: Any, trends: Any) -> None:
    """Draw what is lost of the trend of each pair, 1 minus its similarity.

    Parameters
    ----------
    figure : matplotlib Figure or SubFigure
        Where.
    trends : DataFrame of shape (k, k)
        Similarities, with NaN on the diagonal.
    """
    ax = figure.subplots()
    loss = 1 - trends.to_numpy(dtype=np.float64)
    top = np.nanmax(loss, initial=0.05)
    image = ax.imshow(np.ma.masked_invalid(loss), cmap="Oranges", vmin=0, vmax=top)
    ax.set_facecolor("0.9")
    k = len(trends)
    if k <= _LABELS_UP_TO:
        labels = [shorten(name, 16) for name in trends.columns]
        size = "small" if k <= 16 else "xx-small"
        ax.set_xticks(np.arange(k), labels, rotation=90, fontsize=size)
        ax.set_yticks(np.arange(k), labels, fontsize=size)
    else:
        ax.set(xlabel="column", ylabel="column")
    ax.set_title("pair trends: 1 − similarity, 0 is the best", fontsize="medium")
    figure.colorbar(image, ax=ax, shrink=0.8)


def draw_closest_records(figure: Any, closest: Any) -> None:
    """Draw the distributions of the distances to the closest training row.

    Parameters
    ----------
    figure : matplotlib Figure or SubFigure
        Where.
    closest : DataFrame
        With ``rows``, whose they are, and ``distance``.
    """
    ax = figure.subplots()
    distances = closest["distance"].to_numpy(dtype=np.float64)
    top = max(np.quantile(distances, _RANGE[1]), 1e-12)
    edges = np.linspace(0, top * (1 + 1e-9), _N_BINS + 1)
    for name, group in closest.groupby("rows", sort=False):
        counts = np.histogram(group["distance"], edges)[0] / len(group)
        if name == "synthetic":
            ax.stairs(counts, edges, color=_SYNTHETIC, lw=1.5, label="synthetic", zorder=3)
        else:
            ax.stairs(counts, edges, fill=True, color=_REAL, alpha=0.55, label=f"real ({name})")
    ax.set(xlabel="distance to the closest training row", ylabel="share of rows")
    ax.set_title("closest training rows: copies lie near 0", fontsize="medium")
    ax.legend(frameon=False)
