import numpy as np
import pytest
from scipy import stats
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA, IncrementalPCA
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
)

from skscore._jacobian import push_forward
from skscore.pipeline import GenerativePipeline, log_abs_det_jacobian, make_generative_pipeline

SEED = 0


class Cubic(TransformerMixin, BaseEstimator):
    """z = x + x³, which knows its own Jacobian; its inverse is not needed."""

    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        return X + X**3

    def log_abs_det_jacobian(self, X):
        return np.log1p(3 * X**2).sum(1)


def skewed(n=300, d=3, seed=SEED):
    rng = np.random.RandomState(seed)
    X = rng.standard_normal((n, d)) @ (np.eye(d) + 0.5 * rng.standard_normal((d, d)))
    return np.exp(0.4 * X) + 0.1


def integrate(log_density, edges):
    """∫ exp(log_density), one dimension, with eight Gauss-Legendre nodes between edges."""
    nodes, weights = np.polynomial.legendre.leggauss(8)
    half = np.diff(edges)[:, None] / 2
    points = edges[:-1, None] + half * (1 + nodes)
    return (half * weights).ravel() @ np.exp(log_density(points.reshape(-1, 1)))


TRANSFORMS = {
    "standard": StandardScaler(),
    "mean only": StandardScaler(with_std=False),
    "min-max": MinMaxScaler(feature_range=(-2, 5)),
    "max-abs": MaxAbsScaler(),
    "robust": RobustScaler(unit_variance=True),
    "centre only": RobustScaler(with_scaling=False),
    "yeo-johnson": PowerTransformer(),
    "yeo-johnson raw": PowerTransformer(standardize=False),
    "box-cox": PowerTransformer("box-cox"),
    "box-cox raw": PowerTransformer("box-cox", standardize=False),
    "uniform": QuantileTransformer(n_quantiles=20),
    "normal": QuantileTransformer(n_quantiles=20, output_distribution="normal"),
    "rotation": PCA(),
    "whitening": PCA(whiten=True),
    "incremental": IncrementalPCA(whiten=True),
    "identity": FunctionTransformer(),
    "own method": Cubic(),
    "nested": make_pipeline(RobustScaler(), "passthrough", PowerTransformer(), PCA()),
    "standard, pandas": StandardScaler().set_output(transform="pandas"),
}
INVERTIBLE = [name for name in TRANSFORMS if name != "own method"]


@pytest.mark.parametrize("name", TRANSFORMS)
def test_jacobian_against_finite_differences(name):
    X, h = skewed(), 1e-6
    step = clone(TRANSFORMS[name]).fit(X)
    rows = np.median(X, 0) * np.random.RandomState(SEED).uniform(0.6, 1.5, (20, 3))
    transformed, added = push_forward([("step", step)], rows)
    np.testing.assert_array_equal(transformed, step.transform(rows))
    for row, got in zip(rows, added, strict=True):
        ahead, behind = (np.asarray(step.transform(row + s * h * np.eye(3))) for s in (1, -1))
        jacobian = (ahead - behind) / (2 * h)
        np.testing.assert_allclose(got, np.linalg.slogdet(jacobian)[1], rtol=1e-5, atol=1e-6)


def test_yeo_johnson_on_both_sides_of_zero():
    X = np.random.RandomState(SEED).standard_normal((200, 1)) ** 3
    step, h = PowerTransformer().fit(X), 1e-6
    rows = np.array([[-2.0], [-0.5], [0.5], [2.0]])
    slope = (step.transform(rows + h) - step.transform(rows - h)) / (2 * h)
    np.testing.assert_allclose(log_abs_det_jacobian(step, rows), np.log(slope[:, 0]), rtol=1e-6)


@pytest.mark.parametrize(
    "step",
    [
        StandardScaler(),
        PowerTransformer(),
        PowerTransformer("box-cox"),
        QuantileTransformer(n_quantiles=30, output_distribution="normal"),
        PCA(whiten=True),
    ],
    ids=lambda step: type(step).__name__,
)
@pytest.mark.parametrize(
    "final", [GaussianMixture(2, random_state=0), KernelDensity(bandwidth=0.3)]
)
def test_densities_integrate_to_one(step, final):
    X = skewed(400, 1)
    pipe = make_generative_pipeline(clone(step), clone(final)).fit(X)
    lowest = 1e-9 if getattr(step, "method", "") == "box-cox" else -2.0
    # The density jumps at the quantiles, and rises steeply to the first and from the last.
    ends = np.ptp(X) * np.geomspace(1e-12, 0.1, 40)
    quantiles = getattr(pipe[0], "quantiles_", X)[:, 0]
    kinks = [quantiles, X.min() + ends, X.max() - ends]
    edges = np.unique(np.concatenate([np.linspace(lowest, 40, 2000), *kinks]))
    # A power transform need not reach every number, and quantiles end at Φ⁻¹(1e-7).
    first, last = np.clip(pipe[0].transform(edges[[0, -1], None])[:, 0], -30, 30)
    reached = integrate(pipe[-1].score_samples, np.linspace(first, last, 1000))
    assert reached > 0.99
    if isinstance(step, QuantileTransformer):  # the probabilities clipped at either end
        clipped = 1e-7 / stats.norm.pdf(first)
        reached += clipped * np.exp(pipe[-1].score_samples([[first], [last]])).sum()
    np.testing.assert_allclose(integrate(pipe.score_samples, edges), reached, atol=1e-5)


