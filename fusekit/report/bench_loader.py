"""Measure the loader of a mixture: how fast it is, what bounds it, what could be gained."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import cycle, islice
from statistics import median
from time import sleep
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np

from fusekit.errors import LoaderError
from fusekit.loader.cache import CacheSettings
from fusekit.loader.crops.decode import RAW
from fusekit.loader.loader import MixtureLoader
from fusekit.loader.opening import open_source
from fusekit.mixture.mixture import Mixture
from fusekit.progress import Progress, Report, silent
from fusekit.report.loader_limits import (
    Copying,
    Decoding,
    Rate,
    Reading,
    loop_for,
    read_all,
    readable_rows,
    run_for,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping

    from fusekit.loader.batch import Batch
    from fusekit.loader.crops.decode import Layout
    from fusekit.loader.crops.files import ShardSource
    from fusekit.report.loader_limits import Limit

Bound: TypeAlias = Literal["trainer", "decoding", "copying", "reading", "other"]

_ROUNDS: Final = 5
_SHARES: Final = {"loader": 3, "decode_limit": 3, "read_limit": 1, "copy_limit": 1, "ceiling": 1}
_MOST_CROPS: Final = 20_000
_KEPT: Final = 8  # batches that the ceiling loops over
_AT_CEILING: Final = 0.9
_AT_LIMIT: Final = 0.8
_MOSTLY: Final = 0.5
_BUSY: Final = 0.7
_BAR: Final = 30


@dataclass(frozen=True)
class LoaderBench:
    """How fast a mixture is loaded here, and what could be gained; all rates in images/s.

    Attributes:
        mixture: Its name.
        batch_size: Samples of a batch.
        threads: Threads of the loader, and of every limit.
        layout: Of the images.
        cache: What the loader was told to keep.
        process: Whether batches were made in a process of their own.
        crops: How many of the mixture's crops were gone through, over and over.
        images_per_s: The loader's rate.
        ceiling: Of the same loop over batches that are made already: what the trainer's side
            could take at most.
        decode_limit: Of decoding the same bytes from memory, and nothing else.
        read_limit: Of reading the same bytes from their shards once they were read before.
        first_read: Of reading them for the first time here: from the disk, or not, as they were.
        copy_limit: Of copying decoded crops, and nothing else.
        read_us: A thread's time for reading one crop.
        decode_us: For decoding one.
        other_us: For all else: augmentation, colour planes, the decoded cache.
        cache_hits: Share of crops that the decoded cache had.
        bound: What bounds the rate: ``trainer``, ``decoding``, ``copying``, ``reading``, or
            ``other`` work of the threads.
        gain: How many times faster it could be at most, by what ``verdict`` says.
        verdict: What bounds it, how near it is, and what would help, in a sentence.
    """

    mixture: str
    batch_size: int
    threads: int
    layout: str
    cache: str
    process: bool
    crops: int
    images_per_s: float
    ceiling: float
    decode_limit: float
    read_limit: float
    first_read: float
    copy_limit: float
    read_us: float
    decode_us: float
    other_us: float
    cache_hits: float
    bound: Bound
    gain: float
    verdict: str

    def as_json(self) -> dict[str, Any]:
        """Give it as the object that ``fusekit bench-loader --json`` prints."""
        return {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }

    def heading(self) -> str:
        """Say in a line what was measured."""
        where = "a process of its own" if self.process else f"{self.threads} threads"
        return (
            f"{self.mixture}: {self.crops:,} crops, batches of {self.batch_size}, {where}, "
            f"{self.layout}, cache {self.cache}; medians of {_ROUNDS}"
        )

    def table(self) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Give headings and rows of a table, each with a bar; an arrow cuts those that are long."""
        rates = {
            "loader": self.images_per_s,
            "decode limit": self.decode_limit,
            "read from shards": self.read_limit,
            "read the first time": self.first_read,
            "copy of decoded crops": self.copy_limit,
            "ceiling": self.ceiling,
        }
        unit = max(self.images_per_s, self.decode_limit) * 1.2 / _BAR
        rows = []
        for name, rate in rates.items():
            length = round(rate / unit)
            bar = "█" * length if length <= _BAR else "█" * _BAR + "▶"
            rows.append((name, round(rate), f"{rate / self.images_per_s:.2f}", bar))
        return ("what", "images/s", "to the loader", ""), rows


