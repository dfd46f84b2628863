import math

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid
from sklearn.mixture import GaussianMixture

from skscore.datasets import Banana, CorrelatedT, random_gaussian_mixture, two_modes
from skscore.likelihood import bridge_sampling, log_normalizer, normalize_energy

SEED = 0
CONSTANT = 7.5  # of every energy: log Z of exp(-E) = p e^7.5 is 7.5


class Mixture:
    """A Gaussian mixture's energy in torch; the density itself is the oracle."""

    def __init__(self, density, weights=None):
        self.density = density
        weights = density.weights if weights is None else weights
        self.means = torch.from_numpy(density.means)
        self.precisions = torch.linalg.inv(torch.from_numpy(density.covariances))
        self.log_weights = (
            torch.as_tensor(weights).log()
            + torch.logdet(self.precisions) / 2
            - density.n_features / 2 * math.log(2 * math.pi)
        )

    def _components(self, x):
        delta = x[:, None] - self.means
        pull = torch.einsum("nkd,kde->nke", delta, self.precisions)
        return self.log_weights - (delta * pull).sum(2) / 2, pull

    def energy(self, x, sigma):
        return -torch.logsumexp(self._components(x)[0], 1) - CONSTANT

    def score(self, x, sigma):
        log_f, pull = self._components(x)
        return -torch.einsum("nk,nkd->nd", log_f.softmax(1), pull)


class Known:
    """The energy of a toy density."""

    def __init__(self, density):
        self.density = density

    def energy(self, x, sigma):
        return -torch.from_numpy(self.density.log_density(x.numpy())) - CONSTANT

    def score(self, x, sigma):
        return torch.from_numpy(self.density.score_function(x.numpy()))


def gaussian(covariance):
    density = random_gaussian_mixture(len(covariance), 1, random_state=0)
    density.means = np.zeros((1, len(covariance)))
    density.covariances = np.asarray(covariance)[None]
    return Mixture(density)


def estimate(model, X, seed=SEED, **kwargs):
    generator = torch.Generator().manual_seed(seed)
    return log_normalizer(model.energy, model.score, X, generator=generator, **kwargs)


# The bridge


def log_normal(x, mean=0.0, std=1.0):
    return -((x - mean) ** 2) / (2 * std**2) - np.log(std) - np.log(2 * np.pi) / 2


def gaussian_bridge(seed, mean, std, n_model, n_proposal):
    rng = np.random.RandomState(seed)
    x, y = rng.standard_normal(n_model), mean + std * rng.standard_normal(n_proposal)
    return (
        log_normal(x) + CONSTANT,
        log_normal(x, mean, std),
        log_normal(y) + CONSTANT,
        log_normal(y, mean, std),
    )


CASES = [(0.0, 2.0, 300, 300), (1.0, 1.3, 200, 1000), (3.0, 1.0, 1000, 300), (0.0, 0.6, 500, 500)]


@pytest.mark.parametrize("case", CASES)
def test_the_bridge_is_the_fixed_point_of_meng_and_wong(case):
    p_x, q_x, p_y, q_y = gaussian_bridge(SEED, *case)
    s_1, s_2 = np.array(case[2:]) / sum(case[2:])
    p, q, r = [np.exp(p_x), np.exp(p_y)], [np.exp(q_x), np.exp(q_y)], 1.0
    for _ in range(2000):
        numerator = np.mean(p[1] / (s_1 * p[1] + s_2 * r * q[1]))
        r = numerator / np.mean(q[0] / (s_1 * p[0] + s_2 * r * q[0]))
    found = bridge_sampling(p_x, q_x, p_y, q_y)
    assert found.log_normalizer == pytest.approx(np.log(r), abs=1e-10)
    # Frühwirth-Schnatter 2004, with the two bridged densities normalised.
    f_1, f_2 = (
        p[1] / (s_1 * p[1] / r + s_2 * q[1]) / r,
        q[0] / (s_1 * p[0] / r + s_2 * q[0]),
    )
    squared = f_1.var() / f_1.mean() ** 2 / case[3] + f_2.var() / f_2.mean() ** 2 / case[2]
    assert found.std == pytest.approx(np.sqrt(squared))
    w = p[1] / q[1]
    assert found.effective_sample_size == pytest.approx(w.sum() ** 2 / (w**2).sum() / len(w))


