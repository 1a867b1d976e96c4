"""Training through `draw_joint`: one pass against two, and a minimum of information per group."""

import chainer
import chainer.functions as F
import numpy as np
import pytest
from differences import slopes

import jvi
from jvi.datasets import Dataset, bits_per_dimension, of_bytes
from jvi.engine.random import BatchSource, Given
from jvi.evidence.estimators import estimator
from jvi.models import IAF, GaussianVAE, IAFResNet
from jvi.models.model import Model
from jvi.training import step as step_module
from jvi.training.objective import (
    Objective,
    changed,
    check_fit,
    draw,
    follow,
    for_link,
    information,
    loss,
)
from jvi.training.step import Step

K, N = 4, 3
KINDS = ["iaf", "up_iaf2", "down_iaf2", "down_iaf1"]


def link_of(kind, depths="1-1"):
    """In float64, with parameters that leave nothing at its first value."""
    rng = np.random.default_rng(5)
    if kind == "iaf":
        link = IAF(16, 4, 2, "iaf2", 2, 3, 1, rng)
    else:
        link = IAFResNet(16, depths, 1, 2, kind, 1, rng)
    for _, parameter in sorted(link.namedparams()):
        parameter.array = rng.normal(0, 0.4, parameter.shape)
    return link


def images(link, number=N):
    levels = np.random.default_rng(3).integers(0, 256, (number, 16))
    return (levels > 127).astype(np.float64) if isinstance(link, IAF) else levels / 256.0


def noise(link, x, num_samples=K):
    """In the order in which the model asks for it."""
    rng, asked = np.random.default_rng(4), []

    class Asked:
        def normal(self, shape):
            asked.append(rng.normal(size=shape))
            return asked[-1]

    link.draw(link.infer(x), Asked(), num_samples)
    return asked


class TwoPasses:
    """A model without `draw_joint`."""

    reparameterised = True

    def __init__(self, link):
        self.infer, self.draw, self.log_joint = link.infer, link.draw, link.log_joint


def gradients(link, scalar):
    link.cleargrads()
    scalar.backward()
    shapes = {name: each.array for name, each in link.namedparams()}
    return {
        name: np.zeros_like(shapes[name]) if each.grad is None else each.grad
        for name, each in link.namedparams()
    }


def objectives_gradients(link, objective, x, eps, now=None, of=None):
    draws = draw(of or link, x, Given(list(eps)), K, objective, now)
    weights = follow(draws, objective, now)[1]
    return gradients(link, loss(of or link, draws, objective, weights))


def same(found, expected, tolerance=1e-10):
    scale = max(np.abs(each).max() for each in expected.values())
    assert found.keys() == expected.keys() and scale > 1e-3
    for name, gradient in expected.items():
        np.testing.assert_allclose(
            found[name], gradient, rtol=tolerance, atol=tolerance * scale, err_msg=name
        )


# --- one pass, two passes, and by hand ------------------------------------------------------------

ONE_BOUND = ["elbo", "iwae", "jvi:order=1", "miwae", "ciwae", "renyi"]


@pytest.mark.parametrize("name", ONE_BOUND)
@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_of_one_bound_is_that_of_two_passes(kind, name):
    link, objective = link_of(kind), Objective(estimator(name))
    x = images(link)
    eps = noise(link, x)
    assert objective.estimator.one_bound
    one = objectives_gradients(link, objective, x, eps)
    same(one, objectives_gradients(link, objective, x, eps, of=TwoPasses(link)))


def log_mean(log_w):
    return F.logsumexp(log_w, axis=0) - np.log(len(log_w))


def jackknife(log_w):
    """JVI-1: K L_K - (K - 1) mean of L_(K-1), each leaving one sample out."""
    parts = [[j for j in range(K) if j != k] for k in range(K)]
    without = sum(log_mean(F.stack([log_w[j] for j in rest])) for rest in parts) / K
    return K * log_mean(log_w) - (K - 1) * without


