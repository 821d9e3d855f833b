"""Samples that are copies by their digests: of the raw item's bytes, or of the stored crop's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import duckdb
import numpy as np
import numpy.typing as npt

from fusekit.errors import StoreError
from fusekit.store.session import fetch_batches, first_line, literal, lock, open_session, scan
from fusekit.store.tables import count_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from fusekit.storage.folder import Storage
    from fusekit.store.datasets import DatasetInfo

Row: TypeAlias = dict[str, Any]

SAME_FACE: Final = 0.5
"""Overlap (IoU) of two boxes in one picture over which they are one face."""

_BATCH: Final = 65_536
_REMEMBERED: Final = 64  # items of a face: a thousand copies are not compared with each other
# Erased samples have no bytes. Rows are numbered as in the compacted manifests.
_BY_CONTENT: Final = """
SELECT content_digest AS digest, number
FROM numbered
WHERE length > 0 AND content_digest IN (
  SELECT content_digest FROM numbered WHERE length > 0
  GROUP BY content_digest HAVING count(*) > 1)
ORDER BY digest, number
"""
# Several faces of one item are left out here: no other item has its bytes.
_BY_SOURCE: Final = """
SELECT source_digest AS digest, number, dataset || '/' || source AS item, bbox
FROM numbered
WHERE length > 0 AND source_digest IN (
  SELECT source_digest FROM numbered WHERE length > 0
  GROUP BY source_digest
  HAVING min(dataset) <> max(dataset) OR min(source) <> max(source))
ORDER BY digest, number
"""


def find_exact(
    storage: Storage, infos: Sequence[DatasetInfo], first_rows: Sequence[int]
) -> dict[str, npt.NDArray[np.int64]]:
    """Find samples that are byte for byte the same picture.

    Faces of one raw item are no copies of each other. Two faces of items with the same bytes are
    copies when their boxes overlap, or when both items are aligned crops, which have none.

    Args:
        storage: The store.
        infos: The datasets.
        first_rows: The number of each one's first sample.

    Returns:
        ``"source"`` and ``"content"``, each int64 ``(P, 2)``: a sample, and the first one that it
        is a copy of.

    Raises:
        StorageError: A manifest is missing.
        StoreError: One is damaged, or the disk is full.
    """
    files = [
        (storage.path(name).absolute(), first)
        for info, first in zip(infos, first_rows, strict=True)
        for name, first in _files(storage, info, first)
    ]
    if not files:  # datasets without a sample have none, and a view of nothing is no SQL
        return {"source": _pairs([]), "content": _pairs([])}
    with open_session([path for path, _ in files]) as connection:
        try:
            selects = [_select(path, first) for path, first in files]
            # Every path went through literal(), every number is ours.
            connection.execute(f"CREATE VIEW numbered AS {' UNION ALL '.join(selects)}")
            lock(connection)
            content = [pair for rows in _groups(connection, _BY_CONTENT) for pair in _star(rows)]
            source = [pair for rows in _groups(connection, _BY_SOURCE) for pair in _faces(rows)]
        except duckdb.Error as error:
            where = ", ".join(info.name for info in infos)
            raise StoreError(
                where, f"manifests can't be compared: {first_line(error)}", None,
                "fusekit verify tells what is damaged",
            ) from None  # fmt: skip
    return {"source": _pairs(source), "content": _pairs(content)}


def _files(storage: Storage, info: DatasetInfo, first: int) -> Iterator[tuple[str, int]]:
    for name in info.files:
        yield name, first
        first += count_rows(storage, name)


def _select(path: Path, first: int) -> str:
    rows = scan([path]).removesuffix(")") + ", file_row_number = true)"
    return (
        f"SELECT {literal(first)} + file_row_number AS number, dataset, source, source_digest, "  # noqa: S608 - spelled by scan and literal
        f"content_digest, bbox, length FROM {rows}"
    )


def _groups(connection: duckdb.DuckDBPyConnection, sql: str) -> Iterator[list[Row]]:
    """Give the rows of each digest."""
    group: list[Row] = []
    for batch in fetch_batches(connection, sql, rows=_BATCH):
        for row in batch.to_pylist():
            if group and group[0]["digest"] != row["digest"]:
                yield group
                group = []
            group.append(row)
    if group:
        yield group


def _star(rows: list[Row]) -> Iterator[tuple[int, int]]:
    first = int(rows[0]["number"])
    return ((int(row["number"]), first) for row in rows[1:])


def _faces(rows: list[Row]) -> Iterator[tuple[int, int]]:
    """Give each row with the first row of other items that shows the same face."""
    faces: list[list[Row]] = []
    for row in rows:
        for face in faces:
            others = all(row["item"] != known["item"] for known in face)
            if others and _same_face(row["bbox"], face[0]["bbox"]):
                yield int(row["number"]), int(face[0]["number"])
                if len(face) < _REMEMBERED:
                    face.append(row)
                break
        else:
            faces.append([row])


def _same_face(a: list[float] | None, b: list[float] | None) -> bool:
    if a is None or b is None:
        return a is None and b is None
    across, down = (min(a[k + 2], b[k + 2]) - max(a[k], b[k]) for k in (0, 1))
    shared = max(across, 0.0) * max(down, 0.0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return areas > shared and shared / (areas - shared) >= SAME_FACE


def _pairs(found: list[tuple[int, int]]) -> npt.NDArray[np.int64]:
    return np.array(found, np.int64).reshape(-1, 2)
