"""Rows of which some cells are given, as they are or with an error that names the column."""

import datetime as dt
import re

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
        (pl.DataFrame(), "conditions have no rows"),
        ({"children": 10**30}, "column 'children' that its dtype Int64 does not hold"),
        ({"children": 10**60}, "column 'children' that its dtype Int64 does not hold"),
        (
            {"children": [1, 2]},
            r"\(list\) in the column 'children'; a dict holds one value for each",
        ),
        ({"children": 1j}, "column 'children' that its dtype Int64 does not hold"),
        ({"day": dt.timedelta(1)}, "column 'day' that its dtype Date does not hold"),
        ({"width": 1e300}, "column 'width' that its dtype Float32 does not hold"),
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


UTC = dt.UTC
MONTH, DAY = pd.Period("2024-01", "M"), pd.Period("2024-01-01", "D")
LEVELS = pd.CategoricalDtype(["u", "v"])


@pytest.mark.parametrize(
    ("fit", "given", "expected"),
    [
        (np.array([[1]]), [[5.0], [np.nan]], 5),
        (np.array([[1.0]], dtype="f4"), [[0.1]], np.float32(0.1)),
        (np.array([[True]]), [[False], [None]], False),
        (np.array([["a"]]), [["b"], [np.nan]], "b"),
        (np.array([["2024-01-01"]], dtype="M8[D]"), [[dt.date(2024, 2, 1)]], dt.date(2024, 2, 1)),
        (np.array([[1]]), pd.DataFrame({0: pd.array([2, None], dtype="Int8")}), 2),
    ],
)
def test_cells_of_an_array_are_given(fit, given, expected):
    found = given_cells(fit, given)
    assert found.rows.dtype == fit.dtype
    assert found.rows[0, 0] == expected
    assert found.known.ravel().tolist() == [True, False][: len(given)]
    assert (found.rows[1:] == fit).all()


@pytest.mark.parametrize(
    ("fit", "cell"),
    [
        (np.array([[1]]), 5.5),
        (np.array([[1]]), "a"),
        (np.array([[1]]), np.inf),
        (np.array([[1]]), np.timedelta64(3, "D")),
        (np.array([[1]], dtype=np.uint8), 300),
        (np.array([[1]], dtype=np.int8), 300),
        (np.array([[1.0]], dtype="f4"), 1e300),
        (np.array([[1.0]], dtype="f4"), 2**24 + 1),
        (np.array([["a"]]), "apple"),
        (np.array([["a"]]), 12),
        (np.array([[True]]), "False"),
        (np.array([[True]]), 2),
        (np.array([[True]]), 0.3),
        (np.array([["2020-01-05"]], dtype="M8[D]"), np.datetime64("2020-01-05T12")),
        (np.array([[3]], dtype="m8[D]"), 3),
    ],
)
def test_cells_that_an_array_does_not_hold_are_refused(fit, cell):
    message = re.escape(f"in the column 0 that its dtype {fit.dtype} does not hold")
    for given in ([[cell]], np.array([[cell]]), {0: [cell]}):
        with pytest.raises(ValueError, match=message):
            given_cells(fit, given)


@pytest.mark.parametrize(
    ("dtype", "fill", "given"),
    [
        (LEVELS, "v", pd.Categorical(["u", None])),
        ("str", "u", pd.Categorical(["v", None])),
        (object, "u", pd.Categorical(["v", None])),
        ("float64", 0.5, pd.array([1, None], dtype="Int64")),
        ("int64", 1, pd.array([100, None], dtype="Int8")),
        ("float32", 0.5, [0.1, None]),
        ("Float32", 0.5, [0.1, None]),
        ("Int64", 1, [5.0, None]),
        ("Sparse[float64]", 1.0, [2.5, None]),
        ("period[D]", DAY, [DAY + 1, None]),
        ("M8[ns, UTC]", "2024-01-01", [pd.Timestamp("2024-02-01", tz="Europe/Oslo"), None]),
    ],
)
def test_cells_of_another_dtype_of_pandas_are_given(dtype, fill, given):
    fit = pd.DataFrame({"c": pd.Series([fill], dtype=dtype)})
    found = given_cells(fit, pd.DataFrame({"c": given}))
    assert found.known.ravel().tolist() == [True, False]
    expected = pd.concat([pd.Series(given[:1]).astype(dtype), fit["c"]], ignore_index=True)
    pd.testing.assert_series_equal(found.rows["c"], expected, check_names=False)


@pytest.mark.parametrize(
    ("dtype", "fill", "cell"),
    [
        ("Int64", 1, 5.5),
        ("boolean", True, 2),
        ("float32", 0.5, 1e300),
        ("int64", 1, 10**30),
        ("int64", 1, np.inf),
        ("int64", 1, [1, 2]),
        ("string", "u", 3),
        ("period[D]", DAY, MONTH),
        ("M8[ns]", "2024-01-01", pd.Timestamp("2024-01-01", tz="UTC")),
        ("M8[ns, UTC]", "2024-01-01", pd.Timestamp("2024-01-01")),
    ],
)
def test_cells_that_a_dtype_of_pandas_does_not_hold_are_refused(dtype, fill, cell):
    fit = pd.DataFrame({"c": pd.Series([fill], dtype=dtype)})
    with pytest.raises(ValueError, match=r"in the column 'c' that its dtype .* does not hold"):
        given_cells(fit, pd.DataFrame({"c": [cell]}))


def test_lists_are_no_levels():
    fit = pd.DataFrame({"c": pd.Series(["u"], dtype=LEVELS)})
    with pytest.raises(ValueError, match=r"\['\[1\]'\] in the column 'c', whose categories are"):
        given_cells(fit, pd.DataFrame({"c": [[1]]}))


