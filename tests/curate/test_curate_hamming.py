"""The search of near hashes: every pair, once, as comparing all of them finds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusekit.curate import native_near
from fusekit.curate.hamming import _SUBSTRINGS, _choose_substrings, near_pairs
from fusekit.curate.perceptual_hash import mirror_mask

needs_library = pytest.mark.skipif(
    not native_near.LIBRARY.exists(),
    reason="near_run.so was not built: pip install found no C compiler",
)


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


@pytest.mark.parametrize("native", ["1", "0"])
@settings(max_examples=30)  # a search of up to sixteen tables each
@given(
    seed=st.integers(0, 10_000), count=st.integers(0, 60), radius=st.integers(0, 40),
    mirrored=st.booleans(),
)  # fmt: skip
def test_the_search_finds_each_pair_once_as_comparing_all_does(
    native, seed, count, radius, mirrored
):
    codes = draw_codes(seed, count)
    flip = mirror_mask() if mirrored else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FUSEKIT_NATIVE", native)
        assert found(codes, radius, flip=flip) == by_comparing_all(codes, radius, flip)


@needs_library
@pytest.mark.parametrize("radius", [3, 17, 23])
def test_the_compiled_search_gives_the_same_pairs_in_the_same_order(monkeypatch, radius):
    codes = draw_codes(11, 2_000)
    compiled = list(near_pairs(codes, radius, flip=mirror_mask()))
    monkeypatch.setenv("FUSEKIT_NATIVE", "0")
    for near, other in zip(compiled, near_pairs(codes, radius, flip=mirror_mask()), strict=True):
        assert near.left.tolist() == other.left.tolist()
        assert near.right.tolist() == other.right.tolist()
        assert near.distance.tolist() == other.distance.tolist()
        assert near.distance.dtype == other.distance.dtype


@needs_library
@pytest.mark.parametrize("room", [1, 7, 10_000])
def test_more_pairs_than_there_is_room_for_are_given_in_turns(monkeypatch, room):
    codes = draw_codes(3, 120, flips=3)
    search = native_near.NativeNear(native_near.find_near_search()._call, room)
    monkeypatch.setattr("fusekit.curate.hamming.find_near_search", lambda: search)
    assert found(codes, 9) == by_comparing_all(codes, 9)
    assert len(found(codes, 9)) > 2 * 7


@needs_library
def test_arrays_that_the_library_would_read_past_are_refused():
    search = native_near.find_near_search()
    keys, words = np.array([0, 3]), (np.zeros(2, np.uint64), np.zeros(2, np.uint64))
    mask, before = np.zeros(2, np.uint64), np.zeros((0, 2), np.uint64)
    with pytest.raises(ValueError, match=r"\(0, 2\), \(4,\)"):
        list(search.search(keys, np.zeros(4, np.int64), words, 0, mask, 3, before, 0))
    with pytest.raises(ValueError, match="int32"):
        list(search.search(keys.astype(np.int32), keys, words, 0, mask, 3, before, 0))


@needs_library
def test_a_library_that_gives_other_pairs_is_not_used(tmp_path, monkeypatch, caplog):
    library = tmp_path / "near_run.so"
    library.write_bytes(native_near.LIBRARY.read_bytes())
    monkeypatch.setattr(native_near, "LIBRARY", library)
    monkeypatch.setattr(native_near, "_agrees", lambda call: False)
    assert native_near.find_near_search() is None
    assert "near_run.so gives other values than it must: hashes are compared in" in caplog.text


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
    monkeypatch.setenv("FUSEKIT_NATIVE", "0")
    monkeypatch.setattr("fusekit.curate.hamming._PAIRS_AT_ONCE", 50)
    codes = draw_codes(3, 120, flips=3)
    assert found(codes, 9) == by_comparing_all(codes, 9)


def test_neither_pairs_nor_their_order_depend_on_the_threads():
    codes = draw_codes(5, 500)
    one, four = (list(near_pairs(codes, 20, threads=n)) for n in (1, 4))
    assert [p.left.tolist() for p in one] == [p.left.tolist() for p in four]
    assert [p.right.tolist() for p in one] == [p.right.tolist() for p in four]
