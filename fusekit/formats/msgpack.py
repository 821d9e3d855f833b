r"""The few types of MessagePack that face LMDBs are made of.

Reference:
    MessagePack specification, https://github.com/msgpack/msgpack/blob/master/spec.md
"""

from __future__ import annotations

import struct

from fusekit.errors import FormatError


def pack_int(value: int) -> bytes:
    r"""Write a whole number in its shortest form.

    Args:
        value: -32 to 2**64 - 1.

    Example:
        >>> pack_int(5), pack_int(200), pack_int(-1)
        (b'\x05', b'\xcc\xc8', b'\xff')
    """
    if -32 <= value < 0x80:
        return struct.pack("b", value)
    for code, form, limit in ((0xCC, "B", 8), (0xCD, "H", 16), (0xCE, "I", 32), (0xCF, "Q", 64)):
        if 0 <= value < 1 << limit:
            return struct.pack(f">B{form}", code, value)
    raise FormatError("MessagePack", f"the number {value}", "-32 to 2**64 - 1")


def pack_bytes(data: bytes) -> bytes:
    r"""Write bytes.

    Example:
        >>> pack_bytes(b"jpeg")
        b'\xc4\x04jpeg'
    """
    for code, form, limit in ((0xC4, "B", 8), (0xC5, "H", 16), (0xC6, "I", 32)):
        if len(data) < 1 << limit:
            return struct.pack(f">B{form}", code, len(data)) + data
    raise FormatError("MessagePack", f"{len(data)} bytes", "under 4 GiB")


def pack_array_head(count: int) -> bytes:
    r"""Write the head of an array; its elements follow.

    Args:
        count: Under 2**32.

    Example:
        >>> pack_array_head(2) + pack_bytes(b"jpeg") + pack_int(7)
        b'\x92\xc4\x04jpeg\x07'
    """
    if count < 16:
        return bytes([0x90 | count])
    if count < 1 << 16:
        return struct.pack(">BH", 0xDC, count)
    return struct.pack(">BI", 0xDD, count)


def bytes_head(data: bytes) -> tuple[int, int] | None:
    r"""Read the head of bytes, or of text, as which old writers stored bytes.

    Args:
        data: From the head on; five bytes are enough.

    Returns:
        How long the head is, and how many bytes follow it; None: something else starts there.

    Example:
        >>> bytes_head(b"\xc4\x04jpeg")
        (2, 4)
    """
    if data and 0xA0 <= data[0] < 0xC0:
        return 1, data[0] & 0x1F
    width = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}.get(data[0] if data else 0)
    if width is None or len(data) <= width:
        return None
    return 1 + width, int.from_bytes(data[1 : 1 + width], "big")


def read_int(data: bytes) -> int | None:
    r"""Read a whole number that is all of ``data``; None: it is something else.

    Example:
        >>> read_int(b"\xcc\xc8"), read_int(b"\xff"), read_int(b"\xc0")
        (200, -1, None)
    """
    if len(data) == 1 and (data[0] < 0x80 or data[0] >= 0xE0):
        return int.from_bytes(data, "big", signed=True)
    kind = data[0] if data else 0
    if 0xCC <= kind <= 0xD3 and len(data) == 1 + (1 << (kind - 0xCC) % 4):
        return int.from_bytes(data[1:], "big", signed=kind >= 0xD0)
    return None
