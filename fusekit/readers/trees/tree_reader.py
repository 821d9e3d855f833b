"""What the readers of trees have in common: how they start, read and tell what they counted.

Elsewhere two classes that share lines share functions. Here every reader would repeat the same
thirty lines to keep its contract, and a newcomer would look for the differences: so they inherit,
one level deep or, for evaluation sets, two. What a class adds is what its release is like.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Generic

from fusekit.readers.options import Chosen, read_options
from fusekit.readers.trees.tree import open_tree

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from fusekit.cards.card import Form, Kind
    from fusekit.readers.item import Item
    from fusekit.readers.trees.tree import Tree


class TreeReader(Generic[Chosen]):
    """The part of :class:`fusekit.readers.item.Reader` that is the same for all trees.

    A class gives ``looks_for``, ``options``, ``fits`` and ``items``.

    Args:
        raw: A folder or an archive, absolute and resolved.
        kind: The dataset's.
        form: The card's form.

    Raises:
        CardError: The form's options are not the reader's.
        SourceError: The raw data is no tree.
    """

    looks_for: str
    options: type[Chosen]
    numeric_identities = False

    def __init__(self, raw: Path, kind: Kind, form: Form) -> None:
        self._options, self.form_spec = read_options(self.options, form)
        self.form = form.name
        self._kind = kind
        self._ignored: Counter[str] = Counter()
        self._remarks: list[str] = []
        #: Hints, and rows of lists, that are not used: what they are to how many.
        self._unusable: Counter[str] = Counter()
        self._tree = self._open_tree(raw, self._ignored)
        self.front_to_back = self._tree.front_to_back

    def read(self, item: Item) -> bytes:
        """Read a picture; see :class:`fusekit.readers.item.Reader`."""
        return self._tree.read(item.source, item.offset, item.size)

    def names(self) -> Mapping[str, str]:
        """Give no names: most releases have none beside their identities."""
        return {}

    def ignored(self) -> Mapping[str, int]:
        """Say what was passed over; see :class:`fusekit.readers.item.Reader`."""
        return dict(self._ignored)

    def remarks(self) -> Sequence[str]:
        """Say what is not as the release has it; see :class:`.item.RemarkingReader`."""
        counted = (f"{count:,} {what}" for what, count in self._unusable.items())
        return [*self._remarks, *counted]

    def _forget(self) -> None:
        """Forget what an earlier listing counted and remarked."""
        self._ignored.clear()
        self._remarks.clear()
        self._unusable.clear()

    def _open_tree(self, raw: Path, ignored: Counter[str]) -> Tree:
        return open_tree(raw, ignored, self.looks_for)

    def _quiet_tree(self) -> Tree:
        """Give the same tree, with what it passes over counted nowhere."""
        return self._open_tree(self._tree.root, Counter())
