"""Matrix products in float32, or of numbers rounded to bfloat16 and summed in float32."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

import numpy as np

from fusekit.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fusekit.store.embeddings import Vectors

Precision: TypeAlias = Literal["float32", "bf16"]
"""``bf16``: factors of 8 significant bits; their products and sums are float32 all the same."""
Multiply: TypeAlias = "Callable[[Vectors, Vectors, Vectors], None]"
"""``multiply(left, right, out)`` writes ``left @ right.T``: (n, D), (m, D) and (n, m)."""

_HALF: Final = np.uint32(0x7FFF)  # of the 16 bits that are cut off, less the tie's own
_KEPT: Final = np.uint32(0xFFFF0000)


def check_precision(precision: str) -> None:
    """Refuse a precision that is none, or one that needs what is not installed.

    Raises:
        UsageError: It is neither float32 nor bf16.
        MissingExtraError: bf16 is asked for and torch is not installed.
    """
    if precision not in get_args(Precision):
        raise UsageError("--precision", repr(precision), "float32 or bf16")
    with multiplying(precision):  # type: ignore[arg-type]
        pass


@contextmanager
def multiplying(precision: Precision) -> Iterator[Multiply]:
    """Give the product of a precision; bf16 sets torch's own switch until the block ends.

    A processor with bfloat16 instructions takes them for ``bf16``; on another the same numbers
    come at float32's speed. Factors must have been rounded by :func:`round_to_bf16`: then what
    torch rounds is nothing, and the products are exact but for float32's summing.

    Raises:
        MissingExtraError: bf16 is asked for and torch is not installed.
    """
    if precision == "float32":
        yield _multiply
        return
    try:
        import torch
    except ImportError:
        raise MissingExtraError("--precision bf16", "torch") from None

    def multiply(left: Vectors, right: Vectors, out: Vectors) -> None:
        torch.matmul(
            torch.from_numpy(left), torch.from_numpy(right).T, out=torch.from_numpy(out)
        )  # fmt: skip

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")  # the process's, so it is set back below
    try:
        yield multiply
    finally:
        torch.set_float32_matmul_precision(before)


def _multiply(left: Vectors, right: Vectors, out: Vectors) -> None:
    np.matmul(left, right.T, out=out)


def round_to_bf16(vectors: Vectors) -> Vectors:
    """Round float32 numbers to the nearest that bfloat16 holds, ties to even.

    Args:
        vectors: Finite numbers, of any shape.

    Returns:
        float32, of the same shape, in memory of its own.

    Example:
        >>> round_to_bf16(np.array([1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-9], np.float32)).tolist()
        [1.0, 1.015625, 1.0]
    """
    bits = np.ascontiguousarray(vectors, np.float32).view(np.uint32)
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    return ((bits + (_HALF + odd)) & _KEPT).view(np.float32)
