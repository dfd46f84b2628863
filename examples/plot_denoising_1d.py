r"""
Denoising score matching in one dimension
=========================================

Regress on the noise, and the score of the blurred density comes out (Vincent 2011):

.. math:: J(s) = E_x\, E_\varepsilon \| s(x + \sigma\varepsilon) + \varepsilon/\sigma \|^2
    = E_{p_\sigma} \| s - \nabla \log p_\sigma \|^2 + \text{const} .

:math:`E_x` is a mean over rows; :math:`E_\varepsilon` a mean over K draws for each, or quadrature.
"""

import os

import matplotlib.pyplot as plt
import numpy as np

from skscore import DenoisingScoreEstimator
from skscore.datasets import GaussianMixtureDensity, gaussian_mixture_1d


def main(budget="full"):
    n, n_tables, steps, repeats = (5000, 5, "auto", 40) if budget == "full" else (1000, 1, 300, 8)
    p, sigma, rng, errors = gaussian_mixture_1d(), 0.5, np.random.RandomState(0), []
    noisy = p.sample(5000, rng) + sigma * rng.normal(size=(5000, 1))
    x, exact = np.linspace(-5.5, 4.5, 400)[:, None], p.score_function(noisy, sigma)
    plt.rcParams["axes.prop_cycle"] = plt.cycler(color=["#33638d", "#e8833a"])
    fig, (left, right) = plt.subplots(1, 2, figsize=(12, 4.8), layout="constrained")
    left.plot(x, p.score_function(x), "0.55", lw=1, label="of the data, σ = 0")
    left.plot(x, p.score_function(x, sigma), "0.82", lw=7, label=f"blurred, σ = {sigma}")
    for seed in range(n_tables):
        X = p.sample(n, random_state=seed)
        model = DenoisingScoreEstimator(sigma, standardize=False, max_steps=steps, random_state=0)
        s = model.fit(X).score_function
        errors.append(np.mean((s(noisy) - exact) ** 2) / np.mean(exact**2))
        left.plot(x, s(x), "C0", lw=1, label="_" * seed + "learnt, a line for each table")
    print(f"E|s - s_σ|² / E|s_σ|²: median {np.median(errors):.4f} of", *np.round(errors, 4))
    parzen = GaussianMixtureDensity(np.full(n, 1 / n), X, np.full(n, sigma**2))
    left.plot(x, parzen.score_function(x), "C1--", label="Parzen, of the last table")
    left.set(title=f"Score from {n} rows", xlabel="x", ylabel="d log p / dx  [1/x]", ylim=(-8, 8))
    left.legend(frameon=False)

    def loss(noise):  # |s(x + σε) + ε/σ|² of 100 rows x, noise ε of shape (100, K)
        score = s((X[:100] + sigma * noise).reshape(-1, 1)).reshape(noise.shape)
        return (score + noise / sigma) ** 2

    ks, gauss = [2, 4, 8, 16, 32, 64], np.polynomial.hermite_e.hermegauss
    means = [loss(rng.randn(100, k * repeats)).reshape(100, -1, k).mean((0, 2)) for k in ks]
    rows = [loss(np.tile(z, (100, 1))) @ w / w.sum() for z, w in map(gauss, ks)]  # E_ε of each row
    right.semilogx(ks, means, "C0o", base=2, alpha=0.25, label=["K draws"] + ["_"] * (repeats - 1))
    bars = {"fmt": "C1D", "capsize": 4, "label": "K-point quadrature ± standard error of $E_x$"}
    right.errorbar(ks, np.mean(rows, 1), np.std(rows, 1) / 10, **bars)
    right.set(title="Objective from 100 rows", xlabel="evaluations a row, K", ylabel="J(s)  [1/x²]")
    right.legend(frameon=False)
    plt.show()


if __name__ == "__main__":
    main(budget=os.environ.get("SKSCORE_BUDGET", "full"))
