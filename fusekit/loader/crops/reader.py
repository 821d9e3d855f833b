"""Fill a batch's memory: read byte ranges, decode, and stand in for rows that give nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from threading import Lock, local
from time import perf_counter_ns
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import cv2
import numpy as np

from fusekit.errors import LoaderError
from fusekit.faces.rewarp import Rewarp
from fusekit.loader.crops.augmenter import Augmenter
from fusekit.loader.crops.decode import CropDecoder, RewarpDecoder, UnusableCropError
from fusekit.loader.crops.runs import find_runs
from fusekit.loader.crops.verify import Verifier
from fusekit.loader.crops.work import Work

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from fusekit.loader.crops.augment import Augment
    from fusekit.loader.crops.augmenter import Edit
    from fusekit.loader.crops.decode import Layout, Pixels
    from fusekit.loader.crops.decoded import DecodedCache
    from fusekit.loader.crops.files import ShardSource
    from fusekit.loader.crops.memory import Memory
    from fusekit.loader.crops.verify import Verify
    from fusekit.loader.order.order import Order, Plan
    from fusekit.loader.order.shuffle import Rows
    from fusekit.mixture.mixture import Mixture

    Decode: TypeAlias = Callable[[bytes | memoryview, int, Pixels], None]
    Found: TypeAlias = npt.NDArray[np.bool_]

_RUN: Final = 16  # crops taken from the cache, or split by colour, in one call: 600 KB
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
        verifier = Verifier(settings.verify, mixture.index, lambda: _digests(mixture), source)
        self._check = verifier.check if verifier.compares else None
        self._width, self._height = mixture.crop_size
        self._templates = [source.template for source in mixture.sources]  # by source index
        others = sorted(set(self._templates) - {mixture.template})
        self._rewarps = {template: Rewarp.of(template) for template in others}
        self._runs = find_runs(mixture, source, cache, checked=self._check is not None)
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
        began, tools, work = perf_counter_ns(), self._tools(), Work()
        rows, keys = draft.plan.rows[start:stop], draft.plan.keys[start:stop]
        edits: Sequence[Sequence[Edit]] = ()
        filled = None
        if self._runs is not None and (tools.augmenter is None or tools.augmenter.only_flips):
            # Nothing is done to a crop but what is done as it is copied: all of them at once.
            flips = None if tools.augmenter is None else tools.augmenter.flips(keys)
            filled = self._runs.fill(rows, draft.images[start:stop], flips, work)
        if filled is None or not filled.all():
            if tools.augmenter is not None:
                edits = tools.augmenter.choose(keys)
            for first in range(start, stop, _RUN):
                places = slice(first, min(first + _RUN, stop))
                part = slice(first - start, places.stop - start)
                some = None if filled is None else filled[part]
                if some is None or not some.all():
                    self._fill_run(draft, places, edits[part], some, tools, work)
        work.crops += len(rows)
        work.rest += perf_counter_ns() - began - work.read - work.decode
        with self._lock:
            self.work.add(work)

    def at(self, step: int) -> None:
        """Be told that the trainer has come to a step."""
        self._source.at(step)

    def figures(self) -> dict[str, float]:
        """Give the counts of the shards' source and of the cache.

        ``native`` is 1 where runs of crops go through the compiled libraries, else 0.
        """
        figures = {"native": int(self._runs is not None), **self._source.figures()}
        return figures | (dict(self._cache.figures()) if self._cache is not None else {})

    def let_go(self) -> None:
        """Stop waiting for shards: what is being read ends with an error."""
        self._source.close()

    def close(self) -> None:
        """Close the shards and the cache."""
        self._source.close()
        if self._cache is not None:
            self._cache.close()

    def _fill_run(
        self,
        draft: Draft,
        places: slice,
        edits: Sequence[Sequence[Edit]],
        filled: Found | None,
        tools: _Tools,
        work: Work,
    ) -> None:
        """Fill the places of a run, but those that are filled."""
        rows, target = draft.plan.rows[places], draft.images[places]
        crops = target if tools.run is None else tools.run[: len(rows)]
        done = filled
        if done is None and self._runs is not None:
            done = self._runs.fill(rows, crops, None, work)
        elif done is None and self._cache is not None:
            began = perf_counter_ns()
            done = self._cache.load(rows, crops)
            work.cached += int(done.sum())
            work.read += perf_counter_ns() - began
        if done is None or not done.all():
            self._decode_run(draft, places.start, crops, edits, done, tools, work)
        if filled is None and done is not None and edits:
            for place in np.flatnonzero(done).tolist():
                _edit(crops[place], edits[place])
        if tools.run is not None:
            _split(crops, target, filled)

    def _decode_run(
        self,
        draft: Draft,
        first: int,
        crops: Pixels,
        edits: Sequence[Sequence[Edit]],
        filled: Found | None,
        tools: _Tools,
        work: Work,
    ) -> None:
        """Read and decode the crops of a run, but those that are filled.

        What is done here for each crop is done under the interpreter's lock, which the other
        threads wait for: 5 us of it are 5% of the speed.
        """
        source, decode, check = self._source, tools.decode, self._check
        wanted = self._wanted(draft.plan.rows[first : first + len(crops)], filled)
        reading = decoding = size = 0
        done = perf_counter_ns()
        data: Sequence[bytes | memoryview] = ()
        if source.gathers:
            # At least a byte: a range of none can't be asked for.
            data = source.gather([(at.shard, at.offset, max(at.length, 1)) for at in wanted])
        view = source.view
        for k, at in enumerate(wanted):
            place, row, shard, offset, length, code, dataset = at
            try:
                piece = data[k] if data else view(shard, offset, length)
                if len(piece) != length or not length:
                    raise _unusable(piece, length)  # noqa: TRY301 - the same way as other findings
                if check is not None:
                    check(row, shard, piece)
                read = perf_counter_ns()
                decode[dataset](piece, code, crops[place])
                reading, decoding = reading + read - done, decoding - read
                done = perf_counter_ns()
                decoding, size = decoding + done, size + length
            except (UnusableCropError, OSError) as error:
                self._mend(draft, first + place, at, crops[place], tools, error)
                done = perf_counter_ns()
            except LoaderError:
                raise  # it says which row
            except Exception as error:
                error.add_note(f"while reading {self._named(row)}")
                raise
            if self._cache is not None and draft.rows[first + place] == row:
                self._cache.store(row, crops[place])
            if edits:
                _edit(crops[place], edits[place])  # while the crop is in the nearest cache
        work.read, work.decode = work.read + reading, work.decode + decoding
        work.bytes += size

    def _wanted(self, rows: Rows, filled: Found | None) -> list[_Wanted]:
        """Look up where the crops of some rows are, but those that are filled."""
        places = np.arange(len(rows)) if filled is None else np.flatnonzero(~filled)
        rows, index = rows[places], self._index
        named = (index.shard, index.offset, index.length, index.format, index.source)
        columns = [places.tolist(), rows.tolist(), *(column[rows].tolist() for column in named)]
        return [_Wanted(*values) for values in zip(*columns, strict=True)]

    def _mend(
        self,
        draft: Draft,
        place: int,
        at: _Wanted,
        crop: Pixels,
        tools: _Tools,
        error: UnusableCropError | OSError,
    ) -> None:
        """Read a crop again, where that may help, or have another row stand in for it."""
        if isinstance(error, OSError):
            raise self._unreadable(at.row, error) from error
        try:
            if not at.length or not self._source.distrust(at.shard):
                raise error
            self._read(at, crop, tools)
        except UnusableCropError as last:
            self._stand_in(draft, place, crop, tools, last)

    def _read(self, at: _Wanted, crop: Pixels, tools: _Tools) -> None:
        """Read and decode one crop."""
        try:
            data = self._source.view(at.shard, at.offset, at.length)
            if len(data) != at.length or not at.length:
                raise _unusable(data, at.length)
            if self._check is not None:
                self._check(at.row, at.shard, data)
        except OSError as error:
            raise self._unreadable(at.row, error) from error
        tools.decode[at.source](data, at.format, crop)

    def _tools(self) -> _Tools:
        """Give this thread's own decoders and memory."""
        tools: _Tools | None = getattr(self._threads, "tools", None)
        if tools is None:
            tools = self._threads.tools = self._make_tools()
        return tools

    def _make_tools(self) -> _Tools:
        height, width, settings = self._height, self._width, self._settings
        plain = CropDecoder(height, width).decode
        others = {
            template: RewarpDecoder(rewarp).decode for template, rewarp in self._rewarps.items()
        }
        size = (_RUN, height, width, 3)
        return _Tools(
            decode=[others.get(template, plain) for template in self._templates],
            augmenter=(
                Augmenter(settings.augment, height, width) if settings.augment.active else None
            ),
            run=np.empty(size, np.uint8) if settings.layout == "chw" else None,
        )  # fmt: skip

    def _stand_in(
        self, draft: Draft, place: int, crop: Pixels, tools: _Tools, error: UnusableCropError
    ) -> None:
        """Fill a place with the next row of its source that gives pixels.

        That row's position is not consumed: it comes again in its turn, so no count changes.
        """
        plan = draft.plan
        first = int(plan.rows[place])
        draft.bad.append(self._bad(first, error))
        tries = 0
        for row in islice(self._order.stand_ins(plan, place), _MOST_STAND_INS):
            tries += 1
            (at,) = self._wanted(np.array([row]), None)
            try:
                self._read(at, crop, tools)
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

    def _unreadable(self, row: int, error: OSError) -> LoaderError:
        return LoaderError(
            self._named(row), f"can't be read: {error.strerror or error}", None,
            "fusekit verify names every file that is missing or damaged",
        )  # fmt: skip

    def _named(self, row: int) -> str:
        shard = int(self._index.shard[row])
        return f"{self._mixture.key(row)} in {self._source.name(shard)}"


