r"""Rows on the training device, and how batches are drawn from them.

A batch is one whole tensor. Its rows are drawn in proportion to their weights w, with

    i_k = min{i : Σ_{j≤i} w_j > u_k Σ_j w_j},       u_k = (k + U_k)/B,  U_k ~ U(0, 1)

for k = 0, ..., B-1: one draw in each of B strata. The rows are sorted, so a batch covers the data
more evenly than independent draws do, and a small table is seen whole in every batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.utils.data import Dataset

from skscore._validation import Array, torch_generator

__all__ = ["Batch", "BatchIterator", "Rows", "ValidationIterator"]


@dataclass
class Rows(Dataset[Tensor]):
    """Distinct rows (n, d) as a tensor on the training device, with their weights (n,).

    Batches of them have uniform noise of the widths (d,) added, where there are any.
    """

    values: Tensor
    weights: Tensor
    widths: Tensor | None = None

    @classmethod
    def of(
        cls, z: Array, weights: Array, device: torch.device, widths: Array | None = None
    ) -> Self:
        """Take over arrays, in float32."""
        noisy = widths is not None and bool(widths.any())
        return cls(
            torch.tensor(z, dtype=torch.float32, device=device),
            torch.tensor(weights, dtype=torch.float32, device=device),
            torch.tensor(widths, dtype=torch.float32, device=device) if noisy else None,
        )

    def smoothed(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """Return the rows of an index, with fresh noise."""
        values = self.values[index]
        if self.widths is None:
            return values
        u = torch.rand(values.shape, generator=generator, device=generator.device)
        return values + self.widths * (u.to(values) - 0.5)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: int) -> Tensor:
        return self.values[index]


@dataclass
class Batch:
    """Rows of a batch, and the generator and number of draws that decide its noise."""

    values: Tensor
    generator: torch.Generator
    n_draws: int = 1

    def __len__(self) -> int:
        return len(self.values)


class BatchIterator:
    """The batches between two validations."""

    def __init__(
        self,
        rows: Rows,
        batch_size: int,
        n_steps: int,
        max_steps: int,
        generator: torch.Generator,
    ) -> None:
        self.rows = rows
        # float64: in float32 the last of 10⁷ rows would share one value of the sum.
        cumulative = rows.weights.double().cumsum(0)
        self.cumulative = cumulative / cumulative[-1]
        self.batch_size = batch_size
        self.n_steps = n_steps
        self.steps_left = max_steps
        self.generator = generator

    def __iter__(self) -> Iterator[tuple[Batch, None]]:
        n_steps = min(self.n_steps, self.steps_left)
        self.steps_left -= n_steps
        b = self.batch_size
        device = self.generator.device
        strata = torch.arange(b, device=device)
        for _ in range(n_steps):
            jitter = torch.rand(b, generator=self.generator, device=device, dtype=torch.float64)
            u = (strata + jitter) / b
            index = torch.searchsorted(self.cumulative, u).clamp_(max=len(self.rows) - 1)
            yield Batch(self.rows.smoothed(index, self.generator), self.generator), None


class ValidationIterator:
    """The held-out rows with their weights, and a generator that starts alike every time."""

    def __init__(self, rows: Rows, batch_size: int, n_draws: int, seed: int) -> None:
        self.values = rows.values
        self.weights = rows.weights / rows.weights.mean()
        self.batch_size = batch_size
        self.n_draws = n_draws
        self.seed = seed

    def __iter__(self) -> Iterator[tuple[Batch, Tensor]]:
        generator = torch_generator(self.seed, self.values.device)
        for start in range(0, len(self.values), self.batch_size):
            part = slice(start, start + self.batch_size)
            yield Batch(self.values[part], generator, self.n_draws), self.weights[part]
