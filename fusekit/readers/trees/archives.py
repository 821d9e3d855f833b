"""Archives as trees: a zip, a tar, or a folder of them, read without unpacking."""

from __future__ import annotations

import io
import os
import tempfile
from dataclasses import replace
from functools import lru_cache
from typing import IO, TYPE_CHECKING, Final, cast

from fusekit.errors import FormatError, ItemError, SourceError
from fusekit.formats.image_header import sniff
from fusekit.readers.trees.archive_files import open_archive, unreadable
from fusekit.readers.trees.archive_index import ArchiveIndex
from fusekit.readers.trees.folder_tree import FolderTree
from fusekit.readers.trees.walk import MAX_BYTES, Entry, files_below, is_desktop_file, sort_key

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator, Sequence
    from pathlib import Path

#: A longer list or table is not read out of an archive.
MAX_LIST: Final = 1 << 30
_IN_MEMORY: Final = 1 << 24  # of a list; a longer one lies in a temporary file
_SPAN: Final = 1 << 44  # offsets of one archive among several: 16 TiB for each of half a million


class ArchiveTree:
    """The files of one archive; see :class:`fusekit.readers.trees.tree.Tree`.

    Args:
        root: The archive.
        ignored: Gets a count for everything that is passed over.
        prefix: Path of the archive in the raw folder; empty when it is the raw data itself.
        base: Added to the offsets of its entries.

    Raises:
        SourceError: It can't be opened, or is no archive.
    """

    def __init__(self, root: Path, ignored: Counter[str], prefix: str = "", base: int = 0) -> None:
        self.root, self.ignored = root, ignored
        self._prefix, self._base = prefix, base
        self._archive = open_archive(root)
        self.front_to_back = self._archive.front_to_back

    def entries(self, folder: str = "") -> Iterator[Entry]:
        """List one folder, so that listing in turn gives all sources in bytewise order.

        Left out and counted as in :meth:`.folder_tree.FolderTree.entries`; members that are no
        file inside the archive are counted where its root is listed.

        Raises:
            SourceError: The archive is damaged, encrypted or one part of several.
        """
        if not self._inside(folder):
            self.ignored.update(self._index().passed_over)
        for entry, reason in self._listed(folder):
            if reason is None:
                yield entry
            else:
                self.ignored[reason] += 1

    def peek(self, folder: str = "") -> Iterator[Entry]:
        """List one folder as :meth:`entries` does, but count nothing."""
        for entry, reason in self._listed(folder):
            if reason is None:
                yield entry

    def files(self, folder: str = "") -> Iterator[Entry]:
        """List the files that may be pictures; see :func:`.walk.files_below`."""
        return files_below(self, folder)

    def read(self, source: str, offset: int = 0, size: int = 0) -> bytes:
        """Read a file by its entry.

        Raises:
            ItemError: It is damaged, is no picture by its size, or is not there any more.
            SourceError: The archive itself is gone.
        """
        if size > MAX_BYTES:
            raise ItemError("too_large", source, f"{size} bytes, more than {MAX_BYTES}")
        try:
            return _joined(self._archive.chunks(offset - self._base, size), source)
        except (FormatError, OSError) as reason:
            if not self.root.is_file():  # a drive that is gone is no fault of any member
                raise SourceError(
                    self.root, "is not there any more", None, "see that the drive is there"
                ) from None
            raise ItemError("unreadable", source, str(reason)) from None

    def open(self, source: str) -> IO[bytes]:
        """Open a list or a table of the release; the file can seek.

        Raises:
            SourceError: It is not there, is damaged, or has more than 1 GiB.
        """
        place = self._index().find(self._inside(source))
        where = self.root / source.removeprefix(f"{self._prefix}/")
        if place is None:
            raise SourceError(where, "is not in the archive")
        if place[1] > MAX_LIST:
            raise SourceError(
                where, f"has {place[1]} bytes", f"at most {MAX_LIST} in an archive",
                "unpack the archive and give the folder",
            )  # fmt: skip
        file = cast("IO[bytes]", tempfile.SpooledTemporaryFile(_IN_MEMORY))  # noqa: SIM115
        try:
            for piece in self._archive.chunks(*place):
                file.write(piece)
        except (FormatError, OSError) as reason:
            file.close()
            raise SourceError(where, f"can't be read ({reason})") from None
        file.seek(0)
        return file

    def is_file(self, source: str) -> bool:
        """Say whether there is a file of this name inside the archive."""
        return self._index().find(self._inside(source)) is not None

    def close(self) -> None:
        """Close what is open; reading again opens it again."""
        self._archive.close()

    def _listed(self, folder: str) -> Iterator[tuple[Entry, str | None]]:
        """Give entries in bytewise order, and why they are passed over; None: they are not."""
        for raw_name, place in self._index().below(self._inside(folder)):
            name = raw_name.decode()
            source = f"{folder}/{name}" if folder else name
            reason = None
            if is_desktop_file(name):
                reason = "desktop files"
            elif place is None and name.startswith("."):
                reason = "hidden folders"
            offset, size = (0, 0) if place is None else (self._base + place[0], place[1])
            yield Entry(name, source, place is None, size, offset), reason

    def _inside(self, source: str) -> bytes:
        if source == self._prefix:
            return b""
        return source[len(self._prefix) + 1 if self._prefix else 0 :].encode("utf-8", "replace")

    def _index(self) -> ArchiveIndex:
        try:
            stat = self.root.stat()
        except OSError as reason:
            raise unreadable(self.root, reason) from None
        return _listed(self.root, stat.st_size, stat.st_mtime_ns)


