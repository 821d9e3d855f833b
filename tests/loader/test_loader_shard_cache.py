"""The folder of whole shards: eviction, the bound, several users, what the dead left."""

import hashlib
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusekit.loader.remote.shard_cache import Download, Held, ShardCache, choose_victims, file_is

ROOM = 16_384  # what one user's needs take


def shard(number, size=1_000):
    data = hashlib.shake_256(b"%d" % number).digest(size)
    return hashlib.sha256(data).hexdigest(), data


def put(cache, number, distance=math.inf, mine=None, size=1_000):
    digest, data = shard(number, size)
    place = cache.begin(digest, len(data), distance, mine or {})
    if isinstance(place, Download):
        place.write(data)
        place.keep()
        return "kept"
    return place


def total(folder):
    return sum(path.stat().st_size for path in folder.iterdir())


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "shards"


def test_a_kept_shard_is_here_with_its_bytes(folder):
    cache = ShardCache(folder, ROOM + 5_000)
    digest, data = shard(1)
    assert cache.here() == set()
    assert put(cache, 1) == "kept"
    assert cache.here() == {digest}
    assert cache.path(digest).read_bytes() == data
    assert file_is(cache.path(digest), digest)
    assert put(cache, 1) == "here"
    cache.remove(digest)
    assert not file_is(cache.path(digest), digest)
    cache.touch(digest)
    cache.close()
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_a_download_counts_in_full_from_its_first_byte(folder):
    cache = ShardCache(folder, ROOM + 2_500)
    first = cache.begin(shard(1)[0], 1_000, 0, {})
    second = cache.begin(shard(2)[0], 1_000, 0, {})
    assert total(folder) == ROOM + 2_000
    assert cache.begin(shard(3)[0], 1_000, 0, {}) == "full"
    first.drop()
    first.drop()
    assert put(cache, 3) == "kept"
    second.drop()
    assert cache.here() == {shard(3)[0]}


def test_a_shard_larger_than_the_bound_finds_no_room_and_costs_none_its_place(folder):
    cache = ShardCache(folder, ROOM + 2_000)
    assert put(cache, 1) == "kept"
    assert put(cache, 2, 0, size=3_000) == "full"
    assert len(cache.here()) == 1


def test_who_fetches_is_told_to_the_other(folder):
    one, two = ShardCache(folder, 2 * ROOM + 9_000), ShardCache(folder, 2 * ROOM + 9_000)
    place = one.begin(shard(1)[0], 1_000, 0, {})
    assert put(two, 1) == "busy"
    place.write(shard(1)[1])
    place.keep()
    assert put(two, 1) == "here"


@pytest.mark.parametrize("where", ["_sweep", "_evict"])
def test_a_beginning_that_fails_does_not_keep_the_shard_from_the_next_one(
    folder, monkeypatch, where
):
    shards = ShardCache(folder, 1_000_000)
    digest = hashlib.sha256(b"x").hexdigest()

    def vanished(*given):
        raise FileNotFoundError(2, "No such file or directory")

    with monkeypatch.context() as patched:
        patched.setattr(ShardCache, where, vanished)
        with pytest.raises(FileNotFoundError):
            shards.begin(digest, 10, 0, {})
    # The lock of the temporary file went with the failure: nobody is taken for fetching it.
    assert isinstance(shards.begin(digest, 10, 0, {}), Download)


def test_what_the_other_needs_sooner_is_not_evicted(folder):
    bound = 2 * ROOM + 2_000
    one, two = ShardCache(folder, bound, at_once=0), ShardCache(folder, bound, at_once=0)
    needs = {shard(1)[0]: 3.0, shard(2)[0]: 9.0}
    put(one, 1, 3, needs)
    put(one, 2, 9, needs)
    assert put(two, 3, 9, {shard(3)[0]: 9.0}) == "full"
    assert put(two, 3, 8, {shard(3)[0]: 8.0}) == "kept"
    assert two.here() == {shard(1)[0], shard(3)[0]}
    one.close()
    assert put(two, 4, 8, {shard(3)[0]: 8.0}, size=ROOM + 1_000) == "kept"
    assert two.here() == {shard(3)[0], shard(4, ROOM + 1_000)[0]}


def test_the_needs_of_one_that_stands_still_for_long_hold_nobody_up(folder):
    bound = 2 * ROOM + 1_000
    one, two = ShardCache(folder, bound, at_once=0), ShardCache(folder, bound, at_once=0)
    put(one, 1, 0, {shard(1)[0]: 0.0})
    assert put(two, 2, 5, {}) == "full"
    for path in folder.glob(".needs-*"):
        os.utime(path, (1, 1))
    assert put(two, 2, 5, {}) == "kept"


def test_without_a_plan_the_longest_unused_goes_first(folder):
    cache = ShardCache(folder, ROOM + 3_000, at_once=0)
    for number in (1, 2, 3):
        put(cache, number)
        os.utime(cache.path(shard(number)[0]), (number, number))
    cache.touch(shard(1)[0])
    assert put(cache, 4) == "kept"
    assert cache.here() == {shard(k)[0] for k in (1, 3, 4)}
    assert cache.evicted == 1


