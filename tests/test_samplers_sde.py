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

from skscore.datasets import random_gaussian_mixture
from skscore.noise import geometric_sigmas, karras_sigmas
from skscore.samplers import (
    PredictorCorrectorSampler,
    annealed_langevin,
    dpm_solver,
    predictor_corrector,
    reverse_sde,
)

METHODS = ("euler_maruyama", "ancestral")


def step_map(sigma, sigma_next, v, method):
    """Factor and noise of the step x' = f x + g z on N(0, v), read off the solver."""
    x = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    levels = torch.tensor([sigma, sigma_next], dtype=torch.float64)
    _, x_next, _ = reverse_sde(
        gaussian_score(v),
        x,
        levels,
        generator=generator(),
        method=method,
        return_trajectory=True,
    )
    z = normal(2, 1)
    g = (x_next[0] / z[0]).item()
    return (x_next[1] - g * z[1]).item(), g


def variance_after(sigmas, v, method, *, n_corrector_steps=0, step_size=0.1):
    """The variance of a walk on N(0, v) from v + σ_1², before Tweedie's mean, as documented."""
    levels = sigmas.tolist()
    variance = v + levels[0] ** 2
    for sigma, sigma_next in zip(levels[:-1], levels[1:], strict=True):
        delta = sigma**2 - sigma_next**2
        noise = delta if method == "euler_maruyama" else delta * sigma_next**2 / sigma**2
        variance = (1 - delta / (v + sigma**2)) ** 2 * variance + noise
        alpha = step_size * sigma_next**2
        for _ in range(n_corrector_steps):
            variance = (1 - alpha / 2 / (v + sigma_next**2)) ** 2 * variance + alpha
    return variance


# One step


@pytest.mark.parametrize("method", METHODS)
def test_a_step_of_the_reverse_diffusion_is_the_documented_one(method):
    score_fn = Recorder(exact_score(random_gaussian_mixture(3, random_state=SEED)))
    x = 2 * normal(5, 3)
    found = reverse_sde(
        score_fn, x, LEVELS, generator=generator(4), method=method, return_trajectory=True
    )
    assert score_fn.calls == LEVELS.tolist()
    noise, expected = generator(4), [x]
    for sigma, sigma_next in zip(LEVELS[:-1], LEVELS[1:], strict=True):
        z = torch.randn(5, 3, generator=noise, dtype=x.dtype)
        delta = sigma**2 - sigma_next**2
        share = 1 if method == "euler_maruyama" else sigma_next**2 / sigma**2
        x = x + delta * score_fn(x, sigma.expand(5, 1)) + (delta * share).sqrt() * z
        expected.append(x)
    expected.append(x + LEVELS[-1] ** 2 * score_fn(x, LEVELS[-1].expand(5, 1)))
    torch.testing.assert_close(found, torch.stack(expected))


def test_euler_maruyama_is_the_default():
    x = normal(5, 2)
    for solver in (reverse_sde, predictor_corrector):
        name = "method" if solver is reverse_sde else "predictor"
        runs = []
        for method in ({}, {name: "euler_maruyama"}):
            kwargs = {"generator": generator(), **method}
            runs.append(solver(gaussian_score(1.0), x, LEVELS, **kwargs))
        assert torch.equal(*runs)


@pytest.mark.parametrize(("sigma", "sigma_next"), [(10.0, 9.0), (10.0, 0.1), (0.01, 0.001)])
def test_an_ancestral_step_is_exact_for_data_that_are_a_point(sigma, sigma_next):
    # From N(0, σ²) it leads to N(0, σ'²), however long it is; Euler-Maruyama's does not.
    f, g = step_map(sigma, sigma_next, 0.0, "ancestral")
    assert f**2 * sigma**2 + g**2 == pytest.approx(sigma_next**2, rel=1e-9)
    f, g = step_map(sigma, sigma_next, 0.0, "euler_maruyama")
    assert f**2 * sigma**2 + g**2 > 1.04 * sigma_next**2


def test_ancestral_steps_draw_the_noise_about_a_point_at_every_level():
    n, sigmas = 20000, geometric_sigmas(10.0, 0.1, 6)
    states = reverse_sde(
        gaussian_score(0.0, mean=3.0),
        3 + 10 * normal(n, 1),
        sigmas,
        generator=generator(1),
        method="ancestral",
        return_trajectory=True,
    )
    for state, sigma in zip(states[:-1], sigmas, strict=True):
        assert abs(state.mean() - 3) < 4 * sigma / n**0.5
        assert abs(state.var() / sigma**2 - 1) < 4 * (2 / n) ** 0.5
    torch.testing.assert_close(states[-1], torch.full_like(states[-1], 3.0))


