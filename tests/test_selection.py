import torch

from skscore._selection import Latest, LatestNearLowest, LowestLoss


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
