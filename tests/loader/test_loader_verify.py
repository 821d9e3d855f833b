"""Changed bytes: which crops are compared, how often shards are read, what is said."""

import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import simplejpeg
from support.mixtures import hand_made

from fusekit.errors import LoaderError
from fusekit.loader import loader as under_test
from fusekit.loader.crops.decode import UnusableCropError
from fusekit.loader.crops.files import ShardFiles
from fusekit.loader.crops.verify import Verifier

MixtureLoader = partial(
    under_test.MixtureLoader, arrays="numpy", augment="none", layout="hwc", max_bad=1.0
)


@pytest.fixture
def mixture(tmp_path):
    """33 labeled rows and 9 unlabeled ones in six shards of eight and less."""
    return hand_made(tmp_path, (20, 13), (9,))


class Counting(ShardFiles):
    """Shards that count what is read of each."""

    def __init__(self, paths):
        super().__init__(paths)
        self.read_of = Counter()

    def read(self, shard, offset, length):
        data = super().read(shard, offset, length)
        self.read_of[shard] += len(data)
        return data


def digests(mixture):
    shards = mixture.shards
    return list(zip(shards["sha256"].to_pylist(), shards["size"].to_pylist(), strict=True))


def verifier(mixture, verify="shard"):
    source = Counting(mixture.shard_paths)
    return Verifier(verify, mixture.index, lambda: digests(mixture), source), source


def change(mixture, row, at=-3):
    """Change one byte of a row's image, so that it still decodes."""
    path = mixture.shard_paths[mixture.index.shard[row]]
    data = bytearray(path.read_bytes())
    place = int(mixture.index.offset[row]) + int(mixture.index.length[row]) + at
    data[place] ^= 0x01
    path.write_bytes(data)


def epochs(loader, count=3):
    return [batch for _ in range(count) for batch in loader]


def test_a_changed_byte_is_seen_by_shard_and_only_its_crop_is_stood_in_for(mixture, caplog):
    change(mixture, 11)
    simplejpeg.decode_jpeg(mixture.images[11])
    caplog.set_level(logging.WARNING, "fusekit.loader")
    with MixtureLoader(mixture, 8, verify="shard", threads=3) as loader:
        batches = epochs(loader)
        report = loader.report()
    assert {bad.key for bad in report.bad} == {mixture.key(11)}
    assert set(report.reasons) == {"digest"}
    assert report.bad[0].detail == "its bytes are not those that were stored"
    seen = np.concatenate([batch.rows for batch in batches])
    assert 11 not in seen
    assert set(range(8, 16)) - {11} <= set(seen.tolist())
    for batch in batches:
        for place, row in enumerate(batch.rows):
            assert np.array_equal(batch.images[place], mixture.pixels(row))
    lines = [r.getMessage() for r in caplog.records]
    named = [line for line in lines if "another sha256" in line]
    assert named == [
        f"{mixture.shard_paths[1]} has another sha256 than the mixture was built with: "
        "each of its crops is compared"
    ]
    assert len(lines) == 2  # and the crop, once


def test_nothing_is_said_of_sound_shards(mixture, caplog):
    for verify in ("none", "sample", "shard"):
        with MixtureLoader(mixture, 8, verify=verify) as loader:
            epochs(loader)
            assert loader.report().stood_in == 0
    assert not caplog.records


def test_without_verify_a_change_goes_unseen(mixture):
    change(mixture, 11)
    with MixtureLoader(mixture, 8, verify="none") as loader:
        epochs(loader)
        assert loader.report().stood_in == 0


def test_a_sound_shard_is_read_once_whatever_is_asked_of_it(mixture):
    check, source = verifier(mixture)
    rows = [row for _ in range(5) for row in range(42)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda r: check.check(r, mixture.index.shard[r], mixture.images[r]), rows))
    sizes = mixture.shards["size"].to_pylist()
    assert source.read_of == Counter(dict(enumerate(sizes)))


def test_a_changed_shard_is_read_once_and_its_crops_are_compared_each_time(mixture):
    change(mixture, 11)
    check, source = verifier(mixture)
    for _ in range(3):
        for row in range(8, 16):
            path = mixture.shard_paths[1]
            at, length = int(mixture.index.offset[row]), int(mixture.index.length[row])
            data = path.read_bytes()[at : at + length]
            if row == 11:
                with pytest.raises(UnusableCropError, match="not those that were stored"):
                    check.check(row, 1, data)
            else:
                check.check(row, 1, data)
    assert source.read_of == {1: mixture.shards["size"][1].as_py()}


def test_digests_of_shards_are_looked_up_for_shard_alone(mixture):
    def fail():
        raise AssertionError

    source = ShardFiles(mixture.shard_paths)
    for verify in ("none", "sample"):
        Verifier(verify, mixture.index, fail, source).check(3, 0, mixture.images[3])


def test_a_shard_that_was_cut_short_is_compared_crop_by_crop(mixture):
    path = mixture.shard_paths[4]
    path.write_bytes(path.read_bytes()[:-50])
    with MixtureLoader(mixture, 8, verify="shard") as loader:
        epochs(loader)
        report = loader.report()
    assert set(report.reasons) == {"short"}
    assert {bad.key for bad in report.bad} == {mixture.key(39)}


def test_every_byte_of_a_large_shard_is_compared(mixture, monkeypatch):
    monkeypatch.setattr("fusekit.loader.crops.verify._PIECE", 1000)
    check, source = verifier(mixture)
    check.check(0, 0, b"whatever: the shard is sound")
    assert source.read_of == {0: mixture.shards["size"][0].as_py()}
    change(mixture, 7, at=-1)
    check, _ = verifier(mixture)
    with pytest.raises(UnusableCropError):
        check.check(0, 0, b"whatever")


@pytest.mark.parametrize("verify", ["none", "sample", "shard"])
def test_a_missing_shard_is_one_line(mixture, verify):
    mixture.shard_paths[0].unlink()
    with MixtureLoader(mixture, 24, verify=verify) as loader, pytest.raises(LoaderError) as error:
        epochs(loader)
    message = str(error.value)
    assert message.endswith(
        "shard-000000.tar: can't be read: No such file or directory; "
        "fusekit verify names every file that is missing or damaged"
    )
    assert "\n" not in message


def test_a_shard_that_fails_while_it_is_compared_is_one_line(mixture, monkeypatch):
    with MixtureLoader(mixture, 8, verify="shard") as loader:
        source = loader._maker._reader._source
        whole = source.read

        def fail(shard, offset, length):
            if offset == 0 and length > 20_000 // 2:
                raise OSError(5, "Input/output error")
            return whole(shard, offset, length)

        monkeypatch.setattr(source, "read", fail)
        with pytest.raises(LoaderError, match=r"can't be read: Input/output error; fusekit verify"):
            epochs(loader)


def test_stand_ins_are_compared_too(mixture):
    for row in range(33, 41):
        change(mixture, row)
    with MixtureLoader(mixture, 8, verify="sample") as loader:
        for batch in epochs(loader):
            assert set(batch.rows[batch.n_labeled :].tolist()) == {41}
