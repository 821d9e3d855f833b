import contextlib
import io
import struct
import zlib

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from support.photos import ASTRONAUT, PORTRAIT, SIX_PEOPLE

from fusekit.errors import ItemError
from fusekit.faces.image import decode_image, encode_crop, image_size, jpeg_quality, sniff
from fusekit.formats.image_header import exif_orientation, jpeg_components
from fusekit.schema import REJECT_REASONS

KINDS = ["png", "webp", "bmp", "gif", "tiff", "ppm"]


def _picture(height=40, width=60):
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.GaussianBlur(noise, (9, 9), 3)


def _encoded(kind, image=None):
    image = _picture() if image is None else image
    if kind == "jpg":
        return simplejpeg.encode_jpeg(image, 95, "RGB", "444")
    return cv2.imencode("." + kind, image[..., ::-1])[1].tobytes()


def _with_exif(jpeg, orientation, order="<"):
    mark = b"II*\0" if order == "<" else b"MM\0*"
    tiff = mark + struct.pack(order + "IHHHIHHI", 8, 1, 274, 3, 1, orientation, 0, 0)
    body = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def _reason(data, **limits):
    with pytest.raises(ItemError) as caught:
        decode_image(data, "a/b.jpg", **limits)
    assert caught.value.reason in REJECT_REASONS
    assert str(caught.value).startswith("a/b.jpg: ")
    return caught.value.reason, caught.value.found


@pytest.mark.parametrize("kind", ["jpg", *KINDS])
def test_every_type_is_told_from_its_bytes_and_measured_without_decoding(kind):
    data = _encoded(kind)
    assert sniff(data) == kind
    assert image_size(data) == (60, 40)
    assert decode_image(data, "x").shape == (40, 60, 3)


@pytest.mark.parametrize("kind", ["png", "bmp", "tiff", "ppm"])
def test_lossless_types_decode_to_the_same_red_first_pixels(kind):
    assert np.array_equal(decode_image(_encoded(kind), "x"), _picture())


def test_webp_in_its_three_forms_is_measured():
    image = _picture()[..., ::-1]
    lossless = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()
    alpha = np.dstack([image, image[..., 0]])
    extended = cv2.imencode(".webp", alpha, [cv2.IMWRITE_WEBP_QUALITY, 80])[1].tobytes()
    lossy = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, 80])[1].tobytes()
    assert {data[12:16] for data in (lossless, extended, lossy)} == {b"VP8L", b"VP8X", b"VP8 "}
    assert {image_size(data) for data in (lossless, extended, lossy)} == {(60, 40)}


def test_grey_pictures_become_three_equal_channels():
    grey = _picture()[..., :1]
    jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(grey), 95, "GRAY", "Gray")
    png = cv2.imencode(".png", grey)[1].tobytes()
    for data in (jpeg, png):
        image = decode_image(data, "x")
        assert np.array_equal(image[..., 0], image[..., 2])
    assert jpeg_components(jpeg) == 1


def test_cmyk_jpegs_are_decoded():
    cmyk = np.ascontiguousarray(np.dstack([_picture(), _picture()[..., 0]]))
    data = simplejpeg.encode_jpeg(cmyk, 90, "CMYK", "444")
    assert jpeg_components(data) == 4
    assert decode_image(data, "x").shape == (40, 60, 3)


def test_sixteen_bits_and_transparency_are_reduced():
    deep = cv2.imencode(".png", _picture().astype(np.uint16) * 257)[1].tobytes()
    clear = cv2.imencode(".png", np.dstack([_picture(), _picture()[..., 0]]))[1].tobytes()
    assert decode_image(deep, "x").dtype == np.uint8
    assert decode_image(clear, "x").shape == (40, 60, 3)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright_by_their_exif_orientation(orientation, order):
    upright = np.zeros((32, 64, 3), np.uint8)
    upright[:16, :32] = [255, 0, 0]  # red: upper left
    upright[16:, 32:] = [0, 0, 255]  # blue: lower right
    turns = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),  # stored lying to the left
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }
    stored = np.ascontiguousarray(turns[orientation](upright))
    data = _with_exif(_encoded("jpg", stored), orientation, order)
    assert exif_orientation(data) == orientation
    image = decode_image(data, "x").astype(int)
    assert image.shape == upright.shape
    assert np.abs(image - upright).mean() < 4


def test_nonsense_exif_is_passed_over():
    assert exif_orientation(_with_exif(_encoded("jpg"), 99)) == 1
    broken = _encoded("jpg")
    broken = broken[:2] + b"\xff\xe1\x00\x0aExif\0\0II" + broken[2:]
    assert exif_orientation(broken) == 1
    assert decode_image(broken, "x").shape == (40, 60, 3)


