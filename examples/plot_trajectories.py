r"""
Ways from noise to data
=======================

One network, three noise processes and two kinds of solver. Each line is the way of one row from
the largest noise level, at the right, to the smallest, in the coordinates of the process,
:math:`x_t = \alpha_t x_0 + \sigma_t \varepsilon`. Variance exploding noise grows and leaves the
data where they are; variance preserving noise shrinks them into it. The probability flow follows a
smooth curve, the reverse diffusion a rough one. They end in the same density, which the histograms
have beside that of the data.
"""

import os

import matplotlib.pyplot as plt
import numpy as np

from skscore import NCSNGenerator
from skscore.datasets import gaussian_mixture_1d
from skscore.noise import SubVariancePreserving, VarianceExploding, VariancePreserving

PROCESSES = {
    "Variance exploding": VarianceExploding(),
    "Variance preserving": VariancePreserving(),
    "sub-VP": SubVariancePreserving(),
}
SOLVERS = {"heun": "probability flow", "reverse_sde": "reverse diffusion"}


def main(budget="full"):
    max_steps, n, n_levels = ("auto", 2000, 150) if budget == "full" else (50, 300, 20)
    data = gaussian_mixture_1d()
    generator = NCSNGenerator(max_steps=max_steps, random_state=0)
    generator.fit(data.sample(2000, random_state=0))
    fig, axes = plt.subplots(2, 3, figsize=(13, 7), sharex="col", layout="constrained")
    grid = np.linspace(-8, 8, 400)[:, None]
    for column, (name, process) in zip(axes.T, PROCESSES.items(), strict=True):
        t = process.time(process.sigmas(n_levels))[:, None]
        alpha = process.alpha(t).numpy()
        for ax, (sampler, kind) in zip(column, SOLVERS.items(), strict=True):
            generator.set_params(noise=process, sampler=sampler, n_sampling_steps=n_levels)
            drawn, states = generator.sample(n, random_state=1, return_trajectory=True)
            z = (states[:n_levels, :, 0] - generator.mean_) / generator.scale_
            ax.plot(t, alpha * z[:, :60], color="#33638d", lw=0.7, alpha=0.5)
            ax.set_title(f"{name}, {kind}")
            ax.set_ylim(*(np.array([-1, 1]) * (10 if name == "Variance exploding" else 4)))
            side = ax.inset_axes((-0.16, 0, 0.15, 1), sharey=ax)
            side.hist(z[-1], bins=60, density=True, orientation="horizontal", color="#e8833a")
            p = np.exp(data.log_density(grid)) * generator.scale_
            side.plot(p, (grid - generator.mean_) / generator.scale_, color="k", lw=1)
            side.set_xticks([])
            side.invert_xaxis()
            ax.tick_params(labelleft=False)
    plt.setp(axes[1], xlabel="time t, data on the left")
    plt.show()


if __name__ == "__main__":
    main(budget=os.environ.get("SKSCORE_BUDGET", "full"))
