"""Decoded crops on the disk: the same pixels as without, under one bound, whatever happens."""

import errno
import logging
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import simplejpeg
from support.mixtures import hand_made
from support.stores import draw_sized_crop

from fusekit.errors import LoaderError
from fusekit.loader.cache import CacheSettings
from fusekit.loader.crops import crop_file
from fusekit.loader.crops.crop_file import CropLayout, open_crop_file
from fusekit.loader.crops.decoded import DecodedCache
from fusekit.loader.loader import MixtureLoader

CROP = 112 * 112 * 3
HEAD = 8192  # of a file for at most 256 crops: a page for the head, a page for the marks
WHOLE = HEAD + 256 * CROP

STORING = """
from pathlib import Path
from types import SimpleNamespace
import numpy as np
from fusekit.loader.cache import CacheSettings
from fusekit.loader.crops.decoded import DecodedCache
crops = np.load({crops!r})
mixture = SimpleNamespace(
    fingerprint="a" * 64, template="arcface-112", crop_size=(112, 112),
    index=SimpleNamespace(length=np.full(len(crops), 5000, np.int32)),
)
cache = DecodedCache.open(mixture, CacheSettings(True, folder=Path({folder!r})))
print("open", flush=True)
while True:
    for row, crop in enumerate(crops):
        cache.store(row, crop)
"""


@pytest.fixture
def mixture(tmp_path):
    return hand_made(tmp_path)  # 42 rows


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


def plain(rows=40, fingerprint="a" * 64, size=(112, 112)):
    """What the cache asks of a mixture."""
    index = SimpleNamespace(length=np.full(rows, 5000, np.int32))
    return SimpleNamespace(
        fingerprint=fingerprint, template="arcface-112", crop_size=size, index=index
    )


def pixels(row, size=(112, 112)):
    return draw_sized_crop(row, size)


def opened(mixture, folder, size=None):
    return DecodedCache.open(mixture, CacheSettings(True, folder=folder, size=size))


def fill(cache, rows):
    for row in rows:
        cache.store(row, pixels(row))


def kept(cache, rows, size=(112, 112)):
    """The rows that the cache gives, each of which has to be right."""
    width, height = size
    out = np.full((len(rows), height, width, 3), 7, np.uint8)
    found = cache.load(np.array(rows, np.int64), out)
    for place in np.flatnonzero(found):
        assert np.array_equal(out[place], pixels(rows[place], size))
    return {row for row, there in zip(rows, found, strict=True) if there}


def files(folder):
    return sorted((folder / "decoded").glob("*.crops"))


def total(folder):
    return sum(path.stat().st_size for path in files(folder))


def images(loader, epochs):
    return [batch.images.copy() for _ in range(epochs) for batch in loader]


@pytest.mark.parametrize("layout", ["chw", "hwc"])
@pytest.mark.parametrize("size", [None, HEAD + 9 * CROP])
def test_epochs_with_a_cache_hold_the_pixels_of_those_without(mixture, folder, layout, size):
    opening = partial(
        MixtureLoader, mixture, 12, arrays="numpy", layout=layout, threads=2,
        augment={"flip": 0.5, "cutout": 0.3},
    )  # fmt: skip
    cache = {"decoded": True, "folder": folder, "size": size}
    with opening() as without, opening(cache=cache) as cached:
        assert all(map(np.array_equal, images(without, 4), images(cached, 4)))
        hits = cached.stats()["cache_hits"]
    assert hits > 0.5 if size is None else 0 < hits < 0.5
    with opening() as without, opening(cache=cache) as cached:
        assert all(map(np.array_equal, images(without, 1), images(cached, 1)))
        stats = cached.stats()
    assert stats["cache_hits"] == 1 if size is None else stats["cache_hits"] < 0.5
    assert stats["cache_stored"] == 0


def test_what_is_kept_is_told_row_by_row(folder):
    cache = opened(plain(), folder)
    assert kept(cache, range(40)) == set()
    fill(cache, (3, 5, 39))
    assert kept(cache, range(40)) == {3, 5, 39}
    assert cache.figures() == {"cache_stored": 3, "cache_room": 1.0, "cache_mb": 256 * CROP / 1e6}
    cache.close()
    assert kept(cache, [3]) == set()
    assert kept(opened(plain(), folder), [3, 3, 4]) == {3}


