import math

import numpy as np
import pytest
import torch
from torch import nn

from skscore._validation import (
    check_device,
    check_module,
    check_n_samples,
    check_sigma,
    collapse_duplicates,
    draw_seed,
    fold_rows,
    split_rows,
    torch_generator,
    warn,
)

SEED = 0


# Duplicates


def collapse_by_dictionary(X, weights):
    totals = {}
    for row, weight in zip(X.tolist(), weights.tolist(), strict=True):
        if weight > 0:
            key = tuple(0.0 if value == 0 else value for value in row)
            totals.setdefault(key, []).append(weight)
    rows = sorted(totals)
    return np.array(rows), np.array([math.fsum(totals[row]) for row in rows])


def repeated_rows(n, d, seed=SEED):
    rng = np.random.RandomState(seed)
    X = rng.randint(-2, 3, size=(n, d)) * 0.7
    weights = rng.exponential(size=n) * (rng.uniform(size=n) < 0.8)
    return X, weights


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize(("n", "d"), [(1, 1), (50, 1), (200, 2), (300, 4)])
def test_collapsing_is_what_a_dictionary_does(n, d, weighted):
    X, weights = repeated_rows(n, d)
    weights = weights + (n == 1)
    rows, totals = collapse_duplicates(X, weights if weighted else None)
    expected = collapse_by_dictionary(X, weights if weighted else np.ones(n))
    np.testing.assert_array_equal(rows, expected[0])
    np.testing.assert_allclose(totals, expected[1], rtol=1e-14)
    if n > 1:
        assert len(rows) < n


def test_the_order_of_rows_leaves_no_trace_to_the_last_bit():
    X, weights = repeated_rows(300, 2)
    X[::7, 0] = -0.0
    weights = weights * 10.0 ** np.random.RandomState(1).randint(-8, 9, 300)
    rows, totals = collapse_duplicates(X, weights)
    naive = []
    for seed in range(5):
        order = np.random.RandomState(seed).permutation(300)
        shuffled = collapse_duplicates(X[order], weights[order])
        assert rows.tobytes() == shuffled[0].tobytes()
        assert totals.tobytes() == shuffled[1].tobytes()
        naive.append(sum(weights[order]))
    assert len(set(naive)) > 1  # sums in the order of the rows would differ


def test_a_repeated_row_is_a_weight():
    X = np.random.RandomState(SEED).standard_normal((10, 3))
    counts = np.arange(1, 11)
    repeated = collapse_duplicates(np.repeat(X, counts, axis=0), None)
    weighted = collapse_duplicates(X, counts.astype(float))
    np.testing.assert_array_equal(repeated[0], weighted[0])
    np.testing.assert_array_equal(repeated[1], weighted[1])


def test_both_zeros_are_one_value():
    rows, totals = collapse_duplicates(np.array([[-0.0, 1.0], [0.0, 1.0], [-0.0, 1.0]]), None)
    assert rows.tolist() == [[0.0, 1.0]]
    assert not np.signbit(rows).any()
    assert totals.tolist() == [3.0]


def test_rows_of_no_weight_are_left_out():
    X = np.array([[3.0], [1.0], [2.0], [1.0]])
    rows, totals = collapse_duplicates(X, np.array([0.0, 0.0, 0.5, 2.0]))
    assert rows.tolist() == [[1.0], [2.0]]
    assert totals.tolist() == [2.0, 0.5]


def test_the_rows_and_weights_that_come_in_are_left_alone():
    X, weights = repeated_rows(50, 2)
    before = X.copy(), weights.copy()
    collapse_duplicates(X, weights)
    np.testing.assert_array_equal(X, before[0])
    np.testing.assert_array_equal(weights, before[1])


def test_weights_of_zero_everywhere_are_refused():
    with pytest.raises(ValueError, match="sample_weight is zero for every row; give a positive"):
        collapse_duplicates(np.ones((3, 1)), np.zeros(3))


# Validation split


@pytest.mark.parametrize(("n_rows", "fraction"), [(3, 0.1), (10, 0.2), (101, 0.5), (1000, 0.137)])
def test_a_split_is_disjoint_and_complete(n_rows, fraction):
    train, valid = split_rows(n_rows, fraction, seed=SEED)
    assert sorted([*train, *valid]) == list(range(n_rows))
    assert len(valid) == max(1, round(fraction * n_rows))
    for index in (train, valid):
        assert (np.diff(index) > 0).all()


