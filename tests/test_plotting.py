"""Pictures: the path of noise levels of an estimator and of a search."""

import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgba
from scipy import stats
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skscore import (
    DenoisingScoreEstimator,
    DenoisingScoreEstimatorCV,
    NCSNGenerator,
    make_generative_pipeline,
)
from skscore.model_selection import fisher_divergence_scorer
from skscore.plotting import SigmaPathDisplay

SEED = 0
QUICK = {"hidden_units": (8,), "max_steps": 20, "random_state": SEED}
SIGMAS = [0.1, 0.5, 2.0]


@pytest.fixture(autouse=True)
def closed_figures():
    before = plt.get_fignums()
    yield
    for number in set(plt.get_fignums()) - set(before):
        plt.close(number)


def rows(n=60, d=1, seed=SEED):
    return np.random.RandomState(seed).standard_normal((n, d))


class Known(BaseEstimator):
    """Has a score that can be foretold."""

    def __init__(self, sigma=1.0, sigma_min=0.0, width=1):
        self.sigma = sigma
        self.sigma_min = sigma_min
        self.width = width

    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def score(self, X, y=None):
        return self.worth(self.sigma, self.width) + X.mean() * (1 + self.sigma)

    @staticmethod
    def worth(sigma, width):
        return -(np.log(sigma) ** 2) - (width - 2) ** 2 * sigma


def known_search(grid=None, **options):
    grid = {"sigma": SIGMAS} if grid is None else grid
    return GridSearchCV(Known(), grid, **{"cv": 3, **options}).fit(rows())


def splits_of(search, metric="score"):
    """Return the scores, folds by candidates."""
    return np.array(
        [search.cv_results_[f"split{k}_test_{metric}"] for k in range(search.n_splits_)]
    )


def check_picture(display, sigmas, scores, chosen):
    """What is drawn is the mean over folds, one standard error around it, and what was chosen."""
    mean, error = scores.mean(0), stats.sem(scores)
    np.testing.assert_array_equal(display.sigmas, sigmas)
    np.testing.assert_array_equal(display.scores, scores)
    np.testing.assert_allclose(display.mean_, mean, rtol=1e-12)
    np.testing.assert_allclose(display.std_, error, rtol=1e-12)
    np.testing.assert_array_equal(display.line_.get_xdata(), sigmas)
    np.testing.assert_array_equal(display.line_.get_ydata(), display.mean_)
    corners = np.unique(display.band_.get_paths()[0].vertices, axis=0)
    expected = np.vstack([np.column_stack([sigmas, mean + s * error]) for s in (-1, 1)])
    np.testing.assert_allclose(corners, np.unique(expected, axis=0), rtol=1e-12)
    assert display.sigma == chosen
    best = mean.argmax()
    assert display.sigma_min_ == sigmas[best]
    assert display.sigma_1se_ == max(
        s for s, m in zip(sigmas, mean, strict=True) if m >= mean[best] - error[best]
    )
    assert display.sigma_1se_ >= display.sigma_min_
    upright = [line.get_xdata()[0] for line in display.ax_.lines[-2:]]
    assert upright == [chosen, display.sigma_1se_]
    assert display.ax_.get_xscale() == "log"
    assert display.figure_ is display.ax_.figure
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert f"chosen: σ = {chosen:.3g}" in texts
    display.figure_.canvas.draw()


# Of an estimator


@pytest.mark.parametrize("selection", ["min", "1se"])
def test_path_of_an_estimator_is_drawn(selection):
    search = DenoisingScoreEstimatorCV(SIGMAS, cv=3, selection=selection, **QUICK).fit(rows())
    display = SigmaPathDisplay.from_estimator(search)
    check_picture(display, search.sigmas_, search.score_path_, search.sigma_)
    assert display.sigma == (display.sigma_min_ if selection == "min" else display.sigma_1se_)
    np.testing.assert_array_equal(display.std_, search.score_path_std_)
    assert display.ax_.get_xlabel() == "noise level σ"
    assert display.ax_.get_ylabel() == "held-out score: constant − Fisher divergence"


def test_path_of_a_generator_that_chose_its_least_noise_level_is_drawn():
    generator = NCSNGenerator("cv", **QUICK).fit(rows())
    display = SigmaPathDisplay.from_estimator(generator)
    check_picture(display, generator.sigmas_, generator.score_path_, generator.sigma_min_)


def test_estimators_without_a_path_are_refused():
    X, figures = rows(), plt.get_fignums()
    for estimator in (DenoisingScoreEstimator(**QUICK), NCSNGenerator(**QUICK)):
        name = type(estimator).__name__
        message = f"{name} has chosen no noise level; give a DenoisingScoreEstimatorCV.*from_search"
        with pytest.raises(ValueError, match=message):
            SigmaPathDisplay.from_estimator(estimator.fit(X))
    with pytest.raises(ValueError, match="Known has chosen no noise level"):
        SigmaPathDisplay.from_estimator(Known().fit(X))
    with pytest.raises(NotFittedError, match="DenoisingScoreEstimatorCV instance is not fitted"):
        SigmaPathDisplay.from_estimator(DenoisingScoreEstimatorCV())
    assert plt.get_fignums() == figures


