"""Checkpoints of the reproduction of Rainforth et al. (2018) by M'Charrak et al. (2021).

Its code saves whole modules; their state dictionaries are read. They hold parameters alone: what
they were trained on is in the names that its code gives to files.
"""

import re
from pathlib import Path

from jvi.compat.state_dict import read_state_dict

__all__ = ["ENDING", "read_checkpoint"]

ENDING = ".pt"

# Its layers, and what they are in the model `softplus-vae`.
LAYERS = {
    "encoder.fc11": "encode/lin0",
    "encoder.fc12": "encode/lin1",
    "encoder.fc21": "encode/lin_mu",
    "encoder.fc22": "encode/lin_rho",
    "decoder.fc31": "decode/lin0",
    "decoder.fc32": "decode/lin1",
    "decoder.fc4": "pixels",
}
NAMES = {
    f"{theirs}.{long}": f"{ours}/{short}"
    for theirs, ours in LAYERS.items()
    for long, short in (("weight", "W"), ("bias", "b"))
}

_FILE = re.compile(
    r"model_(?:(?P<kind>MIVAE|R?PIWAE)_M(?P<groups>\d{1,4})_k(?P<samples>\d{1,4})"
    r"|CIVAE_beta(?P<beta>[01]\.\d{1,6}))"
    r"(?P<omniglot>_omniglot)?(?:_repeat\d+)?(?:_best)?(?:\.state)?\.pt"
)

NO_NAME = "its name does not say what it was trained on, as model_MIVAE_M8_k8.pt does"
NO_K = (
    "its name does not say K; the published command line leaves it at 1, where CIWAE is the ELBO, "
    "from two samples"
)
NOT_PIWAE = (
    "the published code trains PIWAE otherwise than its name says: whatever M and k, the encoder "
    "on MIWAE with 10 groups of 10 samples, then the decoder on IWAE with 10 others, which no "
    "--estimator is"
)


def read_checkpoint(path):
    """What a checkpoint holds, in this project's terms.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    arrays : dict of str to numpy.ndarray
        float32, by the names of `softplus-vae`; what it has not by those of the file.
    meta : dict of str to str
        The training arguments that the file and its name tell.
    notes : list of str
        What they cannot tell.

    Raises
    ------
    FileNotFoundError, ImportError, ValueError
        As `read_state_dict`, and where there are no weights to tell the sizes.
    """
    state = read_state_dict(path)
    model = f"softplus-vae:{_sizes(state, path)}"
    options, notes = _training(Path(path).name)
    arrays = {NAMES.get(name, name): array for name, array in state.items()}
    return arrays, {"--model": model, **options}, [f"{path}: {note}" for note in notes]


def _sizes(state, path):
    """Spelt as in a model's spec."""
    shapes = []
    for layer in ("encoder.fc11", "encoder.fc21"):
        name = f"{layer}.weight"
        if name not in state:
            raise ValueError(f"{path}: no model of the tighter-bounds reproduction: has no {name}")
        if state[name].ndim != 2 or not state[name].size:
            raise ValueError(f"{path}: {name} has shape {state[name].shape}, which no layer has")
        shapes.append(state[name].shape)
    (hidden, pixels), (latent, _) = shapes
    return f"pixels={pixels},hidden={hidden},latent={latent}"


def _training(name):
    """(training arguments, notes) that the name of a file gives."""
    found = _FILE.fullmatch(name)
    if not found:
        return {}, [NO_NAME]
    data = {"--dataset": "omniglot" if found["omniglot"] else "mnist"}
    if found["beta"]:
        return {**data, "--estimator": f"ciwae:beta={found['beta']}"}, [NO_K]
    if found["kind"] != "MIVAE":
        return data, [NOT_PIWAE]
    groups, samples = int(found["groups"]), int(found["samples"])
    return {
        **data,
        "--estimator": _miwae(groups, samples),
        "--vae-samples": f"{groups * samples}",
    }, []


def _miwae(groups, samples):
    """The estimator that MIWAE of M groups of K samples is."""
    if samples == 1:
        return "elbo"
    return "iwae" if groups == 1 else f"miwae:groups={groups}"
