"""Weight-normalised layers against the formula, finite differences and what a first batch does."""

import threading

import chainer
import numpy as np
import pytest
from chainer.device_resident import DeviceResidentsVisitor
from chainer.serializers import DictionarySerializer
from scipy.signal import correlate2d

from jvi.engine.threads import parallel_map
from jvi.functions.weight_norm import weight_norm
from jvi.models.weight_norm import NormConv, NormDense, initialising

IN, OUT = 4, 5


def mask_of(shape, rng):
    """Some weights of every output but the first, which has none."""
    mask = rng.random(shape) < 0.6
    mask[..., 0, :] = True
    mask[..., 0] = False
    return mask


def dense(rng, masked=False, **options):
    return NormDense(IN, OUT, rng, mask_of((IN, OUT), rng) if masked else None, **options)


def conv(rng, masked=False, size=3, **options):
    mask = mask_of((size, size, IN, OUT), rng) if masked else None
    return NormConv(IN, OUT, size, rng=rng, mask=mask, **options)


LAYERS = {"dense": (dense, (50, IN)), "conv": (conv, (8, 5, 6, IN))}


@pytest.fixture(params=LAYERS)
def layer(request):
    """A function that makes a layer, and the shape of a batch for it."""
    return LAYERS[request.param]


def randomised(link, rng):
    """float64 and away from the start."""
    for parameter in link.params():
        parameter.array = rng.normal(0.3, 1, parameter.shape)
    return link


def weights_of(link):
    """W by the formula, output by output."""
    V = link.V.array if link.mask is None else link.V.array * link.mask
    W = np.zeros(V.shape)
    for o in range(V.shape[-1]):
        length = np.linalg.norm(V[..., o])
        if length:
            W[..., o] = link.g.array[o] * V[..., o] / length
    return W


@pytest.mark.parametrize("masked", [False, True])
def test_a_dense_layer_is_the_formula(masked):
    rng = np.random.default_rng(0)
    link, h = randomised(dense(rng, masked), rng), rng.normal(size=(2, 3, IN))
    expected = h @ weights_of(link) + link.b.array
    np.testing.assert_allclose(link(h).array, expected, rtol=1e-12)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_a_convolution_is_the_formula(size, stride, masked):
    rng = np.random.default_rng(1)
    link = randomised(conv(rng, masked, size, stride=stride), rng)
    h, W = rng.normal(size=(2, 5, 6, IN)), weights_of(link)
    expected = np.zeros((2, 5, 6, OUT)) + link.b.array
    for n, c, o in np.ndindex(2, IN, OUT):
        expected[n, :, :, o] += correlate2d(h[n, :, :, c], W[:, :, c, o], "same")
    np.testing.assert_allclose(link(h).array, expected[:, ::stride, ::stride], rtol=1e-10)


@pytest.mark.parametrize("masked", [False, True])
def test_gradients_are_those_of_finite_differences(layer, masked):
    rng = np.random.default_rng(2)
    link, h = randomised(layer[0](rng, masked), rng), chainer.Variable(rng.normal(size=layer[1]))
    weights = rng.normal(size=link(h).shape)
    link.cleargrads()
    chainer.functions.sum(link(h) * weights).backward()
    for variable in (h, *link.params()):
        direction, start, ends = rng.normal(size=variable.shape), variable.array, []
        for sign in (1, -1):
            variable.array = start + sign * 1e-5 * direction
            ends.append((link(h).array * weights).sum())
        variable.array = start
        slope = (ends[0] - ends[1]) / 2e-5
        assert (variable.grad * direction).sum() == pytest.approx(slope, rel=1e-7)
    if masked:
        assert not link.V.grad[link.mask == 0].any()


def test_the_length_of_v_does_not_count_and_g_is_the_length_of_w():
    rng = np.random.default_rng(3)
    V, g = rng.normal(size=(3, 3, IN, OUT)), rng.normal(size=OUT)
    W = weight_norm(V, g).array
    np.testing.assert_allclose(np.linalg.norm(W.reshape(-1, OUT), axis=0), abs(g), rtol=1e-12)
    np.testing.assert_allclose(weight_norm(V * rng.uniform(1, 9, OUT), g).array, W, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dense", {}),
        ("dense", {"masked": True}),
        ("conv", {}),
        ("conv", {"masked": True}),
        ("conv", {"stride": 2}),
    ],
    ids=str,
)
def test_the_first_batch_makes_mean_zero_and_standard_deviation_one(name, options):
    (make, shape), rng = LAYERS[name], np.random.default_rng(4)
    link = make(rng, **options)
    h = rng.normal(3, rng.uniform(0.01, 20, IN), shape).astype(np.float32)
    V = link.V.array.copy()
    with initialising():
        first = link(h).array
    rows = first.astype(np.float64).reshape(-1, OUT)[:, int("masked" in options) :]
    np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(rows.std(axis=0), 1, rtol=1e-5)
    np.testing.assert_array_equal(link(h).array, first)
    np.testing.assert_array_equal(link.V.array, V)
    with initialising():
        link(5 * h + 1)
    assert abs(link(h).array - first).max() > 0.1  # the last call counts


