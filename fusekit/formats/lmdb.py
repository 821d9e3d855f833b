"""Read an LMDB in key order, page by page, trusting nothing.

LMDB's own library maps the file and trusts every number in it, so a damaged or hostile file ends
the process; here each page, offset and length is checked against the file. Nothing is written,
and nothing is kept but the pages between the root and the current leaf.

Reference:
    Symas LMDB 0.9, ``libraries/liblmdb/mdb.c``: ``MDB_meta``, ``MDB_db``, ``MDB_page`` and
    ``MDB_node`` on 64-bit little-endian machines, data version 1.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final

from fusekit.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAGIC: Final = 0xBEEFC0DE
_VERSION: Final = 1
_META: Final = struct.Struct("<IIQQ")  # magic, version, map address, map size
_DB: Final = struct.Struct("<IHHQQQQQ")  # pad, flags, depth, 3 page counts, entries, root
_META_TAIL: Final = struct.Struct("<QQ")  # last page, transaction
_PAGE: Final = struct.Struct("<QHHHH")  # number, pad, flags, end of pointers, start of nodes
_OVERFLOW: Final = struct.Struct("<QHHI")  # number, pad, flags, pages
_NODE: Final = struct.Struct("<HHHH")  # data size or page (low, high), flags, key size

_NO_PAGE: Final = (1 << 64) - 1
_SMALLEST_PAGE, _LARGEST_PAGE = 256, 1 << 16
_META_SIZE: Final = _PAGE.size + _META.size + 2 * _DB.size + _META_TAIL.size
_MAX_DEPTH: Final = 32  # MDB's own limit

_IS_BRANCH, _IS_LEAF, _IS_OVERFLOW = 0x01, 0x02, 0x04
_REVERSED_KEYS, _INTEGER_KEYS = 0x02, 0x08
_BIG, _SUB, _DUPLICATES = 0x01, 0x02, 0x04  # flags of a node


@dataclass(frozen=True, slots=True)
class Value:
    """One entry: its key, and where its value stands in the file.

    Attributes:
        key: As stored.
        offset: First byte of the value in the file.
        size: Bytes of the value.
        is_database: The value is a database of its own, which is not read.
    """

    key: bytes
    offset: int
    size: int
    is_database: bool = False


@dataclass(frozen=True, slots=True)
class _Meta:
    page_size: int
    flags: int
    depth: int
    entries: int
    root: int
    transaction: int


class LmdbFile:
    """An LMDB's main database.

    Args:
        file: ``data.mdb`` or a single-file database, open and able to seek; unbuffered is best.
        where: What to call it in errors.

    Attributes:
        entries: How many entries the database states.
        integer_keys: Keys are integers in the machine's own bytes.

    Raises:
        FormatError: It is no LMDB, or one of another machine's kind.
    """

    def __init__(self, file: IO[bytes], where: str) -> None:
        self._file, self._where = file, where
        self._size = file.seek(0, 2)
        self._meta = self._newest_meta()
        self.entries = self._meta.entries
        self.integer_keys = bool(self._meta.flags & _INTEGER_KEYS)

    def values(self) -> Iterator[Value]:
        """Walk the entries in key order.

        Raises:
            FormatError: A page is damaged, comes again or lies past the end of the file, a key
                comes again or has several values, or there are not as many entries as the
                database states.
        """
        found = 0
        latest: bytes | int | None = None
        for value in self._walk() if self._meta.root != _NO_PAGE else ():
            place = self._place(value.key)
            if latest is not None and place <= latest:  # type: ignore[operator]  # of one kind
                raise FormatError(
                    self._where, f"the key {value.key[:40]!r} is not behind the one before it",
                    "keys in order, each once", "it is damaged: fetch it again",
                )  # fmt: skip
            latest = place
            found += 1
            yield value
        if found != self.entries:
            raise FormatError(self._where, f"{found} entries", f"{self.entries}, as it states")

    def _walk(self) -> Iterator[Value]:
        left = self._size // self._meta.page_size  # a tree has no page twice: this ends any loop
        path: list[Iterator[int]] = [iter((self._meta.root,))]
        while path:
            number = next(path[-1], None)
            if number is None:
                path.pop()
                continue
            left -= 1
            if left < 0:
                raise FormatError(self._where, "its pages run in a circle", "a tree of pages")
            page, nodes = self._read_page(number, is_leaf=len(path) == self._meta.depth)
            if len(path) == self._meta.depth:
                yield from self._leaf(number, page, nodes)
            else:
                path.append(self._children(number, page, nodes))

    def _place(self, key: bytes) -> bytes | int:
        """Give what keys are ordered by."""
        if self.integer_keys:
            return int.from_bytes(key, "little")
        return key[::-1] if self._meta.flags & _REVERSED_KEYS else key

    def _newest_meta(self) -> _Meta:
        first = self._read_meta(0)
        if first is None:
            raise self._not_lmdb()
        second = self._read_meta(first.page_size)
        return first if second is None or second.transaction < first.transaction else second

    def _read_meta(self, offset: int) -> _Meta | None:
        data = self._read(offset, _META_SIZE)
        if len(data) < _META_SIZE:
            return None
        magic, version, _, _ = _META.unpack_from(data, _PAGE.size)
        if magic != _MAGIC:
            return None
        if version != _VERSION:
            raise FormatError(
                self._where, f"an LMDB of version {version}", f"version {_VERSION}",
                "copy it with 'mdb_dump' and 'mdb_load' of LMDB 0.9",
            )  # fmt: skip
        at = _PAGE.size + _META.size
        page_size = _DB.unpack_from(data, at)[0]  # the pad of the list of free pages
        _, flags, depth, _, _, _, entries, root = _DB.unpack_from(data, at + _DB.size)
        _, transaction = _META_TAIL.unpack_from(data, at + 2 * _DB.size)
        good_size = (
            _SMALLEST_PAGE <= page_size <= _LARGEST_PAGE and page_size & (page_size - 1) == 0
        )
        if not good_size or depth > _MAX_DEPTH:
            found = f"pages of {page_size} bytes in a tree of depth {depth}"
            raise FormatError(self._where, found, "a power of two up to 65536, at most 32")
        return _Meta(page_size, flags, depth, entries, root, transaction)

    def _not_lmdb(self) -> FormatError:
        head = self._read(0, 32)
        for shift, order in ((12, "<"), (12, ">"), (16, ">")):
            if head[shift : shift + 4] == struct.pack(f"{order}I", _MAGIC):
                return FormatError(
                    self._where, "an LMDB of a 32-bit or big-endian machine", "a 64-bit one",
                    "copy it with 'mdb_dump' there and 'mdb_load' here",
                )  # fmt: skip
        return FormatError(self._where, "is no LMDB, by its first bytes", "data.mdb or a *.lmdb")

    def _read_page(self, number: int, *, is_leaf: bool) -> tuple[bytes, tuple[int, ...]]:
        """Read a page and the places of its nodes."""
        size = self._meta.page_size
        page = self._read(number * size, size) if number <= self._size // size else b""
        if len(page) < size:
            raise FormatError(
                self._where, f"page {number} lies past the end at byte {self._size}",
                "a whole file", "it is cut off: fetch it again",
            )  # fmt: skip
        own, _, flags, lower, upper = _PAGE.unpack_from(page)
        wanted = _IS_LEAF if is_leaf else _IS_BRANCH
        count = (lower - _PAGE.size) // 2
        in_bounds = _PAGE.size <= lower <= upper <= size
        if own != number or flags & (_IS_LEAF | _IS_BRANCH | _IS_OVERFLOW) != wanted:
            raise self._bad_page(number, "another page")
        if not in_bounds:
            raise self._bad_page(number, "damaged bounds")
        nodes = struct.unpack_from(f"<{count}H", page, _PAGE.size)
        if nodes and (min(nodes) < upper or max(nodes) > size - _NODE.size):
            raise self._bad_page(number, "a node outside of it")
        return page, nodes

    def _children(self, number: int, page: bytes, nodes: tuple[int, ...]) -> Iterator[int]:
        if len(nodes) == 0:
            raise self._bad_page(number, "no node")
        for at in nodes:
            low, high, top, _ = _NODE.unpack_from(page, at)
            yield low | high << 16 | top << 32

    def _leaf(self, number: int, page: bytes, nodes: tuple[int, ...]) -> Iterator[Value]:
        size = self._meta.page_size
        for at in nodes:
            low, high, flags, key_size = _NODE.unpack_from(page, at)
            length = low | high << 16
            start = at + _NODE.size + key_size
            inside = 8 if flags & _BIG else length
            if start + inside > size:
                raise self._bad_page(number, "a node that runs past its end")
            if flags & _DUPLICATES:
                raise FormatError(
                    self._where, "a key has several values (DUPSORT)", "one value a key"
                )
            key = page[at + _NODE.size : start]
            offset = number * size + start
            if flags & _BIG:
                offset = self._overflow(int.from_bytes(page[start : start + 8], "little"), length)
            yield Value(key, offset, length, bool(flags & _SUB))

    def _overflow(self, number: int, length: int) -> int:
        """Give where a large value starts: behind the head of the first of its pages."""
        size = self._meta.page_size
        start = number * size + _OVERFLOW.size
        if start + length > self._size:
            raise FormatError(
                self._where, f"a value of {length} bytes on page {number} runs past the end at "
                f"byte {self._size}", "a whole file", "it is cut off: fetch it again",
            )  # fmt: skip
        own, _, flags, pages = _OVERFLOW.unpack(self._read(number * size, _OVERFLOW.size))
        if own != number or not flags & _IS_OVERFLOW or pages * size < _OVERFLOW.size + length:
            raise self._bad_page(number, "no large value of this size")
        return start

    def _read(self, offset: int, size: int) -> bytes:
        self._file.seek(offset)
        return self._file.read(size)

    def _bad_page(self, number: int, found: str) -> FormatError:
        place = f"{self._where}: page {number}"
        return FormatError(place, f"holds {found}", "an undamaged LMDB", "fetch it again")
