import numpy as np
import pytest
import torch

from skscore._chains import DISAGREEMENT, draw_from_energy, run_chains, split_rhat
from skscore.datasets import Banana
from skscore.gaussians import GaussianMixtureScore, GaussianScore
from skscore.samplers import langevin, mala

SEED = 0


def generator(seed=SEED):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=SEED, dtype=torch.float64):
    return torch.randn(*shape, generator=generator(seed), dtype=dtype)


class Gaussian:
    def __init__(self, variances):
        self.variances = torch.as_tensor(variances, dtype=torch.float64)

    def energy(self, x, sigma):
        return (x.square() / self.variances).sum(1) / 2

    def score(self, x, sigma):
        return -x / self.variances

    def start(self, n, seed):
        return normal(n, len(self.variances), seed=seed) * self.variances.sqrt()


class TwoModes:
    """w N(0, I) + (1 - w) N((10, 0, ...), I)."""

    def __init__(self, weight, d):
        self.log_odds = np.log(1 / weight - 1)
        self.d = d

    def _logit(self, x):
        return self.log_odds + 10 * x[:, 0] - 50

    def energy(self, x, sigma):
        return x.square().sum(1) / 2 - torch.nn.functional.softplus(self._logit(x))

    def score(self, x, sigma):
        shift = torch.zeros(self.d, dtype=x.dtype)
        shift[0] = 10
        return -x + torch.sigmoid(self._logit(x))[:, None] * shift

    def start(self, n, seed):
        spread = torch.ones(self.d, dtype=torch.float64)
        spread[0] = 6
        return 5 * (spread > 1) + normal(n, self.d, seed=seed) * spread


class Bent:
    """The energy of a Banana, with the constant left out."""

    def __init__(self, d, scale=1.0):
        self.density = Banana(d, scale=scale)

    def energy(self, x, sigma):
        b, s = self.density.curvature, self.density.scale
        bend = x[:, 1] - b * (x[:, 0].square() - s**2)
        return (x[:, 0].square() / s**2 + bend.square() + x[:, 2:].square().sum(1)) / 2

    def score(self, x, sigma):
        b, s = self.density.curvature, self.density.scale
        bend = x[:, 1] - b * (x[:, 0].square() - s**2)
        first = -x[:, 0] / s**2 + 2 * b * bend * x[:, 0]
        return torch.cat([first[:, None], -bend[:, None], -x[:, 2:]], dim=1)

    def start(self, n, seed):
        spread = np.sqrt(np.diag(self.density.covariance))
        return normal(n, self.density.n_features, seed=seed) * torch.from_numpy(spread)


def run(model, seed=SEED, *, adjusted=True, n_chains=200, **kwargs):
    options = {"n_samples": n_chains, "step_size": 0.2 if not adjusted else 1.0, **kwargs}
    return run_chains(
        model.score,
        model.energy if adjusted else None,
        model.start(n_chains, seed),
        0.0,
        generator=generator(seed + 100),
        **options,
    )


# Do the chains agree?

ONE_MODE = {
    "d2": Gaussian([1.0, 10.0]),
    "d10": Gaussian(np.geomspace(1, 10, 10)),
    "banana_d2": Bent(2),
    "banana_d10": Bent(10),
}
TWO_MODES = {f"d{d}_{w}": TwoModes(w, d) for d in (2, 10) for w in (0.5, 0.8)}


def test_the_models_have_the_score_of_their_energy():
    for model in (*ONE_MODE.values(), *TWO_MODES.values()):
        x = model.start(20, SEED).requires_grad_()
        (gradient,) = torch.autograd.grad(model.energy(x, None).sum(), x)
        torch.testing.assert_close(model.score(x, None), -gradient)


@pytest.mark.parametrize("adjusted", [True, False])
@pytest.mark.parametrize("name", ONE_MODE)
def test_chains_in_one_mode_agree(name, adjusted):
    _, report = run(ONE_MODE[name], adjusted=adjusted)
    assert 1 <= report.split_rhat < (1.05 if adjusted else 1.1)


