"""What a trained model is worth: evaluation, annealing, tables, reports and plots."""

from jvi.compat import chainer7  # noqa: F401  first: with it Chainer can be imported
