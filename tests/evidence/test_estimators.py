"""Gradient weights against finite differences of the scalar that they should ascend.

Their definitions are worked out in test_closed_forms.py, their means in test_expected_gradients.py.
"""

import itertools
import math

import numpy as np
import pytest
from by_hand import FEW_ROWS

import jvi
from jvi.evidence.estimators import ESTIMATORS, PATH, SCORE, TOTAL, Weights, estimator
from jvi.spec import options_of

LOG_W = np.random.default_rng(3).normal(-80, 2, size=(6, 5))


def miwae(log_w, order=None):
    return (jvi.iwae(log_w[:3]) + jvi.iwae(log_w[3:])) / 2


def ciwae(log_w, order=None):
    return (jvi.elbo(log_w) + jvi.iwae(log_w)) / 2


def renyi(log_w, order=None):
    return 2 * np.log(np.exp(log_w / 2).mean(axis=0))


# What each estimator's model and path weights are the derivatives of, by log w.
SCALARS = {
    "elbo": (lambda w, m: jvi.elbo(w), lambda w, m: jvi.elbo(w)),
    "iwae": (lambda w, m: jvi.iwae(w), lambda w, m: jvi.iwae(w)),
    "jvi": (jvi.jackknife, jvi.jackknife),
    "jvi-iwae": (jvi.jackknife, lambda w, m: jvi.iwae(w)),
    "jvi-elbo": (jvi.jackknife, lambda w, m: jvi.elbo(w)),
    "miwae": (miwae, miwae),
    "piwae": (lambda w, m: jvi.iwae(w), miwae),
    "ciwae": (ciwae, ciwae),
    "renyi": (renyi, renyi),
}

# Those whose path weights are u - du/dlog w, for the derivatives u of this.
DOUBLY_REPARAMETERISED = {
    "dreg": lambda w: jvi.iwae(w),
    "renyi-dreg": renyi,
    "jvi-dreg": lambda w: jvi.jackknife(w, 1),
}

IWAE = ["stl", "rws-dreg", "reinforce", "vimco", "ovis", "rws", "wake-sleep"]


def tvo(log_w, order=None):
    """By the original's defaults: five points, 0 and 10^-1.1 to 10^-.275."""
    points = [0.0, *10 ** np.linspace(-1.1, 0, 5)]
    means = [(normalised(beta * log_w) * log_w).sum(axis=0) for beta in points]
    return sum((b - a) * mean for a, b, mean in zip(points, points[1:], means, strict=False))


def uniform(log_w):
    turns = 500 * (1 + math.sqrt(5)) * log_w.sum(axis=0)
    return turns - np.floor(turns)


def sumo(log_w, order=None):
    """From one sample on, and each step times 1 / P(T ≥ k) = k."""
    bounds = [jvi.iwae(log_w[: k + 1]) for k in range(len(log_w))]
    steps = [k * (b - a) * (uniform(log_w) < 1 / k) for k, (a, b) in pairs(bounds)]
    return bounds[0] + sum(steps)


def pairs(bounds):
    return enumerate(itertools.pairwise(bounds), start=1)


def mlmc(log_w, order=None):
    """Of six samples the first four make two levels: of two and four."""
    low = 1 / (1 + 2**-1.5)
    two = (jvi.iwae(log_w[:2]) - jvi.elbo(log_w[:2])) / low + jvi.elbo(log_w[:2])
    halved = (jvi.iwae(log_w[:2]) + jvi.iwae(log_w[2:4])) / 2
    four = (jvi.iwae(log_w[:4]) - halved) / (1 - low) + jvi.elbo(log_w[:4])
    return np.where(uniform(log_w) < low, two, four)


# The value that each reports.
BOUNDS = {name: scalars[0] for name, scalars in SCALARS.items()} | {
    **{name: lambda w, m, f=f: f(w) for name, f in DOUBLY_REPARAMETERISED.items()},
    **dict.fromkeys(IWAE, lambda w, m: jvi.iwae(w)),
    "jvi-clip": jvi.jackknife,
    "jvi-model": jvi.jackknife,
    "sumo": sumo,
    "mlmc": mlmc,
    "ovis-mc": lambda w, m: jvi.iwae(w[:4]),
    "tvo": tvo,
}


