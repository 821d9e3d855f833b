"""What is done to crops before the trainer sees them: the settings, and how they are written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Literal, Self, TypeAlias, TypeGuard

from fusekit.cards.checking import nearest
from fusekit.errors import LoaderError

Range: TypeAlias = tuple[float, float]
CropMode: TypeAlias = Literal["resize", "mask"]

OPERATIONS: Final = ("crop", "flip", "color", "grayscale", "blur", "downscale", "jpeg", "cutout")
"""The operations in the order in which a crop goes through them; each field is a probability."""

_MOST_GAIN: Final = 2.0  # so that the colour map's sums stay exact in 32-bit floats
_MOST_SIGMA: Final = 20.0
_MOST_ASPECT: Final = 10.0
_RANGES: Final = {
    "crop_area": (0.01, 1.0),
    "brightness": (0.0, _MOST_GAIN),
    "contrast": (0.0, _MOST_GAIN),
    "saturation": (0.0, _MOST_GAIN),
    "tint": (0.0, _MOST_GAIN),
    "blur_sigma": (0.1, _MOST_SIGMA),
    "downscale_side": (0.01, 1.0),
    "cutout_area": (0.001, 1.0),
}


@dataclass(frozen=True)
class Augment:
    """Which operations a crop goes through, how often and how strongly.

    A crop goes through them in one fixed order: geometry (crop, flip), colour (colour,
    grayscale), what cameras and networks do to a picture (blur, downscale, JPEG), cutout. Each
    is decided for itself; by default only the flip ever happens. A range is two numbers, of which
    a value between is drawn evenly, and of equal numbers is that number.

    Attributes:
        flip: Probability of mirroring left and right.
        crop: Probability of keeping a random rectangle only. With ``crop_mode="resize"`` the
            landmarks move: the crop no longer fits its template.
        crop_area: Range of the rectangle's share of the area.
        crop_aspect: Most that the rectangle's sides differ from the crop's own, from 1 on; the
            ratio is drawn between 1 and this, for the height as often as for the width.
        crop_mode: ``"resize"`` enlarges the rectangle to the whole; ``"mask"`` leaves it where it
            is and blackens the rest, so that the landmarks stay (AdaFace's).
        color: Probability of other colours: saturation, contrast, brightness and tint in one
            map, each with its own draw.
        brightness: Range of the gain of all three colours, 0 to 2.
        contrast: Range of the gain of the distance to the crop's mean grey, 0 to 2.
        saturation: Range of the gain of the distance to each pixel's own grey, 0 to 2.
        tint: Range of a gain that each colour draws for itself, 0 to 2: light of another colour.
        grayscale: Probability of equal red, green and blue.
        blur: Probability of a Gaussian blur.
        blur_sigma: Range of its standard deviation, in pixels of the crop, 0.1 to 20.
        downscale: Probability of a loss of resolution: to fewer pixels and back, each by nearest,
            linear, area or cubic interpolation, drawn.
        downscale_side: Range of the smaller picture's side, as a share of the crop's.
        jpeg: Probability of a JPEG compression, with colours at half the resolution.
        jpeg_quality: Range of its quality, integers of 1 to 100.
        cutout: Probability of covering a random rectangle.
        cutout_area: Range of the rectangle's share of the area.
        cutout_aspect: Most that its sides differ from the crop's own, as ``crop_aspect``.
        cutout_fill: What covers it, 0 to 255 in all colours; 127 is about 0 once a trainer has
            subtracted 127.5.

    Raises:
        LoaderError: A field's value cannot be; the field is named.

    Example:
        >>> Augment(jpeg=0.2).jpeg_quality
        (30, 90)
        >>> Augment.of("none").active
        ()
        >>> Augment.of({"flip": 0.5, "blur": 0.1}).active
        ('flip', 'blur')

    Reference:
        Kim, Jain and Liu, "AdaFace: quality adaptive margin for face recognition", CVPR 2022, and
        its published code: crop, photometric and low-resolution augmentation, each with
        probability 0.2; areas 0.2 to 1, gains 0.5 to 1.5, sides 0.2 to 1, Lanczos interpolation
        beside the four here. Krizhevsky, Sutskever and Hinton, "ImageNet classification with
        deep convolutional neural networks", NIPS 2012, 4.1 (identity does not change with the
        light's colour: tint). Chen et al., "A simple framework for contrastive learning of
        visual representations", ICML 2020, appendix A (grayscale, and blur up to sigma 2 of a
        crop twice as wide). DeVries and Taylor, "Improved regularization of convolutional
        neural networks with cutout", 2017 (the fill). Zhong et al., "Random erasing data
        augmentation", AAAI 2020 (areas from 0.02 to 0.4 and an aspect of 1/0.3).
    """

    flip: float = 0.5
    crop: float = 0.0
    crop_area: Range = (0.6, 1.0)
    crop_aspect: float = 4 / 3
    crop_mode: CropMode = "resize"
    color: float = 0.0
    brightness: Range = (0.5, 1.5)
    contrast: Range = (0.5, 1.5)
    saturation: Range = (0.5, 1.5)
    tint: Range = (0.9, 1.1)
    grayscale: float = 0.0
    blur: float = 0.0
    blur_sigma: Range = (0.2, 1.0)
    downscale: float = 0.0
    downscale_side: Range = (0.2, 1.0)
    jpeg: float = 0.0
    jpeg_quality: tuple[int, int] = (30, 90)
    cutout: float = 0.0
    cutout_area: Range = (0.02, 0.4)
    cutout_aspect: float = 1 / 0.3
    cutout_fill: int = 127

    def __post_init__(self) -> None:
        # Equal settings are equal values, whether they were written as 1 or 1.0, list or tuple.
        for name in OPERATIONS:
            self._set(name, _number(name, getattr(self, name), 0.0, 1.0, "a probability"))
        for name, (low, high) in _RANGES.items():
            self._set(name, _range(name, getattr(self, name), low, high))
        for name in ("crop_aspect", "cutout_aspect"):
            self._set(name, _number(name, getattr(self, name), 1.0, _MOST_ASPECT, "a ratio"))
        self._set("jpeg_quality", _whole_range("jpeg_quality", self.jpeg_quality, 1, 100))
        if not _is_whole(self.cutout_fill) or not 0 <= self.cutout_fill <= 255:
            raise _wrong("cutout_fill", self.cutout_fill, "an integer from 0 to 255")
        if self.crop_mode not in ("resize", "mask"):
            raise _wrong("crop_mode", self.crop_mode, "'resize' or 'mask'")

    @classmethod
    def of(cls, value: object) -> Self:
        """Give the settings that a value stands for.

        Args:
            value: None is the default, the flip alone; False or ``"none"`` is nothing at all;
                ``"adaface"`` is what AdaFace was trained with; a mapping is fields by name, the
                others staying as they are by default; settings are themselves.

        Raises:
            LoaderError: It is something else, has a field that there is not (the nearest name is
                given), or one whose value cannot be.

        Example:
            >>> Augment.of("adaface").crop_mode
            'mask'
        """
        if isinstance(value, cls):
            return value
        if value is None:
            return cls()
        if value is False or value == "none":
            return cls(flip=0.0)
        if value == "adaface":
            return cls(
                crop=0.2, crop_area=(0.2, 1.0), crop_mode="mask", color=0.2, tint=(1.0, 1.0),
                downscale=0.2,
            )  # fmt: skip
        if not isinstance(value, Mapping):
            raise LoaderError(
                "augment", f"is {value!r}", "None, False, 'none', 'adaface', fields or Augment(…)"
            )
        known = [each.name for each in fields(cls)]
        for name in value:
            if name not in known:
                near = nearest(str(name), known)
                fix = f"did you mean {near!r}?" if near else f"known: {', '.join(known)}"
                raise LoaderError("augment", f"unknown field {name!r}", None, fix)
        return cls(**value)

    @property
    def active(self) -> tuple[str, ...]:
        """The operations that can happen, in their order."""
        return tuple(name for name in OPERATIONS if getattr(self, name) > 0)

    def as_json(self) -> dict[str, Any]:
        """Give the settings as JSON values; :meth:`of` takes them back."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)


def _number(name: str, value: object, low: float, high: float, what: str) -> float:
    if not _is_number(value) or not low <= value <= high:
        raise _wrong(name, value, f"{what} from {low:g} to {high:g}")
    return float(value)


def _range(name: str, value: object, low: float, high: float) -> Range:
    pair = _pair(value)
    if pair is None or not all(map(_is_number, pair)) or not low <= pair[0] <= pair[1] <= high:
        raise _wrong(name, value, f"two numbers from {low:g} to {high:g}, the lower first")
    return float(pair[0]), float(pair[1])


def _whole_range(name: str, value: object, low: int, high: int) -> tuple[int, int]:
    pair = _pair(value)
    if pair is None or not all(map(_is_whole, pair)) or not low <= pair[0] <= pair[1] <= high:
        raise _wrong(name, value, f"two integers from {low} to {high}, the lower first")
    return pair[0], pair[1]


def _pair(value: object) -> Sequence[Any] | None:
    return value if isinstance(value, (tuple, list)) and len(value) == 2 else None


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _wrong(name: str, value: object, expected: str) -> LoaderError:
    return LoaderError(f"augment.{name}", f"is {value!r}", expected)
