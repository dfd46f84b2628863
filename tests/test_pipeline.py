import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    OrdinalEncoder,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
)
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from skscore._container import Container
from skscore.pipeline import GenerativePipeline, make_generative_pipeline

SEED = 0


class GaussianSampler(BaseEstimator):
    """A Gaussian with the package's contract."""

    def __init__(self, shrinkage=0.0):
        self.shrinkage = shrinkage

    def fit(self, X, y=None):
        self.container_ = Container.of(X)
        X = validate_data(self, X)
        self.mean_ = X.mean(0)
        covariance = np.atleast_2d(np.cov(X.T))
        self.covariance_ = (1 - self.shrinkage) * covariance + self.shrinkage * np.eye(X.shape[1])
        return self

    def sample(self, n_samples=1, random_state=None):
        check_is_fitted(self)
        rng = check_random_state(random_state)
        X = rng.multivariate_normal(self.mean_, self.covariance_, n_samples)
        return self.container_.wrap(X)

    def score_samples(self, X):
        X = validate_data(self, X, reset=False)
        return np.atleast_1d(stats.multivariate_normal.logpdf(X, self.mean_, self.covariance_))

    def score(self, X, y=None):
        return self.score_samples(X).mean()


def skewed(n=300, d=3, seed=SEED):
    rng = np.random.RandomState(seed)
    X = rng.standard_normal((n, d)) @ (np.eye(d) + 0.5 * rng.standard_normal((d, d)))
    return np.exp(0.4 * X) + 0.1


def test_one_feature_and_lists():
    X = skewed(d=1).tolist()
    pipe = make_generative_pipeline(StandardScaler(), PowerTransformer(), GaussianSampler())
    assert pipe.fit(X).score_samples(X[:5]).shape == (5,)
    assert pipe.sample(5).shape == (5, 1)


FINAL_STEPS = [
    GaussianSampler(),
    GaussianMixture(2, random_state=0),
    BayesianGaussianMixture(n_components=2, random_state=0),
    KernelDensity(bandwidth=0.2),
]


@pytest.mark.parametrize("final", FINAL_STEPS, ids=lambda final: type(final).__name__)
def test_samples_and_their_seeds(final):
    X = skewed()
    pipe = make_generative_pipeline(StandardScaler(), clone(final)).fit(X)
    first = pipe.sample(50, random_state=1)
    assert first.shape == (50, 3)
    np.testing.assert_array_equal(first, pipe.sample(50, random_state=1))
    assert not np.any(first == pipe.sample(50, random_state=2))
    assert not np.any(pipe.sample(50) == pipe.sample(50))
    rng = np.random.RandomState(1)
    np.testing.assert_array_equal(first, pipe.sample(50, random_state=rng))
    assert not np.any(first == pipe.sample(50, random_state=rng))
    assert pipe.sample().shape == (1, 3)
    if hasattr(final, "random_state"):
        assert pipe[-1].random_state == 0  # the fitted model is left as it was


@pytest.mark.parametrize(
    "step",
    [
        StandardScaler(),
        StandardScaler().set_output(transform="pandas"),
        PowerTransformer(),
        QuantileTransformer(n_quantiles=20, output_distribution="normal"),
        PCA(whiten=True),
        make_pipeline(RobustScaler(), "passthrough", PCA()),
    ],
    ids=lambda step: type(step).__name__,
)
def test_samples_have_the_moments_of_the_data(step):
    X = np.random.RandomState(SEED).multivariate_normal(
        [5, 6, 7], [[1, 0.5, 0], [0.5, 1, 0], [0, 0, 0.25]], 2000
    )
    drawn = make_generative_pipeline(step, GaussianSampler()).fit(X).sample(2000, SEED)
    columns = [np.column_stack([Z, Z[:, 0] * Z[:, 1]]).T for Z in (X, drawn)]
    for of_data, of_samples in zip(*columns, strict=True):
        error = np.hypot(stats.sem(of_data), stats.sem(of_samples))
        assert abs(of_samples.mean() - of_data.mean()) < 5 * error


def mixed_frame(n=200):
    rng = np.random.RandomState(SEED)
    return pd.DataFrame(
        {
            "length": rng.standard_normal(n),
            "count": rng.poisson(5, n),
            "small": rng.standard_normal(n).astype(np.float32),
            "member": rng.uniform(size=n) < 0.4,
            "visits": pd.array(rng.poisson(3, n), dtype="Int64"),
            "grade": pd.Categorical(rng.choice([1, 2, 3], n), categories=[1, 2, 3], ordered=True),
        },
        index=np.arange(n) + 100,
    )


