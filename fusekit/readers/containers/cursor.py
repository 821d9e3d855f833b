"""Read rows of tables by ascending number, keeping one block of rows at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusekit.errors import FusekitError, ItemError
from fusekit.formats.arrow_files import as_format_error, open_table
from fusekit.readers.containers.files import gone_or_unreadable
from fusekit.readers.containers.image_column import ImageColumn
from fusekit.readers.tables.columns import find_columns

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fusekit.formats.arrow_files import Block, TableFile
    from fusekit.readers.containers.files import Containers
    from fusekit.readers.item import Item
    from fusekit.readers.tables.columns import ColumnOptions


class Cursor:
    """Where reading stands: a table, and the block of rows that was read last.

    Rows that follow are reached by reading on; others by starting anew where the file allows it.

    Args:
        tables: The raw data.
        options: Of its columns.
    """

    def __init__(self, tables: Containers, options: ColumnOptions) -> None:
        self._tables, self._options = tables, options
        self._name: str | None = None
        self._file: TableFile | None = None
        self._column = ""
        self._blocks: Iterator[Block] = iter(())
        self._first, self._end = 0, 0
        self._pictures: ImageColumn | None = None

    def read(self, item: Item) -> bytes:
        """Read the picture of ``file#row``.

        Raises:
            ItemError: The row is not there, or its picture can't be read.
            SourceError: The raw data as a whole is gone.
        """
        name, _, row = item.source.rpartition("#")
        path = self._tables.path(name)
        with gone_or_unreadable(path, item.source):
            try:
                at, pictures = self._seek(name, path, int(row), item)
                data, beside = pictures.data(at), pictures.paths[at]
            except FusekitError:
                self._name = None  # begin anew: nothing is known of where reading stopped
                raise
        if data is not None:
            return data
        if beside is None:
            raise ItemError("unreadable", item.source, "its row holds no picture any more")
        return self._tables.tree.read(file_beside(self._tables, name, beside) or beside)

    def _seek(self, name: str, path: Path, row: int, item: Item) -> tuple[int, ImageColumn]:
        if name != self._name or self._file is None:
            self._open(name, path)
        if self._file is None:
            raise ItemError("unreadable", item.source, "its table is not open")
        if row < self._first or self._file.start_of(row) > self._end:
            self._blocks = self._file.blocks([self._column], row)
            self._first = self._end = 0
        while self._pictures is None or not self._first <= row < self._end:
            block = next(self._blocks, None)
            if block is None:
                raise ItemError("unreadable", item.source, "its table has not so many rows")
            self._first, self._end = block[0], block[0] + len(block[1])
            with as_format_error(str(path), "undamaged columns"):
                self._pictures = ImageColumn(block[1].column(self._column))
        return row - self._first, self._pictures

    def _open(self, name: str, path: Path) -> None:
        if self._file is not None:
            self._file.close()
        self._name, self._file = None, open_table(path)
        self._column = find_columns(self._file.schema, self._options, path).image
        self._blocks = self._file.blocks([self._column])
        self._first = self._end = 0
        self._pictures = None
        self._name = name


def file_beside(tables: Containers, table: str, path: str) -> str | None:
    """Find the file that a row names: from its table's folder, else from the raw folder.

    Returns:
        Its path from the raw folder; None: there is none inside it.
    """
    folder = table.rpartition("/")[0]
    places = (f"{folder}/{path}" if folder else path, path)
    if "\0" in path:
        return None
    return next((place for place in places if tables.tree.is_file(place)), None)
