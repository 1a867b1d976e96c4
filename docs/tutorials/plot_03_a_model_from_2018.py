"""
A model from 2018
=================

Can a model that was trained with the original code still be used, does it compute what it computed
then, and is it safe to open? The original was Python 2 with Chainer 3 and no longer runs anywhere.
Its files are read here as they are.
"""

# %%
# The files
# ---------
#
# The tests of this project have a model of that layout, small enough to be read in a moment: 8
# hidden units, z of 2 numbers, one epoch on MNIST. So the script wants a clone of the repository.
# We work on a copy, as if the files had been sent to us.

import shutil
import sys
import tempfile
import zipfile
from contextlib import chdir
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import jvi
from jvi.assessment.plots import grid
from jvi.models.files import read_model, write_model
from jvi.scripts import inspect_model

DATA = Path(jvi.__file__).parents[1] / "tests" / "data"
if not DATA.exists():
    sys.exit("this tutorial needs a clone of the repository: the model is in its tests/data")

temporary = tempfile.TemporaryDirectory()
folder = Path(temporary.name)
shutil.copytree(DATA / "tiny_iwae", folder / "tiny_iwae")
for ending in ("meta.yaml", "perf"):
    shutil.copy(DATA / f"tiny_iwae.{ending}", folder)

for path in sorted(folder.rglob("*")):
    print(path.relative_to(folder), "" if path.is_dir() else f"{path.stat().st_size:,} bytes")

# %%
# Look before you load
# --------------------
#
# ``inspect_model.py`` prints what the files hold: how the model was trained, its parameters, and
# every reason to doubt them. What follows calls the command from Python; in a shell it is ``python
# scripts/inspect_model.py tiny_iwae``.

with chdir(folder):
    print(inspect_model.summary("tiny_iwae"))

# %%
# No doubts. What would one be? Files are compared with one another: here the training arguments of
# a copy say something else than its parameters do.

text = (folder / "tiny_iwae.meta.yaml").read_text()
(folder / "doubtful.meta.yaml").write_text(text.replace("--nlatent: '2'", "--nlatent: '5'"))
shutil.copytree(folder / "tiny_iwae", folder / "doubtful")

with chdir(folder):
    print(*read_model("doubtful").notes, sep="\n")

# %%
# Does it compute what it computed?
# ---------------------------------
#
# Beside the model its log-weights are recorded, with the 16 images (of random pixels, which test
# the arithmetic as well as any) and the noise that they were computed from, and what each
# objective of the original was. Given the same noise, the same numbers must come out.

model = jvi.load(folder / "tiny_iwae")
recorded = np.load(DATA / "tiny_iwae.golden.npz")
log_w = model.log_weights(recorded["x"], eps=recorded["eps"])

print(model)
print(f"log-weights of shape {log_w.shape}, from {log_w.min():.1f} to {log_w.max():.1f} nats")
print(f"largest relative difference: {np.abs(log_w / recorded['log_w'] - 1).max():.1e}")

estimates = {
    "iwae": jvi.iwae(log_w),
    "jvi1": jvi.jackknife(log_w, 1),
    "jvi2": jvi.jackknife(log_w, 2),
}
print("objective  recorded      here")
for name, values in estimates.items():
    print(f"{name:9} {recorded[f'{name}/obj']:9.4f} {-values.mean():9.4f}")

# %%
# That is agreement to the rounding of float32. What else is compared with the original, down to
# its gradients, is in :doc:`/training`.
#
# How good was it?
# ----------------
#
# The original printed a mean and one standard error. Today's evaluation says more. MNIST would
# have to be downloaded, so digits of scikit-learn stand in for it, three times as large and with a
# margin of two pixels: 300 images of 28 × 28 pixels.

small = load_digits().images[:300] > 7
digits = np.pad(np.kron(small, np.ones((1, 3, 3))), ((0, 0), (2, 2), (2, 2)))
x = digits.reshape(300, 784).astype(np.float32)

evaluation = jvi.evaluate(model, x, 1024, keep=True)
print(jvi.summary(evaluation.log_w, samples=[4, 64, 1024]))

