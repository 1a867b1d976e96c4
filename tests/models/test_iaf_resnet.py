"""The ResNet VAE with IAF posteriors against PyTorch, and as a density."""

import math
import tracemalloc

import chainer
import numpy as np
import pytest
from outputs import Outputs

import jvi
from jvi.engine.random import BatchSource, Given, stream
from jvi.models import IAFResNet, build, iaf_resnet
from jvi.models.protocol import take, tree
from jvi.models.weight_norm import NormConv, NormDense

K, N, SIDE, N_Z, N_H = 3, 2, 8, 2, 3
DEPTHS, LEVELS = "2-1", [0, 0, 1]
POSTERIORS = ["up_diag", "up_iaf1", "up_iaf2", "down_diag", "down_iaf1", "down_iaf2"]


def link_of(posterior, colours=1, depth_ar=1, depths=DEPTHS, side=SIDE, n_z=N_Z, n_h=N_H, size=0.5):
    """In float64, with parameters that leave nothing at its first value."""
    rng = np.random.default_rng(7)
    link = IAFResNet(colours * side**2, depths, n_z, n_h, posterior, depth_ar, rng)
    for name, parameter in sorted(link.namedparams()):
        parameter.array = rng.normal(0, size, parameter.shape)
        if name == "/ln_scale":
            parameter.array[...] = math.log(0.2)
    return link


def images(link, number=N, seed=3):
    """Bytes over 256, the first and the last value among them."""
    levels = np.random.default_rng(seed).integers(0, 256, (number, link.num_pixels))
    levels[:, :3], levels[:, -3:] = 0, 255
    return levels / 256.0


def noise(link, num_samples=K, number=N, seed=4):
    """Of each layer from the lowest."""
    rng = np.random.default_rng(seed)
    shapes = [(layer.side, layer.side, layer.n_z) for layer in link.layers]
    return [rng.normal(size=(num_samples, number, *shape)) for shape in shapes]


def given(link, eps):
    """In the order in which the model asks for it."""
    return Given(eps if link.upwards else eps[::-1])


def drawn(link, x, eps):
    return link.draw_joint(x, link.infer(x), given(link, eps), len(eps[0]))


def elbo_gradients(link, x, eps):
    link.cleargrads()
    _, log_q, log_px, log_pz, _ = drawn(link, x, eps)
    log_w = log_px + log_pz - log_q
    log_w.grad = np.full(log_w.shape, 1 / log_w.size)
    log_w.backward()
    return {name: parameter.grad for name, parameter in link.namedparams()}


# --- against PyTorch ------------------------------------------------------------------------------


@pytest.mark.parametrize("depth_ar", [0, 2])
@pytest.mark.parametrize("colours", [1, 3], ids=["grey", "colour"])
@pytest.mark.parametrize("posterior", POSTERIORS)
def test_densities_and_gradients_are_pytorchs(posterior, colours, depth_ar):
    torch = pytest.importorskip("torch")
    import torch_resnet

    link = link_of(posterior, colours, depth_ar)
    link.x_dec.b.array[0] = 6  # a quarter of the first map's means is cut off at the largest
    x, eps = images(link), noise(link)
    ours, gradients = drawn(link, x, eps), elbo_gradients(link, x, eps)
    parameters = {name.lstrip("/"): each.array for name, each in link.namedparams()}
    nested, tensors = torch_resnet.tree(parameters)
    other = torch_resnet.Once(nested, LEVELS, N_Z, N_H, posterior, depth_ar)
    rows = torch.tensor(np.tile(x, (K, 1))).reshape(K * N, SIDE, SIDE, colours).movedim(3, 1)
    first = [torch.tensor(each.reshape(K * N, *each.shape[2:])).movedim(3, 1) for each in eps]
    log_q, log_p, log_px = other(rows, first)
    found = {
        "q": (ours.log_q, log_q.sum(dim=(1, 2))),
        "p(z)": (ours.log_pz, log_p.sum(dim=(1, 2))),
        "p(x|z)": (ours.log_px, log_px),
        "groups": (ours.groups, (log_q - log_p).flatten(1)),
    }
    for name, (one, another) in found.items():
        expected = another.detach().numpy().reshape(one.shape)
        np.testing.assert_allclose(one.array, expected, rtol=1e-10, atol=1e-10, err_msg=name)
    (log_px + (log_p - log_q).sum(dim=(1, 2))).mean().backward()
    assert len(gradients) == len(tensors)
    for name, gradient in gradients.items():
        expected = tensors[name.lstrip("/")].grad.numpy()
        error = np.linalg.norm(gradient - expected)
        assert np.any(expected) and error < 1e-8 * np.linalg.norm(expected), name


