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
    mixture_rows,
    normal,
    population,
)

from skscore.datasets import Banana, ring_of_gaussians
from skscore.gaussians import GaussianScore, fit_gaussian
from skscore.kernel import KernelScore, fit_kernel
from skscore.objectives import explicit, implicit


def kernel(d, seed=SEED):
    return KernelScore(gaussian(d, seed), normal(7, d, seed=seed + 1), normal(7), bandwidth=0.8)


def search(x, held_out, seed=SEED, **options):
    return fit_kernel(x, held_out, generator=generator(seed), **options)


@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("sigma", [0.0, 0.7])
def test_the_score_is_minus_the_gradient_of_the_energy(d, sigma):
    x = normal(20, d)
    check_energy(kernel(d), x, levels(x, sigma))


@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("sigma", [0.0, 0.7])
def test_the_divergence_is_the_trace_of_the_jacobian(d, sigma):
    x = normal(20, d)
    check_divergence(kernel(d), x, levels(x, sigma))


def test_rows_do_not_depend_on_each_other_and_keep_their_dtype():
    check_rows(kernel(3))


def test_explicit_exceeds_implicit_by_the_fisher_information():
    check_hyvarinen(kernel(1))


def test_the_kernel_model_ignores_sigma_and_is_its_base_far_away():
    model, x = kernel(3), normal(10, 3)
    assert torch.equal(model(x, levels(x, 0.0)), model(x, levels(x, 5.0)))
    far = 40 + x
    torch.testing.assert_close(model(far, levels(x)), model.base(far, levels(x)))


def slow_objective(coefficients, fit, x, w):
    """J(α) + λ αᵀKα, row by row and term by term, as in the definition."""
    model = KernelScore(fit.model.base, fit.model.centers, coefficients, fit.bandwidth)
    model.coefficients = coefficients
    z, h = fit.model.centers, fit.bandwidth
    K = (-torch.cdist(z, z).square() / (2 * h**2)).exp() + 1e-8 * torch.eye(len(z))
    penalty = fit.regularization / h**4 * coefficients @ K @ coefficients
    return (w / w.sum()) @ implicit(model, x, levels(x)) + penalty


@pytest.mark.parametrize(("d", "n"), [(1, 60), (3, 60), (2, 4500)])
def test_the_coefficients_are_the_minimum_of_the_penalised_implicit_objective(d, n):
    x, w = mixture_rows(d, n), torch.rand(n, generator=generator()).double()
    options = {"bandwidths": [0.7], "regularizations": [1e-2], "n_centers": 9}
    fit = search(x, x, weights=w, **options)
    alpha = fit.model.coefficients.clone().requires_grad_()
    lowest = slow_objective(alpha, fit, x, w)
    (at_alpha,) = torch.autograd.grad(lowest, alpha)
    zero = torch.zeros_like(alpha, requires_grad=True)
    (at_zero,) = torch.autograd.grad(slow_objective(zero, fit, x, w), zero)
    assert at_alpha.abs().max() < 1e-8 * at_zero.abs().max()
    for seed in range(5):
        assert slow_objective(alpha.detach() + 0.01 * normal(9, seed=seed), fit, x, w) > lowest


def test_the_table_holds_the_implicit_objective_of_held_out_rows():
    x, held_out = mixture_rows(2, 200), mixture_rows(2, 70, seed=1)
    w = torch.rand(70, generator=generator()).double()
    options = {"held_out_weights": w, "n_centers": 20}
    grid = {"bandwidths": [0.3, 1.0], "regularizations": [1e-4, 1e-2, math.inf]}
    fit = search(x, held_out, **grid, **options)
    for i, h in enumerate(fit.bandwidths.tolist()):
        for j, r in enumerate(fit.regularizations.tolist()):
            single = search(x, held_out, bandwidths=[h], regularizations=[r], **options)
            expected = w @ implicit(single.model, held_out, levels(held_out)) / w.sum()
            assert fit.objectives[i, j].item() == pytest.approx(expected.item(), rel=1e-5)


def test_what_is_chosen_is_the_smallest_objective_of_the_table():
    x, held_out = mixture_rows(2, 400).split([300, 100])
    fit = search(x, held_out, n_centers=50)
    i, j = np.unravel_index(fit.objectives.argmin().item(), fit.objectives.shape)
    assert fit.objectives.shape == (len(fit.bandwidths), len(fit.regularizations))
    assert fit.bandwidth == fit.bandwidths[i].item() == fit.model.bandwidth.item()
    assert fit.regularization == fit.regularizations[j].item()


