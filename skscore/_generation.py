r"""How a generator draws rows: the solver, the blocks, guides and given cells.

Rows are drawn in blocks of a fixed size, each from a generator of its own that the seed and the
number of the block decide, and the last block is cut. So memory does not grow with the number of
rows, and the first rows of a seed are the same however many are asked for.

A guide g adds to the score of the data that of what is wanted of them,

    ∇ log p_σ(x | wanted) = s(x, σ) + ∇ log g(x, σ).
"""

import math
from collections.abc import Callable
from inspect import signature
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor
from tqdm.auto import tqdm

from skscore._base import ScoreEstimator
from skscore._inference import PART, to_numpy
from skscore._typing import ScoreFn
from skscore._validation import (
    Array,
    RandomState,
    block_seed,
    check_device,
    check_n_samples,
    draw_seed,
    torch_generator,
)
from skscore.noise import NoiseProcess, geometric_sigmas
from skscore.samplers import (
    EDMSampler,
    PredictorCorrectorSampler,
    ProbabilityFlowSampler,
    annealed_langevin,
    dpm_solver,
    langevin,
    repaint,
)

__all__ = ["SAMPLERS", "BlockDraw", "Generation"]

# The largest ratio of neighbouring levels where a Langevin chain has to follow them.
_LEVEL_RATIO = math.sqrt(2)
_STEP_SIZE = 0.2
_INPAINTING_STEPS = 50

Sampler = Callable[..., Tensor]
# Called with the start of a block, its given cells, NaN where there are none, or None, and a
# generator; returns the rows, or all states.
BlockDraw = Callable[[Tensor, Tensor | None, torch.Generator], Tensor]


class _Choice(NamedTuple):
    """A solver by name: how many steps it takes by default, and, if it walks a grid, itself."""

    n_steps: int
    solver: Sampler | None = None


def _deterministic(
    score_fn: ScoreFn, x: Tensor, sigmas: Tensor, generator: torch.Generator, **options: Any
) -> Tensor:
    return dpm_solver(score_fn, x, sigmas, **options)


SAMPLERS = {
    "dpm_solver": _Choice(24, _deterministic),
    "heun": _Choice(18, ProbabilityFlowSampler("heun")),
    "rk45": _Choice(24, ProbabilityFlowSampler("rk45")),
    "edm": _Choice(40, EDMSampler()),
    "reverse_sde": _Choice(200, PredictorCorrectorSampler(n_corrector_steps=0)),
    "ancestral": _Choice(200, PredictorCorrectorSampler("ancestral", n_corrector_steps=0)),
    "predictor_corrector": _Choice(100, PredictorCorrectorSampler()),
    "annealed_langevin": _Choice(20),
    "langevin": _Choice(1000),
}


