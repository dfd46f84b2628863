r"""
Missing cells, and how sure they are
====================================

A fifth of the cells of eight columns of :func:`~sklearn.datasets.load_breast_cancer` is hidden at
random, and each is drawn 20 times given what is left of its row, by
:class:`~skscore.tabular.ScoreImputer`, which learns from the incomplete rows. The mean of the draws
is its guess, and their range says how sure it is: the hidden value and 20 draws of the same law
come in any order with the same probability, so that the range covers the value 19 times in 21, and
the range without k draws at either end with 1 - 2 (k + 1)/21.

:class:`~sklearn.impute.IterativeImputer`, whose laws are linear and Gaussian, is asked the same.
Its guesses are somewhat nearer to the hidden values, since lines come close to what these columns
have to do with each other. Both cover about as many values as they should. But a Gaussian knows no
bounds, and some of its ranges go below zero, where concavity cannot be; the draws of a generator of
tables keep to the range of their column. In the small budget, with fewer rows and steps, its
guesses are worse and its ranges wider.
"""

import os

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer

from skscore.tabular import ScoreImputer, TabularGenerator

M, SHOWN = 20, "mean concavity"


def main(budget="full"):
    max_steps, step = ("auto", 1) if budget == "full" else (200, 3)
    cells = load_breast_cancer(as_frame=True).data.iloc[::step, :10]
    cells = cells.drop(columns=["mean perimeter", "mean area"])  # the radius gives them away
    hidden = np.random.RandomState(0).random_sample(cells.shape) < 0.2
    holed, cells = cells.mask(hidden), cells.to_numpy()
    j = holed.columns.get_loc(SHOWN)

    generator = TabularGenerator(max_steps=max_steps, early_stopping="loss")
    imputer = ScoreImputer(generator=generator, random_state=0).fit(holed)
    linear = [IterativeImputer(max_iter=5, sample_posterior=True, random_state=k) for k in range(M)]
    draws = {
        "ScoreImputer": np.stack([t.to_numpy() for t in imputer.sample_imputations(holed, M)]),
        "IterativeImputer": np.stack([one.fit_transform(holed) for one in linear]),
    }

    _, axes = plt.subplots(1, 3, figsize=(14, 4.6), layout="constrained")
    promised = 1 - 2 * np.arange(1, M // 2 + 1) / (M + 1)
    for k, (name, drawn) in enumerate(draws.items()):
        guess, ordered = drawn.mean(axis=0), np.sort(drawn, axis=0)
        misses = ((guess - cells) / cells.std(axis=0))[hidden]
        pairs = zip(ordered[: M // 2], ordered[::-1], strict=False)
        covered = [((low <= cells) & (cells <= high))[hidden].mean() for low, high in pairs]
        print(
            f"{name}: error {np.sqrt(np.mean(misses**2)):.2f} standard deviations, "
            f"{covered[0]:.3f} of the values in the range, for {promised[0]:.3f}"
        )
        rows = np.flatnonzero(hidden[:, j])[:50]
        true, low, high = cells[rows, j], ordered[0, rows, j], ordered[-1, rows, j]
        inside = (low <= true) & (true <= high)
        for which, color in ((inside, "#33638d"), (~inside, "#e8833a")):
            axes[k].vlines(true[which], low[which], high[which], color, alpha=0.6)
            axes[k].plot(true[which], guess[rows, j][which], "o", color=color, ms=4)
        axes[k].axline((0, 0), slope=1, color="0.2", lw=1)
        axes[k].axhline(0, color="0.6", ls=":")
        axes[k].set(title=f"{name}, {SHOWN}", xlabel="hidden value", ylabel="mean and range")
        axes[2].plot(promised, covered, "os"[k] + "-", label=name)
    axes[1].sharey(axes[0])
    axes[2].axline((0, 0), slope=1, color="0.2", lw=1)
    axes[2].set(xlabel="share of values that should be in the range", ylabel="share that is")
    axes[2].legend()
    plt.show()


if __name__ == "__main__":
    main(budget=os.environ.get("SKSCORE_BUDGET", "full"))
