"""NCSNGenerator: noise levels, samplers, and when training stops."""

import numpy as np
import pytest
import torch
from sklearn.base import clone

from skscore import NCSNGenerator
from skscore.noise import GeometricSigmas, LogNormalSigma, LogUniformSigma

QUICK = {"random_state": 0, "max_steps": 20, "batch_size": 64}


def data(n=80, d=2):
    return np.random.RandomState(0).normal(size=(n, d))


@pytest.fixture(scope="module")
def generator():
    return NCSNGenerator(0.01, 5.0, **QUICK).fit(data())


def with_sampler(generator, **params):
    """Return a generator with the same fit and other sampling parameters."""
    other = clone(generator).set_params(**params)
    other.__dict__.update({k: v for k, v in vars(generator).items() if k.endswith("_")})
    return other


@pytest.mark.parametrize(
    ("sigma_min", "sigma_max"), [(1.0, 1.0), (2.0, 1.0), (0.0, 1.0), (-0.1, 1.0), (0.1, np.inf)]
)
def test_noise_levels_must_span_a_range(sigma_min, sigma_max):
    with pytest.raises(ValueError, match="sigma_m"):
        NCSNGenerator(sigma_min, sigma_max, **QUICK).fit(data())


def test_message_for_an_empty_range_names_both_ends():
    with pytest.raises(ValueError, match=r"sigma_min=2.0 is not below sigma_max=1.0"):
        NCSNGenerator(2.0, 1.0, **QUICK).fit(data())


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"sampler": "euler"}, "'sampler' parameter"),
        ({"n_levels": 1}, "'n_levels' parameter"),
        ({"sigma_distribution": "uniform"}, "'sigma_distribution' parameter"),
        ({"n_sampling_steps": 0}, "'n_sampling_steps' parameter"),
        ({"step_size": 0}, "'step_size' parameter"),
    ],
)
def test_unknown_options_are_refused_by_name(params, message):
    with pytest.raises(ValueError, match=message):
        NCSNGenerator(**params, **QUICK).fit(data())


@pytest.mark.parametrize("sigma", [0.001, 6.0, [1.0] * 79 + [9.0]])
def test_noise_levels_outside_of_the_learnt_range_are_refused(generator, sigma):
    for method in (generator.score_function, generator.denoise):
        with pytest.raises(ValueError, match=r"outside of the noise levels from 0.01 to 5.0"):
            method(data(), sigma)


def test_noise_levels_need_the_shape_of_the_rows(generator):
    with pytest.raises(ValueError, match=r"sigma has the shape \(3,\).*each of the 80 rows"):
        generator.score_function(data(), [1.0, 2.0, 3.0])


def test_noise_level_of_each_row_is_its_own(generator):
    sigma = np.linspace(0.01, 5, 80)
    scores = generator.score_function(data(), sigma)
    one_by_one = [generator.score_function(data()[i : i + 1], sigma[i])[0] for i in (0, 40, 79)]
    np.testing.assert_array_equal(scores[[0, 40, 79]], one_by_one)
    np.testing.assert_array_equal(
        generator.score_function(data()), generator.score_function(data(), 0.01)
    )


@pytest.mark.parametrize(
    ("params", "law"),
    [
        ({}, LogNormalSigma(0.1, 5.0)),
        ({"sigma_distribution": "log_uniform"}, LogUniformSigma(0.1, 5.0)),
        ({"n_levels": 7}, GeometricSigmas(0.1, 5.0, 7)),
    ],
)
def test_training_draws_noise_from_the_law_that_was_asked_for(params, law):
    generator = NCSNGenerator(0.1, 5.0, **params, **QUICK).fit(data())
    assert generator._sigma_law() == law


