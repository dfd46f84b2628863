import copy
import math
import pickle

import numpy as np
import pytest
import torch
from closed_forms import SEED, check_divergence, covariance, gaussian, generator, levels, normal
from scipy.optimize import minimize
from torch import nn

from skscore.datasets import random_gaussian_mixture
from skscore.gaussians import GaussianMixtureScore, GaussianScore, fit_gaussian
from skscore.objectives import denoising, implicit
from skscore.stacking import (
    StackedScore,
    denoising_weights,
    implicit_weights,
    simplex_least_squares,
)

KNOTS = torch.tensor([0.1, 0.5, 2.0], dtype=torch.float64)


class Network(nn.Module):
    """A score that does not say its divergence."""

    def __init__(self, d, seed=SEED):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.layers = nn.Sequential(nn.Linear(d + 1, 16), nn.SiLU(), nn.Linear(16, d)).double()

    def forward(self, x, sigma):
        return self.layers(torch.cat([x, sigma], 1)) / (1 + sigma)


def stack(d=3):
    weights = torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [0.0, 0.4, 0.6]])
    return StackedScore([gaussian(d), Network(d), gaussian(d, seed=1)], KNOTS, weights)


def truth(d=2):
    p = random_gaussian_mixture(d, 3, random_state=SEED)
    x = torch.from_numpy(p.sample(400, random_state=SEED))
    return GaussianMixtureScore(p.weights, p.means, p.covariances), x


def denoising_loss(score_fn, x, sigma, noise):
    losses = [denoising(score_fn, x, levels(x, sigma), signed) for signed in (noise, -noise)]
    return torch.stack(losses).mean().item()


def constant(value):
    return lambda x, sigma: torch.full_like(x, value)


# The combination.


def test_a_stack_is_the_weighted_sum_of_scores_and_of_divergences():
    model, x = stack(), normal(6, 3)
    for knot, w in zip(KNOTS, model.weights, strict=True):
        sigma = levels(x, knot.item())
        expected = sum(w_k * s_k(x, sigma) for w_k, s_k in zip(w, model.components, strict=True))
        torch.testing.assert_close(model(x, sigma), expected, rtol=1e-12, atol=1e-12)
    check_divergence(model, x, 0.2 + normal(6, 1).abs())


def test_weights_are_linear_in_the_logarithm_of_sigma_and_constant_beyond_the_knots():
    # Constant scores that are the unit vectors: the stack returns the weights.
    class Unit(nn.Module):
        def __init__(self, k):
            super().__init__()
            self.k = k

        def forward(self, x, sigma):
            return torch.eye(3, dtype=x.dtype)[self.k].expand_as(x)

    weights = stack().weights
    model = StackedScore([Unit(0), Unit(1), Unit(2)], KNOTS, weights)
    sigma = torch.tensor([0.0, 0.01, 0.1, 0.2, 0.5, 1.0, 1.7, 2.0, 50.0]).double()[:, None]
    read = model(torch.zeros(9, 3).double(), sigma)
    log_sigma = sigma[:, 0].clamp(min=1e-9).log()
    expected = [np.interp(log_sigma, KNOTS.log(), w_k) for w_k in weights.T]
    np.testing.assert_allclose(read.T, expected, rtol=1e-12, atol=1e-15)
    assert torch.equal(read[0], weights[0])


@pytest.mark.parametrize("sigma", [0.0, 0.3])
def test_a_single_level_holds_everywhere(sigma):
    model = StackedScore([gaussian(2), gaussian(2, 1)], [sigma], [[0.25, 0.75]])
    x = normal(5, 2)
    for read in (0.0, 0.3, 4.0):
        a, b = (s_k(x, levels(x, read)) for s_k in model.components)
        torch.testing.assert_close(model(x, levels(x, read)), a / 4 + 3 * b / 4)


