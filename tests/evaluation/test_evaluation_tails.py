import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusekit.errors import UsageError
from fusekit.evaluation import tails
from fusekit.evaluation.rates import tar_at_far
from fusekit.evaluation.tails import cross_tail, within_tail

FARS = [0.02, 0.1, 0.5]


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(tails, "BLOCK", 7)


def drawn(seed, count, people):
    # Few directions, all exact in float32: equal scores are equal in whatever block they stand.
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1, 1], (count, 4)).astype(np.float32)
    return signs, rng.integers(-1, people, count)


def slow_pairs(left, left_people, right, right_people, within):
    scores, same = [], []
    for i in range(len(left)):
        for j in range(i + 1 if within else 0, len(right)):
            scores.append(float(left[i] @ right[j]) / 4)
            same.append(bool(left_people[i] == right_people[j] >= 0))
    return np.array(scores), np.array(same)


@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(1, 6))
def test_all_pairs_of_a_set_give_what_sorting_them_all_gives(seed, count, people):
    vectors, labels = drawn(seed, count, people)
    scores, same = slow_pairs(vectors, labels, vectors, labels, within=True)
    tail = within_tail(vectors, labels, FARS)
    assert tail.genuine.tolist() == sorted(scores[same])
    assert tail.impostors == (~same).sum()
    assert tail.top.tolist() == sorted(scores[~same], reverse=True)[: len(tail.top)]
    assert tail.rates(FARS) == tar_at_far(scores, same, FARS)


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 30))
def test_probes_against_a_gallery_give_what_sorting_gives(seed, probes, gallery):
    left, left_people = drawn(seed, probes, 3)
    right, right_people = drawn(seed + 1, gallery, 3)
    scores, same = slow_pairs(left, left_people, right, right_people, within=False)
    tail = cross_tail(left, left_people, right, right_people, FARS)
    assert tail.genuine.tolist() == sorted(scores[same])
    assert tail.rates(FARS) == tar_at_far(scores, same, FARS)


def test_memory_holds_what_the_rates_need_and_no_more(monkeypatch):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(300, 8)).astype(np.float32)
    most = []
    halve = tails._Kept._halve

    def watched(self):
        most.append(self._waiting)
        halve(self)

    monkeypatch.setattr(tails._Kept, "_halve", watched)
    tail = within_tail(vectors, np.full(300, -1), [0.001])
    assert tail.impostors == 300 * 299 // 2
    assert len(tail.top) == tail.impostors // 1000 + 1
    assert max(most) <= 2 * len(tail.top) + tails.BLOCK**2


def test_strangers_are_nobody_s_like_not_even_each_other_s():
    same = np.ones((4, 2), np.float32)
    assert len(within_tail(same, np.full(4, -1), FARS).genuine) == 0
    assert len(cross_tail(same, np.full(4, -1), same, np.full(4, -1), FARS).genuine) == 0


def test_progress_counts_every_pair_once():
    seen = []
    vectors, labels = drawn(3, 20, 4)
    within_tail(vectors, labels, FARS, seen.append)
    assert (seen[-1].done, seen[-1].total) == (190, 190)


def test_a_rate_that_the_tail_was_not_made_for_is_refused():
    vectors, _ = drawn(1, 40, 2)
    tail = within_tail(vectors, np.full(40, -1), [0.01])
    with pytest.raises(UsageError, match=r"0.1 needs 79 of the highest impostor scores; expected"):
        tail.rates([0.1])


def test_more_scores_than_memory_is_given_are_refused(monkeypatch):
    monkeypatch.setattr(tails, "MOST_KEPT", 50)
    vectors, _ = drawn(1, 40, 2)
    with pytest.raises(UsageError, match=r"0\.1 of 780 impostor pairs are 79 scores to keep"):
        within_tail(vectors, np.full(40, -1), [0.1])
