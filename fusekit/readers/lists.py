"""Clean lists and exclusion lists over any reader."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from fusekit.errors import SourceError, UsageError
from fusekit.readers.item import EvaluationReader, Item, RemarkingReader
from fusekit.readers.tables.list_file import ListFile
from fusekit.readers.tables.list_rows import is_number
from fusekit.readers.tables.path_index import PathIndex, plain_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from fusekit.readers.item import Reader
    from fusekit.readers.tables.path_index import Row

_BLOCK: Final = 1 << 13
_NO_LABEL: Final = 0
_FIELDS: Final = tuple(field.name for field in fields(Item))
_values: Final = attrgetter(*_FIELDS)


class ListedReader:
    """A reader whose items are judged by lists.

    What no clean list names is rejected as ``unlisted``, and so is what an exclusion list names;
    a row of a clean list without an item becomes one that is rejected as ``missing``, after all
    others. How rows and items find each other is told at :class:`PathIndex`.

    Args:
        reader: Of the raw data.
        keep: Clean lists: an item stays that any of them names. None of them: all stay.
        leave_out: Exclusion lists.
        relabel: The identity is the clean lists' label, whose numbers or texts mean the same in
            all of them; else it stays the source's.

    Raises:
        SourceError: A list can't be read, has no labels to take, or, when all is listed, names
            no item at all.
        UsageError: There are no clean lists to take labels from.
    """

    def __init__(
        self, reader: Reader, keep: Sequence[Path], leave_out: Sequence[Path], *, relabel: bool
    ) -> None:
        if relabel and not keep:
            raise UsageError("--relabel", "there is no list with labels", None, "give --list too")
        self._reader = reader
        self.form, self.form_spec = reader.form, reader.form_spec
        self.front_to_back = reader.front_to_back
        self._relabel = relabel
        self._labels: dict[str | None, int] = {None: _NO_LABEL}
        self._keep_files = [ListFile.at(path) for path in keep]
        self._out_files = [ListFile.at(path) for path in leave_out]
        self._keep = PathIndex(self._kept_rows) if keep else None
        self._out = PathIndex(lambda: _plain_rows(self._out_files)) if leave_out else None
        self._texts = list(self._labels)
        numeric = all(text is None or is_number(text) for text in self._texts)
        self.numeric_identities = numeric if relabel else reader.numeric_identities
        self._ignored: Counter[str] = Counter()
        self._met = False  # some item is named by a clean list
        self._anyone = False  # some item has an identity: no unlabeled data
        self._people: set[tuple[str, int]] = set()

    def items(self) -> Iterator[Item]:
        """List the items with their verdicts; see :class:`fusekit.readers.item.Reader`."""
        self._ignored.clear()
        self._people.clear()
        for index in (self._keep, self._out):
            if index is not None:
                index.forget_items()
        self._met, example = False, ""
        items = self._reader.items()
        while block := list(islice(items, _BLOCK)):
            example = example or block[0].source
            yield from self._judge(block)
        if self._keep is None:
            return
        if example and not self._met:
            raise self._never_meets(example)
        for path, label in self._keep.missing():
            identity = self._texts[label] if self._relabel and self._anyone else None
            yield Item(
                plain_path(path), 0, identity,
                reject="missing", reject_detail="a clean list names it",
            )  # fmt: skip

    def read(self, item: Item) -> bytes:
        """Read an item; see :class:`fusekit.readers.item.Reader`."""
        return self._reader.read(item)

    def names(self) -> Mapping[str, str]:
        """Give names; labels of a list that are numbers have none."""
        renumbered = self._relabel and self.numeric_identities
        return {} if renumbered else self._reader.names()

    def ignored(self) -> Mapping[str, int]:
        """Say what was passed over, repeated rows of the lists too."""
        rows = Counter(self._ignored)
        for index, kind in ((self._keep, "clean"), (self._out, "exclusion")):
            if index is not None:
                rows[f"repeated rows of the {kind} lists"] = index.repeated
                rows[f"identities of the {kind} lists that nobody has"] = index.missing_identities()
        return dict(self._reader.ignored()) | {what: count for what, count in rows.items() if count}

    def tables(self) -> Mapping[str, Iterator[pa.RecordBatch]]:
        """Give an evaluation set's tables as they are; who is unlisted has no sample."""
        return self._reader.tables() if isinstance(self._reader, EvaluationReader) else {}

    def remarks(self) -> Sequence[str]:
        """Say how the lists fit the items; see :class:`fusekit.readers.item.RemarkingReader`."""
        remarks = list(self._reader.remarks()) if isinstance(self._reader, RemarkingReader) else []
        for index, kind in ((self._keep, "clean"), (self._out, "exclusion")):
            if index is not None and index.shared:
                remarks.append(
                    f"{index.shared} items share their row of the {kind} lists with another item: "
                    "the list's paths are shorter than those on disk"
                )
        if self._keep is not None and self._keep.disputed:
            remarks.append(
                f"{self._keep.disputed} items have several rows with different labels in the "
                "clean lists; the row that agrees most with the item's path counts"
            )
        if self._out is not None and (without := self._out.missing_files()):
            remarks.append(f"{without} rows of the exclusion lists name no item")
        return remarks + self._about_labels()

    def _kept_rows(self) -> Iterator[Row]:
        labels = self._labels
        for file in self._keep_files:
            for _, row in file.rows():
                if row.label is None and self._relabel:
                    raise SourceError(
                        file.where, "has no labels", "rows such as 'folder/picture.jpg 0'",
                        "leave out --relabel to keep the source's identities",
                    )  # fmt: skip
                yield row.path, labels.setdefault(row.label, len(labels))

    def _judge(self, items: list[Item]) -> Iterator[Item]:
        sources = [item.source for item in items]
        people = [item.identity for item in items]
        self._anyone = self._anyone or people.count(None) < len(people)
        labels = self._keep.find(sources, people).tolist() if self._keep else None
        out = self._out.find(sources, people).tolist() if self._out else None
        for i, item in enumerate(items):
            label = labels[i] if labels else _NO_LABEL
            self._met = self._met or label >= 0
            excluded = out is not None and out[i] >= 0
            yield self._verdict(item, label, excluded=excluded)

    def _verdict(self, item: Item, label: int, *, excluded: bool) -> Item:
        identity = item.identity
        if label > _NO_LABEL and identity is not None:
            self._people.add((identity, label))
        if self._relabel and identity is not None:
            identity = self._texts[label] if label >= 0 else None
        if item.reject is None and (excluded or label < 0):
            detail = "an exclusion list names it" if excluded else "no clean list names it"
            return _changed(item, identity=identity, reject="unlisted", reject_detail=detail)
        return _changed(item, identity=identity) if self._relabel else item

    def _never_meets(self, source: str) -> SourceError:
        row = next(self._kept_rows(), None)
        found = (
            f"no row names an item: a row is {row[0]!r}, an item {source!r}" if row else "is empty"
        )
        return SourceError(
            self._keep_files[0].where, found, "rows of which one is the end of the other",
            "give --from the folder that the list's paths start at",
        )  # fmt: skip

    def _about_labels(self) -> list[str]:
        """Say how labels that are not taken differ from the source's identities."""
        if self._relabel:
            told = "the source names nobody: there is no identity that --relabel could replace"
            return [] if self._anyone else [told]
        labels_of = Counter(identity for identity, _ in self._people)
        people_of = Counter(label for _, label in self._people)
        joined = {identity for identity, label in self._people if people_of[label] > 1}
        split = sum(count > 1 for count in labels_of.values())
        counts = {"joins": len(joined), "splits": split}
        verbs = " and ".join(f"{verb} {count}" for verb, count in counts.items() if count)
        told = f"the clean list {verbs} of the source's identities; --relabel takes its labels"
        return [told] if verbs else []


def _changed(item: Item, **changes: str | None) -> Item:
    # dataclasses.replace takes three times as long, and there are millions of items.
    values = list(_values(item))
    for name, value in changes.items():
        values[_FIELDS.index(name)] = value
    return Item(*values)


def _plain_rows(files: list[ListFile]) -> Iterator[Row]:
    for file in files:
        for _, row in file.rows():
            yield row.path, 0
