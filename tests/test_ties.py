from collections import Counter

import numpy as np
import pytest
import torch

from skscore._ties import (
    dequantize,
    find_ties,
    resolve_dequantize,
    step_origins,
    tied_values_message,
    to_steps,
)
from skscore.exceptions import TiedValuesWarning
from skscore.objectives import implicit

SEED = 0


def single(x):
    return x.astype(np.float32).astype(np.float64)


def beside(x, seed=SEED):
    """A table of two columns, the second of which is continuous."""
    return np.column_stack([x, np.random.RandomState(seed + 1000).standard_normal(len(x))])


def verdict(x):
    """The verdict on a column, which a second column does not change."""
    (alone,), (first, second) = find_ties(x[:, None]), find_ties(beside(x))
    assert not second.tied
    assert alone.tied <= first.tied
    if alone.tied:
        assert alone.step == pytest.approx(first.step, rel=1e-6)
    return first


CONTINUOUS = {
    "normal": lambda rng, n: rng.standard_normal(n),
    "uniform": lambda rng, n: rng.random_sample(n),
    "exponential": lambda rng, n: rng.exponential(size=n),
    "heavy tails": lambda rng, n: rng.standard_cauchy(n),
    "two modes": lambda rng, n: rng.choice([-5, 5], n) + 0.1 * rng.standard_normal(n),
}
MADE_FROM = {
    "double": lambda x: x,
    "single": single,
    "far from 0": lambda x: 1e9 + x,
    "tiny": lambda x: 1e-100 * x,
    "standardised": lambda x: (single(x) - single(x).mean()) / single(x).std(),
}


@pytest.mark.parametrize("n", [30, 100, 1000])
@pytest.mark.parametrize("made", MADE_FROM.values(), ids=MADE_FROM)
@pytest.mark.parametrize("law", CONTINUOUS.values(), ids=CONTINUOUS)
def test_continuous_columns_are_not_tied(law, made, n):
    for seed in range(SEED, SEED + 5):
        column = verdict(made(law(np.random.RandomState(seed), n)))
        assert not column.tied
        assert column.step == 0
        assert column.atoms == {}


@pytest.mark.parametrize("law", CONTINUOUS.values(), ids=CONTINUOUS)
def test_single_precision_is_no_rounding_however_many_rows_there_are(law):
    x = single(law(np.random.RandomState(SEED), 100_000))
    assert len(np.unique(x)) < len(x)  # some values do repeat
    assert not verdict(x).tied


ROUNDED = {
    "tenths": (lambda rng, n: rng.standard_normal(n).round(1), 0.1),
    "hundredths": (lambda rng, n: rng.standard_normal(n).round(2), 0.01),
    "quarters": (lambda rng, n: (8 * rng.standard_normal(n)).round() / 4, 0.25),
    "counts": (lambda rng, n: rng.poisson(3.0, n), 1),
    "integers": (lambda rng, n: rng.randint(500, size=n), 1),
    "odd integers": (lambda rng, n: 2 * rng.randint(50, size=n) + 1, 2),
    "middles of bins": (lambda rng, n: 5 * rng.randint(20, size=n) + 2.5, 5),
    "heavy tails": (lambda rng, n: rng.standard_cauchy(n).round(1), 0.1),
    "single precision": (lambda rng, n: single(rng.standard_normal(n).round(2)), 0.01),
    "single, heavy tails": (lambda rng, n: single(rng.standard_cauchy(n).round(1)), 0.1),
    "single, far from 0": (lambda rng, n: single((1e3 + rng.standard_normal(n)).round(1)), 0.1),
    "by single precision": (lambda rng, n: single(1e5 + rng.standard_normal(n)), 2**-7),
    "far from 0": (lambda rng, n: (1e9 + rng.standard_normal(n)).round(2), 0.01),
    "sums of tenths": (
        lambda rng, n: 0.1 * rng.randint(9, size=n) + 0.1 * rng.randint(9, size=n),
        0.1,
    ),
    "standardised": (lambda rng, n: (rng.randint(80, size=n) - np.pi) / 7, 1 / 7),
    "tiny": (lambda rng, n: 1e-100 * rng.standard_normal(n).round(1), 1e-101),
}


