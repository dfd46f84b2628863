"""How wide drawn numbers are, held to what chance allows."""

import numpy as np
import pandas as pd
import pytest
import torch

from skscore._groups import FeatureGroup
from skscore._spread import fit_spread, hold_spread
from skscore._table_score import TableScore
from skscore.tabular import TabularGenerator


def score(n_numeric=3):
    groups = [FeatureGroup(f"x{j}", "numeric", j, j + 1, None, None) for j in range(n_numeric)]
    code = FeatureGroup("c", "categorical", n_numeric, n_numeric + 2, np.eye(2), np.full(2, 0.5))
    return TableScore([*groups, code], (8,)).double()


def normal(n=1000, n_numeric=3, seed=0):
    z = np.random.RandomState(seed).standard_normal((n, n_numeric))
    return (z - z.mean(0)) / z.std(0)


@pytest.mark.parametrize("n_rows", [10, 50, 5000])
def test_spreads_come_to_what_chance_allows_and_no_further(n_rows):
    module, error = score(), 1 / np.sqrt(2 * n_rows)
    s = np.array([0.2, 1 - 2.4 * error, 1.9])
    z, mean = normal() * s + [0.3, -0.2, 0.1], np.array([0.3, -0.2, 0.1])
    fit_spread(module, z, np.zeros(z.shape, dtype=bool), np.full(3, n_rows))
    codes = torch.tensor(np.eye(2))[torch.arange(len(z)) % 2]
    held = hold_spread(module, torch.cat([torch.tensor(z), codes], dim=1)).numpy()
    expected = s.clip(1 - 2.5 * error, 1 + 2.5 * error)
    np.testing.assert_allclose(held[:, :3].std(0), expected, rtol=1e-6)
    np.testing.assert_allclose(held[:, :3].mean(0), mean, atol=1e-6)
    np.testing.assert_array_equal(held[:, 3:], codes)
    # What was not off is what it was.
    np.testing.assert_allclose(held[:, 1], z[:, 1], rtol=1e-6)


def test_draws_that_stand_for_missing_cells_do_not_count():
    module, z = score(), normal() * 0.5
    missing = np.zeros(z.shape, dtype=bool)
    missing[:300, 0] = True
    far = np.where(missing, 9.0, z)
    fit_spread(module, far, missing, np.full(3, 1000))
    expected = (1 - 2.5 / np.sqrt(2000)) / far[300:, 0].std()
    assert float(module.spread[1, 0]) == pytest.approx(expected)
    assert float(module.spread[0, 0]) == pytest.approx(far[300:, 0].mean())


def test_what_has_no_standard_normal_law_is_left_as_it_is():
    module, z = score(), normal() * [0.5, 0.5, 0.0]
    missing = np.zeros(z.shape, dtype=bool)
    missing[:, 1] = True
    fit_spread(module, z, missing, np.array([0, 1000, 1000]))
    assert module.spread.tolist() == [[0.0] * 3, [1.0] * 3]


def test_rows_with_given_cells_are_not_touched():
    rng = np.random.RandomState(0)
    df = pd.DataFrame(rng.standard_normal((200, 2)), columns=["a", "b"])
    generator = TabularGenerator(max_steps=2, hidden_units=(8,), random_state=0).fit(df)
    module = generator.net_.module_
    given = [{"conditions": pd.DataFrame({"a": [0.5] * 5})}, {"conditions": {"a": 0.5}}]
    before = [generator.sample(random_state=0, **options) for options in given]
    whole = generator.sample(300, random_state=0)
    module.spread[1] = 0.5
    for options, rows in zip(given, before, strict=True):
        pd.testing.assert_frame_equal(generator.sample(random_state=0, **options), rows)
    narrow = generator.sample(300, random_state=0)
    assert (narrow.std() < 0.6 * whole.std()).all()


def of_two_classes():
    rng = np.random.RandomState(0)
    kind = rng.choice(["u", "v"], 300, p=[0.3, 0.7])
    numbers = rng.standard_normal((300, 2)) + 3 * (kind == "u")[:, None]
    return pd.DataFrame(numbers, columns=["a", "b"]).assign(
        kind=kind, other=rng.choice(["p", "q", "r"], 300)
    )


def test_rows_given_the_category_that_is_drawn_first_are_whole_rows():
    df = of_two_classes()
    generator = TabularGenerator(max_steps=20, hidden_units=(16,), random_state=0).fit(df)
    module = generator.net_.module_
    assert module.base_column == 2
    module.spread[1] = 1.5
    whole = generator.sample(50, random_state=0)
    given = whole[["kind"]]
    pd.testing.assert_frame_equal(generator.sample(conditions=given, random_state=0), whole)
    # Neither are those of which nothing is given any other rows.
    nothing = given.assign(kind=np.nan).astype(object)
    pd.testing.assert_frame_equal(generator.sample(conditions=nothing, random_state=0), whole)
    given = whole[["kind", "other"]]
    before = generator.sample(conditions=given, random_state=0)
    module.spread[1] = 1.0
    pd.testing.assert_frame_equal(generator.sample(conditions=given, random_state=0), before)


@pytest.mark.slow
def test_few_rows_of_many_columns_are_not_drawn_too_narrow():
    rng = np.random.RandomState(0)
    n, d = 150, 40
    X = rng.standard_normal((n, 5)) @ rng.standard_normal((5, d)) + rng.standard_normal((n, d))
    generator = TabularGenerator(max_steps=1500, random_state=0).fit(X)
    rows = generator.sample(2000, random_state=1)
    z = generator.encoder_.transform(rows)
    # A network of so few rows leads them to 0.8 of the spread and less.
    assert (z.std(0) > 1 - 2.5 / np.sqrt(2 * n) - 0.03).all()
    assert (generator.net_.module_.spread[1] > 1).any()
