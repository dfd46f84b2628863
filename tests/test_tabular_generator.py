"""TabularGenerator: a table in, tables like it out, whole or given some cells."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

from skscore.tabular.generator import TabularGenerator

# So few steps leave the network at the exact score of independent columns, near enough.
QUICK = {"max_steps": 2, "hidden_units": (8,), "random_state": 0}


def table(n=400, seed=0):
    rng = np.random.RandomState(seed)
    sex = rng.choice(["f", "m"], n, p=[0.3, 0.7])
    height = np.where(sex == "m", 178.0, 165.0) + 7 * rng.standard_normal(n)
    days = pd.to_timedelta(rng.randint(0, 90, n), "D")
    return pd.DataFrame(
        {
            "sex": pd.Categorical(sex),
            "height": height.round(1),
            "children": rng.poisson(1.5, n),
            "weight": np.where(rng.random_sample(n) < 0.2, np.nan, height - 100 + rng.randn(n)),
            "seen": pd.Timestamp("2024-01-01") + days,
            "member": rng.random_sample(n) < 0.4,
            "country": "IS",
        }
    )


@pytest.fixture(scope="module")
def fitted():
    return TabularGenerator(**QUICK).fit(table())


@pytest.fixture(scope="module")
def learnt():
    df = table(1000)[["sex", "height", "weight"]]
    return TabularGenerator(max_steps=1000, hidden_units=(64, 64), random_state=0).fit(df)


def test_rows_are_like_those_of_the_table(fitted):
    df, drawn = table(), fitted.sample(300, random_state=0)
    assert drawn.columns.equals(df.columns)
    assert drawn.dtypes.equals(df.dtypes)
    assert drawn.index.equals(pd.RangeIndex(300))
    for name in ("height", "children", "weight", "seen"):
        assert drawn[name].min() >= df[name].min()
        assert drawn[name].max() <= df[name].max()
    assert (drawn["country"] == "IS").all()
    np.testing.assert_allclose((10 * drawn["height"]) % 1 % 0.999999, 0, atol=1e-5)


def atoms(n, seed=0):
    rng = np.random.RandomState(seed)
    x = rng.standard_normal(n)
    return pd.DataFrame(
        {
            "zeros": np.where(rng.random_sample(n) < 0.3, 0.0, rng.exponential(size=n)),
            "capped": x.clip(-1, 1.5),
            "gone": np.where(rng.random_sample(n) < 0.1, np.nan, x),
            "level": rng.choice(list("abc"), n, p=[0.7, 0.2, 0.1]),
        }
    )


ATOMS = (
    lambda d: d["zeros"] == 0,
    lambda d: d["capped"] == -1,
    lambda d: d["capped"] == 1.5,
    lambda d: d["gone"].isna(),
    lambda d: d["level"] == "b",
    lambda d: d["level"] == "c",
)


def test_shares_of_levels_atoms_and_missing_cells_are_those_of_the_table():
    n = 2000
    df = atoms(n)
    drawn = TabularGenerator(**QUICK).fit(df).sample(n, random_state=1)
    for is_it in ATOMS:
        share, expected = is_it(drawn).mean(), is_it(df).mean()
        assert abs(share - expected) < 4 * np.sqrt(2 * expected * (1 - expected) / n)


@pytest.mark.slow
def test_trained_marginals_are_those_of_the_table():
    n, n_drawn, seed = 600, 6000, 0
    df = atoms(n, seed)
    rest = np.random.RandomState(seed + 100).standard_normal((n, 8))
    df = df.join(pd.DataFrame(rest + df[["capped"]].to_numpy(), columns=list("defghijk")))
    drawn = TabularGenerator(max_steps=2500, random_state=seed).fit(df).sample(n_drawn)
    for is_it in ATOMS:
        share, p = is_it(drawn).mean(), is_it(df).mean()
        assert abs(share - p) < 3 * np.sqrt(p * (1 - p) / n)
    for name in df.columns.drop("level"):
        for q in (0.05, 0.25, 0.5, 0.75, 0.95):
            edge = df[name].quantile(q)
            ours, theirs = (d[name].dropna().le(edge).mean() for d in (drawn, df))
            assert abs(ours - theirs) < 3 * np.sqrt(theirs * (1 - theirs) / n) + 1 / n


def test_a_seed_gives_the_same_rows_and_the_first_of_more(fitted):
    many, few = fitted.sample(300, random_state=3), fitted.sample(5, random_state=3)
    pd.testing.assert_frame_equal(many.iloc[:5], few)
    assert not fitted.sample(5, random_state=4).equals(few)
    assert len(fitted.sample()) == 1
    again = TabularGenerator(**QUICK).fit(table())
    pd.testing.assert_frame_equal(again.sample(5, random_state=3), few)


def test_given_cells_come_back_as_they_are(fitted):
    given = table(60, seed=1)[["weight", "sex", "seen"]]
    given.loc[::2, "sex"] = np.nan
    drawn = fitted.sample(conditions=given, random_state=0)
    assert drawn.columns.equals(table().columns)
    for name in given:
        known = given[name].notna().to_numpy()
        assert known.any()
        pd.testing.assert_series_equal(
            drawn[name][known], given[name][known], check_index_type=False, check_freq=False
        )
    assert drawn["sex"].notna().all()
    assert drawn["height"].notna().all()


def test_what_is_given_decides_the_rest(learnt):
    given = pd.DataFrame({"height": [160.0, 190.0] * 300})
    drawn = learnt.sample(conditions=given, random_state=0)
    low, high = (drawn[drawn["height"] == h] for h in (160.0, 190.0))
    # P(m | h) is .7 N(h; 178, 7) over the sum with .3 N(h; 165, 7): .10 and .99.
    p = [0.7 * norm.pdf(h, 178, 7) for h in (160, 190)]
    q = [0.3 * norm.pdf(h, 165, 7) for h in (160, 190)]
    for part, a, b in zip((low, high), p, q, strict=True):
        assert abs((part["sex"] == "m").mean() - a / (a + b)) < 0.2
    # The weight is the height less 100, with a standard deviation of 1.
    assert abs(low["weight"].mean() - 60) < 2.5
    assert abs(high["weight"].mean() - 90) < 2.5


def test_a_dict_of_conditions_is_for_all_rows(fitted):
    drawn = fitted.sample(20, random_state=0, conditions={"sex": "f", "children": 2})
    assert (drawn["sex"] == "f").all()
    assert (drawn["children"] == 2).all()
    assert drawn["height"].nunique() > 5


def test_levels_can_be_balanced(fitted):
    drawn = fitted.sample(41, random_state=0, balance="sex")
    assert sorted(drawn["sex"].value_counts()) == [20, 21]
    drawn = fitted.sample(10, random_state=0, balance="member")
    assert drawn["member"].sum() == 5


def test_constraints_are_kept(fitted):
    rules = [lambda df: df["children"] >= 2, lambda df: df["sex"] == "f"]
    drawn = fitted.sample(30, random_state=0, constraints=rules)
    assert len(drawn) == 30
    assert (drawn["children"] >= 2).all()
    assert (drawn["sex"] == "f").all()
    with pytest.raises(ValueError, match=r"30 of 30 rows break the constraints after 50 draws"):
        fitted.sample(30, random_state=0, constraints=lambda df: df["children"] < 0)
    with pytest.raises(ValueError, match=r"returned the shape \(\) for 3 rows"):
        fitted.sample(3, constraints=lambda df: True)


@pytest.mark.parametrize("constraints", ["children > 2", {"children": 2}, [len, "sex"], 3])
def test_constraints_that_cannot_be_called_are_refused(fitted, constraints):
    with pytest.raises(TypeError, match="can be no check of rows; give a function that is called"):
        fitted.sample(3, constraints=constraints)


def test_missing_cells_are_generated_or_filled(fitted):
    assert fitted.sample(400, random_state=0)["weight"].isna().any()
    df = table()
    df.loc[::3, "sex"] = np.nan
    complete = TabularGenerator(missing="complete", **QUICK).fit(df)
    assert complete.sample(400, random_state=0).notna().all(axis=None)
    # Shares are those among the given cells.
    expected = (df["sex"] == "m").sum() / df["sex"].notna().sum()
    share = (complete.sample(400, random_state=0)["sex"] == "m").mean()
    assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / 200)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"conditions": {"age": 3}}, r"\['age'\] are not those of fit"),
        ({"n_samples": 3, "conditions": table(2)}, "n_samples=3 was given beside conditions of 2"),
        ({"conditions": np.zeros((2, 7))}, "give a pandas data frame or a dict"),
        ({"conditions": {"sex": "x"}}, r"\['x'\] in the column 'sex', whose categories are"),
        ({"conditions": {"children": 1.5}}, "column 'children' that its dtype int64 does not hold"),
        ({"balance": "height"}, "balance='height' is no categorical column"),
        ({"balance": "sex", "conditions": {"sex": "f"}}, "balance and conditions were both given"),
        ({"n_samples": 0}, "n_samples"),
    ],
)
def test_what_cannot_be_drawn_is_refused(fitted, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        fitted.sample(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"missing": "drop"}, "'missing' parameter of TabularGenerator"),
        ({"max_steps": 0}, "'max_steps' parameter"),
        ({"hidden_units": ()}, "are not the widths of layers"),
        ({"lr": -1.0}, "'lr' parameter"),
    ],
)
def test_parameters_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TabularGenerator(**{**QUICK, **options}).fit(table())


def test_arrays_come_back_as_arrays():
    rng = np.random.RandomState(0)
    X = np.column_stack([rng.standard_normal(50), rng.randint(0, 3, 50)])
    generator = TabularGenerator(categorical=[1], **QUICK).fit(X)
    drawn = generator.sample(20, random_state=0)
    assert isinstance(drawn, np.ndarray)
    assert drawn.dtype == X.dtype
    assert set(drawn[:, 1]) <= {0.0, 1.0, 2.0}
    given = np.full((3, 2), np.nan)
    given[:, 1] = [0, 1, 2]
    assert (generator.sample(conditions=given, random_state=0)[:, 1] == [0, 1, 2]).all()
    assert set(generator.sample(6, balance=1)[:, 1]) == {0.0, 1.0, 2.0}
    assert (generator.sample(4, conditions={1: 2.0})[:, 1] == 2).all()
    with pytest.raises(ValueError, match=r"conditions have the shape \(2, 1\)"):
        generator.sample(conditions=given[:2, 1:])


@pytest.mark.parametrize(
    "columns", [["sex", "member"], ["height", "children"], ["height"], ["sex"], ["country"]]
)
def test_tables_of_few_columns(columns):
    df = table()[columns]
    generator = TabularGenerator(**QUICK).fit(df)
    drawn = generator.sample(10, random_state=0)
    assert drawn.dtypes.equals(df.dtypes)
    assert drawn.notna().all(axis=None)


def test_weights_are_repetitions():
    df = table(60)
    weights = np.arange(60) % 3
    weighted = TabularGenerator(**QUICK).fit(df, sample_weight=weights)
    repeated = TabularGenerator(**QUICK).fit(df.loc[np.repeat(np.arange(60), weights)])
    pd.testing.assert_frame_equal(
        weighted.sample(20, random_state=0), repeated.sample(20, random_state=0)
    )


def test_order_of_rows_does_not_matter():
    df = table(60)
    one = TabularGenerator(**QUICK).fit(df)
    other = TabularGenerator(**QUICK).fit(df.sample(frac=1, random_state=1))
    pd.testing.assert_frame_equal(one.sample(9, random_state=0), other.sample(9, random_state=0))


@parametrize_with_checks([TabularGenerator(**QUICK)])
def test_scikit_learn_finds_an_estimator(estimator, check):
    check(estimator)


def test_what_scikit_learn_asks_of_an_estimator(fitted):
    with pytest.raises(NotFittedError):
        TabularGenerator().sample()
    generator = TabularGenerator(**QUICK)
    assert clone(generator).get_params() == generator.get_params()
    again = pickle.loads(pickle.dumps(fitted))
    pd.testing.assert_frame_equal(again.sample(4, random_state=0), fitted.sample(4, random_state=0))
    assert fitted.n_features_in_ == 7
    assert fitted.feature_names_in_.tolist() == table().columns.tolist()


def test_levels_of_the_category_that_is_drawn_first_have_their_shares(fitted):
    module = fitted.net_.module_
    assert module.base is not None
    (column,) = {
        group.column
        for group in fitted.encoder_.feature_groups_
        if module.column[group.start] == module.base_column
    }
    for n in (100, 1000):
        drawn = fitted.sample(n, random_state=0)[column].value_counts()
        shares = table()[column].value_counts(normalize=True)
        assert (drawn - n * shares).abs().max() <= 2


def test_a_rare_class_is_not_lost():
    rng = np.random.RandomState(0)
    y = np.repeat(["a", "b", "rare"], [500, 494, 6])
    x = rng.standard_normal((1000, 2)) + (y == "b")[:, None] * 2.0
    df = pd.DataFrame(x, columns=["u", "v"]).assign(y=y)
    generator = TabularGenerator(**QUICK).fit(df)
    for seed in range(20):
        assert 5 <= (generator.sample(1000, random_state=seed)["y"] == "rare").sum() <= 7


def test_untrained_a_table_has_the_means_and_covariances_of_its_classes():
    rng = np.random.RandomState(0)
    y = rng.choice(["a", "b"], 1000)
    noise = rng.multivariate_normal([0, 0], [[1.0, 0.8], [0.8, 1.0]], size=1000)
    df = pd.DataFrame(noise, columns=["u", "v"]).assign(y=y)
    df.loc[y == "b", ["u", "v"]] *= [1.0, -1.0]
    generator = TabularGenerator(**QUICK).fit(df)
    drawn = generator.sample(4000, random_state=0)
    for level, expected in (("a", 0.8), ("b", -0.8)):
        r = drawn.loc[drawn["y"] == level, ["u", "v"]].corr().iloc[0, 1]
        # (1 - r²)/√n from the 500 rows, and what is drawn to the diagonal.
        assert abs(r - expected) < 4 * 0.36 / 500**0.5


def test_independent_rows_have_the_spread_that_even_ones_lack():
    df = table()[["sex"]]
    spread = {}
    for kind in ("sobol", "independent"):
        generator = TabularGenerator(initial_noise=kind, **QUICK).fit(df)
        shares = [(generator.sample(256, random_state=s)["sex"] == "m").mean() for s in range(40)]
        spread[kind] = np.std(shares)
    p = (df["sex"] == "m").mean()
    expected = (p * (1 - p) / 256) ** 0.5
    assert spread["independent"] == pytest.approx(expected, rel=4 / 80**0.5)
    assert spread["sobol"] < spread["independent"]


def test_a_seed_decides_the_codes_of_many_levels_too():
    rng = np.random.RandomState(0)
    df = pd.DataFrame({"w": [f"l{i % 40}" for i in range(200)], "x": rng.normal(size=200)})
    generator = TabularGenerator(max_steps=5, hidden_units=(8,), random_state=0)
    before = np.random.get_state()[1].copy()
    one, other = (clone(generator).fit(df).sample(20, random_state=0) for _ in range(2))
    pd.testing.assert_frame_equal(one, other)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


@pytest.mark.parametrize("missing", ["generate", "complete"])
@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_rows_of_no_weight_may_hold_what_no_other_does(missing, container):
    rng = np.random.RandomState(0)
    x = [*rng.normal(size=100).tolist(), None, 7.0]
    df = pd.DataFrame({"x": x, "c": ["u", "v"] * 50 + ["u", "z"]})
    weights = np.r_[np.ones(100), 0, 0]
    if container == "polars":
        df = pytest.importorskip("polars").DataFrame({name: df[name].to_list() for name in df})
    generator = TabularGenerator(max_steps=5, hidden_units=(8,), missing=missing, random_state=0)
    weighted = clone(generator).fit(df, sample_weight=weights).sample(50, random_state=0)
    assert weighted.equals(generator.fit(df[:100]).sample(50, random_state=0))
    assert set(weighted["c"]) == {"u", "v"}


def test_one_weight_is_that_of_all_rows():
    X = np.random.RandomState(0).normal(size=(60, 2))
    generator = TabularGenerator(max_steps=5, hidden_units=(8,), random_state=0)
    one = clone(generator).fit(X, sample_weight=1.0).sample(5, random_state=0)
    np.testing.assert_array_equal(one, generator.fit(X).sample(5, random_state=0))


def test_nothing_of_an_earlier_fit_is_left():
    rng = np.random.RandomState(0)
    generator = TabularGenerator(max_steps=5, hidden_units=(8,), random_state=0)
    generator.fit(pd.DataFrame(rng.normal(size=(60, 2)), columns=["a", "b"]))
    generator.fit(rng.normal(size=(60, 3)))
    assert not hasattr(generator, "feature_names_in_")
    generator.fit(np.ones((60, 3)))
    assert not any(hasattr(generator, name) for name in ("net_", "n_steps_", "best_step_"))


@pytest.mark.parametrize("blank", [None, pd.NA, np.nan])
def test_a_missing_answer_keeps_no_row(fitted, blank):
    rows = fitted.sample(
        20, random_state=0, constraints=lambda df: [True if s == "f" else blank for s in df["sex"]]
    )
    assert (rows["sex"] == "f").all()


def test_a_missing_cell_keeps_no_constraint():
    numbers = pd.array([1, None, 30, 40, 50] * 20, dtype="Int64")
    df = pd.DataFrame({"n": numbers, "x": np.random.RandomState(0).normal(size=100)})
    generator = TabularGenerator(max_steps=5, hidden_units=(8,), random_state=0).fit(df)
    rows = generator.sample(30, random_state=0, constraints=lambda rows: rows["n"] > 20)
    assert (rows["n"] > 20).all()


def test_dates_with_a_time_zone_can_be_balanced_where_they_are_levels():
    days = pd.to_datetime(["2020", "2021"] * 12).tz_localize("UTC")
    df = pd.DataFrame({"k": days, "x": np.arange(24.0)})
    generator = TabularGenerator(categorical=["k"], **QUICK).fit(df)
    drawn = generator.sample(4, balance="k", random_state=0)
    assert drawn["k"].value_counts().to_dict() == {days[0]: 2, days[1]: 2}


def test_an_ordered_category_that_cannot_be_balanced_says_how():
    df = pd.DataFrame({"o": pd.Categorical(["l", "h"] * 12, ["l", "h"], ordered=True)})
    with pytest.raises(ValueError, match="an ordered category counts as a number, but for those"):
        TabularGenerator(**QUICK).fit(df).sample(4, balance="o")
    drawn = TabularGenerator(categorical=["o"], **QUICK).fit(df).sample(4, balance="o")
    assert drawn["o"].value_counts().to_dict() == {"l": 2, "h": 2}


def test_no_rows_have_no_likelihood():
    df = pd.DataFrame({"x": np.arange(24.0)})
    with pytest.raises(ValueError, match="X has no rows"):
        TabularGenerator(**QUICK).fit(df).held_out_nll(df[:0])
