r"""Held-out denoising loss of a stack of network and mixture, against the better of the two.

For each data set and split, 20 % of the rows are split away for the test. The rest fit

    network   NCSNGenerator(early_stopping="loss")
    mixture   scikit-learn's GaussianMixture, the number of components chosen by BIC
    stack     NCSNGenerator(model="stack")

The loss of a score s at σ is the mean of σ²(1 + σ²)/d ‖s(x + σε, σ) + ε/σ‖² over test rows and the
same mirrored ε for all three. The ratio is that of the stack to the better of the other two. Steps
are taken/kept. Tables lie in a folder, as NAME.csv.gz beside an index.json that lists their numeric
columns.

    python benchmarks/stacking.py --data FOLDER
"""

import argparse
import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_wine
from sklearn.mixture import GaussianMixture

from skscore import NCSNGenerator
from skscore._inference import in_parts
from skscore._validation import split_rows
from skscore.datasets import Banana
from skscore.gaussians import GaussianMixtureScore

SIGMAS = np.geomspace(0.05, 5, 7)
DATA = ("wine", "yeast", "concrete_compression", "banana")


def load(name, folder, seed):
    if name == "banana":
        return Banana(10).sample(500, random_state=seed)
    if name == "wine":
        return load_wine().data
    columns = json.loads((folder / "index.json").read_text())[name]["numeric"]
    return pd.read_csv(folder / f"{name}.csv.gz")[columns].to_numpy(float)


def fit_mixture(X, seed):
    # Fewer rows than this to a component, and BIC is won by singular ones.
    n_components = min(15, len(X) // (2 * (X.shape[1] + 1)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fits = [GaussianMixture(k, random_state=seed).fit(X) for k in range(1, n_components + 1)]
    return GaussianMixtureScore.from_sklearn(min(fits, key=lambda fit: fit.bic(X)))


def losses(models, x, n_draws):
    """Denoising losses (n_models, n_sigmas)."""
    generator, found = torch.Generator().manual_seed(0), []
    for sigma in SIGMAS:
        noise = torch.randn(n_draws // 2, *x.shape, generator=generator, dtype=x.dtype)
        noise = torch.cat([noise, -noise]).reshape(-1, x.shape[1])
        x_noisy = x.repeat(n_draws, 1) + sigma * noise
        level = torch.full_like(x_noisy[:, :1], sigma)
        errors = [sigma * in_parts(model, x_noisy, level) + noise for model in models]
        found.append([(1 + sigma**2) * error.square().mean().item() for error in errors])
    return np.array(found).T


def run(name, seed, options):
    X = load(name, options.data, seed)
    train, test = split_rows(len(X), 0.2, 1000 + seed)
    mean, scale = X[train].mean(0), X[train].std(0)
    X = (X - mean) / scale
    alone = NCSNGenerator(early_stopping="loss", random_state=seed).fit(X[train])
    stacked = NCSNGenerator(model="stack", random_state=seed).fit(X[train])
    models = [alone.net_.module_, fit_mixture(X[train], seed), stacked.stack_]
    knots, share = stacked.stack_.sigmas.log(), stacked.stack_.weights[:, 1]
    share_of_mixture = np.interp(np.log(SIGMAS), knots, share)
    steps = [alone.n_steps_, alone.best_step_, stacked.n_steps_, stacked.best_step_]
    return losses(models, torch.from_numpy(X[test]), options.draws), share_of_mixture, steps


def report(name, runs):
    values, share, steps = (np.array(part) for part in zip(*runs, strict=True))
    ratio = values[:, 2] / values[:, :2].min(1)
    print(f"\n{name}, {len(runs)} splits")
    print(" sigma  network  mixture    stack  w(mixture)  ratio    worst    ratios of the splits")
    for i, sigma in enumerate(SIGMAS):
        means = "".join(f"{v:9.4f}" for v in values[:, :, i].mean(0))
        print(
            f"{sigma:6.3f}{means}{share[:, i].mean():12.2f}{ratio[:, i].mean():8.4f}"
            f"{ratio[:, i].max():9.4f}    " + " ".join(f"{r:.3f}" for r in ratio[:, i])
        )
    for side, columns in (("network alone", steps[:, :2]), ("stack", steps[:, 2:])):
        each = ", ".join(f"{taken}/{kept}" for taken, kept in columns)
        print(f"steps of the {side}: {each}; mean {columns.mean(0).round().tolist()}")
    return ratio.mean(0).max(), ratio.max()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the tables")
    parser.add_argument("--names", nargs="+", default=DATA, choices=DATA)
    parser.add_argument("--seeds", type=int, default=5, help="number of splits")
    parser.add_argument("--draws", type=int, default=64, help="of noise, for each row and sigma")
    options = parser.parse_args()
    torch.set_num_threads(1)
    summary = {}
    for name in options.names:
        summary[name] = report(name, [run(name, seed, options) for seed in range(options.seeds)])
    print()
    for name, (mean, worst) in summary.items():
        print(f"{name}: largest mean ratio {mean:.4f}, largest of a single split {worst:.4f}")


if __name__ == "__main__":
    main()
