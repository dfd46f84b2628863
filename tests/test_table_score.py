"""TableScore: numbers by regression, categories by classification, one Gaussian process."""

import numpy as np
import pytest
import torch
from torch import nn

from skscore._groups import FeatureGroup
from skscore._location_model import LocationModel
from skscore._table_score import ABSENT, DRAWN, GIVEN, TableScore
from skscore.divergence import exact_divergence

SEED = 0


def generator(seed=SEED):
    return torch.Generator().manual_seed(seed)


def unit_codes(n_levels, n_features, seed=SEED):
    codes = np.random.RandomState(seed).normal(size=(n_levels, n_features))
    return codes / np.linalg.norm(codes, axis=1, keepdims=True)


def groups():
    """A number, a category of one-hot codes, a number with a marker, one of shorter codes."""
    return [
        FeatureGroup("a", "numeric", 0, 1, None, None),
        FeatureGroup("b", "categorical", 1, 4, np.eye(3), np.array([0.5, 0.3, 0.2])),
        FeatureGroup("c", "numeric", 4, 5, None, None),
        FeatureGroup("c", "missing", 5, 7, np.eye(2), np.array([0.9, 0.1])),
        FeatureGroup("d", "categorical", 7, 11, unit_codes(6, 4), np.full(6, 1 / 6)),
    ]


MEANS = np.array([[-1.0, 0.5], [0.5, 0.0], [1.0, -1.0]])
COVARIANCES = np.array([[[0.7, 0.3], [0.3, 0.5]], [[0.4, -0.2], [-0.2, 1.0]], [[1.0, 0], [0, 1]]])


def location_model():
    """What the numbers a and c follow, given b."""
    return LocationModel(MEANS, COVARIANCES, 0)


def network(*, random_head=False, found=None, base=None):
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        module = TableScore(found or groups(), (16, 16), base).double()
        if random_head:
            nn.init.normal_(module.network.head.weight)
            nn.init.normal_(module.network.head.bias)
        return module


def points(n=5):
    return torch.randn(n, 11, generator=generator(), dtype=torch.float64)


def log_density_of_codes(found, x, sigma):
    """Of the categories among groups, each on its own."""
    log_p = 0.0
    for group in found:
        if group.codebook is None:
            continue
        gap = x[:, None, group.start : group.stop] - torch.tensor(group.codebook)
        log_q = torch.tensor(group.frequencies).log() - gap.square().sum(2) / (2 * sigma.square())
        log_p = log_p + log_q.logsumexp(1)
    return log_p


def log_density_of_independent_columns(x, sigma):
    variance = 1 + sigma.square()
    log_p = -x[:, [0, 4]].square().sum(1) / (2 * variance[:, 0])
    return log_p + log_density_of_codes(groups(), x, sigma)


@pytest.mark.parametrize("level", [0.05, 0.4, 8.0])
def test_an_untrained_network_has_the_exact_score_of_independent_columns(level):
    x = points().requires_grad_()
    sigma = torch.full((len(x), 1), level, dtype=torch.float64)
    (expected,) = torch.autograd.grad(log_density_of_independent_columns(x, sigma).sum(), x)
    # Frequencies are kept in single precision.
    torch.testing.assert_close(network()(x, sigma), expected, rtol=1e-5, atol=1e-5)


def log_density_given_a_category(x, sigma):
    """Of numbers given the category b, whose code is blurred too, and of the other categories."""
    log_b = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64).log()
    log_b = log_b - (x[:, None, 1:4] - torch.eye(3)).square().sum(2) / (2 * sigma.square())
    log_f = []
    for mu, C in zip(MEANS, COVARIANCES, strict=True):
        blurred = torch.tensor(C) + sigma.square()[:, :, None] * torch.eye(2)
        law = torch.distributions.MultivariateNormal(torch.tensor(mu), blurred)
        log_f.append(law.log_prob(x[:, [0, 4]]))
    log_p = (log_b + torch.stack(log_f, dim=1)).logsumexp(1)
    return log_p + log_density_of_codes(groups()[3:], x, sigma)


