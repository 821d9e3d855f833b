"""Blank the rows of erased samples in any table of a store; what stays is their place and number.

A row keeps its key, which is a digest, its place in the shard and its integers, so that offsets,
row counts and orders hold. Texts, boxes, digests, measures and vectors go.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fusekit.errors import StorageError
from fusekit.store.tables import read_about, write_table, writing_table
from fusekit.store.tombstones import (
    STEM_LETTERS,
    forgotten_identity,
    forgotten_source,
    key_stem,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from fusekit.storage.folder import Storage

    Change: TypeAlias = Callable[["pa.Table"], "pa.Table"]

#: Column of an identity to the column of its dataset, where the table has that one.
PERSON_COLUMNS: Final = {
    "identity": "dataset", "identity_a": "dataset_a", "identity_b": "dataset_b",
    "nearest_identity": "nearest_dataset", "evaluation_identity": "evaluation",
}  # fmt: skip
SOURCE_COLUMNS: Final = ("source", "source_a", "source_b")
#: Texts and integers of a sample's row that say something of it.
_TEXTS: Final = (
    "identity", "nearest_identity", "evaluation_identity", "split", "video", "url", "detail",
    "reject_detail",
)  # fmt: skip
_NUMBERS: Final = {
    "length": 0, "size": 0, "face_count": -1, "jpeg_quality": None, "time_ms": None, "frame": None,
}  # fmt: skip
_KEPT: Final = (pa.types.is_string, pa.types.is_integer, pa.types.is_boolean)
_BATCH: Final = 122_880


@dataclass(frozen=True)
class Gone:
    """What is erased from one dataset.

    Attributes:
        dataset: Its name.
        stems: What the keys of the erased items start with.
        identities: Text to identity index, of those of whom nothing is left; -1: it had none.
        namesakes: Identities of the dataset that stay and are spelled as if they were split off
            an erased one: ``ann#2``.
    """

    dataset: str
    stems: frozenset[str]
    identities: Mapping[str, int]
    namesakes: frozenset[str] = frozenset()

    def index_of(self, text: str) -> int | None:
        """Give the index of the erased identity that a text names; None: it names another.

        Mixtures and heads may name a second person of a class: ``ann#2`` is of ``ann``.

        Example:
            >>> gone = Gone("faces", frozenset(), {"ann": 4}, frozenset({"ann#7"}))
            >>> [gone.index_of(text) for text in ("ann", "ann#2", "ann#7", "anna")]
            [4, 4, None, None]
        """
        if text in self.identities:
            return self.identities[text]
        whole, mark, number = text.rpartition("#")
        if mark and number.isdecimal() and text not in self.namesakes:
            return self.identities.get(whole)
        return None


def blank_table(table: pa.Table, gone: Sequence[Gone], dataset: str | None) -> pa.Table:
    """Blank what a table says of erased samples and people.

    Args:
        table: Any table of a store; a sample's row is known by ``key``, else by ``source``.
        gone: What is erased, by dataset.
        dataset: Whose rows these are where the table has no column ``dataset``; None: nobody's.

    Returns:
        The table with the same rows in the same order.
    """
    for each in gone:
        erased = _rows_of(table, each, dataset)
        if pc.any(erased).as_py():
            table = _blank_rows(table, erased)
        table = _blank_people(table, each, dataset)
    return table


def blank_sources(table: pa.Table, gone: Gone) -> pa.Table:
    """Blank the sources of erased items in a protocol's table, and nothing else of it."""
    for name in SOURCE_COLUMNS:
        if name in table.column_names:
            stems = _stems(table[name])
            table = _put(table, name, _among(stems, each_of(gone.stems)), _marked(stems))
    return table


def each_of(texts: Iterable[str]) -> pa.Array:
    """Make texts an Arrow array in their order; sorted, so that it is the same every time."""
    return pa.array(sorted(texts), pa.string())


def rewrite_table(
    storage: Storage, name: str, change: Change, about: dict[str, Any] | None = None
) -> bool:
    """Write a table again where a change changes it, with its own schema and metadata.

    Args:
        storage: The store.
        name: The table's name there.
        change: Gives back the rows it is given, in their order.
        about: New JSON metadata; None keeps what it has.

    Returns:
        Whether it was written.

    Raises:
        StorageError: It is damaged, or can't be written.
    """
    was = read_about(storage, name)
    try:
        with pq.ParquetFile(storage.path(name), page_checksum_verification=True) as file:
            schema = file.schema_arrow.remove_metadata()
            changed = (about or was) != was or any(
                not change(rows).equals(rows) for rows in _pieces(file)
            )
            if not changed:
                return False
            if about or was:
                rows = pa.concat_tables([schema.empty_table(), *map(change, _pieces(file))])
                write_table(storage, name, rows.combine_chunks(), schema, about or was)
            else:
                with writing_table(storage, name, schema) as write:
                    for rows in _pieces(file):
                        write(change(rows).cast(schema))
    except (pa.ArrowException, OSError, KeyError) as error:
        reason = str(error).split("\n", 1)[0][:200]
        fix = "fusekit verify tells what else is damaged"
        raise StorageError(name, f"can't be blanked ({reason})", None, fix) from None
    return True