def of_order(name, order):
    """The estimator, with that order where it has one."""
    ordered = "order" in options_of(ESTIMATORS[name].function)
    return estimator(f"{name}:order={order}" if ordered else FEW_ROWS.get(name, name))


def normalised(log_w):
    w = np.exp(log_w - log_w.max(axis=0))
    return w / w.sum(axis=0)


def derivative(function, log_w, step=1e-4):
    """Central differences; each data point's value depends on its own column only."""
    out = np.empty_like(log_w)
    for k in range(len(log_w)):
        up, down = log_w.copy(), log_w.copy()
        up[k] += step
        down[k] -= step
        out[k] = (function(up) - function(down)) / (2 * step)
    return out


def test_every_estimator_is_specified_here():
    assert BOUNDS.keys() == ESTIMATORS.keys()


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", SCALARS)
def test_weights_are_derivatives_of_the_bounds_that_they_ascend(name, order):
    weights = of_order(name, order)(LOG_W)
    for found, scalar in zip(weights[:2], SCALARS[name], strict=True):
        expected = derivative(lambda w, scalar=scalar: scalar(w, order), LOG_W)
        np.testing.assert_allclose(found, expected, atol=1e-7)
        np.testing.assert_allclose(found.sum(axis=0), 1.0, rtol=1e-12)


@pytest.mark.parametrize("name", SCALARS)
def test_a_total_derivative_takes_the_score_as_it_takes_the_path(name):
    weights = of_order(name, 2)(LOG_W)
    np.testing.assert_array_equal(weights.score, -weights.path)
    assert estimator(name).route == TOTAL


def own_slopes(weights_of, log_w, step=1e-4):
    """Central differences of each weight by its own log-weight."""
    out = np.empty_like(log_w)
    for k in range(len(log_w)):
        move = np.zeros_like(log_w)
        move[k] = step
        out[k] = (weights_of(log_w + move)[k] - weights_of(log_w - move)[k]) / (2 * step)
    return out


@pytest.mark.parametrize("name", DOUBLY_REPARAMETERISED)
def test_double_reparameterisation_takes_the_second_derivative_from_the_path(name):
    weights = estimator(name)(LOG_W)
    expected = derivative(DOUBLY_REPARAMETERISED[name], LOG_W)
    np.testing.assert_allclose(weights.model, expected, atol=1e-7)
    slopes = own_slopes(lambda log_w: estimator(name)(log_w).model, LOG_W)
    np.testing.assert_allclose(weights.path, weights.model - slopes, atol=1e-8)
    assert weights.score is None
    assert estimator(name).route == PATH


@pytest.mark.parametrize("gap", [0.0, 10.0, 30.0])
def test_path_weights_of_jvi_dreg_where_one_weight_dominates(gap):
    log_w = np.array([gap, 0.0, -1.0, -0.3, -5.0])[:, None] - 80
    found = estimator("jvi-dreg")(log_w)
    np.testing.assert_array_equal(found.model, jvi.jackknife_weights(log_w, 1))
    slopes = own_slopes(jvi.jackknife_weights, log_w)
    np.testing.assert_allclose(found.path, found.model - slopes, atol=1e-8)


def test_the_encoder_of_dreg_takes_squares():
    found = estimator("dreg")(LOG_W)
    np.testing.assert_allclose(found.path, normalised(LOG_W) ** 2, rtol=1e-12)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_clipped_weights_are_the_positive_ones_in_proportion(order):
    raw = of_order("jvi", order)(LOG_W).model
    assert (raw < 0).any() == (order > 0)
    found = of_order("jvi-clip", order)(LOG_W)
    np.testing.assert_allclose(found.model.sum(axis=0), 1.0, rtol=1e-12)
    for column in range(LOG_W.shape[1]):
        positive = [max(u, 0.0) for u in raw[:, column]]
        expected = [u / sum(positive) for u in positive]
        np.testing.assert_allclose(found.model[:, column], expected, rtol=1e-12)
    np.testing.assert_array_equal(found.path, estimator("dreg")(LOG_W).path)
    assert found.score is None
    assert estimator("jvi-clip").route == PATH


