"""Check an evaluation set's protocol: its tables against the plan, and its keys."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from fusekit.report.problem import Problem, caught, compare
from fusekit.schema import REJECTS_SCHEMA
from fusekit.store import layout
from fusekit.store.protocol import (
    KEYED,
    KEYS,
    PLANNED,
    first_keys,
    keys_of,
    protocol_digests,
)
from fusekit.store.row_digest import RowDigest
from fusekit.store.tables import count_rows, read_batches, read_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusekit.storage.folder import Storage
    from fusekit.store.datasets import DatasetInfo


def check_protocol(storage: Storage, info: DatasetInfo) -> Iterator[Problem]:
    """Check the tables of a protocol.

    Each is there with the rows that ``dataset.json`` counts and the plan's digest; pairs and
    templates with keys say the same as without, their keys are those of the manifest, and their
    items are all kept or rejected.

    Args:
        storage: The store.
        info: Of a finished dataset, all of whose units stand.
    """
    try:
        planned = dict(json.loads(storage.read(layout.plan_json(info.name)))["inputs"]["protocol"])
        planned |= info.forgotten.get("protocol", {})  # erasure blanked sources in these
    except (ValueError, KeyError, TypeError):
        return  # what is wrong with the plan is told by its own check
    yield from compare(
        layout.dataset_json(info.name), "tables", sorted(info.protocol), sorted(planned)
    )
    found = protocol_digests(storage, info.name)
    for table in [table for table in PLANNED if table in planned]:
        where = layout.protocol_plan(info.name, table)
        if found.get(table) != planned[table]:
            yield Problem(where, "its rows are not those that the plan was made with")
        else:
            rows = count_rows(storage, where)
            yield from compare(where, "rows", rows, info.protocol.get(table))
    keyed = [table for table in KEYED if table in planned]
    if keyed:
        keys = first_keys(storage, info.files)
        items = _items(storage, info, keys)
        for table in keyed:
            yield from caught(_check_keyed(storage, info, table, planned[table], keys, items))


def _items(storage: Storage, info: DatasetInfo, keys: pa.Table) -> pa.Array:
    """Give the sources of all items, kept and rejected."""
    folder = layout.dataset(info.name)
    files = [f"{folder}/{n}" for n in storage.names(folder) if n.startswith("rejects-")]
    rejected = [read_table(storage, f, REJECTS_SCHEMA, ["source"])["source"] for f in files]
    parts = [chunk for column in (keys["source"], *rejected) for chunk in column.chunks]
    return pa.concat_arrays([pa.array([], pa.string()), *parts])


def _check_keyed(
    storage: Storage, info: DatasetInfo, table: str, digest: str, keys: pa.Table, items: pa.Array
) -> Iterator[Problem]:
    where, schema = layout.protocol(info.name, table), PLANNED[table]
    columns = {key: source for key, source in KEYS.items() if key in KEYED[table].names}
    wrong, strange, rows = _Rows(), _Rows(), RowDigest(schema)
    for batch in read_batches(storage, where, KEYED[table]):
        for key, source in columns.items():
            expected = keys_of(keys, batch[source])
            same = pc.fill_null(pc.equal(batch[key], expected), fill_value=False)
            both_null = pc.and_(batch[key].is_null(), expected.is_null())
            wrong.add(rows.rows, pc.invert(pc.or_(same, both_null)))
            strange.add(rows.rows, pc.invert(pc.is_in(batch[source], value_set=items)))
        rows.add(batch.select(schema.names))
    if rows.hexdigest() != digest:
        yield Problem(where, "its rows are not those of the plan")
    if wrong.count:
        found = f"{wrong.count:,} keys are not the manifest's, first in row {wrong.first}"
        yield Problem(where, found)
    if strange.count:
        found = f"{strange.count:,} sources are no items, first in row {strange.first}"
        yield Problem(where, found)


class _Rows:
    """How many rows have a fault, and the first of them."""

    def __init__(self) -> None:
        self.count = 0
        self.first = 0

    def add(self, start: int, faults: pa.Array) -> None:
        numbers = faults.to_numpy(zero_copy_only=False).nonzero()[0]
        if numbers.size and not self.count:
            self.first = start + int(numbers[0])
        self.count += len(numbers)
