"""Error of the solvers against evaluations of the score, with exact scores of known mixtures.

    python benchmarks/samplers.py [--n 20000] [--seeds 3] [--solvers "DPM*" "annealed*"]

Draws of `random_gaussian_mixture(d)`, d = 2 and 10, standardised, by each solver of
`skscore.samplers`, from N(μ, Σ + σ_max² I) at σ_max = 10 down to σ_min = 0.002. Printed for each
number of evaluations of the score, means over seeds:

    sd       largest relative error of the standard deviation along a principal axis
    weight   largest error of the weight of a component, by its responsibilities

and the scatter of exact draws, which no solver can go below.
"""

import argparse
from fnmatch import fnmatch

import numpy as np
import torch

from skscore.datasets import random_gaussian_mixture
from skscore.gaussians import GaussianMixtureScore
from skscore.noise import geometric_sigmas, karras_sigmas
from skscore.samplers import (
    annealed_langevin,
    dpm_solver,
    edm_sampler,
    predictor_corrector,
    probability_flow,
    reverse_sde,
)

SIGMA_MAX, SIGMA_MIN = 10.0, 0.002
CHAIN_LEVELS = 26  # of annealed Langevin dynamics: a ratio of about √2


def standardised_mixture(d):
    density = random_gaussian_mixture(d, random_state=0)
    w, means, covariances = (
        torch.from_numpy(np.asarray(a))
        for a in (density.weights, density.means, density.covariances)
    )
    raw = GaussianMixtureScore(w, means, covariances)
    scale = raw.covariance.diagonal().sqrt()
    return GaussianMixtureScore(
        w, (means - w @ means) / scale, covariances / scale / scale[:, None]
    )


def flow(method):
    return lambda s, x, levels, g: probability_flow(s, x, levels, method=method)


def adaptive(s, x, tolerance, g):
    ends = torch.tensor([SIGMA_MAX, SIGMA_MIN], dtype=torch.float64)
    return probability_flow(s, x, ends, method="rk45", rtol=tolerance, atol=tolerance)


def annealed(step_size):
    def solver(s, x, n_steps, g):
        levels = geometric_sigmas(SIGMA_MAX, SIGMA_MIN, CHAIN_LEVELS)
        return annealed_langevin(
            s, x, levels, n_steps_per_level=n_steps, step_size=step_size, generator=g
        )

    return solver


def on_grid(solver):
    return lambda s, x, n, g: solver(s, x, karras_sigmas(SIGMA_MAX, SIGMA_MIN, n), g)


SOLVERS = {
    "DPM-Solver++(2M)": (on_grid(lambda s, x, k, g: dpm_solver(s, x, k)), (12, 24, 48)),
    "Heun": (on_grid(flow("heun")), (12, 24, 48)),
    "RK4": (on_grid(flow("rk4")), (7, 12, 24)),
    "RK45": (adaptive, (1e-2, 1e-3, 1e-4)),
    "EDM, churn 10": (
        on_grid(
            lambda s, x, k, g: edm_sampler(
                s, x, k, generator=g, churn=10.0, churn_min=0.05, churn_max=5.0
            )
        ),
        (24, 48, 100),
    ),
    "Euler-Maruyama": (
        on_grid(lambda s, x, k, g: reverse_sde(s, x, k, generator=g)),
        (24, 200, 800),
    ),
    "ancestral": (
        on_grid(lambda s, x, k, g: reverse_sde(s, x, k, generator=g, method="ancestral")),
        (24, 200, 800),
    ),
    "predictor-corrector": (
        on_grid(lambda s, x, k, g: predictor_corrector(s, x, k, generator=g)),
        (24, 100, 400),
    ),
    "annealed Langevin, technique 4": (annealed("auto"), (5, 20)),
    "annealed Langevin, step 0.5": (annealed(0.5), (20, 100)),
}


class Counting:
    def __init__(self, score_fn):
        self.score_fn, self.n_calls = score_fn, 0

    def __call__(self, x, sigma):
        self.n_calls += 1
        return self.score_fn(x, sigma)


def errors(p, x):
    """The two errors of draws x."""
    variances, axes = torch.linalg.eigh(p.covariance)
    sd = (x @ axes).std(0) / variances.sqrt()
    log_f, _, _ = p._components(x, torch.zeros_like(x[:, :1]))
    weight = log_f.softmax(1).mean(0) - p.log_weights.exp()
    return (sd - 1).abs().max().item(), weight.abs().max().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--solvers", nargs="+", default=["*"], help="names, * for any characters")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| solver | evaluations | sd, d=2 | weight, d=2 | sd, d=10 | weight, d=10 |")
    print("|---|---|---|---|---|---|")
    mixtures = [standardised_mixture(d) for d in (2, 10)]

    def row(name, draw):
        found, calls = [], []
        for p in mixtures:
            for seed in range(options.seeds):
                score_fn, g = Counting(p), torch.Generator().manual_seed(seed)
                found.append(errors(p, draw(p, score_fn, g)))
                calls.append(score_fn.n_calls)
        means = np.array(found).reshape(2, options.seeds, 2).mean(1).ravel()
        print(
            f"| {name} | {np.mean(calls):.0f} |",
            " | ".join(f"{m:.3f}" for m in means),
            "|",
            flush=True,
        )

    row("exact draws", lambda p, s, g: p.sample(options.n, 0.0, g))
    for name, (solver, settings) in SOLVERS.items():
        if not any(fnmatch(name, pattern) for pattern in options.solvers):
            continue
        for setting in settings:

            def draw(p, s, g, solver=solver, setting=setting):
                z = torch.randn(options.n, len(p.covariance), generator=g, dtype=torch.float64)
                blurred = p.covariance + SIGMA_MAX**2 * torch.eye(len(p.covariance))
                return solver(s, z @ torch.linalg.cholesky(blurred).mT, setting, g)

            row(name, draw)


if __name__ == "__main__":
    main()
