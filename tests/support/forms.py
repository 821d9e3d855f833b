"""One case for each form of each dataset: how it lies on disk, and what ingesting it gives.

A module ``support/forms_<area>.py`` holds the cases of some datasets in a dictionary ``FORMS``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from support.photos import SIX_PEOPLE

from fusekit.faces.image import decode_image

#: Boxes around the six faces of SIX_PEOPLE, left to right: x0, y0, x1, y1.
FACES = (
    (57, 261, 165, 397), (271, 150, 368, 271), (465, 264, 576, 417), (745, 343, 843, 478),
    (903, 54, 1010, 203), (1134, 270, 1226, 397),
)  # fmt: skip
#: Left eye, right eye, nose, left and right mouth corner of each, x and y in turn.
LANDMARKS = (
    (88.4, 328.9, 129.0, 304.5, 121.6, 336.3, 113.6, 370.6, 147.1, 350.4),
    (288.4, 209.2, 320.4, 196.4, 304.3, 229.1, 311.8, 246.4, 339.1, 235.5),
    (492.6, 320.7, 541.1, 330.3, 507.2, 362.5, 483.7, 368.4, 530.6, 376.5),
    (760.9, 398.2, 802.0, 401.4, 773.7, 430.8, 765.8, 437.2, 807.1, 439.5),
    (915.0, 117.7, 943.6, 114.1, 917.9, 147.6, 938.4, 168.1, 961.1, 164.3),
    (1150.2, 324.8, 1192.2, 323.2, 1166.7, 350.8, 1155.8, 364.4, 1193.2, 362.9),
)


@dataclass(frozen=True)
class FormCase:
    """What a form is and what comes of it.

    Attributes:
        build: Lays the raw data in the folder it is given; returns what ``--from`` gets.
        items: Items that are listed, rejects included.
        identities: Their texts as the store must have them, in any order; () for none.
        rejects: Reason to count of the rejected items.
        names: Display names that must be there.
        splits: Split to its samples, where the form has splits.
        tables: Rows of an evaluation set's tables.
        arguments: Further arguments of ``ingest_dataset``.
        check: Looks at the store (its path) for what is peculiar to the form; None: nothing is.
    """

    build: Callable[[Path], Path]
    items: int
    identities: tuple[str, ...]
    rejects: Mapping[str, int] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[str, int] = field(default_factory=dict)
    tables: Mapping[str, int] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    check: Callable[[Path], None] | None = None


@cache
def face_photo(seed: int) -> bytes:
    """A JPEG of one real face of a photograph that packages ship, its place shifted by the seed.

    Six people in turn; the face is found by the default detector.
    """
    x0, y0, width, height = photo_frame(seed)
    photo = decode_image(SIX_PEOPLE.read_bytes(), "t1.jpg")
    cut = np.ascontiguousarray(photo[y0 : y0 + height, x0 : x0 + width])
    return simplejpeg.encode_jpeg(cut, quality=95)


def photo_frame(seed: int) -> tuple[int, int, int, int]:
    """Where ``face_photo(seed)`` is cut out of SIX_PEOPLE: x0, y0, width, height."""
    box = FACES[seed % len(FACES)]
    shift = seed // len(FACES)
    return max(0, box[0] - 40 - shift % 5), max(0, box[1] - 40 - shift // 5 % 5), 190, 220


def face_box(seed: int) -> tuple[int, int, int, int]:
    """The face's box in ``face_photo(seed)``: x0, y0, x1, y1."""
    left, top, _, _ = photo_frame(seed)
    x0, y0, x1, y1 = FACES[seed % len(FACES)]
    return x0 - left, y0 - top, x1 - left, y1 - top


def face_landmarks(seed: int) -> tuple[float, ...]:
    """The five points in ``face_photo(seed)``, x and y in turn."""
    left, top, _, _ = photo_frame(seed)
    points = LANDMARKS[seed % len(FACES)]
    return tuple(round(p - (left, top)[i % 2], 1) for i, p in enumerate(points))
