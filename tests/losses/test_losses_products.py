"""Products of groups with slices: values and gradients of torch's own normalize."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from fusekit.losses.products import group_products


def draw_case(sizes, seed):
    """Groups of rows and slices with gaps between them."""
    generator = torch.Generator().manual_seed(seed)
    slices, at = [], 0
    for gap, _, count in sizes:
        slices.append(slice(at + gap, at + gap + count))
        at += gap + count
    rows = [rows for _, rows, _ in sizes]
    x = torch.randn(sum(rows), 5, generator=generator).double()
    weight = torch.randn(at + 1, 5, generator=generator).double()
    return F.normalize(x).requires_grad_(), weight.requires_grad_(), rows, slices


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(1, 4), st.integers(0, 4)), min_size=1, max_size=4
    ),
    st.booleans(), st.integers(0, 10**6),
)  # fmt: skip
def test_values_and_gradients_are_those_of_each_slice_alone(sizes, cosine, seed):
    x, weight, rows, slices = draw_case(sizes, seed)
    found = group_products(x, weight, rows, slices, cosine=cosine)
    centres = F.normalize(weight) if cosine else weight
    wanted = [r @ centres[at].T for r, at in zip(x.split(rows), slices, strict=True)]
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b)
    ours = torch.autograd.grad(sum(a.pow(3).sum() for a in found), (x, weight))
    theirs = torch.autograd.grad(sum(b.pow(3).sum() for b in wanted), (x, weight))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_gradients_are_those_of_differences():
    x, weight, rows, slices = draw_case([(1, 2, 3), (0, 1, 1), (0, 2, 4)], 0)
    assert torch.autograd.gradcheck(
        lambda x, w: group_products(x, w, rows, slices, cosine=True), (x, weight)
    )


def test_a_centre_of_no_length_has_no_cosine():
    x, weight = torch.eye(2), torch.zeros(1, 2)
    (found,) = group_products(x, weight, [2], [slice(0, 1)], cosine=True)
    assert found.tolist() == [[0.0], [0.0]]


@pytest.mark.parametrize("cosine", [True, False])
def test_in_half_only_the_product_is_rounded(cosine):
    x, weight, rows, slices = draw_case([(1, 2, 3), (2, 1, 4)], 1)
    exact = group_products(x, weight, rows, slices, cosine=cosine)
    half = group_products(x, weight, rows, slices, cosine=cosine, dtype=torch.bfloat16)
    ours = torch.autograd.grad(sum(a.sum() for a in half), (x, weight))
    theirs = torch.autograd.grad(sum(b.sum() for b in exact), (x, weight))
    for a, b in zip((*half, *ours), (*exact, *theirs), strict=True):
        assert a.dtype == torch.float64
        torch.testing.assert_close(a, b, rtol=0.03, atol=0.03)
