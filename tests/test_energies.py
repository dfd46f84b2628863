import pytest
import torch
from oracles import diagonals_by_loop, gradients_by_loop, jacobians_by_loop
from torch import nn

from skscore import networks, objectives
from skscore._inference import implicit_losses
from skscore.datasets import GaussianMixtureDensity
from skscore.divergence import exact_divergence, hutchinson_divergence
from skscore.energies import EnergyMLP, EnergyScore
from skscore.networks import PreconditionedScore, ScoreMLP

SEED = 0
D = 3
MEAN = torch.tensor([1.0, -20.0, 300.0], dtype=torch.float64)
SCALE = torch.tensor([0.3, 1.0, 5.0], dtype=torch.float64)


def generator(seed=SEED):
    return torch.Generator().manual_seed(seed)


class OwnScalar(nn.Module):
    """What a user may bring: nothing but a number a row."""

    def __init__(self, d):
        super().__init__()
        self.inner = nn.Linear(d + 1, 6)
        self.norm = nn.LayerNorm(6)
        self.outer = nn.Linear(6, 1)

    def forward(self, x, sigma):
        return self.outer(torch.tanh(self.norm(self.inner(torch.cat([x, sigma], 1)))))


def energy_mlp(d=D, hidden_units=(8, 8), **kwargs):
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        f = EnergyMLP(d, hidden_units, **kwargs)
        nn.init.normal_(f.head.weight)
        return f.double()


def energy_score(name="own", *, denoising=True):
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        f = energy_mlp() if name == "own" else OwnScalar(D).double()
    return EnergyScore(f, MEAN, SCALE, denoising=denoising)


def points(n=20, d=D, seed=SEED):
    x = torch.randn(n, d, generator=generator(seed), dtype=torch.float64)
    return x, torch.linspace(0.05, 5, n, dtype=torch.float64)[:, None]


def data_points(n=20):
    z, sigma = points(n)
    return MEAN + SCALE * z, sigma


def assert_same_gradients(value, oracle, module):
    # Of random weights, so that no gradient cancels among the rows.
    weights = torch.rand(value.shape, generator=generator(3), dtype=value.dtype)
    parameters = list(module.parameters())
    found, expected = (
        torch.autograd.grad((weights * v).sum(), parameters, allow_unused=True, retain_graph=True)
        for v in (value, oracle)
    )
    for gradient, truth in zip(found, expected, strict=True):
        # Derivatives of a linear f, and those with respect to a bias that shifts it, are none.
        gradient, truth = (torch.tensor(0.0) if g is None else g for g in (gradient, truth))
        torch.testing.assert_close(
            *torch.broadcast_tensors(gradient, truth), rtol=1e-10, atol=1e-10, check_dtype=False
        )


@pytest.mark.parametrize("sigma_conditioned", [True, False])
@pytest.mark.parametrize("d", [1, 3, 4])
@pytest.mark.parametrize("hidden_units", [(5,), (8, 8, 8), (8, 4, 4, 6), (4, 4)])
def test_gradient_and_hessian_of_the_network_are_those_of_the_loop(
    hidden_units, d, sigma_conditioned
):
    f = energy_mlp(d, hidden_units, sigma_conditioned=sigma_conditioned)
    x, sigma = points(6, d)
    assert f(x, sigma).shape == (6, 1)
    gradient, diagonal = f.hessian_diagonal(x, sigma)
    true_gradient = gradients_by_loop(f, x, sigma)
    truth = diagonals_by_loop(lambda x, s: gradients_by_loop(f, x, s), x, sigma)
    assert truth.abs().max() > 0.05
    for found in (gradient, f.input_gradient(x, sigma)):
        torch.testing.assert_close(found, true_gradient, rtol=1e-10, atol=1e-10)
        assert_same_gradients(found, true_gradient, f)
    torch.testing.assert_close(diagonal, truth, rtol=1e-10, atol=1e-10)
    assert_same_gradients(diagonal, truth, f)


def test_a_network_without_hidden_layers_is_linear():
    f, (x, sigma) = energy_mlp(hidden_units=()), points()
    gradient, diagonal = f.hessian_diagonal(x, sigma)
    assert torch.equal(gradient, f.head.weight[:, :D].expand(len(x), D))
    assert torch.equal(diagonal, torch.zeros_like(x))


@pytest.mark.parametrize("block", [1, 100, 10**9])
def test_the_hessian_does_not_depend_on_how_many_directions_go_at_once(block, monkeypatch):
    f, (x, sigma) = energy_mlp(d=7), points(d=7)
    expected = f.hessian_diagonal(x, sigma)
    monkeypatch.setattr(networks, "_BLOCK", block)
    torch.testing.assert_close(f.hessian_diagonal(x, sigma), expected, rtol=1e-12, atol=1e-12)
    assert f.hessian_diagonal(x[:0], sigma[:0])[1].shape == (0, 7)


