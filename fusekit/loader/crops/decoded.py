"""Decoded crops kept on this machine: from the second epoch on they are only copied.

What is kept is the crop before augmentation, brought to the mixture's template. Each slot of the
file has a mark, a sum over its bytes, that is written after them and compared with what was read,
every time. So nothing that tears a file is ever served: a process killed while it wrote, pages
that a power loss took, a write that the disk refused later, two processes at one slot, a host
that sees another's write late. Such a slot is a miss, is decoded, and is written anew. No other
record is needed of which run wrote what, and nothing has to be synced. It costs about 1 us a crop.
"""

from __future__ import annotations

import logging
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

from fusekit.errors import LoaderError
from fusekit.loader.crops.crop_file import (
    SUFFIX,
    CropFile,
    CropLayout,
    open_crop_file,
    open_whole_file,
    read_about,
)
from fusekit.rng import derive, permute
from fusekit.storage.cache import cache_root

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusekit.loader.cache import CacheSettings
    from fusekit.loader.crops.decode import Pixels
    from fusekit.loader.order.shuffle import Rows
    from fusekit.mixture.mixture import Mixture

Words: TypeAlias = npt.NDArray[np.unsignedinteger]

_VERSION: Final = 1  # of the pixels: a change to how this project decodes or re-warps raises it
_BLOCK: Final = 256  # rows that stay together on the disk, as in the order
_SALT: Final = np.uint64(0x9E3779B97F4A7C15)  # a black crop's mark is not that of an empty slot
_log = logging.getLogger("fusekit.loader")


class Kept(NamedTuple):
    """Crops of a cache in memory; any of them may be written anew while they are read.

    Attributes:
        addresses: Where each begins, int64, ``(n,)``.
        lengths: Its bytes; 0: it is not kept.
        sums: What its 8-byte words sum up to, modulo 2**64, when it is whole, uint64, ``(n,)``.
        held: Keeps them in memory as long as it is held.
    """

    addresses: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    sums: npt.NDArray[np.uint64]
    held: object


