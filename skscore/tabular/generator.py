r"""A generator of tables like a given one.

Columns become features by :class:`~skscore.tabular.TabularEncoder`: numbers become standard normal,
by the randomised probability integral transform, drawn afresh in every batch, and categories codes.
One network learns the score of all of them at every noise level, given any columns or none, and the
probability flow of :func:`~skscore.samplers.dpm_solver` leads from noise to a row. The network
starts from a Gaussian of the numbers, or a mixture, or from one for each level of the category that
says most of them; the level of this category is drawn first, with its share, and the rest of the
row given it. Those of other categories are drawn from their posterior at the smallest noise level,
and then once more, each given all other cells.
"""

from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils._param_validation import (
    Interval,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from skscore._log_densities import mean_and_error
from skscore._validation import (
    Array,
    RandomState,
    check_device,
    check_n_samples,
    check_weights,
    draw_seed,
)
from skscore.tabular._cells import frame_kind, missing_cells
from skscore.tabular._conditions import given_rows
from skscore.tabular._density import TableDensity
from skscore.tabular._drawing import SIGMA_MAX, SIGMA_MIN, draw_rows
from skscore.tabular._given import Given
from skscore.tabular._learning import TableTraining, TrainingOptions
from skscore.tabular._tags import MixedInput
from skscore.tabular.encoder import TabularEncoder

__all__ = ["TabularGenerator"]

_MAX_ROUNDS = 50
# What a fit may leave behind that the next does not set.
_OF_A_FIT = "net_", "n_steps_", "best_step_", "validation_curve_", "feature_names_in_"


class TabularGenerator(MixedInput, BaseEstimator):
    """Generate rows like those of a table of numbers, categories, dates and missing cells.

    A data frame goes in and data frames like it come out: the same columns, dtypes, levels, steps
    of rounded columns and bounds. Columns are encoded by `TabularEncoder`; one noise-conditional
    network learns the score of all of them [1]_, numbers by regression, categories by
    classification [2]_, and at the same time given any columns, so that `sample` can fill rows of
    which some cells are given.

    The network starts from a general location model [5]_: numbers are Gaussian given the level of
    that category, of up to 16 levels, which predicts them best. The level of this category is drawn
    first, with its share, and the others given it. Where no category says much of the numbers, they
    have a Gaussian or, if rows held out are likelier by it, a mixture of up to four.

    Parameters
    ----------
    missing : {"generate", "complete"}, default="generate"
        "generate": rows come with missing cells in the pattern of the data. "complete": missing
        cells are taken as not known, and all cells of generated rows are filled.
    categorical, numeric, datetime : list of column labels, default=None
        Columns to be taken as such; the others by their dtype, see `TabularEncoder`.
    tails : {"clip", "pareto"}, default="clip"
        Whether numbers stay between the least and the largest of the data, or have fitted tails
        beyond them.
    max_stored_values : int, default=10_000
        How many values of a numeric column are kept at most, for its distribution.
    hidden_units : sequence of int or "auto", default="auto"
        Widths of the hidden layers. "auto" is (192, 192, 192), and (512, 512, 512, 512) from
        200 000 rows on.
    max_steps : int or "auto", default="auto"
        Gradient steps. "auto" is as many as draw 2 million ∛(n/1000) rows of the n, at least
        768 000 and at most 10 million; where ``early_stopping`` ends a training in time,
        5 million n/(n + 600), and from 500 rows on 7.5 million n/(n + 600) up to 5 million, if that
        is more, and 0.7 of this where the network starts from a Gaussian for each level of a
        category, or from one that no mixture improves on.
    batch_size : int or "auto", default="auto"
        Rows in a batch. "auto" is 256, and 512 from 500 rows on: a row takes two thirds of the
        time.
    lr : float, default=3e-3
        Largest learning rate; it warms up and falls along a cosine.
    weight_decay : float or "auto", default="auto"
        What AdamW [4]_ takes off a weight in each step, over the learning rate. "auto" is (100/n)²
        for n rows, at least 0.01 and at most 1: tables of some hundred rows are copied later with
        it, and what is generated lies closer to new rows.
    early_stopping : bool or {"copy_rate", "loss"}, default=True
        When training ends before ``max_steps``, and which weights are kept. "copy_rate", or True:
        those of the last validation whose samples copy single training rows (see
        `skscore.metrics.copy_rate`) no more often than these copy each other, or 2 %;
        not looked at above 10 000 rows, nor in tables of categories alone. "loss": those with the
        lowest loss on rows held out, which comes earlier and is best where the law of single cells
        matters, as for intervals; of fewer than 500 rows a second training, for as many steps,
        then takes all. False: the last.
    validation_fraction : float, default=0.1
        Share of the rows held out for ``early_stopping="loss"``.
    n_sampling_steps : int, default=32
        Evaluations of the network for a row.
    initial_noise : {"sobol", "independent"}, default="sobol"
        What the rows of one call of `sample` start from. Either way each row has the law of the
        model. "sobol": a scrambled Sobol sequence [3]_, so that the rows together fill this law
        more evenly than independent draws do. "independent": rows are independent draws, which
        standard errors of statistics over them take for granted.
    device : str or torch.device, default="cpu"
        Where to compute: "cpu", "cuda", "cuda:0".
    verbose : int or bool, default=False
        Whether to show progress bars.
    random_state : int, RandomState or None, default=None
        Seed of the initial weights, the batches and the noise.

    Attributes
    ----------
    encoder_ : TabularEncoder
        How columns became features. It holds the levels of categories and up to
        ``max_stored_values`` values of each numeric column, and no rows.
    net_ : skorch.NeuralNet
        The trained net; its ``module_`` is the score of encoded rows. Missing if no column varies.
    n_steps_, best_step_ : int
        Gradient steps taken, and the step whose weights were kept.
    validation_curve_ : ndarray of shape (n_validations, 2)
        Step and loss of each validation, on rows held out, or on rows trained on where none are.
    copy_rate_ : float
        Share of copies among what the kept weights generate; NaN where that is not looked at.
    log_density_std_ : float
        Standard error that random probes brought into the last `score_samples`, root mean square
        over rows.
    held_out_nll_std_ : float
        Standard error of the last `held_out_nll`.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their labels, if they are strings.

    See Also
    --------
    TabularEncoder : The encoder, for pipelines.

    References
    ----------
    .. [1] Y. Song and S. Ermon, "Generative modeling by estimating gradients of the data
       distribution", NeurIPS 2019.
    .. [2] M. Mueller, K. Gruber and D. Fok, "Continuous diffusion for mixed-type tabular data",
       ICLR 2025.
    .. [3] A. B. Owen, "Randomly permuted (t,m,s)-nets and (t,s)-sequences", Monte Carlo and
       quasi-Monte Carlo methods in scientific computing, 1995.
    .. [4] I. Loshchilov and F. Hutter, "Decoupled weight decay regularization", ICLR 2019.
    .. [5] I. Olkin and R. F. Tate, "Multivariate correlation models with mixed discrete and
       continuous variables", Annals of Mathematical Statistics 1961.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skscore.tabular import TabularGenerator
    >>> rng = np.random.RandomState(0)
    >>> sex = rng.choice(["f", "m"], size=400)
    >>> height = np.where(sex == "m", 178.0, 165.0) + 7 * rng.standard_normal(400)
    >>> df = pd.DataFrame({"sex": sex, "height": height.round()})
    >>> generator = TabularGenerator(max_steps=300, hidden_units=(64, 64), random_state=0).fit(df)
    >>> drawn = generator.sample(1000, random_state=0)
    >>> bool(drawn["height"].isin(df["height"]).mean() > 0.9)
    True
    >>> tall = generator.sample(200, random_state=0, conditions={"height": 190.0})
    >>> bool((tall["sex"] == "m").mean() > 0.7)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "missing": [StrOptions({"generate", "complete"})],
        "categorical": ["array-like", None],
        "numeric": ["array-like", None],
        "datetime": ["array-like", None],
        "tails": [StrOptions({"clip", "pareto"})],
        "max_stored_values": [Interval(Integral, 4, None, closed="left")],
        "hidden_units": [StrOptions({"auto"}), "array-like"],
        "max_steps": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "batch_size": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "early_stopping": ["boolean", StrOptions({"copy_rate", "loss"})],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_sampling_steps": [Interval(Integral, 2, None, closed="left")],
        "initial_noise": [StrOptions({"sobol", "independent"})],
        "device": [str, torch.device],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        *,
        missing: str = "generate",
        categorical: Any = None,
        numeric: Any = None,
        datetime: Any = None,
        tails: str = "clip",
        max_stored_values: int = 10_000,
        hidden_units: Any = "auto",
        max_steps: int | str = "auto",
        batch_size: int | str = "auto",
        lr: float = 3e-3,
        weight_decay: float | str = "auto",
        early_stopping: bool | str = True,
        validation_fraction: float = 0.1,
        n_sampling_steps: int = 32,
        initial_noise: str = "sobol",
        device: str | torch.device = "cpu",
        verbose: int | bool = False,
        random_state: RandomState = None,
    ) -> None:
        self.missing = missing
        self.categorical = categorical
        self.numeric = numeric
        self.datetime = datetime
        self.tails = tails
        self.max_stored_values = max_stored_values
        self.hidden_units = hidden_units
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_sampling_steps = n_sampling_steps
        self.initial_noise = initial_noise
        self.device = device
        self.verbose = verbose
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit the encoder and the score network.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            The table.
        y : Ignored
            Present for API consistency; a target is a column like the others.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, not negative. None is 1 each.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter or the table is out of its range; see `TabularEncoder.fit`.
        """
        validate_parameter_constraints(
            self._parameter_constraints, self.get_params(deep=False), type(self).__name__
        )
        device, seed = check_device(self.device), draw_seed(self.random_state)
        self.encoder_ = TabularEncoder(
            categorical=self.categorical,
            numeric=self.numeric,
            datetime=self.datetime,
            tails=self.tails,
            max_stored_values=self.max_stored_values,
            random_state=seed,
        ).fit(X, sample_weight=sample_weight)
        for name in _OF_A_FIT:
            self.__dict__.pop(name, None)
        self.n_features_in_ = self.encoder_.n_features_in_
        if hasattr(self.encoder_, "feature_names_in_"):
            self.feature_names_in_ = self.encoder_.feature_names_in_
        self.copy_rate_ = np.nan
        if not self.encoder_.n_features_out_:
            return self
        if sample_weight is not None:
            weights = _check_sample_weight(sample_weight, X, dtype=np.float64)
            # The encoder has not seen the others, and may not know their levels.
            counted = np.flatnonzero(weights > 0)
            rows = X if isinstance(X, list) or frame_kind(X) else np.asarray(X)
            X, sample_weight = _safe_indexing(rows, counted), weights[counted]
        asked = {name: getattr(self, name) for name in TrainingOptions._fields}
        training = TableTraining.of_table(
            X,
            sample_weight,
            self.encoder_,
            TrainingOptions(**asked),
            seed,
            device,
            completes=self.missing == "complete",
        )
        trained, self.copy_rate_ = training.run(X)
        self.net_ = trained.net
        self.n_steps_, self.best_step_ = trained.n_steps, trained.best_step
        self.validation_curve_ = trained.curve
        return self

    def sample(
        self,
        n_samples: int | None = None,
        random_state: RandomState = None,
        *,
        conditions: Any = None,
        balance: Any = None,
        constraints: Callable[[Any], Any] | Sequence[Callable[[Any], Any]] | None = None,
    ) -> Any:
        """Draw rows, whole or given some of their cells.

        Parameters
        ----------
        n_samples : int, default=None
            Number of rows. None is 1, or one for each row of ``conditions``.
        random_state : int, RandomState or None, default=None
            Seed; None draws afresh.
        conditions : DataFrame, array-like or dict, default=None
            What is given. A table of some or all of the columns, missing where a cell is to be
            drawn: one row comes back for each, with its given cells as they are and the others
            drawn given these, by the network that was trained on it. Or a dict of a value for each
            of some columns, the same in all rows.
        balance : column label, default=None
            A categorical column, of which all levels are drawn equally often, to within one row.
        constraints : callable or sequence of callables, default=None
            Each is called with generated rows and returns for each whether it may stay. Others are
            drawn again.

        Returns
        -------
        X : DataFrame or array of shape (n_samples, n_features_in_)
            Like the training data: the same container, columns and dtypes.

        Raises
        ------
        ValueError
            If n_samples is not a positive integer or not that of the conditions, the conditions
            have other columns or values that cannot be encoded, or rows that keep the constraints
            are not found in 50 rounds.
        TypeError
            If a constraint cannot be called.
        FloatingPointError
            If the sampler diverges.
        """
        check_is_fitted(self)
        draws: np.random.RandomState = check_random_state(random_state)
        given = given_rows(self.encoder_, n_samples, conditions, balance, draws)
        if given is None:
            n_rows = check_n_samples(1 if n_samples is None else n_samples)
        else:
            n_rows = len(given)
        checks = _checks(constraints)
        z = self._draw(n_rows, given, draws)
        if not checks:
            return self._decode(z, given)
        pending = np.arange(n_rows)
        for _ in range(_MAX_ROUNDS):
            rows = self._decode(z[pending], None if given is None else given.part(pending))
            pending = pending[~_kept(rows, checks)]
            if not len(pending):
                return self._decode(z, given)
            z[pending] = self._draw(
                len(pending), None if given is None else given.part(pending), draws
            )
        raise ValueError(
            f"{len(pending)} of {n_rows} rows break the constraints after {_MAX_ROUNDS} draws of "
            "each; use constraints that more of the data keep, or conditions."
        )

    def score_samples(self, X: Any) -> Array:
        r"""Return the log-density log p(x), of tables of numbers without missing cells.

        With z_j = Φ⁻¹(F_j(x_j)), F_j the distribution function of a column and φ the standard
        normal density,

        .. math:: \log p(x) = \log p_z(z) + \sum_j \log \frac{F_j'(x_j)}{\varphi(z_j)}

        where p_z, blurred by noise of 0.1, is got by the probability flow, with the exact
        divergence up to 50 columns, and with 32 fixed random probes above; ``log_density_std_`` is
        their error. F_j is straight between every k-th value of the training data, k = 2 n^(2/5)
        for n rows: `sample` takes it straight between all values, and its slope there says how
        close two neighbours happen to be.

        Of a rounded column it is the density of the column with uniform noise in its steps: the
        probability of a value over the width of the steps, for integers in steps of 1 the
        probability itself. It is averaged over 8 points of each cell. Columns that do not vary are
        left out.

        An :class:`~skscore.exceptions.OverfittingWarning` says where the mean over 30 or more rows
        lies more than half a nat a column below that by denoising errors.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            In nats, per unit of each column. -inf beyond the least and the largest value of a
            column, unless it has a tail (``tails="pareto"``, and it is not rounded). That of a row
            does not depend on the others.

        Raises
        ------
        ValueError
            If the table has columns of categories or dates, had or has missing cells, or has a
            column that is not rounded and has a value of more than k rows: there is no density.

        Examples
        --------
        >>> import numpy as np
        >>> X = np.random.RandomState(0).normal(5.0, 2.0, size=(500, 2))
        >>> generator = TabularGenerator(max_steps=100, hidden_units=(32,), random_state=0).fit(X)
        >>> generator.score_samples([[5.0, 5.0], [5.0, 50.0]]).round(0)  # -ln(2π 2²) = -3.2
        array([ -3., -inf])
        """
        log_density, errors = self._density().log_density(X)
        self.log_density_std_ = float(np.sqrt(np.square(errors).mean()))
        return log_density

    def held_out_nll(self, X: Any, sample_weight: Any = None) -> float:
        """Estimate the mean of -log p(x) from denoising errors, without solving the flow [1]_.

        The density is that of `score_samples`, with the same tables and units; of a rounded column
        it is a bound from above, by one draw of the noise in its steps. With N(0, I) the Gaussian
        of `skscore.likelihood.denoising_nll`. The noise is the same at every call, so models can be
        compared by it. ``held_out_nll_std_`` is the standard error of the mean over rows.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Rows, best not seen in training.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        nll : float
            In nats, per unit of each column; lower is better. Infinite if a row has the density 0;
            ``tails="pareto"`` leaves fewer of these.

        Raises
        ------
        ValueError
            If the table has no density; see `score_samples`.

        References
        ----------
        .. [1] X. Kong, R. Brekelmans and G. Ver Steeg, "Information-theoretic diffusion", ICLR
           2023.

        Examples
        --------
        >>> import numpy as np
        >>> X = np.random.RandomState(0).normal(5.0, 2.0, size=(500, 1))
        >>> generator = TabularGenerator(max_steps=100, hidden_units=(32,), random_state=0).fit(X)
        >>> round(generator.held_out_nll(X), 1)  # ln(2) + ln(2πe)/2 = 2.1
        2.1
        """
        nll = self._density().nll(X)
        if not len(nll):
            raise ValueError("X has no rows; give the held-out ones.")
        mean, self.held_out_nll_std_ = mean_and_error(nll, check_weights(sample_weight, nll))
        return mean

    def _density(self) -> TableDensity:
        check_is_fitted(self)
        module = self.net_.module_ if hasattr(self, "net_") else None
        return TableDensity(self.encoder_, module, (SIGMA_MIN, SIGMA_MAX))

    def _decode(self, z: Array, given: Given | None) -> Any:
        rows = self.encoder_.inverse_transform(z)
        return rows if given is None else given.put_back(rows)

    def _draw(self, n_rows: int, given: Given | None, random_state: Any) -> Array:
        """Return encoded rows (n, d), one for each that is given, or n_rows."""
        seed = draw_seed(random_state)
        if not self.encoder_.n_features_out_:
            return np.zeros((n_rows, 0))
        return draw_rows(
            self.encoder_,
            self.net_.module_,
            n_rows,
            given,
            seed,
            n_steps=self.n_sampling_steps,
            is_even=self.initial_noise == "sobol",
            verbose=bool(self.verbose),
        )


def _checks(constraints: Any) -> list[Callable[[Any], Any]]:
    """Return the constraints of `sample` as a list."""
    checks = [constraints] if callable(constraints) else constraints
    if checks is None:
        return []
    if not isinstance(checks, Sequence) or not all(map(callable, checks)):
        raise TypeError(
            f"constraints={constraints!r} can be no check of rows; give a function that is called "
            "with generated rows and returns a truth value for each, such as "
            "lambda rows: rows['age'] >= 18, or a list of them."
        )
    return list(checks)


def _kept(rows: Any, checks: Sequence[Callable[[Any], Any]]) -> Array:
    """Return which rows keep all constraints."""
    kept = np.ones(len(rows), dtype=bool)
    for check in checks:
        answer = np.asarray(check(rows))
        if answer.shape != kept.shape:
            raise ValueError(
                f"A constraint returned the shape {answer.shape} for {len(rows)} rows; it has to "
                "return one truth value a row."
            )
        known = ~missing_cells(answer[:, None])[:, 0]  # a missing cell keeps no constraint
        kept[known] &= answer[known].astype(bool)
        kept &= known
    return kept
