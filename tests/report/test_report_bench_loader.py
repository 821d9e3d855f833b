"""The loader beside its limits: what is measured, what is concluded."""

import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import simplejpeg
from support.recipes import build
from support.stores import draw_sized_crop, make_dataset

from fusekit import Mixture, bench_loader
from fusekit.errors import FusekitError, LoaderError, MixtureError
from fusekit.loader.crops.files import ShardFiles
from fusekit.report import bench_loader as under_test
from fusekit.report import loader_limits
from fusekit.report.bench_loader import judge
from fusekit.report.loader_limits import (
    Copying,
    Decoding,
    Reading,
    StoredCrop,
    loop_for,
    read_all,
    readable_rows,
    run_for,
)
from fusekit.store.layout import open_store

FORMATS = ("jpg", "png", "raw")


def encode(crop, fmt):
    if fmt == "jpg":
        return simplejpeg.encode_jpeg(crop, quality=95, colorsubsampling="444")
    if fmt == "png":
        return cv2.imencode(".png", np.ascontiguousarray(crop[..., ::-1]))[1].tobytes()
    file = io.BytesIO()
    np.save(file, crop)
    return file.getvalue()


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    storage = open_store(tmp_path_factory.mktemp("bench") / "s", create=True)
    for fmt in FORMATS:
        images = [encode(draw_sized_crop(n, (112, 112)), fmt) for n in range(40)]
        make_dataset(storage, fmt, {"a": 25, "b": 15}, fmt=fmt, images=images)
        build(storage, fmt, name=f"m-{fmt}", batch={"size": 8})
    chips = [encode(draw_sized_crop(n, (150, 150)), "jpg") for n in range(12)]
    make_dataset(storage, "chips", 12, template="dlib-150", images=chips)
    build(storage, "jpg", unlabeled=["chips"], name="two", template="arcface-112",
          batch={"size": 8})  # fmt: skip
    return storage


def opened(storage, name="m-jpg"):
    return Mixture.open(storage.path(f"mixtures/{name}"))


def bench(storage, name="m-jpg", seconds=0.3, **more):
    return bench_loader(name, storage.root, seconds=seconds, **more)


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("layout", ["chw", "hwc"])
def test_every_format_is_measured_beside_its_own_decoder(storage, fmt, layout):
    result = bench(storage, f"m-{fmt}", layout=layout, threads=2)
    assert (result.mixture, result.batch_size, result.threads) == (f"m-{fmt}", 8, 2)
    assert (result.layout, result.cache, result.process) == (layout, "shards", False)
    assert result.crops == 40
    rates = (
        result.images_per_s, result.ceiling, result.decode_limit, result.read_limit,
        result.first_read, result.copy_limit,
    )  # fmt: skip
    assert min(rates) > 100
    assert result.gain >= 1
    assert result.cache_hits == 0
    assert min(result.read_us, result.decode_us, result.other_us) > 0
    assert result.verdict
    if fmt != "raw":
        assert result.decode_limit < result.copy_limit


def test_other_templates_are_brought_over_in_the_decode_limit(storage):
    mixture = opened(storage, "two")
    rows = np.arange(52)
    with ThreadPoolExecutor(2) as pool:
        crops, seconds = read_all(mixture, rows, ShardFiles(mixture.shard_paths), pool, 2)
    assert seconds > 0
    decoding = Decoding(mixture, crops, 1)
    decoding.work(0)
    decoders = decoding._decoders[0]
    assert [type(decoder).__name__ for decoder in decoders] == ["CropDecoder", "RewarpDecoder"]
    assert bench(storage, "two").crops == 8 * 7  # 40 labeled rows, six a step


def test_the_bytes_are_those_of_the_rows_in_their_order(storage):
    mixture = opened(storage)
    rows = np.random.default_rng(0).permutation(40)[:31]
    source = ShardFiles(mixture.shard_paths)
    for threads in (1, 3):
        with ThreadPoolExecutor(threads) as pool:
            crops, _ = read_all(mixture, rows, source, pool, threads)
        index = mixture.index
        for row, crop in zip(rows, crops, strict=True):
            stored = mixture.shard_paths[index.shard[row]].read_bytes()[index.offset[row] :]
            assert crop.data == stored[: index.length[row]]
            assert (crop.code, crop.source) == (0, 0)


