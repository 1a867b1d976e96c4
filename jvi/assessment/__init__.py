"""What a trained model is worth: evaluation, annealing, tables, reports and plots.

What works on log-weights alone (`estimates`, `rows`, `tables`, `summary`, …) imports no Chainer;
every other module takes it from `jvi.compat.chainer7`, with which it can be imported.
"""
