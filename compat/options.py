"""The original's network and the options that said its sizes."""

__all__ = ["NETWORK", "SIZES"]

NETWORK = "mlp"  # by its name in `jvi.models.MODELS`

# Options of the original's train.py, and what they are among the network's options.
SIZES = {"--nhidden": "hidden", "--nlatent": "latent"}
