"""An evaluation of whatever is given of a model, with all that a comparison needs."""

from collections.abc import Sequence
from typing import Any

from jvi.assessment.estimates import Evaluation
from jvi.assessment.summary import Summary, summary
from jvi.evidence.quantities import bound

__all__ = ["comparable", "name_in"]

OF_MODELS = ("vae", "is")  # bounds that need more than log-weights


def comparable(
    name: str, given: Any, bounds: Sequence[str], samples: int | None, order: int
) -> Evaluation:
    """The evaluation of a model, with those of the bounds that it can have.

    Parameters
    ----------
    name : str
        Of the model, for messages.
    given : Evaluation, Summary or what `jvi.summary` takes
    bounds : list of str
    samples : int, optional
        The first so many; by default all.
    order : int
        Of "jvi"; an evaluation without its log-weights has that of its own.

    Raises
    ------
    ValueError
        Naming the model, for anything else, or fewer samples than are wanted.
    """
    for each in bounds:
        bound(each, order)
    weighted = [each for each in bounds if each not in OF_MODELS]
    try:
        found = _of_most(given) if isinstance(given, Summary) else given
        if not isinstance(found, Evaluation):
            return summary(given, bounds, samples, order).evaluations[-1]
        if samples not in (None, found.num_samples):
            log_w, known = _log_weights(found, samples), weighted or bounds
            return summary(log_w, known, samples, order, unit=found.unit).evaluations[-1]
        return _completed(found, weighted, order)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{name}: {error}") from None
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _of_most(given):
    """The evaluation of most samples."""
    return max(given.evaluations, key=lambda each: each.num_samples)


def _log_weights(evaluation, samples):
    """Those that were kept."""
    if evaluation.log_w is None:
        raise ValueError(
            f"it is of {evaluation.num_samples} samples, not {samples}, and has not kept its "
            "log-weights: evaluate with keep=True"
        )
    return evaluation.log_w


def _completed(evaluation, bounds, order):
    """With what its log-weights tell of these bounds beyond what it has, where it kept them.

    Its "jvi" may be of another order, so that is found anew.
    """
    missing = [
        each
        for each in bounds
        if each == "jvi"
        or (name_in(evaluation, each) in (None, each) and each not in evaluation.sampling_error)
    ]
    if not missing or evaluation.log_w is None:
        return evaluation
    more = summary(evaluation.log_w, missing, order=order).evaluations[-1]
    keys = "mean", "standard_error", "sampling_error"
    found = {
        key: getattr(evaluation, key)
        | {n: v for n, v in getattr(more, key).items() if n in missing}
        for key in keys
    }
    values = {name: more.per_image[name] for name in missing}
    return evaluation._replace(**found, per_image=more.per_image | evaluation.per_image | values)


def name_in(evaluation: Evaluation, name: str) -> str | None:
    """The name under which an evaluation has a bound, the ELBO under either; None without it."""
    names = (name, "vae") if name == "elbo" else (name,)
    return next((each for each in names if each in evaluation.mean), None)
