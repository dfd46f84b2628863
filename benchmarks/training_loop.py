"""Time of the package's training, through skorch, over that of a plain torch loop.

Same network (3 x 256), rows (10 000 x 20), batches of 512, loss, optimizer, schedule, clipping,
moving average and validations; the two sides take turns, and the ratio is taken pair by pair.

    python benchmarks/training_loop.py
"""

import argparse
import copy
import math
import time

import numpy as np
import torch

from skscore._batches import BatchIterator, Rows, ValidationIterator
from skscore._losses import DenoisingLoss
from skscore._selection import LowestLoss
from skscore._training import TrainingPlan, WarmupCosine, train
from skscore._validation import torch_generator
from skscore.networks import PreconditionedScore, ScoreMLP
from skscore.noise import LogNormalSigma


def make_network():
    torch.manual_seed(0)
    return PreconditionedScore(ScoreMLP(20, (256, 256, 256)), torch.zeros(20), torch.ones(20))


def plain_loop(network, loss, rows, watched, plan):
    optimizer = torch.optim.AdamW(network.parameters(), lr=plan.lr, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, WarmupCosine(plan.max_steps))
    average = copy.deepcopy(network)
    iterator = BatchIterator(
        rows,
        plan.batch_size,
        max(10, plan.max_steps // 25),
        plan.max_steps,
        torch_generator(plan.seed),
    )
    n_draws = 4096 // len(watched)
    validation = ValidationIterator(watched, 4096 // n_draws, n_draws, plan.seed)
    best, best_state, step = float("inf"), None, 0
    while step < plan.max_steps:
        for batch, _ in iterator:
            optimizer.zero_grad()
            loss(network, batch.values, batch.generator).mean().backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
            optimizer.step()
            schedule.step()
            step += 1
            decay = min(0.99, (1 + step) / (10 + step))
            with torch.no_grad():
                torch._foreach_lerp_(
                    list(average.parameters()), list(network.parameters()), 1 - decay
                )
        with torch.no_grad():
            held_out = sum(
                (loss(average, b.values, b.generator, b.n_draws) * w).sum().item()
                for b, w in validation
            ) / len(watched)
        if held_out < best:
            best, best_state = held_out, copy.deepcopy(average.state_dict())
    network.load_state_dict(best_state)
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    values = torch.randn(10_000, 20, generator=torch_generator(1))
    rows = Rows(values[1000:], torch.ones(9000))
    watched = Rows(values[:1000], torch.ones(1000))
    loss = DenoisingLoss(LogNormalSigma(0.002, 10.0), 1.0)
    plan = TrainingPlan(
        max_steps=options.steps,
        batch_size=512,
        lr=1e-3,
        optimizer="adamw",
        callbacks=[],
        verbose=False,
        seed=0,
        noise_name="",
    )
    ratios = []
    for repeat in range(options.repeats + 1):
        start = time.perf_counter()
        selection = LowestLoss()
        selection.patience = math.inf  # both sides spend the whole budget
        trained = train(make_network(), loss, rows, watched, plan, selection)
        middle = time.perf_counter()
        theirs = plain_loop(make_network(), loss, rows, watched, plan)
        end = time.perf_counter()
        assert trained.n_steps == options.steps
        ours = trained.curve[:, 1].min()
        assert abs(ours / theirs - 1) < 1e-3, "the two sides do not train the same"
        if repeat:  # the first pair warms up
            ratios.append((middle - start) / (end - middle))
            steps = options.steps
            print(
                f"skorch {1e3 * (middle - start) / steps:.2f} ms a step, "
                f"plain {1e3 * (end - middle) / steps:.2f} ms a step, ratio {ratios[-1]:.3f}"
            )
    print(f"median ratio {np.median(ratios):.3f} of {len(ratios)} pairs")


if __name__ == "__main__":
    main()