def test_rows_are_bounded_by_their_bytes_and_erased_ones_left_out(storage, monkeypatch):
    mixture = opened(storage)
    lengths = mixture.index.length
    monkeypatch.setattr(loader_limits, "_MOST_BYTES", int(lengths[:5].sum()))
    rows = np.arange(40)
    assert readable_rows(mixture, rows).tolist() == [0, 1, 2, 3, 4]
    monkeypatch.setattr(loader_limits, "_MOST_BYTES", 1)
    assert readable_rows(mixture, rows).tolist() == [0]
    monkeypatch.undo()
    gone = lengths.copy()
    gone[[0, 7]] = 0
    mixture.__dict__["index"] = type("Index", (), {"length": gone})
    assert readable_rows(mixture, rows).tolist() == [*range(1, 7), *range(8, 40)]


def test_each_limit_does_its_piece_of_work_and_no_other(storage, monkeypatch):
    mixture = opened(storage)
    source = ShardFiles(mixture.shard_paths)
    crops = [StoredCrop(mixture.shard_paths[0].read_bytes()[:10], 0, 0)] * 3
    read = []
    monkeypatch.setattr(source, "read", lambda *place: read.append(place) or b"")
    assert Reading(mixture, np.arange(40), source, 2).work(1) == len(read) == 64
    assert {shard for shard, _, _ in read} <= set(range(len(mixture.shard_paths)))
    decoded = []
    monkeypatch.setattr(
        "fusekit.loader.crops.decode.CropDecoder.decode", lambda _, data, *__: decoded.append(data)
    )
    assert Decoding(mixture, crops, 1).work(0) == len(decoded) == 64
    copying = Copying(mixture, crops, 1)
    decoded.clear()
    assert copying.work(0) == 64
    assert not decoded


def test_what_will_not_decode_does_not_stop_the_limits(storage):
    mixture = opened(storage)
    crops = [StoredCrop(b"no image", 0, 0)] * 5
    assert Decoding(mixture, crops, 2).work(1) == 64
    assert Copying(mixture, crops, 2).work(1) == 64


def test_copies_are_of_the_decoded_pixels(storage):
    mixture = opened(storage)
    crop = draw_sized_crop(3, (112, 112))
    copying = Copying(mixture, [StoredCrop(encode(crop, "raw"), 2, 0)], 1)
    copying.work(0)
    assert np.array_equal(copying._batches[0][63], crop)
    assert not copying._batches[0][64:].any()


def test_every_thread_works_for_the_time_and_is_counted():
    class Work:
        def __init__(self):
            self.threads = set()

        def work(self, thread):
            self.threads.add(thread)
            time.sleep(0.01)
            return 5

    work = Work()
    with ThreadPoolExecutor(3) as pool:
        rate = run_for(work, pool, 3, 0.1)
    assert work.threads == {0, 1, 2}
    assert 0.1 <= rate.seconds < 0.5
    assert 3 * 5 <= rate.images <= 3 * 5 * 11
    assert rate.images % 5 == 0


def test_a_loop_takes_at_least_one_batch():
    assert loop_for(lambda: 7, 0).images == 7


def test_a_slow_trainer_is_what_bounds_it(storage):
    result = bench(storage, consume=lambda _: time.sleep(0.05), seconds=0.5, prefetch=1)
    assert result.bound == "trainer"
    assert result.ceiling == pytest.approx(8 / 0.05, rel=0.3)
    assert result.gain == 1
    assert result.verdict.endswith("of the ceiling; a faster loader would change nothing")


def test_a_trainer_sees_batches_as_it_would(storage):
    seen = []
    bench(storage, consume=seen.append, arrays="numpy", augment="none", layout="hwc")
    mixture = opened(storage)
    stored = {
        row: draw_sized_crop(int(row), (112, 112)) for row in range(len(mixture.index))
    }  # fmt: skip
    assert all(batch.images.shape == (8, 112, 112, 3) for batch in seen)
    assert {row for batch in seen for row in batch.rows.tolist()} == set(stored)


def test_a_mixture_longer_than_the_window_is_gone_through_again_from_its_start(
    storage, monkeypatch
):
    monkeypatch.setattr(under_test, "_MOST_CROPS", 16)
    steps = []
    result = bench(storage, consume=lambda batch: steps.append(batch.step))
    assert result.crops == 16
    assert set(steps) == {0, 1}


def test_a_mixture_smaller_than_a_batch_is_measured_too(storage):
    assert bench(storage, batch_size=64).batch_size == 64


def test_the_decoded_cache_is_full_when_it_is_measured(storage, tmp_path):
    result = bench(storage, cache={"decoded": True, "folder": tmp_path})
    assert (result.cache, result.cache_hits) == ("decoded", 1)


def test_a_process_is_measured_like_the_threads(storage):
    result = bench(storage, process=True, seconds=0.5)
    assert result.process
    assert result.images_per_s > 100
    assert "a process of its own" in result.heading()


def test_no_thread_is_left(storage):
    bench(storage)
    assert not [t for t in threading.enumerate() if t.name.startswith("fusekit")]


