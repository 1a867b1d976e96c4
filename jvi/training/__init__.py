"""Training: objectives, the step, the trainer and what it writes."""

from jvi.compat import chainer7  # noqa: F401  first: with it Chainer can be imported