@pytest.mark.parametrize("final", FINAL_STEPS, ids=lambda final: type(final).__name__)
@pytest.mark.parametrize("output", ["default", "pandas"])
def test_samples_come_in_the_frame_of_the_data(final, output):
    df = mixed_frame()
    pipe = make_generative_pipeline(StandardScaler(), PCA(), clone(final))
    pipe.set_output(transform=output).fit(df)
    drawn = pipe.sample(40, random_state=0)
    pd.testing.assert_series_equal(drawn.dtypes, df.dtypes)
    pd.testing.assert_index_equal(drawn.columns, df.columns)
    pd.testing.assert_index_equal(drawn.index, pd.RangeIndex(40))
    assert pipe.score_samples(drawn).shape == (40,)
    assert list(pipe.feature_names_in_) == list(df.columns)
    assert pipe.n_features_in_ == 6


def test_labels_come_back_through_an_encoder():
    df = pd.DataFrame({"animal": pd.Categorical(["cat", "dog", "cow", "dog"] * 10)})
    pipe = make_generative_pipeline(OrdinalEncoder(), KernelDensity(bandwidth=0.01)).fit(df)
    drawn = pipe.sample(100, random_state=0)
    assert drawn["animal"].dtype == df["animal"].dtype
    assert set(drawn["animal"]) == {"cat", "dog", "cow"}


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_samples_come_in_the_dtype_of_the_array(dtype):
    X = np.random.RandomState(SEED).poisson(20, (100, 2)).astype(dtype)
    drawn = make_generative_pipeline(StandardScaler(), KernelDensity()).fit(X).sample(30)
    assert isinstance(drawn, np.ndarray)
    assert drawn.dtype == dtype


def test_no_training_data_is_kept():
    X = skewed(5000)
    pipe = make_generative_pipeline(StandardScaler(), GaussianSampler()).fit(X)
    assert len(pickle.dumps(pipe)) < 10_000
    again = pickle.loads(pickle.dumps(pipe))
    np.testing.assert_array_equal(again.sample(5, 0), pipe.sample(5, 0))


@pytest.mark.parametrize("nothing", ["passthrough", None])
def test_steps_that_do_nothing(nothing):
    X = skewed()
    pipe = GenerativePipeline(
        [
            ("skip", nothing),
            ("scale", StandardScaler()),
            ("again", nothing),
            ("g", GaussianSampler()),
        ]
    ).fit(X)
    plain = make_generative_pipeline(StandardScaler(), GaussianSampler()).fit(X)
    np.testing.assert_array_equal(pipe.sample(5, 0), plain.sample(5, 0))
    np.testing.assert_array_equal(pipe.score_samples(X), plain.score_samples(X))


def test_a_lone_final_step():
    X = skewed()
    pipe = make_generative_pipeline(GaussianSampler()).fit(X)
    np.testing.assert_array_equal(pipe.score_samples(X), pipe[-1].score_samples(X))
    assert pipe.sample(3).shape == (3, 3)


def test_memory(tmp_path):
    X = skewed()
    pipe = make_generative_pipeline(StandardScaler(), GaussianSampler(), memory=str(tmp_path))
    plain = make_generative_pipeline(StandardScaler(), GaussianSampler()).fit(X)
    for _ in range(2):  # the second time from the cache
        pipe = clone(pipe).fit(X)
        np.testing.assert_array_equal(pipe.score_samples(X), plain.score_samples(X))
        np.testing.assert_array_equal(pipe.sample(4, 0), plain.sample(4, 0))
    assert any(tmp_path.iterdir())


def test_clone_and_parameters():
    pipe = make_generative_pipeline(StandardScaler(), GaussianSampler(shrinkage=0.1), verbose=True)
    pipe.fit(skewed())
    copy = clone(pipe)
    assert isinstance(copy, GenerativePipeline)
    assert copy.verbose
    assert copy.get_params()["gaussiansampler__shrinkage"] == 0.1
    assert not hasattr(copy, "container_")
    assert copy.get_params().keys() == Pipeline(pipe.steps).get_params().keys()


