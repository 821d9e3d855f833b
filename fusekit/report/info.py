"""Describe a dataset or a mixture of a store: what it holds and what it was made from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusekit.errors import StoreError
from fusekit.report.dataset_facts import describe_dataset, describe_unfinished
from fusekit.report.mixture_facts import describe_mixture
from fusekit.store import layout
from fusekit.store.datasets import open_dataset
from fusekit.store.layout import open_store

if TYPE_CHECKING:
    import os

    from fusekit.report.description import Description


def info(name: str, store: str | os.PathLike[str] | None = None) -> Description:
    """Describe a dataset or a mixture.

    Args:
        name: Of a dataset, else of a mixture.
        store: The store's path; None takes ``FUSEKIT_STORE``, else ``./fusekit-store``.

    Returns:
        Its facts. Of a dataset that is not finished: how far it is.

    Raises:
        StoreError: There is no store, or nothing of this name in it, or its record is damaged.
        MixtureError: The mixture's record is damaged.
    """
    storage = open_store(store)
    if storage.exists(layout.dataset_json(name)):
        return describe_dataset(storage, open_dataset(storage, name))
    if storage.exists(layout.plan_json(name)):
        return describe_unfinished(storage, name)
    if storage.exists(f"{layout.mixture(name)}/mixture.json"):
        return describe_mixture(storage, name)
    mixtures = storage.names("mixtures")
    if mixtures and not storage.names("datasets"):
        raise StoreError(name, "is not in the store", f"one of {', '.join(mixtures)}")
    open_dataset(storage, name)  # says what there is, and the nearest name
    raise StoreError(name, "is not in the store")
