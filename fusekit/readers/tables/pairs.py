"""The pairs of an evaluation set: as its lists name the pictures, then as items.

A picture is called by its stem: its path in the folder of pictures, without the suffix, NFC.
Lists and files are both brought to stems, so that neither suffixes nor zeros keep them apart.
"""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from fusekit.errors import SourceError
from fusekit.readers.item import Item
from fusekit.readers.trees.places import join
from fusekit.readers.trees.walk import Entry
from fusekit.schema import PLAN_PAIRS_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fusekit.readers.trees.tree import Tree

FOLDS: Final = 10  # of every protocol here, where its list does not say
_BATCH: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Pair:
    """Two pictures by their stems, and whether they show one person."""

    same: bool
    a: str
    b: str


@dataclass(frozen=True, slots=True)
class Picture:
    """What the path of a picture says.

    Attributes:
        stem: What lists call it; None: no list can name it.
        identity: The person.
        split: The release's own part; None: it has none.
        landmarks: As :class:`fusekit.readers.item.Item` has them.
    """

    stem: str | None
    identity: str
    split: str | None = None
    landmarks: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class _Protocol:
    name: str
    main: bool
    pairs: Sequence[Pair]
    folds: Sequence[int]


class PairTable:
    """Pairs of one or more protocols, whose pictures are looked for among the items."""

    def __init__(self) -> None:
        self._protocols: list[_Protocol] = []
        self._sources: dict[str, str | None] = {}

    def __bool__(self) -> bool:
        """Say whether there is any protocol."""
        return bool(self._protocols)

    def __contains__(self, stem: str) -> bool:
        """Say whether a list names a picture."""
        return stem in self._sources

    def add(
        self, protocol: str, pairs: Sequence[Pair], folds: Sequence[int], *, main: bool = True
    ) -> None:
        """Add a protocol.

        Args:
            protocol: Its name.
            pairs: In its order.
            folds: Of each pair, from 1; 0: none.
            main: It is the protocol that everybody means.
        """
        self._protocols.append(_Protocol(protocol, main, pairs, folds))
        for pair in pairs:
            self.expect(pair.a)
            self.expect(pair.b)

    def expect(self, stem: str) -> None:
        """Take note that a list names a picture."""
        self._sources.setdefault(stem, None)

    def found(self, stem: str, source: str) -> None:
        """Say which item a picture is; the first one of a stem counts."""
        if stem in self._sources and self._sources[stem] is None:
            self._sources[stem] = source

    def missing(self) -> list[str]:
        """Give the stems that no item has, in bytewise order."""
        return sorted((s for s, source in self._sources.items() if source is None), key=str.encode)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Give the pairs as :data:`fusekit.schema.PLAN_PAIRS_SCHEMA`, protocol after protocol."""
        for each in self._protocols:
            for start in range(0, len(each.pairs), _BATCH):
                pairs = each.pairs[start : start + _BATCH]
                columns = [
                    [each.name] * len(pairs),
                    [each.main] * len(pairs),
                    each.folds[start : start + _BATCH],
                    [pair.same for pair in pairs],
                    [self._sources[pair.a] for pair in pairs],
                    [self._sources[pair.b] for pair in pairs],
                ]
                arrays = [
                    pa.array(column, field.type)
                    for column, field in zip(columns, PLAN_PAIRS_SCHEMA, strict=True)
                ]
                yield pa.RecordBatch.from_arrays(arrays, schema=PLAN_PAIRS_SCHEMA)


def list_pictures(
    tree: Tree, table: PairTable, place: Callable[[Entry], Picture | None], folder: str
) -> Iterator[Item]:
    """List the pictures of a tree, then those that only lists name, as ``missing``.

    Args:
        tree: The raw data.
        table: Learns which picture is which item.
        place: Gives what a path says; None, after counting it, when it is none of the set's.
        folder: Where missing pictures should be.

    Raises:
        SourceError: There is no picture at all.
    """
    found = False
    for file in tree.files():
        picture = place(file)
        if picture is None:
            continue
        found = True
        if picture.stem is not None:
            table.found(picture.stem, file.source)
        yield Item(
            file.source, file.size, picture.identity, picture.split, file.offset,
            landmarks=picture.landmarks,
        )  # fmt: skip
    if not found:
        raise SourceError(tree.root, "holds no pictures of the set")
    for stem in table.missing():
        source = join(folder, f"{stem}.jpg")
        picture = place(Entry(source.rpartition("/")[2], source, is_folder=False, size=0))
        table.found(stem, source)
        yield Item(
            source, 0, picture.identity if picture else None, picture.split if picture else None,
            reject="missing", reject_detail="named by a list of the protocol, but not there",
        )  # fmt: skip


def even_folds(count: int) -> list[int]:
    """Give the folds of pairs of a list that names none: ten consecutive slices of one length.

    Args:
        count: Number of pairs; fewer than ten have no folds.

    Example:
        >>> even_folds(20)[:4], even_folds(3)
        ([1, 1, 2, 2], [0, 0, 0])
    """
    if count < FOLDS:
        return [0] * count
    return [row * FOLDS // count + 1 for row in range(count)]


def remark_on_folds(source: str, pairs: int) -> list[str]:
    """Say so where a list has no ten folds of one length."""
    if pairs % FOLDS == 0:
        return []
    return [
        f"{source} has {pairs} pairs, no {FOLDS} folds of one length: they are cut as evenly as "
        "they can be"
    ]


def path_stem(path: str) -> str:
    """Give a path without its suffix, NFC.

    Example:
        >>> path_stem("Jean-Pierre_Raffarin/Jean-Pierre_Raffarin_0001.JPG")
        'Jean-Pierre_Raffarin/Jean-Pierre_Raffarin_0001'
    """
    return unicodedata.normalize("NFC", os.path.splitext(path)[0])  # noqa: PTH122 - fast
