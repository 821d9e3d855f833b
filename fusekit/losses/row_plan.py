"""Who meets whom in one step: each row of a batch, and the rows of the weights in its softmax.

All of it is integers, decided on the processor before anything is multiplied.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fusekit.errors import LossError
from fusekit.losses.class_sets import places
from fusekit.losses.crossing import Crossing
from fusekit.losses.sampled_classes import sample_classes
from fusekit.rng import derive

if TYPE_CHECKING:
    from fusekit.losses.class_sets import I64, Classes, ClassSets
    from fusekit.losses.do_not_repel import DoNotRepel


@dataclass(frozen=True)
class Meeting:
    """Which classes a row's softmax has beside its own dataset's, and which it has not.

    Attributes:
        crossing: Crossing dropout.
        sample_rate: Share of each dataset's classes that stand in for all of them; 1 is all.
        do_not_repel: Pairs of classes that are masked; None masks none.

    Raises:
        LossError: The rate is out of range.
    """

    crossing: Crossing = field(default_factory=Crossing)
    sample_rate: float = 1.0
    do_not_repel: DoNotRepel | None = None

    def __post_init__(self) -> None:
        if not 0 < self.sample_rate <= 1:
            raise LossError("sample_rate", f"is {self.sample_rate}", "above 0 and up to 1")


class Part(NamedTuple):
    """The rows of one dataset, and the weights they meet.

    Attributes:
        rows: How many rows.
        columns: Rows of the weights, ascending, n of them.
        target: Places in this part, and of their own class in ``columns``: ``(2, t)``. Rows
            whose class another rank holds are not there.
        hidden: Places, and columns that take no part for them: ``(2, h)``.
    """

    rows: int
    columns: Classes
    target: I64
    hidden: I64


class Plan(NamedTuple):
    """Who meets whom in one step.

    Attributes:
        order: Rows of the batch sorted by dataset, ``(B,)``.
        parts: In this order, those that have rows.
        crossing: Places in ``order``, and rows of the weights that they meet too: ``(2, M)``.
    """

    order: I64
    parts: tuple[Part, ...]
    crossing: I64


def plan_rows(
    labels: I64,
    datasets: I64,
    sets: ClassSets,
    meeting: Meeting,
    *,
    step: int = 0,
    first_row: int = 0,
    rank: int = 0,
    world_size: int = 1,
) -> Plan:
    """Decide which rows of the weights each row of a batch meets.

    Args:
        labels: Class of each row, ``(B,)``, checked by :meth:`ClassSets.datasets_of`.
        datasets: Dataset of each row, ``(B,)``.
        sets: The datasets' classes.
        meeting: Crossing, sampling and masks.
        step: Of the training: what crossing and sampling draw by.
        first_row: Number of the first row in the global batch, so that ranks draw apart.
        rank: Whose weights are met, of the ``world_size`` ranks that hold a share of them.
        world_size: How many ranks hold the weights.
    """
    joint = meeting.crossing.p == 1  # the plain softmax: all rows are of one dataset
    if joint:
        sets, datasets = sets.joint, np.zeros_like(datasets)
    order = np.argsort(datasets, kind="stable")
    labels, datasets = labels[order], datasets[order]
    local = np.where(labels % world_size == rank, labels // world_size, -1)
    masked = _masked(meeting.do_not_repel, labels, rank, world_size)
    parts = []
    for k in np.unique(datasets).tolist():
        start, stop = np.searchsorted(datasets, [k, k + 1]).tolist()
        key = derive(meeting.crossing.seed, "sampled classes", step, k, rank)
        columns = _columns(sets.local_rows(k, rank, world_size), local[start:stop], meeting, key)
        parts.append(Part(
            stop - start, columns,
            _inside(columns, np.arange(stop - start), local[start:stop]),
            _inside(columns, *_between(masked, start, stop)),
        ))  # fmt: skip
    crossing = np.zeros((2, 0), np.int64)
    if not joint:
        row, classes = meeting.crossing.draw(step, first_row + order, datasets, sets)
        if meeting.do_not_repel is not None:
            allowed = meeting.do_not_repel.allows(labels, row, classes)
            row, classes = row[allowed], classes[allowed]
        here = classes % world_size == rank
        crossing = np.stack([row[here], classes[here] // world_size])
    return Plan(order, tuple(parts), crossing)


def _masked(
    do_not_repel: DoNotRepel | None, labels: I64, rank: int, world_size: int
) -> tuple[I64, I64]:
    if do_not_repel is None:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    row, classes = do_not_repel.of(labels)
    here = classes % world_size == rank
    return row[here], classes[here] // world_size


def _between(masked: tuple[I64, I64], start: int, stop: int) -> tuple[I64, I64]:
    row, local = masked
    at = slice(*np.searchsorted(row, [start, stop]))
    return row[at] - start, local[at]


def _inside(columns: Classes, row: I64, local: I64) -> I64:
    """Give rows, and the place of ``local`` in the columns, where it is there: ``(2, n)``."""
    column = places(columns, local)
    found = column >= 0
    return np.stack([row[found], column[found]])


def _columns(own: Classes, local: I64, meeting: Meeting, key: int) -> Classes:
    if meeting.sample_rate == 1 or not len(own):
        return own
    positives = np.unique(places(own, local[local >= 0]))
    chosen = sample_classes(len(own), positives, meeting.sample_rate, key)
    return chosen + own.start if isinstance(own, range) else own[chosen]