def test_an_infinite_regularization_is_the_gaussian():
    x = normal(100, 2)
    fit = search(x, x, regularizations=[math.inf], n_centers=20)
    torch.testing.assert_close(fit.model(x, levels(x)), fit_gaussian(x)(x, levels(x)))


def test_a_weight_of_two_is_a_row_given_twice_in_a_kernel_model():
    x, held_out = mixture_rows(2, 80).split([60, 20])
    w, v = torch.ones(60), torch.ones(20)
    w[:10], v[:5] = 2, 3
    weighted = search(x, held_out, weights=w, held_out_weights=v, n_centers=20)
    rows, others = x.repeat_interleave(w.long(), 0), held_out.repeat_interleave(v.long(), 0)
    repeated = search(rows.flip(0), others, n_centers=20)
    scaled = search(x, held_out, weights=5 * w, held_out_weights=v / 7, n_centers=20)
    for other in (repeated, scaled):
        torch.testing.assert_close(other.regularizations, weighted.regularizations)
        torch.testing.assert_close(other.objectives, weighted.objectives, rtol=1e-4, atol=1e-4)
        score = weighted.model(x, levels(x))
        torch.testing.assert_close(other.model(x, levels(x)), score, rtol=1e-5, atol=1e-5)


def test_a_density_of_the_family_is_found_when_the_rows_are_the_population():
    nodes, p, target = population()
    options = {"bandwidths": [0.5], "regularizations": [1e-9], "n_centers": 100}
    fit = search(nodes, nodes, weights=p, held_out_weights=p, **options)
    divergences = [
        (p @ explicit(model, nodes, levels(nodes), target) / p.sum()).item()
        for model in (fit.model, fit.model.base)
    ]
    assert divergences[0] < 0.01 < 1 < divergences[1]


@pytest.mark.parametrize("density", [ring_of_gaussians(), Banana()], ids=["ring", "banana"])
def test_the_kernel_model_is_far_closer_to_the_truth_than_the_gaussian(density):
    X = density.sample(4000, random_state=SEED)
    mean, std = X[:1000].mean(0), X[:1000].std(0)
    x, held_out, points = torch.from_numpy((X - mean) / std).split([800, 200, 3000])
    truth = torch.from_numpy(density.score_function(X[1000:]) * std)
    fit = search(x, held_out, n_centers=100)
    reached = fisher_divergence(fit.model, points, truth)
    assert reached < 0.4 * fisher_divergence(fit_gaussian(x), points, truth)


def test_no_training_row_is_kept():
    x, held_out = mixture_rows(2, 100).split([80, 20])
    model = search(x, held_out).model
    assert model.centers.shape == (300, 2)
    kept = torch.cat([buffer.flatten() for buffer in model.buffers()])
    assert not torch.isin(torch.cat([x, held_out]), kept).any()


def test_the_same_generator_gives_the_same_model_and_the_global_seed_is_left_alone():
    x, held_out = mixture_rows(2, 100).split([80, 20])
    state = torch.get_rng_state()
    first, second, other = (search(x, held_out, n_centers=20, seed=i).model for i in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.coefficients, second.coefficients)
    assert not torch.equal(first.centers, other.centers)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bandwidths": [0.0, 1.0]}, r"bandwidths=\[0.0, 1.0\], .* must be positive"),
        ({"regularizations": [-1.0]}, r"regularizations=\[-1.0\] .* must be positive"),
        ({"n_centers": 0}, "n_centers=0 must be positive"),
        ({"held_out": torch.ones(3, 4)}, "held_out has 4 columns; give 2"),
        ({"held_out_weights": torch.ones(3)}, r"held_out of shape \(10, 2\) with weights"),
    ],
)
def test_a_search_over_nothing_is_refused(options, message):
    options = {"held_out": normal(10, 2, seed=1), "generator": generator(), **options}
    with pytest.raises(ValueError, match=message):
        fit_kernel(normal(10, 2), **options)


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
    with pytest.raises(ValueError, match=message.replace("All 5", "All 1")):
        search(x, torch.eye(2), weights=weights)


def test_permuted_features_permute_the_score():
    order, x, model = torch.tensor([2, 0, 1]), normal(20, 3), kernel(3)
    base = GaussianScore(normal(3)[order], covariance(3)[order][:, order])
    permuted = KernelScore(base, model.centers[:, order], model.coefficients, 0.8)
    torch.testing.assert_close(permuted(x[:, order], levels(x)), model(x, levels(x))[:, order])


def test_collinear_features_have_a_finite_score():
    x = normal(200, 2)
    x = torch.cat([x, x.sum(1, keepdim=True)], 1)
    fit = search(x[:150], x[150:], n_centers=20)
    assert torch.isfinite(fit.model(x, levels(x))).all()
