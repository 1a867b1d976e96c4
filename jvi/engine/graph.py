"""CUDA graphs: a function of arrays that is recorded once and then launched as a whole."""

import warnings

__all__ = ["Recorder"]

WARM_UP = 3  # calls before one is recorded: kernels are compiled, memory is allocated


class Recorder:
    """Calls a function of some arrays on the GPU, from some call on as a CUDA graph.

    What the function computes must depend on nothing else that changes, and it must not wait for
    the GPU. Its temporary arrays come from memory of its own: a graph writes to the same places
    whenever it is launched. Arguments of another shape, as of an uneven last batch, are not
    recorded; where recording fails, a warning says so once and calls go on without.

    Parameters
    ----------
    function : callable
    """

    def __init__(self, function):
        import cupy

        self.cupy, self.function, self.calls, self.possible = cupy, function, 0, True
        self.stream, self.pool = cupy.cuda.Stream(non_blocking=True), cupy.cuda.MemoryPool()
        self.graph = self.inputs = None

    def __call__(self, *values):
        """The function of `values`, arrays on the host; whether a recording did the work."""
        if self.calls == 0:
            self.cupy.cuda.Stream.null.synchronize()  # where all before this was done
        self.calls += 1
        with self.stream, self.cupy.cuda.using_allocator(self.pool.malloc):
            inputs = [self.cupy.asarray(value) for value in values]
            if self.graph is not None and all(map(_same_shape, inputs, self.inputs)):
                for kept, new in zip(self.inputs, inputs, strict=True):
                    kept[...] = new
                self.graph.launch()
                return True
            if self.graph is None and self.possible and self.calls > WARM_UP:
                self._record(inputs)
            else:
                self.function(*inputs)
        return False

    def _record(self, inputs):
        try:
            self.stream.begin_capture()
            try:
                self.function(*inputs)
            finally:
                self.graph = self.stream.end_capture()
            self.inputs = inputs
            self.graph.launch()
        except RuntimeError as error:
            self.graph, self.possible = None, False
            warnings.warn(f"training steps are not recorded as a CUDA graph: {error}", stacklevel=3)
            self.function(*inputs)


def _same_shape(one, other):
    return one.shape == other.shape
