"""The shards of a mixture in an object store, fetched ahead of the plan or read by ranges."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
import weakref
from collections import Counter
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np

from fusekit.errors import FusekitError, LoaderError, StorageError
from fusekit.loader.crops.files import most_open
from fusekit.loader.remote.crew import Crew
from fusekit.loader.remote.download import download
from fusekit.loader.remote.lookahead import Lookahead
from fusekit.loader.remote.settings import RemoteSettings, open_cache
from fusekit.loader.remote.shard_cache import Download, ShardCache, file_is
from fusekit.loader.remote.shard_file import ShardFile
from fusekit.storage.objects import ObjectStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future

    import numpy.typing as npt

    from fusekit.mixture.mixture import Mixture

_POLL_S: Final = 0.05  # how often one looks whether another process has fetched a shard
_TELL_S: Final = 0.5
_LEAD: Final = 8  # steps that batches made ahead of the trainer may be at
_RANGE_THREADS: Final = 16
_CLOSED: Final = "is not read: the loader was closed"
_log = logging.getLogger("fusekit.loader")


class RemoteShards:
    """Read byte ranges of shards in an object store, from any number of threads.

    A few threads fetch whole shards into the cache in the order in which the plan needs them. One
    that is fetched is waited for; one that finds no room among those that are needed sooner is read
    by range requests.

    Args:
        mixture: A mixture in an object store.
        upcoming: Gives the numbers of the shards that this rank reads at a step, in any order; a
            pure function.
        settings: How they are read; None takes the defaults.

    Raises:
        LoaderError: The cache's folder can't be written, or its bound is under 64 KB.
        StorageError: The store's endpoint or the credentials' profile can't be used.
        MissingExtraError: The extra for object stores is missing.
    """

    gathers = True

    def __init__(
        self,
        mixture: Mixture,
        upcoming: Callable[[int], npt.NDArray[np.int64]],
        settings: RemoteSettings | None = None,
    ) -> None:
        assert mixture.url is not None
        settings = settings or RemoteSettings()
        shards = mixture.shards
        self._names: list[str] = shards["path"].to_pylist()
        self._digests: list[str] = shards["sha256"].to_pylist()
        self._sizes = shards["size"].to_numpy().astype(np.int64)
        self._objects = ObjectStore.open(mixture.url, settings.retry)
        self._settings = settings
        self._cache = open_cache(settings)
        bound = self._cache.bound if self._cache else 0
        self._ahead = Lookahead(upcoming, self._sizes, settings.horizon, bound)
        self._here = self._present()
        self._files: dict[int, ShardFile] = {}
        self._most_open = most_open()
        self._checked: set[int] = set()
        self._flying: set[int] = set()
        self._busy: dict[int, float] = {}
        self._asked: Counter[int] = Counter()
        self._failed: dict[int, BaseException] = {}
        self._full = self._warned = False
        self._walking: Future[None] | None = None
        self._told = -math.inf
        self._counts: Counter[str] = Counter()
        self._waited = 0.0
        self._state = threading.Condition()  # reentrant: a fetch may end at once
        self._fetchers = Crew(settings.threads if self._cache else 0, "fusekit-fetch")
        self._walker = Crew(1 if self._cache else 0, "fusekit-lookahead")
        self._rangers = Crew(_RANGE_THREADS, "fusekit-ranges")
        # Called by close, when this is dropped, or at the interpreter's end.
        self._end = weakref.finalize(
            self, _end, os.getpid(), self._objects, self._cache,
            self._walker, self._fetchers, self._rangers,
        )  # fmt: skip

    def name(self, shard: int) -> str:
        """Give a shard's URL."""
        return self._objects.where(self._names[shard])

    def at(self, step: int) -> None:
        """Be told that the trainer has come to a step; shards are fetched ahead from there."""
        if self._cache is None or self._objects.closed:
            return
        with self._state:
            for shard in self._ahead.go_to(step):
                self._cache.touch(self._digests[shard])
            self._full = False
            if self._walking is not None and self._walking.done():
                walked, self._walking = self._walking, None
                walked.result()  # an error of the plan belongs to the trainer
            if self._walking is None:
                self._walking = self._walker.submit(self._look_ahead)

    def read(self, shard: int, offset: int, length: int) -> bytes:
        """Read ``length`` bytes at ``offset``; fewer only where the shard ends early.

        Raises:
            LoaderError: It can't be read after all tries, is gone, access is refused, or its
                bytes are not those that were stored; or the loader is closed.
        """
        data = self._kept(shard, offset, length)
        with self._state:
            self._counts["shard_hits" if data is not None else "shard_misses"] += 1
        return data if data is not None else self._missed(shard, offset, length)

    def view(self, shard: int, offset: int, length: int) -> bytes:
        """Read as :meth:`read`: what may be evicted meanwhile isn't mapped."""
        return self.read(shard, offset, length)

    def gather(self, ranges: Sequence[tuple[int, int, int]]) -> list[bytes]:
        """Read several ranges; those that are not here are asked for all at once.

        Args:
            ranges: Shard, offset and length of each.

        Raises:
            LoaderError: As :meth:`read`.
        """
        found = [self._kept(*each) for each in ranges]
        misses = [k for k, data in enumerate(found) if data is None]
        with self._state:
            self._counts["shard_hits"] += len(ranges) - len(misses)
            self._counts["shard_misses"] += len(misses)
        fetched = [self._rangers.submit(self._missed, *ranges[k]) for k in misses]
        try:
            for k, future in zip(misses, fetched, strict=True):
                found[k] = future.result()
        except CancelledError:
            shard = ranges[misses[0]][0]
            raise LoaderError(self.name(shard), _CLOSED) from None
        return [data for data in found if data is not None]

    def distrust(self, shard: int) -> bool:
        """Check a shard's digest after a crop of it did not decode.

        Returns:
            True when the file here was damaged: it is gone, and the next read fetches it anew.
        """
        if self._cache is None or shard not in self._here:
            return False
        damaged = not file_is(self._cache.path(self._digests[shard]), self._digests[shard])
        if damaged:
            self._forget(shard, damaged=True)
        return damaged

    def figures(self) -> dict[str, int | float]:
        """Give what was counted since this was made.

        Returns:
            ``shard_hits`` and ``shard_misses`` of the cache, in reads; ``shard_ranges``, the misses
            that were read by range requests; ``shards_fetched``, ``shards_evicted`` and
            ``shards_damaged``, those found so in the cache; ``fetched_bytes`` of whole shards,
            ``range_bytes``, and ``kept_bytes`` of this mixture's shards that are here;
            ``shard_retries``, requests made again; ``shard_wait_s``, the reading threads' time
            until a miss was there, summed.
        """
        held = self._present()
        with self._state:
            return {
                **{name: self._counts[name] for name in _COUNTED},
                "shards_evicted": self._cache.evicted if self._cache else 0,
                "shard_retries": self._objects.retries,
                "shard_wait_s": self._waited,
                "kept_bytes": int(self._sizes[list(held)].sum()),
            }

    def give_up(self) -> None:
        """Fetch nothing more; waits for nothing, and so may be called by the collector."""
        self._objects.close()

    def close(self) -> None:
        """Stop the threads; what they were fetching is dropped."""
        self._objects.close()
        with self._state:
            self._state.notify_all()
        self._end()
        self._files.clear()

    def _kept(self, shard: int, offset: int, length: int) -> bytes | None:
        """Read from the cache; None when the shard is not there."""
        file = self._files.get(shard)
        if file is None and (file := self._open(shard)) is None:
            return None
        data = file.read(offset, length)
        if len(data) < length and offset + length <= int(self._sizes[shard]):
            self._forget(shard, damaged=True)  # it was cut short where it lies
            return None
        return data

    def _open(self, shard: int) -> ShardFile | None:
        if self._cache is None or shard not in self._here:
            return None
        path = self._cache.path(self._digests[shard])
        try:
            file = ShardFile(path)
        except FileNotFoundError:  # evicted by another process
            self._forget(shard, damaged=False)
            return None
        sound = file.size == int(self._sizes[shard])
        if sound and self._settings.check == "sha256" and shard not in self._checked:
            sound = file_is(path, self._digests[shard])
        if not sound:
            self._forget(shard, damaged=True)
            return None
        with self._state:
            self._checked.add(shard)
            self._files[shard] = file
            if len(self._files) > self._most_open:
                del self._files[next(iter(self._files))]  # the one that was opened first
        self._cache.touch(self._digests[shard])
        return file

    def _forget(self, shard: int, *, damaged: bool) -> None:
        if damaged and self._cache is not None:
            self._cache.remove(self._digests[shard])
        with self._state:
            self._counts["shards_damaged"] += damaged
            self._here.discard(shard)
            self._checked.discard(shard)
            self._files.pop(shard, None)

    def _missed(self, shard: int, offset: int, length: int) -> bytes:
        started = time.monotonic()
        try:
            while self._comes(shard):
                data = self._kept(shard, offset, length)
                if data is not None:
                    return data
            return self._range(shard, offset, length)
        finally:
            with self._state:
                self._waited += time.monotonic() - started

    def _comes(self, shard: int) -> bool:
        """Wait until a shard is here; False when it is to be read by ranges instead."""
        if self._cache is None:
            return False
        with self._state:
            self._asked[shard] += 1
            self._failed.pop(shard, None)  # what failed when nobody waited for it is tried anew
            try:
                while shard not in self._here:
                    if self._objects.closed:
                        raise LoaderError(self.name(shard), _CLOSED)
                    if shard in self._failed:
                        raise _translated(self._failed[shard])
                    if not self._is_coming(shard):
                        return False
                    self._pump()
                    self._state.wait(_POLL_S)
            finally:
                self._asked[shard] -= 1
                self._asked += Counter()  # drops those at zero
        return True

    def _is_coming(self, shard: int) -> bool:
        if shard in self._flying or shard in self._busy:
            return True
        if self._ahead.distance(shard) is None:
            walking = self._walking is not None and not self._walking.done()
            return walking and self._ahead.end < self._ahead.step + _LEAD
        if self._full:
            self._warn()
        return not self._full

    def _range(self, shard: int, offset: int, length: int) -> bytes:
        try:
            data = self._objects.get_range(self._names[shard], offset, length)
        except StorageError as error:
            raise _translated(error) from None
        with self._state:
            self._counts["shard_ranges"] += 1
            self._counts["range_bytes"] += len(data)
        return data

    def _present(self) -> set[int]:
        present = self._cache.here() if self._cache is not None else set()
        return {k for k, digest in enumerate(self._digests) if digest in present}

    def _let_go(self) -> None:
        """Close what was evicted while it was open: only that frees its bytes."""
        with self._state:
            for shard in [k for k, file in self._files.items() if file.is_gone]:
                self._here.discard(shard)
                del self._files[shard]

    def _look_ahead(self) -> None:
        self._let_go()
        with self._state:
            self._pump()
        while not self._objects.closed and self._ahead.walk():
            with self._state:
                self._pump()
        now = time.monotonic()
        if now - self._told < _TELL_S or self._cache is None or self._objects.closed:
            return
        self._told = now
        with _written(self._cache):
            self._cache.tell(self._needs())
        present = self._present()
        with self._state:
            self._here = present
            self._state.notify_all()

    def _needs(self) -> dict[str, float]:
        return {self._digests[k]: float(d) for k, d in self._ahead.distances().items()}

    def _pump(self) -> None:
        """Give the fetching threads what is needed next; call it with the state held."""
        room = self._settings.threads - len(self._flying)
        if self._objects.closed or room <= 0:
            return
        now = time.monotonic()
        planned = self._ahead.distances()
        # What another process fetches needs no room of ours: look whether it is there.
        wanted = [k for k in self._asked if k in planned or k in self._busy]
        wanted = [k for k in wanted if k in self._busy] if self._full else [*wanted, *planned]
        for shard in wanted:
            if room <= 0:
                return
            waits = now < self._busy.get(shard, 0.0)
            if shard in self._here or shard in self._flying or shard in self._failed or waits:
                continue
            self._flying.add(shard)
            self._fetchers.submit(self._fetch, shard).add_done_callback(
                lambda done, shard=shard: self._fetched(shard, done)  # type: ignore[misc]
            )
            room -= 1

    def _fetch(self, shard: int) -> Outcome:
        assert self._cache is not None
        digest, size = self._digests[shard], int(self._sizes[shard])
        distance = self._ahead.distance(shard)
        with _written(self._cache):
            place = self._cache.begin(
                digest, size, math.inf if distance is None else distance, self._needs()
            )
            self._let_go()
            if not isinstance(place, Download):
                return place
            try:
                name = self._names[shard]
                download(self._objects, name, place, digest, size, self._count_fetched)
            finally:
                place.drop()
        return "fetched"

    def _count_fetched(self, length: int) -> None:
        with self._state:
            self._counts["fetched_bytes"] += length

    def _fetched(self, shard: int, done: Future[Outcome]) -> None:
        with self._state:
            self._flying.discard(shard)
            self._busy.pop(shard, None)
            if not done.cancelled():
                error = done.exception()
                if error is not None:
                    if not self._objects.closed:  # nobody waits; kept, it would keep this
                        self._failed[shard] = error
                else:
                    self._note(shard, done.result())
            self._pump()
            self._state.notify_all()

    def _note(self, shard: int, outcome: Outcome) -> None:
        if outcome == "busy":
            self._busy[shard] = time.monotonic() + _POLL_S
        elif outcome == "full":
            self._full = True
        else:
            self._here.add(shard)
            if outcome == "fetched":
                self._checked.add(shard)
                self._counts["shards_fetched"] += 1

    def _warn(self) -> None:
        if self._warned or self._cache is None:
            return
        self._warned = True
        steps = self._settings.at_once
        _log.warning(
            "the shard cache of %s in %s has no room: the next %d steps of this rank alone "
            "need %s. "
            "What finds no room is read by range requests, which is slow: give a bigger cache, or "
            "block= as large as a shard's rows and a smaller window=",
            _in_words(self._cache.bound), self._cache.folder, steps,
            _in_words(self._ahead.need(steps)),
        )  # fmt: skip