@pytest.mark.parametrize("given", [{"a": [7.0]}, pd.DataFrame({"b": ["u"]})])
def test_a_part_of_a_label_names_no_column(given):
    labels = pd.MultiIndex.from_tuples([("a", "x"), ("b", "s")])
    fit = pd.DataFrame([[1.0, "u"]], columns=labels)
    with pytest.raises(ValueError, match="are not those of fit"):
        given_cells(fit, given)
    found = given_cells(fit, {("a", "x"): [7.0]})
    assert found.rows[("a", "x")].tolist() == [7.0]
    assert found.known.tolist() == [[True, False]]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({7: [1]}, r"the columns \[7\], of which \[7\] are not those of fit"),
        ({"a": [1]}, r"of which \['a'\] are not those of fit"),
        ([], "conditions have no rows"),
        (np.zeros((0, 1)), "conditions have no rows"),
        (pd.DataFrame({"a": [1]}), r"columns \['a'\]; give an array, or a dict of positions"),
        (pl.DataFrame({"a": [1]}), r"columns \['a'\]; give an array, or a dict of positions"),
    ],
)
def test_conditions_that_fit_no_array_are_refused(given, message):
    with pytest.raises((ValueError, TypeError), match=message):
        given_cells(np.array([[1]]), given)


def test_columns_of_pandas_come_once_and_have_rows():
    fit = pd.DataFrame({"c": [1]})
    with pytest.raises(ValueError, match="the column 'c' twice"):
        given_cells(fit, pd.DataFrame([[1, 2]], columns=["c", "c"]))
    for nothing in (fit[:0], pd.DataFrame()):
        with pytest.raises(ValueError, match="conditions have no rows"):
            given_cells(fit, nothing)


@pytest.mark.parametrize(
    ("dtype", "cell", "message"),
    [
        (pl.Datetime("us", "UTC"), dt.datetime(2024, 2, 1), "'c', which has the time zone UTC"),
        (pl.Datetime("us", "UTC"), dt.date(2024, 2, 1), "'c', which has the time zone UTC"),
        (pl.Datetime("us"), dt.datetime(2024, 2, 1, tzinfo=UTC), "'c' that its dtype Datetime"),
        (pl.Datetime("us"), pd.Timestamp("2024-02-01") + pd.Timedelta(1), "'c' that its dtype"),
        (pl.Duration("us"), dt.date(2024, 2, 1), "'c' that its dtype Duration"),
        (pl.Duration("us"), dt.time(1), "'c' that its dtype Duration"),
    ],
)
def test_times_of_another_kind_are_refused(dtype, cell, message):
    fit = pl.DataFrame({"c": pl.Series([0]).cast(pl.Int64).cast(dtype)})
    for given in ({"c": [cell]}, pl.DataFrame({"c": [cell]})):
        if isinstance(cell, pd.Timestamp) and not isinstance(given, dict):
            continue  # polars has cut its nanoseconds
        with pytest.raises(ValueError, match=f"in the column {message}"):
            given_cells(fit, given)


def test_times_keep_their_instant():
    fit = pl.DataFrame({"c": pl.Series([0]).cast(pl.Datetime("ns", "Europe/Oslo"))})
    at = dt.datetime(2024, 2, 1, 12, tzinfo=UTC)
    assert given_cells(fit, {"c": [at]}).rows["c"].to_list() == [at]
    fit = pl.DataFrame({"c": pl.Series([0]).cast(pl.Datetime("ns"))})
    for cell in (np.datetime64(7, "ns"), pd.Timestamp(7)):
        assert given_cells(fit, {"c": [cell]}).rows["c"].to_physical().to_list() == [7]


ROWS = [["a", 1.5], ["b", 2.5], ["a", 3.5]] * 9


@pytest.mark.parametrize(
    "X", [np.array(ROWS, dtype=object), pd.DataFrame(ROWS), pl.DataFrame(ROWS, orient="row")]
)
def test_an_empty_dict_gives_nothing(X):
    generator = TabularGenerator(**QUICK).fit(X)
    for n in (None, 3):
        drawn = generator.sample(n, random_state=0, conditions={})
        np.testing.assert_array_equal(drawn, generator.sample(n, random_state=0))
        assert len(drawn) == (n or 1)


def test_lists_of_mixed_rows_are_given():
    generator = TabularGenerator(**QUICK).fit(ROWS)
    drawn = generator.sample(conditions=[["a", np.nan], ["b", 2.0]], random_state=0)
    assert drawn[:, 0].tolist() == ["a", "b"]
    assert drawn[1, 1] == 2.0
    assert isinstance(drawn[0, 1], float)


@pytest.mark.parametrize("several", [["a", "b"], ("a", "b"), np.array(["a"]), {"a"}])
def test_a_dict_holds_one_value_for_each_column(several):
    generator = TabularGenerator(**QUICK).fit(ROWS)
    with pytest.raises(ValueError, match="in the column 0; a dict holds one value for each column"):
        generator.sample(conditions={0: several})
    assert generator.sample(conditions={0: np.array("b")})[0, 0] == "b"


def test_a_tuple_may_be_a_level():
    df = pd.DataFrame({"pair": [(1, 2), (3, 4)] * 20, "x": np.arange(40.0)})
    generator = TabularGenerator(**QUICK).fit(df)
    assert generator.sample(2, conditions={"pair": (3, 4)})["pair"].tolist() == [(3, 4)] * 2
    assert set(generator.sample(2, balance="pair")["pair"]) == {(1, 2), (3, 4)}
