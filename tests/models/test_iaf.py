"""The dense VAE with an IAF posterior against its formulas, as a density, and by quadrature."""

import math

import chainer
import numpy as np
import pytest
from differences import slopes
from outputs import Outputs
from scipy import stats
from scipy.special import expit

import jvi
from jvi.engine.random import BatchSource, Given, stream
from jvi.models import IAF, build
from jvi.models.protocol import take, tree
from jvi.models.weight_norm import NormDense

K, N, PIXELS, HIDDEN, LATENT, WIDTH = 3, 2, 7, 5, 3, 4
KINDS = ["diag", "iaf1", "iaf2"]


def link_of(posterior, latent=LATENT, depth_ar=1, size=0.6):
    """In float64, with parameters that leave nothing at its first value."""
    rng = np.random.default_rng(7)
    link = IAF(PIXELS, HIDDEN, latent, posterior, 2, WIDTH, depth_ar, rng)
    for _, parameter in sorted(link.namedparams()):
        parameter.array = rng.normal(0, size, parameter.shape)
    return link


def images(number=N):
    return (np.random.default_rng(3).random((number, PIXELS)) < 0.5).astype(np.float64)


def noise(num_samples=K, number=N, latent=LATENT):
    return np.random.default_rng(4).normal(size=(num_samples, number, latent))


def drawn(link, x, eps):
    return link.draw_joint(x, link.infer(x), Given([eps]), len(eps))


def arrays(value):
    return tree(lambda each: chainer.as_variable(each).array, value)


def close(one, another, **options):
    options = {"rtol": 1e-9, "atol": 1e-9} | options
    for a, b in zip(arrays(tuple(one)), arrays(tuple(another)), strict=True):
        np.testing.assert_allclose(a, b, **options)


# --- the formulas, written out --------------------------------------------------------------------


def elu(h):
    return np.where(h > 0, h, np.expm1(h))


def dense(layer, h, mask=None):
    V = layer.V.array if mask is None else layer.V.array * mask
    norm = np.sqrt((V**2).sum(axis=0))
    return h @ (layer.g.array * V / np.where(norm > 0, norm, 1)) + layer.b.array


def network(layers, h):
    return dense(layers.out, elu(dense(layers.lin1, elu(dense(layers.lin0, h)))))


def place(unit, units, reverse):
    """The latent that a hidden unit is counted with, in the order of the step."""
    unit = units - 1 - unit if reverse else unit
    return unit * LATENT // units


def mask(num_in, num_out, copies, strict, reverse):
    full = np.zeros((num_in, num_out * copies))
    for i in range(num_in):
        for o in range(num_out * copies):
            before, after = place(i, num_in, reverse), place(o % num_out, num_out, reverse)
            full[i, o] = before < after if strict else before <= after
    return full


def step(flow, z, context, outputs, depth_ar, reverse):
    """z' and log |det dz'/dz|, unit by unit."""
    widths, h = [LATENT] + [WIDTH] * depth_ar + [LATENT], z
    for number, layer in enumerate(flow.network.layers):
        copies = outputs if number == depth_ar else 1
        masked = mask(widths[number], widths[number + 1], copies, number == 0, reverse)
        h = dense(layer, h if number == 0 else elu(h), masked)
        if number == 0:
            own = getattr(flow.network, "context", None)
            h = h + (context if own is None else dense(own, context))
    m = 0.1 * h[..., :LATENT]
    if outputs == 1:
        return z + m, 0.0
    sigma = expit(0.1 * h[..., LATENT:] + 2)
    return sigma * z + (1 - sigma) * m, np.log(sigma)


def by_formula(link, x, eps, outputs, depth_ar):
    """(z, log q of each unit, log p(x|z), log p(z))."""
    ends = [LATENT, 2 * LATENT]
    mean, ln_sd, context = np.split(network(link.encode, x - 0.5), ends, axis=-1)
    z = mean + np.exp(ln_sd) * eps
    log_q = stats.norm.logpdf(z, mean, np.exp(ln_sd))
    for number in range(2 if outputs else 0):
        z, log_det = step(link.flow[number], z, context, outputs, depth_ar, number == 1)
        log_q = log_q - log_det
    p = expit(network(link.decode, z))
    log_px = stats.bernoulli.logpmf(x, p).sum(axis=-1)
    return z, log_q, log_px, stats.norm.logpdf(z)


