"""Pictures of a training run and of what the model has learnt."""

import numpy as np

from jvi.files import atomic_write

__all__ = ["grid", "picture_of_run"]


def grid(images, image_shape, columns):
    """Tile images, shape (n, pixels), row by row into one array with a pixel between them."""
    rows = -(-len(images) // columns)
    height, width = image_shape
    tiled = np.full((rows * (height + 1) + 1, columns * (width + 1) + 1), 0.5)
    for index, image in enumerate(images):
        top = 1 + (index // columns) * (height + 1)
        left = 1 + (index % columns) * (width + 1)
        tiled[top : top + height, left : left + width] = image.reshape(image_shape)
    return tiled


def picture_of_run(path, log, model, images, image_shape, rng):
    """Training curve, reconstructions and samples from the prior, as one PNG.

    Parameters
    ----------
    path : str or Path
    log : list of dict
        As Chainer's LogReport keeps it.
    model : jvi.Model
    images : array, shape (n, pixels)
        Binary images to reconstruct.
    image_shape : tuple of int
        (rows, columns) of an image.
    rng : numpy.random.Generator
        For the samples from the prior.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    curve, reconstructed, sampled = figure.subplots(1, 3, width_ratios=(1.3, 1, 1))
    _draw_curve(curve, log)
    pairs = np.stack([images, model.reconstruct(images)], axis=1).reshape(-1, images.shape[1])
    _draw_images(reconstructed, "image | reconstruction", grid(pairs, image_shape, 8))
    samples = model.sample_prior(64, rng)
    _draw_images(sampled, "samples from the prior", grid(samples, image_shape, 8))
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def _draw_curve(axes, log):
    epochs = [entry["epoch"] for entry in log]
    for key, label in (
        ("main/obj", "objective, training batches"),
        ("validation/main/obj", "objective, validation"),
        ("validation/main/iwae", "IWAE bound, validation"),
    ):
        axes.plot(epochs, [-entry[key] for entry in log], label=label, linewidth=1)
    low = -log[min(2, len(log) - 1)]["validation/main/obj"]
    axes.set_ylim(bottom=low)
    axes.set(xlabel="epoch", ylabel="nats per image", title="training")
    axes.legend(loc="lower right", frameon=False)


def _draw_images(axes, title, tiled):
    axes.imshow(tiled, cmap="gray_r", vmin=0, vmax=1)
    axes.set(title=title, xticks=[], yticks=[])
