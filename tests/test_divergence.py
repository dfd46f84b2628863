import pytest
import torch
from oracles import diagonals_by_loop, jacobians_by_loop
from torch import nn

from skscore.divergence import (
    PROBE_LAWS,
    draw_probes,
    exact_divergence,
    hutchinson_divergence,
    probed_divergence,
    rademacher,
)
from skscore.networks import PreconditionedScore, ScoreMLP

SEED = 0
D = 4


def generator(seed=SEED):
    return torch.Generator().manual_seed(seed)


class OwnModule(nn.Module):
    """What a user may bring: no residuals, no preconditioning, σ as one more column."""

    def __init__(self, d):
        super().__init__()
        self.inner = nn.Linear(d + 1, 6)
        self.norm = nn.LayerNorm(6)
        self.outer = nn.Linear(6, d)

    def forward(self, x, sigma):
        h = torch.tanh(self.norm(self.inner(torch.cat([x, sigma], 1))))
        return self.outer(h) * x.square().sum(1, keepdim=True)


def make_score(name, d=D):
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        if name == "own_module":
            return OwnModule(d).double()
        conditioned = name != "preconditioned_clean"
        F = ScoreMLP(d, (8, 8), sigma_conditioned=conditioned)
        nn.init.normal_(F.head.weight)
        if name == "mlp":
            return F.double()
        mean, scale = torch.randn(d), torch.rand(d) + 0.5
        return PreconditionedScore(F, mean, scale, denoising=conditioned).double()


MODELS = ["mlp", "preconditioned", "preconditioned_clean", "own_module"]


def points(n=6, d=D, seed=SEED):
    x = torch.randn(n, d, generator=generator(seed), dtype=torch.float64)
    return x, torch.linspace(0.2, 3, n, dtype=torch.float64)[:, None]


