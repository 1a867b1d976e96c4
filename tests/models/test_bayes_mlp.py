"""Bayesian networks against their formulas, finite differences, SciPy and simulation."""

from decimal import Decimal, localcontext
from itertools import pairwise

import chainer
import numpy as np
import pytest
from differences import slopes
from scipy import stats
from scipy.special import log_expit, log_softmax

from jvi.engine.random import BatchSource, Given, PointSource, stream
from jvi.evidence.estimators import estimator
from jvi.functions import softplus_gaussian
from jvi.models import BayesMLP, bayes_layers, build, of_spec
from jvi.models.protocol import CAPABILITIES, lacking
from jvi.models.weight_priors import mixture_prior, normal_prior
from jvi.training.objective import KL, Objective, draw, follow, loss

B, F, K = 7, 3, 4
SPECS = {
    "regression": "bayes-mlp:hidden=5x4,activation=tanh",
    "relu": "bayes-mlp:hidden=6,noise=0.3",
    "linear": "bayes-mlp:hidden=none,prior-scale=0.5",
    "classification": "bayes-mlp:hidden=5,task=classification,classes=3,activation=tanh",
    "binary": "bayes-mlp:hidden=5,task=binary,prior=mixture,sigma2=0.05",
}


def link_of(name, dtype=np.float64):
    link = build(SPECS.get(name, name), F + 1, np.random.default_rng(2))
    for parameter in link.params():
        parameter.array = parameter.array.astype(dtype)
    if hasattr(link, "ln_sigma"):
        link.ln_sigma.array[:] = -0.4
    return link


def data_of(link, rows=B):
    rng = np.random.default_rng(3)
    task, classes = link.spec.options["task"], link.layout.sizes[-1]
    target = (
        rng.integers(0, max(2, classes), rows) if task != "regression" else rng.normal(size=rows)
    )
    return np.column_stack([rng.normal(size=(rows, F)), target])


def weights_of(link, dtype=np.float64, count=K):
    return np.random.default_rng(4).normal(0, 0.7, (count, 1, link.num_latent)).astype(dtype)


def outputs_by_hand(link, features, z):
    """Layer by layer, draw by draw, from the flat weights."""
    function = {"relu": lambda a: np.maximum(a, 0), "tanh": np.tanh}[
        link.spec.options["activation"]
    ]
    found = []
    for flat in z[:, 0]:
        h, start, sizes = features, 0, link.layout.sizes
        for layer, (above, below) in enumerate(pairwise(sizes)):
            weights = flat[start : start + above * below].reshape(above, below)
            start += above * below
            h = h @ weights + flat[start : start + below]
            start += below
            h = function(h) if layer < len(sizes) - 2 else h
        found.append(h)
    return np.stack(found)


@pytest.fixture(params=SPECS, ids=str)
def link(request):
    return link_of(request.param)


def test_likelihoods_are_scipys(link):
    x, z = data_of(link), weights_of(link)
    f, y = outputs_by_hand(link, x[:, :-1], z), x[:, -1]
    expected = {
        "regression": lambda: stats.norm.logpdf(y, f[..., 0], link.noise),
        "binary": lambda: np.where(y == 1, log_expit(f[..., 0]), log_expit(-f[..., 0])),
        "classification": lambda: log_softmax(f, axis=-1)[:, np.arange(B), y.astype(int)],
    }[link.spec.options["task"]]()
    np.testing.assert_allclose(link.outputs(x[:, :-1], z), f, rtol=1e-12)
    np.testing.assert_allclose(link.log_likelihood_rows(x, z), expected, rtol=1e-12, atol=1e-12)
    log_px, log_pz = link.log_joint(x, z)
    np.testing.assert_allclose(log_px.array, expected.sum(axis=1)[:, None], rtol=1e-12)
    assert log_px.shape == log_pz.shape == (K, 1) and link.num_points(x) == 1


