r"""The blurred law of independent columns, as far as columns on their own are known.

Numbers x ~ N(0, C) together, and categories of the codes e_k with the frequencies π_k each on its
own, have under noise of the level σ

    log p_σ(x) = log N(x; 0, C + σ² I)                                              numbers
                 + Σ log Σ_k π_k N(x; e_k, σ² I)                                    categories
    ∇ log p_σ(x) = (Σ_k p_k e_k - x)/σ²,    p_k ∝ π_k exp((x·e_k - ‖e_k‖²/2)/σ²)    a category

At σ = 0 a code has the probability π_k of its level instead of a density. The score of a network of
tables that has learnt nothing is that of C = I; held against this law, only what the columns say of
each other is left to be estimated.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from skscore._groups import FeatureGroup, numeric_features
from skscore.gaussians import GaussianScore

__all__ = ["IndependentColumns"]


class IndependentColumns:
    """Exact score and log-density of numbers that are Gaussian and categories that are independent.

    Parameters
    ----------
    groups : sequence of FeatureGroup
        What the features stand for.
    covariance : Tensor of shape (d, d)
        Covariance of all features, of which that of the numbers is read.

    Examples
    --------
    >>> import numpy as np
    >>> group = FeatureGroup("sex", "categorical", 0, 2, np.eye(2), np.array([0.4, 0.6]))
    >>> law = IndependentColumns([group], torch.eye(2))
    >>> law.log_density(torch.eye(2), torch.zeros(2, 1)).exp()
    tensor([0.4000, 0.6000])
    """

    def __init__(self, groups: Sequence[FeatureGroup], covariance: Tensor) -> None:
        numbers = numeric_features(groups)
        self.numbers = torch.tensor(numbers, dtype=torch.long, device=covariance.device)
        self.gaussian = None
        if numbers:
            own = covariance[self.numbers][:, self.numbers]
            self.gaussian = GaussianScore(torch.zeros(len(numbers)).to(own), own)
        self.categories = [
            (
                slice(group.start, group.stop),
                torch.as_tensor(group.codebook).to(covariance),
                torch.as_tensor(group.frequencies).to(covariance).log(),
            )
            for group in groups
            if group.codebook is not None
        ]

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Return the score (n, d) at points (n, d) and noise levels (n, 1) above 0."""
        score = torch.empty_like(x)
        if self.gaussian is not None:
            score[:, self.numbers] = self.gaussian(x[:, self.numbers], sigma)
        for features, codes, log_shares in self.categories:
            own = x[:, features]
            p = (log_shares + _nearness(own, codes) / sigma.square()).softmax(1)
            score[:, features] = (p @ codes - own) / sigma.square()
        return score

    def log_density(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Return log p_σ (n,); where σ = 0, rows hold codes, and levels have probabilities."""
        total = torch.zeros_like(x[:, 0])
        if self.gaussian is not None:
            total = total + self.gaussian.log_density(x[:, self.numbers], sigma)
        clean = sigma[:, 0] == 0
        level = torch.where(clean[:, None], 1.0, sigma)
        for features, codes, log_shares in self.categories:
            own = x[:, features]
            nearness = _nearness(own, codes)
            squares = own.square().sum(1, keepdim=True) / 2 - nearness  # ‖x - e_k‖²/2
            blurred = (log_shares - squares / level.square()).logsumexp(1)
            blurred = blurred - codes.shape[1] / 2 * (2 * math.pi * level[:, 0].square()).log()
            total = total + torch.where(clean, log_shares[nearness.argmax(1)], blurred)
        return total


def _nearness(x: Tensor, codes: Tensor) -> Tensor:
    """Return x·e_k - ‖e_k‖²/2 (n, n_levels)."""
    return x @ codes.mT - codes.square().sum(1) / 2
