"""Shards of object stores, read through the bounded cache and by ranges, with real servers."""

import fcntl
import hashlib
import json
import logging
import math
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support import shard_reader
from support.object_server import (
    KEY,
    SECRET,
    FaultyProxy,
    HttpServer,
    copy_store,
    environment,
    s3_server,
    upload,
)
from support.recipes import build
from support.shard_reader import QUICK, Steps, read_all
from support.stores import make_dataset

from fusekit.errors import LoaderError
from fusekit.loader.loader import MixtureLoader
from fusekit.loader.remote.settings import RemoteSettings
from fusekit.loader.remote.shard_cache import choose_victims
from fusekit.loader.remote.shards import RemoteShards
from fusekit.mixture.mixture import Mixture
from fusekit.storage.retry import Retry
from fusekit.store.layout import open_store

PLENTY = 50_000_000


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    storage = open_store(tmp_path_factory.mktemp("made") / "store", create=True)
    make_dataset(storage, "vgg", {f"p{k:02d}": 12 for k in range(20)}, index=8)
    make_dataset(storage, "crawl", 110)
    build(storage, "vgg", unlabeled=["crawl"])
    return storage.root


@pytest.fixture
def served(made, tmp_path, monkeypatch):
    """A store served by HTTP: the server, and the store's folder, which a test may spoil."""
    for name, value in environment(cache=tmp_path / "cache").items():
        monkeypatch.setenv(name, value)
    folder = copy_store(made, tmp_path / "served" / "store")
    server = HttpServer(folder.parent)
    yield server
    server.close()


@pytest.fixture
def mixture(served):
    mixture = Mixture.open(f"{served.url}/store/mixtures/m")
    served.asked.clear()
    return mixture


@pytest.fixture
def opened(mixture, tmp_path):
    """Open its shards; all are closed after the test."""
    shards = []

    def open_(steps=None, **settings):
        settings = {"cache": PLENTY, "folder": tmp_path / "c", "retry": QUICK} | settings
        upcoming = (steps or Steps(mixture, 8)).upcoming
        shards.append(RemoteShards(mixture, upcoming, RemoteSettings(**settings)))
        return shards[-1]

    yield open_
    for each in shards:
        each.close()


def size_of(folder):
    """Bytes of all files, under the folder's lock: else one that is renamed may count twice."""
    try:
        file = (folder / ".lock").open("rb")
    except FileNotFoundError:
        return 0
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        return sum(path.stat().st_size for path in folder.iterdir())


class Watch:
    """Samples the bytes in a folder all the time; the most that was seen."""

    def __init__(self, folder):
        self.most, self._folder, self._end = 0, folder, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        while not self._end.wait(0.002):
            self.most = max(self.most, size_of(self._folder))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()


def reader(url, cache, folder, rank=0, world=1, batch=8, pause_s=0.0):
    command = [sys.executable, shard_reader.__file__, url, cache, folder, rank, world, batch]
    here = str(Path(shard_reader.__file__).parents[1])
    return subprocess.Popen(
        [str(word) for word in (*command, pause_s)], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": here},
    )  # fmt: skip


def result(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1]), err


def test_every_row_of_a_mixture_in_s3_is_that_of_the_local_store(made, tmp_path, monkeypatch):
    local = Mixture.open("m", made)
    with s3_server(tmp_path / "log") as endpoint:
        for name, value in environment(endpoint, tmp_path / "cache").items():
            monkeypatch.setenv(name, value)
        upload(made, endpoint, "store")
        mixture = Mixture.open("s3://faces/store/mixtures/m")
        steps = Steps(mixture, 16)
        with_cache = RemoteShards(mixture, steps.upcoming, RemoteSettings(cache=400_000))
        by_ranges = RemoteShards(mixture, steps.upcoming, RemoteSettings(cache=0))
        for step in range(len(steps)):
            with_cache.at(step)
            for row in steps.steps[step]:
                index = mixture.index
                place = int(index.shard[row]), int(index.offset[row]), int(index.length[row])
                with local.shard_paths[place[0]].open("rb") as file:
                    file.seek(place[1])
                    bytes_ = file.read(place[2])
                assert with_cache.read(*place) == bytes_
                if row % 8 == 0:
                    assert by_ranges.read(*place) == bytes_
        assert with_cache.name(3) == f"s3://faces/store/{mixture.shard_names[3]}"
        figures = with_cache.figures()
        assert figures["shard_hits"] + figures["shard_misses"] == len(mixture.index) == 350
        assert figures["shards_fetched"] >= mixture.shards.num_rows
        assert by_ranges.figures()["shard_ranges"] == by_ranges.figures()["shard_misses"] > 40
        with_cache.close()
        by_ranges.close()


