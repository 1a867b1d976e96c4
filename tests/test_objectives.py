"""Objectives: the original's golden numbers, and every route by a gradient of its own."""

import chainer
import chainer.functions as F
import numpy as np
import pytest

from jvi import estimators, objectives
from jvi.compat.model_files import read_model
from jvi.estimators import Weights
from jvi.model import load
from jvi.models import MLP
from jvi.objectives import OBJECTIVES, Objective, draw, loss, objective_for, report, summarise

MODELS = ["tiny_vae", "tiny_iwae", "tiny_jvielbo", "iwae8", "jvielbo8", "jvi8slow"]
GOLDEN = [("vae", "vae", 1), ("iwae", "iwae", 1), ("is", "is", 1)]
GOLDEN += [("jvi", f"jvi{order}", order) for order in range(4)]


def original(legacy, name):
    """The original's parameters in float32 and float64, and what it computed with them."""
    path = legacy(name)
    golden = np.load(f"{path}.golden.npz")
    exact = load(path).link
    for parameter in exact.params():
        parameter.array = parameter.array.astype(np.float64)
    return load(path).link, exact, golden


def gradients(link, x, eps, vae_type, order):
    objective = objective_for(vae_type, raw=True)
    link.cleargrads()
    loss(link, draw(link, x, eps), objective, order).backward()
    return {name.lstrip("/"): parameter.grad for name, parameter in link.namedparams()}


def relative(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def originals_correction(log_w):
    """JVI-1 minus IWAE as the original's "iwae++" had it: in float32, guarded by 1e-6.

    log w near -550 is rounded to 3e-5 and v = exp(log w - log sum w) is as uncertain. Where one
    weight dominates, 1 - v is noise, which the guard hides.
    """
    log_w = log_w.astype(np.float32)
    count = np.float32(len(log_w))
    top = log_w.max(axis=0)
    log_sum = top + np.log(np.exp(log_w - top).sum(axis=0))
    rest = np.log(1 - np.exp(log_w - log_sum) + np.float32(1e-6))
    return ((count - 1) * (np.log(count - 1) - np.log(count) - rest.mean(axis=0))).mean()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("vae_type", "key", "order"), GOLDEN)
def test_reported_values_are_the_originals(legacy, name, vae_type, key, order):
    link, _, golden = original(legacy, name)
    draws = draw(link, golden["x"], golden["eps"])
    np.testing.assert_allclose(draws.log_w, golden["log_w"], rtol=1e-5)
    values = summarise(report(draws, objective_for(vae_type), order))
    compared = [field for field in values if f"{key}/{field}" in golden]
    assert "obj" in compared
    for field in compared:
        np.testing.assert_allclose(values[field], golden[f"{key}/{field}"], rtol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_the_originals_iwaepp_is_jvi_1_up_to_its_float32_defect(legacy, name):
    """Exactly JVI-1 here; there up to 15% of the correction is lost. Its arithmetic explains it."""
    link, _, golden = original(legacy, name)
    draws = draw(link, golden["x"], golden["eps"])
    values = summarise(report(draws, objective_for("iwae++"), 1))
    jvi_1 = summarise(report(draws, objective_for("jvi"), 1))
    assert values["obj"] == jvi_1["obj"]
    assert values["corr"] == pytest.approx(golden["iwae/obj"] - golden["jvi1/obj"], abs=2e-4)
    assert originals_correction(draws.log_w) == pytest.approx(golden["iwae++/corr"], rel=1e-3)
    dominated = {"tiny_vae", "tiny_iwae", "jvi8slow"}
    if name not in dominated:
        np.testing.assert_allclose(values["obj"], golden["iwae++/obj"], rtol=1e-5)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("vae_type", "key", "order"),
    [c for c in GOLDEN if c[1] in ("vae", "iwae", "is", "jvi1", "jvi2")],
)
def test_gradients_are_the_originals(legacy, name, vae_type, key, order):
    """Within 1e-4, except where the original's own rounding is larger than that.

    What its rounding is, the same gradient in float64 tells; ours stays within 5e-5 of it.
    """
    link, exact_link, golden = original(legacy, name)
    x, eps = golden["x"], golden["eps"]
    ours = gradients(link, x, eps, vae_type, order)
    exact = gradients(exact_link, x.astype(np.float64), eps.astype(np.float64), vae_type, order)
    for parameter, gradient in ours.items():
        theirs = golden[f"{key}/grad/{parameter}"]
        assert gradient.dtype == np.float32
        assert relative(gradient, exact[parameter]) < 5e-5
        rounding = relative(theirs, exact[parameter])
        assert rounding < (1e-4 if key in ("vae", "iwae", "is") else 3e-4)
        assert relative(gradient, theirs) < max(1e-4, 2 * rounding)


