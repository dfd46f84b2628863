r"""Standard normal noise that is spread evenly over the rows of one call.

    ε_i = Φ⁻¹(u_i),       u_1, u_2, ... the points of a scrambled Sobol sequence

Each ε_i alone is N(0, I), so each row that a sampler makes of it has the law it would have from
independent noise. The rows together fill that law more evenly: means over them, and shares of
levels among them, vary less than those of independent rows do.

Source: Owen, "Randomly permuted (t,m,s)-nets and (t,s)-sequences", 1995.
"""

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

__all__ = ["EvenNormal", "independent_normal"]

# The points are multiples of it.
_UNIT = 2.0**-SobolEngine.MAXBIT


class EvenNormal:
    """Rows of standard normal noise, of which each call of `draw` continues the last.

    Parameters
    ----------
    n_features : int
        Features of a row. Above 21 201 there is no Sobol sequence, and rows are independent.
    generator : torch.Generator
        What the scrambling is drawn from.
    """

    def __init__(self, n_features: int, generator: torch.Generator) -> None:
        self.n_features = n_features
        self.generator = generator
        self.engine = None
        if n_features <= SobolEngine.MAXDIM:
            seed = torch.randint(2**31, (), generator=generator, device=generator.device).item()
            self.engine = SobolEngine(n_features, scramble=True, seed=int(seed))

    def draw(self, n_rows: int) -> Tensor:
        """Return the next rows, (n_rows, n_features), in double precision."""
        if self.engine is None:
            return independent_normal(n_rows, self.n_features, self.generator)
        u = self.engine.draw(n_rows, dtype=torch.float64) + _UNIT / 2
        noise: Tensor = torch.special.ndtri(u).to(self.generator.device)
        return noise


def independent_normal(n_rows: int, n_features: int, generator: torch.Generator) -> Tensor:
    """Return rows of independent standard normal noise, in double precision."""
    shape = n_rows, n_features
    return torch.randn(shape, generator=generator, dtype=torch.float64, device=generator.device)
