r"""What the estimators of one noise level share: a denoising loss, and Langevin dynamics.

On a density with score s the dynamics is stable while the step stays below 4 over the curvature.
The mean curvature along any direction is at most the largest eigenvalue κ of the Fisher information
E[s sᵀ] = -E[∇s], which the training data give; the step is 0.2/κ.
"""

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor

from skscore._base import ScoreEstimator
from skscore._losses import DenoisingLoss, RowLoss
from skscore._selection import LatestNearLowest, Selection
from skscore._validation import Array
from skscore.noise import FixedSigma
from skscore.samplers import langevin

__all__ = ["LangevinEstimator"]

_RELATIVE_STEP = 0.2
_ROWS_FOR_CURVATURE = 2000


class LangevinEstimator(ScoreEstimator):
    """An estimator of one noise level, sampled by unadjusted Langevin dynamics."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **ScoreEstimator._parameter_constraints,
        "sigma": [Interval(Real, 0, None, closed="neither")],
        "n_sampling_steps": [Interval(Integral, 1, None, closed="left")],
        "step_size": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
    }

    sigma_: float

    def _score_sigma(self) -> float:
        return self.sigma_

    def _make_loss(self, sigma_data: float) -> RowLoss:
        return DenoisingLoss(FixedSigma(self.sigma_), sigma_data, mirrored=True)

    def _select_held_out(self) -> Selection:
        return LatestNearLowest()

    def _learn(self, z: Array, weights: Array, seed: int, device: torch.device) -> Selection:
        selection = super()._learn(z, weights, seed, device)
        index = np.linspace(0, len(z) - 1, min(len(z), _ROWS_FOR_CURVATURE)).astype(int)
        part, w = z[index], weights[index] / weights[index].sum()
        score = self._score_z(part, np.full((len(part), 1), self._score_sigma()))
        information = (w[:, None] * score).T @ score
        self.step_size_ = float(_RELATIVE_STEP / np.linalg.eigvalsh(information)[-1])
        return selection

    def _draw(self, n_samples: int, generator: torch.Generator) -> Tensor:
        sigma = self._score_sigma()
        return langevin(
            self._score_fn(),
            self._draw_gaussian(n_samples, sigma, generator),
            sigma,
            n_steps=self.n_sampling_steps,
            step_size=self.step_size_ if self.step_size == "auto" else self.step_size,
            generator=generator,
        )
