import math

import numpy as np
import pytest
import torch
from closed_forms import (
    SEED,
    check_divergence,
    check_energy,
    check_hyvarinen,
    check_rows,
    covariance,
    fisher_divergence,
    gaussian,
    generator,
    levels,
    normal,
)
from scipy import stats
from sklearn.mixture import GaussianMixture

from skscore.datasets import random_gaussian_mixture, ring_of_gaussians
from skscore.gaussians import GaussianMixtureScore, GaussianScore, fit_gaussian
from skscore.objectives import implicit


def mixture(d, seed=SEED):
    p = random_gaussian_mixture(d, 3, random_state=seed)
    return GaussianMixtureScore(p.weights, p.means, p.covariances)


MODELS = {"gaussian": gaussian, "mixture": mixture}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("sigma", [0.0, 0.7])
def test_the_score_is_minus_the_gradient_of_the_energy(name, d, sigma):
    x = normal(20, d)
    check_energy(MODELS[name](d), x, levels(x, sigma))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("sigma", [0.0, 0.7])
def test_the_divergence_is_the_trace_of_the_jacobian(name, d, sigma):
    x = normal(20, d)
    check_divergence(MODELS[name](d), x, levels(x, sigma))


@pytest.mark.parametrize("d", [1, 2, 6])
def test_a_mixture_agrees_with_the_toy_density_at_every_sigma(d):
    p = random_gaussian_mixture(d, random_state=SEED)
    model, x = GaussianMixtureScore(p.weights, p.means, p.covariances), 3 * normal(60, d)
    sigma = torch.tensor([0.0, 0.05, 0.5, 2.0, 20.0], dtype=torch.float64).repeat(12)[:, None]
    truth = p.score_function(x.numpy(), sigma.numpy())
    np.testing.assert_allclose(model(x, sigma), truth, rtol=1e-10, atol=1e-10)
    log_p = p.log_density(x.numpy(), sigma.numpy())
    np.testing.assert_allclose(model.log_density(x, sigma), log_p, rtol=1e-10, atol=1e-10)
    np.testing.assert_array_equal(model.energy(x, sigma), -model.log_density(x, sigma))


def test_a_gaussian_agrees_with_scipy_at_every_sigma():
    model, x, C = gaussian(3), normal(20, 3), covariance(3)
    for sigma in (0.0, 1.5):
        blurred = (C + sigma**2 * torch.eye(3)).numpy()
        log_p = stats.multivariate_normal(normal(3).numpy(), blurred).logpdf(x.numpy())
        np.testing.assert_allclose(model.log_density(x, levels(x, sigma)), log_p, rtol=1e-10)


def test_a_mixture_of_scikit_learn_is_taken_over():
    X = ring_of_gaussians().sample(300, random_state=SEED)
    fitted = GaussianMixture(4, random_state=SEED).fit(X)
    x = torch.from_numpy(X)
    log_p = GaussianMixtureScore.from_sklearn(fitted).log_density(x, levels(x))
    np.testing.assert_allclose(log_p, fitted.score_samples(X), rtol=1e-8)


def test_a_component_of_weight_zero_does_nothing():
    means, C, x = normal(2, 3), torch.eye(3), normal(10, 3)
    both = GaussianMixtureScore(torch.tensor([1.0, 0.0]), means, torch.stack([C, C]))
    one = GaussianScore(means[0], C)
    torch.testing.assert_close(both(x, levels(x)), one(x, levels(x)))


@pytest.mark.parametrize("name", MODELS)
def test_rows_do_not_depend_on_each_other_and_keep_their_dtype(name):
    check_rows(MODELS[name](3))


def test_permuted_features_permute_the_score():
    order, x = torch.tensor([2, 0, 1]), normal(20, 3)
    fitted, permuted = fit_gaussian(x), fit_gaussian(x[:, order])
    torch.testing.assert_close(permuted(x[:, order], levels(x)), fitted(x, levels(x))[:, order])


@pytest.mark.parametrize("name", MODELS)
def test_explicit_exceeds_implicit_by_the_fisher_information(name):
    check_hyvarinen(MODELS[name](1))


def test_the_gaussian_fit_has_the_weighted_moments():
    x, w = normal(50, 3), torch.rand(50, generator=generator()).double()
    model = fit_gaussian(x, w)
    C = np.cov(x.numpy().T, aweights=w.numpy(), ddof=0)
    expected = GaussianScore(torch.from_numpy(np.average(x, 0, w)), torch.from_numpy(C))
    torch.testing.assert_close(model(x, levels(x)), expected(x, levels(x)), rtol=1e-10, atol=1e-10)


