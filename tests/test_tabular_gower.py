from datetime import date
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist

from skscore.metrics import copy_rate
from skscore.tabular import TabularEncoder
from skscore.tabular._gower import GowerPoints


def table():
    return pd.DataFrame(
        {
            "height": [150.0, 160.0, 200.0, 175.0],
            "sex": pd.Categorical(["f", "m", "m", "f"]),
            "born": pd.to_datetime(["2000-01-01", "2000-01-11", "2000-01-06", "2000-01-02"]),
        }
    )


def points(X):
    return GowerPoints(TabularEncoder().fit(X), X)


def test_the_city_block_distance_of_points_is_that_of_gower():
    found = points(table())(table())
    distances = cdist(found, found, "cityblock")
    assert distances[0, 1] == pytest.approx(0.2 + 1 + 1)
    assert distances[0, 2] == pytest.approx(1 + 1 + 0.5)
    assert distances[0, 3] == pytest.approx(0.5 + 0 + 0.1)


def test_a_missing_number_is_half_its_range_away_and_a_level_of_its_own():
    X = table().assign(height=[np.nan, 150.0, 200.0, 175.0])
    found = points(X)(X)
    distances = cdist(found, found, "cityblock")
    assert distances[0, 3] == pytest.approx(1 + 0 + 0.1)
    assert distances[0, 1] == pytest.approx(0.5 + 1 + 1 + 1)


def test_rows_beyond_the_table_are_measured_by_its_ranges():
    to_points = points(table())
    beyond = table().assign(height=[150.0, 250.0, 150.0, 150.0])
    assert to_points(beyond)[1, 0] == pytest.approx(2.0)


def test_arrays_are_taken():
    X = np.array([[0.0, 1.0], [4.0, 2.0], [1.0, 5.0]])
    found = points(X)(X)
    np.testing.assert_allclose(found, [[0, 0], [1, 0.25], [0.25, 1]])


@pytest.mark.parametrize("n_columns", [1, 2, 4])
def test_fresh_rows_copy_training_rows_as_often_as_these_each_other(n_columns):
    excess = []
    for seed in range(20):
        X = np.random.RandomState(seed).standard_normal((600, n_columns))
        to_points = points(X[:300])
        train, fresh = to_points(X[:300]), to_points(X[300:])
        reference = copy_rate(train, train, exclude_self=True, metric="cityblock")
        excess.append(copy_rate(fresh, train, metric="cityblock") - reference)
    assert abs(np.mean(excess)) < 4 * np.std(excess, ddof=1) / np.sqrt(len(excess))


def test_levels_in_an_order_go_by_their_ranks():
    sizes = pd.CategoricalDtype(["small", "middle", "large"], ordered=True)
    X = pd.DataFrame({"size": pd.Series(["small", "large", "middle", "small"], dtype=sizes)})
    found = points(X)(X)[:, 0]
    assert found[0] == found[3] == 0
    assert found[1] == 1
    assert 0 < found[2] < 1


def test_every_kind_of_column_has_a_place():
    X = pd.DataFrame(
        {
            "flag": [True, False, True, True],
            "count": pd.array([1, None, 3, 3], dtype="Int64"),
            "wait": pd.to_timedelta([1, 2, 3, 5], unit="h"),
            "name": ["a", "b", None, "a"],
            "code": [2**50, 2**50 + 8, 5, 6],
            "price": np.array([Decimal("1.5"), None, Decimal("2"), Decimal("4")], dtype=object),
            "born": [date(2000, 1, 1), date(2001, 1, 1), None, date(2000, 6, 1)],
        }
    )
    found = points(X)(X)
    assert found.shape[0] == 4
    assert np.isfinite(found).all()
    assert found.min() >= 0
    assert found.max() <= 1
