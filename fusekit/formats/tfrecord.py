"""TFRecord files and the Example in a record, without TensorFlow.

A record is its length, a checksum of that, the data, and a checksum of the data. The data of a
picture are a ``tf.train.Example``: a small Protocol Buffers message, of which only the fields
that an Example has are read.

Reference:
    TensorFlow, ``tensorflow/core/lib/io/record_writer.h`` (frames, masked CRC-32C) and
    ``tensorflow/core/example/{example,feature}.proto``; Protocol Buffers, "Encoding".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final

from fusekit.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator

HEAD_SIZE: Final = 12  # of a record, before its data
TAIL_SIZE: Final = 4
MAX_RECORD: Final = 1 << 29
_HEAD: Final = struct.Struct("<QI")
_TAIL: Final = struct.Struct("<I")

_POLYNOMIAL: Final = 0x82F63B78  # Castagnoli's, reflected
_MASK_DELTA: Final = 0xA282EAD8
_U32: Final = 0xFFFFFFFF

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT: Final = 10
_LONGEST_NAME: Final = 256
_PEEK: Final = 256  # holds all but the picture where the picture comes last


def _table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return tuple(table)


_TABLE: Final = _table()


class _PastPeekError(Exception):
    """The message goes on past the bytes at hand."""


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes inside a message: where they start, and where they end."""

    start: int
    end: int


def masked_crc(data: bytes) -> int:
    """Give the checksum of TFRecord: CRC-32C, turned and shifted.

    Example:
        >>> hex(masked_crc(b"123456789"))  # CRC-32C: 0xe3069283
        '0xc78ab0e5'
    """
    crc = _U32
    table = _TABLE
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= _U32
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & _U32


def pack_record(data: bytes) -> bytes:
    """Frame a record.

    Example:
        >>> len(pack_record(b"data"))
        20
    """
    length = struct.pack("<Q", len(data))
    return length + _TAIL.pack(masked_crc(length)) + data + _TAIL.pack(masked_crc(data))


def record_size(file: IO[bytes], offset: int, where: str) -> int:
    """Read the length of a record's data, checked by its checksum.

    Args:
        file: An open TFRecord file that can seek; unbuffered is best.
        offset: Where the record starts.
        where: What to call the file in errors.

    Raises:
        FormatError: No record starts there, or it is far too long.
    """
    file.seek(offset)
    head = file.read(HEAD_SIZE)
    place = f"{where} at byte {offset}"
    if len(head) < HEAD_SIZE:
        raise FormatError(place, "the file ends", "a record", "it is cut off: fetch it again")
    length, crc = _HEAD.unpack(head)
    if crc != masked_crc(head[:8]):
        raise FormatError(place, "no record starts there, by its checksum", "a TFRecord")
    if length > MAX_RECORD:
        raise FormatError(place, f"a record of {length} bytes", f"at most {MAX_RECORD}")
    return int(length)


def read_record(file: IO[bytes], offset: int, where: str) -> bytes:
    """Read a record's data, checked by both checksums.

    Args:
        file: As for :func:`record_size`.
        offset: The same.
        where: The same.

    Raises:
        FormatError: No record starts there, it is cut off, or its checksum differs.
    """
    length = record_size(file, offset, where)
    data = file.read(length + TAIL_SIZE)
    place = f"{where} at byte {offset}"
    if len(data) < length + TAIL_SIZE:
        raise FormatError(
            place, f"the file ends {len(data)} bytes into a record of {length}", None,
            "it is cut off: fetch it again",
        )  # fmt: skip
    if _TAIL.unpack_from(data, length)[0] != masked_crc(data[:length]):
        raise FormatError(place, "a record whose checksum differs", "undamaged data")
    return data[:length]


