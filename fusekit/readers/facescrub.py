"""FaceScrub: a folder of pictures for each person, and lists of URLs and boxes."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from fusekit.errors import ItemError, SourceError
from fusekit.formats.image_header import image_size
from fusekit.readers.item import Item
from fusekit.readers.options import Options
from fusekit.readers.tables.delimited import box_of, numbers, read_csv
from fusekit.readers.tables.listed_files import Missing  # noqa: TC001 - pydantic reads it
from fusekit.readers.trees.places import find_files
from fusekit.readers.trees.tree import is_tree, open_tree
from fusekit.readers.trees.tree_reader import TreeReader

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from fusekit.cards.card import Form
    from fusekit.readers.tables.delimited import Box
    from fusekit.readers.trees.tree import Tree
    from fusekit.readers.trees.walk import Entry

_LISTS: Final = ("facescrub_actors.txt", "facescrub_actresses.txt")
_COLUMNS: Final = ("name", "image_id", "face_id", "url", "bbox")
#: Folders of faces that the usual scripts cut out of the pictures beside them.
_CUTS: Final = frozenset({"face", "faces"})
_SHA1: Final = re.compile(r"([0-9a-f]{40})(?:\..*)?", re.DOTALL)
#: Name, number, and a second number where the image's stands before the face's.
_NUMBERED: Final = re.compile(r".+?_(\d{1,9})(?:_(\d{1,9}))?(?:\..*)?", re.ASCII | re.DOTALL)
_SAMPLE: Final = 64
_WHOLE: Final = 0.9  # share of boxes that must lie in their pictures


class FacescrubOptions(Options):
    """How the pictures are named, and whether the lists' boxes fit them.

    Attributes:
        number: What the number of ``<Name>_<number>.<suffix>`` is: ``face_id`` as in MegaFace's
            copies, or ``image_id`` as one of the scripts that fetch them names whole pictures.
        boxes: ``use``: the pictures are whole, as the lists' boxes are meant; ``ignore``: they
            are cut-out faces; ``auto``: found out, by whether the boxes lie inside of the first
            pictures.
        missing: What becomes of rows whose picture is not there: ``reject`` or ``count``.
    """

    number: Literal["face_id", "image_id"] = "face_id"
    boxes: Literal["auto", "use", "ignore"] = "auto"
    missing: Missing = "reject"


@dataclass(slots=True)
class _Row:
    """A row of the lists, and whether a picture was found for it."""

    name: str
    number: str
    url: str
    box: Box | None
    found: bool = False


class FacescrubReader(TreeReader[FacescrubOptions]):
    """Reader of FaceScrub; the identity is the person's folder, as it is spelt.

    A picture's row is found by the number in its name, or by its name as sha1 of the URL.
    """

    looks_for = "a folder for each person, facescrub_actors.txt and facescrub_actresses.txt"
    options = FacescrubOptions

    @classmethod
    def fits(cls, raw: Path, form: Form) -> bool:  # noqa: ARG003 - no option matters
        """Say whether there are folders, as persons have, or the lists."""
        if not is_tree(raw):
            return False
        tree = open_tree(raw, Counter())
        return any(entry.is_folder for entry in tree.peek()) or bool(find_files(tree, _LISTS))

    def items(self) -> Iterator[Item]:
        """List the pictures; see :class:`fusekit.readers.item.Reader`."""
        self._forget()
        quiet = self._quiet_tree()
        rows = _Rows(quiet, self._options.number, self._unusable)
        cuts = next(_pictures(quiet, Counter(), cuts=False), None) is None
        whole = self._are_whole(_pictures(quiet, Counter(), cuts=cuts), rows)
        people: dict[str, str] = {}
        found = False
        for file in _pictures(self._tree, self._ignored, cuts=cuts):
            found = True
            identity, row = _person(file), rows.of(file)
            people.setdefault(_key(identity), identity)
            if row is None and len(rows):
                self._unusable["pictures have no row in the lists"] += 1
            yield Item(
                source=file.source,
                size=file.size,
                offset=file.offset,
                identity=None if self._kind == "unlabeled" else identity,
                bbox=row.box if row and whole else None,
                url=row.url if row else None,
            )
        if not found:
            fix = "fetch them first: the column 'url' says from where, and img2dataset can"
            raise SourceError(
                self._tree.root, "holds no pictures", self.looks_for, fix if len(rows) else None
            )
        yield from self._missing(rows, people)

    def names(self) -> Mapping[str, str]:
        """Give people's names with spaces, as the lists have them."""
        quiet = self._quiet_tree()
        listed = {_key(row.name): row.name for row in _Rows(quiet, "face_id", Counter())}
        folders = {_person(file) for file in _pictures(quiet, Counter(), cuts=True)}
        names = {each: listed[_key(each)] for each in folders if _key(each) in listed}
        absent = listed.keys() - {_key(each) for each in folders}
        return names | {listed[key]: listed[key] for key in absent}

    def _are_whole(self, files: Iterator[Entry], rows: _Rows) -> bool:
        """Say whether the pictures are those that the lists' boxes were drawn in."""
        if self._options.boxes != "auto":
            return self._options.boxes == "use"
        inside: list[bool] = []
        for file in files:
            row = rows.peek(file)
            if row is None or row.box is None:
                continue
            try:
                size = image_size(self._tree.read(file.source, file.offset, file.size))
            except ItemError:
                continue
            if size is not None:
                # A pixel beyond is how the lists round.
                inside.append(row.box[2] <= size[0] + 1 and row.box[3] <= size[1] + 1)
            if len(inside) == _SAMPLE:
                break
        whole = sum(inside) >= _WHOLE * len(inside)
        if inside and not whole:
            beyond = len(inside) - sum(inside)
            self._unusable[
                f"of the first {len(inside)} pictures are smaller than their boxes say: they are "
                "taken for cut-out faces, and no box is used"
            ] = beyond
        return whole

    def _missing(self, rows: _Rows, people: Mapping[str, str]) -> Iterator[Item]:
        for row in rows:
            if row.found:
                continue
            if self._options.missing == "count":
                self._ignored["rows whose file is not there"] += 1
                continue
            who = people.get(_key(row.name), row.name)
            yield Item(
                f"{who}/{row.name}_{row.number}", 0, None if self._kind == "unlabeled" else who,
                bbox=row.box, url=row.url, reject="missing",
                reject_detail="the lists name it, but it is not there",
            )  # fmt: skip


