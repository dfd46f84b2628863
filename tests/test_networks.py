import copy
import pickle

import pytest
import torch
from oracles import diagonals_by_loop
from torch import nn

from skscore import networks
from skscore._inference import implicit_losses
from skscore._losses import DenoisingLoss
from skscore.datasets import GaussianMixtureDensity
from skscore.gaussians import GaussianScore
from skscore.networks import (
    PREDICTIONS,
    PreconditionedScore,
    ResidualMLP,
    ScoreMLP,
    SigmaEmbedding,
)
from skscore.noise import (
    DiscreteSigmas,
    FixedSigma,
    LogNormalSigma,
    LogUniformSigma,
    geometric_sigmas,
)

SEED = 0
D = 3
MEAN = torch.tensor([1.0, -20.0, 300.0], dtype=torch.float64)
SCALE = torch.tensor([0.1, 1.0, 50.0], dtype=torch.float64)


def generator(seed=SEED):
    return torch.Generator().manual_seed(seed)


def mlp(d=D, hidden_units=(8, 8), *, random_head=True, **kwargs):
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        F = ScoreMLP(d, hidden_units, **kwargs)
        if random_head:
            nn.init.normal_(F.head.weight)
            nn.init.normal_(F.head.bias)
        return F.double()


def points(n=20, d=D, seed=SEED):
    x = torch.randn(n, d, generator=generator(seed), dtype=torch.float64)
    return x, torch.linspace(0.05, 5, n, dtype=torch.float64)[:, None]


SIGMA_LAWS = [
    FixedSigma(0.01),
    FixedSigma(1.0),
    FixedSigma(30.0),
    DiscreteSigmas(tuple(geometric_sigmas(30.0, 0.01, 10).tolist())),
    LogUniformSigma(0.01, 30.0),
    LogNormalSigma(0.002, 10.0),
]


@pytest.mark.parametrize("law", SIGMA_LAWS, ids=str)
def test_the_untrained_network_has_the_loss_one_on_standard_normal_rows(law):
    # d times the loss of a row is χ² with d degrees of freedom: a standard error of .0022.
    n, d = 40000, 10
    x = torch.randn(n, d, generator=generator())
    score = PreconditionedScore(ScoreMLP(d, (8,)), torch.zeros(d), torch.ones(d))
    with torch.no_grad():
        loss = DenoisingLoss(law, sigma_data=1.0)(score, x, generator(1))
    assert loss.mean().item() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("denoising", [True, False])
@pytest.mark.parametrize("sigma", [0.01, 1.0, 40.0])
def test_the_untrained_network_is_the_score_of_a_gaussian(sigma, denoising):
    F = mlp(random_head=False, sigma_conditioned=denoising)
    score = PreconditionedScore(F, MEAN, SCALE, denoising=denoising)
    x = MEAN + SCALE * points()[0]
    gaussian = GaussianMixtureDensity([1.0], MEAN[None], torch.diag(SCALE**2)[None])
    truth = torch.from_numpy(gaussian.score_function(x.numpy(), sigma))
    with torch.no_grad():
        found = score(x, torch.full((len(x), 1), sigma, dtype=x.dtype))
    torch.testing.assert_close(found, truth, rtol=1e-12, atol=1e-12)


def test_the_clean_variant_has_a_score_without_noise():
    x = MEAN + SCALE * points()[0]
    zero = torch.zeros(len(x), 1, dtype=x.dtype)
    untrained = PreconditionedScore(
        mlp(random_head=False, sigma_conditioned=False), MEAN, SCALE, denoising=False
    )
    torch.testing.assert_close(untrained(x, zero).detach(), -(x - MEAN) / SCALE**2)
    trained = PreconditionedScore(mlp(sigma_conditioned=False), MEAN, SCALE, denoising=False)
    expected = -(x - MEAN) / SCALE**2 + trained.module((x - MEAN) / SCALE, zero) / SCALE
    torch.testing.assert_close(trained(x, zero), expected)
    assert trained(x, zero).isfinite().all()


