import torch

from skscore import DenoisingScoreEstimator
from skscore._selection import (
    LONG_PATIENCE,
    VALIDATIONS,
    ClearlyBetter,
    Latest,
    LatestNearLowest,
    LowestLoss,
)


def kept(selection, losses):
    return [selection.improves(torch.nn.Identity(), torch.tensor(rows)) for rows in losses]


def test_lowest_loss_is_kept_and_later_equals_are_not():
    losses = [[3.0, 3.0], [1.0, 3.0], [2.0, 2.0], [2.0, 3.0], [0.0, 2.0]]
    assert kept(LowestLoss(), losses) == [True, True, False, False, True]
    assert all(kept(Latest(), losses))


def test_the_latest_is_kept_that_cannot_be_told_from_the_lowest():
    lowest = [1.0, 2.0, 3.0, 6.0]
    scattered = [2.5, 2.0, 2.0, 6.0]  # .125 more, with a standard error of the difference of .45
    worse = [1.1, 2.1, 3.1, 6.2]  # .125 more in every row alike, with one of .02
    assert kept(LatestNearLowest(), [lowest, scattered, worse, lowest]) == [True, True, False, True]
    assert kept(LatestNearLowest(), [worse, lowest]) == [True, True]
    # The lowest is what the next is compared with, not the last that was kept.
    far = [3.0, 2.5, 2.5, 6.0]
    assert kept(LatestNearLowest(), [scattered, far]) == [True, False]
    assert kept(LatestNearLowest(), [lowest, scattered, far])[2] is False


def test_a_tolerance_bounds_what_heavy_tails_would_let_pass():
    lowest = [-9.0, -11.0, -10.0, -10.0]
    uncertain = [-7.0, -12.0, -10.6, -9.6]  # .2 more, 2 % of the lowest, with an error of .7
    assert kept(LatestNearLowest(), [lowest, uncertain]) == [True, True]
    assert kept(LatestNearLowest(0.03), [lowest, uncertain]) == [True, True]
    assert kept(LatestNearLowest(0.01), [lowest, uncertain]) == [True, False]


def test_a_start_suffices_unless_what_is_kept_is_better_by_two_standard_errors():
    start = torch.tensor([1.0, 2.0, 3.0, 6.0])
    selection = ClearlyBetter(LowestLoss())
    assert selection.patience == LowestLoss.patience
    assert not selection.start_suffices  # nothing was kept: there is nothing to hold against it
    selection.begin(start)
    assert not selection.start_suffices
    gains = torch.tensor([0.0, 0.0, 0.0, 0.4])  # .1, with a standard error of .087
    assert kept(selection, [(start - gains).tolist()]) == [True]
    assert selection.start_suffices
    gains = torch.tensor([0.2, 0.3, 0.4, 0.1])  # .25, with one of .056
    assert kept(selection, [(start - gains).tolist()]) == [True]
    assert not selection.start_suffices
    # What is not kept does not count.
    assert kept(selection, [(start + 1).tolist()]) == [False]
    assert not selection.start_suffices


def test_a_denoiser_waits_for_half_of_its_training():
    selection = DenoisingScoreEstimator()._select_held_out()
    assert selection.patience == LONG_PATIENCE == VALIDATIONS / 2
    assert LatestNearLowest().patience == LowestLoss.patience == VALIDATIONS / 4
    assert ClearlyBetter(selection).patience == LONG_PATIENCE
