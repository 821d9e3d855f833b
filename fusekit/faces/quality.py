"""Figures of a face's quality: exact on any machine, each with its formula."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from fusekit.faces.image import RgbImage
    from fusekit.faces.template import Points

_GREY_SPREAD: Final = 2  # levels; JPEG's rounding of grey pictures stays under it
_NOSE_DEPTH: Final = 0.5  # nose tip before the eyes' line, as a share of the eyes' distance


@dataclass(frozen=True)
class Quality:
    """What a crop's pixels say.

    Attributes:
        sharpness: Variance of the 4-neighbour Laplacian of the grey crop, inner pixels only.
        brightness: Mean of the grey crop, 0 to 255.
        channels: 1 when the crop is grey (largest minus smallest channel is at most 2 levels on
            average), else 3.
    """

    sharpness: float
    brightness: float
    channels: int


def measure_crop(crop: RgbImage) -> Quality:
    """Measure a crop's sharpness, brightness and colour.

    Grey is ``(299 R + 587 G + 114 B + 500) // 1000``. All sums are of integers and each figure is
    one division at the end, so the same pixels give the same figures on any machine.

    Args:
        crop: uint8 ``(H, W, 3)`` RGB, at least 3x3.

    Example:
        >>> measure_crop(np.full((3, 3, 3), 100, np.uint8))
        Quality(sharpness=0.0, brightness=100.0, channels=1)
    """
    red, green, blue = (np.ascontiguousarray(crop[..., c], np.int32) for c in range(3))
    grey = (299 * red + 587 * green + 114 * blue + 500) // 1000  # (H, W)
    laplacian = (
        grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * grey[1:-1, 1:-1]
    )
    n, total = laplacian.size, int(laplacian.sum(dtype=np.int64))
    squares = int((laplacian * laplacian).sum(dtype=np.int64))
    brightest = np.maximum(np.maximum(red, green), blue)
    spread = int((brightest - np.minimum(np.minimum(red, green), blue)).sum(dtype=np.int64))
    return Quality(
        sharpness=(n * squares - total * total) / (n * n),
        brightness=int(grey.sum()) / grey.size,
        channels=1 if spread <= _GREY_SPREAD * grey.size else 3,
    )


def eye_distance(landmarks: Points) -> float:
    """Give the distance between the eyes in pixels.

    Example:
        >>> eye_distance(np.array([[0.0, 0], [3, 4], [0, 0], [0, 0], [0, 0]]))
        5.0
    """
    left, right = (np.asarray(point, np.float64) for point in landmarks[:2])
    return math.sqrt(float(right[0] - left[0]) ** 2 + float(right[1] - left[1]) ** 2)


def estimate_yaw(landmarks: Points) -> float:
    """Estimate how far a head is turned, from where the nose stands between the eyes.

    With ``u`` the vector from the left to the right eye, ``m`` its middle and ``n`` the nose tip,
    ``yaw = atan2((n - m)·u / |u|, |u| / 2)``: a turn by ``yaw`` shortens ``|u|`` by its cosine and
    moves a nose that stands half an eye distance before the eyes' line by its sine. Roll drops
    out; pitch nearly so. It orders faces by pose, and is no goniometer.

    Args:
        landmarks: The five points ``(5, 2)``, as seen in the image.

    Returns:
        Degrees, -90 to 90: 0 frontal, positive when the nose points to the image's right; 0 when
        the eyes coincide.

    Example:
        >>> round(estimate_yaw(np.array([[0.0, 0], [10, 0], [10, 6], [1, 9], [8, 9]])))
        45
    """
    (ax, ay), (bx, by), (nx, ny) = np.asarray(landmarks[:3], np.float64).tolist()
    ux, uy = bx - ax, by - ay
    length = math.sqrt(ux * ux + uy * uy)
    if length == 0:
        return 0.0
    along = ((nx - (ax + bx) / 2) * ux + (ny - (ay + by) / 2) * uy) / length
    return math.degrees(math.atan2(along, length * _NOSE_DEPTH))
