"""Annealing: a kernel that leaves its density alone, weights that average to p(x), a bracket."""

import math
import threading
from itertools import pairwise

import chainer
import chainer.functions as F
import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from threadpoolctl import threadpool_limits

import jvi
from jvi import datasets, iwae
from jvi.assessment import annealing, temperatures
from jvi.assessment.ais import SCHEDULES, ais, bdmc, evaluations, sandwich, simulate
from jvi.assessment.block import FORWARD
from jvi.assessment.flat import densities, flatten, unflatten
from jvi.assessment.hmc import Chains, Kernel, hmc, leapfrog
from jvi.engine import devices, threads
from jvi.engine.random import BatchSource, stream
from jvi.evidence.diagnostics import jackknife_error
from jvi.functions import gaussian_log_density, gaussian_sample, standard_normal_log_density
from jvi.models import MLP, build
from jvi.spec import Spec

WEIGHTS = np.array([[1.0, 0.5], [-0.7, 1.2], [0.3, -0.8], [1.5, 0.2]], np.float32)
OFFSET = np.array([0.5, -0.2, 0.1, 1.0], np.float32)
NOISE = 0.6  # standard deviation of x given z


class LinearGaussian(chainer.Chain):
    """x = W z + c + noise, so that log p(x) is known; q is off in mean and variance."""

    spec, reparameterised = Spec("linear", {}), True
    num_pixels, num_latent = WEIGHTS.shape

    def num_points(self, x):
        return len(x)

    def check(self, x):
        return x

    def infer(self, x):
        mean = (0.6 * (x - OFFSET) @ WEIGHTS / 3.0).astype(np.float32)
        return mean, np.full_like(mean, np.log(0.15))

    def draw(self, q, source, num_samples):
        z = gaussian_sample(*q, source.normal((num_samples, *q[0].shape)))
        return z, gaussian_log_density(z, *q)

    def log_joint(self, x, z):
        squares = F.sum(((x - self.mean(z)) / NOISE) ** 2, axis=-1)
        normaliser = self.num_pixels * (0.5 * math.log(2 * math.pi) + math.log(NOISE))
        return -0.5 * squares - normaliser, standard_normal_log_density(z)

    def log_q(self, q, z):
        return gaussian_log_density(z, *q)

    def draw_prior(self, source, num_samples, num_points):
        return source.normal((num_samples, num_points, self.num_latent))

    def mean(self, z):
        rows = F.reshape(z, (-1, self.num_latent))
        return F.reshape(F.linear(rows, WEIGHTS, OFFSET), (*z.shape[:-1], self.num_pixels))


class GaussianModel(jvi.Model):
    """Of the linear Gaussian link, with exact draws and evidence."""

    def __init__(self):
        super().__init__(LinearGaussian())

    def simulate(self, num_images, seed=0):
        rng = np.random.default_rng(seed)
        z = rng.normal(size=(num_images, 2))
        x = z @ WEIGHTS.T + OFFSET + NOISE * rng.normal(size=(num_images, 4))
        return z.astype(np.float32), x.astype(np.float32)

    def log_px(self, x):
        covariance = WEIGHTS @ WEIGHTS.T + NOISE**2 * np.eye(4)
        return multivariate_normal(OFFSET, covariance).logpdf(x)


@pytest.fixture(scope="module")
def gaussian():
    return GaussianModel()


@pytest.fixture(scope="module")
def binary():
    """An untrained network with one latent dimension, so that log p(x) can be integrated."""
    rng = np.random.default_rng(0)
    link = MLP(10, 4, 1, rng)
    for parameter in link.params():
        parameter.array = rng.normal(0, 0.45, parameter.shape).astype(np.float32)
    return jvi.Model(link)


@pytest.fixture(scope="module")
def two_layers():
    """Two stochastic layers, with q near enough to p for importance sampling, far enough to see."""
    rng = np.random.default_rng(0)
    link = build("burda:layers=2", 6, rng)
    for parameter in link.params():
        parameter.array *= np.float32(0.5)
    link.pixels.W.array *= 10
    link.pixels.b.array = rng.normal(size=6).astype(np.float32)
    with threadpool_limits(1, user_api="blas"):  # threads would wait for each other
        yield jvi.Model(link)