def test_reinforce_scores_a_sample_by_the_bound_less_its_share():
    model, path, score = estimator("reinforce")(LOG_W)
    v = normalised(LOG_W)
    np.testing.assert_allclose(model, v, rtol=1e-12)
    assert path is None
    for n in range(LOG_W.shape[1]):
        bound = LOG_W[:, n].max() + math.log(np.exp(LOG_W[:, n] - LOG_W[:, n].max()).mean())
        for k in range(LOG_W.shape[0]):
            assert score[k, n] == pytest.approx(bound - v[k, n], rel=1e-14)
    assert estimator("reinforce").route == SCORE


def test_reinforce_in_closed_form():
    weights = estimator("reinforce")(np.log([[1.0], [3.0]]))  # the mean weight is 2
    np.testing.assert_allclose(weights.model, [[0.25], [0.75]], rtol=1e-15)
    np.testing.assert_allclose(
        weights.score, [[math.log(2) - 0.25], [math.log(2) - 0.75]], rtol=1e-14
    )


@pytest.mark.parametrize("name", ["elbo", "iwae", "jvi", "miwae", "ciwae", "renyi"])
def test_gradients_of_one_scalar_say_so_by_sharing_one_array(name):
    weights = of_order(name, 1)(LOG_W)
    assert weights.path is weights.model


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_value_is_that_of_the_bound(name, order):
    bound, weights = of_order(name, order).with_bound(LOG_W)
    np.testing.assert_allclose(bound, BOUNDS[name](LOG_W, order), rtol=1e-14)
    for found, expected in zip(weights, of_order(name, order)(LOG_W), strict=True):
        np.testing.assert_array_equal(found, expected)


# --- Special cases --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "one, other",
    [
        ("miwae:groups=1", "iwae"),
        ("miwae:groups=6", "elbo"),
        ("piwae:groups=1", "iwae"),
        ("ciwae:beta=1", "elbo"),
        ("ciwae:beta=0", "iwae"),
        ("renyi:alpha=0", "iwae"),
        ("renyi-dreg:alpha=0", "dreg"),
        ("dreg:alpha=1", "rws-dreg"),
        ("jvi:order=0", "iwae"),
        ("jvi-clip:order=0", "dreg"),
        ("jvi-model:order=0", "dreg"),
        ("jvi-model:share=0", "dreg"),
        ("jvi-model:share=0,alpha=0.5", "dreg:alpha=0.5"),
        ("jvi-model:groups=6", "jvi-model"),
        ("jvi-model:groups=6,order=2", "jvi-model:order=2"),
        ("sumo:min-samples=6", "dreg"),
    ],
)
def test_special_cases_coincide(one, other):
    found, expected = estimator(one).with_bound(LOG_W), estimator(other).with_bound(LOG_W)
    for a, b in zip((found[0], *found[1]), (expected[0], *expected[1]), strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a, b, rtol=1e-12)


def test_piwae_of_single_samples_gives_the_encoder_the_elbo():
    found = estimator("piwae:groups=6")(LOG_W)
    np.testing.assert_allclose(found.model, normalised(LOG_W), rtol=1e-12)
    np.testing.assert_allclose(found.path, 1 / 6, rtol=1e-12)


@pytest.mark.parametrize("distance", [1e-3, 1e-6, 1e-9, -1e-9])
def test_the_renyi_bound_tends_to_the_elbo(distance):
    """Its distance is that of the variance over 2, to first order."""
    value, weights = estimator(f"renyi:alpha={1 - distance!r}").with_bound(LOG_W)
    np.testing.assert_allclose(weights.model, 1 / 6, atol=2 * abs(distance))
    expected = LOG_W.mean(axis=0) + distance * LOG_W.var(axis=0) / 2
    np.testing.assert_allclose(value, expected, rtol=0, atol=5 * distance**2 + 1e-13)


