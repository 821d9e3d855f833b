"""Detection: every face of a picture, as boxes, scores and five landmarks in its own pixels.

The picture is looked at once as a whole. The landmarks of these networks are best where a face is
100 to 300 pixels long in the network's eyes, so a face found smaller or larger than that is looked
at a second time, cut out and brought to 160 pixels. On crops of known landmarks that halves the
mean error at 64 pixels and at 640, where one look is at its worst.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import cv2
import numpy as np

from fusekit.faces.boxes import overlaps, suppress
from fusekit.faces.retinaface import RetinaFaceNet
from fusekit.faces.scrfd import ScrfdNet
from fusekit.models.onnx_graph import detector_layout, read_graph
from fusekit.models.session import open_session

if TYPE_CHECKING:
    from fusekit.faces.boxes import Boxes, Floats
    from fusekit.faces.image import RgbImage
    from fusekit.models.registry import ResolvedModel

_GRID: Final = 32  # input sides are multiples of the coarsest stride
_MAX_ENLARGE: Final = 4.0


@dataclass(frozen=True)
class Faces:
    """The faces of one picture, left to right by ``x0``, then by ``y0``.

    Attributes:
        boxes: float32 ``(N, 4)``: x0, y0, x1, y1 in source pixels; may reach outside the picture.
        scores: float32 ``(N,)``, 0 to 1.
        landmarks: float32 ``(N, 5, 2)``: left eye, right eye, nose, left and right mouth corner as
            seen in the image, x then y, in source pixels.
    """

    boxes: Floats
    scores: Floats
    landmarks: Floats

    def __len__(self) -> int:
        return len(self.scores)


class Detector(Protocol):
    """Finds the faces of a picture."""

    def detect(self, image: RgbImage) -> Faces:
        """Find all faces of a uint8 ``(H, W, 3)`` RGB picture."""
        ...


@dataclass(frozen=True)
class DetectionSettings:
    """What decides which faces are found, and where; part of a run's fingerprint.

    Attributes:
        longest: A larger picture is looked at with its longer side brought down to this, in
            pixels.
        shortest: A picture whose longer side is less is enlarged to it, four times at most.
        floor: Least score of a face; weaker ones are not reported at all.
        max_overlap: Of two faces that overlap more (intersection over union), the weaker goes.
        again_below: A face shorter than this in the first look gets a second one, in pixels.
        again_above: And so does a face longer than this.
        again_size: Length of a face in its second look, in pixels.
        least_again: Faces shorter than this in the picture itself get no second look.
    """

    longest: int = 640
    shortest: int = 192
    floor: float = 0.5
    max_overlap: float = 0.4
    again_below: float = 96.0
    again_above: float = 288.0
    again_size: float = 160.0
    least_again: float = 16.0


class _Net(Protocol):
    padding: tuple[int, int, int]

    def candidates(self, image: RgbImage, floor: float) -> tuple[Floats, Floats, Floats]: ...


class FaceDetector:
    """A detector of the RetinaFace family.

    Args:
        net: The network with its decoding.
        fixed: Width and height of its input where the graph fixes them.
        settings: How it looks.
    """

    def __init__(
        self, net: _Net, fixed: tuple[int, int] | None, settings: DetectionSettings
    ) -> None:
        self._net = net
        self._fixed = fixed
        self._settings = settings

    def detect(self, image: RgbImage) -> Faces:
        """Find all faces of a picture; the same picture always gives the same numbers.

        Args:
            image: uint8 ``(H, W, 3)`` RGB.
        """
        height, width = image.shape[:2]
        scale = self._first_scale(width, height)
        boxes, scores, landmarks = self._look(image, (0, 0, width, height), scale)
        for i in np.flatnonzero(self._worth_another(boxes, scale)):
            again = self._look_again(image, boxes[i])
            if again is not None:
                boxes[i], landmarks[i] = again[0], again[2]
                scores[i] = max(scores[i], again[1])
        # Two faces of the first look may turn out to be one in the second.
        kept = suppress(boxes, scores, self._settings.max_overlap)
        order = kept[np.lexsort((boxes[kept, 1], boxes[kept, 0]))]
        return Faces(
            boxes[order].astype(np.float32),
            scores[order].astype(np.float32),
            landmarks[order].astype(np.float32),
        )

    def _first_scale(self, width: int, height: int) -> float:
        longer = max(width, height)
        if longer > self._settings.longest:
            scale = self._settings.longest / longer
        else:
            scale = min(_MAX_ENLARGE, max(1.0, self._settings.shortest / longer))
        return self._fitting(scale, width, height)

    def _fitting(self, scale: float, width: int, height: int) -> float:
        """Lower a scale until so large a region fits an input whose size is fixed."""
        if self._fixed is None:
            return scale
        return min(scale, self._fixed[0] / width, self._fixed[1] / height)

    def _worth_another(self, boxes: Boxes, scale: float) -> Any:  # noqa: ANN401 - bool (N,)
        length = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
        seen = length * scale
        odd = (seen < self._settings.again_below) | (seen > self._settings.again_above)
        return odd & (length >= self._settings.least_again)

    def _look_again(self, image: RgbImage, box: Boxes) -> tuple[Boxes, float, Boxes] | None:
        """Find the same face in a square around it, twice its length; None when it is gone."""
        length = float((box[2:] - box[:2]).max())
        inside = np.array(image.shape[1::-1])
        x, y = np.clip((box[:2] + box[2:]) / 2, 0, inside).tolist()
        region = (round(x - length), round(y - length), round(x + length), round(y + length))
        boxes, scores, landmarks = self._look(image, region, self._settings.again_size / length)
        shared = overlaps(boxes, box)
        if not (shared > self._settings.max_overlap).any():
            return None
        best = int(shared.argmax())
        return boxes[best], float(scores[best]), landmarks[best]

    def _look(
        self, image: RgbImage, region: tuple[int, int, int, int], scale: float
    ) -> tuple[Boxes, Floats, Boxes]:
        """Run the network on a region of the picture, which may reach outside it.

        Returns:
            Boxes ``(N, 4)``, scores ``(N,)``, landmarks ``(N, 5, 2)`` in source pixels, without
            doubles, best first.
        """
        canvas, x, y, sx, sy = self._draw(image, region, scale)
        boxes, scores, landmarks = self._net.candidates(canvas, self._settings.floor)
        sound = np.isfinite(boxes).all(axis=1) & np.isfinite(landmarks).all(axis=(1, 2))
        boxes, scores, landmarks = boxes[sound], scores[sound], landmarks[sound]
        kept = suppress(boxes, scores, self._settings.max_overlap)
        points = np.array([x, y]) + landmarks[kept] / np.array([sx, sy])
        corners = np.array([x, y, x, y]) + boxes[kept] / np.array([sx, sy, sx, sy])
        return corners, scores[kept], points

    def _draw(
        self, image: RgbImage, region: tuple[int, int, int, int], scale: float
    ) -> tuple[RgbImage, float, float, float, float]:
        """Draw a region of the picture, scaled, on a canvas that the network takes.

        Returns:
            The canvas; the source point that lies at its corner; scales along x and y.
        """
        x0, y0, x1, y1 = region
        scale = self._fitting(scale, x1 - x0, y1 - y0)
        left, top = max(x0, 0), max(y0, 0)
        part = image[top : max(y1, 0), left : max(x1, 0)]
        height, width = part.shape[:2]
        w, h = max(1, round(width * scale)), max(1, round(height * scale))
        if (w, h) != (width, height):
            how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            part = cv2.resize(part, (w, h), interpolation=how)
        shift_x, shift_y = round((left - x0) * scale), round((top - y0) * scale)
        if self._fixed:
            across, down = self._fixed
        else:
            across = _on_grid(max(shift_x + w, round((x1 - x0) * scale)))
            down = _on_grid(max(shift_y + h, round((y1 - y0) * scale)))
        shift_x, shift_y = min(shift_x, across - w), min(shift_y, down - h)
        canvas = np.empty((down, across, 3), np.uint8)
        canvas[:] = self._net.padding
        canvas[shift_y : shift_y + h, shift_x : shift_x + w] = part
        sx, sy = w / width, h / height
        return canvas, left - shift_x / sx, top - shift_y / sy, sx, sy


def open_detector(
    model: ResolvedModel, settings: DetectionSettings = DetectionSettings()
) -> FaceDetector:
    """Open a detector; a worker process does this once.

    Args:
        model: From :func:`fusekit.models.registry.resolve_model`, of the task ``detect``.
        settings: How it looks at pictures.

    Raises:
        ModelError: The file is no detector in a known layout, or onnxruntime can't open it.
    """
    cv2.setNumThreads(0)  # a worker process owns one core
    layout = detector_layout(read_graph(model.path), model.path)
    session = open_session(model.path)
    net = (
        RetinaFaceNet(session, layout.outputs)
        if layout.name == "retinaface"
        else ScrfdNet(session, layout.outputs)
    )
    return FaceDetector(net, layout.fixed_size, settings)


def _on_grid(length: int) -> int:
    return -(-length // _GRID) * _GRID
