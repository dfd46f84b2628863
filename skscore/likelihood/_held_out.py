r"""Log-likelihood from denoising errors: no differential equation, no trace.

With γ = 1/σ² and ε ~ N(0, I), let e(x, σ) = E_ε‖x - D(x + σε, σ)‖² be the mean squared error of a
denoiser D on the row x, and e_G that of the denoiser of a Gaussian G. If D is the denoiser of the
density q, then at every x

    -log q(x) = -log G(x) + ½ ∫ [e(x, σ) - e_G(x, σ)] dγ,      dγ = 2 σ⁻² d ln σ.

Both errors are taken on the same noise; the Gaussian is a control, and what is left to integrate
vanishes at both ends of the range of σ. The integral is a mean over σ drawn stratified, one in each
of K strata of a row, and over ε and -ε.

Source: Kong, Brekelmans & Ver Steeg, "Information-theoretic diffusion", ICLR 2023 (theorem 2 and
eq. 9, where G = N(0, I)).
"""

from typing import Any

import torch
from torch import Tensor

from skscore._typing import BlurredDensity, ScoreFn
from skscore.noise import SigmaLaw

__all__ = ["denoising_nll"]


def denoising_nll(
    score_fn: ScoreFn,
    x: Tensor,
    gaussian: BlurredDensity,
    law: SigmaLaw,
    *,
    n_draws: int,
    generator: torch.Generator,
) -> Tensor:
    """Estimate -log q(x) of each row, without bias for the range of the law.

    Parameters
    ----------
    score_fn : callable (n, d), (n, 1) -> (n, d)
        The score of the blurred density q at the noise levels of the law.
    x : Tensor of shape (n, d)
        Rows without noise.
    gaussian : GaussianScore
        G, best with the moments of the data; or anything with a score and a ``log_density``.
    law : SigmaLaw
        The law that noise levels are drawn from, continuous or of many levels; what is below or
        above it is left out.
    n_draws : int
        K, the noise levels of each row; each costs two evaluations.
    generator : torch.Generator
        Source of randomness, on the device of x.

    Returns
    -------
    nll : Tensor of shape (n,)
        In nats.

    Raises
    ------
    ValueError
        If n_draws is below 1.

    Examples
    --------
    >>> from skscore.noise import LogNormalSigma
    >>> from skscore.gaussians import GaussianScore
    >>> gaussian = GaussianScore(torch.zeros(1), torch.eye(1))
    >>> x = torch.ones(1, 1, dtype=torch.float64)
    >>> law, generator = LogNormalSigma(0.01, 10.0), torch.Generator().manual_seed(0)
    >>> denoising_nll(gaussian, x, gaussian, law, n_draws=4, generator=generator).round(decimals=3)
    tensor([1.4190], dtype=torch.float64)
    """
    if n_draws < 1:
        raise ValueError(f"n_draws={n_draws} noise levels give no estimate; give 1 or more.")
    options: dict[str, Any] = {"generator": generator, "device": generator.device, "dtype": x.dtype}
    total = torch.zeros_like(x[:, 0])
    for k in range(n_draws):
        u = (k + torch.rand(len(x), 1, **options)) / n_draws
        sigma, noise = law.quantile(u), torch.randn(x.shape, **options)
        for sign in (1, -1):
            blurred = x + sigma * sign * noise
            errors = [
                (x - blurred - sigma.square() * s(blurred, sigma)).square().sum(1)
                for s in (score_fn, gaussian)
            ]
            # ½ dγ = σ⁻³ dσ, and dσ = q'(u) du
            total += (errors[0] - errors[1]) * (law.slope(u) / sigma**3)[:, 0] / 2
    clean = torch.zeros_like(x[:, :1])
    return total / n_draws - gaussian.log_density(x, clean)
