"""One network per fold prices all noise levels; which is chosen, and whether it is right."""

import numpy as np
import pytest
import torch
from sklearn.base import clone

from skscore._sigma_path import (
    FoldNetwork,
    choose,
    geometric_levels,
    score_path,
    shuffled_folds,
    standard_errors,
)
from skscore.datasets import ring_of_gaussians

SEED = 0
SIGMAS = np.array([0.1, 0.2, 0.4, 0.8])
QUICK = {"hidden_units": (16,), "max_steps": 20, "batch_size": 32, "random_state": SEED}


def rows(n=80, d=2, seed=SEED):
    """Distinct rows that are centred, with their weights."""
    rng = np.random.RandomState(seed)
    z = rng.normal(size=(n, d)) * np.linspace(1, 2, d)
    return z - z.mean(axis=0), rng.exponential(size=n)


def network(widths=(0.0, 0.0), ends=(0.1, 0.8), **options):
    return FoldNetwork(ends, np.array(widths), **{**QUICK, **options})


def two_folds():
    return shuffled_folds(*rows(), 2, SEED)


@pytest.fixture
def two_threads():
    """The result must not depend on what a user has set, and it must come back."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


# Which noise level is chosen.


def test_the_best_is_that_of_the_mean_over_folds_and_not_of_a_fold():
    path = np.array([[9.0, 3.0, 0.0, 0.0], [0.0, 3.0, 0.0, 9.0], [0.0, 4.0, 0.0, 0.0]])
    assert choose(SIGMAS, path, "min") == 0.2


@pytest.mark.parametrize(("second", "expected"), [(2.51, 0.4), (2.49, 0.2)])
def test_the_rule_of_one_standard_error_takes_the_largest_level_within_it(second, expected):
    # The best has the mean 3 and the standard error 1/2: sd 2^-½ over 2^½.
    path = np.array([[0.0, 2.5, second, 2.0], [0.0, 3.5, second, 2.0]])
    assert choose(SIGMAS, path, "min") == 0.2
    assert choose(SIGMAS, path, "1se") == expected


def test_the_error_is_that_of_the_best_and_levels_within_it_need_not_be_neighbours():
    path = np.array([[2.9, 3.0, -50.0, 2.8], [3.1, 3.2, 50.0, 3.0]])
    # SE .1 of the best, which 3.0 and 2.9 miss by .1 and .2; 0.4 has 0 with an error of 50.
    assert choose(SIGMAS, path, "1se") == 0.2
    path[:, 3] += 0.11
    assert choose(SIGMAS, path, "1se") == 0.8


def test_on_a_flat_path_one_rule_takes_the_first_level_and_the_other_the_last():
    path = np.full((3, 4), 1.5)
    assert choose(SIGMAS, path, "min") == 0.1
    assert choose(SIGMAS, path, "1se") == 0.8


def test_one_fold_has_no_error_and_both_rules_agree():
    path = np.array([[1.0, 2.0, 1.9999, 0.0]])
    np.testing.assert_array_equal(standard_errors(path), np.zeros(4))
    assert choose(SIGMAS, path, "min") == choose(SIGMAS, path, "1se") == 0.2


@pytest.mark.parametrize("seed", range(3))
def test_the_level_of_one_standard_error_is_never_below_the_best(seed):
    for path in np.random.RandomState(seed).normal(size=(200, 5, 4)):
        best, smoothest = (choose(SIGMAS, path, rule) for rule in ("min", "1se"))
        assert smoothest >= best
        assert isinstance(best, float) and isinstance(smoothest, float)


def test_standard_errors_are_those_of_a_mean():
    path = np.random.RandomState(SEED).normal(size=(5, 3))
    expected = [np.sqrt(sum((x - column.mean()) ** 2 for x in column) / 4 / 5) for column in path.T]
    np.testing.assert_allclose(standard_errors(path), expected)


# Levels and folds.


def test_levels_are_in_geometric_progression_between_the_ends():
    z, w = rows()
    levels = geometric_levels(z, w, (0.01, 1.0), 5, standardized=True)
    np.testing.assert_allclose(levels, [0.01, 10**-1.5, 0.1, 10**-0.5, 1.0])
    np.testing.assert_allclose(levels[1:] / levels[:-1], 10**0.5)


def test_without_standardisation_levels_count_root_mean_square_standard_deviations():
    z, w = rows()
    z = z * [1.0, 10.0] + 100
    unit = np.sqrt(np.mean([np.cov(column, aweights=w, ddof=0) for column in z.T]))
    found = geometric_levels(z, w, (0.01, 1.0), 5, standardized=False)
    np.testing.assert_allclose(found, unit * np.geomspace(0.01, 1, 5))
    np.testing.assert_allclose(
        geometric_levels(3 * z, w, (0.01, 1.0), 5, standardized=False), 3 * found
    )


def test_a_weight_is_a_number_of_rows_in_the_unit_of_levels():
    z, w = rows(30)[0], np.random.RandomState(1).randint(1, 4, size=30)
    weighted = geometric_levels(z, w, (0.1, 1.0), 3, standardized=False)
    repeated = np.repeat(z, w, axis=0)
    plain = geometric_levels(repeated, np.ones(len(repeated)), (0.1, 1.0), 3, standardized=False)
    np.testing.assert_allclose(weighted, plain)
    assert (weighted != geometric_levels(z, np.ones(30), (0.1, 1.0), 3, standardized=False)).all()


@pytest.mark.parametrize(("n", "n_folds"), [(10, 2), (23, 5), (5, 5)])
def test_each_distinct_row_is_held_out_once_and_trained_on_in_all_other_folds(n, n_folds):
    z, w = rows(n)
    folds = shuffled_folds(z, w, n_folds, SEED)
    assert len(folds) == n_folds
    weight_of = dict(zip(map(tuple, z), w, strict=True))
    held_out = []
    for (seen, seen_weights), (own, own_weights) in folds:
        assert not set(map(tuple, seen)) & set(map(tuple, own))
        assert set(map(tuple, seen)) | set(map(tuple, own)) == set(weight_of)
        assert len(own) in (n // n_folds, -(-n // n_folds))
        assert [weight_of[tuple(row)] for row in seen] == seen_weights.tolist()
        assert [weight_of[tuple(row)] for row in own] == own_weights.tolist()
        held_out += map(tuple, own)
    assert sorted(held_out) == sorted(weight_of)


def test_the_seed_shuffles_the_folds():
    z, w = rows(40)
    a, b, other = (shuffled_folds(z, w, 4, seed)[0][1][0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert set(map(tuple, a)) != set(map(tuple, other))


# The path of a network.


def untrained_path(z, w, spread, sigmas=SIGMAS):
    """J(σ) of the score -z/(λ² + σ²), which a network is before it has learnt anything."""
    second = np.average(z**2, axis=0, weights=w)
    v = spread**2 + np.square(sigmas)[:, None]
    return -(second / v**2 - 2 / v).sum(axis=1)


def test_the_path_is_minus_the_implicit_objective_of_the_model_at_each_level(monkeypatch):
    (seen, w_seen), (own, w_own) = two_folds()[0]
    fitted = network().fit(seen, sample_weight=w_seen)
    monkeypatch.setattr(fitted, "_fitted_model", lambda: lambda x, sigma: -x / (1 + sigma**2))
    norm = np.average(np.square(own - fitted.mean_).sum(axis=1), weights=w_own)
    v = 1 + SIGMAS**2
    expected = -(norm / v**2 - 2 * 2 / v)
    np.testing.assert_allclose(fitted.path(own, w_own, SIGMAS.tolist()), expected, rtol=1e-10)


def test_an_untrained_network_has_the_path_of_the_gaussian_with_the_moments_of_its_rows():
    (seen, w_seen), (own, w_own) = two_folds()[0]
    fitted = network(max_steps=1, lr=1e-12).fit(seen, sample_weight=w_seen)
    mean = np.average(seen, axis=0, weights=w_seen)
    spread = np.sqrt(np.average((seen - mean) ** 2, axis=0, weights=w_seen))
    found = fitted.path(own, w_own, SIGMAS.tolist())
    np.testing.assert_allclose(found, untrained_path(own - mean, w_own, spread), rtol=1e-5)


def test_rounded_columns_are_read_with_noise_in_their_steps_alike_at_each_level(monkeypatch):
    z, w = rows(60)
    z[:, 0] = (2 * z[:, 0]).round() / 2
    fitted = network((0.5, 0.0)).fit(z, sample_weight=w)
    monkeypatch.setattr(fitted, "_fitted_model", lambda: lambda x, sigma: -x / (1 + sigma**2))
    centred = z - fitted.mean_
    second = np.average(centred**2, axis=0, weights=w) + [0.5**2 / 12, 0.0]
    v = 1 + SIGMAS**2
    found = fitted.path(z, w, SIGMAS.tolist())
    # What the noise u of 84 copies of a row adds to z² is 2 z u + u².
    share = w / w.sum() / np.sqrt(-(-5000 // 60))
    sd = np.sqrt(4 * centred[:, 0] ** 2 * 0.5**2 / 12 + 0.5**4 / 180)
    error = np.sqrt(np.square(share * sd).sum())
    norm = (2 * 2 / v - found) * v**2
    assert (np.abs(norm - second.sum()) < 4 * error).all()
    np.testing.assert_allclose(norm, norm[0], rtol=1e-10)
    np.testing.assert_array_equal(found, fitted.path(z, w, SIGMAS.tolist()))


def test_a_fold_learns_all_levels_in_a_third_of_the_steps_and_few_of_them_in_a_half():
    auto = network(max_steps="auto")
    for n, all_levels, few in ((10, 333, 500), (1000, 333, 500), (10**7, 6666, 10_000)):
        assert auto.set_params(warm_start=False)._default_max_steps(n) == all_levels
        assert auto.set_params(warm_start=True)._default_max_steps(n) == few
    fitted = network(lr=1e-3).fit(rows()[0])
    assert fitted.net_.lr == pytest.approx(2.5e-3)
    assert fitted.set_params(warm_start=True).fit(rows()[0]).net_.lr == pytest.approx(1e-3)


def test_the_levels_that_are_trained_on_are_spread_evenly_in_the_logarithm_between_the_ends():
    law = network()._make_loss(None, 1.0).sigma_law
    u = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    expected = torch.tensor([0.1, 0.08**0.5, 0.8], dtype=torch.float64)
    torch.testing.assert_close(law.quantile(u), expected)


# The path of all folds.


def test_levels_have_the_better_of_two_trainings_of_which_the_second_is_near_the_best():
    sigmas = np.geomspace(0.02, 1.5, 9)
    folds = shuffled_folds(RING.sample(400, random_state=0), np.ones(400), 2, SEED)
    options = {"ends": (0.02, 1.5), "hidden_units": (32, 32), "max_steps": 200}
    original = network(**options, random_state=None)
    found = score_path(original, folds, sigmas.tolist(), 7)
    assert not hasattr(original, "net_")
    networks = [
        network(**options, random_state=7 + k).fit(seen, sample_weight=w)
        for k, ((seen, w), _) in enumerate(folds)
    ]

    def path():
        pairs = zip(networks, folds, strict=True)
        return np.array([own.path(*held_out, sigmas.tolist()) for own, (_, held_out) in pairs])

    first = path()
    best = first.mean(axis=0).argmax()
    assert 2 <= best <= 6  # so that there are levels on either side
    for own, ((seen, w), _) in zip(networks, folds, strict=True):
        own.set_params(ends=(sigmas[best - 2], sigmas[best + 2]), warm_start=True)
        own.fit(seen, sample_weight=w)
    second = path()
    better = second.mean(axis=0) > first.mean(axis=0)
    assert better.any()
    np.testing.assert_array_equal(found, np.where(better, second, first))


@pytest.mark.parametrize(("best", "few"), [(0, (0, 2)), (1, (0, 3)), (5, (3, 7)), (11, (9, 11))])
def test_the_second_training_stays_within_the_levels_that_were_given(best, few, monkeypatch):
    sigmas = 0.01 * 2.0 ** np.arange(12)
    ends = []

    def fit(own, X, sample_weight=None):
        ends.append(own.ends)
        return own

    monkeypatch.setattr(FoldNetwork, "fit", fit)
    monkeypatch.setattr(FoldNetwork, "path", lambda *_: -np.square(np.arange(12.0) - best))
    score_path(network(ends=(sigmas[0], sigmas[-1])), two_folds(), sigmas.tolist(), 7)
    assert ends[:2] == [(sigmas[0], sigmas[-1])] * 2
    assert ends[2:] == [(sigmas[few[0]], sigmas[few[1]])] * 2


def test_folds_of_the_same_rows_have_seeds_that_differ():
    fold = two_folds()[0]
    a, b = score_path(network(), [fold, fold], SIGMAS.tolist(), 3)
    assert (a != b).all()
    np.testing.assert_array_equal(score_path(network(), [fold], SIGMAS.tolist(), 4)[0], b)


@pytest.mark.usefixtures("two_threads")
def test_folds_at_a_time_give_the_same_bits_as_one_after_the_other():
    folds = shuffled_folds(*rows(d=3), 3, SEED)
    model = network((0.0, 0.0, 0.0))
    one, two = (
        score_path(clone(model), folds, SIGMAS.tolist(), SEED, n_jobs=n_jobs) for n_jobs in (1, 2)
    )
    np.testing.assert_array_equal(one, two)
    assert torch.get_num_threads() == 2


def test_the_global_random_states_stay():
    torch.manual_seed(3)
    np.random.seed(3)
    expected = torch.rand(1).item(), np.random.uniform()
    torch.manual_seed(3)
    np.random.seed(3)
    score_path(network(), two_folds(), SIGMAS.tolist(), SEED)
    assert (torch.rand(1).item(), np.random.uniform()) == expected


# Whether held-out rows find the right noise level, without any network.

RING = ring_of_gaussians()  # of unit standard deviation, but for a half of a percent
GRID = np.geomspace(0.01, 1, 12)


def parzen(x, centers, sigma):
    """Score and divergence of the training rows blurred by σ.

    With the responsibilities p_i of the rows c_i at x and δ_i = c_i - x the score is
    Σ p_i δ_i/σ², and its divergence -d/σ² + (Σ p_i ‖δ_i‖² - ‖Σ p_i δ_i‖²)/σ⁴.
    """
    square = (x**2).sum(1)[:, None] + (centers**2).sum(1) - 2 * x @ centers.T
    p = np.exp((square.min(axis=1, keepdims=True) - square) / (2 * sigma**2))
    p /= p.sum(axis=1, keepdims=True)
    shift = p @ centers - x
    spread = np.einsum("ij,ij->i", p, square) - (shift**2).sum(1)
    return shift / sigma**2, -x.shape[1] / sigma**2 + spread / sigma**4


@pytest.mark.parametrize("sigma", [0.03, 0.1, 0.5])
def test_the_score_of_blurred_rows_and_its_divergence_are_finite_differences(sigma):
    centers, x = RING.sample(50, random_state=SEED), RING.sample(20, random_state=1)
    score, divergence = parzen(x, centers, sigma)

    def log_density(x):
        square = np.square(x[:, None] - centers).sum(2)
        return np.logaddexp.reduce(-square / (2 * sigma**2), axis=1)

    h, steps = 1e-4 * sigma, np.eye(2)
    slopes = [(log_density(x + h * e) - log_density(x - h * e)) / (2 * h) for e in steps]
    np.testing.assert_allclose(score, np.stack(slopes, 1), rtol=1e-5, atol=1e-5 / sigma)
    bends = [
        (parzen(x + h * e, centers, sigma)[0] - parzen(x - h * e, centers, sigma)[0]) @ e / (2 * h)
        for e in steps
    ]
    np.testing.assert_allclose(divergence, sum(bends), rtol=1e-5, atol=1e-5 / sigma**2)


@pytest.mark.parametrize("seed", range(20))
def test_held_out_rows_choose_the_noise_level_whose_score_is_nearest_to_the_truth(seed):
    seen, fresh = (RING.sample(n, random_state=seed + k) for n, k in ((500, 0), (2000, 100)))
    truth = RING.score_function(fresh)
    path, divergences, gaps = [], [], []
    for sigma in GRID:
        score, divergence = parzen(fresh, seen, sigma)
        path.append(-np.mean((score**2).sum(1) + 2 * divergence))
        divergences.append(np.mean(((score - truth) ** 2).sum(1)))
        gaps.append(2 * (divergence + (score * truth).sum(1)))
    chosen, best = np.argmax(path), np.argmin(divergences)
    assert 0 < best < 11
    assert abs(chosen - best) <= 1
    assert choose(GRID, np.array([path]), "min") == GRID[chosen]
    # J(σ) + D_F - E‖∇log p‖² has the mean 0, by parts; 4 SE, where no single row decides.
    for gap in gaps[best:]:
        assert abs(gap.mean()) < 4 * gap.std() / 2000**0.5


@pytest.mark.parametrize("seed", range(3))
def test_the_denoising_loss_would_choose_the_largest_noise_level_of_the_grid(seed):
    seen, fresh = (RING.sample(n, random_state=seed + k) for n, k in ((500, 0), (2000, 100)))
    noise = np.random.RandomState(seed).normal(size=fresh.shape)
    losses = [
        np.mean(np.square(parzen(fresh + sigma * noise, seen, sigma)[0] + noise / sigma).sum(1))
        for sigma in GRID
    ]
    assert np.argmin(losses) == 11