# %%
# A mean and an error over images would have looked respectable. The rest of the table says not to
# believe it: IWAE and JVI still rise with K by more than ± samples, a handful of samples carries
# the weight (ESS), most of the images have heavy tails, and IWAE and JVI do not agree. No wonder:
# one epoch is hardly training, and these are not the images that it saw. The last lines say what
# to do. :doc:`plot_02_how_good_is_my_vae` reads such a table line by line.
#
# With two latent numbers all that a model knows fits into a picture: z on a grid, decoded. In the
# middle are images and what the model makes of them; on the left, the log-weights of above.

edges = np.linspace(-2, 2, 6)
z = np.stack(np.meshgrid(edges, -edges), axis=-1).reshape(-1, 2)
pairs = np.stack([x[:18], model.reconstruct(x[:18])], axis=1).reshape(36, 784)

figure, panels = plt.subplots(1, 3, figsize=(9, 3.3), layout="constrained")
panels[0].plot(recorded["log_w"].ravel(), log_w.ravel(), "o", alpha=0.6)
panels[0].axline((-450, -450), slope=1, color="grey", linewidth=1)
panels[0].set(xlabel="recorded, nats", ylabel="here, nats", title="Log-weights", aspect="equal")
panels[0].grid(alpha=0.3)
pictures = {"Images and reconstructions": pairs, "z from -2 to 2, decoded": model.decode(z)}
for panel, (title, images) in zip(panels[1:], pictures.items(), strict=True):
    panel.imshow(grid(images, (28, 28), 6), cmap="gray_r", vmin=0, vmax=1)
    panel.set(title=title, xticks=[], yticks=[])
plt.show()

# %%
# Into today's formats
# --------------------
#
# ``convert.py`` writes ``.h5`` or ``.safetensors``, the latter with the training arguments in its
# header and a checksum. With ``--torch`` parameters are called as in a state dict of PyTorch. The
# original can read ``.h5`` and snapshots that are written here: conversion goes both ways.

with chdir(folder):
    print("wrote", *write_model("tiny_iwae.safetensors", read_model("tiny_iwae")))
    again = jvi.load("tiny_iwae.safetensors")

same = np.array_equal(again.log_weights(recorded["x"], eps=recorded["eps"]), log_w)
print("the same log-weights, bit by bit:", same)

# %%
# What if a file is damaged?
# --------------------------
#
# One bit is flipped in the middle of a parameter. Checksums are compared, and the answer is one
# sentence with the name of the file and of the array.

damaged = folder / "damaged.npz"
content = bytearray((folder / "tiny_iwae" / "snapshot_bestvalobj").read_bytes())
with zipfile.ZipFile(folder / "tiny_iwae" / "snapshot_bestvalobj") as archive:
    start = archive.getinfo("updater/model:main/encode/qlin0/W.npy").header_offset
content[start + 1000] ^= 1
damaged.write_bytes(content)


def attempt(name):
    """Load a file, and print why it is refused."""
    with chdir(folder):
        try:
            jvi.load(name)
        except ValueError as error:
            print("refused:", error)
        else:
            print("loaded")


attempt("damaged.npz")

# %%
# What if it is malicious?
# ------------------------
#
# Files of that time hide programs easily: an array of Python objects is a pickle, and reading a
# pickle runs whatever it says. Here is one that would print, and might do anything:


class Trap:
    def __reduce__(self):
        return print, ("THIS CODE RAN WHEN THE FILE WAS READ",)


weights = np.empty(1, object)
weights[0] = Trap()
np.savez(folder / "trap.npz", **{"updater/model:main/encode/qlin0/W": weights})

attempt("trap.npz")

# %%
# Nothing was printed but the refusal. Files are data here and never programs: nothing is
# unpickled, of YAML only text is read, what a file claims to hold is bounded before memory is
# allocated for it, and links, devices and files outside are not followed. :doc:`/files` says what
# is read, what is checked, and what kind of damage cannot be noticed in which format.

temporary.cleanup()

# %%
# What next
# ---------
#
# - All files of a model, names and shapes of its parameters, reading them in PyTorch:
#   :doc:`/files`.
# - The same in the shell: ``python scripts/inspect_model.py PREFIX``, ``python scripts/evaluate.py
#   -d mnist -E iwae,jvi -s 4096 PREFIX`` and ``python scripts/convert.py PREFIX
#   model.safetensors``.
# - Training on: ``jvi.train(model, data)`` goes on from the parameters of a model that was loaded.
