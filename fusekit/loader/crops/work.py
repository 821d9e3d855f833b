"""What the decoding threads have done."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Work:
    """Counts, and nanoseconds summed over the threads.

    Attributes:
        crops: Places filled.
        cached: Those that were taken from the decoded cache.
        bytes: Stored bytes that were decoded.
        read: Time of finding and reading, of cached crops too.
        decode: Time of decoding.
        rest: Time of all else.
    """

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