@pytest.mark.parametrize("name", MODELS)
def test_gradients_of_iwaepp_are_those_of_exact_jvi_1(legacy, name):
    link, _, golden = original(legacy, name)
    ours = gradients(link, golden["x"], golden["eps"], "iwae++", 1)
    for parameter, gradient in ours.items():
        assert relative(gradient, golden[f"jvi1/grad/{parameter}"]) < 2e-4
    if name in ("tiny_jvielbo", "iwae8"):  # no dominant weight: the original's own is near
        assert relative(ours["decode/plin2/W"], golden["iwae++/grad/decode/plin2/W"]) < 3e-4


def small_model(seed=0):
    """A float64 model, images and noise: N = 5, K = 3, 6 pixels."""
    rng = np.random.default_rng(seed)
    link = MLP(6, 4, 2, rng)
    for parameter in link.params():
        parameter.array = rng.normal(0, 0.5, parameter.shape)
    return link, (rng.random((5, 6)) < 0.5).astype(np.float64), rng.normal(size=(3, 5, 2))


def route_by_route(link, x, eps, weights):
    """The loss gradient of three weights per sample, each route by a backward pass of its own."""
    num_points = x.shape[0]
    link.cleargrads()
    q = link.posterior(x)
    z = chainer.Variable(link.sample(q, eps).array)
    fixed_q = tuple(parameter.array for parameter in q)

    # d log w / dz at fixed parameters
    F.sum(link.log_px(x, z) + link.log_pz(z) - link.log_qz(fixed_q, z)).backward()
    slope = z.grad.copy()
    link.cleargrads()

    fixed_z = z.array
    F.sum(
        weights.model * (link.log_px(x, fixed_z) + link.log_pz(chainer.Variable(fixed_z)))
    ).backward()
    F.sum(weights.path[:, :, None] * slope * link.sample(link.posterior(x), eps)).backward()
    score = -weights.path if weights.score is None else weights.score
    F.sum(score * link.log_qz(link.posterior(x), fixed_z)).backward()
    return {name: -parameter.grad / num_points for name, parameter in link.namedparams()}


def arbitrary_weights(score):
    rng = np.random.default_rng(7)
    model, path = rng.normal(size=(2, 3, 5))
    model[0, 0] = 0.0  # no gradient for the model, some for the encoder
    return Weights(model, path, rng.normal(size=(3, 5)) if score else None)