class ArchivesTree:
    """A folder whose archives are folders of their own; a :class:`.tree.Tree`.

    Args:
        root: The folder, resolved.
        archives: Paths of the archives in it, in bytewise order; see
            :func:`fusekit.readers.trees.archive_files.find_archives`.
        ignored: Gets a count for everything that is passed over.

    Raises:
        SourceError: An archive can't be opened, or is none.
    """

    def __init__(self, root: Path, archives: Sequence[str], ignored: Counter[str]) -> None:
        self.root, self.ignored = root, ignored
        self._folder = FolderTree(root, ignored)
        self._archives = {
            # From 1: plain files have the offsets of no archive.
            source: ArchiveTree(root / source, ignored, source, number * _SPAN)
            for number, source in enumerate(archives, 1)
        }
        self._depth = 1 + max((source.count("/") for source in archives), default=0)
        self.front_to_back = any(tree.front_to_back for tree in self._archives.values())
        self._last: ArchiveTree | None = None

    def entries(self, folder: str = "") -> Iterator[Entry]:
        """List one folder; see :meth:`ArchiveTree.entries`."""
        archive = self._archive_of(folder)
        if archive is not None:
            return archive.entries(folder)
        return iter(sorted(map(self._as_folder, self._folder.entries(folder)), key=sort_key))

    def peek(self, folder: str = "") -> Iterator[Entry]:
        """List one folder in no order; see :meth:`.folder_tree.FolderTree.peek`."""
        archive = self._archive_of(folder)
        if archive is not None:
            return archive.peek(folder)
        return map(self._as_folder, self._folder.peek(folder))

    def files(self, folder: str = "") -> Iterator[Entry]:
        """List the files that may be pictures; see :func:`.walk.files_below`."""
        return files_below(self, folder)

    def read(self, source: str, offset: int = 0, size: int = 0) -> bytes:
        """Read a file by its entry; see :meth:`ArchiveTree.read`."""
        archive = self._archive_of(source)
        if archive is None:
            return self._folder.read(source)
        if self._last is not None and self._last is not archive:
            self._last.close()  # one place in one archive is kept, however many there are
        self._last = archive
        return archive.read(source, offset, size)

    def open(self, source: str) -> IO[bytes]:
        """Open a list or a table of the release; see :meth:`ArchiveTree.open`."""
        return (self._archive_of(source) or self._folder).open(source)

    def is_file(self, source: str) -> bool:
        """Say whether there is a file of this name, in the folder or in an archive."""
        if source in self._archives:
            return False
        return (self._archive_of(source) or self._folder).is_file(source)

    def _as_folder(self, entry: Entry) -> Entry:
        is_archive = entry.source in self._archives
        return replace(entry, is_folder=True, size=0) if is_archive else entry

    def _archive_of(self, source: str) -> ArchiveTree | None:
        end = -1
        for _ in range(self._depth):
            end = source.find("/", end + 1)
            archive = self._archives.get(source if end < 0 else source[:end])
            if archive is not None or end < 0:
                return archive
        return None


# Finding the form, counting and listing each go through an archive; it is listed once.
@lru_cache(maxsize=32)
def _listed(path: Path, size: int, mtime_ns: int) -> ArchiveIndex:  # noqa: ARG001 - of the cache's key
    archive = open_archive(path)
    try:
        return ArchiveIndex(archive.members())
    except FormatError as error:
        raise SourceError(error.where, error.found, error.expected, error.fix) from None
    except OSError as reason:
        raise unreadable(path, reason) from None


def _joined(pieces: Iterator[bytes], source: str) -> bytes:
    """Join a picture's bytes; what is none by its first piece is not unpacked to its end."""
    file = io.BytesIO(next(pieces, b""))
    for piece in pieces:
        if not file.tell() and sniff(file.getvalue()) is None:
            found = f"starts with {file.getvalue()[:8]!r}, no image type known"
            raise ItemError("not_an_image", source, found)
        file.seek(0, os.SEEK_END)
        file.write(piece)
    return file.getvalue()  # without a copy, unlike a joined list
