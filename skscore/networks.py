r"""Networks whose output is always a score.

A raw network F is wrapped so that it sees inputs of unit variance and has to produce outputs of
unit variance, and so that F = 0 is already the score of a Gaussian fitted to the data. With μ_j and
λ_j the mean and the standard deviation of feature j,

    c_in = 1/√(λ² + σ²)
    s(x, σ) = -(x - μ)/(λ² + σ²) + c_out F(c_in (x - μ), σ)

    denoising    c_out = λ / (σ √(λ² + σ²))       σ > 0
    clean data   c_out = 1 / √(λ² + σ²)           σ ≥ 0

By Tweedie's formula D = x + σ² s the first choice is the denoiser of Karras et al. (2022, table 1),
D = μ + c_skip (x - μ) + σ² c_out F with c_skip = λ²/(λ² + σ²), here with one λ for each feature,
so that features of any unit can share a network.

Source: Karras et al., "Elucidating the design space of diffusion-based generative models",
NeurIPS 2022.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["PreconditionedScore", "ScoreMLP", "SigmaEmbedding"]


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


class ScoreMLP(nn.Module):
    """Residual multilayer perceptron F(x, σ) with a zero-initialised last layer.

    Layers of equal width are joined by a residual connection; each hidden layer sees the embedded
    noise level. tanh saturates as the posterior of a mixture does.

    Parameters
    ----------
    n_features : int
        d, the number of inputs and of outputs.
    hidden_units : sequence of int, default=(128, 128, 128)
        Width of each hidden layer.
    sigma_conditioned : bool, default=True
        Whether σ is an input. A model of one noise level, or of clean data, does without.

    Examples
    --------
    >>> F = ScoreMLP(3, hidden_units=(8, 8))
    >>> F(torch.ones(2, 3), torch.ones(2, 1)).shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        n_features: int,
        hidden_units: Sequence[int] = (128, 128, 128),
        *,
        sigma_conditioned: bool = True,
    ) -> None:
        super().__init__()
        # Products over an odd number of inputs are rounded by the alignment of each row in memory,
        # so that a row would get other last bits at another place in the batch.
        self.n_padding = n_features % 2
        widths = [n_features + self.n_padding, *hidden_units]
        self.layers = nn.ModuleList(
            nn.Linear(n_in, n_out) for n_in, n_out in zip(widths[:-1], widths[1:], strict=True)
        )
        self.embedding = SigmaEmbedding() if sigma_conditioned else None
        if self.embedding is not None:
            n_embedded = self.embedding.n_features_out
            self.sigma_layers = nn.ModuleList(
                nn.Linear(n_embedded, n_out, bias=False) for n_out in hidden_units
            )
        self.activation = nn.Tanh()
        self.head = nn.Linear(widths[-1], n_features)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Map points (n, d) and noise levels (n, 1) to an output (n, d)."""
        embedded = None if self.embedding is None else self.embedding(sigma)
        h = nn.functional.pad(x, (0, self.n_padding))
        for i, layer in enumerate(self.layers):
            a = layer(h)
            if embedded is not None:
                a = a + self.sigma_layers[i](embedded)
            a = self.activation(a)
            h = h + a if i > 0 and a.shape == h.shape else a
        output: Tensor = self.head(h)
        return output


class PreconditionedScore(nn.Module):
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

    Examples
    --------
    With F = 0 it is the score of a Gaussian:

    >>> F = ScoreMLP(2, hidden_units=(8,))
    >>> s = PreconditionedScore(F, torch.zeros(2), torch.ones(2))
    >>> s(torch.tensor([[3.0, 6.0]]), torch.tensor([[0.5]])).detach()
    tensor([[-2.4000, -4.8000]])
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        module: nn.Module,
        mean: Tensor,
        scale: Tensor,
        *,
        denoising: bool = True,
    ) -> None:
        super().__init__()
        self.module = module
        self.denoising = denoising
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Map points (n, d) and noise levels (n, 1) to the score (n, d)."""
        centred = x - self.mean
        total = (self.scale.square() + sigma.square()).sqrt()
        c_out = self.scale / (sigma * total) if self.denoising else 1 / total
        return -centred / total.square() + c_out * self.module(centred / total, sigma)
