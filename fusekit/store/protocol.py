"""An evaluation set's protocol in the store: pairs and templates, and their samples' keys.

The tables are listed with the items and become part of the plan as their release has them, by
source. When the dataset is finished, pairs and templates are written again with the keys of the
samples that their items gave.
"""

from __future__ import annotations

import json
import secrets
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from fusekit.errors import StorageError, StoreError
from fusekit.schema import (
    MANIFEST_SCHEMA,
    PAIRS_SCHEMA,
    PLAN_PAIRS_SCHEMA,
    PLAN_TEMPLATES_SCHEMA,
    SEARCHES_SCHEMA,
    TEMPLATE_PAIRS_SCHEMA,
    TEMPLATES_SCHEMA,
)
from fusekit.store import layout
from fusekit.store.row_digest import RowDigest
from fusekit.store.tables import count_rows, read_batches, read_table, writing_table
from fusekit.store.tombstones import is_forgotten

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fusekit.schema import ArrowSchema
    from fusekit.storage.folder import Storage

#: The tables that a protocol may have, as its release has them.
PLANNED: Final[dict[str, ArrowSchema]] = {
    "pairs": PLAN_PAIRS_SCHEMA,
    "templates": PLAN_TEMPLATES_SCHEMA,
    "template_pairs": TEMPLATE_PAIRS_SCHEMA,
    "searches": SEARCHES_SCHEMA,
}
#: Those that name items, with their samples' keys.
KEYED: Final[dict[str, ArrowSchema]] = {"pairs": PAIRS_SCHEMA, "templates": TEMPLATES_SCHEMA}
#: Column of a key to the column of its item's source.
KEYS: Final = {"key": "source", "key_a": "source_a", "key_b": "source_b"}


@dataclass(frozen=True)
class ProtocolSpool:
    """A protocol's tables as they were listed, in temporary files.

    Attributes:
        digests: Table to the digest of its rows.
        rows: Table to its number of rows.
        files: Table to the name of its temporary file in the store.
    """

    digests: dict[str, str]
    rows: dict[str, int]
    files: dict[str, str]


@contextmanager
def spool_protocol(
    storage: Storage, dataset: str, tables: Mapping[str, Iterator[pa.RecordBatch]]
) -> Iterator[ProtocolSpool]:
    """Write a protocol's tables to temporary files, which are gone when the block ends.

    Args:
        storage: The store; its lock on the dataset is held.
        dataset: The dataset's name.
        tables: Table to its rows; see :class:`fusekit.readers.item.EvaluationReader`.

    Yields:
        The files, and the digests of their rows: the same for the same values in the same order,
        however they are cut into batches.

    Raises:
        StoreError: A table is no protocol's, or its rows are not of its schema.
        StorageError: A file can't be written.
    """
    spool = ProtocolSpool({}, {}, {})
    try:
        for table, batches in tables.items():
            if table not in PLANNED:
                raise StoreError(dataset, f"{table!r} is no table of a protocol", _names(PLANNED))
            # The name of a temporary file: a later run sweeps away what a killed one left.
            spool.files[table] = f"{layout.dataset(dataset)}/.tmp-{secrets.token_hex(8)}"
            schema, digest = PLANNED[table], RowDigest(PLANNED[table])
            with writing_table(storage, spool.files[table], schema) as write:
                for batch in batches:
                    rows = _checked(batch, schema, f"{dataset}: {table}")
                    digest.add(rows)
                    write(pa.Table.from_batches([rows]))
            spool.digests[table], spool.rows[table] = digest.hexdigest(), digest.rows
        yield spool
    finally:
        for name in spool.files.values():
            storage.remove(name)


def keep_protocol(storage: Storage, dataset: str, spool: ProtocolSpool) -> None:
    """Move a protocol's tables into the plan; one that stands there with the same rows stays.

    So does one that erasure has blanked: what is listed anew would bring its texts back.

    Args:
        storage: The store; its lock on the dataset is held.
        dataset: The dataset's name.
        spool: From :func:`spool_protocol`, whose block has not ended.

    Raises:
        StorageError: A table can't be moved.
    """
    for table, temporary in spool.files.items():
        name = layout.protocol_plan(dataset, table)
        same = _digest_of(storage, name, PLANNED[table]) == spool.digests[table]
        if not same and not _is_blanked(storage, name, table, spool.rows[table]):
            storage.rename(temporary, name)


