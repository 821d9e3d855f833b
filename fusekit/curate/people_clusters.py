"""People over several datasets: identities joined by their links, with a check against chains.

Links alone join A with C whenever B looks like both. So two groups are joined only if every pair
between them agrees, and two identities of one dataset stand in a group only if they are one
person themselves. The strongest links come first; what they rule out is contested.

Reference:
    Tarjan, "Efficiency of a good but not linear set union algorithm", Journal of the ACM 1975.
    Sørensen, "A method of establishing groups of equal amplitude in plant sociology", 1948:
    complete linkage, which this is over the links that there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Node: TypeAlias = tuple[str, int]
"""A dataset's name and an identity_index in it."""


@dataclass(frozen=True)
class Link:
    """Two identities that were found to be one person.

    Attributes:
        a: The one.
        b: The other.
        score: How strong the link is.
    """

    a: Node
    b: Node
    score: float


@dataclass(frozen=True)
class People:
    """Identities joined into people.

    Attributes:
        cluster_of: Identity to person, 0..n-1 by their first identities; only those joined.
        contested: Positions of the links that were not followed, ascending.
    """

    cluster_of: dict[Node, int]
    contested: tuple[int, ...]

    @property
    def count(self) -> int:
        """How many people there are."""
        return len(set(self.cluster_of.values()))


def join_people(links: Sequence[Link], agrees: Callable[[Node, Node], bool]) -> People:
    """Join identities by their links, the strongest first.

    The result does not depend on the order of the links, nor on which end of one comes first.

    Args:
        links: Pairs found to be one person.
        agrees: Whether two identities that no followed link joins may be one person; asked for
            every such pair of two groups before they are joined.

    Example:
        >>> chain = [Link(("a", 0), ("b", 0), 0.9), Link(("b", 0), ("c", 0), 0.8)]
        >>> join_people(chain, lambda x, y: False)
        People(cluster_of={('a', 0): 0, ('b', 0): 0}, contested=(1,))
        >>> join_people(chain, lambda x, y: True).count
        1
    """
    linked = {frozenset((link.a, link.b)) for link in links}
    groups: dict[Node, list[Node]] = {}
    for link in sorted(links, key=_strength):
        one = groups.setdefault(link.a, [link.a])
        other = groups.setdefault(link.b, [link.b])
        if one is other or not _all_agree(one, other, linked, agrees):
            continue
        # The shorter list moves: each node at most log2(n) times.
        short, long = sorted((one, other), key=len)
        long.extend(short)
        for node in short:
            groups[node] = long
    people = {id(group): sorted(group) for group in groups.values() if len(group) > 1}
    cluster_of = {
        node: number
        for number, group in enumerate(sorted(people.values()))
        for node in group
    }  # fmt: skip
    contested = [i for i, link in enumerate(links) if groups[link.a] is not groups[link.b]]
    return People(cluster_of, tuple(contested))


def _strength(link: Link) -> tuple[float, list[Node]]:
    return -link.score, sorted((link.a, link.b))


def _all_agree(
    one: Sequence[Node],
    other: Sequence[Node],
    linked: set[frozenset[Node]],
    agrees: Callable[[Node, Node], bool],
) -> bool:
    return all(
        frozenset((a, b)) in linked or agrees(*sorted((a, b))) for a in one for b in other
    )  # fmt: skip
