"""Solvers with parameters of their own, as small estimators: ``sampler__churn`` can be searched.

Each is called as ``sampler(score_fn, x, sigmas, generator)``, the call that a sampler of the user's
has to take.
"""

import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from skscore._typing import ScoreFn
from skscore.samplers._ode import edm_sampler, probability_flow
from skscore.samplers._sde import predictor_corrector

__all__ = ["EDMSampler", "PredictorCorrectorSampler", "ProbabilityFlowSampler"]


class ProbabilityFlowSampler(BaseEstimator):
    """The probability flow by a method of one's choice: :func:`probability_flow`.

    Parameters
    ----------
    method : {"heun", "rk4", "rk45"}, default="heun"
        Heun's method, Runge-Kutta of order four, or with steps as ``rtol`` and ``atol`` ask.
    rtol, atol : float, default=1e-4
        Tolerances of "rk45", in standardised units.

    Examples
    --------
    >>> from skscore import NCSNGenerator
    >>> generator = NCSNGenerator(sampler=ProbabilityFlowSampler("rk45"))
    >>> generator.set_params(sampler__rtol=1e-6).sampler
    ProbabilityFlowSampler(method='rk45', rtol=1e-06)
    """

    def __init__(self, method: str = "heun", rtol: float = 1e-4, atol: float = 1e-4) -> None:
        self.method = method
        self.rtol = rtol
        self.atol = atol

    def __call__(
        self,
        score_fn: ScoreFn,
        x: Tensor,
        sigmas: Tensor,
        generator: torch.Generator,
        *,
        return_trajectory: bool = False,
    ) -> Tensor:
        """Walk x (n, d) down the noise levels."""
        return probability_flow(
            score_fn,
            x,
            sigmas,
            method=self.method,
            rtol=self.rtol,
            atol=self.atol,
            return_trajectory=return_trajectory,
        )


class EDMSampler(BaseEstimator):
    """Heun's method with fresh noise before each step: :func:`edm_sampler`.

    Parameters
    ----------
    churn : float, default=10.0
        S_churn, the amount of noise; 0 is Heun's method.
    churn_min, churn_max : float, default=0.05, 5.0
        S_tmin, S_tmax: noise is added at the levels between, in standardised units.
    churn_noise : float, default=1.0
        S_noise: factor of the noise that is added.

    Examples
    --------
    >>> EDMSampler(churn=20.0).get_params()["churn"]
    20.0
    """

    def __init__(
        self,
        churn: float = 10.0,
        churn_min: float = 0.05,
        churn_max: float = 5.0,
        churn_noise: float = 1.0,
    ) -> None:
        self.churn = churn
        self.churn_min = churn_min
        self.churn_max = churn_max
        self.churn_noise = churn_noise

    def __call__(
        self,
        score_fn: ScoreFn,
        x: Tensor,
        sigmas: Tensor,
        generator: torch.Generator,
        *,
        return_trajectory: bool = False,
    ) -> Tensor:
        """Walk x (n, d) down the noise levels."""
        return edm_sampler(
            score_fn,
            x,
            sigmas,
            generator=generator,
            churn=self.churn,
            churn_min=self.churn_min,
            churn_max=self.churn_max,
            churn_noise=self.churn_noise,
            return_trajectory=return_trajectory,
        )


class PredictorCorrectorSampler(BaseEstimator):
    """The reverse diffusion, corrected by Langevin steps: :func:`predictor_corrector`.

    Parameters
    ----------
    predictor : {"euler_maruyama", "ancestral"}, default="euler_maruyama"
        The step from one level to the next.
    n_corrector_steps : int, default=1
        Langevin steps at each level; 0 is the reverse diffusion alone.
    step_size : float, default=0.1
        Their step at the noise level σ, over σ².

    Examples
    --------
    >>> PredictorCorrectorSampler("ancestral").predictor
    'ancestral'
    """

    def __init__(
        self,
        predictor: str = "euler_maruyama",
        n_corrector_steps: int = 1,
        step_size: float = 0.1,
    ) -> None:
        self.predictor = predictor
        self.n_corrector_steps = n_corrector_steps
        self.step_size = step_size

    def __call__(
        self,
        score_fn: ScoreFn,
        x: Tensor,
        sigmas: Tensor,
        generator: torch.Generator,
        *,
        return_trajectory: bool = False,
    ) -> Tensor:
        """Walk x (n, d) down the noise levels."""
        return predictor_corrector(
            score_fn,
            x,
            sigmas,
            generator=generator,
            predictor=self.predictor,
            n_corrector_steps=self.n_corrector_steps,
            step_size=self.step_size,
            return_trajectory=return_trajectory,
        )
