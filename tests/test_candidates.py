"""Score models compared and combined on rows that they were not fitted to."""

import numpy as np
import pytest
import torch
from closed_forms import (
    SEED,
    covariance,
    gaussian,
    generator,
    levels,
    mixture_rows,
    normal,
)

from skscore._candidates import AtLevel, Fold, Readings, best_level, compare
from skscore.divergence import exact_divergence
from skscore.gaussians import GaussianMixtureScore, GaussianScore, fit_gaussian
from skscore.objectives import denoising, implicit
from skscore.stacking import implicit_weights, simplex_least_squares

D = 2


def plain(model):
    """A function, which knows no divergence of its own."""
    return lambda x, sigma: model(x, sigma)


def candidates(x):
    far = GaussianScore(torch.full((D,), 0.7), 2 * torch.eye(D))
    return [fit_gaussian(x[:40]), far, gaussian(D)]


def table(n=60, seed=SEED):
    x = mixture_rows(D, n, seed)
    return x, np.random.RandomState(seed).exponential(size=n)


def folds_of(n_folds=1, n=60):
    x, w = table(n)
    parts = np.array_split(np.arange(n), n_folds)
    return [Fold(x[part], w[part], candidates(x)) for part in parts]


def read(folds, sigma=0.0, seed=SEED):
    return Readings.of(folds, sigma, generator(seed))


# A model at one level.


def test_a_model_at_a_level_is_read_there_whatever_it_is_asked_for():
    x, model = normal(8, 3), gaussian(3)
    at = AtLevel(model, 0.6)
    for sigma in (0.0, 0.6, 5.0):
        torch.testing.assert_close(at(x, levels(x, sigma)), model(x, levels(x, 0.6)))
        score, divergence = at.score_and_divergence(x, levels(x, sigma))
        expected = exact_divergence(lambda x, sigma: model(x, levels(x, 0.6)), x, levels(x))
        torch.testing.assert_close((score, divergence), expected)
    assert list(at.state_dict()) == [f"module.{name}" for name in model.state_dict()]


# What is read.


def test_clean_losses_are_the_implicit_objective_of_each_row():
    (fold,) = folds_of()
    losses = read([fold]).losses()
    assert losses.shape == (60, 3)
    for k, model in enumerate(fold.models):
        expected = implicit(plain(model), fold.x, levels(fold.x))
        np.testing.assert_allclose(losses[:, k], expected, rtol=1e-9, atol=1e-9)


def test_noisy_losses_are_the_denoising_objective_up_to_what_no_model_changes():
    # ‖s + ε/σ‖² - ‖ε‖²/σ² = ‖s‖² + 2 ε·s/σ, averaged over ε and -ε and over 32 pairs.
    (fold,), sigma = folds_of(), 0.4
    readings, noise = read([fold], sigma), generator()
    expected = np.zeros((60, 3))
    for eps in torch.randn(32, *fold.x.shape, generator=noise, dtype=torch.float64):
        for signed in (eps, -eps):
            for k, model in enumerate(fold.models):
                loss = denoising(model, fold.x, levels(fold.x, sigma), signed)
                expected[:, k] += (loss - signed.square().sum(1) / sigma**2).numpy() / 64
    np.testing.assert_allclose(readings.losses(), expected, rtol=1e-8, atol=1e-8)


