"""Where the five landmarks of an aligned face lie: the ArcFace crop and dlib's chip."""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

Points: TypeAlias = npt.NDArray[np.float64]
"""``(N, 2)`` points, x then y; the five landmarks in DESIGN.md's order unless said otherwise."""

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
