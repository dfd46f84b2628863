import numpy as np
import pytest
import torch
from solvers import (
    LEVELS,
    SEED,
    SOLVERS,
    WALKS,
    WITHOUT_NOISE,
    Recorder,
    exact_score,
    gaussian_energy,
    gaussian_score,
    generator,
    normal,
    standardised_mixture,
)

from skscore.datasets import GaussianMixtureDensity, random_gaussian_mixture, two_modes
from skscore.noise import geometric_sigmas, langevin_step_size
from skscore.samplers import (
    annealed_langevin,
    langevin,
    mala,
)

# Langevin dynamics


@pytest.mark.parametrize(("variance", "step_size"), [(1.0, 0.4), (2.0, 2.0), (0.1, 0.3)])
def test_langevin_settles_at_the_variance_of_its_step_size(variance, step_size):
    n = 20000
    # The distance to the stationary law shrinks by |1 - α/2v| a step, here at most 0.8.
    x = langevin(
        gaussian_score(variance),
        normal(n, 1) * variance**0.5,
        0.0,
        n_steps=60,
        step_size=step_size,
        generator=generator(1),
    )
    stationary = variance / (1 - step_size / (4 * variance))
    assert abs(x.mean()) < 4 * (stationary / n) ** 0.5
    assert abs(x.var() - stationary) < 4 * stationary * (2 / n) ** 0.5
    assert stationary - variance > 8 * stationary * (2 / n) ** 0.5  # the bias is seen


def test_langevin_diverges_from_four_variances_on():
    def spread(step_size):
        x = langevin(
            gaussian_score(1.0),
            normal(100, 1),
            0.0,
            n_steps=100,
            step_size=step_size,
            generator=generator(1),
        )
        return x.std().item()

    assert spread(3.6) < 10
    assert spread(4.4) > 1e6


def test_a_langevin_step_is_the_documented_one():
    x, sigma, step_size = normal(5, 3), 0.7, 0.3
    score_fn = Recorder(gaussian_score(2.0, mean=1.0))
    found = langevin(score_fn, x, sigma, n_steps=2, step_size=step_size, generator=generator(4))
    noise = generator(4)
    for _ in range(2):
        z = torch.randn(5, 3, generator=noise, dtype=x.dtype)
        x = x - step_size / 2 * (x - 1) / (2 + sigma**2) + step_size**0.5 * z
    torch.testing.assert_close(found, x)
    assert score_fn.calls == [sigma, sigma]


def test_langevin_of_no_steps_stays_where_it_is():
    x = normal(5, 2)
    run = langevin(gaussian_score(1.0), x, 0.0, n_steps=0, step_size=1.0, generator=generator())
    assert torch.equal(run, x)


# Metropolis-adjusted Langevin


def run_mala(energy_fn, score_fn, x, seed=SEED + 1, **kwargs):
    return mala(energy_fn, score_fn, x, 0.0, generator=generator(seed), **kwargs)


@pytest.mark.parametrize("step_size", [0.3, 4.0])
def test_a_mala_step_is_the_documented_one(step_size):
    # One chain after the other, with q(x'|x) written out; a step of 4 meets the cut of the drift.
    n, d, sigma, v = 40, 3, 0.7, 2.0
    start = 3 * normal(n, d)
    found, acceptance = mala(
        gaussian_energy(v, mean=1.0),
        gaussian_score(v, mean=1.0),
        start,
        sigma,
        n_steps=3,
        step_size=step_size,
        generator=generator(4),
    )
    target = torch.distributions.Normal(torch.ones(d).double(), (v + sigma**2) ** 0.5)

    def proposal(x):
        drift = -step_size / 2 * (x - 1) / (v + sigma**2)
        longest = (step_size * d) ** 0.5
        if drift.norm() > longest:
            drift = drift * longest / drift.norm()
        return torch.distributions.Normal(x + drift, step_size**0.5)

    noise, x, accepted = generator(4), start.clone(), torch.zeros(n).double()
    for _ in range(3):
        z = torch.randn(n, d, generator=noise, dtype=x.dtype)
        u = torch.rand(n, generator=noise, dtype=x.dtype)
        for i in range(n):
            forward = proposal(x[i])
            new = forward.mean + step_size**0.5 * z[i]
            log_ratio = target.log_prob(new) + proposal(new).log_prob(x[i])
            log_ratio = (log_ratio - target.log_prob(x[i]) - forward.log_prob(new)).sum()
            accepted[i] += log_ratio.exp().clamp(max=1) / 3
            if u[i] < log_ratio.exp():
                x[i] = new
    torch.testing.assert_close(found, x)
    torch.testing.assert_close(acceptance, accepted)
    assert 0 < acceptance.mean() < 1


