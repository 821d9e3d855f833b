"""What img2dataset downloaded: ``00000.parquet`` and, beside it, ``00000.tar`` or a folder.

Reference:
    rom1504/img2dataset, ``img2dataset/writer.py``: output formats ``webdataset`` and ``files``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from fusekit.errors import FusekitError, SourceError
from fusekit.formats.arrow_files import as_format_error, open_table
from fusekit.readers.containers.files import Containers, as_source_error, checked_items
from fusekit.readers.containers.samples import IMAGE_SUFFIXES, fault_of, image_parts, read_samples
from fusekit.readers.item import Item
from fusekit.readers.options import Options, read_options
from fusekit.readers.parquet import fetch_failure
from fusekit.readers.tables.columns import ColumnName  # noqa: TC001 - pydantic needs it
from fusekit.readers.tables.fields import (
    IDENTITY_FIELDS,
    URL_FIELD,
    first_field,
    identity_text,
    plain_text,
)
from fusekit.readers.trees.walk import MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from fusekit.cards.card import Form, Kind
    from fusekit.formats.arrow_files import TableFile

_TABLE, _TAR, _STATS = ".parquet", ".tar", "_stats.json"
_KEY, _STATUS, _ERROR = "key", "status", "error_message"
_FETCHED: Final = "success"
_BESIDE: Final = frozenset({"json", "txt"})  # what goes with a picture
_UNFINISHED: Final = "shards that img2dataset did not finish"


class Img2datasetOptions(Options):
    """What the table's columns are.

    Attributes:
        identity: The column that says who it is; None: found by its name.
    """

    identity: ColumnName | None = None


@dataclass
class _Shard:
    """The parts of a shard that lie on disk."""

    table: bool = False
    tar: bool = False
    folder: bool = False
    stats: bool = False


@dataclass(frozen=True, slots=True)
class _Picture:
    """A picture of a shard: its item's source, and where it is."""

    source: str
    offset: int
    size: int
    fault: str | None = None


@dataclass
class _Table:
    """An open table of a shard, and what its columns are called."""

    file: TableFile
    identity: str | None
    columns: list[str] = field(default_factory=list)


