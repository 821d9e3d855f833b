"""What is known of the people in a dataset, for a trial of a clustering."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fusekit.errors import UsageError
from fusekit.schema import MANIFEST_SCHEMA
from fusekit.store import layout
from fusekit.store.tables import read_table

if TYPE_CHECKING:
    import os

    from fusekit.storage.folder import Storage
    from fusekit.store.datasets import DatasetInfo


def read_people(
    storage: Storage, info: DatasetInfo, truth: str | os.PathLike[str]
) -> npt.NDArray[np.int64]:
    """Read who is on each sample.

    Args:
        storage: The store.
        info: The dataset.
        truth: ``identity`` for the dataset's own; else the path of a CSV file with the columns
            ``identity`` and ``key`` or ``source``. Samples that it doesn't name are unknown.

    Returns:
        int64 ``(N,)`` in the order of the dataset's samples; -1: unknown.

    Raises:
        UsageError: The dataset has no identities, or the file can't be read, lacks a column or a
            value, names a sample as two people, or none of the dataset.
    """
    if truth == "identity":
        if not info.identities:
            raise UsageError(
                "--truth identity", f"{info.name} is {info.kind} and has no identities",
                "a CSV file with identity, and key or source",
            )  # fmt: skip
        index = _column(storage, info, "identity_index").to_numpy()
        return np.asarray(index, np.int64)
    where = f"--truth {truth}"
    try:
        column, people = _read_csv(where, Path(truth))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = f"can't be read ({error})"
        raise UsageError(where, reason, "the word identity, or a CSV file") from None
    named = _column(storage, info, column).to_pylist()
    numbers: dict[str, int] = {}
    known = [numbers.setdefault(people[n], len(numbers)) if n in people else -1 for n in named]
    if not numbers:
        found = f"names {len(people)} samples by {column}, none of {info.name}"
        raise UsageError(where, found, "samples of the dataset")
    return np.array(known, np.int64)


def _read_csv(where: str, path: Path) -> tuple[str, dict[str, str]]:
    """Give the column that names samples, and whom each shows."""
    people: dict[str, str] = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        names = list(rows.fieldnames or ())
        column = next((name for name in ("key", "source") if name in names), None)
        if column is None or "identity" not in names:
            found = f"has the columns {', '.join(names)}" if names else "is empty"
            raise UsageError(where, found, "identity, and key or source")
        for row in rows:
            line = f"{where}: line {rows.line_num}"
            name, person = row[column], row["identity"]
            if not name or not person:
                raise UsageError(line, "lacks a value", f"{column} and identity")
            if people.setdefault(name, person) != person:
                found = f"{name} is {person}, and above {people[name]}"
                raise UsageError(line, found, "one person")
    return column, people


def _column(storage: Storage, info: DatasetInfo, column: str) -> pa.ChunkedArray:
    parts = [
        read_table(storage, layout.manifest_part(info.name, unit), MANIFEST_SCHEMA, [column])
        for unit in range(info.units)
    ]
    empty = pa.schema([MANIFEST_SCHEMA.field(column)]).empty_table()
    return pa.concat_tables([empty, *parts]).column(column)
