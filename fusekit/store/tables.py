"""Parquet tables of the store: written whole with an explicit schema, read back checked."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from fusekit.errors import StorageError
from fusekit.fingerprint import canonical_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fusekit.schema import ArrowSchema
    from fusekit.storage.folder import Storage

_METADATA: Final = b"fusekit"
# zstd itself does not notice every flipped bit; a page's checksum does, on every read.
_WRITE: Final[dict[str, Any]] = {"compression": "zstd", "write_page_checksum": True}
_ROW_GROUP: Final = 122_880  # DuckDB's own vector group: one thread's share of a scan


def write_table(
    storage: Storage,
    name: str,
    rows: Sequence[dict[str, Any]] | pa.Table,
    schema: ArrowSchema,
    about: dict[str, Any] | None = None,
) -> None:
    """Write a table under its schema, at 0 rows too.

    Args:
        storage: Where.
        name: The file's name in the store.
        rows: One dict per row with every column, or a table that casts to the schema.
        schema: From :mod:`fusekit.schema`.
        about: A JSON object kept in the file's metadata; None for none.

    Raises:
        StorageError: It can't be written.
    """
    if isinstance(rows, pa.Table):
        table = rows.cast(schema)
    else:
        table = pa.Table.from_pylist(list(rows), schema=schema)
    if about is not None:
        table = table.replace_schema_metadata({_METADATA: canonical_json(about)})
    with storage.writing(name) as file:
        pq.write_table(table, file, row_group_size=_ROW_GROUP, **_WRITE)


def read_table(
    storage: Storage, name: str, schema: ArrowSchema, columns: list[str] | None = None
) -> pa.Table:
    """Read a table and check that it has the schema's columns.

    Args:
        storage: Where.
        name: The file's name in the store.
        schema: What it must hold.
        columns: Which columns to read; None for all of the schema.

    Raises:
        StorageError: It is not there, is damaged, or has other columns.
    """
    wanted = columns or schema.names
    path = storage.path(name)
    if not path.is_file():
        raise StorageError(name, "is not there")
    try:
        table = pq.read_table(
            path, columns=wanted, partitioning=None, page_checksum_verification=True
        )
        return table.replace_schema_metadata(None).cast(
            pa.schema([schema.field(c) for c in wanted])
        )
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise StorageError(name, f"is no table of this release ({_line(error)})") from None


def read_batches(storage: Storage, name: str, schema: ArrowSchema) -> Iterator[pa.RecordBatch]:
    """Read a table piece by piece, for tables that are larger than memory.

    Args:
        storage: Where.
        name: The file's name in the store.
        schema: What it must hold.

    Raises:
        StorageError: It is not there, is damaged, or has other columns.
    """
    path = storage.path(name)
    if not path.is_file():
        raise StorageError(name, "is not there")
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for batch in file.iter_batches(_ROW_GROUP, columns=schema.names):
                yield batch.replace_schema_metadata(None).cast(schema)
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise StorageError(name, f"is no table of this release ({_line(error)})") from None


def count_rows(storage: Storage, name: str) -> int:
    """Count a table's rows by its footer.

    Raises:
        StorageError: It is not there or is damaged.
    """
    try:
        return int(pq.read_metadata(storage.path(name)).num_rows)
    except FileNotFoundError:
        raise StorageError(name, "is not there") from None
    except (pa.ArrowException, OSError) as error:
        raise StorageError(name, f"is damaged ({_line(error)})") from None


def read_about(storage: Storage, name: str) -> dict[str, Any]:
    """Read the JSON object in a table's metadata; empty when it has none.

    Raises:
        StorageError: The file is not there or is damaged.
    """
    path = storage.path(name)
    if not path.is_file():
        raise StorageError(name, "is not there")
    try:
        metadata = pq.read_schema(path).metadata or {}
        about = json.loads(metadata.get(_METADATA, b"{}"))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise StorageError(name, f"is damaged ({_line(error)})") from None
    return about if isinstance(about, dict) else {}


def group_parts(storage: Storage, parts: Sequence[str], max_rows: int) -> Iterator[list[str]]:
    """Plan the joining of many small tables into few: which parts make each file.

    Args:
        storage: Where.
        parts: Names of the parts, in order.
        max_rows: Most rows in one file, unless a single part has more.

    Yields:
        The parts of one file.
    """
    group: list[str] = []
    rows = 0
    for part in parts:
        count = count_rows(storage, part)
        if group and rows + count > max_rows:
            yield group
            group, rows = [], 0
        group.append(part)
        rows += count
    if group:
        yield group


def join_tables(storage: Storage, name: str, parts: Sequence[str], schema: ArrowSchema) -> None:
    """Write one table from several of the same schema, holding one of them at a time.

    Raises:
        StorageError: A part is damaged, or the file can't be written.
    """
    with writing_table(storage, name, schema) as write:
        for part in parts:
            write(read_table(storage, part, schema))


@contextmanager
def writing_table(
    storage: Storage, name: str, schema: ArrowSchema
) -> Iterator[Callable[[pa.Table], None]]:
    """Write a table in pieces of any size; its row groups do not depend on where they were cut.

    Args:
        storage: Where.
        name: The file's name in the store.
        schema: From :mod:`fusekit.schema`.

    Yields:
        What takes the next piece, of the same schema.

    Raises:
        StorageError: The file can't be written.
    """
    with storage.writing(name) as file, pq.ParquetWriter(file, schema, **_WRITE) as out:
        waiting: list[pa.Table] = []
        rows = 0

        def write(piece: pa.Table) -> None:
            nonlocal rows
            waiting.append(piece)
            rows += piece.num_rows
            if rows >= _ROW_GROUP:
                table = pa.concat_tables(waiting)
                whole = rows - rows % _ROW_GROUP
                out.write_table(table.slice(0, whole), row_group_size=_ROW_GROUP)
                waiting[:] = [table.slice(whole)]
                rows -= whole

        yield write
        if rows:
            out.write_table(pa.concat_tables(waiting), row_group_size=_ROW_GROUP)


def _line(error: Exception) -> str:
    return str(error).split("\n", 1)[0][:200]
