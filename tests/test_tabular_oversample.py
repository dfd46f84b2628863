"""ScoreOverSampler: synthetic rows of the rare classes."""

import numpy as np
import pandas as pd
import pytest

from skscore.tabular import ScoreOverSampler, TabularGenerator

QUICK = TabularGenerator(max_steps=2, hidden_units=(8,))


def data(counts=(40, 12, 6), seed=0):
    rng = np.random.RandomState(seed)
    y = np.repeat(np.array(["a", "b", "c"])[: len(counts)], counts)
    X = pd.DataFrame(
        {"x": rng.standard_normal(len(y)), "k": rng.randint(0, 5, len(y)), "class": "same"}
    )
    return X, pd.Series(y, name="y")


@pytest.mark.parametrize(
    ("strategy", "after"),
    [
        ("auto", (40, 40, 40)),
        ("not majority", (40, 40, 40)),
        ("all", (40, 40, 40)),
        ("minority", (40, 12, 40)),
        ({"b": 20}, (40, 20, 6)),
        (lambda y: {"c": 7}, (40, 12, 7)),
    ],
)
def test_classes_get_the_rows_they_are_to_have(strategy, after):
    X, y = data()
    sampler = ScoreOverSampler(sampling_strategy=strategy, generator=QUICK, random_state=0)
    X_new, y_new = sampler.fit_resample(X, y)
    assert tuple(y_new.value_counts().sort_index()) == after
    # The rows that were there come first, as they were.
    pd.testing.assert_frame_equal(X_new.iloc[: len(X)], X)
    pd.testing.assert_series_equal(y_new.iloc[: len(y)], y)
    assert X_new.dtypes.equals(X.dtypes)
    assert X_new.columns.equals(X.columns)
    added = sum(after) - len(y)
    assert sum(sampler.sampling_strategy_.values()) == added == len(X_new) - len(X)


def test_the_first_of_several_smallest_classes_grows_alone():
    X, y = data((20, 6, 6))
    sampler = ScoreOverSampler(sampling_strategy="minority", generator=QUICK, random_state=0)
    _, y_new = sampler.fit_resample(X, y)
    assert y_new.value_counts().to_dict() == {"a": 20, "b": 20, "c": 6}


def test_a_ratio_is_for_two_classes():
    X, y = data((40, 6))
    sampler = ScoreOverSampler(sampling_strategy=0.5, generator=QUICK, random_state=0)
    _, y_new = sampler.fit_resample(X, y)
    assert y_new.value_counts().to_dict() == {"a": 40, "b": 20}
    with pytest.raises(ValueError, match=r"0.5 is a ratio of two classes, and y has 3"):
        sampler.fit_resample(*data())


@pytest.mark.parametrize(
    "labels", [np.array([3, 7]), np.array([0.0, 1.0]), np.array([True, False])]
)
def test_arrays_come_back_as_arrays(labels):
    rng = np.random.RandomState(0)
    X, y = rng.standard_normal((30, 2)).astype(np.float32), np.repeat(labels, [24, 6])
    X_new, y_new = ScoreOverSampler(generator=QUICK, random_state=0).fit_resample(X, y)
    assert isinstance(X_new, np.ndarray)
    assert X_new.dtype == np.float32
    assert y_new.dtype == y.dtype
    assert (y_new == labels[1]).sum() == 24
    again, _ = ScoreOverSampler(generator=QUICK, random_state=0).fit_resample(X, y)
    np.testing.assert_array_equal(again, X_new)


def test_balanced_classes_come_back():
    X, y = data((10, 10))
    X_new, y_new = ScoreOverSampler(generator=QUICK).fit_resample(X, y)
    assert X_new is X
    assert y_new is y


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampling_strategy": "most"}, "'sampling_strategy' parameter of ScoreOverSampler"),
        ({"sampling_strategy": {"z": 3}}, r"names the classes \['z'\], which y has not"),
        ({"sampling_strategy": {"a": 3}}, r"asks for \{'a': 3\} rows, fewer than"),
        ({"sampling_strategy": {"b": 20.5}}, r"asks for \{'b': 20.5\} rows; give whole numbers"),
        ({"sampling_strategy": {"b": np.nan}}, r"asks for \{'b': nan\} rows; give whole numbers"),
        ({"sampling_strategy": {"b": np.inf}}, r"asks for \{'b': inf\} rows; give whole numbers"),
        ({"sampling_strategy": {"b": None}}, r"asks for \{'b': None\} rows; give whole numbers"),
        ({"sampling_strategy": lambda y: 0.5}, r"returned 0.5; it has to return a dict"),
    ],
)
def test_what_cannot_be_done_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ScoreOverSampler(generator=QUICK, **options).fit_resample(*data())


