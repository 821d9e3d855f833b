"""A run of crops that are pixels already, copied in one call, by a library where it was built.

Crops stored as ``.npy`` files, and those that a cache keeps, are no work but for the copying:
taking them one by one costs more than the copy. See :mod:`fusekit.compiled`.
"""

from __future__ import annotations

import sys
from ctypes import c_int, c_size_t, c_uint32, c_void_p
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from fusekit.compiled import check_array, is_allowed, load_call

if TYPE_CHECKING:
    import numpy.typing as npt

    from fusekit.compiled import Call

    Pixels: TypeAlias = npt.NDArray[np.uint8]
    Numbers: TypeAlias = npt.NDArray[np.int64]
    Sums: TypeAlias = npt.NDArray[np.uint64]
    Found: TypeAlias = npt.NDArray[np.bool_]

LIBRARY: Final = Path(__file__).with_name("copy_run.so")
_NAME: Final = "fusekit_copy_run_1"
_ARGUMENTS: Final = (
    c_size_t, c_void_p, c_void_p, c_void_p, c_size_t, c_void_p, c_void_p, c_uint32, c_uint32,
    c_int, c_void_p, c_void_p,
)  # fmt: skip
_WORD: Final = 8


class NativeCopier:
    """Copy runs of crops of one size; any number of threads call it at once.

    Args:
        call: The library's function.
        height: Rows of every crop.
        width: Columns of every crop.
    """

    def __init__(self, call: Call, height: int, width: int) -> None:
        self._call, self._height, self._width = call, height, width

    @property
    def sums(self) -> bool:
        """Whether crops can be compared with sums: of whole words, the lowest byte first."""
        return self._height * self._width * 3 % _WORD == 0 and sys.byteorder == "little"

    def copy(
        self,
        addresses: Numbers,
        lengths: Numbers,
        out: Pixels,
        flips: Found | None,
        *,
        head: bytes = b"",
        sums: Sums | None = None,
    ) -> Found:
        """Copy a run of crops into a batch, without the interpreter's lock.

        The caller keeps what is at the addresses in place until this returns.

        Args:
            addresses: Where each stored crop begins in memory, int64, ``(n,)``.
            lengths: Its bytes, int64, ``(n,)``; 0: that crop is left out.
            out: Where the pixels go, RGB, uint8, ``(n, H, W, 3)`` or ``(n, 3, H, W)``, C order.
            flips: Which crops are mirrored left to right, ``(n,)``; None: none of them.
            head: What stands before the pixels, ``H * W * 3`` bytes; other crops are left out.
            sums: Of each crop, its 8-byte words modulo 2**64, ``(n,)``; a crop whose copy has
                another sum is left out. None: crops are not compared.

        Returns:
            Which crops were copied, ``(n,)``. The places of the others hold anything.

        Raises:
            ValueError: An array is of another type, shape or order.
        """
        count, shape = len(out), (self._height, self._width)
        planes = out.shape[1:] == (3, *shape)
        if not planes and out.shape[1:] != (*shape, 3):
            raise ValueError(out.shape)
        check_array(addresses, np.int64, count)
        check_array(lengths, np.int64, count)
        check_array(out, np.uint8, count)
        if flips is not None:
            check_array(flips, np.bool_, count)
        if sums is not None:
            check_array(sums, np.uint64, count)
            if not self.sums:
                raise ValueError(shape)
        status = np.empty(count, np.uint8)
        self._call(
            count, addresses.ctypes.data, lengths.ctypes.data, head, len(head),
            None if sums is None else sums.ctypes.data, out.ctypes.data, *shape, planes,
            None if flips is None else flips.ctypes.data, status.ctypes.data,
        )  # fmt: skip
        return np.equal(status, 0)


def find_copier(height: int, width: int) -> NativeCopier | None:
    """Give the compiled copier for crops of a size; None where there is none to use."""
    if not is_allowed():
        return None
    call = load_call(LIBRARY, _NAME, _ARGUMENTS, _agrees, "stored pixels are copied one by one")
    return None if call is None else NativeCopier(call, height, width)


def _agrees(call: Call) -> bool:
    """Copy two crops in every way, and leave out those that don't fit."""
    crops = np.arange(3 * 4 * 6 * 3, dtype=np.uint8).reshape(3, 4, 6, 3)
    flips, addresses = np.array([False, True, True]), crops.ctypes.data + np.arange(3) * 72
    lengths, sums = np.array([72, 72, 71]), crops.reshape(3, -1).view("<u8").sum(1, dtype=np.uint64)
    copier, wanted = NativeCopier(call, 4, 6), np.stack([crops[0], crops[1, :, ::-1]])
    for shape, axes in (((3, 4, 6, 3), (0, 1, 2, 3)), ((3, 3, 4, 6), (0, 2, 3, 1))):
        for known in (sums, None):
            out = np.zeros(shape, np.uint8)
            made = copier.copy(addresses, lengths, out, flips, sums=known)
            same = np.array_equal(out.transpose(axes)[:2], wanted)
            if not same or made.tolist() != [True, True, False]:
                return False
    return not copier.copy(addresses, lengths, out, None, sums=sums + np.uint64(1)).any()
