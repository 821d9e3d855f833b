"""What a loader hands out: pixels, labels, epochs, arrays, threads."""

import gc
import itertools
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import torch
from support.mixtures import hand_made

from fusekit.errors import LoaderError, MissingExtraError
from fusekit.loader import loader as under_test

MixtureLoader = partial(under_test.MixtureLoader, augment="none")


@pytest.fixture
def mixture(tmp_path):
    return hand_made(tmp_path)


def loader_threads(but=()):
    found = [t for t in threading.enumerate() if t.name.startswith("fusekit-loader")]
    return [t for t in found if t not in but]


def rows_of(batches):
    return [batch.rows.tolist() for batch in batches]


@pytest.mark.parametrize("layout", ["chw", "hwc"])
@pytest.mark.parametrize("threads", [1, 3])
def test_every_row_of_a_batch_is_its_own_picture_label_and_source(mixture, layout, threads):
    with MixtureLoader(
        mixture, 12, layout=layout, arrays="numpy", threads=threads, verify="sample"
    ) as loader:
        for batch in loader:
            assert batch.images.shape == (
                (12, 3, 112, 112) if layout == "chw" else (12, 112, 112, 3)
            )
            assert (batch.images.dtype, batch.labels.dtype) == (np.uint8, np.int64)
            assert batch.dataset_index.dtype == np.int64
            for place, row in enumerate(batch.rows):
                pixels = simplejpeg.decode_jpeg(mixture.images[row])
                found = batch.images[place]
                assert np.array_equal(
                    found.transpose(1, 2, 0) if layout == "chw" else found, pixels
                )
            assert np.array_equal(batch.labels, mixture.index.label[batch.rows])
            assert np.array_equal(batch.dataset_index, mixture.index.source[batch.rows])
            assert batch.keys == [mixture.key(row) for row in batch.rows]
            assert len(batch) == 12


def test_labeled_rows_come_first_and_unlabeled_ones_have_no_class(mixture):
    with MixtureLoader(mixture, None, arrays="numpy") as loader:
        for batch in loader:
            assert (len(batch), batch.n_labeled) == (8, 6)
            assert (batch.labels[:6] >= 0).all()
            assert (batch.labels[6:] == -1).all()
            assert (batch.dataset_index[:6] < 2).all()
            assert (batch.dataset_index[6:] == 2).all()


def test_an_epoch_gives_every_labeled_row_and_the_next_for_the_next_epoch(mixture):
    with MixtureLoader(mixture, 4, arrays="numpy") as loader:
        # 33 labeled rows, 3 a step: exactly 11 steps.
        epochs = []
        for number in range(3):
            assert (loader.epoch, len(loader), loader.step) == (number, 11, 11 * number)
            epochs.append(np.concatenate([b.rows[: b.n_labeled] for b in loader]))
        assert [sorted(e) for e in epochs] == [list(range(33))] * 3
        assert epochs[0].tolist() != epochs[1].tolist()


def test_a_for_that_was_left_is_carried_on_by_the_next(mixture):
    with MixtureLoader(mixture, 4, arrays="numpy") as whole:
        wanted = rows_of(whole)
    with MixtureLoader(mixture, 4, arrays="numpy") as loader:
        first = rows_of(itertools.islice(loader, 4))
        assert loader.step == 4
        assert first + rows_of(loader) == wanted
        assert loader.epoch == 1


def test_set_epoch_goes_to_the_start_of_an_epoch(mixture):
    with MixtureLoader(mixture, 4, arrays="numpy") as loader:
        epochs = [rows_of(loader) for _ in range(3)]
        for number in (1, 0, 2):
            loader.set_epoch(number)
            assert rows_of(loader) == epochs[number]
        with pytest.raises(LoaderError, match=r"^epoch: is -1; expected 0 or more$"):
            loader.set_epoch(-1)


def test_a_mixture_smaller_than_a_batch_has_epochs_without_a_step(tmp_path):
    # 5 labeled rows, 12 a step: a step holds 2.4 epochs, so most epochs find nothing left.
    with MixtureLoader(hand_made(tmp_path, (5,), (2,)), 16, arrays="numpy") as loader:
        lengths = []
        for _ in range(12):
            lengths.append(len(loader))
            assert len(list(loader)) == lengths[-1]
        assert lengths == [1, 0, 1, 0, 1, 0, 0, 1, 0, 1, 0, 0]
        assert loader.epoch == 12


