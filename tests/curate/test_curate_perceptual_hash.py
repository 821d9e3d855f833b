"""Perceptual hashes: the same for the same pixels, near for copies, mirrored by a fixed mask."""

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from support.stores import draw_crop, make_dataset

from fusekit.curate.perceptual_hash import distances, hash_crops, hash_dataset, mirror_mask
from fusekit.errors import StoreError
from fusekit.progress import silent
from fusekit.store import layout
from fusekit.store.layout import open_store


def slow_bits(crop):
    """The hash by the DCT's definition, bit by bit: sums of whole numbers, as the promise says."""
    rgb = crop[12:108, 12:100].astype(int)
    grey = (299 * rgb[..., 0] + 587 * rgb[..., 1] + 114 * rgb[..., 2] + 500) // 1000
    order = sorted(
        ((u, v) for u in range(16) for v in range(16)), key=lambda f: (f[0] + f[1], f[0])
    )

    def wave(frequency, size):
        angles = np.pi * frequency * (2 * np.arange(size) + 1) / (2 * size)
        return np.rint(1024 * np.cos(angles)).astype(int)

    return [int(wave(u, 96) @ grey @ wave(v, 88) > 0) for u, v in order[1:129]]


def bits(codes):
    return [int(codes[i // 64]) >> (i % 64) & 1 for i in range(128)]


@pytest.mark.parametrize("seed", range(5))
def test_a_hash_is_the_signs_of_the_lowest_frequencies(seed):
    crop = draw_crop(seed)
    assert bits(hash_crops(crop[None]).codes[0]) == slow_bits(crop)


@given(st.integers(0, 10_000))
def test_a_mirror_image_has_the_hash_with_the_mask_flipped(seed):
    crop = np.random.default_rng(seed).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    straight, mirrored = hash_crops(np.stack([crop, crop[:, ::-1]])).codes
    # A coefficient of exactly 0 has no sign to turn.
    assert np.bitwise_count(straight ^ mirrored ^ mirror_mask()).sum() <= 1
    assert distances(straight[None], mirrored[None])[0] <= 1


def test_a_crop_hashes_alike_alone_and_among_others():
    crops = np.stack([draw_crop(seed) for seed in range(9)])
    together = hash_crops(crops).codes
    alone = np.concatenate([hash_crops(crop[None]).codes for crop in crops])
    assert together.tolist() == alone.tolist()


def test_copies_are_near_and_others_far():
    crops = np.stack([draw_crop(seed) for seed in range(20)])
    copies = np.stack([
        simplejpeg.decode_jpeg(simplejpeg.encode_jpeg(
            cv2.resize(cv2.resize(crop, (56, 56), interpolation=cv2.INTER_AREA), (112, 112)),
            quality=40, colorsubsampling="420",
        ))
        for crop in crops
    ])  # fmt: skip
    a, b = hash_crops(crops).codes, hash_crops(copies).codes
    assert distances(a, b).max() <= 10
    assert distances(a, np.roll(b, 1, axis=0)).min() > 35


def test_a_flat_crop_has_no_hash():
    crops = np.full((2, 112, 112, 3), 90, np.uint8)
    crops[1, 50] += 40
    assert hash_crops(crops).known.tolist() == [False, True]


def test_a_dataset_hashes_alike_with_any_number_of_threads(tmp_path):
    storage = open_store(tmp_path, create=True)
    info = make_dataset(storage, "d", {"a": 20, "b": 21}, unit_size=8)
    one, four = (hash_dataset(storage, info, threads, silent) for threads in (1, 4))
    assert one.codes.tolist() == four.codes.tolist()
    assert one.known.tolist() == [True] * 41


def test_crops_of_another_template_are_brought_to_the_same_one(tmp_path):
    storage = open_store(tmp_path, create=True)
    info = make_dataset(storage, "d", {"a": 3}, template="dlib-150")
    assert hash_dataset(storage, info, 1, silent).known.all()


def test_a_damaged_crop_is_named(tmp_path):
    storage = open_store(tmp_path, create=True)
    info = make_dataset(storage, "d", {"a": 2})
    shard = storage.path(layout.shard("d", 0))
    shard.write_bytes(shard.read_bytes().replace(b"\xff\xd8", b"\x00\x00"))
    with pytest.raises(StoreError, match=r"d-000000\.tar: \w+: is not the crop that the manifest"):
        hash_dataset(storage, info, 2, silent)
