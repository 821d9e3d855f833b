"""Fill a batch's memory: read byte ranges, decode, and stand in for rows that give nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from threading import Lock, local
from time import perf_counter_ns
from typing import TYPE_CHECKING, Final, NamedTuple

import cv2
import numpy as np

from fusekit.errors import LoaderError
from fusekit.faces.rewarp import Rewarp
from fusekit.loader.crops.augmenter import Augmenter
from fusekit.loader.crops.decode import RAW, CropDecoder, RewarpDecoder, UnusableCropError
from fusekit.loader.crops.verify import Verifier

if TYPE_CHECKING:
    from fusekit.loader.crops.augment import Augment
    from fusekit.loader.crops.decode import Decoder, Layout, Pixels
    from fusekit.loader.crops.decoded import DecodedCache
    from fusekit.loader.crops.files import ShardSource
    from fusekit.loader.crops.memory import Memory
    from fusekit.loader.crops.verify import Verify
    from fusekit.loader.order.order import Order, Plan
    from fusekit.loader.order.shuffle import Rows
    from fusekit.mixture.mixture import Mixture

_RUN: Final = 32  # crops taken from the cache, or split by colour, in one call: 1.2 MB
_MOST_STAND_INS: Final = 64


@dataclass(frozen=True, order=True)
class BadCrop:
    """A row that gave no pixels and was stood in for.

    Attributes:
        key: The sample.
        shard: File name of its shard.
        reason: ``erased``, ``undecodable``, ``size``, ``short``, ``digest`` or ``format``.
        detail: What was found.
    """

    key: str
    shard: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Draft:
    """A batch while threads fill it: each fills other places, so they share it without locks.

    Attributes:
        plan: What the order gave.
        images: The batch's memory, ``(b, 3, 112, 112)`` or ``(b, 112, 112, 3)``.
        rows: Rows that were read: the plan's, but where another row stood in.
        bad: The rows that were stood in for.
    """

    plan: Plan
    images: Pixels
    rows: Rows
    bad: list[BadCrop] = field(default_factory=list)


@dataclass
class Work:
    """What the decoding threads have done, in counts and nanoseconds summed over the threads."""

    crops: int = 0
    cached: int = 0
    bytes: int = 0
    read: int = 0
    decode: int = 0
    rest: int = 0

    def add(self, other: Work) -> None:
        """Add another's counts."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


@dataclass(frozen=True)
class ReaderSettings:
    """How crops are read.

    Attributes:
        layout: Of the images.
        verify: Which crops are compared with their digests.
        augment: What is done to the crops.
    """

    layout: Layout
    verify: Verify
    augment: Augment


