"""Bits per dimension of a model of bytes, beside independent bytes."""

import json
import math

import bits_per_dimension
import numpy as np
import pytest

from jvi.datasets import load
from jvi.engine.random import stream
from jvi.models import build
from jvi.models.model import Model
from jvi.scripts import train

OPTIONS = "--model iaf-resnet:depths=1,n-z=1,n-h=2 --estimator elbo --vae-samples 1 --clip 0"
BITS = "-s 2 --images 20 -o bits new"
BINARY = "-d digits --nhidden 4 --nlatent 2 -e 1 -b 1000 -o binary --quiet"


@pytest.fixture(scope="module")
def data():
    digits = load("digits-grey")
    return digits._replace(test=digits.test[:40])


@pytest.mark.slow
def test_the_elbo_is_that_of_another_evaluation_and_below_iwae(data):
    """By log-weights themselves, one sample at a time: another noise, so within errors."""
    link = build("iaf-resnet:depths=1,n-z=1,n-h=2", 64, stream(0, "initial parameters"))
    found = bits_per_dimension.measured(link, data, 64, 3)
    x = data.test.astype(np.float32) / 256
    log_w = np.asarray(Model(link).log_weights(x, 64, np.random.default_rng(5)))
    bits = -log_w / (64 * math.log(2))  # D is 64, too
    error = math.hypot(found["elbo"]["samples"], bits.std() / math.sqrt(bits.size))
    assert abs(found["elbo"]["value"] - bits.mean()) < 4 * error
    assert found["iwae"]["value"] < found["elbo"]["value"]
    by_image = bits.mean(axis=0)
    expected = by_image.std(ddof=1) / math.sqrt(len(by_image))
    assert found["elbo"]["images"] == pytest.approx(expected, rel=0.1)
    assert found["parameters"] == sum(each.size for each in link.params())


def test_the_histogram_is_laplaces_rule(data):
    link = build("iaf-resnet:depths=1,n-z=1,n-h=2", 64, stream(0, "initial parameters"))
    found = bits_per_dimension.measured(link, data, 2, 0)
    seen = (data.train[:, None, :] == data.test[None, :4].reshape(1, 4, 64)).sum(axis=0)
    bits = -np.log2((seen + 1) / (len(data.train) + 256)).mean(axis=1)
    four = bits_per_dimension.measured(link, data._replace(test=data.test[:4]), 2, 0)
    assert four["histogram"]["value"] == pytest.approx(bits.mean())
    assert four["histogram"]["images"] == pytest.approx(bits.std(ddof=1) / 2)
    assert found["histogram"]["value"] != four["histogram"]["value"]


@pytest.mark.slow
def test_the_command_reads_a_trained_model(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    train.main(
        ["-d", "digits-grey", *OPTIONS.split(), "-e", "1", "-b", "1000", "-o", "new", "--quiet"]
    )
    bits_per_dimension.main(BITS.split())
    found = json.loads((tmp_path / "bits.json").read_text())
    assert set(found) == {"elbo", "iwae", "discretised logistic", "histogram", "parameters"}
    assert f"{found['iwae']['value']:.4f}" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"bits\.json exists"):
        bits_per_dimension.main(BITS.split())


def test_binary_data_have_none(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    train.main(BINARY.split())
    with pytest.raises(SystemExit):
        bits_per_dimension.main(["binary"])
    assert "is no data set of bytes" in capsys.readouterr().err
