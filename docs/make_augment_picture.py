"""Draw docs/images/augment.png: python docs/make_augment_picture.py

The face is drawn here, in the place where the ArcFace template has eyes, nose and mouth.
"""

from pathlib import Path

import cv2
import numpy as np

from fusekit.loader.crops.augment import OPERATIONS, Augment
from fusekit.loader.crops.augmenter import Augmenter
from fusekit.report.contact_sheet import Tile, draw_contact_sheet

PICTURE = Path(__file__).parent / "images/augment.png"
FINE = 8  # drawn larger, then averaged, so that no edge is jagged
FIRST, EACH = 26, 5  # keys of which some flip and some do not


def draw_face():
    """A face of 112x112, lit from one side and with a parting, so that a flip is seen."""
    side = 112 * FINE
    face = np.empty((side, side, 3), np.float32)
    face[:] = np.linspace((96, 122, 140), (150, 168, 172), side)[:, None]

    def ellipse(centre, axes, colour, angle=0.0, start=0.0, end=360.0, width=-1.0):
        centre, axes = (tuple(round(v * FINE) for v in pair) for pair in (centre, axes))
        thick = -1 if width < 0 else round(width * FINE)
        cv2.ellipse(face, centre, axes, angle, start, end, colour, thick, cv2.LINE_AA)

    ellipse((56, 124), (54, 26), (64, 84, 120))
    ellipse((56, 108), (19, 20), (190, 142, 116))
    ellipse((56, 46), (47, 48), (58, 38, 28))
    ellipse((56, 65), (38, 49), (222, 176, 148))
    ellipse((66, 22), (38, 22), (58, 38, 28), angle=18)
    ellipse((26, 28), (13, 22), (58, 38, 28), angle=28)
    for x, lid in ((38.3, -8), (73.5, 8)):
        ellipse((x, 43), (9.5, 4.5), (60, 40, 30), lid, 195, 345, 2.4)
        ellipse((x, 51.6), (7.6, 4.2), (246, 242, 238))
        ellipse((x, 51.6), (3.7, 3.9), (72, 104, 96))
        ellipse((x, 51.6), (1.8, 1.9), (18, 18, 20))
        ellipse((x - 1.2, 50.3), (0.8, 0.8), (255, 255, 255))
        ellipse((x, 51.8), (8, 4.6), (96, 62, 50), 0, 185, 355, 1.1)
    ellipse((54, 67), (4, 12), (206, 156, 128), 8, 100, 260, 1.6)
    ellipse((56, 72.5), (7, 4), (176, 122, 98), 0, 15, 165, 1.8)
    ellipse((56.1, 91), (14.6, 6), (178, 76, 76), 0, 0, 180)
    ellipse((56.1, 90.5), (14.6, 2.6), (196, 96, 92), 0, 180, 360)
    ellipse((56.1, 91.3), (14, 1.2), (112, 44, 48), 0, 0, 180, 0.9)
    ellipse((31, 80), (1.3, 1.3), (110, 66, 52))
    light = np.linspace(1.14, 0.74, side, dtype=np.float32)[None, :, None]
    shaded = cv2.GaussianBlur(face, (0, 0), 0.45 * FINE) * light
    small = cv2.resize(shaded, (112, 112), interpolation=cv2.INTER_AREA)
    return np.clip(small, 0, 255).astype(np.uint8)


def augmented(face, fields):
    """The first few keys' crops."""
    crops = np.stack([face] * EACH)
    Augmenter(Augment.of(fields), 112, 112).run(
        crops, np.arange(FIRST, FIRST + EACH, dtype=np.uint64)
    )
    return crops


def main():
    face = draw_face()
    rows = {name: {"flip": 0, name: 1} for name in OPERATIONS}
    rows["flip"] = {}
    rows["cutout"] |= {"cutout_area": (0.02, 0.2)}
    rows |= {"crop, mask": {"flip": 0, "crop": 1, "crop_mode": "mask"}}
    rows |= {"all at 0.3": dict.fromkeys(OPERATIONS, 0.3)}
    order = ["flip", "crop", "crop, mask", "color", "grayscale", "blur", "downscale", "jpeg"]
    tiles = []
    for group, name in enumerate([*order, "cutout", "all at 0.3"]):
        for key, crop in enumerate(augmented(face, rows[name]), FIRST):
            tiles.append(Tile(crop, name, f"key {key}", group))
    sheet = draw_contact_sheet(
        tiles, f"One drawn face, keys {FIRST} to {FIRST + EACH - 1}", columns=2 * EACH
    )
    cv2.imwrite(
        str(PICTURE), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 9]
    )


if __name__ == "__main__":
    main()
