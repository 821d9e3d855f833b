"""Folders of pictures, one folder an identity: VGGFace2, CASIA-WebFace, PinsFace, anyone's own."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from contextlib import ExitStack, closing
from typing import IO, TYPE_CHECKING, Annotated, TypeAlias

from pydantic import Field, StringConstraints

from fusekit.errors import SourceError
from fusekit.readers.item import Item
from fusekit.readers.options import InsidePath, Options, read_options
from fusekit.readers.tables.hints import HintTable
from fusekit.readers.tables.names import NamesFormat, freebase_names, parse_names
from fusekit.readers.trees.layout import Layout, find_levels
from fusekit.readers.trees.tree import is_tree, open_release
from fusekit.readers.trees.tree_reader import TreeReader

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from fusekit.cards.card import Form, Kind
    from fusekit.readers.trees.layout import Level
    from fusekit.readers.trees.tree import Tree

Pattern: TypeAlias = Annotated[
    str, StringConstraints(max_length=64, pattern=r"^[^*/\\|]*\*?(\|[^*/\\|]*\*?)*$")
]
_BOX_WIDTH, _LANDMARKS_WIDTH = 4, 10
_MAX_NAMES = 1 << 28  # a name for each of a few million people


class NamesTable(Options):
    """Where the names of identities may stand, first one found, and in which form."""

    files: tuple[InsidePath, ...]
    format: NamesFormat


class FoldersOptions(Options):
    """How a dataset's identity folders are named and what stands beside them.

    Attributes:
        identity: Pattern of their names: ``#`` is a digit, ``#+`` one or more, ``*`` at the end
            any text; ``|`` stands between several patterns.
        strip_prefix: Taken off a folder's name to give the identity.
        splits: Split to the folder names that it goes by, upper or lower case.
        wrappers: Names of folders that hold the dataset and are no identities.
        names: Table of display names; None: the release has none.
        spread: The release spreads the identities of one split over several folders or archives.
        unwrap: A lone folder that holds folders only is no identity but holds them.
        boxes: Tables of face boxes, ``"identity/stem",x,y,width,height``; those found are used.
        landmarks: Tables of five points, ``"identity/stem",x1,y1,…,x5,y5`` or with tabs
            ``path label x1 y1 … x5 y5``; the same.
    """

    identity: Pattern = "*"
    strip_prefix: Annotated[str, StringConstraints(max_length=64)] = ""
    splits: dict[str, tuple[str, ...]] = Field(default={}, max_length=16)
    wrappers: tuple[str, ...] = ()
    spread: bool = False
    unwrap: bool = False
    names: NamesTable | None = None
    boxes: tuple[InsidePath, ...] = ()
    landmarks: tuple[InsidePath, ...] = ()


class FoldersReader(TreeReader[FoldersOptions]):
    """Reader of identity folders.

    An identity is its folder's name as it is spelt, in NFC: the same name in several splits, or
    in two encodings that look alike, is one person. Folders inside an identity's belong to it.
    """

    looks_for = "identity folders"
    options = FoldersOptions

    def __init__(self, raw: Path, kind: Kind, form: Form) -> None:
        super().__init__(raw, kind, form)
        self._layout = _layout(self._options)
        self._lists: frozenset[str] = frozenset()

    @classmethod
    def fits(cls, raw: Path, form: Form) -> bool:
        """Say whether identity folders are found."""
        options, _ = read_options(cls.options, form)
        layout = _layout(options)
        return is_tree(raw) and bool(find_levels(_open(raw, Counter(), layout), layout))

    def items(self) -> Iterator[Item]:
        """List the pictures; see :class:`fusekit.readers.item.Reader`."""
        self._ignored.clear()
        levels = self._levels()
        self._lists = self._used_lists(levels)
        self._count_beside(levels)
        found = False
        with ExitStack() as stack:
            boxes = self._hints(stack, self._options.boxes, levels, _BOX_WIDTH)
            landmarks = self._hints(stack, self._options.landmarks, levels, _LANDMARKS_WIDTH)
            for level in levels:
                for item in self._level_items(level, boxes, landmarks):
                    found = True
                    yield item
        if not found:
            raise SourceError(self._tree.root, "the identity folders hold no pictures")

    def names(self) -> Mapping[str, str]:
        """Give the names of identities; see :class:`fusekit.readers.item.Reader`."""
        table = self._options.names
        found = self._beside(table.files, self._levels()) if table else []
        if not table or not found:
            return {}
        with self._tree.open(found[0]) as file:
            if table.format == "freebase":
                names, unread = freebase_names(file)
            else:
                names, unread = parse_names(_read_names(file, found[0]), table.format)
        if unread:
            self._ignored[f"rows of {found[0]} that are no names"] = unread
        return names

    def _open_tree(self, raw: Path, ignored: Counter[str]) -> Tree:
        return _open(raw, ignored, _layout(self._options))

    def _levels(self) -> list[Level]:
        levels = find_levels(self._quiet_tree(), self._layout)
        if not levels:
            expected = "a folder for each identity"
            if not self._layout.is_free:
                expected = (
                    f"folders named {self._layout.identity.replace('|', ' or ')} ('#' is a digit)"
                )
            raise SourceError(self._tree.root, "no identity folders were found", expected)
        return levels

    def _level_items(
        self, level: Level, boxes: list[HintTable], landmarks: list[HintTable]
    ) -> Iterator[Item]:
        for person in self._tree.entries(level.folder):
            if not person.is_folder:
                self._count_file(person.source)
                continue
            if not self._layout.is_identity(person.name):
                self._ignored["folders that are no identity"] += 1
                continue
            identity = None
            if self._kind != "unlabeled":
                name = person.name.removeprefix(self._options.strip_prefix)
                identity = unicodedata.normalize("NFC", name)
            person_boxes = _rows(boxes, person.name)
            person_points = _rows(landmarks, person.name)
            for file in self._tree.files(person.source):
                stem = os.path.splitext(file.source.removeprefix(f"{level.folder}/"))[0]  # noqa: PTH122
                box = person_boxes.get(stem)
                yield Item(
                    source=file.source,
                    size=file.size,
                    offset=file.offset,
                    identity=identity,
                    split=level.split,
                    bbox=(box[0], box[1], box[0] + box[2], box[1] + box[3]) if box else None,
                    landmarks=person_points.get(stem),
                )

    def _count_beside(self, levels: list[Level]) -> None:
        """Count what stands between the raw folder and the identity folders."""
        holders = {level.folder for level in levels}
        on_the_way = {up for folder in holders for up in _ancestors(folder)}
        for folder in sorted(on_the_way - holders):
            for entry in self._tree.entries(folder):
                if not entry.is_folder:
                    self._count_file(entry.source)
                elif entry.source not in on_the_way | holders:
                    lists = any(file.startswith(f"{entry.source}/") for file in self._lists)
                    what = "folders of lists" if lists else "folders that are no identity"
                    self._ignored[what] += 1

    def _count_file(self, source: str) -> None:
        used = source in self._lists
        self._ignored["lists that were read" if used else "files outside identity folders"] += 1

    def _used_lists(self, levels: list[Level]) -> frozenset[str]:
        options = self._options
        names = self._beside(options.names.files, levels)[:1] if options.names else []
        return frozenset((*names, *self._beside((*options.boxes, *options.landmarks), levels)))

    def _hints(
        self, stack: ExitStack, files: tuple[str, ...], levels: list[Level], width: int
    ) -> list[HintTable]:
        return [
            stack.enter_context(closing(HintTable(self._tree, file, width, self._ignored)))
            for file in self._beside(files, levels)
        ]

    def _beside(self, files: tuple[str, ...], levels: list[Level]) -> list[str]:
        """Find files of the release beside its identity folders or in a folder above them."""
        folders = {up: None for level in levels for up in (level.folder, *_ancestors(level.folder))}
        paths = {
            f"{folder}/{file}" if folder else file: None for file in files for folder in folders
        }
        return [path for path in paths if self._tree.is_file(path)]


def _open(raw: Path, ignored: Counter[str], layout: Layout) -> Tree:
    """Open the raw data; archives of its splits are read where no identities are unpacked."""
    return open_release(
        raw, ignored, FoldersReader.looks_for, {*layout.splits, *layout.wrappers},
        lambda tree: bool(find_levels(tree, layout)),
    )  # fmt: skip


def _layout(options: FoldersOptions) -> Layout:
    splits = {name.lower(): split for split, names in options.splits.items() for name in names}
    wrappers = frozenset(name.lower() for name in options.wrappers)
    return Layout(options.identity, splits, wrappers, options.spread, options.unwrap)


def _read_names(file: IO[bytes], source: str) -> bytes:
    data = file.read(_MAX_NAMES + 1)
    if len(data) > _MAX_NAMES:
        raise SourceError(source, f"more than {_MAX_NAMES} bytes", "a table of names")
    return data


def _ancestors(folder: str) -> list[str]:
    """Give the folders above one, from its parent up to the root, which is empty."""
    parts = folder.split("/")[:-1] if folder else []
    return ["/".join(parts[:n]) for n in range(len(parts), -1, -1)] if folder else []


def _rows(tables: list[HintTable], identity: str) -> dict[str, tuple[float, ...]]:
    rows: dict[str, tuple[float, ...]] = {}
    for table in reversed(tables):  # the first table that knows a picture counts
        rows |= table.rows(identity)
    return rows
