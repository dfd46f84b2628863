import math
import pickle

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.integrate import solve_ivp
from scipy.spatial.distance import pdist
from sklearn.base import clone

from skscore.gaussians import GaussianMixtureScore, GaussianScore
from skscore.noise import (
    EDM,
    DiscreteSigmas,
    FixedSigma,
    LogNormalSigma,
    LogUniformSigma,
    SubVariancePreserving,
    TimeUniformSigma,
    VarianceExploding,
    VariancePreserving,
    geometric_sigmas,
    karras_sigmas,
    langevin_step_size,
    largest_distance,
    level_ratio,
    n_levels_for,
    stratified_uniform,
)

SEED = 0
LOW, HIGH = 0.02, 30.0

CONTINUOUS = {
    "log_uniform": LogUniformSigma(LOW, HIGH),
    "log_normal": LogNormalSigma(LOW, HIGH),
    "log_normal_cut_in_half": LogNormalSigma(LOW, HIGH, mean=math.log(HIGH), std=0.7),
    "log_normal_hardly_cut": LogNormalSigma(1e-9, 1e9, mean=0.0, std=1.0),
}
PROCESSES = {
    "ve": VarianceExploding(LOW, HIGH),
    "edm": EDM(LOW, HIGH),
    "vp_linear": VariancePreserving(sigma_min=LOW, sigma_max=HIGH),
    "vp_constant": VariancePreserving("linear", 9.0, 9.0, LOW, HIGH),
    "vp_cosine": VariancePreserving("cosine", sigma_min=LOW, sigma_max=HIGH),
    "sub_vp": SubVariancePreserving(sigma_min=LOW, sigma_max=HIGH),
    "sub_vp_constant": SubVariancePreserving(9.0, 9.0, LOW, HIGH),
}
WITH_SLOPE = CONTINUOUS | {f"time_{name}": TimeUniformSigma(p) for name, p in PROCESSES.items()}


def geometric_law(low, high, n_levels):
    return DiscreteSigmas(tuple(geometric_sigmas(high, low, n_levels).tolist()))


LAWS = [
    *CONTINUOUS.values(),
    FixedSigma(0.3),
    geometric_law(LOW, HIGH, 7),
    TimeUniformSigma(PROCESSES["vp_linear"]),
]
GRIDS = {
    "geometric": geometric_sigmas,
    "karras": karras_sigmas,
    "karras_even": lambda *args: karras_sigmas(*args, rho=1.0),
    "karras_steep": lambda *args: karras_sigmas(*args, rho=50.0),
}


def generator(seed=SEED):
    return torch.Generator().manual_seed(seed)


def midpoints(n, dtype=torch.float64):
    return (torch.arange(n, dtype=dtype) + 0.5) / n


def distribution_of_log(law):
    """The law of ln σ as it is defined."""
    ends = np.log([law.sigma_min, law.sigma_max])
    if isinstance(law, LogUniformSigma):
        return stats.uniform(ends[0], ends[1] - ends[0])
    return stats.truncnorm(*(ends - law.mean) / law.std, loc=law.mean, scale=law.std)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_a_continuous_law_is_its_closed_form(name):
    law, n = CONTINUOUS[name], 2000
    # n points in the middle of n equal strata are 1/2n away from a distribution, in Kolmogorov's
    # distance, if and only if they are its quantiles.
    sigma = law.quantile(midpoints(n)).log().numpy()
    distance = stats.kstest(sigma, distribution_of_log(law).cdf).statistic
    assert distance == pytest.approx(0.5 / n, rel=1e-6)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_random_and_stratified_draws_follow_the_law(name):
    law, n = CONTINUOUS[name], 5000
    independent = torch.rand(n, generator=generator(), dtype=torch.float64)
    # Kolmogorov's √n D exceeds 1.95 once in a thousand times.
    for u, limit in ((independent, 1.95 / n**0.5), (stratified_uniform(n, generator()), 2 / n)):
        sigma = law.quantile(u).log().numpy()
        assert stats.kstest(sigma, distribution_of_log(law).cdf).statistic < limit


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_quantiles_are_monotone_and_stay_in_the_range(law):
    sigma = law.quantile(torch.cat([torch.zeros(1), midpoints(1000), torch.ones(1)]).double())
    steps = sigma.diff()
    assert (steps >= 0).all() or (steps <= 0).all()
    known = {FixedSigma: (0.3, 0.3), DiscreteSigmas: (LOW, HIGH), TimeUniformSigma: (LOW, HIGH)}
    low, high = known.get(type(law)) or (law.sigma_min, law.sigma_max)
    assert sigma.min().item() >= low * (1 - 1e-12)
    assert sigma.max().item() <= high * (1 + 1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", CONTINUOUS)
def test_a_continuous_law_ends_where_it_is_told(name, dtype):
    law = CONTINUOUS[name]
    ends = law.quantile(torch.tensor([0.0, 1.0], dtype=dtype))
    expected = torch.tensor([law.sigma_min, law.sigma_max], dtype=dtype)
    torch.testing.assert_close(ends, expected, rtol=4 * torch.finfo(dtype).eps, atol=0)


def test_the_log_normal_law_never_leaves_its_range_by_rounding():
    # Far in the tail Φ⁻¹ of the ends is coarse or infinite, and the range is all there is.
    law = LogNormalSigma(0.5, 10.0, mean=-12.0, std=1.2)
    sigma = law.quantile(torch.linspace(0, 1, 101, dtype=torch.float64))
    assert sigma.isfinite().all()
    assert sigma.min() >= 0.5
    assert sigma.max() <= 10.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(), (5,), (5, 1), (2, 3, 4)])