def test_densities_of_weights_are_scipys(link):
    eps, z = np.random.default_rng(1).normal(size=(K, 1, link.num_latent)), weights_of(link)
    q = link.infer(data_of(link))
    mean, sigma = link.posterior()
    drawn, log_q = link.draw(q, Given([eps]), K)
    np.testing.assert_allclose(drawn.array[:, 0], mean + sigma * eps[:, 0], rtol=1e-12)
    for found, at in ((log_q, drawn.array), (link.log_q(q, z), z)):
        expected = stats.norm.logpdf(at, mean, sigma).sum(axis=-1)
        np.testing.assert_allclose(found.array, expected, rtol=1e-11)
    options = link.spec.options
    if options["prior"] == "normal":
        expected = stats.norm.logpdf(z, 0, options["prior_scale"])
    else:
        parts = [
            np.log(share) + stats.norm.logpdf(z, 0, options[name])
            for share, name in ((options["pi"], "sigma1"), (1 - options["pi"], "sigma2"))
        ]
        expected = np.logaddexp(*parts)
    log_pz = link.log_joint(data_of(link), z)[1]
    np.testing.assert_allclose(log_pz.array, expected.sum(axis=-1), rtol=1e-12)


@pytest.mark.parametrize("name", ["elbo", "iwae", "dreg"])
def test_gradients_of_log_weights_are_finite_differences(link, name):
    """Of Σ c_k log w_k along the draw (elbo, iwae), and of log q at fixed weights (dreg)."""
    rng, x = np.random.default_rng(5), data_of(link)
    eps, c = rng.normal(size=(K, 1, link.num_latent)), rng.normal(size=(K, 1))
    fixed = weights_of(link)

    def value():
        q = link.infer(x)
        if name == "dreg":
            return chainer.functions.sum(c * link.log_q(q, fixed))
        z, log_q = link.draw(q, Given([eps]), K)
        log_px, log_pz = link.log_joint(x, z)
        again = link.log_q(q, z) if name == "elbo" else log_q  # both are the same number
        return chainer.functions.sum(c * (log_px + log_pz - again))

    check_gradient(link, value, rng)