def bench_loader(
    mixture: Mixture | str | os.PathLike[str],
    store: str | os.PathLike[str] | None = None,
    *,
    batch_size: int | None = None,
    threads: int | None = None,
    seconds: float = 10.0,
    layout: Layout = "chw",
    cache: CacheSettings | Mapping[str, Any] | str | None = None,
    process: bool = False,
    consume: Callable[[Batch], object] | None = None,
    report: Report = silent,
    **options: Any,  # noqa: ANN401 - the loader's own
) -> LoaderBench:
    """Measure the loader of a mixture beside what bounds it.

    The first 20,000 crops of an epoch, at most 256 MB, are read once; from then on their pages are
    cached. Loader and limits take turns, five times, and medians are taken; that, too, is how to
    compare two machines or settings.

    Args:
        mixture: An opened mixture, its folder, or its name in the store.
        store: The store's path when ``mixture`` is a name; None takes ``FUSEKIT_STORE``, else
            ``./fusekit-store``.
        batch_size: Samples of a batch; None takes the recipe's.
        threads: Of the loader and of every limit; None takes the loader's own choice.
        seconds: How long to measure, in all.
        layout: Of the images.
        cache: What the loader keeps; the decoded cache is filled before measuring.
        process: Make batches in a process of its own.
        consume: What the trainer does with a batch, to measure against its own step; None copies
            the images, as handing them to a device does.
        report: Told of every round.
        options: More settings of :class:`fusekit.MixtureLoader`.

    Raises:
        LoaderError: ``seconds`` is not positive, or a setting of the loader cannot be, or a shard
            can't be read.
        MixtureError: There is no such mixture, or it is damaged.

    Example:
        >>> bench_loader("ten", seconds=20).verdict  # doctest: +SKIP
        'decoding bounds it: 0.96 of the decode limit; ...'
    """
    if not seconds > 0:
        raise LoaderError("seconds", f"is {seconds}", "more than 0")
    if not isinstance(mixture, Mixture):
        mixture = Mixture.open(mixture, store)
    if consume is None:
        options = {"arrays": "numpy", **options}
    kept = CacheSettings.of(cache)
    with MixtureLoader(
        mixture, batch_size, threads=threads, layout=layout, cache=kept, process=process,
        **options,
    ) as loader:  # fmt: skip
        return _Bench(loader, kept, consume or _Copy(), report).run(
            seconds, {"layout": layout, "cache": _spelt(kept), "process": process}
        )


