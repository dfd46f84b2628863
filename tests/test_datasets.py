import numpy as np
import pytest
from scipy import integrate, stats
from scipy.special import gamma
from sklearn.datasets import make_moons

from skscore.datasets import (
    Banana,
    CorrelatedT,
    Funnel,
    GaussianMixtureDensity,
    TwoMoons,
    gaussian_mixture_1d,
    random_gaussian_mixture,
    ring_of_gaussians,
    two_modes,
)

SEED = 0

DENSITIES = {
    "mixture_1d": gaussian_mixture_1d(),
    "random_mixture": random_gaussian_mixture(4, random_state=0),
    "ring": ring_of_gaussians(),
    "two_modes": two_modes(),
    "two_moons": TwoMoons(),
    "banana": Banana(),
    "banana_3d": Banana(3, curvature=-0.3, scale=1.5),
    "funnel": Funnel(4),
    "narrow_funnel": Funnel(3, scale=1.0),
    "t": CorrelatedT(),
    "t_1d": CorrelatedT(1, df=6.0),
}
QUADRATURE = ["two_moons", "banana", "banana_3d", "funnel", "t", "t_1d"]
# Neal's funnel and its like have moments, but no sample ever shows them.
LIGHT_TAILED = [name for name in DENSITIES if name != "funnel"]


def blurred_rows(density, n, sigma, seed=SEED):
    rng = np.random.RandomState(seed)
    X = density.sample(n, rng)
    return X + np.reshape(sigma, (-1, 1)) * rng.standard_normal(X.shape)


@pytest.mark.parametrize("sigma", [0.0, 0.3, 3.0])
@pytest.mark.parametrize("name", DENSITIES)
def test_score_is_the_gradient_of_the_log_density(name, sigma):
    density, h = DENSITIES[name], 1e-5
    X = blurred_rows(density, 20, sigma)
    score = density.score_function(X, sigma)
    steps = h * np.eye(density.n_features)
    differences = [
        density.log_density(X + step, sigma) - density.log_density(X - step, sigma)
        for step in steps
    ]
    # h² times third derivatives, and rounding of log p over h.
    np.testing.assert_allclose(score, np.stack(differences, 1) / (2 * h), rtol=1e-5, atol=1e-5)


def grid(density, sigma, reach):
    """Points (n, d) and weights (n,) of a trapezoidal rule that holds all of p_σ."""

    def sinh_axis(n, end):
        t = np.linspace(-end, end, n)
        return np.sinh(t), np.cosh(t) * (t[1] - t[0])

    if isinstance(density, Funnel):
        v = np.linspace(-1, 1, 71) * 9 * np.hypot(density.scale, sigma)
        t, w = sinh_axis(101, 6)
        width = np.sqrt(np.exp(v) + sigma**2)
        points = np.stack(np.broadcast_arrays(v[:, None], width[:, None] * t), -1)
        return points.reshape(-1, 2), (width[:, None] * w * (v[1] - v[0])).ravel()
    if isinstance(density, CorrelatedT):
        axis, w = sinh_axis(121, 8)
        axes, weights = [axis] * density.n_features, [w] * density.n_features
    else:
        axis = np.linspace(-1, 1, 101) * (reach + 6 * sigma)
        axes = [axis] * density.n_features
        weights = [np.full(len(axis), axis[1] - axis[0])] * density.n_features
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, density.n_features)
    weights = np.prod(np.meshgrid(*weights, indexing="ij"), axis=0).ravel()
    return points, weights


