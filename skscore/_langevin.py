r"""What the estimators of one noise level share: a denoising loss, and Langevin dynamics.

On a density with score s the dynamics is stable while the step stays below 4 over the curvature.
The mean curvature along any direction is at most the largest eigenvalue κ of the Fisher information
E[s sᵀ] = -E[∇s], which the training data give; the step is 0.2/κ.

Each row is the end of a chain of its own, up to 10 000; a few more than are asked for tell whether
the chains agree (:mod:`skscore._chains`).
"""

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor

from skscore._base import ScoreEstimator
from skscore._batches import Rows
from skscore._chains import DISAGREEMENT, SamplingReport, run_chains
from skscore._losses import DenoisingLoss, RowLoss
from skscore._selection import LatestNearLowest, Selection
from skscore._validation import Array, warn
from skscore.noise import FixedSigma

__all__ = ["LangevinEstimator", "chain_lengths", "n_chains_for"]

_RELATIVE_STEP = 0.2
_ROWS_FOR_CURVATURE = 2000
_MIN_CHAINS, _MAX_CHAINS = 50, 10_000
_N_STATES = 20


class LangevinEstimator(ScoreEstimator):
    """An estimator of one noise level, sampled by unadjusted Langevin dynamics."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **ScoreEstimator._parameter_constraints,
        "sigma": [Interval(Real, 0, None, closed="neither")],
        "n_sampling_steps": [Interval(Integral, 1, None, closed="left")],
        "step_size": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
    }

    sigma_: float
    sampling_report_: SamplingReport

    def _score_sigma(self) -> float:
        return self.sigma_

    def _make_loss(self, rows: Rows, sigma_data: float) -> RowLoss:
        return DenoisingLoss(FixedSigma(self.sigma_), sigma_data, mirrored=True)

    def _select_held_out(self) -> Selection:
        return LatestNearLowest()

    def _learn(self, z: Array, weights: Array, seed: int, device: torch.device) -> Selection:
        selection = super()._learn(z, weights, seed, device)
        index = np.linspace(0, len(z) - 1, min(len(z), _ROWS_FOR_CURVATURE)).astype(int)
        part, w = self._smoothed(z[index], weights[index], seed)
        score = self._score_z(part, np.full((len(part), 1), self._score_sigma()))
        information = ((w / w.sum())[:, None] * score).T @ score
        self.step_size_ = float(_RELATIVE_STEP / np.linalg.eigvalsh(information)[-1])
        return selection

    def _draw(self, n_samples: int, generator: torch.Generator) -> Tensor:
        sigma, n_chains = self._score_sigma(), n_chains_for(n_samples)
        n_warmup, n_steps_between = chain_lengths(self._n_sampling_steps())
        drawn, report = run_chains(
            self._score_fn(),
            None,
            self._draw_gaussian(n_chains, sigma, generator),
            sigma,
            n_samples=n_samples,
            n_warmup=n_warmup,
            n_steps_between=n_steps_between,
            step_size=self.step_size_ if self.step_size == "auto" else self.step_size,
            generator=generator,
        )
        return self._reported(drawn, report)

    def _n_sampling_steps(self) -> int:
        return int(self.n_sampling_steps)

    def _reported(self, drawn: Tensor, report: SamplingReport) -> Tensor:
        self.sampling_report_ = report
        if report.split_rhat > DISAGREEMENT and drawn.isfinite().all():
            warn(
                f"The chains do not agree: split R̂ = {report.split_rhat:.3g} is above "
                f"{DISAGREEMENT}. Where modes are apart, chains stay in the mode where they start, "
                "and the sample does not know how many rows belong to each; use NCSNGenerator, "
                "which joins the modes by noise. Where they are not, use more n_sampling_steps.",
                ConvergenceWarning,
            )
        return drawn


def n_chains_for(n_samples: int) -> int:
    """Return the number of chains: one a row, but no fewer than can be compared."""
    return int(np.clip(n_samples, _MIN_CHAINS, _MAX_CHAINS))


def chain_lengths(n_steps: int) -> tuple[int, int]:
    """Split the steps of a chain: half to warm up, and the rest between 20 states."""
    n_warmup = n_steps // 2
    return n_warmup, max(1, (n_steps - n_warmup) // _N_STATES)