class _Wanted(NamedTuple):
    """A crop to read: its place in the run, and what the index says of it."""

    place: int
    row: int
    shard: int
    offset: int
    length: int
    format: int
    source: int


@dataclass(frozen=True)
class _Tools:
    """What one thread decodes with.

    Attributes:
        decode: Of each source.
        augmenter: None: crops stay as they are.
        run: Memory of a run beside the batch, where colours are split; None: it needs none.
    """

    decode: list[Decode]
    augmenter: Augmenter | None
    run: Pixels | None


def _edit(crop: Pixels, edits: Sequence[Edit]) -> None:
    for edit in edits:
        edit(crop)


def _unusable(data: bytes | memoryview, length: int) -> UnusableCropError:
    if length <= 0:
        return UnusableCropError("erased", "its length in the index is 0")
    return UnusableCropError("short", f"{len(data)} of {length} bytes are there")


def _split(crops: Pixels, out: Pixels, filled: Found | None) -> None:
    """Split the colours of a run, ``(n, H, W, 3)`` to ``(n, 3, H, W)``, but of what is filled."""
    if filled is None or not filled.any():
        _split_all(crops, out)
        return
    for place in np.flatnonzero(~filled).tolist():
        _split_all(crops[place : place + 1], out[place : place + 1])


def _split_all(crops: Pixels, out: Pixels) -> None:
    """Split the colours of crops in one call.

    Each crop is one row of a picture, so the planes go straight to where they belong.
    """
    count, height, width, _ = crops.shape
    planes = out.reshape(count, 3, height * width)
    cv2.split(crops.reshape(count, height * width, 3), [planes[:, c] for c in range(3)])


def _digests(mixture: Mixture) -> list[tuple[str, int]]:
    shards = mixture.shards
    return list(zip(shards["sha256"].to_pylist(), shards["size"].to_pylist(), strict=True))
