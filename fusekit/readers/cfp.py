"""Celebrities in Frontal-Profile: person folders with two poses, and pairs by number."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final, Literal

from fusekit.errors import SourceError
from fusekit.readers.options import Options, read_options
from fusekit.readers.tables.pair_tree_reader import PairTreeReader
from fusekit.readers.tables.pairs import Pair, Picture, path_stem
from fusekit.readers.tables.rows import is_name, read_rows
from fusekit.readers.trees.places import find_files, find_folders, join
from fusekit.readers.trees.tree import is_tree, open_tree

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fusekit.cards.card import Form
    from fusekit.readers.tables.rows import Row
    from fusekit.readers.trees.tree import Tree
    from fusekit.readers.trees.walk import Entry

_POSES: Final = ("frontal", "profile")
_PERSON: Final = re.compile(r"[0-9]{3}")
_FOLD: Final = re.compile(r"[0-9]{1,3}")
#: Which list numbers the first picture of a pair, and which the second.
_LISTS: Final = {
    "FF": ("pair_list_f.txt", "pair_list_f.txt"),
    "FP": ("pair_list_f.txt", "pair_list_p.txt"),
}
_PAIRS: Final = 7_000
_NAMES: Final = ("list_names.txt", "list_name.txt")  # the readme's spelling and the disk's


class CfpOptions(Options):
    """Which of the set's two protocols is read.

    Attributes:
        protocol: ``FP``: frontal with profile pictures; ``FF``: frontal ones alone.
    """

    protocol: Literal["FP", "FF"] = "FP"


class CfpReader(PairTreeReader[CfpOptions]):
    """Reader of ``Data/Images/001/frontal/01.jpg`` with ``Protocol/Split/<protocol>``.

    The pose is the split of a picture: ``frontal`` or ``profile``. Its 30 fiducial points are not
    read: no source says which of them are eyes, nose and mouth.
    """

    looks_for = "three-digit person folders with the folders frontal and profile"
    options = CfpOptions

    @classmethod
    def fits(cls, raw: Path, form: Form) -> bool:
        """Say whether person folders with both poses' names are found."""
        read_options(cls.options, form)
        return is_tree(raw) and bool(_image_folders(open_tree(raw, Counter(), cls.looks_for)))

    def names(self) -> Mapping[str, str]:
        """Give the names of the list, which stand in the order of the persons' folders."""
        lists = find_files(self._tree, _NAMES)
        for name in _NAMES:
            if name in lists:
                return {f"{r.line:03}": r.text for r in read_rows(self._tree, lists[name])}
        return {}

    def _find_folder(self) -> str:
        folders = _image_folders(self._tree)
        if len(folders) != 1:
            found = "no persons were found"
            if folders:
                found = f"both {folders[0]!r} and {folders[1]!r} hold persons"
            raise SourceError(self._tree.root, found, self.looks_for)
        return folders[0]

    def _place(self, file: Entry) -> Picture | None:
        inside = file.source.removeprefix(join(self._folder, ""))
        stem = _listed_stem(inside) if file.source.startswith(join(self._folder, "")) else None
        if stem is None or stem.count("/") != inside.count("/"):
            self._ignored["files that are no pictures of a person in a pose"] += 1
            return None
        person, pose, _ = stem.split("/")
        if self._options.protocol == "FF" and pose == "profile":
            self._ignored["profile pictures, which the protocol FF leaves out"] += 1
            return None
        return Picture(stem, person, pose)

    def _read_protocol(self) -> None:
        wanted = _LISTS[self._options.protocol]
        splits = find_folders(self._tree, self._is_split)
        lists = find_files(self._tree, set(wanted))
        missing = set(wanted) - set(lists)
        if not splits or missing:
            what = (
                f"folder Split/{self._options.protocol}" if not splits else f"list {min(missing)}"
            )
            self._remarks.append(
                f"no {what} was found: the pictures are stored without pairs; the folder Protocol "
                "stands beside Data in the release"
            )
            return
        stems = {name: self._read_list(source) for name, source in lists.items()}
        first, second = (stems[name] for name in wanted)
        pairs: list[Pair] = []
        folds: list[int] = []
        for fold, folder in self._folds(splits[0]):
            lists = {entry.name.lower(): entry.source for entry in self._tree.entries(folder)}
            for same, name in ((True, "same.txt"), (False, "diff.txt")):
                before = len(pairs)
                for row in read_rows(self._tree, lists.get(name, join(folder, name))):
                    a, b = _two_numbers(row)
                    pairs.append(Pair(same, _named(row, first, a), _named(row, second, b)))
                folds += [fold] * (len(pairs) - before)
        if len(pairs) != _PAIRS:
            self._remarks.append(f"the protocol has {len(pairs)} pairs, {_PAIRS} in the release")
        self._table.add(self._options.protocol.lower(), pairs, folds)

    def _is_split(self, folder: str, _: list[Entry]) -> bool:
        return folder.lower().endswith(f"split/{self._options.protocol.lower()}")

    def _folds(self, split: str) -> list[tuple[int, str]]:
        folders = [entry for entry in self._tree.entries(split) if entry.is_folder]
        return sorted(
            (int(entry.name), entry.source) for entry in folders if _FOLD.fullmatch(entry.name)
        )

    def _read_list(self, source: str) -> dict[int, str]:
        """Read rows ``1 ../Data/Images/001/frontal/01.jpg``: numbers from 1, as rows of pairs."""
        stems: dict[int, str] = {}
        for row in read_rows(self._tree, source):
            number, path = (*row.text.split(None, 1), "")[:2]
            stem = _listed_stem(path.replace("\\", "/"))
            if stem is None:
                raise row.bad("a number and the path of a picture, .../001/frontal/01.jpg")
            if stems.setdefault(row.number(number, "a number from 1"), stem) != stem:
                raise row.bad("a number that no row before has")
            self._table.expect(stem)
        return stems


def _listed_stem(path: str) -> str | None:
    """Give the stem of a path that ends in person, pose and file; None: it does not."""
    person, pose, name = ("", "", *path_stem(path).split("/"))[-3:]
    if not (_PERSON.fullmatch(person) and pose.lower() in _POSES and is_name(name)):
        return None
    return f"{person}/{pose.lower()}/{name}"


def _image_folders(tree: Tree) -> list[str]:
    """Find folders of three-digit folders, the first few of which hold a folder of a pose."""

    def fits(_: str, entries: list[Entry]) -> bool:
        persons = [e for e in entries if e.is_folder and _PERSON.fullmatch(e.name)]
        return any(
            inner.is_folder and inner.name.lower() in _POSES
            for person in persons[:4]
            for inner in tree.peek(person.source)
        ) and not _is_fiducials(tree, persons[0])

    return find_folders(tree, fits)


def _is_fiducials(tree: Tree, person: Entry) -> bool:
    """Say whether a person's folder holds points and no pictures: Data/Fiducials looks the same."""
    files = [
        file.name.lower()
        for pose in tree.peek(person.source)
        if pose.is_folder
        for file in tree.peek(pose.source)
        if not file.is_folder
    ]
    return bool(files) and all(name.endswith(".txt") for name in files)


def _two_numbers(row: Row) -> tuple[int, int]:
    cells = row.text.split(",")
    expected = "two numbers of pictures, a comma between"
    if len(cells) != 2:
        raise row.bad(expected)
    a, b = (row.number(cell.strip(), expected) for cell in cells)
    return a, b


def _named(row: Row, stems: Mapping[int, str], number: int) -> str:
    if number not in stems:
        known = f"numbers from 1 to {len(stems)}"
        raise row.bad(known)
    return stems[number]