def test_a_black_crop_is_kept_too(folder):
    cache = opened(plain(), folder)
    cache.store(4, np.zeros((112, 112, 3), np.uint8))
    out = np.ones((2, 112, 112, 3), np.uint8)
    assert cache.load(np.array([4, 5]), out).tolist() == [True, False]
    assert not out[0].any()


@pytest.mark.parametrize("size", [(150, 150), (111, 111), (96, 112)])
def test_crops_of_any_size_are_kept(folder, size):
    cache = opened(plain(size=size), folder)
    cache.store(7, pixels(7, size))
    assert kept(cache, [7, 8], size) == {7}


def test_threads_store_and_load_the_same_crops_at_once(folder):
    cache = opened(plain(), folder)

    def work(thread):
        rows = np.random.default_rng(thread).permutation(40).tolist()
        for _ in range(20):
            fill(cache, rows[:5])
            kept(cache, rows)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))


def test_where_not_all_fit_a_fixed_part_is_kept_under_the_bound(folder):
    bound = HEAD + 3000 * 8 + 4096 + 1000 * CROP
    cache = opened(plain(3000), folder, bound)
    for row in range(0, 3000, 7):
        cache.store(row, pixels(row))
    there = kept(cache, range(0, 3000, 7))
    assert 1 / 4 < len(there) / 429 < 5 / 12
    assert cache.figures()["cache_room"] == pytest.approx(1 / 3, abs=0.01)
    assert total(folder) <= bound
    cache.close()
    cache = opened(plain(3000), folder, bound)
    assert kept(cache, range(0, 3000, 7)) == there
    cache.close()
    # A larger bound keeps more, a smaller one less, and none moves what stays.
    more = opened(plain(3000), folder, 2 * bound)
    assert kept(more, range(0, 3000, 7)) == there
    more.close()
    less = opened(plain(3000), folder, bound // 2)
    assert kept(less, range(0, 3000, 7)) < there
    assert total(folder) <= bound // 2
    less.close()
    # The marks of the crops that were cut off are still there: they must not count.
    again = opened(plain(3000), folder, bound)
    assert kept(again, range(0, 3000, 7)) < there


def test_no_room_for_one_crop_is_said_once_and_nothing_is_kept(folder, caplog):
    with caplog.at_level(logging.WARNING, "fusekit.loader"):
        cache = opened(plain(), folder, HEAD + CROP - 1)
    assert caplog.messages == [f"{folder}/decoded: no room for decoded crops: none is kept"]
    fill(cache, range(3))
    assert kept(cache, range(3)) == set()
    assert cache.figures()["cache_room"] == 0
    assert files(folder) == []


def test_by_default_half_of_what_is_free_is_the_bound(folder, monkeypatch):
    def disk(free):
        return lambda path: SimpleNamespace(f_bavail=free // 512, f_frsize=512)

    monkeypatch.setattr(os, "statvfs", disk(2 * (HEAD + 10 * CROP)))
    cache = opened(plain(), folder)
    assert total(folder) == HEAD + 10 * CROP
    cache.close()
    monkeypatch.setattr(crop_file, "MOST", HEAD + 20 * CROP)
    monkeypatch.setattr(os, "statvfs", disk(1 << 40))
    assert opened(plain(), folder).figures()["cache_room"] == 20 / 40


def test_another_mixture_reads_nothing_of_this_one(folder):
    fill(opened(plain(), folder), range(9))
    assert kept(opened(plain(fingerprint="b" * 64), folder), range(9)) == set()
    assert kept(opened(plain(41), folder), range(9)) == set()
    other = plain()
    other.template = "sphereface-112x112"
    assert kept(opened(other, folder), range(9)) == set()
    assert len(files(folder)) == 4


def test_other_releases_of_the_decoders_read_nothing_of_it(folder, monkeypatch):
    fill(opened(plain(), folder), range(9))
    monkeypatch.setattr(simplejpeg, "__version__", "99")
    assert kept(opened(plain(), folder), range(9)) == set()


def test_files_of_other_mixtures_make_room_the_one_used_longest_ago_first(folder):
    for name in "abc":
        opened(plain(fingerprint=name * 64), folder, 3 * WHOLE).close()
        time.sleep(0.02)  # file times are as coarse as the system's clock tick
    opened(plain(fingerprint="a" * 64), folder, 3 * WHOLE).close()
    before = files(folder)
    opened(plain(fingerprint="d" * 64), folder, 3 * WHOLE).close()
    (gone,) = set(before) - set(files(folder))
    assert total(folder) == 3 * WHOLE
    opened(plain(fingerprint="b" * 64), folder, 4 * WHOLE).close()
    assert gone in files(folder)


def test_a_file_in_use_stays_and_takes_its_part_of_the_bound(folder, caplog):
    bound = WHOLE + HEAD + 5 * CROP
    first = opened(plain(), folder, bound)
    fill(first, range(9))
    second = opened(plain(fingerprint="b" * 64), folder, bound)
    assert second.figures()["cache_room"] == 5 / 40
    opened(plain(fingerprint="c" * 64), folder, bound)
    assert "no room" in caplog.text
    assert total(folder) == bound
    assert kept(first, range(9)) == set(range(9))


def test_a_file_in_use_is_joined_as_it_is(folder):
    first = opened(plain(), folder, WHOLE)
    fill(first, range(9))
    assert kept(opened(plain(), folder, HEAD + CROP), range(9)) == set(range(9))
    assert kept(first, range(9)) == set(range(9))


def test_a_file_grows_under_those_who_use_it(folder):
    first = opened(plain(), folder, HEAD + 9 * CROP)
    second = opened(plain(), folder, WHOLE)
    fill(second, range(40))
    assert kept(second, range(40)) == set(range(40))
    assert len(kept(first, range(40))) == 9


@pytest.mark.parametrize("where", [0, 4096, 20000, CROP - 1])
def test_a_torn_crop_is_a_miss_until_it_is_written_anew(folder, where):
    cache = opened(plain(), folder)
    fill(cache, range(3))
    with files(folder)[0].open("r+b") as file:
        # As after a power loss: a page of the second crop never reached the disk.
        file.seek(HEAD + CROP + where)
        old = file.read(min(4096, CROP - where))
        file.seek(HEAD + CROP + where)
        file.write(bytes(len(old)) if any(old) else b"\1" * len(old))
    assert kept(cache, range(3)) == {0, 2}
    cache.store(1, pixels(1))
    assert kept(cache, range(3)) == {0, 1, 2}


def test_damaged_marks_serve_nothing_wrong(folder):
    cache = opened(plain(), folder)
    fill(cache, range(20))
    with files(folder)[0].open("r+b") as file:
        file.seek(4096 + 5 * 8)
        file.write(os.urandom(20 * 8))
    assert kept(cache, range(40)) == set(range(5))


def test_a_file_with_another_head_is_started_anew(folder):
    cache = opened(plain(), folder)
    fill(cache, range(5))
    cache.close()
    files(folder)[0].write_bytes(b"something else" * 1000)
    cache = opened(plain(), folder)
    assert kept(cache, range(5)) == set()
    fill(cache, range(5))
    assert kept(cache, range(5)) == set(range(5))


def test_a_damaged_file_that_another_holds_is_left_alone(folder, caplog):
    cache = opened(plain(), folder)
    fill(cache, range(5))
    with files(folder)[0].open("r+b") as file:
        file.write(b"?")
    assert kept(opened(plain(), folder), range(5)) == set()
    assert "no room" in caplog.text
    assert kept(cache, range(5)) == set(range(5))


def test_erased_rows_are_not_served_and_leave_the_disk_at_the_next_opening(folder):
    mixture = plain()
    cache = opened(mixture, folder)
    fill(cache, range(40))
    mixture.index.length[7] = 0
    assert kept(cache, range(40)) == set(range(40)) - {7}
    trace = pixels(7).tobytes()
    assert trace in files(folder)[0].read_bytes()
    cache.close()
    cache = opened(mixture, folder)
    assert kept(cache, range(40)) == set(range(40)) - {7}
    assert trace not in files(folder)[0].read_bytes()


def test_a_row_that_was_stood_in_for_is_not_kept(mixture, folder):
    mixture.spoil(3)
    for _ in range(2):
        with MixtureLoader(
            mixture, 12, arrays="numpy", layout="hwc", augment="none",
            cache={"decoded": True, "folder": folder},
        ) as loader:  # fmt: skip
            for batch in loader:
                for place, row in enumerate(batch.rows):
                    assert np.array_equal(
                        batch.images[place], simplejpeg.decode_jpeg(mixture.images[row])
                    )
            assert [bad.key for bad in loader.report().bad] == ["key00003_00"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_takes_no_more_ends_the_keeping_with_one_line(
    mixture, folder, monkeypatch, caplog, code
):
    whole, calls = os.pwrite, []

    def pwrite(fd, data, offset):
        calls.append(offset)
        if len(calls) > 20:
            raise OSError(code, os.strerror(code))
        return whole(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    cache = {"decoded": True, "folder": folder}
    opening = partial(MixtureLoader, mixture, 12, arrays="numpy", augment="none", threads=1)
    with opening() as without, opening(cache=cache) as cached:
        assert all(map(np.array_equal, images(without, 3), images(cached, 3)))
        assert 0 < cached.stats()["cache_hits"] < 1
    assert caplog.messages == [
        f"decoded crops can't be written ({os.strerror(code)}): no more are kept in this run"
    ]
    assert len(calls) == 21


def test_a_write_that_the_system_cuts_is_carried_on(folder, monkeypatch):
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: whole(fd, data[:10_000], at))
    cache = opened(plain(), folder)
    fill(cache, range(3))
    assert kept(cache, range(3)) == {0, 1, 2}


def test_a_folder_that_cant_be_written_is_refused(tmp_path, mixture):
    (tmp_path / "file").write_bytes(b"")
    cache = {"decoded": True, "folder": tmp_path / "file"}
    with pytest.raises(LoaderError, match=r"file/decoded: can't keep decoded crops \(Not a dir"):
        MixtureLoader(mixture, 12, arrays="numpy", cache=cache)


def test_the_folder_is_fusekits_cache_unless_it_is_given(tmp_path, monkeypatch):
    monkeypatch.setenv("FUSEKIT_CACHE", str(tmp_path / "mine"))
    opened(plain(), None).close()
    assert len(files(tmp_path / "mine")) == 1


def test_a_file_is_sparse(folder):
    cache = opened(plain(), folder)
    fill(cache, range(3))
    assert files(folder)[0].stat().st_blocks * 512 < HEAD + 6 * CROP


def test_an_opening_that_fails_leaves_no_lock(folder, monkeypatch):
    layout = CropLayout({"of": "test"}, 256, CROP)
    monkeypatch.setattr(crop_file.CropFile, "__init__", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        open_crop_file(folder, layout, None)
    monkeypatch.undo()
    file = open_crop_file(folder, layout, HEAD + CROP)  # alone, so that it may be cut
    assert file is not None
    assert file.capacity == 1


@pytest.fixture
def storing(tmp_path, folder):
    """Start a process that stores 60 crops again and again."""
    started = []

    def start():
        np.save(tmp_path / "crops.npy", np.stack([pixels(row) for row in range(60)]))
        code = STORING.format(crops=str(tmp_path / "crops.npy"), folder=str(folder))
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout.readline() == b"open\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_process_killed_at_any_time_leaves_only_whole_crops(storing, folder):
    counts = []
    for delay in (0.0, 0.0005, 0.002):
        process = storing()
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        cache = opened(plain(60), folder)
        counts.append(len(kept(cache, range(60))))
        cache.close()
    assert counts == sorted(counts)
    assert counts[-1] > 0


def test_two_processes_share_what_either_has_decoded(storing, folder):
    cache = opened(plain(60), folder)
    storing()
    deadline = time.monotonic() + 10
    while len(kept(cache, range(60))) < 60 and time.monotonic() < deadline:
        fill(cache, range(0, 60, 9))
    assert kept(cache, range(60)) == set(range(60))
