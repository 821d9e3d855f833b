"""Files of decoded crops in a folder of bounded size, shared by all processes of a host.

A file is a head that says whose crops it holds, one mark of 8 bytes for each slot, then the slots:
sparse, so that only what was written takes room. Its size says how many slots there are; it may
grow or shrink from run to run without moving a crop. Files are made, changed in size and removed
under one lock of the folder; whoever uses a file holds a shared lock on it, and a file that is
locked is never removed or cut. The system lets go of both locks when a process dies.
"""

from __future__ import annotations

import errno
import fcntl
import json
import mmap
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fusekit.fingerprint import canonical_json, fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

MOST: Final = 20 * 10**9  # bytes, where nobody gives a size
SUFFIX: Final = ".crops"

_MAGIC: Final = b"fusekit decoded crops 1\n"
_PAGE: Final = 4096
_MARK: Final = 8
_LOCK: Final = ".lock"


@dataclass(frozen=True)
class CropLayout:
    """Where things stand in a file.

    Attributes:
        about: JSON values that say whose crops these are; other values are another file.
        slots: Most slots that the file can ever have; that many marks.
        crop_bytes: Bytes of a slot.
    """

    about: Mapping[str, Any]
    slots: int
    crop_bytes: int

    @property
    def name(self) -> str:
        """The file's name."""
        return fingerprint(self.about)[:32] + SUFFIX

    @property
    def head(self) -> bytes:
        """The file's first bytes."""
        text = _MAGIC + canonical_json(self.about) + b"\n"
        return text.ljust(-(-len(text) // _PAGE) * _PAGE, b"\0")

    @property
    def crops_at(self) -> int:
        """Where the first slot starts."""
        return -(-(len(self.head) + self.slots * _MARK) // _PAGE) * _PAGE

    def size(self, capacity: int) -> int:
        """Give the bytes of a file of so many slots."""
        return self.crops_at + capacity * self.crop_bytes

    def capacity(self, size: int) -> int:
        """Give how many slots a file of so many bytes has, none or fewer where it has no room."""
        return min(self.slots, (size - self.crops_at) // self.crop_bytes)


class CropFile:
    """An open file: mapped for reading, written through calls.

    Attributes:
        capacity: How many slots it has.
        marks: One for each slot that there could be, uint64, over the map; 0: empty.
        crops: The slots, uint8 ``(capacity, crop_bytes)``, over the map.
    """

    _fd = -1  # until it is whole: what fails before is the caller's to close

    def __init__(self, descriptor: int, layout: CropLayout, capacity: int) -> None:
        self._layout, self.capacity = layout, capacity
        self._marks_at, self._crops_at = len(layout.head), layout.crops_at
        size = layout.size(capacity)
        mapped = mmap.mmap(descriptor, size, prot=mmap.PROT_READ)
        marks = np.frombuffer(mapped, "<u8", layout.slots, self._marks_at)
        crops = np.frombuffer(mapped, np.uint8, size - self._crops_at, self._crops_at)
        self.marks: npt.NDArray[np.uint64] = marks
        self.crops: npt.NDArray[np.uint8] = crops.reshape(capacity, layout.crop_bytes)
        self._fd, self._close = descriptor, os.close  # modules may be gone when it is dropped

    def __del__(self) -> None:
        # One that is dropped must not hold its file: nobody could remove it before this one ends.
        if self._fd >= 0:
            self._close(self._fd)

    def write_crop(self, slot: int, crop: memoryview) -> None:
        """Write a slot's bytes.

        Raises:
            OSError: The disk is full, or can't be written.
        """
        self._write(crop, self._crops_at + slot * self._layout.crop_bytes)

    def write_mark(self, slot: int, mark: int) -> None:
        """Write a slot's mark.

        Raises:
            OSError: The disk is full, or can't be written.
        """
        self._write(memoryview(mark.to_bytes(_MARK, "little")), self._marks_at + slot * _MARK)

    def sync(self) -> None:
        """Wait until what was written is on the disk.

        Raises:
            OSError: It can't be written.
        """
        os.fsync(self._fd)

    def close(self) -> None:
        """Let go of the file; another process may then remove it."""
        self.marks, self.crops = np.empty(0, np.uint64), np.empty((0, 0), np.uint8)
        descriptor, self._fd = self._fd, -1
        os.close(descriptor)

    def _write(self, data: memoryview, offset: int) -> None:
        # Never through the map: there a full disk would be a signal that ends the process.
        while data:
            written = os.pwrite(self._fd, data, offset)
            data, offset = data[written:], offset + written


def open_crop_file(folder: Path, layout: CropLayout, bound: int | None) -> CropFile | None:
    """Open the file of some crops, or make it, as large as the bound lets it be.

    Files of other crops are removed, the one opened or written longest ago first, until all fit;
    those in use stay. A file that other processes use stays as large as it is, or grows.

    Args:
        folder: Where; made when it is not there.
        layout: Of the file.
        bound: Most bytes of all files together; None: 20 GB, and at most half of the bytes that
            are free besides those that the files take already.

    Returns:
        The file; None where the bound leaves no room for one crop.

    Raises:
        OSError: The folder can't be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        path = folder / layout.name
        bound = _default_bound(folder) if bound is None else bound
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            alone = _lock(fd)
            capacity = _fit(fd, folder, layout, bound, alone=alone)
            if capacity > 0:
                fcntl.flock(fd, fcntl.LOCK_SH)
                os.utime(fd)
                return CropFile(fd, layout, capacity)
            if alone:
                path.unlink()
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return None


def read_about(path: Path) -> dict[str, Any]:
    """Read whose crops a file holds; empty where it is damaged or gone."""
    try:
        with path.open("rb") as file:
            head = file.read(_PAGE)
        about = json.loads(head.removeprefix(_MAGIC).partition(b"\n")[0])
    except (OSError, ValueError):
        return {}
    return about if head.startswith(_MAGIC) and isinstance(about, dict) else {}


def open_whole_file(path: Path, layout: CropLayout) -> CropFile | None:
    """Open a file as it is, beside whoever uses it; None where it has no slot.

    Raises:
        OSError: It can't be opened.
    """
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    capacity = layout.capacity(os.fstat(fd).st_size)
    if capacity <= 0:
        os.close(fd)
        return None
    try:
        return CropFile(fd, layout, capacity)
    except BaseException:
        os.close(fd)
        raise


def _fit(fd: int, folder: Path, layout: CropLayout, bound: int, *, alone: bool) -> int:
    """Give a file its head and its size; return its slots, none where it is not to be used."""
    room = bound - _make_room(folder, layout, bound)
    held, capacity = layout.capacity(os.fstat(fd).st_size), layout.capacity(room)
    if os.pread(fd, len(layout.head), 0) != layout.head:
        # New, or damaged, or of a run that was killed right here.
        if not alone:
            return 0
        os.ftruncate(fd, 0)
        if capacity > 0:
            os.pwrite(fd, layout.head, 0)
    elif not alone:
        capacity = max(held, capacity)
    if capacity > 0:
        os.ftruncate(fd, layout.size(capacity))
    return capacity


def _make_room(folder: Path, layout: CropLayout, bound: int) -> int:
    """Remove other files until a whole one fits; return the bytes of those that stay."""
    files = [p for p in folder.glob(f"*{SUFFIX}") if p.name != layout.name]
    sizes = {p: p.stat().st_size for p in files}
    # By their sizes, not by what is written of them: a sparse file in use may still fill up.
    for path in sorted(files, key=lambda p: (p.stat().st_mtime_ns, p.name)):
        if sum(sizes.values()) + layout.size(layout.slots) <= bound:
            break
        if _remove(path):
            del sizes[path]
    return sum(sizes.values())


def _remove(path: Path) -> bool:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        unused = _lock(fd)
        if unused:
            path.unlink()
        return unused
    finally:
        os.close(fd)


def _default_bound(folder: Path) -> int:
    disk = os.statvfs(folder)
    written = sum(p.stat().st_blocks * 512 for p in folder.glob(f"*{SUFFIX}"))
    return min(MOST, written + disk.f_bavail * disk.f_frsize // 2)


def _lock(fd: int) -> bool:
    """Take a file for oneself, unless another uses it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN):
            raise
        return False
    return True


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / _LOCK).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