def log_px_by_sampling(model, x, num_samples=20_000):
    """log p(x) by importance sampling from the prior, and its standard error: shape (N,) each."""
    source = BatchSource(np.random.default_rng(9), 1)
    z = model.link.draw_prior(source, num_samples, 1)
    p = model.decode(z)[:, 0].astype(np.float64)
    log_px = np.log(p) @ x.T + np.log1p(-p) @ (1 - x).T
    return iwae(log_px), np.exp(log_px - iwae(log_px)).std(axis=0) / math.sqrt(num_samples)


def log_px_by_quadrature(model, x):
    z = np.linspace(-8, 8, 4001)
    p = model.decode(z[:, None]).astype(np.float64)
    log_prior = -0.5 * z**2 - 0.5 * math.log(2 * math.pi)
    log_joint = x @ np.log(p).T + (1 - x) @ np.log1p(-p).T + log_prior
    return logsumexp(log_joint, axis=1) + math.log(z[1] - z[0])


# The kernel, on densities of its own: a standard normal start, a logistic and a narrow normal joint


def chains_at(z):
    """log f_0: independent standard normals; log f_1: a logistic one and N(1, 0.3²)."""
    a, b = z[..., 0], (z[..., 1] - 1.0) / 0.3
    log_f = [-0.5 * (z**2).sum(axis=-1), -a - 2 * np.logaddexp(0, -a) - 0.5 * b**2]
    grad = [-z, np.stack([-np.tanh(a / 2), -b / 0.3], axis=-1)]
    return Chains(z, np.stack(log_f), np.stack(grad))


def kernel(num_steps=10, sigma=1.0):
    return Kernel(chains_at, sigma, num_steps)


class Noise:
    def __init__(self, seed=1):
        self.rng = np.random.default_rng(seed)

    def normal(self, shape):
        return self.rng.normal(size=shape)


def energy(chains, momentum, beta, sigma):
    log_f = (1 - beta) * chains.log_f[0] + beta * chains.log_f[1]
    return (momentum**2).sum(axis=-1) / (2 * sigma**2) - log_f


def start(num_chains=5, num_points=3, sigma=1.0):
    rng = np.random.default_rng(0)
    shape = num_chains, num_points, 2
    return chains_at(rng.normal(size=shape)), sigma * rng.normal(size=shape)


STEP = np.array([0.05, 0.1, 0.15])


@pytest.mark.parametrize("sigma", [1.0, 0.5, 3.0])
@pytest.mark.parametrize("beta", [0.0, 0.4, 1.0])
def test_leapfrog_runs_backwards(beta, sigma):
    chains, momentum = start()
    end, end_momentum = leapfrog(kernel(20, sigma), chains, momentum, beta, STEP)
    assert np.abs(end.z - chains.z).min() > 1e-4
    back, back_momentum = leapfrog(kernel(20, sigma), end, -end_momentum, beta, STEP)
    np.testing.assert_allclose(back.z, chains.z, atol=1e-12)
    np.testing.assert_allclose(back_momentum, -momentum, atol=1e-12)


def test_leapfrog_preserves_volume():
    """The determinant of its Jacobian, by central differences, is 1."""
    rng = np.random.default_rng(0)
    point = rng.normal(size=4)

    def flow(point):
        chains = chains_at(point[None, None, :2])
        end, momentum = leapfrog(kernel(7, 0.8), chains, point[None, None, 2:], 0.7, STEP[2:])
        return np.concatenate([end.z, momentum], axis=-1).ravel()

    d = 1e-5
    jacobian = [(flow(point + d * e) - flow(point - d * e)) / (2 * d) for e in np.eye(4)]
    assert np.linalg.det(jacobian) == pytest.approx(1.0, abs=1e-7)
    assert abs(jacobian - np.eye(4)).max() > 0.1


@pytest.mark.parametrize("sigma", [1.0, 2.0])
def test_energy_error_is_of_second_order(sigma):
    """Half the step, twice as many: a quarter of the error."""
    chains, momentum = start(200, sigma=sigma)
    errors = []
    for num_steps, h in [(20, 0.04), (40, 0.02)]:
        end = leapfrog(kernel(num_steps, sigma), chains, momentum, 0.5, np.full(3, h * sigma))
        change = energy(*end, 0.5, sigma) - energy(chains, momentum, 0.5, sigma)
        errors.append(np.sqrt((change**2).mean()))
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.05)


