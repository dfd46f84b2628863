"""How long the network of a table is trained, on which rows, and which weights are kept."""

import numpy as np
import pandas as pd
import pytest

from skscore.tabular import TabularGenerator
from skscore.tabular._learning import TrainingOptions

QUICK = {"max_steps": 2, "hidden_units": (8,), "random_state": 0}


def table(n=400, seed=0):
    rng = np.random.RandomState(seed)
    sex = rng.choice(["f", "m"], n, p=[0.3, 0.7])
    height = np.where(sex == "m", 178.0, 165.0) + 7 * rng.standard_normal(n)
    weight = np.where(rng.random_sample(n) < 0.2, np.nan, height - 100 + rng.randn(n))
    return pd.DataFrame({"sex": pd.Categorical(sex), "height": height.round(1), "weight": weight})


def options(**given):
    automatic = dict.fromkeys(("hidden_units", "max_steps", "batch_size", "weight_decay"), "auto")
    fixed = {"lr": 1e-3, "early_stopping": True, "validation_fraction": 0.1, "verbose": False}
    return TrainingOptions(**(automatic | fixed | given))


def test_budgets_that_are_given_are_kept():
    def budget(n_rows, **given):
        return options(**given).budget(n_rows, ends_in_time=False, starts_near=False)

    assert budget(1000, batch_size=7, weight_decay=0.0, max_steps=9) == (7, 9, 0.0)
    assert budget(4000, max_steps=9) == (512, 9, 0.01)
    assert budget(8000, batch_size=256) == (256, 15_625, 0.01)
    assert options(hidden_units=[3, 4]).widths(10) == (3, 4)
    assert options().widths(10) == (192, 192, 192)


def test_copies_end_the_training_of_a_small_table():
    df = table(40)[["height", "weight"]].dropna()
    shape = {"hidden_units": (128, 128), "lr": 1e-2, "weight_decay": 0.01, "random_state": 0}
    generator = TabularGenerator(max_steps=3000, **shape).fit(df)
    assert generator.best_step_ < generator.n_steps_ < 3000
    assert 0 <= generator.copy_rate_ < 0.4
    # There is nothing to copy in labels.
    assert np.isnan(TabularGenerator(**QUICK).fit(table()[["sex"]]).copy_rate_)


def test_held_out_rows_end_the_training_by_their_loss():
    df = table(300)
    shape = {"max_steps": 600, "hidden_units": (64, 64), "random_state": 0}
    generator = TabularGenerator(early_stopping="loss", **shape).fit(df)
    curve = generator.validation_curve_
    assert generator.best_step_ == curve[curve[:, 1].argmin(), 0]
    assert np.isnan(generator.copy_rate_)
    few = TabularGenerator(early_stopping="loss", **QUICK).fit(df.iloc[:5])
    assert few.sample(3, random_state=0).shape == (3, 3)
    last = TabularGenerator(early_stopping=False, **QUICK).fit(df)
    assert last.best_step_ == last.n_steps_ == 2


def test_few_rows_are_all_trained_on_for_as_many_steps_as_were_best():
    df = table(40)
    shape = {"hidden_units": (64, 64), "random_state": 0}
    chosen = TabularGenerator(early_stopping="loss", max_steps=1500, **shape).fit(df)
    assert chosen.best_step_ < chosen.n_steps_
    expected = TabularGenerator(early_stopping=False, max_steps=chosen.best_step_, **shape)
    drawn, same = (g.sample(50, random_state=0) for g in (chosen, expected.fit(df)))
    pd.testing.assert_frame_equal(drawn, same)


def test_of_many_rows_some_are_held_out_for_good():
    df = table(700)
    shape = {"hidden_units": (64, 64), "random_state": 0}
    chosen = TabularGenerator(early_stopping="loss", max_steps=200, **shape).fit(df)
    whole = TabularGenerator(early_stopping=False, max_steps=chosen.best_step_, **shape).fit(df)
    drawn, other = (g.sample(50, random_state=0) for g in (chosen, whole))
    assert not drawn.equals(other)


def test_weight_decay_makes_weights_smaller():
    df = table(50)[["sex", "height"]]
    shape = {"max_steps": 200, "hidden_units": (16,), "early_stopping": False, "random_state": 0}

    def size(weight_decay):
        generator = TabularGenerator(weight_decay=weight_decay, **shape).fit(df)
        return sum(float(p.square().sum()) for p in generator.net_.module_.parameters())

    assert size(0.0) > 1.2 * size(1.0)


@pytest.mark.parametrize("with_class", [False, True])
def test_missing_numbers_do_not_dilute_what_columns_have_in_common(with_class):
    r = []
    for seed in range(20):
        rng = np.random.RandomState(seed)
        level = rng.choice(2, 500)
        z = rng.multivariate_normal([0, 0], [[1, 0.9], [0.9, 1]], size=500)
        df = pd.DataFrame(z + 3 * with_class * level[:, None], columns=["x", "y"])
        df["y"] = df["y"].mask(rng.rand(500) < 0.4)
        if with_class:
            df["class"] = pd.Categorical(level)
        untrained = TabularGenerator(**QUICK | {"random_state": seed, "max_steps": 1}).fit(df)
        drawn = untrained.sample(2000, random_state=seed)
        assert drawn["y"].isna().mean() == pytest.approx(df["y"].isna().mean(), abs=0.05)
        drawn = drawn.dropna()
        within = drawn if not with_class else drawn[drawn["class"] == 1]
        r.append(np.arctanh(within[["x", "y"]].corr().iloc[0, 1]))
    # The classes' law is normal only before it is encoded with the other's.
    slack = 0.15 if with_class else 0.05
    error = np.std(r, ddof=1) / 20**0.5
    assert np.mean(r) == pytest.approx(np.arctanh(0.9), abs=4 * error + slack)