@pytest.mark.parametrize("n", [100, 1000])
@pytest.mark.parametrize(("law", "step"), ROUNDED.values(), ids=ROUNDED)
def test_rounded_columns_are_tied_and_their_step_is_found(law, step, n):
    for seed in range(SEED, SEED + 5):
        column = verdict(law(np.random.RandomState(seed), n).astype(float))
        assert column.tied
        assert column.step == pytest.approx(step, rel=1e-4)


def test_rounding_is_found_alike_in_many_rows():
    column = verdict(np.random.RandomState(SEED).standard_normal(100_000).round(2))
    assert column.tied
    assert column.step == pytest.approx(0.01, rel=1e-6)


def test_rounding_too_fine_for_values_to_repeat_is_none():
    x = np.random.RandomState(SEED).standard_normal(1000)
    assert verdict(x.round(2)).tied
    assert not verdict(x.round(6)).tied


def test_the_share_that_repeats_is_that_of_a_loop():
    X = beside(np.random.RandomState(SEED).poisson(40.0, 300))
    counts = Counter(X[:, 0])
    expected = sum(counts[value] > 1 for value in X[:, 0]) / 300
    assert find_ties(X)[0].repeated == pytest.approx(expected)
    assert 0.5 < expected < 1


@pytest.mark.parametrize("d", [1, 3])
def test_rows_that_repeat_as_a_whole_are_weights_and_no_ties(d):
    rng = np.random.RandomState(SEED)
    X = rng.standard_normal((100, d))
    for repeated in (np.repeat(X, 5, axis=0), X[rng.randint(100, size=1000)]):
        for column in find_ties(repeated):
            assert not column.tied
            assert column.repeated == 0


def test_a_few_accidental_repeats_are_no_ties():
    for n in (30, 100, 1000):
        x = np.random.RandomState(SEED).standard_normal(n)
        x[:3] = x[3:6]
        column = find_ties(beside(x))[0]
        assert column.repeated == pytest.approx(6 / n)
        assert not column.tied


def test_weights_and_the_order_of_rows_change_nothing_and_rows_of_weight_zero_are_gone():
    rng = np.random.RandomState(SEED)
    X = beside(rng.poisson(3.0, 12_000))
    X[:, 1] *= rng.poisson(1.0, 12_000) > 0
    expected = find_ties(X)
    assert find_ties(X[rng.permutation(12_000)]) == expected
    assert find_ties(np.vstack([X, X[:50]]), rng.uniform(0.1, 9, 12_050)) == expected
    noise = np.vstack([X, rng.standard_normal((12_000, 2))])
    assert find_ties(noise) != expected
    assert find_ties(noise, np.repeat([2.0, 0.0], 12_000)) == expected


def test_a_constant_column_is_not_tied():
    for value in (0.0, 7.0, 1e9):
        column = find_ties(beside(np.full(50, value)))[0]
        assert not column.tied
        assert column.step == 0
    rounding = 0.1 + np.spacing(0.1) * np.random.RandomState(SEED).randint(2, size=50)
    assert not find_ties(beside(rounding))[0].tied
    assert not find_ties([[1.0, 2.0]])[0].tied


@pytest.mark.parametrize("share", [0.1, 0.3, 0.9])
def test_many_zeros_among_continuous_values_are_an_atom_that_no_noise_spreads(share):
    rng = np.random.RandomState(SEED)
    x = rng.lognormal(size=1000) * (np.arange(1000) >= 1000 * share)
    column = find_ties(beside(x))[0]
    assert column.tied
    assert column.step == 0
    assert column.atoms == {0.0: pytest.approx(share)}
    assert column.repeated == pytest.approx(share)


def test_an_atom_is_found_in_thirty_rows_and_its_share_in_many():
    rng = np.random.RandomState(SEED)
    x = rng.lognormal(size=30)
    x[:6] = 0
    assert find_ties(beside(x))[0].atoms == {0.0: pytest.approx(0.2)}
    x = np.maximum(rng.standard_normal(50_000), 0)
    column = find_ties(beside(x))[0]
    assert column.tied
    assert column.atoms == {0.0: pytest.approx(0.5, abs=4 * 0.5 / 10_000**0.5)}


