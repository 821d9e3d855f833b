"""InsightFace's detectors (RetinaFace-10G, SCRFD): nine outputs, distances from anchor points.

Reference:
    Guo et al., "Sample and computation redistribution for efficient face detection", ICLR 2022.
    Decoding as in InsightFace's ``model_zoo/scrfd.py`` and ``retinaface.py``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from fusekit.faces.boxes import Floats
    from fusekit.faces.image import RgbImage

_STRIDES: Final = (8, 16, 32)
_ANCHORS: Final = 2  # of every place
_SIGNS: Final = np.array([-1, -1, 1, 1], np.float32)  # left, top, right, bottom


class ScrfdNet:
    """A network with scores, box distances and point distances for the strides 8, 16 and 32.

    Args:
        session: The open model.
        outputs: Names of the nine outputs: three of scores, of boxes, of points.
    """

    padding = (0, 0, 0)  # as InsightFace pads

    def __init__(self, session: Any, outputs: tuple[str, ...]) -> None:  # noqa: ANN401
        self._session = session
        self._input = session.get_inputs()[0].name
        self._outputs = list(outputs)

    def candidates(self, image: RgbImage, floor: float) -> tuple[Floats, Floats, Floats]:
        """Find faces, doubles included; as :meth:`RetinaFaceNet.candidates`."""
        pixels = (image.astype(np.float32) - np.float32(127.5)) / np.float32(128)
        blob = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])
        outputs = self._session.run(self._outputs, {self._input: blob})
        boxes, scores, landmarks = [], [], []
        for level, stride in enumerate(_STRIDES):
            score = outputs[level].reshape(-1)
            found = np.flatnonzero(score >= floor)
            points = _places(*image.shape[:2], stride)[found]  # (n, 2)
            distance = outputs[level + 3].reshape(-1, 4)[found] * np.float32(stride)
            offset = outputs[level + 6].reshape(-1, 5, 2)[found] * np.float32(stride)
            boxes.append(np.tile(points, (1, 2)) + distance * _SIGNS)
            scores.append(score[found])
            landmarks.append(points[:, None] + offset)
        return np.concatenate(boxes), np.concatenate(scores), np.concatenate(landmarks)


@lru_cache(maxsize=64)
def _places(height: int, width: int, stride: int) -> Floats:
    """Give the anchor points of one stride, ``(A, 2)`` in pixels: by row, column, anchor."""
    y, x, _ = np.meshgrid(
        np.arange(height // stride), np.arange(width // stride), np.arange(_ANCHORS), indexing="ij"
    )
    return (np.stack([x, y], axis=-1).reshape(-1, 2) * stride).astype(np.float32)
