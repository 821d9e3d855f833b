"""Fill whole runs of places in a few calls of the compiled libraries, where they can be used.

What a call does holds no lock, so the threads don't wait for one another; what is left, damaged
crops and other formats, goes the ordinary way, crop by crop, which knows what to do with each.
"""

from __future__ import annotations

from threading import local
from time import perf_counter_ns
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from fusekit.loader.crops.decode import JPG, RAW, npy_head
from fusekit.loader.crops.files import ShardFiles
from fusekit.loader.crops.native import find_native
from fusekit.loader.crops.native_copy import find_copier

if TYPE_CHECKING:
    import numpy.typing as npt

    from fusekit.loader.crops.decode import Pixels
    from fusekit.loader.crops.decoded import DecodedCache
    from fusekit.loader.crops.files import ShardSource
    from fusekit.loader.crops.native import NativeDecoder
    from fusekit.loader.crops.native_copy import NativeCopier
    from fusekit.loader.crops.work import Work
    from fusekit.loader.order.shuffle import Rows
    from fusekit.mixture.mixture import Mixture

    Found: TypeAlias = npt.NDArray[np.bool_]

_CHUNK: Final = 16  # crops decoded before they are kept: 600 KB, in a cache of the processor


class Runs:
    """Fill runs of places; any number of threads do so at once. :func:`find_runs` makes it.

    Args:
        mixture: The mixture.
        source: Where the shards are; None: nothing may be taken from shards without being looked
            at, so only the cache is used.
        cache: Crops that were decoded earlier; None: there are none.
        decoder: Decodes JPEG crops; None: they go the ordinary way.
        copier: Copies pixels; None: they go the ordinary way, and there is no cache.
    """

    def __init__(
        self,
        mixture: Mixture,
        source: ShardFiles | None,
        cache: DecodedCache | None,
        decoder: NativeDecoder | None,
        copier: NativeCopier | None,
    ) -> None:
        self._index, self._source, self._cache = mixture.index, source, cache
        self._decoder, self._copier = decoder, copier
        width, height = mixture.crop_size
        self._shape = (height, width, 3)
        self._head = npy_head(self._shape)
        # By source: crops of another template are to be brought to the mixture's.
        self._plain = np.array([each.template == mixture.template for each in mixture.sources])
        self._threads = local()

    def fill(self, rows: Rows, out: Pixels, flips: Found | None, work: Work) -> Found:
        """Fill the places of some rows.

        Args:
            rows: Rows of the index, int64, ``(n,)``.
            out: Where the pixels go, RGB, uint8, ``(n, H, W, 3)`` or ``(n, 3, H, W)``, C order.
            flips: Which crops are mirrored left to right, ``(n,)``; None: none of them.
            work: What is done is added to its counts, but for the crops.

        Returns:
            Which places are filled, ``(n,)``; in the others anything may stand.
        """
        if self._cache is None:
            return self._from_shards(rows, None, out, flips, work)
        filled = self._from_cache(self._cache, rows, out, flips, work)
        for first in range(0, len(rows) if self._source is not None else 0, _CHUNK):
            part = slice(first, first + _CHUNK)
            if not filled[part].all():
                some = None if flips is None else flips[part]
                filled[part] |= self._decode_and_keep(
                    self._cache, rows[part], filled[part], out[part], some, work
                )
        return filled

    def _from_cache(
        self, cache: DecodedCache, rows: Rows, out: Pixels, flips: Found | None, work: Work
    ) -> Found:
        began = perf_counter_ns()
        kept = cache.locate(rows)
        if kept is None or self._copier is None:
            return np.zeros(len(rows), np.bool_)
        made = self._copier.copy(kept.addresses, kept.lengths, out, flips, sums=kept.sums)
        work.read += perf_counter_ns() - began
        work.cached += int(made.sum())
        return made

    def _decode_and_keep(
        self,
        cache: DecodedCache,
        rows: Rows,
        filled: Found,
        out: Pixels,
        flips: Found | None,
        work: Work,
    ) -> Found:
        """Decode the places that are not filled, and keep the crops as they are stored."""
        crops = self._scratch()[: len(rows)]
        made = self._from_shards(rows, filled, crops, None, work)
        if not made.any() or self._copier is None:
            return made
        for place in np.flatnonzero(made).tolist():
            cache.store(int(rows[place]), crops[place])
        size = crops[0].size
        addresses = crops.ctypes.data + np.arange(len(rows)) * size
        return self._copier.copy(addresses, np.where(made, size, 0), out, flips)

    def _from_shards(
        self, rows: Rows, filled: Found | None, out: Pixels, flips: Found | None, work: Work
    ) -> Found:
        """Decode JPEG crops and copy raw ones, but those that are filled."""
        began, index = perf_counter_ns(), self._index
        wanted = self._plain[index.source[rows]]
        if filled is not None:
            wanted = wanted & ~filled
        codes = index.format[rows]
        jpg = wanted & (codes == JPG) if self._decoder is not None else np.zeros_like(wanted)
        raw = wanted & (codes == RAW) if self._copier is not None else np.zeros_like(wanted)
        made = np.zeros(len(rows), np.bool_)
        if self._source is None or not (jpg | raw).any():
            return made
        shards, offsets = index.shard[rows].astype(np.int64), index.offset[rows]
        lengths = np.where(jpg | raw, index.length[rows], 0).astype(np.int64)
        located = self._source.locate(shards, offsets, lengths)
        read = perf_counter_ns()
        if self._decoder is not None and jpg.any():
            some = np.where(jpg, located.lengths, 0)
            made |= self._decoder.decode(located.addresses, some, out, flips)
        if self._copier is not None and raw.any():
            some = np.where(raw, located.lengths, 0)
            made |= self._copier.copy(located.addresses, some, out, flips, head=self._head)
        work.decode += perf_counter_ns() - read
        work.read += read - began
        work.bytes += int(lengths[made].sum())
        return made

    def _scratch(self) -> Pixels:
        """Give this thread's own memory of a chunk."""
        crops: Pixels | None = getattr(self._threads, "crops", None)
        if crops is None:
            crops = self._threads.crops = np.empty((_CHUNK, *self._shape), np.uint8)
        return crops


def find_runs(
    mixture: Mixture, source: ShardSource, cache: DecodedCache | None, *, checked: bool
) -> Runs | None:
    """Give what fills runs of places; None where there is nothing to do it with.

    Args:
        mixture: The mixture.
        source: Where the shards are.
        cache: Crops that were decoded earlier; None: there are none.
        checked: Crops from shards are compared with their digests, one by one.
    """
    width, height = mixture.crop_size
    # On this machine, so that a crop may be in memory; and taken as it is.
    files = source if isinstance(source, ShardFiles) and not checked else None
    decoder, copier = find_native(height, width), find_copier(height, width)
    if cache is not None:
        fits = copier is not None and copier.sums
        return Runs(mixture, files, cache, decoder, copier) if fits else None
    if files is None or (decoder is None and copier is None):
        return None
    return Runs(mixture, files, None, decoder, copier)
