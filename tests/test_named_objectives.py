"""Objectives by name: what each takes, and what it becomes."""

import numpy as np
import pytest
import torch

from skscore._batches import Rows
from skscore._losses import DenoisingLoss, ParzenLoss, SlicedLoss
from skscore._named_objectives import (
    BLURRED,
    PARAMETERS,
    check_objective_params,
    make_loss,
    score_in_units,
)

ROWS = Rows.of(np.arange(6.0).reshape(3, 2), np.array([1.0, 0.0, 2.0]), torch.device("cpu"))


class Reader:
    def __call__(self, x, sigma):
        self.sigma = sigma
        return -x


def made(objective, **params):
    return make_loss(objective, params, sigma=0.2, sigma_data=1.0, rows=ROWS, target=lambda x: -x)


@pytest.mark.parametrize(
    ("objective", "params", "message"),
    [
        ("implicit", {"n_probes": 2}, "has 'n_probes', but objective='implicit' takes none"),
        (
            "sliced",
            {"epsilon": 0.1},
            "has 'epsilon', but objective='sliced' takes n_probes, probes",
        ),
        ("explicit", {}, "give it as objective_params={'target': function}"),
        ("explicit", {"target": 3}, "compares with a known score"),
        ("sliced", {"n_probes": 0}, "n_probes=0 directions have no mean"),
        ("sliced_vr", {"n_probes": True}, "n_probes=True directions"),
        (
            "sliced",
            {"probes": "cauchy"},
            "probes='cauchy' is no law .* rademacher, gaussian, sphere",
        ),
        ("finite_difference", {"epsilon": 0.0}, "epsilon=0.0 is no step"),
        ("finite_difference", {"epsilon": np.inf}, "epsilon=inf is no step"),
        ("finite_difference", {"epsilon": "small"}, "epsilon='small' is no step"),
    ],
)
def test_parameters_that_an_objective_does_not_take_are_refused(objective, params, message):
    with pytest.raises(ValueError, match=message):
        check_objective_params(objective, params)


def test_numbers_of_numpy_are_numbers():
    params = {"n_probes": np.int64(2), "epsilon": np.float32(0.1)}
    assert check_objective_params("finite_difference", params) == params


def test_every_name_makes_a_loss_with_its_parameters():
    for objective in PARAMETERS:
        loss = made(objective)
        x = torch.zeros(4, 2)
        assert loss(lambda x, sigma: -x, x, torch.Generator().manual_seed(0)).shape == (4,)
        # Blurred objectives are those that put noise on the rows.
        reader = Reader()
        loss(reader, x, torch.Generator().manual_seed(0))
        assert (reader.sigma > 0).all() == (objective in BLURRED)
    assert made("sliced_vr").variance_reduction
    plain = made("sliced", n_probes=3, probes="sphere")
    assert isinstance(plain, SlicedLoss)
    assert (plain.variance_reduction, plain.n_probes, plain.probes) == (False, 3, "sphere")
    assert made("finite_difference", epsilon=0.5).epsilon == 0.5
    assert isinstance(made("denoising"), DenoisingLoss)
    assert made("denoising").mirrored
    assert made("denoising_control_variate").control_variate


def test_the_centers_of_parzen_are_the_rows_that_count():
    loss = made("parzen")
    assert isinstance(loss, ParzenLoss)
    assert torch.equal(loss.centers, ROWS.values[[0, 2]])
    assert torch.equal(loss.weights, torch.tensor([1.0, 2.0]))


def test_a_score_of_the_user_is_brought_into_the_units_of_training():
    mean, scale, varying = (
        np.array([1.0, 5.0, -2.0]),
        np.array([2.0, 1.0, 0.1]),
        np.array([1, 0, 1]),
    )
    varying = varying.astype(bool)

    def to_x(z):
        X = np.tile(mean, (len(z), 1))
        X[:, varying] += z * scale[varying]
        return X

    # N(mean, scale²): -(x - mean)/scale² becomes -z.
    target = score_in_units(lambda X: -(X - mean) / scale**2, to_x, scale, varying)
    z = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(target(z), -z)
    assert target(z).dtype == torch.float32
    for wrong in (lambda X: X[:, :1], lambda X: X * np.nan):
        with pytest.raises(ValueError, match="has the shape of the rows, and is finite"):
            score_in_units(wrong, to_x, scale, varying)(z)
