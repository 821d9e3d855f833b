"""A trainer's own change to batches: called once each, in the threads, exactly resumable."""

import threading
from collections import Counter
from dataclasses import replace
from functools import partial
from itertools import islice

import numpy as np
import pytest
from support.mixtures import hand_made

from fusekit.errors import LoaderError
from fusekit.loader import loader as under_test

MixtureLoader = partial(under_test.MixtureLoader, arrays="numpy", augment="none", layout="hwc")


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    return hand_made(tmp_path_factory.mktemp("transform"), (20, 13), (9,))


def noisy(batch):
    """Another brightness for each row, drawn from the row's seed alone."""
    shifts = [int(np.random.default_rng(seed).integers(0, 200)) for seed in batch.seeds]
    images = batch.images + np.array(shifts, np.uint8)[:, None, None, None]
    return replace(batch, images=images)


def test_a_transform_is_called_once_for_each_batch_in_the_threads(mixture):
    called, threads = Counter(), set()

    def note(batch):
        called[batch.step] += 1
        threads.add(threading.current_thread().name)
        return batch

    with MixtureLoader(mixture, 4, transform=note, threads=3, prefetch=3) as loader:
        taken = [batch.step for batch in loader]
    assert taken == list(range(11))
    assert all(called[step] == 1 for step in taken)
    assert len(called) <= 11 + 3
    assert all(name.startswith("fusekit-loader") for name in threads)


def test_what_a_transform_gives_is_handed_out_as_it_is(mixture):
    given = []

    def change(batch):
        given.append(replace(batch, images="pictures", labels=[1, 2]))
        return given[-1]

    with MixtureLoader(mixture, 4, transform=change) as loader:
        batches = list(islice(loader, 3))
    assert all(any(batch is other for other in given) for batch in batches)
    assert [batch.images for batch in batches] == ["pictures"] * 3


def test_a_transform_may_change_the_arrays_in_place(mixture):
    def darken(batch):
        batch.images[...] = 255 - batch.images
        return batch

    with MixtureLoader(mixture, 4, transform=darken) as loader:
        for _ in range(3):
            for batch in loader:
                stored = np.stack([mixture.pixels(row) for row in batch.rows])
                assert np.array_equal(batch.images, 255 - stored)


def test_a_transform_that_changes_the_seeds_changes_no_later_batch(mixture):
    def small(batch):
        batch.seeds[...] %= np.uint64(1000)
        return batch

    with MixtureLoader(mixture, 4, transform=small, augment=None, prefetch=1) as loader:
        first = next(iter(loader))
        loader.set_epoch(0)
        again = next(iter(loader))
    assert np.array_equal(first.images, again.images)
    assert np.array_equal(first.seeds, again.seeds)


def test_a_transform_that_draws_from_the_seeds_resumes_exactly(mixture):
    with MixtureLoader(mixture, 4, transform=noisy) as loader:
        whole, states = [], []
        for _ in range(2):
            for batch in loader:
                whole.append(batch.images)
                states.append(loader.state_dict())
    for done in (0, 3, 10, 14):
        with MixtureLoader(mixture, 4, transform=noisy, threads=3, prefetch=1) as loader:
            loader.load_state_dict(states[done])
            for batch, wanted in zip(loader, whole[done + 1 :], strict=False):
                assert np.array_equal(batch.images, wanted)


def test_a_row_looks_the_same_on_every_world_size(mixture):
    def looks(batches):
        return {
            (batch.step, int(row)): image.tobytes()
            for batch in batches
            for row, image in zip(batch.rows, batch.images, strict=True)
        }

    with MixtureLoader(mixture, 8, transform=noisy) as loader:
        wanted = looks(loader)
    found = {}
    for rank in range(2):
        with MixtureLoader(mixture, 4, rank, 2, transform=noisy) as loader:
            found |= looks(loader)
    assert found == wanted


def test_what_a_transform_raises_reaches_the_consumer_with_the_step(mixture):
    broken = [True]

    def fail(batch):
        if batch.step == 2 and broken:
            raise ZeroDivisionError("by hand")
        return batch

    with MixtureLoader(mixture, 4, transform=fail) as loader:
        seen = []
        with pytest.raises(ZeroDivisionError, match="by hand") as error:
            seen.extend(batch.step for batch in loader)
        assert error.value.__notes__ == ["while transforming the batch of step 2"]
        assert loader.step == loader.state_dict()["step"] == 2
        broken.clear()
        assert [batch.step for batch in loader] == list(range(2, 11))


@pytest.mark.parametrize(
    ("given", "name"), [(None, "NoneType"), ("images", "str"), ({"images": 1}, "dict")]
)
def test_a_transform_that_gives_no_batch_is_told_so(mixture, given, name):
    with MixtureLoader(mixture, 4, transform=lambda _: given) as loader:
        with pytest.raises(LoaderError) as error:
            next(iter(loader))
        assert str(error.value) == (
            f"transform: gave {name} for the batch of step 0; expected a Batch; "
            "return the batch, or dataclasses.replace(batch, images=…)"
        )
