"""Endless streams of rows, each cycle in another permutation, computed row by row."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from fusekit.rng import U64, derive, permute, rank_words

if TYPE_CHECKING:
    from collections.abc import Sequence

Rows: TypeAlias = npt.NDArray[np.int64]

_LANE = 0
_LOOK = derive("augment")


@dataclass(frozen=True)
class Stream:
    """One endless stream of the rows ``first_row .. first_row + rows - 1``.

    Attributes:
        number: What its permutations' keys depend on: the source index, and 0 when the labeled
            sources are pooled.
        first_row: Its first row in the index.
        rows: How many rows it has, ``N``.
    """

    number: int
    first_row: int
    rows: int


class Shuffle:
    """The permutations of a few streams, all answered by one vectorised call.

    A cycle's rows are cut into blocks, the blocks are permuted, and each window of them is
    permuted as a whole; so a window reads few places of the disk.

    Args:
        streams: The streams.
        seed: Of every permutation.
        block: Rows of a block, ``B``; a stream of fewer rows is one block.
        window: Most blocks of a window, ``S``; a stream's windows are made equal.
    """

    def __init__(self, streams: tuple[Stream, ...], seed: int, block: int, window: int) -> None:
        shapes = [_shape(s.rows, block, window) for s in streams]
        self._seed = seed
        self._numbers = [s.number for s in streams]
        self._sizes = [s.rows for s in streams]
        self._first = np.array([s.first_row for s in streams], np.int64)
        self._rows = np.array(self._sizes, np.uint64)
        self._block = np.array([b for b, _, _ in shapes], np.uint64)
        self._window = np.array([s for _, s, _ in shapes], np.uint64)
        self._slots = np.array([p for _, _, p in shapes], np.uint64)

    def draw(self, which: Rows, base: Sequence[int], ordinal: Rows) -> tuple[Rows, U64]:
        """Give the rows at some positions of the streams, and their augmentation keys.

        Args:
            which: Per row, the place of its stream.
            base: Per stream, a position: integers of any size.
            ordinal: Per row, how far its position is behind its stream's ``base``.

        Returns:
            The rows, and for each ``derive(key of its cycle, derive("augment"), place in it)``.
        """
        starts = [divmod(at, size) for at, size in zip(base, self._sizes, strict=True)]
        within = np.array([i for _, i in starts], np.int64)[which] + ordinal
        sizes = self._rows[which].astype(np.int64)
        # Cycles are counted from the step's first one: the number itself may pass 2**63.
        later = within // sizes
        keys = np.empty((len(which), 2), np.uint64)
        for k in np.unique(which):
            mine = which == k
            laps = range(int(later[mine].max()) + 1)
            table = [_keys(self._seed, self._numbers[k], starts[k][0] + lap) for lap in laps]
            keys[mine] = np.array(table, np.uint64)[later[mine]]
        at = (within - later * sizes).astype(np.uint64)
        place = self._scatter(which, at, keys)
        rows = np.asarray(self._first[which] + place.astype(np.int64), np.int64)
        return rows, rank_words(np.stack([keys[:, 0], np.full_like(at, _LOOK), at], 1), 0)

    def _scatter(self, which: Rows, x: U64, keys: U64) -> U64:
        """Permute ``x``, each in ``[0, N)`` of its stream, under its two keys."""
        out, at = x.copy(), np.arange(len(x))
        while len(at):
            k, key, x = which[at], keys[at], out[at]
            block, window = self._block[k], self._window[k]
            span = block * window
            number = x // span
            y = permute(x % span, span, key[:, 0] ^ number)
            slot = permute(number * window + y // block, self._slots[k], key[:, 1])
            out[at] = slot * block + y % block
            # The last block may be short and the last window may have empty slots: walk on.
            at = at[out[at] >= self._rows[k]]
        return out


def _shape(rows: int, block: int, window: int) -> tuple[int, int, int]:
    """Give B, S and P of a stream; windows are made equal, a small stream is one block."""
    block = min(block, rows)
    blocks = -(-rows // block)
    windows = -(-blocks // window)
    even = -(-blocks // windows)
    return block, even, windows * even


@lru_cache(maxsize=4096)
def _keys(seed: int, number: int, cycle: int) -> tuple[int, int]:
    key = derive(seed, number, cycle, _LANE)
    return key, derive(key, "blocks")
