"""What is recorded of one mixture."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fusekit.errors import MixtureError
from fusekit.report.description import Description, Table
from fusekit.store import layout
from fusekit.store.datasets import open_dataset

if TYPE_CHECKING:
    from fusekit.storage.folder import Storage


def describe_mixture(storage: Storage, name: str) -> Description:
    """Describe a mixture from its record.

    Args:
        storage: The store.
        name: The mixture's name.

    Raises:
        MixtureError: Its record is damaged.
    """
    where = f"{layout.mixture(name)}/mixture.json"
    try:
        about = json.loads(storage.read(where))
        recipe = about["recipe"]
        facts = {
            "mixture": name,
            "labeled": about["labeled"],
            "unlabeled": about["unlabeled"],
            "classes": about["classes"],
            "labels": recipe["labels"],
            "softmax": about["softmax"],
            "batch_size": recipe["batch"]["size"],
            "unlabeled_fraction": recipe["batch"]["unlabeled_fraction"],
            "seed": recipe["seed"],
            "fingerprint": about["fingerprint"],
        }
        rows = [_source_row(storage, source) for source in about["datasets"]]
    except (ValueError, KeyError, TypeError):
        raise MixtureError(where, "is damaged", None, "build the mixture again") from None
    columns = ("dataset", "dataset_index", "kind", "rows", "first label", "end", "now")
    return Description(name, "mixture", facts, [Table("datasets", columns, rows)], about)


def _source_row(storage: Storage, source: dict[str, Any]) -> tuple[Any, ...]:
    first, end = source.get("labels") or (None, None)
    return (
        source["dataset"], source["dataset_index"], source["kind"], source["rows"], first, end,
        state_of(storage, source["dataset"], source["fingerprint"]),
    )  # fmt: skip


def state_of(storage: Storage, dataset: str, pinned: str) -> str:
    """Say how a dataset stands to the fingerprint that a mixture pinned."""
    if not storage.exists(layout.dataset_json(dataset)):
        return "no longer in the store"
    return "unchanged" if open_dataset(storage, dataset).fingerprint == pinned else "changed since"
