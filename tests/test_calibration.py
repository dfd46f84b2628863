"""calibrate: its minimum, which rows count, what is left alone, and where it is read."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from skscore import NCSNGenerator, _calibration
from skscore._batches import Rows
from skscore._calibration import calibrate, hold_shares, log_posterior
from skscore._groups import FeatureGroup
from skscore._table_score import TableScore
from skscore.tabular import TabularEncoder, TabularGenerator

# Of so much noise the own code of a category says nothing.
SIGMA = 1e6
CPU = torch.device("cpu")


def groups(shares=(1 / 3, 1 / 3, 1 / 3)):
    return [
        FeatureGroup("x", "numeric", 0, 1, None, None),
        FeatureGroup("a", "categorical", 1, 4, np.eye(3), np.array(shares)),
        FeatureGroup("b", "categorical", 4, 6, np.eye(2), np.array([0.5, 0.5])),
    ]


def untrained(shares=(1 / 3, 1 / 3, 1 / 3)):
    """A score of independent columns."""
    with torch.random.fork_rng():
        return TableScore(groups(shares), (4,)).double().requires_grad_(requires_grad=False)


def encoded(n, seed):
    """Rows of which each column says something of the others, and their levels."""
    rng = np.random.RandomState(seed)
    x = rng.normal(size=n)
    a = np.digitize(x + rng.normal(size=n), [-0.7, 0.7])
    b = (rng.uniform(size=n) < 0.2 + 0.3 * a).astype(int)
    return np.column_stack([x, np.eye(3)[a], np.eye(2)[b]]), a, b


def fitted(z, weights=None, module=None, seed=0):
    module = untrained() if module is None else module
    weights = np.ones(len(z)) if weights is None else weights
    rows = Rows.of(z, weights, CPU)
    calibrate(module, rows, SIGMA, torch.Generator().manual_seed(seed))
    return module


def posterior(module, z, column, noise=None):
    noise = torch.Generator().manual_seed(1) if noise is None else noise
    x = torch.tensor(z)
    own = torch.full((len(z), 1), column)
    log_p = log_posterior(module, x, own, SIGMA, noise)
    return module.calibrated(x, log_p).exp().numpy()


def others(module, z, own):
    """What a category is told by: the features of other columns and a constant."""
    f = (z - module.mean.numpy()) / module.scale.numpy()
    return np.column_stack([np.where(module.column.numpy() == own, 0.0, f), np.ones(len(z))])


@pytest.mark.parametrize("seed", range(20))
def test_from_equal_shares_it_is_multinomial_regression(seed):
    z, a, _ = encoded(400, seed)
    weights = np.random.RandomState(seed).uniform(0.5, 2.0, size=400)
    module = fitted(z, weights)
    regression = LogisticRegression(
        C=1 / _calibration._PENALTY, fit_intercept=False, tol=1e-8, max_iter=1000
    )
    regression.fit(others(module, z, 1), a, sample_weight=weights / weights.mean())
    assert module.calibration[:3].numpy() == pytest.approx(regression.coef_, abs=2e-4)


@pytest.mark.parametrize("seed", range(20))
def test_what_is_left_of_its_errors_is_the_penalty(seed):
    z, a, b = encoded(1000, seed)
    module = untrained(shares=(0.2, 0.5, 0.3))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        # As if something had been learnt.
        module.network.head.weight.normal_(0.0, 0.3)
    fitted(z, module=module)
    # The noise of a row's own code is seen by the network: what calibrate drew.
    noise = torch.Generator().manual_seed(0)
    index = torch.randperm(1000, generator=noise).numpy()
    z, a, b = z[index], a[index], b[index]
    for column, levels, part in [(1, np.eye(3)[a], slice(0, 3)), (2, np.eye(2)[b], slice(3, 5))]:
        q = posterior(module, z, column, noise)[:, part]
        left = (levels - q).T @ others(module, z, column)
        W = module.calibration[part].numpy()
        assert left == pytest.approx(_calibration._PENALTY * W, abs=0.02)
        own = module.column.numpy() == column
        assert (W[:, :-1][:, own] == 0).all()


def test_shares_of_pairs_agree_with_many_rows():
    z, a, b = encoded(20_000, 0)
    module = fitted(z)
    q = posterior(module, z, 1)[:, :3]
    for level in (0, 1):
        real = np.eye(3)[a][b == level].mean(0)
        assert q[b == level].mean(0) == pytest.approx(real, abs=0.01)
    assert np.abs(np.eye(3)[a][b == 0].mean(0) - 1 / 3).max() > 0.1  # what it was without


def test_weights_count_rows():
    z, _, _ = encoded(300, 0)
    repeated = np.concatenate([z, z[:100]])
    weights = np.r_[np.full(100, 2.0), np.ones(200)]
    # The penalty is in distinct rows.
    by_weight, by_hand = fitted(z, weights), fitted(repeated)
    assert not torch.equal(by_weight.calibration, fitted(z).calibration)
    by_weight, by_hand = (posterior(m, z, 1)[:, :3].mean(0) for m in (by_weight, by_hand))
    assert by_weight == pytest.approx(by_hand, abs=0.02)
    assert torch.equal(fitted(z, 7 * np.ones(300)).calibration, fitted(z).calibration)


def test_rows_without_a_level_do_not_count_for_it():
    z, _, _ = encoded(600, 0)
    holed = z.copy()
    holed[:200, 1:4] = np.nan
    module, without = fitted(holed), fitted(z[200:])
    assert module.calibration[:3].numpy() == pytest.approx(
        without.calibration[:3].numpy(), abs=1e-4
    )
    assert torch.equal(fitted(np.where(z == 2, z, np.nan)).calibration, torch.zeros(5, 7))


def test_levels_that_never_occur_stay_out():
    z, _, _ = encoded(500, 0)
    z = z[z[:, 3] == 0]
    module = fitted(z, module=untrained(shares=(0.5, 0.5, 0.0)))
    q = posterior(module, z, 1)
    assert np.isfinite(module.calibration.numpy()).all()
    assert (q[:, 2] == 0).all()
    assert q[:, :3].sum(1) == pytest.approx(1)


def test_rows_of_no_weight_do_not_count():
    z, _, _ = encoded(600, 0)
    weights = np.r_[np.zeros(200), np.ones(400)]
    found = fitted(z, weights).calibration.numpy()
    assert found == pytest.approx(fitted(z[200:]).calibration.numpy(), abs=1e-4)
    holed = z.copy()
    holed[200:, 1:4] = np.nan  # no row of any weight has a level
    assert not fitted(holed, weights).calibration[:3].any()


@pytest.mark.parametrize("n_rare", [9, 10])
def test_levels_of_few_rows_are_told_by_nothing_and_tell_nothing(n_rare):
    z, _, _ = encoded(500, 0)
    z = np.concatenate([z[z[:, 3] == 0], z[z[:, 3] == 1][:n_rare]])
    holed = np.concatenate([z, z[:50]])  # the commonest level is not taken for what is absent
    holed[-50:, 1:4] = np.nan
    found = fitted(holed).calibration
    is_told = n_rare >= 10
    assert bool(found[2].any()) is is_told
    assert bool(found[3:, 3].any()) is is_told
    assert found[:2].any()
    assert found[3:].any()


def test_many_rows_are_looked_at_in_part(monkeypatch):
    z, _, _ = encoded(2000, 0)
    whole = fitted(z)
    monkeypatch.setattr(_calibration, "_MOST_WORK", 500 * whole.calibration.numel())
    part = fitted(z)
    assert not torch.equal(part.calibration, whole.calibration)
    assert torch.equal(part.calibration, fitted(z).calibration)


def test_tables_too_wide_or_never_drawn_again_have_none(monkeypatch):
    wide = [
        FeatureGroup(str(j), "categorical", 2 * j, 2 * j + 2, np.eye(2), np.array([0.5, 0.5]))
        for j in range(300)
    ]
    module = TableScore(wide, (4,)).double().requires_grad_(requires_grad=False)
    assert module.calibration.shape == (0, 601)
    z = np.tile(np.eye(2)[[0, 1, 1]], (1, 300))
    fitted(z, module=module)
    log_p = torch.zeros(3, 600, dtype=torch.float64)
    assert module.calibrated(torch.tensor(z), log_p) is log_p
    module = untrained()
    monkeypatch.setattr(module, "redraws", False)
    assert not fitted(encoded(300, 0)[0], module=module).calibration.any()


def table(n, seed):
    z, a, b = encoded(n, seed)
    return pd.DataFrame(
        {"x": z[:, 0], "a": pd.Categorical(np.array(["u", "v", "w"])[a]), "b": b == 1}
    )


@pytest.mark.parametrize("weighted", [False, True])
def test_a_generator_that_learnt_nothing_has_the_shares_of_pairs(weighted):
    df = table(6000, 0)
    weights = np.where(df["a"] == "u", 3.0, 1.0) if weighted else None
    quick = TabularGenerator(max_steps=1, hidden_units=(8,), random_state=0)
    generator = quick.fit(df, sample_weight=weights)
    weights = np.ones(len(df)) if weights is None else weights
    for level in ("u", "v", "w"):
        own = df["a"] == level
        real = np.average(df["b"][own], weights=weights[own])
        drawn = generator.sample(4000, conditions={"a": level}, random_state=0)["b"].mean()
        assert drawn == pytest.approx(real, abs=0.04)


def test_a_generator_of_encoded_features_has_them_too():
    df = table(6000, 0)
    encoder = TabularEncoder(random_state=0)
    z = np.asarray(encoder.fit_transform(df))
    generator = NCSNGenerator(max_steps=1, hidden_units=(8,), random_state=0)
    generator.fit(z, feature_groups=encoder.feature_groups_)
    given = df.iloc[:3000].assign(b=None)
    drawn = generator.sample(conditions=encoder_conditions(encoder, given), random_state=0)
    drawn = encoder.inverse_transform(drawn)
    for level in ("u", "v", "w"):
        own = given["a"] == level
        real = df["b"].iloc[:3000][own].mean()
        assert drawn["b"][own.to_numpy()].astype(bool).mean() == pytest.approx(real, abs=0.06)


def encoder_conditions(encoder, given):
    """Encode rows, with NaN in the features of column b."""
    z = np.asarray(encoder.transform(given.assign(b=True)))
    for group in encoder.feature_groups_:
        if group.column == "b":
            z[:, group.start : group.stop] = np.nan
    return z


def test_going_on_from_a_fit_calibrates_anew():
    df = table(1500, 0)
    encoder = TabularEncoder(random_state=0)
    z = np.asarray(encoder.fit_transform(df))
    options = {"max_steps": 5, "hidden_units": (8,), "random_state": 0}
    generator = NCSNGenerator(warm_start=True, **options)
    generator.fit(z, feature_groups=encoder.feature_groups_)
    first = generator.net_.module_.calibration.clone()
    assert first.any()
    generator.fit(z, feature_groups=encoder.feature_groups_)
    second = generator.net_.module_.calibration
    # Added to the first, what is fitted would be twice of it.
    assert float((second * first).sum() / first.square().sum()) == pytest.approx(1, abs=0.3)


def drawn(shares_of_a, n=2000):
    """Rows whose levels of a have given shares, and those of b are halves."""
    a = np.repeat([0, 1, 2], np.round(np.array(shares_of_a) * n).astype(int))
    b = np.arange(len(a)) % 2
    return torch.tensor(np.column_stack([np.zeros(len(a)), np.eye(3)[a], np.eye(2)[b]]))


def test_shares_that_are_off_move_the_constant_of_their_category_alone():
    shares, found, n = np.array([0.5, 0.3, 0.2]), np.array([0.6, 0.3, 0.1]), 2000
    for q in (found, np.array([0.7, 0.3, 0.0])):
        module = untrained(shares)
        assert hold_shares(module, drawn(q, n), n_rows=1000)
        expected = np.zeros(module.calibration.shape)
        expected[:3, -1] = np.log((shares * n + 5) / (q * n + 5))
        np.testing.assert_allclose(module.calibration.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize(("off", "moved"), [(0.99, False), (1.01, True)])
def test_shares_within_chance_stay(off, moved):
    n, n_drawn = 500, 200_000
    most = 0.5 * (1 / np.sqrt(n) + 3 / np.sqrt(n_drawn))
    module, shares = untrained([0.5, 0.25, 0.25]), np.array([0.5, 0.25, 0.25])
    z = drawn(shares + off * most * np.array([1, -0.5, -0.5]), n_drawn)
    assert hold_shares(module, z, n_rows=n) is moved
    assert bool(module.calibration.any()) is moved
