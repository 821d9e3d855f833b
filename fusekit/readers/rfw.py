"""Racial Faces in the Wild: four groups, each with its own persons and pairs."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from fusekit.errors import SourceError
from fusekit.readers.options import Options
from fusekit.readers.tables.pair_tree_reader import PairTreeReader
from fusekit.readers.tables.pairs import (
    Pair,
    Picture,
    even_folds,
    path_stem,
    remark_on_folds,
)
from fusekit.readers.tables.points import read_point_rows
from fusekit.readers.tables.rows import read_lfw_pairs, read_rows
from fusekit.readers.trees.places import find_files, find_folders, join
from fusekit.readers.trees.tree import is_tree, open_tree

if TYPE_CHECKING:
    from pathlib import Path

    from fusekit.cards.card import Form, Kind
    from fusekit.readers.tables.points import Points
    from fusekit.readers.trees.tree import Tree
    from fusekit.readers.trees.walk import Entry

_GROUPS: Final = ("african", "asian", "caucasian", "indian")


class RfwReader(PairTreeReader[Options]):
    """Reader of ``data/<group>/<person>/<person>_0001.jpg`` with ``<group>_pairs.txt``.

    The release's four groups, in lower case, are the splits of the pictures and the names of the
    protocols; each is a main one. Folds are ten slices of a list, which has no head line. A person
    that two groups share is one identity, as the release spells it.
    """

    looks_for = "a folder data with the folders African, Asian, Caucasian, Indian"
    options = Options

    def __init__(self, raw: Path, kind: Kind, form: Form) -> None:
        super().__init__(raw, kind, form)
        self._points: dict[str, Points] = {}

    @classmethod
    def fits(cls, raw: Path, form: Form) -> bool:  # noqa: ARG003 - it has no options
        """Say whether the groups' folders are found."""
        return is_tree(raw) and bool(_data_folders(open_tree(raw, Counter(), cls.looks_for)))

    def _find_folder(self) -> str:
        folders = _data_folders(self._tree)
        if not folders:
            raise SourceError(self._tree.root, "no groups were found", self.looks_for)
        if len(folders) > 1:
            raise SourceError(
                self._tree.root, f"both {folders[0]!r} and {folders[1]!r} hold the groups",
                "one of them", "give the folder of one with --from",
            )  # fmt: skip
        return folders[0]

    def _place(self, file: Entry) -> Picture | None:
        inside = file.source.removeprefix(join(self._folder, ""))
        parts = path_stem(inside).split("/")
        is_inside = file.source.startswith(join(self._folder, ""))
        if not is_inside or len(parts) != 3 or parts[0].lower() not in _GROUPS:
            self._ignored["files that are no pictures of a person of a group"] += 1
            return None
        stem = "/".join(parts)
        return Picture(stem, parts[1], parts[0].lower(), self._points.get(_key(inside)))

    def _read_protocol(self) -> None:
        self._points = {}
        spelt = {e.name.lower(): e.name for e in self._tree.entries(self._folder) if e.is_folder}
        pairs = {f"{group}_pairs.txt": group for group in _GROUPS}
        points = {f"{group}_lmk.txt" for group in _GROUPS}
        lists = find_files(self._tree, {*pairs, *points})
        for name, group in pairs.items():
            if name in lists:
                self._read_pairs(lists[name], group, spelt.get(group, group))
        for name in sorted(points & set(lists)):
            for path, five in read_point_rows(read_rows(self._tree, lists[name])):
                self._points[_key(path)] = five
        if not self._table:
            self._remarks.append(
                "no list of pairs (African_pairs.txt and so on) was found: the pictures are stored "
                "without pairs; in the release the folder txts stands beside data"
            )

    def _read_pairs(self, source: str, group: str, folder: str) -> None:
        listed = read_lfw_pairs(self._tree, source).pairs
        pairs = [Pair(p.same, f"{folder}/{p.a}", f"{folder}/{p.b}") for p in listed]
        self._remarks += remark_on_folds(source, len(pairs))
        self._table.add(group, pairs, even_folds(len(pairs)))


def _data_folders(tree: Tree) -> list[str]:
    """Find folders of the groups with persons in them; those of the lists look alike.

    Where BUPT's training pictures lie beside RFW's, those below a folder ``test`` are meant.
    """

    def fits(_: str, entries: list[Entry]) -> bool:
        groups = [e for e in entries if e.is_folder and e.name.lower() in _GROUPS]
        return any(inner.is_folder for group in groups for inner in tree.peek(group.source))

    found = find_folders(tree, fits)
    return [folder for folder in found if "test" in folder.lower().split("/")] or found


def _key(path: str) -> str:
    """Give the last three parts of a picture's path, by which lists of points name it."""
    return "/".join(path_stem(path).split("/")[-3:]).lower()
