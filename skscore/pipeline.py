"""A scikit-learn pipeline that ends in a generative model, and can therefore run backwards.

With z = T(x), T = T_m ∘ ... ∘ T_1 the transforms and p_Z the density of the last step,

    sampling      x = T_1⁻¹(... T_m⁻¹(z)),   z ~ p_Z
    density       log p(x) = log p_Z(T(x)) + Σ_i log |det J_i|,   J_i the Jacobian of T_i

The second line is the change of variables: without the Jacobians, log-densities of two pipelines
with different transforms could not be compared. An elementwise transform has
log |det J| = Σ_j log |T_j'(x_j)|.
"""

import copy
from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from skscore._container import Container, as_array
from skscore._jacobian import (
    Array,
    active_steps,
    log_abs_det_jacobian,
    pull_back_score,
    push_forward,
    step_label,
)

__all__ = ["GenerativePipeline", "draw_rows", "log_abs_det_jacobian", "make_generative_pipeline"]

_GROUPS = "feature_groups"


def _final_step_has(name: str) -> Callable[[Any], bool]:
    def check(self: Any) -> bool:
        getattr(self.steps[-1][1], name)
        return True

    return check


def _pipeline_has(name: str) -> Callable[[Any], bool]:
    def check(self: Any) -> bool:
        getattr(super(GenerativePipeline, self), name)
        return True

    return check


