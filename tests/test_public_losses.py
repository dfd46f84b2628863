import numpy as np
import pytest
import torch

from skscore import losses, objectives
from skscore.datasets import gaussian_mixture_1d

SEED = 0


def generator(seed=SEED):
    return torch.Generator().manual_seed(seed)


def rows(n=12, d=3, seed=SEED, dtype=torch.float64):
    return torch.randn(n, d, generator=generator(seed), dtype=dtype)


def score(x):
    """A score with curvature and entries off the diagonal of its Jacobian."""
    return torch.sin(2 * x).roll(1, 1) - x + x.square().mean(1, keepdim=True)


def score_of_noise(x, sigma):
    return score(x) / (1 + sigma.square())


LOSSES = {
    "implicit": lambda s, x, w=None, **_: losses.implicit_score_matching_loss(s, x, w),
    "sliced": lambda s, x, w=None, seed=0, n_probes=1: losses.sliced_score_matching_loss(
        s, x, w, generator=generator(seed), n_probes=n_probes
    ),
    "finite_difference": lambda s, x, w=None, seed=0, n_probes=1: (
        losses.finite_difference_score_matching_loss(
            s, x, w, generator=generator(seed), n_probes=n_probes, epsilon=1e-4
        )
    ),
    "denoising": lambda s, x, w=None, seed=0, **_: losses.denoising_score_matching_loss(
        lambda x, sigma: s(x), x, 0.5, w, generator=generator(seed)
    ),
    "explicit": lambda s, x, w=None, **_: losses.explicit_score_matching_loss(
        s, x, -2 * np.asarray(x), w
    ),
}
EVERY_LOSS = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
DRAWS_NOISE = pytest.mark.parametrize("name", ["sliced", "finite_difference", "denoising"])


def test_clean_losses_are_the_means_of_their_objectives():
    x, zero = rows(), torch.zeros(12, 1, dtype=torch.float64)

    def model(x, sigma):
        return score(x)

    implicit = objectives.implicit(model, x, zero)
    torch.testing.assert_close(losses.implicit_score_matching_loss(score, x), implicit.mean())
    target = rows(seed=1)
    explicit = losses.explicit_score_matching_loss(score, x, target)
    torch.testing.assert_close(explicit, objectives.explicit(model, x, zero, target).mean())


def test_sliced_losses_are_the_implicit_one_in_expectation():
    x, m = rows(1), 4000
    expected = losses.implicit_score_matching_loss(score, x)
    for name in ("sliced", "finite_difference"):
        draws = torch.stack([LOSSES[name](score, x, seed=seed) for seed in range(40)])
        assert draws.unique().numel() > 1  # one of 2³ signs each
        mean = LOSSES[name](score, x, n_probes=m)
        error = (mean - expected).abs()
        assert error < 4 * draws.std() / m**0.5 + 1e-6, name


def test_finite_differences_agree_with_derivatives_on_the_same_probes():
    x = rows()
    sliced, differences = (LOSSES[name](score, x, seed=1) for name in list(LOSSES)[1:3])
    torch.testing.assert_close(sliced, differences, rtol=1e-6, atol=0)


@pytest.mark.parametrize("per_row", [False, True])
def test_the_denoising_loss_hands_the_noisy_points_and_their_levels_to_the_model(per_row):
    x, calls = rows(4000), []
    levels = torch.linspace(0.1, 2, 4000, dtype=torch.float64) if per_row else 0.5

    def recorded(x, sigma):
        calls.append((x, sigma))
        return score_of_noise(x, sigma)

    loss = losses.denoising_score_matching_loss(recorded, x, levels, generator=generator(1))
    ((x_noisy, sigma),) = calls
    expected = levels[:, None] if per_row else torch.full((4000, 1), 0.5, dtype=torch.float64)
    torch.testing.assert_close(sigma, expected)
    noise = (x_noisy - x) / sigma
    assert (noise.T @ noise / 4000 - torch.eye(3)).abs().max() < 4 * (2 / 4000) ** 0.5
    torch.testing.assert_close(
        loss, objectives.denoising(score_of_noise, x, sigma, noise).mean(), rtol=1e-8, atol=0
    )
    if per_row:
        arguments = (score_of_noise, x, levels[:, None])
        assert losses.denoising_score_matching_loss(*arguments, generator=generator(1)) == loss


@EVERY_LOSS
def test_a_loss_is_the_weighted_mean_over_the_rows_whatever_the_scale_of_the_weights(loss):
    x, weights = rows(), torch.tensor([0, 1, 2, 3] * 3)
    terms = torch.stack([loss(score, x, torch.eye(12)[i]) for i in range(12)])
    weighted = loss(score, x, weights)
    torch.testing.assert_close(weighted, (weights * terms).sum() / weights.sum())
    torch.testing.assert_close(loss(score, x, (7.5 * weights).tolist()), weighted)
    torch.testing.assert_close(loss(score, x, weights[:, None]), weighted)
    torch.testing.assert_close(loss(score, x), terms.mean())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@EVERY_LOSS
def test_a_loss_is_one_number_in_the_type_of_the_data_with_a_gradient(loss, dtype):
    scale = torch.ones((), dtype=dtype, requires_grad=True)
    value = loss(lambda x: scale * score(x), rows(dtype=dtype))
    assert value.shape == ()
    assert value.dtype == dtype
    value.backward()
    assert scale.grad.abs() > 0


