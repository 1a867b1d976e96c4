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

import sys

if __name__ == "__main__":
    from os.path import dirname, realpath

    sys.path[0] = dirname(dirname(realpath(__file__)))

from docopt import docopt

from jvi.cli import command, number, table

NUM_HIDDEN, NUM_LATENT = 64, 8
BOUNDS = {"vae": "ELBO", "iwae": "IWAE", "jvi-1": "JVI-1", "jvi-2": "JVI-2"}
NUM_SAMPLES = (8, 64, 1024)


@command
def main(argv=None):
    arguments = docopt(__doc__, argv)
    folder = arguments["-o"]
    seed = number(arguments, "--seed", least=0)
    epochs = number(arguments, "--epochs", least=1)
    data, model, log = _train(f"{folder}/model", seed, epochs)
    _evaluate(folder, model, data, seed)
    _draw(folder, model, data, log, seed)


def _train(prefix, seed, epochs):
    from jvi import datasets
    from jvi.backend import stream
    from jvi.model import Model, load
    from jvi.models import MODELS
    from jvi.training import Settings, build_trainer, check_output

    data = datasets.load("digits")
    settings = Settings(
        vae_type="jvi",
        num_samples=8,
        optimizer="adam",
        lr=2e-3,
        epochs=epochs,
        batch_size=100,
        seed=seed,
    )
    initial = stream(seed, "initial parameters")
    model = Model(MODELS["mlp"](data.train.shape[1], NUM_HIDDEN, NUM_LATENT, initial))
    meta = {
        "--dataset": "digits",
        "--nhidden": str(NUM_HIDDEN),
        "--nlatent": str(NUM_LATENT),
        "--vae-type": "jvi",
        "--vae-samples": "8",
        "--jvi-order": "1",
        "--opt": "adam",
        "--lr": "2.0e-3",
        "--epochs": str(epochs),
        "--batchsize": "100",
        "-o": prefix,
    }
    check_output(prefix, overwrite=True)
    print(f"training JVI-1 with 8 samples on {len(data.train)} handwritten digits")
    trainer = build_trainer(model, data, settings, prefix, meta)
    trainer.run(show_loop_exception_msg=False)
    return data, load(prefix), trainer.get_extension("LogReport").log


def _evaluate(folder, model, data, seed):
    import json
    from pathlib import Path

    from jvi.datasets import binarise_each
    from jvi.evaluation import evaluate
    from jvi.files import atomic_write

    test = binarise_each(data.test, seed)
    results = [evaluate(model, test, k, BOUNDS, seed=seed, progress=True) for k in NUM_SAMPLES]
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


def _draw(folder, model, data, log, seed):
    from jvi.backend import stream
    from jvi.datasets import binarise_each
    from jvi.plots import picture_of_run

    path = f"{folder}/demo.png"
    images = binarise_each(data.test[:32], seed)
    picture_of_run(path, log, model, images, data.image_shape, stream(seed, "pictures"))
    print(f"picture: {path}")


if __name__ == "__main__":
    main()