@pytest.mark.parametrize("law", LAWS, ids=str)
def test_quantiles_keep_shape_and_type(law, shape, dtype):
    sigma = law.quantile(torch.full(shape, 0.4, dtype=dtype))
    assert sigma.shape == shape
    assert sigma.dtype == dtype


def test_the_fixed_law_is_one_level():
    assert FixedSigma(0.3).quantile(midpoints(50)).unique().tolist() == [0.3]


@pytest.mark.parametrize("n_levels", [2, 3, 10, 17])
def test_geometric_levels_are_equally_likely(n_levels):
    law = geometric_law(LOW, HIGH, n_levels)
    sigma, counts = law.quantile(midpoints(20 * n_levels)).unique(return_counts=True)
    assert torch.equal(sigma.flip(0), geometric_sigmas(HIGH, LOW, n_levels))
    assert counts.tolist() == [20] * n_levels


def test_geometric_levels_at_the_edges_of_the_strata():
    law = geometric_law(0.01, 1.0, 3)
    u = torch.tensor([0.0, 0.33, 0.34, 0.66, 0.67, 1 - 2**-24, 1.0])
    expected = [1.0, 1.0, 0.1, 0.1, 0.01, 0.01, 0.01]
    torch.testing.assert_close(law.quantile(u), torch.tensor(expected))


@pytest.mark.parametrize("n", [1, 2, 7, 100])
def test_stratified_draws_fall_one_in_each_stratum(n):
    u = stratified_uniform(n, generator())
    assert u.shape == (n,)
    assert sorted((u * n).long().tolist()) == list(range(n))


def test_stratified_draws_are_uniform_in_their_strata_and_in_random_order():
    n, m = 20, 500
    u = torch.stack([stratified_uniform(n, generator(seed)) for seed in range(m)]).double()
    inside = (u * n).frac().ravel()
    assert stats.kstest(inside.numpy(), "uniform").statistic < 1.95 / (n * m) ** 0.5
    # Each place in the order is U(0, 1) by itself.
    for place in (0, n - 1):
        assert stats.kstest(u[:, place].numpy(), "uniform").statistic < 1.95 / m**0.5


def test_the_mean_of_stratified_draws_varies_n_squared_times_less():
    n, m = 20, 500
    means = [stratified_uniform(n, generator(seed)).mean().item() for seed in range(m)]
    # A variance of 1/(12 n) of independent draws against 1/(12 n³); its estimate is off by 6 %.
    assert np.var(means) == pytest.approx(1 / (12 * n**3), rel=0.25)


def test_stratified_draws_never_round_up_to_one(monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda n, **kwargs: torch.full((n,), 1 - 2**-24))
    n = 1000
    # The unclamped draw of the last stratum is the float32 next to it: exactly 1.
    assert ((n - 1) + torch.rand(1)) / n == 1
    assert stratified_uniform(n, generator()).max() < 1


