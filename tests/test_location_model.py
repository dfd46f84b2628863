"""LocationModel: numbers that are Gaussian given a category, against conditional Gaussians."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.covariance import ledoit_wolf_shrinkage

from skscore._groups import FeatureGroup
from skscore._location_model import (
    GIVEN_VARIANCE,
    UNKNOWN_VARIANCE,
    LocationModel,
    fit_location_model,
)

MEANS = np.array([[-1.0, 0.0, 0.5], [1.0, 1.0, -0.5]])
COVARIANCES = np.array(
    [
        [[1.0, 0.5, 0.2], [0.5, 1.0, 0.3], [0.2, 0.3, 0.8]],
        [[0.6, -0.3, 0.1], [-0.3, 0.9, 0.0], [0.1, 0.0, 0.5]],
    ]
)
SHARES = np.array([0.4, 0.6])


def model():
    return LocationModel(MEANS, COVARIANCES, 0).double().eval()


def points(n=40, q=3, seed=0):
    return torch.tensor(np.random.RandomState(seed).normal(size=(n, q)))


def log_w(n=40):
    return torch.tensor(np.log(np.random.RandomState(1).dirichlet([1.0, 1.0], size=n)))


def noise(n=40):
    return torch.tensor(np.random.RandomState(2).uniform(0.05, 3.0, size=(n, 3)))


def conditional_means(x, variance, w):
    """The means by Bayes's rule, row by row and level by level."""
    found, posterior = [], []
    for row, nu, w_row in zip(x.numpy(), variance.numpy(), w.exp().numpy(), strict=True):
        f = np.array(
            [
                multivariate_normal.pdf(row, mu, C + np.diag(nu))
                for mu, C in zip(MEANS, COVARIANCES, strict=True)
            ]
        )
        each = [
            np.linalg.inv(np.linalg.inv(C) + np.diag(1 / nu)) @ (np.linalg.inv(C) @ mu + row / nu)
            for mu, C in zip(MEANS, COVARIANCES, strict=True)
        ]
        found.append((w_row * f) @ np.array(each) / (w_row @ f))
        posterior.append(f / f.sum())
    return torch.tensor(np.array(found)), torch.tensor(np.array(posterior))


