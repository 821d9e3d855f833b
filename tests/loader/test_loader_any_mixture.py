"""Random mixtures through the whole loader: states, world sizes, threads and bad samples."""

import json
from collections import Counter
from fractions import Fraction
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from support.mixtures import hand_made

from fusekit.loader.loader import MixtureLoader

STEPS = 6
COUNTS = st.integers(2, 14)


class Case(NamedTuple):
    """What a mixture and the loaders of its first run are made of."""

    labeled: list[int]
    unlabeled: list[int]
    share: Fraction
    batch: int
    worlds: tuple[int, int]
    options: dict[str, object]
    bad: list[int]


@st.composite
def cases(draw):
    labeled = draw(st.lists(COUNTS, min_size=1, max_size=3))
    unlabeled = draw(st.lists(COUNTS, max_size=2))
    share = draw(st.sampled_from([Fraction(1, 4), Fraction(1, 3)])) if unlabeled else Fraction(0)
    grouping = draw(st.sampled_from(["mixed", "sub_batches", "one_dataset"]))
    batch = 12 if grouping == "one_dataset" else draw(st.sampled_from([6, 10, 12]))
    worlds = st.sampled_from([w for w in (1, 2, 3, 5, 6) if batch % w == 0])
    weights = draw(st.none() | st.tuples(*[st.integers(1, 9) for _ in labeled]))
    options = {"grouping": grouping, "weights": weights, "seed": draw(st.integers(0, 2**64 - 1))}
    rows = np.arange(sum(labeled) + sum(unlabeled))
    sources = np.split(rows, np.cumsum([*labeled, *unlabeled])[:-1])
    # Of each source at least one row is sound, so that it can stand in.
    bad = [row for rows in sources for row in draw(st.sets(st.sampled_from(rows[1:].tolist())))]
    return Case(labeled, unlabeled, share, batch, (draw(worlds), draw(worlds)), options, bad)


def endless(loader):
    while True:
        yield from loader


def run(mixture, case, world, state, draw):
    """Each step's rows with their pixels over all ranks, from a state on; and the states after."""
    found = [Counter() for _ in range(STEPS)]
    for rank in range(world):
        states = []
        threads, prefetch = draw(st.integers(1, 3)), draw(st.integers(1, 4))
        with MixtureLoader(
            mixture, case.batch // world, rank, world, threads=threads, prefetch=prefetch,
            max_bad=1, arrays="numpy", **case.options,
        ) as loader:  # fmt: skip
            if state is not None:
                loader.load_state_dict(state)
            done = loader.step
            for batch in islice(endless(loader), STEPS - done):
                check(mixture, case, loader.plan(batch.step), batch)
                pairs = zip(batch.rows.tolist(), batch.images, strict=True)
                found[batch.step] += Counter((row, pixels.tobytes()) for row, pixels in pairs)
                states.append(json.dumps(loader.state_dict()))
            if state is None:
                planned = np.concatenate([loader.plan(step).rows for step in range(STEPS)])
                assert loader.report().stood_in == np.isin(planned, case.bad).sum()
    return found, states


def check(mixture, case, plan, batch):
    """A batch is the plan, but where a sound row of the same source stands in."""
    moved = np.isin(plan.rows, case.bad)
    assert np.array_equal(batch.rows[~moved], plan.rows[~moved])
    assert not np.isin(batch.rows, case.bad).any()
    assert np.array_equal(mixture.index.source[batch.rows], mixture.index.source[plan.rows])
    assert np.array_equal(batch.labels, mixture.index.label[batch.rows])
    assert batch.n_labeled == plan.n_labeled == (batch.labels >= 0).sum()
    assert np.array_equal(batch.seeds, plan.keys)


@settings(max_examples=30)
@given(cases(), st.integers(0, STEPS - 2), st.data())
def test_any_state_goes_on_with_the_same_samples_and_pixels_on_any_world_size(case, done, data):
    with TemporaryDirectory() as folder:
        mixture = hand_made(
            Path(folder), case.labeled, case.unlabeled, unlabeled_fraction=case.share
        )
        for row in case.bad:
            mixture.spoil(row)
        before, after = case.worlds
        whole, states = run(mixture, case, before, None, data.draw)
        assert max(map(len, states)) < 1024
        rest, _ = run(mixture, case, after, json.loads(states[done]), data.draw)
        assert rest[: done + 1] == [Counter()] * (done + 1)
        assert rest[done + 1 :] == whole[done + 1 :]
