"""People of a store for pictures: some of their samples, and their names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from fusekit.schema import IDENTITIES_SCHEMA
from fusekit.store import layout
from fusekit.store.crops import pick_keys
from fusekit.store.tables import read_table

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from fusekit.storage.folder import Storage

Sample: TypeAlias = tuple[str, str]
"""A dataset and a key."""


@dataclass
class SideDraft:
    """One side of a piece of evidence whose crops are not read yet.

    Attributes:
        title: Whose samples they are.
        samples: In the order to show them.
        notes: What is to be said of some of them, and what their frame means.
    """

    title: str
    samples: list[Sample]
    notes: dict[Sample, tuple[str, str]] = field(default_factory=dict)


class People:
    """Samples and names of people, looked up together: one pass over a dataset's tables.

    Args:
        storage: The store.
        most: Samples of each.
        without: Keys that are not taken.
    """

    def __init__(self, storage: Storage, most: int, without: Collection[str] = ()) -> None:
        self._storage, self._most, self._without = storage, most, without
        self._wanted: dict[str, dict[str, None]] = {}
        self._keys: dict[str, dict[str, list[str]]] | None = None
        self._names: dict[str, dict[str, str]] = {}

    def want(self, people: Iterable[tuple[str, str]]) -> None:
        """Say who will be asked for, as dataset and identity; before the first :meth:`side`."""
        for dataset, identity in people:
            self._wanted.setdefault(dataset, {})[identity] = None

    def side(self, dataset: str, identity: str) -> SideDraft:
        """Give some samples of a person under their name; none of people the store lacks."""
        if self._keys is None:
            self._keys = {
                name: self._look_up(name, people) for name, people in self._wanted.items()
            }
        keys = self._keys[dataset].get(identity, [])
        name = self._names.get(dataset, {}).get(identity)
        title = f"{dataset}: {name} ({identity})" if name else f"{dataset}: {identity}"
        return SideDraft(title, [(dataset, key) for key in keys])

    def _look_up(self, dataset: str, people: dict[str, None]) -> dict[str, list[str]]:
        if not self._storage.exists(layout.dataset_json(dataset)):
            return {}  # a head may know people of a dataset that is not in this store
        self._names[dataset] = display_names(self._storage, dataset, people)
        return pick_keys(self._storage, dataset, people, self._most, without=self._without)


def display_names(storage: Storage, dataset: str, people: Collection[str]) -> dict[str, str]:
    """Give the display names of some of a dataset's people; those without one are left out."""
    if not storage.exists(layout.identities(dataset)):
        return {}
    table = read_table(storage, layout.identities(dataset), IDENTITIES_SCHEMA, ["identity", "name"])
    named = table.filter(pc.is_in(table.column("identity"), pa.array(list(people), pa.string())))
    return {row["identity"]: row["name"] for row in named.to_pylist() if row["name"]}
