"""Find the folders and lists of a release among the upper folders of its tree."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Final

from fusekit.errors import SourceError
from fusekit.readers.trees.walk import folders_in, look_into

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

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


def find_release(tree: Tree, part: str) -> list[str]:
    """Find the folders that hold something at its path in the release.

    Args:
        tree: The raw data.
        part: Path of a file, from the release's own folder.

    Returns:
        The sources of the file, the nearest to the root first.
    """
    first, inner, _ = part.partition("/")

    def holds(folder: str, entries: list[Entry]) -> bool:
        here = any(entry.name == first and entry.is_folder == bool(inner) for entry in entries)
        return here and (not inner or tree.is_file(join(folder, part)))

    return [join(folder, part) for folder in find_folders(tree, holds)]


def check_one(tree: Tree, found: Sequence[str], what: str) -> None:
    """Refuse two copies of a release: which one is meant is not ours to say.

    Args:
        tree: The raw data.
        found: Sources of what a release has once.
        what: What they are, in the plural.

    Raises:
        SourceError: There are several.
    """
    if len(found) > 1:
        raise SourceError(
            tree.root, f"both {found[0]!r} and {found[1]!r} are {what}", "one of them",
            "give the folder of one with --from",
        )  # fmt: skip


def folders_around(tree: Tree, source: str) -> list[str]:
    """Give the folders that a list's paths may start from.

    Args:
        tree: The raw data.
        source: The list.

    Returns:
        Its own folder, those above it up to the root, and those up to two folders below them: at
        most 64, the likelier first.
    """
    up = posixpath.dirname(source)
    above = [up]
    while up:
        up = posixpath.dirname(up)
        above.append(up)
    found = dict.fromkeys(above)
    level = above
    for _ in range(2):
        inner = [[entry.source for entry in folders_in(tree, folder)] for folder in level]
        level = [folder for few in inner if len(few) <= _WIDE for folder in few][:_WIDE]
        found |= dict.fromkeys(level)
    return list(found)[:_WIDE]


def join(folder: str, name: str) -> str:
    """Give the source of something in a folder; the root is empty.

    Example:
        >>> join("", "lfw"), join("lfw", "pairs.txt")
        ('lfw', 'lfw/pairs.txt')
    """
    return f"{folder}/{name}" if folder else name
