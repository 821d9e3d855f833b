"""The compiled decoder of runs: the pixels of simplejpeg, or a refusal, whatever the bytes."""

import os
import random
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from zipfile import ZipFile

import cv2
import numpy as np
import pytest
import simplejpeg
from support.mixtures import HandMadeMixture, draw_jpegs, draw_pngs, hand_made
from support.process_loaders import make_mixture
from support.stores import draw_crop

from fusekit.errors import LoaderError
from fusekit.loader.crops import native, native_copy
from fusekit.loader.crops.files import ShardFiles
from fusekit.loader.loader import MixtureLoader

ROOT = Path(__file__).parents[2]
SIZE = 112
LIBRARY_BYTES = native.LIBRARY.read_bytes() if native.LIBRARY.exists() else b""
needs_library = pytest.mark.skipif(
    not native.LIBRARY.exists(),
    reason="decode_run.so was not built: pip install found no C compiler or no libjpeg-turbo",
)
KINDS = {
    f"{kind}{name}": ({"sampling": kind}, flags)
    for kind, (name, flags) in product(
        ("444", "422", "420", "440", "411"),
        {
            "": (),
            " progressive": (cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
            " restarts": (cv2.IMWRITE_JPEG_RST_INTERVAL, 3),
            " optimized": (cv2.IMWRITE_JPEG_OPTIMIZE, 1),
        }.items(),
    )
}


def encode(seed, sampling="444", flags=(), quality=90, size=(SIZE, SIZE)):
    image = cv2.resize(draw_crop(seed), size[::-1])
    factor = getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{sampling}")
    settings = [
        cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor, *flags,
    ]  # fmt: skip
    return cv2.imencode(".jpg", image, settings)[1].tobytes()


def grey(seed):
    image = np.ascontiguousarray(draw_crop(seed)[..., :1])
    return simplejpeg.encode_jpeg(image, 90, "GRAY", "Gray")


def strict(data, size=(SIZE, SIZE)):
    """What simplejpeg gives; None where it finds a fault or another size."""
    try:
        got = simplejpeg.decode_jpeg(data, "RGB")
    except ValueError:
        return None
    return got if got.shape == (*size, 3) else None


def decode(images, *, planes=False, flips=None, size=(SIZE, SIZE)):
    """Decode stored images by the library: which were decoded, and ``(n, H, W, 3)``."""
    decoder = native.find_native(*size)
    held = [np.frombuffer(image, np.uint8) for image in images]
    addresses = np.array([each.ctypes.data for each in held], np.int64)
    lengths = np.array([each.size for each in held], np.int64)
    shape = (3, *size) if planes else (*size, 3)
    out = np.zeros((len(images), *shape), np.uint8)
    made = decoder.decode(addresses, lengths, out, flips)
    return made, out.transpose(0, 2, 3, 1) if planes else out


@needs_library
def test_a_library_that_was_built_is_used():
    assert native.find_native(SIZE, SIZE) is not None


@needs_library
@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_pixels_are_those_of_simplejpeg(kind, planes):
    more, flags = KINDS[kind]
    images = [encode(k, flags=flags, quality=40 + 20 * k, **more) for k in range(4)]
    made, got = decode(images, planes=planes)
    assert made.all()
    assert np.array_equal(got, np.stack([strict(image) for image in images]))


@needs_library
def test_grey_images_have_three_equal_colours():
    images = [grey(k) for k in range(3)]
    made, got = decode(images)
    assert made.all()
    assert np.array_equal(got, np.stack([strict(image) for image in images]))
    assert np.array_equal(got[..., 0], got[..., 2])


@needs_library
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (16, 16), (17, 33), (112, 96), (63, 64)])
def test_every_size_in_every_layout_with_and_without_flips(size):
    images = [encode(k, "420", size=size) for k in range(5)]
    flips = np.array([True, False, True, True, False])
    wanted = np.stack([strict(image, size) for image in images])
    wanted[flips] = wanted[flips, :, ::-1]
    for planes in (False, True):
        made, got = decode(images, planes=planes, flips=flips, size=size)
        assert made.all()
        assert np.array_equal(got, wanted)


@needs_library
def test_an_image_without_tables_does_not_get_the_last_ones():
    whole = encode(0)
    at = whole.index(b"\xff\xdb")
    bare = whole[:at]
    while whole[at : at + 2] == b"\xff\xdb":  # quantization tables
        at += 2 + struct.unpack(">H", whole[at + 2 : at + 4])[0]
    bare += whole[at:]
    assert strict(bare) is None
    made, _ = decode([whole, bare, whole])
    assert made.tolist() == [True, False, True]


