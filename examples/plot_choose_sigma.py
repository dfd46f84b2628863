r"""
Choose the noise level
======================

A score learnt at a small noise level is noisy, at a large one blurred. ``score`` of held-out rows
is a constant minus the Fisher divergence, and finds the best:

.. math:: -E\left[\| s_\sigma \|^2 + 2\, \text{tr} \nabla s_\sigma \right]
    = E \| \nabla \log p \|^2 - D_F(p, s_\sigma) .

The denoising loss carries another constant at each σ; on this grid it is least at the largest.
"""

import os

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skscore import DenoisingScoreEstimator
from skscore.datasets import ring_of_gaussians
from skscore.metrics import fisher_divergence


def minus_denoising_loss(model, X, y=None):
    sigma, noise = model.sigma * model.scale_, np.random.RandomState(0).normal(size=X.shape)
    return -np.mean((model.score_function(X + sigma * noise) + noise / sigma) ** 2)


def main(budget="full"):
    n_sigmas, cv, steps = (12, 5, "auto") if budget == "full" else (3, 2, 60)
    p, sigmas = ring_of_gaussians(), np.geomspace(0.01, 1, n_sigmas)
    X, fresh = p.sample(1000, random_state=0), p.sample(10_000, random_state=1)
    scoring = {"fisher": lambda model, X, y=None: model.score(X), "denoising": minus_denoising_loss}
    estimator = DenoisingScoreEstimator(max_steps=steps, random_state=0)
    search = GridSearchCV(estimator, {"sigma": sigmas}, cv=cv, scoring=scoring, refit="fisher")
    results = search.fit(X).cv_results_
    fits = [clone(estimator).set_params(sigma=s).fit(X).score_function for s in sigmas]
    truth = [fisher_divergence(s, p.score_function, fresh) for s in fits]
    loss = -results["mean_test_denoising"]
    chosen = [search.best_params_["sigma"], sigmas[np.argmin(truth)], sigmas[np.argmin(loss)]]
    print("σ by held-out score, by the truth, by denoising loss:", *np.round(chosen, 3))
    fig, axes = plt.subplots(1, 3, figsize=(13, 4.2), layout="constrained")
    mean, error = results["mean_test_fisher"], results["std_test_fisher"] / np.sqrt(cv)
    axes[0].fill_between(sigmas, mean - error, mean + error, color="#33638d", alpha=0.25, lw=0)
    axes[0].semilogx(sigmas, mean, "o-", color="#33638d")
    axes[1].loglog(sigmas, truth, "o-", color="#e8833a")
    axes[2].loglog(sigmas, loss, "o-", color="0.45")
    titles = ["Held-out score ± s.e.", "True Fisher divergence", "Denoising loss: the trap"]
    labels = ["constant − $D_F$  [1/σ²]", "$D_F$  [1/x²]", "loss  [1/x²]"]
    for ax, sigma, title, label in zip(axes, chosen, titles, labels, strict=True):
        ax.axvline(sigma, color="0.2", ls=":")
        ax.set(title=f"{title}: σ = {sigma:.2g}", xlabel="σ  [sd of X]", ylabel=label)
    plt.show()


if __name__ == "__main__":
    main(budget=os.environ.get("SKSCORE_BUDGET", "full"))
