"""Densities that are a mixture over one hidden number, by quadrature.

    p_σ(x) = ∫ f_σ(x, t) dt,       ∇ log p_σ(x) = ∫ ∇_x f_σ(x, t) dt / p_σ(x)

Gauss-Legendre panels cover the interval where log f_σ is within 40 nats of its peak, found row by
row. Where a coordinate x_1 ~ N(0, s²) is blurred, t is its clean value u in the standard units of
the posterior,

    N(u; 0, s²) N(x_1; u, σ²) du = N(x_1; 0, s² + σ²) N(t; 0, 1) dt,
    u = ρ x_1 + σ √ρ t,   ρ = s² / (s² + σ²),

so that nothing cancels as σ falls, and σ = 0, t = 0 gives the closed form of the clean density.
"""

from abc import abstractmethod

import numpy as np
from numpy.polynomial.legendre import leggauss

from skscore.datasets._base import LOG_2PI, Array, ToyDensity, log_normal, mix

DROP = 40.0  # e⁻⁴⁰ ≈ 4e-18: what lies further below the peak is lost in rounding anyway
_PASSES, _GRID = 4, np.linspace(0, 1, 33)


def _composite_legendre(panels: int, order: int) -> tuple[Array, Array]:
    """Return nodes in (0, 1) and log-weights of a composite Gauss-Legendre rule."""
    x, w = leggauss(order)
    nodes = (np.arange(panels)[:, None] + (x + 1) / 2) / panels
    return nodes.ravel(), np.tile(np.log(w / (2 * panels)), panels)


_NODES, _LOG_WEIGHTS = _composite_legendre(panels=14, order=12)


class HiddenNumberDensity(ToyDensity):
    """A density p_σ(x) = ∫ f_σ(x, t) dt, integrated over a few branches of t.

    On each branch log f must have one peak, inside or at an end, or be negligible.
    """

    @abstractmethod
    def _branches(self, X: Array, sigma: Array) -> list[tuple[Array, Array]]:
        """Return intervals of t, each a lower and an upper end (n,), that hold all that counts."""

    @abstractmethod
    def _joint(self, X: Array, sigma: Array, t: Array) -> tuple[Array, Array]:
        """Return log f_σ(x, t) (n, K) and its gradient in x (n, K, d), for t of shape (n, K)."""

    def _blurred(self, X: Array, sigma: Array) -> tuple[Array, Array]:
        parts = [self._integrate(X, sigma, lo, hi) for lo, hi in self._branches(X, sigma)]
        log_p, score = zip(*parts, strict=True)
        return mix(np.stack(log_p, 1), np.stack(score, 1))

    def _integrate(self, X: Array, sigma: Array, lo: Array, hi: Array) -> tuple[Array, Array]:
        for _ in range(_PASSES):
            t = lo[:, None] + (hi - lo)[:, None] * _GRID
            log_f = self._joint(X, sigma, t)[0]
            counts = log_f > log_f.max(1, keepdims=True) - DROP
            # One cell more on either side: the peak may lie between two nodes.
            first = np.maximum(counts.argmax(1) - 1, 0)
            last = len(_GRID) - 1 - np.maximum(counts[:, ::-1].argmax(1) - 1, 0)
            rows = np.arange(len(t))
            lo, hi = t[rows, first], t[rows, last]
        width = np.maximum(hi - lo, np.finfo(np.float64).tiny)
        log_f, grad = self._joint(X, sigma, lo[:, None] + width[:, None] * _NODES)
        return mix(log_f + _LOG_WEIGHTS + np.log(width)[:, None], grad)


class HiddenNormalDensity(HiddenNumberDensity):
    """A density with x_1 ~ N(0, scale²) whose clean value u rules the other coordinates."""

    scale: float

    @abstractmethod
    def _rest(self, X: Array, sigma: Array, u: Array) -> tuple[Array, Array, Array]:
        """Return the log-density (n, K) of x_2, ... given u (n, K), and its gradients.

        They are in u, (n, K), and in x_2, ..., (n, K, d - 1).
        """

    @abstractmethod
    def _rest_bound(self, X: Array, sigma: Array) -> Array:
        """Return an upper bound (n,), over u, on the log-density of x_2, ... given u."""

    def _posterior(self, X: Array, sigma: Array) -> tuple[Array, Array, Array]:
        """Return ρ and the mean and standard deviation of u given x_1, each (n, 1)."""
        rho = self.scale**2 / (self.scale**2 + sigma[:, None] ** 2)
        return rho, rho * X[:, :1], sigma[:, None] * np.sqrt(rho)

    def _joint(self, X: Array, sigma: Array, t: Array) -> tuple[Array, Array]:
        rho, mean, std = self._posterior(X, sigma)
        log_rest, grad_u, grad_rest = self._rest(X, sigma, mean + std * t)
        x, variance = X[:, :1], self.scale**2 + sigma[:, None] ** 2
        log_f = log_rest + log_normal(x, variance) + log_normal(t, 1.0)
        grad_first = rho * grad_u - x / variance  # at fixed t, u moves with x_1
        return log_f, np.concatenate([grad_first[..., None], grad_rest], -1)

    def _clean(self, X: Array) -> tuple[Array, Array]:
        log_f, grad = self._joint(X, np.zeros(len(X)), np.zeros((len(X), 1)))
        return log_f[:, 0] + 0.5 * LOG_2PI, grad[:, 0]

    def _branches(self, X: Array, sigma: Array) -> list[tuple[Array, Array]]:
        # log f ≤ bound - t²/2, and the peak is no lower than log f at t = 0.
        _, mean, std = self._posterior(X, sigma)
        gain = self._rest_bound(X, sigma) - self._rest(X, sigma, mean)[0][:, 0]
        end = np.sqrt(2 * (np.maximum(gain, 0) + DROP))
        split = np.clip(-mean[:, 0] / std[:, 0], -end, end)  # where u = 0
        return [(-end, split), (split, end)]
