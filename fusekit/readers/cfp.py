"""Celebrities in Frontal-Profile: person folders with two poses, and pairs by number."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final, Literal

from fusekit.errors import SourceError
from fusekit.readers.options import Options, read_options
from fusekit.readers.tables.pairs import Pair, PairTable, Picture, list_pictures, path_stem
from fusekit.readers.tables.rows import is_name, read_rows
from fusekit.readers.trees.places import find_files, find_folders, join
from fusekit.readers.trees.tree import is_tree, open_tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import pyarrow as pa

    from fusekit.cards.card import Form, Kind
    from fusekit.readers.item import Item
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


class CfpReader:
    """Reader of ``Data/Images/001/frontal/01.jpg`` with ``Protocol/Split/<protocol>``.

    The pose is the split of a picture: ``frontal`` or ``profile``. Its 30 fiducial points are not
    read: no source says which of them are eyes, nose and mouth.
    """

    looks_for = "three-digit person folders with the folders frontal and profile"
    numeric_identities = False

    def __init__(self, raw: Path, kind: Kind, form: Form) -> None:  # noqa: ARG002 - only evaluation
        options, self.form_spec = read_options(CfpOptions, form)
        self._protocol = options.protocol
        self.form = form.name
        self._ignored: Counter[str] = Counter()
        self._remarks: list[str] = []
        self._table = PairTable()
        self._tree = open_tree(raw, self._ignored, self.looks_for)
        self.front_to_back = self._tree.front_to_back

    @classmethod
    def fits(cls, raw: Path, form: Form) -> bool:
        """Say whether person folders with both poses' names are found."""
        read_options(CfpOptions, form)
        return is_tree(raw) and bool(_image_folders(open_tree(raw, Counter(), cls.looks_for)))

    def items(self) -> Iterator[Item]:
        """List the pictures; see :class:`fusekit.readers.item.Reader`."""
        folders = _image_folders(self._tree)
        if len(folders) != 1:
            found = "no persons were found"
            if folders:
                found = f"both {folders[0]!r} and {folders[1]!r} hold persons"
            raise SourceError(self._tree.root, found, self.looks_for)
        self._table, self._remarks = PairTable(), []
        self._read_protocol()
        self._ignored.clear()

        def place(file: Entry) -> Picture | None:
            return self._place(folders[0], file)

        yield from list_pictures(self._tree, self._table, place, folders[0])

    def read(self, item: Item) -> bytes:
        """Read a picture; see :class:`fusekit.readers.item.Reader`."""
        return self._tree.read(item.source, item.offset, item.size)

    def names(self) -> Mapping[str, str]:
        """Give the names of the list, which stand in the order of the persons' folders."""
        lists = find_files(self._tree, _NAMES)
        for name in _NAMES:
            if name in lists:
                return {f"{r.line:03}": r.text for r in read_rows(self._tree, lists[name])}
        return {}

    def ignored(self) -> Mapping[str, int]:
        """Say what was passed over; see :class:`fusekit.readers.item.Reader`."""
        return dict(self._ignored)

    def remarks(self) -> list[str]:
        """Say what of the protocol is not as the release has it."""
        return list(self._remarks)

    def tables(self) -> Mapping[str, Iterator[pa.RecordBatch]]:
        """Give the pairs; see :class:`fusekit.readers.item.EvaluationReader`."""
        return {"pairs": self._table.batches()} if self._table else {}

    def _place(self, folder: str, file: Entry) -> Picture | None:
        inside = file.source.removeprefix(join(folder, ""))
        stem = _listed_stem(inside) if file.source.startswith(join(folder, "")) else None
        if stem is None or stem.count("/") != inside.count("/"):
            self._ignored["files that are no pictures of a person in a pose"] += 1
            return None
        person, pose, _ = stem.split("/")
        if self._protocol == "FF" and pose == "profile":
            self._ignored["profile pictures, which the protocol FF leaves out"] += 1
            return None
        return Picture(stem, person, pose)

    def _read_protocol(self) -> None:
        splits = find_folders(self._tree, self._is_split)
        lists = find_files(self._tree, set(_LISTS[self._protocol]))
        missing = set(_LISTS[self._protocol]) - set(lists)
        if not splits or missing:
            what = f"folder Split/{self._protocol}" if not splits else f"list {min(missing)}"
            self._remarks.append(
                f"no {what} was found: the pictures are stored without pairs; the folder Protocol "
                "stands beside Data in the release"
            )
            return
        stems = {name: self._read_list(source) for name, source in lists.items()}
        first, second = (stems[name] for name in _LISTS[self._protocol])
        pairs: list[Pair] = []
        folds: list[int] = []
        for fold, folder in self._folds(splits[0]):
            for same in (True, False):
                source = join(folder, "same.txt" if same else "diff.txt")
                before = len(pairs)
                for row in read_rows(self._tree, source):
                    a, b = _two_numbers(row)
                    pairs.append(Pair(same, _named(row, first, a), _named(row, second, b)))
                folds += [fold] * (len(pairs) - before)
        if len(pairs) != _PAIRS:
            self._remarks.append(f"the protocol has {len(pairs)} pairs, {_PAIRS} in the release")
        self._table.add(self._protocol.lower(), pairs, folds)

    def _is_split(self, folder: str, _: list[Entry]) -> bool:
        return folder.lower().endswith(f"split/{self._protocol.lower()}")

    def _folds(self, split: str) -> list[tuple[int, str]]:
        folders = [entry for entry in self._tree.entries(split) if entry.is_folder]
        return sorted(
            (int(entry.name), entry.source) for entry in folders if _FOLD.fullmatch(entry.name)
        )

    def _read_list(self, source: str) -> dict[int, str]:
        """Read rows ``1 ../Data/Images/001/frontal/01.jpg``: numbers from 1, as rows of pairs."""
        stems: dict[int, str] = {}
        for row in read_rows(self._tree, source):
            number, _, path = row.text.partition(" ")
            stem = _listed_stem(path.strip().replace("\\", "/"))
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
            for inner in tree.entries(person.source)
        ) and not _is_fiducials(tree, persons[0])

    return find_folders(tree, fits)


def _is_fiducials(tree: Tree, person: Entry) -> bool:
    """Say whether a person's folder holds points and no pictures: Data/Fiducials looks the same."""
    files = [
        file.name.lower()
        for pose in tree.entries(person.source)
        if pose.is_folder
        for file in tree.entries(pose.source)
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
