"""A block of a column of pictures: bytes, bytes with a path, or paths."""

from __future__ import annotations

from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from fusekit.readers.tables.columns import is_bytes, is_text, struct_fields

Array: TypeAlias = "pa.Array"


class ImageColumn:
    """The pictures of some rows.

    Args:
        column: Bytes; text; or a struct of ``bytes`` and ``path``, as Hugging Face has it.

    Attributes:
        sizes: Bytes of each picture; None: its row holds none.
        paths: The file that a row names; None: it names none.
    """

    def __init__(self, column: Array) -> None:
        kind, inner = column.type, struct_fields(column.type)
        self._bytes: Array | None = None
        if is_bytes(kind):
            self._bytes = column
        elif "bytes" in inner:
            self._bytes = pc.struct_field(column, "bytes")
        self.sizes: list[int | None] = [None] * len(column)
        self.paths: list[str | None] = [None] * len(column)
        if self._bytes is not None:
            # Views have no length of their own in every release of pyarrow.
            plain = self._bytes.cast(pa.large_binary())
            self.sizes = pc.binary_length(plain).to_pylist()
        if is_text(kind):
            self.paths = column.to_pylist()
        elif "path" in inner and is_text(inner["path"]):
            self.paths = pc.struct_field(column, "path").to_pylist()

    def data(self, row: int) -> bytes | None:
        """Give the bytes of a picture, by its place in the block."""
        found = None if self._bytes is None else self._bytes[row].as_py()
        return found if isinstance(found, bytes) else None