@pytest.mark.parametrize("adjusted", [True, False])
@pytest.mark.parametrize("name", TWO_MODES)
def test_chains_stuck_in_two_modes_ten_sd_apart_do_not_agree(name, adjusted):
    _, report = run(TWO_MODES[name], adjusted=adjusted)
    assert report.split_rhat > 2


def test_chains_that_are_too_short_do_not_agree():
    # A step of 1e-3 on a variance of 1 forgets its start in some 2000 steps; here are 40.
    _, report = run(Gaussian([1.0]), adjusted=False, step_size=1e-3, n_warmup=0, n_steps_between=2)
    assert report.split_rhat > 1.5


def test_rhat_is_that_of_a_stationary_process():
    # Within a chain x_t = c + noise, between chains c: R̂² = 1 + Var(c)/Var(noise).
    n_chains = 20000
    noise, c = normal(20, n_chains, 1), normal(n_chains, 1, seed=SEED + 1)
    for spread in (0.0, 0.5, 3.0):
        assert split_rhat(noise + spread * c) == pytest.approx((1 + spread**2) ** 0.5, rel=0.03)
    assert split_rhat(noise.float()) == pytest.approx(split_rhat(noise), rel=1e-5)


def test_rhat_sees_a_drift_that_all_chains_share_and_takes_the_worst_coordinate():
    x = normal(20, 2000, 3)
    x[:, :, 1] += torch.linspace(0, 4, 20)[:, None]
    assert split_rhat(x) > 1.5
    assert split_rhat(x[:, :, [0, 2]]) < 1.02
    assert split_rhat(x) == pytest.approx(split_rhat(x[:, :, 1:2]))
    assert split_rhat(1000 * x - 5) == pytest.approx(split_rhat(x))


def test_rhat_of_chains_that_do_not_move_or_leave_the_numbers_is_infinite():
    assert split_rhat(normal(200, 1).expand(20, -1, -1)) == np.inf
    assert split_rhat(torch.zeros(20, 4, 1)) == np.inf
    x = normal(20, 4, 2)
    x[-1, 0, 0] = np.nan
    assert split_rhat(x) == np.inf


# The warm-up


@pytest.mark.parametrize("first_guess", [1e-5, 1.0, 1e3])
@pytest.mark.parametrize("scale", [1e-3, 1.0])
def test_the_warm_up_finds_the_step_size_from_any_guess(first_guess, scale):
    # On N(0, v I) in 10 dimensions 57 % are accepted at a step of 1.29 v.
    model = Gaussian([scale] * 10)
    _, report = run(model, step_size=first_guess * scale)
    assert report.step_size == pytest.approx(1.29 * scale, rel=0.15)
    assert report.acceptance == pytest.approx(0.574, abs=0.03)


def test_after_the_warm_up_the_step_is_frozen():
    model, noise = Gaussian([1.0, 2.0]), generator(SEED + 100)
    draws, report = run(model, n_warmup=0, n_steps_between=3, step_size=0.7, n_samples=4000)
    x, states, acceptances = model.start(200, SEED), [], []
    for _ in range(20):
        x, acceptance = mala(
            model.energy, model.score, x, 0.0, n_steps=3, step_size=0.7, generator=noise
        )
        states.append(x)
        acceptances.append(acceptance.mean())
    assert torch.equal(draws, torch.cat(states))
    assert report.step_size == 0.7
    assert report.acceptance == pytest.approx(np.mean(acceptances))
    assert report.split_rhat == split_rhat(torch.stack(states))


def test_without_an_energy_it_is_plain_langevin():
    model = Gaussian([1.0, 2.0])
    draws, report = run(model, adjusted=False, n_warmup=25, n_steps_between=3, step_size=0.3)
    expected = langevin(
        model.score,
        model.start(200, SEED),
        0.0,
        n_steps=25 + 20 * 3,
        step_size=0.3,
        generator=generator(SEED + 100),
    )
    assert torch.equal(draws, expected)
    assert report.acceptance is None
    assert (report.step_size, report.n_chains, report.n_warmup) == (0.3, 200, 25)


