"""Autoregressive networks: what depends on what, by trying every element."""

from itertools import product

import numpy as np
import pytest

from jvi.models.autoregressive import ConvAR, DenseAR
from jvi.models.masks import conv_mask, degrees, dense_mask
from jvi.models.weight_norm import initialising

HEIGHT, WIDTH = 4, 5
REVERSE = pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "backwards"])
DEPTH = pytest.mark.parametrize("depth", [0, 1, 2, 3])


def randomised(link, seed=1):
    """float64 and away from the start."""
    rng = np.random.default_rng(seed)
    for parameter in link.params():
        parameter.array = rng.normal(0.1, 1, parameter.shape)
    return link


def dependencies(link, z, context=None):
    """What changes with what, [j, i] for element j of z and i of each output: (outputs, J, J)."""
    before, found = link(z, context), []
    for j in range(z.size):
        other = z.copy()
        other.flat[j] += 2.0
        after = link(other, context)
        found.append([(b.array != a.array).ravel() for b, a in zip(before, after, strict=True)])
    return np.array(found).transpose(1, 0, 2)


def reached(channels, depth, reverse):
    """By which elements a masked convolution can be reached, in as many steps as it has layers."""
    steps = [(0, 0), (-1, -1), (-1, 0), (-1, 1), (0, -1)]
    can = np.zeros((HEIGHT, WIDTH, channels) * 2, bool)
    for i, j in product(range(HEIGHT), range(WIDTH)):
        pixels = {(i, j)}
        for _ in range(depth + 1):
            near = {(a + u, b + v) for (a, b), (u, v) in product(pixels, steps)}
            pixels = {(a, b) for a, b in near if 0 <= a < HEIGHT and 0 <= b < WIDTH}
        for a, b in pixels:
            can[a, b, :, i, j, :] = True
        can[i, j, :, i, j, :] = np.triu(np.ones((channels, channels)), 1)
    can = can.reshape(HEIGHT * WIDTH * channels, -1)
    return can[::-1, ::-1] if reverse else can


@REVERSE
@DEPTH
@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize(("latent", "hidden"), [(1, 3), (2, 2), (5, 5), (6, 13)])
def test_a_dense_output_depends_on_all_elements_before_it_alone(
    latent, hidden, outputs, depth, reverse
):
    rng = np.random.default_rng(0)
    link = randomised(DenseAR(latent, hidden, depth, 0, outputs, rng, reverse))
    found = dependencies(link, rng.normal(size=(1, latent)))
    before = np.triu(np.ones((latent, latent), bool), 1)
    before = before[::-1, ::-1] if reverse else before
    np.testing.assert_array_equal(found, np.broadcast_to(before, (outputs, latent, latent)))


@REVERSE
@DEPTH
@pytest.mark.parametrize(("channels", "hidden"), [(1, 2), (2, 5), (3, 3)])
def test_a_convolutional_output_depends_on_all_it_can_reach_before_it_alone(
    channels, hidden, depth, reverse
):
    rng = np.random.default_rng(2)
    link = randomised(ConvAR(channels, hidden, depth, 0, 2, rng, reverse=reverse))
    found = dependencies(link, rng.normal(size=(1, HEIGHT, WIDTH, channels)))
    expected = reached(channels, depth, reverse)
    np.testing.assert_array_equal(found, np.broadcast_to(expected, found.shape))


@pytest.mark.parametrize(("latent", "hidden"), [(2, 1), (5, 3), (6, 2)])
def test_with_few_hidden_units_the_order_is_kept(latent, hidden):
    rng = np.random.default_rng(3)
    (found,) = dependencies(randomised(DenseAR(latent, hidden, 2, 0, 1, rng)), np.ones((1, latent)))
    assert not np.tril(found).any() and found.any() == (hidden > 1)


@pytest.mark.parametrize(("channels", "hidden", "size"), [(5, 2, 3), (4, 3, 5), (3, 4, 1)])
def test_few_hidden_channels_and_other_sizes_keep_the_order(channels, hidden, size):
    rng = np.random.default_rng(3)
    link = randomised(ConvAR(channels, hidden, 2, 0, 1, rng, size))
    (found,) = dependencies(link, rng.normal(size=(1, 3, 3, channels)))
    assert not np.tril(found).any() and found.any()


@REVERSE
@DEPTH
def test_every_output_depends_on_the_context_of_its_own_data_point(depth, reverse):
    rng = np.random.default_rng(4)
    link = randomised(DenseAR(3, 4, depth, 2, 2, rng, reverse))
    z, context = rng.normal(size=(5, 3)), rng.normal(size=(5, 2))
    other = context.copy()
    other[1, 1] += 1
    for before, after in zip(link(z, context), link(z, other), strict=True):
        changed = before.array != after.array
        assert changed[1].all() and not changed[[0, 2, 3, 4]].any()


