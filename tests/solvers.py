"""What the tests of the solvers share: scores in closed form, and each solver at its simplest."""

import numpy as np
import torch
from sklearn.base import clone

from skscore.gaussians import GaussianMixtureScore
from skscore.noise import (
    EDM,
    SubVariancePreserving,
    VarianceExploding,
    VariancePreserving,
)
from skscore.samplers import (
    annealed_langevin,
    dpm_solver,
    edm_sampler,
    langevin,
    mala,
    predictor_corrector,
    probability_flow,
    repaint,
    reverse_sde,
)

SEED = 0


def generator(seed=SEED):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=SEED, dtype=torch.float64):
    return torch.randn(*shape, generator=generator(seed), dtype=dtype)


def exact_score(density):
    def score(x, sigma):
        return torch.from_numpy(density.score_function(x.numpy(), sigma.numpy()))

    return score


def gaussian_score(variance, mean=0.0):
    return lambda x, sigma: -(x - mean) / (variance + sigma**2)


def gaussian_energy(variance, mean=0.0):
    return lambda x, sigma: ((x - mean).square() / (variance + sigma**2)).sum(1) / 2


class Recorder:
    """A score function that remembers how it was called."""

    def __init__(self, score_fn):
        self.score_fn = score_fn
        self.calls = []

    def __call__(self, x, sigma):
        assert sigma.shape == (len(x), 1)
        assert sigma.dtype == x.dtype
        assert (sigma == sigma[0]).all()
        self.calls.append(sigma[0].item())
        return self.score_fn(x, sigma)


class NormalLaw:
    """N(μ, UΛUᵀ): its score, its probability flow and its denoiser."""

    def __init__(self, mean, covariance):
        self.mean = torch.tensor(mean, dtype=torch.float64)
        self.covariance = torch.tensor(covariance, dtype=torch.float64)
        self.variances, self.axes = torch.linalg.eigh(self.covariance)

    def _stretched(self, x, factors):
        return ((x - self.mean) @ self.axes * factors) @ self.axes.mT

    def score(self, x, sigma):
        return -self._stretched(x, 1 / (self.variances + sigma**2))

    def flow(self, x, sigma_from, sigma_to):
        ratio = (self.variances + sigma_to**2) / (self.variances + sigma_from**2)
        return self.mean + self._stretched(x, ratio.sqrt())

    def denoised(self, x, sigma):
        return self.mean + self._stretched(x, self.variances / (self.variances + sigma**2))


# Their grids are uniform in their own times.
PROCESSES = {
    "edm": EDM,
    "ve": VarianceExploding,
    "vp_linear": lambda **range_: VariancePreserving("linear", **range_),
    "vp_cosine": lambda **range_: VariancePreserving("cosine", **range_),
    "sub_vp": SubVariancePreserving,
}


def measured_order(steps, errors):
    """The p of errors ∝ steps^{-p}."""
    return -np.polyfit(np.log(steps), np.log(np.abs(errors)), 1)[0]


def standardised_mixture(density):
    """The exact score of a toy mixture in coordinates of mean 0 and standard deviation 1."""
    scale = np.sqrt(np.diag(density.covariance))
    arrays = (
        density.weights,
        (density.means - density.mean) / scale,
        density.covariances / np.outer(scale, scale),
    )
    return GaussianMixtureScore(*map(torch.from_numpy, arrays))


def mixture_errors(p, x):
    """Of draws x (n, d) of a mixture p without noise, against what they should be.

    The largest relative error of a standard deviation along the principal axes, with its standard
    error, sd √((κ - 1)/4n) by the kurtosis κ, and the largest error of a component's weight.
    """
    variances, axes = torch.linalg.eigh(p.covariance)
    along = (x - x.mean(0)) @ axes
    sd_error = (along.std(0) / variances.sqrt() - 1).abs().max().item()
    kurtosis = along.pow(4).mean(0) / along.square().mean(0).square()
    standard_error = ((kurtosis.max() - 1) / (4 * len(x))).sqrt().item()

    covariances = (p.axes * p.variances[:, None]) @ p.axes.mT
    components = torch.distributions.MultivariateNormal(p.means, covariances)
    shares = (p.log_weights + components.log_prob(x[:, None])).softmax(1).mean(0)
    return sd_error, standard_error, (shares - p.log_weights.exp()).abs().max().item()