@pytest.mark.parametrize("case", CASES)
def test_the_standard_error_is_the_spread_of_repeats(case):
    found = [bridge_sampling(*gaussian_bridge(1000 * SEED + i, *case)) for i in range(200)]
    errors = np.array([estimate.log_normalizer - CONSTANT for estimate in found])
    reported = np.array([estimate.std for estimate in found])
    # 200 repeats know their spread to 5 %.
    assert 0.8 < errors.std() / reported.mean() < 1.25
    assert abs(errors.mean()) < 4 * errors.std() / np.sqrt(200)


def test_the_bridge_is_exact_where_the_proposal_is_the_model():
    p_x, q_x, p_y, q_y = gaussian_bridge(SEED, 0.0, 1.0, 50, 80)
    found = bridge_sampling(p_x, q_x, p_y, q_y)
    assert found.log_normalizer == pytest.approx(CONSTANT, abs=1e-12)
    assert found.std < 1e-12
    assert found.effective_sample_size == pytest.approx(1)


def test_swapping_model_and_proposal_changes_the_sign():
    p_x, q_x, p_y, q_y = gaussian_bridge(SEED, 1.0, 1.5, 100, 300)
    forth, back = bridge_sampling(p_x, q_x, p_y, q_y), bridge_sampling(q_y, p_y, q_x, p_x)
    assert forth.log_normalizer == pytest.approx(-back.log_normalizer, abs=1e-10)
    assert forth.std == pytest.approx(back.std)


@pytest.mark.parametrize("offset", [-1e5, 0.0, 1e5])
def test_energies_of_any_size_are_bridged(offset):
    p_x, q_x, p_y, q_y = gaussian_bridge(SEED, 0.0, 2.0, 500, 500)
    found = bridge_sampling(p_x + offset, q_x, p_y + offset, q_y)
    assert found.log_normalizer == pytest.approx(CONSTANT + offset, abs=4 * found.std)


def test_draws_of_no_density_count_and_weigh_nothing():
    # A half normal, 2 N(0, 1) on x > 0, from N(0, 1): every weight is 0 or the same.
    rng = np.random.RandomState(SEED)
    x, y = np.abs(rng.standard_normal(2000)), rng.standard_normal(3000)
    with np.errstate(divide="ignore"):
        p_y = log_normal(y) + np.log(y > 0) + CONSTANT
    found = bridge_sampling(log_normal(x) + CONSTANT, log_normal(x), p_y, log_normal(y))
    assert found.log_normalizer == pytest.approx(CONSTANT - np.log(2), abs=4 * found.std)
    assert 0 < found.std < 0.05
    assert found.effective_sample_size == pytest.approx(np.mean(y > 0))
    # The other way round, the proposal is the half normal.
    back = bridge_sampling(log_normal(y), p_y, log_normal(x), log_normal(x) + CONSTANT)
    assert back.log_normalizer == pytest.approx(-found.log_normalizer)


@pytest.mark.parametrize("gap", [12.0, 1000.0])
def test_a_bridge_over_nothing_is_refused(gap):
    with pytest.raises(ValueError, match="The 300 draws of the model and the 200.*do not overlap"):
        bridge_sampling(*gaussian_bridge(SEED, gap, 1.0, 300, 200))


def test_a_proposal_wholly_outside_of_the_model_is_refused():
    p_x, q_x, _, q_y = gaussian_bridge(SEED, 0.0, 1.0, 10, 10)
    with pytest.raises(ValueError, match="do not overlap"):
        bridge_sampling(p_x, q_x, np.full(10, -np.inf), q_y)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("place", range(4))