def test_rows_do_not_depend_on_each_other_and_keep_their_dtype():
    model, x = stack(), normal(10, 3)
    sigma = 0.2 + normal(10, 1, seed=1).abs()
    together, divergence = model.score_and_divergence(x, sigma)
    for i in range(len(x)):
        alone = model.score_and_divergence(x[i : i + 1], sigma[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone[0], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(divergence[i : i + 1], alone[1], rtol=1e-12, atol=1e-12)
    single = copy.deepcopy(model).float()
    score, divergence = single.score_and_divergence(x.float(), sigma.float())
    assert score.dtype == divergence.dtype == torch.float32
    torch.testing.assert_close(score.double(), together, rtol=1e-4, atol=1e-4)


def test_a_stack_travels_with_its_components_knots_and_weights():
    model, x = stack(), normal(5, 3)
    thawed = pickle.loads(pickle.dumps(model)).double()
    assert torch.equal(thawed(x, levels(x, 0.3)), model(x, levels(x, 0.3)))
    other = StackedScore([gaussian(3), Network(3, 5), gaussian(3)], KNOTS, torch.eye(3))
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(x, levels(x, 0.3)), model(x, levels(x, 0.3)))


# The weights.


@pytest.mark.parametrize("n_components", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(4))
def test_the_simplex_solution_is_that_of_a_general_solver(n_components, seed):
    root, b = normal(n_components, 8, seed=seed), normal(n_components, seed=10 + seed)
    A = root @ root.mT / 8
    w = simplex_least_squares(A, b)
    assert w.min() >= 0
    assert w.sum().item() == pytest.approx(1, abs=1e-12)
    found = minimize(
        lambda w: w @ A.numpy() @ w + 2 * b.numpy() @ w,
        np.full(n_components, 1 / n_components),
        jac=lambda w: 2 * A.numpy() @ w + 2 * b.numpy(),
        method="SLSQP",
        bounds=[(0, 1)] * n_components,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    np.testing.assert_allclose(w, found.x, atol=1e-5)
    # No neighbour on the simplex is lower: the derivatives towards the corners are not negative.
    gradient = A @ w + b
    assert (gradient - gradient @ w).min() > -1e-10


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_equal_components_share_what_one_of_them_would_get(scale):
    A = scale * torch.tensor([[2.0, 0.5], [0.5, 1.0]])
    once, twice = simplex_least_squares(A), simplex_least_squares(A[[0, 1, 1]][:, [0, 1, 1]])
    assert twice[1] + twice[2] == pytest.approx(once[1].item(), abs=1e-6)
    assert twice[0] == pytest.approx(once[0].item(), abs=1e-6)
    equal = simplex_least_squares(torch.full((3, 3), scale))
    assert equal.sum().item() == pytest.approx(1)
    torch.testing.assert_close(simplex_least_squares(torch.zeros(2, 2)).sum().item(), 1.0)


def test_weights_do_not_depend_on_the_unit_of_the_objective():
    A, b = covariance(3), normal(3)
    for scale in (1e-200, 1e-8, 1e8):
        w = simplex_least_squares(scale * A, scale * b)
        torch.testing.assert_close(w, simplex_least_squares(A, b))


def test_the_true_score_gets_all_of_the_weight():
    p, x = truth()
    wrong = [GaussianScore(x.mean(0), torch.cov(x.mT)), gaussian(2)]
    w = denoising_weights([wrong[0], p, wrong[1]], x, None, KNOTS, generator())
    assert (w[:, 1] > 0.95).all()
    assert (implicit_weights([*wrong, p], x)[0, 2] > 0.9).all()


def test_on_its_own_rows_and_noise_a_stack_is_as_good_as_the_best_component():
    _, x = truth()
    components = [fit_gaussian(x[:50]), fit_gaussian(x[50:60]), gaussian(2)]
    for sigma in (0.1, 0.7, 3.0):
        w = denoising_weights(components, x, None, torch.tensor([sigma]), generator(), n_draws=2)
        noise = torch.empty_like(x).normal_(generator=generator())
        model = StackedScore(components, torch.tensor([sigma]), w)
        best = min(denoising_loss(s_k, x, sigma, noise) for s_k in components)
        assert denoising_loss(model, x, sigma, noise) <= best * (1 + 1e-12)
        for other in torch.eye(3).double():  # a step to any corner makes it worse
            moved = StackedScore(components, torch.tensor([sigma]), 0.99 * w + 0.01 * other)
            lower = denoising_loss(model, x, sigma, noise)
            assert denoising_loss(moved, x, sigma, noise) >= lower * (1 - 1e-12)


def test_on_its_own_rows_a_clean_stack_has_the_lowest_implicit_objective():
    _, x = truth()
    components = [fit_gaussian(x[:50]), gaussian(2), Network(2)]
    w = implicit_weights(components, x)
    grid = torch.cartesian_prod(*[torch.linspace(0, 1, 21).double()] * 3)
    grid = torch.cat([grid[(grid.sum(1) - 1).abs() < 1e-9], w])

    def objective(w):
        return implicit(StackedScore(components, [0.0], w[None]), x, levels(x)).mean().item()

    losses = [objective(w) for w in grid]
    assert losses[-1] <= min(losses) * (1 + 1e-12) + 1e-12


def test_a_level_alone_is_what_it_is_among_levels_far_away():
    p, x = truth()
    components = [fit_gaussian(x), gaussian(2), p]
    far = torch.tensor([1e-3, 0.5, 300.0])
    among = denoising_weights(components[:2], x, None, far, generator())
    alone = denoising_weights(components[:2], x, None, far[1:2], generator())
    torch.testing.assert_close(among[1:2], alone, rtol=1e-5, atol=1e-5)


def test_near_levels_share_what_they_measured():
    # Below σ = 1 the first component is the truth of normal rows, from there on the second.
    x = normal(400, 2)
    components = [
        lambda x, sigma: -x / (1 + sigma**2) * (sigma < 1),
        lambda x, sigma: -x / (1 + sigma**2) * (sigma >= 1),
    ]
    near = denoising_weights(components, x, None, torch.tensor([0.8, 1.2]), generator())
    assert near[0, 0] < 1 - 1e-3
    assert near[1, 1] < 1 - 1e-3
    assert near[0, 0] > near[1, 0]


def test_a_weight_is_a_repeated_row():
    x, w = normal(6, 2), torch.tensor([1.0, 2.0, 0.0, 1.0, 3.0, 1.0])
    repeated = x.repeat_interleave(w.long(), 0)
    components = [GaussianScore(torch.full((2,), mean), torch.eye(2)) for mean in (-1.0, 1.0)]
    torch.testing.assert_close(
        implicit_weights(components, x, w), implicit_weights(components, repeated)
    )
    assert 0.1 < implicit_weights(components, x, w)[0, 0] < 0.9
    once = denoising_weights(components, x, w, KNOTS, generator())
    x[2] = 50.0  # a row of weight 0
    again = denoising_weights(components, x, 7 * w, KNOTS, generator())
    torch.testing.assert_close(again, once, rtol=1e-9, atol=1e-9)
    with_it = denoising_weights(components, x, w + 1, KNOTS, generator())
    assert (with_it - once).abs().max() > 1e-3


def test_the_noise_is_decided_by_the_generator_and_parts_change_nothing(monkeypatch):
    _, x = truth()
    components = [fit_gaussian(x), gaussian(2)]
    w = denoising_weights(components, x.float(), None, KNOTS, generator(), n_draws=2)
    assert w.dtype == torch.float64
    w = denoising_weights(components, x, None, KNOTS, generator(), n_draws=2)
    monkeypatch.setattr("skscore.stacking._PART", 7)
    again = denoising_weights(components, x, None, KNOTS, generator(), n_draws=2)
    torch.testing.assert_close(again, w, rtol=1e-10, atol=1e-10)
    # Neither the gradient of a component nor that of its inputs is asked for.
    network = Network(2)
    assert not denoising_weights([network], x, None, KNOTS, generator(), 2).requires_grad
    assert not implicit_weights([network, gaussian(2)], x).requires_grad


# What is refused.


@pytest.mark.parametrize(
    ("n_components", "sigmas", "weights", "message"),
    [
        (0, [1.0], [[]], r"0 component\(s\).* give one or more components"),
        (2, [1.0], [[1.0]], r"weights \(1, 1\): give one or more components, and the shapes"),
        (2, [1.0, 2.0], [[1.0, 0.0]], r"sigmas \(2,\), weights \(1, 2\)"),
        (1, 1.0, [[1.0]], r"sigmas \(\)"),
        (1, [2.0, 1.0], [[1.0], [1.0]], r"sigmas=\[2.0, 1.0\] are no noise levels"),
        (1, [0.0, 1.0], [[1.0], [1.0]], "positive and increasing"),
        (1, [-1.0], [[1.0]], "are no noise levels"),
        (1, [math.inf], [[1.0]], "finite numbers"),
        (1, [math.nan], [[1.0]], "finite numbers"),
        (2, [1.0], [[1.5, -0.5]], "must not be negative"),
        (2, [1.0], [[0.5, 0.4]], "rows must sum to 1"),
    ],
)
def test_what_is_no_stack_is_refused(n_components, sigmas, weights, message):
    with pytest.raises(ValueError, match=message):
        StackedScore([gaussian(2)] * n_components, torch.tensor(sigmas), torch.tensor(weights))


@pytest.mark.parametrize(
    ("A", "b", "message"),
    [
        (torch.eye(2), torch.ones(3), r"A \(2, 2\), b \(3,\): give shapes \(K, K\)"),
        (torch.ones(2, 3), None, r"A \(2, 3\)"),
        (torch.ones(0, 0), None, r"A \(0, 0\)"),
        (torch.tensor([[math.nan]]), None, "A or b is not finite"),
        (torch.eye(1), torch.tensor([math.inf]), "score is infinite or NaN on a row"),
    ],
)
def test_what_is_no_quadratic_is_refused(A, b, message):
    with pytest.raises(ValueError, match=message):
        simplex_least_squares(A, b)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"components": []}, r"0 component\(s\), .* give one or more components"),
        ({"x": torch.ones(5)}, r"x \(5,\), row weights \(5,\): .*finite rows \(n, d\)"),
        ({"x": torch.tensor([[math.nan]])}, "finite rows"),
        ({"x": torch.ones(0, 2)}, r"x \(0, 2\)"),
        ({"sample_weight": torch.ones(3)}, r"row weights \(3,\)"),
        ({"sample_weight": torch.zeros(4)}, "not all 0"),
        ({"sample_weight": -torch.ones(4)}, "not negative"),
        ({"components": [constant(math.inf), constant(0.0)]}, "score is infinite or NaN"),
    ],
)
def test_rows_that_fit_no_weights_are_refused(change, message):
    given = {"components": [gaussian(2)], "x": normal(4, 2), "sample_weight": None} | change
    with pytest.raises(ValueError, match=message):
        denoising_weights(**given, sigmas=KNOTS, generator=generator())
    with pytest.raises(ValueError, match=message):
        implicit_weights(**given)


@pytest.mark.parametrize(
    ("sigmas", "n_draws", "message"),
    [
        ([0.0], 2, r"sigmas=\[0.0\] are no noise levels"),
        ([1.0, 0.5], 2, "positive and increasing"),
        ([], 2, "give one or more finite numbers"),
        ([1.0], 3, "n_draws=3 is not a positive even number"),
        ([1.0], 0, "n_draws=0 is not"),
    ],
)
def test_noise_that_cannot_be_drawn_is_refused(sigmas, n_draws, message):
    with pytest.raises(ValueError, match=message):
        denoising_weights(
            [gaussian(2)], normal(4, 2), None, torch.tensor(sigmas), generator(), n_draws
        )