@EVERY_LOSS
def test_arrays_and_lists_and_tensors_are_the_same_data(loss):
    x = rows()
    expected = loss(score, x)
    assert loss(score, x.numpy()) == expected
    assert loss(score, x.tolist()) == expected
    single = loss(score, x.numpy().astype(np.float32))
    assert single.dtype == torch.float32
    whole = np.arange(6).reshape(3, 2)
    assert loss(score, whole) == loss(score, torch.from_numpy(whole).to(torch.float32))


@DRAWS_NOISE
def test_the_generator_decides_the_noise_and_the_global_seed_is_left_alone(name):
    x, before = rows(), torch.get_rng_state()
    first, again, other = (LOSSES[name](score, x, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert torch.equal(before, torch.get_rng_state())


def test_one_generator_draws_afresh_at_every_step():
    source, x = generator(), rows()
    first, second = (
        losses.sliced_score_matching_loss(score, x, generator=source) for _ in range(2)
    )
    assert first != second


def test_the_minimum_over_linear_scores_is_the_gaussian_of_maximum_likelihood():
    x = torch.from_numpy(gaussian_mixture_1d().sample(300, 0))
    variance = x.var(unbiased=False).item()
    for name, expected in [
        ("implicit", variance),
        ("sliced", variance),
        ("finite_difference", variance),
        ("explicit", 0.5),
    ]:
        theta = torch.zeros(2, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([theta], line_search_fn="strong_wolfe")

        def closure(name=name, theta=theta, optimizer=optimizer):
            optimizer.zero_grad()
            value = LOSSES[name](lambda x: theta[0] + theta[1] * x, x)
            value.backward()
            return value

        for _ in range(5):
            optimizer.step(closure)
        assert -1 / theta[1].item() == pytest.approx(expected, rel=1e-5), name


def test_a_score_that_torch_func_cannot_differentiate_is_trained_by_finite_differences():
    power = torch.tensor(1.0, requires_grad=True)

    def from_energy(x):
        x = x.detach().requires_grad_()
        energy = (power * x.square() / 2).sum()
        return -torch.autograd.grad(energy, x, create_graph=True)[0]

    x = rows(dtype=torch.float32)
    with pytest.raises(RuntimeError, match="requires_grad_"):
        losses.implicit_score_matching_loss(from_energy, x)
    loss = losses.finite_difference_score_matching_loss(
        from_energy, x, generator=generator(), epsilon=0.01
    )
    (gradient,) = torch.autograd.grad(loss, power)
    # ‖px‖² - 2pd by p.
    expected = 2 * x.square().sum(1).mean() - 2 * 3
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        losses.implicit_score_matching_loss(torch.func.grad(lambda x: -(x.square() / 2).sum()), x),
        loss.detach(),
        rtol=1e-4,
        atol=1e-4,
    )


@EVERY_LOSS
def test_a_score_of_another_shape_is_refused(loss):
    message = r"score_fn gave the shape \(\d+, 1\) for points of shape \(\d+, 3\); a score has the"
    with pytest.raises(ValueError, match=message):
        loss(lambda x: x[:, :1], rows())


@EVERY_LOSS
def test_data_that_are_no_table_are_refused(loss):
    message = r"x has the shape \(12,\); give a table \(n_samples, n_features\) with at least one"
    with pytest.raises(ValueError, match=message):
        loss(score, rows()[:, 0])
    with pytest.raises(ValueError, match=r"x has the shape \(0, 3\)"):
        loss(score, rows()[:0])


@EVERY_LOSS
def test_weights_that_do_not_fit_are_refused(loss):
    message = r"sample_weight has the shape \(5,\); give one weight for each of the 12 rows of x"
    with pytest.raises(ValueError, match=message):
        loss(score, rows(), np.ones(5))
    for bad in (-np.eye(12)[0] + 0.1, np.zeros(12), np.full(12, np.nan), np.full(12, np.inf)):
        with pytest.raises(ValueError, match="must not be negative, and some of it must be posi"):
            loss(score, rows(), bad)


def test_bad_options_are_refused_with_what_to_give():
    x, source = rows(), generator()
    for sigma in (0.0, -1.0, float("nan"), [1.0] * 11 + [float("inf")]):
        with pytest.raises(ValueError, match="is not a standard deviation; give positive finite"):
            losses.denoising_score_matching_loss(score_of_noise, x, sigma, generator=source)
    message = r"sigma has the shape \(5,\); give one number, or one for each of the 12 rows of x"
    with pytest.raises(ValueError, match=message):
        losses.denoising_score_matching_loss(score_of_noise, x, np.ones(5), generator=source)
    for epsilon in (0.0, -0.1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="is no distance to step from a point; give a positi"):
            losses.finite_difference_score_matching_loss(
                score, x, epsilon=epsilon, generator=source
            )
    with pytest.raises(ValueError, match="n_probes=0 directions have no mean; give 1 or more"):
        losses.sliced_score_matching_loss(score, x, generator=source, n_probes=0)
    message = r"target has the shape \(12, 2\) for x of shape \(12, 3\); give the true score at"
    with pytest.raises(ValueError, match=message):
        losses.explicit_score_matching_loss(score, x, np.ones((12, 2)))
    with pytest.raises(ValueError, match=r"target has the shape \(12,\); give a table"):
        losses.explicit_score_matching_loss(score, x, np.ones(12))
