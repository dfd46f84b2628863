"""DenoisingScoreEstimator: one noise level, and the transformer it is."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from skscore import DenoisingScoreEstimator

QUICK = {"random_state": 0, "max_steps": 10, "batch_size": 32}


def data():
    return np.random.RandomState(0).normal(size=(60, 2))


@pytest.mark.parametrize("sigma", [0.0, -1.0, np.nan, "large"])
def test_noise_level_must_be_positive(sigma):
    with pytest.raises(ValueError, match="'sigma' parameter of DenoisingScoreEstimator"):
        DenoisingScoreEstimator(sigma, **QUICK).fit(data())


def test_only_the_noise_level_of_the_fit_can_be_read():
    model = DenoisingScoreEstimator(0.3, **QUICK).fit(data())
    np.testing.assert_array_equal(model.score_function(data(), 0.3), model.score_function(data()))
    for method in (model.score_function, model.denoise):
        with pytest.raises(ValueError, match=r"sigma=0.5 .* learnt sigma=0.3 alone"):
            method(data(), sigma=0.5)


def test_parameter_set_after_the_fit_does_not_change_what_was_learnt():
    model = DenoisingScoreEstimator(0.3, **QUICK).fit(data())
    before = model.transform(data())
    np.testing.assert_array_equal(model.set_params(sigma=2.0).transform(data()), before)
    assert model.sigma_ == 0.3


def test_weight_decay_reaches_adamw():
    norms = []
    for weight_decay in (0.0, 0.3, 100.0):
        model = DenoisingScoreEstimator(0.3, weight_decay=weight_decay, **QUICK).fit(data())
        assert model.net_.get_params()["optimizer__weight_decay"] == weight_decay
        norms.append(sum(float(p.square().sum()) for p in model.net_.module_.parameters()))
    assert norms[0] > norms[1] > norms[2]
    with pytest.raises(ValueError, match="'weight_decay' parameter of DenoisingScoreEstimator"):
        DenoisingScoreEstimator(weight_decay=-1.0).fit(data())


def test_transform_of_an_unfitted_estimator_says_so():
    with pytest.raises(NotFittedError):
        DenoisingScoreEstimator().transform(data())


def test_fit_transform_is_fit_and_transform():
    model = DenoisingScoreEstimator(0.3, **QUICK)
    np.testing.assert_array_equal(model.fit_transform(data()), model.fit(data()).transform(data()))


def test_untrained_network_shrinks_like_the_best_linear_denoiser():
    # For N(0, 1) the posterior mean is x/(1 + σ²).
    X = data()
    model = DenoisingScoreEstimator(0.5, max_steps=1, lr=1e-12, random_state=0).fit(X)
    expected = X.mean(axis=0) + (X - X.mean(axis=0)) / (1 + 0.5**2)
    np.testing.assert_allclose(model.transform(X), expected, rtol=1e-5, atol=1e-6)