def test_shards_are_fetched_whole_once_and_in_the_order_of_need(mixture, opened, served):
    steps = Steps(mixture, 8)
    shards = opened(steps, threads=1)
    assert read_all(shards, steps) == 350
    needed = {}
    for step in range(len(steps)):
        for shard in steps.upcoming(step).tolist():
            needed.setdefault(f"store/{mixture.shard_names[shard]}", step)
    assert sorted(served.whole()) == sorted(needed)
    assert len(served.asked) == len(needed)
    inorder = [needed[path] for path in served.whole()]
    assert inorder == sorted(inorder)
    figures = shards.figures()
    assert (
        figures["fetched_bytes"] == figures["kept_bytes"] == sum(mixture.shards["size"].to_pylist())
    )
    assert (figures["shard_ranges"], figures["shards_evicted"], figures["shards_damaged"]) == (
        0,
        0,
        0,
    )


def test_a_later_run_finds_its_shards(mixture, opened, served):
    steps = Steps(mixture, 8)
    read_all(opened(steps), steps)
    served.asked.clear()
    again = opened(steps)
    assert read_all(again, steps) == 350
    assert served.asked == []
    assert again.figures()["shard_hits"] == 350


def test_without_a_cache_every_row_is_a_range(mixture, opened, served, tmp_path):
    steps = Steps(mixture, 32)
    shards = opened(steps, cache=0)
    assert read_all(shards, steps, many=True) == 350
    assert served.whole() == []
    figures = shards.figures()
    assert figures["shard_ranges"] == figures["shard_misses"] == 350
    assert figures["range_bytes"] == int(mixture.index.length.sum())
    assert not (tmp_path / "c").exists()


def test_many_ranges_are_asked_for_at_once(mixture, opened, served):
    steps = Steps(mixture, 32)
    served.delay_s = 0.1
    started = time.monotonic()
    assert len(opened(steps, cache=0).gather([r[:3] for r in steps.ranges(0)])) == 32
    assert time.monotonic() - started < 32 * 0.1 / 2


def test_what_finds_no_room_is_read_by_ranges_and_said_once(mixture, opened, tmp_path, caplog):
    steps = Steps(mixture, 32)
    with Watch(tmp_path / "c") as watch:
        shards = opened(steps, cache=150_000)
        assert read_all(shards, steps) == 350
    assert 50_000 < watch.most <= 150_000
    figures = shards.figures()
    assert figures["shard_ranges"] > 0
    assert figures["shards_fetched"] > 0
    said = [r.getMessage() for r in caplog.records if r.name == "fusekit.loader"]
    assert len(said) == 1
    assert said[0].startswith(f"the shard cache of 150.0 KB in {tmp_path / 'c'} has no room: the n")
    assert "steps of this rank alone need" in said[0]
    assert said[0].endswith(
        "give a bigger cache, or block= as large as a shard's rows and a smaller window="
    )


def test_a_bound_under_one_shard_still_reads_every_row(mixture, opened, tmp_path):
    steps = Steps(mixture, 32)
    with Watch(tmp_path / "c") as watch:
        shards = opened(steps, cache=65_536)
        assert read_all(shards, steps, many=True) == 350
    assert watch.most <= 65_536
    assert shards.figures()["shards_fetched"] == 0


def test_no_shard_is_evicted_that_is_needed_sooner_or_at_once(mixture, opened, monkeypatch):
    choices = []

    def spy(held, needs, room, distance, at_once):
        victims = choose_victims(held, needs, room, distance, at_once)
        choices.extend((needs.get(v.digest, math.inf), distance) for v in victims or ())
        return victims

    monkeypatch.setattr("fusekit.loader.remote.shard_cache.choose_victims", spy)
    steps = Steps(mixture, 8, passes=2)
    shards = opened(steps, cache=420_000, at_once=4)
    assert read_all(shards, steps) == 700
    assert shards.figures()["shards_evicted"] == len(choices) > 0
    assert all(need > max(distance, 4) for need, distance in choices)


