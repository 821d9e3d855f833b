"""Anyone's list of pictures: CSV, TSV, text lists without a head, JSON lines."""

from __future__ import annotations

import posixpath
import unicodedata
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

from pydantic import StringConstraints

from fusekit.errors import SourceError
from fusekit.readers.options import InsidePath, Options, read_options
from fusekit.readers.tables.delimited import box_of, numbers, read_jsonl
from fusekit.readers.tables.fields import IDENTITY_FIELDS, split_name
from fusekit.readers.tables.list_columns import ListColumns, named_columns
from fusekit.readers.tables.list_shape import ListShape, find_shape, read_cells
from fusekit.readers.tables.listed_files import (
    FileIndex,
    ListedFile,
    Missing,
    best_base,
    inside,
    join_rows,
    path_of,
    repeated,
)
from fusekit.readers.trees.tree import is_tree, open_tree
from fusekit.readers.trees.walk import FolderTree

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from fusekit.cards.card import Form, Kind
    from fusekit.readers.item import Item
    from fusekit.readers.tables.delimited import Box
    from fusekit.readers.tables.list_columns import Said
    from fusekit.readers.trees.tree import Tree

Column: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=255)]
#: A row's cells: by place in a CSV, by key in a JSON object.
Cells: TypeAlias = "list[str] | dict[str, Any]"

_SAMPLE: Final = 100  # rows that decide how a list is read
_MANY: Final = 64


class TableOptions(Options):
    """Which list is read, and what its columns are called where their names do not say it.

    Attributes:
        list: The list, from the raw folder; None: the only one there.
        root: Folder that its paths start from; None: the list's own, the raw folder, or one in
            it, whichever has the files of the first rows.
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


class CsvReader:
    """Reader of one table or list of pictures; an item is a row.

    The source is the file's path. Only where several rows name one file, each has its line:
    ``path#line``. Files of a raw folder that no row names are counted.
    """

    looks_for = "one list of pictures (.csv, .tsv, .lst or .txt)"
    numeric_identities = False
    suffixes: tuple[tuple[str, ...], ...] = ((".csv",), (".tsv",), (".lst",), (".txt", ""))

    def __init__(self, raw: Path, kind: Kind, form: Form) -> None:
        self._options, self.form_spec = read_options(TableOptions, form)
        self.form = form.name
        self._kind = kind
        self._ignored: Counter[str] = Counter()
        self._unusable: Counter[str] = Counter()
        root, given = _split_raw(raw)
        # Beside a list that is given itself may lie anything, the store and its tars too.
        self._tree = (
            FolderTree(root, self._ignored)
            if given
            else open_tree(root, self._ignored, self.looks_for)
        )
        self._list = given or self._options.list
        self._given = given is not None
        self.front_to_back = self._tree.front_to_back

    @classmethod
    def fits(cls, raw: Path, form: Form) -> bool:
        """Say whether the list that is asked for, or exactly one, is there."""
        options, _ = read_options(TableOptions, form)
        root, given = _split_raw(raw)
        if given:
            return any(given.lower().endswith(s) for group in cls.suffixes for s in group if s)
        if not is_tree(root):
            return False
        tree = open_tree(root, Counter())
        if options.list:
            return tree.is_file(options.list)
        return len(_lists([e.name for e in tree.entries() if not e.is_folder], cls.suffixes)) == 1

    def items(self) -> Iterator[Item]:
        """List the rows; see :class:`fusekit.readers.item.Reader`."""
        self._ignored.clear()
        self._unusable.clear()
        source = self._source()
        shape = self._shape(source)
        index = FileIndex((self._quiet_tree() if self._given else self._tree).files())
        base = self._base(source, shape, index)
        again = repeated(path for _, path, _ in self._paths(source, shape, base))
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
            who, name = _text(cells, at["identity"]), _text(cells, at["name"])
            if who and name:
                names.setdefault(unicodedata.normalize("NFC", who), name)
        return names

    def ignored(self) -> Mapping[str, int]:
        """Say what was passed over; see :class:`fusekit.readers.item.Reader`."""
        return dict(self._ignored)

    def remarks(self) -> Sequence[str]:
        """Say which hints could not be used."""
        return [f"{count:,} {what}" for what, count in self._unusable.items()]

    def _quiet_tree(self) -> Tree:
        """Give the same tree, with what it passes over counted nowhere."""
        root = self._tree.root
        return FolderTree(root, Counter()) if self._given else open_tree(root, Counter())

    def _source(self) -> str:
        if self._list:
            return self._list
        entries = self._quiet_tree().entries()
        found = _lists([entry.name for entry in entries if not entry.is_folder], self.suffixes)
        if len(found) == 1:
            return found[0]
        what = f"holds {len(found)} lists, {', '.join(found[:3])}" if found else "holds no list"
        raise SourceError(self._tree.root, what, self.looks_for, "give its own path with --from")

    def _base(self, source: str, shape: ListShape, index: FileIndex) -> str:
        """Find the folder that the list's paths start from."""
        if self._options.root:
            return self._options.root
        entries = self._quiet_tree().entries()
        folders = [entry.source for entry in entries if entry.is_folder]
        bases = [posixpath.dirname(source), "", *(folders if len(folders) <= _MANY else [])]
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
            path = _text(cells, at)
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
            who = _folder(path) if columns.folder_names else _text(cells, columns.at["identity"])
        return ListedFile(
            path=path,
            line=line,
            identity=who,
            split=split_name(_text(cells, columns.at.get("split"))),
            bbox=self._box(cells, columns),
            landmarks=self._landmarks(cells, columns),
            url=_text(cells, columns.at.get("url")),
            unlisted=None if who or self._kind == "unlabeled" else "its row names no one",
        )

    def _box(self, cells: Cells, columns: ListColumns) -> Box | None:
        texts = _several(cells, columns.box, columns.at.get("box"))
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
        texts = _several(cells, columns.landmarks, columns.at.get("landmarks"))
        landmarks = numbers(texts, 10) if texts else None
        if texts and landmarks is None:
            self._unusable["landmarks are no ten numbers, and no hints"] += 1
        return landmarks


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


