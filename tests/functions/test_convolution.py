"""Convolution and ELU: definitions as loops, other libraries, finite differences, memory."""

import tracemalloc

import chainer
import numpy as np
import pytest
import stand_in
from scipy import signal

from jvi.engine.devices import device
from jvi.engine.threads import parallel_map
from jvi.functions import convolve, elu
from jvi.functions.kernels import convolution, convolution_kernels_for

# Size of the kernel, stride, sides of the images, channels and outputs: all ways that are computed.
CASES = [
    (3, 1, (6, 8), (8, 16)),
    (3, 1, (7, 5), (9, 8)),
    (3, 1, (1, 2), (8, 11)),
    (3, 1, (5, 6), (3, 4)),
    (3, 2, (8, 6), (4, 5)),
    (3, 2, (7, 9), (3, 2)),
    (5, 1, (6, 3), (2, 3)),
    (5, 1, (4, 7), (6, 2)),
    (5, 2, (7, 8), (3, 8)),
    (5, 2, (7, 8), (8, 3)),
    (5, 3, (7, 10), (1, 2)),
    (1, 1, (4, 3), (5, 7)),
    (1, 2, (5, 4), (3, 2)),
    (7, 1, (2, 3), (2, 2)),
]
ids = [f"{k}x{k}-stride{s}-{h}x{w}-{c}to{o}" for k, s, (h, w), (c, o) in CASES]
cases = pytest.mark.parametrize(("size", "stride", "sides", "channels"), CASES, ids=ids)