def test_stratified_draws_follow_their_generator_alone():
    before = torch.get_rng_state()
    a, b, other = (stratified_uniform(50, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, other)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("n_levels", [2, 3, 24, 1000])
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_grids_decrease_from_end_to_end_exactly(grid, n_levels):
    sigmas = grid(HIGH, LOW, n_levels)
    assert sigmas.shape == (n_levels,)
    assert sigmas.dtype == torch.float64
    assert (sigmas.diff() < 0).all()
    assert (sigmas[0].item(), sigmas[-1].item()) == (HIGH, LOW)


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_a_grid_of_one_level_is_the_smallest(grid):
    assert grid(HIGH, LOW, 1).tolist() == [LOW]


def test_geometric_levels_have_one_ratio():
    sigmas = geometric_sigmas(HIGH, LOW, 11)
    ratios = sigmas[1:] / sigmas[:-1]
    torch.testing.assert_close(ratios, torch.full((10,), (LOW / HIGH) ** 0.1).double())


@pytest.mark.parametrize("rho", [0.5, 1.0, 3.0, 7.0])
def test_karras_levels_are_equation_5_of_the_paper(rho):
    n = 9
    expected = [
        (HIGH ** (1 / rho) + i / (n - 1) * (LOW ** (1 / rho) - HIGH ** (1 / rho))) ** rho
        for i in range(n)
    ]
    found = karras_sigmas(HIGH, LOW, n, rho=rho)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_karras_levels_default_to_rho_7_and_tend_to_the_geometric_ones():
    assert torch.equal(karras_sigmas(HIGH, LOW, 9), karras_sigmas(HIGH, LOW, 9, rho=7.0))
    far = karras_sigmas(HIGH, LOW, 9, rho=1e5)
    torch.testing.assert_close(far, geometric_sigmas(HIGH, LOW, 9), rtol=1e-3, atol=0)
    assert karras_sigmas(HIGH, LOW, 3, rho=7.0)[1] > far[4]


BAD_RANGES = [(0.0, 1.0), (-1.0, 1.0), (1.0, 1.0), (2.0, 1.0), (0.1, math.inf), (math.nan, 1.0)]


@pytest.mark.parametrize(("low", "high"), BAD_RANGES)
@pytest.mark.parametrize(
    "make",
    [
        lambda low, high: DiscreteSigmas((high, 0.5, low)),
        LogUniformSigma,
        LogNormalSigma,
        *(
            lambda low, high, p=p: clone(p).set_params(sigma_min=low, sigma_max=high).time_range()
            for p in PROCESSES.values()
        ),
        *(
            lambda low, high, p=p: clone(p).set_params(sigma_min=low, sigma_max=high).sigmas(5)
            for p in PROCESSES.values()
        ),
        lambda low, high: n_levels_for(high, low, 3),
        lambda low, high: geometric_sigmas(high, low, 5),
        lambda low, high: karras_sigmas(high, low, 5),
        lambda low, high: karras_sigmas(high, low, 1),
    ],
)
def test_levels_that_bound_no_range_are_refused(make, low, high):
    message = f"sigma_min={low} and sigma_max={high} do not bound .* choose 0 < sigma_min < sigma"
    with pytest.raises(ValueError, match=message):
        make(low, high)


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("sigma", FixedSigma),
        ("std", lambda value: LogNormalSigma(LOW, HIGH, std=value)),
        ("rho", lambda value: karras_sigmas(HIGH, LOW, 5, rho=value)),
    ],
)
def test_numbers_that_are_not_positive_are_refused(name, make, value):
    with pytest.raises(ValueError, match=f"^{name}={value} is not a positive finite number"):
        make(value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DiscreteSigmas(()), r"levels=\(\) do not span a range; give 2 or more"),
        (lambda: DiscreteSigmas((0.5,)), r"levels=\(0.5,\) do not span a range; give 2 or more"),
        (lambda: EDM().law(1), r"levels=\(0.02,\) do not span a range; give 2 or more"),
        (lambda: EDM().sigmas(0), "n_levels=0 is not a number .* give 1 or more"),
        (lambda: VarianceExploding().sigmas(0), "n_levels=0 is not a number .* give 1 or more"),
        (lambda: VariancePreserving().sigmas(-1), "n_levels=-1 is not a number .* give 1 or more"),
        (lambda: geometric_sigmas(HIGH, LOW, 0), "n_levels=0 is not a number .* give 1 or more"),
        (lambda: karras_sigmas(HIGH, LOW, -3), "n_levels=-3 is not a number .* give 1 or more"),
    ],
)
def test_too_few_levels_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_laws_are_values():
    assert LogUniformSigma(LOW, HIGH) == LogUniformSigma(LOW, HIGH)
    assert hash(FixedSigma(0.1)) != hash(FixedSigma(0.2))
    with pytest.raises(AttributeError):
        FixedSigma(0.1).sigma = 0.2


@pytest.mark.parametrize("levels", [(3.0, 1.0, 1.0, 0.5), (3.0, 0.7, 1.0, 0.5), (3.0, 4.0, 0.5)])
def test_levels_that_do_not_decrease_are_refused(levels):
    with pytest.raises(ValueError, match=r"levels=\(3.0, .*0.5\) are not strictly decreasing"):
        DiscreteSigmas(levels)


@pytest.mark.parametrize("name", WITH_SLOPE)
def test_the_slope_is_the_derivative_of_the_quantile(name):
    law, h = WITH_SLOPE[name], 1e-6
    u = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    expected = (law.quantile(u + h) - law.quantile(u - h)) / (2 * h)
    torch.testing.assert_close(law.slope(u), expected, rtol=1e-6, atol=0)


