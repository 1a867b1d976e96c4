"""
Read the diagnostics
====================

When may an estimate of log p(x) be believed, and what is to be done when it may not?

Every estimate comes with an error, and the error comes from the same samples. If these are bad,
so is the error. Below are weights of which the truth is known: good ones, bad ones that say so,
and bad ones that say nothing at all.
"""

import jvi.models  # before Chainer, which it prepares for today's NumPy

# isort: split
import chainer
import chainer.functions as F
import matplotlib.pyplot as plt
import numpy as np

import jvi
from jvi.functions import gaussian_log_density, gaussian_sample, standard_normal_log_density
from jvi.spec import Spec

# %%
# Four encoders
# -------------
#
# Let the posterior be a standard normal distribution in four dimensions, p(x) = 1, and q normal,
# too, with the right mean and a variance of v. The truth is log p(x) = 0, and it is known, too,
# how heavy the tail of the weights w = p(z) / q(z) is. As log w is (1 − v) χ²/2 and a constant,
# with χ² of four degrees of freedom,
#
# - for v < 1 the probability of a weight above t falls like ``t^(−1/k)`` with k = 1 − v, but for
#   a power of log t. Where k ≥ ½ the variance of the weights is infinite;
# - for v > 1 weights are bounded, and k is −½: minus 2 over the number of dimensions.

rng = np.random.default_rng(0)


def log_weights(variance, num_samples, num_points=200):
    """Of draws from N(0, variance I) for N(0, I) in four dimensions: (K, N)."""
    z = variance**0.5 * rng.standard_normal((num_samples, num_points, 4))
    log_q = -0.5 * z**2 / variance - 0.5 * np.log(variance)
    return np.sum(-0.5 * z**2 - log_q, axis=-1)


VARIANCES = {"too wide": 1.5, "slightly narrow": 0.7, "narrow": 0.3, "very narrow": 0.15}
log_w = {name: log_weights(variance, 4000) for name, variance in VARIANCES.items()}

TRUE_K = {name: 1 - variance if variance < 1 else -2 / 4 for name, variance in VARIANCES.items()}

print("q, K = 4000         true k  found k    ESS  heavy   IWAE ± samples   off by errors")
for name, weights in log_w.items():
    found = jvi.summary(weights, ("iwae", "jvi"))
    row, points = found.rows[0], found.per_image
    away = abs(row["mean"]) / row["sampling_error"]
    print(
        f"{name:17} {TRUE_K[name]:8.2f} {points['pareto_k'].mean():8.2f} "
        f"{row['ess']:6.0f} {row['heavy_tails']:6.0%} "
        f"{row['mean']:+9.4f} ± {row['sampling_error']:.4f} {away:10.1f}"
    )

# %%
# Pareto k is the shape of a tail that is fitted to the largest weights (Vehtari et al. 2024). It
# tells the four apart: below 0.7 estimates are right to their errors; above, they are too low by
# several of them.
#
# That both are too *low* is no accident. The expectation of a weight is right, but it hangs on
# weights so rare that most sets of 4,000 samples have none of them. On the left are the weights
# of one data point from the largest down: of the very narrow q's, a few carry nearly everything.
# On the right, in the same colours, what more samples do for the estimates.

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8))
for name, weights in log_w.items():
    share = np.sort(np.exp(weights[:, 0] - np.logaddexp.reduce(weights[:, 0])))[::-1]
    left.loglog(np.arange(1, 4001), share, label=f"{name}, k = {TRUE_K[name]:.2f}")
left.axhline(1 / 4000, color="grey", ls=":", lw=1)
left.set(xlabel="rank of the weight", ylabel="share of the sum, one data point", ylim=(1e-6, 1))
left.legend(fontsize="small")
left.grid(alpha=0.3)

COUNTS = (64, 250, 1000, 4000)
by_samples = {name: jvi.summary(log_w[name], ("iwae", "jvi"), samples=COUNTS) for name in VARIANCES}
for i, name in enumerate(VARIANCES):
    for bound, style in (("iwae", "o-"), ("jvi", "s--")):
        rows = [row for row in by_samples[name].rows if row["estimate"] == bound]
        means, errors = ([row[key] for row in rows] for key in ("mean", "sampling_error"))
        right.errorbar(COUNTS, means, 2 * np.array(errors), fmt=style, ms=4, color=f"C{i}")
