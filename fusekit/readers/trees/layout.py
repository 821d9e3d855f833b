"""Find where in a raw folder the identity folders stand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from fusekit.errors import SourceError
from fusekit.readers.trees.archive_files import archive_suffix
from fusekit.readers.trees.walk import folders_in, is_list

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusekit.readers.trees.tree import Tree
    from fusekit.readers.trees.walk import Entry

_MAX_DEPTH: Final = 4
_MAX_WRAPPERS: Final = 64  # more unknown folders than this are no way to the identities
_LOOKED_AT: Final = 32  # identities that are looked into
_MAX_SPREAD: Final = 4096  # the same, where a release is known to spread them


@dataclass(frozen=True)
class Level:
    """A folder whose sub-folders are identities, and the split that it stands for."""

    folder: str
    split: str | None


@dataclass(frozen=True)
class Layout:
    """How a dataset's folders are named.

    Attributes:
        identity: Pattern of identity folders: ``#`` is a digit, ``#+`` one or more, ``*`` at the
            end any text, and ``|`` stands between several patterns.
        splits: Folder name in lower case to the split that it stands for.
        wrappers: Folder names in lower case that stand between the root and the identities.
        spread: One split's identities are spread over several folders.
        unwrap: A lone folder that holds folders only is no identity; in archives it never is.
    """

    identity: str
    splits: Mapping[str, str]
    wrappers: frozenset[str]
    spread: bool = False
    unwrap: bool = False

    def is_identity(self, name: str) -> bool:
        """Say whether a folder's name is an identity's.

        Example:
            >>> layout = Layout("n######|id_#+", {}, frozenset())
            >>> [layout.is_identity(name) for name in ("n000001", "id_7", "meta", "n0000012")]
            [True, True, False, False]
        """
        return _compiled(self.identity).fullmatch(name) is not None

    @property
    def is_free(self) -> bool:
        """Any folder's name may be an identity's."""
        return self.identity == "*"


def find_levels(tree: Tree, layout: Layout) -> list[Level]:
    """Find the folders of identities, under split folders and wrapping folders.

    Args:
        tree: The raw folder.
        layout: How it is named.

    Returns:
        In bytewise order of their folders; empty when there are none.

    Raises:
        SourceError: Split folders stand beside other folders where any name may be an
            identity's, or the identities are there twice.
    """
    search = _free_levels if layout.is_free else _named_levels
    levels = search(tree, layout, "", None, _MAX_DEPTH)
    levels.sort(key=lambda level: f"{level.folder}/".encode())
    twice = _copies(tree, layout, levels)
    if twice and not layout.is_free:
        # Names such as 01 are those of other folders too.
        levels = [level for level in levels if _has_pictures(tree, layout, level)]
        twice = _copies(tree, layout, levels)
    if twice:
        raise SourceError(
            tree.root, f"both {twice[0]!r} and {twice[-1]!r} hold identity folders", "one of them",
            "give the folder of one with --from",
        )  # fmt: skip
    return levels


def _has_pictures(tree: Tree, layout: Layout, level: Level) -> bool:
    """Say whether an identity among the first has a file of its own that may be a picture."""
    people = [e for e in folders_in(tree, level.folder) if layout.is_identity(e.name)]
    return any(
        not (entry.is_folder or is_list(entry))
        for person in people[:_LOOKED_AT]
        for entry in tree.peek(person.source)
    )


def _copies(tree: Tree, layout: Layout, levels: list[Level]) -> list[str]:
    """Give folders that hold the same part of the dataset twice, if there are any."""
    twice = _twice(levels)
    return _same_people(tree, layout, levels) if layout.spread and twice else twice


def _twice(levels: list[Level]) -> list[str]:
    """Give folders that look like the same part of the dataset, if there are any."""
    splits = [level.split for level in levels]
    if len(levels) > 1 and None in splits:
        return [level.folder for level in levels]
    return [level.folder for level in levels if splits.count(level.split) > 1]


def _same_people(tree: Tree, layout: Layout, levels: list[Level]) -> list[str]:
    """Give two folders that begin with the same person: a copy, and no other part."""
    seen: dict[str, str] = {}
    for level in levels:
        people = (e.name for e in folders_in(tree, level.folder) if layout.is_identity(e.name))
        first = next(people, "")
        if first in seen:
            return [seen[first], level.folder]
        seen[first] = level.folder
    return []


def _named_levels(
    tree: Tree, layout: Layout, folder: str, split: str | None, depth: int
) -> list[Level]:
    folders = folders_in(tree, folder)
    if any(layout.is_identity(entry.name) for entry in folders):
        return [Level(folder, split)]
    if depth == 0 or len(folders) > (_MAX_SPREAD if layout.spread else _MAX_WRAPPERS):
        return []
    found = []
    for entry in folders:
        inner = layout.splits.get(_plain(entry.name), split)
        found += _named_levels(tree, layout, entry.source, inner, depth - 1)
    return found


def _free_levels(
    tree: Tree, layout: Layout, folder: str, split: str | None, depth: int
) -> list[Level]:
    folders = folders_in(tree, folder)
    if depth and _wraps(tree, layout, folder, folders):
        inner = layout.splits.get(_plain(folders[0].name), split)
        return _free_levels(tree, layout, folders[0].source, inner, depth - 1)
    if depth == 0 or split is not None:
        return [Level(folder, split)] if folders else []
    known = [entry for entry in folders if _is_known(entry, layout)]
    if known:
        if len(known) < len(folders):
            other = next(e for e in folders if e not in known)
            raise SourceError(
                tree.root / folder, f"{known[0].name!r} stands beside {other.name!r}",
                "only split folders, or only identity folders",
                "a card of your own says which names are splits",
            )  # fmt: skip
        found = []
        for entry in known:
            inner = layout.splits.get(_plain(entry.name), split)
            found += _free_levels(tree, layout, entry.source, inner, depth - 1)
        return found
    if layout.splits and len(folders) == 1:
        # A lone folder is an identity, unless split folders stand below it.
        below = _free_levels(tree, layout, folders[0].source, split, depth - 1)
        if any(level.split for level in below):
            return below
    return [Level(folder, split)] if folders else []


def _is_known(entry: Entry, layout: Layout) -> bool:
    name = _plain(entry.name)
    return name in layout.splits or name in layout.wrappers or bool(archive_suffix(entry.name))


def _wraps(tree: Tree, layout: Layout, folder: str, folders: list[Entry]) -> bool:
    """Say whether a lone folder is but a wrapper: --from can't name a folder in an archive."""
    in_archive = tree.root.is_file() or any(map(archive_suffix, folder.split("/")))
    if len(folders) != 1 or not (layout.unwrap or in_archive):
        return False
    below = list(tree.peek(folders[0].source))
    return any(entry.is_folder for entry in below) and all(
        entry.is_folder or not _looks_like_picture(entry.name) for entry in below
    )


def _looks_like_picture(name: str) -> bool:
    return name.lower().endswith((".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif"))


def _plain(name: str) -> str:
    """Give a name as splits and wrappers are compared: an archive's is that of its folder."""
    return name.removesuffix(archive_suffix(name)).lower()


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> re.Pattern[str]:
    one = {"#+": "[0-9]++", "#": "[0-9]", "*": ".+", "|": "|"}
    parts = re.findall(r"#\+|.", pattern, re.DOTALL)
    return re.compile("".join(one.get(part, re.escape(part)) for part in parts), re.DOTALL)