def test_an_evicted_shard_is_still_read_by_who_has_it_open(folder):
    cache = ShardCache(folder, ROOM + 1_000)
    put(cache, 1)
    with cache.path(shard(1)[0]).open("rb") as file:
        assert put(cache, 2) == "kept"
        assert file.read() == shard(1)[1]
    assert cache.here() == {shard(2)[0]}


def test_a_shard_of_another_size_is_not_taken_for_whole(folder):
    cache = ShardCache(folder, ROOM + 9_000)
    put(cache, 1)
    os.truncate(cache.path(shard(1)[0]), 10)
    assert put(cache, 1) == "kept"
    assert cache.path(shard(1)[0]).read_bytes() == shard(1)[1]


def test_a_smaller_bound_is_kept_from_the_opening_on(folder):
    first = ShardCache(folder, ROOM + 9_000)
    for number in range(9):
        put(first, number)
    first.close()
    second = ShardCache(folder, ROOM + 3_000)
    assert len(second.here()) == 3
    assert total(folder) <= ROOM + 3_000


def test_what_a_killed_process_left_is_swept_and_what_lives_is_not(folder):
    code = f"""
        import sys, time
        from pathlib import Path
        from fusekit.loader.remote.shard_cache import ShardCache
        cache = ShardCache(Path({str(folder)!r}), 100_000)
        place = cache.begin({shard(1)[0]!r}, 1_000, 0, {{}})
        place.write(b"half")
        print("ready", flush=True)
        time.sleep(60)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    cache = ShardCache(folder, 100_000)
    assert put(cache, 1) == "busy"
    assert len(list(folder.glob(".tmp-*"))) == 1
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert put(cache, 2) == "kept"
    assert list(folder.glob(".tmp-*")) == []
    assert len(list(folder.glob(".needs-*"))) == 1
    assert put(cache, 1) == "kept"


@given(
    held=st.lists(st.tuples(st.integers(1, 5), st.integers(0, 9)), max_size=6),
    needs=st.dictionaries(st.integers(0, 6), st.integers(0, 9)),
    room=st.integers(-2, 12),
    distance=st.integers(0, 9),
    at_once=st.integers(0, 4),
)
def test_victims_are_needed_later_and_just_enough(held, needs, room, distance, at_once):
    held = [Held(f"{k:02d}", size, used) for k, (size, used) in enumerate(held)]
    needs = {f"{k:02d}": float(d) for k, d in needs.items()}
    chosen = choose_victims(held, needs, room, distance, at_once)
    later = [h for h in held if needs.get(h.digest, math.inf) > max(distance, at_once)]
    if chosen is None:
        assert sum(h.size for h in later) < room
        return
    assert set(chosen) <= set(later)
    assert sum(h.size for h in chosen) >= room
    assert not chosen or sum(h.size for h in chosen[:-1]) < room
    spared = [needs.get(h.digest, math.inf) for h in later if h not in chosen]
    assert all(needs.get(c.digest, math.inf) >= d for c in chosen for d in spared)


@given(
    asked=st.lists(st.integers(0, 4), min_size=1, max_size=14),
    places=st.integers(1, 3),
)
def test_shards_fetched_as_they_are_needed_are_as_few_as_can_be(asked, places):
    """Reads in the order of ``asked``; every miss costs one, whether kept or read by ranges."""
    held, cost = [], 0
    for step, shard_ in enumerate(asked):
        if shard_ in (int(h.digest) for h in held):
            continue
        cost += 1
        rest = asked[step + 1 :]
        needs = {str(k): float(rest.index(k)) for k in set(rest)}
        distance = needs.get(str(shard_), math.inf)
        if distance == math.inf:
            continue
        victims = choose_victims(held, needs, len(held) + 1 - places, distance, 0)
        if victims is not None:
            held = [h for h in held if h not in victims] + [Held(str(shard_), 1, step)]
    assert cost == fewest(tuple(asked), places)


def fewest(asked, places):
    """The least possible misses, by trying every choice."""

    @cache
    def search(step, held):
        if step == len(asked):
            return 0
        want = asked[step]
        if want in held:
            return search(step + 1, held)
        choices = [held]
        if len(held) < places:
            choices.append(held | {want})
        choices += [held - {victim} | {want} for victim in held]
        return 1 + min(search(step + 1, frozenset(choice)) for choice in choices)

    return search(0, frozenset())


def test_a_folder_that_cannot_be_made_is_an_os_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"file"):
        ShardCache(tmp_path / "file" / "shards", 1_000)


def test_many_beginnings_take_little_time(folder):
    cache = ShardCache(folder, ROOM + 300_000)
    for number in range(200):
        put(cache, number)
    started = time.perf_counter()
    for _ in range(20):
        assert put(cache, 1) == "here"
        assert cache.begin(shard(999)[0], 400_000, 0, {}) == "full"
    assert (time.perf_counter() - started) / 40 < 0.05
