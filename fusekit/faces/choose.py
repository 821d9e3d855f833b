"""Which face of a picture is the one that a label is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fusekit.faces.boxes import areas, overlaps

if TYPE_CHECKING:
    from fusekit.faces.boxes import Boxes
    from fusekit.faces.detect import Faces
    from fusekit.faces.template import Points


def choose_face(
    faces: Faces,
    image_size: tuple[int, int],
    hint_box: Boxes | None = None,
    hint_landmarks: Points | None = None,
) -> tuple[int, float | None]:
    """Choose the face that the source means.

    With landmarks of the source: the face whose five points are nearest. With a box: the greatest
    overlap, and when nothing overlaps the nearest centre. With neither: the largest weighted by
    centrality, area - 2·(distance of its centre from the picture's)², InsightFace's rule. Among
    equals the leftmost.

    Args:
        faces: At least one face.
        image_size: Width and height of the picture.
        hint_box: The source's own ``(4,)`` box, x0, y0, x1, y1 in source pixels.
        hint_landmarks: The source's own five points ``(5, 2)``.

    Returns:
        The face's position in ``faces``, and its overlap with the hint (with the source's box, or
        else between the boxes around the five points), 0 to 1; None without a hint.

    Raises:
        ValueError: There is no face to choose from.
    """
    if not len(faces.scores):
        msg = "no face to choose from"
        raise ValueError(msg)
    boxes = np.asarray(faces.boxes, np.float64)
    if hint_landmarks is not None:
        points = np.asarray(hint_landmarks, np.float64)
        distance = ((faces.landmarks - points) ** 2).sum(axis=(1, 2))
        chosen = int(distance.argmin())
        if hint_box is None:
            around = np.concatenate([points.min(axis=0), points.max(axis=0)])
            marks = np.asarray(faces.landmarks[chosen], np.float64)
            inner = np.concatenate([marks.min(axis=0), marks.max(axis=0)])
            return chosen, float(overlaps(inner[None], around)[0])
        return chosen, float(overlaps(boxes[chosen : chosen + 1], np.asarray(hint_box))[0])
    if hint_box is not None:
        shared = overlaps(boxes, np.asarray(hint_box))
        best = _squared_distance(boxes, _centre(np.asarray(hint_box, np.float64)[None])[0])
        chosen = int(shared.argmax()) if shared.any() else int(best.argmin())
        return chosen, float(shared[chosen])
    middle = np.array(image_size, np.float64) / 2
    return int((areas(boxes) - 2 * _squared_distance(boxes, middle)).argmax()), None


def _centre(boxes: Boxes) -> Points:
    return np.asarray((boxes[:, :2] + boxes[:, 2:]) / 2)


def _squared_distance(boxes: Boxes, point: Points) -> Boxes:
    """Give the squared distance of each box's centre from a point."""
    return np.asarray(((_centre(boxes) - point) ** 2).sum(axis=1))