@needs_library
def test_what_is_no_crop_of_this_size_is_refused_and_the_rest_decoded():
    whole = encode(1)
    cmyk = simplejpeg.encode_jpeg(np.zeros((SIZE, SIZE, 4), np.uint8), colorspace="CMYK")
    bad = [
        b"", b"\xff", whole[:-200], whole[:20], encode(2, size=(112, 111)), b"\0" * 500, cmyk,
        encode(3, size=(SIZE, SIZE + 1)), cv2.imencode(".png", draw_crop(2))[1].tobytes(),
    ]  # fmt: skip
    images = [image for each in bad for image in (each, whole)]
    made, got = decode(images)
    assert made.tolist() == [False, True] * len(bad)
    assert np.array_equal(got[1::2], np.stack([strict(whole)] * len(bad)))


@needs_library
def test_an_image_of_many_scans_is_refused():
    image = encode(0, flags=(cv2.IMWRITE_JPEG_PROGRESSIVE, 1))
    first = image.index(b"\xff\xda")
    # Scans are repeated: each is a few bytes that cost a whole pass over the image.
    bomb = image[:first] + image[first:-2] * 2000 + b"\xff\xd9"
    made, _ = decode([bomb, image])
    assert made.tolist() == [False, True]


@needs_library
def test_a_progressive_image_that_lacks_scans_is_refused():
    image = encode(0, flags=(cv2.IMWRITE_JPEG_PROGRESSIVE, 1))
    scans = [at for at in range(len(image)) if image[at : at + 2] == b"\xff\xda"]
    tables = image.rindex(b"\xff\xc4", 0, scans[-1])
    part = image[: min(tables, scans[-1])] + b"\xff\xd9"
    assert strict(part) is not None  # smoothed, as its release of libjpeg-turbo does it
    made, _ = decode([part, image])
    assert made.tolist() == [False, True]


def mutations(count, seed):
    """Stored crops of many kinds with bytes changed, cut out, doubled, or lengths overwritten."""
    draw = random.Random(seed)
    pool = [encode(k, flags=flags, **more) for k, (more, flags) in enumerate(KINDS.values())]
    pool += [grey(k) for k in range(3)]
    for _ in range(count):
        data = bytearray(draw.choice(pool))
        head = min(len(data), 700)
        for _ in range(draw.choice([1, 1, 2, 5])):
            at = draw.randrange(min(draw.choice([head, len(data)]), len(data)))
            what = draw.randrange(7)
            if what == 0:
                data[at] ^= 1 << draw.randrange(8)
            elif what == 1:
                data[at] = draw.choice([0, 1, 2, 3, 0x11, 0x22, 0x7F, 0xFF])
            elif what == 2:
                del data[at : at + draw.randrange(1, 40)]
            elif what == 3:
                data[at:at] = data[at : at + draw.randrange(1, 400)]
            elif what == 4:
                del data[max(at, 2) :]
            elif what == 5:
                data[at : at + 2] = bytes([0xFF, draw.choice(range(0xC0, 0xFF))])
            else:
                found = data.find(bytes([0xFF, draw.choice([0xC0, 0xC2, 0xC4, 0xDA, 0xDB, 0xDD])]))
                if found >= 0:
                    data[found + draw.randrange(2, 12) : found + 12] = draw.randbytes(3)
            if len(data) < 4:
                break
        yield bytes(data)


def compare(count, seed):
    """Decode mutated crops in both ways; give how many each accepts."""
    ours = theirs = 0
    images = list(mutations(count, seed))
    for start in range(0, count, 50):
        part = images[start : start + 50]
        made, got = decode(part)
        for image, ok, pixels in zip(part, made.tolist(), got, strict=True):
            wanted = strict(image)
            theirs += wanted is not None
            ours += ok
            if ok:
                assert wanted is not None, image.hex()
                assert np.array_equal(pixels, wanted), image.hex()
    return ours, theirs


@needs_library
def test_hostile_bytes_are_decoded_as_by_simplejpeg_or_refused():
    ours, theirs = compare(4000, seed=1)
    assert theirs > 400
    assert ours >= 0.95 * theirs


@needs_library
def test_threads_decode_at_once():
    images = [encode(k) for k in range(20)]
    wanted = np.stack([strict(image) for image in images])
    with ThreadPoolExecutor(6) as pool:
        for made, got in pool.map(lambda _: decode(images, planes=True), range(60)):
            assert made.all()
            assert np.array_equal(got, wanted)


