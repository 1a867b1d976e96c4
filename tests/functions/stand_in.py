"""A GPU's arrays on a CPU: they refuse whatever would make the host wait for the device.

`xp` and `Device` take the places of CuPy's and Chainer's. Every call is noted in `trace`: its name,
and for each argument its value, or, for what lies on the device, its shape. Two steps with the same
trace differ in nothing but what is in device memory, so that one can stand for the other as a
recording.
"""

import chainer
import numpy as np

trace = []


def note(name, arguments):
    """Append a call to `trace`."""
    trace.append((name, *map(_shown, arguments)))


def _shown(value):
    if isinstance(value, np.ndarray):
        return value.shape
    if isinstance(value, list | tuple):
        return tuple(map(_shown, value))
    return repr(value)


class DeviceArray(np.ndarray):
    """An array that only device code may look into."""

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
        return _call(name, getattr(ufunc, method), inputs, options)

    def __array_function__(self, function, types, arguments, options):
        return _call(function.__name__, function, arguments, options)

    def __setitem__(self, key, value):
        _refuse_masks(key)
        _call("copy", np.copyto, (np.asarray(self)[plain(key)], value), {})

    def __getitem__(self, key):
        _refuse_masks(key)
        return on_device(np.asarray(self)[plain(key)])

    def astype(self, dtype, **options):
        return _call("astype", np.asarray(self).astype, (dtype,), options)

    def fill(self, value):
        _call("fill", np.asarray(self).fill, (value,), {})

    def dot(self, other):
        return _call("dot", np.dot, (self, other), {})

    def get(self):
        return np.array(self)

    def _wait(self, *arguments):
        raise AssertionError("the host would have to wait for the device")

    __bool__ = __float__ = __int__ = __index__ = __iter__ = item = tolist = _wait


def _refuse_masks(key):
    """The number of elements that a mask selects is not known on the host."""
    keys = key if isinstance(key, tuple) else (key,)
    assert not any(np.asarray(each).dtype == bool for each in keys), "a mask as an index"


def plain(value):
    """The same memory as an ordinary array; of tuples and lists, too."""
    if isinstance(value, list | tuple):
        return type(value)(map(plain, value))
    return value.view(np.ndarray) if isinstance(value, DeviceArray) else value


def on_device(array):
    return np.asarray(array).view(DeviceArray)


def _call(name, function, arguments, options):
    note(name, arguments)
    options = {key: plain(value) for key, value in options.items()}
    result = function(*plain(tuple(arguments)), **options)
    if isinstance(result, list | tuple):
        return type(result)(map(on_device, result))
    return None if result is None else on_device(result)


class _Namespace:
    """NumPy, whose functions give `DeviceArray`s."""

    def __getattr__(self, name):
        found = getattr(np, name)
        if isinstance(found, type) or not callable(found):
            return found
        return lambda *arguments, **options: _call(name, found, arguments, options)

    def ascontiguousarray(self, array, dtype=None):
        if array.flags.c_contiguous and dtype in (None, array.dtype):
            return array
        return _call("copy", np.ascontiguousarray, (array, dtype), {})


xp = _Namespace()


class Device(chainer.backend.CpuDevice):
    """The CPU as a GPU."""

    xp = xp

    def send(self, array):
        return on_device(np.array(array))


class Direct:
    """In the place of `jvi.engine.graph.Recorder`: records nothing."""

    def __init__(self, function):
        self.function = function

    def __call__(self, *values):
        self.function(*map(on_device, values))
        return False
