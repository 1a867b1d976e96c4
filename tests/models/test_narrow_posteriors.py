"""Log-weights where q(z|x) is so narrow that z in float32 has lost digits of its noise."""

from pathlib import Path

import numpy as np
import pytest

import jvi
from jvi.models import MLP
from jvi.models.files import torch_name

PAGE = Path(__file__).resolve().parents[2] / "docs" / "files.md"


def narrow(ln_var):
    """A model with means around 1, images and noise."""
    rng, link = np.random.default_rng(0), MLP(64, 16, 4, np.random.default_rng(1))
    link.encode.qlin_mu.b.array[:] = rng.normal(size=4)
    link.encode.qlin_ln_var.b.array[:] = ln_var
    x = (rng.random((50, 64)) < 0.3).astype(np.float32)
    return link, x, rng.standard_normal((16, 50, 4)).astype(np.float32)


def in_float64(link, x, eps):
    link = link.copy(mode="copy")
    for parameter in link.params():
        parameter.array = parameter.array.astype(np.float64)
    return jvi.Model(link).log_weights(x.astype(np.float64), eps=eps)


# Largest error of a log-weight of ours, in nats, as docs/files.md says it.
LOST = {-2: 2e-5, -10: 4e-5, -16: 2e-3, -23: 0.05}


@pytest.mark.parametrize("ln_var", LOST)
def test_log_weights_lose_what_the_documentation_says(ln_var):
    link, x, eps = narrow(ln_var)
    error = jvi.Model(link).log_weights(x, eps=eps) - in_float64(link, x, eps)
    assert LOST[ln_var] / 10 < abs(error).max() < LOST[ln_var]
    assert abs(error.mean()) < 1e-3


@pytest.mark.parametrize("ln_var", LOST)
def test_the_documented_module_loses_nothing(ln_var):
    torch = pytest.importorskip("torch")
    exec(PAGE.read_text().split("```python\n")[1].split("```")[0], documented := {})
    link, x, eps = narrow(ln_var)
    module = documented["Model"](64, 16, 4)
    parameters = {torch_name(name.lstrip("/")): p.array for name, p in link.namedparams()}
    module.load_state_dict({name: torch.tensor(array) for name, array in parameters.items()})
    with torch.no_grad():
        log_w = module(torch.tensor(x), torch.tensor(eps)).numpy()
    np.testing.assert_allclose(log_w, in_float64(link, x, eps), atol=5e-5)
