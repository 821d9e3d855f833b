"""Boxes and landmarks that VGGFace2 gives for its pictures, looked up one identity at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusekit.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator


class HintTable:
    """A CSV of rows ``"identity/stem",number,number,…``, the rows of an identity read on demand.

    Only where each identity's rows stand is kept in memory, so that the three million rows of
    VGGFace2 cost next to nothing. The rows may come in any order.

    Args:
        path: The file.
        width: Numbers in a row.
    """

    def __init__(self, path: str, width: int) -> None:
        self._path = path
        self._width = width
        self._runs: dict[bytes, list[tuple[int, int, int]]] = {}
        at, current = 0, None
        with open(path, "rb") as file:  # noqa: PTH123 - the tree gives real paths as text
            for number, line in enumerate(file, 1):
                identity = line.partition(b"/")[0].strip(b' "')
                if identity != current:
                    self._runs.setdefault(identity, []).append((at, at, number))
                    current = identity
                runs = self._runs[identity]
                at += len(line)
                runs[-1] = (runs[-1][0], at, runs[-1][2])

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

    def _read(self, runs: list[tuple[int, int, int]]) -> Iterator[tuple[str, tuple[float, ...]]]:
        with open(self._path, "rb") as file:  # noqa: PTH123 - as above
            for start, end, first in runs:
                file.seek(start)
                lines = file.read(end - start).decode("utf-8", "replace").split("\n")
                for number, line in enumerate(lines[:-1] if lines[-1] == "" else lines, first):
                    name, *fields = line.split(",")
                    try:
                        values = tuple(float(field) for field in fields)
                    except ValueError:
                        values = ()
                    if len(values) != self._width:
                        place, expected = f"{self._path}:{number}", f"a name, {self._width} numbers"
                        raise SourceError(place, repr(line.strip()[:60]), expected)
                    yield _stem(name.strip(' "')), values


def _stem(name: str) -> str:
    head, dot, suffix = name.rpartition(".")
    return head if dot and suffix.lower() in {"jpg", "jpeg", "png"} else name