right.axhline(0, color="grey", ls=":", lw=1)
right.set(xscale="log", xlabel="samples K", ylabel="log p(x) ± 2 errors, nats; the truth is 0")
right.plot([], [], "ko-", ms=4, label="IWAE")
right.plot([], [], "ks--", ms=4, label="JVI")
right.legend(fontsize="small")
right.grid(alpha=0.3)
figure.tight_layout()
plt.show()

# %%
# What a summary says
# -------------------
#
# Of the slightly narrow q, with few samples and with many:

print(jvi.summary(log_w["slightly narrow"], samples=(64, 4000)))

# %%
# With 64 samples many data points have a k above the limit, which is lower for few samples, and
# its note says why that is no alarm: a tail of a dozen weights is not known well. With 4,000 all
# is quiet. Look at k from at least 500 samples.
#
# Of the very narrow one:

print(jvi.summary(log_w["very narrow"], samples=(64, 4000)))

# %%
# Three doubts are counted, and they are about different things:
#
# - *Pareto k* above its limit: K is too small for these weights; above 0.7 every affordable K is.
# - *effective sample size* below 2: the estimate is one sample's.
# - *a correction above the standard error*: JVI − IWAE is the bias that the jackknife found, and
#   is supposed to be a small correction. Where it is larger than the Monte-Carlo error, the
#   expansion in 1/K that it rests on does not hold at this K.
#
# JVI is nearer to the truth than IWAE all the same, but do not take it for the truth. A
# correction that stays as K grows means that both are still moving.
#
# What helps
# ----------
#
# More samples? A better q? For the same data points:

for name, count in (("very narrow", 64), ("very narrow", 4000), ("slightly narrow", 64)):
    rows = by_samples[name].rows
    off = next(r["mean"] for r in rows if (r["estimate"], r["num_samples"]) == ("iwae", count))
    print(f"IWAE, {name} q, {count:5} samples: off by {off:+.4f} nats")

# %%
# A better encoder is worth more than many samples: train longer, train with an estimator that has
# signal for the encoder (:doc:`plot_05_compare_estimators`), or give q a flow (:doc:`/flows`).
# And rather too wide than too narrow. The ELBO punishes mass of q where the posterior has none,
# and so makes it narrow; ``rws`` punishes mass of the posterior where q has none.
#
# Where the model is as it is, there is annealed importance sampling (AIS): chains that start at
# draws from q and move to the posterior (:doc:`/ais`). Here is a model to try it on: x is z plus
# noise, or, as likely as not, −z plus noise. q knows only of the mode at z = x, and has ``width``
# times its deviation.

NOISE = 0.3
SCALE = NOISE / (1 + NOISE**2) ** 0.5  # deviation of each mode of p(z|x), at ± x / (1 + NOISE²)


class Signs(chainer.Chain):
    """z ~ N(0, 1); x = z + noise, or one of z and −z with noise; q sits at the first."""

    spec, reparameterised, num_latent = Spec("signs", {}), True, 1
    num_points = staticmethod(len)

    def __init__(self, width, signs):
        super().__init__()
        self.width, self.signs = width, signs
        with self.init_scope():
            self.unused = chainer.Parameter(np.zeros(1, np.float32))

    def check(self, x):
        return x.astype(np.float32)

    def infer(self, x):
        mean = x / (1 + NOISE**2)
        ln_var = np.full_like(mean, 2 * np.log(self.width * SCALE))
        return chainer.as_variable(mean), chainer.as_variable(ln_var)

    def draw(self, q, source, num_samples):
        z = gaussian_sample(*q, source.normal((num_samples, *q[0].shape)))
        return z, gaussian_log_density(z, *q)

    def log_q(self, q, z):
        return gaussian_log_density(z, *q)

    def draw_prior(self, source, num_samples, num_points):
        return source.normal((num_samples, num_points, 1))

    def log_joint(self, x, z):
        fits = [-0.5 * F.sum((x - sign * z) ** 2, axis=-1) / NOISE**2 for sign in self.signs]
        scale = len(self.signs) * NOISE * (2 * np.pi) ** 0.5
        return F.logsumexp(F.stack(fits), axis=0) - np.log(scale), standard_normal_log_density(z)


x = np.linspace(2, 3, 40)[:, None]
exact = -0.5 * x[:, 0] ** 2 / (1 + NOISE**2) - 0.5 * np.log(2 * np.pi * (1 + NOISE**2))
models = {
    "one mode, q narrow": jvi.Model(Signs(0.4, (1,))),
    "two modes, q on one": jvi.Model(Signs(1.3, (1, -1))),
}

