"""Pictures whose labels and landmarks stand in a list: Trillion Pairs, DeepGlint, Asian-Celeb."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from fnmatch import fnmatchcase
from functools import partial
from itertools import islice
from typing import IO, TYPE_CHECKING, Final

from fusekit.errors import SourceError
from fusekit.readers.item import Item
from fusekit.readers.options import Options, read_options
from fusekit.readers.tables.list_file import ListFile
from fusekit.readers.tables.list_rows import interleaved_points, is_number
from fusekit.readers.tables.path_index import PathIndex, plain_path
from fusekit.readers.trees.places import find_folders
from fusekit.readers.trees.tree import is_tree, open_tree
from fusekit.readers.trees.tree_reader import TreeReader

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import pyarrow as pa

    from fusekit.cards.card import Form, Kind
    from fusekit.readers.tables.list_rows import ListRow
    from fusekit.readers.tables.path_index import Row
    from fusekit.readers.trees.tree import Tree
    from fusekit.readers.trees.walk import Entry

_BLOCK: Final = 1 << 13
_BARE: Final = "rows of the lists have landmarks that are no numbers: not used"
_OFFSET_BITS: Final = 48  # of a row's value: its place in its list; the list's number is above


class TrillionPairsOptions(Options):
    """Where labels and landmarks stand.

    Attributes:
        lists: Names of the lists, lower case, ``*`` for any text; all that are found are used.
    """

    lists: tuple[str, ...] = (
        "msra_lmk", "msra_lmk.txt", "celebrity_lmk", "celebrity_lmk.txt", "*.lst",
    )  # fmt: skip


class TrillionPairsReader(TreeReader[TrillionPairsOptions]):
    """Reader of pictures that lists name.

    The identity is the label of the list as it stands there, gaps and all; pictures that no list
    names are rejected as ``unlisted``, and rows without a picture are ``missing``, after all
    others. A list's path may have more folders before it than there are on disk, and fewer.
    """

    looks_for = "a list of pictures with labels or landmarks, such as msra_lmk.txt"
    options = TrillionPairsOptions

    def __init__(self, raw: Path, kind: Kind, form: Form) -> None:
        super().__init__(raw, kind, form)
        self.numeric_identities = True

    @classmethod
    def fits(cls, raw: Path, form: Form) -> bool:
        """Say whether one of the lists is there."""
        options, _ = read_options(cls.options, form)
        return is_tree(raw) and bool(_find_lists(open_tree(raw, Counter()), options.lists))

    def items(self) -> Iterator[Item]:
        """List the pictures; see :class:`fusekit.readers.item.Reader`."""
        self._forget()
        sources = _find_lists(self._quiet_tree(), self._options.lists)
        if not sources:
            names = " or ".join(self._options.lists)
            raise SourceError(self._tree.root, "no list of pictures was found", names)
        lists = [ListFile(partial(self._tree.open, s), self._tree.root / s) for s in sources]
        if self._kind == "labeled":
            _check_labels(lists)
        index = PathIndex(partial(_rows, lists))
        if index.repeated:
            self._ignored["repeated rows of the lists"] = index.repeated
        with ExitStack() as stack:
            rows = _RowReader(lists, [stack.enter_context(each.open()) for each in lists])
            files = (file for file in self._tree.files() if not self._is_list(file, sources))
            while block := list(islice(files, _BLOCK)):
                found = index.find([file.source for file in block], [None] * len(block))
                for file, value in zip(block, found.tolist(), strict=True):
                    yield self._item(file, rows.read(value) if value >= 0 else None)
            for path, value in index.missing():
                yield Item(
                    plain_path(path), 0, self._identity(rows.read(value)),
                    reject="missing", reject_detail=f"{sources[value >> _OFFSET_BITS]} names it",
                )  # fmt: skip
        if index.missing_identities():
            self._ignored["rows of the lists that are no paths"] = index.missing_identities()

    def _is_list(self, file: Entry, sources: list[str]) -> bool:
        if file.source not in sources:
            return False
        self._ignored["lists that were read"] += 1
        return True

    def tables(self) -> Mapping[str, Iterator[pa.RecordBatch]]:
        """Give no protocol: that of the test set was never published."""
        return {}

    def _item(self, file: Entry, row: ListRow | None) -> Item:
        if row is None:
            return Item(
                file.source, file.size, None, offset=file.offset,
                reject="unlisted", reject_detail="no list names it",
            )  # fmt: skip
        points = interleaved_points(row)
        if row.points and points is None:
            self._unusable[_BARE] += 1
        return Item(
            file.source, file.size, self._identity(row), offset=file.offset, landmarks=points
        )

    def _identity(self, row: ListRow) -> str | None:
        if self._kind != "labeled" or row.label is None:
            return None
        if not is_number(row.label):
            self.numeric_identities = False
        return row.label


class _RowReader:
    """Read rows again by their values, from lists that are held open."""

    def __init__(self, lists: list[ListFile], files: list[IO[bytes]]) -> None:
        self._lists, self._files = lists, files

    def read(self, value: int) -> ListRow:
        number, at = value >> _OFFSET_BITS, value & ((1 << _OFFSET_BITS) - 1)
        return self._lists[number].row_at(self._files[number], at)


def _rows(lists: list[ListFile]) -> Iterator[Row]:
    for number, each in enumerate(lists):
        for at, row in each.rows():
            yield row.path, number << _OFFSET_BITS | at


def _check_labels(lists: list[ListFile]) -> None:
    for each in lists:
        if next(each.rows())[1].label is None:
            raise SourceError(each.where, "has no labels", "rows such as 'folder/picture.jpg 0'")


def _find_lists(tree: Tree, names: tuple[str, ...]) -> list[str]:
    """Find the lists in the raw folder or a few folders down."""
    found: list[str] = []

    def look(_: str, entries: list[Entry]) -> bool:
        found.extend(
            entry.source
            for entry in entries
            if not entry.is_folder and any(fnmatchcase(entry.name.lower(), name) for name in names)
        )
        return False

    find_folders(tree, look)
    return found
