"""Chinese whispers: clusters of a weighted graph, without saying how many there are.

Every node starts with a name of its own. The nodes are visited in a fixed random order, and each
takes the name that weighs most among its neighbours, until a pass changes nothing.

Visiting millions of nodes one by one is slow, and visiting many at once is another algorithm,
one that may swing for ever. But two nodes that are no neighbours don't see each other, so all
nodes whose earlier neighbours are done are visited in one vectorised step: the result is that of
the loop over single nodes, bit for bit.

Reference:
    Biemann, "Chinese whispers: an efficient graph clustering algorithm and its application to
    natural language processing problems", TextGraphs 2006; ``chinese_whispers.h`` of dlib is
    what face recognition uses of it. Jones and Plassmann, "A parallel graph coloring heuristic",
    SIAM J. Sci. Comput. 1993, for visiting in steps by a random order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from fusekit.curate.graph import ranges
from fusekit.rng import derive, rank_words

if TYPE_CHECKING:
    from fusekit.curate.graph import Graph

MOST_PASSES: Final = 100
"""Passes after which it stops, settled or not. Real graphs settle in about ten."""
WEIGHT_STEPS: Final = 2**20
"""Weights are counted in so many steps of 1, so that sums are exact and ties are ties."""
_SEED: Final = derive("whispers")


@dataclass(frozen=True)
class Whispers:
    """The clusters of a graph.

    Attributes:
        labels: int32 ``(N,)``: nodes of one cluster have one label, its first node's number.
        passes: Passes over the nodes, the one that changed nothing among them.
        settled: That such a pass was reached.
    """

    labels: npt.NDArray[np.int32]
    passes: int
    settled: bool


@dataclass(frozen=True)
class _Steps:
    """The graph with its nodes numbered by their places in the order, and the steps of a pass."""

    order: npt.NDArray[np.int64]  # (N,) the node at each place
    starts: npt.NDArray[np.int64]
    neighbours: npt.NDArray[np.int32]
    weights: npt.NDArray[np.int32]
    steps: list[npt.NDArray[np.int64]]  # places; no two of a step are neighbours


def whisper(
    graph: Graph,
    names: npt.NDArray[np.int64] | None = None,
    *,
    seed: int = 0,
    most_passes: int = MOST_PASSES,
) -> Whispers:
    """Cluster the nodes of a graph.

    A node keeps its name where that is among the heaviest, and else takes, of equally heavy
    ones, that of the node first in the order. So every change makes the weight inside clusters
    grow, and it settles on any graph.

    Args:
        graph: Its weights are over 0, at most 1 or so (cosines).
        names: ``(N,)`` what places nodes in the order, each its own, such as row numbers in a
            dataset: parts of a graph that don't touch then give the same result apart and
            together. None: the nodes' numbers.
        seed: Of the order.
        most_passes: When to stop; at least 1.

    Example:
        >>> from fusekit.curate.graph import Graph
        >>> pair_and_one = Graph(
        ...     np.array([0, 1, 2, 2]), np.array([1, 0], np.int32), np.ones(2, np.float32))
        >>> whisper(pair_and_one).labels.tolist()
        [0, 0, 2]
    """
    count = graph.nodes
    words = np.arange(count) if names is None else names
    steps = _steps(graph, rank_words(words[:, None], derive(_SEED, seed)))
    labels = np.arange(count, dtype=np.int32)  # by place: of equal weights the least is first
    waiting = np.diff(steps.starts) > 0
    passes, settled = 0, not waiting.any()
    while not settled and passes < most_passes:
        passes += 1
        changed = [
            _visit(steps, places[waiting[places]], labels, waiting) for places in steps.steps
        ]
        settled = not any(changed)
    return Whispers(_by_first_node(labels, steps.order), passes, settled)


def number_by_size(
    labels: npt.NDArray[np.int32],
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Number clusters 0, 1, … by falling size; of equal ones the first label is first.

    Args:
        labels: ``(N,)`` from :func:`whisper`.

    Returns:
        int32 ``(N,)``, -1 for those who are alone, and int64 ``(N,)``, the size of each's
        cluster.

    Example:
        >>> numbers, sizes = number_by_size(np.array([0, 1, 1, 3], np.int32))
        >>> numbers.tolist(), sizes.tolist()
        ([-1, 0, 0, -1], [1, 2, 2, 1])
    """
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    place = np.empty(len(counts), np.int32)
    place[np.argsort(-counts, kind="stable")] = np.arange(len(counts), dtype=np.int32)
    sizes = counts[inverse]
    return np.where(sizes > 1, place[inverse], -1).astype(np.int32), sizes