class CropReader:
    """Read a mixture's crops, from any number of threads.

    Args:
        mixture: The mixture, opened.
        order: The order that stand-ins follow.
        source: Where the shards are.
        memory: Where batches go.
        settings: How they are read.
        cache: Crops that were decoded earlier; None: every crop is decoded.
    """

    def __init__(
        self,
        mixture: Mixture,
        order: Order,
        source: ShardSource,
        memory: Memory,
        settings: ReaderSettings,
        cache: DecodedCache | None = None,
    ) -> None:
        self._mixture, self._index, self._order = mixture, mixture.index, order
        self._source, self._memory = source, memory
        self._settings, self._cache = settings, cache
        self._verifier = Verifier(settings.verify, mixture.index, lambda: _digests(mixture), source)
        self._width, self._height = mixture.crop_size
        self._templates = [source.template for source in mixture.sources]  # by source index
        others = sorted(set(self._templates) - {mixture.template})
        self._rewarps = {template: Rewarp.of(template) for template in others}
        self._threads = local()
        self._lock = Lock()
        self.work = Work()

    def draft(self, plan: Plan) -> Draft:
        """Take the memory of a batch; whatever stands in it is filled over."""
        return Draft(plan, self._memory.take(), plan.rows.copy())

    def fill(self, draft: Draft, start: int, stop: int) -> None:
        """Read and decode the rows at places ``start`` to ``stop`` of a batch.

        Raises:
            LoaderError: A shard can't be read, or too many rows in succession give no pixels.
        """
        tools = self._tools()
        work = Work()
        for first in range(start, stop, _RUN):
            self._fill_run(draft, slice(first, min(first + _RUN, stop)), tools, work)
        with self._lock:
            self.work.add(work)

    def at(self, step: int) -> None:
        """Be told that the trainer has come to a step."""
        self._source.at(step)

    def figures(self) -> dict[str, float]:
        """Give the counts of the shards' source and of the cache."""
        figures = dict(self._source.figures())
        return figures | (dict(self._cache.figures()) if self._cache is not None else {})

    def let_go(self) -> None:
        """Stop waiting for shards: what is being read ends with an error."""
        self._source.close()

    def close(self) -> None:
        """Close the shards and the cache."""
        self._source.close()
        if self._cache is not None:
            self._cache.close()

    def _fill_run(self, draft: Draft, places: slice, tools: _Tools, work: Work) -> None:
        began, before = perf_counter_ns(), work.read + work.decode
        rows, target = draft.plan.rows[places], draft.images[places]
        crops = target if tools.run is None else tools.run[: len(rows)]
        kept = [False] * len(rows)
        if self._cache is not None:
            kept = self._cache.load(rows, crops).tolist()
        where = self._where(rows) if not all(kept) else []
        fetched = self._fetch(where, kept) if self._source.gathers else {}
        edits = tools.augmenter and tools.augmenter.choose(draft.plan.keys[places])
        for place, row in enumerate(rows.tolist() if where or edits else ()):
            crop = crops[place]
            if not kept[place]:
                read = _Read(row, where[place], fetched.get(place))
                self._decode(draft, places.start + place, read, crop, tools, work)
            for edit in edits[place] if edits else ():
                edit(crop)
        if tools.run is not None:
            _split(crops, target)
        work.crops += len(rows)
        work.cached += sum(kept)
        work.rest += perf_counter_ns() - began - (work.read + work.decode - before)

    def _where(self, rows: Rows) -> list[_Where]:
        index = self._index
        named = (index.shard, index.offset, index.length, index.format, index.source)
        columns = [column[rows].tolist() for column in named]
        return [_Where(*values) for values in zip(*columns, strict=True)]

    def _fetch(self, where: list[_Where], kept: list[bool]) -> dict[int, bytes]:
        """Read the crops of a run at once, from where a request takes longer than a crop."""
        places = [k for k, at in enumerate(where) if not kept[k] and at.length > 0]
        ranges = [(where[k].shard, where[k].offset, where[k].length) for k in places]
        return dict(zip(places, self._source.gather(ranges), strict=True))

    def _decode(
        self, draft: Draft, place: int, read: _Read, crop: Pixels, tools: _Tools, work: Work
    ) -> None:
        try:
            try:
                self._pixels(read, crop, tools, work)
            except UnusableCropError as error:
                if error.reason == "erased" or not self._source.distrust(read.at.shard):
                    raise
                self._pixels(read._replace(data=None), crop, tools, work)
            if self._cache is not None:
                self._cache.store(read.row, crop)
        except UnusableCropError as error:
            self._stand_in(draft, place, crop, tools, error)
        except LoaderError:
            raise  # it says which row
        except Exception as error:
            error.add_note(f"while reading {self._named(read.row)}")
            raise

    def _pixels(self, read: _Read, crop: Pixels, tools: _Tools, work: Work) -> None:
        at, began = read.at, perf_counter_ns()
        data = self._bytes(read)
        decoding = perf_counter_ns()
        work.read += decoding - began
        tools.decoders[at.source].decode(data, at.format, crop)
        work.decode += perf_counter_ns() - decoding
        work.bytes += at.length

    def _tools(self) -> _Tools:
        """Give this thread's own decoders and memory."""
        tools: _Tools | None = getattr(self._threads, "tools", None)
        if tools is None:
            tools = self._threads.tools = self._make_tools()
        return tools

    def _make_tools(self) -> _Tools:
        height, width, settings = self._height, self._width, self._settings
        plain = CropDecoder(height, width)
        others = {template: RewarpDecoder(rewarp) for template, rewarp in self._rewarps.items()}
        size = (_RUN, height, width, 3)
        return _Tools(
            decoders=[others.get(template, plain) for template in self._templates],
            augmenter=(
                Augmenter(settings.augment, height, width) if settings.augment.active else None
            ),
            run=np.empty(size, np.uint8) if settings.layout == "chw" else None,
        )  # fmt: skip

    def _bytes(self, read: _Read) -> bytes | memoryview:
        at, data = read.at, read.data
        if at.length <= 0:
            raise UnusableCropError("erased", "its length in the index is 0")
        try:
            if data is None:
                # Of raw pixels nothing is left to do but a copy: straight from the shard's pages.
                give = self._source.view if at.format == RAW else self._source.read
                data = give(at.shard, at.offset, at.length)
            if len(data) < at.length:
                raise UnusableCropError("short", f"{len(data)} of {at.length} bytes are there")
            self._verifier.check(read.row, at.shard, data)
        except OSError as error:
            raise LoaderError(
                self._named(read.row), f"can't be read: {error.strerror or error}", None,
                "fusekit verify names every file that is missing or damaged",
            ) from error  # fmt: skip
        return data

    def _stand_in(
        self, draft: Draft, place: int, crop: Pixels, tools: _Tools, error: UnusableCropError
    ) -> None:
        """Fill a place with the next row of its source that gives pixels.

        That row's position is not consumed: it comes again in its turn, so no count changes.
        """
        plan, index = draft.plan, self._index
        first = int(plan.rows[place])
        draft.bad.append(self._bad(first, error))
        tries = 0
        for row in islice(self._order.stand_ins(plan, place), _MOST_STAND_INS):
            tries += 1
            at = _Where(
                int(index.shard[row]), int(index.offset[row]), int(index.length[row]),
                int(index.format[row]), int(index.source[row]),
            )  # fmt: skip
            try:
                tools.decoders[at.source].decode(self._bytes(_Read(row, at)), at.format, crop)
            except UnusableCropError:
                continue  # counted in its own turn
            draft.rows[place] = row
            return
        raise LoaderError(
            self._named(first), f"is no usable crop ({error.detail})",
            f"one, or one among the {tries} rows after it",
            "fusekit verify names every file that is missing or damaged",
        )  # fmt: skip

    def _bad(self, row: int, error: UnusableCropError) -> BadCrop:
        shard = self._source.name(int(self._index.shard[row])).rpartition("/")[2]
        return BadCrop(self._mixture.key(row), shard, error.reason, error.detail)

    def _named(self, row: int) -> str:
        shard = int(self._index.shard[row])
        return f"{self._mixture.key(row)} in {self._source.name(shard)}"


