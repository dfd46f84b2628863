"""Log-densities: normalisers of energies by bridge sampling, and likelihoods of noisy paths.

An energy is normalised by :func:`log_normalizer`. The scores of all noise levels have a log-density
by the probability flow, :func:`flow_log_density`, and a cheaper estimate from denoising errors,
:func:`denoising_nll`.
"""

from skscore.likelihood._bridge import (
    BridgeEstimate,
    bridge_sampling,
    log_normalizer,
    normalize_energy,
)
from skscore.likelihood._flow import flow_decode, flow_encode, flow_log_density, flow_sigmas
from skscore.likelihood._held_out import denoising_nll

__all__ = [
    "BridgeEstimate",
    "bridge_sampling",
    "denoising_nll",
    "flow_decode",
    "flow_encode",
    "flow_log_density",
    "flow_sigmas",
    "log_normalizer",
    "normalize_energy",
]
