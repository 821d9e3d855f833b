"""Batch memory is used again only when nothing of the batch lives any more."""

import gc
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.mixtures import hand_made

from fusekit.loader.crops.memory import BatchMemory
from fusekit.loader.loader import MixtureLoader

SHAPE = (4, 6, 5, 3)


class Leaf(torch.autograd.Function):
    """Keeps its input for a backward pass that may never come."""

    @staticmethod
    def forward(context, weight, images):
        context.save_for_backward(images)
        return weight * images.float().sum()

    @staticmethod
    def backward(context, given):
        (images,) = context.saved_tensors
        return given * images.float().sum(), None


def in_a_graph(images):
    weight = torch.ones((), requires_grad=True)
    return Leaf.apply(weight, torch.from_numpy(images)), weight


HOLDERS = {
    "the array": lambda a: a,
    "a slice": lambda a: a[1:2],
    "a slice of a slice": lambda a: a[1:][0][2:4, 1:],
    "one number": lambda a: a[0, 0, 0, :1],
    "a transposed view": lambda a: a.transpose(0, 3, 1, 2),
    "another shape": lambda a: a.reshape(-1),
    "another type": lambda a: a.view(np.int8),
    "a memoryview": memoryview,
    "an iterator": lambda a: iter(a.reshape(-1)),
    "a tensor": torch.from_numpy,
    "a part of a tensor": lambda a: torch.from_numpy(a)[1, :2],
    "a permuted tensor": lambda a: torch.from_numpy(a).permute(0, 3, 1, 2),
    "an array of a tensor": lambda a: torch.from_numpy(a)[1:].numpy()[0],
    "a tensor by DLPack": lambda a: torch.from_dlpack(a),
    "an array by DLPack": lambda a: np.from_dlpack(torch.from_numpy(a)),
    "a capsule": lambda a: a.__dlpack__(),
    "a storage": lambda a: torch.from_numpy(a).untyped_storage(),
    "a graph": in_a_graph,
    "a detached tensor": lambda a: torch.from_numpy(a).detach(),
    "a cycle": lambda a: (lambda held: held.append(held) or held)([a]),
    "a closure": lambda a: lambda: a,
}


def address(array):
    return array.__array_interface__["data"][0]


@pytest.mark.parametrize("name", HOLDERS)
def test_memory_is_not_used_again_while_anything_of_it_lives(name):
    memory = BatchMemory(SHAPE, 3)
    images = memory.take()
    place = address(images)
    held = HOLDERS[name](images)
    del images
    gc.collect()
    others = [memory.take() for _ in range(3)]
    for other in others:
        assert not place <= address(other) < place + other.nbytes
        other[...] = 99
    del others, other
    del held
    gc.collect()
    assert place in [address(a) for a in [memory.take() for _ in range(4)]]


def test_a_graph_s_backward_pass_sees_the_batch_it_was_made_of():
    memory = BatchMemory(SHAPE, 3)
    images = memory.take()
    images[...] = 3
    loss, weight = in_a_graph(images)
    del images
    for _ in range(3):
        memory.take()[...] = 7
    loss.backward()
    assert float(weight.grad) == 3 * np.prod(SHAPE)


def test_the_arrays_are_the_consumers_to_change():
    images = BatchMemory(SHAPE, 1).take()
    assert (images.shape, images.dtype, images.flags.writeable) == (SHAPE, np.uint8, True)
    assert images.flags.c_contiguous
    torch.from_numpy(images).fill_(5)
    assert (images == 5).all()


def test_only_so_much_is_kept_for_later():
    memory = BatchMemory(SHAPE, 2)
    held = [memory.take() for _ in range(10)]
    assert len(set(map(address, held))) == 10
    del held
    assert len(memory._free) == 2


def test_memory_outlives_whoever_gave_it():
    memory = BatchMemory(SHAPE, 2)
    images = memory.take()
    images[...] = 4
    del memory
    gc.collect()
    assert (images == 4).all()