@pytest.mark.parametrize("name", ["standard", "min-max", "robust", "rotation", "whitening"])
def test_a_gaussian_does_not_notice_affine_transforms(name):
    X, final = skewed(), GaussianMixture(reg_covar=0)
    pipe = make_generative_pipeline(clone(TRANSFORMS[name]), clone(final)).fit(X)
    direct = clone(final).fit(X)
    np.testing.assert_allclose(pipe.score_samples(X), direct.score_samples(X), rtol=0, atol=1e-6)


def test_a_change_of_units_shifts_the_log_density():
    X = skewed()
    pipe = make_generative_pipeline(StandardScaler(), KernelDensity(bandwidth=0.5))
    in_metres = clone(pipe).fit(X).score_samples(X)
    in_millimetres = clone(pipe).fit(1000 * X).score_samples(1000 * X)
    np.testing.assert_allclose(in_millimetres, in_metres - 3 * np.log(1000), rtol=0, atol=1e-6)


@pytest.mark.parametrize("step", [StandardScaler(), MinMaxScaler(), RobustScaler()])
def test_constant_columns_follow_the_scale_of_the_scaler(step):
    X = np.column_stack([skewed(d=1), np.full(300, 7.0)])
    both, first = clone(step).fit(X), clone(step).fit(X[:, :1])
    np.testing.assert_allclose(log_abs_det_jacobian(both, X), log_abs_det_jacobian(first, X[:, :1]))


def test_quantiles_at_the_edges():
    X = np.array([[0.0], [1.0], [3.0], [3.0], [4.0]])
    step = QuantileTransformer(n_quantiles=5).fit(X)
    rows = np.array([[-0.1], [0.0], [0.5], [1.0], [2.0], [3.0], [3.5], [4.0], [4.1]])
    quarter, eighth = np.log(0.25), np.log(0.125)
    knot = np.log((0.25 + 0.125) / 2)
    expected = [-np.inf, quarter, quarter, knot, eighth, np.inf, quarter, quarter, -np.inf]
    np.testing.assert_allclose(log_abs_det_jacobian(step, rows), expected)
    # At a knot the central difference is the mean of both slopes, as well.
    slope = np.diff(step.transform([[1 - 1e-6], [1 + 1e-6]]), axis=0) / 2e-6
    np.testing.assert_allclose(np.log(slope), knot, rtol=1e-6)
    normal = QuantileTransformer(n_quantiles=5, output_distribution="normal").fit(X)
    inside = (rows >= 0) & (rows <= 4) & (rows != 3)
    assert np.all(np.isfinite(log_abs_det_jacobian(normal, rows)) == inside[:, 0])


def test_in_place_transforms_do_not_disturb_the_jacobian():
    X = skewed()
    pipe = make_generative_pipeline(PowerTransformer(copy=False), KernelDensity()).fit(X.copy())
    expected = make_generative_pipeline(PowerTransformer(), KernelDensity()).fit(X)
    np.testing.assert_allclose(pipe.score_samples(X.copy()), expected.score_samples(X))


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (SplineTransformer(), r"'t' \(SplineTransformer\): log \|det J\| .* is not known; give it"),
        (MinMaxScaler(clip=True), r"'t' \(MinMaxScaler\): clip=True"),
        (PCA(2), r"'t' \(PCA\): keeps 2 of 3 components"),
        (FunctionTransformer(np.log), r"'t' \(FunctionTransformer\): .* of func is not known"),
    ],
)
def test_transforms_without_a_jacobian_are_named(step, message):
    X = skewed()
    pipe = GenerativePipeline([("t", step), ("kde", KernelDensity())]).fit(X)
    with pytest.raises(ValueError, match=message):
        pipe.score_samples(X)


def test_a_transformer_can_be_registered():
    class Doubler(TransformerMixin, BaseEstimator):
        def fit(self, X, y=None):
            return self

        def transform(self, X):
            return 2 * X

        def __sklearn_is_fitted__(self):
            return True

    log_abs_det_jacobian.register(Doubler)(lambda step, X: np.full(len(X), 3 * np.log(2)))
    X = skewed()
    _, log_det = push_forward([("double", Doubler()), ("again", Doubler())], X)
    np.testing.assert_allclose(log_det, 6 * np.log(2))
