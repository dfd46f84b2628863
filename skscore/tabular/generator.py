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
from dataclasses import replace
from itertools import count
from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import (
    Interval,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from tqdm.auto import tqdm

from skscore._batches import Rows
from skscore._copying import LatestOriginal
from skscore._even import EvenNormal, independent_normal
from skscore._groups import FeatureGroup
from skscore._inference import PART
from skscore._location_fit import fit_location_model
from skscore._location_model import LocationModel
from skscore._log_densities import mean_and_error
from skscore._redraw import redraw_levels
from skscore._selection import Latest, LowestLoss, Selection
from skscore._table_loss import LAW_OF_CONDITIONED, EncodedRows, TableLoss
from skscore._table_score import DRAWN, GIVEN, TableScore, put_given
from skscore._table_start import draw_first, noise_and_ranks, starting_rows
from skscore._threads import seeded_globally
from skscore._training import Trained, TrainingPlan, train
from skscore._validation import (
    Array,
    RandomState,
    block_seed,
    check_device,
    check_hidden_units,
    check_n_samples,
    check_weights,
    collapse_duplicates,
    draw_seed,
    torch_generator,
)
from skscore.noise import LogNormalSigma, karras_sigmas
from skscore.samplers import dpm_solver
from skscore.tabular._budget import (
    batch_size_for,
    hidden_units_for,
    n_steps_for,
    weight_decay_for,
)
from skscore.tabular._conditions import given_rows
from skscore.tabular._density import TableDensity
from skscore.tabular._given import Given, missing_cells
from skscore.tabular._gower import GowerPoints
from skscore.tabular._tags import MixedInput
from skscore.tabular.encoder import TabularEncoder

__all__ = ["TabularGenerator"]

_SIGMA_MIN, _SIGMA_MAX = 0.1, 10.0
_LAW = -1.2, 1.2
_WATCH_STEPS, _WATCHED_DRAWS, _WATCHED_ROWS_MAX = 16, 1000, 10_000
# Small tables are copied within a few hundred steps.
_LEAST_SPLIT = 10
# Of so few the tenth held out is missed, and a second training is short.
_FEW_ROWS = 500
_N_VALIDATIONS, _STEPS_BETWEEN, _PATIENCE, _LEAST_COPY_RATE = 50, 60, 6.0, 0.02
_WATCHED_LOSSES = 1024
_ROWS_OF_BASE, _DRAWS_OF_BASE = 10_000, 4000
_MAX_ROUNDS = 50
_SCRAMBLING = 2**32 - 1  # no block of rows has this number


class _Encoded(NamedTuple):
    """Rows as intervals (n, d) of their features, and their weights (n,)."""

    groups: Sequence[FeatureGroup]
    lower: Array
    upper: Array
    weights: Array


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
        5 million n/(n + 600), up to 3.6 million, if that is more, and 0.7 of this where the network
        starts from a Gaussian for each level of a category, or from one that no mixture improves
        on.
    batch_size : int or "auto", default="auto"
        Rows in a batch. "auto" is 256, and 512 from 500 rows on: half the steps, at two thirds of
        the time.
    lr : float, default=3e-3
        Largest learning rate; it warms up and falls along a cosine.
    weight_decay : float or "auto", default="auto"
        What AdamW [4]_ takes off a weight in each step, over the learning rate. "auto" is (100/n)²
        for n rows, at least 0.01 and at most 1: tables of some hundred rows are copied later with
        it, and what is generated lies closer to new rows.
    early_stopping : bool or {"copy_rate", "loss"}, default=True
        When training ends before ``max_steps``, and which weights are kept. "copy_rate", or True:
        those of the last validation whose samples copy single training rows (see
        `skscore.metrics.copy_rate`) not clearly more often than these copy each other, or 2 %;
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
        "max_stored_values": [Interval(Integral, 2, None, closed="left")],
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
        ).fit(X, sample_weight=sample_weight)
        self.n_features_in_ = self.encoder_.n_features_in_
        if hasattr(self.encoder_, "feature_names_in_"):
            self.feature_names_in_ = self.encoder_.feature_names_in_
        self.copy_rate_ = np.nan
        self.__dict__.pop("net_", None)
        lower, upper = self.encoder_.intervals(X)
        if not lower.shape[1]:
            return self
        weights = np.ones(len(lower)) if sample_weight is None else np.asarray(sample_weight)
        groups, d = self.encoder_.feature_groups_, lower.shape[1]
        if self.missing == "complete":
            gone, labels = missing_cells(X), self.encoder_.columns_
            groups = _completed(groups, lower, upper, lambda c: gone[:, labels.index(c)])
        both, weights = collapse_duplicates(np.hstack([lower, upper]), weights.astype(np.float64))
        selection = self._selection(X, weights, seed)
        table = _Encoded(groups, both[:, :d], both[:, d:], weights)
        self._train(table, seed, device, selection)
        return self

    def _train(
        self, table: "_Encoded", seed: int, device: torch.device, selection: Selection
    ) -> None:
        n = len(table.weights)
        kept, watched = self._split(n, seed)
        trained = self._trained(table, kept, watched, seed, device, selection)
        self.n_steps_, self.best_step_ = trained.n_steps, trained.best_step
        self.validation_curve_ = trained.curve
        if len(kept) < n < _FEW_ROWS:
            all_rows, steps = np.arange(n), trained.best_step
            trained = self._trained(table, all_rows, watched, seed, device, Latest(), steps)
        trained.net.module_.double().eval().requires_grad_(requires_grad=False)
        self.net_ = trained.net
        if isinstance(selection, LatestOriginal):
            self.copy_rate_ = selection.kept

    def _trained(
        self,
        table: "_Encoded",
        kept: Array,
        watched: Array,
        seed: int,
        device: torch.device,
        selection: Selection,
        max_steps: int | None = None,
    ) -> Trained:
        """Train a network on some rows, and take the losses of others."""
        groups, n = table.groups, len(table.weights)
        is_quantile, generator = self.encoder_.quantile_features_, torch_generator(seed, device)
        lower, upper, weights = table.lower, table.upper, table.weights
        rows = EncodedRows.between(lower[kept], upper[kept], is_quantile, device, weights[kept])
        held_out = EncodedRows.between(lower, upper, is_quantile, device)
        base, starts_near = self._base(rows, groups, seed)
        with seeded_globally(seed, alone=True):
            module = TableScore(groups, self._widths(n), base)
        own = weights[watched] / weights[watched].mean()
        losses_of = Rows(
            held_out.smoothed(torch.tensor(watched, device=device), generator),
            torch.tensor(own, dtype=torch.float32).to(device),
        )
        law = LogNormalSigma(_SIGMA_MIN, _SIGMA_MAX, *_LAW)
        batch_size, automatic, weight_decay = self._budget(n, selection, starts_near=starts_near)
        max_steps = automatic if max_steps is None else max_steps
        plan = TrainingPlan(
            max_steps=max_steps,
            batch_size=batch_size,
            lr=self.lr,
            optimizer="adamw",
            callbacks=[],
            verbose=bool(self.verbose),
            seed=seed,
            noise_name="the noise levels of tables",
            weight_decay=weight_decay,
            # Of a short training more would cost more than it does.
            n_validations=int(np.clip(max_steps // _STEPS_BETWEEN, 5, _N_VALIDATIONS)),
        )
        conditioned_law = LogNormalSigma(_SIGMA_MIN, _SIGMA_MAX, *LAW_OF_CONDITIONED)
        loss = TableLoss(law, groups, conditioned_law, redraw_sigma=_SIGMA_MAX).to(device)
        return train(module.to(device), loss, rows, losses_of, plan, selection)

    def _base(
        self, rows: EncodedRows, groups: Sequence[FeatureGroup], seed: int
    ) -> tuple[LocationModel | None, bool]:
        """Return what the network starts from, and whether that leaves little to learn."""
        generator = torch_generator(seed, rows.values.device)
        index = torch.randperm(len(rows), generator=generator, device=generator.device)
        index = index[:_ROWS_OF_BASE]
        n_draws = int(np.clip(_DRAWS_OF_BASE // len(index), 1, 8))
        draws = [rows.smoothed(index, generator).double().cpu().numpy() for _ in range(n_draws)]
        weights = rows.weights[index].double().cpu().numpy()
        return fit_location_model(draws, weights * (len(weights) / weights.sum()), groups, seed)

    def _widths(self, n_rows: int) -> tuple[int, ...]:
        if isinstance(self.hidden_units, str):
            return hidden_units_for(n_rows)
        return check_hidden_units(self.hidden_units)

    def _budget(
        self, n_rows: int, selection: Selection, *, starts_near: bool
    ) -> tuple[int, int, float]:
        """Return the size of a batch, the number of steps and the weight decay."""
        batch_size = batch_size_for(n_rows) if self.batch_size == "auto" else int(self.batch_size)
        ends_in_time = not isinstance(selection, Latest)
        steps = n_steps_for(n_rows, batch_size, ends_in_time=ends_in_time, starts_near=starts_near)
        steps = steps if self.max_steps == "auto" else int(self.max_steps)
        automatic = self.weight_decay == "auto"
        decay = weight_decay_for(n_rows) if automatic else float(self.weight_decay)
        return batch_size, steps, decay

    def _split(self, n: int, seed: int) -> tuple[Array, Array]:
        """Return the rows to train on and those to take losses of."""
        if self.early_stopping != "loss" or n < _LEAST_SPLIT:
            return np.arange(n), np.linspace(0, n - 1, min(n, _WATCHED_LOSSES)).astype(int)
        order = np.random.RandomState(seed % 2**32).permutation(n)
        n_held_out = int(np.clip(round(self.validation_fraction * n), 1, n - 1))
        return np.sort(order[n_held_out:]), np.sort(order[:n_held_out])

    def _selection(self, X: Any, weights: Array, seed: int) -> Selection:
        n = len(weights)
        if self.early_stopping == "loss" and n >= _LEAST_SPLIT:
            return LowestLoss()
        if self.early_stopping not in (True, "copy_rate") or not 3 <= n <= _WATCHED_ROWS_MAX:
            return Latest()
        if not self.encoder_.quantile_features_.any():
            return Latest()  # of labels alone, new rows of the same law are often equal to old ones
        share_repeated = float(weights[weights > 1].sum() / weights.sum())
        points, rounds = GowerPoints(self.encoder_, X), count()
        return LatestOriginal(
            np.unique(points(X), axis=0),
            lambda m: self._draw_watched(m, block_seed(seed, next(rounds)), points),
            share_repeated,
            metric="cityblock",
            least=_LEAST_COPY_RATE,
            patience=_PATIENCE,
        )

    def _draw_watched(self, module: Any, seed: int, points: GowerPoints) -> Array:
        """Draw rows from the network in training."""
        generator = torch_generator(seed, module.mean.device)
        with torch.no_grad():
            even = EvenNormal(len(module.mean) + module.n_categories, generator)
            noise, u = noise_and_ranks(module, even.draw(_WATCHED_DRAWS).float())
            state, clean = draw_first(module, u)
            sigmas = karras_sigmas(_SIGMA_MAX, _SIGMA_MIN, _WATCH_STEPS).float()
            start = starting_rows(module, noise, _SIGMA_MAX, state, clean)
            z = dpm_solver(lambda x, sigma: module(x, sigma, state), start, sigmas)
            z = module.encode_levels(z, module.levels_of(z))
            z = redraw_levels(module, z, _SIGMA_MAX, generator, state, u)
        rows: Array = z.double().cpu().numpy()
        return points(self.encoder_.inverse_transform(rows)) if np.isfinite(rows).all() else rows

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
        z = self._draw(n_rows, given, draws)
        if constraints is None:
            return self._decode(z, given)
        checks = [constraints] if callable(constraints) else list(constraints)
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
        mean, self.held_out_nll_std_ = mean_and_error(nll, check_weights(sample_weight, nll))
        return mean

    def _density(self) -> TableDensity:
        check_is_fitted(self)
        module = self.net_.module_ if hasattr(self, "net_") else None
        return TableDensity(self.encoder_, module, (_SIGMA_MIN, _SIGMA_MAX))

    def _decode(self, z: Array, given: Given | None) -> Any:
        rows = self.encoder_.inverse_transform(z)
        return rows if given is None else given.put_back(rows)

    def _draw(self, n_rows: int, given: Given | None, random_state: Any) -> Array:
        """Return encoded rows (n, d), one for each that is given, or n_rows."""
        seed, d = draw_seed(random_state), self.encoder_.n_features_out_
        if not d:
            return np.zeros((n_rows, 0))
        device = check_device(self.device)
        module = self.net_.module_
        state = z_given = None
        if given is not None:
            state, z_given = self._given_tensors(given, module, seed, device)
        even, n_random = None, d + module.n_categories
        if self.initial_noise == "sobol":
            even = EvenNormal(n_random, torch_generator(block_seed(seed, _SCRAMBLING), device))
        blocks = []
        with tqdm(total=n_rows, desc="sampling", unit="row", disable=not self.verbose) as bar:
            for k in range(-(-n_rows // PART)):
                generator = torch_generator(block_seed(seed, k), device)
                part = slice(k * PART, (k + 1) * PART)
                block = None if state is None else state[part]
                clean = None if z_given is None else z_given[part]
                noise = even.draw(PART) if even else independent_normal(PART, n_random, generator)
                blocks.append(self._draw_block(module, noise, block, clean, generator))
                bar.update(min(PART, n_rows - k * PART))
        z = torch.cat(blocks)[:n_rows]
        if not z.isfinite().all():
            raise FloatingPointError(
                "The sampler diverged; fit with a smaller lr, or use more n_sampling_steps."
            )
        return z.cpu().numpy()

    def _draw_block(
        self,
        module: TableScore,
        noise: Tensor,
        state: Tensor | None,
        clean: Tensor | None,
        generator: torch.Generator,
    ) -> Tensor:
        noise, u = noise_and_ranks(module, noise)
        if state is None or clean is None:
            state, clean = draw_first(module, u)
        else:
            filler = PART - len(state)
            state = torch.cat([state, state[-1:].expand(filler, -1)])
            clean = torch.cat([clean, clean[-1:].expand(filler, -1)])
        with torch.no_grad():
            x = starting_rows(module, noise, _SIGMA_MAX, state, clean)

        def score_fn(x: Tensor, sigma: Tensor) -> Tensor:
            score: Tensor = module(x, sigma, state)
            return score

        sigmas = karras_sigmas(_SIGMA_MAX, _SIGMA_MIN, self.n_sampling_steps).to(x)
        with torch.no_grad():
            states = dpm_solver(score_fn, x, sigmas, return_trajectory=True)
            # The last state is the mean, between the codes of levels that are still open.
            _, log_p = module.parts(states[-2], sigmas[-1].expand(PART, 1), state)
            z = module.encode_levels(states[-1], module.draw_levels(log_p, generator))
            z = put_given(module, z, state, clean)
            return redraw_levels(module, z, _SIGMA_MAX, generator, state, u)

    def _given_tensors(
        self, given: Given, module: TableScore, seed: int, device: torch.device
    ) -> tuple[Tensor, Tensor]:
        lower, upper = self.encoder_.intervals(given.rows)
        rows = EncodedRows.between(lower, upper, self.encoder_.quantile_features_, device)
        generator = torch_generator(seed, device)
        z = rows.smoothed(torch.arange(len(rows), device=device), generator)
        columns = list(dict.fromkeys(group.column for group in self.encoder_.feature_groups_))
        labels = self.encoder_.columns_
        state = torch.full((len(rows), len(columns)), DRAWN, dtype=torch.float64, device=device)
        for j, label in enumerate(columns):
            is_given = torch.tensor(given.known[:, labels.index(label)], device=device)
            state[is_given, j] = GIVEN
        return state, z.double()


def _kept(rows: Any, checks: Sequence[Callable[[Any], Any]]) -> Array:
    """Return which rows keep all constraints."""
    kept = np.ones(len(rows), dtype=bool)
    for check in checks:
        answer = np.asarray(check(rows), dtype=bool)
        if answer.shape != kept.shape:
            raise ValueError(
                f"A constraint returned the shape {answer.shape} for {len(rows)} rows; it has to "
                "return one truth value a row."
            )
        kept &= answer
    return kept


def _completed(
    groups: Sequence[FeatureGroup], lower: Array, upper: Array, is_missing: Callable[[Any], Array]
) -> list[FeatureGroup]:
    """Make missing cells absent, in place, and return groups in which no cell is missing."""
    found = []
    for group in groups:
        features = slice(group.start, group.stop)
        gone, frequencies = is_missing(group.column), group.frequencies
        if group.codebook is None or frequencies is None:
            lower[gone, features] = upper[gone, features] = np.nan
        elif group.kind == "missing":
            lower[:, features] = upper[:, features] = group.codebook[0]
            group = replace(group, frequencies=np.array([1.0, 0.0]))
        elif gone.any():
            level = int((group.codebook @ lower[gone][0, features]).argmax())
            frequencies = np.where(np.arange(len(frequencies)) == level, 0.0, frequencies)
            lower[gone, features] = upper[gone, features] = np.nan
            group = replace(group, frequencies=frequencies / frequencies.sum())
        found.append(group)
    return found
