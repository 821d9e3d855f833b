"""A training process killed again and again sees what one sees that never stops."""

import json
import random
import signal
import subprocess
import sys
import time

import pytest
from support.training import TESTS, planned, small_mixture
from trainers.killed_run import SAVE_EVERY, main

SCRIPT = TESTS / "trainers" / "killed_run.py"
ENDLESS = 10**9
PATIENCE_S = 60


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return small_mixture(tmp_path_factory.mktemp("killed"))


def lines_of(folder):
    log = folder / "log"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def kill_after(kind, path, folder, steps, delay_s):
    """Start the training and kill it when it has logged so many more steps, and a moment later."""
    wanted, until = lines_of(folder) + steps, time.monotonic() + PATIENCE_S
    process = subprocess.Popen(
        [sys.executable, SCRIPT, kind, path, folder, str(ENDLESS)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        while lines_of(folder) < wanted:
            assert process.poll() is None, process.communicate()[0].decode()
            assert time.monotonic() < until, "no step in time"
            time.sleep(0.001)
        time.sleep(delay_s)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == -signal.SIGKILL


def check(kind, kills, path, tmp_path):
    chance = random.Random(20)
    folder, whole = tmp_path / "killed", tmp_path / "whole"
    folder.mkdir()
    whole.mkdir()
    for _ in range(kills):
        kill_after(kind, path, folder, chance.randint(1, 12), chance.uniform(0, 0.01))
    lines = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
    end = lines[-1]["step"] + 10
    main(kind, path, folder, end)
    main(kind, path, whole, end)
    lines = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
    wanted = [json.loads(line) for line in (whole / "log").read_text().splitlines()]
    assert [line["rows"] for line in wanted] == planned(path, end)
    kept, starts = [], []
    for line in lines:
        first = line.pop("from")
        if line["step"] == first:
            # A new run: what came after the save that it starts from is trained again.
            assert first % SAVE_EVERY == 0
            assert len(kept) - SAVE_EVERY - 1 <= first <= len(kept)
            del kept[first:]
            starts.append(first)
        assert line["step"] == len(kept)
        kept.append(line)
    assert len(starts) == kills + 1
    # Rows, pixels and losses; that of repeated steps as well.
    for line in wanted:
        del line["from"]
    assert kept == wanted
    assert all(line == wanted[line["step"]] for line in lines)
    repeated = len(lines) - len(wanted)
    assert repeated > 0
    saved = [json.loads((each / "saved.json").read_text()) for each in (folder, whole)]
    assert saved[0] == saved[1]


@pytest.mark.slow
def test_twenty_kills_leave_no_trace_in_the_training(path, tmp_path):
    check("numpy", 20, path, tmp_path)


@pytest.mark.slow
def test_a_torch_training_with_momentum_survives_kills(path, tmp_path):
    check("torch", 3, path, tmp_path)
