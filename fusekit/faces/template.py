"""Where an aligned face lies in its crop: the templates, and how each is brought to ArcFace's.

| template | crop | its pixels in an ArcFace crop | source |
|---|---|---|---|
| `arcface-112` | 112x112 | the same | Deng et al., ArcFace, CVPR 2019 |
| `sphereface-96x112` | 96x112 | 8 pixels further right | Liu et al., SphereFace, CVPR 2017 |
| `dlib-150` | 150x150 | a square of 98.6 around (56.67, 71.67) | dlib's `get_face_chip_details` |
| `ffhq-1024` | 1024x1024 | a square of 146.5 around (55.94, 55.67) | Karras et al., CVPR 2019 |

The first two are the same five points, so that is exact. dlib and FFHQ cut by other landmarks:
their place here is right for the mean face, and off by a pixel or two for one that is turned.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from fusekit.cards.card import CROP_SIZES

Points: TypeAlias = npt.NDArray[np.float64]
"""``(N, 2)`` points, x then y; the five landmarks in DESIGN.md's order unless said otherwise."""

Matrix: TypeAlias = npt.NDArray[np.float64]
"""``(2, 3)``: rotation, scale and shift of the plane."""

ARCFACE_SIZE: Final = 112

ARCFACE_112: Final[Points] = np.array(
    [
        [38.2946, 51.6963],  # left eye, as seen in the image
        [73.5318, 51.5014],  # right eye
        [56.0252, 71.7366],  # nose tip
        [41.5493, 92.3655],  # left mouth corner
        [70.7299, 92.2041],  # right mouth corner
    ]
)
"""The landmarks of a 112x112 crop (Deng et al., ArcFace, CVPR 2019; InsightFace's ``norm_crop``).

The same points 8 pixels further left are the 96x112 template of SphereFace and CosFace.
"""
ARCFACE_112.setflags(write=False)

DLIB_CENTRE: Final = (56.67, 71.67)
DLIB_LENGTH: Final = 98.6
"""The square of a 112x112 ArcFace crop that dlib's recognition network wants to see.

Where dlib itself cuts its chips (``get_face_chip_details``, size 150, padding 0.25) on 496 aligned
crops of LFW: the median centre, and the median side, 98.3 pixels by its 5-point and 99.0 by its
68-point shape predictor. The square reaches 9 pixels below the crop. Matching the templates' eyes
and noses instead puts the square up to 5 pixels too high: ArcFace's nose is the tip, dlib's is
where the nose ends.
"""


def template_matrix(template: str) -> Matrix:
    """Give the similarity that carries a template's crop onto the ArcFace crop.

    Args:
        template: One of :data:`fusekit.cards.card.CROP_SIZES`.

    Returns:
        ``(2, 3)``, from the crop's pixels to those of the 112x112 crop.

    Raises:
        KeyError: There is no such template.

    Example:
        >>> template_matrix("sphereface-96x112").tolist()
        [[1.0, 0.0, 8.0], [0.0, 1.0, 0.0]]
    """
    return _TO_ARCFACE[template].copy()


def _square(centre: tuple[float, float], across: tuple[float, float], size: int) -> Matrix:
    """Give the matrix of a crop that shows a square.

    Args:
        centre: The square's, in ArcFace pixels.
        across: From its centre to the middle of its right side; a quarter turn of it leads down.
        size: Side of the crop, pixels.
    """
    (x, y), (right, down) = centre, across
    per_pixel = 2 / size
    return np.array([
        [right * per_pixel, -down * per_pixel, x - right + down],
        [down * per_pixel, right * per_pixel, y - down - right],
    ])  # fmt: skip


def _ffhq_square() -> tuple[tuple[float, float], tuple[float, float]]:
    """Work out the square that FFHQ's ``download_ffhq.py`` cuts around a face on the template.

    Its eyes are means of each eye's outline and its mouth that of both corners: the template's
    points, as near as five points say.
    """
    left, right, _, mouth_left, mouth_right = ARCFACE_112 @ np.array([1, 1j])
    eyes, mouth = (left + right) / 2, (mouth_left + mouth_right) / 2
    eye_to_eye, eye_to_mouth = right - left, mouth - eyes
    across = eye_to_eye - 1j * eye_to_mouth
    across *= max(2 * abs(eye_to_eye), 1.8 * abs(eye_to_mouth)) / abs(across)
    centre = eyes + 0.1 * eye_to_mouth
    return (centre.real, centre.imag), (across.real, across.imag)


_TO_ARCFACE: Final[dict[str, Matrix]] = {
    "arcface-112": np.array([[1.0, 0, 0], [0, 1, 0]]),
    "sphereface-96x112": np.array([[1.0, 0, 8], [0, 1, 0]]),
    "dlib-150": _square(DLIB_CENTRE, (DLIB_LENGTH / 2, 0), CROP_SIZES["dlib-150"][0]),
    "ffhq-1024": _square(*_ffhq_square(), CROP_SIZES["ffhq-1024"][0]),
}
