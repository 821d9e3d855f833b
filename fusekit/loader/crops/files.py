"""A mixture's shards, open for reading byte ranges; only so many at a time."""

from __future__ import annotations

import os
import resource
from mmap import PROT_READ, mmap
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

import numpy as np

from fusekit.loader.crops.mounts import is_local

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    Numbers: TypeAlias = npt.NDArray[np.int64]


class ShardSource(Protocol):
    """Where the bytes of shards come from; any number of threads read at once."""

    @property
    def gathers(self) -> bool:
        """Whether several ranges are read faster at once than one after the other."""
        ...

    def read(self, shard: int, offset: int, length: int) -> bytes:
        """Read ``length`` bytes at ``offset``; fewer only where the shard ends early.

        Raises:
            OSError: The shard is not there or can't be read.
            LoaderError: The same, said in full.
        """
        ...

    def view(self, shard: int, offset: int, length: int) -> bytes | memoryview:
        """Read as :meth:`read`, without a copy where the shard can be mapped."""
        ...

    def gather(self, ranges: Sequence[tuple[int, int, int]]) -> list[bytes]:
        """Read several ranges: shard, offset and length of each.

        Raises:
            OSError: As :meth:`read`.
            LoaderError: The same.
        """
        ...

    def distrust(self, shard: int) -> bool:
        """Look at a shard again of which a crop gave no pixels.

        Returns:
            Whether reading it again may give other bytes.
        """
        ...

    def name(self, shard: int) -> str:
        """Give where a shard is, for messages."""
        ...

    def at(self, step: int) -> None:
        """Be told that the trainer has come to a step, to look ahead from there."""
        ...

    def figures(self) -> Mapping[str, float]:
        """Give counts for ``MixtureLoader.stats()``; empty where nothing is worth counting."""
        ...

    def close(self) -> None:
        """Close what is open."""
        ...


class Located(NamedTuple):
    """Ranges in memory.

    Attributes:
        addresses: Where each begins, int64, ``(n,)``.
        lengths: Its bytes; 0: it is not in memory.
        held: Keeps them in memory as long as it is held.
    """

    addresses: Numbers
    lengths: Numbers
    held: Sequence[object]


class ShardFiles:
    """Read byte ranges of local shards from any number of threads.

    Args:
        paths: The shards, by shard number.
        most: How many descriptors stay open, the longest open being closed first; None takes half
            of what the system allows this process, at most 4,096.
    """

    gathers = False

    def __init__(self, paths: Sequence[Path], most: int | None = None) -> None:
        self.paths = paths
        self._most = most_open() if most is None else most
        self._open: dict[int, _Descriptor] = {}
        self._maps: dict[int, _Map] = {}
        self._local: dict[Path, bool] = {}
        self._lock = Lock()

    def read(self, shard: int, offset: int, length: int) -> bytes:
        """Read ``length`` bytes at ``offset``; fewer only where the shard ends early.

        Raises:
            OSError: The shard is not there or can't be read.
        """
        # No lock for a shard that is open: the descriptor stays open while it is held here.
        file = self._open.get(shard) or self._descriptor(shard)
        data = os.pread(file.number, length, offset)
        while 0 < len(data) < length:  # one call gives at most 2 GiB, network file systems less
            more = os.pread(file.number, length - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def view(self, shard: int, offset: int, length: int) -> bytes | memoryview:
        """Give ``length`` bytes at ``offset``, fewer where the shard ends early.

        Of a shard on a local disk they are a piece of its map: a call and a copy of the system cost
        5% of a decode. Nothing in a store cuts a shard that stands; a disk that fails, or something
        else that cuts a shard while it is mapped, ends the process.

        Raises:
            OSError: The shard is not there or can't be read.
        """
        mapped = self._maps.get(shard)
        if mapped is None:
            if not self._is_local(shard):
                return self.read(shard, offset, length)
            mapped = self._map(shard)
        return mapped.view[offset : offset + length]

    def locate(self, shards: Numbers, offsets: Numbers, lengths: Numbers) -> Located:
        """Give where ranges of shards on a local disk are in memory.

        A shard that is elsewhere, missing or empty has no range, nor is there one that goes past
        its end: reading it says what is the matter.

        Args:
            shards: Shard of each range, ``(n,)``.
            offsets: Its first byte.
            lengths: Its bytes; those under 1 are no range.
        """
        maps = {shard: self._map_if_local(shard) for shard in set(shards.tolist())}
        held = [maps[shard] for shard in shards.tolist()]
        begin = np.array([each.address for each in held], np.int64)
        size = np.array([each.size for each in held], np.int64)
        there = (lengths > 0) & (offsets >= 0) & (offsets <= size - lengths)
        return Located(begin + offsets, np.where(there, lengths, 0), list(maps.values()))

    def gather(self, ranges: Sequence[tuple[int, int, int]]) -> list[bytes]:
        """Read several ranges, one after the other.

        Raises:
            OSError: As :meth:`read`.
        """
        return [self.read(*each) for each in ranges]

    def distrust(self, shard: int) -> bool:  # noqa: ARG002 - any shard
        """Read what is there, and nothing else: never true."""
        return False

    def name(self, shard: int) -> str:
        """Give a shard's path."""
        return str(self.paths[shard])

    def at(self, step: int) -> None:
        """Need not know: the system reads ahead by itself."""

    def figures(self) -> Mapping[str, float]:
        """Count nothing."""
        return {}

    def close(self) -> None:
        """Close every descriptor that no thread is reading; the rest as they finish."""
        with self._lock:
            self._open.clear()
            self._maps.clear()

    def _descriptor(self, shard: int) -> _Descriptor:
        with self._lock:
            file = self._open.get(shard)
            if file is None:
                file = self._open[shard] = _Descriptor(self.paths[shard])
                self._drop_oldest()
        return file

    def _is_local(self, shard: int) -> bool:
        folder = self.paths[shard].parent
        local = self._local.get(folder)
        if local is None:
            local = self._local[folder] = is_local(folder.resolve())
        return local

    def _map_if_local(self, shard: int) -> _Map:
        mapped = self._maps.get(shard)
        if mapped is not None:
            return mapped
        try:
            return self._map(shard) if self._is_local(shard) else _NO_MAP
        except OSError:
            return _NO_MAP

    def _map(self, shard: int) -> _Map:
        with self._lock:
            mapped = self._maps.get(shard)
            if mapped is None:
                mapped = self._maps[shard] = _mapped(self.paths[shard])
                self._drop_oldest()
        return mapped

    def _drop_oldest(self) -> None:
        # A map keeps a descriptor too.
        if len(self._open) + len(self._maps) > self._most:
            fuller: dict[int, _Descriptor] | dict[int, _Map]
            fuller = self._open if len(self._open) > len(self._maps) else self._maps
            del fuller[next(iter(fuller))]


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


class _Map(NamedTuple):
    """A file in memory, until the last who holds its view lets go of it."""

    view: memoryview
    address: int
    size: int


_NO_MAP = _Map(memoryview(b""), 0, 0)


def _mapped(path: Path) -> _Map:
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if not size:
            return _NO_MAP  # an empty file can't be mapped
        view = memoryview(mmap(file.fileno(), size, prot=PROT_READ))
    return _Map(view, np.frombuffer(view, np.uint8).ctypes.data, size)


def most_open() -> int:
    """Give how many shards may be open: half of what the system allows this process, or 4,096."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 4096 if soft == resource.RLIM_INFINITY else max(16, min(4096, soft // 2))
