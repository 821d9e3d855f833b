"""Rows of lists of pictures, in the forms that face-recognition projects write them."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

from fusekit.readers.tables.path_index import names_a_file

_MAX_DIGITS: Final = 18  # of a number that fits 64 bits
_POINTS: Final = 10
_BOX: Final = 4

Points: TypeAlias = tuple[float, ...]
_Form: TypeAlias = Literal[
    "path", "path label", "label path", "path 0 label 0", "path x1 y1 … x5 y5",
    "path label x1 y1 … x5 y5", "columns",
]  # fmt: skip
#: Words after the path in rows that are split at spaces, and which of them is the label.
_AFTER: Final[dict[_Form, tuple[int, int | None]]] = {
    "path": (0, None),
    "path label": (1, 0),
    "path 0 label 0": (3, 1),
    "path x1 y1 … x5 y5": (_POINTS, None),
    "path label x1 y1 … x5 y5": (_POINTS + 1, 0),
}


class ListRow(NamedTuple):  # made five million times for one list: a dataclass takes twice as long
    """A row of a list.

    Attributes:
        path: The picture as the list spells it, or an identity.
        label: Its label, NFC; None: the list gives none.
        points: Words of five points, in the order of the row; () for none.
        planar: The points are five x, then five y; else x and y in turn.
    """

    path: str
    label: str | None
    points: tuple[str, ...] = ()
    planar: bool = False


@dataclass(frozen=True, slots=True)
class RowForm:
    """How the rows of a list are built.

    Attributes:
        form: The words in a row; ``columns``: they stand between tabs.
        path: Column of the path, where there are columns.
        label: Column of the label; None: there is none.
        numeric: Every label is a whole number.
    """

    form: _Form
    path: int = 0
    label: int | None = None
    numeric: bool = False

    def parse(self, line: str) -> ListRow | None:
        """Read a row; None: it is not of this form."""
        if self.form == "columns":
            return self._parse_columns(line)
        if self.form == "label path":
            words = line.split(None, 1)
            row = ListRow(words[1], words[0]) if len(words) > 1 else None
            return row if row and _is_id(words[0]) and names_a_file(words[1]) else None
        if self.form == "path":
            return ListRow(line, None) if " " not in line or row_shape(line) == self else None
        count, at = _AFTER[self.form]
        path, *words = line.rsplit(None, count)
        if len(words) != count:
            return None
        label = None if at is None else words[at]
        if label is not None and not _is_id(label):
            return None
        return ListRow(path, label, tuple(words[-_POINTS:]) if count >= _POINTS else ())

    def _parse_columns(self, line: str) -> ListRow | None:
        words = line.split("\t")
        if len(words) <= max(self.path, self.label or 0) or not words[self.path]:
            return None
        label = None if self.label is None else whole_label(words[self.label])
        if label == "" or (self.numeric and not is_number(label or "")):
            return None
        rest = len(words) - 1 - max(self.path, self.label or 0)
        # InsightFace's .lst has a box before its points.
        points = tuple(words[-_POINTS:]) if rest in {_POINTS, _POINTS + _BOX} else ()
        return ListRow(words[self.path], label, points, rest == _POINTS + _BOX)


def is_number(text: str) -> bool:
    """Say whether a label is a whole number that fits 64 bits."""
    return text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS


def interleaved_points(row: ListRow) -> Points | None:
    """Give a row's five points, x and y in turn.

    Returns:
        Ten numbers; None: the row has no points, or words there that are no numbers.

    Example:
        >>> words = tuple("1 2 3 4 5 10 20 30 40 50".split())
        >>> interleaved_points(ListRow("a.jpg", None, words, planar=True))
        (1.0, 10.0, 2.0, 20.0, 3.0, 30.0, 4.0, 40.0, 5.0, 50.0)
    """
    try:
        points = tuple(map(float, row.points))
    except ValueError:
        return None
    if row.planar:
        points = tuple(value for pair in zip(points[:5], points[5:], strict=True) for value in pair)
    # Not a number and infinite ones differ from themselves when they are taken from themselves.
    return points if points and all(value - value == 0 for value in points) else None


def row_shape(line: str) -> RowForm:
    """Tell the form of one row whose words stand between spaces."""
    words = line.rsplit(None, _POINTS + 2)
    if len(words) == 1:
        return RowForm("path")
    numbers = 0
    while numbers < len(words) - 1 and _is_decimal(words[-1 - numbers]):
        numbers += 1
    form: _Form = "path"
    if numbers > _POINTS:
        form = "path label x1 y1 … x5 y5"
    elif numbers == _POINTS:
        form = "path x1 y1 … x5 y5"
    elif numbers == 3 and (words[-3], words[-1]) == ("0", "0"):
        form = "path 0 label 0"
    elif numbers:
        form = "path label"
    elif names_a_file(words[-1]):
        form = "label path" if _is_id(line.split(None, 1)[0]) else "path"
    elif _is_id(words[-1]) and names_a_file(line.rsplit(None, 1)[0]):
        form = "path label"
    return RowForm(form)


def row_columns(line: str) -> RowForm:
    """Tell the form of one row that has tabs."""
    words = line.split("\t")
    path = next((i for i, word in enumerate(words) if names_a_file(word)), None)
    if path is None:
        return RowForm("columns", 0)  # an identity and what it is called
    after = len(words) - 1 - path
    if after == _POINTS:
        return RowForm("columns", path)
    if after:
        return RowForm("columns", path, path + 1)
    return RowForm("columns", path, path - 1 if path else None)


def whole_label(label: str) -> str:
    """Give a label as a whole number where im2rec has written it as a float; else in NFC."""
    digits, dot, zeros = label.strip().partition(".")
    if dot and zeros.strip("0") == "" and is_number(digits):
        return digits
    return unicodedata.normalize("NFC", label.strip())


def _is_decimal(text: str) -> bool:
    return text.replace("-", "").replace(".", "", 1).isdigit()


def _is_id(text: str) -> bool:
    """Say whether a word is a label: a whole number or an identity of Freebase."""
    return is_number(text) or (text.startswith("m.") and not names_a_file(text))