class GenerativePipeline(Pipeline):
    """A pipeline that samples and gives densities in the units of its input.

    The last step is a generative model: anything with ``sample``. Samples go back through
    ``inverse_transform`` of the earlier steps, and log-densities get log |det J| of each. A model
    that can be told which features are codes of a category is told what its encoder knows of them.
    All else, ``fit``, ``score``, ``set_output``, parameters as ``step__name``, is as in
    `sklearn.pipeline.Pipeline`.

    Parameters
    ----------
    steps : list of (str, estimator) tuples
        The names and estimators, the last one generative; "passthrough" skips a step.
    transform_input : list of str, default=None
        As in `sklearn.pipeline.Pipeline`.
    memory : str or joblib.Memory, default=None
        Where fitted transformers are cached.
    verbose : bool, default=False
        Whether to print the time that each step takes to fit.

    Attributes
    ----------
    container_ : Container
        Columns and dtypes of the training data, and none of its rows.

    See Also
    --------
    make_generative_pipeline : The same with names made up.
    log_abs_det_jacobian : The supported transforms, and how to add one.

    Notes
    -----
    ``score`` is that of the last step on transformed data, in *transformed* units: a transform
    that widens the data lowers a log-likelihood there, whether or not the model got worse. To
    choose between transforms, search with
    ``scoring=lambda pipe, X, y=None: pipe.score_samples(X).mean()``.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.mixture import GaussianMixture
    >>> from sklearn.preprocessing import PowerTransformer
    >>> X = np.random.RandomState(0).lognormal(size=(500, 1)).astype(np.float32)
    >>> pipe = make_generative_pipeline(PowerTransformer("box-cox"), GaussianMixture())
    >>> pipe.fit(X).sample(2, random_state=0).dtype
    dtype('float32')
    >>> pipe.score_samples([[1.0]]).round(1)
    array([-0.9])
    """

    container_: Container

    def fit(self, X: Any, y: Any = None, **params: Any) -> "GenerativePipeline":
        """Fit the transforms one after the other, then the generative model.

        If the last transformer has learnt ``feature_groups_``, as
        :class:`~skscore.tabular.TabularEncoder` does, and ``fit`` of the model has a parameter
        ``feature_groups``, as that of :class:`~skscore.NCSNGenerator` does, it gets these groups.
        Groups that are given as ``step__feature_groups`` come first, None being no groups.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Training data; ``sample`` returns the same container, columns and dtypes.
        y : array-like of shape (n_samples,), default=None
            Targets, for steps that use them.
        **params : dict
            As in `sklearn.pipeline.Pipeline.fit`.

        Returns
        -------
        self : GenerativePipeline
        """
        container = Container.of(X)
        super().fit(X, y, **params)
        self.container_ = container
        return self

    def _get_metadata_for_step(
        self, *, step_idx: int, step_params: Any, all_params: Any
    ) -> dict[str, Any]:
        """Add the feature groups that the last transformer has learnt to what the model is told."""
        metadata: dict[str, Any] = super()._get_metadata_for_step(
            step_idx=step_idx, step_params=step_params, all_params=all_params
        )
        transforms = active_steps(self.steps[:-1])
        is_last = step_idx == len(self.steps) - 1
        if not is_last or not transforms or not has_fit_parameter(self.steps[-1][1], _GROUPS):
            return metadata
        groups = getattr(transforms[-1][1], f"{_GROUPS}_", None)
        if groups is None or _GROUPS in metadata["fit"]:
            return metadata
        return {**metadata, "fit": {**metadata["fit"], _GROUPS: groups}}

    @available_if(_pipeline_has("fit_transform"))
    def fit_transform(self, X: Any, y: Any = None, **params: Any) -> Any:
        """Fit, and transform with every step. Only if the last step transforms, too.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,), default=None
            Targets, for steps that use them.
        **params : dict
            As in `sklearn.pipeline.Pipeline.fit_transform`.

        Returns
        -------
        Z : array or DataFrame of shape (n_samples, n_transformed_features)
        """
        container = Container.of(X)
        transformed = super().fit_transform(X, y, **params)
        self.container_ = container
        return transformed

    @available_if(_pipeline_has("fit_predict"))
    def fit_predict(self, X: Any, y: Any = None, **params: Any) -> Any:
        """Fit, and predict with the last step. Only if it has ``fit_predict``.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,), default=None
            Targets, for steps that use them.
        **params : dict
            As in `sklearn.pipeline.Pipeline.fit_predict`.

        Returns
        -------
        prediction : ndarray of shape (n_samples,)
        """
        container = Container.of(X)
        prediction = super().fit_predict(X, y, **params)
        self.container_ = container
        return prediction

    @available_if(_final_step_has("sample"))
    def sample(self, n_samples: int = 1, random_state: Any = None) -> Any:
        """Draw rows in the units, container and dtypes of the training data.

        Parameters
        ----------
        n_samples : int, default=1
            How many.
        random_state : int, RandomState or None, default=None
            None draws afresh; an int gives the same rows each time. A last step whose ``sample``
            takes none, such as `sklearn.mixture.GaussianMixture`, draws from a copy of itself
            that has this ``random_state``.

        Returns
        -------
        X : DataFrame or ndarray of shape (n_samples, n_features)
            Labels that the last step returns beside its rows are dropped.

        Raises
        ------
        NotFittedError
            If the pipeline has not been fitted as a whole.
        TypeError
            If a step has no inverse, or ``random_state`` cannot be honoured.
        """
        check_is_fitted(self, "container_")
        transforms = active_steps(self.steps[:-1])
        _check_invertible(transforms)
        X = draw_rows(self.steps[-1][1], n_samples, random_state)
        for _, step in reversed(transforms):
            X = step.inverse_transform(X)
        return self.container_.wrap(X)

    @available_if(_final_step_has("score_samples"))
    def score_samples(self, X: Any) -> Array:
        """Evaluate the log-density log p(x) = log p_Z(T(x)) + Σ_i log |det J_i|.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Points.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            In nats, per unit of X, given that ``score_samples`` of the last step is a
            log-density in nats.

        Raises
        ------
        NotFittedError
            If the last step is not fitted.
        ValueError
            If log |det J| of a step is not known, or does not exist.
        """
        check_is_fitted(self)
        transformed, log_det = push_forward(self.steps[:-1], X)
        return self.steps[-1][1].score_samples(transformed) + log_det

    @available_if(_final_step_has("score_function"))
    def score_function(self, X: Any) -> Any:
        """Return the score ∇ log p(x) in the units of the input.

        With J the Jacobian of the transforms it is Jᵀ s_Z(T(x)) + ∇ log |det J|.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Points, of numeric columns.

        Returns
        -------
        score : ndarray of shape (n_samples, n_features)
            In 1/units of X.

        Raises
        ------
        NotFittedError
            If the last step is not fitted.
        ValueError
            If the derivatives of a step are not known, or do not exist. Known are those of the
            transforms that `log_abs_det_jacobian` knows; another transformer can have a method
            ``score_before(X, score)`` that returns Jᵀ score + ∇ log |det J|.
        """
        check_is_fitted(self)
        final = self.steps[-1][1]
        return pull_back_score(
            self.steps[:-1], X, lambda Z: as_array(final.score_function(Z)).astype(np.float64)
        )

    @available_if(_final_step_has("held_out_nll"))
    def held_out_nll(self, X: Any, sample_weight: Any = None) -> float:
        """Return minus the mean log-density that the last step estimates without an ODE.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Rows not seen in training.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, not negative; None is 1 each.

        Returns
        -------
        nll : float
            In nats, per unit of X. The standard error is ``held_out_nll_std_`` of the last step.

        Raises
        ------
        NotFittedError
            If the last step is not fitted.
        ValueError
            If log |det J| of a step is not known, or does not exist.
        """
        check_is_fitted(self)
        transformed, log_det = push_forward(self.steps[:-1], X)
        log_dets = np.broadcast_to(log_det, len(X))
        nll = self.steps[-1][1].held_out_nll(transformed, sample_weight=sample_weight)
        return float(nll - np.average(log_dets, weights=sample_weight))


