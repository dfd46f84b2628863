"""A network and a Gaussian mixture, weighed at every noise level by rows that neither has seen."""

import pytest
import torch
from closed_forms import SEED, generator, levels, normal

from skscore import _noise_stack
from skscore._noise_stack import stack_with_mixture
from skscore._validation import split_rows, torch_generator
from skscore.datasets import ring_of_gaussians
from skscore.gaussians import GaussianMixtureScore, GaussianScore, fit_gaussian_mixture
from skscore.noise import geometric_sigmas
from skscore.stacking import denoising_weights

N, RANGE = 200, (0.01, 10.0)


def rows(n=N, seed=SEED):
    x = torch.from_numpy(ring_of_gaussians().sample(n, random_state=seed))
    return x, torch.rand(n, generator=generator(seed), dtype=torch.float64)


def truth():
    p = ring_of_gaussians()
    return GaussianMixtureScore(p.weights, p.means, p.covariances)


def stacked(network, n=N, seed=SEED, *, rows_seed=SEED, share=0.2):
    x, w = rows(n, rows_seed)
    parts = [(x[i], w[i]) for i in map(torch.from_numpy, split_rows(n, share, seed))]
    return stack_with_mixture(network, *parts, (x, w), RANGE, seed)


def test_a_stack_holds_the_network_itself_and_a_mixture_of_all_rows():
    network = truth()
    stack = stacked(network)
    kept, mixture = stack.components
    assert kept is network
    x, w = rows()
    expected, at = fit_gaussian_mixture(x, w, seed=SEED), normal(10, 2)
    assert torch.equal(mixture(at, levels(at, 0.3)), expected(at, levels(at, 0.3)))


def test_levels_span_the_range_in_rising_order_and_weights_lie_on_the_simplex():
    stack = stacked(GaussianScore(torch.zeros(2), torch.eye(2)))
    expected = geometric_sigmas(10.0, 0.01, 12).flip(0).double()
    torch.testing.assert_close(stack.sigmas, expected)
    assert stack.weights.shape == (12, 2)
    assert (stack.weights >= 0).all()
    torch.testing.assert_close(stack.weights.sum(1), torch.ones(12, dtype=torch.float64))


def test_weights_are_those_of_held_out_rows_and_of_a_mixture_that_has_not_seen_them():
    network, (x, w) = GaussianScore(torch.zeros(2), torch.eye(2)), rows()
    train, valid = map(torch.from_numpy, split_rows(N, 0.2, SEED))
    unseen = fit_gaussian_mixture(x[train], w[train], seed=SEED)
    sigmas = geometric_sigmas(10.0, 0.01, 12).flip(0).to(x)
    expected = denoising_weights(
        [network, unseen], x[valid], w[valid], sigmas, torch_generator(SEED), n_draws=64
    )
    torch.testing.assert_close(stacked(network).weights, expected)


@pytest.mark.parametrize(("n", "n_draws"), [(50, 64), (2000, 24), (60_000, 2)])
def test_few_rows_are_blurred_more_often(n, n_draws, monkeypatch):
    seen = []
    weights = torch.ones(12, 2, dtype=torch.float64) / 2
    mixture = GaussianScore(torch.zeros(2), torch.eye(2))
    monkeypatch.setattr(
        _noise_stack, "denoising_weights", lambda *args, n_draws: seen.append(n_draws) or weights
    )
    monkeypatch.setattr(_noise_stack, "fit_gaussian_mixture", lambda *args, seed: mixture)
    stacked(mixture, n)
    assert seen == [n_draws]


@pytest.mark.parametrize("seed", range(5))
def test_the_truth_gets_most_of_the_weight_where_the_mixture_of_few_rows_is_worse(seed):
    stack = stacked(truth(), 120, seed, rows_seed=seed, share=0.5)
    fine = stack.sigmas < 0.3
    assert (stack.weights[fine, 0] > 0.5).all()
    assert stack.weights[fine, 0].mean() > 0.7


def test_a_network_that_knows_nothing_gets_next_to_none():
    stack = stacked(GaussianScore(torch.full((2,), 30.0), 0.1 * torch.eye(2)))
    assert (stack.weights[stack.sigmas < 2, 0] < 0.02).all()


def test_the_seed_decides():
    network = GaussianScore(torch.zeros(2), torch.eye(2))
    a, b, other = (stacked(network, seed=seed).weights for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, other)
