r"""Networks whose output is an energy, and the score that it has.

With p_σ ∝ exp(-E(x, σ)) the score s = -∇E is a gradient at every σ: no field that turns on itself
is learnt, and differences of E are differences of log density. With μ_j and λ_j the mean and the
standard deviation of feature j, f a raw scalar network and u = (x - μ)/√(λ² + σ²),

    E(x, σ) = ½ Σ_j u_j² - c f(u, σ)
    s(x, σ) = -∇E = -(x - μ)/(λ² + σ²) + c ∇f(u, σ)/√(λ² + σ²)

    denoising    c = λ̄/σ,  λ̄² = mean_j λ_j²      σ > 0
    clean data   c = 1                            σ ≥ 0

so that f = 0 is a Gaussian fitted to the data. c is a number a row, never one a feature, else s
were no gradient. Beside s = -(x - μ)/(λ² + σ²) + c_out F of :mod:`skscore.networks`, the gradient
has to produce F for clean data and (λ_j/λ̄) F_j for a denoiser. Of a denoiser an F of unit variance
is asked, so that the mean over features of E(∂f/∂u_j)² is 1 at every σ, and each of them where all
λ_j are equal.

For the layers of :mod:`skscore.networks`, with the tangents P_ij = W_i ∂h_{i-1}/∂u_j and f = w·h_L,
one pass back and one of all directions forward give

    g_L = w      g_{i-1} = W_iᵀ(φ'_i g_i) (+ g_i)                ∂f/∂u = g_0
    ∂²f/∂u_j² = Σ_i (g_i φ''_i)·P_ij²                            φ'' = -2 φ φ' for tanh

This is the forward Laplacian (Li et al. 2024), whose term L' = φ' L + φ'' J² is linear in L: the
g_i say what each φ'' J² adds to the last L, and L itself need not be carried.

Sources: Saremi et al., "Deep energy estimator networks", 2018, and Salimans & Ho, "Should EBMs
model the energy or the score?", 2021 (energies trained by their scores); Karras et al.,
"Elucidating the design space of diffusion-based generative models", NeurIPS 2022 (c); Li et al., "A
computational framework for neural network-based variational Monte Carlo with Forward Laplacian",
Nature Machine Intelligence 2024.
"""

from collections.abc import Sequence

import torch
from sklearn.utils.metaestimators import available_if
from torch import Tensor

from skscore.networks import ResidualMLP, _Preconditioned

__all__ = ["EnergyMLP", "EnergyScore"]


