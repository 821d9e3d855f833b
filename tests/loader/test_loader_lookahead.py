"""What a rank needs next, against a plain search through its steps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusekit.loader.remote.lookahead import Lookahead

SIZES = np.array([10, 20, 30, 40, 50], np.int64)


def make(steps, horizon=100, enough=1 << 40):
    def upcoming(step):
        return np.array(steps[step] if step < len(steps) else [], np.int64)

    return Lookahead(upcoming, SIZES, horizon, enough)


def walk(ahead):
    while ahead.walk():
        pass


def expected(steps, now, horizon):
    found = {}
    for step in range(now, min(now + horizon, len(steps))):
        for shard in steps[step]:
            found.setdefault(shard, step - now)
    return found


@given(
    steps=st.lists(st.lists(st.integers(0, 4), max_size=4), min_size=1, max_size=12),
    moves=st.lists(st.integers(0, 14), max_size=6),
    horizon=st.integers(1, 6),
)
def test_distances_are_those_of_a_plain_search_after_any_jumps(steps, moves, horizon):
    ahead = make(steps, horizon)
    walk(ahead)
    for step in moves:
        before = set(ahead.distances())
        left = ahead.go_to(step)
        assert left == before - set(ahead.distances())
        walk(ahead)
        distances = ahead.distances()
        assert distances == expected(steps, step, horizon)
        assert list(distances.values()) == sorted(distances.values())
        assert ahead.need(2) == sum(SIZES[k] for k, d in distances.items() if d < 2)
        assert all(ahead.distance(k) == distances.get(k) for k in range(5))


def test_it_looks_no_further_than_is_enough():
    ahead = make([[0], [1], [2], [3], [4]], enough=30)
    walk(ahead)
    assert ahead.distances() == {0: 0, 1: 1}
    ahead.go_to(1)
    walk(ahead)
    assert ahead.distances() == {1: 0, 2: 1}


def test_one_step_is_always_seen():
    ahead = make([[4, 3]], enough=0)
    walk(ahead)
    assert ahead.distances() == {3: 0, 4: 0}


def test_the_plans_error_is_the_callers():
    def upcoming(step):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Lookahead(upcoming, SIZES, 4, 100).walk()
