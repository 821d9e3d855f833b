"""Boxes and landmarks that a release gives for its pictures, looked up one identity at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fusekit.errors import SourceError

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator

    from fusekit.readers.trees.tree import Tree

_MAX_LINE: Final = 1 << 16
_SUFFIXES: Final = frozenset({"jpg", "jpeg", "png", "bmp"})


class HintTable:
    """A table of pictures and their numbers, the rows of an identity read on demand.

    Two forms are told apart row by row: ``"identity/stem",number,…``, as VGGFace2 has it, and
    ``path label number …`` with tabs or spaces, as lists of landmarks have it. Of a path the last
    two parts count. Rows of the first form that can't be read are an error; rows of the second,
    which is known only from programs that read it, are counted.

    Only where each identity's rows stand is kept in memory, so that the three million rows of
    VGGFace2 cost next to nothing. The rows may come in any order. The file stays open until
    :meth:`close`.

    Args:
        tree: The raw data.
        source: The file in it.
        width: Numbers in a row.
        ignored: Gets a count for rows that are no hints.

    Raises:
        SourceError: A line is far too long.
    """

    def __init__(self, tree: Tree, source: str, width: int, ignored: Counter[str]) -> None:
        self._tree, self._source = tree, source
        self._width = width
        self._ignored = ignored
        self._runs: dict[bytes, list[tuple[int, int, int]]] = {}
        self._file = tree.open(source)
        try:
            self._find_runs()
        except SourceError:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def rows(self, identity: str) -> dict[str, tuple[float, ...]]:
        """Read the rows of an identity.

        Args:
            identity: The name of its folder.

        Returns:
            ``identity/stem`` to the row's numbers; empty when the file has none.

        Raises:
            SourceError: A row has another number of fields, or fields that are no numbers.
        """
        return dict(self._read(self._runs.get(identity.encode(), [])))

    def _find_runs(self) -> None:
        at, current = 0, None
        for number, line in enumerate(iter(lambda: self._file.readline(_MAX_LINE), b""), 1):
            if len(line) == _MAX_LINE:
                place = f"{self._tree.root / self._source}:{number}"
                raise SourceError(place, "a line of 64 KiB or more")
            identity = _identity(line)
            if identity != current:
                self._runs.setdefault(identity, []).append((at, at, number))
                current = identity
            runs = self._runs[identity]
            at += len(line)
            runs[-1] = (runs[-1][0], at, runs[-1][2])

    def _read(self, runs: list[tuple[int, int, int]]) -> Iterator[tuple[str, tuple[float, ...]]]:
        for start, end, first in runs:
            self._file.seek(start)
            lines = self._file.read(end - start).decode("utf-8", "replace").split("\n")
            for number, line in enumerate(lines[:-1] if lines[-1] == "" else lines, first):
                row = _quoted_row(line) if "," in line else _list_row(line, self._width)
                if row is not None and len(row[1]) == self._width:
                    yield row
                elif "," in line:
                    place = f"{self._tree.root / self._source}:{number}"
                    expected = f"a name, {self._width} numbers"
                    raise SourceError(place, repr(line.strip()[:60]), expected)
                else:
                    self._ignored[f"rows of {self._source} that are no hints"] += 1


def _identity(line: bytes) -> bytes:
    """Give the folder that a row's picture lies in."""
    path = line.partition(b"\t" if b"\t" in line else b",")[0].replace(b"\\", b"/")
    return path.rpartition(b"/")[0].rpartition(b"/")[2].strip(b' "')


def _quoted_row(line: str) -> tuple[str, tuple[float, ...]] | None:
    name, *fields = line.split(",")
    return _row(name, fields)


def _list_row(line: str, width: int) -> tuple[str, tuple[float, ...]] | None:
    fields = line.rstrip("\r").split("\t") if "\t" in line else line.split()
    # A label may stand between the path and the numbers.
    return _row(fields[0], fields[-width:]) if 1 <= len(fields) - width <= 2 else None


def _row(name: str, fields: list[str]) -> tuple[str, tuple[float, ...]] | None:
    path = name.replace("\\", "/").strip(' "').split("/")
    try:
        return _stem("/".join(path[-2:])), tuple(float(field) for field in fields)
    except ValueError:
        return None


def _stem(name: str) -> str:
    head, dot, suffix = name.rpartition(".")
    return head if dot and suffix.lower() in _SUFFIXES else name
