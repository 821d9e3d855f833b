"""Memory that two processes share without a name: one slot for each batch.

The memory is an anonymous file, which both map. One side fills slots and decides which is used
next, the other one hands them to the trainer and tells when a slot's last array is gone.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections import deque
from math import prod
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fusekit.errors import LoaderError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusekit.loader.crops.decode import Pixels

_FIRST: Final = 8  # slots of the first piece that is mapped; each further piece is twice as large
_REMOVE: Final = getattr(mmap, "MADV_REMOVE", None)  # Linux only


class AnonymousFile:
    """A file without a name, gone with the last process that has it; closed when dropped.

    Args:
        number: Descriptor of one that another process made; None makes one.
    """

    def __init__(self, number: int | None = None) -> None:
        self._close = os.close  # modules may be gone when the interpreter ends
        self.number = -1
        self.number = _make_file() if number is None else number

    def __del__(self) -> None:
        if self.number >= 0:
            self._close(self.number)


class Slots:
    """One side's view of the slots.

    Args:
        file: What holds them.
        shape: Of a batch's images, uint8.
    """

    def __init__(self, file: AnonymousFile, shape: tuple[int, ...]) -> None:
        self._file, self.shape = file, shape
        self._size = prod(shape)
        grain = mmap.ALLOCATIONGRANULARITY
        self._stride = -(-self._size // grain) * grain
        self._pieces: list[mmap.mmap] = []

    def view(self, slot: int) -> Pixels:
        """Give a slot's memory; it stays mapped as long as an array of it is there."""
        piece, start = self._place(slot)
        flat = np.frombuffer(self._map(piece), np.uint8, self._size, start)
        return flat.reshape(self.shape)

    def reserve(self, slot: int) -> None:
        """Make room for a slot in the file, so that writing to it can't fail.

        Raises:
            LoaderError: There is no room.
        """
        piece, _ = self._place(slot)
        end = _FIRST * ((2 << piece) - 1) * self._stride
        number, start = self._file.number, slot * self._stride
        try:
            if os.fstat(number).st_size < end:
                os.ftruncate(number, end)  # takes no room: the file has holes
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(number, start, self._stride)
            else:
                os.pwrite(number, bytes(self._stride), start)
        except OSError as error:
            raise LoaderError(
                "process", f"no memory for another batch ({error.strerror})",
                f"{self._stride:,} bytes", "lower prefetch or batch_size, or keep fewer batches",
            ) from error  # fmt: skip

    def release(self, slot: int) -> bool:
        """Give a slot's memory back to the system, where that can be done; tell whether it was."""
        if _REMOVE is None:
            return False
        piece, start = self._place(slot)
        try:
            self._map(piece).madvise(_REMOVE, start, self._stride)
        except OSError:  # a file system that can't
            return False
        return True

    def _place(self, slot: int) -> tuple[int, int]:
        """Give the piece that a slot is in, and where it starts there."""
        piece = (slot // _FIRST + 1).bit_length() - 1
        return piece, (slot - _FIRST * ((1 << piece) - 1)) * self._stride

    def _map(self, piece: int) -> mmap.mmap:
        # Few pieces, not a map for each slot: every map takes a descriptor.
        while len(self._pieces) <= piece:
            size = (_FIRST << len(self._pieces)) * self._stride
            offset = _FIRST * ((1 << len(self._pieces)) - 1) * self._stride
            self._pieces.append(mmap.mmap(self._file.number, size, offset=offset))
        return self._pieces[piece]


class SlotMemory:
    """The filling side's memory of batches: slots in place of :class:`BatchMemory`'s arrays.

    A slot is used again when the other side gave it back, or when its images were dropped before
    they were handed over. There is always another slot, so whoever keeps batches gets new ones.

    Args:
        file: What holds the slots.
        shape: Of every batch, uint8, ``(B, H, W, 3)`` or ``(B, 3, H, W)``.
        most: How many free slots keep their memory.
    """

    def __init__(self, file: AnonymousFile, shape: tuple[int, ...], most: int) -> None:
        self._slots, self._most = Slots(file, shape), most
        self._lock = Lock()
        self._count = 0
        self._returned: deque[int] = deque()
        self._free: list[int] = []
        self._empty: list[int] = []

    def take(self) -> Pixels:
        """Give memory; it counts as used until it is let go of or handed over.

        Raises:
            LoaderError: There is no room for another slot.
        """
        with self._lock:
            self._sort()
            if self._free:
                slot = self._free.pop()
            else:
                slot = self._empty.pop() if self._empty else self._count
                self._slots.reserve(slot)
                self._count = max(self._count, slot + 1)
            view = self._slots.view(slot)
        return lease(view, slot, self.give_back)

    def give_back(self, slot: int) -> None:
        """Take a slot back; called from any thread, and from the garbage collector."""
        # No lock: the collector may run in a thread that holds it.
        self._returned.append(slot)

    def _sort(self) -> None:
        while self._returned:
            slot = self._returned.popleft()
            spare = len(self._free) >= self._most and self._slots.release(slot)
            (self._empty if spare else self._free).append(slot)


def lease(view: Pixels, slot: int, done: Callable[[int], None]) -> Pixels:
    """Give an array of a slot's memory that calls ``done(slot)`` when it is gone.

    It is gone with its last view or tensor, through numpy and torch alike.
    """
    return np.asarray(_Lease(view, slot, done))


def hand_over(images: Pixels) -> int:
    """Give images of :meth:`SlotMemory.take` to the other side: their slot's number.

    The slot comes back when that side gives it back.

    Args:
        images: What was taken, no view of it.
    """
    holder: Any = images.base
    assert isinstance(holder, _Lease)
    holder.done = None
    return holder.slot


class _Lease:
    """What every view of a slot's array holds on to."""

    __slots__ = ("__array_interface__", "_view", "done", "slot")

    def __init__(self, view: Pixels, slot: int, done: Callable[[int], None]) -> None:
        self._view, self.slot = view, slot
        self.done: Callable[[int], None] | None = done
        self.__array_interface__: dict[str, Any] = view.__array_interface__

    def __del__(self) -> None:
        if self.done is not None:
            self.done(self.slot)


def _make_file() -> int:
    if hasattr(os, "memfd_create"):
        try:
            return os.memfd_create("fusekit-batches", os.MFD_CLOEXEC)
        except OSError:  # a sandbox may forbid it
            pass
    with tempfile.TemporaryFile(prefix="fusekit-") as file:  # has no name from the start
        return os.dup(file.fileno())
