r"""Which validation of a training is kept, by the losses ℓ of the held-out rows.

    lowest                the first of the least mean ℓ
    latest near lowest    the last with mean(ℓ - ℓ_lowest) ≤ SE, the standard error of that mean,
                          and ≤ τ |mean ℓ_lowest|
    latest                the last
    clearly better        as another selects, but none where mean(ℓ_start - ℓ) ≤ 2 SE

Where generated rows are watched for copies, :mod:`skscore._copying` selects.
"""

import math
from typing import Protocol

from torch import Tensor, nn

__all__ = [
    "LONG_PATIENCE",
    "TOLERANCE",
    "VALIDATIONS",
    "ClearlyBetter",
    "Latest",
    "LatestNearLowest",
    "LowestLoss",
    "Selection",
]

# Of a whole training, which ends after a quarter of them without success, or half of them: a loss
# on few rows of long tails may rise for a third of the time and come back.
VALIDATIONS = 25
_PATIENCE, LONG_PATIENCE = VALIDATIONS / 4, VALIDATIONS / 2
# τ where the loss is the implicit objective, whose lowest mean is -E‖∇log p‖².
TOLERANCE = 0.01


class Selection(Protocol):
    """Decide which validation to keep.

    Training ends after ``patience`` validations in a row that were not kept.
    """

    patience: float

    def improves(self, module: nn.Module, losses: Tensor) -> bool:
        """Whether this validation is to be kept instead of the one kept so far.

        ``losses`` are those of the watched rows, times their weights, which have the mean 1.
        """
        ...


class LowestLoss:
    """Keep the validation with the lowest held-out loss."""

    patience = _PATIENCE

    def __init__(self) -> None:
        self.best = math.inf

    def improves(self, module: nn.Module, losses: Tensor) -> bool:
        """Whether the loss is the lowest so far."""
        loss = losses.mean().item()
        better = loss < self.best
        self.best = min(loss, self.best)
        return better


class LatestNearLowest:
    """Keep the last validation whose loss is within one standard error of the lowest.

    The error is that of the mean of paired differences, row by row. Where the held-out rows cannot
    tell two networks apart, the later one has been trained at a lower learning rate.

    Parameters
    ----------
    tolerance : float, default=inf
        τ, a bound for rows of heavy tails, whose standard errors would let any network pass.
    patience : float, default=VALIDATIONS / 4
        Validations in a row that are not kept until training ends.
    """

    def __init__(self, tolerance: float = math.inf, patience: float = _PATIENCE) -> None:
        self.tolerance = tolerance
        self.patience = patience
        self.lowest: Tensor | None = None

    def improves(self, module: nn.Module, losses: Tensor) -> bool:
        """Whether no lower loss is told apart from this one."""
        if self.lowest is None or losses.mean() < self.lowest.mean():
            self.lowest = losses
            return True
        excess = losses - self.lowest
        error = excess.std(correction=0).item() / math.sqrt(len(excess))
        bound = self.tolerance * abs(self.lowest.mean().item())
        return excess.mean().item() <= min(error, bound)


class ClearlyBetter:
    """Keep what another selection keeps, unless the network has gained little on its start.

    A network that starts from a law that fits has little to learn but noise.

    Parameters
    ----------
    inner : Selection
        The other.
    """

    def __init__(self, inner: Selection) -> None:
        self.inner = inner
        self.patience = inner.patience
        self.start: Tensor | None = None
        self.kept: Tensor | None = None

    def begin(self, losses: Tensor) -> None:
        """Take the losses of the watched rows before the first step."""
        self.start = losses

    def improves(self, module: nn.Module, losses: Tensor) -> bool:
        """Whether the other selection would keep this one."""
        if not self.inner.improves(module, losses):
            return False
        self.kept = losses
        return True

    @property
    def start_suffices(self) -> bool:
        """Whether what was kept is not clearly better than the start."""
        if self.start is None or self.kept is None:
            return False
        gain = self.start - self.kept
        error = gain.std(correction=0).item() / math.sqrt(len(gain))
        return gain.mean().item() <= 2 * error


class Latest:
    """Keep the last validation: there is nothing to choose by."""

    patience = math.inf

    def improves(self, module: nn.Module, losses: Tensor) -> bool:
        """Return True: later is better."""
        return True
