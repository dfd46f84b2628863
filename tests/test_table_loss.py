"""The loss of tables, and rows that are drawn afresh in their intervals."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from skscore._groups import FeatureGroup
from skscore._location_model import LocationModel
from skscore._losses import RowLoss
from skscore._table_loss import EncodedRows, TableLoss
from skscore._table_score import TableScore
from skscore.noise import FixedSigma, LogNormalSigma

CPU = torch.device("cpu")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def groups():
    return [
        FeatureGroup("a", "numeric", 0, 1, None, None),
        FeatureGroup("a", "missing", 1, 3, np.eye(2), np.array([0.8, 0.2])),
        FeatureGroup("b", "categorical", 3, 6, np.eye(3), np.array([0.5, 0.3, 0.2])),
    ]


def untrained():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TableScore(groups(), (8, 8))


def rows_of_the_law(n=4000, seed=0):
    rng = np.random.RandomState(seed)
    gone = rng.random_sample(n) < 0.2
    level = rng.choice(3, size=n, p=[0.5, 0.3, 0.2])
    return torch.tensor(
        np.column_stack([rng.normal(size=n), ~gone, gone, np.eye(3)[level]]), dtype=torch.float32
    )


def test_rows_are_drawn_in_their_intervals():
    lower = np.array([[0.2, 1.0], [0.7, 0.0]])
    upper = np.array([[0.6, 1.0], [0.7, 0.0]])
    rows = EncodedRows.between(lower, upper, np.array([True, False]), CPU)
    index = torch.tensor([0] * 5000 + [1])
    drawn = rows.smoothed(index, generator())
    u = norm.cdf(drawn[:-1, 0].double().numpy())
    assert 0.2 <= u.min() < u.max() <= 0.6
    assert abs(u.mean() - 0.4) < 4 * 0.4 / np.sqrt(12 * 5000)
    # One value alone, and what is no probability, is always the same.
    assert drawn[-1, 0].item() == pytest.approx(norm.ppf(0.7), abs=1e-6)
    assert (drawn[:-1, 1] == 1).all()
    assert not torch.equal(drawn[:5000], rows.smoothed(index[:5000], generator(1)))
    assert torch.equal(drawn, rows.smoothed(index, generator()))


@pytest.mark.parametrize("level", [0.05, 1.0])
def test_numbers_cost_one_where_nothing_but_their_law_is_known(level):
    loss = TableLoss(FixedSigma(level), groups()[:1])
    x = torch.randn(20_000, 1, generator=generator())
    with torch.random.fork_rng():
        module = TableScore(groups()[:1], (8,))
    losses = loss(module, x, generator(1))
    counted = losses[losses > 0]
    # Of conditioned rows those whose only cell is given count nothing; the mean makes up for it.
    share = 0.5 / math.log(2)  # E 2^(U-1), the rate of given cells in a table of one column
    assert len(counted) == pytest.approx((1 - share / 2) * len(x), rel=0.03)
    error = losses.std() / len(x) ** 0.5
    assert abs(losses.mean() - 1) < 4 * error


def test_categories_cost_one_where_noise_hides_everything():
    shifted = [FeatureGroup("b", "categorical", 0, 3, np.eye(3), np.array([0.5, 0.3, 0.2]))]
    loss = TableLoss(FixedSigma(1000.0), shifted)
    with torch.random.fork_rng():
        module = TableScore(shifted, (8,))
    x = rows_of_the_law(20_000)[:, 3:]
    losses = loss(module, x, generator())
    assert abs(losses.mean() - 1) < 4 * losses.std() / len(x) ** 0.5


def test_numbers_that_are_missing_do_not_count():
    loss, module = TableLoss(FixedSigma(0.5), groups()), untrained()
    x = rows_of_the_law()
    moved = x.clone()
    moved[x[:, 2] == 1, 0] += 0.1
    first, second = loss(module, x, generator()), loss(module, moved, generator())
    gone = x[:, 2] == 1
    assert torch.equal(first[gone], second[gone])
    with torch.no_grad():
        module.network.head.bias.fill_(1.0)
    assert not torch.equal(loss(module, x, generator()), first)


def test_absent_cells_do_not_count_and_are_not_seen():
    loss, module = TableLoss(LogNormalSigma(0.02, 10.0, -1.2, 1.2), groups()), untrained()
    x = rows_of_the_law(64)
    x[::2, 3:] = torch.nan
    losses = loss(module, x, generator())
    assert losses.isfinite().all()
    losses.sum().backward()
    assert all(p.grad.isfinite().all() for p in module.parameters() if p.grad is not None)
    x[:, :3] = torch.nan  # half of the rows are wholly absent
    assert (loss(module, x, generator())[::2] == 0).all()


def test_more_draws_are_means_of_a_row():
    loss, module, x = TableLoss(FixedSigma(0.5), groups()), untrained(), rows_of_the_law(500)
    one, many = loss(module, x, generator(), 1), loss(module, x, generator(), 8)
    assert one.shape == many.shape == (500,)
    assert many.std() < one.std()
    assert abs(many.mean() - one.mean()) < 4 * one.std() / 500**0.5


def test_another_score_function_is_refused():
    loss = TableLoss(FixedSigma(0.5), groups())
    assert isinstance(loss, RowLoss)
    with pytest.raises(TypeError, match="learnt by a TableScore"):
        loss(lambda x, sigma: -x, rows_of_the_law(4), generator())


def test_rows_with_given_cells_have_a_noise_law_of_their_own():
    seen = []

    class Spy(TableScore):
        def parts(self, x, sigma, state=None):
            seen.append((sigma[:, 0], (state == 1).any(1)))
            return super().parts(x, sigma, state)

    with torch.random.fork_rng():
        module = Spy(groups(), (8,))
    loss = TableLoss(FixedSigma(0.1), groups(), FixedSigma(3.0))
    loss(module, rows_of_the_law(), generator())
    ((sigma, is_conditioned),) = seen
    assert (sigma[is_conditioned] == 3.0).all()
    # Of rows that may have given cells some have none by chance.
    assert (sigma == 3.0).float().mean() == pytest.approx(0.5, abs=4 * 0.5 / 4000**0.5)
    assert ((sigma == 0.1) | (sigma == 3.0)).all()


def test_of_some_rows_all_cells_are_given_but_a_category():
    class Spy(TableScore):
        def parts(self, x, sigma, state=None):
            seen.append((sigma[:, 0], state))
            return super().parts(x, sigma, state)

    seen, many = [], [FeatureGroup(j, "numeric", j, j + 1, None, None) for j in range(30)]
    many.append(FeatureGroup("b", "categorical", 30, 33, np.eye(3), np.array([0.5, 0.3, 0.2])))
    with torch.random.fork_rng():
        module = Spy(many, (8,))
    n = 20_000
    x = torch.randn(n, 33, generator=generator())
    x[:, 30:] = torch.tensor([0.0, 1.0, 0.0])
    TableLoss(FixedSigma(0.5), many, redraw_sigma=7.0)(module, x, generator())
    ((sigma, state),) = seen
    given = state == 1
    alone = (given.sum(1) == 30) & ~given[:, 30]
    # An eighth by rule; of the others, as many as rates of 32^(U-1) for each cell say.
    u = np.linspace(0, 1, 100_001)
    r = 32 ** (u - 1)
    share = 0.125 + 0.375 * np.mean(r**30 * (1 - r))
    assert float(alone.double().mean()) == pytest.approx(share, abs=4 * (share / n) ** 0.5)
    # Those by rule are what redraw_levels reads, at the noise level where it does.
    by_rule = sigma == 7.0
    assert alone[by_rule].all()
    assert float(by_rule.double().mean()) == pytest.approx(0.125, abs=4 * (0.125 / n) ** 0.5)
    assert (sigma[~by_rule] == 0.5).all()
    # Where the only category is that of the base, whole rows are drawn given it.
    seen.clear()
    base = LocationModel(np.zeros((3, 30)), np.tile(np.eye(30), (3, 1, 1)), 0)
    with torch.random.fork_rng():
        module = Spy(many, (8,), base)
    TableLoss(FixedSigma(0.5), many, redraw_sigma=7.0)(module, x, generator())
    assert (seen[0][0] == 0.5).all()


@pytest.mark.parametrize("category", [None, 0])
def test_of_some_rows_the_category_of_the_base_alone_is_given(category):
    class Spy(TableScore):
        def parts(self, x, sigma, state=None):
            seen.append((sigma[:, 0], state))
            return super().parts(x, sigma, state)

    made = [
        FeatureGroup("a", "numeric", 0, 1, None, None),
        FeatureGroup("b", "categorical", 1, 3, np.eye(2), np.array([0.5, 0.5])),
        FeatureGroup("c", "categorical", 3, 5, np.eye(2), np.array([0.5, 0.5])),
    ]
    seen, n = [], 20_000
    K = 1 if category is None else 2
    base = LocationModel(np.zeros((K, 1)), np.ones((K, 1, 1)), category)
    with torch.random.fork_rng():
        module = Spy(made, (8,), base)
    x = torch.tensor([0.3, 1.0, 0.0, 0.0, 1.0]).expand(n, -1).clone()
    x[:100, 1:3] = torch.nan
    TableLoss(FixedSigma(0.1), made, FixedSigma(3.0))(module, x, generator())
    ((sigma, state),) = seen
    whole = sigma == 0.1
    assert (state[whole][:, [0, 2]] == 0).all()
    assert (state[:100, 1] == -1).all()
    share = (state[100:][whole[100:], 1] == 1).double().mean().item()
    expected = 0.0 if category is None else 0.75
    assert share == pytest.approx(expected, abs=4 * (0.75 * 0.25 / (n / 2)) ** 0.5 * (expected > 0))


def test_held_out_rows_are_judged_by_many_draws():
    module, x = untrained(), rows_of_the_law(15)
    loss = TableLoss(LogNormalSigma(0.1, 10.0), groups())
    means = {
        n: [loss(module, x, generator(seed), n).mean().item() for seed in range(60)]
        for n in (1, 32)
    }
    assert loss.n_draws == 32
    assert np.std(means[32]) < 0.3 * np.std(means[1])  # 1/√32 is 0.18
    assert abs(np.mean(means[32]) - np.mean(means[1])) < 4 * np.std(means[1]) / np.sqrt(60)