def bump(sigma, center):
    return torch.exp(-4 * (sigma.log() - center).square()) / sigma


@pytest.mark.parametrize("name", WITH_SLOPE)
def test_a_mean_weighted_by_the_slope_is_an_integral_over_the_levels(name):
    law, u = WITH_SLOPE[name], midpoints(100_000)
    low, high = (law.sigma_min, law.sigma_max) if name in CONTINUOUS else (LOW, HIGH)
    center = law.quantile(torch.tensor(0.5, dtype=torch.float64)).log().item()
    found = (law.slope(u) * bump(law.quantile(u), center)).mean().item()
    upper, lower = (math.erf(2 * (math.log(end) - center)) for end in (high, low))
    assert found == pytest.approx(math.pi**0.5 / 4 * (upper - lower), rel=1e-6)


def test_a_mean_weighted_by_the_slope_of_discrete_levels_is_the_trapezoid_rule():
    levels = (30.0, 4.0, 3.9, 1.0, 0.3, 0.02)
    law, u = DiscreteSigmas(levels), midpoints(60)
    sigma = torch.tensor(levels, dtype=torch.float64)
    found = (law.slope(u) * bump(law.quantile(u), 0)).mean()
    expected = -torch.trapezoid(bump(sigma, 0), sigma)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    assert law.slope(u).mean().item() == pytest.approx(30.0 - 0.02, rel=1e-12)


def test_discrete_levels_are_those_given_to_the_last_bit():
    levels = (math.pi, 0.7, 0.1)
    assert DiscreteSigmas(levels).quantile(midpoints(3)).tolist() == list(levels)
    single = DiscreteSigmas(levels).quantile(midpoints(3, torch.float32))
    assert torch.equal(single, torch.tensor(levels, dtype=torch.float32))