@needs_library
def test_arrays_that_the_library_would_read_past_are_refused():
    decoder = native.find_native(SIZE, SIZE)
    ok, out = np.zeros(2, np.int64), np.zeros((2, SIZE, SIZE, 3), np.uint8)
    assert not decoder.decode(ok, ok, out, None).any()
    for addresses, lengths, place, flips in (
        (ok[:1], ok, out, None), (ok, ok[:1], out, None), (ok, ok.astype(np.int32), out, None),
        (ok, ok, out[:, :100], None), (ok, ok, out[..., ::-1], None),
        (ok, ok, out.astype(np.int16), None), (ok, ok, out, np.zeros(1, bool)),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"\("):
            decoder.decode(addresses, lengths, place, flips)


def batches(mixture, used, monkeypatch, **settings):
    """All batches of an epoch, with the library or without it; and the loader's report."""
    monkeypatch.setenv("FUSEKIT_NATIVE", str(used))
    with MixtureLoader(mixture, 24, threads=2, arrays="numpy", **settings) as loader:
        found = [(b.rows.tolist(), b.images.copy(), b.labels.tolist()) for b in loader]
        assert loader.stats()["native"] == used
        assert loader.stats()["images"] >= 24 * len(found)
        return found, loader.report()


def assert_alike(mixture, monkeypatch, **settings):
    (ours, report), (theirs, other) = (
        batches(mixture, used, monkeypatch, **settings) for used in (1, 0)
    )
    assert len(ours) == len(theirs) > 1
    for a, b in zip(ours, theirs, strict=True):
        assert (a[0], a[2]) == (b[0], b[2])
        assert np.array_equal(a[1], b[1])
    assert sorted(report.bad) == sorted(other.bad)
    assert (report.reasons, report.stood_in) == (other.reasons, other.stood_in)
    return report


@needs_library
@pytest.mark.parametrize("augment", ["none", None, {"flip": 1.0}])
@pytest.mark.parametrize("layout", ["chw", "hwc"])
def test_batches_are_the_same_bit_for_bit(tmp_path, monkeypatch, layout, augment):
    mixture = hand_made(tmp_path, (60, 33), (29,))
    assert_alike(mixture, monkeypatch, layout=layout, augment=augment)


@needs_library
def test_batches_of_a_process_are_the_same_too(tmp_path, monkeypatch):
    assert_alike(make_mixture(tmp_path), monkeypatch, process=True)


@needs_library
@pytest.mark.parametrize("layout", ["chw", "hwc"])
def test_damaged_crops_are_stood_in_for_alike(tmp_path, monkeypatch, layout):
    mixture = hand_made(tmp_path, (60, 33), (29,))
    for row in (3, 4, 40, 100):
        mixture.spoil(row)
    mixture.index.length[50] = 0
    mixture.index.offset[70] += 10**9
    mixture.index.offset[71] = -5
    mixture.index.length[20] -= 300
    report = assert_alike(mixture, monkeypatch, layout=layout, max_bad=1.0)
    assert set(report.reasons) == {"undecodable", "erased", "short"}
    assert report.stood_in >= 8


@needs_library
@pytest.mark.parametrize("layout", ["chw", "hwc"])
def test_other_formats_among_jpeg_crops_go_the_ordinary_way(tmp_path, monkeypatch, layout):
    mixture = HandMadeMixture(tmp_path, [draw_jpegs(40), draw_pngs(40, 1)], [draw_jpegs(20, 2)])
    mixture.index.format[40:80] = 1
    mixture.index.format[85] = 9  # a format that nobody knows
    report = assert_alike(mixture, monkeypatch, layout=layout, max_bad=1.0)
    assert set(report.reasons) == {"format"}


@needs_library
def test_an_empty_shard_is_short_and_a_missing_one_is_named(tmp_path, monkeypatch):
    mixture = hand_made(tmp_path, (40,), (), per_shard=20)
    mixture.unlabeled_fraction *= 0
    mixture.shard_paths[1].write_bytes(b"")
    assert set(assert_alike(mixture, monkeypatch, max_bad=1.0).reasons) == {"short"}
    mixture.shard_paths[1].unlink()
    with pytest.raises(LoaderError, match=r"shard-000020\.tar"):
        batches(mixture, 1, monkeypatch)


@needs_library
def test_shards_on_another_machine_are_read_by_calls(tmp_path, monkeypatch):
    monkeypatch.setattr("fusekit.loader.crops.files.is_local", lambda folder: False)
    assert_alike(hand_made(tmp_path, (60, 33), (29,)), monkeypatch)


