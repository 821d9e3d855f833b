"""The compiled copier of runs: whole crops as they are meant, or a refusal, whatever the bytes."""

import ctypes
import mmap
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.mixtures import hand_made

from fusekit.loader.crops import native, native_copy
from fusekit.loader.crops.decode import npy_head
from fusekit.loader.loader import MixtureLoader

COPY_BYTES = native_copy.LIBRARY.read_bytes() if native_copy.LIBRARY.exists() else b""
pytestmark = pytest.mark.skipif(
    not native_copy.LIBRARY.exists(),
    reason="copy_run.so was not built: pip install found no C compiler",
)
SIZES = [(1, 1), (1, 8), (8, 1), (4, 2), (7, 5), (16, 17), (112, 112), (112, 96)]


def draw(count, size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *size, 3), dtype=np.uint8)


def copy(crops, *, planes=False, flips=None, sums=None, head=b"", lengths=None):
    """Copy crops by the library: which were copied, and ``(n, H, W, 3)``."""
    count, height, width, _ = crops.shape
    held = [np.frombuffer(head + crop.tobytes(), np.uint8) for crop in crops]
    addresses = np.array([each.ctypes.data for each in held], np.int64)
    sizes = np.array([each.size for each in held], np.int64) if lengths is None else lengths
    out = np.zeros((count, *((3, height, width) if planes else (height, width, 3))), np.uint8)
    copier = native_copy.find_copier(height, width)
    made = copier.copy(addresses, sizes, out, flips, sums=sums, head=head)
    return made, out.transpose(0, 2, 3, 1) if planes else out


def sums_of(crops):
    return crops.reshape(len(crops), -1).view("<u8").sum(axis=1, dtype=np.uint64)


@pytest.mark.parametrize("headed", [False, True])
@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_crops_arrive_as_they_are_or_mirrored(size, planes, headed):
    crops = draw(5, size)
    head = npy_head((*size, 3)) if headed else b""
    flips = np.array([True, False, True, True, False])
    for chosen in (None, flips):
        made, got = copy(crops, planes=planes, flips=chosen, head=head)
        assert made.all()
        wanted = crops.copy()
        if chosen is not None:
            wanted[chosen] = wanted[chosen][:, :, ::-1]
        assert np.array_equal(got, wanted)


@pytest.mark.parametrize("planes", [False, True])
def test_a_crop_that_was_changed_since_its_sum_is_refused(planes):
    crops = draw(4, (8, 8))
    sums = sums_of(crops)
    crops[1, 7, 7, 2] ^= 1
    crops[2, 0, 0, 0] ^= 128
    for flips in (None, np.array([False, True, False, True])):
        made, got = copy(crops, planes=planes, flips=flips, sums=sums)
        assert made.tolist() == [True, False, False, True]
        assert np.array_equal(got[0], crops[0])


def test_crops_that_are_no_whole_words_are_not_compared():
    assert not native_copy.find_copier(7, 5).sums
    with pytest.raises(ValueError, match=r"\(7, 5\)"):
        copy(draw(2, (7, 5)), sums=np.zeros(2, np.uint64))


def test_other_lengths_and_heads_are_refused_and_nothing_else_is_touched():
    crops, head = draw(4, (4, 6)), npy_head((4, 6, 3))
    full = len(head) + 72
    made, got = copy(crops, head=head, lengths=np.array([full, full - 1, 0, full + 1]))
    assert made.tolist() == [True, False, False, False]
    assert not got[1:].any()
    made, _ = copy(crops[:1], head=npy_head((6, 4, 3)), lengths=np.array([full]))
    assert made.all()  # the head that is asked for is the one that was written
    held = np.frombuffer(head + crops[0].tobytes(), np.uint8)
    out = np.zeros((1, 4, 6, 3), np.uint8)
    copier = native_copy.find_copier(4, 6)
    assert not copier.copy(
        np.array([held.ctypes.data]), np.array([full]), out, None, head=npy_head((6, 4, 3))
    ).any()


