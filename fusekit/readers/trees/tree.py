"""Raw data as a tree of files: a folder, an archive, or a folder of archives."""

from __future__ import annotations

from collections import Counter
from typing import IO, TYPE_CHECKING, Protocol

from fusekit.errors import SourceError
from fusekit.readers.trees.archive_files import (
    archive_suffix,
    check_whole,
    find_archives,
    find_named_archives,
    is_first_part,
)
from fusekit.readers.trees.archives import ArchivesTree, ArchiveTree
from fusekit.readers.trees.folder_tree import FolderTree

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from fusekit.readers.trees.walk import Entry


class Tree(Protocol):
    """Raw data that readers of folders walk through, wherever its files really are.

    Attributes:
        root: The raw folder or archive, for errors.
        ignored: Gets a count for everything that is passed over.
        front_to_back: Files are read quickly only by ascending offset.
    """

    root: Path
    ignored: Counter[str]
    front_to_back: bool

    def entries(self, folder: str = "") -> Iterator[Entry]:
        """List one folder, so that listing in turn gives all sources in bytewise order."""
        ...

    def peek(self, folder: str = "") -> Iterator[Entry]:
        """List one folder in no order, sizes and counts left out: cheap where a few will do."""
        ...

    def files(self, folder: str = "") -> Iterator[Entry]:
        """List the files in a folder and below that may be pictures, in bytewise order."""
        ...

    def read(self, source: str, offset: int = 0, size: int = 0) -> bytes:
        """Read a file by its entry's source, offset and size.

        Raises:
            ItemError: It can't be read, or is no picture by its size.
            SourceError: The raw data as a whole is gone.
        """
        ...

    def open(self, source: str) -> IO[bytes]:
        """Open a list or a table of the release; the file can seek.

        Raises:
            SourceError: It can't be opened, or is too large to be read from an archive.
        """
        ...

    def is_file(self, source: str) -> bool:
        """Say whether there is a file of this name inside the tree."""
        ...


def open_tree(raw: Path, ignored: Counter[str], looks_for: str = "pictures") -> Tree:
    """Open raw data as a tree.

    Args:
        raw: A folder or an archive, absolute and resolved.
        ignored: Gets a count for everything that is passed over.
        looks_for: What the reader looks for in it, for errors.

    Returns:
        The tree. An archive in a folder without other folders is a folder of its own, named as
        the archive is.

    Raises:
        SourceError: It is no folder and no archive, or one part of an archive.
    """
    if raw.is_dir():
        archives = find_archives(raw)
        return ArchivesTree(raw, archives, ignored) if archives else FolderTree(raw, ignored)
    check_whole(raw)
    if not archive_suffix(raw.name):
        raise SourceError(raw, "is no folder", f"a folder of {looks_for}, or a zip or tar of it")
    return ArchiveTree(raw, ignored)


def open_release(
    raw: Path,
    ignored: Counter[str],
    looks_for: str,
    names: Collection[str],
    holds: Callable[[Tree], bool],
) -> Tree:
    """Open raw data as a tree, and archives of its pictures that stand beside other folders.

    Args:
        raw: As for :func:`open_tree`.
        ignored: The same.
        looks_for: The same.
        names: What such archives are called, lower case, without the suffix.
        holds: Says whether a tree has the pictures unpacked: then no archive is opened.

    Returns:
        The tree; archives are folders of their own in it, named as they are.

    Raises:
        SourceError: As for :func:`open_tree`, or as ``holds`` does.
    """
    tree = open_tree(raw, ignored, looks_for)
    if not isinstance(tree, FolderTree):
        return tree
    archives = find_named_archives(raw, names)
    if not archives or holds(FolderTree(raw, Counter())):
        return tree
    return ArchivesTree(raw, archives, ignored)


def is_tree(raw: Path) -> bool:
    """Say whether raw data can be opened as a tree, or as one once its parts are joined."""
    return raw.is_dir() or (raw.is_file() and bool(archive_suffix(raw.name))) or is_first_part(raw)
