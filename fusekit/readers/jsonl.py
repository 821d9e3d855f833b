"""Anyone's list of pictures as JSON lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusekit.errors import SourceError
from fusekit.readers.table import CsvReader
from fusekit.readers.tables.delimited import read_jsonl
from fusekit.readers.tables.list_columns import named_columns
from fusekit.readers.tables.list_shape import ListShape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusekit.readers.tables.cells import Cells


class JsonlReader(CsvReader):
    """Reader of one file of JSON objects, one a line; all else is as for tables."""

    # Inherited, because the one difference is how a line becomes cells.
    looks_for = "one file of JSON lines (.jsonl or .ndjson)"
    suffixes = ((".jsonl", ".ndjson"),)

    def _shape(self, source: str) -> ListShape:
        where = self._tree.root / source
        with self._tree.open(source) as file:
            first = next(read_jsonl(file, where), None)
        if first is None:
            raise SourceError(where, "is empty", "JSON objects, one a line")
        keys = list(first[1])
        columns = named_columns(keys, self._asked(), where)
        if columns is None:
            found = "no key is named as a file is: " + ", ".join(map(repr, keys))[:120]
            fix = "say which with --option path=KEY"
            raise SourceError(where, found, "path, file, image or filename", fix)
        self._check_people(columns, keys, source)
        return ListShape(columns)

    def _cells(self, source: str, shape: ListShape) -> Iterator[tuple[int, Cells]]:  # noqa: ARG002
        with self._tree.open(source) as file:
            yield from read_jsonl(file, self._tree.root / source)
