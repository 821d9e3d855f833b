"""What the machine could do with a mixture's crops if there were nothing else to do."""

from __future__ import annotations

from itertools import cycle, islice
from time import perf_counter
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import numpy as np

from fusekit.faces.rewarp import Rewarp
from fusekit.loader.crops.decode import CropDecoder, RewarpDecoder, UnusableCropError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import ThreadPoolExecutor

    import numpy.typing as npt

    from fusekit.loader.crops.decode import Decoder, Pixels
    from fusekit.loader.crops.files import ShardSource
    from fusekit.mixture.mixture import Mixture

_PIECE: Final = 64  # crops between two looks at the clock
_MOST_BYTES: Final = 256_000_000
_MOST_DECODED: Final = 2048  # crops: 77 MB, more than any processor's cache


class Rate(NamedTuple):
    """Images that were gone through, and the seconds it took."""

    images: int
    seconds: float


class StoredCrop(NamedTuple):
    """A crop as it is stored.

    Attributes:
        data: Its bytes.
        code: Their format.
        source: Source index of its dataset.
    """

    data: bytes
    code: int
    source: int


class Limit(Protocol):
    """One piece of the loader's work, by itself."""

    def work(self, thread: int) -> int:
        """Go through some crops; give how many."""
        ...


class Reading:
    """Read crops from their shards and keep nothing.

    Args:
        mixture: The mixture.
        rows: Which rows, in the order in which they are read.
        source: Where its shards are.
        threads: How many threads read.

    Raises:
        OSError: A shard is not there or can't be read.
    """

    def __init__(
        self, mixture: Mixture, rows: npt.NDArray[np.int64], source: ShardSource, threads: int
    ) -> None:
        index = mixture.index
        columns = [column[rows].tolist() for column in (index.shard, index.offset, index.length)]
        self._source = source
        self._places = list(zip(*columns, strict=True))
        self._shares = [cycle(self._places[k::threads]) for k in range(threads)]

    def work(self, thread: int) -> int:
        """Read some crops."""
        for shard, offset, length in islice(self._shares[thread], _PIECE):
            self._source.read(shard, offset, length)
        return _PIECE

    def once(self, thread: int, threads: int) -> list[tuple[int, bytes]]:
        """Read one thread's share from first to last; give the places and bytes."""
        return [
            (place, self._source.read(*self._places[place]))
            for place in range(thread, len(self._places), threads)
        ]


class Decoding:
    """Decode crops that are in memory, each over the last.

    Args:
        mixture: The mixture.
        crops: What is decoded.
        threads: How many threads decode.
    """

    def __init__(self, mixture: Mixture, crops: Sequence[StoredCrop], threads: int) -> None:
        width, height = mixture.crop_size
        self._out = [np.empty((height, width, 3), np.uint8) for _ in range(threads)]
        self._decoders = [_decoders(mixture) for _ in range(threads)]
        self._shares = [cycle(crops[k::threads]) for k in range(threads)]

    def work(self, thread: int) -> int:
        """Decode some crops; one that gives no pixels counts too."""
        out, decoders = self._out[thread], self._decoders[thread]
        for data, code, source in islice(self._shares[thread], _PIECE):
            try:
                decoders[source].decode(data, code, out)
            except UnusableCropError:
                continue
        return _PIECE


class Copying:
    """Copy crops that are decoded already into batches.

    Args:
        mixture: The mixture.
        crops: Which crops.
        threads: How many threads copy.
    """

    def __init__(self, mixture: Mixture, crops: Sequence[StoredCrop], threads: int) -> None:
        width, height = mixture.crop_size
        self._batches = [np.zeros((256, height, width, 3), np.uint8) for _ in range(threads)]
        decoders, found = _decoders(mixture), []
        for data, code, source in crops[:_MOST_DECODED]:
            out = np.zeros((height, width, 3), np.uint8)
            try:
                decoders[source].decode(data, code, out)
            except UnusableCropError:
                continue
            found.append(out)
        found = found or [np.zeros((height, width, 3), np.uint8)]
        self._shares = [cycle(found[k:] + found[:k]) for k in range(threads)]
        self._places: list[cycle[Pixels]] = [cycle(list(batch)) for batch in self._batches]

    def work(self, thread: int) -> int:
        """Copy some crops."""
        shares, places = self._shares[thread], self._places[thread]
        for crop, place in islice(zip(shares, places, strict=False), _PIECE):
            np.copyto(place, crop)
        return _PIECE


def read_all(
    mixture: Mixture, rows: npt.NDArray[np.int64], source: ShardSource, pool: ThreadPoolExecutor,
    threads: int,
) -> tuple[list[StoredCrop], float]:  # fmt: skip
    """Read crops into memory, with so many threads, whether the system has them cached or not.

    Args:
        mixture: The mixture.
        rows: Which rows; :func:`readable_rows` gives them.
        source: Where its shards are.
        pool: Its threads.
        threads: How many.

    Returns:
        The crops in the order of the rows, and the seconds it took.

    Raises:
        OSError: A shard is not there or can't be read.
    """
    reading = Reading(mixture, rows, source, threads)
    began = perf_counter()
    found = [pool.submit(reading.once, k, threads) for k in range(threads)]
    data = {place: part for share in found for place, part in share.result()}
    seconds = perf_counter() - began
    codes = mixture.index.format[rows].tolist()
    sources = mixture.index.source[rows].tolist()
    crops = [StoredCrop(data[i], codes[i], sources[i]) for i in range(len(rows))]
    return crops, seconds


def readable_rows(mixture: Mixture, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Give the first rows that fit in memory, without those that were erased."""
    rows = rows[mixture.index.length[rows] > 0]
    held = np.cumsum(mixture.index.length[rows], dtype=np.int64)
    return rows[: max(1, int(np.searchsorted(held, _MOST_BYTES, "right")))]


def run_for(limit: Limit, pool: ThreadPoolExecutor, threads: int, seconds: float) -> Rate:
    """Let every thread do one piece of work over and over for so long."""
    began = perf_counter()

    def run(thread: int) -> int:
        done = 0
        while True:
            done += limit.work(thread)
            if perf_counter() - began >= seconds:
                return done

    tasks = [pool.submit(run, k) for k in range(threads)]
    images = sum(task.result() for task in tasks)
    return Rate(images, perf_counter() - began)


def loop_for(take: Callable[[], int], seconds: float) -> Rate:
    """Take batches one after another for so long, at least one."""
    began, images = perf_counter(), 0
    while True:
        images += take()
        if (passed := perf_counter() - began) >= seconds:
            return Rate(images, passed)


def _decoders(mixture: Mixture) -> list[Decoder]:
    """Make one thread's decoder of each source, as the loader does."""
    width, height = mixture.crop_size
    templates = [source.template for source in mixture.sources]
    made: dict[str, Decoder] = {mixture.template: CropDecoder(height, width)}
    for template in templates:
        if template not in made:
            made[template] = RewarpDecoder(Rewarp.of(template))
    return [made[template] for template in templates]
