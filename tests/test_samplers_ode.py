import numpy as np
import pytest
import torch
from solvers import (
    LEVELS,
    PROCESSES,
    SEED,
    NormalLaw,
    Recorder,
    check_estimator,
    exact_score,
    gaussian_score,
    generator,
    measured_order,
    mixture_errors,
    normal,
    standardised_mixture,
)

from skscore.datasets import (
    gaussian_mixture_1d,
    random_gaussian_mixture,
    ring_of_gaussians,
    two_modes,
)
from skscore.noise import geometric_sigmas, karras_sigmas
from skscore.samplers import (
    EDMSampler,
    ProbabilityFlowSampler,
    dpm_solver,
    edm_sampler,
    flow_velocity,
    probability_flow,
    runge_kutta,
)

LAW = NormalLaw([1.0, -2.0], [[1.0, 0.6], [0.6, 0.8]])
GRIDS = {
    "karras": lambda sigma_min: lambda n: karras_sigmas(10.0, sigma_min, n),
    "geometric": lambda sigma_min: lambda n: geometric_sigmas(10.0, sigma_min, n),
} | {
    name: lambda sigma_min, process=process: process(sigma_min=sigma_min).sigmas
    for name, process in PROCESSES.items()
}


def flow_error(x, sigmas, method):
    """The largest error of the end of the flow of a Gaussian."""
    truth = LAW.flow(x, sigmas[0], sigmas[-1])
    if method == "dpm_solver":
        return (dpm_solver(LAW.score, x, sigmas) - LAW.denoised(truth, sigmas[-1])).abs().max()
    found = probability_flow(LAW.score, x, sigmas, method=method, denoise=False)
    return (found - truth).abs().max()


# On Gaussians, whose flow is known


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(
    ("method", "sigma_min", "steps", "order", "tolerance", "bound"),
    [
        ("heun", 0.005, (32, 64, 128, 256), 2, 0.2, 2e-3),
        ("dpm_solver", 0.005, (64, 128, 256, 512), 2, 0.3, 2e-3),
        # Where σ ∝ √t near the end, as in VP, steps of ln σ down to .005 are long for any number
        # of levels that is in use, and the order is below 4; from .1 on it shows.
        ("rk4", 0.1, (64, 128, 256), 4, 0.4, 1e-7),
    ],
)
def test_the_error_on_a_gaussian_falls_with_the_order_of_the_method(
    grid, method, sigma_min, steps, order, tolerance, bound
):
    x, sigmas = 10 * normal(5, 2), GRIDS[grid](sigma_min)
    errors = [flow_error(x, sigmas(n + 1), method).item() for n in steps]
    assert measured_order(steps, errors) == pytest.approx(order, abs=tolerance)
    for coarse, fine in zip(errors[:-1], errors[1:], strict=True):
        assert coarse / fine == pytest.approx(2**order, rel=0.15)
    assert errors[-1] < bound  # of points some 10 from the origin


@pytest.mark.parametrize("grid", GRIDS)
def test_rk4_converges_down_to_small_levels(grid):
    x, sigmas = 10 * normal(5, 2), GRIDS[grid](0.005)
    errors = [flow_error(x, sigmas(n + 1), "rk4").item() for n in (16, 64, 256)]
    assert errors[0] > 5**2 * errors[1] > 5**4 * errors[2]
    assert errors[-1] < 1e-4


@pytest.mark.parametrize("grid", GRIDS)
def test_rk45_keeps_its_tolerance(grid):
    x, sigmas = 10 * normal(5, 2), GRIDS[grid](0.005)(12)
    ends = []
    for tolerance in (1e-2, 1e-4, 1e-6, 1e-8):
        states = probability_flow(
            LAW.score,
            x,
            sigmas,
            method="rk45",
            rtol=tolerance,
            atol=tolerance,
            denoise=False,
            return_trajectory=True,
        )
        errors = torch.stack(
            [
                (state - LAW.flow(x, sigmas[0], sigma)).abs().max()
                for state, sigma in zip(states, sigmas, strict=True)
            ]
        )
        # Between its own steps, where |x| is some 10, it interpolates.
        assert errors.max() < 20 * tolerance
        assert errors[-1] < 3 * tolerance
        ends.append(errors[-1])
    assert (np.diff(np.log(ends)) < -np.log(10)).all()


def test_rk45_takes_the_same_steps_whatever_the_levels_between_the_ends():
    x, sigmas = 10 * normal(5, 2), karras_sigmas(10.0, 0.01, 30)
    runs = [Recorder(LAW.score), Recorder(LAW.score)]
    every, two = (
        probability_flow(run, x, levels, method="rk45")
        for run, levels in zip(runs, (sigmas, sigmas[[0, -1]]), strict=True)
    )
    torch.testing.assert_close(every, two, rtol=1e-12, atol=1e-12)
    assert runs[0].calls == runs[1].calls
    tight = Recorder(LAW.score)
    probability_flow(tight, x, sigmas, method="rk45", rtol=1e-7, atol=1e-7)
    assert len(tight.calls) > 1.5 * len(runs[0].calls)