def protocol_digests(storage: Storage, dataset: str) -> dict[str, str | None]:
    """Give the digest of each table of a protocol that the plan holds; None: it is damaged."""
    return {
        table: _digest_of(storage, name, schema)
        for table, schema in PLANNED.items()
        if storage.exists(name := layout.protocol_plan(dataset, table))
    }


def blanked_protocol(storage: Storage, dataset: str) -> dict[str, str | None]:
    """Give the digest of each table that erasure has blanked: it is no more the one of the plan."""
    where = layout.plan_json(dataset)
    if not storage.exists(where):
        return {}
    planned = json.loads(storage.read(where))["inputs"].get("protocol", {})
    found = protocol_digests(storage, dataset)
    return {table: digest for table, digest in found.items() if digest != planned.get(table)}


def resolve_protocol(storage: Storage, dataset: str, manifests: Sequence[str]) -> dict[str, int]:
    """Write the tables with the keys of their samples.

    An item that gave several samples counts with its first face, one that gave none with null.

    Args:
        storage: The store.
        dataset: The dataset's name.
        manifests: Names of all its manifests.

    Returns:
        Table to its number of rows, of every table of the protocol; empty where there is none.

    Raises:
        StorageError: A table is damaged or can't be written.
    """
    planned = [t for t in PLANNED if storage.exists(layout.protocol_plan(dataset, t))]
    if any(table in KEYED for table in planned):
        first = first_keys(storage, manifests)
        for table in planned:
            if table in KEYED:
                _write_keyed(storage, dataset, table, first)
    return {table: count_rows(storage, layout.protocol_plan(dataset, table)) for table in planned}


def first_keys(storage: Storage, manifests: Sequence[str]) -> pa.Table:
    """Give each source and its sample's key, the first face's where there are several.

    Raises:
        StorageError: A manifest is damaged.
    """
    schema = pa.schema([MANIFEST_SCHEMA.field("source"), MANIFEST_SCHEMA.field("key")])
    samples = [read_table(storage, m, MANIFEST_SCHEMA, schema.names) for m in manifests]
    whole = pa.concat_tables(samples) if samples else schema.empty_table()
    # Keys of one source differ in the face's number alone, which they end in.
    return whole.group_by("source").aggregate([("key", "min")]).rename_columns(schema.names)


def keys_of(first: pa.Table, sources: pa.Array) -> pa.Array:
    """Look up the keys of sources; null where a source gave no sample.

    Args:
        first: From :func:`first_keys`.
        sources: Any.
    """
    at = pc.index_in(sources, value_set=first["source"].combine_chunks())
    return first["key"].combine_chunks().take(at)


def _write_keyed(storage: Storage, dataset: str, table: str, first: pa.Table) -> None:
    schema = KEYED[table]
    planned = layout.protocol_plan(dataset, table)
    with writing_table(storage, layout.protocol(dataset, table), schema) as write:
        for batch in read_batches(storage, planned, PLANNED[table]):
            columns = [
                keys_of(first, batch[KEYS[name]]) if name in KEYS else batch[name]
                for name in schema.names
            ]
            write(pa.Table.from_arrays(columns, schema=schema))


def _checked(batch: pa.RecordBatch, schema: ArrowSchema, where: str) -> pa.RecordBatch:
    try:
        return batch.select(schema.names).cast(schema)
    except (ValueError, KeyError) as error:  # also of a null where there must be a value
        found = str(error).split("\n", 1)[0]
        raise StoreError(where, f"rows of another kind ({found})", _names(schema.names)) from None


def _digest_of(storage: Storage, name: str, schema: ArrowSchema) -> str | None:
    """Give the digest of a table's rows; None when it is not there or damaged."""
    digest = RowDigest(schema)
    try:
        for batch in read_batches(storage, name, schema):
            digest.add(batch)
    except StorageError:
        return None
    return digest.hexdigest()


def _is_blanked(storage: Storage, name: str, table: str, rows: int) -> bool:
    """Say whether a whole table stands there of which erasure has blanked something."""
    texts = [
        f.name for f in PLANNED[table] if f.name in ("source", "source_a", "source_b", "subject")
    ]
    try:
        found = read_table(storage, name, PLANNED[table], texts) if texts else None
    except StorageError:
        return False
    return (
        found is not None
        and found.num_rows == rows
        and any(map(is_forgotten, (t for column in texts for t in found[column].to_pylist())))
    )


def _names(names: Mapping[str, ArrowSchema] | Sequence[str]) -> str:
    return ", ".join(names)