# Of a search


def test_search_over_noise_levels_is_drawn():
    search = known_search({"sigma": [2.0, 0.1, 0.5, 1.0]})
    display = SigmaPathDisplay.from_search(search)
    order = [1, 2, 3, 0]
    check_picture(display, [0.1, 0.5, 1.0, 2.0], splits_of(search)[:, order], 1.0)
    assert display.ax_.get_ylabel() == "held-out score: constant − Fisher divergence"


def test_best_of_the_other_parameters_is_drawn_at_each_noise_level():
    search = known_search({"width": [1, 2, 4], "sigma": SIGMAS})
    display = SigmaPathDisplay.from_search(search)
    expected = np.empty((3, 3))
    for j, sigma in enumerate(SIGMAS):
        at = [i for i, p in enumerate(search.cv_results_["params"]) if p["sigma"] == sigma]
        expected[:, j] = splits_of(search)[:, max(at, key=lambda i: splits_of(search)[:, i].mean())]
    check_picture(display, SIGMAS, expected, search.best_params_["sigma"])
    alone = GridSearchCV(Known(width=2), {"sigma": SIGMAS}, cv=3).fit(rows())
    np.testing.assert_array_equal(display.scores, splits_of(alone))


def test_search_in_a_pipeline_is_drawn():
    pipe = make_generative_pipeline(StandardScaler(), DenoisingScoreEstimator(**QUICK))
    grid = {"denoisingscoreestimator__sigma": SIGMAS}
    search = GridSearchCV(pipe, grid, scoring=fisher_divergence_scorer, cv=2).fit(rows())
    display = SigmaPathDisplay.from_search(search)
    check_picture(display, SIGMAS, splits_of(search), search.best_params_[next(iter(grid))])
    nested = GridSearchCV(make_pipeline(make_pipeline(Known())), {}, cv=3)
    nested.set_params(param_grid={"pipeline__known__sigma_min": SIGMAS}).fit(rows())
    assert SigmaPathDisplay.from_search(nested).sigmas.tolist() == SIGMAS


def first(estimator, X, y=None):
    return Known.worth(estimator.sigma, 2) + X.mean()


def second(estimator, X, y=None):
    return -abs(estimator.sigma - 2.0) + 2 * X.mean()


def test_one_of_several_metrics_is_drawn():
    search = known_search(scoring={"first": first, "second": second}, refit="second")
    assert search.best_params_ == {"sigma": 2.0}
    for metric in ("first", "second"):
        display = SigmaPathDisplay.from_search(search, metric=metric)
        best = {"first": 0.5, "second": 2.0}[metric]
        check_picture(display, SIGMAS, splits_of(search, metric), best)
        assert display.ax_.get_ylabel() == metric
        assert display.sigma_min_ == best
    display = SigmaPathDisplay.from_search(search)  # the one it was refitted by
    check_picture(display, SIGMAS, splits_of(search, "second"), 2.0)


def test_best_noise_level_is_marked_where_a_search_was_not_refitted():
    search = known_search(refit=False)
    check_picture(SigmaPathDisplay.from_search(search), SIGMAS, splits_of(search), 0.5)
    search = known_search(scoring={"first": first, "second": second}, refit=False)
    display = SigmaPathDisplay.from_search(search, metric="second")
    check_picture(display, SIGMAS, splits_of(search, "second"), 2.0)


def test_randomized_search_is_drawn():
    search = RandomizedSearchCV(
        Known(), {"sigma": stats.loguniform(0.1, 10)}, n_iter=5, cv=3, random_state=SEED
    ).fit(rows())
    display = SigmaPathDisplay.from_search(search)
    order = np.argsort([params["sigma"] for params in search.cv_results_["params"]])
    sigmas = [search.cv_results_["params"][i]["sigma"] for i in order]
    check_picture(display, sigmas, splits_of(search)[:, order], search.best_params_["sigma"])


def test_last_round_of_each_noise_level_of_a_halving_search_is_drawn():
    search = HalvingGridSearchCV(
        Known(),
        {"sigma": [0.1, 0.5, 2.0, 8.0]},
        cv=3,
        factor=2,
        min_resources=20,
        random_state=SEED,
    ).fit(rows())
    results = search.cv_results_
    assert results["iter"].tolist() == [0, 0, 0, 0, 1, 1]
    last = {params["sigma"]: i for i, params in enumerate(results["params"])}
    assert sorted(last.values())[-2:] == [4, 5]
    sigmas = sorted(last)
    expected = splits_of(search)[:, [last[sigma] for sigma in sigmas]]
    check_picture(
        SigmaPathDisplay.from_search(search), sigmas, expected, search.best_params_["sigma"]
    )


