r"""
The objectives, side by side
============================

The implicit objective finds the score s of a density p from draws of p alone,

.. math:: E\,\| s \|^2 + 2\, E \operatorname{tr} \nabla s = D_F(p, s) - E\,\| \nabla \log p \|^2 ;

its relatives estimate the trace along random directions, by finite differences or by noise. All of
them train the same network on the same tables here, and p is known, so that the error
:math:`D_F(p, s)` is too. "explicit" is told the true score, and leaves what training leaves.
"""

import os
import warnings

import matplotlib.pyplot as plt
import numpy as np

from skscore import ScoreMatchingDensity
from skscore.datasets import Banana
from skscore.exceptions import OverfittingWarning
from skscore.metrics import fisher_divergence

OF_CLEAN_ROWS = ["explicit", "implicit", "sliced", "sliced_vr", "finite_difference"]
OBJECTIVES = [*OF_CLEAN_ROWS, "denoising", "denoising_control_variate", "parzen"]


def main(budget="full"):
    n, n_tables, steps = (1000, 5, "auto") if budget == "full" else (200, 1, 30)
    p, x_1 = Banana(2), np.linspace(-4, 4, 300)
    line, fresh = np.stack([x_1, 0 * x_1], axis=1), p.sample(10_000, random_state=100)
    truth, size = p.score_function, np.square(p.score_function(fresh)).sum(axis=1).mean()
    fig, (left, right) = plt.subplots(1, 2, figsize=(12, 4.8), layout="constrained")
    right.plot(x_1, truth(line)[:, 0], "0.82", lw=7, label="truth")
    curves = {"implicit": "#33638d", "denoising": "#e8833a"}
    warnings.simplefilter("ignore", OverfittingWarning)  # which some of these fits are
    for place, name in enumerate(OBJECTIVES):
        model, errors = ScoreMatchingDensity(name, max_steps=steps, random_state=0), []
        model.objective_params = {"target": truth} if name == "explicit" else None
        for seed in range(n_tables):
            s = model.fit(p.sample(n, random_state=seed)).score_function
            errors.append(fisher_divergence(truth, s, fresh) / size)
            if name in curves:
                right.plot(x_1, s(line)[:, 0], curves[name], lw=1, label="_" * seed + name)
        print(f"{name:26s} median of D_F / E|∇log p|² {np.median(errors):.3f}")
        left.plot(errors, [place] * n_tables, "o", color=curves.get(name, "0.45"), alpha=0.6)
        left.plot(np.median(errors), place, "|", color="0.1", ms=22, mew=2)
    left.set_yticks(range(len(OBJECTIVES)), OBJECTIVES)
    left.set(title=f"Error on {n_tables} tables of {n} rows, and its median (bar)", xlim=(0, None))
    left.set(xlabel=r"$D_F\,/\,E\|\nabla \log p\|^2$  [a share]", ylim=(7.6, -0.6))
    ylabel = r"$\partial \log p / \partial x_1$  [1/unit of $x_1$]"
    right.set(title="Score where $x_2 = 0$", xlabel="$x_1$", ylabel=ylabel, ylim=(-12, 12))
    right.legend(frameon=False)
    plt.show()


if __name__ == "__main__":
    main(budget=os.environ.get("SKSCORE_BUDGET", "full"))
