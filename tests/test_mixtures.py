"""Mixtures of incomplete rows: what they are of complete ones, and known truths."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture

from skscore._location_model import GIVEN_VARIANCE
from skscore._mixtures import fit_mixtures

MEANS = np.array([[1.5, 1.5, 1.5], [-0.6, -0.6, -0.6]])
SHARES = np.array([0.3, 0.7])
VARIANCES = np.array([0.09, 0.36])


def clusters(n=1000, seed=0):
    rng = np.random.RandomState(seed)
    hidden = rng.choice(2, n, p=SHARES)
    return MEANS[hidden] + np.sqrt(VARIANCES)[hidden, None] * rng.normal(size=(n, 3))


def holed(z, share=0.3, seed=0):
    return np.where(np.random.RandomState(seed).rand(*z.shape) < share, np.nan, z)


def fit(z, n_components=2, weights=None, seed=0):
    weights = np.ones(len(z)) if weights is None else weights
    (found,) = fit_mixtures(z, weights, [n_components], seed)
    return found


@pytest.mark.parametrize("n_components", [1, 2, 3])
def test_of_complete_rows_it_is_that_of_scikit_learn(n_components):
    z = clusters()
    found = fit(z, n_components)
    expected = GaussianMixture(
        n_components, reg_covar=GIVEN_VARIANCE, max_iter=1000, random_state=0
    ).fit(z)
    np.testing.assert_allclose(found.means, expected.means_)
    np.testing.assert_allclose(found.covariances, expected.covariances_)
    np.testing.assert_allclose(found.shares, expected.weights_)
    assert found.bic(len(z)) == pytest.approx(expected.bic(z))


def test_one_absent_cell_hardly_changes_it():
    z = clusters()
    some = z.copy()
    some[0, 0] = np.nan
    for n_components in (1, 2):
        found, expected = fit(some, n_components), fit(z, n_components)
        np.testing.assert_allclose(found.means, expected.means, atol=0.01)
        np.testing.assert_allclose(found.covariances, expected.covariances, atol=0.01)
        assert found.bic(1000) == pytest.approx(expected.bic(1000), abs=20)


def test_the_likelihood_is_that_of_the_cells_that_are_there():
    z = holed(clusters())
    found = fit(z)
    total = []
    for row in z:
        o = ~np.isnan(row)
        parts = zip(found.shares, found.means, found.covariances, strict=True)
        total.append(
            logsumexp(
                [
                    np.log(pi)
                    + (multivariate_normal(m[o], C[np.ix_(o, o)]).logpdf(row[o]) if o.any() else 0)
                    for pi, m, C in parts
                ]
            )
        )
    assert found.log_likelihood == pytest.approx(np.mean(total))


def test_no_row_has_to_be_complete():
    found = []
    for seed in range(20):
        z = clusters(seed=seed)
        z[np.arange(1000), np.random.RandomState(seed).choice(3, 1000)] = np.nan
        mixture = fit(z)
        order = np.argsort(-mixture.means[:, 0])
        found.append([getattr(mixture, n)[order] for n in ("shares", "means", "covariances")])
    truth = SHARES, MEANS, VARIANCES[:, None, None] * np.eye(3)
    for values, expected in zip(zip(*found, strict=True), truth, strict=True):
        error = np.std(values, axis=0, ddof=1) / 20**0.5
        # A thousandth is added to variances.
        assert (np.abs(np.mean(values, axis=0) - expected) < 4 * error + 0.002).all()


def test_cells_that_are_absent_where_others_are_large_do_not_bias_it():
    gaps, of_complete = [], []
    for seed in range(20):
        z = np.random.RandomState(seed).multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], 1000)
        z[z[:, 0] > 0.5, 1] = np.nan
        found = fit(z, 1)
        gaps.append([*found.means[0], found.covariances[0, 0, 1] - 0.8])
        of_complete.append(np.nanmean(z[:, 1]))
    error = np.std(gaps, axis=0, ddof=1) / 20**0.5
    # EM ends where a round gains less than a thousandth of a nat.
    assert (np.abs(np.mean(gaps, axis=0)) < 4 * error + 0.02).all()
    assert np.mean(of_complete) < -0.3


def test_a_column_that_is_always_absent_stays_standard_normal():
    z = clusters()
    z[:, 1] = np.nan
    for n_components in (1, 2):
        found = fit(z, n_components)
        np.testing.assert_allclose(found.means[:, 1], 0, atol=1e-6)
        np.testing.assert_allclose(found.covariances[:, 1, 1], 1, atol=0.3)


def test_weights_are_repetitions():
    z = holed(clusters(300))
    weights = np.random.RandomState(1).choice([1.0, 2.0], 300)
    found, expected = fit(z, 1, weights), fit(np.repeat(z, weights.astype(int), axis=0), 1)
    np.testing.assert_allclose(found.means, expected.means)
    np.testing.assert_allclose(found.covariances, expected.covariances)
    assert found.log_likelihood == pytest.approx(expected.log_likelihood)


def test_the_seed_decides():
    z = holed(clusters(200))
    np.testing.assert_array_equal(fit(z, 3, seed=1).means, fit(z, 3, seed=1).means)


def test_several_are_those_of_each():
    z = holed(clusters(200))
    for found, K in zip(fit_mixtures(z, np.ones(200), [1, 2, 3], 0), (1, 2, 3), strict=True):
        np.testing.assert_array_equal(found.covariances, fit(z, K).covariances)
