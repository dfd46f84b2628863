"""LocationModel: numbers that are Gaussian given a level, against conditional Gaussians."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from skscore._location_model import GIVEN_VARIANCE, UNKNOWN_VARIANCE, LocationModel

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


@pytest.mark.parametrize("n_levels", [1, 2])
def test_slopes_are_the_derivatives(n_levels):
    shares = SHARES[:n_levels] / SHARES[:n_levels].sum()
    mixture = LocationModel(MEANS[:n_levels], COVARIANCES[:n_levels], shares=shares)
    mixture.double().eval()
    variance = torch.tensor([[0.3]], dtype=torch.float64)

    def denoised(row):
        return mixture(row[None], variance, mixture.log_shares[None])[0][0]

    for row in points(5):
        jacobian = torch.autograd.functional.jacobian(denoised, row)
        slope = mixture.denoised_and_slope(row[None], variance)[1][0]
        torch.testing.assert_close(slope, jacobian.diagonal())


def test_levels_have_equal_shares_unless_told():
    even = LocationModel(MEANS, COVARIANCES)
    torch.testing.assert_close(even.log_shares.exp(), torch.full((2,), 0.5))
    told = LocationModel(MEANS, COVARIANCES, shares=[0.0, 1.0])
    assert told.log_shares.isfinite().all()
    torch.testing.assert_close(told.log_shares.exp(), torch.tensor([0.0, 1.0]))
