r"""
Balance rare classes
====================

Biopsies of breast tumours, few of the malignant ones left to learn from. The table is balanced by
repeating these rows, or by synthetic ones from :class:`~skscore.tabular.ScoreOverSampler`, whose
generator learns from both classes. Classifiers are judged by real rows that none of this has seen.

More rows of a class move the border towards the other: more tumours are found, more benign ones
give a false alarm. Balanced accuracy weighs both alike. The average precision judges only how the
rows are ranked, and gains less: a classifier that ranks well needs another threshold rather than
more rows, and with hundreds of rare rows there is little to gain.
"""

import os

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from skscore.tabular import ScoreOverSampler, TabularGenerator

N_RARE = 15
CLASSIFIERS = {
    "random forest": RandomForestClassifier(random_state=0),
    "support vectors": make_pipeline(StandardScaler(), SVC()),
    "5 neighbours": make_pipeline(StandardScaler(), KNeighborsClassifier()),
    "logistic": make_pipeline(StandardScaler(), LogisticRegression()),
}


def judged(classifier, X, y):
    found, is_rare = classifier.predict(X) == 1, y == 1
    if hasattr(classifier, "decision_function"):
        certainty = classifier.decision_function(X)
    else:
        certainty = classifier.predict_proba(X)[:, 1]
    hits, alarms = found[is_rare].mean(), found[~is_rare].mean()
    return {
        "tumours found": hits,
        "false alarms": alarms,
        "balanced accuracy": (hits + 1 - alarms) / 2,
        "average precision": average_precision_score(is_rare, certainty),
    }


def main(budget="full"):
    n_splits, max_steps = (5, 1000) if budget == "full" else (2, 40)
    data, results = load_breast_cancer(as_frame=True), []
    malignant = (data.target == 0).astype(int)
    for seed in range(n_splits):
        halves = train_test_split(
            data.data, malignant, test_size=0.5, stratify=malignant, random_state=seed
        )
        X_half, X_test, y_half, y_test = halves
        left = (y_half == 0) | (y_half.groupby(y_half).cumcount() < N_RARE)
        X, y = X_half[left], y_half[left]
        rare, n_more = np.flatnonzero(y == 1), (y == 0).sum() - N_RARE
        again = np.random.RandomState(seed).choice(rare, n_more)
        rows = np.concatenate([np.arange(len(y)), again])
        generator = TabularGenerator(max_steps=max_steps)
        sampler = ScoreOverSampler(generator=generator, random_state=seed)
        ways = {
            "as it is": (X, y),
            "repeated rows": (X.iloc[rows], y.iloc[rows]),
            "synthetic rows": sampler.fit_resample(X, y),
        }
        for name, classifier in CLASSIFIERS.items():
            for way, table in ways.items():
                row = judged(classifier.fit(*table), X_test, y_test)
                results.append({"classifier": name, "way": way, **row})
    table = pd.DataFrame(results).groupby(["classifier", "way"], sort=False)
    mean, error = table.mean(), table.sem()
    print(mean.round(3).to_string())

    _, axes = plt.subplots(1, 3, figsize=(14, 4.6), layout="constrained")
    colors = ["0.6", "#33638d", "#e8833a"]
    for ax, measure in zip(axes, ["balanced accuracy", "average precision"], strict=False):
        bars, spread = (t[measure].unstack(sort=False) for t in (mean, error))
        bars.plot.bar(ax=ax, yerr=spread, color=colors, rot=0, legend=False, width=0.75)
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