def test_ranks_together_give_the_rows_of_one_alone(mixture):
    with MixtureLoader(mixture, 8, arrays="numpy") as alone:
        wanted = [sorted(rows) for rows in rows_of(alone)]
    parts = []
    for rank in range(4):
        with MixtureLoader(mixture, 2, rank, 4, arrays="numpy") as loader:
            parts.append(rows_of(loader))
    assert [sorted(itertools.chain(*rows)) for rows in zip(*parts, strict=True)] == wanted


def test_no_unlabeled_source_gives_labeled_batches(tmp_path):
    with MixtureLoader(hand_made(tmp_path, (9,), ()), 3, arrays="numpy") as loader:
        assert [b.n_labeled for b in loader] == [3, 3, 3]


def test_weights_give_each_labeled_source_its_share(mixture):
    mixture.unlabeled_fraction = Fraction(0)
    with MixtureLoader(mixture, 8, weights=(1, 3), arrays="numpy") as loader:
        assert [int((b.dataset_index == 0).sum()) for b in loader] == [2, 2, 2, 2, 2]
        passes = [source.passes for source in loader.report().sources.values()]
        assert passes == [10 / 20, 30 / 13, 0]


def test_the_seed_is_the_recipes_unless_given(mixture):
    def first(seed):
        with MixtureLoader(mixture, 8, seed=seed, arrays="numpy") as loader:
            return loader.plan(0).rows.tolist()

    assert first(None) == first(mixture.seed) != first(mixture.seed + 1)


def test_tensors_are_given_where_torch_is_installed(mixture):
    with MixtureLoader(mixture, 4) as loader:
        batch = next(iter(loader))
        assert batch.images.dtype == torch.uint8
        assert batch.images.shape == (4, 3, 112, 112)
        assert batch.labels.dtype == batch.dataset_index.dtype == torch.int64
        assert batch.images.is_contiguous()


def test_numpy_arrays_never_import_torch():
    code = (
        "import sys; from fusekit.loader import loader; loader._wrapper('numpy');"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_torch_asked_for_and_not_installed_names_the_extra(mixture, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'fusekit\[torch\]'"):
        MixtureLoader(mixture, 4, arrays="torch")


def test_a_batch_is_the_consumers_to_keep(mixture):
    with MixtureLoader(mixture, 4, arrays="numpy") as loader:
        kept = [(b, b.images.copy()) for b in loader]
    assert all(np.array_equal(batch.images, then) for batch, then in kept)
    for (a, _), (b, _) in itertools.pairwise(kept):
        assert not np.shares_memory(a.images, b.images)


def test_only_prefetch_batches_are_made_ahead(mixture):
    with MixtureLoader(mixture, 4, prefetch=2, arrays="numpy") as loader:
        made = []
        reader = loader._maker._reader
        draft = reader.draft
        reader.draft = lambda plan: made.append(1) or draft(plan)
        for taken, _ in enumerate(loader, 1):
            loader._maker._pool.submit(int).result()
            assert len(made) <= taken + 2 + 1


@pytest.mark.parametrize("end", ["close", "leave", "drop", "break"])
def test_no_thread_outlives_a_loader(mixture, end):
    others = loader_threads()  # of a test whose loader waits for the garbage collector
    loader = MixtureLoader(mixture, 4, threads=3, arrays="numpy")
    batches = iter(loader)
    next(batches)
    assert loader_threads(others)
    if end == "close":
        loader.close()
    elif end == "leave":
        with loader:
            pass
    elif end == "break":
        for _ in loader:
            break
    del loader, batches
    gc.collect()
    for thread in loader_threads(others):
        thread.join(5)
    assert not loader_threads(others)


def test_a_closed_loader_says_so(mixture):
    loader = MixtureLoader(mixture, 4)
    loader.close()
    loader.close()
    with pytest.raises(LoaderError, match=r"^loader: is closed; open another$"):
        next(iter(loader))


def test_integers_of_numpy_give_the_same_order_and_a_state_that_is_json(mixture):
    settings = {"batch_size": np.int64(4), "seed": np.uint32(7), "weights": np.array([1, 2])}
    with MixtureLoader(mixture, **settings) as loader:
        state = json.loads(json.dumps(loader.state_dict()))
    with MixtureLoader(mixture, 4, seed=7, weights=(1, 2)) as loader:
        assert loader.state_dict() == state


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_is_told_to_open_its_own_and_the_first_goes_on(mixture):
    with MixtureLoader(mixture, 4, arrays="numpy") as loader:
        batches = iter(loader)
        first = next(batches)
        child = os.fork()
        if child == 0:
            try:
                next(iter(loader))
            except LoaderError as error:
                told = str(error).startswith("loader: was opened by another process; open it in")
                os._exit(0 if told else 1)
            os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert first.step + 1 == next(batches).step


def test_a_loader_is_not_pickled(mixture):
    with (
        MixtureLoader(mixture, 4) as loader,
        pytest.raises(LoaderError, match=r"^loader: can't be pickled or copied; open it in the"),
    ):
        pickle.dumps(loader)


def test_a_for_that_another_replaced_says_so(mixture):
    with MixtureLoader(mixture, 4, arrays="numpy") as loader:
        old = iter(loader)
        next(old)
        next(iter(loader))
        with pytest.raises(LoaderError, match=r"was moved or iterated anew during this 'for'$"):
            next(old)


ENDLESS = """
import os, sys, time
from pathlib import Path
from support.mixtures import hand_made
from fusekit.loader.crops import decode
from fusekit.loader.loader import MixtureLoader

os.environ["FUSEKIT_NATIVE"] = "0"  # the compiled decoder is not slowed by this
whole = decode.CropDecoder.decode
decode.CropDecoder.decode = lambda *a: time.sleep(0.05) or whole(*a)
loader = MixtureLoader(hand_made(Path(sys.argv[1])), 64, threads=2, arrays="numpy")
print("ready", flush=True)
for batch in loader:
    pass
"""


def test_ctrl_c_ends_a_waiting_process_at_once(tmp_path):
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, tmp_path],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": path},
    )  # fmt: skip
    assert process.stdout.readline() == b"ready\n"
    time.sleep(0.3)  # the first batch takes 1.6 seconds
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT
    assert errors.decode().strip().endswith("KeyboardInterrupt")