@pytest.mark.parametrize("num_steps", [1, 2, 10])
def test_leapfrog_takes_all_its_steps(num_steps):
    """Without a force: z + n h p / sigma²."""
    flat = Kernel(lambda z: Chains(z, np.zeros((2, *z.shape[:2])), np.zeros((2, *z.shape))), 2.0, 0)
    chains, momentum = start()
    flat = flat._replace(num_steps=num_steps)
    end, _ = leapfrog(flat, chains._replace(grad=np.zeros((2, 5, 3, 2))), momentum, 0.3, STEP)
    expected = chains.z + num_steps * STEP[:, None] * momentum / 4.0
    np.testing.assert_allclose(end.z, expected, atol=1e-14)


def exact_chains(num_chains):
    """From f_1, as draws of the logistic and the normal distribution."""
    rng = np.random.default_rng(3)
    z = np.stack([rng.logistic(size=num_chains), rng.normal(1.0, 0.3, size=num_chains)], axis=-1)
    return chains_at(z[:, None, :])


def invariance_in_standard_errors(before, after):
    """Largest deviation of moments after a transition from the exact ones."""
    a, b = after[:, 0, 0], (after[:, 0, 1] - 1.0) / 0.3
    moments = [
        (a, 0.0),
        (a**2, math.pi**2 / 3),
        (a**4, 7 * math.pi**4 / 15),
        (abs(a) < 1, math.tanh(0.5)),
        (b, 0.0),
        (b**2, 1.0),
        (b**4, 3.0),
        (a * b, 0.0),
    ]
    return max(
        abs(values.mean() - exact) / (values.std() / math.sqrt(len(values)))
        for values, exact in moments
    )


@pytest.mark.parametrize(("sigma", "step"), [(1.0, 0.5), (3.0, 1.6)])
def test_hmc_leaves_its_density_invariant(sigma, step):
    """Steps so long that a third is rejected: without the Metropolis test the moments are off."""
    chains = exact_chains(100_000)
    moved, probability, accept = hmc(kernel(3, sigma), chains, 1.0, np.array([step]), Noise())
    assert invariance_in_standard_errors(chains.z, moved.z) < 3.5
    assert 0.5 < accept.mean() < 0.9
    assert probability.mean() == pytest.approx(accept.mean(), abs=0.005)

    momentum = sigma * Noise().normal((100_000, 1, 2))
    unchecked, _ = leapfrog(kernel(3, sigma), chains, momentum, 1.0, np.array([step]))
    assert invariance_in_standard_errors(chains.z, unchecked.z) > 10


def test_hmc_is_in_detailed_balance():
    """Pairs (before, after) are exchangeable: E g(before) h(after) = E h(before) g(after)."""
    before = exact_chains(100_000)
    after, *_ = hmc(kernel(3), before, 1.0, np.array([0.5]), Noise())
    a, b = before.z[:, 0], after.z[:, 0]
    functions = [lambda z: z[:, 0], lambda z: z[:, 1] ** 2, lambda z: z[:, 0] > 1]
    for g in functions:
        for h in functions:
            difference = g(a) * h(b) - 1.0 * h(a) * g(b)
            assert abs(difference.mean()) <= 3.5 * difference.std() / math.sqrt(100_000)
    assert np.corrcoef(a[:, 0], b[:, 0])[0, 1] < 0.9  # it moves


def test_hmc_keeps_values_and_derivatives_beside_their_z():
    chains, _ = start(500)
    moved, _, accept = hmc(kernel(), chains, 0.5, np.full(3, 0.55), Noise())
    assert 0.1 < accept.mean() < 0.95
    for kept, expected in zip(moved, chains_at(moved.z), strict=True):
        np.testing.assert_array_equal(kept, expected)
    np.testing.assert_array_equal((moved.z != chains.z).any(axis=-1), accept)


def test_trajectories_that_overflow_are_rejected():
    chains, _ = start()
    with np.errstate(all="ignore"):
        moved, *_ = hmc(kernel(500), chains, 1.0, np.full(3, 1e3), Noise())
    np.testing.assert_array_equal(moved.z, chains.z)


