"""AgeDB: one flat folder of pictures named by person and age, and its protocol of 30 years."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final

import numpy as np

from fusekit.errors import FormatError, SourceError
from fusekit.formats.mat import Cells, Structs, read_mat
from fusekit.readers.options import InsidePath, Options, read_options
from fusekit.readers.tables.pair_tree_reader import PairTreeReader
from fusekit.readers.tables.pairs import Pair, Picture, path_stem
from fusekit.readers.tables.points import read_pts
from fusekit.readers.tables.rows import is_name
from fusekit.readers.trees.places import find_files, find_folders, join
from fusekit.readers.trees.tree import is_tree, open_tree

if TYPE_CHECKING:
    from pathlib import Path

    from fusekit.cards.card import Form, Kind
    from fusekit.formats.mat import MatValue
    from fusekit.readers.tables.points import Points
    from fusekit.readers.trees.tree import Tree
    from fusekit.readers.trees.walk import Entry

#: ``0_MariaCallas_35_f``: running number, person, age, gender. Read from the right: the person
#: may hold anything.
_RELEASED: Final = re.compile(r"([0-9]{1,9})_(.+)_([0-9]{1,3})_[mf]", re.IGNORECASE)
_PROTOCOL_FOLDER: Final = "03_protocol_images"
_TOKENS: Final = 5  # a picture of the protocol has at least as many, the person first
_VARIABLE: Final = "splits"
_PAIRS: Final = 6_000
_MAX_MAT: Final = 1 << 25
_MAX_STEM: Final = 255


class AgedbOptions(Options):
    """Which of the release's protocols is read.

    Attributes:
        protocol: Name of its MAT file, in the raw folder or a few folders down.
    """

    protocol: InsidePath = "04_FINAL_protocol_30_years.mat"


class AgedbReader(PairTreeReader[AgedbOptions]):
    """Reader of ``AgeDB/0_MariaCallas_35_f.jpg``, of the protocol package, or of both.

    The package names pictures otherwise than the release. A picture of the protocol is the file
    of that name; where there is none, the released one of the same person, number and age.
    """

    looks_for = "pictures like 0_MariaCallas_35_f.jpg, or the folder 03_Protocol_Images"
    options = AgedbOptions

    def __init__(self, raw: Path, kind: Kind, form: Form) -> None:
        super().__init__(raw, kind, form)
        #: (person, number, age) to the stem by which the protocol names that picture.
        self._released: dict[tuple[str, int, int], str] = {}

    @classmethod
    def fits(cls, raw: Path, form: Form) -> bool:
        """Say whether a folder of such pictures is found."""
        read_options(cls.options, form)
        return is_tree(raw) and bool(_image_folders(open_tree(raw, Counter(), cls.looks_for)))

    def _find_folder(self) -> str:
        folders = _image_folders(self._tree)
        if not folders:
            raise SourceError(self._tree.root, "no pictures of AgeDB were found", self.looks_for)
        return folders[0]

    def _place(self, file: Entry) -> Picture | None:
        folder, _, name = file.source.rpartition("/")
        stem = path_stem(name)
        released = _RELEASED.fullmatch(stem)
        if released:
            number, person, age = released.groups()
            listed = self._released.get((person.casefold(), int(number), int(age)))
            return Picture(stem if stem in self._table else listed, person)
        tokens = stem.split("_")
        if stem not in self._table and len(tokens) < _TOKENS:
            self._ignored["pictures that are not named as AgeDB's"] += 1
            return None
        return Picture(stem, tokens[0], landmarks=self._points(join(folder, stem)))

    def _points(self, path: str) -> Points | None:
        names = () if self.front_to_back else (f"{path}.pts", f"{path}.PTS")
        source = next(filter(self._tree.is_file, names), None)
        if source is None:
            return None
        points = read_pts(self._tree, source)
        if points is None:
            self._ignored["files of landmarks that can't be read"] += 1
        return points

    def _read_protocol(self) -> None:
        self._released = {}
        self._read_list()
        if self.front_to_back:
            # Each small file would unpack such an archive from its start again.
            self._remarks.append(
                "landmarks in a compressed archive are not read; unpack it to have them"
            )

    def _read_list(self) -> None:
        lists = find_files(self._tree, {self._options.protocol.lower()})
        if not lists:
            self._remarks.append(
                f"no {self._options.protocol} was found: the pictures are stored without pairs; it "
                "comes with the package AgeDB-protocols"
            )
            return
        (source,) = lists.values()
        pairs, folds, ages = _read_pairs(self._tree, source)
        if len(pairs) != _PAIRS:
            self._remarks.append(f"{source} has {len(pairs)} pairs, {_PAIRS} in the release")
        unlike = sum(pair.same != (_person(pair.a) == _person(pair.b)) for pair in pairs)
        if unlike:
            self._remarks.append(f"{source}: the names of {unlike} pairs contradict their labels")
        self._table.add("30-years", pairs, folds)
        here = _protocol_stems(self._tree)
        twice: set[tuple[str, int, int]] = set()
        for stem, age in ages.items():
            key = _release_key(stem, age)
            if key is not None and stem not in here:
                if key in self._released:
                    twice.add(key)
                self._released[key] = stem
        for key in twice:  # it could be either
            del self._released[key]


def _image_folders(tree: Tree) -> list[str]:
    """Find folders of pictures, the protocol's own first."""

    def fits(folder: str, entries: list[Entry]) -> bool:
        own = folder.rpartition("/")[2].lower() == _PROTOCOL_FOLDER
        stems = [path_stem(entry.name) for entry in entries if not entry.is_folder]
        return bool(own and stems) or any(map(_RELEASED.fullmatch, stems))

    def rank(folder: str) -> bool:
        return folder.rpartition("/")[2].lower() != _PROTOCOL_FOLDER

    return sorted(find_folders(tree, fits), key=rank)


