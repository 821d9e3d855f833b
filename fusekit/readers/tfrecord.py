"""TFRecord files of pictures, as TFace writes them: ``name/name-00000.tfrecord`` and an index."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final

from fusekit.errors import FormatError, ItemError, SourceError
from fusekit.formats.tfrecord import (
    HEAD_SIZE,
    TAIL_SIZE,
    Span,
    example_features,
    read_features,
    read_record,
    record_size,
)
from fusekit.readers.containers.container_reader import ContainerReader
from fusekit.readers.containers.files import (
    as_source_error,
    checked_items,
    gone_or_unreadable,
)
from fusekit.readers.item import Item
from fusekit.readers.options import Options
from fusekit.readers.tables.fields import IDENTITY_FIELDS, IMAGE_FIELDS, first_field

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from fusekit.readers.trees.walk import Entry

_SUFFIX: Final = ".tfrecord"
_NUMBERED: Final = re.compile(r"(.+)-([0-9]{1,9})\.tfrecord", re.IGNORECASE)
_LISTS: Final = (".index", ".txt")
_MAX_LINE: Final = 8_192
_NOT_NAMED: Final = "records that the index does not name"


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of an index: where a record is, and who it shows."""

    shard: int
    offset: int
    identity: str | None


class TfrecordReader(ContainerReader[Options]):
    """Reader of TFRecord files in a folder and below; an item is ``file#offset``.

    The index beside a set's files says who a record shows: by the folder of a path, or by a
    label. Without one, every record is read and its Example says it.
    """

    looks_for = "TFRecord files (*.tfrecord), with name.index beside name-00000.tfrecord or not"
    options = Options
    beside = (".index",)

    @staticmethod
    def is_container(name: str) -> bool:
        """Tell a TFRecord file by its name."""
        return name.endswith(_SUFFIX)

    @classmethod
    def looks_right(cls, path: Path, options: Options) -> bool:  # noqa: ARG003 - it has none
        """Say whether a file starts with a record."""
        with path.open("rb", buffering=0) as file:
            record_size(file, 0, path.name)
        return True

    def items(self) -> Iterator[Item]:
        """List the pictures; see :class:`fusekit.readers.item.Reader`."""
        self._ignored.clear()
        self.numeric_identities = True
        who = "an index name.index of person/picture, or an Example with a label"
        yield from checked_items(self._listed(), self._kind, self._files.raw, who, self.looks_for)

    def read(self, item: Item) -> bytes:
        """Read a picture, by its record's checksums; see :class:`fusekit.readers.item.Reader`."""
        path = self._files.path(item.source)
        with gone_or_unreadable(path, item.source), path.open("rb", buffering=0) as file:
            data = read_record(file, item.offset, path.name)
            image = _image(example_features(data, path.name))
        if image is None:
            raise ItemError("unreadable", item.source, "its Example has no picture any more")
        return data[image.start : image.end]

    def _listed(self) -> Iterator[Item]:
        for name, shards in self._sets().items():
            index = self._index_of(name)
            if index is None:
                yield from self._scanned(shards)
            else:
                yield from self._indexed(name, shards, index)

    def _sets(self) -> dict[str, dict[int, Entry]]:
        """Group the files by the set that they are numbered parts of: its path without number."""
        sets: dict[str, dict[int, Entry]] = {}
        for entry in self._files.entries():
            match = _NUMBERED.fullmatch(entry.source)
            name, number = (match[1], int(match[2])) if match else (entry.source, 0)
            if number in sets.setdefault(name, {}):
                other = sets[name][number].source
                raise SourceError(
                    self._files.raw, f"{other} and {entry.source} have one number", "one of them"
                )
            sets[name][number] = entry
        return sets

    def _index_of(self, name: str) -> str | None:
        """Find a set's index beside its files or in a folder above, by its name."""
        folder, _, stem = name.rpartition("/")
        places = {f"{folder}/": None, f"{folder.rpartition('/')[0]}/": None, "/": None}
        paths = [f"{place}{stem}{suffix}".lstrip("/") for suffix in _LISTS for place in places]
        return next((path for path in paths if self._files.tree.is_file(path)), None)

    def _scanned(self, shards: dict[int, Entry]) -> Iterator[Item]:
        for _, shard in sorted(shards.items()):
            path = self._files.path(shard.source)
            with as_source_error(path), path.open("rb", buffering=0) as file:
                end, at = file.seek(0, 2), 0
                while at < end:
                    item, at = self._item(file, shard, at, str(path))
                    _check_end(path, at, end)
                    yield item

    def _indexed(self, name: str, shards: dict[int, Entry], index: str) -> Iterator[Item]:
        rows = self._rows(index)
        row = next(rows, None)
        before = -1
        while row is not None:
            if row.shard <= before:
                raise SourceError(
                    self._files.tree.root / index, f"shard {row.shard} comes after {before}",
                    "rows by shard and offset", "sort it so",
                )  # fmt: skip
            for unnamed in sorted(number for number in shards if before < number < row.shard):
                self._count_rest(shards[unnamed], 0)
            before = row.shard
            row = yield from self._shard_items(name, shards, row, rows)
        for unnamed in sorted(number for number in shards if number > before):
            self._count_rest(shards[unnamed], 0)

    def _shard_items(
        self, name: str, shards: dict[int, Entry], first: _Row, rows: Iterator[_Row]
    ) -> Generator[Item, None, _Row | None]:
        """List a shard's rows; the generator returns the next shard's first row."""
        row: _Row | None = first
        shard = shards.get(first.shard)
        if shard is None:
            while row is not None and row.shard == first.shard:
                yield Item(
                    f"{name}-{row.shard:05}{_SUFFIX}#{row.offset}", 0, self._person(row.identity),
                    reject="missing", reject_detail="the index names a file that is not there",
                )  # fmt: skip
                row = next(rows, None)
            return row
        path = self._files.path(shard.source)
        at = 0
        with as_source_error(path), path.open("rb", buffering=0) as file:
            end = file.seek(0, 2)
            while row is not None and row.shard == first.shard:
                at = self._skip_to(file, row.offset, at, str(path))
                item, at = self._item(file, shard, at, str(path), row)
                _check_end(path, at, end)
                yield item
                row = next(rows, None)
        self._count_rest(shard, at)
        return row

    def _skip_to(self, file: IO[bytes], offset: int, at: int, where: str) -> int:
        while at < offset:
            self._ignored[_NOT_NAMED] += 1
            at = _end_of(file, at, where)
        if at > offset:
            raise FormatError(
                where, f"its index puts a record at byte {offset}",
                f"rows by offset, and the start of a record, such as byte {at}",
            )  # fmt: skip
        return at

    def _count_rest(self, shard: Entry, at: int) -> None:
        path = self._files.path(shard.source)
        with as_source_error(path), path.open("rb", buffering=0) as file:
            end = file.seek(0, 2)
            while at < end:
                self._ignored[_NOT_NAMED] += 1
                at = _end_of(file, at, str(path))

    def _item(
        self, file: IO[bytes], shard: Entry, at: int, where: str, row: _Row | None = None
    ) -> tuple[Item, int]:
        features, end = read_features(file, at, where)
        image = _image(features)
        source = f"{shard.source}#{at}"
        identity = self._person(
            row.identity if row else _example_identity(file, at + HEAD_SIZE, features)
        )
        if image is None:
            found = "its Example has no picture"
            return Item(source, 0, identity, reject="missing", reject_detail=found), end
        if identity is None and self._kind == "labeled":
            found = "nothing says who it shows"
            return Item(source, 0, None, reject="unlisted", reject_detail=found), end
        return Item(source, image.end - image.start, identity, offset=at), end

    def _person(self, identity: str | None) -> str | None:
        if self._kind == "unlabeled" or not identity:
            return None
        self.numeric_identities &= identity.isascii() and identity.isdigit()
        return identity

    def _rows(self, index: str) -> Iterator[_Row]:
        where = self._files.tree.root / index
        number = 0
        with self._files.tree.open(index) as file:
            while line := file.readline(_MAX_LINE):
                number += 1
                if not line.strip():
                    continue
                row = _parse_row(line)
                if row is None:
                    found = repr(line[:60].decode(errors="replace").rstrip("\r\n"))
                    place = f"{where}:{number}"
                    raise SourceError(place, found, "path, tab, shard, tab, offset (tab, label)")
                yield row