# --- one draw, seen from several sides ------------------------------------------------------------


def arrays(value):
    return tree(lambda each: chainer.as_variable(each).array, value)


def close(one, another, **options):
    options = {"rtol": 1e-9, "atol": 1e-9} | options
    for a, b in zip(arrays(tuple(one)), arrays(tuple(another)), strict=True):
        np.testing.assert_allclose(a, b, **options)


def rows_of(joint, k, n):
    """A `Joint` of one sample of one data point, without the axes of the others."""
    return [np.asarray(each.array[k, n]) for each in (*joint.z, *joint[1:])]


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_draws_and_densities_are_those_of_two_passes(posterior):
    link = link_of(posterior, side=4)
    x, eps = images(link), noise(link)
    whole = drawn(link, x, eps)
    z, log_q = link.draw(link.infer(x), given(link, eps), K)
    close([*z, log_q], [*whole.z, whole.log_q])
    close(link.log_joint(x, z), [whole.log_px, whole.log_pz])
    close(link.log_joint(x, arrays(z)), [whole.log_px, whole.log_pz])
    total = whole.groups.array.sum(axis=-1)
    close([whole.log_q - whole.log_pz], [total])
    for shape in (whole.log_q.shape, whole.log_px.shape, whole.log_pz.shape):
        assert shape == (K, N)
    assert whole.log_px.dtype == whole.log_pz.dtype == whole.log_q.dtype == np.float64
    assert [each.shape for each in whole.z] == [each.shape for each in eps]
    assert whole.groups.shape == (K, N, 3 * N_Z)


@pytest.mark.parametrize("posterior", ["up_iaf2", "down_iaf2"])
def test_samples_and_data_points_do_not_mix(posterior):
    """Each has what it has alone, and no other's noise or pixels move it."""
    link = link_of(posterior, side=4)
    x, eps = images(link), noise(link)
    whole, q = drawn(link, x, eps), link.infer(x)
    for k in range(K):
        for n in range(N):
            single = [each[k : k + 1, n : n + 1] for each in eps]
            alone = drawn(link, x[n : n + 1], single)
            close(rows_of(whole, k, n), rows_of(alone, 0, 0))
            part = link.draw(take(q, slice(n, n + 1)), given(link, single), 1)
            close([each.array[k, n] for each in whole.z], [each.array[0, 0] for each in part[0]])
    changed, other = x.copy(), [each.copy() for each in eps]
    changed[1] = changed[1, ::-1]
    for each in other:
        each[1:], each[:, 1] = 0, 0
    moved = drawn(link, changed, other)
    close(rows_of(whole, 0, 0), rows_of(moved, 0, 0), rtol=0, atol=0)
    assert abs(whole.log_q.array - moved.log_q.array)[:, 1].min() > 1e-3


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_prior_over_posterior_is_one_on_average(posterior):
    """q(z|x) is a density of what is drawn from it: E[p(z) / q(z|x)] = 1.

    It is wider than p(z), so that the ratio has a variance.
    """
    link = link_of(posterior, side=4, depths="1-1", n_z=1, n_h=2, size=0.15)
    for layer in link.layers:
        layer.up_conv1.b.array[3] = 0.3  # after two maps of hidden units and the mean
    x, count = images(link, 1), 10_000
    with chainer.no_backprop_mode():
        joint = drawn(link, x, noise(link, count, 1, seed=5))
    log_ratio = (joint.log_pz.array - joint.log_q.array)[:, 0]
    ratio = np.exp(log_ratio)
    error = ratio.std() / math.sqrt(count)
    assert log_ratio.std() > 0.2 and error < 0.03
    assert abs(ratio.mean() - 1) < 4 * error


class Numbers:
    """A source of numbers in float64."""

    def __init__(self, rng):
        self.rng = rng

    def normal(self, shape):
        return self.rng.normal(size=shape)