def test_means_are_those_by_bayes_rule_under_any_noise():
    D, log_p = model()(points(), noise(), log_w())
    expected, posterior = conditional_means(points(), noise(), log_w())
    # Parameters are kept in single precision.
    torch.testing.assert_close(D, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(log_p.exp(), posterior, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sigma", [0.05, 0.5, 10.0])
def test_noise_that_is_alike_is_noise_of_its_own_in_each(sigma):
    variance = torch.full((40, 1), sigma**2, dtype=torch.float64)
    found = model()(points(), variance, log_w())
    own = model()(points(), variance.expand(-1, 3), log_w())
    torch.testing.assert_close(found, own, rtol=1e-5, atol=1e-5)


def test_rows_of_both_kinds_come_out_as_they_do_alone():
    variance = noise()
    variance[::2] = variance[::2, :1]
    training = model().train()
    torch.testing.assert_close(
        training(points(), variance, log_w()), model()(points(), variance, log_w())
    )


def test_the_denoiser_is_the_gradient_of_the_log_density():
    x, sigma = points().requires_grad_(), 0.7
    log_f = torch.stack(
        [
            torch.distributions.MultivariateNormal(
                torch.tensor(mu), torch.tensor(C) + sigma**2 * torch.eye(3)
            ).log_prob(x)
            for mu, C in zip(MEANS, COVARIANCES, strict=True)
        ],
        dim=1,
    )
    (score,) = torch.autograd.grad((log_f + torch.tensor(SHARES).log()).logsumexp(1).sum(), x)
    variance = torch.full((40, 1), sigma**2, dtype=torch.float64)
    D, _ = model()(x.detach(), variance, torch.tensor(SHARES).log().expand(40, -1))
    torch.testing.assert_close(D, x.detach() + sigma**2 * score, rtol=1e-5, atol=1e-5)


def test_given_numbers_are_regressed_on():
    C, x = COVARIANCES[0], points()
    single = LocationModel(np.zeros((1, 3)), C[None]).double().eval()
    variance = torch.tensor([[1e-9, UNKNOWN_VARIANCE, 1e-9]], dtype=torch.float64).expand(40, -1)
    D, _ = single(x, variance, x[:, :1] * 0)
    slopes = C[1, [0, 2]] @ np.linalg.inv(C[np.ix_([0, 2], [0, 2])])
    # Of what is nearly unknown, 1/UNKNOWN_VARIANCE is read.
    np.testing.assert_allclose(D[:, 1], x[:, [0, 2]].numpy() @ slopes, atol=5e-4)


def test_two_numbers_that_are_one_leave_the_third_in_its_place():
    twice = np.array([[1.0, 1.0, 0.5], [1.0, 1.0, 0.5], [0.5, 0.5, 1.0]])
    single = LocationModel(np.zeros((1, 3)), twice[None]).eval()
    x = torch.tensor([[1.0, 1.02, 0.0]])
    variance = torch.tensor([[GIVEN_VARIANCE, GIVEN_VARIANCE, UNKNOWN_VARIANCE]])
    D, _ = single(x, variance, torch.zeros(1, 1))
    assert abs(D[0, 2] - 0.505) < 0.01


def test_slopes_are_the_derivatives():
    single = LocationModel(MEANS[:1], COVARIANCES[:1]).double().eval()
    variance = torch.tensor([[0.3]], dtype=torch.float64)

    def denoised(row):
        return single(row[None], variance, torch.zeros(1, 1, dtype=torch.float64))[0][0]

    jacobian = torch.autograd.functional.jacobian(denoised, points(1)[0])
    torch.testing.assert_close(single.slope(variance)[0], jacobian.diagonal())


# What is fitted.


def groups(q=3, shares=((0.5, 0.5), (0.2, 0.3, 0.5))):
    made = [FeatureGroup(f"x{j}", "numeric", j, j + 1, None, None) for j in range(q)]
    for j, pi in enumerate(shares):
        start, k = made[-1].stop, len(pi)
        group = FeatureGroup(
            f"c{j}", "categorical", start, start + k, np.eye(k), np.array(pi, dtype=float)
        )
        made.append(group)
    return made


def rows(n=600, seed=0, shift=0.0, correlation=0.0):
    """Three numbers, a category of two levels that says nothing and one of three that may."""
    rng = np.random.RandomState(seed)
    first, second = rng.choice(2, n), rng.choice(3, n, p=[0.2, 0.3, 0.5])
    C = np.full((3, 3), correlation) + (1 - correlation) * np.eye(3)
    z = rng.multivariate_normal(np.zeros(3), C, size=n) + shift * (second[:, None] - 1.3)
    return np.hstack([z, np.eye(2)[first], np.eye(3)[second]]), second


def fit(X, found=None, weights=None, seed=0):
    weights = np.ones(len(X)) if weights is None else weights
    return fit_location_model([X], weights, found or groups(), seed)


def test_the_category_that_says_most_of_the_numbers_is_found():
    for seed in range(20):
        X, _ = rows(seed=seed, shift=1.0)
        assert fit(X).category == 1


def test_numbers_that_are_correlated_alone_are_one_gaussian():
    chosen = [fit(rows(seed=seed, correlation=0.6)[0]) for seed in range(20)]
    assert all(found.category is None for found in chosen)
    C = torch.stack([found.covariances[0] for found in chosen])
    error = C.std(0, correction=1) / 20**0.5
    expected = torch.full((3, 3), 0.6) + 0.4 * torch.eye(3)
    # Covariances are drawn to zero, by about 1/n.
    assert ((C.mean(0) - expected).abs() < 4 * error + 0.01).all()


def test_independent_numbers_have_no_model():
    assert sum(fit(rows(seed=seed)[0]) is not None for seed in range(20)) <= 4


def test_means_and_covariances_are_those_of_levels_drawn_to_all():
    X, level = rows(shift=1.0)
    found = fit(X)
    n_k = np.bincount(level)
    x_bar = np.array([X[level == k, :3].mean(0) for k in range(3)])
    means = x_bar * (n_k / (n_k + 1))[:, None]
    np.testing.assert_allclose(found.means, means, rtol=1e-5, atol=1e-6)
    residuals = X[:, :3] - means[level]
    S, a = residuals.T @ residuals / len(X), ledoit_wolf_shrinkage(residuals, assume_centered=True)
    S = (1 - a) * S + a * np.diag(np.diag(S))
    for k in range(3):
        own = residuals[level == k]
        expected = (own.T @ own + 3 * S) / (n_k[k] + 3)
        np.testing.assert_allclose(found.covariances[k], expected, rtol=1e-4, atol=1e-6)


def test_a_level_of_few_rows_is_that_of_all():
    X, level = rows(shift=1.0)
    few = np.flatnonzero(level == 0)[:9]
    X = X[np.concatenate([few, np.flatnonzero(level > 0)])]
    found = fit(X)
    assert found.category == 1
    assert (found.means[0] == 0).all()
    total = X[:, :3].T @ X[:, :3] / len(X)
    np.testing.assert_allclose(found.covariances[0].diagonal(), np.diag(total), rtol=1e-5)


def test_weights_are_repetitions():
    X, _ = rows(300, shift=1.0)
    weights = np.random.RandomState(0).choice([1, 2, 3], 300)
    one = fit(X, weights=weights)
    other = fit(np.repeat(X, weights, axis=0))
    torch.testing.assert_close(one.means, other.means)
    # How far covariances are drawn to the diagonal differs.
    torch.testing.assert_close(one.covariances, other.covariances, rtol=0, atol=0.02)


def test_absent_cells_do_not_dilute_covariances():
    C = []
    for seed in range(20):
        X, _ = rows(seed=seed, correlation=0.6)
        X[:, :3][np.random.RandomState(seed).rand(600, 3) < 0.3] = np.nan
        C.append(fit(X).covariances[0])
    error = torch.stack(C).std(0, correction=1) / 20**0.5
    gap = torch.stack(C).mean(0) - (torch.full((3, 3), 0.6) + 0.4 * torch.eye(3))
    # Without the pairs it would be 0.42.
    assert (gap.abs() < 4 * error + 0.03).all()


def test_rows_without_a_level_are_used_where_they_can_be():
    X, _ = rows(shift=1.0)
    X[::3, 5:] = np.nan
    found = fit(X)
    assert found.category == 1
    known = np.delete(np.arange(600), np.s_[::3])
    torch.testing.assert_close(found.means, fit(X[known]).means)


@pytest.mark.parametrize("n_rows", [1, 4, 6, 12])
def test_few_rows_are_enough_to_ask(n_rows):
    found = fit(rows(n_rows, shift=3.0)[0])
    if found is not None:
        assert found.covariances.isfinite().all()


def test_models_that_would_cost_too_much_are_left_out():
    X = np.random.RandomState(0).normal(size=(300, 1)) + 0.1 * np.random.RandomState(1).normal(
        size=(300, 129)
    )
    assert fit(X, groups(129, ())) is None
    assert fit(X[:, :128], groups(128, ())).category is None


def test_the_category_is_found_among_many():
    X, level = rows(4000, shift=1.0)
    rng = np.random.RandomState(0)
    others = [np.eye(2)[rng.choice(2, 4000)] for _ in range(12)]
    shares = [(0.5, 0.5)] * 12 + [(0.2, 0.3, 0.5)]
    found = fit(np.hstack([X[:, :3], *others, np.eye(3)[level]]), groups(3, shares))
    assert found.category == 12
    # All rows are used, not only those that were compared.
    expected = np.array([X[level == k, :3].mean(0) for k in range(3)])
    np.testing.assert_allclose(found.means, expected, atol=0.01)


def test_short_codes_are_no_candidates():
    found = groups()
    angles = np.array([0.0, 2.0, 4.0])
    codes = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    found[-1] = FeatureGroup("c1", "categorical", 5, 7, codes, np.array([0.2, 0.3, 0.5]))
    X, level = rows(shift=1.0)
    assert fit(np.hstack([X[:, :5], codes[level]]), found).category is None
