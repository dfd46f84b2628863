"""Error of density models whose truth is known: scores, log-densities and seconds of fitting.

Against toy densities p it measures, over 10 000 fresh rows, the Fisher divergence E‖∇log p - s‖²,
also as a share of E‖∇log p‖² (the score 0 has 1); where the model has it, the mean log-density in
nats and its gap to that of p, an estimate of KL(p‖q); and the CPU time of the fit. Three baselines
with exact scores, `gaussian`, `mixture` and `kde`, stand beside `ScoreMatchingDensity`, whose
settings are labelled "model/objective", or just "auto" and "stack".

    python benchmarks/density.py --out density.csv
    python benchmarks/density.py --out density.csv --cells ring t5 --n 500 --models auto "score/*"
    python benchmarks/density.py --table density.csv

Each line of the file is one fit, written at once. What is there is not computed again, so runs can
be stopped and split; a fit that fails leaves its error in its line, and `--retry` tries it again.
"""

import argparse
import csv
import json
import time
import warnings
from collections import Counter, defaultdict
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import torch
from scipy.special import logsumexp
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity

from skscore import ScoreMatchingDensity
from skscore.datasets import (
    Banana,
    CorrelatedT,
    GaussianMixtureDensity,
    random_gaussian_mixture,
    ring_of_gaussians,
)
from skscore.metrics import fisher_divergence

N_TEST, TEST_SEED = 10_000, 10_000
CELLS = {
    "ring": ring_of_gaussians,
    "banana2": lambda: Banana(2),
    "banana10": lambda: Banana(10),
    "t5": lambda: CorrelatedT(5),
    "gmm20": lambda: random_gaussian_mixture(20, random_state=0),
}
# E‖∇log p - s‖² and its share of E‖∇log p‖², E log q and E log p - E log q, CPU seconds of the fit,
# what was chosen (a model, a number of components, a bandwidth), selection_results_ as JSON.
FIGURES = ["fisher", "fisher_share", "log_density", "log_density_gap", "seconds"]
COLUMNS = ["cell", "n", "seed", "model", *FIGURES, "model_", "selection", "error"]
N_COMPONENTS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16)
BANDWIDTHS = np.geomspace(0.02, 1, 20)  # in standard deviations of each feature
OBJECTIVES = ["implicit", "sliced", "sliced_vr", "finite_difference", "denoising"]
OBJECTIVES += ["denoising_control_variate", "parzen", "explicit"]
BASELINES = ("gaussian", "mixture", "kde")


class KnownForm:
    """A baseline that, once fitted, is one of the densities with exact scores."""

    model_ = ""

    def score_function(self, X):
        return self.density_.score_function(X)

    def score_samples(self, X):
        return self.density_.log_density(X)


class Gaussian(KnownForm):
    """The Gaussian of the largest likelihood."""

    def fit(self, X):
        covariance = np.cov(X.T, bias=True)
        self.density_ = GaussianMixtureDensity([1.0], [X.mean(0)], [covariance])
        return self


class Mixture(KnownForm):
    """A Gaussian mixture by EM, with full covariances, of the least BIC."""

    def __init__(self, seed, n_init=3):
        self.seed, self.n_init = seed, n_init

    def fit(self, X):
        mixtures = [
            GaussianMixture(k, n_init=self.n_init, reg_covar=1e-6, random_state=self.seed).fit(X)
            for k in N_COMPONENTS
        ]
        best = min(mixtures, key=lambda m: m.bic(X))
        self.density_ = GaussianMixtureDensity(best.weights_, best.means_, best.covariances_)
        self.model_ = f"k={best.n_components}"
        return self


