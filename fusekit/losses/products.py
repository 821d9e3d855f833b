"""Products of groups of rows, each with a slice of one matrix of class centres.

With a small group for each slice, normalising the slices costs more than the products: autograd's
own way reads and writes matrices as large as the weights a dozen times. Here products are divided
by the centres' lengths afterwards, and each slice's gradient is written where it belongs, once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from collections.abc import Sequence

_LEAST_LENGTH = 1e-12  # as torch's normalize: a centre of length 0 has cosines of 0


def group_products(
    x: torch.Tensor,
    weight: torch.Tensor,
    sizes: Sequence[int],
    slices: Sequence[slice],
    *,
    cosine: bool,
    dtype: torch.dtype | None = None,
) -> tuple[torch.Tensor, ...]:
    """Multiply each group of rows with its slice of the weights.

    Args:
        x: Group after group, ``(B, D)``; for cosines of length 1.
        weight: Centres of any length, ``(C, D)``, of ``x``'s type.
        sizes: Rows of each group.
        slices: Rows of the weights of each group, disjoint.
        cosine: Divide by the centres' lengths.
        dtype: Type to multiply in; None is ``x``'s. Lengths are divided out before, in ``x``'s.

    Returns:
        For each group ``(rows, centres)``, of ``x``'s type.

    Example:
        >>> x, weight = torch.eye(2), torch.tensor([[2.0, 0.0], [0.0, 3.0], [4.0, 0.0]])
        >>> slices = [slice(0, 1), slice(1, 3)]
        >>> [p.tolist() for p in group_products(x, weight, [1, 1], slices, cosine=True)]
        [[[1.0]], [[1.0, 0.0]]]
    """
    groups = (tuple(sizes), tuple(slices))
    products: tuple[torch.Tensor, ...] = _Products.apply(x, weight, groups, cosine, dtype)
    return products


class _Products(torch.autograd.Function):  # type: ignore[misc] # torch is not seen by the checker
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch's context takes any attribute
        x: torch.Tensor,
        weight: torch.Tensor,
        groups: tuple[tuple[int, ...], tuple[slice, ...]],
        cosine: bool,  # noqa: FBT001 - apply takes arguments by place
        dtype: torch.dtype | None,
    ) -> tuple[torch.Tensor, ...]:
        sizes, slices = groups
        products, inverses = [], []
        for rows, at in zip(x.split(sizes), slices, strict=True):
            centres = weight[at]  # (n, D)
            inverse = _inverse_lengths(centres) if cosine else None  # (n,)
            if dtype is None:
                product = rows @ centres.T  # (b, n)
                product = product if inverse is None else product.mul_(inverse)
            else:
                product = (rows.to(dtype) @ _unit(centres, inverse, dtype).T).to(x.dtype)
            products.append(product)
            inverses.append(inverse)
        ctx.save_for_backward(x, weight, *inverses, *products)
        ctx.groups, ctx.dtype = groups, dtype
        return tuple(products)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[Any, ...]:  # noqa: ANN401
        x, weight, *saved = ctx.saved_tensors
        sizes, slices = ctx.groups
        inverses, products = saved[: len(sizes)], saved[len(sizes) :]
        to_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        to_weight = None
        if ctx.needs_input_grad[1]:
            whole = sum(at.stop - at.start for at in slices) == len(weight)
            to_weight = torch.empty_like(weight) if whole else torch.zeros_like(weight)
        places = [slice(end - size, end) for end, size in zip(_ends(sizes), sizes, strict=True)]
        for of_group, rows, at, inverse, product in zip(
            gradients, places, slices, inverses, products, strict=True
        ):
            centres = weight[at]
            if ctx.dtype is None:
                by_raw = of_group if inverse is None else of_group * inverse  # (b, n)
                if to_x is not None:
                    torch.mm(by_raw, centres, out=to_x[rows])
                if to_weight is not None:
                    torch.mm(by_raw.T, x[rows], out=to_weight[at])
            else:
                half = of_group.to(ctx.dtype)
                if to_x is not None:
                    to_x[rows] = half @ _unit(centres, inverse, ctx.dtype)
                if to_weight is not None:
                    to_weight[at] = half.T @ x[rows].to(ctx.dtype)
                    to_weight[at] *= 1 if inverse is None else inverse[:, None]
            if to_weight is not None and inverse is not None:
                # The length's part: a centre's gradient has nothing along the centre.
                along = (of_group * product).sum(0).mul_(inverse.square())  # (n,)
                to_weight[at].addcmul_(centres, along[:, None], value=-1)
        return to_x, to_weight, None, None, None


def _inverse_lengths(centres: torch.Tensor) -> torch.Tensor:
    return torch.linalg.vector_norm(centres, dim=1).clamp_min(_LEAST_LENGTH).reciprocal()


def _unit(centres: torch.Tensor, inverse: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor:
    return (centres if inverse is None else centres * inverse[:, None]).to(dtype)


def _ends(sizes: Sequence[int]) -> list[int]:
    return [sum(sizes[: i + 1]) for i in range(len(sizes))]