@pytest.mark.parametrize("sampler", ["dpm_solver", "annealed_langevin", "langevin"])
@pytest.mark.parametrize("n_levels", [None, 6])
def test_every_sampler_draws_finite_rows_reproducibly(sampler, n_levels):
    generator = NCSNGenerator(0.05, 5.0, n_levels=n_levels, sampler=sampler, **QUICK).fit(data())
    drawn = generator.sample(30, random_state=1)
    assert drawn.shape == (30, 2)
    np.testing.assert_array_equal(drawn, generator.sample(30, random_state=1))


def test_network_is_evaluated_once_for_each_sampling_step(generator):
    count = 0

    def counting(score_fn, x, sigmas, random):
        nonlocal count
        count = len(sigmas)
        assert (sigmas[:-1] > sigmas[1:]).all()
        return x + sigmas[0] ** 2 * score_fn(x, sigmas[0].expand(len(x), 1))

    drawn = with_sampler(generator, sampler=counting, n_sampling_steps=9).sample(5, random_state=0)
    assert count == 9
    assert drawn.shape == (5, 2)


def test_sampler_of_the_user_that_returns_nonsense_is_refused(generator):
    broken = with_sampler(generator, sampler=lambda score_fn, x, sigmas, random: x[:2])
    with pytest.raises(ValueError, match=r"returned torch.Size\(\[2, 2\]\).*shape \(5, 2\)"):
        broken.sample(5)


def test_sampler_that_diverges_says_what_to_change(generator):
    broken = with_sampler(generator, sampler="langevin", step_size=1e6, n_sampling_steps=500)
    with pytest.raises(FloatingPointError, match="use a smaller step_size"):
        broken.sample(5, random_state=0)


def test_untrained_generator_is_the_gaussian_with_the_moments_of_the_data():
    X = data(400) @ np.array([[2.0, 1.0], [0.0, 0.5]]) + [1.0, -3.0]
    generator = NCSNGenerator(max_steps=1, lr=1e-12, random_state=0, n_sampling_steps=200).fit(X)
    # With F = 0 the model is N(μ, diag λ²): the start has the full covariance, the score has not,
    # so what is exact is the mean and the score itself.
    np.testing.assert_allclose(
        generator.score_function(X, 0.5) * generator.scale_,
        -(X - X.mean(axis=0)) / generator.scale_ / (1 + 0.5**2),
        rtol=1e-5,
    )
    drawn = generator.sample(4000, random_state=0)
    standard_error = X.std(axis=0) / np.sqrt(4000)
    assert (np.abs(drawn.mean(axis=0) - X.mean(axis=0)) < 4 * standard_error).all()


def test_training_stops_before_rows_are_copied():
    X = np.random.RandomState(0).normal(size=(25, 8))
    options = {"max_steps": 1500, "lr": 1e-2, "random_state": 0, "batch_size": 128}
    watched = NCSNGenerator(**options).fit(X)
    unwatched = NCSNGenerator(early_stopping=False, **options).fit(X)
    from skscore.metrics import copy_rate

    assert watched.copy_rate_ <= 0.05
    assert watched.best_step_ < watched.n_steps_ < 1500
    assert copy_rate(unwatched.sample(400, random_state=1), X) > 0.3
    assert copy_rate(watched.sample(400, random_state=1), X) < 0.1


def test_copies_are_not_watched_for_where_the_loss_decides():
    generator = NCSNGenerator(early_stopping="loss", **QUICK).fit(data())
    assert np.isnan(generator.copy_rate_)
    curve = generator.validation_curve_
    assert generator.best_step_ == curve[np.argmin(curve[:, 1]), 0]


def test_score_is_taken_at_the_smallest_noise_level(generator):
    X = data(30)
    s = generator.score_function(X, 0.01)
    z = torch.tensor(generator._to_z(X))

    def score_z(z):
        return generator.net_.module_(z[None], torch.full((1, 1), 0.01, dtype=z.dtype))[0]

    trace = [torch.autograd.functional.jacobian(score_z, row).trace().item() for row in z]
    expected = ((s * generator.scale_) ** 2).sum(axis=1) + 2 * np.array(trace)
    assert generator.score(X) == pytest.approx(-expected.mean(), rel=1e-9)
