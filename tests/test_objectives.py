import numpy as np
import pytest
import torch
from numpy.polynomial.hermite_e import hermegauss

from skscore.datasets import (
    GaussianMixtureDensity,
    gaussian_mixture_1d,
    random_gaussian_mixture,
    two_modes,
)
from skscore.divergence import rademacher
from skscore.networks import PreconditionedScore, ScoreMLP
from skscore.objectives import (
    denoising,
    denoising_control_variate,
    explicit,
    finite_difference_sliced,
    implicit,
    parzen,
    sliced,
)

SEED = 0


def generator(seed=SEED):
    return torch.Generator().manual_seed(seed)


def exact_score(density):
    """The score of a Gaussian mixture in torch, so that it can be differentiated."""
    weights, means, covariances = map(
        torch.from_numpy, (density.weights, density.means, density.covariances)
    )

    def score(x, sigma):
        total = covariances + sigma[:, None, None].square() * torch.eye(density.n_features)
        delta = x[:, None] - means
        z = torch.linalg.solve(total, delta[..., None])[..., 0]
        log_f = weights.log() - (delta * z).sum(2) / 2 - torch.linalg.slogdet(total)[1] / 2
        return -(log_f.softmax(1)[..., None] * z).sum(1)

    return score


def network(d, denoising=False, seed=SEED, hidden_units=(8, 8)):
    """A score network whose last layer is not zero."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        F = ScoreMLP(d, hidden_units, sigma_conditioned=denoising)
        torch.nn.init.normal_(F.head.weight)
        mean, scale = torch.randn(d), torch.rand(d) + 0.5
        return PreconditionedScore(F, mean, scale, denoising=denoising).double()


def line(reach, step):
    """Nodes and weights of the trapezoidal rule, exact to rounding for smooth narrow functions."""
    nodes = np.arange(-reach, reach + step / 2, step)
    return nodes, np.full(len(nodes), step)


def mean_under(density, reach, step, sigma=0.0):
    """Nodes (n, d), and weights w with which Σ w f(x) is the mean of f under the density."""
    nodes, weights = line(reach, step)
    d = density.n_features
    X = np.stack(np.meshgrid(*[nodes] * d), -1).reshape(-1, d)
    p = np.exp(density.log_density(X, sigma)) * weights[0] ** d
    return torch.from_numpy(X), torch.from_numpy(p)


def levels(x, sigma):
    return torch.full((len(x), 1), sigma, dtype=x.dtype)


def test_the_score_that_the_tests_differentiate_is_that_of_the_density():
    density = random_gaussian_mixture(3, random_state=SEED)
    x = torch.randn(50, 3, generator=generator(), dtype=torch.float64)
    for sigma in (0.0, 0.7):
        truth = density.score_function(x.numpy(), sigma)
        np.testing.assert_allclose(exact_score(density)(x, levels(x, sigma)), truth, rtol=1e-10)


MODELS_1D = {
    "zero": lambda x, sigma: 0 * x,
    "linear": lambda x, sigma: -x / 4 + 1,
    "periodic": lambda x, sigma: torch.sin(2 * x) - x / 3,
    "bent": lambda x, sigma: torch.tanh(x) * x.square(),
    "reads_sigma": lambda x, sigma: -x / (1 + sigma.square()) + sigma,
    "network": network(1),
    "truth": exact_score(gaussian_mixture_1d()),
    "truth_blurred": exact_score(gaussian_mixture_1d()),
}


@pytest.mark.parametrize("name", MODELS_1D)
def test_explicit_exceeds_implicit_by_the_fisher_information_on_a_line(name):
    density = gaussian_mixture_1d()
    x, p = mean_under(density, reach=12, step=0.01)
    target = torch.from_numpy(density.score_function(x.numpy()))
    sigma = levels(x, 0.0 if name == "truth" else 0.6)
    model = MODELS_1D[name]
    difference = explicit(model, x, sigma, target) - implicit(model, x, sigma)
    information = p @ target.square().sum(1)
    assert p @ difference.detach() == pytest.approx(information.item(), rel=1e-10)


MODELS_2D = {
    "rotation": lambda x, sigma: torch.stack([x[:, 1], -x[:, 0]], 1) - x,
    "coupled": lambda x, sigma: torch.stack([x[:, 0] * x[:, 1], torch.sin(x[:, 0] + x[:, 1])], 1),
    "network": network(2),
}


@pytest.mark.parametrize("name", MODELS_2D)
def test_explicit_exceeds_implicit_by_the_fisher_information_in_the_plane(name):
    density = random_gaussian_mixture(2, 3, random_state=1)
    x, p = mean_under(density, reach=11, step=0.1)
    target = torch.from_numpy(density.score_function(x.numpy()))
    model = MODELS_2D[name]
    difference = explicit(model, x, levels(x, 0), target) - implicit(model, x, levels(x, 0))
    information = p @ target.square().sum(1)
    assert p @ difference.detach() == pytest.approx(information.item(), rel=1e-10)


def test_explicit_is_zero_and_implicit_minus_the_fisher_information_at_the_truth():
    density = gaussian_mixture_1d()
    x, p = mean_under(density, reach=12, step=0.01)
    target = torch.from_numpy(density.score_function(x.numpy()))
    truth, clean = exact_score(density), levels(x, 0)
    assert explicit(truth, x, clean, target).max() < 1e-20
    information = (p @ target.square()).item()
    assert p @ implicit(truth, x, clean) == pytest.approx(-information, rel=1e-10)
    # A step away in any direction costs its squared length: there is no better score.
    for shift in (0.1, -0.1):
        moved = p @ implicit(lambda x, sigma, shift=shift: truth(x, sigma) + shift, x, clean)
        assert moved == pytest.approx(-information + 0.01, rel=1e-8)


def noise_on_points(points, reach, step):
    """Every node of a trapezoidal rule for ε on every point, and the weights of the mean."""
    d = points.shape[1]
    nodes, steps = line(reach, step)
    noise = np.stack(np.meshgrid(*[nodes] * d), -1).reshape(-1, d)
    weight = np.exp(-(noise**2).sum(1) / 2) * (steps[0] / np.sqrt(2 * np.pi)) ** d
    repeated = (np.repeat(points, len(noise), 0), np.tile(noise, (len(points), 1)))
    return *map(torch.from_numpy, repeated), torch.from_numpy(np.tile(weight, len(points)))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sigma", [0.3, 1.0])
@pytest.mark.parametrize("d", [1, 2])
def test_denoising_exceeds_parzen_by_the_same_for_every_model(d, sigma, weighted):
    points = np.random.RandomState(SEED).standard_normal((5, d))
    w = torch.tensor([1.0, 2, 0, 3, 4] if weighted else [1.0] * 5, dtype=torch.float64)
    x, noise, weight = noise_on_points(points, 9, 0.05 if d == 1 else 0.15)
    weight = weight * (w / w.sum()).repeat_interleave(len(x) // 5)
    sigmas, centers = levels(x, sigma), torch.from_numpy(points)
    density = GaussianMixtureDensity(w / w.sum(), points, np.full(5, sigma**2))
    target = torch.from_numpy(density.score_function((x + sigma * noise).numpy()))

    constant = d / sigma**2 - weight @ target.square().sum(1)
    assert constant > 0.01  # the identity is not one of zeros
    models = [
        lambda x, sigma: 0 * x,
        lambda x, sigma: -x / (1 + sigma.square()),
        lambda x, sigma: torch.sin(3 * x) + x.flip(1),
        network(d, denoising=True),
    ]
    for model in models:
        loss = parzen(model, x, sigmas, noise, centers, w if weighted else None)
        difference = denoising(model, x, sigmas, noise) - loss
        assert (weight @ difference.detach()).item() == pytest.approx(constant.item(), abs=1e-8)


@pytest.mark.parametrize("sigma", [1e-3, 0.5, 1e3])
def test_parzen_is_explicit_against_the_mixture_of_gaussians_on_the_centers(sigma):
    centers, x, noise = (torch.randn(n, 3, generator=generator(n)).double() for n in (20, 7, 7))
    weights = torch.rand(20, generator=generator(1)).double()
    mixture = GaussianMixtureDensity(
        weights / weights.sum(), centers.numpy() + 100, np.full(20, sigma**2)
    )
    x, sigmas = x + 100, levels(x, sigma)
    target = torch.from_numpy(mixture.score_function((x + sigma * noise).numpy()))

    def model(x, sigma):
        return x.roll(1, 1) - x

    expected = explicit(model, x + sigma * noise, sigmas, target)
    loss = parzen(model, x, sigmas, noise, centers + 100, 5 * weights)
    torch.testing.assert_close(loss, expected, rtol=1e-8, atol=0)


def test_parzen_is_zero_at_the_score_of_the_parzen_density_and_only_there():
    points = np.random.RandomState(SEED).standard_normal((5, 2))
    truth = exact_score(GaussianMixtureDensity(np.full(5, 0.2), points, np.full(5, 1e-12)))
    x, noise, _ = noise_on_points(points, 2, 0.5)
    centers = torch.from_numpy(points)
    assert parzen(truth, x, levels(x, 0.4), noise, centers).max() < 1e-16
    moved = parzen(lambda x, s: truth(x, s) + 0.1, x, levels(x, 0.4), noise, centers)
    torch.testing.assert_close(moved, torch.full_like(moved, 2 * 0.1**2), rtol=1e-6, atol=0)


def minimise(loss, d):
    """Fit s = -A(x - b) by LBFGS; return A and b."""
    A = torch.eye(d, dtype=torch.float64, requires_grad=True)
    b = torch.zeros(d, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [A, b],
        max_iter=500,
        tolerance_grad=1e-12,
        tolerance_change=1e-16,
        line_search_fn="strong_wolfe",
    )

    def closure():
        optimizer.zero_grad()
        value = loss(lambda x, sigma: -(x - b) @ A.T)
        value.backward()
        return value

    optimizer.step(closure)
    return A.detach().numpy(), b.detach().numpy()


def correlated_rows():
    rng = np.random.RandomState(SEED)
    X = rng.standard_normal((40, 2)) @ np.array([[1.0, 0.6], [0.0, 0.5]]) + [0.5, -1.0]
    return X, X.mean(0), np.cov(X.T, bias=True)


@pytest.mark.parametrize("objective", ["implicit", "sliced", "sliced_vr"])
def test_the_best_linear_score_of_clean_rows_is_the_gaussian_of_maximum_likelihood(objective):
    X, mean, covariance = correlated_rows()
    x = torch.from_numpy(X)
    probes = 2**0.5 * torch.eye(2, dtype=x.dtype)[:, None].expand(2, *x.shape)
    losses = {
        "implicit": lambda s: implicit(s, x, levels(x, 0)).mean(),
        "sliced": lambda s: sliced(s, x, levels(x, 0), probes, variance_reduction=False).mean(),
        "sliced_vr": lambda s: sliced(s, x, levels(x, 0), probes).mean(),
    }
    A, b = minimise(losses[objective], 2)
    np.testing.assert_allclose(A, np.linalg.inv(covariance), rtol=1e-5)
    np.testing.assert_allclose(b, mean, rtol=1e-5)


@pytest.mark.parametrize("sigma", [0.2, 1.0])
def test_the_best_linear_score_of_noisy_rows_has_the_variance_of_the_noise_added(sigma):
    X, mean, covariance = correlated_rows()
    # Three nodes integrate the noise exactly: the loss is quadratic in it.
    nodes, weights = hermegauss(3)
    noise = torch.from_numpy(np.stack(np.meshgrid(nodes, nodes), -1).reshape(-1, 2))
    weight = torch.from_numpy(np.outer(weights, weights).ravel() / (2 * np.pi))
    x = torch.from_numpy(X).repeat_interleave(9, 0)
    noise, weight = noise.repeat(len(X), 1), weight.repeat(len(X)) / len(X)
    A, b = minimise(lambda s: weight @ denoising(s, x, levels(x, sigma), noise), 2)
    np.testing.assert_allclose(A, np.linalg.inv(covariance + sigma**2 * np.eye(2)), rtol=1e-5)
    np.testing.assert_allclose(b, mean, rtol=1e-5)


@pytest.mark.parametrize("variance_reduction", [True, False])
@pytest.mark.parametrize("law", ["rademacher", "normal", "basis"])
def test_sliced_is_implicit_in_expectation_for_every_row(law, variance_reduction):
    n, d, m = 6, 3, 5000
    score = network(d)
    x = torch.randn(n, d, generator=generator(), dtype=torch.float64)
    sigma = levels(x, 0)
    truth = implicit(score, x, sigma).detach()
    if law == "basis":
        probes = d**0.5 * torch.eye(d, dtype=x.dtype)[:, None].expand(d, n, d)
        loss = sliced(score, x, sigma, probes, variance_reduction=variance_reduction).detach()
        torch.testing.assert_close(loss, truth, rtol=1e-12, atol=1e-12)
        return
    # One probe for each of many copies of a row gives the spread of one draw.
    copies, levels_of_copies = x.repeat(m, 1), sigma.repeat(m, 1)
    if law == "rademacher":
        probes = rademacher((1, m * n, d), generator(1), dtype=x.dtype)
    else:
        probes = torch.randn(1, m * n, d, generator=generator(1), dtype=x.dtype)
    draws = sliced(
        score, copies, levels_of_copies, probes, variance_reduction=variance_reduction
    ).detach()
    draws = draws.reshape(m, n)
    error = draws.mean(0) - truth
    assert (error.abs() < 4 * draws.std(0) / m**0.5).all()


def test_sliced_is_the_mean_over_its_probes():
    x = torch.randn(5, 3, generator=generator(), dtype=torch.float64)
    probes = torch.randn(4, 5, 3, generator=generator(1), dtype=x.dtype)
    for variance_reduction in (True, False):

        def loss(probes, variance_reduction=variance_reduction):
            return sliced(
                network(3), x, levels(x, 0), probes, variance_reduction=variance_reduction
            ).detach()

        one_by_one = torch.stack([loss(v[None]) for v in probes]).mean(0)
        torch.testing.assert_close(loss(probes), one_by_one)


def test_sliced_without_variance_reduction_varies_where_with_it_nothing_does():
    n = 4000
    x = torch.randn(1, 5, generator=generator(), dtype=torch.float64).repeat(n, 1)
    probes = rademacher((1, n, 5), generator(1), dtype=x.dtype)
    reduced, plain = (
        sliced(lambda x, sigma: -x, x, levels(x, 0), probes, variance_reduction=flag)
        for flag in (True, False)
    )
    # For s = -x and signs v, 2 vᵀ∇s v is -2d without noise, and (vᵀx)² is not ‖x‖².
    assert reduced.std() < 1e-12
    variance = 2 * (x[0].square().sum().square() - x[0].pow(4).sum())
    assert plain.var() == pytest.approx(variance.item(), rel=0.15)


def test_finite_differences_are_exact_for_a_linear_score_at_any_step():
    A = torch.randn(3, 3, generator=generator(), dtype=torch.float64)
    x = torch.randn(6, 3, generator=generator(1), dtype=torch.float64)
    probes = torch.randn(4, 6, 3, generator=generator(2), dtype=torch.float64)

    def linear(x, sigma):
        return x @ A + sigma

    expected = sliced(linear, x, levels(x, 0.3), probes)
    for epsilon in (1e-3, 1.0, 100.0):
        loss = finite_difference_sliced(linear, x, levels(x, 0.3), probes, epsilon=epsilon)
        torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-9)


def test_the_error_of_finite_differences_falls_with_the_square_of_the_step():
    x = torch.randn(50, 3, generator=generator(), dtype=torch.float64)
    probes = rademacher((2, 50, 3), generator(1), dtype=x.dtype)
    score = network(3)
    expected = sliced(score, x, levels(x, 0), probes)
    error = torch.stack(
        [
            finite_difference_sliced(score, x, levels(x, 0), probes, epsilon=epsilon) - expected
            for epsilon in (4e-3, 2e-3, 1e-3)
        ]
    ).detach()
    coarse, fine, finest = error.norm(dim=1)
    assert finest > 1e-8  # far above rounding
    assert coarse / fine == pytest.approx(4, rel=0.01)
    assert fine / finest == pytest.approx(4, rel=0.01)


def test_the_error_of_finite_differences_is_the_next_term_of_the_series():
    # s = x³: s₊ + s₋ = 2x³ + 6xh²v², v(s₊ - s₋)/h = 6x²v² + 2h²v⁴.
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    v, h = torch.full((1, 9, 1), 0.7, dtype=torch.float64), 0.1
    loss = finite_difference_sliced(lambda x, s: x**3, x, levels(x, 0), v, epsilon=h)
    norm, slope = (x**3 + 3 * x * (h * 0.7) ** 2) ** 2, 6 * x**2 * 0.7**2 + 2 * h**2 * 0.7**4
    torch.testing.assert_close(loss, (norm + slope)[:, 0])


def test_finite_differences_call_the_score_once_without_differentiating_it():
    calls = []

    def recorded(x, sigma):
        calls.append((x.shape, sigma.shape))
        return torch.from_numpy(-x.numpy() / (1 + sigma.numpy() ** 2))

    x = torch.randn(5, 3, generator=generator(), dtype=torch.float64)
    probes = rademacher((4, 5, 3), generator(1), dtype=x.dtype)
    sigma = torch.linspace(0, 1, 5, dtype=x.dtype)[:, None]
    loss = finite_difference_sliced(recorded, x, sigma, probes, epsilon=0.1)
    assert calls == [((40, 3), (40, 1))]
    torch.testing.assert_close(loss, implicit(lambda x, s: -x / (1 + s.square()), x, sigma))


@pytest.mark.parametrize("sigma", [0.1, 1.0])
def test_the_control_variate_keeps_the_mean_of_denoising_for_every_model(sigma):
    points = np.random.RandomState(SEED).standard_normal((3, 2))
    x, noise, weight = noise_on_points(points, 9, 0.15)
    sigmas = levels(x, sigma)
    for model in [*MODELS_2D.values(), network(2, denoising=True)]:
        plain = denoising(model, x, sigmas, noise)
        reduced = denoising_control_variate(model, x, sigmas, noise)
        assert (weight @ (plain - reduced)).item() == pytest.approx(0, abs=1e-8)
        assert (plain - reduced).abs().max() > 1


def test_the_control_variate_is_sliced_score_matching_as_the_noise_falls():
    x, noise = torch.randn(2, 30, 3, generator=generator(), dtype=torch.float64)
    score = network(3)
    limit = sliced(score, x, levels(x, 0), noise[None])

    def error(sigma):
        loss = denoising_control_variate(score, x, levels(x, sigma), noise)
        return (loss - 3 / sigma**2 - limit).norm().item()

    assert error(1e-2) / error(1e-3) == pytest.approx(10, rel=0.2)


def test_the_control_variate_bounds_the_variance_that_small_noise_blows_up():
    n, d = 4000, 3
    x = torch.randn(1, d, generator=generator(), dtype=torch.float64).repeat(n, 1)
    noise = torch.randn(n, d, generator=generator(1), dtype=torch.float64)
    scale = torch.ones(n, 1, dtype=torch.float64, requires_grad=True)
    score = network(d)

    def variances(loss, sigma):
        """Of the loss, and of its derivative by a factor on the score, over the noise."""
        values = loss(lambda x, s: scale * score(x, s), x, levels(x, sigma), noise)
        (gradient,) = torch.autograd.grad(values.sum(), scale)
        return torch.stack([values.var(), gradient.var()]).detach()

    plain = torch.stack([variances(denoising, sigma) for sigma in (0.1, 0.01, 0.001)])
    reduced = torch.stack(
        [variances(denoising_control_variate, sigma) for sigma in (0.1, 0.01, 0.001)]
    )
    # Var ‖ε‖²/σ² = 2d/σ⁴, and of the gradient's 2 εᵀs/σ it is 4‖s‖²/σ².
    squared_score = score(x[:1], levels(x[:1], 0)).square().sum().item()
    assert plain[2].tolist() == pytest.approx([2 * d * 1e12, 4e6 * squared_score], rel=0.15)
    assert ((plain[1:] / plain[:-1]).log10() - torch.tensor([4, 2])).abs().max() < 0.5
    assert (reduced / reduced[-1] - 1).abs().max() < 0.5
    assert (reduced[-1] * 1e4 < plain[-1]).all()


OBJECTIVES = {
    "explicit": lambda s, x, sigma, extra: explicit(s, x, sigma, extra[0]),
    "implicit": lambda s, x, sigma, extra: implicit(s, x, sigma),
    "implicit_in_chunks": lambda s, x, sigma, extra: implicit(s, x, sigma, chunk_size=2),
    "sliced": lambda s, x, sigma, extra: sliced(s, x, sigma, extra, variance_reduction=False),
    "sliced_vr": lambda s, x, sigma, extra: sliced(s, x, sigma, extra),
    "sliced_fd": lambda s, x, sigma, extra: finite_difference_sliced(
        s, x, sigma, extra, epsilon=0.1
    ),
    "denoising": lambda s, x, sigma, extra: denoising(s, x, sigma, extra[0]),
    "denoising_cv": lambda s, x, sigma, extra: denoising_control_variate(s, x, sigma, extra[0]),
    "parzen": lambda s, x, sigma, extra: parzen(s, x, sigma, extra[0], CENTERS),
}
CENTERS = torch.randn(4, 3, generator=generator(2), dtype=torch.float64)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_loss_is_one_number_a_row_that_other_rows_do_not_touch(name):
    loss, score = OBJECTIVES[name], network(3, denoising=True)
    x = torch.randn(7, 3, generator=generator(), dtype=torch.float64)
    extra = torch.randn(2, 7, 3, generator=generator(1), dtype=x.dtype)
    sigma = torch.linspace(0.2, 2, 7, dtype=x.dtype)[:, None]
    together = loss(score, x, sigma, extra)
    assert together.shape == (7,)
    alone = [loss(score, x[i : i + 1], sigma[i : i + 1], extra[:, i : i + 1]) for i in range(7)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-12, atol=1e-12)
    assert together.unique().numel() == 7


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_loss_reaches_every_parameter(name):
    score = network(3, denoising=True)
    x = torch.randn(7, 3, generator=generator(), dtype=torch.float64)
    extra = torch.randn(2, 7, 3, generator=generator(1), dtype=x.dtype)
    OBJECTIVES[name](score, x, levels(x, 0.5), extra).mean().backward()
    for parameter_name, parameter in score.named_parameters():
        assert parameter.grad.abs().sum() > 0, parameter_name


def test_denoising_of_gaussian_rows_costs_what_the_noise_hides():
    # s = -x/(1 + σ²) is the score of N(0, I) + σε: E‖s + ε/σ‖² = d/σ² - d/(1 + σ²).
    nodes, weights = hermegauss(5)
    x, noise = (torch.from_numpy(a.reshape(-1, 1)) for a in np.meshgrid(nodes, nodes))
    weight = torch.from_numpy(np.outer(weights, weights).ravel() / (2 * np.pi))
    for sigma in (0.1, 1.0, 7.0):
        loss = denoising(lambda x, s: -x / (1 + s.square()), x, levels(x, sigma), noise)
        assert (weight @ loss).item() == pytest.approx(1 / sigma**2 - 1 / (1 + sigma**2))


@pytest.mark.parametrize("sigma", [0.0, 0.5])
def test_stein_identity_holds_for_the_score_and_fails_for_another(sigma):
    density = random_gaussian_mixture(3, random_state=2)
    rng = np.random.RandomState(SEED)
    X = density.sample(4000, rng) + sigma * rng.standard_normal((4000, 3))
    x = torch.from_numpy(X)

    def deviation(score):
        terms = torch.einsum("ni,nj->nij", score(x, levels(x, sigma)), x - x.mean(0))
        return ((terms.mean(0) + torch.eye(3)) / (terms.std(0) / len(x) ** 0.5)).abs().max()

    truth = exact_score(density)
    assert deviation(truth) < 4
    assert deviation(lambda x, sigma: 2 * truth(x, sigma)) > 6


@pytest.mark.parametrize("sigma", [0.0, 0.5])
def test_the_score_of_an_affine_map_is_the_inverse_transpose_of_the_score(sigma):
    rng = np.random.RandomState(SEED)
    p = random_gaussian_mixture(3, random_state=3)
    A, b = rng.standard_normal((3, 3)), rng.standard_normal(3)
    blurred = p.covariances + sigma**2 * np.eye(3)
    q = GaussianMixtureDensity(p.weights, p.means @ A.T + b, A @ blurred @ A.T)
    x = torch.from_numpy(p.sample(100, SEED))
    s_x = exact_score(p)(x, levels(x, sigma))
    y = x @ torch.from_numpy(A.T) + torch.from_numpy(b)
    s_y = exact_score(q)(y, levels(y, 0))
    np.testing.assert_allclose(s_y, s_x @ torch.from_numpy(np.linalg.inv(A)), rtol=1e-8)


def test_clean_rows_hardly_tell_the_weights_of_separated_modes():
    # The weights are off by a factor of 4, and D_F is next to nothing; the blurred rows show it.
    truth, wrong = two_modes(), two_modes(weights=(0.2, 0.8))
    X = truth.sample(2000, SEED)

    def excess(sigma):
        blurred = X + sigma * np.random.RandomState(1).standard_normal(X.shape)
        x = torch.from_numpy(blurred)
        target = torch.from_numpy(truth.score_function(blurred, sigma))
        loss = explicit(exact_score(wrong), x, levels(x, sigma), target)
        return (sigma**2 + 1) * loss.mean()

    assert excess(0.0) < 1e-6
    assert excess(5.0) > 1e-2
