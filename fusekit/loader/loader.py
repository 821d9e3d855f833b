"""The loader: a mixture in, exact batches out, resumable at every step on any world size."""

from __future__ import annotations

import logging
import os
from collections import Counter, deque
from concurrent.futures import CancelledError
from dataclasses import dataclass
from importlib.util import find_spec
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, Self, TypeAlias

import numpy as np

from fusekit.errors import LoaderError, MissingExtraError
from fusekit.loader.batch import Batch, Part
from fusekit.loader.opening import open_pipeline
from fusekit.loader.order.make import make_order
from fusekit.loader.order.order import BLOCK, WINDOW
from fusekit.loader.process.maker import open_process
from fusekit.loader.settings import LoaderSettings, check_choice, check_share
from fusekit.loader.state import make_state, read_step
from fusekit.loader.stats import make_stats
from fusekit.loader.transform import run_transform
from fusekit.mixture.mixture import Mixture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

    from fusekit.loader.cache import CacheSettings
    from fusekit.loader.crops.augment import Augment
    from fusekit.loader.crops.decode import Layout
    from fusekit.loader.crops.reader import BadCrop, Draft
    from fusekit.loader.crops.verify import Verify
    from fusekit.loader.order.order import Plan, SourceUsage
    from fusekit.loader.pipeline import Maker

Arrays: TypeAlias = Literal["auto", "numpy", "torch"]

_KEPT_BAD: Final = 100
_FEWEST: Final = 10_000  # samples that a share of bad ones is taken of at least
_RECENT: Final = 100  # batches that a rate is taken over
_OPEN_YOURS: Final = (
    "open it in the process that iterates it; it decodes in threads and needs no DataLoader"
)
_log = logging.getLogger("fusekit.loader")


@dataclass(frozen=True)
class LoaderReport:
    """What a loader has handed out since it was made, and how far the order has come.

    Attributes:
        batches: Batches handed out.
        samples: Rows in them.
        stood_in: Rows among them that gave no pixels, so that another row stood in.
        reasons: Why, and how often: ``erased``, ``undecodable``, ``size``, ``short``, ``digest``
            or ``format``.
        bad: The first 100 of them; erased ones only as far as others leave room.
        sources: Dataset to how often it was gone through, repeated or left over by now, from the
            first step of the order on, over all ranks.
    """

    batches: int
    samples: int
    stood_in: int
    reasons: dict[str, int]
    bad: tuple[BadCrop, ...]
    sources: dict[str, SourceUsage]


