"""A few threads that end with the process, whatever they are waiting for."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Crew:
    """Threads that do tasks, first come first served.

    Unlike an executor's they are daemons: the interpreter does not wait for them before it lets
    anyone tell them to stop. Whoever makes a crew stops it, at the interpreter's end too.

    Args:
        count: How many threads.
        name: Of the threads.
    """

    def __init__(self, count: int, name: str) -> None:
        self._tasks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._stopped = False
        self._threads = [
            threading.Thread(target=_work, args=(self._tasks,), name=f"{name}_{k}", daemon=True)
            for k in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, task: Callable[..., T], *args: object) -> Future[T]:
        """Have a task done; after :meth:`stop` its future is cancelled."""
        future: Future[T] = Future()
        self._tasks.put(partial(_do, [future], lambda: self._stopped, task, args))
        if self._stopped:  # after it was put: else one who stops meanwhile would leave it undone
            future.cancel()
        return future

    def stop(self) -> None:
        """Cancel what has not begun, and wait for what has."""
        self._stopped = True
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()


def _do(
    waiting: list[Future[T]], stopped: Callable[[], bool], task: Callable[..., T],
    args: tuple[object, ...],
) -> None:  # fmt: skip
    # Out of the list: an error knows this function's variables, and is not to know its future,
    # or both stay until the collector comes, and what the task reads with them.
    if stopped() or not waiting[0].set_running_or_notify_cancel():
        waiting.pop().cancel()
        return
    try:
        result = task(*args)
    except BaseException as error:  # noqa: BLE001 - the future's reader gets it
        waiting.pop().set_exception(error)
    else:
        waiting.pop().set_result(result)


def _work(tasks: SimpleQueue[Callable[[], None] | None]) -> None:
    # Only the queue is held, so that a crew nobody uses can go.
    while (task := tasks.get()) is not None:
        task()
        del task