def test_one_level_has_the_slope_zero():
    assert FixedSigma(0.3).slope(midpoints(50)).unique().tolist() == [0.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("law", LAWS, ids=str)
def test_slopes_keep_shape_and_type(law, dtype):
    slope = law.slope(torch.full((2, 3, 1), 0.4, dtype=dtype))
    assert slope.shape == (2, 3, 1)
    assert slope.dtype == dtype
    exact = law.slope(torch.tensor([0.4], dtype=dtype).double())
    torch.testing.assert_close(slope[0, 0].double(), exact, rtol=1e-5, atol=0)


def between(process, n=41):
    """Times from that of the smallest level to that of the largest."""
    return torch.linspace(*process.time_range(), n, dtype=torch.float64)


def derivative(function, t):
    h = 1e-5 * (t + 0.01)
    return (function(t + h) - function(t - h)) / (2 * h)


def on(*names):
    return pytest.mark.parametrize("process", [PROCESSES[n] for n in names], ids=names)


every_process = on(*PROCESSES)


@every_process
def test_time_inverts_the_level(process):
    sigmas, t = geometric_sigmas(HIGH, LOW, 41), between(process)
    torch.testing.assert_close(process.level(process.time(sigmas)), sigmas, rtol=1e-12, atol=0)
    torch.testing.assert_close(process.time(process.level(t)), t, rtol=1e-12, atol=1e-14)
    ends = process.level(torch.tensor(process.time_range(), dtype=torch.float64))
    torch.testing.assert_close(
        ends, torch.tensor([LOW, HIGH], dtype=torch.float64), rtol=1e-12, atol=0
    )


@every_process
def test_the_level_grows_and_is_the_noise_over_what_is_left_of_the_data(process):
    t = between(process)
    level, alpha, sigma = process.level(t), process.alpha(t), process.sigma(t)
    assert (level.diff() > 0).all()
    assert (alpha.diff() <= 0).all()
    torch.testing.assert_close(sigma / alpha, level, rtol=1e-14, atol=0)
    torch.testing.assert_close(process.snr(t), alpha**2 / sigma**2, rtol=1e-12, atol=0)


@on("vp_linear", "vp_constant", "vp_cosine")
def test_the_variance_is_preserved(process):
    t = between(process)
    total = process.alpha(t) ** 2 + process.sigma(t) ** 2
    torch.testing.assert_close(total, torch.ones_like(t), rtol=1e-13, atol=0)


@on("sub_vp", "sub_vp_constant")
def test_the_noise_of_sub_vp_is_the_variance_of_that_of_vp(process):
    t = between(process)
    vp = VariancePreserving("linear", process.beta_min, process.beta_max)
    torch.testing.assert_close(process.alpha(t), vp.alpha(t), rtol=1e-14, atol=0)
    torch.testing.assert_close(process.sigma(t), vp.sigma(t) ** 2, rtol=1e-12, atol=0)


@on("vp_linear", "vp_constant", "sub_vp", "sub_vp_constant")
def test_the_integral_of_the_linear_rate_decides_what_is_left_of_the_data(process):
    t = between(process)
    low, high = process.beta_min, process.beta_max
    expected = torch.exp(-low * t / 2 - (high - low) * t**2 / 4)
    torch.testing.assert_close(process.alpha(t), expected, rtol=1e-13, atol=0)


def test_the_cosine_schedule_is_an_angle():
    process = PROCESSES["vp_cosine"]
    t = between(process)
    torch.testing.assert_close(process.alpha(t), torch.cos(math.pi / 2 * t))
    torch.testing.assert_close(process.sigma(t), torch.sin(math.pi / 2 * t))


def test_the_levels_of_ve_and_edm_are_those_of_their_papers():
    t = between(PROCESSES["ve"])
    torch.testing.assert_close(t, torch.linspace(0, 1, 41).double())
    torch.testing.assert_close(PROCESSES["ve"].sigma(t), LOW * (HIGH / LOW) ** t)
    t = between(PROCESSES["edm"])
    assert torch.equal(PROCESSES["edm"].sigma(t), t)


@every_process
def test_rates_are_derivatives(process):
    t = between(process)[1:-1]
    expected = derivative(process.level, t)
    torch.testing.assert_close(process.level_rate(t), expected, rtol=1e-6, atol=0)
    expected = derivative(lambda t: process.alpha(t).log(), t)
    torch.testing.assert_close(process.log_alpha_rate(t), expected, rtol=1e-6, atol=1e-9)
    x = torch.randn(len(t), 2, generator=generator(), dtype=torch.float64)
    expected = process.log_alpha_rate(t)[:, None] * x
    assert torch.equal(process.drift(x, t[:, None]), expected)


def beta(process, t):
    return process.beta_min + (process.beta_max - process.beta_min) * t


@pytest.mark.parametrize(
    ("name", "square"),
    [
        ("ve", lambda p, t: 2 * p.sigma(t) ** 2 * math.log(HIGH / LOW)),
        ("edm", lambda p, t: 2 * t),
        ("vp_linear", beta),
        ("vp_constant", beta),
        ("vp_cosine", lambda p, t: math.pi * torch.tan(math.pi * t / 2)),
        ("sub_vp", lambda p, t: beta(p, t) * (1 - p.alpha(t) ** 4)),
        ("sub_vp_constant", lambda p, t: beta(p, t) * (1 - p.alpha(t) ** 4)),
    ],
)
def test_the_diffusion_is_its_closed_form(name, square):
    process = PROCESSES[name]
    t = between(process)
    torch.testing.assert_close(process.diffusion(t) ** 2, square(process, t), rtol=1e-10, atol=0)


@every_process
def test_the_diffusion_makes_up_for_what_the_drift_does_to_the_variance(process):
    t = between(process)[1:-1]
    f, variance = process.log_alpha_rate(t), process.sigma(t) ** 2
    expected = derivative(lambda t: process.sigma(t) ** 2, t) - 2 * f * variance
    torch.testing.assert_close(process.diffusion(t) ** 2, expected, rtol=1e-5, atol=1e-7)


@every_process
def test_the_stochastic_equation_has_the_moments_of_the_process(process):
    t = between(process, 5)

    def rates(t, moments):
        t = torch.tensor(t, dtype=torch.float64)
        f, g = process.log_alpha_rate(t).item(), process.diffusion(t).item()
        return f * moments[0], 2 * f * moments[1] + g**2

    alpha, variance = process.alpha(t).numpy(), process.sigma(t).numpy() ** 2
    ends, start = (t[0].item(), t[-1].item()), (alpha[0], variance[0])
    path = solve_ivp(rates, ends, start, "DOP853", t.numpy(), rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(path.y, [alpha, variance], rtol=1e-7)


def eye(d):
    return torch.eye(d, dtype=torch.float64)


def gaussian(d=3):
    root = torch.randn(d, d, generator=generator(), dtype=torch.float64)
    mean = torch.arange(d, dtype=torch.float64) - 0.7
    return mean, root @ root.mT + 0.1 * eye(d)


@every_process
def test_the_prior_has_the_moments_of_the_last_time(process):
    mean, covariance = gaussian()
    last = between(process)[-1]
    alpha, sigma = process.alpha(last), process.sigma(last)
    found = process.prior(mean, covariance)
    expected = alpha * mean, alpha**2 * covariance + sigma**2 * eye(3)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    single = process.prior(mean.float(), covariance.float())
    assert single[0].dtype == single[1].dtype == torch.float32


def points_of(process, mean, covariance):
    """Points x_t of Gaussian data, (n, d), at times (n, 1)."""
    t = between(process)[:, None]
    z, noise = torch.randn(2, len(t), len(mean), generator=generator(1), dtype=torch.float64)
    x = mean + z @ torch.linalg.cholesky(covariance).mT
    return process.alpha(t) * x + process.sigma(t) * noise, t


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@every_process
def test_points_and_times_are_points_and_levels_in_other_coordinates(process, dtype):
    x, t = points_of(process, *gaussian())
    y, level = process.to_level(x.to(dtype), t)
    assert y.dtype == level.dtype == dtype
    torch.testing.assert_close(y, (x / process.alpha(t)).to(dtype))
    torch.testing.assert_close(level, process.level(t).to(dtype))
    x_again, t_again = process.from_level(y, level)
    rtol = 100 * torch.finfo(dtype).eps
    assert x_again.dtype == dtype
    assert t_again.dtype == torch.float64
    torch.testing.assert_close(x_again, x.to(dtype), rtol=rtol, atol=rtol)
    torch.testing.assert_close(t_again, t, rtol=rtol, atol=rtol)


@every_process
def test_one_score_of_blurred_data_is_the_score_of_every_process(process):
    mean, covariance = gaussian()
    x, t = points_of(process, mean, covariance)
    alpha, sigma = process.alpha(t), process.sigma(t)
    total = alpha[..., None] ** 2 * covariance + sigma[..., None] ** 2 * eye(3)
    expected = -torch.linalg.solve(total, (x - alpha * mean)[..., None])[..., 0]
    found = process.score(GaussianScore(mean, covariance), x, t)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    single = process.score(GaussianScore(mean, covariance), x.float(), t)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), expected, rtol=1e-3, atol=1e-3)


