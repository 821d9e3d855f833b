"""Whole shards of an object store in a folder of bounded size, shared by all processes of a host.

Every file has the sha256 of its shard for a name. A download stands under a temporary name with its
full size from the start, so that what the folder holds is what the bound counts. All that changes
the folder happens under one lock of the system, which a killed process lets go of; its temporaries
are told from living ones by their own locks, and swept.
"""

from __future__ import annotations

import fcntl
import hashlib
import math
import os
import secrets
import struct
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

Found: TypeAlias = Literal["here", "busy", "full"]

_TEMPORARY: Final = ".tmp-"
_NEEDS: Final = ".needs-"
_LOCK: Final = ".lock"
_NEEDS_BYTES: Final = 16_384  # of fixed size: nothing but a download may make the folder grow
_NEED: Final = struct.Struct("<8sI")
_NEEDS_LAST_S: Final = 600.0
_FAR: Final = (1 << 32) - 1


class Held(NamedTuple):
    """A shard in the folder, as eviction sees it.

    Attributes:
        digest: Its sha256 in hexadecimal digits.
        size: Bytes.
        used: When it was last used, in seconds.
    """

    digest: str
    size: int
    used: float


def choose_victims(
    held: Sequence[Held], needs: Mapping[str, float], room: int, distance: float, at_once: int
) -> list[Held] | None:
    """Choose what makes room for a shard: what is needed last, then what was used longest ago.

    What is needed as soon as the new shard, or sooner, is never chosen: then reading the new one
    by ranges is the better choice. This is Belady's rule, with the choice not to keep at all.

    Args:
        held: What is there.
        needs: Steps until each is needed; one that is not named is needed by nobody.
        room: Bytes to free.
        distance: Steps until the new shard is needed; infinite when nobody is known to need it.
        at_once: What is needed within so many steps stays in any case: a shard that is fetched
            for a few steps costs more than the rows that are read from it.

    Returns:
        The victims, or None when they are not enough.
    """
    least = max(distance, float(at_once))
    if room <= 0:
        return []
    free = [h for h in held if needs.get(h.digest, math.inf) > least or h.digest not in needs]
    free.sort(key=lambda h: (-needs.get(h.digest, math.inf), h.used, h.digest))
    chosen = []
    for each in free:
        chosen.append(each)
        room -= each.size
        if room <= 0:
            return chosen
    return None


class Download:
    """A shard's place in the folder while it is being fetched; :meth:`keep` or :meth:`drop` it."""

    def __init__(self, cache: ShardCache, digest: str, path: Path, descriptor: int) -> None:
        self._cache, self._digest, self._path, self._fd = cache, digest, path, descriptor
        self._done = 0

    def write(self, data: bytes) -> None:
        """Write the next bytes.

        Raises:
            OSError: The disk is full, or can't be written.
        """
        view = memoryview(data)
        while view:
            written = os.pwrite(self._fd, view, self._done)
            view, self._done = view[written:], self._done + written

    def again(self) -> None:
        """Start from the first byte."""
        self._done = 0

    def keep(self) -> None:
        """Give it its name: it is whole, and its digest is right."""
        os.fsync(self._fd)
        with self._cache.locked():
            self._path.replace(self._cache.path(self._digest))
        self._close()

    def drop(self) -> None:
        """Free its place, unless it was kept."""
        if self._fd >= 0:
            try:
                with self._cache.locked():
                    self._path.unlink(missing_ok=True)
            finally:
                self._close()

    def _close(self) -> None:
        os.close(self._fd)
        self._fd = -1


