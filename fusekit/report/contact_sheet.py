"""Contact sheets: crops in a grid with captions, for where people would rather look than read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    RgbImage = npt.NDArray[np.uint8]

_GAP: Final = 10
_CAPTION: Final = 34  # height of two lines under a crop
_TITLE: Final = 44
_EMPTY: Final = 112  # a place's side where there is no tile to tell
_PAPER, _INK, _FAINT = (250, 249, 246), (32, 33, 36), (110, 112, 118)
# Okabe and Ito's colours, which colour-blind people tell apart too.
_COLOURS: Final = (
    (0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233),
)  # fmt: skip
_FONT = cv2.FONT_HERSHEY_SIMPLEX


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
