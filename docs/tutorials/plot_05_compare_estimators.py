"""
Compare estimators and their signal
===================================

Which gradient estimator should a model be trained with?

Measure it instead of arguing: first how much of each estimator's gradient is signal and how much
is noise, on a toy problem where theory says what must come out; then by training, on equal terms
and with paired differences, so that a small advantage can be told from luck.
"""

import matplotlib.pyplot as plt
import numpy as np

import jvi
from jvi.assessment.signal_to_noise import measure
from jvi.datasets import observe_each
from jvi.models.gaussian_toy import GaussianToy, near_optimum
from jvi.scripts.gradient_snr import slope

# %%
# A problem with a known answer
# -----------------------------
#
# Rainforth et al. (2018) take z ~ N(μ, I), x | z ~ N(z, I) and q(z|x) = N(A x + b, ⅔ I), and set
# all parameters close to their optimum. There they show that a tighter bound can have a worse
# gradient: with K samples the signal-to-noise ratio (SNR) of
#
# - the model's gradient (here that of μ) grows like K^½,
# - the gradient of the inference network (A and b) *falls* like K^−½, if it is IWAE's.
#
# DReG (Tucker et al. 2019) and STL (Roeder et al. 2017) estimate the encoder's gradient along
# another path, and theirs grows like K^½. All of this is for large K. We take five dimensions,
# 128 data points, and move every parameter by noise of deviation 0.05.

rng = np.random.default_rng(1)
x = (rng.standard_normal(5) + 2**0.5 * rng.standard_normal((128, 5))).astype(np.float32)
toy = GaussianToy(5, rng)
near_optimum(toy, x, rng, scale=0.05)

ESTIMATORS = ("iwae", "dreg", "stl", "jvi")
SAMPLES = (2, 8, 32, 128)
GROUPS = {"inference": "encoder", "model": "model"}

found = {
    name: [measure(toy, x, name, K, repeats=64, seed=K) for K in SAMPLES] for name in ESTIMATORS
}

# %%
# `measure` draws 64 estimates of the gradient at each K and returns, for the parameters of the
# model and for those of the inference network, ratios with their standard errors. A ratio within
# two errors of zero is no signal; a slope is fitted to what is left from K = 8 on.


def of(name, group, field):
    """A number of every K, for one estimator and group of parameters."""
    return np.array([getattr(noise[group], field) for noise in found[name]])


def verdict(fitted, error, expected):
    """What a fitted slope says of an expected one."""
    if np.isnan(fitted):
        return "no signal"
    away = abs(fitted - expected) / error
    said = "agrees" if away < 2 else "right sign" if fitted * expected > 0 else "does not agree"
    return f"{fitted:+.3f} ± {error:.3f}, expected {expected:+.1f}: {said} ({away:.1f} errors away)"


EXPECTED = {"iwae": -0.5, "dreg": 0.5, "stl": 0.5, "jvi": np.nan}

for group, title in GROUPS.items():
    print(f"SNR of the {title}'s gradient at K = {SAMPLES}")
    for name in ESTIMATORS:
        snr, error = of(name, group, "snr"), of(name, group, "snr_error")
        cells = "  ".join(f"{a:6.2f} ± {b:.2f}" for a, b in zip(snr, error, strict=True))
        expected = EXPECTED[name] if group == "inference" else 0.5
        said = verdict(*slope(SAMPLES[1:], snr[1:], error[1:]), expected)
        print(f"  {name:5} {cells}\n        slope {said}")

# %%
# IWAE's encoder loses signal as K grows, and those of DReG and STL gain it, about as theory says.
# A slope that has the right sign and is off by more than two errors has most likely not reached its
# limit at these K. How do they do it? Numbers of the encoder's gradient at K = 32:

for name in ESTIMATORS:
    magnitude, error, variance = (
        of(name, "inference", field)[2] for field in ("magnitude", "magnitude_error", "variance")
    )
    print(f"{name:5} mean {magnitude:.5f} ± {error:.5f}, standard deviation {variance**0.5:.5f}")

# %%
# DReG has IWAE's mean and less noise. STL has more signal, too: its mean is not the bound's
# gradient, but has a pull of q towards the posterior beside it.
#
# JVI's encoder has no signal that could be told from zero. That is no accident: log p(x) does not
# depend on the encoder, so that the better an estimate of log p(x), the less it has to say to the
# encoder. JVI is for evaluating, and for the model's parameters; the estimator ``jvi-clip``
# trains these with it and gives the encoder DReG's direction (:doc:`/training`).

LABELS = {("model", "iwae"): "iwae, dreg, stl", ("inference", "jvi"): "jvi: no signal"}
GUIDES = {"inference": ((0.5, 1.5), (-0.5, 0.25)), "model": ((0.5, 0.7),)}  # slope, value at K = 8

