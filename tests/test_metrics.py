import sys

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from sklearn.model_selection import StratifiedKFold

from skscore import objectives
from skscore.datasets import gaussian_mixture_1d, random_gaussian_mixture
from skscore.metrics import (
    c2st,
    copy_rate,
    coverage,
    distance_to_closest_record,
    fisher_divergence,
    wasserstein,
)

SEED = 0


def rows(n, d, seed=SEED):
    return np.random.RandomState(seed).standard_normal((n, d))


# Fisher divergence


def test_fisher_divergence_of_linear_scores_is_a_quadratic_form():
    X, rng = rows(50, 3), np.random.RandomState(1)
    A, B = rng.standard_normal((2, 3, 3))
    expected = np.trace((A - B) @ (X.T @ X / 50) @ (A - B).T)
    found = fisher_divergence(lambda X: X @ A.T, lambda X: X @ B.T, X)
    assert isinstance(found, float)
    assert found == pytest.approx(expected)
    assert fisher_divergence(lambda X: X @ B.T, lambda X: X @ A.T, X) == pytest.approx(expected)
    assert fisher_divergence(lambda X: X @ A.T, lambda X: X @ A.T, X) == 0


def test_fisher_divergence_of_gaussians_has_no_half():
    n, v, w, d = 20000, 1.0, 2.0, 3
    found = fisher_divergence(lambda X: -X / v, lambda X: -X / w, v**0.5 * rows(n, d))
    # E‖x‖² (1/v - 1/w)², ‖x‖²/v being χ² with d degrees of freedom.
    expected = d * v * (1 / v - 1 / w) ** 2
    assert found == pytest.approx(expected, abs=4 * expected * (2 / (d * n)) ** 0.5)


def test_fisher_divergence_weights_rows():
    X, weights = rows(20, 2), np.random.RandomState(1).randint(0, 4, 20)
    scores = (lambda X: np.sin(X), lambda X: -X)
    repeated = fisher_divergence(*scores, np.repeat(X, weights, axis=0))
    assert fisher_divergence(*scores, X, sample_weight=weights) == pytest.approx(repeated)
    assert fisher_divergence(*scores, X, 7.5 * weights) == pytest.approx(repeated)
    assert fisher_divergence(*scores, X) != pytest.approx(repeated, rel=1e-4)


def test_fisher_divergence_is_the_mean_of_the_explicit_objective():
    density, X = gaussian_mixture_1d(), rows(30, 1)
    target = torch.from_numpy(density.score_function(X))
    x = torch.from_numpy(X)
    loss = objectives.explicit(lambda x, sigma: -x, x, torch.zeros_like(x), target)
    found = fisher_divergence(density.score_function, lambda X: -X, X)
    assert found == pytest.approx(loss.mean().item())


def test_fisher_divergence_is_in_one_over_squared_units():
    p, q = (random_gaussian_mixture(2, random_state=seed).score_function for seed in (1, 2))
    X, c = rows(40, 2), 100.0
    scaled = fisher_divergence(lambda Y: p(Y / c) / c, lambda Y: q(Y / c) / c, c * X)
    assert scaled == pytest.approx(fisher_divergence(p, q, X) / c**2)


def test_fisher_divergence_refuses_what_has_not_the_shape_of_a_score():
    message = r"score_a gave the shape \(5,\) for X of shape \(5, 2\); a score has the shape of X"
    with pytest.raises(ValueError, match=message):
        fisher_divergence(lambda X: X[:, 0], lambda X: X[:, 1], rows(5, 2))
    # Both would be broadcast to the shape of X.
    with pytest.raises(ValueError, match=r"score_b gave the shape \(5, 1\) for X of shape \(5, 2"):
        fisher_divergence(lambda X: X, lambda X: X[:, :1], rows(5, 2))
    with pytest.raises(ValueError, match=r"score_b gave the shape \(2,\) for X of shape \(2, 2\)"):
        fisher_divergence(lambda X: X, lambda X: X[0], rows(2, 2))


