"""Training steps that stay on a GPU: data, random numbers, gradients, reports and Adam.

Nothing in a step waits for the GPU, and once it has run a few times it is launched as one CUDA
graph. The arithmetic is that of `jvi.objectives` and `jvi.estimators`, in fewer launches; the
random numbers are others than a CPU's, but depend on (seed, iteration) alone here, too.
"""

import warnings

import chainer
import numpy as np

from jvi import backend
from jvi.datasets import check_pixels
from jvi.functions import Route
from jvi.functions.kernels import on_cupy as kernels
from jvi.jackknife import constants, jackknife_and_weights

__all__ = ["FlatAdam", "Recorder", "Step"]

# Weights that the kernel `estimate` knows: 1/K, v, u, u without its negative ones, v^2.
UNIFORM, V, U, CLIPPED, SQUARED = range(5)

# As `jvi.estimators`: weights for model and path, and whether log q(z|x) has a score of zero
# instead of entering by its total derivative.
WEIGHTS = {
    "elbo": (UNIFORM, UNIFORM, False),
    "iwae": (V, V, False),
    "jvi": (U, U, False),
    "jvi_iwae": (U, V, False),
    "jvi_elbo": (U, UNIFORM, False),
    "dreg": (V, SQUARED, True),
    "jvi_dreg": (U, SQUARED, True),
    "jvi_clip": (CLIPPED, SQUARED, True),
}

# As `jvi.objectives.report`: a column of the kernel for each name.
JVI = {"obj": "-jvi", "obj_elbo": "-elbo"}
VAE = {"obj": "vae", "kl": "kl", "logp": "logp"}
BOTH = [(f"elbo/{name}", column) for name, column in (VAE | {"elbo": "vae"}).items()]
REPORTS = {
    "vae": VAE,
    "iwae": {"obj": "-iwae", "obj_elbo": "-elbo"},
    "iwae++": JVI | {"corr": "corr"},
    "jvi": JVI,
    "jvi+elbo": dict(BOTH) | {f"p_obj/{name}": column for name, column in JVI.items()},
    "is": {"obj": "-is", "ess": "ess"},
}

HIGHEST = 2  # order of the jackknife that the kernel knows
WARM_UP = 3  # steps before one is recorded: kernels are compiled, memory is allocated
ALIGNED = 64  # numbers; where parameters begin matters to matrix products


class Step:
    """One training step, called with the rows of a batch and the number of the iteration.

    Parameters
    ----------
    images : array, shape (N, pixels)
        Grey values in [0, 1], which are kept on the GPU.
    model : jvi.Model
    optimizer : chainer.Optimizer
        Set up for `model.link`. Adam is replaced by `FlatAdam`, at the first step.
    settings : jvi.training.Settings
    objective : jvi.objectives.Objective
    clip : float
        Norm to which `FlatAdam` scales longer gradients.
    """

    def __init__(self, images, model, optimizer, settings, objective, clip):
        check_pixels(images)
        self.model, self.optimizer, self.objective, self.clip = model, optimizer, objective, clip
        self.num_samples, self.xp = settings.num_samples, model.device.xp
        self.order = settings.order if "jvi" in objective.estimator else 0
        self.images = model.device.send(np.asarray(images, np.float32))
        self.keys = [
            backend.counter_key(settings.seed, purpose)
            for purpose in ("binarisation", "training noise")
        ]
        self.sums, self.count = self.xp.zeros((2, len(kernels.COLUMNS))), 0
        self.recorder, self.adam = Recorder(self._run), None

    def __call__(self, rows, iteration):
        is_adam = isinstance(self.optimizer, chainer.optimizers.Adam)
        if is_adam and self.adam is None:  # not before a snapshot was loaded
            self.adam = FlatAdam(self.optimizer, self.clip)
        pieces = backend.pieces(len(rows), self.num_samples, self.model.device)
        recordable = is_adam and self.order <= HIGHEST and len(pieces) == 1
        values = np.concatenate([[iteration, self.optimizer.t + 1], rows])
        self.recorder(values, recordable)
        if is_adam:
            self.adam.count()
        self.count += 1

    def means(self):
        """What is reported, on average over the steps since the last call: floats by name."""
        with self.recorder.stream:
            means, variances = backend.to_host(self.sums) / self.count
            self.sums.fill(0)
        self.count, reported = 0, {}
        for name, column in REPORTS[self.objective.report].items():
            index = kernels.COLUMNS.index(column)
            reported[name] = float(means[index])
            if name.endswith("obj"):
                reported[f"{name}_var"] = float(variances[index])
        return reported

    def _run(self, inputs):
        """The step of `inputs`, on the GPU: iteration, the number of Adam's step, rows."""
        iteration, number, rows = inputs[:1], inputs[1:2], inputs[2:]
        x = kernels.binarise(self.images, rows, self.keys[0], iteration)
        shape = self.num_samples, len(rows), self.model.num_latent
        eps = kernels.normals(shape, self.keys[1], iteration)
        self.model.link.cleargrads()
        pieces = backend.pieces(len(rows), self.num_samples, self.model.device)
        columns = [self._gradients(x[piece], eps[:, piece], len(rows)) for piece in pieces]
        columns = columns[0] if len(columns) == 1 else self.xp.concatenate(columns, axis=1)
        kernels.summarise(columns, self.sums, x.dtype)
        if self.adam is None:
            self.optimizer.update()
        else:
            self.adam.step(number)

    def _gradients(self, x, eps, images):
        """Add to the parameters' gradients; returns the columns of what is reported."""
        link, latent = self.model.link, self.objective.latent
        *kinds, zero_score = WEIGHTS[self.objective.estimator]
        with chainer.using_config("type_check", False):
            q, route = link.posterior(x), Route()
            z = link.sample(q, eps)
            z_model = route(z)
            log_px, log_pz = link.log_px(x, z_model), link.log_pz(z_model)
            log_qz = link.log_qz(tuple(p.array for p in q) if zero_score else q, z)
            kl = link.kl(q) if latent == "kl" else None
            terms = [term.array for term in (log_px, log_pz, log_qz)]
            u, columns = self._jackknife(terms)
            beta = constants(self.num_samples, min(self.order, HIGHEST))
            by_model, by_q, scale = kernels.estimate(
                *(terms, None if kl is None else kl.array, u, columns, images, self.order),
                *((beta[0], *[*beta[1], 0.0][1:3]), kinds),
            )
            route.scale = None if kinds[0] == kinds[1] else scale
            ends = [(log_px, by_model)]
            if latent == "sampled":
                ends += [(log_pz, by_model), (log_qz, by_q)]
            if latent == "kl":
                ends += [(kl, self.xp.full_like(kl.array, 1 / images))]
            for variable, gradient in ends:
                variable.grad = gradient
            chainer.backward([variable for variable, _ in ends])
        return columns

    def _jackknife(self, terms):
        """Arrays for weights and columns; with the weights and values of a high order in them."""
        u = self.xp.empty(terms[0].shape, np.float64)
        columns = self.xp.empty((len(kernels.COLUMNS), u.shape[1]), np.float64)
        if self.order > HIGHEST:
            log_px, log_pz, log_qz = (term.astype(np.float64) for term in terms)
            log_w = self.xp.nan_to_num(log_px + log_pz - log_qz)  # the other columns say so
            value, u = jackknife_and_weights(log_w, self.order)
            columns[2] = -value
        return u, columns


