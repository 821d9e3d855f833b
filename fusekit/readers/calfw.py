"""Cross-Age and Cross-Pose LFW: one folder of pictures, and pairs on two lines each."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from fusekit.errors import SourceError
from fusekit.readers.options import InsidePath, Options, read_options
from fusekit.readers.tables.pair_tree_reader import PairTreeReader
from fusekit.readers.tables.pairs import (
    FOLDS,
    Pair,
    Picture,
    even_folds,
    path_stem,
    remark_on_folds,
)
from fusekit.readers.tables.points import read_five_points
from fusekit.readers.tables.rows import is_name, read_rows
from fusekit.readers.trees.places import find_files, find_folders
from fusekit.readers.trees.tree import is_tree, open_tree
from fusekit.readers.trees.walk import LIST_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fusekit.cards.card import Form, Kind
    from fusekit.readers.tables.points import Points
    from fusekit.readers.tables.rows import Row
    from fusekit.readers.trees.tree import Tree
    from fusekit.readers.trees.walk import Entry

_NUMBERED: Final = re.compile(r"(.+)_[0-9]{1,9}")
_POINTS: Final = "_5loc_attri"  # ends the stems of files with a picture's points


class CalfwOptions(Options):
    """What distinguishes the two sets on disk.

    Attributes:
        pairs: Name of the list of pairs, in the raw folder or a few folders down.
    """

    pairs: InsidePath = "pairs_CALFW.txt"


class CalfwReader(PairTreeReader[CalfwOptions]):
    """Reader of ``images/Name_0001.jpg`` with ``pairs_CALFW.txt`` or ``pairs_CPLFW.txt``.

    The list has two lines a pair, ``file token``. A token above 0 means one person, and in CALFW
    it is the pair's fold; 0 means two people, and no fold. Folds that the list does not say are
    ten slices of the pairs of a kind, as they stand. Files ``*_5loc_attri.txt`` give five points.
    """

    looks_for = "a folder of pictures Name_0001.jpg"
    options = CalfwOptions

    def __init__(self, raw: Path, kind: Kind, form: Form) -> None:
        super().__init__(raw, kind, form)
        #: Stem of a picture to the file of its points.
        self._point_sources: Mapping[str, str] = {}

    @classmethod
    def fits(cls, raw: Path, form: Form) -> bool:
        """Say whether a folder of such pictures and the list of pairs are found."""
        options, _ = read_options(cls.options, form)
        if not is_tree(raw):
            return False
        tree = open_tree(raw, Counter(), cls.looks_for)
        return bool(find_files(tree, {options.pairs.lower()}) and _image_folders(tree))

    def _find_folder(self) -> str:
        folders = _image_folders(self._tree)
        if not folders:
            raise SourceError(self._tree.root, "no pictures were found", self.looks_for)
        return folders[0]

    def _place(self, file: Entry) -> Picture | None:
        where, _, name = file.source.rpartition("/")
        if where != self._folder:
            self._ignored["files outside the folder of pictures"] += 1
            return None
        stem = path_stem(name)
        match = _NUMBERED.fullmatch(stem)
        if match is None:
            self._ignored["files that are not named as a person and a number"] += 1
            return None
        return Picture(stem, match[1], landmarks=self._points(self._point_sources.get(stem)))

    def _read_protocol(self) -> None:
        self._read_pairs()
        self._point_sources = self._point_files()

    def _read_pairs(self) -> None:
        lists = find_files(self._tree, {self._options.pairs.lower()})
        if not lists:
            self._remarks.append(
                f"no {self._options.pairs} was found: the pictures are stored without pairs"
            )
            return
        (source,) = lists.values()
        pairs, tokens = _read_pairs(self._tree, source)
        self._remarks += remark_on_folds(source, len(pairs))
        self._table.add("ten-fold", pairs, _folds(tokens))

    def _point_files(self) -> dict[str, str]:
        """Find the files of points beside the pictures or beside their folder, by stem."""
        if self.front_to_back:
            # One small file after another would unpack such an archive from its start each time.
            self._remarks.append(
                "landmarks in a compressed archive are not read; unpack it to have them"
            )
            return {}
        beside = [
            entry.source for entry in self._tree.entries(self._folder.rpartition("/")[0])
            if entry.is_folder and entry.name.lower().endswith("landmarks")
        ]  # fmt: skip
        return {
            path_stem(entry.name).removesuffix(_POINTS): entry.source
            for place in (*beside, self._folder)
            for entry in self._tree.entries(place)
            if entry.name.lower().endswith(f"{_POINTS}.txt") and not entry.is_folder
        }

    def _points(self, source: str | None) -> Points | None:
        if source is None:
            return None
        points = read_five_points(self._tree, source)
        if points is None:
            self._ignored["files of landmarks that can't be read"] += 1
        return points


def _image_folders(tree: Tree) -> list[str]:
    """Find folders of pictures, the one called ``images`` first, aligned copies last."""

    def fits(_: str, entries: list[Entry]) -> bool:
        return any(
            not entry.is_folder
            and _NUMBERED.fullmatch(path_stem(entry.name))
            and PurePosixPath(entry.name).suffix.lower() not in LIST_SUFFIXES
            for entry in entries
        )

    def rank(folder: str) -> int:
        name = folder.rpartition("/")[2].lower()
        return 0 if name == "images" else 2 if "align" in name else 1

    return sorted(find_folders(tree, fits), key=rank)


def _read_pairs(tree: Tree, source: str) -> tuple[list[Pair], list[int]]:
    """Read pairs of two lines, and the token of each pair."""
    pairs: list[Pair] = []
    tokens: list[int] = []
    first: tuple[str, int] | None = None
    row = None
    for row in read_rows(tree, source):
        stem, token = _file_and_token(row)
        if first is None:
            first = stem, token
        elif first[1] != token:
            other = f"the token {first[1]}, as on the pair's first line"
            raise row.bad(other)
        else:
            pairs.append(Pair(token > 0, first[0], stem))
            tokens.append(token)
            first = None
    if row is not None and first is not None:
        raise row.bad("two lines for each pair")
    return pairs, tokens


def _file_and_token(row: Row) -> tuple[str, int]:
    expected = "a picture Name_0001.jpg and a number from 0 to 10"
    name, _, token = row.text.rpartition(" ") if " " in row.text else row.text.rpartition("\t")
    stem = path_stem(name.strip())
    if not (is_name(stem) and _NUMBERED.fullmatch(stem)):
        raise row.bad(expected)
    number = row.number(token, expected)
    if number > FOLDS:
        raise row.bad(expected)
    return stem, number


def _folds(tokens: list[int]) -> list[int]:
    """Give the folds: a positive pair's token where tokens differ, else ten slices of a kind."""
    kinds: dict[bool, list[int]] = {
        same: even_folds(sum((token > 0) == same for token in tokens)) for same in (False, True)
    }
    if len({token for token in tokens if token}) > 1:
        kinds[True] = [token for token in tokens if token]
    slices = {same: iter(folds) for same, folds in kinds.items()}
    return [next(slices[token > 0]) for token in tokens]
