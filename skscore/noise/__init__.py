r"""Noise: processes that blur the data, laws of the noise level to train on, grids to solve on.

The noise level of a process x_t = α_t x_0 + σ_t ε is σ_t/α_t, a standard deviation in the units of
the data, for in the coordinates x_t/α_t every such process is x_0 + σ ε.
"""

from skscore.noise._checks import check_range
from skscore.noise._grids import geometric_sigmas, karras_sigmas
from skscore.noise._laws import (
    DiscreteSigmas,
    FixedSigma,
    LogNormalSigma,
    LogUniformSigma,
    SigmaLaw,
    stratified_uniform,
)
from skscore.noise._ncsnv2 import (
    langevin_step_size,
    largest_distance,
    level_ratio,
    n_levels_for,
)
from skscore.noise._processes import (
    EDM,
    NoiseProcess,
    SubVariancePreserving,
    TimeUniformSigma,
    VarianceExploding,
    VariancePreserving,
)

__all__ = [
    "EDM",
    "DiscreteSigmas",
    "FixedSigma",
    "LogNormalSigma",
    "LogUniformSigma",
    "NoiseProcess",
    "SigmaLaw",
    "SubVariancePreserving",
    "TimeUniformSigma",
    "VarianceExploding",
    "VariancePreserving",
    "check_range",
    "geometric_sigmas",
    "karras_sigmas",
    "langevin_step_size",
    "largest_distance",
    "level_ratio",
    "n_levels_for",
    "stratified_uniform",
]
