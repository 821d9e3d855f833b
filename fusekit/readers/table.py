"""Anyone's list of pictures: CSV, TSV, text lists without a head."""

from __future__ import annotations

import posixpath
import unicodedata
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

from pydantic import StringConstraints

from fusekit.errors import SourceError
from fusekit.readers.options import InsidePath, Options, read_options
from fusekit.readers.tables.cells import several_of, text_of
from fusekit.readers.tables.delimited import box_of, numbers
from fusekit.readers.tables.fields import IDENTITY_FIELDS, plain_text, split_name
from fusekit.readers.tables.list_shape import ListShape, find_shape, read_cells
from fusekit.readers.tables.listed_files import (
    FileIndex,
    ListedFile,
    Missing,
    best_base,
    inside,
    join_rows,
    path_of,
    plain_suffix,
    repeated,
)
from fusekit.readers.trees.folder_tree import FolderTree
from fusekit.readers.trees.places import check_one, find_folders, find_release, folders_around
from fusekit.readers.trees.tree import is_tree, open_tree
from fusekit.readers.trees.tree_reader import TreeReader

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from fusekit.cards.card import Form, Kind
    from fusekit.readers.item import Item
    from fusekit.readers.tables.cells import Cells
    from fusekit.readers.tables.delimited import Box
    from fusekit.readers.tables.list_columns import ListColumns, Said
    from fusekit.readers.trees.tree import Tree
    from fusekit.readers.trees.walk import Entry

Column: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=255)]

_SAMPLE: Final = 100  # rows that decide how a list is read


class TableOptions(Options):
    """Which list is read, and what its columns are called where their names do not say it.

    Attributes:
        list: The list, from the release's folder: the raw folder, or one a few folders down;
            None: the only list in the raw folder or, where it has none, a few folders down.
        root: Folder that its paths start from: where ``list`` is given from the same folder as
            that, else from the raw folder; None: the list's own, one above it or one near it,
            whichever has the files of the first rows.
        path: Column of the file's path.
        identity: Column of the person.
        split: Column of the part of the release.
        url: Column of where the picture was fetched from.
        name: Column of the person's display name.
        box: Column of a face's box, four numbers.
        landmarks: Column of the five points, ten numbers.
        sized: The box is x, y, width, height; otherwise x0, y0, x1, y1.
        delimiter: Between cells; None: found out.
        missing: What becomes of rows whose file is not there: ``reject`` or ``count``.
    """

    list: InsidePath | None = None
    root: InsidePath | None = None
    path: Column | None = None
    identity: Column | None = None
    split: Column | None = None
    url: Column | None = None
    name: Column | None = None
    box: Column | None = None
    landmarks: Column | None = None
    sized: bool = False
    delimiter: Annotated[str, StringConstraints(min_length=1, max_length=1)] | None = None
    missing: Missing = "reject"


