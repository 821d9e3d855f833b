"""Memory that two processes share: where slots lie, when they come back, when there is no room."""

import errno
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusekit.errors import LoaderError
from fusekit.loader.process import slots
from fusekit.loader.process.slots import AnonymousFile, SlotMemory, Slots, hand_over, lease

SHAPE = (3, 50, 40, 3)


@given(
    st.tuples(st.integers(1, 3), st.integers(1, 90), st.integers(1, 90), st.just(3)),
    st.sets(st.integers(0, 60), min_size=1, max_size=6),
)
def test_each_side_sees_what_the_other_writes_and_slots_do_not_overlap(shape, numbers):
    file = AnonymousFile()
    one, other = Slots(file, shape), Slots(file, shape)
    for slot in numbers:
        one.reserve(slot)
        one.view(slot)[:] = slot + 1
    for slot in numbers:
        assert other.view(slot).shape == shape
        assert (other.view(slot) == slot + 1).all()


def test_what_was_dropped_is_used_again_and_what_was_handed_over_when_it_comes_back():
    memory = SlotMemory(AnonymousFile(), SHAPE, 4)
    first, second = memory.take(), memory.take()
    first[:] = 9
    view = first[1:]
    del first
    assert hand_over(second) == 1
    third = memory.take()
    assert hand_over(third) == 2  # the first has a view, the second is elsewhere
    del view, second, third
    fourth = memory.take()
    assert hand_over(fourth) == 0
    assert (fourth == 9).all()  # the same memory
    memory.give_back(1)
    assert hand_over(memory.take()) == 1
    assert hand_over(memory.take()) == 3


@pytest.mark.skipif(slots._REMOVE is None, reason="only Linux takes memory back from a file")
def test_free_slots_above_the_most_have_no_memory():
    file = AnonymousFile()
    memory = SlotMemory(file, SHAPE, 2)
    taken = [memory.take() for _ in range(30)]
    for images in taken:
        images[:] = 1
    whole = os.fstat(file.number).st_blocks
    del taken, images
    again = memory.take()
    assert os.fstat(file.number).st_blocks == whole * 2 // 30
    more = [memory.take() for _ in range(29)]
    assert os.fstat(file.number).st_blocks == whole
    assert len({images.ctypes.data for images in [again, *more]}) == 30


def test_a_file_system_that_takes_nothing_back_keeps_the_memory(monkeypatch):
    monkeypatch.setattr(slots, "_REMOVE", None)
    memory = SlotMemory(AnonymousFile(), SHAPE, 0)
    one = memory.take()
    one[:] = 5
    del one
    assert (memory.take() == 5).all()


def test_no_room_for_another_batch_says_so(monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    memory = SlotMemory(AnonymousFile(), SHAPE, 4)
    kept = memory.take()
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(
        LoaderError,
        match=r"^process: no memory for another batch \(No space left on device\); "
        r"expected 20,480 bytes; lower prefetch or batch_size",
    ):
        memory.take()
    del kept
    assert memory.take().shape == SHAPE  # what comes back is still used


def test_a_system_without_fallocate_writes_the_room(monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate")
    file = AnonymousFile()
    SlotMemory(file, SHAPE, 4).take()
    assert os.fstat(file.number).st_blocks * 512 == 20_480


def test_a_lease_tells_once_and_through_every_view():
    told = []
    images = lease(np.zeros(SHAPE, np.uint8), 7, told.append)
    view = images[1].reshape(-1)[3:]
    del images
    assert told == []
    del view
    assert told == [7]
