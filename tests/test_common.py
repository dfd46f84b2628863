"""scikit-learn's own checks: each estimator, by default and with two other sets of parameters."""

import io
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skscore import (
    DenoisingScoreEstimator,
    DenoisingScoreEstimatorCV,
    NCSNGenerator,
    ScoreMatchingDensity,
)

# The checks fit each estimator about 60 times, which the budget has no part in.
STEPS = {"max_steps": 10, "batch_size": 32}
SMALL = {"hidden_units": (16,), **STEPS}


ESTIMATORS = [
    ScoreMatchingDensity(**STEPS),
    ScoreMatchingDensity("implicit", standardize=False, early_stopping=False, **SMALL),
    ScoreMatchingDensity("sliced", objective_params={"probes": "sphere"}, **SMALL),
    ScoreMatchingDensity("sliced_vr", objective_params={"n_probes": 2}, **SMALL),
    ScoreMatchingDensity("finite_difference", **SMALL),
    ScoreMatchingDensity("denoising", dequantize=None, **SMALL),
    ScoreMatchingDensity("denoising_control_variate", **SMALL),
    ScoreMatchingDensity("parzen", **SMALL),
    # A function of Python's would have its address in its name, another one in each process.
    ScoreMatchingDensity("explicit", objective_params={"target": np.negative}, **SMALL),
    ScoreMatchingDensity(model="energy", **SMALL),
    ScoreMatchingDensity(model="gaussian"),
    ScoreMatchingDensity(model="gaussian_mixture"),
    ScoreMatchingDensity(model="kernel"),
    ScoreMatchingDensity(model="stack", **SMALL),
    ScoreMatchingDensity(model="auto", **SMALL),
    DenoisingScoreEstimator(**STEPS),
    DenoisingScoreEstimator(sigma=0.5, standardize=False, early_stopping=False, **STEPS),
    DenoisingScoreEstimator(parametrization="score", hidden_units=(16,), sigma=1.0, **STEPS),
    # Of the four distinct rows of some checks a fold has to leave three to train and validate on.
    DenoisingScoreEstimatorCV(3, **SMALL),
    DenoisingScoreEstimatorCV([0.2, 1.0], cv=2, selection="1se", early_stopping=False, **SMALL),
    NCSNGenerator(**STEPS),
    NCSNGenerator(0.01, noise="ve", n_levels=10, sampler="annealed_langevin", **SMALL),
    NCSNGenerator(early_stopping="loss", noise="vp", parametrization="noise", lr=1e-3, **SMALL),
    NCSNGenerator(model="stack", **SMALL),
]
DEFAULTS = [
    ScoreMatchingDensity(),
    DenoisingScoreEstimator(),
    DenoisingScoreEstimatorCV(3, cv=2),
    NCSNGenerator(),
]


@parametrize_with_checks(ESTIMATORS)
def test_estimator_passes_every_check_of_scikit_learn(estimator, check):
    check(estimator)


def fitted(estimator, n=60):
    X = np.random.RandomState(0).normal(size=(n, 2)) * [1.0, 10.0] + [0.0, 5.0]
    return clone(estimator).set_params(random_state=0, max_steps=20).fit(X), X


@pytest.mark.parametrize("estimator", DEFAULTS, ids=lambda e: type(e).__name__)
def test_clone_has_the_same_parameters_and_no_fit(estimator):
    copied = clone(fitted(estimator)[0])
    assert copied.get_params() == {**estimator.get_params(), "random_state": 0, "max_steps": 20}
    assert not hasattr(copied, "net_")


@pytest.mark.parametrize("dumps", ["pickle", "joblib"])
@pytest.mark.parametrize("estimator", DEFAULTS, ids=lambda e: type(e).__name__)
def test_pickled_estimator_gives_the_same_numbers(estimator, dumps):
    model, X = fitted(estimator)
    if dumps == "pickle":
        loaded = pickle.loads(pickle.dumps(model))
    else:
        stream = io.BytesIO()
        joblib.dump(model, stream)
        stream.seek(0)
        loaded = joblib.load(stream)
    np.testing.assert_array_equal(loaded.score_function(X), model.score_function(X))
    np.testing.assert_array_equal(loaded.sample(5, random_state=1), model.sample(5, random_state=1))
    assert loaded.score(X) == model.score(X)


@pytest.mark.parametrize("estimator", DEFAULTS, ids=lambda e: type(e).__name__)
def test_no_training_row_is_kept_in_the_fitted_model(estimator):
    model, X = fitted(estimator, n=1000)
    # 1000 rows of 2 numbers are 16 000 bytes; the weights alone are more, so they are left out.
    del model.net_
    assert len(pickle.dumps(model)) < 8000


@pytest.mark.parametrize("estimator", DEFAULTS, ids=lambda e: type(e).__name__)
def test_fit_does_not_change_parameters_or_global_random_states(estimator):
    import torch

    np.random.seed(3)
    torch.manual_seed(3)
    expected = np.random.uniform(), torch.rand(1).item()
    np.random.seed(3)
    torch.manual_seed(3)
    threads = torch.get_num_threads()
    model, X = fitted(estimator)
    model.sample(3, random_state=0)
    assert (np.random.uniform(), torch.rand(1).item()) == expected
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("estimator", DEFAULTS, ids=lambda e: type(e).__name__)
def test_estimator_works_at_the_end_of_a_pipeline_and_in_a_grid_search(estimator):
    X = np.random.RandomState(0).normal(size=(60, 2))
    pipeline = make_pipeline(StandardScaler(), clone(estimator).set_params(**STEPS))
    name = pipeline.steps[-1][0]
    search = GridSearchCV(pipeline, {f"{name}__lr": [1e-4, 1e-2]}, cv=2).fit(X)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_transformer_gives_data_frames_under_set_output():
    X = pd.DataFrame(np.random.RandomState(0).normal(size=(60, 2)), columns=["a", "b"])
    estimator = DenoisingScoreEstimator(random_state=0, **STEPS).set_output(transform="pandas")
    denoised = estimator.fit_transform(X)
    assert isinstance(denoised, pd.DataFrame)
    assert list(denoised.columns) == list(estimator.get_feature_names_out()) == ["a", "b"]


@pytest.mark.slow
@pytest.mark.parametrize("estimator", DEFAULTS, ids=lambda e: type(e).__name__)
def test_default_budget_fits_a_small_table(estimator):
    X = np.random.RandomState(0).normal(size=(100, 3))
    model = clone(estimator).set_params(random_state=0).fit(X)
    assert model.n_steps_ <= 2000
    assert np.isfinite(model.score(X))
