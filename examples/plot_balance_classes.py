r"""
Balance rare classes
====================

Biopsies of breast tumours, with only fifteen malignant ones to learn from. The table is balanced by
repeating these rows, or by synthetic ones from :class:`~skscore.tabular.ScoreOverSampler`, whose
generator learns from both classes. Classifiers are judged by real rows that none of this has seen.

More rows of a class move the border towards the other: more tumours are found, and more benign ones
give a false alarm. Balanced accuracy weighs both alike. With the full budget it rises with either
way, and most with synthetic rows; the small one leaves the generator too rough to help everywhere.
The average precision judges only how the rows are ranked. There the random forest and the
neighbours gain with the full budget, but the logistic regression and the support vectors, which
rank best as it is, do not: for them another threshold would do. Nor do synthetic rows go beyond the
largest values of the table: some heap up there.
"""

import os

import matplotlib.pyplot as plt
import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from skscore.tabular import ScoreOverSampler, TabularGenerator

N_RARE = 15
CLASSIFIERS = {
    "random\nforest": RandomForestClassifier(random_state=0),
    "support\nvectors": make_pipeline(StandardScaler(), SVC()),
    "5 nearest\nneighbours": make_pipeline(StandardScaler(), KNeighborsClassifier()),
    "logistic\nregression": make_pipeline(StandardScaler(), LogisticRegression()),
}
MEASURES = {"balanced accuracy": "balanced_accuracy", "average precision": "average_precision"}
COLORS = ["0.6", "#33638d", "#e8833a"]


def main(budget="full"):
    n_splits, max_steps = (5, 1000) if budget == "full" else (2, 40)
    data, results = load_breast_cancer(as_frame=True), []
    malignant = 1 - data.target
    for seed in range(n_splits):
        X_half, X_test, y_half, y_test = train_test_split(
            data.data, malignant, test_size=0.5, stratify=malignant, random_state=seed
        )
        left = (y_half == 0) | (y_half.groupby(y_half).cumcount() < N_RARE)
        X, y = X_half[left], y_half[left]
        again = y[y == 1].sample((y == 0).sum() - N_RARE, replace=True, random_state=seed).index
        generator = TabularGenerator(max_steps=max_steps)
        sampler = ScoreOverSampler(generator=generator, random_state=seed)
        ways = {
            "as it is": (X, y),
            "repeated rows": (X.loc[X.index.append(again)], y.loc[y.index.append(again)]),
            "synthetic rows": sampler.fit_resample(X, y),
        }
        for name, classifier in CLASSIFIERS.items():
            for way, table in ways.items():
                classifier.fit(*table)
                scores = {m: get_scorer(s)(classifier, X_test, y_test) for m, s in MEASURES.items()}
                results.append({"classifier": name, "way": way, **scores})
    groups = pd.DataFrame(results).groupby(["classifier", "way"], sort=False)
    mean, error = groups.mean(), groups.sem()
    print(mean.rename(lambda name: name.replace("\n", " ")).round(3).to_string())

    _, axes = plt.subplots(1, 3, figsize=(14, 4.6), layout="constrained")
    for ax, measure in zip(axes, MEASURES, strict=False):
        bars, spread = (t[measure].unstack(sort=False) for t in (mean, error))
        bars.plot.bar(ax=ax, yerr=spread, color=COLORS, rot=0, legend=False, width=0.75)
        ax.set(ylim=(0.7, 1), xlabel="", title=f"{measure} on held-out rows".capitalize())
    axes[0].legend(loc="lower left", ncols=3, fontsize=8)
    clouds = {
        "benign": (X[y == 0], "0.6", "x"),
        "malignant, held out": (X_test[y_test == 1], "#9fbdd6", "o"),
        "malignant, synthetic": (ways["synthetic rows"][0][len(X) :], "#e8833a", "o"),
        "malignant, to learn from": (X[y == 1], "#1d3d5c", "o"),
    }
    for label, (cloud, color, marker) in clouds.items():
        place = cloud["worst radius"], cloud["worst texture"]
        axes[2].scatter(*place, 14, color, marker=marker, label=label, alpha=0.8)
    axes[2].set(xlabel="worst radius", ylabel="worst texture", title="The last split")
    axes[2].legend(fontsize=8)
    plt.show()


if __name__ == "__main__":
    main(budget=os.environ.get("SKSCORE_BUDGET", "full"))
