"""Alignment: one similarity transform carries a face onto a template."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from fusekit.errors import AlignmentError
from fusekit.faces.template import ARCFACE_112, ARCFACE_SIZE

if TYPE_CHECKING:
    from fusekit.faces.image import RgbImage
    from fusekit.faces.template import Matrix, Points


def fit_similarity(source: Points, target: Points) -> Matrix:
    """Fit the rotation, uniform scale and shift that carry ``source`` onto ``target``.

    Reflections are never returned: a mirrored face is a fault in the landmarks, not a pose.

    Args:
        source: Points to move, ``(N, 2)``, x then y, in source pixels. ``N >= 2``.
        target: Where they should land, ``(N, 2)``, in target pixels.

    Returns:
        ``(2, 3)`` matrix ``M``; a point ``p`` lands at ``M @ [p.x, p.y, 1]``, with the least sum
        of squared distances.

    Raises:
        AlignmentError: The shapes differ, a number is not finite, or all source points coincide.

    Example:
        >>> fit_similarity(np.array([[0.0, 0], [1, 0]]), np.array([[5.0, 5], [5, 7]])).tolist()
        [[0.0, -2.0, 5.0], [2.0, 0.0, 5.0]]

    Reference:
        Umeyama, "Least-squares estimation of transformation parameters between two
        point patterns", PAMI 1991; the planar case, without reflection.
    """
    if source.shape != target.shape or source.ndim != 2 or source.shape[1] != 2:
        raise AlignmentError(
            "fit_similarity",
            f"source has shape {source.shape} and target {target.shape}",
            "two arrays of the same shape (N, 2)",
        )
    # In the plane a similarity is one complex number: scale and rotation together.
    source_c, target_c = (np.asarray(p, np.float64) @ np.array([1, 1j]) for p in (source, target))
    source_mean, target_mean = source_c.mean(), target_c.mean()
    centred = source_c - source_mean
    spread = float((centred.real**2 + centred.imag**2).sum())
    if not (np.isfinite(spread) and np.isfinite(target_c).all()):
        raise AlignmentError("fit_similarity", "a coordinate is not finite")
    if spread == 0:
        raise AlignmentError("fit_similarity", "all source points coincide")
    a = (centred.conj() * (target_c - target_mean)).sum() / spread
    shift = target_mean - a * source_mean
    return np.array([[a.real, -a.imag, shift.real], [a.imag, a.real, shift.imag]])


def align_face(image: RgbImage, landmarks: Points, size: int = ARCFACE_SIZE) -> RgbImage:
    """Cut a face out of a picture so that its landmarks lie on the ArcFace template.

    Bilinear sampling, black outside the picture: the crop that InsightFace's ``norm_crop`` makes.

    Args:
        image: uint8 ``(H, W, 3)`` RGB.
        landmarks: The five points ``(5, 2)``, in source pixels.
        size: Side of the crop in pixels; the template is scaled to it.

    Returns:
        uint8 ``(size, size, 3)`` RGB.

    Raises:
        AlignmentError: As :func:`fit_similarity`.
    """
    matrix = fit_similarity(np.asarray(landmarks, np.float64), ARCFACE_112 * (size / ARCFACE_SIZE))
    return warp(image, matrix, (size, size))


def warp(image: RgbImage, matrix: Matrix, size: tuple[int, int]) -> RgbImage:
    """Move a picture's pixels by a matrix: bilinear, black outside.

    Args:
        image: uint8 ``(H, W, 3)``.
        matrix: ``(2, 3)``, from source pixels to target pixels.
        size: Width and height of the result.

    Returns:
        uint8 ``(height, width, 3)``.
    """
    moved: RgbImage = cv2.warpAffine(
        image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0
    )
    return moved
