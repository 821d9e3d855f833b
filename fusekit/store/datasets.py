"""Datasets of a store: claim an index, finish, open, list."""

from __future__ import annotations

import difflib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from fusekit.errors import StoreError
from fusekit.fingerprint import canonical_json, fingerprint
from fusekit.schema import MANIFEST_SCHEMA, REJECTS_SCHEMA
from fusekit.shipped import shipped
from fusekit.store import layout
from fusekit.store.commit import UnitRecord, read_record
from fusekit.store.protocol import blanked_protocol, resolve_protocol
from fusekit.store.sums import write_sums
from fusekit.store.tables import count_rows, group_parts, join_tables
from fusekit.store.tombstones import JOURNAL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from fusekit.storage.folder import Storage

_COMPACT_ROWS: Final = 1_000_000
_LAST_INDEX: Final = 32_767  # dataset_index is int16


@dataclass(frozen=True)
class DatasetInfo:
    """What ``dataset.json`` says of a finished dataset.

    Attributes:
        name: Its name in the store.
        index: Its dataset index.
        kind: labeled, unlabeled or evaluation.
        template: Alignment template of the crops, such as ``arcface-112``.
        crop_size: Width and height of the crops in pixels.
        fingerprint: Changes with anything that changes a crop or a row.
        units: How many work units, so shards and parts, it has.
        items: Raw items; ``items == kept + rejected``.
        kept: Items that gave at least one sample.
        rejected: Items that gave none.
        samples: Rows of the manifest.
        identities: Distinct identities of the source; 0 when unlabeled.
        faces_left_out: Faces of kept items that are no samples.
        rejects: Reason to count, for items.
        ignored: What the reader passed over that is no item, and how often.
        files: The compacted manifests, names in the store.
        card: The card as it was used.
        settings: Every setting that affected the result.
        versions: Library versions, where faces were detected.
        plan: Fingerprint of the plan.
        form: The form of the raw data that was read.
        protocol: An evaluation set's tables, each with its number of rows; empty for others.
        colours: How red and blue lie in aligned crops (:mod:`fusekit.ingest.colours`); None where
            crops were cut here.
        sums: sha256 of the file with the digests of all others.
        forgotten: What erasure took since: ``samples``, and of each of the protocol's tables that
            it blanked the digest of its rows (``protocol``); empty: nothing.
    """

    name: str
    index: int
    kind: str
    template: str
    crop_size: tuple[int, int]
    fingerprint: str
    units: int
    items: int
    kept: int
    rejected: int
    samples: int
    identities: int
    faces_left_out: int
    rejects: dict[str, int]
    ignored: dict[str, int]
    files: list[str]
    card: dict[str, Any]
    settings: dict[str, Any]
    versions: dict[str, str]
    plan: str
    form: str
    protocol: dict[str, int]
    colours: dict[str, Any] | None
    sums: str
    forgotten: dict[str, Any] = field(default_factory=dict)


def claim_index(storage: Storage, dataset: str, wanted: int | None) -> int:
    """Claim a dataset index for a dataset; the same dataset gets the same one again.

    Args:
        storage: The store.
        dataset: Its name.
        wanted: The card's index or the option's; None takes the next free from 1000.

    Raises:
        StoreError: Another dataset has it, or this dataset has another.
    """
    taken = indexes(storage)
    mine = next((i for i, name in taken.items() if name == dataset), None)
    if mine is not None:
        if wanted is not None and wanted != mine:
            raise StoreError(dataset, f"has dataset index {mine}", f"{wanted} as asked")
        return mine
    if wanted is not None and not 0 <= wanted <= _LAST_INDEX:
        raise StoreError(dataset, f"dataset index {wanted}", f"0 to {_LAST_INDEX}")
    index = wanted if wanted is not None else layout.FIRST_FREE_INDEX
    while not storage.create(layout.index_claim(index), canonical_json({"dataset": dataset})):
        if wanted is not None:
            other = indexes(storage)[index]
            raise StoreError(
                dataset, f"dataset index {index} is {other}'s", None,
                "give another with --index",
            )  # fmt: skip
        index += 1
    return index