@pytest.mark.parametrize("level", [0.05, 0.4, 8.0])
def test_an_untrained_network_has_the_exact_score_of_its_location_model(level):
    x = points().requires_grad_()
    sigma = torch.full((len(x), 1), level, dtype=torch.float64)
    (expected,) = torch.autograd.grad(log_density_given_a_category(x, sigma).sum(), x)
    found = network(base=location_model())(x, sigma)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_an_untrained_network_has_the_exact_score_of_its_mixture():
    numbers = [FeatureGroup(j, "numeric", j, j + 1, None, None) for j in range(3)]
    base = mixture(3, 2)
    x = torch.randn(5, 3, generator=generator(), dtype=torch.float64, requires_grad=True)
    sigma = torch.full((5, 1), 0.4, dtype=torch.float64)
    log_f = [
        torch.distributions.MultivariateNormal(mu, C + 0.16 * torch.eye(3)).log_prob(x)
        for mu, C in zip(base.means.double(), base.covariances.double(), strict=True)
    ]
    log_p = (torch.stack(log_f, dim=1) + torch.tensor([1 / 3, 2 / 3]).log()).logsumexp(1)
    (expected,) = torch.autograd.grad(log_p.sum(), x)
    found = network(found=numbers, base=base)(x, sigma)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_given_cells_are_given_to_the_location_model():
    module, x = network(base=location_model()).eval(), points()
    x[:, 1:4] = torch.eye(3)[[0, 1, 2, 0, 1]]
    sigma = torch.full((5, 1), 10.0, dtype=torch.float64)
    state = torch.full((5, 4), DRAWN, dtype=torch.float64)
    state[:, 1] = GIVEN
    # At a large level nothing but the category is known.
    numbers, _ = module.parts(x * 1.0, sigma, state)
    gap = numbers - torch.tensor(MEANS[[0, 1, 2, 0, 1]])
    assert gap.abs().max() < 0.1
    # The numbers say which category it is.
    state = torch.full((5, 4), GIVEN, dtype=torch.float64)
    state[:, 1] = DRAWN
    _, log_p = module.parts(x, sigma, state)
    log_f = torch.stack(
        [
            torch.distributions.MultivariateNormal(torch.tensor(mu), torch.tensor(C)).log_prob(
                x[:, [0, 4]]
            )
            for mu, C in zip(MEANS, COVARIANCES, strict=True)
        ],
        dim=1,
    )
    prior = module.log_frequencies[:3] + x[:, 1:4] / sigma.square()
    torch.testing.assert_close(
        log_p[:, :3].exp(), (log_f + prior).softmax(1), rtol=0.01, atol=0.005
    )
    # What is absent says nothing.
    state[:, 0] = state[:, 2] = ABSENT
    _, log_p = module.parts(x, sigma, state)
    torch.testing.assert_close(log_p[:, :3].exp(), prior.softmax(1), rtol=0.01, atol=0.005)


def test_the_levels_of_each_category_have_probabilities_that_sum_to_one():
    sigma = torch.full((5, 1), 0.3, dtype=torch.float64)
    _, log_p = network(random_head=True).parts(points(), sigma)
    for part in log_p.exp().split([3, 2, 6], dim=1):
        torch.testing.assert_close(part.sum(1), torch.ones(5, dtype=torch.float64))


def test_the_score_is_that_of_the_denoised_rows():
    module, x = network(random_head=True), points()
    sigma = torch.full((5, 1), 0.7, dtype=torch.float64)
    numbers, log_p = module.parts(x, sigma)
    denoised = x + sigma.square() * module(x, sigma)
    torch.testing.assert_close(denoised[:, [0, 4]], numbers)
    torch.testing.assert_close(denoised[:, 1:4], log_p[:, :3].exp())
    torch.testing.assert_close(denoised[:, 7:], log_p[:, 5:].exp() @ torch.tensor(unit_codes(6, 4)))


def test_given_cells_stay_and_are_seen_clean():
    module, x = network(random_head=True), points()
    state = torch.full((5, 4), DRAWN, dtype=torch.float64)
    state[:, [0, 1]] = GIVEN
    low, high = (torch.full((5, 1), level, dtype=torch.float64) for level in (0.1, 5.0))
    score = module(x, low, state)
    assert (score[:, :4] == 0).all()
    assert (score[:, 4:] != 0).all()
    # The others depend on them, at every noise level by the same inputs.
    inputs = [module._inputs(x, sigma, state)[:, :4] for sigma in (low, high)]
    assert torch.equal(*inputs)
    moved = x.clone()
    moved[:, 0] += 1.0
    assert (module(moved, high, state)[:, 4:] != module(x, high, state)[:, 4:]).all()


def test_absent_cells_are_not_seen():
    module, x = network(random_head=True), points()
    state = torch.full((5, 4), DRAWN, dtype=torch.float64)
    state[:, 3] = ABSENT
    sigma = torch.full((5, 1), 0.5, dtype=torch.float64)
    moved = x.clone()
    moved[:, 7:] += 1.0
    other, score = module(moved, sigma, state), module(x, sigma, state)
    torch.testing.assert_close(other[:, :7], score[:, :7], rtol=0, atol=0)
    # That they are absent is seen.
    assert not torch.equal(score[:, :7], module(x, sigma)[:, :7])


