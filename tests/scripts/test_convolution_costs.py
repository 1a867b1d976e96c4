"""The benchmark's part about convolutions computes what it says, on tiny layers."""

import json

import numpy as np
import pytest

from jvi.functions.kernels import convolution
from jvi.scripts import benchmark, convolution_costs
from jvi.scripts.convolution_costs import Case

CASES = [Case(5, 6, 8, 9), Case(3, 7, 3, 4, 5, 2, first=True)]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=["inner", "first"])
@pytest.mark.parametrize("threads", [1, 2])
def test_all_programs_do_the_layer_on_all_images(case, threads):
    parts, W, b = convolution_costs.inputs(case, 1)
    x, g = parts[0]
    work = convolution_costs.programs(case, True, threads, 2)
    by_W = convolution.by_weights(x, g, case.stride, case.size)
    y, by_b = convolution.convolve(x, W, b, case.stride), g.sum(axis=(0, 1, 2))
    by_x = [] if case.first else [convolution.by_input(g, W, case.stride, x.shape)]
    for name in set(work) - {convolution_costs.FLOOR}:
        for found, expected in zip(work[name](), [y, *by_x, by_W, by_b], strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    work[convolution_costs.FLOOR]()


def test_something_else_is_noticed():
    with pytest.raises(RuntimeError, match="something else"):
        convolution_costs._check_agreement(CASES[0], [np.ones(3)], [np.ones(3) + 1e-4])


def test_a_table_without_pytorch_compares_with_the_floor():
    numbers = {"seconds": [0.002], "ratios": [1.5], "cpu_ratios": [1.25]}
    times = dict.fromkeys((convolution_costs.FLOOR, convolution_costs.OURS), numbers)
    text = convolution_costs.tables({1: {"a case": {"forward": times, "both": times}}}, 2)
    assert "not installed" in text and "1 ms (1.50, 1.25)" in text


@pytest.mark.slow
def test_the_part_is_measured_and_written(tmp_path, capsys):
    path = tmp_path / "numbers.json"
    benchmark.main(["--quick", "--parts", "convolution", "--peers", "", "-o", str(path)])
    (case,) = map(str, convolution_costs.QUICK_SIZES.cases)
    assert case in capsys.readouterr().out
    found = json.loads(path.read_text())["convolution"]["1"][case]
    assert len(found["both"][convolution_costs.OURS]["seconds"]) == 3
