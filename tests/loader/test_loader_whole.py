"""The loader as a whole over random small mixtures: rows, pixels, jumps, ranks, states."""

import json
import random
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.mixtures import HandMadeMixture, draw_jpegs, draw_pngs, draw_raws

from fusekit.loader.loader import MixtureLoader

POOL = 40
DRAW = (draw_jpegs, draw_pngs, draw_raws)


@pytest.fixture(scope="module")
def drawn():
    """Images of each format, which the mixtures of all examples share."""
    return [draw(POOL) for draw in DRAW]


@dataclass
class Case:
    """A small mixture and how it is loaded."""

    counts: tuple[list[int], list[int]]
    code: int
    per_shard: int
    share: Fraction
    device: int  # rows of a rank where there are four
    options: dict

    def mixture(self, folder, drawn):
        images = iter(drawn[self.code] * 10)
        labeled, unlabeled = ([list(islice(images, n)) for n in kind] for kind in self.counts)
        return HandMadeMixture(
            Path(folder), labeled, unlabeled, code=self.code, per_shard=self.per_shard,
            unlabeled_fraction=self.share,
        )  # fmt: skip


@st.composite
def cases(draw):
    labeled = draw(st.lists(st.integers(1, 25), min_size=1, max_size=4))
    unlabeled = draw(st.lists(st.integers(1, 15), max_size=2))
    share = Fraction(draw(st.integers(0, 3)), 5) if unlabeled else Fraction(0)
    weights = draw(st.none() | st.tuples(*[st.integers(1, 9) for _ in labeled]))
    return Case(
        (labeled, unlabeled), draw(st.sampled_from([0, 0, 0, 1, 2])), draw(st.integers(1, 12)),
        share, draw(st.integers(1, 5)),
        {
            "weights": weights,
            "seed": draw(st.integers(0, 2**64 - 1)),
            "block": draw(st.integers(1, 9)),
            "window": draw(st.integers(1, 5)),
            "layout": draw(st.sampled_from(["chw", "hwc"])),
            "threads": draw(st.integers(1, 4)),
            "prefetch": draw(st.integers(1, 5)),
            "verify": draw(st.sampled_from(["none", "sample", "shard"])),
            "grouping": draw(st.sampled_from([None, "mixed", "sub_batches"])),
        },
    )  # fmt: skip


def opened(mixture, case, world=1, rank=0, **more):
    options = case.options | more
    return MixtureLoader(
        mixture, case.device * 4 // world, rank, world, arrays="numpy", augment="none", **options
    )


def endless(loader):
    while True:
        yield from loader


def check(mixture, case, loader, batch):
    """What holds for every batch."""
    plan = loader.plan(batch.step)
    assert batch.rows.tolist() == plan.rows.tolist()
    assert len(batch) == loader.batch_size
    images = batch.images
    if case.options["layout"] == "chw":
        images = images.transpose(0, 2, 3, 1)
    for place, row in enumerate(batch.rows):
        assert np.array_equal(images[place], mixture.pixels(row))
    assert np.array_equal(batch.labels, mixture.index.label[batch.rows])
    assert np.array_equal(batch.dataset_index, mixture.index.source[batch.rows])
    assert ((batch.labels >= 0) == (np.arange(len(batch)) < batch.n_labeled)).all()
    assert np.array_equal(batch.seeds, plan.keys)
    for dataset, start, stop in batch.parts:
        assert (batch.dataset_index[start:stop] == dataset).all()


@settings(max_examples=25)
@given(cases(), st.integers(0, 2**32))
def test_any_mixture_gives_what_is_planned_through_any_jumps(drawn, case, seed):
    draw = random.Random(seed)
    with TemporaryDirectory() as folder:
        mixture = case.mixture(folder, drawn)
        with opened(mixture, case) as loader:
            states = {loader.step: loader.state_dict()}
            batches, expected = endless(loader), 0
            for _ in range(12):
                if draw.random() < 0.3:
                    expected = draw.choice(list(states))
                    loader.load_state_dict(json.loads(json.dumps(states[expected])))
                    batches = endless(loader)
                batch = next(batches)
                assert batch.step == expected
                check(mixture, case, loader, batch)
                expected += 1
                state = loader.state_dict()
                assert (state["step"], loader.step) == (expected, expected)
                assert len(json.dumps(state)) < 1024
                assert states.setdefault(expected, state) == state
            assert loader.report().stood_in == 0


@settings(max_examples=15)
@given(cases(), st.integers(0, 4), st.integers(0, 4))
def test_a_run_goes_on_over_1_2_and_4_ranks_as_one_sequence(drawn, case, first, second):
    case.options["grouping"] = "mixed"
    with TemporaryDirectory() as folder:
        mixture = case.mixture(folder, drawn)
        with opened(mixture, case) as alone:
            wanted = [
                sorted(zip(batch.rows.tolist(), batch.seeds.tolist(), strict=True))
                for batch in islice(endless(alone), first + second + 3)
            ]
            state = {**alone.state_dict(), "step": 0}
        found = []
        for world, steps in ((1, first), (2, second), (4, 3)):
            states, parts = [], []
            for rank in range(world):
                more = {"threads": 1 + rank % 3, "prefetch": 1 + (rank + world) % 4}
                with opened(mixture, case, world, rank, **more) as loader:
                    loader.load_state_dict(state)
                    batches = list(islice(endless(loader), steps))
                    for batch in batches:
                        check(mixture, case, loader, batch)
                    states.append(loader.state_dict())
                    parts.append([list(zip(b.rows.tolist(), b.seeds.tolist(), strict=True))
                                  for b in batches])  # fmt: skip
            state = states[0]
            assert states == [state] * world  # any rank's state is every rank's
            found += [sorted(chain(*rows)) for rows in zip(*parts, strict=True)]
        assert found == wanted


@settings(max_examples=15)
@given(cases(), st.data())
def test_damaged_rows_are_stood_in_for_by_sound_ones_and_change_nothing_else(drawn, case, data):
    case.options["verify"] = "none"
    with TemporaryDirectory() as folder:
        mixture = case.mixture(folder, drawn)
        # At least one sound row in every source.
        spare = {source.first_row for source in mixture.sources}
        others = sorted(set(range(len(mixture.images))) - spare)
        bad = data.draw(st.sets(st.sampled_from(others), max_size=5)) if others else set()
        for row in bad:
            mixture.spoil(row)
        with opened(mixture, case, max_bad=1) as loader:
            stood_in = 0
            for batch in islice(endless(loader), 6):
                plan = loader.plan(batch.step)
                images = batch.images
                if case.options["layout"] == "chw":
                    images = images.transpose(0, 2, 3, 1)
                for place, (row, planned) in enumerate(zip(batch.rows, plan.rows, strict=True)):
                    assert row not in bad
                    assert (row == planned) == (planned not in bad)
                    assert mixture.index.source[row] == mixture.index.source[planned]
                    assert np.array_equal(images[place], mixture.pixels(row))
                stood_in += sum(row in bad for row in plan.rows.tolist())
            assert loader.report().stood_in == stood_in