@pytest.mark.parametrize("depth_ar", [0, 2])
@pytest.mark.parametrize("posterior", KINDS)
def test_densities_are_the_formulas(posterior, depth_ar):
    link, x, eps = link_of(posterior, depth_ar=depth_ar), images(), noise()
    found = drawn(link, x, eps)
    outputs = KINDS.index(posterior)
    z, log_q, log_px, log_pz = by_formula(link, x, eps, outputs, depth_ar)
    expected = [z, log_q.sum(-1), log_px, log_pz.sum(-1), log_q - log_pz]
    close(found, expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(link.mean(z).array, expit(network(link.decode, z)), rtol=1e-10)


@pytest.mark.parametrize("posterior", KINDS)
def test_gradients_are_those_of_finite_differences(posterior):
    rng, link, x, eps = np.random.default_rng(1), link_of(posterior), images(), noise()

    def total():
        _, log_q, log_px, log_pz, _ = drawn(link, x, eps)
        return log_px + log_pz - log_q

    link.cleargrads()
    log_w = total()
    log_w.grad = np.ones_like(log_w.array)
    log_w.backward()
    parameters = dict(link.namedparams())
    for name, direction, slope in slopes(parameters.items(), lambda: total().array.sum(), rng):
        found = (parameters[name].grad * direction).sum()
        assert found == pytest.approx(slope, rel=1e-6, abs=1e-7), name


# --- one draw, seen from several sides ------------------------------------------------------------


@pytest.mark.parametrize("posterior", KINDS)
def test_draws_and_densities_are_those_of_two_passes(posterior):
    link, x, eps = link_of(posterior), images(), noise()
    whole = drawn(link, x, eps)
    z, log_q = link.draw(link.infer(x), Given([eps]), K)
    close([z, log_q], [whole.z, whole.log_q])
    close(link.log_joint(x, z.array), [whole.log_px, whole.log_pz])
    close([whole.groups.array.sum(axis=-1)], [whole.log_q - whole.log_pz])
    assert whole.log_q.shape == whole.log_px.shape == whole.log_pz.shape == (K, N)
    assert whole.groups.shape == (K, N, LATENT)


def test_samples_and_data_points_do_not_mix():
    """Each has what it has alone, and no other's noise or pixels move it."""
    link, x, eps = link_of("iaf2"), images(), noise()
    whole, q = drawn(link, x, eps), link.infer(x)
    for k in range(K):
        for n in range(N):
            single = eps[k : k + 1, n : n + 1]
            alone = drawn(link, x[n : n + 1], single)
            for one, other in zip(arrays(tuple(whole)), arrays(tuple(alone)), strict=True):
                np.testing.assert_allclose(one[k, n], other[0, 0], rtol=1e-10)
            part = link.draw(take(q, slice(n, n + 1)), Given([single]), 1)[0]
            np.testing.assert_allclose(part.array[0, 0], whole.z.array[k, n], rtol=1e-10)
    other = eps.copy()
    other[1:], other[:, 1] = 0, 0
    moved = drawn(link, np.stack([x[0], 1 - x[1]]), other)
    for one, another in zip(arrays(tuple(whole)), arrays(tuple(moved)), strict=True):
        np.testing.assert_array_equal(one[0, 0], another[0, 0])
        assert (one[:, 1] != another[:, 1]).any()


@pytest.mark.parametrize("posterior", KINDS)
def test_prior_over_posterior_is_one_on_average(posterior):
    """q(z|x) is a density of what is drawn from it: E[p(z) / q(z|x)] = 1."""
    link, count = link_of(posterior, latent=2, size=0.2), 50_000
    link.encode.out.b.array[2:4] = 0.4  # wider than p(z), so that the ratio has a variance
    with chainer.no_backprop_mode():
        joint = drawn(link, images(1), noise(count, 1, 2))
    log_ratio = (joint.log_pz.array - joint.log_q.array)[:, 0]
    ratio = np.exp(log_ratio)
    error = ratio.std() / math.sqrt(count)
    assert log_ratio.std() > 0.2 and error < 0.01
    assert abs(ratio.mean() - 1) < 4 * error


@pytest.mark.parametrize("posterior", KINDS)
def test_the_bound_of_many_samples_is_the_evidence(posterior):
    """By quadrature, which knows p alone; posteriors differ, p does not."""
    link, count = link_of(posterior, latent=2, size=0.4), 20_000
    other = link_of("diag", latent=2)
    for name, parameter in other.decode.namedparams():
        dict(link.decode.namedparams())[name].array = parameter.array
    axis = np.linspace(-7, 7, 141)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 1, 2)
    x = images()
    with chainer.no_backprop_mode():
        log_px, log_pz = link.log_joint(x, np.repeat(grid, N, axis=1))
        joint = drawn(link, x, noise(count, N, 2))
    log_pxz = log_px.array + log_pz.array
    exact = np.logaddexp.reduce(log_pxz, axis=0) + 2 * math.log(axis[1] - axis[0])
    w = np.exp(joint.log_px.array + joint.log_pz.array - joint.log_q.array - exact)
    error = w.std(axis=0) / math.sqrt(count)
    assert (error < 0.05).all() and (abs(w.mean(axis=0) - 1) < 4 * error).all()