def test_fisher_divergence_refuses_numbers_that_are_none_and_weights_that_do_not_fit():
    X = rows(5, 2)
    with pytest.raises(ValueError, match="contains NaN"):
        fisher_divergence(np.sin, np.cos, [[0.0], [np.nan]])
    message = "score_b is not finite at 1 of 3 rows, the first of them row 1: there is no mean"
    with pytest.raises(ValueError, match=message), np.errstate(divide="ignore"):
        fisher_divergence(np.sin, lambda X: 1 / X, [[1.0], [0.0], [2.0]])
    with pytest.raises(ValueError, match=r"sample_weight.shape == \(4,\), expected \(5,\)"):
        fisher_divergence(np.sin, np.cos, X, np.ones(4))
    with pytest.raises(ValueError, match="Negative values in data passed to `sample_weight`"):
        fisher_divergence(np.sin, np.cos, X, [1, 1, 1, 1, -1])
    with pytest.raises((ValueError, ZeroDivisionError), match="[wW]eights.*zero"):
        fisher_divergence(np.sin, np.cos, X, np.zeros(5))


def test_fisher_divergence_takes_tensors_that_carry_a_gradient():
    X, factor = rows(20, 2), torch.tensor(2.0, requires_grad=True)
    found = fisher_divergence(lambda X: factor * torch.from_numpy(X).float(), lambda X: -X, X)
    assert isinstance(found, float)
    assert found == pytest.approx(fisher_divergence(lambda X: 2 * X, lambda X: -X, X), rel=1e-6)


def test_fisher_divergence_of_single_precision_is_summed_in_double():
    X = rows(20, 2)
    found = fisher_divergence(lambda X: X.astype(np.float32) + 1e4, lambda X: X * 0, X)
    exact = fisher_divergence(
        lambda X: (X.astype(np.float32) + 1e4).astype(float), np.zeros_like, X
    )
    assert found == exact


# Copy rate


def copy_rate_by_loop(X, X_train, exclude_self=False):
    distinct = [np.array(row) for row in {tuple(row + 0.0) for row in X_train}]
    queries = distinct if exclude_self else X
    copies = 0
    for query in queries:
        others = [row for row in distinct if not (exclude_self and row is query)]
        first, second = sorted(np.sqrt(((query - row) ** 2).sum()) for row in others)[:2]
        copies += first < second / 3
    return copies / len(queries)


@pytest.mark.parametrize("exclude_self", [False, True])
@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize("grid", [None, 0.5])
def test_copy_rate_is_that_of_two_loops(grid, d, exclude_self):
    rng = np.random.RandomState(SEED)
    X_train = rng.standard_normal((60, d))
    if grid is not None:  # repeats and equal distances
        X_train = np.round(X_train / grid) * grid
    X_train = np.vstack([X_train, X_train[:20], X_train[:5]])
    X = np.vstack([rng.standard_normal((30, d)), X_train[:10] + 0.01, X_train[10:15]])
    expected = copy_rate_by_loop(X, X_train, exclude_self)
    if not exclude_self:
        assert 0.1 < expected < 1
    assert copy_rate(X, X_train, exclude_self=exclude_self) == pytest.approx(expected)


def test_copies_are_found_and_the_middle_between_rows_is_none():
    X_train = 10 * np.arange(8.0)[:, None]
    assert copy_rate(X_train, X_train) == 1
    assert copy_rate(X_train + 2.4, X_train) == 1  # 2.4 to one, 7.6 to the next
    assert copy_rate(X_train + 2.6, X_train) == 0.125  # 2.6, 7.4; the last one sees 2.6, 12.6
    assert copy_rate(X_train[:-1] + 5, X_train) == 0
    assert copy_rate(X_train, X_train, exclude_self=True) == pytest.approx(0)


def test_repeats_and_the_order_of_training_rows_do_not_change_the_copy_rate():
    X, X_train = rows(200, 2, 1), rows(50, 2, 2)
    rate = copy_rate(X, X_train)
    assert 0 < rate < 1
    order = np.random.RandomState(3).permutation(150)
    assert copy_rate(X, np.vstack([X_train] * 3)[order]) == rate
    assert copy_rate(X[::-1], X_train) == rate
    signed_zeros = np.array([[0.0], [-0.0], [10.0]])
    assert copy_rate([[0.1]], signed_zeros) == 1


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("exclude_self", [False, True])
def test_independent_rows_pass_for_copies_at_the_rate_of_chance(exclude_self, d):
    # Where the density is even, (d_1/d_2)^d is U(0, 1). Neighbouring rows share distances: with
    # themselves excluded they are about twice as uncertain as independent ones.
    n = 4000
    rng = np.random.RandomState(SEED)
    X_train, X = rng.uniform(size=(2, n, d))
    rate = copy_rate(X_train if exclude_self else X, X_train, exclude_self=exclude_self)
    p = 3.0**-d
    assert rate == pytest.approx(p, abs=4 * (2 * p * (1 - p) / n) ** 0.5)


