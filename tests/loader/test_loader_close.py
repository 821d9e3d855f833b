"""Closing a loader: from another thread, in a fork, and by dropping it."""

import gc
import os
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from support.process_loaders import make_mixture

from fusekit import MixtureLoader
from fusekit.errors import LoaderError


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    return make_mixture(tmp_path_factory.mktemp("close"))


def opened(mixture, **more):
    return MixtureLoader(mixture, 8, arrays="numpy", threads=2, **more)


@pytest.mark.parametrize("process", [False, True])
def test_closing_from_another_thread_ends_a_for_with_one_line(mixture, process):
    for _ in range(5):
        loader, told = opened(mixture, process=process), []

        def run(loader=loader, told=told):
            try:
                while True:
                    for _ in loader:
                        pass
            except LoaderError as error:
                told.append(str(error))

        thread = threading.Thread(target=run)
        thread.start()
        time.sleep(0.05)
        loader.close()
        thread.join(20)
        assert told in (["loader: is closed; open another"], ["process: is closed"])


def test_a_fork_closes_its_copy_though_a_thread_held_a_lock(mixture):
    loader = opened(mixture)
    next(iter(loader))
    pool = loader._maker._pool
    with pool._shutdown_lock:  # as a thread may at the moment of the fork
        child = os.fork()
        if not child:
            locked = threading.Thread(target=loader.close)
            locked.start()
            locked.join(20)
            os._exit(1 if locked.is_alive() else 0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with loader:
        assert len(next(iter(loader))) == 8


def test_a_dropped_loader_lets_go_of_its_decoded_crops(mixture, tmp_path):
    cache = {"decoded": True, "folder": tmp_path}
    before = _open_crops(tmp_path)
    loader = opened(mixture, cache=cache)
    list(loader)
    assert _open_crops(tmp_path) > before
    del loader
    gc.collect()
    end = time.monotonic() + 20
    while _open_crops(tmp_path) > before and time.monotonic() < end:
        time.sleep(0.01)
    assert _open_crops(tmp_path) == before


def _open_crops(folder):
    found = 0
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found += link.readlink().is_relative_to(folder / "decoded")
    return found
