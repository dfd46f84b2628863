"""What is drawn where a number is missing, against the conditional laws."""

import numpy as np
import pytest
import torch

from skscore import _stand_ins
from skscore._groups import FeatureGroup
from skscore._location_model import LocationModel
from skscore._stand_ins import StandIns, with_stand_ins
from skscore._table_loss import EncodedRows

CPU = torch.device("cpu")
C = np.array([[1.0, 0.8, 0.3], [0.8, 1.0, 0.5], [0.3, 0.5, 1.0]])
TWO = LocationModel([[-1.0, 0.0, 0.5], [1.0, 2.0, 0.0]], np.stack([C, 0.5 * C]), shares=[0.3, 0.7])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(model, row, levels=None, n=20_000):
    """Draws (n, q) of the numbers of one row."""
    z = np.array([[0.0, 1.0, 2.0], row])
    stand_ins = StandIns.by_model(model, z, levels, range(3), CPU)
    many = torch.tensor(z).float()[1].repeat(n, 1)
    return stand_ins.put_into(many, torch.ones(n, dtype=torch.long), generator()).double().numpy()


def law(mean, C, row):
    """The mean and the covariance of missing numbers, and ln N of the others but for a constant."""
    o, m = np.flatnonzero(~np.isnan(row)), np.flatnonzero(np.isnan(row))
    gain, d = C[np.ix_(m, o)] @ np.linalg.inv(C[np.ix_(o, o)]), row[o] - mean[o]
    log_f = -(d @ np.linalg.solve(C[np.ix_(o, o)], d) + np.linalg.slogdet(C[np.ix_(o, o)])[1]) / 2
    return mean[m] + gain @ d, C[np.ix_(m, m)] - gain @ C[np.ix_(o, m)], log_f


@pytest.mark.parametrize("row", [[0.5, np.nan, -1.0], [np.nan, 0.7, np.nan], [np.nan] * 3])
@pytest.mark.parametrize("level", [0, 1])
def test_numbers_have_their_law_given_the_others_and_the_level(row, level):
    row = np.array(row)
    x = drawn(TWO, row, np.array([0, level]))
    there = ~np.isnan(row)
    np.testing.assert_allclose(x[:, there], np.tile(row[there], (len(x), 1)), rtol=1e-6)
    mean, V, _ = law(TWO.means[level].double().numpy(), C * (1.0, 0.5)[level], row)
    found = x[:, ~there]
    assert (np.abs(found.mean(0) - mean) < 4 * np.sqrt(np.diag(V) / len(x))).all()
    error = np.sqrt((np.outer(np.diag(V), np.diag(V)) + V**2) / len(x))
    assert (np.abs(np.cov(found.T).reshape(V.shape) - V) < 4 * error + 1e-3).all()


def test_components_that_no_column_tells_are_drawn_by_what_is_there():
    row = np.array([0.2, np.nan, 0.1])
    x = drawn(TWO, row)[:, 1]
    parts = [law(TWO.means[k].double().numpy(), C * (1.0, 0.5)[k], row) for k in (0, 1)]
    r = np.array([0.3, 0.7]) * np.exp([part[2] for part in parts])
    r /= r.sum()
    means, variances = (np.array([float(np.squeeze(part[k])) for part in parts]) for k in (0, 1))
    mean = r @ means
    variance = r @ (variances + means**2) - mean**2
    assert x.mean() == pytest.approx(mean, abs=4 * np.sqrt(variance / len(x)))
    assert x.var() == pytest.approx(variance, rel=0.06)
    assert 0.05 < r[0] < 0.95


