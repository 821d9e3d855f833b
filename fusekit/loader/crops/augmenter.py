"""Changing crops by chance, where every choice follows from the sample's key alone."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, Final, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

from fusekit.errors import LoaderError
from fusekit.rng import U64, derive, rank_words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fusekit.loader.crops.augment import Augment, Range

Pixels: TypeAlias = npt.NDArray[np.uint8]
Numbers: TypeAlias = npt.NDArray[np.int64]
Edit: TypeAlias = "Callable[[Pixels], None]"
Box: TypeAlias = tuple[int, int, int, int]  # first row, first column, rows, columns

# Lanczos is left out: it takes ten times as long as the others.
_INTERPOLATIONS: Final = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_AREA, cv2.INTER_CUBIC)
_GREY: Final = np.array([77, 150, 29], np.int64)  # luma of BT.601 in 1/256; white stays white
_ONE: Final = 256  # a gain of 1, as drawn
# A colour map is in 1/512 and rounds at odd 1/1024: its sums are exact in 32-bit floats and in
# OpenCV's 10-bit integers, and none lies half-way, so every machine gives the same pixels.
_UNIT: Final = 512
_HALF_WAY: Final = 1 / 1024
_GREY_MAP: Final = np.array([[*(_GREY / 256), _HALF_WAY]] * 3, np.float32)  # (3, 4)


class Augmenter:
    """Change crops as their keys say; one object serves one thread.

    What happens to a crop is a pure function of the settings and its key: of no neighbour, no
    order, no thread. Each operation and each of its numbers is drawn under a name of its own, so
    switching one on changes no other's choices.

    The pixels of flip, colour, grayscale, masking and cutout are the same on every machine. Those
    of resizing, blur and JPEG are the libraries' (OpenCV, libjpeg-turbo), whose releases may
    differ by a level here and there.

    Args:
        settings: What may happen, how often and how strongly.
        height: Rows of every crop.
        width: Columns of every crop.
    """

    def __init__(self, settings: Augment, height: int, width: int) -> None:
        self._settings = settings
        self._height, self._width = height, width
        self._scratch = np.empty((height, width, 3), np.uint8)
        self._small = np.empty(height * width * 3, np.uint8)
        draws: dict[str, Callable[[U64], Sequence[Edit]]] = {
            "crop": self._crops, "flip": self._flips, "color": self._colors,
            "grayscale": self._grayscales, "blur": self._blurs, "downscale": self._downscales,
            "jpeg": self._jpegs, "cutout": self._cutouts,
        }  # fmt: skip
        self._active = [
            (name, _last(getattr(settings, name)), draws[name]) for name in settings.active
        ]

    @property
    def only_flips(self) -> bool:
        """Whether crops are mirrored, or not, and nothing else happens to them."""
        return [name for name, _, _ in self._active] == ["flip"]

    def flips(self, keys: U64) -> npt.NDArray[np.bool_]:
        """Decide which of some crops are mirrored: ``(n,)``, for uint64 keys ``(n,)``.

        Raises:
            LoaderError: The keys are no uint64.
        """
        _check_keys(keys)
        last = next((last for name, last, _ in self._active if name == "flip"), None)
        if last is None:
            return np.zeros(len(keys), np.bool_)
        return np.asarray(_bits(keys, "flip") <= last)

    def run(self, images: Pixels, keys: U64) -> None:
        """Change crops in place.

        Args:
            images: RGB, uint8, ``(n, H, W, 3)``, C order.
            keys: uint64, ``(n,)``; equal keys are changed alike.

        Raises:
            LoaderError: The arrays are of another shape, type or order.
        """
        shape = (len(keys), *self._scratch.shape)
        if images.shape != shape or images.dtype != np.uint8 or not images.flags.c_contiguous:
            raise LoaderError(
                "images", f"are {images.dtype} {images.shape}", f"uint8 {shape} in C order"
            )
        for image, edits in zip(images, self.choose(keys), strict=True):
            for edit in edits:
                edit(image)

    def choose(self, keys: U64) -> list[list[Edit]]:
        """Decide what happens to each of some crops, for callers that hold one crop at a time.

        Args:
            keys: uint64, ``(n,)``.

        Returns:
            Per key, what to call on its crop, in this order; a crop is RGB, uint8, ``(H, W, 3)``
            in C order and is changed in place. Only this object's thread may call them.

        Raises:
            LoaderError: The keys are no uint64.
        """
        _check_keys(keys)
        edits: list[list[Edit]] = [[] for _ in range(len(keys))]
        for name, last, draw in self._active:
            rows = np.flatnonzero(_bits(keys, name) <= last)
            if len(rows):
                for row, edit in zip(rows.tolist(), draw(keys[rows]), strict=True):
                    edits[row].append(edit)
        return edits

    def _crops(self, keys: U64) -> list[Edit]:
        settings = self._settings
        edit = self._resize if settings.crop_mode == "resize" else self._mask
        boxes = self._boxes(keys, "crop", settings.crop_area, settings.crop_aspect)
        return [partial(edit, box) for box in boxes]

    def _resize(self, box: Box, image: Pixels) -> None:
        y, x, height, width = box
        np.copyto(
            image,
            cv2.resize(
                image[y : y + height, x : x + width], (self._width, self._height),
                dst=self._scratch, interpolation=cv2.INTER_LINEAR,
            ),
        )  # fmt: skip

    def _mask(self, box: Box, image: Pixels) -> None:
        y, x, height, width = box
        image[:y] = image[y + height :] = 0
        image[y : y + height, :x] = image[y : y + height, x + width :] = 0

    def _flips(self, keys: U64) -> list[Edit]:
        return [_flip] * len(keys)

    def _colors(self, keys: U64) -> list[Edit]:
        settings = self._settings
        saturation, contrast, brightness, red, green, blue = (
            _gains(keys, f"color {name}", extent)
            for name, extent in (
                ("saturation", settings.saturation), ("contrast", settings.contrast),
                ("brightness", settings.brightness), ("red", settings.tint),
                ("green", settings.tint), ("blue", settings.tint),
            )
        )  # fmt: skip
        tints = brightness[:, None] * np.stack([red, green, blue], axis=1)  # (n, 3) in 2**-16
        mixing = saturation[:, None, None] * np.eye(3, dtype=np.int64) * _ONE
        mixing = mixing + (_ONE - saturation)[:, None, None] * _GREY  # (n, 3, 3) in 2**-16
        gains = mixing * contrast[:, None, None] * tints[:, :, None]  # in 2**-40, under 2**46
        maps = np.full((len(keys), 3, 4), _HALF_WAY, np.float32)
        maps[:, :, :3] = ((gains + (1 << 30)) >> 31) / _UNIT
        lifts = (_ONE - contrast)[:, None] * tints  # (n, 3) in 2**-24, to be times the mean grey
        return [
            partial(self._color, each, lift)
            for each, lift in zip(maps, lifts.tolist(), strict=True)
        ]

    def _color(self, gains: npt.NDArray[np.float32], lifts: list[int], image: Pixels) -> None:
        if any(lifts):
            sums = [int(each) for each in cv2.sumElems(image)[:3]]
            mean = sum(s * int(w) for s, w in zip(sums, _GREY, strict=True)) // (
                256 * self._height * self._width
            )
            gains = gains.copy()
            gains[:, 3] += [((lift * mean + (1 << 14)) >> 15) / _UNIT for lift in lifts]
        np.copyto(image, cv2.transform(image, gains, dst=self._scratch))

    def _grayscales(self, keys: U64) -> list[Edit]:
        return [self._grayscale] * len(keys)

    def _grayscale(self, image: Pixels) -> None:
        np.copyto(image, cv2.transform(image, _GREY_MAP, dst=self._scratch))

    def _blurs(self, keys: U64) -> list[Edit]:
        sigmas = _between(_draw(keys, "blur sigma"), self._settings.blur_sigma)
        return [partial(self._blur, sigma) for sigma in sigmas.tolist()]

    def _blur(self, sigma: float, image: Pixels) -> None:
        # A size of 0 is OpenCV's own choice: three standard deviations on each side.
        np.copyto(image, cv2.GaussianBlur(image, (0, 0), sigma, dst=self._scratch))

    def _downscales(self, keys: U64) -> list[Edit]:
        sides = _between(_draw(keys, "downscale side"), self._settings.downscale_side)
        heights, widths = (
            np.maximum(np.floor(sides * side), 1).astype(np.int64).tolist()
            for side in (self._height, self._width)
        )
        down, up = (
            _below(keys, f"downscale {way}", len(_INTERPOLATIONS)).tolist()
            for way in ("down", "up")
        )
        return [
            partial(self._downscale, *each) for each in zip(heights, widths, down, up, strict=True)
        ]

    def _downscale(self, height: int, width: int, down: int, up: int, image: Pixels) -> None:
        small = self._small[: height * width * 3].reshape(height, width, 3)
        cv2.resize(image, (width, height), dst=small, interpolation=_INTERPOLATIONS[down])
        cv2.resize(small, (self._width, self._height), dst=image, interpolation=_INTERPOLATIONS[up])

    def _jpegs(self, keys: U64) -> list[Edit]:
        lowest, highest = self._settings.jpeg_quality
        qualities = lowest + _below(keys, "jpeg quality", highest - lowest + 1)
        return [partial(_jpeg, quality) for quality in qualities.tolist()]

    def _cutouts(self, keys: U64) -> list[Edit]:
        settings = self._settings
        boxes = self._boxes(keys, "cutout", settings.cutout_area, settings.cutout_aspect)
        return [partial(_cutout, box, settings.cutout_fill) for box in boxes]

    def _boxes(self, keys: U64, name: str, area: Range, aspect: float) -> list[Box]:
        """Draw rectangles inside the crop, of some share of its area and some aspect."""
        share = _between(_draw(keys, f"{name} area"), area)
        ratio = _between(_draw(keys, f"{name} aspect"), (1.0, aspect))
        # No logarithm: only what IEEE 754 rounds in one way, so that boxes are alike everywhere.
        ratio = np.where(_below(keys, f"{name} upright", 2) == 1, ratio, 1 / ratio)
        height = _side(np.sqrt(share * ratio), self._height)
        width = _side(np.sqrt(share / ratio), self._width)
        y = _below(keys, f"{name} y", self._height - height + 1)
        x = _below(keys, f"{name} x", self._width - width + 1)
        columns = (column.tolist() for column in (y, x, height, width))
        return list(zip(*columns, strict=True))


def _check_keys(keys: U64) -> None:
    if keys.dtype != np.uint64 or keys.ndim != 1:
        raise LoaderError("keys", f"are {keys.dtype} {keys.shape}", "uint64 (n,)")


def _flip(image: Pixels) -> None:
    cv2.flip(image, 1, dst=image)


def _jpeg(quality: int, image: Pixels) -> None:
    data = simplejpeg.encode_jpeg(image, quality=quality, colorsubsampling="420")
    simplejpeg.decode_jpeg(data, "RGB", buffer=image)


def _cutout(box: Box, fill: int, image: Pixels) -> None:
    y, x, height, width = box
    image[y : y + height, x : x + width] = fill


def _side(share: npt.NDArray[np.float64], side: int) -> Numbers:
    return np.clip(np.rint(share * side), 1, side).astype(np.int64)


@cache
def _name_key(name: str) -> int:
    return derive("augment", name)


def _bits(keys: U64, name: str) -> U64:
    return rank_words(keys[:, None], _name_key(name))


def _last(probability: float) -> np.uint64:
    """Give the last of the numbers that say yes, among 2**64; the probability is over 0."""
    return np.uint64(max(round(probability * 2.0**64), 1) - 1)


def _draw(keys: U64, name: str) -> npt.NDArray[np.float64]:
    """Draw a number of [0, 1) for each key."""
    return np.asarray((_bits(keys, name) >> np.uint64(11)) * 2.0**-53)


def _below(keys: U64, name: str, count: int | Numbers) -> Numbers:
    """Draw an integer of [0, count) for each key."""
    return np.asarray(
        ((_bits(keys, name) >> np.uint64(32)) * np.asarray(count, np.uint64)) >> np.uint64(32)
    ).astype(np.int64)


def _between(draw: npt.NDArray[np.float64], extent: Range) -> npt.NDArray[np.float64]:
    low, high = extent
    # Clipped, since the last bit of the sum may pass the end.
    return np.minimum(low + draw * (high - low), high)


def _gains(keys: U64, name: str, extent: Range) -> Numbers:
    return np.rint(_between(_draw(keys, name), extent) * _ONE).astype(np.int64)
