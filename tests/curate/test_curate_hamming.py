"""The search of near hashes: every pair, once, as comparing all of them finds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusekit.curate.hamming import _SUBSTRINGS, _choose_substrings, near_pairs
from fusekit.curate.perceptual_hash import mirror_mask


def draw_codes(seed, count, flips=5):
    """Hashes in families: a few bits of a common ancestor are flipped in each."""
    rng = np.random.default_rng(seed)
    ancestors = rng.integers(0, 2**64, (max(1, count // 8), 2), dtype=np.uint64)
    codes = ancestors[rng.integers(0, len(ancestors), count)]
    for _ in range(flips):
        codes = codes ^ (np.uint64(1) << rng.integers(0, 64, codes.shape).astype(np.uint64))
    return codes


def by_comparing_all(codes, radius, flip=None):
    numbers = [int(low) | int(high) << 64 for low, high in codes.tolist()]
    change = 0 if flip is None else int(flip[0]) | int(flip[1]) << 64
    return sorted(
        (i, j, bits)
        for j, b in enumerate(numbers)
        for i, a in enumerate(numbers[:j])
        if (bits := (a ^ b ^ change).bit_count()) <= radius
    )


def found(codes, radius, **options):
    return sorted(
        pair
        for near in near_pairs(codes, radius, **options)
        for pair in zip(
            near.left.tolist(), near.right.tolist(), near.distance.tolist(), strict=True
        )
    )


@given(st.integers(0, 10_000), st.integers(0, 60), st.integers(0, 40), st.booleans())
def test_the_search_finds_each_pair_once_as_comparing_all_does(seed, count, radius, mirrored):
    codes = draw_codes(seed, count)
    flip = mirror_mask() if mirrored else None
    assert found(codes, radius, flip=flip) == by_comparing_all(codes, radius, flip)


@pytest.mark.parametrize("substrings", _SUBSTRINGS)
def test_every_number_of_substrings_gives_the_same_pairs(monkeypatch, substrings):
    codes = draw_codes(7, 400)
    monkeypatch.setattr(
        "fusekit.curate.hamming._choose_substrings", lambda count, radius: substrings
    )
    pairs = found(codes, 17)
    assert pairs == by_comparing_all(codes, 17)
    assert len(pairs) > 50


def test_more_hashes_are_cut_into_longer_substrings():
    counts = [1_000, 1_000_000, 20_000_000]
    assert [_choose_substrings(n, 23) for n in counts] == [16, 8, 6]


def test_many_rows_of_one_substring_are_compared_in_pieces(monkeypatch):
    monkeypatch.setattr("fusekit.curate.hamming._PAIRS_AT_ONCE", 50)
    codes = draw_codes(3, 120, flips=3)
    assert found(codes, 9) == by_comparing_all(codes, 9)


def test_neither_pairs_nor_their_order_depend_on_the_threads():
    codes = draw_codes(5, 500)
    one, four = (list(near_pairs(codes, 20, threads=n)) for n in (1, 4))
    assert [p.left.tolist() for p in one] == [p.left.tolist() for p in four]
    assert [p.right.tolist() for p in one] == [p.right.tolist() for p in four]
