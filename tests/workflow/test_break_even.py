"""Bias and noise of the model's gradient: against differences, and folds made by hand."""

import json
import math

import break_even as script
import numpy as np
import pytest

import jvi
from jvi import datasets
from jvi.assessment.break_even import Fold, break_even, fold, generator, gradients, unbiased
from jvi.engine.random import BatchSource
from jvi.evidence.estimators import estimator
from jvi.models import MLP

RNG = np.random.default_rng(5)
NAMES = ("iwae", "jvi-model")


def model(num_pixels=6):
    link = MLP(num_pixels, 5, 2)
    for parameter in link.params():
        parameter.array = RNG.normal(0, 0.7, parameter.shape).astype(np.float32)
    return link


def data(link, count=3):
    return link.check((RNG.random((count, 6)) < 0.5).astype(np.float32))


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_the_slopes_of_the_mean_estimate_of_the_same_draws(name):
    link = model()
    x = data(link)
    rules = {each: estimator(each) for each in NAMES}

    def value():
        source = BatchSource(np.random.default_rng(1), len(x), link.device)
        z, log_q = link.draw(link.infer(x), source, 4)
        log_px, log_pz = link.log_joint(x, z.array)
        log_w = np.float64(log_px.array) + np.float64(log_pz.array) - np.float64(log_q.array)
        return float((jvi.iwae(log_w) if name == "iwae" else jvi.jackknife(log_w, 1)).mean())

    found, ess = gradients(link, x, rules, 4, np.random.default_rng(1))
    decoder = [p for path, p in sorted(link.namedparams()) if path.startswith("/decode")]
    assert len(found[name]) == sum(p.size for p in decoder)
    assert 1 < ess < 4
    direction = [RNG.normal(size=p.shape) for p in decoder]
    slope = np.concatenate([each.ravel() for each in direction]) @ found[name]
    moved = []
    for step in (5e-3, -5e-3):
        before = [p.array for p in decoder]
        for p, each in zip(decoder, direction, strict=True):
            p.array = (p.array + step * each).astype(np.float32)
        moved.append(value())
        for p, array in zip(decoder, before, strict=True):
            p.array = array
    assert (moved[0] - moved[1]) / 1e-2 == pytest.approx(slope, rel=0.01, abs=1e-3)


def test_a_fold_is_means_and_variances_of_its_gradients():
    link = model()
    x, rng = data(link), generator(7, 2)
    reference = unbiased(link, x, 16, 2, rng)
    rules = {name: estimator(name) for name in NAMES}
    one, other = (
        gradients(link, x, {"jvi-model": rules["jvi-model"]}, 16, rng("reference", i))[0]
        for i in range(2)
    )
    np.testing.assert_allclose(reference, (one["jvi-model"] + other["jvi-model"]) / 2)
    found = fold(link, x, NAMES, 4, 3, reference, rng)
    each = [gradients(link, x, rules, 4, rng("draw", i)) for i in range(3)]
    assert found.ess == pytest.approx(np.mean([ess for _, ess in each]))
    for name in NAMES:
        drawn = np.stack([vectors[name] for vectors, _ in each])
        np.testing.assert_allclose(found.bias[name], drawn.mean(axis=0) - reference, atol=1e-12)
        spread = 3 * drawn.var(axis=0, ddof=1).sum()  # of one of three data points
        assert found.variance[name] == pytest.approx(spread)


def folds(noise, count=20, size=200, rng=RNG):
    """Of known biases, of length 2 and 1, and the variances 10 and 30."""
    bias = {"iwae": np.zeros(size), "jvi-model": np.zeros(size)}
    bias["iwae"][0], bias["jvi-model"][1] = 2.0, 1.0
    found = []
    for _ in range(count):
        common = rng.normal(0, noise, size)
        found.append(
            Fold(
                {name: each + common for name, each in bias.items()},
                {"iwae": 10 + noise * rng.normal(), "jvi-model": 30 + noise * rng.normal()},
                2.0,
            )
        )
    return found


