"""Denoisers that start from a multivariate t."""

import math

import numpy as np
import pytest
import torch

from skscore import DenoisingScoreEstimator, DenoisingScoreEstimatorCV, _heavy_tails
from skscore._student import StudentT, StudentTScore
from skscore.datasets import CorrelatedT
from skscore.metrics import fisher_divergence

QUICK = {"random_state": 0, "max_steps": 20, "batch_size": 32}
T = CorrelatedT(3, df=4)


def rows(n=400, seed=0):
    return T.sample(n, random_state=seed)


@pytest.fixture(scope="module")
def model():
    return DenoisingScoreEstimator(0.1, **QUICK).fit(rows())


def test_the_start_is_kept_where_nothing_is_gained_on_it(model):
    assert model.degrees_of_freedom_ == pytest.approx(4, abs=2)
    assert model.best_step_ == 0
    assert model.n_steps_ == 20
    assert len(model.validation_curve_) == 2
    x = T.sample(5000, random_state=1)
    gaussian = DenoisingScoreEstimator(0.1, parametrization="score", **QUICK).fit(rows())
    ours, other = (
        fisher_divergence(m.score_function, T.score_function, x) for m in (model, gaussian)
    )
    assert ours < other / 10
    # Far out the score of a t vanishes, that of a network does not.
    far = 1e3 * np.ones((1, 3))
    np.testing.assert_allclose(
        model.score_function(far), T.score_function(far), rtol=0.5, atol=1e-4
    )


def test_a_network_that_is_clearly_better_is_kept(monkeypatch):
    wrong = StudentT(np.array([1.0, -1.0]), 2 * np.eye(2), 3.0)
    monkeypatch.setattr(_heavy_tails, "find_heavy_tails", lambda *_: wrong)
    X = np.random.RandomState(0).normal(size=(1000, 2))
    fitted = DenoisingScoreEstimator(0.3, max_steps=300, random_state=0).fit(X)
    assert fitted.best_step_ > 0
    # The score of N(0, 1 + .09), which the start is far from.
    z = (X - fitted.mean_) / fitted.scale_
    off = fitted.score_function(X) * fitted.scale_ + z / 1.09
    assert np.square(off).mean() < 0.05
    start = StudentTScore(wrong)(torch.tensor(z).float(), torch.full((1000, 1), 0.3)).numpy()
    assert np.square(start + z / 1.09).mean() > 0.5


def test_the_implicit_objective_has_the_divergence_of_the_score():
    x, h = rows(20, 1), 1e-5
    scaled = DenoisingScoreEstimator(0.1, standardize=False, **QUICK).fit(rows())
    losses_of_z = -scaled.score(x)
    slopes = [
        (scaled.score_function(x + h * e) - scaled.score_function(x - h * e)) @ e / (2 * h)
        for e in np.eye(3)
    ]
    losses = np.square(scaled.score_function(x)).sum(1) + 2 * np.sum(slopes, 0)
    assert losses_of_z == pytest.approx(losses.mean(), rel=1e-5)


@pytest.mark.parametrize("options", [{"parametrization": "score"}, {}])
def test_others_start_from_a_gaussian(options):
    X = rows() if options else np.random.RandomState(0).normal(size=(400, 3))
    fitted = DenoisingScoreEstimator(0.1, **options, **QUICK).fit(X)
    assert fitted.degrees_of_freedom_ == math.inf
    assert fitted.best_step_ > 0


def test_without_rows_held_out_the_network_is_kept():
    fitted = DenoisingScoreEstimator(0.1, early_stopping=False, **QUICK).fit(rows())
    assert math.isfinite(fitted.degrees_of_freedom_)
    assert fitted.best_step_ == 20


def test_a_warm_start_goes_on_from_the_same_law():
    fitted = DenoisingScoreEstimator(0.1, warm_start=True, early_stopping=False, **QUICK)
    nu = fitted.fit(rows()).degrees_of_freedom_
    assert fitted.fit(rows(seed=1)).degrees_of_freedom_ == nu
    # Also where other rows would have had none.
    fitted.fit(np.random.RandomState(0).normal(size=(400, 3)))
    assert fitted.degrees_of_freedom_ == nu


def test_the_unit_does_not_matter():
    small, large = (DenoisingScoreEstimator(0.1, **QUICK).fit(c * rows()) for c in (1.0, 1e6))
    np.testing.assert_allclose(
        1e6 * large.score_function(1e6 * rows()), small.score_function(rows()), rtol=1e-4
    )


def test_folds_start_as_the_network_does_that_is_kept():
    search = DenoisingScoreEstimatorCV([0.05, 0.5, 2.0], cv=3, **QUICK).fit(rows(2000))
    assert math.isfinite(search.degrees_of_freedom_)
    # All levels have the score of a t but for what blurs it: the least noise is best.
    assert search.sigma_ == 0.05
    assert (np.diff(search.score_path_, axis=1) < 0).all()