def test_grid_search():
    X = skewed(120)
    pipe = make_generative_pipeline(PowerTransformer("box-cox"), GaussianSampler())
    grid = {
        "gaussiansampler__shrinkage": [0.0, 0.9],
        "powertransformer": [StandardScaler(), PowerTransformer("box-cox")],
    }
    search = GridSearchCV(
        pipe, grid, scoring=lambda pipe, X, y=None: pipe.score_samples(X).mean(), cv=2
    ).fit(X)
    # The rows are log-normal but for a small shift.
    assert isinstance(search.best_params_["powertransformer"], PowerTransformer)
    assert search.best_params_["gaussiansampler__shrinkage"] == 0.0
    assert search.best_estimator_.sample(3).shape == (3, 3)
    search = GridSearchCV(pipe, {"gaussiansampler__shrinkage": [0.0, 0.9]}, cv=2).fit(X)
    assert search.best_params_ == {"gaussiansampler__shrinkage": 0.0}


def test_score_is_that_of_the_last_step():
    X = skewed()
    pipe = make_generative_pipeline(StandardScaler(), GaussianSampler()).fit(X)
    assert pipe.score(X) == pipe[-1].score(pipe[0].transform(X))


def test_names_are_those_of_make_pipeline():
    steps = [StandardScaler(), StandardScaler(), KernelDensity()]
    pipe = make_generative_pipeline(*steps)
    assert [name for name, _ in pipe.steps] == [name for name, _ in make_pipeline(*steps).steps]
    assert isinstance(pipe, GenerativePipeline)
    with pytest.raises(TypeError):
        make_generative_pipeline(*steps, cache=None)


def test_other_ways_to_fit_record_the_container():
    X = skewed().astype(np.float32)
    mixture = make_generative_pipeline(StandardScaler(), GaussianMixture(2, random_state=0))
    labels = mixture.fit_predict(X)
    assert labels.shape == (300,)
    assert mixture.sample(3).dtype == np.float32
    scaler = GenerativePipeline([("scale", StandardScaler()), ("again", StandardScaler())])
    assert scaler.fit_transform(X).shape == X.shape
    assert len(scaler.container_.dtypes) == 3


def test_methods_are_there_only_where_the_steps_have_them():
    sampler = make_generative_pipeline(StandardScaler(), GaussianSampler())
    assert hasattr(sampler, "sample")
    assert hasattr(sampler, "score_samples")
    for name in ("fit_transform", "fit_predict", "predict", "transform"):
        assert not hasattr(sampler, name)
    clusters = make_generative_pipeline(StandardScaler(), KMeans(2))
    for name in ("sample", "score_samples"):
        assert not hasattr(clusters, name)
    assert hasattr(clusters, "fit_transform")
    assert hasattr(clusters, "fit_predict")


def test_transforms_without_an_inverse_are_named():
    X = skewed()
    pipe = GenerativePipeline([("t", SplineTransformer()), ("g", GaussianSampler())]).fit(X)
    with pytest.raises(TypeError, match=r"step 't' \(SplineTransformer\) has no inverse_transform"):
        pipe.sample()
    log = FunctionTransformer(np.log)
    for step in (log, make_pipeline(StandardScaler(), PowerTransformer(), clone(log))[-1:]):
        pipe = GenerativePipeline([("t", step), ("g", GaussianSampler())]).fit(X)
        with pytest.raises(TypeError, match=r"\(FunctionTransformer\) cannot be undone"):
            pipe.sample()
    both_ways = FunctionTransformer(np.log, np.exp)
    pipe = GenerativePipeline([("t", both_ways), ("g", GaussianSampler())]).fit(X)
    assert np.all(pipe.sample(100) > 0)


def test_projections_can_be_sampled_through():
    X = skewed()
    drawn = make_generative_pipeline(PCA(2), GaussianSampler()).fit(X).sample(50)
    assert np.linalg.matrix_rank(drawn - drawn.mean(0), tol=1e-8) == 2


def test_a_seed_that_cannot_be_honoured_is_refused():
    class Stubborn(GaussianSampler):
        def sample(self, n_samples=1):
            return super().sample(n_samples)

    pipe = make_generative_pipeline(StandardScaler(), Stubborn()).fit(skewed())
    assert pipe.sample(2).shape == (2, 3)
    with pytest.raises(TypeError, match="Stubborn takes no random_state"):
        pipe.sample(2, random_state=0)


