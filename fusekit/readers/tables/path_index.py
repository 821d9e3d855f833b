"""Find which row of a long list names which item, by hashes of their paths."""

from __future__ import annotations

import re
import unicodedata
from array import array
from hashlib import blake2b
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from fusekit.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Int64s: TypeAlias = npt.NDArray[np.int64]
Hashes: TypeAlias = npt.NDArray[np.uint64]
#: A row's path, and what it is worth to who reads the list: a whole number of at least 0.
Row: TypeAlias = tuple[str, int]

_BLOCK: Final = 1 << 14
_MAX_PARTS: Final = 64  # of a longer path the end counts
_SUFFIXES: Final = frozenset(
    {"jpg", "jpeg", "png", "bmp", "gif", "webp", "ppm", "pgm", "tif", "tiff"}
)
#: How converters of MS-Celeb-1M name a face: 10-FaceId-0, 10_FaceId-0, 10-0, 10-FaceId-0_align.
_MS_CELEB: Final = re.compile(r"(\d{1,18})[-_](?:FaceId-)?(\d{1,18})(?:_align)?")


def plain_path(path: str) -> str:
    r"""Spell a path of a list as sources are spelt: ``/`` between parts, nothing before them.

    Example:
        >>> plain_path(".\\0000045\\001.jpg")
        '0000045/001.jpg'
    """
    path = path.replace("\\", "/")
    while path.startswith(("./", "/")):
        path = path[1 + (path[0] == ".") :]
    return path


def path_parts(path: str) -> list[str]:
    r"""Take a source or a list's path apart into what is compared.

    Parts stand between ``/``, ``\`` and the ``#`` of containers, in NFC. The last one loses the
    suffix of a picture, and names of MS-Celeb-1M are brought to one spelling.

    Example:
        >>> path_parts(r".\m.0107_f\10_FaceId-0.JPG"), path_parts("faces.tsv#7/m.0107_f/10-0")
        (['m.0107_f', '10-0'], ['faces.tsv', '7', 'm.0107_f', '10-0'])
    """
    if not path.isascii():
        path = unicodedata.normalize("NFC", path)
    parts = path.replace("\\", "/").replace("#", "/").split("/")
    if "" in parts or "." in parts:
        parts = [part for part in parts if part not in {"", "."}]
    if not parts:
        return parts
    stem, dot, suffix = parts[-1].rpartition(".")
    if dot and stem and suffix.lower() in _SUFFIXES:
        parts[-1] = stem
    if "FaceId" in parts[-1] or (len(parts) > 1 and parts[-2].startswith("m.")):
        match = _MS_CELEB.fullmatch(parts[-1])
        if match:
            parts[-1] = f"{match[1]}-{match[2]}"
    return parts


def names_a_file(path: str) -> bool:
    """Say whether a list's path is that of a picture; else it is an identity.

    Example:
        >>> names_a_file("n000002/0001_01"), names_a_file("7.JPG"), names_a_file("m.0107_f")
        (True, True, False)
    """
    return (
        "/" in path or "\\" in path or "#" in path or path.rpartition(".")[2].lower() in _SUFFIXES
    )


