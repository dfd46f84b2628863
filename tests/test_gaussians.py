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
from skscore.gaussians import (
    GaussianMixtureScore,
    GaussianScore,
    fit_gaussian,
    fit_gaussian_mixture,
)
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


# Draws, and what is known of the whole.


@pytest.mark.parametrize("sigma", [0.0, 0.8])
@pytest.mark.parametrize("seed", range(20))
def test_draws_have_the_mean_and_the_covariance_in_closed_form(seed, sigma):
    n, model = 4000, mixture(3, seed)
    x = model.sample(n, sigma, generator(seed))
    centred = x - model.log_weights.exp() @ model.means
    C = model.covariance + sigma**2 * torch.eye(3)
    assert (centred.mean(0).abs() < 4 * (C.diagonal() / n).sqrt()).all()
    products = centred[:, :, None] * centred[:, None]
    assert ((products.mean(0) - C).abs() < 4 * products.std(0) / n**0.5).all()


def test_draws_come_from_components_in_proportion_to_their_weights():
    weights, means = torch.tensor([0.5, 0.0, 0.2, 0.3]), 100.0 * torch.arange(4)[:, None]
    model = GaussianMixtureScore(weights, means, torch.ones(4, 1, 1))
    n = 5000
    share = torch.bincount((model.sample(n, 0.0, generator()) / 100).round().long()[:, 0]) / n
    assert share[1] == 0
    assert ((share - weights).abs() <= 4 * (weights * (1 - weights) / n).sqrt()).all()


