"""Which column of a list is the file, the person, the box: by names, or by what stands there."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from fusekit.errors import SourceError
from fusekit.readers.tables.fields import IDENTITY_FIELDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: What a list may say of a file.
Said: TypeAlias = Literal["path", "identity", "split", "url", "name", "box", "landmarks"]

_NAMES: Final[Mapping[Said, tuple[str, ...]]] = {
    "path": ("path", "file", "image", "filename", "file_name", "filepath", "image_path", "img"),
    "identity": IDENTITY_FIELDS,
    "split": ("split", "partition", "subset"),
    "url": ("url", "image_url"),
    "name": ("name",),
    "box": ("bbox", "box"),
    "landmarks": ("landmarks", "landmark"),
}
_CORNERS: Final = (
    ("x0", "y0", "x1", "y1"), ("x1", "y1", "x2", "y2"), ("left", "top", "right", "bottom"),
    ("xmin", "ymin", "xmax", "ymax"),
)  # fmt: skip
_SIZED: Final = (("x", "y", "w", "h"), ("x", "y", "width", "height"))
_EYES_NOSE_MOUTH: Final = ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")
_POINTS: Final = (
    tuple(f"{point}_{axis}" for point in _EYES_NOSE_MOUTH for axis in "xy"),
    tuple(f"p{number}{axis}" for number in range(1, 6) for axis in "xy"),
    tuple(f"landmark_{number}" for number in range(10)),
)
_SUFFIXES: Final = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif", ".jpe"}
)
_MAGFACE_CELLS: Final = 4  # a path, 0, a label, 0
_LMK_CELLS: Final = 12  # a path, a label and five points


@dataclass(frozen=True)
class ListColumns:
    """Where a row says what: column names of a table, or places in a list's rows.

    Attributes:
        at: What is said to its column.
        box: Four columns of a box, where each number has its own.
        landmarks: Ten columns, the same.
        sized: The box of four columns is a corner, width and height, not two corners.
        folder_names: The rows are paths only: a file's folder is its identity.
    """

    at: Mapping[Said, Any]
    box: tuple[Any, ...] = ()
    landmarks: tuple[Any, ...] = ()
    sized: bool = False
    folder_names: bool = False


def named_columns(
    names: Sequence[str], asked: Mapping[Said, str], where: object
) -> ListColumns | None:
    """Find columns by their names, upper or lower case.

    Args:
        names: Of the table's columns, or the keys of its first object.
        asked: Names that the options give.
        where: The table, for errors.

    Returns:
        None where no column is named as a file's would be.

    Raises:
        SourceError: Of the columns that are asked for some are there and some are not.

    Example:
        >>> named_columns(["Image", "class", "x", "y", "w", "h"], {}, "t.csv").at
        {'path': 'Image', 'identity': 'class'}
    """
    spelt = {name.strip().lower(): name for name in reversed(names)}
    at: dict[Said, str] = {}
    for said, candidates in _NAMES.items():
        wanted = (asked[said].strip().lower(),) if said in asked else candidates
        found = next((spelt[name] for name in wanted if name in spelt), None)
        if found is not None:
            at[said] = found
    if "path" not in at:
        return None
    for said, name in asked.items():
        if said not in at:
            raise SourceError(where, f"has no column {name!r}", ", ".join(map(repr, names))[:200])
    corners = next((each for each in _CORNERS if set(each) <= spelt.keys()), None)
    box = corners or next((each for each in _SIZED if set(each) <= spelt.keys()), ())
    points = next((each for each in _POINTS if set(each) <= spelt.keys()), ())
    return ListColumns(
        at,
        box=tuple(spelt[name] for name in box),
        landmarks=tuple(spelt[name] for name in points),
        sized=not corners,
    )


def guessed_columns(rows: Sequence[Sequence[str]], where: object) -> ListColumns:
    """Find the columns of a list that has no head by what stands in its first rows.

    The path is the first column with a ``/`` or a picture's suffix in every row. The label
    follows it, or stands before it where the path is last; in ``path 0 label 0`` it is the third;
    where the path stands alone, its folder is the label.

    Args:
        rows: The first rows, of equal length.
        where: The list, for errors.

    Raises:
        SourceError: No column is a path.

    Example:
        >>> guessed_columns([["0", "a/1.jpg", "7"]], "train.lst").at
        {'path': 1, 'identity': 2}
    """
    width = len(rows[0])
    paths = (at for at in range(width) if all(looks_like_path(row[at]) for row in rows))
    path = next(paths, None)
    if path is None:
        raise SourceError(
            where, f"no column is a file: {' '.join(rows[0])[:60]!r}", "paths of pictures",
            "in a table with a head, say which with --option path=NAME",
        )  # fmt: skip
    if width == 1:
        return ListColumns({"path": path}, folder_names=True)
    if path == width - 1:
        label = path - 1
    elif width == _MAGFACE_CELLS and path == 0 and all(row[1] == row[3] == "0" for row in rows):
        label = 2
    else:
        label = path + 1
    points = tuple(range(2, _LMK_CELLS)) if path == 0 and width == _LMK_CELLS else ()
    return ListColumns({"path": path, "identity": label}, landmarks=points)


def looks_like_path(text: str) -> bool:
    """Say whether a cell may be a picture's path.

    Example:
        >>> looks_like_path("a/1"), looks_like_path("1.JPG"), looks_like_path("17")
        (True, True, False)
    """
    return "/" in text or posixpath.splitext(text)[1].lower() in _SUFFIXES