@pytest.mark.parametrize("sigma", [0.0, 0.5])
@pytest.mark.parametrize(
    ("density", "reach"),
    [
        (gaussian_mixture_1d(), 7),
        (ring_of_gaussians(std=0.2), 3),
        (two_modes(2.0, std=0.5), 5),
        (TwoMoons(0.15), 3),
        (Banana(scale=1.0), 18),
        (Funnel(2, scale=1.5), None),
        (CorrelatedT(1, df=6.0), None),
        (CorrelatedT(2, df=6.0), None),
    ],
)
def test_integrates_to_one_and_samples_follow_it(density, reach, sigma):
    points, weights = grid(density, sigma, reach)
    log_p = density.log_density(points, sigma)
    mass = weights * np.exp(log_p)
    np.testing.assert_allclose(mass.sum(), 1, atol=1e-6)
    # E log p, by quadrature and over samples.
    of_samples = density.log_density(blurred_rows(density, 4000, sigma), sigma)
    error = stats.sem(of_samples)
    assert abs(of_samples.mean() - mass @ log_p) < 5 * error


@pytest.mark.parametrize("sigma", [0.0, 0.5])
@pytest.mark.parametrize("name", LIGHT_TAILED)
def test_stein_identity(name, sigma):
    density = DENSITIES[name]
    X = blurred_rows(density, 3000 if sigma else 8000, sigma)
    products = density.score_function(X, sigma)[:, :, None] * X[:, None]
    gap = products.mean(0) + np.eye(density.n_features)
    assert np.all(np.abs(gap) < 5 * stats.sem(products))


@pytest.mark.parametrize("name", LIGHT_TAILED)
def test_moments(name):
    density = DENSITIES[name]
    X = density.sample(40_000, SEED)
    assert np.all(np.abs(X.mean(0) - density.mean) < 5 * stats.sem(X))
    centred = X - density.mean
    products = centred[:, :, None] * centred[:, None]
    assert np.all(np.abs(products.mean(0) - density.covariance) < 5 * stats.sem(products))


@pytest.mark.parametrize("name", LIGHT_TAILED)
def test_blurring_is_the_mean_over_clean_samples(name):
    density, sigma = DENSITIES[name], 1.5
    X, clean = blurred_rows(density, 4, sigma), density.sample(40_000, SEED + 1000)
    kernel = np.exp(
        -0.5 * ((X[:, None] - clean) ** 2).sum(-1) / sigma**2
        - density.n_features * np.log(np.sqrt(2 * np.pi) * sigma)
    )
    gap = kernel.mean(1) - np.exp(density.log_density(X, sigma))
    assert np.all(np.abs(gap) < 5 * stats.sem(kernel, axis=1))


def normal_pdf(x, mean, std):
    return np.exp(-0.5 * ((x - mean) / std) ** 2) / (np.sqrt(2 * np.pi) * std)


def banana_oracle(density, x, sigma):
    s, b = density.scale, density.curvature

    def integrand(u):
        rest = normal_pdf(x[2:], 0, np.hypot(1, sigma)).prod()
        bent = normal_pdf(x[1], b * (u**2 - s**2), np.hypot(1, sigma))
        return normal_pdf(u, 0, s) * normal_pdf(x[0], u, sigma) * bent * rest

    return integrand, np.linspace(-12 * s, 12 * s, 30)


def funnel_oracle(density, x, sigma):
    def integrand(v):
        rest = normal_pdf(x[1:], 0, np.sqrt(np.exp(v) + sigma**2)).prod()
        return normal_pdf(v, 0, density.scale) * normal_pdf(x[0], v, sigma) * rest

    return integrand, np.linspace(-12 * density.scale, 12 * density.scale, 40)


def t_oracle(density, x, sigma):
    d = density.n_features
    shape = np.full((d, d), density.correlation) + (1 - density.correlation) * np.eye(d)

    def integrand(log_w):
        w = np.exp(log_w)
        covariance = w * shape + sigma**2 * np.eye(d)
        half = density.df / 2  # of log w, where df / w is chi-squared
        prior = (half / w) ** half * np.exp(-half / w) / gamma(half)
        square = x @ np.linalg.solve(covariance, x)
        return prior * np.exp(-0.5 * square) / np.sqrt(np.linalg.det(2 * np.pi * covariance))

    return integrand, np.linspace(-6, 15, 40)


