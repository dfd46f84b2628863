"""FeatureGroup: what is a description of features, and how codes are read."""

from types import SimpleNamespace

import numpy as np
import pytest

from skscore._groups import (
    FeatureGroup,
    check_codes,
    check_groups,
    code_features,
    missing_numbers,
    nearest_levels,
    numeric_features,
    presence_features,
    same_codes,
    without_features,
)

CODES = np.array([[0.6, 0.8], [-0.6, 0.8], [0.0, -1.0]])


def groups():
    return [
        FeatureGroup("a", "numeric", 0, 1, None, None),
        FeatureGroup("a", "missing", 1, 3, np.eye(2), np.array([0.8, 0.2])),
        FeatureGroup("b", "categorical", 3, 5, CODES, np.array([0.5, 0.3, 0.2])),
        FeatureGroup("c", "numeric", 5, 6, None, None),
    ]


def test_groups_of_any_class_are_taken_as_they_are():
    others = [SimpleNamespace(**vars(group)) for group in groups()]
    others[2].codebook = CODES.tolist()
    checked = check_groups(iter(others), 6)
    assert all(isinstance(group, FeatureGroup) for group in checked)
    assert same_codes(checked, groups())
    assert [group.column for group in checked] == ["a", "a", "b", "c"]
    np.testing.assert_array_equal(checked[2].frequencies, [0.5, 0.3, 0.2])


def changed(i, **attributes):
    found = groups()
    found[i] = SimpleNamespace(**{**vars(found[i]), **attributes})
    return found


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([{"column": "a"}], r"feature_groups\[0\] is a dict without column"),
        (groups()[1:], r"feature_groups\[0\] has the features from 1 to 3 .* end at 0"),
        (groups()[:2] + groups()[3:], r"feature_groups\[2\] .* end at 3"),
        (groups()[:3], "feature_groups have 5 features, and X has 6"),
        ([], "feature_groups have 0 features"),
        (changed(0, stop=0), "from 0 to 0"),
        (changed(2, kind="label"), "of column 'b', has the kind 'label', which is none of"),
        (changed(3, codebook=np.eye(1)), "is numeric and has levels"),
        (changed(2, codebook=None), "is a category without levels"),
        (changed(2, codebook=np.eye(3)), r"codebook of the shape \(3, 3\).* 2 numbers"),
        (changed(2, codebook=CODES[[0, 0, 1]]), "the same for two levels"),
        (changed(2, codebook=CODES * np.nan), "not finite"),
        (changed(2, frequencies=np.ones(2) / 2), r"3 codes and frequencies of the shape \(2,\)"),
        (changed(2, frequencies=np.array([1.0, 0.0, 0.0])), "positive numbers of sum 1"),
        (changed(2, frequencies=np.ones(3)), "positive numbers of sum 1"),
        (changed(1, codebook=1 - np.eye(2)), "marks missing cells by other codes"),
    ],
)
def test_what_is_no_description_of_the_features_is_refused_by_name(given, message):
    with pytest.raises(ValueError, match=message):
        check_groups(given, 6)


def test_each_number_has_a_group_of_its_own():
    with pytest.raises(ValueError, match="is 2 numbers"):
        check_groups([FeatureGroup("a", "numeric", 0, 2, None, None)], 2)


def test_features_of_codes_are_those_with_levels():
    assert code_features(groups(), 6).tolist() == [False, True, True, True, True, False]


def test_numbers_and_what_says_that_they_are_there_are_found():
    assert numeric_features(groups()) == [0, 5]
    assert presence_features(groups()) == [1, -1]
    assert numeric_features(groups()[2:3]) == presence_features(groups()[2:3]) == []


def test_numbers_are_missing_where_their_mark_says_so():
    rows = np.zeros((3, 6))
    rows[0, 1] = 1.0  # is there
    rows[2, 1] = np.nan  # not known
    assert missing_numbers(rows, groups()).tolist() == [
        [False, False],
        [True, False],
        [False, False],
    ]
    assert missing_numbers(rows, groups()[2:3]).shape == (3, 0)


def test_groups_move_up_where_numbers_are_left_out():
    left = without_features(groups(), np.array([True, False, False, False, False, True]))
    assert [(group.start, group.stop) for group in left] == [(0, 2), (2, 4)]
    assert same_codes(without_features(groups(), np.zeros(6, dtype=bool)), groups())


def test_groups_are_the_same_if_rows_of_them_mean_the_same():
    assert same_codes([], [])
    assert same_codes(groups(), changed(2, column="z", frequencies=np.ones(3) / 3))
    assert not same_codes(groups(), groups()[:3])
    assert not same_codes(groups(), changed(2, codebook=CODES[::-1]))
    assert not same_codes(groups(), changed(0, kind="missing"))


def rows(levels):
    X = np.random.RandomState(0).normal(size=(len(levels), 6))
    X[:, 1:3], X[:, 3:5] = np.eye(2)[0], CODES[levels]
    return X


def test_the_nearest_code_is_that_of_the_least_distance(monkeypatch):
    X = np.random.RandomState(0).normal(size=(50, 6))
    found = FeatureGroup("b", "categorical", 3, 5, CODES * [[1.0], [2.0], [0.5]], np.ones(3) / 3)
    distances = np.linalg.norm(X[:, None, 3:5] - found.codebook, axis=2)
    np.testing.assert_array_equal(nearest_levels(X, found), distances.argmin(1))
    monkeypatch.setattr("skscore._groups._NUMBERS_AT_ONCE", 30)
    np.testing.assert_array_equal(nearest_levels(X, found), distances.argmin(1))
    assert nearest_levels(X[:0], found).shape == (0,)
    with pytest.raises(TypeError, match="have no levels"):
        nearest_levels(X, groups()[0])


def test_codes_are_known_in_single_precision_and_nothing_else_is_a_code():
    X = rows([0, 1, 2, 2])
    check_codes(X.astype(np.float32), groups())
    absent = X.copy()
    absent[1, 3:5] = np.nan
    check_codes(absent, groups())
    X[3, 4] += 0.1
    with pytest.raises(ValueError, match="X has .* from 3 to 5 .* no code of 'b'"):
        check_codes(X, groups())
