"""List a folder tree in one fixed order, never leaving it, counting what is passed over."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final, Protocol

from fusekit.errors import ItemError, SourceError

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator
    from pathlib import Path

JUNK: Final = frozenset({".ds_store", "thumbs.db", "desktop.ini", "__macosx", "@eadir"})
LIST_SUFFIXES: Final = frozenset(
    {".txt", ".csv", ".tsv", ".json", ".lst", ".md", ".mat", ".pts", ".xml", ".html"}
)

#: Far more than any picture of the most pixels that are decoded; a stray archive is not read.
MAX_BYTES: Final = 1 << 29
#: What a network drive or a short-handed system answers: it says nothing of the picture.
_PASSING: Final = frozenset(
    {errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder of the tree.

    Attributes:
        name: Its own name.
        source: Its path from the raw folder, ``/`` between the parts.
        is_folder: It is a folder.
        size: Bytes of a file; 0 for a folder.
        offset: Where its bytes start in an archive; 0 for plain files and folders.
    """

    name: str
    source: str
    is_folder: bool
    size: int
    offset: int = 0


class Listed(Protocol):
    """What can list one folder and counts what it passes over."""

    ignored: Counter[str]

    def entries(self, folder: str = "") -> Iterator[Entry]:
        """List one folder."""
        ...


def files_below(tree: Listed, folder: str) -> Iterator[Entry]:
    """List the files in a folder and below that may be pictures, in bytewise order.

    Lists and metadata are told by their suffix, and counted; every other file counts as a
    picture until its bytes say otherwise.
    """
    listings = [tree.entries(folder)]  # no recursion: a tree may be a thousand folders deep
    while listings:
        entry = next(listings[-1], None)
        if entry is None:
            listings.pop()
        elif entry.is_folder:
            listings.append(tree.entries(entry.source))
        elif os.path.splitext(entry.name)[1].lower() in LIST_SUFFIXES:  # noqa: PTH122 - fast
            tree.ignored["lists and metadata (by suffix)"] += 1
        else:
            yield entry


def is_desktop_file(name: str) -> bool:
    """Say whether a file or folder is what desktops leave behind.

    Example:
        >>> is_desktop_file("Thumbs.db"), is_desktop_file("._1.jpg"), is_desktop_file("1.jpg")
        (True, True, False)
    """
    return name.lower() in JUNK or name.startswith("._")


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
        try:
            with os.scandir(self.root / folder) as scan:
                for entry in scan:
                    kind = self._kind(entry)
                    if kind:
                        # A folder sorts as the paths below it do: "a b/x" comes before "a/x".
                        sort_key = os.fsencode(entry.name) + (b"/" if kind == "folder" else b"")
                        found.append((sort_key, entry.name, kind == "folder"))
        except OSError as reason:
            raise SourceError(self.root / folder, f"can't be listed ({reason.strerror})") from None
        found.sort()
        for _, name, is_folder in found:
            source = f"{folder}/{name}" if folder else name
            size = 0 if is_folder else self._size(source)
            yield Entry(name, source, is_folder, size)

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

    def _kind(self, entry: os.DirEntry[str]) -> str | None:
        """Give "file" or "folder"; None, counted, for what is passed over."""
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
            if not (entry.is_symlink() or entry.name.startswith(".")):
                return "folder"
            reason = "links to folders" if entry.is_symlink() else "hidden folders"
        elif entry.is_file():
            return "file"
        else:
            reason = "neither files nor folders"
        self.ignored[reason] += 1
        return None

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