class MixtureLoader:
    """Iterate a mixture's batches, one epoch per ``for``.

    Every batch is full and holds labeled rows first; the labeled share is exact to less than one
    sample over any run of steps on any rank. Ranks get disjoint rows, and together the same rows
    at the same step for every world size with the same global batch. The order is a pure function
    of mixture, settings and step, so ``state_dict`` is a few integers and resuming is immediate.

    It decodes in threads, so it needs no worker processes and belongs to the process that opened
    it: after a fork the child opens its own.

    A row that will not decode is stood in for by the next row of its source, counted in
    :meth:`report` and logged once.

    Args:
        mixture: An opened mixture, or what :meth:`Mixture.open` opens: its folder, or its name.
        batch_size: Samples of a batch on this rank; None takes the recipe's. The global batch is
            ``batch_size * world_size``.
        rank: This process's rank.
        world_size: How many ranks there are.
        seed: Of the order; None takes the recipe's.
        threads: Threads that read and decode; None takes the processors this process may use,
            at most 8.
        cache: What is kept on this machine: None keeps whole shards of an object store,
            ``"decoded"`` decoded crops too, ``"none"`` nothing; or a mapping, see
            :class:`fusekit.loader.cache.CacheSettings`.
        sampler: ``{"identities": P, "images": K}``: every batch has K images of each of P
            identities, optionally of some ``datasets`` and classes of ``min_images`` only;
            ``"none"``: single rows; None takes the recipe's.
        augment: None flips every second crop; ``"none"`` changes nothing; ``"adaface"``; or a
            mapping, see :class:`fusekit.loader.crops.augment.Augment`.
        epochs: Where an epoch ends: ``"cycle"``, ``"stop_first"`` or ``{"steps": N}``; None takes
            the recipe's.
        weights: The labeled datasets' shares: one positive integer each, or what a recipe's
            ``by`` may be; ``"pooled"``: one stream of all; None takes the recipe's, and is
            ``"pooled"`` without one.
        grouping: ``"mixed"``; ``"sub_batches"``: each dataset's rows are one slice of the batch;
            ``"one_dataset"``: each step's labeled rows are of one dataset. None takes the
            recipe's.
        transform: Called with every finished batch, in the threads; what it gives is handed out.
        max_bad: Largest share of samples that may give no pixels (erased ones not counted), of
            at least 10,000 samples; above it the loader stops.
        verify: ``"sample"`` compares every crop's digest with the index, ``"shard"`` each shard's
            with the mixture when it is first read (those of an object store always are; there it
            compares every crop).
        prefetch: Batches made ahead; bounds the memory.
        process: Make batches in a process of its own, whose threads don't disturb the trainer's.
        layout: ``"chw"`` gives images ``(B, 3, 112, 112)``, ``"hwc"`` ``(B, 112, 112, 3)``.
        arrays: ``"torch"`` tensors, ``"numpy"`` arrays, or ``"auto"``: tensors where torch is
            installed.
        block: Rows that stay together on disk while shuffling.
        window: Blocks that are shuffled together.

    Raises:
        LoaderError: A setting cannot be, or the mixture has no labeled row.
        MissingExtraError: torch tensors are asked for and torch is not installed.
        MixtureError: There is no such mixture, or it is damaged.
        StorageError: Its object store can't be reached.

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
        threads: int | None = None,
        cache: CacheSettings | Mapping[str, Any] | str | None = None,
        sampler: Mapping[str, Any] | Literal["none"] | None = None,
        augment: Augment | Mapping[str, Any] | Literal["none", "adaface", False] | None = None,
        epochs: str | Mapping[str, int] | None = None,
        *,
        weights: tuple[int, ...] | str | Mapping[str, Any] | None = None,
        grouping: Literal["mixed", "sub_batches", "one_dataset"] | None = None,
        transform: Callable[[Batch], Batch] | None = None,
        max_bad: float = 0.01,
        verify: Verify = "none",
        prefetch: int = 4,
        process: bool = False,
        layout: Layout = "chw",
        arrays: Arrays = "auto",
        block: int = BLOCK,
        window: int = WINDOW,
    ) -> None:
        if isinstance(mixture, (str, os.PathLike)):
            mixture = Mixture.open(mixture)
        self._max_bad = check_share("max_bad", max_bad)
        self._settings = settings = LoaderSettings.of(
            mixture, batch_size=batch_size, seed=seed, threads=threads, augment=augment,
            cache=cache, rank=rank, world_size=world_size, prefetch=prefetch, layout=layout,
            verify=verify, weights=weights, sampler=sampler, epochs=epochs, grouping=grouping,
            block=block, window=window,
        )  # fmt: skip
        self.mixture = mixture
        self.batch_size, self.rank = settings.batch_size, settings.rank
        self.world_size = settings.world_size
        self._order = make_order(mixture, **settings.for_order)
        if transform is not None and not callable(transform):
            raise LoaderError("transform", f"is {transform!r}", "what can be called with a batch")
        finish = _Finisher(mixture, _wrapper(arrays), transform)
        self._maker: Maker[_Handed] | None = (
            open_process(mixture, settings, finish)
            if process
            else open_pipeline(mixture, self._order, settings, finish)
        )
        self._process, self._closed = os.getpid(), False
        self._step = self._epoch = 0
        self._resumed = False
        self._turn = object()
        self._batches = 0
        self._times: deque[float] = deque(maxlen=_RECENT + 1)
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
            batch, bad = self._take(step)
            self._count(bad)
            self._step = step + 1
            if self._step == end:
                self._epoch += 1
            yield batch

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
        """Report what was handed out, what was stood in for, and how often sources repeated."""
        usage = self._order.usage(self._step)
        return LoaderReport(
            self._batches, self._batches * self.batch_size, sum(self._reasons.values()),
            dict(self._reasons), tuple(self._bad),
            {s.name: use for s, use in zip(self.mixture.sources, usage, strict=True)},
        )  # fmt: skip

    def stats(self) -> dict[str, float]:
        """Measure how fast batches come, and where the time goes.

        Returns:
            ``images_per_s`` over the last 100 batches; ``wait_s``, the trainer's time in waiting
            for batches, and ``wait_share`` of all its time; ``queue_depth``, batches that stood
            ready when one was taken, on average, of ``prefetch``; ``read_us``, ``decode_us`` and
            ``other_us``, the threads' time for each image; ``read_mb_per_s``; ``cache_hits``, the
            share of crops from the decoded cache; and what an object store's cache counts.
        """
        return make_stats(self._opened().figures(), self._settings, self._times)

    def close(self) -> None:
        """Stop the threads and close the shards; the loader can't be iterated any more."""
        # A fork has none of the threads, and their locks may be held by nobody who is there.
        self._closed = True
        if self._maker is not None and self._process == os.getpid():
            self._maker.close()
        self._maker = None

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

    def _take(self, step: int) -> _Handed:
        maker = self._opened()
        try:
            return maker.take(step)
        except (CancelledError, RuntimeError):
            self._opened()  # it was closed meanwhile, by another thread
            raise

    def _opened(self) -> Maker[_Handed]:
        if self._maker is None or self._closed:
            raise LoaderError("loader", "is closed", None, "open another")
        if self._process != os.getpid():
            # A fork copies no threads: what they were doing would be waited for without end.
            raise LoaderError("loader", "was opened by another process", None, _OPEN_YOURS)
        return self._maker

    def _count(self, bad: list[BadCrop]) -> None:
        """Count a batch that is to be handed out, unless too many samples were bad by then."""
        # Erased rows are meant to be: they give way, so that the list shows what is damaged.
        listed = sorted([*self._bad, *bad], key=lambda b: b.reason == "erased")[:_KEPT_BAD]
        reasons = self._reasons + Counter(b.reason for b in bad)
        samples = (self._batches + 1) * self.batch_size
        damaged = sum(reasons.values()) - reasons["erased"]
        if damaged > self._max_bad * max(samples, _FEWEST):
            names = ", ".join(f"{b.key} ({b.reason})" for b in listed if b.reason != "erased")
            raise LoaderError(
                self.mixture.name, f"{damaged} of {samples} samples give no pixels: {names}",
                f"at most {self._max_bad:g} of them",
                "fusekit verify names every file that is damaged; max_bad allows more",
            )  # fmt: skip
        first = next((b for b in bad if b.reason != "erased"), None)
        if first is not None and not sum(self._reasons.values()) - self._reasons["erased"]:
            _log.warning(
                "%s in %s is no usable crop (%s): the next row of its source stands in for it; "
                "later ones are only counted, see MixtureLoader.report()",
                first.key, first.shard, first.detail,
            )  # fmt: skip
        self._bad, self._reasons = listed, reasons
        self._batches += 1
        self._times.append(perf_counter())


