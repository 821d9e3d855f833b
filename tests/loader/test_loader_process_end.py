"""process=True: how the loader's process begins and ends, whatever happens to either side."""

import gc
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from support.process_loaders import (
    assert_same,
    at,
    child_of,
    make_mixture,
    opened,
    runs,
    take,
    wait_until,
)

from fusekit.errors import LoaderError
from fusekit.loader.process import maker as process


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    return make_mixture(tmp_path_factory.mktemp("process"))


@pytest.fixture(scope="module")
def shared(mixture):
    """A loader for tests that leave it working; each goes to the step that it wants."""
    with opened(mixture) as loader:
        yield loader


@pytest.fixture(scope="module")
def plain(mixture):
    """The same without a process."""
    with opened(mixture, process=False) as loader:
        yield loader


def test_what_opening_raises_is_raised_here(mixture, monkeypatch):
    monkeypatch.setattr(mixture, "fingerprint", "0" * 64)
    with pytest.raises(
        LoaderError, match=r"^m: was built anew since it was opened; open it again$"
    ):
        opened(mixture)


def test_a_setting_that_can_not_be_sent_says_so(mixture):
    with pytest.raises(LoaderError, match=r"^process: a setting can't be sent to it \(.*mappingpr"):
        opened(mixture, epochs=MappingProxyType({"steps": 3}))


def test_a_process_that_can_not_be_started_says_so(mixture, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(
        LoaderError, match=r"^process: can't be started \(/nowhere/python: No such file"
    ):
        opened(mixture)


def test_the_process_ends_with_close_and_close_comes_twice(mixture):
    loader = opened(mixture)
    take(loader, 1)
    child = child_of(loader)
    assert runs(child)
    loader.close()
    assert not Path(f"/proc/{child}").exists()  # not even a zombie
    loader.close()
    with pytest.raises(LoaderError, match=r"^loader: is closed"):
        take(loader, 1)


def test_the_process_ends_when_its_loader_is_dropped(mixture):
    class Trainer:
        def change(self, batch):
            return batch

    trainer = Trainer()
    trainer.loader = opened(mixture, transform=trainer.change)  # a cycle, through the transform
    kept = take(trainer.loader, 3)
    then = [batch.images.copy() for batch in kept]
    child = child_of(trainer.loader)
    del trainer
    gc.collect()
    wait_until(lambda: not Path(f"/proc/{child}").exists())
    assert all(np.array_equal(b.images, t) for b, t in zip(kept, then, strict=True))


def test_a_process_that_hangs_is_killed(mixture, monkeypatch):
    monkeypatch.setattr(process, "_PATIENCE", 0.3)
    loader = opened(mixture)
    take(loader, 1)
    child = child_of(loader)
    os.kill(child, signal.SIGSTOP)
    loader.close()
    assert not Path(f"/proc/{child}").exists()


def test_a_killed_process_is_noticed_and_leaves_nothing(mixture, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    loader = opened(mixture)
    kept = take(loader, 2)
    then = kept[1].images.copy()
    state = loader.state_dict()
    os.kill(child_of(loader), signal.SIGKILL)
    message = (
        r"^process: the loader's process was killed by SIGKILL; .*lower prefetch or batch_size"
    )
    for _ in range(2):
        with pytest.raises(LoaderError, match=message):
            take(loader, 30)
    assert np.array_equal(kept[1].images, then)
    assert names(tmp_path) == []
    loader.close()
    with opened(mixture) as other:
        other.load_state_dict(state)
        assert take(other, 1)[0].step == 2


def test_a_process_that_ended_says_its_exit_code(mixture, monkeypatch):
    monkeypatch.setattr(process, "_CODE", "raise SystemExit(3)")
    with pytest.raises(
        LoaderError, match=r"^process: the loader's process ended with exit code 3; a new loader"
    ):
        opened(mixture)


def test_signals_to_the_whole_group_leave_it_to_the_trainer(shared):
    take(shared, 1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(child_of(shared), number)
    assert len(take(shared, 12)) == 12


def test_a_system_without_memfd_has_a_file_without_a_name(mixture, plain, monkeypatch, tmp_path):
    monkeypatch.delattr(os, "memfd_create")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with opened(mixture) as ours:
        assert names(tmp_path) == []
        for pair in zip(take(ours, 12), take(at(plain, 0), 12), strict=True):
            assert_same(*pair)


# A script as trainers write them: nothing under `if __name__ == "__main__"`.
SCRIPT = """
import os, sys, time
from fusekit import MixtureLoader
print("once", flush=True)
loader = MixtureLoader(sys.argv[1], 8, process=True, arrays="numpy")
batches = iter(loader)
kept = [next(batches) for _ in range(3)]
print(loader._maker._link._process.pid, flush=True)
if sys.argv[2] == "fork" and os.fork() == 0:
    print(os.getpid(), flush=True)
    time.sleep(60)
if sys.argv[2] != "end":
    time.sleep(60)
"""


def start(mixture, how, folder):
    running = subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error", "-c", SCRIPT, mixture.path, how],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"TMPDIR": str(folder)},
    )  # fmt: skip
    assert running.stdout.readline() == "once\n", running.stderr.read()
    return running, int(running.stdout.readline())


def names(folder):
    """What the loader or its process has given a name, in ``folder`` or among shared memory."""
    shared_memory = Path("/dev/shm")
    listed = shared_memory.iterdir() if shared_memory.is_dir() else ()
    return [*folder.iterdir(), *(path for path in listed if "fusekit" in path.name)]


def test_a_script_that_ends_without_closing_ends_its_process_in_silence(mixture, tmp_path):
    running, child = start(mixture, "end", tmp_path)
    out, errors = running.communicate(timeout=20)
    assert (running.returncode, out, errors) == (0, "", "")
    assert not runs(child)
    assert names(tmp_path) == []


def test_the_process_of_a_killed_trainer_ends_and_leaves_nothing(mixture, tmp_path):
    running, child = start(mixture, "wait", tmp_path)
    assert names(tmp_path) == []
    assert runs(child)
    running.kill()
    wait_until(lambda: not runs(child))
    assert running.communicate(timeout=20) == ("", "")  # it had no pipe open, said nothing
    assert names(tmp_path) == []


def test_a_worker_that_the_killed_trainer_forked_does_not_keep_the_process(mixture, tmp_path):
    running, child = start(mixture, "fork", tmp_path)
    worker = int(running.stdout.readline())
    try:
        running.kill()
        wait_until(lambda: not runs(child))
        assert runs(worker)
    finally:
        os.kill(worker, signal.SIGKILL)
    running.communicate(timeout=20)
