"""Time and memory of the exact trace of a score's Jacobian, against two generic ways of torch.func.

The networks carry all directions through their layers by hand. The baselines take d products with
the basis vectors by ``vmap``: of the Jacobian (jvp) and of its transpose (vjp, which is what a
network of the user's gets). What is timed is the implicit objective, on one thread, in float32, of
512 rows, without gradients of the parameters or with them ("step"). The sides take turns, and the
ratios are taken turn by turn. Before that: the peak memory of a process that reads 10 000 rows of
100 features in float64.

    python benchmarks/trace.py
"""

import argparse
import resource
import subprocess
import sys
import time

import numpy as np
import torch

from skscore import objectives
from skscore._inference import implicit_losses
from skscore.energies import EnergyMLP, EnergyScore
from skscore.networks import PreconditionedScore, ScoreMLP

KINDS = {"score": (ScoreMLP, PreconditionedScore), "energy": (EnergyMLP, EnergyScore)}
# What the network is, its features and its width, and whether a training step is timed.
CASES = [
    ("score", 20, 128, False),
    ("score", 50, 128, False),
    ("score", 20, 256, False),
    ("score", 50, 256, False),
    ("score", 8, 128, True),
    ("score", 50, 128, True),
    ("energy", 20, 128, False),
    ("energy", 50, 128, False),
]


def make_score(kind, d, width):
    torch.manual_seed(0)
    network, preconditioned = KINDS[kind]
    raw = network(d, (width, width, width))
    torch.nn.init.normal_(raw.head.weight, std=0.1)
    return preconditioned(raw, torch.zeros(d), torch.ones(d))


def anonymous(score):
    """The same function, which does not say that it knows its divergence."""
    return lambda x, sigma: score(x, sigma)


class ByJVP:
    """The score, with the trace by d Jacobian-vector products at once."""

    def __init__(self, score):
        self.score = score

    def score_and_divergence(self, x, sigma):
        def product(e):
            score, column = torch.func.jvp(lambda x: self.score(x, sigma), (x,), (e.expand_as(x),))
            return score, column @ e

        basis = torch.eye(x.shape[1], dtype=x.dtype)
        score, diagonal = torch.func.vmap(product, out_dims=(None, 0))(basis)
        return score, diagonal.sum(0)


def compare(kind, d, width, *, train, repeats):
    score = make_score(kind, d, width)
    x = torch.randn(512, d, generator=torch.Generator().manual_seed(1))
    sigma = torch.linspace(0.05, 5, 512)[:, None]
    sides = {"by hand": score, "jvp": ByJVP(score), "vjp": anonymous(score)}
    seconds = {name: [] for name in sides}
    with torch.set_grad_enabled(train):
        truth = objectives.implicit(sides["vjp"], x, sigma)
        for repeat in range(repeats + 1):
            for name, side in sides.items():
                start = time.perf_counter()
                losses = objectives.implicit(side, x, sigma)
                if train:
                    losses.mean().backward()
                if repeat:  # the first turn warms up
                    seconds[name].append(time.perf_counter() - start)
                torch.testing.assert_close(losses, truth, rtol=1e-3, atol=1e-3)
    ours = np.array(seconds.pop("by hand"))
    line = (
        f"{kind} d={d} 3x{width}{' step' if train else ''}: by hand {1e3 * np.median(ours):.1f} ms"
    )
    for name, theirs in seconds.items():
        line += f"; {name} {1e3 * np.median(theirs):.1f} ms, ratio {np.median(theirs / ours):.2f}"
    print(line, flush=True)


def read_rows(kind, way):
    """Print the peak memory and the time of reading many rows; a process of its own runs this."""
    score = make_score(kind, 100, 128).double()
    x = torch.randn(10_000, 100, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    implicit_losses(score if way == "by hand" else anonymous(score), x, torch.ones_like(x[:, :1]))
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"peak {peak / 2**20:.2f} GiB ({before / 2**20:.2f} before), {seconds:.1f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--read-rows", nargs=2, metavar=("KIND", "WAY"), help="used by itself")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.read_rows:
        return read_rows(*options.read_rows)
    # Memory first: a process is charged the peak of the one that started it.
    for kind, way in (("score", "by hand"), ("score", "vjp"), ("energy", "by hand")):
        command = [sys.executable, __file__, "--read-rows", kind, way]
        print(f"{kind} {way}: ", end="", flush=True)
        subprocess.run(command, check=True)
    for kind, d, width, train in CASES:
        compare(kind, d, width, train=train, repeats=options.repeats)


if __name__ == "__main__":
    main()
