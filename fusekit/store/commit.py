"""Commit a unit's work: its shard, then its rejects, then its manifest, which is the record.

A unit is done when its manifest stands; whatever a killed run left before that is written again,
to the same bytes.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import IO, TYPE_CHECKING, Any, Final

from fusekit.errors import StoreError
from fusekit.fingerprint import canonical_json, file_sha256
from fusekit.formats.tar import TarWriter
from fusekit.schema import MANIFEST_SCHEMA, REJECTS_SCHEMA
from fusekit.store import layout
from fusekit.store.tables import read_about, write_table

if TYPE_CHECKING:
    from types import TracebackType

    from fusekit.storage.folder import Storage

MAX_SHARD_BYTES: Final = 1 << 30
SUFFIXES: Final = {"jpg": "jpg", "png": "png", "raw": "npy"}
MEMBER_FIELDS: Final = (
    "identity", "identity_index", "dataset", "dataset_index", "bbox", "landmarks", "det_score",
    "source",
)  # fmt: skip


@dataclass(frozen=True)
class UnitRecord:
    """What a committed unit gave; ``items == kept + rejected``.

    Attributes:
        unit: Its number.
        items: Raw items it had.
        kept: Items that gave at least one sample.
        rejected: Items that gave none.
        samples: Rows of its manifest.
        faces_left_out: Rejects of level ``face``, from kept items.
        rejects: Reason to count, of level ``item``.
        shard_sha256: Of its shard; empty when it gave no sample.
        shard_size: Bytes of its shard; 0 likewise.
        written_sha256: Of its shard as it was first written, where an erasure has changed it
            since; empty: none has.
    """

    unit: int
    items: int
    kept: int
    rejected: int
    samples: int
    faces_left_out: int = 0
    rejects: dict[str, int] = field(default_factory=dict)
    shard_sha256: str = ""
    shard_size: int = 0
    written_sha256: str = ""

    def as_json(self) -> dict[str, Any]:
        """Give it as the manifest's metadata holds it."""
        about = asdict(self)
        if not self.written_sha256:
            del about["written_sha256"]
        return about


class UnitWriter:
    """Write one unit's samples and rejects; nothing counts before :meth:`commit`.

    Args:
        storage: The store.
        dataset: Its name there.
        unit: The unit's number.
    """

    def __init__(self, storage: Storage, dataset: str, unit: int) -> None:
        self._storage, self._dataset, self._unit = storage, dataset, unit
        self._rows: list[dict[str, Any]] = []
        self._rejects: list[dict[str, Any]] = []
        self._stack = ExitStack()
        self._file: IO[bytes] | None = None
        self._tar: TarWriter | None = None

    def __enter__(self) -> UnitWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # The exception reaches the half-written shard, which is then removed.
        self._stack.__exit__(kind, error, trace)

    def add(self, image: bytes, row: dict[str, Any]) -> None:
        """Write one sample.

        Args:
            image: The crop's encoded bytes.
            row: Every manifest column but ``shard, offset, length, unit``.

        Raises:
            StoreError: The shard passes 1 GiB.
        """
        if self._tar is None:
            name = layout.shard(self._dataset, self._unit)
            self._tar = TarWriter(self._stack.enter_context(self._storage.writing(name)))
        key = row["key"]
        offset = self._tar.add(f"{key}.{SUFFIXES[row['format']]}", image)
        about = {name: row[name] for name in MEMBER_FIELDS}
        self._tar.add(f"{key}.json", canonical_json(about))
        if self._tar.size > MAX_SHARD_BYTES:
            raise StoreError(
                layout.shard_file(self._dataset, self._unit), "would pass 1 GiB", None,
                "choose a smaller --unit-size",
            )  # fmt: skip
        place = {
            "shard": layout.shard_file(self._dataset, self._unit),
            "offset": offset,
            "length": len(image),
            "unit": self._unit,
        }
        self._rows.append(row | place)

    def reject(self, row: dict[str, Any]) -> None:
        """Note one reject: every column of the rejects table but ``unit``."""
        self._rejects.append(row | {"unit": self._unit})

    def commit(self, items: int) -> UnitRecord:
        """Finish the shard and write the tables; the unit is done when this returns.

        Args:
            items: How many raw items the unit had.

        Raises:
            StoreError: Samples and rejects do not add up to ``items``.
        """
        kept = len({row["source"] for row in self._rows})
        of_items = [r for r in self._rejects if r["level"] == "item"]
        if kept + len(of_items) != items:
            where = layout.shard_file(self._dataset, self._unit)
            raise StoreError(
                where,
                f"{kept} items kept and {len(of_items)} rejected of {items}",
                "every item in exactly one of them",
            )
        sha256, size = "", 0
        if self._tar is not None:
            sha256, size = self._tar.finish(), self._tar.size
        self._stack.close()
        reasons: dict[str, int] = {}
        for reject in of_items:
            reasons[reject["reason"]] = reasons.get(reject["reason"], 0) + 1
        record = UnitRecord(
            unit=self._unit, items=items, kept=kept, rejected=len(of_items),
            samples=len(self._rows), faces_left_out=len(self._rejects) - len(of_items),
            rejects=dict(sorted(reasons.items())), shard_sha256=sha256, shard_size=size,
        )  # fmt: skip
        name = layout.rejects_part(self._dataset, self._unit)
        write_table(self._storage, name, self._rejects, REJECTS_SCHEMA)
        name = layout.manifest_part(self._dataset, self._unit)
        write_table(self._storage, name, self._rows, MANIFEST_SCHEMA, record.as_json())
        return record


def read_record(storage: Storage, dataset: str, unit: int) -> UnitRecord | None:
    """Read a unit's commit record; None when the unit is not done.

    Raises:
        StoreError: The record is damaged.
    """
    name = layout.manifest_part(dataset, unit)
    if not storage.exists(name):
        return None
    about = read_about(storage, name)
    try:
        return UnitRecord(**about)
    except TypeError:
        raise StoreError(name, f"holds {json.dumps(about)[:80]}", "a unit's record") from None


def check_shard(storage: Storage, dataset: str, record: UnitRecord) -> None:
    """Check a unit's shard against its record, byte for byte.

    Raises:
        StoreError: The shard is missing, or its digest differs.
    """
    if not record.samples:
        return
    name = layout.shard(dataset, record.unit)
    if not storage.exists(name):
        raise StoreError(name, "is missing", None, "fusekit verify tells what else is")
    found = file_sha256(storage.path(name))
    if found != record.shard_sha256:
        raise StoreError(name, f"has sha256 {found[:16]}…", f"{record.shard_sha256[:16]}…")
