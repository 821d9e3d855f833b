"""What an erasure has set out to do, noted before the first byte goes: it can be gone on with.

The journal names items by the stems of their keys and people by their numbers; it holds no text.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from fusekit.errors import StoreError
from fusekit.fingerprint import canonical_json, fingerprint
from fusekit.formats.tar import Member, members_from
from fusekit.schema import MANIFEST_SCHEMA, PLAN_SCHEMA
from fusekit.store import layout
from fusekit.store.commit import read_record
from fusekit.store.tables import read_table
from fusekit.store.tombstones import JOURNAL, STEM_LETTERS, key_stem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusekit.curate.forgetting.targets import Target
    from fusekit.storage.folder import Storage

_MEMBERS: Final = 2  # of a sample: its image, then its .json
_PLACE: Final = ["key", "offset", "length"]


@dataclass(frozen=True)
class UnitErasure:
    """What is erased of one work unit.

    Attributes:
        unit: Its number.
        shard_sha256: Of its shard before; empty when it has none.
        members: Name, offset and length of the shard's members to be overwritten.
    """

    unit: int
    shard_sha256: str
    members: list[tuple[str, int, int]] = field(default_factory=list)


@dataclass(frozen=True)
class DatasetErasure:
    """What is erased of one dataset.

    Attributes:
        dataset: Its name.
        stems: What the keys of the erased items start with, sorted.
        copies: How many of the items are there only as copies of others.
        people: Identity indexes of the identities that are erased whole.
        samples: How many samples are erased.
        units: The units that have any of the items.
    """

    dataset: str
    stems: list[str]
    copies: int
    people: list[int]
    samples: int
    units: list[UnitErasure]

    @property
    def shards(self) -> int:
        """How many shards are overwritten in part."""
        return sum(bool(unit.members) for unit in self.units)


@dataclass(frozen=True)
class Journal:
    """All of one erasure.

    Attributes:
        datasets: Sorted by name.
        tombstones: Name of the table of tombstones that belongs to it.
        mixtures: The mixtures that have an erased row: name to sha256 of ``mixture.json`` before.
    """

    datasets: list[DatasetErasure]
    tombstones: str
    mixtures: dict[str, str]


def plan_dataset(storage: Storage, target: Target) -> DatasetErasure:
    """Look up where the target's samples stand.

    Raises:
        StoreError: A unit is not done, or its shard is missing.
        FormatError: A shard's members are not where the manifest says.
    """
    name, stems = target.info.name, target.stems
    units, samples = [], 0
    for unit in range(target.info.units):
        items = read_table(storage, layout.plan_part(name, unit), PLAN_SCHEMA, ["source"])
        if stems.isdisjoint(map(key_stem, items["source"].to_pylist())):
            continue
        record = read_record(storage, name, unit)
        if record is None:
            raise StoreError(name, f"unit {unit} is not done", None, "fusekit verify")
        rows = read_table(storage, layout.manifest_part(name, unit), MANIFEST_SCHEMA, _PLACE)
        mine = [
            row for row in rows.to_pylist() if row["length"] and row["key"][:STEM_LETTERS] in stems
        ]
        samples += len(mine)
        members = _members(storage, layout.shard(name, unit), mine) if mine else []
        units.append(UnitErasure(unit, record.shard_sha256, members))
    return DatasetErasure(
        name, sorted(stems), len(target.copies), sorted(target.people), samples, units
    )


def write_journal(storage: Storage, journal: Journal) -> None:
    """Write the journal: from now on the erasure is gone on with until it is done.

    Raises:
        StorageError: It can't be written.
    """
    about: dict[str, Any] = {"format_version": layout.FORMAT_VERSION, **asdict(journal)}
    about["digest"] = fingerprint(json.loads(canonical_json(about)))
    storage.write(JOURNAL, canonical_json(about))


def read_journal(storage: Storage) -> Journal | None:
    """Read the journal of an erasure that was interrupted; None: there is none.

    Raises:
        StoreError: It is damaged.
    """
    if not storage.exists(JOURNAL):
        return None
    try:
        about = json.loads(storage.read(JOURNAL))
        whole = about.pop("digest") == fingerprint(about)
        datasets = [
            DatasetErasure(**each | {"units": [_unit(unit) for unit in each["units"]]})
            for each in about["datasets"]
        ]
        journal = Journal(datasets, about["tombstones"], about["mixtures"])
    except (ValueError, KeyError, TypeError):
        whole, journal = False, None
    if not whole or journal is None:
        raise StoreError(
            JOURNAL, "is damaged", None, "remove it and give the same forget command again"
        )
    return journal


def _unit(about: dict[str, Any]) -> UnitErasure:
    members = [(str(name), int(at), int(size)) for name, at, size in about["members"]]
    return UnitErasure(about["unit"], about["shard_sha256"], members)


def _members(
    storage: Storage, shard: str, rows: Sequence[dict[str, Any]]
) -> list[tuple[str, int, int]]:
    if not storage.exists(shard):
        raise StoreError(shard, "is missing", None, "fusekit verify tells what else is")
    found: list[Member] = []
    with io.BufferedReader(storage.path(shard).open("rb", buffering=0)) as file:
        for row in rows:
            pair = members_from(file, row["offset"], _MEMBERS, shard)
            stands = [member.name.partition(".")[0] for member in pair] == [row["key"]] * _MEMBERS
            if not stands or pair[0].length != row["length"]:
                found_there = f"{pair[0].name!r} stands at byte {row['offset']}"
                raise StoreError(shard, found_there, f"{row['key']} of the manifest",
                                 "fusekit verify tells what else is damaged")  # fmt: skip
            found += pair
    return [(member.name, member.offset, member.length) for member in found]