def _steps(graph: Graph, ranks: npt.NDArray[np.uint64]) -> _Steps:
    order = np.argsort(ranks, kind="stable")
    place = np.empty(len(order), np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    degrees = np.diff(graph.starts)[order]
    edges = ranges(graph.starts[:-1][order], degrees)
    starts = np.concatenate([[0], np.cumsum(degrees)])
    neighbours = place[graph.neighbours[edges]]
    weights = np.rint(graph.weights[edges] * np.float32(WEIGHT_STEPS)).astype(np.int32)
    del edges
    # How many neighbours come before: who has none left to wait for is in the next step.
    earlier = neighbours < np.repeat(np.arange(len(order), dtype=np.int32), degrees)
    sums = np.concatenate([[0], np.cumsum(earlier)])
    before = sums[starts[1:]] - sums[starts[:-1]]
    del earlier, sums
    steps = []
    ready = np.flatnonzero((before == 0) & (degrees > 0))
    while ready.size:
        steps.append(ready)
        own = np.repeat(ready, degrees[ready])
        ends = neighbours[ranges(starts[ready], degrees[ready])]
        later, times = np.unique(ends[ends > own], return_counts=True)
        before[later] -= times
        ready = later[before[later] == 0].astype(np.int64)
    return _Steps(order, starts, neighbours, weights, steps)


def _visit(
    graph: _Steps, places: npt.NDArray[np.int64], labels: npt.NDArray[np.int32],
    waiting: npt.NDArray[np.bool_],
) -> bool:  # fmt: skip
    """Let some nodes, no two of them neighbours, take their names; say whether any changed.

    Who was visited waits for nothing until the name of a neighbour changes: before that, another
    visit would choose the same.
    """
    if not places.size:
        return False
    waiting[places] = False
    counts = graph.starts[places + 1] - graph.starts[places]
    edges = ranges(graph.starts[places], counts)
    owners = np.repeat(np.arange(len(places)), counts)
    keys = owners * len(labels) + labels[graph.neighbours[edges]]
    by_key = np.argsort(keys)  # not stable: sums of integers don't ask for an order
    keys = keys[by_key]
    firsts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    sums = np.add.reduceat(graph.weights[edges][by_key], firsts, dtype=np.int64)
    owner, name = np.divmod(keys[firsts], len(labels))  # one row for each name around a node
    heaviest = np.maximum.reduceat(sums, np.searchsorted(owner, np.arange(len(places))))
    best = sums == heaviest[owner]
    stays = np.zeros(len(places), np.bool_)
    stays[owner[best & (name == labels[places][owner])]] = True
    owner, name = owner[best], name[best]
    chosen = name[np.searchsorted(owner, np.arange(len(places)))]  # names ascend: the least
    moved = ~stays & (chosen != labels[places])
    labels[places[moved]] = chosen[moved]
    hears = places[moved]
    waiting[graph.neighbours[ranges(graph.starts[hears], counts[moved])]] = True
    return bool(moved.any())


def _by_first_node(
    labels: npt.NDArray[np.int32], order: npt.NDArray[np.int64]
) -> npt.NDArray[np.int32]:
    """Name the clusters of places after their first nodes."""
    of_node = np.empty(len(order), np.int32)
    of_node[order] = labels
    _, first, inverse = np.unique(of_node, return_index=True, return_inverse=True)
    return first[inverse].astype(np.int32)
