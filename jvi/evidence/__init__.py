"""Evidence estimation as arithmetic on arrays of log importance weights: no framework, no state.

`log_w` has shape (K, N), samples first, and may belong to any library that follows the array API
standard; everything is computed in float64 and given in nats.
"""
