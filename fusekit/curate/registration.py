"""Tell a copy of a picture from another picture of the same person: lay one over the other.

A copy, however it was compressed, shrunk, brightened, cut or stretched, lies on the original
after an affine map, and then both rise and fall together. Two pictures taken a moment apart don't:
eyes, mouths and light move on their own.

Reference:
    Evangelidis and Psarakis, "Parametric image alignment using enhanced correlation coefficient
    maximization", PAMI 2008.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from fusekit.curate.perceptual_hash import hash_crops

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusekit.faces.image import RgbImage

VERSION: Final = 1

Grey: TypeAlias = npt.NDArray[np.float32]

_SIDE: Final = 112
_FACE: Final = ((56, 66), (30, 40))  # centre and half axes of the ellipse that is compared
_BLUR: Final = 1.0  # sigma in pixels: what compression and shrinking leave alone
_WINDOW: Final = 3  # of the gradient's filter
# What the loop stops at: steps, or a correlation that no longer grows.
_STOP: Final = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 40, 1e-4)


@dataclass(frozen=True)
class Overlay:
    """How one face lies on another after the best affine map.

    Attributes:
        correlation: Of the two, -1 to 1; -1 where no map was found.
        stretch: How many times more the map stretches one direction than the other, from 1.
    """

    correlation: float
    stretch: float


def lay_over(a: RgbImage, b: RgbImage) -> Overlay:
    """Lay one face over another by the affine map that makes them correlate best.

    The face alone is compared, in grey and slightly blurred. A mirrored face must be turned by the
    caller.

    Args:
        a: uint8 ``(112, 112, 3)`` RGB of the ArcFace template.
        b: The same.
    """
    fixed, moving = _prepare(a), _prepare(b)
    matrix = np.eye(2, 3, dtype=np.float32)
    try:
        _, matrix = cv2.findTransformECC(
            fixed, moving, matrix, cv2.MOTION_AFFINE, _STOP, _face(), _WINDOW
        )
    except cv2.error:  # it does not converge: the pictures have nothing in common
        return Overlay(-1.0, 1.0)
    moved = cv2.warpAffine(
        moving, matrix, (_SIDE, _SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    inside = _face() > 0
    x, y = (plane[inside].astype(np.float64) for plane in (fixed, moved))
    x, y = x - x.mean(), y - y.mean()
    spread = float(np.sqrt(np.square(x).sum() * np.square(y).sum()))
    if spread == 0:
        return Overlay(-1.0, 1.0)
    longest, shortest = np.linalg.svd(matrix[:, :2].astype(np.float64), compute_uv=False)
    return Overlay(float((x * y).sum()) / spread, float(longest / max(shortest, 1e-9)))


def lay_pairs(
    left: npt.NDArray[np.int64], right: npt.NDArray[np.int64],
    crop_of: Callable[[int], RgbImage], threads: int,
) -> list[Overlay]:  # fmt: skip
    """Lay samples over each other, or over the mirror image where its hash is nearer.

    Args:
        left: ``(P,)`` row numbers.
        right: ``(P,)`` row numbers.
        crop_of: Reads a row's crop; called from several threads.
        threads: How many pairs are compared at once.

    Returns:
        One for each pair.
    """
    with ThreadPoolExecutor(threads) as pool:
        pairs = pool.map(partial(_lay_pair, crop_of=crop_of), left.tolist(), right.tolist())
        return list(pairs)


def _lay_pair(left: int, right: int, crop_of: Callable[[int], RgbImage]) -> Overlay:
    a, b = crop_of(left), crop_of(right)
    turned = np.ascontiguousarray(b[:, ::-1])
    codes = hash_crops(np.stack([a, b, turned])).codes
    straight, mirrored = (int(np.bitwise_count(codes[0] ^ codes[at]).sum()) for at in (1, 2))
    return lay_over(a, b if straight <= mirrored else turned)


def _prepare(crop: RgbImage) -> Grey:
    grey = cv2.cvtColor(np.ascontiguousarray(crop), cv2.COLOR_RGB2GRAY)
    blurred: Grey = cv2.GaussianBlur(grey, (0, 0), _BLUR).astype(np.float32)
    return blurred


def _face() -> npt.NDArray[np.uint8]:
    mask = np.zeros((_SIDE, _SIDE), np.uint8)
    cv2.ellipse(mask, *_FACE, 0, 0, 360, 1, -1)
    return mask
