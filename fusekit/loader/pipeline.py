"""Batches made ahead of the trainer by a few threads."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusekit.loader.order import Plan
    from fusekit.loader.reader import CropReader, Draft

_SLICE: Final = 32  # rows a task decodes: some 4 ms of work, against 0.05 ms to hand it over


class _Ahead(NamedTuple):
    step: int
    draft: Future[Draft]
    slices: list[Future[None]]


class Pipeline:
    """Keep the next few batches in work.

    Threads, not processes: reading, decoding and copying release the interpreter's lock.
    Memory is bounded by ``prefetch + 2`` batches: those ahead, the one being handed over, and
    the next that is only planned.

    Args:
        plan: Gives the plan of a step; called in the threads.
        reader: Reads and decodes.
        batch_size: Rows of a batch.
        threads: How many threads.
        prefetch: How many batches are made ahead.
    """

    def __init__(
        self,
        plan: Callable[[int], Plan],
        reader: CropReader,
        batch_size: int,
        threads: int,
        prefetch: int,
    ) -> None:
        self._plan = plan
        self._reader = reader
        self._prefetch = prefetch
        size = min(_SLICE, -(-batch_size // threads))
        self._slices = [(a, min(a + size, batch_size)) for a in range(0, batch_size, size)]
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="fusekit-loader")
        self._ahead: deque[_Ahead] = deque()
        self._planned: tuple[int, Future[Draft]] | None = None

    def take(self, step: int) -> Draft:
        """Give the finished batch of a step; the steps after it go into work.

        Raises:
            LoaderError: As :meth:`CropReader.fill`; then nothing stays in work.
        """
        if self._ahead and self._ahead[0].step != step:
            self.clear()
        try:
            self._fill(step)
            head = self._ahead.popleft()
            self._fill(step + 1)
            for done in head.slices:
                done.result()
            return head.draft.result()
        except BaseException:
            self.clear()
            raise

    def clear(self) -> None:
        """Drop what is in work; threads finish at most the slice that they are at."""
        for ahead in self._ahead:
            ahead.draft.cancel()
            for slice_ in ahead.slices:
                slice_.cancel()
        self._ahead.clear()
        if self._planned is not None:
            self._planned[1].cancel()
            self._planned = None

    def close(self) -> None:
        """Stop the threads and close the shards."""
        self.clear()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._reader.close()

    def _fill(self, first: int) -> None:
        step = self._ahead[-1].step + 1 if self._ahead else first
        while len(self._ahead) < self._prefetch:
            draft = self._draft(step)
            # The next plan stands in the queue before these slices, so no thread waits for it.
            self._planned = (step + 1, self._pool.submit(self._make, step + 1))
            slices = [self._pool.submit(self._decode, draft, a, z) for a, z in self._slices]
            self._ahead.append(_Ahead(step, draft, slices))
            step += 1

    def _draft(self, step: int) -> Future[Draft]:
        if self._planned is not None and self._planned[0] == step:
            return self._planned[1]
        return self._pool.submit(self._make, step)

    def _make(self, step: int) -> Draft:
        return self._reader.draft(self._plan(step))

    def _decode(self, draft: Future[Draft], start: int, stop: int) -> None:
        self._reader.fill(draft.result(), start, stop)