def indexes(storage: Storage) -> dict[int, str]:
    """Give every dataset index in use and the dataset that has it.

    Raises:
        StoreError: A claim is damaged.
    """
    taken = {}
    for name in storage.names("indexes"):
        where = f"indexes/{name}"
        try:
            claim = json.loads(storage.read(where))
            taken[int(name.removesuffix(".json"))] = str(claim["dataset"])
        except (ValueError, KeyError, TypeError):
            raise StoreError(where, "is damaged", '{"dataset": NAME}') from None
    return taken


def were_erased(storage: Storage, read: Iterable[DatasetInfo]) -> bool:
    """Tell whether samples are being erased, or were since these datasets were opened.

    What was read of them may then name people whom nothing may name any more.

    Args:
        storage: The store.
        read: The datasets, as they were when reading began.
    """
    if storage.exists(JOURNAL):
        return True
    return any(open_dataset(storage, info.name).forgotten != info.forgotten for info in read)


def records(storage: Storage, dataset: str, units: int) -> Iterator[UnitRecord]:
    """Give the records of all units of a dataset, in order.

    Raises:
        StoreError: A unit is not done.
    """
    for unit in range(units):
        record = read_record(storage, dataset, unit)
        if record is None:
            raise StoreError(dataset, f"unit {unit} of {units} is not done", None, "ingest again")
        yield record


def finish_dataset(
    storage: Storage,
    name: str,
    *,
    units: int,
    index: int,
    kind: str,
    template: str,
    crop_size: tuple[int, int],
    identities: int,
    plan: str,
    form: str,
    card: dict[str, Any],
    settings: dict[str, Any],
    versions: dict[str, str],
    ignored: dict[str, int],
    colours: dict[str, Any] | None = None,
) -> DatasetInfo:
    """Compact the manifests and write ``dataset.json``: from now on the dataset is finished.

    Args:
        storage: The store.
        name: The dataset's name.
        units: How many units its plan has.
        index: Its dataset index.
        kind: Of the card.
        template: Alignment template of the crops.
        crop_size: Width and height of the crops.
        identities: Distinct identities of its plan.
        plan: The plan's fingerprint.
        form: Form of the raw data.
        card: The card as used.
        settings: The settings as used.
        versions: Library versions.
        ignored: What the reader passed over.
        colours: Of the check of red and blue; None: not made.

    Raises:
        StoreError: A unit is not done.
        StorageError: A table can't be written.
    """
    done = list(records(storage, name, units))
    parts = [layout.manifest_part(name, r.unit) for r in done]
    files = []
    for number, group in enumerate(group_parts(storage, parts, _COMPACT_ROWS)):
        join_tables(storage, layout.samples(name, number), group, MANIFEST_SCHEMA)
        files.append(layout.samples(name, number))
    reject_parts = [layout.rejects_part(name, r.unit) for r in done]
    for number, group in enumerate(group_parts(storage, reject_parts, _COMPACT_ROWS)):
        join_tables(storage, layout.rejects(name, number), group, REJECTS_SCHEMA)
    rejects: dict[str, int] = {}
    for record in done:
        for reason, count in record.rejects.items():
            rejects[reason] = rejects.get(reason, 0) + count
    info = DatasetInfo(
        name=name, index=index, kind=kind, template=template, crop_size=crop_size,
        fingerprint=dataset_fingerprint(name, index, plan, done), units=units,
        items=sum(r.items for r in done), kept=sum(r.kept for r in done),
        rejected=sum(r.rejected for r in done), samples=sum(r.samples for r in done),
        identities=identities, faces_left_out=sum(r.faces_left_out for r in done),
        rejects=dict(sorted(rejects.items())), ignored=ignored, files=files, card=card,
        settings=settings, versions=versions, plan=plan, form=form,
        protocol=resolve_protocol(storage, name, files), colours=colours,
        sums=dataset_sums(storage, name, done),
    )  # fmt: skip
    if blanked := blanked_protocol(storage, name):  # of items that were erased before
        info = replace(info, forgotten={"samples": 0, "protocol": blanked})
    write_info(storage, info)
    return info


