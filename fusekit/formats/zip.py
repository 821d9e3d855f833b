"""Zip archives read in place: the directory listed as a stream, members by their own heads.

The standard library's ``zipfile`` keeps an object of half a kilobyte for each member and reads
the whole directory before any member: too much for millions of pictures in many workers.

Reference:
    PKWARE, "APPNOTE.TXT - .ZIP File Format Specification", version 6.3.10: 4.3.7 (local header),
    4.3.12 (central directory), 4.3.14-16 (ends), 4.5.3 (zip64).
"""

from __future__ import annotations

import stat
import struct
import zlib
from typing import IO, TYPE_CHECKING, Final, NamedTuple

from fusekit.errors import FormatError
from fusekit.formats.archive import Member

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fusekit.formats.archive import MemberKind

_LOCAL: Final = struct.Struct("<4sHHHHHLLLHH")
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_END: Final = struct.Struct("<4s4H2LH")
_LOCATOR64: Final = struct.Struct("<4sLQL")
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_MAX_COMMENT: Final = (1 << 16) - 1
_IN_ZIP64: Final = 0xFFFFFFFF  # a 32-bit field whose value stands in the zip64 extra field
_ZIP64: Final = 1
_ENCRYPTED, _SIZES_FOLLOW = 1 << 0, 1 << 3
_STORED, _DEFLATED = 0, 8
_CHUNK: Final = 1 << 18
_MOST_INFLATED: Final = 1_032  # bytes that one byte of deflate can give: 258 for two bits
_UNIX: Final = 3


class _End(NamedTuple):
    """Where the central directory is, and what to add to its offsets."""

    start: int
    size: int
    shift: int