@every_process
def test_tweedie_gives_the_posterior_mean_of_a_mixture(process):
    weights = torch.tensor([0.3, 0.7], dtype=torch.float64)
    means = torch.tensor([[2.0, -1.0], [-1.5, 0.5]], dtype=torch.float64)
    covariances = torch.stack([gaussian(2)[1], 0.3 * eye(2)])
    x, t = points_of(process, means[0], covariances[0])
    alpha, sigma, level = (f(t) for f in (process.alpha, process.sigma, process.level))
    expected = posterior_mean(weights, means, covariances, alpha, sigma, x)
    score_fn = GaussianMixtureScore(weights, means, covariances)
    found = x / alpha + level**2 * score_fn(x / alpha, level)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    found = (x + sigma**2 * process.score(score_fn, x, t)) / alpha
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def posterior_mean(weights, means, covariances, alpha, sigma, x):
    """E[x_0 | α x_0 + σ ε = x] for a Gaussian mixture, row by row and component by component."""
    rows = []
    for a, s, point in zip(alpha[:, 0], sigma[:, 0], x, strict=True):
        joint, guess = [], []
        for weight, mean, covariance in zip(weights, means, covariances, strict=True):
            total = a**2 * covariance + s**2 * eye(len(mean))
            normal = torch.distributions.MultivariateNormal(a * mean, total)
            joint.append(weight.log() + normal.log_prob(point))
            guess.append(mean + a * covariance @ torch.linalg.solve(total, point - a * mean))
        rows.append(torch.stack(joint).softmax(0) @ torch.stack(guess))
    return torch.stack(rows)


@pytest.mark.parametrize("n_levels", [2, 3, 24])
@every_process
def test_the_levels_of_a_solver_decrease_from_end_to_end_exactly(process, n_levels):
    sigmas = process.sigmas(n_levels)
    assert sigmas.shape == (n_levels,)
    assert sigmas.dtype == torch.float64
    assert (sigmas.diff() < 0).all()
    assert (sigmas[0].item(), sigmas[-1].item()) == (HIGH, LOW)
    assert process.sigmas(1).tolist() == [LOW]


@on(*(name for name in PROCESSES if name != "edm"))
def test_the_times_of_a_solver_are_equidistant(process):
    steps = process.time(process.sigmas(24)).diff()
    first, last = process.time_range()
    expected = torch.full((23,), (first - last) / 23, dtype=torch.float64)
    torch.testing.assert_close(steps, expected, rtol=0, atol=1e-12)


def test_the_solvers_of_ve_and_edm_visit_the_levels_of_their_papers():
    found, expected = PROCESSES["ve"].sigmas(24), geometric_sigmas(HIGH, LOW, 24)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    for rho in (3.0, 7.0):
        found = EDM(LOW, HIGH, rho=rho).sigmas(24)
        assert torch.equal(found, karras_sigmas(HIGH, LOW, 24, rho))


