"""
How good is my VAE really?
==========================

You have trained a VAE in JAX or PyTorch, and it reports an ELBO. How far is that from
``log p(x)``, how sure is the number, and is another model better? All that is needed is an array of
log-weights; ``jvi`` does not have to know the model.
"""

# %%
# A VAE of your own
# -----------------
#
# Here it is one in plain JAX: a Gaussian q(z|x) with z of 8 numbers, pixels that are 0 or 1, an
# encoder and a decoder of 64 hidden units. The only line that matters below is the last one of
# ``log_weights``.

import sys

try:
    import jax
    import jax.numpy as jnp
except ImportError:
    sys.exit("this tutorial needs JAX: pip install jax")

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import jvi

LATENT, HIDDEN = 8, 64


def layer(rng, size_in, size_out):
    weights = rng.normal(size=(size_in, size_out)) / np.sqrt(size_in)
    return jnp.asarray(weights, jnp.float32), jnp.zeros(size_out)


def initial(rng):
    sizes = {"q1": (64, HIDDEN), "q2": (HIDDEN, 2 * LATENT), "p1": (LATENT, HIDDEN)}
    sizes["p2"] = (HIDDEN, 64)
    return {name: layer(rng, *size) for name, size in sizes.items()}


def network(parameters, name, x):
    (w1, b1), (w2, b2) = parameters[f"{name}1"], parameters[f"{name}2"]
    return jnp.tanh(x @ w1 + b1) @ w2 + b2


def normal(z, mean, ln_var):
    """log N(z; mean, exp(ln_var)), summed over the latent units."""
    return -0.5 * jnp.sum((z - mean) ** 2 / jnp.exp(ln_var) + ln_var + jnp.log(2 * jnp.pi), -1)


def log_weights(parameters, key, x, num_samples, widen=1.0):
    """log p(x, z) - log q(z|x), shape (K, N), for K samples z of q(z|x) of each of N images."""
    mean, ln_var = jnp.split(network(parameters, "q", x), 2, axis=-1)
    ln_var = ln_var + 2 * jnp.log(widen)
    z = mean + jnp.exp(ln_var / 2) * jax.random.normal(key, (num_samples, *mean.shape))
    logits = network(parameters, "p", z)
    log_px = jnp.sum(x * logits - jax.nn.softplus(logits), axis=-1)
    return log_px + normal(z, 0.0, jnp.zeros(LATENT)) - normal(z, mean, ln_var)


# %%
# Training is Adam on minus the ELBO, the mean of the log-weights.


def minus_elbo(log_w):
    return -jnp.mean(log_w)


def train(loss, x, num_steps=2000, batch=100, num_samples=8, lr=2e-3, seed=0):
    parameters = initial(np.random.default_rng(seed))
    first = second = jax.tree.map(jnp.zeros_like, parameters)

    def objective(parameters, key, rows):
        return loss(log_weights(parameters, key, rows, num_samples))

    @jax.jit
    def step(t, parameters, first, second, key):
        choose, noise = jax.random.split(key)
        rows = x[jax.random.choice(choose, len(x), (batch,), replace=False)]
        gradient = jax.grad(objective)(parameters, noise, rows)
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, second, gradient)
        rate = lr * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        change = jax.tree.map(lambda m, v: rate * m / (jnp.sqrt(v) + 1e-8), first, second)
        return jax.tree.map(jnp.subtract, parameters, change), first, second

    for t, key in enumerate(jax.random.split(jax.random.key(seed), num_steps), start=1):
        parameters, first, second = step(float(t), parameters, first, second, key)
    return parameters


grey = load_digits().data / 16
binary = (np.random.default_rng(0).random(grey.shape) < grey).astype(np.float32)
x_train, x_test = jnp.asarray(binary[:1497]), jnp.asarray(binary[1497:])

vae = train(minus_elbo, x_train)

# %%
# Log-weights of the test images
# ------------------------------
#
# K samples of each of N images, as an array of shape (K, N), samples first. Many samples are drawn
# in parts.


