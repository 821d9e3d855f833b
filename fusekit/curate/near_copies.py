"""Samples that are copies by their looks: near by hash, one person by embedding, one picture.

Three questions, each dearer than the one before and asked of what the one before left: do the
perceptual hashes differ in few bits, do the embeddings show one person, and does one picture lie
on the other. The hash alone finds look-alikes by the million; the embedding alone can't tell a
copy from the next frame of a film.
"""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from fusekit.curate.copy_groups import Components
from fusekit.curate.graph import exact_rows
from fusekit.curate.hamming import near_pairs
from fusekit.curate.numbered_rows import CropReader, NumberedRows, Rows
from fusekit.curate.perceptual_hash import hash_dataset, join_hashes, mirror_mask
from fusekit.curate.registration import lay_pairs
from fusekit.curate.thresholds import PROBES, fit_strangers, probes
from fusekit.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from fusekit.curate.perceptual_hash import Hashes
    from fusekit.progress import Report
    from fusekit.store.embeddings import EmbeddingSet

CORRELATION: Final = 0.98
"""Two faces laid over each other correlate so much when they are one picture: of copies that were
compressed, shrunk, cut and stretched 99 in 100 do, of other pictures of the person few."""
FALSE_MATCH: Final = 1e-6
"""Share of pairs of strangers whose embeddings may pass: the threshold comes from the data."""
VERSION: Final = 1

_NO_STRANGERS: Final = 0.5  # a cosine for sets of one picture, where no two can be compared
_QUARTERS_TO_SD: Final = 1.349  # of a normal distribution
_HEAVY_TAIL: Final = 1.2  # over a normal one, as in thresholds.py
_BINS: Final = 40_000  # as fit_strangers takes them
_DOT_BLOCK: Final = 1 << 16
_PAIR_BLOCK: Final = 512


@dataclass(frozen=True)
class NearCopies:
    """The pairs that are copies.

    Attributes:
        pairs: Row numbers, the smaller first. Pairs that others connect already were not asked.
        candidates: Pairs whose hashes are near.
        one_person: How many of them show one person.
    """

    pairs: tuple[tuple[int, int], ...]
    candidates: int
    one_person: int


@dataclass(frozen=True)
class Looks:
    """What is known of how samples look.

    Attributes:
        numbered: The samples.
        hashes: Of all of them.
        vectors: float16 ``(N, D)``, on disk.
        cosine: Two samples above it show one person.
        threads: How many work at once.
    """

    numbered: NumberedRows
    hashes: Hashes
    vectors: npt.NDArray[np.float16]
    cosine: float
    threads: int

    def cosines(self, left: Rows, right: Rows) -> npt.NDArray[np.float32]:
        """Give the cosines of pairs: (P,)."""
        out = np.zeros(len(left), np.float32)
        for begin in range(0, len(left), _DOT_BLOCK):
            block = slice(begin, begin + _DOT_BLOCK)
            a, b = (self.vectors[ends[block]].astype(np.float32) for ends in (left, right))
            out[block] = np.einsum("ij,ij->i", a, b)
        return out

    def same_picture(self, left: Rows, right: Rows) -> npt.NDArray[np.bool_]:
        """Tell of pairs whether they are one picture, of one person."""
        one_person = self.cosines(left, right) >= self.cosine
        out = np.zeros(len(left), np.bool_)
        asked = np.unique(np.concatenate([left[one_person], right[one_person]]))
        crops = CropReader(self.numbered, asked)
        laid = lay_pairs(left[one_person], right[one_person], crops, self.threads)
        out[one_person] = [overlay.correlation >= CORRELATION for overlay in laid]
        return out


@contextmanager
def open_looks(
    numbered: NumberedRows, sets: Sequence[EmbeddingSet], threads: int, report: Report
) -> Iterator[Looks]:
    """Hash all crops, and lay all embeddings out so that any two can be compared.

    Args:
        numbered: The samples.
        sets: The embeddings of their datasets, in the same order, by one model.
        threads: How many work at once.
        report: Told of progress.

    Yields:
        The looks; the embeddings lie in a temporary folder that goes with the block.

    Raises:
        StoreError: A crop is damaged.
        StorageError: A part of the embeddings is damaged.
    """
    parts = [hash_dataset(numbered.storage, info, threads, report) for info in numbered.infos]
    with tempfile.TemporaryDirectory(prefix="fusekit-dedup-") as folder:
        vectors = _lay_out(sets, Path(folder, "vectors"))
        yield Looks(numbered, join_hashes(parts), vectors, _one_person(numbered, sets), threads)
        del vectors


