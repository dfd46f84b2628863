"""The density of one column, against closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm, poisson

from skscore.datasets import gaussian_mixture_1d
from skscore.tabular._marginals import Marginal
from skscore.tabular._quantiles import QuantileMap

SEED = 0
FAST = settings(max_examples=100, deadline=None, derandomize=True)
NUMBERS = st.one_of(
    st.floats(-1e12, 1e12),
    st.integers(-20, 20).map(float),
    st.floats(-5, 5).map(lambda x: round(x, 1)),
)


def marginal_of(x, **params):
    return Marginal.of(QuantileMap.fit(x.astype(float), dtype=x.dtype, **params))


def normals(n, seed=SEED):
    return np.random.RandomState(seed).standard_normal(n)


@pytest.mark.parametrize(("n", "bound"), [(200, 0.1), (1000, 0.05), (10_000, 0.02), (60_000, 0.01)])
def test_the_density_is_near_the_truth_and_nearer_with_more_rows(n, bound):
    density = gaussian_mixture_1d()
    found = marginal_of(density.sample(n, random_state=0)[:, 0], tails="pareto")
    test = density.sample(4000, random_state=1)
    log_f = found.evaluate(test[:, 0])[0]
    inside = np.isfinite(log_f)
    assert inside.mean() > 0.98
    assert 0 < (density.log_density(test) - log_f)[inside].mean() < bound


@pytest.mark.parametrize("tails", ["clip", "pareto"])
def test_a_continuous_column_has_all_mass_but_that_of_its_ends(tails):
    found = marginal_of(normals(500), tails=tails)
    knots = np.concatenate([found.x, [-15.0, 15.0]])
    total = sum(
        quad(lambda x: np.exp(found.evaluate(np.array([x]))[0][0]), a, b)[0]
        for a, b in zip(np.sort(knots)[:-1], np.sort(knots)[1:], strict=True)
    )
    # Where it ends, the outermost value stands for half a row beyond it.
    assert total == pytest.approx(1 if tails == "pareto" else 1 - 1 / 500, abs=1e-3)


def test_the_density_is_the_slope_of_the_distribution_function():
    found = marginal_of(normals(500), tails="pareto")
    x, h = np.array([-4.0, -2.5, 0.0, 1.0, 3.7]), 1e-7
    log_f, lower, upper = found.evaluate(x)
    np.testing.assert_array_equal(lower, upper)
    slope = (found.evaluate(x + h)[1] - found.evaluate(x - h)[1]) / (2 * h)
    np.testing.assert_allclose(np.exp(log_f), slope, rtol=1e-4)


def test_nothing_lies_beyond_the_outermost_values_without_a_tail():
    x = normals(300)
    log_f = marginal_of(x).evaluate(np.array([x.min() - 1, x.min(), x.max(), x.max() + 1]))[0]
    assert np.isfinite(log_f).tolist() == [False, True, True, False]


@pytest.mark.parametrize("factor", [8.0, -0.25])
def test_units_change_the_density_by_their_width(factor):
    x, test = normals(400), np.linspace(-2, 2, 50)
    before, after = marginal_of(x), marginal_of(factor * x + 64)
    log_f, lower, _ = before.evaluate(test)
    scaled, u, _ = after.evaluate(factor * test + 64)
    np.testing.assert_allclose(scaled, log_f - np.log(abs(factor)), atol=1e-9)
    np.testing.assert_allclose(u if factor > 0 else 1 - u, lower, atol=1e-9)


def test_repeated_rows_count_as_weights_do():
    x = normals(300)
    weights = np.random.RandomState(1).randint(1, 4, 300)
    test = np.linspace(-2, 2, 50)
    weighted = Marginal.of(QuantileMap.fit(x, weights.astype(float)))
    repeated = Marginal.of(QuantileMap.fit(np.repeat(x, weights)))
    for a, b in zip(weighted.evaluate(test), repeated.evaluate(test), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_integers_have_their_probabilities():
    x = np.random.RandomState(0).poisson(3, 4000)
    k = np.arange(-1, 30)
    log_f, lower, upper = marginal_of(x).evaluate(k.astype(float))
    p = np.exp(log_f)
    assert p.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(p, upper - lower, atol=1e-15)
    shares = np.array([(x == value).mean() for value in k])
    common = shares > 0.05
    np.testing.assert_allclose(p[common], shares[common], atol=1e-12)
    np.testing.assert_allclose(p, poisson.pmf(k, 3), atol=0.02)


def test_integers_that_never_come_between_common_ones_have_no_probability():
    x = np.repeat([1, 5, 8], 100)
    p = np.exp(marginal_of(x).evaluate(np.arange(12.0))[0])
    np.testing.assert_allclose(p, [0, 1 / 3, 0, 0, 0, 1 / 3, 0, 0, 1 / 3, 0, 0, 0], atol=1e-12)
    # The steps of these are 4 wide, and a density is one per unit.
    p = np.exp(marginal_of(np.repeat([1, 5, 9], 100)).evaluate(np.array([1.0, 5.0, 9.0]))[0])
    np.testing.assert_allclose(4 * p, 1 / 3, atol=1e-12)


def test_a_rounded_column_has_the_density_of_its_cells():
    x = np.round(5 + normals(4000), 1)
    found = marginal_of(x)
    test = np.array([4.0, 5.0, 5.04, 6.1])
    log_f = found.evaluate(test)[0]
    assert log_f[1] == log_f[2]
    np.testing.assert_allclose(log_f, norm.logpdf(np.round(test, 1) - 5), atol=0.25)
    cells = np.round(np.arange(0, 10, 0.1), 1)
    assert np.exp(found.evaluate(cells)[0]).sum() * 0.1 == pytest.approx(1, abs=1e-9)


def test_a_rounded_column_of_many_steps_is_smoothed():
    x = np.round(1000 * np.exp(normals(2000)), 2)
    log_f = marginal_of(x).evaluate(np.array([500.0, 1000.0, 1000.01, 3000.0]))[0]
    truth = norm.logpdf(np.log([0.5, 1, 1, 3])) - np.log([500, 1000, 1000, 3000])
    np.testing.assert_allclose(log_f, truth, atol=0.5)


def test_a_common_value_in_a_column_without_steps_has_no_density():
    x = np.where(np.random.RandomState(0).random_sample(500) < 0.3, 0.0, normals(500))
    with pytest.raises(ValueError, match=r"holds the value 0 in 0\.3\d? of its rows"):
        marginal_of(x)
    # A few equal values are no atom.
    marginal_of(np.concatenate([normals(500), normals(3)]))


@pytest.mark.parametrize("n", [2, 3, 7, 20])
def test_few_rows_are_enough(n):
    x = normals(n)
    log_f = marginal_of(x).evaluate(np.sort(x))[0]
    assert np.isfinite(log_f).all()


def test_kept_quantiles_of_a_long_column_do():
    x = normals(50_000)
    few = marginal_of(x, max_stored_values=500)
    test = np.linspace(-2, 2, 50)
    np.testing.assert_allclose(few.evaluate(test)[0], norm.logpdf(test), atol=0.3)
    assert abs((few.evaluate(test)[0] - norm.logpdf(test)).mean()) < 0.05


@FAST
@given(st.lists(NUMBERS, min_size=2, max_size=60), st.sampled_from(["clip", "pareto"]))
def test_every_value_of_any_column_has_a_density(values, tails):
    x = np.array(values)
    if len(np.unique(x)) < 2:
        return
    try:
        found = marginal_of(x, tails=tails)
    except ValueError as error:
        assert "no density exists" in str(error)
        return
    assert (np.diff(found.x) > 0).all()
    assert (np.diff(found.u) >= 0).all()
    log_f, lower, upper = found.evaluate(np.concatenate([x, x + 0.3, [-1e308, 1e308]]))
    assert np.isfinite(log_f[: len(x)]).all()
    assert not np.isnan(log_f).any()
    assert (lower <= upper).all()
