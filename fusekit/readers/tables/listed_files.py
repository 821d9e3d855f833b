"""Rows of a release's table, joined with the files that they name."""

from __future__ import annotations

import hashlib
import posixpath
import unicodedata
from array import array
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np

from fusekit.readers.item import Item

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

    from fusekit.readers.trees.walk import Entry

    Hashes: TypeAlias = npt.NDArray[np.uint64]

#: What becomes of a row whose file is not there: an item that is rejected, or a count.
Missing: TypeAlias = Literal["reject", "count"]
_BATCH: Final = 1 << 12


@dataclass(frozen=True, slots=True)
class ListedFile:
    """What one row of a table says of one file.

    Attributes:
        path: The file, from the raw folder; see :func:`inside`.
        line: Number of the row's line in its list.
        identity: As the table spells it.
        split: The release's own part.
        bbox: x0, y0, x1, y1 in source pixels.
        landmarks: The five points, x and y in turn.
        url: Where the file was fetched from.
        media: ``still`` or ``video``.
        frame: Number of a video frame.
        video: The video that a frame is from.
        mark: Tells several rows of one file apart in the item's source; empty: only where a
            file has several rows, by their lines.
        unlisted: Why the row can't be used: its item is rejected as ``unlisted``.
    """

    path: str
    line: int
    identity: str | None = None
    split: str | None = None
    bbox: tuple[float, float, float, float] | None = None
    landmarks: tuple[float, ...] | None = None
    url: str | None = None
    media: str = "still"
    frame: int | None = None
    video: str | None = None
    mark: str = ""
    unlisted: str | None = None


