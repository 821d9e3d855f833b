"""MegaFace's distractors: Flickr albums of pictures, each with a JSON file that has its box."""

from __future__ import annotations

import json
import os
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Final

from fusekit.errors import SourceError
from fusekit.readers.item import Item
from fusekit.readers.options import Options
from fusekit.readers.tables.delimited import box_of, numbers
from fusekit.readers.tables.listed_files import plain_suffix
from fusekit.readers.trees.places import join
from fusekit.readers.trees.tree import is_tree, open_tree
from fusekit.readers.trees.tree_reader import TreeReader
from fusekit.readers.trees.walk import LIST_SUFFIXES, look_into

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from fusekit.cards.card import Form
    from fusekit.readers.tables.delimited import Box
    from fusekit.readers.trees.walk import Entry

_MAX_JSON: Final = 1 << 16
_LOOK: Final = 64  # folders looked at to find the form


class MegafaceReader(TreeReader[Options]):
    """Reader of the distractors: no item has an identity.

    The JSON beside a picture has three points only, so that its box alone is a hint.
    """

    looks_for = "FlickrFinal2: pictures, each with its .jpg.json"
    options = Options

    @classmethod
    def fits(cls, raw: Path, form: Form) -> bool:  # noqa: ARG003 - there are no options
        """Say whether a picture with its JSON is among the first."""
        if not is_tree(raw):
            return False
        albums = _albums(partial(look_into, open_tree(raw, Counter())))
        for _, entries in zip(range(_LOOK), albums, strict=False):
            names = {plain_suffix(entry.name) for entry in entries}
            if any(f"{entry.name}.json" in names for entry in entries):
                return True
        return False

    def items(self) -> Iterator[Item]:
        """List the pictures; see :class:`fusekit.readers.item.Reader`."""
        self._forget()
        found = False
        for entries in _albums(self._tree.entries):
            names = {entry.name for entry in entries}
            beside = {plain_suffix(name): name for name in names}
            for entry in entries:
                if entry.is_folder or self._is_beside(entry, names):
                    continue
                found = True
                boxes = beside.get(f"{entry.name}.json")
                box = self._box(entry, boxes) if boxes else None
                yield Item(entry.source, entry.size, None, offset=entry.offset, bbox=box)
        if not found:
            raise SourceError(self._tree.root, "holds no pictures", self.looks_for)

    def _is_beside(self, entry: Entry, names: set[str]) -> bool:
        """Say whether a file is no picture of its own; it is counted then."""
        stem, suffix = os.path.splitext(entry.name)  # noqa: PTH122 - fast
        reason = None
        if suffix.lower() == ".json" and stem in names:
            reason = "boxes of pictures (.json)"
        elif suffix.lower() in LIST_SUFFIXES:
            reason = "lists and metadata (by suffix)"
        elif suffix.lower() == ".jpg" and stem.lower().endswith(".jpg"):
            reason = "pictures with a doubled suffix (.jpg.jpg)"
        if reason is not None:
            self._ignored[reason] += 1
        return reason is not None

    def _box(self, entry: Entry, boxes: str) -> Box | None:
        if self.front_to_back:
            self._unusable["boxes are not read out of a compressed archive: unpack it"] += 1
            return None
        folder = entry.source.rpartition("/")[0]
        with self._tree.open(join(folder, boxes)) as file:
            box = _parse_box(file.read(_MAX_JSON))
        if box is None:
            self._unusable["boxes can't be read, or have no area, and are no hints"] += 1
        return box


def _parse_box(data: bytes) -> Box | None:
    try:
        box = json.loads(data)["bounding_box"]
        corner = numbers([box[name] for name in ("x", "y", "width", "height")], 4)
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return box_of(corner[0], corner[1], corner[2], corner[3]) if corner else None


def _albums(list_folder: Callable[[str], Iterable[Entry]]) -> Iterator[list[Entry]]:
    """List the entries of every folder, so that the sources of the folders ascend."""
    waiting = [""]  # no recursion: a tree may be a thousand folders deep
    while waiting:
        entries = list(list_folder(waiting.pop()))
        yield entries
        waiting += [entry.source for entry in reversed(entries) if entry.is_folder]
