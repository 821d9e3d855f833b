"""UMDFaces: whole pictures or video frames, and CSVs with a row for each face."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal

from fusekit.errors import SourceError
from fusekit.readers.options import Options, read_options
from fusekit.readers.tables.delimited import box_of, numbers, read_csv
from fusekit.readers.tables.listed_files import (
    FileIndex,
    ListedFile,
    Missing,
    best_base,
    inside,
    join_rows,
    path_of,
    repeated,
    same_place,
    unlisted,
)
from fusekit.readers.trees.places import check_one, find_folders
from fusekit.readers.trees.tree import is_tree, open_tree
from fusekit.readers.trees.tree_reader import TreeReader

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from fusekit.cards.card import Form
    from fusekit.readers.item import Item
    from fusekit.readers.trees.tree import Tree
    from fusekit.readers.trees.walk import Entry

#: Left eye, right eye, nose, left and right mouth corner among the 21 points.
_FIVE: Final = (8, 11, 15, 18, 20)
#: Where the columns stand in files whose head has other names.
_PLACES: Final = {"FILE": 1, "FACE_X": 4, "FACE_Y": 5, "FACE_WIDTH": 6, "FACE_HEIGHT": 7} | {
    f"P{point}{axis}": 11 + 3 * (point - 1) + at for point in _FIVE for at, axis in enumerate("XY")
}
_BOX: Final = ("FACE_X", "FACE_Y", "FACE_WIDTH", "FACE_HEIGHT")
_POINTS: Final = tuple(f"P{point}{axis}" for point in _FIVE for axis in "XY")
_FRAMES: Final = "umdfaces_frames"
_SAMPLE: Final = 100


class UmdfacesOptions(Options):
    """Which part of UMDFaces is read.

    Attributes:
        part: ``stills``: ``umdfaces_batchN_ultraface.csv``; ``videos``: the CSV of the frames.
        missing: What becomes of rows whose picture is not there: ``reject`` or ``count``.
    """

    part: Literal["stills", "videos"] = "stills"
    missing: Missing = "reject"


class UmdfacesReader(TreeReader[UmdfacesOptions]):
    """Reader of UMDFaces; an item is a face of a picture: ``path#x,y,width,height``.

    The identity is the subject's folder: SUBJECT_ID may start anew in each batch.
    """

    looks_for = "umdfaces_batch*_ultraface.csv"
    options = UmdfacesOptions

    @classmethod
    def fits(cls, raw: Path, form: Form) -> bool:
        """Say whether a CSV of the part is there."""
        options, _ = read_options(cls.options, form)
        return is_tree(raw) and bool(_tables(open_tree(raw, Counter()), options.part))

    def items(self) -> Iterator[Item]:
        """List the faces; see :class:`fusekit.readers.item.Reader`."""
        self._forget()
        tables = _tables(self._quiet_tree(), self._options.part)
        if not tables:
            raise SourceError(self._tree.root, f"no table of {self._options.part}", self.looks_for)
        _check_copies(self._tree, tables)
        index = FileIndex(self._tree.files())
        bases = {table: self._base(table, index) for table in tables}
        again = repeated(
            same_place(*_place(base, line, cells))
            for table, base in bases.items()
            for line, cells in self._cells(table)
        )
        rows = (
            self._row(base, line, cells)
            for table, base in bases.items()
            for line, cells in self._cells(table)
        )
        missing = self._options.missing
        yield from join_rows(rows, index, self._ignored, missing, again, by_line=False)
        yield from unlisted(self._others(bases), index, "no CSV of UMDFaces names it")

    def read(self, item: Item) -> bytes:
        """Read a picture; see :class:`fusekit.readers.item.Reader`."""
        return self._tree.read(path_of(item), item.offset, item.size)

    def _base(self, table: str, index: FileIndex) -> str:
        """Find the folder that a table's paths start from."""
        folder, _, name = table.rpartition("/")
        batch = re.sub(r"_ultraface.*", "", name, flags=re.IGNORECASE)
        own = _FRAMES if self._options.part == "videos" else batch
        below = (own, posixpath.join(own, own), posixpath.join(own, own, own))
        bases = [folder, *(posixpath.join(folder, each) for each in below)]
        first = islice(self._cells(table), _SAMPLE)
        paths = [_place("", line, cells)[0] for line, cells in first]
        return best_base(index, bases, paths)

    def _cells(self, table: str) -> Iterator[tuple[int, dict[str, str]]]:
        """Read a table's rows: the line of each, and the cells by their columns."""
        where = self._tree.root / table
        with self._tree.open(table) as file:
            columns: dict[str, int] = {}
            for line, cells in read_csv(file, where, ","):
                if not columns:
                    columns, is_head = _columns(cells)
                    if is_head:
                        continue
                if len(cells) <= max(columns.values()):
                    at = f"{where}:{line}"
                    expected = f"over {max(columns.values())}, as the columns that are read"
                    raise SourceError(at, f"has {len(cells)} cells", expected)
                yield line, {name: cells[i].strip() for name, i in columns.items()}

    def _row(self, base: str, line: int, cells: Mapping[str, str]) -> ListedFile:
        path, mark = _place(base, line, cells)
        parts = path.split("/")
        is_frame = self._options.part == "videos"
        corner = numbers([cells[name] for name in _BOX], len(_BOX))
        box = box_of(corner[0], corner[1], corner[2], corner[3]) if corner else None
        if box is None:
            self._unusable["boxes have no area and are no hints"] += 1
        points = numbers([cells.get(name, "") for name in _POINTS], len(_POINTS))
        # The folder of the picture, or of the video that the frame is from.
        identity = parts[-3] if is_frame and len(parts) > 2 else parts[-2] if parts[1:] else None
        identity = None if self._kind == "unlabeled" else identity
        digits = re.findall(r"\d{1,9}", posixpath.splitext(parts[-1])[0], re.ASCII)
        return ListedFile(
            path=path,
            line=line,
            identity=identity,
            bbox=box,
            landmarks=points if points and any(points) else None,
            media="video" if is_frame else "still",
            frame=int(digits[-1]) if is_frame and digits else None,
            video="/".join(parts[:-1]) if is_frame else None,
            mark=mark,
            unlisted=None if identity or self._kind == "unlabeled" else "it is in no one's folder",
        )

    def _others(self, bases: Mapping[str, str]) -> Iterator[Entry]:
        """List the pictures that the tables should name; count the others."""
        heads = [f"{base}/" if base else "" for base in bases.values()]
        for file in self._quiet_tree().files():
            if any(file.source.startswith(head) for head in heads):
                yield file
            else:
                self._ignored["files outside the folders of the tables"] += 1


