"""Which datasets there are: those of a store, and those that fusekit has a card for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from fusekit.cards.card import list_cards
from fusekit.store import layout
from fusekit.store.datasets import open_dataset
from fusekit.store.layout import open_store

if TYPE_CHECKING:
    import os

    from fusekit.storage.folder import Storage


@dataclass(frozen=True)
class StoredDataset:
    """A dataset of a store, in a line.

    Attributes:
        dataset: Its name.
        dataset_index: Its index; None while it is not finished.
        kind: labeled, unlabeled or evaluation; None likewise, as all counts.
        items: Raw items; ``items == kept + rejected``.
        kept: Items that gave at least one sample.
        rejected: Items that gave none.
        samples: Stored crops.
        identities: Distinct identities of the source.
        state: ``finished``, or how many units are done.
    """

    dataset: str
    dataset_index: int | None = None
    kind: str | None = None
    items: int | None = None
    kept: int | None = None
    rejected: int | None = None
    samples: int | None = None
    identities: int | None = None
    state: str = "finished"

    def as_json(self) -> dict[str, Any]:
        """Give it as an object of ``fusekit datasets --json``."""
        return asdict(self)


@dataclass(frozen=True)
class KnownDataset:
    """A dataset that fusekit has a card for.

    Attributes:
        name: The card's.
        kind: labeled, unlabeled or evaluation.
        dataset_index: The card's; None: the store gives one.
        identities: Published number of people; None: not published.
        images: Published number of images; None: not published.
        forms: The forms that it is found in, in the order they are tried.
        terms: What its makers allow.
    """

    name: str
    kind: str
    dataset_index: int | None
    identities: int | None
    images: int | None
    forms: tuple[str, ...]
    terms: str

    def as_json(self) -> dict[str, Any]:
        """Give it as an object of ``fusekit datasets --all --json``."""
        return asdict(self)


def list_datasets(store: str | os.PathLike[str] | None = None) -> list[StoredDataset]:
    """List the datasets of a store by name, those not finished too.

    Args:
        store: The store's path; None takes ``FUSEKIT_STORE``, else ``./fusekit-store``.

    Raises:
        StoreError: There is no store, or a dataset's record is damaged.
    """
    storage = open_store(store)
    return [_stored(storage, name) for name in storage.names("datasets")]


def list_known() -> list[KnownDataset]:
    """List what fusekit has cards for: the ten training sets by index, then the others by name.

    Raises:
        CardError: The cards are not installed.
    """
    return [
        KnownDataset(
            name=card.name,
            kind=card.kind,
            dataset_index=card.index,
            identities=card.identities,
            images=card.images,
            forms=tuple(form.name for form in card.resolved()),
            terms=card.terms,
        )
        for card in list_cards()
    ]


def units_done(storage: Storage, name: str) -> int:
    """Count the units of a dataset that are committed."""
    return len(storage.names(f"{layout.dataset(name)}/manifest"))


def units_planned(storage: Storage, name: str) -> int:
    """Count the units of a dataset's plan; fewer while it is being written."""
    parts = storage.names(f"{layout.dataset(name)}/plan")
    return sum(1 for part in parts if part.startswith("part-"))


def _stored(storage: Storage, name: str) -> StoredDataset:
    if not storage.exists(layout.dataset_json(name)):
        done, planned = units_done(storage, name), units_planned(storage, name)
        return StoredDataset(name, state=f"{done:,} of {planned:,} units")
    info = open_dataset(storage, name)
    return StoredDataset(
        dataset=name, dataset_index=info.index, kind=info.kind, items=info.items,
        kept=info.kept, rejected=info.rejected, samples=info.samples, identities=info.identities,
    )  # fmt: skip
