"""
Discrete latents
================

How is a model with binary latents trained, when nothing flows through a coin?

A sigmoid belief network has Bernoulli units where a VAE has Gaussian ones. There is no gradient
through a draw of 0 or 1, so the encoder learns from the *score* of q alone, which is noisy, and
estimators differ in how they fight the noise. With eight units there are only 256 states: log
p(x) can be summed exactly, and says what every estimate of it is worth.
"""

import matplotlib.pyplot as plt
import numpy as np

import jvi
from jvi.assessment.signal_to_noise import measure
from jvi.datasets import observe_each

# %%
# Six estimators, one network
# ---------------------------
#
# The network is the same, and so are its start, the data and the number of passes. K = 8 draws of
# z are all that an estimator sees of q(z|x).
#
# - REINFORCE weights the score of each draw by the bound. Its mean is the bound's gradient, and its
#   noise is large. A learned *baseline*, what bound to expect of an image, takes some away.
# - VIMCO (Mnih & Rezende 2016) has K − 1 other draws as each draw's baseline. The same mean, less
#   noise.
# - OVIS (Liévin et al. 2020) goes on from there to the optimal baselines; by default, γ = 1, it
#   also pulls q towards the posterior.
# - RWS (Bornschein & Bengio 2015) only pulls: its encoder ascends log q under the posterior.
# - TVO (Masrani et al. 2019) follows a sum along a path from q to the posterior.

ESTIMATORS = {
    "reinforce": "REINFORCE",
    "reinforce:baseline=learned": "REINFORCE, baseline",
    "vimco": "VIMCO",
    "ovis": "OVIS",
    "rws": "RWS",
    "tvo:log10-beta=-3": "TVO",
}
NETWORK = "sbn:units=8"

data = jvi.load_dataset("digits")
models = {
    name: jvi.train(
        NETWORK, data, name, num_samples=8, epochs=20, lr=3e-3, batch_size=50, seed=0, quiet=True
    )
    for name in ESTIMATORS
}

# %%
# The curves are of the IWAE bound on validation images. Most of them are close together: the prior
# and the decoder learn most of what they do whatever the encoder does.

figure, axis = plt.subplots(figsize=(7, 4))
for name, model in models.items():
    curve = [-epoch["validation/main/iwae"] for epoch in model.history]
    axis.plot(range(1, len(curve) + 1), curve, label=ESTIMATORS[name])
axis.set(xlabel="epoch", ylabel="validation IWAE bound, K = 8, nats", ylim=(-31, None))
axis.set_xticks(range(2, 21, 2))
axis.grid(alpha=0.3)
axis.legend(loc="lower right")
figure.tight_layout()
plt.show()

# %%
# The exact evidence
# ------------------
#
# log p(x) = log Σ_z p(z) p(x|z), summed over all 2⁸ states, in plain NumPy. The prior has a logit
# for every unit, the decoder is one affine map to the logits of the pixels.

test = observe_each(data, data.test, seed=0)
states = (np.arange(256)[:, None] >> np.arange(8)) & 1


def log_bernoulli(values, logits):
    """Of binary vectors, the last axis, under logits."""
    return (values * logits - np.logaddexp(0, logits)).sum(axis=-1)


def log_evidence(model, x):
    """Exactly, of every row of x."""
    decoder = model.link.decode[0]
    logits = states @ decoder.W.array.T.astype(float) + decoder.b.array
    log_prior = log_bernoulli(states, model.link.prior.array.astype(float))
    log_px = np.stack([log_bernoulli(x, each) for each in logits])  # (256, N)
    return np.logaddexp.reduce(log_prior[:, None] + log_px, axis=0)


exact = {name: log_evidence(model, test) for name, model in models.items()}
log_w = {
    name: model.log_weights(test, 1024, np.random.default_rng(0)) for name, model in models.items()
}

