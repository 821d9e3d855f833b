"""A mixture as a torch dataset: the same batches, wherever and by whatever they are taken."""

import json
import pickle
import re
import subprocess
import sys

import pytest
import torch
from support.recipes import build
from support.stores import make_dataset
from support.training import planned, small_mixture
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

from fusekit import Mixture, MixtureDataset, MixtureLoader
from fusekit.errors import LoaderError, StateError
from fusekit.store.layout import open_store

# torchdata 0.11 calls what torch 2.13 has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")
BATCH = 5  # 48 labeled rows, 3 or 4 a batch: epochs of 13 and 12 steps


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return small_mixture(tmp_path_factory.mktemp("view"))


@pytest.fixture(scope="module")
def rows(path):
    return planned(path, 60, BATCH)


def opened(path, batch_size=BATCH, rank=0, world_size=1, **more):
    return MixtureDataset(path, batch_size, rank, world_size, **({"threads": 1} | more))


def taken(batches, count=None):
    """The rows of the batches, leaving the ``for`` after ``count``."""
    found = []
    for batch in batches:
        found.append(batch["rows"].tolist())
        if len(found) == count:
            break
    return found


def boundaries(path):
    with MixtureLoader(path, BATCH) as loader:
        found = []
        for epoch in range(4):
            loader.set_epoch(epoch)
            found.append(loader.step)
        return tuple(found)


def test_a_batch_is_a_dict_of_the_loaders_tensors(path):
    dataset = opened(path)
    with MixtureLoader(path, BATCH, threads=1, arrays="torch") as loader:
        for batch, plain in zip(dataset, loader, strict=True):
            for name in ("images", "labels", "dataset_index"):
                assert torch.equal(batch[name], getattr(plain, name))
            assert batch["rows"].tolist() == plain.rows.tolist()
            assert (batch["n_labeled"], batch["step"]) == (plain.n_labeled, plain.step)
            assert batch["parts"] == plain.parts


@pytest.mark.parametrize(
    "how",
    ["alone", "process", "no worker", "worker", "kept worker",
     pytest.param("spawned", marks=pytest.mark.slow)],
)  # fmt: skip
def test_every_for_is_the_next_epoch_in_any_process(path, rows, how):
    more = {
        "no worker": {}, "worker": {"num_workers": 1},
        "kept worker": {"num_workers": 1, "persistent_workers": True},
        "spawned": {"num_workers": 1, "multiprocessing_context": "spawn"},
    }  # fmt: skip
    dataset = opened(path, process=how == "process")
    loader = DataLoader(dataset, batch_size=None, **more[how]) if how in more else dataset
    ends = boundaries(path)
    epochs = 2 if how == "spawned" else 3
    assert [taken(loader) for _ in range(epochs)] == [
        rows[ends[e] : ends[e + 1]] for e in range(epochs)
    ]


@pytest.mark.parametrize(
    "more", [{}, {"num_workers": 1}, {"num_workers": 1, "persistent_workers": True}]
)
def test_set_epoch_reaches_the_process_that_iterates(path, rows, more):
    dataset, ends = opened(path), boundaries(path)
    loader = DataLoader(dataset, batch_size=None, **more)
    for epoch in (2, 0, 0, 1):
        dataset.set_epoch(epoch)
        assert taken(loader) == rows[ends[epoch] : ends[epoch + 1]]


def test_a_for_left_early_goes_on_and_in_a_worker_begins_again(path, rows):
    dataset = opened(path)
    assert taken(dataset, 3) + taken(dataset) == rows[:13]
    loader = DataLoader(opened(path), batch_size=None, num_workers=1)
    assert taken(loader, 3) == rows[:3]
    assert taken(loader) == rows[:13]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("count", [1, 12, 13, 17])