def test_a_few_levels_without_a_common_step_get_the_width_of_their_gaps():
    rng = np.random.RandomState(SEED)
    column = find_ties(beside(rng.choice([-0.1, 0.7], 200)))[0]
    assert column.tied
    assert column.step == pytest.approx(0.8)
    levels = np.sort(rng.standard_normal(20))
    column = find_ties(beside(rng.choice(levels, 2000)))[0]
    assert column.step == pytest.approx(np.median(np.diff(levels)))
    half = rng.standard_normal(20_000).astype(np.float16).astype(float)
    assert 2**-12 < find_ties(beside(half))[0].step < 2**-8


# Noise


def test_noise_is_uniform_over_a_step_on_rounded_columns_alone():
    n, steps = 4000, np.array([1.0, 0.0, 0.1])
    X = np.random.RandomState(SEED).standard_normal((n, 3))
    kept = X.copy()
    smooth = dequantize(X, steps, np.random.RandomState(1))
    np.testing.assert_array_equal(X, kept)
    np.testing.assert_array_equal(smooth[:, 1], X[:, 1])
    u = (smooth - X)[:, [0, 2]] / steps[[0, 2]]
    assert abs(u).max() <= 0.5 + 1e-12
    # Kolmogorov's distance exceeds 1.95/√n once in a thousand times.
    distance = np.abs(np.sort(u + 0.5, axis=0) - np.arange(0.5, n)[:, None] / n).max()
    assert distance < 2.2 / n**0.5
    assert abs(np.corrcoef(u.T)[0, 1]) < 4 / n**0.5
    np.testing.assert_array_equal(dequantize(X, steps, np.random.RandomState(1)), smooth)
    assert (dequantize(X, steps, np.random.RandomState(2)) != smooth).any()


def test_what_was_rounded_is_not_tied_after_noise_and_rounds_back_to_itself():
    rng = np.random.RandomState(SEED)
    X = np.column_stack([rng.poisson(4.0, 1000), rng.standard_normal(1000).round(1)])
    steps = resolve_dequantize("auto", find_ties(X), 2)
    np.testing.assert_allclose(steps, [1, 0.1], rtol=1e-10)
    smooth = dequantize(X, steps, rng)
    assert not any(column.tied for column in find_ties(smooth))
    np.testing.assert_allclose(np.rint(smooth / steps) * steps, X, atol=1e-12)


def parzen_score(centers):
    def score(x, sigma):
        delta = centers - x[:, None]
        nearness = (-delta.square().sum(2) / (2 * sigma.square())).softmax(1)
        return (nearness[..., None] * delta).sum(1) / sigma.square()

    return score


def test_rounding_sends_the_implicit_objective_to_minus_infinity_and_noise_brings_it_back():
    rng = np.random.RandomState(SEED)
    X = rng.standard_normal((2000, 1))
    rounded = X.round(1)
    step = resolve_dequantize("auto", find_ties(rounded), 1)
    bandwidths = [0.5, 0.3, 0.1, 0.01, 0.003]
    held_out = (np.arange(2000) >= 1000) & (abs(X[:, 0]) < 1.8)  # where training rows are dense

    def curve(X):
        score, x = parzen_score(torch.from_numpy(X[:1000])), torch.from_numpy(X[held_out])
        sigmas = [torch.full_like(x, h) for h in bandwidths]
        return np.array([implicit(score, x, sigma).mean().item() for sigma in sigmas])

    exact, wrong, restored = map(curve, (X, rounded, dequantize(rounded, step, rng)))
    # Each held-out row falls on one to train on: s = 0, tr ∇s = -1/h².
    np.testing.assert_allclose(wrong[-2:], -2 / np.square(bandwidths[-2:]), rtol=0.01)
    for bounded in (exact, restored):
        assert bounded.argmin() < 3
        assert -4 < bounded.min() < -1
        assert (bounded[-2:] > 100).all()
    np.testing.assert_allclose(restored[:2], exact[:2], atol=0.1)


# Back to the steps

