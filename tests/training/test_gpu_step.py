"""The training step as a GPU runs it: the CPU's functions on arrays that nobody may wait for."""

import sys

import chainer
import numpy as np
import pytest
import stand_in
from runs import settings_for

from jvi.compat.vae_types import VAE_TYPES
from jvi.datasets import Dataset
from jvi.engine import devices, graph, random
from jvi.evidence.estimators import ESTIMATORS
from jvi.functions import bernoulli, decoder, encoder, gaussian
from jvi.functions.kernels import on_cupy
from jvi.models import build
from jvi.models.model import Model
from jvi.training import optimizers
from jvi.training.average import ENTRY
from jvi.training.learned import learner_for
from jvi.training.optimizers import optimizer_for
from jvi.training.step import Step

NUM_ROWS, BATCH = 24, 8
ADAM = "adam:beta1=0.5,beta2=0.9,eps=0.01"
PATCHED = [(module, "kernels_for") for module in (decoder, encoder, bernoulli, optimizers)]
PATCHED += [(module, "backend") for module in (on_cupy, decoder, encoder)]
GAUSSIANS = gaussian._Sample, gaussian._LogDensity, gaussian._StandardLogDensity


class Backend:
    """In the place of chainer.backend."""

    @staticmethod
    def get_array_module(*arrays):
        return stand_in.xp


@pytest.fixture
def gpu(on_cpu, monkeypatch):
    """A function that puts the GPU's branches in force, as a context."""

    def patch(context):
        for module, name in PATCHED:
            value = Backend if name == "backend" else lambda array: on_cupy
            context.setattr(module, name, value)
        for function in GAUSSIANS:
            for name in ("forward", "backward"):
                context.setattr(function, f"{name}_cpu", getattr(function, f"{name}_gpu"))
        context.setattr(chainer.backend, "get_array_module", Backend.get_array_module)
        # Chainer's sum calls numpy.asarray for NumPy's sake.
        context.setattr(sys.modules["chainer.functions.math.sum"], "numpy", None, raising=False)
        context.setattr(on_cupy, "THREADS", 16)  # for speed
        context.setattr(graph, "Recorder", stand_in.Direct)

    return patch


def data():
    rows = np.random.default_rng(2).random((NUM_ROWS, 36), dtype=np.float32)
    return Dataset("grey", rows, rows[:2], rows[:2], (6, 6))


def step_on(device, model="mlp:hidden=10,latent=5", **options):
    settings = settings_for(num_samples=6, batch_size=BATCH, **{"lr": 1e-2} | options)
    trained = Model(build(model, 36, np.random.default_rng(0)))
    trained.device = device
    send(trained.link, device)
    about = settings.optimizer, settings.lr
    optimizer = optimizer_for(*about, trained.link, average=settings.average)
    rng = np.random.default_rng(1)
    learner = learner_for(settings.objective.estimator, data().train, rng, *about)
    if learner is not None:
        send(learner.target, device)
    about = settings.objective, settings.num_samples, 0
    return Step(trained, data(), optimizer, *about, learner=learner)


def send(link, device):
    if device.xp is not np:
        for parameter in link.params():
            parameter.array = stand_in.on_device(parameter.array)
            parameter._device = device


def parameters(step):
    return [each for one in step._optimizers() for each in one.target.namedparams()]


class PlainNoise(random.DeviceSource):
    """The GPU's random numbers for the CPU's step."""

    def rows(self, rows):
        part = PlainNoise(self.key, self.iteration, self.first[0], self.first[1] + rows.start)
        part.taken = self.taken
        return part

    def _take(self, kernel, shape):
        return stand_in.plain(super()._take(kernel, shape))


CASES = [{"vae_type": vae_type} for vae_type in VAE_TYPES]
CASES += [{"name": name} for name in ESTIMATORS]
CASES += [{"name": "jvi-clip:order=2"}, {"name": "iwae", "optimizer": "sgd", "lr": 1e-3}]
CASES += [{"name": "iwae", "optimizer": ADAM}]
CASES += [{"name": "dreg", "optimizer": "smorms3"}, {"name": "dreg", "model": "burda:layers=2"}]
CASES += [{"name": "reinforce", "model": "sbn:layers=2,units=7"}]
CASES += [{"name": "wake-sleep", "model": "sbn:layers=2,units=7"}]
CASES += [{"name": "reinforce:baseline=learned"}, {"name": "ciwae:beta=learned"}]
CASES += [{"name": name, "annealed": "kl=0:1:2"} for name in ("iwae", "jvi-clip", "ovis")]
CASES += [{"vae_type": "vae", "annealed": "kl=0:1:2", "free_bits": 0.1}]
CASES += [{"name": "vimco", "annealed": "alpha=0.9:0:2"}]
CASES += [{"name": "renyi-dreg", "annealed": "alpha=0.9:0:2,kl=0.5:1:1"}]
CASES += [{"name": "ovis", "annealed": "gamma=1:0:2"}]
CASES += [{"name": "iwae", "optimizer": "adamax", "average": 0.2}]


