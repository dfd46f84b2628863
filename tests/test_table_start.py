"""Where rows of a table start: the category that is drawn first, the law at the largest level."""

import numpy as np
import pytest
import torch

from skscore._groups import FeatureGroup
from skscore._location_model import LocationModel
from skscore._table_score import DRAWN, GIVEN, TableScore
from skscore._table_start import draw_first, noise_and_ranks, starting_rows


def module(*, category=1):
    """A number, a category of codes, and a category of which the number is known to depend."""
    groups = [
        FeatureGroup("a", "numeric", 0, 1, None, None),
        FeatureGroup("b", "categorical", 1, 3, np.eye(2), np.array([0.5, 0.5])),
        FeatureGroup("c", "categorical", 3, 6, np.eye(3), np.array([0.5, 0.4, 0.1])),
    ]
    means = np.array([[-2.0], [0.0], [2.0]]) if category == 1 else np.zeros((1, 1))
    base = LocationModel(means, 0.1 * np.ones((len(means), 1, 1)), category)
    return TableScore(groups, (8,), base).double().eval()


def test_the_category_of_the_base_is_drawn_with_its_shares():
    network = module()
    u = torch.rand(10, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    u[:, 1] = (torch.arange(10) + 0.5) / 10
    state, clean = draw_first(network, u)
    assert clean[:, 3:].sum(0).tolist() == [5.0, 4.0, 1.0]
    assert (state[:, 2] == GIVEN).all()
    assert (state[:, :2] == DRAWN).all()


def test_without_a_category_nothing_is_drawn_first():
    assert draw_first(module(category=None), torch.rand(4, 2)) == (None, None)


def test_rows_of_which_something_is_given_stay_as_they_are():
    network = module()
    u = torch.rand(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    state = torch.full((3, 3), DRAWN, dtype=torch.float64)
    state[1, 0] = GIVEN
    clean = torch.full((3, 6), 7.0, dtype=torch.float64)
    found, cells = draw_first(network, u, state, clean)
    assert found.tolist() == [[DRAWN, DRAWN, GIVEN], [GIVEN, DRAWN, DRAWN], [DRAWN, DRAWN, GIVEN]]
    whole = draw_first(network, u)[1]
    assert torch.equal(cells[[0, 2]], whole[[0, 2]])
    assert torch.equal(cells[1], clean[1])


def test_rows_start_around_the_mean_of_their_level():
    network, n = module(), 4096
    u = torch.full((n, 2), 0.95, dtype=torch.float64)
    state, clean = draw_first(network, u)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(n, 6, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        rows = starting_rows(network, noise, 10.0, state, clean)
    assert torch.equal(rows[:, 3:], clean[:, 3:])
    assert rows[:, 0].mean().item() == pytest.approx(2.0, abs=4 * 10 / n**0.5)
    assert rows[:, 0].std().item() == pytest.approx(100.1**0.5, rel=4 / (2 * n) ** 0.5)


def test_ranks_are_the_distribution_function_of_the_noise_beyond_the_features():
    noise = torch.tensor([[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.0, 1.0]], dtype=torch.float64)
    of_features, u = noise_and_ranks(module(), noise)
    assert of_features.tolist() == noise[:, :6].tolist()
    assert u[0].tolist() == pytest.approx([0.5, 0.841345], abs=1e-6)


class ExactScore:
    """The denoiser of N(m, Σ), as a TableScore without states."""

    def __init__(self, m, covariance):
        self.m, self.mean = m, torch.zeros(len(m), dtype=torch.float64)
        self.covariance = covariance

    def denoise(self, x, sigma, state):
        blurred = self.covariance + sigma[0].square() * torch.eye(len(self.m))
        gain = torch.linalg.solve(blurred, self.covariance)
        return self.m + (x - self.m) @ gain


def test_rows_start_from_the_blurred_law_of_columns_that_are_much_alike():
    d, n = 30, 20_000
    m = torch.linspace(-1, 1, d, dtype=torch.float64)
    covariance = 0.9 * torch.ones(d, d, dtype=torch.float64) + 0.1 * torch.eye(d)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(n, d, generator=generator, dtype=torch.float64)
    x = starting_rows(ExactScore(m, covariance), noise, 10.0)
    # Along the direction of all columns at once the variance is λ + σ², λ = 27.1, σ = 10; within
    # what the second order leaves out and four standard errors.
    along = x.sum(1) / d**0.5
    expected = (27.1 + 100) ** 0.5
    assert along.std().item() == pytest.approx(expected, rel=0.03 + 4 / (2 * n) ** 0.5)
    across = (x - x.mean(1, keepdim=True)) * (d / (d - 1)) ** 0.5
    assert across.std().item() == pytest.approx(100.1**0.5, rel=0.01)
    # The mean of all rows is got but for the share of it that the prior mean, 0, keeps.
    assert (x.mean(0) - m).abs().max() < 4 * expected / n**0.5 + 0.25 * m.abs().max()
