"""Share out a growing count by weights: the tree that keeps every share exact at every count."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Fork:
    """An inner node: its two sides and their summed weights."""

    left: Node
    right: Node
    left_weight: int
    weight: int


Node: TypeAlias = int | Fork  # a leaf is its number


def split_tree(weights: Sequence[int]) -> Node:
    """Join leaves into a binary tree, the two lightest first, the lighter on the left.

    Of equal weights the one that holds the lower leaf comes first.

    Args:
        weights: One positive integer per leaf, at least one.

    Example:
        >>> split_tree([5, 1, 2]).left_weight
        3
    """
    heap: list[tuple[int, int, Node]] = [(w, leaf, leaf) for leaf, w in enumerate(weights)]
    heapq.heapify(heap)
    while len(heap) > 1:
        left_weight, left_leaf, left = heapq.heappop(heap)
        right_weight, right_leaf, right = heapq.heappop(heap)
        weight = left_weight + right_weight
        fork = Fork(left, right, left_weight, weight)
        # Lowest leaves are distinct, so two forks are never compared.
        heapq.heappush(heap, (weight, min(left_leaf, right_leaf), fork))
    return heap[0][2]


def split(root: Node, count: int, leaves: int) -> list[int]:
    """Share out ``count``: at each fork the left side gets ``floor(count * left / weight)``.

    Every leaf's share never falls as ``count`` grows, and the shares always sum to ``count``.

    Args:
        root: From :func:`split_tree`.
        count: How many to share out; an integer of any size.
        leaves: How many leaves the tree has.

    Returns:
        One count per leaf.

    Example:
        >>> split(split_tree([3, 1]), 10, 2)
        [8, 2]
    """
    shares = [0] * leaves
    todo = [(root, count)]
    while todo:
        node, size = todo.pop()
        if isinstance(node, Fork):
            left = size * node.left_weight // node.weight
            todo += [(node.left, left), (node.right, size - left)]
        else:
            shares[node] = size
    return shares


def in_proportion(weights: Sequence[int], count: int) -> list[int]:
    """Share out a count by weights of which some, but not all, may be 0.

    Example:
        >>> in_proportion([3, 0, 1], 10)
        [8, 0, 2]
    """
    some = [k for k, weight in enumerate(weights) if weight]
    parts = [0] * len(weights)
    shares = split(split_tree([weights[k] for k in some]), count, len(some))
    for k, share in zip(some, shares, strict=True):
        parts[k] = share
    return parts