def _split_raw(raw: Path) -> tuple[Path, str | None]:
    """Tell a raw folder or archive from a list that is given itself."""
    if raw.is_file() and not is_tree(raw):
        return raw.parent, raw.name
    return raw, None


def _lists(names: Sequence[str], suffixes: Sequence[Sequence[str]]) -> list[str]:
    """Give the lists among names: those of the first suffixes that any of them has."""
    for group in suffixes:
        found = [n for n in names if posixpath.splitext(n)[1].lower() in group]
        if found:
            return found
    return []


def _text(cells: Cells, column: Any) -> str | None:  # noqa: ANN401 - a place or a key
    """Give a cell's text; None where it is empty or not there."""
    if column is None:
        return None
    value = cells.get(column) if isinstance(cells, dict) else cells[column]
    text = "" if value is None else value if isinstance(value, str) else str(value)
    if not text.isascii():  # JSON may spell half a character
        text = text.encode("utf-8", "backslashreplace").decode()
    return text.strip() or None


def _several(cells: Cells, columns: Sequence[Any], column: Any) -> list[object]:  # noqa: ANN401
    """Give the texts of several numbers, of their columns or out of one."""
    if columns:
        texts = [_text(cells, each) for each in columns]
        return [] if None in texts else list(texts)
    if column is None:
        return []
    value = cells.get(column) if isinstance(cells, dict) else None
    if isinstance(value, list):  # pairs of a point are taken apart
        return [number for each in value for number in (each if isinstance(each, list) else [each])]
    text = _text(cells, column)
    return list(text.strip("[]()").replace(",", " ").split()) if text else []


def _folder(path: str) -> str | None:
    return posixpath.basename(posixpath.dirname(path)) or None
