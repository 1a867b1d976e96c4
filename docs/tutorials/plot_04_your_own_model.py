"""
Write your own model
====================

Can a model that this package has never heard of be trained and evaluated with it, and are the
answers right? We write down a factor analysis, train it on medical data, and compare ELBO, IWAE and
JVI with the exact evidence, which is known in closed form for this model.
"""

# %%
# The model
# ---------
#
# A few hidden factors z explain D correlated measurements x:
#
#     ``z ~ N(0, I)`` and ``x | z ~ N(A z + b, diag(s²))``.
#
# A model is a Chainer link with a few methods and nothing to inherit from
# (:doc:`/your-own-model`): ``infer`` has the parameters of q(z|x), ``draw`` samples from it, and
# ``log_joint`` tells ``log p(x|z)`` and ``log p(z)`` of K samples for each of N data points. Here
# q is a Gaussian whose mean is linear in x. Its covariance is diagonal, that of the true posterior
# is not: so there is a gap for the bounds to show.
#
# ``log_evidence`` is the luxury of this model: x is Gaussian, too, with covariance ``A Aᵀ +
# diag(s²)``. Few models have that method, and nothing but a check needs it.

import jvi.models  # before Chainer, which it prepares for today's NumPy

# isort: split
import chainer
import chainer.functions as F
import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import multivariate_normal
from sklearn.datasets import load_diabetes
from sklearn.decomposition import FactorAnalysis

import jvi
from jvi.functions import gaussian_log_density, gaussian_sample, standard_normal_log_density
from jvi.models.layers import Affine


class Factors(chainer.Chain):
    """z ~ N(0, I), x | z ~ N(A z + b, diag(s²)), q(z|x) Gaussian with a diagonal covariance."""

    reparameterised = True

    def __init__(self, num_measurements, num_factors, rng):
        super().__init__()
        self.spec = jvi.models.Spec("factors", {"d": num_measurements, "z": num_factors})
        with self.init_scope():
            self.encode = Affine(num_measurements, num_factors, rng)
            self.decode = Affine(num_factors, num_measurements, rng)
            self.ln_var_z = chainer.Parameter(np.zeros(num_factors, np.float32))
            self.ln_var_x = chainer.Parameter(np.zeros(num_measurements, np.float32))

    num_points = staticmethod(len)

    def check(self, x):
        return x.astype(np.float32)

    def infer(self, x):
        mean = self.encode(x)
        return mean, F.broadcast_to(self.ln_var_z, mean.shape)

    def draw(self, q, source, num_samples):
        z = gaussian_sample(*q, source.normal((num_samples, *q[0].shape)))
        return z, self.log_q(q, z)

    def log_q(self, q, z):
        return gaussian_log_density(z, *q)

    def log_joint(self, x, z):
        mean = self.decode(z)
        x, ln_var = F.broadcast_to(x, mean.shape), F.broadcast_to(self.ln_var_x, mean.shape)
        log_px = -0.5 * F.sum(ln_var + (x - mean) ** 2 / F.exp(ln_var), axis=-1)
        return log_px - x.shape[-1] * 0.91893853, standard_normal_log_density(z)

    def log_evidence(self, x):
        a, noise = self.decode.W.array.astype(float), np.exp(self.ln_var_x.array.astype(float))
        return multivariate_normal(self.decode.b.array, a @ a.T + np.diag(noise)).logpdf(x)


# %%
# Train
# -----
#
# The data are ten measurements of 442 diabetes patients (age, sex, body mass, blood pressure, six
# blood values), each scaled to variance 1. ``jvi.train`` takes the link as it takes a model of its
# own. Because there is a method ``log_q``, the estimator ``dreg`` can be used, IWAE's doubly
# reparameterised gradient (:doc:`/estimators`).

x = load_diabetes().data
data = jvi.dataset(x / x.std(axis=0), name="diabetes")
model = jvi.train(
    Factors(10, 3, np.random.default_rng(0)),
    data,
    "dreg",
    num_samples=8,
    batch_size=50,
    schedule="decay:hold=60,epochs=150,lr=0.02,last=0.02",
    seed=0,
    quiet=True,
)
print(data)
print(model)

# %%
# Factor analysis can also be fitted by maximum likelihood, which scikit-learn does. That is the
# best that training can reach on the training rows. Ours stops a little short of it: the model
# returned is that of the epoch which is best on the validation rows.

fitted = FactorAnalysis(3).fit(data.train)
for part in ("train", "test"):
    rows = getattr(data, part)
    ours, theirs = model.link.log_evidence(rows), fitted.score_samples(rows)
    error = (ours - theirs).std(ddof=1) / np.sqrt(len(rows))
    print(
        f"{part:5} here {ours.mean():.3f}, maximum likelihood {theirs.mean():.3f} nats, "
        f"difference {(ours - theirs).mean():+.3f} ± {error:.3f}"
    )

# %%
# Evaluate
# --------
#
# Now we forget that the evidence is known, and estimate it from samples of q(z|x). The estimates
# are good if they are right for whatever rows; we take all of the training rows, because there are
# more of them.

x = data.train
evaluation = jvi.evaluate(model, x, 4096, keep=True)
print(jvi.summary(evaluation.log_w, samples=[4, 4096]))

