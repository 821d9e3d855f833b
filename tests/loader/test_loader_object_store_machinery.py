"""Loaders of a mixture in an object store: with a process, dropped, and without their folder."""

import gc
import shutil
import threading
import time
import weakref

import numpy as np
import pytest
from support.object_server import HttpServer, environment
from support.process_loaders import assert_same, child_of, runs, wait_until
from support.recipes import build
from support.shard_reader import QUICK, Steps
from support.stores import make_dataset

from fusekit import Mixture, MixtureLoader, bench_loader
from fusekit.errors import LoaderError
from fusekit.loader.remote.crew import Crew
from fusekit.loader.remote.settings import RemoteSettings
from fusekit.loader.remote.shards import RemoteShards
from fusekit.store.layout import open_store


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    storage = open_store(folder / "store", create=True)
    make_dataset(storage, "vgg", {f"p{k:02d}": 12 for k in range(20)}, index=8)
    make_dataset(storage, "crawl", 60)
    build(storage, "vgg", unlabeled=["crawl"])
    return folder


@pytest.fixture
def served(folder, tmp_path, monkeypatch):
    for name, value in environment(cache=tmp_path / "cache").items():
        monkeypatch.setenv(name, value)
    server = HttpServer(folder)
    yield server
    server.close()


@pytest.fixture
def mixture(served):
    return Mixture.open(f"{served.url}/store/mixtures/m")


def opened(mixture, tmp_path, **more):
    cache = {"folder": tmp_path / "c"} | more.pop("cache", {})
    return MixtureLoader(mixture, 8, threads=2, arrays="numpy", cache=cache, **more)


def threads():
    return [t.name for t in threading.enumerate() if t.name.startswith("fusekit")]


def test_a_process_with_both_caches_gives_the_batches_of_the_local_store(mixture, folder, tmp_path):
    with MixtureLoader(folder / "store/mixtures/m", 8, arrays="numpy") as local:
        wanted = [list(local), list(local)]
    loader = opened(mixture, tmp_path, process=True, cache={"decoded": True})
    with loader:
        child = child_of(loader)
        for epoch in wanted:
            for ours, theirs in zip(loader, epoch, strict=True):
                assert_same(ours, theirs)
        stats = loader.stats()
    loader.close()
    assert stats["shards_fetched"] > 0
    assert 0 < stats["cache_hits"] < 1
    assert not runs(child)
    assert not list((tmp_path / "c").rglob(".needs-*"))
    assert not list((tmp_path / "c").rglob(".tmp-*"))


def test_a_dropped_loader_fetches_no_further_and_leaves_no_thread(mixture, served, tmp_path):
    before = threads()
    with opened(mixture, tmp_path / "all") as loader:
        list(loader)
        shards = int(loader.stats()["shards_fetched"])
    served.asked.clear()
    served.delay_s = 0.2
    loader = opened(mixture, tmp_path, prefetch=1)
    next(iter(loader))
    del loader
    wait_until(lambda: threads() == before)
    assert len(served.whole()) < shards
    assert not list((tmp_path / "c").rglob(".needs-*"))


@pytest.mark.parametrize("process", [False, True])
def test_a_folder_that_was_removed_is_one_line_and_closing_still_works(mixture, tmp_path, process):
    loader = opened(mixture, tmp_path, process=process)
    next(iter(loader))
    while (tmp_path / "c").exists():  # what is being fetched may come while it is removed
        shutil.rmtree(tmp_path / "c", ignore_errors=True)
    with pytest.raises(
        LoaderError, match=r"/c/shards: can't be written: No such file or dir.*free"
    ):
        for _ in range(500):
            for _ in loader:
                time.sleep(0.01)
    loader.close()
    assert not threads()


def test_only_so_many_shards_are_open(mixture, tmp_path, monkeypatch):
    monkeypatch.setattr("fusekit.loader.remote.shards.most_open", lambda: 3)
    steps = Steps(mixture, 8)
    settings = RemoteSettings(cache=50_000_000, folder=tmp_path / "c", retry=QUICK)
    shards = RemoteShards(mixture, steps.upcoming, settings)
    index = mixture.index
    try:
        shards.at(0)
        for row in np.random.default_rng(0).permutation(len(index.length)).tolist():
            shards.read(int(index.shard[row]), int(index.offset[row]), int(index.length[row]))
            assert len(shards._files) <= 3
        assert len(set(index.shard.tolist())) > 3
    finally:
        shards.close()


def test_the_bench_keeps_shards_where_the_loader_does(mixture, tmp_path):
    bench_loader(mixture, batch_size=8, threads=1, seconds=0.2, cache={"folder": tmp_path / "c"})
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["shards"]


def test_a_task_that_comes_while_a_crew_is_stopped_is_cancelled():
    for _ in range(200):
        crew = Crew(2, "test-crew")
        found = []
        giver = threading.Thread(
            target=lambda crew=crew, found=found: found.extend(
                crew.submit(time.monotonic) for _ in range(50)
            )
        )
        giver.start()
        crew.stop()
        giver.join()
        assert all(future.cancelled() or future.result(5) > 0 for future in found)


def test_a_task_s_error_does_not_keep_what_it_read_with():
    class Shards:
        def read(self):
            raise OSError

    crew, shards = Crew(1, "test-crew"), Shards()
    gone = threading.Event()
    weakref.finalize(shards, gone.set)
    gc.disable()
    try:
        future = crew.submit(shards.read)
        assert isinstance(future.exception(5), OSError)
        del shards, future
        assert gone.wait(5)
    finally:
        gc.enable()
        crew.stop()
