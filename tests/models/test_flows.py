"""Flows: Jacobians by finite differences, densities by quadrature, inverses, gradients."""

import chainer
import chainer.functions as F
import numpy as np
import pytest
from chainer.serializers import DictionarySerializer
from scipy.special import expit, log_expit

from jvi.engine.threads import parallel_map
from jvi.functions.gate import gate, open_and_shut
from jvi.models.autoregressive import ConvAR, DenseAR
from jvi.models.flows import InverseAutoregressive, Stack
from jvi.models.weight_norm import initialising

SCALED = pytest.mark.parametrize("scaled", [False, True], ids=["iaf1", "iaf2"])
REVERSE = pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "backwards"])
CONTEXT = 3


def dense(scaled, rng, depth=1, context=CONTEXT, reverse=False, latent=4):
    network = DenseAR(latent, 6, depth, context, 1 + scaled, rng, reverse)
    return InverseAutoregressive(network, scaled)


def conv(scaled, rng, depth=1, context=CONTEXT, reverse=False):
    network = ConvAR(2, 4, depth, context, 1 + scaled, rng, reverse=reverse)
    return InverseAutoregressive(network, scaled)


FLOWS = {"dense": (dense, (4,), (CONTEXT,)), "conv": (conv, (3, 2, 2), (3, 2, CONTEXT))}


@pytest.fixture(params=FLOWS)
def flows(request):
    """A function that makes a flow, and the shapes of z and of a context of one data point."""
    return FLOWS[request.param]


def randomised(link, seed=1, spread=2.0):
    """float64 and far from the start, so that a flow does much more than at first."""
    rng = np.random.default_rng(seed)
    for parameter in link.params():
        parameter.array = rng.normal(0, spread, parameter.shape)
    return link


def alternating(make, scaled, rng, steps, **options):
    return Stack(*[make(scaled, rng, reverse=bool(n % 2), **options) for n in range(steps)])


def jacobian(flow, z, context):
    """dz'_i / dz_j at one data point, (J, J), by central differences."""
    columns = []
    for j in range(z.size):
        ends = []
        for sign in (1, -1):
            moved = z.copy()
            moved.flat[j] += sign * 1e-5
            ends.append(flow(moved, context)[0].array.ravel())
        columns.append((ends[0] - ends[1]) / 2e-5)
    return np.array(columns).T


@SCALED
@REVERSE
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_the_jacobian_is_triangular_with_the_gates_on_its_diagonal(flows, scaled, reverse, depth):
    make, shape, context_shape = flows
    rng = np.random.default_rng(0)
    flow = randomised(make(scaled, rng, depth, reverse=reverse))
    z, context = rng.normal(size=(1, *shape)), rng.normal(size=(1, *context_shape))
    J = jacobian(flow, z, context)
    np.testing.assert_array_equal((np.tril if reverse else np.triu)(J, 1 - 2 * reverse), 0)
    diagonal = np.ones(z.size)
    if scaled:
        diagonal = expit(0.1 * flow.network(z, context)[1].array.ravel() + 2)
    np.testing.assert_allclose(np.diag(J), diagonal, rtol=1e-8)
    assert np.count_nonzero(J) > z.size
    log_det = flow(z, context)[1].array
    by_map = np.log(diagonal).reshape(-1, shape[-1]).sum(axis=0, keepdims=True)
    np.testing.assert_allclose(log_det, by_map, rtol=1e-12)
    assert log_det.sum() == pytest.approx(np.linalg.slogdet(J)[1], abs=1e-8)
    assert (log_det == 0).all() != scaled


@SCALED
def test_the_determinants_of_a_stack_add_up(flows, scaled):
    make, shape, context_shape = flows
    rng = np.random.default_rng(2)
    flow = randomised(alternating(make, scaled, rng, 3))
    z, context = rng.normal(size=(2, *shape)), rng.normal(size=(2, *context_shape))
    log_det = flow(z, context)[1].array
    assert log_det.shape == (2, shape[-1]) and log_det.dtype == np.float64
    for n in range(2):
        J = jacobian(flow, z[n : n + 1], context[n : n + 1])
        assert (J != 0).all()  # both orders: every element reaches every other
        assert log_det[n].sum() == pytest.approx(np.linalg.slogdet(J)[1], abs=1e-7)


