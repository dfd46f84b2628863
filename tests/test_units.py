"""Centre and scale of features, and the noise in the steps of rounded columns."""

import numpy as np
import pytest

from skscore._units import UnitsMixin

SEED = 0


class Units(UnitsMixin):
    def __init__(self, *, standardize=True, steps=None):
        self.standardize = standardize
        self.steps = steps

    def fit(self, X, weights=None):
        self.rounding_steps_ = np.zeros(X.shape[1]) if self.steps is None else np.array(self.steps)
        self._fit_units(X, np.ones(len(X)) if weights is None else weights)
        return self


def rows(n=60, seed=SEED):
    """Rounded, constant, continuous and far from zero."""
    rng = np.random.RandomState(seed)
    columns = [rng.poisson(4, n), np.full(n, 0.1), rng.normal(size=n), 1e4 + rng.normal(size=n)]
    return np.column_stack(columns)


STEPS = [1.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("steps", [None, STEPS])
def test_units_there_and_back_are_the_identity_and_drop_what_is_constant(standardize, steps):
    X = rows()
    units = Units(standardize=standardize, steps=steps).fit(X)
    assert units.constant_.tolist() == [False, True, False, False]
    z = units._to_z(X)
    assert z.shape == (60, 3)
    np.testing.assert_allclose(units._from_z(z), X, rtol=1e-12)
    np.testing.assert_array_equal(units._from_z(z)[:, 1], 0.1)
    other = np.random.RandomState(1).normal(size=(5, 3))
    np.testing.assert_allclose(units._to_z(units._from_z(other)), other, atol=1e-10)


@pytest.mark.filterwarnings("error")
def test_moments_are_those_of_weighted_rows():
    X, w = rows(), np.random.RandomState(1).exponential(size=60)
    units = Units().fit(X, w)
    z = units._to_z(X)
    np.testing.assert_allclose(w @ z / w.sum(), 0, atol=1e-9)
    np.testing.assert_allclose(w @ z**2 / w.sum(), 1, rtol=1e-7)
    plain = Units(standardize=False).fit(X, w)
    np.testing.assert_array_equal(plain.scale_, 1)
    np.testing.assert_array_equal(plain.mean_, units.mean_)


def test_the_noise_of_a_step_adds_a_twelfth_of_its_square_to_the_variance():
    X = rows()
    bare, noisy = Units().fit(X), Units(steps=[1.0, 0.0, 0.5, 0.0]).fit(X)
    expected = bare.scale_**2 + np.array([1.0, 0, 0.25, 0]) / 12
    np.testing.assert_allclose(noisy.scale_**2, expected, rtol=1e-12)
    # It is the variance of the rows with noise: 4 SE of that of 200 copies of each.
    copies = np.repeat(X[:, 0], 200)
    drawn = copies + np.random.RandomState(SEED).random_sample(len(copies)) - 0.5
    error = 2 * X[:, 0].std() * (1 / 12 / len(copies)) ** 0.5 + 1 / (180 * len(copies)) ** 0.5
    assert abs(drawn.var() - noisy.scale_[0] ** 2) < 4 * error


@pytest.mark.parametrize("standardize", [True, False])
def test_widths_are_measured_in_the_units_of_varying_features(standardize):
    units = Units(standardize=standardize, steps=[1.0, 3.0, 0.0, 0.0]).fit(rows())
    # A constant gets no noise, whatever its step.
    np.testing.assert_allclose(units._widths_z(), [1 / units.scale_[0], 0, 0])
    assert units.scale_[1] == 1
    np.testing.assert_array_equal(Units().fit(rows())._widths_z(), np.zeros(3))


def test_rows_without_rounded_columns_are_left_as_they_are():
    X, w = rows(), np.arange(1.0, 61)
    for steps in (None, np.zeros(4), [0.0, 2.0, 0.0, 0.0]):
        units = Units(steps=steps).fit(X)
        z = units._to_z(X)
        smooth, share = units._smoothed(z, w, SEED)
        assert smooth is z
        assert share is w


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("n", "n_copies"), [(60, 84), (3000, 2), (5000, 1), (5001, 1)])
def test_copies_stay_within_half_a_step_of_their_row_and_share_its_weight(n, n_copies):
    X, w = rows(n), np.random.RandomState(1).exponential(size=n)
    units = Units(steps=STEPS).fit(X, w)
    z = units._to_z(X)
    before = z.copy()
    smooth, share = units._smoothed(z, w, SEED)
    assert smooth.shape == (n * n_copies, 3)
    np.testing.assert_allclose(share.reshape(n, n_copies).sum(1), w, rtol=1e-12)
    offset = smooth.reshape(n, n_copies, 3) - z[:, None]
    assert (np.abs(offset[..., 0]) <= units._widths_z()[0] / 2 + 1e-12).all()
    np.testing.assert_array_equal(offset[..., 1:], 0)
    np.testing.assert_array_equal(z, before)
    # The copies of a row fill its step evenly: the sd of the mean of m uniforms is δ/(12 m)^½.
    spread = units._widths_z()[0] / (12 * offset[..., 0].size) ** 0.5
    assert abs(offset[..., 0].mean()) < 4 * spread
    assert len(np.unique(offset[..., 0])) == offset[..., 0].size


def test_the_seed_decides_the_noise_and_the_global_state_stays():
    state = np.random.get_state()[1].copy()
    units = Units(steps=STEPS).fit(rows())
    z, w = units._to_z(rows()), np.ones(60)
    a, b, other = (units._smoothed(z, w, seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert (a[:, 0] != other[:, 0]).all()
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_a_constant_off_by_rounding_is_a_constant():
    X = np.column_stack([np.arange(10.0), np.full(10, 0.1)])
    X[::2, 1] += 1e-17
    X[3, 1] = np.nextafter(0.1, 1)
    units = Units().fit(X)
    assert units.constant_.tolist() == [False, True]


@pytest.mark.filterwarnings("error")
def test_rows_without_any_variation_or_beyond_all_bounds_are_refused():
    with pytest.raises(ValueError, match=r"All 3 distinct row\(s\) of X are equal in every feat"):
        Units().fit(np.ones((3, 2)))
    with pytest.raises(ValueError, match="X has values so large that their variance overflows"):
        Units().fit(np.array([[1e200], [-1e200], [0.0]]))