def test_unfitted():
    X = skewed()
    pipe = make_generative_pipeline(StandardScaler(), GaussianSampler())
    with pytest.raises(NotFittedError):
        pipe.sample()
    with pytest.raises(NotFittedError):
        pipe.score_samples(X)
    # Fitted parts know no container.
    fitted = make_generative_pipeline(StandardScaler().fit(X), GaussianSampler().fit(X))
    with pytest.raises(NotFittedError):
        fitted.sample()


def test_metadata_reaches_the_steps():
    X, weights = skewed(), np.random.RandomState(SEED).uniform(size=300)
    pipe = make_generative_pipeline(StandardScaler(), KernelDensity(bandwidth=0.5))
    pipe.fit(X, kerneldensity__sample_weight=weights, standardscaler__sample_weight=weights)
    scaler = StandardScaler().fit(X, sample_weight=weights)
    np.testing.assert_array_equal(pipe[0].mean_, scaler.mean_)
    kde = KernelDensity(bandwidth=0.5).fit(scaler.transform(X), sample_weight=weights)
    expected = kde.score_samples(scaler.transform(X)) - np.log(scaler.scale_).sum()
    np.testing.assert_allclose(pipe.score_samples(X), expected)


class Grouping(TransformerMixin, BaseEstimator):
    """A transformer that learns what its features stand for, here how many rows there were."""

    def fit(self, X, y=None):
        self.feature_groups_ = [f"{len(X)} rows"]
        return self

    def transform(self, X):
        return np.asarray(X)

    def inverse_transform(self, X):
        return X


class Grouped(GaussianSampler):
    """A model that can be told what its features stand for."""

    def fit(self, X, y=None, *, sample_weight=None, feature_groups=None):
        self.told_ = feature_groups
        return super().fit(X)


def test_what_features_stand_for_is_told_by_the_last_transformer(tmp_path):
    X = skewed()
    for steps in (
        [Grouping(), Grouped()],
        [StandardScaler(), Grouping(), "passthrough", Grouped()],
    ):
        pipe = make_generative_pipeline(*steps).fit(X)
        assert pipe[-1].told_ == ["300 rows"]
        assert pipe.fit(X[:200])[-1].told_ == ["200 rows"]
    cached = make_generative_pipeline(Grouping(), Grouped(), memory=str(tmp_path))
    for _ in range(2):
        assert clone(cached).fit(X)[-1].told_ == ["300 rows"]


def test_what_features_stand_for_is_not_told_where_it_is_not_known_or_not_asked_for():
    X = skewed()
    changed = make_generative_pipeline(Grouping(), StandardScaler(), Grouped()).fit(X)
    assert changed[-1].told_ is None
    assert make_generative_pipeline(Grouped()).fit(X)[-1].told_ is None
    unasked = make_generative_pipeline(Grouping(), GaussianSampler()).fit(X)
    assert unasked.sample(2).shape == (2, 3)


def test_what_the_user_says_of_features_comes_first():
    X = skewed()
    pipe = make_generative_pipeline(Grouping(), Grouped())
    assert pipe.fit(X, grouped__feature_groups=["mine"])[-1].told_ == ["mine"]
    assert pipe.fit(X, grouped__feature_groups=None)[-1].told_ is None
    assert pipe.fit(X)[-1].told_ == ["300 rows"]


def test_what_features_stand_for_needs_no_request_under_metadata_routing():
    X = skewed()
    with config_context(enable_metadata_routing=True):
        pipe = make_generative_pipeline(Grouping(), Grouped())
        assert pipe.fit(X)[-1].told_ == ["300 rows"]
        pipe[-1].set_fit_request(sample_weight=True)
        assert pipe.fit(X, sample_weight=np.ones(300))[-1].told_ == ["300 rows"]
        pipe[-1].set_fit_request(feature_groups=True)
        assert pipe.fit(X, feature_groups=["mine"])[-1].told_ == ["mine"]


def test_each_fold_of_a_search_is_told_of_its_own_features():
    told = []

    class Noting(Grouped):
        def fit(self, X, y=None, *, feature_groups=None):
            told.append(feature_groups)
            return super().fit(X)

    pipe = make_generative_pipeline(Grouping(), Noting())
    GridSearchCV(pipe, {"noting__shrinkage": [0.1]}, cv=3).fit(skewed())
    assert told == [["200 rows"]] * 3 + [["300 rows"]]


# Scores in the units of the input