def two_moons_oracle(density, x, sigma):
    noise = np.hypot(density.noise, sigma)

    def integrand(t):
        upper, lower = [np.cos(t), np.sin(t)], [1 - np.cos(t), 0.5 - np.sin(t)]
        arcs = [normal_pdf(x, point, noise).prod() for point in (upper, lower)]
        return sum(arcs) / (2 * np.pi)

    return integrand, np.linspace(0, np.pi, 20)


ORACLES = {
    "two_moons": two_moons_oracle,
    "banana": banana_oracle,
    "banana_3d": banana_oracle,
    "funnel": funnel_oracle,
    "t": t_oracle,
    "t_1d": t_oracle,
}


@pytest.mark.parametrize("sigma", [0.1, 1.0])
@pytest.mark.parametrize("name", QUADRATURE)
def test_quadrature_against_adaptive_integration(name, sigma):
    density = DENSITIES[name]
    X = blurred_rows(density, 2, sigma)
    expected = []
    for x in X:
        integrand, nodes = ORACLES[name](density, x, sigma)
        parts = [
            integrate.quad(integrand, lo, hi, epsabs=1e-20, epsrel=1e-11, limit=200)[0]
            for lo, hi in zip(nodes[:-1], nodes[1:], strict=True)
        ]
        expected.append(np.log(sum(parts)))
    np.testing.assert_allclose(density.log_density(X, sigma), expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", QUADRATURE)
def test_a_vanishing_blur_is_no_blur(name):
    density = DENSITIES[name]
    X = density.sample(50, SEED)
    for method in (density.log_density, density.score_function):
        np.testing.assert_allclose(method(X, 1e-7), method(X), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", QUADRATURE)
@pytest.mark.parametrize("sigma", [1e-3, 1.0, 30.0])
def test_far_points_stay_finite_and_point_home(name, sigma):
    density = DENSITIES[name]
    X = 40 * np.random.RandomState(SEED).standard_normal((50, density.n_features))
    assert np.all(np.isfinite(density.log_density(X, sigma)))
    assert np.all(np.isfinite(density.score_function(X, sigma)))
    if sigma == 30.0 and name in {"two_moons", "banana", "banana_3d"}:  # nearly N(0, σ² I) there
        assert np.all((density.score_function(X, sigma) * X).sum(1) < 0)


def test_blurred_mixture_is_the_mixture_with_wider_components():
    density, sigma = random_gaussian_mixture(3, random_state=SEED), 0.7
    X = blurred_rows(density, 50, sigma)
    wider = density.covariances + sigma**2 * np.eye(3)
    components = zip(density.weights, density.means, wider, strict=True)
    p = sum(w * stats.multivariate_normal.pdf(X, m, c) for w, m, c in components)
    np.testing.assert_allclose(density.log_density(X, sigma), np.log(p), rtol=1e-10)
    blurred = GaussianMixtureDensity(density.weights, density.means, wider)
    np.testing.assert_allclose(
        density.score_function(X, sigma), blurred.score_function(X), rtol=1e-9, atol=1e-12
    )


def test_student_t_against_scipy():
    density = CorrelatedT(3, df=4.0, correlation=-0.3)
    X = density.sample(50, SEED)
    shape = np.where(np.eye(3, dtype=bool), 1, -0.3)
    expected = stats.multivariate_t.logpdf(X, np.zeros(3), shape, df=4.0)
    np.testing.assert_allclose(density.log_density(X), expected, rtol=1e-10)


def test_two_moons_lie_where_scikit_learn_puts_them():
    X, _ = make_moons(200, noise=None)
    on_the_arc = -np.log(2 * np.pi * np.sqrt(2 * np.pi) * 0.01)
    gap = TwoMoons(0.01).log_density(X) - on_the_arc
    assert np.all(gap > -np.log(2) - 0.01)  # half the density at the ends of an arc
    assert np.all(gap < 0.01)


@pytest.mark.parametrize("name", DENSITIES)
def test_one_sigma_a_row(name):
    density = DENSITIES[name]
    sigma = np.array([0.0, 0.2, 0.0, 2.0])
    X = blurred_rows(density, 4, sigma)
    for shape in [(4,), (4, 1)]:
        log_p = density.log_density(X, sigma.reshape(shape))
        score = density.score_function(X, sigma.reshape(shape))
        for i in range(4):
            np.testing.assert_allclose(
                log_p[i], density.log_density(X[[i]], sigma[i])[0], rtol=1e-12
            )
            np.testing.assert_allclose(
                score[i], density.score_function(X[[i]], sigma[i])[0], rtol=1e-9, atol=1e-12
            )


def test_many_rows_are_evaluated_like_few():
    density, X = Banana(), Banana().sample(5000, SEED)
    np.testing.assert_allclose(
        density.log_density(X, 0.5)[-3:], density.log_density(X[-3:], 0.5), rtol=1e-12
    )


@pytest.mark.parametrize("name", DENSITIES)
def test_seeds(name):
    density = DENSITIES[name]
    X = density.sample(10, random_state=7)
    assert X.shape == (10, density.n_features)
    assert X.dtype == np.float64
    np.testing.assert_array_equal(X, density.sample(10, random_state=7))
    assert not np.any(X == density.sample(10, random_state=8))
    rng = np.random.RandomState(7)
    np.testing.assert_array_equal(X, density.sample(10, rng))
    assert not np.any(X == density.sample(10, rng))
    assert not np.any(density.sample(10) == density.sample(10))


def test_random_mixtures_follow_their_seed():
    X = np.zeros((1, 3))
    first, again, other = (random_gaussian_mixture(3, random_state=s) for s in (1, 1, 2))
    assert first.log_density(X) == again.log_density(X)
    assert first.log_density(X) != other.log_density(X)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TwoMoons(noise=0.0), "noise=0.0 is not a positive finite number"),
        (lambda: TwoMoons(noise="a"), "noise='a' is not a positive finite number"),
        (lambda: Banana(1), "n_features=1 is not an integer of at least 2"),
        (lambda: Banana(scale=-1.0), "scale=-1.0"),
        (lambda: Banana(curvature=np.inf), "curvature=inf"),
        (lambda: Funnel(2.5), "n_features=2.5"),
        (lambda: Funnel(2, scale=np.nan), "scale=nan"),
        (lambda: CorrelatedT(0), "n_features=0"),
        (lambda: CorrelatedT(df=0.0), "df=0.0"),
        (lambda: CorrelatedT(3, correlation=-0.5), "between -0.5 and 1"),
        (lambda: CorrelatedT(df=2.0).covariance, "only for df > 2"),
        (lambda: ring_of_gaussians(0), "n_components=0"),
        (lambda: ring_of_gaussians(std=0.0), "std=0.0"),
        (lambda: two_modes(weights=(0.8, 0.1)), "must sum to 1"),
        (lambda: two_modes(distance=0), "distance=0"),
        (lambda: random_gaussian_mixture(0), "n_features=0"),
        (lambda: GaussianMixtureDensity([1.0], [[0.0], [1.0]], [1.0]), "do not agree"),
        (lambda: GaussianMixtureDensity([1.5, -0.5], [0, 1], [1, 1]), "must not be negative"),
        (lambda: GaussianMixtureDensity([1.0], [0.0], [[1.0, 2.0]]), r"give \(1,\) or \(1, 1, 1\)"),
        (lambda: GaussianMixtureDensity([1.0], [0.0], [-1.0]), "positive definite"),
        (lambda: GaussianMixtureDensity([1], [[0, 0]], [[[1, 0.5], [0, 1]]]), "symmetric"),
        (lambda: Banana().sample(0), "n_samples=0"),
        (lambda: Banana().log_density(np.zeros((3, 5))), "X has 5 columns, but this Banana has 2"),
        (lambda: Banana().log_density(np.zeros((3, 2)), -1.0), "at least 0"),
        (lambda: Banana().log_density(np.zeros((3, 2)), np.inf), "finite"),
        (lambda: Banana().log_density(np.zeros((3, 2)), [0.1, 0.2]), r"shape \(2,\)"),
        (lambda: Banana().log_density([[0.0, np.nan]]), "NaN"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