def read_features(file: IO[bytes], offset: int, where: str) -> tuple[dict[str, Span | int], int]:
    """Find the features of the Example in a record, reading no picture where that can be helped.

    Args:
        file: As for :func:`record_size`.
        offset: The same.
        where: The same.

    Returns:
        As :func:`example_features`, and where the next record starts.

    Raises:
        FormatError: As :func:`record_size` and :func:`example_features`.
    """
    length = record_size(file, offset, where)
    place = f"{where} at byte {offset}"
    end = offset + HEAD_SIZE + length + TAIL_SIZE
    data = file.read(min(length, _PEEK))
    try:
        return example_features(data, place, length), end
    except _PastPeekError:
        data += file.read(length - len(data))
    if len(data) < length:
        raise FormatError(
            place, f"the file ends {len(data)} bytes into a record of {length}", None,
            "it is cut off: fetch it again",
        )  # fmt: skip
    return example_features(data, place), end


def example_features(data: bytes, where: str, size: int | None = None) -> dict[str, Span | int]:
    """Find the features of an Example.

    Args:
        data: The record's data.
        where: What to call it in errors.
        size: Bytes of the whole message; None: ``data`` is all of it.

    Returns:
        Name to its first value: the span of its bytes, or a whole number. Features of another
        type or without a value are left out.

    Raises:
        FormatError: It is no Example.
    """
    found: dict[str, Span | int] = {}
    whole = Span(0, len(data) if size is None else size)
    for number, features in _fields(data, whole, where):
        if number != 1 or not isinstance(features, Span):
            continue
        for entry_number, entry in _fields(data, features, where):
            if entry_number == 1 and isinstance(entry, Span):
                pair = _named_value(data, entry, where)
                if pair is not None:
                    found.setdefault(*pair)
    return found


def _named_value(data: bytes, entry: Span, where: str) -> tuple[str, Span | int] | None:
    """Read an entry of the map of features: 1 is the name, 2 the feature."""
    name: str | None = None
    value: Span | int | None = None
    for number, part in _fields(data, entry, where):
        if not isinstance(part, Span):
            continue
        if number == 1 and part.end - part.start <= _LONGEST_NAME:
            if part.end > len(data):
                raise _PastPeekError
            name = data[part.start : part.end].decode("utf-8", "replace")
        elif number == 2:
            value = _first_value(data, part, where)
    return None if name is None or value is None else (name, value)


def _first_value(data: bytes, feature: Span, where: str) -> Span | int | None:
    """Read a feature: 1 is a list of bytes, 3 a list of whole numbers, packed or not."""
    for kind, values in _fields(data, feature, where):
        if not isinstance(values, Span) or kind not in (1, 3):
            continue
        for _, value in _fields(data, values, where):
            if kind == 3 and isinstance(value, Span):
                value = _varint(data, value.start, value.end, where)[0]
            if isinstance(value, int):
                return value - (1 << 64) if value >= 1 << 63 else value
            return value
    return None


def _fields(data: bytes, span: Span, where: str) -> Iterator[tuple[int, Span | int]]:
    """Walk the fields of a message: their numbers, and their bytes or whole numbers."""
    at = span.start
    while at < span.end:
        tag, at = _varint(data, at, span.end, where)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _varint(data, at, span.end, where)
            yield tag >> 3, value
            continue
        if kind == _BYTES:
            length, at = _varint(data, at, span.end, where)
        elif kind in (_FIXED32, _FIXED64):
            length = 4 if kind == _FIXED32 else 8
        else:
            raise _no_example(where)
        if length > span.end - at:
            raise _no_example(where)
        yield tag >> 3, Span(at, at + length)
        at += length


def _varint(data: bytes, at: int, end: int, where: str) -> tuple[int, int]:
    value = 0
    for count in range(_MAX_VARINT):
        if at + count >= end:
            break
        if at + count >= len(data):
            raise _PastPeekError
        byte = data[at + count]
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return value, at + count + 1
    raise _no_example(where)


def _no_example(where: str) -> FormatError:
    return FormatError(where, "a record that is no Example", "a tf.train.Example")
