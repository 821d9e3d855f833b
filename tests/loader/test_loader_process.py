"""process=True: the same batches and states, made in a process of the loader's own."""

import gc
import logging
import os
import pickle
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.process_loaders import (
    assert_same,
    at,
    child_of,
    endless,
    make_mixture,
    opened,
    take,
    wait_until,
)

from fusekit.errors import LoaderError
from fusekit.loader.process import serving


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


WALK = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(1, 9)),
        st.tuples(st.just("epoch"), st.integers(0, 5)),
        st.tuples(st.just("state"), st.integers(0, 40)),
    ),
    min_size=1, max_size=5,
)  # fmt: skip


@pytest.mark.parametrize(
    "more",
    [
        {"layout": "hwc", "threads": 3, "prefetch": 1},
        {"augment": {"flip": 0.5, "color": 0.5, "jpeg": 0.3}, "prefetch": 2, "seed": 9},
        {"weights": (1, 3), "grouping": "sub_batches", "augment": "none"},
        {"sampler": {"identities": 3, "images": 2}, "verify": "sample", "prefetch": 7},
        {"grouping": "one_dataset", "epochs": {"steps": 5}, "rank": 1, "world_size": 2},
    ],
    ids=["layout", "augment", "weights", "sampler", "grouping"],
)
def test_batches_and_states_are_those_of_a_loader_without_a_process(mixture, more):
    with opened(mixture, **more) as ours, opened(mixture, **more, process=False) as theirs:
        state = theirs.state_dict()

        @settings(max_examples=5)
        @given(WALK)
        def walk(moves):
            for what, number in moves:
                for loader in (ours, theirs):
                    if what == "epoch":
                        loader.set_epoch(number)
                    elif what == "state":
                        loader.load_state_dict(state | {"step": number})
                count = number if what == "take" else 2
                for pair in zip(take(ours, count), take(theirs, count), strict=True):
                    assert_same(*pair)
                assert ours.state_dict() == theirs.state_dict()
                assert (ours.epoch, ours.report().batches) == (
                    theirs.epoch,
                    theirs.report().batches,
                )

        walk()
        assert ours.report() == theirs.report()
        found, wanted = ours.stats(), theirs.stats()
        assert found.keys() == wanted.keys()
        assert found["batches"] == wanted["batches"] > 0
        assert found["images"] >= 8 * found["batches"]
        assert found["decode_us"] > 0


def test_steps_of_any_size_are_reached(shared, plain):
    assert_same(take(at(shared, 2**70), 2)[1], take(at(plain, 2**70), 2)[1])


def test_batches_are_the_trainers_to_keep_and_their_memory_is_used_again(mixture):
    with opened(mixture, prefetch=2, arrays="torch") as loader:
        size = 8 * 112 * 112 * 3
        memory = loader._maker._link._slots._file.number
        view = take(loader, 1)[0].images[3:5, 1]
        then = view.clone()
        kept = [(batch, batch.images.clone()) for batch in take(loader, 40)]
        assert all(torch.equal(batch.images, copy) for batch, copy in kept)
        assert os.fstat(memory).st_blocks * 512 >= 41 * size
        del kept
        for batch in take(loader, 20):
            batch.images[:] = 0
            del batch
        # All but a few are free, and only prefetch + 2 free ones keep their memory.
        wait_until(lambda: take(loader, 1) and os.fstat(memory).st_blocks * 512 <= 11 * size)
        assert torch.equal(view, then)
        loader.close()
        assert torch.equal(view, then)
        view += 1


def test_only_prefetch_batches_are_made_ahead(mixture):
    for prefetch in (1, 5):
        with opened(mixture, prefetch=prefetch) as loader:
            last = 0
            for taken in range(1, 8):
                take(loader, 1)
                time.sleep(0.05)
                last = loader._maker.figures()[0].crops
                assert last <= 8 * (taken + prefetch + 1)
            assert last


def test_bad_crops_are_reported_as_without_a_process(tmp_path):
    mixture = make_mixture(tmp_path)
    path = mixture.shard_paths[0]
    data = bytearray(path.read_bytes())
    for row in np.flatnonzero(mixture.index.shard == 0)[:3]:
        at = int(mixture.index.offset[row])
        data[at : at + 200] = bytes(200)
    path.write_bytes(data)
    reports = []
    for own in (True, False):
        with opened(mixture, process=own) as loader:
            take(loader, 30)
            reports.append(loader.report())
    assert reports[0] == reports[1]
    assert reports[0].reasons["undecodable"] > 0


