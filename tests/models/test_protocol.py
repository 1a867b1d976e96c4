"""What every model promises: shapes, densities that belong to their draws, capabilities."""

import tracemalloc

import chainer
import numpy as np
import pytest

from jvi.engine.random import PointSource
from jvi.models import CAPABILITIES, MODELS, build, check_name, of_spec
from jvi.models.protocol import joint, lacking, take, tree

NAMES = [
    "mlp:hidden=7,latent=3",
    "burda:layers=1",
    "burda:layers=2",
    "sbn:layers=1,units=5",
    "sbn:layers=3,units=4",
    "gaussian-toy",
    "mixture:components=3",
    "gaussian-vae:hidden=5,latent=2",
    "softplus-vae:hidden=5,latent=2",
    "conv:channels=2,latent=3",
    "iaf:hidden=5,latent=2,steps=2,width=4",
    "iaf:hidden=5,latent=2,posterior=diag",
    "iaf-resnet:depths=1-1,n-z=2,n-h=3,posterior=down_iaf2,depth-ar=1",
    "iaf-resnet:depths=2,n-z=2,n-h=3,posterior=up_iaf1,depth-ar=0",
]
N, K, PIXELS = 4, 3, 9
DTYPES = np.float32, np.float64  # sums over many units are in the latter


def columns(name):
    """Of the data of a model."""
    return {"mixture": 1, "iaf-resnet": 16}.get(name.partition(":")[0], PIXELS)


def source(points=range(N)):
    return PointSource((1, "evaluation noise"), points).part()


@pytest.fixture(params=NAMES)
def link(request):
    return build(request.param, columns(request.param), np.random.default_rng(2))


@pytest.fixture
def x(link):
    shape = N, columns(link.spec.name)
    if link.spec.name == "iaf-resnet":  # of bytes
        return (np.random.default_rng(3).integers(0, 256, shape) / 256).astype(np.float32)
    return (np.random.default_rng(3).random(shape) < 0.5).astype(np.float32)


def arrays(value):
    """What is in a tree of arrays or Variables, as a list of arrays."""
    if isinstance(value, tuple | list):
        return [array for each in value for array in arrays(each)]
    return [getattr(value, "array", value)]


def test_every_model_is_among_these():
    assert {name.partition(":")[0] for name in NAMES} == set(MODELS) - {"bayes-mlp"}


def test_shapes(link, x):
    assert link.num_points(x) == N
    q = link.infer(x)
    assert all(len(each) == N for each in arrays(q))
    z, log_q = link.draw(q, source(), K)
    assert all(each.shape[:2] == (K, N) for each in arrays(z))
    terms = [log_q, *link.log_joint(x, z)]
    if hasattr(link, "log_q"):
        terms.append(link.log_q(q, tree(lambda a: getattr(a, "array", a), z)))
    for term in terms:
        assert term.shape == (K, N) and term.dtype in DTYPES and np.isfinite(term.array).all()
    prior = link.draw_prior(source(), K, N)
    assert [a.shape for a in arrays(prior)] == [a.shape for a in arrays(z)]
    means = link.mean(prior).array
    assert means.shape == (K, *x.shape)
    assert not hasattr(link, "num_pixels") or (means.min() > 0 and means.max() < 1)
    assert [a.shape[:2] for a in arrays(link.typical(q))] == [(1, N)] * len(arrays(z))
    if hasattr(link, "latent_means"):
        units = link.latent_means(q, z)
        assert [a.shape for a in units] == [(N, a.shape[2]) for a in arrays(z)]


def test_the_density_along_a_draw_is_the_density_there(link, x):
    if not hasattr(link, "log_q"):
        pytest.skip("its density is only known along a draw: tests of iaf and iaf-resnet")
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