# The draws


@pytest.mark.parametrize("n_samples", [1, 199, 200, 201, 4321])
def test_there_are_as_many_draws_as_asked_for_and_the_last_are_the_last_states(n_samples):
    options = {"n_warmup": 10, "n_steps_between": 1}
    draws, _ = run(ONE_MODE["d2"], n_samples=n_samples, **options)
    assert draws.shape == (n_samples, 2)
    assert len(draws.unique(dim=0)) > 0.5 * n_samples
    last, _ = run(ONE_MODE["d2"], n_samples=200, **options)
    if n_samples <= 200:
        assert torch.equal(draws, last[:n_samples])


@pytest.mark.parametrize("seed", range(5))
def test_the_draws_have_the_moments_of_the_energy(seed):
    n, variances = 1000, torch.tensor([1.0, 10.0], dtype=torch.float64)
    draws, report = run(Gaussian(variances), seed, n_chains=n)
    assert report.split_rhat < 1.05
    assert (draws.mean(0).abs() < 4 * (variances / n).sqrt()).all()
    assert ((draws.var(0) - variances).abs() < 4 * variances * (2 / n) ** 0.5).all()


def test_the_generator_decides_every_draw_and_the_type_is_kept():
    before, start = torch.get_rng_state(), normal(10, 2, dtype=torch.float32)
    options = {"n_samples": 30, "n_warmup": 20, "n_steps_between": 1, "step_size": 0.5}
    a, b, other = (
        run_chains(
            lambda x, sigma: -x,
            lambda x, sigma: x.square().sum(1) / 2,
            start,
            0.0,
            generator=generator(seed),
            **options,
        )[0]
        for seed in (1, 1, 2)
    )
    assert torch.equal(a, b)
    assert not torch.equal(a, other)
    assert a.dtype == torch.float32
    assert torch.equal(before, torch.get_rng_state())


def test_energy_and_score_are_read_at_the_noise_level():
    seen = []

    def score_fn(x, sigma):
        seen.append((sigma.shape, sigma.unique().item()))
        return -x

    def energy_fn(x, sigma):
        seen.append((sigma.shape, sigma.unique().item()))
        return x.square().sum(1) / 2

    run_chains(
        score_fn,
        energy_fn,
        normal(10, 2),
        0.25,
        n_samples=10,
        n_warmup=1,
        n_steps_between=1,
        step_size=1.0,
        generator=generator(),
    )
    assert set(seen) == {((10, 1), 0.25)}


def test_one_chain_is_refused():
    with pytest.raises(ValueError, match=r"1 chain\(s\) cannot be compared; give 2"):
        run(ONE_MODE["d2"], n_chains=1)


# Draws of an energy from a proposal


def draw(energy_fn, score_fn, proposal, seed=SEED, **kwargs):
    options = {"n_samples": 1000, "n_chains": 1000, "n_warmup": 100, "n_steps_between": 2}
    return draw_from_energy(
        energy_fn, score_fn, proposal, 0.0, generator=generator(seed), **{**options, **kwargs}
    )


def nearly_collinear():
    """A covariance of condition number 10⁶, along no axis."""
    axes, _ = torch.linalg.qr(normal(3, 3))
    return (axes * torch.tensor([1.0, 1e-3, 1e-6])) @ axes.mT


@pytest.mark.parametrize("seed", range(5))
def test_one_step_size_serves_all_directions_of_a_nearly_collinear_energy(seed):
    C, n = nearly_collinear(), 1000
    precision, root = torch.linalg.inv(C), torch.linalg.cholesky(C)
    draws, report = draw(
        lambda x, sigma: ((x - 3) @ precision * (x - 3)).sum(1) / 2,
        lambda x, sigma: -(x - 3) @ precision,
        GaussianScore(torch.full((3,), 3.0), 2 * C),
        seed,
    )
    assert report.split_rhat < 1.05
    assert report.acceptance == pytest.approx(0.574, abs=0.05)
    # In the coordinates in which the law is N(0, I).
    z = torch.linalg.solve_triangular(root, (draws - 3).mT, upper=False).mT
    assert (z.mean(0).abs() < 4 / n**0.5).all()
    products = (z[:, :, None] * z[:, None]).mean(0)
    error = 4 * (1 + torch.eye(3)).sqrt() / n**0.5
    assert ((products - torch.eye(3)).abs() < error).all()