def test_every_round_is_reported(storage):
    told = []
    bench(storage, report=told.append)
    assert [(each.done, each.total) for each in told] == [(n, 5) for n in range(1, 6)]


def figures(**changed):
    return {
        "images_per_s": 9600.0, "ceiling": 200_000.0, "decode_limit": 10_000.0,
        "copy_limit": 100_000.0, "cache_hits": 0.0, "read_us": 10.0, "decode_us": 190.0,
        "other_us": 5.0,
    } | changed  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "raw", "bound", "gain", "verdict"),
    [
        ({}, False, "decoding", 10.42,
         "decoding bounds it: 0.96 of the decode limit; nothing is to be gained from more "
         'prefetch; raw crops or cache="decoded" would give up to 10.4 times as many'),
        ({"ceiling": 19_200.0}, False, "decoding", 2.0, "decoding bounds it: 0.96 of"),
        ({"ceiling": 10_000.0}, False, "trainer", 1.0,
         "the trainer's side bounds it: 0.96 of the ceiling; a faster loader would change nothing"),
        ({"decode_limit": 12_000.0}, True, "copying", 1.25,
         "copying bounds it: 0.80 of the copy limit; nothing is to be gained from more prefetch"),
        ({"images_per_s": 80_000.0, "cache_hits": 1.0}, False, "copying", 1.25,
         "copying bounds it: 0.80 of the copy limit; nothing is to be gained"),
        ({"images_per_s": 5_000.0, "read_us": 250.0, "decode_us": 130.0}, False, "reading", 2.0,
         "reading bounds it: 250 of 385 µs of a thread's time for a crop, 0.50 of the decode "
         "limit; without it up to 2.0 times as many"),
        ({"images_per_s": 5_000.0, "other_us": 250.0, "decode_us": 130.0}, False, "other", 2.0,
         "work beside reading and decoding bounds it: 250 of 390 µs of a thread's time for a "),
        ({"images_per_s": 5_000.0, "decode_us": 350.0}, False, "decoding", 20.0,
         "decoding bounds it: 0.50 of the decode limit; nothing"),
        ({"images_per_s": 4_000.0, "read_us": 200.0, "decode_us": 45.0}, False, "other", 2.5,
         "the threads stood idle 50% of the time, 0.40 of the decode limit: look for what else "
         "holds the interpreter; without it up to 2.5 times as many"),
    ],
)  # fmt: skip
def test_what_bounds_it_follows_from_the_figures(changed, raw, bound, gain, verdict):
    found = judge(figures(**changed), 2, raw=raw)
    assert found[0] == bound
    assert found[1] == pytest.approx(gain, abs=0.01)
    assert found[2].startswith(verdict)


def test_the_table_has_a_bar_for_every_rate_and_cuts_the_long_ones(storage):
    result = bench(storage)
    columns, rows = result.table()
    assert columns == ("what", "images/s", "to the loader", "")
    assert [row[0] for row in rows] == [
        "loader", "decode limit", "read from shards", "read the first time",
        "copy of decoded crops", "ceiling",
    ]  # fmt: skip
    assert rows[0][2] == "1.00"
    for _, rate, _, bar in rows:
        assert set(bar) <= set("█▶")
        assert len(bar) <= 31
        if rate <= max(result.images_per_s, result.decode_limit):
            assert "▶" not in bar


def test_the_figures_are_json_under_the_promised_names(storage):
    found = bench(storage).as_json()
    assert {"images_per_s", "ceiling", "decode_limit"} <= found.keys()
    assert all(isinstance(value, (str, int, float, bool)) for value in found.values())


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_no_time_to_measure_says_so(storage, seconds):
    with pytest.raises(LoaderError, match=rf"^seconds: is {seconds}; expected more than 0$"):
        bench(storage, seconds=seconds)


def test_no_such_mixture_is_one_line(storage):
    with pytest.raises(MixtureError, match=r"none: holds no finished mixture; fusekit build-mix"):
        bench(storage, "none")


def test_a_setting_that_cannot_be_is_the_loaders_line(storage):
    with pytest.raises(LoaderError, match=r"^threads: is 0; expected at least 1$"):
        bench(storage, threads=0)


def test_a_shard_that_vanished_is_one_line(storage, monkeypatch):
    def gone(*_):
        raise FileNotFoundError(2, "No such file or directory", "shard-000000.tar")

    monkeypatch.setattr(ShardFiles, "read", gone)
    with pytest.raises(FusekitError) as error:
        bench(storage)
    assert str(error.value) == (
        "shard-000000.tar: can't be read: No such file or directory; "
        "fusekit verify names every file that is missing or damaged"
    )
