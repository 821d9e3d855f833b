"""What a loader measures of itself, against consumers and caches whose figures are known."""

import time
from itertools import islice

import numpy as np
import pytest
from support.mixtures import hand_made
from support.recipes import build
from support.stores import make_dataset

from fusekit.errors import LoaderError
from fusekit.loader.crops.reader import Work
from fusekit.loader.loader import MixtureLoader
from fusekit.loader.pipeline import Waiting
from fusekit.loader.settings import LoaderSettings
from fusekit.loader.stats import make_stats
from fusekit.store.layout import open_store

NAMES = {
    "images_per_s", "batches", "images", "wait_s", "wait_share", "wait_ms_per_batch",
    "queue_depth", "prefetch", "threads", "read_us", "decode_us", "other_us", "read_mb",
    "read_mb_per_s", "cache_hits",
}  # fmt: skip


@pytest.fixture
def mixture(tmp_path):
    return hand_made(tmp_path, (60, 40), (30,))


def slowed(loader, seconds):
    """Let every batch take that much longer to make."""
    reader = loader._maker._reader
    draft = reader.draft
    reader.draft = lambda plan: time.sleep(seconds) or draft(plan)
    return loader


def endless(loader):
    while True:
        yield from loader


def test_a_loader_that_gave_nothing_has_done_nothing(mixture):
    with MixtureLoader(mixture, 8, threads=2, prefetch=3) as loader:
        stats = loader.stats()
    assert stats.keys() >= NAMES
    assert (stats["prefetch"], stats["threads"]) == (3, 2)
    assert not any(stats[name] for name in NAMES - {"prefetch", "threads"})


def test_every_figure_is_a_plain_number(mixture):
    with MixtureLoader(mixture, 8) as loader:
        list(loader)
        assert {type(value) for value in loader.stats().values()} <= {int, float}


def test_counts_add_up(mixture):
    with MixtureLoader(mixture, 8, threads=3, prefetch=2, arrays="numpy") as loader:
        count = sum(1 for _ in loader)
        loader._maker._pool.shutdown(wait=True)
        stats, plans = loader.stats(), [loader.plan(t) for t in range(count + 3)]
    lengths = [int(mixture.index.length[plan.rows].sum()) for plan in plans]
    assert stats["batches"] == count
    # Those ahead are made too: two in the queue.
    assert stats["images"] == 8 * (count + 2)
    assert stats["read_mb"] == pytest.approx(sum(lengths[: count + 2]) / 1e6)
    assert stats["cache_hits"] == 0


def test_the_rate_is_that_of_the_consumers_clock(mixture):
    with MixtureLoader(mixture, 8) as loader:
        began = 0
        for number, _ in enumerate(islice(endless(loader), 41)):
            time.sleep(0.005)
            began = began if number else time.perf_counter()
        seconds = time.perf_counter() - began
        stats = loader.stats()
    assert stats["images_per_s"] == pytest.approx(40 * 8 / seconds, rel=0.2)
    assert stats["read_mb_per_s"] == pytest.approx(
        stats["images_per_s"] * mixture.index.length.mean() / 1e6, rel=0.2
    )


def test_the_rate_is_of_the_last_hundred_batches():
    times = [0.0, *np.linspace(100, 110, 101)][-101:]
    settings = type("Settings", (), {"batch_size": 4, "prefetch": 1, "threads": 1})
    stats = make_stats((Work(), Waiting(), {}), settings, times)
    assert stats["images_per_s"] == pytest.approx(40)


def test_a_slow_consumer_finds_the_queue_full_and_does_not_wait(mixture):
    with MixtureLoader(mixture, 8, prefetch=3) as loader:
        for _ in islice(endless(loader), 20):
            time.sleep(0.03)
        stats = loader.stats()
    assert 3 * 18 / 20 - 0.3 <= stats["queue_depth"] <= 3
    assert stats["wait_share"] < 0.2
    assert stats["wait_s"] == pytest.approx(stats["wait_ms_per_batch"] * 20 / 1e3)


def test_a_fast_consumer_waits_most_of_its_time(mixture):
    with slowed(MixtureLoader(mixture, 8, prefetch=2, threads=1), 0.02) as loader:
        for _ in islice(endless(loader), 20):
            pass
        stats = loader.stats()
    assert stats["wait_share"] > 0.9
    assert stats["wait_s"] >= 20 * 0.02 * 0.8
    assert stats["queue_depth"] < 1
    assert stats["images_per_s"] <= 8 / 0.02 * 1.05


def test_the_threads_time_goes_where_it_is_spent(mixture, monkeypatch):
    monkeypatch.setenv("FUSEKIT_NATIVE", "0")  # where reading and decoding are two calls
    with MixtureLoader(mixture, 8, threads=1, augment="none") as loader:
        reader = loader._maker._reader
        read = reader._source.view

        def slow(*args):
            time.sleep(0.002)
            return read(*args)

        monkeypatch.setattr(reader._source, "view", slow)
        list(loader)
        stats = loader.stats()
    assert stats["read_us"] > 2000
    assert 20 < stats["decode_us"] < 2000
    assert 0 < stats["other_us"] < 1500


def test_waiting_counts_from_the_first_take_to_the_last():
    waiting = Waiting()
    for ready in (0, 2):
        began = time.perf_counter_ns()
        time.sleep(0.01)
        waiting.count(began, ready)
        time.sleep(0.01)
    assert (waiting.batches, waiting.ready) == (2, 2)
    assert 0.02e9 <= waiting.waited < waiting.passed
    assert waiting.passed >= 0.03e9


def test_more_figures_are_passed_on(mixture):
    settings = LoaderSettings.of(
        mixture, batch_size=8, seed=1, threads=2, augment="none", cache="none", rank=0,
        world_size=1, prefetch=2, layout="chw", verify="none", weights=None, sampler=None,
        epochs=None, grouping=None, block=1, window=1,
    )  # fmt: skip
    stats = make_stats((Work(), Waiting(), {"shard_hits": 3}), settings, [])
    assert stats["shard_hits"] == 3


def test_the_decoded_cache_is_hit_from_the_second_epoch_on(tmp_path):
    storage = open_store(tmp_path / "s", create=True)
    make_dataset(storage, "one", {"a": 30, "b": 18})
    build(storage, "one")
    cache = {"decoded": True, "folder": tmp_path / "cache"}
    with MixtureLoader(storage.path("mixtures/m"), 8, cache=cache, prefetch=1) as loader:
        next(iter(loader))
        assert loader.stats()["cache_hits"] == 0
        for _ in range(4):
            list(loader)
        hits, read = loader.stats()["cache_hits"], loader.stats()["read_mb"]
        assert hits > 0.7
        list(loader)
        assert loader.stats()["read_mb"] == read
        assert loader.stats()["cache_hits"] > hits


def test_a_closed_loader_measures_nothing(mixture):
    loader = MixtureLoader(mixture, 8)
    loader.close()
    with pytest.raises(LoaderError, match=r"^loader: is closed; open another$"):
        loader.stats()
