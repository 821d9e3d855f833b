"""The local engine: units of work in spawned processes, or in this one.

An engine decides where a unit runs and when; what a unit gives depends on the unit alone.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from fusekit.errors import FusekitError, StorageError, WorkError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

_AHEAD: Final = 2  # units waiting per worker, so that none idles between two
_MAX_IN_A_ROW: Final = 3
_TICK_S: Final = 0.2


@dataclass(frozen=True)
class _Failure:
    """A unit that raised: its error's line, and the traceback of an unexpected one."""

    line: str
    trace: str
    stops: bool


@dataclass(frozen=True)
class _Guarded:
    """Run a task so that whatever it raises comes back as a value."""

    task: Callable[[int], object]

    def __call__(self, unit: int) -> object:
        try:
            return self.task(unit)
        except FusekitError as error:
            # A full disk fails every later unit too.
            return _Failure(str(error), "", stops=isinstance(error, StorageError))
        except Exception as error:  # noqa: BLE001 - the runner's edge: counted, with its traceback
            line = f"{type(error).__name__}: {error}"
            return _Failure(line, traceback.format_exc(), stops=False)


def default_workers() -> int:
    """Give the number of processors this process may use."""
    return len(os.sched_getaffinity(0))


def tick(**amounts: int) -> None:
    """Count work inside a unit, for progress only; outside a run it does nothing.

    Args:
        amounts: What to add to each of the ``counters`` of :func:`run_units`.
    """
    if _live is None:
        return
    with _live.cells.get_lock():
        for name, amount in amounts.items():
            _live.cells[_live.names.index(name)] += amount
    if _live.on_tick is not None:
        _live.on_tick(_live.values())


def run_units(
    task: Callable[[int], T],
    units: Sequence[int],
    workers: int,
    on_done: Callable[[int, T], None] = lambda unit, result: None,  # noqa: ARG005
    *,
    counters: tuple[str, ...] = (),
    on_tick: Callable[[dict[str, int]], None] | None = None,
) -> None:
    """Run a task over units; a failing unit does not stop the others.

    Args:
        task: Picklable; takes a unit's number. What it returns must not depend on where or
            when it runs.
        units: Their numbers.
        workers: How many processes; 0 runs in this one.
        on_done: Called here with each unit and its result, in order of completion.
        counters: Names that the task may :func:`tick`.
        on_tick: Called here now and then with the counters' sums over all workers.

    Raises:
        WorkError: A unit failed (after the others were done), three failed in a row, the disk
            is full, or a worker process was killed.
    """
    guarded = _Guarded(task)
    tally = _Tally(len(units))
    # Spawned, not forked: the parent holds threads (arrow, progress) that a fork would break.
    context = multiprocessing.get_context("spawn")
    live = _Live(counters, context.Array("q", len(counters) or 1), on_tick)
    if workers == 0:
        _begin(live)
        try:
            for unit in units:
                _settle(unit, guarded(unit), tally, on_done)
        finally:
            _begin(None)
    elif units:
        worker_live = replace(live, on_tick=None)
        pool = ProcessPoolExecutor(min(workers, len(units)), context, _start_worker, (worker_live,))
        _run_spawned(guarded, units, pool, workers, live, tally, on_done)
    tally.finish()


@dataclass(frozen=True)
class _Live:
    """Counters shared with the workers."""

    names: tuple[str, ...]
    cells: Any  # a synchronized array of 64-bit integers, one per name
    on_tick: Callable[[dict[str, int]], None] | None

    def values(self) -> dict[str, int]:
        return dict(zip(self.names, self.cells[:], strict=False))


_live: _Live | None = None


def _begin(live: _Live | None) -> None:
    global _live
    _live = live


def _start_worker(live: _Live) -> None:
    # Ctrl-C reaches the whole group; the parent alone decides and ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _begin(live)


def _end_with_parent() -> None:
    """End this worker when its parent dies; else a killed run leaves it waiting for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # a unit that is not committed leaves nothing that counts


class _Tally:
    """Count failures, and stop the run when going on makes no sense."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.failures: list[tuple[int, _Failure]] = []
        self.in_a_row = 0

    def add(self, unit: int, failure: _Failure) -> None:
        self.failures.append((unit, failure))
        self.in_a_row += 1
        if failure.stops or self.in_a_row == _MAX_IN_A_ROW:
            self.finish()

    def finish(self) -> None:
        if not self.failures:
            return
        unit, failure = self.failures[0]
        error = WorkError(
            f"unit {unit}", failure.line, None,
            f"{len(self.failures)} of {self.total} units failed; run the same command again",
        )  # fmt: skip
        for _, other in self.failures:
            if other.trace:
                error.add_note(other.trace)
        raise error


def _settle(unit: int, result: object, tally: _Tally, on_done: Callable[[int, T], None]) -> None:
    if isinstance(result, _Failure):
        tally.add(unit, result)
    else:
        tally.in_a_row = 0
        on_done(unit, result)  # type: ignore[arg-type]  # what the guarded task returned


def _run_spawned(
    task: _Guarded,
    units: Sequence[int],
    pool: ProcessPoolExecutor,
    workers: int,
    live: _Live,
    tally: _Tally,
    on_done: Callable[[int, T], None],
) -> None:
    waiting = deque(units)
    running: dict[Future[object], int] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers * _AHEAD:
                unit = waiting.popleft()
                running[pool.submit(task, unit)] = unit
            done, _ = wait(running, timeout=_TICK_S, return_when=FIRST_COMPLETED)
            if live.on_tick is not None:
                live.on_tick(live.values())
            for future in done:
                unit = running.pop(future)
                _settle(unit, future.result(), tally, on_done)
    except BrokenProcessPool:
        raise WorkError(
            "a worker process", "was killed", None,
            "was memory short? run the same command again, with fewer --workers",
        ) from None  # fmt: skip
    except BaseException:
        _stop(pool)
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _stop(pool: ProcessPoolExecutor) -> None:
    """End the workers now; a unit that is not committed leaves nothing that counts."""
    for process in list((pool._processes or {}).values()):
        process.terminate()
