"""Who the labels are: ``identities.csv``, one row for each label, beside every labeled export.

Where labels are merged, ``members.csv`` lists every identity that has a label; ``identities.csv``
names the first of them.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, Final

from fusekit.schema import MEMBERS_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from fusekit.export.part import Part
    from fusekit.storage.folder import Storage

COLUMNS: Final = (
    "label", "dataset", "dataset_index", "source_index", "identity", "name", "images",
)  # fmt: skip


def write_identities(part: Part, target: Storage) -> None:
    """Write ``identities.csv``: UTF-8, a head, commas, texts in quotes, a newline alone at ends."""
    _write(target, "identities.csv", COLUMNS, _classes(part))
    if part.mixture.recipe.labels == "merge":
        batches = part.mixture.members.to_batches(max_chunksize=65_536)
        members = (each for batch in batches for each in batch.to_pylist())
        _write(target, "members.csv", MEMBERS_SCHEMA.names, members)


def _write(
    target: Storage, name: str, columns: Sequence[str], rows: Iterable[dict[str, Any]]
) -> None:
    with target.writing(name) as file:
        text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
        table = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        table.writerow(columns)
        for each in rows:
            table.writerow([each[column] for column in columns])
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
