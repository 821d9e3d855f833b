"""Groups of copies: connected ones first, then only those that are copies of the best of them.

Near is not transitive: a film's frames make a chain in which each is near the next. So a group is
cut around its best copy, and what is no copy of that one makes a group of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


@dataclass(frozen=True)
class Group:
    """Copies of one picture.

    Attributes:
        classes: Rows that are equal byte for byte, best first; the first class holds the best
            copy of all.
    """

    classes: tuple[tuple[int, ...], ...]


class Components:
    """What is connected by the pairs seen so far (union-find).

    Example:
        >>> parts = Components()
        >>> parts.add(5, 2), parts.add(9, 7), parts.add(2, 3)
        (None, None, None)
        >>> parts.same(3, 5), parts.same(3, 7), parts.members()
        (True, False, [[2, 3, 5], [7, 9]])
    """

    def __init__(self) -> None:
        self._parent: dict[int, int] = {}

    def add(self, a: int, b: int) -> None:
        """Connect two nodes."""
        ends = self._root(a), self._root(b)
        self._parent[max(ends)] = min(ends)

    def same(self, a: int, b: int) -> bool:
        """Tell whether two nodes are connected."""
        return self._root(a) == self._root(b)

    def members(self) -> list[list[int]]:
        """List the components: members ascending, by their first member."""
        found: dict[int, list[int]] = {}
        for node in sorted(self._parent):
            found.setdefault(self._root(node), []).append(node)
        return list(found.values())

    def _root(self, node: int) -> int:
        top = node
        while (above := self._parent.setdefault(top, top)) != top:
            top = above
        while self._parent[node] != top:
            self._parent[node], node = top, self._parent[node]
        return top


def make_groups(
    exact: Sequence[Sequence[int]],
    near: Iterable[tuple[int, int]],
    rank: Callable[[int], int],
    check: Callable[[int, int], bool],
) -> list[Group]:
    """Group copies around the best of each.

    Args:
        exact: Classes of rows that are equal byte for byte.
        near: Pairs of rows that were found to be copies.
        rank: Gives what rows are ordered by: the least is the best.
        check: Tells whether two rows that no pair names are copies of each other.

    Returns:
        Groups of two rows or more, by their smallest row.
    """
    class_of = {row: tuple(sorted(rows, key=rank)) for rows in exact for row in rows}

    def whole(row: int) -> tuple[int, ...]:
        return class_of.get(row, (row,))

    linked = {frozenset((whole(a)[0], whole(b)[0])) for a, b in near}
    edges = [(min(pair), max(pair)) for pair in linked if len(pair) > 1]
    parts = Components()
    for a, b in [*edges, *((rows[0], rows[0]) for rows in class_of.values())]:
        parts.add(a, b)
    groups = []
    for component in parts.members():
        groups += _cut(component, whole, linked, rank, check)
    groups = [g for g in groups if sum(map(len, g.classes)) > 1]
    return sorted(groups, key=lambda g: min(row for rows in g.classes for row in rows))


def _cut(
    component: list[int], whole: Callable[[int], tuple[int, ...]],
    linked: set[frozenset[int]], rank: Callable[[int], int],
    check: Callable[[int, int], bool],
) -> list[Group]:  # fmt: skip
    waiting = sorted(component, key=rank)
    groups = []
    while waiting:
        best, *others = waiting
        mine = [o for o in others if frozenset((best, o)) in linked or check(best, o)]
        groups.append(Group(tuple(whole(row) for row in (best, *mine))))
        taken = set(mine)
        waiting = [other for other in others if other not in taken]
    return groups
