"""NCSNGenerator of numbers and categories: what is learnt, drawn, given and refused."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import norm
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skscore import NCSNGenerator, make_generative_pipeline
from skscore._generation import SAMPLERS
from skscore._groups import FeatureGroup
from skscore._table_score import TableScore
from skscore.tabular import TabularEncoder

SEED = 0
QUICK = {"random_state": SEED, "max_steps": 20, "batch_size": 64, "hidden_units": (16,)}
# So small a rate that the network stays what it is at first: the law of independent columns.
UNTRAINED = {**QUICK, "max_steps": 10, "lr": 1e-12, "early_stopping": False}
CODES = np.array([[0.6, 0.8], [-0.6, 0.8], [0.0, -1.0], [1.0, 0.0]])
SHARES = {"b": np.array([0.5, 0.3, 0.2]), "c": np.array([0.4, 0.3, 0.2, 0.1])}


def groups():
    """A number of mean 5 and deviation 2, a category of one-hot codes, one of shorter codes."""
    return [
        FeatureGroup("a", "numeric", 0, 1, None, None),
        FeatureGroup("b", "categorical", 1, 4, np.eye(3), SHARES["b"]),
        FeatureGroup("c", "categorical", 4, 6, CODES, SHARES["c"]),
    ]


def data(n=400, seed=SEED):
    """Rows of independent columns, the levels exactly as often as their frequencies say."""
    rng = np.random.RandomState(seed)
    levels = [
        rng.permutation(np.repeat(np.arange(len(p)), np.round(n * p).astype(int)))
        for p in SHARES.values()
    ]
    number = 5 + 2 * rng.normal(size=n)
    return np.column_stack([number, np.eye(3)[levels[0]], CODES[levels[1]]])


def levels_of(X, group):
    """Levels of rows whose codes are those of the group, to the last bit."""
    equal = (X[:, None, group.start : group.stop] == group.codebook).all(2)
    assert equal.any(1).all()
    return equal.argmax(1)


@pytest.fixture(scope="module")
def fitted():
    return NCSNGenerator(**QUICK).fit(data(), feature_groups=groups())


@pytest.fixture(scope="module")
def untrained():
    return NCSNGenerator(**UNTRAINED).fit(data(), feature_groups=groups())


def with_params(generator, **params):
    other = clone(generator).set_params(**params)
    other.__dict__.update({k: v for k, v in vars(generator).items() if k.endswith("_")})
    return other


# Without categories.


def test_groups_of_numbers_alone_change_nothing():
    X = np.random.RandomState(SEED).normal(size=(80, 2))
    plain = NCSNGenerator(**QUICK).fit(X)
    numbers = [FeatureGroup(j, "numeric", j, j + 1, None, None) for j in range(2)]
    grouped = NCSNGenerator(**QUICK).fit(X, feature_groups=numbers)
    assert plain.feature_groups_ is None
    assert [group.column for group in grouped.feature_groups_] == [0, 1]
    for name in ("score_function", "score_samples", "encode", "held_out_nll", "score"):
        np.testing.assert_array_equal(getattr(grouped, name)(X), getattr(plain, name)(X))
    np.testing.assert_array_equal(grouped.sample(9, SEED), plain.sample(9, SEED))
    conditions = [[0.5, np.nan]]
    np.testing.assert_array_equal(
        grouped.sample(conditions=conditions, random_state=SEED),
        plain.sample(conditions=conditions, random_state=SEED),
    )


def test_a_fit_without_groups_forgets_those_of_the_last(fitted):
    other = with_params(fitted).fit(data())
    assert other.feature_groups_ is None
    assert not isinstance(other.net_.module_, TableScore)


# The score, of one Gaussian process.


def log_density(generator, X, sigma):
    """log p_σ of independent columns, in the units of z."""
    z = (X[:, 0] - generator.mean_[0]) / generator.scale_[0]
    log_p = -(z**2) / (2 * (1 + sigma**2))
    for group in groups()[1:]:
        gap = X[:, None, group.start : group.stop] - group.codebook
        log_p = log_p + logsumexp(
            np.log(group.frequencies) - np.square(gap).sum(2) / (2 * sigma**2), axis=1
        )
    return log_p


@pytest.mark.parametrize("sigma", [0.02, 0.3, 2.0])
def test_the_score_of_independent_columns_is_the_gradient_of_their_blurred_density(
    untrained, sigma
):
    X = data(40)[:20] + sigma * np.random.RandomState(1).normal(size=(20, 6))
    h = 1e-5 * sigma
    expected = [
        log_density(untrained, X + h * e, sigma) - log_density(untrained, X - h * e, sigma)
        for e in np.eye(6)
    ]
    score = untrained.score_function(X, sigma=sigma)
    expected = np.transpose(expected) / (2 * h)
    assert np.abs(score - expected).max() < 1e-5 * np.abs(expected).max()


def test_denoised_rows_are_posterior_means_and_tweedies_formula(fitted):
    X = data(40) + 0.7 * np.random.RandomState(1).normal(size=(40, 6))
    denoised = fitted.denoise(X, 0.7)
    noise = 0.7 * fitted.scale_
    tweedie = X + noise**2 * fitted.score_function(X, 0.7)
    np.testing.assert_allclose(denoised, tweedie, rtol=1e-8, atol=1e-8)
    p = denoised[:, 1:4]
    assert (p >= 0).all()
    np.testing.assert_allclose(p.sum(1), 1.0, rtol=1e-9)
    # Means of codes lie in their convex hull.
    assert np.linalg.norm(denoised[:, 4:], axis=1).max() <= 1


def test_results_of_a_row_do_not_depend_on_the_others(fitted):
    X = data(40)
    whole = fitted.score_function(X, 0.5)
    np.testing.assert_array_equal(fitted.score_function(X[7:9], 0.5), whole[7:9])


def test_codes_have_no_units_and_no_steps(fitted):
    assert fitted.mean_[0] == pytest.approx(5, abs=0.3)
    assert (fitted.mean_[1:] == 0).all()
    assert (fitted.scale_[1:] == 1).all()
    assert (fitted.rounding_steps_ == 0).all()
    assert not fitted.constant_.any()


# What is drawn.


def within(counts, shares, n, n_se):
    return np.abs(counts / n - shares) <= n_se * np.sqrt(shares * (1 - shares) / n)


def test_a_network_that_has_learnt_nothing_draws_every_column_from_its_own_law(untrained):
    n = 2000
    X = untrained.sample(n, random_state=SEED)
    for group in groups()[1:]:
        counts = np.bincount(levels_of(X, group), minlength=len(group.frequencies))
        assert within(counts, group.frequencies, n, 3).all()
    assert X[:, 0].mean() == pytest.approx(untrained.mean_[0], abs=3 * 2 / n**0.5)
    assert X[:, 0].std() == pytest.approx(untrained.scale_[0], abs=3 * 2 / (2 * n) ** 0.5)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_draws_exact_codes_reproducibly(fitted, sampler):
    generator = with_params(fitted, sampler=sampler, n_sampling_steps=12)
    X = generator.sample(300, random_state=SEED)
    for group in groups()[1:]:
        levels_of(X, group)
    np.testing.assert_array_equal(generator.sample(5, random_state=SEED), X[:5])


def test_the_level_is_drawn_from_the_posterior_that_was_read_last(untrained):
    def stops_halfway(score_fn, x, sigmas, generator):
        x = torch.zeros_like(x)
        return x + 4.0**2 * score_fn(x, torch.full_like(x[:, :1], 4.0))

    X = with_params(untrained, sampler=stops_halfway).sample(2560, random_state=SEED)
    for group in groups()[1:]:
        norms = np.square(group.codebook).sum(1)
        p = group.frequencies * np.exp(-norms / (2 * 4.0**2))
        p /= p.sum()
        assert within(np.bincount(levels_of(X, group), minlength=len(p)), p, 2560, 4).all()


def test_a_sampler_that_never_reads_the_score_ends_at_the_nearest_level(untrained):
    code = torch.tensor([0.0, 0.1, 0.9, 0.2, -0.5, 0.7], dtype=torch.float64)
    generator = with_params(untrained, sampler=lambda s, x, sigmas, g: code.expand_as(x))
    X = generator.sample(3, random_state=SEED)
    assert (levels_of(X, groups()[1]) == 1).all()
    assert (levels_of(X, groups()[2]) == 1).all()


def test_the_way_ends_in_the_rows(fitted):
    X, states = fitted.sample(30, random_state=SEED, return_trajectory=True)
    np.testing.assert_allclose(states[-1], X, atol=1e-6)
    np.testing.assert_array_equal(X, fitted.sample(30, random_state=SEED))
    # The start has the moments of the blurred rows.
    assert states[0][:, 1:].std() == pytest.approx(fitted.sigma_max_, rel=0.2)


def test_rows_that_are_not_finite_are_an_error_with_categories_alone():
    only = [FeatureGroup("b", "categorical", 0, 3, np.eye(3), SHARES["b"])]
    generator = NCSNGenerator(sampler=lambda s, x, sigmas, g: x * torch.nan, **QUICK)
    generator.fit(data()[:, 1:4], feature_groups=only)
    assert np.isnan(generator.copy_rate_)
    with pytest.raises(FloatingPointError, match="diverged"):
        generator.sample(2)
    generator.set_params(sampler="dpm_solver")
    assert (generator.sample(9).sum(1) == 1).all()


def test_a_guide_moves_categories_too(untrained):
    def likes_the_last_level(x, sigma):
        return 4 * x[:, 3]

    X = untrained.sample(500, random_state=SEED, guidance=likes_the_last_level)
    assert (levels_of(X, groups()[1]) == 2).mean() > 0.5


def test_rounded_numbers_come_back_on_their_steps_and_codes_are_not_warned_of():
    X = data()
    X[:, 0] = X[:, 0].round()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        generator = NCSNGenerator(**QUICK).fit(X, feature_groups=groups())
    assert generator.rounding_steps_.tolist() == [1, 0, 0, 0, 0, 0]
    drawn = generator.sample(50, random_state=SEED)
    np.testing.assert_array_equal(drawn[:, 0], drawn[:, 0].round())
    levels_of(drawn, groups()[2])
    # One step for every number is none for codes.
    generator.set_params(dequantize=1.0).fit(X, feature_groups=groups())
    assert generator.rounding_steps_.tolist() == [1, 0, 0, 0, 0, 0]


def test_constant_numbers_and_levels_that_are_alone_are_kept():
    X = data()
    X[:, 0] = 7.0
    X = X[levels_of(X, groups()[1]) == 1]
    generator = NCSNGenerator(**QUICK).fit(X, feature_groups=groups())
    assert generator.constant_.tolist() == [True] + 5 * [False]
    drawn = generator.sample(50, random_state=SEED)
    assert (drawn[:, 0] == 7.0).all()
    levels_of(drawn, groups()[2])
    assert generator.score_function(X, 1.0).shape == X.shape


# What is learnt, against a known truth.


@pytest.fixture(scope="module")
def dependent():
    """A level y of shares ½, and a number N(±1.5, 1) given it: ln odds of y are 3 x."""
    rng = np.random.RandomState(SEED)
    y = rng.randint(2, size=2000)
    X = np.column_stack([np.where(y == 1, 1.5, -1.5) + rng.normal(size=2000), np.eye(2)[y]])
    pair = [
        FeatureGroup("x", "numeric", 0, 1, None, None),
        FeatureGroup("y", "categorical", 1, 3, np.eye(2), np.bincount(y) / 2000),
    ]
    params = {"random_state": SEED, "max_steps": 600, "hidden_units": (64, 64)}
    return NCSNGenerator(early_stopping=False, **params).fit(X, feature_groups=pair)


def test_numbers_and_levels_are_drawn_together(dependent):
    X = dependent.sample(4000, random_state=SEED)
    y = X[:, 2]
    assert y.mean() == pytest.approx(0.5, abs=0.04)
    for level, mean in ((0, -1.5), (1, 1.5)):
        assert X[y == level, 0].mean() == pytest.approx(mean, abs=0.1)
        assert X[y == level, 0].std() == pytest.approx(1.0, abs=0.1)


def test_given_cells_stay_and_the_others_are_drawn_given_these(dependent):
    n = 1500
    asked = np.full((3 * n, 3), np.nan)
    asked[:n, 0] = 0.5  # P(y = 1 | x) = 1/(1 + e^-1.5)
    asked[n : 2 * n, 1:] = [0, 1]
    asked[2 * n :, 1:] = [1, 0]
    X = dependent.sample(conditions=asked, random_state=SEED)
    assert np.array_equal(X[~np.isnan(asked)], asked[~np.isnan(asked)])
    assert X[:n, 2].mean() == pytest.approx(1 / (1 + np.exp(-1.5)), abs=0.05)
    for part, mean in ((X[n : 2 * n, 0], 1.5), (X[2 * n :, 0], -1.5)):
        assert part.mean() == pytest.approx(mean, abs=0.15)
        assert part.std() == pytest.approx(1.0, abs=0.15)


def test_given_cells_stay_with_a_sampler_that_adds_noise(dependent):
    generator = with_params(dependent, sampler="reverse_sde")
    X = generator.sample(conditions=[[np.nan, 0.0, 1.0]] * 500, random_state=SEED)
    assert (X[:, 2] == 1).all()
    assert X[:, 0].mean() == pytest.approx(1.5, abs=0.2)


@pytest.mark.parametrize("noise", ["ve", "vp"])
def test_other_processes_and_levels_learn_the_same(noise):
    params = {**QUICK, "max_steps": 5, "noise": noise, "n_levels": 20}
    generator = NCSNGenerator(**params).fit(data(), feature_groups=groups())
    levels_of(generator.sample(20, random_state=SEED), groups()[1])


# Log-densities.


def log_probability(X, generator):
    """log p(number) + Σ log π of independent columns, in the units of X."""
    found = norm.logpdf(X[:, 0], generator.mean_[0], generator.scale_[0])
    for group in groups()[1:]:
        found = found + np.log(group.frequencies)[levels_of(X, group)]
    return found


def test_the_log_density_of_independent_columns_is_that_of_numbers_and_levels(untrained):
    X = data(60, seed=1)
    expected = log_probability(X, untrained)
    # Numbers are blurred by σ = 0.02, which moves what lies three deviations out by 0.002.
    np.testing.assert_allclose(untrained.score_samples(X), expected, atol=5e-3)
    assert untrained.held_out_nll(X) == pytest.approx(-expected.mean(), abs=1e-6)
    assert untrained.score(X) == -untrained.held_out_nll(X)
    weights = np.arange(60.0)
    assert untrained.score(X, sample_weight=weights) == pytest.approx(
        np.average(expected, weights=weights), abs=1e-6
    )


def test_the_log_density_does_not_depend_on_the_smallest_noise_level(untrained):
    X = data(60, seed=1)
    coarse = NCSNGenerator(0.05, **UNTRAINED).fit(data(), feature_groups=groups())
    np.testing.assert_allclose(coarse.score_samples(X), untrained.score_samples(X), atol=0.02)


def test_the_log_density_of_dependent_columns_is_close_to_the_truth(dependent):
    rng = np.random.RandomState(1)
    y = rng.randint(2, size=500)
    X = np.column_stack([np.where(y == 1, 1.5, -1.5) + rng.normal(size=500), np.eye(2)[y]])
    expected = norm.logpdf(X[:, 0], np.where(y == 1, 1.5, -1.5)) + np.log(0.5)
    found = dependent.score_samples(X)
    assert np.sqrt(np.square(found - expected).mean()) < 0.2
    assert found.mean() == pytest.approx(expected.mean(), abs=0.05)
    assert dependent.held_out_nll(X) == pytest.approx(-expected.mean(), abs=0.1)
    # All levels and numbers together have the mass 1.
    x = np.linspace(-7, 7, 100)
    density = sum(
        np.exp(dependent.score_samples(np.column_stack([x, np.tile(code, (100, 1))])))
        for code in np.eye(2)
    )
    assert np.trapezoid(density, x) == pytest.approx(1.0, abs=0.05)
    # It knows how the columns go together.
    swapped = np.column_stack([X[:, 0], X[:, [2, 1]]])
    assert dependent.score(X) > dependent.score(swapped) + 1


def test_only_rows_of_codes_have_a_log_density(fitted):
    with pytest.raises(ValueError, match="no code of 'b'"):
        fitted.score_samples(data() + 0.1)
    with pytest.raises(ValueError, match="no code of 'b'"):
        fitted.score(data() + 0.1)


def test_no_density_is_told_of_numbers_that_may_be_missing():
    df = table()[["gone", "level"]]
    encoder = TabularEncoder(random_state=SEED)
    pipe = make_generative_pipeline(encoder, NCSNGenerator(**QUICK)).fit(df)
    with pytest.raises(ValueError, match="Column 'gone' has missing cells"):
        pipe.score(df)


@pytest.mark.parametrize("method", ["encode", "bits_per_dim", "decode", "interpolate"])
def test_rows_with_categories_have_no_latent_ones(fitted, method):
    arguments = [data(40)[:1]] * (2 if method == "interpolate" else 1)
    with pytest.raises(ValueError, match="is for numbers alone.*Read score_samples"):
        getattr(fitted, method)(*arguments)


def test_a_search_over_tables_scores_by_log_densities():
    pipe = make_generative_pipeline(TabularEncoder(random_state=SEED), NCSNGenerator(**QUICK))
    search = GridSearchCV(pipe, {"ncsngenerator__lr": [1e-3, 1e-2]}, cv=2)
    search.fit(table()[["level", "size", "is_on"]])
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


# Conditions that are none.


def test_a_column_is_given_whole_or_not_at_all(fitted):
    asked = np.full((2, 6), np.nan)
    asked[1, 1:3] = 0.0
    with pytest.raises(ValueError, match="of column 'b' and not in others, in row 1"):
        fitted.sample(conditions=asked)


def test_a_given_code_is_that_of_a_level(fitted):
    asked = np.full((1, 6), np.nan)
    asked[0, 1:4] = [0.5, 0.5, 0.0]
    with pytest.raises(ValueError, match="conditions has .* no code of 'b'"):
        fitted.sample(conditions=asked)


# More of the same training.


def test_training_that_goes_on_needs_the_same_codes(fitted):
    goes_on = with_params(fitted, warm_start=True)
    goes_on.set_params(lr=1e-12).fit(data(), feature_groups=groups())
    X = data(40)
    np.testing.assert_allclose(goes_on.denoise(X, 0.5), fitted.denoise(X, 0.5), atol=1e-4)
    other = groups()
    other[2] = FeatureGroup("c", "categorical", 4, 6, CODES[[1, 0, 2, 3]], SHARES["c"])
    with pytest.raises(ValueError, match="warm_start=True goes on from the last fit"):
        goes_on.fit(data(), feature_groups=other)
    with pytest.raises(ValueError, match="stood for something else"):
        goes_on.fit(data())


def test_later_parts_have_the_groups_of_the_first():
    generator = NCSNGenerator(**QUICK).partial_fit(data(), feature_groups=groups())
    first = generator.score_function(data(), 0.5)
    generator.partial_fit(data(seed=1)).partial_fit(data(seed=2), feature_groups=groups())
    assert not np.array_equal(generator.score_function(data(), 0.5), first)
    levels_of(generator.sample(20, random_state=SEED), groups()[1])
    with pytest.raises(ValueError, match="partial_fit goes on from the first call"):
        generator.partial_fit(data(), feature_groups=groups()[:1] + numbers(1, 6))
    with pytest.raises(ValueError, match="no code of 'b'"):
        generator.partial_fit(data() + 0.1)


def numbers(start, stop):
    return [FeatureGroup(j, "numeric", j, j + 1, None, None) for j in range(start, stop)]


def test_a_pickled_generator_gives_the_same_rows(fitted):
    loaded = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(
        loaded.sample(5, random_state=1), fitted.sample(5, random_state=1)
    )


# With an encoder.


def table(n=300):
    rng = np.random.RandomState(SEED)
    return pd.DataFrame(
        {
            "level": pd.Categorical(rng.choice(["lo", "hi", "mid"], size=n)),
            "size": rng.lognormal(size=n).astype(np.float32),
            "count": rng.poisson(2.0, size=n),
            "is_on": rng.random_sample(n) < 0.3,
            "many": rng.choice([f"kind {k}" for k in range(20)], size=n),
            "date": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.randint(0, 99, n), unit="D"),
            "gone": np.where(rng.random_sample(n) < 0.3, np.nan, rng.normal(size=n)),
        }
    )


def test_a_table_goes_through_a_pipeline_and_comes_back_as_it_was():
    df = table()
    pipe = make_generative_pipeline(TabularEncoder(random_state=SEED), NCSNGenerator(**QUICK))
    drawn = pipe.fit(df).sample(200, random_state=SEED)
    pd.testing.assert_series_equal(drawn.dtypes, df.dtypes)
    for name in ("level", "is_on", "many", "count"):
        assert set(drawn[name]) <= set(df[name])
    # Next to a day that comes once, and only there, may be others.
    days = df["date"].value_counts().sort_index()
    new = drawn["date"][~drawn["date"].isin(days.index)]
    after = days.index.searchsorted(new)
    assert (after > 0).all()
    assert (np.minimum(days.to_numpy()[after - 1], days.to_numpy()[after]) == 1).all()
    assert (new == new.dt.normalize()).all()
    assert drawn["gone"].isna().mean() == pytest.approx(0.3, abs=0.15)
    assert pipe[-1].feature_groups_ is not None
    encoded = pipe[-1].sample(200, random_state=SEED)
    for group in pipe[0].feature_groups_:
        if group.codebook is not None:
            levels_of(encoded, group)


def test_a_plain_pipeline_is_told_by_hand():
    df = table()
    encoder = TabularEncoder(random_state=SEED)
    ours = make_generative_pipeline(clone(encoder), NCSNGenerator(**QUICK)).fit(df)
    plain = make_pipeline(clone(encoder), NCSNGenerator(**QUICK))
    plain.fit(df, ncsngenerator__feature_groups=encoder.fit(df).feature_groups_)
    np.testing.assert_array_equal(plain[-1].sample(9, SEED), ours[-1].sample(9, SEED))


def test_a_frame_of_features_comes_back_as_one():
    encoder = TabularEncoder(random_state=SEED).set_output(transform="pandas")
    Z = encoder.fit_transform(table())
    generator = NCSNGenerator(**QUICK).fit(Z, feature_groups=encoder.feature_groups_)
    drawn = generator.sample(9, random_state=SEED)
    assert list(drawn.columns) == list(Z.columns)
    assert len(encoder.inverse_transform(drawn)) == 9


# What is for numbers alone.


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"model": "stack"}, "model='stack' is for numbers alone.*Use model='score'"),
        ({"module": torch.nn.Identity()}, "module=Identity.*Use module=None"),
        ({"parametrization": "v"}, "parametrization='v'.*Use parametrization='preconditioned'"),
        ({"loss_weighting": "ncsn"}, "loss_weighting='ncsn'.*Use loss_weighting='edm'"),
        ({"sigma_min": "cv"}, "sigma_min='cv'.*use a number such as sigma_min=0.02"),
    ],
)
def test_options_of_numbers_are_refused_by_name(params, message):
    with pytest.raises(ValueError, match=message):
        NCSNGenerator(**{**QUICK, **params}).fit(data(), feature_groups=groups())


def test_rows_that_are_not_those_of_the_groups_are_refused():
    with pytest.raises(ValueError, match="feature_groups have 6 features, and X has 5"):
        NCSNGenerator(**QUICK).fit(data()[:, :5], feature_groups=groups())
    with pytest.raises(ValueError, match="no code of 'b'.*without any transform after it"):
        NCSNGenerator(**QUICK).fit(data() * 2, feature_groups=groups())


def test_missing_numbers_do_not_dilute_what_columns_have_in_common():
    errors = []
    for seed in range(5):
        rng = np.random.RandomState(seed)
        z = rng.multivariate_normal([0, 0], [[1, 0.9], [0.9, 1]], size=250)
        df = pd.DataFrame(z, columns=["x", "y"])
        df["y"] = df["y"].mask(rng.rand(250) < 0.6)
        generator = NCSNGenerator(max_steps=200, hidden_units=(64, 64), random_state=seed)
        pipe = make_generative_pipeline(TabularEncoder(random_state=seed), generator).fit(df)
        r = [
            np.arctanh(t.dropna().corr().iloc[0, 1])
            for t in (pipe.sample(4000, random_state=seed), df)
        ]
        errors.append(r[0] - r[1])
    # With noise where a number is missing it is -0.30.
    slack = 0.08 + 4 * np.std(errors, ddof=1) / 5**0.5
    assert np.mean(errors) == pytest.approx(0, abs=min(slack, 0.2))
