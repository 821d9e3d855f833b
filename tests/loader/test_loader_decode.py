"""Stored crops into pixels, and every way in which a crop can be none."""

import io

import cv2
import numpy as np
import pytest
import simplejpeg
from support.stores import draw_crop

from fusekit.loader.crops.decode import JPG, PNG, RAW, CropDecoder, UnusableCropError

CROP = draw_crop(5)


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def png(array):
    return cv2.imencode(".png", cv2.cvtColor(array, cv2.COLOR_RGB2BGR))[1].tobytes()


JPEG = simplejpeg.encode_jpeg(CROP, quality=95, colorsubsampling="444")
STORED = {
    "jpg": (JPG, JPEG, simplejpeg.decode_jpeg(JPEG)),
    "png": (PNG, png(CROP), CROP),
    "raw": (RAW, npy(CROP), CROP),
    "raw in columns": (RAW, npy(np.asfortranarray(CROP)), CROP),
    "grey jpg": (JPG, simplejpeg.encode_jpeg(CROP[..., :1].copy(), colorspace="GRAY"), None),
}


@pytest.mark.parametrize("name", STORED)
def test_a_stored_crop_becomes_its_own_pixels(name):
    code, data, pixels = STORED[name]
    if pixels is None:
        pixels = simplejpeg.decode_jpeg(data, "RGB")
    # In the middle of a batch, so that a decoder that leaves its place is seen.
    batch = np.full((3, 112, 112, 3), 7, np.uint8)
    CropDecoder(112, 112).decode(data, code, batch[1])
    assert np.array_equal(batch[1], pixels)
    assert (batch[[0, 2]] == 7).all()


@pytest.mark.parametrize(
    ("code", "data", "reason"),
    [
        (JPG, JPEG[:-200], "undecodable"),
        (JPG, b"", "undecodable"),
        (JPG, bytes(5000), "undecodable"),
        (JPG, simplejpeg.encode_jpeg(draw_crop(1)[:100]), "size"),
        (JPG, simplejpeg.encode_jpeg(np.zeros((224, 112, 3), np.uint8)), "undecodable"),
        (PNG, png(CROP)[:900], "undecodable"),
        (PNG, png(CROP)[:26] + b"junk", "undecodable"),
        (PNG, png(np.zeros((20, 30, 3), np.uint8)), "size"),
        (PNG, b"", "size"),
        (RAW, npy(CROP)[:-1], "undecodable"),
        (RAW, npy(CROP.astype(np.float32)), "undecodable"),
        (RAW, npy(CROP[:50]), "size"),
        (RAW, npy(np.array([{"a": 1}], dtype=object)), "undecodable"),
        (RAW, b"\x80\x04.", "undecodable"),
        (RAW, b"", "undecodable"),
        (9, JPEG, "format"),
    ],
)
def test_what_is_no_crop_says_why(code, data, reason):
    with pytest.raises(UnusableCropError) as error:
        CropDecoder(112, 112).decode(data, code, np.empty((112, 112, 3), np.uint8))
    assert error.value.reason == reason
    assert error.value.detail


def test_a_picture_of_a_billion_pixels_is_refused_by_its_header():
    head = png(CROP)
    huge = head[:16] + (40_000).to_bytes(4, "big") * 2 + head[24:]
    with pytest.raises(UnusableCropError, match="40000x40000x3 pixels, not 112x112x3"):
        CropDecoder(112, 112).decode(huge, PNG, np.empty((112, 112, 3), np.uint8))


def test_crops_of_grey_are_the_same_in_every_colour():
    batch = np.empty((1, 112, 112, 3), np.uint8)
    CropDecoder(112, 112).decode(STORED["grey jpg"][1], JPG, batch[0])
    assert (batch[..., :1] == batch).all()
