"""Perceptual hashes of crops: 128 bits that copies of a picture share in all but a few.

A bit is the sign of one coefficient of the discrete cosine transform (DCT) of the grey inner face,
the lowest 128 frequencies but the mean. Against zero instead of the median, as Zauner has it, a
mirror image only turns the signs of the odd horizontal frequencies: its hash is the picture's with
fixed bits flipped, and needs no second transform.

Reference:
    Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010, section
    3.2.1: the DCT hash.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from fusekit.curate.embed import read_crops
from fusekit.faces.rewarp import Rewarp
from fusekit.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusekit.faces.image import RgbImage
    from fusekit.progress import Report
    from fusekit.storage.folder import Storage
    from fusekit.store.datasets import DatasetInfo

Codes: TypeAlias = npt.NDArray[np.uint64]
"""uint64 ``(N, 2)``: 128 bits a row, bit i in word ``i // 64``."""

HASH_BITS: Final = 128
VERSION: Final = 1

# The inner face of an ArcFace crop: packs of tight crops have black margins, others a background.
_ROWS, _COLUMNS = slice(12, 108), slice(12, 100)
_FREQUENCIES: Final = 16
_FLAT: Final = 4  # variance in squared levels under which signs are noise
_STEPS: Final = 1 << 10  # of a cosine: sums of whole numbers under 2**53 are exact in float64
_BATCH: Final = 128


@dataclass(frozen=True)
class Hashes:
    """The hashes of a dataset's samples.

    Attributes:
        codes: uint64 ``(N, 2)`` in the manifest's order.
        known: bool ``(N,)``; False where a sample is erased or its crop is flat.
    """

    codes: Codes
    known: npt.NDArray[np.bool_]


def hash_crops(crops: npt.NDArray[np.uint8]) -> Hashes:
    """Hash crops; the same pixels give the same bits on any machine and in any batch.

    Args:
        crops: uint8 ``(N, 112, 112, 3)`` RGB of the ArcFace template.

    Example:
        >>> ramp = np.broadcast_to(np.arange(112, dtype=np.uint8)[:, None], (1, 112, 112, 3))
        >>> hashes = hash_crops(ramp.swapaxes(1, 2)[..., :3])
        >>> hashes.codes.shape, hashes.known.tolist()
        ((1, 2), [True])
    """
    inner = crops[:, _ROWS, _COLUMNS].astype(np.int32)
    grey = (299 * inner[..., 0] + 587 * inner[..., 1] + 114 * inner[..., 2] + 500) // 1000
    pixels = grey.astype(np.float64)  # (N, H, W) of whole numbers
    across = pixels.reshape(-1, pixels.shape[2]) @ _basis(pixels.shape[2]).T  # (N*H, F)
    across = across.reshape(len(pixels), pixels.shape[1], _FREQUENCIES)
    spectrum = _basis(pixels.shape[1]) @ across  # (N, F, F): down, across
    down, right = _frequencies()
    count = pixels[0].size if len(pixels) else 1
    total, squares = pixels.sum(axis=(1, 2)), np.square(pixels).sum(axis=(1, 2))
    known = count * squares - total * total > _FLAT * count * count
    return Hashes(_pack(spectrum[:, down, right] > 0), known)


def mirror_mask() -> Codes:
    """Give the bits that differ between a picture and its mirror image: uint64 ``(2,)``."""
    odd = _frequencies()[1] % 2 == 1
    return np.asarray(_pack(odd[None])[0])


def distances(a: Codes, b: Codes) -> npt.NDArray[np.int16]:
    """Count the bits in which hashes differ, of a picture or of its mirror image if that is less.

    Args:
        a: ``(N, 2)``.
        b: ``(N, 2)``.

    Returns:
        int16 ``(N,)``.
    """
    differing = a ^ b
    counts = [
        np.bitwise_count(differing ^ mask).sum(axis=1, dtype=np.int16)
        for mask in (np.zeros(2, np.uint64), mirror_mask())
    ]
    return np.asarray(np.minimum(*counts))


def hash_dataset(storage: Storage, info: DatasetInfo, threads: int, report: Report) -> Hashes:
    """Hash every crop of a dataset, each shard read once from front to back.

    Args:
        storage: The store.
        info: The dataset.
        threads: How many units are read at once; the result does not depend on it.
        report: Told of progress.

    Raises:
        StoreError: A crop is damaged.
    """
    stage = f"hash {info.name}"
    parts: list[Hashes] = []
    done = 0
    report(Progress(stage, done, info.samples, "samples"))
    with ThreadPoolExecutor(threads) as pool:
        waiting = [
            pool.submit(_hash_unit, storage, info.name, info.template, unit)
            for unit in range(info.units)
        ]
        try:
            for future in waiting:
                parts.append(future.result())
                done += len(parts[-1].codes)
                report(Progress(stage, done, info.samples, "samples"))
        finally:
            for future in waiting:
                future.cancel()
    return join_hashes(parts)


def join_hashes(parts: list[Hashes]) -> Hashes:
    """Put hashes of consecutive samples one behind another."""
    return Hashes(
        np.concatenate([np.zeros((0, 2), np.uint64), *(p.codes for p in parts)]),
        np.concatenate([np.zeros(0, np.bool_), *(p.known for p in parts)]),
    )


def _hash_unit(storage: Storage, dataset: str, template: str, unit: int) -> Hashes:
    rewarp = Rewarp.of(template)
    crops = (crop for _, crop in read_crops(storage, dataset, template, unit))
    return join_hashes([_hash_batch(batch, rewarp) for batch in _batches(crops)])


def _batches(crops: Iterator[RgbImage | None]) -> Iterator[list[RgbImage | None]]:
    batch: list[RgbImage | None] = []
    for crop in crops:
        batch.append(crop)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _hash_batch(crops: list[RgbImage | None], rewarp: Rewarp) -> Hashes:
    there = np.array([crop is not None for crop in crops])
    codes = np.zeros((len(crops), 2), np.uint64)
    if there.any():
        found = hash_crops(np.stack([rewarp(crop) for crop in crops if crop is not None]))
        codes[there] = found.codes
        there[there] = found.known
    return Hashes(codes, there)


def _basis(pixels: int) -> npt.NDArray[np.float64]:
    """Give the DCT's cosines in whole steps: (F, pixels)."""
    at = 2 * np.arange(pixels) + 1
    turns = np.pi * np.arange(_FREQUENCIES)[:, None] * at / (2 * pixels)
    return np.asarray(np.rint(np.cos(turns) * _STEPS))


def _frequencies() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """List the 128 lowest frequencies but the mean, by their sum: down and across."""
    down, right = (axis.ravel() for axis in np.mgrid[:_FREQUENCIES, :_FREQUENCIES])
    order = np.lexsort((down, down + right))[1 : HASH_BITS + 1]
    return down[order], right[order]


def _pack(bits: npt.NDArray[np.bool_]) -> Codes:
    packed = np.packbits(bits, axis=1, bitorder="little")  # (N, 16)
    return np.ascontiguousarray(packed).view("<u8").astype(np.uint64).reshape(len(bits), 2)
