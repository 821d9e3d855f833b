"""A folder of pictures of nobody in particular: a crawl, flat or nested."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from fusekit.errors import SourceError
from fusekit.readers.item import Item
from fusekit.readers.options import Options, read_options
from fusekit.readers.trees.tree import is_tree, open_tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from fusekit.cards.card import Form, Kind


class UnlabeledReader:
    """Reader of every picture in a folder and below; no item has an identity."""

    looks_for = "pictures, in folders or not"
    numeric_identities = False

    def __init__(self, raw: Path, kind: Kind, form: Form) -> None:  # noqa: ARG002 - no identity in any kind
        _, self.form_spec = read_options(Options, form)
        self.form = form.name
        self._ignored: Counter[str] = Counter()
        self._tree = open_tree(raw, self._ignored)
        self.front_to_back = self._tree.front_to_back

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

    def read(self, item: Item) -> bytes:
        """Read a picture; see :class:`fusekit.readers.item.Reader`."""
        return self._tree.read(item.source, item.offset, item.size)

    def names(self) -> Mapping[str, str]:
        """Give no names: nobody is named."""
        return {}

    def ignored(self) -> Mapping[str, int]:
        """Say what was passed over; see :class:`fusekit.readers.item.Reader`."""
        return dict(self._ignored)