def evaluate(parameters, num_samples=2048, part=256, seed=1, widen=1.0):
    weights = jax.jit(lambda key: log_weights(parameters, key, x_test, part, widen))
    keys = jax.random.split(jax.random.key(seed), num_samples // part)
    return np.concatenate([weights(key) for key in keys])


log_w = evaluate(vae)
print(log_w.shape, log_w.dtype)

# %%
# With PyTorch it is the same: hand over the tensor as it is, also one that has a gradient. Or
# write the array to a file (``np.save("log_w.npy", log_w)``) and let the shell do the rest:
# ``python scripts/evaluate.py --log-weights log_w.npy -s 8,64,512,2048``. ArviZ's
# ``InferenceData`` is read, too.
#
# The table
# ---------

summary = jvi.summary(log_w, samples=[8, 64, 512, 2048])
print(summary)

# %%
# Line by line:
#
# - **elbo** is what training reported. On average it is the same for any number of samples, and it
#   is a bound: it tells what the model *and* its q are worth together.
# - **iwae** takes the same samples and gets nearer to ``log p(x)``, which depends on the model
#   only. It is still a bound from below, and rises as long as K is too small.
# - **jvi** removes most of what IWAE lacks, from the same samples. It is an estimate, not a bound.
# - **-KL(q||p)** is ELBO less IWAE: how far q(z|x) is from the posterior. That much your ELBO is
#   too pessimistic about the model.
#
# Column by column:
#
# - **± images**: the error of the mean if other test images had been drawn. It says how well the
#   *population* is known, and no K makes it smaller.
# - **± samples**: what other samples would change for these very images. It falls with K; where it
#   hardly does, a few heavy weights make it.
# - **ESS**: how many of the K samples carry the weight, on average.
# - **heavy tails**: the share of images where Pareto k says that the largest weights are not under
#   control: for these K is too small, whatever the error bars say. Where IWAE and JVI of the
#   largest K agree within ± samples and this share is small, the number can be published.
#
# The lines below the table say the same in words, and what to do about it. In a notebook,
# ``summary`` as the last line shows the same as HTML; ``summary.to_dataframe()`` has the numbers,
# ``summary.write("vae")`` writes JSON and CSV.

rows = {(row["estimate"], row["num_samples"]): row for row in summary.rows}
counts = [8, 64, 512, 2048]

figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
for name, marker in {"elbo": "x", "iwae": "o", "jvi": "s"}.items():
    found = [rows[name, k] for k in counts]
    means, errors = ([row[key] for row in found] for key in ("mean", "sampling_error"))
    axes.errorbar(counts, means, errors, marker=marker, capsize=3, label=name.upper())
axes.set(xscale="log", xlabel="samples K", ylabel="nats per image")
axes.set_title("Estimates of log p(x) ± samples")
axes.set_xticks(counts, counts)
axes.minorticks_off()
axes.grid(alpha=0.3)
axes.legend()
plt.show()

# %%
# Heavy tails, and what to do
# ---------------------------
#
# Pareto k is known for each image: above 0.7 (less for few samples) the estimate hangs on a
# handful of the weights. Which images are these?

pareto_k = summary.per_image["pareto_k"]
worst = np.argsort(pareto_k)[::-1][:12]
print("largest Pareto k:", np.round(pareto_k[worst], 2))

figure, panels = plt.subplots(1, 12, figsize=(8, 1), layout="constrained")
for panel, image in zip(panels, worst, strict=True):
    panel.imshow(np.asarray(x_test[image]).reshape(8, 8), cmap="gray_r")
    panel.set(xticks=[], yticks=[], title=f"{pareto_k[image]:.2f}")
plt.show()

# %%
# 1. *More samples.* Worth it for images with k below 0.7; above, no affordable number is enough.
# 2. *A wider q.* Trained on the ELBO, q(z|x) is mostly narrower than the posterior, and what it
#    misses is rare and heavy. Log-weights are right for any q, so at evaluation q may have another
#    width, as long as z is drawn from it and ``log q`` is of it. Nothing is trained again.
# 3. *A better q*: trained on IWAE (below), or a richer family (:doc:`/flows`).
# 4. *Annealed importance sampling*, where none of this helps (:doc:`/ais`).
#
# The second remedy, with standard deviations 1.2 times as large:

wider = jvi.summary(evaluate(vae, seed=2, widen=1.2))
print(wider)

# %%
# The model is the same, and so is what is estimated: IWAE and JVI agree with the first table. What
# changes is how well it is known: ± samples, ESS, heavy tails. Only the ELBO is lower; it is about
# q.

figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
bins = np.linspace(-0.4, 1.2, 33)
for label, values in {
    "q as trained": pareto_k,
    "1.2 times wider": wider.per_image["pareto_k"],
}.items():
    axes.hist(values, bins, alpha=0.6, label=f"{label}: {np.mean(values > 0.7):.1%} above 0.7")
axes.axvline(0.7, color="black", linewidth=1, linestyle="--")
axes.set(xlabel="Pareto k", ylabel="images", title="Tails of the weights, image by image")
figure.legend(loc="outside lower center", ncols=2)
plt.show()

# %%
# Is another model better?
# ------------------------
#
# Let us train the same network on IWAE: ``jvi.jax.loss`` makes a loss of log-weights and the name
# of an estimator, with its gradient (``jvi.torch.loss`` does in PyTorch;
# :doc:`/other-frameworks`).

import jvi.jax  # noqa: E402

iwae_vae = train(lambda log_w: jvi.jax.loss(log_w, "iwae"), x_train)
log_w_iwae = evaluate(iwae_vae, seed=3)

comparison = jvi.compare({"trained on ELBO": summary, "trained on IWAE": log_w_iwae})
print(comparison)

# %%
# ± images of two models is mostly the same: a difficult image is difficult for both. So they are
# compared image by image, and **± paired** is the standard error of the difference. It is what
# decides, not whether two intervals overlap.
#
# The ELBO prefers the model that was trained on it, by far. That says little of the models:
# training on IWAE makes q wider than the ELBO likes, and the ELBO pays for the q as well as for
# the model. The question was about ``log p(x)``, and there IWAE and JVI have the word:

for row in comparison.rows:
    if row["model"] == "trained on ELBO":
        better = f"better on {row['better']} of {row['num_images']} images"
        print(
            f"{row['estimate']:5}: trained on ELBO less trained on IWAE "
            f"{row['difference']:+.3f} ± {row['paired_error']:.3f} nats, {better}"
        )

figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
bins = np.linspace(-4, 4, 50)
for name in ("elbo", "jvi"):
    axes.hist(comparison.differences[name]["trained on ELBO"], bins, alpha=0.6, label=name.upper())
axes.axvline(0, color="black", linewidth=1)
axes.set(xlabel="trained on ELBO less trained on IWAE, nats", ylabel="images")
axes.set_title("The same two models by two estimates")
axes.legend()
plt.show()

# %%
# How sure is that? The error is of the test images: two such networks, equally good, are more than
# two errors apart in one of 22 comparisons. It is not of training: another seed gives two other
# networks. :doc:`/compare-models` says when not to believe a verdict, and
# :doc:`plot_05_compare_estimators` asks with several seeds.
#
# What next
# ---------
#
# - Log-weights of other libraries, files and ArviZ: :doc:`/log-weights`.
# - What each column is, where it comes from and what to publish: :doc:`/evaluation`.
# - A number that a mode missed by q cannot spoil: annealing from the prior, too (:doc:`/ais`).
# - Better gradients than IWAE's for q, ``dreg`` for one: :doc:`/other-frameworks`,
#   :doc:`/estimators`.
# - Models of this package are compared on one page by ``python scripts/report.py MODEL OTHER``.
