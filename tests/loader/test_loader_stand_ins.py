"""Rows that give no pixels: stood in for, counted, said once; and what no row can stand in for."""

import logging
import time
from itertools import islice

import numpy as np
import pytest
import simplejpeg
from support.mixtures import HandMadeMixture, draw_jpegs, hand_made

from fusekit.errors import LoaderError
from fusekit.loader.crops.augment import Augment
from fusekit.loader.crops.files import ShardFiles
from fusekit.loader.crops.memory import BatchMemory
from fusekit.loader.crops.reader import CropReader, ReaderSettings
from fusekit.loader.loader import MixtureLoader


@pytest.fixture
def mixture(tmp_path):
    return hand_made(tmp_path, (20, 13), (9,), per_shard=64)


def opened(mixture, **more):
    return MixtureLoader(mixture, 8, arrays="numpy", layout="hwc", augment="none", **more)


def run(mixture, steps=12, **more):
    """Batches of more than one epoch, what was planned for them, and the report."""
    with opened(mixture, **more) as loader:
        batches = []
        while len(batches) < steps:
            batches += islice(loader, steps - len(batches))
        plans = [loader.plan(t) for t in range(steps)]
        return batches, plans, loader.report(), loader._order


def spoil(mixture, row, how):
    if how == "erased":
        mixture.index.length[row] = 0
    elif how == "size":
        small = simplejpeg.encode_jpeg(np.zeros((50, 50, 3), np.uint8))
        mixture.spoil(row)
        mixture.index.length[row] = len(small)
        path = mixture.shard_paths[mixture.index.shard[row]]
        data = bytearray(path.read_bytes())
        at = int(mixture.index.offset[row])
        data[at : at + len(small)] = small
        path.write_bytes(data)
    elif how == "short":
        mixture.index.offset[row] = 10**9
    elif how == "format":
        mixture.index.format[row] = 7
    else:
        mixture.spoil(row)


@pytest.mark.parametrize("how", ["erased", "undecodable", "size", "short", "format"])
@pytest.mark.parametrize("row", [5, 25, 40])
def test_the_row_at_the_next_position_stands_in_and_is_not_consumed(mixture, row, how):
    spoil(mixture, row, how)
    batches, plans, report, order = run(mixture)
    times = 0
    for batch, plan in zip(batches, plans, strict=True):
        for place, (found, wanted) in enumerate(zip(batch.rows, plan.rows, strict=True)):
            if wanted != row:
                assert found == wanted
                continue
            times += 1
            k = int(plan.stream[place])
            at = plan.base[k] + int(plan.ordinal[place])
            source = mixture.index.source[row]
            behind = order.rows_at(k, at + 1, 2 * order.streams[k].rows)
            assert found == next(
                r for r in behind if r != row and mixture.index.source[r] == source
            )
        assert row not in batch.rows
        for place, found in enumerate(batch.rows):
            pixels = simplejpeg.decode_jpeg(mixture.images[found])
            assert np.array_equal(batch.images[place], pixels)
        assert np.array_equal(batch.labels, mixture.index.label[batch.rows])
        assert np.array_equal(batch.dataset_index, mixture.index.source[batch.rows])
        assert batch.n_labeled == plan.n_labeled
        assert (batch.labels[batch.n_labeled :] == -1).all()
    assert times == report.stood_in > 0
    assert report.reasons == {how: times}
    assert {(b.key, b.shard) for b in report.bad} == {
        (mixture.key(row), mixture.shard_paths[mixture.index.shard[row]].name)
    }


def test_a_stand_in_that_gives_nothing_either_is_passed_over(mixture):
    unlabeled = range(33, 42)
    for row in list(unlabeled)[:-1]:
        mixture.spoil(row)
    batches, _, report, _ = run(mixture)
    assert all((b.rows[b.n_labeled :] == 41).all() for b in batches)
    assert report.samples == 96
    assert report.stood_in == sum(report.reasons.values())
    assert report.stood_in in (24 - 3, 24 - 2)


def test_a_source_without_a_usable_row_ends_with_key_and_shard(mixture):
    for row in range(33, 42):
        mixture.spoil(row)
    with opened(mixture) as loader, pytest.raises(LoaderError) as error:
        list(loader)
    message = str(error.value)
    assert message.startswith("key000")
    assert f"_00 in {mixture.shard_paths[0]}: is no usable crop (" in message
    assert "expected one, or one among the 8 rows after it; fusekit verify names" in message


