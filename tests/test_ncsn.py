"""NCSNGenerator: noise levels, samplers, and when training stops."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.base import clone

from skscore import DenoisingScoreEstimatorCV, NCSNGenerator
from skscore.datasets import random_gaussian_mixture
from skscore.noise import (
    DiscreteSigmas,
    LogNormalSigma,
    LogUniformSigma,
    TimeUniformSigma,
    VarianceExploding,
    VariancePreserving,
    geometric_sigmas,
)

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
        ({"noise": "uniform"}, "'noise' parameter"),
        ({"loss_weighting": "snr"}, "'loss_weighting' parameter"),
        ({"sigma_max": "large"}, "'sigma_max' parameter"),
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
        ({"noise": "ve"}, LogUniformSigma(0.1, 5.0)),
        (
            {"noise": "ve", "n_levels": 7},
            DiscreteSigmas(tuple(geometric_sigmas(5.0, 0.1, 7).tolist())),
        ),
    ],
)
def test_training_draws_noise_from_the_law_that_was_asked_for(params, law):
    generator = NCSNGenerator(0.1, 5.0, **params, **QUICK).fit(data())
    found = generator._make_loss(None, 1.0).sigma_law
    assert type(found) is type(law)
    torch.testing.assert_close(found.quantile(u := torch.rand(50)), law.quantile(u))


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
    with pytest.raises(ValueError, match=r"returned torch.Size\(\[2, 2\]\).*shape \(256, 2\)"):
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


# Stacks.


@pytest.fixture(scope="module")
def stacked():
    X = data(120) @ np.array([[2.0, 1.0], [0.0, 0.5]]) + [1.0, -3.0]
    X[:40, 0] += 8
    model = NCSNGenerator(
        0.05, 5.0, model="stack", hidden_units=(32, 32), **{**QUICK, "max_steps": 100}
    )
    model.fit(X)
    return SimpleNamespace(model=model, X=X)


@pytest.mark.parametrize("early_stopping", [False, "copy_rate"])
def test_a_stack_needs_rows_that_are_held_out(early_stopping):
    generator = NCSNGenerator(model="stack", early_stopping=early_stopping, **QUICK)
    message = f"model='stack' .* early_stopping={early_stopping!r} holds out none; use .*='loss'"
    with pytest.raises(ValueError, match=message):
        generator.fit(data())


def test_a_stack_holds_rows_out_and_keeps_the_lowest_loss():
    models = [
        NCSNGenerator(model="stack", early_stopping=early_stopping, **QUICK).fit(data())
        for early_stopping in (True, "loss")
    ]
    a, b = (model.score_function(data(), 0.5) for model in models)
    np.testing.assert_array_equal(a, b)
    curve = models[0].validation_curve_
    assert models[0].best_step_ == curve[np.argmin(curve[:, 1]), 0]
    assert np.isnan(models[0].copy_rate_)


@pytest.mark.parametrize(("model", "lr", "factor"), [("score", 5e-3, 1), ("stack", 0.015, 0.5)])
def test_a_stack_is_trained_for_half_of_the_steps_at_three_times_the_rate(model, lr, factor):
    auto = NCSNGenerator(model=model, max_steps="auto")
    for n, n_steps in ((10, 2000), (1000, 2500), (4000, 5000), (10**7, 30_000)):
        assert auto._default_max_steps(n) == factor * n_steps
    assert NCSNGenerator(model=model, **QUICK).fit(data()).net_.lr == pytest.approx(lr)
    assert NCSNGenerator(model=model, lr=1e-3, **QUICK).fit(data()).net_.lr == 1e-3


@pytest.mark.parametrize(
    ("params", "message"), [({"model": "mixture"}, "'model' param"), ({"lr": "fast"}, "'lr' param")]
)
def test_unknown_models_and_rates_are_refused(params, message):
    with pytest.raises(ValueError, match=message):
        NCSNGenerator(**params, **QUICK).fit(data())


@pytest.mark.parametrize("sigma", [0.05, 0.4, 5.0])
def test_the_score_of_a_stack_is_the_weighted_sum_of_its_parts_in_the_units_of_x(stacked, sigma):
    model, X = stacked.model, stacked.X
    stack = model.stack_
    assert stack.weights.shape == (12, 2)
    assert (stack.weights >= 0).all()
    np.testing.assert_allclose(stack.weights.sum(1), 1)
    assert stack.sigmas[[0, -1]].tolist() == pytest.approx([0.05, 5.0])
    network, mixture = stack.components
    assert network is model.net_.module_
    knots = stack.sigmas.log().numpy()
    w = [np.interp(np.log(sigma), knots, stack.weights[:, k]) for k in (0, 1)]
    z, levels = torch.tensor(model._to_z(X)), torch.full((120, 1), sigma, dtype=torch.float64)
    with torch.no_grad():
        expected = (w[0] * network(z, levels) + w[1] * mixture(z, levels)).numpy() / model.scale_
    found = model.score_function(X, sigma)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    tweedie = X + (sigma * model.scale_) ** 2 * found
    np.testing.assert_allclose(model.denoise(X, sigma), tweedie, rtol=1e-9)


@pytest.mark.parametrize(("sampler", "n_steps"), [("dpm_solver", 24), ("annealed_langevin", 10)])
def test_a_stack_is_sampled_with_the_moments_of_its_rows(stacked, sampler, n_steps):
    model = with_sampler(stacked.model, sampler=sampler, n_sampling_steps=n_steps)
    X = stacked.X
    drawn = model.sample(1000, random_state=1)
    np.testing.assert_array_equal(drawn, model.sample(1000, random_state=1))
    # 4 SE of the mean of the draws and of the rows that the model was fitted to.
    assert (np.abs(drawn.mean(0) - X.mean(0)) < 4 * X.std(0) * (1 / 1000 + 1 / 120) ** 0.5).all()
    assert (np.abs(drawn.std(0) / X.std(0) - 1) < 0.3).all()


def test_a_stack_survives_pickling_and_cloning(stacked):
    thawed = pickle.loads(pickle.dumps(stacked.model))
    for method in ("score_function", "score"):
        found, expected = (getattr(m, method)(stacked.X) for m in (thawed, stacked.model))
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(
        thawed.sample(5, random_state=0), stacked.model.sample(5, random_state=0)
    )
    assert not hasattr(clone(stacked.model), "stack_")


def test_a_second_fit_leaves_no_stack_of_the_first(stacked):
    model = pickle.loads(pickle.dumps(stacked.model)).set_params(model="score").fit(stacked.X)
    assert not hasattr(model, "stack_")
    fresh = clone(stacked.model).set_params(model="score").fit(stacked.X)
    np.testing.assert_array_equal(
        model.score_function(stacked.X, 0.3), fresh.score_function(stacked.X, 0.3)
    )


def test_a_stack_goes_on_from_the_weights_of_its_network():
    X, options = data(100), {**QUICK, "model": "stack", "warm_start": True}
    model = NCSNGenerator(**options).fit(X)
    weights = [p.clone() for p in model.net_.module_.parameters()]
    # At a rate of next to nothing the network stays where the first fit has left it.
    model.set_params(lr=1e-12, max_steps=1).fit(X)
    for before, after in zip(weights, model.net_.module_.parameters(), strict=True):
        torch.testing.assert_close(before, after, rtol=1e-6, atol=1e-8)
    assert model.stack_.components[0] is model.net_.module_


@pytest.mark.parametrize("seed", range(2))
def test_a_stack_denoises_fresh_rows_no_worse_than_its_network(seed):
    p = random_gaussian_mixture(2, 3, random_state=1)
    X, fresh = (p.sample(n, random_state=seed + k) for k, n in ((0, 300), (100, 5000)))
    options = {"max_steps": 500, "batch_size": 128, "hidden_units": (64, 64)}
    model = NCSNGenerator(model="stack", random_state=seed, **options).fit(X)
    z, rng = torch.tensor(model._to_z(fresh)), np.random.RandomState(seed)
    ratios = []
    for sigma in (0.05, 0.2, 0.7, 2.0):
        noise = torch.tensor(rng.normal(size=z.shape))
        level = torch.full((len(z), 1), sigma, dtype=torch.float64)
        with torch.no_grad():
            of_stack, of_network = (
                (sigma * score_fn(z + sigma * noise, level) + noise).square().sum(1).mean().item()
                for score_fn in (model.stack_, model.net_.module_)
            )
        ratios.append(of_stack / of_network)
    # The 30 rows that choose the weights may choose a little wrong.
    assert max(ratios) < 1.03
    assert np.mean(ratios) < 1


# Noise processes, levels and weights of the loss.


@pytest.mark.parametrize("noise", ["vp", "sub_vp"])
def test_processes_in_time_train_on_levels_of_uniform_times(noise):
    generator = NCSNGenerator(0.1, 5.0, noise=noise, **QUICK).fit(data())
    law = generator._make_loss(None, 1.0).sigma_law
    assert isinstance(law, TimeUniformSigma)
    process = generator._process()
    assert law.process.get_params() == process.get_params()
    assert (process.sigma_min, process.sigma_max) == (0.1, 5.0)


def test_a_process_brings_its_own_range():
    process = VariancePreserving("cosine", sigma_min=0.02, sigma_max=8.0)
    generator = NCSNGenerator(noise=process, **QUICK).fit(data())
    assert (generator.sigma_min_, generator.sigma_max_) == (0.02, 8.0)
    assert generator.noise is process
    with pytest.raises(ValueError, match="outside of the noise levels from 0.02 to 8.0"):
        generator.score_function(data(), 9.0)
    with pytest.raises(ValueError, match="sigma_max=500.0 is above 152"):
        NCSNGenerator(noise=VariancePreserving(sigma_max=500.0), **QUICK).fit(data())


def test_the_largest_level_may_be_the_largest_distance():
    X = data(50)
    generator = NCSNGenerator(sigma_max="auto", **QUICK).fit(X)
    Z = (X - X.mean(0)) / X.std(0)
    expected = max(np.linalg.norm(a - b) for a in Z for b in Z)
    assert generator.sigma_max_ == pytest.approx(expected)
    with pytest.raises(ValueError, match=r"largest distance .* not above sigma_min=100"):
        NCSNGenerator(100.0, "auto", **QUICK).fit(X)


def test_the_number_of_levels_may_be_that_of_ncsnv2():
    generator = NCSNGenerator(0.01, 10.0, noise="ve", n_levels="auto", **QUICK).fit(data())
    assert generator.n_levels_ == 1 + np.ceil(np.log(1000) / np.log(2**0.5))
    assert len(generator._make_loss(None, 1.0).sigma_law.levels) == generator.n_levels_
    assert NCSNGenerator(**QUICK).fit(data()).n_levels_ is None


def test_annealed_langevin_visits_the_levels_that_were_trained_on():
    options = {**QUICK, "noise": "ve", "n_levels": 5, "sampler": "annealed_langevin"}
    generator = NCSNGenerator(0.1, 5.0, **options).fit(data())
    torch.testing.assert_close(generator._chain_sigmas(), geometric_sigmas(5.0, 0.1, 5))
    _, states = generator.sample(2, random_state=0, return_trajectory=True)
    assert len(states) == 5 + 2


@pytest.mark.parametrize("loss_weighting", ["edm", "ncsn", "likelihood"])
def test_the_loss_has_the_weight_that_was_asked_for(loss_weighting):
    generator = NCSNGenerator(loss_weighting=loss_weighting, **QUICK).fit(data())
    assert generator._make_loss(None, 1.0).weighting == loss_weighting
    assert np.isfinite(generator.score(data()))


@pytest.mark.parametrize("loss_weighting", ["edm", "ncsn", "likelihood"])
@pytest.mark.parametrize("parametrization", ["preconditioned", "noise", "data", "v"])
def test_whatever_is_predicted_and_however_weighted_the_score_is_learnt(
    parametrization, loss_weighting
):
    X = data(500)
    generator = NCSNGenerator(
        0.1,
        5.0,
        parametrization=parametrization,
        loss_weighting=loss_weighting,
        max_steps=300,
        batch_size=128,
        hidden_units=(32, 32),
        early_stopping=False,
        random_state=0,
    ).fit(X)
    # Relative to the score 0, which is off by 1.
    for sigma in (0.5, 1.0, 2.0):
        rng = np.random.RandomState(1)
        x = rng.normal(size=(500, 2)) * (1 + sigma**2) ** 0.5
        expected = -x / (1 + sigma**2)
        error = np.square(generator.score_function(x, sigma / generator.scale_.mean()) - expected)
        assert error.mean() / np.square(expected).mean() < 0.1


def test_the_moving_average_has_the_decay_that_was_asked_for():
    generator = NCSNGenerator(ema_decay=0.0, **QUICK).fit(data())
    other = NCSNGenerator(**QUICK).fit(data())
    assert not np.array_equal(
        generator.score_function(data(), 0.5), other.score_function(data(), 0.5)
    )


# A smallest level that held-out rows choose.

SMALL = {**QUICK, "hidden_units": (16,)}
PATH = ("sigmas_", "score_path_", "score_path_std_")


@pytest.fixture(scope="module")
def chosen():
    return NCSNGenerator("cv", **SMALL).fit(data())


def test_the_smallest_level_is_that_of_the_best_mean_over_five_folds(chosen):
    np.testing.assert_allclose(chosen.sigmas_, np.geomspace(0.005, 0.5, 12))
    assert chosen.score_path_.shape == (5, 12)
    assert chosen.score_path_std_.shape == (12,)
    errors = chosen.score_path_.std(axis=0, ddof=1) / 5**0.5
    np.testing.assert_allclose(chosen.score_path_std_, errors)
    assert chosen.sigma_min_ == chosen.sigmas_[chosen.score_path_.mean(axis=0).argmax()]
    assert isinstance(chosen.sigma_min_, float)
    assert chosen.get_params()["sigma_min"] == "cv"


def test_it_is_chosen_as_the_search_of_one_level_does(chosen):
    search = DenoisingScoreEstimatorCV(
        chosen.sigmas_, **{**SMALL, "batch_size": 128}, validation_fraction=0.1
    ).fit(data())
    np.testing.assert_allclose(search.score_path_, chosen.score_path_, rtol=1e-12)
    assert search.sigma_ == chosen.sigma_min_


def test_what_follows_is_the_fit_at_the_number_that_was_chosen(chosen):
    given = NCSNGenerator(chosen.sigma_min_, **SMALL).fit(data())
    for method in ("score_function", "score"):
        np.testing.assert_array_equal(
            getattr(given, method)(data(30)), getattr(chosen, method)(data(30))
        )
    np.testing.assert_array_equal(given.sample(9, random_state=0), chosen.sample(9, random_state=0))


def test_levels_to_choose_from_are_in_the_units_of_x_without_standardisation():
    X = data() * [1.0, 20.0]
    generator = NCSNGenerator("cv", 500.0, standardize=False, **SMALL).fit(X)
    unit = X.var(axis=0).mean() ** 0.5
    np.testing.assert_allclose(generator.sigmas_, unit * np.geomspace(0.005, 0.5, 12))


def test_a_second_fit_with_a_number_leaves_no_path_of_the_first(chosen):
    model = pickle.loads(pickle.dumps(chosen))
    assert all(hasattr(model, name) for name in PATH)
    model.set_params(sigma_min=0.05).fit(data())
    assert not any(hasattr(model, name) for name in PATH)
    assert model.sigma_min_ == 0.05


def test_a_process_of_the_user_has_its_own_smallest_level_and_nothing_is_chosen():
    X = data(100).round(1)
    generator = NCSNGenerator("cv", noise=VarianceExploding(0.03, 8.0), **SMALL).fit(X)
    assert generator.sigma_min_ == 0.03
    assert not any(hasattr(generator, name) for name in PATH)


def test_no_level_is_chosen_on_rounded_columns_without_noise():
    X = data(100)
    X[:, 1] = X[:, 1].round(1)
    message = r"^No sigma_min can be chosen on these rows: 1 of 2 .*: column 1 \(steps of 0.1\)"
    with pytest.raises(ValueError, match=message):
        NCSNGenerator("cv", dequantize=None, **SMALL).fit(X)
    generator = NCSNGenerator("cv", **SMALL).fit(X)
    assert generator.sigma_min_ in generator.sigmas_
    drawn = generator.sample(20, random_state=0)[:, 1]
    np.testing.assert_array_equal(drawn, drawn.round(1))


def test_only_levels_below_the_largest_are_to_choose_from():
    generator = NCSNGenerator("cv", 0.1, **SMALL).fit(data())
    assert 0.05 < generator.sigmas_[-1] < 0.1
    assert generator.sigma_min_ < generator.sigma_max_ == 0.1
    message = "noise levels from 0.005 to 0.5, and sigma_max is 0.004; use a larger sigma_max"
    with pytest.raises(ValueError, match=message):
        NCSNGenerator("cv", 0.004, **SMALL).fit(data())


def test_other_words_for_the_smallest_level_are_refused():
    with pytest.raises(ValueError, match="'sigma_min' parameter of NCSNGenerator"):
        NCSNGenerator("auto", **SMALL).fit(data())


# Training in parts.


def test_the_first_part_is_a_fit():
    whole = NCSNGenerator(**QUICK).fit(data())
    part = NCSNGenerator(**QUICK).partial_fit(data())
    np.testing.assert_array_equal(
        part.score_function(data(), 0.5), whole.score_function(data(), 0.5)
    )


def test_later_parts_go_on_in_the_units_of_the_first():
    model = NCSNGenerator(**QUICK).fit(data())
    before = {name: getattr(model, name).copy() for name in ("mean_", "scale_", "covariance_")}
    score = model.score_function(data(), 0.5)
    # At a rate of next to nothing the network stays where it was.
    model.set_params(lr=1e-12).partial_fit(data(200)[80:] + 3)
    for name, value in before.items():
        np.testing.assert_array_equal(getattr(model, name), value)
    np.testing.assert_allclose(model.score_function(data(), 0.5), score, atol=1e-5)
    model.set_params(lr=5e-3).partial_fit(data(200)[80:] + 3)
    assert np.abs(model.score_function(data(), 0.5) - score).max() > 1e-2


def test_parts_teach_what_the_first_rows_did_not_have():
    X = np.random.RandomState(0).normal(size=(600, 1))
    X[300:] = X[300:] / 10 + 2.0
    options = {**QUICK, "max_steps": 200, "hidden_units": (32, 32), "early_stopping": False}
    model = NCSNGenerator(**options).fit(X[:300])
    before = model.score_samples(X[300:]).mean()
    for _ in range(2):
        model.partial_fit(X[300:])
    assert model.score_samples(X[300:]).mean() > before + 1
    assert model.n_partial_fits_ == 3


def test_parts_need_the_features_of_the_first_and_no_stack():
    model = NCSNGenerator(**QUICK).fit(data())
    with pytest.raises(ValueError, match="X has 3 features, but .* is expecting 2"):
        model.partial_fit(data(20, 3))
    assert not hasattr(NCSNGenerator(model="stack"), "partial_fit")


def test_parts_are_reproducible_and_each_has_noise_of_its_own():
    def trained(n_parts):
        model = NCSNGenerator(**QUICK).fit(data())
        for _ in range(n_parts):
            model.partial_fit(data())
        return model

    np.testing.assert_array_equal(
        trained(2).score_function(data(), 0.5), trained(2).score_function(data(), 0.5)
    )
    model = trained(1)
    curve = model.validation_curve_
    assert not np.array_equal(model.partial_fit(data()).validation_curve_, curve)