def in_groups(log_w):
    return (log_mean(log_w[: K // 2]) + log_mean(log_w[K // 2 :])) / 2


def elbo(log_w):
    return F.mean(log_w, axis=0)


BOUNDS = {
    "elbo": (elbo, elbo),
    "iwae": (log_mean, log_mean),
    "jvi:order=1": (jackknife, jackknife),
    "miwae": (in_groups, in_groups),
    "piwae": (log_mean, in_groups),
    "jvi-elbo": (jackknife, elbo),
    "jvi-iwae": (jackknife, log_mean),
}


def by_hand(link, x, eps, of_model, of_encoder):
    """Of minus the mean bounds: all of the encoder's, but the model's part of it (at fixed z).

    log q is no part of the model, wherever its parameters are.
    """
    q = link.infer(x)
    z, log_q = link.draw(q, Given(list(eps)), K)
    fixed = tuple(each.array for each in z) if isinstance(z, tuple) else z.array

    def through(bound, z, log_q):
        log_px, log_pz = link.log_joint(x, z)
        return gradients(link, -F.mean(bound(log_px + log_pz - log_q)))

    parts = [
        through(of_model, fixed, log_q.array),
        through(of_encoder, fixed, log_q.array),
    ]
    whole = through(of_encoder, z, log_q)
    return {name: whole[name] + parts[0][name] - parts[1][name] for name in whole}


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize("kind", ["iaf", "up_iaf2", "down_iaf2"])
def test_gradients_are_those_of_their_bounds(kind, name):
    link, objective = link_of(kind), Objective(estimator(name))
    x = images(link)
    eps = noise(link, x)
    assert objective.estimator.one_bound == (BOUNDS[name][0] is BOUNDS[name][1])
    expected = by_hand(link, x, eps, *BOUNDS[name])
    same(objectives_gradients(link, objective, x, eps), expected, 1e-9)


@pytest.mark.parametrize("name", ["jvi-iwae", "jvi-elbo", "piwae"])
def test_two_passes_of_a_single_layer(name):
    """Whose z is a tuple of one array."""
    link = link_of("down_iaf2", "1")
    x, objective = images(link), Objective(estimator(name))
    eps = noise(link, x)
    expected = by_hand(link, x, eps, *BOUNDS[name])
    same(objectives_gradients(link, objective, x, eps), expected, 1e-9)


@pytest.mark.parametrize("name", ["iwae", "piwae"])
def test_the_weight_of_the_kl_is_in_one_pass_and_in_two(name):
    """Of an estimator's bound of log p(x|z) + w [log p(z) - log q(z|x)]."""
    link, objective = link_of("down_iaf2"), Objective(estimator(name))
    x = images(link)
    eps = noise(link, x)
    of_model, of_encoder = BOUNDS[name]

    class Weighted:
        infer = link.infer

        def draw(self, *rest):
            z, log_q = link.draw(*rest)
            return z, 0.3 * log_q

        def log_joint(self, x, z):
            log_px, log_pz = link.log_joint(x, z)
            return log_px, 0.3 * log_pz

    weighted = Weighted()
    weighted.namedparams, weighted.cleargrads = link.namedparams, link.cleargrads
    expected = by_hand(weighted, x, eps, of_model, of_encoder)
    same(objectives_gradients(link, objective, x, eps, {"kl": 0.3}), expected, 1e-9)


@pytest.mark.parametrize("name", ["dreg", "stl", "ovis", "rws", "reinforce", "wake-sleep"])
@pytest.mark.parametrize("kind", ["iaf", "down_iaf2"])
def test_what_needs_a_density_at_any_z_is_refused(kind, name):
    sentence = rf"^{name}\S* needs the density of q\(z\|x\) at any z, which iaf\S* does not have$"
    with pytest.raises(ValueError, match=sentence):
        check_fit(Objective(estimator(name)), link_of(kind), K)
    check_fit(Objective(estimator("iwae")), link_of(kind), K)


# --- a minimum of information ---------------------------------------------------------------------


def free(link, bits):
    objective = for_link(changed(Objective(estimator("elbo")), "", bits), link)
    check_fit(objective, link, K)
    return objective


def source():
    return BatchSource(np.random.default_rng(9), N)


def step_of(link, bits):
    rows = np.zeros((N, 16), np.uint8)
    data = Dataset("rows", rows, rows, rows, observe=of_bytes, unit=bits_per_dimension(16))
    return Step(Model(link), data, chainer.optimizers.SGD(0).setup(link), free(link, bits), K, 0)


def steps_gradients(link, bits, x):
    step_of(link, bits)._gradients(x, source(), {})
    return {name: each.grad for name, each in link.namedparams()}


def groups_and_data(link, x):
    """KL of each group on average over batch and samples, and the mean of log p(x|z)."""
    with chainer.no_backprop_mode():
        joint = link.draw_joint(x, link.infer(x), source().rows(slice(0, N)), K)
    return joint.groups.array.mean(axis=(0, 1)), joint.log_px.array.mean()


def minimum_for(link, x):
    """Nats that one group has on average and another has not, but for some data point it has."""
    found = information(link, x, source().rows(slice(0, N)), K)
    lowest = found[:, np.argmin(found.mean(axis=0))]
    bits = float(lowest.mean() + lowest.max()) / 2
    assert max(lowest.mean(), 0) + 0.005 < bits < found.mean(axis=0).max() - 0.005
    return bits


@pytest.mark.parametrize("kind", KINDS)
def test_information_is_the_groups_mean(kind):
    link = link_of(kind)
    x = images(link)
    found = information(link, x, source().rows(slice(0, N)), K)
    assert found.shape[0] == N
    np.testing.assert_allclose(found.mean(axis=0), groups_and_data(link, x)[0], rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_groups_below_the_minimum_cost_as_much_as_it(kind):
    """Σ over groups of max(minimum, KL) - log p(x|z), by finite differences."""
    rng, link = np.random.default_rng(1), link_of(kind)
    x = images(link)
    bits = minimum_for(link, x)

    def total():
        groups, log_px = groups_and_data(link, x)
        return np.maximum(bits, groups).sum() - log_px

    found = steps_gradients(link, bits, x)
    for name, direction, slope in slopes(link.namedparams(), total, rng):
        assert (found[name] * direction).sum() == pytest.approx(slope, rel=1e-5, abs=1e-6), name


@pytest.mark.parametrize("kind", ["iaf", "down_iaf2"])
def test_pieces_of_a_batch_open_what_the_whole_does(kind, monkeypatch):
    link = link_of(kind)
    x = images(link)
    bits = minimum_for(link, x)
    whole = steps_gradients(link, bits, x)
    single = [slice(n, n + 1) for n in range(N)]
    monkeypatch.setattr(step_module, "training_pieces", lambda *_: single)
    same(steps_gradients(link, bits, x), whole, 1e-12)


def test_a_closed_group_gets_no_gradient():
    """The mean of the prior of a layer's latents enters its KL alone."""
    link = link_of("up_iaf2")
    x = images(link)
    groups = groups_and_data(link, x)[0]  # the highest layer's first
    bits = float(groups.mean())
    found = steps_gradients(link, bits, x)
    means = [found[f"/layers/{i}/down_conv1/b"][2] for i in (1, 0)]  # after two hidden maps
    assert min(groups) < bits < max(groups)
    assert [mean == 0 for mean in means] == [group < bits for group in groups]


def test_no_minimum_is_the_plain_bound():
    link = link_of("down_iaf2")
    x = images(link)
    eps = noise(link, x)
    plain = objectives_gradients(link, Objective(estimator("elbo")), x, eps)
    opened = objectives_gradients(link, free(link, 1e-9), x, eps, {"open": np.ones(2)})
    same(opened, plain)
    none = objectives_gradients(link, free(link, 1e-9), x, eps, {"open": np.zeros(2)})

    def data_alone():
        joint = link.draw_joint(x, link.infer(x), Given(list(eps)), K)
        return -F.mean(joint.log_px)

    same(none, gradients(link, data_alone()))


def test_the_minimum_is_of_closed_form_where_there_is_one():
    rng = np.random.default_rng(0)
    plain, flow = GaussianVAE(3, 4, 2, rng=rng), link_of("iaf")
    assert changed(Objective(estimator("elbo")), "", 0.1).latent == free(plain, 0.1).latent == "kl"
    assert free(flow, 0.1).latent == "sampled"
    with pytest.raises(ValueError, match=r"minimum of information .* not of iwae: choose .* elbo"):
        check_fit(changed(Objective(estimator("iwae")), "", 0.1), flow, K)


# --- files, and what cannot be --------------------------------------------------------------------

SMALL = {
    "iaf": "iaf:hidden=4,latent=2,steps=2,width=3,depth-ar=0",
    "iaf-resnet": "iaf-resnet:depths=1-1,n-z=1,n-h=2,posterior=down_iaf2",
    "linear": "iaf-resnet:depths=1-1,n-z=1,n-h=2,posterior=up_iaf1,depth-ar=0",
}


@pytest.mark.parametrize("name", SMALL)
def test_a_trained_model_is_read_again(name, tmp_path):
    levels = np.random.default_rng(3).integers(0, 256, (40, 16)).astype(np.uint8)
    parts = (levels, levels[:8], levels[8:16])
    data = Dataset("bytes", *parts, observe=of_bytes, unit=bits_per_dimension(16))
    if name == "iaf":
        rows = (levels > 127).astype(np.float32)
        data = jvi.dataset(rows, rows[:8], rows[8:16])
    options = {"epochs": 1, "batch_size": 20, "quiet": True, "free_bits": 0.01}
    model = jvi.train(SMALL[name], data, "elbo", 2, output=tmp_path / "m", **options)
    again, x = jvi.load(tmp_path / "m"), data.observe(data.test, None)
    assert again.link.spec == model.link.spec
    log_w = [each.log_weights(x, 5, np.random.default_rng(1)) for each in (model, again)]
    assert np.isfinite(log_w[0]).all()
    np.testing.assert_array_equal(*log_w)
    np.testing.assert_array_equal(model.reconstruct(x), again.reconstruct(x))
    assert model.reconstruct(x).shape == (8, 16)
    drawn = model.sample_prior(6, np.random.default_rng(1))
    assert drawn.shape == (6, 16) and drawn.min() > 0 and drawn.max() < 1
