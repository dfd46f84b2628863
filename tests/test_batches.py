"""Noise of rounded columns in the batches of a training."""

import numpy as np
import pytest
import torch

from skscore._batches import BatchIterator, Rows, ValidationIterator

N = 40


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def table(widths, n=N, d=3):
    z = np.random.RandomState(0).normal(size=(n, d)).round(1)
    return Rows.of(z, np.ones(n), torch.device("cpu"), widths)


def batches(rows, n_steps=3, batch_size=4 * N, seed=0):
    drawn = BatchIterator(rows, batch_size, n_steps, n_steps, generator(seed))
    return [batch.values for batch, _ in drawn]


def test_without_widths_batches_hold_the_rows_themselves():
    for widths in (None, np.zeros(3)):
        rows = table(widths)
        assert rows.widths is None
        known = {tuple(row) for row in rows.values.tolist()}
        for values in batches(rows):
            assert {tuple(row) for row in values.tolist()} == known


def test_every_batch_has_fresh_noise_of_at_most_half_a_width():
    widths = np.array([0.5, 0.0, 0.1])
    rows = table(widths)
    drawn = batches(rows)
    # Batches of four copies of each row, in the order of the rows.
    offsets = [values - rows.values.repeat_interleave(4, 0) for values in drawn]
    limits = torch.tensor(widths / 2, dtype=torch.float32)
    for offset in offsets:
        assert (offset.abs() <= limits + 1e-6).all()
        assert (offset[:, 1] == 0).all()
        assert (offset[:, 0].abs() > 0).any()
    assert (offsets[0][:, 0] != offsets[1][:, 0]).float().mean() > 0.99
    assert not torch.allclose(offsets[0][:, 0] / 0.5, offsets[0][:, 2] / 0.1, atol=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_the_noise_is_uniform(seed):
    rows = table(np.array([2.0, 0.0, 0.0]))
    u = torch.cat(
        [values - rows.values.repeat_interleave(4, 0) for values in batches(rows, 50, seed=seed)]
    )[:, 0].double()
    n = len(u)
    assert abs(u.mean()) < 4 * (1 / 3 / n) ** 0.5
    # Var u = δ²/12 with δ = 2, and the variance of u² is 1/5 - 1/9.
    assert abs(u.square().mean() - 1 / 3) < 4 * ((1 / 5 - 1 / 9) / n) ** 0.5


def test_the_generator_decides_the_noise_and_the_rows_stay():
    rows = table(np.ones(3))
    before = rows.values.clone()
    a, b, other = (batches(rows, 1, seed=seed)[0] for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, other)
    assert torch.equal(rows.values, before)


def test_rows_that_are_watched_are_read_as_they_are():
    rows = table(np.ones(3))
    watched = torch.cat([batch.values for batch, _ in ValidationIterator(rows, 7, 1, 0)])
    assert torch.equal(watched, rows.values)
    assert torch.equal(rows[3], rows.values[3])


def test_rows_are_taken_over_in_single_precision_with_their_widths():
    rows = table(np.array([0.5, 0.0, 0.0]))
    assert rows.values.dtype == rows.weights.dtype == rows.widths.dtype == torch.float32
    assert len(rows) == N
    index = torch.tensor([5, 5, 7])
    smooth = rows.smoothed(index, generator())
    assert smooth.dtype == torch.float32
    assert smooth[0, 0] != smooth[1, 0]
    assert torch.equal(smooth[:, 1:], rows.values[index, 1:])
