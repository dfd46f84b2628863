"""Measures of mixed tables against closed forms and slow loops."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from skscore.tabular._table_columns import Gower, encode, read_tables, scale
from skscore.tabular._table_metrics import (
    column_shapes,
    mean_trend,
    missing_similarity,
    pair_trends,
)
from skscore.tabular._table_utility import infer_task, train_on_each

SEED = 0


def mixed(n=200, seed=SEED):
    """Numbers, categories, booleans and dates, some of them missing, that hang together."""
    rng = np.random.RandomState(seed)
    size = rng.standard_normal(n)
    frame = pd.DataFrame(
        {
            "size": size,
            "weight": size + rng.standard_normal(n),
            "count": rng.poisson(3, n),
            "kind": np.where(size > 0, "big", rng.choice(["small", "tiny"], n)),
            "flag": rng.uniform(size=n) < 0.3,
            "date": pd.Timestamp("2021-01-01") + pd.to_timedelta(rng.randint(0, 400, n), unit="D"),
        }
    )
    frame.loc[rng.uniform(size=n) < 0.1, "weight"] = np.nan
    frame.loc[rng.uniform(size=n) < 0.1, "kind"] = None
    frame.loc[rng.uniform(size=n) < 0.1, "date"] = pd.NaT
    return frame


def read(a, b):
    columns, tables = read_tables({"train": a, "synthetic": b})
    return columns, tables["train"], tables["synthetic"]


def shapes_of(a, b):
    return column_shapes(*read(pd.DataFrame(a), pd.DataFrame(b)))


def trends_of(a, b):
    return pair_trends(*read(pd.DataFrame(a), pd.DataFrame(b)))


# Reading


def test_columns_are_known_by_their_dtype():
    frame = mixed()
    frame["late"] = frame["date"].dt.tz_localize("Europe/Berlin")
    frame["lasts"] = frame["date"] - frame["date"].min()
    frame["graded"] = pd.Categorical.from_codes(frame["count"] % 3, [1, 2, 3], ordered=True)
    frame["nullable"] = frame["count"].astype("Int64").mask(frame["flag"])
    frame["answer"] = frame["flag"].astype("boolean").mask(frame["count"] > 5)
    columns, table, _ = read(frame, frame)
    assert columns.names == list(frame)
    assert dict(zip(columns.names, columns.kinds, strict=True)) == {
        "size": "numeric",
        "weight": "numeric",
        "count": "numeric",
        "kind": "categorical",
        "flag": "categorical",
        "date": "datetime",
        "late": "datetime",
        "lasts": "numeric",
        "graded": "categorical",
        "nullable": "numeric",
        "answer": "categorical",
    }
    np.testing.assert_allclose(table.missing(columns), frame.isna().mean())
    seconds = table.column(columns, columns.names.index("date"))
    present = frame["date"].notna().to_numpy()
    expected = (frame["date"][present] - pd.Timestamp(0)).dt.total_seconds()
    np.testing.assert_allclose(seconds[present], expected, rtol=0)
    late = table.column(columns, columns.names.index("late"))
    np.testing.assert_array_equal((seconds - late)[present] % 3600, 0)


def test_levels_are_in_the_order_of_their_frequency_in_the_training_rows():
    columns, a, b = read(pd.DataFrame({"x": list("abbc")}), pd.DataFrame({"x": ["c", None, "d"]}))
    assert columns.levels == {"x": ["b", "a", "c", "d"]}
    assert a.codes.ravel().tolist() == [1, 0, 0, 2]
    assert b.codes.ravel().tolist() == [2, -1, 3]


def test_columns_come_in_the_order_of_the_first_table():
    frame = mixed()
    columns, a, b = read(frame, frame[list(frame)[::-1]])
    assert columns.names == list(frame)
    np.testing.assert_array_equal(a.numbers, b.numbers)
    np.testing.assert_array_equal(a.codes, b.codes)


def test_arrays_are_tables_too():
    rng = np.random.RandomState(SEED)
    columns, a, _ = read(rng.normal(size=(5, 2)), [[1, 2], [3, 4]])
    assert columns.names == [0, 1]
    assert columns.kinds == ["numeric"] * 2
    objects = np.array([["a", 1.5], ["b", 2.5]], dtype=object)
    assert read(objects, objects)[0].kinds == ["categorical", "numeric"]


def test_a_column_that_is_missing_in_one_table_is_of_the_kind_of_the_other():
    full, empty = pd.DataFrame({"x": [1.0, 2.0]}), pd.DataFrame({"x": [None, None]}, dtype=object)
    assert read(full, empty)[0].kinds == ["numeric"]
    assert read(empty, full)[0].kinds == ["numeric"]
    assert read(empty, empty)[0].kinds == ["categorical"]
    assert shapes_of(full, empty) == shapes_of(empty, full) == 0
    assert shapes_of(empty, empty) == 1


def test_what_does_not_fit_is_named():
    a = pd.DataFrame({"x": [1.0, 2.0], "y": ["a", "b"]})
    with pytest.raises(ValueError, match=r"synthetic has no \['y'\] and has \['z'\], unlike train"):
        read(a, a.rename(columns={"y": "z"}))
    with pytest.raises(ValueError, match=r"synthetic has more than one column .* \['x'\]"):
        read(a, pd.concat([a, a[["x"]]], axis=1))
    with pytest.raises(ValueError, match="Column 'x' is numeric in train .* categorical in synth"):
        read(a, a.astype({"x": str}))
    with pytest.raises(ValueError, match="'x' of synthetic has 1 infinite .* row 1"):
        read(a, a.assign(x=[0, -np.inf]))
    with pytest.raises(ValueError, match="'y' has cells that cannot be levels .*list"):
        read(a, a.assign(y=[["a"], ["b"]]))
    with pytest.raises(ValueError, match="train has 1 row"):
        read(a[:1], a)
    with pytest.raises(ValueError, match=r"synthetic has 0 row\(s\) and 2"):
        read(a, a[:0])
    with pytest.raises(ValueError, match=r"train has 1 dimension"):
        read([1, 2], a)


# Distances


def slow_distance(a, b, train):
    """Gower's distance of two rows of data frames."""
    total = 0.0
    for name in ("size", "weight", "count", "date"):
        known = train[name].dropna()
        u = [0.0, 0.0]
        for i, row in enumerate((a, b)):
            cell = known.mean() if pd.isna(row[name]) else row[name]
            u[i] = (cell - known.min()) / (known.max() - known.min())
        total += abs(u[0] - u[1]) + 0.5 * (pd.isna(a[name]) != pd.isna(b[name]))
    for name in ("kind", "flag"):
        same = a[name] == b[name] or (pd.isna(a[name]) and pd.isna(b[name]))
        total += not same
    return total