def test_ctrl_c_leaves_a_loader_that_goes_on(mixture):
    with MixtureLoader(mixture, 4, arrays="numpy") as whole:
        wanted = rows_of(whole)
    with MixtureLoader(mixture, 4, arrays="numpy") as loader:
        seen = []

        def until_interrupted():
            for batch in loader:
                seen.append(batch.rows.tolist())
                if len(seen) == 3:
                    raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            until_interrupted()
        assert seen + rows_of(loader) == wanted


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size: is 0; expected at least 1"),
        ({"threads": 0}, "threads: is 0; expected at least 1"),
        ({"prefetch": 0}, "prefetch: is 0; expected at least 1"),
        ({"layout": "nchw"}, "layout: is 'nchw'; expected 'chw' or 'hwc'"),
        ({"arrays": "jax"}, "arrays: is 'jax'; expected 'auto', 'numpy' or 'torch'"),
        ({"verify": "all"}, "verify: is 'all'; expected 'none', 'sample' or 'shard'"),
        ({"rank": 2, "world_size": 2}, "rank: is 2; expected 0 to 1"),
        ({"world_size": 0}, "world_size: is 0; expected at least 1"),
        ({"batch_size": 2.5}, "batch_size: is 2.5; expected an integer"),
        ({"batch_size": "8"}, "batch_size: is '8'; expected an integer"),
        ({"rank": None}, "rank: is None; expected an integer"),
        ({"seed": "a"}, "seed: is 'a'; expected an integer"),
        ({"seed": True}, "seed: is True; expected an integer"),
        ({"seed": -1}, "seed: is -1; expected 0 or more, under 2^64"),
        ({"seed": 2**64}, "seed: is 18446744073709551616; expected 0 or more, under 2^64"),
        ({"weights": (1.5, 2)}, "a weight: is 1.5; expected an integer"),
        ({"weights": (1,)}, "order: 1 weights; expected 2, one per labeled source"),
    ],
)
def test_a_setting_that_cannot_be_says_why(mixture, settings, message):
    others = loader_threads()
    with pytest.raises(LoaderError) as error:
        MixtureLoader(mixture, **settings)
    assert str(error.value) == message
    assert not loader_threads(others)
