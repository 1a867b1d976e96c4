"""
Train and evaluate
==================

How well does a model explain images that it has never seen, and how sure is that number? We train
a variational autoencoder (VAE) on handwritten digits and measure the evidence ``log p(x)`` of
held-out ones in three ways: by the ELBO, by IWAE and by the jackknife (JVI).
"""

# %%
# The data
# --------
#
# The digits of scikit-learn are 1,797 images of 8 × 8 grey pixels. A model of binary pixels sees
# each of them binarised at random, with its grey value as the probability of ink, and anew in
# every epoch. Test images are binarised once, so that all numbers below are of the same images.

import matplotlib.pyplot as plt
import numpy as np

import jvi
from jvi.datasets import observe_each

data = jvi.load_dataset("digits")
test = observe_each(data, data.test, seed=0)
print(data)

# %%
# Train
# -----
#
# One call. The model is named with its sizes: networks of 64 hidden units and a latent vector z of
# 8 numbers. The estimator says how gradients are made from K = 8 samples of z per image;
# ``jvi-clip`` is the way to train on JVI that is stable; :doc:`/training` has the measurements
# behind it.

model = jvi.train(
    "mlp:hidden=64,latent=8",
    data,
    estimator="jvi-clip",
    num_samples=8,
    epochs=50,
    lr=2e-3,
    seed=0,
    quiet=True,
)
print(model)

# %%
# What was reported of each epoch is in ``model.history``, as losses: minus nats per image. The
# model returned is that of the epoch with the best IWAE bound of the validation images, which
# cannot be gamed. Where this curve is still rising, train for longer.

epochs = [entry["epoch"] for entry in model.history]
bounds = {"training ELBO": "main/obj_elbo", "validation IWAE (K = 8)": "validation/main/iwae"}

figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
for label, key in bounds.items():
    axes.plot(epochs, [-entry[key] for entry in model.history], label=label)
axes.set(xlabel="epoch", ylabel="nats per image", ylim=(-34, None), title="Learning curve")
axes.grid(alpha=0.3)
axes.legend()
plt.show()

# %%
# Evaluate
# --------
#
# Everything that follows is computed from log-weights: for samples z₁, …, z_K of q(z|x),
#
#     ``log w = log p(x|z) + log p(z) − log q(z|x)``,
#
# K of them for each of N images. We draw 8,192 and keep them.

evaluation = jvi.evaluate(model, test, 8192, seed=0, keep=True)
log_w = evaluation.log_w
print("log-weights:", log_w.shape)

# %%
# ``jvi.summary`` makes the table of ``evaluate.py`` of them, for any number of samples up to
# 8,192: all rows come from one pass, a smaller K uses the first of the samples.

summary = jvi.summary(log_w, samples=[8, 64, 512, 8192])
print(summary)

# %%
# **nats** is the mean over the images. The ELBO hardly depends on K. IWAE rises with K: it
# underestimates ``log p(x)``, and the less so the more samples there are. JVI takes most of what
# is missing from the same samples.
#
# **± images** is the error from having only so many test images: another test set would change the
# number by about that much. **± samples** is what fresh samples would change for these very
# images. Rows share their images and their samples, so that differences between them are known
# much better than ± images suggests. :doc:`/evaluation` explains all columns.
#
# What the jackknife buys
# -----------------------
#
# The error bars say nothing of the bias. To see it, we cut the samples into 8 blocks of 1,024. JVI
# of a whole block stands for the truth: its own bias is well below the least that we look for. Then
# we cut each block into sets of K, estimate from each set, and average: that is what K samples
# give *on average*. Its distance from the block's truth is the bias, and the 8 blocks say how well
# we know it.

estimates = {
    "ELBO": jvi.elbo,
    "IWAE": jvi.iwae,
    "JVI-1": lambda log_w: jvi.jackknife(log_w, 1),
    "JVI-2": lambda log_w: jvi.jackknife(log_w, 2),
}
sample_counts = [4, 8, 16, 32, 64, 128]
blocks = np.split(log_w, 8)
truths = np.array([jvi.jackknife(block, 1).mean() for block in blocks])


