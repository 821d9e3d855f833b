"""Find where in a raw folder the identity folders stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fusekit.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusekit.readers.walk import Entry, Tree

_MAX_DEPTH: Final = 4
_MAX_WRAPPERS: Final = 64  # more unknown folders than this are no way to the identities


@dataclass(frozen=True)
class Level:
    """A folder whose sub-folders are identities, and the split that it stands for."""

    folder: str
    split: str | None


@dataclass(frozen=True)
class Layout:
    """How a dataset's folders are named.

    Attributes:
        identity: Pattern of identity folders: ``#`` is a digit, ``*`` at the end any text.
        splits: Folder name in lower case to the split that it stands for.
        wrappers: Folder names in lower case that stand between the root and the identities.
    """

    identity: str
    splits: Mapping[str, str]
    wrappers: frozenset[str]

    def is_identity(self, name: str) -> bool:
        """Say whether a folder's name is an identity's.

        Example:
            >>> layout = Layout("n######", {}, frozenset())
            >>> layout.is_identity("n000001"), layout.is_identity("meta")
            (True, False)
        """
        stem = self.identity.removesuffix("*")
        longer = len(name) > len(stem) if stem != self.identity else len(name) == len(stem)
        return longer and all(
            c in "0123456789" if p == "#" else c == p for p, c in zip(stem, name, strict=False)
        )

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
    splits = [level.split for level in levels]
    twice = [level.folder for level in levels if splits.count(level.split) > 1]
    if len(levels) > 1 and None in splits:
        twice = [level.folder for level in levels]
    if twice:
        raise SourceError(
            tree.root, f"both {twice[0]!r} and {twice[-1]!r} hold identity folders", "one of them",
            "give the folder of one with --from",
        )  # fmt: skip
    return sorted(levels, key=lambda level: f"{level.folder}/".encode())


def _named_levels(
    tree: Tree, layout: Layout, folder: str, split: str | None, depth: int
) -> list[Level]:
    folders = _folders(tree, folder)
    if any(layout.is_identity(entry.name) for entry in folders):
        return [Level(folder, split)]
    if depth == 0 or len(folders) > _MAX_WRAPPERS:
        return []
    found = []
    for entry in folders:
        inner = layout.splits.get(entry.name.lower(), split)
        found += _named_levels(tree, layout, entry.source, inner, depth - 1)
    return found


def _free_levels(
    tree: Tree, layout: Layout, folder: str, split: str | None, depth: int
) -> list[Level]:
    folders = _folders(tree, folder)
    known = [
        e for e in folders if e.name.lower() in layout.splits or e.name.lower() in layout.wrappers
    ]
    if depth == 0 or split is not None:
        return [Level(folder, split)] if folders else []
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
            inner = layout.splits.get(entry.name.lower(), split)
            found += _free_levels(tree, layout, entry.source, inner, depth - 1)
        return found
    if layout.splits and len(folders) == 1:
        # A lone folder is an identity, unless split folders stand below it.
        below = _free_levels(tree, layout, folders[0].source, split, depth - 1)
        if any(level.split for level in below):
            return below
    return [Level(folder, split)] if folders else []


def _folders(tree: Tree, folder: str) -> list[Entry]:
    return [entry for entry in tree.entries(folder) if entry.is_folder]