Outcome: TypeAlias = Literal["here", "busy", "full", "fetched"]
_COUNTED: Final = (
    "shard_hits", "shard_misses", "shard_ranges", "shards_fetched", "shards_damaged",
    "fetched_bytes", "range_bytes",
)  # fmt: skip


def _end(process: int, objects: ObjectStore, cache: ShardCache | None, *crews: Crew) -> None:
    if process != os.getpid():  # a fork's copy: threads and files are its parent's
        return
    objects.close()
    for crew in crews:
        crew.stop()
    if cache is not None:
        cache.close()


@contextmanager
def _written(cache: ShardCache) -> Iterator[None]:
    """Say of which folder an error of the disk is."""
    try:
        yield
    except OSError as error:
        raise LoaderError(
            cache.folder, f"can't be written: {error.strerror or error}", None,
            "free some space, or give the cache another folder or a smaller size",
        ) from error  # fmt: skip


def _translated(error: BaseException) -> BaseException:
    if isinstance(error, FusekitError) and not isinstance(error, LoaderError):
        return LoaderError(error.where, error.found, error.expected, error.fix)
    return error


def _in_words(size: int) -> str:
    unit = "GB" if size >= 10**9 else "MB" if size >= 10**6 else "KB"
    return f"{size / {'GB': 10**9, 'MB': 10**6, 'KB': 10**3}[unit]:.1f} {unit}"