@pytest.mark.parametrize("chunk_size", [None, 1, 3, D, 100])
@pytest.mark.parametrize("name", MODELS)
def test_exact_divergence_is_the_loop_over_outputs_whatever_the_chunk(name, chunk_size):
    score_fn, (x, sigma) = make_score(name), points()
    score, divergence = exact_divergence(score_fn, x, sigma, chunk_size=chunk_size)
    oracle = diagonals_by_loop(score_fn, x, sigma).sum(1)
    assert divergence.shape == (6,)
    torch.testing.assert_close(divergence, oracle, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(score, score_fn(x, sigma), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["mlp", "preconditioned", "preconditioned_clean"])
def test_networks_that_know_their_divergence_agree_with_the_generic_way(name):
    module, (x, sigma) = make_score(name), points()
    assert hasattr(module, "score_and_divergence")
    known = exact_divergence(module, x, sigma)
    generic = exact_divergence(lambda x, sigma: module(x, sigma), x, sigma)
    torch.testing.assert_close(known, generic, rtol=1e-10, atol=1e-10)


def test_a_score_function_that_knows_its_divergence_is_asked_for_it():
    class Known:
        def __call__(self, x, sigma):
            raise AssertionError("the divergence is known")

        def score_and_divergence(self, x, sigma):
            return -x / sigma, -x.shape[1] / sigma[:, 0]

    x, sigma = points()
    score, divergence = exact_divergence(Known(), x, sigma, chunk_size=2)
    expected = exact_divergence(lambda x, sigma: -x / sigma, x, sigma)
    torch.testing.assert_close((score, divergence), expected)


def test_exact_divergence_of_one_feature_is_the_derivative():
    x, sigma = points(d=1)
    score, divergence = exact_divergence(lambda x, sigma: torch.sin(x) * sigma, x, sigma)
    torch.testing.assert_close(score, torch.sin(x) * sigma)
    torch.testing.assert_close(divergence, (torch.cos(x) * sigma)[:, 0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_divergence_of_a_linear_score_is_the_trace_of_its_matrix(dtype):
    A = torch.randn(D, D, generator=generator(1), dtype=dtype)
    x, sigma = (t.to(dtype) for t in points())
    score, divergence = exact_divergence(lambda x, sigma: x @ A.T / sigma, x, sigma)
    torch.testing.assert_close(divergence, A.trace() / sigma[:, 0])
    assert score.dtype == divergence.dtype == dtype


def parameter_gradients(value, module):
    # Of random weights, so that no gradient cancels among the rows.
    weights = torch.rand(len(value), generator=generator(3), dtype=value.dtype)
    return torch.autograd.grad(weights @ value, list(module.parameters()), allow_unused=True)


@pytest.mark.parametrize("chunk_size", [None, 2])
@pytest.mark.parametrize("name", MODELS)
def test_divergence_has_the_parameter_gradients_of_the_loop(name, chunk_size):
    module, (x, sigma) = make_score(name), points()
    oracle = parameter_gradients(diagonals_by_loop(module, x, sigma).sum(1), module)
    exact = exact_divergence(module, x, sigma, chunk_size=chunk_size)[1]
    basis = D**0.5 * torch.eye(D, dtype=x.dtype)[:, None].repeat(1, len(x), 1)
    estimate = hutchinson_divergence(module, x, sigma, basis)[1]
    found = 0
    for divergence in (exact, estimate):
        gradients = parameter_gradients(divergence, module)
        for gradient, expected in zip(gradients, oracle, strict=True):
            if expected is None:  # the last bias moves the score and not its trace
                assert gradient is None or gradient.abs().max() < 1e-12
                continue
            found += expected.abs().sum() > 0
            torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-10)
    assert found >= 6


def test_the_score_that_comes_with_the_divergence_has_gradients_too():
    module, (x, sigma) = make_score("preconditioned"), points()
    probes = rademacher((1, *x.shape), generator(), dtype=x.dtype)
    oracle = parameter_gradients(module(x, sigma).square().sum(1), module)
    for score, _ in (
        exact_divergence(module, x, sigma),
        hutchinson_divergence(module, x, sigma, probes),
    ):
        torch.testing.assert_close(parameter_gradients(score.square().sum(1), module), oracle)


@pytest.mark.parametrize("law", ["rademacher", "normal"])
@pytest.mark.parametrize("name", MODELS)
def test_hutchinson_has_the_exact_divergence_as_its_mean(name, law):
    n, m = 5, 4000
    score_fn, (x, sigma) = make_score(name), points(n)
    truth = exact_divergence(score_fn, x, sigma)[1].detach()
    draw = rademacher if law == "rademacher" else torch.randn
    probes = draw((1, m * n, D), generator=generator(1), dtype=x.dtype)
    # One probe for each of many copies of a row gives the spread of one draw.
    draws = hutchinson_divergence(score_fn, x.repeat(m, 1), sigma.repeat(m, 1), probes)[1]
    draws = draws.detach().reshape(m, n)
    assert ((draws.mean(0) - truth).abs() < 4 * draws.std(0) / m**0.5).all()


def test_hutchinson_with_signs_has_the_variance_of_the_entries_off_the_diagonal():
    n = 20000
    A = torch.randn(D, D, generator=generator(1), dtype=torch.float64)
    x, sigma = torch.zeros(n, D, dtype=torch.float64), torch.ones(n, 1, dtype=torch.float64)
    probes = rademacher((1, n, D), generator(2), dtype=x.dtype)
    draws = hutchinson_divergence(lambda x, sigma: x @ A.T, x, sigma, probes)[1]
    symmetric = (A + A.T) / 2
    variance = 2 * (symmetric.square().sum() - symmetric.diagonal().square().sum())
    assert abs(draws.mean() - A.trace()) < 4 * (variance / n).sqrt()
    assert draws.var().item() == pytest.approx(variance.item(), rel=0.1)


def test_hutchinson_is_exact_for_the_scaled_basis_and_averages_its_probes():
    score_fn, (x, sigma) = make_score("preconditioned"), points()
    basis = D**0.5 * torch.eye(D, dtype=x.dtype)[:, None].repeat(1, len(x), 1)
    score, divergence = hutchinson_divergence(score_fn, x, sigma, basis)
    exact = exact_divergence(score_fn, x, sigma)
    torch.testing.assert_close((score, divergence), exact, rtol=1e-12, atol=1e-12)

    probes = torch.randn(3, *x.shape, generator=generator(1), dtype=x.dtype)
    one_by_one = [hutchinson_divergence(score_fn, x, sigma, v[None])[1] for v in probes]
    torch.testing.assert_close(
        hutchinson_divergence(score_fn, x, sigma, probes)[1], torch.stack(one_by_one).mean(0)
    )


def test_the_product_of_one_probe_is_that_of_the_jacobian():
    score_fn, (x, sigma) = make_score("own_module"), points()
    v = torch.randn(x.shape, generator=generator(1), dtype=x.dtype)
    expected = torch.einsum("ni,nij,nj->n", v, jacobians_by_loop(score_fn, x, sigma), v)
    divergence = hutchinson_divergence(score_fn, x, sigma, v[None])[1]
    torch.testing.assert_close(divergence, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 4.0])
def test_divergence_of_a_mixture_is_the_trace_of_its_posterior_covariance(sigma):
    # Cov[x_0 | x_σ] = σ² (I + σ² ∇s), for Σ w_k N(m_k, v_k I) blurred by σ.
    weights = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    variances = torch.tensor([0.2, 1.0, 0.05], dtype=torch.float64)
    means = 2 * torch.randn(3, 2, generator=generator(), dtype=torch.float64)

    def posterior(x, sigmas):
        """Responsibilities, and the mean of x_0 given x_σ under each component."""
        total = variances + sigmas.square()
        delta = x[:, None] - means
        log_f = weights.log() - delta.square().sum(2) / (2 * total) - total.log()
        component_means = means + (variances / total)[..., None] * delta
        return log_f.softmax(1), component_means

    def score_fn(x, sigmas):
        responsibility, component_means = posterior(x, sigmas)
        denoised = (responsibility[..., None] * component_means).sum(1)
        return (denoised - x) / sigmas.square()

    x = 3 * torch.randn(50, 2, generator=generator(1), dtype=torch.float64)
    sigmas = torch.full((50, 1), sigma, dtype=torch.float64)
    responsibility, component_means = posterior(x, sigmas)
    mean = (responsibility[..., None] * component_means).sum(1, keepdim=True)
    spread = (component_means - mean)[..., None] * (component_means - mean)[..., None, :]
    within = (variances * sigma**2 / (variances + sigma**2))[:, None, None] * torch.eye(2)
    covariance = (responsibility[..., None, None] * (within + spread)).sum(1)

    jacobian = jacobians_by_loop(score_fn, x, sigmas)
    from_score = sigma**2 * (torch.eye(2) + sigma**2 * jacobian)
    torch.testing.assert_close(from_score, covariance, rtol=1e-10, atol=1e-10)
    trace = sigma**2 * (2 + sigma**2 * exact_divergence(score_fn, x, sigmas)[1])
    expected = covariance.diagonal(dim1=1, dim2=2).sum(1)
    torch.testing.assert_close(trace, expected, rtol=1e-10, atol=1e-10)


def test_rademacher_draws_fair_independent_signs():
    signs = rademacher((20000, 3), generator(), dtype=torch.float64)
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    error = 1 / 20000**0.5
    assert signs.mean(0).abs().max() < 4 * error
    products = signs.T @ signs / 20000
    assert (products - torch.eye(3)).abs().max() < 4 * error


@pytest.mark.parametrize("dtype", [None, torch.float32, torch.float64])
def test_rademacher_has_the_type_that_was_asked_for(dtype):
    assert rademacher((2,), generator(), dtype=dtype).dtype == (dtype or torch.get_default_dtype())


def test_rademacher_follows_its_generator_alone():
    before = torch.get_rng_state()
    a, b, other = (rademacher((100,), generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, other)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("law", PROBE_LAWS)
@pytest.mark.parametrize("seed", range(3))
def test_probes_of_every_law_have_the_identity_as_their_second_moment(law, seed):
    n = 20000
    v = draw_probes(law, (n, D), generator(seed), dtype=torch.float64)
    assert (v.mean(0).abs() < 4 * v.std(0) / n**0.5).all()
    products = v[:, :, None] * v[:, None]
    # The squares of signs are 1 and have no error.
    error = 4 * products.std(0) / n**0.5 + 1e-12
    assert ((products.mean(0) - torch.eye(D)).abs() < error).all()


@pytest.mark.parametrize("law", PROBE_LAWS)
@pytest.mark.parametrize("seed", range(3))
def test_probes_have_the_variance_that_is_said_of_them(law, seed):
    n, A = 20000, torch.randn(D, D, generator=generator(seed), dtype=torch.float64)
    A = (A + A.T) / 2
    squares, diagonal = A.square().sum(), A.diagonal().square().sum()
    expected = {
        "rademacher": 2 * (squares - diagonal),
        "gaussian": 2 * squares,
        "sphere": 2 / (D + 2) * (D * squares - A.trace() ** 2),
    }[law]
    v = draw_probes(law, (n, D), generator(100 + seed), dtype=torch.float64)
    draws = torch.einsum("ni,ij,nj->n", v, A, v)
    deviations = (draws - A.trace()).square()
    assert abs(draws.mean() - A.trace()) < 4 * (expected / n).sqrt()
    assert abs(deviations.mean() - expected) < 4 * deviations.std() / n**0.5


@pytest.mark.parametrize("dtype", [None, torch.float32, torch.float64])
@pytest.mark.parametrize("law", PROBE_LAWS)
def test_probes_have_the_shape_and_type_asked_for_and_follow_their_generator(law, dtype):
    before = torch.get_rng_state()
    a, b, other = (draw_probes(law, (5, 2, 3), generator(seed), dtype) for seed in (1, 1, 2))
    assert a.shape == (5, 2, 3)
    assert a.dtype == (dtype or torch.get_default_dtype())
    assert torch.equal(a, b)
    assert not torch.equal(a, other)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("d", [1, 2, 50])
def test_probes_on_the_sphere_have_the_length_of_signs(d):
    v = draw_probes("sphere", (3, 7, d), generator(), dtype=torch.float64)
    torch.testing.assert_close(v.norm(dim=-1), torch.full((3, 7), d**0.5, dtype=torch.float64))


@pytest.mark.parametrize("law", ["normal", "", "Sphere"])
def test_unknown_laws_of_probes_are_refused(law):
    with pytest.raises(ValueError, match=f"^probes='{law}' is no law of probes; give one of"):
        draw_probes(law, (2, 3), generator())


@pytest.mark.parametrize("name", MODELS)
def test_probed_divergences_are_products_with_the_jacobian_and_their_mean_is_hutchinsons(name):
    score_fn, (x, sigma) = make_score(name), points()
    probes = draw_probes("gaussian", (5, *x.shape), generator(1), dtype=x.dtype)
    score, each = probed_divergence(score_fn, x, sigma, probes)
    expected = torch.einsum(
        "mni,nij,mnj->mn", probes, jacobians_by_loop(score_fn, x, sigma), probes
    )
    assert each.shape == (5, 6)
    torch.testing.assert_close(each, expected, rtol=1e-10, atol=1e-10)
    again = hutchinson_divergence(score_fn, x, sigma, probes)
    torch.testing.assert_close((score, each.mean(0)), again, rtol=1e-12, atol=1e-12)