@every_process
def test_each_process_has_a_law_to_train_with(process):
    special = {
        "EDM": LogNormalSigma(LOW, HIGH, -1.2, 1.2),
        "VarianceExploding": LogUniformSigma(LOW, HIGH),
    }
    assert process.law() == special.get(type(process).__name__, TimeUniformSigma(process))
    assert process.law(5) == DiscreteSigmas(tuple(process.sigmas(5).tolist()))


def test_the_law_of_edm_takes_its_mean_and_deviation():
    assert EDM(LOW, HIGH, P_mean=0.5, P_std=2.0).law() == LogNormalSigma(LOW, HIGH, 0.5, 2.0)


def test_times_drawn_evenly_have_levels_of_a_known_law():
    u = midpoints(1000)
    found = TimeUniformSigma(PROCESSES["ve"]).quantile(u)
    torch.testing.assert_close(found, LogUniformSigma(LOW, HIGH).quantile(u), rtol=1e-12, atol=0)
    found = TimeUniformSigma(PROCESSES["edm"]).quantile(u)
    torch.testing.assert_close(found, LOW + u * (HIGH - LOW), rtol=1e-12, atol=0)
    # An even angle: the level has a Cauchy law, cut at both ends.
    found = TimeUniformSigma(PROCESSES["vp_cosine"]).quantile(u)
    cut = stats.cauchy.cdf([LOW, HIGH])
    expected = stats.cauchy.ppf(cut[0] + u.numpy() * (cut[1] - cut[0]))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-10)


