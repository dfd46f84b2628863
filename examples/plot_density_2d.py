r"""
A density in two dimensions
===========================

A network of an energy has the score and, up to a constant, the log-density:

.. math:: s(x) = -\nabla E(x), \qquad \log p(x) = -E(x) - \log Z .

It learns from noisy rows, σ = 0.05 standard deviations, so what it learns is the density blurred by
so much. Bridge sampling finds log Z, and chains of MALA draw new rows. The truth stands beside it.
"""

import os

import matplotlib.pyplot as plt
import numpy as np

from skscore import ScoreMatchingDensity
from skscore.datasets import Banana


def main(budget="full"):
    p, full = Banana(2), budget == "full"
    n, steps, n_new, n_grid = (2000, "auto", 500, 150) if full else (300, 20, 100, 30)
    X, fresh = p.sample(n, random_state=0), p.sample(10_000, random_state=1)
    model = ScoreMatchingDensity("denoising", model="energy", max_steps=steps, random_state=0)
    new = model.fit(X).set_params(n_sampling_steps=2 * n_new).sample(n_new, random_state=0)
    print(f"log Z                    {model.log_normalizer_:.3f} ± {model.log_normalizer_std_:.3f}")
    print(f"effective sample size    {model.effective_sample_size_:.2f}")
    print(f"split R̂ of the chains    {model.sampling_report_.split_rhat:.2f}")
    print(f"mean log-density, nats   {model.score_samples(fresh).mean():.3f} of fresh rows,")
    print(f"                         {p.log_density(fresh).mean():.3f} by the truth")
    x_1, x_2 = np.linspace(-7, 7, n_grid), np.linspace(-5.5, 13, n_grid)
    grid = np.stack(np.meshgrid(x_1, x_2), axis=-1)
    fig, axes = plt.subplots(1, 3, figsize=(13, 5), sharey=True, layout="constrained")
    panels = {"Truth": (p.log_density, fresh[:n_new]), "Learnt": (model.score_samples, new)}
    for ax, (name, (log_density, rows)) in zip(axes, panels.items(), strict=False):
        values = log_density(grid.reshape(-1, 2)).reshape(n_grid, n_grid)
        image = ax.contourf(x_1, x_2, values, np.arange(-12, -1), cmap="cividis", extend="min")
        ax.plot(*rows.T, ".", color="white", ms=3, alpha=0.7)
        ax.set_title(f"{name}: log-density and {n_new} draws")
    fig.colorbar(image, ax=axes[:2], label="log p  [nats]", shrink=0.8)
    at = grid[2 :: n_grid // 15, 2 :: n_grid // 15].reshape(-1, 2)
    at = at[p.log_density(at) > -9]
    arrows = {"truth": (p, "0.75", 0.012), "learnt": (model, "#33638d", 0.004)}
    for name, (of, color, width) in arrows.items():
        s = of.score_function(at)
        axes[2].quiver(*at.T, *s.T, color=color, width=width, scale=70, label=name)
    axes[2].set_title("Score ∇ log p where log p > -9")
    axes[2].legend(frameon=False, loc="upper center")
    for ax in axes:
        ax.set(xlabel="$x_1$", xlim=(-7, 7), ylim=(-5.5, 13))
    axes[0].set_ylabel("$x_2$")
    plt.show()


if __name__ == "__main__":
    main(budget=os.environ.get("SKSCORE_BUDGET", "full"))
