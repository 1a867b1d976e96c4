"""Random numbers: streams by seed and purpose, and the sources that models draw from."""

import hashlib
import random
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jvi.engine.devices import device
from jvi.engine.random import (
    PURPOSES,
    BatchSource,
    Given,
    PointSource,
    counter_key,
    stream,
)

# Streams

# The first raw number of `stream(1, purpose, 2)`, and `counter_key(1, purpose, 2)`.
FOR_EVER = {
    "initial parameters": (16308481748934497836, -2959760230271427421),
    "order": (14203064966352342993, -5109905212902145449),
    "binarisation": (14209277758590105216, -3601176791400951096),
    "training noise": (1833866220491763917, 1058529349291251750),
    "evaluation noise": (566140489679815917, 9025372597264505928),
    "validation noise": (16287061927098507840, 5293449541293795769),
    "bootstrap": (11981371675425243560, 8658701046309823630),
    "pictures": (1592759643249926765, 5258801740649093430),
    "log-weight file": (6281675313681000399, -2656229188945231168),
    "annealing noise": (1021074029440174968, -3319631716540098699),
}


def test_streams_depend_on_every_part_of_their_key_and_on_nothing_else():
    keys = [
        (s, p, *k)
        for s in (0, 1)
        for p in ("order", "bootstrap")
        for k in ((), (0,), (0, 1), (1, 0))
    ]
    first = {key: stream(*key).random() for key in keys}
    assert len(set(first.values())) == len(keys)
    np.random.standard_normal(10)  # noqa: NPY002  the global state, which must not matter
    assert stream(0, "order", 1, 0).random() == first[0, "order", 1, 0]


def test_streams_of_neighbouring_keys_are_not_correlated():
    draws = np.stack([stream(0, "evaluation noise", n).standard_normal(200) for n in range(200)])
    correlations = np.corrcoef(draws)[np.triu_indices(200, 1)]
    assert abs(correlations.mean()) < 4 / np.sqrt(len(correlations) * 200)
    assert correlations.std() == pytest.approx(1 / np.sqrt(200), rel=0.05)


@pytest.mark.parametrize("purpose", FOR_EVER)
def test_a_purpose_has_its_streams_for_ever(purpose):
    raw, key = FOR_EVER[purpose]
    assert int(stream(1, purpose, 2).bit_generator.random_raw()) == raw
    assert counter_key(1, purpose, 2) == key


def test_a_purpose_is_keyed_by_its_name_and_not_by_its_place(monkeypatch):
    assert FOR_EVER.keys() <= PURPOSES.keys()
    assert len(set(PURPOSES.values())) == len(PURPOSES)
    backwards = dict(reversed(PURPOSES.items()))
    monkeypatch.setattr("jvi.engine.random.PURPOSES", backwards)
    for purpose, (_, key) in FOR_EVER.items():
        assert counter_key(1, purpose, 2) == key


def test_there_is_no_purpose_by_that_name():
    for make in (stream, counter_key):
        with pytest.raises(ValueError, match="anything"):
            make(0, "anything")


# A stream for each data point

KEY = (5, "evaluation noise", 2)
POINTS = range(7, 19)
KINDS = ["normal", "uniform"]


def ask(source, kinds, num_samples, num_points, rest=(3,)):
    """One array of each kind, in this order."""
    return [getattr(source, kind)((num_samples, num_points, *rest)) for kind in kinds]


def same(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other, strict=True)


def test_the_first_array_is_the_stream_of_the_data_point():
    found = PointSource(KEY, POINTS).part().normal((6, 12, 3))
    for place, point in enumerate(POINTS):
        own = stream(*KEY, point).standard_normal((6, 3), dtype=np.float32)
        np.testing.assert_array_equal(found[:, place], own, strict=True)
    # As the evaluations published with earlier versions drew it.
    assert hashlib.sha256(np.ascontiguousarray(found[:, :4]).tobytes()).hexdigest() == (
        "b2ac438903fb901fa3d4353181d1ca6c31ff6cfacbd760f5445e5920434a687e"
    )


@pytest.mark.parametrize("more", [(), (4,), (4, 1)])
def test_array_number_i_is_stream_number_i_of_the_data_point(more):
    found = ask(PointSource(KEY, POINTS, more).part(), ["uniform", "normal", "uniform"], 6, 12)
    for place, point in enumerate(POINTS):
        first, second, third = (stream(*KEY, point, *more, *i) for i in ((), (1,), (2,)))
        same(
            [array[:, place] for array in found],
            [
                first.random((6, 3)),
                second.standard_normal((6, 3), dtype=np.float32),
                third.random((6, 3)),
            ],
        )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rest", [(), (3,), (2, 5)])