class KDE:
    """A Gaussian kernel density on standardised features, its bandwidth by 5-fold likelihood.

    With z_i the rows, h the bandwidth and r_i(z) ∝ exp(-‖z - z_i‖² / 2h²) summing to one, the score
    is (Σ r_i z_i - z) / h².
    """

    def fit(self, X):
        self.mean_, self.scale_ = X.mean(0), X.std(0)
        self.z_ = (X - self.mean_) / self.scale_
        search = GridSearchCV(KernelDensity(), {"bandwidth": BANDWIDTHS}, cv=5, refit=False)
        self.bandwidth_ = search.fit(self.z_).best_params_["bandwidth"]
        self.model_ = f"h={self.bandwidth_:.3g}"
        return self

    def score_function(self, X):
        return self._evaluate(X)[1]

    def score_samples(self, X):
        return self._evaluate(X)[0]

    def _evaluate(self, X):
        Z, h2 = (X - self.mean_) / self.scale_, self.bandwidth_**2
        n, d = self.z_.shape
        log_norm = np.log(n) + d / 2 * np.log(2 * np.pi * h2) + np.log(self.scale_).sum()
        log_p, score = np.empty(len(Z)), np.empty(Z.shape)
        for start in range(0, len(Z), 500):
            rows = slice(start, start + 500)
            z = Z[rows]
            squares = (z**2).sum(1)[:, None] - 2 * z @ self.z_.T + (self.z_**2).sum(1)
            total = logsumexp(-squares / (2 * h2), axis=1)
            share = np.exp(-squares / (2 * h2) - total[:, None])
            log_p[rows] = total - log_norm
            score[rows] = (share @ self.z_ - z) / h2 / self.scale_
        return log_p, score


def make_models(density):
    """Return a factory of a model, called with the seed, for each label."""

    def ours(**params):
        return lambda seed: ScoreMatchingDensity(random_state=seed, **params)

    models = {"gaussian": lambda seed: Gaussian(), "mixture": Mixture, "kde": lambda seed: KDE()}
    for network in ("score", "energy"):
        for objective in OBJECTIVES:
            params = {"model": network, "objective": objective}
            if objective == "explicit":
                params["objective_params"] = {"target": density.score_function}
            models[f"{network}/{objective}"] = ours(**params)
    for name in ("gaussian", "gaussian_mixture", "kernel"):
        models[f"{name}/auto"] = ours(model=name)
    for name in ("auto", "stack"):
        models[name] = ours(model=name)
    return models


LABELS = list(make_models(ring_of_gaussians()))


def measure(make, density, X, X_test, seed):
    """Fit a model and return its part of a line."""
    line = {}
    try:
        start = time.process_time()
        model = make(seed).fit(X)
        line["seconds"] = time.process_time() - start
        line["model_"] = getattr(model, "model_", "")
        if hasattr(model, "selection_results_"):
            line["selection"] = json.dumps(
                model.selection_results_, default=lambda value: np.asarray(value).tolist()
            )
        fisher = fisher_divergence(density.score_function, model.score_function, X_test)
        norm = np.square(density.score_function(X_test)).sum(1).mean()
        line |= {"fisher": fisher, "fisher_share": fisher / norm}
        if hasattr(model, "score_samples"):
            log_density = model.score_samples(X_test).mean()
            gap = density.log_density(X_test).mean() - log_density
            line |= {"log_density": log_density, "log_density_gap": gap}
    except Exception as error:  # a line of the file, not the end of the run
        line["error"] = " ".join(f"{type(error).__name__}: {error}".split())
    return {name: f"{x:.6g}" if name in FIGURES else x for name, x in line.items()}


def read_lines(paths):
    """Return the last line of each fit."""
    lines = {}
    for path in paths:
        if Path(path).exists():
            with open(path, newline="", encoding="utf-8") as file:
                for line in csv.DictReader(file):
                    lines[line["cell"], int(line["n"]), int(line["seed"]), line["model"]] = line
    return lines