@pytest.mark.parametrize("denoising", [True, False])
def test_the_score_is_put_together_as_documented(denoising):
    F, (z, sigma) = mlp(), points()
    x = MEAN + SCALE * z
    variance = SCALE**2 + sigma**2
    c_in = 1 / variance**0.5
    c_out = SCALE / (sigma * variance**0.5) if denoising else 1 / variance**0.5
    expected = -(x - MEAN) / variance + c_out * F(c_in * (x - MEAN), sigma)
    found = PreconditionedScore(F, MEAN, SCALE, denoising=denoising)(x, sigma)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_with_one_scale_tweedie_gives_the_denoiser_of_karras_et_al():
    F, (x, sigma) = mlp(), points()
    sigma_data = 0.7
    score = PreconditionedScore(F, torch.zeros(D), torch.full((D,), sigma_data).double())
    total = sigma**2 + sigma_data**2
    c_skip, c_out = sigma_data**2 / total, sigma * sigma_data / total**0.5
    denoised = c_skip * x + c_out * F(x / total**0.5, sigma)
    torch.testing.assert_close(x + sigma**2 * score(x, sigma), denoised)


class Recorder(nn.Module):
    def forward(self, x, sigma):
        self.x, self.sigma = x, sigma
        return torch.zeros_like(x)


@pytest.mark.parametrize("denoising", [True, False])
def test_the_raw_network_sees_inputs_of_unit_variance_and_is_asked_for_such_outputs(denoising):
    n = 20000
    z, noise = (torch.randn(n, D, generator=generator(s), dtype=torch.float64) for s in (1, 2))
    sigma = torch.exp(4 * torch.rand(n, 1, generator=generator(3), dtype=torch.float64) - 2)
    x_noisy = MEAN + SCALE * z + sigma * noise
    F = Recorder()
    gaussian = PreconditionedScore(F, MEAN, SCALE, denoising=denoising)(x_noisy, sigma)
    error = 4 * (2 / n) ** 0.5
    assert F.x.var(0).sub(1).abs().max() < error
    assert F.sigma is sigma
    if denoising:
        unit = PreconditionedScore(lambda_module(torch.ones_like), MEAN, SCALE)(x_noisy, sigma)
        asked = (-noise / sigma - gaussian) / (unit - gaussian)
        assert asked.var(0).sub(1).abs().max() < error


def lambda_module(function):
    class Lambda(nn.Module):
        def forward(self, x, sigma):
            return function(x)

    return Lambda()


# Scales of one order, or a tolerance would be that of the largest.
EVEN_MEAN = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
EVEN_SCALE = torch.tensor([0.3, 1.0, 5.0], dtype=torch.float64)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_network_of_every_prediction_is_asked_for_outputs_of_unit_variance(prediction):
    n = 20000
    z, noise = (torch.randn(n, D, generator=generator(s), dtype=torch.float64) for s in (1, 2))
    sigma = torch.exp(4 * torch.rand(n, 1, generator=generator(3), dtype=torch.float64) - 2)
    x_noisy = EVEN_MEAN + EVEN_SCALE * z + sigma * noise
    zero, one = (
        PreconditionedScore(lambda_module(f), EVEN_MEAN, EVEN_SCALE, prediction=prediction)
        for f in (torch.zeros_like, torch.ones_like)
    )
    # The output that makes the score that of the noise that was drawn.
    lowest = zero(x_noisy, sigma)
    asked = (-noise / sigma - lowest) / (one(x_noisy, sigma) - lowest)
    total = (EVEN_SCALE**2 + sigma**2) ** 0.5
    v = (EVEN_SCALE * noise - sigma * z) / total
    expected = {"preconditioned": -v, "noise": noise, "data": z, "v": v}[prediction]
    torch.testing.assert_close(asked, expected, rtol=1e-9, atol=1e-9)
    assert asked.var(0).sub(1).abs().max() < 4 * (2 / n) ** 0.5