def test_values_that_are_no_log_density_are_refused(place, bad):
    values = list(gaussian_bridge(SEED, 0.0, 2.0, 10, 10))
    values[place][3] = bad
    with pytest.raises(ValueError, match="must be"):
        bridge_sampling(*values)


def test_a_density_of_zero_at_its_own_draws_is_refused():
    p_x, q_x, p_y, q_y = gaussian_bridge(SEED, 0.0, 2.0, 10, 10)
    p_x[0] = -np.inf
    with pytest.raises(ValueError, match="Pass draws of the model first"):
        bridge_sampling(p_x, q_x, p_y, q_y)


# Energies


@pytest.mark.parametrize("d", [1, 2, 5, 10])
def test_the_normaliser_of_a_mixture_is_its_closed_form(d):
    density = random_gaussian_mixture(d, random_state=SEED)
    found = estimate(Mixture(density), density.sample(1000, SEED))
    assert abs(found.log_normalizer - CONSTANT) < min(4 * found.std, 0.02)
    assert found.std < 0.006
    assert found.effective_sample_size > 0.3


@pytest.mark.parametrize(
    ("density", "tolerance"),
    [(CorrelatedT(1), 0.008), (Banana(2), 0.008), (Banana(10), 0.02)],
    ids=["t_d1", "banana_d2", "banana_d10"],
)
def test_the_normaliser_of_a_known_density(density, tolerance):
    found = estimate(Known(density), density.sample(2000, SEED))
    assert found.log_normalizer == pytest.approx(CONSTANT, abs=tolerance)


def test_rows_that_do_not_follow_the_model_do_not_bias_it():
    # The rows are of a Student t, the model is the Gaussian of their covariance.
    d, X = 10, CorrelatedT(10).sample(2000, SEED)
    model = gaussian(CorrelatedT(d).covariance)
    found = estimate(model, X)
    assert abs(found.log_normalizer - CONSTANT) < min(4 * found.std, 0.02)

    # What the rows give if they are taken for draws of the model:
    proposal = GaussianMixture(2, random_state=SEED).fit(X)
    y = proposal.sample(20_000)[0]
    naive = bridge_sampling(
        -model.energy(torch.from_numpy(X), None).numpy(),
        proposal.score_samples(X),
        -model.energy(torch.from_numpy(y), None).numpy(),
        proposal.score_samples(y),
    )
    assert naive.log_normalizer - CONSTANT < -0.04
    assert naive.log_normalizer - CONSTANT < -4 * naive.std


@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_a_model_narrower_or_wider_than_the_rows_is_normalised(factor):
    X = np.random.RandomState(SEED).standard_normal((1000, 10))
    found = estimate(gaussian(factor * np.eye(10)), X)
    assert abs(found.log_normalizer - CONSTANT) < min(4 * found.std, 0.03)
    assert found.effective_sample_size > 0.1


def test_modes_whose_weights_the_model_got_wrong_are_weighed_by_the_model():
    # Scores do not know the weights of far modes: the rows are .8/.2, the model has .5/.5.
    density = two_modes()
    found = estimate(Mixture(density, weights=[0.5, 0.5]), density.sample(2000, SEED))
    assert abs(found.log_normalizer - CONSTANT) < 0.01


def test_the_density_integrates_to_one_by_quadrature():
    # A network nobody normalised: the energy of a random tanh layer, in one and in two dimensions.
    for d in (1, 2):
        rng = np.random.RandomState(SEED)
        W, b, a = (torch.from_numpy(rng.standard_normal(shape)) for shape in ((d, 16), 16, 16))

        def energy_fn(x, sigma, W=W, b=b, a=a):
            return x.square().sum(1) / 2 + torch.tanh(2 * x @ W + b) @ a

        def score_fn(x, sigma, W=W, b=b, a=a):
            slope = 1 - torch.tanh(2 * x @ W + b).square()
            return -x - 2 * (slope * a) @ W.T

        axis = np.linspace(-9, 9, 4001 if d == 1 else 801)
        grid = np.stack(np.meshgrid(*[axis] * d), -1).reshape(-1, d)
        values = np.exp(-energy_fn(torch.from_numpy(grid), None).numpy())
        integral = values.reshape([len(axis)] * d)
        for _ in range(d):
            integral = trapezoid(integral, axis)
        X = grid[rng.choice(len(grid), 1000, p=values / values.sum())]
        generator = torch.Generator().manual_seed(SEED)
        found = log_normalizer(energy_fn, score_fn, X, generator=generator)
        assert integral / np.exp(found.log_normalizer) == pytest.approx(1, abs=0.01)