def check_gradient(link, value, rng):
    link.cleargrads()
    value().backward()
    parameters = list(link.params())
    moved = [(i, each) for i, each in enumerate(parameters) if each.grad is not None]
    for parameter in parameters:
        assert parameter.grad is not None or parameter is getattr(link, "ln_sigma", None)
    for number, direction, slope in slopes(moved, lambda: float(value().array), rng):
        found = (parameters[number].grad * direction).sum()
        assert found == pytest.approx(slope, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("size", [40, 130])
def test_pieces_change_nothing(link, size, monkeypatch):
    """Neither values nor derivatives, whatever rows and draws are worked on at once."""
    x, z = data_of(link, 10), chainer.Variable(weights_of(link, count=5))
    whole = link.log_joint(x, z)[0]
    expected = whole.array, chainer.grad([whole], [z])[0].array
    rows = link.log_likelihood_rows(x, z)
    monkeypatch.setattr(bayes_layers, "FEWEST", 3)
    monkeypatch.setattr(bayes_layers, "PIECE", size)
    work = bayes_layers.pieces(link.layout, 5, 10)
    assert len(work) > 1 and (work[0][0].stop > 1) == (size == 130)
    pieces = link.log_joint(x, z)[0]
    found = pieces.array, chainer.grad([pieces], [z])[0].array
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(link.log_likelihood_rows(x, z), rows, rtol=1e-12)


def test_sums_of_many_rows_are_exact_in_float32():
    """Float32 alone would round 50,000 rows' sum of -70,000 nats to 0.008, and add errors."""
    link = link_of("bayes-mlp:hidden=none,noise=1", np.float32)
    x, z = data_of(link, 50_000).astype(np.float32), weights_of(link, np.float32, 1)
    f = outputs_by_hand(link, x[:, :-1].astype(float), z)[0, :, 0]
    exact = stats.norm.logpdf(x[:, -1].astype(float), f, 1)
    found = link.log_joint(x, z)[0]
    assert found.dtype == np.float64
    assert found.array[0, 0] == pytest.approx(exact.sum(), abs=2e-3)


def test_the_divergence_is_that_of_draws():
    link, rng = link_of("linear"), np.random.default_rng(6)
    link.mu.array, link.rho.array = rng.normal(size=4), rng.normal(size=4)
    q = link.infer(data_of(link))
    z, log_q = link.draw(q, Given([rng.normal(size=(40_000, 1, 4))]), 40_000)
    gaps = (log_q - link.log_joint(data_of(link), z)[1]).array[:, 0]
    assert abs(link.kl(q).array[0] - gaps.mean()) < 4 * gaps.std() / 200
    weights = np.array([1.7])
    check_gradient(link, lambda: chainer.functions.sum(weights * link.kl(link.infer(None))), rng)


def test_only_the_normal_prior_has_a_divergence():
    sentence = lacking(link_of("binary"), "kl", "this")
    assert sentence is not None and "bayes-mlp does not have" in sentence
    assert lacking(link_of("linear"), "kl", "this") is None
    have = {name for name in CAPABILITIES if hasattr(link_of("binary"), name)}
    assert have == {"log_q", "draw_prior", "typical"}


@pytest.mark.parametrize("z", [0.0, 1e-4, 0.0173, 0.02, 3.0, 40.0, 1e3], ids=str)
def test_the_mixture_is_exact_where_densities_underflow(z):
    """Against 60 digits; in float32 e^-800, one part at 40, is zero, and so is (40/0.0025)'s."""
    pi, scales = 0.25, (1.0, 0.0025)

    def exact(at):
        """The density's logarithm, and its derivative, by their definitions."""
        at = Decimal(float(at))
        parts = [
            Decimal(share) / Decimal(scale) * (-at * at / 2 / Decimal(scale) ** 2).exp()
            for share, scale in zip((pi, 1 - pi), scales, strict=True)
        ]
        slopes = [p * -at / Decimal(scale) ** 2 for p, scale in zip(parts, scales, strict=True)]
        log_2pi = Decimal(np.log(2 * np.pi))
        return float(sum(parts).ln() - log_2pi / 2), float(sum(slopes) / sum(parts))

    for dtype, tolerance in ((np.float32, 1e-5), (np.float64, 1e-12)):
        at = chainer.Variable(np.full((1, 1, 1), z, dtype))
        log_density = mixture_prior(pi, *scales).log_density(at)
        with localcontext(prec=60):
            value, slope = exact(at.array[0, 0, 0])
        assert log_density.array[0, 0] == pytest.approx(value, rel=tolerance)
        found = chainer.grad([log_density], [at])[0].array[0, 0, 0]
        assert found == pytest.approx(slope, rel=10 * tolerance, abs=1e-30)


def test_draws_of_the_mixture_are_of_the_mixture():
    draws = mixture_prior(0.3, 2.0, 0.1).draw(BatchSource(stream(0, "pictures"), 1), (5_000, 1, 2))
    cdf = lambda t: 0.3 * stats.norm.cdf(t / 2) + 0.7 * stats.norm.cdf(t / 0.1)  # noqa: E731
    assert stats.kstest(draws.ravel(), cdf).pvalue > 0.01
    plain = normal_prior(3.0).draw(BatchSource(stream(0, "pictures"), 1), (5_000, 1, 2))
    assert stats.kstest(plain.ravel() / 3, stats.norm.cdf).pvalue > 0.01


def test_softplus_holds_far_from_zero():
    rho = np.array([-700.0, -80.0, -16.0, -15.0, -14.0, 0.0, 3.0, 80.0, 700.0])
    exact = np.logaddexp(0, rho)
    np.testing.assert_allclose(softplus_gaussian.softplus(rho), exact, rtol=1e-14)
    np.testing.assert_allclose(
        softplus_gaussian.inverse_softplus(exact), rho, rtol=1e-12, atol=1e-9
    )
    logs, slopes = softplus_gaussian.log_softplus(rho)
    np.testing.assert_allclose(logs, np.log(exact), rtol=1e-13)
    expected = np.exp(-np.logaddexp(0, -rho) - np.log(exact))
    np.testing.assert_allclose(slopes, expected, rtol=1e-11)
    logs, slopes = softplus_gaussian.log_softplus(np.float32([-200, 200]))
    np.testing.assert_allclose(logs, [-200, np.log(200)], rtol=1e-6)
    np.testing.assert_allclose(slopes, [1, 1 / 200], rtol=1e-6)


@pytest.mark.parametrize("way", ["local", "flipout"])
@pytest.mark.parametrize("latent", ["sampled", KL])
def test_fresh_weights_have_the_gradient_of_shared_ones_and_less_variance(way, latent):
    """The mean within standard errors, over many draws; the variance far below."""
    rng = np.random.default_rng(7)
    x = np.column_stack([rng.normal(size=(40, F)), rng.normal(size=40)]).astype(np.float32)
    objective, found = Objective(estimator("elbo"), latent), {}
    for each in ("shared", way):
        link = build(
            f"bayes-mlp:hidden=4,noise=0.5,perturbation={each}", 4, np.random.default_rng(2)
        )
        link.rho.array += 2
        gradients = []
        for seed in range(400):
            link.cleargrads()
            source = BatchSource(np.random.default_rng(seed), 1)
            draws = draw(link, x, source, 1, objective)
            loss(link, draws, objective, follow(draws, objective)[1]).backward()
            gradients.append(np.concatenate([link.mu.grad, link.rho.grad]))
        found[each] = np.array(gradients)
    mean, variance = ({k: f(v, axis=0) for k, v in found.items()} for f in (np.mean, np.var))
    score = (mean["shared"] - mean[way]) / np.sqrt((variance["shared"] + variance[way]) / 400)
    assert np.abs(score).max() < 4.5 and 0.5 < score.std() < 1.5
    share = variance[way].sum() / variance["shared"].sum()
    assert share < 0.5


@pytest.mark.parametrize("way", ["local", "flipout"])
@pytest.mark.parametrize("name", ["regression", "relu", "classification"])
def test_gradients_of_fresh_weights_are_finite_differences(way, name):
    link = link_of(f"{SPECS[name]},perturbation={way}")
    rng, x = np.random.default_rng(5), data_of(link)
    c, noise = rng.normal(size=(K, 1)), []

    class Recorded:
        """The same numbers at every call, of whatever shape is asked for."""

        def normal(self, shape):
            noise.append(np.random.default_rng(len(shape) + shape[-1]).normal(size=shape))
            return noise[-1]

    def value():
        z, log_q = link.draw(link.infer(x), Recorded(), K)
        log_px, log_pz = link.log_joint(x, z)
        return chainer.functions.sum(c * (log_px + log_pz - log_q))

    check_gradient(link, value, rng)


def test_without_backpropagation_all_rows_share_a_draw():
    """As bounds other than the ELBO need, in validation and evaluation."""
    for way in ("local", "flipout"):
        link = link_of(f"{SPECS['relu']},perturbation={way}")
        x, eps = data_of(link), np.random.default_rng(1).normal(size=(K, 1, link.num_latent))
        with chainer.no_backprop_mode():
            z, log_q = link.draw(link.infer(x), Given([eps]), K)
        np.testing.assert_allclose(log_q.array, link.log_q(link.infer(x), z.array).array)
        assert link.fresh and not link_of("relu").fresh


@pytest.mark.parametrize("name", ["elbo", "iwae", "jvi", "jvi-clip", "dreg", "stl", "renyi"])
def test_every_estimator_trains_a_regression(name):
    from chainer import optimizers

    rng = np.random.default_rng(8)
    features = rng.normal(size=(60, 1))
    x = np.column_stack([features, 2 * features[:, 0] + 0.1 * rng.normal(size=60)])
    x = x.astype(np.float32)
    link = build("bayes-mlp:hidden=4,activation=tanh,noise=0.3", 2, rng)
    objective, optimizer = Objective(estimator(name)), optimizers.Adam(alpha=0.03)
    optimizer.setup(link)
    bounds = []
    for step in range(150):
        link.cleargrads()
        draws = draw(link, x, BatchSource(stream(0, "training noise", step), 1), 5, objective)
        loss(link, draws, objective, follow(draws, objective)[1]).backward()
        optimizer.update()
        bounds.append(draws.log_w.mean())
    assert np.mean(bounds[-10:]) > np.mean(bounds[:5]) + 100
    z = link.typical(link.infer(x))
    errors = link.means(x[:, :-1], z)[0, :, 0] - x[:, -1]
    assert np.sqrt(np.mean(errors**2)) < 0.5


def test_the_posterior_of_linear_regression_is_found():
    """Orthogonal columns: the exact posterior is diagonal, where STL's gradient is zero."""
    from chainer import optimizers

    rng = np.random.default_rng(9)
    signs = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]] * 4, np.float32)
    y = signs @ [0.8, -0.3] + 0.5 + 0.4 * rng.normal(size=16)
    x = np.column_stack([signs, y]).astype(np.float32)
    link = build("bayes-mlp:hidden=none,noise=0.4,prior-scale=0.7", 3, rng)
    objective, optimizer = Objective(estimator("stl")), optimizers.Adam(alpha=0.05)
    optimizer.setup(link)
    for step in range(500):
        optimizer.alpha = 0.05 * (1 - step / 500)
        link.cleargrads()
        draws = draw(link, x, BatchSource(stream(0, "training noise", step), 1), 1, objective)
        loss(link, draws, objective, follow(draws, objective)[1]).backward()
        optimizer.update()
    design = np.column_stack([signs, np.ones(16)])
    precision = design.T @ design / 0.4**2 + np.eye(3) / 0.7**2
    exact = np.linalg.solve(precision, design.T @ y / 0.4**2)
    mean, sigma = link.posterior()
    np.testing.assert_allclose(mean, exact, atol=2e-3)
    np.testing.assert_allclose(sigma, np.diag(precision) ** -0.5, rtol=0.01)


