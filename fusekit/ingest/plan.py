"""Plan an ingest: number the items, deal them to units, fix everything that affects the result.

One pass lists the raw data into a spool file; an item's unit then follows from a seeded bijection
of its number, so that each shard is a random sample of the dataset. Memory does not grow with the
number of items, only with the number of identities.
"""

from __future__ import annotations

import hashlib
import json
import math
import unicodedata
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fusekit.errors import FingerprintError, SourceError, StoreError
from fusekit.fingerprint import canonical_json, fingerprint, first_difference
from fusekit.progress import Progress, Report, silent
from fusekit.rng import derive, unpermute
from fusekit.schema import IDENTITIES_SCHEMA, PLAN, PLAN_SCHEMA
from fusekit.store import layout
from fusekit.store.tables import write_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from fusekit.readers.item import Item, Reader
    from fusekit.storage.folder import Storage

Spool: TypeAlias = "pa.ipc.RecordBatchFileReader"

_BATCH: Final = 1 << 16
_ROWS_AT_ONCE: Final = 1 << 19  # of several units, taken from the spool in one pass
_ITEM_COLUMNS: Final = tuple(c.name for c in PLAN if c.name not in ("item", "identity_index"))
_SPOOL_SCHEMA: Final = pa.schema([
    pa.field("identity", pa.int32()) if field.name == "identity" else field
    for field in PLAN_SCHEMA
    if field.name != "identity_index"
])  # fmt: skip


@dataclass(frozen=True)
class Listing:
    """What lies in the raw data, in listing order.

    Attributes:
        spool: Arrow file with one row per item.
        items: How many.
        identities: Their texts in the order that numbers them.
        absent: Texts of those who only have items that the listing itself rejects.
        place: Place of each in ``identities`` and ``absent`` together, by the order of its first
            appearance, which the spool holds.
        digest: sha256 over every row: all that the reader says of an item.
        landmarks: Whether any item has landmarks.
    """

    spool: Path
    items: int
    identities: list[str]
    absent: list[str]
    place: np.ndarray[Any, Any]
    digest: str
    landmarks: bool


@dataclass(frozen=True)
class Plan:
    """A fixed plan: how many units and items, and the fingerprint of all that went in."""

    units: int
    items: int
    identities: int
    fingerprint: str


def list_items(reader: Reader, spool: Path, where: str, report: Report = silent) -> Listing:
    """List the raw data into a spool file.

    Args:
        reader: Of the raw data.
        spool: The file to write.
        where: What to call the raw data in errors.
        report: Told of every batch of items.

    Raises:
        SourceError: There is no item at all.
    """
    people: dict[str, int] = {}
    present: set[int] = set()
    digest = hashlib.sha256()
    count, landmarks = 0, False
    with pa.OSFile(str(spool), "wb") as file, pa.ipc.new_file(file, _SPOOL_SCHEMA) as out:
        for batch in _batches(reader.items()):
            columns = _columns(batch, count)
            # Labels and hints too: the same files under other ones are other data.
            digest.update(json.dumps(columns).encode())
            count += len(batch)
            landmarks = landmarks or any(columns["landmarks"])
            out.write_batch(_spooled(columns, people, present))
            report(Progress("list", count, None, "items"))
    if count == 0:
        raise SourceError(where, "no pictures were found", f"the form {reader.form!r}")
    by = (lambda text: (int(text), text)) if reader.numeric_identities else str.encode
    # Who is in lists only has no number: the dataset has no picture of them.
    ordered = sorted((person for person, code in people.items() if code in present), key=by)
    absent = [person for person, code in people.items() if code not in present]
    place = np.empty(len(people), np.int32)
    place[[people[person] for person in (*ordered, *absent)]] = np.arange(len(people))
    return Listing(spool, count, ordered, absent, place, digest.hexdigest(), landmarks)


def fix_plan(
    storage: Storage, name: str, inputs: dict[str, Any], listing: Listing, names: Mapping[str, str]
) -> Plan:
    """Write the plan, or check that the one that stands is the same.

    Args:
        storage: The store; its lock on the dataset is held.
        name: The dataset's name.
        inputs: Everything that affects the result but the items: a JSON object with
            ``settings.unit_size`` and ``settings.seed``.
        listing: Of the raw data.
        names: Identity to display name.

    Raises:
        FingerprintError: The dataset was begun with other inputs or settings.
    """
    about = {
        **inputs,
        "format_version": layout.FORMAT_VERSION,
        "items": {"count": listing.items, "sha256": listing.digest},
    }
    settings = inputs["settings"]
    units = math.ceil(listing.items / settings["unit_size"])
    plan = Plan(units, listing.items, len(listing.identities), fingerprint(about))
    record = {"fingerprint": plan.fingerprint, "units": units, "inputs": about}
    if not storage.create(layout.plan_json(name), canonical_json(record)):
        _check_same(storage, name, record)
    if not _stands(storage, layout.identities(name), len(listing.identities)):
        rows = [
            {"identity_index": i, "identity": person, "name": names.get(person)}
            for i, person in enumerate(listing.identities)
        ]
        write_table(storage, layout.identities(name), rows, IDENTITIES_SCHEMA)
    with _opened(listing.spool) as spool:
        _write_parts(storage, name, plan, listing, spool, settings)
    return plan