def test_the_networks_of_scores_and_energies_have_the_same_layers():
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        F = ScoreMLP(D, (8, 8, 4))
        torch.manual_seed(SEED)
        f = EnergyMLP(D, (8, 8, 4))
    scores, energies = F.state_dict(), f.state_dict()
    assert set(scores) - set(energies) == {"head.bias"}
    assert torch.equal(energies["head.weight"], torch.zeros(1, 4))
    for name in energies.keys() - {"head.weight"}:
        assert torch.equal(scores[name], energies[name])


@pytest.mark.parametrize("denoising", [True, False])
@pytest.mark.parametrize("sigma", [0.01, 1.0, 40.0])
def test_the_untrained_energy_and_its_score_are_those_of_a_gaussian(sigma, denoising):
    f = EnergyMLP(D, (8,), sigma_conditioned=denoising).double()
    s = EnergyScore(f, MEAN, SCALE, denoising=denoising)
    x = data_points()[0]
    sigmas = torch.full((len(x), 1), sigma, dtype=x.dtype)
    gaussian = GaussianMixtureDensity([1.0], MEAN[None], torch.diag(SCALE**2)[None])
    truth = torch.from_numpy(gaussian.score_function(x.numpy(), sigma))
    torch.testing.assert_close(s(x, sigmas).detach(), truth, rtol=1e-12, atol=1e-12)
    constant = s.energy(x, sigmas).detach() + torch.from_numpy(gaussian.log_density(x, sigma))
    torch.testing.assert_close(constant, constant[:1].expand(len(x)), rtol=1e-10, atol=1e-10)
    divergence = s.score_and_divergence(x, sigmas)[1]
    expected = -(1 / (SCALE**2 + sigma**2)).sum().expand(len(x))
    torch.testing.assert_close(divergence.detach(), expected)


