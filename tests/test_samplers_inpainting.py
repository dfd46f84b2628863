import pytest
import torch
from solvers import LEVELS, NormalLaw, Recorder, gaussian_score, generator, normal

from skscore.noise import karras_sigmas
from skscore.samplers import repaint

NAN = torch.nan
# Of the second coordinate given the first: mean 0.8 x, standard deviation 0.6.
LAW = NormalLaw([0.0, 0.0], [[1.0, 0.8], [0.8, 1.0]])


def drawn(law, given, sigmas, *, seed=1, **kwargs):
    """Fill in rows from starts that are draws at the first level."""
    n, d = given.shape
    start = law.mean + normal(n, d, seed=seed) @ (
        torch.linalg.cholesky(law.covariance + sigmas[0] ** 2 * torch.eye(d)).mT
    )
    return repaint(law.score, start, sigmas, given=given, generator=generator(seed + 100), **kwargs)


def test_inpainting_is_the_documented_algorithm():
    x, R = 3 * normal(4, 2), 3
    given = torch.tensor([[1.0, NAN], [NAN, -2.0], [NAN, NAN], [0.5, 3.0]], dtype=torch.float64)
    score_fn = Recorder(LAW.score)
    states = repaint(
        score_fn,
        x,
        LEVELS,
        given=given,
        generator=generator(4),
        n_resamples=R,
        return_trajectory=True,
    )
    assert score_fn.calls == [2.0] * R + [1.0] * R + [0.5]
    noise, known = generator(4), ~given.isnan()

    def z():
        return torch.randn(4, 2, generator=noise, dtype=x.dtype)

    def with_given(x, noisy):
        x = x.clone()
        x[known] = noisy[known]
        return x

    x = with_given(x, given + 2.0 * z())
    torch.testing.assert_close(states[0], x)
    for i, (sigma, sigma_next) in enumerate([(2.0, 1.0), (1.0, 0.5)]):
        delta = sigma**2 - sigma_next**2
        for round_ in range(R):
            x = x + delta * LAW.score(x, torch.full((4, 1), sigma).double()) + delta**0.5 * z()
            x = with_given(x, given + sigma_next * z())
            if round_ < R - 1:
                x = x + delta**0.5 * z()
        torch.testing.assert_close(states[i + 1], x)
    torch.testing.assert_close(states[-1], with_given(LAW.denoised(x, 0.5), given))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_given_coordinates_come_back_as_they_are(dtype):
    given = normal(50, 3, seed=5, dtype=dtype)
    given[normal(50, 3, seed=6) > 0] = NAN
    x = repaint(
        gaussian_score(1.0), normal(50, 3, dtype=dtype), LEVELS, given=given, generator=generator()
    )
    known = ~given.isnan()
    assert torch.equal(x[known], given[known])
    assert x.dtype == dtype
    assert x.isfinite().all()
    assert 20 < known.sum() < 130


def test_with_everything_given_the_data_come_back():
    given = normal(5, 2, seed=5)
    x = repaint(gaussian_score(1.0), normal(5, 2), LEVELS, given=given, generator=generator())
    assert torch.equal(x, given)


def test_the_data_that_are_given_are_not_changed():
    given, start = normal(5, 2, seed=5), normal(5, 2)
    given[:, 1] = NAN
    before = given.clone(), start.clone()
    repaint(gaussian_score(1.0), start, LEVELS, given=given, generator=generator())
    torch.testing.assert_close(given, before[0], rtol=0, atol=0, equal_nan=True)
    assert torch.equal(start, before[1])


@pytest.mark.parametrize("n_resamples", [1, 4])
def test_with_nothing_given_it_is_a_reverse_diffusion(n_resamples):
    n, sigmas = 20000, karras_sigmas(10.0, 0.01, 40)
    x = drawn(LAW, torch.full((n, 2), NAN), sigmas, n_resamples=n_resamples)
    along, levels = (x - LAW.mean) @ LAW.axes, sigmas.tolist()
    for i, v in enumerate(LAW.variances.tolist()):
        # Each round is a step of Euler-Maruyama, and all but the last one add its noise again.
        variance = v + levels[0] ** 2
        for sigma, sigma_next in zip(levels[:-1], levels[1:], strict=True):
            delta = sigma**2 - sigma_next**2
            for round_ in range(n_resamples):
                variance = (1 - delta / (v + sigma**2)) ** 2 * variance + delta
                variance += delta * (round_ < n_resamples - 1)
        variance *= (v / (v + levels[-1] ** 2)) ** 2
        assert abs(along[:, i].mean()) < 4 * (variance / n) ** 0.5
        assert abs(along[:, i].var() / variance - 1) < 4 * (2 / n) ** 0.5
        assert variance == pytest.approx(v, rel=0.25)


def conditional_errors(value, n_resamples, n=5000, seed=1, given_coordinate=0):
    """Errors of mean and standard deviation of the other coordinate, in units of the latter."""
    given = torch.full((n, 2), NAN, dtype=torch.float64)
    given[:, given_coordinate] = value
    x = drawn(LAW, given, karras_sigmas(10.0, 0.01, 50), seed=seed, n_resamples=n_resamples)
    other = x[:, 1 - given_coordinate]
    return ((other.mean() - 0.8 * value) / 0.6).item(), (other.std() / 0.6 - 1).item()


@pytest.mark.parametrize("given_coordinate", [0, 1])
@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0])
def test_the_rest_of_a_gaussian_row_has_its_conditional_mean_and_spread(value, given_coordinate):
    n = 5000
    mean_error, sd_error = conditional_errors(value, 10, n, given_coordinate=given_coordinate)
    assert abs(mean_error) < 0.1 + 4 / n**0.5
    assert abs(sd_error) < 0.1


def test_without_resampling_the_rest_hardly_knows_of_what_is_given():
    once, often = conditional_errors(1.5, 1), conditional_errors(1.5, 10)
    assert abs(once[0]) > 0.3
    assert abs(once[0]) > 3 * abs(often[0])
    assert abs(once[1]) > 2 * abs(often[1])


def test_rows_may_have_different_coordinates_given():
    # Three correlated features: each row's others follow from what it has.
    n = 6000
    law = NormalLaw([1.0, 0.0, -1.0], [[1.0, 0.7, 0.5], [0.7, 1.0, 0.3], [0.5, 0.3, 1.0]])
    given = torch.full((n, 3), NAN, dtype=torch.float64)
    thirds = torch.arange(n) % 3
    patterns = {0: [0], 1: [1, 2], 2: [2]}
    for third, known in patterns.items():
        for j in known:
            given[thirds == third, j] = law.mean[j] + 1
    x = drawn(law, given, karras_sigmas(10.0, 0.01, 50))
    C = law.covariance
    for third, known in patterns.items():
        unknown = [j for j in range(3) if j not in known]
        gain = C[unknown][:, known] @ torch.linalg.inv(C[known][:, known])
        mean = law.mean[unknown] + gain.sum(1)
        sd = (C[unknown][:, unknown] - gain @ C[known][:, unknown]).diagonal().sqrt()
        rows = x[thirds == third][:, unknown]
        assert ((rows.mean(0) - mean).abs() < sd * (0.1 + 4 / (n / 3) ** 0.5)).all()
        assert ((rows.std(0) / sd - 1).abs() < 0.1).all()
