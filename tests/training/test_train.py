"""`jvi.train`: training as one call, with a model of any kind."""

import json

import chainer
import chainer.functions as F
import numpy as np
import pytest

import jvi
from jvi.functions import gaussian_log_density, gaussian_sample, standard_normal_log_density
from jvi.models.layers import Affine
from jvi.scripts import train as script
from jvi.spec import Spec
from jvi.training.checkpoints import SELECTED_BY, files_of

FEW = {"num_samples": 4, "epochs": 2, "batch_size": 200, "quiet": True}


@pytest.fixture(scope="module")
def data():
    return jvi.load_dataset("digits")


def test_what_is_returned_is_the_best_epoch_with_its_history(data):
    model = jvi.train("mlp:hidden=8,latent=2", data, "jvi-clip:order=1", **FEW)
    assert [entry["epoch"] for entry in model.history] == [1, 2]
    assert model.history[0]["estimator"] == "jvi-clip:order=1"
    assert "2 epochs, last validation IWAE bound -" in repr(model)
    x = (data.test > 0.5).astype(np.float32)
    assert jvi.evaluate(model, x, 8, ("iwae",)).mean["iwae"] > -60


def test_nothing_is_left_on_disk_unless_asked_for(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    jvi.train("mlp:hidden=8,latent=2", data, "iwae", **FEW)
    assert list(tmp_path.iterdir()) == []
    model = jvi.train("mlp:hidden=8,latent=2", data, "iwae", output="m", **FEW)
    loaded = jvi.load("m")
    for a, b in zip(model.link.params(), loaded.link.params(), strict=True):
        np.testing.assert_array_equal(a.array, b.array)
    assert loaded.meta["--model"] == "mlp:pixels=64,hidden=8,latent=2" and loaded.notes == []
    with pytest.raises(FileExistsError, match="m/log exists"):
        jvi.train("mlp:hidden=8,latent=2", data, "iwae", output="m", **FEW)


def test_the_call_and_the_command_are_the_same_training(data, tmp_path):
    jvi.train("mlp:hidden=8,latent=2", data, "dreg", output=tmp_path / "call", **FEW)
    command = "--model mlp:hidden=8,latent=2 --estimator dreg --vae-samples 4 -e 2 -b 200"
    command += f" --opt adam --lr 1e-3 --quiet -o {tmp_path / 'command'}"
    script.main(command.split())
    logs = [json.loads(files_of(tmp_path / n).log.read_text()) for n in ("call", "command")]
    for entry, other in zip(*logs, strict=True):
        del entry["elapsed_time"], other["elapsed_time"]
        assert entry == other


def test_training_goes_on_from_a_model(data):
    model = jvi.train("mlp:hidden=8,latent=2", data, "iwae", **FEW)
    more = jvi.train(model, data, "iwae", **FEW)
    assert more.history[-1][SELECTED_BY] < model.history[-1][SELECTED_BY]


class Line(chainer.Chain):
    """Points near a line: z ~ N(0, 1), x | z ~ N(a z + b, 1), q(z|x) Gaussian. Two-dimensional."""

    reparameterised = True
    spec = Spec("line", {})

    def __init__(self, rng):
        super().__init__()
        with self.init_scope():
            self.encode, self.decode = Affine(2, 2, rng), Affine(1, 2, rng)

    def num_points(self, x):
        return len(x)

    def check(self, x):
        return x.astype(np.float32)

    def infer(self, x):
        mean, ln_var = F.split_axis(self.encode(x), 2, axis=1)
        return mean, ln_var

    def draw(self, q, source, num_samples):
        z = gaussian_sample(*q, source.normal((num_samples, *q[0].shape)))
        return z, gaussian_log_density(z, *q)

    def log_joint(self, x, z):
        error = self.decode(z) - F.broadcast_to(chainer.as_variable(x), (len(z), *x.shape))
        log_px = -0.5 * F.sum(error * error, axis=-1) - float(np.log(2 * np.pi))
        return log_px, standard_normal_log_density(chainer.as_variable(z))

    def log_q(self, q, z):
        return gaussian_log_density(chainer.as_variable(z), *q)


def test_a_link_of_ones_own_reaches_the_evidence_that_is_known():
    """Trained on points of a Gaussian, its exact log-likelihood bounds what it can reach."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(600, 1)) * [2.0, -1.0] + rng.normal(size=(600, 2))
    data = jvi.dataset(points.astype(np.float32), name="points")
    link = Line(rng)
    model = jvi.train(link, data, "dreg", 16, 60, batch_size=60, lr=0.02, quiet=True)
    a, b = model.link.decode.W.array[:, 0], model.link.decode.b.array
    covariance = np.outer(a, a) + np.eye(2)
    test = data.test.astype(np.float64) - b
    exact = -0.5 * np.einsum("ni,ij,nj->n", test, np.linalg.inv(covariance), test)
    exact += -0.5 * np.log(np.linalg.det(2 * np.pi * covariance))
    result = jvi.evaluate(model, data.test, 4000, ("iwae",))
    np.testing.assert_allclose(result.per_image["iwae"], exact, atol=0.1)
    assert abs(abs(a) - [2, 1]).max() < 0.3 and a[0] * a[1] < 0


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("sbn", {"estimator": "iwae"}, "choose an estimator for discrete latents"),
        ("mlp", {"estimator": "jvi:order=9"}, "the jackknife of 4 samples has orders 0 to 3"),
        ("mlp", {"estimator": "dregg"}, "unknown estimator 'dregg': choose from elbo, iwae"),
        ("mlp:width=3", {}, "model mlp has no option 'width': it has hidden, latent"),
        ("mlp", {"optimizer": "adagrad"}, "unknown optimizer 'adagrad': choose from sgd"),
    ],
)
def test_what_does_not_go_together_is_said_before_any_work(data, tmp_path, model, options, message):
    with pytest.raises(ValueError, match=message):
        jvi.train(model, data, output=tmp_path / "m", **FEW | {"estimator": "dreg"} | options)
    assert list(tmp_path.iterdir()) == []


def test_data_that_have_no_likelihood_are_refused_before_any_work(tmp_path):
    points = jvi.dataset(np.random.default_rng(0).normal(size=(50, 4)), name="points")
    with pytest.raises(ValueError, match=r"outside \[0, 1\] .* binary pixels has no likelihood"):
        jvi.train("mlp", points, "iwae", output=tmp_path / "m", **FEW)
    assert list(tmp_path.iterdir()) == []
