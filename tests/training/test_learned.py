"""What estimators learn for themselves: CIWAE's beta, REINFORCE's baseline; and wake-sleep."""

import math

import chainer
import chainer.functions as F
import numpy as np
import pytest
from runs import log_of, settings_for, train, trainer_for

import jvi
from jvi import datasets
from jvi.engine.random import Given, stream
from jvi.evidence.estimators import ESTIMATORS, estimator
from jvi.models import MLP, SBN
from jvi.models.files import read_snapshot
from jvi.models.model import load
from jvi.training.checkpoints import files_of, resume
from jvi.training.learned import LEARNED, Baseline, Beta, learner_for, value_of
from jvi.training.objective import Objective, draw, follow, loss
from jvi.training.trainer import write_graph

NAMES = ["ciwae:beta=learned", "reinforce:baseline=learned"]
LOG_W = np.random.default_rng(3).normal(-90, 3, (4, 6))


@pytest.fixture(scope="module")
def data():
    full = datasets.load("digits")
    return full._replace(train=full.train[:200], validation=full.validation[:50])


def test_the_table_is_of_estimators_that_can_learn():
    assert {(name.partition(":")[0], estimator(name).learned) for name in NAMES} == LEARNED.keys()
    assert all(estimator(name).learned is None for name in ESTIMATORS)
    assert learner_for(estimator("iwae"), np.zeros((3, 5)), None, "adam", 1e-3) is None


@pytest.mark.parametrize("name", NAMES)
def test_without_a_value_there_are_no_weights(name):
    with pytest.raises(ValueError, match="=learned needs its value"):
        jvi.estimator(name)(LOG_W)


def test_with_a_value_they_are_those_of_the_value():
    fixed, learned = jvi.estimator("ciwae:beta=0.3"), jvi.estimator("ciwae:beta=learned")
    for a, b in zip(learned(LOG_W, beta=np.array([0.3])), fixed(LOG_W), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-15)
    baseline = np.arange(6.0)
    plain = jvi.estimator("reinforce")(LOG_W)
    found = jvi.estimator("reinforce:baseline=learned")(LOG_W, baseline=baseline)
    np.testing.assert_allclose(found.score, plain.score - baseline, rtol=1e-13)
    np.testing.assert_array_equal(found.model, plain.model)


def test_beta_ascends_the_bound():
    """Its loss is minus the bound up to a constant; IWAE is the larger, so it falls."""
    link = Beta(5, np.random.default_rng(0))
    value, found = value_of(link, "beta", np.zeros((6, 5), np.float32))
    assert value.array == 0.5 and found["beta"].dtype == np.float64

    def bound(logit):
        beta = 1 / (1 + math.exp(-logit))
        return beta * jvi.elbo(LOG_W).mean() + (1 - beta) * jvi.iwae(LOG_W).mean()

    link.loss(value, LOG_W, None).backward()
    slope = (bound(1e-5) - bound(-1e-5)) / 2e-5
    assert link.logit.grad[0] == pytest.approx(-slope, rel=1e-4) and slope < 0


def test_a_baseline_learns_what_it_is_to_predict():
    """d_k depends on x here: a level of -90 nats, and what differs by 10."""
    rng = np.random.default_rng(1)
    rows = (rng.random((500, 8)) < 0.5).astype(np.float32)
    d = -90.0 + 10.0 * rows[:, 0]
    learner = learner_for(estimator(NAMES[1]), rows, rng, "adam", 3e-3)
    link, errors = learner.target, []
    for _ in range(400):
        link.cleargrads()
        error = link.loss(link(rows), np.zeros((1, 500)), d + 1.0)  # 1 is the mean of v
        error.backward()
        learner.update()
        errors.append(float(error.array))
    assert errors[0] > 3000 and errors[50] < 20 and errors[-1] < 0.5
    assert isinstance(link, Baseline)


def test_a_baseline_takes_variance_from_the_gradient():
    """With the mean of d_k in its place: the same mean, far less noise."""
    rng = np.random.default_rng(2)
    link = SBN(6, 1, 4, rng)
    x = (rng.random((20, 6)) < 0.5).astype(np.float32)
    objective = Objective(estimator(NAMES[1]))
    drawn = {0.0: [], "mean": []}
    for _ in range(300):
        uniform = [rng.random((4, 20, 4))]
        for baseline in drawn:
            draws = draw(link, x, Given(list(uniform)), 4, objective)
            value = jvi.iwae(draws.log_w).mean() if baseline == "mean" else 0.0
            now = {"baseline": np.full(20, -4.16 if value else 0.0)}
            link.cleargrads()
            loss(link, draws, objective, follow(draws, objective, now)[1]).backward()
            drawn[baseline].append(link.encode[0].W.grad.ravel().copy())
    plain, helped = (np.array(each) for each in drawn.values())
    assert helped.var(axis=0).sum() < 0.1 * plain.var(axis=0).sum()
    error = (plain - helped).std(axis=0) / math.sqrt(len(plain))
    z = (plain - helped).mean(axis=0) / np.maximum(error, 1e-9)
    assert abs(z).max() < 4.5