def test_a_split_follows_its_seed_and_gives_every_row_its_turn():
    state = np.random.get_state()[1].copy()
    a, b, other = (split_rows(50, 0.2, seed)[1] for seed in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert set(a) != set(other)
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    held_out = np.concatenate([split_rows(50, 0.2, seed)[1] for seed in range(100)])
    # Each row is held out 20 ± 4 times.
    assert np.abs(np.bincount(held_out, minlength=50) - 20).max() < 5 * 4


@pytest.mark.parametrize(("n_rows", "fraction", "n_valid"), [(2, 0.1, 1), (1, 0.5, 1), (5, 0.8, 4)])
def test_too_few_rows_to_split_are_refused(n_rows, fraction, n_valid):
    message = (
        rf"n_samples={n_rows} distinct rows, .*validation_fraction={fraction} of them "
        rf"\({n_valid}\).*give more rows, or early_stopping=False"
    )
    with pytest.raises(ValueError, match=message):
        split_rows(n_rows, fraction, seed=SEED)


# Folds


@pytest.mark.parametrize(("n_rows", "n_folds"), [(5, 5), (12, 5), (100, 3), (7, 1)])
def test_folds_are_a_partition_of_nearly_equal_parts(n_rows, n_folds):
    folds = fold_rows(n_rows, n_folds, seed=SEED)
    assert len(folds) == n_folds
    assert sorted(np.concatenate([own for _, own in folds])) == list(range(n_rows))
    sizes = [len(own) for _, own in folds]
    assert max(sizes) - min(sizes) <= 1
    for others, own in folds:
        assert sorted([*others, *own]) == list(range(n_rows))
        for index in (others, own):
            assert (np.diff(index) > 0).all()


def test_folds_follow_their_seed_and_not_the_order_of_rows():
    state = np.random.get_state()[1].copy()
    a, b, other = ([list(own) for _, own in fold_rows(60, 5, seed)] for seed in (1, 1, 2))
    assert a == b != other
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    # Any two rows are in one fold in 11 of 59 cases; here the neighbours in 200 draws.
    together = 0
    for seed in range(200):
        fold = np.empty(60, dtype=int)
        for k, (_, own) in enumerate(fold_rows(60, 5, seed)):
            fold[own] = k
        together += (fold[30] == fold[31]) / 200
    assert abs(together - 11 / 59) < 4 * (11 / 59 * 48 / 59 / 200) ** 0.5


@pytest.mark.parametrize("n_rows", [1, 4])
def test_fewer_rows_than_folds_are_refused(n_rows):
    message = rf"n_samples={n_rows} distinct rows, which is too few .* of 5 folds; give more rows"
    with pytest.raises(ValueError, match=message):
        fold_rows(n_rows, 5, seed=SEED)


# Warnings


def test_a_warning_points_to_the_line_outside_of_the_package():
    with pytest.warns(UserWarning, match="^careful$") as caught:
        warn("careful", UserWarning)
    assert caught[0].filename == __file__
    # From however deep inside.
    inside = {"__name__": "skscore._somewhere", "warn": warn}
    exec("def deep(n):\n    deep(n - 1) if n else warn('careful', FutureWarning)", inside)
    with pytest.warns(FutureWarning, match="careful") as caught:
        inside["deep"](3)
    assert caught[0].filename == __file__
    # A module of another package is another package, whatever its name starts with.
    other = {"__name__": "skscore_of_others", "warn": warn}
    exec(compile("def call():\n    warn('careful', UserWarning)", "others.py", "exec"), other)
    with pytest.warns(UserWarning) as caught:
        other["call"]()
    assert caught[0].filename == "others.py"


# Numbers


@pytest.mark.parametrize("value", [1, 7, np.int32(3), np.int64(10**6)])
def test_a_number_of_rows_is_a_positive_integer(value):
    checked = check_n_samples(value)
    assert checked == value
    assert type(checked) is int


@pytest.mark.parametrize("value", [0, -1, 1.0, 2.5, "3", None, True, np.float64(2)])
def test_other_numbers_of_rows_are_refused(value):
    with pytest.raises(ValueError, match="^n_samples=.* rows cannot be drawn; give an integer of"):
        check_n_samples(value)


@pytest.mark.parametrize(
    "sigma",
    [0.5, 1, np.float32(0.5), [0.1, 0.2, 0.3], np.array([[0.1], [0.2], [0.3]])],
)
def test_noise_levels_become_one_column(sigma):
    levels = check_sigma(sigma, 3)
    assert levels.shape == (3, 1)
    assert levels.dtype == np.float64
    np.testing.assert_array_equal(levels[:, 0], np.broadcast_to(np.ravel(sigma), 3))
    levels[0] = 9.0  # it is a copy, of rows that do not share memory
    assert levels[1] != 9.0
    assert np.max(sigma) < 9


@pytest.mark.parametrize("sigma", [[0.1, 0.2], np.ones((1, 3)), np.ones((3, 2)), [0.1], [[0.1]]])
def test_noise_levels_of_other_shapes_are_refused(sigma):
    shape = str(np.shape(sigma)).replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(ValueError, match=f"^noise has the shape {shape}; .* the 3 rows of X"):
        check_sigma(sigma, 3, name="noise")


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan, math.inf, [0.1, 0.0, 0.1]])
def test_noise_levels_that_are_not_positive_are_refused(sigma):
    with pytest.raises(ValueError, match="^sigma=.* is not a standard deviation; give positive"):
        check_sigma(sigma, 3)


