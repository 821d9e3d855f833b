"""The lists of InsightFace's IJB packages, read column by column."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from fusekit.errors import SourceError
from fusekit.schema import PLAN_TEMPLATES_SCHEMA, SEARCHES_SCHEMA, TEMPLATE_PAIRS_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fusekit.readers.trees.tree import Tree

_BLOCK: Final = 1 << 22  # bytes read at a time; no line is longer
_LINE_ENDS: Final = re.compile(rb"(?<![ \t])[ \t]++(?=\r?\n)")
_CROPS: Final = {"name": pa.string(), "template": pa.int64(), "media": pa.string()}
_POINTS: Final = [f"{axis}{i}" for i in range(5) for axis in "xy"]
_LANDMARKS: Final = {
    "name": pa.string(),
    **dict.fromkeys(_POINTS, pa.float64()),
    "score": pa.float32(),
}
_PAIRS: Final = {"template_a": pa.int64(), "template_b": pa.int64(), "same": pa.int8()}
_BATCH: Final = 1 << 16


@dataclass(frozen=True)
class Crops:
    """What the lists say of each crop, in their order.

    Attributes:
        table: ``name`` (NFC), ``template`` and ``media``.
        landmarks: Five points each, ``(N, 10)``, x and y in turn; None: there is no such list.
        scores: The detector's, ``(N,)``; None likewise.
    """

    table: pa.Table
    landmarks: npt.NDArray[np.float64] | None
    scores: pa.ChunkedArray | None

    def templates(self, folder: str, spelt: Mapping[str, str]) -> Iterator[pa.RecordBatch]:
        """Give the crops as :data:`fusekit.schema.PLAN_TEMPLATES_SCHEMA`.

        Args:
            folder: Where they lie.
            spelt: Names of the list to those of the files, where they differ.
        """
        table = self.table
        at = pc.index_in(table["name"], pa.array(spelt.keys(), pa.string()))
        names = pc.coalesce(pa.array(spelt.values(), pa.string()).take(at), table["name"])
        source = pc.binary_join_element_wise(folder, names, "/")
        scores = pa.nulls(len(table), pa.float32()) if self.scores is None else self.scores
        columns = [table["template"], table["media"], source, scores]
        yield from pa.table(columns, schema=PLAN_TEMPLATES_SCHEMA).to_batches(_BATCH)


def read_crops(tree: Tree, listed: str, points: str | None) -> Crops:
    """Read ``*_face_tid_mid.txt`` and the five points that belong to its rows by order.

    Args:
        tree: The raw data.
        listed: The list of crops, templates and media.
        points: The list of points and scores; None: the release lacks it.

    Raises:
        SourceError: A row can't be read, or the lists are of other crops.
    """
    table = _read_table(tree, listed, _CROPS)
    names = pc.utf8_normalize(table["name"], "NFC")
    table = table.set_column(0, "name", names)
    if points is None:
        return Crops(table, None, None)
    marks = _read_table(tree, points, _LANDMARKS)
    _check_same_rows(tree, (listed, names), (points, pc.utf8_normalize(marks["name"], "NFC")))
    stacked = np.stack([marks[column].to_numpy() for column in _POINTS], axis=1)
    return Crops(table, stacked, marks["score"])


def read_subjects(tree: Tree, lists: Mapping[str, str]) -> tuple[pa.Table, int]:
    """Read the lists of a 1:N protocol: galleries and probes.

    Args:
        tree: The raw data.
        lists: What each list is, such as ``gallery-1``, to its source.

    Returns:
        Every template once in each list, as :data:`fusekit.schema.SEARCHES_SCHEMA` in the lists'
        order, and the number of rows that say another subject than the first of their template.

    Raises:
        SourceError: A row can't be read.
    """
    parts, others = [], 0
    for name, source in lists.items():
        rows = _read_table(tree, source, {"template": pa.int64(), "subject": pa.string()})
        once = rows.append_column("row", pa.array(range(len(rows)), pa.int64()))
        once = once.group_by("template").aggregate([("row", "min"), ("subject", "count_distinct")])
        others += int((once["subject_count_distinct"].to_numpy() - 1).sum())
        first = rows.take(once["row_min"].sort())
        label = pa.array([name] * len(first), pa.string())
        parts.append(pa.table([label, *first.columns], schema=SEARCHES_SCHEMA))
    return pa.concat_tables([SEARCHES_SCHEMA.empty_table(), *parts]), others


def read_template_pairs(tree: Tree, source: str) -> Iterator[pa.RecordBatch]:
    """Give the rows of ``*_template_pair_label.txt``, of which there are millions, in pieces.

    Raises:
        SourceError: A row can't be read, or its label is neither 0 nor 1.
    """
    row = 0
    for batch in _read_batches(tree, source, _PAIRS):
        label = batch["same"].to_numpy()
        wrong = np.flatnonzero((label != 0) & (label != 1))
        if wrong.size:
            place = f"{tree.root / source}:{row + int(wrong[0]) + 1}"
            raise SourceError(place, f"a label of {label[wrong[0]]}", "0 or 1")
        row += batch.num_rows
        columns = [batch["template_a"], batch["template_b"], pa.array(label == 1)]
        yield pa.RecordBatch.from_arrays(columns, schema=TEMPLATE_PAIRS_SCHEMA)


class TidyLines:
    r"""A list's bytes without spaces at the ends of lines, and with an end of the last line.

    Copies of the lists go round that were saved with such spaces, which would be further cells;
    and a table of one row that does not end is none to Arrow.

    Args:
        file: The list.

    Example:
        >>> from io import BytesIO
        >>> TidyLines(BytesIO(b"1.jpg 1 2 \n2.jpg 1 3")).read()
        b'1.jpg 1 2\n2.jpg 1 3\n'
    """

    closed = False  # by whom it was opened

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._held = b""  # spaces at the end of what was read: the line may end after them
        self._last = b"\n"
        self._ahead: bytes | None = None  # Arrow takes the last line with its end or not at all
        self._ended = False

    def read(self, size: int = -1) -> bytes:
        """Read about as many bytes; none at the end."""
        while not self._ended:
            data = self._file.read(size) if self._ahead is None else self._ahead
            self._ahead = self._file.read(size)
            self._ended = not self._ahead
            tidy = _LINE_ENDS.sub(b"", self._held + data)
            kept = tidy.rstrip(b" \t\r")
            if not self._ended and len(tidy) - len(kept) > _BLOCK:
                kept = tidy  # a hostile list of spaces only is not gathered
            self._held = tidy[len(kept) :]
            self._last = kept[-1:] or self._last
            if self._ended and self._last != b"\n":
                kept += b"\n"
            if kept:
                return kept
        return b""


def _check_same_rows(
    tree: Tree, crops: tuple[str, pa.ChunkedArray], points: tuple[str, pa.ChunkedArray]
) -> None:
    (listed, names), (marked, others) = crops, points
    rows = min(len(names), len(others))
    unequal = pc.not_equal(names.slice(0, rows), others.slice(0, rows)).to_numpy()
    if unequal.any():
        row = int(unequal.argmax())
        place = f"{tree.root / marked}:{row + 1}"
        found = f"{others[row].as_py()[:60]!r} where {listed} has {names[row].as_py()[:60]!r}"
        raise SourceError(place, found, "the same crops, row by row")
    if len(names) != len(others):
        raise SourceError(
            tree.root / marked, f"has {len(others):,} rows, and {listed} {len(names):,}",
            "the same crops, row by row",
        )  # fmt: skip


def _read_table(tree: Tree, source: str, columns: Mapping[str, pa.DataType]) -> pa.Table:
    schema = pa.schema(list(columns.items()))
    return pa.Table.from_batches(_read_batches(tree, source, columns), schema)


def _read_batches(
    tree: Tree, source: str, columns: Mapping[str, pa.DataType]
) -> Iterator[pa.RecordBatch]:
    """Read the first columns of a list: a ``.csv`` has a head and commas, a ``.txt`` neither."""
    is_csv = source.lower().endswith(".csv")
    places = [f"f{i}" for i in range(len(columns))]
    reading = csv.ReadOptions(
        # Without threads, an error can say which row it is about.
        use_threads=False, block_size=_BLOCK, skip_rows=int(is_csv),
        autogenerate_column_names=is_csv, column_names=None if is_csv else places,
    )  # fmt: skip
    parsing = csv.ParseOptions(
        delimiter="," if is_csv else " ", quote_char='"' if is_csv else False
    )
    converting = csv.ConvertOptions(
        column_types=dict(zip(places, columns.values(), strict=True)), include_columns=places,
        null_values=[], strings_can_be_null=False,
    )  # fmt: skip
    with tree.open(source) as file:
        try:
            with csv.open_csv(TidyLines(file), reading, parsing, converting) as batches:
                for batch in batches:
                    yield batch.rename_columns(list(columns))
        except (pa.ArrowException, OSError, KeyError) as error:
            found = str(error).split("\n", 1)[0][:200]
            expected = "rows of " + ", ".join(columns)
            raise SourceError(tree.root / source, f"can't be read ({found})", expected) from None
