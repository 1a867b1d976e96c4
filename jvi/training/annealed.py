"""What changes while training: an option of the estimator, or the weight of the KL part."""

from typing import NamedTuple

from jvi.evidence.estimators import Estimator
from jvi.spec import number_of

__all__ = ["KL", "Annealed", "annealed", "check_annealed"]

ANNEALABLE = "alpha", "beta", "gamma"
KL = "kl"  # the weight of log p(z) - log q(z|x): beta-annealing (Bowman et al. 2016)


class Annealed(NamedTuple):
    """A value that goes from `start` to `end` in the first `epochs`, and stays; `str` spells it."""

    option: str
    start: float
    end: float
    epochs: int

    def at(self, epoch: float) -> float:
        """The value after so many epochs, whole or not."""
        share = min(epoch / self.epochs, 1.0)
        return (1.0 - share) * self.start + share * self.end

    def __str__(self) -> str:
        return f"{self.option.replace('_', '-')}={self.start}:{self.end}:{self.epochs}"


def annealed(text: str) -> tuple[Annealed, ...]:
    """What OPTION=START:END:EPOCHS[,…] says.

    Raises
    ------
    ValueError
        For anything else.
    """
    found = []
    for part in text.split(","):
        option, _, numbers = part.partition("=")
        texts = numbers.split(":")
        values = [number_of(each, float) for each in texts[:2]] + [
            number_of(each, int) for each in texts[2:]
        ]
        if len(values) != 3 or None in values or values[2] < 1:
            raise ValueError(f"{part[:50]!r}: write OPTION=START:END:EPOCHS, as kl=0:1:20")
        found.append(Annealed(option.strip().replace("-", "_"), *values))
    if len({each.option for each in found}) < len(found):
        raise ValueError(f"{text!r}: give each option once")
    return tuple(found)


def check_annealed(values: tuple[Annealed, ...], estimator: Estimator) -> None:
    """Refuse what an estimator does not have; it refuses values itself, where training begins.

    Raises
    ------
    ValueError
        Naming the option.
    """
    options = [key for key in estimator.spec.options if key in ANNEALABLE]
    for each in values:
        if each.option == KL and not estimator.weighs_kl:
            raise ValueError(
                f"{estimator} has no gradient for a weighted KL part: anneal it with iwae, dreg, "
                "vimco or ovis, among others"
            )
        if each.option not in (KL, *options):
            known = ", ".join([KL, *options])
            raise ValueError(f"{estimator} cannot anneal {each.option!a}: it has {known}")
        if each.option == "alpha" and max(each.start, each.end) > 1:
            raise ValueError(f"alpha must not exceed 1 on the way, as in {each}")
        if each.option == estimator.learned:
            raise ValueError(f"{estimator} learns its {each.option}: anneal it or learn it")