def test_levels_are_read_from_codes_and_written_to_them():
    module = network()
    levels = torch.tensor([[0, 3, 5], [2, 4, 10], [1, 3, 7]])
    x = module.encode_levels(points(3), levels)
    torch.testing.assert_close(x[:, 7:], module.codes[levels[:, 2] - 5], rtol=0, atol=0)
    assert torch.equal(module.levels_of(x), levels)
    # Numbers are left alone.
    assert torch.equal(x[:, [0, 4]], points(3)[:, [0, 4]])


def test_levels_are_drawn_from_their_probabilities():
    module, n = network(), 20_000
    p = torch.tensor([0.5, 0.3, 0.2, 0.9, 0.1, *[1 / 6] * 6], dtype=torch.float64)
    levels = module.draw_levels(p.log().expand(n, -1), generator())
    shares = torch.stack([(levels == k).any(1) for k in range(11)]).double().mean(1)
    assert ((shares - p).abs() < 4 * (p * (1 - p) / n).sqrt()).all()


def test_levels_lie_where_their_distribution_functions_say():
    p = torch.tensor([0.5, 0.0, 0.5, 1.0, 0.0, *[1 / 6] * 6], dtype=torch.float64)
    u = torch.tensor([[0.0, 0.0, 0.0], [0.49, 0.5, 0.49], [0.5, 0.999, 0.51], [0.999, 0.2, 0.999]])
    expected = [[0, 3, 5], [0, 3, 7], [2, 3, 8], [2, 3, 10]]
    assert network().levels_at(p.log().expand(4, -1), u.double()).tolist() == expected


def test_a_level_of_frequency_zero_is_never_drawn():
    found = groups()
    found[1] = FeatureGroup("b", "categorical", 1, 4, np.eye(3), np.array([0.6, 0.4, 0.0]))
    module = network(random_head=True, found=found)
    sigma = torch.full((5, 1), 0.3, dtype=torch.float64)
    _, log_p = module.parts(points(), sigma)
    assert (log_p[:, 2].exp() == 0).all()
    assert module(points(), sigma).isfinite().all()


@pytest.mark.parametrize("keep", [[0], [1]])
def test_tables_of_numbers_or_categories_alone(keep):
    kind = [g for i, g in enumerate(groups()) if i in keep]
    start = kind[0].start
    moved = FeatureGroup(
        kind[0].column,
        kind[0].kind,
        0,
        kind[0].stop - start,
        kind[0].codebook,
        kind[0].frequencies,
    )
    module = network(found=[moved])
    x = points()[:, : moved.stop]
    assert module(x, torch.ones(5, 1, dtype=torch.float64)).shape == x.shape
    assert module.levels_of(x).shape == (5, module.n_categories)


def test_many_categories_are_normalised_as_few_are(monkeypatch):
    module = network(random_head=True)
    sigma = torch.full((5, 1), 0.3, dtype=torch.float64)
    few = module.parts(points(), sigma)[1]
    monkeypatch.setattr("skscore._table_score._FEW", 0)
    torch.testing.assert_close(module.parts(points(), sigma)[1], few)


def mixture(d, n_components):
    k = np.arange(n_components)[:, None]
    covariances = 0.3 + (0.7 + k[..., None]) * np.eye(d)
    return LocationModel(0.2 - k * np.ones(d), covariances, shares=(k[:, 0] + 1) / (k + 1).sum())


@pytest.mark.parametrize("n_components", [0, 1, 3])
@pytest.mark.parametrize("d", [1, 2, 5])
def test_in_tables_of_numbers_the_divergence_is_got_by_one_pass(d, n_components):
    numbers = [FeatureGroup(j, "numeric", j, j + 1, None, None) for j in range(d)]
    base = mixture(d, n_components) if n_components else None
    module = network(random_head=True, found=numbers, base=base)
    module.requires_grad_(requires_grad=False)
    x = torch.randn(7, d, generator=generator(), dtype=torch.float64)
    sigma = torch.linspace(0.02, 10, 7, dtype=torch.float64)[:, None]
    score, divergence = module.score_and_divergence(x, sigma)
    torch.testing.assert_close(score, module(x, sigma))
    expected = exact_divergence(lambda x, sigma: module(x, sigma), x, sigma)[1]
    # The axes of the covariances are kept in single precision.
    torch.testing.assert_close(divergence, expected, rtol=1e-6, atol=1e-6)


def test_with_categories_the_divergence_is_left_to_torch():
    module = network(random_head=True).requires_grad_(requires_grad=False)
    assert not hasattr(module, "score_and_divergence")
    x, sigma = points(), torch.full((5, 1), 0.5, dtype=torch.float64)
    divergence = exact_divergence(module, x, sigma)[1]
    h = 1e-5
    expected = sum(
        (module(x + h * e, sigma) - module(x - h * e, sigma)) @ e / (2 * h)
        for e in torch.eye(11, dtype=torch.float64)
    )
    torch.testing.assert_close(divergence, expected, rtol=1e-5, atol=1e-5)