# --- the rest of the protocol ---------------------------------------------------------------------


@pytest.mark.parametrize("posterior", KINDS)
def test_a_typical_draw_is_one_without_noise(posterior):
    link, x = link_of(posterior), images()
    q = link.infer(x)
    z = link.draw(q, Given([np.zeros((1, N, LATENT))]), 1)[0]
    close([link.typical(q)], [z])
    close(link.latent_means(q, z), [z.array[0]])


@pytest.mark.parametrize("estimator", ["jvi-iwae", "jvi-elbo", "piwae:groups=2"])
def test_the_model_and_the_encoder_may_have_bounds_of_their_own(estimator):
    """Two passes, whose densities have one precision."""
    sizes = "iaf:hidden=4,latent=2,width=4"
    model = jvi.train(sizes, "digits", estimator, 4, 1, batch_size=600, quiet=True)
    assert math.isfinite(model.history[-1]["validation/main/iwae"])


@pytest.mark.parametrize("posterior", ["diag", "iaf2"])
def test_the_first_batch_sets_scales(posterior):
    name = f"iaf:hidden=5,latent=3,width=4,posterior={posterior}"
    links = [build(name, PIXELS, np.random.default_rng(1)) for _ in range(2)]
    x = images(60).astype(np.float32)
    for link in links:
        link.initialise(x, BatchSource(stream(0, "training noise", 0), 60))
    link, other = (dict(each.namedparams()) for each in links)
    for key, parameter in link.items():
        np.testing.assert_array_equal(parameter.array, other[key].array)
        assert parameter.dtype == np.float32
    outputs = Outputs(links[0])
    with chainer.no_backprop_mode(), outputs:
        source = BatchSource(stream(0, "training noise", 0), 60)
        links[0].draw_joint(x, links[0].infer(x), source, 1)
    layers = [key for key, each in links[0].namedlinks() if isinstance(each, NormDense)]
    # decode/out is overwritten by the likelihood, in place
    assert sorted(outputs.found) == sorted(layers)
    for key in set(layers) - {"/decode/out"}:
        out = outputs.found[key].astype(np.float64)
        out = out.reshape(-1, out.shape[-1])
        promised = np.full(out.shape[1], 0.1 if key.endswith("/out") else 1.0)
        if key.endswith("/layers/0"):  # two of four units see nothing of z: they are constant
            promised[{"/flow/0": slice(0, 2), "/flow/1": slice(2, 4)}[key[:7]]] = 0
        np.testing.assert_allclose(out.mean(axis=0), 0, atol=2e-5, err_msg=key)
        np.testing.assert_allclose(out.std(axis=0), promised, rtol=1e-3, atol=1e-6, err_msg=key)
