"""Train JVI on scikit-learn's handwritten digits, evaluate it and draw a picture.

Usage:
  demo.py [options]
  demo.py (-h | --help)

Needs no download and takes about half a minute on two cores.

Options:
  -h --help                      Show this help screen.
  -o <folder>                    Write the model, the table and the picture here; an earlier demo
                                 in this folder is replaced [default: demo-output].
  -e <epochs>, --epochs <epochs>
                                 Number of epochs to train [default: 200].
  --seed <seed>                  Seed of everything random [default: 0].
"""

from pathlib import Path

from jvi.cli import UsageError, arguments_of, check_outputs, command, number, seed
from jvi.text import table

MODEL = "mlp:hidden=64,latent=8"
BOUNDS = {"vae": "ELBO", "iwae": "IWAE", "jvi-1": "JVI-1", "jvi-2": "JVI-2"}
NUM_SAMPLES = (8, 64, 1024)


# By which an earlier demo is told from a model of the user's, in its meta file.
OWN = {"--model": "mlp:pixels=64,hidden=64,latent=8", "--dataset": "digits", "--vae-samples": "8"}


@command
def main(argv=None):
    import jvi

    arguments, _ = arguments_of(__doc__, argv)
    folder = arguments["-o"]
    noise = seed(arguments)
    epochs = number(arguments, "--epochs", least=1)
    _check_folder(folder)
    data = jvi.load_dataset("digits")
    model = _train(f"{folder}/model", data, noise, epochs)
    _evaluate(folder, model, data, noise)
    _draw(folder, model, data, noise)


def _check_folder(folder):
    """Refuse a folder in which something would be replaced that no demo has written."""
    from jvi.training.checkpoints import files_of

    made = [f"{folder}/results.json", f"{folder}/demo.png"]
    made += [str(path) for path in files_of(f"{folder}/model")[1:]]
    check_outputs({"-o": made}, True, folders=True)
    there = [path for path in made if Path(path).exists()]
    if there and not _is_demo(f"{folder}/model.meta.yaml"):
        raise UsageError(f"-o: {there[0]} exists and is no demo's: name another folder")


def _is_demo(path):
    from jvi.compat.meta import read_meta

    try:
        meta = read_meta(path)
    except (ValueError, OSError):
        return False
    return OWN.items() <= meta.items() and "-o" not in meta  # which train.py writes


def _train(prefix, data, seed, epochs):
    import jvi

    print(f"training JVI-1 with 8 samples on {len(data.train)} handwritten digits")
    return jvi.train(
        MODEL,
        data,
        estimator="jvi-clip:order=1",
        num_samples=8,
        epochs=epochs,
        batch_size=100,
        lr=2e-3,
        seed=seed,
        output=prefix,
        overwrite=True,
    )


def _evaluate(folder, model, data, seed):
    import json

    import jvi
    from jvi.datasets import observe_each
    from jvi.files import atomic_write

    test = observe_each(data, data.test, seed)
    results = [jvi.evaluate(model, test, k, BOUNDS, seed=seed, progress=True) for k in NUM_SAMPLES]
    rows = [
        [label, *(f"{r.mean[name]:.3f} ± {r.standard_error[name]:.3f}" for r in results)]
        for name, label in BOUNDS.items()
    ]
    print(
        f"\nlog p(x) in nats per image, {len(test)} held-out digits, ± standard error over images"
    )
    print(table(rows, ["estimate", *(f"K = {k}" for k in NUM_SAMPLES)]))
    numbers = [
        {
            "bound": name,
            "num_samples": r.num_samples,
            "mean": r.mean[name],
            "standard_error": r.standard_error[name],
        }
        for r in results
        for name in BOUNDS
    ]
    path = Path(folder) / "results.json"
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(numbers, indent=2))
    print(f"written to {path}")


def _draw(folder, model, data, seed):
    from jvi.assessment.plots import picture_of_run
    from jvi.datasets import observe_each
    from jvi.engine.random import stream

    path = f"{folder}/demo.png"
    images = observe_each(data, data.test[:32], seed)
    rng = stream(seed, "pictures")
    picture_of_run(path, model.history, model, images, data.image_shape, rng)
    print(f"picture: {path}")


if __name__ == "__main__":
    main()
