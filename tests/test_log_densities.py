"""Two ways to the log-densities of many rows, on a known density."""

import warnings

import numpy as np
import pytest
import torch

from skscore._log_densities import by_denoising, by_flow, mean_and_error, warn_of_gap
from skscore.exceptions import OverfittingWarning
from skscore.gaussians import GaussianScore

LEVELS = 0.01, 10.0


@pytest.mark.parametrize("d", [3, 51])
def test_both_ways_give_the_density(d):
    density = GaussianScore(torch.zeros(d), torch.linspace(0.5, 2, d).diag())
    z = density.sample(300, 0.0, torch.Generator().manual_seed(0))
    truth = density.log_density(z, torch.full_like(z[:, :1], LEVELS[0])).numpy()
    log_p, error = by_flow(density, z, LEVELS, density)
    np.testing.assert_allclose(log_p, truth, atol=1e-3)
    assert error.max() < 1e-9
    np.testing.assert_array_equal(by_flow(density, z[7:9], LEVELS, density)[0], log_p[7:9])
    other = GaussianScore(torch.zeros(d), torch.eye(d))
    nll = by_denoising(density, z, LEVELS, other)
    assert abs((nll + truth).mean()) < 0.02 * d
    np.testing.assert_array_equal(nll, by_denoising(density, z, LEVELS, other))


def test_a_gap_is_warned_of_where_there_are_rows_to_judge():
    log_p = np.zeros(40)
    with pytest.warns(OverfittingWarning, match=r"40 rows .* is 1\.1 nats below .* rows\. Do this"):
        warn_of_gap(log_p, lambda: np.full(40, -1.1), 2, "Do this.")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_gap(log_p, lambda: np.full(40, -0.9), 2, "Do this.")
        warn_of_gap(log_p[:20], lambda: np.full(20, -9.0), 2, "Do this.")


def test_means_and_their_errors():
    values = np.array([1.0, 2.0, 6.0])
    assert mean_and_error(values, None) == pytest.approx((3.0, np.sqrt(14) / 3))
    assert mean_and_error(values, np.array([1.0, 1.0, 0.0])) == pytest.approx((1.5, np.sqrt(0.125)))
    mean, error = mean_and_error(np.array([1.0, np.inf]), None)
    assert mean == np.inf
    assert np.isnan(error)
    assert mean_and_error(np.array([1.0, np.inf]), np.array([1.0, 0.0])) == (1.0, 0.0)
