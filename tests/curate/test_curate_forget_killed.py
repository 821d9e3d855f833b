"""An erasure that is killed, or meets a full disk, at any write goes on to the same bytes."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.erasures import digests, files_with, make_whole_store

from fusekit.curate.forget import forget
from fusekit.errors import StorageError, StoreError
from fusekit.report.verify import verify_store

TESTS = Path(__file__).parents[1]
KILLED = """
import itertools, json, os, shutil, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from support.erasures import digests
from fusekit.curate.forget import forget
from fusekit.storage import folder as storage

def count(left):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)

def hook(moment, number):
    left = [number]
    if moment == "renamed":   # right after a file got its name
        was = storage._sync_folder
        storage._sync_folder = lambda folder: (was(folder), count(left))
    else:                     # the data is written, the name not yet given
        sync = os.fsync
        os.fsync = lambda descriptor: (sync(descriptor), count(left))

def child(act):
    # A process of its own that starts in microseconds; nothing here has started a thread yet.
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            act()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

whole, folder, moment = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[4]
clean = folder / "clean"
shutil.copytree(whole, clean)
assert child(lambda: forget(identity="Ann Lee", store=clean)) == 0
wanted, different = digests(clean), []
for number in itertools.count(int(sys.argv[5]), int(sys.argv[6])):
    store = folder / "killed"
    shutil.rmtree(store, ignore_errors=True)
    shutil.copytree(whole, store)
    code = child(lambda: (hook(moment, number), forget(identity="Ann Lee", store=store)))
    if code == 0:
        break
    assert code == -signal.SIGKILL, code
    if child(lambda: forget(identity="Ann Lee", store=store)) or digests(store) != wanted:
        different.append(number)
print(json.dumps({"writes": number, "different": different}))
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("killed") / "store"
    make_whole_store(path)
    return path


def run_killed(whole, folder, moment, first, step):
    arguments = [sys.executable, "-c", KILLED, whole, folder, TESTS, moment, str(first), str(step)]
    environment = os.environ | {"FUSEKIT_CACHE": str(folder / "cache")}
    done = subprocess.run(arguments, capture_output=True, check=False, env=environment, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_kill_at_some_writes_and_the_same_command_give_the_bytes_of_a_clean_run(whole, tmp_path):
    found = run_killed(whole, tmp_path, "renamed", 2, 9)
    assert found["writes"] > 20
    assert found["different"] == []


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["renamed", "written"])
def test_a_kill_at_any_write_and_the_same_command_give_the_bytes_of_a_clean_run(
    whole, tmp_path, moment
):
    found = run_killed(whole, tmp_path, moment, 1, 1)
    assert found["writes"] > 20
    assert found["different"] == []


@pytest.fixture
def store(whole, tmp_path, monkeypatch):
    monkeypatch.setenv("FUSEKIT_CACHE", str(tmp_path / "cache"))
    return Path(shutil.copytree(whole, tmp_path / "store"))


def fail_at(monkeypatch, number):
    """Let the disk be full from one write on."""
    left, sync = [number], os.fsync

    def full(descriptor):
        left[0] -= 1
        if left[0] <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)


@pytest.mark.parametrize("number", [1, 3, 6, 12, 40])
def test_a_full_disk_is_one_line_and_the_same_command_goes_on(store, tmp_path, monkeypatch, number):
    clean = Path(shutil.copytree(store, tmp_path / "clean"))
    forget(identity="Ann Lee", store=clean)
    with monkeypatch.context() as patch:
        fail_at(patch, number)
        with pytest.raises(StorageError, match="the disk is full; free some space and run the sa"):
            forget(identity="Ann Lee", store=store)
    result = forget(identity="Ann Lee", store=store)
    assert result.proved
    assert digests(store) == digests(clean)


def interrupted(store, monkeypatch):
    with monkeypatch.context() as patch:
        fail_at(patch, 12)
        with pytest.raises(StorageError):
            forget(identity="Ann Lee", store=store)


def test_verify_tells_of_an_erasure_that_was_interrupted(store, monkeypatch):
    interrupted(store, monkeypatch)
    found = [str(problem) for problem in verify_store(store).problems]
    assert (
        "forget/journal.json: an erasure was interrupted; fusekit forget goes on with it" in found
    )
    forget(identity="Ann Lee", store=store)
    assert verify_store(store).problems == ()


def test_an_interrupted_erasure_is_gone_on_with_without_a_name(store, monkeypatch):
    interrupted(store, monkeypatch)
    result = forget(store=store)
    assert (result.samples, result.went_on, result.proved) == (9, True, True)
    assert files_with(store, "Ann Lee") == []


def test_another_erasure_finishes_the_interrupted_one_first(store, monkeypatch):
    interrupted(store, monkeypatch)
    result = forget(identity="bob", store=store)
    assert [(each.dataset, each.samples) for each in result.datasets] == [
        ("people", 9), ("people", 8),
    ]  # fmt: skip
    assert files_with(store, "Ann Lee") == files_with(store, "bob") == []
    assert verify_store(store).problems == ()


def test_the_journal_holds_no_text(store, monkeypatch):
    interrupted(store, monkeypatch)
    journal = (store / "forget/journal.json").read_text()
    assert "Ann" not in journal
    assert "/000" not in journal


def test_a_damaged_journal_is_one_line(store, monkeypatch):
    interrupted(store, monkeypatch)
    journal = store / "forget/journal.json"
    journal.write_text(journal.read_text().replace('"samples":9', '"samples":8'))
    with pytest.raises(StoreError, match=r"forget/journal.json: is damaged; remove it and give"):
        forget(identity="Ann Lee", store=store)
