"""The whole loader in a process of its own, which hands finished batches over in shared memory.

Decoding threads and a trainer's thread want the same interpreter lock, if only between their
calls; here they do not share an interpreter. Images are decoded straight into memory that both
processes map, so nothing is copied. Neither memory nor socket has a name: nothing is left behind
however either process ends, and each notices the other's end.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import socket
import subprocess
import sys
import weakref
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, replace
from threading import Condition, RLock, Thread, current_thread
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

from fusekit.errors import LoaderError
from fusekit.loader.crops.reader import Draft
from fusekit.loader.crops.work import Work
from fusekit.loader.opening import batch_shape
from fusekit.loader.pipeline import Waiting
from fusekit.loader.process.messages import (
    Failed,
    Filled,
    Logged,
    Opened,
    Task,
    pack,
    post,
    receive,
)
from fusekit.loader.process.slots import AnonymousFile, Slots, lease
from fusekit.store import layout

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusekit.loader.crops.decode import Pixels
    from fusekit.loader.settings import LoaderSettings
    from fusekit.mixture.mixture import Mixture

Made = TypeVar("Made", covariant=True)

_PATIENCE: Final = 5.0  # seconds that closing waits for the process before it is killed
_LOOK: Final = 1.0  # seconds between looks for a process that is gone
# Not multiprocessing: that would run the trainer's own script again in the new process.
_CODE: Final = """\
import sys
sys.path[:] = {path!r}
from fusekit.loader.process.serving import serve
serve({connection}, {memory})
"""


def open_process(
    mixture: Mixture, settings: LoaderSettings, finish: Callable[[int, Draft], Made]
) -> ProcessMaker[Made]:
    """Start a process that makes a mixture's batches; it needs no ``if __name__ == "__main__"``.

    Args:
        mixture: The mixture; the process opens it anew.
        settings: The loader's. Of ``prefetch``, half are finished batches in this process.
        finish: Makes of a step and its filled draft what is handed out; called in this process,
            in one thread ahead of the one who takes batches.

    Raises:
        LoaderError: The process can't be started, or the mixture was built anew meanwhile.
        FusekitError: What opening raises there, as it does here.
    """
    ahead = settings.prefetch // 2
    task = Task(
        mixture.path if mixture.url is None else f"{mixture.url}/{layout.mixture(mixture.name)}",
        mixture.fingerprint,
        replace(settings, prefetch=settings.prefetch - ahead), settings.prefetch + 2,
        logging.getLogger("fusekit.loader").getEffectiveLevel(), os.getpid(),
    )  # fmt: skip
    file = AnonymousFile()
    link = _Link(*_start(file, task), Slots(file, batch_shape(mixture, settings)))
    maker = ProcessMaker(link, finish, ahead)
    try:
        link.open(weakref.ref(maker))
    except BaseException:
        link.close()
        raise
    return maker


class ProcessMaker(Generic[Made]):
    """Takes batches from the loader's process.

    When it is dropped, the process ends.

    Args:
        link: To the process.
        finish: Makes of a step and its filled draft what is handed out.
        ahead: How many finished batches wait in this process.
    """

    def __init__(self, link: _Link, finish: Callable[[int, Draft], Made], ahead: int) -> None:
        self._link, self._finish, self._ahead = link, finish, ahead
        self._generation = 0
        self._next: int | None = None
        self._waiting = Waiting()
        weakref.finalize(self, link.end).atexit = False  # at exit the link closes itself

    def take(self, step: int) -> Made:
        """Give the finished batch of a step; the steps after it go into work.

        Raises:
            LoaderError: The process is gone, or as :meth:`Pipeline.take`.
        """
        began = perf_counter_ns()
        try:
            if step != self._next:
                self._begin()
            self._link.tell(f"go {self._generation} {step} {step + 1 + self._ahead}")
            self._next = None
            made, ready = self._link.next()
        except BaseException:
            self.clear()
            raise
        self._next = step + 1
        self._waiting.count(began, ready)
        return cast("Made", made)

    def make(self, filled: Filled) -> None:
        """Finish what has come, in the link's thread."""
        images = self._link.images(filled.slot)
        draft = Draft(filled.plan, images, filled.rows, filled.bad)
        try:
            made: object = self._finish(filled.step, draft)
        except BaseException as error:  # noqa: BLE001 - raised where the batch is taken
            made = _Error(error)
        self._link.put(filled.generation, made)

    def clear(self) -> None:
        """Drop what is in work."""
        self._begin()
        self._link.tell(f"go {self._generation} 0 0")

    def close(self) -> None:
        """End the process."""
        self._link.close()

    def figures(self) -> tuple[Work, Waiting, dict[str, float]]:
        """Give the process's work at the last batch that came, and the waiting here."""
        return self._link.work, self._waiting, self._link.counts

    def _begin(self) -> None:
        """Begin another run of steps; what comes of earlier ones is dropped."""
        self._generation += 1
        self._next = None
        self._link.expect(self._generation)


@dataclass(frozen=True)
class _Error:
    error: BaseException