@pytest.mark.parametrize("seed", range(5))
def test_weights_of_far_modes_are_those_of_the_energy_and_not_of_the_proposal(seed):
    means, ones = torch.tensor([[-10.0, 0.0], [10.0, 0.0]]), torch.eye(2).expand(2, -1, -1)
    truth = GaussianMixtureScore(torch.tensor([0.7, 0.3]), means, ones)
    proposal = GaussianMixtureScore(torch.tensor([0.5, 0.5]), means, 1.5 * ones)
    draws, report = draw(lambda x, sigma: truth.energy(x, sigma) + 40, truth, proposal, seed)
    # SE of the share of one thousand chains; drawn systematically, they scatter less.
    assert abs((draws[:, 0] < 0).double().mean() - 0.7) < 4 * (0.21 / 1000) ** 0.5
    assert report.split_rhat > DISAGREEMENT
    for side, mean in ((draws[:, 0] < 0, -10.0), (draws[:, 0] > 0, 10.0)):
        within = draws[side] - torch.tensor([mean, 0.0])
        assert (within.mean(0).abs() < 4 / len(within) ** 0.5).all()
        assert ((within.var(0) - 1).abs() < 4 * (2 / len(within)) ** 0.5).all()


def test_a_few_draws_of_many_chains_do_not_stand_in_one_mode():
    means, ones = torch.tensor([[-10.0], [10.0]]), torch.ones(2, 1, 1)
    truth = GaussianMixtureScore(torch.tensor([0.5, 0.5]), means, ones)
    draws, _ = draw(truth.energy, truth, truth, n_samples=40)
    assert 6 <= (draws < 0).sum() <= 34  # 20, 4 SE are 13


@pytest.mark.parametrize("n_samples", [1, 60, 1500])
def test_draws_of_an_energy_are_as_many_as_asked_for_and_decided_by_the_generator(n_samples):
    p = GaussianScore(torch.zeros(2), torch.eye(2))
    options = {"n_samples": n_samples, "n_chains": 50, "n_warmup": 10}
    a, b, other = (draw(p.energy, p, p, seed, **options)[0] for seed in (1, 1, 2))
    assert a.shape == (n_samples, 2)
    assert torch.equal(a, b)
    assert not torch.equal(a, other)


def test_an_energy_and_its_score_are_read_at_the_noise_level_in_the_units_of_x():
    p, seen = GaussianScore(torch.zeros(2), 1e4 * torch.eye(2)), []

    def energy_fn(x, sigma):
        seen.append((x.abs().max().item(), sigma.unique().item()))
        return p.energy(x, sigma)

    draw_from_energy(
        energy_fn,
        p,
        p,
        0.25,
        n_samples=50,
        n_chains=50,
        n_warmup=10,
        n_steps_between=1,
        generator=generator(),
    )
    assert {sigma for _, sigma in seen} == {0.25}
    assert min(largest for largest, _ in seen) > 50


@pytest.mark.parametrize(
    ("energy_fn", "message"),
    [
        (lambda x, s: torch.where(x[:, 0] > 0, torch.nan, x[:, 0]), r"is NaN at \d+ of 1000 draws"),
        (lambda x, s: torch.full_like(x[:, 0], torch.inf), "is infinite at every draw of a mixt"),
        (lambda x, s: torch.full_like(x[:, 0], -torch.inf), "or minus infinite at one; give rows"),
    ],
)
def test_energies_that_no_draw_can_start_from_are_refused(energy_fn, message):
    p = GaussianScore(torch.zeros(2), torch.eye(2))
    with pytest.raises(ValueError, match=message):
        draw(energy_fn, p, p, n_chains=50)
