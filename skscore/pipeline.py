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

from skscore._conditioning import carry_given, read_conditions
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
    skscore.pipeline.log_abs_det_jacobian : The supported transforms, and how to add one.

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
    def sample(self, n_samples: int | None = None, random_state: Any = None, **options: Any) -> Any:
        """Draw rows in the units, container and dtypes of the training data.

        Parameters
        ----------
        n_samples : int, default=None
            How many. None is 1, or one for each row of ``conditions``.
        random_state : int, RandomState or None, default=None
            None draws afresh; an int gives the same rows each time. A last step whose ``sample``
            takes none, such as `sklearn.mixture.GaussianMixture`, draws from a copy of itself
            that has this ``random_state``.
        **options : dict
            For ``sample`` of the last step. Behind transforms there can be two, both in the units
            of the training data. ``conditions``: a table or a dict of columns, missing where a
            cell is to be drawn; given cells come back as they are. They go through transforms of
            single columns: scalers, `PowerTransformer` and `QuantileTransformer` of scikit-learn,
            `TabularEncoder`, and those with an attribute ``feature_columns_``, the position of the
            column that each of their features is made of. ``constraints``: callables that are
            given rows and return which may stay.

        Returns
        -------
        X : DataFrame or ndarray of shape (n_samples, n_features)
            What the last step returns beside its rows, such as labels, is dropped.

        Raises
        ------
        NotFittedError
            If the pipeline has not been fitted as a whole.
        TypeError
            If a step has no inverse, ``random_state`` or an option cannot be honoured, or a
            transform mixes columns so that given cells have no place behind it.
        ValueError
            If ``conditions`` do not fit the training data.
        """
        check_is_fitted(self, "container_")
        transforms, final = active_steps(self.steps[:-1]), self.steps[-1][1]
        _check_invertible(transforms)
        _check_options(self.steps[-1], options, behind_transforms=bool(transforms))
        if not transforms:
            return self.container_.wrap(draw_rows(final, n_samples, random_state, **options))

        def undo(Z: Any) -> Any:
            for _, step in reversed(transforms):
                Z = step.inverse_transform(Z)
            return self.container_.wrap(Z)

        given = None
        if options.get("conditions") is not None:
            filler = undo(np.zeros((1, final.n_features_in_)))
            given = read_conditions(filler, options["conditions"], n_samples)
            options["conditions"] = None
        if given is not None:
            options["conditions"], n_samples = carry_given(transforms, given), None
        if options.get("constraints") is not None:
            options["constraints"] = _constraints_after(undo, options["constraints"])
        X = undo(draw_rows(final, n_samples, random_state, **options))
        return X if given is None else given.put_back(X)

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


def _check_options(
    last: tuple[str, Any], options: dict[str, Any], *, behind_transforms: bool
) -> None:
    final = last[1]
    parameters = signature(final.sample).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    unknown = [option for option in options if option not in parameters]
    if unknown and not takes_any:
        raise TypeError(
            f"{step_label(*last)} takes no {unknown[0]} in sample; it takes {list(parameters)}."
        )
    foreign = [option for option in options if option not in ("conditions", "constraints")]
    if foreign and behind_transforms:
        raise TypeError(
            f"{foreign[0]} of {step_label(*last)} would be of transformed data; only "
            "conditions and constraints are carried through the steps before it. Give the "
            "others to its own sample."
        )


def _constraints_after(undo: Callable[[Any], Any], constraints: Any) -> list[Callable[[Any], Any]]:
    """Return constraints on transformed rows."""

    def after(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda Z: check(undo(Z))

    return [after(check) for check in ([constraints] if callable(constraints) else constraints)]


def draw_rows(final: Any, n_samples: int | None, random_state: Any, **options: Any) -> Any:
    """Draw from anything with ``sample``, seeded by whatever way it has; labels are dropped."""
    if n_samples is not None:
        options["n_samples"] = n_samples
    elif options.get("conditions") is None:
        options["n_samples"] = 1
    if "random_state" in signature(final.sample).parameters:
        drawn = final.sample(random_state=random_state, **options)
    elif hasattr(final, "random_state"):
        final = copy.copy(final)
        final.random_state = random_state
        drawn = final.sample(**options)
    elif random_state is None:
        drawn = final.sample(**options)
    else:
        raise TypeError(
            f"{type(final).__name__} takes no random_state, neither in sample nor as a parameter; "
            "leave random_state=None."
        )
    return drawn[0] if isinstance(drawn, tuple) else drawn
