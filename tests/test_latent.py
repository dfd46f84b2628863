"""Log-densities by the flow and by denoising, and the latent Gaussian, of fitted generators."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from exact_generators import draws, exact_generator, gaussian, mixture

from skscore import NCSNGenerator
from skscore.exceptions import OverfittingWarning

DENSITY = mixture(2)
QUICK = {"random_state": 0, "max_steps": 20, "batch_size": 64, "hidden_units": (16, 16)}


@pytest.fixture(scope="module")
def exact():
    return exact_generator(DENSITY)


@pytest.fixture(scope="module")
def fitted():
    X = pd.DataFrame(draws(DENSITY, 300) * [2.0, 100.0] + [5.0, 0.0], columns=["a", "b"])
    X["c"] = 3.0
    return NCSNGenerator(**{**QUICK, "max_steps": 200}).fit(X), X


def truth(density, X, sigma=0.02):
    x = torch.from_numpy(X)
    return density.log_density(x, torch.full((len(x), 1), sigma, dtype=torch.float64)).numpy()


@pytest.mark.parametrize("d", [1, 2, 5, 10])
def test_log_densities_are_those_of_the_exact_score(d):
    # σ_max is large enough for the density there to be Gaussian up to 1e-4 nats.
    density = mixture(d)
    generator = exact_generator(density, sigma_max=40.0)
    X = draws(density, 256, seed=1)
    error = np.abs(generator.score_samples(X) - truth(density, X))
    assert error.mean() < 2e-3
    assert generator.log_density_std_ == 0


def test_log_densities_of_many_features_come_with_the_error_of_their_probes():
    covariance = torch.diag(torch.linspace(0.5, 2, 60, dtype=torch.float64))
    covariance[0, 1] = covariance[1, 0] = 0.4
    density = gaussian(covariance)
    generator = exact_generator(density)
    X = draws(density, 40, seed=1)
    error = generator.score_samples(X) - truth(density, X)
    assert generator.log_density_std_ > 0
    # The probes are the same for all rows, and so is their error for a Gaussian.
    assert np.abs(error).max() < 4 * generator.log_density_std_ + 5e-3
    assert np.ptp(error) < 2e-2


def test_log_densities_integrate_to_one():
    generator = exact_generator(mixture(1))
    grid = np.linspace(-8, 8, 2001)
    p = np.exp(generator.score_samples(grid[:, None]))
    assert np.trapezoid(p, grid) == pytest.approx(1, abs=2e-3)


def test_log_densities_integrate_to_one_after_training():
    X = draws(DENSITY, 400)
    generator = NCSNGenerator(**{**QUICK, "max_steps": 200}).fit(X)
    axis = np.linspace(-6, 6, 81)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    p = np.exp(generator.score_samples(grid))
    assert p.sum() * (axis[1] - axis[0]) ** 2 == pytest.approx(1, abs=0.02)


def test_log_densities_are_in_the_units_of_x(fitted):
    generator, X = fitted
    scaled = X * [0.1, 3.0, 1.0]
    again = NCSNGenerator(**{**QUICK, "max_steps": 200}).fit(scaled)
    shift = -np.log(0.1) - np.log(3.0)
    np.testing.assert_allclose(
        again.score_samples(scaled), generator.score_samples(X) + shift, atol=2e-2
    )


def test_results_of_a_row_do_not_depend_on_the_others(fitted):
    generator, X = fitted
    for method in (generator.score_samples, generator.encode, generator.bits_per_dim):
        together = method(X)
        for i in (0, 100, 299):
            np.testing.assert_array_equal(method(X.iloc[i : i + 1])[0], together[i])
    Z = generator.encode(X)
    together = generator.decode(Z)
    for i in (0, 299):
        pd.testing.assert_frame_equal(
            generator.decode(Z[i : i + 1]), together.iloc[i : i + 1].reset_index(drop=True)
        )


def test_bits_are_nats_over_the_features_that_vary(fitted):
    generator, X = fitted
    expected = -generator.score_samples(X) / (2 * np.log(2))
    np.testing.assert_array_equal(generator.bits_per_dim(X), expected)


# From denoising errors.


@pytest.mark.parametrize("d", [1, 2, 10])
def test_held_out_nll_is_that_of_the_flow(d):
    density = mixture(d)
    generator = exact_generator(density)
    X = draws(density, 1500, seed=2)
    nll = generator.held_out_nll(X)
    assert abs(nll + truth(density, X, 0.0).mean()) < 4 * generator.held_out_nll_std_
    # The error of the estimate alone is smaller than that of a mean over rows.
    assert abs(nll + truth(density, X, 0.0).mean()) < 0.1
    assert generator.held_out_nll_std_ < 2 * truth(density, X, 0.0).std() / 1500**0.5


def test_held_out_nll_uses_the_same_noise_every_time_and_weights(fitted):
    generator, X = fitted
    assert generator.held_out_nll(X) == generator.held_out_nll(X)
    w = np.r_[np.ones(150), np.zeros(150)]
    halves = [generator.held_out_nll(X, sample_weight=v) for v in (w, 1 - w)]
    assert np.mean(halves) == pytest.approx(generator.held_out_nll(X), rel=1e-9)
    assert generator.held_out_nll_std_ > 0


def test_held_out_nll_is_in_the_units_of_x(fitted):
    generator, X = fitted
    scaled = X * [0.1, 3.0, 1.0]
    again = NCSNGenerator(**{**QUICK, "max_steps": 200}).fit(scaled)
    shift = np.log(0.1) + np.log(3.0)
    assert again.held_out_nll(scaled) == pytest.approx(generator.held_out_nll(X) + shift, abs=2e-2)


# The latent Gaussian.


def test_decoding_undoes_encoding(exact, fitted):
    X = draws(DENSITY, 300, seed=3)
    assert np.abs(exact.decode(exact.encode(X)) - X).max() < 1e-4
    generator, frame = fitted
    back = generator.decode(generator.encode(frame))
    assert list(back.columns) == ["a", "b", "c"]
    assert np.median(np.abs(back - frame)[["a", "b"]] / generator.scale_[:2]) < 1e-3
    assert (back["c"] == 3.0).all()


@pytest.mark.parametrize("seed", range(3))
def test_latent_rows_are_standard_normal(exact, seed):
    n = 3000
    Z = exact.encode(draws(DENSITY, n, seed=10 + seed))
    assert (np.abs(Z.mean(0)) < 5 / n**0.5).all()
    covariance = np.cov(Z.T)
    error = np.array([[2.0, 1.0], [1.0, 2.0]]) ** 0.5 / n**0.5
    assert (np.abs(covariance - np.eye(2)) < 5 * error).all()


def test_latent_rows_decode_to_the_density(exact):
    n = 3000
    X = exact.decode(np.random.RandomState(0).normal(size=(n, 2)))
    expected = draws(DENSITY, 20_000, seed=4)
    error = 4 * (1 / n + 1 / 20_000) ** 0.5
    assert (np.abs(X.mean(0) - expected.mean(0)) < error * expected.std(0)).all()
    assert (np.abs(X.std(0) / expected.std(0) - 1) < error).all()


def test_a_row_is_joined_to_another_through_the_latent_gaussian(exact, fitted):
    a, b = draws(DENSITY, 2, seed=5)
    path = exact.interpolate(a, b, n_points=7)
    np.testing.assert_allclose(path[[0, -1]], [a, b], atol=1e-4)
    Z = exact.encode(path)
    angles = np.arctan2(Z[:, 1], Z[:, 0])
    steps = np.diff(np.unwrap(angles))
    np.testing.assert_allclose(steps, steps.mean(), atol=1e-3)  # equal steps on an arc
    generator, X = fitted
    frame = generator.interpolate(X.iloc[:1], X.iloc[[1]], n_points=3)
    assert list(frame.columns) == ["a", "b", "c"]
    assert len(frame) == 3


def test_a_row_is_joined_to_itself(exact):
    a = draws(DENSITY, 1)
    np.testing.assert_allclose(exact.interpolate(a, a, n_points=3), np.repeat(a, 3, 0), atol=1e-4)


def test_bad_latent_rows_are_refused(exact):
    with pytest.raises(
        ValueError, match="Z has 3 columns, and the latent rows of this model have 2"
    ):
        exact.decode(np.zeros((4, 3)))
    with pytest.raises(ValueError, match="b has 2 rows; give one"):
        exact.interpolate(np.zeros(2), np.zeros((2, 2)))
    with pytest.raises(ValueError, match="n_points=1 do not join two rows"):
        exact.interpolate(np.zeros(2), np.ones(2), n_points=1)
    with pytest.raises(ValueError, match="NaN"):
        exact.decode([[np.nan, 0.0]])


def test_a_stack_has_log_densities_and_a_latent_gaussian():
    X = draws(DENSITY, 150)
    model = NCSNGenerator(0.05, 5.0, model="stack", **QUICK).fit(X)
    fresh = draws(DENSITY, 1000, seed=6)
    assert abs(model.score_samples(fresh).mean() + model.held_out_nll(fresh)) < 0.1
    assert np.abs(model.decode(model.encode(fresh[:50])) - fresh[:50]).max() < 1e-3


def test_log_densities_of_an_overfitted_network_are_warned_of():
    X, fresh = (np.random.RandomState(k).normal(size=(40, 6)) for k in (0, 1))
    options = {**QUICK, "max_steps": 1500, "hidden_units": (64, 64)}
    model = NCSNGenerator(early_stopping=False, **options).fit(X)
    with pytest.warns(OverfittingWarning, match="nats below that by denoising.*model='stack'"):
        model.score_samples(fresh)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.score_samples(fresh[:29])  # too few rows to say
        NCSNGenerator(model="stack", **options).fit(X).score_samples(fresh)
