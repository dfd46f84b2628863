import math

import numpy as np
import pytest
import torch
from scipy import stats

from skscore.noise import (
    FixedSigma,
    GeometricSigmas,
    LogNormalSigma,
    LogUniformSigma,
    geometric_sigmas,
    karras_sigmas,
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
LAWS = [*CONTINUOUS.values(), FixedSigma(0.3), GeometricSigmas(LOW, HIGH, 7)]
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
    low, high = getattr(law, "sigma_min", 0.3), getattr(law, "sigma_max", 0.3)
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
    law = GeometricSigmas(LOW, HIGH, n_levels)
    sigma, counts = law.quantile(midpoints(20 * n_levels)).unique(return_counts=True)
    torch.testing.assert_close(sigma.flip(0), geometric_sigmas(HIGH, LOW, n_levels))
    assert counts.tolist() == [20] * n_levels


def test_geometric_levels_at_the_edges_of_the_strata():
    law = GeometricSigmas(0.01, 1.0, 3)
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
        lambda low, high: GeometricSigmas(low, high, 5),
        LogUniformSigma,
        LogNormalSigma,
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
        (lambda: GeometricSigmas(LOW, HIGH, 1), "n_levels=1 levels do not span .* give 2 or more"),
        (lambda: GeometricSigmas(LOW, HIGH, 0), "n_levels=0 levels do not span .* give 2 or more"),
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
