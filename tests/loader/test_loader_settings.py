"""A loader's settings as plain, checked values."""

import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest
from support.mixtures import hand_made

from fusekit.errors import LoaderError
from fusekit.loader import settings as under_test
from fusekit.loader.cache import CacheSettings
from fusekit.loader.crops.augment import Augment
from fusekit.loader.settings import LoaderSettings, check_choice, check_share

PLAIN = {
    "batch_size": 8, "seed": None, "threads": None, "augment": None, "cache": None, "rank": 0,
    "world_size": 1, "prefetch": 4, "layout": "chw", "verify": "none", "weights": None,
    "sampler": None, "epochs": None, "grouping": None, "block": 256, "window": 512,
}  # fmt: skip


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    return hand_made(tmp_path_factory.mktemp("settings"), (4,), (2,))


def settings(mixture, **changed):
    return LoaderSettings.of(mixture, **PLAIN | changed)


def test_none_takes_what_the_recipe_and_the_machine_say(mixture, monkeypatch):
    monkeypatch.setattr(under_test, "_processors", lambda: 3)
    made = settings(mixture, batch_size=None)
    assert (made.batch_size, made.seed, made.threads) == (mixture.batch_size, mixture.seed, 3)
    assert (made.augment, made.cache) == (Augment(), CacheSettings())
    monkeypatch.setattr(under_test, "_processors", lambda: 128)
    assert settings(mixture).threads == 8
    assert settings(mixture, threads=50).threads == 50


def test_the_same_call_gives_equal_settings_that_are_frozen_and_cross_processes(mixture):
    more = {"cache": {"size": "1 GB", "folder": "x"}, "augment": {"blur": 0.1}, "weights": (2,)}
    made = settings(mixture, **more)
    assert made == settings(mixture, **more) == pickle.loads(pickle.dumps(made))
    assert hash(made) == hash(settings(mixture, **more))
    assert made.cache.folder == Path("x")
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.seed = 5


def test_numbers_of_numpy_become_python_s(mixture):
    made = settings(
        mixture, batch_size=np.int16(8), rank=np.uint8(1), world_size=np.int64(2),
        seed=np.uint64(2**64 - 1), threads=np.int8(2), prefetch=np.int32(3), block=np.int64(4),
        window=np.int64(5), weights=np.array([3]),
    )  # fmt: skip
    values = (
        made.batch_size, made.rank, made.world_size, made.seed, made.threads, made.prefetch,
        made.block, made.window, *made.weights,
    )  # fmt: skip
    assert values == (8, 1, 2, 2**64 - 1, 2, 3, 4, 5, 3)
    assert {type(value) for value in values} == {int}


def test_the_order_is_made_of_what_it_depends_on_and_nothing_else(mixture):
    made = settings(mixture, threads=1, seed=9, epochs="stop_first")
    assert made.for_order == {
        "batch_size": 8, "world_size": 1, "seed": 9, "weights": None, "sampler": None,
        "epochs": "stop_first", "grouping": None, "block": 256, "window": 512,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"batch_size": 0}, "batch_size: is 0; expected at least 1"),
        ({"batch_size": 1.0}, "batch_size: is 1.0; expected an integer"),
        ({"batch_size": True}, "batch_size: is True; expected an integer"),
        ({"threads": -1}, "threads: is -1; expected at least 1"),
        ({"threads": "all"}, "threads: is 'all'; expected an integer"),
        ({"prefetch": None}, "prefetch: is None; expected an integer"),
        ({"rank": 1}, "rank: is 1; expected 0 to 0"),
        ({"rank": -1}, "rank: is -1; expected 0 to 0"),
        ({"world_size": 0}, "world_size: is 0; expected at least 1"),
        ({"world_size": -2}, "world_size: is -2; expected at least 1"),
        ({"block": 1.5}, "block: is 1.5; expected an integer"),
        ({"window": "8"}, "window: is '8'; expected an integer"),
        ({"seed": 2**64}, "seed: is 18446744073709551616; expected 0 or more, under 2^64"),
        ({"seed": "1"}, "seed: is '1'; expected an integer"),
        ({"layout": None}, "layout: is None; expected 'chw' or 'hwc'"),
        ({"verify": "shards"}, "verify: is 'shards'; expected 'none', 'sample' or 'shard'"),
        ({"cache": "disk"}, "cache: is 'disk'; expected None, 'none', 'decoded' or"),
        ({"augment": {"flop": 1}}, "augment: unknown "),
    ],
)
def test_a_setting_that_cannot_be_is_named(mixture, changed, message):
    with pytest.raises(LoaderError) as error:
        settings(mixture, **changed)
    assert str(error.value).startswith(message)


def test_a_choice_is_one_of_its_words():
    check_choice("colour", "red", ("red", "green", "blue"))
    with pytest.raises(LoaderError) as error:
        check_choice("colour", "pink", ("red", "green", "blue"))
    assert str(error.value) == "colour: is 'pink'; expected 'red', 'green' or 'blue'"


@pytest.mark.parametrize("value", [0, 1, 0.5, np.float64(0.25)])
def test_a_share_is_from_0_to_1(value):
    assert check_share("part", value) == float(value)


@pytest.mark.parametrize("value", [-1, 2, float("inf"), float("nan"), "1", None, False])
def test_what_is_no_share_is_named(value):
    with pytest.raises(LoaderError) as error:
        check_share("part", value)
    assert str(error.value) == f"part: is {value!r}; expected a share from 0 to 1"
