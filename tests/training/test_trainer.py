"""Training: what is written, what is kept, and that an interruption changes nothing."""

import json
from pathlib import Path

import numpy as np
import pytest
from chainer import serializers
from runs import META, log_of, settings_for, train, trainer_for

from jvi import datasets
from jvi.compat.meta import read_meta
from jvi.compat.snapshot import from_original, to_original
from jvi.compat.vae_types import VAE_TYPES
from jvi.datasets import Dataset
from jvi.engine import devices, threads
from jvi.models.files import read_model, read_snapshot
from jvi.models.model import load
from jvi.training.checkpoints import SELECTED_BY, check_output, files_of, resume
from jvi.training.run import Ended, run
from jvi.training.step import Diverged
from jvi.training.trainer import build_trainer, validate


@pytest.fixture(scope="module")
def data():
    full = datasets.load("digits")
    return full._replace(train=full.train[:200], validation=full.validation[:50])


@pytest.mark.parametrize("vae_type", VAE_TYPES)
def test_every_type_learns_and_writes_all_its_files(tmp_path, data, vae_type):
    prefix = tmp_path / "m"
    train(prefix, data, vae_type=vae_type, epochs=4, lr=1e-2)
    log = log_of(prefix)
    assert log[-1][SELECTED_BY] < log[0][SELECTED_BY] - 1.0
    best = min(entry[SELECTED_BY] for entry in log)
    assert float(files_of(prefix).perf.read_text()) == pytest.approx(best, abs=1e-6)
    assert read_meta(files_of(prefix).meta) == META | {"--vae-type": vae_type}
    assert load(prefix).num_latent == 2


def test_the_best_epoch_is_kept_and_is_chosen_by_the_iwae_bound(tmp_path, data):
    """A learning rate that overshoots, so that the last epoch is not the best."""
    prefix = tmp_path / "m"
    train(prefix, data, vae_type="iwae", epochs=2, lr=0.2)
    values = [entry[SELECTED_BY] for entry in log_of(prefix)]
    assert values.index(min(values)) < len(values) - 1
    held_out = datasets.observe_each(data, data.validation, 0)
    again = validate(load(prefix), held_out, settings_for("iwae"))[SELECTED_BY]
    assert again == pytest.approx(min(values), rel=1e-6)
    assert int(read_snapshot(files_of(prefix).latest)["updater/iteration"]) == 2 * 4 - 1


OTHERS = [
    {"model": "burda:layers=2", "name": "dreg"},
    {"model": "burda:layers=1", "name": "jvi-clip"},
    {"model": "sbn:layers=1,units=20", "name": "reinforce"},
    {"model": "sbn:layers=3,units=8", "name": "reinforce"},
]


@pytest.mark.parametrize(
    "options",
    [pytest.param(OTHERS[0], marks=pytest.mark.slow), *OTHERS[1:]],
    ids=[options["model"] for options in OTHERS],
)
def test_other_models_learn_and_are_what_was_selected(tmp_path, data, options):
    prefix = tmp_path / "m"
    trainer = train(prefix, data, epochs=6, lr=3e-3, **options)
    log = log_of(prefix)
    assert log[-1][SELECTED_BY] < log[0][SELECTED_BY] - 1.0
    assert log[-1]["estimator"].startswith(options["name"])
    held_out = datasets.observe_each(data, data.validation, 0)
    link = trainer.updater.step.model.link.copy(mode="copy")
    again = validate(load(prefix, link=link), held_out, settings_for(name=options["name"]))
    best = min(entry[SELECTED_BY] for entry in log)
    assert again[SELECTED_BY] == pytest.approx(best, rel=1e-6)


CONTINUED = [
    {"vae_type": vae_type, "optimizer": optimizer}
    for vae_type in ("jvi", "jvi+elbo")
    for optimizer in ("adam", "smorms3", "sgd")
]


@pytest.mark.parametrize("options", CONTINUED + OTHERS, ids=str)
def test_an_interruption_changes_nothing(tmp_path, data, options):
    options = {"lr": 1e-3, "batch_size": 48} | options
    train(tmp_path / "whole", data, epochs=4, **options)
    train(tmp_path / "parts", data, epochs=2, **options)
    trainer = trainer_for(tmp_path / "parts", data, epochs=4, **options)
    link = trainer.updater.step.model.link
    resume(trainer, read_snapshot(files_of(tmp_path / "parts").latest, link))
    trainer.run(show_loop_exception_msg=False)
    assert log_of(tmp_path / "parts") == log_of(tmp_path / "whole")
    whole, parts = (read_snapshot(files_of(tmp_path / n).latest, link) for n in ("whole", "parts"))
    for name in whole:
        if name not in ("_snapshot_elapsed_time", "extensions/LogReport/_log"):
            np.testing.assert_array_equal(parts[name], whole[name], err_msg=name)


