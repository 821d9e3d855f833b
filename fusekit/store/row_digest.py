"""A digest of a table's rows that does not depend on how they were cut, packed or stored."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fusekit.fingerprint import fingerprint

if TYPE_CHECKING:
    from fusekit.schema import ArrowSchema


class RowDigest:
    """The sha256 of a table's values, fed with record batches of any size.

    Parquet bytes differ between releases of a library and buffers between batches; values don't.
    Each column is hashed by itself: which rows are null, the values, and the lengths of texts.

    Args:
        schema: Of the table; columns of text, booleans, integers and floats.

    Example:
        >>> schema = pa.schema([pa.field("name", pa.string())])
        >>> whole, cut = RowDigest(schema), RowDigest(schema)
        >>> whole.add(pa.record_batch([["ann", None]], schema=schema))
        >>> for name in ("ann", None):
        ...     cut.add(pa.record_batch([[name]], schema=schema))
        >>> whole.hexdigest() == cut.hexdigest()
        True
    """

    def __init__(self, schema: ArrowSchema) -> None:
        self._schema = schema
        self._columns = [
            {part: hashlib.sha256() for part in ("nulls", "values", "lengths")} for _ in schema
        ]
        self.rows = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Add rows; their types must be the schema's."""
        self.rows += batch.num_rows
        for column, digests in zip(batch.columns, self._columns, strict=True):
            digests["nulls"].update(_bytes(column.is_null()))
            is_text = pa.types.is_string(column.type)
            # What lies under a null is nobody's value.
            filled = column.fill_null(pa.scalar("" if is_text else 0).cast(column.type))
            if is_text:
                digests["lengths"].update(_bytes(pc.binary_length(filled)))
                digests["values"].update(_text(filled))
            else:
                digests["values"].update(_bytes(filled))

    def hexdigest(self) -> str:
        """Give the digest of the rows so far, as 64 hex digits."""
        columns = [
            [field.name, str(field.type), {part: d.hexdigest() for part, d in digests.items()}]
            for field, digests in zip(self._schema, self._columns, strict=True)
        ]
        return fingerprint({"rows": self.rows, "columns": columns})


def _bytes(values: pa.Array) -> memoryview:
    numbers = values.to_numpy(zero_copy_only=False)
    return np.ascontiguousarray(numbers, numbers.dtype.newbyteorder("<")).data


def _text(values: pa.Array) -> memoryview:
    _, offsets, data = values.buffers()
    if data is None:
        return memoryview(b"")
    ends = np.frombuffer(offsets, np.int32)
    return memoryview(data)[ends[values.offset] : ends[values.offset + len(values)]]