@pytest.mark.parametrize(("scaled", "spread"), [(False, 6.0), (True, 4.0)], ids=["iaf1", "iaf2"])
def test_the_density_integrates_to_one_and_is_that_of_the_draws(scaled, spread):
    """In two dimensions: q(z') on a grid of z' against averages over a grid of the noise."""
    rng = np.random.default_rng(3)
    flow = randomised(alternating(dense, scaled, rng, 3, context=0, latent=2), spread=spread)
    axis = np.linspace(-8, 8, 401)
    noise = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    area = (axis[1] - axis[0]) ** 2

    def standard_normal(points):
        return -0.5 * (points**2).sum(axis=1) - np.log(2 * np.pi)

    p, z = np.exp(standard_normal(noise)) * area, flow(noise)[0].array
    mean = p @ z
    sides = np.sqrt(p @ (z - mean) ** 2)

    points = mean + sides * noise
    origin = flow.inverse(points)
    log_q = standard_normal(origin) - flow(origin)[1].array.sum(axis=1)
    q = np.exp(log_q) * area * sides.prod()
    assert q.sum() == pytest.approx(1, abs=1e-4)
    for function in (np.cos, np.sin, np.square, lambda z: np.cos(z.sum(axis=1, keepdims=True))):
        np.testing.assert_allclose(q @ function(points), p @ function(z), atol=1e-4, rtol=1e-4)
    assert abs(q / q.max() - p / p.max()).max() > 0.1  # not a diagonal Gaussian


@SCALED
def test_the_inverse_returns_the_noise(flows, scaled):
    make, shape, context_shape = flows
    rng = np.random.default_rng(4)
    flow = alternating(make, scaled, rng, 4)
    z = rng.normal(size=(20, *shape)).astype(np.float32)
    context = rng.normal(size=(20, *context_shape)).astype(np.float32)
    with initialising():
        flow(3 * z, context)
    for parameter in flow.params():
        parameter.array = parameter.array + rng.normal(0, 0.3, parameter.shape).astype(np.float32)
    drawn, _ = flow(z, context)
    assert drawn.dtype == np.float32 and abs(drawn.array - z).max() > 0.5
    found = flow.inverse(drawn, context)
    assert isinstance(found, np.ndarray) and found.dtype == np.float32
    np.testing.assert_allclose(found, z, atol=1e-5)
    with pytest.raises(AssertionError):  # the context counts
        np.testing.assert_allclose(flow.inverse(drawn, context + 1), z, atol=1e-2)


@SCALED
@pytest.mark.parametrize("depth", [0, 2])
def test_gradients_are_those_of_finite_differences(flows, scaled, depth):
    make, shape, context_shape = flows
    rng = np.random.default_rng(5)
    flow = randomised(alternating(make, scaled, rng, 2, depth=depth))
    z, context = (chainer.Variable(rng.normal(size=(3, *each))) for each in (shape, context_shape))
    by_z, by_log_det = rng.normal(size=z.shape), rng.normal(size=(3, shape[-1]))

    def total():
        drawn, log_det = flow(z, context)
        assert drawn.dtype == log_det.dtype == np.float64
        return F.sum(drawn * by_z) + F.sum(log_det * by_log_det)

    flow.cleargrads()
    total().backward()
    variables = {"z": z, "context": context} | dict(flow.namedparams())
    for name, variable in variables.items():
        start, found, slopes = variable.array, [], []
        for direction in rng.normal(size=(4, *start.shape)):
            ends = []
            for sign in (1, -1):
                variable.array = start + sign * 1e-5 * direction
                ends.append(total().array)
            slopes.append((ends[0] - ends[1]) / 2e-5)
            found.append((variable.grad * direction).sum())
        variable.array = start
        away = np.linalg.norm(np.subtract(found, slopes))
        assert away <= 1e-7 * np.linalg.norm(slopes) + 1e-8, name


def test_at_first_a_flow_does_little():
    """Gates near sigmoid(2), means of a tenth: for draws of any size, mean and context."""
    rng = np.random.default_rng(6)
    z = rng.normal(7, 3, (500, 8)).astype(np.float32)
    context = rng.normal(-40, 9, (500, CONTEXT)).astype(np.float32)
    for scaled in (False, True):
        flow = dense(scaled, rng, latent=8)
        with initialising():
            drawn, log_det = flow(z, context)
        expected = z * (expit(2.0) if scaled else 1.0)
        np.testing.assert_allclose((drawn.array - expected).std(), 0.1, atol=0.15)
        assert drawn.dtype == np.float32 and log_det.dtype == np.float64
        mean = log_det.array.mean(axis=0)
        np.testing.assert_allclose(mean, log_expit(2.0) if scaled else 0, atol=1e-3)
        for n in range(8):
            assert np.corrcoef(drawn.array[:, n], z[:, n])[0, 1] > 0.98


