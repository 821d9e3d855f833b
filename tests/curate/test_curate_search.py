"""The exact search: the same as a full sort, in any blocks, in bounded memory."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusekit.curate import search
from fusekit.curate.search import nearest, nearest_both


def draw(seed, count, dim=8, *, coarse=False):
    """Unit rows; coarse ones are few different vectors, so that many cosines are equal."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((count, dim)).astype(np.float32)
    if coarse:
        vectors = np.eye(dim, dtype=np.float32)[rng.integers(0, dim, count)]
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def obvious(queries, centres, k, query_of=None, centre_of=None):
    """Sort every row: cosine descending, number ascending."""
    cosine = np.full((len(queries), k), -np.inf)
    index = np.full((len(queries), k), -1)
    for row, query in enumerate(queries):
        all_of = [
            (-float(np.dot(query.astype(float), centre)), at)
            for at, centre in enumerate(centres)
            if query_of is None or query_of[row] != centre_of[at]
        ]
        for rank, (negative, at) in enumerate(sorted(all_of)[:k]):
            cosine[row, rank], index[row, rank] = -negative, at
    return cosine, index


def check(found, cosine, index):
    np.testing.assert_allclose(found.cosine, cosine, atol=1e-6)
    assert found.cosine.dtype == np.float32
    assert found.index.dtype == np.int64
    # Only where two cosines are as good as equal may float32 put another first.
    gaps = np.abs(np.diff(np.where(np.isinf(cosine), -9, cosine), axis=1)).min(initial=1)
    if gaps > 1e-6:
        np.testing.assert_array_equal(found.index, index)


blocks = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
sizes = st.tuples(st.integers(0, 30), st.integers(0, 40), st.integers(1, 6))


def set_blocks(patch, given_blocks):
    for name, value in zip(
        ("QUERY_BLOCK", "CENTRE_BLOCK", "_FIRST_BLOCK"), given_blocks, strict=True
    ):
        patch.setattr(search, name, value)


@given(st.integers(0, 99), sizes, blocks)
def test_the_nearest_are_those_of_a_full_sort_in_any_blocks(seed, size, given_blocks):
    queries, centres = draw(seed, size[0]), draw(seed + 1000, size[1])
    with pytest.MonkeyPatch.context() as patch:
        set_blocks(patch, given_blocks)
        found = nearest(queries, centres, size[2])
        forth, back = nearest_both(queries, centres, size[2])
    check(found, *obvious(queries, centres, size[2]))
    check(forth, *obvious(queries, centres, size[2]))
    check(back, *obvious(centres, queries, size[2]))


@given(st.integers(0, 99), sizes, blocks)
def test_of_equal_cosines_the_lower_number_comes_first(seed, size, given_blocks):
    queries, centres = draw(seed, size[0], coarse=True), draw(seed + 9, size[1], coarse=True)
    with pytest.MonkeyPatch.context() as patch:
        set_blocks(patch, given_blocks)
        found = nearest(queries, centres, size[2])
        _, back = nearest_both(queries, centres, size[2])
    np.testing.assert_array_equal(found.index, obvious(queries, centres, size[2])[1])
    np.testing.assert_array_equal(back.index, obvious(centres, queries, size[2])[1])


@given(st.integers(0, 99), st.lists(st.integers(0, 3), min_size=1, max_size=8), blocks)
def test_nobody_is_compared_with_centres_of_the_same_number(seed, counts, given_blocks):
    whose = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    centres = draw(seed, len(whose))
    with pytest.MonkeyPatch.context() as patch:
        set_blocks(patch, given_blocks)
        found = nearest(centres, centres, 3, query_of=whose, centre_of=whose)
    check(found, *obvious(centres, centres, 3, whose, whose))


def test_fewer_centres_than_k_leave_the_rest_at_nobody():
    found = nearest(draw(1, 2), draw(2, 3), 5)
    assert found.index[:, 3:].tolist() == [[-1, -1]] * 2
    assert np.isneginf(found.cosine[:, 3:]).all()
    assert nearest(draw(1, 2), draw(2, 0), 2).index.tolist() == [[-1, -1]] * 2


def test_the_search_tells_how_far_it_is():
    seen = []
    nearest(draw(1, 2_000), draw(2, 3), 1, report=seen.append, stage="looking")
    assert [(p.stage, p.done, p.total) for p in seen] == [
        ("looking", 0, 2_000), ("looking", 1_024, 2_000), ("looking", 2_000, 2_000)
    ]  # fmt: skip


_MEASURED = """
    import sys
    from pathlib import Path
    import numpy as np

    def peak():
        # Not ru_maxrss: a child starts with what its parent had at the fork.
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    from fusekit.curate.search import nearest_both
    rng = np.random.default_rng(1)
    left = rng.random((int(sys.argv[1]), 512), np.float32) - 0.5
    right = rng.random((100_000, 512), np.float32)
    right -= 0.5
    left /= np.linalg.norm(left, axis=1, keepdims=True)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    before = peak()
    nearest_both(left, right, 5)
    after = peak()
    print(after, after - before)
"""


def measure(queries):
    run = [sys.executable, "-c", textwrap.dedent(_MEASURED), str(queries)]
    done = subprocess.run(run, check=True, capture_output=True, text=True)
    return [int(word) for word in done.stdout.split()]


def test_a_hundred_thousand_centres_of_512_numbers_need_less_than_a_gigabyte():
    # tests/bench/overlap.py has the whole 100,000 x 100,000, which takes minutes. Blocks come one
    # after another, so what one row of blocks needs is what all need.
    (whole, one), (_, two) = measure(256), measure(1_280)
    assert whole < 1e9
    assert two < one + 150e6
