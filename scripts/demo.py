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

from docopt import docopt

from jvi.cli import command, number
from jvi.text import table

MODEL = "mlp:hidden=64,latent=8"
BOUNDS = {"vae": "ELBO", "iwae": "IWAE", "jvi-1": "JVI-1", "jvi-2": "JVI-2"}
NUM_SAMPLES = (8, 64, 1024)


@command
def main(argv=None):
    import jvi

    arguments = docopt(__doc__, argv)
    folder = arguments["-o"]
    seed = number(arguments, "--seed", least=0)
    epochs = number(arguments, "--epochs", least=1)
    data = jvi.load_dataset("digits")
    model = _train(f"{folder}/model", data, seed, epochs)
    _evaluate(folder, model, data, seed)
    _draw(folder, model, data, seed)


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
    from pathlib import Path

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
