"""Tables in files, read in blocks of rows: Parquet, and the Arrow streams of Hugging Face.

Neither is read whole: of Parquet a few pages are in memory at a time, and an Arrow stream is
mapped and each batch checked before it is looked into.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fusekit.errors import FormatError
from fusekit.formats.parquet_pages import read_pages

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Schema: TypeAlias = "pa.Schema"
Block: TypeAlias = tuple[int, "pa.RecordBatch"]

_BUFFER: Final = 1 << 20
_BLOCK_BYTES: Final = 1 << 26  # aimed at for a block of rows
_BLOCK_ROWS: Final = 1_024
_LONGEST_REASON: Final = 160
_MOST_VALUES: Final = 64  # in one row of a column: ten landmarks with room to spare
_MAX_PAGE: Final = 3 << 28  # a picture of the most bytes and half as much again
_BOMB_BYTES: Final = 1 << 28  # of a block whose rows all repeat the longest value there may be


class TableFile(Protocol):
    """A table in a file.

    Attributes:
        schema: Its columns.
    """

    schema: Schema

    def blocks(self, columns: list[str], row: int = 0) -> Iterator[Block]:
        """Read columns in blocks of rows, each with the number of its first row.

        Args:
            columns: Their names.
            row: The first block holds this row.

        Raises:
            FormatError: The file is damaged.
        """
        ...

    def start_of(self, row: int) -> int:
        """Give the row from which on the file must be read to get at a row."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class ParquetTable:
    """A Parquet file.

    Args:
        path: The file.

    Raises:
        FormatError: It is none, by its footer.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._where = path, str(path)
        with as_format_error(self._where, "a Parquet file"):
            # Buffered and not fetched ahead, a column is read page by page.
            self._file = pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False)
            self.schema: Schema = self._file.schema_arrow
            _read_names(self.schema)
            about = self._file.metadata
            groups = [about.row_group(i) for i in range(about.num_row_groups)]
            counts = [group.num_rows for group in groups]
            self._groups = groups
        if any(count < 0 for count in counts):
            raise FormatError(self._where, "row groups of less than no rows", "a Parquet file")
        self._starts = np.cumsum([0, *counts])
        self._bytes = [max(group.total_byte_size, 0) for group in groups]

    def blocks(self, columns: list[str], row: int = 0) -> Iterator[Block]:
        """Read columns; see :class:`TableFile`."""
        for group in range(self._group(row), len(self._bytes)):
            first = int(self._starts[group])
            rows = int(self._starts[group + 1]) - first
            for batch in self._group_batches(group, rows, columns):
                if row < first + len(batch):
                    yield first, batch
                first += len(batch)
            if first != self._starts[group + 1]:
                raise FormatError(self._where, f"row group {group} has not the rows it states")

    def start_of(self, row: int) -> int:
        """Give the first row of a row's group."""
        return int(self._starts[self._group(row)])

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _group(self, row: int) -> int:
        return max(0, int(np.searchsorted(self._starts, row, side="right")) - 1)

    def _group_batches(self, group: int, rows: int, columns: list[str]) -> Iterator[pa.RecordBatch]:
        each = self._bytes[group] // max(rows, 1) + 1
        with as_format_error(self._where, "undamaged Parquet"):
            most = self._most_repeated(group, columns)
            count = min(_BLOCK_ROWS, _BLOCK_BYTES // each, _BOMB_BYTES // most)
            batches = self._file.iter_batches(
                batch_size=max(1, count), row_groups=[group], columns=columns, use_threads=False
            )
        while True:
            # Nothing is handed out inside the guard: for a reading that is given up as Python
            # ends, it would run after pyarrow is gone.
            with as_format_error(self._where, "undamaged Parquet"):
                batch = next(batches, None)
            if batch is None:
                return
            yield batch

    def _most_repeated(self, group: int, columns: list[str]) -> int:
        """Give the most bytes that a value which is stored once can have in every row.

        Raises:
            FormatError: A page is larger in memory than any picture, or a row of a column has
                far more values than are read.
        """
        most = 1
        about = self._groups[group]
        with self._path.open("rb") as file:
            for column in map(about.column, range(about.num_columns)):
                if column.path_in_schema.partition(".")[0] not in columns:
                    continue
                where = f"{self._where}: column {column.path_in_schema!r}"
                start = column.data_page_offset
                if 0 < (column.dictionary_page_offset or 0) < start:
                    start = column.dictionary_page_offset
                values = 0
                for page in read_pages(file, start, column.total_compressed_size, where):
                    if page.unpacked > _MAX_PAGE:
                        raise FormatError(
                            where, f"a page of {page.unpacked} bytes", f"at most {_MAX_PAGE}",
                            "write it anew with smaller pages",
                        )  # fmt: skip
                    values += page.values
                    most = max(most, page.unpacked if page.is_dictionary else 1)
                if values > _MOST_VALUES * max(about.num_rows, 1):
                    raise FormatError(where, f"{values} values in {about.num_rows} rows")
        return most


class ArrowTable:
    """An Arrow stream in a file, as Hugging Face's ``save_to_disk`` writes it.

    Args:
        path: The file.

    Raises:
        FormatError: It is none, by its start.
    """

    def __init__(self, path: Path) -> None:
        self._where = str(path)
        with as_format_error(self._where, "an Arrow stream"), pa.memory_map(self._where) as file:
            self.schema: Schema = pa.ipc.open_stream(file).schema
            _read_names(self.schema)

    def blocks(self, columns: list[str], row: int = 0) -> Iterator[Block]:
        """Read columns; see :class:`TableFile`."""
        first = 0
        with as_format_error(self._where, "undamaged Arrow"):
            file = pa.memory_map(self._where)
        with file:
            with as_format_error(self._where, "undamaged Arrow"):
                batches = iter(pa.ipc.open_stream(file))
            while (batch := self._next(batches, max(row - first, 0))) is not None:
                if row < first + len(batch):
                    yield first, batch.select(columns)
                first += len(batch)

    def _next(self, batches: Iterator[pa.RecordBatch], needed: int) -> pa.RecordBatch | None:
        """Read a batch, and see that it is whole if any row from ``needed`` on is in it."""
        with as_format_error(self._where, "undamaged Arrow"):
            batch = next(batches, None)
            if batch is not None and needed < len(batch):
                batch.validate(full=True)  # its offsets are the file's own
        return batch

    def start_of(self, row: int) -> int:  # noqa: ARG002 - as for Parquet
        """Give 0: batches are passed over, but their heads are read."""
        return 0

    def close(self) -> None:
        """Do nothing: the file is only open while blocks are read."""


def open_table(path: Path) -> TableFile:
    """Open a table by its suffix: ``.arrow``, else Parquet.

    Raises:
        FormatError: It is not what its suffix says.
    """
    return ArrowTable(path) if path.suffix.lower() == ".arrow" else ParquetTable(path)


def _read_names(schema: Schema) -> None:
    """Look at every column's name once: pyarrow only finds out then that one is no text."""
    fields = list(schema)
    while fields:
        field = fields.pop()
        field.name.encode()
        fields += [field.type.field(i) for i in range(field.type.num_fields)]


@contextmanager
def as_format_error(where: str, expected: str) -> Iterator[None]:
    """Turn what pyarrow raises about damaged data into one kind of error.

    Args:
        where: The file.
        expected: What it should be.

    Raises:
        FormatError: In place of pyarrow's many; errors of the system itself stay.
    """
    try:
        yield
    except (pa.ArrowException, ValueError, LookupError, MemoryError, OverflowError, OSError) as why:
        if isinstance(why, OSError) and why.errno is not None:
            raise
        # pyarrow's messages may run over lines and quote the data.
        found = (str(why).splitlines() or ["damaged"])[0][:_LONGEST_REASON].rstrip(". ")
        raise FormatError(where, f"can't be read ({found})", expected) from None