@pytest.mark.parametrize("denoising", [True, False])
def test_the_energy_is_put_together_as_documented(denoising):
    s, (x, sigma) = energy_score(denoising=denoising), data_points()
    u = (x - MEAN) / (SCALE**2 + sigma**2).sqrt()
    c = (SCALE**2).mean().sqrt() / sigma[:, 0] if denoising else 1
    expected = (u**2).sum(1) / 2 - c * s.module(u, sigma)[:, 0]
    torch.testing.assert_close(s.energy(x, sigma), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("denoising", [True, False])
@pytest.mark.parametrize("name", ["own", "user's"])
def test_the_score_is_minus_the_gradient_of_the_energy(name, denoising):
    s, (x, sigma) = energy_score(name, denoising=denoising), data_points(6)
    truth = -gradients_by_loop(s.energy, x, sigma)
    torch.testing.assert_close(s(x, sigma), truth, rtol=1e-10, atol=1e-10)
    assert_same_gradients(s(x, sigma), truth, s)
    with torch.no_grad():
        torch.testing.assert_close(s(x, sigma), truth, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("denoising", [True, False])
@pytest.mark.parametrize("name", ["own", "user's"])
def test_the_divergence_is_the_trace_of_the_loop(name, denoising):
    s, (x, sigma) = energy_score(name, denoising=denoising), data_points(6)
    score, divergence = exact_divergence(s, x, sigma)
    truth = diagonals_by_loop(s, x, sigma).sum(1)
    torch.testing.assert_close(score, s(x, sigma), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(divergence, truth, rtol=1e-10, atol=1e-10)
    assert_same_gradients(divergence, truth, s)
    assert_same_gradients(score, s(x, sigma), s)
    basis = D**0.5 * torch.eye(D, dtype=x.dtype)[:, None].repeat(1, len(x), 1)
    estimate = hutchinson_divergence(s, x, sigma, basis)[1]
    torch.testing.assert_close(estimate, truth, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["own", "user's"])
def test_the_score_of_an_energy_has_no_curl(name):
    x, sigma = data_points(6)
    J = jacobians_by_loop(energy_score(name), x, sigma)
    torch.testing.assert_close(J, J.mT, rtol=1e-10, atol=1e-10)
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        F = ScoreMLP(D, (8, 8)).double()
        nn.init.normal_(F.head.weight)
    J = jacobians_by_loop(PreconditionedScore(F, MEAN, SCALE), x, sigma)
    assert (J - J.mT).abs().max() > 0.01


def test_the_gradient_of_the_network_is_asked_to_have_a_mean_square_of_one():
    n = 20000
    z, noise = (torch.randn(n, D, generator=generator(s), dtype=torch.float64) for s in (1, 2))
    sigma = torch.exp(4 * torch.rand(n, 1, generator=generator(3), dtype=torch.float64) - 2)
    x_noisy = MEAN + SCALE * z + sigma * noise

    class Sum(nn.Module):
        def forward(self, u, sigma):
            return u.sum(1, keepdim=True)

    gaussian = EnergyScore(EnergyMLP(D, ()).double(), MEAN, SCALE)(x_noisy, sigma)
    unit = EnergyScore(Sum(), MEAN, SCALE)(x_noisy, sigma)
    square = ((-noise / sigma - gaussian) / (unit - gaussian)).square().mean(1)
    assert abs(square.mean() - 1) < 4 * square.std() / n**0.5
    by_level = torch.stack([s.mean() for s in square[sigma[:, 0].argsort()].split(n // 5)])
    assert (by_level - 1).abs().max() < 4 * square.std() / (n / 5) ** 0.5


def test_a_change_of_units_leaves_the_energy_alone():
    s, (x, sigma) = energy_score(), data_points()
    # σ is an input, so f is told the level that it had.
    unit = 12.0
    in_units = EnergyScore(WithUnit(s.module, unit), unit * MEAN + 5, unit * SCALE)
    y, noise = unit * x + 5, unit * sigma
    torch.testing.assert_close(in_units.energy(y, noise), s.energy(x, sigma))
    torch.testing.assert_close(in_units(y, noise), s(x, sigma) / unit)


class WithUnit(nn.Module):
    def __init__(self, module, unit):
        super().__init__()
        self.module, self.unit = module, unit

    def forward(self, u, sigma):
        return self.module(u, sigma / self.unit)


@pytest.mark.parametrize("name", ["own", "user's"])
def test_everything_is_float32_where_the_network_is(name):
    s, (x, sigma) = energy_score(name), data_points()
    truth = s(x, sigma), s.energy(x, sigma), exact_divergence(s, x, sigma)[1]
    s, x, sigma = s.float(), x.float(), sigma.float()
    found = s(x, sigma), s.energy(x, sigma), exact_divergence(s, x, sigma)[1]
    for value, expected in zip(found, truth, strict=True):
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.double(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("d", [2, 5, 8])
def test_the_objective_of_a_row_does_not_depend_on_the_other_rows_to_the_last_bit(d):
    f = energy_mlp(d, (32, 32, 32))
    s = EnergyScore(f, torch.zeros(d).double(), torch.ones(d).double())
    x, sigma = points(600, d)
    together, _ = implicit_losses(s, x, sigma)
    order = torch.randperm(600, generator=generator())
    assert torch.equal(implicit_losses(s, x[order], sigma[order])[0], together[order])
    for i in (0, 299, 599):
        assert torch.equal(implicit_losses(s, x[i : i + 1], sigma[i : i + 1])[0][0], together[i])


@pytest.mark.parametrize("call", ["forward", "energy"])
def test_a_network_of_many_outputs_is_no_energy(call):
    s = EnergyScore(ScoreMLP(D, (8,)).double(), MEAN, SCALE)
    with pytest.raises(ValueError, match=r"shape \(20, 3\) for 20 rows.*in the shape \(20, 1\)"):
        getattr(s, call)(*data_points())


def test_a_network_that_computes_something_else_is_differentiated_by_torch():
    class Other(EnergyMLP):
        def forward(self, x, sigma):
            return super().forward(x, sigma).square()

    class OtherScore(EnergyScore):
        def forward(self, x, sigma):
            return 2 * super().forward(x, sigma)

    f = Other(D, (8,)).double()
    nn.init.normal_(f.head.weight, generator=generator())
    assert not hasattr(f, "input_gradient") and not hasattr(f, "hessian_diagonal")
    s, (x, sigma) = EnergyScore(f, MEAN, SCALE), data_points(6)
    assert not hasattr(s, "score_and_divergence")
    assert not hasattr(OtherScore(energy_mlp(), MEAN, SCALE), "score_and_divergence")
    truth = -gradients_by_loop(s.energy, x, sigma)
    torch.testing.assert_close(s(x, sigma), truth, rtol=1e-10, atol=1e-10)


def test_the_energy_that_minimises_the_implicit_objective_is_minus_the_log_density():
    # By quadrature in place of a sample, p = .7 N(-1, .5²) + .3 N(1, .5²).
    p = GaussianMixtureDensity([0.7, 0.3], [-1.0, 1.0], [0.25, 0.25])
    x = torch.linspace(-3, 3, 61, dtype=torch.float64)[:, None]
    log_p, zero = torch.from_numpy(p.log_density(x.numpy())), torch.zeros_like(x)
    weights = log_p.exp() / log_p.exp().sum()
    mean = weights @ x
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        f = EnergyMLP(1, (16, 16), sigma_conditioned=False).double()
    s = EnergyScore(f, mean, (weights @ (x - mean).square()).sqrt(), denoising=False)
    optimizer = torch.optim.LBFGS(f.parameters(), max_iter=50, line_search_fn="strong_wolfe")

    def error():
        difference = (log_p + s.energy(x, zero).detach())[10:-10]
        return (difference - difference.mean()).abs().max()

    def closure():
        optimizer.zero_grad()
        loss = weights @ objectives.implicit(s, x, zero)
        loss.backward()
        return loss

    assert error() > 0.5
    optimizer.step(closure)
    assert error() < 0.2
