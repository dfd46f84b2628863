"""The last step of rows of a table, against the flow of laws that are known."""

import numpy as np
import pytest
import torch

from skscore._groups import FeatureGroup
from skscore._location_model import LocationModel
from skscore._table_end import without_noise
from skscore._table_score import DRAWN, GIVEN, TableScore
from skscore.tabular import TabularGenerator

SIGMA = 0.1


class ExactScore:
    """The denoiser of N(m, Σ) of numbers, as a TableScore without states."""

    def __init__(self, covariance):
        d = len(covariance)
        self.m = torch.linspace(-1, 1, d, dtype=torch.float64)
        self.covariance = torch.as_tensor(covariance)
        self.numeric = self.column = torch.arange(d)
        self.continuous = torch.ones(d, dtype=torch.bool)

    def numbers_of_base(self, x, sigma, state):
        blurred = self.covariance + sigma[0].square() * torch.eye(len(self.m))
        return self.m + (x - self.m) @ torch.linalg.solve(blurred, self.covariance)

    denoise = numbers_of_base

    def rows(self, n):
        """Return rows at the smallest noise level, and what the flow makes of them."""
        variances, axes = torch.linalg.eigh(self.covariance)
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(n, len(self.m), generator=generator, dtype=torch.float64)
        blurred = self.m + noise * (variances + SIGMA**2).sqrt() @ axes.T
        return blurred, self.m + noise * variances.sqrt() @ axes.T


def end(network, x, state=None):
    D = network.denoise(x, torch.full_like(x[:, :1], SIGMA), state)
    return without_noise(network, x, D, SIGMA, state)


@pytest.mark.parametrize("r", [0.0, 0.5, 0.9, 0.99, 0.999, -0.99])
def test_two_numbers_end_where_the_flow_does(r):
    network = ExactScore(np.array([[1.0, r], [r, 1.0]]))
    x, expected = network.rows(200)
    torch.testing.assert_close(end(network, x), expected, rtol=0, atol=1e-8)


def test_directions_of_two_widths_end_where_the_flow_does():
    covariance = 0.99 * np.ones((7, 7)) + 0.01 * np.eye(7)
    network = ExactScore(covariance)
    x, expected = network.rows(200)
    torch.testing.assert_close(end(network, x), expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("seed", range(20))
def test_directions_of_many_widths_keep_them_nearly(seed):
    axes, _ = np.linalg.qr(np.random.RandomState(seed).normal(size=(8, 8)))
    widths = np.geomspace(0.02, 1, 8)
    network = ExactScore(axes * widths**2 @ axes.T)
    x, expected = network.rows(2000)
    ends = end(network, x)
    D = network.denoise(x, torch.full_like(x[:, :1], SIGMA), None)
    ratios = [
        (((rows - network.m) @ torch.tensor(axes)).std(0) / torch.tensor(widths))
        for rows in (ends, D)
    ]
    assert ratios[1].min() < 0.25
    assert (ratios[0] - 1).abs().max() < 0.5
    assert (ends - expected).norm() < 0.3 * (D - expected).norm()


def test_what_is_certain_ends_there():
    network = ExactScore(np.ones((2, 2)))
    x, expected = network.rows(100)
    torch.testing.assert_close(end(network, x), expected, rtol=0, atol=1e-6)


def test_what_is_added_to_the_base_is_taken_as_it_is():
    network = ExactScore(np.array([[1.0, 0.99], [0.99, 1.0]]))
    x, expected = network.rows(100)
    D = network.denoise(x, torch.full_like(x[:, :1], SIGMA), None)
    ends = without_noise(network, x, D + x.sin(), SIGMA)
    torch.testing.assert_close(ends, expected + x.sin(), rtol=0, atol=1e-8)


def test_numbers_that_repeat_stay_as_they_are_denoised():
    network = ExactScore(0.99 * np.ones((3, 3)) + 0.01 * np.eye(3))
    network.continuous[1] = False
    x, _ = network.rows(100)
    D = network.denoise(x, torch.full_like(x[:, :1], SIGMA), None)
    ends = without_noise(network, x, D, SIGMA)
    assert torch.equal(ends[:, 1], D[:, 1])
    assert (ends[:, [0, 2]] != D[:, [0, 2]]).all()


def test_the_generator_knows_which_numbers_repeat():
    rng = np.random.RandomState(0)
    x = rng.normal(size=(500, 1))
    gone = np.where(rng.rand(500, 1) < 0.5, np.nan, x)
    X = np.hstack([x, x.round(), gone, x.round(2), np.maximum(x, 0), rng.normal(size=(500, 1))])
    generator = TabularGenerator(max_steps=1, hidden_units=(8,), random_state=0).fit(X)
    found = generator.net_.module_.continuous.tolist()
    assert found == [True, False, True, True, False, True]


def test_a_row_does_not_depend_on_the_others():
    network = ExactScore(np.array([[1.0, 0.9], [0.9, 1.0]]))
    x, _ = network.rows(10)
    torch.testing.assert_close(end(network, x)[3:5], end(network, x[3:5]), rtol=0, atol=1e-14)


def test_categories_and_given_numbers_stay_as_they_are_denoised():
    groups = [
        FeatureGroup("a", "numeric", 0, 1, None, None),
        FeatureGroup("b", "categorical", 1, 3, np.eye(2), np.array([0.5, 0.5])),
        FeatureGroup("c", "numeric", 3, 4, None, None),
    ]
    base = LocationModel(np.zeros((1, 2)), np.array([[[1.0, 0.99], [0.99, 1.0]]]))
    network = TableScore(groups, (8,), base).double().eval()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(50, 4, generator=generator, dtype=torch.float64)
    state = torch.full((50, 3), DRAWN, dtype=torch.float64)
    state[:25, 0] = GIVEN
    with torch.no_grad():
        D = network.denoise(x, torch.full_like(x[:, :1], SIGMA), state)
        ends = without_noise(network, x, D, SIGMA, state)
    assert torch.equal(ends[:, 1:3], D[:, 1:3])
    assert torch.equal(ends[:25, 0], D[:25, 0])
    moved = ends != D
    assert moved[25:, 0].all()
    assert moved[:, 3].all()
    # Given a, c has the variance 1 - .99², but for what the given one is allowed to be off.
    a = (1 - 0.99**2) / (1 - 0.99**2 + SIGMA**2)
    added = (a**0.5 - a) * (x[:25, 3] - 0.99 * x[:25, 0])
    torch.testing.assert_close((ends - D)[:25, 3], added, rtol=0, atol=0.02)


@pytest.mark.parametrize("r", [0.9, 0.99])
def test_columns_that_nearly_say_each_other_do_so_no_more_in_samples(r):
    ratios = []
    for seed in range(20):
        z = np.random.RandomState(seed).normal(size=(1000, 2))
        X = np.column_stack([z[:, 0], r * z[:, 0] + (1 - r**2) ** 0.5 * z[:, 1]])
        # Untrained, the network is the Gaussian that it starts from.
        generator = TabularGenerator(max_steps=1, hidden_units=(8,), random_state=seed).fit(X)
        drawn = generator.sample(1000, random_state=seed)
        ratios.append(np.std(drawn[:, 1] - drawn[:, 0]) / np.std(X[:, 1] - X[:, 0]))
    # The mean of a row at the last noise level would have .96 and .74. A value comes back anywhere
    # between its neighbours in the table, which adds a little.
    assert np.mean(ratios) == pytest.approx(1, abs=0.05 + 4 * np.std(ratios) / 20**0.5)
