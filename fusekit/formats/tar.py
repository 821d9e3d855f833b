"""Canonical tar shards: the same members give the same bytes, anywhere, any time.

A shard is plain USTAR with fixed time, owner and mode, so that any tar tool and the
``webdataset`` library read it, and a manifest's ``offset`` and ``length`` address an image in it
without reading anything else.

Reference:
    POSIX.1-1988, "ustar interchange format": 512-byte headers, data padded to 512 bytes, two
    zero blocks at the end, the whole padded to a 10,240-byte record.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final

from fusekit.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK: Final = 512
_RECORD: Final = 10_240
_MODE, _MTIME = 0o644, 0
_REGULAR: Final = (b"0", b"\0")
_SKIPPED: Final = b"V"  # GNU volume label: the type that forget gives erased members
_MAX_NAME: Final = 100
_MAX_SIZE: Final = 8**11 - 1


@dataclass(frozen=True)
class Member:
    """One member of a tar: its name, and where its data stands in the file."""

    name: str
    offset: int
    length: int


class TarWriter:
    """Write members one after another; the digest of the whole is kept as it is written.

    Args:
        file: Where to write, from its current end.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.size = 0

    def add(self, name: str, data: bytes) -> int:
        """Write one member.

        Args:
            name: ASCII, at most 100 bytes.
            data: The member's bytes, under 8 GiB.

        Returns:
            Offset of the first data byte from the start of the tar.

        Raises:
            FormatError: The name or the size does not fit USTAR.
        """
        self._write(_header(name, len(data)))
        offset = self.size
        self._write(data)
        self._write(bytes(-len(data) % _BLOCK))
        return offset

    def finish(self) -> str:
        """Write the end of the tar.

        Returns:
            The sha256 of all of it, 64 hex digits.
        """
        end = self.size + 2 * _BLOCK
        self._write(bytes(2 * _BLOCK + -end % _RECORD))
        return self._digest.hexdigest()

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)
        self.size += len(data)


def read_members(file: IO[bytes], where: str) -> Iterator[Member]:
    """List a tar's regular members by reading headers only, trusting nothing.

    Args:
        file: An open tar that can seek.
        where: What to call it in errors.

    Yields:
        Members in file order. Erased members are left out.

    Raises:
        FormatError: A damaged header, a short file, an absolute path, ``..``, a link, a device
            or a repeated name.
    """
    seen: set[str] = set()
    size = file.seek(0, 2)
    at = 0
    while True:
        file.seek(at)
        header = file.read(_BLOCK)
        if header == bytes(_BLOCK):
            return
        if len(header) < _BLOCK:
            raise FormatError(where, f"ends at byte {size} without an end mark", "a whole tar")
        name, length, kind = _parse(header, f"{where} at byte {at}")
        data = at + _BLOCK
        at = data + length + -length % _BLOCK
        if at > size:
            raise FormatError(where, f"{name!r} runs past the end at byte {size}", "a whole tar")
        if kind == _SKIPPED:
            continue
        if kind not in _REGULAR:
            raise FormatError(where, f"{name!r} is a link or a device", "regular files only")
        if name.startswith("/") or ".." in name.split("/"):
            raise FormatError(where, f"{name!r} leads out of the archive", "a relative path")
        if name in seen:
            raise FormatError(where, f"{name!r} is there twice", "each name once")
        seen.add(name)
        yield Member(name, data, length)


def members_from(file: IO[bytes], offset: int, count: int, where: str) -> list[Member]:
    """List some members that stand one after another, erased ones too.

    Args:
        file: An open tar that can seek.
        offset: First data byte of the first of them.
        count: How many.
        where: What to call the tar in errors.

    Raises:
        FormatError: No undamaged member stands there.
    """
    found = []
    for _ in range(count):
        file.seek(offset - _BLOCK)
        header = file.read(_BLOCK)
        if len(header) < _BLOCK:
            raise FormatError(where, f"no member at byte {offset}", "a whole tar")
        name, length, _kind = _parse(header, f"{where} at byte {offset - _BLOCK}")
        found.append(Member(name, offset, length))
        offset += length + -length % _BLOCK + _BLOCK
    return found


def erase_member(file: IO[bytes], member: Member, where: str) -> None:
    """Overwrite a member's data with zeros and give it a type that readers skip, in place.

    Nothing else in the tar moves. Doing it again changes nothing.

    Args:
        file: The tar, open for reading and writing.
        member: From :func:`members_from`.
        where: What to call the tar in errors.

    Raises:
        FormatError: No undamaged member stands there.
    """
    file.seek(member.offset)
    file.write(bytes(member.length))
    file.seek(member.offset - _BLOCK)
    header = file.read(_BLOCK)
    name, length, _kind = _parse(header, f"{where} at byte {member.offset - _BLOCK}")
    if (name, length) != (member.name, member.length):
        raise FormatError(where, f"{name!r} stands at byte {member.offset}", repr(member.name))
    head = header[:148] + b" " * 8 + _SKIPPED + header[157:]
    file.seek(member.offset - _BLOCK)
    file.write(head[:148] + b"%06o\0 " % sum(head) + head[156:])


def _header(name: str, length: int) -> bytes:
    encoded = name.encode("ascii", "replace")
    if not encoded or len(encoded) > _MAX_NAME or encoded != name.encode():
        raise FormatError(name, "can't name a member", f"1 to {_MAX_NAME} ASCII characters")
    if length > _MAX_SIZE:
        raise FormatError(name, f"has {length} bytes", f"at most {_MAX_SIZE} in a tar")
    head = b"".join([
        encoded.ljust(_MAX_NAME, b"\0"),
        b"%07o\0" % _MODE, b"%07o\0" % 0, b"%07o\0" % 0,
        b"%011o\0" % length, b"%011o\0" % _MTIME,
        b" " * 8, b"0", bytes(_MAX_NAME), b"ustar\0", b"00", bytes(32), bytes(32),
        bytes(8), bytes(8), bytes(155), bytes(12),
    ])  # fmt: skip
    return head[:148] + b"%06o\0 " % sum(head) + head[156:]


def _parse(header: bytes, where: str) -> tuple[str, int, bytes]:
    try:
        checksum = int(header[148:156].split(b"\0")[0].strip() or b"0", 8)
        length = int(header[124:136].rstrip(b"\0 ") or b"0", 8)
        prefix = header[345:500].split(b"\0")[0].decode() if header[257:262] == b"ustar" else ""
        name = header[:100].split(b"\0")[0].decode()
    except (ValueError, UnicodeDecodeError):
        raise FormatError(where, "damaged header", "a USTAR header") from None
    if checksum != sum(header[:148]) + sum(b" " * 8) + sum(header[156:]):
        raise FormatError(where, "header's checksum differs", "an undamaged tar")
    return (f"{prefix}/{name}" if prefix else name), length, header[156:157]