def test_parameter_of_several_noise_levels_has_to_be_named():
    search = known_search({"sigma": [0.5, 2.0], "sigma_min": [0.01, 0.02, 0.03]})
    message = r"over \['sigma', 'sigma_min'\] has 2 parameters that are noise levels; give param_na"
    with pytest.raises(ValueError, match=message):
        SigmaPathDisplay.from_search(search)
    assert SigmaPathDisplay.from_search(search, param_name="sigma").sigmas.tolist() == [0.5, 2.0]
    display = SigmaPathDisplay.from_search(search, param_name="sigma_min")
    assert display.sigmas.tolist() == [0.01, 0.02, 0.03]


def test_parameter_with_another_name_can_be_given():
    search = known_search({"width": [1, 2, 3]})
    with pytest.raises(ValueError, match=r"The search over \['width'\] has 0 parameters"):
        SigmaPathDisplay.from_search(search)
    display = SigmaPathDisplay.from_search(search, param_name="width")
    check_picture(display, [1, 2, 3], splits_of(search), 2)


def test_unknown_parameters_metrics_and_searches_are_refused():
    figures = plt.get_fignums()
    search = known_search(scoring={"first": first, "second": second}, refit=False)
    with pytest.raises(ValueError, match=r"param_name='s' was not searched over; \['sigma'\] were"):
        SigmaPathDisplay.from_search(search, param_name="s")
    known = r"is not among those of the search: \['first', 'second'\]"
    with pytest.raises(ValueError, match=f"metric='third' {known}"):
        SigmaPathDisplay.from_search(search, metric="third")
    with pytest.raises(ValueError, match=f"metric='score' {known}"):  # nothing it was refitted by
        SigmaPathDisplay.from_search(search)
    with pytest.raises(ValueError, match=r"metric='first' is not .* search: \['score'\]"):
        SigmaPathDisplay.from_search(known_search(), metric="first")
    with pytest.raises(NotFittedError, match="GridSearchCV instance is not fitted yet"):
        SigmaPathDisplay.from_search(GridSearchCV(Known(), {"sigma": SIGMAS}))
    assert plt.get_fignums() == figures


# The display


def test_given_axes_are_drawn_on_and_options_reach_the_line():
    search = known_search()
    figure, axes = plt.subplots(1, 2)
    figures = plt.get_fignums()
    options = {"color": "tab:red", "marker": "s", "linestyle": "--", "label": "mine"}
    display = SigmaPathDisplay.from_search(search, ax=axes[1], **options)
    assert display.ax_ is axes[1]
    assert display.figure_ is figure
    assert not axes[0].has_data()
    assert plt.get_fignums() == figures
    assert [display.line_.get_color(), display.line_.get_marker()] == ["tab:red", "s"]
    assert [display.line_.get_linestyle(), display.line_.get_label()] == ["--", "mine"]
    np.testing.assert_array_equal(display.band_.get_facecolor(), [to_rgba("tab:red", 0.2)])
    again = display.plot(ax=axes[0])
    assert again is display
    assert display.ax_ is axes[0]
    assert plt.get_fignums() == figures


def test_each_plot_without_axes_makes_one_figure():
    display = SigmaPathDisplay(np.array(SIGMAS), rows(4, 3), 0.5)
    figures = plt.get_fignums()
    for made in (1, 2):
        display.plot()
        assert len(plt.get_fignums()) == len(figures) + made
        assert display.figure_.number not in figures


def test_scores_of_one_fold_have_no_band():
    display = SigmaPathDisplay(np.array(SIGMAS), np.array([[1.0, 3.0, 2.0]]), 0.5).plot()
    assert display.std_.tolist() == [0, 0, 0]
    assert display.sigma_1se_ == display.sigma_min_ == 0.5


def test_noise_levels_far_below_the_others_do_not_flatten_the_curve():
    rng = np.random.RandomState(SEED)
    sigmas = np.geomspace(0.01, 1, 6)
    means = np.array([-5000.0, -40.0, 1.0, 1.5, 1.4, 1.0])
    scores = means + 0.05 * rng.standard_normal((5, 6))
    lowest, highest = SigmaPathDisplay(sigmas, scores, 0.1).plot().ax_.get_ylim()
    assert highest - lowest < 5
    assert lowest < 0.9
    assert highest > 1.6


def test_missing_matplotlib_is_told_of(monkeypatch):
    search = known_search()
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it raises
    with pytest.raises(ImportError, match=r"need matplotlib; install it, or skscore\[plot\]"):
        SigmaPathDisplay.from_search(search)


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
def test_levels_whose_score_failed_are_left_out():
    class Failing(Known):
        def score(self, X, y=None):
            return np.nan if self.sigma > 1 else super().score(X)

    search = GridSearchCV(Failing(), {"sigma": [0.1, 0.5, 2.0]}, cv=3).fit(rows())
    display = SigmaPathDisplay.from_search(search)
    assert display.sigma_min_ == 0.5
    assert display.sigmas.tolist() == [0.1, 0.5]


def test_grids_without_a_noise_level_are_left_out():
    grids = [{"sigma": [0.1, 0.5]}, {"width": [1, 2]}]
    search = GridSearchCV(Known(), grids, cv=3).fit(rows())
    assert SigmaPathDisplay.from_search(search).sigmas.tolist() == [0.1, 0.5]
