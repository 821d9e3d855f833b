"""The compiled softmax against numpy's path and against float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusekit.curate import native_softmax
from fusekit.curate.native_softmax import EXP_ERROR, find_softmax
from fusekit.curate.prototypes import unit_rows
from fusekit.curate.scores import KnownPeople, score

pytestmark = pytest.mark.skipif(
    not native_softmax.LIBRARY.exists(),
    reason="softmax_run.so was not built: pip install found no C compiler",
)


def take_in(blocks):
    """The largest logit, its class, and the sum of exp(logit - largest), of each row."""
    count = len(blocks[0])
    top, at, total = np.full(count, -np.inf, np.float32), np.zeros(count, np.int64), np.zeros(count)
    begin = 0
    for block in blocks:
        find_softmax().add(block, begin, top, at, total)
        begin += block.shape[1]
    return top, at, total


@pytest.mark.parametrize("columns", [1, 128])  # the rest of a row, and a whole vector
def test_an_exponential_is_as_exact_as_is_said(columns):
    logits = -np.linspace(0, 86.9, 200_001, dtype=np.float32)
    top, at, total = np.zeros_like(logits), np.zeros(len(logits), np.int64), np.zeros(len(logits))
    block = np.repeat(logits[:, None], columns, axis=1)
    find_softmax().add(block, 0, top, at, total)
    error = np.abs(total / columns / np.exp(logits.astype(np.float64)) - 1).max()
    print(f"off by {error:.1e} of at most {EXP_ERROR:.0e}")
    assert error <= EXP_ERROR


@settings(max_examples=50)
@given(
    st.integers(0, 10_000), st.integers(1, 5),
    st.lists(st.integers(1, 300), min_size=1, max_size=4),
    st.sampled_from([0.01, 1.0, 30.0, 1e4, 1e37]),
)  # fmt: skip
def test_blocks_of_any_size_sum_up_as_float64_does(seed, rows, sizes, scale):
    rng = np.random.default_rng(seed)
    blocks = [(rng.uniform(-1, 1, (rows, n)) * scale).astype(np.float32) for n in sizes]
    top, at, total = take_in(blocks)
    whole = np.concatenate(blocks, axis=1).astype(np.float64)
    assert top.tolist() == whole.max(axis=1).tolist()
    assert at.tolist() == whole.argmax(axis=1).tolist()
    wanted = np.exp(whole - whole.max(axis=1, keepdims=True)).sum(axis=1)
    np.testing.assert_allclose(total, wanted, rtol=2 * EXP_ERROR)


def test_of_equal_logits_the_first_counts():
    logits = np.zeros((2, 400), np.float32)
    logits[0, [130, 131, 399]] = 7
    logits[1, 399] = 1
    _, at, _ = take_in([logits, logits])
    assert at.tolist() == [130, 399]


@pytest.mark.parametrize("scale", [8.0, 64.0, 500.0])
def test_scores_are_those_of_numpy_within_the_stated_error(monkeypatch, scale):
    rng = np.random.default_rng(2)
    vectors, centres = (
        unit_rows(rng.standard_normal((n, 32)).astype(np.float32)) for n in (1_500, 9_000)
    )
    vectors[:50] = centres[:50]
    known = KnownPeople(centres, (("a", 0, 9_000),), np.array([scale]), ())
    compiled = score(vectors, known)
    monkeypatch.setenv("FUSEKIT_NATIVE", "0")
    plain = score(vectors, known)
    assert compiled.nearest.tolist() == plain.nearest.tolist()
    assert compiled.cosine.tolist() == plain.cosine.tolist()
    unit = 2.0**-24
    # Both have the same logits: what is left is the exponentials, their sums and a rounding each.
    bound = 2 * scale * unit + 80 * unit
    error = np.abs(compiled.activation / plain.activation - 1).max()
    print(f"scale {scale}: apart by {error:.1e} of at most {bound:.1e}")
    assert error <= bound


def test_arrays_that_the_library_would_read_past_are_refused():
    logits, top = np.zeros((3, 4), np.float32), np.zeros(3, np.float32)
    at, total = np.zeros(3, np.int64), np.zeros(3)
    softmax = find_softmax()
    with pytest.raises(ValueError, match="float64"):
        softmax.add(logits.astype(np.float64), 0, top, at, total)
    with pytest.raises(ValueError, match=r"\(2,\)"):
        softmax.add(logits, 0, top[:2], at, total)
    with pytest.raises(ValueError, match="False"):
        softmax.add(np.zeros((3, 8), np.float32)[:, ::2], 0, top, at, total)
    with pytest.raises(ValueError, match=r"\(3,\)"):
        softmax.add(np.zeros(3, np.float32), 0, top, at, total)


def test_a_library_that_gives_other_sums_is_not_used(tmp_path, monkeypatch, caplog):
    library = tmp_path / "softmax_run.so"
    library.write_bytes(native_softmax.LIBRARY.read_bytes())
    monkeypatch.setattr(native_softmax, "LIBRARY", library)
    monkeypatch.setattr(native_softmax, "EXP_ERROR", 0.0)
    assert find_softmax() is None
    assert "softmax_run.so gives other values than it must: exponentials are written" in caplog.text


def test_without_a_library_nothing_is_said_and_nothing_used(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(native_softmax, "LIBRARY", tmp_path / "softmax_run.so")
    assert find_softmax() is None
    assert not caplog.records