_Handed: TypeAlias = tuple[Batch, "list[BadCrop]"]


class _Finisher:
    """Makes the batch of a filled draft."""

    def __init__(
        self,
        mixture: Mixture,
        wrap: Callable[[Any], Any],
        transform: Callable[[Batch], Batch] | None,
    ) -> None:
        self._mixture, self._wrap, self._transform = mixture, wrap, transform

    def __call__(self, step: int, draft: Draft) -> _Handed:
        index, wrap, plan = self._mixture.index, self._wrap, draft.plan
        batch = Batch(
            images=wrap(draft.images),
            labels=wrap(index.label[draft.rows].astype(np.int64)),
            dataset_index=wrap(index.source[draft.rows].astype(np.int64)),
            n_labeled=plan.n_labeled, step=step, rows=draft.rows, seeds=plan.keys.copy(),
            parts=tuple(Part(*part) for part in plan.parts), _key=self._mixture.key,
        )  # fmt: skip
        if self._transform is not None:
            batch = run_transform(self._transform, batch)
        return batch, sorted(draft.bad)


def _wrapper(arrays: Arrays) -> Callable[[Any], Any]:
    check_choice("arrays", arrays, ("auto", "numpy", "torch"))
    if arrays == "numpy" or (arrays == "auto" and find_spec("torch") is None):
        return np.asarray
    try:
        import torch
    except ImportError:
        raise MissingExtraError("arrays='torch'", "torch") from None
    return torch.from_numpy  # type: ignore[no-any-return]
