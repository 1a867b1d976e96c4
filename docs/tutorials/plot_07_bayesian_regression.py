"""
Bayesian regression with evidence
=================================

How sure is a regression, and which noise level and which network do the data speak for?

A Bayesian network has a distribution over its weights. Its predictions come with two kinds of
uncertainty, and it has an *evidence*, log p(y|X), all weights integrated out, by which networks
are compared without held-out data. For a linear network the evidence is a formula, so we can see
when its estimates are right, and when they are wrong and do not say so.
"""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import multivariate_normal

import jvi

# %%
# A curve with a gap
# ------------------
#
# Twenty-four points of a sine with noise of 0.3, and none between −1 and 0.
#
# Two networks are fitted to them. The first has no hidden units, and is Bayesian linear
# regression; its features are polynomials in x up to the fifth power, made orthogonal on these
# data. The second has x and ten hidden units.

rng = np.random.default_rng(3)
x = np.concatenate([rng.uniform(-3, -1, 12), rng.uniform(0, 3, 12)])
y = np.sin(1.5 * x) + 0.3 * rng.standard_normal(24)


def powers(x):
    """x, x², … x⁵, scaled to be of one size."""
    return np.stack([(x / 3) ** degree for degree in range(1, 6)], axis=1)


centre = powers(x).mean(axis=0)
mixing = np.linalg.qr(powers(x) - centre)[1]


def orthogonal(x):
    """Polynomials with inner products of 0 over the data."""
    return (powers(x) - centre) @ np.linalg.inv(mixing)


linear = jvi.BayesianMLPRegressor(hidden=(), noise=0.3, epochs=400, learning_rate=0.03)
linear = linear.fit(orthogonal(x), y)
network = jvi.BayesianMLPRegressor(
    hidden=(10,), activation="tanh", noise=0.3, epochs=1200, learning_rate=0.03
)
network = network.fit(x[:, None], y)

# %%
# The deviation of a prediction has two parts, std² = data_std² + weight_std². The first is noise,
# which more data would not take away. The second is what the fit does not know, and should grow
# where nothing was seen.

grid = np.linspace(-4, 4, 161)
bands = {
    "linear, polynomials": linear.predictive(orthogonal(grid)),
    "10 hidden units": network.predictive(grid[:, None]),
}
regions = {"data": (0, 3), "gap": (-1, 0), "beyond": (3, 4)}
for title, found in bands.items():
    cells = [
        f"{name} {found.weight_std[(grid > low) & (grid < high)].mean():.2f}"
        for name, (low, high) in regions.items()
    ]
    print(f"{title:20} noise {found.data_std[0]:.2f}; weights: {', '.join(cells)}")

figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), sharey=True)
for axis, (title, found) in zip(axes, bands.items(), strict=True):
    for width, colour, label in (
        (found.std, "C1", "± 2 deviations: noise and weights"),
        (found.weight_std, "C0", "± 2 deviations: weights alone"),
    ):
        low, high = found.mean - 2 * width, found.mean + 2 * width
        axis.fill_between(grid, low, high, color=colour, alpha=0.3, lw=0, label=label)
    axis.plot(grid, found.mean, color="C0", label="mean")
    axis.plot(grid, np.sin(1.5 * grid), "k:", lw=1, label="the truth, without noise")
    axis.plot(x, y, "k.", label="data")
    axis.set(xlabel="x", title=title, ylim=(-4, 4))
axes[0].set_ylabel("y")
axes[1].legend(ncols=2, fontsize="x-small", loc="upper center")
figure.tight_layout()
plt.show()

# %%
# The left band does what it should. The right one hardly does: q is Gaussian with *independent*
# weights, and where weights can only be told together, as those of a network with hidden units,
# it is far from the posterior (:doc:`/bayesian`). A band like that is a statement about q as much
# as about the data. Can the evidence tell?
#
# A case with a formula
# ---------------------
#
# Bayesian linear regression, y = F w + b + noise with independent w, b ~ N(0, s²), is jointly
# Gaussian:
#
# ``log p(y|F) = log N(y; 0, s² (F Fᵀ + 1 1ᵀ) + σ² I)``.
#
# The network standardises features and targets first, and so must the formula; the density in the
# target's own unit has the factor 1 / scale for each row.


def exact(fitted, features):
    """The evidence of a linear network, in nats."""
    rows = fitted.scaling_.rows(features, y).astype(float)
    inputs, targets = rows[:, :-1], rows[:, -1]
    noise = fitted.noise_ / fitted.scaling_.target_scale
    covariance = fitted.prior_scale**2 * (inputs @ inputs.T + 1) + noise**2 * np.eye(len(y))
    density = multivariate_normal(np.zeros(len(y)), covariance).logpdf(targets)
    return float(density - len(y) * np.log(fitted.scaling_.target_scale))


def of_noise(features, noise):
    """Bayesian linear regression that assumes a noise."""
    options = {"epochs": 400, "learning_rate": 0.03}
    return jvi.BayesianMLPRegressor(hidden=(), noise=noise, **options).fit(features, y)


NOISES = (0.15, 0.2, 0.3, 0.4, 0.6)
estimated, truth = [], []
print("noise      exact  estimated by JVI      ESS  difference")
for noise in NOISES:
    fitted = of_noise(orthogonal(x), noise)
    truth.append(exact(fitted, orthogonal(x)))
    estimated.append(fitted.log_evidence(orthogonal(x), y, method="jvi", num_samples=1000))
    value, error, ess = estimated[-1].value, estimated[-1].error, estimated[-1].ess
    away = value - truth[-1]
    print(f"{noise:5} {truth[-1]:10.3f} {value:9.3f} ± {error:.3f} {ess:8.0f} {away:+11.3f}")

