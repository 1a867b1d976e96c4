"""SSIM by its formula, window by window, and what it must be whatever the images are."""

import numpy as np
import pytest

from jvi.assessment import similarity
from jvi.assessment.similarity import ssim, window


def images(count, shape, seed=0):
    return np.random.default_rng(seed).random((count, shape[0] * shape[1]))


def by_hand(x, y, side, sigma):
    """Wang et al. (2004), equation 13, in every window inside the image; moments by sums."""
    away = np.arange(side) - side // 2
    weights = np.exp(-(away[:, None] ** 2 + away[None] ** 2) / (2 * sigma**2))
    weights /= weights.sum()
    found = []
    for top in range(len(x) - side + 1):
        for left in range(len(x[0]) - side + 1):
            a, b = (each[top : top + side, left : left + side] for each in (x, y))
            ma, mb = (weights * a).sum(), (weights * b).sum()
            va, vb = (weights * (a - ma) ** 2).sum(), (weights * (b - mb) ** 2).sum()
            both = (weights * (a - ma) * (b - mb)).sum()
            bright = (2 * ma * mb + 1e-4) / (ma**2 + mb**2 + 1e-4)
            found.append(bright * (2 * both + 9e-4) / (va + vb + 9e-4))
    return np.mean(found)


@pytest.mark.parametrize("shape", [(11, 11), (14, 28), (8, 8), (3, 5)], ids=str)
def test_it_is_the_published_formula(shape):
    side, sigma = window(shape)
    x, y = images(2, shape), images(2, shape, 1)
    y[1] = 0.7 * x[1] + 0.1
    pairs = [(a.reshape(shape), b.reshape(shape)) for a, b in zip(x, y, strict=True)]
    expected = [by_hand(a, b, side, sigma) for a, b in pairs]
    np.testing.assert_allclose(ssim(x, y, shape), expected, rtol=1e-9)
    assert expected[0] < 0.5 < expected[1] < 1


def test_the_window_is_the_published_one_where_it_fits():
    assert window((28, 28)) == window((11, 90)) == (11, 1.5)
    sizes = {8: 7, 7: 7, 10: 9, 6: 5, 5: 5, 4: 3, 3: 3}
    assert {side: window((side, 28))[0] for side in sizes} == sizes
    assert window((8, 8))[1] == pytest.approx(1.5 * 7 / 11)


def test_equal_images_are_one_alike_and_order_does_not_matter():
    x, y = (images(3, (8, 8), seed).astype(np.float32) for seed in (0, 1))
    np.testing.assert_allclose(ssim(x, x, (8, 8)), 1, rtol=1e-12)
    np.testing.assert_allclose(ssim(x, y, (8, 8)), ssim(y, x, (8, 8)), rtol=1e-12)
    assert (ssim(x, 1 - x, (8, 8)) < -0.7).all()  # its structure is turned round
    blank = np.zeros((1, 64))
    assert ssim(blank, blank, (8, 8)) == 1 and ssim(blank, blank + 1, (8, 8)) < 1e-3


@pytest.mark.parametrize("shape", [None, (2, 28), (28, 1)])
def test_images_without_room_for_a_window_are_refused(shape):
    with pytest.raises(ValueError, match="ssim needs images of at least 3 x 3 pixels"):
        similarity.check_shape(shape)


def test_without_scikit_image_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(similarity, "find_spec", lambda _: None)
    with pytest.raises(ImportError, match="needs scikit-image: pip install scikit-image"):
        ssim(images(1, (8, 8)), images(1, (8, 8)), (8, 8))
