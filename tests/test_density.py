"""ScoreMatchingDensity: objectives and what is specific to clean data."""

import numpy as np
import pytest

from skscore import ScoreMatchingDensity

QUICK = {"random_state": 0, "max_steps": 10, "batch_size": 32}


def data(d):
    return np.random.RandomState(0).normal(size=(60, d))


@pytest.mark.parametrize(("d", "objective"), [(1, "implicit"), (8, "implicit"), (9, "sliced")])
def test_auto_takes_the_exact_trace_up_to_eight_features(d, objective):
    assert ScoreMatchingDensity(**QUICK).fit(data(d)).objective_ == objective


def test_auto_counts_the_features_that_vary():
    X = np.hstack([data(8), np.ones((60, 3))])
    assert ScoreMatchingDensity(**QUICK).fit(X).objective_ == "implicit"


def test_noise_level_is_that_of_the_denoising_objective_alone():
    assert ScoreMatchingDensity("implicit", sigma=0.3, **QUICK).fit(data(2)).sigma_ == 0
    assert ScoreMatchingDensity("denoising", sigma=0.3, **QUICK).fit(data(2)).sigma_ == 0.3


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"objective": "explicit"}, "'objective' parameter"),
        ({"sigma": 0.0}, "'sigma' parameter"),
        ({"step_size": -1.0}, "'step_size' parameter"),
        ({"n_sampling_steps": 0}, "'n_sampling_steps' parameter"),
    ],
)
def test_bad_options_are_refused_by_name(params, message):
    with pytest.raises(ValueError, match=message):
        ScoreMatchingDensity(**{**QUICK, **params}).fit(data(2))


def test_step_that_is_too_large_makes_the_sampler_say_so():
    density = ScoreMatchingDensity(step_size=1e3, n_sampling_steps=300, **QUICK).fit(data(2))
    with pytest.raises(FloatingPointError, match="use a smaller step_size"):
        density.sample(3, random_state=0)


def test_hutchinson_takes_over_above_a_hundred_features_and_is_repeatable():
    X = np.random.RandomState(0).normal(size=(150, 101))
    density = ScoreMatchingDensity("denoising", sigma=0.5, hidden_units=(8,), **QUICK).fit(X)
    # Rademacher probes are exact on a diagonal Jacobian, which the network nearly has at first.
    s = density.score_function(X) * density.scale_
    implicit = (s**2).sum(axis=1).mean() - 2 * 101 / (1 + 0.5**2)
    assert density.score(X) == pytest.approx(-implicit, rel=0.05)
    assert density.score(X) == density.score(X)


def test_langevin_samples_have_the_moments_of_a_gaussian():
    X = np.random.RandomState(0).normal(size=(500, 2)) * [1.0, 20.0] + [0.0, 100.0]
    density = ScoreMatchingDensity(max_steps=1, lr=1e-12, random_state=0, step_size=0.2).fit(X)
    drawn = density.set_params(n_sampling_steps=100).sample(4000, random_state=0)
    # The chain settles at v/(1 - α/4v), v = 1 in standardised units.
    expected = X.var(axis=0) / (1 - 0.2 / 4)
    standard_error = expected * np.sqrt(2 / 4000)
    assert (np.abs(drawn.var(axis=0) - expected) < 4 * standard_error).all()