@pytest.mark.parametrize("sigma", [0.1, 1.0, 8.0])
def test_the_last_step_is_the_posterior_mean_of_a_mixture(sigma):
    # Tweedie: D = x + σ² s is E[x_0 | x_σ] = Σ r_k (m_k + C_k (C_k + σ² I)⁻¹ (x - m_k)).
    p = random_gaussian_mixture(3, random_state=SEED)
    x = p.sample(50, 1) + sigma * np.random.RandomState(2).standard_normal((50, 3))
    blurred = p.covariances + sigma**2 * np.eye(3)
    delta = x[:, None] - p.means
    z = np.einsum("kde,nke->nkd", np.linalg.inv(blurred), delta)
    log_f = np.log(p.weights) - (delta * z).sum(2) / 2 - np.linalg.slogdet(blurred)[1] / 2
    responsibility = np.exp(log_f - log_f.max(1, keepdims=True))
    responsibility /= responsibility.sum(1, keepdims=True)
    component_means = p.means + np.einsum("kde,nke->nkd", p.covariances, z)
    mean = np.einsum("nk,nkd->nd", responsibility, component_means)

    level = torch.tensor([sigma], dtype=torch.float64)
    denoised = dpm_solver(exact_score(p), torch.from_numpy(x), level)
    np.testing.assert_allclose(denoised, mean, rtol=1e-10, atol=1e-10)


# Many steps on Gaussians


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("v", [1.0, 0.2])
def test_the_reverse_diffusion_has_the_variance_of_its_recursion(method, v):
    n, sigmas = 20000, karras_sigmas(10.0, 0.3, 20)
    start, factor = normal(n, 1), 1.0
    for sigma, sigma_next in zip(sigmas[:-1].tolist(), sigmas[1:].tolist(), strict=True):
        factor *= 1 - (sigma**2 - sigma_next**2) / (v + sigma**2)
    shrink = v / (v + 0.3**2)  # of Tweedie's mean
    x, from_zero = (
        reverse_sde(gaussian_score(v), x, sigmas, generator=generator(1), method=method)
        for x in ((v + 100) ** 0.5 * start, 0 * start)
    )
    torch.testing.assert_close(x - from_zero, (v + 100) ** 0.5 * shrink * factor * start)
    variance = shrink**2 * variance_after(sigmas, v, method)
    assert abs(x.mean()) < 4 * (variance / n) ** 0.5
    assert abs(x.var() / variance - 1) < 4 * (2 / n) ** 0.5
    # The error of 20 steps is seen.
    assert abs(variance / (shrink**2 * (v + 0.3**2)) - 1) > 8 * (2 / n) ** 0.5


@pytest.mark.parametrize("v", [1.0, 0.2])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("process", PROCESSES)
def test_the_error_of_the_variance_falls_with_first_order(process, method, v):
    steps, errors = (128, 256, 512), []
    for n in steps:
        sigmas = PROCESSES[process]().sigmas(n + 1)
        levels = sigmas.tolist()
        variance = v + levels[0] ** 2
        for sigma, sigma_next in zip(levels[:-1], levels[1:], strict=True):
            f, g = step_map(sigma, sigma_next, v, method)
            variance = f**2 * variance + g**2
        assert variance == pytest.approx(variance_after(sigmas, v, method), rel=1e-9)
        errors.append(variance / (v + levels[-1] ** 2) - 1)
    assert measured_order(steps, errors) == pytest.approx(1, abs=0.15)
    assert abs(errors[-1]) < 0.03
    # The one has too much noise and the other too little.
    assert (errors[-1] > 0) == (method == "euler_maruyama")


@pytest.mark.parametrize("method", METHODS)
def test_the_reverse_diffusion_draws_a_correlated_gaussian(method):
    n, law = 20000, NormalLaw([1.0, -2.0], [[1.0, 0.6], [0.6, 0.8]])
    start = law.mean + normal(n, 2) @ torch.linalg.cholesky(law.covariance + 100 * torch.eye(2)).mT
    sigmas = karras_sigmas(10.0, 0.01, 200)
    x = reverse_sde(law.score, start, sigmas, generator=generator(1), method=method)
    along = (x - law.mean) @ law.axes
    # Each axis is a Gaussian of its own, whose variance is known up to the last step's 1e-3.
    for i, v in enumerate(law.variances.tolist()):
        variance = variance_after(sigmas, v, method)
        assert abs(along[:, i].mean()) < 4 * (variance / n) ** 0.5
        assert abs(along[:, i].var() / variance - 1) < 4 * (2 / n) ** 0.5 + 1e-3
        assert abs(variance / v - 1) < 0.05
    assert abs(along.prod(1).mean()) < 4 * (law.variances.prod() / n).sqrt()


# Predictor and corrector


