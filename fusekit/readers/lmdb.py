"""LMDBs of pictures: an image and its label a value, or an image a path."""

from __future__ import annotations

from collections import Counter
from typing import IO, TYPE_CHECKING, Final

from fusekit.errors import FusekitError, SourceError
from fusekit.formats.lmdb import LmdbFile, Value
from fusekit.formats.msgpack import bytes_head, read_int
from fusekit.readers.containers.files import Containers, as_source_error, checked_items
from fusekit.readers.item import Item
from fusekit.readers.options import Options, read_options
from fusekit.readers.tables.fields import is_split, split_name
from fusekit.readers.trees.walk import MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from fusekit.cards.card import Form, Kind
    from fusekit.readers.trees.walk import Entry

_HEAD: Final = 64  # bytes of a value that tell what it is
_PAIR: Final = 0x92  # MessagePack: an array of two
_MAX_INT: Final = 9  # bytes of the longest number
_PICKLES: Final = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))


class LmdbReader:
    """Reader of one database, in key order; an item is ``file#key``.

    A value is a MessagePack array of image and label, whose label is the identity, or an image
    under its path, whose folder is the identity.
    """

    looks_for = "an LMDB (data.mdb or *.lmdb)"
    front_to_back = False

    def __init__(self, raw: Path, kind: Kind, form: Form) -> None:
        _, self.form_spec = read_options(Options, form)
        self.form = form.name
        self.numeric_identities = False
        self._kind = kind
        self._ignored: Counter[str] = Counter()
        self._files = _files(raw, self._ignored)

    @classmethod
    def fits(cls, raw: Path, form: Form) -> bool:  # noqa: ARG003 - databases look alike
        """Say whether there is an LMDB, by its first bytes."""
        files = _files(raw, Counter())
        first = next(files.glance(), None)
        if first is None:
            return False
        try:
            with files.path(first.source).open("rb", buffering=0) as file:
                LmdbFile(file, first.name)
        except (OSError, FusekitError):
            return False
        return True

    def items(self) -> Iterator[Item]:
        """List the pictures; see :class:`fusekit.readers.item.Reader`."""
        self._ignored.clear()
        self.numeric_identities = True
        who = "values of image and label, or keys such as person/picture.jpg"
        yield from checked_items(self._listed(), self._kind, self._files.raw, who)

    def read(self, item: Item) -> bytes:
        """Read an image; see :class:`fusekit.readers.item.Reader`."""
        return self._files.read(item)

    def names(self) -> Mapping[str, str]:
        """Give no names: an LMDB has none."""
        return {}

    def ignored(self) -> Mapping[str, int]:
        """Say what was passed over; see :class:`fusekit.readers.item.Reader`."""
        return dict(self._ignored)

    def _listed(self) -> Iterator[Item]:
        name = self._only().source
        path = self._files.path(name)
        is_first = True
        with as_source_error(path), path.open("rb", buffering=0) as file:
            database = LmdbFile(file, str(path))
            for value in database.values():
                key = self._key(value, integer=database.integer_keys)
                if key is None:
                    continue
                if is_first:
                    _check_readable(file, value, path)
                    is_first = False
                yield self._item(f"{name}#{key}", key, value, file)

    def _only(self) -> Entry:
        found = list(self._files.entries())
        if not found:
            raise SourceError(self._files.raw, "no LMDB was found", self.looks_for)
        if len(found) > 1:
            both = f"{found[0].source} and {found[1].source}"
            raise SourceError(
                self._files.raw, f"holds {len(found)} databases, such as {both}", "one",
                "give its path",
            )  # fmt: skip
        return found[0]

    def _key(self, value: Value, *, integer: bool) -> str | None:
        if value.is_database:
            self._ignored["databases inside the database"] += 1
        elif value.key.startswith(b"__") and value.key.endswith(b"__"):
            self._ignored["entries about the database (__keys__, __len__ and the like)"] += 1
        elif integer:
            return str(int.from_bytes(value.key, "little"))
        else:
            try:
                return value.key.decode()
            except UnicodeDecodeError:
                self._ignored["names that are no UTF-8"] += 1
        return None

    def _item(self, source: str, key: str, value: Value, file: IO[bytes]) -> Item:
        file.seek(value.offset)
        head = file.read(min(_HEAD, value.size))
        if head[:1] == bytes([_PAIR]):
            return self._pair_item(source, value, head, file)
        self.numeric_identities = False
        folder = key.rpartition("/")[0]
        person = folder.rpartition("/")[2]
        first = folder.partition("/")[0]
        return self._checked(
            source, person or None, value.offset, value.size,
            split_name(first) if first != person and is_split(first) else None,
        )  # fmt: skip

    def _pair_item(self, source: str, value: Value, head: bytes, file: IO[bytes]) -> Item:
        image = bytes_head(head[1:])
        label = None
        if image is not None:
            start, size = 1 + image[0], image[1]
            rest = value.size - start - size
            if 0 < rest <= _MAX_INT:
                file.seek(value.offset + start + size)
                label = read_int(file.read(rest))
        if image is None or label is None:
            return Item(
                source, 0, None, reject="unreadable",
                reject_detail="a MessagePack value, but not of an image and a whole number",
            )  # fmt: skip
        self.numeric_identities &= label >= 0
        return self._checked(source, str(label), value.offset + start, size, None)

    def _checked(
        self, source: str, identity: str | None, offset: int, size: int, split: str | None
    ) -> Item:
        if self._kind == "unlabeled":
            identity = None
        elif self._kind == "labeled" and identity is None:
            detail = "its key is in no folder"
            return Item(source, 0, None, split, reject="unlisted", reject_detail=detail)
        if size > MAX_BYTES:
            detail = f"{size} bytes, more than {MAX_BYTES}"
            return Item(source, 0, identity, split, reject="too_large", reject_detail=detail)
        return Item(source, size, identity, split, offset)


def _files(raw: Path, ignored: Counter[str]) -> Containers:
    return Containers(raw, _is_database, ignored, ("lock.mdb", ".lmdb-lock"))


def _is_database(name: str) -> bool:
    return name == "data.mdb" or name.endswith(".lmdb")


def _check_readable(file: IO[bytes], value: Value, path: Path) -> None:
    """Refuse a database whose first value only runs code, or is of a format that is no more."""
    file.seek(value.offset)
    head = file.read(min(_HEAD, value.size))
    found = None
    if head.startswith(_PICKLES):
        found = "pickles, which can run code when they are read"
    # A count of tensors, which is 0, then an Arrow stream.
    elif head.startswith(bytes(4)) and b"\xff\xff\xff\xff" in head:
        found = "of pyarrow.serialize, which pyarrow has no more"
    if found is not None:
        raise SourceError(
            path, f"its values are {found}", "MessagePack of image and label, or images",
            "write it anew with the program that made it, as msgpack.packb([image, label])",
        )  # fmt: skip