def test_rows_are_apart_by_gowers_distance():
    a, b = mixed(30, seed=1), mixed(20, seed=2)
    _, first, second = read(a, b)
    encoded, metric = encode({"a": first, "b": second}, first)
    expected = [[slow_distance(x, y, a) for _, y in b.iterrows()] for _, x in a.iterrows()]
    np.testing.assert_allclose(metric(encoded["a"], encoded["b"]), expected, atol=1e-6)


def test_the_distance_of_levels_is_that_of_halved_one_hot_columns():
    rng = np.random.RandomState(SEED)
    codes = rng.randint(0, 4, (10, 3))
    one_hot = (codes[:, :, None] == np.arange(4)).reshape(10, -1) / 2
    expected = np.abs(one_hot[:, None] - one_hot).sum(axis=2)
    np.testing.assert_allclose(Gower(0)(codes.astype(float), codes.astype(float)), expected)


def test_numbers_of_any_size_are_scaled():
    x = np.array([-1e300, 0, 1e300])
    frame = pd.DataFrame({"x": x, "constant": 7.0, "y": [1e-300, 2e-300, 3e-300]})
    _, a, _ = read(frame, frame)
    np.testing.assert_allclose(scale(a, a).numbers, [[0, 0, 0], [0.5, 0, 0.5], [1, 0, 1]])


# Column shapes


def test_shapes_of_numbers_are_those_of_scipy():
    a, b = mixed(150, seed=1), mixed(90, seed=2)
    found = dict(zip(a, column_shapes(*read(a, b)), strict=True))
    for name in ("size", "weight", "count", "date"):
        x, y = a[name].dropna(), b[name].dropna()
        if name == "date":
            x, y = x.astype("int64"), y.astype("int64")
        assert found[name] == pytest.approx(1 - stats.ks_2samp(x, y).statistic)


