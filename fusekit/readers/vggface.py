"""VGGFace (1): a list of URLs for each person, and the pictures that were fetched by them."""

from __future__ import annotations

import unicodedata
from collections import Counter
from typing import TYPE_CHECKING, Final

from fusekit.errors import SourceError
from fusekit.readers.item import Item
from fusekit.readers.options import Options
from fusekit.readers.tables.delimited import box_of, numbers, read_lines
from fusekit.readers.tables.listed_files import Missing  # noqa: TC001 - pydantic reads it
from fusekit.readers.trees.places import check_one, find_folders
from fusekit.readers.trees.tree import is_tree, open_tree
from fusekit.readers.trees.tree_reader import TreeReader
from fusekit.readers.trees.walk import look_into

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from fusekit.cards.card import Form
    from fusekit.readers.tables.delimited import Box
    from fusekit.readers.trees.tree import Tree
    from fusekit.readers.trees.walk import Entry

_AFTER_URL: Final = 7  # left top right bottom pose score curation; a URL may hold spaces


class VggfaceOptions(Options):
    """What becomes of dead URLs.

    Attributes:
        missing: Rows whose picture was not fetched: ``reject`` or ``count``.
    """

    missing: Missing = "reject"


class VggfaceReader(TreeReader[VggfaceOptions]):
    """Reader of VGGFace; the identity is the name of the person's list, as it is spelt.

    Pictures are those in folders named as the lists are, under the row's number: at
    ``images/<Name>/<id>.jpg``, ``<Name>/<id>.jpg``, ``files/<Name>/<id>.jpg`` and the like.
    """

    looks_for = "files/<Name>.txt and pictures <Name>/<id>.jpg"
    options = VggfaceOptions

    @classmethod
    def fits(cls, raw: Path, form: Form) -> bool:  # noqa: ARG003 - no option matters
        """Say whether a folder of lists is there."""
        return is_tree(raw) and bool(_list_folders(open_tree(raw, Counter())))

    def items(self) -> Iterator[Item]:
        """List the rows' pictures; see :class:`fusekit.readers.item.Reader`."""
        self._forget()
        tree = self._quiet_tree()  # what it passes over is counted at the end
        places = _list_folders(tree)
        if not places:
            raise SourceError(self._tree.root, "no list of VGGFace was found", self.looks_for)
        check_one(tree, places, "folders of its lists")
        lists = _lists(look_into(tree, places[0]))
        folders = _people(tree, lists)
        if not folders:
            raise SourceError(
                self._tree.root, "holds lists of URLs and no pictures",
                "a folder of pictures for each list",
                "fetch them first: the second word of each row is the URL, and img2dataset can",
            )  # fmt: skip
        for person, source in lists.items():
            yield from self._person(tree, person, source, folders.get(person, []))
        theirs = tuple(f"{each}/" for found in folders.values() for each in found)
        self._count_others(theirs)

    def names(self) -> Mapping[str, str]:
        """Give people's names with spaces, as they are read."""
        places = _list_folders(self._tree)
        lists = _lists(look_into(self._tree, places[0])) if places else {}
        return {person: person.replace("_", " ") for person in lists}

    def _person(self, tree: Tree, person: str, source: str, folders: list[str]) -> Iterator[Item]:
        files: dict[str, Entry] = {}
        others: list[Entry] = []
        for file in (file for folder in folders for file in tree.files(folder)):
            stem = file.name.partition(".")[0]
            number = stem.rpartition("_")[2] or stem
            if files.setdefault(number, file) is not file:
                others.append(file)
        identity = None if self._kind == "unlabeled" else person
        seen: set[str] = set()
        for number, url, box in self._rows(source):
            if number in seen:
                self._ignored["rows that say again what a row before them says"] += 1
                continue
            seen.add(number)
            found = files.pop(number, None)
            if found is not None:
                yield Item(
                    found.source, found.size, identity, offset=found.offset, bbox=box, url=url
                )
            elif self._options.missing == "count":
                self._ignored["rows whose file is not there"] += 1
            else:
                folder = folders[0] if folders else person
                yield Item(
                    f"{folder}/{number}.jpg", 0, identity, bbox=box, url=url, reject="missing",
                    reject_detail="its list names it, but it is not there",
                )  # fmt: skip
        for file in [*files.values(), *others]:
            yield Item(
                file.source, file.size, identity, offset=file.offset, reject="unlisted",
                reject_detail=f"{source} does not name it",
            )  # fmt: skip

    def _rows(self, source: str) -> Iterator[tuple[str, str, Box | None]]:
        """Read a list: number, URL and box of each row."""
        with self._tree.open(source) as file:
            for line in read_lines(file, self._tree.root / source):
                number, *fields = line.split() or [""]
                if not fields or "/" in number:
                    self._ignored["rows that are no number and URL"] += bool(number)
                    continue
                corners = numbers(fields[-_AFTER_URL:][:4], 4) if fields[_AFTER_URL:] else None
                box = None
                if corners:
                    left, top, right, bottom = corners
                    box = box_of(left, top, right - left, bottom - top)
                if box is None:
                    self._unusable["boxes have no area and are no hints"] += 1
                url = " ".join(fields[:-_AFTER_URL] if fields[_AFTER_URL:] else fields[:1])
                yield number, url, box

    def _count_others(self, theirs: tuple[str, ...]) -> None:
        """Count what lies in nobody's folder."""
        heads = frozenset(theirs)
        for file in self._tree.files():
            parts = file.source.split("/")
            if not any(f"{'/'.join(parts[:n])}/" in heads for n in range(1, len(parts))):
                self._ignored["files outside the people's folders"] += 1


def _list_folders(tree: Tree) -> list[str]:
    """Find the folders of lists: ``files/``, the raw folder itself, or a few folders down."""

    def holds_lists(_: str, entries: list[Entry]) -> bool:
        first = next(iter(_lists(entries).values()), None)
        return first is not None and _is_list(tree, first)

    return find_folders(tree, holds_lists)


def _lists(entries: list[Entry]) -> dict[str, str]:
    """Give the lists among a folder's entries: person to list."""
    return {
        unicodedata.normalize("NFC", entry.name[:-4]): entry.source
        for entry in entries
        if not entry.is_folder and entry.name.lower().endswith(".txt")
    }


def _is_list(tree: Tree, source: str) -> bool:
    with tree.open(source) as file:
        try:
            fields = next(read_lines(file, source), "").split()
        except SourceError:
            return False
    return len(fields) > 1 and fields[0].isdigit() and "://" in fields[1]


def _people(tree: Tree, lists: Mapping[str, str]) -> dict[str, list[str]]:
    """Find the folders of pictures, by the names of the lists."""
    found: dict[str, list[str]] = {}

    def holds_people(folder: str, entries: list[Entry]) -> bool:  # noqa: ARG001
        return any(entry.is_folder and _key(entry.name) in people for entry in entries)

    people = {_key(name): name for name in lists}
    for base in find_folders(tree, holds_people):
        for entry in tree.entries(base):
            name = people.get(_key(entry.name)) if entry.is_folder else None
            if name is not None:
                found.setdefault(name, []).append(entry.source)
    return found


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).replace(" ", "_").lower()