def test_a_shard_that_is_gone_ends_with_key_and_shard(mixture):
    mixture.shard_paths[0].unlink()
    with opened(mixture) as loader:
        with pytest.raises(LoaderError, match=r"^key\d+_00 in .*tar: can't be read: No such file"):
            next(iter(loader))
        assert loader.step == 0


def test_an_error_leaves_a_loader_that_goes_on_once_the_cause_is_gone(mixture):
    path = mixture.shard_paths[0]
    away = path.with_suffix(".away")
    path.rename(away)
    with opened(mixture) as loader:
        with pytest.raises(LoaderError):
            next(iter(loader))
        away.rename(path)
        assert next(iter(loader)).rows.tolist() == loader.plan(0).rows.tolist()


def test_an_error_leaves_the_rest_of_its_batch_undone(mixture, monkeypatch):
    begun = []

    def fail(*args):
        begun.append(args)
        time.sleep(0.02)
        raise ZeroDivisionError

    with MixtureLoader(mixture, 40, threads=1, arrays="numpy", prefetch=3) as loader:
        maker = loader._maker
        maker._slices = [(k, k + 1) for k in range(40)]
        monkeypatch.setattr(maker._reader, "fill", fail)
        with pytest.raises(ZeroDivisionError):
            next(iter(loader))
        maker._pool.submit(int).result()  # the one thread is through with what was left
        assert len(begun) < 20


def test_an_unforeseen_error_in_a_thread_reaches_the_consumer_with_the_sample(mixture, monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setenv("FUSEKIT_NATIVE", "0")
    monkeypatch.setattr("fusekit.loader.crops.decode.simplejpeg.decode_jpeg", fail)
    with opened(mixture) as loader, pytest.raises(ZeroDivisionError) as error:
        next(iter(loader))
    assert any("while reading key" in note for note in error.value.__notes__)


def test_changed_bytes_are_seen_when_digests_are_compared(tmp_path):
    images = draw_jpegs(12)
    mixture = HandMadeMixture(tmp_path, [images])
    mixture.unlabeled_fraction *= 0
    other = simplejpeg.encode_jpeg(np.zeros((112, 112, 3), np.uint8))
    path = mixture.shard_paths[0]
    data = bytearray(path.read_bytes())
    at = len(images[0])
    data[at : at + len(images[1])] = other.ljust(len(images[1]), b"\0")
    path.write_bytes(data)
    assert run(mixture, verify="none")[2].stood_in == 0
    report = run(mixture, verify="sample")[2]
    assert set(report.reasons) == {"digest"}
    assert {b.key for b in report.bad} == {"key00001_00"}


def test_what_was_stood_in_for_is_logged_once(mixture, caplog):
    for row in (2, 3, 4, 30):
        mixture.spoil(row)
    with caplog.at_level(logging.WARNING, "fusekit.loader"):
        _, _, report, _ = run(mixture, 20)
    assert report.stood_in > 4
    assert len(caplog.records) == 1
    assert "is no usable crop" in caplog.text
    assert "shard-000000.tar" in caplog.text


def test_a_batch_made_ahead_is_counted_when_it_is_handed_out(mixture):
    for row in range(19):
        mixture.index.length[row] = 0
    with opened(mixture, prefetch=4) as loader:
        batch = next(iter(loader))
        list(islice(loader, 0))
        expected = int((loader.plan(0).rows < 19).sum())
        assert loader.report().stood_in == expected
        assert loader.report().batches == 1
        assert len(batch.rows) == 8


def test_the_list_of_bad_rows_stops_at_a_hundred(mixture):
    for row in range(19):
        mixture.index.length[row] = 0
    report = run(mixture, 80)[2]
    assert report.stood_in > 100 == len(report.bad)


def test_a_thread_fails_by_a_row_of_its_own_slice(mixture):
    mixture.shard_paths[0].unlink()
    with opened(mixture) as loader:
        reader = CropReader(
            mixture, loader._order, ShardFiles(mixture.shard_paths),
            BatchMemory((8, 112, 112, 3), 1), ReaderSettings("hwc", "none", Augment.of("none")),
        )  # fmt: skip
        draft = reader.draft(loader.plan(0))
        with pytest.raises(LoaderError, match=mixture.key(int(draft.rows[4]))):
            reader.fill(draft, 4, 8)
