"""The map between values and probabilities, against closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri
from scipy.stats import genpareto

from skscore.tabular._quantiles import ParetoTail, QuantileMap, fit_tail
from skscore.tabular._rounding import find_rounding

FAST = settings(max_examples=50, deadline=None, derandomize=True)
FINITE = st.floats(allow_nan=False, allow_infinity=False)


def back_and_forth(quantile_map, x, V):
    lower, upper = quantile_map.intervals(x)
    z = ndtri((lower + V * (upper - lower)).clip(1e-12, 1 - 1e-12))
    return quantile_map.quantiles(ndtr(z))


def test_single_values_lie_in_the_middle_of_their_jump():
    x = np.random.RandomState(0).permutation(np.exp(np.arange(10.0)))
    lower, upper = QuantileMap.fit(x).intervals(np.sort(x))
    np.testing.assert_allclose(lower, (np.arange(10) + 0.5) / 10, rtol=1e-15)
    np.testing.assert_array_equal(lower, upper)


def test_repeated_values_have_their_jump():
    lower, upper = QuantileMap.fit(np.array([0, 0, 0, 1, 5, 5.0])).intervals(np.array([0, 1, 5.0]))
    # 1e-7 of the jump is left free on both sides.
    np.testing.assert_allclose(lower, [0, 3.5 / 6, 4 / 6], atol=1e-7)
    np.testing.assert_allclose(upper, [3 / 6, 3.5 / 6, 1], atol=1e-7)
    assert lower[0] > 0
    assert upper[2] < 1


def test_between_single_values_the_map_is_a_line():
    quantile_map = QuantileMap.fit(np.array([0.0, 1.0, np.pi]))
    u = np.array([0.1, 1 / 6, 1 / 3, 2 / 3, 0.99])
    np.testing.assert_allclose(
        quantile_map.quantiles(u), [0, 0, 0.5, (1 + np.pi) / 2, np.pi], rtol=1e-14
    )
    lower, upper = quantile_map.intervals(np.array([0.5]))
    np.testing.assert_allclose([lower, upper], 1 / 3)


def test_a_new_value_without_probability_counts_as_the_nearer_of_its_neighbours():
    quantile_map = QuantileMap.fit(np.array([1, 1, 5, 5.0]))
    lower, upper = quantile_map.intervals(np.array([2.0, 4.0, -7.0, 9.0]))
    np.testing.assert_allclose(lower, [0, 0.5, 0, 0.5], atol=1e-7)
    np.testing.assert_allclose(upper, [0.5, 1, 0.5, 1], atol=1e-7)


@FAST
@given(st.lists(FINITE, min_size=2, max_size=30), st.integers(0, 2**31 - 1))
def test_values_come_back_exactly(values, seed):
    x = np.array(values)
    if len(np.unique(x)) < 2:
        return
    V = np.random.RandomState(seed).random_sample(len(x))
    quantile_map = QuantileMap.fit(x)
    for draw in (V, np.zeros(len(x)), np.ones(len(x))):
        np.testing.assert_array_equal(back_and_forth(quantile_map, x, draw), x)


@FAST
@given(st.lists(FINITE, min_size=2, max_size=30), st.lists(st.floats(0, 1), max_size=20))
def test_quantiles_ascend_within_the_range_of_the_data(values, u):
    x = np.array(values)
    u = np.sort(np.array([0.0, *u, 1.0]))
    drawn = QuantileMap.fit(x).quantiles(u)
    assert (drawn[1:] >= drawn[:-1]).all()
    assert x.min() <= drawn[0]
    assert drawn[-1] <= x.max()


@pytest.mark.parametrize("n", [10, 1000, 1_000_000])
def test_the_round_trip_is_exact_whatever_the_number_of_rows(n):
    rng = np.random.RandomState(0)
    x = np.where(rng.random_sample(n) < 0.5, rng.randint(0, 5, n), rng.standard_cauchy(n))
    quantile_map = QuantileMap.fit(x, max_stored_values=n)
    np.testing.assert_array_equal(back_and_forth(quantile_map, x, rng.random_sample(n)), x)


def test_uniform_draws_come_back_as_the_data_were():
    rng = np.random.RandomState(0)
    x = np.where(rng.random_sample(2000) < 0.3, 0.0, rng.exponential(size=2000).clip(0.1, 2))
    drawn = QuantileMap.fit(x).quantiles(rng.random_sample(100_000))
    for value in (0.0, 0.1, 2.0):
        share = np.mean(x == value)
        standard_error = np.sqrt(share * (1 - share) / len(drawn))
        assert abs(np.mean(drawn == value) - share) < 3 * standard_error
    assert abs(drawn.mean() - x.mean()) < 3 * x.std() / np.sqrt(len(drawn)) + 1 / len(x)


def test_integer_weights_are_repetitions():
    x, w = np.array([0.5, 1.5, 7.0, 2.5]), np.array([1.0, 3.0, 1.0, 2.0])
    weighted, repeated = QuantileMap.fit(x, w), QuantileMap.fit(np.repeat(x, w.astype(int)))
    np.testing.assert_array_equal(weighted.lower, repeated.lower)
    np.testing.assert_array_equal(weighted.upper, repeated.upper)
    assert (weighted.upper > weighted.lower).tolist() == [False, True, True, False]


def test_other_weights_are_shares_of_single_values():
    lower, upper = QuantileMap.fit(np.array([3.0, 1.0, 2.0]), np.array([0.5, 2.5, 1.0])).intervals(
        np.array([1.0, 2.0, 3.0])
    )
    np.testing.assert_allclose(lower, [1.25 / 4, 3 / 4, 3.75 / 4])
    np.testing.assert_array_equal(lower, upper)


@pytest.mark.parametrize("most", [4, 100, 1000])
def test_no_more_values_are_stored_than_allowed(most):
    rng = np.random.RandomState(0)
    x = np.where(rng.random_sample(20_000) < 0.3, 0.0, rng.standard_normal(20_000))
    quantile_map = QuantileMap.fit(x, max_stored_values=most)
    assert len(quantile_map.values) <= most
    assert quantile_map.values[0] == x.min()
    assert quantile_map.values[-1] == x.max()
    back = back_and_forth(quantile_map, x, rng.random_sample(len(x)))
    assert (back[x == 0] == 0).all()
    gap = np.diff(quantile_map.values).max()
    np.testing.assert_allclose(back, x, atol=1e-10 * gap, rtol=0)


def test_rounded_values_come_back_exactly_though_not_all_are_stored():
    rng = np.random.RandomState(0)
    cents = np.round(rng.lognormal(8, 2, 30_000), 2)
    quantile_map = QuantileMap.fit(cents, max_stored_values=500)
    back = back_and_forth(quantile_map, cents, rng.random_sample(len(cents)))
    np.testing.assert_array_equal(back, cents)


def test_the_heaviest_values_are_kept():
    x = np.repeat(np.arange(100.0), np.arange(1, 101))
    kept = QuantileMap.fit(x, max_stored_values=20).values
    assert set(range(90, 100)) <= set(kept)


@pytest.mark.parametrize(
    ("values", "dtype", "step"),
    [
        (np.arange(50.0), np.int64, 1),
        (np.array([10, 30, 40, 70, 20.0]), np.int16, 10),
        (np.array([3, 1007.0]), np.uint8, 1),
        (np.array([0.25, 0.5, 1.75, 2.25, 3.0]), np.float64, 0.25),
        (np.array([0.1, 0.3, 12.7, 1501.1, 7000.2]), np.float64, 0.1),
        (np.array([0.1, 0.3, 12.7, 1501.1]).astype(np.float32), np.float32, 0.1),
        (np.random.RandomState(0).standard_normal(50), np.float64, 0),
        (np.random.RandomState(0).standard_normal(50).astype(np.float32), np.float32, 0),
        # All doubles are integers there.
        (np.random.RandomState(0).standard_normal(50) * 1e300, np.float64, 0),
        (np.random.RandomState(0).standard_normal(50) * 1e17, np.float64, 0),
        (np.array([-1.7e308, 1.7e308, 0.1]), np.float64, 0),
    ],
)
def test_steps_are_found(values, dtype, step):
    assert find_rounding(np.asarray(values, dtype=np.float64), dtype).step == pytest.approx(step)


def test_what_is_drawn_between_rounded_values_is_rounded_too():
    rng = np.random.RandomState(0)
    x = np.round(rng.normal(0, 100, 300), 1)
    drawn = QuantileMap.fit(x).quantiles(rng.random_sample(5000))
    assert len(np.setdiff1d(drawn, x)) > 100
    np.testing.assert_array_equal(drawn, np.round(drawn, 1))


def test_a_fitted_tail_has_the_shape_of_the_law():
    # 40 fits to 500 excesses each: the mean shape is that of the law within 3 standard errors and
    # the bias of the moments, which is of the order of 1/500.
    shapes = []
    for seed in range(40):
        x = np.sort(genpareto(0.3).rvs(10_000, random_state=seed))
        shapes.append(fit_tail(x, np.full(10_000, 1e-4), 5e-5, 1).shape)
    standard_error = np.std(shapes) / np.sqrt(len(shapes))
    assert abs(np.mean(shapes) - 0.3) < 3 * standard_error + 0.01


@pytest.mark.parametrize("shape", [-0.3, 0.0, 0.4])
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_tail_is_the_generalised_pareto_law(shape, sign):
    tail = ParetoTail(edge=2.0, sign=sign, mass=0.01, shape=shape, scale=1.5)
    p = np.array([0.01, 0.005, 1e-6])
    expected = 2.0 + sign * genpareto(shape, scale=1.5).isf(p / 0.01)
    np.testing.assert_allclose(tail.quantiles(p), expected, rtol=1e-9)
    np.testing.assert_allclose(tail.masses(tail.quantiles(p)), p, rtol=1e-6)
    excess = sign * (expected - 2.0)
    log_density = np.log(0.01) + genpareto(shape, scale=1.5).logpdf(excess)
    np.testing.assert_allclose(tail.log_density(expected), log_density, atol=1e-5)


def test_a_tail_with_an_end_has_no_density_beyond_it():
    tail = ParetoTail(edge=0.0, sign=1, mass=0.1, shape=-0.5, scale=1.0)
    assert np.isfinite(tail.log_density(np.array([1.99, 2.01]))).tolist() == [True, False]


@pytest.mark.parametrize(
    ("weights", "size"),
    [(None, 3), ([1.0, 2.0, 3.0], 6), ([0.5, 0.5, 0.5], 3), ([0.9, 0.1, 1e-9], 1 / 0.82)],
)
def test_the_number_of_rows_is_kept(weights, size):
    weights = None if weights is None else np.array(weights)
    assert QuantileMap.fit(np.array([0.1, 0.5, 0.7]), weights).size == pytest.approx(size)


def test_tails_reach_beyond_the_data_and_back():
    x = np.random.RandomState(0).standard_t(3, 5000)
    quantile_map = QuantileMap.fit(x, tails="pareto")
    new = np.array([2 * x.min(), 1.5 * x.max()])
    lower, upper = quantile_map.intervals(new)
    np.testing.assert_array_equal(lower, upper)
    assert 0 < lower[0] < 1 / len(x)
    assert 1 - 1 / len(x) < lower[1] < 1
    np.testing.assert_allclose(quantile_map.quantiles(lower), new, rtol=1e-6)
    # Continuous at the largest value, and exact on the data.
    edge = quantile_map.intervals(np.array([x.max()]))[0]
    np.testing.assert_allclose(quantile_map.quantiles(edge + 1e-9), x.max(), rtol=1e-4)
    np.testing.assert_array_equal(back_and_forth(quantile_map, x, 0.5), x)


@pytest.mark.parametrize(
    "x",
    [
        np.random.RandomState(0).standard_normal(300),  # 15 in each tail
        np.random.RandomState(0).standard_normal(2000).clip(-1, 1),
        np.random.RandomState(0).standard_normal(2000).round(2),
    ],
)
def test_there_is_no_tail_of_few_repeated_or_rounded_values(x):
    quantile_map = QuantileMap.fit(x, tails="pareto")
    assert quantile_map.lower_tail is None
    assert quantile_map.upper_tail is None
    assert quantile_map.quantiles(np.array([1 - 1e-12])) == x.max()


@pytest.mark.parametrize("scale", [2e307, 1.0, 1e-310])
def test_tails_are_finite_however_far_out(scale):
    x = np.random.RandomState(0).standard_normal(3000) * scale
    quantile_map = QuantileMap.fit(x, tails="pareto")
    far = quantile_map.quantiles(np.array([0.0, 1e-300, 1 - 1e-12, 1.0]))
    assert np.isfinite(far).all()
    assert far[0] <= x.min()
    assert far[-1] >= x.max()
    beyond = np.array([-1.7e308, 1.7e308])
    lower, upper = quantile_map.intervals(beyond)
    np.testing.assert_array_equal(lower, upper)
    assert 0 <= lower[0] < 1 / 3000
    assert 1 - 1 / 3000 < lower[1] <= 1


def test_one_tail_may_be_capped():
    x = np.random.RandomState(0).exponential(size=4000).clip(0.1, None)
    quantile_map = QuantileMap.fit(x, tails="pareto")
    assert quantile_map.lower_tail is None
    assert quantile_map.upper_tail is not None