def test_the_state_after_a_batch_is_exact_in_a_plain_dataloader(path, rows, workers, count):
    dataset, seen, state = opened(path), [], None
    loader = DataLoader(dataset, batch_size=None, num_workers=workers)
    while len(seen) < count:
        for batch in loader:
            seen.append(batch["rows"].tolist())
            state = dataset.state_after(batch)
            if len(seen) == count:
                break
    again = opened(path)
    again.load_state_dict(json.loads(json.dumps(state)))
    loader = DataLoader(again, batch_size=None, num_workers=workers)
    rest = taken(loader)
    assert seen + rest == rows[: count + len(rest)]
    assert count + len(rest) in boundaries(path)


def test_the_first_set_epoch_after_loading_keeps_the_place(path, rows):
    dataset = opened(path)
    dataset.load_state_dict(dataset.state_after({"step": 4}))
    dataset.set_epoch(0)
    assert taken(dataset, 1) == rows[5:6]
    dataset.set_epoch(0)
    assert taken(dataset, 1) == rows[:1]
    dataset.load_state_dict(dataset.state_after({"step": 4}))
    dataset.set_epoch(1)
    assert taken(dataset, 1) == rows[13:14]


def test_dataset_and_loader_load_each_others_states(path, rows):
    dataset = opened(path)
    taken(dataset, 6)
    with MixtureLoader(path, BATCH) as loader:
        loader.load_state_dict(dataset.state_dict())
        assert next(iter(loader)).rows.tolist() == rows[6]
        dataset.load_state_dict(loader.state_dict())
    assert taken(dataset, 1) == rows[7:8]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("count", [0, 1, 5, 13, 15])
def test_a_stateful_dataloader_resumes_after_what_it_gave(path, rows, workers, count):
    """Its worker is ahead by then; what it made and nobody took is given again."""
    loader = StatefulDataLoader(opened(path), batch_size=None, num_workers=workers)
    seen = []
    while len(seen) < count:
        seen += taken(loader, count - len(seen))
    state = loader.state_dict()
    loader = StatefulDataLoader(opened(path), batch_size=None, num_workers=workers)
    loader.load_state_dict(state)
    while len(seen) < 40:  # three epochs
        seen += taken(loader)
    assert seen == rows[: len(seen)]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_stateful_dataloader_resumes_twice_within_an_epoch(path, rows, workers):
    seen, state = [], None
    for count in (3, 4, 2, 9):
        loader = StatefulDataLoader(opened(path), batch_size=None, num_workers=workers)
        if state is not None:
            loader.load_state_dict(state)
        seen += taken(loader, count)
        state = loader.state_dict()
    assert seen == rows[: len(seen)]


def test_a_dataset_can_be_pickled_with_its_place(path, rows):
    dataset = opened(Mixture.open(path))
    assert taken(dataset, 4) == rows[:4]
    copy = pickle.loads(pickle.dumps(dataset))
    assert taken(copy, 2) == rows[4:6]
    assert taken(dataset, 1) == rows[4:5]


def test_steps_as_epochs_have_a_length_and_others_none(path, rows):
    dataset = opened(path, epochs={"steps": 4})
    assert len(dataset) == len(DataLoader(dataset, batch_size=None)) == 4
    assert [taken(dataset) for _ in range(5)] == [rows[4 * e : 4 * e + 4] for e in range(5)]
    with pytest.raises(TypeError, match="has a length only with epochs="):
        len(opened(path))


def test_steps_of_the_recipe_are_a_length_too(tmp_path):
    storage = open_store(tmp_path / "s", create=True)
    make_dataset(storage, "one", {"a": 9, "b": 9})
    build(storage, "one", epochs={"steps": 7})
    path = tmp_path / "s" / "mixtures" / "m"
    assert len(opened(path)) == len(taken(opened(path))) == 7
    with pytest.raises(TypeError, match="has a length only with epochs="):
        len(opened(path, epochs="cycle"))


def test_a_schedule_can_ask_for_the_steps_of_all_epochs(path):
    dataset = opened(path)
    assert tuple(dataset.total_steps(e) for e in range(4)) == boundaries(path)
    assert taken(dataset, 1) == planned(path, 1, BATCH)


def test_an_epoch_without_a_step_is_passed(path):
    dataset = opened(path, 128)
    lengths = [len(taken(dataset)) for _ in range(4)]
    with MixtureLoader(path, 128) as loader:
        assert lengths == [sum(1 for _ in loader) for _ in range(4)]
    assert 0 in lengths


