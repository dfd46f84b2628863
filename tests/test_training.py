"""The training loop: batches, schedule, averages, callbacks, interruptions."""

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, EpochScoring

from skscore import DenoisingScoreEstimator
from skscore._batches import BatchIterator, Rows, ValidationIterator
from skscore._selection import LatestNearLowest
from skscore._training import WarmupCosine


def rows(weights):
    weights = torch.tensor(weights)
    return Rows(torch.arange(len(weights))[:, None].float(), weights)


def batches(iterator):
    return [batch.values[:, 0].long() for batch, _ in iterator]


def test_rows_are_drawn_in_proportion_to_their_weights():
    weights = np.array([1.0, 5.0, 0.5, 2.0, 1.5])
    iterator = BatchIterator(
        rows(weights.tolist()), 64, n_steps=200, max_steps=200, generator=torch.Generator()
    )
    counts = torch.bincount(torch.cat(batches(iterator)), minlength=5).numpy()
    share = weights / weights.sum()
    # Stratified draws vary less than independent ones, whose standard error this is.
    standard_error = np.sqrt(share * (1 - share) / counts.sum())
    assert (np.abs(counts / counts.sum() - share) < 4 * standard_error).all()


def test_every_row_is_in_every_batch_that_is_large_enough():
    iterator = BatchIterator(rows([1.0] * 30), 60, n_steps=5, max_steps=5, generator=seeded())
    for batch in batches(iterator):
        assert set(batch.tolist()) == set(range(30))


def test_budget_in_steps_is_spent_over_several_epochs():
    iterator = BatchIterator(rows([1.0] * 3), 2, n_steps=4, max_steps=10, generator=seeded())
    assert [len(batches(iterator)) for _ in range(4)] == [4, 4, 2, 0]


def test_validation_starts_from_the_same_generator_every_time():
    iterator = ValidationIterator(rows([1.0, 3.0, 2.0]), batch_size=2, n_draws=4, seed=7)
    drawn = [[torch.rand(1, generator=b.generator).item() for b, _ in iterator] for _ in range(2)]
    assert drawn[0] == drawn[1]
    weights = torch.cat([w for _, w in iterator])
    torch.testing.assert_close(weights, torch.tensor([0.5, 1.5, 1.0]))


def test_learning_rate_warms_up_and_falls_to_zero():
    factor = WarmupCosine(1000)
    values = np.array([factor(t) for t in range(1000)])
    assert values[0] == pytest.approx(0.01)
    assert values.argmax() == 99
    assert (np.diff(values[99:]) < 0).all()
    assert values[-1] < 1e-5


def test_losses_of_held_out_rows_reach_the_selection_row_by_row(monkeypatch):
    seen = []

    class Spy(LatestNearLowest):
        def improves(self, module, losses):
            seen.append(losses)
            return super().improves(module, losses)

    monkeypatch.setattr("skscore.denoising.LatestNearLowest", Spy)
    X = np.vstack([data(), data()[:50]])  # weights 2 and 1
    model = DenoisingScoreEstimator(max_steps=30, validation_fraction=0.3, random_state=0).fit(X)
    assert [losses.shape for losses in seen] == [(30,)] * 3
    means = [losses.mean().item() for losses in seen]
    np.testing.assert_allclose(means, model.validation_curve_[:, 1], rtol=1e-6)


def data():
    return np.random.RandomState(0).normal(size=(100, 2))


def seeded():
    return torch.Generator().manual_seed(0)


class Recorder(Callback):
    """Counts what happens; what it counts outlives skorch's own copies of callbacks."""

    events: list[str] = []

    def on_train_begin(self, net, **kwargs):
        Recorder.events = ["train"]

    def on_batch_end(self, net, training=False, **kwargs):
        Recorder.events.append("step" if training else "validation")


class StopsAtOnce(Callback):
    def on_epoch_end(self, net, **kwargs):
        raise KeyboardInterrupt


class CtrlC(torch.optim.AdamW):
    """An optimizer during whose 15th step the user interrupts."""

    count = 0

    def step(self, closure=None):
        CtrlC.count += 1
        if CtrlC.count == 15:
            raise KeyboardInterrupt
        return super().step(closure)


@pytest.mark.parametrize("name", [None, "mine"])
def test_callbacks_of_the_user_see_every_step(name):
    callback = Recorder() if name is None else (name, Recorder())
    DenoisingScoreEstimator(callbacks=[callback], max_steps=20, random_state=0).fit(data())
    assert Recorder.events.count("step") == 20
    assert Recorder.events.count("validation") == 2


def test_callback_of_the_user_may_end_the_training():
    model = DenoisingScoreEstimator(callbacks=[StopsAtOnce()], max_steps=400, random_state=0)
    model.fit(data())
    assert 0 < model.n_steps_ == model.best_step_ < 400
    assert np.isfinite(model.score(data()))


def test_interrupt_by_the_user_is_passed_on():
    CtrlC.count = 0
    with pytest.raises(KeyboardInterrupt):
        DenoisingScoreEstimator(optimizer=CtrlC, max_steps=40, random_state=0).fit(data())


def test_scoring_callbacks_of_skorch_are_refused_by_no_one():
    scoring = EpochScoring(lambda net, X, y=None: 0.5, name="half", use_caching=False)
    model = DenoisingScoreEstimator(callbacks=[("half", scoring)], max_steps=4, random_state=0)
    assert model.fit(data()).n_steps_ == 4


@pytest.mark.parametrize(
    "optimizer", ["adamw", torch.optim.SGD, torch.optim.RMSprop, torch.optim.LBFGS]
)
def test_optimizers_of_torch_can_be_used(optimizer):
    model = DenoisingScoreEstimator(
        1.0, optimizer=optimizer, lr=1e-2, max_steps=5, batch_size=32, random_state=0
    ).fit(data())
    assert np.isfinite(model.score(data()))


def test_progress_bar_is_shown_when_verbose(capsys):
    DenoisingScoreEstimator(max_steps=4, random_state=0, verbose=True).fit(data())
    shown = capsys.readouterr().err
    assert "training" in shown
    assert "4/4" in shown
    DenoisingScoreEstimator(max_steps=4, random_state=0).fit(data())
    assert capsys.readouterr().err == ""


def test_averaged_parameters_are_what_is_kept():
    model = DenoisingScoreEstimator(
        1.0, max_steps=50, lr=0.1, early_stopping=False, random_state=0
    ).fit(data())
    # The raw parameters of the last step jump about at this learning rate; their average does not.
    losses = model.validation_curve_[:, 1]
    assert np.isfinite(losses).all()
    assert model.net_.module_.training is False
    assert all(p.dtype == torch.float64 for p in model.net_.module_.parameters())
