"""MS-Celeb-1M's tables: ``FaceImageCroppedWithAlignment.tsv`` and its like."""

from __future__ import annotations

import unicodedata
from collections import Counter
from typing import TYPE_CHECKING, Final

from fusekit.errors import FormatError, ItemError, SourceError
from fusekit.formats.msceleb import find_columns, read_face, scan_faces
from fusekit.readers.item import Item
from fusekit.readers.options import Options, read_options
from fusekit.readers.tables.names import freebase_names
from fusekit.readers.trees.folder_tree import FolderTree
from fusekit.readers.trees.places import check_one, find_folders

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from fusekit.cards.card import Form, Kind
    from fusekit.formats.msceleb import Columns, FaceRow
    from fusekit.readers.trees.walk import Entry

_BUFFER: Final = 1 << 20


class TsvOptions(Options):
    """What stands beside the tables.

    Attributes:
        names: Tables of names, ``m.xxx``, tab, ``"name"@lang``; the first one found is used.
    """

    names: tuple[str, ...] = ("Top1M_MidList.Name.tsv", "MS-Celeb-1M_Top1M_MID2Name.tsv")


class TsvReader:
    """Reader of one table of faces, or of one in parts.

    A source is ``<file>#<line>/<MID>/<rank>-<FaceID>``: a rank may come twice for one person, so
    the line makes it unique, and lists of extracted files find it by its last two parts. The
    rectangle in the table is the face's in the picture that the crop was cut from: no hint.
    """

    looks_for = "MS-Celeb-1M's tables (*.tsv with 6 or 7 columns, a picture in base64 at the end)"
    options = TsvOptions
    numeric_identities = False
    front_to_back = False

    def __init__(self, raw: Path, kind: Kind, form: Form) -> None:
        self._options, self.form_spec = read_options(self.options, form)
        self.form = form.name
        self._kind = kind
        self._is_folder = raw.is_dir()
        self._root = raw if self._is_folder else raw.parent
        self._tables, self._others = _find_tables(raw)
        self._entities: dict[str, str] = {}
        self._people: dict[str, None] = {}
        self._ignored: Counter[str] = Counter()

    @classmethod
    def fits(cls, raw: Path, form: Form) -> bool:  # noqa: ARG003 - tables look alike
        """Say whether there is a table of faces."""
        return bool(_find_tables(raw)[0])

    def items(self) -> Iterator[Item]:
        """List the faces; see :class:`fusekit.readers.item.Reader`."""
        self._ignored.clear()
        self._people.clear()
        self._check_copies()
        _check_one(self._root, self._tables)
        others = [name for name in self._others if name.split("/")[-1] not in self._options.names]
        if others:
            self._ignored["tables that hold no faces"] = len(others)
        if self._is_folder:
            self._count_beside()
        found = False
        for name, (path, columns) in self._tables.items():
            try:
                with path.open("rb", buffering=_BUFFER) as file:
                    for row in scan_faces(file, columns):
                        if row is None:
                            self._ignored["empty lines"] += 1
                            continue
                        found = True
                        yield self._item(name, row)
            except OSError as reason:
                raise SourceError(path, f"can't be read ({reason.strerror})") from None
        if not found:
            raise SourceError(self._root, "the tables hold no lines")

    def read(self, item: Item) -> bytes:
        """Read a face; see :class:`fusekit.readers.item.Reader`."""
        path = self._path(item.source)
        try:
            with path.open("rb") as file:
                return read_face(file, item.offset, item.size, item.source)
        except (FormatError, OSError) as reason:
            if not path.is_file():  # a drive that is gone is no fault of any line
                raise _gone(path) from None
            found = reason.found if isinstance(reason, FormatError) else reason.strerror
            raise ItemError("unreadable", item.source, found or "can't be read") from None

    def names(self) -> Mapping[str, str]:
        """Give the names of people; see :class:`fusekit.readers.item.Reader`."""
        folders = dict.fromkeys([self._root, *(path.parent for path, _ in self._tables.values())])
        for folder in folders:
            for name in self._options.names:
                table = folder / name
                if table.is_file() and table.resolve().is_relative_to(self._root):
                    with table.open("rb") as file:
                        names, unread = freebase_names(file, self._people or None)
                    if unread:
                        self._ignored[f"rows of {name} that are no names"] = unread
                    return self._entities | names
        return self._entities

    def ignored(self) -> Mapping[str, int]:
        """Say what was passed over; see :class:`fusekit.readers.item.Reader`."""
        return dict(self._ignored)

    def _check_copies(self) -> None:
        """Refuse a table that lies there twice; parts of one name differ in length."""
        alike: dict[tuple[str, int], list[str]] = {}
        for name, (path, _) in self._tables.items():
            alike.setdefault((path.name, path.stat().st_size), []).append(name)
        for copies in alike.values():
            check_one(FolderTree(self._root, Counter()), copies, "the same table")

    def _count_beside(self) -> None:
        """Count what lies beside the tables, so that a part which is still packed is noticed."""
        tree = FolderTree(self._root, self._ignored)
        known = {*self._tables, *self._others}
        waiting = [""]
        while waiting:
            for entry in tree.entries(waiting.pop()):
                if entry.is_folder:
                    waiting.append(entry.source)
                elif entry.source not in known:
                    self._ignored["files beside the tables"] += 1

    def _path(self, source: str) -> Path:
        for name, (path, _) in self._tables.items():
            if source.startswith(f"{name}#"):
                return path
        raise _gone(self._root / source.partition("#")[0])

    def _item(self, table: str, row: FaceRow) -> Item:
        if row.damage is not None:
            return Item(
                f"{table}#{row.number}", 0, None, offset=row.offset,
                reject="unreadable", reject_detail=row.damage,
            )  # fmt: skip
        identity = unicodedata.normalize("NFC", row.identity)
        self._people[identity] = None
        if row.entity:
            self._entities.setdefault(identity, row.entity)
        return Item(
            f"{table}#{row.number}/{row.identity}/{row.name}", row.size,
            None if self._kind == "unlabeled" else identity, offset=row.offset, url=row.url,
        )  # fmt: skip


