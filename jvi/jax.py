"""Any gradient estimator as a loss for `jax.grad`: `import jvi.jax`."""

from jvi.evidence import surrogate

try:
    import jax
    import jax.numpy as jnp
except ImportError as error:
    raise ImportError("jvi.jax needs JAX: pip install jax") from error

__all__ = ["loss"]


def loss(log_w, estimator="iwae", *, model=None, path=None, score=None):
    """Minus the estimator's bound on average over data points, with the estimator's gradient.

    Parameters
    ----------
    log_w : array, shape (K, N)
        Log importance weights, K samples of each of N data points. With the parts below only its
        values matter; alone it is differentiated, which is enough for "elbo", "iwae" and "jvi".
    estimator : str
        NAME[:key=value,…], see `jvi.estimator`.
    model : array, shape (K, N)
        log p(x, z) with z under `jax.lax.stop_gradient`: the gradient of the model.
    path : array, shape (K, N)
        log w with all parameters under `stop_gradient`: the gradient through z.
    score : array, shape (K, N)
        log q(z|x) with z under `stop_gradient`: the gradient of q at fixed z.

    Returns
    -------
    array, scalar, of the dtype of `log_w`
        In nats, from weights in float64 whether or not JAX's flag for it is set. NaN where `log_w`
        holds NaN. The weights are constants: derive it once, not twice.

    Raises
    ------
    ValueError
        For an unknown estimator, parts that are missing, unused or of another shape, and under
        `jax.jit` or `jax.vmap` for orders of the jackknife above 2.

    Examples
    --------
    >>> import jax
    >>> import jax.numpy as jnp
    >>> import jvi.jax
    >>> jax.grad(jvi.jax.loss)(jnp.log(jnp.asarray([[1.0], [3.0]]))).ravel()
    Array([-0.25, -0.75], dtype=float32)
    """
    parts = {"model": model, "path": path, "score": score}
    parts = {name: None if part is None else jnp.asarray(part) for name, part in parts.items()}
    try:
        return surrogate.loss(jnp.asarray(log_w), estimator, parts, jax.lax.stop_gradient)
    except jax.errors.ConcretizationTypeError:
        raise ValueError(
            f"{estimator} cannot be traced by jax.jit or jax.vmap: "
            "choose an order of at most 2, or call the loss outside of them"
        ) from None