def test_one_pass_has_what_two_have(link, x):
    """`draw_joint`, or what stands for it, along the same draw."""
    q = link.infer(x)
    whole = joint(link, x, q, source(), K)
    z, log_q = link.draw(q, source(), K)
    for a, b in zip(arrays(whole.z), arrays(z), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    for a, b in zip(whole[1:4], (log_q, *link.log_joint(x, z)), strict=True):
        np.testing.assert_allclose(a.array, b.array, rtol=1e-5, atol=1e-4)
    assert (whole.groups is None) == (not hasattr(link, "draw_joint"))
    if whole.groups is not None:
        assert whole.groups.shape[:2] == (K, N) and whole.groups.ndim == 3
        total = whole.groups.array.sum(axis=-1)
        np.testing.assert_allclose(total, (whole.log_q - whole.log_pz).array, rtol=1e-5, atol=1e-4)


def test_what_flows_through_draws(link, x):
    """Continuous draws are Variables that lead back to the encoder, discrete ones are arrays."""
    z, _ = link.draw(link.infer(x), source(), K)
    is_variable = {isinstance(each, chainer.Variable) for each in (z if type(z) is tuple else (z,))}
    assert is_variable == {link.reparameterised}


def test_a_spec_is_enough_to_build_it_again(link):
    again = of_spec(str(link.spec))
    assert again.spec == link.spec
    assert build(str(link.spec), columns(link.spec.name), np.random.default_rng()).spec == link.spec
    shapes = {name: parameter.shape for name, parameter in link.namedparams()}
    assert {name: parameter.shape for name, parameter in again.namedparams()} == shapes
    assert all({0, *each.array.strides} == {0} for each in again.params())  # no memory


def test_data_without_a_likelihood_are_refused(link, x):
    expected = rf"have shape \(4, 12\), the model expects \(N, {x.shape[1]}\)"
    with pytest.raises(ValueError, match=expected):
        link.check(np.zeros((N, 12), np.float32))
    with pytest.raises(ValueError, match=r"have shape .*, the model expects"):
        link.check(x[0])
    if hasattr(link, "num_pixels"):
        what = (
            "that are no bytes over 256" if link.spec.name == "iaf-resnet" else r"outside \[0, 1\]"
        )
        for bad in (x + np.float32(0.5), x * np.float32(np.nan)):
            with pytest.raises(ValueError, match=rf"image 0 has values {what}.* no likelihood"):
                link.check(bad)
    else:
        with pytest.raises(ValueError, match=r"row 0 has values that are not finite .* likelihood"):
            link.check(x + np.float32(np.inf))
        assert link.check(x - 7).dtype == np.float32


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
        ("mlp:pixels=8,hidden=3", "is a model of 8 pixels, but the data have 9"),
        ("gaussian-toy:dim=20", "is a model of 20 dim, but the data have 9"),
        ("gaussian-toy:mu=1", "model gaussian-toy has no option 'mu': it has none"),
        ("mixture", "mixture is of data in one column, not in 9"),
        ("iaf:posterior=iaf3", "unknown posterior 'iaf3': choose from diag, iaf1, iaf2"),
        ("iaf:steps=101", "iaf: steps and depth-ar must be at most 100"),
        ("iaf:depth-ar=-1", "iaf:depth_ar must be at least 0, not -1"),
        ("iaf:width=1000000", "iaf: autoregressive networks of 240,000,000 weights .*smaller"),
        ("iaf-resnet:n-h=1000000", "iaf-resnet: n-z and n-h must be at most 4096"),
        ("iaf-resnet:n-h=4096,depth-ar=100", "networks of 59,.* are too large .* smaller layers"),
        ("iaf-resnet:depths=9999-1", "depths '9999-1': write the layers of each level, as 2-2-2"),
        ("iaf-resnet:depths=2-x", "depths '2-x': write the layers of each level"),
        ("iaf-resnet:depths=99-2", "depths 99-2: at most 100 layers on at most 10 levels"),
        ("iaf-resnet:depth-ar=-1", "iaf-resnet:depth_ar must be at least 0, not -1"),
        ("iaf-resnet:depth-ar=101", "iaf-resnet: depth-ar must be from 0 to 100, not 101"),
        ("iaf-resnet:posterior=iaf2", "unknown posterior 'iaf2': choose from up_diag, .*down_iaf2"),
    ],
)
def test_what_cannot_be_built_is_one_sentence(name, message):
    with pytest.raises(ValueError, match=message):
        build(name, PIXELS, np.random.default_rng(0))
    if "data" not in message:  # without them it is refused the same way
        with pytest.raises(ValueError, match=message):
            check_name(name)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (9, "depths 2-2 halves images 2 times, but 3 x 3 pixels can be halved not once"),
        (12, "depths 2-2 halves images 2 times, but 2 x 2 pixels can be halved 1 times"),
        (32, "32 numbers are no square image, grey or of three colours"),
    ],
)
def test_images_that_cannot_be_halved_are_refused(pixels, message):
    with pytest.raises(ValueError, match=message):
        build("iaf-resnet", pixels, np.random.default_rng(0))


@pytest.mark.parametrize("name", [*NAMES, "gaussian-toy:dim=20", "mlp:pixels=784", "conv"])
def test_a_name_is_checked_before_there_are_data(name):
    check_name(name)


@pytest.mark.parametrize(
    "text",
    [
        *("mlp:hidden=3", "mlp:pixels=-4", "mlp:pixels=9999999999", "sbn:pixels=4,units=99999999"),
        *("gaussian-toy", "gaussian-toy:dim=x", "gaussian-toy:pixels=4", "mixture:columns=2"),
        *("gaussian-vae:columns=0", "gaussian-vae:columns=1,hidden=0", "conv:pixels=7"),
        *("iaf:posterior=diag", "iaf:pixels=4,hidden=0", "iaf-resnet:depths=1"),
    ],
)
def test_a_spec_of_a_file_has_sizes_that_can_be(text):
    with pytest.raises(ValueError, match=r"pixels|units|dim|column|hidden"):
        of_spec(text)


@pytest.mark.parametrize(
    "text",
    [
        "iaf-resnet:pixels=64,n-h=1000000",
        "iaf-resnet:pixels=64,n-h=4096,n-z=4096,depth-ar=100",
        "iaf-resnet:pixels=64,depths=100,n-h=1024",
        "iaf-resnet:pixels=64,depths=9999-9999",
        "iaf-resnet:pixels=60",
        "iaf:pixels=4,width=16777216",
        "iaf:pixels=4,latent=16777216,depth-ar=0",
        "iaf:pixels=4,steps=16777216",
    ],
)
def test_sizes_of_a_file_are_refused_before_they_take_memory(text):
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"at most|depths|square"):
            of_spec(text)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_what_is_lacking_is_said_in_words(link):
    for name, words in CAPABILITIES.items():
        sentence = lacking(link, name, "this")
        expected = f"this needs {words}, which {link.spec.name} does not have"
        assert sentence == (None if hasattr(link, name) else expected)