def arrays(size, stride, sides, channels, num_images=3, dtype=np.float64):
    """Images, kernels, biases and derivatives by the output."""
    rng = np.random.default_rng(size + 10 * stride + 100 * sides[0])
    C, outputs = channels
    out = num_images, -(-sides[0] // stride), -(-sides[1] // stride), outputs
    shapes = (num_images, *sides, C), (size, size, C, outputs), (outputs,), out
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


def by_definition(x, W, b, stride):
    """One number at a time."""
    half, (_, H, wide, _) = len(W) // 2, x.shape
    y = np.tile(b, (len(x), -(-H // stride), -(-wide // stride), 1))
    for n, i, j, u, v in np.ndindex(*y.shape[:3], *W.shape[:2]):
        row, column = stride * i + u - half, stride * j + v - half
        if 0 <= row < H and 0 <= column < wide:
            y[n, i, j] += x[n, row, column] @ W[u, v]
    return y


def gradients(x, W, b, g, stride):
    """Derivatives of Σ g y by x, W and b."""
    variables = [chainer.Variable(each) for each in (x, W, b)]
    y = convolve(*variables, stride=stride)
    y.grad = g
    y.backward()
    return [each.grad for each in variables]


def distance(found, expected):
    return np.linalg.norm(np.asarray(found) - expected) / np.linalg.norm(expected)


@cases
def test_it_is_its_definition(size, stride, sides, channels):
    x, W, b, _ = arrays(size, stride, sides, channels)
    expected = by_definition(x, W, b, stride)
    np.testing.assert_allclose(convolve(x, W, b, stride).array, expected, rtol=1e-11, atol=1e-12)
    without = convolve(x, W, stride=stride).array
    np.testing.assert_allclose(without, expected - b, rtol=1e-11, atol=1e-12)


@cases
def test_it_is_scipys_correlation(size, stride, sides, channels):
    x, W, b, _ = arrays(size, stride, sides, channels)
    padded = np.pad(x, ((0, 0), (size // 2,) * 2, (size // 2,) * 2, (0, 0)))
    y = [
        [signal.correlate(image, W[..., o], "valid")[::stride, ::stride, 0] for o in range(len(b))]
        for image in padded
    ]
    expected = np.moveaxis(y, 1, -1) + b
    np.testing.assert_allclose(convolve(x, W, b, stride).array, expected, rtol=1e-10, atol=1e-11)


@cases
def test_gradients_are_finite_differences(size, stride, sides, channels):
    """Along a random direction of everything at once: Σ g y is linear in each of x, W and b."""
    x, W, b, g = arrays(size, stride, sides, channels)
    for i, found in enumerate(gradients(x, W, b, g, stride)):
        inputs = [x, W, b]
        direction = np.random.default_rng(i).normal(size=inputs[i].shape)
        values = []
        for sign in (1, -1):
            moved = [a + sign * direction if j == i else a for j, a in enumerate(inputs)]
            values.append((g * convolve(*moved, stride=stride).array).sum())
        assert (found * direction).sum() == pytest.approx((values[0] - values[1]) / 2, rel=1e-9)


@cases
def test_it_and_its_gradients_are_pytorchs(size, stride, sides, channels):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    x, W, b, g = arrays(size, stride, sides, channels)
    order = ((0, 3, 1, 2), (3, 2, 0, 1), (0,))
    inputs = [torch.tensor(a, requires_grad=True) for a in (x, W, b)]
    theirs = [a.permute(axes) for a, axes in zip(inputs, order, strict=True)]
    y = torch.nn.functional.conv2d(*theirs, stride, size // 2).permute(0, 2, 3, 1)
    y.backward(torch.tensor(g))
    assert distance(convolve(x, W, b, stride).array, y.detach().numpy()) < 1e-12
    for found, variable in zip(gradients(x, W, b, g, stride), inputs, strict=True):
        assert distance(found, variable.grad.numpy()) < 1e-12


@cases
def test_numba_computes_the_same_in_single_precision(size, stride, sides, channels):
    pytest.importorskip("numba", reason="Numba is not installed")
    exact = arrays(size, stride, sides, channels)
    x, W, b, g = (each.astype(np.float32) for each in exact)
    exact = [each.astype(float) for each in (x, W, b, g)]
    y = convolve(x, W, b, stride).array
    assert y.dtype == np.float32
    assert distance(y, convolve(*exact[:3], stride).array) < 1e-6
    expected = gradients(*exact, stride)
    for found, right in zip(gradients(x, W, b, g, stride), expected, strict=True):
        assert found.dtype == np.float32 and found.shape == right.shape
        assert distance(found, right) < 1e-6


@pytest.mark.parametrize(("size", "stride"), [(3, 1), (3, 2), (5, 2)])
def test_many_blocks_are_as_one(size, stride):
    """Of sizes at which blocks of tiles and of patches begin inside images, in both precisions."""
    x, W, b, g = arrays(size, stride, (33, 35), (8, 16), 5)
    single = [each.astype(np.float32) for each in (x, W, b, g)]
    parts = [slice(i, i + 1) for i in range(len(x))]
    expected = np.concatenate([convolve(x[i], W, b, stride).array for i in parts])
    by_image = [gradients(x[i], W, b, g[i], stride) for i in parts]
    by_x, by_W, by_b = zip(*by_image, strict=True)
    for found in (gradients(x, W, b, g, stride), gradients(*single, stride)):
        assert distance(found[0], np.concatenate(by_x)) < 2e-6
        assert distance(found[1], sum(by_W)) < 2e-6 and distance(found[2], sum(by_b)) < 2e-6
    assert distance(convolve(*single[:3], stride).array, expected) < 2e-6


def test_filtering_in_tiles_rounds_as_a_sum_does():
    """2304 products in each sum, as in large networks: PyTorch's are 8e-7 off."""
    exact = arrays(3, 1, (8, 8), (256, 64), 2)
    x, W, b, g = (each.astype(np.float32) for each in exact)
    exact = [each.astype(float) for each in (x, W, b, g)]
    assert distance(convolve(x, W, b).array, convolve(*exact[:3]).array) < 8e-7
    for found, right in zip(gradients(x, W, b, g, 1), gradients(*exact, 1), strict=True):
        assert distance(found, right) < 8e-7


def test_arrays_that_are_not_contiguous_are_taken():
    x, W, b, g = (each.astype(np.float32) for each in arrays(3, 1, (6, 8), (8, 16)))
    strided = [np.repeat(each, 2, axis=-1)[..., ::2] for each in (x, W, b, g)]
    np.testing.assert_array_equal(convolve(*strided[:3]).array, convolve(x, W, b).array)
    for found, expected in zip(gradients(*strided, 1), gradients(x, W, b, g, 1), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_no_images_give_no_output_and_no_gradient():
    for dtype in (np.float32, np.float64):
        x, W, b, g = arrays(3, 1, (6, 8), (8, 16), 0, dtype)
        assert convolve(x, W, b).shape == (0, 6, 8, 16)
        assert [abs(each).sum() for each in gradients(x, W, b, g, 1)] == [0, 0, 0]


def test_gradients_that_nothing_needs_are_not_computed(monkeypatch):
    def refuse(*_):
        raise AssertionError("the gradient by the images")

    monkeypatch.setattr(convolution, "by_input", refuse)
    x, W, b, g = arrays(3, 1, (6, 8), (2, 3))
    W = chainer.Variable(W)
    y = convolve(x, W, b)
    y.grad = g
    y.backward()
    assert W.grad.shape == W.shape


REFUSED = {
    "even kernels": ((2, 6, 6, 3), (2, 2, 3, 4), (4,), 1),
    "oblong kernels": ((2, 6, 6, 3), (3, 5, 3, 4), (4,), 1),
    "other channels": ((2, 6, 6, 3), (3, 3, 2, 4), (4,), 1),
    "other biases": ((2, 6, 6, 3), (3, 3, 3, 4), (3,), 1),
    "flat images": ((2, 108), (3, 3, 3, 4), (4,), 1),
    "no columns": ((2, 6, 0, 3), (3, 3, 3, 4), (4,), 1),
    "stride 0": ((2, 6, 6, 3), (3, 3, 3, 4), (4,), 0),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case):
    *shapes, stride = REFUSED[case]
    with pytest.raises(ValueError, match="convolve"):
        convolve(*(np.zeros(shape, np.float32) for shape in shapes), stride)


def test_two_precisions_are_refused():
    with pytest.raises(ValueError, match="one precision"):
        convolve(np.zeros((1, 4, 4, 8), np.float32), np.zeros((3, 3, 8, 8)))


def test_kernels_look_at_shapes_before_they_read():
    kernels = convolution_kernels_for(np.zeros(0, np.float32))
    if kernels is convolution:
        pytest.skip("Numba is not installed")
    x, W, b, g = arrays(3, 1, (6, 8), (8, 16), dtype=np.float32)
    for call in (
        lambda: kernels.convolve(x[..., 1:], W, b, 1),
        lambda: kernels.convolve(x, W, b[1:], 1),
        lambda: kernels.by_input(g[1:], W, 1, x.shape),
        lambda: kernels.by_input(g, W, 1, (3, 6, 8, 9)),
        lambda: kernels.by_weights(x[1:], g, 1, 3),
        lambda: kernels.elu_backward(g[1:], g),
    ):
        with pytest.raises(ValueError, match="are needed"):
            call()


@pytest.mark.parametrize(("size", "stride"), [(3, 1), (3, 2)])
def test_threads_give_the_same_bits(size, stride):
    pieces = [arrays(size, stride, (16, 15), (16, 24), n, np.float32) for n in (8, 5, 8, 3) * 2]

    def work(piece):
        return [convolve(*piece[:3], stride).array, *gradients(*piece, stride)]

    def alone(piece):
        return next(iter(parallel_map(work, [piece], device(-1))))

    found = parallel_map(work, pieces, device(-1))
    for piece, results in zip(pieces, found, strict=True):
        for result, expected in zip(results, alone(piece), strict=True):
            np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
def test_patches_of_all_images_are_never_in_memory_at_once(dtype):
    x, W, b, g = arrays(3, 1, (32, 32), (16, 16), 64, dtype)
    kernels = convolution_kernels_for(x)
    for work in (
        lambda: kernels.convolve(x, W, b, 1),
        lambda: kernels.by_input(g, W, 1, x.shape),
        lambda: kernels.by_weights(x, g, 1, 3),
    ):
        work()
        tracemalloc.start()
        work()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 5 * x.nbytes  # all patches are 9 times the images


@pytest.mark.parametrize(("size", "stride"), [(3, 1), (3, 2), (1, 1), (5, 2)])
def test_a_gpu_computes_the_same_without_waiting(size, stride):
    x, W, b, g = arrays(size, stride, (6, 8), (3, 4), dtype=np.float32)
    on_device = [stand_in.on_device(each) for each in (x, W, b, g)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convolution, "get_array_module", lambda *_: stand_in.xp)
        found = [
            convolution.convolve(*on_device[:3], stride),
            convolution.by_input(on_device[3], on_device[1], stride, x.shape),
            convolution.by_weights(on_device[0], on_device[3], stride, size),
            convolution.elu(on_device[0]),
            convolution.elu_backward(on_device[0], on_device[0]),
        ]
    expected = [
        convolution.convolve(x, W, b, stride),
        convolution.by_input(g, W, stride, x.shape),
        convolution.by_weights(x, g, stride, size),
        convolution.elu(x),
        convolution.elu_backward(x, x),
    ]
    for result, right in zip(found, expected, strict=True):
        assert isinstance(result, stand_in.DeviceArray)
        np.testing.assert_allclose(result.get(), right, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
def test_elu_and_its_derivative_are_the_formulas(dtype):
    rng = np.random.default_rng(5)
    x = np.concatenate([rng.normal(0, s, 3001) for s in (1e-6, 0.1, 1, 30)]).astype(dtype)
    x[:4] = 0, -0.0, -200, 0.2
    variable = chainer.Variable(x.reshape(4, -1))
    y = elu(variable)
    exact = np.where(x > 0, x, np.expm1(np.minimum(x, 0, dtype=np.float64))).reshape(4, -1)
    tiny = 4e-7 if dtype == np.float32 else 1e-14
    np.testing.assert_allclose(y.array, exact, rtol=tiny)
    y.grad = g = rng.normal(size=y.shape).astype(dtype)
    y.backward()
    np.testing.assert_allclose(variable.grad, g * np.minimum(exact + 1, 1), atol=4 * tiny)
    assert y.dtype == variable.grad.dtype == dtype


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
def test_elu_keeps_what_is_not_finite(dtype):
    y = elu(np.array([np.nan, np.inf, -np.inf], dtype)).array
    np.testing.assert_array_equal(y, [np.nan, np.inf, -1])
