"""Pictures as arrays: raw bytes in, RGB out; crops as JPEG, PNG or raw bytes."""

from __future__ import annotations

import io
from typing import Final, Literal, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

from fusekit.errors import ItemError
from fusekit.formats.image_header import (
    exif_orientation,
    image_size,
    jpeg_components,
    jpeg_quality,
    sniff,
)

__all__ = ["CropFormat", "RgbImage", "decode_image", "encode_crop", "image_size", "jpeg_quality",
           "sniff"]  # fmt: skip

RgbImage: TypeAlias = npt.NDArray[np.uint8]
"""uint8 ``(H, W, 3)``, red first."""

CropFormat: TypeAlias = Literal["jpg", "png", "raw"]

MAX_PIXELS: Final = 1 << 28
_TURNS: Final = {3: cv2.ROTATE_180, 6: cv2.ROTATE_90_CLOCKWISE, 8: cv2.ROTATE_90_COUNTERCLOCKWISE}
_CMYK: Final = 4

# Broken files become rejects that say so; OpenCV's own lines on stderr would only double them.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def decode_image(data: bytes, source: str, max_pixels: int = MAX_PIXELS) -> RgbImage:
    """Decode a picture of any known type.

    The type is told from the bytes, never from the name, and the pixel count is read from the
    header before anything is decoded. The first frame of an animation is taken, transparency and
    bits beyond 8 are dropped, grey becomes three equal channels, and a picture with an EXIF
    orientation is turned upright, as every viewer shows it.

    Args:
        data: The file's bytes.
        source: What errors call it.
        max_pixels: Most pixels that are decoded.

    Returns:
        uint8 ``(H, W, 3)`` RGB.

    Raises:
        ItemError: ``empty``, ``not_an_image``, ``too_large``, or ``undecodable``, which includes
            a file that ends too early.
    """
    if not data:
        raise ItemError("empty", source, "has no bytes")
    kind = sniff(data)
    if kind is None:
        raise ItemError("not_an_image", source, f"starts with {data[:8]!r}, no image type known")
    size = image_size(data)
    if size is None or 0 in size:
        found = "a damaged header" if size is None else f"{size[0]}x{size[1]} pixels"
        raise ItemError("undecodable", source, f"a {kind} image with {found}")
    if size[0] * size[1] > max_pixels:
        raise ItemError(
            "too_large", source, f"{size[0]}x{size[1]} pixels, more than {max_pixels}; not decoded"
        )
    if kind == "jpg":
        return _decode_jpeg(data, source)
    if kind == "png" and b"IEND" not in data[-64:] and b"IEND" not in data:
        raise ItemError("undecodable", source, "a png image that ends too early")
    return _decode_other(data, source, kind)


def encode_crop(crop: RgbImage, fmt: CropFormat, quality: int = 95) -> bytes:
    """Encode a crop; the same pixels give the same bytes.

    Args:
        crop: uint8 ``(H, W, 3)`` RGB.
        fmt: ``jpg`` (4:4:4, no chroma is thrown away), ``png``, or ``raw`` (a ``.npy`` file).
        quality: IJG quality of a JPEG, 1 to 100.

    Returns:
        The file's bytes.
    """
    pixels = np.ascontiguousarray(crop)
    match fmt:
        case "jpg":
            return bytes(simplejpeg.encode_jpeg(pixels, quality, "RGB", "444", fastdct=False))
        case "png":
            done, encoded = cv2.imencode(
                ".png", pixels[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 6]
            )
            assert done
            return bytes(encoded.tobytes())
        case "raw":
            file = io.BytesIO()
            np.lib.format.write_array(file, pixels, version=(1, 0), allow_pickle=False)
            return file.getvalue()


def _decode_jpeg(data: bytes, source: str) -> RgbImage:
    if jpeg_components(data) == _CMYK:
        image = _decode_other(data, source, "jpg")  # OpenCV knows Adobe's inverted CMYK
    else:
        image = _decode_plain_jpeg(data, source)
    orientation = exif_orientation(data)
    if orientation in (2, 4, 5, 7):  # mirrored: 5 and 7 are 8 and 6 after a flip
        image = np.ascontiguousarray(image[:, ::-1])
        orientation = {2: 1, 4: 3, 5: 8, 7: 6}[orientation]
    return cv2.rotate(image, _TURNS[orientation]) if orientation in _TURNS else image


def _decode_plain_jpeg(data: bytes, source: str) -> RgbImage:
    try:
        strict: RgbImage = simplejpeg.decode_jpeg(data, "RGB")
    except ValueError as error:
        reason = str(error)
    else:
        return strict
    if "remature end" in reason:
        raise ItemError("undecodable", source, "a jpg image that ends too early")
    try:  # junk between segments and the like: every viewer shows such files whole
        lenient: RgbImage = simplejpeg.decode_jpeg(data, "RGB", strict=False)
    except ValueError:
        return _decode_other(data, source, "jpg")  # rare chroma layouts
    return lenient


def _decode_other(data: bytes, source: str, kind: str) -> RgbImage:
    flags = cv2.IMREAD_COLOR_RGB
    if kind == "jpg":
        flags |= cv2.IMREAD_IGNORE_ORIENTATION  # turned by the caller
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        image = None
    if image is None:
        raise ItemError("undecodable", source, f"a {kind} image that does not decode")
    decoded: RgbImage = image
    return decoded
