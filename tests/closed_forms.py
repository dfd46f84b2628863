"""Models in closed form to test with, and what has to hold for each of them."""

import numpy as np
import pytest
import torch

from skscore.datasets import gaussian_mixture_1d, random_gaussian_mixture
from skscore.divergence import exact_divergence
from skscore.gaussians import GaussianScore
from skscore.objectives import explicit

SEED = 0


def generator(seed=SEED):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=SEED):
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


def levels(x, sigma=0.0):
    return torch.full((len(x), 1), sigma, dtype=x.dtype)


def covariance(d, seed=SEED):
    root = normal(d, d, seed=seed)
    return root @ root.mT / d + 0.2 * torch.eye(d)


def gaussian(d, seed=SEED):
    return GaussianScore(normal(d, seed=seed), covariance(d, seed))


def mixture_rows(d, n, seed=SEED):
    X = random_gaussian_mixture(d, 3, random_state=SEED).sample(n, random_state=seed)
    return torch.from_numpy(X / X.std(0))


def population():
    """Nodes on a line, their probabilities and the true score there, as good as endless rows."""
    density = gaussian_mixture_1d()
    nodes = np.arange(-12, 12, 0.01)[:, None]
    p = 0.01 * np.exp(density.log_density(nodes))
    return map(torch.from_numpy, (nodes, p, density.score_function(nodes)))


def fisher_divergence(model, x, truth):
    return explicit(model, x, levels(x), truth).mean().item()


def check_energy(model, x, sigma):
    """The score is minus the gradient of the energy."""
    x = x.requires_grad_()
    (gradient,) = torch.autograd.grad(model.energy(x, sigma).sum(), x)
    torch.testing.assert_close(model(x, sigma), -gradient, rtol=1e-10, atol=1e-10)


def check_divergence(model, x, sigma):
    """The divergence is the trace of the Jacobian."""
    score, divergence = model.score_and_divergence(x, sigma)
    expected_score, expected = exact_divergence(lambda x, sigma: model(x, sigma), x, sigma)
    torch.testing.assert_close(score, expected_score, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(divergence, expected, rtol=1e-9, atol=1e-9)


def check_rows(model):
    """Rows do not depend on each other, and keep their dtype."""
    x = normal(10, 3)
    together, alone = model(x, levels(x, 0.3)), model(x[4:5], levels(x[4:5], 0.3))
    torch.testing.assert_close(together[4:5], alone, rtol=1e-12, atol=1e-12)
    single, sigma = x.float(), torch.full((10, 1), 0.3)
    score, divergence = model.score_and_divergence(single, sigma)
    assert score.dtype == divergence.dtype == torch.float32
    assert model.energy(single, sigma).dtype == model(single, sigma).dtype == torch.float32
    torch.testing.assert_close(score.double(), together, rtol=1e-4, atol=1e-4)


def check_hyvarinen(model):
    """The explicit objective exceeds the implicit one by the Fisher information."""
    nodes, p, target = population()
    s, divergence = model.score_and_divergence(nodes, levels(nodes))
    explicit_loss = p @ (s - target).square().sum(1)
    implicit_loss = p @ (s.square().sum(1) + 2 * divergence)
    information = (p @ target.square().sum(1)).item()
    assert (explicit_loss - implicit_loss).item() == pytest.approx(information, rel=1e-10)
