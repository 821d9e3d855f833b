"""Products of float32 and bf16: exact rounding, and torch's switch set back."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusekit.curate.products import check_precision, multiplying, round_to_bf16
from fusekit.errors import MissingExtraError, UsageError


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=50))
def test_rounding_is_that_of_torch(numbers):
    torch = pytest.importorskip("torch")
    values = np.array(numbers, np.float32)
    expected = torch.from_numpy(values).bfloat16().float().numpy()
    np.testing.assert_array_equal(round_to_bf16(values), expected)


def test_a_rounded_number_is_the_nearest_of_8_bits():
    values = np.random.default_rng(0).standard_normal((40, 7)).astype(np.float32)
    got = round_to_bf16(values)
    assert got.shape == values.shape
    assert (np.abs(got / values.astype(np.float64) - 1) <= 2.0**-8).all()
    np.testing.assert_array_equal(round_to_bf16(got), got)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_products_of_rounded_factors_are_exact_up_to_their_sums(precision):
    if precision == "bf16":
        pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    left, right = (
        round_to_bf16(rng.standard_normal((n, 96)).astype(np.float32)) for n in (130, 70)
    )
    out = np.empty((130, 70), np.float32)
    with multiplying(precision) as multiply:
        multiply(left, right, out)
    exact = left.astype(np.float64) @ right.T.astype(np.float64)
    np.testing.assert_allclose(out, exact, atol=96 * 2.0**-24 * 96)


def test_torchs_switch_is_set_back_whatever_happens():
    torch = pytest.importorskip("torch")
    before = torch.get_float32_matmul_precision()
    with pytest.raises(KeyError), multiplying("bf16"):
        raise KeyError
    assert torch.get_float32_matmul_precision() == before


def test_without_torch_bf16_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"--precision bf16.*fusekit\[torch\]"):
        check_precision("bf16")
    check_precision("float32")


def test_another_precision_is_refused():
    with pytest.raises(UsageError, match=r"--precision: 'half'; expected float32 or bf16"):
        check_precision("half")
