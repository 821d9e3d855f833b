"""Batches made ahead of the trainer by a few threads."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from threading import Lock
from time import perf_counter_ns
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusekit.loader.crops.reader import CropReader, Draft
    from fusekit.loader.crops.work import Work
    from fusekit.loader.order.order import Plan

Made = TypeVar("Made", covariant=True)

_SLICE: Final = 64  # rows a task decodes: some 8 ms of work, against 0.05 ms to hand it over


@dataclass
class Waiting:
    """What the one who takes batches has seen: counts, and nanoseconds it had to wait.

    Attributes:
        batches: Batches taken.
        waited: Time in :meth:`Maker.take`.
        ready: Finished batches that stood ready at each take, summed.
        passed: Time from the first take's start to the last one's end.
    """

    batches: int = 0
    waited: int = 0
    ready: int = 0
    passed: int = 0
    _first: int = 0

    def count(self, began: int, ready: int) -> None:
        """Count a take that ends now.

        Args:
            began: When it began, as ``perf_counter_ns`` gives it.
            ready: Finished batches that stood ready then.
        """
        now = perf_counter_ns()
        self._first = self._first or began
        self.batches += 1
        self.waited += now - began
        self.ready += ready
        self.passed = now - self._first


class Maker(Protocol[Made]):
    """Makes the batches of successive steps, ahead of whoever takes them."""

    def take(self, step: int) -> Made:
        """Give the finished batch of a step; the steps after it go into work."""
        ...

    def clear(self) -> None:
        """Drop what is in work."""
        ...

    def close(self) -> None:
        """Stop the work and close the shards."""
        ...

    def figures(self) -> tuple[Work, Waiting, dict[str, float]]:
        """Give the work done, the waiting, and the counts of shards and cache."""
        ...


@dataclass
class _Ahead(Generic[Made]):
    """A batch in work; whoever finishes its last slice finishes it."""

    step: int
    draft: Future[Draft]
    left: int
    slices: list[Future[Made | None]] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    def one_less(self) -> bool:
        """Note that a slice is done; tell whether it was the last."""
        with self.lock:
            self.left -= 1
            return not self.left

    @property
    def ready(self) -> bool:
        return all(part.done() for part in self.slices)

    def cancel(self) -> None:
        """Keep threads from taking up what is not begun."""
        self.draft.cancel()
        for part in self.slices:
            part.cancel()


class Pipeline(Generic[Made]):
    """Keep the next few batches in work.

    Threads, not processes: reading, decoding and copying release the interpreter's lock.
    Memory is bounded by ``prefetch + 2`` batches: those ahead, the one being handed over, and
    the next that is only planned.

    Args:
        plan: Gives the plan of a step; called in the threads.
        reader: Reads and decodes.
        finish: Makes of a step and its filled draft what is handed out; called in the threads.
        batch_size: Rows of a batch.
        threads: How many threads.
        prefetch: How many batches are made ahead.
    """

    def __init__(
        self,
        plan: Callable[[int], Plan],
        reader: CropReader,
        finish: Callable[[int, Draft], Made],
        *,
        batch_size: int,
        threads: int,
        prefetch: int,
    ) -> None:
        self._plan, self._reader, self._finish = plan, reader, finish
        self._prefetch = prefetch
        parts = max(1, -(-batch_size // _SLICE))
        # Of equal size, and as many as keep every thread at work.
        parts = min(batch_size, -(-parts // threads) * threads)
        edges = [batch_size * k // parts for k in range(parts + 1)]
        self._slices = list(pairwise(edges))
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="fusekit-loader")
        self._ahead: deque[_Ahead[Made]] = deque()
        self._planned: tuple[int, Future[Draft]] | None = None
        self._waiting = Waiting()

    def take(self, step: int) -> Made:
        """Give the finished batch of a step; the steps after it go into work.

        Raises:
            LoaderError: As :meth:`CropReader.fill`; then nothing stays in work.
        """
        began = perf_counter_ns()
        if self._ahead and self._ahead[0].step != step:
            self.clear()
        head = None
        try:
            self._reader.at(step)
            self._fill(step)
            ready = sum(ahead.ready for ahead in self._ahead)
            head = self._ahead.popleft()
            self._fill(step + 1)
            made = [part.result() for part in head.slices]
        except BaseException:
            if head is not None:
                head.cancel()
            self.clear()
            raise
        self._waiting.count(began, ready)
        return next(found for found in made if found is not None)

    def clear(self) -> None:
        """Drop what is in work; threads finish at most the slice that they are at."""
        for ahead in self._ahead:
            ahead.cancel()
        self._ahead.clear()
        if self._planned is not None:
            self._planned[1].cancel()
            self._planned = None

    def close(self) -> None:
        """Stop the threads and close the shards."""
        self.clear()
        self._reader.let_go()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._reader.close()

    def figures(self) -> tuple[Work, Waiting, dict[str, float]]:
        """Give the threads' work, the taker's waiting, and the counts of shards and cache."""
        return self._reader.work, self._waiting, self._reader.figures()

    def _fill(self, first: int) -> None:
        step = self._ahead[-1].step + 1 if self._ahead else first
        while len(self._ahead) < self._prefetch:
            ahead: _Ahead[Made] = _Ahead(step, self._draft(step), len(self._slices))
            # The next plan stands in the queue before these slices, so no thread waits for it.
            self._planned = (step + 1, self._pool.submit(self._make, step + 1))
            ahead.slices += [self._pool.submit(self._decode, ahead, a, z) for a, z in self._slices]
            self._ahead.append(ahead)
            step += 1

    def _draft(self, step: int) -> Future[Draft]:
        if self._planned is not None and self._planned[0] == step:
            return self._planned[1]
        return self._pool.submit(self._make, step)

    def _make(self, step: int) -> Draft:
        return self._reader.draft(self._plan(step))

    def _decode(self, ahead: _Ahead[Made], start: int, stop: int) -> Made | None:
        draft = ahead.draft.result()
        self._reader.fill(draft, start, stop)
        return self._finish(ahead.step, draft) if ahead.one_less() else None
