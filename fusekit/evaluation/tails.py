"""Exact rates over more pairs than fit anywhere: every image against every other, in blocks.

A TAR at FAR f needs the genuine scores and the ``floor(f n) + 1`` highest of n impostor scores, no
more. So the product of all embeddings is made block by block; of each block the impostor scores
over the lowest one still kept join the kept ones, and when these have doubled, the lower half is
dropped. No score is binned or sampled: the result is that of sorting all of them.

Reference:
    Deng et al., "Lightweight Face Recognition Challenge", ICCV Workshops 2019: Trillion-Pairs
    (274 thousand images against 1.58 million, 4e11 pairs) and iQIYI-VID, which this is for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from fusekit.errors import UsageError
from fusekit.evaluation.rates import Rate, allowed, check_fars, highest, rates_of_tail
from fusekit.evaluation.scores import unit_rows
from fusekit.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fusekit.evaluation.scores import Flags, Numbers, Scores, Vectors
    from fusekit.progress import Report

BLOCK: Final = 2_048
"""Rows and columns of one block: 16 MB of scores."""
MOST_KEPT: Final = 1 << 28
"""Most impostor scores that may be kept: 2 GiB while they are halved."""
STRANGER: Final = -1
"""The label of an image that shows nobody's like: it is an impostor to all others."""


@dataclass(frozen=True)
class Tail:
    """What the rates of all pairs follow from.

    Attributes:
        genuine: ``(g,)`` scores of all genuine pairs, ascending.
        top: The highest impostor scores, descending.
        impostors: How many impostor pairs there are.
    """

    genuine: Scores
    top: Scores
    impostors: int

    def rates(self, fars: Sequence[float]) -> list[Rate]:
        """Give TAR at FAR, for rates that the tail was made for.

        Raises:
            UsageError: A rate allows more impostors than were kept.
        """
        for far in check_fars(fars):
            needed = min(allowed(far, self.impostors) + 1, self.impostors)
            if needed > len(self.top):
                found = f"{far:g} needs {needed:,} of the highest impostor scores"
                raise UsageError("--far", found, f"the {len(self.top):,} that were kept")
        return rates_of_tail(self.genuine, self.top, self.impostors, fars)


