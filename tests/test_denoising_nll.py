import math

import numpy as np
import pytest
import torch
from closed_forms import covariance, generator, levels, normal

from skscore.datasets import gaussian_mixture_1d, random_gaussian_mixture, ring_of_gaussians
from skscore.gaussians import GaussianMixtureScore, GaussianScore
from skscore.likelihood import denoising_nll, flow_log_density, flow_sigmas
from skscore.noise import (
    LogNormalSigma,
    LogUniformSigma,
    SubVariancePreserving,
    TimeUniformSigma,
    VariancePreserving,
)

SEED = 0
LOWEST, HIGHEST = 0.002, 50.0
LAW = LogNormalSigma(LOWEST, HIGHEST)
LAWS = {
    "log_normal": LAW,
    "log_uniform": LogUniformSigma(LOWEST, HIGHEST),
    "vp_cosine": TimeUniformSigma(
        VariancePreserving("cosine", sigma_min=LOWEST, sigma_max=HIGHEST)
    ),
    "sub_vp": TimeUniformSigma(SubVariancePreserving(sigma_min=LOWEST, sigma_max=HIGHEST)),
}
DENSITIES = {
    "line": gaussian_mixture_1d(),
    "d2": random_gaussian_mixture(2, random_state=SEED),
    "d10": random_gaussian_mixture(10, random_state=SEED),
    "ring": ring_of_gaussians(),
}


def known(name, n):
    """The exact score in units of the standard deviations, its Gaussian, and clean rows."""
    density = DENSITIES[name]
    scale = np.sqrt(np.diag(density.covariance))
    model = GaussianMixtureScore(
        torch.from_numpy(density.weights),
        torch.from_numpy((density.means - density.mean) / scale),
        torch.from_numpy(density.covariances / scale / scale[:, None]),
    )
    prior = GaussianScore(torch.zeros(len(scale)), model.covariance)
    return model, prior, model.sample(n, 0.0, generator(SEED))


def excess(model, x, control, law=LAW, n_draws=8, seed=SEED + 1):
    """The estimate less the truth."""
    nll = denoising_nll(model, x, control, law, n_draws=n_draws, generator=generator(seed))
    return nll + model.log_density(x, levels(x))


def standard_errors(differences):
    return abs(differences.mean().item()) / (differences.std().item() / len(differences) ** 0.5)


def isotropic(d, variance, mean=0.0):
    return GaussianScore(torch.full((d,), mean), variance * torch.eye(d))


# What is exact


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("d", [1, 2, 5])
def test_a_gaussian_that_is_its_own_control_has_its_exact_log_density(d, law):
    model = GaussianScore(normal(d, seed=SEED), covariance(d, SEED))
    x = 3 * normal(20, d, seed=SEED + 1)
    nll = denoising_nll(model, x, model, LAWS[law], n_draws=1, generator=generator(SEED))
    assert nll.dtype == torch.float64
    torch.testing.assert_close(nll, -model.log_density(x, levels(x)), rtol=1e-12, atol=1e-12)


def test_noise_levels_are_one_in_each_stratum_with_noise_of_both_signs():
    d, K = 3, 5
    model, x = isotropic(d, 1.0), normal(6, d, seed=SEED)
    seen = []

    def score_fn(x, sigma):
        seen.append((x, sigma))
        return model(x, sigma)

    law = LogUniformSigma(0.01, 10.0)
    denoising_nll(score_fn, x, model, law, n_draws=K, generator=generator(SEED))
    assert len(seen) == 2 * K
    strata = []
    for (plus, sigma), (minus, same) in zip(seen[::2], seen[1::2], strict=True):
        assert torch.equal(sigma, same)
        assert sigma.shape == (6, 1)
        torch.testing.assert_close((plus + minus) / 2, x)
        strata.append((sigma.log() - math.log(0.01)) / math.log(1000) * K)
        noise = (plus - x) / sigma
        assert 0.3 < noise.std() < 2
    assert torch.equal(torch.cat(strata, 1).long(), torch.arange(K).expand(6, K))
    assert torch.cat(strata, 1).std(0).min() > 0.01


# What is exact in the mean


@pytest.mark.parametrize("variance, shift", [(0.25, 0.0), (4.0, 0.0), (1.0, 0.7), (0.5, -2.0)])
def test_of_one_gaussian_under_the_control_of_another_it_is_unbiased(variance, shift):
    model, control = isotropic(1, 1.0), isotropic(1, variance, shift)
    for value in (0.0, 0.5, -3.0):
        x = torch.full((2000, 1), value, dtype=torch.float64)
        differences = excess(model, x, control)
        assert standard_errors(differences) < 4.5
        assert differences.std() < 3


@pytest.mark.parametrize("name", DENSITIES)
@pytest.mark.parametrize("law", LAWS)
def test_the_mean_over_rows_is_the_negative_log_density_whatever_the_law(law, name):
    model, control, x = known(name, 1500)
    assert standard_errors(excess(model, x, control, LAWS[law])) < 4