LEVELS = torch.tensor([2.0, 1.0, 0.5], dtype=torch.float64)


def first_given(x):
    given = torch.full_like(x, torch.nan)
    given[:, 0] = x[:, 0] / 4
    return given


# Solvers that go down levels, as functions of score, start and generator.
WALKS = {
    "annealed_langevin": lambda s, x, g, levels=LEVELS, **kwargs: annealed_langevin(
        s, x, levels, n_steps_per_level=3, step_size=0.1, generator=g, **kwargs
    ),
    "dpm_solver": lambda s, x, g, levels=LEVELS, **kwargs: dpm_solver(s, x, levels, **kwargs),
    "edm_sampler": lambda s, x, g, levels=LEVELS, **kwargs: edm_sampler(
        s, x, levels, generator=g, churn=1.0, **kwargs
    ),
    "heun": lambda s, x, g, levels=LEVELS, **kwargs: probability_flow(s, x, levels, **kwargs),
    "rk4": lambda s, x, g, levels=LEVELS, **kwargs: probability_flow(
        s, x, levels, method="rk4", **kwargs
    ),
    "rk45": lambda s, x, g, levels=LEVELS, **kwargs: probability_flow(
        s, x, levels, method="rk45", **kwargs
    ),
    "euler_maruyama": lambda s, x, g, levels=LEVELS, **kwargs: reverse_sde(
        s, x, levels, generator=g, **kwargs
    ),
    "ancestral": lambda s, x, g, levels=LEVELS, **kwargs: reverse_sde(
        s, x, levels, generator=g, method="ancestral", **kwargs
    ),
    "predictor_corrector": lambda s, x, g, levels=LEVELS, **kwargs: predictor_corrector(
        s, x, levels, generator=g, n_corrector_steps=2, **kwargs
    ),
    "repaint": lambda s, x, g, levels=LEVELS, **kwargs: repaint(
        s, x, levels, given=first_given(x), generator=g, n_resamples=3, **kwargs
    ),
}
SOLVERS = WALKS | {
    "langevin": lambda s, x, g, **kwargs: langevin(
        s, x, 0.5, n_steps=5, step_size=0.1, generator=g, **kwargs
    ),
    "mala": lambda s, x, g: mala(
        gaussian_energy(1.0), s, x, 0.5, n_steps=5, step_size=0.1, generator=g
    )[0],
}
WITHOUT_NOISE = ("dpm_solver", "heun", "rk4", "rk45")


def check_estimator(sampler, params, function):
    """That a solver as an estimator is the function (s, x, g, **params) with its parameters.

    ``params`` are other values than the default ones of all parameters.
    """
    x, score_fn, default = 2 * normal(5, 2), gaussian_score(0.3, 1.0), sampler.get_params()
    assert set(params) == set(default)
    drawn = []
    for changes in ({}, *({name: value} for name, value in params.items()), params):
        changed = clone(sampler).set_params(**changes)
        assert changed.get_params() == clone(changed).get_params() == default | changes
        expected = function(score_fn, x, generator(3), **changed.get_params())
        drawn.append(clone(changed)(score_fn, x, LEVELS, generator(3)))
        assert torch.equal(drawn[-1], expected)
        states = changed(score_fn, x, LEVELS, generator(3), return_trajectory=True)
        assert states.shape == (len(LEVELS) + 1, *x.shape)
        assert torch.equal(states[-1], expected)
    assert not torch.equal(drawn[0], drawn[-1])
