r"""
Annealed Langevin dynamics
==========================

Two far modes with the weights 0.8 and 0.2. Langevin dynamics at one noise level,

.. math:: x \leftarrow x + \tfrac{\alpha}{2}\, s(x, \sigma) + \sqrt{\alpha}\, z ,

cannot cross the empty space between them: each chain ends in the mode it started near. Annealed
Langevin dynamics (Song & Ermon 2019) starts where the noise joins the modes and goes down from
there, so that the weights are right before the modes part. Both read the same learnt score. Plain
Langevin dynamics keeps the noise of its level, σ = 1; the annealed ends in Tweedie's mean, which
takes the noise out, and at so large a level some of the spread of the modes too.
"""

import os

import matplotlib.pyplot as plt

from skscore import NCSNGenerator
from skscore.datasets import two_modes


def main(budget="full"):
    max_steps, n_samples, n_steps = ("auto", 2000, 100) if budget == "full" else (200, 200, 15)
    density = two_modes()
    X = density.sample(2000, random_state=0)
    generator = NCSNGenerator(
        1.0, 20.0, noise="ve", n_levels=10, standardize=False, lr=2e-3, random_state=0
    )
    generator.set_params(max_steps=max_steps, step_size=0.2).fit(X)
    drawn, colors = {"Data": X[:n_samples]}, ["0.4", "#e8833a", "#33638d"]
    for name, sampler, steps in (
        ("Langevin", "langevin", 10 * n_steps),
        ("Annealed Langevin", "annealed_langevin", n_steps),
    ):
        generator.set_params(sampler=sampler, n_sampling_steps=steps)  # needs no second fit
        drawn[name] = generator.sample(n_samples, random_state=0)
    fig, axes = plt.subplots(1, 3, figsize=(12, 4.4), sharey=True, layout="constrained")
    for ax, (name, rows), color in zip(axes, drawn.items(), colors, strict=True):
        weight = (rows.sum(axis=1) > 0).mean()
        print(f"{name:18s} weight of the large mode: {weight:.3f}")
        ax.plot(*rows.T, ".", color=color, alpha=0.35, ms=4)
        for share, at in ((weight, 5), (1 - weight, -5)):
            ax.annotate(f"{share:.2f}", (at + 4.5, at), va="center", fontsize=13)
        ax.set(title=name, xlabel="$x_1$", aspect="equal", xlim=(-11, 13), ylim=(-11, 11))
    axes[0].set_ylabel("$x_2$")
    plt.show()


if __name__ == "__main__":
    main(budget=os.environ.get("SKSCORE_BUDGET", "full"))