def within_tail(
    vectors: Vectors, labels: Numbers, fars: Sequence[float], report: Report = silent
) -> Tail:
    """Compare every image of a set with every other, each pair once.

    Args:
        vectors: ``(N, D)`` of any length but zero.
        labels: ``(N,)`` from 0; -1: a stranger to all.
        fars: The rates that will be asked for.
        report: Told of progress.

    Returns:
        What the rates follow from. Memory is ``N * D``, the genuine scores, and twice the
        impostors that the largest rate allows.

    Raises:
        UsageError: A rate can't be, or allows more impostors than memory is given.

    Example:
        >>> vectors = np.array([[1, 0], [0.8, 0.6], [0, 1]], np.float32)
        >>> tail = within_tail(vectors, np.array([0, 0, 1]), [0.5])
        >>> tail.impostors, tail.genuine.round(2).tolist(), tail.rates([0.5])[0].tar
        (2, [0.8], 1.0)
    """
    n = len(labels)
    order = np.argsort(labels, kind="stable")
    unit, label = unit_rows(vectors[order]), labels[order]
    genuine = _pairs_within(label)
    tail = _Kept(_kept(fars, n * (n - 1) // 2 - genuine), n * (n - 1) // 2, report)
    upper = np.triu(np.ones((BLOCK, BLOCK), np.bool_), 1)
    for rows in _blocks(n):
        for columns in _blocks(n, rows.start):
            scores = unit[rows] @ unit[columns].T  # (R, S)
            once = upper[: len(scores), : scores.shape[1]] if rows.start == columns.start else None
            tail.add(scores, label[rows], label[columns], once)
    return tail.finish()


def cross_tail(
    probes: Vectors, probe_labels: Numbers, gallery: Vectors, gallery_labels: Numbers,
    fars: Sequence[float], report: Report = silent,
) -> Tail:  # fmt: skip
    """Compare every probe with every image of a gallery.

    Args:
        probes: ``(N, D)`` of any length but zero.
        probe_labels: ``(N,)`` from 0; -1: a stranger to all.
        gallery: ``(M, D)``.
        gallery_labels: ``(M,)``, of the same numbering.
        fars: The rates that will be asked for.
        report: Told of progress.

    Raises:
        UsageError: As :func:`within_tail`.
    """
    rows_order = np.argsort(probe_labels, kind="stable")
    columns_order = np.argsort(gallery_labels, kind="stable")
    left, left_label = unit_rows(probes[rows_order]), probe_labels[rows_order]
    right, right_label = unit_rows(gallery[columns_order]), gallery_labels[columns_order]
    total = len(left) * len(right)
    genuine = _pairs_across(left_label, right_label)
    tail = _Kept(_kept(fars, total - genuine), total, report)
    for rows in _blocks(len(left)):
        for columns in _blocks(len(right)):
            scores = left[rows] @ right[columns].T  # (R, S)
            tail.add(scores, left_label[rows], right_label[columns], None)
    return tail.finish()


class _Kept:
    """The genuine scores so far, and the highest impostor scores."""

    def __init__(self, most: int, pairs: int, report: Report) -> None:
        self._most, self._pairs, self._report = most, pairs, report
        self._done = self._impostors = self._waiting = 0
        self._floor = np.float32(-np.inf)
        self._genuine: list[Vectors] = []
        self._top: list[Vectors] = []

    def add(self, scores: Vectors, rows: Numbers, columns: Numbers, once: Flags | None) -> None:
        """Take in a block of scores (R, S); ``once``: which of them are pairs, None for all."""
        pairs = scores if once is None else scores[once]
        self._done += pairs.size
        # Labels ascend, so that most blocks have no genuine pair and need no mask.
        if rows[-1] >= columns[0] and columns[-1] >= rows[0] and rows[-1] != STRANGER:
            same = (rows[:, None] == columns) & (rows[:, None] != STRANGER)  # (R, S)
            same = same if once is None else same[once]
            self._genuine.append(pairs[same])
            pairs = pairs[~same]
        self._impostors += pairs.size
        higher = pairs[pairs > self._floor]
        self._top.append(higher.ravel())
        self._waiting += higher.size
        if self._waiting >= 2 * self._most:
            self._halve()
        self._report(Progress("compare all pairs", self._done, self._pairs, "pairs"))

    def _halve(self) -> None:
        top = np.concatenate(self._top)
        if len(top) > self._most:
            top = np.partition(top, len(top) - self._most)[len(top) - self._most :]
            # Others of the lowest kept score are dropped from here on: whether it is kept once or
            # a thousand times, the k-th highest is the same for every k up to the number kept.
            self._floor = top[0]
        self._top, self._waiting = [top], len(top)

    def finish(self) -> Tail:
        """Give what was kept, in float64."""
        genuine = np.concatenate([np.empty(0, np.float32), *self._genuine])
        top = np.concatenate([np.empty(0, np.float32), *self._top])
        return Tail(
            np.sort(genuine).astype(np.float64),
            highest(top.astype(np.float64), self._most), self._impostors,
        )  # fmt: skip


def _kept(fars: Sequence[float], impostors: int) -> int:
    """Give how many impostor scores the rates need."""
    needed = max(min(allowed(far, impostors) + 1, impostors) for far in check_fars(fars))
    if needed > MOST_KEPT:
        found = f"{max(fars):g} of {impostors:,} impostor pairs are {needed:,} scores to keep"
        raise UsageError("--far", found, f"{MOST_KEPT:,} at most")
    return max(needed, 1)


def _pairs_within(labels: Numbers) -> int:
    counts = np.unique(labels[labels != STRANGER], return_counts=True)[1]
    return int((counts * (counts - 1) // 2).sum())


def _pairs_across(left: Numbers, right: Numbers) -> int:
    known = left[left != STRANGER]
    return int(
        (np.searchsorted(right, known, "right") - np.searchsorted(right, known, "left")).sum()
    )


def _blocks(count: int, start: int = 0) -> Iterator[slice]:
    for first in range(start, count, BLOCK):
        yield slice(first, min(first + BLOCK, count))
