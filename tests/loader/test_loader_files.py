"""Byte ranges of shards, with few descriptors and many threads."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fusekit.loader.crops.files import ShardFiles


@pytest.fixture
def shards(tmp_path):
    paths = [tmp_path / f"{k}.tar" for k in range(10)]
    for k, path in enumerate(paths):
        path.write_bytes(bytes([k]) * 100)
    return paths


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0


def test_a_range_is_read_and_the_end_cuts_it(shards):
    files = ShardFiles(shards)
    assert files.read(3, 10, 5) == b"\3" * 5
    assert files.read(3, 97, 5) == b"\3" * 3
    assert files.read(3, 200, 5) == b""


def test_a_view_is_the_bytes_that_a_read_gives(shards):
    files = ShardFiles(shards)
    for place in ((3, 10, 5), (3, 97, 5), (3, 200, 5), (0, 0, 100), (3, 0, 0)):
        assert bytes(files.view(*place)) == files.read(*place)
    assert files.view(3, 10, 5).readonly


def test_a_view_lives_longer_than_its_map_is_kept(shards):
    files = ShardFiles(shards, most=2)
    views = [files.view(k, 90, 100) for k in range(10)]
    files.close()
    assert [bytes(view) for view in views] == [bytes([k]) * 10 for k in range(10)]


def test_an_empty_shard_has_an_empty_view(shards):
    shards[0].write_bytes(b"")
    assert bytes(ShardFiles(shards).view(0, 0, 5)) == b""


def test_maps_and_descriptors_are_bounded_together(shards):
    before = descriptors()
    files = ShardFiles(shards, most=3)
    for k in (*range(10), *range(10)):
        files.view(k, 0, 2)
        files.read(9 - k, 0, 2)
        assert descriptors() <= before + 3
    files.close()
    assert descriptors() == before


def test_threads_view_while_others_push_maps_out(shards):
    files = ShardFiles(shards, most=2)
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda i: bytes(files.view(i % 10, i % 90, 10)), range(4000))
        assert list(found) == [bytes([i % 10]) * 10 for i in range(4000)]


def test_a_shard_that_is_gone_has_no_view(shards):
    shards[4].unlink()
    with pytest.raises(FileNotFoundError):
        ShardFiles(shards).view(4, 0, 1)


def test_only_so_many_shards_stay_open(shards):
    before = descriptors()
    files = ShardFiles(shards, most=2)
    for k in (*range(10), *range(10)):
        assert files.read(k, 0, 2) == bytes([k]) * 2
        assert descriptors() <= before + 2
    files.close()
    assert descriptors() == before


def test_threads_read_while_others_push_shards_out(shards):
    files = ShardFiles(shards, most=2)
    before = descriptors()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: files.read(i % 10, i % 90, 10), range(4000)))
    assert found == [bytes([i % 10]) * 10 for i in range(4000)]
    files.close()
    assert descriptors() <= before


def test_a_read_that_the_system_cuts_is_carried_on(shards, monkeypatch):
    whole = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, n, at: whole(fd, min(n, 3), at))
    assert ShardFiles(shards).read(1, 95, 10) == b"\1" * 5
    assert ShardFiles(shards).read(1, 0, 10) == b"\1" * 10


def test_a_shard_that_is_gone_is_the_systems_error(shards):
    shards[4].unlink()
    with pytest.raises(FileNotFoundError):
        ShardFiles(shards).read(4, 0, 1)
