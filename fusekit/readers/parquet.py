"""Parquet files with the pictures in them, and datasets that Hugging Face saved to disk."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fusekit.errors import SourceError
from fusekit.formats.arrow_files import as_format_error, open_table
from fusekit.readers.containers.container_reader import ContainerReader
from fusekit.readers.containers.cursor import Cursor, file_beside
from fusekit.readers.containers.files import as_source_error, checked_items
from fusekit.readers.containers.image_column import ImageColumn
from fusekit.readers.item import Item
from fusekit.readers.tables.columns import ColumnOptions, Columns, find_columns
from fusekit.readers.tables.fields import (
    box_of,
    identity_text,
    is_split,
    landmarks_of,
    plain_text,
    split_name,
)
from fusekit.readers.tables.pairs import even_folds
from fusekit.readers.trees.walk import MAX_BYTES
from fusekit.schema import PLAN_PAIRS_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from fusekit.cards.card import Form, Kind
    from fusekit.formats.arrow_files import Block
    from fusekit.readers.trees.walk import Entry

_CACHE: Final = "cache-"
_PART: Final = re.compile(r"(.+)-[0-9]{5}-of-[0-9]{5}")
_NO_SPLIT: Final = frozenset({"data", "part"})
_BATCH: Final = 1 << 16
_FETCHED: Final = "success"


class ParquetReader(ContainerReader[ColumnOptions]):
    """Reader of the tables in a folder and below, or of one; an item is ``file#row``.

    A picture is bytes in its row, or a file that its row names. Rows are read front to back, a
    few pages at a time.
    """

    looks_for = "Parquet (*.parquet) or a dataset saved by Hugging Face (*.arrow) with pictures"
    options = ColumnOptions
    front_to_back = True

    def __init__(self, raw: Path, kind: Kind, form: Form) -> None:
        super().__init__(raw, kind, form)
        self._names: dict[str, str] = {}
        self._cursor = Cursor(self._files, self._options)
        self._same: list[tuple[str, int, np.ndarray[Any, Any]]] = []

    @staticmethod
    def is_container(name: str) -> bool:
        """Tell a table by its name; Hugging Face's library leaves caches beside a dataset."""
        return name.endswith(".parquet") or (
            name.endswith(".arrow") and not name.startswith(_CACHE)
        )

    @classmethod
    def looks_right(cls, path: Path, options: ColumnOptions) -> bool:
        """Say whether a table has pictures, by its columns."""
        find_columns(open_table(path).schema, options, path.name)
        return True

    def items(self) -> Iterator[Item]:
        """List the rows; see :class:`fusekit.readers.item.Reader`."""
        self._ignored.clear()
        self._names.clear()
        self._same.clear()
        self.numeric_identities = True
        who = "a column such as identity or label"
        yield from checked_items(self._listed(), self._kind, self._files.raw, who, self.looks_for)

    def read(self, item: Item) -> bytes:
        """Read a row's picture; see :class:`fusekit.readers.item.Reader`."""
        return self._cursor.read(item)

    def names(self) -> Mapping[str, str]:
        """Give the names that rows state; complete when :meth:`items` has ended."""
        return dict(self._names)

    def tables(self) -> Mapping[str, Iterator[pa.RecordBatch]]:
        """Give the pairs of an evaluation set with a column ``is_same``: rows 0 and 1, and so on.

        Reference:
            CVLface, ``evaluations/verification_evaluator.py``.
        """
        rows = sum(len(same) for _, _, same in self._same)
        if self._kind != "evaluation" or not rows:
            return {}
        if rows % 2:
            raise SourceError(self._files.raw, f"{rows} rows with is_same", "two rows a pair")
        return {"pairs": self._pairs()}

    def _listed(self) -> Iterator[Item]:
        base = 0
        for table in self._files.entries():
            path = self._files.path(table.source)
            end = 0
            with as_source_error(path):
                file = open_table(path)
                columns = find_columns(file.schema, self._options, path)
                self.numeric_identities &= _is_numbered(file.schema, columns)
                for block in file.blocks(columns.names()):
                    yield from self._block_items(table, columns, base, block)
                    end = block[0] + len(block[1])
                file.close()
            base += end

    def _block_items(
        self, table: Entry, columns: Columns, base: int, block: Block
    ) -> Iterator[Item]:
        first, batch = block
        with as_format_error(str(self._files.path(table.source)), "undamaged columns"):
            pictures = ImageColumn(batch.column(columns.image))
            rows = batch.drop_columns([columns.image]).to_pylist()
            if columns.same is not None and self._kind == "evaluation":
                same = pc.fill_null(
                    batch.column(columns.same).cast(pa.bool_()), pa.scalar(value=False)
                )
                self._same.append((f"{table.source}#", first, same.to_numpy(zero_copy_only=False)))
        split = _split_of(table)
        for at, row in enumerate(rows):
            source = f"{table.source}#{first + at}"
            size, path = pictures.sizes[at], pictures.paths[at]
            identity = None if self._kind == "unlabeled" else self._identity(columns, row)
            if size is None and path is not None:
                size = self._size_beside(table.source, path)
            reject = self._reject(columns, row, identity, size, path)
            yield Item(
                source, 0 if reject or size is None else size, identity,
                split_name(row.get(columns.split or "")) or split, base + first + at,
                box_of(row.get(columns.bbox or "")), landmarks_of(row.get(columns.landmarks or "")),
                url=plain_text(row.get(columns.url or "")),
                reject=reject[0] if reject else None, reject_detail=reject[1] if reject else None,
            )  # fmt: skip

    def _reject(
        self,
        columns: Columns,
        row: dict[str, Any],
        identity: str | None,
        size: int | None,
        path: str | None,
    ) -> tuple[str, str] | None:
        status = plain_text(row.get(columns.status or ""))
        if size is None and status not in (None, _FETCHED):
            return "not_downloaded", fetch_failure(status, row.get(columns.error or ""))
        if size is None:
            return "missing", f"no file {path[:80]!r}" if path else "its row holds no picture"
        if identity is None and self._kind == "labeled":
            return "unlisted", "its row does not say who it shows"
        if size > MAX_BYTES:
            return "too_large", f"{size} bytes, more than {MAX_BYTES}"
        return None

    def _identity(self, columns: Columns, row: dict[str, Any]) -> str | None:
        value = row.get(columns.identity or "")
        if columns.classes is not None and isinstance(value, int):
            # -1 is Hugging Face's number for no class.
            known = 0 <= value < len(columns.classes)
            identity = plain_text(columns.classes[value]) if known else None
        else:
            identity = identity_text(value)
        name = plain_text(row.get(columns.name or ""))
        if identity is not None and name is not None:
            self._names.setdefault(identity, name)
        return identity

    def _size_beside(self, table: str, path: str) -> int | None:
        found = file_beside(self._files, table, path)
        return None if found is None else self._files.path(found).stat().st_size

    def _pairs(self) -> Iterator[pa.RecordBatch]:
        sources = [
            f"{name}{first + i}" for name, first, rows in self._same for i in range(len(rows))
        ]
        same = np.concatenate([rows for _, _, rows in self._same])
        if bool((same[::2] != same[1::2]).any()):
            self._ignored["second rows of pairs that say something else than the first"] += int(
                (same[::2] != same[1::2]).sum()
            )
        count = len(same) // 2
        folds = even_folds(count)
        for start in range(0, count, _BATCH):
            part = slice(start, start + _BATCH)
            pairs = len(folds[part])
            columns = (
                ["verification"] * pairs, [True] * pairs, folds[part], same[::2][part],
                sources[::2][part], sources[1::2][part],
            )  # fmt: skip
            yield pa.RecordBatch.from_arrays(
                [pa.array(c, f.type) for c, f in zip(columns, PLAN_PAIRS_SCHEMA, strict=True)],
                schema=PLAN_PAIRS_SCHEMA,
            )


def fetch_failure(status: str | None, error: object) -> str:
    """Say why a picture could not be fetched, in one line."""
    message = plain_text(error)
    return " ".join(f"{status}: {message}".split())[:200] if message else f"{status}"


def _is_numbered(schema: pa.Schema, columns: Columns) -> bool:
    if columns.identity is None or columns.classes is not None:
        return columns.identity is None
    return bool(pa.types.is_integer(schema.field(columns.identity).type))


def _split_of(table: Entry) -> str | None:
    """Read a split from ``train-00000-of-00004.parquet``, or from a folder ``train``."""
    match = _PART.fullmatch(table.name.rpartition(".")[0])
    if match and match[1].lower() not in _NO_SPLIT:
        return split_name(match[1])
    folder = table.source.rpartition("/")[0].rpartition("/")[2]
    return split_name(folder) if is_split(folder) else None