def test_the_gaussian_fit_is_the_minimiser_of_the_implicit_objective_over_linear_scores():
    x, w = normal(40, 3) @ covariance(3), torch.rand(40, generator=generator()).double()
    model = fit_gaussian(x, w)
    A = -torch.func.jacrev(lambda y: model(y[None], torch.zeros(1, 1).double())[0])(x[0])
    A, b = A.requires_grad_(), model.means[0].clone().requires_grad_()

    def objective(A, b):
        return (w / w.sum()) @ implicit(lambda x, sigma: -(x - b) @ A.mT, x, levels(x))

    for gradient in torch.autograd.grad(objective(A, b), (A, b)):
        assert gradient.abs().max() < 1e-10
    lowest = objective(A, b)
    for seed in range(5):
        assert objective(A + 0.1 * normal(3, 3, seed=seed), b) > lowest
        assert objective(A, b + 0.1 * normal(3, seed=seed)) > lowest


def test_the_gaussian_fit_recovers_a_gaussian():
    d, n, truth = 4, 4000, gaussian(4)
    x = truth.means + normal(n, d, seed=1) @ torch.linalg.cholesky(covariance(d)).mT
    # E D_F to first order in 1/n: tr C⁻¹/n of the mean, and d + 1 times as much of the covariance.
    expected = torch.linalg.inv(covariance(d)).trace() * (d + 2) / n
    assert fisher_divergence(fit_gaussian(x), x, truth(x, levels(x))) < 4 * expected


def test_collinear_features_have_a_finite_score_and_an_exact_blurred_one():
    x = normal(200, 2) @ torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, -1.0]], dtype=torch.float64)
    model = fit_gaussian(x)
    assert torch.isfinite(model(x, levels(x))).all()
    assert torch.isfinite(model.log_density(x, levels(x))).all()
    centred = x - x.mean(0)
    blurred = centred.mT @ centred / len(x) + 0.25 * torch.eye(3)
    expected = -torch.linalg.solve(blurred, centred.mT).mT
    torch.testing.assert_close(model(x, levels(x, 0.5)), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    ("weights", "means", "covariances", "message"),
    [
        ([1.0], [0.0], [[[1.0]]], r"weights \(1,\), means \(1,\), .* give the shapes"),
        ([1.0], [[0.0]], [[1.0]], r"covariances \(1, 1\): give the shapes"),
        ([0.5, 0.75], [[0.0]] * 2, [[[1.0]]] * 2, r"weights=\[0.5, 0.75\] must not be"),
        ([1.5, -0.5], [[0.0]] * 2, [[[1.0]]] * 2, "must sum to 1"),
        ([1.0], [[0.0, 0.0]], [[[1.0, 0.5], [0.0, 1.0]]], "A covariance is not symmetric"),
        ([1.0], [[0.0]], [[[0.0]]], "is zero"),
        ([1.0], [[0.0, 0.0]], [[[1.0, 0.0], [0.0, -0.1]]], "has a negative variance"),
    ],
)
def test_what_is_no_mixture_is_refused(weights, means, covariances, message):
    with pytest.raises(ValueError, match=message):
        GaussianMixtureScore(*map(torch.tensor, (weights, means, covariances)))


@pytest.mark.parametrize(
    ("x", "weights", "message"),
    [
        (torch.ones(5, 2), None, r"All 5 row\(s\) of x are equal"),
        (torch.ones(5), None, r"x of shape \(5,\) .* give finite rows \(n, d\)"),
        (torch.ones(0, 2), None, r"x of shape \(0, 2\)"),
        (torch.tensor([[1.0], [math.nan]]), None, "give finite rows"),
        (torch.eye(2), torch.ones(3), r"with weights of shape \(3,\)"),
        (torch.eye(2), torch.tensor([1.0, -1.0]), "not negative"),
        (torch.eye(2), torch.zeros(2), "not all 0"),
        (torch.eye(2), torch.tensor([1.0, math.inf]), "finite weights"),
    ],
)
def test_rows_and_weights_that_fit_nothing_are_refused(x, weights, message):
    with pytest.raises(ValueError, match=message):
        fit_gaussian(x, weights)
