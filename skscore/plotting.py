"""Pictures of fitted estimators, as scikit-learn's displays: ``Display.from_estimator(...)``."""

from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skscore._sigma_path import choose, standard_errors
from skscore._validation import Array

__all__ = ["SigmaPathDisplay"]

_SCORE_NAME = "held-out score: constant − Fisher divergence"


class SigmaPathDisplay:
    """The held-out score of each noise level, its error, and the noise level that was chosen.

    Make one with `from_estimator` or `from_search`.

    Parameters
    ----------
    sigmas : ndarray of shape (n_sigmas,)
        Noise levels, rising.
    scores : ndarray of shape (n_folds, n_sigmas)
        Held-out score of each fold, higher is better.
    sigma : float
        The noise level that was chosen.
    score_name : str, default="held-out score: constant − Fisher divergence"
        Label of the scores.

    Attributes
    ----------
    mean_, std_ : ndarray of shape (n_sigmas,)
        Mean over folds, and its standard error.
    sigma_min_, sigma_1se_ : float
        The noise level of the best mean score, and the largest within one standard error of it.
    ax_ : matplotlib Axes
        Where it was drawn.
    figure_ : matplotlib Figure
        Its figure.
    line_, band_ : matplotlib Line2D, PolyCollection
        The curve, and the band of one standard error on either side.

    Examples
    --------
    >>> from skscore import DenoisingScoreEstimatorCV
    >>> X = np.random.RandomState(0).standard_normal((200, 1))
    >>> search = DenoisingScoreEstimatorCV(4, cv=3, max_steps=50, random_state=0).fit(X)
    >>> display = SigmaPathDisplay.from_estimator(search)
    >>> display.sigma_1se_ >= display.sigma_min_
    True
    """

    def __init__(
        self,
        sigmas: Array,
        scores: Array,
        sigma: float,
        *,
        score_name: str = _SCORE_NAME,
    ) -> None:
        self.sigmas = sigmas
        self.scores = scores
        self.sigma = sigma
        self.score_name = score_name

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None, **line_options: Any) -> Self:
        """Draw the path of a fitted estimator that has one.

        Parameters
        ----------
        estimator : DenoisingScoreEstimatorCV, or NCSNGenerator with ``sigma_min="cv"``
            Fitted.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        **line_options : dict
            For ``ax.plot``.

        Returns
        -------
        display : SigmaPathDisplay

        Raises
        ------
        ValueError
            If the estimator has no path of noise levels.
        """
        check_is_fitted(estimator)
        if not hasattr(estimator, "score_path_"):
            raise ValueError(
                f"{type(estimator).__name__} has chosen no noise level; give a "
                "DenoisingScoreEstimatorCV, an NCSNGenerator with sigma_min='cv', or a search to "
                "from_search."
            )
        chosen = estimator.sigma_ if hasattr(estimator, "sigma_") else estimator.sigma_min_
        display = cls(estimator.sigmas_, estimator.score_path_, chosen)
        return display.plot(ax=ax, **line_options)

    @classmethod
    def from_search(
        cls,
        search: Any,
        *,
        param_name: str | None = None,
        metric: str | None = None,
        ax: Any = None,
        **line_options: Any,
    ) -> Self:
        """Draw the scores of a search over noise levels.

        Parameters
        ----------
        search : GridSearchCV, RandomizedSearchCV or a halving search
            Fitted, over a noise level and perhaps other parameters; at each noise level the best
            of these is drawn.
        param_name : str or None, default=None
            Name of the noise level among the parameters. None is the only one that is, or ends in,
            "sigma" or "sigma_min".
        metric : str or None, default=None
            Which of several metrics; None is the one it was refitted by. Of another, the noise
            level that is best by it is the one that is marked.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        **line_options : dict
            For ``ax.plot``.

        Returns
        -------
        display : SigmaPathDisplay

        Raises
        ------
        ValueError
            If the parameter or the metric is not among those of the search.
        """
        check_is_fitted(search, "cv_results_")
        results = search.cv_results_
        name = _noise_parameter(search, param_name)
        refitted_by = search.refit if isinstance(search.refit, str) else "score"
        metric = refitted_by if metric is None else metric
        if f"mean_test_{metric}" not in results:
            known = [key[10:] for key in results if key.startswith("mean_test_")]
            raise ValueError(f"metric={metric!r} is not among those of the search: {known}.")
        params = results["params"]
        means = results[f"mean_test_{metric}"]
        # Of a halving search the last round that each took part in; without those that failed.
        last = {str(p): i for i, p in enumerate(params) if name in p and np.isfinite(means[i])}
        if not last:
            raise ValueError(f"No noise level of the search has a finite {metric!r}.")
        rows = np.array(list(last.values()))
        levels = np.array([params[i][name] for i in rows], dtype=np.float64)
        sigmas = np.unique(levels)
        best = [max(rows[levels == sigma], key=lambda i: means[i]) for sigma in sigmas]
        scores = np.array([results[f"split{k}_test_{metric}"] for k in range(search.n_splits_)])
        chosen = getattr(search, "best_params_", {}) if metric == refitted_by else {}
        sigma = chosen.get(name, sigmas[np.argmax(means[best])])
        label = _SCORE_NAME if metric == "score" else metric
        display = cls(sigmas, scores[:, best], float(sigma), score_name=label)
        return display.plot(ax=ax, **line_options)

    def plot(self, ax: Any = None, **line_options: Any) -> Self:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        **line_options : dict
            For ``ax.plot``.

        Returns
        -------
        display : SigmaPathDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        try:
            import matplotlib.pyplot as plt
            from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter
        except ImportError as error:
            raise ImportError("Displays need matplotlib; install it, or skscore[plot].") from error
        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        self.mean_ = self.scores.mean(axis=0)
        self.std_ = standard_errors(self.scores)
        self.sigma_min_ = choose(self.sigmas, self.scores, "min")
        self.sigma_1se_ = choose(self.sigmas, self.scores, "1se")
        (self.line_,) = ax.plot(self.sigmas, self.mean_, **{"marker": "o", **line_options})
        self.band_ = ax.fill_between(
            self.sigmas,
            self.mean_ - self.std_,
            self.mean_ + self.std_,
            color=self.line_.get_color(),
            alpha=0.2,
            lw=0,
            label="± one standard error",
        )
        ax.axvline(self.sigma, color="0.2", ls="-", label=f"chosen: σ = {self.sigma:.3g}")
        ax.axvline(
            self.sigma_1se_, color="0.2", ls=":", label=f"one standard error: {self.sigma_1se_:.3g}"
        )
        # The least σ can be thousands below all others, which would then be one flat line.
        near = self.mean_ >= np.median(self.mean_)
        top = (self.mean_ + self.std_).max()
        bottom = (self.mean_ - self.std_)[near].min()
        if np.isfinite([top, bottom]).all() and top > bottom:
            margin = 0.1 * (top - bottom)
            ax.set_ylim(max(ax.get_ylim()[0], bottom - (top - bottom)), top + margin)
        ax.set(xscale="log", xlabel="noise level σ", ylabel=self.score_name)
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.legend()
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _noise_parameter(search: Any, name: str | None) -> str:
    names = sorted({key for params in search.cv_results_["params"] for key in params})
    if name is not None:
        if name not in names:
            raise ValueError(f"param_name={name!r} was not searched over; {names} were.")
        return name
    found = [key for key in names if key.rpartition("__")[2] in ("sigma", "sigma_min")]
    if len(found) != 1:
        raise ValueError(
            f"The search over {names} has {len(found)} parameters that are noise levels; give "
            "param_name."
        )
    return found[0]
