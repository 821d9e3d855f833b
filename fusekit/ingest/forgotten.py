"""Erased items stay out: those that a tombstone knows are rejected, and their texts not kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pyarrow.compute as pc

from fusekit.errors import ItemError
from fusekit.fingerprint import digest16
from fusekit.schema import IDENTITIES_SCHEMA, PLAN_SCHEMA, REJECTS_SCHEMA
from fusekit.store import layout
from fusekit.store.erasure import Gone, blank_sources, blank_table, rewrite_table
from fusekit.store.protocol import PLANNED
from fusekit.store.tables import read_table
from fusekit.store.tombstones import forgotten_source, is_forgotten, key_stem

if TYPE_CHECKING:
    from fusekit.readers.item import Item
    from fusekit.storage.folder import Storage
    from fusekit.store.tombstones import Tombstones

FORGOTTEN: Final = "forgotten"


def check_source(tombstones: Tombstones, dataset: str, listing: str, item: Item) -> None:
    """Refuse an item whose source was erased from a dataset of this name, or of this raw data.

    Raises:
        ItemError: It was.
    """
    if is_forgotten(item.source) or (
        tombstones and tombstones.holds_source(dataset, listing, item.source)
    ):
        raise ItemError(FORGOTTEN, item.source, "")


def check_bytes(tombstones: Tombstones, data: bytes, item: Item) -> None:
    """Refuse an item whose bytes were erased, from whichever dataset.

    Raises:
        ItemError: They were.
    """
    if tombstones and tombstones.holds_item(digest16(data)):
        raise ItemError(FORGOTTEN, item.source, "")


def forgotten_row(item: Item) -> dict[str, Any]:
    """Give the reject of an erased item: it is counted, and says nothing of it."""
    return {
        "source": forgotten_source(key_stem(item.source)), "level": "item", "reason": FORGOTTEN,
        "detail": "", "identity": None, "bbox": None, "det_score": None, "url": None,
    }  # fmt: skip


def blank_forgotten(storage: Storage, name: str, units: int) -> None:
    """Blank erased items in the plan, and the identities of whom nothing else was planned.

    Args:
        storage: The store; its lock on the dataset is held.
        name: The dataset's name.
        units: How many units it has; all are done.

    Raises:
        StorageError: A table is damaged or can't be written.
    """
    stems: set[str] = set()
    for unit in range(units):
        rejects = read_table(storage, layout.rejects_part(name, unit), REJECTS_SCHEMA)
        mine = rejects.filter(pc.equal(rejects["reason"], FORGOTTEN))
        stems.update(map(key_stem, mine["source"].to_pylist()))
    if not stems:
        return
    gone = Gone(name, frozenset(stems), {})
    left: set[int] = set()
    for unit in range(units):
        part = layout.plan_part(name, unit)
        rewrite_table(storage, part, lambda rows: blank_table(rows, [gone], name))
        rows = read_table(storage, part, PLAN_SCHEMA, ["source", "identity_index"])
        others = pc.invert(pc.starts_with(rows["source"], forgotten_source("")))
        left.update(rows.filter(others)["identity_index"].to_pylist())
    people = read_table(storage, layout.identities(name), IDENTITIES_SCHEMA)
    numbers, texts = people["identity_index"].to_pylist(), people["identity"].to_pylist()
    alone = {t: i for i, t in zip(numbers, texts, strict=True) if i not in left}
    alone = {text: index for text, index in alone.items() if not is_forgotten(text)}
    gone = Gone(name, frozenset(stems), alone, frozenset(texts) - alone.keys())
    for table in PLANNED:
        if storage.exists(layout.protocol_plan(name, table)):
            rewrite_table(
                storage, layout.protocol_plan(name, table), lambda rows: blank_sources(rows, gone)
            )
    rewrite_table(storage, layout.identities(name), lambda rows: blank_table(rows, [gone], name))