# Weights


@pytest.mark.parametrize("prior", [False, True])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_weights_average_to_the_exact_evidence(gaussian, prior, schedule):
    """E[w] = p(x), from either start, along any schedule, over 32 x 40 chains."""
    _, x = gaussian.simulate(40)
    result = ais(gaussian, x, 32, 24, prior=prior, schedule=schedule, num_steps=3)
    ratio = np.exp(result.log_w - gaussian.log_px(x)).mean(axis=0)
    error = ratio.std(ddof=1) / math.sqrt(len(ratio))
    assert abs(ratio.mean() - 1) < 3 * error < 0.35
    estimate = iwae(result.log_w) - gaussian.log_px(x)
    assert abs(estimate.mean()) < 3 * estimate.std(ddof=1) / math.sqrt(40) + 0.01


@pytest.mark.parametrize("prior", [False, True])
def test_reverse_weights_average_to_the_inverse_evidence(gaussian, prior):
    """E[1/w] = 1/p(x) for chains from exact posterior draws."""
    z, x = gaussian.simulate(1500)
    options = {"prior": prior, "step_size": 0.25, "num_steps": 4}
    result = ais(gaussian, x, 1, 24, reverse_from=z, **options)
    ratio = np.exp(gaussian.log_px(x) - result.log_w[0])
    error = ratio.std(ddof=1) / math.sqrt(len(ratio))
    assert abs(ratio.mean() - 1) < 3 * error < 0.15


def test_one_temperature_is_importance_sampling(binary):
    x = (np.random.default_rng(1).random((6, 10)) < 0.4).astype(np.float32)
    result = ais(binary, x, 5, num_temps=1, seed=9)
    rngs = [stream(9, "annealing noise", 0, i, FORWARD) for i in range(6)]
    eps = np.stack([rng.standard_normal((5, 1), np.float32) for rng in rngs], axis=1)
    np.testing.assert_allclose(result.log_w, binary.log_weights(x, eps=eps), atol=1e-5)
    assert np.isnan(result.acceptance).all()


@pytest.mark.parametrize("prior", [False, True])
def test_more_temperatures_approach_from_below(gaussian, prior):
    _, x = gaussian.simulate(60)
    gaps = []
    for num_temps in (1, 4, 16, 64):
        options = {"prior": prior, "step_size": 0.25, "num_steps": 2}
        gap = gaussian.log_px(x) - ais(gaussian, x, 16, num_temps, **options).log_w.mean(axis=0)
        gaps.append((gap.mean(), gap.std(ddof=1) / math.sqrt(60)))
    for (gap, error), (next_gap, next_error) in pairwise(gaps):
        assert gap - next_gap > 2 * math.hypot(error, next_error)
    assert -3 * gaps[-1][1] < gaps[-1][0] < gaps[0][0] / 10


def test_step_sizes_adapt_to_each_data_points_posterior(gaussian):
    _, x = gaussian.simulate(20)
    for prior, sigma in [(False, 1.0), (True, 1.0), (True, 4.0)]:
        result = ais(gaussian, x, 8, 60, prior=prior, sigma=sigma, num_steps=4)
        assert abs(result.acceptance.mean() - 0.65) < 0.1
        assert (result.acceptance > 0.4).all()
        # Stable integration of a density with standard deviation s needs h < 2 s sigma.
        assert (result.step_size < 2 * sigma).all() and (result.step_size > 0.1 * sigma).all()


def test_an_explicit_step_size_is_used_as_it_is(gaussian):
    _, x = gaussian.simulate(5)
    result = ais(gaussian, x, 4, 20, step_size=0.01)
    np.testing.assert_allclose(result.step_size, np.full(5, 0.01), rtol=1e-12)
    assert (result.acceptance > 0.99).all()


def test_bdmc_brackets_the_exact_evidence(gaussian):
    z, x = gaussian.simulate(200)
    exact = gaussian.log_px(x)
    gaps = []
    for num_temps in (3, 30):
        ends = sandwich(gaussian, z, x, 2, num_temps, prior=True, step_size=0.25, num_steps=2)
        for difference in (exact - ends.lower, ends.upper - exact):
            assert difference.mean() > -3 * difference.std() / math.sqrt(200)
        assert ends.gap == pytest.approx(ends.mean_upper - ends.mean_lower)
        spread = (ends.upper - ends.lower).std(ddof=1)
        assert ends.gap_error == pytest.approx(spread / math.sqrt(200))
        gaps.append(ends)
    assert gaps[0].gap > 10 * gaps[0].gap_error  # wide enough for a swapped end to be seen
    assert gaps[0].mean_lower < exact.mean() < gaps[0].mean_upper
    assert gaps[1].gap < gaps[0].gap / 3