figure, axes = plt.subplots(1, 2, figsize=(9, 4), sharex=True)
for panel, (group, title) in zip(axes, GROUPS.items(), strict=True):
    for i, name in enumerate(ESTIMATORS):
        if group == "model" and name in ("dreg", "stl"):
            continue  # the same as IWAE's, number for number
        snr, error = of(name, group, "snr"), of(name, group, "snr_error")
        K, label = np.where(snr > 2 * error, SAMPLES, np.nan), LABELS.get((group, name), name)
        panel.errorbar(K, snr, 2 * error, fmt="o-", ms=4, color=f"C{i}", label=label)
    for power, level in GUIDES[group]:
        panel.plot([8, 128], [level, level * 16**power], ":", color="grey")
        side = "bottom" if power > 0 else "top"
        panel.text(128, level * 16**power, f"{power:+.1f}", color="grey", ha="right", va=side)
    panel.set(xscale="log", yscale="log", xlabel="samples K", title=f"gradient of the {title}")
    panel.set_xticks(SAMPLES, map(str, SAMPLES))
    panel.set_ylim(0.03 if group == "inference" else 0.2, None)
    ticks = (0.1, 1, 10, 50) if group == "inference" else (0.5, 1, 2, 5)
    panel.set_yticks(ticks, map(str, ticks))
    panel.minorticks_off()
    panel.grid(alpha=0.3)
    panel.legend(loc="lower left" if group == "inference" else "upper left", fontsize="small")
axes[0].set_ylabel("signal-to-noise ratio ± 2 errors")
figure.tight_layout()
plt.show()

# %%
# On a network
# ------------
#
# Less noise is worth something only if models become better by it. So we train a small network on
# scikit-learn's digits with three estimators, each with the same three seeds. A seed sets the
# initial parameters, the order of the images and all noise: in the difference between two
# estimators with one seed much of these cancels.

data = jvi.load_dataset("digits")
test = observe_each(data, data.test, seed=0)  # grey values made binary pixels, once for all models
SEEDS = (0, 1, 2)

results = {}
for name in ("iwae", "dreg", "jvi-clip"):
    for seed in SEEDS:
        model = jvi.train(
            "mlp:hidden=32,latent=8", data, name, num_samples=16, epochs=6, lr=3e-3,
            batch_size=50, seed=seed, quiet=True,
        )  # fmt: skip
        results[name, seed] = jvi.evaluate(model, test, 256, keep=True)

# %%
# Each model's mean has an error from the choice of the test images, ± images: too large to tell
# the models apart. But all were evaluated on the *same* images, and what is hard for one is hard
# for the others. `jvi.compare` takes differences image by image, whose errors are far smaller.

of_seed = {name: results[name, 0] for name in ("iwae", "dreg", "jvi-clip")}
comparison = jvi.compare(of_seed, bounds=("iwae", "jvi"), reference="iwae")
print(comparison)

# %%
# That is about *these trained models*. Whether the estimator is better is a question about seeds,
# too: another seed gives other models. Three seeds give three paired differences, and an interval
# by Student's t from three numbers is ± 4.3 / √3 of their standard deviations. Where the table
# above says "better" and the lines below "not told apart", both are right. Each interval misses in
# 5% of all cases, one of two in up to 10%: the more estimators, the more of them win by luck.

print("IWAE estimate of log p(x), nats per image, seeds 0, 1, 2")
means = {}
for name in ("iwae", "dreg", "jvi-clip"):
    means[name] = np.array([results[name, seed].mean["iwae"] for seed in SEEDS])
    print(f"  {name:9}", "  ".join(f"{mean:8.3f}" for mean in means[name]))
for name in ("dreg", "jvi-clip"):
    gap = means[name] - means["iwae"]
    width = 4.303 * gap.std(ddof=1) / len(SEEDS) ** 0.5
    said = "better" if gap.mean() > width else "worse" if gap.mean() < -width else "not told apart"
    print(f"  {name} - iwae: {gap.mean():+.3f} ± {width:.3f} (95% interval): {said}")

# %%
# What to do next
# ---------------
#
# - The same measurement of a model of your own, from the shell, is ``gradient_snr.py PREFIX``;
#   all of Rainforth's figure, and what each ratio means: :doc:`/signal-to-noise`.
# - ``compare_estimators.py`` trains all estimators on equal terms, with seeds, errors and plots;
#   what came out on MNIST is on :doc:`/comparison`.
# - What each estimator is unbiased for: :doc:`/estimators`.
# - Six passes are the beginning of training. An estimator that is ahead here need not be at the
#   end: measure at the length that you train for.
#
# Sources: T. Rainforth et al., *Tighter variational bounds are not necessarily better*, ICML
# 2018; G. Tucker et al., *Doubly reparameterized gradient estimators for Monte Carlo objectives*,
# ICLR 2019; G. Roeder, Y. Wu, D. Duvenaud, *Sticking the landing*, NeurIPS 2017.
