"""Whether a classifier of real digits recognises those that `NCSNGenerator` draws.

The network and the settings are those of ``examples/plot_digits.py``. They are trained on 80 % of
the digits, stratified; the rest is held out. The judge is a support vector machine, trained on the
same 80 % without noise. It says

    recognised    share of rows given one class with a probability above 0.8
    classes       least and largest share of rows given one class
    copies        share of rows much nearer to one training row than to any other
    distance      median distance to the nearest training row, in grey levels

A logistic regression on kernel features says how much of it depends on the judge.

    python benchmarks/digits.py --seeds 0 1
"""

import argparse
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import pairwise_distances
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from skscore import NCSNGenerator
from skscore.metrics import copy_rate

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from plot_digits import DigitNet

GREY_LEVELS = 4.5  # of one unit, near the standard deviation of a pixel
SETTINGS = {
    "sigma_min": 0.03,
    "standardize": False,
    "max_steps": 6000,
    "batch_size": 128,
    "lr": 2e-3,
}


def judges(X, y, seed):
    kernel = Nystroem(gamma=0.001, n_components=500, random_state=seed)
    with warnings.catch_warnings():
        # Newer versions of scikit-learn would calibrate one class against the rest, which is
        # surer of bad digits.
        warnings.simplefilter("ignore", FutureWarning)
        return {
            "svc": SVC(C=10, probability=True, random_state=seed).fit(X, y),
            "logistic": make_pipeline(kernel, LogisticRegression(C=30, max_iter=2000)).fit(X, y),
        }


def run(seed, n, save):
    X, y = load_digits(return_X_y=True)
    train, test, y_train, y_test = train_test_split(
        X, y, test_size=0.2, stratify=y, random_state=seed
    )
    start = time.process_time()
    noisy = train + np.random.RandomState(seed).uniform(-0.5, 0.5, train.shape)
    generator = NCSNGenerator(module=DigitNet, random_state=seed, **SETTINGS)
    generator.fit(noisy / GREY_LEVELS)
    fitted = time.process_time()
    new = (GREY_LEVELS * generator.sample(n, random_state=seed)).round().clip(0, 16)
    sampled = time.process_time()
    rows = {"test": test, "generated": new}
    for name, judge in judges(train, y_train, seed).items():
        print(f"seed {seed}, {name}: accuracy {judge.score(test, y_test):.4f} on test digits")
        for kind, X in rows.items():
            p = judge.predict_proba(X)
            shares = np.bincount(p.argmax(1), minlength=10) / len(X)
            print(
                f"    {kind:10s} recognised {np.mean(p.max(1) > 0.8):.4f}, "
                f"classes {shares.min():.4f} to {shares.max():.4f}"
            )
    for kind, X in rows.items():
        distance = np.median(pairwise_distances(X, train).min(1))
        print(f"    {kind:10s} copies {copy_rate(X, train):.4f}, distance {distance:.1f}")
    print(
        f"    steps taken {generator.n_steps_}, kept {generator.best_step_}; CPU time, s: "
        f"fit {fitted - start:.0f}, sample {sampled - fitted:.0f}, "
        f"all {time.process_time() - start:.0f}",
        flush=True,
    )
    if save:
        np.save(save / f"digits_{seed}.npy", new)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--n", type=int, default=2000, help="digits to generate")
    parser.add_argument("--save", type=Path, help="folder for the digits generated")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for seed in options.seeds:
        run(seed, options.n, options.save)


if __name__ == "__main__":
    main()
