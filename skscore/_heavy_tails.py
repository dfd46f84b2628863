r"""Denoisers that start from a multivariate t where the rows follow one.

A network that starts from a Gaussian has a score that grows without end, and to learn that of heavy
tails it has few rows, far apart. Where rows follow a multivariate t clearly better than Gaussians,
it starts from the score of that, blurred (:mod:`skscore._student`), and is kept only if it is
clearly better on rows held out.
"""

import math

import torch
from torch import Tensor, nn

from skscore._base import ScoreEstimator
from skscore._selection import ClearlyBetter, Selection
from skscore._student import StudentT, StudentTScore, find_heavy_tails
from skscore._validation import Array
from skscore.networks import PreconditionedScore

__all__ = ["HeavyTailsMixin"]


class HeavyTailsMixin(ScoreEstimator):
    """What an estimator of blurred scores needs for it."""

    _student_t: StudentT | None = None
    degrees_of_freedom_: float

    def _learn(self, z: Array, weights: Array, seed: int, device: torch.device) -> Selection:
        # A network that goes on learning has been learning what to add to this one.
        if not (self.warm_start and hasattr(self, "net_")):
            self._find_start(z, weights, seed)
        return super()._learn(z, weights, seed, device)

    def _find_start(self, z: Array, weights: Array, seed: int) -> None:
        found = None
        if self.parametrization == "preconditioned":
            found = find_heavy_tails(*self._smoothed(z, weights, seed), seed)
        self._student_t = found
        self.degrees_of_freedom_ = math.inf if found is None else found.nu

    def _precondition(self, raw: nn.Module, mean: Tensor, scale: Tensor) -> nn.Module:
        if self._student_t is None:
            return super()._precondition(raw, mean, scale)
        base = StudentTScore(self._student_t)
        return PreconditionedScore(raw, mean, scale, floor=self._floor(), base=base)

    def _make_selection(self, z: Array, seed: int) -> Selection:
        selection = super()._make_selection(z, seed)
        if self._student_t is None or not self._holds_out():
            return selection
        return ClearlyBetter(selection)
