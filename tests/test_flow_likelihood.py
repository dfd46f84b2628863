import math

import numpy as np
import pytest
import torch
from closed_forms import covariance, generator, levels, normal
from scipy.special import ndtr, ndtri

from skscore.datasets import (
    gaussian_mixture_1d,
    random_gaussian_mixture,
    ring_of_gaussians,
    two_modes,
)
from skscore.divergence import PROBE_LAWS, draw_probes, rademacher
from skscore.gaussians import GaussianMixtureScore, GaussianScore
from skscore.likelihood import flow_decode, flow_encode, flow_log_density, flow_sigmas
from skscore.noise import EDM, SubVariancePreserving, VariancePreserving, geometric_sigmas

SEED = 0
LOWEST, HIGHEST = 0.002, 50.0
DENSITIES = {
    "d2": random_gaussian_mixture(2, random_state=SEED),
    "d5": random_gaussian_mixture(5, random_state=SEED),
    "d10": random_gaussian_mixture(10, random_state=SEED),
    "ring": ring_of_gaussians(),
}


def standardised(density):
    """The exact score of the density in units of its standard deviations, and its Gaussian."""
    scale = np.sqrt(np.diag(density.covariance))
    model = GaussianMixtureScore(
        torch.from_numpy(density.weights),
        torch.from_numpy((density.means - density.mean) / scale),
        torch.from_numpy(density.covariances / scale / scale[:, None]),
    )
    return model, GaussianScore(torch.zeros(len(scale)), model.covariance)


def known(name, n=100, sigma=LOWEST):
    model, prior = standardised(DENSITIES[name])
    return model, prior, model.sample(n, sigma, generator(SEED))


def gaussian(d):
    return GaussianScore(normal(d, seed=SEED), covariance(d, SEED))


def errors(model, x, sigmas, prior):
    truth = model.log_density(x, levels(x, sigmas[-1].item()))
    return (flow_log_density(model, x, sigmas, prior)[0] - truth).abs()


def signs(d):
    """All 2^d vectors of signs."""
    axes = [torch.tensor([-1.0, 1.0], dtype=torch.float64)] * d
    return torch.cartesian_prod(*axes).reshape(-1, d)


# The levels


@pytest.mark.parametrize(
    "ends", [(10.0, 0.005), (50.0, 0.002), (1.0, 0.9), (3.0, 3.0 * math.exp(-0.7))]
)
def test_the_levels_are_the_fewest_that_are_equidistant_and_near_enough(ends):
    sigmas = flow_sigmas(*ends)
    assert sigmas.dtype == torch.float64
    assert (sigmas[0].item(), sigmas[-1].item()) == ends
    steps = -sigmas.log().diff()
    torch.testing.assert_close(steps, steps.mean().expand_as(steps))
    assert steps.max() <= 0.15 + 1e-12
    assert len(steps) == 1 or math.log(ends[0] / ends[1]) / (len(steps) - 1) > 0.15


@pytest.mark.parametrize("ends", [(0.1, 1.0), (1.0, 1.0)])
def test_ends_in_the_wrong_order_are_refused(ends):
    with pytest.raises(ValueError, match="do not bound a range of noise levels; choose 0 <"):
        flow_sigmas(*ends)


# Gaussians, which are their own prior


@pytest.mark.parametrize("d", [1, 2, 5])
def test_the_log_density_of_a_gaussian_converges_with_order_four(d):
    model = gaussian(d)
    x = model.sample(30, 0.01, generator(SEED))
    found = [
        errors(model, x, geometric_sigmas(10.0, 0.01, n + 1), model).mean()
        for n in (40, 80, 160, 320)
    ]
    orders = -torch.stack(found).log2().diff()
    assert (orders - 4).abs().max() < 0.4
    assert found[-1] < 1e-7 * d


