"""What an image file says of itself before it is decoded: type, size, orientation, JPEG quality.

Everything here reads a few bytes and never trusts them: a wrong length or offset gives None, and
only :func:`fusekit.faces.image.decode_image` decides what that means.
"""

from __future__ import annotations

import re
import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAGIC: Final = (
    (b"\xff\xd8\xff", "jpg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"BM", "bmp"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
)
_BRANDS: Final = {b"avif": "avif", b"avis": "avif", b"heic": "heic", b"heix": "heic"}
_PPM: Final = re.compile(rb"P[1-6](?:\s+|#[^\n]*\n)+(\d+)(?:\s+|#[^\n]*\n)+(\d+)\s")
_FRAME_MARKERS: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}

# The luminance table of ISO 10918-1, Annex K.1, in zigzag order, as files store it.
_LUMINANCE: Final = np.array(
    [
        16, 11, 12, 14, 12, 10, 16, 14, 13, 14, 18, 17, 16, 19, 24, 40,
        26, 24, 22, 22, 24, 49, 35, 37, 29, 40, 58, 51, 61, 60, 57, 51,
        56, 55, 64, 72, 92, 78, 64, 68, 87, 69, 55, 56, 80, 109, 81, 87,
        95, 98, 103, 104, 103, 62, 77, 113, 121, 112, 100, 120, 92, 101, 103, 99,
    ]
)  # fmt: skip


def sniff(data: bytes) -> str | None:
    """Tell an image's type from its first bytes, never from a name.

    Returns:
        ``jpg``, ``png``, ``webp``, ``bmp``, ``gif``, ``tiff``, ``ppm``, ``avif`` or ``heic``;
        None for anything else.

    Example:
        >>> sniff(b"GIF89a..."), sniff(b"<html>")
        ('gif', None)
    """
    for magic, kind in _MAGIC:
        if data.startswith(magic):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12])
    return "ppm" if re.match(rb"P[1-6][\s#]", data) else None


def image_size(data: bytes) -> tuple[int, int] | None:
    """Read an image's width and height from its header; nothing is decoded.

    Args:
        data: The file's bytes; its beginning is enough.

    Returns:
        Width and height in pixels as stored (an EXIF turn not applied); None when the header is
        damaged or the type is unknown.

    Example:
        >>> image_size(b"P6 640 480 255 ...")
        (640, 480)
    """
    try:
        return _size(data)
    except (struct.error, IndexError):
        return None


def _size(data: bytes) -> tuple[int, int] | None:
    match sniff(data):
        case "jpg":
            frame = _frame(data)
            return (frame[1], frame[0]) if frame else None
        case "png":
            width, height = struct.unpack_from(">II", data, 16)
            return width, height
        case "webp":
            return _webp_size(data)
        case "bmp":
            if struct.unpack_from("<I", data, 14)[0] == 12:
                width, height = struct.unpack_from("<HH", data, 18)
            else:
                width, height = struct.unpack_from("<ii", data, 18)
            return abs(width), abs(height)  # a negative height: rows from the top
        case "gif":
            width, height = struct.unpack_from("<HH", data, 6)
            return width, height
        case "tiff":
            tags = _tiff_tags(data)
            return (tags[256], tags[257]) if 256 in tags and 257 in tags else None
        case "ppm":
            found = _PPM.match(data[:4096])
            return (int(found[1][:12]), int(found[2][:12])) if found else None
        case "avif":
            at = data.find(b"ispe", 0, 4096)
            if at < 0:
                return None
            width, height = struct.unpack_from(">II", data, at + 8)
            return width, height
    return None


def jpeg_components(data: bytes) -> int | None:
    """Read how many colour components a JPEG has: 1 grey, 3 colour, 4 CMYK."""
    try:
        frame = _frame(data)
    except (struct.error, IndexError):
        return None
    return frame[2] if frame else None


def jpeg_quality(data: bytes) -> int | None:
    """Estimate the IJG quality that a JPEG was saved with, from its luminance table.

    Exact for files written by libjpeg and its kin; for others the quality whose table is nearest.

    Returns:
        1 to 100; None when the data is no JPEG or holds no table.
    """
    if sniff(data) != "jpg":
        return None
    try:
        for marker, start, end in _segments(data):
            if marker != 0xDB:
                continue
            at = start
            while at < end:
                wide, table = data[at] >> 4, data[at] & 15
                width = 2 if wide else 1
                values = np.frombuffer(data, ">u2" if wide else "u1", 64, at + 1)
                if table == 0:
                    distance = np.abs(_tables() - values.astype(np.int64)).sum(axis=1)
                    return 100 - int(distance[::-1].argmin())  # the better of equals
                at += 1 + 64 * width
    except (struct.error, IndexError, ValueError):
        return None
    return None


def exif_orientation(data: bytes) -> int:
    """Read how a JPEG's picture must be turned to stand upright.

    Returns:
        The EXIF orientation, 1 to 8; 1 when there is none or it makes no sense.
    """
    try:
        for marker, start, end in _segments(data):
            if marker == 0xE1 and data[start : start + 6] == b"Exif\0\0":
                turn = _tiff_tags(data[start + 6 : end]).get(274, 1)
                return turn if 1 <= turn <= 8 else 1
    except (struct.error, IndexError):
        return 1
    return 1


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Walk a JPEG's marker segments up to the first scan: marker, start and end of its content."""
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return
        marker = data[at + 1]
        if marker == 0xFF:  # fill bytes may stand before any marker
            at += 1
            continue
        if marker in (0xD9, 0xDA):
            return
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:  # these stand alone
            at += 2
            continue
        length = struct.unpack_from(">H", data, at + 2)[0]
        yield marker, at + 4, at + 2 + length
        at += 2 + max(length, 2)


def _frame(data: bytes) -> tuple[int, int, int] | None:
    """Give a JPEG's height, width and number of components."""
    for marker, start, _ in _segments(data):
        if marker in _FRAME_MARKERS:
            height, width, components = struct.unpack_from(">HHB", data, start + 1)
            return height, width, components
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    chunk = data[12:16]
    if chunk == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        return width, height
    if chunk == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
    if chunk == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _tiff_tags(data: bytes) -> dict[int, int]:
    """Read the whole-number tags of a TIFF's first directory."""
    order = "<" if data[:2] == b"II" else ">"
    at = struct.unpack_from(order + "I", data, 4)[0]
    count = struct.unpack_from(order + "H", data, at)[0]
    tags = {}
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(order + "HH", data, entry)
        form = {3: "H", 4: "I"}.get(kind)
        if form:
            tags[tag] = struct.unpack_from(order + form, data, entry + 8)[0]
    return tags


@lru_cache(maxsize=1)
def _tables() -> npt.NDArray[np.int64]:
    """Give libjpeg's luminance tables of the qualities 1 to 100, ``(100, 64)``."""
    quality = np.arange(1, 101)[:, None]
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    return np.asarray(np.clip((_LUMINANCE * scale + 50) // 100, 1, 255))
