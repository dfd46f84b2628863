"""What location models are fitted by, and which of them is found: on tables of known law."""

import numpy as np
import pytest
import torch
from sklearn.covariance import ledoit_wolf_shrinkage

from skscore import _location_fit
from skscore._groups import FeatureGroup
from skscore._location_fit import fit_location_model


def groups(q=3, shares=((0.5, 0.5), (0.2, 0.3, 0.5))):
    made = [FeatureGroup(f"x{j}", "numeric", j, j + 1, None, None) for j in range(q)]
    for j, pi in enumerate(shares):
        start, k = made[-1].stop, len(pi)
        group = FeatureGroup(
            f"c{j}", "categorical", start, start + k, np.eye(k), np.array(pi, dtype=float)
        )
        made.append(group)
    return made


def rows(n=600, seed=0, shift=0.0, correlation=0.0):
    """Three numbers, a category of two levels that says nothing and one of three that may."""
    rng = np.random.RandomState(seed)
    first, second = rng.choice(2, n), rng.choice(3, n, p=[0.2, 0.3, 0.5])
    C = np.full((3, 3), correlation) + (1 - correlation) * np.eye(3)
    z = rng.multivariate_normal(np.zeros(3), C, size=n) + shift * (second[:, None] - 1.3)
    return np.hstack([z, np.eye(2)[first], np.eye(3)[second]]), second


def fit(X, found=None, weights=None, seed=0):
    weights = np.ones(len(X)) if weights is None else weights
    model, _ = fit_location_model([X], weights, found or groups(), seed)
    return model


def is_near(X, found):
    return fit_location_model([X], np.ones(len(X)), found, 0)[1]


def test_the_category_that_says_most_of_the_numbers_is_found():
    for seed in range(20):
        X, _ = rows(seed=seed, shift=1.0)
        assert fit(X).category == 1


def test_numbers_that_are_correlated_alone_are_one_gaussian():
    chosen = [fit(rows(seed=seed, correlation=0.6)[0]) for seed in range(20)]
    assert all(found.category is None for found in chosen)
    C = torch.stack([found.covariances[0] for found in chosen])
    error = C.std(0, correction=1) / 20**0.5
    expected = torch.full((3, 3), 0.6) + 0.4 * torch.eye(3)
    # Covariances are drawn to zero, by about 1/n.
    assert ((C.mean(0) - expected).abs() < 4 * error + 0.01).all()


def test_independent_numbers_have_no_model():
    assert sum(fit(rows(seed=seed)[0]) is not None for seed in range(20)) <= 4


def test_means_and_covariances_are_those_of_levels_drawn_to_all():
    X, level = rows(shift=1.0)
    found = fit(X)
    n_k = np.bincount(level)
    x_bar = np.array([X[level == k, :3].mean(0) for k in range(3)])
    means = x_bar * (n_k / (n_k + 1))[:, None]
    np.testing.assert_allclose(found.means, means, rtol=1e-5, atol=1e-6)
    residuals = X[:, :3] - means[level]
    S, a = residuals.T @ residuals / len(X), ledoit_wolf_shrinkage(residuals, assume_centered=True)
    S = (1 - a) * S + a * np.diag(np.diag(S))
    for k in range(3):
        own = residuals[level == k]
        expected = (own.T @ own + 3 * S) / (n_k[k] + 3)
        np.testing.assert_allclose(found.covariances[k], expected, rtol=1e-4, atol=1e-6)


def test_a_level_of_few_rows_is_that_of_all():
    X, level = rows(shift=1.0)
    few = np.flatnonzero(level == 0)[:9]
    X = X[np.concatenate([few, np.flatnonzero(level > 0)])]
    found = fit(X)
    assert found.category == 1
    assert (found.means[0] == 0).all()
    total = X[:, :3].T @ X[:, :3] / len(X)
    np.testing.assert_allclose(found.covariances[0].diagonal(), np.diag(total), rtol=1e-5)