class _Link:
    """The process as this side sees it: what has come, and how to tell it something.

    It knows no maker, so that a dropped one ends the process.

    Args:
        process: The process.
        connection: The socket to it.
        slots: The shared memory.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], connection: socket.socket, slots: Slots
    ) -> None:
        self._process, self._socket, self._slots = process, connection, slots
        self._owner = os.getpid()
        self._telling = RLock()  # the collector may give a slot back in a thread that is telling
        self._change = Condition()
        self._generation = 0
        self._come: deque[object] = deque()
        self._ready = 0
        self._opened = self._closing = False
        self._gone: tuple[str, str | None] | None = None
        self._thread: Thread | None = None
        self.work = Work()
        self.counts: dict[str, float] = {}

    def open(self, maker: weakref.ref[ProcessMaker[Any]]) -> None:
        """Begin to receive, and wait until the process has opened the mixture.

        Raises:
            FusekitError: What it raised, or that it is gone.
        """
        # A daemon: an interpreter that ends would wait for others before it closes anything.
        self._thread = Thread(
            target=self._receive, args=(maker,), name="fusekit-loader-process", daemon=True
        )
        self._thread.start()
        atexit.register(self.close)
        with self._change:
            self._wait(lambda: self._opened or bool(self._come))
        if not self._opened:
            self.next()

    def tell(self, line: str) -> None:
        """Send a line."""
        if os.getpid() != self._owner:
            return  # a fork's copies of batches end too, and are not the ones that count
        with self._telling:
            if self._gone is None:
                post(self._socket, line.encode() + b"\n")

    def images(self, slot: int) -> Pixels:
        """Give a slot's images; it goes back when they are gone."""
        return lease(self._slots.view(slot), slot, self._give_back)

    def put(self, generation: int, made: object) -> None:
        """Let the trainer have something, unless it has gone elsewhere."""
        with self._change:
            if generation == self._generation:
                self._come.append(made)
                self._change.notify()

    def expect(self, generation: int) -> None:
        """Drop everything of earlier generations."""
        with self._change:
            self._generation = generation
            self._come, dropped = deque(), self._come
        del dropped  # frees slots, which is not for the lock

    def next(self) -> tuple[object, int]:
        """Wait for what comes next; give it, and how many batches stood ready.

        Raises:
            LoaderError: The process is gone.
            BaseException: An error came next.
        """
        with self._change:
            ready = len(self._come) + self._ready if self._come else 0
            self._wait(lambda: bool(self._come))
            found = self._come.popleft()
        if isinstance(found, _Error):
            raise found.error
        return found, ready

    def end(self) -> None:
        """Ask the process to end; the receiving thread waits for it."""
        self._closing = True
        self.tell("close")

    def close(self) -> None:
        """End the process and wait for it."""
        if os.getpid() != self._owner:
            return
        self.end()
        if self._thread is None or self._thread is current_thread():
            return
        self._thread.join(_PATIENCE)
        if self._thread.is_alive():
            self._process.kill()
            self._hang_up()
            self._thread.join(_PATIENCE)

    def _wait(self, come: Callable[[], bool]) -> None:
        while not self._change.wait_for(lambda: come() or self._gone is not None, _LOOK):
            # A fork between the making of the socket and the start may hold its other end open.
            if self._process.poll() is not None:
                self._hang_up()
        if self._gone is not None and not come():
            raise LoaderError("process", self._gone[0], None, self._gone[1])

    def _hang_up(self) -> None:
        with self._telling, suppress(OSError):  # the other side was quicker
            self._socket.shutdown(socket.SHUT_RDWR)

    def _give_back(self, slot: int) -> None:
        self.tell(f"free {slot}")

    def _receive(self, maker: weakref.ref[ProcessMaker[Any]]) -> None:
        """Follow the process's messages until it ends; a thread's whole life."""
        try:
            for message in receive(self._socket):
                self._follow(message, maker)
        finally:
            self._bury()
            atexit.unregister(self.close)

    def _follow(
        self, message: Opened | Filled | Failed | Logged, maker: weakref.ref[ProcessMaker[Any]]
    ) -> None:
        if isinstance(message, Filled):
            self.work, self.counts, self._ready = message.work, message.counts, message.ready
            target = maker()
            if target is None or self._closing or message.generation != self._generation:
                self._give_back(message.slot)
            else:
                target.make(message)
        elif isinstance(message, Failed):
            self.put(message.generation, _Error(message.error))
        elif isinstance(message, Logged):
            logger = logging.getLogger(message.record.name)
            if logger.isEnabledFor(message.record.levelno):
                logger.handle(message.record)
        else:
            with self._change:
                self._opened = True
                self._change.notify()

    def _bury(self) -> None:
        """Wait for the process, and tell who waits for it how it ended."""
        try:
            code = self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        with self._telling:
            self._gone = ("is closed", None) if self._closing else _say(code)
            self._socket.close()
        with self._change:
            if self._closing:
                self._come.clear()
            self._change.notify_all()


def _start(file: AnonymousFile, task: Task) -> tuple[subprocess.Popen[bytes], socket.socket]:
    try:
        data = pack(task)
    except Exception as error:
        raise LoaderError(
            "process", f"a setting can't be sent to it ({error})", "plain values", None
        ) from error
    ours, theirs = socket.socketpair()
    path = [place for place in sys.path if isinstance(place, str)]
    code = _CODE.format(path=path, connection=theirs.fileno(), memory=file.number)
    with theirs:
        try:
            process = subprocess.Popen(
                [sys.executable, "-c", code], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), file.number),
            )  # fmt: skip
        except OSError as error:
            ours.close()
            raise LoaderError(
                "process", f"can't be started ({sys.executable}: {error.strerror})", None,
                "process=False works without",
            ) from error  # fmt: skip
    post(ours, data)
    return process, ours


def _say(code: int) -> tuple[str, str]:
    """Give how the process ended, and the next step."""
    fix = "a new loader goes on from this one's state_dict()"
    if code == -signal.SIGKILL:
        fix = f"mostly the system is out of memory: lower prefetch or batch_size; {fix}"
    if code < 0:
        return f"the loader's process was killed by {signal.Signals(-code).name}", fix
    return f"the loader's process ended with exit code {code}", fix