def find_near(
    looks: Looks, distance: int, known: Iterable[Sequence[int]], report: Report
) -> NearCopies:
    """Find pairs of samples that are copies of one picture.

    Of samples with the same hash, each is compared with the next one, and the first with others.

    Args:
        looks: From :func:`open_looks`.
        distance: Most bits of 128 in which hashes of copies differ.
        known: Rows that are copies byte for byte, and need no comparison.
        report: Told of progress.

    Raises:
        StoreError: A crop is damaged.
    """
    connected = Components()
    for rows in known:
        for row in rows[1:]:
            connected.add(rows[0], row)
    candidates, pairs = 0, []
    for left, right in _candidates(looks.hashes, distance, looks.threads):
        candidates += len(left)
        near = looks.cosines(left, right) >= looks.cosine
        pairs.append(np.stack([left[near], right[near]], axis=1))
    todo = _first_of_each(np.unique(np.concatenate([np.zeros((0, 2), np.int64), *pairs]), axis=0))
    found: list[tuple[int, int]] = []
    for begin in range(0, len(todo), _PAIR_BLOCK):
        report(Progress("lay pictures over each other", begin, len(todo), "pairs"))
        block = [
            (a, b)
            for a, b in todo[begin : begin + _PAIR_BLOCK].tolist()
            if not connected.same(a, b)
        ]
        ends = np.array(block, np.int64).reshape(-1, 2)
        same = looks.same_picture(ends[:, 0], ends[:, 1])
        for pair in ends[same].tolist():
            connected.add(pair[0], pair[1])
            found.append((pair[0], pair[1]))
    report(Progress("lay pictures over each other", len(todo), len(todo), "pairs"))
    return NearCopies(tuple(found), candidates, len(todo))


def _first_of_each(pairs: Rows) -> Rows:
    """Put each row's pair with its smallest partner first, then the second ones, and so on.

    So ten copies are connected by nine pairs, and the other 36 need not be asked.
    """
    order = np.lexsort((pairs[:, 0], pairs[:, 1]))
    ends = pairs[order, 1]
    turn = np.arange(len(ends)) - np.searchsorted(ends, ends)
    return np.asarray(pairs[order[np.argsort(turn, kind="stable")]])


def _candidates(hashes: Hashes, distance: int, threads: int) -> Iterator[tuple[Rows, Rows]]:
    """Give pairs of rows with near hashes, each hash taken once."""
    rows = np.flatnonzero(hashes.known)
    order = rows[np.lexsort((rows, hashes.codes[rows, 1], hashes.codes[rows, 0]))]
    codes = hashes.codes[order]
    same = (codes[1:] == codes[:-1]).all(axis=1)
    yield order[:-1][same], order[1:][same]
    first = np.concatenate([[True], ~same])[: len(order)]
    standing, distinct = order[first], codes[first]
    for flip in (None, mirror_mask()):
        for near in near_pairs(distinct, distance, flip=flip, threads=threads):
            ends = np.stack([standing[near.left], standing[near.right]])
            yield ends.min(axis=0), ends.max(axis=0)


def _lay_out(sets: Sequence[EmbeddingSet], path: Path) -> npt.NDArray[np.float16]:
    count, dim = sum(each.rows for each in sets), max(each.dim for each in sets)
    if not count * dim:
        return np.zeros((count, max(dim, 1)), np.float16)
    vectors = np.memmap(path, np.float16, "w+", shape=(count, dim))
    first = 0
    for each in sets:
        for block in each.blocks():
            at = first + block.first_row
            vectors[at : at + len(block.vectors)] = block.vectors
        first += each.rows
    return vectors


def _one_person(numbered: NumberedRows, sets: Sequence[EmbeddingSet]) -> float:
    """Give the cosine that a share FALSE_MATCH of the pairs of strangers lies above.

    Strangers are samples of different identities of one dataset. Where no dataset has identities
    any two samples count, and the tail is told from the quarters of their cosines, which hardly
    move though many of the pairs are one person's.
    """
    labeled = any(each.dataset.identities for each in sets)
    cosines, people = [np.zeros(0, np.float32)], 0
    for each, first in zip(sets, numbered.first_rows, strict=False):
        if labeled and not each.dataset.identities:
            continue  # a crawl's many pictures of few people are no strangers
        rows = probes(each.rows, PROBES)
        vectors = exact_rows(each.take(rows))
        whose = numbered.take(rows + first, ["identity_index"]).column(0).to_numpy()
        there = vectors.any(axis=1)
        vectors, whose = vectors[there], whose[there]
        strangers = (whose[:, None] != whose) | (whose < 0)
        cosines.append((vectors @ vectors.T)[np.triu(strangers, 1)].clip(-1, 1))
        people += len(np.unique(whose))
    found = np.concatenate(cosines)
    if not len(found):
        return _NO_STRANGERS
    if not labeled:
        low, middle, high = np.percentile(found.astype(np.float64), (25, 50, 75))
        deviate = NormalDist().inv_cdf(1 - FALSE_MATCH)
        return round(float(middle + (high - low) / _QUARTERS_TO_SD * _HEAVY_TAIL * deviate), 4)
    bins = np.floor((found + 1) * np.float32(_BINS / 2)).astype(np.int64)
    counts = np.bincount(bins.clip(0, _BINS - 1), minlength=_BINS)
    return fit_strangers(counts, people).threshold(FALSE_MATCH)