print("nats per test image, K = 64    log p(x)      ELBO      IWAE     JVI-1   -KL(q‖p)")
for name, label in ESTIMATORS.items():
    truth, first = exact[name].mean(), log_w[name][:64]
    values = [np.mean(bound(first)) for bound in (jvi.elbo, jvi.iwae, jvi.jackknife)]
    elbo = np.mean(jvi.elbo(log_w[name]))
    print(f"{label:27} {truth:11.3f}", *(f"{v:9.3f}" for v in values), f"{elbo - truth:10.3f}")

# %%
# log p(x) is a fact about each model, and needed no encoder. The last column says how far the
# encoder is from the posterior: estimators that pull q towards it keep this small. Where it is
# small, IWAE with 64 samples is all but exact; where it is not, its bias can be seen. The next
# table follows the errors of both estimates with K, for the models with the best and the worst
# encoder.

gap = {name: np.mean(jvi.elbo(log_w[name])) - exact[name].mean() for name in ESTIMATORS}
best, worst = max(gap, key=gap.get), min(gap, key=gap.get)
COUNTS = (8, 32, 128, 1024)

print("error of the mean over images, nats (± what fresh samples would change)")
print(f"{'':27} " + "".join(f"{f'K = {K}':>18}" for K in COUNTS))
errors = {}
for name in (best, worst):
    summary = jvi.summary(log_w[name], ("iwae", "jvi"), samples=COUNTS)
    for row in summary.rows:
        if row["estimate"] in ("iwae", "jvi"):
            away = row["mean"] - exact[name].mean()
            errors[name, row["estimate"], row["num_samples"]] = away, row["sampling_error"]
    for bound in ("iwae", "jvi"):
        cells = [errors[name, bound, K] for K in COUNTS]
        text = "".join(f"{away:+9.4f} ± {error:.4f}" for away, error in cells)
        print(f"{ESTIMATORS[name]:20} {bound:>6}  {text}")

# %%
# IWAE comes from below and JVI, at the same K and from the same draws, takes most of its bias
# away.

# %%
# The noise of a gradient
# -----------------------
#
# Why are some encoders better? All estimators can be measured at the *same* parameters: here
# those of the VIMCO model, on 50 images. REINFORCE and VIMCO have the same mean gradient, so
# their ratios compare the noise alone. OVIS, RWS and TVO go in directions of their own, in which
# there is more signal.

common = models["vimco"].link
noise = {}
for name, label in ESTIMATORS.items():
    if "learned" in name:
        continue  # its baseline is a network of its own, which is not part of the model
    noise[name] = measure(common, test[:50], name, 8, repeats=64)["inference"]
    snr, error, spread = noise[name].snr, noise[name].snr_error, noise[name].variance ** 0.5
    print(f"{label:10} SNR {snr:.3f} ± {error:.3f}, deviation of a gradient's number {spread:.5f}")

ratio = noise["reinforce"].variance / noise["vimco"].variance
print(f"REINFORCE has {ratio:,.0f} times the variance of VIMCO")

# %%
# That is the number of gradients that REINFORCE would have to average for VIMCO's accuracy at
# this point.
#
# .. note::
#
#    One seed, few passes and a tiny network: the order of log p(x) above is no verdict about
#    estimators. :doc:`/comparison` has three seeds and 200 units on MNIST, with intervals.
#
# What to do next
# ---------------
#
# - What each estimator's mean is, exactly and for every K: the table in :doc:`/estimators`.
# - With more than about 20 units no one can enumerate: IWAE and JVI with their errors and
#   diagnostics are what is left (:doc:`/evaluation`). Annealing by Hamiltonian Monte Carlo needs
#   continuous latents.
# - Two or three layers: ``sbn:layers=2,units=50``; from the shell ``train.py --model
#   sbn:layers=2,units=50 --estimator ovis``.
#
# Sources: A. Mnih & D. Rezende, *Variational inference for Monte Carlo objectives*, ICML 2016; J.
# Bornschein & Y. Bengio, *Reweighted wake-sleep*, ICLR 2015; V. Liévin et al., *Optimal variance
# control of the score-function gradient estimator for importance-weighted bounds*, NeurIPS 2020;
# V. Masrani, T. A. Le, F. Wood, *The thermodynamic variational objective*, NeurIPS 2019.