@pytest.mark.slow
@pytest.mark.parametrize("prior", [False, True])
def test_reverse_annealing_with_adapted_steps(gaussian, prior):
    """Each temperature has its step size on the way back, too."""
    z, x = gaussian.simulate(100)
    options = {"prior": prior, "num_steps": 4}
    ends = sandwich(gaussian, z, x, 8, 60, **options)
    above = ends.upper - gaussian.log_px(x)
    error = above.std(ddof=1) / math.sqrt(100)
    assert -3 * error < above.mean() < 3 * error + 0.05 and error < 0.1
    forward, reverse = (ais(gaussian, x, 8, 60, reverse_from=end, **options) for end in (None, z))
    assert abs(reverse.acceptance.mean() - 0.65) < 0.08
    np.testing.assert_allclose(reverse.step_size, forward.step_size, rtol=1e-12)
    assert ends.acceptance == pytest.approx((forward.acceptance + reverse.acceptance).mean() / 2)
    assert ends.step_size == pytest.approx(forward.step_size.mean())


def test_bdmc_on_images_simulated_from_the_model(binary):
    ends = bdmc(binary, 100, 2, 4, prior=True, step_size=0.5, num_steps=3, seed=5)
    _, x = simulate(binary, 100, 5)
    exact = log_px_by_quadrature(binary, x)
    assert (
        ends.mean_lower - 3 * ends.gap_error < exact.mean() < ends.mean_upper + 3 * ends.gap_error
    )
    assert abs(exact.mean() - ends.mean_lower) < 0.2


def test_simulated_images_have_the_models_means(binary):
    z, x = simulate(binary, 4000)
    p = binary.decode(z)
    assert set(np.unique(x)) == {0.0, 1.0}
    assert (np.abs((x - p).mean(axis=0)) < 4 * 0.5 / math.sqrt(4000)).all()
    assert abs(z.mean()) < 4 / math.sqrt(4000) and z.std() == pytest.approx(1.0, abs=0.05)
    np.testing.assert_array_equal(simulate(binary, 10)[1], x[:10])


def test_simulated_bytes_have_the_models_means():
    model = jvi.Model(build("iaf-resnet:depths=1,n-z=1,n-h=2", 16, np.random.default_rng(0)))
    (z,), x = simulate(model, 2000)
    assert (x.shape, z.shape) == ((2000, 16), (2000, 2, 2, 1))
    assert np.array_equal(256 * x, np.round(256 * x)) and x.max() < 1
    assert stats.kstest(z[:, 0, 0, 0], stats.norm.cdf).pvalue > 1e-3  # at first the prior's
    np.testing.assert_array_equal(simulate(model, 10)[1], x[:10])
    means = np.clip(model.decode((z,)), 0, 1)
    assert (np.abs((x - means).mean(axis=0)) < 0.05).all()


# Several stochastic layers


@pytest.mark.parametrize("prior", [False, True])
def test_two_layers_agree_with_many_importance_samples(two_layers, prior):
    _, x = simulate(two_layers, 12)
    exact, reference_error = log_px_by_sampling(two_layers, x)
    samples = ais(two_layers, x, 48, 20, prior=prior, num_steps=3, step_size=0.4)
    ratio = np.exp(samples.log_w - exact).mean(axis=0)
    error = math.hypot(ratio.std(ddof=1) / math.sqrt(12), reference_error.max())
    assert abs(ratio.mean() - 1) < 3 * error < 0.15
    assert 0.7 < samples.acceptance.mean() < 0.9
    once = ais(two_layers, x, 48, 1, prior=prior)
    assert samples.log_w.mean() - once.log_w.mean() > 0.2  # it has annealed


