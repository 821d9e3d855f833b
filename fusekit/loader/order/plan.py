"""What one step gives to one rank."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from fusekit.loader.order.shuffle import Rows
    from fusekit.rng import U64


@dataclass(frozen=True)
class Plan:
    """What one step gives to one rank.

    Attributes:
        rows: Rows of the index, ``(b,)``, labeled first.
        n_labeled: How many are labeled.
        stream: Per row, the stream that it was drawn from, as a place in ``Order.streams``.
        ordinal: Per row, its place behind ``base`` of its stream.
        base: Per stream, its position at the start of the step: Python integers of any size.
        keys: Per row, the key of all that is random about how it looks, uint64, ``(b,)``: it
            depends on seed, source and position, never on rank, world size or place.
        parts: Source index, start and stop of each slice of labeled rows that are of one source,
            in order; empty unless ``grouping`` asks for such slices.
    """

    rows: Rows
    n_labeled: int
    stream: Rows
    ordinal: Rows
    base: tuple[int, ...]
    keys: U64
    parts: tuple[tuple[int, int, int], ...] = ()


def by_source(plan: Plan, edges: Rows) -> Plan:
    """Bring the labeled rows of each source together, in the order of the sources.

    Args:
        plan: The plan; rows of one source keep their order.
        edges: First row of each source of the index, and one past the last row.

    Returns:
        The plan with its ``parts``.
    """
    n = plan.n_labeled
    sources = np.searchsorted(edges, plan.rows[:n], "right") - 1
    place = np.arange(len(plan.rows))
    place[:n] = np.argsort(sources, kind="stable")
    there, starts = np.unique(sources[place[:n]], return_index=True)
    stops = [*starts.tolist()[1:], n]
    return replace(
        plan, rows=plan.rows[place], stream=plan.stream[place], ordinal=plan.ordinal[place],
        keys=plan.keys[place],
        parts=tuple(zip(there.tolist(), starts.tolist(), stops, strict=False)),
    )  # fmt: skip
