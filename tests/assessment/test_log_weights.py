"""Log-weights from whatever holds them: the numbers and the axes are those that were put in."""

import os
import re
import tracemalloc

import numpy as np
import pytest
from scipy.io import savemat

from jvi.assessment import log_weights
from jvi.assessment.log_weights import NAMES, read


@pytest.fixture
def log_w():
    return np.random.default_rng(0).normal(-90, 3, (5, 3))


def test_an_array_of_float64_is_not_copied(log_w):
    assert read(log_w) is log_w
    assert read(log_w.tolist()).tolist() == log_w.tolist()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.longdouble, ">f4"])
def test_other_precision_becomes_float64(log_w, dtype):
    found = read(log_w.astype(dtype))
    assert found.dtype == np.float64 and found.dtype.isnative
    np.testing.assert_array_equal(found, log_w.astype(dtype).astype(np.float64))


def test_tensors_leave_their_gradient(log_w):
    torch = pytest.importorskip("torch")
    tensor = torch.tensor(log_w, requires_grad=True)
    np.testing.assert_array_equal(read(tensor * 1.0), log_w)
    short = tensor.to(torch.bfloat16)  # of which NumPy has none
    np.testing.assert_array_equal(read(short), short.detach().double().numpy())


def test_arrays_of_jax(log_w):
    jnp = pytest.importorskip("jax").numpy
    array = jnp.asarray(log_w)
    np.testing.assert_array_equal(read(array), np.asarray(array, np.float64))
    short = array.astype(jnp.bfloat16)
    np.testing.assert_array_equal(read(short), np.asarray(short.astype(jnp.float32), np.float64))


def test_tables_of_pandas(log_w):
    pandas = pytest.importorskip("pandas")
    np.testing.assert_array_equal(read(pandas.DataFrame(log_w)), log_w)


# Files


@pytest.mark.parametrize("name", NAMES)
def test_npz_by_its_usual_names(tmp_path, log_w, name):
    np.savez_compressed(tmp_path / "w.npz", other=np.zeros(3), **{name: log_w})
    np.testing.assert_array_equal(read(tmp_path / "w.npz"), log_w)
    np.testing.assert_array_equal(read(str(tmp_path / "w.npz")), log_w)
    [entry] = os.scandir(tmp_path)
    np.testing.assert_array_equal(read(entry), log_w)


def test_npz_by_a_name_that_is_given_or_the_only_one(tmp_path, log_w):
    np.savez(tmp_path / "one.npz", mine=log_w)
    np.testing.assert_array_equal(read(tmp_path / "one.npz"), log_w)
    np.savez(tmp_path / "two.npz", log_w=log_w + 1, mine=log_w)
    np.testing.assert_array_equal(read(tmp_path / "two.npz", "mine"), log_w)
    with np.load(tmp_path / "two.npz") as opened:
        np.testing.assert_array_equal(read(opened, "mine"), log_w)


@pytest.mark.parametrize(
    ("names", "name", "message"),
    [
        (("log_w", "logw"), None, "two.npz holds 'log_w', 'logw': name one of them"),
        (("a", "b"), None, "two.npz has no log_w: name one of what it holds, 'a', 'b'"),
        (("a", "b"), "c", "two.npz has no 'c': name one of what it holds, 'a', 'b'"),
    ],
)
def test_a_choice_that_nobody_made_is_refused(tmp_path, log_w, names, name, message):
    np.savez(tmp_path / "two.npz", **dict.fromkeys(names, log_w))
    with pytest.raises(ValueError, match=re.escape(message)):
        read(tmp_path / "two.npz", name)


def test_npy_in_any_order(tmp_path, log_w):
    np.save(tmp_path / "w.npy", np.asfortranarray(log_w))
    np.testing.assert_array_equal(read(tmp_path / "w.npy"), log_w)


def test_nothing_is_unpickled(tmp_path, log_w):
    np.save(tmp_path / "w.npy", np.array([log_w, None], object), allow_pickle=True)
    with pytest.raises(ValueError, match="objects are not read"):
        read(tmp_path / "w.npy")


def test_a_small_file_of_a_large_array_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(log_weights, "SPARE", 2**16)
    np.savez_compressed(tmp_path / "w.npz", log_w=np.zeros((1000, 1000)))
    with pytest.raises(ValueError, match="8000128 bytes, at most"):
        read(tmp_path / "w.npz")