def test_threads_never_share_memory_that_lives():
    memory = BatchMemory((2, 64, 64, 3), 3)
    stop = threading.Event()
    faults = []

    def work(number):
        draw = random.Random(number)
        held = []
        while not stop.is_set():
            images = memory.take()
            value = draw.randrange(256)
            images[...] = value
            held.append((images[draw.randrange(2)], value))
            del images
            if len(held) > draw.randrange(6):
                view, value = held.pop(draw.randrange(len(held)))
                if not (view == value).all():
                    faults.append(number)
                del view

    with ThreadPoolExecutor(8) as pool:
        done = [pool.submit(work, number) for number in range(8)]
        threading.Event().wait(0.7)
        stop.set()
    for task in done:
        task.result()
    assert not faults


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    return hand_made(tmp_path_factory.mktemp("memory"), (20, 13), (9,))


def pixels(mixture, rows, layout):
    images = np.stack([mixture.pixels(row) for row in rows])
    return images.transpose(0, 3, 1, 2) if layout == "chw" else images


PARTS = (
    lambda images: (images, slice(None)),
    lambda images: (images[2:3], slice(2, 3)),
    lambda images: (images[1:][:2], slice(1, 3)),
    lambda images: (images.transpose(0, 2, 1, 3).transpose(0, 2, 1, 3), slice(None)),
    lambda images: (torch.from_numpy(images)[1:].numpy(), slice(1, None)),
    lambda images: (torch.from_dlpack(images).permute(1, 0, 2, 3).numpy().swapaxes(0, 1),
                    slice(None)),
)  # fmt: skip


@settings(max_examples=15)
@given(st.integers(0, 2**32), st.sampled_from(["chw", "hwc"]), st.integers(1, 3), st.integers(1, 5))
def test_batches_kept_for_any_time_keep_their_pixels(mixture, seed, layout, threads, prefetch):
    draw = random.Random(seed)
    kept = []
    with MixtureLoader(
        mixture, 4, threads=threads, prefetch=prefetch, layout=layout, arrays="numpy",
        augment="none", seed=seed,
    ) as loader:  # fmt: skip
        for _ in range(3):
            for batch in loader:
                kept.append((*draw.choice(PARTS)(batch.images), batch.rows))
                while kept and draw.random() < 0.5:
                    view, where, rows = kept.pop(draw.randrange(len(kept)))
                    assert np.array_equal(view, pixels(mixture, rows, layout)[where])
                    del view
    for view, where, rows in kept:  # what is left has seen the loader's end
        assert np.array_equal(view, pixels(mixture, rows, layout)[where])


def test_a_consumer_that_changes_its_batches_changes_no_other(mixture):
    with MixtureLoader(mixture, 4, layout="hwc", augment="none", prefetch=1) as loader:
        for _ in range(3):
            for batch in loader:
                assert np.array_equal(batch.images.numpy(), pixels(mixture, batch.rows, "hwc"))
                batch.images.fill_(0)
                batch.labels.fill_(-5)
                batch.rows.fill(0)
        assert (loader.mixture.index.label > -2).all()


def test_a_loop_that_lets_go_of_its_batches_needs_no_new_memory(mixture):
    with MixtureLoader(mixture, 4, prefetch=2, arrays="numpy") as loader:
        places = set()
        for _ in range(5):
            for batch in loader:
                places.add(address(batch.images))
        # Two ahead, one planned, one handed over, the trainer's and the loop's last.
        assert len(places) <= 6


def test_what_is_let_go_of_after_the_loader_is_closed_is_freed(mixture):
    loader = MixtureLoader(mixture, 4, arrays="numpy")
    batches = list(islice(loader, 5))
    loader.close()
    expected = [pixels(mixture, b.rows, "chw").shape for b in batches]
    assert [b.images.shape for b in batches] == expected
    del batches
    gc.collect()
