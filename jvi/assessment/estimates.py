"""Estimates of log p(x) by name: of log-weights, for each data point and on average.

No Chainer here: log-weights may come from anywhere.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from jvi.evidence.bounds import effective_sample_size
from jvi.evidence.diagnostics import jackknife_error, pareto_k, trust
from jvi.evidence.jackknife import jackknife
from jvi.evidence.quantities import BOUNDS, Bound, Terms, bound
from jvi.evidence.unit import NATS, Unit

__all__ = [
    "EXACT",
    "FLAGS",
    "STARTS",
    "Evaluation",
    "check_bounds",
    "in_blocks",
    "joined",
    "num_groups",
    "possible",
    "sampling_error",
    "standard_error",
    "summarise",
]

# Estimates by annealing, and whether their chains start from the prior.
STARTS = {"ais": False, "ais-prior": True}

EXACT = "exact"  # log p(x) itself, as an estimate

# Groups of samples for the sampling error. Averaged over images, it is as exact as from more; the
# jackknife of orders above 2 is an integral and takes 20 times as long.
GROUPS = {"quick": 8, "slow": 4}

# Of `jvi.diagnostics.Trust`: why the jackknife's value of an image may be wrong.
FLAGS = ("heavy_tail", "few_samples", "large_correction")


class Evaluation(NamedTuple):
    """Estimates of log p(x), all numbers in nats, from the same samples.

    Attributes
    ----------
    mean : dict of str to float
        By bound, averaged over data points.
    standard_error : dict of str to float
        Of that mean, from the spread over data points (nan for a single one).
    per_image : dict of str to array, shape (N,), float64
        By bound; under "ess" the effective sample size. With a jackknife among the bounds also
        "pareto_k" and the flags of `jvi.diagnostics.Trust`, for the highest order. In detail also
        the Monte-Carlo standard errors "BOUND_error", and for the largest number of samples that
        of the difference between the ELBO and IWAE, "vae-iwae_error" or "elbo-iwae_error".
    num_samples : int
    sampling_error : dict of str to float
        By bound, in detail: Monte-Carlo standard error of the mean, √Σ_n error_n² / N; nan where
        there are too few samples to tell.
    log_w : array, shape (K, N), float64, or None
        The log-weights, where they were asked for.
    unit : jvi.datasets.Unit
        Of the data, in which `repr` and `in_unit` tell the means, too.

    Examples
    --------
    >>> import numpy as np
    >>> import jvi
    >>> found = jvi.summary(np.log([[1.0, 2.0], [3.0, 2.0]]), bounds=("elbo", "iwae"))
    >>> found.evaluations[0]
    <evaluation of 2 data points, K = 2, ESS 1.8>
      elbo      0.6212 ± 0.0719 nats
      iwae      0.6931 ± 0.0000 nats
    """

    mean: dict[str, float]
    standard_error: dict[str, float]
    per_image: dict[str, np.ndarray]
    num_samples: int
    sampling_error: dict[str, float]
    log_w: np.ndarray | None = None
    unit: Unit = NATS

    def __repr__(self) -> str:
        count, ess = len(self.per_image["ess"]), self.per_image["ess"].mean()
        lines = [f"<evaluation of {count:,} data points, K = {self.num_samples:,}, ESS {ess:.1f}>"]
        width = max(map(len, self.mean), default=0)
        for name, mean in self.mean.items():
            lines.append(f"{name:{width}} {mean:11.4f} ± {self.standard_error[name]:.4f} nats")
            if self.unit != NATS:
                value, error = self.in_unit[name]
                lines[-1] += f", {value:.4f} ± {error:.4f} {self.unit.name}"
        if self.doubts:
            lines.append(f"{self.doubts['doubtful']:,} jackknife values are not to be trusted")
        return "\n  ".join(lines)

    @property
    def in_unit(self) -> dict[str, tuple[float, float]]:
        """(mean, standard error) by bound, in `unit`.

        Examples
        --------
        >>> import numpy as np
        >>> import jvi
        >>> found = jvi.summary(np.log([[1.0, 2.0], [3.0, 2.0]]), bounds=("elbo", "iwae"))
        >>> mean, error = found.evaluations[0].in_unit["iwae"]
        >>> round(mean, 4), round(error, 4)
        (0.6931, 0.0)
        """
        errors = self.standard_error
        return {
            name: (self.unit.value(mean), self.unit.error(errors[name]))
            for name, mean in self.mean.items()
        }

    @property
    def doubts(self) -> dict[str, int]:
        """How many images the jackknife's value is not to be trusted of, by reason; or {}.

        Examples
        --------
        >>> import numpy as np
        >>> import jvi
        >>> found = jvi.summary(np.log([[1.0, 2.0], [3.0, 2.0]]))
        >>> found.evaluations[0].doubts
        {'heavy_tail': 0, 'few_samples': 1, 'large_correction': 0, 'doubtful': 1}
        """
        if FLAGS[0] not in self.per_image:
            return {}
        flags = [self.per_image[name] for name in FLAGS]
        counts = {name: int(flag.sum()) for name, flag in zip(FLAGS, flags, strict=True)}
        return counts | {"doubtful": int(np.logical_or.reduce(flags).sum())}


def check_bounds(
    sample_counts: Sequence[int], bounds: Iterable[str], order: int, others: Sequence[str] = ()
) -> None:
    """Raise ValueError, in one line, for numbers or bounds that no log-weights can meet.

    `others` are names that may occur in `bounds` but are not estimated from log-weights here.
    """
    if not sample_counts:
        raise ValueError("give at least one number of samples")
    if min(sample_counts) < 1:
        raise ValueError(f"the number of samples must be at least 1, not {min(sample_counts)}")
    most = max(sample_counts)
    for name in bounds:
        found = None if name in others else bound(name, order, tuple(others)).order
        if found is not None and not 0 <= found < most:
            raise ValueError(f"jackknife order {found} needs more than {found} samples, not {most}")


def possible(bounds: Iterable[str], order: int, num_samples: int) -> list[str]:
    """The bounds that so many samples are enough for."""
    return [name for name in bounds if (bound(name, order).order or 0) < num_samples]


def in_blocks(
    terms: Terms, sample_counts: Sequence[int], bounds: Iterable[str], order: int, detail: bool
) -> list[dict[str, np.ndarray]]:
    """What `Evaluation.per_image` says for each number of samples, of a block of data points.

    Parameters
    ----------
    terms : Terms
        Of the largest number; smaller ones use the first of them.
    sample_counts : list of int
    bounds : list of str
        Those that are possible are found.
    order : int
        Of "jvi".
    detail : bool
        Also Monte-Carlo standard errors, and Pareto k in any case.
    """
    found = [
        _values(_first(terms, num), possible(bounds, order, num), order, detail)
        for num in sample_counts
    ]
    if detail:
        found[sample_counts.index(max(sample_counts))] |= _gap_error(terms, bounds)
    return found


def joined(
    parts: Iterable[Sequence[dict[str, np.ndarray]]],
    sample_counts: Iterable[int],
    bounds: Iterable[str],
    order: int,
    log_w: np.ndarray | None = None,
    unit: Unit = NATS,
) -> list[Evaluation]:
    """An `Evaluation` for each number of samples, of what `in_blocks` found block by block."""
    return [
        summarise(
            {key: np.concatenate([part[key] for part in values]) for key in values[0]},
            possible(bounds, order, num),
            num,
            None if log_w is None else log_w[:num],
            unit,
        )
        for values, num in zip(zip(*parts, strict=True), sample_counts, strict=True)
    ]


def _first(terms, num_samples):
    """The terms of the first samples."""
    return Terms(terms.log_w[:num_samples], terms.log_px[:num_samples], terms.kl)


def _values(terms, bounds, order, detail):
    """What `Evaluation.per_image` says, for a block of data points."""
    log_w = terms.log_w
    values = {"ess": effective_sample_size(log_w)}
    found = {name: bound(name, order) for name in bounds}
    for name, each in found.items():
        values[name] = each.function(terms)
    highest = max(bounds, key=lambda name: found[name].order or 0, default=None)
    if highest is not None and found[highest].order:
        flags = trust(log_w, found[highest].order, values[highest])
        values |= {name: getattr(flags, name) for name in ("pareto_k", *FLAGS)}
    if detail and "pareto_k" not in values:
        values["pareto_k"] = pareto_k(log_w)
    if detail:
        values |= {f"{name}_error": _error(each, terms) for name, each in found.items()}
    return values


def _error(bound: Bound, terms: Terms):
    """Sampling error of a bound for each data point."""
    if bound.order is not None:
        return sampling_error(lambda part: jackknife(part, bound.order), terms.log_w, bound.order)
    return _error_of(bound.function, terms)


def _error_of(function, terms):
    """Sampling error of a function of `Terms`, up to what depends on the divergence alone."""
    both = np.stack([terms.log_w, terms.log_px], axis=1)
    return sampling_error(lambda p: function(Terms(p[:, 0], p[:, 1], 0.0)), both)


def _gap_error(terms, bounds):
    """Sampling error of the ELBO minus IWAE, which the same samples make; {} without both."""
    elbo = next((name for name in ("vae", "elbo") if name in bounds), None)
    if elbo is None or "iwae" not in bounds:
        return {}
    one, two = BOUNDS[elbo].function, BOUNDS["iwae"].function
    return {f"{elbo}-iwae_error": _error_of(lambda terms: one(terms) - two(terms), terms)}


def num_groups(num_samples: int, order: int = 0) -> int:
    """Groups of samples that `sampling_error` makes."""
    return min(num_samples, GROUPS["quick" if order <= 2 else "slow"])


def sampling_error(estimator: Callable, log_w: np.ndarray, order: int = 0) -> np.ndarray:
    """`jackknife_error`, shape (N,), or nan where it would leave too few samples for an order."""
    num_samples = len(log_w)
    groups = num_groups(num_samples, order)
    if num_samples - -(-num_samples // groups) <= order:
        return np.full(log_w.shape[-1], np.nan)
    return jackknife_error(estimator, log_w, groups)


def summarise(
    per_image: dict[str, np.ndarray],
    bounds: Iterable[str],
    num_samples: int,
    log_w: np.ndarray | None = None,
    unit: Unit = NATS,
) -> Evaluation:
    """`Evaluation` of values for each data point."""
    mean = {name: float(per_image[name].mean()) for name in bounds}
    error = {name: standard_error(per_image[name]) for name in bounds}
    sampling = {
        name: float(np.linalg.norm(per_image[f"{name}_error"]) / len(per_image[name]))
        for name in bounds
        if f"{name}_error" in per_image
    }
    return Evaluation(mean, error, per_image, num_samples, sampling, log_w, unit)


def standard_error(values: np.ndarray) -> float:
    """Standard error of the mean of `values`, shape (N,); nan for a single value."""
    count = len(values)
    return float(values.std(ddof=1) / math.sqrt(count)) if count > 1 else math.nan