def test_the_prior_is_what_its_density_says():
    """Draws of it, of which E[q / p] = 1 for any density q: here a narrower normal."""
    link = link_of("down_diag", side=4, depths="1-1", n_z=1, n_h=2, size=0.3)
    x, count = images(link, 1), 10_000
    z = link.draw_prior(Numbers(np.random.default_rng(1)), count, 1)
    with chainer.no_backprop_mode():
        log_pz = link.log_joint(x, z)[1].array[:, 0]
    log_q = sum(normal(each.astype(np.float64), 0.8).reshape(count, -1).sum(-1) for each in z)
    ratio = np.exp(log_q - log_pz)
    error = ratio.std() / math.sqrt(count)
    assert error < 0.02 and abs(ratio.mean() - 1) < 4 * error


def normal(z, deviation):
    return -0.5 * (z / deviation) ** 2 - math.log(deviation * math.sqrt(2 * math.pi))


class Evenly:
    """A source of uniform numbers whose samples are spread evenly over [0, 1)."""

    def uniform(self, shape):
        even = (np.arange(shape[0]) + 0.5) / shape[0]
        return np.broadcast_to(even.reshape(-1, *[1] * (len(shape) - 1)), shape)


def test_drawn_pixels_have_the_probabilities_of_the_likelihood():
    """Of one pixel, each of the 256."""
    link, count = link_of("down_diag", side=4, depths="1", n_z=1, n_h=2), 4_096
    (z,) = noise(link, 1, 1)
    x = link.draw_x((np.repeat(z, count, axis=0),), Evenly())
    assert x.shape == (count, 1, 16)
    grid = np.full((256, 16), 0.5)
    grid[:, 5] = np.arange(256) / 256
    log_px = link.log_joint(grid, (np.repeat(z, 256, axis=1),))[0].array[0]
    p = np.exp(log_px - np.logaddexp.reduce(log_px))
    found = np.bincount(np.rint(256 * x[:, 0, 5]).astype(int), minlength=256) / count
    assert p[0] > 0.001 and p[-1] > 0.001
    np.testing.assert_allclose(found, p, atol=1.01 / count)
    np.testing.assert_array_equal(x, np.rint(256 * x) / 256)


# --- memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("posterior", ["up_iaf2", "down_iaf2", "down_diag"])
def test_what_is_computed_again_has_the_same_gradients(posterior, dtype, monkeypatch):
    link = link_of(posterior, side=4)
    for parameter in link.params():
        parameter.array = parameter.array.astype(dtype)
    x, *eps = (each.astype(dtype) for each in (images(link), *noise(link)))
    plain = elbo_gradients(link, x, eps)
    monkeypatch.setattr(iaf_resnet, "REMEMBERED", 0)
    again = elbo_gradients(link, x, eps)
    for name, gradient in plain.items():
        np.testing.assert_array_equal(again[name], gradient, err_msg=name)


def test_many_samples_take_less_memory_where_layers_are_computed_again(monkeypatch):
    link = link_of("down_iaf2", depths="4", side=8)
    x, eps = images(link, 1), noise(link, 64, 1)

    def peak(remembered):
        monkeypatch.setattr(iaf_resnet, "REMEMBERED", remembered)
        elbo_gradients(link, x, eps)
        tracemalloc.start()
        try:
            elbo_gradients(link, x, eps)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(0) < 0.6 * peak(64)