class DecodedCache:
    """Crops of one mixture by row, from any number of threads and processes; :meth:`open` it.

    Where not all rows fit, a fixed pseudo-random part of them is kept and the rest is decoded in
    every epoch. To keep what was used last would be of no use: rows come again only after all
    others did, so each would be gone before it is wanted.
    """

    def __init__(self, file: CropFile | None, mixture: Mixture) -> None:
        self._file, self._length = file, mixture.index.length
        self._rows = len(self._length)
        self._stored, self._failed, self._lock = 0, False, Lock()
        # Blocks are spread, rows of a block stay together: the order's windows read few places.
        blocks = -(-self._rows // _BLOCK)
        places = permute(np.arange(blocks), max(blocks, 1), derive(0, "decoded"))
        self._first = places.astype(np.int64) * _BLOCK
        self._word = _word(mixture.crop_size)
        if file is not None:
            self._crops: Words = file.crops.view(self._word)
            self._blank(file)

    @classmethod
    def open(cls, mixture: Mixture, settings: CacheSettings) -> DecodedCache:
        """Open the crops kept of a mixture; those of another build of it are others.

        Crops of rows that were erased since are overwritten.

        Args:
            mixture: The mixture.
            settings: Where and how much; processes that share a folder give it the same size.

        Raises:
            LoaderError: The folder can't be written.
        """
        folder = (settings.folder or cache_root()) / "decoded"
        layout = _layout(mixture)
        try:
            file = open_crop_file(folder, layout, settings.size)
            if file is None:
                _log.warning("%s: no room for decoded crops: none is kept", folder)
            return cls(file, mixture)
        except OSError as error:
            raise LoaderError(
                folder, f"can't keep decoded crops ({error.strerror or error})", None,
                "give a folder that can be written: cache={'decoded': True, 'folder': …}",
            ) from error  # fmt: skip

    def load(self, rows: Rows, out: Pixels) -> npt.NDArray[np.bool_]:
        """Copy the crops that are kept.

        Args:
            rows: Rows of the index, int64 ``(n,)``.
            out: RGB, uint8, ``(n, H, W, 3)``, C order; where nothing is kept anything may stand.

        Returns:
            Which were copied, ``(n,)``; never a row that is erased.
        """
        file = self._file
        if file is None:
            return np.zeros(len(rows), bool)
        slots = self._slots(rows)
        marks = file.marks[slots]
        found: npt.NDArray[np.bool_] = (marks != 0) & (slots < file.capacity)
        found &= self._length[rows] > 0
        words = out.reshape(len(rows), -1).view(self._word)
        if found.all():
            # One call without the interpreter's lock; "clip" keeps numpy from a copy in between.
            np.take(self._crops, slots, axis=0, out=words, mode="clip")
        elif found.any():
            for place in np.flatnonzero(found).tolist():
                words[place] = self._crops[slots[place]]
        else:
            return found
        found &= _marks(words) == marks
        return found

    def locate(self, rows: Rows) -> Kept | None:
        """Give where the crops that are kept stand in memory, to be copied and then compared.

        Args:
            rows: Rows of the index, int64 ``(n,)``.

        Returns:
            None once the cache is closed, or where it has no room.
        """
        file = self._file
        if file is None:
            return None
        slots = self._slots(rows)
        marks, crops = file.marks[slots], file.crops
        there = (marks != 0) & (slots < file.capacity) & (self._length[rows] > 0)
        size = crops.shape[1]
        addresses = crops.ctypes.data + np.where(there, slots, 0) * size
        return Kept(addresses, np.where(there, size, 0), marks - _SALT, crops)

    def store(self, row: int, crop: Pixels) -> None:
        """Keep a crop, if its row is one of those that are; a full disk ends the keeping.

        Args:
            row: Of the index.
            crop: RGB, uint8, ``(H, W, 3)``, C order.
        """
        file = self._file
        slot = int(self._slots(row))
        if file is None or self._failed or slot >= file.capacity:
            return
        flat = crop.reshape(1, -1)
        try:
            file.write_crop(slot, memoryview(flat[0]))
            file.write_mark(slot, int(_marks(flat.view(self._word))[0]))
        except OSError as error:
            self._fail(error)
        else:
            self._stored += 1

    def figures(self) -> Mapping[str, float]:
        """Give how many crops were written, the share of rows that has a slot, and their MB."""
        slots = self._file.capacity if self._file is not None else 0
        size = self._file.crops.nbytes if self._file is not None else 0
        return {
            "cache_stored": self._stored,
            "cache_room": min(1.0, slots / max(self._rows, 1)),
            "cache_mb": size / 1e6,
        }

    def close(self) -> None:
        """Let go of the file."""
        file, self._file = self._file, None
        if file is not None:
            del self._crops
            file.close()

    def _slots(self, rows: Rows | int) -> Rows:
        """Give each row's slot, a function of nothing but the row and how many there are."""
        return np.asarray(self._first[rows // _BLOCK] + rows % _BLOCK)

    def blank_all(self) -> None:
        """Overwrite the slots of all erased rows, unmarked ones too: a killed run left those.

        Raises:
            OSError: The disk is full, or can't be written.
        """
        file = self._file
        if file is not None:
            slots = self._slots(np.flatnonzero(self._length == 0))
            for slot in slots[slots < file.capacity].tolist():
                file.write_mark(slot, 0)
                file.write_crop(slot, memoryview(bytes(file.crops.shape[1])))
            file.sync()

    def _blank(self, file: CropFile) -> None:
        """Overwrite what is kept of rows that were erased: they are to be gone everywhere."""
        slots = self._slots(np.flatnonzero(self._length == 0))
        slots = slots[slots < file.capacity]
        empty = memoryview(bytes(file.crops.shape[1]))
        for slot in slots[file.marks[slots] != 0].tolist():
            file.write_crop(slot, empty)
            file.write_mark(slot, 0)

    def _fail(self, error: OSError) -> None:
        with self._lock:
            first, self._failed = not self._failed, True
        if first:
            _log.warning(
                "decoded crops can't be written (%s): no more are kept in this run",
                error.strerror or error,
            )


def blank_erased(mixture: Mixture) -> int:
    """Overwrite what is kept of a mixture's erased rows, in every file of the usual folder.

    Files in a folder that a trainer chose are seen to when a loader opens them.

    Args:
        mixture: The mixture, after the erasure.

    Returns:
        How many files were written.

    Raises:
        OSError: A file can't be written.
    """
    rows = len(mixture.index.length)
    width, height = mixture.crop_size
    written = 0
    for path in sorted((cache_root() / "decoded").glob(f"*{SUFFIX}")):
        about = read_about(path)
        if about.get("mixture") != mixture.fingerprint or about.get("rows") != rows:
            continue
        layout = CropLayout(about, -(-rows // _BLOCK) * _BLOCK, height * width * 3)
        file = open_whole_file(path, layout)
        if file is not None:
            cache = DecodedCache(file, mixture)
            cache.blank_all()
            cache.close()
            written += 1
    return written


def _layout(mixture: Mixture) -> CropLayout:
    width, height = mixture.crop_size
    rows = len(mixture.index.length)
    about = {
        "version": _VERSION, "mixture": mixture.fingerprint, "template": mixture.template,
        "width": width, "height": height, "rows": rows,
        # Another release may decode to other pixels, by a level here and there.
        "decoders": {"simplejpeg": simplejpeg.__version__, "opencv": cv2.__version__},
    }  # fmt: skip
    return CropLayout(about, -(-rows // _BLOCK) * _BLOCK, height * width * 3)


def _word(crop_size: tuple[int, int]) -> npt.DTypeLike:
    """Give the widest unsigned integer that a crop is a whole number of."""
    width, height = crop_size
    size = next(size for size in (8, 4, 2, 1) if width * height * 3 % size == 0)
    return np.dtype(f"<u{size}")


def _marks(words: Words) -> npt.NDArray[np.uint64]:
    """Sum up each crop of ``(n, words)``, modulo 2**64."""
    return np.asarray(np.add.reduce(words, axis=1, dtype=np.uint64) + _SALT)
