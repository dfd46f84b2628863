r"""The skorch seam: how a score network is trained.

The budget is counted in gradient steps; what skorch calls an epoch is the stretch of steps between
two validations. Step t = 0, ..., T-1 has the learning rate

    lr_t = lr · min(1, (t+1)/W) · ½ (1 + cos(π t/T)),       W = min(100, T/10) steps of warm-up

Validation reads the moving average of the parameters, θ̄ ← β_t θ̄ + (1 - β_t) θ, on held-out rows
(where none are held out, on some of those trained on) with the same noise every time, so that two
validations differ by the network alone.
"""

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from skorch import NeuralNet
from skorch.callbacks import Callback, GradientNormClipping, LRScheduler
from skorch.helper import predefined_split
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from tqdm.auto import tqdm

from skscore._batches import Batch, BatchIterator, Rows, ValidationIterator
from skscore._losses import RowLoss
from skscore._selection import VALIDATIONS, ClearlyBetter, Selection
from skscore._threads import seeded_globally, torch_threads
from skscore._validation import Array, torch_generator, warn

__all__ = [
    "EMA_DECAY",
    "WEIGHT_DECAY",
    "ScoreNet",
    "Trained",
    "TrainingPlan",
    "load_weights",
    "train",
]

_MIN_STEPS_BETWEEN = 10
_VALIDATION_BATCH = 4096
EMA_DECAY = 0.99
WEIGHT_DECAY = 0.01
_GRADIENT_NORM = 10.0


@dataclass(frozen=True)
class TrainingPlan:
    """What an estimator asks of a training.

    Attributes
    ----------
    max_steps : int
        Gradient steps.
    batch_size : int
        Rows in a batch.
    lr : float
        Largest learning rate.
    optimizer : "adamw" or callable
        A class of torch.optim, or a function, called with parameters and ``lr``.
    callbacks : sequence of skorch callbacks
        The user's own.
    verbose : bool
        Whether to show a progress bar.
    seed : int
        Decides the batches, the noise and whatever a module draws.
    noise_name : str
        What the error for a diverging loss says of the noise level.
    weight_decay : float
        What AdamW takes off a weight in each step, over the learning rate.
    ema_decay : float
        β, the largest share of the old average that a step keeps.
    n_threads : int or None
        Threads of torch; None leaves the number that is set.
    n_validations : int
        Validations of a whole training.
    """

    max_steps: int
    batch_size: int
    lr: float
    optimizer: Any
    callbacks: Sequence[Any]
    verbose: bool
    seed: int
    noise_name: str
    weight_decay: float = WEIGHT_DECAY
    ema_decay: float = EMA_DECAY
    n_threads: int | None = None
    n_validations: int = VALIDATIONS


class MovingAverage(Callback):
    """Exponential moving average of the parameters, with a short memory in the first steps."""

    def __init__(self, decay: float) -> None:
        self.decay = decay

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        self.module_ = deepcopy(net.module_).requires_grad_(requires_grad=False)
        self.n_steps_ = 0
        # Listed once: walking the modules in every step costs more than the average itself.
        self.pairs_ = list(zip(self.module_.parameters(), net.module_.parameters(), strict=True))
        self.buffers_ = list(zip(self.module_.buffers(), net.module_.buffers(), strict=True))

    def on_batch_end(self, net: NeuralNet, *, training: bool = False, **kwargs: Any) -> None:
        if not training:
            return
        self.n_steps_ += 1
        t = self.n_steps_
        decay = min(self.decay, (1 + t) / (10 + t)) if t > 1 else 0.0
        averages, parameters = zip(*self.pairs_, strict=True)
        get_ema_multi_avg_fn(decay)(list(averages), list(parameters), None)
        for average, buffer in self.buffers_:
            average.copy_(buffer)

    def on_train_end(self, net: NeuralNet, **kwargs: Any) -> None:
        del self.pairs_, self.buffers_


