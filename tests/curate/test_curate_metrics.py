"""Cluster scores: equal to counting every pair, and to scikit-learn."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics.cluster import pair_confusion_matrix

from fusekit.curate.metrics import score_clusters

LABELS = st.lists(st.tuples(st.integers(-1, 4), st.integers(-1, 4)), min_size=1, max_size=40)


def one_by_one(clusters, truth):
    """Pairs and B-cubed, by comparing every sample with every other."""
    samples = [
        (c if c >= 0 else ("alone", i), t)
        for i, (c, t) in enumerate(zip(clusters, truth, strict=True))
        if t >= 0
    ]
    together = [(a[1] == b[1]) for a, b in combinations(samples, 2) if a[0] == b[0]]
    same = [(a[0] == b[0]) for a, b in combinations(samples, 2) if a[1] == b[1]]
    precision = [np.mean([b[1] == a[1] for b in samples if b[0] == a[0]]) for a in samples]
    recall = [np.mean([b[0] == a[0] for b in samples if b[1] == a[1]]) for a in samples]
    return (
        np.mean(together) if together else 1.0, np.mean(same) if same else 1.0,
        np.mean(precision), np.mean(recall),
    )  # fmt: skip


@given(LABELS)
def test_the_scores_are_those_of_comparing_every_sample_with_every_other(labels):
    clusters, truth = zip(*labels, strict=True)
    scores = score_clusters(clusters, truth)
    if scores is None:
        assert max(truth) < 0
        return
    found = (
        scores.pairwise_precision, scores.pairwise_recall,
        scores.bcubed_precision, scores.bcubed_recall,
    )  # fmt: skip
    assert found == pytest.approx(one_by_one(clusters, truth))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=60))
def test_the_pairs_are_those_of_scikit_learn(labels):
    clusters, truth = np.array(labels).T
    (_, false), (missed, right) = pair_confusion_matrix(truth, clusters)
    scores = score_clusters(clusters, truth)
    if right + false:
        assert scores.pairwise_precision == pytest.approx(right / (right + false))
    if right + missed:
        assert scores.pairwise_recall == pytest.approx(right / (right + missed))


def test_f_is_the_harmonic_mean_and_0_where_nothing_is_right():
    scores = score_clusters([0, 0, 1, 1], [0, 1, 0, 1])
    assert (scores.pairwise_precision, scores.pairwise_f) == (0, 0)
    assert scores.bcubed_f == pytest.approx(0.5)


def test_samples_of_unknown_people_do_not_count():
    assert score_clusters([0, 0, 0], [1, 1, -1]) == score_clusters([0, 0], [1, 1])
    assert score_clusters([0, 0], [-1, -1]) is None


def test_a_million_samples_in_two_people_do_not_overflow():
    truth = np.repeat([0, 1], 500_000)
    scores = score_clusters(np.zeros(1_000_000, np.int32), truth)
    assert scores.pairwise_precision == pytest.approx(0.5, abs=1e-5)
    assert scores.pairwise_recall == 1