class _Where(NamedTuple):
    """What the index says of one row."""

    shard: int
    offset: int
    length: int
    format: int
    source: int


class _Read(NamedTuple):
    """A row to read: what the index says of it, and its bytes where they are here already."""

    row: int
    at: _Where
    data: bytes | memoryview | None = None


@dataclass(frozen=True)
class _Tools:
    """What one thread decodes with.

    Attributes:
        decoders: Of each source.
        augmenter: None: crops stay as they are.
        run: Memory of a run beside the batch, where colours are split; None: it needs none.
    """

    decoders: list[Decoder]
    augmenter: Augmenter | None
    run: Pixels | None


def _split(crops: Pixels, out: Pixels) -> None:
    """Split the colours of a run: ``(n, H, W, 3)`` to ``(n, 3, H, W)``, in one call.

    Each crop is one row of a picture, so the planes go straight to where they belong.
    """
    count, height, width, _ = crops.shape
    planes = out.reshape(count, 3, height * width)
    cv2.split(crops.reshape(count, height * width, 3), [planes[:, c] for c in range(3)])


def _digests(mixture: Mixture) -> list[tuple[str, int]]:
    shards = mixture.shards
    return list(zip(shards["sha256"].to_pylist(), shards["size"].to_pylist(), strict=True))
