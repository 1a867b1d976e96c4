"""What every model promises: shapes, densities that belong to their draws, capabilities."""

import chainer
import numpy as np
import pytest

from jvi.engine.random import PointSource
from jvi.models import CAPABILITIES, MODELS, build, of_spec
from jvi.models.protocol import lacking, take, tree

NAMES = [
    "mlp:hidden=7,latent=3",
    "burda:layers=1",
    "burda:layers=2",
    "sbn:layers=1,units=5",
    "sbn:layers=3,units=4",
]
N, K, PIXELS = 4, 3, 9


def source(points=range(N)):
    return PointSource((1, "evaluation noise"), points).part()


@pytest.fixture(params=NAMES)
def link(request):
    return build(request.param, PIXELS, np.random.default_rng(2))


@pytest.fixture
def x():
    return (np.random.default_rng(3).random((N, PIXELS)) < 0.5).astype(np.float32)


def arrays(value):
    """What is in a tree of arrays or Variables, as a list of arrays."""
    plain = tree(lambda each: getattr(each, "array", each), value)
    return list(plain) if isinstance(plain, tuple) else [plain]


def test_every_model_is_among_these():
    assert {name.partition(":")[0] for name in NAMES} == set(MODELS)


def test_shapes(link, x):
    assert link.num_points(x) == N
    q = link.infer(x)
    assert all(len(each) == N for each in arrays(q))
    z, log_q = link.draw(q, source(), K)
    assert all(each.shape[:2] == (K, N) for each in arrays(z))
    terms = [log_q, link.log_q(q, tree(lambda a: getattr(a, "array", a), z)), *link.log_joint(x, z)]
    for term in terms:
        assert term.shape == (K, N) and term.dtype == np.float32 and np.isfinite(term.array).all()
    prior = link.draw_prior(source(), K, N)
    assert [a.shape for a in arrays(prior)] == [a.shape for a in arrays(z)]
    means = link.mean(prior).array
    assert means.shape == (K, N, PIXELS) and means.min() > 0 and means.max() < 1
    assert [a.shape[:2] for a in arrays(link.typical(q))] == [(1, N)] * len(arrays(z))
    units = link.latent_means(q, z)
    assert [a.shape for a in units] == [(N, a.shape[2]) for a in arrays(z)]


def test_the_density_along_a_draw_is_the_density_there(link, x):
    q = link.infer(x)
    z, log_q = link.draw(q, source(), K)
    there = link.log_q(q, tree(lambda each: getattr(each, "array", each), z))
    np.testing.assert_allclose(log_q.array, there.array, rtol=1e-5, atol=1e-5)


def test_a_data_point_has_its_numbers_whoever_is_beside_it(link, x):
    whole = link.draw(link.infer(x), source(), K)
    rows = slice(1, 3)
    part = link.draw(take(link.infer(x), rows), source(range(1, 3)), K)
    for a, b in zip(arrays(whole[0]), arrays(part[0]), strict=True):
        np.testing.assert_allclose(a[:, rows], b, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(whole[1].array[:, rows], part[1].array, rtol=1e-5, atol=1e-5)


def test_what_flows_through_draws(link, x):
    """Continuous draws are Variables that lead back to the encoder, discrete ones are arrays."""
    z, _ = link.draw(link.infer(x), source(), K)
    is_variable = {isinstance(each, chainer.Variable) for each in (z if type(z) is tuple else (z,))}
    assert is_variable == {link.reparameterised}


def test_a_spec_is_enough_to_build_it_again(link):
    again = of_spec(str(link.spec))
    assert again.spec == link.spec
    shapes = {name: parameter.shape for name, parameter in link.namedparams()}
    assert {name: parameter.shape for name, parameter in again.namedparams()} == shapes
    assert all(parameter.array.strides[0] == 0 for parameter in again.params())  # no memory


def test_images_without_a_likelihood_are_refused(link, x):
    for bad, message in [
        (x[:, :5], r"images have shape \(4, 5\), the model expects \(N, 9\)"),
        (x + np.float32(0.5), "image 0 has values outside .* no likelihood"),
        (x * np.float32(np.nan), "image 0 has values outside"),
    ]:
        with pytest.raises(ValueError, match=message):
            link.check(bad)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("foo", "unknown model 'foo': choose from mlp, burda, sbn"),
        ("mlp:depth=2", "model mlp has no option 'depth': it has hidden, latent"),
        ("mlp:hidden=many", "mlp:hidden must be a whole number, not 'many'"),
        ("mlp:hidden=٣", "mlp:hidden must be a whole number"),
        ("mlp:hidden", "write NAME:key=value"),
        ("mlp:hidden=1,hidden=2", "each key once"),
        ("burda:layers=3", "burda:layers must be 1 or 2, not 3"),
        ("sbn:layers=0", "sbn:layers must be at least 1, not 0"),
        ("sbn:units=0", "sbn:units must be at least 1, not 0"),
        ("mlp:latent=-1", "mlp:latent must be at least 1, not -1"),
    ],
)
def test_what_cannot_be_built_is_one_sentence(name, message):
    with pytest.raises(ValueError, match=message):
        build(name, PIXELS, np.random.default_rng(0))


@pytest.mark.parametrize(
    "text",
    ["mlp:hidden=3", "mlp:pixels=-4", "mlp:pixels=9999999999", "sbn:pixels=4,units=99999999"],
)
def test_a_spec_of_a_file_has_sizes_that_can_be(text):
    with pytest.raises(ValueError, match=r"pixels|units"):
        of_spec(text)


def test_what_is_lacking_is_said_in_words(link):
    for name, words in CAPABILITIES.items():
        sentence = lacking(link, name, "this")
        expected = f"this needs {words}, which {link.spec.name} does not have"
        assert sentence == (None if hasattr(link, name) else expected)
