"""The loader: a mixture in, exact batches out, resumable at every step on any world size."""

from __future__ import annotations

import logging
import operator
import os
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, Self, TypeAlias

import numpy as np

from fusekit.errors import LoaderError, MissingExtraError
from fusekit.loader.batch import Batch
from fusekit.loader.order import BLOCK, WINDOW, Order, OrderSettings, Plan, check_world
from fusekit.loader.pipeline import Pipeline
from fusekit.loader.reader import CropReader
from fusekit.loader.state import make_state, read_step
from fusekit.mixture.mixture import Mixture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

    from fusekit.loader.decode import Layout
    from fusekit.loader.reader import BadCrop, Draft, Verify

Arrays: TypeAlias = Literal["auto", "numpy", "torch"]

_MOST_THREADS: Final = 8
_KEPT_BAD: Final = 100
_OPEN_YOURS: Final = (
    "open it in the process that iterates it; it decodes in threads and needs no DataLoader"
)
_log = logging.getLogger("fusekit.loader")


@dataclass(frozen=True)
class LoaderReport:
    """What a loader has handed out since it was made.

    Attributes:
        batches: Batches handed out.
        samples: Rows in them.
        stood_in: Rows among them that gave no pixels, so that another row stood in.
        reasons: Why, and how often: ``erased``, ``undecodable``, ``size``, ``short``, ``digest``.
        bad: The first 100 of them.
        passes: How often the order has gone through each stream of rows by now: ``labeled``
            (or each labeled source, where sources have weights) and each unlabeled source.
    """

    batches: int
    samples: int
    stood_in: int
    reasons: dict[str, int]
    bad: tuple[BadCrop, ...]
    passes: dict[str, float]