class EnergyMLP(ResidualMLP):
    """Residual multilayer perceptron f(x, σ) with one output and a zero-initialised last layer.

    Its layers are those of :class:`~skscore.networks.ScoreMLP`; the last has no bias, of which a
    score would know nothing.

    Parameters
    ----------
    n_features : int
        d, the number of inputs.
    hidden_units : sequence of int, default=(128, 128, 128)
        Width of each hidden layer.
    sigma_conditioned : bool, default=True
        Whether σ is an input. A model of one noise level, or of clean data, does without.

    Examples
    --------
    >>> f = EnergyMLP(3, hidden_units=(8, 8))
    >>> f(torch.ones(2, 3), torch.ones(2, 1)).shape
    torch.Size([2, 1])
    >>> gradient, diagonal = f.hessian_diagonal(torch.ones(2, 3), torch.ones(2, 1))
    >>> diagonal.shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        n_features: int,
        hidden_units: Sequence[int] = (128, 128, 128),
        *,
        sigma_conditioned: bool = True,
    ) -> None:
        super().__init__(
            n_features, 1, hidden_units, sigma_conditioned=sigma_conditioned, bias=False
        )

    # Absent, like the next, where a subclass computes something else.
    @available_if(lambda self: type(self).forward is ResidualMLP.forward)
    def input_gradient(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Return ∂f/∂x, (n, d), at points (n, d) and noise levels (n, 1)."""
        slopes = [1 - a.square() for a in self._hidden(x, sigma)[1]]
        return self._pull_back(slopes)[1][:, : x.shape[1]].expand_as(x)

    @available_if(lambda self: type(self).forward is ResidualMLP.forward)
    def hessian_diagonal(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradient and the diagonal of the Hessian, from one pass.

        Without gradients of parameters, the memory is that of one backward pass and of a few blocks
        of 2¹⁸ numbers for each layer (or of one direction, where that is more).

        Parameters
        ----------
        x : Tensor of shape (n, d)
            Points.
        sigma : Tensor of shape (n, 1)
            Noise levels.

        Returns
        -------
        gradient : Tensor of shape (n, d)
            ∂f/∂x_j.
        diagonal : Tensor of shape (n, d)
            ∂²f/∂x_j². Both are differentiable with respect to the parameters.
        """
        activations = self._hidden(x, sigma)[1]
        slopes = [1 - a.square() for a in activations]
        gradients, g_0 = self._pull_back(slopes)
        curvatures = [
            -2 * a * slope * g for a, slope, g in zip(activations, slopes, gradients, strict=True)
        ]
        diagonal = []
        for J in self._directions(x):
            second = x.new_zeros(len(J), len(x))
            for curvature, P in zip(curvatures, self._tangents(slopes, J)[0], strict=True):
                second = second + (curvature * P.square()).sum(2)
            diagonal.append(second)
        return g_0[:, : x.shape[1]].expand_as(x), torch.cat(diagonal).T

    def _pull_back(self, slopes: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Return g_1, ..., g_L, given the φ', and g_0."""
        g: Tensor = self.head.weight
        gradients = []
        layers = zip(self._weights, slopes, self.joined, strict=True)
        for weight, slope, joined in reversed(list(layers)):
            gradients.append(g)
            pulled = (slope * g) @ weight
            g = g + pulled if joined else pulled
        return gradients[::-1], g


class EnergyScore(_Preconditioned):
    """The score -∇E of the energy E that a raw scalar network corrects.

    Parameters
    ----------
    module : torch.nn.Module
        f: called with inputs of unit variance (n, d) and noise levels (n, 1), returns (n, 1). It is
        differentiated by its own ``input_gradient`` and ``hessian_diagonal``, as those of
        :class:`EnergyMLP`, or by ``torch.func`` where it has none.
    mean : Tensor of shape (d,)
        μ, the mean of the data.
    scale : Tensor of shape (d,)
        λ, the standard deviation of the data.
    denoising : bool, default=True
        Which c to use: that of a denoiser (σ > 0), or that of an energy of clean data.

    Examples
    --------
    With f = 0 it is a Gaussian:

    >>> s = EnergyScore(EnergyMLP(2, hidden_units=(8,)), torch.zeros(2), torch.ones(2))
    >>> x, sigma = torch.tensor([[3.0, 6.0]]), torch.tensor([[0.5]])
    >>> s(x, sigma).detach()
    tensor([[-2.4000, -4.8000]])
    >>> round(s.energy(x, sigma).item(), 4)
    18.0
    """

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Map points (n, d) and noise levels (n, 1) to the score (n, d)."""
        centred, total = self._centred(x, sigma)
        u = centred / total
        if hasattr(self.module, "input_gradient"):
            gradient = self.module.input_gradient(u, sigma)
        else:
            gradient = torch.func.grad(lambda u: self._f(u, sigma).sum())(u)
        return (self._c(sigma) * gradient - u) / total

    @available_if(
        lambda self: (
            type(self).forward is EnergyScore.forward and hasattr(self.module, "hessian_diagonal")
        )
    )
    def score_and_divergence(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return the score (n, d) and its divergence (n,), if f has a ``hessian_diagonal``."""
        centred, total = self._centred(x, sigma)
        u, c = centred / total, self._c(sigma)
        gradient, diagonal = self.module.hessian_diagonal(u, sigma)
        return (c * gradient - u) / total, ((c * diagonal - 1) / total.square()).sum(1)

    def energy(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Return the energy E = -log p_σ(x) + const(σ) in nats.

        Parameters
        ----------
        x : Tensor of shape (n, d)
            Points.
        sigma : Tensor of shape (n, 1)
            Noise levels. Energies at two of them have different constants.

        Returns
        -------
        energy : Tensor of shape (n,)

        Raises
        ------
        ValueError
            If f does not return one number a row.
        """
        centred, total = self._centred(x, sigma)
        u = centred / total
        return u.square().sum(1) / 2 - (self._c(sigma) * self._f(u, sigma))[:, 0]

    def _f(self, u: Tensor, sigma: Tensor) -> Tensor:
        f: Tensor = self.module(u, sigma)
        if f.shape != (len(u), 1):
            raise ValueError(
                f"The network of an energy returned the shape {tuple(f.shape)} for {len(u)} rows; "
                f"let it return one number a row, in the shape ({len(u)}, 1)."
            )
        return f

    def _c(self, sigma: Tensor) -> Tensor:
        if self.denoising:
            return self.scale.square().mean().sqrt() / sigma
        return torch.ones_like(sigma)