DECIMALS = {  # a column as it would be typed, and its step
    "integers": (lambda rng, n: rng.randint(-50, 50, n) / 1, 1.0),
    "tens": (lambda rng, n: rng.randint(-50, 50, n) * 10.0, 10.0),
    "tenths": (lambda rng, n: rng.randint(-30, 30, n) / 10, 0.1),
    "tenths, positive": (lambda rng, n: rng.randint(3, 30, n) / 10, 0.1),
    "hundredths": (lambda rng, n: rng.randint(-999, 999, n) / 100, 0.01),
    "millionths": (lambda rng, n: rng.randint(-999, 999, n) / 1e6, 1e-6),
    "quarters": (lambda rng, n: rng.randint(-30, 30, n) / 4, 0.25),
    "fives and a half": (lambda rng, n: 5.0 * rng.randint(-20, 20, n) + 2.5, 5.0),
    "negative": (lambda rng, n: -rng.randint(1000, 2000, n) / 10, 0.1),
    "huge": (lambda rng, n: rng.randint(10**9, 10**9 + 999, n) / 10, 0.1),
    "huge and coarse": (lambda rng, n: 1e12 * rng.randint(-20, 20, n), 1e12),
    "tiny": (lambda rng, n: rng.randint(-99, 99, n) / 1e9, 1e-9),
}
on_steps = pytest.mark.parametrize(("law", "step"), DECIMALS.values(), ids=DECIMALS)


def found_steps(X):
    """Steps and origins as an estimator finds them."""
    steps = resolve_dequantize("auto", find_ties(X), X.shape[1])
    return steps, step_origins(X, steps)


@on_steps
def test_values_on_steps_stay_as_they_were_typed_to_the_last_bit(law, step):
    X = beside(law(np.random.RandomState(SEED), 400))
    steps, origins = found_steps(X)
    np.testing.assert_allclose(steps, [step, 0], rtol=1e-8)
    assert origins[0] == X[:, 0].min()
    np.testing.assert_array_equal(to_steps(X, steps, origins), X)


@on_steps
def test_noise_in_the_steps_is_taken_back(law, step):
    rng = np.random.RandomState(SEED)
    X = beside(law(rng, 400))
    steps, origins = found_steps(X)
    smooth = X.copy()
    smooth[:, 0] += 0.98 * step * (rng.random_sample(400) - 0.5)
    kept = smooth.copy()
    np.testing.assert_array_equal(to_steps(smooth, steps, origins), X)
    np.testing.assert_array_equal(smooth, kept)


@on_steps
def test_each_value_goes_to_the_nearest_step_and_no_further_the_second_time(law, step):
    rng = np.random.RandomState(SEED)
    X = beside(law(rng, 400))
    steps, origins = found_steps(X)
    fresh = rng.uniform(X[:, 0].min() - 9 * step, X[:, 0].max() + 9 * step, size=1000)
    fresh = beside(fresh)
    once = to_steps(fresh, steps, origins)
    slack = 4 * np.spacing(np.abs(fresh[:, 0]).max())
    assert (np.abs(once - fresh)[:, 0] <= step / 2 + slack).all()
    k = (once[:, 0] - X[0, 0]) / step
    np.testing.assert_allclose(k, np.rint(k), atol=1e-5)
    np.testing.assert_array_equal(once[:, 1], fresh[:, 1])
    np.testing.assert_array_equal(to_steps(once, steps, origins), once)


K = np.arange(-100, 101)


def test_tenths_are_those_that_are_typed_and_no_multiples_of_a_tenth():
    X = K[:, None] / 10
    assert (X != 0.1 * K[:, None]).any()
    for origin in (-10.0, 0.0, 0.3, 7.7):
        found = to_steps(X + 0.03, np.array([0.1]), np.array([origin]))
        np.testing.assert_array_equal(found, X)
        assert {str(x) for x in found.ravel() if x != 0} == {str(k / 10) for k in K if k != 0}


def test_no_zero_is_negative():
    for origin in (-0.7, -0.3, 0.3, 0.7):
        found = to_steps(np.array([[-0.04], [0.04]]), np.array([0.1]), np.array([origin]))
        assert not np.signbit(found).any()


