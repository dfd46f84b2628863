"""Rows of which some cells are given, in polars; pandas is tested with the generator."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from skscore.tabular import TabularGenerator
from skscore.tabular._given import Given, given_cells

pl = pytest.importorskip("polars")
pytest.importorskip("narwhals")

# So few steps leave the network at the exact score of independent columns, near enough.
QUICK = {"max_steps": 2, "hidden_units": (8,), "random_state": 0}


def table(n=200, seed=0):
    rng = np.random.RandomState(seed)
    days = [dt.date(2024, 1, 1) + dt.timedelta(int(j)) for j in rng.randint(0, 90, n)]
    return pl.DataFrame(
        {
            "height": 170 + 7 * rng.standard_normal(n),
            "children": rng.poisson(1.5, n),
            "sex": pl.Series(rng.choice(["f", "m"], n).tolist(), dtype=pl.Enum(["f", "m", "x"])),
            "town": rng.choice(["Oslo", "Rome"], n),
            "member": rng.random_sample(n) < 0.4,
            "day": days,
            "width": pl.Series(rng.standard_normal(n).tolist(), dtype=pl.Float32),
            "gone": [None if u < 0.2 else u for u in rng.random_sample(n).tolist()],
        }
    )


@pytest.fixture(scope="module")
def fitted():
    return TabularGenerator(**QUICK).fit(table())


def test_rows_come_back_in_a_frame_of_polars(fitted):
    drawn = fitted.sample(50, random_state=0)
    assert drawn.schema == table().schema
    assert drawn["gone"].null_count() > 0
    rules = [lambda df: df["children"] > 0, lambda df: df["town"] == "Rome"]
    kept = fitted.sample(30, random_state=0, constraints=rules)
    assert (kept["children"] > 0).all()
    assert (kept["town"] == "Rome").all()


def test_given_cells_come_back_as_they_are(fitted):
    given = table(8, seed=1).select("day", "width", "height", "sex", "children")
    given = given.with_columns(
        height=pl.Series([1.0, None, 170.5, float("nan")] * 2),
        sex=pl.Series(["f", None, "m", "f"] * 2),
        children=pl.Series([1.0, float("nan"), None, 3.0] * 2),
    )
    drawn = fitted.sample(conditions=given, random_state=0)
    assert drawn.schema == table().schema
    assert drawn.drop("gone").null_count().sum_horizontal().item() == 0
    assert drawn["height"].gather([0, 2]).to_list() == [1.0, 170.5]
    assert drawn["height"].is_nan().sum() == 0
    assert drawn["sex"].gather([0, 2, 3]).to_list() == ["f", "m", "f"]
    assert drawn["children"].gather([0, 3]).to_list() == [1, 3]
    assert drawn["day"].equals(given["day"])
    assert drawn["width"].equals(given["width"])


def test_the_same_rows_are_drawn_as_from_pandas(fitted):
    df = table().select("height", "children")
    ours = TabularGenerator(**QUICK).fit(df)
    theirs = TabularGenerator(**QUICK).fit(pd.DataFrame(df.to_dict(as_series=False)))
    given = {"height": [165.0, 180.0], "children": [None, 1]}
    drawn = ours.sample(conditions=pl.DataFrame(given), random_state=0)
    expected = theirs.sample(conditions=pd.DataFrame(given), random_state=0)
    np.testing.assert_array_equal(drawn.to_numpy(), expected.to_numpy())


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"town": "Oslo", "children": 3}, {"town": "Oslo", "children": 3}),
        ({"day": dt.date(2024, 2, 1)}, {"day": dt.date(2024, 2, 1)}),
        ({"day": np.datetime64("2024-02-01")}, {"day": dt.date(2024, 2, 1)}),
        ({"day": pd.Timestamp("2024-02-01")}, {"day": dt.date(2024, 2, 1)}),
        ({"member": np.bool_(True), "children": np.int64(2)}, {"member": True, "children": 2}),
        ({"children": 2.0}, {"children": 2}),
        ({"width": 0.1}, {"width": float(np.float32(0.1))}),
    ],
)
def test_a_dict_of_conditions_is_for_all_rows(fitted, given, expected):
    drawn = fitted.sample(3, random_state=0, conditions=given)
    assert drawn.schema == table().schema
    for name, value in expected.items():
        assert drawn[name].to_list() == [value] * 3


@pytest.mark.parametrize("column", ["sex", "town", "member"])
def test_levels_can_be_balanced(fitted, column):
    drawn = fitted.sample(10, random_state=0, balance=column)
    assert drawn[column].value_counts()["count"].to_list() == [5, 5]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"age": 3}, r"of which \['age'\] are not those of fit"),
        ({"children": 1.5}, "column 'children' that its dtype Int64 does not hold"),
        ({"children": "3"}, "column 'children' that its dtype Int64 does not hold"),
        ({"town": 3}, "column 'town' that its dtype String does not hold"),
        ({"day": 3}, "column 'day' that its dtype Date does not hold"),
        ({"day": dt.datetime(2024, 2, 1, 3)}, "column 'day' that its dtype Date does not hold"),
        ({"sex": "z"}, r"\['z'\] in the column 'sex', whose categories are \['f', 'm', 'x'\]"),
        (pd.DataFrame({"children": [1]}), "Fit was on a polars data frame.*give a polars"),
        (np.zeros((1, 8)), "give a polars data frame or a dict"),
    ],
)
def test_what_cannot_be_given_is_refused(fitted, given, message):
    with pytest.raises((ValueError, TypeError), match=message):
        fitted.sample(conditions=given)


def test_a_frame_of_polars_is_none_of_pandas():
    generator = TabularGenerator(**QUICK).fit(pd.DataFrame({"x": [1.0, 2.0, 3.5]}))
    with pytest.raises(TypeError, match="Fit was on a pandas data frame"):
        generator.sample(conditions=pl.DataFrame({"x": [1.0]}))


def test_some_of_the_rows_can_be_taken():
    given = given_cells(table(1), {"children": [1, None, 3]})
    part = given.part(np.array([2, 0]))
    assert isinstance(part, Given)
    assert part.known[:, 1].all()
    assert part.rows["children"].to_list() == [3, 1]
    assert part.put_back(table(2))["children"].to_list() == [3, 1]


def test_all_cells_missing_is_nothing_given(fitted):
    nothing = pl.DataFrame({"town": pl.Series([None, None], dtype=pl.String), "day": [None, None]})
    drawn = fitted.sample(conditions=nothing, random_state=0)
    assert len(drawn) == 2
    assert drawn["town"].null_count() == 0