def bias(estimate, num_samples):
    """Mean over blocks and images of an estimate from K samples less the truth; and its error."""
    sets = [np.split(block, len(block) // num_samples) for block in blocks]
    means = [np.mean([estimate(each).mean() for each in block]) for block in sets]
    gaps = means - truths
    return gaps.mean(), gaps.std(ddof=1) / np.sqrt(len(gaps))


biases = {name: [bias(each, k) for k in sample_counts] for name, each in estimates.items()}

print("bias in nats    " + "".join(f"K = {k:<12}" for k in sample_counts))
for name, values in biases.items():
    print(f"{name:6}" + "".join(f"{value:9.3f} ± {error:.3f}" for value, error in values))

# %%
# sphinx_gallery_thumbnail_number = 2

figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
for marker, (name, values) in zip("xosD", biases.items(), strict=True):
    value, error = np.array(values).T
    axes.errorbar(sample_counts, -value, error, marker=marker, capsize=2, label=name)
axes.set(xscale="log", yscale="log", xlabel="samples K", ylabel="nats below log p(x)")
axes.set_xticks(sample_counts, sample_counts, minor=False)
axes.minorticks_off()
axes.set_title("Bias against the number of samples")
axes.grid(alpha=0.3)
axes.legend()
plt.show()

# %%
# How many samples does IWAE need to be on average as near to the truth as JVI is with few? We look
# it up on the line of IWAE.

iwae_log_bias = np.log([-value for value, _ in biases["IWAE"]])
for name in ("JVI-1", "JVI-2"):
    there = np.log(-biases[name][1][0])
    equal = np.exp(np.interp(-there, -iwae_log_bias, np.log(sample_counts)))
    print(f"{name} with K = 8 has the bias of IWAE with about K = {equal:.0f}")

# %%
# In theory the bias of IWAE falls like 1/K, and that of the jackknife of order m like 1/K^(m+1).
# The lines here fall more slowly than that, and order 2 gains less over order 1 than order 1 does
# over IWAE: with 8 latent dimensions a few samples carry most of the weight (the columns ESS and
# heavy tails), and the theory wants weights with a light tail. :doc:`plot_04_your_own_model` has a
# case that is known exactly and keeps to the theory.
#
# A look at the model
# -------------------
#
# Numbers are not all. Above: test images as the model sees them. Middle: their reconstructions,
# decoded from the mean of q(z|x). Below: samples, decoded from draws of the prior.

some = test[:12]
rows = {
    "test": some,
    "reconstruction": model.reconstruct(some),
    "sample": model.sample_prior(12, np.random.default_rng(0)),
}
figure, axes = plt.subplots(3, 12, figsize=(8, 2.3), layout="constrained")
for row, (name, images) in zip(axes, rows.items(), strict=True):
    for panel, image in zip(row, images, strict=True):
        panel.imshow(image.reshape(data.image_shape), cmap="gray_r", vmin=0, vmax=1)
        panel.set(xticks=[], yticks=[])
    row[0].set_ylabel(name, rotation=0, ha="right", va="center")
plt.show()

# %%
# What next
# ---------
#
# - The same in the shell: ``python scripts/train.py --nhidden 64 --nlatent 8 --estimator jvi-clip
#   --vae-samples 8 --opt adam --lr 2e-3 -b 100 -e 50 -o model``, then ``python
#   scripts/evaluate.py -E elbo,iwae,jvi -s 8,64,512,8192 model`` (:doc:`/train-and-evaluate`).
# - How far can these numbers be trusted, for a model of any library?
#   :doc:`plot_02_how_good_is_my_vae`.
# - What to publish, and with how many samples: :doc:`/evaluation`.
# - How the jackknife is exact in O(K), up to order 16: :doc:`/jackknife`.
