"""What ScoreMatchingDensity does with its models: choose, stack, normalise, sample and warn."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.integrate import trapezoid
from sklearn.exceptions import ConvergenceWarning

from skscore import ScoreMatchingDensity
from skscore._named_objectives import BLURRED, PARAMETERS
from skscore.datasets import Banana, random_gaussian_mixture, ring_of_gaussians, two_modes
from skscore.exceptions import (
    OverfittingWarning,
    SeparatedModesWarning,
    TiedValuesWarning,
    UnreliableNormalizerWarning,
)
from skscore.metrics import fisher_divergence

QUICK = {"random_state": 0, "max_steps": 10, "batch_size": 32, "hidden_units": (16,)}
MODELS = ("score", "energy", "gaussian", "gaussian_mixture", "kernel", "stack", "auto")
OF_ONE_MODEL = {
    "score": {"net_"},
    "energy": {"net_", "proposal_", "log_normalizer_"},
    "gaussian": {"closed_form_"},
    "gaussian_mixture": {"closed_form_"},
    "kernel": {"closed_form_", "proposal_", "log_normalizer_"},
    "stack": {"stack_", "nets_", "selection_results_"},
}


def data(d=2, n=60):
    return np.random.RandomState(0).normal(size=(n, d))


def params_of(objective, truth=None):
    return {"target": truth or (lambda X: -X)} if objective == "explicit" else None


# Objectives


@pytest.mark.parametrize("model", ["score", "energy"])
@pytest.mark.parametrize("objective", PARAMETERS)
def test_every_objective_improves_on_the_gaussian_it_starts_from(objective, model):
    truth = Banana(2)
    X, fresh = truth.sample(2000, random_state=0), truth.sample(2000, random_state=1)
    density = ScoreMatchingDensity(
        objective,
        objective_params=params_of(objective, truth.score_function),
        model=model,
        sigma=0.1,
        max_steps=100,
        hidden_units=(32, 32),
        lr=1e-2,
        random_state=0,
    ).fit(X)
    gaussian = ScoreMatchingDensity(model="gaussian").fit(X)
    errors = [
        fisher_divergence(model.score_function, truth.score_function, fresh)
        for model in (density, gaussian)
    ]
    assert density.objective_ == objective
    assert density.sigma_ == (0.1 if objective in BLURRED else 0)
    assert errors[0] < 0.85 * errors[1]


def test_an_explicit_target_may_be_another_estimator_in_any_units():
    X = data(3, 300) * [1.0, 20.0, 0.1] + [0.0, 100.0, -5.0]
    X = np.hstack([X, np.full((300, 1), 7.0)])
    teacher = ScoreMatchingDensity(model="gaussian_mixture").fit(X)
    student = ScoreMatchingDensity(
        "explicit",
        objective_params={"target": teacher.score_function},
        max_steps=300,
        random_state=0,
    ).fit(X)
    error = (student.score_function(X) - teacher.score_function(X)) * student.scale_
    assert np.mean(error**2) < 0.05 * np.mean((teacher.score_function(X) * teacher.scale_) ** 2)


@pytest.mark.parametrize("objective", ["parzen", "explicit"])
def test_no_training_row_is_kept_by_an_objective_that_reads_them(objective):
    X = data(2, 2000)
    density = ScoreMatchingDensity(
        objective, objective_params=params_of(objective), **QUICK
    ).set_params(objective_params=params_of(objective))
    density.fit(X)
    density.objective_params = None
    # 2000 rows are 16 kB in float32; the network and what surrounds it are less.
    assert len(pickle.dumps(density)) < 16_000


# Choosing and stacking


@pytest.mark.slow
@pytest.mark.parametrize("truth", [ring_of_gaussians(), Banana(5)], ids=["ring", "banana"])
def test_auto_keeps_a_good_candidate_and_the_stack_is_as_good_as_the_best(truth):
    X, fresh = truth.sample(500, random_state=0), truth.sample(3000, random_state=1)
    options = {"max_steps": 300, "random_state": 0}
    fits = {
        model: ScoreMatchingDensity(model=model, **options).fit(X)
        for model in ("gaussian", "gaussian_mixture", "kernel", "auto", "stack")
    }
    errors = {
        model: fisher_divergence(fit.score_function, truth.score_function, fresh)
        for model, fit in fits.items()
    }
    best = min(errors[model] for model in ("gaussian", "gaussian_mixture", "kernel"))
    assert errors["auto"] <= 1.1 * best
    assert errors["stack"] <= 1.1 * best


@pytest.mark.parametrize("model", ["auto", "stack"])
def test_results_say_how_the_choice_was_made(model):
    X = ring_of_gaussians().sample(300, random_state=0)
    density = ScoreMatchingDensity(model=model, **QUICK).fit(X)
    results = density.selection_results_
    names = ["gaussian", "gaussian_mixture", "kernel", "score", "stack"]
    assert results["model"] == names
    assert results["excess"].min() == 0
    within = results["excess"] <= results["standard_error"]
    assert results["chosen"] == names[int(np.argmax(within))]
    assert density.model_ == ("stack" if model == "stack" else results["chosen"])
    assert results["stack_weights"].sum() == pytest.approx(1)
    assert (results["stack_weights"] >= 0).all()


def test_the_network_of_a_stack_is_the_mean_of_its_folds_at_the_chosen_level():
    X = ring_of_gaussians().sample(300, random_state=0)
    density = ScoreMatchingDensity(model="stack", **QUICK).fit(X)
    assert len(density.nets_) == 5
    assert density.sigma_ == 0
    assert 0.025 <= density.network_sigma_ <= 0.5
    z = torch.tensor((X - density.mean_) / density.scale_)
    level, clean = (
        torch.full((300, 1), value, dtype=torch.float64) for value in (density.network_sigma_, 0.0)
    )
    shares = dict(
        zip(
            density.selection_results_["model"],
            density.selection_results_["stack_weights"],
            strict=False,
        )
    )
    expected = shares["score"] * sum(net.module_(z, level) for net in density.nets_) / 5
    for name in ("gaussian", "gaussian_mixture", "kernel"):
        if shares[name] > 0:
            named = ScoreMatchingDensity(model=name, random_state=0).fit(X)
            expected = expected + shares[name] * named.closed_form_(z, clean)
    score = density.score_function(X) * density.scale_
    np.testing.assert_allclose(score, expected.numpy(), rtol=1e-8, atol=1e-8)


def test_a_named_objective_is_that_of_the_network_of_a_stack():
    X = data(2, 40)
    clean = ScoreMatchingDensity("implicit", model="stack", **QUICK).fit(X)
    assert (clean.objective_, clean.network_sigma_) == ("implicit", 0)
    blurred = ScoreMatchingDensity("parzen", model="stack", sigma=0.2, **QUICK).fit(X)
    assert (blurred.objective_, blurred.network_sigma_) == ("parzen", 0.2)
    assert blurred.nets_[0].module_.module.embedding is None


def test_many_rows_hold_out_a_share_of_them_once(monkeypatch):
    from skscore import _density_models

    monkeypatch.setattr(_density_models, "_MANY_ROWS", 100)
    density = ScoreMatchingDensity(model="stack", **QUICK).fit(data(2, 120))
    assert len(density.nets_) == 1


def test_warm_start_goes_on_from_the_networks_of_a_stack():
    X = data(2, 40)
    density = ScoreMatchingDensity(model="stack", warm_start=True, **QUICK).fit(X)
    first = [net.module_.module.head.weight.clone() for net in density.nets_]
    density.set_params(lr=1e-12).fit(X)
    for weight, net in zip(first, density.nets_, strict=True):
        torch.testing.assert_close(net.module_.module.head.weight, weight, atol=1e-6, rtol=0)


def test_a_second_fit_leaves_nothing_of_another_model():
    density = ScoreMatchingDensity(**QUICK)
    every = set().union(*OF_ONE_MODEL.values())
    for model in ("kernel", "score", "stack", "energy", "gaussian", "stack", "score"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            density.set_params(model=model).fit(data())
        assert {name for name in every if hasattr(density, name)} == OF_ONE_MODEL[model]


# Log-densities


@pytest.mark.parametrize("model", ["energy", "kernel", "gaussian", "gaussian_mixture"])
@pytest.mark.parametrize("d", [1, 2])
def test_the_density_integrates_to_one_by_quadrature(d, model):
    X = random_gaussian_mixture(d, random_state=0).sample(1000, random_state=0) * 10 + 50
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SeparatedModesWarning)
        density = ScoreMatchingDensity(
            model=model, max_steps=100, hidden_units=(32, 32), random_state=0
        ).fit(X)
    reach = 8 * X.std(axis=0)
    size = 4001 if d == 1 else 401
    axes = [np.linspace(m - r, m + r, size) for m, r in zip(X.mean(axis=0), reach, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    integral = np.exp(density.score_samples(grid.reshape(-1, d))).reshape(grid.shape[:-1])
    for axis in reversed(axes):
        integral = trapezoid(integral, axis)
    assert integral == pytest.approx(1, abs=0.01)


def test_log_densities_of_models_compare_with_the_truth():
    truth = Banana(2)
    X, fresh = truth.sample(2000, random_state=0), truth.sample(2000, random_state=1)
    exact = truth.log_density(fresh).mean()
    gap = {
        model: exact
        - ScoreMatchingDensity(model=model, random_state=0).fit(X).score_samples(fresh).mean()
        for model in ("kernel", "gaussian_mixture", "gaussian")
    }
    assert 0 < gap["kernel"] < gap["gaussian"] / 5
    assert 0 < gap["gaussian_mixture"] < gap["gaussian"] / 5


def test_a_small_effective_sample_size_is_warned_of():
    # An energy that has hardly been trained, a diagonal Gaussian, on rows of a thin sheet.
    rng = np.random.RandomState(0)
    X = rng.normal(size=(100, 1)) + 1e-3 * rng.normal(size=(100, 6))
    with pytest.warns(
        UnreliableNormalizerWarning, match="effective sample size .* use fewer features"
    ):
        density = ScoreMatchingDensity("implicit", model="energy", **QUICK).fit(X)
    assert density.effective_sample_size_ < 0.01


# Sampling


@pytest.mark.parametrize("seed", range(5))
def test_samples_of_an_energy_have_its_moments(seed):
    # An energy that nothing was learnt of is the Gaussian of the moments of the data.
    X = data(2, 500) * [1.0, 20.0] + [0.0, 100.0]
    density = ScoreMatchingDensity(
        "implicit", model="energy", max_steps=1, lr=1e-12, hidden_units=(8,), random_state=0
    ).fit(X)
    drawn = density.sample(4000, random_state=seed)
    error = X.std(axis=0) / np.sqrt(4000)
    assert (np.abs(drawn.mean(axis=0) - X.mean(axis=0)) < 4 * error).all()
    assert (np.abs(drawn.var(axis=0) / X.var(axis=0) - 1) < 4 * np.sqrt(2 / 4000)).all()
    report = density.sampling_report_
    assert 0.4 < report.acceptance < 0.75
    assert report.split_rhat < 1.1


class KnownEnergy(torch.nn.Module):
    """What is to be added to u²/2 to make E the energy of .5 N(-gap/2, 1) + .5 N(gap/2, 1)."""

    def __init__(self, n_features, gap=10.0, scale=5.1):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))
        self.gap, self.scale = gap, scale

    def forward(self, u, sigma):
        x = self.scale * u
        modes = torch.stack([-((x - c) ** 2) / 2 for c in (-self.gap / 2, self.gap / 2)])
        return (1 + 0 * self.unused) * (u**2 / 2 + modes.logsumexp(0))


def fitted_to_known_energy(gap):
    # scale is the standard deviation of the data, in whose units u is.
    X = np.random.RandomState(0).normal(size=(400, 1))
    X[200:] -= gap / 2
    X[:200] += gap / 2
    X = (X - X.mean()) / X.std()

    def module(n_features):
        return KnownEnergy(n_features, gap, np.sqrt(1 + gap**2 / 4))

    return ScoreMatchingDensity(
        "implicit", model="energy", module=module, max_steps=1, lr=1e-12, random_state=0
    ).fit(X)


def test_chains_in_two_modes_ten_standard_deviations_apart_are_warned_of():
    with pytest.warns(SeparatedModesWarning, match="2 modes .* 50%, 50% of the rows"):
        density = fitted_to_known_energy(10.0)
    with pytest.warns(ConvergenceWarning, match="chains do not agree.*use NCSNGenerator"):
        drawn = density.sample(2000, random_state=0)
    assert density.sampling_report_.split_rhat > 1.1
    # Resampled starts know the shares all the same.
    assert abs((drawn > 0).mean() - 0.5) < 4 * 0.5 / np.sqrt(2000)


def test_chains_in_one_mode_are_not():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        density = fitted_to_known_energy(0.0)
        drawn = density.sample(2000, random_state=0)
    assert density.sampling_report_.split_rhat < 1.1
    assert abs(drawn.std() - 1) < 4 / np.sqrt(4000)
    x = np.linspace(-3, 3, 7)[:, None]
    truth = -(x[:, 0] ** 2) / 2 - np.log(2 * np.pi) / 2
    np.testing.assert_allclose(density.score_samples(x), truth, atol=0.02)


def test_samples_of_a_kernel_stay_where_features_are_collinear():
    # There is no density to find there, but the chains do not leave it.
    X = data(2, 300)
    X = np.hstack([X, X @ [[1.0], [1.0]]])
    density = ScoreMatchingDensity(model="kernel", random_state=0).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        drawn = density.sample(200, random_state=0)
    np.testing.assert_allclose(drawn[:, 0] + drawn[:, 1], drawn[:, 2], atol=1e-3)


def test_samples_of_a_mixture_are_exact_draws():
    truth = two_modes()
    X = truth.sample(2000, random_state=0)
    density = ScoreMatchingDensity(model="gaussian_mixture", random_state=0).fit(X)
    drawn = density.sample(20_000, random_state=0)
    share = (X.sum(axis=1) > 0).mean()
    error = np.sqrt(share * (1 - share) / 20_000)
    assert abs((drawn.sum(axis=1) > 0).mean() - share) < 4 * error
    assert not hasattr(density, "sampling_report_")


# What is warned of


def test_rounded_columns_are_named_and_dequantised():
    X = pd.DataFrame(data(2, 500), columns=["width", "length"])
    X["length"] = X["length"].round(1)
    with pytest.warns(TiedValuesWarning, match="'length' .steps of 0.1.*dequantize='auto'"):
        ScoreMatchingDensity(dequantize=None, **QUICK).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error", TiedValuesWarning)
        density = ScoreMatchingDensity(**QUICK).fit(X)
    np.testing.assert_allclose(density.rounding_steps_, [0, 0.1], atol=1e-12)


@pytest.mark.parametrize("model", ["kernel", "gaussian_mixture", "score"])
def test_dequantised_columns_have_the_density_of_the_values_before(model):
    # Rounded to steps of .5: without noise the objective falls without bound.
    X, fresh = (np.random.RandomState(s).normal(size=(500, 1)) for s in (0, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TiedValuesWarning)
        plain = ScoreMatchingDensity(model=model, dequantize=None, max_steps=100, random_state=0)
        smooth = ScoreMatchingDensity(model=model, max_steps=100, random_state=0)
        rounded = np.round(2 * X) / 2
        spiky, fitted = plain.fit(rounded).score(rounded), smooth.fit(rounded).score(rounded)
    # The score of N(0, 1), minus its Fisher information, is 1.
    assert fitted == pytest.approx(1, abs=0.35)
    assert smooth.score(rounded) == fitted
    error = np.mean((smooth.score_function(fresh) + fresh) ** 2)
    assert error < 0.35
    if model == "kernel":
        assert spiky > 2 * fitted


def test_an_overfitted_score_is_warned_of():
    X = np.random.RandomState(0).normal(size=(60, 6))
    with pytest.warns(OverfittingWarning, match="overfitted. Use more rows"):
        density = ScoreMatchingDensity(
            "implicit",
            max_steps=300,
            early_stopping=True,
            lr=1e-2,
            validation_fraction=0.5,
            callbacks=None,
            random_state=0,
        ).fit(X)
    assert density.stein_ratio_ < 0.7


def test_the_error_of_probes_is_reported_above_a_hundred_features():
    X = np.random.RandomState(0).normal(size=(150, 101))
    wide = ScoreMatchingDensity("denoising", sigma=0.5, **QUICK).fit(X)
    wide.score(X)
    assert 0 < wide.score_std_ < 1
    narrow = ScoreMatchingDensity(**QUICK).fit(X[:, :3])
    narrow.score(X[:, :3])
    assert narrow.score_std_ == 0


@pytest.mark.parametrize("step", [0.3, 1.0])
def test_rows_drawn_in_rounded_columns_have_the_variance_of_the_data(step):
    # Noise in the steps and rounding have each put in step²/12, 8 % together at a step of 1.
    n, rng = 20_000, np.random.RandomState(0)
    X = np.round(rng.standard_normal((n, 2)) / step) * step
    density = ScoreMatchingDensity(model="gaussian", random_state=0).fit(X)
    np.testing.assert_allclose(density.rounding_steps_, step)
    drawn = density.sample(n, random_state=1)
    assert set(np.unique(drawn / step).round(6) % 1) == {0.0}
    # The standard error of a ratio of two variances is √(4/n); a Gaussian leaves (step²/12)².
    np.testing.assert_allclose(drawn.var(0) / X.var(0), 1, atol=4 * (4 / n) ** 0.5 + step**4 / 144)
