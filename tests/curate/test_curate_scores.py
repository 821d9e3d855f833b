"""Activations and cosines against the obvious dense softmax."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusekit.curate import scores
from fusekit.curate.products import round_to_bf16
from fusekit.curate.prototypes import unit_rows
from fusekit.curate.scores import KnownPeople, score


def obvious(vectors, known):
    """Dense float64 softmax by dataset: activations, cosines, nearest rows."""
    cosines = vectors.astype(np.float64) @ known.centres.astype(np.float64).T
    parts = []
    for (_, first, end), scale in zip(known.ranges, known.scales, strict=True):
        logits = scale * cosines[:, first:end]
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        softmax = shifted / shifted.sum(axis=1, keepdims=True)
        mine = cosines[:, first:end]
        parts.append((softmax.max(axis=1), mine.max(axis=1), mine.argmax(axis=1) + first))
    return [np.stack(part, axis=1) for part in zip(*parts, strict=True)]


def draw(seed, samples, sizes, scales, dim=16):
    rng = np.random.default_rng(seed)
    vectors = unit_rows(rng.standard_normal((samples, dim)).astype(np.float32))
    centres = unit_rows(rng.standard_normal((sum(sizes), dim)).astype(np.float32))
    ends = np.cumsum(sizes).tolist()
    ranges = tuple(
        (f"d{k}", end - size, end) for k, (size, end) in enumerate(zip(sizes, ends, strict=True))
    )
    names = tuple(str(i) for i in range(sum(sizes)))
    return vectors, KnownPeople(centres, ranges, np.array(scales), names)


@given(
    st.integers(0, 1000), st.integers(1, 40),
    st.lists(st.tuples(st.integers(1, 50), st.floats(0.01, 300)), min_size=1, max_size=4),
    st.integers(1, 9), st.integers(1, 9),
)  # fmt: skip
def test_blocked_scores_are_those_of_a_dense_softmax_over_each_dataset(
    seed, samples, datasets, class_block, sample_block
):
    sizes, scales = zip(*datasets, strict=True)
    vectors, known = draw(seed, samples, sizes, scales)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scores, "CLASS_BLOCK", class_block)
        patch.setattr(scores, "SAMPLE_BLOCK", sample_block)
        got = score(vectors, known)
    activation, cosine, nearest = obvious(vectors, known)
    np.testing.assert_allclose(got.activation, activation, rtol=2e-4)
    np.testing.assert_allclose(got.cosine, cosine, atol=1e-5)
    near = np.take_along_axis(vectors @ known.centres.T, got.nearest, axis=1)
    np.testing.assert_allclose(near, cosine, atol=1e-5)
    assert (got.nearest == nearest).mean() > 0.99 or samples < 100


@pytest.mark.parametrize("scale", [1e-30, 1e4, 1e30, 1e300])
def test_no_scale_overflows(scale):
    vectors, known = draw(1, 20, [30], [scale])
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        got = score(vectors, known)
    assert np.isfinite(got.activation).all()
    assert got.activation.min() >= np.float32(1 / 30) * 0.999
    assert got.activation.max() <= 1
    if scale > 1e5:
        np.testing.assert_allclose(got.activation, 1)
    if scale < 1:
        np.testing.assert_allclose(got.activation, 1 / 30, rtol=1e-5)


def test_an_erased_sample_scores_nothing():
    vectors, known = draw(1, 3, [5, 4], [10.0, 10.0])
    vectors[1] = 0
    got = score(vectors, known)
    assert got.activation[1].tolist() == got.cosine[1].tolist() == [0, 0]


def test_a_tie_goes_to_the_earlier_class_in_whatever_block():
    vectors, known = draw(1, 5, [6], [10.0])
    known.centres[:] = known.centres[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scores, "CLASS_BLOCK", 2)
        got = score(vectors, known)
    assert got.nearest.tolist() == [[0]] * 5
    np.testing.assert_allclose(got.activation, 1 / 6, rtol=1e-6)


@pytest.mark.parametrize("scale", [8.0, 64.0, 72.0, 73.0, 1024.0])
def test_the_stated_bound_of_the_error_holds(scale):
    vectors, known = draw(3, 200, [9_000], [scale], dim=64)
    vectors[:50] = known.centres[:50]  # known people: activations near 1, too
    got = score(vectors, known)
    activation, cosine, _ = obvious(vectors, known)
    unit = 2.0**-24
    bound = 2 * scale * (64 + 2) * unit + 40 * unit
    error = np.abs(got.activation / activation - 1).max()
    print(f"scale {scale}: off by {error:.1e} of at most {bound:.1e}")
    assert error <= bound
    assert np.abs(got.cosine - cosine).max() <= 66 * unit


def test_neither_threads_nor_strips_change_a_bit():
    vectors, known = draw(5, 300, [3_000, 500], [20.0, 200.0])
    one = score(vectors, known, threads=1)
    for threads in (2, 5):
        other = score(vectors, known, threads=threads)
        assert (one.activation == other.activation).all()
        assert (one.nearest == other.nearest).all()


def test_an_activation_of_one_known_person_is_1_at_any_scale():
    for scale in (0.1, 8.0, 64.0, 500.0):
        vectors, known = draw(6, 30, [1], [scale])
        assert (score(vectors, known).activation == 1).all()


def test_memory_does_not_grow_with_samples_times_classes():
    import tracemalloc

    rng = np.random.default_rng(0)
    vectors = unit_rows(rng.standard_normal((3_000, 8)).astype(np.float32))
    centres = unit_rows(rng.standard_normal((40_000, 8)).astype(np.float32))
    known = KnownPeople(centres, (("a", 0, 40_000),), np.array([20.0]), ())
    tracemalloc.start()
    score(vectors, known)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3_000 * 40_000 * 4 / 8


def test_scores_of_bf16_are_the_exact_scores_of_rounded_factors():
    pytest.importorskip("torch")
    vectors, known = draw(9, 100, [700, 40], [16.0, 64.0], dim=32)
    got = score(vectors, known.rounded(), precision="bf16")
    scaled = round_to_bf16(vectors * np.float32(16)) / 16  # 16 and 64 shift no digit
    activation, cosine, _ = obvious(scaled, known.rounded())
    np.testing.assert_allclose(got.activation, activation, rtol=1e-4)
    np.testing.assert_allclose(got.cosine, cosine, atol=1e-5)