@pytest.mark.parametrize("score", [False, True])
def test_three_weights_per_sample_act_on_their_three_routes(monkeypatch, score):
    link, x, eps = small_model()
    weights = arbitrary_weights(score)
    monkeypatch.setitem(estimators.ESTIMATORS, "arbitrary", lambda log_w, order: weights)
    expected = route_by_route(link, x, eps, weights)
    link.cleargrads()
    loss(link, draw(link, x, eps), Objective("arbitrary", "sampled", "iwae")).backward()
    for name, parameter in link.namedparams():
        np.testing.assert_allclose(parameter.grad, expected[name], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("vae_type", ["vae", "iwae", "iwae++", "jvi"])
def test_gradients_of_scalar_objectives_by_finite_differences(vae_type):
    link, x, eps = small_model()
    objective = objective_for(vae_type, raw=True)

    def value():
        return summarise(report(draw(link, x, eps), objective, 1))["obj"]

    link.cleargrads()
    loss(link, draw(link, x, eps), objective, 1).backward()
    for _, parameter in link.namedparams():
        direction = np.random.default_rng(8).normal(size=parameter.shape)
        start = parameter.array
        parameter.array = start + 1e-6 * direction
        up = value()
        parameter.array = start - 1e-6 * direction
        down = value()
        parameter.array = start
        slope = (parameter.grad * direction).sum()
        assert slope == pytest.approx((up - down) / 2e-6, rel=1e-5, abs=1e-8)


def test_jvi_is_clipped_and_doubly_reparameterised_unless_raw():
    assert objective_for("jvi").estimator == objective_for("iwae++").estimator == "jvi_clip"
    assert objective_for("jvi", raw=True).estimator == "jvi"
    assert objective_for("iwae", raw=True).estimator == "iwae"
    link, x, eps = small_model()
    found = {}
    for estimator in ("jvi_clip", "dreg"):
        link.cleargrads()
        loss(link, draw(link, x, eps), Objective(estimator, "sampled", "jvi")).backward()
        found[estimator] = {n: p.grad.copy() for n, p in link.encode.namedparams()}
    for name, gradient in found["dreg"].items():
        np.testing.assert_allclose(found["jvi_clip"][name], gradient, rtol=1e-9, atol=1e-12)


def test_jvi_elbo_trains_the_encoder_on_the_analytic_elbo():
    link, x, eps = small_model()
    found = []
    for vae_type in ("jvi+elbo", "vae", "jvi"):
        link.cleargrads()
        loss(link, draw(link, x, eps), objective_for(vae_type, raw=True), 1).backward()
        found.append({n: p.grad.copy() for n, p in link.namedparams()})
    both, elbo, jvi = found
    for name in both:
        expected = elbo if name.startswith("/encode") else jvi
        np.testing.assert_allclose(both[name], expected[name], rtol=1e-9, atol=1e-12)


def test_dreg_has_the_mean_of_the_iwae_gradient():
    """Tucker et al. 2019: the same expectation by another route; within 4 standard errors."""
    link, x, _ = small_model()
    rng = np.random.default_rng(9)
    differences = []
    for _ in range(400):
        eps = rng.normal(size=(4, 5, 2))
        found = []
        for estimator in ("dreg", "iwae"):
            link.cleargrads()
            loss(link, draw(link, x, eps), Objective(estimator, "sampled", "iwae")).backward()
            found.append(np.concatenate([p.grad.ravel() for p in link.encode.params()]))
        differences.append(found[0] - found[1])
    differences = np.array(differences)
    error = differences.std(axis=0) / np.sqrt(len(differences))
    moved = error > 1e-12  # weights from a pixel that is never set have no gradient
    z = differences.mean(axis=0)[moved] / error[moved]
    assert abs(z).max() < 4.5 and z.std() < 2


def test_reports_have_the_originals_names(legacy):
    """As in the logs that the original wrote."""
    import json

    link, x, eps = small_model()
    for name, prefix in [("tiny_vae", "main/"), ("tiny_iwae", "main/"), ("tiny_jvielbo", "")]:
        vae_type = read_model(legacy(name)).vae_type
        entry = json.loads((legacy(name) / "log").read_text())[0]
        values = summarise(report(draw(link, x, eps), objective_for(vae_type), 1))
        other = {"epoch", "iteration", "elapsed_time"}
        theirs = {key for key in entry if not key.startswith("validation/")} - other
        assert {prefix + field for field in values} == theirs


def test_unknown_type_is_one_clear_line():
    with pytest.raises(ValueError, match="unknown VAE type 'foo': choose from vae, iwae"):
        objective_for("foo")


def test_every_type_has_an_estimator_and_a_report():
    for objective in OBJECTIVES.values():
        assert objective.estimator in estimators.ESTIMATORS
        assert objective.report in objectives._REPORTS