@REVERSE
@DEPTH
def test_every_output_depends_on_the_context_of_its_own_pixel(depth, reverse):
    """And, through hidden layers, of pixels before it: those of z and its context stay together."""
    rng = np.random.default_rng(4)
    link = randomised(ConvAR(2, 4, depth, 3, 1, rng, reverse=reverse))
    z, context = rng.normal(size=(1, 3, 5, 2)), rng.normal(size=(1, 3, 5, 3))
    other = context.copy()
    other[0, 1, 2, 1] += 1
    changed = (link(z, context)[0].array != link(z, other)[0].array)[0]
    if reverse:
        changed = changed[::-1, ::-1]
    assert changed[1, 2].all() and not changed[0].any() and not changed[1, :2].any()
    assert changed[1, 3:].any() == changed[2].any() == (depth > 0)


@pytest.mark.parametrize("depth", [1, 2])
def test_a_context_as_wide_as_a_hidden_layer_is_added_as_it_is(depth):
    rng = np.random.default_rng(5)
    link, z = randomised(DenseAR(3, 4, depth, 4, 1, rng)), rng.normal(size=(5, 3))
    assert not any("context" in name for name, _ in link.namedparams())
    link.layers[0].g.array[...] = 0  # so that nothing of z is left but b
    context = rng.normal(size=(5, 4))
    shifted = link(z, context - link.layers[0].b.array)[0].array
    h = np.where(context > 0, context, np.expm1(context))
    for layer in list(link.layers)[1:]:
        out = layer(h).array
        h = np.where(out > 0, out, np.expm1(out))
    np.testing.assert_allclose(shifted, out, rtol=1e-10)


def test_without_hidden_layers_it_is_linear():
    rng = np.random.default_rng(6)
    link = randomised(ConvAR(2, 9, 0, 3, 2, rng))
    z, context = rng.normal(size=(3, 2, 4, 4, 2)), rng.normal(size=(3, 2, 4, 4, 3))
    z[2], context[2] = 0.3 * z[0] + 0.7 * z[1], 0.3 * context[0] + 0.7 * context[1]
    outputs = [link(*pair) for pair in zip(z, context, strict=True)]
    for one, other, between in zip(*outputs, strict=True):
        np.testing.assert_allclose(0.3 * one.array + 0.7 * other.array, between.array, atol=1e-12)


@pytest.mark.parametrize("num_context", [0, 3, 6])
def test_the_first_batch_gives_outputs_of_unit_size_and_leaves_the_masks(num_context):
    rng = np.random.default_rng(7)
    shape = (30, HEIGHT, WIDTH)
    z = rng.normal(4, 3, (*shape, 2)).astype(np.float32)
    given = rng.normal(9, 5, (*shape, num_context)).astype(np.float32) if num_context else None
    link = ConvAR(2, 6, 2, num_context, 2, rng)
    with initialising():
        outputs = link(z, given)
    for out in outputs:
        rows = out.array.reshape(-1, 2).astype(np.float64)
        np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(rows.std(axis=0), 1, rtol=1e-5)
    for found in dependencies(link, z[:1], None if given is None else given[:1]):
        assert not np.tril(found).any()


@pytest.mark.parametrize(("num_units", "num_degrees"), [(1, 1), (1, 4), (3, 4), (4, 4), (11, 4)])
def test_degrees_are_shared_out_evenly_in_order_from_0_on(num_units, num_degrees):
    found = degrees(num_units, num_degrees)
    assert len(found) == num_units and found[0] == 0
    assert (np.diff(found) >= 0).all() and found[-1] < num_degrees
    counts = np.bincount(found, minlength=num_degrees)
    assert counts.max() - counts.min() <= 1


def test_masks_by_hand():
    open_, closed = np.ones((2, 2), bool), np.zeros((2, 2), bool)
    strict = np.array([[False, True], [False, False]])
    np.testing.assert_array_equal(dense_mask([0, 1], [0, 1], strict=True), strict)
    np.testing.assert_array_equal(dense_mask([0, 1], [0, 1]), [[True, True], [False, True]])
    rows = [[open_] * 3, [open_, strict, closed], [closed] * 3]
    np.testing.assert_array_equal(conv_mask(3, [0, 1], [0, 1], strict=True), rows)


def test_what_does_not_fit_is_refused():
    rng = np.random.default_rng(8)
    z, context = rng.normal(size=(2, 3)), rng.normal(size=(2, 4))
    for features, given, found in ((4, None, 0), (0, context, 4), (3, context, 4)):
        message = f"takes {features} features of context, not {found}"
        with pytest.raises(ValueError, match=message):
            DenseAR(3, 4, 1, features, 1, rng)(z, given)
    with pytest.raises(ValueError, match="0 or more, not -1"):
        DenseAR(3, 4, -1, 0, 1, rng)
