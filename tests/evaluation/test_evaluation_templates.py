import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.scored import slow_cosine

from fusekit.errors import UsageError
from fusekit.evaluation.embedders import Samples
from fusekit.evaluation.scores import pair_cosines
from fusekit.evaluation.templates import (
    FORMS,
    check_form,
    image_features,
    places_of,
    pool_table,
    pool_templates,
    rows_of,
)


def unit(vector):
    return np.asarray(vector, np.float64) / np.linalg.norm(np.asarray(vector, np.float64))


def slow_pool(features, template, media, weights):
    """As InsightFace's image2template_feature reads."""
    pooled = {}
    for t in sorted(set(template.tolist())):
        total = np.zeros(features.shape[1])
        for m in set(media[template == t].tolist()):
            chosen = (template == t) & (media == m)
            total += (features[chosen] * weights[chosen][:, None]).astype(np.float64).mean(axis=0)
        pooled[t] = unit(total)
    return pooled


@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_pooling_is_the_mean_of_media_and_the_sum_of_means(seed, count):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, 5)).astype(np.float32)
    template, media = rng.integers(-3, 4, count), rng.integers(0, 3, count)
    weights = rng.uniform(0.5, 1, count).astype(np.float32)
    numbers, pooled = pool_templates(features, template, media, weights)
    expected = slow_pool(features, template, media, weights)
    assert numbers.tolist() == list(expected)
    assert np.allclose(pooled, list(expected.values()), atol=1e-5)


def test_a_long_video_weighs_as_much_as_one_photograph():
    features = np.array([[1, 0], *[[0, 1]] * 1000], np.float32)
    media = np.array([0, *[1] * 1000])
    _, pooled = pool_templates(features, np.zeros(1001, np.int64), media)
    assert np.allclose(pooled, [[0.5**0.5] * 2])


@given(st.integers(0, 2**32 - 1))
def test_the_four_forms_are_what_their_letters_say(seed):
    rng = np.random.default_rng(seed)
    plain, mirrored = rng.normal(size=(2, 6, 4)).astype(np.float32)
    samples = Samples(pa.array(list("abcdef")), plain, mirrored)
    found = {form: image_features(samples, form) for form in FORMS}
    for i in range(6):
        a, b = plain[i].astype(np.float64), mirrored[i].astype(np.float64)
        assert np.allclose(found["N0F0"][i], a)
        assert np.allclose(found["N0F1"][i], a + b, atol=1e-6)
        assert np.allclose(found["N1F0"][i], unit(a), atol=1e-6)
        assert np.allclose(found["N1F1"][i], unit(unit(a) + unit(b)), atol=1e-5)


def test_erased_samples_stay_zero_in_every_form():
    rows = np.array([[0, 0], [1, 2]], np.float32)
    samples = Samples(pa.array(["a", "b"]), rows, rows)
    assert not any(image_features(samples, form)[0].any() for form in FORMS)


def test_a_form_with_mirror_images_needs_them():
    samples = Samples(pa.array(["a"]), np.ones((1, 2), np.float32), None)
    with pytest.raises(UsageError, match="N1F1: needs mirrored outputs"):
        image_features(samples, "N1F1")
    with pytest.raises(UsageError, match="--template: 'N2'; expected N0F0, N0F1, N1F0, N1F1"):
        check_form("N2")


def test_images_without_a_medium_are_media_of_their_own_and_lost_ones_are_left_out():
    table = pa.table({
        "template": pa.array([1, 1, 1, 2]),
        "media": pa.array([None, None, "v", "v"]),
        "score": pa.array([1.0, None, 0.5, 1.0], pa.float32()),
    })  # fmt: skip
    features = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    numbers, pooled = pool_table(table, np.array([0, 1, 2, -1]), features, weigh=True)
    assert numbers.tolist() == [1]
    assert np.allclose(pooled, [unit([1, 1, 0.5])])
    _, alike = pool_table(table, np.array([0, 1, 2, -1]), features, weigh=False)
    assert np.allclose(alike, [unit([1, 1, 1])])


def test_no_images_are_no_templates():
    numbers, pooled = pool_templates(
        np.zeros((0, 3), np.float32), np.empty(0, np.int64), np.empty(0, np.int64)
    )
    assert (len(numbers), pooled.shape) == (0, (0, 3))


def test_what_is_not_there_has_no_place():
    assert places_of(np.array([2, 5]), np.array([5, 3, 9, 2])).tolist() == [1, -1, -1, 0]
    assert places_of(np.empty(0, np.int64), np.array([1])).tolist() == [-1]
    wanted = pa.chunked_array([["b", None], ["z"]])
    assert rows_of(pa.array(["a", "b"]), wanted).tolist() == [1, -1, -1]


@given(st.integers(0, 2**32 - 1))
def test_scores_are_cosines_and_minus_infinity_where_a_side_is_missing(seed):
    rng = np.random.default_rng(seed)
    left = (rng.normal(size=(5, 7)) * rng.uniform(0.1, 30, (5, 1))).astype(np.float32)
    a, b = rng.integers(-1, 5, (2, 20))
    for score, i, j in zip(pair_cosines(left, left, a, b), a, b, strict=True):
        if min(i, j) < 0:
            assert score == -np.inf
        else:
            assert score == pytest.approx(slow_cosine(left[i], left[j]), abs=1e-12)
