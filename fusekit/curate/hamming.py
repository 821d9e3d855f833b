"""All pairs of hashes within a Hamming distance, by an index for each of several substrings.

Two hashes that differ in at most r of their bits differ in at most r // m bits of one of m
disjoint substrings. So it is enough to look, for each substring, at the hashes whose substring is
the same but for so many flips: exact, and far fewer than all pairs.

Reference:
    Norouzi, Punjani and Fleet, "Fast search in Hamming space with multi-index hashing", CVPR
    2012, proposition 1.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import combinations, islice
from math import comb
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from fusekit.curate.native_near import find_near_search

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusekit.curate.perceptual_hash import Codes

BITS: Final = 128

_SUBSTRINGS: Final = (16, 8, 6)  # 8, 16 and 21 or 22 bits each
_PAIRS_AT_ONCE: Final = 1 << 18  # what stays in a core's cache
_ROW_COST: Final = 6.0  # looking one hash up, in comparisons of a pair: measured
_CODES_AT_ONCE: Final = 1 << 20
_Places: TypeAlias = npt.NDArray[np.int64]
_Bits: TypeAlias = npt.NDArray[np.int16]


@dataclass(frozen=True)
class NearPairs:
    """Some pairs of hashes.

    Attributes:
        left: int64 ``(P,)`` row numbers.
        right: int64 ``(P,)``, each larger than its left.
        distance: int16 ``(P,)``.
    """

    left: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]
    distance: npt.NDArray[np.int16]


@dataclass(frozen=True)
class _Table:
    """The hashes in the order of one substring."""

    order: npt.NDArray[np.int64]  # (N,) row numbers
    keys: npt.NDArray[np.int64]  # (N,) ascending
    starts: npt.NDArray[np.int64]  # (2**bits + 1,) where each key begins
    words: tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]  # (N,) each
    before: tuple[tuple[np.uint64, np.uint64], ...]  # masks of the substrings before this one


def near_pairs(
    codes: Codes, radius: int, *, flip: Codes | None = None, threads: int = 1
) -> Iterator[NearPairs]:
    """Find all pairs of hashes that differ in at most ``radius`` bits, each once.

    Memory is some copies of the hashes and the pairs of one substring. Many equal hashes make
    as many pairs as they are: give each hash once.

    Args:
        codes: uint64 ``(N, 2)``.
        radius: 0 to 63 bits.
        flip: uint64 ``(2,)``: bits of one of the two that are flipped before they are compared,
            as :func:`~fusekit.curate.perceptual_hash.mirror_mask` says; None flips none.
        threads: How many; neither the pairs nor their order depend on it.

    Yields:
        Pairs, in an order that depends on the hashes alone.
    """
    mask = np.zeros(2, np.uint64) if flip is None else flip
    substrings = _choose_substrings(len(codes), radius)
    reach = radius // substrings
    with ThreadPoolExecutor(threads) as pool:
        for number in range(substrings if len(codes) > 1 else 0):
            table = _make_table(codes, number, substrings)
            width = len(range(number, BITS, substrings))
            flipped = int(_substring(mask[None], number, substrings)[0])
            search = partial(_search, table, mask=mask, radius=radius, reach=reach)
            todo = iter([flipped ^ each for each in _flips(width, reach)])
            # Some at a time: a pool takes all of its work at once, and would keep all results.
            while some := list(islice(todo, 4 * threads)):
                yield from pool.map(search, some)


def _choose_substrings(count: int, radius: int) -> int:
    """Choose into how many substrings to cut: the number whose search compares least."""

    def cost(substrings: int) -> float:
        width = BITS / substrings
        probes = sum(comb(round(width), k) for k in range(radius // substrings + 1))
        return substrings * probes * (count / 2**width + _ROW_COST)

    return min(_SUBSTRINGS, key=cost)


def _flips(width: int, reach: int) -> list[int]:
    """List the changes of at most ``reach`` of ``width`` bits."""
    return [
        sum(1 << bit for bit in bits)
        for count in range(min(reach, width) + 1)
        for bits in combinations(range(width), count)
    ]


def _substring(codes: Codes, number: int, substrings: int) -> npt.NDArray[np.int64]:
    """Take every ``substrings``-th bit from bit ``number``: neighbours tell nearly the same."""
    out = np.zeros(len(codes), np.int64)
    for begin in range(0, len(codes), _CODES_AT_ONCE):
        block = codes[begin : begin + _CODES_AT_ONCE]
        keys = out[begin : begin + _CODES_AT_ONCE]
        for place, bit in enumerate(range(number, BITS, substrings)):
            here = (block[:, bit // 64] >> np.uint64(bit % 64)) & np.uint64(1)
            keys |= here.astype(np.int64) << place
    return out


def _substring_mask(number: int, substrings: int) -> tuple[np.uint64, np.uint64]:
    bits = range(number, BITS, substrings)
    low, high = (sum(1 << (b % 64) for b in bits if b // 64 == word) for word in (0, 1))
    return np.uint64(low), np.uint64(high)


def _make_table(codes: Codes, number: int, substrings: int) -> _Table:
    keys = _substring(codes, number, substrings)
    order = np.argsort(keys, kind="stable")
    width = len(range(number, BITS, substrings))
    counts = np.bincount(keys, minlength=1 << width)
    return _Table(
        order=order, keys=keys[order], starts=np.concatenate([[0], np.cumsum(counts)]),
        words=(codes[order, 0], codes[order, 1]),
        before=tuple(_substring_mask(n, substrings) for n in range(number)),
    )  # fmt: skip


def _search(table: _Table, change: int, mask: Codes, radius: int, reach: int) -> NearPairs:
    """Compare the hashes whose substrings differ by exactly ``change``, each pair once."""
    native = find_near_search()
    if native is not None:
        before = np.array(table.before, np.uint64).reshape(-1, 2)
        parts = native.search(
            table.keys, table.starts, table.words, change, mask, radius, before, reach
        )
        return _join([_of_table(table, *part) for part in parts])
    if change:
        # Of the two ends the one whose highest changed bit is 0 has the smaller key.
        rows = np.flatnonzero((table.keys >> (change.bit_length() - 1)) & 1 == 0)
        partner = table.keys[rows] ^ change
        first, end = table.starts[partner], table.starts[partner + 1]
    else:
        rows = np.arange(len(table.keys))
        first, end = rows + 1, table.starts[table.keys + 1]
    some = end > first
    rows, first, counts = rows[some], first[some], (end - first)[some]
    found: list[NearPairs] = []
    ends = np.cumsum(counts)
    begin = 0
    while begin < len(rows):
        done = int(ends[begin - 1]) if begin else 0
        stop = max(begin + 1, int(np.searchsorted(ends, done + _PAIRS_AT_ONCE, "right")))
        block = slice(begin, stop)
        found.append(_compare(table, rows[block], first[block], counts[block], mask, radius, reach))
        begin = stop
    return _join(found)


def _join(found: list[NearPairs]) -> NearPairs:
    return NearPairs(
        np.concatenate([np.zeros(0, np.int64), *(f.left for f in found)]),
        np.concatenate([np.zeros(0, np.int64), *(f.right for f in found)]),
        np.concatenate([np.zeros(0, np.int16), *(f.distance for f in found)]),
    )


def _of_table(table: _Table, left: _Places, right: _Places, distance: _Bits) -> NearPairs:
    """Give the row numbers of pairs of places in a table, the smaller one first."""
    ends = np.stack([table.order[left], table.order[right]])
    return NearPairs(ends.min(axis=0), ends.max(axis=0), distance)


def _compare(
    table: _Table, rows: npt.NDArray[np.int64], first: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64], mask: Codes, radius: int, reach: int,
) -> NearPairs:  # fmt: skip
    """Compare each row with the ``counts`` hashes from ``first`` on."""
    ends = np.cumsum(counts)
    right = np.arange(int(ends[-1])) + np.repeat(first - (ends - counts), counts)
    left_words = np.repeat(table.words[0][rows] ^ mask[0], counts)
    low = left_words ^ table.words[0][right]
    distance = np.bitwise_count(low)
    near = np.flatnonzero(distance <= radius)  # half of the bits leave out most pairs
    left = rows[np.searchsorted(ends, near, "right")]
    right, low = right[near], low[near]
    high = table.words[1][left] ^ mask[1] ^ table.words[1][right]
    distance = distance[near] + np.bitwise_count(high)
    fresh = distance <= radius
    for low_bits, high_bits in table.before:
        # A pair that an earlier substring gave is not given again.
        apart = np.bitwise_count(low & low_bits) + np.bitwise_count(high & high_bits)
        fresh &= apart > reach
    return _of_table(table, left[fresh], right[fresh], distance[fresh].astype(np.int16))
