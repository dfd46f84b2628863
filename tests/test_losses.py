import math

import pytest
import torch
from scipy import stats

from skscore import _losses, objectives
from skscore._losses import (
    DenoisingLoss,
    ExplicitLoss,
    FiniteDifferenceLoss,
    ImplicitLoss,
    ParzenLoss,
    RowLoss,
    SlicedLoss,
)
from skscore.divergence import draw_probes, exact_divergence
from skscore.noise import (
    DiscreteSigmas,
    FixedSigma,
    LogNormalSigma,
    LogUniformSigma,
    VariancePreserving,
    geometric_sigmas,
)

SEED = 0


def generator(seed=SEED):
    return torch.Generator().manual_seed(seed)


def rows(n=8, d=3, seed=SEED, dtype=torch.float64):
    return torch.randn(n, d, generator=generator(seed), dtype=dtype)


def score_fn(x, sigma):
    """A score with curvature and entries off the diagonal of its Jacobian."""
    return torch.sin(2 * x).roll(1, 1) - x / (1 + sigma**2) + x.square().mean(1, keepdim=True)


class Recorder:
    def __init__(self, score_fn=score_fn):
        self.score_fn = score_fn

    def __call__(self, x, sigma):
        self.x, self.sigma = x, sigma
        return self.score_fn(x, sigma)


def geometric_law(low, high, n_levels):
    return DiscreteSigmas(tuple(geometric_sigmas(high, low, n_levels).tolist()))


CENTERS = rows(20, seed=7)
LOSSES = {
    "explicit": ExplicitLoss(lambda x: -x),
    "implicit": ImplicitLoss(),
    "sliced": SlicedLoss(variance_reduction=False),
    "sliced_vr": SlicedLoss(2, "gaussian"),
    "finite_difference": FiniteDifferenceLoss(2, "sphere"),
    "control_variate": DenoisingLoss(FixedSigma(0.3), sigma_data=1.5, control_variate=True),
    "parzen": ParzenLoss(FixedSigma(0.3), 1.5, CENTERS, torch.ones(20)),
    "denoising": DenoisingLoss(LogUniformSigma(0.1, 10.0), sigma_data=1.5),
    "mirrored": DenoisingLoss(LogUniformSigma(0.1, 10.0), sigma_data=1.5, mirrored=True),
    "ncsn": DenoisingLoss(LogUniformSigma(0.1, 10.0), sigma_data=1.5, weighting="ncsn"),
    "likelihood": DenoisingLoss(LogUniformSigma(0.1, 10.0), 1.5, weighting="likelihood"),
}


@pytest.mark.parametrize("n_draws", [1, 4])
@pytest.mark.parametrize("name", LOSSES)
def test_the_generator_freezes_the_noise(name, n_draws):
    loss, x = LOSSES[name], rows()
    before = torch.get_rng_state()
    a, b, other = (loss(score_fn, x, generator(seed), n_draws) for seed in (1, 1, 2))
    assert a.shape == (len(x),)
    assert torch.equal(a, b)
    assert torch.equal(a, other) == (name in ("explicit", "implicit"))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n_draws", [1, 3])
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_has_the_type_of_its_rows_and_a_gradient(name, n_draws, dtype):
    scale = torch.ones((), dtype=dtype, requires_grad=True)
    recorder = Recorder(lambda x, sigma: scale * score_fn(x, sigma))
    loss = LOSSES[name]
    if name == "parzen":
        loss = ParzenLoss(FixedSigma(0.3), 1.5, CENTERS.to(dtype), torch.ones(20).to(dtype))
    loss = loss(recorder, rows(dtype=dtype), generator(), n_draws)
    assert loss.dtype == recorder.sigma.dtype == dtype
    loss.mean().backward()
    assert scale.grad.abs() > 0


def test_the_implicit_loss_is_the_objective_on_clean_rows():
    x, zero = rows(), torch.zeros(8, 1, dtype=torch.float64)
    s, divergence = exact_divergence(score_fn, x, zero)
    for n_draws in (1, 5):
        loss = ImplicitLoss()(score_fn, x, generator(), n_draws)
        torch.testing.assert_close(loss, s.square().sum(1) + 2 * divergence)