def test_a_loader_gives_the_batches_of_the_local_store(made, served):
    options = {"batch_size": 32, "augment": "none", "arrays": "numpy", "threads": 2}
    with MixtureLoader(made / "mixtures/m", **options) as loader:
        local = [(b.step, b.rows.tolist(), b.images.tobytes(), b.keys) for b in loader]
    url = f"{served.url}/store/mixtures/m"
    for cache in (None, {"size": "200 KB"}, "none"):
        with MixtureLoader(url, cache=cache, **options) as loader:
            remote = [(b.step, b.rows.tolist(), b.images.tobytes(), b.keys) for b in loader]
            assert loader.stats()["shard_hits"] > 0 or cache == "none"
        assert remote == local


def test_a_jump_backwards_is_followed(mixture, opened):
    steps = Steps(mixture, 8)
    shards = opened(steps, cache=200_000)
    for step in (30, 2, 3, 20, 0):
        shards.at(step)
        for each in steps.ranges(step):
            data = shards.read(*each[:3])
            assert hashlib.sha256(data).digest()[:8] == each[3].tobytes()


def test_two_processes_share_one_folder_and_fetch_each_shard_once(mixture, served, tmp_path):
    served.delay_s = 0.02
    url = f"{served.url}/store/mixtures/m"
    both = [reader(url, PLENTY, tmp_path / "c", rank, 2) for rank in range(2)]
    found = [result(process)[0] for process in both]
    assert sum(f["right"] for f in found) == 350
    assert sum(f["shards_fetched"] for f in found) == mixture.shards.num_rows
    assert sum(f["shard_ranges"] for f in found) == 0
    shards = [path for path in served.whole() if path.endswith(".tar")]
    assert len(shards) == len(set(shards)) == mixture.shards.num_rows


def test_two_processes_never_pass_the_bound(mixture, served, tmp_path):
    bound = 330_000
    url = f"{served.url}/store/mixtures/m"
    with Watch(tmp_path / "c") as watch:
        both = [reader(url, bound, tmp_path / "c", rank, 2, pause_s=0.01) for rank in range(2)]
        found = [result(process)[0] for process in both]
    assert sum(f["right"] for f in found) == 350
    assert bound / 2 < watch.most <= bound
    assert sum(f["shards_evicted"] for f in found) > 0
    assert sorted(path.suffix for path in (tmp_path / "c").iterdir()).count("") == 1  # the lock


def test_a_reader_killed_at_any_moment_leaves_nothing_in_the_way(mixture, opened, served, tmp_path):
    served.delay_s = 0.03
    url = f"{served.url}/store/mixtures/m"
    for wait_s in (0.0, 0.03, 0.15):
        process = reader(url, 330_000, tmp_path / "c", pause_s=0.02)
        assert process.stdout.readline() == "reading\n"
        time.sleep(wait_s)
        process.kill()
        process.communicate()
        assert size_of(tmp_path / "c") <= 330_000
    served.delay_s = 0.0
    steps = Steps(mixture, 8)
    assert read_all(opened(steps, cache=330_000, check="sha256"), steps) == 350
    assert list((tmp_path / "c").glob(".tmp-*")) == []
    assert len(list((tmp_path / "c").glob(".needs-*"))) == 1


def test_resets_cuts_slowness_and_503_cost_retries_and_nothing_else(mixture, tmp_path, served):
    proxy = FaultyProxy(served.port)
    remote = Mixture.open(f"{proxy.url}/store/mixtures/m")
    steps = Steps(remote, 8)
    proxy.faults = ["503", "cut", "reset", None, "slow", "cut"] * 3
    shards = RemoteShards(
        remote, steps.upcoming, RemoteSettings(folder=tmp_path / "c", cache=PLENTY, retry=QUICK)
    )
    assert read_all(shards, steps) == 350
    assert shards.figures()["shard_retries"] == len(proxy.met) - proxy.met.count("slow") == 12
    shards.close()
    proxy.close()


