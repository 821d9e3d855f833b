"""Stored images by their places in shards: any order, read with few seeks, each one checked."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
import numpy.typing as npt

from fusekit.errors import StoreError
from fusekit.faces.image import encode_crop
from fusekit.loader.crops.decode import UnusableCropError
from fusekit.loader.crops.files import ShardFiles
from fusekit.mixture.index import DIGEST_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from fusekit.loader.crops.decode import Decoder

_BLOCK_BYTES: Final = 256 << 20  # held at once: enough that a shard's images are read in one sweep
_THREADS: Final = 4  # network disks like company; from memory, more only wait for the GIL


class Places(Protocol):
    """Where images stand: columns of one length, such as a mixture's index."""

    @property
    def shard(self) -> npt.NDArray[np.int32]:
        """Number of the shard."""

    @property
    def offset(self) -> npt.NDArray[np.int64]:
        """First byte of the image in the shard."""

    @property
    def length(self) -> npt.NDArray[np.int32]:
        """Bytes of the image."""

    @property
    def format(self) -> npt.NDArray[np.int8]:
        """Code of the image's format: 0 jpg, 1 png, 2 raw (.npy)."""

    @property
    def digest(self) -> npt.NDArray[np.uint8]:
        """First 8 bytes of the image's sha256, ``(N, 8)``."""


@dataclass(frozen=True)
class StoredImages:
    """Images of a store, and what becomes of each when it is exported.

    Attributes:
        shards: Path of each shard, by its number.
        places: Where every image stands.
        size: Width and height in pixels of the images that are decoded.
        decoder_of: By which decoder the image of a row becomes pixels, exported as PNG; None: it
            is exported as it is stored. Threads ask it, so each call gives a decoder of its own.
        name_of: What errors call the image of a row.
    """

    shards: Sequence[Path]
    places: Places
    size: tuple[int, int]
    decoder_of: Callable[[int], Decoder | None]
    name_of: Callable[[int], str]


def read_images(images: StoredImages, rows: npt.NDArray[np.integer]) -> Iterator[bytes]:
    """Read images in the order of ``rows``, as they are exported.

    Args:
        images: All of them.
        rows: Rows of their places; none of an erased image.

    Yields:
        Each image's file. About 256 MiB of them are held at a time.

    Raises:
        StoreError: A shard can't be read, or an image is not what was stored.
    """
    reader = _Reader(images)
    try:
        with ThreadPoolExecutor(_THREADS) as pool:
            for block in split_by_bytes(images.places.length[rows], _BLOCK_BYTES):
                yield from _read_block(reader, pool, rows[block])
    finally:
        reader.files.close()


def _read_block(
    reader: _Reader, pool: ThreadPoolExecutor, rows: npt.NDArray[np.integer]
) -> list[bytes]:
    """Read a block's images in the order of the shards; give them in the order of ``rows``."""
    order = np.lexsort((reader.places.offset[rows], reader.places.shard[rows]))
    shares = np.array_split(order, _THREADS)
    images = [b""] * len(rows)
    read = pool.map(reader.read_all, [rows[share] for share in shares])
    for share, found in zip(shares, read, strict=True):
        for place, image in zip(share.tolist(), found, strict=True):
            images[place] = image
    return images


class _Reader:
    """Reads images and checks each one; any number of threads may share it."""

    def __init__(self, images: StoredImages) -> None:
        self.files, self.places = ShardFiles(images.shards), images.places
        self._images = images

    def read_all(self, rows: npt.NDArray[np.integer]) -> list[bytes]:
        return [self._read(row) for row in rows.tolist()]

    def _read(self, row: int) -> bytes:
        places = self.places
        shard, length = int(places.shard[row]), int(places.length[row])
        try:
            data = self.files.read(shard, int(places.offset[row]), length)
        except OSError as error:
            raise self._damaged(row, f"can't be read: {error.strerror or error}") from error
        if hashlib.sha256(data).digest()[:DIGEST_BYTES] != places.digest[row].tobytes():
            raise self._damaged(row, "its bytes are not those that were stored")
        decoder = self._images.decoder_of(row)
        return data if decoder is None else self._to_png(row, data, decoder)

    def _to_png(self, row: int, data: bytes, decoder: Decoder) -> bytes:
        width, height = self._images.size
        pixels = np.empty((height, width, 3), np.uint8)
        try:
            decoder.decode(data, int(self.places.format[row]), pixels)
        except UnusableCropError as error:
            raise self._damaged(row, f"is no usable crop ({error.detail})") from None
        return encode_crop(pixels, "png")

    def _damaged(self, row: int, found: str) -> StoreError:
        where = f"{self._images.name_of(row)} in {self.files.paths[int(self.places.shard[row])]}"
        return StoreError(
            where, found, None, "fusekit verify names every file that is missing or damaged"
        )


def split_by_bytes(sizes: npt.NDArray[np.integer], most: int) -> list[slice]:
    """Cut a list of sizes into runs of at most ``most`` together; one alone may have more.

    Example:
        >>> [(s.start, s.stop) for s in split_by_bytes(np.array([3, 3, 9, 1]), 6)]
        [(0, 2), (2, 3), (3, 4)]
    """
    ends = np.cumsum(sizes, dtype=np.int64)
    runs, start = [], 0
    while start < len(ends):
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + most, "right")))
        runs.append(slice(start, stop))
        start = stop
    return runs