def test_shapes_of_levels_are_total_variation_with_missing_as_a_level():
    a = {"x": ["a"] * 5 + ["b"] * 3 + [None] * 2}
    b = {"x": ["a"] * 2 + ["c"] * 2}
    # ½ (|.5 - .5| + |.3 - 0| + |0 - .5| + |.2 - 0|)
    assert shapes_of(a, b) == pytest.approx(0.5)
    assert shapes_of(a, a) == 1
    assert shapes_of({"x": ["a"] * 3}, {"x": ["a"] * 9}) == 1
    assert shapes_of({"x": ["a"] * 3}, {"x": ["b"] * 9}) == 0


def test_shapes_of_the_same_law_are_below_1_by_what_chance_takes():
    n, p, columns = 400, np.array([0.5, 0.3, 0.2]), 200
    rng = np.random.RandomState(SEED)
    a, b = (pd.DataFrame(rng.choice(list("abc"), (n, columns), p=p)) for _ in range(2))
    lost = 1 - shapes_of(a, b)
    expected = np.sqrt(p * (1 - p) * (2 / n) / (2 * np.pi)).sum()
    assert lost.mean() == pytest.approx(expected, abs=4 * lost.std() / columns**0.5)
    x, y = (pd.DataFrame(rng.standard_normal((n, columns))) for _ in range(2))
    lost = 1 - shapes_of(x, y)
    # The mean of Kolmogorov's law, sqrt(π/2) ln 2; for finite n it is less by about 1/(2n) steps.
    expected = np.sqrt(np.pi / 2) * np.log(2) / np.sqrt(n / 2)
    assert lost.mean() == pytest.approx(expected, abs=4 * lost.std() / columns**0.5 + 1 / n)


def test_missing_cells_are_compared_by_their_share():
    a = pd.DataFrame({"x": [1.0, np.nan, np.nan, 2.0], "y": ["a", "b", None, "a"]})
    b = pd.DataFrame({"x": [1.0, 2.0], "y": [None, "a"]})
    np.testing.assert_allclose(missing_similarity(*read(a, b)), [0.5, 0.75])


# Pair trends


def slow_trend(a, b, i, j):
    x, y = a.columns[i], a.columns[j]
    numbers = [pd.api.types.is_number(a[c].dropna().iloc[0]) and a[c].dtype != bool for c in (x, y)]
    if all(numbers):
        r = []
        for frame in (a, b):
            both = frame[[x, y]].dropna()
            r.append(stats.pearsonr(both[x], both[y]).statistic)
        return 1 - abs(r[0] - r[1]) / 2
    tables = []
    for frame in (a, b):
        cells = []
        for c, number in zip((x, y), numbers, strict=True):
            if number:
                edges = np.quantile(a[c].dropna(), np.arange(1, 10) / 10)
                edges = [-np.inf, *np.unique(edges), np.inf]
                cells.append(pd.cut(frame[c], edges, labels=False).fillna(-1).astype(str))
            else:
                cells.append(frame[c].astype(object).where(frame[c].notna(), "missing").astype(str))
        tables.append((cells[0] + "|" + cells[1]).value_counts(normalize=True))
    return 1 - tables[0].sub(tables[1], fill_value=0).abs().sum() / 2


def test_trends_are_those_of_a_slow_loop():
    a, b = mixed(150, seed=1), mixed(90, seed=2)
    for frame in (a, b):
        frame["date"] = (frame["date"] - pd.Timestamp("2021")).dt.total_seconds()
    found = pair_trends(*read(a, b))
    for i in range(a.shape[1]):
        assert np.isnan(found[i, i])
        for j in range(i):
            for trend in (found[i, j], found[j, i]):
                assert trend == pytest.approx(slow_trend(a, b, i, j)), (i, j)
    above = [found[i, j] for i in range(a.shape[1]) for j in range(i)]
    assert mean_trend(found) == pytest.approx(np.mean(above))


def test_dates_have_the_trends_of_their_days():
    a, b = mixed(150, seed=1), mixed(90, seed=2)
    days = [f.assign(date=(f["date"] - pd.Timestamp("1999")).dt.days.astype(float)) for f in (a, b)]
    np.testing.assert_allclose(pair_trends(*read(a, b)), pair_trends(*read(*days)))


def test_a_lost_trend_is_seen_though_the_shapes_are_kept():
    rng = np.random.RandomState(SEED)
    a = mixed(2000)[["size", "weight", "kind", "flag"]]
    b = pd.DataFrame({c: a[c].to_numpy()[rng.permutation(len(a))] for c in a})
    np.testing.assert_allclose(shapes_of(a, b), 1)
    found = trends_of(a, b)
    # The correlation of x and x + e is 1/√2.
    assert found[0, 1] == pytest.approx(1 - 0.5**0.5 / 2, abs=0.05)
    assert found[0, 2] < 0.7
    assert found[0, 3] > 0.9