def test_the_same_seed_gives_the_same_model_and_another_one_another(tmp_path, data):
    for name, seed in [("a", 5), ("b", 5), ("c", 6)]:
        train(tmp_path / name, data, epochs=1, seed=seed)
    a, b, c = (read_model(tmp_path / n).parameters["encode/qlin0/W"] for n in "abc")
    np.testing.assert_array_equal(a, b)
    assert not np.allclose(a, c)


@pytest.mark.parametrize(
    ("original", "vae_type", "optimizer"),
    [
        ("tiny_vae", "vae", "sgd"),
        ("tiny_iwae", "iwae", "adam"),
        ("tiny_jvielbo", "jvi+elbo", "smorms3"),
        ("jvi8slow", "jvi", "adam"),
    ],
)
def test_snapshots_have_the_originals_entries(
    legacy, tmp_path, data, original, vae_type, optimizer
):
    """Same keys, kinds and numbers of dimensions; sizes are the model's and the data set's."""
    theirs = read_snapshot(legacy(original))
    train(tmp_path / "m", data, vae_type=vae_type, optimizer=optimizer, epochs=1)
    ours = read_snapshot(tmp_path / "m")
    assert ours.keys() == theirs.keys()
    for name in theirs:
        assert ours[name].ndim == theirs[name].ndim, name
        assert ours[name].dtype.kind == theirs[name].dtype.kind, name
        if ours[name].dtype.kind != "S":
            assert ours[name].dtype == theirs[name].dtype, name
    meta = read_meta(f"{legacy(original)}.meta.yaml")
    assert {type(value) for value in meta.values()} >= {type(v) for v in META.values()}


@pytest.mark.parametrize("original", ["tiny_vae", "tiny_iwae", "tiny_jvielbo"])
def test_an_original_snapshot_comes_back_as_it_was(tmp_path, original):
    """Loaded into our trainer and written again: same keys, shapes, dtypes and values."""
    source = Path(__file__).parents[1] / "data" / original
    files, arrays = read_model(source), read_snapshot(source)
    blank = Dataset(
        "mnist", np.zeros((50_000, 784), np.float32), *[np.zeros((1, 784))] * 2, (28, 28)
    )
    settings = settings_for(files.vae_type, optimizer=files.meta["--opt"], epochs=1, batch_size=512)
    trainer = build_trainer(load(source), blank, settings, tmp_path / "m", files.meta)
    resume(trainer, arrays)
    trainer._start_at = 0.0  # the snapshot holds the time since the start
    written = to_original(serializers.npz.serialize(trainer), settings.twins)
    assert written.keys() == arrays.keys()
    log = "extensions/LogReport/_log"
    assert json.loads(written.pop(log).item()) == json.loads(arrays.pop(log).item())
    del written["_snapshot_elapsed_time"], arrays["_snapshot_elapsed_time"]  # the clock goes on
    for name, array in arrays.items():
        assert written[name].dtype == array.dtype, name
        np.testing.assert_array_equal(written[name], array, err_msg=name)


@pytest.mark.parametrize("original", ["tiny_vae", "tiny_iwae", "tiny_jvielbo"])
def test_originals_are_continued_with_their_optimizer_and_counters(
    legacy, shared, tmp_path, original
):
    source = legacy(original)
    files, arrays = read_model(source), read_snapshot(source)
    images = datasets.load("mnist", shared / "data")
    images = images._replace(validation=images.validation[:500], test=images.test[:1])
    model = load(source)
    options = {"optimizer": files.meta["--opt"], "epochs": 2, "batch_size": 512}
    settings = settings_for(files.vae_type, **options)
    trainer = build_trainer(model, images, settings, tmp_path / "m", files.meta)
    resume(trainer, arrays)
    updater = trainer.updater
    assert (updater.iteration, updater.epoch) == (98, 1)
    optimizer = updater.get_optimizer("main")
    assert optimizer.t == int(arrays["updater/iteration"])
    root = "elbo" if original == "tiny_jvielbo" else "main"
    for name, parameter in model.link.namedparams():
        for key, value in parameter.update_rule.state.items():
            expected = arrays[f"updater/optimizer:{root}{name}/{key}"]
            np.testing.assert_array_equal(value, expected)
        assert parameter.update_rule.t == optimizer.t
    held_out = datasets.observe_each(images, images.validation, 0)
    before = validate(model, held_out, settings)[SELECTED_BY]
    trainer.run(show_loop_exception_msg=False)
    entries = json.loads(files_of(tmp_path / "m").log.read_text())
    assert [entry["epoch"] for entry in entries] == [1, 2]
    assert entries[0]["elapsed_time"] == pytest.approx(
        float(arrays["_snapshot_elapsed_time"]), abs=1
    )
    assert entries[1][SELECTED_BY] < before