@pytest.mark.parametrize("d", [1, 2, 5])
def test_the_log_density_of_a_gaussian_is_exact_to_the_error_of_the_steps(d):
    # At σ far above the data dx/dλ = x, which a step h of order four gets wrong by the share
    # h⁵/120. Half of z² is the log-density that it moves.
    model, sigmas = gaussian(d), flow_sigmas(10.0, 0.005)
    x = model.sample(200, 0.005, generator(SEED))
    blurred = model.covariance + 0.005**2 * torch.eye(d)
    z = torch.linalg.solve(torch.linalg.cholesky(blurred), (x - model.means[0]).mT)
    step = (sigmas[0] / sigmas[1]).log()
    shares = step**4 / 120 * math.log(10.0 / model.variances.min().sqrt())
    found = errors(model, x, sigmas, model)
    assert (found / (1 + z.square().sum(0))).max() < shares
    assert found.mean() < 1e-5 * d
    assert errors(model, x, sigmas[:1], model).max() < 1e-12


# Mixtures


@pytest.mark.parametrize("name", DENSITIES)
def test_the_log_density_of_a_mixture_is_its_closed_form(name):
    model, prior, x = known(name)
    found, std = flow_log_density(model, x, flow_sigmas(HIGHEST, LOWEST), prior)
    assert found.shape == std.shape == (len(x),)
    assert found.dtype == torch.float64
    assert (std == 0).all()
    assert (found - model.log_density(x, levels(x, LOWEST))).abs().mean() < 5e-4


@pytest.mark.parametrize("name", DENSITIES)
@pytest.mark.parametrize(
    ("process", "n_levels"),
    [
        (VariancePreserving("linear"), 400),
        (VariancePreserving("cosine"), 150),
        (SubVariancePreserving(), 60),
        (EDM(), 60),
    ],
    ids=["vp_linear", "vp_cosine", "sub_vp", "edm"],
)
def test_the_levels_of_any_process_give_the_same_log_density(process, n_levels, name):
    model, prior, x = known(name, n=25)
    sigmas = process.set_params(sigma_min=LOWEST, sigma_max=HIGHEST).sigmas(n_levels)
    assert errors(model, x, sigmas, prior).mean() < 2e-3


@pytest.mark.parametrize("name", ["d2", "d5", "d10"])
def test_the_error_of_the_gaussian_at_the_largest_level_falls_with_that(name):
    model, prior, x = known(name)
    near, far = (
        errors(model, x, geometric_sigmas(highest, LOWEST, 101), prior).mean()
        for highest in (10.0, 40.0)
    )
    assert near < 1e-2
    assert far < near / 4


@pytest.mark.parametrize("name", ["d2", "ring"])
def test_a_smallest_level_that_is_not_small_gives_the_blurred_density(name):
    model, prior, x = known(name, sigma=0.5)
    sigmas = flow_sigmas(HIGHEST, 0.5)
    assert errors(model, x, sigmas, prior).mean() < 5e-4
    clean = model.log_density(x, levels(x))
    assert (flow_log_density(model, x, sigmas, prior)[0] - clean).abs().mean() > 0.1


def test_the_density_integrates_to_one():
    density = gaussian_mixture_1d()
    model, prior = standardised(density)
    x = torch.arange(-6, 6, 0.02, dtype=torch.float64)[:, None]
    log_density, _ = flow_log_density(model, x, flow_sigmas(HIGHEST, 0.02), prior)
    assert 0.02 * log_density.exp().sum().item() == pytest.approx(1, abs=1e-3)


def test_a_score_that_does_not_know_its_divergence_is_differentiated():
    model, prior, x = known("d5", n=10)
    sigmas = flow_sigmas(HIGHEST, 0.1)
    found, _ = flow_log_density(lambda x, sigma: model(x, sigma), x, sigmas, prior)
    expected, _ = flow_log_density(model, x, sigmas, prior)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


# Units


