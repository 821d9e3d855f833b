"""Shards of the cache that are open for reading; only so many at a time."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class ShardFile:
    """A cached shard, open; closed when the last thread that reads it lets go of it."""

    __slots__ = ("_close", "_number", "size")

    def __init__(self, path: Path) -> None:
        self._close = os.close  # modules may be gone when the interpreter ends
        self._number = -1
        self._number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._number).st_size

    def read(self, offset: int, length: int) -> bytes:
        """Read ``length`` bytes at ``offset``; fewer only where the file ends."""
        data = os.pread(self._number, length, offset)
        while 0 < len(data) < length:  # one call gives at most 2 GiB
            more = os.pread(self._number, length - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    @property
    def is_gone(self) -> bool:
        """Whether its name was removed, so that only this descriptor keeps its bytes."""
        return os.fstat(self._number).st_nlink == 0

    def __del__(self) -> None:
        if self._number >= 0:
            self._close(self._number)