def test_weights_are_repetitions():
    X, _ = rows(300, shift=1.0)
    weights = np.random.RandomState(0).choice([1, 2, 3], 300)
    one = fit(X, weights=weights)
    other = fit(np.repeat(X, weights, axis=0))
    torch.testing.assert_close(one.means, other.means)
    # How far covariances are drawn to the diagonal differs.
    torch.testing.assert_close(one.covariances, other.covariances, rtol=0, atol=0.02)


def test_absent_cells_do_not_dilute_covariances():
    C = []
    for seed in range(20):
        X, _ = rows(seed=seed, correlation=0.6)
        X[:, :3][np.random.RandomState(seed).rand(600, 3) < 0.3] = np.nan
        C.append(fit(X).covariances[0])
    error = torch.stack(C).std(0, correction=1) / 20**0.5
    gap = torch.stack(C).mean(0) - (torch.full((3, 3), 0.6) + 0.4 * torch.eye(3))
    # Without the pairs it would be 0.42.
    assert (gap.abs() < 4 * error + 0.03).all()


def test_rows_without_a_level_are_used_where_they_can_be():
    X, _ = rows(shift=1.0)
    X[::3, 5:] = np.nan
    found = fit(X)
    assert found.category == 1
    known = np.delete(np.arange(600), np.s_[::3])
    torch.testing.assert_close(found.means, fit(X[known]).means)


@pytest.mark.parametrize("n_rows", [1, 4, 6, 12])
def test_few_rows_are_enough_to_ask(n_rows):
    found = fit(rows(n_rows, shift=3.0)[0])
    assert (found is None) == (n_rows < 5)
    assert found is None or found.covariances.isfinite().all()


def test_covariances_are_shrunk_as_far_as_rows_held_out_tell():
    # Two numbers that are nearly one, and eight of which next to nothing is known.
    rng = np.random.RandomState(0)
    z = rng.normal(size=(200, 2))
    twins = np.column_stack([z[:, 0], 0.999 * z[:, 0] + (1 - 0.999**2) ** 0.5 * z[:, 1]])
    variance = np.var((twins[:, 1] - twins[:, 0]) / 2**0.5)
    a = ledoit_wolf_shrinkage(twins, assume_centered=True)
    (C,) = fit(twins, groups(2, ())).covariances.double().numpy()
    across = (C[0, 0] + C[1, 1] - 2 * C[0, 1]) / 2
    assert across < 1.2 * variance
    assert variance + a * (1 - variance) > 2 * variance  # with that of Ledoit and Wolf
    few = rng.normal(size=(40, 10)) + 1.2 * rng.normal(size=(40, 1))
    (C,) = fit(few, groups(10, ())).covariances.double().numpy()
    S = few.T @ few / len(few)
    assert C[0, 1] / S[0, 1] < 1 - 0.9 * ledoit_wolf_shrinkage(few, assume_centered=True)


def test_models_that_would_cost_too_much_are_left_out():
    X = np.random.RandomState(0).normal(size=(300, 1)) + 0.1 * np.random.RandomState(1).normal(
        size=(300, 129)
    )
    assert fit(X, groups(129, ())) is None
    found = fit(X[:, :128], groups(128, ()))
    assert found.category is None
    assert len(found.means) == 1


def test_the_category_is_found_among_many():
    X, level = rows(4000, shift=1.0)
    rng = np.random.RandomState(0)
    others = [np.eye(2)[rng.choice(2, 4000)] for _ in range(12)]
    shares = [(0.5, 0.5)] * 12 + [(0.2, 0.3, 0.5)]
    found = fit(np.hstack([X[:, :3], *others, np.eye(3)[level]]), groups(3, shares))
    assert found.category == 12
    # All rows are used, not only those that were compared.
    expected = np.array([X[level == k, :3].mean(0) for k in range(3)])
    np.testing.assert_allclose(found.means, expected, atol=0.01)


