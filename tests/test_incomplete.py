"""What is expected in absent cells, against the formulas row by row and the law of the rows."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from skscore._incomplete import Holes


def law(q=4, seed=0):
    A = np.random.RandomState(seed).normal(size=(q, q))
    return np.arange(q) / 2.0, A @ A.T / q + 0.1 * np.eye(q)


def holed(n=200, share=0.4, seed=0):
    mean, C = law()
    rng = np.random.RandomState(seed)
    full = rng.multivariate_normal(mean, C, size=n)
    return full, np.where(rng.rand(*full.shape) < share, np.nan, full)


def test_what_is_expected_of_absent_cells_is_the_conditional_law():
    mean, C = law()
    _, z = holed()
    z[0], z[1, 0] = np.nan, 1.0
    done = Holes.in_rows(z).complete(z, mean, C)
    for i, row in enumerate(z):
        o, m = np.flatnonzero(~np.isnan(row)), np.flatnonzero(np.isnan(row))
        gain = C[np.ix_(m, o)] @ np.linalg.inv(C[np.ix_(o, o)])
        np.testing.assert_array_equal(done.rows[i, o], row[o])
        np.testing.assert_allclose(done.rows[i, m], mean[m] + gain @ (row[o] - mean[o]))
        V = np.zeros_like(C)
        V[np.ix_(m, m)] = C[np.ix_(m, m)] - gain @ C[np.ix_(o, m)]
        np.testing.assert_allclose(done.laws.spread[done.pattern[i]], V, atol=1e-12)
        expected = multivariate_normal(mean[o], C[np.ix_(o, o)]).logpdf(row[o]) if len(o) else 0.0
        assert done.log_f[i] == pytest.approx(expected)


def test_each_level_has_its_own_law():
    _, z = holed()
    levels = np.random.RandomState(1).choice(3, 200) - 1
    holes = Holes.in_rows(z, levels)
    means, covariances = (
        np.stack(parts) for parts in zip(*map(law, [4] * 3, range(3)), strict=True)
    )
    done = holes.complete(z, means[holes.level], covariances[holes.level])
    for k in (-1, 0, 1):
        own = levels == k
        alone = Holes.in_rows(z[own]).complete(z[own], means[k], covariances[k])
        np.testing.assert_allclose(done.rows[own], alone.rows)
        np.testing.assert_allclose(done.log_f[own], alone.log_f)
        np.testing.assert_allclose(
            done.mean_spread(own * 1.0), alone.mean_spread(np.ones(own.sum()))
        )


def test_several_draws_of_rows_are_completed_each():
    _, z = holed()
    both = np.stack([z, 2 * z])
    holes, (mean, C) = Holes.in_rows(z), law()
    done = holes.complete(both, mean, C)
    for rows, log_f, one in zip(done.rows, done.log_f, both, strict=True):
        alone = holes.complete(one, mean, C)
        np.testing.assert_allclose(rows, alone.rows)
        np.testing.assert_allclose(log_f, alone.log_f)


def test_completed_rows_and_their_spread_have_the_covariance_of_all():
    mean, C = law()
    found = []
    for seed in range(20):
        _, z = holed(500, seed=seed)
        done = Holes.in_rows(z).complete(z, mean, C)
        centred = done.rows - mean
        found.append(centred.T @ centred / len(z) + done.mean_spread(np.ones(len(z))))
    error = np.std(found, axis=0, ddof=1) / 20**0.5
    assert (np.abs(np.mean(found, axis=0) - C) < 4 * error).all()


def test_rows_without_holes_are_left_as_they_are():
    full, z = holed()
    holes = Holes.in_rows(full)
    assert not holes
    assert Holes.in_rows(z)
    assert (holes.work, Holes.in_rows(z[:1]).work) == (64, 64)
    done = holes.complete(full, *law())
    np.testing.assert_array_equal(done.rows, full)
    assert (done.laws.spread == 0).all()