class FileIndex:
    """The files of a tree, found by their paths: 25 bytes of memory a file, however many.

    Paths are compared after Unicode NFC; where a file of that very name is not there, upper and
    lower case of suffixes do not matter. They are kept as 64-bit hashes: among ten million files
    two are taken for one another once in four hundred thousand datasets.

    Args:
        files: As a tree lists them.
    """

    def __init__(self, files: Iterable[Entry]) -> None:
        hashes, sizes, offsets = array("Q"), array("q"), array("q")
        self._spelt: dict[str, str] = {}
        self._with_plain_suffix: dict[str, str] = {}  # of the files whose suffix has another case
        for file in files:
            path = file.source
            if not path.isascii():
                path = unicodedata.normalize("NFC", path)
                if path != file.source:
                    self._spelt[path] = file.source
            plain = plain_suffix(path)
            if plain != path:
                self._with_plain_suffix.setdefault(plain, path)
            hashes.append(hash_text(path))
            sizes.append(file.size)
            offsets.append(file.offset)
        unsorted = np.array(hashes, np.uint64)
        order = np.argsort(unsorted, kind="stable")
        self._hashes = unsorted[order]
        self._sizes = np.array(sizes, np.int64)[order]
        self._offsets = np.array(offsets, np.int64)[order]
        self._named = np.zeros(len(order), np.bool_)

    def __len__(self) -> int:
        """Count the files."""
        return len(self._hashes)

    def find(self, paths: Sequence[str]) -> list[tuple[str, int, int] | None]:
        """Find files, and remember that something names them.

        Args:
            paths: In NFC.

        Returns:
            For each its source as it is spelt on disk, its size and its offset; None: not there.
        """
        if not len(self._hashes):
            return [None] * len(paths)
        paths, places, there = self._respelt(paths)
        self._named[places[there]] = True
        sizes, offsets = self._sizes[places].tolist(), self._offsets[places].tolist()
        return [
            (self._spelt.get(path, path), size, offset) if found else None
            for path, size, offset, found in zip(paths, sizes, offsets, there.tolist(), strict=True)
        ]

    def count(self, paths: Sequence[str]) -> int:
        """Say how many of the paths are there."""
        return int(self._respelt(paths)[2].sum()) if len(self._hashes) else 0

    @property
    def unnamed(self) -> int:
        """How many files nothing has named."""
        return int((~self._named).sum())

    def is_named(self, source: str) -> bool:
        """Say whether :meth:`find` was asked for a file that is there."""
        places, there = self._places([unicodedata.normalize("NFC", source)])
        return bool(there[0] and self._named[places[0]])

    def _respelt(
        self, paths: Sequence[str]
    ) -> tuple[Sequence[str], npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
        """Look paths up, and those that are not there by the other case of their suffix."""
        places, there = self._places(paths)
        others: dict[int, str] = {}
        for at in np.flatnonzero(~there).tolist():
            plain = plain_suffix(paths[at])
            other = self._with_plain_suffix.get(plain, plain)
            if other != paths[at]:
                others[at] = other
        if others:
            paths = [others.get(at, path) for at, path in enumerate(paths)]
            places, there = self._places(paths)
        return paths, places, there

    def _places(self, paths: Sequence[str]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
        wanted = np.fromiter(map(hash_text, paths), np.uint64, len(paths))
        places = np.minimum(np.searchsorted(self._hashes, wanted), len(self._hashes) - 1)
        return places, self._hashes[places] == wanted


def plain_suffix(path: str) -> str:
    """Give a path with its suffix in lower case.

    Example:
        >>> plain_suffix("A.B/C.JPG"), plain_suffix("A.B/C")
        ('A.B/C.jpg', 'A.B/C')
    """
    stem, dot, suffix = path.rpartition(".")
    return path if suffix.islower() or not dot or "/" in suffix else f"{stem}.{suffix.lower()}"


def hash_text(text: str) -> int:
    """Hash a text to 64 bits, the same in every process."""
    data = text.encode("utf-8", "surrogatepass")  # JSON may spell half a character
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def repeated(texts: Iterable[str]) -> Hashes:
    """Give the hashes of the texts that come more than once, ascending; 8 bytes a text."""
    hashes = np.sort(np.fromiter(map(hash_text, texts), np.uint64))
    again: Hashes = np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
    return again


def inside(path: str) -> str | None:
    """Give a list's path as one from the raw folder, NFC; None where it leads out of it.

    Example:
        >>> inside("./a//b.jpg"), inside("a/../../b.jpg"), inside("/etc/passwd")
        ('a/b.jpg', None, None)
    """
    if not path or path.startswith("/"):
        return None
    if path.isascii() and "//" not in path and "./" not in path and path[-1] not in "./":
        return path  # as most are
    normal = unicodedata.normalize("NFC", posixpath.normpath(path))
    return None if normal in (".", "..") or normal.startswith("../") else normal


def join_rows(
    rows: Iterable[ListedFile],
    index: FileIndex,
    ignored: Counter[str],
    missing: Missing,
    again: Hashes,
    *,
    by_line: bool,
) -> Iterator[Item]:
    """Make items of rows, in the order of the rows.

    Args:
        rows: Of one list or several.
        index: Of the files.
        ignored: Gets the counts of what gives no item.
        missing: ``reject``: a row without its file is an item with the reason ``missing``;
            ``count``: it is only counted, for those who keep a part of a dataset.
        again: What comes more than once, from :func:`repeated`: paths where ``by_line``, as
            :func:`plain_suffix` gives them, else sources, as :func:`source_of` does.
        by_line: Rows of one file are told apart by their lines, each is an item. Otherwise by
            their marks: a row that says the same again is counted and left out.
    """
    seen: set[int] = set()
    stream = iter(rows)
    while batch := list(islice(stream, _BATCH)):
        found = index.find([row.path for row in batch])
        keys = [plain_suffix(row.path) if by_line else source_of(row) for row in batch]
        for row, file, several in zip(batch, found, _among(again, keys), strict=True):
            source = file[0] if file else row.path
            if not by_line:
                source = f"{source}#{row.mark}"
                if several and not _is_first(source, seen):
                    ignored["rows that say again what a row before them says"] += 1
                    continue
            elif several or "#" in source:
                source = f"{source}#{row.line}"
            if file is None and missing == "count":
                ignored["rows whose file is not there"] += 1
            else:
                yield _item(row, source, file)


def source_of(row: ListedFile) -> str:
    """Give what is the same for marked rows that say the same of one file."""
    return same_place(row.path, row.mark)


def same_place(path: str, mark: str) -> str:
    """Give what is the same for a path and a mark, whatever the case of the path's suffix."""
    return f"{plain_suffix(path)}#{mark}"


def best_base(index: FileIndex, bases: Sequence[str], paths: Sequence[str]) -> str:
    """Choose the folder that a list's paths start from.

    Args:
        index: Of the files.
        bases: Candidates; of equals the first wins.
        paths: Of the list's first rows.
    """
    return max(bases, key=lambda base: index.count([posixpath.join(base, p) for p in paths]))


def unlisted(files: Iterable[Entry], index: FileIndex, found: str) -> Iterator[Item]:
    """Make rejected items of the files that no row names.

    Args:
        files: As a tree lists them.
        index: Of the same files, its rows all found.
        found: What to say of them.
    """
    for file in files:
        if not index.is_named(file.source):
            yield Item(
                file.source, file.size, None, offset=file.offset, reject="unlisted",
                reject_detail=found,
            )  # fmt: skip


def path_of(item: Item) -> str:
    """Give the path of an item's file: its source without the mark.

    Example:
        >>> path_of(Item("a/b.jpg#12", 5, None)), path_of(Item("a/b.jpg", 5, None))
        ('a/b.jpg', 'a/b.jpg')
    """
    return item.source.rpartition("#")[0] or item.source


def _item(row: ListedFile, source: str, file: tuple[str, int, int] | None) -> Item:
    reject, detail = (None, None) if row.unlisted is None else ("unlisted", row.unlisted)
    if file is None:
        why = "leads out of the raw folder" if inside(row.path) is None else "is not there"
        reject, detail = "missing", f"a list names it, but it {why}"
    return Item(
        source=source,
        size=file[1] if file else 0,
        identity=row.identity,
        split=row.split,
        offset=file[2] if file else 0,
        bbox=row.bbox,
        landmarks=row.landmarks,
        media=row.media,
        frame=row.frame,
        video=row.video,
        url=row.url,
        reject=reject,
        reject_detail=detail,
    )


def _among(hashes: Hashes, texts: list[str]) -> list[bool]:
    if not len(hashes):
        return [False] * len(texts)
    keys = np.fromiter(map(hash_text, texts), np.uint64, len(texts))
    return list(np.isin(keys, hashes).tolist())


def _is_first(text: str, seen: set[int]) -> bool:
    key = hash_text(text)
    first = key not in seen
    seen.add(key)
    return first