exact = model.link.log_evidence(x)
print(f"exact: {exact.mean():.4f} nats")

# %%
# The last of the rows of IWAE and JVI should be the exact number, within two ± samples. (± images
# says how well the mean over *all* patients is known from these; both are of the same ones.)
#
# Patient by patient they agree as well:

figure, panels = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained")
few = jvi.evaluate(model, x, 4, ["elbo", "jvi"])
values = {
    "ELBO, K = 4": few.per_image["elbo"],
    "JVI, K = 4": few.per_image["jvi"],
    "JVI, K = 4096": evaluation.per_image["jvi"],
}
for (label, value), marker in zip(values.items(), "xo.", strict=True):
    panels[0].plot(exact, value, marker, label=label, alpha=0.6)
    panels[1].plot(exact, value - exact, marker, label=label, alpha=0.6)
panels[0].axline((-10, -10), slope=1, color="grey", linewidth=1)
panels[0].set(xlabel="exact log p(x)", ylabel="estimate", title="Each patient, nats")
panels[1].set(xlabel="exact log p(x)", ylabel="estimate \N{MINUS SIGN} exact", title="Errors, nats")
panels[1].legend()
for panel in panels:
    panel.grid(alpha=0.3)
plt.show()

# %%
# What is left on average: the bias
# ---------------------------------
#
# Errors of single patients average out, a bias does not. This q is so near to the posterior that
# there is hardly any to see. So we make it worse, with standard deviations 1.6 times as large,
# which changes nothing about the model: the estimates have to arrive at the same numbers.
#
# We draw 8,192 samples, cut them into sets of K, estimate from each, and average the difference
# from the exact evidence over sets and patients.
#
# Since the evidence is known, the noise can be reduced by a trick: with ``r = w / p(x)``, the mean
# of r − 1 has the expectation 0, whatever K is, and IWAE and JVI fluctuate with it. Subtracting it
# changes no expectation and leaves much smaller errors.

model.link.ln_var_z.array += 2 * np.log(1.6)
log_r = jvi.evaluate(model, x, 8192, keep=True).log_w - exact
sample_counts = np.array([4, 8, 16, 32, 64])
estimates = {
    "ELBO": jvi.elbo,
    "IWAE": jvi.iwae,
    "JVI-1": lambda log_r: jvi.jackknife(log_r, 1),
    "JVI-2": lambda log_r: jvi.jackknife(log_r, 2),
}


def bias(name, num_samples):
    """Mean over sets of K samples and over patients of estimate − exact; and its error."""
    sets = np.split(log_r, len(log_r) // num_samples)
    fluctuation = 0 if name == "ELBO" else np.array([np.expm1(each).mean() for each in sets])
    values = np.array([estimates[name](each).mean() for each in sets]) - fluctuation
    return values.mean(), values.std(ddof=1) / np.sqrt(len(sets))


biases = {name: np.array([bias(name, k) for k in sample_counts]).T for name in estimates}

print("bias, nats  " + "".join(f"K = {k:<18}" for k in sample_counts))
for name, (values, errors) in biases.items():
    cells = (f"{v:+.5f} ± {e:.5f}    " for v, e in zip(values, errors, strict=True))
    print(f"{name:11}", "".join(cells))

# %%
# Where the sign is plus by more than the error, JVI *exceeds* ``log p(x)``: it is an estimate, not
# a bound, and should be published as such.
#
# In theory IWAE is off by O(1/K) and the jackknife of order m by O(1/K^(m+1)) (Nowozin, ICLR
# 2018): straight lines on logarithmic axes. They are drawn through the first point of each. Points
# less than three errors from zero are left out.

# sphinx_gallery_thumbnail_number = 2

figure, axes = plt.subplots(figsize=(6.8, 4), layout="constrained")
theory = ["constant", "1/K", "1/K²", "1/K³"]
for order, (name, (values, errors)) in enumerate(biases.items()):
    seen = np.abs(values) > 3 * errors
    k, size = sample_counts[seen], np.abs(values[seen])
    points = axes.errorbar(
        k, size, errors[seen], fmt="xosD"[order], capsize=3, label=f"{name}, {theory[order]}"
    )
    line = size[0] * (sample_counts / k[0]) ** -float(order)
    axes.plot(sample_counts, line, color=points[0].get_color(), lw=0.8)
axes.set(xscale="log", yscale="log", ylim=(5e-5, None))
axes.set(xlabel="samples K", ylabel="|bias|, nats", title="Bias against the exact evidence")
axes.set_xticks(sample_counts, sample_counts)
axes.minorticks_off()
axes.grid(alpha=0.3)
figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper")
plt.show()

# %%
# The order of a bias is that of its first term. At few samples the next ones count, too, and then
# the points of the jackknife fall faster than their line.
#
# What next
# ---------
#
# - All methods that a model may have, and what each is good for: :doc:`/your-own-model`.
# - ``jvi.train(…, output="factors")`` keeps the model; ``jvi.load("factors", link=Factors(10, 3,
#   rng))`` reads it again.
# - Not on Chainer? The estimators work on log-weights of PyTorch and JAX: :doc:`/other-frameworks`
#   and :doc:`plot_02_how_good_is_my_vae`.
# - Why the jackknife of order m has this bias: :doc:`/jackknife`.