class ShardCache:
    """A folder of whole shards whose files together never pass a bound.

    Several processes may share a folder; each tells the others what it will need, so that none
    evicts what another is about to read. One that reads a shard keeps it open: it can be evicted
    meanwhile, and its bytes are freed when the last reader lets go of it.

    Args:
        folder: Made when it is not there.
        bound: Most bytes of all files in it.
        at_once: As :func:`choose_victims`.

    Raises:
        OSError: The folder can't be written.
    """

    def __init__(self, folder: Path, bound: int, at_once: int = 32) -> None:
        self.folder, self.bound = folder, bound
        self._at_once = at_once
        self.evicted = 0
        folder.mkdir(parents=True, exist_ok=True)
        self._needs_path = folder / f"{_NEEDS}{secrets.token_hex(8)}"
        with self.locked():
            held, total = self._sweep()
            victims = choose_victims(held, {}, total + _NEEDS_BYTES - bound, math.inf, 0)
            self._evict(held if victims is None else victims)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._needs_file = os.open(self._needs_path, flags, 0o666)
            fcntl.flock(self._needs_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._needs_file, _NEEDS_BYTES)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder's lock; the system frees it when the process dies."""
        descriptor = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def path(self, digest: str) -> Path:
        """Give where a shard is when it is here."""
        return self.folder / f"{digest}.tar"

    def begin(
        self, digest: str, size: int, distance: float, mine: Mapping[str, float]
    ) -> Download | Found:
        """Make room for a shard and begin to fetch it.

        Args:
            digest: Its sha256 in hexadecimal digits.
            size: Its bytes.
            distance: Steps until it is needed.
            mine: Steps until each shard is needed that this process needs.

        Returns:
            Its place; or that it is ``here``, that another is fetching it (``busy``), or that
            what is needed sooner leaves no room (``full``).
        """
        with self.locked():
            self._tell(mine)
            if self._has(digest, size):
                return "here"
            path = self.folder / f"{_TEMPORARY}{digest}"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                found = self._claim(path, descriptor, size, distance, mine)
            except BaseException:
                os.close(descriptor)  # or nobody could fetch the shard as long as this one lives
                raise
            if found is None:
                return Download(self, digest, path, descriptor)
            os.close(descriptor)
            return found

    def _claim(
        self, path: Path, descriptor: int, size: int, distance: float, mine: Mapping[str, float]
    ) -> Found | None:
        """Take an open temporary file for a shard and make room; None: it is this one's now."""
        if not _lock(descriptor):
            return "busy"
        os.ftruncate(descriptor, 0)
        held, total = self._sweep()
        over = total + size - self.bound
        victims = choose_victims(held, self._needs(mine), over, distance, self._at_once)
        if victims is None:
            path.unlink()
            return "full"
        self._evict(victims)
        os.ftruncate(descriptor, size)
        return None

    def tell(self, mine: Mapping[str, float]) -> None:
        """Tell the other processes what this one will need, in steps from now."""
        with self.locked():
            self._tell(mine)

    def here(self) -> set[str]:
        """Give the digests of all shards that are here."""
        return {path.stem for path in self.folder.glob("[!.]*.tar")}

    def remove(self, digest: str) -> None:
        """Remove a shard that was found damaged."""
        with self.locked():
            self.path(digest).unlink(missing_ok=True)

    def touch(self, digest: str) -> None:
        """Note that a shard was used just now."""
        try:
            os.utime(self.path(digest))
        except FileNotFoundError:
            return  # evicted by another

    def close(self) -> None:
        """Take back what this process said it would need."""
        if self._needs_file < 0:
            return
        with suppress(OSError), self.locked():  # the folder itself may be gone
            self._needs_path.unlink(missing_ok=True)
        os.close(self._needs_file)
        self._needs_file = -1

    def __del__(self) -> None:
        if getattr(self, "_needs_file", -1) >= 0:
            os.close(self._needs_file)  # whoever sweeps next removes it

    def _has(self, digest: str, size: int) -> bool:
        try:
            found = self.path(digest).stat().st_size
        except FileNotFoundError:
            return False
        if found != size:  # damaged: a finished file always had its size
            self.path(digest).unlink()
        return found == size

    def _sweep(self) -> tuple[list[Held], int]:
        """Remove what the dead left; give what is held, and the bytes of all files."""
        held, total = [], 0
        for entry in list(os.scandir(self.folder)):
            if entry.name.startswith((_TEMPORARY, _NEEDS)) and _is_dead(entry.path):
                os.unlink(entry.path)  # noqa: PTH108 - hundreds of entries, each a plain text
                continue
            about = entry.stat()
            total += about.st_size
            if entry.name.endswith(".tar"):
                held.append(Held(entry.name.removesuffix(".tar"), about.st_size, about.st_mtime))
        return held, total

    def _evict(self, victims: Sequence[Held]) -> None:
        for each in victims:
            self.path(each.digest).unlink(missing_ok=True)
        self.evicted += len(victims)

    def _tell(self, mine: Mapping[str, float]) -> None:
        nearest = sorted(mine.items(), key=lambda item: item[1])[: _NEEDS_BYTES // _NEED.size - 1]
        said = b"".join(
            _NEED.pack(bytes.fromhex(digest[:16]), min(int(distance), _FAR - 1) + 1)
            for digest, distance in nearest
        )
        os.pwrite(self._needs_file, said.ljust(_NEEDS_BYTES, b"\0"), 0)

    def _needs(self, mine: Mapping[str, float]) -> Mapping[str, float]:
        """Give the least distance of every shard over all living processes."""
        others: dict[str, int] = {}
        for path in self.folder.glob(f"{_NEEDS}*"):
            # One that has not moved for long (a debugger, a notebook) holds nobody up.
            if path != self._needs_path and time.time() - path.stat().st_mtime < _NEEDS_LAST_S:
                said = path.read_bytes()
                for start, distance in _NEED.iter_unpack(said[: len(said) // 12 * 12]):
                    if not distance:
                        break
                    name = start.hex()
                    others[name] = min(others.get(name, _FAR), distance - 1)
        if not others:
            return mine
        needs = dict(mine)
        for digest in self.here():
            if digest[:16] in others:
                needs[digest] = min(needs.get(digest, math.inf), others[digest[:16]])
        return needs


def file_is(path: Path, digest: str) -> bool:
    """Say whether a file has this sha256; one that is not there has not."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == digest
    except FileNotFoundError:
        return False


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_dead(path: str) -> bool:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        return _lock(descriptor)
    finally:
        os.close(descriptor)
