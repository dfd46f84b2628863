import math

import numpy as np
import pytest
import torch

from skscore._copying import LatestOriginal
from skscore.metrics import copy_rate

SEED = 0
NO_LOSSES = torch.full((3,), math.nan)
ROWS = np.random.RandomState(SEED).uniform(size=(200, 2))


def draws(n_copies, n=1000):
    """Rows of which n_copies are copies of training rows and no other one looks like it."""
    rng = np.random.RandomState(1)
    # Far away all training rows are about as far as each other.
    return np.vstack([ROWS[rng.randint(len(ROWS), size=n_copies)], np.full((n - n_copies, 2), 50)])


class Draws:
    """Stands for the sampler of a network: gives what the network, here a number, says."""

    def __init__(self):
        self.modules = []

    def __call__(self, module):
        self.modules.append(module)
        return draws(module)


def limit(n_drawn):
    """The largest rate that passes for chance, from the documented formula."""
    p = copy_rate(ROWS, ROWS, exclude_self=True)
    return p + 0.01 + 2 * math.sqrt(p * (1 - p) * (1 / n_drawn + 1 / len(ROWS)))


def test_the_reference_is_the_rate_of_the_rows_among_themselves():
    selection = LatestOriginal(ROWS, Draws())
    assert selection.reference == copy_rate(ROWS, ROWS, exclude_self=True)
    assert 0 < selection.reference < 0.3
    assert selection.rates == []
    assert math.isnan(selection.kept)


@pytest.mark.parametrize(
    ("n_copies", "improves", "kept"),
    [
        ([0, 20, 50, 40], [True, True, True, True], 0.04),
        ([0, 20, 900, 950], [True, True, False, False], 0.02),
        ([10, 900, 30, 1000], [True, False, True, False], 0.03),
        # The first is kept whatever it copies, since something has to be; a later copier is not.
        ([900, 800, 700], [True, False, False], 0.9),
        ([900, 800, 20, 700], [True, False, True, False], 0.02),
    ],
)
def test_the_latest_validation_that_does_not_copy_is_kept(n_copies, improves, kept):
    draw = Draws()
    selection = LatestOriginal(ROWS, draw)
    found = [selection.improves(module, NO_LOSSES) for module in n_copies]
    assert found == improves
    assert selection.kept == pytest.approx(kept)
    assert selection.rates == pytest.approx([n / 1000 for n in n_copies])
    assert draw.modules == n_copies  # each validation draws once, from the network it is given


def test_the_loss_has_no_say():
    for losses in torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [math.inf] * 3]):
        selection = LatestOriginal(ROWS, Draws())
        modules = (0, 900, 10)
        found = [selection.improves(m, row) for m, row in zip(modules, losses, strict=True)]
        assert found == [True, False, True]


@pytest.mark.parametrize("n", [200, 1000, 5000])
def test_chance_ends_where_it_is_documented_to(n):
    last = math.floor(limit(n) * n)
    for n_copies, expected in ((last, True), (last + 1, False)):
        selection = LatestOriginal(ROWS, lambda module, m=n_copies: draws(m, n))
        selection.improves(None, NO_LOSSES)  # the first one is kept anyway
        assert selection.improves(None, NO_LOSSES) is expected


def test_fresh_rows_of_the_same_law_pass_and_copies_with_a_little_noise_do_not():
    rng = np.random.RandomState(2)
    selection = LatestOriginal(ROWS, lambda module: module)
    selection.improves(ROWS, NO_LOSSES)
    fresh = rng.uniform(size=(1000, 2))
    assert selection.improves(fresh, NO_LOSSES)
    noisy = ROWS[rng.randint(len(ROWS), size=1000)] + 0.002 * rng.standard_normal((1000, 2))
    assert not selection.improves(noisy, NO_LOSSES)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_not_finite_are_never_kept(value):
    selection = LatestOriginal(ROWS, lambda module: module)
    broken = draws(0)
    broken[7, 1] = value
    # Not as the first one either; the first that can be judged is.
    found = [
        selection.improves(drawn, NO_LOSSES) for drawn in (broken, draws(900), draws(10), broken)
    ]
    assert found == [False, True, True, False]
    assert selection.kept == pytest.approx(0.01)
    np.testing.assert_allclose(selection.rates, [np.nan, 0.9, 0.01, np.nan])


@pytest.mark.parametrize(
    ("n_copies", "improves"),
    [
        # The rate of the first two, of which the second is past the floor.
        ([0, 0, 20, 21], [True, True, True, False]),
        ([100, 100, 100, 101], [True, True, True, False]),
    ],
)
def test_the_strict_limit_is_of_the_first_validations_or_the_floor(n_copies, improves):
    selection = LatestOriginal(np.eye(50), lambda m: strict_draws(m), least=0.02, patience=6.0)
    assert selection.reference == 0
    assert selection.patience == 6.0
    assert [selection.improves(m, NO_LOSSES) for m in n_copies] == improves


def strict_draws(n_copies):
    """As `draws`, of rows none of which is near another."""
    return np.vstack([np.eye(50)[np.arange(n_copies) % 50], np.full((1000 - n_copies, 50), 9.0)])