@pytest.mark.parametrize("a", [-1e4, -90.0, -1.0, 0.0, 1.0, 20.0, 1e4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_gate_is_stable(a, dtype):
    values = open_and_shut(np.full(3, a, dtype))
    for found, expected in zip(values, (log_expit(a), expit(a), expit(-a)), strict=True):
        assert found.dtype == dtype
        np.testing.assert_allclose(found, expected, rtol=3e-6 if dtype == np.float32 else 1e-13)
    z, m, s = (chainer.Variable(np.full((2, 4, 3), each, dtype)) for each in (3, -2, a))
    drawn, log_det = gate(z, m, s)
    (F.sum(drawn) + F.sum(F.cast(log_det, dtype))).backward()
    np.testing.assert_allclose(drawn.array, expit(a) * 3 - expit(-a) * 2, rtol=1e-6)
    np.testing.assert_allclose(log_det.array, 4 * log_expit(a), rtol=3e-6)
    np.testing.assert_allclose(s.grad, expit(-a) * (1 + 5 * expit(a)), rtol=3e-6)


def test_a_gate_of_which_one_output_is_used():
    rng = np.random.default_rng(7)
    inputs = [chainer.Variable(rng.normal(size=(2, 3))) for _ in range(3)]
    z, m, s = (each.array for each in inputs)
    sigma = expit(0.5 * s + 1)
    F.sum(gate(*inputs, 0.5, 1.0)[0]).backward()
    expected = sigma, 0.5 * (1 - sigma), 0.5 * sigma * (1 - sigma) * (z - 0.5 * m)
    for variable, slope in zip(inputs, expected, strict=True):
        np.testing.assert_allclose(variable.grad, slope, rtol=1e-12)
        variable.cleargrad()
    F.sum(gate(*inputs, 0.5, 1.0)[1]).backward()
    for variable, slope in zip(inputs, (0, 0, 0.5 * (1 - sigma)), strict=True):
        np.testing.assert_allclose(variable.grad, np.broadcast_to(slope, (2, 3)), rtol=1e-12)


@SCALED
def test_pieces_on_threads_add_up(flows, scaled):
    make, shape, context_shape = flows
    rng = np.random.default_rng(8)
    flow = randomised(alternating(make, scaled, rng, 2))
    z, context = rng.normal(size=(12, *shape)), rng.normal(size=(12, *context_shape))

    def gradients(rows):
        link = flow.copy()
        link.cleargrads()
        drawn, log_det = link(z[rows], context[rows])
        (F.sum(drawn**2) + F.sum(log_det)).backward()
        return [parameter.grad for parameter in link.params()]

    pieces = [slice(n, n + 4) for n in (0, 4, 8)]
    parts = list(parallel_map(gradients, pieces, chainer.get_device("@numpy")))
    for whole, *part in zip(gradients(slice(None)), *parts, strict=True):
        np.testing.assert_allclose(sum(part), whole, rtol=1e-9, atol=1e-9)


def test_parameters_are_unset_without_a_generator_and_files_hold_nothing_else(flows):
    make, _, _ = flows
    flow, unset = (
        alternating(make, True, rng, 2, depth=1) for rng in (np.random.default_rng(9), None)
    )
    assert all(np.isnan(parameter.array).all() for parameter in unset.params())
    saved = DictionarySerializer()
    saved.save(flow)
    expected = {
        f"{n}/network/{layer}/{name}"
        for n in range(2)
        for layer in ("layers/0", "layers/1", "context")
        for name in "Vgb"
    }
    assert set(saved.target) == expected
    assert {name.lstrip("/") for name, _ in unset.namedparams()} == expected


def test_a_network_of_other_outputs_is_refused():
    with pytest.raises(ValueError, match="this flow's network gives 2 outputs, not 1"):
        InverseAutoregressive(DenseAR(2, 3, 1, 0, 1), scaled=True)