@needs_library
@pytest.mark.parametrize("verify", ["sample", "shard"])
def test_stored_bytes_are_verified_one_by_one_without_it(tmp_path, verify):
    with MixtureLoader(hand_made(tmp_path), 8, arrays="numpy", verify=verify) as loader:
        list(loader)
        assert loader.stats()["native"] == 0


def test_ranges_outside_a_shard_are_not_located(tmp_path):
    path = tmp_path / "0.tar"
    path.write_bytes(b"x" * 100)
    files = ShardFiles([path, tmp_path / "missing.tar"])
    asked = [(0, 0, 100), (0, 0, 101), (0, 100, 0), (0, -1, 5), (0, 2**62, 5), (1, 0, 5)]
    shards, offsets, lengths = np.array(asked, np.int64).T
    assert files.locate(shards, offsets, lengths).lengths.tolist() == [100, 0, 0, 0, 0, 0]


@needs_library
def test_located_bytes_stay_when_their_map_is_pushed_out(tmp_path):
    paths = []
    for k in range(6):
        paths.append(tmp_path / f"{k}.tar")
        paths[-1].write_bytes(encode(k))
    files = ShardFiles(paths, most=2)
    sizes = np.array([path.stat().st_size for path in paths])
    located = files.locate(np.arange(6), np.zeros(6, np.int64), sizes)
    files.close()
    out = np.zeros((6, SIZE, SIZE, 3), np.uint8)
    decoder = native.find_native(SIZE, SIZE)
    assert decoder.decode(located.addresses, located.lengths, out, None).all()
    assert np.array_equal(out[5], strict(encode(5)))


def test_without_a_library_nothing_is_said_and_nothing_used(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(native, "LIBRARY", tmp_path / "decode_run.so")
    monkeypatch.setattr(native_copy, "LIBRARY", tmp_path / "copy_run.so")
    assert native.find_native(SIZE, SIZE) is None
    (tmp_path / "mixture").mkdir()
    with MixtureLoader(hand_made(tmp_path / "mixture"), 8, arrays="numpy") as loader:
        assert len(list(loader)) > 1
        assert loader.stats()["native"] == 0
    assert not caplog.records


def test_a_library_that_does_not_load_is_told_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(native, "LIBRARY", tmp_path / "decode_run.so")
    (tmp_path / "decode_run.so").write_bytes(b"no library")
    assert native.find_native(SIZE, SIZE) is None
    assert native.find_native(SIZE, SIZE) is None
    (record,) = caplog.records
    assert "decode_run.so can't be used" in record.getMessage()


@needs_library
def test_a_library_of_an_older_source_is_not_used(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(native, "LIBRARY", tmp_path / "decode_run.so")
    monkeypatch.setattr(native, "_NAME", "fusekit_decode_run_2")
    (tmp_path / "decode_run.so").write_bytes(LIBRARY_BYTES)
    assert native.find_native(SIZE, SIZE) is None
    assert "fusekit_decode_run_2" in caplog.text


@needs_library
def test_a_library_that_gives_other_pixels_is_not_used(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(native, "LIBRARY", tmp_path / "decode_run.so")
    (tmp_path / "decode_run.so").write_bytes(LIBRARY_BYTES)
    whole = simplejpeg.decode_jpeg
    monkeypatch.setattr(native.simplejpeg, "decode_jpeg", lambda *a: whole(*a) ^ 1)
    assert native.find_native(SIZE, SIZE) is None
    assert "decode_run.so gives other values than it must: crops are decoded one by" in caplog.text


def build(folder, **environment):
    """Build a wheel as an installer does; give its name and files."""
    code = "import sys, hatchling.build; print(hatchling.build.build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, folder], cwd=ROOT, env=os.environ | environment,
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    name = done.stdout.split()[-1]
    with ZipFile(folder / name) as wheel:
        return name, set(wheel.namelist())


@needs_library
def test_a_wheel_with_the_library_is_of_its_platform_alone(tmp_path):
    name, files = build(tmp_path)
    assert "fusekit/loader/crops/decode_run.so" in files
    assert name.split("-")[2:4] == ["py3", "none"]
    assert not name.endswith("-any.whl")


@pytest.mark.parametrize(
    "missing", [{"FUSEKIT_NATIVE": "0"}, {"CC": "/nowhere/cc"}, {"CC": "false"}]
)
def test_a_wheel_without_a_compiler_serves_every_platform(tmp_path, missing):
    name, files = build(tmp_path, **missing)
    assert name.endswith("-py3-none-any.whl")
    assert not any("decode_run" in file for file in files)
