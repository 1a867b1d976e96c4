"""How work runs: devices, random streams, threads and CUDA graphs."""

from jvi.compat import chainer7  # noqa: F401  first: with it Chainer can be imported