class ExactMixture(GaussianMixture):
    """A Gaussian mixture that knows its score, Σ_k p(k | x) Λ_k (μ_k - x)."""

    def score_function(self, X):
        towards = self.means_ - np.asarray(X)[:, None]
        pulls = np.einsum("kij,nkj->nki", self.precisions_, towards)
        return np.einsum("nk,nki->ni", self.predict_proba(X), pulls)

    def held_out_nll(self, X, sample_weight=None):
        return -np.average(self.score_samples(X), weights=sample_weight)


def differences(log_density, X, h):
    """Central differences of a function of rows, h an absolute step of each column."""
    gradient = np.empty_like(X)
    for j, step in enumerate(np.broadcast_to(h, X.shape[1])):
        e = step * np.eye(X.shape[1])[j]
        gradient[:, j] = (log_density(X + e) - log_density(X - e)) / (2 * step)
    return gradient


LINEAR = {
    "standard": StandardScaler(),
    "robust": RobustScaler(),
    "whitened": PCA(whiten=True),
    "nested": make_pipeline(StandardScaler(), "passthrough", PCA(whiten=True)),
    "as frames": StandardScaler().set_output(transform="pandas"),
}


@pytest.mark.parametrize("step", LINEAR.values(), ids=LINEAR)
def test_score_of_a_gaussian_after_linear_transforms_is_that_of_a_gaussian(step):
    X = skewed() * [1, 100, 0.01]
    pipe = make_generative_pipeline(step, ExactMixture(1, reg_covar=0)).fit(X)
    expected = -(X - X.mean(0)) @ np.linalg.inv(np.cov(X.T, ddof=0))
    scale = np.abs(expected).max(0)
    np.testing.assert_allclose(pipe.score_function(X) / scale, expected / scale, atol=1e-7)


CURVED = {
    "Yeo-Johnson": PowerTransformer(),
    "Box-Cox": PowerTransformer("box-cox"),
    "not standardised": PowerTransformer(standardize=False),
    "min-max": MinMaxScaler((-2, 5)),
    "max-abs": MaxAbsScaler(),
    "robust": RobustScaler(),
    "nested": make_pipeline(StandardScaler(), PowerTransformer(), PCA(whiten=True)),
    "PCA first": make_pipeline(PCA(), PowerTransformer()),
}


