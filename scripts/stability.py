"""How stable and how good training on JVI is, by gradient estimator and learning rate.

Usage:
  stability.py [options]
  stability.py (-h | --help)

Trains a small model (64 hidden units, 8 latent dimensions) on MNIST with Adam for each combination,
and prints a table of the final log-likelihood of 2,000 validation images (IWAE with 512 samples, in
nats): mean over seeds ± standard error, or how many of the runs diverged.

Options:
  -h --help                Show this help screen.
  -o <file>                Write every run to this file, a line of JSON each; runs that it already
                           holds are not repeated [default: stability.jsonl].
  --runs <list>            Estimators, each with its order
                           [default: iwae:0,dreg:0,jvi-clip:1,jvi-clip:2].
  --lrs <list>             Learning rates [default: 1e-4,3e-4,1e-3,3e-3].
  --seeds <n>              Number of seeds [default: 3].
  -e <epochs>, --epochs <epochs>
                           Epochs of each run [default: 4].
  --vae-samples <k>        Samples per image in training [default: 8].
  --jobs <n>               Runs at a time, each on one core [default: 2].
  --data-dir <folder>      Folder that holds mnist/ (else the variable JVI_DATA, else a download).
"""

from docopt import docopt

from jvi.cli import command, number
from jvi.text import table


@command
def main(argv=None):
    import itertools
    import json
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context
    from pathlib import Path

    from tqdm import tqdm

    arguments = docopt(__doc__, argv)
    epochs = number(arguments, "--epochs", least=1)
    num_samples = number(arguments, "--vae-samples", least=2)
    runs = [run.split(":") for run in arguments["--runs"].split(",")]
    lrs = [float(lr) for lr in arguments["--lrs"].split(",")]
    seeds = range(number(arguments, "--seeds", least=1))
    wanted = [
        {"estimator": name, "order": int(order), "lr": lr, "seed": seed, "epochs": epochs,
         "num_samples": num_samples}
        for seed, lr, (name, order) in itertools.product(seeds, lrs, runs)
    ]  # fmt: skip
    path = Path(arguments["-o"])
    done = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    missing = [run for run in wanted if not any(run.items() <= old.items() for old in done)]
    workers = ProcessPoolExecutor(number(arguments, "--jobs", least=1), get_context("spawn"))
    with workers as pool, path.open("a") as file:
        results = pool.map(_train, missing, itertools.repeat(arguments["--data-dir"]))
        for result in tqdm(results, total=len(missing), unit="run", disable=None):
            file.write(json.dumps(result) + "\n")
            file.flush()
            done.append(result)
    rows = [_row(done, run, lrs, epochs, num_samples) for run in runs]
    print(table(rows, ["estimator, order", *(f"lr {lr:g}" for lr in lrs)]))


def _train(run, data_dir):
    """The run with its `log_px`, None where training diverged."""
    import tempfile

    from jvi import datasets
    from jvi.assessment.evaluation import evaluate
    from jvi.engine import threads
    from jvi.evidence.estimators import ESTIMATORS, estimator
    from jvi.models.model import model
    from jvi.spec import options_of
    from jvi.training.objective import Objective
    from jvi.training.trainer import Diverged, Settings, build_trainer

    threads.cores = lambda: 1
    name = run["estimator"]
    if name in ESTIMATORS and "order" in options_of(ESTIMATORS[name].function):
        name += f":order={run['order']}"
    data = datasets.load("mnist", data_dir)
    data = data._replace(validation=data.validation[:2000])
    settings = Settings(
        objective=Objective(estimator(name)), num_samples=run["num_samples"], optimizer="adam",
        lr=run["lr"], epochs=run["epochs"], batch_size=256, seed=run["seed"], quiet=True,
    )  # fmt: skip
    trained = model("mlp:hidden=64,latent=8", data, seed=run["seed"])
    with tempfile.TemporaryDirectory() as folder, threads._blas().limit(limits=1):
        trainer = build_trainer(trained, data, settings, f"{folder}/m", {})
        try:
            trainer.run(show_loop_exception_msg=False)
        except Diverged:
            return run | {"log_px": None}
        held_out = datasets.observe_each(data, data.validation, 0)
        return run | {"log_px": evaluate(trained, held_out, 512, ("iwae",)).mean["iwae"]}


def _row(done, run, lrs, epochs, num_samples):
    import math
    import statistics

    name, order = run
    row = [f"{name}, {order}"]
    for lr in lrs:
        key = {"estimator": name, "order": int(order), "lr": lr, "epochs": epochs,
               "num_samples": num_samples}  # fmt: skip
        values = [result["log_px"] for result in done if key.items() <= result.items()]
        good = [value for value in values if value is not None]
        if len(good) < len(values):
            row.append(f"{len(values) - len(good)} of {len(values)} diverged")
        else:
            error = statistics.stdev(good) / math.sqrt(len(good)) if len(good) > 1 else math.nan
            row.append(f"{statistics.mean(good):.2f} ± {error:.2f}")
    return row


if __name__ == "__main__":
    main()
