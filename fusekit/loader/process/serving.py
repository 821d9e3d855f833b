"""The process of a loader's own: makes batches and hands them over, for as long as it is wanted."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import socket
import traceback
from contextlib import suppress
from dataclasses import replace
from logging.handlers import QueueHandler
from queue import SimpleQueue
from threading import Condition, Lock, Thread
from time import sleep
from typing import TYPE_CHECKING, Final

from fusekit.errors import FusekitError, LoaderError
from fusekit.loader.opening import batch_shape, open_pipeline
from fusekit.loader.order.make import make_order
from fusekit.loader.process.messages import (
    Failed,
    Filled,
    Logged,
    Opened,
    Task,
    lines,
    pack,
    receive_task,
)
from fusekit.loader.process.slots import AnonymousFile, SlotMemory, hand_over
from fusekit.mixture.mixture import Mixture

if TYPE_CHECKING:
    from logging import LogRecord

    from fusekit.loader.crops.reader import Draft
    from fusekit.loader.pipeline import Pipeline

_LOOK: Final = 1.0  # seconds between looks for a parent that is gone


def serve(connection: int, memory: int) -> None:
    """Make batches until the loader closes or is gone; a process's whole life.

    Args:
        connection: Descriptor of the socket to the loader.
        memory: Descriptor of the file that holds the batches.
    """
    # A signal to the terminal's or the job's processes is the trainer's to handle: it may go on
    # taking batches to a checkpoint. This process ends when that one does.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    server = _Server(socket.socket(fileno=connection), AnonymousFile(memory))
    with suppress(ConnectionError):  # the loader is gone
        server.run()
    os._exit(0)  # the trainer need not wait until an interpreter has taken itself apart


class _Server:
    """Answers one loader.

    Args:
        connection: To the loader.
        file: Holds the batches.
    """

    def __init__(self, connection: socket.socket, file: AnonymousFile) -> None:
        self._connection, self._file = connection, file
        self._sending = Lock()
        self._change = Condition()
        self._generation, self._next, self._stop = 0, 0, 0
        self._seen = 0
        self._closing = False
        self._memory: SlotMemory | None = None

    def run(self) -> None:
        """Open what the task says, then make what is wanted."""
        task = receive_task(self._connection)
        Thread(target=_watch, args=(task.parent,), daemon=True).start()
        Thread(target=self._listen, daemon=True).start()
        _forward_logs(self, task.level)
        try:
            pipeline = self._open(task)
        except Exception as error:  # noqa: BLE001 - raised by the loader
            self.send(Failed(0, _sendable(error)))
            return
        self.send(Opened())
        ready = 0
        while (wanted := self._wanted()) is not None:
            generation, step = wanted
            if step is None:
                pipeline.clear()
                continue
            try:
                draft = pipeline.take(step)
            except Exception as error:  # noqa: BLE001 - raised by the loader
                self._end(generation)
                self.send(Failed(generation, _sendable(error)))
                continue
            work, waiting, counts = pipeline.figures()
            self.send(
                Filled(
                    generation, step, hand_over(draft.images), draft.plan, draft.rows, draft.bad,
                    replace(work), counts, waiting.ready - ready,
                )
            )  # fmt: skip
            ready = waiting.ready
            del draft
        pipeline.close()

    def send(self, message: object) -> None:
        """Send a message, from any thread."""
        data = pack(message)
        with self._sending:
            self._connection.sendall(data)

    def _open(self, task: Task) -> Pipeline[Draft]:
        mixture = Mixture.open(task.mixture, verify="none")  # the loader's process has checked it
        if mixture.fingerprint != task.fingerprint:
            raise LoaderError(
                mixture.name, "was built anew since it was opened", None, "open it again"
            )
        order = make_order(mixture, **task.settings.for_order)
        shape = batch_shape(mixture, task.settings)
        self._memory = SlotMemory(self._file, shape, task.kept)
        return open_pipeline(mixture, order, task.settings, _as_it_is, self._memory)

    def _listen(self) -> None:
        """Follow the loader's lines; end this process with the loader, whatever it is doing."""
        for word, *rest in lines(self._connection):
            if word == "free":
                assert self._memory is not None
                self._memory.give_back(int(rest[0]))
                continue
            with self._change:
                if word == "close":
                    self._closing = True
                else:
                    generation, first, stop = map(int, rest)
                    if generation != self._generation:
                        self._generation, self._next = generation, first
                    self._stop = stop
                self._change.notify()
        os._exit(0)

    def _wanted(self) -> tuple[int, int | None] | None:
        """Wait for the next step to be made: generation and step; None ends it all.

        A step of None is a generation in which nothing is wanted yet.
        """
        with self._change:
            while not self._closing:
                changed, self._seen = self._seen != self._generation, self._generation
                if self._next < self._stop:
                    self._next += 1
                    return self._generation, self._next - 1
                if changed:
                    return self._generation, None
                self._change.wait()
        return None

    def _end(self, generation: int) -> None:
        """Make nothing more of a generation."""
        with self._change:
            if generation == self._generation:
                self._stop = self._next


class _Forward(QueueHandler):
    """Hands log records to the loader's process."""

    def __init__(self, server: _Server) -> None:
        super().__init__(SimpleQueue())  # stays empty
        self._server = server

    def enqueue(self, record: LogRecord) -> None:
        """Send a record."""
        self._server.send(Logged(record))

    def handleError(self, record: LogRecord) -> None:  # noqa: N802 - logging's
        """Say nothing: the loader is gone, and so is whoever would read it."""


def _forward_logs(server: _Server, level: int) -> None:
    logger = logging.getLogger("fusekit")
    logger.addHandler(_Forward(server))
    logger.setLevel(level)
    logger.propagate = False


def _watch(parent: int) -> None:
    """End this process with its parent even where a fork of that one keeps the socket open."""
    while os.getppid() == parent:
        sleep(_LOOK)
    os._exit(0)


def _as_it_is(step: int, draft: Draft) -> Draft:  # noqa: ARG001 - called as every finish is
    return draft


def _sendable(error: Exception) -> Exception:
    """Give the error as one that can be sent, with what its traceback would have told."""
    if not isinstance(error, FusekitError):
        error.add_note("in the loader's process:\n" + "".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - made here
    except Exception:  # noqa: BLE001 - whatever its class does
        told = LoaderError("process", f"{type(error).__name__}: {error}")
        for note in getattr(error, "__notes__", ()):
            told.add_note(note)
        return told
    return error