@pytest.mark.parametrize("name", ["rtol", "atol"])
def test_both_tolerances_of_rk45_are_heeded(name):
    x, sigmas = 10 * normal(5, 2), karras_sigmas(10.0, 0.01, 2)
    tolerances = {"rtol": 1e-9, "atol": 1e-9} | {name: 1e-2}
    found = probability_flow(LAW.score, x, sigmas, method="rk45", denoise=False, **tolerances)
    assert 1e-8 < (found - LAW.flow(x, *sigmas)).abs().max() < 0.03


def test_rk45_says_when_no_step_is_small_enough():
    def score_fn(x, sigma):  # nothing is known of levels below 1
        return torch.where(sigma > 1, -x / (1 + sigma**2), torch.nan)

    with pytest.raises(FloatingPointError, match="adaptive solver.*larger rtol and atol.*fixed"):
        probability_flow(score_fn, normal(3, 1), karras_sigmas(10.0, 0.1, 5), method="rk45")


def test_rk45_ends_where_the_score_is_no_number_from_the_start():
    n_calls = 0

    def score_fn(x, sigma):
        nonlocal n_calls
        n_calls += 1
        assert n_calls < 5000
        return torch.full_like(x, torch.nan)

    with pytest.raises(
        FloatingPointError, match="adaptive solver.*not finite at the noise level 10"
    ):
        probability_flow(score_fn, normal(3, 1), karras_sigmas(10.0, 0.1, 5), method="rk45")


# Heun's method and the classical one of Runge and Kutta


def test_a_heun_step_is_the_documented_one():
    x, score_fn = 3 * normal(5, 2), Recorder(gaussian_score(2.0, mean=1.0))
    found = probability_flow(score_fn, x, LEVELS[:2], denoise=False)

    def direction(x, sigma):  # (x - D)/σ = -σ s
        return sigma * (x - 1) / (2 + sigma**2)

    first = direction(x, 2.0)
    second = direction(x - first, 1.0)
    torch.testing.assert_close(found, x - (first + second) / 2)
    assert score_fn.calls == [2.0, 1.0]


def test_heun_is_exact_for_the_flow_to_one_point():
    # dx/dσ = (x - 3)/σ has straight lines for solutions.
    x = 10 * normal(6, 2)
    for sigmas in (karras_sigmas(10.0, 0.1, 3), geometric_sigmas(10.0, 0.1, 8)):
        found = probability_flow(lambda x, sigma: (3.0 - x) / sigma**2, x, sigmas, denoise=False)
        torch.testing.assert_close(found, 3 + (x - 3) / 100)


def test_the_levels_at_which_the_flow_reads_the_score():
    sigmas = geometric_sigmas(16.0, 1.0, 3)
    heun, rk4 = Recorder(gaussian_score(1.0)), Recorder(gaussian_score(1.0))
    probability_flow(heun, normal(3, 2), sigmas)
    assert heun.calls == pytest.approx([16, 4, 4, 1, 1])
    probability_flow(rk4, normal(3, 2), sigmas, method="rk4")
    assert rk4.calls == pytest.approx([16, 8, 8, 4, 4, 2, 2, 1, 1])


def test_runge_kutta_is_simpsons_rule_where_the_velocity_is_of_time_alone():
    times = torch.tensor([0.0, 0.5, 2.0, 1.0], dtype=torch.float64)
    states = torch.stack(list(runge_kutta(lambda y, t: torch.full_like(y, t**3), normal(3), times)))
    torch.testing.assert_close(states - states[0], (times**4 / 4)[:, None].expand(4, 3))
    # and exponentials are theirs up to the fourth power
    h, y = 0.5, torch.ones(1, dtype=torch.float64)
    *_, end = runge_kutta(lambda y, t: y, y, torch.tensor([1.0, 1.0 + h], dtype=torch.float64))
    torch.testing.assert_close(end, y * (1 + h + h**2 / 2 + h**3 / 6 + h**4 / 24))


def test_the_velocity_is_that_of_the_flow_in_the_logarithm_of_the_level():
    x, sigma, h = 3 * normal(5, 2), 0.7, 1e-4
    moved = LAW.flow(x, sigma, sigma * np.exp(h)) - LAW.flow(x, sigma, sigma * np.exp(-h))
    torch.testing.assert_close(flow_velocity(LAW.score)(x, np.log(sigma)), moved / (2 * h))


def test_an_unknown_method_of_the_flow_is_refused():
    with pytest.raises(ValueError, match="method='euler' is none of 'heun', 'rk4' and 'rk45'"):
        probability_flow(gaussian_score(1.0), normal(3, 1), LEVELS, method="euler")


