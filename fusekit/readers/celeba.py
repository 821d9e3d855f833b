"""CelebA: numbered pictures in one folder, and lists that say who they show and where."""

from __future__ import annotations

import re
import unicodedata
from array import array
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from fusekit.errors import SourceError
from fusekit.readers.item import Item
from fusekit.readers.options import Options, read_options
from fusekit.readers.tables.delimited import box_of, numbers, read_lines
from fusekit.readers.tables.listed_files import Missing  # noqa: TC001 - pydantic reads it
from fusekit.readers.trees.archive_files import archive_suffix
from fusekit.readers.trees.places import check_one, find_folders
from fusekit.readers.trees.tree import is_tree, open_release
from fusekit.readers.trees.tree_reader import TreeReader

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from fusekit.cards.card import Form
    from fusekit.readers.tables.delimited import Box
    from fusekit.readers.trees.tree import Tree
    from fusekit.readers.trees.walk import Entry

_LISTS: Final = (
    "identity_celeba", "list_eval_partition", "list_bbox_celeba", "list_landmarks_celeba",
    "list_landmarks_align_celeba", "list_attr_celeba",
)  # fmt: skip
_FOLDERS: Final = {
    "wild": ("img_celeba",),
    "aligned": ("img_align_celeba", "img_align_celeba_png"),
}
_KNOWN: Final = frozenset(name for names in _FOLDERS.values() for name in names)
_SPLITS: Final = {"0": "train", "1": "val", "2": "test"}
_PICTURE: Final = re.compile(r"\d{6}\.(jpg|jpeg|png)", re.IGNORECASE | re.ASCII)
_PACKED: Final = re.compile(r"(img_(?:align_)?celeba(?:_png)?\.7z)(?:\.\d+)?", re.IGNORECASE)
_HEAD: Final = 2  # lines that a list may have before its rows
_BOX, _POINTS = 4, 10


Pictures: TypeAlias = Literal["wild", "aligned"]


class CelebaOptions(Options):
    """Which of CelebA's pictures and lists are read.

    Attributes:
        pictures: ``wild``: ``img_celeba``, with the boxes and landmarks of the whole pictures;
            ``aligned``: ``img_align_celeba`` or its PNGs, with their own landmarks.
        lists: How the lists must lie there for the form to be found, ``txt`` as released or
            ``csv`` as Kaggle has them; both are read alike.
        missing: What becomes of rows of the identity list without a picture: ``reject`` or
            ``count``, for a part of CelebA.
    """

    pictures: Pictures
    lists: Literal["txt", "csv"] = "txt"
    missing: Missing = "reject"


@dataclass(frozen=True)
class _Place:
    """The folder of the pictures, further copies of it, and the lists by their stems."""

    pictures: str
    copies: tuple[str, ...]
    lists: Mapping[str, str]