def test_numbers_have_the_shape_asked_for_and_their_distribution(kind, rest):
    (found,) = ask(PointSource(KEY, range(300)).part(), [kind], 40, 300, rest)
    assert found.shape == (40, 300, *rest)
    assert found.dtype == (np.float32 if kind == "normal" else np.float64)
    mean, deviation = (0, 1) if kind == "normal" else (0.5, 12**-0.5)
    assert abs(found.mean() - mean) < 4 * deviation / np.sqrt(found.size)
    assert found.std() == pytest.approx(deviation, rel=0.03)
    assert len(np.unique(found)) > 0.99 * found.size
    if kind == "uniform":
        assert found.min() >= 0
        assert found.max() < 1


@given(st.integers(1, 12), st.lists(st.sampled_from(KINDS), min_size=1, max_size=3))
def test_numbers_do_not_depend_on_blocks(size, kinds):
    whole = ask(PointSource(KEY, POINTS).part(), kinds, 4, 12)
    for start in range(0, 12, size):
        points = POINTS[start : start + size]
        block = ask(PointSource(KEY, points).part(), kinds, 4, len(points))
        same(block, [array[:, start : start + size] for array in whole])


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=4),
    st.lists(st.sampled_from(KINDS), min_size=1, max_size=3),
    st.integers(1, 12),
    st.randoms(use_true_random=False),
)
def test_numbers_do_not_depend_on_chunks_of_samples_or_the_order_of_points(
    counts, kinds, size, shuffler
):
    """Chunks of samples come in order for a data point, but in any order between data points."""
    total = sum(counts)
    whole = ask(PointSource(KEY, POINTS).part(), kinds, total, 12)
    found = [np.full_like(array, np.nan) for array in whole]
    source, starts = PointSource(KEY, POINTS), list(range(0, 12, size))
    stops = np.cumsum([0, *counts])
    for first, last in pairwise(stops):
        shuffler.shuffle(starts)
        for start in starts:
            points = slice(start, min(start + size, 12))
            arrays = ask(source.part(points), kinds, last - first, points.stop - start)
            for into, array in zip(found, arrays, strict=True):
                into[first:last, points] = array
    same(found, whole)


@given(st.integers(1, 9), st.lists(st.sampled_from(KINDS), min_size=1, max_size=3))
def test_samples_are_the_first_of_any_larger_number(num_samples, kinds):
    more = ask(PointSource(KEY, POINTS).part(), kinds, 9, 12)
    fewer = ask(PointSource(KEY, POINTS).part(), kinds, num_samples, 12)
    same(fewer, [array[:num_samples] for array in more])


def test_an_array_does_not_depend_on_the_others():
    """Neither on their sizes nor on their kinds: a second layer keeps its noise."""

    def second(kind, rest, num_samples=4):
        part = PointSource(KEY, POINTS).part()
        getattr(part, kind)((num_samples, 12, *rest))
        return part.normal((4, 12, 3))

    expected = second("normal", (3,))
    for kind, rest in (("normal", (50,)), ("uniform", (3,)), ("normal", ())):
        np.testing.assert_array_equal(second(kind, rest), expected)
    np.testing.assert_array_equal(second("normal", (3,), num_samples=9), expected)


def test_arrays_points_seeds_and_purposes_are_independent():
    keys = [KEY, (6, *KEY[1:]), (5, "annealing noise", 2), (5, "evaluation noise", 3)]
    arrays = [
        array.transpose(1, 0, 2).reshape(12, -1)
        for key in keys
        for array in ask(PointSource(key, POINTS).part(), ["normal"] * 3, 100, 12)
    ]
    draws = np.concatenate(arrays)
    correlations = np.corrcoef(draws)[np.triu_indices(len(draws), 1)]
    assert abs(correlations).max() < 6 / np.sqrt(draws.shape[1])
    assert correlations.std() == pytest.approx(1 / np.sqrt(draws.shape[1]), rel=0.05)


def test_a_point_source_hands_out_what_a_fresh_part_does():
    whole, source = PointSource(KEY, POINTS).part().normal((6, 12, 3)), PointSource(KEY, POINTS)
    found = [source.normal((2, 12, 3)), source.normal((4, 12, 3))]
    np.testing.assert_array_equal(np.concatenate(found), whole)


def test_a_data_set_may_have_points_in_any_order():
    found = PointSource(KEY, [9, 7, 9]).part().normal((4, 3, 2))
    expected = [PointSource(KEY, [point]).part().normal((4, 1, 2)) for point in (9, 7, 9)]
    np.testing.assert_array_equal(found, np.concatenate(expected, axis=1))