def test_columns_without_a_step_or_without_an_origin_are_left_as_they_are():
    X = np.random.RandomState(SEED).standard_normal((50, 3))
    steps, origins = np.array([0.0, 0.5, 0.5]), np.array([0.0, np.nan, 0.0])
    found = to_steps(X, steps, origins)
    np.testing.assert_array_equal(found[:, :2], X[:, :2])
    np.testing.assert_array_equal(found[:, 2], np.rint(2 * X[:, 2]) / 2)
    assert found is not X


def test_the_origin_is_the_least_value_where_all_lie_on_steps_and_nan_elsewhere():
    X = np.column_stack([[0.7, 0.3, 1.1], [3.0, 1.0, 2.5], [5.0, 4.0, 9.0], [1.0, 2.0, 3.0]])
    origins = step_origins(X, np.array([0.1, 1.0, 1.0, 0.0]))
    np.testing.assert_array_equal(origins, [0.3, np.nan, 4.0, np.nan])
    # Half of a step of the data, given by the user, has them on its steps, too.
    np.testing.assert_array_equal(step_origins(X[:, :1], np.array([0.05])), [0.3])
    np.testing.assert_array_equal(step_origins(X[:, :1], np.array([0.3])), [np.nan])


def test_one_value_off_the_steps_takes_the_origin_away():
    X = np.arange(50.0)[:, None]
    assert step_origins(X, np.ones(1)) == 0
    X[7] += 0.02
    assert np.isnan(step_origins(X, np.ones(1)))
    X[7] = 7.001  # as near as float32 has it
    assert step_origins(X, np.ones(1)) == 0


def test_categories_that_are_no_steps_are_not_rounded():
    rng = np.random.RandomState(SEED)
    X = beside(rng.choice(np.sort(rng.standard_normal(20)), 2000))
    steps, origins = found_steps(X)
    assert steps[0] > 0
    assert np.isnan(origins[0])
    np.testing.assert_array_equal(to_steps(X + 0.1, steps, origins), X + 0.1)


@pytest.mark.parametrize("step", [1 / 3, 1 / 7, 0.1, 2**-7])
def test_a_row_goes_to_the_same_step_whatever_rows_come_with_it(step):
    rng = np.random.RandomState(SEED)
    x = np.sort(np.abs(rng.standard_normal(500)) * 10)[:, None]
    steps, origins = np.array([step]), np.array([0.0])
    together = to_steps(x, steps, origins)
    one_by_one = np.vstack([to_steps(row[None], steps, origins) for row in x])
    np.testing.assert_array_equal(together, one_by_one)


@pytest.mark.parametrize(
    ("base", "step"), [(1e14, 1.0), (1e15, 1.0), (-3e15, 1.0), (1e14, 0.25), (2.0**40, 2.0**-10)]
)
def test_steps_near_the_precision_of_double_are_kept(base, step):
    X = beside(base + step * np.random.RandomState(SEED).randint(100, size=300))
    steps, origins = found_steps(X)
    assert steps[0] == step
    np.testing.assert_array_equal(to_steps(X, steps, origins), X)