@pytest.mark.parametrize(("exclude_self", "needed"), [(False, 2), (True, 3)])
def test_copy_rate_needs_two_other_rows(exclude_self, needed):
    X_train = np.repeat(np.arange(needed - 1.0), 5)[:, None]
    message = rf"X_train has {needed - 1} distinct row\(s\); the ratio .* needs {needed}"
    with pytest.raises(ValueError, match=message):
        copy_rate(X_train, X_train, exclude_self=exclude_self)
    X_train = np.arange(float(needed))[:, None]
    assert 0 <= copy_rate(X_train, X_train, exclude_self=exclude_self) <= 1


def test_copy_rate_refuses_missing_values_and_other_widths():
    with pytest.raises(ValueError, match="contains NaN"):
        copy_rate([[np.nan]], [[0.0], [1.0]])
    with pytest.raises(ValueError, match="2 features.* 1 features"):
        copy_rate([[0.0, 1.0]], [[0.0], [1.0]])


# Classifier two-sample test


def test_c2st_is_a_half_for_one_law_and_one_for_far_samples():
    X, same, other = rows(300, 2, 1), rows(300, 2, 2), rows(300, 2, 3)
    # The area under the curve of 300 against 300 rows has a standard error of .024.
    assert c2st(X, same, random_state=SEED) == pytest.approx(0.5, abs=0.1)
    assert c2st(X, other + 20, random_state=SEED) > 0.999
    assert 0.6 < c2st(X, other + 0.7, random_state=SEED) < 0.95


def test_c2st_sees_dependence_that_no_single_column_shows():
    X = rows(300, 2, 1)
    angle = rows(300, 1, 2)
    dependent = np.hstack([angle, angle + 0.1 * rows(300, 1, 3)])
    assert c2st(X, dependent, random_state=SEED) > 0.85


def test_c2st_cuts_the_larger_sample_to_the_size_of_the_smaller(monkeypatch):
    seen = {}

    class Record(StratifiedKFold):
        def split(self, X, y):
            seen.update(X=X, y=y, n_splits=self.n_splits)
            return super().split(X, y)

    monkeypatch.setattr("skscore.metrics.StratifiedKFold", Record)
    X, Y = rows(60, 2, 1), rows(400, 2, 2)
    c2st(X, Y, cv=3, random_state=SEED)
    assert (np.bincount(seen["y"]) == [60, 60]).all()
    assert seen["n_splits"] == 3
    real, synthetic = ({tuple(row) for row in seen["X"][seen["y"] == k]} for k in (0, 1))
    assert real == {tuple(row) for row in X}
    assert len(synthetic) == 60
    assert synthetic < {tuple(row) for row in Y}
    assert synthetic != {tuple(row) for row in Y[:60]}


def test_c2st_follows_its_seed():
    X, Y = rows(60, 2, 1), rows(90, 2, 2) + 0.5
    a, b, other = (c2st(X, Y, cv=2, random_state=seed) for seed in (1, 1, 2))
    assert a == b
    assert a != other


def test_c2st_refuses_missing_values():
    with pytest.raises(ValueError, match="contains NaN"):
        c2st([[np.nan]] * 10, rows(10, 1))


def test_c2st_with_equal_weights_is_close_to_that_without():
    X, Y = rows(200, 2, 1), rows(200, 2, 2) + 0.5
    plain = c2st(X, Y, random_state=SEED)
    # Trees with weights bin the features differently.
    weighted = c2st(X, Y, sample_weight=np.ones(200), random_state=SEED)
    assert weighted == pytest.approx(plain, abs=0.03)
    assert c2st(X, Y, sample_weight=np.full(200, 8.0), random_state=SEED) == weighted


