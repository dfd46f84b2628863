"""How long tables of different sizes are trained, and how."""

import pytest

from skscore.tabular._budget import (
    batch_size_for,
    hidden_units_for,
    n_steps_for,
    weight_decay_for,
)


@pytest.mark.parametrize(
    ("n_rows", "ends_in_time", "n_steps"),
    [(10, True, 3000), (100, True, 3626), (1000, True, 9155), (1000, False, 3906)]
    + [
        (499, True, 8868),
        (500, True, 6658),
        (4000, True, 9766),
        (20_000, True, 10_603),
        (20_000, False, 10_603),
        (10**6, True, 19_531),
    ],
)
def test_trainings_that_end_in_time_are_longer(n_rows, ends_in_time, n_steps):
    batch_size = batch_size_for(n_rows)
    options = {"ends_in_time": ends_in_time, "starts_near": False}
    assert n_steps_for(n_rows, batch_size, **options) == n_steps
    halved = n_steps_for(n_rows, 2 * batch_size, **options)
    assert halved == pytest.approx(n_steps / 2, abs=1)
    shorter = n_steps_for(n_rows, batch_size, ends_in_time=ends_in_time, starts_near=True)
    assert shorter == pytest.approx((0.7 if ends_in_time else 1.0) * n_steps, abs=1)


@pytest.mark.parametrize(
    ("n_rows", "batch_size", "weight_decay"),
    [(10, 256, 1.0), (200, 256, 0.25), (499, 256, 0.0402), (500, 512, 0.04), (10_000, 512, 0.01)],
)
def test_small_tables_get_small_batches_and_small_weights(n_rows, batch_size, weight_decay):
    assert batch_size_for(n_rows) == batch_size
    assert weight_decay_for(n_rows) == pytest.approx(weight_decay, rel=1e-2)


def test_many_rows_get_more_units():
    assert hidden_units_for(199_999) == (192, 192, 192)
    assert hidden_units_for(200_000) == (512, 512, 512, 512)