# Heun's method with fresh noise


@pytest.mark.parametrize("kwargs", [{}, {"churn_noise": 2.0}, {"churn": 5.0, "churn_min": 20.0}])
def test_without_churn_the_edm_sampler_is_heuns_method(kwargs):
    x, sigmas = 10 * normal(5, 2), karras_sigmas(10.0, 0.01, 12)
    noise = generator()
    found = edm_sampler(LAW.score, x, sigmas, generator=noise, **kwargs)
    assert torch.equal(found, probability_flow(LAW.score, x, sigmas))
    assert torch.equal(noise.get_state(), generator().get_state())


def test_a_churned_step_is_the_documented_one():
    x, score_fn, sigmas = 3 * normal(5, 2), gaussian_score(2.0, mean=1.0), LEVELS
    found = edm_sampler(score_fn, x, sigmas, generator=generator(4), churn=0.6, churn_noise=1.1)
    expected = probability_flow(score_fn, x, sigmas[:2], denoise=False)  # not above the first
    raised = 1.2  # from 1, with γ = .6/3
    z = torch.randn(5, 2, generator=generator(4), dtype=x.dtype)
    expected = expected + 1.1 * (raised**2 - 1) ** 0.5 * z
    expected = probability_flow(score_fn, expected, torch.tensor([raised, 0.5], dtype=x.dtype))
    torch.testing.assert_close(found, expected)


def churned_levels(sigmas, **kwargs):
    score_fn = Recorder(gaussian_score(1.0))
    edm_sampler(score_fn, normal(3, 2), sigmas, generator=generator(), **kwargs)
    ahead, last = score_fn.calls[1::2], score_fn.calls[-1]
    assert ahead == sigmas[1:].tolist()
    assert last == sigmas[-1]
    return np.array(score_fn.calls[:-1:2])


@pytest.mark.parametrize(("churn", "gamma"), [(1.5, 0.1), (1e6, 2**0.5 - 1)])
def test_churn_raises_levels_by_its_share_up_to_root_two_and_the_first(churn, gamma):
    sigmas = karras_sigmas(10.0, 0.01, 15)
    expected = (sigmas[:-1] * (1 + gamma)).clamp(max=10.0)
    np.testing.assert_allclose(churned_levels(sigmas, churn=churn), expected)
    if gamma > 0.4:
        assert (expected == 10.0).sum() == 2  # the second one would go above, too


def test_churn_acts_between_its_smallest_and_its_largest_level():
    sigmas = torch.tensor([10.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.1], dtype=torch.float64)
    found = churned_levels(sigmas, churn=0.7, churn_min=0.5, churn_max=2.0)
    np.testing.assert_allclose(found, [10.0, 4.0, 2.2, 1.1, 0.55, 0.25])


@pytest.mark.parametrize("churn", [5.0, 30.0])
def test_a_churned_walk_draws_a_gaussian(churn):
    n, grid = 20000, karras_sigmas(10.0, 0.01, 100)
    x = LAW.mean + normal(n, 2) @ torch.linalg.cholesky(LAW.covariance + 100 * torch.eye(2)).mT
    x = edm_sampler(LAW.score, x, grid, generator=generator(1), churn=churn)
    variances = LAW.variances
    along = (x - LAW.mean) @ LAW.axes
    # Heun's error of the variance at 100 levels is below .2 %.
    assert (along.mean(0).abs() < 4 * (variances / n).sqrt()).all()
    relative = along.square().mean(0) / variances - 1
    assert (relative.abs() < 4 * (2 / n) ** 0.5 + 0.002).all()


# DPM-Solver++(2M)


def test_dpm_solver_is_exact_for_the_flow_to_one_point():
    # The denoiser of a point mass is that point: all that the solver approximates is constant.
    x = normal(6, 2) * 10
    for sigmas in (karras_sigmas(10.0, 0.1, 3), geometric_sigmas(10.0, 0.1, 8)):
        found = dpm_solver(lambda x, sigma: (3.0 - x) / sigma**2, x, sigmas)
        torch.testing.assert_close(found, torch.full_like(x, 3.0))