class FlatAdam:
    """Adam with gradient clipping in two launches: one buffer each for all parameters, m and v.

    Parameters and the optimizer's state become parts of these buffers, so that Chainer loads and
    saves them as ever.
    """

    def __init__(self, optimizer, clip):
        self.optimizer, self.clip = optimizer, clip
        self.parameters = list(optimizer.target.params())
        device, dtype = self.parameters[0].device, self.parameters[0].dtype
        sizes = [parameter.size for parameter in self.parameters]
        starts = np.cumsum([0] + [-(-size // ALIGNED) * ALIGNED for size in sizes])
        self.starts, self.sizes = device.send(starts), device.send(np.array(sizes))
        self.flat = device.xp.zeros((4, starts[-1]), dtype)  # gradients, parameters, m, v
        for parameter, start, size in zip(self.parameters, starts, sizes, strict=False):
            rule = parameter.update_rule
            rule._init_states(parameter)
            places = [row[start : start + size].reshape(parameter.shape) for row in self.flat[1:]]
            for place, array in zip(
                places, (parameter.array, *map(rule.state.get, "mv")), strict=True
            ):
                place[...] = array
            parameter.array, rule.state["m"], rule.state["v"] = places

    def step(self, number):
        """Update from the parameters' gradients; `number` of the step, int64 on the GPU."""
        self.optimizer.reallocate_cleared_grads()
        gradients = [parameter.grad for parameter in self.parameters]
        grad, *updated = self.flat
        squares = kernels.gather(gradients, self.starts, self.sizes, grad)
        kernels.adam_step(grad, squares, number, *updated, self.clip, self.optimizer.hyperparam)

    def count(self):
        """What Chainer counts on the host."""
        self.optimizer.t += 1
        for parameter in self.parameters:
            parameter.update_rule.t += 1


class Recorder:
    """Calls a function of one vector on the GPU, from some call on as a CUDA graph.

    What the function computes must depend on nothing else that changes. Its temporary arrays come
    from memory of its own: a graph writes to the same places whenever it is launched.
    """

    def __init__(self, function):
        import cupy

        self.cupy, self.function, self.calls = cupy, function, 0
        self.stream, self.pool = cupy.cuda.Stream(non_blocking=True), cupy.cuda.MemoryPool()
        self.graph = self.inputs = None

    def __call__(self, values, recordable):
        """The function of `values`, from the host; recorded only while `recordable`."""
        if self.calls == 0:
            self.cupy.cuda.Stream.null.synchronize()  # where all before this was done
        with self.stream, self.cupy.cuda.using_allocator(self.pool.malloc):
            inputs = self.cupy.asarray(values)
            if self.graph is not None and inputs.shape == self.inputs.shape:
                self.inputs[...] = inputs
                self.graph.launch()
            elif recordable and self.calls == WARM_UP:
                self._record(inputs)
            else:
                self.function(inputs)
        self.calls += 1

    def _record(self, inputs):
        try:
            self.stream.begin_capture()
            try:
                self.function(inputs)
            finally:
                self.graph = self.stream.end_capture()
            self.inputs = inputs
            self.graph.launch()
        except RuntimeError as error:
            self.graph = None
            warnings.warn(f"training steps are not recorded as a CUDA graph: {error}", stacklevel=2)
            self.function(inputs)