def _write_parts(
    storage: Storage,
    name: str,
    plan: Plan,
    listing: Listing,
    spool: Spool,
    settings: dict[str, Any],
) -> None:
    unit_size, key = settings["unit_size"], derive(settings["seed"], "units")
    in_order = _by_offset(spool) if settings["order"] == "source" else None
    texts = pa.array([*listing.identities, *listing.absent], pa.string())
    at_once = max(1, _ROWS_AT_ONCE // unit_size)
    for first in range(0, plan.units, at_once):
        numbers = {}
        for unit in range(first, min(first + at_once, plan.units)):
            start = unit * unit_size
            size = min(unit_size, listing.items - start)
            if _stands(storage, layout.plan_part(name, unit), size):
                continue
            if in_order is None:
                numbers[unit] = unit_items(listing.items, unit, unit_size, key)
            else:
                numbers[unit] = in_order[start : start + size]
        if not numbers:
            continue
        wanted = np.sort(np.concatenate(list(numbers.values())))
        rows = _take(spool, wanted)
        for unit, those in numbers.items():
            mine = rows.take(pa.array(np.searchsorted(wanted, those)))
            table = _unit_rows(mine, texts, listing)
            write_table(storage, layout.plan_part(name, unit), table, PLAN_SCHEMA)


def unit_items(items: int, unit: int, unit_size: int, key: int) -> np.ndarray[Any, Any]:
    """Give the numbers of the items of a unit, ascending.

    Args:
        items: How many items there are in all.
        unit: The unit's number.
        unit_size: Items in each unit but the last.
        key: Of the bijection.

    Example:
        >>> parts = [unit_items(10, u, 4, 7).tolist() for u in range(3)]
        >>> [len(p) for p in parts], sorted(sum(parts, []))
        ([4, 4, 2], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    """
    places = np.arange(unit * unit_size, min((unit + 1) * unit_size, items))
    return np.sort(unpermute(places, items, key).astype(np.int64))


def _batches(items: Iterator[Item]) -> Iterator[list[Item]]:
    batch: list[Item] = []
    for item in items:
        batch.append(item)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _columns(batch: list[Item], first: int) -> dict[str, list[Any]]:
    """Give the items as columns of plain values; a tenth of the time that rows would take."""
    columns: dict[str, list[Any]] = {"item": list(range(first, first + len(batch)))}
    for name in _ITEM_COLUMNS:
        columns[name] = list(map(attrgetter(name), batch))
    columns["identity"] = [
        text if text is None or text.isascii() else unicodedata.normalize("NFC", text)
        for text in columns["identity"]
    ]
    return columns


def _spooled(
    columns: dict[str, list[Any]], people: dict[str, int], present: set[int]
) -> pa.RecordBatch:
    """Make the spool's batch: an identity as the number of its first appearance."""
    codes = [
        -1 if person is None else people.setdefault(person, len(people))
        for person in columns["identity"]
    ]
    present.update(
        code for code, reject in zip(codes, columns["reject"], strict=True) if reject is None
    )
    values = columns | {"identity": codes}
    return pa.record_batch([_array(values[field.name], field.type) for field in _SPOOL_SCHEMA],
                           schema=_SPOOL_SCHEMA)  # fmt: skip


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    # Most columns are empty in most datasets; looking is cheaper than converting.
    if values.count(None) == len(values):
        return pa.nulls(len(values), kind)
    return pa.array(values, kind)


def _by_offset(spool: Spool) -> np.ndarray[Any, Any]:
    """Give the numbers of all items by ascending offset, those without one by their number."""
    return np.argsort(spool.read_all()["offset"].to_numpy(), kind="stable")


def _take(spool: Spool, numbers: np.ndarray[Any, Any]) -> pa.Table:
    """Take rows of the spool by their ascending numbers, batch by batch.

    ``Table.take`` joins all chunks of a text column first: a gigabyte for each call at 20 M rows.
    """
    edges = np.searchsorted(numbers, np.arange(0, (spool.num_record_batches + 1) * _BATCH, _BATCH))
    pieces = [
        spool.get_batch(i).take(pa.array(numbers[edges[i] : edges[i + 1]] - i * _BATCH))
        for i in range(spool.num_record_batches)
        if edges[i] < edges[i + 1]
    ]
    return pa.Table.from_batches(pieces, _SPOOL_SCHEMA).combine_chunks()


def _unit_rows(rows: pa.Table, texts: pa.Array, listing: Listing) -> pa.Table:
    codes = rows["identity"].to_numpy()
    places = np.full(len(codes), -1, np.int32)
    places[codes >= 0] = listing.place[codes[codes >= 0]]
    at = _SPOOL_SCHEMA.get_field_index("identity")
    spelled = texts.take(pa.array(places, mask=places < 0))
    rows = rows.set_column(at, PLAN_SCHEMA.field("identity"), spelled)
    places[places >= len(listing.identities)] = -1
    at = PLAN_SCHEMA.get_field_index("identity_index")
    return rows.add_column(at, PLAN_SCHEMA.field(at), pa.array(places))


@contextmanager
def _opened(spool: Path) -> Iterator[Spool]:
    with pa.memory_map(str(spool)) as file:
        yield pa.ipc.open_file(file)


def _stands(storage: Storage, name: str, rows: int) -> bool:
    """Say whether a table is there and, by its footer, whole; a cut one is written again."""
    try:
        return bool(pq.read_metadata(storage.path(name)).num_rows == rows)
    except (OSError, pa.ArrowException):
        return False


def _check_same(storage: Storage, name: str, record: dict[str, Any]) -> None:
    where = layout.plan_json(name)
    try:
        old = json.loads(storage.read(where))
        was, inputs = old["fingerprint"], old["inputs"]
    except (ValueError, KeyError, TypeError):
        raise StoreError(where, "is damaged", None, "ingest under another name with --as") from None
    if was == record["fingerprint"]:
        return
    difference = first_difference(inputs, record["inputs"])
    raise FingerprintError(
        name,
        f"was begun with other inputs or settings ({difference}); its plan is {was[:12]}, "
        f"this one {record['fingerprint'][:12]}",
        None,
        "give the same ones to go on, or another name with --as",
    )
