"""The order: which rows step ``t`` gives to rank ``r``, as a pure function.

Nothing is shuffled, stored or replayed. Every source is an endless stream of its rows, each cycle
in another permutation; a step takes the next few positions of every stream, so that the shares
are exact, and deals them to the ranks. The union over the ranks is the same for every world size
that divides the global batch.

The names are those of the design: global batch ``G``, world size ``W``, unlabeled share
``f = p/q``, ``N_k`` rows of stream ``k``, cycle ``c``, blocks of ``B`` rows, windows of ``S``
blocks. Counts are Python integers, because products such as ``G * t * p`` pass 2**63.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from fusekit.errors import LoaderError
from fusekit.loader.order.epochs import Epochs
from fusekit.loader.order.identities import ClassRows, Identities
from fusekit.loader.order.plan import Plan, by_source
from fusekit.loader.order.settings import BLOCK, ORDER_VERSION, WINDOW, OrderSettings
from fusekit.loader.order.shuffle import Rows, Shuffle, Stream
from fusekit.loader.order.split import in_proportion, split, split_tree
from fusekit.loader.order.stand_ins import stand_ins
from fusekit.loader.order.usage import SourceUsage
from fusekit.rng import U64, derive

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fusekit.mixture.drawing import EpochsValue

__all__ = [
    "BLOCK",
    "ORDER_VERSION",
    "WINDOW",
    "Order",
    "OrderSettings",
    "Plan",
    "SourceUsage",
    "check_world",
]


_Taken: TypeAlias = tuple[Rows, Rows, int]  # stream and ordinal of each row, labeled rows


class Order:
    """The order of a selection of rows.

    Args:
        labeled: Rows of each labeled source; they stand first in the index, in this order.
        unlabeled: Rows of each unlabeled source; they follow.
        settings: What the order depends on.
        classes: Which rows each class has; needed for ``settings.sampler`` alone.
        epochs: Where an epoch ends. The order itself does not depend on it.

    Attributes:
        settings: As given.
        streams: The streams; the labeled ones first. Identities are one stream of labeled rows.
        labeled_rows: How many labeled rows there are.
        labeled_sources: How many labeled sources.
        identities: What draws the identities; None unless ``settings.sampler`` is given.

    Raises:
        LoaderError: There is no labeled row, a source is empty, the weights do not match the
            labeled sources, unlabeled rows are asked for and there are none, or there are fewer
            classes than identities in a global batch.

    Example:
        >>> from fractions import Fraction
        >>> order = Order([6], [2], OrderSettings(0, 4, Fraction(1, 4)))
        >>> [order.counts(t) for t in (0, 1, 2)]
        [(0, 0), (3, 1), (6, 2)]
        >>> sorted(int(r) for t in (0, 1) for r in order.plan(t, 0, 1).rows[:3])
        [0, 1, 2, 3, 4, 5]
    """

    def __init__(
        self,
        labeled: Sequence[int],
        unlabeled: Sequence[int],
        settings: OrderSettings,
        classes: ClassRows | None = None,
        epochs: EpochsValue = "cycle",
    ) -> None:
        _check(labeled, unlabeled, settings)
        self.settings = settings
        self.labeled_rows = sum(labeled)
        self.identities = _identities(settings, classes)
        self.labeled_sources, self._sources = len(labeled), (*labeled, *unlabeled)
        self._edges = np.cumsum((0, *self._sources))
        # Where each step is one source's, the sources take turns even without weights.
        weights = settings.weights or (labeled if settings.grouping == "one_dataset" else None)
        pooled = [self.labeled_rows] if weights is None else labeled
        self.streams = _streams(pooled, 0, 0) + _streams(unlabeled, len(labeled), self.labeled_rows)
        self._labeled, self._weights = len(pooled), tuple(weights or (1,))
        self._trees = (split_tree(self._weights), split_tree(unlabeled or (1,)))
        self._shuffle = Shuffle(self.streams, settings.seed, settings.block, settings.window)
        self._epochs = Epochs.under(epochs, self._cycle(), self._passes())

    def counts(self, step: int) -> tuple[int, int]:
        """Give how many labeled and unlabeled samples all steps before ``step`` take: L, U."""
        share = self.settings.unlabeled_fraction
        total = self.settings.global_batch * step
        unlabeled = total * share.numerator // share.denominator
        return total - unlabeled, unlabeled

    def positions(self, step: int) -> tuple[int, ...]:
        """Give the position of every stream at the start of a step: Q_k(step)."""
        labeled, unlabeled = self.counts(step)
        others = len(self.streams) - self._labeled
        if self.settings.grouping == "one_dataset":
            rows = self.settings.labeled_per_step.numerator
            shares = [turns * rows for turns in split(self._trees[0], step, self._labeled)]
        else:
            shares = split(self._trees[0], labeled, self._labeled)
        return tuple(shares + (split(self._trees[1], unlabeled, others) if others else []))

    def epoch_start(self, epoch: int) -> int:
        """Give the first step of an epoch; the epoch ends where the next one starts.

        ``cycle``: an epoch draws as many labeled samples as there are labeled rows, rounded to
        whole steps so that no remainder is ever lost: it is carried into the next epoch; with
        identities it is a visit to the classes. ``stop_first``: it is the steps in which the first
        of all streams is gone through. Or it is a number of steps.
        """
        return self._epochs.start(epoch)

    def epoch_of(self, step: int) -> int:
        """Give the epoch that a step lies in."""
        return self._epochs.of(step)

    def plan(self, step: int, rank: int, world_size: int) -> Plan:
        """Give the rows of one step on one rank.

        Args:
            step: Any step from 0 on, in any order.
            rank: From 0 to ``world_size - 1``.
            world_size: A divisor of the global batch.

        Returns:
            Exactly ``global_batch / world_size`` rows.

        Raises:
            LoaderError: The rank or the world size cannot be.
        """
        return self.plans(range(step, step + 1), rank, world_size)[0]

    def plans(self, steps: range, rank: int, world_size: int) -> list[Plan]:
        """Give the plans of successive steps: the same as one by one, for less time each.

        Args:
            steps: From a step on, without gaps.
            rank: From 0 to ``world_size - 1``.
            world_size: A divisor of the global batch.

        Raises:
            LoaderError: The rank or the world size cannot be.
        """
        check_world(self.settings.global_batch, rank, world_size)
        bases = [self.positions(step) for step in range(steps.start, steps.stop + 1)]
        taken = [
            self._taken(step, rank, world_size, base, end)
            for step, base, end in zip(steps, bases, bases[1:], strict=False)
        ]
        first = bases[0]
        later = [
            np.array([now - at for now, at in zip(base, first, strict=True)], np.int64)[streams]
            for base, (streams, _, _) in zip(bases, taken, strict=False)
        ]
        # One call for all: the vectorised permutations cost by the call more than by the row.
        drawn = self._rows(steps, first, taken, later)
        plans = [
            Plan(rows, n_labeled, streams, ordinals, base, keys)
            for base, (streams, ordinals, n_labeled), (rows, keys) in zip(
                bases, taken, drawn, strict=False
            )
        ]
        if self.settings.grouping == "mixed":
            return plans
        return [by_source(plan, self._edges) for plan in plans]

    def stand_ins(self, plan: Plan, place: int) -> Iterator[int]:
        """Give rows that may stand in for one that gives no pixels; none is consumed by it.

        First the rows of its own source at the next positions of its stream; of a small source in
        a large pool also the rows that follow it in the index. For identities, first the other
        images of its class that the batch has not, then the others, then rows of its source.

        Args:
            plan: A plan of this order.
            place: Of the row in it.

        Yields:
            Up to 64 rows, each once, never the row itself: all others if its source has no more.
        """
        return stand_ins(self, plan, place)

    def same_identity(self, plan: Plan, place: int) -> Iterator[int]:
        """Give the other images of a row's class, those after it in its cycle first.

        Args:
            plan: A plan of this order, which must be one of identities.
            place: Of a labeled row in it.
        """
        if self.identities is None:
            return iter(())
        step = plan.base[0] // self.settings.labeled_per_step.numerator
        return self.identities.others(step, int(plan.ordinal[place]))

    def source_of(self, row: int) -> int:
        """Give the source index of a row."""
        return int(np.searchsorted(self._edges, row, "right")) - 1

    def source_rows(self, source: int) -> tuple[int, int]:
        """Give the first row of a source and how many it has."""
        return int(self._edges[source]), self._sources[source]

    def usage(self, step: int) -> list[SourceUsage]:
        """Give how far the steps before one have gone through each source, over all ranks."""
        positions = self.positions(step)
        labeled = self._sources[: self.labeled_sources]
        drawn, exact = list(positions[: self._labeled]), True
        if self.identities is not None:
            drawn, exact = in_proportion(self.identities.per_source, drawn[0]), False
        elif len(labeled) > self._labeled:
            cycles, rest = divmod(drawn[0], self.labeled_rows)
            parts = in_proportion(labeled, rest)
            drawn = [cycles * n + part for n, part in zip(labeled, parts, strict=True)]
            exact = rest == 0
        return [
            SourceUsage(k, rows, count, exact or k >= len(labeled))
            for k, (rows, count) in enumerate(
                zip(self._sources, (*drawn, *positions[self._labeled :]), strict=True)
            )
        ]

    def rows_at(self, stream: int, position: int, count: int) -> list[int]:
        """Give the rows at ``count`` successive positions of a stream."""
        base = tuple(position if k == stream else 0 for k in range(len(self.streams)))
        which = np.full(count, stream, np.int64)
        rows, _ = self._shuffle.draw(which, base, np.arange(count))
        return [int(row) for row in rows]

    def _cycle(self) -> Fraction:
        if self.identities is not None:
            return Fraction(self.identities.steps)
        return self.labeled_rows / self.settings.labeled_per_step

    def _passes(self) -> list[Fraction]:
        """Give for each stream that is drawn from the steps of one pass, exactly."""
        if self.identities is not None:
            passes = [self._cycle()]
        else:
            per_step = self.settings.labeled_per_step / sum(self._weights)
            passes = [
                stream.rows / (per_step * weight)
                for stream, weight in zip(self.streams, self._weights, strict=False)
            ]
        share = self.settings.unlabeled_fraction
        if share:
            rows = sum(stream.rows for stream in self.streams[self._labeled :])
            passes.append(rows / (self.settings.global_batch * share))
        return passes

    def _dealt(self, step: int, rank: int, world_size: int) -> Rows:
        """Give the places of a step's labeled list that a rank gets."""
        (start, _), (end, _) = self.counts(step), self.counts(step + 1)
        labeled = end - start
        dealt = labeled - labeled % world_size
        turn = derive(self.settings.seed, step)
        mine = np.arange((rank - turn) % world_size, dealt, world_size, dtype=np.int64)
        if (extra := (rank - start) % world_size) < labeled - dealt:
            mine = np.append(mine, np.int64(dealt + extra))
        return mine

    def _taken(
        self, step: int, rank: int, world_size: int, base: tuple[int, ...], end: tuple[int, ...]
    ) -> _Taken:
        """Find which places of which streams a step gives to a rank."""
        sizes = [after - before for before, after in zip(base, end, strict=True)]
        numbers = range(len(self.streams))
        if self.identities is None:
            mine = self._dealt(step, rank, world_size)
            labeled = self._listed(step, numbers[: self._labeled], sizes, mine)
        else:
            labeled = [(0, self.identities.ordinals(rank, world_size))]
        # The exact complement of the labeled deal: every rank ends with b rows.
        (_, start), (_, stop) = self.counts(step), self.counts(step + 1)
        rest = np.arange((-1 - start - rank) % world_size, stop - start, world_size, dtype=np.int64)
        streams, ordinals = _join(
            labeled + self._listed(step, numbers[self._labeled :], sizes, rest)
        )
        return streams, ordinals, len(streams) - len(rest)

    def _rows(
        self, steps: range, first: tuple[int, ...], taken: list[_Taken], later: list[Rows]
    ) -> list[tuple[Rows, U64]]:
        """Give the rows of some steps, and their augmentation keys."""
        known = [0 if self.identities is None else n_labeled for _, _, n_labeled in taken]
        which = [streams[n:] for n, (streams, _, _) in zip(known, taken, strict=True)]
        ordinals = [
            (ordinals + behind)[n:]
            for n, (_, ordinals, _), behind in zip(known, taken, later, strict=True)
        ]
        rows, keys = self._shuffle.draw(np.concatenate(which), first, np.concatenate(ordinals))
        edges = np.cumsum([len(part) for part in which])[:-1]
        drawn = list(zip(np.split(rows, edges), np.split(keys, edges), strict=True))
        if self.identities is None:
            return drawn
        people = [
            self.identities.draw(step, ordinals[:n])
            for step, n, (_, ordinals, _) in zip(steps, known, taken, strict=True)
        ]
        return [
            (np.concatenate([mine, others]), np.concatenate([my_keys, their_keys]))
            for (mine, my_keys), (others, their_keys) in zip(people, drawn, strict=True)
        ]

    def _listed(
        self, step: int, streams: range, sizes: list[int], mine: Rows
    ) -> list[tuple[int, Rows]]:
        """Find the places of a step's list: its streams in hashed order, each by position."""
        if len(streams) > 1:
            seed = self.settings.seed
            inorder = sorted(streams, key=lambda k: (derive(seed, step, self.streams[k].number), k))
        else:
            inorder = list(streams)
        parts, first = [], 0
        for k in inorder:
            here = mine[np.searchsorted(mine, first) : np.searchsorted(mine, first + sizes[k])]
            parts.append((k, here - first))
            first += sizes[k]
        return parts


