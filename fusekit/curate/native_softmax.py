"""Running softmaxes over a block of logits in one call, by a library where it was built.

Numpy writes the exponentials of a block down to add them up; ``softmax_run.c`` reads the block once
and writes nothing. See :mod:`fusekit.compiled`.
"""

from __future__ import annotations

from ctypes import c_int64, c_size_t, c_void_p
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from fusekit.compiled import check_array, is_allowed, load_call

if TYPE_CHECKING:
    import numpy.typing as npt

    from fusekit.compiled import Call
    from fusekit.store.embeddings import Vectors

    Totals: TypeAlias = npt.NDArray[np.float64]
    Classes: TypeAlias = npt.NDArray[np.int64]

LIBRARY: Final = Path(__file__).with_name("softmax_run.so")
EXP_ERROR: Final = 4e-7
"""Exponentials are off by at most this share."""
_NAME: Final = "fusekit_softmax_run_1"
_ARGUMENTS: Final = (c_size_t, c_size_t, c_void_p, c_int64, c_void_p, c_void_p, c_void_p)


class NativeSoftmax:
    """Take in blocks of logits, without the interpreter's lock; any number of threads at once.

    Args:
        call: The library's function.
    """

    def __init__(self, call: Call) -> None:
        self._call = call

    def add(self, logits: Vectors, begin: int, top: Vectors, at: Classes, total: Totals) -> None:
        """Take in the logits with some classes; the numbers of each row are brought up to date.

        Args:
            logits: Finite, float32, ``(n, m)``, C order.
            begin: The class of the first column.
            top: float32 ``(n,)``: the largest logit so far, at first -inf.
            at: int64 ``(n,)``: its class; on a tie the earlier one.
            total: float64 ``(n,)``: the sum of ``exp(logit - top)`` so far, at first 0. Terms are
                off by at most :data:`EXP_ERROR`, and eight at a time are added in float32.

        Raises:
            ValueError: An array is of another type, shape or order.
        """
        count = len(logits)
        check_array(logits, np.float32, count)
        check_array(top, np.float32, count)
        check_array(at, np.int64, count)
        check_array(total, np.float64, count)
        if logits.ndim != 2:
            raise ValueError(logits.shape)
        self._call(
            *logits.shape, logits.ctypes.data, begin,
            top.ctypes.data, at.ctypes.data, total.ctypes.data,
        )  # fmt: skip


def find_softmax() -> NativeSoftmax | None:
    """Give the compiled softmax; None where there is none to use."""
    if not is_allowed():
        return None
    call = load_call(LIBRARY, _NAME, _ARGUMENTS, _agrees, "exponentials are written and added up")
    return None if call is None else NativeSoftmax(call)


def _agrees(call: Call) -> bool:
    """Take in two blocks, of whole vectors and of some more columns, that have ties."""
    softmax = NativeSoftmax(call)
    logits = (np.arange(3 * 300) * 37 % 211).reshape(3, 300).astype(np.float32) / 4
    top, at, total = np.full(3, -np.inf, np.float32), np.zeros(3, np.int64), np.zeros(3)
    for begin, end in ((0, 130), (130, 300)):
        softmax.add(np.ascontiguousarray(logits[:, begin:end]), begin, top, at, total)
    largest = logits.max(axis=1)
    wanted = np.exp(logits.astype(np.float64) - largest[:, None]).sum(axis=1)
    return (
        np.array_equal(top, largest)
        and np.array_equal(at, logits.argmax(axis=1))
        and bool((np.abs(total / wanted - 1) < 2 * EXP_ERROR).all())
    )