@pytest.mark.parametrize("scale", [0.01, 3.0])
def test_moving_turning_and_stretching_the_data_change_it_by_the_volume_alone(scale):
    d = 5
    model, prior, x = known("d5", n=50)
    turn, shift = torch.linalg.qr(normal(d, d, seed=SEED + 1))[0], normal(d, seed=SEED + 2)
    root = scale * turn
    components = (model.axes * model.variances[:, None]) @ model.axes.mT
    moved = GaussianMixtureScore(
        model.log_weights.exp(), model.means @ root.mT + shift, root @ components @ root.mT
    )
    moved_prior = GaussianScore(shift, root @ prior.covariance @ root.mT)
    sigmas = flow_sigmas(10.0, 0.01)
    plain, _ = flow_log_density(model, x, sigmas, prior)
    found, _ = flow_log_density(moved, x @ root.mT + shift, scale * sigmas, moved_prior)
    torch.testing.assert_close(found, plain - d * math.log(scale), rtol=0, atol=1e-6)


# Probes


def bent(x, sigma):
    """A score that is of no density: its Jacobian is not symmetric and depends on the row."""
    d = x.shape[1]
    return (torch.tanh(x @ normal(d, d, seed=SEED)) - x) / (1 + sigma**2)


def bent_case(d, n, n_levels=8):
    prior = GaussianScore(torch.zeros(d), torch.eye(d))
    x, sigmas = normal(n, d, seed=SEED), geometric_sigmas(10.0, 0.1, n_levels)

    def log_density(probes=None):
        return flow_log_density(bent, x, sigmas, prior, probes)

    return log_density


@pytest.mark.parametrize("d", [2, 5])
def test_probes_whose_outer_products_average_to_one_give_the_exact_trace(d):
    log_density = bent_case(d, 10)
    exact, _ = log_density()
    for probes in (signs(d), d**0.5 * torch.eye(d, dtype=torch.float64)):
        found, std = log_density(probes)
        torch.testing.assert_close(found, exact, rtol=0, atol=1e-10)
        assert (std > 1e-3).all()


