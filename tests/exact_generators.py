"""Generators whose network is the exact score of a known density, fitted by the public way."""

import numpy as np
import torch

from skscore import NCSNGenerator
from skscore.datasets import random_gaussian_mixture
from skscore.gaussians import GaussianMixtureScore


class Exact(torch.nn.Module):
    """The score of a mixture as a network; its one parameter is there to be trained."""

    def __init__(self, density):
        super().__init__()
        self.score = density
        self.factor = torch.nn.Parameter(torch.ones(()))

    def forward(self, x, sigma):
        return self.factor * self.score(x, sigma)


def mixture(d, seed=0):
    """A mixture of unit variances and mean zero."""
    density = random_gaussian_mixture(d, 3, random_state=seed)
    w, means, covariances = (
        torch.from_numpy(np.asarray(a, dtype=np.float64))
        for a in (density.weights, density.means, density.covariances)
    )
    scale = GaussianMixtureScore(w, means, covariances).covariance.diagonal().sqrt()
    return GaussianMixtureScore(
        w, (means - w @ means) / scale, covariances / scale / scale[:, None]
    )


def gaussian(covariance):
    d = len(covariance)
    return GaussianMixtureScore(torch.ones(1), torch.zeros(1, d), torch.as_tensor(covariance)[None])


def draws(density, n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return density.sample(n, 0.0, generator).numpy()


def exact_generator(density, X=None, **params):
    """Return a generator that knows the density, with the moments of X or of centred draws."""
    options = {
        "module": Exact(density),
        "parametrization": "score",
        "standardize": False,
        "max_steps": 1,
        "lr": 1e-12,
        "early_stopping": False,
        "random_state": 0,
        **params,
    }
    if X is None:
        # The network sees rows less their mean, and the density has the mean 0.
        X = draws(density, 20_000)
        X = X - X.mean(axis=0)
    return NCSNGenerator(**options).fit(X)
