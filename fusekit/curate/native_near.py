"""The comparisons of the search of near hashes in one call, by a library where it was built.

Numpy needs a dozen passes over every block of pairs; ``near_run.c`` needs one, without writing the
pairs down that are not near. See :mod:`fusekit.compiled`.
"""

from __future__ import annotations

from ctypes import c_int, c_int64, c_size_t, c_void_p
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from fusekit.compiled import check_array, is_allowed, load_call

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from fusekit.compiled import Call

    Words: TypeAlias = npt.NDArray[np.uint64]
    Numbers: TypeAlias = npt.NDArray[np.int64]
    Found: TypeAlias = tuple[Numbers, Numbers, npt.NDArray[np.int16]]

LIBRARY: Final = Path(__file__).with_name("near_run.so")
ROOM: Final = 1 << 16
"""Pairs that one call gives."""
_NAME: Final = "fusekit_near_run_1"
_ARGUMENTS: Final = (
    c_int64, c_void_p, c_void_p, c_void_p, c_void_p, c_int64, c_void_p, c_int, c_size_t, c_void_p,
    c_int, c_int64, c_void_p, c_void_p, c_void_p, c_void_p,
)  # fmt: skip


class NativeNear:
    """Compare hashes in the order of a substring, without the interpreter's lock.

    Args:
        call: The library's function.
        room: Pairs that are given at once.
    """

    def __init__(self, call: Call, room: int = ROOM) -> None:
        self._call, self._room = call, room

    def search(
        self, keys: Numbers, starts: Numbers, words: tuple[Words, Words], change: int, mask: Words,
        radius: int, before: Words, reach: int,
    ) -> Iterator[Found]:  # fmt: skip
        """Compare the hashes whose substrings differ by exactly ``change``.

        Args:
            keys: The substrings, ascending, int64 ``(N,)``.
            starts: Where each value of them begins, int64 ``(2**bits + 1,)``.
            words: Low and high words of the hashes, uint64, ``(N,)`` each.
            change: The bits of the substring in which the two of a pair differ; 0: none.
            mask: Bits of one of the two that are flipped, uint64 ``(2,)``.
            radius: Most bits in which pairs differ.
            before: Masks of other substrings, uint64 ``(m, 2)``: pairs that differ in at most
                ``reach`` bits of one of them are left out.
            reach: See ``before``.

        Yields:
            Places ``(n,)`` in the order, those of the other ends, and how many bits differ.

        Raises:
            ValueError: An array is of another type, length or order.
        """
        count = len(keys)
        check_array(keys, np.int64, count)
        check_array(starts, np.int64, len(starts))
        check_array(mask, np.uint64, 2)
        check_array(before, np.uint64, len(before))
        for word in words:
            check_array(word, np.uint64, count)
        if before.shape[1:] != (2,) or (
            count and max(keys[-1] ^ change, keys[-1]) + 1 >= len(starts)
        ):
            raise ValueError((before.shape, starts.shape))
        left, right = np.empty(self._room, np.int64), np.empty(self._room, np.int64)
        distance, state = np.empty(self._room, np.int16), np.zeros(3, np.int64)
        while state[0] < count:
            self._call(
                count, keys.ctypes.data, starts.ctypes.data, words[0].ctypes.data,
                words[1].ctypes.data, change, mask.ctypes.data, radius, len(before),
                before.ctypes.data, reach, self._room, left.ctypes.data, right.ctypes.data,
                distance.ctypes.data, state.ctypes.data,
            )  # fmt: skip
            found = int(state[2])
            yield left[:found].copy(), right[:found].copy(), distance[:found].copy()


def find_near_search() -> NativeNear | None:
    """Give the compiled search; None where there is none to use."""
    if not is_allowed():
        return None
    call = load_call(LIBRARY, _NAME, _ARGUMENTS, _agrees, "hashes are compared in blocks of pairs")
    return None if call is None else NativeNear(call)


def _agrees(call: Call) -> bool:
    """Search nine hashes with room for two pairs, against the obvious loop."""
    low = np.arange(9, dtype=np.uint64) * np.uint64(5)
    high = low ^ np.uint64(6)
    keys, starts = np.arange(9) // 3, np.array([0, 3, 6, 9, 9])
    before = np.array([[1, 2]], np.uint64)
    for change in (0, 1, 2):
        pairs = [
            (a, b, bits)
            for a in range(9)
            for b in range(a + 1, 9)
            if keys[a] ^ keys[b] == change
            and (bits := 2 * int(low[a] ^ low[b]).bit_count()) <= 4
            and int((low[a] ^ low[b]) & 1).bit_count() + int((low[a] ^ low[b]) & 2).bit_count() > 0
        ]
        parts = NativeNear(call, 2).search(
            keys, starts, (low, high), change, np.zeros(2, np.uint64), 4, before, 0
        )
        columns = [np.concatenate(each).tolist() for each in zip(*parts, strict=True)]
        if list(zip(*columns, strict=True)) != pairs:
            return False
    return True
