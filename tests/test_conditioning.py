"""Given cells, constraints and other options on their way through a pipeline."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

from skscore import NCSNGenerator, make_generative_pipeline
from skscore._conditioning import carry_given, read_conditions
from skscore._container import Container
from skscore.tabular import TabularEncoder, TabularGenerator

try:
    import narwhals
    import polars as pl
except ImportError:
    narwhals = pl = None
needs_polars = pytest.mark.skipif(pl is None or narwhals is None, reason="needs the extra polars")

QUICK = {"max_steps": 2, "hidden_units": (8,), "random_state": 0}


class Recorder(BaseEstimator):
    """Draws zeros where nothing is given, and keeps what it was asked."""

    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        self.container_ = Container.of(X)
        return self

    def sample(self, n_samples=1, random_state=None, *, conditions=None, constraints=None):
        self.conditions_, self.constraints_ = conditions, constraints
        if conditions is None:
            return self.container_.wrap(np.zeros((n_samples, self.n_features_in_)))
        return self.container_.wrap(np.nan_to_num(np.asarray(conditions, dtype=float)))


def array(n=200, seed=0):
    return np.random.RandomState(seed).lognormal(size=(n, 3))


def frame(n=200, seed=0):
    rng = np.random.RandomState(seed)
    sex = rng.choice(["f", "m"], n)
    return pd.DataFrame(
        {
            "sex": pd.Categorical(sex),
            "height": 170 + 7 * rng.standard_normal(n),
            "children": rng.poisson(2, n),
        }
    )


GIVEN = np.array([[1.5, np.nan, np.nan], [np.nan, 0.5, 2.0]])


@pytest.mark.parametrize(
    "step",
    [
        StandardScaler(),
        StandardScaler(copy=False),
        MinMaxScaler(),
        MaxAbsScaler(),
        RobustScaler(),
        PowerTransformer(),
        PowerTransformer("box-cox"),
        QuantileTransformer(n_quantiles=20, output_distribution="normal"),
        FunctionTransformer(),
        TabularEncoder(),
        make_pipeline(StandardScaler(), "passthrough", MinMaxScaler()),
    ],
    ids=lambda step: type(step).__name__,
)
@pytest.mark.filterwarnings("ignore:When `set_output` is configured:UserWarning")
@pytest.mark.parametrize("output", ["default", "pandas"])
def test_given_cells_go_through_transforms_of_single_columns(step, output):
    X = array()
    pipe = make_generative_pipeline(step, Recorder()).set_output(transform=output).fit(X)
    rows = pipe.sample(conditions=GIVEN, random_state=0)
    known = ~np.isnan(GIVEN)
    np.testing.assert_array_equal(rows[known], GIVEN[known])
    asked = pipe[-1].conditions_
    # scikit-learn's own identity gives back the array that it got.
    in_frames = output == "pandas" and not isinstance(step, FunctionTransformer)
    assert isinstance(asked, pd.DataFrame) == in_frames
    np.testing.assert_array_equal(~np.isnan(np.asarray(asked)), known)
    filled = np.where(known, GIVEN, X.mean(axis=0))
    expected = np.asarray(pipe[:-1].transform(filled.copy()))
    np.testing.assert_allclose(np.asarray(asked)[known], expected[known], atol=1e-9)
    # What was drawn is decoded as ever.
    np.testing.assert_allclose(rows[~known], pipe.sample(2)[~known])


def test_a_dict_is_the_same_in_all_rows():
    pipe = make_generative_pipeline(StandardScaler(), Recorder()).fit(array())
    assert pipe.sample(4, conditions={1: 0.5}).shape == (4, 3)
    assert pipe.sample(conditions={1: 0.5})[0, 1] == 0.5
    assert np.isnan(pipe[-1].conditions_[:, [0, 2]]).all()
    pipe.fit(pd.DataFrame(array(), columns=list("abc")))
    assert (pipe.sample(3, conditions={"b": 0.5})["b"] == 0.5).all()


def test_an_empty_dict_gives_nothing():
    pipe = make_generative_pipeline(StandardScaler(), Recorder()).fit(array())
    assert pipe.sample(conditions={}).shape == (1, 3)
    assert pipe.sample(4, conditions={}).shape == (4, 3)
    assert pipe[-1].conditions_ is None


def test_a_dict_holds_one_value_for_each_column():
    pipe = make_generative_pipeline(StandardScaler(), Recorder()).fit(array())
    with pytest.raises(ValueError, match="in the column 1; a dict holds one value for each column"):
        pipe.sample(2, conditions={1: [0.5, 1.5]})


def test_a_frame_needs_only_the_columns_that_are_given():
    df = frame().drop(columns="sex")
    pipe = make_generative_pipeline(StandardScaler(), Recorder()).fit(df)
    rows = pipe.sample(conditions=pd.DataFrame({"children": [3, np.nan]}))
    assert rows.dtypes.equals(df.dtypes)
    assert rows["children"][0] == 3
    assert rows.columns.tolist() == ["height", "children"]


@pytest.mark.parametrize("output", ["default", "pandas"])
def test_an_encoder_and_a_generator_fill_tables(output):
    df = frame()
    pipe = make_generative_pipeline(TabularEncoder(random_state=0), NCSNGenerator(**QUICK))
    pipe.set_output(transform=output).fit(df)
    given = df.head(4).copy()
    given.loc[::2, "sex"] = np.nan
    given["height"] = [180.0, np.nan, 165.0, np.nan]
    rows = pipe.sample(conditions=given, random_state=0)
    assert rows.dtypes.equals(df.dtypes)
    assert rows.notna().all(axis=None)
    assert rows["height"][[0, 2]].tolist() == [180.0, 165.0]
    assert rows["sex"][[1, 3]].tolist() == given["sex"][[1, 3]].tolist()
    assert rows["children"].tolist() == given["children"].tolist()
    again = pipe.sample(conditions=given, random_state=0)
    pd.testing.assert_frame_equal(rows, again)


@needs_polars
def test_frames_of_polars_are_filled_and_drawn():
    df = pl.DataFrame(frame().astype({"sex": str}).to_dict(orient="list"))
    pipe = make_generative_pipeline(TabularEncoder(random_state=0), NCSNGenerator(**QUICK)).fit(df)
    assert pipe.sample(3, random_state=0).schema == df.schema
    given = pl.DataFrame({"sex": ["f", None], "children": [None, 2]})
    rows = pipe.sample(conditions=given, random_state=0)
    assert rows.schema == df.schema
    assert rows["sex"][0] == "f"
    assert rows["children"][1] == 2
    numbers = df.drop("sex")
    for steps in ((StandardScaler(),), ()):
        pipe = make_generative_pipeline(*steps, NCSNGenerator(**QUICK)).fit(numbers)
        given = pl.DataFrame({"height": [180.0, None], "children": [None, 2]})
        rows = pipe.sample(conditions=given, random_state=0)
        assert rows.schema == numbers.schema
        assert rows["height"][0] == 180.0
        assert rows["children"][1] == 2


def test_constraints_are_on_rows_in_the_units_of_the_data():
    df = frame().drop(columns="sex")
    pipe = make_generative_pipeline(StandardScaler(), TabularGenerator(**QUICK)).fit(df)
    rules = [lambda rows: rows["height"] > 175, lambda rows: rows["children"] >= 1]
    rows = pipe.sample(20, random_state=0, constraints=rules)
    assert (rows["height"] > 175).all()
    assert (rows["children"] >= 1).all()
    rows = pipe.sample(20, random_state=0, constraints=rules[0], conditions={"children": 1})
    assert (rows["height"] > 175).all()
    assert (rows["children"] == 1).all()


def test_without_transforms_all_options_are_those_of_the_generator():
    df = frame()
    alone = TabularGenerator(**QUICK).fit(df)
    pipe = make_generative_pipeline(TabularGenerator(**QUICK)).fit(df)
    for options in (
        {"conditions": {"sex": "f"}, "n_samples": 3},
        {"conditions": df.head(3)[["sex"]]},
        {"balance": "sex", "n_samples": 4},
        {"constraints": lambda rows: rows["children"] > 1, "n_samples": 4},
        {},
    ):
        pd.testing.assert_frame_equal(
            pipe.sample(random_state=0, **options), alone.sample(random_state=0, **options)
        )
    nested = make_generative_pipeline(pipe).fit(df)
    assert (nested.sample(3, conditions={"sex": "f"})["sex"] == "f").all()


@pytest.mark.parametrize(
    ("steps", "options", "error", "message"),
    [
        ([GaussianMixture()], {"conditions": GIVEN}, TypeError, "takes no conditions in sample"),
        (
            [StandardScaler(), NCSNGenerator(**QUICK)],
            {"balance": 1},
            TypeError,
            r"step 'ncsngenerator' \(NCSNGenerator\) takes no balance in sample; it takes",
        ),
        (
            [StandardScaler(), TabularGenerator(**QUICK)],
            {"balance": 1},
            TypeError,
            "balance of step 'tabulargenerator' .* would be of transformed data",
        ),
        (
            [StandardScaler(), NCSNGenerator(**QUICK)],
            {"guidance": lambda x, sigma: -x},
            TypeError,
            "guidance of step 'ncsngenerator'",
        ),
        (
            [StandardScaler(), PCA(), Recorder()],
            {"conditions": GIVEN},
            TypeError,
            r"step 'pca' \(PCA\) may mix columns",
        ),
        (
            [make_pipeline(FunctionTransformer(np.log, np.exp)), Recorder()],
            {"conditions": GIVEN},
            TypeError,
            "step 'functiontransformer' .* may mix columns",
        ),
        (
            [StandardScaler(), Recorder()],
            {"conditions": GIVEN, "n_samples": 3},
            ValueError,
            "n_samples=3 was given beside conditions of 2 rows",
        ),
        (
            [StandardScaler(), Recorder()],
            {"conditions": GIVEN[:, :2]},
            ValueError,
            r"conditions have the shape \(2, 2\), and fit had 3 columns",
        ),
    ],
)
def test_what_has_no_meaning_is_refused(steps, options, error, message):
    pipe = make_generative_pipeline(*steps).fit(array(50))
    with pytest.raises(error, match=message):
        pipe.sample(**options)


def test_a_transformer_of_ones_own_says_what_its_features_are_made_of():
    class Swap(FunctionTransformer):
        def __init__(self):
            super().__init__(lambda X: X[:, ::-1], lambda X: X[:, ::-1], check_inverse=False)

        feature_columns_ = (2, 1, 0)

    given = read_conditions(np.zeros((1, 3)), GIVEN, None)
    steps = [("swap", Swap().fit(GIVEN)), ("scale", StandardScaler().fit(array()))]
    Z = carry_given(steps, given)
    assert np.isnan(Z).tolist() == np.isnan(GIVEN[:, ::-1]).tolist()
    np.testing.assert_array_equal(carry_given(steps[:1], given), GIVEN[:, ::-1])


def test_an_encoder_knows_the_columns_of_its_features():
    df = frame().assign(country="IS", weight=[np.nan, 1.0] * 100)
    encoder = TabularEncoder().fit(df)
    assert encoder.feature_columns_.tolist() == [0, 0, 1, 2, 4, 4]
    assert encoder.get_feature_names_out().tolist()[-2:] == ["weight given", "weight missing"]
