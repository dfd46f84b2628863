"""What the three estimators share: units, weights, containers, seeds and bad input."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from skscore import DenoisingScoreEstimator, NCSNGenerator, ScoreMatchingDensity
from skscore._inference import in_parts
from skscore.networks import ScoreMLP

QUICK = {"random_state": 0, "max_steps": 20, "batch_size": 64}
ESTIMATORS = {
    "density": ScoreMatchingDensity(n_sampling_steps=50, **QUICK),
    "density, sliced": ScoreMatchingDensity("sliced", n_sampling_steps=50, **QUICK),
    "density, denoising": ScoreMatchingDensity("denoising", n_sampling_steps=50, **QUICK),
    "density, energy": ScoreMatchingDensity(model="energy", n_sampling_steps=50, **QUICK),
    "denoising": DenoisingScoreEstimator(0.3, n_sampling_steps=50, **QUICK),
    "ncsn": NCSNGenerator(**QUICK),
    "ncsn, levels": NCSNGenerator(
        0.05, 5.0, n_levels=5, sampler="annealed_langevin", n_sampling_steps=5, **QUICK
    ),
    "ncsn, held out": NCSNGenerator(early_stopping="loss", **QUICK),
    "ncsn, whole budget": NCSNGenerator(early_stopping=False, **QUICK),
}


WITHOUT_NETWORK = {
    "density, gaussian": ScoreMatchingDensity(model="gaussian", random_state=0),
    "density, kernel": ScoreMatchingDensity(model="kernel", n_sampling_steps=50, random_state=0),
}


@pytest.fixture(params=ESTIMATORS)
def estimator(request):
    return clone(ESTIMATORS[request.param])


@pytest.fixture(params=ESTIMATORS | WITHOUT_NETWORK)
def any_estimator(request):
    return clone((ESTIMATORS | WITHOUT_NETWORK)[request.param])


def data(n=80, seed=0):
    return np.random.RandomState(seed).normal(size=(n, 3)) * [1.0, 50.0, 0.01] + [0.0, 1e4, -2.0]


def outputs(model, X):
    return model.score_function(X), model.sample(7, random_state=3), model.score(X)


def assert_same(a, b):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


# Rows and weights.


def test_repetition_and_weight_are_the_same_to_the_last_bit(any_estimator):
    X = data()
    weights = np.random.RandomState(1).randint(0, 4, size=len(X))
    weighted = clone(any_estimator).fit(X, sample_weight=weights)
    repeated = clone(any_estimator).fit(np.repeat(X, weights, axis=0))
    assert_same(outputs(weighted, X), outputs(repeated, X))


def test_order_of_rows_does_not_matter_to_the_last_bit(any_estimator):
    X = data()
    weights = np.random.RandomState(1).uniform(0.1, 1, size=len(X))
    order = np.random.RandomState(2).permutation(len(X))
    straight = clone(any_estimator).fit(X, sample_weight=weights)
    shuffled = clone(any_estimator).fit(X[order], sample_weight=weights[order])
    assert_same(outputs(straight, X), outputs(shuffled, X))


def test_score_weights_rows_as_repetition_does(any_estimator):
    X = data()
    weights = np.random.RandomState(1).randint(0, 4, size=len(X))
    model = any_estimator.fit(X)
    assert model.score(X, sample_weight=weights) == pytest.approx(
        model.score(np.repeat(X, weights, axis=0)), rel=1e-12
    )


def test_result_for_a_row_does_not_depend_on_the_other_rows(any_estimator):
    X = data(600)
    model = any_estimator.fit(X)
    together = model.score_function(X)
    alone = np.vstack([model.score_function(X[i : i + 1]) for i in (0, 299, 599)])
    np.testing.assert_array_equal(alone, together[[0, 299, 599]])


def test_parts_of_a_fixed_size_give_the_same_as_one_call():
    network = ScoreMLP(3, (16,)).double()
    torch.nn.init.normal_(network.head.weight, generator=torch.Generator().manual_seed(0))
    x = torch.randn(700, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    sigma = torch.full((700, 1), 0.5, dtype=torch.float64)
    with torch.no_grad():
        expected = network(x, sigma)
    torch.testing.assert_close(in_parts(network, x, sigma), expected, rtol=1e-12, atol=1e-12)


# Units.


def test_affine_map_of_the_data_maps_scores_and_samples(estimator):
    X = data()
    shift, factor = np.array([3.0, -1.0, 10.0]), np.array([4.0, 0.5, 256.0])
    plain, mapped = clone(estimator).fit(X), clone(estimator).fit(X * factor + shift)
    np.testing.assert_allclose(
        mapped.score_function(X * factor + shift) * factor,
        plain.score_function(X),
        rtol=1e-3,
        atol=1e-3 * np.abs(plain.score_function(X)).max(axis=0).min(),
    )
    np.testing.assert_allclose(
        (mapped.sample(5, random_state=0) - shift) / factor / X.std(axis=0),
        plain.sample(5, random_state=0) / X.std(axis=0),
        atol=1e-2,
        rtol=1e-5,
    )


def test_data_units_are_those_of_sigma_without_standardising():
    # On Gaussian data the untrained network is the exact score, -(x - μ)/(λ² + σ²).
    X = np.random.RandomState(0).normal(size=(500, 1)) * 20 + 100
    model = DenoisingScoreEstimator(
        30.0, standardize=False, max_steps=1, lr=1e-12, random_state=0
    ).fit(X)
    x = np.array([[140.0]])
    expected = -(x - X.mean()) / (X.var() + 30.0**2)
    np.testing.assert_allclose(model.score_function(x), expected, rtol=1e-5)
    standardised = DenoisingScoreEstimator(30 / X.std(), max_steps=1, lr=1e-12, random_state=0)
    np.testing.assert_allclose(standardised.fit(X).score_function(x), expected, rtol=1e-5)


def test_tweedie_joins_denoised_rows_and_scores():
    X = data()
    generator = clone(ESTIMATORS["ncsn"]).fit(X)
    sigma = np.linspace(0.1, 2, len(X))
    blurred = generator.score_function(X, sigma) * generator.scale_**2 * sigma[:, None] ** 2
    np.testing.assert_allclose(generator.denoise(X, sigma), X + blurred, rtol=1e-10)
    denoiser = clone(ESTIMATORS["denoising"]).fit(X)
    np.testing.assert_array_equal(denoiser.transform(X), denoiser.denoise(X, sigma=0.3))


def test_collinear_features_can_be_fitted_and_sampled(estimator):
    X = data()
    X = np.hstack([X, X.sum(axis=1, keepdims=True)])
    assert np.isfinite(estimator.fit(X).sample(5, random_state=0)).all()


# Constant columns.


def test_constant_column_comes_back_constant_and_leaves_the_score_alone(estimator):
    X = data()
    with_constant = np.insert(X, 1, 0.1 + 0.2, axis=1)
    plain, model = clone(estimator).fit(X), clone(estimator).fit(with_constant)
    drawn = model.sample(7, random_state=3)
    assert (drawn[:, 1] == 0.1 + 0.2).all()
    expected = plain.sample(7, random_state=3)
    np.testing.assert_allclose(np.delete(drawn, 1, axis=1), expected, rtol=1e-4)
    assert model.score(with_constant) == pytest.approx(plain.score(X), rel=1e-4)
    assert (model.score_function(with_constant)[:, 1] == 0).all()


def test_constant_column_has_the_blurred_score_of_a_point():
    X = np.insert(data(), 1, 5.0, axis=1)
    model = clone(ESTIMATORS["denoising"]).fit(X)
    X[:, 1] = 7.0
    np.testing.assert_allclose(model.score_function(X)[:, 1], -(7.0 - 5.0) / 0.3**2)
    np.testing.assert_array_equal(model.transform(X)[:, 1], 5.0)


def test_rows_that_are_all_equal_are_refused(estimator):
    with pytest.raises(ValueError, match=r"equal in every feature.*Give rows that vary"):
        estimator.fit(np.full((20, 3), 1.5))


# Containers.


def test_data_frame_comes_back_with_its_columns_and_dtypes(estimator):
    rng = np.random.RandomState(0)
    df = pd.DataFrame(
        {
            "price": rng.normal(size=60),
            "rooms": rng.poisson(4, size=60),
            "garden": rng.uniform(size=60) < 0.5,
            "area": rng.normal(size=60).astype(np.float32),
        },
        index=np.arange(100, 160),
    )
    drawn = estimator.fit(df).sample(9, random_state=0)
    pd.testing.assert_series_equal(drawn.dtypes, df.dtypes)
    assert len(drawn) == 9
    assert list(estimator.feature_names_in_) == list(df.columns)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_array_comes_back_with_its_dtype(dtype):
    X = (data() * 10).astype(dtype)
    drawn = clone(ESTIMATORS["ncsn"]).fit(X).sample(4, random_state=0)
    assert drawn.dtype == dtype
    assert drawn.shape == (4, 3)


# Seeds.


def test_seed_decides_fit_and_sample(estimator):
    X = data()
    first, second = clone(estimator).fit(X), clone(estimator).fit(X)
    assert_same(outputs(first, X), outputs(second, X))
    third = clone(estimator).set_params(random_state=1).fit(X)
    assert not np.array_equal(third.score_function(X), first.score_function(X))
    drawn = first.sample(5, random_state=0)
    assert not np.array_equal(drawn, first.sample(5, random_state=1))
    assert not np.array_equal(first.sample(5), first.sample(5))


def test_random_state_may_be_an_instance():
    model = clone(ESTIMATORS["ncsn"]).fit(data())
    rng = np.random.RandomState(0)
    first, second = model.sample(5, random_state=rng), model.sample(5, random_state=rng)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(model.sample(5, random_state=0), first)


# Networks of the user.


class Linear(torch.nn.Module):
    """A(x - b), which is the score of a Gaussian."""

    def __init__(self, n_features):
        super().__init__()
        self.linear = torch.nn.Linear(n_features, n_features)

    def forward(self, x, sigma):
        return self.linear(x)


class Wide(Linear):
    def forward(self, x, sigma):
        return torch.cat([x, x], dim=1)


@pytest.mark.parametrize("module", [Linear, Linear(3), lambda d: Linear(d)])
@pytest.mark.parametrize("parametrization", ["preconditioned", "score"])
def test_module_may_be_a_class_an_instance_or_a_function(estimator, module, parametrization):
    if getattr(estimator, "model", "score") == "energy":
        pytest.skip("an energy has one output")
    instance = isinstance(module, torch.nn.Module)
    before = [p.clone() for p in module.parameters()] if instance else []
    model = estimator.set_params(module=module, parametrization=parametrization, lr=0.1)
    model.fit(data())
    assert model.score_function(data()).shape == (80, 3)
    if instance:
        for old, new in zip(before, module.parameters(), strict=True):
            assert torch.equal(old, new), "the user's own instance was trained"


def test_module_of_the_wrong_output_shape_is_refused(estimator):
    needed = r"needs the shape of x|an energy \(n, 1\)"
    with pytest.raises(ValueError, match=rf"returned \(2, 6\).*\(2, 3\).*({needed})"):
        estimator.set_params(module=Wide).fit(data())


def test_module_that_is_no_network_is_refused(estimator):
    with pytest.raises(TypeError, match=r"made a list; give a torch.nn.Module"):
        estimator.set_params(module=lambda d: [d]).fit(data())


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [None, 0.7])
def test_linear_score_recovers_the_inverse_covariance(sigma):
    # The implicit minimiser of s = -A(x - b) is A = S⁻¹, the denoising one (S + σ²I)⁻¹.
    X = np.random.RandomState(0).multivariate_normal([1, -1], [[2, 0.8], [0.8, 1]], size=400)
    options = {
        "module": Linear,
        "parametrization": "score",
        "standardize": False,
        "early_stopping": False,
        "max_steps": 1500,
        "batch_size": 1024,
        "lr": 0.02,
        "random_state": 0,
    }
    if sigma is None:
        model = ScoreMatchingDensity("implicit", **options).fit(X)
    else:
        model = DenoisingScoreEstimator(sigma, **options).fit(X)
    S = np.cov(X.T, bias=True) + (0 if sigma is None else sigma**2) * np.eye(2)
    expected = -(X - X.mean(axis=0)) @ np.linalg.inv(S)
    error = model.score_function(X) - expected
    assert (error**2).mean() < 2e-3 * (expected**2).mean()


# Training.


def test_early_stopping_keeps_the_lowest_held_out_loss():
    X = np.random.RandomState(0).normal(size=(60, 10))
    model = DenoisingScoreEstimator(0.05, max_steps=400, random_state=0).fit(X)
    curve = model.validation_curve_
    assert model.best_step_ == curve[np.argmin(curve[:, 1]), 0]
    assert model.n_steps_ < 400


def test_whole_budget_is_spent_without_early_stopping():
    model = clone(ESTIMATORS["ncsn, whole budget"]).fit(data())
    assert model.n_steps_ == model.best_step_ == 20
    assert np.isnan(model.copy_rate_)


def test_warm_start_goes_on_from_the_last_weights():
    X = data(300)
    cold = DenoisingScoreEstimator(0.3, max_steps=200, random_state=0).fit(X)
    warm = clone(cold).set_params(warm_start=True).fit(X).set_params(max_steps=1, lr=1e-9).fit(X)
    expected = cold.score_function(X)
    error = np.abs(warm.score_function(X) - expected).max(axis=0)
    assert (error < 1e-4 * np.abs(expected).max(axis=0)).all()


def test_warm_start_on_other_data_is_refused():
    model = clone(ESTIMATORS["ncsn"]).set_params(warm_start=True).fit(data())
    with pytest.raises(ValueError, match="warm_start=True goes on from the last fit"):
        model.fit(data()[:, :2])


def test_diverging_loss_warns_and_keeps_the_best_weights():
    model = DenoisingScoreEstimator(
        0.1, optimizer=ExplodingLater, max_steps=200, early_stopping=False, random_state=0
    )
    with pytest.warns(ConvergenceWarning, match=r"lr=0.002 and sigma=0.1; .* best weights so far"):
        model.fit(data())
    assert 0 < model.best_step_ < model.n_steps_ < 200
    assert np.isfinite(model.score(data()))


def test_loss_that_diverges_from_the_start_is_an_error(estimator):
    with pytest.raises(ValueError, match=r"diverged before anything was learnt: .*lr=1e\+30"):
        estimator.set_params(lr=1e30, optimizer=torch.optim.SGD).fit(data())


class ExplodingLater(torch.optim.SGD):
    """An optimizer that throws the weights to infinity in its 60th step."""

    def step(self, closure=None):
        loss = super().step(closure)
        self.count = getattr(self, "count", 0) + 1
        if self.count == 60:
            for group in self.param_groups:
                for p in group["params"]:
                    p.data.fill_(float("inf"))
        return loss


# Bad input, each with its own message.


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_missing_or_infinite_values_are_refused(estimator, value):
    X = data()
    X[3, 1] = value
    with pytest.raises(ValueError, match="contains (NaN|infinity)"):
        estimator.fit(X)
    estimator.fit(data())
    with pytest.raises(ValueError, match="contains (NaN|infinity)"):
        estimator.score_function(X)


def test_values_whose_variance_overflows_are_refused(estimator):
    with pytest.raises(ValueError, match="variance overflows; rescale the features"):
        estimator.fit(data() * 1e300)


def test_one_row_is_refused(estimator):
    with pytest.raises(ValueError, match="1 sample"):
        estimator.fit(data(1))


@pytest.mark.parametrize("name", ["density", "denoising", "ncsn, held out"])
def test_fewer_rows_than_the_split_needs_are_refused(name):
    estimator = clone(ESTIMATORS[name])
    with pytest.raises(ValueError, match=r"too few to hold out .* early_stopping=False"):
        estimator.fit(data(2))
    estimator.set_params(early_stopping=False).fit(data(2))


def test_strings_are_refused(estimator):
    with pytest.raises(ValueError, match="could not convert string to float"):
        estimator.fit(pd.DataFrame({"a": ["x", "y", "z"], "b": [1, 2, 3]}))


def test_wrong_width_is_refused(estimator):
    model = estimator.fit(data())
    for method in (model.score_function, model.score):
        with pytest.raises(ValueError, match="X has 2 features, but .* is expecting 3 features"):
            method(data()[:, :2])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"max_steps": 0}, "'max_steps' parameter"),
        ({"batch_size": 0}, "'batch_size' parameter"),
        ({"lr": 0.0}, "'lr' parameter"),
        ({"optimizer": "sgd"}, "'optimizer' parameter"),
        ({"validation_fraction": 1.0}, "'validation_fraction' parameter"),
        ({"standardize": "yes"}, "'standardize' parameter"),
        ({"parametrization": "epsilon"}, "'parametrization' parameter"),
        ({"early_stopping": "never"}, "'early_stopping' parameter"),
        ({"hidden_units": (16, -1)}, "hidden_units=.* not the widths of layers"),
        ({"hidden_units": ()}, "hidden_units=.* not the widths of layers"),
        ({"device": "tpu9"}, "device='tpu9' is not a torch device"),
    ],
)
def test_bad_parameters_are_refused_by_name(estimator, params, message):
    with pytest.raises(ValueError, match=message):
        estimator.set_params(**params).fit(data())


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_cuda_without_a_device_is_refused(estimator):
    with pytest.raises(ValueError, match=r"torch sees no CUDA device .* use device='cpu'"):
        estimator.set_params(device="cuda").fit(data())


@pytest.mark.parametrize("n_samples", [0, -1, 2.5, True])
def test_number_of_rows_to_draw_must_be_a_positive_integer(estimator, n_samples):
    with pytest.raises(ValueError, match="give an integer of 1 or more"):
        estimator.fit(data()).sample(n_samples)


def test_unfitted_estimator_says_so(estimator):
    for call in (
        lambda: estimator.sample(2),
        lambda: estimator.score(data()),
        lambda: estimator.score_function(data()),
    ):
        with pytest.raises(NotFittedError, match="is not fitted yet"):
            call()


@pytest.mark.gpu
def test_cuda_fit_agrees_with_the_cpu():
    X = data(500)
    cpu = NCSNGenerator(random_state=0, max_steps=300).fit(X)
    gpu = NCSNGenerator(random_state=0, max_steps=300, device="cuda").fit(X)
    assert np.isfinite(gpu.sample(5, random_state=0)).all()
    # The noise of the devices differs, and with it what 300 steps come to at the smallest levels.
    assert gpu.validation_curve_[-1, 1] == pytest.approx(cpu.validation_curve_[-1, 1], rel=0.15)
    gpu.net_.module_.load_state_dict(cpu.net_.module_.state_dict())
    np.testing.assert_allclose(gpu.score_function(X), cpu.score_function(X), rtol=1e-9, atol=1e-9)
