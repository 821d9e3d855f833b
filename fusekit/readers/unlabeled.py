"""A folder of pictures of nobody in particular: a crawl, flat or nested."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusekit.errors import SourceError
from fusekit.readers.item import Item
from fusekit.readers.options import Options
from fusekit.readers.trees.tree import is_tree
from fusekit.readers.trees.tree_reader import TreeReader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fusekit.cards.card import Form


class UnlabeledReader(TreeReader[Options]):
    """Reader of every picture in a folder and below; no item has an identity."""

    looks_for = "pictures, in folders or not"
    options = Options

    @classmethod
    def fits(cls, raw: Path, form: Form) -> bool:  # noqa: ARG003 - any folder fits
        """Say whether it is a folder."""
        return is_tree(raw)

    def items(self) -> Iterator[Item]:
        """List the pictures; see :class:`fusekit.readers.item.Reader`."""
        self._ignored.clear()
        found = False
        for file in self._tree.files():
            found = True
            yield Item(file.source, file.size, None, offset=file.offset)
        if not found:
            raise SourceError(self._tree.root, "holds no pictures", "pictures, in folders or not")
