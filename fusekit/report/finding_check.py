"""Check one finding: its description, its table's digest and columns, that its rows are there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fusekit.fingerprint import file_sha256
from fusekit.report.problem import Problem, compare
from fusekit.schema import IDENTITIES_SCHEMA
from fusekit.store import layout
from fusekit.store.datasets import open_dataset, sample_rows
from fusekit.store.findings import SCHEMAS, finding_json, read_finding, read_finding_table
from fusekit.store.tables import read_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusekit.storage.folder import Storage
    from fusekit.store.datasets import DatasetInfo
    from fusekit.store.findings import Finding

_ROW_A_SAMPLE: Final = ("activation", "clusters")
_BATCH: Final = 122_880
#: Kind to the columns that name an identity: dataset, text and number.
_IDENTITIES: Final = {
    "overlap": (
        ("dataset_a", "identity_a", "identity_index_a"),
        ("dataset_b", "identity_b", "identity_index_b"),
    ),
    "contamination": (("dataset", "identity", "identity_index"),),
}
_KEYED: Final = ("activation", "clusters", "duplicates", "label-noise")


def check_finding(storage: Storage, kind: str, name: str) -> Iterator[Problem]:
    """Check a finding; one whose inputs have changed since is stale, which is no fault.

    Samples and identities are looked for in the datasets that are as they were.

    Args:
        storage: The store.
        kind: The finding's kind.
        name: Its fingerprint.

    Yields:
        Faults.

    Raises:
        FindingError: Its description is damaged, so nothing more can be said.
    """
    folder = layout.finding(kind, name)
    finding = read_finding(storage, kind, name)
    where = f"{folder}/table.parquet"
    data = storage.read(f"{folder}/finding.json")
    text = json.loads(data)
    expected = text.get("table_sha256")
    # Written in one form only, so any other byte is a fault, a key's too.
    if finding_json(finding, str(expected)) != data:
        yield Problem(f"{folder}/finding.json", "is damaged")
        return
    if not storage.exists(where):
        yield Problem(where, "is missing")
        return
    if (found := file_sha256(storage.path(where))) != expected:
        yield Problem(where, f"has sha256 {found[:16]}…; expected {expected[:16]}…")
        return
    faults = list(_check_columns(storage, kind, where))
    yield from faults
    if not faults:
        yield from _check_rows(storage, finding, where)


def _check_columns(storage: Storage, kind: str, where: str) -> Iterator[Problem]:
    if kind not in SCHEMAS:
        yield Problem(where, f"is of no known kind: {kind!r}")
        return
    found = pq.read_schema(storage.path(where)).remove_metadata()
    # Columns that came later are nullable; a table that was written before has none.
    expected = pa.schema([f for f in SCHEMAS[kind] if f.name in found.names or not f.nullable])
    if found != expected:
        names = ", ".join(f"{f.name} {f.type}" for f in found if f not in list(expected))
        lacks = ", ".join(f"{f.name} {f.type}" for f in expected if f not in list(found))
        yield Problem(where, f"has other columns ({names or 'none more'}; lacks {lacks or 'none'})")


def _check_rows(storage: Storage, finding: Finding, where: str) -> Iterator[Problem]:
    table = read_finding_table(storage, finding)
    for name in finding.datasets:
        if not storage.exists(layout.dataset_json(name)):
            continue
        info = open_dataset(storage, name)
        if finding.about["inputs"].get(name) != info.fingerprint:
            continue
        if finding.kind in _ROW_A_SAMPLE:
            yield from compare(where, "rows", table.num_rows, sample_rows(storage, info))
        if finding.kind in _KEYED:
            yield from _check_keys(storage, info, table, where)
        for columns in _IDENTITIES.get(finding.kind, ()):
            yield from _check_identities(storage, info, table.select(columns), where)


def _check_keys(
    storage: Storage, info: DatasetInfo, table: pa.Table, where: str
) -> Iterator[Problem]:
    if "dataset" in table.schema.names:
        table = table.filter(pc.equal(table["dataset"], info.name))
    keys = table.filter(pc.not_equal(table["key"], ""))["key"].combine_chunks()  # "": erased
    distinct = len(pc.unique(keys))
    if distinct != len(keys):
        yield Problem(where, f"has {len(keys) - distinct} samples of {info.name} twice")
    found = 0
    for name in info.files:
        with pq.ParquetFile(storage.path(name)) as file:
            for batch in file.iter_batches(_BATCH, columns=["key"]):
                found += pc.sum(pc.is_in(batch["key"], value_set=keys)).as_py() or 0
    if found != distinct:
        yield Problem(where, f"names {distinct - found} samples that {info.name} does not have")


def _check_identities(
    storage: Storage, info: DatasetInfo, table: pa.Table, where: str
) -> Iterator[Problem]:
    dataset, identity, index = table.schema.names
    chosen = pc.and_(pc.equal(table[dataset], info.name), pc.not_equal(table[identity], ""))
    mine = table.filter(chosen)
    people = read_table(storage, layout.identities(info.name), IDENTITIES_SCHEMA, ["identity"])
    known = people["identity"].combine_chunks()
    numbers = mine[index].combine_chunks()
    inside = pc.and_(pc.greater_equal(numbers, 0), pc.less(numbers, len(known)))
    named = known.take(pc.if_else(inside, numbers, None))
    right = pc.fill_null(pc.equal(named, mine[identity].combine_chunks()), fill_value=False)
    wrong = mine.num_rows - (pc.sum(right).as_py() or 0)
    if wrong:
        yield Problem(where, f"names {wrong} identities that {info.name} does not have")