def _place(base: str, line: int, cells: Mapping[str, str]) -> tuple[str, str]:
    """Give a row's path from the raw folder, and what tells its faces apart."""
    path = posixpath.join(base, cells["FILE"])
    mark = [cells[name] for name in _BOX]
    # Where the box is no numbers, its text may be anything.
    return inside(path) or path, ",".join(mark) if numbers(mark, len(mark)) else f"row-{line}"


def _columns(first: list[str]) -> tuple[dict[str, int], bool]:
    """Find the columns by their names, or where the release has them.

    Args:
        first: The first row.

    Returns:
        Name to place, and whether the row is a head.
    """
    places = {cell.strip().upper(): at for at, cell in enumerate(first)}
    named = {name: places[name] for name in _PLACES if name in places}
    if named.keys() >= {"FILE", *_BOX}:
        return named, True
    return dict(_PLACES), not (len(first) > 1 and "/" in first[1])


def _tables(tree: Tree, part: str) -> list[str]:
    """Find the CSVs of a part: beside the batches' folders, in them, or as deep as those lie."""
    found: list[str] = []

    def look(_: str, entries: list[Entry]) -> bool:
        found.extend(entry.source for entry in entries if _is_table(entry, part))
        return False

    find_folders(tree, look)
    return sorted(found, key=str.encode)


def _check_copies(tree: Tree, tables: list[str]) -> None:
    """Refuse a batch that lies there twice."""
    by_name: dict[str, list[str]] = {}
    for table in tables:
        by_name.setdefault(posixpath.basename(table).lower(), []).append(table)
    for copies in by_name.values():
        check_one(tree, copies, "tables of the same pictures")


def _is_table(entry: Entry, part: str) -> bool:
    name = entry.name.lower()
    if entry.is_folder or not name.endswith(".csv") or "ultraface" not in name:
        return False
    return ("video" in name) == (part == "videos")
