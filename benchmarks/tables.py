r"""Synthetic tables against real ones: likeness, usefulness, copies, and seconds of fitting.

Of each table and split 20 % of the rows are the test. A generator is fitted to the others and draws
as many of them as there are, DRAWS times. What is printed are means over splits and draws:

    W          Wasserstein distance to the test rows, over that of the training rows
    coverage   share of test rows with a synthetic row within reach
    efficiency score of models trained on synthetic rows, over that of the same trained on real ones
    c2st       AUC of a classifier that tells synthetic rows from test rows
    copies     share of synthetic rows that are copies, and of test rows
    seconds    CPU time of a fit

by :class:`skscore.tabular.SyntheticDataReport`, whose models are not those of the guide's tables,
so that efficiencies and AUCs differ from them. Tables are those of scikit-learn, or CSV files. The
baseline is the factory of another generator: a function make(df, target, task, seed) that returns
an object with sample(n, random_state=...), such as that of one_hot_table.py.

    python benchmarks/tables.py --splits 3 --draws 3 iris wine
    python benchmarks/tables.py --factory one_hot_table:make iris
    python benchmarks/tables.py --target quality winequality-red.csv
"""

import argparse
import importlib
import time
from pathlib import Path

import pandas as pd
from sklearn import datasets
from sklearn.model_selection import train_test_split

from skscore.tabular import SyntheticDataReport, TabularGenerator

MEASURES = {
    "coverage": "coverage_test",
    "efficiency": "utility_ratio",
    "c2st": "c2st",
    "copies": "copy_rate",
}


def load(name, target):
    """Return a table, the column to predict and whether it is a class."""
    if not name.endswith(".csv"):
        df, target = getattr(datasets, f"load_{name}")(as_frame=True).frame, "target"
        if df[target].nunique() < 30:
            df[target] = df[target].astype(str).astype("category")
    else:
        df = pd.read_csv(name)
        text = df.select_dtypes(exclude="number").columns
        df[text] = df[text].astype("category")
    number = target is None or pd.api.types.is_numeric_dtype(df[target])
    return df, target, "regression" if number else "classification"


def default(df, target, task, seed):
    return TabularGenerator(random_state=seed).fit(df)


def measure(make, name, target, split, n_draws):
    """Return one row of measures for each draw."""
    df, target, task = load(name, target)
    classes = df[target] if task == "classification" else None
    train, test = train_test_split(df, test_size=0.2, random_state=split, stratify=classes)
    train, test = train.reset_index(drop=True), test.reset_index(drop=True)
    start = time.process_time()
    generator = make(train, target, task, split)
    seconds = time.process_time() - start
    rows = []
    for k in range(n_draws):
        drawn = generator.sample(len(train), random_state=1000 * split + k)
        found = SyntheticDataReport.from_tables(
            train, drawn, test=test, target=target, random_state=split
        ).to_frame()
        row = {own: found["value"].get(named) for own, named in MEASURES.items()}
        distance = found.loc["wasserstein_test"]
        row["W"] = distance["value"] / distance["reference"]
        row["of test rows"] = found["reference"].get("copy_rate")
        rows.append({"table": Path(name).stem, **row, "seconds": seconds})
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", default=["iris", "wine", "breast_cancer"])
    parser.add_argument("--target", help="column to predict, of CSV files")
    parser.add_argument("--factory", help="module:function, instead of TabularGenerator")
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--draws", type=int, default=3)
    args = parser.parse_args()
    make = default
    if args.factory:
        module, function = args.factory.split(":")
        make = getattr(importlib.import_module(module), function)
    rows = []
    for name in args.tables:
        for split in range(args.splits):
            rows += measure(make, name, args.target, split, args.draws)
    columns = ["W", "coverage", "efficiency", "c2st", "copies", "of test rows", "seconds"]
    print(pd.DataFrame(rows).groupby("table", sort=False)[columns].mean().round(3).to_string())


if __name__ == "__main__":
    main()
