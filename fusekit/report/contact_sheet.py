"""Contact sheets: crops in a grid or in rows of two sides, for where people would rather look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from fusekit.report.evidence import Evidence, Picture, Side

    RgbImage = npt.NDArray[np.uint8]

_GAP: Final = 10
_CAPTION: Final = 34  # height of two lines under a crop
_TITLE: Final = 44
_EMPTY: Final = 112  # a place's side where there is no tile to tell
_PAPER, _INK, _FAINT = (250, 249, 246), (32, 33, 36), (110, 112, 118)
_SOFT: Final = (72, 74, 80)
# Okabe and Ito's colours, which colour-blind people tell apart too.
_COLOURS: Final = (
    (0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233),
)  # fmt: skip
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_CROP: Final = 112  # side of a crop in a row of two sides; larger ones are brought to it
_PITCH: Final = _CROP + _GAP
_TITLE_CROPS: Final = 3  # a title gets the width of so many crops at least
_WORDS: Final = 230  # width of the words between the sides
_LINE: Final = 17
_ROW: Final = _LINE + 8 + _CROP + _LINE + _GAP
_RULE: Final = (226, 224, 218)
#: What a decision or a mark looks like everywhere, by its word.
MARK_COLOURS: Final = {
    "same": (0, 158, 115), "different": (0, 114, 178), "unsure": (230, 159, 0),
    "drop": (213, 94, 0), "keep": (0, 158, 115), "best": (0, 158, 115),
    "outlier": (230, 159, 0), "split": (0, 114, 178), "mislabeled": (213, 94, 0),
}  # fmt: skip
_UNMARKED: Final = (200, 199, 195)


@dataclass(frozen=True)
class Tile:
    """One crop of a sheet.

    Attributes:
        image: uint8 ``(H, W, 3)`` RGB.
        title: First line under it, ASCII.
        note: Second line, fainter.
        group: Colour of its frame: tiles of one group have one colour.
    """

    image: RgbImage
    title: str
    note: str
    group: int


def draw_contact_sheet(tiles: Sequence[Tile], heading: str, columns: int = 8) -> RgbImage:
    """Draw crops in rows, each framed in its group's colour, under a heading.

    Args:
        tiles: The crops in reading order; each place is as large as the largest.
        heading: One line above them, ASCII.
        columns: Crops in a row.

    Returns:
        uint8 ``(H, W, 3)`` RGB; a heading and no row when there are no tiles.
    """
    height = max((tile.image.shape[0] for tile in tiles), default=_EMPTY)
    width = max((tile.image.shape[1] for tile in tiles), default=_EMPTY)
    pitch_x, pitch_y = width + 2 * _GAP, height + _GAP + _CAPTION + _GAP // 2
    rows = -(-len(tiles) // columns)
    sheet = np.empty((_TITLE + rows * pitch_y + _GAP, columns * pitch_x, 3), np.uint8)
    sheet[:] = _PAPER
    _write(sheet, heading, (_GAP, 29), 0.6, _INK, sheet.shape[1] - 2 * _GAP)
    for number, tile in enumerate(tiles):
        x = (number % columns) * pitch_x + _GAP
        y = _TITLE + (number // columns) * pitch_y
        colour = _COLOURS[tile.group % len(_COLOURS)]
        down, across = tile.image.shape[:2]
        cv2.rectangle(sheet, (x - 3, y - 3), (x + across + 2, y + down + 2), colour, -1)
        sheet[y : y + down, x : x + across] = tile.image
        _write(sheet, tile.title, (x, y + height + 16), 0.4, _INK, width)
        _write(sheet, tile.note, (x, y + height + 30), 0.36, _FAINT, width)
    return sheet


def draw_evidence(rows: Sequence[Evidence], heading: str) -> RgbImage:
    """Draw evidence in rows: crops of one side, what is said of them, crops of the other.

    Args:
        rows: In the order to show them; a side is as wide as the fullest of them all.
        heading: One line above them.

    Returns:
        uint8 ``(H, W, 3)`` RGB; a heading alone when there are no rows.
    """
    left = _across([row.left for row in rows])
    right = _across([row.right for row in rows if row.right is not None])
    width = 2 * _GAP + left + _WORDS + right
    sheet = np.empty((_TITLE + len(rows) * _ROW + _GAP, width, 3), np.uint8)
    sheet[:] = _PAPER
    _write(sheet, heading, (_GAP, 29), 0.6, _INK, width - 2 * _GAP)
    for number, row in enumerate(rows):
        y = _TITLE + number * _ROW
        sheet[y - 1, _GAP:-_GAP] = _RULE
        _draw_side(sheet, row.left, (_GAP, y), left)
        _draw_words(sheet, row, (_GAP + left, y))
        if row.right is not None:
            _draw_side(sheet, row.right, (_GAP + left + _WORDS, y), right)
    return sheet


def fit_crop(image: RgbImage, side: int) -> RgbImage:
    """Bring a crop's longer side to ``side`` pixels; one that has it already stays as it is."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale == 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    fitted: Any = cv2.resize(image, size, interpolation=how)
    return np.asarray(fitted, np.uint8)


def _across(sides: Sequence[Side]) -> int:
    """Give the width of a side: of its crops, and enough for a title."""
    return max((max(len(side.pictures), _TITLE_CROPS) * _PITCH for side in sides), default=0)


def _draw_side(sheet: RgbImage, side: Side, at: tuple[int, int], across: int) -> None:
    x, y = at
    _write(sheet, side.title, (x, y + _LINE), 0.45, _INK, across - _GAP)
    if not side.pictures:
        _write(sheet, "no picture in the store", (x, y + 2 * _LINE + 8), 0.4, _FAINT, across)
    for picture in side.pictures:
        _draw_picture(sheet, picture, (x, y + _LINE + 8))
        x += _PITCH


def _draw_picture(sheet: RgbImage, picture: Picture, at: tuple[int, int]) -> None:
    x, y = at
    crop = fit_crop(picture.image, _CROP)
    down, right = crop.shape[:2]
    colour = MARK_COLOURS.get(picture.mark, _UNMARKED)
    cv2.rectangle(sheet, (x - 3, y - 3), (x + right + 2, y + down + 2), colour, -1)
    sheet[y : y + down, x : x + right] = crop
    _write(sheet, picture.note, (x, y + _CROP + _LINE), 0.38, _FAINT, _CROP)


def _draw_words(sheet: RgbImage, row: Evidence, at: tuple[int, int]) -> None:
    x, y = at[0], at[1] + _LINE + 8
    if row.decision:
        colour = MARK_COLOURS.get(row.decision, _UNMARKED)
        cv2.rectangle(sheet, (x, y), (x + 9, y + 11), colour, -1)
        _write(sheet, row.decision, (x + 16, y + 11), 0.5, _INK, _WORDS - 26)
        y += _LINE + 5
    for fact in row.facts:
        _write(sheet, fact, (x, y + 11), 0.42, _SOFT, _WORDS - _GAP)
        y += _LINE


def _write(
    sheet: RgbImage,
    text: str,
    at: tuple[int, int],
    scale: float,
    colour: tuple[int, int, int],
    width: int,
) -> None:
    while text and cv2.getTextSize(text, _FONT, scale, 1)[0][0] > width:
        text = text[:-1]
    place: Any = at
    cv2.putText(sheet, text, place, _FONT, scale, colour, 1, cv2.LINE_AA)
