"""Tombstones: what was erased, by digests alone, so that no later ingest brings it back.

An item is known again by its bytes, in any dataset, and by its source text, in a dataset of the
same name and wherever the same raw data is ingested under another. What stood in its rows is
replaced by words that hold no text of it: a source by ``forgotten:`` and the stem of its samples'
keys, an identity by ``forgotten:`` and its index.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fusekit.errors import StoreError
from fusekit.fingerprint import fingerprint
from fusekit.schema import TOMBSTONES_SCHEMA
from fusekit.store import layout
from fusekit.store.tables import read_table, write_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fusekit.storage.folder import Storage

JOURNAL: Final = "forget/journal.json"
"""Name of the file that stands in a store while an erasure is under way."""
_MARK: Final = "forgotten:"
STEM_LETTERS: Final = 16
_DIGEST_BYTES: Final = 16
# A tombstone's digests are not those of manifests: neither can be looked up by the other.
_SOURCE_SALT, _ITEM_SALT = b"fusekit forgotten source\0", b"fusekit forgotten item\0"


@dataclass(frozen=True)
class Tombstone:
    """One erased item.

    Attributes:
        dataset: The dataset that it was erased from.
        listing: sha256 of the listing of its raw data, from :func:`listing_of`.
        source_digest: From :func:`source_digest`.
        item_digest: From :func:`item_digest`; None where its bytes are not known.
    """

    dataset: str
    listing: str
    source_digest: bytes
    item_digest: bytes | None


class Tombstones:
    """All tombstones of a store, to ask whether an item was erased."""

    def __init__(self, rows: Iterable[Tombstone]) -> None:
        self._sources: set[tuple[str, bytes]] = set()
        self._items: set[bytes] = set()
        for row in rows:
            self._sources.add((row.dataset, row.source_digest))
            self._sources.add((row.listing, row.source_digest))
            if row.item_digest is not None:
                self._items.add(row.item_digest)

    def __bool__(self) -> bool:
        return bool(self._sources)

    def holds_source(self, dataset: str, listing: str, source: str) -> bool:
        """Say whether an item of this source text was erased from a dataset, or from its raw data.

        Args:
            dataset: The dataset's name.
            listing: Of its raw data, from :func:`listing_of`.
            source: The item's source text, or what stands for it after erasure.
        """
        if is_forgotten(source):
            return True
        digest = source_digest(source)
        return not self._sources.isdisjoint({(dataset, digest), (listing, digest)})

    def holds_item(self, digest: bytes) -> bool:
        """Say whether an item of these bytes was erased from any dataset.

        Args:
            digest: sha256 of its bytes, the first 16, as in manifests.
        """
        return item_digest(digest) in self._items


def listing_of(storage: Storage, dataset: str) -> str:
    """Give the sha256 of the listing of a dataset's raw data, as its plan has it.

    Raises:
        StoreError: The plan is damaged.
    """
    where = layout.plan_json(dataset)
    try:
        return str(json.loads(storage.read(where))["inputs"]["items"].get("sha256", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise StoreError(where, "is damaged", None, "fusekit verify tells what else is") from None


def source_digest(source: str) -> bytes:
    """Give the digest that a tombstone keeps of a source text, 16 bytes."""
    return hashlib.sha256(_SOURCE_SALT + source.encode()).digest()[:_DIGEST_BYTES]


def item_digest(digest: bytes) -> bytes:
    """Give the digest that a tombstone keeps of a raw item's digest, 16 bytes."""
    return hashlib.sha256(_ITEM_SALT + digest).digest()[:_DIGEST_BYTES]


def is_forgotten(text: str | None) -> bool:
    """Say whether this stands for an erased source or identity.

    Example:
        >>> is_forgotten("forgotten:px33ogulluhb2jmz"), is_forgotten("n000001/0001_01.jpg")
        (True, False)
    """
    return text is not None and text.startswith(_MARK)


def key_stem(source: str) -> str:
    """Give what the keys of a source's samples start with, also of an erased source.

    Example:
        >>> key_stem("n000001/0001_01.jpg"), key_stem("forgotten:px33ogulluhb2jmz")
        ('px33ogulluhb2jmz', 'px33ogulluhb2jmz')
    """
    if is_forgotten(source):
        return source.removeprefix(_MARK)
    return layout.sample_key(source, 0)[:STEM_LETTERS]


def forgotten_source(stem: str) -> str:
    """Give what stands in an erased source's place.

    Args:
        stem: From :func:`key_stem`.
    """
    return _MARK + stem


def forgotten_identity(index: int) -> str:
    """Give what stands in an erased identity's place.

    Args:
        index: Its identity index; -1 for one that only has rejected items.
    """
    return f"{_MARK}{index}"


def write_tombstones(storage: Storage, rows: Sequence[Tombstone]) -> str:
    """Write a table of tombstones; the same ones give the same file.

    Args:
        storage: The store.
        rows: At least one.

    Returns:
        Its name in the store.

    Raises:
        StorageError: It can't be written.
    """
    ordered = sorted(rows, key=_spelled)
    name = layout.tombstone(fingerprint([_spelled(row) for row in ordered]))
    if not storage.exists(name):
        write_table(storage, name, [vars(row) for row in ordered], TOMBSTONES_SCHEMA)
    return name


def read_tombstones(storage: Storage) -> Tombstones:
    """Read all tombstones of a store.

    Raises:
        StoreError: A table's rows are not those that it is named by.
        StorageError: A table is damaged.
    """
    found: list[Tombstone] = []
    for file in storage.names("tombstones"):
        found += read_tombstone_table(storage, f"tombstones/{file}")
    return Tombstones(found)


def read_tombstone_table(storage: Storage, name: str) -> list[Tombstone]:
    """Read one table of tombstones.

    Raises:
        StoreError: Its rows are not those that it is named by.
        StorageError: It is damaged.
    """
    table = read_table(storage, name, TOMBSTONES_SCHEMA)
    rows = [Tombstone(**row) for row in table.to_pylist()]
    if name != layout.tombstone(fingerprint([_spelled(row) for row in rows])):
        raise StoreError(name, "its rows are not those that it is named by", None, "restore it")
    return rows


def _spelled(row: Tombstone) -> list[str]:
    item = row.item_digest
    return [row.dataset, row.listing, row.source_digest.hex(), "" if item is None else item.hex()]
