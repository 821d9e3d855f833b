r"""Write InsightFace's verification packs; :mod:`fusekit.formats.pair_pack` reads them.

A pack is a pickle of two lists. It is written by its few opcodes and not by a pickler, so that it
streams, and that its bytes are the same under every Python. Protocol 3 has bytes of its own
kind, so any Python 3 loads them as they are; Python 2 is left behind.

Reference:
    Python, ``pickletools`` (opcodes); InsightFace, ``eval/verification.py`` (``load_bin``).
"""

from __future__ import annotations

import struct
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_PROTOCOL: Final = b"\x80\x03"
_EMPTY_LIST, _MARK, _APPENDS, _TUPLE2, _STOP = b"]", b"(", b"e", b"\x86", b"."
_BYTES: Final = struct.Struct("<cI")  # BINBYTES and a length
_TRUTH: Final = {True: b"\x88", False: b"\x89"}


def write_pair_pack(file: IO[bytes], images: Iterable[bytes], same: Iterable[bool]) -> None:
    """Write a pack.

    Args:
        file: Where to write.
        images: Image files; of pair ``i`` these are ``2 * i`` and ``2 * i + 1``.
        same: For each pair, whether it shows one person twice.

    Example:
        >>> import io, pickle
        >>> file = io.BytesIO()
        >>> write_pair_pack(file, [b"a", b"b"], [True])
        >>> pickle.loads(file.getvalue())
        ([b'a', b'b'], [True])
    """
    file.write(_PROTOCOL + _EMPTY_LIST + _MARK)
    for image in images:
        file.write(_BYTES.pack(b"B", len(image)))
        file.write(image)
    file.write(_APPENDS + _EMPTY_LIST + _MARK)
    for truth in same:
        file.write(_TRUTH[bool(truth)])
    file.write(_APPENDS + _TUPLE2 + _STOP)