@pytest.mark.parametrize("predictor", METHODS)
def test_a_predictor_without_corrector_is_the_reverse_diffusion(predictor):
    x, score_fn = 2 * normal(5, 2), gaussian_score(0.5, mean=1.0)
    found = predictor_corrector(
        score_fn, x, LEVELS, generator=generator(4), predictor=predictor, n_corrector_steps=0
    )
    plain = reverse_sde(score_fn, x, LEVELS, generator=generator(4), method=predictor)
    assert torch.equal(found, plain)


@pytest.mark.parametrize("predictor", METHODS)
def test_corrector_steps_are_the_documented_ones(predictor):
    x, score_fn, a = 2 * normal(5, 2), Recorder(gaussian_score(0.5, mean=1.0)), 0.3
    found = predictor_corrector(
        score_fn,
        x,
        LEVELS,
        generator=generator(4),
        predictor=predictor,
        n_corrector_steps=2,
        step_size=a,
    )
    assert score_fn.calls == [2.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5]
    noise = generator(4)

    def z():
        return torch.randn(5, 2, generator=noise, dtype=x.dtype)

    for sigma, sigma_next in ((2.0, 1.0), (1.0, 0.5)):
        delta = sigma**2 - sigma_next**2
        share = 1 if predictor == "euler_maruyama" else sigma_next**2 / sigma**2
        x = x - delta * (x - 1) / (0.5 + sigma**2) + (delta * share) ** 0.5 * z()
        alpha = a * sigma_next**2
        for _ in range(2):
            x = x - alpha / 2 * (x - 1) / (0.5 + sigma_next**2) + alpha**0.5 * z()
    torch.testing.assert_close(found, x - 0.25 * (x - 1) / 0.75)


@pytest.mark.parametrize("predictor", METHODS)
def test_predictor_and_corrector_have_the_variance_of_their_recursion(predictor):
    n, v, sigmas = 20000, 0.5, karras_sigmas(10.0, 0.01, 50)
    steps = {"n_corrector_steps": 2, "step_size": 0.2}
    x = predictor_corrector(
        gaussian_score(v, mean=3.0),
        3 + (v + 100) ** 0.5 * normal(n, 1),
        sigmas,
        generator=generator(1),
        predictor=predictor,
        **steps,
    )
    variance = variance_after(sigmas, v, predictor, **steps)
    assert abs(x.mean() - 3) < 4 * (variance / n) ** 0.5
    assert abs(x.var() / variance - 1) < 4 * (2 / n) ** 0.5 + 1e-3  # 1e-3 for Tweedie's mean
    # The corrector takes out a part of the predictor's error.
    alone = variance_after(sigmas, v, predictor)
    assert abs(variance / v - 1) < 0.8 * abs(alone / v - 1)


@pytest.mark.parametrize("solver", [reverse_sde, predictor_corrector])
def test_an_unknown_step_of_the_reverse_diffusion_is_refused(solver):
    name = "method" if solver is reverse_sde else "predictor"
    with pytest.raises(ValueError, match="'heun' is no step.*'euler_maruyama', 'ancestral'"):
        solver(gaussian_score(1.0), normal(3, 1), LEVELS, generator=generator(), **{name: "heun"})


def test_the_predictor_corrector_as_an_estimator_is_its_function():
    check_estimator(
        PredictorCorrectorSampler(),
        {"predictor": "ancestral", "n_corrector_steps": 2, "step_size": 0.3},
        lambda s, x, g, **kwargs: predictor_corrector(s, x, LEVELS, generator=g, **kwargs),
    )


# On mixtures, in standardised coordinates


@pytest.mark.slow
@pytest.mark.parametrize(
    "walk",
    [
        lambda p, x, g: reverse_sde(p, x, karras_sigmas(10.0, 0.01, 200), generator=g),
        lambda p, x, g: reverse_sde(
            p, x, karras_sigmas(10.0, 0.01, 200), generator=g, method="ancestral"
        ),
        lambda p, x, g: predictor_corrector(p, x, karras_sigmas(10.0, 0.01, 100), generator=g),
        # Below 0.1 nothing but noise is left to take out, and Tweedie's mean does.
        lambda p, x, g: dpm_solver(
            p,
            annealed_langevin(
                p,
                x,
                geometric_sigmas(10.0, 0.1, 14),
                n_steps_per_level=40,
                step_size=0.2,
                generator=g,
                denoise=False,
            ),
            karras_sigmas(0.1, 0.01, 8),
        ),
    ],
    ids=[*METHODS, "predictor_corrector", "annealed_langevin"],
)
def test_every_solver_with_noise_draws_a_mixture(walk):
    # A weight has a standard error of at most .007.
    p = standardised_mixture(random_gaussian_mixture(2, random_state=SEED))
    x = walk(p, p.sample(5000, 10.0, generator()), generator(1))
    sd_error, standard_error, weight_error = mixture_errors(p, x)
    assert sd_error < 0.02 + 4 * standard_error
    assert weight_error < 0.02 + 0.007
