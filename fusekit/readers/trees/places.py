"""Find the folders and lists of a release among the upper folders of its tree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fusekit.readers.trees.walk import look_into

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from fusekit.readers.trees.tree import Tree
    from fusekit.readers.trees.walk import Entry

_DEPTH: Final = 6
_WIDE: Final = 64  # more folders in one are people or albums, and no way to a list
_MOST: Final = 512  # folders looked at on one level of the tree


def find_folders(tree: Tree, fits: Callable[[str, list[Entry]], bool]) -> list[str]:
    """Find folders by what stands in them, the nearest to the root first.

    Looking for folders is no listing: nothing is counted, and no file has a size.

    Args:
        tree: The raw data.
        fits: Given a folder and its entries, says whether it is one; below it none is looked for.

    Returns:
        Their sources, in bytewise order within a level; empty when there are none.
    """
    found: list[str] = []
    level = [""]
    for _ in range(_DEPTH + 1):
        below: list[str] = []
        for folder in level[:_MOST]:
            entries = look_into(tree, folder)
            if fits(folder, entries):
                found.append(folder)
                continue
            inner = [entry.source for entry in entries if entry.is_folder]
            if len(inner) <= _WIDE:
                below += inner
        level = below
    return found


def find_files(tree: Tree, names: Collection[str]) -> dict[str, str]:
    """Find lists by their names, the nearest to the root where there are several of a name.

    Args:
        tree: The raw data.
        names: In lower case; the files' own case does not matter.

    Returns:
        Name to source, of those that are there.
    """
    found: dict[str, str] = {}

    def look(_: str, entries: list[Entry]) -> bool:
        for entry in entries:
            if not entry.is_folder and entry.name.lower() in names:
                found.setdefault(entry.name.lower(), entry.source)
        return False

    find_folders(tree, look)
    return found


def join(folder: str, name: str) -> str:
    """Give the source of something in a folder; the root is empty.

    Example:
        >>> join("", "lfw"), join("lfw", "pairs.txt")
        ('lfw', 'lfw/pairs.txt')
    """
    return f"{folder}/{name}" if folder else name
