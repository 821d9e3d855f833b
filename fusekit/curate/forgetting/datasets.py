"""Erase from a dataset: shards in place, then its tables; its record last."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pyarrow.compute as pc

from fusekit.errors import StoreError
from fusekit.fingerprint import file_sha256
from fusekit.formats.tar import Member, erase_member
from fusekit.schema import IDENTITIES_SCHEMA, MANIFEST_SCHEMA
from fusekit.store import layout
from fusekit.store.commit import read_record
from fusekit.store.datasets import dataset_sums, open_dataset, records, write_info
from fusekit.store.erasure import Gone, blank_sources, blank_table, rewrite_table
from fusekit.store.protocol import KEYED, PLANNED, blanked_protocol
from fusekit.store.sums import read_sums, write_sums
from fusekit.store.tables import read_about, read_table
from fusekit.store.tombstones import is_forgotten

if TYPE_CHECKING:
    import pyarrow as pa

    from fusekit.curate.forgetting.journal import DatasetErasure, UnitErasure
    from fusekit.storage.folder import Storage
    from fusekit.store.erasure import Change

_COMPACTED: Final = ("samples-", "rejects-")


def gone_of(storage: Storage, erasure: DatasetErasure) -> Gone:
    """Give an erasure as tables are blanked by: with the texts of people, as long as they stand.

    They are the last texts that :func:`finish_erasure` blanks, so they stand until then.
    """
    name, stems = layout.identities(erasure.dataset), frozenset(erasure.stems)
    if not erasure.people or not storage.exists(name):
        return Gone(erasure.dataset, stems, {})
    texts = read_table(storage, name, IDENTITIES_SCHEMA)["identity"].to_pylist()
    people = {texts[i]: i for i in erasure.people if not is_forgotten(texts[i])}
    stay = {text for text in texts if text.rpartition("#")[0] in people} - people.keys()
    return Gone(erasure.dataset, stems, people, frozenset(stay))


def erase_samples(storage: Storage, erasure: DatasetErasure, gone: Gone) -> None:
    """Overwrite the samples and blank every row of them, but for the dataset's own records.

    Raises:
        StorageError: A file is damaged or can't be written; done again, it goes on.
    """
    name, folder = erasure.dataset, layout.dataset(erasure.dataset)
    models = [f"{folder}/embeddings/{n}" for n in storage.names(f"{folder}/embeddings")]
    for inner in ("", "/plan", "/shards", "/manifest", "/rejects"):
        storage.sweep(folder + inner)  # what killed runs left may hold the same
    for model in models:
        storage.sweep(model)

    def change(rows: pa.Table) -> pa.Table:
        return blank_table(rows, [gone], name)

    for unit in erasure.units:
        _erase_unit(storage, name, unit, models, change)
    for file in storage.names(folder):
        if file.startswith(_COMPACTED):
            rewrite_table(storage, f"{folder}/{file}", change)
    _blank_protocol(storage, name, gone)


def finish_erasure(storage: Storage, erasure: DatasetErasure) -> None:
    """Blank the texts of identities, then write the digests and the dataset's record.

    Raises:
        StorageError: A file is damaged or can't be written; done again, it goes on.
    """
    name = erasure.dataset
    gone = gone_of(storage, erasure)
    if storage.exists(layout.identities(name)):
        rewrite_table(
            storage, layout.identities(name), lambda rows: blank_table(rows, [gone], name)
        )
    top = f"{layout.dataset(name)}/embeddings"
    for model in storage.names(top):
        if storage.exists(layout.sums(f"{top}/{model}")):
            parts = [part.rpartition("/")[2] for part in read_sums(storage, f"{top}/{model}")]
            write_sums(storage, f"{top}/{model}", parts)
    info = open_dataset(storage, name)
    done = list(records(storage, name, info.units))
    forgotten: dict[str, Any] = {"samples": _count_erased(storage, info.files)}
    if blanked := blanked_protocol(storage, name):
        forgotten["protocol"] = blanked
    write_info(storage, replace(info, sums=dataset_sums(storage, name, done), forgotten=forgotten))


def _erase_unit(
    storage: Storage, name: str, unit: UnitErasure, models: list[str], change: Change
) -> None:
    record = read_record(storage, name, unit.unit)
    if record is None:
        raise StoreError(name, f"unit {unit.unit} is not done", None, "fusekit verify")
    if unit.members:
        shard = layout.shard(name, unit.unit)
        with storage.overwriting(shard) as file:
            for member in unit.members:
                erase_member(file, Member(*member), shard)
        sha256 = file_sha256(storage.path(shard))
        for model in models:
            _erase_embeddings(
                storage, f"{model}/part-{unit.unit:06d}.parquet", unit, sha256, change
            )
        written = record.written_sha256 or unit.shard_sha256
        record = replace(record, shard_sha256=sha256, written_sha256=written)
    rewrite_table(storage, layout.manifest_part(name, unit.unit), change, record.as_json())
    rewrite_table(storage, layout.plan_part(name, unit.unit), change)
    rewrite_table(storage, layout.rejects_part(name, unit.unit), change)


def _erase_embeddings(
    storage: Storage, part: str, unit: UnitErasure, sha256: str, change: Change
) -> None:
    if not storage.exists(part):
        return
    about = read_about(storage, part)
    if about.get("shard_sha256") == unit.shard_sha256:
        about["shard_sha256"] = sha256  # those of other shards are stale, and stay so
    rewrite_table(storage, part, change, about)


def _blank_protocol(storage: Storage, name: str, gone: Gone) -> None:
    files = [layout.protocol_plan(name, table) for table in PLANNED]
    for file in [*files, *(layout.protocol(name, table) for table in KEYED)]:
        if storage.exists(file):
            rewrite_table(
                storage, file, lambda rows: _blank_subjects(blank_sources(rows, gone), gone)
            )


def _blank_subjects(rows: pa.Table, gone: Gone) -> pa.Table:
    """Blank who a search's template shows, where nothing is left of them."""
    if "subject" not in rows.column_names:
        return rows
    people = rows.rename_columns({"subject": "identity"})
    return blank_table(people, [gone], gone.dataset).rename_columns({"identity": "subject"})


def _count_erased(storage: Storage, files: list[str]) -> int:
    return sum(
        int(pc.sum(pc.equal(table["length"], 0)).as_py() or 0)
        for table in (read_table(storage, file, MANIFEST_SCHEMA, ["length"]) for file in files)
    )
