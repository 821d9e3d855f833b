"""A mixture's shards, open for reading byte ranges; only so many at a time."""

from __future__ import annotations

import os
from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class ShardFiles:
    """Read byte ranges of shards from any number of threads.

    Args:
        paths: The shards, by shard number.
        most: How many descriptors stay open, the least recently used being closed first.
            Systems commonly allow a process 1,024.
    """

    def __init__(self, paths: Sequence[Path], most: int = 256) -> None:
        self.paths = paths
        self._most = most
        self._open: OrderedDict[int, _Descriptor] = OrderedDict()
        self._lock = Lock()

    def read(self, shard: int, offset: int, length: int) -> bytes:
        """Read ``length`` bytes at ``offset``; fewer only where the shard ends early.

        Raises:
            OSError: The shard is not there or can't be read.
        """
        file = self._descriptor(shard)
        data = os.pread(file.number, length, offset)
        while 0 < len(data) < length:  # one call gives at most 2 GiB, network file systems less
            more = os.pread(file.number, length - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def close(self) -> None:
        """Close every descriptor that no thread is reading; the rest as they finish."""
        with self._lock:
            self._open.clear()

    def _descriptor(self, shard: int) -> _Descriptor:
        with self._lock:
            file = self._open.get(shard)
            if file is None:
                file = self._open[shard] = _Descriptor(self.paths[shard])
                if len(self._open) > self._most:
                    self._open.popitem(last=False)
            else:
                self._open.move_to_end(shard)
        return file


class _Descriptor:
    """An open file that is closed when the last thread that reads it lets go of it."""

    __slots__ = ("_close", "number")

    def __init__(self, path: Path) -> None:
        self._close = os.close  # modules may be gone when the interpreter ends
        self.number = -1
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if self.number >= 0:
            self._close(self.number)
