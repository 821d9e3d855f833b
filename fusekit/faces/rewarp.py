"""Crops of other templates, brought to the ArcFace crop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from fusekit.cards.card import CROP_SIZES
from fusekit.faces.template import ARCFACE_SIZE, template_matrix

if TYPE_CHECKING:
    from fusekit.faces.image import RgbImage
    from fusekit.faces.template import Matrix

_ARCFACE: Final = (ARCFACE_SIZE, ARCFACE_SIZE)


@dataclass(frozen=True, eq=False)
class Rewarp:
    """Carries crops of one template onto the ArcFace crop: bilinear, black outside.

    Attributes:
        size: Width and height of the template's crops.
        shrink: They are first averaged down so many times, where bilinear sampling alone would
            leave out most of their pixels.
        matrix: ``(2, 3)``, from the pixels of what is left to those of the ArcFace crop.
    """

    size: tuple[int, int]
    shrink: int
    matrix: Matrix

    @classmethod
    def of(cls, template: str) -> Rewarp:
        """Make it for a template.

        Raises:
            KeyError: There is no such template.

        Example:
            >>> Rewarp.of("ffhq-1024").shrink, Rewarp.of("dlib-150").shrink
            (4, 1)
        """
        matrix = template_matrix(template)
        scale = float(np.hypot(*matrix[:, 0]))
        shrink = 1
        while 2 * shrink * scale <= 1:
            shrink *= 2
        # The centre of a shrunk pixel v lies at shrink * v + (shrink - 1) / 2.
        matrix[:, 2] += matrix[:, :2].sum(axis=1) * (shrink - 1) / 2
        matrix[:, :2] *= shrink
        return cls(CROP_SIZES[template], shrink, matrix)

    def __call__(self, crop: RgbImage, out: RgbImage | None = None) -> RgbImage:
        """Carry one crop.

        Args:
            crop: uint8 ``(H, W, 3)`` of the template's size.
            out: uint8 ``(112, 112, 3)``, C order, to write into; None: new memory.

        Returns:
            uint8 ``(112, 112, 3)``: ``out`` where it is given.
        """
        if self.shrink > 1:
            width, height = self.size
            smaller = (width // self.shrink, height // self.shrink)
            crop = cv2.resize(crop, smaller, interpolation=cv2.INTER_AREA)
        moved: RgbImage = cv2.warpAffine(
            crop, self.matrix, _ARCFACE, dst=out, flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT, borderValue=0,
        )  # fmt: skip
        return moved