@pytest.mark.parametrize(
    "options",
    [{"name": NAMES[0]}, {"name": NAMES[1], "model": "sbn:layers=1,units=8"}],
    ids=lambda each: each["name"].partition(":")[0],
)
def test_it_is_kept_beside_the_model_and_goes_on(tmp_path, data, options):
    whole = train(tmp_path / "whole", data, epochs=4, lr=1e-2, **options)
    train(tmp_path / "part", data, epochs=2, lr=1e-2, **options)
    trainer = trainer_for(tmp_path / "part", data, epochs=4, lr=1e-2, **options)
    files = files_of(tmp_path / "part")
    model = trainer.updater.step.model
    resume(trainer, read_snapshot(files.latest, model.link))
    trainer.run(show_loop_exception_msg=False)
    assert log_of(tmp_path / "part") == log_of(tmp_path / "whole")
    pairs = zip(trainer.updater.step.learned.params(), learned(whole).params(), strict=True)
    for a, b in pairs:
        np.testing.assert_array_equal(a.array, b.array)
        assert a.array.any()
    arrays = dict(np.load(files.latest))
    (name,) = [key for key in arrays if key.endswith(("learned/logit", "learned/level"))][:1]
    again = trainer_for(tmp_path / "again", data, epochs=4, lr=1e-2, **options)
    with pytest.raises(ValueError, match="has shape"):
        resume(again, arrays | {name: np.zeros(7, np.float32)})
    del arrays[name]
    with pytest.raises(ValueError, match=f"no entry {name}"):
        resume(again, arrays)


def learned(trainer):
    return trainer.updater.step.learned


def test_beta_is_logged_each_epoch_and_stays_within_its_bounds(tmp_path, data):
    train(tmp_path / "m", data, epochs=8, lr=0.03, batch_size=20, name=NAMES[0])
    values = [entry["main/beta"] for entry in log_of(tmp_path / "m")]
    assert values == sorted(values, reverse=True) and 0 < values[-1] < 0.25 < values[0] < 0.5


def test_a_model_that_was_trained_with_it_is_one_as_any_other(tmp_path, data):
    model = jvi.train(
        "mlp:hidden=8,latent=2", data, NAMES[0], 4, 1, output=tmp_path / "m", quiet=True
    )
    again = load(tmp_path / "m")
    for a, b in zip(again.link.params(), model.link.params(), strict=True):
        np.testing.assert_array_equal(a.array, b.array)
    settings = settings_for(name=NAMES[0])
    write_graph(again, data, settings, tmp_path / "graph.dot")
    assert "digraph" in (tmp_path / "graph.dot").read_text()


# --- Wake-sleep -----------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda r: SBN(6, 2, 4, r), lambda r: MLP(6, 5, 2, r)])
def test_asleep_the_encoder_ascends_the_density_of_dreams(make):
    """Its gradient is that of mean log q(z|x) over one draw (x, z) from the model for each row."""
    link = make(np.random.default_rng(4))
    x = np.zeros((5, 6), np.float32)
    objective = Objective(estimator("wake-sleep"))
    rng = np.random.default_rng(5)

    class Kept:
        """Random numbers that are remembered."""

        def __init__(self):
            self.taken = []

        def normal(self, shape):
            self.taken.append(rng.normal(size=shape).astype(np.float32))
            return self.taken[-1]

        def uniform(self, shape):
            self.taken.append(rng.random(shape))
            return self.taken[-1]

    source = Kept()
    link.cleargrads()
    draws = draw(link, x, source, 3, objective)
    loss(link, draws, objective, follow(draws, objective)[1]).backward()
    found = {name: p.grad.copy() for name, p in link.encode.namedparams()}

    count = len(link.encode) if isinstance(link, SBN) else 1
    dreams = Given(source.taken[count:])
    with chainer.no_backprop_mode():
        z = link.draw_prior(dreams, 1, 5)
        dreamt = (dreams.normal((1, 5, 6)) < link.mean(z).array)[0].astype(np.float32)
    link.cleargrads()
    (-F.mean(link.log_q(link.infer(dreamt), z))).backward()
    for name, parameter in link.encode.namedparams():
        np.testing.assert_allclose(found[name], parameter.grad, rtol=1e-5, atol=1e-7)


def test_dreams_are_draws_from_the_model():
    """Their mean is that of p(x), by every z of a small model; within 4.5 standard errors."""
    rng = np.random.default_rng(6)
    link = SBN(6, 1, 3, rng)
    for parameter in link.params():
        parameter.array = rng.normal(0, 1, parameter.shape).astype(np.float32)
    states = np.array(np.meshgrid(*[[0.0, 1.0]] * 3)).reshape(3, -1).T[None].astype(np.float32)
    log_pz = link.log_joint(np.zeros((8, 6), np.float32), states)[1].array[0]
    expected = np.exp(log_pz) @ link.mean(states).array[0]

    class Noise:
        @staticmethod
        def uniform(shape):
            return rng.random(shape)

    z = link.draw_prior(Noise, 1, 20_000)
    x = link.draw_x(z, Noise)[0]
    assert x.dtype == np.float32 and set(np.unique(x)) == {0.0, 1.0}
    error = np.sqrt(expected * (1 - expected) / len(x))
    assert abs((x.mean(axis=0) - expected) / error).max() < 4.5


def test_it_needs_a_model_that_can_dream(tmp_path, data):
    class Sleepless(MLP):
        draw_x = property()

    from jvi.training.objective import check_fit

    link = Sleepless(64, 8, 2, stream(0, "initial parameters"))
    with pytest.raises(ValueError, match=r"wake-sleep needs draws from p\(x\|z\), which mlp does"):
        check_fit(Objective(estimator("wake-sleep")), link, 4)