class Generation(ScoreEstimator):
    """Drawing rows from a fitted score of all noise levels."""

    sampler: Any
    n_sampling_steps: int | str
    step_size: float | str
    n_levels_: int | None
    sigma_min_: float
    sigma_max_: float

    def _process(self) -> NoiseProcess:
        """Return the noise process that solvers follow."""
        raise TypeError(f"{type(self).__name__} does not say which noise it follows.")

    def sample(
        self,
        n_samples: int = 1,
        random_state: RandomState = None,
        *,
        conditions: Any = None,
        guidance: Callable[[Tensor, Tensor], Tensor] | None = None,
        return_trajectory: bool = False,
    ) -> Any:
        """Draw rows from the fitted density, whole or given some of their cells.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows; not with ``conditions``.
        random_state : int, RandomState or None, default=None
            Seed; None draws afresh. The first rows of a seed do not depend on ``n_samples``.
        conditions : array-like or DataFrame of shape (n_rows, n_features), default=None
            Rows with NaN in the cells to be drawn. One row comes back for each, its given cells
            as they are and the others drawn given these, by RePaint [1]_: only roughly from their
            conditional law, and with 10 times ``n_sampling_steps`` evaluations, "auto" being 50
            steps. ``sampler`` is not used then. A generator fitted with categories among its
            ``feature_groups`` has learnt these conditional laws: it is told what is given, and
            sampled as ever. There all features of a column are given, or none.
        guidance : callable, default=None
            A guide towards what is wanted: called with x, a Tensor (n, n_features) of float64 in
            the units of X, and sigma (n, 1), the noise level in the units of ``sigma_min``. It
            returns log g(x, σ), a Tensor (n,) that torch can differentiate, or its gradient with
            respect to x, (n, n_features). Exact if g is the likelihood of what is wanted given the
            *noisy* row.
        return_trajectory : bool, default=False
            Whether to return the way from noise to rows, too.

        Returns
        -------
        X : ndarray or DataFrame of shape (n_samples, n_features)
            Like the training data: the same container, columns and dtypes, integers rounded, and
            columns with noise in their steps brought back to these.
        trajectory : ndarray of shape (n_states, n_samples, n_features)
            Only with ``return_trajectory``: the states of the solver, from the start to the rows.

        Raises
        ------
        ValueError
            If n_samples is not a positive integer, is given beside ``conditions``, or what the
            sampler or the guide returns has another shape.
        FloatingPointError
            If the sampler diverges.

        References
        ----------
        .. [1] A. Lugmayr et al., "RePaint: inpainting using denoising diffusion probabilistic
           models", CVPR 2022.
        """
        check_is_fitted(self)
        given = None
        if conditions is not None:
            if n_samples != 1:
                raise ValueError(
                    f"n_samples={n_samples!r} was given beside conditions, which have one row for "
                    "each that is drawn; repeat the rows of conditions instead."
                )
            given = validate_data(
                self, conditions, dtype=np.float64, reset=False, ensure_all_finite="allow-nan"
            )
            self._check_given(given)
            n_samples = len(given)
        n_samples = check_n_samples(n_samples)
        states = self._draw_blocks(
            n_samples, draw_seed(random_state), given, guidance, all_states=return_trajectory
        )
        rows = self._rows_of(states[-1])
        if given is not None:
            rows = np.where(np.isnan(given), rows, given)
        X = self.container_.wrap(rows)
        if not return_trajectory:
            return X
        return X, np.stack([self._from_z(to_numpy(state)) for state in states])

    def _check_given(self, given: Array) -> None:
        """Raise if rows (n, n_features), NaN in cells to be drawn, are none to draw from."""

    def _draw_blocks(
        self,
        n_samples: int,
        seed: int,
        given: Array | None,
        guidance: Callable[[Tensor, Tensor], Tensor] | None,
        *,
        all_states: bool,
    ) -> Tensor:
        """Return the last state of each row, or all, (n_states, n_samples, d), in units of z."""
        device = check_device(self.device)
        draw = self._block_draw(guidance, all_states=all_states)
        z_given = None
        if given is not None:
            z_given = self._tensor(self._to_z(given))
            z_given = torch.cat([z_given, z_given[-1:].expand(-len(given) % PART, -1)])
        blocks = []
        with tqdm(total=n_samples, desc="sampling", unit="row", disable=not self.verbose) as bar:
            for k in range(-(-n_samples // PART)):
                generator = torch_generator(block_seed(seed, k), device)
                x = self._draw_gaussian(PART, self.sigma_max_, generator)
                part = None if z_given is None else z_given[k * PART : (k + 1) * PART]
                states = draw(x, part, generator)
                blocks.append(states if all_states else states[None])
                bar.update(min(PART, n_samples - k * PART))
        return torch.cat(blocks, dim=1)[:, :n_samples]

    def _block_draw(
        self, guidance: Callable[[Tensor, Tensor], Tensor] | None, *, all_states: bool
    ) -> BlockDraw:
        """Return how the rows of one block are drawn from their start."""
        score_fn = self._score_fn()
        if guidance is not None:
            score_fn = self._guided(score_fn, guidance)
        solve = self._solver()

        def draw(x: Tensor, given: Tensor | None, generator: torch.Generator) -> Tensor:
            if given is None:
                return solve(score_fn, x, generator, all_states=all_states)
            return repaint(
                score_fn,
                x,
                self._process().sigmas(self._n_steps(_INPAINTING_STEPS)),
                given=given,
                generator=generator,
                return_trajectory=all_states,
            )

        return draw

    def _solver(self) -> Sampler:
        """Return the sampler as a function of a score, a start, a generator and all_states."""
        if isinstance(self.sampler, str):
            n_default, solver = SAMPLERS[self.sampler]
            if solver is None:
                return self._langevin_solver(self._n_steps(n_default))
        else:
            n_default, solver = SAMPLERS["dpm_solver"].n_steps, self.sampler
        sigmas = self._process().sigmas(self._n_steps(n_default))

        def solve(
            score_fn: ScoreFn, x: Tensor, generator: torch.Generator, *, all_states: bool
        ) -> Tensor:
            options = {"return_trajectory": True} if all_states else {}
            if all_states and not _takes_trajectory(solver):
                raise ValueError(
                    f"sampler={self.sampler!r} has no parameter return_trajectory, so the way of "
                    "the rows is not known; leave return_trajectory=False."
                )
            drawn = solver(score_fn, x, sigmas, generator, **options)
            if not isinstance(drawn, Tensor) or drawn.shape[-2:] != x.shape:
                raise ValueError(
                    f"sampler={self.sampler!r} returned {getattr(drawn, 'shape', type(drawn))}; it "
                    f"has to return a tensor of shape {tuple(x.shape)}."
                )
            return drawn.to(x)

        return solve

    def _langevin_solver(self, n_steps: int) -> Sampler:
        levels = self._chain_sigmas()

        def solve(
            score_fn: ScoreFn, x: Tensor, generator: torch.Generator, *, all_states: bool
        ) -> Tensor:
            if self.sampler == "annealed_langevin":
                return annealed_langevin(
                    score_fn,
                    x,
                    levels,
                    n_steps_per_level=n_steps,
                    step_size=self.step_size,
                    generator=generator,
                    return_trajectory=all_states,
                )
            step_size = _STEP_SIZE if self.step_size == "auto" else float(self.step_size)
            return langevin(
                score_fn,
                x,
                self.sigma_min_,
                n_steps=n_steps,
                step_size=step_size * self.sigma_min_**2,
                generator=generator,
                return_trajectory=all_states,
            )

        return solve

    def _n_steps(self, default: int) -> int:
        return default if self.n_sampling_steps == "auto" else int(self.n_sampling_steps)

    def _chain_sigmas(self) -> Tensor:
        """Return the levels of annealed Langevin dynamics: those trained on, or close ones."""
        if self.n_levels_ is not None:
            return self._process().sigmas(self.n_levels_)
        n_levels = 1 + math.ceil(math.log(self.sigma_max_ / self.sigma_min_, _LEVEL_RATIO))
        return geometric_sigmas(self.sigma_max_, self.sigma_min_, n_levels)

    def _guided(self, score_fn: ScoreFn, guidance: Callable[[Tensor, Tensor], Tensor]) -> ScoreFn:
        """Add the gradient of a guide, which lives in the units of X, to a score of z."""
        mean, scale = self._tensor(self.mean_), self._tensor(self.scale_)
        varying = torch.from_numpy(~self.constant_).to(mean.device)

        def guided(z: Tensor, sigma: Tensor) -> Tensor:
            x = mean.repeat(len(z), 1)
            x[:, varying] += z * scale[varying]
            with torch.enable_grad():
                x.requires_grad_()
                guide = guidance(x, sigma)
                shape = tuple(getattr(guide, "shape", ()))
                if shape == (len(x),):
                    if not guide.requires_grad:
                        raise ValueError(
                            "guidance returned values that do not depend on x by torch's "
                            "operations; compute log g(x, σ) with torch, or return its gradient."
                        )
                    (guide,) = torch.autograd.grad(guide.sum(), x)
                elif shape != tuple(x.shape):
                    raise ValueError(
                        f"guidance returned {shape or type(guide).__name__}; it has to return "
                        f"log g, ({len(x)},), or its gradient, {tuple(x.shape)}."
                    )
            return score_fn(z, sigma) + guide.detach()[:, varying].to(z) * scale[varying]

        return guided

    def _sampling_remedy(self) -> str:
        return (
            "The sampler diverged; use a smaller step_size with the Langevin samplers, more "
            "n_sampling_steps, or a guidance that is less steep."
        )


def _takes_trajectory(solver: Sampler) -> bool:
    parameters = signature(solver).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return takes_any or "return_trajectory" in parameters
