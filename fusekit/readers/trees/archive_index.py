"""What an archive holds, as a sorted table that is small enough for millions of members."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fusekit.formats.archive import MAX_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fusekit.formats.archive import Member

_BATCH: Final = 1 << 16
_DRIVE: Final = re.compile(rb"[A-Za-z]:")
_SLASHES: Final = re.compile(rb"[/\\]")

_LEADS_OUT: Final = "members that lead out of the archive"
_NO_UTF8: Final = "names that are no UTF-8"
_NO_NAME: Final = "members whose names no file can have"


class ArchiveIndex:
    """The files of an archive by their paths in bytewise order: 24 bytes and its path for each.

    Args:
        members: Of the archive, in its order; the first one of a name counts.

    Attributes:
        passed_over: Members that no path leads to, by reason.
    """

    def __init__(self, members: Iterable[Member]) -> None:
        self.passed_over: Counter[str] = Counter()
        numbers = array("q")
        paths = self._paths(members, numbers)
        order = pc.array_sort_indices(paths).to_numpy()  # stable: the first of a name leads
        paths = paths.take(pa.array(order))
        first = np.ones(len(paths), bool)
        if len(paths) > 1:
            first[1:] = pc.not_equal(paths[1:], paths[:-1]).to_numpy(zero_copy_only=False)
        if not first.all():
            self.passed_over["members whose name came before"] = int((~first).sum())
            paths, order = paths.filter(pa.array(first)), order[first]
        table = np.frombuffer(numbers, np.int64).reshape(-1, 2)[order]
        self._offsets, self._sizes = (_longs(table[:, column]) for column in (0, 1))
        self._starts, self._text = _packed(paths)

    def __len__(self) -> int:
        return len(self._offsets)

    def find(self, path: bytes) -> tuple[int, int] | None:
        """Give offset and size of a file; None: there is none of this path."""
        at = self._first_from(path, 0)
        if at < len(self) and self._path(at) == path:
            return self._offsets[at], self._sizes[at]
        return None

    def below(self, folder: bytes) -> Iterator[tuple[bytes, tuple[int, int] | None]]:
        """List a folder: each name, with offset and size of a file and None for a folder.

        A folder stands where the paths below it do.
        """
        prefix = folder + b"/" if folder else b""
        at = self._first_from(prefix, 0)
        while at < len(self):
            path = self._path(at)
            if not path.startswith(prefix):
                return
            name, slash, _ = path[len(prefix) :].partition(b"/")
            if slash:
                yield name, None
                at = self._first_from(prefix + name + b"0", at)  # "0" is what follows "/"
            else:
                yield name, (self._offsets[at], self._sizes[at])
                at += 1

    def _paths(self, members: Iterable[Member], numbers: array[int]) -> pa.LargeBinaryArray:
        chunks: list[pa.Array] = []
        batch: list[bytes] = []
        for member in members:
            if member.kind == "folder":
                continue  # it is there by what it holds
            path, reason = _inside(member.name)
            if member.kind != "file":
                reason = "links" if member.kind == "link" else "neither files nor folders"
            if reason:
                self.passed_over[reason] += 1
                continue
            batch.append(path)
            numbers.extend((member.offset, member.size))
            if len(batch) == _BATCH:
                chunks.append(pa.array(batch, pa.large_binary()))
                batch = []
        return pa.concat_arrays([*chunks, pa.array(batch, pa.large_binary())])

    def _path(self, at: int) -> bytes:
        return bytes(self._text[self._starts[at] : self._starts[at + 1]])

    def _first_from(self, path: bytes, low: int) -> int:
        """Give the number of the first path from ``low`` on that is not before this one."""
        step, high = 1, low
        while high < len(self) and self._path(high) < path:  # near ones are found in few steps
            low, high, step = high + 1, high + step, step * 2
        high = min(high, len(self))
        while low < high:
            middle = (low + high) // 2
            if self._path(middle) < path:
                low = middle + 1
            else:
                high = middle
        return low


def _inside(name: bytes) -> tuple[bytes, str | None]:
    """Give a member's path inside the archive, or why it has none."""
    if len(name) > MAX_NAME:
        return b"", _NO_NAME
    if b"\\" in name and b"/" not in name and not name.startswith(b"\\"):
        name = name.replace(b"\\", b"/")  # as zips from Windows spell it
    parts = name.split(b"/")
    if name[:1] in {b"/", b"\\"} or _DRIVE.match(name) or b".." in _SLASHES.split(name):
        return b"", _LEADS_OUT
    path = b"/".join(part for part in parts if part not in {b"", b"."})
    try:
        path.decode()
    except UnicodeDecodeError:
        return b"", _NO_UTF8
    if not path or b"\0" in path:
        return b"", _NO_NAME
    return path, None


def _longs(values: np.ndarray[Any, Any]) -> memoryview:
    """Pack numbers so that one of them costs little to look up."""
    return np.ascontiguousarray(values, np.int64).data


def _packed(paths: pa.LargeBinaryArray) -> tuple[memoryview, memoryview]:
    """Give where each path starts, and all of them in one piece."""
    if not len(paths):
        return _longs(np.zeros(1)), memoryview(b"")
    paths = pa.concat_arrays([paths])  # without an offset into a larger buffer
    _, starts, text = paths.buffers()
    return memoryview(starts).cast("q")[paths.offset : paths.offset + len(paths) + 1], memoryview(
        text
    )