def test_large_tables_are_read_with_one_pair_of_noises():
    calls = []

    def model(x, sigma):
        calls.append(len(x))
        return -x

    n = 10_001
    Readings.of([Fold(normal(n, 1), np.ones(n), [model])], 0.5, generator())
    assert len(calls) == -(-2 * n // 256)


@pytest.mark.parametrize("seed", range(5))
def test_noisy_differences_are_those_of_fisher_divergences_of_the_blurred_density(seed):
    # Rows of N(0, C), models N(m_k, C_k): s_k - ∇log p_σ = (A - A_k) x + A_k m_k with
    # A = (C + σ²I)⁻¹, so D_F = tr((A - A_k) A⁻¹ (A - A_k)) + ‖A_k m_k‖².
    n, sigma, C = 2000, 0.5, covariance(D)
    x = normal(n, D, seed=100 + seed) @ torch.linalg.cholesky(C).mT
    means, covariances = normal(3, D, seed=seed), [covariance(D, seed + k) for k in (1, 2, 3)]
    models = [GaussianScore(m, c) for m, c in zip(means, covariances, strict=True)]
    losses = read([Fold(x, np.ones(n), models)], sigma, seed).losses()
    A = torch.linalg.inv(C + sigma**2 * torch.eye(D))
    truth = []
    for m, c in zip(means, covariances, strict=True):
        A_k = torch.linalg.inv(c + sigma**2 * torch.eye(D))
        gap = A - A_k
        distance = (gap @ torch.linalg.inv(A) @ gap).trace() + (A_k @ m).square().sum()
        truth.append(distance.item())
    for k, other in ((0, 1), (1, 2), (0, 2)):
        difference = losses[:, k] - losses[:, other]
        error = difference.std() / n**0.5
        assert abs(difference.mean() - (truth[k] - truth[other])) < 4 * error


def test_the_generator_decides_the_noise():
    folds = folds_of(2)
    a, b, other = (read(folds, 0.3, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(a.A, b.A)
    np.testing.assert_array_equal(a.b, b.b)
    assert (a.b != other.b).all()


# The weights.


def test_clean_weights_are_those_of_the_implicit_objective():
    (fold,) = folds_of()
    w = read([fold]).weights(np.ones(60, dtype=bool))
    expected = implicit_weights(fold.models, fold.x, torch.from_numpy(fold.weights))[0]
    np.testing.assert_allclose(w, expected, atol=1e-9)
    assert 0.01 < w.max() < 0.99  # a combination, not a corner


@pytest.mark.parametrize("sigma", [0.0, 0.4])
@pytest.mark.parametrize("n_folds", [1, 3])
def test_no_combination_on_a_grid_has_a_smaller_objective(sigma, n_folds):
    readings = read(folds_of(n_folds), sigma)
    some = np.arange(60) % 3 > 0
    share = readings.share[some] / readings.share[some].sum()

    def objective(w):
        return share @ (readings.A[some] @ w @ w + 2 * readings.b[some] @ w)

    steps = np.linspace(0, 1, 41)
    grid = [(a, b, 1 - a - b) for a in steps for b in steps if a + b <= 1]
    least = objective(readings.weights(some))
    assert least <= min(objective(np.array(w)) for w in grid) + 1e-12


def test_rows_are_shared_out_by_their_weights_and_left_out_fold_by_fold():
    one, several = read(folds_of(1)), read(folds_of(3))
    w = table()[1]
    for readings in (one, several):
        np.testing.assert_allclose(readings.share, w / w.sum(), rtol=1e-12)
    np.testing.assert_array_equal(one.groups, np.arange(60) % 5)
    np.testing.assert_array_equal(several.groups, np.repeat([0, 1, 2], 20))
    # The same models read the same rows alike, in one fold or in three.
    np.testing.assert_allclose(several.losses(), one.losses(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("n_folds", [1, 3])
def test_a_stack_is_judged_by_weights_that_other_groups_choose(n_folds):
    readings = read(folds_of(n_folds), 0.4)
    found = readings.stacked_losses()
    for i in range(60):
        others = [j for j in range(60) if readings.groups[j] != readings.groups[i]]
        total = sum(readings.share[j] for j in others)
        A = sum(readings.share[j] / total * readings.A[j] for j in others)
        b = sum(readings.share[j] / total * readings.b[j] for j in others)
        w = simplex_least_squares(torch.from_numpy(A), torch.from_numpy(b)).numpy()
        assert found[i] == pytest.approx(w @ readings.A[i] @ w + 2 * w @ readings.b[i], rel=1e-8)


def by_hand(losses, share=None, n_folds=5):
    """Readings of linear objectives, so that a stack is one of the models."""
    losses = np.asarray(losses, dtype=float)
    n, K = losses.shape
    share = np.full(n, 1 / n) if share is None else np.asarray(share) / np.sum(share)
    return Readings(np.zeros((n, K, K)), losses / 2, share, np.arange(n) % n_folds)


def test_rows_do_not_choose_the_weights_that_they_are_judged_by():
    losses = np.tile([0.0, 1.0], (10, 1))
    losses[[0, 5]] = [0.0, -1000.0]  # one group, which would choose the second model
    judged = by_hand(losses).stacked_losses()
    np.testing.assert_allclose(judged[[0, 5]], 0.0)
    np.testing.assert_allclose(np.delete(judged, [0, 5]), 1.0)


# The choice.


def scattered(mean, sd, n=100, seed=SEED):
    """Numbers of exactly this mean and standard deviation."""
    z = np.random.RandomState(seed).normal(size=n)
    return mean + sd * (z - z.mean()) / z.std()


def test_the_simplest_within_one_standard_error_is_chosen():
    base = scattered(5.0, 30.0)  # of rows, which paired differences do not see
    noise, other = scattered(0.0, 1.0, seed=1), scattered(0.0, 1.0, seed=2)
    # The standard error of a mean of 100 differences of sd 1 is .1.
    inside, outside, best = base + 0.09 + noise, base + 0.11 + other, base
    names = ["a", "b", "c"]
    for columns, chosen in (
        ([inside, outside, best], "a"),
        ([outside, inside, best], "b"),
        ([outside, outside, best], "c"),
        ([best, inside, outside], "a"),
    ):
        results = compare(names, by_hand(np.column_stack(columns)))
        assert results["chosen"] == chosen
    results = compare(names, by_hand(np.column_stack([outside, inside, best])))
    assert results["model"] == [*names, "stack"]
    np.testing.assert_allclose(results["objective"][:3], [5.11, 5.09, 5.0])
    np.testing.assert_allclose(results["excess"][:3], [0.11, 0.09, 0], atol=1e-12)
    np.testing.assert_allclose(results["standard_error"][:3], [0.1, 0.1, 0], atol=1e-12)
    np.testing.assert_allclose(results["stack_weights"], [0, 0, 1])


def test_a_stack_is_chosen_where_it_is_better_than_each_of_its_models():
    # Of s and -s with the same loss, half of each is 0: A = [[1, -1], [-1, 1]], b = 0.
    A = np.tile([[1.0, -1.0], [-1.0, 1.0]], (50, 1, 1))
    readings = Readings(A, np.zeros((50, 2)), np.full(50, 0.02), np.arange(50) % 5)
    results = compare(["plus", "minus"], readings)
    assert results["chosen"] == "stack"
    np.testing.assert_allclose(results["objective"], [1, 1, 0], atol=1e-12)
    np.testing.assert_allclose(results["stack_weights"], [0.5, 0.5])


def test_weights_of_rows_are_those_of_the_means_and_of_their_errors():
    losses = np.random.RandomState(SEED).normal(size=(20, 2)) + [0.0, 3.0]
    share = np.random.RandomState(1).exponential(size=20)
    results = compare(["a", "b"], by_hand(losses, share))
    share = share / share.sum()
    difference = losses[:, 1] - losses[:, 0]
    assert results["excess"][1] == pytest.approx(share @ difference)
    squares = sum(
        (p * (d - share @ difference)) ** 2 for p, d in zip(share, difference, strict=True)
    )
    assert results["standard_error"][1] == pytest.approx(squares**0.5)
    # Rows of weight 0 say nothing.
    more = np.vstack([losses, [[1e3, -1e3]] * 5])
    again = compare(["a", "b"], by_hand(more, [*share, *np.zeros(5)]))
    np.testing.assert_allclose(again["objective"], results["objective"])
    np.testing.assert_allclose(again["standard_error"], results["standard_error"])


# The level.


def test_the_best_level_has_the_least_implicit_objective_of_the_last_models():
    x, w = table(120)
    spikes = GaussianMixtureScore(
        torch.full((60,), 1 / 60), x[:60], 1e-3 * torch.eye(D).expand(60, -1, -1)
    )
    folds = [
        Fold(x[60:90], w[60:90], [gaussian(D), spikes]),
        Fold(x[90:], w[90:], [gaussian(D), fit_gaussian(x[:60])]),
    ]
    grid = [0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6]
    objectives = [
        sum(
            fold.weights @ implicit(plain(fold.models[-1]), fold.x, levels(fold.x, s)).numpy()
            for fold in folds
        )
        for s in grid
    ]
    assert best_level(folds, grid) == grid[int(np.argmin(objectives))]
    assert grid[0] < best_level(folds, grid) < grid[-1]  # spikes want to be blurred, not too much


@pytest.mark.parametrize("seed", range(5))
def test_the_true_score_is_best_unblurred(seed):
    truth = gaussian(D)
    x = truth.sample(2000, 0.0, generator(seed))
    assert best_level([Fold(x, np.ones(2000), [truth])], [0.5, 1.0, 0.05]) == 0.05