class Budget(Callback):
    """Count the steps, keep the selected parameters, and end the training when there is cause."""

    def __init__(self, plan: TrainingPlan, selection: Selection, watched: Rows) -> None:
        self.plan = plan
        self.selection = selection
        self.watched = watched

    def on_train_begin(self, net: "ScoreNet", **kwargs: Any) -> None:
        if isinstance(self.selection, ClearlyBetter):
            self.selection.begin(net.held_out_losses(self.watched))
            self.start_state_ = deepcopy(net.average.state_dict())
        self.best_state_: dict[str, Tensor] | None = None
        self.best_step_ = 0
        self.misses_ = 0
        self.n_steps_ = 0
        self.diverged_ = False
        self.ended_ = False
        self.curve_: list[tuple[int, float]] = []
        self.losses_: list[Tensor] = []
        self.bar_ = tqdm(
            total=self.plan.max_steps, desc="training", unit="step", disable=not self.plan.verbose
        )

    def on_batch_end(
        self, net: NeuralNet, batch: Any = None, *, training: bool = False, **kwargs: Any
    ) -> None:
        if not training:
            _, weights = batch
            self.losses_.append(kwargs["y_pred"] * weights)
            return
        self.n_steps_ += 1
        self.bar_.update()
        if not math.isfinite(net.history[-1, "batches", -1, "train_loss"]):
            self._diverge()

    def on_epoch_end(self, net: "ScoreNet", **kwargs: Any) -> None:
        loss, losses = net.history[-1, "valid_loss"], torch.cat(self.losses_)
        self.losses_ = []
        if not math.isfinite(loss):
            self._diverge()
        self.curve_.append((self.n_steps_, loss))
        self.bar_.set_postfix_str(f"loss {loss:.4g}")
        if not all(p.isfinite().all() for p in net.average.parameters()):
            self._diverge()
        if self.selection.improves(net.average, losses):
            self.best_step_ = self.n_steps_
            self.best_state_ = {k: v.clone() for k, v in net.average.state_dict().items()}
            self.misses_ = 0
        else:
            self.misses_ += 1
        if self.n_steps_ >= self.plan.max_steps or self.misses_ >= self.selection.patience:
            self._end()

    def on_train_end(self, net: "ScoreNet", **kwargs: Any) -> None:
        self.bar_.close()
        if self.best_state_ is None and not self.ended_:
            # A callback of the user's ended the training before the first validation was judged.
            self.best_step_, self.best_state_ = self.n_steps_, net.average.state_dict()
        if isinstance(self.selection, ClearlyBetter) and self.selection.start_suffices:
            self.best_step_, self.best_state_ = 0, self.start_state_
        if self.best_state_ is not None:
            net.module_.load_state_dict(self.best_state_)

    def _diverge(self) -> None:
        self.diverged_ = True
        self._end()

    def _end(self) -> None:
        self.ended_ = True
        # The signal by which skorch's own callbacks end a training.
        raise KeyboardInterrupt


class ScoreNet(NeuralNet):
    """A skorch net whose module is a score function and whose criterion is a loss per row."""

    @property
    def average(self) -> nn.Module:
        """The moving average of the module."""
        averaged: nn.Module = dict(self.callbacks_)["average"].module_
        return averaged

    def infer(self, x: Batch, **fit_params: Any) -> Tensor:
        """Return the losses of the rows of a batch."""
        if self.module_.training:
            losses: Tensor = self.criterion_(self.module_, x.values, x.generator, x.n_draws)
            return losses
        held_out: Tensor = self.criterion_.held_out(self.average, x.values, x.generator, x.n_draws)
        return held_out

    def held_out_losses(self, rows: Rows) -> Tensor:
        """Return the losses of watched rows, times their weights, as a validation has them."""
        with torch.no_grad():
            found = [
                self.criterion_.held_out(self.average, x.values, x.generator, x.n_draws) * weights
                for x, weights in self.get_iterator(rows, training=False)
            ]
        return torch.cat(found)

    def get_loss(self, y_pred: Tensor, y_true: Tensor | None, *args: Any, **kwargs: Any) -> Tensor:
        """Return the mean of the losses, weighted where there are weights."""
        return y_pred.mean() if y_true is None else (y_pred * y_true).mean()


