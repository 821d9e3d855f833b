"""Memory of batches, used again as soon as nobody holds the batch."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from fusekit.loader.crops.decode import Pixels


class Memory(Protocol):
    """Gives the memory of batches."""

    def take(self) -> Pixels:
        """Give memory that nobody else uses; what stands in it is left from an earlier use."""
        ...


class BatchMemory:
    """Hand out arrays of one shape; one comes back when its last array, view or tensor is gone.

    Fresh memory costs a page fault for every 4 KB that are written: 5% of a decode. Whoever keeps
    batches simply gets fresh ones.

    Args:
        shape: Of every array, uint8.
        most: How many are kept for later.
    """

    def __init__(self, shape: tuple[int, ...], most: int) -> None:
        self._shape = shape
        self._free: deque[Pixels] = deque(maxlen=most)

    def take(self) -> Pixels:
        """Give an array; what stands in it is left from an earlier use."""
        try:
            buffer = self._free.pop()
        except IndexError:
            buffer = np.empty(self._shape, np.uint8)
        return np.asarray(_Lease(buffer, self._free))


class _Lease:
    """What every view of a handed-out array holds on to, through numpy and torch alike."""

    __slots__ = ("__array_interface__", "_buffer", "_free")

    def __init__(self, buffer: Pixels, free: deque[Pixels]) -> None:
        self._buffer, self._free = buffer, free
        self.__array_interface__: dict[str, Any] = buffer.__array_interface__

    def __del__(self) -> None:
        self._free.append(self._buffer)