# Seeds


def test_a_seed_is_drawn_as_scikit_learn_does():
    assert draw_seed(3) == draw_seed(3) != draw_seed(4)
    rng = np.random.RandomState(3)
    first, second = draw_seed(rng), draw_seed(rng)
    assert first == draw_seed(3)
    assert first != second
    state = np.random.get_state()
    try:
        np.random.seed(3)
        assert draw_seed(None) == first
    finally:
        np.random.set_state(state)
    with pytest.raises(ValueError, match="cannot be used to seed"):
        draw_seed("three")


def test_a_generator_is_its_own():
    before = torch.get_rng_state()
    a, b, other = (torch.rand(5, generator=torch_generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, other)
    assert torch.equal(before, torch.get_rng_state())
    # Every seed that can be drawn is one.
    torch_generator(np.iinfo(np.int32).max - 1)


# Devices


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu")])
def test_the_cpu_is_always_there(device):
    assert check_device(device) == torch.device("cpu")


@pytest.mark.parametrize("device", ["banana", "", 1.5, None, "cuda:x"])
def test_what_is_no_device_is_refused(device):
    with pytest.raises(ValueError, match="^device=.* is not a torch device; give 'cpu', 'cuda' or"):
        check_device(device)


@pytest.mark.parametrize("device", ["mps", "meta"])
def test_a_device_without_double_precision_is_refused(device):
    with pytest.raises(ValueError, match=f"^device='{device}' is not here, or has no double"):
        check_device(device)


@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_a_missing_gpu_is_named(device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    message = f"^device='{device}' was asked for, but torch sees no CUDA .* use device='cpu'"
    with pytest.raises(ValueError, match=message):
        check_device(device)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert check_device(device).type == "cuda"


# Modules


class Linear(nn.Module):
    def __init__(self, n_features, n_outputs=None):
        super().__init__()
        self.norm = nn.BatchNorm1d(n_features)
        self.layer = nn.Linear(n_features, n_outputs or n_features)

    def forward(self, x, sigma):
        return self.layer(self.norm(x)) / sigma


def test_a_class_or_a_function_is_called_with_the_number_of_features():
    for module in (Linear, lambda n_features: Linear(n_features)):
        made = check_module(module, 3, 3)
        assert isinstance(made, Linear)
        assert made.layer.in_features == 3


def test_an_instance_is_copied_and_left_as_it_was():
    module = Linear(3)
    assert module.training
    made = check_module(module, 3, 3)
    assert made is not module
    assert module.training
    assert not made.training
    assert made.layer.weight.data_ptr() != module.layer.weight.data_ptr()
    assert torch.equal(made.layer.weight, module.layer.weight)
    # Trying it out has not moved the statistics of its batches.
    assert torch.equal(made.norm.running_mean, torch.zeros(3))
    assert made.layer.weight.grad is None


@pytest.mark.parametrize(
    ("module", "made"),
    [(lambda n_features: n_features, "int"), (lambda n_features: Linear, "type")],
)
def test_what_makes_no_module_is_refused(module, made):
    message = f"^module=.* made a {made}; give a torch.nn.Module, or a class or function"
    with pytest.raises(TypeError, match=message):
        check_module(module, 3, 3)


class Pair(Linear):
    def forward(self, x, sigma):
        return x, sigma


@pytest.mark.parametrize(
    ("module", "returned"),
    [(lambda n_features: Linear(n_features, 5), r"\(2, 5\)"), (Pair, "tuple")],
)
def test_a_module_whose_output_is_no_score_is_refused(module, returned):
    message = rf"^module returned {returned} for inputs x of shape \(2, 3\) and sigma of shape"
    with pytest.raises(ValueError, match=message):
        check_module(module, 3, 3)