def _gone(path: Path) -> SourceError:
    return SourceError(path, "is not there any more", None, "see that the drive is there")


def _find_tables(raw: Path) -> tuple[dict[str, tuple[Path, Columns]], list[str]]:
    """Give the tables of faces by their names from the raw folder, in bytewise order, and others.

    A table without a face in its first lines is another one; one whose name is no UTF-8 is none.
    """
    root = raw if raw.is_dir() else raw.parent
    found, others = {}, []
    try:
        for name in _tables_by_name(raw):
            with (root / name).open("rb") as file:
                columns = find_columns(file)
            if columns is None:
                others.append(name)
            else:
                found[name] = root / name, columns
    except OSError as reason:
        raise SourceError(reason.filename or raw, f"can't be read ({reason.strerror})") from None
    return found, others


def _tables_by_name(raw: Path) -> list[str]:
    """Find tables in the raw folder or a few folders down: their paths from it, in order."""
    if raw.is_file():
        return [raw.name] if raw.suffix.lower() == ".tsv" else []
    found: list[str] = []

    def look(_: str, entries: list[Entry]) -> bool:
        found.extend(e.source for e in entries if not e.is_folder and _is_table(e.name))
        return False

    find_folders(FolderTree(raw, Counter()), look)
    return sorted(found)


def _is_table(name: str) -> bool:
    return name.lower().endswith(".tsv")


def _check_one(raw: Path, tables: Mapping[str, object]) -> None:
    """Refuse the same faces twice: rotated upright and as they were."""
    if not tables:
        raise SourceError(raw, "no table of faces was found", TsvReader.looks_for)
    upright = [t for t in tables if "withalignment" in t.lower() or "aligned" in t.lower()]
    cut = [t for t in tables if "withoutalignment" in t.lower() or "-cropped" in t.lower()]
    if upright and cut:
        raise SourceError(
            raw, f"holds {upright[0]} and {cut[0]}, which show the same faces", "one of them",
            "give its path with --from",
        )  # fmt: skip
