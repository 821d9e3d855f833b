"""What the readers of evaluation sets with lists of pairs have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from fusekit.readers.options import Chosen
from fusekit.readers.tables.pairs import PairTable, list_pictures
from fusekit.readers.trees.tree_reader import TreeReader

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import pyarrow as pa

    from fusekit.cards.card import Form, Kind
    from fusekit.readers.item import Item
    from fusekit.readers.tables.pairs import Picture
    from fusekit.readers.trees.walk import Entry


class PairTreeReader(TreeReader[Chosen], ABC):
    """Reader of an evaluation set whose lists name pairs of pictures.

    A class gives ``_find_folder``, ``_read_protocol`` and ``_place``; pictures that only the lists
    name come last, as ``missing``. An :class:`fusekit.readers.item.EvaluationReader`.
    """

    def __init__(self, raw: Path, kind: Kind, form: Form) -> None:
        super().__init__(raw, kind, form)
        self._table = PairTable()
        self._folder = ""  # of the pictures; known once they are listed

    def items(self) -> Iterator[Item]:
        """List the pictures; see :class:`fusekit.readers.item.Reader`."""
        self._folder = self._find_folder()
        self._forget()
        self._table = PairTable()
        self._read_protocol()
        self._ignored.clear()  # looking for lists is no listing
        yield from list_pictures(self._tree, self._table, self._place, self._folder)

    def tables(self) -> Mapping[str, Iterator[pa.RecordBatch]]:
        """Give the pairs; see :class:`fusekit.readers.item.EvaluationReader`."""
        return {"pairs": self._table.batches()} if self._table else {}

    @abstractmethod
    def _find_folder(self) -> str:
        """Find the folder of the pictures.

        Raises:
            SourceError: There is none, or more than one.
        """

    @abstractmethod
    def _read_protocol(self) -> None:
        """Read the lists into the table of pairs; what is not as released becomes a remark."""

    @abstractmethod
    def _place(self, file: Entry) -> Picture | None:
        """Give what a file's path says; None, after counting it, when it is no picture."""