@pytest.mark.parametrize("posterior", ["up_iaf1", "down_diag", "down_iaf2"])
def test_a_samples_heft_is_what_its_graph_keeps(posterior):
    """By measurement, with room for as many gradients."""
    link = link_of(posterior, colours=3, depths="1-1", side=16, n_z=4, n_h=16)
    x = images(link, 1)

    def kept(num_samples):
        eps = noise(link, num_samples, 1)
        tracemalloc.start()
        try:
            joint = drawn(link, x, eps)  # whose graph is there as long as it is
            return tracemalloc.get_traced_memory()[0] / joint.log_q.dtype.itemsize
        finally:
            tracemalloc.stop()

    kept(1)
    numbers = sum(layer.numbers for layer in link.layers)
    assert 0.25 < (kept(9) - kept(1)) / 8 / numbers < 1
    assert link.heft == max(1, numbers // iaf_resnet.ROW)


# --- the first batch ------------------------------------------------------------------------------


@pytest.mark.parametrize("posterior", ["up_iaf2", "down_iaf1"])
def test_the_first_batch_sets_scales(posterior):
    name = f"iaf-resnet:depths=2-1,n-z=2,n-h=3,posterior={posterior}"
    links = [build(name, 64, np.random.default_rng(1)) for _ in range(2)]
    x = images(links[0], 50).astype(np.float32)
    for link in links:
        link.initialise(x, BatchSource(stream(0, "training noise", 0), 50))
    link, other = links
    for name, parameter in link.namedparams():
        np.testing.assert_array_equal(parameter.array, dict(other.namedparams())[name].array)
        assert parameter.dtype == np.float32
    assert math.exp(link.ln_scale.array) * math.pi / math.sqrt(3) == pytest.approx(x.std(), 1e-5)
    outputs = Outputs(link)
    with chainer.no_backprop_mode(), outputs:
        link.draw_joint(x, link.infer(x), BatchSource(stream(0, "training noise", 0), 50), 1)
    layers = [n for n, each in link.namedlinks() if isinstance(each, NormConv | NormDense)]
    assert sorted(outputs.found) == sorted(layers) and len(layers) > 10
    for name, out in outputs.found.items():
        out = out.reshape(-1, out.shape[-1]).astype(np.float64)
        promised = 1.0 if "/flow/" in name else 0.1
        if name == "/layers/2/down_conv1":  # what comes down to the highest layer is constant
            promised = 0.0
        np.testing.assert_allclose(out.mean(axis=0), 0, atol=2e-5, err_msg=name)
        deviations = out.std(axis=0)
        free = deviations < 1e-6  # of the first map, which nothing comes before but the context
        np.testing.assert_allclose(deviations[~free], promised, rtol=1e-3, err_msg=name)
        assert not free.any() or promised == 0, name


@pytest.mark.parametrize("posterior", ["up_diag", "down_iaf2"])
def test_the_first_bound_is_a_sensible_one(posterior):
    data = jvi.load_dataset("digits-grey")
    link = build(f"iaf-resnet:depths=1-1,n-z=2,n-h=4,posterior={posterior}", 64, seeded())
    x = data.observe(data.train[:64], None)
    link.initialise(x, BatchSource(stream(0, "training noise", 0), 64))
    x = data.observe(data.test[:32], None)
    with chainer.no_backprop_mode():
        joint = link.draw_joint(x, link.infer(x), BatchSource(seeded(), 32), 1)
    elbo = (joint.log_px.array + joint.log_pz.array - joint.log_q.array).mean()
    assert 2 < data.unit.value(elbo) < 12


def seeded():
    return np.random.default_rng(0)


# --- evaluation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("posterior", ["up_iaf1", "down_iaf2"])
def test_an_evaluation_does_not_depend_on_how_it_is_cut(posterior):
    data = jvi.load_dataset("digits-grey")
    name = f"iaf-resnet:depths=1-1,n-z=1,n-h=3,posterior={posterior}"
    model = jvi.model(name, data, seed=1)
    x, bounds = data.observe(data.test[:6], None), ["iwae", "jvi", "elbo"]
    model.link.initialise(x, BatchSource(seeded(), 6))
    whole = jvi.evaluate(model, x, 20, bounds, order=1, keep=True, unit=data.unit)
    model.link.heft = 2**9  # four samples at once
    parts = jvi.evaluate(model, x, 20, bounds, order=1, keep=True, batch_size=1)
    few = jvi.evaluate(model, x, 7, bounds, order=1, keep=True)
    assert whole.log_w.shape == (20, 6) and whole.log_w.dtype == np.float64
    np.testing.assert_allclose(parts.log_w, whole.log_w, rtol=1e-6)
    np.testing.assert_allclose(few.log_w, whole.log_w[:7], rtol=1e-6)
    assert len(np.unique(whole.log_w)) == 120
    for bound in bounds:
        np.testing.assert_allclose(parts.per_image[bound], whole.per_image[bound], rtol=1e-6)
    top = whole.log_w.max(axis=0)
    iwae = np.log(np.exp(whole.log_w - top).mean(axis=0)) + top
    np.testing.assert_allclose(whole.per_image["iwae"], iwae, rtol=1e-12)
    np.testing.assert_allclose(whole.per_image["elbo"], whole.log_w.mean(axis=0), rtol=1e-12)
    assert (whole.per_image["iwae"] > whole.per_image["elbo"]).all()
    bits, _ = whole.in_unit["iwae"]
    assert bits == pytest.approx(-whole.mean["iwae"] / (64 * math.log(2)), rel=1e-12)
    assert 2 < bits < 12
    alone = jvi.evaluate(model, x[:1], 20, bounds, order=1, keep=True)
    np.testing.assert_allclose(alone.log_w, whole.log_w[:, :1], rtol=1e-6)