def test_rows_keep_their_places():
    z = np.random.RandomState(0).normal(size=(6, 3))
    z[1, 0] = z[4, 1:] = np.nan
    stand_ins = StandIns.by_model(TWO, z, None, range(3), CPU)
    rows, kept = torch.tensor([0, 4, 4, 2, 1]), torch.tensor([0, 1, 2, 4])
    values = torch.tensor(z)[rows].float()
    found = stand_ins.put_into(values, rows, generator())
    assert found.isfinite().all()
    known = ~values.isnan()
    torch.testing.assert_close(found[known], values[known])
    assert (found[1, 1:] != found[2, 1:]).all()
    part = stand_ins.of(kept).put_into(values, torch.tensor([0, 3, 3, 2, 1]), generator())
    torch.testing.assert_close(part, found)
    whole = values[:1]
    assert stand_ins.put_into(whole, torch.tensor([0]), generator()) is whole


def test_there_may_be_nothing_to_draw_or_too_much(monkeypatch):
    z = np.zeros((4, 3))
    assert StandIns.by_model(TWO, z, None, range(3), CPU) is None
    z[0, 0] = np.nan
    assert StandIns.by_model(TWO, z, None, range(3), CPU) is not None
    monkeypatch.setattr(_stand_ins, "MOST_WORK", 2 * 27 - 1)
    assert StandIns.by_model(TWO, z, None, range(3), CPU) is None


def test_encoded_rows_have_them_in_every_draw():
    z = np.array([[0.5, np.nan, -1.0], [0.1, 0.2, 0.3]])
    u = np.full((2, 3), 0.5)
    rows = EncodedRows.between(u, u, np.array([True] * 3), CPU)
    rows.stand_ins = StandIns.by_model(TWO, z, None, range(3), CPU)
    one, other = (rows.smoothed(torch.tensor([0, 1]), generator(seed)) for seed in (0, 1))
    assert one[0, 1] != other[0, 1]
    assert (one[0, [0, 2]] == 0).all()
    assert (one[1] == 0).all()


def marked(seed, n=1500, with_class=False):
    """Two numbers of which one is missing at times, encoded, their groups, and what is missing."""
    rng = np.random.RandomState(seed)
    level = rng.choice(2, n)
    z = rng.multivariate_normal([0, 0], [[1, 0.9], [0.9, 1]], size=n)
    z += 3 * with_class * level[:, None]
    gone = rng.rand(n) < 0.3
    z[gone, 1] = rng.normal(size=gone.sum())
    groups = [
        FeatureGroup("x", "numeric", 0, 1, None, None),
        FeatureGroup("y", "numeric", 1, 2, None, None),
        FeatureGroup("y", "missing", 2, 4, np.eye(2), np.array([0.7, 0.3])),
        FeatureGroup("c", "categorical", 4, 6, np.eye(2), np.array([0.5, 0.5])),
    ]
    return np.column_stack([z, np.eye(2)[gone.astype(int)], np.eye(2)[level]]), groups, gone


@pytest.mark.parametrize("with_class", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_rows_with_stand_ins_have_what_columns_have_in_common(seed, with_class):
    z, groups, gone = marked(seed, with_class=with_class)
    filled = with_stand_ins(z, np.ones(len(z)), groups, seed)
    changed = filled != z
    assert (changed[gone, 1]).all()
    assert not changed[~gone].any()
    assert not np.delete(changed, 1, axis=1).any()
    within = gone & (z[:, 4] == 1)
    r = np.arctanh(np.corrcoef(filled[within, :2].T)[0, 1])
    # The correlation is itself learnt, of fewer than twice as many rows.
    assert r == pytest.approx(np.arctanh(0.9), abs=4 * np.sqrt(1.5 / within.sum()))
    np.testing.assert_array_equal(filled, with_stand_ins(z, np.ones(len(z)), groups, seed))


def test_rows_stay_as_they_are_where_nothing_is_to_be_drawn():
    z, groups, gone = marked(0)
    whole = z[~gone]
    assert with_stand_ins(whole, np.ones(len(whole)), groups, 0) is whole
    z[:, 0] = np.random.RandomState(1).normal(size=len(z))  # has nothing to do with the other
    z[:, 4:] = np.eye(2)[np.random.RandomState(2).choice(2, len(z))]
    assert with_stand_ins(z, np.ones(len(z)), groups, 0) is z