@pytest.mark.parametrize("options", CASES, ids=str)
def test_a_step_is_the_cpus_and_never_waits(gpu, monkeypatch, options):
    """Reports, gradients and parameters, from the same random numbers."""
    cpu = step_on(devices.device(-1), **options)
    with monkeypatch.context() as context:
        gpu(context)
        device = step_on(stand_in.Device(), **options)
    for iteration in range(3):
        rows = np.random.default_rng(iteration).permutation(NUM_ROWS)[:BATCH]
        source = PlainNoise(device.key, np.array([iteration]))
        with monkeypatch.context() as context:
            context.setattr(on_cupy, "backend", Backend)
            cpu._step(cpu.data.train[rows], source, cpu._now(cpu._annealed(rows, iteration)))
        cpu.count += 1
        with monkeypatch.context() as context:
            gpu(context)
            device(rows, iteration)
            found = device.means()
        expected = cpu.means()
        assert found.keys() == expected.keys()
        for name in found:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, err_msg=name)
        for (name, a), (_, b) in zip(parameters(device), parameters(cpu), strict=True):
            error = np.linalg.norm(stand_in.plain(a.grad) - b.grad)
            assert error <= 1e-4 * np.linalg.norm(b.grad), name
            if "average" in options:
                mean, other = (each.update_rule.state[ENTRY] for each in (a, b))
                np.testing.assert_allclose(stand_in.plain(mean), other, rtol=1e-4, atol=1e-5)
            b.array[...] = stand_in.plain(a.array)  # Adam makes much of tiny differences


@pytest.mark.parametrize(
    "options",
    [
        {"vae_type": "jvi"},
        {"vae_type": "jvi+elbo"},
        {"name": "jvi:order=2", "optimizer": "sgd"},
        *CASES[-13:],
    ],
    ids=str,
)
def test_steps_differ_in_nothing_but_device_memory(gpu, monkeypatch, options):
    """So that one that was recorded does the work of all: rows, noise, rate, number of the step."""
    gpu(monkeypatch)
    device = step_on(stand_in.Device(), **options)
    traces = []
    for iteration in range(4):
        stand_in.trace.clear()
        device.optimizer.hyperparam.alpha = device.optimizer.hyperparam.lr = 0.1 / (iteration + 1)
        rows = np.random.default_rng(iteration).permutation(NUM_ROWS)[:BATCH]
        device(rows, iteration)
        traces.append(list(stand_in.trace))
    assert traces[1] == traces[2] == traces[3]


@pytest.mark.parametrize("optimizer", ["adam", ADAM, "adamax", "sgd", "smorms3"])
def test_a_changed_learning_rate_and_hooks_have_their_effect(gpu, monkeypatch, optimizer):
    """As on the CPU, from the same gradients: a schedule, and weight decay beside clipping."""
    cpu = step_on(devices.device(-1), name="iwae", optimizer=optimizer)
    with monkeypatch.context() as context:
        gpu(context)
        device = step_on(stand_in.Device(), name="iwae", optimizer=optimizer)
    decay = chainer.optimizer_hooks.WeightDecay(0.1)
    for step in (cpu, device):
        step.optimizer.add_hook(decay)
    for iteration in range(4):
        gradients = [
            np.random.default_rng([iteration, i]).normal(size=parameter.shape).astype(np.float32)
            for i, parameter in enumerate(cpu.model.link.params())
        ]
        rate = 0.01 / (iteration + 1)
        for step in (cpu, device):
            optimizers.set_learning_rate(step.optimizer, rate)
        for parameter, g in zip(cpu.model.link.params(), gradients, strict=True):
            parameter.grad = g.copy()
        cpu.optimizer.update()
        with monkeypatch.context() as context:
            gpu(context)
            for parameter, g in zip(device.model.link.params(), gradients, strict=True):
                parameter.grad = stand_in.on_device(g.copy())
            whole = stand_in.on_device(np.array([iteration, iteration + 1]))
            lr = stand_in.on_device(np.array([rate]))
            device.optimizer.on_device = whole[1:2], lr
            device.optimizer.update()
    pairs = zip(device.model.link.params(), cpu.model.link.params(), strict=True)
    for a, b in pairs:
        np.testing.assert_allclose(stand_in.plain(a.array), b.array, rtol=1e-5, atol=1e-6)


def test_a_batch_in_pieces_is_the_batch(gpu, monkeypatch):
    gpu(monkeypatch)
    whole, parts = (step_on(stand_in.Device(), name="jvi-clip") for _ in range(2))
    whole(np.arange(8), 5)
    monkeypatch.setattr(devices, "GPU_ROWS", 2 * 6 * 3)  # three images of six samples at once
    parts(np.arange(8), 5)
    assert parts.means() == pytest.approx(whole.means(), rel=1e-6)
    for a, b in zip(whole.model.link.params(), parts.model.link.params(), strict=True):
        a, b = stand_in.plain(a.grad), stand_in.plain(b.grad)
        assert np.linalg.norm(a - b) <= 1e-5 * np.linalg.norm(a)
