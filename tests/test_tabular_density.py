"""Log-densities of tables, against known truths."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.integrate import trapezoid
from scipy.stats import multivariate_normal, norm
from sklearn.exceptions import NotFittedError

from skscore import make_generative_pipeline
from skscore._table_score import TableScore
from skscore.datasets import gaussian_mixture_1d
from skscore.exceptions import OverfittingWarning
from skscore.gaussians import GaussianScore
from skscore.tabular import TabularEncoder, TabularGenerator
from skscore.tabular._density import TableDensity

LEVELS = 0.02, 10.0
# So few steps leave the network at the exact score of independent columns, near enough.
QUICK = {"max_steps": 2, "hidden_units": (8,), "random_state": 0}
R = np.array([[1.0, 0.7], [0.7, 1.0]])


class Copula(GaussianScore):
    """The score of normals of known correlation, in place of a network."""

    def __init__(self, correlation):
        super().__init__(torch.zeros(len(correlation)), torch.as_tensor(correlation))
        self.mean = torch.zeros(len(correlation))


def correlated(n, seed=0):
    return np.random.RandomState(seed).multivariate_normal([0, 0], R, n)


def independent(X, **params):
    encoder = TabularEncoder(**params).fit(X)
    module = TableScore(encoder.feature_groups_, (8,)).double()
    return TableDensity(encoder, module, LEVELS)


def test_with_the_score_of_a_known_copula_the_density_is_the_true_one():
    X, test = correlated(10_000), correlated(300, seed=1)
    density = TableDensity(TabularEncoder(tails="pareto").fit(np.exp(X)), Copula(R), LEVELS)
    # Lognormal columns: log p(e^x) = log p(x) - Σ x.
    truth = multivariate_normal.logpdf(test, cov=R) - test.sum(1)
    log_p, error = density.log_density(np.exp(test))
    assert not error.any()
    assert np.abs(log_p - truth).mean() < 0.25
    assert abs((log_p - truth).mean()) < 0.05
    nll = density.nll(np.exp(test))
    assert abs((nll + truth).mean()) < 0.15


@pytest.mark.parametrize("tails", ["clip", "pareto"])
def test_it_integrates_to_one(tails):
    X = gaussian_mixture_1d().sample(1000, random_state=0)
    generator = TabularGenerator(
        max_steps=200, hidden_units=(32,), tails=tails, random_state=0
    ).fit(X)
    grid = np.linspace(X.min() - 5, X.max() + 5, 4000)
    p = np.exp(generator.score_samples(grid[:, None]))
    assert trapezoid(p, grid) == pytest.approx(1, abs=0.02)


def test_cells_of_rounded_columns_have_probabilities_that_sum_to_one():
    X = np.round(2 * correlated(3000)).astype(int)
    density = TableDensity(TabularEncoder().fit(X), Copula(R), LEVELS)
    axes = [np.arange(X[:, j].min(), X[:, j].max() + 1) for j in range(2)]
    cells = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
    p = np.exp(density.log_density(cells)[0])
    assert p.sum() == pytest.approx(1, abs=0.02)
    shares = np.array([(cell == X).all(axis=1).mean() for cell in cells])
    assert np.abs(p - shares).sum() < 0.25
    # Noise in the steps makes of it a bound.
    assert -0.02 < (density.nll(X[:200]) + density.log_density(X[:200])[0]).mean() < 0.3


@pytest.mark.slow
def test_a_trained_generator_knows_the_density():
    density = gaussian_mixture_1d()
    X = np.hstack([density.sample(2000, random_state=0), correlated(2000)])
    test = np.hstack([density.sample(256, random_state=1), correlated(256, seed=1)])
    generator = TabularGenerator(
        max_steps=1000, hidden_units=(64, 64), tails="pareto", random_state=0
    ).fit(X)
    truth = density.log_density(test[:, :1]) + multivariate_normal.logpdf(test[:, 1:], cov=R)
    log_p = generator.score_samples(test)
    assert np.isfinite(log_p).all()
    assert abs((log_p - truth).mean()) < 0.25
    # That of independent columns is lower by the mutual information, -ln(1 - ρ²)/2 = 0.34.
    assert log_p.mean() > truth.mean() - 0.25
    nll = generator.held_out_nll(test)
    assert 0 < generator.held_out_nll_std_ < 0.2
    assert abs(nll + log_p.mean()) < 0.15
    assert generator.log_density_std_ == 0


def test_units_shift_it_by_the_determinant():
    X, test = correlated(300), 0.5 * correlated(40, seed=1)
    A, b = np.array([4.0, 0.125]), np.array([1.0, -3.0])
    before = TabularGenerator(**QUICK).fit(X)
    after = TabularGenerator(**QUICK).fit(X * A + b)
    shift = np.log(A).sum()
    np.testing.assert_allclose(
        after.score_samples(test * A + b), before.score_samples(test) - shift, atol=1e-6
    )
    assert after.held_out_nll(test * A + b) == pytest.approx(
        before.held_out_nll(test) + shift, abs=1e-6
    )


def test_a_row_does_not_depend_on_the_others():
    X = np.column_stack([correlated(300), np.random.RandomState(0).poisson(3, 300)])
    generator = TabularGenerator(**QUICK).fit(X)
    log_p = generator.score_samples(X[:20])
    np.testing.assert_array_equal(generator.score_samples(X[10:20]), log_p[10:])
    np.testing.assert_array_equal(generator.score_samples(X[3:4]), log_p[3:4])


def test_beyond_the_data_there_is_nothing_unless_there_are_tails():
    X = correlated(1000)
    rows = np.array([[0.0, 0.0], [9.0, 0.0]])
    clipped = TabularGenerator(**QUICK).fit(X)
    assert np.isfinite(clipped.score_samples(rows)).tolist() == [True, False]
    assert clipped.score_samples(rows[1:]).tolist() == [-np.inf]
    assert clipped.held_out_nll(rows) == np.inf
    assert np.isnan(clipped.held_out_nll_std_)
    assert np.isfinite(clipped.held_out_nll(rows, sample_weight=[1, 0]))
    X = np.random.RandomState(0).standard_t(3, (1000, 2))
    beyond = np.vstack([X.max(axis=0) + 0.1, X.min(axis=0) - 0.1])
    assert np.isfinite(independent(X, tails="pareto").log_density(beyond)[0]).all()
    assert not np.isfinite(independent(X).log_density(beyond)[0]).any()


def test_weights_are_repetitions():
    generator = TabularGenerator(**QUICK).fit(correlated(300))
    X, weights = 0.5 * correlated(200, seed=1), np.tile([2, 1, 0, 3, 1], 40)
    # The noise is that of the place of a row.
    repeated = generator.held_out_nll(np.repeat(X, weights, axis=0))
    assert generator.held_out_nll(X, weights) == pytest.approx(repeated, abs=0.02)
    with pytest.raises(ValueError, match="Negative values"):
        generator.held_out_nll(X, weights - 1)


def test_data_frames_and_columns_that_do_not_vary():
    df = pd.DataFrame(correlated(300), columns=["a", "b"]).assign(c=7.0)
    generator = TabularGenerator(**QUICK).fit(df)
    rows = df.head(3).copy()
    rows.loc[2, "c"] = 8.0
    with_it = generator.score_samples(rows)
    without = TabularGenerator(**QUICK).fit(df[["a", "b"]]).score_samples(rows[["a", "b"]])
    np.testing.assert_allclose(with_it[:2], without[:2], atol=1e-12)
    assert with_it[2] == -np.inf
    constant = TabularGenerator(**QUICK).fit(df[["c"]])
    assert constant.score_samples(rows[["c"]]).tolist() == [0.0, 0.0, -np.inf]
    assert constant.held_out_nll(rows[["c"]].head(2)) == 0.0


def test_a_pipeline_adds_its_own_units():
    X = correlated(300)
    alone = TabularGenerator(**QUICK).fit(X)
    pipe = make_generative_pipeline(TabularGenerator(**QUICK)).fit(X)
    np.testing.assert_array_equal(pipe.score_samples(X[:5]), alone.score_samples(X[:5]))
    assert pipe.held_out_nll(X[:5]) == alone.held_out_nll(X[:5])


def test_above_fifty_columns_probes_stand_for_the_trace():
    X = np.random.RandomState(0).standard_normal((300, 52))
    log_p, error = independent(X, tails="pareto").log_density(X[:2])
    # The divergence of this score does not depend on the probes.
    np.testing.assert_allclose(error, 0, atol=1e-9)
    truth = norm.logpdf(X[:2]).sum(1)
    np.testing.assert_allclose(log_p, truth, atol=12)


class NoDensity(Copula):
    """A score whose divergence is that of no density."""

    def score_and_divergence(self, x, sigma):
        score, divergence = super().score_and_divergence(x, sigma)
        return score, divergence + 0.1


def test_scores_of_no_density_are_warned_of():
    X = correlated(300)
    density = TableDensity(TabularEncoder().fit(X), NoDensity(R), LEVELS)
    # 0.1 ∫ σ² d ln σ = 5 nats.
    with pytest.warns(OverfittingWarning, match=r"rows by the probability flow is [45]\.\d+ nats"):
        density.log_density(X[:40])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        density.log_density(X[:20])
        TableDensity(density.encoder, Copula(R), LEVELS).log_density(X[:40])


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pd.Categorical(["a", "b"] * 50), r"\['x'\] hold categories or dates"),
        (pd.Categorical([1, 2] * 50, ordered=True), r"\['x'\] hold categories or dates"),
        (pd.date_range("2024", periods=100), r"\['x'\] hold categories or dates"),
        (np.where(np.arange(100) % 9 == 0, np.nan, np.arange(100)), r"\['x'\] had missing cells"),
        (np.full(100, np.nan), r"\['x'\] had missing cells"),
        (
            np.where(np.arange(100) < 40, 0.0, np.random.RandomState(0).standard_normal(100)),
            r"Column 'x' holds the value 0 in 0.4 of its rows.*fit a generator without this column",
        ),
    ],
)
@pytest.mark.parametrize("method", ["score_samples", "held_out_nll"])
def test_tables_without_a_density_are_refused(method, column, message):
    df = pd.DataFrame({"y": correlated(100)[:, 0], "x": column})
    generator = TabularGenerator(**QUICK).fit(df)
    with pytest.raises(ValueError, match=message):
        getattr(generator, method)(df.head(3))


@pytest.mark.parametrize("method", ["score_samples", "held_out_nll"])
def test_rows_that_cannot_be_read_are_refused(method):
    with pytest.raises(NotFittedError):
        getattr(TabularGenerator(), method)(correlated(3))
    generator = TabularGenerator(**QUICK).fit(correlated(100))
    rows = correlated(3)
    rows[1, 1] = np.nan
    with pytest.raises(ValueError, match=r"Column 1 has 1 missing cell\(s\), and a row with one"):
        getattr(generator, method)(rows)
    with pytest.raises(ValueError, match="features"):
        getattr(generator, method)(rows[:, :1])
