"""InsightFace's RecordIO packs: ``train.rec``, with or without ``.idx`` and ``property``."""

from __future__ import annotations

from array import array
from collections import Counter
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Annotated, Final

import numpy as np
from pydantic import Field, StringConstraints

from fusekit.errors import FormatError, ItemError, SourceError
from fusekit.formats.frames import read_frame, record_span
from fusekit.formats.recordio import (
    Int64s,
    RecordHead,
    image_keys,
    read_head,
    read_index,
    read_property,
    unpack_record,
)
from fusekit.readers.item import Item
from fusekit.readers.options import InsidePath, Options, read_options
from fusekit.readers.tables.list_file import ListFile
from fusekit.readers.tables.names import parse_names
from fusekit.readers.tables.path_index import plain_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from fusekit.cards.card import Form, Kind

_BLOCK: Final = 1 << 16
_MAX_FOLDERS: Final = 64  # with more, it is a dataset's folders and not a place of packs


class RecordioOptions(Options):
    """What a pack is told by, and what stands beside it.

    Attributes:
        classes: What ``property`` states as the number of classes; None: any pack fits.
        names: Table of display names beside the ``.rec``: label, tab, name, or a name a line.
        strip_prefix: Taken off each of these names.
        lists: Lists that the pack was built from, label and ``folder/picture`` in a row: where
            there are no names, the labels' folders name them. The first one found is used.
    """

    classes: Annotated[int, Field(ge=1)] | None = None
    names: InsidePath = "names.txt"
    strip_prefix: Annotated[str, StringConstraints(max_length=64)] = ""
    lists: tuple[InsidePath, ...] = ("train.tsv", "train.lst")


