r"""
Choose the noise level
======================

A score learnt at a small noise level is noisy, at a large one blurred. The score of held-out rows
is a constant minus the Fisher divergence, and finds the best:

.. math:: -E\left[\| s_\sigma \|^2 + 2\, \text{tr} \nabla s_\sigma \right]
    = E \| \nabla \log p \|^2 - D_F(p, s_\sigma) .

The denoising loss carries another constant at each σ; on this grid it is least at the largest.
"""

import os

import matplotlib.pyplot as plt
import numpy as np

from skscore import DenoisingScoreEstimator, DenoisingScoreEstimatorCV
from skscore.datasets import ring_of_gaussians
from skscore.metrics import fisher_divergence
from skscore.plotting import SigmaPathDisplay


def denoising_loss(model, X):
    sigma, noise = model.sigma * model.scale_, np.random.RandomState(0).normal(size=X.shape)
    return np.mean((model.score_function(X + sigma * noise) + noise / sigma) ** 2)


def main(budget="full"):
    n_sigmas, cv, steps = (12, 5, "auto") if budget == "full" else (3, 2, 60)
    p, sigmas = ring_of_gaussians(), np.geomspace(0.01, 1, n_sigmas)
    X, fresh = p.sample(1000, random_state=0), p.sample(10_000, random_state=1)
    # One network per fold prices all noise levels.
    search = DenoisingScoreEstimatorCV(sigmas, cv=cv, max_steps=steps, random_state=0).fit(X)
    # The truth, which data do not know, takes a network for each.
    fits = [DenoisingScoreEstimator(s, max_steps=steps, random_state=0).fit(X) for s in sigmas]
    truth = [fisher_divergence(f.score_function, p.score_function, fresh) for f in fits]
    loss = [denoising_loss(f, fresh) for f in fits]
    print("σ by held-out score:", round(search.sigma_, 3))
    fig, axes = plt.subplots(1, 3, figsize=(13, 4.2), layout="constrained")
    SigmaPathDisplay.from_estimator(search, ax=axes[0], color="#33638d")
    axes[0].set_title("Held-out score")
    titles = ["True Fisher divergence", "Denoising loss of fresh rows: the trap"]
    for ax, path, title in zip(axes[1:], (truth, loss), titles, strict=True):
        best = sigmas[np.argmin(path)]
        ax.loglog(sigmas, path, "o-", color="#e8833a")
        ax.axvline(best, color="0.2", label=f"least: σ = {best:.3g}")
        ax.set(title=title, xlabel="noise level σ", ylabel="$D_F$" if ax is axes[1] else "loss")
        ax.legend()
        print(f"{title}: σ =", round(best, 3))
    plt.show()


if __name__ == "__main__":
    main(budget=os.environ.get("SKSCORE_BUDGET", "full"))
