"""Known truths, recovered by training with the default settings."""

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV

from skscore import DenoisingScoreEstimator, NCSNGenerator, ScoreMatchingDensity
from skscore.datasets import gaussian_mixture_1d, ring_of_gaussians, two_modes
from skscore.metrics import fisher_divergence

pytestmark = pytest.mark.slow


def mode_weights(X, density):
    distances = ((X[:, None] - density.means) ** 2).sum(axis=2)
    return np.bincount(distances.argmin(axis=1), minlength=len(density.means)) / len(X)


def test_default_generator_recovers_a_ring_of_eight_modes():
    ring = ring_of_gaussians()
    X = ring.sample(2000, random_state=0)
    drawn = NCSNGenerator(random_state=0).fit(X).sample(20_000, random_state=0)
    assert np.abs(mode_weights(drawn, ring) - 1 / 8).max() < 0.03
    truth = ring.log_density(ring.sample(100_000, random_state=1)).mean()
    assert abs(ring.log_density(drawn).mean() - truth) < 0.1


def test_denoising_score_is_that_of_the_blurred_density():
    density, sigma = gaussian_mixture_1d(), 0.5
    X = density.sample(5000, random_state=0)
    model = DenoisingScoreEstimator(sigma, standardize=False, random_state=0).fit(X)
    noisy = density.sample(5000, random_state=1)
    noisy = noisy + sigma * np.random.RandomState(2).normal(size=noisy.shape)
    truth = density.score_function(noisy, sigma)
    error = fisher_divergence(
        model.score_function, lambda x: density.score_function(x, sigma), noisy
    )
    assert error < 0.01 * (truth**2).sum(axis=1).mean()


def test_search_over_sigma_finds_a_noise_level_near_the_best():
    ring = ring_of_gaussians()
    X, fresh = ring.sample(1000, random_state=0), ring.sample(5000, random_state=1)
    sigmas = np.geomspace(0.03, 1, 5)
    estimator = DenoisingScoreEstimator(max_steps=400, random_state=0)
    search = GridSearchCV(estimator, {"sigma": sigmas}, cv=3, refit=False).fit(X)
    truth = [
        fisher_divergence(
            estimator.set_params(sigma=sigma).fit(X).score_function, ring.score_function, fresh
        )
        for sigma in sigmas
    ]
    assert truth[np.argmax(search.cv_results_["mean_test_score"])] <= 1.25 * min(truth)


def test_annealed_langevin_finds_the_weights_of_far_modes_and_plain_langevin_does_not():
    density = two_modes()
    generator = NCSNGenerator(
        1.0,
        20.0,
        noise="ve",
        n_levels=10,
        standardize=False,
        lr=2e-3,
        n_sampling_steps=100,
        step_size=0.2,
        random_state=0,
    ).fit(density.sample(2000, random_state=0))
    weights = {}
    for sampler in ("annealed_langevin", "langevin"):
        drawn = generator.set_params(sampler=sampler).sample(2000, random_state=0)
        weights[sampler] = mode_weights(drawn, density)[0]
    assert abs(weights["annealed_langevin"] - 0.8) < 0.05
    assert abs(weights["langevin"] - 0.8) > 0.15


@pytest.mark.parametrize("objective", ["implicit", "sliced", "denoising"])
def test_objectives_recover_the_score_of_a_correlated_gaussian(objective):
    covariance = np.array([[2.0, 1.2], [1.2, 1.0]])
    X = np.random.RandomState(0).multivariate_normal([1.0, -1.0], covariance, size=3000)
    model = ScoreMatchingDensity(objective, max_steps=600, random_state=0).fit(X)

    def truth(X):
        return -(X - [1.0, -1.0]) @ np.linalg.inv(covariance)

    fresh = np.random.RandomState(1).multivariate_normal([1.0, -1.0], covariance, size=3000)
    assert fisher_divergence(model.score_function, truth, fresh) < 0.05 * np.trace(
        np.linalg.inv(covariance)
    )