def _protocol_stems(tree: Tree) -> set[str]:
    """Give the stems of the protocol's own pictures."""
    return {
        path_stem(entry.name)
        for folder in _image_folders(tree)
        if folder.rpartition("/")[2].lower() == _PROTOCOL_FOLDER
        for entry in tree.entries(folder)
        if entry.name.lower().endswith((".jpg", ".jpeg", ".png"))
    }


def _release_key(stem: str, age: int | None) -> tuple[str, int, int] | None:
    """Give person, number and age of a protocol's picture; None: its name does not say them."""
    tokens = stem.split("_")
    number = next((t for t in tokens[2:4] if t.isascii() and t.isdigit() and len(t) < 10), None)
    return None if number is None or age is None else (tokens[0].casefold(), int(number), age)


def _person(stem: str) -> str:
    return stem.partition("_")[0]


def _read_pairs(tree: Tree, source: str) -> tuple[list[Pair], list[int], dict[str, int | None]]:
    """Read pairs, the fold of each, and the age in each picture."""
    path = tree.root / source
    with tree.open(source) as file:
        try:
            data = file.read(_MAX_MAT + 1)
        except OSError as reason:
            raise SourceError(path, f"can't be read ({reason.strerror})") from None
    if len(data) > _MAX_MAT:
        raise SourceError(path, f"more than {_MAX_MAT} bytes", "a protocol of AgeDB")
    try:
        splits = read_mat(data, _VARIABLE, path)
    except FormatError as error:
        raise SourceError(error.where, error.found, error.expected) from None
    pairs: list[Pair] = []
    folds: list[int] = []
    ages: dict[str, int | None] = {}
    for fold, split in enumerate(_splits(splits), 1):
        cells, labels = _fold(split, f"{path}: fold {fold}")
        for at, label in enumerate(labels):
            # Cells stand column after column, so a pair's two pictures are neighbours.
            sides = [_picture(cells.values[2 * at + side], path) for side in (0, 1)]
            ages.update(sides)
            pairs.append(Pair(label == 1, sides[0][0], sides[1][0]))
        folds += [fold] * len(labels)
    return pairs, folds, ages


def _splits(value: MatValue) -> list[MatValue]:
    """Give the folds, be they cells or the elements of one array of structures."""
    if isinstance(value, Structs):
        return [Structs((1, 1), value.fields, (row,)) for row in value.values]
    return list(value.values) if isinstance(value, Cells) else [value]


def _fold(split: MatValue, where: str) -> tuple[Cells, list[int]]:
    """Take a fold apart: two rows of pictures, and labels 1 for one person, -1 for two."""
    parts = _parts(split)
    cells = next((p for p in parts if isinstance(p, Cells) and p.shape[0] == 2), None)
    labels = next((p for p in parts if isinstance(p, np.ndarray)), None)
    if cells is None or labels is None or len(cells.values) != 2 * labels.size:
        raise SourceError(where, "is damaged", "2 x n pictures and n labels")
    if not np.isin(labels, (1, -1)).all():
        raise SourceError(where, "has labels that are neither 1 nor -1")
    return cells, [int(label) for label in labels.reshape(-1)]


def _picture(value: MatValue, path: Path) -> tuple[str, int | None]:
    """Give a picture's stem and the age in it, or None."""
    parts = _parts(value)
    name = next((part for part in parts if isinstance(part, str)), "")
    age = next((part for part in parts if isinstance(part, np.ndarray) and part.size == 1), None)
    stem = path_stem(f"{name}.jpg")
    if not is_name(name) or len(name) > _MAX_STEM:
        raise SourceError(path, f"names a picture {name[:60]!r}", "a file name without suffix")
    whole = age is not None and bool(np.isfinite(age).all()) and abs(float(age.item())) < 1_000
    return stem, int(age.item()) if age is not None and whole else None


def _parts(value: MatValue) -> tuple[MatValue, ...]:
    """Give what an array holds; arrays of one cell or structure inside are looked through."""
    while True:
        if isinstance(value, Structs) and len(value.values) == 1:
            inner = value.values[0]
        elif isinstance(value, Structs):
            inner = tuple(part for row in value.values for part in row)
        elif isinstance(value, Cells):
            inner = value.values
        else:
            return (value,)
        if len(inner) != 1:
            return inner
        (value,) = inner
