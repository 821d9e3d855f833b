import pytest
import torch

from fusekit.losses.precision import full_precision


@full_precision
def product(left, right, scale=1.0):
    """The decorated function's own words."""
    return scale * left @ right


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_tensors_are_lifted_by_place_and_by_name(half):
    rows = torch.eye(3, dtype=half)
    assert product(rows, rows).dtype == torch.float32
    assert product(rows, right=rows, scale=2.0).dtype == torch.float32


def test_float64_and_whole_numbers_stay():
    rows, numbers = torch.eye(3, dtype=torch.float64), torch.eye(3, dtype=torch.int64)
    assert product(rows, rows).dtype == torch.float64
    assert product(numbers, numbers, scale=2).dtype == torch.int64


def test_autocast_is_off_inside_and_on_again_after():
    rows = torch.full((1, 4096), 1 + 2**-12)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (rows @ rows.T).dtype == torch.bfloat16
        exact = product(rows, rows.T)
        assert torch.is_autocast_enabled("cpu")
    assert exact.dtype == torch.float32
    assert exact.item() == pytest.approx(4096 * (1 + 2**-12) ** 2, rel=1e-6)


def test_gradients_come_back_in_the_arguments_own_type():
    rows = torch.eye(3, dtype=torch.bfloat16, requires_grad=True)
    product(rows, torch.ones(3)).sum().backward()
    assert rows.grad.dtype == torch.bfloat16


def test_the_functions_name_and_words_are_kept():
    assert (product.__name__, product.__doc__) == ("product", "The decorated function's own words.")