@pytest.mark.parametrize("name", ["line", "d2", "d10"])
def test_each_row_is_unbiased(name):
    model, control, x = known(name, 4)
    for i, row in enumerate(x):
        differences = excess(model, row.expand(1000, -1), control, seed=SEED + i)
        assert standard_errors(differences) < 4.5
        assert differences.std() < 3


@pytest.mark.parametrize("name", ["d2", "d10", "ring"])
def test_it_agrees_with_the_probability_flow(name):
    model, control, x = known(name, 400)
    nll = denoising_nll(model, x, control, LAW, n_draws=32, generator=generator(SEED))
    flow, _ = flow_log_density(model, x, flow_sigmas(HIGHEST, LOWEST), control)
    assert standard_errors(nll + flow) < 4
    assert (nll + flow).mean().abs() < 0.25


# The control


@pytest.mark.parametrize("name", ["line", "d2", "d10"])
def test_any_control_is_right_and_that_with_the_moments_of_the_data_scatters_less(name):
    model, control, x = known(name, 2000)
    d = x.shape[1]
    good = excess(model, x, control)
    assert standard_errors(good) < 4
    wide, narrow, shifted = (
        excess(model, x, other)
        for other in (isotropic(d, 8.0), isotropic(d, 0.1), isotropic(d, 1.0, mean=2.0))
    )
    for other in (wide, narrow, shifted):
        assert standard_errors(other) < 4
    assert wide.var() > 1.5 * good.var()


def test_a_score_that_is_not_of_the_data_is_worse():
    # Rows of the truth under the score of another density: -log q of that, which is larger.
    truth, other = isotropic(2, 1.0), isotropic(2, 0.5)
    x = truth.sample(2000, 0.0, generator(SEED))
    nll, own = (
        denoising_nll(model, x, truth, LAW, n_draws=16, generator=generator(SEED))
        for model in (other, truth)
    )
    # KL(N(0, 1), N(0, 1/2)) = (2 - 1 - ln 2)/2 in each of the two dimensions.
    differences = nll - own
    expected = -other.log_density(x, levels(x)) + truth.log_density(x, levels(x))
    assert standard_errors(differences - expected) < 4
    assert differences.mean().item() == pytest.approx(1 - math.log(2), abs=0.15)


# Draws


def test_more_draws_scatter_less():
    model, control, x = known("d2", 1500)
    few, many = (excess(model, x, control, n_draws=n_draws) for n_draws in (2, 32))
    # Sixteen times the draws: a quarter of the scatter or, by the strata, less.
    assert many.std() < few.std() / 4 * 1.15
    assert standard_errors(many) < 4


def test_the_generator_decides():
    model, control, x = known("d2", 20)
    before = torch.get_rng_state()
    first, again, other = (
        denoising_nll(model, x, control, LAW, n_draws=4, generator=generator(seed))
        for seed in (SEED, SEED, SEED + 1)
    )
    assert torch.equal(first, again)
    assert (first != other).all()
    assert torch.equal(before, torch.get_rng_state())


def test_rows_do_not_depend_on_each_other():
    model, control, x = known("d2", 20)
    changed = x.clone()
    changed[:10] += 1
    first, second = (
        denoising_nll(model, rows, control, LAW, n_draws=4, generator=generator(SEED))
        for rows in (x, changed)
    )
    torch.testing.assert_close(first[10:], second[10:], rtol=1e-12, atol=1e-12)
    assert (first[:10] != second[:10]).all()


def test_units_change_it_by_their_volume_alone():
    c, d = 0.01, 2
    model, control, x = known("d2", 50)
    components = (model.axes * model.variances[:, None]) @ model.axes.mT
    scaled = GaussianMixtureScore(model.log_weights.exp(), c * model.means, c**2 * components)
    scaled_control = GaussianScore(torch.zeros(d), c**2 * control.covariance)
    plain, small = (
        denoising_nll(p, rows, G, law, n_draws=4, generator=generator(SEED))
        for p, rows, G, law in (
            (model, x, control, LogUniformSigma(0.01, 10.0)),
            (scaled, c * x, scaled_control, LogUniformSigma(c * 0.01, c * 10.0)),
        )
    )
    torch.testing.assert_close(small, plain + d * math.log(c), rtol=0, atol=1e-6)


def test_single_precision_rows_stay_so():
    model, control, x = known("d2", 20)
    generators = generator(SEED), generator(SEED)
    nll = denoising_nll(model, x.float(), control, LAW, n_draws=2, generator=generators[0])
    assert nll.dtype == torch.float32
    assert nll.isfinite().all()


def test_no_noise_levels_give_no_estimate():
    prior, law = GaussianScore(torch.zeros(1), torch.eye(1)), LogNormalSigma(0.01, 10.0)
    x, generator = torch.ones(1, 1, dtype=torch.float64), torch.Generator()
    with pytest.raises(ValueError, match="n_draws=0 noise levels give no estimate"):
        denoising_nll(prior, x, prior, law, n_draws=0, generator=generator)
