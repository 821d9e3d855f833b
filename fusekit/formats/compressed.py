"""Compressed streams read front to back: gzip, bzip2 and xz, of one or several streams."""

from __future__ import annotations

import bz2
import lzma
import zlib
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

from fusekit.errors import FormatError

if TYPE_CHECKING:
    from pathlib import Path

Compression: TypeAlias = Literal["gzip", "bzip2", "xz"]

_MAGIC: Final[dict[bytes, Compression]] = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
}
_CHUNK: Final = 1 << 14  # what follows a stream's end is copied: short for many short streams
_MAX_OUTPUT: Final = 1 << 20
_XZ_MEMORY: Final = 1 << 28  # xz -9 needs 65 MiB; a hostile head may ask for 4 GiB


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Gzip:
    """zlib's decompressor with the interface that those of bzip2 and xz have."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(zlib.MAX_WBITS | 16)  # 16: with gzip's head and checksum

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


def compression_of(head: bytes) -> Compression | None:
    r"""Tell how a file is compressed by its first bytes; None: not by gzip, bzip2 or xz.

    Example:
        >>> compression_of(b"\x1f\x8b\x08"), compression_of(b"PK")
        ('gzip', None)
    """
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)


class CompressedFile:
    """A compressed file as a stream that can be read and sought forward.

    Going back works and starts anew, which costs as much as all that lies before. Memory does
    not grow with the file.

    Args:
        path: The file.
        compression: As :func:`compression_of` says.

    Raises:
        OSError: It can't be opened.
    """

    def __init__(self, path: Path, compression: Compression) -> None:
        self._path, self._compression = path, compression
        self._start = 0  # of the chunk, in the uncompressed stream
        self._chunk, self._at = b"", 0
        self._decompressor = self._new()
        self._file = path.open("rb", buffering=0)

    def read(self, size: int) -> bytes:
        """Read so many bytes, fewer only at the end.

        Raises:
            FormatError: The stream is damaged or cut off.
            OSError: The file can't be read.
        """
        parts = []
        while size > 0 and self._fill():
            part = self._chunk[self._at : self._at + size]
            self._at += len(part)
            size -= len(part)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def seek(self, position: int) -> int:
        """Go to a byte of the uncompressed stream, or to the end if that comes first.

        Raises:
            FormatError: As :meth:`read`.
            OSError: As :meth:`read`.
        """
        if position < self._start:
            self._file.seek(0)
            self._restart()
        while position > self._start + len(self._chunk):
            self._at = len(self._chunk)
            if not self._fill():
                return self.tell()
        self._at = position - self._start
        return position

    def tell(self) -> int:
        """Give the position in the uncompressed stream."""
        return self._start + self._at

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __del__(self) -> None:
        # Readers keep their place in an archive for as long as they live, and nobody closes them.
        if hasattr(self, "_file"):
            self._file.close()

    def _restart(self) -> None:
        self._decompressor = self._new()
        self._chunk, self._at = b"", 0
        self._start = 0

    def _new(self) -> _Decompressor:
        if self._compression == "gzip":
            return _Gzip()
        if self._compression == "bzip2":
            return bz2.BZ2Decompressor()
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)

    def _fill(self) -> bool:
        """Make sure that there is a byte to give; False at the end of the stream."""
        if self._at < len(self._chunk):
            return True
        try:
            chunk = self._next()
        except (zlib.error, lzma.LZMAError, EOFError, ValueError) as reason:
            raise self._damaged(str(reason)) from None
        except OSError as reason:
            if reason.errno is not None:
                raise
            raise self._damaged(str(reason)) from None  # what bz2 says of bad data
        self._start += len(self._chunk)
        self._chunk, self._at = chunk, 0
        return bool(chunk)

    def _next(self) -> bytes:
        data = b""
        while True:
            if self._decompressor.eof:
                # Another stream may follow (pigz, cat), or zeros that pad to a block.
                rest = self._decompressor.unused_data.lstrip(b"\0")
                while not rest:
                    read = self._file.read(_CHUNK)
                    if not read:
                        return b""
                    rest = read.lstrip(b"\0")
                self._decompressor, data = self._new(), rest
            elif self._decompressor.needs_input:
                data = self._file.read(_CHUNK)
            ended = self._decompressor.needs_input and not data
            chunk = self._decompressor.decompress(data, _MAX_OUTPUT)
            data = b""
            if chunk:
                return chunk
            if ended and not self._decompressor.eof:
                msg = "it ends early"
                raise EOFError(msg)

    def _damaged(self, why: str) -> FormatError:
        return FormatError(
            self._path, f"the {self._compression} stream is damaged or cut off ({why})",
            None, "fetch it again",
        )  # fmt: skip