def test_short_codes_are_no_candidates():
    found = groups()
    angles = np.array([0.0, 2.0, 4.0])
    codes = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    found[-1] = FeatureGroup("c1", "categorical", 5, 7, codes, np.array([0.2, 0.3, 0.5]))
    X, level = rows(shift=1.0)
    assert fit(np.hstack([X[:, :5], codes[level]]), found).category is None


def test_columns_that_are_one_and_covariances_of_few_pairs_are_no_trouble():
    rng = np.random.RandomState(0)
    x = rng.normal(size=(300, 1))
    twins = np.hstack([x, x, -x, rng.normal(size=(300, 1))])
    for share in (0.2, 0.8):
        X = np.where(rng.rand(300, 4) < share, np.nan, twins)
        found = fit(X, groups(4, ()))
        assert found.covariances.isfinite().all()
        np.testing.assert_allclose(found.covariances[0].diagonal()[:3], 1, atol=0.3)
        np.testing.assert_allclose(found.covariances[0, 0, :3], [1, 1, -1], atol=0.35)
    found = []
    for seed in range(20):
        z = np.random.RandomState(seed).normal(size=(30, 12))
        X = np.where(np.random.RandomState(seed).rand(30, 12) < 0.6, np.nan, z + z[:, :1])
        found.append(fit(X, groups(12, ())))
    # Of so few pairs many tables are taken for independent columns, which need no model.
    found = [model for model in found if model is not None]
    assert len(found) > 3
    assert all(model.covariances.isfinite().all() for model in found)


def clusters(n=1000, seed=0):
    """Three numbers of two clusters, .3 and .7 of the rows, and a category that says nothing."""
    rng = np.random.RandomState(seed)
    hidden = rng.choice(2, n, p=[0.3, 0.7])
    z = rng.normal(size=(n, 3)) * np.array([[0.3], [0.6]])[hidden]
    z += np.array([[1.5], [-0.6]])[hidden]
    return np.hstack([z, np.eye(2)[rng.choice(2, n)]])


def test_clusters_that_no_column_tells_are_a_mixture():
    found = [fit(clusters(seed=seed), groups(3, [(0.5, 0.5)])) for seed in range(20)]
    assert all(model.category is None and len(model.means) == 2 for model in found)
    order = [model.means[:, 0].argsort() for model in found]
    for name, expected in (
        ("log_shares", np.log([0.7, 0.3])),
        ("means", [[-0.6] * 3, [1.5] * 3]),
        ("covariances", [0.36 * np.eye(3), 0.09 * np.eye(3)]),
    ):
        values = torch.stack([getattr(m, name)[k] for m, k in zip(found, order, strict=True)])
        error = values.std(0, correction=1) / 20**0.5
        gap = values.mean(0) - torch.tensor(np.array(expected)).float()
        # Variances are given a thousandth, as a given number is.
        assert (gap.abs() < 4 * error + 0.002).all()


def test_one_gaussian_is_no_mixture():
    chosen = [fit(rows(seed=seed, correlation=0.6)[0], groups()) for seed in range(20)]
    assert sum(len(found.means) > 1 for found in chosen) <= 1


def test_a_mixture_needs_no_complete_rows():
    for seed in range(20):
        X = clusters(seed=seed)
        X[np.arange(1000), np.random.RandomState(seed).choice(3, 1000)] = np.nan
        found = fit(X, groups(3, [(0.5, 0.5)]))
        assert len(found.means) == 2
        assert found.log_shares.exp().max() == pytest.approx(0.7, abs=4 * (0.21 / 1000) ** 0.5)


def test_numbers_that_are_absent_where_others_are_large_do_not_bias_levels():
    gaps = []
    for seed in range(20):
        X, _ = rows(2000, seed, shift=1.0, correlation=0.8)
        X[X[:, 0] > 0.5, 1] = np.nan
        found = fit(X)
        assert found.category == 1
        means = found.means.numpy() - (np.arange(3)[:, None] - 1.3)
        gaps.append([means, found.covariances[:, 1].numpy() - np.array([0.8, 1.0, 0.8])])
    error = np.std(gaps, axis=0, ddof=1) / 20**0.5
    # Both are drawn to those of all, means by 1/400 of the rarest.
    assert (np.abs(np.mean(gaps, axis=0)) < 4 * error + 0.03).all()