def test_c2st_does_not_see_rows_of_weight_zero():
    X, Y = rows(300, 2, 1), rows(300, 2, 2)
    far = np.arange(300) % 3 == 0
    X[far] += 20
    assert c2st(X, Y, random_state=SEED) > 0.6
    weights = np.where(far, 0.0, 2.0)
    found = c2st(X, Y, sample_weight=weights, random_state=SEED)
    # The area under the curve of 200 against 300 rows has a standard error of .026.
    assert found == pytest.approx(0.5, abs=0.1)
    moved = X + np.where(far, 1e3, 0.0)[:, None]
    assert c2st(moved, Y, sample_weight=weights, random_state=SEED) == found


def test_c2st_weights_that_undo_a_shift_make_the_samples_one_law():
    # exp(m x - m²/2) is the density of N(m, 1) over that of N(0, 1).
    X, Y, m = rows(600, 1, 1), rows(600, 1, 2) + 1.0, 1.0
    assert c2st(X, Y, random_state=SEED) > 0.65
    weights = np.exp(m * X[:, 0])
    assert c2st(X, Y, sample_weight=weights, random_state=SEED) == pytest.approx(0.5, abs=0.08)


def test_c2st_keeps_each_weight_with_its_row_where_real_rows_are_cut():
    X, Y = rows(300, 2, 1), rows(60, 2, 2)
    far = np.arange(300) % 2 == 0
    X[far] += 20
    weights = np.where(far, 0.0, 1.0)
    moved = X + np.where(far, 1e3, 0.0)[:, None]
    found = c2st(X, Y, sample_weight=weights, random_state=SEED)
    assert c2st(moved, Y, sample_weight=weights, random_state=SEED) == found
    assert found < 0.75
    assert c2st(X, Y, sample_weight=1 - weights, random_state=SEED) > 0.99


def test_c2st_refuses_weights_that_do_not_fit():
    X, Y = rows(20, 1, 1), rows(15, 1, 2)
    # The weights are those of all real rows, also where these are cut to as many as the others.
    with pytest.raises(ValueError, match=r"sample_weight.shape == \(15,\), expected \(20,\)"):
        c2st(X, Y, sample_weight=np.ones(15))
    with pytest.raises(ValueError, match="Negative values in data passed to `sample_weight`"):
        c2st(X, Y, sample_weight=np.r_[-1.0, np.ones(19)])


@pytest.mark.parametrize(("n_real", "n_synthetic"), [(4, 100), (100, 4)])
def test_c2st_refuses_fewer_rows_than_folds(n_real, n_synthetic):
    with pytest.raises(ValueError, match="4 rows of each kind cannot be held out in 5 folds; use"):
        c2st(rows(n_real, 1), rows(n_synthetic, 1, 1))
    assert 0 <= c2st(rows(n_real, 1), rows(n_synthetic, 1, 1), cv=4, random_state=SEED) <= 1


def test_c2st_needs_as_many_rows_of_positive_weight_as_folds():
    w = np.zeros(60)
    w[:3] = 1
    with pytest.raises(ValueError, match="3 rows of each kind cannot be held out in 5 folds"):
        c2st(rows(60, 2, 1), rows(60, 2, 2), sample_weight=w, random_state=SEED)


# Wasserstein, coverage, closest records


def cityblock(A, B):
    return np.abs(A[:, None] - B[None]).sum(axis=2)


def test_wasserstein_of_one_column_is_the_area_between_distribution_functions():
    X, Y = rows(30, 1, seed=1), 2 * rows(45, 1, seed=2) + 1
    expected = stats.wasserstein_distance(X.ravel(), Y.ravel())
    found = wasserstein(X, Y)
    assert isinstance(found, float)
    assert found == pytest.approx(expected)
    assert wasserstein(Y, X) == pytest.approx(expected)


def test_wasserstein_of_as_many_rows_is_the_cheapest_pairing():
    X, Y = rows(25, 3, seed=1), rows(25, 3, seed=2)
    for metric in ("euclidean", "cityblock", cityblock):
        cost = cdist(X, Y, "cityblock" if callable(metric) else metric)
        pairs = linear_sum_assignment(cost)
        assert wasserstein(X, Y, metric=metric) == pytest.approx(cost[pairs].mean())
    assert wasserstein(X, X[::-1]) == pytest.approx(0)
    assert wasserstein(X, X + [3, 0, 4]) == pytest.approx(5)


