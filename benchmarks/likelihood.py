"""Log-densities of the generator against a neural spline flow, kernel density and mixtures.

    python benchmarks/likelihood.py --seeds 0 1 2        # needs zuko

`--data moons` (the default) is scikit-learn's two moons with noise .08, 2000 rows to train on and
2000 to test, standardised by the training rows; `gmm` and `t` are `random_gaussian_mixture(d)` and
`CorrelatedT(d)` with d = `--features`. Printed are mean test log-densities in nats:

    generator    `score_samples` of `NCSNGenerator()`, and minus `held_out_nll` with its standard
                 error; CPU seconds of the fit and of both
    loss, stack  the same with ``early_stopping="loss"``, with ``model="stack"``
    nsf          a neural spline flow trained by likelihood: 3 transforms with 64 x 64 hidden units,
                 Adam, the weights of the best validation likelihood
    kde          `KernelDensity`, the bandwidth by 5-fold likelihood
    mixture      `GaussianMixture`, the number of components by BIC
    truth        where it is known
"""

import argparse
import time

import numpy as np
import torch
from sklearn.datasets import make_moons
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity

from skscore import NCSNGenerator
from skscore.datasets import CorrelatedT, random_gaussian_mixture

OURS = {"generator": {}, "loss": {"early_stopping": "loss"}, "stack": {"model": "stack"}}


def load(name, n, d, seed):
    """Training and test rows, standardised, and the true mean log-density of the latter or NaN."""
    if name == "moons":
        train, test = (make_moons(n, noise=0.08, random_state=seed + k)[0] for k in (0, 1000))
        truth = np.nan
    else:
        density = random_gaussian_mixture(d, random_state=0) if name == "gmm" else CorrelatedT(d)
        train, test = (density.sample(n, random_state=seed + k) for k in (0, 1000))
        truth = density.log_density(test).mean() + np.log(train.std(0)).sum()
    mean, scale = train.mean(0), train.std(0)
    return (train - mean) / scale, (test - mean) / scale, truth


def neural_spline_flow(train, test, seed, n_steps=3000):
    import zuko

    torch.manual_seed(seed)
    d = train.shape[1]
    flow = zuko.flows.NSF(d, transforms=3, hidden_features=(64, 64))
    x = torch.tensor(train, dtype=torch.float32)
    valid, x = x[: len(x) // 10], x[len(x) // 10 :]
    optimizer = torch.optim.Adam(flow.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
    best, state = -np.inf, None
    for step in range(n_steps):
        batch = x[torch.randint(len(x), (256,))]
        loss = -flow().log_prob(batch).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            with torch.no_grad():
                value = flow().log_prob(valid).mean().item()
            if value > best:
                best = value
                state = {k: v.clone() for k, v in flow.state_dict().items()}
    flow.load_state_dict(state)
    with torch.no_grad():
        return flow().log_prob(torch.tensor(test, dtype=torch.float32)).mean().item()


def timed(call):
    start = time.process_time()
    result = call()
    return result, time.process_time() - start


def run(options, seed):
    train, test, truth = load(options.data, options.n, options.features, seed)
    print(f"{options.data}, {train.shape[1]} features, seed {seed}")
    for name in options.models:
        if name in OURS:
            generator = NCSNGenerator(random_state=seed, **OURS[name])
            _, fit = timed(lambda g=generator: g.fit(train))
            log_p, flow = timed(lambda g=generator: g.score_samples(test).mean())
            nll, denoising = timed(lambda g=generator: g.held_out_nll(test))
            error = generator.held_out_nll_std_
            print(
                f"    {name:10s} {log_p:.4f}, by denoising {-nll:.4f} ± {error:.4f} "
                f"({(-nll - log_p) / error:+.1f} SE); CPU s: fit {fit:.0f}, flow {flow:.1f}, "
                f"denoising {denoising:.2f}, ratio {flow / denoising:.1f}",
                flush=True,
            )
        elif name == "nsf":
            value, seconds = timed(lambda: neural_spline_flow(train, test, seed))
            print(f"    nsf        {value:.4f}; CPU s: {seconds:.0f}", flush=True)
        elif name == "kde":
            grid = {"bandwidth": np.geomspace(0.02, 1, 20)}
            kde = GridSearchCV(KernelDensity(), grid, cv=5).fit(train)
            print(f"    kde        {kde.score_samples(test).mean():.4f}")
        elif name == "mixture":
            mixtures = [
                GaussianMixture(k, n_init=3, random_state=seed).fit(train)
                for k in (1, 2, 3, 4, 6, 8, 10, 12, 16, 20)
            ]
            best = min(mixtures, key=lambda m: m.bic(train))
            print(f"    mixture    {best.score(test):.4f}, {best.n_components} components")
    if np.isfinite(truth):
        print(f"    truth      {truth:.4f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", choices=["moons", "gmm", "t"], default="moons")
    parser.add_argument("--features", type=int, default=5, help="of gmm and t")
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    choices = [*OURS, "nsf", "kde", "mixture"]
    parser.add_argument("--models", nargs="+", choices=choices, default=choices)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for seed in options.seeds:
        run(options, seed)


if __name__ == "__main__":
    main()
