"""The structural similarity of images (Wang et al. 2004), by scikit-image."""

from importlib.util import find_spec

import numpy as np

__all__ = ["check_shape", "ssim", "window"]

SIZE, SIGMA = 11, 1.5  # of the Gaussian window, in pixels, for images that are large enough
LEAST = 3  # pixels of a side, below which a window has no structure


def ssim(x: np.ndarray, y: np.ndarray, image_shape: tuple[int, ...]) -> np.ndarray:
    """SSIM of each image of `x` and that of `y`: 1 where they are equal, less elsewhere.

    The mean over all windows that lie in the image of

        (2 μ_x μ_y + C₁) (2 σ_xy + C₂) / ((μ_x² + μ_y² + C₁) (σ_x² + σ_y² + C₂)),

    C₁ = 0.01², C₂ = 0.03², the moments weighted by a Gaussian `window` and not corrected for bias:
    what scikit-image documents as that of Wang et al. (2004), equation 13, for pixels in [0, 1]. Of
    images in colour it is the mean over channels.

    Parameters
    ----------
    x, y : arrays, shape (N, pixels)
    image_shape : tuple of int
        (rows, columns) or (rows, columns, channels).

    Returns
    -------
    array, shape (N,), float64

    Raises
    ------
    ValueError, ImportError
        As `check_shape`.
    """
    check_shape(image_shape)
    from skimage.metrics import structural_similarity

    options = {"gaussian_weights": True, "sigma": window(image_shape)[1]}
    options |= {"use_sample_covariance": False, "data_range": 1.0}
    options |= {"channel_axis": -1 if len(image_shape) == 3 else None}
    pairs = zip(x.astype(np.float64), y.astype(np.float64), strict=True)
    found = [
        structural_similarity(one.reshape(image_shape), other.reshape(image_shape), **options)
        for one, other in pairs
    ]
    return np.array(found, np.float64)


def window(image_shape: tuple[int, ...]) -> tuple[int, float]:
    """(side of the Gaussian window, its σ), both in pixels.

    11 and 1.5, as published; where a side of the image is shorter, the window has the largest odd
    number of pixels that fits, and σ is smaller in proportion: 7 and 0.95 for images of 8 × 8.
    """
    side = min(SIZE, (min(image_shape[:2]) - 1) // 2 * 2 + 1)
    return side, SIGMA * side / SIZE


def check_shape(image_shape: tuple[int, ...] | None, what: str = "ssim") -> None:
    """Raise ValueError where images are too small, or ImportError without scikit-image."""
    if image_shape is None or min(image_shape[:2]) < LEAST:
        raise ValueError(f"{what} needs images of at least {LEAST} x {LEAST} pixels")
    if find_spec("skimage") is None:
        raise ImportError(f"{what} needs scikit-image: pip install scikit-image")