def check_world(global_batch: int, rank: int, world_size: int) -> None:
    """Check that a world size divides the global batch and that the rank is in it.

    Raises:
        LoaderError: It is not so.
    """
    if world_size < 1:
        raise LoaderError("world_size", f"is {world_size}", "at least 1")
    if global_batch % world_size:
        raise LoaderError(
            "world_size", f"{world_size} does not divide the global batch", str(global_batch)
        )
    if not 0 <= rank < world_size:
        raise LoaderError("rank", f"is {rank}", f"0 to {world_size - 1}")


def _check(labeled: Sequence[int], unlabeled: Sequence[int], settings: OrderSettings) -> None:
    if not labeled:
        raise LoaderError("order", "no labeled source", "at least one")
    if min((*labeled, *unlabeled)) < 1:
        raise LoaderError("order", "a source has no rows", "at least one row each")
    if settings.weights is not None and len(settings.weights) != len(labeled):
        raise LoaderError(
            "order", f"{len(settings.weights)} weights", f"{len(labeled)}, one per labeled source"
        )
    if settings.unlabeled_fraction and not unlabeled:
        raise LoaderError("order", "unlabeled samples are asked for, no source has any")


def _identities(settings: OrderSettings, classes: ClassRows | None) -> Identities | None:
    if settings.sampler is None:
        return None
    if classes is None:
        raise LoaderError("order", "identities are asked for without the classes' rows")
    return Identities(classes, settings.sampler, settings.seed)


def _streams(rows: Sequence[int], number: int, first_row: int) -> tuple[Stream, ...]:
    streams = []
    for count in rows:
        streams.append(Stream(number, first_row, count))
        number, first_row = number + 1, first_row + count
    return tuple(streams)


def _join(parts: list[tuple[int, Rows]]) -> tuple[Rows, Rows]:
    sizes = [len(part) for _, part in parts]
    which = np.repeat(np.array([k for k, _ in parts], np.int64), sizes)
    return which, np.concatenate([part for _, part in parts])