class Img2datasetReader:
    """Reader of a download's folder; an item is ``00000.tar#key`` or ``00000/key.jpg``.

    Rows whose picture was not fetched are items too, rejected with what went wrong.
    """

    looks_for = "img2dataset's output (00000.parquet beside 00000.tar or a folder 00000)"
    options = Img2datasetOptions
    numeric_identities = False
    front_to_back = False

    def __init__(self, raw: Path, kind: Kind, form: Form) -> None:
        self._options, self.form_spec = read_options(self.options, form)
        self.form = form.name
        self._kind = kind
        self._ignored: Counter[str] = Counter()
        if not raw.is_dir():
            raise SourceError(raw, "is no folder", self.looks_for)
        self._files = Containers(raw, lambda name: name.endswith(_TAR), self._ignored)

    @classmethod
    def fits(cls, raw: Path, form: Form) -> bool:
        """Say whether a table of urls and their status lies beside its pictures."""
        if not raw.is_dir():
            return False
        reader = cls(raw, "unlabeled", form)
        try:
            first = min(reader._whole(), key=str.encode, default=None)
            return first is not None and reader._open(first) is not None
        except (OSError, FusekitError):
            return False

    def items(self) -> Iterator[Item]:
        """List the rows; see :class:`fusekit.readers.item.Reader`."""
        self._ignored.clear()
        listed = (i for stem, s in self._shards().items() for i in self._shard_items(stem, s))
        who = "a column such as identity or label"
        yield from checked_items(listed, self._kind, self._files.raw, who, self.looks_for)

    def read(self, item: Item) -> bytes:
        """Read a picture; see :class:`fusekit.readers.item.Reader`."""
        if f"{_TAR}#" in item.source:
            return self._files.read(item)
        return self._files.tree.read(item.source)

    def names(self) -> Mapping[str, str]:
        """Give no names: nobody is named."""
        return {}

    def ignored(self) -> Mapping[str, int]:
        """Say what was passed over; see :class:`fusekit.readers.item.Reader`."""
        return dict(self._ignored)

    def _whole(self) -> Iterator[str]:
        """Give the stems of tables that have pictures beside them, in no order."""
        tree = self._files.tree
        for entry in tree.peek():
            stem = entry.name.removesuffix(_TABLE)
            if stem != entry.name and (
                tree.is_file(f"{stem}{_TAR}") or (tree.root / stem).is_dir()
            ):
                yield stem

    def _shards(self) -> dict[str, _Shard]:
        """Find the shards by their stems, in bytewise order."""
        shards: dict[str, _Shard] = {}
        others = []
        for entry in self._files.tree.entries():
            if entry.is_folder:
                shards.setdefault(entry.name, _Shard()).folder = True
            elif entry.name.endswith(_TABLE):
                shards.setdefault(entry.name.removesuffix(_TABLE), _Shard()).table = True
            elif entry.name.endswith(_TAR):
                shards.setdefault(entry.name.removesuffix(_TAR), _Shard()).tar = True
            elif entry.name.endswith(_STATS):
                shards.setdefault(entry.name.removesuffix(_STATS), _Shard()).stats = True
            else:
                others.append(entry.name)
        self._ignored["files of another kind"] += len(others)
        self._ignored += Counter()  # without zeros
        return dict(sorted(shards.items(), key=lambda shard: shard[0].encode()))

    def _shard_items(self, stem: str, shard: _Shard) -> Iterator[Item]:
        if not (shard.table and (shard.tar or shard.folder)):
            self._ignored["folders" if shard == _Shard(folder=True) else _UNFINISHED] += 1
            return
        try:
            table = self._open(stem)
            pictures = self._in_tar(stem) if shard.tar else self._in_folder(stem)
        except FusekitError as error:
            if shard.stats:
                raise SourceError(error.where, error.found, error.expected, error.fix) from None
            self._ignored[_UNFINISHED] += 1
            return
        if table is None:
            self._ignored["tables of something else"] += 1
            return
        if not shard.stats:
            self._ignored[f"shards without {_STATS}, read all the same"] += 1
        if shard.tar and shard.folder:
            self._ignored["folders beside a tar of the same name"] += 1
        yield from self._rows(stem, shard, table, pictures)
        if pictures:
            self._ignored["pictures without a row in their table"] += len(pictures)

    def _open(self, stem: str) -> _Table | None:
        """Open a shard's table; None: it is none of img2dataset's."""
        path = self._files.path(f"{stem}{_TABLE}")
        file = open_table(path)
        names = [n for n in file.schema.names if file.schema.get_field_index(n) >= 0]
        if not {_KEY, _STATUS, URL_FIELD} <= set(names):
            return None
        identity = self._options.identity
        if identity is not None and identity not in names:
            raise SourceError(path, f"has no column {identity!r}", ", ".join(names[:20]))
        others = [name for name in names if name != _KEY]
        identity = identity or first_field(others, IDENTITY_FIELDS)
        wanted = (_KEY, _STATUS, URL_FIELD, _ERROR if _ERROR in names else None, identity)
        return _Table(file, identity, list(dict.fromkeys(n for n in wanted if n is not None)))

    def _rows(
        self, stem: str, shard: _Shard, table: _Table, pictures: dict[str, _Picture]
    ) -> Iterator[Item]:
        where = str(self._files.path(f"{stem}{_TABLE}"))
        seen: set[str] = set()
        with as_source_error(where):
            for _, batch in table.file.blocks(table.columns):
                with as_format_error(where, "undamaged columns"):
                    rows = batch.to_pylist()
                for row in rows:
                    key = identity_text(row[_KEY])
                    if key is None or key in seen:
                        self._ignored["rows without a key of their own"] += 1
                        continue
                    seen.add(key)
                    missing = f"{stem}{_TAR}#{key}" if shard.tar else f"{stem}/{key}.jpg"
                    picture = pictures.pop(key, None) or _Picture(missing, 0, -1)
                    yield self._item(picture, row, table.identity)
            table.file.close()

    def _item(self, picture: _Picture, row: dict[str, Any], column: str | None) -> Item:
        identity = None
        if self._kind != "unlabeled" and column is not None:
            identity = identity_text(row[column])
        reject = self._reject(picture, row, identity)
        return Item(
            picture.source, 0 if reject else picture.size, identity, offset=picture.offset,
            url=plain_text(row[URL_FIELD]), reject=reject[0] if reject else None,
            reject_detail=reject[1] if reject else None,
        )  # fmt: skip

    def _reject(
        self, picture: _Picture, row: dict[str, Any], identity: str | None
    ) -> tuple[str, str] | None:
        status = plain_text(row[_STATUS])
        if status != _FETCHED:
            return "not_downloaded", fetch_failure(status or "no status", row.get(_ERROR))
        if picture.size < 0:
            return "missing", "fetched, by its table, but not there"
        if picture.fault is not None:
            return "unreadable", picture.fault
        if identity is None and self._kind == "labeled":
            return "unlisted", "its row does not say who it shows"
        if picture.size > MAX_BYTES:
            return "too_large", f"{picture.size} bytes, more than {MAX_BYTES}"
        return None

    def _in_tar(self, stem: str) -> dict[str, _Picture]:
        path = self._files.path(f"{stem}{_TAR}")
        pictures: dict[str, _Picture] = {}
        with as_source_error(path), path.open("rb", buffering=0) as file:
            for sample in read_samples(file, str(path), self._ignored):
                images = image_parts(sample, None)
                if not images:
                    self._ignored["samples without a picture"] += 1
                    continue
                fault = fault_of(sample, images)
                if sample.key in pictures:
                    fault = f"the key {sample.key!r} comes again in its shard"
                source = f"{stem}{_TAR}#{sample.key}"
                pictures[sample.key] = _Picture(source, images[0].offset, images[0].size, fault)
        return pictures

    def _in_folder(self, stem: str) -> dict[str, _Picture]:
        pictures: dict[str, _Picture] = {}
        for entry in self._files.tree.entries(stem):
            key, _, suffix = entry.name.partition(".")
            if entry.is_folder:
                self._ignored["folders"] += 1
            elif suffix.lower() not in IMAGE_SUFFIXES:
                if suffix.lower() not in _BESIDE:
                    self._ignored["files of another kind"] += 1
            elif key in pictures:
                self._ignored["further pictures of a key"] += 1
            else:
                pictures[key] = _Picture(entry.source, 0, entry.size)
        return pictures