def test_outputs_that_are_constant_but_for_rounding_get_b_alone(layer):
    rng = np.random.default_rng(5)
    rounded = np.float32(100) + rng.integers(0, 2, (77, IN)) * np.spacing(np.float32(100))
    for link, h in (
        (dense(rng), rounded.astype(np.float32)),
        (layer[0](rng, masked=True), rng.normal(size=layer[1]).astype(np.float32)),
        (dense(rng), np.repeat(rng.normal(100, 9, (1, IN)), 77, axis=0).astype(np.float32)),
        (dense(rng), np.zeros((7, IN), np.float32)),
    ):
        link.b.array[...] = 7
        with initialising():
            out = link(h).array
        assert link.g.array[0] == 1
        np.testing.assert_allclose(out[..., 0], 0, atol=1e-4)


def test_initialising_ends_and_is_of_one_thread_alone():
    rng = np.random.default_rng(6)
    link, other, h = dense(rng), dense(rng), rng.normal(9, 9, (50, IN)).astype(np.float32)
    with initialising():
        thread = threading.Thread(target=other, args=(h,))
        thread.start()
        thread.join()
        link(h)
    assert (link.g.array != 1).all() and (other.g.array == 1).all()
    with pytest.raises(RuntimeError), initialising():
        raise RuntimeError
    other(h)
    assert (other.g.array == 1).all()


def test_a_copy_initialises_the_original_and_has_gradients_of_its_own():
    rng = np.random.default_rng(7)
    link, h = dense(rng, masked=True), rng.normal(9, 9, (50, IN)).astype(np.float32)
    with initialising():
        out = link.copy()(h).array
    np.testing.assert_array_equal(link(h).array, out)

    def gradients(rows):
        copy = link.copy()
        copy.cleargrads()
        chainer.functions.sum(copy(rows) ** 2).backward()
        return [parameter.grad for parameter in copy.params()]

    whole, cpu = gradients(h), chainer.get_device("@numpy")
    parts = list(parallel_map(gradients, np.split(h, 5), cpu))
    for one, *pieces in zip(whole, *parts, strict=True):
        np.testing.assert_allclose(sum(pieces), one, rtol=1e-3, atol=0.05)


def test_without_a_generator_parameters_are_unset_and_cost_nothing(layer):
    link = layer[0](np.random.default_rng(8))
    make, sizes = (NormDense, ()) if layer[0] is dense else (NormConv, (3,))
    unset = make(IN, OUT, *sizes)
    for name, parameter in unset.namedparams():
        assert np.isnan(parameter.array).all() and not any(parameter.array.strides)
        assert parameter.shape == dict(link.namedparams())[name].shape
        assert parameter.dtype == np.float32


def test_files_have_v_g_and_b_and_no_mask(layer):
    saved = DictionarySerializer()
    saved.save(layer[0](np.random.default_rng(9), masked=True))
    assert sorted(saved.target) == ["V", "b", "g"]


def test_the_mask_moves_with_the_link():
    class Mover(DeviceResidentsVisitor):
        moved = ()

        def visit_device_resident(self, device_resident): ...

        def visit_variable(self, param): ...

        def visit_array(self, arr):
            self.moved = (*self.moved, arr)
            return arr + 0

    link, mover = dense(np.random.default_rng(10), masked=True), Mover()
    mask = link.mask
    chainer.Sequential(link, dense(None)).device_resident_accept(mover)
    (moved,) = mover.moved
    assert moved is mask and link.mask is not mask
    np.testing.assert_array_equal(link.mask, mask)


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"a mask of shape \(4, 1\) for weights of shape \(4, 5\)"):
        NormDense(IN, OUT, mask=np.ones((IN, 1)))
