"""MegaFace's distractors: Flickr albums of pictures, each with a JSON file that has its box."""

from __future__ import annotations

import json
import os
from collections import Counter
from typing import TYPE_CHECKING, Final

from fusekit.errors import SourceError
from fusekit.readers.item import Item
from fusekit.readers.options import Options, read_options
from fusekit.readers.tables.delimited import box_of, numbers
from fusekit.readers.trees.tree import is_tree, open_tree
from fusekit.readers.trees.walk import LIST_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from fusekit.cards.card import Form, Kind
    from fusekit.readers.tables.delimited import Box
    from fusekit.readers.trees.tree import Tree
    from fusekit.readers.trees.walk import Entry

_MAX_JSON: Final = 1 << 16
_LOOK: Final = 64  # folders looked at to find the form


class MegafaceReader:
    """Reader of the distractors: no item has an identity.

    The JSON beside a picture has three points only, so that its box alone is a hint.
    """

    looks_for = "FlickrFinal2: pictures, each with its .jpg.json"
    numeric_identities = False

    def __init__(self, raw: Path, kind: Kind, form: Form) -> None:  # noqa: ARG002 - nobody is named
        _, self.form_spec = read_options(Options, form)
        self.form = form.name
        self._ignored: Counter[str] = Counter()
        self._unusable: Counter[str] = Counter()
        self._tree = open_tree(raw, self._ignored, self.looks_for)
        self.front_to_back = self._tree.front_to_back

    @classmethod
    def fits(cls, raw: Path, form: Form) -> bool:  # noqa: ARG003 - there are no options
        """Say whether a picture with its JSON is among the first."""
        if not is_tree(raw):
            return False
        albums = _albums(open_tree(raw, Counter()))
        for _, entries in zip(range(_LOOK), albums, strict=False):
            names = {entry.name for entry in entries}
            if any(f"{name}.json" in names for name in names):
                return True
        return False

    def items(self) -> Iterator[Item]:
        """List the pictures; see :class:`fusekit.readers.item.Reader`."""
        self._ignored.clear()
        self._unusable.clear()
        found = False
        for entries in _albums(self._tree):
            names = {entry.name for entry in entries}
            for entry in entries:
                if entry.is_folder or self._is_beside(entry, names):
                    continue
                found = True
                box = self._box(entry) if f"{entry.name}.json" in names else None
                yield Item(entry.source, entry.size, None, offset=entry.offset, bbox=box)
        if not found:
            raise SourceError(self._tree.root, "holds no pictures", self.looks_for)

    def read(self, item: Item) -> bytes:
        """Read a picture; see :class:`fusekit.readers.item.Reader`."""
        return self._tree.read(item.source, item.offset, item.size)

    def names(self) -> Mapping[str, str]:
        """Give no names: nobody is named."""
        return {}

    def ignored(self) -> Mapping[str, int]:
        """Say what was passed over; see :class:`fusekit.readers.item.Reader`."""
        return dict(self._ignored)

    def remarks(self) -> Sequence[str]:
        """Say which hints could not be used."""
        return [f"{count:,} {what}" for what, count in self._unusable.items()]

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

    def _box(self, entry: Entry) -> Box | None:
        if self.front_to_back:
            self._unusable["boxes are not read out of a compressed archive: unpack it"] += 1
            return None
        with self._tree.open(f"{entry.source}.json") as file:
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


def _albums(tree: Tree) -> Iterator[list[Entry]]:
    """List the entries of every folder, so that the sources of the folders ascend."""
    waiting = [""]  # no recursion: a tree may be a thousand folders deep
    while waiting:
        entries = list(tree.entries(waiting.pop()))
        yield entries
        waiting += [entry.source for entry in reversed(entries) if entry.is_folder]
