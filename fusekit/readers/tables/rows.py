"""Rows of the text lists that come with evaluation sets."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fusekit.errors import SourceError
from fusekit.readers.tables.pairs import Pair

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fusekit.readers.trees.tree import Tree

_MAX_LINE: Final = 4_096  # bytes; bounds what a file without line ends can cost
_MAX_LINES: Final = 1_000_000  # far more than any protocol of pairs has
_MAX_DIGITS: Final = 9
_MAX_FOLDS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a list, for errors with its place.

    Attributes:
        path: The list.
        line: From 1.
        text: In NFC, without space at its ends.
    """

    path: Path
    line: int
    text: str

    def bad(self, expected: str) -> SourceError:
        """Give the error that this line is not what was expected."""
        return SourceError(f"{self.path}:{self.line}", repr(self.text[:60]), expected)

    def number(self, text: str, expected: str) -> int:
        """Read a whole number of the line.

        Raises:
            SourceError: It is none.
        """
        if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
            raise self.bad(expected)
        return int(text)


@dataclass(frozen=True)
class PairList:
    """A list of pairs as LFW writes them.

    Attributes:
        pairs: In its order.
        head: Numbers of its first line: folds and matched pairs in each, or matched pairs only;
            empty: it has no such line.
    """

    pairs: list[Pair]
    head: tuple[int, ...]


def read_rows(tree: Tree, source: str) -> Iterator[Row]:
    """Read a list line by line, without blank lines.

    Raises:
        SourceError: It can't be read, or a line or the list is far too long.
    """
    path = tree.root / source
    with tree.open(source) as file:
        for number in range(1, _MAX_LINES + 2):
            try:
                line = file.readline(_MAX_LINE + 1)
            except OSError as reason:
                raise SourceError(path, f"can't be read ({reason.strerror})") from None
            if not line:
                return
            if len(line) > _MAX_LINE:
                where = f"{path}:{number}"
                raise SourceError(where, f"a line of more than {_MAX_LINE} bytes", "a text list")
            if number > _MAX_LINES:
                raise SourceError(path, f"more than {_MAX_LINES} lines", "a protocol of pairs")
            text = line.decode("utf-8-sig" if number == 1 else "utf-8", "replace").strip()
            if text:
                yield Row(path, number, unicodedata.normalize("NFC", text))


def read_lfw_pairs(tree: Tree, source: str) -> PairList:
    """Read pairs as LFW writes them: ``name i j`` for one person, ``name i name j`` for two.

    Tabs, spaces or, in a ``.csv``, commas stand between. A table is read by position: the head of
    Kaggle's calls two columns ``name``, and rows of one person may end in an empty cell.

    Raises:
        SourceError: A row is neither.
    """
    pairs: list[Pair] = []
    head: tuple[int, ...] = ()
    is_table = source.lower().endswith(".csv")
    for at, row in enumerate(read_rows(tree, source)):
        cells = _cells(row.text, is_table=is_table)
        if at == 0 and is_table and cells and cells[0].lower() == "name":
            continue
        if not pairs and not head and 0 < len(cells) <= 2:
            head = _head(row, cells)
            continue
        pairs.append(_lfw_pair(row, cells))
    return PairList(pairs, head)


def person_stem(person: str, number: int) -> str:
    """Give the stem of a person's picture by its number.

    Example:
        >>> person_stem("Aaron_Peirsol", 3)
        'Aaron_Peirsol/Aaron_Peirsol_0003'
    """
    return f"{person}/{person}_{number:04}"


def is_name(text: str) -> bool:
    """Say whether text of a list may be the name of one file or folder, and no path.

    Example:
        >>> is_name("Aaron_Peirsol"), is_name("../etc"), is_name("..")
        (True, False, False)
    """
    return text not in ("", ".", "..") and not set(text) & {"/", "\\", "\0"}


def _cells(text: str, *, is_table: bool) -> list[str]:
    if is_table:
        cells = [cell.strip(' "') for cell in text.split(",")]
    else:
        cells = [cell.strip() for cell in (text.split("\t") if "\t" in text else text.split())]
    while cells and not cells[-1]:
        cells.pop()
    return cells


def _head(row: Row, cells: list[str]) -> tuple[int, ...]:
    expected = "the number of folds and of matched pairs in each, or rows of pairs"
    head = tuple(row.number(cell, expected) for cell in cells)
    if 0 in head or (len(head) == 2 and head[0] > _MAX_FOLDS):
        raise row.bad(expected)
    return head


def _lfw_pair(row: Row, cells: list[str]) -> Pair:
    expected = "'name i j' or 'name i other-name j'"
    if len(cells) not in (3, 4):
        raise row.bad(expected)
    name, first, *other = cells
    other_name = other[0] if len(other) == 2 else name
    if len(other) == 2 and other_name == name:
        # A table read by column names gives such rows, every one of them wrong.
        raise row.bad("two people in a row of four cells")
    if not (is_name(name) and is_name(other_name)):
        raise row.bad(expected)
    a = person_stem(name, row.number(first, expected))
    return Pair(len(other) == 1, a, person_stem(other_name, row.number(other[-1], expected)))