def test_divergence_stops_and_keeps_the_last_good_snapshot(tmp_path, data):
    prefix = tmp_path / "m"
    train(prefix, data, epochs=1, vae_type="iwae", optimizer="sgd", lr=1e-3)
    good = files_of(prefix).best.read_bytes()
    trainer = trainer_for(prefix, data, epochs=9, vae_type="iwae", optimizer="sgd", lr=1e30)
    resume(trainer, read_snapshot(files_of(prefix).latest))
    with np.errstate(all="ignore"), pytest.raises(Diverged, match="training diverged"):
        trainer.run(show_loop_exception_msg=False)
    assert files_of(prefix).best.read_bytes() == good
    assert all(np.isfinite(p).all() for p in read_model(prefix).parameters.values())


def test_training_on_jvi_is_as_stable_as_on_iwae_and_the_raw_objective_is_not(tmp_path):
    """At a learning rate of 1e-2; the original's objective diverges there, as it did then."""
    full = datasets.load("digits")
    options = {"num_samples": 8, "lr": 1e-2, "epochs": 10, "batch_size": 100}
    options |= {"num_hidden": 32, "num_latent": 8}
    values = {}
    for vae_type in ("iwae", "jvi"):
        train(tmp_path / vae_type, full, vae_type=vae_type, **options)
        values[vae_type] = log_of(tmp_path / vae_type)[-1][SELECTED_BY]
    assert values["jvi"] < values["iwae"] + 0.5
    with np.errstate(all="ignore"), pytest.raises(Diverged):
        train(tmp_path / "raw", full, vae_type="jvi", raw=True, **options)


def test_an_existing_model_is_not_overwritten(tmp_path, data):
    prefix = tmp_path / "m"
    train(prefix, data, epochs=1)
    with pytest.raises(FileExistsError, match="choose another -o"):
        check_output(prefix, overwrite=False)
    check_output(prefix, overwrite=True)
    assert all(path.exists() for path in files_of(prefix))  # until there is a new one


def test_what_cannot_be_written_is_found_before_training(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match="file"):
        check_output(tmp_path / "file" / "m", overwrite=False)


def test_a_snapshot_of_another_data_set_is_refused(tmp_path, data):
    train(tmp_path / "m", data, epochs=1)
    smaller = Dataset(*data)._replace(train=data.train[:100])
    trainer = trainer_for(tmp_path / "m", smaller)
    with pytest.raises(ValueError, match="trained on 200 images, this data set has 100"):
        resume(trainer, read_snapshot(files_of(tmp_path / "m").latest))


def test_a_snapshot_of_another_optimizer_is_refused(tmp_path, data):
    train(tmp_path / "m", data, epochs=1, optimizer="sgd")
    trainer = trainer_for(tmp_path / "m", data, optimizer="adam")
    with pytest.raises(ValueError, match="has no entry updater/optimizer:main/"):
        resume(trainer, read_snapshot(files_of(tmp_path / "m").latest))


def test_chainer_3_snapshots_without_counters_are_refused():
    with pytest.raises(ValueError, match="no entry updater/iteration"):
        from_original({"updater/optimizer:main/t": 1, "extensions/LogReport/_log": 2})


def test_a_batch_larger_than_the_data_set_is_the_data_set(tmp_path, data):
    train(tmp_path / "m", data, epochs=2, batch_size=10**6)
    log = log_of(tmp_path / "m")
    assert [(entry["epoch"], entry["iteration"]) for entry in log] == [(1, 1), (2, 2)]


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("options", [{"vae_type": "jvi"}, *OTHERS], ids=str)
def test_pieces_and_cores_change_nothing(tmp_path, data, monkeypatch, options, workers):
    """A batch in pieces has the same noise, whoever draws it first."""
    monkeypatch.setattr(devices, "ROWS", 2 * 4 * 10)  # ten images of four samples at once
    values = []
    for cores in (1, workers):
        monkeypatch.setattr(threads, "cores", lambda cores=cores: cores)
        train(tmp_path / f"{len(values)}", data, epochs=2, **options)
        values.append(log_of(tmp_path / f"{len(values)}"))
    monkeypatch.undo()
    train(tmp_path / "whole", data, epochs=2, **options)
    assert values[0] == values[1]
    for entry, whole in zip(values[0], log_of(tmp_path / "whole"), strict=True):
        # the noise of validation is drawn by the piece
        assert entry["main/obj"] == pytest.approx(whole["main/obj"], rel=1e-5)


def test_an_error_that_an_interruption_causes_is_an_interruption(tmp_path, data):
    """zipfile, interrupted while it writes, raises a ValueError of its own as it closes."""
    trainer = trainer_for(tmp_path / "m", data, epochs=2)

    def fail(trainer):
        try:
            raise KeyboardInterrupt
        finally:
            raise ValueError("seek of closed file")

    trainer.extend(fail, name="fail", trigger=(1, "epoch"), priority=1)
    with pytest.raises(Ended, match="interrupted after epoch 1: continue with --resume"):
        run(trainer, tmp_path / "m")