def test_break_even_by_hand():
    found = break_even(folds(0.0))
    assert found["iwae"].squared_bias == pytest.approx((4, 0), abs=1e-12)
    assert found["jvi-model"].squared_bias == pytest.approx((1, 0), abs=1e-12)
    assert found["jvi-model"].points == pytest.approx(20 / 3)
    assert found["iwae"].points == math.inf
    against = break_even(folds(0.0), "jvi-model")["iwae"]
    assert against.points == pytest.approx(20 / 3)  # the same, for both signs turn


def test_less_of_both_has_no_break_even_nor_has_the_same():
    better = [each._replace(variance={"iwae": 40.0, "jvi-model": 30.0}) for each in folds(0.0)]
    found = break_even(better)["jvi-model"]
    assert found.per_point.value == pytest.approx(-0.3) and found.points == math.inf
    same = [each._replace(variance={"iwae": 30.0, "jvi-model": 30.0}) for each in folds(0.5)]
    assert break_even(same)["jvi-model"].per_point == (0, 0)


def test_noise_makes_no_bias_and_errors_are_what_they_say():
    """Its squared length is 200 times 0.25, and more than all bias, without the products."""
    rng = np.random.default_rng(11)
    runs = [break_even(folds(0.5, rng=rng)) for _ in range(60)]
    for name, exact in (("iwae", 4), ("jvi-model", 1)):
        values, errors = np.array([run[name].squared_bias for run in runs]).T
        assert abs(values.mean() - exact) < 4 * values.std() / math.sqrt(60)
        assert errors.mean() == pytest.approx(values.std(), rel=0.35)


def test_too_few_folds_are_refused():
    with pytest.raises(ValueError, match="need at least 3 folds, not 2"):
        break_even(folds(0.0, 2))


@pytest.mark.slow
def test_the_command_measures_a_model(tmp_path):
    trained = jvi.train(
        "mlp:hidden=8,latent=2", datasets.load("digits"), "dreg", num_samples=4, epochs=1,
        batch_size=256, output=tmp_path / "m", quiet=True,
    )  # fmt: skip
    assert trained.meta
    options = "-s 4,8 --points 8 --draws 4 --folds 3 --reference 32,1 --quiet --estimators"
    names = "iwae jvi-model sumo:min-samples=2@8"
    out = ["-o", str(tmp_path / "out")]
    script.main([*options.split(), names, *out, str(tmp_path / "m")])
    rows = json.loads((tmp_path / "out.json").read_text())
    assert [(row["K"], row["estimator"]) for row in rows] == [
        (4, "iwae"),
        (4, "jvi-model"),
        (4, "sumo:min-samples=2@8"),
        (8, "iwae"),
        (8, "jvi-model"),
    ]
    assert all(1 < row["ess"] < row["K"] and row["variance"] > 0 for row in rows)
    by_key = {(row["K"], row["estimator"]): row["variance"] for row in rows}
    assert by_key[4, "iwae"] < by_key[4, "jvi-model"]
    assert rows[0]["break_even"] is None
    for wrong, message in (
        ("iwae@8 jvi-model", "the first estimator has no @K"),
        ("iwae jvi-model@x", "jvi-model@x: after @ is a K from 2"),
        ("iwae jvi-model@", "jvi-model@: after @ is a K"),
        ("iwae jvy", "unknown estimator"),
        ("iwae jvi-model:groups=3", "groups must divide the 4 samples"),
    ):
        line = ["--estimators", wrong, "-s", "4", *out, "--overwrite", str(tmp_path / "none")]
        with pytest.raises(SystemExit, match=message):
            script.main(line)
    with pytest.raises(SystemExit, match="3 folds of 9999 images are more than the"):
        script.main(["--points", "9999", "--folds", "3", *out, "--overwrite", str(tmp_path / "m")])
