"""What a loader and its process tell each other, over a socket without a name.

The loader's messages are lines: ``go GENERATION FIRST STOP``, ``free SLOT``, ``close``. A line is
sent in one call and so is never torn, whichever thread sends it. The process answers with pickled
objects behind their length. Pickle is safe here: both ends are ours, and nobody else can have
the socket.
"""

from __future__ import annotations

import pickle
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from logging import LogRecord
    from pathlib import Path

    from fusekit.loader.crops.reader import BadCrop
    from fusekit.loader.crops.work import Work
    from fusekit.loader.order.plan import Plan
    from fusekit.loader.order.shuffle import Rows
    from fusekit.loader.settings import LoaderSettings

_HEAD: Final = struct.Struct("<Q")
_PIECE: Final = 1 << 20


@dataclass(frozen=True)
class Task:
    """What the process is told first.

    Attributes:
        mixture: Where the mixture is.
        fingerprint: The one that the loader has opened.
        settings: The loader's; the process makes ``prefetch`` batches ahead of those it hands over.
        kept: Free slots that keep their memory.
        level: Which log records it forwards.
        parent: The loader's process.
    """

    mixture: Path | str
    fingerprint: str
    settings: LoaderSettings
    kept: int
    level: int
    parent: int


@dataclass(frozen=True)
class Opened:
    """The process has opened the mixture."""


@dataclass(frozen=True)
class Filled:
    """A batch is in its slot.

    Attributes:
        generation: Which ``go`` it was made for.
        step: Its step.
        slot: Where its images are.
        plan: What the order gave.
        rows: Rows that were read.
        bad: The rows that were stood in for.
        work: What the process's threads have done until now.
        counts: Of the shards and the cache.
        ready: Finished batches that stood ready in the process when it took this one.
    """

    generation: int
    step: int
    slot: int
    plan: Plan
    rows: Rows
    bad: list[BadCrop]
    work: Work
    counts: dict[str, float]
    ready: int


@dataclass(frozen=True)
class Failed:
    """A step, or opening the mixture, raised an error.

    Attributes:
        generation: Which ``go`` it was made for; 0: opening.
        error: The error.
    """

    generation: int
    error: BaseException


@dataclass(frozen=True)
class Logged:
    """A log record, its message already made."""

    record: LogRecord


def pack(message: object) -> bytes:
    """Give a message's bytes."""
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return _HEAD.pack(len(data)) + data


def receive_task(connection: socket.socket) -> Task:
    """Receive what the process is told first, and nothing behind it.

    Raises:
        ConnectionError: The loader is gone.
    """
    head = connection.recv(_HEAD.size, socket.MSG_WAITALL)
    data = connection.recv(_HEAD.unpack(head)[0], socket.MSG_WAITALL) if head else b""
    if not data:
        raise ConnectionResetError
    task = pickle.loads(data)  # noqa: S301 - see above
    assert isinstance(task, Task)
    return task


def receive(connection: socket.socket) -> Iterator[Opened | Filled | Failed | Logged]:
    """Iterate the process's messages, until it ends."""
    # One call for a whole message where that is possible: after each, a thread waits for the
    # interpreter's lock, 5 ms long beside a busy one.
    got = bytearray()
    while True:
        while len(got) < _HEAD.size or len(got) < (end := _HEAD.size + _HEAD.unpack_from(got)[0]):
            piece = _receive_piece(connection)
            if not piece:
                return
            got += piece
        message = pickle.loads(bytes(got[_HEAD.size : end]))  # noqa: S301 - see above
        del got[:end]
        yield message


def post(connection: socket.socket, data: bytes) -> None:
    """Send the loader's task or line; nothing happens when the process is gone."""
    # Whoever receives notices that. Without a SIGPIPE, which would end a trainer that has set its
    # default action again.
    with suppress(OSError):
        connection.sendall(data, getattr(socket, "MSG_NOSIGNAL", 0))


def lines(connection: socket.socket) -> Iterator[list[str]]:
    """Iterate the loader's lines as words, until the loader is gone."""
    rest = b""
    while piece := _receive_piece(connection):
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line.decode().split()


def _receive_piece(connection: socket.socket) -> bytes:
    try:
        return connection.recv(_PIECE)
    except OSError:
        return b""