@pytest.mark.parametrize("d", [2, 3])
def test_the_standard_error_of_a_gaussian_is_its_closed_form(d):
    # Each sign vector v has vᵀBv for the trace of B = ∫ σ² (C + σ² I)⁻¹ dλ, which is
    # (ln(C + σ_max² I) - ln(C + σ_min² I))/2. Its variance over all v is 2 Σ_{i≠j} B_ij².
    model, sigmas = gaussian(d), geometric_sigmas(10.0, 0.1, 61)
    x = model.sample(3, 0.1, generator(SEED))
    variances, axes = model.variances[0], model.axes[0]
    b = ((variances + 10.0**2) / (variances + 0.1**2)).log() / 2
    B = (axes * b) @ axes.mT
    variance = 2 * (B.square().sum() - B.diagonal().square().sum())
    probes = signs(d)
    _, std = flow_log_density(model, x, sigmas, model, probes)
    expected = (variance / (len(probes) - 1)).sqrt().expand_as(std)
    torch.testing.assert_close(std, expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("law", PROBE_LAWS)
def test_probes_are_unbiased(law):
    log_density = bent_case(5, 10)
    found, std = log_density(draw_probes(law, (300, 5), generator(SEED), torch.float64))
    assert (std < 0.6).all()
    assert ((found - log_density()[0]) / std).abs().max() < 4.5


@pytest.mark.parametrize("n_probes", [2, 4])
def test_the_standard_error_is_the_error_of_the_probes(n_probes):
    log_density, source, squares = bent_case(5, 30, n_levels=4), generator(SEED), []
    exact, _ = log_density()
    for _ in range(200):
        found, std = log_density(rademacher((n_probes, 5), source, torch.float64))
        squares.append(torch.stack([(found - exact).square(), std.square()]))
    error, reported = torch.stack(squares).mean(dim=(0, 2)).sqrt()
    # The rows share their probes, so that 200 sets know it to some 6 %.
    assert 0.75 < error / reported < 1.3


def test_more_probes_are_the_mean_of_fewer():
    log_density = bent_case(5, 10)
    probes = rademacher((6, 5), generator(SEED), torch.float64)
    each = torch.stack([log_density(probe[None])[0] for probe in probes])
    found, std = log_density(probes)
    torch.testing.assert_close(found, each.mean(0), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(std, each.std(0) / 6**0.5, rtol=1e-10, atol=1e-12)


# The latent Gaussian


@pytest.mark.parametrize("d", [1, 2, 5])
def test_encoding_whitens_a_gaussian_and_decoding_undoes_it(d):
    model, low, high = gaussian(d), 0.1, 10.0
    x = model.sample(50, low, generator(SEED))
    axes, variances = model.axes[0], model.variances[0]
    stretch = ((variances + high**2) / (variances + low**2)).sqrt()
    end = ((x - model.means[0]) @ axes * stretch) @ axes.mT
    root = torch.linalg.cholesky(model.covariance + high**2 * torch.eye(d))
    expected = torch.linalg.solve(root, end.mT).mT
    sigmas = geometric_sigmas(high, low, 201)
    z = flow_encode(model, x, sigmas, model)
    torch.testing.assert_close(z, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(flow_decode(model, expected, sigmas, model), x, rtol=0, atol=1e-5)
    # Its length is that of the whitened row.
    blurred = torch.linalg.cholesky(model.covariance + low**2 * torch.eye(d))
    white = torch.linalg.solve(blurred, (x - model.means[0]).mT).mT
    torch.testing.assert_close(z.norm(dim=1), white.norm(dim=1), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["d2", "d10", "ring"])
def test_encoding_and_decoding_undo_each_other_but_for_the_error_of_the_steps(name):
    model, prior, x = known(name, n=50, sigma=0.02)
    z, n_steps = normal(50, x.shape[1], seed=SEED), len(flow_sigmas(10.0, 0.02)) - 1
    found = []
    for refinement in (1, 3):
        sigmas = geometric_sigmas(10.0, 0.02, refinement * n_steps + 1)
        latent, data = flow_encode(model, x, sigmas, prior), flow_decode(model, z, sigmas, prior)
        back = flow_decode(model, latent, sigmas, prior), flow_encode(model, data, sigmas, prior)
        found.append([(back[0] - x).abs().mean().item(), (back[1] - z).abs().mean().item()])
    coarse, fine = np.array(found)
    assert (coarse < 1e-4).all()
    # Steps of order four are 3⁴ times as exact.
    assert (fine < 1e-6).all()
    assert (fine < coarse / 40).all()


@pytest.mark.parametrize("name", ["d2", "d5", "ring"])
def test_draws_of_the_model_are_standard_normal_when_encoded(name):
    model, prior, x = known(name, n=3000)
    z = flow_encode(model, x, geometric_sigmas(HIGHEST, LOWEST, 31), prior)
    n, d = z.shape
    eye = torch.eye(d, dtype=torch.float64)
    assert z.mean(0).abs().max() < 5 / n**0.5
    assert ((z.mT @ z / n - eye).abs() < 5 * ((1 + eye) / n).sqrt()).all()
    # Not by their first two moments alone.
    assert ((z**4).mean(0) - 3).abs().max() < 5 * (96 / n) ** 0.5


@pytest.mark.parametrize("name", ["d2", "d5", "ring"])
def test_standard_normal_rows_have_the_moments_of_the_data_when_decoded(name):
    model, prior = standardised(DENSITIES[name])
    z = normal(3000, model.means.shape[1], seed=SEED)
    x = flow_decode(model, z, geometric_sigmas(HIGHEST, LOWEST, 31), prior)
    products = x[:, :, None] * x[:, None]
    assert (x.mean(0).abs() < 5 * x.std(0) / 3000**0.5).all()
    deviation = products.mean(0) - model.covariance
    assert (deviation.abs() < 5 * products.std(0) / 3000**0.5).all()
    # Of draws of the model the log-density has the same mean.
    mine, true = (
        model.log_density(rows, levels(rows))
        for rows in (x, model.sample(3000, LOWEST, generator(SEED + 1)))
    )
    allowed = 5 * ((mine.var() + true.var()) / 3000).sqrt()
    assert (mine.mean() - true.mean()).abs() < allowed


@pytest.mark.parametrize("density", [gaussian_mixture_1d, lambda: random_gaussian_mixture(1, 3, 0)])
def test_on_a_line_the_latent_is_the_normal_quantile_of_the_distribution(density):
    model, prior = standardised(density())
    x = model.sample(200, LOWEST, generator(SEED)).sort(0).values
    z = flow_encode(model, x, flow_sigmas(HIGHEST, LOWEST), prior)
    assert (z.diff(dim=0) > 0).all()
    w, mean = model.log_weights.exp().numpy(), model.means[:, 0].numpy()
    deviation = np.sqrt(model.variances[:, 0].numpy() + LOWEST**2)
    F = ndtr((x.numpy() - mean) / deviation) @ w
    np.testing.assert_allclose(z[:, 0].numpy(), ndtri(F), rtol=0, atol=1e-3)
    back = flow_decode(model, z, flow_sigmas(HIGHEST, LOWEST), prior)
    assert (back.diff(dim=0) > 0).all()


def test_the_log_density_is_that_of_the_latent_and_of_the_change_of_volume():
    model, prior, x = known("d2", n=5)
    sigmas = geometric_sigmas(HIGHEST, 0.1, 81)
    z = flow_encode(model, x, sigmas, prior)
    jacobian = torch.func.vmap(
        torch.func.jacrev(lambda row: flow_encode(model, row[None], sigmas, prior)[0])
    )(x)
    log_normal = -(z.square() + math.log(2 * math.pi)).sum(1) / 2
    expected = log_normal + torch.linalg.slogdet(jacobian).logabsdet
    found, _ = flow_log_density(model, x, sigmas, prior)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


# Rows


@pytest.mark.parametrize("n_probes", [0, 3])
def test_rows_do_not_depend_on_each_other(n_probes):
    model, prior, x = known("d5", n=10)
    sigmas = flow_sigmas(10.0, 0.1)
    probes = rademacher((n_probes, 5), generator(SEED), torch.float64) if n_probes else None
    together = flow_log_density(model, x, sigmas, prior, probes)
    alone = flow_log_density(model, x[4:5], sigmas, prior, probes)
    for all_rows, row in zip(together, alone, strict=True):
        torch.testing.assert_close(all_rows[4:5], row, rtol=1e-10, atol=1e-10)
    for transport in (flow_encode, flow_decode):
        all_rows, row = (transport(model, part, sigmas, prior) for part in (x, x[4:5]))
        torch.testing.assert_close(all_rows[4:5], row, rtol=1e-10, atol=1e-10)


def test_far_modes_have_their_own_weights():
    # Between the modes the score does not know the weights; the flow does, from the levels above.
    model, prior = standardised(two_modes())
    found, _ = flow_log_density(model, model.means, flow_sigmas(HIGHEST, LOWEST), prior)
    assert (found[0] - found[1]).item() == pytest.approx(math.log(0.8 / 0.2), abs=2e-3)


def test_levels_that_rise_no_probes_and_no_range_are_refused():
    prior = GaussianScore(torch.zeros(2), torch.eye(2))
    x, sigmas = torch.ones(1, 2, dtype=torch.float64), flow_sigmas(10.0, 0.1)
    with pytest.raises(ValueError, match="sigmas must be decreasing"):
        flow_log_density(prior, x, sigmas.flip(0), prior)
    with pytest.raises(ValueError, match="0 probes give no divergence; give 1 or more"):
        flow_log_density(prior, x, sigmas, prior, torch.ones(0, 2, dtype=torch.float64))
    _, std = flow_log_density(prior, x, sigmas, prior, torch.ones(1, 2, dtype=torch.float64))
    assert std.isnan().all()
    with pytest.raises(ValueError, match="sigma_min=0.0 and sigma_max=10.0 do not bound a range"):
        flow_sigmas(10.0, 0.0)