def run(options):
    done = read_lines([options.out])
    if options.retry:
        done = {key: line for key, line in done.items() if not line["error"]}
    labels = [x for x in LABELS if any(fnmatch(x, pattern) for pattern in options.models)]
    if not labels:
        raise SystemExit(f"--models fits none of {', '.join(LABELS)}")
    for cell in options.cells:
        density = CELLS[cell]()
        models = make_models(density)
        for n in options.n:
            for seed in options.seeds:
                X = density.sample(n, random_state=seed)
                X_test = density.sample(N_TEST, random_state=TEST_SEED + seed)
                for label in labels:
                    if (cell, n, seed, label) in done:
                        continue
                    line = {"cell": cell, "n": n, "seed": seed, "model": label}
                    line |= measure(models[label], density, X, X_test, seed)
                    write_line(options.out, line)


def write_line(path, line):
    is_new = not Path(path).exists()
    with open(path, "a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if is_new:
            writer.writeheader()
        writer.writerow(line)
    shown = ("cell", "n", "seed", "model", "fisher_share", "log_density_gap", "seconds", "model_")
    print(*(line.get(name) or "-" for name in shown), line.get("error", ""), flush=True)


def print_tables(paths):
    lines = read_lines(paths)
    columns = sorted({key[:2] for key in lines}, key=lambda c: (list(CELLS).index(c[0]), c[1]))
    figures = {name: defaultdict(dict) for name in FIGURES}
    n_failed = Counter((key[3], key[:2]) for key, line in lines.items() if line["error"])
    for (cell, n, seed, label), line in lines.items():
        for name, found in figures.items():
            if line[name]:
                found[label, (cell, n)][seed] = float(line[name])

    def print_table(title, found, failed):
        with_any = {label for label, _ in found.keys() | failed.keys()}
        print(f"\n{title}\n\n| |", " | ".join(f"{cell} {n}" for cell, n in columns), "|")
        print("|---" * (len(columns) + 1) + "|")
        for label in (label for label in LABELS if label in with_any):
            keys = [(label, column) for column in columns]
            medians = [f"{np.median([*found[k].values()]):.3g}" if k in found else "" for k in keys]
            failures = [f"{failed[k]} failed" if k in failed else "" for k in keys]
            entries = [f"{m} {f}".strip() or "-" for m, f in zip(medians, failures, strict=True)]
            print(f"| {label} |", " | ".join(entries), "|")

    share, gap = figures["fisher_share"], figures["log_density_gap"]
    print_table("Fisher divergence over E‖∇log p‖², median over seeds", share, n_failed)
    print_table("E log p - E log q, nats, median over seeds", gap, {})
    print_table("CPU seconds of a fit, median over seeds", figures["seconds"], {})
    for label in ("auto", "stack"):
        ratios = [line for c in columns if (line := compare(figures["fisher"], label, c))]
        if ratios:
            print(f"\nFisher divergence of {label} over that of the best baseline\n")
            print("| | means over seeds | worst seed | seeds |\n|---|---|---|---|")
            print(*ratios, sep="\n")


def compare(fisher, label, column):
    """Return a line on a model against the best baseline, over the seeds that all have."""
    seeds = set.intersection(*(set(fisher.get((x, column), ())) for x in (label, *BASELINES)))
    if not seeds:
        return None
    ours = np.array([fisher[label, column][s] for s in seeds])
    theirs = np.array([[fisher[x, column][s] for s in seeds] for x in BASELINES])
    best = theirs.mean(1).argmin()
    of_means, worst = ours.mean() / theirs[best].mean(), (ours / theirs.min(0)).max()
    cell = "{} {}".format(*column)
    return f"| {cell} | {of_means:.3g} ({BASELINES[best]}) | {worst:.3g} | {len(seeds)} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="density.csv", help="the file the lines are added to")
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS))
    parser.add_argument("--n", nargs="+", type=int, default=[500, 5000])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--models", nargs="+", default=["*"], help="labels, * for any characters")
    parser.add_argument("--retry", action="store_true", help="fit again what failed")
    parser.add_argument("--table", nargs="+", metavar="FILE", help="print the tables of these")
    options = parser.parse_args()
    if options.table:
        return print_tables(options.table)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)
    run(options)


if __name__ == "__main__":
    main()