def test_bdmc_brackets_two_layers(two_layers):
    _, x = simulate(two_layers, 60)
    exact, _ = log_px_by_sampling(two_layers, x)
    gaps = []
    for num_temps in (2, 20):
        ends = bdmc(two_layers, 60, 2, num_temps, prior=True, step_size=0.4, num_steps=3)
        for difference in (exact - ends.lower, ends.upper - exact):
            assert difference.mean() > -3 * difference.std() / math.sqrt(60)
        gaps.append(ends)
    assert gaps[0].gap > 3 * gaps[0].gap_error
    assert gaps[0].mean_lower < exact.mean() < gaps[0].mean_upper
    assert gaps[1].gap < gaps[0].gap / 3


def test_reverse_weights_of_two_layers_from_q(two_layers):
    """E[1/w] = 1/p(x): every layer is put back where the model takes it from."""
    z, x = simulate(two_layers, 300)
    exact, _ = log_px_by_sampling(two_layers, x)
    result = ais(two_layers, x, 1, 12, step_size=0.4, num_steps=3, reverse_from=z)
    ratio = np.exp(exact - result.log_w[0])
    assert abs(ratio.mean() - 1) < 3 * ratio.std(ddof=1) / math.sqrt(300) < 0.25


def test_latents_are_flattened_and_put_back():
    rng = np.random.default_rng(0)
    z = tuple(rng.normal(size=(4, 3, *shape)) for shape in [(5,), (2, 3), (1,)])
    flat = flatten(z)
    assert flat.shape == (4, 3, 12)
    back = unflatten(chainer.Variable(flat), z)
    for one, other in zip(back, z, strict=True):
        np.testing.assert_array_equal(one.array, other)
    assert np.shares_memory(flatten(z[0]), z[0])
    variable = chainer.Variable(z[0])
    assert unflatten(variable, z[0]) is variable


@pytest.mark.parametrize("prior", [False, True])
def test_densities_of_two_layers_have_their_derivatives(two_layers, prior):
    """By central differences, in float64, of what the link says of its own draws."""
    link = two_layers.link.copy("copy")
    for parameter in link.params():
        parameter.array = parameter.array.astype(np.float64)
    x, source = np.zeros((2, 6)), BatchSource(np.random.default_rng(0), 2)
    q = link.infer(x)
    z, log_q = link.draw(q, source, 3)
    z = tuple(layer.array for layer in z)
    chains_at = densities(link, x, q, prior, z)
    chains = chains_at(flatten(z))
    log_px, log_pz = (variable.array for variable in link.log_joint(x, z))
    np.testing.assert_allclose(chains.log_f[0], log_pz if prior else log_q.array, rtol=1e-10)
    np.testing.assert_allclose(chains.log_f[1], log_px + log_pz, rtol=1e-10)
    for direction in np.random.default_rng(1).normal(size=(3, *chains.z.shape)):
        ends = [chains_at(chains.z + step * direction).log_f for step in (1e-5, -1e-5)]
        along = (chains.grad * direction).sum(axis=-1)
        np.testing.assert_allclose((ends[0] - ends[1]) / 2e-5, along, rtol=1e-5, atol=1e-5)


# Streams and blocks


@pytest.mark.parametrize("reverse", [False, True])
def test_each_data_point_has_its_own_noise(monkeypatch, binary, reverse):
    """With steps too short to amplify rounding errors, the size of blocks does not matter."""
    z, x = simulate(binary, 7)
    options = {"step_size": 0.2, "num_steps": 3, "seed": 2, "reverse_from": z if reverse else None}
    whole = ais(binary, x, 4, 5, **options)
    for rows in (1, 12):
        monkeypatch.setattr(devices, "ROWS", rows)
        part = ais(binary, x, 4, 5, **options)
        for one, other in zip(part, whole, strict=True):
            np.testing.assert_allclose(one, other, atol=2e-5)
    assert not np.allclose(ais(binary, x, 4, 5, replication=1, **options).log_w, whole.log_w)