class _Rows:
    """The rows of the lists, found by a picture's folder and name."""

    def __init__(self, tree: Tree, number: str, remarks: Counter[str]) -> None:
        self._rows: list[_Row] = []
        self._by: dict[tuple[str, ...], _Row] = {}
        for source in find_files(tree, _LISTS).values():
            for row, image, face in _read(tree, source):
                key = _key(row.name)
                if self._by.setdefault((key, image, face), row) is not row:
                    remarks["rows say again what a row before them says"] += 1
                    continue
                self._rows.append(row)
                self._by.setdefault((key, image if number == "image_id" else face), row)
                sha1 = hashlib.sha1(row.url.encode(), usedforsecurity=False).hexdigest()
                self._by.setdefault((key, sha1), row)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[_Row]:
        return iter(self._rows)

    def peek(self, file: Entry) -> _Row | None:
        """Give a picture's row."""
        key = _key(_person(file))
        sha1, numbered = _SHA1.fullmatch(file.name), _NUMBERED.fullmatch(file.name)
        if sha1:
            return self._by.get((key, sha1[1]))
        if numbered is None:
            return None
        return self._by.get((key, *(part.lstrip("0") for part in numbered.groups() if part)))

    def of(self, file: Entry) -> _Row | None:
        """Give a picture's row, and remember that its picture is there."""
        row = self.peek(file)
        if row is not None:
            row.found = True
        return row


def _read(tree: Tree, source: str) -> Iterator[tuple[_Row, str, str]]:
    """Read a list: each row, its image's number and its face's."""
    where = tree.root / source
    with tree.open(source) as file:
        columns: list[str] = []
        for line, cells in read_csv(file, where, "\t"):
            if not columns:
                head = [cell.strip().lower() for cell in cells]
                columns = head if set(head) >= set(_COLUMNS) else list(_COLUMNS)
                if "url" in head:
                    continue
            if len(cells) < len(_COLUMNS):
                place = f"{where}:{line}"
                raise SourceError(place, f"has {len(cells)} cells", " TAB ".join(_COLUMNS))
            said = dict(zip(columns, map(str.strip, cells), strict=False))
            corners = numbers(said["bbox"].split(","), 4)
            box = None
            if corners:
                x0, y0, x1, y1 = corners
                box = box_of(x0, y0, x1 - x0, y1 - y0)
            image, face = (said[name].lstrip("0") for name in ("image_id", "face_id"))
            yield _Row(said["name"], said["face_id"], said["url"], box), image, face


def _pictures(tree: Tree, ignored: Counter[str], *, cuts: bool) -> Iterator[Entry]:
    """List the people's pictures; faces that were cut out of them only with ``cuts``."""
    for file in tree.files():
        folders = file.source.lower().split("/")[:-1]
        if not folders:
            ignored["files outside the people's folders"] += 1
        elif not cuts and not _CUTS.isdisjoint(folders):
            ignored["cut-out faces of pictures that are here"] += 1
        else:
            yield file


def _person(file: Entry) -> str:
    """Give the folder that a picture's person is named by, NFC."""
    folders = file.source.split("/")[:-1]
    if len(folders) > 1 and folders[-1].lower() in _CUTS:
        folders.pop()
    return unicodedata.normalize("NFC", folders[-1])


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).replace(" ", "_").lower()
