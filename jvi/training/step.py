"""One training step: observe, draw, weigh, differentiate, update; the same on every device.

On the CPU the pieces of a batch run on all cores. On a GPU the step is recorded as a CUDA graph,
and whatever changes between steps lies in device memory: nothing in it waits for the GPU.
"""

import chainer
import numpy as np

from jvi.engine.devices import on_host, training_pieces
from jvi.engine.random import BatchSource, DeviceSource, counter_key, stream
from jvi.engine.ranks import ranks
from jvi.engine.threads import parallel_map
from jvi.evidence.arrays import host
from jvi.models.protocol import points
from jvi.training.annealed import KL
from jvi.training.learned import value_of
from jvi.training.objective import draw, follow, information, loss, reported, summarise
from jvi.training.optimizers import learning_rate

__all__ = ["Diverged", "Step"]

PATIENCE = 100  # batches in a row that may be skipped: more are no accident


class Diverged(ArithmeticError):
    """The loss is no longer a finite number."""


class Step:
    """Called with the rows of a batch and the number of the iteration, it updates a model.

    Parameters
    ----------
    model : jvi.Model
    data : jvi.datasets.Dataset
    optimizer : chainer.Optimizer
        Set up for `model.link`, by `jvi.training.optimizers`.
    objective : jvi.training.objective.Objective
    num_samples, seed : int
    skip : bool
        Leave out batches whose log-weights or gradients are not finite, instead of raising
        `Diverged`; on the CPU only.
    learner : chainer.Optimizer, optional
        Of what the estimator learns for itself, set up by `jvi.training.learned`.

    Attributes
    ----------
    skipped : int
        Batches left out so far.
    """

    def __init__(
        self, model, data, optimizer, objective, num_samples, seed, skip=False, learner=None
    ):
        self.model, self.data, self.optimizer, self.learner = model, data, optimizer, learner
        self.learned = None if learner is None else learner.target
        self.objective, self.num_samples, self.seed = objective, num_samples, seed
        self.sums, self.count = {}, 0
        self.skip, self.skipped, self.in_a_row = skip, 0, 0
        self.recorder = None
        if not on_host(model.device):
            from jvi.engine.graph import Recorder

            self.rows = model.device.send(np.asarray(data.train, np.float32))
            self.key = counter_key(seed, "training noise")
            self.recorder = Recorder(self._recorded)
            self.recorder.possible = ranks().size == 1  # a recording cannot wait for others

    def __call__(self, rows, iteration):
        if self.recorder is None:
            self._on_host(rows, iteration)
        else:
            whole = np.array([iteration, self.optimizer.t + 1, *rows])
            now = self._annealed(rows, iteration)
            replayed = self.recorder(whole, np.array([learning_rate(self.optimizer), *now]))
            if replayed:  # what Chainer counts on the host
                for optimizer in self._optimizers():
                    optimizer.t += 1
                    for parameter in optimizer.target.params():
                        parameter.update_rule.t += 1
            self.count += 1

    def _optimizers(self):
        return [each for each in (self.optimizer, self.learner) if each is not None]

    def _annealed(self, rows, iteration):
        """The values of what is annealed, in the objective's order."""
        epoch = iteration * len(rows) / len(self.data.train)
        return [each.at(epoch) for each in self.objective.annealed]

    def _now(self, values):
        names = [each.option for each in self.objective.annealed]
        return dict(zip(names, values, strict=True))

    def _on_host(self, rows, iteration):
        rng = stream(self.seed, "training noise", iteration)
        num_points = self.model.link.num_points(rows)
        source = BatchSource(rng, num_points, self.model.device)
        before = self._parameter_gradients()
        try:
            now = self._now(self._annealed(rows, iteration))
            self._step(self.data.train[rows], source, now)
        except Diverged as error:
            self.skipped, self.in_a_row = self.skipped + 1, self.in_a_row + 1
            if not self.skip or self.in_a_row > PATIENCE:
                raise Diverged(
                    f"training diverged in iteration {iteration + 1}: {error} (largest gradient of "
                    f"the step before, as applied: {_largest(before):.3g}; learning rate: "
                    f"{learning_rate(self.optimizer):g})"
                ) from None
        else:
            self.count, self.in_a_row = self.count + 1, 0

    def _parameter_gradients(self):
        """Of the last step: a step makes new arrays for them."""
        return [parameter.grad for parameter in self.model.link.params()]

    def means(self):
        """What is reported, on average over the steps since the last call: floats by name."""
        if self.count == 0:
            raise Diverged("training diverged: every batch of this epoch was skipped")
        means = {name: float(host(total)) / self.count for name, total in self.sums.items()}
        for total in self.sums.values():
            total.fill(0)
        self.count = 0
        return means

    def _recorded(self, whole, values):
        """The step on a GPU, of [iteration, number of the update, rows …] and [rate, values …].

        The values are of what is annealed.
        """
        for optimizer in self._optimizers():
            optimizer.on_device = whole[1:2], values[:1]
        now = self._now([values[1 + i] for i in range(len(self.objective.annealed))])
        self._step(self.rows[whole[2:]], DeviceSource(self.key, whole[:1]), now)

    def _step(self, rows, source, now):
        x = self.data.observe(rows, source)
        values = summarise(self._gradients(x, source, now))
        if self.skip and not np.isfinite(_largest(self._parameter_gradients())):
            raise Diverged("its gradients are not finite")
        if self.learned is not None and self.learned.shown:
            values[self.objective.estimator.learned] = self.learned(x).array.sum()
        for optimizer in self._optimizers():
            optimizer.update()
        for name, value in (values | _shown(now)).items():
            if name not in self.sums:
                self.sums[name] = self.model.device.xp.zeros((), np.float64)
            self.sums[name] += value

    def _gradients(self, x, source, now):
        """Set the parameters' gradients, and return what is reported of each data point.

        The batch is worked on in pieces, which bounds memory for any batch size; each rank has a
        share of it, and at the end the sums of all.
        """
        link, device = self.model.link, self.model.device
        num_points = link.num_points(x)
        drawn = self.num_samples + self.objective.estimator.num_auxiliary
        own = range(num_points)[ranks().share(num_points)]
        pieces = [
            slice(own.start + piece.start, min(own.start + piece.stop, own.stop))
            for piece in training_pieces(len(own), drawn, device, link)
        ]
        work = [(rows, source.rows(rows)) for rows in pieces]
        if self.objective.free_bits:
            now = now | {"open": self._open(x, [(rows, source.rows(rows)) for rows in pieces])}
        parameters = [p for each in self._optimizers() for p in each.target.params()]

        def summed():
            parts = []
            for values, gradients in parallel_map(self._piece(x, num_points, now), work, device):
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    if parts:
                        parameter.grad += gradient
                    else:
                        parameter.grad = gradient
                parts.append(values)
            return parts

        parts, xp = ranks().gather(summed), device.xp
        ranks().sum([parameter.grad for parameter in parameters])
        return {name: xp.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _open(self, x, work):
        """Which latent units' KL divergence, on average over the batch, is above what is free."""

        def total(piece):
            rows, source = piece
            with chainer.using_config("type_check", False):
                found = information(self.model.link, x[rows], source, self.num_samples)
            return found.sum(axis=0)

        parts = ranks().gather(lambda: list(parallel_map(total, work, self.model.device)))
        mean = sum(parts) / len(x)
        return (mean > self.objective.free_bits).astype(mean.dtype)

    def _piece(self, x, num_points, now):
        """A function of (rows, source) that gives what is reported and the gradients."""
        objective = self.objective

        def piece(work):
            rows, source = work
            with chainer.using_config("type_check", False):
                link, learned = _sharing(self.model.link), _sharing(self.learned)
                part = points(link, x, rows)
                value, found = value_of(learned, objective.estimator.learned, part)
                draws = draw(link, part, source, self.num_samples, objective, now)
                self._check(draws.log_w)
                bound, weights = follow(draws, objective, now | found)
                values = reported(objective, draws.terms, bound)
                total = loss(link, draws, objective, weights)
                if learned is not None:
                    total += learned.loss(value, draws.followed, bound)
                (total * (draws.log_w.shape[1] / num_points)).backward()
            links = [each for each in (link, learned) if each is not None]
            return values, [parameter.grad for each in links for parameter in each.params()]

        return piece

    def _check(self, log_w):
        """On the CPU at once; a GPU's steps do not wait, so there what they report tells."""
        if self.recorder is None and not np.isfinite(log_w).all():
            raise Diverged("its log-weights are not finite")


def _sharing(link):
    """A link with the same parameters and gradients of its own."""
    if link is None:
        return None
    link = link.copy()
    link.cleargrads()
    return link


def _shown(now):
    """What is annealed, as a log has it: "kl" is a divergence there."""
    return {"kl_weight" if key == KL else key: value for key, value in now.items()}


def _largest(gradients):
    """The largest component, 0 before the first step."""
    return max((float(np.abs(g).max()) for g in gradients if g is not None), default=0.0)