def test_fewer_chains_are_the_first_of_more(binary):
    _, x = simulate(binary, 5)
    options = {"step_size": 0.3, "num_steps": 2, "replication": 3}
    log_w = ais(binary, x, 40, 6, **options).log_w
    results = evaluations(binary, x, [1, 8, 40], 6, **options)
    for result, count in zip(results, (1, 8, 40), strict=True):
        np.testing.assert_allclose(result.per_image["ais"], iwae(log_w[:count]), rtol=1e-12)
        assert result.mean["ais"] == pytest.approx(iwae(log_w[:count]).mean(), rel=1e-12)
    expected = np.linalg.norm(jackknife_error(iwae, log_w, 8)) / 5
    assert results[2].sampling_error["ais"] == pytest.approx(expected, rel=1e-12)
    assert math.isnan(results[0].sampling_error["ais"])
    weights = np.exp(log_w) / np.exp(log_w).sum(axis=0)
    np.testing.assert_allclose(results[2].per_image["ess"], 1 / (weights**2).sum(axis=0))


def test_results_are_repeatable(binary):
    _, x = simulate(binary, 7)
    for one, other in zip(ais(binary, x, 4, 5), ais(binary, x, 4, 5), strict=True):
        np.testing.assert_array_equal(one, other)


def test_annealing_leaves_the_models_gradients_alone(binary):
    binary.link.cleargrads()
    ais(binary, np.zeros((2, 10), np.float32), 2, 3, step_size=0.1)
    assert all(parameter.grad is None for parameter in binary.link.params())


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_block_that_fails_ends_the_others_soon(monkeypatch, binary, error):
    original, begun, transitions = annealing.annealed_block, threading.Event(), []

    def block(model, x, settings, key, first, *rest):
        if first == 0:
            assert begun.wait(60)
            raise error
        return original(model, x, settings, key, first, *rest)

    def move(*arguments):
        begun.set()
        transitions.append(1)
        return hmc(*arguments)

    monkeypatch.setattr(annealing, "annealed_block", block)
    monkeypatch.setattr(temperatures, "hmc", move)
    monkeypatch.setattr(devices, "ROWS", 4)
    monkeypatch.setattr(threads, "cores", lambda: 2)
    with pytest.raises(error):
        ais(binary, np.zeros((3, 10), np.float32), 4, 3000, num_steps=2, step_size=0.1)
    assert len(transitions) < 1500


def test_a_failure_elsewhere_ends_nothing(monkeypatch, binary):
    """Not that of a map within an item, nor that of an earlier one."""
    monkeypatch.setattr(threads, "cores", lambda: 2)

    def fails(item):
        raise ValueError

    def item(_):
        with pytest.raises(ValueError):
            list(threads.parallel_map(fails, range(4), devices.device(-1)))
        return threads.stopped()

    assert list(threads.parallel_map(item, range(4), devices.device(-1))) == 4 * [False]
    assert not threads.stopped()


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_rise_from_0_to_1(name):
    betas = SCHEDULES[name](np.arange(101) / 100)
    assert betas[0] == pytest.approx(0.0, abs=1e-15) and betas[-1] == pytest.approx(1.0, abs=1e-15)
    assert (np.diff(betas) > 0).all()


def test_schedules_are_the_published_ones():
    """Wu et al. 2017: sigmoids of -4 to 4, shifted and scaled to 0 to 1."""
    s = np.arange(11) / 10
    raw = 1 / (1 + np.exp(-4 * (2 * s - 1)))
    np.testing.assert_allclose(SCHEDULES["sigmoid"](s), (raw - raw[0]) / (raw[-1] - raw[0]))
    ratios = np.diff(SCHEDULES["geometric"](s))
    np.testing.assert_allclose(ratios[1:] / ratios[:-1], 1000 ** (1 / 10))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_chains": 0}, "number of chains must be at least 1, not 0"),
        ({"num_temps": 0}, "number of temperatures must be at least 1, not 0"),
        ({"num_steps": 0}, "number of leapfrog steps must be at least 1"),
        ({"sigma": 0.0}, "sigma must be positive, not 0.0"),
        ({"step_size": math.nan}, "step size must be positive, not nan"),
        ({"schedule": "cosine"}, "unknown schedule 'cosine': choose from sigmoid"),
    ],
)
def test_impossible_requests_are_refused(binary, arguments, message):
    with pytest.raises(ValueError, match=message):
        ais(binary, np.zeros((2, 10), np.float32), **arguments)