@pytest.mark.parametrize("n_draws", [1, 4])
def test_the_sliced_loss_is_the_implicit_one_in_expectation(n_draws):
    n, m = 4, 4000
    x, zero = rows(n), torch.zeros(n, 1, dtype=torch.float64)
    recorder = Recorder()
    draws = SlicedLoss()(recorder, x.repeat(m, 1), generator(1), n_draws).reshape(m, n)
    assert (recorder.sigma == 0).all()
    error = draws.mean(0) - objectives.implicit(score_fn, x, zero)
    assert (error.abs() < 4 * draws.std(0) / m**0.5).all()


@pytest.mark.parametrize("name", ["sliced", "sliced_vr", "finite_difference"])
def test_probed_losses_are_the_implicit_one_in_expectation(name):
    n, m = 4, 4000
    x, zero = rows(n), torch.zeros(n, 1, dtype=torch.float64)
    recorder = Recorder()
    draws = LOSSES[name](recorder, x.repeat(m, 1), generator(1), 2).reshape(m, n)
    assert (recorder.sigma == 0).all()
    error = draws.mean(0) - objectives.implicit(score_fn, x, zero)
    # The error of the finite difference is O(epsilon²), 1e-5 with a curvature of 10.
    assert (error.abs() < 4 * draws.std(0) / m**0.5 + 1e-3 * (name == "finite_difference")).all()


def test_probes_are_as_many_and_of_the_law_that_was_asked_for():
    x, zero = rows(), torch.zeros(8, 1, dtype=torch.float64)
    for law in ("gaussian", "sphere"):
        probes = draw_probes(law, (6, 8, 3), generator(), torch.float64)
        expected = objectives.sliced(score_fn, x, zero, probes, variance_reduction=False)
        loss = SlicedLoss(2, law, variance_reduction=False)(score_fn, x, generator(), 3)
        torch.testing.assert_close(loss, expected)
        expected = objectives.finite_difference_sliced(score_fn, x, zero, probes, epsilon=0.1)
        loss = FiniteDifferenceLoss(2, law, epsilon=0.1)(score_fn, x, generator(), 3)
        torch.testing.assert_close(loss, expected)


def test_the_explicit_loss_is_the_distance_to_its_target():
    x = rows()
    loss = ExplicitLoss(torch.cos)(score_fn, x, generator())
    expected = (score_fn(x, torch.zeros(8, 1)) - x.cos()).square().sum(1)
    torch.testing.assert_close(loss, expected)