def test_a_vanished_shard_is_one_line_for_ranges_and_for_the_cache(mixture, opened, served):
    name = mixture.shard_names[2]
    (served.folder / "store" / name).unlink()
    steps = Steps(mixture, 8)
    match = rf"{served.url}/store/{name}: is not there \(404\): it was removed, or never copied"
    with pytest.raises(LoaderError, match=match):
        read_all(opened(steps), steps)
    with pytest.raises(LoaderError, match=match):
        opened(steps, cache=0).read(2, 0, 100)


def test_a_shard_that_is_there_again_is_read_on_the_next_try(mixture, opened, served):
    name = mixture.shard_names[0]
    path = served.folder / "store" / name
    path.rename(path.with_suffix(".away"))
    steps = Steps(mixture, 8)
    shards = opened(steps)
    with pytest.raises(LoaderError, match="is not there"):
        read_all(shards, steps)
    path.with_suffix(".away").rename(path)
    assert read_all(shards, steps) == 350


def test_refused_access_is_one_line(mixture, opened, served):
    name = f"store/{mixture.shard_names[0]}"
    served.faults[name] = [403] * 9
    steps = Steps(mixture, 8)
    with pytest.raises(
        LoaderError, match=rf"{name}: access is refused \(403\); for s3:// set AWS_"
    ):
        read_all(opened(steps), steps)


def test_a_server_that_stays_broken_is_one_line_with_the_tries(mixture, opened, served):
    name = f"store/{mixture.shard_names[0]}"
    served.faults[name] = [503] * 99
    steps = Steps(mixture, 8)
    retry = Retry(tries=3, first_s=0.01, most_s=0.01)
    with pytest.raises(LoaderError, match=rf"{name}: the server answered 503 \(tried 3 times in 0"):
        read_all(opened(steps, retry=retry), steps)


def test_other_bytes_are_fetched_once_more_then_refused(mixture, opened, served):
    name = f"store/{mixture.shard_names[0]}"
    served.faults[name] = ["other"]
    steps = Steps(mixture, 8)
    shards = opened(steps)
    assert read_all(shards, steps) == 350
    assert served.whole().count(name) == 2
    served.faults[name] = ["other"] * 9
    with pytest.raises(LoaderError, match=rf"{name}: has the sha256 .* expected .* copy the shard"):
        read_all(opened(steps, folder=shards._cache.folder / "2"), steps)


def test_a_longer_object_is_refused_and_never_passes_its_place(mixture, opened, served, tmp_path):
    path = served.folder / "store" / mixture.shard_names[0]
    path.write_bytes(path.read_bytes() + bytes(5_000_000))
    steps = Steps(mixture, 8)
    with Watch(tmp_path / "c") as watch:
        shards = opened(steps, cache=330_000)
        with pytest.raises(LoaderError, match=r"has the sha256 .* bytes, as the mixture was built"):
            read_all(shards, steps)
    assert watch.most <= 330_000


def test_a_cached_shard_that_was_cut_short_is_fetched_anew(mixture, opened, served, tmp_path):
    steps = Steps(mixture, 8)
    shards = opened(steps)
    assert read_all(shards, steps) == 350
    for path in (tmp_path / "c").glob("*.tar"):
        os.truncate(path, 100)
    assert read_all(shards, steps) == 350
    assert shards.figures()["shards_damaged"] == mixture.shards.num_rows


def test_a_cached_shard_with_other_bytes_is_found_when_asked(mixture, opened, tmp_path):
    steps = Steps(mixture, 8)
    shards = opened(steps)
    assert read_all(shards, steps) == 350
    damaged = tmp_path / "c" / f"{mixture.shards['sha256'][4].as_py()}.tar"
    damaged.write_bytes(bytes(damaged.stat().st_size))
    assert read_all(opened(steps), steps) < 350
    assert not shards.distrust(3)
    assert shards.distrust(4)
    assert not shards.distrust(4)
    assert read_all(shards, steps) == 350
    damaged.write_bytes(bytes(damaged.stat().st_size))
    checked = opened(steps, check="sha256")
    assert read_all(checked, steps) == 350
    assert checked.figures()["shards_damaged"] == 1


