"""Who stands in the samples of one identity: its clusters, the largest of them and its centre."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from fusekit.curate.graph import MOST_NEIGHBOURS, exact_rows, similarity_graph
from fusekit.curate.prototypes import unit_rows
from fusekit.curate.whispers import number_by_size, whisper
from fusekit.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusekit.curate.templates import Templates
    from fusekit.progress import Report
    from fusekit.store.embeddings import EmbeddingSet, Vectors

Ints: TypeAlias = npt.NDArray[np.int64]

LEAST_PERSON: Final = 3
LEAST_SHARE: Final = 0.1
"""A further cluster is thought of as another person from so many samples and this share on."""

_ROWS: Final = 1 << 18  # samples that are held at once, unless one identity has more
_PAIRS: Final = 1 << 25  # and edges that their graphs may have


@dataclass(frozen=True)
class Dominant:
    """The clusters inside the identities of a dataset, I identities with N samples.

    Attributes:
        identity: int32 ``(I,)``, the identity_index of each, ascending.
        starts: int64 ``(I + 1,)``; the samples of i are ``[starts[i], starts[i + 1])``.
        rows: int64 ``(N,)``, their row numbers in the dataset, ascending in each identity.
        cluster: int32 ``(N,)``, 0 the largest of the identity; -1: alone.
        score: float32 ``(N,)``, cosine with the centre of the largest cluster, made without the
            sample; 0 in identities of one sample.
        apart: float32 ``(N,)``, cosine of its cluster's centre with that of the largest, for
            samples of clusters that may be another person; 1 for all others.
        centres: float32 ``(I, D)``, centres of the largest clusters; where no two samples are
            alike, of all.
        largest: int64 ``(I,)``, samples in the largest cluster; 0: no two are alike.
    """

    identity: npt.NDArray[np.int32]
    starts: Ints
    rows: Ints
    cluster: npt.NDArray[np.int32]
    score: npt.NDArray[np.float32]
    apart: npt.NDArray[np.float32]
    centres: Vectors
    largest: Ints

    @property
    def sizes(self) -> Ints:
        """Give the samples of each identity, (I,)."""
        return np.diff(self.starts)


def find_dominant(
    embeddings: EmbeddingSet, templates: Templates, edge: float, report: Report
) -> Dominant:
    """Cluster the samples inside every identity by Chinese whispers.

    Memory holds a centre an identity, four numbers a sample, and the samples and graphs of some
    identities at a time, for which the embeddings are read again.

    Args:
        embeddings: Of a dataset with identities.
        templates: Of the same: they say whose the samples are.
        edge: The cosine from which two samples are alike.
        report: Told of progress.
    """
    identity, starts, rows = _samples(templates)
    count, total = len(identity), len(rows)
    cluster = np.full(total, -1, np.int32)
    score, apart = np.zeros(total, np.float32), np.ones(total, np.float32)
    centres = np.zeros((count, embeddings.dim), np.float32)
    largest = np.zeros(count, np.int64)
    stage = f"clean {embeddings.dataset.name}"
    for first, end in _batches(starts):
        report(Progress(stage, int(starts[first]), total, "samples"))
        mine = rows[starts[first] : starts[end]]
        vectors = take(embeddings, mine)
        inner = starts[first : end + 1] - starts[first]
        labels = whisper(similarity_graph(vectors, inner, edge), mine).labels
        for i, a, b in zip(range(first, end), inner[:-1], inner[1:], strict=True):
            here = slice(starts[i], starts[i + 1])
            numbers, _ = number_by_size(labels[a:b])
            cluster[here] = numbers
            largest[i] = np.count_nonzero(numbers == 0)
            centres[i], score[here], apart[here] = _scores(vectors[a:b], numbers)
    report(Progress(stage, total, total, "samples"))
    return Dominant(identity, starts, rows, cluster, score, apart, exact_rows(centres), largest)


def take(embeddings: EmbeddingSet, rows: Ints) -> Vectors:
    """Read the embeddings of samples in any order, rounded so that products are exact.

    Args:
        embeddings: Of a dataset.
        rows: ``(n,)`` row numbers, each once.

    Returns:
        float32 ``(n, D)``.
    """
    order = np.argsort(rows)
    vectors = np.empty((len(rows), embeddings.dim), np.float32)
    vectors[order] = exact_rows(unit_rows(embeddings.take(rows[order])))
    return vectors


def _samples(templates: Templates) -> tuple[npt.NDArray[np.int32], Ints, Ints]:
    identity, first = np.unique(templates.of_identity, return_index=True)
    starts = np.append(templates.starts[first], len(templates.rows))
    owner = np.repeat(np.arange(len(identity)), np.diff(starts))
    return identity, starts, templates.rows[np.lexsort((templates.rows, owner))]


def _batches(starts: Ints) -> Iterator[tuple[int, int]]:
    """Give runs of identities whose samples and edges fit the memory, one at least."""
    sizes = np.diff(starts)
    pairs = np.concatenate([[0], np.cumsum(sizes * np.minimum(sizes, 2 * MOST_NEIGHBOURS))])
    first = 0
    while first < len(sizes):
        by_rows = np.searchsorted(starts, starts[first] + _ROWS, "right") - 1
        by_pairs = np.searchsorted(pairs, pairs[first] + _PAIRS, "right") - 1
        end = max(first + 1, int(min(by_rows, by_pairs)))
        yield first, end
        first = end


def _scores(
    vectors: Vectors, numbers: npt.NDArray[np.int32]
) -> tuple[Vectors, npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Score one identity's samples.

    Returns:
        ``(D,)`` the centre of the largest cluster; ``(n,)`` each sample's cosine with it; and
        ``(n,)`` the cosine of its cluster's centre with it.
    """  # fmt: skip
    inside = numbers == 0 if numbers.max() >= 0 else np.ones(len(numbers), np.bool_)
    exact = vectors.astype(np.float64)  # multiples of 2**-11: sums are exact in any order
    total = exact[inside].sum(axis=0)
    rest = total - np.where(inside[:, None], exact, 0)
    norms = np.sqrt(np.square(rest).sum(axis=1))
    score = (exact * rest).sum(axis=1) / np.where(norms > 0, norms, 1)
    apart = np.ones(len(numbers))
    least = max(LEAST_PERSON, int(np.ceil(LEAST_SHARE * len(numbers))))
    for number in range(1, int(numbers.max()) + 1):
        other = numbers == number
        if np.count_nonzero(other) < least:
            break  # numbered by falling size
        centre = exact[other].sum(axis=0)
        apart[other] = (total * centre).sum() / np.sqrt(
            np.square(total).sum() * np.square(centre).sum()
        )
    # Rounded rows are a little longer or shorter than 1.
    return unit_rows(total[None].astype(np.float32))[0], score.clip(-1, 1), apart