# One stream for a batch


def batch(num_points=12, seed=3, on=None):
    return BatchSource(np.random.default_rng(seed), num_points, on)


def test_a_batch_draws_its_arrays_from_its_generator_in_order():
    found = ask(batch(), ["uniform", "normal", "uniform"], 4, 12)
    rng = np.random.default_rng(3)
    shape = 4, 12, 3
    expected = rng.random(shape), rng.standard_normal(shape, dtype=np.float32), rng.random(shape)
    same(found, expected)


SLICES = [slice(0, 5), slice(5, 6), slice(6, 12)]


@given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_parts_give_slices_of_what_the_whole_gives_in_any_order(kinds, shuffler):
    whole, source = ask(batch(), kinds, 4, 12), batch()
    parts = {rows.start: source.rows(rows) for rows in SLICES}
    turns = [rows for rows in SLICES for _ in kinds]
    shuffler.shuffle(turns)
    found = {rows.start: [] for rows in SLICES}
    for rows in turns:
        kind = kinds[len(found[rows.start])]
        found[rows.start] += ask(parts[rows.start], [kind], 4, rows.stop - rows.start)
    for rows in SLICES:
        same(found[rows.start], [array[:, rows] for array in whole])


def test_parts_give_slices_of_what_the_whole_gives_to_any_threads():
    kinds, pieces = ["normal", "uniform"] * 5, [slice(i, i + 2) for i in range(0, 64, 2)]
    whole = ask(batch(64), kinds, 8, 64)
    for _ in range(5):
        source = batch(64)
        work = [(rows, source.rows(rows)) for rows in pieces]
        random.Random(0).shuffle(work)
        with ThreadPoolExecutor(8) as pool:
            found = pool.map(lambda each: (each[0], ask(each[1], kinds, 8, 2)), work)
            for rows, arrays in found:
                same(arrays, [array[:, rows] for array in whole])


@pytest.mark.parametrize("before", [0, 1, 3])
def test_parts_go_on_after_what_was_drawn_before_they_were_made(before):
    """A batch is observed with the first numbers, and its parts draw noise from what follows."""
    kinds = ["uniform"] * before + ["normal", "normal"]
    whole, source = ask(batch(), kinds, 4, 12), batch()
    same(ask(source, kinds[:before], 4, 12), whole[:before])
    parts = [source.rows(rows) for rows in SLICES]
    for rows, part in zip(SLICES, parts, strict=True):
        found = ask(part, kinds[before:], 4, rows.stop - rows.start)
        same(found, [array[:, rows] for array in whole[before:]])
    assert not np.array_equal(source.normal((4, 12, 3)), whole[-1])


@pytest.mark.parametrize("rest", [(), (3,), (2, 5)])
def test_a_batch_has_any_shape(rest):
    source = batch()
    part = source.rows(slice(2, 6))
    normal, uniform = ask(part, KINDS, 4, 4, rest)
    assert normal.shape == uniform.shape == (4, 4, *rest)
    assert (normal.dtype, uniform.dtype) == (np.float32, np.float64)


def test_a_device_gets_the_same_numbers():
    """The device that there is everywhere: its arrays are those of no device."""
    cpu = device(-1)
    same(ask(batch(on=cpu), KINDS, 4, 12), ask(batch(), KINDS, 4, 12))
    points = PointSource(KEY, POINTS, device=cpu).part()
    same(ask(points, KINDS, 4, 12), ask(PointSource(KEY, POINTS).part(), KINDS, 4, 12))


# Given numbers


def test_given_arrays_come_in_their_order():
    arrays = [np.zeros((2, 3)), np.ones((2, 3)), np.ones((4, 3, 1))]
    source = Given(arrays)
    assert source.normal((2, 3)) is arrays[0]
    assert source.uniform([2, 3]) is arrays[1]
    assert source.normal((4, 3, 1)) is arrays[2]
    assert len(arrays) == 3


def test_given_arrays_of_another_shape_are_refused():
    with pytest.raises(ValueError) as caught:
        Given([np.zeros((2, 3, 4))]).normal((2, 3, 5))
    assert str(caught.value) == "noise has shape (2, 3, 4), the model expects (2, 3, 5)"


def test_too_few_given_arrays_are_refused():
    source = Given([np.zeros((2, 3))])
    source.normal((2, 3))
    with pytest.raises(ValueError) as caught:
        source.uniform((2, 3))
    assert str(caught.value) == "the model needs more noise: an array of shape (2, 3)"