def test_a_column_that_does_not_vary_has_no_correlation():
    x = np.arange(10.0)
    a, constant = {"x": x, "y": x}, {"x": x, "y": np.full(10, 0.1)}
    assert trends_of(a, constant)[0, 1] == trends_of(constant, a)[0, 1] == 0.5
    assert trends_of(constant, constant)[0, 1] == 1
    nothing = {"x": x, "y": np.full(10, np.nan)}
    assert trends_of(nothing, nothing)[0, 1] == 1


def test_columns_of_many_levels_have_trends():
    n = 3000
    a = {"x": [f"r{i}" for i in range(n)], "y": np.arange(n) % 2 == 0, "z": np.arange(n) * 1.0}
    found = trends_of(a, a)
    np.testing.assert_allclose(found[~np.eye(3, dtype=bool)], 1)
    assert trends_of(a, a | {"x": [f"s{i}" for i in range(n)]})[0, 1] == pytest.approx(0)


# Usefulness


def scores(a, b, test, target, task="classification"):
    columns, tables = read_tables({"train": a, "synthetic": b, "test": test})
    fitted_to = {name: tables[name] for name in ("synthetic", "train")}
    return train_on_each(columns, fitted_to, tables["test"], target, task, SEED)


def test_models_of_the_same_rows_score_the_same():
    a, test = mixed(seed=1), mixed(seed=2)
    for target, task in [("kind", "classification"), ("weight", "regression")]:
        found = scores(a, a, test, target, task)
        assert found["synthetic"] == found["train"]
        assert list(found["train"]) == ["linear", "random_forest", "boosted_trees"]
    # R² of x for x + e is ½, of the best predictor.
    assert 0.2 < min(found["train"].values()) < max(found["train"].values()) < 0.65


def test_labels_drawn_at_random_teach_nothing():
    a, test = mixed(400, seed=1), mixed(400, seed=2)
    random = a.assign(weight=a["weight"].sample(frac=1, random_state=SEED).to_numpy())
    found = scores(a, random, test, "weight", "regression")
    assert max(found["synthetic"].values()) < 0.1


def test_a_table_of_one_class_predicts_that_class():
    a, test = mixed(seed=1).dropna(), mixed(seed=2).dropna()
    only = a[a["kind"] == "big"]
    found = scores(a, only, test, "kind")
    # F1 of always "big", a third of it since the other two classes get none.
    share = (test["kind"] == "big").mean()
    expected = 2 * share / (1 + share) / 3
    np.testing.assert_allclose(list(found["synthetic"].values()), expected)


def test_models_take_levels_never_seen_and_columns_without_cells():
    a, test = mixed(seed=1), mixed(seed=2)
    odd = a.assign(kind="new", size=np.nan)
    found = scores(a, odd, test, "flag")
    assert np.isfinite(list(found["synthetic"].values())).all()
    rare = a.assign(kind=np.where(np.arange(len(a)) == 0, "once", a["kind"]))
    assert np.isfinite(list(scores(a, rare, test, "kind")["synthetic"].values())).all()


def test_numbers_can_be_classes():
    a, test = mixed(seed=1), mixed(seed=2)
    ones = [frame.assign(flag=frame["flag"].astype(float)) for frame in (a, test)]
    assert scores(ones[0], ones[0], ones[1], "flag")["train"] == pytest.approx(
        scores(a, a, test, "flag")["train"]
    )


def test_the_task_is_told_from_the_target():
    frame = mixed().assign(two=lambda f: f["flag"].astype(int))
    columns, a, _ = read(frame, frame)
    tasks = {name: infer_task(columns, a, name) for name in frame}
    assert [name for name in tasks if tasks[name] == "classification"] == ["kind", "flag", "two"]


def test_a_target_that_does_not_fit_is_refused():
    a = mixed()
    with pytest.raises(ValueError, match="'size' is the only column"):
        scores(a[["size"]], a[["size"]], a[["size"]], "size", "regression")
    with pytest.raises(ValueError, match="'kind' is categorical, .* give task='classification'"):
        scores(a, a, a, "kind", "regression")
    with pytest.raises(ValueError, match=r"synthetic has 0 row\(s\) with a value of target='kind'"):
        scores(a, a.assign(kind=None), a, "kind")