class CsvReader(TreeReader[TableOptions]):
    """Reader of one table or list of pictures; an item is a row.

    The source is the file's path. Only where several rows name one file, each has its line:
    ``path#line``. Files of a raw folder that no row names are counted.
    """

    looks_for = "one list of pictures (.csv, .tsv, .lst or .txt)"
    options = TableOptions
    suffixes: tuple[tuple[str, ...], ...] = ((".csv",), (".tsv",), (".lst",), (".txt", ""))

    def __init__(self, raw: Path, kind: Kind, form: Form) -> None:
        root, self._given = _split_raw(raw)
        super().__init__(root, kind, form)

    @classmethod
    def fits(cls, raw: Path, form: Form) -> bool:
        """Say whether the list that is asked for, or exactly one, is there."""
        options, _ = read_options(cls.options, form)
        root, given = _split_raw(raw)
        if given:
            return any(given.lower().endswith(s) for group in cls.suffixes for s in group if s)
        if not is_tree(root):
            return False
        found = _find_lists(open_tree(root, Counter()), options.list, cls.suffixes)
        return bool(found) if options.list else len(found) == 1

    def items(self) -> Iterator[Item]:
        """List the rows; see :class:`fusekit.readers.item.Reader`."""
        self._forget()
        source = self._source()
        shape = self._shape(source)
        index = FileIndex((self._quiet_tree() if self._given else self._tree).files())
        base = self._base(source, shape, index)
        again = repeated(plain_suffix(path) for _, path, _ in self._paths(source, shape, base))
        self._ignored.pop("rows that name no file", None)  # each row was read once already
        rows = self._rows(source, shape, base)
        found = False
        for item in join_rows(
            rows, index, self._ignored, self._options.missing, again, by_line=True
        ):
            found = True
            yield item
        if not found:
            raise SourceError(self._tree.root / source, "names no pictures that are there")
        if index.unnamed and not self._given:
            self._ignored["files that the list does not name"] = index.unnamed

    def read(self, item: Item) -> bytes:
        """Read a row's picture; see :class:`fusekit.readers.item.Reader`."""
        return self._tree.read(path_of(item), item.offset, item.size)

    def names(self) -> Mapping[str, str]:
        """Give the names of people; see :class:`fusekit.readers.item.Reader`."""
        source = self._source()
        shape = self._shape(source)
        at = shape.columns.at
        if "name" not in at or at.get("identity") in (None, at["name"]):
            return {}
        names: dict[str, str] = {}
        for _, cells in self._cells(source, shape):
            who, name = text_of(cells, at["identity"]), text_of(cells, at["name"])
            if who and name:
                names.setdefault(unicodedata.normalize("NFC", who), name)
        return names

    def _open_tree(self, raw: Path, ignored: Counter[str]) -> Tree:
        # Beside a list that is given itself may lie anything, the store and its tars too.
        return FolderTree(raw, ignored) if self._given else super()._open_tree(raw, ignored)

    def _source(self) -> str:
        asked = self._options.list
        if self._given:
            return self._given
        found = _find_lists(self._tree, asked, self.suffixes)
        if len(found) == 1:
            return found[0]
        if asked and not found:
            raise SourceError(self._tree.root / asked, "is not there", "the list of the pictures")
        if len({posixpath.basename(source) for source in found}) == 1:
            check_one(self._tree, found, "lists of pictures")
        what = f"holds {len(found)} lists, {', '.join(found[:3])}" if found else "holds no list"
        raise SourceError(self._tree.root, what, self.looks_for, "give its own path with --from")

    def _base(self, source: str, shape: ListShape, index: FileIndex) -> str:
        """Find the folder that the list's paths start from."""
        if self._options.root:
            asked = self._options.list
            above = source.removesuffix(asked) if asked and not self._given else ""
            return above + self._options.root
        bases = folders_around(self._tree, source)
        first = [path for _, path, _ in islice(self._paths(source, shape, ""), _SAMPLE)]
        return best_base(index, bases, first)

    def _shape(self, source: str) -> ListShape:
        """Find out how the list is read, from its first rows."""
        shape = find_shape(self._tree, source, self._options.delimiter, self._asked())
        self._check_people(shape.columns, shape.head, source)
        return shape

    def _check_people(self, columns: ListColumns, names: Sequence[str], source: str) -> None:
        if self._kind == "unlabeled" or columns.folder_names or "identity" in columns.at:
            return
        raise SourceError(
            self._tree.root / source,
            "no column is named as people are: " + ", ".join(map(repr, names))[:120],
            " or ".join(IDENTITY_FIELDS), "say which with --option identity=NAME",
        )  # fmt: skip

    def _asked(self) -> dict[Said, str]:
        options = self._options
        given: dict[Said, str | None] = {
            "path": options.path, "identity": options.identity, "split": options.split,
            "url": options.url, "name": options.name, "box": options.box,
            "landmarks": options.landmarks,
        }  # fmt: skip
        return {said: name for said, name in given.items() if name}

    def _cells(self, source: str, shape: ListShape) -> Iterator[tuple[int, Cells]]:
        return read_cells(self._tree, source, shape)

    def _paths(self, source: str, shape: ListShape, base: str) -> Iterator[tuple[int, str, Cells]]:
        """Read the rows that name a file: line, path from the raw folder, cells."""
        at = shape.columns.at["path"]
        head = f"{base}/" if base else ""
        for line, cells in self._cells(source, shape):
            path = text_of(cells, at)
            if path:
                path = path.replace("\\", "/")
                path = path if path.startswith("/") else head + path
                yield line, inside(path) or path, cells
            else:
                self._ignored["rows that name no file"] += 1

    def _rows(self, source: str, shape: ListShape, base: str) -> Iterator[ListedFile]:
        for line, path, cells in self._paths(source, shape, base):
            yield self._row(path, line, cells, shape.columns)

    def _row(self, path: str, line: int, cells: Cells, columns: ListColumns) -> ListedFile:
        who = None
        if self._kind != "unlabeled":
            who = _folder(path) if columns.folder_names else text_of(cells, columns.at["identity"])
            who = plain_text(who)  # a quote that is never closed makes a name of many rows
        return ListedFile(
            path=path,
            line=line,
            identity=who,
            split=split_name(text_of(cells, columns.at.get("split"))),
            bbox=self._box(cells, columns),
            landmarks=self._landmarks(cells, columns),
            url=text_of(cells, columns.at.get("url")),
            unlisted=None if who or self._kind == "unlabeled" else "its row names no one",
        )

    def _box(self, cells: Cells, columns: ListColumns) -> Box | None:
        texts = several_of(cells, columns.box, columns.at.get("box"))
        if not texts:
            return None
        corners = numbers(texts, 4)
        box = None
        if corners:
            x, y, third, fourth = corners
            sized = columns.sized if columns.box else self._options.sized
            box = box_of(x, y, third, fourth) if sized else box_of(x, y, third - x, fourth - y)
        if box is None:
            self._unusable["boxes are no boxes with an area, and no hints"] += 1
        return box

    def _landmarks(self, cells: Cells, columns: ListColumns) -> tuple[float, ...] | None:
        texts = several_of(cells, columns.landmarks, columns.at.get("landmarks"))
        landmarks = numbers(texts, 10) if texts else None
        if texts and landmarks is None:
            self._unusable["landmarks are no ten numbers, and no hints"] += 1
        return landmarks


def _split_raw(raw: Path) -> tuple[Path, str | None]:
    """Tell a raw folder or archive from a list that is given itself."""
    if raw.is_file() and not is_tree(raw):
        return raw.parent, raw.name
    return raw, None


def _find_lists(tree: Tree, asked: str | None, suffixes: Sequence[Sequence[str]]) -> list[str]:
    """Find the lists in the raw folder or, where it has none, a few folders down."""
    if asked:
        return find_release(tree, asked)
    found: list[str] = []

    def look(_: str, entries: list[Entry]) -> bool:
        lists = [entry.source for entry in entries if _is_list(entry, suffixes)]
        found.extend(lists)
        return bool(lists)

    find_folders(tree, look)
    for group in suffixes:  # the first suffixes that any of them has
        alike = [source for source in found if _suffix(source) in group]
        if alike:
            return alike
    return []


def _is_list(entry: Entry, suffixes: Sequence[Sequence[str]]) -> bool:
    return not entry.is_folder and any(_suffix(entry.name) in group for group in suffixes)


def _suffix(path: str) -> str:
    return posixpath.splitext(path)[1].lower()


def _folder(path: str) -> str | None:
    return posixpath.basename(posixpath.dirname(path)) or None
