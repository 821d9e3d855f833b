"""RecordIO packs as MXNet and InsightFace write them: ``.rec``, ``.idx`` and ``property``.

A ``.rec`` is a run of records (:mod:`fusekit.formats.frames`). The payload of an image record is
a 24-byte header, further labels, then the image file's own bytes. A pack of InsightFace adds
records without an image: one for each identity, and key 0, which says where these begin.

Reference:
    MXNet, ``python/mxnet/recordio.py`` (image header, index); InsightFace,
    ``recognition/arcface_mxnet`` (key 0 and identity records).
"""

from __future__ import annotations

import struct
import warnings
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from fusekit.errors import FormatError
from fusekit.formats.frames import (
    read_start,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Int64s: TypeAlias = npt.NDArray[np.int64]

_IMAGE: Final = struct.Struct("<IfQQ")
_FLAG_SIZE: Final = 4
_PEEK: Final = _IMAGE.size + 32  # an image header and 8 labels
EXACT_FLOAT32: Final = 1 << 24  # labels are 32-bit floats: whole numbers above it are rounded


@dataclass(frozen=True, slots=True)
class Header:
    """The head of an image record.

    Attributes:
        flag: 0: one label, in ``label``; n > 0: n labels after the header.
        label: The scalar label; 0.0 when there are several.
        id: The record's key as its writer knew it.
        id2: Unused by every known writer but one, which sets 1.
        labels: All labels; the first one is the class.
    """

    flag: int
    label: float
    id: int
    id2: int
    labels: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class RecordHead:
    """What can be known of a record without reading its image.

    Attributes:
        header: Its image header.
        size: Bytes of the image; 0 for the records that carry only labels.
        end: First byte after the record in the file.
    """

    header: Header
    size: int
    end: int


def read_head(file: IO[bytes], offset: int, where: str) -> RecordHead:
    """Read a record's image header and measure its image, without reading the image.

    Args:
        file: As for :func:`read_frame`.
        offset: As for :func:`read_frame`.
        where: As for :func:`read_frame`.

    Raises:
        FormatError: As :func:`record_span` and :func:`unpack_record`.
    """
    data, length, end = read_start(file, offset, where, _PEEK)
    if len(data) >= _FLAG_SIZE:
        labels_end = _IMAGE.size + 4 * int.from_bytes(data[:_FLAG_SIZE], "little")
        if len(data) < labels_end <= length:
            data, length, end = read_start(file, offset, where, labels_end)
    header, start = _parse_header(data, length, where, offset)
    return RecordHead(header, length - start, end)


def unpack_record(data: bytes, where: str) -> tuple[Header, memoryview]:
    """Take an image record apart.

    Args:
        data: A payload from :func:`read_frame`.
        where: What to call the record in errors.

    Returns:
        The header with all labels, and the image file's bytes (empty: labels only).

    Raises:
        FormatError: The payload is too short for its header or its labels.
    """
    header, start = _parse_header(data, len(data), where, None)
    return header, memoryview(data)[start:]


def pack_record(labels: float | tuple[float, ...], key: int, image: bytes = b"") -> bytes:
    """Put an image record together, as ``mxnet.recordio.pack`` does.

    Args:
        labels: A number is written into the header, a tuple after it.
        key: The record's key.
        image: An image file's bytes.

    Example:
        >>> unpack_record(pack_record((3.0, 1.0), 7, b"jpeg"), "a record")[0].labels
        (3.0, 1.0)
    """
    if isinstance(labels, tuple):
        head = _IMAGE.pack(len(labels), 0.0, key, 0) + struct.pack(f"<{len(labels)}f", *labels)
    else:
        head = _IMAGE.pack(0, labels, key, 0)
    return head + image


def read_index(path: Path) -> tuple[Int64s, Int64s]:
    """Read an ``.idx``: one ``key<TAB>offset`` a line.

    Returns:
        Keys and offsets, int64, in the order of the file, which need not be ascending.

    Raises:
        FormatError: A line is not two whole numbers of at least 0, or a key is there twice.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # an empty file; numbers with a fraction
            rows = np.loadtxt(path, np.int64, delimiter="\t", comments=None, ndmin=2)
    except (ValueError, Warning):
        raise _bad_index_line(path) from None
    if rows.shape[1] != 2 or bool((rows < 0).any()):
        raise _bad_index_line(path)
    ordered = np.sort(rows[:, 0])
    again = np.flatnonzero(ordered[1:] == ordered[:-1])
    if again.size:
        raise FormatError(path, f"key {ordered[again[0]]} is there twice", "each key once")
    return np.ascontiguousarray(rows[:, 0]), np.ascontiguousarray(rows[:, 1])


def read_property(path: Path) -> tuple[int, int, int] | None:
    """Read the number of classes, height and width that a ``property`` file states.

    Returns:
        None when there is no such file or it has another form: packs are read without it.
    """
    try:
        first = path.read_text("utf-8").split("\n", 1)[0].split(",")
        classes, height, width = (int(field) for field in first)
    except (OSError, ValueError):
        return None
    return classes, height, width


def image_keys(key_0: RecordHead, has_key: Callable[[int], bool]) -> range | None:
    """Decide whether key 0 says which keys are images, as InsightFace's packs do.

    Args:
        key_0: The head of the record with key 0.
        has_key: Whether the pack has a record of this key.

    Returns:
        The keys of the images; None when key 0 says nothing that can be relied on. Then every
        record with an image is one. Above 2**24 the float32 labels are rounded: also None.
    """
    if key_0.size or key_0.header.flag != 2:
        return None
    first, end = key_0.header.labels
    if not (1 <= first < end <= EXACT_FLOAT32):
        return None
    if not (first.is_integer() and has_key(int(first)) and has_key(int(end) - 1)):
        return None
    return range(1, int(first))


def _parse_header(data: bytes, length: int, where: str, offset: int | None) -> tuple[Header, int]:
    start = _IMAGE.size
    if len(data) >= start:
        flag, label, key, id2 = _IMAGE.unpack_from(data)
        start += 4 * flag
        if start <= len(data):
            labels = struct.unpack_from(f"<{flag}f", data, _IMAGE.size) if flag else (label,)
            return Header(flag, label, key, id2, labels), start
    place = where if offset is None else f"{where} at byte {offset}"
    raise FormatError(
        place, f"a record of {length} bytes", f"a header and its labels in {start} bytes or more"
    )


def _bad_index_line(path: Path) -> FormatError:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            line = line.rstrip(b"\r\n")
            fields = line.split(b"\t")
            if line and (len(fields) != 2 or not all(f.isdigit() and len(f) < 19 for f in fields)):
                text = line.decode(errors="replace")[:60]
                return FormatError(f"{path}:{number}", repr(text), "key, tab, offset")
    return FormatError(path, "holds no records", "lines of key, tab, offset")