def test_the_generator_decides_the_draws():
    a, b, other = (mixture(2).sample(10, 0.5, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, other)


@pytest.mark.parametrize("d", [1, 3])
def test_the_covariance_is_that_of_the_toy_density(d):
    p = random_gaussian_mixture(d, 3, random_state=SEED)
    np.testing.assert_allclose(mixture(d).covariance, p.covariance, rtol=1e-10)
    torch.testing.assert_close(gaussian(d).covariance, covariance(d))


@pytest.mark.parametrize("factor", [0.25, 3.0])
def test_inflating_multiplies_the_covariance_of_each_component(factor):
    p = random_gaussian_mixture(3, 3, random_state=SEED)
    expected = GaussianMixtureScore(p.weights, p.means, factor * p.covariances)
    found, x = mixture(3).inflated(factor), normal(20, 3)
    log_p = expected.log_density(x, levels(x))
    torch.testing.assert_close(found.log_density(x, levels(x)), log_p, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.means, mixture(3).means)


@pytest.mark.parametrize("sigma", [0.0, 0.5])
def test_the_density_integrates_to_one(sigma):
    nodes = torch.arange(-60, 60, 0.001, dtype=torch.float64)[:, None]
    log_p = mixture(1).log_density(nodes, levels(nodes, sigma))
    assert (0.001 * log_p.exp().sum()).item() == pytest.approx(1, abs=1e-8)


# Fits of mixtures.


def modes(n=200, d=2, seed=SEED):
    """Three modes of unequal share, far enough apart for one maximum of the likelihood."""
    x = normal(n, d, seed=seed)
    x[:, 0] += 12.0 * (torch.arange(n) % 5).clamp(max=2)
    return x


def parts(model):
    order = model.means[:, 0].argsort()
    C = model.inflated(1.0)
    within = (C.axes * C.variances[:, None]) @ C.axes.mT
    return model.log_weights.exp()[order], model.means[order], within[order]


@pytest.mark.parametrize("K", [1, 3])
def test_integer_weights_are_repeated_rows(K):
    # Of weights 1 and 3 in equal numbers the four copies of a mean row are 2 and 6.
    x, w = modes(), 1 + 2 * (torch.randperm(200, generator=generator()) % 2)
    weighted = fit_gaussian_mixture(x, w, n_components=[K], seed=SEED)
    repeated = fit_gaussian_mixture(x.repeat_interleave(w, 0), n_components=[K], seed=SEED)
    for found, expected in zip(parts(weighted), parts(repeated), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    bare = fit_gaussian_mixture(x, n_components=[K], seed=SEED)
    assert (parts(bare)[1] - parts(weighted)[1]).abs().max() > 1e-3


def test_the_unit_of_weights_changes_nothing():
    x, w = modes(), torch.rand(200, generator=generator()).double()
    once, again = (fit_gaussian_mixture(x, c * w, seed=SEED) for c in (1.0, 2.0**20))
    assert len(once.means) == 3
    torch.testing.assert_close(parts(once), parts(again))
    equal = fit_gaussian_mixture(x, 7 * torch.ones(200), seed=SEED)
    bare = fit_gaussian_mixture(x, seed=SEED)
    torch.testing.assert_close(parts(equal), parts(bare), rtol=1e-12, atol=1e-12)


def test_one_component_is_the_weighted_gaussian_even_if_one_row_has_nearly_all_of_the_weight():
    x = modes(50)
    for heavy in (1.0, 1e6):
        w = torch.ones(50)
        w[3] = heavy
        found = fit_gaussian_mixture(x, w, n_components=[1], seed=SEED)
        expected = fit_gaussian(x, w)
        torch.testing.assert_close(found.means, expected.means)
        # Up to 1e-6 of the mean variance, which keeps a component from collapsing.
        torch.testing.assert_close(found.covariance, expected.covariance, rtol=1e-5, atol=1e-4)
    # Two rows of effective weight are too few for a second component.
    w[7] = heavy
    assert len(fit_gaussian_mixture(x, w, seed=SEED).means) == 1


@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize("seed", range(3))
def test_gaussian_rows_get_one_component(d, seed):
    x = normal(500, d, seed=seed) @ torch.linalg.cholesky(covariance(d)).mT
    assert len(fit_gaussian_mixture(x, seed=seed).means) == 1


@pytest.mark.parametrize("seed", range(3))
def test_a_ring_of_eight_gets_eight_components(seed):
    p = ring_of_gaussians()
    x = torch.from_numpy(p.sample(2000, random_state=seed))
    model = fit_gaussian_mixture(x, seed=seed)
    assert len(model.means) == 8
    truth = torch.from_numpy(p.score_function(x.numpy()))
    # Five parameters a component, each worth about 1/n in units of 1/std².
    assert fisher_divergence(model, x, truth) < 4 * 8 * 5 / 2000 / 0.1**2


@pytest.mark.parametrize(("n", "d"), [(2, 1), (7, 1), (23, 2), (40, 1), (40, 4), (60, 2)])
def test_a_component_has_two_rows_and_more_for_each_of_its_coordinates(n, d, monkeypatch):
    # Spikes, for which the likelihood asks for as many components as there may be.
    tried = []
    fit = GaussianMixture.fit
    monkeypatch.setattr(
        GaussianMixture, "fit", lambda self, X: tried.append(self.n_components) or fit(self, X)
    )
    x = normal(n, d) * 1e-3
    x[:, 0] += 2.0 ** (torch.arange(n) % 10)
    model = fit_gaussian_mixture(x, seed=SEED)
    for K in {1, *tried, len(model.means)} - {1}:
        assert n >= 2 * K * (d + 1)
    # There is no room for another one.
    assert len(model.means) == max({1, *tried})
    assert max({1, *tried}) == max(
        K for K in (1, 2, 3, 4, 5, 6, 8, 10) if K == 1 or n >= 2 * K * (d + 1)
    )


def test_the_seed_decides_a_fit_and_other_generators_stay():
    x, state = modes(60), np.random.get_state()[1].copy()
    a, b = (fit_gaussian_mixture(x, seed=3) for _ in range(2))
    assert torch.equal(a(x, levels(x)), b(x, levels(x)))
    np.testing.assert_array_equal(np.random.get_state()[1], state)


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (torch.ones(5, 2), {}, r"All 5 row\(s\) of x are equal: no mixture fits"),
        (torch.ones(5), {}, r"x of shape \(5,\) .* give finite rows \(n, d\)"),
        (torch.tensor([[1.0], [math.nan]]), {}, "give finite rows"),
        (torch.eye(2), {"weights": torch.tensor([1.0, -1.0])}, "not negative"),
        (torch.eye(2), {"n_components": []}, r"n_components=\[\]: give one or more numbers"),
    ],
)
def test_rows_that_no_mixture_fits_are_refused(x, options, message):
    with pytest.raises(ValueError, match=message):
        fit_gaussian_mixture(x, seed=SEED, **options)
