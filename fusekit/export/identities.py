"""Who the labels are: ``identities.csv``, one row for each label, beside every labeled export."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusekit.export.part import Part
    from fusekit.storage.folder import Storage

COLUMNS: Final = (
    "label", "dataset", "dataset_index", "source_index", "identity", "name", "images",
)  # fmt: skip


def write_identities(part: Part, target: Storage) -> None:
    """Write ``identities.csv``: UTF-8, a head, commas, texts in quotes, a newline alone at ends."""
    with target.writing("identities.csv") as file:
        text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
        rows = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        rows.writerow(COLUMNS)
        for each in _classes(part):
            rows.writerow([each[column] for column in COLUMNS])
        text.detach()


def write_names(part: Part, target: Storage) -> None:
    """Write ``names.txt``, ``label<TAB>name`` for labels with a name; nothing if none has."""
    if part.mixture.classes["name"].null_count == part.num_classes:
        return
    with target.writing("names.txt") as file:
        for each in _classes(part):
            if each["name"] is not None:
                name = " ".join(each["name"].split())  # a tab or newline would end the row
                file.write(f"{each['label']}\t{name}\n".encode())


def _classes(part: Part) -> Iterator[dict[str, Any]]:
    for batch in part.mixture.classes.to_batches(max_chunksize=65_536):
        for each in batch.to_pylist():
            yield each | {"images": int(part.images[each["label"]])}
