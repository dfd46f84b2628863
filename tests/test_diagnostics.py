"""Overfitted scores and separated modes."""

import numpy as np
import pytest
import torch

from skscore._diagnostics import (
    mode_shares,
    overfitting_message,
    separated_modes_message,
    stein_ratio,
)
from skscore.datasets import Banana, CorrelatedT, TwoMoons, random_gaussian_mixture, two_modes
from skscore.gaussians import GaussianMixtureScore, fit_gaussian_mixture


def mixture_score(density):
    return GaussianMixtureScore(
        torch.from_numpy(density.weights),
        torch.from_numpy(density.means),
        torch.from_numpy(density.covariances),
    )


@pytest.mark.parametrize("seed", range(20))
def test_the_ratio_is_one_for_the_true_score_and_falls_as_the_score_is_blown_up(seed):
    density = random_gaussian_mixture(3, random_state=0)
    model = mixture_score(density)
    x = torch.from_numpy(density.sample(2000, random_state=seed))
    zero = torch.zeros_like(x[:, :1])
    ratio, error = stein_ratio(model, x, zero, np.ones(2000))
    assert abs(ratio - 1) < 4 * error
    assert error < 0.1
    doubled, _ = stein_ratio(lambda x, sigma: 2 * model(x, sigma), x, zero, np.ones(2000))
    assert doubled == pytest.approx(ratio / 2)


def test_the_ratio_minimises_the_implicit_objective_of_multiples():
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    w = np.arange(1.0, 51)

    def score_fn(x, sigma):
        return torch.sin(3 * x) - x

    a, _ = stein_ratio(score_fn, x, torch.zeros_like(x[:, :1]), w)
    slope = 3 * torch.cos(3 * x) - 1

    def objective(a):
        return w @ (a**2 * score_fn(x, 0).square().sum(1) + 2 * a * slope.sum(1)).numpy()

    assert objective(a) < min(objective(a - 1e-3), objective(a + 1e-3))


def test_weights_are_copies_of_rows():
    x = torch.randn(20, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    w = np.ones(20)
    w[:5] = 3
    copies = torch.cat([x, x[:5], x[:5]])

    def score_fn(x, sigma):
        return torch.sin(3 * x) - x

    weighted, _ = stein_ratio(score_fn, x, torch.zeros_like(x[:, :1]), w)
    copied, _ = stein_ratio(score_fn, copies, torch.zeros_like(copies[:, :1]), np.ones(30))
    assert weighted == pytest.approx(copied)


def test_a_ratio_is_worth_a_word_if_it_is_far_below_one_and_that_is_no_chance():
    assert overfitting_message(0.75, 0.01) == overfitting_message(0.5, 0.2) == ""
    # That of a blurred score is above one on clean rows, by right.
    assert overfitting_message(1.6, 0.01) == ""
    message = overfitting_message(0.5, 0.1)
    assert "a* = 0.5 ± 0.1, which is 1 for the true score: it is overfitted. Use more" in message


def fitted_shares(density, n=2000, seed=0):
    x = torch.from_numpy(density.sample(n, random_state=seed))
    return mode_shares(fit_gaussian_mixture(x, seed=seed))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("density", [Banana(2), Banana(5), CorrelatedT(3), TwoMoons(noise=0.1)])
def test_what_hangs_together_is_one_mode(density, seed):
    # Single rows far out may have a component of their own.
    assert fitted_shares(density, seed=seed) == [pytest.approx(1, abs=0.01)]


@pytest.mark.parametrize("seed", range(5))
def test_curved_modes_are_told_apart_by_what_lies_between_them(seed):
    assert fitted_shares(TwoMoons(noise=0.04), seed=seed) == pytest.approx([0.5, 0.5], abs=0.05)


@pytest.mark.parametrize("seed", range(5))
def test_far_modes_are_found_with_their_weights(seed):
    shares = fitted_shares(two_modes(), seed=seed)
    # two_modes has .8 and .2; SE (.16/2000)^½ = .009
    assert shares == pytest.approx([0.8, 0.2], abs=4 * 0.009)


def test_few_far_rows_are_no_mode_and_a_curved_one_is_one():
    rng = np.random.RandomState(0)
    X = np.vstack([rng.normal(size=(1000, 2)), rng.normal(size=(5, 2)) + 30])
    assert len(mode_shares(fit_gaussian_mixture(torch.from_numpy(X), seed=0))) == 1
    angle = rng.uniform(0, 1.5 * np.pi, size=1000)
    X = np.c_[np.cos(angle), np.sin(angle)] * 10 + rng.normal(size=(1000, 2)) * 0.5
    assert len(mode_shares(fit_gaussian_mixture(torch.from_numpy(X), seed=0))) == 1


def test_the_message_names_the_shares_and_the_remedy():
    assert separated_modes_message([1.0]) == separated_modes_message([]) == ""
    message = separated_modes_message([0.75, 0.25])
    assert "2 modes with nothing between them, with 75%, 25% of the rows" in message
    assert "use NCSNGenerator" in message
    assert "17%, ... of" in separated_modes_message([1 / 6] * 6)