class CelebaReader(TreeReader[CelebaOptions]):
    """Reader of CelebA; the identity is the number of ``identity_CelebA.txt`` as text.

    Pictures are joined with the lists by their names without suffix, so that the PNGs are found
    under the names that the lists give the JPEGs.
    """

    looks_for = "img_celeba or img_align_celeba beside identity_CelebA.txt"
    options = CelebaOptions

    @classmethod
    def fits(cls, raw: Path, form: Form) -> bool:
        """Say whether the form's pictures are there, with lists of its kind or none."""
        options, _ = read_options(cls.options, form)
        if not is_tree(raw):
            return False
        place = _find(_open(raw, Counter(), options.pictures), options.pictures)
        if place is None:
            return False
        as_csv = any(path.lower().endswith(".csv") for path in place.lists.values())
        return as_csv == (options.lists == "csv")

    def items(self) -> Iterator[Item]:
        """List the pictures; see :class:`fusekit.readers.item.Reader`."""
        self._forget()
        place = _find(self._quiet_tree(), self._options.pictures)
        if place is None:
            wanted = " or ".join(_FOLDERS[self._options.pictures])
            raise SourceError(self._tree.root, "CelebA's pictures were not found", wanted)
        check_one(self._tree, (place.pictures, *place.copies), "folders of the same pictures")
        people = {} if self._kind == "unlabeled" else self._people(place)
        splits = self._splits(place)
        boxes, points = self._hints(place)
        absent = set(people)
        found = False
        for file in self._tree.files():
            folder, _, name = file.source.rpartition("/")
            if folder != place.pictures:
                self._ignored[f"files outside {place.pictures or 'the top folder'}"] += 1
                continue
            found = True
            stem = _stem(name)
            absent.discard(stem)
            unlisted = self._kind != "unlabeled" and stem not in people
            yield Item(
                source=file.source,
                size=file.size,
                offset=file.offset,
                identity=people.get(stem),
                split=splits.get(stem),
                bbox=self._box(boxes, stem),
                landmarks=points.row(stem),
                reject="unlisted" if unlisted else None,
                reject_detail="identity_CelebA.txt does not name it" if unlisted else None,
            )
        if not found:
            raise SourceError(self._tree.root / place.pictures, "holds no pictures")
        yield from self._missing([stem for stem in people if stem in absent], people, splits, place)

    def _open_tree(self, raw: Path, ignored: Counter[str]) -> Tree:
        return _open(raw, ignored, self._options.pictures)

    def _people(self, place: _Place) -> dict[str, str]:
        path = place.lists.get("identity_celeba")
        if path is None:
            raise SourceError(
                self._tree.root, "holds CelebA's pictures but not who they show",
                "identity_CelebA.txt, which Kaggle's form lacks",
                "fetch it from CelebA's own Anno folder and lay it here",
            )  # fmt: skip
        people: dict[str, str] = {}
        for line, stem, fields in self._rows(path):
            if len(fields) != 1:
                found = f"has {len(fields) + 1} fields"
                raise SourceError(self._at(path, line), found, "a name and an identity")
            if people.setdefault(stem, fields[0]) != fields[0]:
                found = f"{stem} is {fields[0]} here and {people[stem]} above"
                raise SourceError(self._at(path, line), found, "one identity for a picture")
        return people

    def _splits(self, place: _Place) -> dict[str, str]:
        path = place.lists.get("list_eval_partition")
        splits: dict[str, str] = {}
        for line, stem, fields in self._rows(path) if path else ():
            if len(fields) != 1 or fields[0] not in _SPLITS:
                raise SourceError(self._at(path, line), " ".join(fields)[:60], "0, 1 or 2")
            splits[stem] = _SPLITS[fields[0]]
        return splits

    def _hints(self, place: _Place) -> tuple[_Numbers, _Numbers]:
        # Boxes and landmarks fit only the pictures that they were drawn in.
        if self._options.pictures == "aligned":
            return _Numbers(_BOX), self._numbers(place, "list_landmarks_align_celeba", _POINTS)
        boxes = self._numbers(place, "list_bbox_celeba", _BOX)
        return boxes, self._numbers(place, "list_landmarks_celeba", _POINTS)

    def _numbers(self, place: _Place, name: str, width: int) -> _Numbers:
        table = _Numbers(width)
        path = place.lists.get(name)
        for line, stem, fields in self._rows(path) if path else ():
            values = numbers(fields, width)
            if values is None:
                found = " ".join(fields)[:60]
                raise SourceError(self._at(path, line), found, f"a name, {width} numbers")
            table.add(stem, values)
        return table

    def _box(self, boxes: _Numbers, stem: str) -> Box | None:
        values = boxes.row(stem)
        if values is None:
            return None
        x, y, width, height = values
        box = box_of(x, y, width, height)
        if box is None:
            self._unusable["boxes of list_bbox_celeba have no area and are no hints"] += 1
        return box

    def _missing(
        self, stems: list[str], people: dict[str, str], splits: dict[str, str], place: _Place
    ) -> Iterator[Item]:
        if self._options.missing == "count":
            if stems:
                self._ignored["rows whose file is not there"] = len(stems)
            return
        for stem in stems:
            name = f"{stem}.jpg"
            yield Item(
                f"{place.pictures}/{name}" if place.pictures else name, 0, people[stem],
                split=splits.get(stem), reject="missing",
                reject_detail="identity_CelebA.txt names it, but it is not there",
            )  # fmt: skip

    def _rows(self, path: str) -> Iterator[tuple[int, str, list[str]]]:
        """Read a list's rows: their lines, picture names without suffix and other fields."""
        with self._tree.open(path) as file:
            for number, line in enumerate(read_lines(file, self._tree.root / path), 1):
                # Columns are padded with runs of spaces; Kaggle's have commas.
                name, *fields = line.replace(",", " ").split() or [""]
                if "." in name:
                    yield number, _stem(name), fields
                elif name and number > _HEAD:
                    raise SourceError(self._at(path, number), repr(line[:60]), "a picture's name")

    def _at(self, path: str | None, line: int) -> str:
        return f"{self._tree.root / (path or '')}:{line}"


