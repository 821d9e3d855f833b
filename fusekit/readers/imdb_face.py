"""IMDb-Face: one list of URLs and boxes, and the pictures that were fetched by it."""

from __future__ import annotations

import posixpath
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Final

from fusekit.errors import SourceError
from fusekit.readers.options import Options
from fusekit.readers.tables.delimited import box_of, numbers, read_csv
from fusekit.readers.tables.listed_files import (
    FileIndex,
    ListedFile,
    Missing,
    inside,
    join_rows,
    path_of,
    repeated,
    source_of,
)
from fusekit.readers.trees.places import check_one, find_folders, folders_around
from fusekit.readers.trees.tree import is_tree, open_tree
from fusekit.readers.trees.tree_reader import TreeReader

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from fusekit.cards.card import Form
    from fusekit.readers.item import Item
    from fusekit.readers.trees.tree import Tree
    from fusekit.readers.trees.walk import Entry

#: The columns as published, for lists whose head has other names.
_PUBLISHED: Final = ("name", "index", "image", "rect", "height width", "url")
#: How those who fetch the pictures name them.
_PATTERNS: Final = (
    "{index}/{image}", "{name}/{image}", "{image}", "{index}/{image}.jpg", "{name}/{image}.jpg",
    "{image}.jpg",
)  # fmt: skip
_SAMPLE: Final = 1_000


class ImdbFaceOptions(Options):
    """Where the list is, and how the pictures are named.

    Attributes:
        pattern: Path of a row's picture, of its ``{name}``, ``{index}`` and ``{image}``; None:
            the one of the usual patterns that most rows have a file by.
        missing: What becomes of rows whose picture is not there: ``reject`` or ``count``.
    """

    pattern: str | None = None
    missing: Missing = "reject"


class ImdbFaceReader(TreeReader[ImdbFaceOptions]):
    """Reader of IMDb-Face; the identity is the column ``index``, as ``nm0000001``.

    An item is a face of a picture: ``path#x0,y0,x1,y1``.
    """

    looks_for = "IMDb-Face.csv and the pictures that it lists"
    options = ImdbFaceOptions

    @classmethod
    def fits(cls, raw: Path, form: Form) -> bool:  # noqa: ARG003 - no option matters
        """Say whether the list is there."""
        return is_tree(raw) and bool(_find_lists(open_tree(raw, Counter())))

    def items(self) -> Iterator[Item]:
        """List the faces; see :class:`fusekit.readers.item.Reader`."""
        self._forget()
        source = self._source()
        index = FileIndex(self._tree.files())
        pattern = self._options.pattern or self._pattern(source, index)
        again = repeated(source_of(row) for row in self._listed(source, pattern))
        self._unusable.clear()  # each row was read once already
        rows = self._listed(source, pattern)
        yield from join_rows(
            rows, index, self._ignored, self._options.missing, again, by_line=False
        )
        if index.unnamed:
            self._ignored["files that the list does not name"] = index.unnamed

    def read(self, item: Item) -> bytes:
        """Read a picture; see :class:`fusekit.readers.item.Reader`."""
        return self._tree.read(path_of(item), item.offset, item.size)

    def names(self) -> Mapping[str, str]:
        """Give people's names; see :class:`fusekit.readers.item.Reader`."""
        names: dict[str, str] = {}
        for _, row in self._rows(self._source()):
            if row["index"] and row["name"]:
                names.setdefault(row["index"], row["name"].replace("_", " "))
        return names

    def _source(self) -> str:
        found = _find_lists(self._tree)
        if not found:
            raise SourceError(self._tree.root, "no list of IMDb-Face was found", self.looks_for)
        check_one(self._tree, found, "lists of IMDb-Face")
        return found[0]

    def _pattern(self, source: str, index: FileIndex) -> str:
        """Find how the pictures are named, by the rows that have a file."""
        bases = folders_around(self._tree, source)
        # Folders named as formats are would be taken for one.
        plain = [base for base in bases if not set(base) & set("{}")]
        patterns = [posixpath.join(base, pattern) for base in plain for pattern in _PATTERNS]
        rows = (row for _, row in self._rows(source))
        while first := list(islice(rows, _SAMPLE)):
            counts = [index.count([_path(p, row) for row in first]) for p in patterns]
            if max(counts):
                return patterns[counts.index(max(counts))]
        raise SourceError(
            self._tree.root / source, "none of its pictures is here", "pictures <index>/<image>",
            "fetch them first: the column 'url' says from where, and img2dataset can",
        )  # fmt: skip

    def _listed(self, source: str, pattern: str) -> Iterator[ListedFile]:
        for line, row in self._rows(source):
            corners = numbers(row["rect"].replace(",", " ").split(), 4)
            box = None
            if corners:
                x0, y0, x1, y1 = corners
                box = box_of(x0, y0, x1 - x0, y1 - y0)
            if box is None:
                self._unusable["boxes have no area and are no hints"] += 1
            path = _path(pattern, row)
            yield ListedFile(
                path=path,
                line=line,
                identity=None if self._kind == "unlabeled" else row["index"] or row["name"] or None,
                bbox=box,
                url=row["url"] or None,
                mark=",".join(row["rect"].split()) if corners else f"row-{line}",
                unlisted=None if row["index"] or row["name"] else "its row names no one",
            )

    def _rows(self, source: str) -> Iterator[tuple[int, dict[str, str]]]:
        where = self._tree.root / source
        with self._tree.open(source) as file:
            columns: list[str] = []
            for line, cells in read_csv(file, where, ","):
                if not columns:
                    head = [" ".join(cell.lower().replace("_", " ").split()) for cell in cells]
                    columns = head if {"image", "url"} <= set(head) else list(_PUBLISHED)
                    if "://" not in cells[-1]:  # a head, whatever its names
                        continue
                if len(cells) < len(columns):
                    place = f"{where}:{line}"
                    raise SourceError(place, f"has {len(cells)} cells", f"{len(columns)}")
                row = dict.fromkeys(_PUBLISHED, "")
                yield line, row | dict(zip(columns, map(str.strip, cells), strict=False))


def _path(pattern: str, row: Mapping[str, str]) -> str:
    path = pattern
    for name in ("index", "name", "image"):
        path = path.replace(f"{{{name}}}", row[name])
    return inside(path) or path


def _find_lists(tree: Tree) -> list[str]:
    """Find the list in the raw folder or a few folders down."""
    found: list[str] = []

    def look(_: str, entries: list[Entry]) -> bool:
        found.extend(entry.source for entry in entries if _is_list(entry))
        return False

    find_folders(tree, look)
    return found


def _is_list(entry: Entry) -> bool:
    name = entry.name.lower().replace("_", "-")
    return not entry.is_folder and name.startswith("imdb-face") and name.endswith(".csv")