class WarmupCosine:
    """The factor of the learning rate at a step; a class, since closures cannot be pickled."""

    def __init__(self, max_steps: int) -> None:
        self.max_steps = max_steps
        self.warmup = max(1, min(100, max_steps // 10))

    def __call__(self, step: int) -> float:
        return (
            min(1.0, (step + 1) / self.warmup) * (1 + math.cos(math.pi * step / self.max_steps)) / 2
        )


@dataclass(frozen=True)
class Trained:
    """The outcome of a training.

    Attributes
    ----------
    net : ScoreNet
        Holds the kept parameters in ``module_``; trimmed of whatever prediction does not need.
    n_steps : int
        Gradient steps taken.
    best_step : int
        The step of the kept parameters.
    curve : ndarray of shape (n_validations, 2)
        Step and loss of each validation.
    """

    net: ScoreNet
    n_steps: int
    best_step: int
    curve: Array


def train(
    module: nn.Module,
    loss: RowLoss,
    rows: Rows,
    watched: Rows,
    plan: TrainingPlan,
    selection: Selection,
) -> Trained:
    """Train a score function by stochastic gradient descent.

    Parameters
    ----------
    module : torch.nn.Module
        A ``ScoreFn`` with parameters, on the training device; trained in place.
    loss : RowLoss
        The loss per row.
    rows, watched : Rows
        What to train on and what to validate on.
    plan : TrainingPlan
        The budget.
    selection : Selection
        Which validation to keep.

    Returns
    -------
    trained : Trained

    Raises
    ------
    ValueError
        If the loss was not finite before the first validation.

    Warns
    -----
    ConvergenceWarning
        If the loss was not finite later; the best parameters so far are kept.
    """
    budget = Budget(plan, selection, watched)
    net = _build_net(module, loss, watched, plan, budget)
    # Dropout and the like draw from torch's global generator.
    with torch_threads(plan.n_threads), seeded_globally(plan.seed):
        net.fit(rows, None)
    if not budget.ended_:
        # skorch takes every KeyboardInterrupt for an early stop; this one was the user's, or that
        # of a callback of the user's.
        if not plan.callbacks:
            raise KeyboardInterrupt
    if budget.diverged_ or budget.best_state_ is None:
        _report_divergence(budget, plan)
    curve = np.array(budget.curve_, dtype=np.float64).reshape(-1, 2)
    net.trim_for_prediction()
    return Trained(net, budget.n_steps_, budget.best_step_, curve)


def load_weights(module: nn.Module, trained: nn.Module) -> None:
    """Start a module from the weights of an earlier training."""
    try:
        module.load_state_dict(trained.state_dict())
    except RuntimeError as error:
        raise ValueError(
            "warm_start=True goes on from the last fit, whose network does not fit these data or "
            "parameters: keep the number of varying features, hidden_units and module, or use "
            "warm_start=False."
        ) from error


def _build_net(
    module: nn.Module,
    loss: RowLoss,
    watched: Rows,
    plan: TrainingPlan,
    budget: Budget,
) -> ScoreNet:
    device = watched.values.device
    optimizer = plan.optimizer
    options: dict[str, Any] = {}
    if optimizer == "adamw":
        optimizer = torch.optim.AdamW
        options = {"optimizer__fused": True, "optimizer__weight_decay": plan.weight_decay}
    n_draws = max(1, min(loss.n_draws, _VALIDATION_BATCH // len(watched)))
    callbacks = [
        ("average", MovingAverage(plan.ema_decay)),
        ("clip", GradientNormClipping(_GRADIENT_NORM)),
        (
            "schedule",
            LRScheduler(
                torch.optim.lr_scheduler.LambdaLR,
                lr_lambda=WarmupCosine(plan.max_steps),
                step_every="batch",
                event_name=None,
            ),
        ),
        *plan.callbacks,
        # Last, so that the callbacks before it see the final validation too.
        ("budget", budget),
    ]
    return ScoreNet(
        module,
        criterion=loss,
        optimizer=optimizer,
        lr=plan.lr,
        max_epochs=plan.max_steps,
        batch_size=plan.batch_size,
        iterator_train=BatchIterator,
        iterator_train__n_steps=max(_MIN_STEPS_BETWEEN, plan.max_steps // plan.n_validations),
        iterator_train__max_steps=plan.max_steps,
        iterator_train__generator=torch_generator(plan.seed, device),
        iterator_valid=ValidationIterator,
        iterator_valid__batch_size=_VALIDATION_BATCH // n_draws,
        iterator_valid__n_draws=n_draws,
        iterator_valid__seed=plan.seed,
        train_split=predefined_split(watched),
        callbacks=callbacks,
        callbacks__print_log=None,
        device=str(device),
        verbose=0,
        **options,
    )


def _report_divergence(budget: Budget, plan: TrainingPlan) -> None:
    remedy = (
        f"the training loss was not finite after {budget.n_steps_} steps with lr={plan.lr} and "
        f"{plan.noise_name}; use a smaller lr or a larger sigma."
    )
    if budget.best_state_ is None:
        raise ValueError(f"Training diverged before anything was learnt: {remedy}")
    warn(
        f"Training diverged: {remedy} The best weights so far, of step {budget.best_step_}, are "
        "kept.",
        ConvergenceWarning,
    )
