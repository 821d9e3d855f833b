"""Tables of MS-Celeb-1M: one face a line, its picture in base64 in the last column."""

from __future__ import annotations

import binascii
from base64 import b64decode
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final

from fusekit.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Far more than any picture of the release in base64; a line is held in memory whole.
MAX_LINE: Final = 1 << 26
_MAX_NAME: Final = 255  # bytes of an identity, a rank or a face's name
_MAX_URL: Final = 1 << 13
_RECTANGLE: Final = 16  # four float32
_MARK: Final = b"\xef\xbb\xbf"  # byte order mark, which some editors put before the first line
#: JPEG, PNG, GIF, WebP and BMP in base64.
_PICTURES: Final = (b"/9j/", b"iVBORw0K", b"R0lGOD", b"UklGR", b"Qk")


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column holds what; counted from 0, None: there is none."""

    count: int
    rank: int | None
    url: int
    face: int | None
    name: int | None


#: MID, rank, address, page, face, rectangle, picture.
FULL: Final = Columns(count=7, rank=1, url=2, face=4, name=None)
#: MID, name, address, face, rectangle, picture.
DEV_SET: Final = Columns(count=6, rank=None, url=2, face=3, name=1)
#: MID, name, rank, address, page, picture.
THUMBNAILS: Final = Columns(count=6, rank=2, url=3, face=None, name=1)


@dataclass(frozen=True, slots=True)
class FaceRow:
    """A line of the table.

    Attributes:
        number: Of the line, from 1.
        offset: Where its picture's base64 begins in the file; where the line begins if damaged.
        size: Bytes of the picture; 0 if damaged.
        identity: The Freebase identity.
        name: What the face is called beside its identity: ``10-FaceId-0``.
        url: Where the picture was fetched from; None: no plain address.
        entity: Name of the person; None: the form gives none.
        damage: What is wrong with the line; None: nothing is.
    """

    number: int
    offset: int
    size: int = 0
    identity: str = ""
    name: str = ""
    url: str | None = None
    entity: str | None = None
    damage: str | None = None


def find_columns(file: IO[bytes], lines: int = 20) -> Columns | None:
    """Tell the form of a table by its first lines.

    Args:
        file: The table, at its start.
        lines: How many lines are looked at; the first one with a picture decides.

    Returns:
        None: it is no table of faces.
    """
    for _ in range(lines):
        line = file.readline(MAX_LINE).rstrip(b"\r\n ")
        fields = line.split(b"\t", FULL.count)
        if not fields[-1].startswith(_PICTURES):
            continue
        if len(fields) == FULL.count:
            return FULL
        if len(fields) == DEV_SET.count:
            rectangle = _decoded(fields[-2])
            return DEV_SET if rectangle and len(rectangle) == _RECTANGLE else THUMBNAILS
    return None


def scan_faces(file: IO[bytes], columns: Columns) -> Iterator[FaceRow | None]:
    """Go through a table once; memory holds one line.

    Args:
        file: The table, at its start, buffered.
        columns: Its form.

    Yields:
        Each line; None for an empty one. Pictures are measured, not decoded.
    """
    at, number = 0, 0
    while line := file.readline(MAX_LINE):
        number += 1
        start, at = at, at + len(line)
        if len(line) == MAX_LINE and line[-1:] != b"\n":
            while rest := file.readline(MAX_LINE):
                at += len(rest)
                if rest[-1:] == b"\n":
                    break
            yield FaceRow(number, start, damage=f"a line of {at - start} bytes")
        else:
            yield _row(line, number, start, columns)


def read_face(file: IO[bytes], offset: int, size: int, where: str) -> bytes:
    """Read one picture.

    Args:
        file: The table.
        offset: As its row says.
        size: As its row says.
        where: What to call it in errors.

    Raises:
        FormatError: What stands there is no base64, or no longer as long.
    """
    file.seek(offset)
    # One more byte than its base64 has, which must end the line.
    text = file.read((size + 2) // 3 * 4 + 1)
    field = text.split(b"\n", 1)[0].rstrip(b"\r ")
    data = _decoded(field)
    if data is None or len(data) != size:
        raise FormatError(where, "its base64 is damaged", f"that of {size} bytes")
    return data


def _row(line: bytes, number: int, start: int, columns: Columns) -> FaceRow | None:
    end = len(line)
    while end and line[end - 1] in b"\r\n ":
        end -= 1
    if not end:
        return None
    cut = line.rfind(b"\t", 0, end)
    fields = line[: max(cut, 0)].removeprefix(_MARK if number == 1 else b"").split(b"\t")
    if cut < 0 or len(fields) != columns.count - 1:
        found = len(fields) + (cut >= 0)
        return FaceRow(number, start, damage=f"{found} columns, not {columns.count}")
    names = [fields[i] for i in (columns.rank, columns.face) if i is not None]
    if not fields[0] or any(len(name) > _MAX_NAME for name in (fields[0], *names)):
        return FaceRow(number, start, damage="no Freebase identity, or too long a one")
    try:
        identity, *parts = (name.decode() for name in (fields[0], *names))
    except UnicodeDecodeError:
        return FaceRow(number, start, damage="an identity that is no UTF-8")
    size = _decoded_size(line, cut + 1, end)
    return FaceRow(
        number, start + cut + 1, size, identity, "-".join(parts), _url(fields[columns.url]),
        None if columns.name is None else fields[columns.name][:_MAX_NAME].decode(errors="replace"),
    )  # fmt: skip


def _decoded_size(line: bytes, start: int, end: int) -> int:
    """Measure what base64 stands for, with or without the ``=`` at its end."""
    stop = end
    while stop > start and end - stop < 2 and line[stop - 1] == ord("="):
        stop -= 1
    return (stop - start) * 3 // 4


def _decoded(text: bytes) -> bytes | None:
    """Decode base64, with or without the ``=`` at its end; None: it is damaged."""
    try:
        return b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        return None


def _url(field: bytes) -> str | None:
    if not field or len(field) > _MAX_URL:
        return None
    return field.decode("utf-8", "replace")
