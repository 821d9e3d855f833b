"""A folder as a tree: never left, listed in one fixed order, what is passed over counted."""

from __future__ import annotations

import errno
import os
from typing import IO, TYPE_CHECKING, Final

from fusekit.errors import ItemError, SourceError
from fusekit.readers.trees.walk import MAX_BYTES, Entry, files_below, is_desktop_file

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator
    from pathlib import Path

#: What a network drive or a short-handed system answers: it says nothing of the picture.
_PASSING: Final = frozenset(
    {errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
)


class FolderTree:
    """A folder that is only ever read inside its borders; a :class:`.tree.Tree`.

    Args:
        root: The folder, resolved.
        ignored: Gets a count for everything that is passed over.
    """

    front_to_back = False

    def __init__(self, root: Path, ignored: Counter[str]) -> None:
        self.root = root
        self.ignored = ignored
        self._border = os.path.join(root, "")  # noqa: PTH118 - ends in one slash, also for /

    def entries(self, folder: str = "") -> Iterator[Entry]:
        """List one folder, so that listing in turn gives all sources in bytewise order.

        Left out and counted: links that leave the raw folder, name a folder or lead nowhere,
        files of the desktop, hidden folders, what is neither file nor folder, names that are no
        UTF-8.

        Args:
            folder: Path from the raw folder; empty for the raw folder itself.

        Raises:
            SourceError: The folder can't be listed.
        """
        found = []
        for name, is_folder, reason in self._scan(folder):
            if reason is None:
                # As sort_key, for millions.
                found.append((os.fsencode(name) + (b"/" if is_folder else b""), name, is_folder))
            else:
                self.ignored[reason] += 1
        found.sort()
        for _, name, is_folder in found:
            source = f"{folder}/{name}" if folder else name
            size = 0 if is_folder else self._size(source)
            yield Entry(name, source, is_folder, size)

    def peek(self, folder: str = "") -> Iterator[Entry]:
        """List one folder as the system gives it: a look at the first of millions costs nothing.

        The entries are those of :meth:`entries`, but in no order, files with a size of 0, and what
        is left out is not counted.

        Args:
            folder: As for :meth:`entries`.

        Raises:
            SourceError: The folder can't be listed.
        """
        for name, is_folder, reason in self._scan(folder):
            if reason is None:
                yield Entry(name, f"{folder}/{name}" if folder else name, is_folder, 0)

    def files(self, folder: str = "") -> Iterator[Entry]:
        """List the files in a folder and below that may be pictures; see :func:`files_below`."""
        return files_below(self, folder)

    def read(self, source: str, offset: int = 0, size: int = 0) -> bytes:  # noqa: ARG002 - for archives
        """Read a file of the tree.

        Args:
            source: Its path from the raw folder.
            offset: As its entry says; it matters in archives only.
            size: The same.

        Raises:
            ItemError: It is not there, can't be read, is no picture by its size, or lies outside
                the raw folder.
            SourceError: The raw folder itself is gone or does not answer: no fault of the file.
        """
        path = self.path(source)
        try:
            with open(path, "rb") as file:  # noqa: PTH123 - a million of them
                size = os.fstat(file.fileno()).st_size
                if size > MAX_BYTES:
                    raise ItemError("too_large", source, f"{size} bytes, more than {MAX_BYTES}")
                return file.read()
        except OSError as reason:
            if reason.errno in _PASSING or not self._is_there():
                raise SourceError(
                    self.root, f"can't be read any more ({reason.strerror})", None,
                    "see that the drive is there",
                ) from None  # fmt: skip
            raise ItemError("unreadable", source, reason.strerror or "can't be read") from None

    def open(self, source: str) -> IO[bytes]:
        """Open a list or a table of the release; the file can seek.

        Raises:
            SourceError: It can't be opened.
        """
        try:
            return open(self.path(source), "rb")  # noqa: PTH123 - the caller closes it
        except OSError as reason:
            why = reason.strerror or "can't be read"
            raise SourceError(self.root / source, f"can't be opened ({why})") from None

    def path(self, source: str) -> str:
        """Give the real path of something in the tree, whether or not it is there.

        Raises:
            ItemError: It leads out of the raw folder.
        """
        path = os.path.realpath(os.path.join(self.root, source))  # noqa: PTH118 - fast
        if not self._holds(path):
            raise ItemError("unreadable", source, "leads out of the raw folder")
        return path

    def is_file(self, source: str) -> bool:
        """Say whether there is a file of this name inside the tree."""
        try:
            return os.path.isfile(self.path(source))  # noqa: PTH113 - path() gives text
        except ItemError:
            return False

    def _scan(self, folder: str) -> Iterator[tuple[str, bool, str | None]]:
        """Give name, whether it is a folder, and why it is passed over; None: it is not."""
        try:
            with os.scandir(self.root / folder) as scan:
                for entry in scan:
                    reason = self._fault(entry)
                    yield entry.name, reason is None and entry.is_dir(), reason
        except OSError as error:
            raise SourceError(self.root / folder, f"can't be listed ({error.strerror})") from None

    def _fault(self, entry: os.DirEntry[str]) -> str | None:
        reason = None
        if is_desktop_file(entry.name):
            reason = "desktop files"
        elif not _is_utf8(entry.name):
            reason = "names that are no UTF-8"
        elif entry.is_symlink() and not self._holds(os.path.realpath(entry.path)):
            reason = "links that leave the raw folder"
        elif entry.is_symlink() and not os.path.exists(entry.path):  # noqa: PTH110 - fast
            reason = "links that lead nowhere"  # also to themselves, where is_dir() would raise
        elif entry.is_dir():
            if entry.is_symlink():
                reason = "links to folders"
            elif entry.name.startswith("."):
                reason = "hidden folders"
        elif not entry.is_file():
            reason = "neither files nor folders"
        return reason

    def _is_there(self) -> bool:
        """Say whether the raw folder holds anything: where a drive was, an empty folder stays."""
        try:
            with os.scandir(self.root) as scan:
                return next(scan, None) is not None
        except OSError:
            return False

    def _holds(self, real_path: str) -> bool:
        return real_path.startswith(self._border) or real_path == str(self.root)

    def _size(self, source: str) -> int:
        try:
            return os.stat(self._border + source).st_size  # noqa: PTH116 - fast
        except OSError:
            return 0  # gone since it was listed: reading it will say so


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