class ZipArchive:
    """A zip file: stored and deflated members, zip64 or not.

    Args:
        path: The file.
    """

    front_to_back = False

    def __init__(self, path: Path) -> None:
        self._path = path

    def members(self) -> Iterator[Member]:
        """List the members; see :class:`fusekit.formats.archive.Archive`."""
        with self._path.open("rb", buffering=1 << 20) as file:
            end = self._end(file)
            file.seek(end.start)
            left, room = end.size, end.start * _MOST_INFLATED
            while left > 0:
                head = file.read(_CENTRAL.size)
                if len(head) < _CENTRAL.size or head[:4] != b"PK\1\2":
                    found = f"its directory breaks off {left} bytes before its end"
                    raise self._damaged(found)
                member, length = self._member(head, file, end.shift)
                left -= length
                room -= member.size
                if room < 0:  # a bomb: thousands of members that share the same bytes
                    raise self._damaged("its members are more than its bytes can hold")
                yield member

    def chunks(self, offset: int, size: int) -> Iterator[bytes]:
        """Read a file; see :class:`fusekit.formats.archive.Archive`."""
        # Opened anew each time: a hundredth of what decoding costs, and safe in threads.
        with self._path.open("rb", buffering=0) as file:
            name, method, crc = self._local(file, offset, size)
            pieces = _stored(file, size) if method == _STORED else _inflated(file, size)
            total, checksum = 0, 0
            try:
                for piece in pieces:
                    total += len(piece)
                    if total > size:
                        raise FormatError(name, f"is more than the {size} bytes it should be")
                    checksum = zlib.crc32(piece, checksum)
                    yield piece
            except zlib.error as reason:
                raise FormatError(name, f"is damaged ({reason})") from None
            if total < size:
                raise FormatError(name, f"ends after {total} of {size} bytes")
            if crc is not None and checksum != crc:
                raise FormatError(name, "is damaged: its checksum differs")

    def close(self) -> None:
        """Close nothing: no file stays open."""

    def _local(self, file: IO[bytes], offset: int, size: int) -> tuple[str, int, int | None]:
        """Read a member's own head and stop at its data; gives name, method and checksum."""
        file.seek(offset)
        head = file.read(_LOCAL.size)
        if len(head) < _LOCAL.size or head[:4] != b"PK\3\4":
            raise FormatError(self._path, f"no member starts at byte {offset}")
        _, _, flags, method, _, _, crc, _, stated, name_size, extra_size = _LOCAL.unpack(head)
        name = file.read(name_size).decode("utf-8", "replace")
        file.seek(offset + _LOCAL.size + name_size + extra_size)
        if flags & _ENCRYPTED:
            raise self._encrypted(name)
        if method not in {_STORED, _DEFLATED}:
            raise FormatError(name, f"is compressed by method {method}", "stored or deflated")
        if flags & _SIZES_FOLLOW:
            return name, method, None
        if stated not in {size, _IN_ZIP64}:
            raise FormatError(name, f"has {stated} bytes in place of {size}")
        return name, method, crc

    def _member(self, head: bytes, file: IO[bytes], shift: int) -> tuple[Member, int]:
        """Give a member and how many bytes of the directory it took."""
        fields = _CENTRAL.unpack(head)
        made_by, flags = fields[1], fields[3]
        compressed, size, name_size, extra_size, comment_size = fields[8:13]
        attributes, offset = fields[15], fields[16]
        length = name_size + extra_size + comment_size
        rest = file.read(length)
        if len(rest) < length:
            raise self._damaged("its directory breaks off")
        name = rest[:name_size]
        if flags & _ENCRYPTED:
            raise self._encrypted(name.decode("utf-8", "replace"))
        if _IN_ZIP64 in {size, compressed, offset}:
            extra = rest[name_size : name_size + extra_size]
            size, _, offset = self._zip64(extra, size, compressed, offset)
        kind = _kind(name, made_by, attributes)
        found = Member(name, kind, offset + shift, size if kind == "file" else 0)
        return found, _CENTRAL.size + length

    def _zip64(self, extra: bytes, *values: int) -> list[int]:
        """Put the 64-bit values in place of those that don't fit 32 bits."""
        at = 0
        while at + 4 <= len(extra):
            tag, length = struct.unpack_from("<HH", extra, at)
            if tag == _ZIP64:
                count = min(length, len(extra) - at - 4) // 8
                longs = iter(struct.unpack_from(f"<{count}Q", extra, at + 4))
                wide = [next(longs, -1) if v == _IN_ZIP64 else v for v in values]
                if min(wide) >= 0 and max(wide) < 1 << 63:
                    return wide
                break
            at += 4 + length
        raise self._damaged("a zip64 field of its directory is missing")

    def _end(self, file: IO[bytes]) -> _End:
        total = file.seek(0, 2)
        file.seek(max(0, total - _END.size - _MAX_COMMENT))
        tail = file.read()
        found = tail.rfind(b"PK\5\6", 0, len(tail) - _END.size + 4) if tail else -1
        if found < 0:
            raise self._damaged("it has no directory at its end: it is cut off or damaged")
        _, disk, _, _, _, size, start, _ = _END.unpack_from(tail, found)
        at = total - len(tail) + found
        if disk not in {0, 0xFFFF}:
            whole = self._path.with_name(f"{self._path.stem}-whole.zip").name
            raise FormatError(
                self._path, "is one part of a zip in several parts", None,
                f"join them first: zip -s 0 {self._path.name} --out {whole}",
            )  # fmt: skip
        if at >= _LOCATOR64.size:
            file.seek(at - _LOCATOR64.size)
            locator = file.read(_LOCATOR64.size)
            if locator[:4] == b"PK\6\7":
                return self._end64(file, at - _LOCATOR64.size, _LOCATOR64.unpack(locator)[2])
        # Something may stand before the zip, such as the program that unpacks it.
        shift = at - size - start
        if shift < 0:
            raise self._damaged("its directory should be longer than it is")
        return _End(start + shift, size, shift)

    def _end64(self, file: IO[bytes], at: int, stated: int) -> _End:
        for place in (stated, at - _END64.size):
            if not 0 <= place <= at - _END64.size:
                continue
            file.seek(place)
            head = file.read(_END64.size)
            if head[:4] == b"PK\6\6":
                size, start = _END64.unpack(head)[8:10]
                shift = place - size - start
                if shift >= 0:
                    return _End(start + shift, size, shift)
        raise self._damaged("its zip64 directory is not where it should be")

    def _encrypted(self, name: str) -> FormatError:
        return FormatError(
            self._path, f"is encrypted ({name[:80]!r})", None,
            "unpack it with the password first, such as by 7z x, and give the folder",
        )  # fmt: skip

    def _damaged(self, found: str) -> FormatError:
        name = self._path.name
        return FormatError(
            self._path, found, "a whole zip",
            f"fetch it again, or repair it: zip -FF {name} --out fixed-{name}",
        )  # fmt: skip


def _kind(name: bytes, made_by: int, attributes: int) -> MemberKind:
    if name.endswith((b"/", b"\\")):
        return "folder"
    if made_by >> 8 != _UNIX:
        return "file"
    form = stat.S_IFMT(attributes >> 16)
    if form == stat.S_IFLNK:
        return "link"
    return "file" if form in {0, stat.S_IFREG} else "other"


def _stored(file: IO[bytes], size: int) -> Iterator[bytes]:
    while size > 0:
        piece = file.read(min(size, _CHUNK))
        if not piece:
            return
        size -= len(piece)
        yield piece


def _inflated(file: IO[bytes], size: int) -> Iterator[bytes]:
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    data = b""
    while not inflate.eof and size >= 0:
        data = inflate.unconsumed_tail or file.read(_CHUNK)
        # One byte more than should come shows a bomb without inflating it.
        piece = inflate.decompress(data, min(size + 1, _CHUNK * 4))
        size -= len(piece)
        if piece:
            yield piece
        elif not data:
            return