def test_stl_is_twice_the_middle_of_the_dreg_family():
    found, middle = estimator("stl")(LOG_W), estimator("dreg:alpha=0.5")(LOG_W)
    np.testing.assert_allclose(found.path, 2 * middle.path, rtol=1e-12)
    np.testing.assert_array_equal(found.model, middle.model)


def test_tvo_of_one_partition_is_the_elbo_with_the_mean_of_the_others_as_baseline():
    value, found = estimator("tvo:partitions=1").with_bound(LOG_W)
    np.testing.assert_allclose(value, LOG_W.mean(axis=0), rtol=1e-15)
    np.testing.assert_allclose(found.model, 1 / 6, rtol=1e-15)
    for k in range(6):
        others = np.delete(LOG_W, k, axis=0).mean(axis=0)
        np.testing.assert_allclose(found.score[k], (LOG_W[k] - others - 1) / 6, rtol=1e-12)


def test_vimco_with_the_arithmetic_mean_is_ovis_at_0_but_for_a_constant():
    vimco, ovis = estimator("vimco:mean=arithmetic")(LOG_W), estimator("ovis:gamma=0")(LOG_W)
    np.testing.assert_allclose(vimco.score - ovis.score, math.log(5 / 6), rtol=1e-12)


STATES = np.random.default_rng(0).normal(
    size=1000
)  # log-weights of all that q gives, equally often


def drawn(count, num_points, seed):
    return np.random.default_rng(seed).choice(STATES, (count, num_points))


def ovis_mc(samples, others):
    log_w = np.concatenate([samples, others])
    return estimator(f"ovis-mc:aux={len(others)}")(log_w).score[: len(samples)]


def test_ovis_mc_tends_to_the_mean_over_q_as_its_draws_grow():
    samples = drawn(4, 50, 1)
    limit = ovis_mc(samples, np.repeat(STATES[:, None], 50, axis=1))
    errors = [ovis_mc(samples, drawn(aux, 50, 2)) - limit for aux in (10, 640)]
    ratio = errors[0].std() / errors[1].std()
    assert 6 < ratio < 11  # 8, the root of 64


@pytest.mark.parametrize("num_samples", [8, 64, 512])
def test_ovis_at_0_is_ovis_mc_of_all_of_q_up_to_one_over_k_squared(num_samples):
    """The control variates differ by E[log(1 + r) - r/(1 + r)], r = w/(sum of the others)."""
    samples = drawn(num_samples, 1, 3)
    difference = estimator("ovis:gamma=0")(samples).score - ovis_mc(samples, STATES[:, None])
    for k in range(0, num_samples, 7):
        r = np.exp(STATES) / np.exp(np.delete(samples, k)).sum()
        assert difference[k, 0] == pytest.approx((np.log1p(r) - r / (1 + r)).mean(), abs=1e-14)
    second_moment = np.exp(2 * STATES).mean() / np.exp(samples).mean() ** 2
    assert 0 < difference.max() < second_moment / num_samples**2


# --- Edges ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(ESTIMATORS.keys() - {"elbo", "jvi-elbo", "ciwae", "tvo"}))
def test_a_weight_of_zero_leaves_the_weights_finite(name):
    log_w = LOG_W.copy()
    log_w[1] = -np.inf
    for weights in estimator(FEW_ROWS.get(name, name))(log_w):
        assert weights is None or np.isfinite(weights).all()


@pytest.mark.parametrize("name", ESTIMATORS)
def test_log_weights_that_are_no_numbers_show_in_their_data_point_alone(name):
    log_w = LOG_W.copy()
    log_w[2, 3] = np.nan
    rule = estimator(FEW_ROWS.get(name, name))
    with np.errstate(invalid="ignore"):
        (bound, weights), (_, expected) = rule.with_bound(log_w), rule.with_bound(LOG_W)
    assert np.isnan(bound[3]) and np.isfinite(np.delete(bound, 3)).all()
    others = [0, 1, 2, 4]
    for one, other in zip(weights, expected, strict=True):
        if one is not None:
            np.testing.assert_array_equal(one[:, others], other[:, others])


