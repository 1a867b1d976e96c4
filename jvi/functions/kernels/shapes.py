"""The sizes that the arrays of each kernel must have: loops that are compiled do not look."""

__all__ = ["fit", "fit_columns", "output_shape"]


def fit(kernel, found, needed):
    """Raise ValueError where shapes, or tuples of them, are not those that are needed."""
    if found != needed:
        raise ValueError(f"{kernel}: arrays of shapes {found}, where {needed} are needed")


def fit_columns(kernel, g, h):
    """Raise ValueError unless `g` has the rows of `h`, and its columns or more."""
    if len(g) != len(h) or g.shape[1] < h.shape[1]:
        raise ValueError(f"{kernel}: arrays of shapes {g.shape} and {h.shape} do not fit")


def output_shape(images, kernels, stride):
    """Shape of a convolution of images (N, H, W, C) with kernels (…, O)."""
    return (images[0], -(-images[1] // stride), -(-images[2] // stride), kernels[-1])
