"""How a list of pictures is written: what lies between its cells, and whether it has a head."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from fusekit.errors import SourceError
from fusekit.readers.tables.delimited import numbers, read_csv, read_lines
from fusekit.readers.tables.list_columns import (
    ListColumns,
    guessed_columns,
    looks_like_path,
    named_columns,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fusekit.readers.tables.list_columns import Said
    from fusekit.readers.trees.tree import Tree

Spaced: TypeAlias = Literal["words", "line", "path 0 label 0", "label last", "label first"]

_SAMPLE: Final = 100  # rows that decide it
_MAGFACE_WORDS: Final = 4  # path 0 label 0
_LMK_WORDS: Final = 12  # path label x1 y1 … x5 y5


@dataclass(frozen=True)
class ListShape:
    """How a list is read.

    Attributes:
        columns: Where a row says what: places, or keys of JSON objects.
        delimiter: Between cells; None: spaces.
        width: Cells of each row; 0: JSON objects, which may differ.
        head: The names of the columns; empty: the first row is one like the others.
        spaced: How rows are split at spaces: at each, or so that the path keeps its own.
    """

    columns: ListColumns
    delimiter: str | None = None
    width: int = 0
    head: tuple[str, ...] = ()
    spaced: Spaced = "words"


def find_shape(
    tree: Tree, source: str, delimiter: str | None, asked: Mapping[Said, str]
) -> ListShape:
    """Find out how a list is written, once, from its first hundred rows.

    Args:
        tree: The raw data.
        source: The list in it.
        delimiter: Between cells; None: found out.
        asked: Names of columns that the options give.

    Raises:
        SourceError: It is empty, has no column that is a file, or has not those asked for.
    """
    where = tree.root / source
    with tree.open(source) as file:
        lines = [line for line in islice(read_lines(file, where), _SAMPLE) if line.strip()]
    if not lines:
        raise SourceError(where, "is empty", "a list of pictures")
    delimiter = delimiter or _delimiter(lines, source)
    if delimiter is None:
        rows = [line.split() for line in lines]
    else:
        with tree.open(source) as file:
            rows = [cells for _, cells in islice(read_csv(file, where, delimiter), _SAMPLE)]
    head = rows[0]
    named = named_columns(head, asked, where)
    if named is not None and not any(looks_like_path(cell) for cell in head):
        return ListShape(_placed(named, head), delimiter, len(head), tuple(head))
    if asked:
        said, name = next(iter(asked.items()))
        raise SourceError(where, f"has no column {name!r}", f"a head, as the option {said!r} says")
    spaced: Spaced = "words"
    if delimiter is None:
        spaced = _how_spaced(rows)
        rows = [_split(line, spaced) for line in lines]
    columns = guessed_columns([row for row in rows if len(row) == len(rows[0])], where)
    return ListShape(columns, delimiter, len(rows[0]), spaced=spaced)


def read_cells(tree: Tree, source: str, shape: ListShape) -> Iterator[tuple[int, list[str]]]:
    """Read a list's rows, the head left out.

    Yields:
        The row's line, from 1, and its cells, as many as the first row has.

    Raises:
        SourceError: A row is not like the first ones.
    """
    where = tree.root / source
    at = shape.columns.at["path"]
    with tree.open(source) as file:
        rows: Iterator[tuple[int, list[str]]]
        if shape.delimiter is None:
            lines = enumerate(read_lines(file, where), 1)
            rows = ((n, _split(line, shape.spaced)) for n, line in lines if line.strip())
        else:
            rows = read_csv(file, where, shape.delimiter)
        for line, cells in islice(rows, 1 if shape.head else 0, None):
            while len(cells) > shape.width and not cells[-1]:
                cells.pop()
            if len(cells) != shape.width or not (shape.head or looks_like_path(cells[at])):
                place = f"{where}:{line}"
                found = repr(" ".join(cells)[:60])
                raise SourceError(place, found, f"{shape.width} cells, as the rows before it")
            yield line, cells


def _delimiter(lines: Sequence[str], source: str) -> str | None:
    """Tell what lies between cells, from the first lines; None: spaces."""
    first = lines[0]
    if "\t" in first:
        return "\t"
    if source.lower().endswith(".csv"):
        return ";" if ";" in first and "," not in first else ","
    commas = {line.count(",") for line in lines}
    return "," if len(commas) == 1 and 0 not in commas and " " not in first.strip() else None


def _how_spaced(rows: Sequence[Sequence[str]]) -> Spaced:
    """Tell how rows are split at spaces, of which paths may have some, from their words."""
    widths = {len(row) for row in rows}
    if widths == {1}:
        return "line"
    if min(widths) >= _MAGFACE_WORDS and all(row[-3] == row[-1] == "0" for row in rows):
        return "path 0 label 0"
    if widths == {_LMK_WORDS} and all(numbers(row[2:], _LMK_WORDS - 2) for row in rows):
        return "words"
    if all(looks_like_path(row[-1]) and not looks_like_path(row[0]) for row in rows):
        return "label first"
    return "label last"


def _split(line: str, spaced: Spaced) -> list[str]:
    match spaced:
        case "words":
            return line.split()
        case "line":
            return [line.strip()]
        case "path 0 label 0":
            return line.strip().rsplit(None, _MAGFACE_WORDS - 1)
        case "label first":
            return line.strip().split(None, 1)
        case "label last":
            return line.strip().rsplit(None, 1)


def _placed(columns: ListColumns, names: Sequence[str]) -> ListColumns:
    """Put places in the stead of names; of two columns of one name the first counts."""
    place = {name: at for at, name in reversed(list(enumerate(names)))}
    return replace(
        columns,
        at={said: place[name] for said, name in columns.at.items()},
        box=tuple(place[name] for name in columns.box),
        landmarks=tuple(place[name] for name in columns.landmarks),
    )
