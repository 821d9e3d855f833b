import os
import signal
import subprocess
import sys
import time

import pytest

from fusekit.engines.local import run_units, tick
from fusekit.errors import StorageError, StoreError, WorkError


def square(unit):
    tick(done=2)
    return unit * unit


def fail_at_two(unit):
    if unit == 2:
        raise StoreError("shard", "would pass 1 GiB")
    return unit


def crash(unit):
    raise ZeroDivisionError("of course")


def disk_full(unit):
    raise StorageError("a.tar", "the disk is full")


def die(unit):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_every_unit_is_done_once_with_any_number_of_workers(workers):
    found, seen = {}, []
    run_units(square, range(7), workers, found.__setitem__, counters=("done",), on_tick=seen.append)
    assert found == {u: u * u for u in range(7)}
    assert seen[-1] == {"done": 14}


def test_no_unit_starts_no_process():
    run_units(square, [], 4, lambda u, r: pytest.fail("nothing to do"))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_failing_unit_is_told_after_the_others_were_done(workers):
    found = []
    with pytest.raises(WorkError, match=r"unit 2: shard: would pass 1 GiB; 1 of 6 units failed"):
        run_units(fail_at_two, range(6), workers, lambda u, r: found.append(u))
    assert sorted(found) == [0, 1, 3, 4, 5]


def test_three_failures_in_a_row_stop_the_run_and_carry_the_traceback():
    with pytest.raises(WorkError, match="ZeroDivisionError: of course; 3 of 100") as caught:
        run_units(crash, range(100), 0, lambda u, r: None)
    assert any("in crash" in note for note in caught.value.__notes__)


def test_a_full_disk_stops_the_run_at_once():
    with pytest.raises(WorkError, match="the disk is full; 1 of 100 units failed"):
        run_units(disk_full, range(100), 0, lambda u, r: None)


def test_a_killed_worker_is_one_line():
    with pytest.raises(WorkError, match="a worker process: was killed; was memory short"):
        run_units(die, range(3), 1, lambda u, r: None)


SLEEPER = """
import os, sys, time
from fusekit.engines.local import run_units

def sleep(unit):
    print(os.getpid(), flush=True)
    time.sleep(60)

if __name__ == "__main__":
    run_units(sleep, [0, 1], 2)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_is_killed_leaves_no_worker_behind(tmp_path, how):
    script = tmp_path / "go.py"
    script.write_text(SLEEPER)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as run:
        assert all(int(run.stdout.readline()) for _ in range(2))  # both work
        run.send_signal(how)
        run.wait()
        started = time.monotonic()
        # Each holds the pipe open; one left behind would do so for a minute.
        assert run.stdout.read() == ""
        assert time.monotonic() - started < 30
