"""Scorers for searches: what each measures, what it refuses, and searches that use them."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.decomposition import PCA
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    KFold,
    RandomizedSearchCV,
    cross_validate,
)
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PowerTransformer, StandardScaler

from skscore import (
    DenoisingScoreEstimator,
    NCSNGenerator,
    ScoreMatchingDensity,
    make_generative_pipeline,
)
from skscore.exceptions import TiedValuesWarning
from skscore.metrics import c2st, fisher_divergence
from skscore.model_selection import (
    C2STScorer,
    FisherDivergenceScorer,
    HeldOutNLLScorer,
    LogLikelihoodScorer,
    Scorer,
    c2st_scorer,
    fisher_divergence_scorer,
    held_out_nll_scorer,
    log_likelihood_scorer,
)

SEED = 0
QUICK = {"hidden_units": (8,), "max_steps": 20, "random_state": SEED}
SCORERS = [fisher_divergence_scorer, log_likelihood_scorer, held_out_nll_scorer, c2st_scorer]


def rows(n=150, d=2, seed=SEED):
    rng = np.random.RandomState(seed)
    return rng.standard_normal((n, d)) @ (np.eye(d) + 0.4 * rng.standard_normal((d, d))) + 3


def weights_of(X, seed=SEED):
    return np.random.RandomState(seed).uniform(size=len(X))


def denoiser(**options):
    return DenoisingScoreEstimator(**{"sigma": 0.3, **QUICK, **options})


def rounded(n=150, seed=SEED):
    X = rows(n, seed=seed)
    X[:, 1] = X[:, 1].round(1)
    return X


class LinearScore(BaseEstimator):
    """The score -P(x - m) of a Gaussian, from outside of the package."""

    def __init__(self, precision, mean, tensor=False):
        self.precision = precision
        self.mean = mean
        self.tensor = tensor

    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def score_function(self, X):
        score = -(np.asarray(X) - self.mean) @ self.precision
        return torch.from_numpy(score).requires_grad_() if self.tensor else score

    def implicit_score(self, X, weights=None, scale=1.0):
        """-E[‖a s‖² + 2 Σ_j a_j² ∂_j s_j] in closed form."""
        a = np.broadcast_to(scale, X.shape[1])
        squares = (((X - self.mean) @ self.precision * a) ** 2).sum(1)
        return -np.average(squares, weights=weights) + 2 * a**2 @ np.diag(self.precision)


def linear_score(d=2, seed=SEED, **options):
    rng = np.random.RandomState(seed)
    root = rng.standard_normal((d, d))
    return LinearScore(root @ root.T / d + 0.3 * np.eye(d), rng.standard_normal(d) + 3, **options)


# Fisher divergence


@pytest.mark.parametrize("weighted", [False, True])
def test_fisher_divergence_of_an_estimator_is_its_score_bit_for_bit(weighted):
    X, held_out = rows(), rows(40, seed=1)
    weights = weights_of(held_out) if weighted else None
    estimators = [
        denoiser(),
        ScoreMatchingDensity(model="gaussian_mixture", random_state=SEED),
        NCSNGenerator(**QUICK),
    ]
    for estimator in estimators:
        estimator.fit(X)
        found = fisher_divergence_scorer(estimator, held_out, sample_weight=weights)
        assert isinstance(found, float)
        assert found == estimator.score(held_out, sample_weight=weights)


def test_fisher_divergence_of_a_pipeline_is_its_score_bit_for_bit():
    X, held_out = rows(), rows(40, seed=1)
    weights = weights_of(held_out)
    nested = make_pipeline(StandardScaler(), PCA())
    for steps in ([StandardScaler(), denoiser()], [nested, denoiser()], [denoiser()]):
        pipe = make_generative_pipeline(*steps).fit(X)
        assert fisher_divergence_scorer(pipe, held_out) == pipe.score(held_out)
        found = fisher_divergence_scorer(pipe, held_out, sample_weight=weights)
        assert found == pipe.score(held_out, sample_weight=weights)


@pytest.mark.parametrize("tensor", [False, True])
@pytest.mark.parametrize("scale", [None, 2.0, [0.5, 3.0, 1.5]])
@pytest.mark.parametrize("weighted", [False, True])
def test_fisher_divergence_of_a_foreign_gaussian_is_its_closed_form(weighted, scale, tensor):
    X, model = rows(60, 3), linear_score(3, tensor=tensor)
    weights = weights_of(X) if weighted else None
    found = FisherDivergenceScorer(scale)(model, X, sample_weight=weights)
    expected = model.implicit_score(X, weights, 1.0 if scale is None else scale)
    assert isinstance(found, float)
    assert found == pytest.approx(expected, rel=1e-6)


def test_differences_of_two_models_are_differences_of_the_fisher_divergence():
    X = rows(80, 3)
    # Linear scores see two moments of the rows alone: to them the rows are those of a Gaussian.
    truth = LinearScore(np.linalg.inv(np.cov(X.T, ddof=0)), X.mean(0))
    best = fisher_divergence_scorer(truth, X)
    for seed in range(3):
        model = linear_score(3, seed)
        divergence = fisher_divergence(truth.score_function, model.score_function, X)
        assert best - fisher_divergence_scorer(model, X) == pytest.approx(divergence, rel=1e-6)


@pytest.mark.parametrize("make", [rows, rounded], ids=["continuous", "rounded"])
def test_central_differences_agree_with_the_exact_trace(make):
    X, held_out = make() * [1, 20], make(50, seed=1) * [1, 20]
    estimator = denoiser().fit(X)
    weights = weights_of(held_out)
    scorer = FisherDivergenceScorer(scale=estimator.scale_)
    found = scorer(estimator, held_out, sample_weight=weights)
    assert found == pytest.approx(estimator.score(held_out, sample_weight=weights), rel=1e-6)


def test_units_given_by_a_scale_do_not_depend_on_where_the_rows_are_standardised():
    X, held_out = rows() * [1, 20], rows(50, seed=1) * [1, 20]
    inside = denoiser().fit(X)
    outside = make_generative_pipeline(StandardScaler(), denoiser(standardize=False)).fit(X)
    # Networks of single precision, whose inputs differ in their last bits.
    for scorer in (fisher_divergence_scorer, FisherDivergenceScorer(scale=inside.scale_)):
        expected = scorer(inside, held_out)
        assert scorer(outside, held_out) == pytest.approx(expected, rel=1e-4)
    assert FisherDivergenceScorer(scale=X.std(0))(outside, held_out) == pytest.approx(
        outside.score(held_out), rel=1e-6
    )


def test_transforms_can_be_compared_in_units_given_by_a_scale():
    X = np.exp(0.3 * rows(100))  # log-normal
    normal, scorer = LinearScore(np.eye(2), np.zeros(2)), FisherDivergenceScorer(scale=X.std(0))
    scaled = make_generative_pipeline(StandardScaler(), normal).fit(X)
    gaussian = LinearScore(np.diag(1 / X.var(0)), X.mean(0)).implicit_score(X, scale=X.std(0))
    assert scorer(scaled, X) == pytest.approx(gaussian, rel=1e-6)
    power = make_generative_pipeline(PowerTransformer("box-cox"), normal).fit(X)
    # Without a scale each is in units of its own, whose data have the same two moments.
    plain = [fisher_divergence_scorer(pipe[-1], pipe[0].transform(X)) for pipe in (scaled, power)]
    assert plain == pytest.approx([2.0, 2.0], rel=1e-6)
    assert scorer(power, X) > scorer(scaled, X) + 0.1


@pytest.mark.parametrize("factor", [np.array([0.25, 8.0]), np.array([1e-3, 700.0])])
def test_units_of_the_columns_and_of_the_scale_cancel(factor):
    X, scale = rows(60), np.array([0.7, 2.0])
    model = linear_score()
    scaled = LinearScore(model.precision / np.outer(factor, factor), factor * model.mean)
    expected = FisherDivergenceScorer(scale)(model, X)
    found = FisherDivergenceScorer(factor * scale)(scaled, factor * X)
    assert found == pytest.approx(expected, rel=1e-6)


def test_units_of_the_columns_and_of_the_scale_cancel_for_a_network():
    X, held_out, scale = rows(), rows(40, seed=1), np.array([0.7, 2.0])
    factor = np.array([0.25, 8.0])  # powers of two, which leave the rows in the network as they are
    scores = [
        FisherDivergenceScorer(c * scale)(denoiser().fit(c * X), c * held_out)
        for c in (1.0, factor)
    ]
    assert scores[1] == pytest.approx(scores[0], rel=1e-8)


# Rows without a density


TIED = "The Fisher divergence cannot be measured on these rows: 1 of 2 columns hold rounded or"


@pytest.mark.parametrize("frame", [False, True])
@pytest.mark.parametrize("scale", [None, 1.0])
def test_tied_columns_without_noise_are_refused_by_name(scale, frame):
    X = rounded()
    name = "column 1"
    if frame:
        X, name = pd.DataFrame(X, columns=["length", "width"]), "'width'"
    with pytest.warns(TiedValuesWarning):
        bare = denoiser(dequantize=None).fit(X)
    scorer = FisherDivergenceScorer(scale)
    for estimator in (bare, linear_score()):
        with pytest.raises(ValueError, match=rf"{TIED} repeated values: {name} \(steps of 0.1\)"):
            scorer(estimator, X)


def test_tied_columns_are_named_in_the_pipeline_whose_last_step_gives_them_no_noise():
    X = pd.DataFrame(rounded(), columns=["length", "width"])
    pipe = make_generative_pipeline(StandardScaler(), denoiser(dequantize=None))
    with pytest.warns(TiedValuesWarning):
        pipe.set_output(transform="pandas").fit(X)
    with pytest.raises(ValueError, match=rf"{TIED} repeated values: 'width'"):
        fisher_divergence_scorer(pipe, X)


def test_tied_columns_with_noise_in_their_steps_are_scored():
    X, held_out = rounded(), rounded(50, seed=1)
    for dequantize in ("auto", [0, 0.1]):
        estimator = denoiser(dequantize=dequantize).fit(X)
        score = fisher_divergence_scorer(estimator, held_out)
        assert np.isfinite(score)
        assert score == estimator.score(held_out)


def test_rows_of_weight_zero_are_no_ties():
    X, model = np.vstack([rows(60), np.tile([0.0, 7.0], (40, 1))]), linear_score()
    X[60:, 0] += np.linspace(0, 1, 40)
    with pytest.raises(ValueError, match="column 1"):
        fisher_divergence_scorer(model, X)
    weights = np.repeat([1.0, 0.0], [60, 40])
    found = fisher_divergence_scorer(model, X, sample_weight=weights)
    assert found == pytest.approx(model.implicit_score(X[:60]), rel=1e-6)


@pytest.mark.filterwarnings("ignore::skscore.exceptions.TiedValuesWarning")
def test_search_over_rows_without_a_density_raises():
    search = GridSearchCV(
        denoiser(dequantize=None),
        {"sigma": [0.1, 0.3]},
        scoring=fisher_divergence_scorer,
        cv=2,
        error_score="raise",
    )
    with pytest.raises(ValueError, match=rf"{TIED} repeated values: column 1"):
        search.fit(rounded())


# Log-likelihood


def test_log_likelihood_is_the_weighted_mean_of_the_log_density():
    X, held_out = rows(), rows(40, seed=1)
    weights = weights_of(held_out)
    for model in (KernelDensity(bandwidth=0.4), ScoreMatchingDensity(model="gaussian")):
        log_density = model.fit(X).score_samples(held_out)
        found = log_likelihood_scorer(model, held_out, sample_weight=weights)
        assert isinstance(found, float)
        assert found == pytest.approx(weights @ log_density / weights.sum(), rel=1e-12)
        assert log_likelihood_scorer(model, held_out) == pytest.approx(log_density.mean())
        # scikit-learn's KernelDensity.score is a sum over rows, not a mean.
    total = KernelDensity(bandwidth=0.4).fit(X).score(held_out)
    kernel = KernelDensity(bandwidth=0.4).fit(X)
    assert 40 * log_likelihood_scorer(kernel, held_out) == pytest.approx(total)


def test_log_likelihood_of_a_pipeline_is_in_the_units_of_its_input():
    X, held_out = rows() * [1, 20], rows(40, seed=1) * [1, 20]
    pipe = make_generative_pipeline(StandardScaler(), KernelDensity(bandwidth=0.4)).fit(X)
    inner = log_likelihood_scorer(pipe[-1], pipe[0].transform(held_out))
    found = log_likelihood_scorer(pipe, held_out)
    assert found == pytest.approx(inner - np.log(pipe[0].scale_).sum(), rel=1e-12)


def test_log_likelihood_refuses_weights_that_do_not_fit():
    X = rows(20)
    model = KernelDensity().fit(X)
    with pytest.raises(ValueError, match=r"sample_weight.shape == \(3,\), expected \(20,\)"):
        log_likelihood_scorer(model, X, sample_weight=np.ones(3))
    with pytest.raises(ValueError, match="Negative values in data passed to `sample_weight`"):
        log_likelihood_scorer(model, X, sample_weight=-np.ones(20))


# Held-out NLL


def test_held_out_nll_is_turned_round():
    X, held_out = rows(), rows(40, seed=1)
    weights = weights_of(held_out)
    generator = NCSNGenerator(**QUICK).fit(X)
    found = held_out_nll_scorer(generator, held_out)
    assert found == -generator.held_out_nll(held_out)
    weighted = held_out_nll_scorer(generator, held_out, sample_weight=weights)
    assert weighted == -generator.held_out_nll(held_out, sample_weight=weights) != found


def test_held_out_nll_of_a_pipeline_is_in_the_units_of_its_input():
    X, held_out = rows() * [1, 20], rows(40, seed=1) * [1, 20]
    pipe = make_generative_pipeline(StandardScaler(), NCSNGenerator(standardize=False, **QUICK))
    pipe.fit(X)
    inner = held_out_nll_scorer(pipe[-1], pipe[0].transform(held_out))
    found = held_out_nll_scorer(pipe, held_out)
    assert found == pytest.approx(inner - np.log(pipe[0].scale_).sum(), rel=1e-12)
    alone = NCSNGenerator(standardize=True, **QUICK).fit(X)
    assert found == pytest.approx(held_out_nll_scorer(alone, held_out), rel=1e-4)


# Classifier two-sample test


def test_c2st_is_turned_round_and_draws_as_many_rows_as_are_held_out():
    X, held_out = rows(), rows(60, seed=1)
    weights = weights_of(held_out)
    for model in (
        ScoreMatchingDensity(model="gaussian"),
        make_generative_pipeline(StandardScaler(), KernelDensity(bandwidth=0.4)),
    ):
        drawn = model.fit(X).sample(60, random_state=3)
        scorer = C2STScorer(cv=3, random_state=3)
        expected = -c2st(held_out, drawn, cv=3, random_state=3)
        assert scorer(model, held_out) == expected
        assert -1 <= expected <= -0.3
        weighted = scorer(model, held_out, sample_weight=weights)
        assert weighted == -c2st(held_out, drawn, sample_weight=weights, cv=3, random_state=3)


def test_c2st_of_a_model_whose_sample_takes_no_seed():
    X, held_out = rows(), rows(60, seed=1)
    mixture = GaussianMixture(2, random_state=11).fit(X)
    drawn = clone(mixture).set_params(random_state=0).fit(X)
    drawn.__dict__.update({**mixture.__dict__, "random_state": 0})
    expected = -c2st(held_out, drawn.sample(60)[0], random_state=0)
    assert c2st_scorer(mixture, held_out) == expected
    assert mixture.random_state == 11
    assert c2st_scorer(mixture, held_out) == expected


def test_c2st_follows_its_seed_and_stays_between_its_bounds():
    X, held_out = rows(), rows(60, seed=1)
    model = ScoreMatchingDensity(model="gaussian").fit(X)
    scores = [C2STScorer(cv=2, random_state=seed)(model, held_out) for seed in (1, 1, 2)]
    assert scores[0] == scores[1] != scores[2]
    far = C2STScorer(cv=2)(model, held_out + 50)
    assert all(-1 <= score <= 0 for score in [*scores, far])
    assert far == pytest.approx(-1)
    assert far < min(scores)


# What they have in common


def test_a_row_of_weight_two_is_the_same_as_the_row_given_twice():
    X, held_out = rows(), rows(40, seed=1)
    counts = np.random.RandomState(2).randint(0, 4, 40)
    repeated = np.repeat(held_out, counts, axis=0)
    scaled = FisherDivergenceScorer(scale=[2.0, 0.5])
    cases = [
        (fisher_divergence_scorer, denoiser()),
        (fisher_divergence_scorer, make_generative_pipeline(StandardScaler(), denoiser())),
        (log_likelihood_scorer, KernelDensity()),
        (log_likelihood_scorer, make_generative_pipeline(StandardScaler(), KernelDensity())),
    ]
    for scorer, model in cases:
        expected = scorer(model.fit(X), repeated)
        for factor in (1, 7.5):
            found = scorer(model, held_out, sample_weight=factor * counts)
            assert found == pytest.approx(expected, rel=1e-12)
        assert scorer(model, held_out) != pytest.approx(expected, rel=1e-4)
    # By central differences, whose step follows the spread of the rows.
    for scorer, model in ((fisher_divergence_scorer, linear_score()), (scaled, denoiser().fit(X))):
        found = scorer(model, held_out, sample_weight=counts)
        assert found == pytest.approx(scorer(model, repeated), rel=1e-6)


@pytest.mark.parametrize(
    ("scorer", "estimator", "method"),
    [
        (fisher_divergence_scorer, KernelDensity(), "score_function"),
        (fisher_divergence_scorer, make_pipeline(StandardScaler(), denoiser()), "score_function"),
        (log_likelihood_scorer, ScoreMatchingDensity(model="score", **QUICK), "score_samples"),
        (held_out_nll_scorer, ScoreMatchingDensity(model="gaussian"), "held_out_nll"),
        (c2st_scorer, linear_score(), "sample"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseEstimator) else value,
)
def test_a_missing_method_is_named_with_the_class(scorer, estimator, method):
    X = rows(60)
    estimator = clone(estimator).fit(X)
    name = type(estimator).__name__
    with pytest.raises(
        TypeError, match=f"{type(scorer).__name__}.*{method}, which {name} does not"
    ):
        scorer(estimator, X)


def test_a_missing_method_of_the_last_step_is_missing_in_a_pipeline():
    X = rows(60)
    pipe = make_generative_pipeline(
        StandardScaler(), ScoreMatchingDensity(model="score", **QUICK)
    ).fit(X)
    assert np.isfinite(fisher_divergence_scorer(pipe, X))
    for scorer, method in ((log_likelihood_scorer, "score_samples"), (SCORERS[2], "held_out_nll")):
        with pytest.raises(TypeError, match=f"{method}, which GenerativePipeline does not have"):
            scorer(pipe, X)


@pytest.mark.parametrize(
    ("scorer", "text"),
    [
        (fisher_divergence_scorer, "FisherDivergenceScorer()"),
        (FisherDivergenceScorer(scale=[1.0, 2.0]), "FisherDivergenceScorer(scale=[1.0, 2.0])"),
        (log_likelihood_scorer, "LogLikelihoodScorer()"),
        (held_out_nll_scorer, "HeldOutNLLScorer()"),
        (C2STScorer(cv=3, random_state=4), "C2STScorer(cv=3, random_state=4)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_scorers_have_parameters_and_are_cloned_pickled_and_printed(scorer, text):
    assert repr(scorer) == text
    assert isinstance(scorer, Scorer)
    for copy in (clone(scorer), pickle.loads(pickle.dumps(scorer)), eval(text)):
        assert copy is not scorer
        assert type(copy) is type(scorer)
        assert copy.get_params() == scorer.get_params()
        assert repr(copy) == text


def test_defaults_of_the_parameters():
    assert fisher_divergence_scorer.get_params() == {"scale": None}
    assert c2st_scorer.get_params() == {"cv": 5, "random_state": 0}
    assert C2STScorer().set_params(cv=2).cv == 2
    for scorer in (LogLikelihoodScorer(), HeldOutNLLScorer()):
        assert scorer.get_params() == {}


# Searches


METRICS = {
    "fisher": fisher_divergence_scorer,
    "log_likelihood": log_likelihood_scorer,
    "c2st": C2STScorer(cv=2),
}


def two_modes(n=200, d=2, seed=SEED):
    rng = np.random.RandomState(seed)
    return rng.choice([-2, 2], (n, 1)) + 0.5 * rng.standard_normal((n, d))


def by_hand(scorer, estimator, X, cv):
    return [scorer(clone(estimator).fit(X[train]), X[test]) for train, test in KFold(cv).split(X)]


@pytest.mark.parametrize("refit", ["fisher", "c2st"])
def test_grid_search_with_several_scorers_is_refitted_by_one_of_them(refit):
    X = two_modes()
    estimator = ScoreMatchingDensity(random_state=SEED)
    grid = {"model": ["gaussian", "gaussian_mixture"]}
    search = GridSearchCV(estimator, grid, scoring=METRICS, refit=refit, cv=2).fit(X)
    assert search.best_params_ == {"model": "gaussian_mixture"}
    for name, scorer in METRICS.items():
        for i, params in enumerate(search.cv_results_["params"]):
            found = [search.cv_results_[f"split{k}_test_{name}"][i] for k in (0, 1)]
            assert found == by_hand(scorer, clone(estimator).set_params(**params), X, 2)


def test_cross_validate_with_all_scorers():
    X = two_modes(120)
    metrics = dict(zip("abcd", [SCORERS[0], SCORERS[1], SCORERS[2], METRICS["c2st"]], strict=True))
    generator = NCSNGenerator(**QUICK)
    found = cross_validate(
        generator, X, scoring=metrics, cv=2, return_estimator=True, return_indices=True
    )
    for name, scorer in metrics.items():
        expected = [
            scorer(fitted, X[test])
            for fitted, test in zip(found["estimator"], found["indices"]["test"], strict=True)
        ]
        assert found[f"test_{name}"].tolist() == expected


def test_randomized_search_chooses_what_by_hand_is_best():
    X = two_modes(120)
    search = RandomizedSearchCV(
        denoiser(),
        {"sigma": [0.01, 0.3, 1.0, 3.0]},
        n_iter=3,
        scoring=fisher_divergence_scorer,
        cv=2,
        random_state=SEED,
    ).fit(X)
    results = search.cv_results_
    means = [
        np.mean(by_hand(fisher_divergence_scorer, denoiser(**params), X, 2))
        for params in results["params"]
    ]
    assert results["mean_test_score"].tolist() == means
    assert search.best_params_ == results["params"][int(np.argmax(means))]
    # The refitted estimator is what a search's own score hands to the scorer.
    assert search.score(X) == search.best_estimator_.score(X)


@pytest.mark.parametrize("scorer", [fisher_divergence_scorer, log_likelihood_scorer])
def test_halving_search_keeps_the_better_model(scorer):
    search = HalvingGridSearchCV(
        ScoreMatchingDensity(random_state=SEED),
        {"model": ["gaussian", "gaussian_mixture"]},
        scoring=scorer,
        cv=2,
        factor=2,
        min_resources=100,
        random_state=SEED,
    ).fit(two_modes(200))
    assert search.n_resources_ == [100, 200]
    assert search.best_params_ == {"model": "gaussian_mixture"}
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


# Metadata routing


def splits_with_weights(X, weights, *, fit, score):
    values = []
    for train, test in KFold(2).split(X):
        estimator = denoiser().fit(X[train], sample_weight=weights[train] if fit else None)
        given = weights[test] if score else None
        values.append(fisher_divergence_scorer(estimator, X[test], sample_weight=given))
    return values


def splits_of(search, metric="score"):
    return [search.cv_results_[f"split{k}_test_{metric}"][0] for k in (0, 1)]


@pytest.mark.parametrize("fit", [False, True])
@pytest.mark.parametrize("score", [False, True])
def test_weights_are_routed_to_where_they_are_asked_for(fit, score):
    X = rows(100)
    weights = weights_of(X) ** 3
    with config_context(enable_metadata_routing=True):
        estimator = denoiser().set_fit_request(sample_weight=fit)
        scorer = FisherDivergenceScorer().set_score_request(sample_weight=score)
        search = GridSearchCV(estimator, {"sigma": [0.3]}, scoring=scorer, cv=2, refit=False)
        given = {"sample_weight": weights} if fit or score else {}
        search.fit(X, **given)
    assert splits_of(search) == splits_with_weights(X, weights, fit=fit, score=score)
    plain = splits_with_weights(X, weights, fit=False, score=False)
    assert (splits_of(search) == plain) == (not fit and not score)


def test_weights_are_routed_to_those_of_several_scorers_that_ask_for_them():
    X = rows(100)
    weights = weights_of(X) ** 3
    with config_context(enable_metadata_routing=True):
        estimator = denoiser().set_fit_request(sample_weight=False)
        scoring = {
            name: FisherDivergenceScorer().set_score_request(sample_weight=name == "weighted")
            for name in ("weighted", "plain")
        }
        search = GridSearchCV(estimator, {"sigma": [0.3]}, scoring=scoring, cv=2, refit=False)
        search.fit(X, sample_weight=weights)
    for name in scoring:
        expected = splits_with_weights(X, weights, fit=False, score=name == "weighted")
        assert splits_of(search, name) == expected


def test_routed_weights_of_zero_leave_rows_out_of_the_score():
    X = rows(100)
    weights = np.random.RandomState(1).randint(0, 2, 100)
    with config_context(enable_metadata_routing=True):
        estimator = denoiser().set_fit_request(sample_weight=False)
        scorer = FisherDivergenceScorer().set_score_request(sample_weight=True)
        search = GridSearchCV(estimator, {"sigma": [0.3]}, scoring=scorer, cv=2, refit=False)
        search.fit(X, sample_weight=weights)
    expected = [
        denoiser().fit(X[train]).score(X[test][weights[test] == 1])
        for train, test in KFold(2).split(X)
    ]
    assert splits_of(search) == pytest.approx(expected, rel=1e-12)


def test_what_a_clone_asks_of_metadata_routing_is_what_the_scorer_asks():
    with config_context(enable_metadata_routing=True):
        scorer = C2STScorer().set_score_request(sample_weight=True)
        for copy in (scorer, clone(scorer), pickle.loads(pickle.dumps(scorer))):
            assert copy.get_metadata_routing().score.requests == {"sample_weight": True}
        assert c2st_scorer.get_metadata_routing().score.requests.get("sample_weight") is None


# Jobs


@pytest.mark.parametrize("d", [5, 10])
def test_number_of_jobs_changes_no_bit_of_a_search(d):
    X = rows(150, d)
    grid = {
        "denoisingscoreestimator__sigma": [0.1, 0.5],
        "denoisingscoreestimator__hidden_units": [(8,), (16, 16)],
    }
    pipe = make_generative_pipeline(
        StandardScaler(), DenoisingScoreEstimator(max_steps=20, random_state=SEED)
    )
    before = torch.get_num_threads()
    results = []
    for n_jobs in (1, 2):
        search = GridSearchCV(
            pipe, grid, scoring=fisher_divergence_scorer, cv=2, n_jobs=n_jobs, refit=False
        ).fit(X)
        assert torch.get_num_threads() == before
        results.append(search.cv_results_)
    for k in (0, 1):
        alone, together = (r[f"split{k}_test_score"] for r in results)
        assert np.isfinite(alone).all()
        assert len(set(alone)) == 4
        np.testing.assert_array_equal(alone, together)


# Units and noise


def test_a_constant_feature_adds_nothing_that_depends_on_the_noise_level():
    X = np.column_stack([rows(), np.ones(150)])
    estimator = denoiser().fit(X)
    scored = FisherDivergenceScorer(estimator.scale_)(estimator, X)
    assert scored == pytest.approx(estimator.score(X), rel=1e-6)


def test_noise_in_the_steps_is_that_of_the_estimator():
    X = rows(300)
    X[:100, 1] = 0
    estimator = denoiser(dequantize=[0, 0.2]).fit(X)
    scored = FisherDivergenceScorer(estimator.scale_)(estimator, X)
    assert scored == pytest.approx(estimator.score(X), rel=1e-6)
    pipe = make_generative_pipeline(StandardScaler(), denoiser(dequantize=[0, 0.2])).fit(X)
    scored = FisherDivergenceScorer(pipe[0].scale_ * pipe[1].scale_)(pipe, X)
    assert scored == pytest.approx(pipe.score(X), rel=1e-5)


@pytest.mark.parametrize("scale", [0, -1.0, np.nan, np.inf, [1, 2, 3], "a"])
def test_a_scale_that_is_no_unit_is_refused(scale):
    with pytest.raises(ValueError, match="has no unit for each of 2 features"):
        FisherDivergenceScorer(scale)(linear_score(), rows())


def test_weights_of_another_length_are_refused():
    for model in (denoiser().fit(rows(20)), linear_score()):
        with pytest.raises(ValueError, match=r"sample_weight.shape == \(3,\), expected \(20,\)"):
            fisher_divergence_scorer(model, rows(20), sample_weight=np.ones(3))


@pytest.mark.filterwarnings("ignore::skscore.exceptions.TiedValuesWarning")
def test_tied_columns_behind_a_scaler_keep_their_names():
    X = pd.DataFrame(rounded(), columns=["length", "width"])
    pipe = make_generative_pipeline(StandardScaler(), denoiser(dequantize=None)).fit(X)
    with pytest.raises(ValueError, match="'width'"):
        fisher_divergence_scorer(pipe, X)


def test_the_base_of_the_scorers_scores_nothing():
    with pytest.raises(TypeError, match="is an interface"):
        Scorer()(linear_score(), rows())
