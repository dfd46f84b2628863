import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from skscore._even import EvenNormal
from skscore._validation import torch_generator


@pytest.mark.parametrize("seed", range(20))
def test_each_place_has_the_normal_law_over_seeds(seed):
    # One row of many scramblings: the evenness within a scrambling has no say.
    rows = np.vstack(
        [EvenNormal(3, torch_generator(1000 * seed + k)).draw(1).numpy() for k in range(300)]
    )
    for column in rows.T:
        assert kstest(column, "norm").pvalue > 1e-4


def test_rows_fill_their_law_more_evenly_than_independent_ones():
    n = 256
    means = [EvenNormal(4, torch_generator(seed)).draw(n).mean(0) for seed in range(20)]
    assert torch.stack(means).square().mean().sqrt() < 0.2 / math.sqrt(n)


def test_a_call_goes_on_where_the_last_one_ended():
    whole = EvenNormal(5, torch_generator(0)).draw(512)
    parts = EvenNormal(5, torch_generator(0))
    assert torch.equal(torch.cat([parts.draw(256), parts.draw(256)]), whole)
    assert whole.dtype == torch.float64
    assert whole.isfinite().all()
    assert not torch.equal(EvenNormal(5, torch_generator(1)).draw(512), whole)


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    EvenNormal(3, torch_generator(0)).draw(10)
    assert torch.equal(torch.get_rng_state(), before)


def test_beyond_the_longest_sequence_rows_are_independent():
    rows = EvenNormal(21_202, torch_generator(0)).draw(4)
    assert rows.shape == (4, 21_202)
    assert abs(rows.mean()) < 4 / math.sqrt(rows.numel())
    assert rows.std().item() == pytest.approx(1, abs=0.01)