def test_ranks_split_a_step(path):
    ranks = [taken(opened(path, 4, rank, 2), 5) for rank in range(2)]
    together = [sorted(a + b) for a, b in zip(*ranks, strict=True)]
    assert together == [sorted(rows) for rows in planned(path, 5, 8)]


def test_rank_and_world_size_come_from_the_launcher(path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    dataset = MixtureDataset(path, 4, threads=1)
    assert (dataset.rank, dataset.world_size) == (1, 2)
    monkeypatch.setenv("RANK", "one")
    with pytest.raises(LoaderError, match=r"^RANK: is 'one'; expected an integer from 0 on$"):
        MixtureDataset(path, 4)


def test_a_process_that_has_become_another_rank_is_refused(path, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    dataset = MixtureDataset(path, 4, threads=1)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    message = (
        "dataset: was made for rank 0 of 1; expected rank 1 of 2, which this process is; "
        "make it after init_process_group"
    )
    with pytest.raises(LoaderError, match=f"^{re.escape(message)}$"):
        next(iter(dataset))
    assert MixtureDataset(path, 4).rank == 1
    assert len(taken(opened(path, 4, 0, 2), 1)) == 1  # what is given is taken


def test_two_workers_are_refused(path):
    loader = DataLoader(opened(path), batch_size=None, num_workers=2)
    message = (
        "DataLoader: has 2 workers; expected num_workers 0 or 1; a mixture is decoded in "
        "threads: give the dataset threads="
    )
    with pytest.raises(RuntimeError, match=re.escape(message)):
        next(iter(loader))


@pytest.mark.parametrize("more", [{"process": True}, {"device": "meta"}])
def test_a_worker_beside_a_device_or_a_process_is_refused(path, more):
    loader = DataLoader(opened(path, **more), batch_size=None, num_workers=1)
    message = "DataLoader: has a worker beside device= or process=True; expected num_workers 0"
    with pytest.raises(RuntimeError, match=re.escape(message)):
        next(iter(loader))


def test_moving_during_a_for_ends_it(path):
    dataset = opened(path)
    state = dataset.state_dict()
    for move in (lambda: dataset.set_epoch(0), lambda: dataset.load_state_dict(state)):
        batches = iter(dataset)
        next(batches)
        move()
        with pytest.raises(LoaderError, match=r"^dataset: was moved during this 'for'$"):
            next(batches)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"rank": None}, "rank: stands without the other; expected rank and world_size, or nei"),
        ({"arrays": "numpy"}, "arrays: can't be chosen here; a dataset gives tensors"),
        ({"device": "gpu"}, "device: is 'gpu'; expected a device of torch, as 'cuda:0'"),
        ({"threads": 0}, "threads: is 0; expected at least 1"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_when_made(path, more, message):
    with pytest.raises(LoaderError, match=f"^{message}"):
        opened(path, **more)


def test_without_torch_the_name_says_what_to_install():
    code = """
import sys
sys.modules["torch"] = None
from fusekit import *
try:
    MixtureDataset("none")
except FusekitError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "MixtureDataset: needs the extra 'torch'; pip install 'fusekit[torch]'\n"


def test_a_negative_epoch_and_a_foreign_state_are_refused(path):
    dataset = opened(path)
    with pytest.raises(LoaderError, match=r"^epoch: is -1; expected 0 or more$"):
        dataset.set_epoch(-1)
    with pytest.raises(
        StateError, match=r"^state: global_batch is 10; expected 5; keep batch_size"
    ):
        dataset.load_state_dict(opened(path, 10).state_dict())


def test_a_foreign_state_is_refused_in_a_worker_too(path):
    loader = StatefulDataLoader(opened(path, 10), batch_size=None, num_workers=1)
    state = loader.state_dict()
    loader = StatefulDataLoader(opened(path), batch_size=None, num_workers=1)
    loader.load_state_dict(state)
    with pytest.raises(RuntimeError, match="state: global_batch is 10; expected 5; keep batch_siz"):
        next(iter(loader))
