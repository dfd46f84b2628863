r"""
Error of the solvers
====================

Draws of a mixture of Gaussians in two dimensions, whose score is known at every noise level, so
that all of the error is that of the solver. Over the evaluations of the score, the figure shows how
far the standard deviation along a principal axis is off. Without noise on the way (probability
flow) the error falls with the order of the method; with it (reverse diffusion) as one over the
number of steps. The grey band is the scatter of exact draws.
"""

import os

import matplotlib.pyplot as plt
import numpy as np
import torch

from skscore.datasets import random_gaussian_mixture
from skscore.gaussians import GaussianMixtureScore, GaussianScore
from skscore.noise import karras_sigmas
from skscore.samplers import dpm_solver, edm_sampler, probability_flow, reverse_sde

SOLVERS = {  # evaluations a level
    "DPM-Solver++(2M)": (1, lambda *args, generator: dpm_solver(*args)),
    "Heun": (2, lambda *args, generator: probability_flow(*args)),
    "RK4": (4, lambda *args, generator: probability_flow(*args, method="rk4")),
    "EDM, churn 10": (2, lambda *args, **kwargs: edm_sampler(*args, **kwargs, churn=10)),
    "Euler-Maruyama": (1, reverse_sde),
    "ancestral": (1, lambda *args, **kwargs: reverse_sde(*args, **kwargs, method="ancestral")),
}


def main(budget="full"):
    n, most, n_points = (10_000, 400, 9) if budget == "full" else (500, 24, 3)
    density = random_gaussian_mixture(2, random_state=0)
    parameters = density.weights, density.means, density.covariances
    p = GaussianMixtureScore(*map(torch.tensor, parameters))
    start = GaussianScore(p.log_weights.exp() @ p.means, p.covariance)
    variances, axes = torch.linalg.eigh(p.covariance)
    fig, ax = plt.subplots(figsize=(7.5, 5), layout="constrained")
    for name, (cost, solver) in SOLVERS.items():
        counts, errors = [], []
        for n_evaluations in np.geomspace(8, most, n_points):
            n_levels, generator = max(2, int(n_evaluations) // cost), torch.Generator()
            x = start.sample(n, 30.0, generator.manual_seed(0))
            drawn = solver(p, x, karras_sigmas(30.0, 0.002, n_levels), generator=generator)
            counts.append(n_levels * cost)
            errors.append(((drawn @ axes).std(0) / variances.sqrt() - 1).abs().max())
        ax.loglog(counts, errors, ".-", label=name)
    ax.axhspan(1e-4, (2 * n) ** -0.5, color="0.9", label="one SE of exact draws")
    ax.set(xlabel="evaluations of the score", ylim=(1e-3, 1), xlim=(7, most * 1.1))
    ax.set_ylabel("relative error of the standard deviation")
    ax.legend(frameon=False, ncols=2)
    plt.show()


if __name__ == "__main__":
    main(budget=os.environ.get("SKSCORE_BUDGET", "full"))
