import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.base import BaseEstimator, clone
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
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
