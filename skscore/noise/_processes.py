r"""Gaussian noise processes x_t = α_t x_0 + σ_t ε, ε ~ N(0, I), and what they have in common.

Each solves a linear stochastic differential equation, and has a noise level τ_t = σ_t/α_t:

    dx = f_t x dt + g_t dw,     f_t = d ln α_t/dt,     g_t² = α_t² dτ_t²/dt,     SNR_t = 1/τ_t²

In the coordinates x_t/α_t = x_0 + τ_t ε all of them are the same process, which only gets noisier,

    d(x/α) = √(dτ²/dt) dw,      ∇ log p_t(x_t) = s(x_t/α_t, τ_t)/α_t

so one score function s(x, σ), of the data blurred by σ, serves them all. A process decides which
noise levels are trained on and which a solver visits: those of times spread evenly. With
B_t = ∫₀ᵗ β = β_min t + (β_max - β_min) t²/2,

                 α_t            σ_t                       τ_t
    VE           1              σ_min (σ_max/σ_min)^t     σ_t
    VP linear    exp(-B_t/2)    √(1 - α_t²)               √(exp(B_t) - 1)
    VP cosine    cos(πt/2)      sin(πt/2)                 tan(πt/2)
    sub-VP       exp(-B_t/2)    1 - α_t²                  2 sinh(B_t/2)
    EDM          1              t                         t

EDM spreads neither evenly in time: it trains on ln σ ~ N(P_mean, P_std²) and solves on levels
equidistant in σ^(1/ρ).

Sources: Song et al., "Score-based generative modeling through stochastic differential equations",
ICLR 2021 (VE, VP, sub-VP); Salimans & Ho, "Progressive distillation for fast sampling of diffusion
models", ICLR 2022 (cosine); Karras et al., "Elucidating the design space of diffusion-based
generative models", NeurIPS 2022 (EDM; the coordinates x_t/α_t).
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from skscore._typing import ScoreFn
from skscore.noise._checks import check_range
from skscore.noise._grids import karras_sigmas
from skscore.noise._laws import DiscreteSigmas, LogNormalSigma, LogUniformSigma, SigmaLaw

__all__ = [
    "EDM",
    "NoiseProcess",
    "SubVariancePreserving",
    "TimeUniformSigma",
    "VarianceExploding",
    "VariancePreserving",
]


class NoiseProcess(BaseEstimator, ABC):
    """A Gaussian process x_t = α_t x_0 + σ_t ε between two noise levels.

    A subclass has the parameters ``sigma_min`` and ``sigma_max``, the noise levels τ = σ_t/α_t
    between which it is used, and says what α, τ and their rates are. Times are tensors of float64,
    of any shape.
    """

    sigma_min: float
    sigma_max: float

    # What a subclass says.

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """Return α_t, what is left of x_0 at time t."""

    @abstractmethod
    def level(self, t: Tensor) -> Tensor:
        """Return the noise level τ_t = σ_t/α_t, which grows with t."""

    @abstractmethod
    def time(self, level: Tensor) -> Tensor:
        """Return the time t at which the noise level τ_t is the given one."""

    @abstractmethod
    def log_alpha_rate(self, t: Tensor) -> Tensor:
        """Return f_t = d ln α_t/dt."""

    @abstractmethod
    def level_rate(self, t: Tensor) -> Tensor:
        """Return dτ_t/dt."""

    # What follows.

    def sigma(self, t: Tensor) -> Tensor:
        """Return σ_t = α_t τ_t, the standard deviation of the noise in x_t."""
        return self.alpha(t) * self.level(t)

    def snr(self, t: Tensor) -> Tensor:
        """Return the signal-to-noise ratio α_t²/σ_t²."""
        return self.level(t) ** -2.0

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        """Return f_t x, with x of shape (n, d) and t of shape (n, 1)."""
        return self.log_alpha_rate(t) * x

    def diffusion(self, t: Tensor) -> Tensor:
        """Return g_t = α_t √(2 τ_t dτ_t/dt)."""
        return self.alpha(t) * (2 * self.level(t) * self.level_rate(t)).sqrt()

    def time_range(self) -> tuple[float, float]:
        """Return the times at which the noise level is ``sigma_min`` and ``sigma_max``.

        Raises
        ------
        ValueError
            If these are no range, or the process does not reach ``sigma_max``.
        """
        check_range(self.sigma_min, self.sigma_max)
        ends = self.time(torch.tensor([self.sigma_min, self.sigma_max], dtype=torch.float64))
        return ends[0].item(), ends[1].item()

    def prior(self, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and covariance of x_t at the last time, from those of the data.

        Parameters
        ----------
        mean : Tensor of shape (d,)
            μ of the data.
        covariance : Tensor of shape (d, d)
            Σ of the data.

        Returns
        -------
        mean : Tensor of shape (d,)
            α μ.
        covariance : Tensor of shape (d, d)
            α² Σ + σ² I = α² (Σ + sigma_max² I).
        """
        alpha = self.alpha(torch.tensor(self.time_range()[1], dtype=torch.float64)).item()
        eye = torch.eye(len(mean)).to(covariance)
        return alpha * mean, alpha**2 * (covariance + self.sigma_max**2 * eye)

    def to_level(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return x_t/α_t and τ_t, where a ``ScoreFn`` is read; x is (n, d) and t is (n, 1)."""
        return x / self.alpha(t).to(x), self.level(t).to(x)

    def from_level(self, x: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """Return x_t and t of a point x (n, d) at the noise level (n, 1): undo `to_level`."""
        t = self.time(level.double())
        return self.alpha(t).to(x) * x, t

    def score(self, score_fn: ScoreFn, x: Tensor, t: Tensor) -> Tensor:
        """Return ∇ log p_t(x_t) = s(x_t/α_t, τ_t)/α_t.

        Parameters
        ----------
        score_fn : callable (n, d), (n, 1) -> (n, d)
            The score of the blurred data at every noise level.
        x : Tensor of shape (n, d)
            Points x_t of the process.
        t : Tensor of shape (n, 1)
            Times.

        Returns
        -------
        score : Tensor of shape (n, d)
        """
        return score_fn(*self.to_level(x, t)) / self.alpha(t).to(x)

    def sigmas(self, n_levels: int) -> Tensor:
        """Return the noise levels that a solver visits: at times spread evenly.

        Parameters
        ----------
        n_levels : int
            Number of levels, at least 1; a single level is ``sigma_min``.

        Returns
        -------
        sigmas : Tensor of shape (n_levels,), float64, decreasing
            From ``sigma_max`` to ``sigma_min``.

        Raises
        ------
        ValueError
            If n_levels is below 1, or the range of noise levels is none.
        """
        first, last = self.time_range()
        if n_levels < 1:
            raise ValueError(
                f"n_levels={n_levels} is not a number of noise levels; give 1 or more."
            )
        if n_levels == 1:
            return torch.tensor([self.sigma_min], dtype=torch.float64)
        levels = self.level(torch.linspace(last, first, n_levels, dtype=torch.float64))
        levels[0], levels[-1] = self.sigma_max, self.sigma_min
        return levels

    def law(self, n_levels: int | None = None) -> SigmaLaw:
        """Return the law of the noise level in training.

        Parameters
        ----------
        n_levels : int or None, default=None
            None is the level of a time drawn evenly; an integer is that many levels of `sigmas`,
            each as likely as the others.
        """
        if n_levels is not None:
            return DiscreteSigmas(tuple(self.sigmas(n_levels).tolist()))
        return self._continuous_law()

    def _continuous_law(self) -> SigmaLaw:
        return TimeUniformSigma(self)


@dataclass(frozen=True)
class TimeUniformSigma:
    """The noise level of a process at a time that is uniform between those of its two ends.

    Parameters
    ----------
    process : NoiseProcess
        The process.

    Examples
    --------
    >>> law = TimeUniformSigma(VariancePreserving("cosine", sigma_min=0.1, sigma_max=10.0))
    >>> law.quantile(torch.tensor([0.0, 0.5, 1.0]))
    tensor([ 0.1000,  1.0000, 10.0000])
    """

    process: NoiseProcess

    def quantile(self, u: Tensor) -> Tensor:
        """Return τ at the time t_min + u (t_max - t_min)."""
        return self.process.level(self._time(u)).to(u.dtype)

    def slope(self, u: Tensor) -> Tensor:
        """Return (t_max - t_min) dτ/dt at that time."""
        first, last = self.process.time_range()
        return ((last - first) * self.process.level_rate(self._time(u))).to(u.dtype)

    def _time(self, u: Tensor) -> Tensor:
        first, last = self.process.time_range()
        return first + u.double() * (last - first)


class VarianceExploding(NoiseProcess):
    """The process of NCSN in continuous time: σ_t = σ_min (σ_max/σ_min)^t, 0 ≤ t ≤ 1.

    Parameters
    ----------
    sigma_min, sigma_max : float, default=0.02, 10.0
        The smallest and the largest noise level.

    Examples
    --------
    >>> VarianceExploding(0.01, 1.0).sigmas(3)
    tensor([1.0000, 0.1000, 0.0100], dtype=torch.float64)
    """

    def __init__(self, sigma_min: float = 0.02, sigma_max: float = 10.0) -> None:
        self.sigma_min = sigma_min
        self.sigma_max = sigma_max

    def alpha(self, t: Tensor) -> Tensor:
        """Return 1."""
        return torch.ones_like(t)

    def level(self, t: Tensor) -> Tensor:
        """Return σ_min (σ_max/σ_min)^t."""
        return self.sigma_min * (self.sigma_max / self.sigma_min) ** t

    def time(self, level: Tensor) -> Tensor:
        """Return ln(σ/σ_min)/ln(σ_max/σ_min)."""
        return (level / self.sigma_min).log() / math.log(self.sigma_max / self.sigma_min)

    def log_alpha_rate(self, t: Tensor) -> Tensor:
        """Return 0."""
        return torch.zeros_like(t)

    def level_rate(self, t: Tensor) -> Tensor:
        """Return σ_t ln(σ_max/σ_min)."""
        return self.level(t) * math.log(self.sigma_max / self.sigma_min)

    def _continuous_law(self) -> SigmaLaw:
        return LogUniformSigma(self.sigma_min, self.sigma_max)


class EDM(NoiseProcess):
    """The process of Karras et al. (2022), σ_t = t, with its law of training and its grid.

    Parameters
    ----------
    sigma_min, sigma_max : float, default=0.02, 10.0
        The smallest and the largest noise level.
    rho : float, default=7.0
        Solvers visit levels equidistant in σ^(1/ρ).
    P_mean, P_std : float, default=-1.2, 1.2
        Mean and standard deviation of ln σ in training, before it is cut at both ends.

    Examples
    --------
    >>> EDM(0.1, 10.0, rho=1.0).sigmas(3)
    tensor([10.0000,  5.0500,  0.1000], dtype=torch.float64)
    """

    def __init__(
        self,
        sigma_min: float = 0.02,
        sigma_max: float = 10.0,
        rho: float = 7.0,
        P_mean: float = -1.2,
        P_std: float = 1.2,
    ) -> None:
        self.sigma_min = sigma_min
        self.sigma_max = sigma_max
        self.rho = rho
        self.P_mean = P_mean
        self.P_std = P_std

    def alpha(self, t: Tensor) -> Tensor:
        """Return 1."""
        return torch.ones_like(t)

    def level(self, t: Tensor) -> Tensor:
        """Return t."""
        return t.clone()

    def time(self, level: Tensor) -> Tensor:
        """Return σ."""
        return level.clone()

    def log_alpha_rate(self, t: Tensor) -> Tensor:
        """Return 0."""
        return torch.zeros_like(t)

    def level_rate(self, t: Tensor) -> Tensor:
        """Return 1."""
        return torch.ones_like(t)

    def sigmas(self, n_levels: int) -> Tensor:
        """Return n_levels noise levels, float64, from the largest down, equidistant in σ^(1/ρ)."""
        return karras_sigmas(self.sigma_max, self.sigma_min, n_levels, self.rho)

    def _continuous_law(self) -> SigmaLaw:
        return LogNormalSigma(self.sigma_min, self.sigma_max, self.P_mean, self.P_std)


class _Ornstein(NoiseProcess):
    """Processes that forget the data at the rate β_t = β_min + (β_max - β_min) t."""

    beta_min: float
    beta_max: float

    def _integral(self, t: Tensor) -> Tensor:
        """Return B_t."""
        return self.beta_min * t + (self.beta_max - self.beta_min) * t.square() / 2

    def _beta(self, t: Tensor) -> Tensor:
        return self.beta_min + (self.beta_max - self.beta_min) * t

    def _time_of(self, integral: Tensor) -> Tensor:
        """Solve B_t = integral, in the form that does not cancel."""
        slope = self.beta_max - self.beta_min
        root = (self.beta_min**2 + 2 * slope * integral).sqrt()
        return 2 * integral / (self.beta_min + root)

    def _check_betas(self) -> None:
        if not 0 < self.beta_min <= self.beta_max < math.inf:
            raise ValueError(
                f"beta_min={self.beta_min} and beta_max={self.beta_max} are no rates; choose "
                "0 < beta_min <= beta_max."
            )

    def time_range(self) -> tuple[float, float]:
        """Return the times at which the noise level is ``sigma_min`` and ``sigma_max``."""
        first, last = super().time_range()
        if last > 1 + 1e-12:
            highest = self.level(torch.ones((), dtype=torch.float64)).item()
            raise ValueError(
                f"sigma_max={self.sigma_max} is above {highest:.4g}, the noise level of "
                f"{type(self).__name__} at its last time t=1; use a smaller sigma_max, or a larger "
                "beta_max."
            )
        return first, last


class VariancePreserving(_Ornstein):
    """The Ornstein-Uhlenbeck process, α_t² + σ_t² = 1, of DDPM in continuous time.

    Data of unit variance keep it at all times. Only the stretch of time is used at which the noise
    level τ = σ_t/α_t lies between ``sigma_min`` and ``sigma_max``.

    Parameters
    ----------
    schedule : {"linear", "cosine"}, default="linear"
        "linear": β_t grows from ``beta_min`` to ``beta_max``. "cosine": α_t = cos(πt/2).
    beta_min, beta_max : float, default=0.1, 20.0
        Rates of the linear schedule at t = 0 and t = 1; not read with "cosine".
    sigma_min, sigma_max : float, default=0.02, 10.0
        The smallest and the largest noise level τ. At t = 1 the default linear schedule has 152.

    Examples
    --------
    >>> process = VariancePreserving("cosine")
    >>> t = torch.tensor([0.5], dtype=torch.float64)
    >>> (process.alpha(t).square() + process.sigma(t).square()).round(decimals=6)
    tensor([1.], dtype=torch.float64)
    """

    SCHEDULES: ClassVar[tuple[str, ...]] = ("linear", "cosine")

    def __init__(
        self,
        schedule: str = "linear",
        beta_min: float = 0.1,
        beta_max: float = 20.0,
        sigma_min: float = 0.02,
        sigma_max: float = 10.0,
    ) -> None:
        self.schedule = schedule
        self.beta_min = beta_min
        self.beta_max = beta_max
        self.sigma_min = sigma_min
        self.sigma_max = sigma_max

    @property
    def _is_cosine(self) -> bool:
        if self.schedule not in self.SCHEDULES:
            raise ValueError(f"schedule={self.schedule!r} is none of {self.SCHEDULES}.")
        if self.schedule == "linear":
            self._check_betas()
        return self.schedule == "cosine"

    def alpha(self, t: Tensor) -> Tensor:
        """Return exp(-B_t/2) or cos(πt/2)."""
        return (math.pi / 2 * t).cos() if self._is_cosine else (-self._integral(t) / 2).exp()

    def level(self, t: Tensor) -> Tensor:
        """Return √(exp(B_t) - 1) or tan(πt/2)."""
        return (math.pi / 2 * t).tan() if self._is_cosine else self._integral(t).expm1().sqrt()

    def time(self, level: Tensor) -> Tensor:
        """Return the t of B_t = ln(1 + τ²), or 2/π arctan τ."""
        if self._is_cosine:
            return 2 / math.pi * level.atan()
        return self._time_of(level.square().log1p())

    def log_alpha_rate(self, t: Tensor) -> Tensor:
        """Return -β_t/2 or -π/2 tan(πt/2)."""
        return -math.pi / 2 * self.level(t) if self._is_cosine else -self._beta(t) / 2

    def level_rate(self, t: Tensor) -> Tensor:
        """Return (1 + τ²) β_t/2τ or π/2 (1 + τ²)."""
        level = self.level(t)
        rate = math.pi / 2 if self._is_cosine else self._beta(t) / (2 * level)
        return rate * (1 + level.square())

    def diffusion(self, t: Tensor) -> Tensor:
        """Return √β_t or √(π tan(πt/2))."""
        return (math.pi * self.level(t) if self._is_cosine else self._beta(t)).sqrt()


class SubVariancePreserving(_Ornstein):
    """The sub-VP process of Song et al. (2021): α_t of VP, with the smaller σ_t = 1 - α_t².

    Parameters
    ----------
    beta_min, beta_max : float, default=0.1, 20.0
        Rates β_t at t = 0 and t = 1.
    sigma_min, sigma_max : float, default=0.02, 10.0
        The smallest and the largest noise level τ = σ_t/α_t.

    Examples
    --------
    >>> process = SubVariancePreserving()
    >>> t = torch.tensor([0.5], dtype=torch.float64)
    >>> (process.sigma(t) + process.alpha(t).square()).round(decimals=6)
    tensor([1.], dtype=torch.float64)
    """

    def __init__(
        self,
        beta_min: float = 0.1,
        beta_max: float = 20.0,
        sigma_min: float = 0.02,
        sigma_max: float = 10.0,
    ) -> None:
        self.beta_min = beta_min
        self.beta_max = beta_max
        self.sigma_min = sigma_min
        self.sigma_max = sigma_max

    def alpha(self, t: Tensor) -> Tensor:
        """Return exp(-B_t/2)."""
        self._check_betas()
        return (-self._integral(t) / 2).exp()

    def level(self, t: Tensor) -> Tensor:
        """Return 2 sinh(B_t/2)."""
        self._check_betas()
        return 2 * (self._integral(t) / 2).sinh()

    def time(self, level: Tensor) -> Tensor:
        """Return the t of B_t = 2 arsinh(τ/2)."""
        self._check_betas()
        return self._time_of(2 * (level / 2).asinh())

    def log_alpha_rate(self, t: Tensor) -> Tensor:
        """Return -β_t/2."""
        return -self._beta(t) / 2

    def level_rate(self, t: Tensor) -> Tensor:
        """Return β_t cosh(B_t/2)."""
        return self._beta(t) * (self._integral(t) / 2).cosh()
