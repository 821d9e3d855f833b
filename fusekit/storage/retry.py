"""How often and how long a request that fails is tried again."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fusekit.errors import StorageError

if TYPE_CHECKING:
    import threading

READER_CLOSED: Final = "is not read further: its reader was closed"
_PROGRESS_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class Retry:
    """When to give up.

    Attributes:
        tries: Most tries without progress.
        first_s: Longest first pause in seconds; each next one may be twice as long.
        most_s: Longest pause.
        total_s: Most seconds from the first try, or from the last progress, to the last try.
    """

    tries: int = 8
    first_s: float = 0.25
    most_s: float = 15.0
    total_s: float = 120.0


@dataclass(frozen=True)
class Fault:
    """What went wrong with a request, in words that hold nothing a server or library said.

    Attributes:
        found: For the error's line.
        fix: The next step, or None.
        again: Whether another try may help.
    """

    found: str
    fix: str | None = None
    again: bool = True


class Patience:
    """Pause before each next try of one object, until it is enough.

    Pauses are drawn evenly from nothing to their length, so that many readers who lost the same
    server do not all come back at once.

    Args:
        where: The object's URL, for the error.
        retry: When to give up.
        stop: Set when nobody waits for the object any more.
    """

    def __init__(self, where: str, retry: Retry, stop: threading.Event) -> None:
        self._where, self._retry, self._stop = where, retry, stop
        self._since = time.monotonic()
        self._tries = self._fresh = 0

    def progress(self, length: int) -> None:
        """Take note of bytes that arrived; a megabyte of them starts the count anew."""
        self._fresh += length
        if self._fresh >= _PROGRESS_BYTES:
            self._tries = self._fresh = 0
            self._since = time.monotonic()

    def pause(self, fault: Fault) -> None:
        """Wait before the next try.

        Raises:
            StorageError: No other try may help, there were enough, or nobody waits any more.
        """
        self._tries += 1
        spent = time.monotonic() - self._since
        if not fault.again:
            raise StorageError(self._where, fault.found, None, fault.fix)
        if self._tries >= self._retry.tries or spent >= self._retry.total_s:
            times = "once" if self._tries == 1 else f"{self._tries} times"
            found = f"{fault.found} (tried {times} in {spent:.0f} s)"
            raise StorageError(
                self._where, found, None,
                fault.fix or "check the network and the server, then run the same command again",
            )  # fmt: skip
        longest = min(self._retry.most_s, self._retry.first_s * 2 ** (self._tries - 1))
        share = secrets.randbelow(1 << 20) / (1 << 20)
        if self._stop.wait(min(longest * share, self._retry.total_s - spent)):
            raise StorageError(self._where, READER_CLOSED)
