"""Crops stored as pixels: copied once, from the mapped shard to their place."""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from support.mixtures import HandMadeMixture
from support.stores import draw_crop

from fusekit.errors import LoaderError
from fusekit.loader.crops.decode import RAW, CropDecoder, UnusableCropError
from fusekit.loader.crops.files import ShardFiles
from fusekit.loader.loader import MixtureLoader


def npy(array, version=None):
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version)
    return file.getvalue()


@pytest.fixture
def mixture(tmp_path):
    images = [npy(draw_crop(seed)) for seed in range(30)]
    return HandMadeMixture(tmp_path, [images[:20]], [images[20:]], code=RAW)


@pytest.mark.parametrize("layout", ["chw", "hwc"])
@pytest.mark.parametrize("verify", ["none", "sample"])
def test_a_batch_holds_the_pixels_that_were_stored(mixture, layout, verify):
    with MixtureLoader(
        mixture, 12, layout=layout, arrays="numpy", augment="none", verify=verify
    ) as loader:
        for batch in loader:
            for image, row in zip(batch.images, batch.rows, strict=True):
                found = image.transpose(1, 2, 0) if layout == "chw" else image
                assert np.array_equal(found, draw_crop(int(row)))


@pytest.mark.parametrize(
    "form",
    [
        pytest.param(lambda crop: npy(crop, (2, 0)), id="another version of the head"),
        pytest.param(lambda crop: npy(np.asfortranarray(crop)), id="columns first"),
    ],
)
def test_pixels_under_another_head_are_read_with_care(form):
    crop, out = draw_crop(1), np.empty((112, 112, 3), np.uint8)
    CropDecoder(112, 112).decode(memoryview(form(crop)), RAW, out)
    assert np.array_equal(out, crop)


@pytest.mark.parametrize(
    ("data", "reason", "detail"),
    [
        (bytes(len(npy(draw_crop(0)))), "undecodable", "magic string"),
        (npy(draw_crop(0))[:-1], "undecodable", "reshape|EOF|expected"),
        (npy(draw_crop(0).view(np.int8)), "undecodable", "pixels of type int8"),
        (npy(draw_crop(0)[:-1]), "size", "111x112x3 pixels, not 112x112x3"),
        (npy(draw_crop(0).reshape(336, 112)), "size", "336x112 pixels, not 112x112x3"),
    ],
)
def test_what_is_no_such_crop_is_unusable(data, reason, detail):
    out = np.empty((112, 112, 3), np.uint8)
    with pytest.raises(UnusableCropError, match=detail) as caught:
        CropDecoder(112, 112).decode(memoryview(data), RAW, out)
    assert caught.value.reason == reason


@pytest.mark.parametrize(("verify", "reason"), [("none", "undecodable"), ("sample", "digest")])
def test_a_crop_that_was_overwritten_in_place_is_stood_in_for(mixture, verify, reason):
    with MixtureLoader(
        mixture, 12, layout="hwc", arrays="numpy", augment="none", verify=verify, prefetch=1
    ) as loader:
        for _ in loader:  # the shards are mapped from here on
            pass
        mixture.spoil(3)
        for _ in loader:  # its first batch was made before
            pass
        for batch in loader:
            assert 3 not in batch.rows
            for image, row in zip(batch.images, batch.rows, strict=True):
                assert np.array_equal(image, draw_crop(int(row)))
        assert loader.report().reasons.keys() == {reason}


def test_a_crop_beyond_the_end_of_its_shard_is_short(mixture):
    mixture.index.length[5] += 1 << 20
    with MixtureLoader(mixture, 12, arrays="numpy") as loader:
        for _ in loader:
            pass
        assert loader.report().reasons.keys() == {"short"}


def test_a_shard_that_is_gone_is_named(mixture):
    mixture.shard_paths[0].unlink()
    with (
        MixtureLoader(mixture, 12, arrays="numpy") as loader,
        pytest.raises(LoaderError, match=r"in .*shard-000000.tar: can't be read: No such file"),
    ):
        for _ in loader:
            pass


@pytest.fixture
def shards(tmp_path):
    paths = [tmp_path / f"{k}.tar" for k in range(10)]
    for k, path in enumerate(paths):
        path.write_bytes(bytes([k]) * 100)
    return paths


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0


def test_a_view_is_what_a_read_gives(shards):
    files = ShardFiles(shards)
    for place in ((3, 10, 5), (3, 97, 5), (3, 200, 5), (9, 0, 100)):
        assert files.view(*place) == files.read(*place)
    shards[4].write_bytes(b"")
    assert files.view(4, 0, 10) == b""
    shards[5].unlink()
    with pytest.raises(FileNotFoundError):
        files.view(5, 0, 1)


def test_views_and_reads_share_the_descriptors(shards):
    before = descriptors()
    files = ShardFiles(shards, most=4)
    for k in (*range(10), *range(10)):
        assert files.view(k, 0, 2) == files.read(9 - k, 0, 2).replace(bytes([9 - k]), bytes([k]))
        assert descriptors() <= before + 4
    last = files.view(9, 0, 2)
    files.close()
    assert last == b"\x09\x09"  # what was handed out stays
    del last
    assert descriptors() == before


def test_threads_view_while_others_push_maps_out(shards):
    files = ShardFiles(shards, most=2)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: bytes(files.view(i % 10, i % 90, 10)), range(4000)))
    assert found == [bytes([i % 10]) * 10 for i in range(4000)]
