"""What speaks to the past, and nothing else: Chainer 7.8.1 on a modern stack, and the
files of the original 2018 code."""

from jvi.compat.chainer7 import install

__all__ = ["install"]