def test_targets_are_drawn_from_the_likelihood(link):
    x, z = data_of(link), weights_of(link, count=1)
    many = np.repeat(z, 4_000, axis=0)
    targets = link.draw_targets(x[:, :-1], many, BatchSource(stream(1, "pictures"), 1))
    means = link.means(x[:, :-1], z)[0]
    if link.spec.options["task"] == "classification":
        for number in range(3):
            share, p = (targets == number).mean(axis=0), means[:, number]
            assert (abs(share - p) < 4.5 * np.sqrt(p * (1 - p) / 4_000)).all()
        return
    spread = link.noise or np.sqrt(means[:, 0] * (1 - means[:, 0]))
    assert (abs(targets.mean(axis=0) - means[:, 0]) < 4.5 * spread / 4_000**0.5).all()
    np.testing.assert_allclose(targets.std(axis=0), spread, rtol=0.08)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("hidden=5y", "hidden must be as 50, 400x400 or none"),
        ("hidden=0", "layers of 1 to 65536 units"),
        ("hidden=65536x65536x65536", "weights, at most"),
        ("task=ranking", "task must be one of regression, binary, classification"),
        ("prior=cauchy", "prior must be one of normal, mixture"),
        ("prior-scale=0", "prior-scale must be from 1e-06"),
        ("prior=mixture,pi=1", "pi must be between 0 and 1"),
        ("noise=-1", "noise must be from 1e-06"),
        ("task=classification,classes=1", "classes must be at least 2"),
        ("prior=mixture,perturbation=local", "choose flipout, or prior=normal"),
    ],
)
def test_what_cannot_be_is_one_sentence(options, message):
    with pytest.raises(ValueError, match=message):
        build(f"bayes-mlp:{options}", 4, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("name", "target", "message"),
    [
        ("binary", 2, r"row 1 has the target 2, but those of binary are 0 or 1"),
        ("classification", 3, r"row 1 has the target 3, but those .* from 0 to 2"),
        ("classification", 0.5, r"row 1 has the target 0.5, but those of classification"),
        ("regression", np.nan, "row 1 has values that are not finite"),
    ],
)
def test_targets_without_a_likelihood_are_refused(name, target, message):
    link = link_of(name)
    x = data_of(link)
    x[1, -1] = target
    with pytest.raises(ValueError, match=message):
        link.check(x)


