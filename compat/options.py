"""Options of the originals' command lines that say the sizes of their networks."""

__all__ = ["NETWORK", "SIZES", "owners"]

NETWORK = "mlp"  # of the original of 2018, by its name in `jvi.models.MODELS`

# By model, the options of train.py that say its sizes, and what they are among its own options.
SIZES = {
    NETWORK: {"--nhidden": "hidden", "--nlatent": "latent"},
    "iaf-resnet": {
        "--depths": "depths",
        "--n-z": "n_z",
        "--n-h": "n_h",
        "--posterior": "posterior",
        "--depth-ar": "depth_ar",
    },
    "iaf": {"--posterior": "posterior", "--depth-ar": "depth_ar"},
}


def owners(option: str) -> list[str]:
    """The models that a size option is of; of any other option none."""
    return [model for model, options in SIZES.items() if option in options]
