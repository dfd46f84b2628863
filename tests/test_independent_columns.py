"""IndependentColumns: exact score and log-density of columns that know nothing of each other."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, norm

from skscore._groups import FeatureGroup
from skscore._independent_columns import IndependentColumns
from skscore._table_score import TableScore

CODES = np.array([[0.6, 0.8], [-0.6, 0.8], [0.0, -1.0]])
COVARIANCE = np.array([[1.0, 0.6], [0.6, 2.0]])
SHARES = np.array([0.5, 0.3, 0.2])


def groups():
    return [
        FeatureGroup("a", "numeric", 0, 1, None, None),
        FeatureGroup("b", "categorical", 1, 3, CODES, SHARES),
        FeatureGroup("c", "numeric", 3, 4, None, None),
        FeatureGroup("d", "categorical", 4, 6, np.eye(2), np.array([0.9, 0.1])),
    ]


def law(found=None, numbers=COVARIANCE):
    covariance = np.full((6, 6), 7.0)  # what it says of codes is not read
    covariance[np.ix_([0, 3], [0, 3])] = numbers
    return IndependentColumns(found or groups(), torch.tensor(covariance))


def points(n=20):
    return torch.randn(n, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("sigma", [0.3, 2.0])
def test_the_blurred_density_is_that_of_a_gaussian_times_mixtures(sigma):
    x = points().numpy()
    expected = multivariate_normal.pdf(x[:, [0, 3]], cov=COVARIANCE + sigma**2 * np.eye(2))
    for features, codes, shares in (
        (slice(1, 3), CODES, SHARES),
        (slice(4, 6), np.eye(2), [0.9, 0.1]),
    ):
        each = norm.pdf(x[:, None, features], codes, sigma).prod(2)
        expected = expected * (each @ shares)
    found = law().log_density(points(), torch.full((20, 1), sigma, dtype=torch.float64))
    np.testing.assert_allclose(found, np.log(expected), rtol=1e-10)


@pytest.mark.parametrize("sigma", [0.05, 0.3, 2.0])
def test_the_score_is_the_gradient_of_the_log_density(sigma):
    x, level = points().requires_grad_(), torch.full((20, 1), sigma, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(law().log_density(x, level).sum(), x)
    torch.testing.assert_close(law()(x.detach(), level), gradient, rtol=1e-8, atol=1e-8)


def test_without_noise_a_code_has_the_probability_of_its_level():
    x = points()
    x[:, 1:3], x[:, 4:] = torch.tensor(CODES[[0, 2] * 10]), torch.eye(2)[[0, 1] * 10]
    found = law().log_density(x, torch.zeros(20, 1))
    density = multivariate_normal.logpdf(x[:, [0, 3]].numpy(), cov=COVARIANCE)
    np.testing.assert_allclose(found, density + np.log([0.5 * 0.9, 0.2 * 0.1] * 10), rtol=1e-10)


def test_it_is_what_a_network_of_tables_starts_from():
    module = TableScore(groups(), (8,)).double()
    sigma = torch.full((20, 1), 0.4, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(
            module(points(), sigma), law(numbers=np.eye(2))(points(), sigma), rtol=1e-6, atol=1e-6
        )


@pytest.mark.parametrize("kind", ["numbers", "categories"])
def test_tables_of_one_kind(kind):
    if kind == "numbers":
        found = [FeatureGroup(j, "numeric", j, j + 1, None, None) for j in range(2)]
        x, covariance = points()[:, :2], torch.tensor(COVARIANCE)
    else:
        found = [FeatureGroup("d", "categorical", 0, 2, np.eye(2), np.array([0.9, 0.1]))]
        x, covariance = points()[:, :2], torch.eye(2, dtype=torch.float64)
    only = IndependentColumns(found, covariance)
    x = x.requires_grad_()
    level = torch.ones(20, 1, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(only.log_density(x, level).sum(), x)
    torch.testing.assert_close(only(x.detach(), level), gradient)
