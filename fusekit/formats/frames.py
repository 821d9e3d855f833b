"""The frames of RecordIO: how a ``.rec`` file is cut into records.

A frame is a mark, a kind and a length, a payload, and zeros up to a multiple of four. Where the
mark itself stands in a payload, at a multiple of four, the writer cuts the payload there and
leaves the mark out, so that a mark in the file is always a frame's start; a record is then
several frames, and its reader puts the marks back.

Reference:
    dmlc-core, ``include/dmlc/recordio.h`` and ``src/recordio.cc``.
"""

from __future__ import annotations

import struct
from typing import IO, TYPE_CHECKING, Final

from fusekit.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_LENGTH: Final = (1 << 29) - 1
_MARK: Final = struct.pack("<I", 0xCED7230A)
_HEAD: Final = struct.Struct("<4sI")  # mark; kind in 3 bits, length in 29
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)
_STARTS, _REST = (_WHOLE, _FIRST), (_MIDDLE, _LAST)


def read_frame(file: IO[bytes], offset: int, where: str) -> bytes:
    """Read one record, joined from its parts.

    Args:
        file: An open ``.rec`` that can seek.
        offset: Where the record's first frame starts.
        where: What to call the file in errors.

    Returns:
        The payload as it was given to the writer.

    Raises:
        FormatError: No record starts there, or it runs past the end of the file.
    """
    parts: list[bytes] = []
    at, kind = offset, _FIRST
    while kind in (_FIRST, _MIDDLE):
        kind, length = _read_part(file, at, where, first=not parts)
        data = file.read(length)
        if len(data) < length:
            raise _short(where, at, _HEAD.size + length, _HEAD.size + len(data))
        parts.append(data)
        at += _span(length)
    return _MARK.join(parts)  # the writer cuts where the mark stands and leaves it out


def scan_frames(file: IO[bytes], where: str) -> Iterator[tuple[int, int]]:
    """Find every record without an index.

    Args:
        file: As for :func:`read_frame`.
        where: As for :func:`read_frame`.

    Yields:
        Offset and payload length in bytes, in file order.

    Raises:
        FormatError: As :func:`read_frame`; a last record that is cut off is one.
    """
    size = file.seek(0, 2)
    at = 0
    while at < size:
        length, end = record_span(file, at, where)
        if end > size:
            raise _short(where, at, end - at, size - at)
        yield at, length
        at = end


def record_span(file: IO[bytes], offset: int, where: str) -> tuple[int, int]:
    """Measure one record without reading its payload.

    Returns:
        Payload length in bytes, and the first byte after the record's padding. The file is
        not looked at beyond the last part's head: the end may lie past it.

    Raises:
        FormatError: No record starts there, or a part of it is missing.
    """
    length, parts, at, kind = 0, 0, offset, _FIRST
    while kind in (_FIRST, _MIDDLE):
        kind, part = _read_part(file, at, where, first=not parts)
        length += part
        parts += 1
        at += _span(part)
    return length + len(_MARK) * (parts - 1), at


def read_start(file: IO[bytes], offset: int, where: str, count: int) -> tuple[bytes, int, int]:
    """Read the first bytes of a record's payload, at one read for all but a few records.

    Args:
        file: As for :func:`read_frame`.
        offset: As for :func:`read_frame`.
        where: As for :func:`read_frame`.
        count: How many bytes of the payload are wanted.

    Returns:
        These bytes, fewer where the payload is shorter; then as :func:`record_span`.

    Raises:
        FormatError: As :func:`record_span`.
    """
    file.seek(offset)
    data = file.read(_HEAD.size + count)
    kind, length = _parse_part(data, where, offset, first=True)
    if kind == _WHOLE:
        start = data[_HEAD.size : _HEAD.size + length]
        if len(start) < min(count, length):
            raise _short(where, offset, _HEAD.size + length, len(data))
        return start, length, offset + _span(length)
    # One image in millions holds the mark, so it may cost a full read.
    length, end = record_span(file, offset, where)
    return read_frame(file, offset, where)[:count], length, end


def frame_payload(payload: bytes) -> list[bytes]:
    r"""Lay a payload out as frames.

    Args:
        payload: At most ``MAX_LENGTH`` bytes.

    Returns:
        What to write, in order: heads, parts and padding.

    Example:
        >>> b"".join(frame_payload(b"AAAA\x0a\x23\xd7\xceBB")).hex(" ", 4)
        '0a23d7ce 04000020 41414141 0a23d7ce 02000060 42420000'
    """
    parts = _split_at_mark(payload)
    last = len(parts) - 1
    out = []
    for number, part in enumerate(parts):
        if last == 0:
            kind = _WHOLE
        else:
            kind = _FIRST if number == 0 else _LAST if number == last else _MIDDLE
        out += [_HEAD.pack(_MARK, kind << 29 | len(part)), part, bytes(-len(part) % 4)]
    return out


def _span(length: int) -> int:
    return _HEAD.size + length + -length % 4


def _split_at_mark(data: bytes) -> list[bytes]:
    # Only a mark on a multiple of four could be taken for a frame's start.
    parts, start, at = [], 0, data.find(_MARK)
    while at >= 0:
        if at % 4 == 0:
            parts.append(data[start:at])
            start = at + len(_MARK)
        at = data.find(_MARK, start if at % 4 == 0 else at + 1)
    return [*parts, data[start:]]


def _read_part(file: IO[bytes], offset: int, where: str, *, first: bool) -> tuple[int, int]:
    file.seek(offset)
    return _parse_part(file.read(_HEAD.size), where, offset, first=first)


def _parse_part(data: bytes, where: str, offset: int, *, first: bool) -> tuple[int, int]:
    if len(data) < _HEAD.size:
        raise _short(where, offset, _HEAD.size, len(data))
    mark, word = _HEAD.unpack_from(data)
    kind, length = word >> 29, word & MAX_LENGTH
    if mark == _MARK and kind in (_STARTS if first else _REST):
        return kind, length
    at = f"{where} at byte {offset}"
    if mark != _MARK:
        raise FormatError(at, f"the bytes {mark.hex()}", f"a record's mark {_MARK.hex()}")
    expected = "the start of a record" if first else "the next part of a record"
    raise FormatError(at, f"a frame of kind {kind}", expected)


def _short(where: str, offset: int, expected: int, found: int) -> FormatError:
    return FormatError(
        f"{where} at byte {offset}", f"the file ends {found} bytes into a record",
        f"{expected} bytes or more", "the file is cut off: fetch it again",
    )  # fmt: skip