class _Bench:
    """A loader that is being measured, and what it is measured against."""

    def __init__(
        self,
        loader: MixtureLoader,
        cache: CacheSettings,
        consume: Callable[[Batch], object],
        report: Report,
    ) -> None:
        self._loader, self._consume, self._report = loader, consume, report
        self._cache = cache
        stats = loader.stats()
        self._threads, self._ahead = int(stats["threads"]), int(stats["prefetch"])
        self._steps = self._window()
        self._batches = self._endless()

    def run(self, seconds: float, about: dict[str, Any]) -> LoaderBench:
        mixture, threads = self._loader.mixture, self._threads
        source = open_source(mixture, lambda step: self._loader.plan(step).rows, self._cache)
        try:
            source.at(0)  # a shard that will be in the cache is read from there
            with ThreadPoolExecutor(threads, thread_name_prefix="fusekit-bench") as pool:
                return self._measure(seconds, about, source, pool)
        except OSError as error:
            raise LoaderError(
                error.filename or mixture.name, f"can't be read: {error.strerror or error}", None,
                "fusekit verify names every file that is missing or damaged",
            ) from error  # fmt: skip
        finally:
            source.close()

    def _measure(
        self, seconds: float, about: dict[str, Any], source: ShardSource, pool: ThreadPoolExecutor
    ) -> LoaderBench:
        loader, mixture, threads = self._loader, self._loader.mixture, self._threads
        planned = np.concatenate([loader.plan(step).rows for step in range(self._steps)])
        rows = readable_rows(mixture, planned)
        crops, first = read_all(mixture, rows, source, pool, threads)
        limits: dict[str, Limit] = {
            "decode_limit": Decoding(mixture, crops, threads),
            "read_limit": Reading(mixture, rows, source, threads),
            "copy_limit": Copying(mixture, crops, threads),
        }
        kept = self._warm(fill=self._cache.decoded)
        before = loader.stats()
        rates: dict[str, list[float]] = {name: [] for name in _SHARES}
        unit = seconds / _ROUNDS / sum(_SHARES.values())
        for number in range(_ROUNDS):
            for name, share in _SHARES.items():
                if name == "loader":
                    found = self._run_loader(unit * share)
                elif name == "ceiling":
                    found = loop_for(lambda: self._use(next(kept)), unit * share)
                else:
                    found = run_for(limits[name], pool, threads, unit * share)
                rates[name].append(found.images / found.seconds)
            self._report(Progress("bench-loader", number + 1, _ROUNDS, "rounds"))
        medians = {name: median(found) for name, found in rates.items()}
        figures: dict[str, float] = {
            "first_read": len(rows) / first,
            "images_per_s": medians.pop("loader"),
            **medians,
            **_spent(before, loader.stats()),
        }
        all_raw = all(crop.code == RAW for crop in crops)
        bound, gain, verdict = judge(figures, threads, raw=all_raw)
        values: dict[str, Any] = {**about, **figures}
        return LoaderBench(
            mixture=mixture.name, batch_size=loader.batch_size, threads=threads, crops=len(rows),
            bound=bound, gain=gain, verdict=verdict, **values,
        )  # fmt: skip

    def _window(self) -> int:
        """Count the steps that are gone through over and over."""
        most = -(-_MOST_CROPS // self._loader.batch_size)
        return max(1, min(len(self._loader), most))

    def _endless(self) -> Iterator[Batch]:
        loader = self._loader
        while True:
            # Where the window is an epoch, the next one has the same crops and needs no jump.
            if loader.step >= self._steps and len(loader) > self._steps:
                loader.load_state_dict({**loader.state_dict(), "step": 0})
            for batch in loader:
                yield batch
                if loader.step >= self._steps and len(loader) > self._steps:
                    break

    def _warm(self, *, fill: bool) -> cycle[Batch]:
        """Start the loader, and fill its cache; keep copies of a few batches."""
        count = self._steps + self._ahead if fill else self._ahead + 1
        kept = [
            replace(batch, images=copy.deepcopy(batch.images))
            for batch in islice(self._batches, min(count, _KEPT))
        ]
        for _ in islice(self._batches, count - len(kept)):
            pass
        return cycle(kept)

    def _run_loader(self, seconds: float) -> Rate:
        # What was made ahead while others were measured came for nothing.
        for _ in range(self._ahead + 1):
            self._use(next(self._batches))
        rate = loop_for(lambda: self._use(next(self._batches)), seconds)
        # Let the threads fill the queue again, so that they don't disturb what is measured next.
        batches = (self._ahead + 2) * self._loader.batch_size
        sleep(min(2.0, 1.2 * batches * rate.seconds / rate.images))
        return rate

    def _use(self, batch: Batch) -> int:
        self._consume(batch)
        return len(batch)


class _Copy:
    """Copy a batch's images, as handing them to a device does."""

    def __init__(self) -> None:
        self._own: Any = None

    def __call__(self, batch: Batch) -> None:
        if self._own is None:
            self._own = np.empty_like(batch.images)
        np.copyto(self._own, batch.images)


def judge(figures: Mapping[str, float], threads: int, *, raw: bool) -> tuple[Bound, float, str]:
    """Say what bounds a loader.

    Args:
        figures: The rates, times and ``cache_hits`` of a :class:`LoaderBench`.
        threads: Of the loader.
        raw: Whether every crop is stored as raw pixels.

    Returns:
        ``bound``, ``gain`` and ``verdict`` of the :class:`LoaderBench`.
    """
    rate, ceiling, copies = (figures[n] for n in ("images_per_s", "ceiling", "copy_limit"))
    hits = figures["cache_hits"]
    limit = 1 / ((1 - hits) / figures["decode_limit"] + hits / copies)
    copied = raw or hits > _MOSTLY
    near = f"{rate / limit:.2f} of the {'copy' if copied else 'decode'} limit"
    if rate >= _AT_CEILING * ceiling:
        told = f"the trainer's side bounds it: {rate / ceiling:.2f} of the ceiling"
        return "trainer", 1.0, f"{told}; a faster loader would change nothing"
    times = {"pixels": figures["decode_us"], "reading": figures["read_us"]}
    times["other"] = figures["other_us"]
    spent = sum(times.values())
    most = "pixels" if rate >= _AT_LIMIT * limit else max(times, key=lambda name: times[name])
    gain = max(1.0, min(limit, ceiling) / rate)
    if spent * rate / 1e6 / threads < _BUSY and most != "pixels":
        most = "idle"
    if most == "pixels":
        told = f"bounds it: {near}; nothing is to be gained from more prefetch"
        if copied:
            return "copying", gain, f"copying {told}"
        gain = max(1.0, min(copies, ceiling) / rate)
        more = f'raw crops or cache="decoded" would give up to {gain:.1f} times as many'
        return "decoding", gain, f"decoding {told}; {more}"
    more = f"without it up to {gain:.1f} times as many"
    if most == "idle":
        told = f"the threads stood idle {1 - spent * rate / 1e6 / threads:.0%} of the time"
        return "other", gain, f"{told}, {near}: look for what else holds the interpreter; {more}"
    share = f"{times[most]:.0f} of {spent:.0f} µs of a thread's time for a crop, {near}"
    if most == "reading":
        return "reading", gain, f"reading bounds it: {share}; {more}"
    return "other", gain, f"work beside reading and decoding bounds it: {share}; {more}"


def _spent(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Give what the loader's threads did for a crop between two measurements."""
    images = max(1.0, after["images"] - before["images"])
    return {
        name: (after[name] * after["images"] - before[name] * before["images"]) / images
        for name in ("read_us", "decode_us", "other_us", "cache_hits")
    }


def _spelt(cache: CacheSettings) -> str:
    if cache.decoded:
        return "decoded"
    return "shards" if cache.shards else "none"