class RecordioReader:
    """Reader of one pack; the identity is the record's label as text.

    Items come in the order of the file. Their size is that of the image alone.
    """

    looks_for = "a pack (*.rec)"
    options = RecordioOptions
    numeric_identities = True
    front_to_back = False

    def __init__(self, raw: Path, kind: Kind, form: Form) -> None:
        self._options, self.form_spec = read_options(self.options, form)
        self.form = form.name
        self._kind = kind
        self._rec = _find_pack(raw)
        self._ignored: Counter[str] = Counter()
        stated = read_property(self._rec.with_name("property"))
        width, height = form.crop_size
        if form.aligned and stated and stated[1:] != (height, width):
            raise SourceError(
                self._rec.with_name("property"), f"images of {stated[2]}x{stated[1]}",
                f"{width}x{height}, as {form.template} has",
                "a card of your own with 'aligned: false' detects and aligns them anew",
            )  # fmt: skip

    @classmethod
    def fits(cls, raw: Path, form: Form) -> bool:
        """Say whether there is a ``.rec``, of as many classes as the form says."""
        options, _ = read_options(cls.options, form)
        packs = _packs(raw)
        if options.classes is None or not packs:
            return bool(packs)
        stated = read_property(packs[0].with_name("property"))
        return stated is not None and stated[0] == options.classes

    def items(self) -> Iterator[Item]:
        """List the images; see :class:`fusekit.readers.item.Reader`."""
        self._ignored.clear()
        with _as_source_error(), self._rec.open("rb", buffering=0) as file:
            keys, offsets = self._index(file)
            self._check_end(file, int(offsets[-1]))
            images = self._stated_images(file, keys, offsets)
            found = False
            for key, offset, head in self._heads(file, keys, offsets):
                if not self._is_image(key, head, images):
                    continue
                found = True
                identity = None if self._kind == "unlabeled" else self._label(key, head)
                yield Item(f"{self._rec.name}#{key}", head.size, identity, offset=offset)
        if not found:
            raise SourceError(self._rec, "holds no images")

    def read(self, item: Item) -> bytes:
        """Read an image; see :class:`fusekit.readers.item.Reader`."""
        try:
            # Opened anew each time: a hundredth of what decoding costs, and safe in threads.
            with self._rec.open("rb", buffering=0) as file:
                data = read_frame(file, item.offset, self._rec.name)
            return bytes(unpack_record(data, self._rec.name)[1])
        except (FormatError, OSError) as reason:
            if not self._rec.is_file():  # a drive that is gone is no fault of any record
                raise SourceError(
                    self._rec, "is not there any more", None, "see that the drive is there"
                ) from None
            raise ItemError("unreadable", item.source, str(reason)) from None

    def names(self) -> Mapping[str, str]:
        """Give the names of labels; see :class:`fusekit.readers.item.Reader`."""
        path = self._beside(self._options.names)
        if path is None:
            return self._folder_names()
        names, unread = parse_names(path.read_bytes(), "label")
        if unread:
            self._ignored[f"rows of {path.name} that are no names"] = unread
        return {label: n.removeprefix(self._options.strip_prefix) for label, n in names.items()}

    def ignored(self) -> Mapping[str, int]:
        """Say what was passed over; see :class:`fusekit.readers.item.Reader`."""
        return dict(self._ignored)

    def _beside(self, name: str) -> Path | None:
        path = self._rec.with_name(name)
        inside = path.is_file() and path.resolve().parent == self._rec.parent
        return path if inside else None

    def _folder_names(self) -> dict[str, str]:
        """Give label to folder, by the list that the pack was built from; the first row counts."""
        path = next(filter(None, map(self._beside, self._options.lists)), None)
        names: dict[str, str] = {}
        if path is None:
            return names
        try:
            for _, row in ListFile.at(path).rows():
                folder = plain_path(row.path).split("/")[-2:-1]
                if row.label is not None and folder and folder[0] != row.label:
                    names.setdefault(row.label, folder[0])
        except SourceError:  # packs are read without it
            self._ignored[f"{path.name}, from a row on that has another form"] = 1
        return names

    def _index(self, file: IO[bytes]) -> tuple[Int64s, Int64s]:
        """Give keys and offsets in the order of the file."""
        path = self._rec.with_suffix(".idx")
        if not path.is_file():
            return self._scan(file)
        keys, offsets = read_index(path)
        if bool((offsets[1:] <= offsets[:-1]).any()):
            order = np.argsort(offsets, kind="stable")
            keys, offsets = keys[order], offsets[order]
        return keys, offsets

    def _scan(self, file: IO[bytes]) -> tuple[Int64s, Int64s]:
        size = file.seek(0, 2)
        if size == 0:
            raise SourceError(self._rec, "is empty", "records")
        ids, starts, at = array("Q"), array("q"), 0
        while at < size:
            head = read_head(file, at, str(self._rec))
            ids.append(head.header.id)
            starts.append(at)
            at = head.end
        offsets = np.frombuffer(starts, np.int64)
        keys = np.frombuffer(ids, np.uint64)
        # Merged and shuffled packs may repeat ids; then a record is named by its place.
        if len(np.unique(keys)) < len(keys) or int(keys.max()) > np.iinfo(np.int64).max:
            return np.arange(len(offsets), dtype=np.int64), offsets
        return keys.astype(np.int64), offsets

    def _check_end(self, file: IO[bytes], last: int) -> None:
        size = file.seek(0, 2)
        if last >= size:
            raise SourceError(
                self._rec, f"has {size} bytes but its .idx names a record at byte {last}",
                "a whole file", "it is cut off or belongs to another .idx: fetch both again",
            )  # fmt: skip
        end = record_span(file, last, str(self._rec))[1]
        if end > size:
            raise SourceError(
                self._rec, f"has {size} bytes but its last record ends at byte {end}",
                "a whole file", "it is cut off: fetch it again",
            )  # fmt: skip
        if end < size:
            raise SourceError(
                self._rec, f"{size - end} bytes follow the last record that its .idx names",
                "an .idx of the whole file", "without the .idx every record is found",
            )  # fmt: skip

    def _stated_images(self, file: IO[bytes], keys: Int64s, offsets: Int64s) -> range | None:
        at = np.flatnonzero(keys == 0)
        # Without an .idx the keys are the records' own ids, which copied records have from the
        # pack they come from: key 0 speaks of them only where they are 0, 1, 2, … themselves.
        copied = int(keys.max()) + 1 != len(keys) and not self._rec.with_suffix(".idx").is_file()
        if copied or not at.size:
            return None
        head = read_head(file, int(offsets[at[0]]), str(self._rec))
        return image_keys(head, lambda key: bool((keys == key).any()))

    def _heads(
        self, file: IO[bytes], keys: Int64s, offsets: Int64s
    ) -> Iterator[tuple[int, int, RecordHead]]:
        where = str(self._rec)
        end = 0
        for start in range(0, len(keys), _BLOCK):  # the arrays are small, lists of them are not
            block = slice(start, start + _BLOCK)
            for key, offset in zip(keys[block].tolist(), offsets[block].tolist(), strict=True):
                while end < offset:
                    self._ignored["records that the .idx does not name"] += 1
                    end = record_span(file, end, where)[1]
                if end > offset:
                    raise SourceError(
                        self._rec, f"its .idx puts key {key} at byte {offset}, inside a record",
                        f"the start of one, such as byte {end}", "fetch the .idx of this pack",
                    )  # fmt: skip
                head = read_head(file, offset, where)
                yield key, offset, head
                end = head.end

    def _is_image(self, key: int, head: RecordHead, images: range | None) -> bool:
        if images is not None:
            if key in images:
                return True
            reason = "records of identities" if head.size == 0 else "images that key 0 leaves out"
        elif head.size:
            return True
        else:
            reason = "records without an image"
        self._ignored[reason] += 1
        return False

    def _label(self, key: int, head: RecordHead) -> str:
        label = head.header.labels[0]
        if not (label.is_integer() and label >= 0):
            raise SourceError(self._rec, f"key {key} has the label {label:g}", "a whole number")
        return str(int(label))


def _packs(raw: Path) -> list[Path]:
    if raw.is_file():
        return [raw] if raw.suffix == ".rec" else []
    folders = sorted(path for path in raw.iterdir() if path.is_dir())
    below = folders if len(folders) <= _MAX_FOLDERS else []
    for places in ([raw], below):
        # A name starting with "._" is what macOS leaves beside a file.
        found = [p for place in places for p in place.glob("*.rec") if p.name[:2] != "._"]
        if found:
            return sorted(found)
    return []


def _find_pack(raw: Path) -> Path:
    packs = _packs(raw)
    if not packs:
        raise SourceError(raw, "no *.rec was found", "a folder that holds train.rec, or a .rec")
    if len(packs) > 1:
        both = " and ".join(str(pack.relative_to(raw)) for pack in packs[:2])
        raise SourceError(raw, f"holds {len(packs)} packs, such as {both}", "one", "give its path")
    pack = packs[0].resolve()
    if pack != raw and not pack.is_relative_to(raw):
        raise SourceError(packs[0], "leads out of the raw folder", None, "give the file itself")
    return pack


@contextmanager
def _as_source_error() -> Iterator[None]:
    try:
        yield
    except FormatError as error:
        raise SourceError(error.where, error.found, error.expected, error.fix) from None
    except OSError as error:
        raise SourceError(error.filename or "the pack", error.strerror or "can't be read") from None