@pytest.mark.parametrize(
    "table",
    [
        "-1.5,2,-3e1\n-4,5.25,-inf\n",
        "a,b,c\n-1.5,2,-3e1\n-4,5.25,-inf\n",
        "0,1,2\n-1.5,2,-3e1\n-4,5.25,-inf\n",
        "1,2,3\n-1.5,2,-3e1\n-4,5.25,-inf",
        "\ufeff\n# my weights, of, today\n -1.5 , 2,-3e1\r\n\r\n-4,5.25,-inf\n\n",
        "-1.5 2 -3e1\n-4 5.25 -inf\n",
        "x y z\n-1.5\t2\t-3e1\n-4\t5.25\t-inf\n",
    ],
)
def test_tables_of_text(tmp_path, table):
    (tmp_path / "w.csv").write_text(table, encoding="utf-8")
    np.testing.assert_array_equal(read(tmp_path / "w.csv"), [[-1.5, 2, -30], [-4, 5.25, -np.inf]])


def test_tables_of_text_lose_nothing(tmp_path, log_w):
    np.savetxt(tmp_path / "w.csv", log_w, delimiter=",", header="three data points")
    np.testing.assert_array_equal(read(tmp_path / "w.csv"), log_w)
    np.savetxt(tmp_path / "one.txt", log_w[:, :1])
    np.testing.assert_array_equal(read(tmp_path / "one.txt"), log_w[:, :1])


@pytest.mark.parametrize(("table", "most"), [("12\n" * 40000, 16), (",".join(["12"] * 40000), 100)])
def test_tables_of_text_take_little_memory(tmp_path, table, most):
    """Beside the numbers of a table: neither its lines nor names that it could have."""
    (tmp_path / "w.csv").write_text(table)
    read(tmp_path / "w.csv")  # what is imported is not counted
    tracemalloc.start()
    assert read(tmp_path / "w.csv").size == 40000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < most * 40000


@pytest.mark.parametrize(
    ("table", "message"),
    [
        pytest.param("0," * 2**21 + "0", "line 1 has more than 4,194,304 char", id="a long line"),
        ("", "has no lines of numbers"),
        ("a,b\n", "has no lines of numbers"),
        ("1.5,oops\n2,3\n", "line 1 has 'oops' where a number should be"),
        ("a,b\n\n1.5,2\n2,\n", "line 4 has '' where a number should be"),
        ("1.5,2\n1_0,3\n", "line 2 has '1_0' where a number should be"),
        ("1.5,2\n1,2,3\n", "line 2 has 3 values, others 2"),
        (",0,1\n0,1.5,2\n", "its first column has no name"),
        ("1.5,2\nnan,3\n", r"holds nan \(sample 1 of data point 0\)"),
    ],
)
def test_tables_that_are_none_end_in_a_sentence(tmp_path, table, message):
    (tmp_path / "w.csv").write_text(table)
    with pytest.raises(ValueError, match=message) as error:
        read(tmp_path / "w.csv")
    assert str(error.value).startswith(str(tmp_path / "w.csv"))


def test_other_files_are_refused_with_what_to_do(tmp_path, log_w):
    savemat(tmp_path / "w.mat", {"logw": log_w})
    with pytest.raises(ValueError, match="MATLAB's format is not read: write"):
        read(tmp_path / "w.mat")
    with pytest.raises(ValueError, match=r"open it with arviz.from_netcdf"):
        read(tmp_path / "w.nc")
    with pytest.raises(FileNotFoundError, match=r"w.npz: no such file"):
        read(tmp_path / "w.npz")
    with pytest.raises(ValueError, match="is a folder"):
        read(tmp_path)
    (tmp_path / "bytes.csv").write_bytes(b"1,\xff\n")
    with pytest.raises(ValueError, match="byte 2 is not text in UTF-8"):
        read(tmp_path / "bytes.csv")
    for source, name in [(tmp_path / "bytes.csv", "x"), (log_w, "x")]:
        with pytest.raises(ValueError, match="leave 'x' out"):
            read(source, name)


