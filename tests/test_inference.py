"""Scores and traces read in float64, in parts, exactly or with probes."""

import numpy as np
import pytest
import torch
from closed_forms import SEED, generator, levels, normal

from skscore._inference import implicit_losses, in_parts, probe_error, scores_and_traces, to_numpy
from skscore.datasets import random_gaussian_mixture
from skscore.divergence import EXACT_TRACE_MAX, exact_divergence, rademacher
from skscore.gaussians import GaussianMixtureScore
from skscore.objectives import implicit

MANY = EXACT_TRACE_MAX + 1


def mixture(d):
    p = random_gaussian_mixture(d, 3, random_state=SEED)
    return GaussianMixtureScore(p.weights, p.means, p.covariances)


def curved(d, seed=SEED, spread=1.0):
    """A score whose Jacobian differs from row to row and is not symmetric."""
    M = spread * normal(d, d, seed=seed) / d**0.5
    return lambda x, sigma: torch.tanh(x @ M) / (1 + sigma) - x


@pytest.mark.parametrize("d", [1, 5, EXACT_TRACE_MAX])
@pytest.mark.parametrize("sigma", [0.0, 0.7])
def test_up_to_a_hundred_features_losses_are_the_implicit_objective(d, sigma):
    model, x = mixture(d), normal(12, d)
    losses, deviations = implicit_losses(model, x, levels(x, sigma))
    # A function knows no divergence of its own: the oracle takes the derivatives.
    expected = implicit(lambda x, sigma: model(x, sigma), x, levels(x, sigma))
    torch.testing.assert_close(losses, expected, rtol=1e-9, atol=1e-9)
    assert deviations.shape == (12, 0)
    assert probe_error(deviations, np.ones(12)) == 0.0


def test_scores_and_traces_are_those_of_the_exact_divergence():
    score_fn, x = curved(6), normal(9, 6)
    scores, traces, deviations = scores_and_traces(score_fn, x, levels(x, 0.3))
    torch.testing.assert_close((scores, traces), exact_divergence(score_fn, x, levels(x, 0.3)))
    assert deviations.shape == (9, 0)


def test_above_a_hundred_features_the_trace_is_the_mean_of_probes_that_all_rows_share():
    x, M = normal(7, MANY), normal(MANY, MANY, seed=1)
    scores, traces, deviations = scores_and_traces(lambda x, sigma: x @ M, x, levels(x))
    probes = rademacher((64, 1, MANY), generator(0), dtype=torch.float64)[:, 0]
    each = torch.stack([v @ M @ v for v in probes])
    torch.testing.assert_close(scores, x @ M)
    torch.testing.assert_close(traces, each.mean().expand(7))
    torch.testing.assert_close(deviations, (each - each.mean()).expand(7, 64))
    losses, twice = implicit_losses(lambda x, sigma: x @ M, x, levels(x))
    torch.testing.assert_close(losses, scores.square().sum(1) + 2 * traces)
    torch.testing.assert_close(twice, 2 * deviations)


def test_the_probe_error_is_the_spread_of_the_means_of_each_probe():
    x, w = normal(30, MANY), np.random.RandomState(SEED).exponential(size=30)
    losses, deviations = implicit_losses(curved(MANY), x, levels(x))
    means = w @ to_numpy(losses[:, None] + deviations) / w.sum()
    assert means.mean() == pytest.approx(np.average(losses, weights=w), rel=1e-10)
    expected = means.std(ddof=1) / len(means) ** 0.5
    assert probe_error(deviations, w) == pytest.approx(expected, rel=1e-10)
    assert probe_error(deviations, 5 * w) == pytest.approx(expected, rel=1e-10)


def test_the_probe_error_covers_the_error():
    within = []
    for seed in range(20):
        x, score_fn = normal(10, MANY, seed=seed), curved(MANY, seed, spread=3.0)
        losses, deviations = implicit_losses(score_fn, x, levels(x))
        error = (losses - implicit(score_fn, x, levels(x))).mean().abs().item()
        within.append(error / probe_error(deviations, np.ones(10)))
    # 19 of 20 are expected within two standard errors; 16 or fewer with a probability of .02.
    assert sum(ratio < 2 for ratio in within) >= 17
    assert max(within) > 0.5  # and the error is not far too large


@pytest.mark.parametrize("d", [3, MANY])
def test_rows_do_not_depend_on_the_rows_that_come_with_them(d):
    x = normal(300, d)  # more than one part
    score_fn = curved(d)
    together = scores_and_traces(score_fn, x, levels(x, 0.2))
    for rows in (slice(0, 1), slice(254, 259), slice(299, 300)):
        alone = scores_and_traces(score_fn, x[rows], levels(x[rows], 0.2))
        for a, b in zip(together, alone, strict=True):
            torch.testing.assert_close(a[rows], b, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("n", [1, 255, 256, 257, 600])
def test_parts_are_whole_and_keep_no_gradients(n):
    weight = torch.ones(2, dtype=torch.float64, requires_grad=True)
    seen = []

    def function(x, sigma):
        seen.append((len(x), len(sigma)))
        return x * weight + sigma

    x, sigma = normal(n, 2), normal(n, 1, seed=1)
    values = in_parts(function, x, sigma)
    assert set(seen) == {(256, 256)}
    assert len(seen) == -(-n // 256)
    assert torch.equal(values, x + sigma)
    assert not values.requires_grad