def test_a_spec_names_what_matters_alone():
    assert str(BayesMLP(4, "", "binary", noise=0.1).spec) == (
        "bayes-mlp:columns=4,hidden=none,task=binary,activation=relu,prior=normal,prior-scale=1.0,"
        "perturbation=shared"
    )
    long = "bayes-mlp:columns=785,hidden=1200x1200x1200,task=classification,classes=10"
    again = of_spec(f"{long},prior=mixture,sigma2=0.0024787521766663585,perturbation=flipout")
    assert len(str(again.spec)) < 200
    assert again.mu.array.strides == (0,)  # no memory


def test_initial_weights_keep_the_scale_of_inputs():
    link = build("bayes-mlp:hidden=200x100", 101, np.random.default_rng(0))
    mean, sigma = link.posterior()
    layers = zip(link.layout.layers(mean), link.layout.layers(sigma), strict=True)
    for number, ((weights, biases), (deviations, _)) in enumerate(layers):
        gain = 2 if number < 2 else 1
        assert weights.std() == pytest.approx(np.sqrt(gain / len(weights)), rel=0.15)
        assert not biases.any()
        np.testing.assert_allclose(deviations, 0.1 / np.sqrt(len(weights)), rtol=1e-4)


def test_draws_do_not_depend_on_how_many():
    link = link_of("relu", np.float32)
    few, many = (
        link.draw(link.infer(None), PointSource((0, "evaluation noise"), [0]).part(), count)[0]
        for count in (2, 5)
    )
    np.testing.assert_array_equal(few.array, many.array[:2])
