"""Loaders with a process of their own, and what became of the process."""

import itertools
import time
from pathlib import Path

import numpy as np
from support.recipes import build
from support.stores import make_dataset

from fusekit import Mixture, MixtureLoader
from fusekit.store.layout import open_store


def make_mixture(folder):
    storage = open_store(folder / "store", create=True)
    make_dataset(storage, "one", {"a": 20, "b": 21})
    make_dataset(storage, "two", {"b": 18, "c": 19, "d": 10}, seed=1)
    make_dataset(storage, "crawl", 31, seed=2)
    build(storage, "one", "two", unlabeled=["crawl"], batch={"size": 8, "unlabeled_fraction": 0.25})
    return Mixture.open(storage.path("mixtures/m"))


def opened(mixture, **more):
    return MixtureLoader(mixture, 8, **({"arrays": "numpy", "process": True} | more))


def at(loader, step):
    loader.load_state_dict(loader.state_dict() | {"step": step})
    return loader


def child_of(loader):
    return loader._maker._link._process.pid


def runs(pid):
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def wait_until(true, seconds=30.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def endless(loader):
    while True:
        yield from loader


def take(loader, count):
    return list(itertools.islice(endless(loader), count))


def assert_same(ours, theirs):
    assert (ours.step, ours.n_labeled, ours.parts) == (theirs.step, theirs.n_labeled, theirs.parts)
    for name in ("images", "labels", "dataset_index", "rows", "seeds"):
        assert np.array_equal(getattr(ours, name), getattr(theirs, name)), name
    assert ours.keys == theirs.keys
