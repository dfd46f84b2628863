"""Toy densities that know their own log-density and score, clean and blurred.

Blurring by σ ε, ε ~ N(0, I), turns a density p into p_σ = p * N(0, σ² I). Each density gives
log p_σ(x) in nats and the score ∇_x log p_σ(x) for any σ ≥ 0, a standard deviation: a Gaussian
mixture in closed form, the others by quadrature over one hidden number, to rounding error.

Sources: Song & Ermon, "Generative modeling by estimating gradients of the data distribution",
NeurIPS 2019 (two modes); Haario, Saksman & Tamminen, "Adaptive proposal distribution for random
walk Metropolis algorithm", Comput. Stat. 1999 (banana); Neal, "Slice sampling", Ann. Stat. 2003
(funnel); Kotz & Nadarajah, "Multivariate t-distributions and their applications", 2004.
"""

from skscore.datasets._base import ToyDensity
from skscore.datasets._mixtures import (
    GaussianMixtureDensity,
    gaussian_mixture_1d,
    random_gaussian_mixture,
    ring_of_gaussians,
    two_modes,
)
from skscore.datasets._shapes import Banana, CorrelatedT, Funnel, TwoMoons

__all__ = [
    "Banana",
    "CorrelatedT",
    "Funnel",
    "GaussianMixtureDensity",
    "ToyDensity",
    "TwoMoons",
    "gaussian_mixture_1d",
    "random_gaussian_mixture",
    "ring_of_gaussians",
    "two_modes",
]