class _Numbers:
    """Rows of numbers by a picture's name; 4 bytes a number where a tuple takes forty."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._at: dict[str, int] = {}
        self._values = array("f")

    def add(self, stem: str, values: tuple[float, ...]) -> None:
        """Add a row; of two with one name the first counts."""
        if self._at.setdefault(stem, len(self._at)) == len(self._values) // self._width:
            self._values.extend(values)

    def row(self, stem: str) -> tuple[float, ...] | None:
        """Give a row; None: there is none."""
        at = self._at.get(stem)
        if at is None:
            return None
        return tuple(self._values[at * self._width : (at + 1) * self._width])


def _open(raw: Path, ignored: Counter[str], pictures: Pictures) -> Tree:
    """Open the raw data; an archive of the pictures is read where they are not unpacked."""
    return open_release(
        raw, ignored, CelebaReader.looks_for, _FOLDERS[pictures],
        lambda tree: _find(tree, pictures) is not None,
    )  # fmt: skip


def _find(tree: Tree, pictures: Pictures) -> _Place | None:
    """Find the pictures and the lists, a few folders down.

    Raises:
        SourceError: There are only pictures in a 7z archive, which is not read.
    """
    named: dict[str, list[str]] = {}
    unnamed: list[str] = []
    lists: dict[str, str] = {}
    packed: dict[str, str] = {}

    def look(folder: str, entries: list[Entry]) -> bool:
        name = _folder_name(folder)
        numbered = any(not e.is_folder and _PICTURE.fullmatch(e.name) for e in entries)
        # Kaggle's archive has the folder twice: the innermost is meant.
        if name in _KNOWN and (numbered or not any(e.is_folder for e in entries)):
            named.setdefault(name, []).append(folder)
            return True
        if numbered:
            unnamed.append(folder)
        for entry in entries:
            stem = _stem(entry.name).lower()
            if entry.is_folder:
                continue
            if stem in _LISTS and entry.name.lower().endswith((".txt", ".csv")):
                lists.setdefault(stem, entry.source)
            elif match := _PACKED.fullmatch(entry.name):
                packed.setdefault(match[1], entry.source)
            elif _folder_name(entry.name) in _KNOWN and archive_suffix(entry.name):
                named.setdefault(f"{entry.name} as a file", [])
        return False

    find_folders(tree, look)
    at = next((named[name] for name in _FOLDERS[pictures] if named.get(name)), [])
    if not at and pictures == "wild" and not named:
        at = unnamed[:1]
        _check_unpacked(tree, packed if lists and not at else {})
    return _Place(at[0], tuple(at[1:]), lists) if at else None


def _check_unpacked(tree: Tree, packed: Mapping[str, str]) -> None:
    for name, source in packed.items():
        raise SourceError(
            tree.root / source, "is a 7z archive, which is not read", "a folder of the pictures",
            f"unpack it first: 7z x {name}{'.001' if source.endswith('.001') else ''}",
        )  # fmt: skip


def _folder_name(source: str) -> str:
    """Give what a folder is called; an archive that is read as one is called as it."""
    name = source.rpartition("/")[2]
    return name.removesuffix(archive_suffix(name)).lower()


def _stem(name: str) -> str:
    return unicodedata.normalize("NFC", name.rpartition(".")[0] or name)