def test_an_item_without_bytes_is_empty():
    assert _reason(b"") == ("empty", "has no bytes")


@pytest.mark.parametrize("data", [b"just text\n", b"<html>", b"\0" * 100, b"\xff\xd8 no"])
def test_bytes_of_no_image_type_are_not_an_image(data):
    reason, found = _reason(data)
    assert reason == "not_an_image"
    assert "no image type known" in found


@pytest.mark.parametrize("kind", ["jpg", *KINDS])
def test_a_truncated_picture_is_undecodable(kind):
    data = _encoded(kind)
    assert _reason(data[: len(data) * 2 // 3])[0] == "undecodable"


@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_a_picture_that_ends_too_early_says_so(kind):
    data = _encoded(kind)
    found = f"a {kind} image that ends too early"
    assert _reason(data[:-30]) == ("undecodable", found)


@pytest.mark.parametrize("kind", ["jpg", *KINDS])
def test_a_header_alone_is_undecodable(kind):
    assert _reason(_encoded(kind)[:12])[0] == "undecodable"


def _png_of(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    out = b"\x89PNG\r\n\x1a\n"
    for name, body in ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")):
        out += struct.pack(">I", len(body)) + name + body
        out += struct.pack(">I", zlib.crc32(name + body))
    return out


def test_a_picture_of_a_billion_pixels_is_refused_before_decoding():
    reason, found = _reason(_png_of(40000, 40000))
    assert reason == "too_large"
    assert found == "40000x40000 pixels, more than 268435456; not decoded"


def test_the_limit_of_pixels_can_be_set():
    assert _reason(_encoded("jpg"), max_pixels=2399)[0] == "too_large"
    assert decode_image(_encoded("jpg"), "x", max_pixels=2400).shape == (40, 60, 3)


def test_a_picture_of_no_pixels_is_undecodable():
    assert _reason(_png_of(0, 5)) == ("undecodable", "a png image with 0x5 pixels")


def test_junk_between_a_jpegs_segments_does_no_harm():
    data = _encoded("jpg")
    scan = data.index(b"\xff\xda")
    middle = scan + (len(data) - scan) // 2
    spoilt = data[:middle] + bytes(40) + data[middle + 40 :]
    assert decode_image(spoilt, "x").shape == (40, 60, 3)
    assert decode_image(data + b"trailing bytes", "x").shape == (40, 60, 3)


def test_a_known_type_that_cannot_be_read_is_named():
    heic = b"\0\0\0\x18ftypheic" + bytes(64)
    assert sniff(heic) == "heic"
    assert _reason(heic)[0] == "undecodable"


@given(st.binary(max_size=200), st.sampled_from(["", "jpg", *KINDS]))
def test_headers_never_raise_whatever_the_bytes(tail, kind):
    data = (_encoded(kind)[:20] if kind else b"") + tail
    image_size(data)
    jpeg_quality(data)
    exif_orientation(data)
    jpeg_components(data)
    with contextlib.suppress(ItemError):
        decode_image(data, "x", max_pixels=10_000)


@pytest.mark.parametrize("quality", [1, 10, 49, 50, 51, 75, 90, 95, 99, 100])
@pytest.mark.parametrize("chroma", ["444", "420"])
def test_the_quality_of_an_ijg_jpeg_is_read_exactly(quality, chroma):
    data = simplejpeg.encode_jpeg(_picture(), quality, "RGB", chroma)
    assert jpeg_quality(data) == quality


def test_what_is_no_jpeg_has_no_jpeg_quality():
    assert jpeg_quality(_encoded("png")) is None
    assert jpeg_quality(b"\xff\xd8\xff\xd9") is None


def test_a_jpeg_crop_keeps_full_colour_and_its_quality():
    data = encode_crop(_picture(112, 112), "jpg")
    assert simplejpeg.decode_jpeg_header(data) == (112, 112, "YCbCr", "444")
    assert jpeg_quality(data) == 95


@pytest.mark.parametrize("fmt", ["png", "raw"])
def test_png_and_raw_crops_lose_nothing(fmt):
    crop = _picture(112, 112)
    data = encode_crop(crop, fmt)
    assert data == encode_crop(crop.copy(), fmt)
    if fmt == "png":
        assert np.array_equal(decode_image(data, "x"), crop)
    else:
        assert np.array_equal(np.load(io.BytesIO(data), allow_pickle=False), crop)


def test_photographs_that_packages_ship_decode():
    shapes = [decode_image(p.read_bytes(), p.name).shape for p in (SIX_PEOPLE, PORTRAIT, ASTRONAUT)]
    assert shapes == [(886, 1280, 3), (112, 112, 3), (512, 512, 3)]