def test_images_that_do_not_fit_are_refused(binary):
    with pytest.raises(ValueError, match="no images"):
        ais(binary, np.zeros((0, 10), np.float32))
    with pytest.raises(ValueError, match="the model expects"):
        ais(binary, np.zeros((2, 11), np.float32))
    with pytest.raises(ValueError, match=r"reverse_from has shape \(1, 1\), it should be \(2, 1\)"):
        ais(binary, np.zeros((2, 10), np.float32), reverse_from=np.zeros((1, 1)))
    with pytest.raises(ValueError, match="number of images must be at least 1"):
        bdmc(binary, 0)


def test_ends_that_do_not_fit_two_layers_are_refused(two_layers):
    z, x = simulate(two_layers, 2)
    message = r"reverse_from has shape \(2, 100\), \(2, 49\), it should be \(2, 100\), \(2, 50\)"
    with pytest.raises(ValueError, match=message):
        ais(two_layers, x, reverse_from=(z[0], z[1][:, 1:]))
    with pytest.raises(ValueError, match=r"shape \(2, 100\), it should be"):
        ais(two_layers, x, reverse_from=z[0])


@pytest.mark.parametrize(
    "ask", [lambda model: ais(model, np.zeros((2, 6)), prior=True), bdmc], ids=["ais", "bdmc"]
)
def test_discrete_latents_are_refused_before_any_work(monkeypatch, ask):
    model = jvi.Model(build("sbn:layers=2", 6, np.random.default_rng(0)))
    for name in ("infer", "draw_prior"):
        monkeypatch.setattr(model.link, name, None)
    message = "^annealing needs continuous latents, which sbn does not have$"
    with pytest.raises(ValueError, match=message):
        ask(model)


@pytest.mark.parametrize(
    ("name", "prior", "message"),
    [
        ("log_q", False, r"q\(z\|x\) needs the density .*, which linear .*: start from the prior$"),
        ("draw_prior", True, r"the prior needs draws .*, which linear .*: start from q\(z\|x\)$"),
    ],
)
def test_starts_that_a_model_lacks_are_refused(monkeypatch, name, prior, message):
    monkeypatch.delattr(LinearGaussian, name)
    model = GaussianModel()
    _, x = model.simulate(2)
    with pytest.raises(ValueError, match="^annealing from " + message):
        ais(model, x, prior=prior)
    ais(model, x, 2, 2, prior=not prior, step_size=0.1)


def test_only_binary_data_are_simulated(monkeypatch, gaussian):
    with pytest.raises(ValueError, match="needs binary data, which linear is not for"):
        bdmc(gaussian, 20)
    monkeypatch.delattr(LinearGaussian, "mean")
    with pytest.raises(ValueError, match=r"simulation needs the mean of .*, which linear does"):
        simulate(gaussian, 20)


def test_log_weights_that_are_not_finite_are_never_averaged():
    link = MLP(10, 4, 1, np.random.default_rng(0))
    link.decode.plin2.b.array[:] = 3e38
    with pytest.raises(ValueError, match="image 0 has log-weights"):
        ais(jvi.Model(link), np.zeros((2, 10), np.float32), 2, 3, step_size=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("prior", [False, True])
@pytest.mark.parametrize("name", ["tiny_iwae", "tiny_jvielbo", "tiny_vae"])
def test_original_models_agree_with_many_importance_samples(legacy, shared, name, prior):
    """Against IWAE of 100,000 samples, where these are enough: Pareto k below 0.7."""
    model = jvi.load(legacy(name))
    mnist = datasets.load("mnist", shared / "data")
    x = datasets.observe_each(mnist, mnist.test[:20], 0)
    results = [jvi.evaluate(model, x, 25_000, ("iwae", "jvi"), replication=r) for r in range(4)]
    enough = np.stack([result.per_image["pareto_k"] for result in results]).max(axis=0) < 0.7
    assert enough.sum() >= 5
    reference = np.stack([result.per_image["iwae"][enough] for result in results])
    log_w = ais(model, x[enough], 100 if prior else 16, 300, prior=prior).log_w
    errors = jackknife_error(iwae, log_w), reference.std(axis=0, ddof=1) / 2
    error = math.sqrt(sum((e**2).sum() for e in errors)) / enough.sum()
    difference = (iwae(log_w) - iwae(reference)).mean()
    assert abs(difference) < 3 * error < 0.2