def test_one_class_and_continuous_targets_are_refused():
    X, _ = data()
    with pytest.raises(ValueError, match=r"y has 1 class\(es\)"):
        ScoreOverSampler(generator=QUICK).fit_resample(X, np.zeros(len(X), dtype=int))
    with pytest.raises(ValueError, match="Unknown label type"):
        ScoreOverSampler(generator=QUICK).fit_resample(X, np.linspace(0, 1.5, len(X)))


@pytest.mark.slow
def test_rows_of_a_rare_class_are_like_those_of_it():
    rng = np.random.RandomState(0)
    y = np.repeat([0, 1], [900, 100])
    X = rng.standard_normal((1000, 2)) + 3 * y[:, None]
    generator = TabularGenerator(max_steps=3000)
    X_new, y_new = ScoreOverSampler(generator=generator, random_state=0).fit_resample(X, y)
    added = X_new[1000:]
    assert (y_new[1000:] == 1).all()
    assert len(added) == 800
    # The class was seen in 100 rows: the mean is known to .1 and the deviation to .07.
    np.testing.assert_allclose(added.mean(axis=0), 3, atol=0.5)
    np.testing.assert_allclose(added.std(axis=0), 1, atol=0.35)


def test_numbers_among_objects_and_in_lists_stay_numbers():
    rng = np.random.RandomState(0)
    y = np.repeat([0, 1], [80, 20])
    rows = [[float(x), label] for x, label in zip(rng.normal(size=100), "ab" * 50, strict=True)]
    array = np.array(rows, dtype=object)
    sampler = ScoreOverSampler(generator=QUICK, random_state=0)
    for X in (rows, array):
        new = sampler.fit_resample(X, y)[0][100:]
        assert all(isinstance(x, float) for x in new[:, 0])
        assert set(new[:, 1]) <= {"a", "b"}
        # Levels would be values of the training rows.
        assert np.isin(new[:, 0].astype(float), array[:, 0].astype(float)).mean() < 0.5


def test_a_target_in_a_frame_comes_back_in_one():
    X = np.random.RandomState(0).normal(size=(50, 2))
    y = pd.DataFrame({"t": np.repeat([0, 1], [40, 10])})
    _, found = ScoreOverSampler(generator=QUICK, random_state=0).fit_resample(X, y)
    assert found.columns.tolist() == ["t"]
    assert found.dtypes.tolist() == y.dtypes.tolist()
    assert found["t"].value_counts().tolist() == [40, 40]


def test_rows_have_to_be_a_dense_table():
    sparse = pytest.importorskip("scipy.sparse")
    for X, message in ((sparse.eye(50).tocsr(), "dense data is required"), (np.ones(50), "2D")):
        with pytest.raises((TypeError, ValueError), match=message):
            ScoreOverSampler(generator=QUICK).fit_resample(X, np.repeat([0, 1], [40, 10]))


def test_classes_may_be_dates_in_an_array():
    X, y = np.random.RandomState(0).standard_normal((24, 2)), np.repeat(["2020", "2021"], [18, 6])
    y = y.astype("M8[D]")
    _, y_new = ScoreOverSampler(generator=QUICK, random_state=0).fit_resample(X, y)
    assert y_new.dtype == y.dtype
    assert (y_new == np.datetime64("2021-01-01")).sum() == 18


@pytest.mark.parametrize(
    "labels",
    [
        pd.date_range("2020", periods=2),
        pd.CategoricalIndex(["a", "b"]),
        pd.RangeIndex(2),
        pd.MultiIndex.from_tuples([("a", 1), ("a", 2)]),
    ],
)
def test_columns_keep_their_labels(labels):
    X = pd.DataFrame(np.random.RandomState(0).standard_normal((24, 2)), columns=labels)
    y = np.repeat([0, 1], [18, 6])
    X_new, _ = ScoreOverSampler(generator=QUICK, random_state=0).fit_resample(X, y)
    pd.testing.assert_index_equal(X_new.columns, labels)
    assert len(X_new) == 36
