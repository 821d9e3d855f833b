"""Rows that may stand in for one that gives no pixels; nothing is consumed by looking."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusekit.loader.order.order import Order, Plan

_MOST: Final = 64  # candidates
_FIRST_LOOK, _LONGEST_LOOK, _MOST_LOOKED_AT = 16, 1024, 4096  # positions


def stand_ins(order: Order, plan: Plan, place: int) -> Iterator[int]:
    """Give rows that may stand in for the row at a place of a plan, the best first.

    They are of the row's own source, so that every share stays as it is. See
    :meth:`fusekit.loader.order.order.Order.stand_ins`.

    Args:
        order: The order that made the plan.
        plan: The plan.
        place: Of the row in it.
    """
    row = int(plan.rows[place])
    first, count = order.source_rows(order.source_of(row))
    identities = order.settings.sampler is not None and place < plan.n_labeled
    near = _same_identity(order, plan, place) if identities else _next(order, plan, place)
    behind = (first + (row - first + i) % count for i in range(1, count))
    given = {row}
    for candidate in chain(near, behind):
        if candidate in given or not first <= candidate < first + count:
            continue
        given.add(candidate)
        yield candidate
        if len(given) > _MOST:
            return


def _next(order: Order, plan: Plan, place: int) -> Iterator[int]:
    """Look at the rows at the next positions of the stream."""
    stream = int(plan.stream[place])
    position = plan.base[stream] + int(plan.ordinal[place]) + 1
    # Within two cycles every row has come; a small source of a large pool may be far away.
    end = position + min(2 * order.streams[stream].rows, _MOST_LOOKED_AT)
    look = _FIRST_LOOK
    while position < end:
        look = min(look, end - position)
        yield from order.rows_at(stream, position, look)
        position, look = position + look, min(4 * look, _LONGEST_LOOK)


def _same_identity(order: Order, plan: Plan, place: int) -> Iterator[int]:
    """Look at the class's other images: those that the batch has not, then those it has."""
    there = set(np.unique(plan.rows[: plan.n_labeled]).tolist())
    kept = []
    for candidate in order.same_identity(plan, place):
        if candidate in there:
            kept.append(candidate)
        else:
            yield candidate
    yield from kept