def test_a_full_disk_is_one_line(mixture, opened, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    steps = Steps(mixture, 8)
    shards = opened(steps)
    monkeypatch.setattr("fusekit.loader.remote.shard_cache.Download.write", full)
    with pytest.raises(
        LoaderError, match=r"can't be written: No space left on device; free some s"
    ):
        read_all(shards, steps)


def test_a_folder_that_cannot_be_made_is_one_line(opened, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        LoaderError, match=r"file/c: can't hold the shard cache: .*; give the cache"
    ):
        opened(folder=tmp_path / "file" / "c")


def test_a_bound_that_holds_nothing_is_refused(opened):
    with pytest.raises(
        LoaderError, match=r"cache.size: is 1000; expected at least 65536, or no ca"
    ):
        opened(cache=1_000)


def test_by_default_the_bound_is_20_gb_or_half_of_what_is_free(opened, monkeypatch):
    usage = type("Usage", (), {"free": 1 << 50})
    monkeypatch.setattr("fusekit.loader.remote.settings.shutil.disk_usage", lambda _: usage)
    assert opened(cache=None)._cache.bound == 20_000_000_000
    usage.free = 3_000_000
    assert opened(cache=None)._cache.bound == 1_500_000


def test_a_closed_reader_lets_nobody_wait(mixture, opened, served):
    served.delay_s = 5
    steps = Steps(mixture, 8)
    shards = opened(steps)
    threading.Timer(0.2, shards.close).start()
    shards.at(0)
    with pytest.raises(LoaderError, match="is not read: the loader was closed"):
        shards.read(*steps.ranges(0)[0][:3])
    served.delay_s = 0


def test_an_error_of_the_plan_reaches_the_trainer(mixture, tmp_path):
    def broken(step):
        raise ZeroDivisionError

    shards = RemoteShards(mixture, broken, RemoteSettings(cache=PLENTY, folder=tmp_path / "c"))
    shards.at(0)
    time.sleep(0.1)
    with pytest.raises(ZeroDivisionError):
        shards.at(1)
    shards.close()


def test_a_process_that_never_closes_its_reader_ends(mixture, served, tmp_path):
    code = f"""
import sys
from support.shard_reader import *
mixture = Mixture.open({served.url + "/store/mixtures/m"!r})
steps = Steps(mixture, 8)
shards = RemoteShards(mixture, steps.upcoming, RemoteSettings(folder=Path({str(tmp_path)!r}) / "c"))
shards.at(0)
shards.read(*steps.ranges(0)[0][:3])
"""
    served.delay_s = 0.02
    here = str(Path(shard_reader.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": here}, timeout=30,
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_a_fork_that_ends_takes_nothing_from_its_parent(mixture, served, tmp_path):
    code = f"""
import os, warnings
from support.shard_reader import *
warnings.simplefilter("ignore")
mixture = Mixture.open({served.url + "/store/mixtures/m"!r})
steps = Steps(mixture, 8)
shards = RemoteShards(mixture, steps.upcoming, RemoteSettings(folder=Path({str(tmp_path)!r}) / "c"))
child = os.fork()
if not child:
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
assert len(list((Path({str(tmp_path)!r}) / "c").glob(".needs-*"))) == 1
assert read_all(shards, steps) == 350
"""
    here = str(Path(shard_reader.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": here}, timeout=60,
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_no_credential_is_in_an_error_or_a_log(mixture, served, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("AWS_ENDPOINT_URL", served.url)
    (served.folder / "faces").symlink_to(served.folder)
    remote = Mixture.open("s3://faces/store/mixtures/m")
    served.faults[f"faces/store/{remote.shard_names[0]}"] = [503, 403, 403, 403]
    steps = Steps(remote, 8)
    settings = RemoteSettings(cache=PLENTY, folder=tmp_path / "c", retry=QUICK)
    shards = RemoteShards(remote, steps.upcoming, settings)
    with pytest.raises(LoaderError, match=r"s3://faces/store/.*: access is refused") as error:
        read_all(shards, steps)
    shards.close()
    assert "answered 503; trying again" in caplog.text
    for secret in (KEY, SECRET, "AWS4-HMAC"):
        assert secret not in str(error.getrepr()) + caplog.text
