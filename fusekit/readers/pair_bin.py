"""Verification packs: ``lfw.bin`` and its like, pairs of aligned crops in one file."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Final

import numpy as np
import pyarrow as pa
from pydantic import StringConstraints

from fusekit.errors import FormatError, ItemError, SourceError
from fusekit.formats.pair_pack import (
    PairPack,
    is_pair_pack,
    pair_folds,
    read_packed_image,
    read_pair_pack,
)
from fusekit.readers.item import Item
from fusekit.readers.options import Options, read_options
from fusekit.readers.trees.folder_tree import FolderTree
from fusekit.readers.trees.walk import MAX_BYTES
from fusekit.schema import PLAN_PAIRS_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from fusekit.cards.card import Form, Kind

_PROTOCOL: Final = "pack"
_BATCH: Final = 1 << 16
_HEAD: Final = 64
_MAX_FOLDERS: Final = 64  # with more, it is a dataset's folders and not a place of packs


class PairBinOptions(Options):
    """Which pack of a folder is meant.

    Attributes:
        file: Its name, upper or lower case; None: the only one.
    """

    file: Annotated[str, StringConstraints(max_length=255, pattern=r"^[^/\\]+$")] | None = None


class PairBinReader:
    """Reader of one pack: images ``lfw.bin#0``, ``lfw.bin#1`` and so on, and the pairs of two.

    An image that stands in several pairs is an item for each, as the pack has it; nobody in it
    has a name.
    """

    looks_for = "a verification pack (*.bin)"
    options = PairBinOptions
    numeric_identities = False
    front_to_back = False

    def __init__(self, raw: Path, kind: Kind, form: Form) -> None:  # noqa: ARG002 - no identity in any kind
        options, self.form_spec = read_options(self.options, form)
        self.form = form.name
        self._bin = _find_pack(raw, options.file)
        self._raw = raw
        self._ignored: Counter[str] = Counter()

    @classmethod
    def fits(cls, raw: Path, form: Form) -> bool:
        """Say whether there is a pickle ``*.bin``, of the name that the form gives."""
        options, _ = read_options(cls.options, form)
        return any(_is_pack(path) for path in _packs(raw, options.file))

    def items(self) -> Iterator[Item]:
        """List the images; see :class:`fusekit.readers.item.Reader`."""
        self._ignored.clear()
        pack = self._pack
        if not pack.images:
            raise SourceError(self._bin, "holds no pairs")
        if left := self._bin.stat().st_size - pack.end:
            self._ignored["bytes after the pack's end"] = left
        if self._raw.is_dir():
            self._count_beside()
        for number, image in enumerate(pack.images):
            yield Item(f"{self._bin.name}#{number}", image.size, None, offset=image.text.offset)

    def read(self, item: Item) -> bytes:
        """Read an image; see :class:`fusekit.readers.item.Reader`."""
        if item.size > MAX_BYTES:
            raise ItemError("too_large", item.source, f"{item.size} bytes, more than {MAX_BYTES}")
        image = self._pack.images[int(item.source.rpartition("#")[2])]
        try:
            with self._bin.open("rb", buffering=0) as file:
                return read_packed_image(file, image, self._bin.name)
        except (FormatError, OSError) as reason:
            if not self._bin.is_file():  # a drive that is gone is no fault of any image
                raise SourceError(
                    self._bin, "is not there any more", None, "see that the drive is there"
                ) from None
            raise ItemError("unreadable", item.source, str(reason)) from None

    def names(self) -> Mapping[str, str]:
        """Give no names: nobody is named."""
        return {}

    def ignored(self) -> Mapping[str, int]:
        """Say what was passed over; see :class:`fusekit.readers.item.Reader`."""
        return dict(self._ignored)

    def tables(self) -> Mapping[str, Iterator[pa.RecordBatch]]:
        """Give the pairs, in ten folds; see :class:`fusekit.readers.item.EvaluationReader`."""
        return {"pairs": self._pairs()}

    def _count_beside(self) -> None:
        """Count what lies beside the pack; a pack for training has several of other sets."""
        tree = FolderTree(self._raw, self._ignored)
        waiting = [""]
        while waiting:
            for entry in tree.entries(waiting.pop()):
                if entry.is_folder:
                    waiting.append(entry.source)
                elif self._raw / entry.source != self._bin:
                    self._ignored["files beside the pack"] += 1

    def _pairs(self) -> Iterator[pa.RecordBatch]:
        same, folds = self._pack.same, pair_folds(len(self._pack.same))
        for start in range(0, len(same), _BATCH):
            numbers = np.arange(start, min(start + _BATCH, len(same)))
            columns = {
                "protocol": [_PROTOCOL] * len(numbers),
                "main": np.ones(len(numbers), np.bool_),
                "fold": folds[numbers],
                "same": same[numbers],
                "source_a": [f"{self._bin.name}#{2 * n}" for n in numbers],
                "source_b": [f"{self._bin.name}#{2 * n + 1}" for n in numbers],
            }
            yield pa.record_batch(columns, schema=PLAN_PAIRS_SCHEMA)

    @cached_property
    def _pack(self) -> PairPack:
        try:
            with self._bin.open("rb") as file:
                return read_pair_pack(file, str(self._bin))
        except FormatError as error:
            raise SourceError(error.where, error.found, error.expected, error.fix) from None
        except OSError as error:
            raise SourceError(self._bin, error.strerror or "can't be read") from None


def _packs(raw: Path, name: str | None) -> list[Path]:
    """List the files of a folder, or of the folders in it, that may be meant."""
    if raw.is_file():
        return [raw] if raw.suffix.lower() == ".bin" else []
    folders = sorted(path for path in raw.iterdir() if path.is_dir() and path.name[0] != ".")
    below = folders if len(folders) <= _MAX_FOLDERS else []
    for places in ([raw], below):
        files = [path for place in places for path in place.iterdir()]
        found = [p for p in files if _is_meant(p.name, name) and p.is_file()]
        if found:
            return sorted(found)
    return []


def _is_meant(file: str, name: str | None) -> bool:
    if name is not None:
        return file.lower() == name.lower()
    # A name starting with "._" is what macOS leaves beside a file.
    return file.lower().endswith(".bin") and not file.startswith("._")


def _is_pack(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return is_pair_pack(file.read(_HEAD))
    except OSError:
        return False


def _find_pack(raw: Path, name: str | None) -> Path:
    if raw.is_file():
        return raw
    packs = _packs(raw, name)
    if not packs:
        others = [path.name for path in _packs(raw, None)]
        found = f"no {name or '*.bin'} was found"
        found += f", only {', '.join(others[:3])}" if others else ""
        fix = "give the path of the pack itself" if others else None
        raise SourceError(raw, found, f"a folder that holds {name or 'one pack'}, or a .bin", fix)
    packs = [path for path in packs if _is_pack(path)] or packs
    if len(packs) > 1:
        both = " and ".join(str(pack.relative_to(raw)) for pack in packs[:2])
        raise SourceError(raw, f"holds {len(packs)} packs, such as {both}", "one", "give its path")
    pack = packs[0].resolve()
    if not pack.is_relative_to(raw):
        raise SourceError(packs[0], "leads out of the raw folder", None, "give the file itself")
    return pack