def test_coverage_is_that_of_a_slow_loop():
    R, S = rows(40, 2, seed=1), rows(25, 2, seed=2)
    for k in (1, 2, 5):
        covered = 0
        for i, x in enumerate(R):
            radius = np.sort(np.linalg.norm(np.delete(R, i, axis=0) - x, axis=1))[k - 1]
            covered += np.linalg.norm(S - x, axis=1).min() < radius
        assert coverage(R, S, k=k) == pytest.approx(covered / 40)
    assert coverage(R, S) == coverage(R, S, k=2)
    assert coverage(R, S, metric=cityblock) == coverage(R, S, metric="cityblock")


def test_coverage_of_the_same_law_has_the_mean_that_is_stated():
    n, m, k, runs = 30, 20, 3, 300
    rng = np.random.RandomState(SEED)
    found = [coverage(rng.normal(size=(n, 2)), rng.normal(size=(m, 2)), k=k) for _ in range(runs)]
    left = [(n - 1 - i) / (n + m - 1 - i) for i in range(k)]
    expected = 1 - np.prod(left)
    assert np.mean(found) == pytest.approx(expected, abs=4 * np.std(found) / runs**0.5)


def test_coverage_looks_farther_where_rows_repeat():
    R = np.repeat(np.arange(10.0), 3)[:, None]
    # Two others are equal, so that the third neighbour is the first apart, and the fourth is used.
    assert coverage(R, [[4.4]]) == coverage(R, [[4.4]], k=4) == pytest.approx(0.2)
    assert coverage(R, R) == 1
    assert coverage(np.zeros((5, 1)), np.zeros((3, 1))) == 1
    assert coverage(np.zeros((5, 1)), np.ones((3, 1))) == 0


def test_closest_records_are_those_of_a_slow_loop():
    X, T = rows(20, 3, seed=1), rows(600, 3, seed=2)
    expected = cdist(X, T).min(axis=1)
    np.testing.assert_allclose(distance_to_closest_record(X, T), expected)
    expected = cdist(X, T, "cityblock").min(axis=1)
    for metric in ("cityblock", cityblock):
        np.testing.assert_allclose(distance_to_closest_record(X, T, metric=metric), expected)
    among = cdist(T, T) + 1e9 * np.eye(600)
    for metric in ("euclidean", cdist):
        found = distance_to_closest_record(T, T, exclude_self=True, metric=metric)
        np.testing.assert_allclose(found, among.min(axis=1))


def test_copies_are_counted_in_any_metric():
    X, T = rows(200, 3, seed=1), rows(100, 3, seed=2)
    found = copy_rate(X, T, metric="cityblock")
    nearest = np.sort(cdist(X, T, "cityblock"), axis=1)
    assert found == np.mean(nearest[:, 0] < nearest[:, 1] / 3)
    assert copy_rate(X, T, metric=cityblock) == found
    assert copy_rate(X, T, metric=cdist) == copy_rate(X, T)
    alone = copy_rate(T, T, exclude_self=True)
    assert copy_rate(T, T, exclude_self=True, metric=cdist) == alone


def test_samples_that_do_not_compare_are_refused():
    with pytest.raises(ValueError, match=r"X has 2 feature\(s\) and Y has 1"):
        wasserstein(rows(5, 2), rows(5, 1))
    with pytest.raises(ValueError, match="X_real has 2 .* X_synthetic has 1"):
        coverage(rows(5, 2), rows(5, 1))
    with pytest.raises(ValueError, match="5 real row.* k=5; give more"):
        coverage(rows(5, 1), rows(5, 1), k=5)
    with pytest.raises(ValueError, match="1 real row.* k=2"):
        coverage(rows(1, 1), rows(5, 1))
    with pytest.raises(ValueError, match="X_train has 1 row"):
        distance_to_closest_record(rows(1, 1), rows(1, 1), exclude_self=True)


def test_the_wasserstein_distance_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "ot", None)
    with pytest.raises(ImportError, match=r"needs POT; install .skscore\[tabular\]"):
        wasserstein(rows(5, 1), rows(5, 1))
