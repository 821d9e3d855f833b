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

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fusekit.errors import LoaderError
from fusekit.loader.shuffle import Rows, Shuffle, Stream
from fusekit.loader.split import split, split_tree
from fusekit.rng import derive

if TYPE_CHECKING:
    from collections.abc import Sequence
    from fractions import Fraction

ORDER_VERSION: Final = 1
BLOCK: Final = 256
WINDOW: Final = 512


@dataclass(frozen=True)
class OrderSettings:
    """Everything that the order depends on besides the rows themselves.

    Attributes:
        seed: Of every permutation and deal.
        global_batch: Samples of one step over all ranks, ``G >= 1``.
        unlabeled_fraction: Share of unlabeled samples, ``0 <= f < 1``.
        weights: One positive integer per labeled source: the sources' shares of the labeled
            samples, each source cycling on its own. None is one pooled stream, in which every
            labeled row comes once per cycle.
        block: Rows that stay together on disk, ``B``. 256 crops are about 1.5 MB: enough for
            one sequential read or range request, and so few that a window mixes many shards.
        window: Blocks that are shuffled together, ``S``. 512 blocks of 256 crops are about
            0.8 GB: what the page cache should hold of each stream. ``tests/bench/order.py``
            prints how well other sizes mix.
    """

    seed: int
    global_batch: int
    unlabeled_fraction: Fraction
    weights: tuple[int, ...] | None = None
    block: int = BLOCK
    window: int = WINDOW

    def __post_init__(self) -> None:
        for name in ("global_batch", "block", "window"):
            if getattr(self, name) < 1:
                raise LoaderError("order", f"{name} is {getattr(self, name)}", "at least 1")
        if not 0 <= self.unlabeled_fraction < 1:
            raise LoaderError(
                "order", f"unlabeled_fraction is {self.unlabeled_fraction}", "0 or more, under 1"
            )
        if self.weights is not None and min(self.weights, default=1) < 1:
            raise LoaderError("order", "a weight is under 1", "positive integers")

    def as_json(self) -> dict[str, Any]:
        """Give the settings as JSON values, the fraction as text."""
        weights = None if self.weights is None else list(self.weights)
        fraction = str(self.unlabeled_fraction)
        return {
            "version": ORDER_VERSION, **asdict(self),
            "weights": weights, "unlabeled_fraction": fraction,
        }  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What one step gives to one rank.

    Attributes:
        rows: Rows of the index, ``(b,)``, labeled first.
        n_labeled: How many are labeled.
        stream: Per row, the stream that it was drawn from, as a place in ``Order.streams``.
        ordinal: Per row, its place behind ``base`` of its stream.
        base: Per stream, its position at the start of the step: Python integers of any size.
    """

    rows: Rows
    n_labeled: int
    stream: Rows
    ordinal: Rows
    base: tuple[int, ...]


class Order:
    """The order of a selection of rows.

    Args:
        labeled: Rows of each labeled source; they stand first in the index, in this order.
        unlabeled: Rows of each unlabeled source; they follow.
        settings: What the order depends on.

    Raises:
        LoaderError: There is no labeled row, a source is empty, the weights do not match the
            labeled sources, or unlabeled rows are asked for and there are none.

    Example:
        >>> from fractions import Fraction
        >>> order = Order([6], [2], OrderSettings(0, 4, Fraction(1, 4)))
        >>> [order.counts(t) for t in (0, 1, 2)]
        [(0, 0), (3, 1), (6, 2)]
        >>> sorted(int(r) for t in (0, 1) for r in order.plan(t, 0, 1).rows[:3])
        [0, 1, 2, 3, 4, 5]
    """

    def __init__(
        self, labeled: Sequence[int], unlabeled: Sequence[int], settings: OrderSettings
    ) -> None:
        _check(labeled, unlabeled, settings)
        self.settings = settings
        self.labeled_rows = sum(labeled)
        pooled = settings.weights is None
        self.streams = _streams([self.labeled_rows] if pooled else labeled, 0, 0) + _streams(
            unlabeled, len(labeled), self.labeled_rows
        )
        self._labeled = 1 if pooled else len(labeled)
        self._trees = (split_tree(settings.weights or (1,)), split_tree(unlabeled or (1,)))
        self._shuffle = Shuffle(self.streams, settings.seed, settings.block, settings.window)

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
        shares = split(self._trees[0], labeled, self._labeled)
        return tuple(shares + (split(self._trees[1], unlabeled, others) if others else []))

    def epoch_start(self, epoch: int) -> int:
        """Give the first step of an epoch; the epoch ends where the next one starts.

        An epoch draws as many labeled samples as there are labeled rows, rounded to whole steps
        so that no remainder is ever lost: it is carried into the next epoch.
        """
        share = self.settings.unlabeled_fraction
        per_step = self.settings.global_batch * (share.denominator - share.numerator)
        return -(-epoch * self.labeled_rows * share.denominator // per_step)

    def epoch_of(self, step: int) -> int:
        """Give the epoch that a step lies in."""
        share = self.settings.unlabeled_fraction
        per_step = self.settings.global_batch * (share.denominator - share.numerator)
        return step * per_step // (self.labeled_rows * share.denominator)

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
        check_world(self.settings.global_batch, rank, world_size)
        base, end = self.positions(step), self.positions(step + 1)
        (l_start, u_start), (l_end, u_end) = self.counts(step), self.counts(step + 1)
        labeled, unlabeled = l_end - l_start, u_end - u_start
        dealt = labeled - labeled % world_size
        turn = derive(self.settings.seed, step)
        mine = np.arange((rank - turn) % world_size, dealt, world_size, dtype=np.int64)
        if (extra := (rank - l_start) % world_size) < labeled - dealt:
            mine = np.append(mine, np.int64(dealt + extra))
        # The exact complement of the labeled deal: every rank ends with b rows.
        turn = -1 - u_start
        rest = np.arange((turn - rank) % world_size, unlabeled, world_size, dtype=np.int64)
        sizes = [after - before for before, after in zip(base, end, strict=True)]
        numbers = range(len(self.streams))
        streams, ordinals = _join(
            self._listed(step, numbers[: self._labeled], sizes, mine)
            + self._listed(step, numbers[self._labeled :], sizes, rest)
        )
        rows = self._shuffle.rows(streams, base, ordinals)
        return Plan(rows, len(mine), streams, ordinals, base)

    def rows_at(self, stream: int, position: int, count: int) -> list[int]:
        """Give the rows at ``count`` successive positions of a stream."""
        base = tuple(position if k == stream else 0 for k in range(len(self.streams)))
        which = np.full(count, stream, np.int64)
        rows = self._shuffle.rows(which, base, np.arange(count))
        return [int(row) for row in rows]

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