class MixtureLoader:
    """Iterate a mixture's batches, one epoch per ``for``.

    Every batch is full and holds labeled rows first; the labeled share is exact to less than one
    sample over any run of steps on any rank. Ranks get disjoint rows, and together the same rows
    at the same step for every world size with the same global batch. The order is a pure function
    of mixture, settings and step, so ``state_dict`` is a few integers and resuming is immediate.

    It decodes in threads, so it needs no worker processes and belongs to the process that opened
    it: after a fork the child opens its own.

    A row that will not decode is stood in for by the row at the next position of its stream,
    counted in :meth:`report` and logged once.

    Args:
        mixture: An opened mixture, or what :meth:`Mixture.open` opens: its folder, or its name.
        batch_size: Samples of a batch on this rank; None takes the recipe's. The global batch is
            ``batch_size * world_size``.
        rank: This process's rank.
        world_size: How many ranks there are.
        seed: Of the order; None takes the recipe's.
        threads: Threads that read and decode; None takes the processors this process may use,
            at most 8.
        prefetch: Batches made ahead; bounds the memory.
        layout: ``"chw"`` gives images ``(B, 3, 112, 112)``, ``"hwc"`` ``(B, 112, 112, 3)``.
        arrays: ``"torch"`` tensors, ``"numpy"`` arrays, or ``"auto"``: tensors where torch is
            installed.
        verify: ``"sample"`` compares every crop's digest with the index.
        weights: The labeled sources' shares, one positive integer each; None is one pooled
            stream of all labeled rows.
        block: Rows that stay together on disk while shuffling.
        window: Blocks that are shuffled together.

    Raises:
        LoaderError: A setting cannot be, or the mixture has no labeled row.
        MissingExtraError: torch tensors are asked for and torch is not installed.
        MixtureError: There is no such mixture, or it is damaged.

    Example:
        A training loop; each ``for`` over the loader is one epoch::

            with MixtureLoader("fusekit-store/mixtures/demo", batch_size=128) as loader:
                for epoch in range(10):
                    for batch in loader:
                        train(batch.images, batch.labels[: batch.n_labeled])
    """

    def __init__(
        self,
        mixture: Mixture | str | os.PathLike[str],
        batch_size: int | None = 256,
        rank: int = 0,
        world_size: int = 1,
        seed: int | None = None,
        *,
        threads: int | None = None,
        prefetch: int = 4,
        layout: Layout = "chw",
        arrays: Arrays = "auto",
        verify: Verify = "none",
        weights: tuple[int, ...] | None = None,
        block: int = BLOCK,
        window: int = WINDOW,
    ) -> None:
        if isinstance(mixture, (str, os.PathLike)):
            mixture = Mixture.open(mixture)
        threads = min(_MOST_THREADS, _processors()) if threads is None else threads
        batch_size = mixture.batch_size if batch_size is None else batch_size
        batch_size, threads = _integer("batch_size", batch_size, 1), _integer("threads", threads, 1)
        prefetch, seed = _integer("prefetch", prefetch, 1), mixture.seed if seed is None else seed
        rank, world_size = _integer("rank", rank), _integer("world_size", world_size)
        if not 0 <= (seed := _integer("seed", seed)) < 1 << 64:
            raise LoaderError("seed", f"is {seed}", "0 or more, under 2^64")
        if weights is not None:
            weights = tuple(_integer("a weight", weight) for weight in weights)
        _check_choice("layout", layout, ("chw", "hwc"))
        _check_choice("verify", verify, ("none", "sample"))
        check_world(batch_size * world_size, rank, world_size)
        self.mixture = mixture
        self.batch_size, self.rank, self.world_size = batch_size, rank, world_size
        labeled = [s.rows for s in mixture.sources if s.kind == "labeled"]
        unlabeled = [s.rows for s in mixture.sources if s.kind == "unlabeled"]
        self._order = Order(
            labeled,
            unlabeled,
            OrderSettings(
                seed=seed,
                global_batch=batch_size * world_size,
                unlabeled_fraction=mixture.unlabeled_fraction if unlabeled else Fraction(0),
                weights=weights,
                block=_integer("block", block), window=_integer("window", window),
            ),
        )  # fmt: skip
        self._wrap = _wrapper(arrays)
        reader = CropReader(mixture, self._order, layout, verify)
        # Not self.plan: a cycle of references would keep the threads of a dropped loader.
        plan = partial(self._order.plan, rank=rank, world_size=world_size)
        self._pipeline: Pipeline | None = Pipeline(plan, reader, batch_size, threads, prefetch)
        self._process = os.getpid()
        self._step = self._epoch = 0
        self._resumed = False
        self._turn = object()
        self._batches = 0
        self._reasons: Counter[str] = Counter()
        self._bad: list[BadCrop] = []

    @property
    def step(self) -> int:
        """The next step: how many batches of this order have been handed out."""
        return self._step

    @property
    def epoch(self) -> int:
        """The epoch that the next batch belongs to."""
        return self._epoch

    def plan(self, step: int) -> Plan:
        """Give what the order takes at a step on this rank; nothing is read."""
        return self._order.plan(step, self.rank, self.world_size)

    def __len__(self) -> int:
        """Give the number of steps of the current epoch; epochs may differ by one."""
        return self._order.epoch_start(self._epoch + 1) - self._order.epoch_start(self._epoch)

    def __iter__(self) -> Iterator[Batch]:
        """Iterate the rest of the current epoch; after its last batch the next one is current.

        An epoch has no step at all when an earlier step already took its labeled rows: a mixture
        smaller than a global batch.

        Raises:
            LoaderError: The loader is closed or another process's, a newer ``for`` or a jump
                replaced this one, a shard can't be read, or too many rows in succession give no
                pixels.
        """
        self._turn = turn = object()
        end = self._order.epoch_start(self._epoch + 1)
        if self._step >= end:
            self._epoch += 1
        for step in range(self._step, end):
            if self._turn is not turn:
                raise LoaderError("loader", "was moved or iterated anew during this 'for'")
            draft = self._opened().take(step)
            self._step = step + 1
            if self._step == end:
                self._epoch += 1
            yield self._batch(step, draft)

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch.

        Only the first call after :meth:`load_state_dict` keeps the loaded position if that lies
        in the epoch or at its end, so that a loop which calls ``set_epoch`` resumes as it is.

        Args:
            epoch: From 0 on.

        Raises:
            LoaderError: It is negative.
        """
        if epoch < 0:
            raise LoaderError("epoch", f"is {epoch}", "0 or more")
        start, end = self._order.epoch_start(epoch), self._order.epoch_start(epoch + 1)
        if not (self._resumed and start <= self._step <= end):
            self._step = start
        self._epoch = epoch
        self._resumed = False
        self._turn = object()

    def state_dict(self) -> dict[str, Any]:
        """Give the state after the last batch handed out, whatever was made ahead.

        Returns:
            JSON values, under 1 KB: fingerprint of the mixture, settings of the order, global
            batch and step. It fits every rank, and any world size with the same global batch.
        """
        return make_state(self.mixture.fingerprint, self._order.settings, self._step)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; nothing is replayed.

        Raises:
            StateError: It is of another mixture, order or global batch; the field is named.
        """
        self._step = read_step(state, self.mixture.fingerprint, self._order.settings)
        self._epoch = self._order.epoch_of(self._step)
        self._resumed = True
        self._turn = object()

    def report(self) -> LoaderReport:
        """Report what was handed out, and what was stood in for."""
        positions = self._order.positions(self._step)
        names = {s.index: s.name for s in self.mixture.sources}
        pooled = self._order.settings.weights is None
        passes = {
            "labeled" if pooled and place == 0 else names[stream.number]: position / stream.rows
            for place, (stream, position) in enumerate(
                zip(self._order.streams, positions, strict=True)
            )
        }
        return LoaderReport(
            self._batches, self._batches * self.batch_size, sum(self._reasons.values()),
            dict(self._reasons), tuple(self._bad), passes,
        )  # fmt: skip

    def close(self) -> None:
        """Stop the threads and close the shards; the loader can't be iterated any more."""
        if self._pipeline is not None:
            self._pipeline.close()
            self._pipeline = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied: threads and open files can't be."""
        raise LoaderError("loader", "can't be pickled or copied", None, _OPEN_YOURS)

    def _opened(self) -> Pipeline:
        if self._pipeline is None:
            raise LoaderError("loader", "is closed", None, "open another")
        if self._process != os.getpid():
            # A fork copies no threads: what they were doing would be waited for without end.
            raise LoaderError("loader", "was opened by another process", None, _OPEN_YOURS)
        return self._pipeline

    def _batch(self, step: int, draft: Draft) -> Batch:
        index, wrap = self.mixture.index, self._wrap
        self._count(sorted(draft.bad))
        return Batch(
            images=wrap(draft.images),
            labels=wrap(index.label[draft.rows].astype(np.int64)),
            dataset_index=wrap(index.source[draft.rows].astype(np.int64)),
            n_labeled=draft.plan.n_labeled, step=step, rows=draft.rows, _key=self.mixture.key,
        )  # fmt: skip

    def _count(self, bad: list[BadCrop]) -> None:
        self._batches += 1
        if bad and not self._reasons:
            _log.warning(
                "%s in %s is no usable crop (%s): the next row of its stream stands in for it; "
                "later ones are only counted, see MixtureLoader.report()",
                bad[0].key, bad[0].shard, bad[0].detail,
            )  # fmt: skip
        self._reasons.update(b.reason for b in bad)
        self._bad += bad[: _KEPT_BAD - len(self._bad)]


def _integer(name: str, value: Any, least: int | None = None) -> int:  # noqa: ANN401 - checked here
    """Give an integer of any kind, numpy's too, as Python's: states are JSON."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise LoaderError(name, f"is {value!r}", "an integer")
    if least is not None and number < least:
        raise LoaderError(name, f"is {number}", f"at least {least}")
    return number


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise LoaderError(name, f"is {value!r}", " or ".join(repr(c) for c in choices))


def _wrapper(arrays: Arrays) -> Callable[[Any], Any]:
    _check_choice("arrays", arrays, ("auto", "numpy", "torch"))
    if arrays == "numpy" or (arrays == "auto" and find_spec("torch") is None):
        return np.asarray
    try:
        import torch
    except ImportError:
        raise MissingExtraError("arrays='torch'", "torch") from None
    return torch.from_numpy  # type: ignore[no-any-return]


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
