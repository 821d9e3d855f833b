"""Folders of frames cut out of videos: UMDFaces-Videos, YouTube Faces, MS1M's, iQIYI-VID."""

from __future__ import annotations

import heapq
import itertools
import re
import unicodedata
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import pyarrow as pa
from pydantic import StringConstraints

from fusekit.errors import SourceError
from fusekit.readers.item import Item
from fusekit.readers.options import InsidePath, Options, read_options
from fusekit.readers.tables.rows import read_rows
from fusekit.readers.trees.tree import is_tree, open_tree
from fusekit.readers.trees.tree_reader import TreeReader
from fusekit.readers.trees.walk import folders_in
from fusekit.schema import PLAN_TEMPLATES_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from fusekit.cards.card import Form
    from fusekit.readers.trees.tree import Tree
    from fusekit.readers.trees.walk import Entry

_FRAME: Final = re.compile(r"(?:.*\D)?([0-9]{1,10})\D*")  # the last digits of a name
_MAX_WRAPPERS: Final = 4  # folders within folders on the way to the videos
_MAX_NAME: Final = 255  # bytes of a folder's name, on every file system
_BATCH: Final = 1 << 16


class FramesOptions(Options):
    """How folders of frames are laid out.

    Attributes:
        folders: ``identity/video``: a folder of videos for each person; ``video``: the videos
            alone, of nobody known.
        wrappers: Names of folders that hold them, upper or lower case.
        templates: Lists whose rows begin with a video's folder, beside or above the videos, the
            first one found: row ``n``, from 0, makes template ``n`` of that video's frames.
    """

    folders: Literal["identity/video", "video"] = "identity/video"
    wrappers: tuple[Annotated[str, StringConstraints(min_length=1, max_length=255)], ...] = ()
    templates: tuple[InsidePath, ...] = ()


class FramesReader(TreeReader[FramesOptions]):
    """Reader of frames: a folder for each video, folders inside it belong to it.

    A frame's number is that of the last digits in its name; a name without any has none.
    """

    looks_for = "folders of frames, one for each video"
    options = FramesOptions

    @classmethod
    def fits(cls, raw: Path, form: Form) -> bool:
        """Say whether the first folders are of this depth, with files in them."""
        options, _ = read_options(cls.options, form)
        if not is_tree(raw):
            return False
        tree = open_tree(raw, Counter())
        videos = (entry for entry in tree.peek(_way(tree, options)[-1]) if entry.is_folder)
        if options.folders == "identity/video":
            videos = (e for person in videos for e in tree.peek(person.source) if e.is_folder)
        return any(True for video in videos for _ in tree.files(video.source))

    def items(self) -> Iterator[Item]:
        """List the frames; see :class:`fusekit.readers.item.Reader`."""
        way, listed = self._find()
        missing: set[str] = set()
        if listed:
            known = self._known(way[-1])
            missing = {name for name in self._rows(listed) if name not in known}
        self._forget()
        self._count_beside(way)
        absent = (_absent(way[-1], name) for name in sorted(missing, key=_sort_key))
        found = False
        for item in heapq.merge(
            self._frames(way[-1]), absent, key=lambda item: _sort_key(item.video)
        ):
            found = True
            yield item
        if not found:
            raise SourceError(self._tree.root, "holds no frames", f"{self._options.folders}/frames")

    def tables(self) -> Mapping[str, Iterator[pa.RecordBatch]]:
        """Give the videos of a list as templates, one that is missing or empty as one image.

        See :class:`fusekit.readers.item.EvaluationReader`.
        """
        way, listed = self._find()
        return {"templates": _batches(self._templates(way[-1], listed))} if listed else {}

    def _find(self) -> tuple[list[str], str | None]:
        """Find the folders that lead to the videos, and the list of templates."""
        way = _way(self._tree, self._options)
        places = [f"{f}/{name}" if f else name for name in self._options.templates for f in way]
        return way, next((place for place in places if self._tree.is_file(place)), None)

    def _frames(self, folder: str) -> Iterator[Item]:
        for video in _videos(self._tree, self._options, folder):
            identity = None
            if self._kind != "unlabeled" and self._options.folders == "identity/video":
                identity = unicodedata.normalize("NFC", video.source.split("/")[-2])
            for file in self._tree.files(video.source):
                yield Item(
                    file.source, file.size, identity, offset=file.offset, media="video",
                    frame=_number(file.name), video=video.source,
                )  # fmt: skip

    def _templates(self, folder: str, listed: str) -> Iterator[dict[str, Any]]:
        known, tree = self._known(folder), self._quiet_tree()
        for number, name in enumerate(self._rows(listed)):
            video = known.get(name) or _absent(folder, name).source
            files = [file.source for file in tree.files(video)] if name in known else []
            for source in files or [video]:
                yield {"template": number, "media": video, "source": source, "score": None}

    def _known(self, folder: str) -> dict[str, str]:
        """Give each video's folder by its name in NFC."""
        videos = _videos(self._quiet_tree(), self._options, folder)
        return {unicodedata.normalize("NFC", video.name): video.source for video in videos}

    def _rows(self, listed: str) -> Iterator[str]:
        """Give the video of each row: its first token, which is a folder's name."""
        for row in read_rows(self._tree, listed):
            name = row.text.split()[0]
            strange = name in {".", ".."} or set(name) & {"/", "\\", "\0"}
            if strange or len(name.encode()) > _MAX_NAME:
                raise row.bad("the name of a video's folder")
            yield name

    def _count_beside(self, way: list[str]) -> None:
        """Count what stands beside the folders that lead to the videos."""
        for above, below in itertools.pairwise(way):
            for entry in self._tree.entries(above):
                if not entry.is_folder:
                    self._ignored["files outside video folders"] += 1
                elif entry.source != below:
                    self._ignored["folders that are no video's"] += 1


def _way(tree: Tree, options: FramesOptions) -> list[str]:
    """Give the folders from the root to the one that the videos, or the people, are in."""
    names = {name.lower() for name in options.wrappers}
    way = [""]
    while len(way) <= _MAX_WRAPPERS:
        inside = folders_in(tree, way[-1])
        wrapper = next((entry for entry in inside if entry.name.lower() in names), None)
        if wrapper is None:
            break
        way.append(wrapper.source)
    return way


def _videos(tree: Tree, options: FramesOptions, folder: str) -> Iterator[Entry]:
    """List the videos' folders; files beside them are counted."""
    for outer in tree.entries(folder):
        within = [outer]
        if outer.is_folder and options.folders == "identity/video":
            within = list(tree.entries(outer.source))
        for entry in within:
            if entry.is_folder:
                yield entry
            else:
                tree.ignored["files outside video folders"] += 1


def _absent(folder: str, name: str) -> Item:
    """Make the reject of a video that a list names and that is not there."""
    source = f"{folder}/{name}" if folder else name
    return Item(
        source, 0, None, media="video", video=source, reject="missing",
        reject_detail="the list names this video, but it has no folder",
    )  # fmt: skip


def _number(name: str) -> int | None:
    found = _FRAME.fullmatch(name.rpartition(".")[0] or name)
    number = int(found[1]) if found else None
    return number if number is not None and number < 1 << 31 else None


def _sort_key(name: str | None) -> bytes:
    return f"{name}/".encode()  # folders stand where their contents do


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
    while some := list(itertools.islice(rows, _BATCH)):
        yield pa.RecordBatch.from_pylist(some, schema=PLAN_TEMPLATES_SCHEMA)
