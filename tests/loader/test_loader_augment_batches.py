"""Augmented batches: the same sample looks the same on every rank, thread and after a resume."""

import numpy as np
import pytest
from support.mixtures import hand_made

from fusekit.errors import LoaderError
from fusekit.loader.crops.augment import OPERATIONS, Augment
from fusekit.loader.crops.augmenter import Augmenter
from fusekit.loader.loader import MixtureLoader

AUGMENT = dict.fromkeys(OPERATIONS, 0.4)
STEPS = 5


@pytest.fixture
def mixture(tmp_path):
    return hand_made(tmp_path)


def open_loader(mixture, rank=0, world_size=1, **more):
    fields = {"arrays": "numpy", "layout": "hwc", "augment": AUGMENT, "epochs": {"steps": STEPS}}
    return MixtureLoader(mixture, 12 // world_size, rank, world_size, 7, **(fields | more))


def looks(mixture, world_size=1, **more):
    """Every sample's picture, by step and seed, over all ranks."""
    found = {}
    for rank in range(world_size):
        with open_loader(mixture, rank, world_size, **more) as loader:
            for batch in loader:
                for seed, image in zip(batch.seeds.tolist(), batch.images, strict=True):
                    found[batch.step, seed] = image.tobytes()
    return found


def test_a_sample_looks_the_same_on_every_world_size_and_thread_count(mixture):
    one = looks(mixture, threads=1)
    assert len(one) == 12 * STEPS
    assert looks(mixture, threads=3) == one
    assert looks(mixture, 2, threads=2) == one
    assert looks(mixture, 4, threads=1, prefetch=1) == one


def test_both_layouts_show_the_same_pictures(mixture):
    with open_loader(mixture) as wide, open_loader(mixture, layout="chw") as planes:
        for a, b in zip(wide, planes, strict=True):
            assert np.array_equal(a.images, b.images.transpose(0, 2, 3, 1))


def test_augmenting_changes_pixels_and_nothing_else(mixture):
    changed = 0
    with open_loader(mixture) as loader, open_loader(mixture, augment="none") as plain:
        for a, b in zip(loader, plain, strict=True):
            assert np.array_equal(a.rows, b.rows)
            assert np.array_equal(a.labels, b.labels)
            changed += (a.images != b.images).any(axis=(1, 2, 3)).sum()
            # What the loader does is what the augmenter does with the batch's own numbers.
            Augmenter(Augment.of(AUGMENT), 112, 112).run(b.images, b.seeds)
            assert np.array_equal(a.images, b.images)
    assert changed > 12 * STEPS // 2


def test_by_default_some_crops_are_mirrored_and_the_others_as_stored(mixture):
    mirrored = 0
    with (
        open_loader(mixture, augment=None) as loader,
        open_loader(mixture, augment="none") as plain,
    ):
        for a, b in zip(loader, plain, strict=True):
            same = (a.images == b.images).all(axis=(1, 2, 3))
            flipped = (a.images == b.images[:, :, ::-1]).all(axis=(1, 2, 3))
            assert (same ^ flipped).all()
            mirrored += flipped.sum()
    assert 15 < mirrored < 45


def test_a_resumed_loader_gives_the_same_pictures(mixture):
    whole = looks(mixture)
    with open_loader(mixture) as loader:
        batches = iter(loader)
        next(batches)
        next(batches)
        state = loader.state_dict()
    rest = {}
    for rank in range(2):
        with open_loader(mixture, rank, 2) as loader:
            loader.load_state_dict(state)
            for batch in loader:
                for seed, image in zip(batch.seeds.tolist(), batch.images, strict=True):
                    rest[batch.step, seed] = image.tobytes()
    assert rest == {at: image for at, image in whole.items() if at[0] >= 2}


def test_a_wrong_setting_is_refused_when_the_loader_opens(mixture):
    with pytest.raises(
        LoaderError, match=r"^augment: unknown field 'flips'; did you mean 'flip'\?"
    ):
        open_loader(mixture, augment={"flips": 1})