@pytest.mark.parametrize("step", CURVED.values(), ids=CURVED)
def test_score_is_the_gradient_of_the_log_density(step):
    X = skewed()
    pipe = make_generative_pipeline(step, ExactMixture(2, random_state=SEED)).fit(X)
    score = pipe.score_function(X[:50])
    expected = differences(pipe.score_samples, X[:50], 1e-4 * X.std(0))
    np.testing.assert_allclose(score, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_score_of_a_log_normal_is_its_closed_form():
    class Log(FunctionTransformer):
        def log_abs_det_jacobian(self, X):
            return -np.log(X).sum(1)

        def score_before(self, X, score):
            return (score - 1) / X

    X = skewed()
    pipe = make_generative_pipeline(Log(np.log, np.exp), ExactMixture(1, reg_covar=0)).fit(X)
    Z = np.log(X)
    # With z = log x the score is (s_Z(z) - 1)/x.
    normal = -(Z - Z.mean(0)) @ np.linalg.inv(np.cov(Z.T, ddof=0))
    np.testing.assert_allclose(pipe.score_function(X), (normal - 1) / X, rtol=1e-6, atol=1e-6)


def test_score_of_a_lone_final_step_is_its_own():
    X = skewed()
    pipe = make_generative_pipeline(ExactMixture(2, random_state=SEED)).fit(X)
    expected = pipe[-1].score_function(X)
    np.testing.assert_allclose(pipe.score_function(X), expected, rtol=1e-8, atol=1e-10)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("output", ["default", "pandas"])
def test_score_of_a_data_frame_is_that_of_its_numbers(output):
    X = skewed()
    frame = pd.DataFrame(X, columns=["a", "b", "c"], index=np.arange(300) + 7)
    pipe = make_generative_pipeline(PowerTransformer(), ExactMixture(2, random_state=SEED))
    plain = clone(pipe).fit(X)
    pipe.set_output(transform=output).fit(frame)
    # Steps that are given names they do not know, or none where they know some, warn.
    score, nll = pipe.score_function(frame), pipe.held_out_nll(frame)
    assert isinstance(score, np.ndarray)
    np.testing.assert_allclose(score, plain.score_function(X), rtol=1e-8)
    assert nll == pytest.approx(plain.held_out_nll(X), rel=1e-12)


def test_held_out_nll_is_shifted_by_the_mean_log_jacobian_of_the_rows():
    X, held_out = skewed(), skewed(40, seed=1)
    weights = np.random.RandomState(SEED).uniform(size=40) ** 3
    for step in (StandardScaler(), PowerTransformer("box-cox"), "passthrough"):
        pipe = make_generative_pipeline(step, ExactMixture(2, random_state=SEED)).fit(X)
        log_density = pipe.score_samples(held_out)
        for w in (None, weights, list(7.5 * weights)):
            found = pipe.held_out_nll(held_out, sample_weight=w)
            assert isinstance(found, float)
            assert found == pytest.approx(-np.average(log_density, weights=w), rel=1e-12)
    scaled = make_generative_pipeline(StandardScaler(), ExactMixture(1)).fit(X)
    inner = scaled[-1].held_out_nll(scaled[0].transform(held_out))
    shift = np.log(scaled[0].scale_).sum()
    assert scaled.held_out_nll(held_out) == pytest.approx(inner + shift, rel=1e-12)


def test_scores_and_held_out_nll_are_there_only_where_the_last_step_has_them():
    exact = make_generative_pipeline(StandardScaler(), ExactMixture())
    bare = make_generative_pipeline(StandardScaler(), KernelDensity())
    for name in ("score_function", "held_out_nll"):
        assert hasattr(exact, name)
        assert not hasattr(bare, name)
        with pytest.raises(AttributeError, match=f"has no attribute {name!r}"):
            getattr(bare, name)
        with pytest.raises(NotFittedError):
            getattr(exact, name)(skewed())


def test_scores_need_a_transform_whose_jacobian_is_known():
    X = skewed()
    pipe = make_generative_pipeline(PCA(2), ExactMixture()).fit(X)
    for method in (pipe.score_function, pipe.held_out_nll):
        with pytest.raises(ValueError, match=r"step 'pca' \(PCA\): keeps 2 of 3 components"):
            method(X)


@pytest.mark.parametrize("offset", [1e4, 1e8, 1e10])
def test_score_is_as_good_far_from_zero(offset):
    X = offset + np.random.RandomState(SEED).standard_normal((100, 2))
    pipe = make_generative_pipeline(StandardScaler(), ExactMixture(1, reg_covar=0)).fit(X)
    Z = pipe[0].transform(X)
    expected = -(Z - Z.mean(0)) @ np.linalg.inv(np.cov(Z.T, ddof=0)) / pipe[0].scale_
    np.testing.assert_allclose(pipe.score_function(X), expected, rtol=1e-6, atol=1e-9)


def test_score_of_a_row_does_not_depend_on_the_others():
    X = 1e-6 * skewed()
    pipe = make_generative_pipeline(
        PowerTransformer("box-cox"), ExactMixture(2, random_state=SEED)
    ).fit(X)
    together = pipe.score_function(X)
    np.testing.assert_allclose(pipe.score_function(X[:1]), together[:1], rtol=1e-12)
    assert np.isfinite(together).all()


@pytest.mark.parametrize("output", ["uniform", "normal"])
def test_score_through_quantiles_is_the_gradient_between_them(output):
    X, h = skewed(d=2), 1e-7
    step = QuantileTransformer(n_quantiles=20, output_distribution=output)
    pipe = make_generative_pipeline(step, ExactMixture(2, random_state=SEED)).fit(X)
    score, expected = pipe.score_function(X), differences(pipe.score_samples, X, [h, h])
    near = np.isclose(score, expected, rtol=1e-3, atol=1e-2)
    # At a quantile the density jumps.
    between = ~np.isclose(X[:, None], pipe[0].quantiles_, rtol=0, atol=2 * h).any(1)
    assert between.mean() > 0.8
    assert near[between].all()


def test_score_does_not_change_with_transforms_that_overwrite_their_input():
    X = skewed()
    pipes = [
        make_generative_pipeline(
            PowerTransformer(copy=copy), ExactMixture(2, random_state=SEED)
        ).fit(X.copy())
        for copy in (True, False)
    ]
    given = X.copy()
    kept, overwritten = pipes[0].score_function(X), pipes[1].score_function(given)
    np.testing.assert_array_equal(overwritten, kept)
    np.testing.assert_array_equal(given, X)
