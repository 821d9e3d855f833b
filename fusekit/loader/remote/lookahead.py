"""What a rank will read in its next steps: which shards, and when each is needed first."""

from __future__ import annotations

from collections import deque
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt


class Lookahead:
    """The shards of a run of steps, from the trainer's on.

    Args:
        upcoming: Gives the shards that this rank reads at a step; a pure function.
        sizes: Bytes of each shard.
        steps: How many steps are looked ahead at most.
        enough: Looking ahead stops when the shards seen hold so many bytes.
    """

    def __init__(
        self,
        upcoming: Callable[[int], npt.NDArray[np.int64]],
        sizes: npt.NDArray[np.int64],
        steps: int,
        enough: int,
    ) -> None:
        self._upcoming, self._sizes = upcoming, sizes
        self._most, self._enough = steps, enough
        self._lock = Lock()
        self._steps: deque[list[int]] = deque()
        self._uses: dict[int, deque[int]] = {}
        self._bytes = 0
        self.step = self.end = 0

    def go_to(self, step: int) -> set[int]:
        """Go to the trainer's step.

        Returns:
            The shards that are no longer needed as far as is known.
        """
        with self._lock:
            before = set(self._uses)
            if not self.step <= step <= self.end:
                self._steps.clear()
                self._uses.clear()
                self._bytes, self.end = 0, step
            else:
                for _ in range(self.step, step):
                    self._pass()
            self.step = step
            return before - self._uses.keys()

    def walk(self) -> bool:
        """Look one step further ahead.

        Returns:
            False when it was far enough already.
        """
        with self._lock:
            here = self.end
            far = here - self.step >= self._most or self._bytes >= self._enough
        if far and here > self.step:
            return False
        shards = np.unique(self._upcoming(here)).tolist()
        with self._lock:
            if here == self.end:  # else the trainer jumped meanwhile
                self._steps.append(shards)
                self.end = here + 1
                for shard in shards:
                    if shard not in self._uses:
                        self._uses[shard] = deque()
                        self._bytes += int(self._sizes[shard])
                    self._uses[shard].append(here)
        return True

    def distances(self) -> dict[int, int]:
        """Give the steps from now until each shard is needed, in the order of need."""
        with self._lock:
            first = [(uses[0] - self.step, shard) for shard, uses in self._uses.items()]
        return {shard: distance for distance, shard in sorted(first)}

    def distance(self, shard: int) -> int | None:
        """Give the steps from now until a shard is needed; None when it is not known to be."""
        with self._lock:
            uses = self._uses.get(shard)
            return uses[0] - self.step if uses else None

    def need(self, steps: int) -> int:
        """Give the bytes of all shards that the next steps read."""
        soon = [shard for shard, distance in self.distances().items() if distance < steps]
        return int(self._sizes[soon].sum())

    def _pass(self) -> None:
        for shard in self._steps.popleft():
            uses = self._uses[shard]
            uses.popleft()
            if not uses:
                del self._uses[shard]
                self._bytes -= int(self._sizes[shard])
