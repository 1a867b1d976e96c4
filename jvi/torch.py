"""Any gradient estimator as a loss for PyTorch's autograd: `import jvi.torch`."""

from jvi.evidence import surrogate

try:
    import torch
except ImportError as error:
    raise ImportError("jvi.torch needs PyTorch: pip install torch") from error

__all__ = ["loss"]


@torch.compiler.disable  # Dynamo would break the graph many times within, and warn of each
def loss(log_w, estimator="iwae", *, model=None, path=None, score=None):
    """Minus the estimator's bound on average over data points, with the estimator's gradient.

    Parameters
    ----------
    log_w : tensor, shape (K, N)
        Log importance weights, K samples of each of N data points, on any device that has float64.
        With the parts below only its values matter; alone it is differentiated, which is enough for
        "elbo", "iwae" and "jvi".
    estimator : str
        NAME[:key=value,…], see `jvi.estimator`.
    model : tensor, shape (K, N)
        log p(x, z) with z detached: the gradient of the model.
    path : tensor, shape (K, N)
        log w with all parameters detached: the gradient through z.
    score : tensor, shape (K, N)
        log q(z|x) with z detached: the gradient of q at fixed z.

    Returns
    -------
    tensor, scalar, of the dtype of `log_w`
        In nats. NaN where `log_w` holds NaN. The weights are constants: derive it once, not twice.

    Raises
    ------
    ValueError
        For an unknown estimator, and parts that are missing, unused or of another shape.

    Examples
    --------
    >>> import torch
    >>> import jvi.torch
    >>> log_w = torch.log(torch.tensor([[1.0], [3.0]])).requires_grad_()
    >>> jvi.torch.loss(log_w, "iwae").backward()
    >>> log_w.grad.ravel()
    tensor([-0.2500, -0.7500])
    """
    parts = {"model": model, "path": path, "score": score}
    return surrogate.loss(log_w, estimator, parts, torch.Tensor.detach)
