"""Five points of faces out of the text files that evaluation sets bring along."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusekit.readers.tables.rows import Row
    from fusekit.readers.trees.tree import Tree

Points: TypeAlias = "tuple[float, ...]"

_FIVE: Final = 10  # numbers of five points
_SIXTY_EIGHT: Final = 68
_MAX_FILE: Final = 1 << 16  # bytes of a file with one picture's points
# What InsightFace's packer takes of 68 points, counted from 0: it cut agedb_30.bin so.
_LEFT_EYE, _RIGHT_EYE, _NOSE, _MOUTH = (36, 39), (42, 45), 33, (48, 54)


def read_point_rows(rows: Iterator[Row]) -> Iterator[tuple[str, Points]]:
    """Read rows of a picture's path, perhaps a label, and five points.

    Yields:
        Path and the points, x and y in turn.

    Raises:
        SourceError: A row is nothing like that.
    """
    for row in rows:
        path, *cells = row.text.split()
        points = _numbers(cells[-_FIVE:])
        if points is None or len(points) != _FIVE:
            raise row.bad("a path and five points, ten numbers")
        yield path, points


def read_five_points(tree: Tree, source: str) -> Points | None:
    """Read a file of five rows ``x y``.

    Returns:
        The points, x and y in turn; None when it is anything else.
    """
    points = _numbers(_text(tree, source).split())
    return points if points is not None and len(points) == _FIVE else None


def read_pts(tree: Tree, source: str) -> Points | None:
    """Read a ``.pts`` file of 68 points, as those of 300-W, and take five of them.

    Returns:
        Both eyes' centres, the nose and the mouth corners, x and y in turn; None when the file is
        anything else.

    Reference:
        Sagonas et al., "300 Faces in-the-Wild Challenge", ICCVW 2013, for the order of the 68.
    """
    body = _text(tree, source).partition("{")[2].partition("}")[0]
    numbers = _numbers(body.split())
    if numbers is None or len(numbers) != 2 * _SIXTY_EIGHT:
        return None
    at = list(zip(numbers[::2], numbers[1::2], strict=True))
    five = [_middle(at, _LEFT_EYE), _middle(at, _RIGHT_EYE), at[_NOSE], *(at[i] for i in _MOUTH)]
    return tuple(number for point in five for number in point)


def _middle(at: list[tuple[float, float]], corners: tuple[int, int]) -> tuple[float, float]:
    (x0, y0), (x1, y1) = (at[corner] for corner in corners)
    return (x0 + x1) / 2, (y0 + y1) / 2


def _text(tree: Tree, source: str) -> str:
    with tree.open(source) as file:
        try:
            return file.read(_MAX_FILE).decode("utf-8-sig", "replace")
        except OSError:
            return ""


def _numbers(cells: list[str]) -> Points | None:
    try:
        numbers = tuple(float(cell) for cell in cells)
    except ValueError:
        return None
    return numbers if all(math.isfinite(number) for number in numbers) else None