def test_dpm_solver_is_algorithm_2_of_its_paper():
    score_fn = exact_score(random_gaussian_mixture(2, random_state=SEED))
    x, sigmas = 10 * normal(5, 2), karras_sigmas(10.0, 0.05, 7)

    def denoiser(x, sigma):
        return x + sigma**2 * score_fn(x, sigma.expand(len(x), 1))

    # λ = -ln σ in these coordinates, where α = 1; i counts the steps as the paper does.
    lam, D = -sigmas.log(), [denoiser(x, sigmas[0])]
    expected = x
    for i in range(1, len(sigmas)):
        h = lam[i] - lam[i - 1]
        if i == 1:
            direction = D[0]
        else:
            r = (lam[i - 1] - lam[i - 2]) / h
            direction = (1 + 1 / (2 * r)) * D[i - 1] - 1 / (2 * r) * D[i - 2]
        expected = sigmas[i] / sigmas[i - 1] * expected - torch.expm1(-h) * direction
        D.append(denoiser(expected, sigmas[i]))
    torch.testing.assert_close(dpm_solver(score_fn, x, sigmas), D[-1], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("n_levels", [1, 2, 24])
def test_dpm_solver_evaluates_the_score_once_at_every_level(n_levels):
    score_fn, sigmas = Recorder(gaussian_score(1.0)), karras_sigmas(10.0, 0.1, n_levels)
    dpm_solver(score_fn, normal(4, 2), sigmas)
    assert score_fn.calls == sigmas.tolist()


@pytest.mark.parametrize(
    ("density", "borders"),
    [(gaussian_mixture_1d(), [-1.7, 1.75]), (two_modes(), [0.0])],
    ids=["line", "far_modes"],
)
def test_dpm_solver_draws_modes_with_their_weights_in_24_evaluations(density, borders):
    n, high = 20000, 40.0
    rng = np.random.RandomState(SEED)
    x = density.sample(n, rng) + high * rng.standard_normal((n, density.n_features))
    score_fn = Recorder(exact_score(density))
    x = dpm_solver(score_fn, torch.from_numpy(x), karras_sigmas(high, 0.002, 24)).numpy()
    assert len(score_fn.calls) == 24

    def weights(x):
        return np.bincount(np.digitize(x[:, 0], borders), minlength=len(borders) + 1) / n

    # The truth with a standard error below .004, and the same for the draws.
    np.testing.assert_allclose(weights(x), weights(density.sample(n, SEED + 1)), atol=0.02)
    np.testing.assert_allclose(x.std(0), np.sqrt(np.diag(density.covariance)), rtol=0.02)


# On mixtures, in standardised coordinates


@pytest.mark.parametrize(
    "density",
    [random_gaussian_mixture(2, random_state=SEED), random_gaussian_mixture(10, random_state=SEED)],
    ids=["d=2", "d=10"],
)
def test_dpm_solver_has_the_spread_and_the_weights_of_a_mixture_in_24_evaluations(density):
    p = standardised_mixture(density)
    score_fn = Recorder(p)
    x = p.sample(20000, 10.0, generator())
    x = dpm_solver(score_fn, x, karras_sigmas(10.0, 0.002, 24))
    assert len(score_fn.calls) == 24
    sd_error, _, weight_error = mixture_errors(p, x)
    assert sd_error < 0.06
    assert weight_error < 0.02


@pytest.mark.slow
@pytest.mark.parametrize(
    "density",
    [random_gaussian_mixture(10, random_state=SEED), ring_of_gaussians()],
    ids=["d=10", "ring"],
)
@pytest.mark.parametrize(
    "walk",
    [
        lambda p, x: dpm_solver(p, x, karras_sigmas(10.0, 0.002, 60)),
        lambda p, x: probability_flow(p, x, karras_sigmas(10.0, 0.002, 30)),
        lambda p, x: probability_flow(p, x, karras_sigmas(10.0, 0.002, 15), method="rk4"),
        lambda p, x: probability_flow(p, x, karras_sigmas(10.0, 0.002, 2), method="rk45"),
        lambda p, x: EDMSampler()(p, x, karras_sigmas(10.0, 0.002, 40), generator(1)),
    ],
    ids=["dpm_solver", "heun", "rk4", "rk45", "edm_sampler"],
)
def test_every_solver_of_the_flow_draws_a_mixture(walk, density):
    # A weight has a standard error of at most .005.
    p = standardised_mixture(density)
    x = walk(p, p.sample(8000, 10.0, generator()))
    sd_error, standard_error, weight_error = mixture_errors(p, x)
    assert sd_error < 0.02 + 4 * standard_error
    assert weight_error < 0.02


# As estimators


def test_the_flow_as_an_estimator_is_its_function():
    check_estimator(
        ProbabilityFlowSampler("rk45"),
        {"method": "rk4", "rtol": 1e-2, "atol": 1e-3},
        lambda s, x, g, **kwargs: probability_flow(s, x, LEVELS, **kwargs),
    )
    assert ProbabilityFlowSampler().method == "heun"


def test_the_edm_sampler_as_an_estimator_is_its_function():
    check_estimator(
        EDMSampler(),
        {"churn": 0.5, "churn_min": 0.6, "churn_max": 1.5, "churn_noise": 1.1},
        lambda s, x, g, **kwargs: edm_sampler(s, x, LEVELS, generator=g, **kwargs),
    )