figure, axes = plt.subplots(1, 2, figsize=(9, 2.8), sharey=True)
z = np.linspace(-4, 4, 801)
for axis, (title, model) in zip(axes, models.items(), strict=True):
    centre, width = 2.5 / (1 + NOISE**2), model.link.width * SCALE
    modes = [np.exp(-0.5 * ((z - sign * centre) / SCALE) ** 2) for sign in model.link.signs]
    axis.plot(z, sum(modes) / (len(modes) * SCALE * (2 * np.pi) ** 0.5), label="p(z|x), x = 2.5")
    axis.plot(
        z,
        np.exp(-0.5 * ((z - centre) / width) ** 2) / (width * (2 * np.pi) ** 0.5),
        "--",
        label="q(z|x)",
    )
    axis.set(title=title, xlabel="z")
    axis.legend(fontsize="small")
figure.tight_layout()
plt.show()

# %%
# Few temperatures and a step size that is given are enough here, and take seconds; the defaults
# are made for networks.

ANNEALING = {"num_chains": 32, "num_temps": 100, "num_steps": 5, "step_size": 0.2}

for title, model in models.items():
    by = {
        "IWAE from q": model.log_weights(x, 2000, np.random.default_rng(0)),
        "AIS from q": jvi.ais.ais(model, x, **ANNEALING).log_w,
        "AIS from the prior": jvi.ais.ais(model, x, prior=True, **ANNEALING).log_w,
    }
    print(title)
    found = {name: jvi.summary(weights, ("iwae",)) for name, weights in by.items()}
    row = {name: each.rows[0] for name, each in found.items()}
    for name, each in row.items():
        k = np.median(found[name].per_image["pareto_k"])
        print(
            f"  {name:19} off by {each['mean'] - exact.mean():+.3f} ± {each['sampling_error']:.3f} "
            f"nats, K = {each['num_samples']:4}, ESS {each['ess']:6.1f}, median k {k:+.2f}"
        )
    one, two = row["AIS from q"], row["AIS from the prior"]
    gap = one["mean"] - two["mean"]
    error = np.hypot(one["sampling_error"], two["sampling_error"])
    said = "they disagree" if abs(gap) > 3 * error else "no sign of a missed mode"
    print(f"  from q less from the prior: {gap:+.3f} ± {error:.3f} nats: {said}")

# %%
# Of the narrow q everything works as it should: k is high, IWAE is too low by many errors, and a
# few annealed chains from q are right.
#
# When the error itself lies
# --------------------------
#
# The other model is the dangerous one. Half of the posterior's mass is where q never goes, so
# that estimates are log 2 = 0.69 nats too low. Yet nearly all samples count, k is low, IWAE, JVI
# and annealing from q agree, and ± samples is a few thousandths of a nat. All of these are made
# from the same kind of draws, and nothing that is computed from draws knows of a place where none
# has been. Only chains that start elsewhere, at the prior, find the second mode and disagree.
#
# What to do, in this order
# -------------------------
#
# 1. Read *heavy tails* (Pareto k) at 500 samples or more, and ESS. If they are fine, ± samples is
#    right *for what q covers*.
# 2. If JVI − IWAE is larger than ± samples, K is too small for IWAE: take more samples while k is
#    below its limit, and quote JVI beside IWAE.
# 3. If k is above 0.7 for more than a few per cent of the images: no more samples, but a better
#    or wider q, or annealing.
# 4. Before a number is published: annealing from both starts, on a few images at least,
#    ``evaluate.py -E iwae,ais --ais-start both --images 100 PREFIX``. Where they agree, quote the
#    one of the smaller error. Where they do not, the higher one is nearer to the truth: q misses
#    something, or one start has not converged.
#
# The columns and notes, one by one: :doc:`/evaluation`. Annealing, its options and what brackets
# it: :doc:`/ais`. Which intervals cover the truth, measured: the end of :doc:`/evaluation`.
#
# Sources: A. Vehtari, D. Simpson, A. Gelman, Y. Yao, J. Gabry, *Pareto smoothed importance
# sampling*, JMLR 2024; S. Nowozin, *Debiasing evidence approximations*, ICLR 2018; R. Neal,
# *Annealed importance sampling*, Statistics and Computing 2001.