class Predictor(nn.Module):
    """What a network of one prediction converges to on Gaussian rows N(m, C)."""

    def __init__(self, prediction, m, C):
        super().__init__()
        self.prediction, self.m, self.C = prediction, m, C

    def forward(self, x, sigma):
        total = (EVEN_SCALE**2 + sigma**2) ** 0.5
        x_noisy = EVEN_MEAN + total * x
        blurred = self.C + sigma[..., None] ** 2 * torch.eye(D)
        whitened = torch.linalg.solve(blurred, (x_noisy - self.m)[..., None])[..., 0]
        noise, data = sigma * whitened, self.m + whitened @ self.C
        z = (data - EVEN_MEAN) / EVEN_SCALE
        v = (EVEN_SCALE * noise - sigma * z) / total
        return {"preconditioned": -v, "noise": noise, "data": z, "v": v}[self.prediction]


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_best_guess_of_every_prediction_is_the_exact_score(prediction):
    root = torch.randn(D, D, generator=generator(5), dtype=torch.float64)
    m, C = EVEN_MEAN + 0.3, root @ root.mT + 0.2 * torch.eye(D)
    F = Predictor(prediction, m, C)
    z, sigma = points()
    x = EVEN_MEAN + EVEN_SCALE * z
    found = PreconditionedScore(F, EVEN_MEAN, EVEN_SCALE, prediction=prediction)(x, sigma)
    torch.testing.assert_close(found, GaussianScore(m, C)(x, sigma), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_score_of_every_prediction_is_put_together_as_documented(prediction):
    F, (z, sigma) = mlp(), points()
    x = MEAN + SCALE * z
    variance = SCALE**2 + sigma**2
    c_skip, c_out = {
        "preconditioned": (SCALE**2 / variance, SCALE / (sigma * variance**0.5)),
        "noise": (1.0, -1 / sigma),
        "data": (0.0, SCALE / sigma**2),
        "v": (SCALE**2 / variance, -SCALE / (sigma * variance**0.5)),
    }[prediction]
    output = F((x - MEAN) / variance**0.5, sigma)
    expected = -(1 - c_skip) * (x - MEAN) / sigma**2 + c_out * output
    found = PreconditionedScore(F, MEAN, SCALE, prediction=prediction)(x, sigma)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_v_is_the_preconditioned_prediction_with_another_sign():
    F, minus = mlp(), mlp()
    with torch.no_grad():
        for p in minus.head.parameters():
            p.neg_()
    z, sigma = points()
    x = MEAN + SCALE * z
    preconditioned = PreconditionedScore(F, MEAN, SCALE)
    v = PreconditionedScore(minus, MEAN, SCALE, prediction="v")
    assert torch.equal(v(x, sigma), preconditioned(x, sigma))
    divergences = (s.score_and_divergence(x, sigma)[1] for s in (v, preconditioned))
    torch.testing.assert_close(*divergences, rtol=1e-14, atol=0)


def test_the_preconditioned_prediction_is_the_default():
    z, sigma = points()
    x = MEAN + SCALE * z
    named = PreconditionedScore(mlp(), MEAN, SCALE, prediction="preconditioned")
    assert torch.equal(PreconditionedScore(mlp(), MEAN, SCALE)(x, sigma), named(x, sigma))


@pytest.mark.parametrize("denoising", [True, False])
def test_an_unknown_prediction_is_refused(denoising):
    message = r"prediction='score' is none of \('preconditioned', 'noise', 'data', 'v'\)"
    with pytest.raises(ValueError, match=message):
        PreconditionedScore(mlp(), MEAN, SCALE, denoising=denoising, prediction="score")


@pytest.mark.parametrize("prediction", ["noise", "data", "v"])
def test_clean_data_leave_nothing_to_guess(prediction):
    message = f"prediction='{prediction}' is a guess from noisy .* use prediction='preconditioned'"
    with pytest.raises(ValueError, match=message):
        PreconditionedScore(mlp(), MEAN, SCALE, denoising=False, prediction=prediction)
    PreconditionedScore(mlp(), MEAN, SCALE, denoising=False, prediction="preconditioned")


@pytest.mark.parametrize("denoising", [True, False])
def test_a_change_of_units_divides_the_score_by_the_unit(denoising):
    # One unit for all features with noise, which is measured in it; any units without.
    F, (z, sigma) = mlp(sigma_conditioned=False), points()
    unit = torch.tensor(12.0) if denoising else torch.tensor([12.0, 0.1, 3.0])
    sigma = sigma if denoising else 0 * sigma
    x = MEAN + SCALE * z
    score = PreconditionedScore(F, MEAN, SCALE, denoising=denoising)(x, sigma)
    in_units = PreconditionedScore(F, unit * MEAN + 5, unit * SCALE, denoising=denoising)
    noise = sigma * unit if denoising else sigma
    torch.testing.assert_close(in_units(unit * x + 5, noise), score / unit)


def test_mean_and_scale_are_state_and_not_parameters():
    score = PreconditionedScore(mlp(), MEAN, SCALE)
    assert {"mean", "scale"} <= set(score.state_dict())
    assert all(name.startswith("module.") for name, _ in score.named_parameters())
    other = PreconditionedScore(mlp(random_head=False), 0 * MEAN, 1 + 0 * SCALE)
    other.load_state_dict(score.state_dict())
    x, sigma = points()
    torch.testing.assert_close(other(x, sigma), score(x, sigma))


@pytest.mark.parametrize("sigma_conditioned", [True, False])
@pytest.mark.parametrize("hidden_units", [(), (5,), (8, 8, 8), (8, 4, 4, 6), [D + 1, D + 1]])
def test_the_raw_network_of_any_widths_starts_at_zero(hidden_units, sigma_conditioned):
    F = mlp(hidden_units=hidden_units, random_head=False, sigma_conditioned=sigma_conditioned)
    x, sigma = points()
    assert torch.equal(F(x, sigma), torch.zeros_like(x))
    assert [layer.out_features for layer in F.layers] == list(hidden_units)
    F = mlp(hidden_units=hidden_units, sigma_conditioned=sigma_conditioned)
    assert F(x, sigma).shape == x.shape
    assert F(x, sigma).std() > 0.1


@pytest.mark.parametrize("sigma_conditioned", [True, False])
@pytest.mark.parametrize("hidden_units", [(5,), (8, 8, 8), (8, 4, 4, 6)])
def test_the_gradient_reaches_every_parameter_once_the_head_has_moved(
    hidden_units, sigma_conditioned
):
    x, sigma = points()
    F = mlp(hidden_units=hidden_units, random_head=False, sigma_conditioned=sigma_conditioned)
    score = PreconditionedScore(F, torch.zeros(D), torch.ones(D))
    for step in range(2):
        score.zero_grad()
        (score(x, sigma) - torch.sin(x)).square().mean().backward()
        moved = {
            name for name, p in F.named_parameters() if p.grad is not None and p.grad.abs().sum()
        }
        if step == 0:
            assert moved == {"head.weight", "head.bias"}
            with torch.no_grad():
                for p in F.head.parameters():
                    p -= 0.1 * p.grad
    assert moved == {name for name, _ in F.named_parameters()}


def mlp_by_hand(F, x, sigma, residual):
    """The network written out, for layers whose residual connections are told."""
    h = torch.cat([x, torch.zeros(len(x), x.shape[1] % 2, dtype=x.dtype)], 1)
    for i, layer in enumerate(F.layers):
        a = layer(h)
        if F.embedding is not None:
            a = a + F.embedding(sigma) @ F.sigma_layers[i].weight.T
        a = torch.tanh(a)
        h = h + a if residual[i] else a
    return F.head(h)


@pytest.mark.parametrize("sigma_conditioned", [True, False])
@pytest.mark.parametrize(
    ("hidden_units", "residual"),
    [
        ((5,), [False]),
        ((8, 8, 8), [False, True, True]),
        ((8, 4, 4, 6), [False, False, True, False]),
        ((D + 1, D + 1), [False, True]),
    ],
)
def test_layers_of_equal_width_are_joined_by_a_residual(hidden_units, residual, sigma_conditioned):
    F = mlp(hidden_units=hidden_units, sigma_conditioned=sigma_conditioned)
    x, sigma = points()
    torch.testing.assert_close(F(x, sigma), mlp_by_hand(F, x, sigma, residual))


def test_an_odd_number_of_features_is_padded_by_a_column_that_counts_for_nothing():
    x, sigma = points(d=3)
    F = mlp(d=3)
    before = F(x, sigma)
    assert [mlp(d=d).layers[0].in_features for d in (1, 2, 3, 4)] == [2, 2, 4, 4]
    with torch.no_grad():
        F.layers[0].weight[:, 3] = 1e3
    torch.testing.assert_close(F(x, sigma), before)
    with torch.no_grad():
        F.layers[0].weight[:, 2] = 1e3
    assert (F(x, sigma) - before).abs().max() > 0.1


def test_the_noise_level_is_read_by_a_conditioned_network_alone():
    x, sigma = points()
    conditioned, unconditioned = mlp(), mlp(sigma_conditioned=False)
    assert (conditioned(x, sigma) - conditioned(x, 2 * sigma)).abs().min() > 1e-6
    assert torch.equal(unconditioned(x, sigma), unconditioned(x, 2 * sigma))


@pytest.mark.parametrize("sigma_conditioned", [True, False])
def test_a_row_of_output_depends_on_its_row_of_input_alone(sigma_conditioned):
    score = PreconditionedScore(mlp(sigma_conditioned=sigma_conditioned), MEAN, SCALE)
    x, sigma = points()
    alone = torch.cat([score(x[i : i + 1], sigma[i : i + 1]) for i in range(len(x))])
    torch.testing.assert_close(score(x, sigma), alone, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n_frequencies", [0, 1, 4])
def test_the_embedding_is_a_quarter_of_the_logarithm_its_square_and_waves(n_frequencies):
    embedding = SigmaEmbedding(n_frequencies).double()
    sigma = points()[1]
    c = sigma.log() / 4
    waves = [torch.sin(2**k * c) for k in range(n_frequencies)]
    waves += [torch.cos(2**k * c) for k in range(n_frequencies)]
    features = embedding(sigma)
    assert features.shape == (len(sigma), embedding.n_features_out)
    torch.testing.assert_close(features, torch.cat([c, c**2, *waves], 1))
    assert not list(embedding.parameters())


def assert_same_gradients(value, oracle, module):
    # Of random weights, so that no gradient cancels among the rows.
    weights = torch.rand(value.shape, generator=generator(3), dtype=value.dtype)
    parameters = list(module.parameters())
    found, expected = (
        torch.autograd.grad((weights * v).sum(), parameters, allow_unused=True, retain_graph=True)
        for v in (value, oracle)
    )
    for gradient, truth in zip(found, expected, strict=True):
        if truth is None:  # the last bias moves the score and not its trace
            assert gradient is None or gradient.abs().max() < 1e-12
        else:
            torch.testing.assert_close(gradient, truth, rtol=1e-10, atol=1e-10)
    assert any(g is not None and g.abs().max() > 0.01 for g in found)


@pytest.mark.parametrize("activation", ["tanh", "silu"])
@pytest.mark.parametrize("sigma_conditioned", [True, False])
@pytest.mark.parametrize("d", [1, 3, 4])
@pytest.mark.parametrize("hidden_units", [(), (5,), (8, 8, 8), (8, 4, 4, 6), (4, 4)])
def test_the_diagonal_of_the_jacobian_is_the_loop_over_outputs(
    hidden_units, d, sigma_conditioned, activation
):
    F = mlp(d, hidden_units, sigma_conditioned=sigma_conditioned, activation=activation)
    x, sigma = points(6, d)
    output, diagonal = F.jacobian_diagonal(x, sigma)
    oracle = diagonals_by_loop(F, x, sigma)
    assert diagonal.shape == oracle.shape == (6, d)
    assert oracle.abs().max() > 0.01
    torch.testing.assert_close(output, F(x, sigma), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(diagonal, oracle, rtol=1e-10, atol=1e-10)
    assert_same_gradients(diagonal, oracle, F)
    with torch.no_grad():
        torch.testing.assert_close(F.jacobian_diagonal(x, sigma)[1], diagonal, rtol=0, atol=0)
    torch.testing.assert_close(F.score_and_divergence(x, sigma), (output, diagonal.sum(1)))


@pytest.mark.parametrize("d", [3, 4])
@pytest.mark.parametrize("block", [1, 2**18])
def test_derivatives_along_directions_are_those_of_torch(d, block, monkeypatch):
    monkeypatch.setattr(networks, "_BLOCK", block)
    F = ResidualMLP(d, 5, (8, 8, 6), sigma_conditioned=True, bias=True, activation="silu").double()
    nn.init.normal_(F.head.weight)
    x, sigma = points(6, d)
    directions = torch.randn(7, 6, d, generator=generator(), dtype=torch.float64)
    output, derivatives = F.along(x, sigma, directions)
    torch.testing.assert_close(output, F(x, sigma))
    for v, found in zip(directions, derivatives, strict=True):
        expected = torch.func.jvp(lambda x: F(x, sigma), (x,), (v,))[1]
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("prediction", "denoising"), [("preconditioned", False), *((p, True) for p in PREDICTIONS)]
)
def test_the_divergence_of_a_score_is_the_loop_over_outputs(prediction, denoising):
    options = {"denoising": denoising, "prediction": prediction}
    s = PreconditionedScore(mlp(), MEAN, EVEN_SCALE, **options)
    z, sigma = points(6)
    x = MEAN + EVEN_SCALE * z
    score, divergence = s.score_and_divergence(x, sigma)
    oracle = diagonals_by_loop(s, x, sigma).sum(1)
    torch.testing.assert_close(score, s(x, sigma), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(divergence, oracle, rtol=1e-10, atol=1e-10)
    assert_same_gradients(divergence, oracle, s)
    assert_same_gradients(score, s(x, sigma), s)


@pytest.mark.parametrize("block", [1, 100, 10**9])
def test_the_diagonal_does_not_depend_on_how_many_directions_go_at_once(block, monkeypatch):
    F, (x, sigma) = mlp(d=7), points(d=7)
    expected = F.jacobian_diagonal(x, sigma)[1]
    monkeypatch.setattr(networks, "_BLOCK", block)
    torch.testing.assert_close(F.jacobian_diagonal(x, sigma)[1], expected, rtol=1e-12, atol=1e-12)
    assert F.jacobian_diagonal(x[:0], sigma[:0])[1].shape == (0, 7)


def test_the_trace_of_a_float32_network_is_float32_and_near_the_exact_one():
    F, (x, sigma) = mlp(d=5, hidden_units=(32, 32)), points(d=5)
    s = PreconditionedScore(F, torch.zeros(5).double(), torch.ones(5).double())
    truth = s.score_and_divergence(x, sigma)[1]
    score, divergence = s.float().score_and_divergence(x.float(), sigma.float())
    assert score.dtype == divergence.dtype == torch.float32
    torch.testing.assert_close(divergence.double(), truth, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("d", [2, 5, 8])
def test_the_objective_of_a_row_does_not_depend_on_the_other_rows_to_the_last_bit(d):
    s = PreconditionedScore(mlp(d, (32, 32, 32)), torch.zeros(d).double(), torch.ones(d).double())
    x, sigma = points(600, d)
    together, _ = implicit_losses(s, x, sigma)
    order = torch.randperm(600, generator=generator())
    assert torch.equal(implicit_losses(s, x[order], sigma[order])[0], together[order])
    for i in (0, 299, 599):
        assert torch.equal(implicit_losses(s, x[i : i + 1], sigma[i : i + 1])[0][0], together[i])


class Other(ScoreMLP):
    def forward(self, x, sigma):
        return super().forward(x, sigma).square()


class OtherScore(PreconditionedScore):
    def forward(self, x, sigma):
        return 2 * super().forward(x, sigma)


def test_a_network_that_computes_something_else_offers_no_trace():
    own, other = ScoreMLP(D, (8,)), Other(D, (8,))
    assert hasattr(own, "jacobian_diagonal") and hasattr(own, "score_and_divergence")
    assert not hasattr(other, "jacobian_diagonal") and not hasattr(other, "score_and_divergence")
    assert hasattr(PreconditionedScore(own, MEAN, SCALE), "score_and_divergence")
    for s in (PreconditionedScore(other, MEAN, SCALE), OtherScore(own, MEAN, SCALE)):
        assert not hasattr(s, "score_and_divergence")
    with pytest.raises(AttributeError, match="score_and_divergence"):
        PreconditionedScore(Recorder(), MEAN, SCALE).score_and_divergence(*points())


def test_copies_and_pickles_keep_the_trace():
    s, (x, sigma) = PreconditionedScore(mlp(), MEAN, SCALE), points()
    for again in (copy.deepcopy(s), pickle.loads(pickle.dumps(s))):
        assert torch.equal(
            again.score_and_divergence(x, sigma)[1], s.score_and_divergence(x, sigma)[1]
        )


def test_activations_are_those_of_torch_and_others_are_refused():
    x, sigma = points(5, 2)
    for activation, phi in (("tanh", torch.tanh), ("silu", torch.nn.functional.silu)):
        F = ScoreMLP(2, (4,), sigma_conditioned=False, activation=activation).double()
        torch.nn.init.ones_(F.head.weight)
        torch.testing.assert_close(F(x, sigma)[:, 0], phi(F.layers[0](x)).sum(1))
    with pytest.raises(ValueError, match="activation='relu' is none of 'tanh' and 'silu'"):
        ScoreMLP(2, activation="relu")


def test_a_floor_gives_the_score_in_fixed_units_below_it():
    noise = torch.randn(4, len(EVEN_MEAN), generator=generator(), dtype=torch.float64)
    x = EVEN_MEAN + EVEN_SCALE * noise
    F = mlp(len(EVEN_MEAN), sigma_conditioned=False)
    floored = PreconditionedScore(F, EVEN_MEAN, EVEN_SCALE, floor=0.05)
    plain = PreconditionedScore(F, EVEN_MEAN, EVEN_SCALE)
    for level in (1e-4, 0.02, 3.0):
        sigma = torch.full((4, 1), level, dtype=torch.float64)
        gaussian = -(x - EVEN_MEAN) / (EVEN_SCALE**2 + sigma**2)
        shrunk = sigma / torch.sqrt((0.05 * EVEN_SCALE) ** 2 + sigma**2)
        expected = gaussian + shrunk * (plain(x, sigma) - gaussian)
        torch.testing.assert_close(floored(x, sigma), expected, rtol=1e-12, atol=1e-12)
        _, divergence = floored.score_and_divergence(x, sigma)
        loop = diagonals_by_loop(floored, x, sigma).sum(1)
        torch.testing.assert_close(divergence, loop, rtol=1e-10, atol=1e-10)