@pytest.mark.parametrize(("digits", "center"), [(1, 0.0), (2, 0.0), (1, 100.0)])
def test_decimals_of_single_precision_come_back_to_their_bits_as_single_precision(digits, center):
    x = (center + np.random.RandomState(SEED).standard_normal(500)).round(digits)
    x = x.astype(np.float32)
    X = beside(x)
    steps, origins = found_steps(X)
    assert steps[0] == pytest.approx(10.0**-digits, rel=1e-5)
    # What was typed, not its neighbour of single precision.
    assert origins[0] == round(float(x.min()), digits)
    np.testing.assert_allclose(to_steps(X, steps, origins), X, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(to_steps(X, steps, origins)[:, 0].astype(np.float32), x)


# The option


def test_the_option_gives_one_step_a_column():
    ties = find_ties(beside(np.arange(50.0)))
    np.testing.assert_array_equal(resolve_dequantize(None, ties, 2), [0, 0])
    np.testing.assert_array_equal(resolve_dequantize("auto", ties, 2), [1, 0])
    np.testing.assert_array_equal(resolve_dequantize(0.1, ties, 2), [0.1, 0.1])
    np.testing.assert_array_equal(resolve_dequantize(np.float32(2), ties, 2), [2, 2])
    np.testing.assert_array_equal(resolve_dequantize([0, 3], ties, 2), [0, 3])
    steps = np.array([0.5, 0.0])
    resolve_dequantize(steps, ties, 2)[0] = 9
    assert steps[0] == 0.5


@pytest.mark.parametrize(
    "option",
    ["automatic", -1.0, np.nan, [1, np.inf], True, False, {"a": 1}, [1, "b"], [[1], [2, 3]]],
)
def test_an_option_that_is_no_step_is_refused(option):
    message = "is no step of rounding; give 'auto', None, or numbers that are finite and not negat"
    with pytest.raises(ValueError, match=message) as error:
        resolve_dequantize(option, [], 2)
    assert str(error.value).startswith(f"dequantize={option!r} ")


def test_steps_for_another_number_of_columns_are_refused():
    message = (
        r"dequantize has the shape \(3,\); give one step, or one for each of the 2 features, 0"
    )
    with pytest.raises(ValueError, match=message):
        resolve_dequantize([1, 0, 0], [], 2)
    with pytest.raises(ValueError, match=r"dequantize has the shape \(1, 2\)"):
        resolve_dequantize([[1, 0]], [], 2)


# The warning


def test_the_warning_names_columns_the_harm_and_the_remedy():
    rng = np.random.RandomState(SEED)
    X = np.column_stack(
        [rng.standard_normal(500), rng.poisson(3.0, 500), rng.standard_normal(500).round(1)]
    )
    ties = find_ties(X)
    message = tied_values_message(ties, np.zeros(3), ["height", "rooms", "tax"])
    assert message == (
        "2 of 3 columns hold rounded or repeated values: 'rooms' (steps of 1), 'tax' (steps of "
        "0.1). The implicit objective has no lower bound on them: it falls for ever as a model "
        "turns into spikes on those values, so that neither training nor score measures the fit. "
        "Use dequantize='auto' to add uniform noise of the width of a step, or dequantize=<steps> "
        "with widths of your own."
    )
    assert ": column 1 (steps of 1), column 2 (steps" in tied_values_message(ties, np.zeros(3))
    assert "column 1" not in tied_values_message(ties, np.array([0, 1.0, 0]))
    assert issubclass(TiedValuesWarning, UserWarning)


def test_the_warning_says_where_no_noise_helps():
    rng = np.random.RandomState(SEED)
    x = rng.lognormal(size=400)
    x[:120] = 0
    ties = find_ties(beside(x))
    message = tied_values_message(ties, resolve_dequantize("auto", ties, 2), ["rain", "sun"])
    assert (
        "1 of 2 columns hold rounded or repeated values: 'rain' (0 in 30% of the rows)" in message
    )
    assert message.endswith(
        "dequantize='auto' finds no step for columns that are continuous but for some values: "
        "leave them out, or spread those values by dequantize=<steps> with a width of your own."
    )
    assert "Use dequantize='auto'" not in message
    x = np.r_[rng.standard_normal(700), rng.permutation(np.repeat(rng.standard_normal(60), 5))]
    assert "(30% of the rows repeat a value)" in tied_values_message(find_ties(beside(x)), [0, 0])


def test_the_warning_names_ten_columns_and_counts_the_others():
    X = np.random.RandomState(SEED).poisson(5.0, (300, 13))
    message = tied_values_message(find_ties(X), np.zeros(13))
    assert "13 of 13 columns" in message
    assert "column 9 (steps of 1) and 3 more. The" in message
    assert "column 10" not in message


def test_there_is_nothing_to_warn_about_where_nothing_is_tied_or_all_of_it_gets_noise():
    continuous = find_ties(np.random.RandomState(SEED).standard_normal((100, 2)))
    assert tied_values_message(continuous, np.zeros(2)) == ""
    ties = find_ties(beside(np.arange(50.0)))
    assert tied_values_message(ties, np.array([0.3, 0.0])) == ""
