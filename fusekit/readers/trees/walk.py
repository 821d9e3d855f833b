"""Walk a tree in one fixed order, whatever lists its folders."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator

JUNK: Final = frozenset({".ds_store", "thumbs.db", "desktop.ini", "__macosx", "@eadir"})
LIST_SUFFIXES: Final = frozenset(
    {".txt", ".csv", ".tsv", ".json", ".lst", ".md", ".mat", ".pts", ".xml", ".html"}
)

#: Far more than any picture of the most pixels that are decoded; a stray archive is not read.
MAX_BYTES: Final = 1 << 29


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

    def peek(self, folder: str = "") -> Iterator[Entry]:
        """List one folder in no order."""
        ...


def files_below(tree: Listed, folder: str) -> Iterator[Entry]:
    """List the files in a folder and below that may be pictures, in bytewise order.

    Lists and metadata are told by their suffix, and counted; every other file counts as a
    picture until its bytes say otherwise.
    """
    for entry in _walk(tree.entries, folder):
        if is_list(entry):
            tree.ignored["lists and metadata (by suffix)"] += 1
        else:
            yield entry


def first_files(tree: Listed, most: int) -> list[Entry]:
    """Give some files that may be pictures, to see what a tree looks like.

    They are the first in bytewise order, but a folder of more than ``most`` entries is judged by
    those that the system gives first: a flat crawl of millions is not listed for a look.

    Args:
        tree: The raw data; nothing is counted.
        most: How many.
    """

    def look(folder: str) -> Iterator[Entry]:
        return iter(sorted(islice(tree.peek(folder), most), key=sort_key))

    files = (entry for entry in _walk(look, "") if not is_list(entry))
    return list(islice(files, most))


def look_into(tree: Listed, folder: str = "") -> list[Entry]:
    """List one folder as ``entries`` does, but count nothing and measure no file: to find places.

    Args:
        tree: The raw data.
        folder: Path from the raw folder; empty for the raw folder itself.
    """
    return sorted(tree.peek(folder), key=sort_key)


def folders_in(tree: Listed, folder: str = "") -> list[Entry]:
    """List the folders in one folder, as :func:`look_into`."""
    return sorted((entry for entry in tree.peek(folder) if entry.is_folder), key=sort_key)


def sort_key(entry: Entry) -> bytes:
    """Give what entries of a folder are sorted by, so that all sources ascend bytewise.

    A folder sorts as the paths below it do: ``a b/x`` comes before ``a/x``.
    """
    return os.fsencode(f"{entry.name}/" if entry.is_folder else entry.name)


def _walk(list_folder: Callable[[str], Iterator[Entry]], folder: str) -> Iterator[Entry]:
    listings = [list_folder(folder)]  # no recursion: a tree may be a thousand folders deep
    while listings:
        entry = next(listings[-1], None)
        if entry is None:
            listings.pop()
        elif entry.is_folder:
            listings.append(list_folder(entry.source))
        else:
            yield entry


def is_list(entry: Entry) -> bool:
    """Say whether a file is a list or metadata, and no picture, by its suffix."""
    return os.path.splitext(entry.name)[1].lower() in LIST_SUFFIXES  # noqa: PTH122 - fast


def is_desktop_file(name: str) -> bool:
    """Say whether a file or folder is what desktops leave behind.

    Example:
        >>> is_desktop_file("Thumbs.db"), is_desktop_file("._1.jpg"), is_desktop_file("1.jpg")
        (True, True, False)
    """
    return name.lower() in JUNK or name.startswith("._")
