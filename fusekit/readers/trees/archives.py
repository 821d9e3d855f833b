"""Archives as trees: a zip, a tar, or a folder of them, read without unpacking."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from functools import lru_cache
from typing import IO, TYPE_CHECKING, Final, cast

from fusekit.errors import FormatError, ItemError, SourceError
from fusekit.readers.trees.archive_files import open_archive, unreadable
from fusekit.readers.trees.archive_index import ArchiveIndex
from fusekit.readers.trees.walk import MAX_BYTES, Entry, FolderTree, files_below, is_desktop_file

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

        Left out and counted as in :meth:`fusekit.readers.trees.walk.FolderTree.entries`; members
        that are no file inside the archive are counted where its root is listed.

        Raises:
            SourceError: The archive is damaged, encrypted or one part of several.
        """
        index = self._index()
        inside = self._inside(folder)
        if not inside:
            self.ignored.update(index.passed_over)
        for raw_name, place in index.below(inside):
            name = raw_name.decode()
            source = f"{folder}/{name}" if folder else name
            if is_desktop_file(name):
                self.ignored["desktop files"] += 1
            elif place is not None:
                size, offset = place[1], self._base + place[0]
                yield Entry(name, source, is_folder=False, size=size, offset=offset)
            elif name.startswith("."):
                self.ignored["hidden folders"] += 1
            else:
                yield Entry(name, source, is_folder=True, size=0)

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
            return b"".join(self._archive.chunks(offset - self._base, size))
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
        self.front_to_back = any(tree.front_to_back for tree in self._archives.values())
        self._last: ArchiveTree | None = None

    def entries(self, folder: str = "") -> Iterator[Entry]:
        """List one folder; see :meth:`ArchiveTree.entries`."""
        archive = self._archive_of(folder)
        if archive is not None:
            return archive.entries(folder)
        found = [
            replace(entry, is_folder=True, size=0) if entry.source in self._archives else entry
            for entry in self._folder.entries(folder)
        ]
        return iter(sorted(found, key=_sort_key))

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

    def _archive_of(self, source: str) -> ArchiveTree | None:
        first, _, rest = source.partition("/")
        return self._archives.get(first) or self._archives.get(f"{first}/{rest.partition('/')[0]}")


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


def _sort_key(entry: Entry) -> bytes:
    return os.fsencode(f"{entry.name}/" if entry.is_folder else entry.name)
