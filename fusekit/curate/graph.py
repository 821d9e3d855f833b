"""Similarity graphs of samples: an edge where the cosine of two embeddings reaches a threshold.

Compressed rows (CSR): the edges of a node lie side by side, each edge stands at both of its ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusekit.store.embeddings import Vectors

MOST_NEIGHBOURS: Final = 512
"""Edges that a sample of an identity asks for, the strongest."""

_STEPS: Final = np.float32(2**11)
_ROWS: Final = 1_024
_COLUMNS: Final = 8_192
_FOUND: Final = 1 << 22  # edges of a block of rows from which the weak ones are let go


@dataclass(frozen=True)
class Graph:
    """An undirected graph with weights, without loops.

    Attributes:
        starts: int64 ``(N + 1,)``; the edges of node i are ``[starts[i], starts[i + 1])``.
        neighbours: int32 ``(E,)``, the other end of each; ascending for each node.
        weights: float32 ``(E,)``, cosines.
    """

    starts: npt.NDArray[np.int64]
    neighbours: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]

    @property
    def nodes(self) -> int:
        """How many nodes there are, N."""
        return len(self.starts) - 1


def exact_rows(vectors: Vectors) -> Vectors:
    """Round the numbers of unit rows to 1/2048, so that their products are exact.

    A product of two such numbers is a multiple of 2**-22, and no partial sum of a cosine exceeds
    1 (Cauchy and Schwarz), so float32 holds every one of them: a matrix product gives the same
    bits in whatever order a library adds, on any number of threads. A cosine moves by about
    0.0002.

    Args:
        vectors: ``(N, D)`` of unit length.

    Example:
        >>> exact_rows(np.array([[0.6, 0.8]], np.float32)).tolist()
        [[0.60009765625, 0.7998046875]]
    """
    rounded: Vectors = np.rint(vectors * _STEPS) / _STEPS
    return rounded


def similarity_graph(
    vectors: Vectors,
    starts: npt.NDArray[np.int64],
    threshold: float,
    most: int = MOST_NEIGHBOURS,
    report: Callable[[int], None] = lambda _: None,
) -> Graph:
    """Connect the samples of each group whose cosine reaches the threshold.

    Every pair of a group is compared. A sample asks for its ``most`` strongest edges, of equal
    ones for the first, and an edge stands when either end asks for it: a group of up to
    ``most + 1`` samples is complete, and memory is linear in the samples of a larger one.

    Args:
        vectors: ``(N, D)``, from :func:`exact_rows`, by group; a row of zeros gets no edge.
        starts: ``(G + 1,)``; group g is ``vectors[starts[g]:starts[g + 1]]``.
        threshold: The least cosine of an edge, over 0.
        most: The edges that a sample asks for.
        report: Told how many samples are done, now and then.

    Example:
        >>> rows = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
        >>> similarity_graph(rows, np.array([0, 3]), 0.5).neighbours.tolist()
        [1, 0]
    """
    parts = []
    for first, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        group = vectors[first:end]
        for begin in range(0, len(group) if len(group) > 1 else 0, _ROWS):
            head, tail, weight = _strongest(group, begin, threshold, most)
            parts.append((head + np.int32(first + begin), tail + np.int32(first), weight))
            if len(group) > _ROWS:
                report(first + begin)
    return _joined(len(vectors), parts, complete=int(np.diff(starts).max(initial=0)) <= most + 1)


def ranges(starts: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """List the integers of several ranges, one after the other.

    Example:
        >>> ranges(np.array([5, 9]), np.array([2, 3])).tolist()
        [5, 6, 9, 10, 11]
    """
    ends = np.cumsum(counts)
    shift = np.repeat(starts - ends + counts, counts)
    return np.asarray(np.arange(ends[-1] if len(ends) else 0) + shift, np.int64)


_Edges = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.float32]]


def _strongest(group: Vectors, begin: int, threshold: float, most: int) -> _Edges:
    """Find the strongest edges of a block of rows: row in the block, column, cosine."""
    rows = group[begin : begin + _ROWS]
    none = np.zeros(0, np.int32)
    found: list[_Edges] = [(none, none, none.astype(np.float32))]
    waiting = 0
    for first in range(0, len(group), _COLUMNS):
        cosines = rows @ group[first : first + _COLUMNS].T  # (rows, columns)
        head, tail = np.nonzero(cosines >= threshold)
        weight = cosines[head, tail]
        head, tail = head.astype(np.int32), (tail + first).astype(np.int32)
        others = head + begin != tail
        found.append((head[others], tail[others], weight[others]))
        waiting += len(head)
        if waiting > _FOUND:
            found = [_keep_most(found, most)]
            waiting = len(found[0][0])
    return _keep_most(found, most)


def _keep_most(found: list[_Edges], most: int) -> _Edges:
    """Keep the strongest edges of each row, of equal ones the first, ascending by column."""
    head, tail, weight = (np.concatenate(columns) for columns in zip(*found, strict=True))
    order = np.lexsort((tail, -weight, head))
    starts = np.searchsorted(head[order], head[order])
    order = order[np.arange(len(order)) - starts < most]
    order = order[np.lexsort((tail[order], head[order]))]
    return head[order], tail[order], weight[order]


def _joined(count: int, parts: list[_Edges], *, complete: bool) -> Graph:
    """Put edges into rows; where not complete, what one end asks for is added to the other."""
    if not parts:
        none = np.zeros(0, np.int32)
        return Graph(np.zeros(count + 1, np.int64), none, none.astype(np.float32))
    heads, tails, weights = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    parts.clear()
    if not complete:
        low = np.minimum(heads, tails).astype(np.int64)
        keys, at = np.unique(low * count + np.maximum(heads, tails), return_index=True)
        del heads, tails, low
        low, high = (end.astype(np.int32) for end in np.divmod(keys, count))
        del keys
        heads, tails = np.concatenate([high, low]), np.concatenate([low, high])
        # Those from below stand before those from above, both ascending: rows are in order.
        order = np.argsort(heads, kind="stable")
        heads, tails, weights = heads[order], tails[order], np.tile(weights[at], 2)[order]
    starts = np.concatenate([[0], np.cumsum(np.bincount(heads, minlength=count))])
    return Graph(starts.astype(np.int64), tails, weights)
