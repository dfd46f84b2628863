r"""Solvers: from noise to data along a score function.

Each takes a ``ScoreFn`` s(x, σ), starting points, the noise levels to visit and, where it draws
noise, a ``torch.Generator``, and reads like the algorithm of its paper.

    at one level      langevin, mala
    down the levels   annealed_langevin
                      reverse_sde, predictor_corrector           with fresh noise
                      probability_flow, dpm_solver               without
                      edm_sampler                                as much of it as is asked for
                      repaint                                    with some coordinates given

Those with parameters of their own have a small estimator beside them, for ``sampler=`` of
:class:`~skscore.NCSNGenerator`: ``EDMSampler``, ``PredictorCorrectorSampler``,
``ProbabilityFlowSampler``.
"""

from skscore.samplers._inpainting import repaint
from skscore.samplers._langevin import annealed_langevin, langevin, mala
from skscore.samplers._objects import (
    EDMSampler,
    PredictorCorrectorSampler,
    ProbabilityFlowSampler,
)
from skscore.samplers._ode import (
    dpm_solver,
    edm_sampler,
    flow_velocity,
    probability_flow,
    runge_kutta,
)
from skscore.samplers._sde import predictor_corrector, reverse_sde

__all__ = [
    "EDMSampler",
    "PredictorCorrectorSampler",
    "ProbabilityFlowSampler",
    "annealed_langevin",
    "dpm_solver",
    "edm_sampler",
    "flow_velocity",
    "langevin",
    "mala",
    "predictor_corrector",
    "probability_flow",
    "repaint",
    "reverse_sde",
    "runge_kutta",
]
