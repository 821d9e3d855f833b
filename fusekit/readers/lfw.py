"""Labeled Faces in the Wild: person folders and lists of pairs."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final

from fusekit.errors import ItemError, SourceError
from fusekit.formats.image_header import image_size
from fusekit.readers.options import InsidePath, Options, read_options
from fusekit.readers.tables.pair_tree_reader import PairTreeReader
from fusekit.readers.tables.pairs import (
    Picture,
    even_folds,
    path_stem,
    remark_on_folds,
)
from fusekit.readers.tables.points import read_point_rows
from fusekit.readers.tables.rows import person_stem, read_lfw_pairs, read_rows
from fusekit.readers.trees.places import find_files, find_folders, join
from fusekit.readers.trees.tree import is_tree, open_release
from fusekit.readers.trees.walk import folders_in

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fusekit.cards.card import Form, Kind
    from fusekit.readers.tables.points import Points
    from fusekit.readers.tables.rows import PairList
    from fusekit.readers.trees.tree import Tree
    from fusekit.readers.trees.walk import Entry

_NUMBERED: Final = re.compile(r"(.+)_(\d{1,9})", re.ASCII)
#: What the release's archives are called, without their suffix.
_ARCHIVES: Final = frozenset(
    {"lfw", "lfw_funneled", "lfw-funneled", "lfw-deepfunneled", "lfw_112x96", "lfw_original_imgs"}
)
_LOOKED_AT: Final = 32  # person folders that are looked into to tell them from others
# The two views of the release: the second is reported, the first is for development.
_VIEW_2: Final = "view-2"
_DEVELOPMENT: Final = {
    "dev-train": ("pairsdevtrain.txt", "matchpairsdevtrain.csv", "mismatchpairsdevtrain.csv"),
    "dev-test": ("pairsdevtest.txt", "matchpairsdevtest.csv", "mismatchpairsdevtest.csv"),
}


class LfwOptions(Options):
    """Where the parts of the release stand, in the raw folder and a few folders down.

    Attributes:
        pairs: Names of the list of View 2, the first one found is read.
        landmarks: Names of a list of five points for every picture, likewise.
        images: The folder of the person folders; None: it is looked for.
    """

    pairs: tuple[InsidePath, ...] = ("pairs.txt", "lfw_pairs.txt", "pairs.csv")
    landmarks: tuple[InsidePath, ...] = ("lfw_landmark.txt",)
    images: InsidePath | None = None


class LfwReader(PairTreeReader[LfwOptions]):
    """Reader of ``Name/Name_0001.jpg`` trees, original or aligned, with LFW's lists of pairs.

    Folds are blocks of rows of ``pairs.txt``; its first line says how long they are. Aligned crops
    are told by the size of the first picture.
    """

    looks_for = "person folders with Name_0001.jpg"
    options = LfwOptions

    def __init__(self, raw: Path, kind: Kind, form: Form) -> None:
        super().__init__(raw, kind, form)
        self._points: dict[str, Points] = {}

    @classmethod
    def fits(cls, raw: Path, form: Form) -> bool:
        """Say whether person folders are found, and their first picture is of the form's size."""
        options, _ = read_options(cls.options, form)
        if not is_tree(raw):
            return False
        tree = _open(raw, Counter(), options)
        folders = _person_folders(tree, options)
        return bool(folders) and form.aligned == _has_size(tree, folders[0], form.crop_size)

    def _open_tree(self, raw: Path, ignored: Counter[str]) -> Tree:
        return _open(raw, ignored, self._options)

    def _find_folder(self) -> str:
        folders = _person_folders(self._tree, self._options)
        if not folders:
            raise SourceError(self._tree.root, "no person folders were found", self.looks_for)
        if len(folders) > 1:
            raise SourceError(
                self._tree.root, f"both {folders[0]!r} and {folders[1]!r} hold person folders",
                "one of them", "name it by the option images",
            )  # fmt: skip
        return folders[0]

    def _place(self, file: Entry) -> Picture | None:
        inside = file.source.removeprefix(join(self._folder, ""))
        if len(inside) == len(file.source) and self._folder:
            self._ignored["files outside the folder of persons"] += 1
            return None
        person, slash, _ = path_stem(inside).partition("/")
        if not slash:
            self._ignored["files beside person folders"] += 1
            return None
        stem = _listed_stem(inside)
        return Picture(stem, person, landmarks=self._points.get(stem) if stem else None)

    def _read_protocol(self) -> None:
        self._points = {}
        lists = find_files(self._tree, self._list_names())
        self._read_view_2(lists)
        self._read_development(lists)
        if not self.form_spec.aligned:  # the points are those of the originals
            self._read_points(lists)

    def _list_names(self) -> set[str]:
        names = {*self._options.pairs, *self._options.landmarks}
        return {name.lower() for name in names}.union(*_DEVELOPMENT.values())

    def _read_view_2(self, lists: Mapping[str, str]) -> None:
        found = [lists[name.lower()] for name in self._options.pairs if name.lower() in lists]
        if not found:
            self._remarks.append(
                f"no list of pairs ({', '.join(self._options.pairs)}) was found: the pictures are "
                "stored without the pairs of View 2; where the list stands beside the raw folder, "
                "give the folder above with --from"
            )
            return
        rows = read_lfw_pairs(self._tree, found[0])
        folds, expected = _folds(rows)
        if not rows.head:
            self._remarks += remark_on_folds(found[0], len(rows.pairs))
        elif len(rows.pairs) != expected:
            self._remarks.append(
                f"{found[0]} has {len(rows.pairs)} pairs where {expected} were expected; folds are "
                "blocks of its rows all the same"
            )
        self._table.add(_VIEW_2, rows.pairs, folds)

    def _read_development(self, lists: Mapping[str, str]) -> None:
        for protocol, (text, *tables) in _DEVELOPMENT.items():
            found = [lists[name] for name in ([text] if text in lists else tables) if name in lists]
            pairs = []
            for source in found:
                rows = read_lfw_pairs(self._tree, source)
                pairs += rows.pairs
                if rows.head and 2 * rows.head[-1] != len(rows.pairs):
                    self._remarks.append(
                        f"{source} has {len(rows.pairs)} pairs where {2 * rows.head[-1]} were "
                        "expected"
                    )
            if pairs:
                self._table.add(protocol, pairs, [0] * len(pairs), main=False)

    def _read_points(self, lists: Mapping[str, str]) -> None:
        for name in self._options.landmarks:
            if name.lower() in lists:
                for path, points in read_point_rows(read_rows(self._tree, lists[name.lower()])):
                    stem = _listed_stem("/".join(path.split("/")[-2:]))
                    if stem:
                        self._points[stem] = points
                return


