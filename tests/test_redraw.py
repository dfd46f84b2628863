"""redraw_levels: the law of rows that keep it, and come to it; what stays."""

import numpy as np
import pytest
import torch

from skscore import _redraw
from skscore._groups import FeatureGroup
from skscore._redraw import redraw_levels
from skscore._table_score import GIVEN, TableScore

SEED = 0
SIGMA = 100.0
JOINT = np.array([[0.3, 0.05, 0.05], [0.02, 0.28, 0.3]])


def generator(seed=SEED):
    # With one seed NumPy and torch would draw the same numbers.
    return torch.Generator().manual_seed(1000 + seed)


def pair():
    return [
        FeatureGroup("a", "categorical", 0, 2, np.eye(2), JOINT.sum(1)),
        FeatureGroup("b", "categorical", 2, 5, np.eye(3), JOINT.sum(0)),
    ]


def coded(a, b):
    return torch.tensor(np.column_stack([np.eye(2)[a], np.eye(3)[b]]))


def drawn_from(law, n, seed):
    cells = np.random.RandomState(seed).choice(law.size, size=n, p=law.ravel() / law.sum())
    return coded(*np.unravel_index(cells, law.shape))


def shares(x):
    """Shares of the pairs of levels, and their number."""
    a, b = x[:, :2].argmax(1).numpy(), x[:, 2:].argmax(1).numpy()
    assert (coded(a, b) == x).all()
    return np.bincount(3 * a + b, minlength=6).reshape(2, 3) / len(x)


class KnownPair(TableScore):
    """Knows the law of each of two levels given the other, and what its own blurred code says."""

    def parts(self, x, sigma, state=None):
        assert ((state == GIVEN).sum(1) == 1).all()  # drawn one by one, and never clean
        log_joint = torch.tensor(JOINT).log()
        of_a = x[:, 2:] @ log_joint.T  # of a, where b is given
        of_b = x[:, :2] @ log_joint
        nearness = self._nearness(x) / sigma.square()
        log_p = nearness + torch.cat([of_a, of_b], dim=1)
        return x[:, :0], self._normalised(log_p)


def known_pair():
    with torch.random.fork_rng():
        return KnownPair(pair(), (4,)).double()


def within(found, law, n, n_se):
    law = law / law.sum()
    return np.abs(found - law) <= n_se * np.sqrt(law * (1 - law) / n)


@pytest.mark.parametrize("seed", range(20))
def test_rows_of_a_law_keep_it_at_any_noise_level(seed):
    n = 4000
    for sigma in (0.5, SIGMA):
        x = redraw_levels(known_pair(), drawn_from(JOINT, n, seed), sigma, generator(seed))
        assert within(shares(x), JOINT, n, 4).all()


@pytest.mark.parametrize("seed", range(20))
def test_a_level_comes_to_its_law_given_the_others(seed):
    n = 4000
    start = drawn_from(np.outer(JOINT.sum(1), np.ones(3)), n, seed)  # b has nothing to do with a
    state = torch.zeros(n, 2, dtype=torch.float64)
    state[:, 0] = GIVEN
    x = redraw_levels(known_pair(), start, SIGMA, generator(seed), state)
    assert torch.equal(x[:, :2], start[:, :2])
    assert within(shares(x), JOINT, n, 4).all()


def test_rows_have_an_order_of_their_own():
    # Where b tells a and a tells b, which of two that differ wins is a matter of the order.
    sure = np.array([[0.5, 0.0, 0.0], [0.0, 0.25, 0.25]])

    class Sure(KnownPair):
        def parts(self, x, sigma, state=None):
            log_joint = torch.tensor(sure).clamp(min=1e-12).log()
            log_p = torch.cat([x[:, 2:] @ log_joint.T, x[:, :2] @ log_joint], dim=1)
            return x[:, :0], self._normalised(
                torch.where(state[:, [0, 0, 1, 1, 1]] == GIVEN, 0.0, log_p)
            )

    with torch.random.fork_rng():
        module = Sure(pair(), (4,)).double()
    n = 2000
    x = redraw_levels(module, coded(np.zeros(n, int), np.full(n, 1)), SIGMA, generator())
    found = shares(x)
    assert found[0, 0] == pytest.approx(0.5, abs=4 * 0.5 / n**0.5)
    assert found[1].sum() == pytest.approx(0.5, abs=4 * 0.5 / n**0.5)


def mixed():
    """A number, a number with a marker, a category, a level that is alone."""
    groups = [
        FeatureGroup("a", "numeric", 0, 1, None, None),
        FeatureGroup("b", "numeric", 1, 2, None, None),
        FeatureGroup("b", "missing", 2, 4, np.eye(2), np.array([0.9, 0.1])),
        FeatureGroup("c", "categorical", 4, 7, np.eye(3), np.array([0.5, 0.3, 0.2])),
        FeatureGroup("d", "categorical", 7, 8, np.ones((1, 1)), np.ones(1)),
    ]
    with torch.random.fork_rng():
        return TableScore(groups, (4,)).double()


def rows_of_mixed(n):
    x = torch.randn(n, 8, generator=generator(), dtype=torch.float64)
    x[:, 2:] = torch.tensor([1.0, 0, 1, 0, 0, 1])
    return x


def test_only_columns_that_are_a_category_alone_are_drawn():
    n, module = 4000, mixed()
    assert module.category_columns.tolist() == [2]
    start = rows_of_mixed(n)
    x = redraw_levels(module, start, SIGMA, generator())
    assert torch.equal(x[:, [0, 1, 2, 3, 7]], start[:, [0, 1, 2, 3, 7]])
    p = np.array([0.5, 0.3, 0.2])  # of a network that has learnt nothing
    assert within(x[:, 4:7].mean(0).numpy(), p, n, 4).all()


def test_rows_of_numbers_and_those_that_are_given_stay():
    with torch.random.fork_rng():
        numbers = TableScore([FeatureGroup("a", "numeric", 0, 1, None, None)], (4,)).double()
    x = torch.randn(5, 1, generator=generator(), dtype=torch.float64)
    assert torch.equal(redraw_levels(numbers, x, SIGMA, generator()), x)
    module, start = mixed(), rows_of_mixed(50)
    state = torch.zeros(50, 4, dtype=torch.float64)
    state[:25, 2] = GIVEN
    x = redraw_levels(module, start, SIGMA, generator(), state)
    assert torch.equal(x[:25], start[:25])
    assert not torch.equal(x[25:], start[25:])


def test_of_many_columns_each_row_draws_some(monkeypatch):
    monkeypatch.setattr(_redraw, "_MAX_DRAWS", 3)
    n_columns, n_levels, n = 7, 50, 2000
    groups = [
        FeatureGroup(
            j, "categorical", 50 * j, 50 * (j + 1), np.eye(n_levels), np.full(n_levels, 0.02)
        )
        for j in range(n_columns)
    ]
    with torch.random.fork_rng():
        module = TableScore(groups, (4,)).double()
    start = torch.tensor(np.eye(n_levels)[np.zeros((n, n_columns), int)].reshape(n, -1))
    x = redraw_levels(module, start, SIGMA, generator())
    changed = x.reshape(n, n_columns, n_levels)[:, :, 0] == 0
    assert changed.sum(1).max() == 3
    p = 3 / 7 * 0.98
    assert np.abs(changed.double().mean(0).numpy() - p).max() < 4 * (p * (1 - p) / n) ** 0.5
