"""What is shown while a model is trained."""

import math

from tqdm import tqdm

from jvi.datasets import NATS
from jvi.training.checkpoints import SELECTED_BY, log_of

__all__ = ["EpochLines", "ProgressBar"]


class EpochLines:
    """A line per epoch, but at most one in two seconds, above the progress bar if there is one.

    The IWAE bound is also told in `unit`, that of the data, where it is not nats.
    """

    COLUMNS = ("epoch", "training", "validation", "iwae")
    PAUSE = 2.0

    def __init__(self, epochs, estimator, unit=NATS):
        self.epochs, self.estimator, self.printed = epochs, estimator, -math.inf
        self.unit = None if unit.name == NATS.name else unit

    def initialize(self, trainer):
        tqdm.write(
            f"nats per image; gradient estimator {self.estimator}; * is the best epoch so far"
        )
        more = [self.unit.name] if self.unit else []
        tqdm.write("".join(f"{name:>12}" for name in (*self.COLUMNS, *more, "seconds")))

    def __call__(self, trainer):
        log = log_of(trainer)
        entry = log[-1]
        seconds = entry["elapsed_time"]
        if seconds < self.printed + self.PAUSE and entry["epoch"] < self.epochs:
            return
        self.printed = seconds
        prefix = "main/" if "main/obj" in entry else "p_obj/"
        losses = [entry[name] for name in (f"{prefix}obj", "validation/main/obj", SELECTED_BY)]
        best = min(e.get(SELECTED_BY, math.inf) for e in log) == entry[SELECTED_BY]
        more = [self.unit.value(-losses[-1])] if self.unit else []
        numbers = "".join(f"{value:12.3f}" for value in (*[-loss for loss in losses], *more))
        tqdm.write(f"{entry['epoch']:>12}{numbers}{seconds:12.1f}{' *' if best else ''}")


class ProgressBar:
    """A bar in a terminal, nothing in a file."""

    def __init__(self, epochs, num_rows, batch_size):
        self.total, self.bar = epochs * math.ceil(num_rows / batch_size), None

    def initialize(self, trainer):
        start = trainer.updater.iteration
        self.bar = tqdm(total=self.total, initial=start, unit="step", disable=None, leave=False)

    def __call__(self, trainer):
        self.bar.update()

    def finalize(self):
        if self.bar is not None:
            self.bar.close()