class PathIndex:
    """Rows of lists, found by the items that they name.

    A row names an item when one of the row's path and the item's source is the end of the other,
    whole parts compared (:func:`path_parts`); a row that is no path but an identity names all
    items of the identity. Of several rows the one that agrees in most parts counts.

    A row costs 17 bytes; its text is not kept. Paths that only share a 64-bit hash are taken for
    the same: with ten million rows and items, a chance of one in 200,000.

    Args:
        rows: Gives all rows, the same at each call; they are read more than once.

    Attributes:
        rows: How many different rows there are.
        repeated: Rows that say again what another one has said; the first one counts.
        shared: Items whose row is another item's too.
        disputed: Items with several rows that differ in value.
    """

    def __init__(self, rows: Callable[[], Iterator[Row]]) -> None:
        self._source = rows
        hashes: dict[int, bytearray] = {}
        values: dict[int, array[int]] = {}
        for path, value in rows():
            depth, digest = _row_key(path)
            if depth not in hashes:
                hashes[depth], values[depth] = bytearray(), array("q")
            hashes[depth] += digest
            values[depth].append(value)
        self._depths = sorted(hashes)  # 0: identities
        self._keys: dict[int, Hashes] = {}
        self._starts: dict[int, int] = {}
        kept, total, self.rows = [], 0, 0
        for depth in self._depths:
            keys = np.frombuffer(hashes.pop(depth), np.uint64)
            total += len(keys)
            unique, first = np.unique(keys, return_index=True)
            self._keys[depth], self._starts[depth] = unique, self.rows
            kept.append(np.frombuffer(values.pop(depth), np.int64)[first])
            self.rows += len(unique)
        self.repeated = total - self.rows
        self._values = np.concatenate(kept) if kept else np.zeros(0, np.int64)
        self._longer: dict[int, tuple[Hashes, Int64s]] = {}
        self.forget_items()

    def forget_items(self) -> None:
        """Start anew, as if no item had been looked for."""
        self._seen = np.zeros(self.rows, bool)
        self.shared = 0
        self.disputed = 0

    def find(self, sources: Sequence[str], identities: Sequence[str | None]) -> Int64s:
        """Look for the rows of items.

        Args:
            sources: Of the items.
            identities: Of the same items, NFC; None: it has none.

        Returns:
            The value of each item's row; -1: no row names it.
        """
        found = np.full(len(sources), -1, np.int64)
        if 0 in self._keys:
            known = [i for i, identity in enumerate(identities) if identity is not None]
            texts = [identities[i] or "" for i in known]
            self._take(found, known, [_digest(text) for text in texts], 0)
        parts = [path_parts(source)[-_MAX_PARTS:] for source in sources]
        groups: dict[int, list[int]] = {}
        for i, each in enumerate(parts):
            groups.setdefault(len(each), []).append(i)
        for length, group in groups.items():
            for depth in self._depths:
                if 0 < depth <= length:
                    if depth == length:
                        self._take_longer(found, group, parts, length)
                    tails = [_digest("/".join(parts[i][-depth:])) for i in group]
                    self._take(found, group, tails, depth)
            if length not in self._keys:
                self._take_longer(found, group, parts, length)
        return found

    def missing(self) -> Iterator[Row]:
        """Give the rows of pictures that no item was found for, in their order, each once."""
        if not self.missing_files():
            return
        for paths, depths, places in self._located():
            for path, depth, place in zip(paths, depths, places.tolist(), strict=True):
                if depth and not self._seen[place]:
                    self._seen[place] = True
                    yield path, int(self._values[place])

    def missing_files(self) -> int:
        """Count the rows of pictures that no item was found for."""
        return int((~self._seen).sum()) - self.missing_identities()

    def missing_identities(self) -> int:
        """Count the rows of identities that no item has."""
        return int((~self._seen[: len(self._keys.get(0, ()))]).sum())

    def _take(self, found: Int64s, which: list[int], digests: list[bytes], depth: int) -> None:
        """Note the rows that have exactly these parts."""
        if not which:
            return
        at, hit = _look_up(self._keys[depth], _as_hashes(digests))
        self._note(found, np.array(which)[hit], at[hit] + self._starts[depth])

    def _take_longer(
        self, found: Int64s, group: list[int], parts: list[list[str]], length: int
    ) -> None:
        """Note the rows that end in all of an item's parts and have more before them."""
        if self._depths[-1:] <= [length]:
            return
        if length not in self._longer:
            self._longer[length] = self._tails(length)
        keys, places = self._longer[length]
        wanted = _as_hashes([_digest("/".join(parts[i])) for i in group])
        at, hit = _look_up(keys, wanted)
        ends = np.searchsorted(keys, wanted, "right")
        items = np.array(group)
        self._note(found, items[hit], places[at[hit]])
        for i in np.flatnonzero(hit & (ends - at > 1)).tolist():
            for place in places[at[i] + 1 : ends[i]]:  # several folders of the list hold this name
                self._note(found, items[i : i + 1], np.array([place]), overrule=False)

    def _note(self, found: Int64s, items: Int64s, places: Int64s, *, overrule: bool = True) -> None:
        values, before = self._values[places], found[items]
        self.disputed += int(((before >= 0) & (before != values)).sum())
        # Of an identity's row every item of the identity is meant to be one.
        pictures = places[places >= len(self._keys.get(0, ()))]
        _, counts = np.unique(pictures, return_counts=True)
        self.shared += int(self._seen[pictures].sum()) + int((counts - 1).sum())
        self._seen[places] = True
        found[items] = values if overrule else np.where(before < 0, values, before)

    def _tails(self, length: int) -> tuple[Hashes, Int64s]:
        """Read the rows again for the hashes of their last parts."""
        tails, where = bytearray(), []
        for paths, depths, places in self._located():
            deeper = [i for i, depth in enumerate(depths) if depth > length]
            for i in deeper:
                tails += _digest("/".join(path_parts(paths[i])[-length:]))
            where.append(places[deeper])
        keys = np.frombuffer(tails, np.uint64)
        order = np.argsort(keys, kind="stable")
        return keys[order], np.concatenate(where)[order]

    def _located(self) -> Iterator[tuple[list[str], list[int], Int64s]]:
        """Read the rows again, with their depths and places, by blocks."""
        rows = self._source()
        while block := list(islice(rows, _BLOCK)):
            keys = [_row_key(path) for path, _ in block]
            depths = [depth for depth, _ in keys]
            hashes = _as_hashes([digest for _, digest in keys])
            places = np.zeros(len(block), np.int64)
            depth_of = np.array(depths)
            for depth in set(depths):
                if depth not in self._keys:
                    raise SourceError("the lists", "changed while they were read")
                mine = depth_of == depth
                places[mine] = _look_up(self._keys[depth], hashes[mine])[0] + self._starts[depth]
            yield [path for path, _ in block], depths, places


def _row_key(path: str) -> tuple[int, bytes]:
    if not names_a_file(path):
        return 0, _digest(unicodedata.normalize("NFC", path))
    parts = path_parts(path)[-_MAX_PARTS:]
    return len(parts), _digest("/".join(parts))


def _digest(text: str) -> bytes:
    # Python's own hash differs from run to run: a clash would give other results each time.
    return blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()


def _as_hashes(digests: list[bytes]) -> Hashes:
    return np.frombuffer(b"".join(digests), np.uint64)


def _look_up(keys: Hashes, wanted: Hashes) -> tuple[Int64s, npt.NDArray[np.bool_]]:
    """Give where each one stands, or the first place, and whether it is there."""
    at = np.searchsorted(keys, wanted)
    at[at == len(keys)] = 0
    return at, keys[at] == wanted if len(keys) else np.zeros(len(wanted), bool)
