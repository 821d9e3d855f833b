"""A loader's state: a few integers, exact at every step, on any world size."""

import json
from fractions import Fraction
from itertools import chain, islice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.mixtures import hand_made

from fusekit.errors import StateError
from fusekit.loader.loader import MixtureLoader
from fusekit.loader.order.order import OrderSettings
from fusekit.loader.state import make_state, read_step


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    return hand_made(tmp_path_factory.mktemp("mixture"), (20, 13), (9,))


def endless(loader):
    while True:
        yield from loader


def take(loader, count):
    return [batch.rows.tolist() for batch in islice(endless(loader), count)]


def opened(mixture, batch_size=4, rank=0, world=1, **more):
    return MixtureLoader(mixture, batch_size, rank, world, arrays="numpy", augment="none", **more)


def test_resuming_after_every_step_is_the_uninterrupted_run(mixture):
    with opened(mixture) as loader:
        states, rows = [loader.state_dict()], []
        for batch in islice(endless(loader), 25):  # more than two epochs of 11 steps
            states.append(loader.state_dict())
            rows.append(batch.rows.tolist())
    for done, state in enumerate(states):
        with opened(mixture, threads=1 + done % 3, prefetch=1 + done % 4) as loader:
            loader.load_state_dict(json.loads(json.dumps(state)))
            assert (loader.step, loader.epoch) == (done, done // 11)
            assert take(loader, min(4, 25 - done)) == rows[done : done + 4]


@given(st.integers(0, 30), st.sampled_from([(1, 2), (2, 4), (4, 1), (2, 3), (6, 4)]))
def test_another_world_size_goes_on_with_the_same_rows(mixture, done, worlds):
    before, after = worlds
    with opened(mixture, 12 // before, before - 1, before) as loader:
        take(loader, done)
        state = loader.state_dict()
    with opened(mixture, 12) as alone:
        alone.load_state_dict(state)
        wanted = [sorted(rows) for rows in take(alone, 3)]
    ranks = []
    for rank in range(after):
        with opened(mixture, 12 // after, rank, after) as loader:
            loader.load_state_dict(state)
            ranks.append(take(loader, 3))
    assert [sorted(chain(*rows)) for rows in zip(*ranks, strict=True)] == wanted


def test_a_loop_that_sets_the_epoch_resumes_as_it_is(mixture):
    def run(loader, first_epoch, stop_after=None):
        seen = []
        for epoch in range(first_epoch, 3):
            loader.set_epoch(epoch)
            for batch in loader:
                seen.append(batch.rows.tolist())
                if len(seen) == stop_after:
                    return seen, epoch
        return seen, None

    with opened(mixture) as whole:
        wanted, _ = run(whole, 0)
    assert len(wanted) == 33
    for stop in (1, 5, 10, 11, 12, 21, 22, 32):
        with opened(mixture) as loader:
            seen, epoch = run(loader, 0, stop)
            state = loader.state_dict()
        with opened(mixture) as loader:
            loader.load_state_dict(state)
            rest, _ = run(loader, epoch)
        assert seen + rest == wanted
        with opened(mixture) as loader:
            loader.load_state_dict(state)
            rest, _ = run(loader, loader.epoch)
        assert seen + rest == wanted


def test_only_the_first_set_epoch_after_loading_keeps_the_position(mixture):
    with opened(mixture) as loader:
        take(loader, 5)
        loader.load_state_dict(loader.state_dict())
        loader.set_epoch(0)
        assert loader.step == 5
        loader.set_epoch(0)
        assert loader.step == 0
        loader.load_state_dict({**loader.state_dict(), "step": 5})
        loader.set_epoch(2)
        assert loader.step == 22


def test_batches_made_ahead_do_not_count(mixture):
    with opened(mixture, prefetch=6) as loader:
        take(loader, 1)
        assert loader.state_dict()["step"] == 1


def test_a_state_is_json_of_under_a_kilobyte_whatever_the_mixture():
    weights = tuple(range(1, 2000))
    settings = OrderSettings(2**64 - 1, 2**40, Fraction(10**9, 10**9 + 7), weights)
    state = make_state("f" * 64, settings, 10**15)
    assert len(json.dumps(state)) < 1024
    assert read_step(json.loads(json.dumps(state)), "f" * 64, settings) == 10**15


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": 4}, "state: order.seed is 3; expected 4; open the loader with the settings"),
        ({"block": 7}, "state: order.block is 256; expected 7; open the loader with"),
        ({"window": 7}, "state: order.window is 512; expected 7; open the loader with"),
        ({"weights": (1, 1)}, "state: order.weights is None; expected '"),
        (
            {"batch_size": 8},
            "state: global_batch is 4; expected 8; keep batch_size * world_size when",
        ),
    ],
)
def test_a_state_of_another_order_is_refused_by_the_field_that_differs(mixture, settings, message):
    with opened(mixture) as loader:
        state = loader.state_dict()
    with opened(mixture, **settings) as loader:
        with pytest.raises(StateError) as error:
            loader.load_state_dict(state)
        assert str(error.value).startswith(message)
        assert loader.step == 0


def test_a_state_of_another_share_or_mixture_is_refused(tmp_path, mixture):
    with opened(mixture) as loader:
        state = loader.state_dict()
    other = hand_made(tmp_path, fingerprint="0" * 64)
    with opened(other) as loader, pytest.raises(StateError) as error:
        loader.load_state_dict(state)
    assert str(error.value).startswith(f"state: selection is '{'f' * 64}'; expected '{'0' * 64}'")
    other = hand_made(tmp_path, unlabeled_fraction=Fraction(1, 3))
    with (
        opened(other) as loader,
        pytest.raises(
            StateError, match=r"^state: order.unlabeled_fraction is '1/4'; expected '1/3'; open"
        ),
    ):
        loader.load_state_dict(state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (None, "state: is no loader state; expected what state_dict() gave"),
        ({"format_version": "1"}, "state: is no loader state; expected what"),
        ({"format_version": 2}, "state: has format 2; expected at most 1"),
        ({"step": -1}, "state: step is -1; expected an integer from 0 on"),
        ({"step": True}, "state: step is True; expected an integer from 0 on"),
        ({"step": "9"}, "state: step is '9'; expected an integer from 0 on"),
        ({"order": None}, "state: order.block is None; expected 256"),
        ({"more": 1}, "state: more is 1; expected None"),
    ],
)
def test_what_is_no_state_is_refused(mixture, change, message):
    with opened(mixture) as loader:
        state = None if change is None else loader.state_dict() | change
        with pytest.raises(StateError) as error:
            loader.load_state_dict(state)
        assert str(error.value).startswith(message)