@every_process
def test_a_law_of_even_times_ends_where_it_is_told(process):
    ends = TimeUniformSigma(process).quantile(torch.tensor([0.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(
        ends, torch.tensor([LOW, HIGH], dtype=torch.float64), rtol=1e-12, atol=0
    )


@pytest.mark.parametrize(
    ("make", "highest"),
    [
        (VariancePreserving, math.sqrt(math.expm1(10.05))),
        (SubVariancePreserving, 2 * math.sinh(10.05 / 2)),
    ],
)
def test_a_level_that_is_not_reached_in_time_is_refused(make, highest):
    for reached in (0.999 * highest, highest):
        assert make(sigma_max=reached).time_range()[1] == pytest.approx(1, abs=1e-3)
    process = make(sigma_max=200.0)
    message = (
        f"^sigma_max=200.0 is above {highest:.4g}, the noise level of {make.__name__} at its last "
        "time t=1; use a smaller sigma_max, or a larger beta_max"
    )
    for use in (process.time_range, lambda: process.sigmas(3), lambda: process.law(3)):
        with pytest.raises(ValueError, match=message):
            use()
    assert make(sigma_max=200.0, beta_max=30.0).time_range()[1] < 1


@pytest.mark.parametrize("beta_max", [2.0, 5.0, 8.0, 13.0, 19.0, 20.0, 27.0])
@pytest.mark.parametrize("make", [VariancePreserving, SubVariancePreserving])
def test_the_level_at_the_last_time_is_in_reach_whatever_the_rounding(make, beta_max):
    for beta_min in (0.1, 0.3, 0.7, 1.1):
        process = make(beta_min=beta_min, beta_max=beta_max)
        highest = process.level(torch.ones((), dtype=torch.float64)).item()
        last = process.set_params(sigma_max=highest).time_range()[1]
        assert last == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize(
    "use",
    [
        lambda process: process.time_range(),
        lambda process: process.alpha(torch.ones(1)),
        lambda process: process.level(torch.ones(1)),
        lambda process: process.sigmas(3),
    ],
)
def test_bad_schedules_and_rates_are_refused_where_they_are_used(use):
    with pytest.raises(ValueError, match=r"schedule='quadratic' is none of \('linear', 'cosine'\)"):
        use(VariancePreserving("quadratic"))
    for low, high in [(0.0, 1.0), (-1.0, 1.0), (2.0, 1.0), (0.1, math.inf), (math.nan, 1.0)]:
        message = f"beta_min={low} and beta_max={high} are no rates; choose 0 < beta_min <= beta"
        for make in (VariancePreserving, SubVariancePreserving):
            with pytest.raises(ValueError, match=message):
                use(make(beta_min=low, beta_max=high))
    use(VariancePreserving("cosine", beta_min=-1.0))  # not read


@every_process
def test_a_process_is_an_estimator_that_copies_and_pickles(process):
    t = between(process)
    for again in (clone(process), pickle.loads(pickle.dumps(process))):
        assert again is not process
        assert again.get_params() == process.get_params()
        assert torch.equal(again.level(t), process.level(t))
        again.set_params(sigma_min=0.1, sigma_max=3.0)
        assert again.sigmas(3)[[0, -1]].tolist() == [3.0, 0.1]
    assert process.get_params()["sigma_max"] == HIGH
    assert {"sigma_min", "sigma_max"} <= set(process.get_params())
    with pytest.raises(ValueError, match="Invalid parameter 'tau'"):
        clone(process).set_params(tau=1.0)


@every_process
def test_a_law_of_a_process_pickles(process):
    u = midpoints(20)
    for law in (process.law(), process.law(5), TimeUniformSigma(process)):
        again = pickle.loads(pickle.dumps(law))
        assert torch.equal(again.quantile(u), law.quantile(u))


@pytest.mark.parametrize("d", [100, 784, 3 * 32**2, 10**5])
def test_the_ratio_of_levels_solves_the_overlap_of_technique_2(d):
    gamma = level_ratio(d)
    shift = math.sqrt(2 * d) * (gamma - 1)
    overlap = stats.norm.cdf(shift + 3 * gamma) - stats.norm.cdf(shift - 3 * gamma)
    assert 1 < gamma < math.sqrt(2)
    assert overlap == pytest.approx(0.5, abs=1e-9)


def test_the_ratio_of_levels_is_at_most_the_root_of_two_and_falls_with_the_dimension():
    ratios = [level_ratio(d) for d in (1, 2, 10, 50, 60, 100, 1000)]
    assert ratios[:4] == [math.sqrt(2)] * 4
    assert all(a > b for a, b in zip(ratios[3:-1], ratios[4:], strict=True))


@pytest.mark.parametrize("d", [2, 784, 3 * 32**2])
@pytest.mark.parametrize(("low", "high"), [(0.01, 50.0), (0.5, 0.6), (1.0, 1.01)])
def test_the_number_of_levels_is_the_smallest_that_covers_the_range(low, high, d):
    n, gamma = n_levels_for(high, low, d), level_ratio(d)
    assert n >= 2
    sigmas = geometric_sigmas(high, low, n)
    assert sigmas[0] / sigmas[1] <= gamma * (1 + 1e-12)
    if n > 2:
        fewer = geometric_sigmas(high, low, n - 1)
        assert fewer[0] / fewer[1] > gamma


@pytest.mark.parametrize("n", [2, 7, 24, 60])
def test_the_number_of_levels_does_not_depend_on_rounding(n):
    assert n_levels_for(level_ratio(10) ** (n - 1), 1.0, 10) == n


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("n", [1, 2, 20, 300])
def test_the_largest_distance_is_that_of_all_pairs(n, offset, dtype):
    x = (torch.randn(n, 4, generator=generator(), dtype=torch.float64) + offset).to(dtype)
    expected = pdist(x.double().numpy()).max(initial=0)
    rel = 1e-5 if dtype == torch.float32 else 1e-7
    assert largest_distance(x) == pytest.approx(expected, rel=rel, abs=1e-12)


def test_the_largest_distance_of_a_long_table_looks_at_2000_rows_from_end_to_end():
    x = torch.arange(100_000, dtype=torch.float64)[:, None]
    # All pairs would be 80 GB.
    assert largest_distance(x) == pytest.approx(99_999, rel=1e-9)
    # One row in 50 is looked at: wherever 51 neighbours stand out one is seen, and a single one is
    # not unless it is that.
    assert (
        largest_distance((12_345 < x[:, 0]).logical_and(x[:, 0] <= 12_396)[:, None].double()) == 1
    )
    assert largest_distance((x == 10).double()) == 0


def variance_ratio(eta, gamma, n_steps):
    """The variance of a chain after its steps at a level, over that of the level, step by step."""
    sigma = 0.3
    alpha, variance = eta * sigma**2, gamma**2 * sigma**2
    for _ in range(n_steps):
        # x + α s + √(2α) z of point data, s = -x/σ².
        variance = (1 - alpha / sigma**2) ** 2 * variance + 2 * alpha
    return variance / sigma**2


@pytest.mark.parametrize("n_steps", [1, 3, 5, 100])
@pytest.mark.parametrize("gamma", [1.04, 1.2, math.sqrt(2), 3.0])
def test_the_step_brings_the_variance_of_a_chain_nearest_to_that_of_the_level(gamma, n_steps):
    eta = np.linspace(1e-4, 0.99, 20_000)
    error = abs(variance_ratio(eta, gamma, n_steps) - 1)
    step_size = langevin_step_size(gamma, n_steps)
    assert step_size / 2 == pytest.approx(eta[error.argmin()], abs=1e-3)
    assert abs(variance_ratio(step_size / 2, gamma, n_steps) - 1) <= error.min() + 1e-7