def _open(raw: Path, ignored: Counter[str], options: LfwOptions) -> Tree:
    """Open the raw data; its archives are read where no person folders are unpacked."""
    return open_release(
        raw, ignored, LfwReader.looks_for, _ARCHIVES,
        lambda tree: bool(_person_folders(tree, options)),
    )  # fmt: skip


def _person_folders(tree: Tree, options: LfwOptions) -> list[str]:
    """Find folders whose folders hold pictures of their own name and a number."""
    if options.images is not None:
        return [options.images]

    def fits(_: str, entries: list[Entry]) -> bool:
        folders = [entry for entry in entries if entry.is_folder]
        return any(
            _listed_stem(f"{folder.name}/{file.name}")
            for folder in folders[:_LOOKED_AT]
            for file in tree.peek(folder.source)
        )

    return find_folders(tree, fits)


def _listed_stem(inside: str) -> str | None:
    """Give what lists call a picture ``Name/Name_0001.jpg``; None: it is named otherwise."""
    folder, _, name = path_stem(inside).rpartition("/")
    match = _NUMBERED.fullmatch(name)
    if match is None or match[1] != folder:
        return None
    return person_stem(match[1], int(match[2]))


def _has_size(tree: Tree, folder: str, size: tuple[int, int]) -> bool:
    """Say whether the first picture of the person folders has the size of a finished crop."""
    persons = folders_in(tree, folder)[:_LOOKED_AT]
    for person in persons:
        for file in tree.files(person.source):
            try:
                found = image_size(tree.read(file.source, file.offset, file.size))
            except ItemError:
                continue
            if found is not None:
                return found == size
    return False


def _folds(rows: PairList) -> tuple[list[int], int]:
    """Give the fold of each row, and how many rows there should be."""
    count = len(rows.pairs)
    match rows.head:
        case (folds, matched):
            block = 2 * matched
            return [min(row // block + 1, folds) for row in range(count)], folds * block
        case (matched,):
            return [0] * count, 2 * matched
        case _:
            return even_folds(count), count
