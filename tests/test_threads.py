"""The number of threads of torch inside of a block and after it, and while a network is trained."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from skorch.callbacks import Callback

from skscore import DenoisingScoreEstimator, NCSNGenerator, ScoreMatchingDensity
from skscore._threads import torch_threads

SEED = 0
QUICK = {"max_steps": 20, "batch_size": 32, "random_state": SEED}


@pytest.fixture(params=[1, 2])
def n_threads(request):
    """The number that a user has set."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def data(n=80, d=2):
    return np.random.RandomState(SEED).normal(size=(n, d))


class Recorder(Callback):
    """Note the number of threads at each step."""

    def __init__(self):
        self.seen = []

    def on_batch_begin(self, net, **kwargs):
        self.seen.append(torch.get_num_threads())


def seen_in_fit(estimator, X):
    recorder = Recorder()
    clone(estimator).set_params(callbacks=[recorder]).fit(X)
    return set(recorder.seen)


class Linear(torch.nn.Module):
    def __init__(self, n_features):
        super().__init__()
        self.layer = torch.nn.Linear(n_features, n_features)

    def forward(self, x, sigma):
        return self.layer(x)


@pytest.mark.parametrize("inside", [1, 2, 3])
def test_the_number_is_set_inside_and_that_of_the_user_comes_back(n_threads, inside):
    with torch_threads(inside) as nothing:
        assert torch.get_num_threads() == inside
    assert nothing is None
    assert torch.get_num_threads() == n_threads


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("inside", [None, 1, 2])
def test_the_number_of_the_user_comes_back_after_an_exception_which_is_passed_on(
    n_threads, inside, error
):
    with pytest.raises(error, match="within"), torch_threads(inside):
        raise error("within")
    assert torch.get_num_threads() == n_threads


def test_none_leaves_the_number_as_it_is(n_threads):
    with torch_threads(None):
        assert torch.get_num_threads() == n_threads
    assert torch.get_num_threads() == n_threads


def test_blocks_may_be_nested(n_threads):
    with torch_threads(2):
        with torch_threads(1):
            assert torch.get_num_threads() == 1
            with torch_threads(None):
                assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == n_threads


@pytest.mark.parametrize(
    "estimator",
    [
        DenoisingScoreEstimator(0.3, **QUICK),
        ScoreMatchingDensity("denoising", **QUICK),
        NCSNGenerator(**QUICK),
    ],
    ids=lambda e: type(e).__name__,
)
def test_small_networks_are_trained_by_one_thread_and_the_number_of_the_user_comes_back(
    estimator, n_threads
):
    assert seen_in_fit(estimator, data()) == {1}
    assert torch.get_num_threads() == n_threads


@pytest.mark.parametrize("options", [{"hidden_units": (16, 256)}, {"module": Linear}])
def test_wide_networks_and_those_of_the_user_are_trained_by_the_threads_of_the_user(
    options, n_threads
):
    assert seen_in_fit(DenoisingScoreEstimator(0.3, **options, **QUICK), data()) == {n_threads}
    assert torch.get_num_threads() == n_threads


def test_the_number_of_the_user_comes_back_after_a_training_that_diverges(n_threads):
    with pytest.raises(ValueError, match="Training diverged before anything was learnt"):
        DenoisingScoreEstimator(0.3, lr=1e30, **QUICK).fit(data())
    assert torch.get_num_threads() == n_threads


@pytest.mark.parametrize("d", [5, 10])
def test_a_fit_has_the_same_bits_under_one_thread_and_under_two(d):
    X, before, fits = data(200, d), torch.get_num_threads(), []
    try:
        for n_threads in (1, 2):
            torch.set_num_threads(n_threads)
            fits.append(DenoisingScoreEstimator(0.3, **{**QUICK, "max_steps": 40}).fit(X))
    finally:
        torch.set_num_threads(before)
    a, b = (list(fit.net_.module_.parameters()) for fit in fits)
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    np.testing.assert_array_equal(fits[0].validation_curve_, fits[1].validation_curve_)
    np.testing.assert_array_equal(fits[0].score_function(X), fits[1].score_function(X))
    assert fits[0].step_size_ == fits[1].step_size_
