"""The original's six objectives, `train.py --vae-type`, in this project's terms."""

from typing import NamedTuple

__all__ = ["VAE_TYPES", "VaeType"]


class VaeType(NamedTuple):
    """An estimator's name ({order} is the jackknife's), how the latent densities enter, a report.

    `latent` is a value of `jvi.training.objective`'s, `reported` are the names in the original's
    log and what stands there: "-" is minus, "bound" what the estimator follows, all else of
    `jvi.evidence.quantities`. `raw` is the estimator that the original's gradient is, where that is
    another.
    """

    estimator: str
    latent: str
    reported: dict[str, str]
    raw: str | None = None


VAE_TYPES = {
    "vae": VaeType("elbo", "kl", {"obj": "-vae", "kl": "kl", "logp": "logp"}),
    "iwae": VaeType("iwae", "sampled", {"obj": "-bound", "obj_elbo": "-elbo"}),
    "iwae++": VaeType(
        "jvi-clip:order=1",
        "sampled",
        {"obj": "-bound", "obj_elbo": "-elbo", "corr": "correction"},
        raw="jvi:order=1",
    ),
    "jvi": VaeType(
        "jvi-clip:order={order}",
        "sampled",
        {"obj": "-bound", "obj_elbo": "-elbo"},
        raw="jvi:order={order}",
    ),
    "jvi+elbo": VaeType(
        "jvi-elbo:order={order}",
        "kl",
        {
            **{"elbo/obj": "-vae", "elbo/kl": "kl", "elbo/logp": "logp", "elbo/elbo": "-vae"},
            **{"p_obj/obj": "-bound", "p_obj/obj_elbo": "-elbo"},
        },
    ),
    "is": VaeType("iwae", "none", {"obj": "-is", "ess": "ess"}),
}
