"""LMDBs of pictures: an image and its label a value, or an image a path."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Final

from fusekit.errors import SourceError
from fusekit.formats.lmdb import LmdbFile, Value
from fusekit.formats.msgpack import bytes_head, read_int
from fusekit.readers.containers.container_reader import ContainerReader
from fusekit.readers.containers.files import as_source_error, checked_items
from fusekit.readers.item import Item
from fusekit.readers.options import Options
from fusekit.readers.tables.fields import is_split, split_name
from fusekit.readers.trees.walk import MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fusekit.readers.trees.walk import Entry

_HEAD: Final = 64  # bytes of a value that tell what it is
_PAIR: Final = 0x92  # MessagePack: an array of two
_MAX_INT: Final = 9  # bytes of the longest number
_PICKLES: Final = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))


class LmdbReader(ContainerReader[Options]):
    """Reader of one database, in key order; an item is ``file#key``.

    A value is a MessagePack array of image and label, whose label is the identity, or an image
    under its path, whose folder is the identity.
    """

    looks_for = "an LMDB (data.mdb or *.lmdb)"
    options = Options
    beside = ("lock.mdb", ".lmdb-lock")

    @staticmethod
    def is_container(name: str) -> bool:
        """Tell a database by its name."""
        return name == "data.mdb" or name.endswith(".lmdb")

    @classmethod
    def looks_right(cls, path: Path, options: Options) -> bool:  # noqa: ARG003 - it has none
        """Say whether the first pages are those of an LMDB."""
        with path.open("rb", buffering=0) as file:
            LmdbFile(file, path.name)
        return True

    def items(self) -> Iterator[Item]:
        """List the pictures; see :class:`fusekit.readers.item.Reader`."""
        self._ignored.clear()
        self.numeric_identities = True
        who = "values of image and label, or keys such as person/picture.jpg"
        yield from checked_items(self._listed(), self._kind, self._files.raw, who, self.looks_for)

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