def test_too_many_patterns_are_left_to_the_cells_that_are_there(monkeypatch):
    X, level = rows(shift=1.0)
    X[:, :3][np.random.RandomState(1).rand(600, 3) < 0.3] = np.nan
    one = fit(X)
    monkeypatch.setattr(_location_fit, "MOST_WORK", 8 * 3 * 27 - 1)  # of 8 patterns and 3 levels
    other = fit(X)
    assert one.category == other.category == 1
    x_bar = np.array([np.nanmean(X[level == k, :3], axis=0) for k in range(3)])
    shrunk = np.bincount(level)[:, None] / (np.bincount(level)[:, None] + 1)
    np.testing.assert_allclose(other.means, x_bar * shrunk, rtol=1e-4, atol=1e-5)
    assert not np.allclose(one.means, other.means, atol=1e-3)
    holed = clusters()[:, :3]
    holed[::7, 0] = np.nan
    assert len(fit(holed, groups(3, ())).means) == 2
    monkeypatch.setattr(_location_fit, "MOST_WORK", 2 * 27 * 2 - 1)  # of 2 patterns and components
    assert len(fit(holed, groups(3, ())).means) == 1


def test_rows_of_more_weight_are_more_of_a_mixture():
    X = clusters(4000)
    weights = np.where(X[:, 0] > 0.6, 3.0, 1.0)
    found = fit(X[:, :3], groups(3, ()), weights * (4000 / weights.sum()))
    share = weights[X[:, 0] > 0.6].sum() / weights.sum()
    # Drawn by weight: 4000 rows.
    assert abs(found.log_shares.exp().max() - share) < 4 * 0.5 / 4000**0.5


def test_few_rows_have_no_mixture():
    found = fit(clusters(39), groups(3, [(0.5, 0.5)]))
    assert found is None or len(found.means) == 1


def test_what_few_rows_share_is_not_kept():
    X = clusters(1000)
    X[:6, :3] = 8.0 + 0.01 * X[:6, :3]
    found = fit(X, groups(3, [(0.5, 0.5)]))
    assert found.means.abs().max() < 3
    torch.testing.assert_close(found.log_shares.exp().sum(), torch.tensor(1.0))


def test_a_model_is_near_where_a_mixture_is_no_better():
    normal = np.random.RandomState(0).normal(size=(600, 2)) @ [[1.0, 0.6], [0.0, 0.8]]
    numbers = groups(2, ())
    assert is_near(normal, numbers)
    assert not is_near(clusters()[:, :3], groups(3, ()))
    assert is_near(rows(shift=1.0)[0], groups())
    angle = np.random.RandomState(1).uniform(0, 2 * np.pi, 2000)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1) + 0.05 * rows(2000)[0][:, :2]
    assert not is_near(ring, numbers)
    # Of 39 rows two components are not tried, and independent numbers have no model.
    assert not is_near(normal[:39], numbers)
    assert not is_near(rows()[0][:, :3], groups(3, ()))


def test_numbers_of_another_shape_have_no_mixture():
    t = np.random.RandomState(0).uniform(-2, 2, 2000)
    curve = np.stack([t, t**3 - 2 * t], axis=1) + 0.02 * rows(2000)[0][:, :2]
    assert len(fit(curve, groups(2, ())).means) == 1


def test_rows_without_weight_are_not_in_a_mixture():
    X = clusters(2000)[:, :3]
    weights = np.repeat([0.0, 2.0], 1000)
    with_others = X.copy()
    with_others[:1000] = 50.0
    found, expected = (fit(rows, groups(3, ()), weights) for rows in (with_others, X))
    assert len(expected.means) == 2
    for name in ("log_shares", "means", "covariances"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name))
