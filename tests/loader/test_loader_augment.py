"""Changing crops: each by its key alone, as often and as strongly as was asked for."""

import hashlib
import itertools
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from support.stores import draw_crop

from fusekit.errors import LoaderError
from fusekit.loader.crops.augment import OPERATIONS, Augment
from fusekit.loader.crops.augmenter import Augmenter
from fusekit.rng import permute

NOTHING = {"flip": 0}
ALL_ON = {name: 0.5 for name in OPERATIONS}  # noqa: C420 - read as a table of probabilities
MANY = 20_000


def keys_of(count, seed=0):
    return permute(np.arange(count), 1 << 50, seed)


def augment(images, keys, height=None, width=None, **fields):
    """Give changed copies; fields are on top of no augmentation at all."""
    out = np.ascontiguousarray(images).copy()
    height, width = out.shape[1:3]
    Augmenter(Augment.of(NOTHING | fields), height, width).run(out, keys)
    return out


def crops(count):
    return np.stack([draw_crop(seed % 7) for seed in range(count)])


def ramp(count, side=112):
    """Crops whose red is the column, green the row and blue both: no two pixels alike."""
    y, x = np.mgrid[:side, :side]
    one = np.stack([2 * x, 2 * y, (x + y) % 256], axis=-1).astype(np.uint8)
    return np.stack([one] * count)


def happened(name, probability, keys):
    """Which keys an operation happens to, told from what a caller is given to do."""
    augmenter = Augmenter(Augment.of(NOTHING | {name: probability}), 112, 112)
    return np.array([bool(edits) for edits in augmenter.choose(keys)])


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("probability", [0.02, 0.5, 0.9])
def test_an_operation_happens_as_often_as_asked(name, probability):
    count = happened(name, probability, keys_of(MANY)).sum()
    deviation = (MANY * probability * (1 - probability)) ** 0.5
    assert abs(count - MANY * probability) < 4.5 * deviation


@pytest.mark.parametrize("name", OPERATIONS)
def test_probability_1_is_always_and_0_is_never(name):
    keys = np.concatenate([keys_of(2000), np.array([0, 1, (1 << 64) - 1], np.uint64)])
    assert happened(name, 1, keys).all()
    assert not happened(name, 0, keys).any()


def test_a_probability_of_almost_nothing_is_no_error():
    assert not happened("blur", 1e-300, keys_of(2000)).any()


def test_operations_are_decided_apart_from_each_other():
    keys = keys_of(MANY)
    table = np.array([happened(name, 0.5, keys) for name in OPERATIONS])
    correlation = np.corrcoef(table)
    # Of independent columns it has a deviation of 1 / sqrt(MANY).
    assert np.abs(correlation - np.eye(len(OPERATIONS))).max() < 4.5 / MANY**0.5


def test_switching_operations_on_leaves_the_flips_as_they_were():
    images = np.zeros((500, 16, 16, 3), np.uint8)
    images[:, :, 8:] = 200
    keys = keys_of(500)
    alone = augment(images, keys, flip=0.5)
    assert set(map(int, alone[:, 0, 0, 0])) == {0, 200}
    among = augment(
        images, keys, flip=0.5, jpeg=1, blur=1, grayscale=0.5, downscale=0.5, cutout=0.5,
        cutout_area=(0.01, 0.02),
    )  # fmt: skip
    brighter_left = [
        each[:, :, :8].mean(axis=(1, 2, 3)) > each[:, :, 8:].mean(axis=(1, 2, 3))
        for each in (alone, among)
    ]
    assert np.array_equal(*brighter_left)