def _parse_row(line: bytes) -> _Row | None:
    """Read ``path, shard, offset`` or, of a training list, ``name, shard, offset, label``."""
    try:
        path, shard, offset, *label = line.decode().rstrip("\r\n").split("\t")
    except ValueError:  # too few fields; no UTF-8
        return None
    numbers = (shard, offset, *label)
    if len(label) > 1 or not all(n.isascii() and n.isdigit() and len(n) < 19 for n in numbers):
        return None
    identity = label[0] if label else path.rpartition("/")[0].rpartition("/")[2]
    return _Row(int(shard), int(offset), identity or None)


def _image(features: dict[str, Span | int]) -> Span | None:
    spans = {name: value for name, value in features.items() if isinstance(value, Span)}
    field = first_field(spans, IMAGE_FIELDS)
    return spans[field] if field is not None else None


def _example_identity(file: IO[bytes], start: int, features: dict[str, Span | int]) -> str | None:
    field = first_field(features, IDENTITY_FIELDS)
    value = features.get(field or "")
    if not isinstance(value, Span):
        return None if value is None else str(value)
    file.seek(start + value.start)
    try:
        return file.read(min(value.end - value.start, _MAX_LINE)).decode()
    except UnicodeDecodeError:
        return None


def _end_of(file: IO[bytes], at: int, where: str) -> int:
    return at + HEAD_SIZE + record_size(file, at, where) + TAIL_SIZE


def _check_end(path: Path, at: int, end: int) -> None:
    if at > end:
        raise FormatError(
            str(path), f"its last record ends at byte {at} of {end}", "a whole file",
            "it is cut off: fetch it again",
        )  # fmt: skip
