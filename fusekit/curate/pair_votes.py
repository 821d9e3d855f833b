"""Votes: how many images of one template look like those of another.

Images are read in groups that fit the memory, those of the left against those of the right, so
that the files are read once for each two groups and not for each pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from fusekit.rng import derive, permute

if TYPE_CHECKING:
    from fusekit.curate.gallery import Gallery
    from fusekit.store.embeddings import Vectors

Ints: TypeAlias = npt.NDArray[np.int64]
Counts: TypeAlias = npt.NDArray[np.int32]

IMAGES: Final = 10
"""Most images of each side that are compared with each other: 100 pairs."""

_GROUP_BYTES: Final = 128 << 20  # of embeddings of either side that are held at once
_PAIRS_AT_ONCE: Final = 512
_SEED: Final = derive("identity pairs", "images")


def count_votes(
    left: Gallery, right: Gallery, a: Ints, b: Ints, threshold: float
) -> tuple[Counts, Counts]:
    """Compare up to ten images of each template with each other.

    Args:
        left: A gallery.
        right: Another, or the same.
        a: ``(P,)`` templates of the left one.
        b: ``(P,)`` templates of the right one.
        threshold: A pair of images that scores above it is a vote.

    Returns:
        int32 ``(P,)`` each: votes, and image pairs compared.

    Raises:
        StorageError: A part of the embeddings is damaged.
    """
    votes, compared = np.zeros(len(a), np.int32), np.zeros(len(a), np.int32)
    of_left, of_right = _groups(left, a), _groups(right, b)
    for first in range(int(of_left.max(initial=-1)) + 1):
        mine = np.flatnonzero(of_left == first)
        x = _read(left, a[mine])
        for second in np.unique(of_right[mine]).tolist():
            pairs = mine[of_right[mine] == second]
            y = _read(right, b[pairs])
            for begin in range(0, len(pairs), _PAIRS_AT_ONCE):
                at = pairs[begin : begin + _PAIRS_AT_ONCE]
                votes[at], compared[at] = _compare(x, a[at], y, b[at], threshold)
    return votes, compared


@dataclass(frozen=True)
class _Images:
    """Up to ten images of each of some templates.

    Attributes:
        templates: ``(T,)`` ascending.
        counts: ``(T,)`` how many images of each.
        starts: ``(T,)`` where its images begin in ``places``.
        places: ``(N,)`` rows of ``vectors``.
        vectors: float32 ``(R, D)``; the last is zeros, which stands for no image.
    """

    templates: Ints
    counts: Ints
    starts: Ints
    places: Ints
    vectors: Vectors

    def of(self, templates: Ints) -> tuple[npt.NDArray[np.float64], Ints]:
        """Give the images of some templates, float64 (P, most, D), and how many each has."""
        at = np.searchsorted(self.templates, templates)
        counts = self.counts[at]
        turn = np.arange(counts.max(initial=0))
        there = turn < counts[:, None]  # (P, most)
        place = np.where(there, self.starts[at][:, None] + turn, 0)
        rows = np.where(there, self.places[place], -1)
        return self.vectors[rows].astype(np.float64), counts


def _groups(gallery: Gallery, templates: Ints) -> Ints:
    """Number the groups that templates are read in, those of lower numbers first: (P,)."""
    unique, place = np.unique(templates, return_inverse=True)
    images = np.minimum(gallery.templates.images[unique], IMAGES).astype(np.int64)
    at_once = max(IMAGES, _GROUP_BYTES // (4 * gallery.embeddings.dim))
    return np.asarray((np.cumsum(images) // at_once)[place], np.int64)


def _read(gallery: Gallery, templates: Ints) -> _Images:
    """Choose and read the images of templates; every file is read once."""
    unique = np.unique(templates)
    starts = gallery.templates.starts
    sizes = starts[unique + 1] - starts[unique]
    counts = np.minimum(sizes, IMAGES)
    begins = np.cumsum(counts) - counts
    turn = np.arange(counts.sum()) - np.repeat(begins, counts)
    keys = np.repeat(np.uint64(_SEED) + unique.astype(np.uint64), counts)
    chosen = permute(turn, np.repeat(sizes, counts), keys).astype(np.int64)
    numbers = gallery.templates.rows[np.repeat(starts[unique], counts) + chosen]
    rows, places = np.unique(numbers, return_inverse=True)
    vectors = np.zeros((len(rows) + 1, gallery.embeddings.dim), np.float32)
    vectors[:-1] = gallery.embeddings.take(rows)
    return _Images(unique, counts, begins, places, vectors)


def _compare(x: _Images, a: Ints, y: _Images, b: Ints, threshold: float) -> tuple[Counts, Counts]:
    """Count votes and image pairs of pairs of templates: (P,) each."""
    left, count_a = x.of(a)
    right, count_b = y.of(b)
    # No BLAS: the same with any number of threads.
    cosines = np.einsum("pid,pjd->pij", left, right, optimize=False)
    there = np.arange(left.shape[1])[:, None] < count_a[:, None, None]
    there = there & (np.arange(right.shape[1]) < count_b[:, None, None])
    votes = np.count_nonzero((cosines > threshold) & there, axis=(1, 2))
    return votes.astype(np.int32), (count_a * count_b).astype(np.int32)