@pytest.mark.parametrize("name", [n for n in OPERATIONS if n != "flip"])
def test_switching_another_on_leaves_an_operations_own_numbers_as_they_were(name):
    keys = keys_of(40)
    last = {"cutout": {"flip": 1}}.get(name, {"cutout": 1, "cutout_area": (0.001, 0.001)})
    alone = augment(crops(40), keys, **{name: 1})
    among = augment(crops(40), keys, **{name: 1}, **last)
    if name == "cutout":
        # Flipping first changes what is covered, not where.
        white = np.full_like(crops(40), 255)
        assert np.array_equal(
            augment(white, keys, cutout=1), augment(white, keys, cutout=1, flip=1)
        )
    else:
        assert (alone != among).any(axis=(1, 2, 3)).sum() >= 35
        assert ((alone != among).any(axis=-1).sum(axis=(1, 2)) <= 3 * 112 * 112 // 1000).all()


@given(
    st.integers(1, 24),
    st.lists(st.integers(1, 23), max_size=4),
    st.integers(0, 2**32),
    st.sampled_from(["resize", "mask"]),
)
@settings(max_examples=20)
def test_any_split_of_the_rows_gives_the_same(count, cuts, seed, crop_mode):
    keys, images = keys_of(count, seed), crops(count)
    fields = ALL_ON | {"crop_mode": crop_mode}
    whole = augment(images, keys, **fields)
    edges = sorted({0, count, *(cut for cut in cuts if cut < count)})
    parts = [augment(images[a:b], keys[a:b], **fields) for a, b in itertools.pairwise(edges)]
    assert np.array_equal(np.concatenate(parts), whole)


def test_the_order_of_the_rows_changes_nothing():
    keys, images = keys_of(64), crops(64)
    order = np.random.default_rng(1).permutation(64)
    shuffled = augment(images[order], keys[order], **ALL_ON)
    assert np.array_equal(shuffled, augment(images, keys, **ALL_ON)[order])


def test_equal_keys_are_changed_alike_and_others_not():
    keys = keys_of(40)
    images = np.stack([draw_crop(3)] * 40)
    once, again = (augment(images, keys, **dict.fromkeys(OPERATIONS, 1)) for _ in range(2))
    assert np.array_equal(once, again)
    assert len({each.tobytes() for each in once}) == 40


@pytest.mark.parametrize("fields", [ALL_ON, {"flip": 0.5}, {"jpeg": 0.5}])
def test_one_crop_at_a_time_is_the_same_as_all_at_once(fields):
    keys, images = keys_of(40), crops(40)
    whole = augment(images, keys, **fields)
    chosen = Augmenter(Augment.of(NOTHING | fields), 112, 112).choose(keys)
    for image, edits in zip(images, chosen, strict=True):
        for edit in edits:
            edit(image)
    assert np.array_equal(images, whole)


def test_threads_give_what_one_thread_gives():
    keys, images = keys_of(256), crops(256)
    serial = augment(images, keys, **ALL_ON)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            parts = pool.map(
                lambda a: augment(images[a : a + 16], keys[a : a + 16], **ALL_ON),
                range(0, 256, 16),
            )
            assert np.array_equal(np.concatenate(list(parts)), serial)


DIGEST = """
import hashlib, sys
import cv2
import numpy as np
cv2.setNumThreads(int(sys.argv[1]))
names = sys.argv[2].split()
from fusekit.loader.crops.augment import Augment
from fusekit.loader.crops.augmenter import Augmenter
y, x, n = np.mgrid[:112, :112, :64]
images = np.stack([x * n, y * n + x * y, x ^ y * n], axis=-1).transpose(2, 0, 1, 3)
images = np.ascontiguousarray(images % 256).astype(np.uint8)
settings = Augment(**dict.fromkeys(names, 0.6), crop_mode="mask")
Augmenter(settings, 112, 112).run(images, np.arange(64, dtype=np.uint64))
print(hashlib.sha256(images.tobytes()).hexdigest())
"""


def digest(threads, names, **environ):
    # In a process of its own: OpenCV's settings are the whole process's.
    done = subprocess.run(
        [sys.executable, "-c", DIGEST, threads, " ".join(names)],
        capture_output=True, text=True, check=True, env=os.environ | environ,
    )  # fmt: skip
    return done.stdout


def test_the_number_of_opencvs_own_threads_changes_nothing():
    assert len({digest(threads, OPERATIONS) for threads in ("0", "1", "2", "8")}) == 1


EXACT = ("crop", "flip", "color", "grayscale", "cutout")


def test_exact_operations_do_not_depend_on_the_processor():
    # What OpenCV then does without is what older processors do not have.
    older = {"OPENCV_CPU_DISABLE": "AVX512-SKX,AVX2,AVX,FP16,SSE4.2,SSE4.1"}
    plain = older | {"OPENCV_IPP": "disabled"}
    assert len({digest("1", EXACT, **environ) for environ in ({}, older, plain)}) == 1


GOLDEN = {
    "flip": "b3d9da4d8e2dd3415affa40d851e97d4",
    "color": "ec1b80f7d340180bfc13eb473275e1c7",
    "grayscale": "7fdca066245ec0b4171ee9f94f6df86e",
    "cutout": "07c498e23acd77fcff17dbf6bdd3fd1c",
    "crop": "6ade255ee3ca48ba3affdd25c57ab235",
    "color, grayscale and flip": "c225d6c8a072fcc29df9842078c2a50f",
}


@pytest.mark.parametrize("names", GOLDEN)
def test_exact_operations_give_these_pixels_for_ever(names):
    fields = {name: 0.6 for name in OPERATIONS if name in names.replace(",", "").split()}
    images = augment(ramp(16), np.arange(16, dtype=np.uint64), crop_mode="mask", **fields)
    assert hashlib.sha256(images.tobytes()).hexdigest()[:32] == GOLDEN[names]


def test_a_flip_mirrors_left_and_right():
    assert np.array_equal(augment(ramp(5), keys_of(5), flip=1), ramp(5)[:, :, ::-1])


def test_of_no_key_nothing_happens():
    empty = np.empty((0, 112, 112, 3), np.uint8)
    assert augment(empty, keys_of(0), **ALL_ON).shape == empty.shape


def test_without_an_operation_crops_stay_as_they_are():
    assert np.array_equal(augment(crops(9), keys_of(9)), crops(9))


@given(st.integers(2, 40), st.integers(2, 40), st.integers(0, 2**32))
@settings(max_examples=25)
def test_crops_of_any_size_keep_their_shape_and_type(height, width, seed):
    images = np.random.default_rng(seed).integers(0, 256, (6, height, width, 3), dtype=np.uint8)
    out = augment(images, keys_of(6, seed), **dict.fromkeys(OPERATIONS, 1))
    assert (out.shape, out.dtype) == (images.shape, np.uint8)


def kept(masked):
    """First and one-past-last row and column that are not black."""
    rows, columns = np.flatnonzero(masked.any((1, 2))), np.flatnonzero(masked.any((0, 2)))
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


def test_a_masked_crop_keeps_one_rectangle_in_its_place():
    images = np.full((400, 112, 112, 3), 255, np.uint8)
    out = augment(images, keys_of(400), crop=1, crop_mode="mask", crop_area=(0.2, 0.5))
    boxes = [kept(each) for each in out]
    for each, (top, bottom, left, right) in zip(out, boxes, strict=True):
        assert (each[top:bottom, left:right] == 255).all()
        assert each.sum() == 255 * 3 * (bottom - top) * (right - left)
        # Each side is rounded by up to half a pixel of some 50 or more.
        assert 0.19 < (bottom - top) * (right - left) / 112**2 < 0.51
        assert 0.73 < (bottom - top) / (right - left) < 1.37
    tops, bottoms, lefts, rights = np.array(boxes).T
    for ends, far in ((tops, bottoms), (lefts, rights)):
        assert ends.min() < 5
        assert far.max() > 107
    taller = (bottoms - tops > rights - lefts).mean()
    assert 0.4 < taller < 0.6


def test_a_resized_crop_fills_the_whole_with_a_part():
    images = ramp(60)
    out = augment(images, keys_of(60), crop=1, crop_area=(0.25, 0.25), crop_aspect=1)
    across, down = out[:, 56, :, 0].astype(int), out[:, :, 56, 1].astype(int)
    for values in (across, down):
        assert (np.diff(values, axis=1) >= 0).all()
        # Half of the side's 2 x 111 levels, wherever the rectangle lies.
        assert np.abs(values[:, -1] - values[:, 0] - 110).max() <= 2
        assert values[:, 0].min() < 10 < 100 < values[:, 0].max()


def test_resizing_and_masking_take_the_same_rectangle():
    keys = keys_of(30)
    masked = augment(ramp(30) // 2 + 100, keys, crop=1, crop_mode="mask")
    resized = augment(ramp(30) // 2 + 100, keys, crop=1)
    for a, b in zip(masked, resized, strict=True):
        top, bottom, left, right = kept(a)
        inner = a[top:bottom, left:right]
        assert (b[0, 0] == inner[0, 0]).all()
        assert (b[-1, -1] == inner[-1, -1]).all()


def test_a_crop_of_all_changes_nothing():
    for mode in ("resize", "mask"):
        fields = {"crop": 1, "crop_area": (1, 1), "crop_aspect": 1, "crop_mode": mode}
        assert np.array_equal(augment(crops(5), keys_of(5), **fields), crops(5))


def color_by_hand(image, saturation, contrast, brightness, tints):
    """The definition, in floats without any rounding."""
    pixels = image.astype(float)
    grey = (pixels @ [77 / 256, 150 / 256, 29 / 256])[..., None]
    mean = grey.mean()
    pixels = grey + saturation * (pixels - grey)
    pixels = mean + contrast * (pixels - mean)
    return np.clip(pixels * brightness * np.array(tints), 0, 255)


@pytest.mark.parametrize("saturation", [0, 0.5, 1, 2])
@pytest.mark.parametrize("contrast", [0, 0.7, 1, 2])
@pytest.mark.parametrize("brightness", [0, 0.6, 1, 1.5])
@pytest.mark.parametrize("tint", [0.9, 1, 2])
def test_colors_are_saturation_then_contrast_then_brightness(
    saturation, contrast, brightness, tint
):
    image = ramp(1)
    found = augment(
        image, keys_of(1), color=1, saturation=(saturation,) * 2, contrast=(contrast,) * 2,
        brightness=(brightness,) * 2, tint=(tint,) * 2,
    )  # fmt: skip
    wanted = color_by_hand(image[0], saturation, contrast, brightness, [tint] * 3)
    # Gains are multiples of 1/256 and of 1/512 once multiplied; the mean grey is whole.
    most = 0.5 + 255 * 3 / 1024 + 255 * brightness * tint * (saturation + contrast + 3) / 512
    assert np.abs(found[0] - wanted).max() < most + 1.5 * brightness * tint
    if (saturation, contrast, brightness, tint) == (1, 1, 1, 1):
        assert np.array_equal(found, image)


def test_a_color_map_is_exact_integer_arithmetic(monkeypatch):
    maps = []
    transform = cv2.transform

    def spy(image, gains, dst):
        maps.append(gains)
        return transform(image, gains, dst=dst)

    monkeypatch.setattr("cv2.transform", spy)
    wide = dict.fromkeys(("saturation", "contrast", "brightness", "tint"), (0, 2))
    images = np.random.default_rng(0).integers(0, 256, (200, 32, 32, 3), dtype=np.uint8)
    found = augment(images, keys_of(200), color=1, **wide)
    for image, gains, pixels in zip(images, maps, found, strict=True):
        twice = gains.astype(float) * 1024
        assert (twice[:, :3] % 2 == 0).all()
        assert (twice[:, 3] % 2 == 1).all()
        sums = image.astype(int) @ twice[:, :3].astype(int).T + twice[:, 3].astype(int)
        assert np.array_equal(pixels, np.clip((sums + 512) >> 10, 0, 255))


def test_each_color_draws_a_tint_of_its_own():
    grey = np.full((300, 8, 8, 3), 100, np.uint8)
    ones = {"saturation": (1, 1), "contrast": (1, 1), "brightness": (1, 1)}
    out = augment(grey, keys_of(300), color=1, tint=(0.5, 1.5), **ones)[:, 0, 0].astype(float)
    assert out.min() <= 52
    assert out.max() >= 148
    assert np.abs(np.corrcoef(out.T) - np.eye(3)).max() < 4.5 / 300**0.5


def test_contrast_leaves_the_mean_grey_where_it_was():
    images = np.stack([draw_crop(seed) // 2 + 64 for seed in range(20)])
    ones = {"saturation": (1, 1), "tint": (1, 1), "brightness": (1, 1)}
    out = augment(images, keys_of(20), color=1, contrast=(0.5, 1), **ones)
    assert np.abs(out.mean(axis=(1, 2, 3)) - images.mean(axis=(1, 2, 3))).max() < 8
    assert (out.std(axis=(1, 2, 3)) <= images.std(axis=(1, 2, 3)) + 1).all()


def test_grayscale_is_the_luma_rounded_to_the_nearest():
    images = crops(7)
    out = augment(images, keys_of(7), grayscale=1)
    luma = (2 * (images.astype(int) @ [77, 150, 29]) + 1 + 256) // 512
    assert np.array_equal(out, np.repeat(luma[..., None], 3, axis=-1))


def test_white_and_black_stay_so_in_gray():
    ends = np.stack([np.zeros((112, 112, 3), np.uint8), np.full((112, 112, 3), 255, np.uint8)])
    assert np.array_equal(augment(ends, keys_of(2), grayscale=1), ends)


def test_a_blur_is_stronger_with_a_larger_sigma():
    images = crops(10)
    rough = [
        np.abs(np.diff(augment(images, keys_of(10), **fields).astype(int), axis=2)).max()
        for fields in ({}, {"blur": 1, "blur_sigma": (1, 1)}, {"blur": 1, "blur_sigma": (4, 4)})
    ]
    assert rough[0] > 1.5 * rough[1] > 3 * rough[2]
    flat = np.full((3, 112, 112, 3), 93, np.uint8)
    assert np.array_equal(augment(flat, keys_of(3), blur=1), flat)


def test_a_downscale_loses_detail_and_keeps_the_light():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (64, 112, 112, 3), dtype=np.uint8)
    out = augment(images, keys_of(64), downscale=1, downscale_side=(0.25, 0.25))
    whole = augment(images, keys_of(64), downscale=1, downscale_side=(1, 1))
    assert np.array_equal(whole, images)
    # 28 pixels of a side remain: 16 crop pixels share one, however they were interpolated.
    detail = [np.abs(np.diff(x.astype(int), axis=1)).mean(axis=(1, 2, 3)) for x in (images, out)]
    assert (detail[1] < 0.5 * detail[0]).all()
    assert np.abs(out.mean(axis=(1, 2, 3)) - images.mean(axis=(1, 2, 3))).max() < 8
    # All four interpolations, down and up.
    ways = augment(
        np.stack([images[0]] * 200), keys_of(200), downscale=1, downscale_side=(0.3, 0.3)
    )
    assert len({each.tobytes() for each in ways}) == 16


def test_a_downscale_to_next_to_nothing_is_one_pixel():
    out = augment(ramp(8, 16), keys_of(8), downscale=1, downscale_side=(0.01, 0.01))
    assert (out == out[:, :1, :1]).all()


def test_jpeg_loses_more_at_a_lower_quality():
    images = crops(7)
    lost = [
        np.abs(augment(images, keys_of(7), jpeg=1, jpeg_quality=(q, q)).astype(int) - images).mean()
        for q in (95, 60, 20)
    ]
    assert 0 < lost[0] < lost[1] < lost[2]


def test_every_jpeg_quality_of_the_range_is_drawn(monkeypatch):
    drawn = []
    encode = simplejpeg.encode_jpeg

    def spy(image, quality, colorsubsampling):
        drawn.append(quality)
        return encode(image, quality=quality, colorsubsampling=colorsubsampling)

    monkeypatch.setattr("simplejpeg.encode_jpeg", spy)
    augment(np.zeros((400, 8, 8, 3), np.uint8), keys_of(400), jpeg=1, jpeg_quality=(30, 39))
    assert set(drawn) == set(range(30, 40))


def test_cutout_covers_one_rectangle_with_its_fill():
    images = np.zeros((300, 112, 112, 3), np.uint8)
    out = augment(images, keys_of(300), cutout=1, cutout_area=(0.05, 0.2), cutout_fill=9)
    for each in out:
        top, bottom, left, right = kept(each)
        assert (each[top:bottom, left:right] == 9).all()
        assert each.sum() == 27 * (bottom - top) * (right - left)
        assert 0.045 < (bottom - top) * (right - left) / 112**2 < 0.21
        assert 0.27 < (bottom - top) / (right - left) < 3.7


def test_the_operations_come_in_their_order():
    images, keys = crops(12), keys_of(12)
    step_by_step = images
    for name in ("crop", "flip", "color", "grayscale", "blur", "downscale", "jpeg", "cutout"):
        step_by_step = augment(step_by_step, keys, **{name: 0.7})
    assert np.array_equal(
        augment(images, keys, **dict.fromkeys(reversed(OPERATIONS), 0.7)), step_by_step
    )


@pytest.mark.parametrize(
    ("images", "found"),
    [
        (np.zeros((4, 3, 112, 112), np.uint8), "are uint8 (4, 3, 112, 112)"),
        (np.zeros((3, 112, 112, 3), np.uint8), "are uint8 (3, 112, 112, 3)"),
        (np.zeros((4, 112, 112, 3), np.float32), "are float32 (4, 112, 112, 3)"),
        (np.zeros((4, 112, 112, 6), np.uint8)[..., ::2], "are uint8 (4, 112, 112, 3)"),
    ],
)
def test_images_of_another_form_are_refused(images, found):
    with pytest.raises(LoaderError) as error:
        Augmenter(Augment(), 112, 112).run(images, keys_of(4))
    assert str(error.value) == f"images: {found}; expected uint8 (4, 112, 112, 3) in C order"


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        (np.arange(4), "are int64 (4,)"),
        (np.zeros((4, 1), np.uint64), "are uint64 (4, 1)"),
    ],
)
@pytest.mark.parametrize("value", [None, "none"])
def test_keys_of_another_form_are_refused(keys, found, value):
    with pytest.raises(LoaderError) as error:
        Augmenter(Augment.of(value), 112, 112).run(np.zeros((4, 112, 112, 3), np.uint8), keys)
    assert str(error.value) == f"keys: {found}; expected uint64 (n,)"
