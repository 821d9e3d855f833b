"""The heads of a Parquet column's pages: how much memory reading them would take.

A page is unpacked whole whatever its head says, and the footer, which could warn, may lie.

Reference:
    Apache Parquet, ``parquet.thrift`` (PageHeader); Apache Thrift, "Thrift compact protocol".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final

from fusekit.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator

_DICTIONARY: Final = 2  # a page's type
_DATA_HEADS: Final = (5, 8)  # of versions 1 and 2; field 1 of each is the count of values
_TYPE, _UNPACKED, _PACKED, _COUNT = 1, 2, 3, 1
_MAX_DEPTH: Final = 8
_MAX_VARINT: Final = 10


@dataclass(frozen=True, slots=True)
class Page:
    """What the head of a page says.

    Attributes:
        is_dictionary: It holds the values that the other pages point to.
        unpacked: Its bytes in memory.
        values: How many values it holds; 0 for a dictionary.
    """

    is_dictionary: bool
    unpacked: int
    values: int


def read_pages(file: IO[bytes], start: int, size: int, where: str) -> Iterator[Page]:
    """List the pages of a column in a row group by their heads.

    Args:
        file: The Parquet file; buffered, it can seek.
        start: Where the first page starts.
        size: Bytes of all pages with their heads.
        where: What to call the file in errors.

    Raises:
        FormatError: A head is damaged.
    """
    at, end = start, start + size
    while at < end:
        file.seek(at)
        try:
            head = _struct(file, 0)
            kind, unpacked, packed = head[_TYPE], head[_UNPACKED], head[_PACKED]
            values = sum(head[each][_COUNT] for each in _DATA_HEADS if each in head)
            is_bad = min(unpacked, packed, values) < 0
        except (KeyError, IndexError, TypeError, ValueError):
            is_bad = True
        if is_bad:
            raise FormatError(where, f"no head of a page at byte {at}", "a Parquet file")
        yield Page(kind == _DICTIONARY, unpacked, values)
        at = file.tell() + packed


def _struct(file: IO[bytes], depth: int) -> dict[int, Any]:
    """Read a struct's numbers and structs by their fields; all else is passed over."""
    if depth > _MAX_DEPTH:
        raise ValueError
    fields: dict[int, Any] = {}
    number = 0
    while head := file.read(1)[0]:
        number = number + (head >> 4) if head >> 4 else _integer(file)
        fields[number] = _value(file, head & 15, depth)
    return fields


def _value(file: IO[bytes], kind: int, depth: int) -> Any:  # noqa: ANN401 - of any field
    match kind:
        case 1 | 2:  # true and false, which have no bytes
            pass
        case 3:  # a byte
            file.seek(1, 1)
        case 4 | 5 | 6:  # of 16, 32 and 64 bits
            return _integer(file)
        case 7:  # a double
            file.seek(8, 1)
        case 8:  # text or bytes
            file.seek(_varint(file), 1)
        case 12:
            return _struct(file, depth + 1)
        case _:  # lists and maps: a page's head has none
            raise ValueError
    return None


def _integer(file: IO[bytes]) -> int:
    value = _varint(file)
    return value >> 1 ^ -(value & 1)  # zigzag


def _varint(file: IO[bytes]) -> int:
    value = 0
    for place in range(_MAX_VARINT):
        byte = file.read(1)[0]
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value
    raise ValueError
