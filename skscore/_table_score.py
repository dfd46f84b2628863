r"""The score of an encoded table, whose categories are denoised by classification.

All features are blurred by one Gaussian process, x_σ = x + σε. The best denoiser of a number is its
mean, that of a category with the codes e_k the mean of the codes under the posterior of its levels,

    D = μ + λ²/(λ² + σ²) (x - μ) + σλ/√(λ² + σ²) F(x, σ)                        a number
    p_k ∝ exp(ln π_k + (x·e_k - ‖e_k‖²/2)/σ² + F_k(x, σ)),    D = Σ_k p_k e_k     a category
    s = (D - x)/σ²

so that F = 0 is already the exact score of a table of independent columns, numbers being standard
normal and levels having the frequencies π_k; F has to learn what the columns say of each other. Or
F starts from what a location model says (:mod:`skscore._location_model`), which takes the place of
x/(1 + σ²) in the means of numbers and adds ln N_k to the logits of one category.

Cells may be given: they stay clean while the others are blurred, and the network sees which. Cells
that are not known at all are absent: the network sees that, and nothing else of them.

Sources: Karras et al., "Elucidating the design space of diffusion-based generative models", NeurIPS
2022 (numbers); Dieleman et al., "Continuous diffusion for categorical data", 2022 (score
interpolation); Mueller, Gruber & Fok, "Continuous diffusion for mixed-type tabular data", ICLR 2025
(both in one table).
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from scipy.linalg import block_diag
from sklearn.utils.metaestimators import available_if
from torch import Tensor, nn

from skscore._groups import FeatureGroup
from skscore._location_model import GIVEN_VARIANCE, UNKNOWN_VARIANCE, LocationModel
from skscore._validation import Array
from skscore.networks import ResidualMLP

__all__ = ["ABSENT", "DRAWN", "GIVEN", "TableScore", "denoise_mirrored", "put_given"]

# States of a cell.
ABSENT, DRAWN, GIVEN = -1.0, 0.0, 1.0
# Numbers are seen as they are and through waves sin(2^k x), cos(2^k x) of unit inputs.
_N_WAVES = 2
_LEAST_SPREAD = 0.05
# So many categories are normalised one by one, more of them at once by their owners.
_FEW = 32
_LEAST_FREQUENCY = 1e-12
_MOST_CALIBRATED = 2**18


class TableScore(nn.Module):
    """Score function of an encoded table.

    Parameters
    ----------
    groups : sequence of FeatureGroup
        What the features stand for.
    hidden_units : sequence of int
        Widths of the hidden layers.
    base : LocationModel or None, default=None
        What the network starts from; None is independent columns.
    continuous : array-like of bool, shape (n_numeric,), or None, default=None
        Which numbers hardly repeat, so that how wide they are is that of their law, and not of
        what is drawn within the interval of a value. None is all.

    Attributes
    ----------
    numeric : Tensor of int, shape (n_numeric,)
        The features that are numbers.
    unit_features, unit_levels : Tensors of int, shape (n_units,)
        The features of one-hot codes, and the level of each.
    coded, coded_levels : Tensors of int, shape (n_coded,) and (n_coded_levels,)
        The features of other codes, and the levels that have them.
    codes : Tensor of shape (n_coded_levels, n_coded)
        These codes, all in one.
    sizes : list of int
        Number of levels of each category.
    owner : Tensor of int, shape (n_levels,)
        Which category a level belongs to.
    column : Tensor of int, shape (n_features,)
        Which column a feature belongs to.
    first : Tensor of int, shape (n_categories,)
        The first feature of each category.
    categories : list of int
        The categories that are all there is of their column, and have two levels or more.
    category_columns : Tensor of int, shape (n_category_columns,)
        The columns of these.
    calibration : Tensor of shape (n_levels, n_features + 1)
        W and b of the posteriors of levels given all other cells (:mod:`skscore._calibration`), 0
        before they are fitted. Empty where it would have more than 2^18 numbers.
    spread : Tensor of shape (2, n_numeric)
        μ and k of drawn numbers (:mod:`skscore._spread`), 0 and 1 before they are fitted.
    redraws : bool
        Whether whole rows have levels to be drawn again: those of a category of these columns that
        is not the base's, which whole rows are drawn given.
    """

    numeric: Tensor
    unit_features: Tensor
    unit_levels: Tensor
    coded: Tensor
    coded_levels: Tensor
    codes: Tensor
    owner: Tensor
    column: Tensor
    first: Tensor
    category_columns: Tensor
    mean: Tensor
    scale: Tensor
    log_frequencies: Tensor
    calibration: Tensor
    continuous: Tensor
    spread: Tensor

    def __init__(
        self,
        groups: Sequence[FeatureGroup],
        hidden_units: Sequence[int],
        base: LocationModel | None = None,
        continuous: Array | None = None,
    ) -> None:
        super().__init__()
        self.base = base
        d = groups[-1].stop
        names = list(dict.fromkeys(group.column for group in groups))
        column, mean, scale = np.zeros(d, dtype=int), np.zeros(d), np.ones(d)
        numeric: list[int] = []
        units: list[tuple[int, int]] = []
        coded: list[int] = []
        coded_levels: list[int] = []
        frequencies: list[np.ndarray] = []
        owner: list[int] = []
        blocks: list[np.ndarray] = []
        for group in groups:
            features = list(range(group.start, group.stop))
            column[features] = names.index(group.column)
            if group.codebook is None or group.frequencies is None:
                numeric += features
                continue
            mean[features] = group.frequencies @ group.codebook
            variance = group.frequencies @ group.codebook**2 - mean[features] ** 2
            scale[features] = np.sqrt(np.maximum(variance, _LEAST_SPREAD**2))
            levels = list(range(len(owner), len(owner) + len(group.codebook)))
            owner += [len(frequencies)] * len(levels)
            frequencies.append(group.frequencies)
            if np.array_equal(group.codebook, np.eye(len(levels))):
                units += list(zip(features, levels, strict=True))
            else:
                blocks.append(group.codebook)
                coded += features
                coded_levels += levels
        self.n_categories = len(frequencies)
        self.sizes = [len(shares) for shares in frequencies]
        codes = block_diag(np.zeros((0, 0)), *blocks)
        self.register_buffer("numeric", torch.tensor(numeric, dtype=torch.long))
        every = np.ones(len(numeric), dtype=bool) if continuous is None else continuous
        self.register_buffer("continuous", torch.tensor(np.asarray(every)))
        held = torch.tensor([0.0, 1.0])[:, None].repeat(1, len(numeric))
        self.register_buffer("spread", held)
        unit_index = torch.tensor(units, dtype=torch.long).reshape(-1, 2)
        self.register_buffer("unit_features", unit_index[:, 0].contiguous())
        self.register_buffer("unit_levels", unit_index[:, 1].contiguous())
        self.register_buffer("coded", torch.tensor(coded, dtype=torch.long))
        self.register_buffer("coded_levels", torch.tensor(coded_levels, dtype=torch.long))
        self.register_buffer("owner", torch.tensor(owner, dtype=torch.long))
        self.register_buffer("column", torch.tensor(column))
        with_numbers = set(column[numeric])
        coded_groups = [group for group in groups if group.codebook is not None]
        self.categories = [
            j
            for j, group in enumerate(coded_groups)
            if (frequencies[j] > 0).sum() > 1 and column[group.start] not in with_numbers
        ]
        first = [group.start for group in coded_groups]
        self.register_buffer("first", torch.tensor(first, dtype=torch.long))
        columns = [column[first[j]] for j in self.categories]
        self.register_buffer("category_columns", torch.tensor(columns, dtype=torch.long))
        self.register_buffer("codes", torch.tensor(codes, dtype=torch.float32))
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32))
        shares = np.concatenate([*frequencies, np.zeros(0)])
        with np.errstate(divide="ignore"):
            log_shares = np.where(shares > 0, np.log(np.maximum(shares, _LEAST_FREQUENCY)), -np.inf)
        self.register_buffer("log_frequencies", torch.tensor(log_shares, dtype=torch.float32))
        self.n_columns = len(names)
        shape = (len(owner), d + 1) if len(owner) * (d + 1) <= _MOST_CALIBRATED else (0, d + 1)
        self.register_buffer("calibration", torch.zeros(shape))
        self.base_levels, self.base_column = slice(0, 0), -1
        if base is not None and base.category is not None:
            self.base_levels = self.levels_of_category(base.category)
            self.base_column = names.index(coded_groups[base.category].column)
        self.redraws = any(column != self.base_column for column in columns)
        self.network = ResidualMLP(
            2 * d + self.n_columns + 2 * _N_WAVES * len(numeric),
            len(numeric) + len(owner),
            hidden_units,
            sigma_conditioned=True,
            bias=True,
            activation="silu",
        )

    def forward(self, x: Tensor, sigma: Tensor, state: Tensor | None = None) -> Tensor:
        """Map points (n, d), noise levels (n, 1) and states (n, n_columns) to the score (n, d).

        The score is 0 in cells that are given, so that solvers leave them as they are.
        """
        denoised = self.denoise(x, sigma, state)
        if state is not None:
            denoised = torch.where(state[:, self.column] == GIVEN, x, denoised)
        return (denoised - x) / sigma.square()

    # Of a posterior it would take the derivatives of all levels.
    @available_if(lambda self: not self.n_categories)
    def score_and_divergence(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return the score (n, d) and its divergence (n,), in a table of numbers alone.

        ∂D_j/∂x_j is λ²/(λ² + σ²), or that of the base, + σλ/√(λ² + σ²) ∂F_j/∂x_j, and a number is
        seen by F as the unit t = x_j/√(λ² + σ²) and the waves of it, whose derivatives go through
        the layers.
        """
        d, spread = x.shape[1], (1 + sigma.square()).sqrt()
        state = torch.full_like(x[:, :1], DRAWN).expand(-1, self.n_columns)
        inputs = self._inputs(x, sigma, state)
        waves = inputs[:, 2 * d + self.n_columns :].split(d, dim=1)
        sines, cosines = waves[:_N_WAVES], waves[_N_WAVES:]
        slopes = [torch.ones_like(x), torch.zeros_like(x), torch.zeros_like(state)]
        slopes += [2.0 ** (k + 1) * c for k, c in enumerate(cosines)]
        slopes += [-(2.0 ** (k + 1)) * s for k, s in enumerate(sines)]
        eye = torch.eye(d, dtype=x.dtype, device=x.device)
        nothing = torch.zeros(d, d + self.n_columns).to(eye)
        own = torch.cat([eye, nothing, eye.repeat(1, 2 * _N_WAVES)], dim=1)
        tangents = own[:, None] * (torch.cat(slopes, dim=1) / spread)
        F, derivatives = self.network.along(inputs, sigma, tangents)
        diagonal = derivatives.diagonal(dim1=0, dim2=2)
        if self.base is None:
            start, slope = x / spread.square(), 1 / spread.square()
        else:
            start, slope = self.base.denoised_and_slope(x, sigma.square())
        score = (start + sigma / spread * F - x) / sigma.square()
        slope = slope + sigma / spread * diagonal
        return score, ((slope - 1) / sigma.square()).sum(1)

    def denoise(self, x: Tensor, sigma: Tensor, state: Tensor | None = None) -> Tensor:
        """Return the denoised rows (n, d)."""
        numbers, log_p = self.parts(x, sigma, state)
        denoised = torch.empty_like(x)
        denoised[:, self.numeric] = numbers
        return self._with_codes(denoised, log_p.exp())

    def parts(self, x: Tensor, sigma: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return denoised numbers (n, n_numeric) and log p of the levels (n, n_levels)."""
        seen = (
            torch.full_like(x[:, :1], DRAWN).expand(-1, self.n_columns) if state is None else state
        )
        F = self.network(self._inputs(x, sigma, seen), sigma)
        n_numeric, spread = len(self.numeric), (1 + sigma.square()).sqrt()
        log_p = self.log_frequencies + self._nearness(x) / sigma.square() + F[:, n_numeric:]
        if self.base is None:
            numbers = x[:, self.numeric] / spread.square()
        else:
            numbers, log_f = self._of_base(self.base, x, sigma, state)
            log_p[:, self.base_levels] += log_f
        return numbers + sigma / spread * F[:, :n_numeric], self._normalised(log_p)

    def numbers_of_base(self, x: Tensor, sigma: Tensor, state: Tensor | None = None) -> Tensor:
        """Return the means (n, n_numeric) that the network starts from."""
        if self.base is None:
            return x[:, self.numeric] / (1 + sigma.square())
        return self._of_base(self.base, x, sigma, state)[0]

    def _of_base(
        self, base: LocationModel, x: Tensor, sigma: Tensor, state: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return the means that the base has for numbers, and what these say of its levels."""
        variance = of_category = sigma.square()
        if state is not None:
            known = torch.where(state == GIVEN, GIVEN_VARIANCE, UNKNOWN_VARIANCE).to(x)
            of_column = torch.where(state == DRAWN, variance, known)
            of_number = self.column[self.numeric]
            if self.training or not bool((state[:, of_number] == DRAWN).all()):
                variance = of_column[:, of_number]
            of_category = of_column[:, self.base_column, None]
        numbers = x[:, self.numeric]
        if base.category is None:
            denoised, log_f = base(numbers, variance, base.log_shares.expand(len(x), -1))
            return denoised, log_f[:, :0]
        own = self.base_levels
        log_w = self.log_frequencies[own] + self._nearness(x)[:, own] / of_category
        found: tuple[Tensor, Tensor] = base(numbers, variance, log_w)
        return found

    def calibrated(self, x: Tensor, log_p: Tensor) -> Tensor:
        """Return ln q of the levels, given what the network has for it from the cells of x."""
        if not bool(self.calibration.any()):
            return log_p
        f = nn.functional.pad(self.standardised(x), (0, 1), value=1.0)
        return self._normalised(log_p + f @ self.calibration.T)

    def levels_of_category(self, j: int) -> slice:
        """Return where the levels of a category are among all."""
        start = sum(self.sizes[:j])
        return slice(start, start + self.sizes[j])

    def columns_of(self, features: Tensor) -> Tensor:
        """Return which columns (n, n_columns) have one of some features (n, d) or more."""
        counts = torch.zeros(len(features), self.n_columns, device=features.device)
        return counts.index_add(1, self.column, features.to(counts)) > 0

    def standardised(self, x: Tensor) -> Tensor:
        """Return rows (n, d) in units of their features."""
        return (x - self.mean) / self.scale

    def _inputs(self, x: Tensor, sigma: Tensor, state: Tensor) -> Tensor:
        of_feature, centred = state[:, self.column], x - self.mean
        spread = (self.scale.square() + sigma.square()).sqrt()
        # Apart, so that the layers need not learn from the state what a cell is worth.
        blurred = torch.where(of_feature == DRAWN, centred / spread, 0.0)
        given = torch.where(of_feature == GIVEN, centred / self.scale, 0.0)
        numbers = (blurred + given)[:, self.numeric]
        waves = [2.0 ** (k + 1) * numbers for k in range(_N_WAVES)]
        parts = blurred, given, state, *(w.sin() for w in waves), *(w.cos() for w in waves)
        return torch.cat(parts, dim=1)

    def _normalised(self, logits: Tensor) -> Tensor:
        """Return the log-softmax over the levels of each category."""
        if not self.n_categories:
            return logits
        if self.n_categories <= _FEW:
            parts = logits.split(self.sizes, dim=1)
            return torch.cat([part.log_softmax(1) for part in parts], dim=1)
        shape = len(logits), self.n_categories
        index = self.owner.expand_as(logits)
        largest = logits.new_full(shape, -torch.inf).scatter_reduce(
            1, index, logits.detach(), "amax"
        )
        shifted = logits - largest[:, self.owner]
        total = logits.new_zeros(shape).index_add(1, self.owner, shifted.exp())
        return shifted - total.log()[:, self.owner]

    def levels_of(self, x: Tensor) -> Tensor:
        """Return the number of the level (n, n_categories) that each code of clean rows is."""
        return self._pick(self._nearness(x))

    def draw_levels(self, log_p: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a level of each category (n, n_categories)."""
        shape = len(log_p), self.n_categories
        u = torch.rand(shape, generator=generator, dtype=torch.float64, device=generator.device)
        return self.levels_at(log_p, u)

    def levels_at(self, log_p: Tensor, u: Tensor) -> Tensor:
        """Return the levels (n, n_categories) at u in [0, 1) of their distribution functions."""
        picks = []
        for j, (start, part) in enumerate(self._by_category(log_p)):
            cdf = part.double().exp().cumsum(1)
            below = (cdf <= u[:, j : j + 1].to(cdf) * cdf[:, -1:]).sum(1)
            picks.append(start + below.clamp(max=part.shape[1] - 1))
        return torch.stack(picks, 1) if picks else log_p[:, :0].long()

    def _pick(self, values: Tensor) -> Tensor:
        picks = [start + part.argmax(1) for start, part in self._by_category(values)]
        return torch.stack(picks, 1) if picks else values[:, :0].long()

    def _by_category(self, values: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Yield the first level of each category, and the values of its levels."""
        start = 0
        for size in self.sizes:
            yield start, values[:, start : start + size]
            start += size

    def _nearness(self, x: Tensor) -> Tensor:
        """Return x·e_k - ‖e_k‖²/2 for all levels (n, n_levels)."""
        nearness = x.new_empty(len(x), len(self.owner))
        if len(self.unit_levels):
            nearness[:, self.unit_levels] = x[:, self.unit_features] - 0.5
        if len(self.coded_levels):
            norms = self.codes.square().sum(1)
            nearness[:, self.coded_levels] = x[:, self.coded] @ self.codes.T - norms / 2
        return nearness

    def _with_codes(self, x: Tensor, weights: Tensor) -> Tensor:
        """Put the mean codes under weights (n, n_levels) of the levels into x, in place."""
        x[:, self.unit_features] = weights[:, self.unit_levels]
        x[:, self.coded] = weights[:, self.coded_levels] @ self.codes
        return x

    def encode_levels(self, x: Tensor, levels: Tensor) -> Tensor:
        """Return rows (n, d) with the codes of levels (n, n_categories) in place of theirs."""
        chosen = x.new_zeros(len(x), len(self.owner)).scatter_(1, levels, 1.0)
        return self._with_codes(x.clone(), chosen)


def put_given(module: TableScore, x: Tensor, state: Tensor | None, clean: Tensor | None) -> Tensor:
    """Return rows with the cells of clean ones where states say that they are given."""
    if state is None or clean is None:
        return x
    return torch.where(state[:, module.column] == GIVEN, clean, x)


def denoise_mirrored(
    module: TableScore,
    y: Tensor,
    sigma: Tensor,
    state: Tensor | None = None,
    clean: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the denoised μ + y and μ - y, given the cells of clean rows that states say.

    At a level at which the blurred law is nearly Gaussian, their mean is that of the rows.
    """

    def denoised(y: Tensor) -> Tensor:
        x = put_given(module, (module.mean + y).to(y), state, clean)
        return module.denoise(x, sigma, state)

    return denoised(y), denoised(-y)
