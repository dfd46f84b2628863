"""How well the noise level is chosen: the true Fisher divergence there, over the least of the grid.

For a density, a number of rows and a seed, `DenoisingScoreEstimator` is fitted to all rows at each
noise level of a grid, and D_F = E‖∇log p - s‖² is measured over 10 000 fresh rows. The best is held
against the noise levels chosen without knowing p, by `GridSearchCV` with the default `score` (grid)
and by `DenoisingScoreEstimatorCV` (path).

    python benchmarks/noise_scale.py --out noise_scale.csv [--cells ring t5] [--n 300] [--seeds 0 1]
    python benchmarks/noise_scale.py --table noise_scale.csv

Each line of the file is one way of choosing in one data set, "truth", "grid" or "path", written at
once. What is there is not computed again. Seconds are CPU time; those of grid and path include the
last fit to all rows, and were taken in turn.
"""

import argparse
import csv
import time
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV

from skscore import DenoisingScoreEstimator, DenoisingScoreEstimatorCV
from skscore.datasets import Banana, CorrelatedT, random_gaussian_mixture, ring_of_gaussians
from skscore.metrics import fisher_divergence

N_TEST, TEST_SEED = 10_000, 10_000
CELLS = {
    "ring": ring_of_gaussians,
    "banana2": lambda: Banana(2),
    "banana10": lambda: Banana(10),
    "gmm5": lambda: random_gaussian_mixture(5, random_state=0),
    "t5": lambda: CorrelatedT(5),
}
SIGMAS = np.geomspace(0.01, 1, 12)
COLUMNS = ["cell", "n", "seed", "way", "sigma", "seconds", "path"]


def truth(p, X, seed):
    """D_F at each noise level; "sigma" is the best."""
    fresh = p.sample(N_TEST, random_state=TEST_SEED + seed)
    fits = [DenoisingScoreEstimator(s, random_state=seed).fit(X) for s in SIGMAS]
    path = [fisher_divergence(f.score_function, p.score_function, fresh) for f in fits]
    return SIGMAS[np.argmin(path)], path


def grid(p, X, seed):
    # Rows come in no order, so folds need not be shuffled.
    search = GridSearchCV(DenoisingScoreEstimator(random_state=seed), {"sigma": SIGMAS}, cv=5)
    search.fit(X)
    return search.best_params_["sigma"], search.cv_results_["mean_test_score"]


def path(p, X, seed):
    search = DenoisingScoreEstimatorCV(SIGMAS, random_state=seed).fit(X)
    return search.sigma_, search.score_path_.mean(axis=0)


WAYS = {"truth": truth, "path": path, "grid": grid}


def read_lines(paths):
    lines = {}
    for name in paths:
        if Path(name).exists():
            with open(name, newline="", encoding="utf-8") as file:
                for line in csv.DictReader(file):
                    key = line["cell"], int(line["n"]), int(line["seed"]), line["way"]
                    lines[key] = line
    return lines


def run(options):
    done = read_lines([options.out])
    for seed in options.seeds:
        for n in options.n:
            for cell in options.cells:
                p = CELLS[cell]()
                X = p.sample(n, random_state=seed)
                for way in options.ways:
                    if (cell, n, seed, way) in done:
                        continue
                    start = time.process_time()
                    sigma, found = WAYS[way](p, X, seed)
                    seconds = time.process_time() - start
                    numbers = " ".join(f"{x:.6g}" for x in found)
                    line = [cell, n, seed, way, f"{sigma:.6g}", f"{seconds:.2f}", numbers]
                    is_new = not Path(options.out).exists()
                    with open(options.out, "a", newline="", encoding="utf-8") as file:
                        writer = csv.writer(file)
                        if is_new:
                            writer.writerow(COLUMNS)
                        writer.writerow(line)
                    print(*line[:-1], flush=True)


def print_table(paths):
    lines = read_lines(paths)
    ratios, seconds = defaultdict(dict), defaultdict(list)
    for (cell, n, seed, way), line in lines.items():
        seconds[n, way].append(float(line["seconds"]))
        if way != "truth" and (cell, n, seed, "truth") in lines:
            by_sigma = np.array(lines[cell, n, seed, "truth"]["path"].split(), dtype=float)
            at = np.abs(SIGMAS - float(line["sigma"])).argmin()
            ratios[n, way][cell, seed] = by_sigma[at] / by_sigma.min()
    for (n, way), found in sorted(ratios.items()):
        print(f"\nn = {n}, {way}: D_F at the chosen noise level over the least of the grid\n")
        print("| density | seeds | median | largest |\n|---|---|---|---|")
        for cell in CELLS:
            r = [x for (c, _), x in found.items() if c == cell]
            if r:
                print(f"| {cell} | {len(r)} | {np.median(r):.3f} | {max(r):.3f} |")
        r = list(found.values())
        print(f"| all | {len(r)} | {np.median(r):.3f} | {max(r):.3f} |")
    for n in sorted({n for n, _ in seconds}):
        if (n, "grid") in seconds and (n, "path") in seconds:
            one, many = (np.median(seconds[n, way]) for way in ("path", "grid"))
            print(f"\nn = {n}: median CPU seconds {many:.0f} (grid), {one:.0f} (path)")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="noise_scale.csv", help="the file the lines are added to")
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS))
    parser.add_argument("--n", nargs="+", type=int, default=[300, 2000])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--table", nargs="+", metavar="FILE", help="print the tables of these")
    options = parser.parse_args()
    if options.table:
        return print_table(options.table)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)
    run(options)


if __name__ == "__main__":
    main()