def _pieces(file: pq.ParquetFile) -> Any:  # noqa: ANN401 - an iterator of tables
    for batch in file.iter_batches(_BATCH):
        yield pa.Table.from_batches([batch]).replace_schema_metadata(None)


def _rows_of(table: pa.Table, gone: Gone, dataset: str | None) -> pa.ChunkedArray:
    names = table.column_names
    if "key" in names:
        stems = pc.utf8_slice_codeunits(table["key"], 0, STEM_LETTERS)
    elif "source" in names:
        stems = _stems(table["source"])
    else:
        return pa.chunked_array([pa.repeat(pa.scalar(value=False), table.num_rows)])
    return pc.and_(_among(stems, each_of(gone.stems)), _speaks_of(table, "dataset", gone, dataset))


def _speaks_of(
    table: pa.Table, column: str | None, gone: Gone, dataset: str | None
) -> pa.ChunkedArray:
    """Say which rows speak of the dataset."""
    if column in table.column_names:
        return pc.fill_null(pc.equal(table[column], gone.dataset), fill_value=False)
    mine = dataset == gone.dataset
    return pa.chunked_array([pa.repeat(pa.scalar(mine), table.num_rows)])


def _blank_rows(table: pa.Table, erased: pa.ChunkedArray) -> pa.Table:
    if "source" in table.column_names:
        table = _put(table, "source", erased, _marked(_stems(table["source"])))
    for field in table.schema:
        if field.name in _TEXTS:
            empty = forgotten_identity(-1) if field.name == "identity" else ""
            table = _put(table, field.name, erased, None if field.nullable else empty)
        elif field.name in _NUMBERS:
            table = _put(table, field.name, erased, _NUMBERS[field.name])
        elif not any(is_kept(field.type) for is_kept in _KEPT):
            table = _put(table, field.name, erased, _nothing(field))
    return table


def _nothing(field: pa.Field) -> Any:  # noqa: ANN401 - of the column's type
    if field.nullable:
        return None
    if pa.types.is_fixed_size_list(field.type):
        return [0.0] * field.type.list_size
    if pa.types.is_fixed_size_binary(field.type):
        return bytes(field.type.byte_width)
    return 0.0


def _blank_people(table: pa.Table, gone: Gone, dataset: str | None) -> pa.Table:
    for column, of_dataset in PERSON_COLUMNS.items():
        if column not in table.column_names or not gone.identities:
            continue
        people = dict(gone.identities) | _split_off(table[column], gone)
        texts = pa.array(list(people), pa.string())
        words = pa.array([forgotten_identity(i) for i in people.values()], pa.string())
        at = pc.index_in(table[column], value_set=texts)
        of_them = pc.and_(at.is_valid(), _speaks_of(table, of_dataset, gone, dataset))
        if column == "identity" and "name" in table.column_names:
            table = _put(table, "name", of_them, None)
        if column == "identity" and "evaluation_identity" in table.column_names:
            # Else the row would tell by another set's name who the erased person was.
            table = _put(table, "evaluation_identity", of_them, None)
        table = _put(table, column, of_them, words.take(at.combine_chunks()))
    return table


def _split_off(column: pa.ChunkedArray, gone: Gone) -> dict[str, int]:
    """Find the second people of erased classes in a column of identities, with their index."""
    numbered = pc.unique(column.filter(pc.match_substring_regex(column, r"#[0-9]+$")))
    found = {text: gone.index_of(text) for text in numbered.to_pylist()}
    return {text: index for text, index in found.items() if index is not None}


def _put(table: pa.Table, name: str, where: pa.ChunkedArray, value: Any) -> pa.Table:  # noqa: ANN401
    at = table.schema.get_field_index(name)
    field = table.schema.field(at)
    if not isinstance(value, pa.Array | pa.ChunkedArray):
        value = pa.scalar(value, field.type)
    column = pc.if_else(where, value, table[name])
    return table.set_column(at, field, column.cast(field.type))


def _stems(sources: pa.ChunkedArray) -> pa.Array:
    return pa.array([None if s is None else key_stem(s) for s in sources.to_pylist()], pa.string())


def _marked(stems: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise(forgotten_source(""), stems, "")


def _among(values: pa.Array, wanted: pa.Array) -> pa.Array:
    return pc.is_in(values, value_set=wanted)
