r"""
A mixed table
=============

Numbers, counts that are mostly zero, labels, a date and missing cells, learnt together as they are.

The rows are the 442 people of :func:`sklearn.datasets.load_diabetes`. Some columns are made from
those of the data set: the date of birth from the age, with a day of the year drawn at random, the
weight class from the body mass index, glucose above 100 mg/dl, which is zero for most, and high
blood pressure. A tenth of the cells of four columns is taken out at random. LDL and HDL are parts
of the cholesterol, so that no row has more of the two than of the whole. The report needs
``pip install ".[plot,tabular]"``.
"""

import os

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_diabetes

from skscore.tabular import SyntheticDataReport, TabularGenerator

HOLED = ["sex", "weight", "cholesterol", "hdl"]


def people(rng):
    raw = load_diabetes(as_frame=True, scaled=False).frame
    raw = raw.iloc[rng.permutation(len(raw))].reset_index(drop=True)
    days = (365.25 * raw["age"]).astype(int) + rng.randint(365, size=len(raw))
    classes, bounds = ["normal", "over", "obese"], [0, 25, 30, np.inf]
    table = pd.DataFrame(
        {
            "born": pd.Timestamp("2004-01-01") - pd.to_timedelta(days, unit="D"),
            "sex": raw["sex"].map({1: "1", 2: "2"}),  # which is which the data set does not say
            "weight": pd.cut(raw["bmi"], bounds, right=False, labels=classes),
            "high_pressure": raw["bp"] >= 100,
            "cholesterol": raw["s1"].astype("Int64"),
            "ldl": raw["s2"],
            "hdl": raw["s3"],
            "glucose_over_100": (raw["s6"] - 100).clip(lower=0).astype(int),
            "progression": raw["target"].astype(int),
        }
    )
    return table.assign(**{c: table[c].mask(rng.random_sample(len(raw)) < 0.1) for c in HOLED})


def lipids_add_up(rows):
    return ~(rows["ldl"] + rows["hdl"] > rows["cholesterol"]).fillna(False)


def main(budget="full"):
    table = people(np.random.RandomState(0))
    train, test = table[:300], table[300:]
    generator = TabularGenerator(max_steps="auto" if budget == "full" else 40, random_state=0)
    new = generator.fit(train).sample(300, random_state=0)
    print(new.head(), "\n\nThe same columns and dtypes:", new.dtypes.equals(train.dtypes))
    report = SyntheticDataReport.from_tables(
        train, new, test=test, target="progression", random_state=0
    )
    print(report.to_frame().round(3))
    kept = generator.sample(300, random_state=0, constraints=lipids_add_up)
    print("Lipids add up in", lipids_add_up(new).mean(), "and", lipids_add_up(kept).mean())
    levels = ["normal", "over", "obese"]
    asked = [generator.sample(300, 0, conditions={"weight": level}) for level in levels]
    whole = generator.set_params(missing="complete").fit(train).sample(300, random_state=0)
    print("Missing cells:", new.isna().sum().sum(), "and", whole.isna().sum().sum())

    _, axes = plt.subplots(2, 2, figsize=(10, 7.5), layout="constrained")
    colors, names = ["#33638d", "#e8833a"], ["real", "synthetic"]
    glucose = [t["glucose_over_100"] for t in (train, new)]
    axes[0, 0].hist(glucose, np.arange(-0.5, 25), color=colors, density=True, label=names)
    axes[0, 0].set(yscale="log", xlabel="glucose above 100", ylabel="share of rows, log scale")
    for t, color in zip((train, kept), colors, strict=True):
        of = t.dropna()
        axes[0, 1].plot(of["cholesterol"], of["ldl"] + of["hdl"], ".", color=color, alpha=0.6)
    axes[0, 1].axline((150, 150), slope=1, color="0.2", lw=1)
    axes[0, 1].set(xlabel="cholesterol", ylabel="LDL + HDL", title="Under the constraint")
    real = [train[train["weight"] == level] for level in levels]
    shares = [t[HOLED].isna().mean() for t in (train, new)]
    for k, given in enumerate((real, asked)):
        boxes = axes[1, 0].boxplot(
            [t["progression"] for t in given],
            positions=np.arange(3) + 0.36 * k,
            widths=0.3,
            patch_artist=True,
            medianprops={"color": "k"},
        )
        plt.setp(boxes["boxes"], facecolor=colors[k])
        axes[1, 1].bar(np.arange(4) + 0.36 * k, shares[k], 0.34, color=colors[k])
    axes[1, 0].set_xticks(np.arange(3) + 0.18, levels)
    axes[1, 1].set_xticks(np.arange(4) + 0.18, HOLED)
    axes[1, 0].set(ylabel="progression", title="Drawn given the weight class")
    axes[1, 1].set(ylabel="share of rows", title="Missing cells")
    axes[0, 0].legend()
    report.plot(n_columns=3)
    plt.show()


if __name__ == "__main__":
    main(budget=os.environ.get("SKSCORE_BUDGET", "full"))
