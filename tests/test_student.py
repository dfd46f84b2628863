"""The multivariate t: its blurred score, its fit, and when it is taken."""

import math

import numpy as np
import pytest
import torch
from oracles import diagonals_by_loop
from scipy.stats import kstest, multivariate_t

from skscore._student import StudentT, StudentTScore, find_heavy_tails, fit_student_t
from skscore.datasets import Banana, CorrelatedT, random_gaussian_mixture, ring_of_gaussians

SEEDS = range(20)


def student_t(d, nu, seed=0):
    rng = np.random.RandomState(seed)
    root = rng.normal(size=(d, d)) / math.sqrt(d) + np.eye(d)
    return StudentT(rng.normal(size=d), root @ root.T, nu)


def draw(t, n, seed=0):
    rows = multivariate_t(t.m, t.S, t.nu, seed=seed).rvs(n)
    return rows.reshape(n, len(t.m))


def standardized(p, n, seed):
    X = p.sample(n, random_state=seed)
    return (X - X.mean(axis=0)) / X.std(axis=0)


@pytest.mark.parametrize("sigma", [1e-3, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("d", [2, 5])
def test_the_score_is_that_of_the_blurred_density_at_every_noise_level(d, sigma):
    p = CorrelatedT(d)
    x = p.sample(500, random_state=0)
    expected = p.score_function(x, sigma)
    t = StudentT(np.zeros(d), np.where(np.eye(d, dtype=bool), 1.0, p.correlation), p.df)
    found = StudentTScore(t).double()(torch.from_numpy(x), torch.full((500, 1), sigma)).numpy()
    error = np.square(found - expected).sum() / np.square(expected).sum()
    assert error < 1e-8


@pytest.mark.parametrize(("d", "nu"), [(1, 1.0), (1, 30.0), (3, 2.0), (3, 200.0), (20, 4.0)])
def test_without_noise_the_score_is_in_closed_form(d, nu):
    t = student_t(d, nu)
    x = draw(t, 2000)
    q = np.einsum("ni,ij,nj->n", x - t.m, np.linalg.inv(t.S), x - t.m)
    expected = -(nu + d) / (nu + q)[:, None] * np.linalg.solve(t.S, (x - t.m).T).T
    found = StudentTScore(t).double()(torch.from_numpy(x), torch.full((2000, 1), 1e-5)).numpy()
    assert np.square(found - expected).sum() < 1e-6 * np.square(expected).sum()


@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_divergence_is_the_trace_of_the_jacobian(d):
    p = StudentTScore(student_t(d, 3.0)).double()
    x, sigma = torch.from_numpy(draw(student_t(d, 3.0), 20)), torch.linspace(0.01, 3, 20)[:, None]
    score, divergence = p.score_and_divergence(x, sigma.double())
    torch.testing.assert_close(score, p(x, sigma.double()))
    torch.testing.assert_close(divergence, diagonals_by_loop(p, x, sigma.double()).sum(1))


def test_the_density_is_that_of_scipy():
    t = student_t(3, 4.5)
    x = draw(t, 100)
    expected = multivariate_t(t.m, t.S, t.nu).logpdf(x)
    np.testing.assert_allclose(t.log_density(x), expected, rtol=1e-12)


def test_the_fit_is_the_maximum_of_the_likelihood():
    t = student_t(2, 3.0)
    x, w = draw(t, 400), np.random.RandomState(0).exponential(size=400)
    best = fit_student_t(x, w)
    highest = w @ best.log_density(x)
    rng = np.random.RandomState(1)
    for _ in range(50):
        turn = np.eye(2) + 0.02 * rng.normal(size=(2, 2))
        m, nu = best.m + 0.02 * rng.normal(size=2), best.nu * np.exp(0.05 * rng.normal())
        assert w @ StudentT(m, turn @ best.S @ turn.T, nu).log_density(x) < highest


def test_the_fit_finds_the_law_that_rows_were_drawn_from():
    z = []
    for seed in SEEDS:
        t = student_t(3, 4.0, seed)
        x = draw(t, 4000, seed)
        found = fit_student_t(x, np.ones(4000))
        # Twice the log-likelihood ratio to the truth has the chi² law of the 10 parameters.
        z.append(2 * (found.log_density(x) - t.log_density(x)).sum())
    assert kstest(z, "chi2", args=(10,)).pvalue > 0.001
    assert min(z) >= -1e-3


def test_weights_are_repeated_rows():
    x, w = draw(student_t(2, 3.0), 100), np.random.RandomState(0).randint(0, 4, size=100)
    weighted, repeated = (
        fit_student_t(x, w.astype(float)),
        fit_student_t(x.repeat(w, 0), np.ones(w.sum())),
    )
    np.testing.assert_allclose(weighted.S, repeated.S, rtol=1e-8)
    np.testing.assert_allclose([weighted.nu, *weighted.m], [repeated.nu, *repeated.m], rtol=1e-8)


@pytest.mark.parametrize("n", [300, 2000])
def test_rows_of_a_multivariate_t_are_found(n):
    found = [find_heavy_tails(standardized(CorrelatedT(5), n, s), np.ones(n), s) for s in SEEDS]
    assert sum(t is None for t in found) == 0
    nu = [t.nu for t in found if t is not None]
    assert abs(np.median(nu) - 5) < 1


@pytest.mark.parametrize("n", [300, 2000])
@pytest.mark.parametrize(
    "p",
    [
        ring_of_gaussians(),
        Banana(2),
        Banana(10),
        random_gaussian_mixture(5, random_state=0),
        CorrelatedT(3, df=1e4),
    ],
    ids=["ring", "banana2", "banana10", "mixture", "gaussian"],
)
def test_rows_of_another_law_are_left_to_the_network(p, n):
    found = [find_heavy_tails(standardized(p, n, s), np.ones(n), s) for s in SEEDS]
    assert sum(t is not None for t in found) == 0


def test_two_groups_of_heavy_tails_are_left_to_the_network():
    rng = np.random.RandomState(0)
    z = rng.standard_t(3, size=(1000, 2)) + 12 * rng.randint(2, size=(1000, 1))
    assert find_heavy_tails(z - z.mean(axis=0), np.ones(1000), 0) is None


def test_columns_of_heavy_tails_that_are_independent_are_left_to_the_network():
    for seed in SEEDS:
        z = np.random.RandomState(seed).standard_t(3, size=(1000, 3))
        assert find_heavy_tails(z, np.ones(1000), seed) is None


def test_a_single_column_of_heavy_tails_is_found():
    z = np.random.RandomState(0).standard_t(3, size=(1000, 1))
    found = find_heavy_tails(z, np.ones(1000), 0)
    assert found is not None
    assert found.nu == pytest.approx(3, abs=1)


def test_rows_at_one_point_or_on_a_plane_are_left_to_the_network():
    rng = np.random.RandomState(0)
    t = CorrelatedT(3).sample(600, random_state=0)
    inflated = np.where(rng.uniform(size=(600, 1)) < 0.9, 0.0, rng.normal(size=(600, 1)))
    single = (np.arange(600) == 5)[:, None] * 1.0  # constant in the rows of four folds
    on_a_plane = np.hstack([t, t[:, :1]])
    for z in (inflated, single, on_a_plane, np.hstack([t, inflated]), np.hstack([t, single])):
        assert find_heavy_tails(z, np.ones(600), 0) is None


def test_few_rows_or_weights_are_no_evidence():
    z = standardized(CorrelatedT(5), 49, 0)
    assert find_heavy_tails(z, np.ones(49), 0) is None
    w = np.zeros(300)
    w[:3] = 1
    assert find_heavy_tails(standardized(CorrelatedT(5), 300, 0), w, 0) is None
