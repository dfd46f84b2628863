r"""Networks whose output is always a score.

A raw network F is wrapped so that it sees inputs of unit variance and has to produce outputs of
unit variance, and so that F = 0 is already the score of a Gaussian fitted to the data. With μ_j and
λ_j the mean and the standard deviation of feature j,

    c_in = 1/√(λ² + σ²)
    s(x, σ) = -(x - μ)/(λ² + σ²) + c_out F(c_in (x - μ), σ)

    denoising    c_out = λ / (√(τ² + σ²) √(λ² + σ²))       σ > 0
    clean data   c_out = 1 / √(λ² + σ²)                    σ ≥ 0

By Tweedie's formula D = x + σ² s the first choice is, with τ = 0, the denoiser of Karras et al.
(2022, table 1), D = μ + c_skip (x - μ) + σ² c_out F with c_skip = λ²/(λ² + σ²), here with one λ for
each feature, so that features of any unit can share a network. There F vanishes as σ does, and an
error of F becomes one of s that grows as 1/σ. With τ = rλ, F is below τ the score in fixed units,
which hardly changes with σ. Other choices of c_skip and c_out let F predict other things;
x = x_0 + σε, z = (x_0 - μ)/λ:

    predicted    F is a guess of                  c_skip         c_out
    noise        ε                                1              -1/σ
    data         z                                0              λ/σ²
    v            (λ ε - σ z)/√(λ² + σ²)           λ²/(λ² + σ²)   -λ / (σ √(λ² + σ²))

and in every case s = -(1 - c_skip) (x - μ)/σ² + c_out F. So v differs from the first choice by a
sign alone. Where another law than a Gaussian is known to fit, its score takes the place of the
first term, s = s_base + c_out F.

The divergence needs no more of ∇F than its diagonal. The layers and their tangents J = ∂h/∂x are

    h_0 = x      a_i = φ(W_i h_{i-1} + b_i + V_i e(σ))      h_i = a_i (+ h_{i-1})
    J_0 = I      P_i = W_i J_{i-1}                          J_i = φ'_i P_i (+ J_{i-1})

with φ = tanh, φ' = 1 - a², or φ = silu, u g(u) with the logistic g, φ' = g (1 + u (1 - g)). One
pass by hand carries all directions: P_0 is the same for every row, and J stops before the last
layer, of which each direction needs one row, ∂F_j/∂x_j = Σ_k W_jk J_kj.

Sources: Karras et al., "Elucidating the design space of diffusion-based generative models",
NeurIPS 2022; Ho, Jain & Abbeel, "Denoising diffusion probabilistic models", NeurIPS 2020 (noise);
Salimans & Ho, "Progressive distillation for fast sampling of diffusion models", ICLR 2022 (v).
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from sklearn.utils.metaestimators import available_if
from torch import Tensor, nn

__all__ = ["PREDICTIONS", "PreconditionedScore", "ResidualMLP", "ScoreMLP", "SigmaEmbedding"]

# What a raw network of a denoising score can predict.
PREDICTIONS = ("preconditioned", "noise", "data", "v")

# As many directions are carried at once as make this many numbers: they should stay in the cache.
_BLOCK = 2**18


class SigmaEmbedding(nn.Module):
    """Features of the noise level: c = ln σ / 4, its square and low-frequency waves of it.

    Parameters
    ----------
    n_frequencies : int, default=4
        The waves are sin(2^k c) and cos(2^k c), k = 0, ..., n_frequencies - 1.

    Examples
    --------
    >>> SigmaEmbedding(n_frequencies=1)(torch.ones(2, 1))
    tensor([[0., 0., 0., 1.],
            [0., 0., 0., 1.]])
    """

    frequencies: Tensor

    def __init__(self, n_frequencies: int = 4) -> None:
        super().__init__()
        self.n_features_out = 2 + 2 * n_frequencies
        self.register_buffer("frequencies", 2.0 ** torch.arange(n_frequencies))

    def forward(self, sigma: Tensor) -> Tensor:
        """Map noise levels (n, 1) to features (n, 2 + 2 n_frequencies)."""
        c = sigma.log() / 4
        waves = c * self.frequencies
        return torch.cat([c, c.square(), waves.sin(), waves.cos()], dim=1)


class ResidualMLP(nn.Module):
    """The layers that networks of a score and of an energy share, and their tangents.

    Parameters
    ----------
    n_features : int
        d, the number of inputs.
    n_outputs : int
        Number of outputs of the last layer, which starts at zero.
    hidden_units : sequence of int
        Width of each hidden layer.
    sigma_conditioned : bool
        Whether σ is an input.
    bias : bool
        Whether the last layer has a bias.
    activation : {"tanh", "silu"}
        φ.
    """

    def __init__(
        self,
        n_features: int,
        n_outputs: int,
        hidden_units: Sequence[int],
        *,
        sigma_conditioned: bool,
        bias: bool,
        activation: str = "tanh",
    ) -> None:
        super().__init__()
        if activation not in ("tanh", "silu"):
            raise ValueError(f"activation={activation!r} is none of 'tanh' and 'silu'.")
        self.activation = activation
        # Products over an odd number of inputs are rounded by the alignment of each row in memory,
        # so that a row would get other last bits at another place in the batch.
        self.n_padding = n_features % 2
        widths = [n_features + self.n_padding, *hidden_units]
        pairs = list(zip(widths[:-1], widths[1:], strict=True))
        self.layers = nn.ModuleList(nn.Linear(n_in, n_out) for n_in, n_out in pairs)
        self.joined = [i > 0 and n_in == n_out for i, (n_in, n_out) in enumerate(pairs)]
        self.embedding = SigmaEmbedding() if sigma_conditioned else None
        if self.embedding is not None:
            n_embedded = self.embedding.n_features_out
            self.sigma_layers = nn.ModuleList(
                nn.Linear(n_embedded, n_out, bias=False) for n_out in hidden_units
            )
        self.head = nn.Linear(widths[-1], n_outputs, bias=bias)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Map points (n, d) and noise levels (n, 1) to an output (n, n_outputs)."""
        output: Tensor = self.head(self._hidden(x, sigma)[0])
        return output

    def along(self, x: Tensor, sigma: Tensor, tangents: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output and its derivatives along given directions, from one pass.

        Parameters
        ----------
        x : Tensor of shape (n, d)
            Points.
        sigma : Tensor of shape (n, 1)
            Noise levels.
        tangents : Tensor of shape (k, n, d)
            k directions v at each point.

        Returns
        -------
        output : Tensor of shape (n, n_outputs)
            F.
        derivatives : Tensor of shape (k, n, n_outputs)
            (∂F/∂x) v.

        Examples
        --------
        >>> F = ResidualMLP(3, 2, (8, 8), sigma_conditioned=True, bias=True)
        >>> x = torch.ones(5, 3)
        >>> F.along(x, torch.ones(5, 1), torch.ones(4, 5, 3))[1].shape
        torch.Size([4, 5, 2])
        """
        h, states = self._hidden(x, sigma)
        slopes = [self._slope(state) for state in states]
        width = max(len(weight) for weight in self._weights)
        J_0 = nn.functional.pad(tangents, (0, self.n_padding))
        derivatives = [
            self._tangents(slopes, block)[1] @ self.head.weight.T
            for block in J_0.split(max(1, _BLOCK // max(1, len(x) * width)))
        ]
        return self.head(h), torch.cat(derivatives)

    def _hidden(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the last h, and of every layer what φ' is read off: a for tanh, u for silu."""
        embedded = None if self.embedding is None else self.embedding(sigma)
        h = nn.functional.pad(x, (0, self.n_padding))
        states = []
        for i, layer in enumerate(self.layers):
            u = layer(h)
            if embedded is not None:
                u = u + self.sigma_layers[i](embedded)
            a = torch.tanh(u) if self.activation == "tanh" else nn.functional.silu(u)
            h = h + a if self.joined[i] else a
            states.append(a if self.activation == "tanh" else u)
        return h, states

    def _slope(self, state: Tensor) -> Tensor:
        """Return φ'."""
        if self.activation == "tanh":
            return 1 - state.square()
        g = state.sigmoid()
        return g * (1 + state * (1 - g))

    @property
    def _weights(self) -> list[Tensor]:
        return [cast(nn.Linear, layer).weight for layer in self.layers]

    def _directions(self, x: Tensor) -> Sequence[Tensor]:
        """Return J_0 in blocks (k, 1, d) of which the J (k, n, width) fill _BLOCK, or k = 1."""
        n, d = x.shape
        width = max([d, *(len(weight) for weight in self._weights)])
        basis = torch.eye(d, d + self.n_padding, dtype=x.dtype, device=x.device)
        return basis[:, None].split(max(1, _BLOCK // max(1, n * width)))

    def _tangents(self, slopes: Sequence[Tensor], J: Tensor) -> tuple[list[Tensor], Tensor]:
        """Carry a block of J_0 through layers of slopes φ'; return all P_i and the last J."""
        products = []
        for weight, slope, joined in zip(self._weights, slopes, self.joined, strict=True):
            P = J @ weight.T
            J = torch.addcmul(J, slope, P) if joined else slope * P
            products.append(P)
        return products, J


class ScoreMLP(ResidualMLP):
    """Residual multilayer perceptron F(x, σ) with a zero-initialised last layer.

    Layers of equal width are joined by a residual connection; each hidden layer sees the embedded
    noise level.

    Parameters
    ----------
    n_features : int
        d, the number of inputs and of outputs.
    hidden_units : sequence of int, default=(128, 128, 128)
        Width of each hidden layer.
    sigma_conditioned : bool, default=True
        Whether σ is an input. A model of one noise level, or of clean data, does without.
    activation : {"tanh", "silu"}, default="tanh"
        "tanh" saturates as the posterior of a mixture does; "silu" learns the scores of many noise
        levels better.

    Raises
    ------
    ValueError
        If the activation is none of these.

    Examples
    --------
    >>> F = ScoreMLP(3, hidden_units=(8, 8))
    >>> F(torch.ones(2, 3), torch.ones(2, 1)).shape
    torch.Size([2, 3])
    >>> output, diagonal = F.jacobian_diagonal(torch.ones(2, 3), torch.ones(2, 1))
    >>> diagonal.shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        n_features: int,
        hidden_units: Sequence[int] = (128, 128, 128),
        *,
        sigma_conditioned: bool = True,
        activation: str = "tanh",
    ) -> None:
        super().__init__(
            n_features,
            n_features,
            hidden_units,
            sigma_conditioned=sigma_conditioned,
            bias=True,
            activation=activation,
        )

    # Absent where a subclass computes something else.
    @available_if(lambda self: type(self).forward is ResidualMLP.forward)
    def jacobian_diagonal(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output and the diagonal of its Jacobian, from one pass.

        Without gradients, the memory is that of one forward pass and of a few blocks of 2¹⁸ numbers
        (or of one direction, where that is more).

        Parameters
        ----------
        x : Tensor of shape (n, d)
            Points.
        sigma : Tensor of shape (n, 1)
            Noise levels.

        Returns
        -------
        output : Tensor of shape (n, d)
            F.
        diagonal : Tensor of shape (n, d)
            ∂F_j/∂x_j. Both are differentiable with respect to the parameters.
        """
        h, states = self._hidden(x, sigma)
        slopes = [self._slope(state) for state in states]
        blocks = self._directions(x)
        rows = self.head.weight.split(len(blocks[0]))
        diagonal = [
            (self._tangents(slopes, J)[1] * W[:, None]).sum(2).expand(-1, len(x))
            for J, W in zip(blocks, rows, strict=True)
        ]
        return self.head(h), torch.cat(diagonal).T

    @available_if(lambda self: hasattr(self, "jacobian_diagonal"))
    def score_and_divergence(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output (n, d) and the trace of its Jacobian (n,)."""
        output, diagonal = self.jacobian_diagonal(x, sigma)
        return output, diagonal.sum(1)


class _Preconditioned(nn.Module):
    """What the preconditionings of a score and of an energy share: μ, λ and unit inputs."""

    module: Any  # a torch.nn.Module, with whatever else it can do
    mean: Tensor
    scale: Tensor

    def __init__(
        self, module: nn.Module, mean: Tensor, scale: Tensor, *, denoising: bool = True
    ) -> None:
        super().__init__()
        self.module = module
        self.denoising = denoising
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)

    def _centred(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return x - μ and √(λ² + σ²), both (n, d)."""
        return x - self.mean, (self.scale.square() + sigma.square()).sqrt()


class PreconditionedScore(_Preconditioned):
    """Turn the output of a raw network into a score.

    Parameters
    ----------
    module : torch.nn.Module
        F: called with inputs of unit variance (n, d) and noise levels (n, 1), returns (n, d).
    mean : Tensor of shape (d,)
        μ, the mean of the data.
    scale : Tensor of shape (d,)
        λ, the standard deviation of the data.
    denoising : bool, default=True
        Which c_out to use: that of a denoiser (σ > 0), or that of a score of clean data.
    prediction : {"preconditioned", "noise", "data", "v"}, default="preconditioned"
        What F predicts; only "preconditioned" without ``denoising``.
    floor : float, default=0.0
        r = τ/λ of a denoiser.
    base : torch.nn.Module, default=None
        s_base, with its ``score_and_divergence``; only of prediction "preconditioned". None is the
        Gaussian.

    Raises
    ------
    ValueError
        If the prediction is none of these, needs noise and there is none, or has another base.

    Examples
    --------
    With F = 0 it is the score of a Gaussian:

    >>> F = ScoreMLP(2, hidden_units=(8,))
    >>> s = PreconditionedScore(F, torch.zeros(2), torch.ones(2))
    >>> s(torch.tensor([[3.0, 6.0]]), torch.tensor([[0.5]])).detach()
    tensor([[-2.4000, -4.8000]])
    """

    def __init__(
        self,
        module: nn.Module,
        mean: Tensor,
        scale: Tensor,
        *,
        denoising: bool = True,
        prediction: str = "preconditioned",
        floor: float = 0.0,
        base: nn.Module | None = None,
    ) -> None:
        super().__init__(module, mean, scale, denoising=denoising)
        if prediction not in PREDICTIONS:
            raise ValueError(f"prediction={prediction!r} is none of {PREDICTIONS}.")
        if prediction != "preconditioned" and not denoising:
            raise ValueError(
                f"prediction={prediction!r} is a guess from noisy data, and the score of clean "
                "data has none; use prediction='preconditioned'."
            )
        if prediction != "preconditioned" and base is not None:
            raise ValueError(
                f"prediction={prediction!r} has no place for another base; use "
                "prediction='preconditioned'."
            )
        self.prediction = prediction
        self.floor = floor
        self.base: Any = base

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Map points (n, d) and noise levels (n, 1) to the score (n, d)."""
        centred, total = self._centred(x, sigma)
        F = self.module(centred / total, sigma)
        slope, c_out = self._coefficients(sigma, total)
        base = slope * centred if self.base is None else self.base(x, sigma)
        return base + c_out * F

    @available_if(
        lambda self: (
            type(self).forward is PreconditionedScore.forward
            and hasattr(self.module, "jacobian_diagonal")
        )
    )
    def score_and_divergence(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return the score (n, d) and its divergence (n,), if F has a ``jacobian_diagonal``."""
        centred, total = self._centred(x, sigma)
        F, diagonal = self.module.jacobian_diagonal(centred / total, sigma)
        slope, c_out = self._coefficients(sigma, total)
        if self.base is None:
            return slope * centred + c_out * F, (c_out / total * diagonal + slope).sum(1)
        base, divergence = self.base.score_and_divergence(x, sigma)
        return base + c_out * F, (c_out / total * diagonal).sum(1) + divergence

    def _coefficients(self, sigma: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
        """Return -(1 - c_skip)/σ² and c_out."""
        if self.prediction == "noise":
            return torch.zeros_like(total), -1 / sigma.expand_as(total)
        if self.prediction == "data":
            inverse = 1 / sigma.square()
            return -inverse.expand_as(total), self.scale * inverse
        if self.denoising:
            c_out = self.scale / (torch.hypot(self.floor * self.scale, sigma) * total)
        else:
            c_out = 1 / total
        return -1 / total.square(), -c_out if self.prediction == "v" else c_out