def test_only_ovis_mc_asks_for_more_rows_than_samples():
    wanted = {name: estimator(name).num_auxiliary for name in ESTIMATORS}
    assert {name: number for name, number in wanted.items() if number} == {"ovis-mc": 10}
    assert estimator("ovis-mc:aux=3").num_auxiliary == 3


@pytest.mark.parametrize(
    "text, rows, message",
    [
        ("miwae:groups=4", 6, "miwae:groups must divide the 6 samples: 4 does not"),
        ("miwae:groups=7", 6, "miwae:groups must divide the 6 samples: 7 does not"),
        ("piwae:groups=0", 6, "piwae:groups must divide the 6 samples: 0 does not"),
        ("piwae:groups=-2", 6, "piwae:groups must divide the 6 samples: -2 does not"),
        ("jvi-model:groups=4", 6, "jvi-model:groups must divide the 6 samples: 4 does not"),
        ("jvi-model:groups=-6", 6, "jvi-model:groups must divide the 6 samples: -6 does not"),
        ("jvi-model:groups=2,order=2", 6, "the jackknife of 2 samples has orders 0 to 1, not 2"),
        ("jvi-model:share=2", 6, "jvi-model:share must be between 0 and 1, not 2.0"),
        ("jvi-model:ess=-1", 6, "jvi-model:ess must be between 0 and 1, not -1.0"),
        ("sumo:min-samples=7", 6, "sumo:min-samples must be from 1 to the 6 samples, not 7"),
        ("sumo:min-samples=0", 6, "sumo:min-samples must be from 1 to the 6 samples, not 0"),
        ("mlmc:min-samples=4", 6, "mlmc:min-samples must be from 1 to half of the 6 samples, not"),
        ("mlmc", 1, "mlmc:min-samples must be from 1 to half of the 1 samples, not 1"),
        ("ciwae:beta=1.01", 6, "ciwae:beta must be between 0 and 1, not 1.01"),
        ("ciwae:beta=-0.5", 6, "ciwae:beta must be between 0 and 1, not -0.5"),
        ("ovis:gamma=2", 6, "ovis:gamma must be between 0 and 1, not 2.0"),
        ("dreg:alpha=-1", 6, "dreg:alpha must be between 0 and 1, not -1.0"),
        ("renyi:alpha=1", 6, "renyi:alpha must not be 1, where the Rényi bound is the ELBO: use "),
        ("renyi-dreg:alpha=1", 6, "renyi-dreg:alpha must not be 1, where the Rényi bound is the "),
        ("tvo:partitions=0", 6, "tvo:partitions must be at least 1, not 0"),
        ("tvo:log10-beta=0", 6, "tvo:log10-beta must be below 0, not 0.0"),
        ("vimco:mean=harmonic", 6, "vimco:mean must be arithmetic or geometric, not 'harmonic'"),
        ("vimco", 1, "vimco needs at least 2 samples per data point, not 1"),
        ("ovis", 1, "ovis needs at least 2 samples per data point, not 1"),
        ("tvo", 1, "tvo needs at least 2 samples per data point, not 1"),
        ("jvi-dreg", 1, "jvi-dreg needs at least 2 samples per data point, not 1"),
        ("ovis-mc:aux=0", 6, "ovis-mc:aux=0 needs that many rows of log_w, at least 1, after "),
        ("ovis-mc:aux=5", 6, "ovis-mc:aux=5 needs .* of at least 2 samples, not 6 rows in all"),
    ],
)
def test_options_that_do_not_fit_are_refused_in_one_sentence(text, rows, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        estimator(text)(LOG_W[:rows])


# --- Arrays of other libraries --------------------------------------------------------------------


def assert_as_numpy(name, log_w, get):
    """Value and weights in float64, where `log_w` is, as those of NumPy."""
    found, expected = (of_order(name, 1).with_bound(each) for each in (log_w, LOG_W))
    assert isinstance(found[1], Weights)
    for one, other in zip((found[0], *found[1]), (expected[0], *expected[1]), strict=True):
        assert (one is None) == (other is None)
        if other is not None:
            assert get(one).dtype == np.float64
            np.testing.assert_allclose(get(one), other, rtol=1e-12)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_nothing_leaves_the_device(name, strict):
    put, get = strict
    assert_as_numpy(name, put(LOG_W), get)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_tensors_of_pytorch(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    assert_as_numpy(name, torch.tensor(LOG_W), torch.Tensor.numpy)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_arrays_of_jax_without_its_flag_for_float64(name):
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    with jax.enable_x64(True):
        log_w = jax.numpy.asarray(LOG_W)
    assert_as_numpy(name, log_w, np.asarray)
    assert not jax.config.jax_enable_x64


# --- Names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, name, options",
    [
        ("iwae", "iwae", {}),
        ("jvi", "jvi", {"order": 1}),
        ("jvi-clip:order=2", "jvi-clip", {"order": 2}),
        (" jvi : order = 3 ", "jvi", {"order": 3}),
        ("jvi:order=007", "jvi", {"order": 7}),
    ],
)
def test_a_name_says_rule_and_options(text, name, options):
    found = estimator(text)
    assert found.spec == (name, options)
    assert found.rule is ESTIMATORS[name]
    assert estimator(str(found)) == found
    assert estimator(found) is found


@pytest.mark.parametrize("order", [0, 2, 3])
def test_the_order_is_that_of_the_name(order):
    found = estimator(f"jvi:order={order}")(LOG_W).model
    np.testing.assert_array_equal(found, jvi.jackknife_weights(LOG_W, order))


KNOWN = ", ".join(ESTIMATORS)


@pytest.mark.parametrize(
    "text, message",
    [
        ("vimcoo", f"unknown estimator 'vimcoo': choose from {KNOWN}"),
        ("", f"unknown estimator '': choose from {KNOWN}"),
        ("JVI", f"unknown estimator 'JVI': choose from {KNOWN}"),
        ("jvi:rank=2", "estimator jvi has no option 'rank': it has order"),
        ("iwae:order=2", "estimator iwae has no option 'order': it has none"),
        ("jvi:order=two", "jvi:order must be a whole number, not 'two'"),
        ("jvi:order=1.5", "jvi:order must be a whole number, not '1.5'"),
        ("jvi:order=", "jvi:order must be a whole number, not ''"),
        ("jvi:order=\uff12", r"jvi:order must be a whole number, not '\uff12'"),
        ("jvi:order=²", r"jvi:order must be a whole number, not '\xb2'"),
        (f"jvi:order={'9' * 100}", f"jvi:order must be a whole number, not '{'9' * 50}"),
        ("jvi:order=1,order=1", "'jvi:order=1,order=1': write NAME:key=value,key=value, each key "),
        ("jvi:2", "'jvi:2': write NAME:key=value,key=value, each key once"),
        ("jvi:=2", "'jvi:=2': write NAME:key=value,key=value, each key once"),
        ("jvi:order=1,", "'jvi:order=1,': write NAME:key=value,key=value, each key once"),
    ],
)
def test_a_name_that_cannot_be_read_is_refused_with_what_can_be(text, message):
    with pytest.raises(ValueError) as refused:
        estimator(text)
    assert str(refused.value).startswith(message)


def test_an_order_that_the_samples_do_not_allow_is_refused():
    with pytest.raises(ValueError, match="jackknife of 6 samples has orders 0 to 5, not 6"):
        estimator("jvi:order=6")(LOG_W)
    with pytest.raises(ValueError, match="orders 0 to 5, not -1"):
        estimator("jvi:order=-1")(LOG_W)