@pytest.mark.parametrize("seed", range(5))
def test_mala_has_the_moments_of_its_energy_where_langevin_has_others(seed):
    n, variance, step_size = 20000, torch.tensor([1.0, 4.0]).double(), 1.5
    energy_fn, score_fn = gaussian_energy(variance, 3.0), gaussian_score(variance, 3.0)
    start = 3 * normal(n, 2, seed=seed)
    kwargs = {"n_steps": 120, "step_size": step_size}
    x, acceptance = run_mala(energy_fn, score_fn, start, seed + 100, **kwargs)
    assert 0.5 < acceptance.mean() < 0.9
    assert ((x.mean(0) - 3).abs() < 4 * (variance / n).sqrt()).all()
    error = 4 * variance * (2 / n) ** 0.5
    assert ((x.var(0) - variance).abs() < error).all()
    unadjusted = langevin(score_fn, start, 0.0, **kwargs, generator=generator(seed + 100))
    assert ((unadjusted.var(0) - variance).abs() > 2 * error).all()


@pytest.mark.parametrize("share", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("seed", range(5))
def test_mala_draws_a_mixture_whatever_the_score(seed, share):
    # w N(1, 1) + (1 - w) N(-1, 1) with log w/(1-w) = 2c has the energy x²/2 - log cosh(x + c). The
    # score only proposes: with half of it, or none, the law is still that of the energy.
    n, c = 10000, 0.5
    x, _ = run_mala(
        lambda x, sigma: (x.square() / 2 - (x + c).cosh().log()).sum(1),
        lambda x, sigma: share * (-x + (x + c).tanh()),
        2 * normal(n, 1, seed=seed),
        seed + 100,
        n_steps=80,
        step_size=1.5,
    )
    mean = np.tanh(c)  # 2w - 1
    for power, moment, square in ((1, mean, 2), (2, 2, 10), (3, 4 * mean, 76)):
        error = ((square - moment**2) / n) ** 0.5
        assert abs((x**power).mean() - moment) < 4 * error


def test_mala_comes_back_from_where_the_energy_is_steep():
    # On x⁴/4 at 30 the uncut drift of a step of 0.5 is 6750: it would be refused for ever.
    x, _ = run_mala(
        lambda x, sigma: x.pow(4).sum(1) / 4,
        lambda x, sigma: -x.pow(3),
        torch.full((200, 1), 30.0),
        n_steps=200,
        step_size=0.5,
    )
    assert x.abs().max() < 4


@pytest.mark.parametrize("nothing", [np.inf, -np.inf, np.nan])
def test_mala_refuses_points_of_no_energy(nothing):
    def energy_fn(x, sigma):
        return torch.where(x[:, 0] > 0, x[:, 0].square() / 2, nothing)

    n, start = 20000, normal(20000, 1).abs()
    x, _ = run_mala(energy_fn, gaussian_score(1.0), start, n_steps=50, step_size=0.5)
    assert (x > 0).all()
    assert abs(x.mean() - (2 / np.pi) ** 0.5) < 4 * ((1 - 2 / np.pi) / n) ** 0.5


def test_mala_says_which_starts_have_no_energy():
    x = torch.tensor([[1.0], [-1.0], [-2.0]])
    with pytest.raises(ValueError, match="not finite at 2 of 3 starting points.*rows of the data"):
        run_mala(lambda x, sigma: -x[:, 0].log(), lambda x, sigma: 1 / x, x, n_steps=1, step_size=1)


# Annealed Langevin dynamics


@pytest.mark.parametrize("denoise", [True, False])
def test_annealed_langevin_runs_langevin_at_every_level(denoise):
    x, sigmas = normal(6, 2), torch.tensor([3.0, 1.0, 0.25], dtype=torch.float64)
    score_fn = gaussian_score(2.0, mean=1.0)
    found = annealed_langevin(
        score_fn,
        x,
        sigmas,
        n_steps_per_level=4,
        step_size=0.2,
        generator=generator(4),
        denoise=denoise,
    )
    noise = generator(4)
    for sigma in sigmas.tolist():
        # With ε/σ_L² = 0.2, α_i = ε σ_i²/σ_L².
        x = langevin(score_fn, x, sigma, n_steps=4, step_size=0.2 * sigma**2, generator=noise)
    if denoise:
        x = x - 0.25**2 * (x - 1) / (2 + 0.25**2)
    torch.testing.assert_close(found, x)


@pytest.mark.parametrize("denoise", [True, False])
def test_annealed_langevin_reads_the_score_at_its_levels_in_turn(denoise):
    sigmas = geometric_sigmas(5.0, 0.1, 4)
    score_fn = Recorder(gaussian_score(1.0))
    annealed_langevin(
        score_fn,
        normal(3, 2),
        sigmas,
        n_steps_per_level=3,
        step_size=0.1,
        generator=generator(),
        denoise=denoise,
    )
    expected = sigmas.repeat_interleave(3).tolist() + [sigmas[-1].item()] * denoise
    assert score_fn.calls == expected


def test_annealed_langevin_draws_a_gaussian():
    # Small steps, long runs: variance v + σ_L² up to the bias of the step, then Tweedie's mean,
    # which shrinks it by v/(v + σ_L²).
    n, v, sigma = 8000, 2.0, 0.5
    x = annealed_langevin(
        gaussian_score(v, mean=3.0),
        10 * normal(n, 1),
        torch.tensor([10.0, 2.0, sigma], dtype=torch.float64),
        n_steps_per_level=100,
        step_size=0.8,
        generator=generator(1),
    )
    blurred = v + sigma**2
    variance = blurred / (1 - 0.8 * sigma**2 / (4 * blurred)) * (v / blurred) ** 2
    assert abs(x.mean() - 3) < 4 * (variance / n) ** 0.5
    assert abs(x.var() - variance) < 4 * variance * (2 / n) ** 0.5


def test_annealed_langevin_finds_the_weights_of_far_modes_that_plain_langevin_misses():
    # Weights .8 and .2 at (5, 5) and (-5, -5), of unit variance.
    n = 2000
    mode = torch.tensor([5.0, 5.0], dtype=torch.float64)

    def score_fn(x, sigma):
        v = 1 + sigma**2
        return (mode * torch.tanh(x @ mode[:, None] / v + np.log(0.8 / 0.2) / 2) - x) / v

    start = 20 * normal(n, 2)
    sigma = normal(n, 1, seed=1).exp()
    torch.testing.assert_close(score_fn(start, sigma), exact_score(two_modes())(start, sigma))

    def weight(x):
        return (x.sum(1) > 0).double().mean().item()

    plain = langevin(score_fn, start, 0.0, n_steps=1000, step_size=0.1, generator=generator(1))
    annealed = annealed_langevin(
        score_fn,
        start,
        geometric_sigmas(20.0, 1.0, 10),
        n_steps_per_level=100,
        step_size=0.1,
        generator=generator(1),
    )
    assert abs(weight(plain) - 0.8) > 0.15
    assert abs(weight(annealed) - 0.8) < 0.05


@pytest.mark.parametrize(("n_levels", "n_steps"), [(2, 1), (12, 5)])
def test_an_automatic_step_is_technique_4_for_the_ratio_of_neighbouring_levels(n_levels, n_steps):
    x, sigmas = normal(6, 2), geometric_sigmas(5.0, 0.1, n_levels)
    score_fn, ratio = gaussian_score(2.0, mean=1.0), (sigmas[0] / sigmas[1]).item()
    runs = [
        annealed_langevin(
            score_fn, x, sigmas, n_steps_per_level=n_steps, generator=generator(), **step
        )
        for step in ({}, {"step_size": "auto"}, {"step_size": langevin_step_size(ratio, n_steps)})
    ]
    assert torch.equal(runs[0], runs[1])
    torch.testing.assert_close(runs[1], runs[2], rtol=1e-4, atol=1e-4)  # η is found to some 1e-6


def test_an_unknown_step_size_is_refused():
    with pytest.raises(ValueError, match="step_size='large' is no step; give a number, or 'auto'"):
        annealed_langevin(
            gaussian_score(1.0),
            normal(3, 1),
            LEVELS,
            n_steps_per_level=1,
            step_size="large",
            generator=generator(),
        )


# What all solvers share


@pytest.mark.parametrize("name", SOLVERS)
def test_the_generator_decides_every_draw_and_nothing_else_is_touched(name):
    solver, x = SOLVERS[name], normal(10, 2)
    start, before = x.clone(), torch.get_rng_state()
    a, b, other = (solver(gaussian_score(1.0), x, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert torch.equal(a, other) == (name in WITHOUT_NOISE)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(x, start)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", SOLVERS)
def test_points_keep_their_shape_and_type(name, dtype):
    x = normal(10, 3, dtype=dtype)
    drawn = SOLVERS[name](Recorder(gaussian_score(1.0)), x, generator())
    assert drawn.shape == x.shape
    assert drawn.dtype == dtype


@pytest.mark.parametrize("name", SOLVERS)
def test_what_becomes_of_a_row_does_not_depend_on_the_others(name):
    # With the same noise, all rows but the first are others.
    solver, x = SOLVERS[name], 2 * normal(7, 2)
    score_fn = standardised_mixture(random_gaussian_mixture(2, random_state=SEED))
    if name == "mala":
        score_fn = gaussian_score(1.0)
    others = torch.cat([x[:1], 5 * normal(6, 2, seed=1)])
    a, b = (solver(score_fn, start, generator())[0] for start in (x, others))
    assert torch.equal(a, b) or (name == "rk45" and (a - b).abs().max() < 1e-3)
    if name in WITHOUT_NOISE and name != "rk45":
        alone = torch.cat([solver(score_fn, row[None], None) for row in x])
        torch.testing.assert_close(alone, solver(score_fn, x, None), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", sorted(set(SOLVERS) - {"mala"}))
def test_a_trajectory_goes_from_the_start_to_what_is_returned_without_it(name):
    x, score_fn = normal(4, 2), gaussian_score(1.0)
    end = SOLVERS[name](score_fn, x, generator())
    states = SOLVERS[name](score_fn, x, generator(), return_trajectory=True)
    n_states = {"langevin": 6, "annealed_langevin": 5}.get(name, len(LEVELS) + 1)
    assert states.shape == (n_states, 4, 2)
    assert torch.equal(states[-1], end)
    missing = slice(name == "repaint", None)  # its first coordinate is given
    assert torch.equal(states[0, :, missing], x[:, missing])
    assert (states[1:] != states[:-1])[:, :, missing].all()


@pytest.mark.parametrize("name", ["annealed_langevin", "heun", "rk4", "rk45"])
def test_a_trajectory_without_the_last_step_ends_at_the_smallest_level(name):
    x, score_fn = normal(4, 2), gaussian_score(1.0)
    run = {"return_trajectory": True}
    states = WALKS[name](score_fn, x, generator(), **run)
    noisy = WALKS[name](score_fn, x, generator(), denoise=False, **run)
    assert torch.equal(noisy, states[:-1])
    sigma = LEVELS[-1].expand(4, 1)
    torch.testing.assert_close(states[-1], noisy[-1] + sigma**2 * score_fn(noisy[-1], sigma))


@pytest.mark.parametrize("name", WALKS)
def test_one_level_is_enough_for_every_walk(name):
    x, score_fn = normal(4, 2), gaussian_score(1.0)
    drawn = WALKS[name](score_fn, x, generator(), levels=LEVELS[-1:])
    if name not in ("annealed_langevin", "repaint"):
        torch.testing.assert_close(drawn, x / (1 + 0.25))
    assert drawn.isfinite().all()


@pytest.mark.parametrize("name", sorted(set(WALKS) - {"rk45"}))
def test_a_score_in_other_units_gives_the_draws_in_those_units(name):
    # The solvers know no unit: x → c x, s → s/c, σ → c σ moves every draw by the same map. Only
    # the adaptive one has a tolerance in units.
    c, x = 1000.0, normal(10, 2)
    density = random_gaussian_mixture(2, random_state=SEED)
    scaled = GaussianMixtureDensity(density.weights, c * density.means, c**2 * density.covariances)
    drawn, expected = (
        WALKS[name](exact_score(p), unit * x, generator(), levels=unit * LEVELS)
        for p, unit in ((scaled, c), (density, 1.0))
    )
    torch.testing.assert_close(drawn, c * expected)
