"""The report on a synthetic table: its measures, its pictures and its page."""

import re
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy import stats

from skscore.tabular.report import SyntheticDataReport

SEED = 0
MEASURES = [
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


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def draw(n=200, seed=SEED):
    rng = np.random.RandomState(seed)
    size = rng.standard_normal(n)
    frame = pd.DataFrame(
        {
            "size": size,
            "weight <b>": np.exp(1.5 * (size + rng.standard_normal(n))),
            "kind $x_": np.where(size > 0, "big", rng.choice(["<i>", "tiny"], n)),
            "flag": rng.uniform(size=n) < 0.3,
            "date": pd.Timestamp("2021-01-01") + pd.to_timedelta(rng.randint(0, 400, n), unit="D"),
            "y": size + 0.5 * rng.standard_normal(n),
        }
    )
    frame.loc[rng.uniform(size=n) < 0.1, "weight <b>"] = np.nan
    frame.loc[rng.uniform(size=n) < 0.1, "kind $x_"] = None
    return frame


def report_of(train, synthetic, **params):
    return SyntheticDataReport.from_tables(train, synthetic, **{"random_state": SEED, **params})


@pytest.fixture(scope="module")
def report():
    return report_of(draw(seed=1), draw(seed=2), test=draw(100, seed=3), target="y")


@pytest.fixture(scope="module")
def copies():
    train = draw(seed=1)
    return report_of(train, train.sample(frac=1, random_state=0), test=draw(100, seed=3))


def values(report):
    return report.to_frame()["value"]


# Measures


def test_every_measure_has_a_value_and_a_reference(report):
    frame = report.to_frame()
    assert list(frame.index) == MEASURES
    assert list(frame.columns) == ["value", "reference", "best", "better"]
    assert frame.notna().all(axis=None)
    assert set(frame["better"]) == {"higher", "lower", "nearer"}
    frame.loc[:, "value"] = 0
    assert (values(report) != 0).any()  # what was given away was a copy


def test_the_same_law_comes_out_near_its_references(report):
    frame = report.to_frame()
    value, reference = frame["value"], frame["reference"]
    # The area of 100 real and 100 synthetic rows has the standard error sqrt(201/(12 · 100²)).
    assert value["c2st"] == pytest.approx(0.5, abs=3 * 0.041)
    assert value["column_shapes"] > 0.9
    # Two samples of 200 beside 200 and 100: chance takes more from the reference.
    for name in ("column_shapes", "pair_trends"):
        assert reference[name] - 0.03 < value[name] < 1
    assert value["wasserstein_test"] == pytest.approx(reference["wasserstein_test"], rel=0.15)
    assert value["coverage_train"] == pytest.approx(reference["coverage_train"], abs=0.15)
    assert value["coverage_test"] == pytest.approx(reference["coverage_test"], abs=0.15)
    assert value["utility_ratio"] == pytest.approx(1, abs=0.1)
    assert value["copy_rate"] < 0.1
    assert value["closest_record_ratio"] == pytest.approx(1, abs=0.2)


def test_training_rows_handed_back_are_all_copies(copies):
    frame = copies.to_frame()
    value, reference = frame["value"], frame["reference"]
    assert value["copy_rate"] == 1 > reference["copy_rate"]
    for name in ("column_shapes", "missing_cells", "pair_trends", "coverage_train"):
        assert value[name] == pytest.approx(1)
    for name in ("wasserstein_train", "closest_record", "closest_record_ratio"):
        assert value[name] == pytest.approx(0, abs=1e-9)
    # What training rows reach is the reference of the measures beside test rows.
    assert value["wasserstein_test"] == pytest.approx(reference["wasserstein_test"])
    assert value["coverage_test"] == reference["coverage_test"]


def test_test_rows_handed_in_reach_the_references():
    train, test = draw(seed=1), draw(seed=3)
    frame = report_of(train, test, test=test, target="y").to_frame()
    for name in ("column_shapes", "missing_cells", "pair_trends", "wasserstein_train", "copy_rate"):
        assert frame["value"][name] == pytest.approx(frame["reference"][name])
    assert frame["value"]["closest_record_ratio"] == 1
    assert frame["value"]["wasserstein_test"] == pytest.approx(0, abs=1e-9)


def test_shuffled_columns_keep_shapes_and_lose_trends():
    train, rng = draw(600, seed=1), np.random.RandomState(SEED)
    shuffled = pd.DataFrame({c: train[c].to_numpy()[rng.permutation(600)] for c in train})
    found = report_of(train, shuffled, test=draw(600, seed=3), target="y").to_frame()
    assert found["value"]["column_shapes"] == pytest.approx(1)
    assert found["value"]["pair_trends"] < found["reference"]["pair_trends"] - 0.05
    assert found["value"]["c2st"] > 0.75
    assert found["value"]["utility_ratio"] < 0.2
    assert found["value"]["wasserstein_test"] > 1.2 * found["reference"]["wasserstein_test"]


def test_numbers_of_one_column_have_the_distances_of_their_formulas():
    rng = np.random.RandomState(SEED)
    train, synthetic, test = (pd.DataFrame({"x": rng.normal(size=n)}) for n in (60, 60, 30))
    found = report_of(train, synthetic, test=test).to_frame()
    width = np.ptp(train["x"])
    for name, other in [("wasserstein_train", train), ("wasserstein_test", test)]:
        expected = stats.wasserstein_distance(synthetic["x"], other["x"]) / width
        assert found["value"][name] == pytest.approx(expected)
        between = stats.wasserstein_distance(train["x"], test["x"]) / width
        assert found["reference"][name] == pytest.approx(between)
    nearest = [
        np.abs(frame.to_numpy() - train.to_numpy().T).min(axis=1) / width
        for frame in (synthetic, test)
    ]
    assert found["value"]["closest_record"] == pytest.approx(np.median(nearest[0]))
    assert found["value"]["closest_record_ratio"] == pytest.approx(
        np.median(nearest[0]) / np.median(nearest[1])
    )
    assert "pair_trends" not in found.index


def test_the_reference_of_the_coverage_of_training_rows_is_its_mean():
    found, n, m = [], 60, 40
    for seed in range(8):
        rng = np.random.RandomState(seed)
        frame = report_of(rng.normal(size=(n, 2)), rng.normal(size=(m, 2))).to_frame()
        found.append(frame["value"]["coverage_train"])
    expected = 1 - (n - 1) * (n - 2) / ((n + m - 1) * (n + m - 2))
    assert frame["reference"]["coverage_train"] == pytest.approx(expected)
    assert np.mean(found) == pytest.approx(expected, abs=4 * np.std(found) / 8**0.5)


def test_where_distances_tie_the_coverage_of_training_rows_has_no_reference():
    levels = pd.DataFrame(np.indices((3, 3, 3)).reshape(3, -1).T).astype(str)
    frame = report_of(levels, levels[::-1]).to_frame()
    assert np.isnan(frame["reference"]["coverage_train"])


def test_without_test_rows_training_rows_are_the_reference():
    train = draw(seed=1)
    frame = report_of(train, draw(seed=2)).to_frame()
    absent = {"wasserstein_test", "coverage_test", "train_on_synthetic", "utility_ratio"}
    assert set(MEASURES) - set(frame.index) == absent
    known = {"c2st", "coverage_train", "copy_rate", "closest_record", "closest_record_ratio"}
    assert set(frame.index[frame["reference"].notna()]) == known
    assert frame["value"]["closest_record_ratio"] == pytest.approx(1, abs=0.2)


def test_a_report_holds_plain_data_frames(report):
    columns = report.columns
    assert list(columns.index) == list(draw(10))
    assert list(columns["kind"]) == ["numeric"] * 2 + ["categorical"] * 2 + ["datetime", "numeric"]
    assert values(report)["column_shapes"] == pytest.approx(columns["similarity"].mean())
    np.testing.assert_allclose(columns["missing_real"], draw(seed=1).isna().mean())
    assert report.trends.shape == (6, 6)
    assert list(report.trends.columns) == list(report.trends.index) == list(columns.index)
    assert report.closest["rows"].value_counts().to_dict() == {"synthetic": 200, "test": 100}
    assert report.utility.shape == (3, 2)
    assert report.utility.index.name == "R²"
    assert values(report)["train_on_synthetic"] == report.utility["synthetic"].mean()
    assert report.n_rows == {"train": 200, "synthetic": 200, "test": 100}
    levels = report.marginals[report.marginals["column"] == "kind $x_"]
    assert set(levels["level"]) == {"big", "tiny", "<i>", "missing"}
    assert levels["real"].sum() == pytest.approx(1)


def test_the_seed_decides_and_the_global_one_is_left_alone():
    train, synthetic, test = draw(seed=1), draw(seed=2), draw(100, seed=3)
    np.random.seed(3)
    before = np.random.get_state()[1].copy()
    first, again, other = (
        report_of(train, synthetic, test=test, target="y", max_rows=60, random_state=seed)
        for seed in (0, np.random.RandomState(0), 1)
    )
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    pd.testing.assert_frame_equal(first.to_frame(), again.to_frame())
    assert not values(first).equals(values(other))


def test_long_tables_are_cut_but_copies_are_found_among_all_training_rows():
    train = draw(300, seed=1)
    found = report_of(train, train, max_rows=50)
    assert values(found)["copy_rate"] == 1
    assert len(found.closest) == 50 + 300
    assert values(found)["wasserstein_train"] > 0


def test_columns_in_another_order_make_no_difference(report):
    synthetic = draw(seed=2)
    swapped = report_of(
        draw(seed=1), synthetic[list(synthetic)[::-1]], test=draw(100, seed=3), target="y"
    )
    pd.testing.assert_frame_equal(swapped.to_frame(), report.to_frame())


def test_a_categorical_target_is_a_matter_of_classes():
    train, synthetic, test = draw(seed=1), draw(seed=2), draw(100, seed=3)
    found = report_of(train, synthetic, test=test, target="flag")
    assert found.utility.index.name == "macro-F1"
    assert 0 < values(found)["train_on_synthetic"] < 1


def test_a_target_that_nobody_predicts_has_no_ratio():
    rng = np.random.RandomState(SEED)
    tables = [pd.DataFrame(rng.normal(size=(40, 2)), columns=["x", "y"]) for _ in range(3)]
    frame = report_of(tables[0], tables[1], test=tables[2], target="y").to_frame()
    assert frame["reference"]["train_on_synthetic"] < 0
    assert "utility_ratio" not in frame.index


# Tables at the edge


def test_tables_of_one_level_and_of_missing_cells_pass():
    frame = pd.DataFrame({"one": ["a"] * 20, "none": [None] * 20, "constant": 3.0})
    found = report_of(frame, frame, test=frame)
    expected = {"column_shapes": 1, "pair_trends": 1, "wasserstein_test": 0, "coverage_test": 1}
    for name, value in expected.items():
        assert values(found)[name] == value
    assert values(found)["c2st"] == 0.5
    # No two training rows differ: there is nothing to copy, and no ratio of distances.
    assert not {"copy_rate", "closest_record_ratio"} & set(found.to_frame().index)
    assert isinstance(found.plot(), Figure)
    found.to_html()


def test_levels_and_numbers_never_seen_are_told_apart():
    train, test = draw(seed=1), draw(100, seed=3)
    odd = draw(seed=2).assign(**{"kind $x_": "new", "size": 50.0})
    found = values(report_of(train, odd, test=test))
    assert found["c2st"] > 0.99
    assert found["coverage_test"] == 0
    assert found["copy_rate"] <= 0.05


def test_arrays_and_names_that_are_no_strings_pass():
    rng = np.random.RandomState(SEED)
    train, synthetic = rng.normal(size=(2, 40, 3))
    found = report_of(train, synthetic, test=train[:20], target=2)
    assert list(found.columns.index) == [0, 1, 2]
    names = [("a", 1), 7, None]
    frames = [
        pd.DataFrame(rows).set_axis(pd.Index(names, tupleize_cols=False), axis=1)
        for rows in (train, synthetic)
    ]
    found = report_of(*frames)
    assert list(found.columns.index)[:2] == names[:2]
    found.to_html()


def test_columns_of_dates_with_zones_and_of_durations_pass():
    frames = []
    for seed in (1, 2):
        frame = draw(seed=seed)
        frame["zone"] = frame["date"].dt.tz_localize("Asia/Tokyo")
        frame["lasts"] = frame["date"] - frame["date"].min()
        frames.append(frame)
    found = report_of(*frames)
    assert found.columns.loc["zone", "similarity"] == found.columns.loc["date", "similarity"]
    assert found.columns.loc["lasts", "similarity"] > 0.8


def test_what_does_not_fit_is_refused():
    train, test = draw(seed=1), draw(100, seed=3)
    with pytest.raises(ValueError, match=r"test has no \['y'\], unlike train"):
        report_of(train, train, test=test.drop(columns="y"))
    with pytest.raises(ValueError, match="synthetic has 9 rows; give 10 or more"):
        report_of(train, train[:9])
    with pytest.raises(ValueError, match="target='z' is not among the columns"):
        report_of(train, train, test=test, target="z")
    with pytest.raises(ValueError, match="target='y' needs test"):
        report_of(train, train, target="y")
    with pytest.raises(ValueError, match="task='rank' is unknown; give one of"):
        report_of(train, train, task="rank")
    with pytest.raises(ValueError, match="train has a column with the label NaN"):
        report_of(train.rename(columns={"size": np.nan}), train)
    for bad in (5, 20.5, True):
        with pytest.raises(ValueError, match=f"max_rows={bad}"):
            report_of(train, train, max_rows=bad)


# Pictures and pages


def test_the_picture_shows_the_columns_least_alike_first(report):
    figure = report.plot(n_columns=4)
    assert isinstance(figure, Figure)
    assert figure.number in plt.get_fignums()
    titles = [ax.get_title() for ax in figure.axes if "similarity" in ax.get_title()][:4]
    worst = report.columns["similarity"].nsmallest(4, keep="first").index
    for title, name in zip(titles, worst, strict=True):
        assert title.startswith(name.replace("$", r"\$"))
    figure.canvas.draw()  # a lone dollar in a name is no mathematics
    drawn = {label for ax in figure.axes for label in ax.get_legend_handles_labels()[1]}
    assert drawn == {"real", "synthetic", "real (test)"}


@pytest.mark.parametrize("n_columns", [0, -1, 2.5])
def test_a_picture_of_no_column_is_refused(report, n_columns):
    with pytest.raises(ValueError, match=f"n_columns={n_columns} draws nothing"):
        report.plot(n_columns=n_columns)


def test_the_heights_drawn_are_the_shares_of_the_rows(report):
    rows = report.marginals[report.marginals["column"] == "date"]
    dates = (draw(seed=1)["date"] - pd.Timestamp(0)).dt.total_seconds()
    edges = np.append(rows["left"], rows["right"].iloc[-1])
    np.testing.assert_allclose(rows["real"], np.histogram(dates, edges)[0] / 200)
    assert 0.98 <= rows["real"].sum() <= 1


def test_a_positive_column_of_many_magnitudes_is_drawn_on_a_logarithmic_axis(report):
    figure = report.plot()
    scales = {ax.get_title().split(":")[0]: ax.get_xscale() for ax in figure.axes}
    assert scales["weight <b>"] == "log"
    assert scales["size"] == scales["date"] == "linear"


def test_tables_of_many_columns_are_drawn():
    rng = np.random.RandomState(SEED)
    train, synthetic = rng.normal(size=(2, 30, 40))
    figure = report_of(train, synthetic).plot(n_columns=15)
    figure.canvas.draw()
    assert sum("similarity" in ax.get_title() for ax in figure.axes) == 16


def test_many_levels_are_summed():
    train = pd.DataFrame({"x": [f"level {i}" for i in range(30)] * 2})
    found = report_of(train, train).marginals
    assert list(found["level"])[-1] == "20 others"
    assert len(found) == 11
    assert found["real"].sum() == pytest.approx(1)


def test_the_page_stands_alone_and_escapes_names(report, tmp_path):
    page = report.to_html()
    text = re.sub(r'base64,[^"]+', "", page)
    assert "http" not in text
    assert re.findall(r'(?:src|href)="([^"]*)"', text) == ["data:image/png;"] * 3
    assert "weight &lt;b&gt;" in text
    assert "<b>" not in text and "<i>" not in text
    for name in MEASURES:
        assert f"<th>{name}</th>" in text
    assert "200 train, 200 synthetic, 100 test" in text
    assert "R²" in text
    assert plt.get_fignums() == []
    path = tmp_path / "report.html"
    assert report.to_html(path) is None
    assert len(path.read_text(encoding="utf-8")) == pytest.approx(len(page), rel=0.01)


def test_the_page_of_one_column_has_no_pairs():
    frame = draw()[["size"]]
    page = report_of(frame, frame).to_html()
    assert page.count("<img") == 2
    assert "Pairs" not in page


def test_a_report_is_short_on_a_line_and_a_table_in_a_notebook(report, copies):
    assert re.fullmatch(
        r"SyntheticDataReport\(column_shapes=0\.\d{3}, pair_trends=0\.\d{3}, c2st=0\.\d{3}, "
        r"copy_rate=0\.\d{3}\)",
        repr(report),
    )
    assert "copy_rate=1.000" in repr(copies)
    assert report._repr_html_().count("<tr") == len(MEASURES) + 1
    assert "<img" not in report._repr_html_()


@pytest.mark.parametrize(
    ("package", "call"),
    [
        ("matplotlib", lambda report: report.plot()),
        ("matplotlib", lambda report: report.to_html()),
        ("pandas", lambda report: report_of(np.eye(12), np.eye(12))),
        ("ot", lambda report: report_of(draw(20), draw(20, seed=1))),
    ],
)
def test_what_is_not_installed_is_named(report, package, call, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match="POT" if package == "ot" else package):
        call(report)


@pytest.mark.parametrize(
    "values",
    [
        [0.1 + 0.2, 0.3],
        2**60 + np.arange(4),
        [10**17],
        np.array(["9999-12-31", "2024-01-01", "2024-03-01"], dtype="M8[s]"),
        np.array(["0001-01-01", "2024-01-01"], dtype="M8[s]"),
    ],
    ids=["last bits", "large integers", "one large integer", "open end", "first day"],
)
def test_columns_at_the_ends_of_what_is_drawn(values):
    rng = np.random.RandomState(0)
    df = pd.DataFrame({"v": rng.choice(np.asarray(values), 60), "x": rng.normal(size=60)})
    report = SyntheticDataReport.from_tables(df, df, random_state=0)
    assert "column_shapes" in report.to_frame().index
    marginals = report.marginals
    assert marginals[marginals["column"] == "v"]["real"].sum() == pytest.approx(1)
    assert "<img" in report.to_html()


def test_frames_of_polars_are_read_by_the_names_of_their_columns():
    pl = pytest.importorskip("polars")
    pytest.importorskip("narwhals")
    rng = np.random.RandomState(0)
    made = [
        {
            "h": rng.normal(170, 5, 60),
            "w": rng.normal(70, 5, 60),
            "c": rng.choice(["a", "b"], 60).tolist(),
            "n": [None if u < 0.2 else u for u in rng.random_sample(60).tolist()],
        }
        for _ in range(3)
    ]
    reports = [
        SyntheticDataReport.from_tables(
            of(made[0]),
            of({name: made[1][name] for name in "nwch"}),
            test=of(made[2]),
            target="c",
            random_state=0,
        ).to_frame()
        for of in (pl.DataFrame, pd.DataFrame)
    ]
    pd.testing.assert_frame_equal(*reports)
