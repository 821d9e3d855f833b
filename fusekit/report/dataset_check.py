"""Check one finished dataset: its record, digests, plan, units, shards and embeddings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow.compute as pc

from fusekit.errors import FusekitError
from fusekit.fingerprint import file_sha256, fingerprint
from fusekit.progress import Progress, Report, silent
from fusekit.report.problem import Problem, caught, check_sums, compare, of_error, shortened
from fusekit.report.protocol_check import check_protocol
from fusekit.report.shards import COLUMNS, check_shard
from fusekit.schema import IDENTITIES_SCHEMA, MANIFEST_SCHEMA, PLAN_SCHEMA, REJECTS_SCHEMA
from fusekit.store import layout
from fusekit.store.commit import UnitRecord, read_record
from fusekit.store.datasets import dataset_fingerprint, indexes, open_dataset
from fusekit.store.embeddings import EmbeddingSet, embedding_models
from fusekit.store.sums import read_sums
from fusekit.store.tables import read_table
from fusekit.store.tombstones import STEM_LETTERS, key_stem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from fusekit.schema import ArrowSchema
    from fusekit.storage.folder import Storage
    from fusekit.store.datasets import DatasetInfo

_COUNTS: Final = ("items", "kept", "rejected", "samples", "faces_left_out")
_LENGTH_OFF: Final = 2e-3  # how far from 1 the length of a float16 vector may be


def check_dataset(
    storage: Storage, name: str, *, deep: bool = True, report: Report = silent
) -> Iterator[Problem]:
    """Check everything a dataset has, against its records and against each other.

    Args:
        storage: The store.
        name: Of a finished dataset.
        deep: Read every shard too.
        report: Told of every unit.

    Yields:
        Faults, in the order of the files they are about.
    """
    try:
        info = open_dataset(storage, name)
    except FusekitError as error:
        yield of_error(error)
        return
    yield from caught(_check_digests(storage, info))
    yield from caught(_check_plan(storage, info))
    yield from caught(_check_identities(storage, info))
    yield from caught(_check_index(storage, info))
    done: list[UnitRecord] = []
    compacted = _Compacted(storage, info.files, MANIFEST_SCHEMA)
    for unit in range(info.units):
        yield from caught(_check_unit(storage, info, unit, compacted, done, deep=deep))
        report(Progress(f"verify {name}", unit + 1, info.units, "units"))
    if len(done) == info.units:
        yield from _check_totals(info, done)
        yield from caught(_check_rejects(storage, info))
        yield from caught(_check_keys(storage, info))
        yield from caught(check_protocol(storage, info))
        yield from caught(_check_embeddings(storage, info, done))


def _check_digests(storage: Storage, info: DatasetInfo) -> Iterator[Problem]:
    folder = layout.dataset(info.name)
    where = layout.sums(folder)
    if storage.exists(where) and file_sha256(storage.path(where)) != info.sums:
        yield Problem(where, "its digest is not the one in dataset.json")
        return
    sums = read_sums(storage, folder)
    # Shards are read with their samples.
    yield from check_sums(storage, {n: s for n, s in sums.items() if not n.endswith(".tar")})
    for inner in ("plan", "manifest", "rejects", "shards"):
        for name in storage.names(f"{folder}/{inner}"):
            if f"{folder}/{inner}/{name}" not in sums:
                yield Problem(f"{folder}/{inner}/{name}", "is no file of this dataset")


def _check_plan(storage: Storage, info: DatasetInfo) -> Iterator[Problem]:
    where = layout.plan_json(info.name)
    try:
        plan = json.loads(storage.read(where))
        found, units, inputs = plan["fingerprint"], plan["units"], plan["inputs"]
        items = inputs["items"]["count"]
    except (ValueError, KeyError, TypeError):
        yield Problem(where, "is damaged")
        return
    yield from compare(where, "fingerprint", found, fingerprint(inputs))
    yield from compare(where, "fingerprint", found, info.plan)
    yield from compare(where, "units", units, info.units)
    yield from compare(where, "items", items, info.items)


def _check_identities(storage: Storage, info: DatasetInfo) -> Iterator[Problem]:
    where = layout.identities(info.name)
    table = read_table(storage, where, IDENTITIES_SCHEMA, ["identity_index", "identity"])
    index = table["identity_index"].to_pylist()
    yield from compare(where, "rows", table.num_rows, info.identities)
    if index != list(range(len(index))):
        yield Problem(where, "identity_index does not count from 0")
    if pc.count_distinct(table["identity"]).as_py() != table.num_rows:
        yield Problem(where, "an identity is there twice")


def _check_index(storage: Storage, info: DatasetInfo) -> Iterator[Problem]:
    where = layout.index_claim(info.index)
    if not storage.exists(where):
        yield Problem(where, f"is missing; {info.name} has this dataset index")
    else:
        yield from compare(where, "dataset", indexes(storage)[info.index], info.name)


def _check_unit(
    storage: Storage,
    info: DatasetInfo,
    unit: int,
    compacted: _Compacted,
    done: list[UnitRecord],
    *,
    deep: bool,
) -> Iterator[Problem]:
    name, where = info.name, layout.manifest_part(info.name, unit)
    record = read_record(storage, name, unit)
    if record is None:
        yield Problem(where, "is missing")
        return
    done.append(record)
    piece = compacted.take(record.samples)
    rows = read_table(storage, where, MANIFEST_SCHEMA)
    yield from caught(_check_parts(storage, info, record, rows))
    yield from caught(_check_rows(info, unit, rows))
    if not piece.equals(rows):
        yield Problem(compacted.name or "the compacted manifests", f"differs from {where}")
    if deep:
        values = rows.select(list(COLUMNS)).to_pylist()
        shard = layout.shard(name, unit)
        yield from shortened(caught(check_shard(storage, name, record, values)), shard)


def _check_parts(
    storage: Storage, info: DatasetInfo, record: UnitRecord, rows: pa.Table
) -> Iterator[Problem]:
    """Every item of the plan is kept or rejected, as often as the record says."""
    where = layout.manifest_part(info.name, record.unit)
    rejects = read_table(storage, layout.rejects_part(info.name, record.unit), REJECTS_SCHEMA)
    plan = read_table(storage, layout.plan_part(info.name, record.unit), PLAN_SCHEMA)
    levels = rejects["level"].to_pylist()
    of_items = [
        source
        for source, level in zip(rejects["source"].to_pylist(), levels, strict=True)
        if level == "item"
    ]
    kept = set(rows["source"].to_pylist())
    counts = {
        "items": plan.num_rows, "kept": len(kept), "rejected": len(of_items),
        "samples": rows.num_rows, "faces_left_out": len(levels) - len(of_items),
    }  # fmt: skip
    for what, found in counts.items():
        yield from compare(where, what, found, getattr(record, what))
    planned = set(plan["source"].to_pylist())
    for source in sorted(planned - kept - set(of_items))[:1]:
        yield Problem(where, f"{source!r} of the plan is neither kept nor rejected")
    for source in sorted((kept | set(of_items)) - planned)[:1]:
        yield Problem(where, f"{source!r} is not in the plan")
    for source in sorted(kept & set(of_items))[:1]:
        yield Problem(where, f"{source!r} is both kept and rejected")
    people = dict(zip(plan["source"].to_pylist(), plan["identity_index"].to_pylist(), strict=True))
    found = zip(rows["source"].to_pylist(), rows["identity_index"].to_pylist(), strict=True)
    for source, index in found:
        if people.get(source, index) != index:
            yield Problem(
                where, f"{source!r} has identity_index {index}, {people[source]} in the plan"
            )
            break


def _check_rows(info: DatasetInfo, unit: int, rows: pa.Table) -> Iterator[Problem]:
    where = layout.manifest_part(info.name, unit)
    fixed = {
        "dataset": info.name, "dataset_index": info.index, "kind": info.kind,
        "shard": layout.shard_file(info.name, unit), "unit": unit,
    }  # fmt: skip
    for column, expected in fixed.items():
        for found in pc.unique(rows[column]).to_pylist():
            yield from compare(where, column, found, expected)
    for key, source in zip(rows["key"].to_pylist(), rows["source"].to_pylist(), strict=True):
        if key_stem(source) != key[:STEM_LETTERS]:
            yield Problem(where, f"key {key} is not made from {source!r}")
            break


class _Compacted:
    """Compacted tables, read along with the parts that they were made of."""

    def __init__(self, storage: Storage, files: Sequence[str], schema: ArrowSchema) -> None:
        self._storage, self._schema = storage, schema
        self._files = iter(files)
        self._table: pa.Table = schema.empty_table()
        self._at = 0
        self.name = ""

    def take(self, rows: int) -> pa.Table:
        """Give the next rows; none when there are no more."""
        while rows and self._at >= self._table.num_rows:
            self.name = next(self._files, "")
            if not self.name:
                return self._schema.empty_table()
            self._table, self._at = self._schema.empty_table(), 0  # one file at a time
            self._table = read_table(self._storage, self.name, self._schema)
        self._at += rows
        return self._table.slice(self._at - rows, rows)


def _check_totals(info: DatasetInfo, done: list[UnitRecord]) -> Iterator[Problem]:
    where = layout.dataset_json(info.name)
    for what in _COUNTS:
        yield from compare(where, what, getattr(info, what), sum(getattr(r, what) for r in done))
    rejects: dict[str, int] = {}
    for record in done:
        for reason, count in record.rejects.items():
            rejects[reason] = rejects.get(reason, 0) + count
    yield from compare(where, "rejects", info.rejects, dict(sorted(rejects.items())))
    expected = dataset_fingerprint(info.name, info.index, info.plan, done)
    yield from compare(where, "fingerprint", info.fingerprint, expected)


def _check_rejects(storage: Storage, info: DatasetInfo) -> Iterator[Problem]:
    folder = layout.dataset(info.name)
    files = [f"{folder}/{n}" for n in storage.names(folder) if n.startswith("rejects-")]
    compacted = _Compacted(storage, files, REJECTS_SCHEMA)
    for unit in range(info.units):
        where = layout.rejects_part(info.name, unit)
        part = read_table(storage, where, REJECTS_SCHEMA)
        if not compacted.take(part.num_rows).equals(part):
            yield Problem(compacted.name or "the compacted rejects", f"differs from {where}")


def _check_keys(storage: Storage, info: DatasetInfo) -> Iterator[Problem]:
    keys = [
        np.asarray(read_table(storage, f, MANIFEST_SCHEMA, ["key"])["key"].to_numpy(), "S")
        for f in info.files
    ]
    ordered = np.sort(np.concatenate(keys)) if keys else np.zeros(0, "S1")
    twice = np.flatnonzero(ordered[1:] == ordered[:-1])
    if twice.size:
        yield Problem(layout.dataset(info.name), f"key {ordered[twice[0]].decode()} is there twice")


def _check_embeddings(
    storage: Storage, info: DatasetInfo, done: list[UnitRecord]
) -> Iterator[Problem]:
    top = f"{layout.dataset(info.name)}/embeddings"
    for folder in storage.names(top):
        if storage.exists(layout.sums(f"{top}/{folder}")):
            yield from caught(check_sums(storage, read_sums(storage, f"{top}/{folder}")))
    for model in embedding_models(storage, info.name):
        if not storage.exists(layout.sums(f"{top}/{model.folder}")):
            continue  # not finished: nothing is promised of it yet
        embeddings = EmbeddingSet.open(storage, info, model)
        keys = _keys(storage, info, done)
        for block in embeddings.blocks():
            where = f"{top}/{model.folder}"
            expected = [next(keys, "") for _ in range(len(block.keys))]
            if block.keys.to_pylist() != expected:
                yield Problem(where, f"row {block.first_row} and on: keys are not the manifest's")
            lengths = np.sqrt(np.square(block.vectors, dtype=np.float64).sum(axis=1))
            off = ~((np.abs(lengths - 1) <= _LENGTH_OFF) | (lengths == 0))
            if off.any():
                row = block.first_row + int(np.flatnonzero(off)[0])
                yield Problem(where, f"row {row} is not of unit length")


def _keys(storage: Storage, info: DatasetInfo, done: list[UnitRecord]) -> Iterator[str]:
    for record in done:
        name = layout.manifest_part(info.name, record.unit)
        yield from read_table(storage, name, MANIFEST_SCHEMA, ["key"])["key"].to_pylist()