# What is no (K, N) array of log-weights


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros(4), r"has shape \(4,\): .*\(K, N\), .* give log_w\[:, None\]"),
        (np.zeros((2, 3, 4)), r"has shape \(2, 3, 4\): log-weights have shape \(K, N\)"),
        (np.float64(1.0), r"has shape \(\)"),
        (np.zeros((0, 4)), r"is empty, of shape \(0, 4\)"),
        (np.zeros((4, 0)), r"is empty, of shape \(4, 0\)"),
        (np.zeros((2, 3), int), "is of int64: log-weights are floating-point numbers"),
        (np.zeros((2, 3), complex), "is of complex128: log-weights are floating"),
        (np.zeros((2, 3), bool), "is of bool: log-weights are floating"),
        ([["a", "b"]], "log-weights are floating-point numbers"),
        ([[1.0, 2.0], [3.0]], "log_w is no array of numbers: "),
        (np.ma.masked_less([[0.0, -9.0]], -8.0), "has masked values: leave them out, or fill"),
        (np.array([[0.0, np.nan], [1.0, 2.0]]), r"holds nan \(sample 0 of data point 1\)"),
        (np.array([[0.0, 1.0], [np.inf, 2.0]]), r"holds inf \(sample 1 of data point 0\)"),
    ],
)
def test_what_cannot_be_log_weights_is_refused_in_a_sentence(wrong, message):
    with pytest.raises(ValueError, match=message) as error:
        read(wrong)
    assert "\n" not in str(error.value)


def test_zero_weights_can_be():
    log_w = np.array([[0.0, -np.inf], [-np.inf, -np.inf]])
    assert read(log_w) is log_w


# ArviZ and xarray


@pytest.fixture
def draws():
    """(chain, draw, row, column), and the same as (K, N)."""
    values = np.random.default_rng(1).normal(size=(2, 4, 3, 5))
    return values, values.reshape(8, 15)


def test_inference_data(draws):
    arviz = pytest.importorskip("arviz")
    values, expected = draws
    groups = {
        "posterior": {"mu": values[..., 0, 0]},
        "sample_stats": {"log_w": values, "lp": values + 1},
    }
    if arviz.__version__.startswith("0."):
        data = arviz.from_dict(**groups)  # an InferenceData
    else:
        data = arviz.from_dict(groups)  # a DataTree
    np.testing.assert_array_equal(read(data), expected)
    np.testing.assert_array_equal(read(data, "sample_stats/lp"), expected + 1)
    with pytest.raises(ValueError, match="has no 'x': name one of what it holds, 'posterior/mu'"):
        read(data, "x")
    extracted = arviz.extract(data, group="sample_stats", var_names="log_w")
    np.testing.assert_array_equal(read(extracted), expected)


def test_log_likelihoods_are_no_log_weights(draws):
    xarray = pytest.importorskip("xarray")
    values, _ = draws
    data = xarray.Dataset({"x": (("chain", "draw", "row", "column"), values)})
    tree = xarray.DataTree.from_dict({"/log_likelihood": data})
    for name in (None, "x", "log_likelihood/x"):
        with pytest.raises(
            ValueError, match=r"log_likelihood/x is log p\(x\|z\), not a log-weight"
        ):
            read(tree, name)


def test_several_groups_need_a_name(draws):
    xarray = pytest.importorskip("xarray")
    values, expected = draws
    dims = "chain", "draw", "row", "column"
    one, two = (xarray.Dataset({"log_w": (dims, values + shift)}) for shift in (0, 1))
    tree = xarray.DataTree.from_dict({"/q": one, "/prior": two, "/empty": xarray.Dataset()})
    with pytest.raises(ValueError, match=r"holds 'q/log_w', 'prior/log_w': name one of them"):
        read(tree)
    np.testing.assert_array_equal(read(tree, "prior/log_w"), expected + 1)
    np.testing.assert_array_equal(read(xarray.DataTree(one)), expected)


def test_dimensions_of_samples_come_first_wherever_they_are(draws):
    xarray = pytest.importorskip("xarray")
    values, expected = draws
    variable = xarray.DataArray(values, dims=("chain", "draw", "row", "column"))
    np.testing.assert_array_equal(read(variable), expected)
    moved = variable.transpose("row", "draw", "column", "chain")
    np.testing.assert_array_equal(read(moved), expected)
    np.testing.assert_array_equal(read(xarray.Dataset({"mine": moved})), expected)
    one = variable[:, :, 0, 0]
    np.testing.assert_array_equal(read(one), expected[:, :1])
    stacked = variable.stack(sample=("chain", "draw"))
    np.testing.assert_array_equal(read(stacked), expected)
    with pytest.raises(ValueError, match="the dimensions 'k', 'n', and none of samples: call"):
        read(xarray.DataArray(expected, dims=("k", "n")))
