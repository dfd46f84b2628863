"""ScoreMatchingDensity: objectives and what is specific to clean data."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from skscore import ScoreMatchingDensity
from skscore.datasets import Banana
from skscore.metrics import fisher_divergence

QUICK = {"random_state": 0, "max_steps": 10, "batch_size": 32}


def data(d):
    return np.random.RandomState(0).normal(size=(60, d))


@pytest.mark.parametrize(("d", "objective"), [(1, "implicit"), (8, "implicit"), (9, "sliced_vr")])
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
        ({"objective": "exact"}, "'objective' parameter"),
        ({"objective": "explicit"}, "give it as objective_params={'target': function}"),
        ({"objective_params": 3}, "'objective_params' parameter"),
        ({"objective": "sliced", "objective_params": {"epsilon": 1}}, "takes n_probes, probes"),
        ({"n_sampling_steps": "many"}, "'n_sampling_steps' parameter"),
        ({"dequantize": "no"}, "'dequantize' parameter"),
        ({"dequantize": -1.0}, "dequantize=-1.0 is no step of rounding"),
        ({"dequantize": [0.1]}, r"dequantize has the shape \(1,\)"),
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


# Models other than the network of the score.


def tilted(n=300):
    X = np.random.RandomState(0).normal(size=(n, 3)) @ [[1, 0.5, 0], [0, 20, 3], [0, 0, 0.1]]
    return np.hstack([X + [0.0, 100.0, -5.0], np.full((n, 1), 7.0)])


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("objective", ["auto", "sliced", "denoising"])
def test_the_gaussian_model_is_the_gaussian_with_the_moments_of_the_data(standardize, objective):
    X = tilted()
    sigma = 0.5
    density = ScoreMatchingDensity(
        objective, model="gaussian", sigma=sigma, standardize=standardize, random_state=0
    ).fit(X)
    varying = X[:, :3]
    mean, covariance = varying.mean(axis=0), np.cov(varying.T, ddof=0)
    if objective == "denoising":
        noise = sigma * (varying.std(axis=0) if standardize else np.ones(3))
        covariance = covariance + np.diag(noise**2)
    score = density.score_function(X)
    expected = -(varying - mean) @ np.linalg.inv(covariance)
    np.testing.assert_allclose(score[:, :3], expected, rtol=1e-8, atol=1e-8)
    truth = multivariate_normal(mean, covariance).logpdf(varying)
    np.testing.assert_allclose(density.score_samples(X), truth, rtol=1e-9)
    shift = density.energy(X) + truth
    np.testing.assert_allclose(shift, shift[0], atol=1e-9)
    drawn = density.sample(20_000, random_state=0)
    assert (drawn[:, 3] == 7).all()
    error = 4 * np.sqrt(np.diag(covariance) / 20_000)
    assert (np.abs(drawn[:, :3].mean(axis=0) - mean) < error).all()
    variance = drawn[:, :3].var(axis=0) / np.diag(covariance)
    assert (np.abs(variance - 1) < 4 * np.sqrt(2 / 20_000)).all()


@pytest.mark.parametrize("objective", ["implicit", "denoising"])
@pytest.mark.parametrize("model", ["energy", "kernel", "gaussian"])
def test_the_score_is_minus_the_gradient_of_the_energy_in_the_units_of_x(model, objective):
    X = tilted(100)[:, :3]
    if model == "kernel":
        objective = "auto"
    density = ScoreMatchingDensity(objective, model=model, **QUICK).fit(X)
    step = 1e-5 * X.std(axis=0)
    differences = [density.energy(X + e) - density.energy(X - e) for e in np.diag(step)]
    numerical = -np.stack(differences, axis=1) / (2 * step)
    scale = np.abs(numerical).max(axis=0)
    np.testing.assert_allclose(density.score_function(X) / scale, numerical / scale, atol=1e-5)


def test_an_energy_network_beats_the_gaussian_it_starts_from():
    X, fresh = (Banana().sample(n, random_state=n) for n in (2000, 2001))
    density = ScoreMatchingDensity(model="energy", random_state=0, max_steps=400).fit(X)
    gaussian = ScoreMatchingDensity(model="gaussian").fit(X)
    errors = [
        fisher_divergence(model.score_function, Banana().score_function, fresh)
        for model in (density, gaussian)
    ]
    assert errors[0] < 0.7 * errors[1]


def test_a_scalar_module_of_the_user_is_an_energy():
    class Quartic(torch.nn.Module):
        def __init__(self, n_features):
            super().__init__()
            self.c = torch.nn.Parameter(torch.zeros(n_features))

        def forward(self, x, sigma):
            return -(x.square().square() * self.c).sum(1, keepdim=True)

    density = ScoreMatchingDensity(model="energy", module=Quartic, **QUICK).fit(data(2))
    assert density.energy(data(2)).shape == (60,)
    with pytest.raises(ValueError, match=r"returned \(2, 1\) .* a score needs the shape of x"):
        ScoreMatchingDensity(module=Quartic, **QUICK).fit(data(2))
    with pytest.raises(ValueError, match=r"module returned \(2, 2\) .* an energy \(n, 1\)"):
        ScoreMatchingDensity(
            model="energy", module=lambda d: torch.nn.Bilinear(d, 1, d), **QUICK
        ).fit(data(2))


def test_methods_are_there_where_the_model_has_them():
    offered = {
        model: [
            hasattr(ScoreMatchingDensity(model=model), name) for name in ("energy", "score_samples")
        ]
        for model in ("score", "energy", "kernel", "gaussian", "gaussian_mixture", "stack", "auto")
    }
    assert offered == {
        "score": [False, False],
        "energy": [True, True],
        "kernel": [True, True],
        "gaussian": [True, True],
        "gaussian_mixture": [True, True],
        "stack": [False, False],
        "auto": [False, False],
    }


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"model": "forest"}, "'model' parameter"),
        ({"model": "energy", "parametrization": "score"}, "use parametrization='preconditioned'"),
        ({"model": "auto", "early_stopping": False}, "use early_stopping=True or name a model"),
        ({"model": "stack", "early_stopping": False}, "model='stack' compares models on held-out"),
        (
            {"model": "gaussian", "objective": "explicit", "objective_params": {"target": len}},
            "use model='score' or 'energy'",
        ),
        (
            {"model": "kernel", "objective": "denoising"},
            "not for 'denoising'; use objective=",
        ),
    ],
)
def test_models_that_cannot_be_fitted_are_refused(params, message):
    with pytest.raises(ValueError, match=message):
        ScoreMatchingDensity(**{**QUICK, **params}).fit(data(2))