best = NOISES[int(np.argmax([each.value for each in estimated]))]
print(f"the evidence is largest at a noise of {best}; the data were made with 0.3")

# %%
# With orthogonal features the posterior of the weights is independent, as q is. Nearly all draws
# count (the effective sample size, ESS, is close to 1,000), and the estimates are right to a
# hundredth of a nat or so. They share their draws, so that they err to the same side. The
# evidence chooses a noise without a single held-out row: with less than there is the residuals
# are improbable, with more all data are.
#
# The same with correlated features
# ---------------------------------
#
# Plain powers of x span the same polynomials, but they are correlated on these data, and so are
# their weights in the posterior. q cannot be.

fitted = of_noise(powers(x), 0.3)
reference = exact(fitted, powers(x))
found = {
    "JVI, 1,000 draws from q": {"method": "jvi", "num_samples": 1000},
    "JVI, 2,000 draws from q": {"method": "jvi", "num_samples": 2000},
    "annealing from the prior": {"method": "ais", "num_temps": 400},
}
found = {name: fitted.log_evidence(powers(x), y, **options) for name, options in found.items()}

print(f"exact {reference:.3f} nats")
for name, each in found.items():
    away = each.value - reference
    print(f"{name}: {each.value:.3f} ± {each.error:.3f}, ESS {each.ess:.0f}")
    print(f"    off by {away:+.2f} nats, {abs(away) / each.error:.1f} errors")
    print(f"    doubts: {'; '.join(each.doubts) or 'none'}")

# %%
# This is the case to remember. Draws from q cover a small part of the posterior. They agree with
# each other, so the error is small; the weights that would have told otherwise were never drawn.
# Pareto k is estimated from the same draws, and is as blind: here it is close to its limit, above
# it with some draws and below it with others. What gives it away is the small ESS, in only six
# weights, and an estimate from elsewhere: annealing (AIS) starts from the *prior*, which covers
# everything. On average it lies below the truth, as IWAE does, and JVI where its correction falls
# short: of two that disagree by more than their errors the higher one is nearer to the truth. Its
# error is large here, being that of a few chains.

figure, axis = plt.subplots(figsize=(7, 3.8))
axis.plot(NOISES, truth, "k-", label="exact, orthogonal features")
values, errors = [each.value for each in estimated], [2 * each.error for each in estimated]
axis.errorbar(NOISES, values, errors, fmt="o", color="C0", label="JVI")
axis.plot([0.3], [reference], "kD", label="exact, powers")
for (name, each), colour, place in zip(
    found.items(), ("C3", "C1", "C2"), (0.295, 0.305, 0.3), strict=True
):
    axis.errorbar(
        [place], [each.value], [2 * each.error], fmt="s", color=colour, label=f"{name}, powers"
    )
axis.set(xlabel="noise that is assumed", ylabel="evidence ± 2 errors, nats")
axis.grid(alpha=0.3)
axis.legend(fontsize="small")
figure.tight_layout()
plt.show()

# %%
# Which width?
# ------------
#
# With hidden units q is far from the posterior, if only because units can be exchanged: from q
# there is no evidence to be had, and Pareto k says so. So the width is chosen by annealing, and
# with two numbers of temperatures, to see whether they are enough. The evidence depends on the
# prior and the noise, not on q, so that these networks need next to no training.

WIDTHS = (2, 10, 40)
TEMPERATURES = (100, 300)

draws = network.log_evidence(x[:, None], y)
print(
    f"10 units, IWAE from q: {draws.value:.1f} ± {draws.error:.1f}, Pareto k {draws.pareto_k:.1f}"
)
print("units" + "".join(f"{f'{number} temperatures':>20}" for number in TEMPERATURES))
evidence = {}
for width in WIDTHS:
    fitted = jvi.BayesianMLPRegressor(hidden=(width,), activation="tanh", noise=0.3, epochs=1)
    fitted.fit(x[:, None], y)
    evidence[width] = [
        fitted.log_evidence(x[:, None], y, method="ais", num_temps=number)
        for number in TEMPERATURES
    ]
    print(
        f"{width:5}" + "".join(f"{each.value:13.2f} ± {each.error:.2f}" for each in evidence[width])
    )

for narrow, wide in pairwise(WIDTHS):
    one, two = evidence[narrow][-1], evidence[wide][-1]
    gap, error = two.value - one.value, np.hypot(one.error, two.error)
    said = "better" if gap > 2 * error else "worse" if gap < -2 * error else "not told apart"
    print(f"{wide} units less {narrow}: {gap:+.2f} ± {error:.2f} nats: {said}")

# %%
# A network of two units cannot draw this curve. Beyond that, more weights are no fault by
# themselves: the evidence asks how probable the prior makes these data, and does not count
# parameters. Where the two columns differ by more than their errors, annealing has not converged,
# and what is still missing may be as much again. Of the linear model the evidence is
# known from above; it is of the same data and the same noise, and may be compared with these.

print(f"polynomials: {truth[NOISES.index(0.3)]:.2f} nats, exactly")

# %%
# What to do next
# ---------------
#
# - From the shell: ``bayesnet.py train``, ``predict`` and ``evaluate --evidence
#   iwae,jvi,ais,bdmc``; what they compute, and on which data each estimate held:
#   :doc:`/bayesian`.
# - How far annealing is from converged, ``bdmc`` brackets on targets that the network has drawn
#   itself: :doc:`/ais`.
# - Diagnostics by themselves, and what they cannot see: the next tutorial.
#
# Sources: C. Blundell et al., *Weight uncertainty in neural networks*, ICML 2015; R. Neal,
# *Annealed importance sampling*, Statistics and Computing 2001; for the linear case, C. Bishop,
# *Pattern Recognition and Machine Learning*, 2006, section 3.5.