def make_generative_pipeline(
    *steps: Any,
    memory: Any = None,
    verbose: bool = False,
) -> GenerativePipeline:
    """Make a `GenerativePipeline` whose steps are named after their classes.

    Parameters
    ----------
    *steps : estimators
        The transforms, then the generative model.
    memory : str or joblib.Memory, default=None
        Where fitted transformers are cached.
    verbose : bool, default=False
        Whether to print the time that each step takes to fit.

    Returns
    -------
    pipeline : GenerativePipeline

    Examples
    --------
    >>> from sklearn.neighbors import KernelDensity
    >>> from sklearn.preprocessing import StandardScaler
    >>> list(make_generative_pipeline(StandardScaler(), KernelDensity()).named_steps)
    ['standardscaler', 'kerneldensity']
    """
    return GenerativePipeline(make_pipeline(*steps).steps, memory=memory, verbose=verbose)


def _check_invertible(steps: Sequence[tuple[str, Any]]) -> None:
    for name, step in active_steps(steps):
        if isinstance(step, Pipeline):
            _check_invertible(step.steps)
        if isinstance(step, FunctionTransformer) and step.func and not step.inverse_func:
            # Its inverse_transform would be the identity.
            raise TypeError(f"{step_label(name, step)} cannot be undone; give it an inverse_func.")
        if not hasattr(step, "inverse_transform"):
            raise TypeError(
                f"{step_label(name, step)} has no inverse_transform, so nothing can be sampled; "
                "replace it by a transformer that has one, or fit on data already transformed."
            )


def draw_rows(final: Any, n_samples: int, random_state: Any) -> Any:
    """Draw from anything with ``sample``, seeded by whatever way it has; labels are dropped."""
    if "random_state" in signature(final.sample).parameters:
        drawn = final.sample(n_samples, random_state=random_state)
    elif hasattr(final, "random_state"):
        final = copy.copy(final)
        final.random_state = random_state
        drawn = final.sample(n_samples)
    elif random_state is None:
        drawn = final.sample(n_samples)
    else:
        raise TypeError(
            f"{type(final).__name__} takes no random_state, neither in sample nor as a parameter; "
            "leave random_state=None."
        )
    return drawn[0] if isinstance(drawn, tuple) else drawn