@pytest.mark.parametrize("planes", [False, True])
def test_nothing_is_read_before_or_past_a_crop(planes):
    """The crop fills the last bytes before a page that can't be read, and the first behind one."""
    height, width = 112, 112
    size = height * width * 3
    pages = -(-size // mmap.PAGESIZE)
    area = mmap.mmap(-1, (pages + 2) * mmap.PAGESIZE)
    base = np.frombuffer(area, np.uint8).ctypes.data
    library = ctypes.CDLL(None)
    library.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for at in (base, base + (pages + 2) * mmap.PAGESIZE - mmap.PAGESIZE):
        assert library.mprotect(at, mmap.PAGESIZE, 0) == 0
    first, last = mmap.PAGESIZE, (pages + 1) * mmap.PAGESIZE - size
    whole = np.frombuffer(area, np.uint8)
    copier = native_copy.find_copier(height, width)
    try:
        for at in (first, last):
            whole[at : at + size] = draw(1, (height, width)).reshape(-1)
            for flips in (None, np.ones(1, bool)):
                out = np.zeros((1, 3, height, width) if planes else (1, height, width, 3), np.uint8)
                assert copier.copy(np.array([base + at]), np.array([size]), out, flips).all()
    finally:
        library.mprotect(base, (pages + 2) * mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE)


@given(st.data())
def test_any_run_is_what_numpy_makes_of_it(data):
    size = data.draw(st.tuples(st.integers(1, 20), st.integers(1, 20)))
    count = data.draw(st.integers(1, 6))
    crops = draw(count, size, data.draw(st.integers(0, 99)))
    flips = np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    there = np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    planes = data.draw(st.booleans())
    lengths = np.where(there, crops[0].size, 0)
    made, got = copy(crops, planes=planes, flips=flips, lengths=lengths)
    assert np.array_equal(made, there)
    wanted = np.where(flips[:, None, None, None], crops[:, :, ::-1], crops)
    assert np.array_equal(got, np.where(there[:, None, None, None], wanted, 0))


def test_threads_copy_at_once():
    crops = draw(20, (112, 112))
    with ThreadPoolExecutor(4) as pool:
        for made, got in pool.map(lambda _: copy(crops, planes=True), range(40)):
            assert made.all()
            assert np.array_equal(got, crops)


def test_arrays_that_the_library_would_read_past_are_refused():
    copier = native_copy.find_copier(4, 6)
    ok, out = np.zeros(2, np.int64), np.zeros((2, 4, 6, 3), np.uint8)
    assert not copier.copy(ok, ok, out, None).any()
    for addresses, lengths, place, flips, sums in (
        (ok[:1], ok, out, None, None), (ok, ok[:1], out, None, None),
        (ok, ok.astype(np.int32), out, None, None), (ok, ok, out[:, :3], None, None),
        (ok, ok, out[..., ::-1], None, None), (ok, ok, out, np.zeros(1, bool), None),
        (ok, ok, out, None, np.zeros(1, np.uint64)), (ok, ok, out, None, ok),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"\("):
            copier.copy(addresses, lengths, place, flips, sums=sums)


def test_a_library_that_copies_otherwise_is_not_used(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(native_copy, "LIBRARY", tmp_path / "copy_run.so")
    assert native_copy.find_copier(8, 8) is None
    assert not caplog.records
    library = tmp_path / "other" / "copy_run.so"  # what was found at a path is remembered
    library.parent.mkdir()
    library.write_bytes(COPY_BYTES)
    monkeypatch.setattr(native_copy, "LIBRARY", library)
    whole = native_copy.NativeCopier.copy
    monkeypatch.setattr(native_copy.NativeCopier, "copy", lambda *a, **k: ~whole(*a, **k))
    assert native_copy.find_copier(8, 8) is None
    assert "copy_run.so gives other values than it must: stored pixels are" in caplog.text


def epochs(mixture, used, monkeypatch, **settings):
    """All batches of two epochs, with the libraries or without; the report and the counts."""
    monkeypatch.setenv("FUSEKIT_NATIVE", str(used))
    with MixtureLoader(mixture, 24, threads=2, arrays="numpy", **settings) as loader:
        found = [(b.rows.tolist(), b.images.copy()) for _ in range(2) for b in loader]
        stats = loader.stats()
        assert stats["native"] == used
        return found, loader.report(), stats


def assert_alike(mixture, monkeypatch, folder=None, **settings):
    """The same batches bit for bit; with a folder, of caches, one each."""
    results = []
    for used in (1, 0):
        more = {} if folder is None else {"cache": {"decoded": True, "folder": folder / str(used)}}
        results.append(epochs(mixture, used, monkeypatch, **settings, **more))
    (ours, report, stats), (theirs, other, plain) = results
    assert len(ours) == len(theirs) > 2
    for a, b in zip(ours, theirs, strict=True):
        assert a[0] == b[0]
        assert np.array_equal(a[1], b[1])
    assert sorted(report.bad) == sorted(other.bad)
    assert stats["images"] >= 24 * len(ours)
    return report, stats, plain


@pytest.mark.parametrize("augment", ["none", None, {"flip": 0.5, "grayscale": 0.5, "cutout": 0.3}])
@pytest.mark.parametrize("layout", ["chw", "hwc"])
@pytest.mark.parametrize("code", [0, 2])
def test_batches_are_the_same_bit_for_bit(tmp_path, monkeypatch, code, layout, augment):
    mixture = hand_made(tmp_path, (60, 33), (29,), code=code)
    assert_alike(mixture, monkeypatch, layout=layout, augment=augment)


@pytest.mark.parametrize("augment", ["none", None, {"flip": 0.5, "grayscale": 0.5}])
@pytest.mark.parametrize("layout", ["chw", "hwc"])
@pytest.mark.parametrize("code", [0, 1, 2])
def test_kept_crops_are_the_same_bit_for_bit(tmp_path, monkeypatch, code, layout, augment):
    mixture = hand_made(tmp_path, (60, 33), (29,), code=code)
    _, ours, theirs = assert_alike(
        mixture, monkeypatch, tmp_path / "kept", layout=layout, augment=augment
    )
    # A row that two batches in work want at once is decoded, and kept, twice.
    assert min(ours["cache_stored"], theirs["cache_stored"]) >= 122
    assert min(ours["cache_hits"], theirs["cache_hits"]) > 0.4


def test_damaged_raw_crops_are_stood_in_for_alike(tmp_path, monkeypatch):
    mixture = hand_made(tmp_path, (60, 33), (29,), code=2)
    for row in (3, 4, 40, 100):
        mixture.spoil(row)  # the first byte of the head
    mixture.index.length[50] = 0
    mixture.index.offset[70] += 10**9
    mixture.index.length[20] -= 300
    report, *_ = assert_alike(mixture, monkeypatch, max_bad=1.0)
    assert {each.reason for each in report.bad} >= {"undecodable", "erased", "short"}


@pytest.mark.parametrize("verify", ["sample", "shard"])
def test_kept_crops_are_copied_at_once_where_stored_ones_are_verified(
    tmp_path, monkeypatch, verify
):
    mixture = hand_made(tmp_path, (60, 33), (29,))
    assert_alike(mixture, monkeypatch, tmp_path / "kept", verify=verify)


def test_where_not_all_fit_the_rest_is_decoded_at_once(tmp_path, monkeypatch):
    mixture = hand_made(tmp_path, (300, 300), (200,))
    settings = {"decoded": True, "folder": tmp_path / "kept", "size": 500 * 112 * 112 * 3}
    stats = epochs(mixture, 1, monkeypatch, cache=settings)[2]
    assert 0 < stats["cache_stored"] < 800
    assert 0 < stats["cache_room"] < 1


def test_without_the_decoder_raw_crops_are_copied_still(tmp_path, monkeypatch):
    monkeypatch.setattr(native, "LIBRARY", tmp_path / "decode_run.so")
    (tmp_path / "raw").mkdir()
    assert_alike(hand_made(tmp_path / "raw", (60, 33), (29,), code=2), monkeypatch)
