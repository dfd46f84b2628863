r"""
Noise level and bandwidth
=========================

Rows blurred by noise have a density in closed form, that of ``KernelDensity`` with the bandwidth σ:
no network, and the same question. Two scorers answer it on held-out rows. The log-likelihood asks
where the mass is, the Fisher divergence where it rises and falls,

.. math:: E \log p - E \log p_\sigma = D_{KL}(p, p_\sigma), \qquad
    E \| \nabla \log p - \nabla \log p_\sigma \|^2 = D_F(p, p_\sigma) .

A score can be wrong where the density is nearly right, at the bumps between single rows, so the
second wants more noise.
"""

import os

import matplotlib.pyplot as plt
import numpy as np
from scipy.special import softmax
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity

from skscore.datasets import ring_of_gaussians
from skscore.metrics import fisher_divergence
from skscore.model_selection import fisher_divergence_scorer, log_likelihood_scorer
from skscore.plotting import SigmaPathDisplay


class BlurredRows(KernelDensity):
    """``score_function`` is all that the scorer asks for."""

    def score_function(self, X):
        rows = np.asarray(self.tree_.data)
        squares = ((X[:, None] - rows) ** 2).sum(axis=2)
        share = softmax(-squares / (2 * self.bandwidth**2), axis=1)
        return (share @ rows - X) / self.bandwidth**2


def main(budget="full"):
    n, n_sigmas = (1000, 16) if budget == "full" else (200, 6)
    p, sigmas = ring_of_gaussians(), np.geomspace(0.02, 0.3, n_sigmas)
    X, fresh = p.sample(n, random_state=0), p.sample(4 * n, random_state=1)
    scoring = {"Fisher": fisher_divergence_scorer, "likelihood": log_likelihood_scorer}
    grid = {"bandwidth": sigmas}
    search = GridSearchCV(BlurredRows(), grid, scoring=scoring, refit="Fisher", cv=10).fit(X)
    fits = [BlurredRows(bandwidth=s).fit(X) for s in sigmas]
    d_f = [fisher_divergence(f.score_function, p.score_function, fresh) for f in fits]
    d_kl = [(p.log_density(fresh) - f.score_samples(fresh)).mean() for f in fits]
    fig, axes = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    for ax, metric, divergence in zip(axes, scoring, (d_f, d_kl), strict=True):
        display = SigmaPathDisplay.from_search(
            search, param_name="bandwidth", metric=metric, ax=ax, color="#33638d"
        )
        truth = ax.twinx()
        truth.plot(sigmas, divergence, color="#e8833a")
        truth.set_ylabel("true divergence", color="#e8833a")
        truth.set_ylim(0, 3 * np.median(divergence))
        best = sigmas[np.argmin(divergence)]
        ax.set_title(f"{metric}: σ = {display.sigma_min_:.2g}, truth {best:.2g}")
        print(metric, "chooses", round(display.sigma_min_, 3), "and the truth", round(best, 3))
    plt.show()


if __name__ == "__main__":
    main(budget=os.environ.get("SKSCORE_BUDGET", "full"))