def test_the_normaliser_does_not_depend_on_the_units_but_by_their_volume():
    density, c = random_gaussian_mixture(2, random_state=SEED), 1e-4
    model, X = Mixture(density), density.sample(500, SEED)

    class Scaled:
        @staticmethod
        def energy(x, sigma):
            return model.energy(x / c, sigma)

        @staticmethod
        def score(x, sigma):
            return model.score(x / c, sigma) / c

    plain, scaled = estimate(model, X), estimate(Scaled, c * X)
    difference = scaled.log_normalizer - plain.log_normalizer
    assert difference == pytest.approx(2 * np.log(c), abs=4 * (plain.std + scaled.std))


def test_energy_and_score_are_read_at_the_noise_level_and_the_seed_decides():
    def energy_fn(x, sigma):
        assert sigma.shape == (len(x), 1)
        return (x.square() / (1 + sigma**2)).sum(1) / 2

    def score_fn(x, sigma):
        return -x / (1 + sigma**2)

    X, before = np.random.RandomState(SEED).standard_normal((100, 2)), torch.get_rng_state()
    runs = [
        log_normalizer(
            energy_fn,
            score_fn,
            X,
            2.0,
            n_chains=200,
            n_draws=5000,
            generator=torch.Generator().manual_seed(seed),
        )
        for seed in (1, 1, 2)
    ]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
    assert runs[0].log_normalizer == pytest.approx(np.log(2 * np.pi * 5), abs=4 * runs[0].std)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("n_rows", [4, 30])
def test_few_rows_are_enough_for_a_gaussian(n_rows):
    X = np.random.RandomState(SEED).standard_normal((n_rows, 3))
    found = estimate(gaussian(np.eye(3)), X)
    assert abs(found.log_normalizer - CONSTANT) < 0.02


def test_no_more_rows_than_dimensions_are_enough_for_a_gaussian_too():
    X = np.random.RandomState(SEED).standard_normal((3, 3))
    found = estimate(gaussian(np.eye(3)), X)
    assert abs(found.log_normalizer - CONSTANT) < max(4 * found.std, 0.02)


def test_weights_of_rows_are_copies_of_them():
    X = np.random.RandomState(SEED).standard_normal((60, 2))
    model, X = gaussian(np.eye(2)), torch.from_numpy(X)
    weights = torch.ones(60).double()
    weights[:20] = 3
    found = [
        normalize_energy(
            model.energy,
            model.score,
            rows,
            w,
            sigma=0.0,
            n_chains=200,
            n_draws=2000,
            generator=torch.Generator().manual_seed(SEED),
        )
        for rows, w in ((X, weights), (X, 7 * weights), (X, None))
    ]
    torch.testing.assert_close(found[0][1].means, found[1][1].means)
    assert (found[0][1].means - found[2][1].means).norm() > 0.01
    for estimate_, _ in found:
        assert abs(estimate_.log_normalizer - CONSTANT) < max(4 * estimate_.std, 0.02)


def test_an_energy_that_is_no_number_is_refused():
    X = np.random.RandomState(SEED).standard_normal((100, 2))
    for energy, message in ((np.nan, "The energy is NaN at"), (np.inf, "infinite at every draw")):
        with pytest.raises(ValueError, match=message):
            log_normalizer(
                lambda x, sigma, energy=energy: torch.full((len(x),), energy).double(),
                lambda x, sigma: -x,
                X,
                generator=torch.Generator().manual_seed(SEED),
            )