def write_info(storage: Storage, info: DatasetInfo) -> None:
    """Write ``dataset.json``.

    Raises:
        StorageError: It can't be written.
    """
    about = {"format_version": layout.FORMAT_VERSION, **asdict(info)}
    if not info.forgotten:
        del about["forgotten"]
    about["digest"] = fingerprint(about)
    text = json.dumps(about, indent=1, sort_keys=True)
    storage.write(layout.dataset_json(info.name), text.encode())


def dataset_sums(storage: Storage, name: str, done: Sequence[UnitRecord]) -> str:
    """Write the digests of a dataset's files, and give the sha256 of that file.

    Args:
        storage: The store.
        name: The dataset's name.
        done: The records of all its units.
    """
    folder = layout.dataset(name)
    tables = [
        f"{inner}/{file}"
        for inner in ("plan", "manifest", "rejects")
        for file in storage.names(f"{folder}/{inner}")
    ]
    wanted = ("samples-", "rejects-", "pairs", "templates")
    compacted = [n for n in storage.names(folder) if n.startswith(wanted)]
    # The units' records hold the shards' digests already, and shards are large.
    shards = {
        f"shards/{layout.shard_file(name, r.unit)}": r.shard_sha256 for r in done if r.samples
    }
    return write_sums(storage, folder, tables + compacted, shards)


def dataset_fingerprint(name: str, index: int, plan: str, done: list[UnitRecord]) -> str:
    """Give the fingerprint of a dataset from its plan and its units' records.

    Erasure leaves it as it is: what was built from the dataset goes on without the rows.
    """
    return fingerprint({
        "format_version": layout.FORMAT_VERSION, "dataset": name, "dataset_index": index,
        "plan": plan, "shards": [r.written_sha256 or r.shard_sha256 for r in done],
        "samples": [r.samples for r in done],
    })  # fmt: skip


def open_dataset(storage: Storage, name: str) -> DatasetInfo:
    """Open a finished dataset.

    Raises:
        StoreError: It is not there (the nearest name is given), is not finished, or its
            ``dataset.json`` is damaged or of a newer format.
    """
    where = layout.dataset_json(name)
    if not storage.exists(where):
        if storage.exists(layout.plan_json(name)):
            raise StoreError(
                name, "is not finished", None, "run its ingest again: it goes on where it stopped"
            )
        near = difflib.get_close_matches(name, [d.name for d in list_datasets(storage)], 1)
        card = name if name in shipped("manifests") else f"CARD --as {name}"
        hint = f"did you mean {near[0]!r}?" if near else f"fusekit ingest {card} --from RAW"
        raise StoreError(name, "is not ingested", None, hint)
    try:
        about = json.loads(storage.read(where))
        version, digest = about["format_version"], about.pop("digest", None)
        if version > layout.FORMAT_VERSION:
            raise StoreError(where, f"has format {version}", f"at most {layout.FORMAT_VERSION}")
        whole = digest == fingerprint(about)
        del about["format_version"]
        about["crop_size"] = tuple(about["crop_size"])
        info = DatasetInfo(**about)
    except (ValueError, TypeError, KeyError):
        raise StoreError(where, "is damaged", None, "ingest again, or fusekit verify") from None
    if not whole:
        raise StoreError(where, "does not match its own digest", None, "fusekit verify tells more")
    return info


def list_datasets(storage: Storage) -> list[DatasetInfo]:
    """Open every finished dataset of the store, sorted by name."""
    return [
        open_dataset(storage, name)
        for name in storage.names("datasets")
        if storage.exists(layout.dataset_json(name))
    ]


def sample_rows(storage: Storage, info: DatasetInfo) -> int:
    """Count the rows of a dataset's compacted manifests, from their footers.

    Raises:
        StorageError: One of them is missing or damaged.
    """
    return sum(count_rows(storage, file) for file in info.files)