def test_the_control_variate_and_parzen_are_the_denoising_loss_in_expectation():
    m, law, centers = 40_000, FixedSigma(0.3), rows(5, seed=7)
    x = centers.repeat(m // 5, 1)
    plain, varied, parzen = (
        loss(score_fn, x, generator(seed))
        for seed, loss in enumerate(
            (
                DenoisingLoss(law, 1.5),
                DenoisingLoss(law, 1.5, control_variate=True),
                ParzenLoss(law, 1.5, centers, torch.ones(5).double()),
            )
        )
    )
    difference = varied.mean() - plain.mean()
    assert difference.abs() < 4 * ((plain.var() + varied.var()) / m) ** 0.5
    # Parzen's lacks a constant that does not depend on the score: it is that of another score, too.
    others = [
        loss(lambda x, sigma: -x, x, generator(seed))
        for seed, loss in enumerate(
            (DenoisingLoss(law, 1.5), None, ParzenLoss(law, 1.5, centers, torch.ones(5).double()))
        )
        if loss
    ]
    constants = [plain.mean() - parzen.mean(), others[0].mean() - others[1].mean()]
    error = sum(loss.var() / m for loss in (plain, parzen, *others)) ** 0.5
    assert constants[0] > 10 * error
    assert (constants[0] - constants[1]).abs() < 4 * error


def test_parzen_in_parts_is_parzen_at_once(monkeypatch):
    x, loss = rows(), LOSSES["parzen"]
    whole = loss(score_fn, x, generator())
    monkeypatch.setattr(_losses, "_NUMBERS_AT_ONCE", 3 * CENTERS.numel())
    torch.testing.assert_close(loss(score_fn, x, generator()), whole)


def test_held_out_rows_are_judged_without_the_noise_of_probes_and_without_the_centers():
    x, zero = rows(), torch.zeros(8, 1, dtype=torch.float64)
    exact = objectives.implicit(score_fn, x, zero)
    for name in ("sliced", "sliced_vr"):
        torch.testing.assert_close(LOSSES[name].held_out(score_fn, x, generator(), 8), exact)
    wide = rows(2, 101)
    sliced = LOSSES["sliced"]
    torch.testing.assert_close(
        sliced.held_out(score_fn, wide, generator(), 4), sliced(score_fn, wide, generator(), 4)
    )
    mirrored = DenoisingLoss(FixedSigma(0.3), 1.5, mirrored=True)
    torch.testing.assert_close(
        LOSSES["parzen"].held_out(score_fn, x, generator(), 4),
        mirrored(score_fn, x, generator(), 4),
    )
    for name in ("explicit", "implicit", "finite_difference", "control_variate", "denoising"):
        loss = LOSSES[name]
        judged = loss.held_out(score_fn, x, generator(), 4)
        torch.testing.assert_close(judged, loss(score_fn, x, generator(), 4))


def test_more_probes_or_draws_vary_less():
    m, x = 4000, rows(1)
    for loss in (SlicedLoss(), DenoisingLoss(FixedSigma(0.5), sigma_data=1.0)):
        one, eight = (
            loss(score_fn, x.repeat(m, 1), generator(1), n_draws).var() for n_draws in (1, 8)
        )
        assert one / eight == pytest.approx(8, rel=0.3)


@pytest.mark.parametrize("sigma_data", [0.5, 2.0])
@pytest.mark.parametrize("n_draws", [1, 4])
def test_the_denoising_loss_is_the_weighted_mean_of_the_objective(n_draws, sigma_data):
    x, recorder = rows(), Recorder()
    loss = DenoisingLoss(LogUniformSigma(0.1, 10.0), sigma_data)(recorder, x, generator(), n_draws)
    n, d = x.shape
    sigma, x_noisy = recorder.sigma, recorder.x
    assert sigma.shape == (n * n_draws, 1)
    noise = (x_noisy - x.repeat_interleave(n_draws, 0)) / sigma
    target = -noise / sigma
    weight = sigma**2 * (1 + (sigma / sigma_data) ** 2) / d
    terms = weight * (score_fn(x_noisy, sigma) - target).square().sum(1, keepdim=True)
    torch.testing.assert_close(loss, terms.reshape(n, n_draws).mean(1))


@pytest.mark.parametrize("n_draws", [1, 8])
def test_the_noise_of_the_denoising_loss_is_standard_normal(n_draws):
    x, recorder = rows(4000 // n_draws, 5), Recorder()
    DenoisingLoss(LogUniformSigma(0.1, 10.0), 1.0)(recorder, x, generator(), n_draws)
    noise = (recorder.x - x.repeat_interleave(n_draws, 0)) / recorder.sigma
    error = 4 / 4000**0.5
    second_moments = noise.T @ noise / 4000
    assert noise.mean(0).abs().max() < error
    assert (second_moments.diagonal() - 1).abs().max() < 2**0.5 * error
    assert second_moments.fill_diagonal_(0).abs().max() < error
    assert (noise * recorder.sigma.log()).mean(0).abs().max() < error * recorder.sigma.log().std()


@pytest.mark.parametrize("n_draws", [1, 4])
def test_the_mirrored_loss_is_the_mean_over_the_noise_and_its_opposite(n_draws):
    x, recorder, law = rows(), Recorder(), LogUniformSigma(0.1, 10.0)
    loss = DenoisingLoss(law, 1.5, mirrored=True)(recorder, x, generator(), n_draws)
    (sigma, same), (x_plus, x_minus) = recorder.sigma.chunk(2), recorder.x.chunk(2)
    assert torch.equal(sigma, same)
    noise = (x_plus - x.repeat_interleave(n_draws, 0)) / sigma
    weight = (sigma**2 * (1 + (sigma / 1.5) ** 2) / x.shape[1])[:, 0]
    plus = weight * (score_fn(x_plus, sigma) + noise / sigma).square().sum(1)
    minus = weight * (score_fn(x_minus, sigma) - noise / sigma).square().sum(1)
    torch.testing.assert_close(loss, ((plus + minus) / 2).reshape(-1, n_draws).mean(1))
    plain = DenoisingLoss(law, 1.5)(score_fn, x, generator(), n_draws)
    torch.testing.assert_close(plain, plus.reshape(-1, n_draws).mean(1))


@pytest.mark.parametrize("sigma", [0.1, 0.01])
def test_mirrored_noise_removes_the_variance_of_the_first_order(sigma):
    x, excess = rows(1).repeat(4000, 1), []
    for mirrored in (False, True):
        recorder = Recorder()
        loss = DenoisingLoss(FixedSigma(sigma), 1e6, mirrored=mirrored)(recorder, x, generator(1))
        # Both carry the same ‖ε‖²/d, which does not depend on the score.
        noise = (recorder.x[: len(x)] - x) / sigma
        excess.append((loss - noise.square().mean(1)) / sigma**2)
    plain, mirrored = excess
    # sd 2‖s‖/(σd) against that of (ε·∇s ε)·2/d, which stays where σ falls.
    s = score_fn(x[:1], torch.full((1, 1), sigma, dtype=x.dtype))
    assert plain.std().item() == pytest.approx(2 * s.norm().item() / (3 * sigma), rel=0.1)
    assert mirrored.std() < 0.15 * sigma / 0.1 * plain.std()
    assert (plain - mirrored).mean().abs() < 4 * plain.std() / len(plain) ** 0.5


LOW, HIGH = 0.1, 5.0
VP = VariancePreserving(sigma_min=LOW, sigma_max=HIGH)
RANGES = {
    "log_uniform": LogUniformSigma(LOW, HIGH),
    "log_normal": LogNormalSigma(LOW, HIGH),
    "vp": VP.law(),
    "vp_cosine": VariancePreserving("cosine", sigma_min=LOW, sigma_max=HIGH).law(),
    "discrete": geometric_law(LOW, HIGH, 500),
    "discrete_vp": VP.law(500),
}


def one_over_density(name, sigma):
    """dq/du of the laws of a range whose density of σ is known, where σ = q(u)."""
    if name == "log_uniform":
        return sigma * math.log(HIGH / LOW)
    if name == "log_normal":
        cut = [(math.log(end) + 1.2) / 1.2 for end in (LOW, HIGH)]
        density = stats.truncnorm(*cut, loc=-1.2, scale=1.2).pdf(sigma.log())
        return sigma / torch.from_numpy(density)
    # With t = 2/π arctan σ uniform, σ has a Cauchy density, cut at both ends.
    mass = math.atan(HIGH) - math.atan(LOW)
    return mass * (1 + sigma**2)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("n_draws", [1, 4])
@pytest.mark.parametrize("name", ["log_uniform", "log_normal", "vp_cosine"])
@pytest.mark.parametrize("weighting", _losses.WEIGHTINGS)
def test_each_weighting_is_its_formula(weighting, name, n_draws, mirrored):
    x, recorder = rows(), Recorder()
    loss = DenoisingLoss(RANGES[name], 1.5, mirrored=mirrored, weighting=weighting)
    found = loss(recorder, x, generator(), n_draws)
    n, d = x.shape
    sigma, x_noisy = recorder.sigma, recorder.x
    noise = (x_noisy - x.repeat_interleave(n_draws, 0).repeat(1 + mirrored, 1)) / sigma
    weight = {
        "edm": sigma**2 * (1 + (sigma / 1.5) ** 2),
        "ncsn": sigma**2,
        "likelihood": sigma * one_over_density(name, sigma),
    }[weighting]
    terms = weight / d * (score_fn(x_noisy, sigma) + noise / sigma).square().sum(1, keepdim=True)
    torch.testing.assert_close(found, terms.reshape(1 + mirrored, n, n_draws).mean((0, 2)))


@pytest.mark.parametrize("n_draws", [1, 4])
@pytest.mark.parametrize("weighting", _losses.WEIGHTINGS)
def test_weightings_share_their_noise_and_the_first_is_the_default(weighting, n_draws):
    x, law = rows(), RANGES["vp"]
    plain, weighted = Recorder(), Recorder()
    losses = [
        DenoisingLoss(law, 1.5)(plain, x, generator(), n_draws),
        DenoisingLoss(law, 1.5, weighting=weighting)(weighted, x, generator(), n_draws),
    ]
    assert torch.equal(plain.sigma, weighted.sigma)
    assert torch.equal(plain.x, weighted.x)
    assert torch.equal(*losses) == (weighting == "edm")


@pytest.mark.parametrize("control_variate", [False, True])
def test_the_weight_goes_to_the_loss_with_a_control_variate_too(control_variate):
    x, recorder = rows(), Recorder()
    options = {"control_variate": control_variate, "weighting": "ncsn"}
    loss = DenoisingLoss(FixedSigma(0.3), 1.5, **options)(recorder, x, generator())
    # At one level the weights differ by a factor.
    edm = DenoisingLoss(FixedSigma(0.3), 1.5, control_variate=control_variate)
    expected = edm(score_fn, x, generator()) / (1 + (0.3 / 1.5) ** 2)
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize(
    ("power", "integral"),
    [(0, (HIGH**2 - LOW**2) / 2), (-2, math.log(HIGH / LOW)), (-1, HIGH - LOW)],
)
def test_the_likelihood_weighting_integrates_over_the_levels(name, power, integral):
    # ‖s + ε/σ‖² = d σ^p whatever ε is, through a score that knows its noise.
    x = torch.zeros(20_000, 2, dtype=torch.float64)
    loss = DenoisingLoss(RANGES[name], 1.0, weighting="likelihood")
    found = loss(lambda x, sigma: -x / sigma**2 + sigma ** (power / 2), x, generator())
    assert found.mean().item() == pytest.approx(integral, rel=2e-3)


@pytest.mark.parametrize("n_draws", [1, 4])
@pytest.mark.parametrize("name", RANGES)
def test_the_likelihood_of_gaussian_rows_does_not_depend_on_the_law(name, n_draws):
    # With rows N(0, a²) and s = -c x, E‖s + ε/σ‖²/d = c² a² + (1/σ - c σ)².
    a, c, n = 0.7, 0.9, 20_000
    loss = DenoisingLoss(RANGES[name], a, weighting="likelihood")
    found = loss(lambda x, sigma: -c * x, a * rows(n, 4), generator(1), n_draws)
    square = (HIGH**2 - LOW**2) / 2
    fourth = (HIGH**4 - LOW**4) / 4
    expected = (c * a) ** 2 * square + math.log(HIGH / LOW) - 2 * c * square + c**2 * fourth
    assert found.mean().item() == pytest.approx(expected, abs=4 * found.std().item() / n**0.5)


@pytest.mark.parametrize("name", RANGES)
def test_the_score_zero_has_the_loss_one_under_the_weighting_of_ncsn(name):
    n, d = 20_000, 4
    loss = DenoisingLoss(RANGES[name], 1.5, weighting="ncsn")
    found = loss(lambda x, sigma: 0 * x, rows(n, d), generator(1))
    # d times the loss of a row is χ² with d degrees of freedom, at every level.
    assert found.mean().item() == pytest.approx(1, abs=4 * (2 / (d * n)) ** 0.5)
    assert found.std().item() == pytest.approx((2 / d) ** 0.5, rel=0.05)


def test_one_level_has_no_likelihood():
    loss = DenoisingLoss(FixedSigma(0.3), 1.5, weighting="likelihood")
    assert torch.equal(loss(score_fn, rows(), generator()), torch.zeros(8).double())


def stratum(sigma, n):
    """In which of n equal strata of LogUniformSigma(0.1, 10) the levels lie."""
    return ((sigma.log10() + 1) / 2 * n).long()


def test_one_draw_puts_one_noise_level_in_each_stratum_of_the_batch():
    recorder = Recorder()
    LOSSES["denoising"](recorder, rows(50), generator())
    assert sorted(stratum(recorder.sigma[:, 0], 50).tolist()) == list(range(50))


def test_several_draws_put_one_noise_level_in_each_stratum_of_the_row():
    recorder = Recorder()
    LOSSES["denoising"](recorder, rows(50), generator(), 5)
    strata = stratum(recorder.sigma, 5).reshape(50, 5)
    assert torch.equal(strata.sort(1).values, torch.arange(5).expand(50, 5))
    # Inside of the strata rows differ.
    assert recorder.sigma.unique().numel() == 250


@pytest.mark.parametrize("n_draws", [1, 8])
def test_draws_average_over_the_same_law(n_draws):
    # A loss that is ln σ, through a score that knows its noise.
    law = LogNormalSigma(0.01, 100.0, mean=0.3, std=0.5)
    m, x = 2000, torch.zeros(2000, 1, dtype=torch.float64)

    def informed(x, sigma):
        noise = x / sigma
        weight = sigma**2 * (1 + sigma**2)
        return -noise / sigma + ((sigma.log() + 3) / weight).sqrt()

    loss = DenoisingLoss(law, 1.0)(informed, x, generator(), n_draws)
    assert loss.mean().item() - 3 == pytest.approx(0.3, abs=4 * 0.5 / (m * n_draws) ** 0.5)
    if n_draws > 1:
        assert loss.std() < 0.5 / n_draws**0.5


@pytest.mark.parametrize("sigma_data", [0.1, 1.0, 30.0])
@pytest.mark.parametrize(
    "law",
    [FixedSigma(0.05), FixedSigma(3.0), geometric_law(0.01, 50.0, 10), LogNormalSigma(0.01, 50)],
    ids=str,
)
def test_the_best_linear_denoiser_of_gaussian_rows_has_the_loss_one(law, sigma_data):
    x = sigma_data * rows(20000, 4)
    loss = DenoisingLoss(law, sigma_data)(
        lambda x, sigma: -x / (sigma_data**2 + sigma**2), x, generator(1)
    )
    # 4 times the loss of a row is χ² with 4 degrees of freedom.
    assert loss.mean().item() == pytest.approx(1, abs=4 * (2 / (4 * 20000)) ** 0.5)


def test_the_interface_is_no_loss():
    with pytest.raises(TypeError, match="^RowLoss is an interface; train with one of its subclass"):
        RowLoss()(score_fn, rows(), generator())


def test_noise_is_averaged_over_several_draws_on_held_out_rows_where_there_is_any():
    assert ImplicitLoss.n_draws == RowLoss.n_draws == 1
    assert SlicedLoss.n_draws > 1
    assert DenoisingLoss.n_draws > 1


class Exact(torch.nn.Module):
    """`score_fn`, or half of it, with its exact divergence."""

    def __init__(self, factor=1.0):
        super().__init__()
        self.factor = factor

    def forward(self, x, sigma):
        return self.factor * score_fn(x, sigma)

    def score_and_divergence(self, x, sigma):
        return exact_divergence(self.forward, x, sigma)


def test_exactly_judged_rows_differ_as_denoised_ones_do_and_vary_less():
    law, x = FixedSigma(0.01), rows(4000)
    found = {}
    for exact in (False, True):
        loss = DenoisingLoss(law, 1.0, exact_held_out=exact)
        one, half = (loss.held_out(Exact(f), x, generator(), 8) for f in (1.0, 0.5))
        found[exact] = half - one
    gap = found[True] - found[False]
    assert abs(gap.mean()) < 4 * gap.std() / math.sqrt(len(x))
    assert found[True].std() < 0.5 * found[False].std()


def test_rows_are_judged_by_denoising_where_the_trace_is_not_at_hand():
    loss, plain = (DenoisingLoss(FixedSigma(0.1), 1.0, exact_held_out=e) for e in (True, False))
    for x, model in [(rows(), score_fn), (rows(d=21), Exact())]:
        judged = loss.held_out(model, x, generator(), 2)
        assert torch.equal(judged, plain.held_out(model, x, generator(), 2))
    # In training the loss is the same.
    assert torch.equal(loss(Exact(), rows(), generator()), plain(Exact(), rows(), generator()))