def test_an_error_is_raised_here_and_the_loader_goes_on_once_its_cause_is_gone(tmp_path):
    mixture = make_mixture(tmp_path)
    path, away = mixture.shard_paths[0], tmp_path / "away"
    path.rename(away)
    said = {}
    with opened(mixture) as ours, opened(mixture, process=False) as theirs:
        for loader in (ours, theirs):
            with pytest.raises(LoaderError, match=r"can't be read: No such file") as error:
                take(loader, 20)
            said[loader] = (str(error.value), getattr(error.value, "__notes__", []), loader.step)
        assert said[ours] == said[theirs]
        away.rename(path)
        for pair in zip(take(ours, 20), take(theirs, 20), strict=True):
            assert_same(*pair)


def test_a_transform_runs_here_and_its_error_is_raised_where_its_batch_is_taken(mixture):
    def fail_once(batch):
        batch.images[:] = 7  # the memory is writable
        if batch.step == 3 and not failed:
            failed.append(os.getpid())
            raise KeyError("mine")
        return batch

    failed = []
    with opened(mixture, transform=fail_once) as loader:
        batches = iter(loader)
        assert [next(batches).step for _ in range(3)] == [0, 1, 2]
        with pytest.raises(KeyError, match="mine"):
            next(batches)
        assert failed == [os.getpid()]
        again = take(loader, 2)
        assert [batch.step for batch in again] == [3, 4]
        assert (again[0].images == 7).all()


def test_warnings_of_the_process_are_logged_here(tmp_path, caplog):
    mixture = make_mixture(tmp_path)
    path = mixture.shard_paths[0]
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    with caplog.at_level(logging.WARNING, "fusekit"), opened(mixture, verify="shard") as loader:
        take(loader, 15)
    found = [r.getMessage() for r in caplog.records if "another sha256" in r.getMessage()]
    assert len(found) == 1
    assert found[0].startswith(str(path))


def test_an_interrupted_wait_leaves_a_loader_that_goes_on(shared, plain):
    wanted = [batch.rows.tolist() for batch in take(at(plain, 0), 12)]
    seen = [batch.rows.tolist() for batch in take(at(shared, 0), 2)]
    os.kill(child_of(shared), signal.SIGSTOP)
    before = signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(KeyboardInterrupt):
            seen.extend(batch.rows.tolist() for batch in endless(shared))
    finally:
        os.kill(child_of(shared), signal.SIGCONT)
        signal.signal(signal.SIGALRM, before)
    seen += [batch.rows.tolist() for batch in take(shared, 12 - len(seen))]
    assert seen == wanted


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_neither_takes_batches_nor_gives_memory_back(shared):
    kept = take(shared, 6)
    then = [batch.images.copy() for batch in kept]
    fork = os.fork()
    if fork == 0:
        try:
            next(iter(shared))
        except LoaderError as error:
            kept.clear()
            shared.close()
            gc.collect()
            os._exit(0 if "opened by another process" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]) == 0
    take(shared, 20)
    assert all(np.array_equal(b.images, t) for b, t in zip(kept, then, strict=True))


def test_torch_is_not_imported_there(shared):
    assert "libtorch" in Path("/proc/self/maps").read_text()
    assert "libtorch" not in Path(f"/proc/{child_of(shared)}/maps").read_text()


class OddError(Exception):
    """Can be pickled, not unpickled."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def test_an_error_that_can_not_be_sent_is_told_instead():
    error = OddError(1, 2)
    error.add_note("while reading")
    told = serving._sendable(error)
    assert type(told) is LoaderError
    assert str(told) == "process: OddError: 1 and 2"
    assert told.__notes__[0] == "while reading"
    assert "OddError: 1 and 2" in told.__notes__[1]
    plain = pickle.loads(pickle.dumps(serving._sendable(ValueError("bad"))))
    assert (type(plain), str(plain)) == (ValueError, "bad")
    assert plain.__notes__[0].startswith("in the loader's process:\n")
